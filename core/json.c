/* lightforce: reading JSON that nobody vouches for
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "json.h"

#include <math.h>

#include "container-private.h"

#define MAX_DEPTH 16

/* Whether brackets outside of strings nest deeper than anything meaningful. */
static gboolean
too_deep (const char *text, gsize length)
{
  gboolean string = FALSE;
  gint depth = 0;
  gsize i;

  for (i = 0; i < length; i++) {
    char c = text[i];

    if (string) {
      if (c == '\\')
        i++;
      else if (c == '"')
        string = FALSE;
    } else if (c == '"') {
      string = TRUE;
    } else if (c == '{' || c == '[') {
      if (++depth > MAX_DEPTH)
        return TRUE;
    } else if (c == '}' || c == ']') {
      depth--;
    }
  }
  return FALSE;
}

JsonParser *
lf_json_parse (const char *path, const char *what, const char *text, gsize length, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (GError) reason = NULL;
  JsonNode *root;

  if (!g_utf8_validate_len (text, length, NULL)) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL, "its %s is not UTF-8", what);
    return NULL;
  }
  if (too_deep (text, length)) {
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, path, NULL, "its %s is nested too deep", what);
    return NULL;
  }
  if (!json_parser_load_from_data (parser, text, length, &reason)) {
    g_autofree char *line = g_strdelimit (g_strdup (reason->message), "\n\r", ' ');

    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, path, NULL, "its %s is no JSON: %s", what, line);
    return NULL;
  }
  root = json_parser_get_root (parser);
  if (!root || !JSON_NODE_HOLDS_OBJECT (root)) {
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, path, NULL, "its %s is no JSON object", what);
    return NULL;
  }
  return g_steal_pointer (&parser);
}

JsonObject *
lf_json_root (JsonParser *parser)
{
  return json_node_get_object (json_parser_get_root (parser));
}

gboolean
lf_json_get_int (JsonNode *node, gint64 *value)
{
  double d;

  if (!node || !JSON_NODE_HOLDS_VALUE (node))
    return FALSE;
  if (json_node_get_value_type (node) == G_TYPE_INT64) {
    *value = json_node_get_int (node);
    return TRUE;
  }
  if (json_node_get_value_type (node) != G_TYPE_DOUBLE)
    return FALSE;
  /* json-glib reads numbers beyond an int as doubles */
  d = json_node_get_double (node);
  if (!(fabs (d) < 9e15) || d != floor (d))
    return FALSE;
  *value = (gint64) d;
  return TRUE;
}
