/* lightforce: what a model is, beside its weights
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "modelconfig.h"

#include <math.h>
#include <string.h>

#include "container-private.h"
#include "json.h"
#include "sparsity.h"

#define MAX_LAYERS 4096
#define MAX_WIDTH (1 << 20)

/* --------------------------------------------------------------- defaults */

/* Published settings: the Light Forcing paper and its released models. */
void
lf_model_config_init (LfModelConfig *config, const char *name)
{
  static const double steps[] = {1000, 750, 500, 250};
  static const LfSparse short_sparse = {TRUE, 0.80, 0.90, 21, 128, 128, 6, 1, 2};
  static const LfSparse long_sparse = {TRUE, 0.85, 0.95, 63, 64, 64, 3, 1, 1};
  g_autofree char *lower = g_ascii_strdown (name, -1);
  gboolean is_long = strstr (lower, "long") != NULL;
  gboolean light =
      g_str_has_prefix (name, "short_video_gen") || g_str_has_prefix (name, "long_video_gen");

  memset (config, 0, sizeof (*config));
  config->transformer.text_len = 512;
  config->transformer.chunk_frames = 3;
  config->text.buckets = 32;
  config->n_steps = G_N_ELEMENTS (steps);
  memcpy (config->steps, steps, sizeof (steps));
  config->shift = 5;
  config->window = is_long ? 12 : 21;
  config->sink = 1;
  config->relative = is_long;
  config->sparse = is_long ? long_sparse : short_sparse;
  config->width = light ? 768 : 832;
  config->height = light ? 512 : 480;
  config->fps_n = 16;
  config->fps_d = 1;
}

/* --------------------------------------------------------------- shapes */

typedef struct
{
  const LfModelFiles *files;
  LfPart part;
  GError **error;
} Measure;

/* Dimension `i` of a tensor of at least two; 0 with the error set. */
static gint
dimension (Measure *m, const char *name, gint i)
{
  LfWeightRef ref;

  if (!lf_model_files_find (m->files, m->part, name, &ref)) {
    if (!*m->error)
      lf_container_set_error (m->error, LF_ERROR_INVALID_MODEL,
          lf_model_files_get_path (m->files, m->part), name, "it is missing");
    return 0;
  }
  if (ref.tensor->ndim < 2 || ref.tensor->shape[i] < 1 || ref.tensor->shape[i] > MAX_WIDTH) {
    if (!*m->error)
      lf_container_set_error (m->error, LF_ERROR_INVALID_MODEL,
          lf_container_get_path (ref.container), ref.tensor->name, "its shape is no weight's");
    return 0;
  }
  return ref.tensor->shape[i];
}

static gint
count_blocks (Measure *m, const char *format)
{
  gint n;

  for (n = 0; n < MAX_LAYERS; n++) {
    g_autofree char *name = g_strdup_printf ("blocks.%d.%s", n, format);
    LfWeightRef ref;

    if (!lf_model_files_find (m->files, m->part, name, &ref))
      break;
  }
  return n;
}

gboolean
lf_model_config_measure (
    LfModelConfig *config, const LfModelFiles *files, LfPart part, GError **error)
{
  g_autoptr (GError) reason = NULL;
  Measure m = {files, part, &reason};

  switch (part) {
    case LF_PART_TRANSFORMER:
      config->transformer.dim = dimension (&m, "patch_embedding.weight", 0);
      config->transformer.z = dimension (&m, "head.head.weight", 0) / 4;
      config->transformer.ffn_dim = dimension (&m, "blocks.0.ffn.0.weight", 0);
      config->transformer.freq_dim = dimension (&m, "time_embedding.0.weight", 1);
      config->transformer.text_dim = dimension (&m, "text_embedding.0.weight", 1);
      config->transformer.layers = count_blocks (&m, "self_attn.q.weight");
      config->transformer.heads =
          MAX (1, config->transformer.dim / (config->transformer.dim % 128 ? 64 : 128));
      break;
    case LF_PART_TEXT_ENCODER:
      config->text.vocab = dimension (&m, "token_embedding.weight", 0);
      config->text.dim = dimension (&m, "token_embedding.weight", 1);
      config->text.ffn_dim = dimension (&m, "blocks.0.ffn.gate.0.weight", 0);
      config->text.buckets = dimension (&m, "blocks.0.pos_embedding.embedding.weight", 0);
      config->text.heads = dimension (&m, "blocks.0.pos_embedding.embedding.weight", 1);
      config->text.layers = count_blocks (&m, "attn.q.weight");
      break;
    default:
      config->decoder.z = dimension (&m,
          config->decoder.kind == LF_DECODER_WAN ? "decoder.conv1.weight" : "decoder.1.weight", 1);
      break;
  }
  if (!reason)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&reason));
  return FALSE;
}

