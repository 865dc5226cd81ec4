/* lightforce: lightforce-rtsp-server serves videos to RTSP clients
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib-unix.h>
#include <locale.h>
#include <stdio.h>

#include "pipelines/rtsp-server-client.h"

#define NAME "lightforce-rtsp-server"
/* How long clients have to go at the end, in tenths of a second. */
#define PATIENCE 30

static const char description[] =
    "Clients of a path share one video. It begins with the first client and is given up 10 s\n"
    "after the last one; the models are loaded before the server listens. Once it does, it prints\n"
    "one line with the addresses of all mounts. SIGINT and SIGTERM end it.\n"
    "\n"
    "The file has groups of NAME=VALUE lines; arguments go before it.\n"
    "\n"
    "[server]\n"
    "  address        numeric address to listen on (127.0.0.1: this machine only)\n"
    "  port           8554; 0: one that is free\n"
    "  max-clients    connections at a time (50); more are answered 503\n"
    "  timeout        seconds until a session is ended that sends no sign of life (60)\n"
    "  idle-timeout   seconds until a connection without a session is ended (15)\n"
    "  transports     tcp;udp: what carries the video; with a certificate tcp only\n"
    "  udp-ports      that video over UDP is sent from (50000-50999)\n"
    "  certificate    PEM file: TLS only (rtsps://)\n"
    "  key            PEM file with its private key (in the certificate's file)\n"
    "  auth           digest, or basic: passwords in the clear, which asks for TLS\n"
    "  realm          name that clients show where they ask for a password (lightforce)\n"
    "\n"
    "[mount /PATH], as many as there are videos; without a file there is one, /live\n"
    "  prompt, seed, model, backend, width, height, ...\n"
    "                 each property of lightforcesrc: gst-inspect-1.0 lightforcesrc\n"
    "  bitrate        kbit/s (1500)\n"
    "  keyframe-interval  frames (32)\n"
    "  speed          speed-preset of x264enc (veryfast)\n"
    "  encoder        another encoder, as in gst-launch-1.0: nvh264enc zerolatency=true\n"
    "  filter         elements between source and encoder: videoscale ! video/x-raw,width=640\n"
    "  profile        of H.264: constrained-baseline, baseline, main (the default), high, or any\n"
    "  config-interval  seconds between parameter sets, 0: none, -1: with each key frame (-1)\n"
    "  control        false: no client may set parameters (true)\n"
    "  warm           true: ready for clients at all times, and paused while there are none "
    "(false)\n"
    "\n"
    "[user NAME], none: everyone may watch and control\n"
    "  password\n"
    "  control        true: may set parameters (false)\n"
    "\n"
    "Clients may send SET_PARAMETER with lines of prompt, prompt-switch, seed (NAME: VALUE) and\n"
    "\"restart: true\", and GET_PARAMETER with lines of these names, model, backend, chunk, "
    "stats,\n"
    "late and clients.";

static char *config_path;
static char **server_settings, **mount_settings;
static gboolean show_version;
static GPtrArray *server_arguments, *mount_arguments;

/* An option that is a setting of its group. */
static gboolean
take_setting (const char *option, const char *value, gpointer data, GError **error)
{
  static const char *const of_server[] = {
      "address", "port", "max-clients", "certificate", "key", NULL};
  const char *name = option + strspn (option, "-");

  g_ptr_array_add (g_strv_contains (of_server, name) ? server_arguments : mount_arguments,
      g_strdup_printf ("%s=%s", name, value));
  return TRUE;
}

#define SETTING(name, text, arg)                                                                   \
  {                                                                                                \
    name, 0, 0, G_OPTION_ARG_CALLBACK, take_setting, text, arg                                     \
  }

static const GOptionEntry entries[] = {
    {"config", 'c', 0, G_OPTION_ARG_FILENAME, &config_path, "settings, as below", "FILE"},
    SETTING ("address", "listen on this address", "ADDRESS"),
    SETTING ("port", "listen on this port", "PORT"),
    SETTING ("max-clients", "connections at a time", "NUMBER"),
    SETTING ("certificate", "use TLS with this certificate", "FILE"),
    SETTING ("key", "and this key", "FILE"),
    SETTING ("prompt", "what the video shows", "TEXT"),
    SETTING ("seed", "its seed", "NUMBER"),
    SETTING ("model", "model file or directory", "PATH"),
    SETTING ("backend", "what computes", "auto|cpu|cuda"),
    {"server", 's', 0, G_OPTION_ARG_STRING_ARRAY, &server_settings,
        "another setting of the group [server]", "NAME=VALUE"},
    {"mount", 'm', 0, G_OPTION_ARG_STRING_ARRAY, &mount_settings,
        "another setting of every [mount]", "NAME=VALUE"},
    {"version", 0, 0, G_OPTION_ARG_NONE, &show_version, "print the version and exit", NULL},
    G_OPTION_ENTRY_NULL,
};

