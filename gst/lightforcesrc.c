/* lightforce: the element that makes video from a text prompt
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

/**
 * SECTION:element-lightforcesrc
 * @title: lightforcesrc
 * @short_description: makes video from a text prompt while it plays
 *
 * lightforcesrc makes video with an autoregressive diffusion model, one chunk of about a
 * dozen pictures at a time. Each chunk continues what came before, so that the video can
 * go on for as long as it is wanted, and #LightforceSrc:prompt can be changed while it plays: the
 * next chunk that is made follows the new text. As up to #LightforceSrc:queue-chunks finished chunks
 * wait for their time, a change is seen that much later.
 *
 * The model is loaded in a thread of the element between READY and PAUSED; progress messages
 * with the code `load` tell how far it is. Width and height are the properties where they are
 * set, else what downstream asks for, else the model's; they stay the same until the element
 * goes back to READY. The framerate is the model's unless downstream asks for another one, in
 * which the same pictures are then shown faster or slower.
 *
 * With #GstBaseSrc:num-buffers the video ends after that many frames. When #LightforceSrc:is-live is
 * set, each frame is released when it is due; a generator that is slower than the framerate
 * delays the rest of the video and loses nothing. When it is not set, frames come as fast as
 * they are made and taken, and the video can be sought: it is made again from its seed up to
 * the place in question.
 *
 * ## Prompts
 *
 * A prompt is set with #LightforceSrc:prompt, or comes with a time: from the lines of
 * #LightforceSrc:prompt-file, whose times are stream time, or from events. At each chunk, of those
 * whose time has come the latest one holds; what is set while it plays holds until the next one's
 * time comes. A file that changes is read again at the next chunk; if it is bad then, a warning
 * names the line and the old prompts stay. After a seek the video has the prompts that its times
 * call for.
 *
 * The custom upstream event `lightforce-prompt`, sent to the element or from downstream, carries a
 * `prompt` (string) and may have a `mode` (string: `cut`, `recache` or `blend`, for this prompt in
 * place of #LightforceSrc:prompt-switch) and a `time` (guint64, running time in nanoseconds).
 * Without a time it is the same as setting the property. #lightforcepromptsink makes such events
 * of text. An event that is wrong is refused with a warning.
 *
 * With #LightforceSrc:flush-on-prompt, a prompt that is set, or comes after its time, throws away
 * the chunks that wait and the one that is being made, and shows right behind the chunk that is
 * being pushed. Frames keep their numbers and times without a gap, but the pictures that were
 * thrown away are lost, live or not: the video skips what happened in them, the first frame
 * behind them is marked as a discontinuity, and `chunk` in its meta tells how much it was.
 *
 * The element posts an element message `lightforce-prompt` with the first frame of each
 * prompt. Its fields: `prompt` (string), `serial` (uint, 0 for the first prompt), `offset`
 * (guint64, number of the frame) and `pts` (guint64, nanoseconds).
 *
 * ## What a video was made from
 *
 * Every frame carries the custom meta `LightforceMeta` (see gst_buffer_get_custom_meta()) with the
 * fields `chunk` (guint64), `frame-in-chunk` (uint), `seed` (guint64), `prompt-serial` (uint),
 * `sparsity` (double, share of key blocks that attention left out), `model` (string, its name) and
 * `prompt-sha256` (string, hexadecimal). Elements that only change format or size keep it.
 *
 * Right before the first frame of each prompt goes a tag event of the stream. Its tags
 * `extended-comment` and, joined with semicolons, `comment` say `lightforce-version=`,
 * `lightforce-model=`, `lightforce-seed=` and `lightforce-prompt-sha256=`, the last one once for
 * each prompt so far (the latest 64). `application-name` and `encoder` are lightforce and its
 * version. With #LightforceSrc:prompt-in-tags `title` and `description` are the prompt. It is left
 * out by default: a text that was published cannot be taken back, while who has it can show at any
 * time that it belongs to the hash. (A hash does not hide a text that others can guess.)
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 lightforcesrc prompt="a red ball rolls over a meadow" ! videoconvert ! autovideosink
 * ]|
 * Plays what the default model makes.
 *
 * |[
 * gst-launch-1.0 lightforcesrc num-buffers=81 seed=7 prompt="waves on a beach" ! x264enc ! mp4mux ! filesink location=waves.mp4
 * ]|
 * Writes 81 frames to a file.
 *
 * |[
 * gst-launch-1.0 lightforcesrc is-live=true ! videoscale ! video/x-raw,width=640,height=360 ! x264enc tune=zerolatency ! rtph264pay ! udpsink host=127.0.0.1 port=5000
 * ]|
 * Sends live video over the network.
 *
 * |[
 * gst-launch-1.0 lightforcesrc prompt-file=story.txt num-buffers=480 prompt-switch=blend ! videoconvert ! x264enc ! matroskamux ! filesink location=story.mkv
 * ]|
 * Follows a file with lines such as `00:00:07.500 snow falls on a city at night`.
 *
 * Since: 0.1
 */
