/* lightforce: single messages of the studio's API, read and written
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/studio-json.h"

#include <math.h>

#include "core/json.h"

/* By the values of the source's properties, NULL at the end. */
static const char *const prompt_switches[] = {"cut", "recache", "blend", NULL};
static const char *const attentions[] = {"auto", "sparse", "dense", NULL};

/* ----------------------------------------------------------------------- reading */

const char *
lf_json_get_string (JsonNode *node)
{
  return node && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
             ? json_node_get_string (node)
             : NULL;
}

gboolean
lf_json_get_choice (JsonNode *node, const char *const *choices, gint *choice)
{
  const char *text = lf_json_get_string (node);

  for (*choice = 0; text && choices[*choice]; (*choice)++)
    if (g_str_equal (choices[*choice], text))
      return TRUE;
  return FALSE;
}

static gboolean
get_seed (JsonNode *node, guint64 *seed)
{
  const char *text = lf_json_get_string (node);
  gint64 number;

  if (text)
    return g_ascii_string_to_unsigned (text, 10, 0, G_MAXUINT64, seed, NULL);
  if (!lf_json_get_int (node, &number) || number < 0)
    return FALSE;
  *seed = (guint64) number;
  return TRUE;
}

static gboolean
get_sparsity (JsonNode *node, double *sparsity)
{
  if (JSON_NODE_HOLDS_NULL (node)) {
    *sparsity = -1;
    return TRUE;
  }
  if (!JSON_NODE_HOLDS_VALUE (node)
      || (json_node_get_value_type (node) != G_TYPE_DOUBLE
          && json_node_get_value_type (node) != G_TYPE_INT64))
    return FALSE;
  *sparsity = json_node_get_double (node);
  return *sparsity >= 0 && *sparsity < 1;
}

static gboolean
get_number (JsonNode *node, gint min, gint max, gint *number)
{
  gint64 value;

  if (!lf_json_get_int (node, &value) || value < min || value > max)
    return FALSE;
  *number = (gint) value;
  return TRUE;
}

const char *
lf_request_take (LfRequest *request, const LfModelInfo *info, const char *name, JsonNode *node)
{
  if (g_str_equal (name, "type") || g_str_equal (name, "id"))
    return NULL;
  if (g_str_equal (name, "prompt")) {
    request->prompt = lf_json_get_string (node);
    return request->prompt ? lf_prompt_problem (request->prompt) : "it is a string";
  }
  if (g_str_equal (name, "prompt-switch")) {
    request->has_switch = TRUE;
    return lf_json_get_choice (node, prompt_switches, &request->prompt_switch)
               ? NULL
               : "it is one of cut, recache and blend";
  }
  if (g_str_equal (name, "attention")) {
    request->has_attention = TRUE;
    return lf_json_get_choice (node, attentions, &request->attention)
               ? NULL
               : "it is one of auto, sparse and dense";
  }
  if (g_str_equal (name, "seed")) {
    request->has_seed = TRUE;
    return get_seed (node, &request->seed)
               ? NULL
               : "it is a whole number from 0 to 18446744073709551615, or a string of one";
  }
  if (g_str_equal (name, "sparsity")) {
    request->has_sparsity = TRUE;
    return get_sparsity (node, &request->sparsity)
               ? NULL
               : "it is a number from 0 to less than 1, or null: the model's";
  }
  if (g_str_equal (name, "probe-layer")) {
    request->has_layer = TRUE;
    return get_number (node, -1, info->layers - 1, &request->layer)
               ? NULL
               : "it is the number of a layer from 0, or -1: none";
  }
  if (g_str_equal (name, "probe-head")) {
    request->has_head = TRUE;
    return get_number (node, 0, info->heads - 1, &request->head)
               ? NULL
               : "it is the number of an attention head from 0";
  }
  if (g_str_equal (name, "restart")) {
    request->restart = JSON_NODE_HOLDS_VALUE (node)
                       && json_node_get_value_type (node) == G_TYPE_BOOLEAN
                       && json_node_get_boolean (node);
    return request->restart ? NULL : "it is true";
  }
  return "there is no such setting";
}

