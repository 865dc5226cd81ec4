/* lightforce: the studio's pipeline
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/studio-show.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <gst/video/video.h>
#include <string.h>
#include <unistd.h>

/* Frames from one key frame to the next where nobody asks for one. */
#define KEYFRAME_INTERVAL 64
/* Branches that come at the same time share key frames. */
#define REFRESH_US (G_USEC_PER_SEC / 4)
/* How long a file has to become complete once its recording has ended. */
#define FINISH_SECONDS 10

typedef struct
{
  GstElement *valve, *tee; /* the pipeline's */
  guint branches;
  gint64 refreshed; /* monotonic time */
} Encoder;

typedef struct
{
  LfShow *show;
  LfCodec codec;
  GstElement *element;
  GstPad *pad;      /* of the tee; NULL: unlinked */
  gboolean removed; /* it is on its way out */
} Branch;

struct _LfShow
{
  const LfStudioConfig *config;
  LfShowFuncs funcs;
  gpointer user_data;
  GstElement *pipeline, *source;
  Encoder encoders[LF_N_CODECS];
  GPtrArray *branches; /* of Branch */
  guint watch;
  gboolean playing;

  GstElement *recording; /* branch; NULL: nothing is recorded */
  char *path;
  gboolean finishing;
  guint patience; /* source that ends the wait for it */
};

/* What a branch is taken out by, in the main thread. */
typedef struct
{
  GstElement *pipeline, *branch, *tee;
  GstPad *pad;
} Leaving;

/* ---------------------------------------------------------------------- encoders */

static GstElement *
make_source (const LfStudioConfig *config, GError **error)
{
  GstElement *source = lf_source_new (config->properties);

  if (source == NULL)
    g_set_error (error, GST_CORE_ERROR, GST_CORE_ERROR_MISSING_PLUGIN,
        "There is no element lightforcesrc: install the plugin, or name its folder in the "
        "environment variable GST_PLUGIN_PATH.");
  return source;
}

static char *
make_line (const LfStudioConfig *config)
{
  g_autofree char *h264 = lf_encoder_line (config->bitrate, KEYFRAME_INTERVAL, "veryfast");

  /* Frames wait for their encoder, not for the slowest of the encoders. */
  return g_strdup_printf (
      "tee name=pictures allow-not-linked=true "
      "pictures. ! queue max-size-buffers=8 max-size-bytes=0 max-size-time=0 leaky=downstream ! "
      "valve name=valve0 drop=true ! videoconvert ! %s ! "
      "video/x-h264,profile=constrained-baseline,stream-format=byte-stream ! "
      "tee name=coded0 allow-not-linked=true "
      "pictures. ! queue max-size-buffers=8 max-size-bytes=0 max-size-time=0 leaky=downstream ! "
      "valve name=valve1 drop=true ! videoconvert ! vp8enc deadline=1 cpu-used=8 threads=1 "
      "keyframe-max-dist=%d target-bitrate=%u ! tee name=coded1 allow-not-linked=true",
      h264, KEYFRAME_INTERVAL, config->bitrate * 1000);
}

/* A key frame is only made of what comes after it is asked for. */
void
lf_show_refresh (LfShow *show, LfCodec codec)
{
  Encoder *encoder = &show->encoders[codec];
  gint64 now = g_get_monotonic_time ();
  g_autoptr (GstPad) pad = NULL;

  if (now - encoder->refreshed < REFRESH_US)
    return;
  encoder->refreshed = now;
  pad = gst_element_get_static_pad (encoder->tee, "sink");
  gst_pad_push_event (
      pad, gst_video_event_new_upstream_force_key_unit (GST_CLOCK_TIME_NONE, TRUE, 0));
}

/* ---------------------------------------------------------------------- branches */

/* What elements are marked with that are branches, or were. */
#define BRANCH_MARK "lf-branch"

static Branch *
find_branch (LfShow *show, GstElement *element)
{
  guint i;

  for (i = 0; i < show->branches->len; i++) {
    Branch *branch = g_ptr_array_index (show->branches, i);

    if (branch->element == element)
      return branch;
  }
  return NULL;
}

/* They would wait in the branch's queue, and with them everybody, until a viewer has connected. No
 * branch has memory to offer. */