/* --------------------------------------------------------------- JSON */

typedef struct
{
  const char *path;
  const char *object; /* name of the object at work */
  GError *error;      /* the first one */
} Parse;

static void bad (Parse *p, const char *member, const char *format, ...) G_GNUC_PRINTF (3, 4);

static void
bad (Parse *p, const char *member, const char *format, ...)
{
  g_autofree char *reason = NULL;
  va_list args;

  if (p->error)
    return;
  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (&p->error, LF_ERROR, LF_ERROR_INVALID_MODEL, "%s: model description: %s%s%s: %s",
      p->path, p->object ? p->object : "", p->object ? "." : "", member, reason);
}

static void
get_int (Parse *p, JsonObject *o, const char *member, gint *value, gint min, gint max)
{
  gint64 x;

  if (!json_object_has_member (o, member))
    return;
  if (!lf_json_get_int (json_object_get_member (o, member), &x) || x < min || x > max)
    bad (p, member, "a whole number from %d to %d belongs here", min, max);
  else
    *value = x;
}

static void
get_double (Parse *p, JsonObject *o, const char *member, double *value, double min, double max)
{
  JsonNode *node = json_object_get_member (o, member);
  GType type;
  double x;

  if (!node)
    return;
  type = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_value_type (node) : G_TYPE_INVALID;
  x = type == G_TYPE_INT64 || type == G_TYPE_DOUBLE ? json_node_get_double (node) : NAN;
  if (!(x >= min && x <= max))
    bad (p, member, "a number from %g to %g belongs here", min, max);
  else
    *value = x;
}

static void
get_boolean (Parse *p, JsonObject *o, const char *member, gboolean *value)
{
  JsonNode *node = json_object_get_member (o, member);

  if (!node)
    return;
  if (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_BOOLEAN)
    bad (p, member, "true or false belongs here");
  else
    *value = json_node_get_boolean (node);
}

/* A member that is an object; NULL where it is not there or null. */
static JsonObject *
get_object (Parse *p, JsonObject *o, const char *member)
{
  JsonNode *node = json_object_get_member (o, member);

  p->object = NULL;
  if (!node || JSON_NODE_HOLDS_NULL (node))
    return NULL;
  if (!JSON_NODE_HOLDS_OBJECT (node)) {
    bad (p, member, "an object belongs here");
    return NULL;
  }
  p->object = member;
  return json_node_get_object (node);
}

static void
parse_steps (Parse *p, JsonObject *o, LfModelConfig *config)
{
  JsonNode *node = json_object_get_member (o, "steps");
  JsonArray *array;
  guint i, n;

  if (!node)
    return;
  array = JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  n = array ? json_array_get_length (array) : 0;
  if (n < 1 || n > LF_MAX_STEPS) {
    bad (p, "steps", "1 to %d numbers belong here", LF_MAX_STEPS);
    return;
  }
  for (i = 0; i < n; i++) {
    JsonNode *item = json_array_get_element (array, i);
    GType type = JSON_NODE_HOLDS_VALUE (item) ? json_node_get_value_type (item) : G_TYPE_INVALID;
    double x = type == G_TYPE_INT64 || type == G_TYPE_DOUBLE ? json_node_get_double (item) : NAN;

    if (!(x > 0 && x <= 1000) || (i && x >= config->steps[i - 1])) {
      bad (p, "steps", "steps fall from at most 1000 to above 0");
      return;
    }
    config->steps[i] = x;
  }
  config->n_steps = n;
}