void
lf_request_apply (const LfRequest *r, GstElement *source)
{
  if (r->has_switch)
    g_object_set (source, "prompt-switch", r->prompt_switch, NULL);
  if (r->has_attention)
    g_object_set (source, "attention", r->attention, NULL);
  if (r->has_sparsity)
    g_object_set (source, "sparsity", r->sparsity, NULL);
  if (r->has_layer)
    g_object_set (source, "probe-layer", r->layer, NULL);
  if (r->has_head)
    g_object_set (source, "probe-head", r->head, NULL);
  if (r->has_seed)
    g_object_set (source, "seed", r->seed, NULL);
  if (r->prompt)
    g_object_set (source, "prompt", r->prompt, NULL);
  if (r->restart)
    g_signal_emit_by_name (source, "restart");
}

/* ----------------------------------------------------------------------- writing */

JsonObject *
lf_message_new (const char *type)
{
  JsonObject *message = json_object_new ();

  json_object_set_string_member (message, "type", type);
  return message;
}

char *
lf_message_to_text (JsonObject *message)
{
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), message);

  return json_to_string (node, FALSE);
}

void
lf_message_set_id (JsonObject *message, JsonNode *id)
{
  if (id)
    json_object_set_member (message, "id", json_node_copy (id));
}

void
lf_message_set_text (JsonObject *message, const char *name, const char *text)
{
  g_autofree char *valid = text ? g_utf8_make_valid (text, -1) : NULL;

  if (valid)
    json_object_set_string_member (message, name, valid);
  else
    json_object_set_null_member (message, name);
}

JsonObject *
lf_message_of_error (JsonNode *id, const char *code, const char *text)
{
  JsonObject *o = lf_message_new ("error");

  lf_message_set_id (o, id);
  json_object_set_string_member (o, "code", code);
  lf_message_set_text (o, "message", text);
  return o;
}

static JsonObject *
describe_model (const LfModelInfo *info, GstElement *source)
{
  JsonObject *o = json_object_new ();
  gint width, height, fps_n, fps_d;

  g_object_get (source, "width", &width, "height", &height, NULL);
  {
    g_auto (GValue) rate = G_VALUE_INIT;

    g_value_init (&rate, GST_TYPE_FRACTION);
    g_object_get_property (G_OBJECT (source), "framerate", &rate);
    fps_n = gst_value_get_fraction_numerator (&rate);
    fps_d = gst_value_get_fraction_denominator (&rate);
  }
  json_object_set_string_member (o, "name", info->name);
  json_object_set_string_member (o, "backend", info->backend);
  json_object_set_int_member (o, "parameters", (gint64) info->parameters);
  json_object_set_int_member (o, "width", width ? width : info->width);
  json_object_set_int_member (o, "height", height ? height : info->height);
  json_object_set_double_member (
      o, "framerate", fps_n ? (double) fps_n / fps_d : (double) info->fps_n / info->fps_d);
  json_object_set_int_member (o, "chunk-pictures", info->chunk_pictures);
  json_object_set_int_member (o, "layers", info->layers);
  json_object_set_int_member (o, "heads", info->heads);
  json_object_set_double_member (o, "sparsity", info->sparse.enabled ? info->sparse.target : 0);
  return o;
}

JsonObject *
lf_message_of_source (const LfModelInfo *info, GstElement *source, const char *shown)
{
  JsonObject *o = lf_message_new ("state");
  g_autofree char *prompt = NULL, *seed_text = NULL;
  gint prompt_switch, attention, layer, head;
  guint queue;
  guint64 seed;
  double sparsity;

  g_object_get (source, "prompt", &prompt, "prompt-switch", &prompt_switch, "seed", &seed,
      "sparsity", &sparsity, "attention", &attention, "probe-layer", &layer, "probe-head", &head,
      "queue-chunks", &queue, NULL);
  seed_text = g_strdup_printf ("%" G_GUINT64_FORMAT, seed);
  json_object_set_string_member (o, "version", lf_version ());
  json_object_set_object_member (o, "model", describe_model (info, source));
  json_object_set_string_member (o, "prompt", prompt ? prompt : "");
  lf_message_set_text (o, "shown", shown);
  json_object_set_string_member (o, "prompt-switch", prompt_switches[prompt_switch]);
  json_object_set_string_member (o, "seed", seed_text);
  if (sparsity >= 0)
    json_object_set_double_member (o, "sparsity", sparsity);
  else
    json_object_set_null_member (o, "sparsity");
  json_object_set_string_member (o, "attention", attentions[attention]);
  json_object_set_int_member (o, "probe-layer", layer);
  json_object_set_int_member (o, "probe-head", head);
  /* the one that is shown, the one that is made, and those that wait between them */
  json_object_set_int_member (o, "prompt-chunks", (gint64) queue + 2);
  return o;
}

