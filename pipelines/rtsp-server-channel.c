/* lightforce: one video of the RTSP server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/rtsp-server-channel.h"

#include <gst/video/video.h>

/* How long a pipeline stays that no client has, paused; and one that failed is not made again. */
#define LINGER_US (10 * G_USEC_PER_SEC)
/* The encoder has a thread of its own, and may be held up this long before the source is, whose
 * frames then are late. */
#define QUEUE_FRAMES "4"
/* New clients share key frames: a crowd of them must not make every frame one. */
#define REFRESH_US (G_USEC_PER_SEC / 2)
/* A warning that comes with each packet, as where one cannot be sent, is told this often. */
#define WARNING_US (10 * G_USEC_PER_SEC)
/* Between two looks at the cancellable. */
#define LOOK (100 * GST_MSECOND)
/* What the source tells of the first thing that it sends. */
#define FIRST_PICTURE "lightforce-first-picture"
#define NO_PICTURE "lightforce-no-picture"

struct _LfRtspChannel
{
  GstRTSPMediaFactory parent;

  const LfRtspMount *mount;
  LfModel *model;            /* keeps it in memory */
  GCancellable *cancellable; /* of the wait for a first picture */
  LfRtspChannelEnded ended;
  gpointer user_data;

  GMutex lock;
  GstElement *settings; /* never plays: what the next pipeline's source has */
  GWeakRef source;      /* of the latest pipeline */
  gint64 refreshed;     /* monotonic time */
  char *warning;        /* the latest one that was told, */
  gint64 warned;        /* when, monotonic time, */
  guint unheard;        /* and how often it came since */
  guint generation;     /* of pipelines; part of the key by which the library finds them */

  GMutex gate; /* held while a pipeline is made ready or taken down */
  GstRTSPMedia *held;
  gint64 wanted; /* when a client last asked for it, monotonic time */
  gint64 rests;  /* since when none is made for want of success, monotonic time */

  /* Of a warm mount, in the main thread: */
  GThread *maker; /* makes it again, */
  GstRTSPThreadPool *threads;
  gint made; /* atomic: and has done so */
};

G_DEFINE_FINAL_TYPE (LfRtspChannel, lf_rtsp_channel, GST_TYPE_RTSP_MEDIA_FACTORY)

/* -------------------------------------------------------------- its pipeline */

#define LF_TYPE_RTSP_MEDIA (lf_rtsp_media_get_type ())
G_DECLARE_FINAL_TYPE (LfRtspMedia, lf_rtsp_media, LF, RTSP_MEDIA, GstRTSPMedia)

struct _LfRtspMedia
{
  GstRTSPMedia parent;
  GWeakRef channel; /* which keeps the media */
  GstPad *pad;      /* of the source, */
  gulong first;     /* and the probe there that keeps the first picture */
};

G_DEFINE_FINAL_TYPE (LfRtspMedia, lf_rtsp_media, GST_TYPE_RTSP_MEDIA)

static void
tell (LfRtspChannel *channel, const char *what, GError *error, const char *debug)
{
  g_printerr ("%s: %s: %s%s%s%s\n", channel->mount->path, what, error->message, debug ? " (" : "",
      debug ? debug : "", debug ? ")" : "");
}

static void
tell_warning (LfRtspChannel *channel, GError *error)
{
  gint64 now = g_get_monotonic_time ();
  g_autofree char *what = NULL;

  g_mutex_lock (&channel->lock);
  if (g_strcmp0 (channel->warning, error->message) == 0 && now - channel->warned < WARNING_US) {
    channel->unheard++;
  } else {
    what = channel->unheard
               ? g_strdup_printf ("warning (after %u like the one before)", channel->unheard)
               : g_strdup ("warning");
    g_free (channel->warning);
    channel->warning = g_strdup (error->message);
    channel->warned = now;
    channel->unheard = 0;
  }
  g_mutex_unlock (&channel->lock);
  if (what)
    tell (channel, what, error, NULL);
}

