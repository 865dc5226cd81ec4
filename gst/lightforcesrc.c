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
 * next chunk that is made follows the new text. It is seen when those before it have played: the one
 * that is shown, up to #LightforceSrc:queue-chunks finished ones that wait for their time, and one that
 * is being made or waits for room among them. With the default model, whose chunks play 0.75 s, and
 * the default of 2 these are 2.25 s to 3 s; #LightforceSrc:flush-on-prompt makes it sooner.
 *
 * The model is loaded in a thread of the element between READY and PAUSED; progress messages
 * with the code `load` tell how far it is. Width and height are the properties where they are
 * set, else what downstream asks for, else the model's; they stay the same until the element
 * goes back to READY. The framerate is the model's; #LightforceSrc:framerate shows the same pictures
 * faster or slower.
 *
 * With #GstBaseSrc:num-buffers the video ends after that many frames. When #LightforceSrc:is-live is
 * set, each frame is released when it is due on a schedule that begins with the first frame, once
 * #LightforceSrc:prebuffer chunks are there. #LightforceSrc:late-policy says what happens when a
 * picture is not made in time; a QOS message tells of each picture that is shown again or left out,
 * and one warning of each time that the generator falls behind. When it is not set, frames come as
 * fast as they are made and taken, and the video can be sought: it is made again from its seed up
 * to the place in question, with the prompt and the settings that it has by then; those that have a
 * time come at theirs. A seek has the rate 1 and may have a stop; segment seeks let a part of the
 * video loop. One that does not flush waits for the frame that is being made.
 *
 * The signal #LightforceSrc::restart begins a new video from #LightforceSrc:seed, also while it
 * plays; timestamps go on, and prompts with a time come at theirs.
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
 * being pushed. One that comes before its time, but when chunks that begin then or later are made
 * already, throws those away and shows in their place. (Lines of #LightforceSrc:prompt-file throw
 * nothing away.) Frames keep their numbers and times without a gap, but the pictures that were
 * thrown away are lost, live or not: the video skips what happened in them, the first frame
 * behind them is marked as a discontinuity, and `chunk` in its meta tells how much it was.
 *
 * The element posts an element message `lightforce-prompt` with the first frame of each
 * prompt. Its fields: `prompt` (string), `serial` (uint, 0 for the first prompt), `offset`
 * (guint64, number of the frame) and `pts` (guint64, nanoseconds).
 *
 * Elements downstream get the custom downstream event `lightforce-prompt`, in order with the frames,
 * right before that frame: `serial`, `offset`, `pts`, and in place of the text `prompt-sha256` (string,
 * hexadecimal); `prompt` itself only with #LightforceSrc:prompt-in-tags. Message and event come again
 * with the first frame after a seek, a flush and the signal restart.
 *
 * With the first frame of each chunk comes an element message `lightforce-chunk`: `chunk`,
 * `offset`, `pts` and `seed` (guint64), `pictures` (int), `prompt-serial` (uint), `sparsity`
 * (double), and in microseconds (gint64) `generate-us` and `decode-us` of the chunk and `made-us`,
 * what the generator worked from the chunk before to this one: both of these, the pass that remembers
 * the chunk before, and a new prompt; waiting for room in the queue is not in it. Where
 * #LightforceSrc:probe-layer is set and attention was sparse, it says what was chosen in that layer
 * and head in the last denoising pass: `layer`, `head`, `past` (int), and for each latent frame that
 * the chunk could see, of which the first `past` are before the chunk, in `frames` (array of gint64)
 * its number in the video and in `shares` (array of double) the share of its key blocks that were
 * attended to.
 *
 * ## Starting from a picture
 *
 * With #LightforceSrc:start-image the video goes on from a picture: a file or URI of anything that
 * GStreamer decodes, of a video its first picture. It is scaled to fill the frame, and what stands
 * out on two sides is cut off evenly; marks of orientation (EXIF) are not heeded. The first frame is
 * that picture as the model's autoencoder has it, a little softer. What follows is made from the
 * prompt with the picture as its past: a prompt that describes the picture and says what happens
 * goes on best. The beginning is the same after the signal restart and after seeks. A model whose
 * files have no encoder says so in an error.
 *
 * ## Formats and memory
 *
 * Frames are made in the format that is negotiated: I420, NV12, RGB, RGBx, BGRx, RGBA or BGRA, the
 * fourth byte being 255. I420 and NV12 have BT.709 or BT.601 colours, as caps ask, else by size as
 * usual, in video range with MPEG-2 chroma siting; caps that ask for anything else get it by a
 * conversion. The format may change while the video runs; chunks that were waiting are converted.
 *
 * Where the backend is cuda and the plugin was built with gstreamer-cuda, the same formats come in
 * `memory:CUDAMemory` to elements that name it (cudadownload and encoders of nvcodec, say): frames
 * then stay on the GPU. Their CUDA context is the primary one of the device. It is shared with
 * the neighbours in the usual way; give it to elements of an application rather than one of your own.
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
 * `lightforce-model=`, `lightforce-seed=` once for each seed so far, `lightforce-prompt-sha256=` once
 * for each prompt so far (of both the latest 64), `lightforce-later-prompt-sha256=` once for each of the
 * next 64 prompts with a time (lines of #LightforceSrc:prompt-file, and events that have come) that is
 * another one, and `lightforce-start-image-sha256=` where the video starts
 * from a picture (`unknown` where that is no file of this machine). `application-name` and `encoder` are lightforce and its
 * version. With #LightforceSrc:prompt-in-tags `title` and `description` are the prompt. It is left
 * out by default: a text that was published cannot be taken back, while who has it can show at any
 * time that it belongs to the hash. (A hash does not hide a text that others can guess.)
 *
 * Muxers keep one comment. matroskamux and webmmux keep the latest one, so that a file has all
 * prompts and seeds. mp4mux, qtmux and avimux keep the first one: a file has the first seed, the first
 * prompt, and as later ones those whose time was known by then. What is set while it plays is in it
 * where the application tells the muxer to replace tags, before it starts:
 * `gst_tag_setter_set_tag_merge_mode (GST_TAG_SETTER (muxer), GST_TAG_MERGE_REPLACE)`.
 *
 * ## Figures
 *
 * #LightforceSrc:stats counts since the element last left READY. Of the generator: `chunks`,
 * `pictures` (guint64), `prompt-serial` (uint, of the latest chunk), `sparsity` (double, of the latest
 * chunk), and the time it took in all, in microseconds (gint64): `generate-us` (denoising),
 * `decode-us` (latents to pictures), `text-us` (prompts). Its memory in bytes (guint64):
 * `weights-bytes`, shared by all elements with the same model, `state-bytes` and `scratch-bytes`. Of
 * the output (guint64): `frames`, of which `shown` had a picture of their own and `repeated` had the
 * one before again; pictures `dropped`, `resyncs` (moves of the schedule), `late-episodes` (times that
 * the generator fell behind). `queue-level` (uint) is the number of finished chunks that wait, and
 * `generation-ratio` (double) the time that the latest chunk took as a share of the time it plays,
 * so that more than 1 is slower than real time.
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
 * gst-launch-1.0 lightforcesrc backend=cuda is-live=true ! video/x-raw(memory:CUDAMemory),format=NV12 ! nvh264enc ! h264parse ! mpegtsmux ! udpsink host=127.0.0.1 port=5000
 * ]|
 * The same from a GPU, which frames leave encoded only.
 *
 * |[
 * gst-launch-1.0 lightforcesrc prompt-file=story.txt num-buffers=480 prompt-switch=blend ! videoconvert ! x264enc ! matroskamux ! filesink location=story.mkv
 * ]|
 * Follows a file with lines such as `00:00:07.500 snow falls on a city at night`.
 *
 * |[
 * gst-launch-1.0 lightforcesrc start-image=ball.png prompt="a red ball bouncing on green hills" num-buffers=81 ! x264enc ! mp4mux ! filesink location=ball.mp4
 * ]|
 * Goes on from a picture.
 *
 * Since: 0.1
 */