static GstPadProbeReturn
refuse_query (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_QUERY_IS_SERIALIZED (GST_PAD_PROBE_INFO_QUERY (info)) ? GST_PAD_PROBE_DROP
                                                                   : GST_PAD_PROBE_OK;
}

/* A branch that fails tells so by a message. What its queue then answers would end the encoder, and
 * with it what all the others see. */
static GstFlowReturn
give_to_branch (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  gst_proxy_pad_chain_default (pad, parent, buffer);
  return GST_FLOW_OK;
}

gboolean
lf_show_add_branch (LfShow *show, LfCodec codec, GstElement *element)
{
  Encoder *encoder = &show->encoders[codec];
  Branch *branch = g_new0 (Branch, 1);
  g_autoptr (GstPad) sink = NULL;

  gst_bin_add (GST_BIN (show->pipeline), element);
  branch->show = show;
  branch->codec = codec;
  branch->element = element;
  branch->pad = gst_element_request_pad_simple (encoder->tee, "src_%u");
  g_ptr_array_add (show->branches, branch);
  encoder->branches++;
  g_object_set_data (G_OBJECT (element), BRANCH_MARK, GINT_TO_POINTER (TRUE));
  gst_element_sync_state_with_parent (element);
  sink = gst_element_get_static_pad (element, "sink");
  gst_pad_set_chain_function (sink, give_to_branch);
  if (gst_pad_link (branch->pad, sink) != GST_PAD_LINK_OK) {
    lf_show_remove_branch (show, element);
    return FALSE;
  }
  g_object_set (encoder->valve, "drop", FALSE, NULL);
  encoder->refreshed = 0;
  lf_show_refresh (show, codec);
  return TRUE;
}

static gboolean
leave (gpointer data)
{
  Leaving *leaving = data;

  gst_element_set_state (leaving->branch, GST_STATE_NULL);
  gst_bin_remove (GST_BIN (leaving->pipeline), leaving->branch);
  gst_element_release_request_pad (leaving->tee, leaving->pad);
  return G_SOURCE_REMOVE;
}

static void
leaving_free (gpointer data)
{
  Leaving *leaving = data;

  gst_object_unref (leaving->pipeline);
  gst_object_unref (leaving->branch);
  gst_object_unref (leaving->tee);
  gst_object_unref (leaving->pad);
  g_free (leaving);
}

static Leaving *
leaving_new (Branch *branch)
{
  Leaving *leaving = g_new0 (Leaving, 1);

  leaving->pipeline = gst_object_ref (branch->show->pipeline);
  leaving->branch = gst_object_ref (branch->element);
  leaving->tee = gst_object_ref (branch->show->encoders[branch->codec].tee);
  leaving->pad = gst_object_ref (branch->pad);
  return leaving;
}

/* While nothing is on its way through the pad. Runs once, in whatever thread. */
static GstPadProbeReturn
unlink_branch (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Leaving *leaving = data;
  g_autoptr (GstPad) peer = gst_pad_get_peer (pad);

  if (peer)
    gst_pad_unlink (pad, peer);
  g_idle_add_full (G_PRIORITY_DEFAULT, leave, leaving, leaving_free);
  return GST_PAD_PROBE_REMOVE;
}

/* Nothing more of its codec goes there. */
static void
count_out (Branch *branch)
{
  Encoder *encoder = &branch->show->encoders[branch->codec];

  if (branch->removed)
    return;
  branch->removed = TRUE;
  if (--encoder->branches == 0)
    g_object_set (encoder->valve, "drop", TRUE, NULL);
}

void
lf_show_remove_branch (LfShow *show, GstElement *element)
{
  Branch *branch = find_branch (show, element);

  if (branch == NULL)
    return;
  count_out (branch);
  gst_pad_add_probe (
      branch->pad, GST_PAD_PROBE_TYPE_IDLE, unlink_branch, leaving_new (branch), NULL);
  g_ptr_array_remove (show->branches, branch);
}

static void
branch_free (gpointer data)
{
  Branch *branch = data;

  gst_object_unref (branch->pad);
  g_free (branch);
}

/* --------------------------------------------------------------------- recording */

