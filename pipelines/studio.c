/* lightforce: lightforce-studio serves a page with a live video and all that steers it
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib-unix.h>
#include <locale.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "pipelines/studio-server.h"

#define NAME "lightforce-studio"
#define TOKEN_VARIABLE "LIGHTFORCE_STUDIO_TOKEN"
#define TOKEN_BYTES 16

static const char description[] =
    "Open the printed address in a browser. All who do see the same video, and each can steer it.\n"
    "The video is made while a page is open, or while it is recorded. SIGINT, SIGTERM and SIGHUP\n"
    "end the studio, and complete the file that is being recorded.\n"
    "\n"
    "It listens on this machine only. On another --address clients need a token: that of the\n"
    "environment variable " TOKEN_VARIABLE ", or one that is made up and printed with\n"
    "the address. Without --certificate what they send is not encrypted; the video always is.\n"
    "docs/STUDIO.md has the API that the page uses.";

static LfStudioConfig config = {.port = 8555, .max_clients = 16, .bitrate = 2500};
static int port = 8555, max_clients = 16, bitrate = 2500;
static char **settings;
static gboolean show_version;

static const GOptionEntry entries[] = {
    {"address", 'a', 0, G_OPTION_ARG_STRING, &config.address,
        "listen on this numeric address (127.0.0.1)", "ADDRESS"},
    {"port", 'p', 0, G_OPTION_ARG_INT, &port, "and this port (8555); 0: one that is free", "PORT"},
    {"name", 0, 0, G_OPTION_ARG_STRING_ARRAY, &config.names, "host name that browsers may use, too",
        "NAME"},
    {"certificate", 0, 0, G_OPTION_ARG_FILENAME, &config.certificate,
        "PEM file: use TLS with this certificate", "FILE"},
    {"key", 0, 0, G_OPTION_ARG_FILENAME, &config.key,
        "PEM file of its key (the certificate's file)", "FILE"},
    {"media-address", 0, 0, G_OPTION_ARG_STRING, &config.media_address,
        "numeric address that video is sent from (--address)", "ADDRESS"},
    {"output", 'o', 0, G_OPTION_ARG_FILENAME, &config.output,
        "folder of recordings (the user's videos)", "FOLDER"},
    {"max-clients", 0, 0, G_OPTION_ARG_INT, &max_clients, "pages at a time (16)", "NUMBER"},
    {"bitrate", 0, 0, G_OPTION_ARG_INT, &bitrate, "of the encoder, kbit/s (2500)", "NUMBER"},
    {"set", 's', 0, G_OPTION_ARG_STRING_ARRAY, &settings,
        "property of the source, as prompt, seed, model, backend: gst-inspect-1.0 lightforcesrc",
        "NAME=VALUE"},
    {"version", 0, 0, G_OPTION_ARG_NONE, &show_version, "print the version and exit", NULL},
    G_OPTION_ENTRY_NULL,
};

typedef struct
{
  GMainLoop *loop;
  LfApi *api;
  SoupServer *server;
  GCancellable *cancellable; /* of the loading */
  gboolean stopping, failed;
} App;

/* --------------------------------------------------------------------- settings */