static void
tell_prompt (LfRtspChannel *channel, GstMessage *message)
{
  const GstStructure *s = gst_message_get_structure (message);
  guint64 frame = 0;
  g_autofree char *prompt = NULL;
  char *c;

  if (s == NULL || !gst_structure_has_name (s, "lightforce-prompt"))
    return;
  gst_structure_get_uint64 (s, "offset", &frame);
  prompt = g_strdup (gst_structure_get_string (s, "prompt"));
  for (c = prompt; c && *c; c++)
    if (g_ascii_iscntrl (*c))
      *c = ' ';
  g_printerr ("%s: from frame %" G_GUINT64_FORMAT " on: %s\n", channel->mount->path, frame, prompt);
}

static void
tell_message (LfRtspChannel *channel, GstMessage *message)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *debug = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ELEMENT:
      tell_prompt (channel, message);
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, &debug);
      tell_warning (channel, error);
      break;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, &debug);
      tell (channel, "error", error, debug);
      break;
    default:
      break;
  }
}

/* In the thread of the source. */
static GstPadProbeReturn
keep_first (GstPad *pad, GstPadProbeInfo *info, gpointer source)
{
  gboolean picture = (info->type & GST_PAD_PROBE_TYPE_BUFFER) != 0;

  if (!picture && GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) != GST_EVENT_EOS)
    return GST_PAD_PROBE_PASS;
  gst_element_post_message (
      source, gst_message_new_application (GST_OBJECT (source),
                  gst_structure_new_empty (picture ? FIRST_PICTURE : NO_PICTURE)));
  return GST_PAD_PROBE_OK;
}

static void
release_first (LfRtspMedia *self)
{
  if (self->first)
    gst_pad_remove_probe (self->pad, self->first);
  self->first = 0;
  gst_clear_object (&self->pad);
}

static gboolean
is_playing (GstMessage *message)
{
  GstState state;

  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_STATE_CHANGED
      || !GST_IS_PIPELINE (GST_MESSAGE_SRC (message)))
    return FALSE;
  gst_message_parse_state_changed (message, NULL, &state, NULL);
  return state == GST_STATE_PLAYING;
}

/* In the thread of the media. */
static gboolean
lf_rtsp_media_handle_message (GstRTSPMedia *media, GstMessage *message)
{
  g_autoptr (LfRtspChannel) channel = g_weak_ref_get (&LF_RTSP_MEDIA (media)->channel);

  if (channel)
    tell_message (channel, message);
  if (channel && channel->ended && GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    channel->ended (channel, media, channel->user_data);
  /* Now the library has put its part in place, and waits for the picture. */
  if (is_playing (message))
    release_first (LF_RTSP_MEDIA (media));
  return GST_RTSP_MEDIA_CLASS (lf_rtsp_media_parent_class)->handle_message (media, message);
}

static void
lf_rtsp_media_finalize (GObject *object)
{
  g_weak_ref_clear (&LF_RTSP_MEDIA (object)->channel);
  release_first (LF_RTSP_MEDIA (object));
  G_OBJECT_CLASS (lf_rtsp_media_parent_class)->finalize (object);
}

static void
lf_rtsp_media_init (LfRtspMedia *media)
{
  g_weak_ref_init (&media->channel, NULL);
}

static void
lf_rtsp_media_class_init (LfRtspMediaClass *klass)
{
  G_OBJECT_CLASS (klass)->finalize = lf_rtsp_media_finalize;
  GST_RTSP_MEDIA_CLASS (klass)->handle_message = lf_rtsp_media_handle_message;
}

/* ----------------------------------------------------------------- the factory */

/* All but the source, which has properties that are no launch line. */
static char *
make_line (const LfRtspMount *mount)
{
  g_autofree char *caps =
      mount->profile ? g_strdup_printf (",profile=%s", mount->profile) : g_strdup ("");

  return g_strdup_printf ("queue name=in max-size-buffers=" QUEUE_FRAMES
                          " max-size-bytes=0 max-size-time=0 ! %s%s videoconvert ! %s ! "
                          "video/x-h264%s ! rtph264pay name=pay0 pt=96 config-interval=%d",
      mount->filter ? mount->filter : "", mount->filter ? " ! " : "", mount->encoder, caps,
      mount->config_interval);
}

/* Copies what can be set, property by property. */
static void
copy_settings (GstElement *to, GstElement *from)
{
  guint i, n;
  g_autofree GParamSpec **specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (from), &n);

  for (i = 0; i < n; i++) {
    g_auto (GValue) value = G_VALUE_INIT;

    if ((specs[i]->flags & G_PARAM_READWRITE) != G_PARAM_READWRITE
        || (specs[i]->owner_type != G_OBJECT_TYPE (from)
            && !g_str_equal (specs[i]->name, "num-buffers")))
      continue;
    g_value_init (&value, specs[i]->value_type);
    g_object_get_property (G_OBJECT (from), specs[i]->name, &value);
    g_object_set_property (G_OBJECT (to), specs[i]->name, &value);
  }
}

