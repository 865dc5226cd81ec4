/* lightforce: what the RTSP server is told by its file and its command line
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/rtsp-server-config.h"

#include <gio/gio.h>
#include <string.h>

#define SERVER "server"
#define MOUNT "mount "
#define USER "user "
#define DEFAULT_MOUNT "/live"

/* What can be set of the default encoder without naming another one. */
#define DEFAULT_BITRATE "1500"
#define DEFAULT_KEYFRAME_INTERVAL "32"
#define DEFAULT_SPEED "veryfast"

typedef struct
{
  GKeyFile *file;
  const char *name;  /* for messages */
  const char *group; /* the one that is being read */
} Reader;

G_GNUC_PRINTF (4, 5)
static gboolean
refuse (GError **error, const Reader *reader, const char *key, const char *format, ...)
{
  g_autofree char *reason = NULL;
  va_list args;

  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_INVALID_VALUE, "%s: [%s]%s%s: %s",
      reader->name, reader->group, key ? " " : "", key ? key : "", reason);
  return FALSE;
}

/* ------------------------------------------------------------- single values */

static gboolean
has (const Reader *reader, const char *key)
{
  return g_key_file_has_key (reader->file, reader->group, key, NULL);
}

/* Replaces `*value` where the key is there. */
static gboolean
read_string (const Reader *reader, const char *key, char **value, GError **error)
{
  g_autoptr (GError) problem = NULL;
  char *read;

  if (!has (reader, key))
    return TRUE;
  read = g_key_file_get_string (reader->file, reader->group, key, &problem);
  if (read == NULL)
    return refuse (error, reader, key, "%s", problem->message);
  if (!g_utf8_validate (read, -1, NULL)) {
    g_free (read);
    return refuse (error, reader, key, "the text is not UTF-8");
  }
  g_free (*value);
  *value = read;
  return TRUE;
}

static gboolean
read_number (
    const Reader *reader, const char *key, gint64 min, gint64 max, gint64 *value, GError **error)
{
  g_autofree char *text = NULL;

  if (!has (reader, key))
    return TRUE;
  if (!read_string (reader, key, &text, error))
    return FALSE;
  g_strstrip (text);
  if (!g_ascii_string_to_signed (text, 10, min, max, value, NULL))
    return refuse (error, reader, key,
        "\"%s\" is not a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, text, min,
        max);
  return TRUE;
}

static gboolean
read_uint (
    const Reader *reader, const char *key, guint min, guint max, guint *value, GError **error)
{
  gint64 number = *value;

  if (!read_number (reader, key, min, max, &number, error))
    return FALSE;
  *value = (guint) number;
  return TRUE;
}

static gboolean
read_boolean (const Reader *reader, const char *key, gboolean *value, GError **error)
{
  g_autofree char *text = NULL;

  if (!has (reader, key))
    return TRUE;
  if (!read_string (reader, key, &text, error))
    return FALSE;
  g_strstrip (text);
  if (g_str_equal (text, "true") || g_str_equal (text, "false"))
    *value = g_str_equal (text, "true");
  else
    return refuse (error, reader, key, "\"%s\" is neither true nor false", text);
  return TRUE;
}

/* ------------------------------------------------------------------ mounts */

static void
mount_free (LfRtspMount *mount)
{
  g_free (mount->path);
  g_ptr_array_unref (mount->properties);
  g_free (mount->filter);
  g_free (mount->encoder);
  g_free (mount->profile);
  g_free (mount);
}

static gboolean
read_property (const Reader *reader, const char *key, LfRtspMount *mount, GError **error)
{
  g_autofree char *text = NULL, *problem = NULL;
  LfSourceProperty *property;

  if (!read_string (reader, key, &text, error))
    return FALSE;
  property = lf_source_property_new (key, text, &problem);
  if (property == NULL)
    return refuse (error, reader, key, "%s", problem);
  g_ptr_array_add (mount->properties, property);
  return TRUE;
}

/* The default encoder from the keys for it, or what `encoder` says. */
static gboolean
read_encoder (const Reader *reader, LfRtspMount *mount, GError **error)
{
  static const char *const own[] = {"bitrate", "keyframe-interval", "speed"};
  gint64 bitrate = 0, interval = 0;
  g_autofree char *speed = g_strdup (DEFAULT_SPEED);
  const char *c;
  guint i;

  if (!read_string (reader, "encoder", &mount->encoder, error))
    return FALSE;
  for (i = 0; mount->encoder && i < G_N_ELEMENTS (own); i++)
    if (has (reader, own[i]))
      return refuse (error, reader, own[i],
          "this is for the default encoder; set the property of yours in encoder");
  if (mount->encoder)
    return TRUE;
  bitrate = g_ascii_strtoll (DEFAULT_BITRATE, NULL, 10);
  interval = g_ascii_strtoll (DEFAULT_KEYFRAME_INTERVAL, NULL, 10);
  if (!read_number (reader, "bitrate", 1, 2048000, &bitrate, error)
      || !read_number (reader, "keyframe-interval", 1, 100000, &interval, error)
      || !read_string (reader, "speed", &speed, error))
    return FALSE;
  for (c = speed; *c && g_ascii_isalpha (*c); c++)
    continue;
  if (*c || c == speed)
    return refuse (error, reader, "speed", "\"%s\" is no speed-preset of x264enc", speed);
  mount->encoder = lf_encoder_line (bitrate, interval, speed);
  return TRUE;
}

