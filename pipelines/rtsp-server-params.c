/* lightforce: what RTSP clients ask and set with GET_PARAMETER and SET_PARAMETER
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/rtsp-server-params.h"

#include <string.h>

#define LINE_LIMIT 64 /* parameters of one request */

typedef enum
{
  SETTABLE, /* property of the source that is set as it is */
  READABLE, /* property of the source that is only told */
  RESTART,
  CLIENTS,
  LATE
} Kind;

static const struct
{
  const char *name;
  Kind kind;
} parameters[] = {
    {"prompt", SETTABLE},
    {"prompt-switch", SETTABLE},
    {"seed", SETTABLE},
    {"restart", RESTART},
    {"model", READABLE},
    {"backend", READABLE},
    {"chunk", READABLE},
    {"stats", READABLE},
    {"clients", CLIENTS},
    {"late", LATE},
};

static gint
find (const char *name)
{
  guint i;

  for (i = 0; i < G_N_ELEMENTS (parameters); i++)
    if (g_ascii_strcasecmp (parameters[i].name, name) == 0)
      return (gint) i;
  return -1;
}

/* A name that a client sent, fit to go back to it. */
static void
blame (GString *reply, const char *name, const char *reason)
{
  g_autofree char *shown =
      g_utf8_strlen (name, -1) > 64 ? g_utf8_substring (name, 0, 64) : g_strdup (name);

  g_string_append_printf (
      reply, "%s%s%s\r\n", *shown ? shown : "(no name)", reason ? ": " : "", reason ? reason : "");
}

/* The lines of a body, without those that are empty. NULL: it is no text. */
static GStrv
split (const char *body, gsize size, GString *reply)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_auto (GStrv) lines = NULL;
  g_autofree char *text = NULL;
  guint i, n = 0;

  /* The connection ends bodies with a zero. */
  if (size > 0 && body[size - 1] == '\0')
    size--;
  if (size > LF_RTSP_BODY_LIMIT || !g_utf8_validate (body, (gssize) size, NULL)
      || memchr (body, '\0', size)) {
    g_string_append (reply, "the body is no UTF-8 text, or too long\r\n");
    return NULL;
  }
  text = g_strndup (body, size);
  lines = g_strsplit_set (text, "\r\n", -1);
  for (i = 0; lines[i]; i++) {
    g_strstrip (lines[i]);
    if (*lines[i] == '\0')
      continue;
    if (++n > LINE_LIMIT) {
      g_string_append (reply, "there are too many parameters\r\n");
      return NULL;
    }
    g_strv_builder_add (builder, lines[i]);
  }
  return g_strv_builder_end (builder);
}

/* Cuts `line` behind the name and returns the value, NULL: there is no colon. */
static char *
cut (char *line)
{
  char *colon = strchr (line, ':');

  if (colon)
    *colon++ = '\0';
  g_strchomp (line);
  return colon ? g_strstrip (colon) : NULL;
}

/* ----------------------------------------------------------------------- set */

/* What is wrong with the value; NULL: `value` has it. */
static const char *
parse (const char *name, const char *text, GParamSpec *spec, GValue *value)
{
  g_value_init (value, spec->value_type);
  if (g_str_equal (name, "prompt")) {
    g_value_set_string (value, text);
    return lf_prompt_problem (text);
  }
  if (g_str_equal (name, "seed")) {
    guint64 seed;

    if (!g_ascii_string_to_unsigned (text, 10, 0, G_MAXUINT64, &seed, NULL))
      return "it is a whole number from 0 to 18446744073709551615";
    g_value_set_uint64 (value, seed);
    return NULL;
  }
  if (!gst_value_deserialize (value, text) || g_param_value_validate (spec, value))
    return "it is one of cut, recache and blend";
  return NULL;
}