/* A bin with the elements "src" and "pay0", floating. */
static GstElement *
make_bin (LfRtspChannel *self, GError **error)
{
  g_autofree char *line = make_line (self->mount);
  GstElement *bin =
      gst_parse_bin_from_description_full (line, FALSE, NULL, GST_PARSE_FLAG_FATAL_ERRORS, error);
  GstElement *source;
  g_autoptr (GstElement) in = NULL;

  if (bin == NULL) {
    g_prefix_error (error, "[mount %s] filter or encoder: ", self->mount->path);
    return NULL;
  }
  source = gst_element_factory_make ("lightforcesrc", "src");
  g_mutex_lock (&self->lock);
  copy_settings (source, self->settings);
  g_weak_ref_set (&self->source, source);
  g_mutex_unlock (&self->lock);
  gst_bin_add (GST_BIN (bin), source);
  in = gst_bin_get_by_name (GST_BIN (bin), "in");
  gst_element_link (source, in);
  return bin;
}

static GstElement *
lf_rtsp_channel_create_element (GstRTSPMediaFactory *factory, const GstRTSPUrl *url)
{
  g_autoptr (GError) error = NULL;
  GstElement *bin = make_bin (LF_RTSP_CHANNEL (factory), &error);

  if (bin == NULL)
    g_printerr ("%s\n", error->message);
  return bin;
}

/* One pipeline, whatever is behind the path: another address must not make another video. */
static char *
lf_rtsp_channel_gen_key (GstRTSPMediaFactory *factory, const GstRTSPUrl *url)
{
  LfRtspChannel *self = LF_RTSP_CHANNEL (factory);
  char *key;

  g_mutex_lock (&self->lock);
  key = g_strdup_printf ("%s#%u", self->mount->path, self->generation);
  g_mutex_unlock (&self->lock);
  return key;
}

/* The message comes only when RTCP has said goodbye, which can take seconds. */
static GstPadProbeReturn
note_end (GstPad *pad, GstPadProbeInfo *info, gpointer media)
{
  g_autoptr (LfRtspChannel) channel = NULL;

  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) != GST_EVENT_EOS)
    return GST_PAD_PROBE_OK;
  channel = g_weak_ref_get (&LF_RTSP_MEDIA (media)->channel);
  if (channel == NULL)
    return GST_PAD_PROBE_OK;
  g_printerr ("%s: the video has ended\n", channel->mount->path);
  if (channel->ended)
    channel->ended (channel, media, channel->user_data);
  return GST_PAD_PROBE_OK;
}

static void
lf_rtsp_channel_configure (GstRTSPMediaFactory *factory, GstRTSPMedia *media)
{
  g_autoptr (GstElement) bin = gst_rtsp_media_get_element (media);
  g_autoptr (GstElement) payloader = gst_bin_get_by_name (GST_BIN (bin), "pay0");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (payloader, "src");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, note_end, media, NULL);
  g_weak_ref_set (&LF_RTSP_MEDIA (media)->channel, factory);
  GST_RTSP_MEDIA_FACTORY_CLASS (lf_rtsp_channel_parent_class)->configure (factory, media);
}

