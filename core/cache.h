/* lightforce: the key/value cache of one stream
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CACHE_H
#define LF_CACHE_H

#include "backend.h"

G_BEGIN_DECLS

/* Frames live in slots and never move: what attention sees is a list of slots in the order
 * of the video. Eviction takes a slot off the list, so a window slides without a copy.
 *
 * An FP8 cache holds past frames only. Layer by layer, those that are visible are opened into
 * memory that all layers share, in the order of the video, and the chunk's own come behind
 * them; pooled keys and means are in that order, too. */

typedef struct
{
  void *keys, *values; /* (slots, n, C) act; keys rotated */
  void *keys_plain;    /* (slots, n, C) act, before rotation; NULL in short mode */
  float *pooled;       /* (slots, frame_blocks, C) f32 */
  float *means;        /* (slots, C) f32 */
  /* FP8: keys (in relative mode before rotation) and values are e4m3, with these scales */
  float *key_scales, *value_scales; /* (slots, n, heads) f32 */
} LfCacheLayer;

typedef struct
{
  LfBackend *backend;
  gint n_layers, n, C;
  gint heads, d;
  gint frame_blocks, block_k; /* key blocks of a frame; tokens of one */
  gint window, sink;          /* window -1: all frames are kept */
  gboolean relative, fp8;
  gsize latent_floats; /* of one latent frame */

  gint slots; /* capacity */
  LfCacheLayer *layers;
  void *open_keys, *open_values; /* FP8: (slots, n, C) act, of one layer; keys rotated */
  gint32 *in_order;              /* (slots) 0, 1, 2, ...: the places of open frames */
  float *latents;                /* (slots, Z, H, W) f32: clean latents, for recaching */
  void *memory;
  gsize bytes;

  gint past, current;   /* visible frames: committed, and of the chunk at work */
  gint32 *visible;      /* (slots) slot of each visible frame, in order */
  gint64 *frame;        /* (slots) number of each visible frame in the video */
  gint32 *rotated_at;   /* [slot] place its keys are rotated for; -1: none */
  gboolean *has_pooled; /* [slot] pooled keys and their means are there, in every layer */
  gint64 frames_done;   /* committed since the start of the video */
} LfCache;

typedef struct
{
  gint n_layers, n, heads, d;
  gint block_k;
  gint window, sink;
  gboolean relative, fp8;
  gint reserve; /* frames to make room for where the window is -1 */
  gsize latent_floats;
} LfCacheShape;

LfCache *lf_cache_new (LfBackend *backend, const LfCacheShape *shape, GError **error);
void lf_cache_free (LfCache *cache);
void lf_cache_reset (LfCache *cache);

/* Evicts what the window no longer holds and finds slots for `frames` new frames at the end
 * of the visible ones. Doing it again before the commit changes nothing. Grows a cache
 * without a window when it is full. */
gboolean lf_cache_begin (LfCache *cache, LfQueue *q, gint frames, GError **error);
void lf_cache_commit (LfCache *cache);

/* FP8: opens the past frames of a layer, keys and, if asked for, values. In relative mode the keys
 * are not rotated yet. */
void lf_cache_open (const LfCache *cache, LfQueue *q, gint layer, gboolean values);
/* FP8: keeps the keys and values (frames, n, C) act of the chunk at work. */
void lf_cache_keep (
    const LfCache *cache, LfQueue *q, gint layer, const void *keys, const void *values);

/* Bytes of a frame's keys or values in activations. */
static inline gsize
lf_cache_frame_bytes (const LfCache *cache)
{
  return (gsize) cache->n * cache->C * lf_dtype_size (cache->backend->act);
}

static inline const gint32 *
lf_cache_current_slots (const LfCache *cache)
{
  return cache->visible + cache->past;
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfCache, lf_cache_free)
G_END_DECLS
#endif
