/* lightforce: the causal Wan transformer: what a stream keeps
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include "arena.h"
#include "transformer.h"

#define EPSILON 1e-6f

/* Frames to make room for at first where a cache has no window. */
#define RESERVE_FRAMES 21

float *
lf_rope_table (gint pairs, const gint64 *positions, gint n)
{
  float *table = g_new (float, MAX ((gsize) n * pairs * 2, 1));
  gint i, j;

  for (i = 0; i < n; i++) {
    for (j = 0; j < pairs; j++) {
      double angle = positions[i] * (1.0 / pow (10000, (double) j / pairs));

      table[((gsize) i * pairs + j) * 2] = cos (angle);
      table[((gsize) i * pairs + j) * 2 + 1] = sin (angle);
    }
  }
  return table;
}

static void
upload_places (LfTransformerState *s, float *dst, gint pairs, gint n)
{
  g_autofree gint64 *places = g_new (gint64, n);
  g_autofree float *table = NULL;
  gint i;

  for (i = 0; i < n; i++)
    places[i] = i;
  table = lf_rope_table (pairs, places, n);
  s->cache->backend->ops->upload (s->q, dst, table, (gsize) n * pairs * 2 * sizeof (float));
}

/* Cuts the arena up: see LfTransformerState for the shapes. */
static void
lay_out (LfTransformerState *s, LfArena *arena, gint window)
{
  const LfTransformer *t = s->model;
  gsize act = lf_dtype_size (t->backend->act), C = t->dim;
  gsize L = (gsize) s->max_frames * s->n;
  gsize q_blocks = (L + s->sparse.block_q - 1) / s->sparse.block_q;
  gboolean fp8 = t->layers[0].ffn2.dtype == LF_DTYPE_F8_E4M3;

  s->modulation =
      lf_arena_take (arena, (gsize) s->n_timesteps * t->n_layers * 6 * C * sizeof (float));
  s->head_modulation = lf_arena_take (arena, (gsize) s->n_timesteps * 2 * C * sizeof (float));
  s->text_keys = lf_arena_take (arena, (gsize) t->n_layers * t->text_len * C * act);
  s->text_values = lf_arena_take (arena, (gsize) t->n_layers * t->text_len * C * act);
  s->rope_row = lf_arena_take (arena, (gsize) s->height * s->cr * 2 * sizeof (float));
  s->rope_column = lf_arena_take (arena, (gsize) s->width * s->cc * 2 * sizeof (float));
  s->rope_chunk = lf_arena_take (arena, (gsize) s->max_frames * s->ct * 2 * sizeof (float));
  s->rope_window = lf_arena_take (arena, (gsize) MAX (window, 1) * s->ct * 2 * sizeof (float));
  s->x = lf_arena_take (arena, L * C * sizeof (float));
  s->y = lf_arena_take (arena, L * C * act);
  if (t->backend->precision == LF_PRECISION_FP8) {
    s->normed = lf_arena_take (arena, L * C);
    s->normed_scale = lf_arena_take (arena, L * sizeof (float));
  }
  s->attended = lf_arena_take (arena, L * C * act);
  s->queries = lf_arena_take (arena, L * C * act);
  s->keys_plain = s->cache->fp8 && s->cache->relative ? lf_arena_take (arena, L * C * act) : NULL;
  s->wide = lf_arena_take (arena, L * MAX (3 * C * act, t->ffn_dim * (fp8 ? 1 : act)));
  s->wide_scale = fp8 ? lf_arena_take (arena, L * sizeof (float)) : NULL;
  s->patches = lf_arena_take (arena, L * 4 * t->z * act);
  s->latents = lf_arena_take (arena, MAX (L * 4 * t->z, (gsize) t->freq_dim) * sizeof (float));
  s->q_pooled = lf_arena_take (arena, q_blocks * C * sizeof (float));
  s->text_in =
      lf_arena_take (arena, (gsize) MAX (t->text_len, 1) * MAX (t->text_dim, t->freq_dim) * act);
  s->text_mid = lf_arena_take (arena, (gsize) MAX (t->text_len, 6) * C * act);
  s->text_out = lf_arena_take (arena, (gsize) t->text_len * C * act);
}