typedef struct
{
  GMainLoop *loop;
  LfRtspServer *server;
  GPtrArray *channels; /* of LfRtspChannel */
  GSource *listening;
  GCancellable *cancellable; /* of the loading, of models and of what a video begins with */
  gboolean stopping;
} App;

/* ------------------------------------------------------------------------ the app */

typedef struct
{
  App *app;
  LfRtspChannel *channel;
  GstRTSPMedia *media;
} Ending;

static gboolean
drop_ended (gpointer data)
{
  Ending *ending = data;

  if (!lf_rtsp_channel_close (ending->channel, ending->media))
    return G_SOURCE_CONTINUE;
  lf_rtsp_server_drop (ending->app->server, ending->media);
  return G_SOURCE_REMOVE;
}

static void
ending_free (gpointer data)
{
  Ending *ending = data;

  g_object_unref (ending->media);
  g_free (ending);
}

/* In the thread of the pipeline: clients that wait for more are told by the end of the session. */
static void
channel_ended (LfRtspChannel *channel, GstRTSPMedia *media, gpointer user_data)
{
  Ending *ending = g_new0 (Ending, 1);

  ending->app = user_data;
  ending->channel = channel;
  ending->media = g_object_ref (media);
  /* What is on its way still gets there. */
  g_timeout_add_full (G_PRIORITY_DEFAULT, 500, drop_ended, ending, ending_free);
}

static gboolean
is_used (GstRTSPMedia *media, gboolean playing, gpointer user_data)
{
  return lf_rtsp_server_uses (user_data, media, playing);
}

static gboolean
tidy (gpointer data)
{
  App *app = data;
  g_autoptr (GstRTSPThreadPool) threads =
      gst_rtsp_server_get_thread_pool (GST_RTSP_SERVER (app->server));
  guint i;

  lf_rtsp_server_tidy (app->server);
  for (i = 0; !app->stopping && i < app->channels->len; i++)
    lf_rtsp_channel_tidy (g_ptr_array_index (app->channels, i), threads, is_used, app->server);
  return G_SOURCE_CONTINUE;
}

/* Once all clients have gone, or have had the time to. */
static gboolean
leave (gpointer data)
{
  static guint turns;
  App *app = data;

  /* One that was accepted in the last moment, too. */
  lf_rtsp_server_drop (app->server, NULL);
  if (lf_rtsp_server_count (app->server) > 0 && ++turns < PATIENCE)
    return G_SOURCE_CONTINUE;
  g_main_loop_quit (app->loop);
  return G_SOURCE_REMOVE;
}

static gboolean
stop (gpointer data)
{
  App *app = data;

  g_cancellable_cancel (app->cancellable);
  if (!app->stopping) {
    app->stopping = TRUE;
    g_clear_pointer (&app->listening, g_source_destroy);
    g_timeout_add (100, leave, app);
  }
  return G_SOURCE_CONTINUE;
}

static void
announce (const LfRtspConfig *config, guint port)
{
  gboolean v6 = strchr (config->address, ':') != NULL;
  g_autoptr (GString) line = g_string_new ("listening on");
  guint i;

  for (i = 0; i < config->mounts->len; i++)
    g_string_append_printf (line, " %s://%s%s%s:%u%s", config->certificate ? "rtsps" : "rtsp",
        v6 ? "[" : "", config->address, v6 ? "]" : "", port,
        ((LfRtspMount *) g_ptr_array_index (config->mounts, i))->path);
  g_print ("%s\n", line->str);
  fflush (stdout);
}

typedef struct
{
  App *app;
  const LfRtspConfig *config;
  GError *error;
} Loading;

