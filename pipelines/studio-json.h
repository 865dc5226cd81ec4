/* lightforce: single messages of the studio's API, read and written
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_JSON_H
#define LF_STUDIO_JSON_H

#include <json-glib/json-glib.h>

#include "pipelines/parts.h"

G_BEGIN_DECLS

/* What a message asks to set; members that are there are of their type and range. */
typedef struct
{
  const char *prompt;
  gboolean has_switch, has_seed, has_sparsity, has_attention, has_layer, has_head, restart;
  gint prompt_switch, attention, layer, head;
  guint64 seed;
  double sparsity; /* -1: the model's */
} LfRequest;

/* What is wrong with one member of a request; NULL: nothing, and `request` has it. */
const char *lf_request_take (
    LfRequest *request, const LfModelInfo *info, const char *name, JsonNode *node);
void lf_request_apply (const LfRequest *request, GstElement *source);

/* NULL: it is no string. `node` may be NULL. */
const char *lf_json_get_string (JsonNode *node);
/* FALSE: it is none of them. */
gboolean lf_json_get_choice (JsonNode *node, const char *const *choices, gint *choice);

/* A message of this type. */
JsonObject *lf_message_new (const char *type);
/* To be freed. */
char *lf_message_to_text (JsonObject *message);
/* Of the request that it answers, copied; NULL: it has none. */
void lf_message_set_id (JsonObject *message, JsonNode *id);
/* NULL: the member is null. What is not UTF-8, as names of files need not be, is replaced: no message
 * may have it. */
void lf_message_set_text (JsonObject *message, const char *name, const char *text);
JsonObject *lf_message_of_error (JsonNode *id, const char *code, const char *text);
/* A message "state" with what it tells of the source and its model; `shown` is the prompt of the
 * picture, NULL: there is none yet. */
JsonObject *lf_message_of_source (const LfModelInfo *info, GstElement *source, const char *shown);
/* Of the source's message lightforce-chunk, and of its property stats. */
JsonObject *lf_message_of_chunk (const GstStructure *s);
JsonObject *lf_message_of_stats (const GstStructure *stats);

G_END_DECLS
#endif
