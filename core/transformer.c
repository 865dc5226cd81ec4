/* lightforce: the causal Wan transformer: weights and passes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "transformer.h"

#include "sparsity.h"

#define EPSILON 1e-6f

/* ----------------------------------------------------------------- weights */

/* The linear layer blocks.i.name. */
static void
load_linear (LfLoader *loader, LfLinear *out, gint n_out, gint n_in, gint i, const char *name)
{
  g_autofree char *prefix = g_strdup_printf ("blocks.%d.%s", i, name);

  lf_loader_block_linear (loader, out, n_out, n_in, TRUE, prefix, NULL);
}

static void
load_layer (LfLoader *loader, LfTransformer *t, LfTransformerLayer *layer, gint i)
{
  g_autofree char *q = g_strdup_printf ("blocks.%d.self_attn.q", i);
  g_autofree char *k = g_strdup_printf ("blocks.%d.self_attn.k", i);
  g_autofree char *v = g_strdup_printf ("blocks.%d.self_attn.v", i);
  gint C = t->dim;

  layer->modulation = lf_loader_floats (loader, 6 * (gint64) C, "blocks.%d.modulation", i);
  lf_loader_block_linear (loader, &layer->qkv, C, C, TRUE, q, k, v, NULL);
  layer->norm_q = lf_loader_floats (loader, C, "blocks.%d.self_attn.norm_q.weight", i);
  layer->norm_k = lf_loader_floats (loader, C, "blocks.%d.self_attn.norm_k.weight", i);
  load_linear (loader, &layer->o, C, C, i, "self_attn.o");
  layer->norm3_weight = lf_loader_floats (loader, C, "blocks.%d.norm3.weight", i);
  layer->norm3_bias = lf_loader_floats (loader, C, "blocks.%d.norm3.bias", i);
  load_linear (loader, &layer->text_q, C, C, i, "cross_attn.q");
  load_linear (loader, &layer->text_k, C, C, i, "cross_attn.k");
  load_linear (loader, &layer->text_v, C, C, i, "cross_attn.v");
  layer->text_norm_q = lf_loader_floats (loader, C, "blocks.%d.cross_attn.norm_q.weight", i);
  layer->text_norm_k = lf_loader_floats (loader, C, "blocks.%d.cross_attn.norm_k.weight", i);
  load_linear (loader, &layer->text_o, C, C, i, "cross_attn.o");
  load_linear (loader, &layer->ffn0, t->ffn_dim, C, i, "ffn.0");
  load_linear (loader, &layer->ffn2, C, t->ffn_dim, i, "ffn.2");
}

static void
load (LfLoader *loader, gpointer part)
{
  LfTransformer *t = part;
  gint C = t->dim, i;

  lf_loader_linear (loader, &t->patch, C, 4 * t->z, TRUE, "patch_embedding", NULL);
  lf_loader_linear (loader, &t->text0, C, t->text_dim, TRUE, "text_embedding.0", NULL);
  lf_loader_linear (loader, &t->text2, C, C, TRUE, "text_embedding.2", NULL);
  lf_loader_linear (loader, &t->time0, C, t->freq_dim, TRUE, "time_embedding.0", NULL);
  lf_loader_linear (loader, &t->time2, C, C, TRUE, "time_embedding.2", NULL);
  lf_loader_linear (loader, &t->time_projection, 6 * C, C, TRUE, "time_projection.1", NULL);
  for (i = 0; i < t->n_layers; i++)
    load_layer (loader, t, &t->layers[i], i);
  t->head_modulation = lf_loader_floats (loader, 2 * (gint64) C, "head.modulation");
  lf_loader_linear (loader, &t->head, 4 * t->z, C, TRUE, "head.head", NULL);
  lf_loader_finish (loader, NULL);
}

LfTransformer *
lf_transformer_load (LfLoader *loader, GError **error)
{
  const LfModelConfig *config = lf_model_files_get_config (loader->files);
  g_autoptr (LfTransformer) t = g_new0 (LfTransformer, 1);

  t->backend = loader->backend;
  t->dim = config->transformer.dim;
  t->heads = config->transformer.heads;
  t->n_layers = config->transformer.layers;
  t->ffn_dim = config->transformer.ffn_dim;
  t->freq_dim = config->transformer.freq_dim;
  t->text_dim = config->transformer.text_dim;
  t->text_len = config->transformer.text_len;
  t->z = config->transformer.z;
  t->layers = g_new0 (LfTransformerLayer, t->n_layers);
  if (!lf_loader_run (loader, load, t, &t->memory, &t->bytes, error))
    return NULL;
  return g_steal_pointer (&t);
}

