/* lightforce-golden: the transformer and its sampler, chunk by chunk
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "core/sampler.h"
#include "core/sparsity.h"
#include "tests/golden/run.h"

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
  sparse->total_frames = golden_member (json, "total_frames", 21);
  sparse->block_q = golden_member (json, "block_q", 64);
  sparse->block_k = golden_member (json, "block_k", 64);
  sparse->keep_frames = golden_member (json, "keep_frames", 6);
  sparse->keep_sink = golden_member (json, "keep_sink", 1);
  sparse->keep_near = golden_member (json, "keep_near", 2);
}

static void
read_generator_config (Case *c)
{
  JsonObject *j = c->json;
  LfModelConfig *m = &c->config;
  static const double steps[] = {1000, 750, 500, 250};

  m->transformer.dim = golden_member (j, "dim", 0);
  m->transformer.heads = golden_member (j, "heads", 0);
  m->transformer.layers = golden_member (j, "layers", 0);
  m->transformer.ffn_dim = golden_member (j, "ffn_dim", 0);
  m->transformer.freq_dim = golden_member (j, "freq_dim", 0);
  m->transformer.text_dim = golden_member (j, "text_dim", 0);
  m->transformer.text_len = golden_member (j, "text_len", 0);
  m->transformer.z = golden_member (j, "z", 0);
  m->transformer.chunk_frames = golden_member (j, "chunk_frames", 3);
  m->window = golden_member (j, "window", -1);
  m->sink = golden_member (j, "sink", 0);
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
  expected = case_read_floats (c, &n, &c->trace_error, "out.blocks.%d.%d", c->chunk, layer);
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
  x = case_read_floats (c, &have, &n->error, "in.noise.%d.%d", c->chunk, step);
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
  text = case_read_floats (c, &count, error, "%s", name);
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
    g_autofree float *expected =
        case_read_floats (c, &n, error, "out.blocks.%d.%d", c->chunk, layer);

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
    if (!noise.error && !case_compare_backend (c, sampler->flow, count, "out.first_flow", error))
      return FALSE;
  }
  if (m->sparse.enabled)
    state->sparsity = lf_chunk_sparsity (c->chunk, m->transformer.chunk_frames,
        m->sparse.total_frames, m->sparse.target, m->sparse.base, m->window);
  c->traced = 0;
  lf_sampler_chunk (sampler, 0, recorded_noise, &noise, NULL);
  lf_sampler_commit (sampler, NULL);
  if (noise.error || c->trace_error) {
    g_propagate_error (error, noise.error ? noise.error : g_steal_pointer (&c->trace_error));
    return FALSE;
  }
  if (m->sparse.enabled && !c->traced && !check_dense_chunk (c, error))
    return FALSE;
  return case_compare_backend (c, sampler->clean, count, name, error);
}

gboolean
run_generator (Case *c, GError **error)
{
  g_autoptr (LfTransformer) transformer = NULL;
  g_autoptr (LfTransformerState) state = NULL;
  g_autoptr (LfSampler) sampler = NULL;
  double timesteps[LF_MAX_STEPS + 1];
  LfModelConfig *m = &c->config;
  LfTransformerShape shape;
  gint chunks = golden_member (c->json, "chunks", 1);

  read_generator_config (c);
  if (!case_open_weights (c, LF_PART_TRANSFORMER, error))
    return FALSE;
  transformer = lf_transformer_load (&c->loader, error);
  if (!transformer)
    return FALSE;
  lf_sampler_timesteps (m, timesteps);
  shape = (LfTransformerShape){.height = golden_member (c->json, "height", 0) / 2,
      .width = golden_member (c->json, "width", 0) / 2,
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