#include "gst/element.h"

#include "gst/caps.h"
#include "gst/messages.h"
#include "gst/promptevent.h"

GST_DEBUG_CATEGORY (lightforcesrc_debug);

static guint prop_is_live, prop_stats, prop_chunk;

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

static GstClockTime
worker_snapshot (guint restarts, guint64 picture, LfSrcSettings *settings, gpointer user_data)
{
  LightforceSrc *self = user_data;
  GstClockTime time = lf_src_chunk_time (self, restarts, picture);
  gboolean live = gst_base_src_is_live (GST_BASE_SRC (self));
  LfPromptScript *script;
  g_autoptr (GError) error = NULL;

  GST_OBJECT_LOCK (self);
  self->syncing = g_thread_self ();
  GST_OBJECT_UNLOCK (self);
  /* Controlled properties have the value of the chunk's first frame. */
  gst_object_sync_values (GST_OBJECT (self), time);
  script = lf_prompts_read_again (self->prompts, &error);
  if (error)
    lf_src_post_warning (GST_ELEMENT (self), error);
  GST_OBJECT_LOCK (self);
  self->syncing = NULL;
  if (script) {
    lf_prompts_replace (self->prompts, script);
    lf_src_note_change (self);
  }
  self->begun = time;
  lf_src_settings_copy (settings, &self->settings);
  lf_prompts_choose (self->prompts, time, live, settings);
  GST_OBJECT_UNLOCK (self);
  return time;
}