void
lf_transformer_free (LfTransformer *transformer)
{
  if (transformer->memory)
    transformer->backend->ops->free (transformer->backend, transformer->memory);
  g_free (transformer->layers);
  g_free (transformer);
}

/* -------------------------------------------------------------------- pass */

/* What one pass works on. */
typedef struct
{
  LfTransformerState *s;
  const LfBackendOps *ops;
  LfQueue *q;
  gint step; /* number of its timestep */
  gint frames, L, C;
  const float *modulation; /* (layers, 6, C) of this timestep */
  LfRope rope;
  const gint32 *slots; /* of all visible frames, in the memory that attention reads */
  gboolean clean;      /* it writes the cache, and nothing else is wanted of it */
  gboolean sparse;     /* select blocks: there is a past */
  LfBlockBudget budget;
} Pass;

/* What was queued since the last mark belongs to `phase`. */
static void
mark (const Pass *p, LfPhase phase)
{
  p->ops->mark (p->q, lf_phase_tag (phase, p->step));
}

/* Keys and values of all visible frames of layer i. */
static void *
visible_keys (const LfCache *cache, gint i)
{
  return cache->fp8 ? cache->open_keys : cache->layers[i].keys;
}

static void *
visible_values (const LfCache *cache, gint i)
{
  return cache->fp8 ? cache->open_values : cache->layers[i].values;
}

static void
attend_sparse (const Pass *p, gint i, LfAttention *attention)
{
  LfTransformerState *s = p->s;
  const LfCache *cache = s->cache;
  LfSelectBlocks selection = {.q_pooled = s->q_pooled,
      .k_pooled = cache->layers[i].pooled,
      .k_means = cache->layers[i].means,
      .slots = p->slots,
      .heads = cache->heads,
      .d = cache->d,
      .q_blocks = (p->L + s->sparse.block_q - 1) / s->sparse.block_q,
      .frame_blocks = cache->frame_blocks,
      .past = cache->past,
      .frames = p->frames,
      .keep_sink = s->sparse.keep_sink,
      .keep_near = s->sparse.keep_near,
      .picked = p->budget.picked,
      .count = p->budget.count,
      .list = s->list};

  p->ops->pool_blocks (p->q, s->q_pooled, s->queries, p->L, p->C, s->sparse.block_q);
  p->ops->select_blocks (p->q, &selection);
  mark (p, LF_PHASE_SELECTION);
  if (s->trace)
    s->trace (s->trace_data, p->step, i, &selection);
  attention->list = s->list;
  attention->count = p->budget.count;
  attention->block_q = s->sparse.block_q;
  attention->block_k = cache->block_k;
}

/* An FP8 cache takes nothing but the keys and values of the clean pass. Until then those of the
 * chunk lie behind the open frames. */
static void
store_open (const Pass *p, gint i, LfQkNormRope *a, gboolean attends)
{
  LfTransformerState *s = p->s;
  LfCache *cache = s->cache;
  gsize past = cache->past * lf_cache_frame_bytes (cache);

  if (attends)
    lf_transformer_open (s, i, TRUE);
  a->keys = (guint8 *) cache->open_keys + past;
  a->keys_plain = cache->relative ? s->keys_plain : NULL;
  a->values = (guint8 *) cache->open_values + past;
  a->slots = cache->in_order;
  p->ops->qk_norm_rope (p->q, a);
  if (p->clean)
    lf_cache_keep (cache, p->q, i, cache->relative ? a->keys_plain : a->keys, a->values);
}

/* out = epilogue (norm (x) w), where x first takes what `norm` adds: what the part before has
 * left in y. With `out_scale`, out is FP8. */
static void
normed_linear (
    const Pass *p, LfNorm norm, const LfLinear *w, void *out, float *out_scale, LfEpilogue epilogue)
{
  LfTransformerState *s = p->s;
  gboolean fp8 = w->dtype == LF_DTYPE_F8_E4M3;

  norm.x = s->x;
  norm.y = fp8 ? s->normed : s->y;
  norm.y_scale = fp8 ? s->normed_scale : NULL;
  norm.rows = p->L;
  norm.C = p->C;
  norm.eps = EPSILON;
  p->ops->norm_modulate (p->q, &norm);
  mark (p, LF_PHASE_REST);
  if (out_scale)
    p->ops->linear_to_fp8 (p->q, w, out, out_scale, norm.y, norm.y_scale, p->L, epilogue);
  else
    p->ops->linear (p->q, w, out, w->n_out, norm.y, norm.y_scale, p->L, epilogue, NULL);
  mark (p, LF_PHASE_LINEAR);
}

/* Whether later chunks select by what this pass pools. They pool again what an FP8 cache has made
 * of the keys. */
static gboolean
keeps_pooled (const Pass *p)
{
  return p->clean && p->s->sparse.enabled && !p->s->cache->fp8;
}