/* A file that was not there, so that none is overwritten: NULL with `error` set. */
static char *
make_path (const LfStudioConfig *config, const char *format, GError **error)
{
  g_autoptr (GDateTime) now = g_date_time_new_now_local ();
  g_autofree char *name = g_date_time_format (now, "lightforce-%Y%m%d-%H%M%S");
  guint i;

  if (g_mkdir_with_parents (config->output, 0777) != 0) {
    g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
        "the folder %s cannot be made: %s; choose another one with --output", config->output,
        g_strerror (errno));
    return NULL;
  }
  for (i = 0; i < 100; i++) {
    g_autofree char *file =
        i ? g_strdup_printf ("%s-%u.%s", name, i, format) : g_strdup_printf ("%s.%s", name, format);
    g_autofree char *path = g_build_filename (config->output, file, NULL);
    int fd = g_open (path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);

    if (fd >= 0) {
      close (fd);
      return g_steal_pointer (&path);
    }
    if (errno != EEXIST) {
      g_set_error (error, G_IO_ERROR, g_io_error_from_errno (errno),
          "%s cannot be written: %s; choose another folder with --output", path,
          g_strerror (errno));
      return NULL;
    }
  }
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_EXISTS, "%s is there already", name);
  return NULL;
}

static void
drop_recording (LfShow *show, const char *problem)
{
  g_autofree char *path = g_steal_pointer (&show->path);
  GStatBuf status = {0};

  g_clear_handle_id (&show->patience, g_source_remove);
  show->finishing = FALSE;
  lf_show_remove_branch (show, g_steal_pointer (&show->recording));
  g_stat (path, &status);
  show->funcs.recorded (path, (guint64) status.st_size, problem, show->user_data);
}

static GstPadProbeReturn
wait_key_frame (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  if (GST_BUFFER_FLAG_IS_SET (GST_PAD_PROBE_INFO_BUFFER (info), GST_BUFFER_FLAG_DELTA_UNIT))
    return GST_PAD_PROBE_DROP;
  return GST_PAD_PROBE_REMOVE;
}

const char *
lf_show_record (LfShow *show, const char *format, GError **error)
{
  g_autofree char *line = NULL;
  g_autoptr (GstElement) sink = NULL;
  g_autoptr (GstPad) pad = NULL;
  GstElement *branch;

  if (show->recording) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_BUSY, "%s is being recorded already", show->path);
    return NULL;
  }
  /* After an error of any branch, the pipeline takes no sink to PLAYING that gets there by and by. */
  line = g_strdup_printf (
      "queue name=in max-size-buffers=0 max-size-time=0 max-size-bytes=67108864 "
      "! h264parse ! %s ! filesink name=out async=false",
      g_str_equal (format, "mkv") ? "matroskamux name=mux offset-to-zero=true" : "mp4mux name=mux");
  branch =
      gst_parse_bin_from_description_full (line, FALSE, NULL, GST_PARSE_FLAG_FATAL_ERRORS, error);
  if (branch == NULL)
    return NULL;
  gst_object_ref_sink (branch);
  show->path = make_path (show->config, format, error);
  if (show->path == NULL) {
    gst_object_unref (branch);
    return NULL;
  }
  sink = gst_bin_get_by_name (GST_BIN (branch), "out");
  g_object_set (sink, "location", show->path, NULL);
  /* the end of this sink alone is told of, too */
  g_object_set (branch, "message-forward", TRUE, NULL);
  {
    g_autoptr (GstElement) in = gst_bin_get_by_name (GST_BIN (branch), "in");
    g_autoptr (GstElement) muxer = gst_bin_get_by_name (GST_BIN (branch), "mux");
    g_autoptr (GstPad) target = gst_element_get_static_pad (in, "sink");

    /* of prompts and seeds, the latest tags have them all, and mp4mux would keep the first ones */
    gst_tag_setter_set_tag_merge_mode (GST_TAG_SETTER (muxer), GST_TAG_MERGE_REPLACE);
    pad = gst_object_ref_sink (gst_ghost_pad_new ("sink", target));
    gst_element_add_pad (branch, gst_object_ref (pad));
  }
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, wait_key_frame, NULL, NULL);
  show->recording = branch;
  if (!lf_show_add_branch (show, LF_CODEC_H264, branch)) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_FAILED, "the recorder cannot be added to the video");
    show->recording = NULL;
    g_clear_pointer (&show->path, g_free);
    gst_object_unref (branch);
    return NULL;
  }
  gst_object_unref (branch); /* the pipeline has it */
  return show->path;
}