#include "gst/element.h"

#include "gst/caps.h"
#include "gst/i18n.h"
#include "gst/messages.h"
#include "gst/promptevent.h"

GST_DEBUG_CATEGORY (lightforcesrc_debug);

static guint prop_is_live, prop_stats;

static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (LF_SRC_CAPS));

G_DEFINE_TYPE (LightforceSrc, lf_src, GST_TYPE_PUSH_SRC)
GST_ELEMENT_REGISTER_DEFINE (lightforcesrc, "lightforcesrc", GST_RANK_NONE, LF_TYPE_SRC)

/* -------------------------------------------------------- in the worker thread */

static void
worker_load (LfSrcLoadState state, const char *text, double fraction, gpointer user_data)
{
  LightforceSrc *self = user_data;
  gint percent = CLAMP ((gint) (fraction * 100), 0, 100);

  /* A model is read in thousands of pieces: a message every few percent will do. */
  if (state == LF_SRC_LOAD_CONTINUE && percent / 5 == self->percent / 5)
    return;
  self->percent = percent;
  lf_src_post_load (GST_ELEMENT (self), state, text, percent);
}

static void
worker_snapshot (guint64 frame, LfSrcSettings *settings, gpointer user_data)
{
  LightforceSrc *self = user_data;
  GstClockTime time = lf_src_chunk_time (self, frame);
  gboolean live = gst_base_src_is_live (GST_BASE_SRC (self));
  g_autoptr (GError) error = NULL;

  /* Controlled properties have the value of the chunk's first frame. */
  gst_object_sync_values (GST_OBJECT (self), time);
  if (!lf_prompts_reload (self->prompts, &error))
    lf_src_post_warning (GST_ELEMENT (self), error);
  GST_OBJECT_LOCK (self);
  lf_src_settings_copy (settings, &self->settings);
  lf_prompts_choose (self->prompts, time, live, settings);
  GST_OBJECT_UNLOCK (self);
}

static void
worker_warning (const GError *error, gpointer user_data)
{
  lf_src_post_warning (GST_ELEMENT (user_data), error);
}

static const LfSrcWorkerFuncs worker_funcs = {worker_load, worker_snapshot, worker_warning};

/* ---------------------------------------------------------------------- frames */

/* Begins again where a seek went, now that the framerate is known. */
static GstFlowReturn
apply_seek (LightforceSrc *self)
{
  GstBaseSrc *bsrc = GST_BASE_SRC (self);
  guint64 frame;

  if (!self->seek_pending)
    return GST_FLOW_OK;
  self->seek_pending = FALSE;
  GST_OBJECT_LOCK (self);
  lf_timeline_anchor (&self->timeline, 0, 0);
  frame = lf_timeline_frame (&self->timeline, self->seek_time);
  GST_OBJECT_UNLOCK (self);
  if (bsrc->num_buffers >= 0) {
    if (frame >= (guint64) bsrc->num_buffers)
      return GST_FLOW_EOS;
    /* This buffer is counted already. */
    bsrc->num_buffers_left = bsrc->num_buffers - (gint) frame - 1;
  }
  if (frame < self->next_frame) {
    GST_DEBUG_OBJECT (self, "begin again for frame %" G_GUINT64_FORMAT, frame);
    g_clear_pointer (&self->item, lf_frame_item_free);
    lf_provenance_reset (&self->provenance);
    GST_OBJECT_LOCK (self);
    lf_prompts_rewind (self->prompts);
    GST_OBJECT_UNLOCK (self);
    lf_src_worker_restart (self->worker);
  }
  GST_OBJECT_LOCK (self);
  self->next_frame = frame;
  GST_OBJECT_UNLOCK (self);
  return GST_FLOW_OK;
}