static void
parse_video (Parse *p, JsonObject *o, LfModelConfig *config)
{
  JsonNode *node = json_object_get_member (o, "framerate");
  gint64 n, d;

  get_int (p, o, "width", &config->width, 16, 16384);
  get_int (p, o, "height", &config->height, 16, 16384);
  if (config->width % 16)
    bad (p, "width", "a multiple of 16 belongs here");
  if (config->height % 16)
    bad (p, "height", "a multiple of 16 belongs here");
  if (!node)
    return;
  if (!JSON_NODE_HOLDS_ARRAY (node) || json_array_get_length (json_node_get_array (node)) != 2
      || !lf_json_get_int (json_array_get_element (json_node_get_array (node), 0), &n)
      || !lf_json_get_int (json_array_get_element (json_node_get_array (node), 1), &d) || n < 1
      || n > 100000 || d < 1 || d > 100000) {
    bad (p, "framerate", "[numerator, denominator] belongs here, each 1 to 100000");
    return;
  }
  config->fps_n = n;
  config->fps_d = d;
}

static void
parse_sparse (Parse *p, JsonObject *o, LfSparse *s)
{
  s->enabled = TRUE;
  get_double (p, o, "target", &s->target, 0, 1);
  get_double (p, o, "base", &s->base, 0, 1);
  get_int (p, o, "total_frames", &s->total_frames, 1, 1 << 24);
  get_int (p, o, "block_q", &s->block_q, 1, 1 << 16);
  get_int (p, o, "block_k", &s->block_k, 1, 1 << 16);
  get_int (p, o, "keep_frames", &s->keep_frames, 0, 1 << 16);
  get_int (p, o, "keep_sink", &s->keep_sink, 0, 1 << 16);
  get_int (p, o, "keep_near", &s->keep_near, 0, 1 << 16);
}

static void
parse_parts (Parse *p, JsonObject *root, LfModelConfig *config, guint parts)
{
  JsonObject *o;

  if ((parts & 1 << LF_PART_TRANSFORMER) && (o = get_object (p, root, "transformer"))) {
    get_int (p, o, "dim", &config->transformer.dim, 1, MAX_WIDTH);
    get_int (p, o, "heads", &config->transformer.heads, 1, 4096);
    get_int (p, o, "layers", &config->transformer.layers, 1, MAX_LAYERS);
    get_int (p, o, "ffn_dim", &config->transformer.ffn_dim, 1, MAX_WIDTH);
    get_int (p, o, "freq_dim", &config->transformer.freq_dim, 2, MAX_WIDTH);
    get_int (p, o, "text_dim", &config->transformer.text_dim, 1, MAX_WIDTH);
    get_int (p, o, "text_len", &config->transformer.text_len, 1, 1 << 16);
    get_int (p, o, "z", &config->transformer.z, 1, 1024);
    get_int (p, o, "chunk_frames", &config->transformer.chunk_frames, 1, 256);
  }
  if ((parts & 1 << LF_PART_TEXT_ENCODER) && (o = get_object (p, root, "text_encoder"))) {
    get_int (p, o, "dim", &config->text.dim, 1, MAX_WIDTH);
    get_int (p, o, "heads", &config->text.heads, 1, 4096);
    get_int (p, o, "layers", &config->text.layers, 1, MAX_LAYERS);
    get_int (p, o, "ffn_dim", &config->text.ffn_dim, 1, MAX_WIDTH);
  }
  if ((parts & 1 << LF_PART_DECODER) && (o = get_object (p, root, "decoder"))
      && json_object_has_member (o, "kind")) {
    JsonNode *node = json_object_get_member (o, "kind");
    const char *kind = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;

    if (kind && g_str_equal (kind, "tiny"))
      config->decoder.kind = LF_DECODER_TINY;
    else if (kind && g_str_equal (kind, "wan"))
      config->decoder.kind = LF_DECODER_WAN;
    else
      bad (p, "kind", "\"tiny\" or \"wan\" belongs here");
  }
}

/* Members that nothing here knows may come from a later version; they say so in the log. */
static void
mention_unknown (const char *path, JsonObject *root)
{
  static const char *const known[] = {"format", "name", "license", "description", "transformer",
      "text_encoder", "decoder", "sampling", "cache", "sparse", "video", NULL};
  JsonObjectIter iter;
  const char *member;
  JsonNode *node;

  json_object_iter_init (&iter, root);
  while (json_object_iter_next (&iter, &member, &node))
    if (!g_strv_contains (known, member))
      g_debug ("%s: model description: member %.64s is not known here", path, member);
}