static gboolean
check_path (const Reader *reader, const char *path, GError **error)
{
  const char *c;

  for (c = path; *c && (g_ascii_isalnum (*c) || strchr ("/-_.~", *c)); c++)
    continue;
  if (*path != '/' || path[1] == '\0' || *c || g_str_has_suffix (path, "/") || strstr (path, "//"))
    return refuse (error, reader, NULL,
        "a mount has a path such as /live: letters, digits and -_.~ behind slashes");
  return TRUE;
}

static gboolean
read_mount (const Reader *reader, LfRtspConfig *config, GError **error)
{
  static const char *const own[] = {"filter", "encoder", "bitrate", "keyframe-interval", "speed",
      "profile", "config-interval", "control", "warm", NULL};
  static const char *const profiles[] = {
      "constrained-baseline", "baseline", "main", "high", "any", NULL};
  LfRtspMount *mount = g_new0 (LfRtspMount, 1);
  g_auto (GStrv) keys = g_key_file_get_keys (reader->file, reader->group, NULL, NULL);
  gint64 config_interval = -1;
  guint i;

  g_ptr_array_add (config->mounts, mount);
  mount->properties = g_ptr_array_new_with_free_func ((GDestroyNotify) lf_source_property_free);
  mount->path = g_strstrip (g_strdup (reader->group + strlen (MOUNT)));
  mount->control = TRUE;
  mount->profile = g_strdup ("main");
  if (!check_path (reader, mount->path, error)
      || !read_string (reader, "filter", &mount->filter, error)
      || !read_encoder (reader, mount, error)
      || !read_string (reader, "profile", &mount->profile, error)
      || !read_number (reader, "config-interval", -1, 3600, &config_interval, error)
      || !read_boolean (reader, "control", &mount->control, error)
      || !read_boolean (reader, "warm", &mount->warm, error))
    return FALSE;
  mount->config_interval = (gint) config_interval;
  if (!g_strv_contains (profiles, mount->profile))
    return refuse (error, reader, "profile",
        "\"%s\" is none of constrained-baseline, baseline, main, high and any", mount->profile);
  if (g_str_equal (mount->profile, "any"))
    g_clear_pointer (&mount->profile, g_free);
  for (i = 0; keys && keys[i]; i++)
    if (!g_strv_contains (own, keys[i]) && !read_property (reader, keys[i], mount, error))
      return FALSE;
  for (i = 0; i + 1 < config->mounts->len; i++)
    if (g_str_equal (((LfRtspMount *) g_ptr_array_index (config->mounts, i))->path, mount->path))
      return refuse (error, reader, NULL, "there are two mounts with this path");
  return TRUE;
}

/* ------------------------------------------------------- server and users */

static void
user_free (LfRtspUser *user)
{
  g_free (user->name);
  g_free (user->password);
  g_free (user);
}

static gboolean
read_user (const Reader *reader, LfRtspConfig *config, GError **error)
{
  static const char *const own[] = {"password", "control", NULL};
  LfRtspUser *user = g_new0 (LfRtspUser, 1);
  g_auto (GStrv) keys = g_key_file_get_keys (reader->file, reader->group, NULL, NULL);
  guint i;

  g_ptr_array_add (config->users, user);
  user->name = g_strstrip (g_strdup (reader->group + strlen (USER)));
  if (*user->name == '\0' || strchr (user->name, ':'))
    return refuse (error, reader, NULL, "a user has a name, without a colon");
  for (i = 0; keys && keys[i]; i++)
    if (!g_strv_contains (own, keys[i]))
      return refuse (error, reader, keys[i],
          "there is no such setting; a user has password and "
          "control");
  if (!read_string (reader, "password", &user->password, error)
      || !read_boolean (reader, "control", &user->control, error))
    return FALSE;
  if (user->password == NULL || *user->password == '\0')
    return refuse (error, reader, "password", "it is missing or empty");
  for (i = 0; i + 1 < config->users->len; i++)
    if (g_str_equal (((LfRtspUser *) g_ptr_array_index (config->users, i))->name, user->name))
      return refuse (error, reader, NULL, "there are two users with this name");
  return TRUE;
}

