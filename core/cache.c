/* lightforce: the key/value cache of one stream
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "cache.h"

#include <string.h>

#include "arena.h"
#include "i18n.h"

/* The memory of a cache for some number of slots. */
typedef struct
{
  LfCacheLayer *layers;
  float *latents;
  void *open_keys, *open_values;
} Places;

/* Bytes of a frame's keys or values as they are kept. */
static gsize
kept_bytes (const LfCache *cache)
{
  return cache->fp8 ? (gsize) cache->n * cache->C : lf_cache_frame_bytes (cache);
}

/* Cuts the arena up for `slots` frames. */
static void
lay_out (const LfCache *cache, LfArena *arena, gint slots, Places *places)
{
  gsize kept = slots * kept_bytes (cache);
  gsize scales = cache->fp8 ? (gsize) slots * cache->n * cache->heads * sizeof (float) : 0;
  gsize open = cache->fp8 ? slots * lf_cache_frame_bytes (cache) : 0;
  gint i;

  for (i = 0; i < cache->n_layers; i++) {
    LfCacheLayer *layer = &places->layers[i];

    layer->keys = lf_arena_take (arena, kept);
    layer->values = lf_arena_take (arena, kept);
    layer->keys_plain = cache->relative && !cache->fp8 ? lf_arena_take (arena, kept) : NULL;
    layer->key_scales = lf_arena_take (arena, scales);
    layer->value_scales = lf_arena_take (arena, scales);
    layer->pooled =
        lf_arena_take (arena, (gsize) slots * cache->frame_blocks * cache->C * sizeof (float));
    layer->means = lf_arena_take (arena, (gsize) slots * cache->C * sizeof (float));
  }
  places->latents = lf_arena_take (arena, slots * cache->latent_floats * sizeof (float));
  places->open_keys = lf_arena_take (arena, open);
  places->open_values = lf_arena_take (arena, open);
}

/* Moves the contents of the first `cache->slots` slots to memory for more. Open frames are
 * nobody's between two operations. */
static void
copy_slots (LfCache *cache, LfQueue *q, const Places *places)
{
  const LfBackendOps *ops = cache->backend->ops;
  gsize slots = cache->slots, kept = slots * kept_bytes (cache);
  gsize scales = slots * cache->n * cache->heads * sizeof (float);
  gint i;

  for (i = 0; i < cache->n_layers; i++) {
    const LfCacheLayer *from = &cache->layers[i], *to = &places->layers[i];

    ops->copy (q, to->keys, from->keys, kept);
    ops->copy (q, to->values, from->values, kept);
    if (to->keys_plain)
      ops->copy (q, to->keys_plain, from->keys_plain, kept);
    if (cache->fp8) {
      ops->copy (q, to->key_scales, from->key_scales, scales);
      ops->copy (q, to->value_scales, from->value_scales, scales);
    }
    ops->copy (
        q, to->pooled, from->pooled, slots * cache->frame_blocks * cache->C * sizeof (float));
    ops->copy (q, to->means, from->means, slots * cache->C * sizeof (float));
  }
  ops->copy (q, places->latents, cache->latents, slots * cache->latent_floats * sizeof (float));
}

static gboolean
resize (LfCache *cache, LfQueue *q, gint slots, GError **error)
{
  g_autofree LfCacheLayer *layers = g_new0 (LfCacheLayer, cache->n_layers);
  Places places = {.layers = layers};
  LfArena arena = {0};
  void *memory;
  gint i;

  lay_out (cache, &arena, slots, &places);
  memory = cache->backend->ops->alloc (cache->backend, arena.used, error);
  if (!memory)
    return FALSE;
  arena = (LfArena){memory, 0};
  lay_out (cache, &arena, slots, &places);
  if (cache->memory) {
    copy_slots (cache, q, &places);
    if (!cache->backend->ops->wait (q, error)) {
      cache->backend->ops->free (cache->backend, memory);
      return FALSE;
    }
    cache->backend->ops->free (cache->backend, cache->memory);
  }
  memcpy (cache->layers, layers, cache->n_layers * sizeof (LfCacheLayer));
  cache->latents = places.latents;
  cache->open_keys = places.open_keys;
  cache->open_values = places.open_values;
  cache->memory = memory;
  cache->bytes = arena.used;
  cache->visible = g_renew (gint32, cache->visible, slots);
  cache->in_order = g_renew (gint32, cache->in_order, slots);
  cache->frame = g_renew (gint64, cache->frame, slots);
  cache->rotated_at = g_renew (gint32, cache->rotated_at, slots);
  cache->has_pooled = g_renew (gboolean, cache->has_pooled, slots);
  for (i = cache->slots; i < slots; i++) {
    cache->in_order[i] = i;
    cache->rotated_at[i] = -1;
    cache->has_pooled[i] = FALSE;
  }
  cache->slots = slots;
  return TRUE;
}