gboolean
lf_model_config_check (const LfModelConfig *config, const char *path, GError **error)
{
  g_autoptr (GError) reason = NULL;

  if (config->transformer.z < 1 || config->transformer.layers < 1)
    lf_container_set_error (
        error, LF_ERROR_INVALID_MODEL, path, NULL, "a transformer has latents and layers");
  else if (config->transformer.freq_dim % 2)
    lf_container_set_error (error, LF_ERROR_INVALID_MODEL, path, NULL,
        "freq_dim is %d, but it is an even number", config->transformer.freq_dim);
  else if (config->window != -1 && config->window < config->sink + config->transformer.chunk_frames)
    lf_container_set_error (error, LF_ERROR_INVALID_MODEL, path, NULL,
        "cache.window is %d, less than sink (%d) and chunk_frames (%d) together", config->window,
        config->sink, config->transformer.chunk_frames);
  else if (config->relative && config->window == -1)
    lf_container_set_error (error, LF_ERROR_INVALID_MODEL, path, NULL,
        "cache.window is -1, but cache.relative needs one");
  else if (!lf_sparse_check (&config->sparse, &reason))
    lf_container_set_error (
        error, LF_ERROR_INVALID_MODEL, path, NULL, "sparse: %s", reason->message);
  else
    return TRUE;
  return FALSE;
}

gboolean
lf_model_config_parse (LfModelConfig *config, const char *path, const char *json, gsize length,
    guint parts, GError **error)
{
  g_autoptr (JsonParser) parser = lf_json_parse (path, "model description", json, length, error);
  Parse p = {.path = path};
  JsonObject *root, *o;
  JsonNode *node;
  gint format = 1;
  char *c;

  if (!parser)
    return FALSE;
  root = lf_json_root (parser);
  mention_unknown (path, root);
  get_int (&p, root, "format", &format, 1, G_MAXINT);
  if (format != 1)
    bad (&p, "format", "it is %d, of a later version; this one knows 1", format);
  node = json_object_get_member (root, "name");
  if (node && (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_STRING)) {
    bad (&p, "name", "a string belongs here");
  } else if (node) {
    g_free (config->name);
    config->name = g_strdup (json_node_get_string (node));
    for (c = config->name; *c; c++)
      if (g_ascii_iscntrl (*c))
        *c = ' ';
  }
  parse_parts (&p, root, config, parts);
  if ((o = get_object (&p, root, "sampling"))) {
    parse_steps (&p, o, config);
    get_double (&p, o, "shift", &config->shift, 0.01, 1000);
  }
  if ((o = get_object (&p, root, "cache"))) {
    get_int (&p, o, "window", &config->window, -1, LF_MAX_WINDOW);
    get_int (&p, o, "sink", &config->sink, 0, LF_MAX_WINDOW);
    get_boolean (&p, o, "relative", &config->relative);
  }
  if ((o = get_object (&p, root, "sparse")))
    parse_sparse (&p, o, &config->sparse);
  else if (json_object_has_member (root, "format") || json_object_has_member (root, "sparse"))
    config->sparse.enabled = FALSE; /* a complete description without it means dense */
  if ((o = get_object (&p, root, "video")))
    parse_video (&p, o, config);
  if (p.error)
    g_propagate_error (error, p.error);
  return !p.error;
}

/* --------------------------------------------------------------- writing */

static void
put_int (JsonBuilder *b, const char *name, gint64 value)
{
  json_builder_set_member_name (b, name);
  json_builder_add_int_value (b, value);
}

static void
put_double (JsonBuilder *b, const char *name, double value)
{
  json_builder_set_member_name (b, name);
  json_builder_add_double_value (b, value);
}

static void
begin (JsonBuilder *b, const char *name)
{
  json_builder_set_member_name (b, name);
  json_builder_begin_object (b);
}