/* Makes `item` the chunk that has the next frame. */
static GstFlowReturn
find_chunk (LightforceSrc *self)
{
  g_autoptr (GError) error = NULL;

  for (;;) {
    const LfFrameItem *item = self->item;

    if (item && self->next_frame < item->first_frame + (guint64) item->chunk->n_pictures)
      return GST_FLOW_OK;
    g_clear_pointer (&self->item, lf_frame_item_free);
    switch (lf_src_worker_pop (self->worker, &self->item, &error)) {
      case LF_FRAME_QUEUE_OK:
        self->discont |= self->item->broken;
        GST_DEBUG_OBJECT (self, "chunk %" G_GUINT64_FORMAT " made in %" G_GINT64_FORMAT " us",
            self->item->chunk->index,
            self->item->chunk->generate_us + self->item->chunk->decode_us);
        break;
      case LF_FRAME_QUEUE_FLUSHING:
        return GST_FLOW_FLUSHING;
      case LF_FRAME_QUEUE_FAILED:
        lf_src_post_error (GST_ELEMENT (self), error, self->next_frame > 0);
        self->failed = TRUE;
        return GST_FLOW_EOS;
    }
  }
}

static void
anchor_live (LightforceSrc *self, GstClockTime now)
{
  GST_OBJECT_LOCK (self);
  lf_timeline_anchor (&self->timeline, self->next_frame, now);
  if (self->anchored)
    self->resyncs++;
  GST_OBJECT_UNLOCK (self);
  if (self->anchored)
    GST_INFO_OBJECT (self, "frame %" G_GUINT64_FORMAT " goes out at %" GST_TIME_FORMAT,
        self->next_frame, GST_TIME_ARGS (now));
  self->anchored = TRUE;
  self->discont = TRUE;
}

/* The running time at which the next frame goes out. Moves the anchor of the schedule when it
 * comes more than its duration too late, and when the running time was reset. */
static GstClockTime
next_due (GstClockTime now, gpointer user_data)
{
  LightforceSrc *self = user_data;
  GstClockTime due, duration;

  if (!self->anchored)
    anchor_live (self, now);
  due = lf_timeline_time (&self->timeline, self->next_frame);
  duration = lf_timeline_duration (&self->timeline, self->next_frame);
  if (now <= due + duration && due <= now + 2 * duration)
    return due;
  anchor_live (self, now);
  return now;
}

static void
stamp (LightforceSrc *self, GstBuffer *buffer)
{
  GST_BUFFER_PTS (buffer) = lf_timeline_time (&self->timeline, self->next_frame);
  GST_BUFFER_DTS (buffer) = GST_CLOCK_TIME_NONE;
  GST_BUFFER_DURATION (buffer) = lf_timeline_duration (&self->timeline, self->next_frame);
  GST_BUFFER_OFFSET (buffer) = self->next_frame;
  GST_BUFFER_OFFSET_END (buffer) = self->next_frame + 1;
  if (self->discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->discont = FALSE;
}

static GstFlowReturn
make_frame (LightforceSrc *self, GstBuffer **frame)
{
  GstBaseSrc *bsrc = GST_BASE_SRC (self);
  LfChunk *chunk = self->item->chunk;
  g_autoptr (GstBuffer) buffer = NULL;
  GstFlowReturn ret;

  ret = GST_BASE_SRC_CLASS (lf_src_parent_class)
            ->alloc (bsrc, GST_BUFFER_OFFSET_NONE,
                (guint) GST_VIDEO_INFO_SIZE (lf_src_output_get_info (self->output)), &buffer);
  if (ret != GST_FLOW_OK && ret != GST_FLOW_FLUSHING)
    goto no_buffer;
  if (ret != GST_FLOW_OK)
    return ret;
  if (!lf_src_output_write (
          self->output, chunk, (gint) (self->next_frame - self->item->first_frame), buffer))
    goto not_written;
  stamp (self, buffer);
  lf_src_tell_frame (self, buffer);
  GST_OBJECT_LOCK (self);
  self->next_frame++;
  self->frames++;
  GST_OBJECT_UNLOCK (self);
  *frame = g_steal_pointer (&buffer);
  return GST_FLOW_OK;

  /* ERRORS */
no_buffer:
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT,
      (_ ("No memory for a video frame of %dx%d: choose a smaller width and height."),
          chunk->layout.width, chunk->layout.height),
      ("allocation: %s", gst_flow_get_name (ret)));
  self->failed = TRUE;
  return GST_FLOW_EOS;
not_written:
  GST_ELEMENT_ERROR (self, RESOURCE, WRITE,
      (_ ("A buffer from downstream's pool cannot be written: put videoconvert behind "
          "lightforcesrc.")),
      ("%" GST_PTR_FORMAT " cannot be mapped as a frame", buffer));
  self->failed = TRUE;
  return GST_FLOW_EOS;
}