/* The modulation of a step depends on its timestep only: once a stream. */
static void
compute_modulation (LfTransformerState *s, const double *timesteps)
{
  const LfTransformer *t = s->model;
  const LfBackendOps *ops = t->backend->ops;
  gint half = t->freq_dim / 2, C = t->dim, i, j;
  g_autofree float *wave = g_new0 (float, t->freq_dim);
  float *staging = (float *) s->latents; /* free until the first pass */

  for (i = 0; i < s->n_timesteps; i++) {
    float *to = s->modulation + (gsize) i * t->n_layers * 6 * C;

    for (j = 0; j < half; j++) {
      double angle = timesteps[i] * pow (10000, -(double) j / half);

      wave[j] = cos (angle);
      wave[half + j] = sin (angle);
    }
    ops->upload (s->q, staging, wave, t->freq_dim * sizeof (float));
    ops->from_float (s->q, s->text_in, staging, t->freq_dim);
    ops->linear (s->q, &t->time0, s->y, C, s->text_in, NULL, 1, LF_EPILOGUE_SILU, NULL);
    ops->linear (s->q, &t->time2, s->text_out, C, s->y, NULL, 1, LF_EPILOGUE_NONE, NULL);
    ops->add_modulation (
        s->q, s->head_modulation + (gsize) i * 2 * C, t->head_modulation, s->text_out, 1, 2, 1, C);
    ops->silu (s->q, s->y, s->text_out, C);
    ops->linear (
        s->q, &t->time_projection, s->text_mid, 6 * C, s->y, NULL, 1, LF_EPILOGUE_NONE, NULL);
    for (j = 0; j < t->n_layers; j++)
      ops->add_modulation (
          s->q, to + (gsize) j * 6 * C, t->layers[j].modulation, s->text_mid, 1, 6, 6, C);
  }
  ops->mark (s->q, lf_phase_tag (LF_PHASE_REST, LF_PASS_NONE));
}

LfTransformerState *
lf_transformer_state_new (
    LfTransformer *transformer, LfQueue *q, const LfTransformerShape *shape, GError **error)
{
  g_autoptr (LfTransformerState) s = g_new0 (LfTransformerState, 1);
  gint d = transformer->dim / transformer->heads;
  LfCacheShape cache = {.n_layers = transformer->n_layers,
      .n = shape->height * shape->width,
      .heads = transformer->heads,
      .d = d,
      .block_k = shape->sparse.block_k,
      .window = shape->window,
      .sink = shape->sink,
      .relative = shape->relative,
      .fp8 = shape->cache_fp8,
      .reserve = MAX (RESERVE_FRAMES, shape->max_frames),
      .latent_floats = (gsize) transformer->z * 4 * shape->height * shape->width};
  LfArena arena = {0};

  s->model = transformer;
  s->q = q;
  s->height = shape->height;
  s->width = shape->width;
  s->n = cache.n;
  s->max_frames = shape->max_frames;
  s->sparse = shape->sparse;
  s->n_timesteps = shape->n_timesteps;
  s->cr = s->cc = d / 2 / 3;
  s->ct = d / 2 - 2 * s->cr;
  s->cache = lf_cache_new (transformer->backend, &cache, error);
  if (!s->cache)
    return NULL;
  lay_out (s, &arena, shape->window);
  s->memory = transformer->backend->ops->alloc (transformer->backend, arena.used, error);
  if (!s->memory)
    return NULL;
  arena = (LfArena){s->memory, 0};
  lay_out (s, &arena, shape->window);
  s->bytes = arena.used;
  upload_places (s, s->rope_row, s->cr, s->height);
  upload_places (s, s->rope_column, s->cc, s->width);
  if (shape->relative)
    upload_places (s, s->rope_window, s->ct, shape->window);
  compute_modulation (s, shape->timesteps);
  return g_steal_pointer (&s);
}

void
lf_transformer_state_free (LfTransformerState *state)
{
  const LfBackendOps *ops = state->model->backend->ops;

  if (state->memory)
    ops->free (state->model->backend, state->memory);
  if (state->list)
    ops->free (state->model->backend, state->list);
  if (state->cache)
    lf_cache_free (state->cache);
  g_free (state);
}

void
lf_transformer_set_text (LfTransformerState *state, const float *embedding, gint tokens)
{
  const LfTransformer *t = state->model;
  const LfBackendOps *ops = t->backend->ops;
  gsize act = lf_dtype_size (t->backend->act);
  gint C = t->dim, padding = t->text_len - tokens, i;
  gsize layer = (gsize) t->text_len * C * act;

  ops->from_float (state->q, state->text_in, embedding, (gsize) tokens * t->text_dim);
  if (padding) {
    g_autofree guint8 *zeros = g_malloc0 (t->text_dim * act);

    ops->upload (state->q, (guint8 *) state->text_in + (gsize) tokens * t->text_dim * act, zeros,
        t->text_dim * act);
    tokens++;
  }
  ops->linear (state->q, &t->text0, state->text_mid, C, state->text_in, NULL, tokens,
      LF_EPILOGUE_GELU, NULL);
  ops->linear (state->q, &t->text2, state->text_out, C, state->text_mid, NULL, tokens,
      LF_EPILOGUE_NONE, NULL);
  for (i = 0; i < t->n_layers; i++) {
    const LfTransformerLayer *w = &t->layers[i];
    guint8 *k = (guint8 *) state->text_keys + i * layer;
    guint8 *v = (guint8 *) state->text_values + i * layer;

    ops->linear (state->q, &w->text_k, k, C, state->text_out, NULL, tokens, LF_EPILOGUE_NONE, NULL);
    ops->rms_norm (state->q, k, C, k, t->backend->act, C, w->text_norm_k, tokens, C, EPSILON);
    ops->linear (state->q, &w->text_v, v, C, state->text_out, NULL, tokens, LF_EPILOGUE_NONE, NULL);
  }
  ops->mark (state->q, lf_phase_tag (LF_PHASE_TEXT, LF_PASS_NONE));
  state->text_tokens = tokens;
  state->text_bias = padding ? logf (padding) : 0;
}