/* All models, and what is to be warm. */
static void
load (gpointer data)
{
  Loading *loading = data;
  App *app = loading->app;
  g_autoptr (GstRTSPThreadPool) threads =
      gst_rtsp_server_get_thread_pool (GST_RTSP_SERVER (app->server));
  guint i;

  for (i = 0; loading->error == NULL && i < loading->config->mounts->len; i++) {
    const LfRtspMount *mount = g_ptr_array_index (loading->config->mounts, i);
    LfRtspChannel *channel =
        lf_rtsp_channel_new (loading->config, mount, app->cancellable, &loading->error);

    if (channel == NULL)
      break;
    g_ptr_array_add (app->channels, channel);
    lf_rtsp_channel_set_ended (channel, channel_ended, app);
    lf_rtsp_server_add (app->server, channel);
    if (mount->warm && !lf_rtsp_channel_open (channel, threads)
        && !g_cancellable_set_error_if_cancelled (app->cancellable, &loading->error))
      g_set_error (&loading->error, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
          "[mount %s] warm: the video does not begin", mount->path);
  }
}

static gboolean
load_channels (App *app, const LfRtspConfig *config, GError **error)
{
  Loading loading = {app, config, NULL};

  lf_run_in_thread (load, &loading);
  if (loading.error)
    g_propagate_error (error, loading.error);
  return loading.error == NULL;
}

static gboolean
serve (App *app, const LfRtspConfig *config, GError **error)
{
  app->server = lf_rtsp_server_new (config, error);
  if (app->server == NULL || !load_channels (app, config, error))
    return FALSE;
  if (app->stopping)
    return TRUE;
  app->listening = gst_rtsp_server_create_source (GST_RTSP_SERVER (app->server), NULL, error);
  if (app->listening == NULL) {
    g_prefix_error (error, "cannot listen on %s, port %u: ", config->address, config->port);
    return FALSE;
  }
  g_source_attach (app->listening, NULL);
  g_source_unref (app->listening);
  announce (config, (guint) gst_rtsp_server_get_bound_port (GST_RTSP_SERVER (app->server)));
  g_timeout_add_seconds (1, tidy, app);
  g_main_loop_run (app->loop);
  return TRUE;
}

/* FALSE: `status` is what to exit with. */
static gboolean
read_arguments (int argc, char **argv, LfRtspConfig **config, int *status)
{
  g_autoptr (GError) error = NULL;
  guint i;

  server_arguments = g_ptr_array_new_with_free_func (g_free);
  mount_arguments = g_ptr_array_new_with_free_func (g_free);
  if (!lf_read_options (argc, argv, NAME, "Serves live video from text prompts to RTSP clients.",
          description, entries, &show_version, status))
    return FALSE;
  for (i = 0; server_settings && server_settings[i]; i++)
    g_ptr_array_add (server_arguments, g_strdup (server_settings[i]));
  for (i = 0; mount_settings && mount_settings[i]; i++)
    g_ptr_array_add (mount_arguments, g_strdup (mount_settings[i]));
  g_ptr_array_add (server_arguments, NULL);
  g_ptr_array_add (mount_arguments, NULL);
  *config = lf_rtsp_config_new (config_path, (const char *const *) server_arguments->pdata,
      (const char *const *) mount_arguments->pdata, &error);
  if (*config == NULL)
    g_printerr ("%s\n", error->message);
  return *config != NULL;
}

int
main (int argc, char **argv)
{
  g_autoptr (LfRtspConfig) config = NULL;
  g_autoptr (GError) error = NULL;
  App app = {0};
  int status = 0;
  guint i;

  setlocale (LC_ALL, "");
  if (read_arguments (argc, argv, &config, &status)) {
    app.loop = g_main_loop_new (NULL, FALSE);
    app.cancellable = g_cancellable_new ();
    app.channels = g_ptr_array_new_with_free_func (g_object_unref);
    g_unix_signal_add (SIGINT, stop, &app);
    g_unix_signal_add (SIGTERM, stop, &app);
    status = 0;
    if (!serve (&app, config, &error)
        && !g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
      g_printerr ("%s\n", error->message);
      status = 1;
    }
    for (i = 0; i < app.channels->len; i++)
      lf_rtsp_channel_close (g_ptr_array_index (app.channels, i), NULL);
    g_clear_object (&app.server);
    g_ptr_array_unref (app.channels);
    gst_rtsp_thread_pool_cleanup ();
    g_object_unref (app.cancellable);
    g_main_loop_unref (app.loop);
  }
  g_ptr_array_unref (server_arguments);
  g_ptr_array_unref (mount_arguments);
  g_free (config_path);
  g_strfreev (server_settings);
  g_strfreev (mount_settings);
  return status;
}