static GstFlowReturn
lf_src_create (GstPushSrc *psrc, GstBuffer **buffer)
{
  LightforceSrc *self = LF_SRC (psrc);
  GstBaseSrc *bsrc = GST_BASE_SRC (psrc);
  GstFlowReturn ret = GST_FLOW_OK;

  /* The negotiation was interrupted and the stream goes on. */
  if (self->output == NULL && !self->failed)
    gst_base_src_negotiate (bsrc);
  if (self->failed)
    return GST_FLOW_EOS;
  if (self->output == NULL)
    ret = GST_FLOW_FLUSHING;
  if (ret == GST_FLOW_OK)
    ret = apply_seek (self);
  if (ret == GST_FLOW_OK)
    ret = find_chunk (self);
  if (ret == GST_FLOW_OK && gst_base_src_is_live (bsrc))
    ret = lf_pacer_wait (&self->pacer, GST_ELEMENT (self), next_due, self) ? GST_FLOW_OK
                                                                           : GST_FLOW_FLUSHING;
  if (ret == GST_FLOW_OK)
    ret = make_frame (self, buffer);
  /* The base class counts a buffer before it is made. */
  if (ret == GST_FLOW_FLUSHING && bsrc->num_buffers_left >= 0)
    bsrc->num_buffers_left++;
  return ret;
}

/* ---------------------------------------------------------- seeks, queries, state */

static gboolean
lf_src_is_seekable (GstBaseSrc *bsrc)
{
  return !gst_base_src_is_live (bsrc);
}

/* The base class flushes before it asks do_seek(), and after a refusal there goes on without
 * a segment: what cannot be done is refused before. */
static gboolean
can_seek (LightforceSrc *self, GstEvent *event)
{
  GstFormat format;
  gdouble rate;

  gst_event_parse_seek (event, &rate, &format, NULL, NULL, NULL, NULL, NULL);
  if (!gst_base_src_is_live (GST_BASE_SRC (self)) && format == GST_FORMAT_TIME && rate > 0)
    return TRUE;
  GST_INFO_OBJECT (self, "refused: %" GST_PTR_FORMAT, event);
  return FALSE;
}

static gboolean
lf_src_event (GstBaseSrc *bsrc, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK && !can_seek (LF_SRC (bsrc), event))
    return FALSE;
  if (lf_is_prompt_event (event))
    return lf_src_take_prompt_event (LF_SRC (bsrc), event);
  return GST_BASE_SRC_CLASS (lf_src_parent_class)->event (bsrc, event);
}

static gboolean
lf_src_send_event (GstElement *element, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK && !can_seek (LF_SRC (element), event)) {
    gst_event_unref (event);
    return FALSE;
  }
  if (lf_is_prompt_event (event)) {
    gboolean taken = lf_src_take_prompt_event (LF_SRC (element), event);

    gst_event_unref (event);
    return taken;
  }
  return GST_ELEMENT_CLASS (lf_src_parent_class)->send_event (element, event);
}

/* Also called at the start of every stream. */
static gboolean
lf_src_do_seek (GstBaseSrc *bsrc, GstSegment *segment)
{
  LightforceSrc *self = LF_SRC (bsrc);

  if (gst_base_src_is_live (bsrc))
    return TRUE;
  self->seek_time = segment->position;
  self->seek_pending = TRUE;
  self->discont = TRUE;
  bsrc->num_buffers_left = bsrc->num_buffers;
  return TRUE;
}