LfCache *
lf_cache_new (LfBackend *backend, const LfCacheShape *shape, GError **error)
{
  g_autoptr (LfCache) cache = g_new0 (LfCache, 1);

  cache->backend = backend;
  cache->n_layers = shape->n_layers;
  cache->n = shape->n;
  cache->heads = shape->heads;
  cache->d = shape->d;
  cache->C = shape->heads * shape->d;
  cache->block_k = shape->block_k;
  cache->frame_blocks = (shape->n + shape->block_k - 1) / shape->block_k;
  cache->window = shape->window;
  cache->sink = shape->sink;
  cache->relative = shape->relative;
  cache->fp8 = shape->fp8;
  cache->latent_floats = shape->latent_floats;
  cache->layers = g_new0 (LfCacheLayer, shape->n_layers);
  if (!resize (cache, NULL, shape->window > 0 ? shape->window : shape->reserve, error))
    return NULL;
  return g_steal_pointer (&cache);
}

void
lf_cache_free (LfCache *cache)
{
  if (cache->memory)
    cache->backend->ops->free (cache->backend, cache->memory);
  g_free (cache->layers);
  g_free (cache->visible);
  g_free (cache->in_order);
  g_free (cache->frame);
  g_free (cache->rotated_at);
  g_free (cache->has_pooled);
  g_free (cache);
}

void
lf_cache_reset (LfCache *cache)
{
  gint i;

  cache->past = cache->current = 0;
  cache->frames_done = 0;
  for (i = 0; i < cache->slots; i++) {
    cache->rotated_at[i] = -1;
    cache->has_pooled[i] = FALSE;
  }
}

/* A slot that none of the first `count` visible frames lives in. */
static gint32
free_slot (const LfCache *cache, gint count)
{
  gint32 slot;
  gint i;

  for (slot = 0; slot < cache->slots; slot++) {
    for (i = 0; i < count && cache->visible[i] != slot; i++)
      ;
    if (i == count)
      return slot;
  }
  g_assert_not_reached ();
}

gboolean
lf_cache_begin (LfCache *cache, LfQueue *q, gint frames, GError **error)
{
  gint i;

  if (cache->window > 0 && cache->past + frames > cache->window) {
    gint drop = cache->past + frames - cache->window;
    gint rest = cache->past - cache->sink - drop;

    memmove (
        cache->visible + cache->sink, cache->visible + cache->sink + drop, rest * sizeof (gint32));
    memmove (cache->frame + cache->sink, cache->frame + cache->sink + drop, rest * sizeof (gint64));
    cache->past -= drop;
  }
  while (cache->past + frames > cache->slots) {
    if (cache->slots > G_MAXINT32 / 2) {
      g_set_error (error, LF_ERROR, LF_ERROR_NO_MEMORY,
          _ ("the stream is too long to keep every frame; set a window"));
      return FALSE;
    }
    if (!resize (cache, q, 2 * cache->slots, error))
      return FALSE;
  }
  for (i = 0; i < frames; i++) {
    gint32 slot = free_slot (cache, cache->past + i);

    cache->visible[cache->past + i] = slot;
    cache->frame[cache->past + i] = cache->frames_done + i;
    cache->rotated_at[slot] = -1;
    cache->has_pooled[slot] = FALSE;
  }
  cache->current = frames;
  return TRUE;
}

void
lf_cache_commit (LfCache *cache)
{
  cache->past += cache->current;
  cache->frames_done += cache->current;
  cache->current = 0;
}

void
lf_cache_open (const LfCache *cache, LfQueue *q, gint layer, gboolean values)
{
  const LfBackendOps *ops = cache->backend->ops;
  const LfCacheLayer *kept = &cache->layers[layer];

  if (!cache->past)
    return;
  ops->expand_frames (q, cache->open_keys, kept->keys, kept->key_scales, cache->visible,
      cache->past, cache->n, cache->heads, cache->d);
  if (values)
    ops->expand_frames (q, cache->open_values, kept->values, kept->value_scales, cache->visible,
        cache->past, cache->n, cache->heads, cache->d);
}

void
lf_cache_keep (const LfCache *cache, LfQueue *q, gint layer, const void *keys, const void *values)
{
  const LfBackendOps *ops = cache->backend->ops;
  const LfCacheLayer *kept = &cache->layers[layer];
  const gint32 *slots = lf_cache_current_slots (cache);

  ops->compress_frames (q, kept->keys, kept->key_scales, keys, slots, cache->current, cache->n,
      cache->heads, cache->d);
  ops->compress_frames (q, kept->values, kept->value_scales, values, slots, cache->current,
      cache->n, cache->heads, cache->d);
}
