/* lightforce: reading JSON that nobody vouches for
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "json.h"

#include <math.h>
#include <string.h>

#include "container-private.h"

#define MAX_DEPTH 16
#define MAX_DIGITS 19
#define MAX_VALUES (1 << 20) /* each is some 100 bytes once parsed */

/* Whether digits go on from `at` for more than an int holds: json-glib would make -1 of it. */
static gboolean
is_huge (const char *text, gsize length, gsize at)
{
  gsize n = 0;

  if (!g_ascii_isdigit (text[at]) || (at > 0 && strchr ("0123456789.", text[at - 1])))
    return FALSE;
  while (at + n < length && g_ascii_isdigit (text[at + n]))
    n++;
  return n > MAX_DIGITS;
}

/* The UTF-16 unit that the escape \uXXXX at `at` names; -1: there is none. */
static gint
read_unit (const char *text, gsize length, gsize at)
{
  gint unit = 0;
  gsize i;

  if (length < 6 || at > length - 6 || text[at] != '\\' || text[at + 1] != 'u')
    return -1;
  for (i = at + 2; i < at + 6; i++) {
    if (!g_ascii_isxdigit (text[i]))
      return -1;
    unit = unit * 16 + g_ascii_xdigit_value (text[i]);
  }
  return unit;
}

/* The length of the escape at `at`; 0: it is none of JSON's, or it names half of a pair of units.
 * json-glib would take both (\377 for the byte of that octal number) and make what is no UTF-8. */
static gsize
measure_escape (const char *text, gsize length, gsize at)
{
  gint unit = read_unit (text, length, at), low;

  if (unit < 0)
    return at + 1 < length && text[at + 1] && strchr ("\"\\/bfnrt", text[at + 1]) ? 2 : 0;
  if (unit >= 0xdc00 && unit <= 0xdfff)
    return 0;
  if (unit < 0xd800 || unit > 0xdbff)
    return 6;
  low = read_unit (text, length, at + 6);
  return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

/* What is wrong with a text before json-glib sees it, or NULL: brackets outside of strings that
 * nest deeper or values that are more than anything meaningful, and what json-glib would take
 * though it is no JSON (comments would hide brackets from this look at them). */
static const char *
find_fault (const char *text, gsize length)
{
  gboolean string = FALSE;
  gint depth = 0, values = 0;
  gsize i;

  for (i = 0; i < length; i++) {
    char c = text[i];

    if (string) {
      if (c == '\\') {
        gsize escape = measure_escape (text, length, i);

        if (escape == 0)
          return "no JSON of whole characters";
        i += escape - 1;
      } else if (c == '"') {
        string = FALSE;
      }
    } else if (c == '"') {
      string = TRUE;
    } else if (c == '{' || c == '[') {
      if (++depth > MAX_DEPTH)
        return "nested too deep";
      values++;
    } else if (c == '}' || c == ']') {
      depth--;
    } else if (c == ',') {
      if (++values > MAX_VALUES)
        return "longer than any model's";
    } else if (!g_ascii_isalnum (c) && !strchr (":+-. \t\r\n", c)) {
      return "no JSON";
    } else if (is_huge (text, length, i)) {
      return "no JSON of numbers that anything could use";
    }
  }
  return values > MAX_VALUES ? "longer than any model's" : NULL;
}

/* Members as they are read and as they are kept: json-glib keeps the last of those with one name,
 * so that a difference tells of a name that is there twice. */
typedef struct
{
  guint64 read, kept;
} Members;

static void
count_read (JsonParser *parser, JsonObject *object, const char *name, gpointer members)
{
  ((Members *) members)->read++;
}

static void
count_kept (JsonParser *parser, JsonObject *object, gpointer members)
{
  ((Members *) members)->kept += json_object_get_size (object);
}

JsonParser *
lf_json_parse (const char *path, const char *what, const char *text, gsize length, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (GError) reason = NULL;
  Members members = {0};
  const char *fault;
  JsonNode *root;

  if (!g_utf8_validate_len (text, length, NULL)) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL, "its %s is not UTF-8", what);
    return NULL;
  }
  fault = find_fault (text, length);
  if (fault) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL, "its %s is %s", what, fault);
    return NULL;
  }
  g_signal_connect (parser, "object-member", G_CALLBACK (count_read), &members);
  g_signal_connect (parser, "object-end", G_CALLBACK (count_kept), &members);
  if (!json_parser_load_from_data (parser, text, length, &reason)) {
    g_autofree char *line = g_strdelimit (g_strdup (reason->message), "\n\r", ' ');

    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, path, NULL, "its %s is no JSON: %s", what, line);
    return NULL;
  }
  g_signal_handlers_disconnect_by_data (parser, &members);
  if (members.read != members.kept) {
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, path, NULL, "its %s has two members of one name", what);
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