static void
lf_rtsp_channel_finalize (GObject *object)
{
  LfRtspChannel *self = LF_RTSP_CHANNEL (object);

  lf_rtsp_channel_close (self, NULL);
  g_mutex_clear (&self->gate);
  g_clear_object (&self->threads);
  g_clear_object (&self->cancellable);
  g_clear_pointer (&self->model, lf_model_unref);
  gst_clear_object (&self->settings);
  g_weak_ref_clear (&self->source);
  g_free (self->warning);
  g_mutex_clear (&self->lock);
  G_OBJECT_CLASS (lf_rtsp_channel_parent_class)->finalize (object);
}

static void
lf_rtsp_channel_init (LfRtspChannel *self)
{
  g_mutex_init (&self->lock);
  g_mutex_init (&self->gate);
  g_weak_ref_init (&self->source, NULL);
}

static void
lf_rtsp_channel_class_init (LfRtspChannelClass *klass)
{
  GstRTSPMediaFactoryClass *factory_class = GST_RTSP_MEDIA_FACTORY_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = lf_rtsp_channel_finalize;
  factory_class->create_element = lf_rtsp_channel_create_element;
  factory_class->gen_key = lf_rtsp_channel_gen_key;
  factory_class->configure = lf_rtsp_channel_configure;
}

LfRtspChannel *
lf_rtsp_channel_new (
    const LfRtspConfig *config, const LfRtspMount *mount, GCancellable *cancellable, GError **error)
{
  g_autoptr (LfRtspChannel) self = g_object_new (LF_TYPE_RTSP_CHANNEL, NULL);
  GstRTSPMediaFactory *factory = GST_RTSP_MEDIA_FACTORY (self);
  GstElement *bin;

  self->mount = mount;
  g_set_object (&self->cancellable, cancellable);
  self->settings = gst_object_ref_sink (lf_source_new (mount->properties));
  bin = make_bin (self, error);
  if (bin == NULL)
    return NULL;
  gst_object_unref (gst_object_ref_sink (bin));
  self->model = lf_source_load_model (self->settings, cancellable, error);
  if (self->model == NULL) {
    g_prefix_error (error, "[mount %s] ", mount->path);
    return NULL;
  }
  gst_rtsp_media_factory_set_media_gtype (factory, LF_TYPE_RTSP_MEDIA);
  gst_rtsp_media_factory_set_shared (factory, TRUE);
  gst_rtsp_media_factory_set_eos_shutdown (factory, FALSE);
  gst_rtsp_media_factory_set_protocols (factory,
      (config->tcp ? GST_RTSP_LOWER_TRANS_TCP : 0) | (config->udp ? GST_RTSP_LOWER_TRANS_UDP : 0));
  return g_steal_pointer (&self);
}

void
lf_rtsp_channel_set_ended (LfRtspChannel *self, LfRtspChannelEnded ended, gpointer user_data)
{
  self->user_data = user_data;
  self->ended = ended;
}

const LfRtspMount *
lf_rtsp_channel_get_mount (LfRtspChannel *self)
{
  return self->mount;
}

/* ---------------------------------------------------------- the pipeline's life */

static GstElement *
get_pipeline (GstRTSPMedia *media)
{
  g_autoptr (GstElement) bin = gst_rtsp_media_get_element (media);

  return GST_ELEMENT (gst_object_get_parent (GST_OBJECT (bin)));
}

/* FALSE: none comes, or the server is to end. */
static gboolean
wait_for_first (LfRtspChannel *self, GstBus *bus)
{
  gboolean ready = FALSE, failed = FALSE;

  while (!ready && !failed && !g_cancellable_is_cancelled (self->cancellable)) {
    g_autoptr (GstMessage) message = gst_bus_timed_pop (bus, LOOK);

    if (message == NULL)
      continue;
    tell_message (self, message);
    ready = gst_message_has_name (message, FIRST_PICTURE);
    failed = GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR
             || gst_message_has_name (message, NO_PICTURE);
  }
  return ready;
}

