/* lightforce-golden: holds the model against recorded outputs of its definition
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each case is a safetensors file: metadata "case" (generator, decoder, tiny-decoder,
 * encoder or text-encoder) and "config" (JSON), tensors "w.*" (weights), "in.*" and "out.*"; or a JSON
 * file, a table of Chunk-Aware Growth.
 */
#include <json-glib/json-glib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/decoder.h"
#include "core/encoder.h"
#include "core/modelfiles.h"
#include "core/sampler.h"
#include "core/sparsity.h"
#include "core/text.h"

#define GROWTH_TOLERANCE 1e-9

static char *backend_name, *precision_name, *weights_path, *decoder_path;
static double tolerance = -1, block_tolerance = -1; /* what goes with the precision */

static const struct
{
  const char *name;
  LfPrecision precision;
  double tolerance, blocks;
} precisions[] = {
    {"fp32", LF_PRECISION_FP32, 1e-4, 0.999},
    {"bf16", LF_PRECISION_BF16, 2e-2, 0.99},
    {"fp8", LF_PRECISION_FP8, 6e-2, 0.95},
};
static LfPrecision precision;

/* One case at work. */
typedef struct
{
  const char *path;
  char *name; /* the case */
  LfContainer *file;
  JsonParser *parser;
  JsonObject *json; /* its config */
  LfModelConfig config;
  LfModelFiles *files;
  LfBackend *backend;
  LfQueue *q;
  LfLoader loader;
  double worst; /* largest relative L2 error so far */
  const char *worst_name;
  guint64 blocks, agreeing; /* chosen blocks expected; of them found */
  gint traced, chunk;       /* selections seen of the chunk at work */
  GError *trace_error;
} Case;

/* -------------------------------------------------------------- comparing */

static float *read_floats (Case *c, gint64 *count, GError **error, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

/* A tensor of the case as floats; free with g_free. */
static float *
read_floats (Case *c, gint64 *count, GError **error, const char *format, ...)
{
  g_autofree char *name = NULL;
  const LfTensorInfo *t;
  float *x;
  va_list args;

  va_start (args, format);
  name = g_strdup_vprintf (format, args);
  va_end (args);
  t = lf_container_find (c->file, name);
  if (!t) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "tensor %s is missing", name);
    return NULL;
  }
  x = g_new (float, t->count + 1);
  if (!lf_container_read (c->file, t, 0, t->count, LF_DTYPE_F32, x, error))
    g_clear_pointer (&x, g_free);
  *count = t->count;
  return x;
}

/* Not a number anywhere counts as infinitely wrong. */
static double
relative_error (const float *x, const float *expected, gint64 count)
{
  double difference = 0, norm = 0;
  gint64 i;

  for (i = 0; i < count; i++) {
    double d = (double) x[i] - expected[i];

    difference += d * d;
    norm += (double) expected[i] * expected[i];
  }
  if (!(difference >= 0) || isinf (difference))
    return INFINITY;
  return norm > 0 ? sqrt (difference / norm) : sqrt (difference);
}

static gboolean
compare (Case *c, const float *x, gint64 count, GError **error, const char *name)
{
  gint64 n;
  g_autofree float *expected = read_floats (c, &n, error, "%s", name);
  double e;

  if (!expected)
    return FALSE;
  if (n != count) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE,
        "%s has %" G_GINT64_FORMAT " values where %" G_GINT64_FORMAT " came out", name, n, count);
    return FALSE;
  }
  e = relative_error (x, expected, count);
  if (!(e <= c->worst))
    c->worst = e;
  return TRUE;
}

/* Compares `count` f32 in backend memory. */
static gboolean
compare_backend (Case *c, const float *x, gint64 count, const char *name, GError **error)
{
  g_autofree float *host = g_new (float, count);

  c->backend->ops->download (c->q, host, x, count * sizeof (float));
  return c->backend->ops->wait (c->q, error) && compare (c, host, count, error, name);
}

/* ------------------------------------------------------------------ cases */

static gint
member (JsonObject *json, const char *name, gint fallback)
{
  return json_object_get_int_member_with_default (json, name, fallback);
}