static void
worker_warning (const GError *error, gpointer user_data)
{
  lf_src_post_warning (GST_ELEMENT (user_data), error);
}

static const LfSrcWorkerFuncs worker_funcs = {worker_load, worker_snapshot, worker_warning};

/* ---------------------------------------------------------------------- frames */

static GstFlowReturn
next_frame (LightforceSrc *self, GstBuffer **buffer)
{
  GstBaseSrc *bsrc = GST_BASE_SRC (self);
  GstFlowReturn ret = GST_FLOW_OK;
  gboolean repeat = FALSE;

  /* The negotiation was interrupted and the stream goes on. */
  if (self->output == NULL && !self->failed)
    gst_base_src_negotiate (bsrc);
  if (self->failed)
    return GST_FLOW_EOS;
  if (self->output == NULL)
    ret = GST_FLOW_FLUSHING;
  if (ret == GST_FLOW_OK)
    ret = lf_src_apply_seek (self);
  if (ret == GST_FLOW_OK)
    ret = gst_base_src_is_live (bsrc) ? lf_src_release (self, &repeat)
                                      : lf_src_find_chunk (self, TRUE);
  if (ret == GST_FLOW_OK)
    ret = lf_src_make_frame (self, repeat, buffer);
  return ret;
}

static GstFlowReturn
lf_src_create (GstPushSrc *psrc, GstBuffer **buffer)
{
  LightforceSrc *self = LF_SRC (psrc);
  GstBaseSrc *bsrc = GST_BASE_SRC (psrc);
  GstFlowReturn ret = next_frame (self, buffer);

  /* The base class counts a buffer before it is made. */
  if (ret == GST_FLOW_FLUSHING && bsrc->num_buffers_left >= 0)
    bsrc->num_buffers_left++;
  /* That is the end of all, and not of a segment with another one to follow. */
  if (self->failed) {
    GST_OBJECT_LOCK (self);
    bsrc->segment.flags &= ~GST_SEGMENT_FLAG_SEGMENT;
    GST_OBJECT_UNLOCK (self);
  }
  return ret;
}

/* ----------------------------------------------------- events, queries, states */

static gboolean
lf_src_event (GstBaseSrc *bsrc, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK && !lf_src_can_seek (LF_SRC (bsrc), event))
    return FALSE;
  if (lf_is_prompt_event (event))
    return lf_src_take_prompt_event (LF_SRC (bsrc), event);
  return GST_BASE_SRC_CLASS (lf_src_parent_class)->event (bsrc, event);
}

/* What told of the latest prompt may be lost in a flush, and is told again behind it. Frames are made
 * under this lock, and none between the two events of a flush. */
static void
tell_again (LightforceSrc *self)
{
  GstBaseSrc *bsrc = GST_BASE_SRC (self);

  g_mutex_lock (&bsrc->live_lock);
  self->provenance.known = FALSE;
  g_mutex_unlock (&bsrc->live_lock);
}

static gboolean
lf_src_send_event (GstElement *element, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP)
    tell_again (LF_SRC (element));
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK && !lf_src_can_seek (LF_SRC (element), event)) {
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

static gboolean
may_use_cuda (LightforceSrc *self)
{
  const LfModelInfo *info;
  gboolean may;

  GST_OBJECT_LOCK (self);
  info = self->worker ? lf_src_worker_get_info (self->worker) : NULL;
  may = info ? g_str_equal (info->backend, "cuda") : self->settings.backend != LF_SRC_BACKEND_CPU;
  GST_OBJECT_UNLOCK (self);
  return may;
}

static gboolean
lf_src_query (GstBaseSrc *bsrc, GstQuery *query)
{
  LightforceSrc *self = LF_SRC (bsrc);
  guint64 end = (guint64) MAX (bsrc->num_buffers, 0);
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
      /* Live, the anchor is at a running time; else it is where the framerate last changed. */
      if (gst_base_src_is_live (bsrc) || end < timeline.frame)
        lf_timeline_anchor (&timeline, 0, 0);
      gst_query_set_duration (query, format, (gint64) lf_timeline_time (&timeline, end));
      return TRUE;
    }
  }
  /* Elements ask before anything is loaded, for they make a context of their own otherwise. */
  if (GST_QUERY_TYPE (query) == GST_QUERY_CONTEXT && may_use_cuda (self)
      && lf_src_cuda_answer (self->cuda, GST_ELEMENT (self), query))
    return TRUE;
  return GST_BASE_SRC_CLASS (lf_src_parent_class)->query (bsrc, query);
}