GstRTSPStatusCode
lf_rtsp_params_set (LfRtspChannel *channel, const char *body, gsize size, GString *reply)
{
  g_auto (GStrv) lines = split (body, size, reply);
  g_autoptr (GstElement) source = lf_rtsp_channel_get_source (channel);
  GValue values[G_N_ELEMENTS (parameters)] = {G_VALUE_INIT};
  GstRTSPStatusCode status = lines ? GST_RTSP_STS_OK : GST_RTSP_STS_BAD_REQUEST;
  gboolean restart = FALSE;
  guint i;

  for (i = 0; lines && lines[i]; i++) {
    const char *text = cut (lines[i]), *problem = NULL;
    gint n = find (lines[i]);
    GstRTSPStatusCode bad = GST_RTSP_STS_BAD_REQUEST;

    if (n < 0) {
      bad = GST_RTSP_STS_PARAMETER_NOT_UNDERSTOOD;
    } else if (parameters[n].kind != SETTABLE && parameters[n].kind != RESTART) {
      bad = GST_RTSP_STS_PARAMETER_IS_READONLY;
    } else if (text == NULL) {
      problem = "it has no value";
    } else if (parameters[n].kind == RESTART) {
      restart = g_str_equal (text, "true");
      problem = restart ? NULL : "it is true";
    } else {
      if (G_IS_VALUE (&values[n]))
        g_value_unset (&values[n]);
      problem = parse (parameters[n].name, text,
          g_object_class_find_property (G_OBJECT_GET_CLASS (source), parameters[n].name),
          &values[n]);
    }
    if (n >= 0 && problem == NULL
        && (parameters[n].kind == SETTABLE || parameters[n].kind == RESTART))
      continue;
    /* The first reason is the status; the body has them all. */
    if (status == GST_RTSP_STS_OK)
      status = bad;
    blame (reply, lines[i], problem);
  }
  for (i = 0; i < G_N_ELEMENTS (parameters); i++) {
    if (!G_IS_VALUE (&values[i]))
      continue;
    if (status == GST_RTSP_STS_OK)
      lf_rtsp_channel_set (channel, parameters[i].name, &values[i]);
    g_value_unset (&values[i]);
  }
  if (status == GST_RTSP_STS_OK && restart)
    lf_rtsp_channel_restart (channel);
  return status;
}

/* ----------------------------------------------------------------------- get */

static guint64
count_late (GstElement *source)
{
  static const char *const fields[] = {"repeated", "dropped", "resyncs"};
  g_autoptr (GstStructure) stats = NULL;
  guint64 late = 0, n;
  guint i;

  g_object_get (source, "stats", &stats, NULL);
  for (i = 0; i < G_N_ELEMENTS (fields); i++)
    if (gst_structure_get_uint64 (stats, fields[i], &n))
      late += n;
  return late;
}

static char *
describe (GstElement *source, const char *property)
{
  g_auto (GValue) value = G_VALUE_INIT;
  char *text;

  g_value_init (
      &value, g_object_class_find_property (G_OBJECT_GET_CLASS (source), property)->value_type);
  g_object_get_property (G_OBJECT (source), property, &value);
  if (G_VALUE_HOLDS_STRING (&value))
    return g_value_get_string (&value) ? g_value_dup_string (&value) : g_strdup ("");
  if (GST_VALUE_HOLDS_STRUCTURE (&value))
    return gst_structure_to_string (gst_value_get_structure (&value));
  text = gst_value_serialize (&value);
  return text ? text : g_strdup ("");
}

GstRTSPStatusCode
lf_rtsp_params_get (
    LfRtspChannel *channel, const char *body, gsize size, guint clients, GString *reply)
{
  g_auto (GStrv) lines = split (body, size, reply);
  g_autoptr (GstElement) source = lf_rtsp_channel_get_source (channel);
  g_autoptr (GString) unknown = g_string_new (NULL);
  guint i;

  if (lines == NULL)
    return GST_RTSP_STS_BAD_REQUEST;
  for (i = 0; lines[i]; i++) {
    g_autofree char *text = NULL;
    gint n;

    cut (lines[i]);
    n = find (lines[i]);
    if (n < 0 || parameters[n].kind == RESTART) {
      blame (unknown, lines[i], NULL);
      continue;
    }
    if (parameters[n].kind == CLIENTS)
      text = g_strdup_printf ("%u", clients);
    else if (parameters[n].kind == LATE)
      text = g_strdup_printf ("%" G_GUINT64_FORMAT, count_late (source));
    else
      text = g_strdelimit (describe (source, parameters[n].name), "\r\n", ' ');
    g_string_append_printf (reply, "%s: %s\r\n", parameters[n].name, text);
  }
  if (unknown->len == 0)
    return GST_RTSP_STS_OK;
  g_string_assign (reply, unknown->str);
  return GST_RTSP_STS_PARAMETER_NOT_UNDERSTOOD;
}