/* With the gate. Plays the pipeline until the source has its first picture, and keeps it there. The
 * library fails a pipeline that has not begun within 20 s; a large model, or a text encoder that is
 * read from the disk, may take longer, so that the library gets the pipeline only then. */
static gboolean
make_first (LfRtspChannel *self, LfRtspMedia *media)
{
  g_autoptr (GstElement) bin = gst_rtsp_media_get_element (GST_RTSP_MEDIA (media));
  g_autoptr (GstElement) source = gst_bin_get_by_name (GST_BIN (bin), "src");
  g_autoptr (GstElement) pipeline = get_pipeline (GST_RTSP_MEDIA (media));
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  gboolean ready;

  media->pad = gst_element_get_static_pad (source, "src");
  media->first = gst_pad_add_probe (media->pad,
      GST_PAD_PROBE_TYPE_BLOCK | GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      keep_first, source, NULL);
  ready = gst_element_set_state (pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE
          && wait_for_first (self, bus);
  /* the library must not see that the pipeline plays before it has its own part there */
  while ((message = gst_bus_pop (bus))) {
    tell_message (self, message);
    gst_message_unref (message);
  }
  return ready;
}

/* Before the library has begun with it; it can be played again. */
static void
stop_early (LfRtspMedia *media)
{
  g_autoptr (GstElement) pipeline = get_pipeline (GST_RTSP_MEDIA (media));

  gst_element_set_state (pipeline, GST_STATE_NULL);
  release_first (media);
}

/* With the gate. */
static gboolean
hold (LfRtspChannel *self, GstRTSPThreadPool *threads)
{
  g_autofree char *uri = g_strdup_printf ("rtsp://localhost%s", self->mount->path);
  GstRTSPContext context = {NULL};
  g_autoptr (GstRTSPMedia) media = NULL;
  GstRTSPUrl *url = NULL;
  GstRTSPThread *thread = NULL;

  gst_rtsp_url_parse (uri, &url);
  media = gst_rtsp_media_factory_construct (GST_RTSP_MEDIA_FACTORY (self), url);
  gst_rtsp_url_free (url);
  if (media == NULL)
    return FALSE;
  if (make_first (self, LF_RTSP_MEDIA (media)))
    thread = gst_rtsp_thread_pool_get_thread (threads, GST_RTSP_THREAD_TYPE_MEDIA, &context);
  if (thread == NULL) {
    stop_early (LF_RTSP_MEDIA (media));
    return FALSE;
  }
  if (!gst_rtsp_media_prepare (media, thread))
    return FALSE;
  self->held = g_steal_pointer (&media);
  return TRUE;
}

/* With the gate. Clients that have the pipeline keep it; new ones get a new one. */
static void
let_go (LfRtspChannel *self)
{
  g_mutex_lock (&self->lock);
  self->generation++;
  g_mutex_unlock (&self->lock);
  gst_rtsp_media_unprepare (self->held);
  g_clear_object (&self->held);
}

gboolean
lf_rtsp_channel_open (LfRtspChannel *self, GstRTSPThreadPool *threads)
{
  gboolean ready;

  g_mutex_lock (&self->gate);
  ready = self->held || hold (self, threads);
  self->wanted = g_get_monotonic_time ();
  if (!ready) {
    self->rests = self->wanted;
    if (!g_cancellable_is_cancelled (self->cancellable))
      g_printerr ("%s: the video did not begin\n", self->mount->path);
  }
  g_mutex_unlock (&self->gate);
  return ready;
}

/* With the gate. The library leaves a pipeline running that is held, when nobody plays it. One that is
 * told to pause and to play while it still goes on to play by itself can end up paused, GStreamer
 * then having nothing left to do. */
static void
pause_unless_played (LfRtspChannel *self, gboolean played)
{
  g_autoptr (GstElement) pipeline = get_pipeline (self->held);
  GstState state = played ? GST_STATE_PLAYING : GST_STATE_PAUSED;

  if (pipeline
      && (GST_STATE_TARGET (pipeline) != state
          || (GST_STATE (pipeline) != state
              && GST_STATE_PENDING (pipeline) == GST_STATE_VOID_PENDING)))
    gst_rtsp_media_set_pipeline_state (self->held, state);
}

static gpointer
make_again (gpointer data)
{
  LfRtspChannel *self = data;

  g_mutex_lock (&self->gate);
  if (self->held == NULL && !hold (self, self->threads))
    self->rests = g_get_monotonic_time ();
  g_mutex_unlock (&self->gate);
  g_atomic_int_set (&self->made, TRUE);
  return NULL;
}

/* In a thread of its own, as the main thread must not wait for pictures. */
static void
begin_again (LfRtspChannel *self, GstRTSPThreadPool *threads)
{
  if (self->maker)
    return;
  g_set_object (&self->threads, threads);
  g_atomic_int_set (&self->made, FALSE);
  self->maker = g_thread_new ("again", make_again, self);
}

void
lf_rtsp_channel_tidy (
    LfRtspChannel *self, GstRTSPThreadPool *threads, LfRtspChannelUsed used, gpointer user_data)
{
  gint64 now = g_get_monotonic_time ();

  if (self->maker && g_atomic_int_get (&self->made))
    g_clear_pointer (&self->maker, g_thread_join);
  /* It is being made ready, which can take long. */
  if (!g_mutex_trylock (&self->gate))
    return;
  if (self->held && used (self->held, FALSE, user_data))
    self->wanted = now;
  if (self->held && !self->mount->warm && now - self->wanted > LINGER_US)
    let_go (self);
  else if (self->held)
    pause_unless_played (self, used (self->held, TRUE, user_data));
  else if (self->mount->warm && now - self->rests > LINGER_US)
    begin_again (self, threads);
  g_mutex_unlock (&self->gate);
}

gboolean
lf_rtsp_channel_close (LfRtspChannel *self, GstRTSPMedia *media)
{
  if (media == NULL)
    g_clear_pointer (&self->maker, g_thread_join);
  if (!g_mutex_trylock (&self->gate))
    return FALSE;
  if (self->held && (media == NULL || media == self->held)) {
    self->rests = media ? g_get_monotonic_time () : 0;
    let_go (self);
  }
  g_mutex_unlock (&self->gate);
  return TRUE;
}

/* ---------------------------------------------------------- while clients play */

GstElement *
lf_rtsp_channel_get_source (LfRtspChannel *self)
{
  GstElement *source = g_weak_ref_get (&self->source);

  return source ? source : gst_object_ref (self->settings);
}

void
lf_rtsp_channel_set (LfRtspChannel *self, const char *property, const GValue *value)
{
  g_autoptr (GstElement) source = NULL;

  /* A pipeline that is being made copies the settings before or after this. */
  g_mutex_lock (&self->lock);
  g_object_set_property (G_OBJECT (self->settings), property, value);
  source = g_weak_ref_get (&self->source);
  if (source)
    g_object_set_property (G_OBJECT (source), property, value);
  g_mutex_unlock (&self->lock);
}

void
lf_rtsp_channel_restart (LfRtspChannel *self)
{
  g_autoptr (GstElement) source = g_weak_ref_get (&self->source);

  if (source)
    g_signal_emit_by_name (source, "restart");
}

void
lf_rtsp_channel_refresh (LfRtspChannel *self)
{
  g_autoptr (GstElement) source = g_weak_ref_get (&self->source);
  g_autoptr (GstObject) bin = source ? gst_object_get_parent (GST_OBJECT (source)) : NULL;
  g_autoptr (GstElement) payloader = bin ? gst_bin_get_by_name (GST_BIN (bin), "pay0") : NULL;
  gint64 now = g_get_monotonic_time ();
  gboolean due;

  g_mutex_lock (&self->lock);
  due = now - self->refreshed >= REFRESH_US;
  if (due)
    self->refreshed = now;
  g_mutex_unlock (&self->lock);
  if (due && payloader)
    gst_element_send_event (
        payloader, gst_video_event_new_upstream_force_key_unit (GST_CLOCK_TIME_NONE, TRUE, 0));
}