/* Queries, keys and values of layer i. `attends`: somebody reads them in this pass. */
static void
project (const Pass *p, gint i, gboolean attends)
{
  LfTransformerState *s = p->s;
  const LfTransformerLayer *layer = &s->model->layers[i];
  const LfCacheLayer *cache = &s->cache->layers[i];
  const float *e = p->modulation + (gsize) i * 6 * p->C;
  LfQkNormRope a = {.qkv = s->wide,
      .norm_q = layer->norm_q,
      .norm_k = layer->norm_k,
      .rope = p->rope,
      .q = s->queries,
      .keys = cache->keys,
      .keys_plain = cache->keys_plain,
      .values = cache->values,
      .slots = lf_cache_current_slots (s->cache),
      .frames = p->frames,
      .n = s->n,
      .heads = s->cache->heads,
      .d = s->cache->d,
      .eps = EPSILON};
  gboolean keeps = keeps_pooled (p);

  normed_linear (p,
      (LfNorm){.add = i ? s->y : NULL, .gate = e - p->C, .shift = e, .scale = e + p->C, .one = 1},
      &layer->qkv, s->wide, NULL, LF_EPILOGUE_NONE);
  if (s->cache->fp8)
    store_open (p, i, &a, attends);
  else
    p->ops->qk_norm_rope (p->q, &a);
  mark (p, LF_PHASE_REST);
  /* this pass selects by the blocks, and by means of past frames only */
  if (keeps || (p->sparse && attends)) {
    p->ops->pool_frames (p->q, cache->pooled, keeps ? cache->means : NULL,
        visible_keys (s->cache, i), p->slots + s->cache->past, p->frames, s->n, p->C,
        s->cache->block_k);
    mark (p, LF_PHASE_SELECTION);
  }
}

/* Attention of layer i to the text. */
static void
attend_text (const Pass *p, gint i)
{
  LfTransformerState *s = p->s;
  const LfTransformerLayer *layer = &s->model->layers[i];
  const LfCache *cache = s->cache;
  gint C = p->C, L = p->L;
  gsize text = (gsize) i * s->model->text_len * C * lf_dtype_size (cache->backend->act);
  const float *e = p->modulation + (gsize) i * 6 * C;

  normed_linear (p,
      (LfNorm){
          .add = s->y, .gate = e + 2 * C, .shift = layer->norm3_bias, .scale = layer->norm3_weight},
      &layer->text_q, s->queries, NULL, LF_EPILOGUE_NONE);
  p->ops->rms_norm (
      p->q, s->queries, C, s->queries, cache->backend->act, C, layer->text_norm_q, L, C, EPSILON);
  mark (p, LF_PHASE_REST);
  p->ops->text_attention (p->q, s->attended, s->queries, (guint8 *) s->text_keys + text,
      (guint8 *) s->text_values + text, L, s->text_tokens, cache->heads, cache->d, s->text_bias);
  mark (p, LF_PHASE_TEXT);
  p->ops->linear (p->q, &layer->text_o, s->y, C, s->attended, NULL, L, LF_EPILOGUE_NONE, NULL);
  mark (p, LF_PHASE_LINEAR);
}

/* The rest of layer i: attention to the frames, to the text, and the feed-forward. What each
 * adds to x comes in y, and the norm that follows adds it. */
static void
finish_layer (const Pass *p, gint i)
{
  LfTransformerState *s = p->s;
  const LfTransformerLayer *layer = &s->model->layers[i];
  const LfCache *cache = s->cache;
  const float *e = p->modulation + (gsize) i * 6 * p->C;
  gint C = p->C, L = p->L;
  LfAttention attention = {.q = s->queries,
      .keys = visible_keys (cache, i),
      .values = visible_values (cache, i),
      .y = s->attended,
      .slots = p->slots,
      .frames = p->frames,
      .visible = cache->past + p->frames,
      .n = s->n,
      .heads = cache->heads,
      .d = cache->d};

  if (p->sparse)
    attend_sparse (p, i, &attention);
  p->ops->attention (p->q, &attention);
  mark (p, LF_PHASE_ATTENTION);
  p->ops->linear (p->q, &layer->o, s->y, C, s->attended, NULL, L, LF_EPILOGUE_NONE, NULL);
  mark (p, LF_PHASE_LINEAR);

  attend_text (p, i);

  normed_linear (p, (LfNorm){.add = s->y, .shift = e + 3 * C, .scale = e + 4 * C, .one = 1},
      &layer->ffn0, s->wide, s->wide_scale, LF_EPILOGUE_GELU);
  p->ops->linear (p->q, &layer->ffn2, s->y, C, s->wide, s->wide_scale, L, LF_EPILOGUE_NONE, NULL);
  mark (p, LF_PHASE_LINEAR);
}

