/* lightforce: what the element tells of its frames, on the bus and in them
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/messages.h"

#include "gst/i18n.h"

/* The domain and code of GStreamer for `error`. */
static void
classify (const GError *error, gboolean running, GQuark *domain, gint *code)
{
  *domain = running ? GST_STREAM_ERROR : GST_RESOURCE_ERROR;
  *code = running ? (gint) GST_STREAM_ERROR_FAILED : (gint) GST_RESOURCE_ERROR_OPEN_READ;
  if (error->domain == GST_CORE_ERROR) {
    *domain = error->domain;
    *code = error->code;
  }
  if (error->domain != LF_ERROR)
    return;
  switch ((LfError) error->code) {
    case LF_ERROR_NOT_FOUND:
      *domain = GST_RESOURCE_ERROR;
      *code = GST_RESOURCE_ERROR_NOT_FOUND;
      break;
    case LF_ERROR_INVALID_FILE:
    case LF_ERROR_INVALID_MODEL:
      *domain = GST_RESOURCE_ERROR;
      *code = GST_RESOURCE_ERROR_OPEN_READ;
      break;
    case LF_ERROR_SETTINGS:
      *domain = GST_LIBRARY_ERROR;
      *code = GST_LIBRARY_ERROR_SETTINGS;
      break;
    case LF_ERROR_NO_MEMORY:
      *domain = GST_RESOURCE_ERROR;
      *code = GST_RESOURCE_ERROR_NO_SPACE_LEFT;
      break;
    case LF_ERROR_UNSUPPORTED:
    case LF_ERROR_BACKEND:
      if (!running) {
        *domain = GST_LIBRARY_ERROR;
        *code = GST_LIBRARY_ERROR_INIT;
      }
      break;
  }
}

static void
post (GstElement *element, GstMessageType type, GQuark domain, gint code, const GError *error)
{
  gst_element_message_full (element, type, domain, code, g_strdup (error->message),
      g_strdup_printf ("%s, code %d", g_quark_to_string (error->domain), error->code), __FILE__,
      GST_FUNCTION, __LINE__);
}

void
lf_src_post_error (GstElement *element, const GError *error, gboolean running)
{
  GQuark domain;
  gint code;

  classify (error, running, &domain, &code);
  post (element, GST_MESSAGE_ERROR, domain, code, error);
}

void
lf_src_post_warning (GstElement *element, const GError *error)
{
  post (element, GST_MESSAGE_WARNING, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS, error);
}

void
lf_src_post_load (GstElement *element, LfSrcLoadState state, const char *text, gint percent)
{
  static const GstProgressType types[] = {
      [LF_SRC_LOAD_START] = GST_PROGRESS_TYPE_START,
      [LF_SRC_LOAD_CONTINUE] = GST_PROGRESS_TYPE_CONTINUE,
      [LF_SRC_LOAD_COMPLETE] = GST_PROGRESS_TYPE_COMPLETE,
      [LF_SRC_LOAD_ERROR] = GST_PROGRESS_TYPE_ERROR,
      [LF_SRC_LOAD_CANCELED] = GST_PROGRESS_TYPE_CANCELED,
  };
  g_autofree char *line = NULL;
  GstMessage *message;

  switch (state) {
    case LF_SRC_LOAD_START:
      line = g_strdup (_ ("Loading the model"));
      break;
    case LF_SRC_LOAD_CONTINUE:
      line = g_strdup_printf (_ ("Loading the model: %s, %d %%"), text, percent);
      break;
    case LF_SRC_LOAD_COMPLETE:
      line = g_strdup (_ ("The model is loaded"));
      break;
    case LF_SRC_LOAD_CANCELED:
      line = g_strdup (_ ("Loading the model was canceled"));
      break;
    case LF_SRC_LOAD_ERROR:
      line = g_strdup (text);
      break;
  }
  message = gst_message_new_progress (GST_OBJECT (element), types[state], "load", line);
  gst_structure_set (
      gst_message_writable_structure (message), "percent", G_TYPE_INT, percent, NULL);
  gst_element_post_message (element, message);
}

void
lf_src_post_prompt (
    GstElement *element, const char *prompt, guint serial, guint64 frame, GstClockTime pts)
{
  GstStructure *structure =
      gst_structure_new ("lightforce-prompt", "prompt", G_TYPE_STRING, prompt, "serial",
          G_TYPE_UINT, serial, "offset", G_TYPE_UINT64, frame, "pts", G_TYPE_UINT64, pts, NULL);

  gst_element_post_message (element, gst_message_new_element (GST_OBJECT (element), structure));
}