/* Room for the longest block list that the visible frames can ask for. */
static gboolean
reserve_list (LfTransformerState *s, GError **error)
{
  const LfCache *cache = s->cache;
  const LfBackendOps *ops = cache->backend->ops;
  gsize q_blocks = ((gsize) s->max_frames * s->n + s->sparse.block_q - 1) / s->sparse.block_q;
  gsize bytes =
      (gsize) cache->heads * q_blocks * cache->slots * cache->frame_blocks * sizeof (gint32);
  gint32 *list;

  if (bytes <= s->list_bytes)
    return TRUE;
  /* work that still reads the old list must be done before it goes */
  if (!ops->wait (s->q, error) || !(list = ops->alloc (cache->backend, bytes, error)))
    return FALSE;
  if (s->list)
    ops->free (cache->backend, s->list);
  s->list = list;
  s->list_bytes = bytes;
  return TRUE;
}

/* Rotary tables with time rows for the places in the window from `first` on. */
static LfRope
window_rope (const LfTransformerState *s, gint first)
{
  return (LfRope){s->rope_window + (gsize) first * s->ct * 2, s->rope_row, s->rope_column, s->ct,
      s->cr, s->cc, s->height, s->width};
}

void
lf_transformer_open (LfTransformerState *state, gint layer, gboolean values)
{
  LfCache *cache = state->cache;
  LfRope rope = window_rope (state, 0);

  lf_cache_open (cache, state->q, layer, values);
  if (cache->relative && cache->past)
    cache->backend->ops->rotate_keys (state->q, cache->open_keys, cache->open_keys, &rope,
        cache->in_order, cache->past, cache->n, cache->heads, cache->d);
}

void
lf_transformer_pool_past (LfTransformerState *state)
{
  LfCache *cache = state->cache;
  const LfBackendOps *ops = cache->backend->ops;
  gint i;

  for (i = 0; i < cache->n_layers && cache->past; i++) {
    lf_transformer_open (state, i, FALSE);
    ops->pool_frames (state->q, cache->layers[i].pooled, cache->layers[i].means, cache->open_keys,
        cache->in_order, cache->past, cache->n, cache->C, cache->block_k);
  }
  ops->mark (state->q, lf_phase_tag (LF_PHASE_SELECTION, LF_PASS_NONE));
}

/* A window that moved: the frames behind the sink have new places. */
static void
rotate_past (LfTransformerState *s)
{
  LfCache *cache = s->cache;
  const LfBackendOps *ops = cache->backend->ops;
  gint first, i;
  LfRope rope;

  for (first = 0; first < cache->past && cache->rotated_at[cache->visible[first]] == first; first++)
    ;
  if (!cache->relative || first == cache->past)
    return;
  rope = window_rope (s, first);
  for (i = 0; i < cache->n_layers; i++)
    ops->rotate_keys (s->q, cache->layers[i].keys, cache->layers[i].keys_plain, &rope,
        cache->visible + first, cache->past - first, cache->n, cache->heads, cache->d);
  ops->mark (s->q, lf_phase_tag (LF_PHASE_REST, LF_PASS_NONE));
  for (i = first; i < cache->past; i++) {
    cache->rotated_at[cache->visible[i]] = i;
    cache->has_pooled[cache->visible[i]] = FALSE;
  }
}

static void
pool_past (LfTransformerState *s)
{
  LfCache *cache = s->cache;
  const LfBackendOps *ops = cache->backend->ops;
  gint first, i;

  for (first = 0; first < cache->past && cache->has_pooled[cache->visible[first]]; first++)
    ;
  if (first == cache->past)
    return;
  for (i = 0; i < cache->n_layers; i++)
    ops->pool_frames (s->q, cache->layers[i].pooled, cache->layers[i].means, cache->layers[i].keys,
        cache->visible + first, cache->past - first, cache->n, cache->C, cache->block_k);
  ops->mark (s->q, lf_phase_tag (LF_PHASE_SELECTION, LF_PASS_NONE));
  for (i = first; i < cache->past; i++)
    cache->has_pooled[cache->visible[i]] = TRUE;
}

gboolean
lf_transformer_begin (LfTransformerState *state, gint frames, GError **error)
{
  LfCache *cache = state->cache;

  if (!lf_cache_begin (cache, state->q, frames, error)
      || (state->sparse.enabled && !reserve_list (state, error)))
    return FALSE;
  if (!cache->fp8)
    rotate_past (state);
  if (state->sparse.enabled && cache->fp8)
    lf_transformer_pool_past (state);
  else if (state->sparse.enabled)
    pool_past (state);
  return TRUE;
}