/* The muxer writes what players need, and the sink tells when it has. */
static gboolean
send_end (gpointer data)
{
  g_autoptr (GstPad) pad = gst_element_get_static_pad (data, "sink");

  gst_pad_send_event (pad, gst_event_new_eos ());
  return G_SOURCE_REMOVE;
}

static GstPadProbeReturn
end_branch (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  g_autoptr (GstPad) peer = gst_pad_get_peer (pad);

  if (peer)
    gst_pad_unlink (pad, peer);
  g_idle_add_full (G_PRIORITY_DEFAULT, send_end, gst_object_ref (data), gst_object_unref);
  return GST_PAD_PROBE_REMOVE;
}

static gboolean
lose_patience (gpointer data)
{
  LfShow *show = data;

  show->patience = 0;
  drop_recording (show, "the file was not complete in time");
  return G_SOURCE_REMOVE;
}

void
lf_show_stop_recording (LfShow *show)
{
  Branch *branch = show->recording ? find_branch (show, show->recording) : NULL;

  if (branch == NULL || show->finishing)
    return;
  show->finishing = TRUE;
  count_out (branch);
  gst_pad_add_probe (branch->pad, GST_PAD_PROBE_TYPE_IDLE, end_branch,
      gst_object_ref (show->recording), gst_object_unref);
  show->patience = g_timeout_add_seconds (FINISH_SECONDS, lose_patience, show);
}

const char *
lf_show_get_recording (LfShow *show)
{
  return show->path;
}

gboolean
lf_show_is_finishing (LfShow *show)
{
  return show->finishing;
}

/* ---------------------------------------------------------------------- messages */

/* The branch that `object` is in, or NULL. */
static Branch *
find_owner (LfShow *show, GstObject *object)
{
  guint i;

  for (i = 0; i < show->branches->len; i++) {
    Branch *branch = g_ptr_array_index (show->branches, i);

    if (gst_object_has_as_ancestor (object, GST_OBJECT (branch->element)))
      return branch;
  }
  return NULL;
}

/* Whether `object` is the pipeline's own. A branch that is on its way out is not, and can still tell
 * of errors: one brings others with it. */
static gboolean
is_own (LfShow *show, GstObject *object)
{
  GstObject *parent;
  gboolean branch = FALSE;

  gst_object_ref (object);
  while (object && object != GST_OBJECT (show->pipeline)) {
    branch |= g_object_get_data (G_OBJECT (object), BRANCH_MARK) != NULL;
    parent = gst_object_get_parent (object);
    gst_object_unref (object);
    object = parent;
  }
  if (object == NULL)
    return FALSE;
  gst_object_unref (object);
  return !branch;
}

static void
handle_error (LfShow *show, GstMessage *message)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *debug = NULL;
  Branch *branch = find_owner (show, GST_MESSAGE_SRC (message));

  gst_message_parse_error (message, &error, &debug);
  if (branch && branch->element == show->recording) {
    drop_recording (show, error->message);
  } else if (branch) {
    g_autoptr (GstElement) element = gst_object_ref (branch->element);

    lf_show_remove_branch (show, element);
    show->funcs.branch_failed (element, error->message, show->user_data);
  } else if (is_own (show, GST_MESSAGE_SRC (message))) {
    g_printerr ("error: %s%s%s%s\n", error->message, debug ? " (" : "", debug ? debug : "",
        debug ? ")" : "");
    show->funcs.ended (error->message, show->user_data);
  } /* else: of a branch that is gone */
}

static void
handle_element (LfShow *show, GstMessage *message)
{
  const GstStructure *s = gst_message_get_structure (message);
  GstMessage *inner = NULL;

  if (s && GST_MESSAGE_SRC (message) == GST_OBJECT (show->source)) {
    show->funcs.told (s, show->user_data);
  } else if (s && show->recording && GST_MESSAGE_SRC (message) == GST_OBJECT (show->recording)
             && gst_structure_has_name (s, "GstBinForwarded")
             && gst_structure_get (s, "message", GST_TYPE_MESSAGE, &inner, NULL)) {
    gboolean ended = GST_MESSAGE_TYPE (inner) == GST_MESSAGE_EOS;

    gst_message_unref (inner);
    if (ended)
      drop_recording (show, NULL);
  }
}