static void
add_selection (JsonObject *o, const GstStructure *s)
{
  const GValue *frames = gst_structure_get_value (s, "frames");
  const GValue *shares = gst_structure_get_value (s, "shares");
  JsonObject *selection;
  JsonArray *f, *x;
  gint layer = 0, head = 0, past = 0;
  guint i;

  if (frames == NULL || shares == NULL) {
    json_object_set_null_member (o, "selection");
    return;
  }
  gst_structure_get (
      s, "layer", G_TYPE_INT, &layer, "head", G_TYPE_INT, &head, "past", G_TYPE_INT, &past, NULL);
  selection = json_object_new ();
  f = json_array_new ();
  x = json_array_new ();
  for (i = 0; i < gst_value_array_get_size (frames); i++) {
    json_array_add_int_element (f, g_value_get_int64 (gst_value_array_get_value (frames, i)));
    json_array_add_double_element (
        x, round (g_value_get_double (gst_value_array_get_value (shares, i)) * 1e4) / 1e4);
  }
  json_object_set_int_member (selection, "layer", layer);
  json_object_set_int_member (selection, "head", head);
  json_object_set_int_member (selection, "past", past);
  json_object_set_array_member (selection, "frames", f);
  json_object_set_array_member (selection, "shares", x);
  json_object_set_object_member (o, "selection", selection);
}

JsonObject *
lf_message_of_chunk (const GstStructure *s)
{
  static const char *const numbers[] = {"generate-us", "decode-us", "made-us"};
  JsonObject *o = lf_message_new ("chunk");
  guint64 chunk = 0, offset = 0, seed = 0;
  gint64 us;
  guint serial = 0, i;
  gint pictures = 0;
  double sparsity = 0;
  g_autofree char *seed_text = NULL;

  gst_structure_get (s, "chunk", G_TYPE_UINT64, &chunk, "offset", G_TYPE_UINT64, &offset, "seed",
      G_TYPE_UINT64, &seed, "prompt-serial", G_TYPE_UINT, &serial, "pictures", G_TYPE_INT,
      &pictures, "sparsity", G_TYPE_DOUBLE, &sparsity, NULL);
  seed_text = g_strdup_printf ("%" G_GUINT64_FORMAT, seed);
  json_object_set_int_member (o, "chunk", (gint64) chunk);
  json_object_set_int_member (o, "frame", (gint64) offset);
  json_object_set_int_member (o, "pictures", pictures);
  json_object_set_string_member (o, "seed", seed_text);
  json_object_set_int_member (o, "serial", serial);
  json_object_set_double_member (o, "sparsity", round (sparsity * 1e4) / 1e4);
  for (i = 0; i < G_N_ELEMENTS (numbers); i++)
    if (gst_structure_get_int64 (s, numbers[i], &us))
      json_object_set_int_member (o, numbers[i], us);
  add_selection (o, s);
  return o;
}

static void
copy_figure (JsonObject *o, const GstStructure *stats, const char *name)
{
  const GValue *value = gst_structure_get_value (stats, name);

  if (value == NULL)
    return;
  if (G_VALUE_HOLDS_UINT64 (value))
    json_object_set_int_member (o, name, (gint64) g_value_get_uint64 (value));
  else if (G_VALUE_HOLDS_INT64 (value))
    json_object_set_int_member (o, name, g_value_get_int64 (value));
  else if (G_VALUE_HOLDS_UINT (value))
    json_object_set_int_member (o, name, g_value_get_uint (value));
  else if (G_VALUE_HOLDS_DOUBLE (value))
    json_object_set_double_member (o, name, round (g_value_get_double (value) * 1e4) / 1e4);
}

JsonObject *
lf_message_of_stats (const GstStructure *stats)
{
  JsonObject *o = lf_message_new ("stats");
  gint i;

  for (i = 0; i < gst_structure_n_fields (stats); i++)
    copy_figure (o, stats, gst_structure_nth_field_name (stats, (guint) i));
  return o;
}