static void
read_sparse (JsonObject *json, LfSparse *sparse)
{
  sparse->block_q = sparse->block_k = 64;
  if (!json_object_has_member (json, "sparse") || json_object_get_null_member (json, "sparse"))
    return;
  json = json_object_get_object_member (json, "sparse");
  sparse->enabled = TRUE;
  sparse->target = json_object_get_double_member (json, "target");
  sparse->base = json_object_get_double_member (json, "base");
  sparse->total_frames = member (json, "total_frames", 21);
  sparse->block_q = member (json, "block_q", 64);
  sparse->block_k = member (json, "block_k", 64);
  sparse->keep_frames = member (json, "keep_frames", 6);
  sparse->keep_sink = member (json, "keep_sink", 1);
  sparse->keep_near = member (json, "keep_near", 2);
}

/* Prepares the loader for one part: its weights lie in the case itself, or in the model given
 * with --weights. */
static gboolean
open_weights (Case *c, LfPart part, GError **error)
{
  if (weights_path) {
    LfModelOptions options = {.decoder = decoder_path};

    c->files = lf_model_files_open (weights_path, &options, error);
    if (!c->files)
      return FALSE;
    lf_model_files_set_config (c->files, &c->config);
  } else {
    c->files = lf_model_files_wrap (c->file, "w.", part, &c->config);
  }
  c->loader = lf_loader_make (c->files, part, c->backend, c->q);
  return TRUE;
}

static void
read_generator_config (Case *c)
{
  JsonObject *j = c->json;
  LfModelConfig *m = &c->config;
  static const double steps[] = {1000, 750, 500, 250};

  m->transformer.dim = member (j, "dim", 0);
  m->transformer.heads = member (j, "heads", 0);
  m->transformer.layers = member (j, "layers", 0);
  m->transformer.ffn_dim = member (j, "ffn_dim", 0);
  m->transformer.freq_dim = member (j, "freq_dim", 0);
  m->transformer.text_dim = member (j, "text_dim", 0);
  m->transformer.text_len = member (j, "text_len", 0);
  m->transformer.z = member (j, "z", 0);
  m->transformer.chunk_frames = member (j, "chunk_frames", 3);
  m->window = member (j, "window", -1);
  m->sink = member (j, "sink", 0);
  m->relative = json_object_get_boolean_member_with_default (j, "relative", FALSE);
  m->n_steps = G_N_ELEMENTS (steps);
  memcpy (m->steps, steps, sizeof (steps));
  m->shift = 5;
  read_sparse (j, &m->sparse);
}

/* The first pass of a chunk, layer by layer, against the recorded choice. */
static void
trace (gpointer user_data, gint step, gint layer, const LfSelectBlocks *selection)
{
  Case *c = user_data;
  gint visible = (selection->past + selection->frames) * selection->frame_blocks, i, j;
  gint64 rows = (gint64) selection->heads * selection->q_blocks, n, r;
  gsize bytes = rows * selection->count * sizeof (gint32);
  g_autofree gint32 *list = NULL;
  g_autofree float *expected = NULL;

  if (c->trace_error || c->traced++ >= c->config.transformer.layers)
    return;
  list = g_malloc (bytes);
  c->backend->ops->download (c->q, list, selection->list, bytes);
  if (!c->backend->ops->wait (c->q, &c->trace_error))
    return;
  expected = read_floats (c, &n, &c->trace_error, "out.blocks.%d.%d", c->chunk, layer);
  if (!expected)
    return;
  if (n != rows * visible) {
    g_set_error (&c->trace_error, LF_ERROR, LF_ERROR_INVALID_FILE,
        "out.blocks.%d.%d has %" G_GINT64_FORMAT " values where %" G_GINT64_FORMAT " belong",
        c->chunk, layer, n, rows * visible);
    return;
  }
  for (r = 0; r < rows; r++) {
    const float *row = expected + r * visible;

    for (i = 0; i < visible; i++)
      c->blocks += row[i] != 0;
    for (j = 0; j < selection->count; j++)
      c->agreeing += row[list[r * selection->count + j]] != 0;
  }
}

typedef struct
{
  Case *c;
  GError *error;
} Noise;

static void
recorded_noise (gpointer user_data, gint step, float *noise, gsize count)
{
  Noise *n = user_data;
  Case *c = n->c;
  gint64 have = 0;
  g_autofree float *x = NULL;

  if (n->error)
    return;
  x = read_floats (c, &have, &n->error, "in.noise.%d.%d", c->chunk, step);
  if (x && (gsize) have != count)
    g_set_error (&n->error, LF_ERROR, LF_ERROR_INVALID_FILE, "in.noise.%d.%d has a wrong size",
        c->chunk, step);
  if (!n->error)
    c->backend->ops->upload (c->q, noise, x, count * sizeof (float));
}