static gboolean
handle_message (GstBus *bus, GstMessage *message, gpointer data)
{
  LfShow *show = data;
  g_autoptr (GError) error = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ERROR:
      handle_error (show, message);
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, NULL);
      g_printerr ("warning: %s\n", error->message);
      show->funcs.warned (error->message, show->user_data);
      break;
    case GST_MESSAGE_ELEMENT:
      handle_element (show, message);
      break;
    case GST_MESSAGE_LATENCY:
      gst_bin_recalculate_latency (GST_BIN (show->pipeline));
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

/* Without a sink that has all, the pipeline itself never tells of the end. */
static gboolean
tell_end (gpointer data)
{
  LfShow *show = data;

  show->funcs.ended (NULL, show->user_data);
  return G_SOURCE_REMOVE;
}

static GstPadProbeReturn
note_end (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_EOS)
    g_idle_add (tell_end, data);
  return GST_PAD_PROBE_OK;
}

/* -------------------------------------------------------------------------- life */

LfShow *
lf_show_new (
    const LfStudioConfig *config, const LfShowFuncs *funcs, gpointer user_data, GError **error)
{
  g_autofree char *line = make_line (config);
  GstElement *source = make_source (config, error), *pipeline;
  g_autoptr (GstElement) tee = NULL;
  g_autoptr (GstBus) bus = NULL;
  g_autoptr (GstPad) pad = NULL;
  LfShow *show;
  guint i;

  if (source == NULL)
    return NULL;
  gst_object_ref_sink (source);
  pipeline = gst_parse_launch_full (line, NULL, GST_PARSE_FLAG_FATAL_ERRORS, error);
  if (pipeline == NULL) {
    g_prefix_error (error, "the encoders cannot be made: ");
    gst_object_unref (source);
    return NULL;
  }
  show = g_new0 (LfShow, 1);
  show->config = config;
  show->funcs = *funcs;
  show->user_data = user_data;
  show->pipeline = gst_object_ref_sink (pipeline);
  show->source = source;
  show->branches = g_ptr_array_new_with_free_func (branch_free);
  tee = gst_bin_get_by_name (GST_BIN (pipeline), "pictures");
  gst_bin_add (GST_BIN (pipeline), source);
  gst_element_link (source, tee);
  for (i = 0; i < LF_N_CODECS; i++) {
    g_autoptr (GstPad) in = NULL;
    g_autofree char *valve = g_strdup_printf ("valve%u", i),
                    *coded = g_strdup_printf ("coded%u", i);

    show->encoders[i].valve = gst_bin_get_by_name (GST_BIN (pipeline), valve);
    show->encoders[i].tee = gst_bin_get_by_name (GST_BIN (pipeline), coded);
    in = gst_element_get_static_pad (show->encoders[i].tee, "sink");
    gst_pad_add_probe (in, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, refuse_query, NULL, NULL);
  }
  pad = gst_element_get_static_pad (source, "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, note_end, show, NULL);
  bus = gst_element_get_bus (pipeline);
  show->watch = gst_bus_add_watch (bus, handle_message, show);
  return show;
}

void
lf_show_free (LfShow *show)
{
  guint i;

  if (show->patience)
    g_source_remove (show->patience);
  gst_element_set_state (show->pipeline, GST_STATE_NULL);
  g_source_remove (show->watch);
  while (g_idle_remove_by_data (show))
    continue;
  g_ptr_array_unref (show->branches);
  for (i = 0; i < LF_N_CODECS; i++) {
    gst_object_unref (show->encoders[i].valve);
    gst_object_unref (show->encoders[i].tee);
  }
  gst_object_unref (show->source);
  gst_object_unref (show->pipeline);
  g_free (show->path);
  g_free (show);
}

GstElement *
lf_show_get_source (LfShow *show)
{
  return show->source;
}

gboolean
lf_show_set_playing (LfShow *show, gboolean playing)
{
  show->playing = playing;
  return gst_element_set_state (show->pipeline, playing ? GST_STATE_PLAYING : GST_STATE_PAUSED)
         != GST_STATE_CHANGE_FAILURE;
}

gboolean
lf_show_is_playing (LfShow *show)
{
  return show->playing;
}
