/* lightforce: reading JSON that nobody vouches for
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_JSON_H
#define LF_JSON_H

#include <json-glib/json-glib.h>

/* Parses `length` bytes as one JSON object. json-glib recurses into what it reads, so nesting is
 * bounded before. `what` names the text in messages, which begin with `path`. */
JsonParser *lf_json_parse (
    const char *path, const char *what, const char *text, gsize length, GError **error);

/* The root of what lf_json_parse returned. */
JsonObject *lf_json_root (JsonParser *parser);

/* FALSE where the node is no whole number that a gint64 holds. */
gboolean lf_json_get_int (JsonNode *node, gint64 *value);

#endif