static void
put_settings (JsonBuilder *b, const LfModelConfig *c)
{
  gint i;

  begin (b, "sampling");
  json_builder_set_member_name (b, "steps");
  json_builder_begin_array (b);
  for (i = 0; i < c->n_steps; i++)
    json_builder_add_double_value (b, c->steps[i]);
  json_builder_end_array (b);
  put_double (b, "shift", c->shift);
  json_builder_end_object (b);
  begin (b, "cache");
  put_int (b, "window", c->window);
  put_int (b, "sink", c->sink);
  json_builder_set_member_name (b, "relative");
  json_builder_add_boolean_value (b, c->relative);
  json_builder_end_object (b);
  if (c->sparse.enabled) {
    begin (b, "sparse");
    put_double (b, "target", c->sparse.target);
    put_double (b, "base", c->sparse.base);
    put_int (b, "total_frames", c->sparse.total_frames);
    put_int (b, "block_q", c->sparse.block_q);
    put_int (b, "block_k", c->sparse.block_k);
    put_int (b, "keep_frames", c->sparse.keep_frames);
    put_int (b, "keep_sink", c->sparse.keep_sink);
    put_int (b, "keep_near", c->sparse.keep_near);
    json_builder_end_object (b);
  } else {
    json_builder_set_member_name (b, "sparse");
    json_builder_add_null_value (b);
  }
  begin (b, "video");
  put_int (b, "width", c->width);
  put_int (b, "height", c->height);
  json_builder_set_member_name (b, "framerate");
  json_builder_begin_array (b);
  json_builder_add_int_value (b, c->fps_n);
  json_builder_add_int_value (b, c->fps_d);
  json_builder_end_array (b);
  json_builder_end_object (b);
}

static JsonNode *
build_description (const LfModelConfig *c, gboolean has_text, gboolean has_decoder)
{
  g_autoptr (JsonBuilder) b = json_builder_new ();

  json_builder_begin_object (b);
  put_int (b, "format", 1);
  json_builder_set_member_name (b, "name");
  json_builder_add_string_value (b, c->name ? c->name : "");
  begin (b, "transformer");
  put_int (b, "dim", c->transformer.dim);
  put_int (b, "heads", c->transformer.heads);
  put_int (b, "layers", c->transformer.layers);
  put_int (b, "ffn_dim", c->transformer.ffn_dim);
  put_int (b, "freq_dim", c->transformer.freq_dim);
  put_int (b, "text_dim", c->transformer.text_dim);
  put_int (b, "text_len", c->transformer.text_len);
  put_int (b, "z", c->transformer.z);
  put_int (b, "chunk_frames", c->transformer.chunk_frames);
  json_builder_end_object (b);
  if (has_text) {
    begin (b, "text_encoder");
    put_int (b, "dim", c->text.dim);
    put_int (b, "heads", c->text.heads);
    put_int (b, "layers", c->text.layers);
    put_int (b, "ffn_dim", c->text.ffn_dim);
    json_builder_end_object (b);
  }
  if (has_decoder) {
    begin (b, "decoder");
    json_builder_set_member_name (b, "kind");
    json_builder_add_string_value (b, c->decoder.kind == LF_DECODER_WAN ? "wan" : "tiny");
    json_builder_end_object (b);
  }
  put_settings (b, c);
  json_builder_end_object (b);
  return json_builder_get_root (b);
}

char *
lf_model_config_to_json (
    const LfModelConfig *config, const char *base, gboolean has_text, gboolean has_decoder)
{
  g_autoptr (JsonNode) node = build_description (config, has_text, has_decoder);
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autoptr (JsonParser) parser =
      base ? lf_json_parse ("", "description", base, strlen (base), NULL) : NULL;
  JsonObject *object = json_node_get_object (node);
  JsonObjectIter iter;
  const char *member;
  JsonNode *value;

  if (parser) {
    json_object_iter_init_ordered (&iter, lf_json_root (parser));
    while (json_object_iter_next_ordered (&iter, &member, &value))
      if (JSON_NODE_HOLDS_VALUE (value) && json_node_get_value_type (value) == G_TYPE_STRING
          && !json_object_has_member (object, member))
        json_object_set_member (object, member, json_node_copy (value));
  }
  json_generator_set_root (generator, node);
  return json_generator_to_data (generator, NULL);
}