static gboolean
read_transports (const Reader *reader, LfRtspConfig *config, GError **error)
{
  g_autofree char *text = NULL;
  g_auto (GStrv) names = NULL;
  guint i;

  config->tcp = TRUE;
  /* The video would go past TLS. */
  config->udp = config->certificate == NULL;
  if (!read_string (reader, "transports", &text, error))
    return FALSE;
  if (text == NULL)
    return TRUE;
  config->tcp = config->udp = FALSE;
  names = g_strsplit_set (text, ";, ", -1);
  for (i = 0; names[i]; i++) {
    if (g_str_equal (names[i], "tcp"))
      config->tcp = TRUE;
    else if (g_str_equal (names[i], "udp"))
      config->udp = TRUE;
    else if (*names[i])
      return refuse (error, reader, "transports", "\"%s\" is neither tcp nor udp", names[i]);
  }
  if (!config->tcp && !config->udp)
    return refuse (error, reader, "transports", "it names none of tcp and udp");
  if (config->udp && config->certificate)
    return refuse (error, reader, "transports",
        "video over udp would not be encrypted: with a certificate, only tcp goes");
  return TRUE;
}

/* "50000-50999": pairs of an even and an odd one. */
static gboolean
read_ports (const Reader *reader, LfRtspConfig *config, GError **error)
{
  g_autofree char *text = NULL;
  g_auto (GStrv) ends = NULL;
  guint64 min = 0, max = 0;

  if (!read_string (reader, "udp-ports", &text, error))
    return FALSE;
  if (text == NULL)
    return TRUE;
  ends = g_strsplit (text, "-", 2);
  if (ends[0] == NULL || ends[1] == NULL
      || !g_ascii_string_to_unsigned (g_strstrip (ends[0]), 10, 1024, 65535, &min, NULL)
      || !g_ascii_string_to_unsigned (g_strstrip (ends[1]), 10, 1024, 65535, &max, NULL)
      || min + (min & 1) + 1 > max)
    return refuse (error, reader, "udp-ports",
        "\"%s\" is no range such as 50000-50999, within 1024 and 65535", text);
  config->udp_min = (guint) min;
  config->udp_max = (guint) max;
  return TRUE;
}

static gboolean
check_file (const Reader *reader, const char *key, const char *path, GError **error)
{
  if (path == NULL || g_file_test (path, G_FILE_TEST_IS_REGULAR))
    return TRUE;
  return refuse (error, reader, key, "there is no file \"%s\"", path);
}

static gboolean
read_server (const Reader *reader, LfRtspConfig *config, GError **error)
{
  static const char *const own[] = {"address", "port", "max-clients", "timeout", "idle-timeout",
      "transports", "udp-ports", "certificate", "key", "auth", "realm", NULL};
  g_autofree char *auth = g_strdup ("digest");
  g_auto (GStrv) keys = g_key_file_get_keys (reader->file, reader->group, NULL, NULL);
  g_autoptr (GInetAddress) address = NULL;
  guint i;

  for (i = 0; keys && keys[i]; i++)
    if (!g_strv_contains (own, keys[i]))
      return refuse (error, reader, keys[i],
          "there is no such setting; lightforce-rtsp-server --help names them");
  if (!read_string (reader, "address", &config->address, error)
      || !read_uint (reader, "port", 0, 65535, &config->port, error)
      || !read_uint (reader, "max-clients", 1, 10000, &config->max_clients, error)
      || !read_uint (reader, "timeout", 5, 3600, &config->timeout, error)
      || !read_uint (reader, "idle-timeout", 1, 3600, &config->idle_timeout, error)
      || !read_string (reader, "certificate", &config->certificate, error)
      || !read_string (reader, "key", &config->key, error)
      || !read_string (reader, "auth", &auth, error)
      || !read_string (reader, "realm", &config->realm, error)
      || !read_ports (reader, config, error) || !read_transports (reader, config, error))
    return FALSE;
  address = g_inet_address_new_from_string (config->address);
  if (address == NULL)
    return refuse (error, reader, "address",
        "\"%s\" is no numeric address, such as 127.0.0.1, 0.0.0.0 (all of IPv4) or :: (all)",
        config->address);
  if (config->key && !config->certificate)
    return refuse (error, reader, "certificate", "it is missing, while there is a key");
  if (!check_file (reader, "certificate", config->certificate, error)
      || !check_file (reader, "key", config->key, error))
    return FALSE;
  if (!g_str_equal (auth, "digest") && !g_str_equal (auth, "basic"))
    return refuse (error, reader, "auth", "\"%s\" is neither digest nor basic", auth);
  config->basic = g_str_equal (auth, "basic");
  if (strpbrk (config->realm, "\"\r\n\\"))
    return refuse (error, reader, "realm", "it has a quotation mark, backslash or line break");
  return TRUE;
}