static void
lf_src_set_context (GstElement *element, GstContext *context)
{
  lf_src_cuda_set_context (LF_SRC (element)->cuda, context);
  GST_ELEMENT_CLASS (lf_src_parent_class)->set_context (element, context);
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

  self->policy = LF_SRC_LATE_RESYNC;
  self->failed = self->anchored = self->seek_pending = self->late = self->warn = FALSE;
  self->fresh = FALSE;
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
  self->next_frame = self->next_picture = self->shift = self->chunk = 0;
  self->restarts = 0;
  self->begun = GST_CLOCK_TIME_NONE;
  self->mixed = FALSE;
  self->counts = (LfSrcCounts){0};
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
  g_clear_pointer (&self->shown_chunk, lf_chunk_unref);
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
  LfSrcCounts counts;

  GST_OBJECT_LOCK (self);
  stats = self->final_stats;
  if (self->worker)
    lf_src_worker_get_stats (self->worker, &stats, &level);
  counts = self->counts;
  GST_OBJECT_UNLOCK (self);
  return lf_src_make_stats (&stats, level, &counts);
}

/* The action signal: from any thread, in any state. */
static void
lf_src_restart (LightforceSrc *self)
{
  GST_OBJECT_LOCK (self);
  if (self->worker)
    lf_src_worker_restart (self->worker, &self->settings.seed);
  GST_OBJECT_UNLOCK (self);
}

static void
lf_src_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  LightforceSrc *self = LF_SRC (object);
  gboolean known, new_rate;
  LfSrcSettings before; /* but for its strings */

  if (id == prop_is_live) {
    gst_base_src_set_live (GST_BASE_SRC (self), g_value_get_boolean (value));
    return;
  }
  if (g_str_equal (pspec->name, "prompt")) {
    lf_src_set_prompt (self, g_value_get_string (value), LF_PROMPT_MODE_DEFAULT);
    return;
  }
  GST_OBJECT_LOCK (self);
  before = self->settings;
  known = lf_src_settings_set (&self->settings, id, value);
  new_rate = before.fps_n != self->settings.fps_n || before.fps_d != self->settings.fps_d;
  lf_src_note_settings (self, &before);
  GST_OBJECT_UNLOCK (self);
  if (new_rate)
    gst_pad_mark_reconfigure (GST_BASE_SRC_PAD (self));
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
  if (id == prop_chunk) {
    GST_OBJECT_LOCK (self);
    g_value_set_uint64 (value, self->chunk);
    GST_OBJECT_UNLOCK (self);
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
  lf_src_cuda_free (self->cuda);
  G_OBJECT_CLASS (lf_src_parent_class)->finalize (object);
}

static void
lf_src_init (LightforceSrc *self)
{
  lf_pacer_init (&self->pacer);
  self->cuda = lf_src_cuda_new ();
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
  prop_chunk = last + 3;
  g_object_class_install_property (object_class, prop_is_live,
      g_param_spec_boolean ("is-live", "Is live",
          "Release each frame when it is due on the pipeline's clock", FALSE,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));
  g_object_class_install_property (object_class, prop_stats,
      g_param_spec_boxed ("stats", "Statistics",
          "Figures since the start: chunks and pictures made; pictures shown, repeated and "
          "dropped; "
          "times in microseconds, memory in bytes",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  g_object_class_install_property (object_class, prop_chunk,
      g_param_spec_uint64 ("chunk", "Chunk",
          "Number of the chunk that is being shown, from 0 at the start and after a restart", 0,
          G_MAXUINT64, 0, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  /**
   * LightforceSrc::restart:
   *
   * Begins a new video from the property seed. What was made of the old one and not shown is thrown
   * away; timestamps and frame numbers go on.
   */
  g_signal_new_class_handler ("restart", LF_TYPE_SRC, G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
      G_CALLBACK (lf_src_restart), NULL, NULL, NULL, G_TYPE_NONE, 0);

  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Video from a text prompt", "Source/Video",
      "Makes video with an autoregressive diffusion model while it plays",
      "The lightforce developers");
  element_class->change_state = lf_src_change_state;
  element_class->set_context = lf_src_set_context;

  lf_src_negotiation_class_init (base_class);
  lf_src_seek_class_init (base_class);
  element_class->send_event = lf_src_send_event;
  base_class->event = lf_src_event;
  base_class->query = lf_src_query;
  base_class->unlock = lf_src_unlock;
  base_class->unlock_stop = lf_src_unlock_stop;
  base_class->start = lf_src_start;
  base_class->stop = lf_src_stop;
  GST_PUSH_SRC_CLASS (klass)->create = lf_src_create;
}