static gboolean
set_text (Case *c, LfTransformerState *state, GError **error)
{
  gint text_dim = c->config.transformer.text_dim;
  g_autofree char *name = g_strdup_printf ("in.text.%d", c->chunk);
  g_autofree float *text = NULL;
  gint64 count;
  float *embedding;

  if (!lf_container_find (c->file, name))
    return TRUE;
  text = read_floats (c, &count, error, "%s", name);
  if (!text)
    return FALSE;
  embedding = c->backend->ops->alloc (c->backend, count * sizeof (float), error);
  if (!embedding)
    return FALSE;
  c->backend->ops->upload (c->q, embedding, text, count * sizeof (float));
  lf_transformer_set_text (state, embedding, count / text_dim);
  c->backend->ops->free (c->backend, embedding);
  return TRUE;
}

/* A recorded chunk without selections (the first) attends to everything. */
static gboolean
check_dense_chunk (Case *c, GError **error)
{
  gint layer;
  gint64 n, i;

  for (layer = 0; layer < c->config.transformer.layers; layer++) {
    g_autofree float *expected = read_floats (c, &n, error, "out.blocks.%d.%d", c->chunk, layer);

    if (!expected)
      return FALSE;
    c->blocks += n;
    for (i = 0; i < n; i++)
      c->agreeing += expected[i] != 0;
  }
  return TRUE;
}

static gboolean
run_chunk (Case *c, LfTransformerState *state, LfSampler *sampler, GError **error)
{
  const LfModelConfig *m = &c->config;
  g_autofree char *name = g_strdup_printf ("out.latent.%d", c->chunk);
  Noise noise = {c, NULL};
  gsize count = m->transformer.chunk_frames * state->cache->latent_floats;

  if (!set_text (c, state, error)
      || !lf_transformer_begin (state, m->transformer.chunk_frames, error))
    return FALSE;
  if (c->chunk == 0) {
    recorded_noise (&noise, 0, sampler->x, count);
    lf_transformer_forward (state, sampler->x, 0, sampler->flow, NULL);
    if (!noise.error && !compare_backend (c, sampler->flow, count, "out.first_flow", error))
      return FALSE;
  }
  if (m->sparse.enabled)
    state->sparsity = lf_chunk_sparsity (c->chunk, m->transformer.chunk_frames,
        m->sparse.total_frames, m->sparse.target, m->sparse.base, m->window);
  c->traced = 0;
  lf_sampler_chunk (sampler, 0, recorded_noise, &noise, NULL);
  if (noise.error || c->trace_error) {
    g_propagate_error (error, noise.error ? noise.error : g_steal_pointer (&c->trace_error));
    return FALSE;
  }
  if (m->sparse.enabled && !c->traced && !check_dense_chunk (c, error))
    return FALSE;
  return compare_backend (c, sampler->clean, count, name, error);
}

static gboolean
run_generator (Case *c, GError **error)
{
  g_autoptr (LfTransformer) transformer = NULL;
  g_autoptr (LfTransformerState) state = NULL;
  g_autoptr (LfSampler) sampler = NULL;
  double timesteps[LF_MAX_STEPS + 1];
  LfModelConfig *m = &c->config;
  LfTransformerShape shape;
  gint chunks = member (c->json, "chunks", 1);

  read_generator_config (c);
  if (!open_weights (c, LF_PART_TRANSFORMER, error))
    return FALSE;
  transformer = lf_transformer_load (&c->loader, error);
  if (!transformer)
    return FALSE;
  lf_sampler_timesteps (m, timesteps);
  shape = (LfTransformerShape){.height = member (c->json, "height", 0) / 2,
      .width = member (c->json, "width", 0) / 2,
      .max_frames = m->transformer.chunk_frames,
      .window = m->window,
      .sink = m->sink,
      .relative = m->relative,
      .sparse = m->sparse,
      .n_timesteps = m->n_steps + 1,
      .timesteps = timesteps};
  state = lf_transformer_state_new (transformer, c->q, &shape, error);
  if (!state)
    return FALSE;
  state->trace = trace;
  state->trace_data = c;
  sampler = lf_sampler_new (state, m, error);
  if (!sampler)
    return FALSE;
  for (c->chunk = 0; c->chunk < chunks; c->chunk++)
    if (!run_chunk (c, state, sampler, error))
      return FALSE;
  return TRUE;
}

/* Decodes all latents, the first alone and then up to three at a time; (T, 3, H, W) comes
 * out. */