/* Time rows of the rotary tables for the frames at work. */
static const float *
chunk_rope (LfTransformerState *s, gint frames)
{
  const LfCache *cache = s->cache;
  g_autofree float *table = NULL;

  if (cache->relative)
    return s->rope_window + (gsize) cache->past * s->ct * 2;
  table = lf_rope_table (s->ct, cache->frame + cache->past, frames);
  cache->backend->ops->upload (
      s->q, s->rope_chunk, table, (gsize) frames * s->ct * 2 * sizeof (float));
  return s->rope_chunk;
}

static void
mark_current (const Pass *p)
{
  LfCache *cache = p->s->cache;
  gint i;

  for (i = cache->past; i < cache->past + cache->current; i++) {
    cache->rotated_at[cache->visible[i]] = i;
    cache->has_pooled[cache->visible[i]] = keeps_pooled (p);
  }
}

static gboolean
run_pass (LfTransformerState *s, const float *latent, gint step, float *flow, gboolean dense,
    GCancellable *cancellable)
{
  const LfTransformer *t = s->model;
  const LfCache *cache = s->cache;
  gint frames = cache->current, i;
  gboolean attends;
  Pass p = {.s = s,
      .ops = cache->backend->ops,
      .q = s->q,
      .step = step,
      .frames = frames,
      .L = frames * s->n,
      .C = t->dim,
      .modulation = s->modulation + (gsize) step * t->n_layers * 6 * t->dim,
      .rope = {NULL, s->rope_row, s->rope_column, s->ct, s->cr, s->cc, s->height, s->width},
      .slots = cache->fp8 ? cache->in_order : cache->visible,
      .clean = !flow,
      .sparse = s->sparse.enabled && !s->dense && !dense && cache->past > 0};

  p.rope.time = chunk_rope (s, frames);
  if (p.sparse)
    p.budget = lf_block_budget (&s->sparse, s->sparsity, cache->past, frames, cache->frame_blocks);
  p.ops->patchify (p.q, s->patches, latent, frames, t->z, 2 * s->height, 2 * s->width);
  mark (&p, LF_PHASE_REST);
  p.ops->linear (p.q, &t->patch, s->y, p.C, s->patches, NULL, p.L, LF_EPILOGUE_NONE, NULL);
  p.ops->to_float (p.q, s->x, s->y, (gsize) p.L * p.C);
  mark (&p, LF_PHASE_LINEAR);
  for (i = 0; i < t->n_layers; i++) {
    if (g_cancellable_is_cancelled (cancellable))
      return FALSE;
    /* of the last layer, the clean pass wants keys and values only */
    attends = flow || i + 1 < t->n_layers;
    project (&p, i, attends);
    if (attends)
      finish_layer (&p, i);
  }
  mark_current (&p);
  if (flow) {
    const float *e = s->head_modulation + (gsize) step * 2 * p.C;
    const float *last_gate = p.modulation + ((gsize) t->n_layers * 6 - 1) * p.C;

    normed_linear (&p,
        (LfNorm){.add = s->y, .gate = last_gate, .shift = e, .scale = e + p.C, .one = 1}, &t->head,
        s->patches, NULL, LF_EPILOGUE_NONE);
    p.ops->unpatchify (p.q, flow, s->patches, frames, t->z, 2 * s->height, 2 * s->width);
    mark (&p, LF_PHASE_REST);
  }
  return TRUE;
}

gboolean
lf_transformer_forward (LfTransformerState *state, const float *latent, gint step, float *flow,
    GCancellable *cancellable)
{
  return run_pass (state, latent, step, flow, FALSE, cancellable);
}

gboolean
lf_transformer_recache (LfTransformerState *state, gboolean sink, GCancellable *cancellable)
{
  LfCache *cache = state->cache;
  gint past = cache->past, current = cache->current, at, i;
  gsize bytes = cache->latent_floats * sizeof (float);
  gboolean ok = TRUE;

  for (at = sink ? 0 : MIN (cache->sink, past); at < past && ok; at += cache->current) {
    /* these frames are at work, and only what lies before them is visible */
    cache->past = at;
    cache->current = MIN (state->max_frames, past - at);
    for (i = 0; i < cache->current; i++)
      cache->backend->ops->copy (state->q, state->latents + i * cache->latent_floats,
          cache->latents + cache->visible[at + i] * cache->latent_floats, bytes);
    ok = run_pass (state, state->latents, state->n_timesteps - 1, NULL, TRUE, cancellable);
  }
  cache->past = past;
  cache->current = current;
  if (cache->fp8 && state->sparse.enabled)
    lf_transformer_pool_past (state);
  return ok;
}