static void
add_selection (GstStructure *structure, const LfSelection *selection)
{
  GValue frames = G_VALUE_INIT, shares = G_VALUE_INIT;
  gint i;

  gst_value_array_init (&frames, (guint) selection->n_frames);
  gst_value_array_init (&shares, (guint) selection->n_frames);
  for (i = 0; i < selection->n_frames; i++) {
    GValue frame = G_VALUE_INIT, share = G_VALUE_INIT;

    g_value_init (&frame, G_TYPE_INT64);
    g_value_set_int64 (&frame, selection->frames[i]);
    gst_value_array_append_and_take_value (&frames, &frame);
    g_value_init (&share, G_TYPE_DOUBLE);
    g_value_set_double (&share, selection->shares[i]);
    gst_value_array_append_and_take_value (&shares, &share);
  }
  gst_structure_set (structure, "layer", G_TYPE_INT, selection->layer, "head", G_TYPE_INT,
      selection->head, "past", G_TYPE_INT, selection->n_past, NULL);
  gst_structure_take_value (structure, "frames", &frames);
  gst_structure_take_value (structure, "shares", &shares);
}

void
lf_src_post_chunk (
    GstElement *element, const LfChunk *chunk, gint64 made_us, guint64 frame, GstClockTime pts)
{
  GstStructure *structure = gst_structure_new ("lightforce-chunk", "chunk", G_TYPE_UINT64,
      chunk->index, "offset", G_TYPE_UINT64, frame, "pts", G_TYPE_UINT64, pts, "pictures",
      G_TYPE_INT, chunk->n_pictures, "seed", G_TYPE_UINT64, chunk->seed, "prompt-serial",
      G_TYPE_UINT, chunk->prompt_serial, "sparsity", G_TYPE_DOUBLE, chunk->sparsity, "generate-us",
      G_TYPE_INT64, chunk->generate_us, "decode-us", G_TYPE_INT64, chunk->decode_us, "made-us",
      G_TYPE_INT64, made_us, NULL);

  if (chunk->selection)
    add_selection (structure, chunk->selection);
  gst_element_post_message (element, gst_message_new_element (GST_OBJECT (element), structure));
}

void
lf_src_post_qos (GstElement *element, GstClockTime due, GstClockTime duration,
    GstClockTimeDiff jitter, const LfSrcCounts *counts)
{
  GstMessage *message = gst_message_new_qos (GST_OBJECT (element), TRUE, due, due, due, duration);

  gst_message_set_qos_values (message, jitter, counts->ratio > 0 ? counts->ratio : 1, 1000000);
  gst_message_set_qos_stats (
      message, GST_FORMAT_BUFFERS, counts->shown + counts->repeated, counts->dropped);
  gst_structure_set (
      gst_message_writable_structure (message), "repeated", G_TYPE_UINT64, counts->repeated, NULL);
  gst_element_post_message (element, message);
}

GstStructure *
lf_src_make_stats (const LfStats *stats, guint queue_level, const LfSrcCounts *counts)
{
  return gst_structure_new ("lightforcesrc-stats", "chunks", G_TYPE_UINT64, stats->chunks,
      "pictures", G_TYPE_UINT64, stats->pictures, "frames", G_TYPE_UINT64,
      counts->shown + counts->repeated, "shown", G_TYPE_UINT64, counts->shown, "repeated",
      G_TYPE_UINT64, counts->repeated, "dropped", G_TYPE_UINT64, counts->dropped, "resyncs",
      G_TYPE_UINT64, counts->resyncs, "late-episodes", G_TYPE_UINT64, counts->late_episodes,
      "generation-ratio", G_TYPE_DOUBLE, counts->ratio, "queue-level", G_TYPE_UINT, queue_level,
      "prompt-serial", G_TYPE_UINT, stats->prompt_serial, "sparsity", G_TYPE_DOUBLE,
      stats->sparsity, "generate-us", G_TYPE_INT64, stats->generate_us, "decode-us", G_TYPE_INT64,
      stats->decode_us, "text-us", G_TYPE_INT64, stats->text_us, "weights-bytes", G_TYPE_UINT64,
      (guint64) stats->weights_bytes, "state-bytes", G_TYPE_UINT64, (guint64) stats->state_bytes,
      "scratch-bytes", G_TYPE_UINT64, (guint64) stats->scratch_bytes, NULL);
}