static float *
decode_all (Case *c, const LfDecoder *decoder, LfDecoderState *state, const float *latents,
    gint frames, gint pixels, gsize latent_floats, gint64 *count)
{
  float black, white;
  float *out = g_new (float, (gsize) frames * 4 * pixels * 3);
  gint done = 0, pictures = 0, t, p, k;

  lf_decoder_get_range (decoder, &black, &white);
  while (done < frames) {
    gint n, step = done ? MIN (3, frames - done) : 1;
    const void *act = lf_decoder_decode (state, c->q, latents + done * latent_floats, step, &n);
    gsize values = (gsize) n * pixels * 3;
    g_autofree float *host = g_new (float, values);
    float *plain = c->backend->ops->alloc (c->backend, values * sizeof (float), NULL);

    c->backend->ops->to_float (c->q, plain, act, values);
    c->backend->ops->download (c->q, host, plain, values * sizeof (float));
    c->backend->ops->wait (c->q, NULL);
    c->backend->ops->free (c->backend, plain);
    for (t = 0; t < n; t++)
      for (p = 0; p < pixels; p++)
        for (k = 0; k < 3; k++)
          out[((gsize) (pictures + t) * 3 + k) * pixels + p] =
              CLAMP (host[((gsize) t * pixels + p) * 3 + k], black, white);
    pictures += n;
    done += step;
  }
  *count = (gint64) pictures * 3 * pixels;
  return out;
}

static gboolean
run_decoder (Case *c, GError **error)
{
  g_autoptr (LfDecoder) decoder = NULL;
  g_autoptr (LfDecoderState) state = NULL;
  const LfTensorInfo *in = lf_container_find (c->file, "in.latent");
  g_autofree float *latent = NULL, *pictures = NULL;
  gsize latent_floats;
  float *resident;
  gint64 count;
  gint H, W;

  if (!in || in->ndim != 4) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "tensor in.latent is missing or not 4-D");
    return FALSE;
  }
  c->config.decoder.z = in->shape[1];
  if (!open_weights (c, LF_PART_DECODER, error))
    return FALSE;
  decoder = lf_decoder_load (&c->loader, error);
  if (!decoder)
    return FALSE;
  H = in->shape[2];
  W = in->shape[3];
  latent_floats = in->shape[1] * H * W;
  state = lf_decoder_state_new (decoder, H, W, 3, error);
  if (!state || !(latent = read_floats (c, &count, error, "in.latent")))
    return FALSE;
  resident = c->backend->ops->alloc (c->backend, count * sizeof (float), error);
  if (!resident)
    return FALSE;
  c->backend->ops->upload (c->q, resident, latent, count * sizeof (float));
  pictures =
      decode_all (c, decoder, state, resident, in->shape[0], 64 * H * W, latent_floats, &count);
  c->backend->ops->free (c->backend, resident);
  return compare (c, pictures, count, error, "out.pictures");
}

/* One picture, (H, W, 3) bytes. */
static gboolean
run_encoder (Case *c, GError **error)
{
  const LfTensorInfo *in = lf_container_find (c->file, "in.picture");
  g_autoptr (LfEncoder) encoder = NULL;
  g_autofree guint8 *picture = NULL;
  g_autofree float *latent = NULL;
  gint64 count;

  if (!in || in->ndim != 3 || in->dtype != LF_DTYPE_U8 || in->shape[2] != 3) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "tensor in.picture is no picture");
    return FALSE;
  }
  if (!open_weights (c, LF_PART_ENCODER, error))
    return FALSE;
  encoder = lf_encoder_load (&c->loader, error);
  if (!encoder)
    return FALSE;
  picture = g_malloc (in->count);
  count = lf_encoder_get_latent_channels (encoder) * in->shape[0] * in->shape[1] / 64;
  latent = g_new (float, count);
  return lf_container_read (c->file, in, 0, in->count, LF_DTYPE_U8, picture, error)
         && lf_encoder_encode (
             encoder, c->q, picture, in->shape[0], in->shape[1], latent, NULL, error)
         && compare (c, latent, count, error, "out.latent");
}