/* -------------------------------------------------------------------- all */

static gboolean
read_groups (Reader *reader, LfRtspConfig *config, GError **error)
{
  g_auto (GStrv) groups = g_key_file_get_groups (reader->file, NULL);
  g_autoptr (GstElement) source = gst_element_factory_make ("lightforcesrc", NULL);
  guint i;

  if (source == NULL) {
    g_set_error (error, GST_CORE_ERROR, GST_CORE_ERROR_MISSING_PLUGIN,
        "There is no element lightforcesrc: install the plugin, or name its folder in the "
        "environment variable GST_PLUGIN_PATH.");
    return FALSE;
  }
  gst_object_ref_sink (source);
  reader->group = SERVER;
  if (!read_server (reader, config, error))
    return FALSE;
  for (i = 0; groups[i]; i++) {
    reader->group = groups[i];
    if (g_str_has_prefix (groups[i], MOUNT)) {
      if (!read_mount (reader, config, error))
        return FALSE;
    } else if (g_str_has_prefix (groups[i], USER)) {
      if (!read_user (reader, config, error))
        return FALSE;
    } else if (!g_str_equal (groups[i], SERVER)) {
      return refuse (error, reader, NULL,
          "there is no such group; they are [server], [mount /PATH] and [user NAME]");
    }
  }
  return TRUE;
}

/* Each of `settings` is "key=value", with white space around the equals sign as in a file. */
static gboolean
put (Reader *reader, const char *const *settings, GError **error)
{
  for (; settings && *settings; settings++) {
    const char *equals = strchr (*settings, '=');
    g_autofree char *key = equals ? g_strndup (*settings, (gsize) (equals - *settings)) : NULL;

    /* with brackets, it would be no key for GLib, which says so and goes on without */
    if (key == NULL || *g_strstrip (key) == '\0' || strpbrk (key, "[]")) {
      g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
          "\"%s\" is not of the form NAME=VALUE", *settings);
      return FALSE;
    }
    for (equals++; g_ascii_isspace (*equals); equals++)
      continue;
    g_key_file_set_string (reader->file, reader->group, key, equals);
  }
  return TRUE;
}

static gboolean
put_arguments (Reader *reader, const char *const *server_settings,
    const char *const *mount_settings, GError **error)
{
  g_auto (GStrv) groups = NULL;
  gboolean mounted = FALSE;
  guint i;

  reader->group = SERVER;
  if (!put (reader, server_settings, error))
    return FALSE;
  groups = g_key_file_get_groups (reader->file, NULL);
  for (i = 0; groups[i]; i++) {
    reader->group = groups[i];
    if (!g_str_has_prefix (groups[i], MOUNT))
      continue;
    mounted = TRUE;
    if (!put (reader, mount_settings, error))
      return FALSE;
  }
  if (mounted)
    return TRUE;
  reader->group = MOUNT DEFAULT_MOUNT;
  /* The group has to be there even where nothing is set. */
  g_key_file_set_boolean (reader->file, reader->group, "control", TRUE);
  return put (reader, mount_settings, error);
}

LfRtspConfig *
lf_rtsp_config_new (const char *path, const char *const *server_settings,
    const char *const *mount_settings, GError **error)
{
  g_autoptr (LfRtspConfig) config = g_new0 (LfRtspConfig, 1);
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autoptr (GError) problem = NULL;
  Reader reader = {file, path ? path : "command line", SERVER};

  config->users = g_ptr_array_new_with_free_func ((GDestroyNotify) user_free);
  config->mounts = g_ptr_array_new_with_free_func ((GDestroyNotify) mount_free);
  config->address = g_strdup ("127.0.0.1");
  config->port = 8554;
  config->max_clients = 50;
  config->timeout = 60;
  config->udp_min = 50000;
  config->udp_max = 50999;
  config->idle_timeout = 15;
  config->realm = g_strdup ("lightforce");
  if (path && !g_key_file_load_from_file (file, path, G_KEY_FILE_NONE, &problem)) {
    g_set_error (error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_PARSE, "%s: %s", path, problem->message);
    return NULL;
  }
  if (!put_arguments (&reader, server_settings, mount_settings, error)
      || !read_groups (&reader, config, error))
    return NULL;
  return g_steal_pointer (&config);
}

void
lf_rtsp_config_free (LfRtspConfig *config)
{
  g_free (config->address);
  g_free (config->certificate);
  g_free (config->key);
  g_free (config->realm);
  g_ptr_array_unref (config->users);
  g_ptr_array_unref (config->mounts);
  g_free (config);
}