static gboolean
lf_src_query (GstBaseSrc *bsrc, GstQuery *query)
{
  LightforceSrc *self = LF_SRC (bsrc);
  LfTimeline timeline;
  GstFormat format;

  GST_OBJECT_LOCK (self);
  timeline = self->timeline;
  GST_OBJECT_UNLOCK (self);
  if (GST_QUERY_TYPE (query) == GST_QUERY_LATENCY && timeline.fps_n > 0
      && gst_base_src_is_live (bsrc)) {
    gst_query_set_latency (
        query, TRUE, lf_timeline_duration (&timeline, timeline.frame), GST_CLOCK_TIME_NONE);
    return TRUE;
  }
  if (GST_QUERY_TYPE (query) == GST_QUERY_DURATION && bsrc->num_buffers >= 0) {
    gst_query_parse_duration (query, &format, NULL);
    if (format == GST_FORMAT_DEFAULT) {
      gst_query_set_duration (query, format, bsrc->num_buffers);
      return TRUE;
    }
    if (format == GST_FORMAT_TIME && timeline.fps_n > 0) {
      gst_query_set_duration (query, format,
          (gint64) gst_util_uint64_scale ((guint64) bsrc->num_buffers,
              (guint64) timeline.fps_d * GST_SECOND, (guint64) timeline.fps_n));
      return TRUE;
    }
  }
  return GST_BASE_SRC_CLASS (lf_src_parent_class)->query (bsrc, query);
}

static void
set_flushing (LightforceSrc *self, gboolean flushing)
{
  lf_pacer_set_flushing (&self->pacer, flushing);
  GST_OBJECT_LOCK (self);
  if (self->worker)
    lf_src_worker_set_flushing (self->worker, flushing);
  GST_OBJECT_UNLOCK (self);
}

static gboolean
lf_src_unlock (GstBaseSrc *bsrc)
{
  set_flushing (LF_SRC (bsrc), TRUE);
  return TRUE;
}

static gboolean
lf_src_unlock_stop (GstBaseSrc *bsrc)
{
  set_flushing (LF_SRC (bsrc), FALSE);
  return TRUE;
}

static gboolean
lf_src_start (GstBaseSrc *bsrc)
{
  LightforceSrc *self = LF_SRC (bsrc);
  LfSrcSettings settings;

  self->next_frame = 0;
  self->failed = self->anchored = self->seek_pending = FALSE;
  self->discont = TRUE;
  self->percent = -1;
  lf_provenance_reset (&self->provenance);
  GST_OBJECT_LOCK (self);
  lf_prompts_rewind (self->prompts);
  lf_src_settings_copy (&settings, &self->settings);
  self->want_width = settings.width;
  self->want_height = settings.height;
  self->width = self->height = 0;
  self->timeline = (LfTimeline){0};
  self->frames = self->resyncs = 0;
  self->worker = lf_src_worker_new (&settings, &worker_funcs, self);
  GST_OBJECT_UNLOCK (self);
  lf_src_settings_clear (&settings);
  return TRUE;
}

static gboolean
lf_src_stop (GstBaseSrc *bsrc)
{
  LightforceSrc *self = LF_SRC (bsrc);
  LfSrcWorker *worker;
  guint level;

  GST_OBJECT_LOCK (self);
  worker = g_steal_pointer (&self->worker);
  lf_src_worker_get_stats (worker, &self->final_stats, &level);
  GST_OBJECT_UNLOCK (self);
  lf_src_worker_free (worker);
  GST_OBJECT_LOCK (self);
  lf_prompts_close (self->prompts);
  GST_OBJECT_UNLOCK (self);
  g_clear_pointer (&self->item, lf_frame_item_free);
  g_clear_pointer (&self->output, lf_src_output_free);
  return TRUE;
}

/* A file that is missing or bad is told before anything starts, so that the state change itself
 * fails. */
static gboolean
check_files (LightforceSrc *self)
{
  g_autofree char *problem = NULL, *prompt_file = NULL;
  g_autoptr (GError) error = NULL;

  GST_OBJECT_LOCK (self);
  problem = lf_src_settings_find_missing (&self->settings);
  prompt_file = g_strdup (self->settings.prompt_file);
  GST_OBJECT_UNLOCK (self);
  if (problem)
    GST_ELEMENT_ERROR (self, RESOURCE, NOT_FOUND, ("%s", problem), (NULL));
  else if (!lf_prompts_open (self->prompts, prompt_file, &error))
    lf_src_post_error (GST_ELEMENT (self), error, FALSE);
  return problem == NULL && error == NULL;
}

static GstStateChangeReturn
lf_src_change_state (GstElement *element, GstStateChange transition)
{
  LightforceSrc *self = LF_SRC (element);

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && !check_files (self))
    return GST_STATE_CHANGE_FAILURE;
  if (transition == GST_STATE_CHANGE_PAUSED_TO_PLAYING)
    lf_pacer_set_playing (&self->pacer, TRUE);
  else if (transition == GST_STATE_CHANGE_PLAYING_TO_PAUSED)
    lf_pacer_set_playing (&self->pacer, FALSE);
  return GST_ELEMENT_CLASS (lf_src_parent_class)->change_state (element, transition);
}