static gboolean
run_text_encoder (Case *c, GError **error)
{
  g_autoptr (LfTextEncoder) encoder = NULL;
  const LfTensorInfo *in = lf_container_find (c->file, "in.ids");
  const LfTensorInfo *table = lf_container_find (c->file, "w.token_embedding.weight");
  g_autofree gint32 *ids = NULL;
  g_autofree float *host = NULL;
  gint32 length = 0;
  const LfTensorInfo *in_length = lf_container_find (c->file, "in.length");
  float *embedding;
  gint64 count;
  gint dim = member (c->json, "dim", 0);

  if (!in || !in_length || !table || table->ndim != 2) {
    g_set_error (
        error, LF_ERROR, LF_ERROR_INVALID_FILE, "in.ids, in.length or weights are missing");
    return FALSE;
  }
  c->config.text.dim = dim;
  c->config.text.heads = member (c->json, "heads", 0);
  c->config.text.layers = member (c->json, "layers", 0);
  c->config.text.ffn_dim = member (c->json, "ffn_dim", 0);
  c->config.text.vocab = table->shape[0];
  c->config.text.buckets = 32;
  ids = g_new (gint32, in->count);
  if (!lf_container_read (c->file, in, 0, in->count, LF_DTYPE_I32, ids, error)
      || !lf_container_read (c->file, in_length, 0, 1, LF_DTYPE_I32, &length, error)
      || !open_weights (c, LF_PART_TEXT_ENCODER, error))
    return FALSE;
  encoder = lf_text_encoder_load (&c->loader, error);
  if (!encoder)
    return FALSE;
  count = in->count * dim;
  embedding = c->backend->ops->alloc (c->backend, count * sizeof (float), error);
  if (!embedding)
    return FALSE;
  host = g_new0 (float, count);
  if (lf_text_encode (encoder, c->q, ids, length, embedding, NULL, error)) {
    /* rows behind the tokens are zero by definition */
    c->backend->ops->download (c->q, host, embedding, (gsize) length * dim * sizeof (float));
    c->backend->ops->wait (c->q, error);
  }
  c->backend->ops->free (c->backend, embedding);
  return !*error && compare (c, host, count, error, "out.embedding");
}

/* ------------------------------------------------------------------ files */

static gboolean
run_growth (const char *path, double *worst, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonArray *rows;
  guint i, j;

  if (!json_parser_load_from_file (parser, path, error))
    return FALSE;
  if (!JSON_NODE_HOLDS_ARRAY (json_parser_get_root (parser))) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "not a table of Chunk-Aware Growth");
    return FALSE;
  }
  rows = json_node_get_array (json_parser_get_root (parser));
  for (i = 0; i < json_array_get_length (rows); i++) {
    JsonObject *row = json_array_get_object_element (rows, i);
    JsonArray *expected = json_object_get_array_member (row, "sparsity");

    for (j = 0; j < json_array_get_length (expected); j++) {
      double s = lf_chunk_sparsity (j, member (row, "chunk_frames", 3),
          member (row, "total_frames", 0), json_object_get_double_member (row, "target"),
          json_object_get_double_member (row, "base"), member (row, "window", -1));
      double e = fabs (s - json_array_get_double_element (expected, j));

      if (!(e <= *worst))
        *worst = e;
    }
  }
  return TRUE;
}

static gboolean
run_case (Case *c, GError **error)
{
  const char *config;

  c->file = lf_container_open (c->path, error);
  if (!c->file)
    return FALSE;
  c->name = g_strdup (lf_container_get_metadata (c->file, "case"));
  config = lf_container_get_metadata (c->file, "config");
  if (!c->name || !config) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "no golden case: its metadata lacks one");
    return FALSE;
  }
  c->parser = json_parser_new ();
  if (!json_parser_load_from_data (c->parser, config, -1, error))
    return FALSE;
  c->json = json_node_get_object (json_parser_get_root (c->parser));
  c->config.decoder.kind = g_str_equal (c->name, "tiny-decoder") ? LF_DECODER_TINY : LF_DECODER_WAN;
  c->backend = lf_backend_open (backend_name,
      g_str_has_suffix (c->name, "decoder")
          ? lf_decoder_precision (c->config.decoder.kind, precision)
          : precision,
      error);
  if (!c->backend || !(c->q = c->backend->ops->queue_new (c->backend, 0, error)))
    return FALSE;
  if (g_str_equal (c->name, "generator"))
    return run_generator (c, error);
  if (g_str_equal (c->name, "decoder") || g_str_equal (c->name, "tiny-decoder"))
    return run_decoder (c, error);
  if (g_str_equal (c->name, "encoder"))
    return run_encoder (c, error);
  if (g_str_equal (c->name, "text-encoder"))
    return run_text_encoder (c, error);
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "unknown case \"%s\"", c->name);
  return FALSE;
}

static void
case_clear (Case *c)
{
  g_clear_pointer (&c->files, lf_model_files_close);
  if (c->q)
    c->backend->ops->queue_free (c->q);
  g_clear_pointer (&c->backend, lf_backend_close);
  g_clear_object (&c->parser);
  g_clear_pointer (&c->file, lf_container_close);
  g_clear_error (&c->trace_error);
  g_free (c->name);
}