static gboolean refuse (const char *option, const char *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
refuse (const char *option, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_printerr ("--%s: %s\n", option, text);
  return FALSE;
}

static gboolean
check_address (const char *option, const char *text, gboolean any)
{
  g_autoptr (GInetAddress) address = g_inet_address_new_from_string (text);

  if (address == NULL)
    return refuse (option, "\"%s\" is no numeric address, such as 127.0.0.1", text);
  if (!any && g_inet_address_get_is_any (address))
    return refuse (option, "\"%s\" is no address to send from", text);
  return TRUE;
}

static char *
make_token (void)
{
  g_autoptr (GString) token = g_string_new (NULL);
  guint8 bytes[TOKEN_BYTES];
  FILE *random = fopen ("/dev/urandom", "rb");
  gsize i, n = random ? fread (bytes, 1, TOKEN_BYTES, random) : 0;

  if (random)
    fclose (random);
  if (n < TOKEN_BYTES)
    return NULL;
  for (i = 0; i < TOKEN_BYTES; i++)
    g_string_append_printf (token, "%02x", bytes[i]);
  return g_strdup (token->str);
}

static gboolean
read_token (void)
{
  const char *given = g_getenv (TOKEN_VARIABLE);
  g_autoptr (GInetAddress) address = g_inet_address_new_from_string (config.address);

  config.loopback = g_inet_address_get_is_loopback (address);
  if (given && *given && strlen (given) < 8) {
    g_printerr (TOKEN_VARIABLE ": a token has 8 characters at least\n");
    return FALSE;
  }
  if (given && *given) {
    config.token = g_strdup (given);
  } else if (!config.loopback) {
    config.token = make_token ();
    if (config.token == NULL) {
      g_printerr ("There are no random numbers for a token; set " TOKEN_VARIABLE ".\n");
      return FALSE;
    }
  }
  /* video leaves from where the page comes from */
  if (config.media_address == NULL && !g_inet_address_get_is_any (address))
    config.media_address = g_strdup (config.address);
  return TRUE;
}

static gboolean
read_settings (void)
{
  guint i;

  config.properties = g_ptr_array_new_with_free_func ((GDestroyNotify) lf_source_property_free);
  for (i = 0; settings && settings[i]; i++) {
    char *value = strchr (settings[i], '=');
    g_autofree char *problem = NULL;
    LfSourceProperty *property;

    if (value == NULL)
      return refuse ("set", "\"%s\" has no =; it is NAME=VALUE", settings[i]);
    *value++ = '\0';
    property = g_utf8_validate (value, -1, NULL)
                   ? lf_source_property_new (settings[i], value, &problem)
                   : NULL;
    if (property == NULL)
      return refuse ("set", "%s: %s", settings[i], problem ? problem : "the text is not UTF-8");
    g_ptr_array_add (config.properties, property);
  }
  return TRUE;
}

static gboolean
check_numbers (void)
{
  if (port < 0 || port > 65535)
    return refuse ("port", "%d is no port; choose 0 to 65535", port);
  if (max_clients < 1 || max_clients > 1000)
    return refuse ("max-clients", "%d is not a number from 1 to 1000", max_clients);
  if (bitrate < 1 || bitrate > 1000000)
    return refuse ("bitrate", "%d is not a number from 1 to 1000000", bitrate);
  config.port = (guint) port;
  config.max_clients = (guint) max_clients;
  config.bitrate = (guint) bitrate;
  return TRUE;
}

static gboolean
check_elements (void)
{
  static const char *const needed[][2] = {
      {"lightforcesrc", "lightforce's plugin, or name its folder in GST_PLUGIN_PATH"},
      {"webrtcbin", "gstreamer1.0-plugins-bad"}, {"nicesink", "gstreamer1.0-nice"},
      {"dtlsdec", "gstreamer1.0-plugins-bad"}, {"srtpenc", "gstreamer1.0-plugins-bad"},
      {"x264enc", "gstreamer1.0-plugins-ugly"}, {"vp8enc", "gstreamer1.0-plugins-good"},
      {"rtph264pay", "gstreamer1.0-plugins-good"}, {"mp4mux", "gstreamer1.0-plugins-good"},
      {"h264parse", "gstreamer1.0-plugins-bad"}, {"videoconvert", "gstreamer1.0-plugins-base"}};
  guint i;

  for (i = 0; i < G_N_ELEMENTS (needed); i++) {
    g_autoptr (GstElementFactory) factory = gst_element_factory_find (needed[i][0]);

    if (factory == NULL) {
      g_printerr ("There is no element %s: install %s.\n", needed[i][0], needed[i][1]);
      return FALSE;
    }
  }
  return TRUE;
}

/* FALSE: `status` is what to exit with. */
static gboolean
read_arguments (int argc, char **argv, int *status)
{
  g_autoptr (GError) error = NULL;
  const char *videos;

  if (!lf_read_options (argc, argv, NAME,
          "Serves a page with a live video, and all that steers and records it.", description,
          entries, &show_version, status))
    return FALSE;
  if (config.address == NULL)
    config.address = g_strdup ("127.0.0.1");
  if (config.output == NULL) {
    videos = g_get_user_special_dir (G_USER_DIRECTORY_VIDEOS);
    config.output =
        videos ? g_strdup (videos) : g_build_filename (g_get_home_dir (), "Videos", NULL);
  }
  if (config.key && config.certificate == NULL)
    return refuse ("key", "there is no --certificate");
  return check_address ("address", config.address, TRUE)
         && (config.media_address == NULL
             || check_address ("media-address", config.media_address, FALSE))
         && check_numbers () && check_elements () && read_settings () && read_token ();
}

/* ---------------------------------------------------------------------- the app */

static gboolean
quit (gpointer data)
{
  g_main_loop_quit (((App *) data)->loop);
  return G_SOURCE_REMOVE;
}

static void
stopped (gpointer data)
{
  /* Goodbyes still get on their way. */
  g_timeout_add (200, quit, data);
}

static gboolean
stop (gpointer data)
{
  App *app = data;

  g_cancellable_cancel (app->cancellable);
  if (app->stopping)
    return G_SOURCE_CONTINUE;
  app->stopping = TRUE;
  if (app->api)
    lf_api_stop (app->api, stopped, app);
  return G_SOURCE_CONTINUE;
}

static void
ended (gboolean failed, gpointer data)
{
  App *app = data;

  app->failed |= failed;
  if (!failed)
    g_printerr ("the video has ended\n");
  stop (app);
}

static gboolean
serve (App *app, GError **error)
{
  g_autofree char *url = NULL;

  app->api = lf_api_new (&config, app->cancellable, ended, app, error);
  if (app->api == NULL)
    return FALSE;
  if (app->stopping)
    return TRUE;
  app->server = lf_studio_server_new (&config, app->api, &url, error);
  if (app->server == NULL)
    return FALSE;
  g_print ("listening on %s\n", url);
  fflush (stdout);
  g_main_loop_run (app->loop);
  return TRUE;
}

/* Viewers and their threads come and go for weeks, and one big message must not leave its mark: glibc
 * would take an arena for each thread, and after the first large block that is freed, keep blocks
 * of that size in the heap. */
static void
set_up_malloc (void)
{
#ifdef __GLIBC__
  mallopt (M_ARENA_MAX, 2);
  mallopt (M_MMAP_THRESHOLD, 128 * 1024);
  mallopt (M_TRIM_THRESHOLD, 128 * 1024);
#endif
}

/* All of them end the studio in order, which completes a recording; but not a terminal that goes where
 * nohup has that ignored. */
static void
watch_signals (App *app)
{
  struct sigaction hangup;

  g_unix_signal_add (SIGINT, stop, app);
  g_unix_signal_add (SIGTERM, stop, app);
  if (sigaction (SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    g_unix_signal_add (SIGHUP, stop, app);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  App app = {0};
  int status;

  set_up_malloc ();
  setlocale (LC_ALL, "");
  if (read_arguments (argc, argv, &status)) {
    app.loop = g_main_loop_new (NULL, FALSE);
    app.cancellable = g_cancellable_new ();
    watch_signals (&app);
    status = 0;
    if (!serve (&app, &error) && !g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
      g_printerr ("%s\n", error->message);
      status = 1;
    }
    if (app.failed)
      status = 1;
    if (app.server)
      soup_server_disconnect (app.server);
    g_clear_object (&app.server);
    g_clear_pointer (&app.api, lf_api_free);
    g_object_unref (app.cancellable);
    g_main_loop_unref (app.loop);
  }
  g_clear_pointer (&config.properties, g_ptr_array_unref);
  g_strfreev (settings);
  g_strfreev (config.names);
  g_free (config.address);
  g_free (config.token);
  g_free (config.certificate);
  g_free (config.key);
  g_free (config.media_address);
  g_free (config.output);
  return status;
}