/* ------------------------------------------------------------------ properties */

static GstStructure *
make_stats (LightforceSrc *self)
{
  LfStats stats;
  guint level = 0;
  guint64 frames, resyncs;

  GST_OBJECT_LOCK (self);
  stats = self->final_stats;
  if (self->worker)
    lf_src_worker_get_stats (self->worker, &stats, &level);
  frames = self->frames;
  resyncs = self->resyncs;
  GST_OBJECT_UNLOCK (self);
  return lf_src_make_stats (&stats, level, frames, resyncs);
}

static void
lf_src_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  LightforceSrc *self = LF_SRC (object);
  gboolean known;

  if (id == prop_is_live) {
    gst_base_src_set_live (GST_BASE_SRC (self), g_value_get_boolean (value));
    return;
  }
  if (g_str_equal (pspec->name, "prompt")) {
    lf_src_set_prompt (self, g_value_get_string (value), LF_PROMPT_MODE_DEFAULT);
    return;
  }
  GST_OBJECT_LOCK (self);
  known = lf_src_settings_set (&self->settings, id, value);
  GST_OBJECT_UNLOCK (self);
  if (!known)
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
}

static void
lf_src_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  LightforceSrc *self = LF_SRC (object);
  gboolean known;

  if (id == prop_is_live) {
    g_value_set_boolean (value, gst_base_src_is_live (GST_BASE_SRC (self)));
    return;
  }
  if (id == prop_stats) {
    g_value_take_boxed (value, make_stats (self));
    return;
  }
  GST_OBJECT_LOCK (self);
  known = lf_src_settings_get (&self->settings, id, value);
  GST_OBJECT_UNLOCK (self);
  if (!known)
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
}

static void
lf_src_finalize (GObject *object)
{
  LightforceSrc *self = LF_SRC (object);

  lf_src_settings_clear (&self->settings);
  lf_prompts_free (self->prompts);
  lf_provenance_clear (&self->provenance);
  lf_pacer_clear (&self->pacer);
  G_OBJECT_CLASS (lf_src_parent_class)->finalize (object);
}

static void
lf_src_init (LightforceSrc *self)
{
  lf_pacer_init (&self->pacer);
  lf_src_settings_init (&self->settings);
  self->prompts = lf_prompts_new ();
  lf_provenance_init (&self->provenance);
  gst_base_src_set_format (GST_BASE_SRC (self), GST_FORMAT_TIME);
  gst_base_src_set_live (GST_BASE_SRC (self), FALSE);
}

static void
lf_src_class_init (LightforceSrcClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseSrcClass *base_class = GST_BASE_SRC_CLASS (klass);
  guint last;

  GST_DEBUG_CATEGORY_INIT (lightforcesrc_debug, "lightforcesrc", 0, "lightforcesrc element");
  lf_provenance_register_meta ();
  object_class->set_property = lf_src_set_property;
  object_class->get_property = lf_src_get_property;
  object_class->finalize = lf_src_finalize;
  last = lf_src_settings_install_properties (object_class);
  prop_is_live = last + 1;
  prop_stats = last + 2;
  g_object_class_install_property (object_class, prop_is_live,
      g_param_spec_boolean ("is-live", "Is live",
          "Release each frame when it is due on the pipeline's clock", FALSE,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));
  g_object_class_install_property (object_class, prop_stats,
      g_param_spec_boxed ("stats", "Statistics",
          "Figures since the start: chunks and pictures made, frames pushed, times in "
          "microseconds, memory in bytes",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));

  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Video from a text prompt", "Source/Video",
      "Makes video with an autoregressive diffusion model while it plays",
      "The lightforce developers");
  element_class->change_state = lf_src_change_state;
  element_class->send_event = lf_src_send_event;

  base_class->event = lf_src_event;
  lf_src_negotiation_class_init (base_class);
  base_class->is_seekable = lf_src_is_seekable;
  base_class->do_seek = lf_src_do_seek;
  base_class->query = lf_src_query;
  base_class->unlock = lf_src_unlock;
  base_class->unlock_stop = lf_src_unlock_stop;
  base_class->start = lf_src_start;
  base_class->stop = lf_src_stop;
  GST_PUSH_SRC_CLASS (klass)->create = lf_src_create;
}