static gboolean
run_file (const char *path)
{
  Case c = {.path = path};
  g_autofree char *base = g_path_get_basename (path);
  g_autoptr (GError) error = NULL;
  gboolean ok, growth = g_str_has_suffix (path, ".json");

  ok = growth ? run_growth (path, &c.worst, &error) : run_case (&c, &error);
  if (!ok) {
    printf ("FAIL %s %s: %s\n", c.name ? c.name : "?", base, error->message);
  } else {
    ok = c.worst <= (growth ? GROWTH_TOLERANCE : tolerance)
         && (!c.blocks || c.agreeing >= block_tolerance * c.blocks);
    printf ("%s %s %s %.3g", ok ? "PASS" : "FAIL", growth ? "chunk-aware-growth" : c.name, base,
        c.worst);
    if (c.blocks)
      printf (" blocks %.4f%%", 100.0 * c.agreeing / c.blocks);
    printf ("\n");
  }
  fflush (stdout);
  case_clear (&c);
  return ok;
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

/* All cases of a directory, by name. */
static gboolean
run_directory (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  const char *name;
  gboolean ok = TRUE;
  guint i;

  while (dir && (name = g_dir_read_name (dir)))
    if (g_str_has_suffix (name, ".safetensors") || g_str_has_suffix (name, ".json"))
      g_ptr_array_add (names, g_build_filename (path, name, NULL));
  g_ptr_array_sort (names, compare_names);
  if (!names->len) {
    printf ("FAIL ? %s: no golden files here\n", path);
    return FALSE;
  }
  for (i = 0; i < names->len; i++)
    ok = run_file (g_ptr_array_index (names, i)) && ok;
  return ok;
}

/* Finds the precision; what was not given follows from it. */
static gboolean
choose_precision (const char *name)
{
  guint i;

  for (i = 0; i < G_N_ELEMENTS (precisions); i++) {
    if (!g_str_equal (precisions[i].name, name))
      continue;
    precision = precisions[i].precision;
    tolerance = tolerance < 0 ? precisions[i].tolerance : tolerance;
    block_tolerance = block_tolerance < 0 ? precisions[i].blocks : block_tolerance;
    return TRUE;
  }
  fprintf (stderr, "lightforce-golden: precision is \"%s\"; choose fp32, bf16 or fp8\n", name);
  return FALSE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("PATH...");
  g_autoptr (GError) error = NULL;
  GOptionEntry entries[] = {
      {"backend", 0, 0, G_OPTION_ARG_STRING, &backend_name, "auto, cpu or cuda", "NAME"},
      {"precision", 0, 0, G_OPTION_ARG_STRING, &precision_name, "fp32 (the default), bf16 or fp8",
          "NAME"},
      {"tolerance", 0, 0, G_OPTION_ARG_DOUBLE, &tolerance,
          "largest relative L2 error that passes (1e-4; bf16 2e-2; fp8 6e-2)", "X"},
      {"blocks", 0, 0, G_OPTION_ARG_DOUBLE, &block_tolerance,
          "smallest share of agreeing blocks that passes (0.999; bf16 0.99; fp8 0.95)", "X"},
      {"weights", 0, 0, G_OPTION_ARG_FILENAME, &weights_path,
          "take the weights from this model instead of the cases", "PATH"},
      {"decoder", 0, 0, G_OPTION_ARG_FILENAME, &decoder_path, "the model's other decoder", "PATH"},
      G_OPTION_ENTRY_NULL,
  };
  gboolean ok = TRUE;
  gint i;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (
      context, "Holds the model against recorded outputs of its definition.");
  if (!g_option_context_parse (context, &argc, &argv, &error)) {
    fprintf (stderr, "lightforce-golden: %s\n", error->message);
    return 2;
  }
  if (argc < 2) {
    fprintf (stderr, "lightforce-golden: name a golden file or a directory of them\n");
    return 2;
  }
  if (!choose_precision (precision_name ? precision_name : "fp32"))
    return 2;
  for (i = 1; i < argc; i++)
    ok = (g_file_test (argv[i], G_FILE_TEST_IS_DIR) ? run_directory : run_file) (argv[i]) && ok;
  g_free (backend_name);
  g_free (precision_name);
  g_free (weights_path);
  g_free (decoder_path);
  return ok ? 0 : 1;
}
