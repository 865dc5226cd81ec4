/* lightforce: the causal Wan transformer
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_TRANSFORMER_H
#define LF_TRANSFORMER_H

#include "cache.h"
#include "loader.h"

G_BEGIN_DECLS

/* What time is spent on, for LfBackendOps.mark. */
typedef enum
{
  LF_PHASE_REST, /* norms, rotation, patches, modulation, the sampler, the cache */
  LF_PHASE_LINEAR,
  LF_PHASE_ATTENTION, /* to the frames */
  LF_PHASE_SELECTION, /* of key blocks */
  LF_PHASE_TEXT,      /* attention to the text, its keys and values, and the text encoder */
  LF_PHASE_DECODER,
  LF_PHASE_CONVERSION, /* of pictures */
  LF_PHASE_COPY,       /* of pictures to the host */
  LF_N_PHASES
} LfPhase;

#define LF_N_PASSES 16
#define LF_PASS_NONE (LF_N_PASSES - 1) /* what belongs to no pass, or to a late one */

/* The tag of a phase in denoising pass number `pass` of a chunk; the clean pass comes last. */
static inline gint
lf_phase_tag (LfPhase phase, gint pass)
{
  return phase + LF_N_PHASES * MIN (pass, LF_PASS_NONE);
}

G_STATIC_ASSERT (LF_N_PHASES *LF_N_PASSES <= LF_MAX_TAGS);

/* Shapes as in backend.h: F frames of n = height x width tokens, L = F n, C = dim. */

typedef struct
{
  const float *modulation;                 /* (6, C) f32 */
  LfLinear qkv, o;                         /* (3C, C), (C, C) */
  const float *norm_q, *norm_k;            /* (C) f32 */
  LfLinear text_q, text_k, text_v, text_o; /* (C, C) */
  const float *text_norm_q, *text_norm_k;
  const float *norm3_weight, *norm3_bias;
  LfLinear ffn0, ffn2; /* (ffn, C), (C, ffn) */
} LfTransformerLayer;

/* The weights on a backend; shared by streams. */
typedef struct
{
  LfBackend *backend;
  gint dim, heads, n_layers, ffn_dim, freq_dim, text_dim, text_len, z;
  LfLinear patch; /* (C, 4 Z) */
  LfLinear text0, text2, time0, time2, time_projection;
  LfTransformerLayer *layers;
  const float *head_modulation; /* (2, C) f32 */
  LfLinear head;                /* (4 Z, C) */
  void *memory;
  gsize bytes;
} LfTransformer;

/* `loader` is prepared for LF_PART_TRANSFORMER. */
LfTransformer *lf_transformer_load (LfLoader *loader, GError **error);
void lf_transformer_free (LfTransformer *transformer);

/* Called with each selection of the pass at timestep number `step`, before attention uses it: list
 * as in LfSelectBlocks. */
typedef void (*LfTraceFunc) (
    gpointer user_data, gint step, gint layer, const LfSelectBlocks *selection);

/* One stream's part: cache, scratch, and what is computed once for a stream or a prompt. */
typedef struct
{
  LfTransformer *model;
  LfQueue *q;
  gint height, width, n; /* tokens of a frame */
  gint max_frames;       /* F at most */
  LfCache *cache;
  LfSparse sparse;
  double sparsity; /* of the chunk at work */
  gboolean dense;  /* it attends to everything all the same: a first chunk that has a past */
  LfTraceFunc trace;
  gpointer trace_data;

  gint n_timesteps;
  float *modulation;      /* (n_timesteps, layers, 6, C) f32 */
  float *head_modulation; /* (n_timesteps, 2, C) f32 */

  gint text_tokens;              /* T + 1 where there is padding */
  float text_bias;               /* log of the number of padding positions */
  void *text_keys, *text_values; /* (layers, text_len, C) act */

  gint ct, cr, cc;               /* pairs of a head: time, row, column */
  float *rope_row, *rope_column; /* (height, cr, 2), (width, cc, 2) */
  float *rope_chunk;             /* (max_frames, ct, 2), this pass's frames */
  float *rope_window;            /* (window, ct, 2), places in the window; relative mode */

  float *x;            /* (L, C) f32: residual stream */
  void *y, *attended;  /* (L, C) act: intermediates */
  guint8 *normed;      /* (L, C) e4m3, what FP8 layers read, */
  float *normed_scale; /* (L) f32, and its scales; NULL without such layers */
  void *queries;       /* (L, C) act */
  void *keys_plain;    /* (L, C) act: before rotation; FP8 cache in relative mode */
  void *wide;          /* (L, 3 C) act, and (L, ffn) act, or e4m3 where FP8 layers read that, */
  float *wide_scale;   /* (L) f32, with these scales; NULL without such layers */
  void *patches;       /* (L, 4 Z) act */
  float *latents;      /* (max_frames, Z, H, W) f32, for recaching */
  float *q_pooled;     /* (q_blocks, C) f32 */
  gint32 *list;        /* (heads, q_blocks, count); its own allocation: it grows
                                   with a cache that has no window */
  gsize list_bytes;
  void *text_in, *text_mid, *text_out; /* (text_len, text_dim), (text_len, C) x 2 act */
  void *memory;
  gsize bytes;
} LfTransformerState;

typedef struct
{
  gint height, width; /* tokens of a frame */
  gint max_frames;    /* frames of one pass at most */
  gint window, sink;
  gboolean relative;
  gboolean cache_fp8;
  LfSparse sparse;
  gint n_timesteps;
  const double *timesteps; /* host, 0..1000; the last is the clean pass's: 0 */
} LfTransformerShape;

/* Takes all memory, and computes the modulation of every timestep. */
LfTransformerState *lf_transformer_state_new (
    LfTransformer *transformer, LfQueue *q, const LfTransformerShape *shape, GError **error);
void lf_transformer_state_free (LfTransformerState *state);

/* The text: embedding (tokens, text_dim) f32 in backend memory, tokens <= text_len. All
 * padding has one key and one value: it is kept once, its score raised by log (count). */
void lf_transformer_set_text (LfTransformerState *state, const float *embedding, gint tokens);

/* Finds room for `frames` new frames in the cache, and brings keys and pooled keys of past
 * frames to where the chunk at work needs them: once a chunk. */
gboolean lf_transformer_begin (LfTransformerState *state, gint frames, GError **error);

/* FP8 caches: opens the past frames of a layer as attention reads them. */
void lf_transformer_open (LfTransformerState *state, gint layer, gboolean values);
/* FP8 caches: pools the keys of past frames, as they come out of the cache, in all layers. */
void lf_transformer_pool_past (LfTransformerState *state);

/* One pass over the frames at work: `latent` (F, Z, H, W) f32 at timestep number `step`
 * writes their keys and values and, where `flow` is not NULL, the predicted flow
 * (F, Z, H, W) f32. Without it all that only the flow needs is left out.
 * FALSE if cancelled. */
gboolean lf_transformer_forward (LfTransformerState *state, const float *latent, gint step,
    float *flow, GCancellable *cancellable);

/* Rewrites the cached keys and values of past frames from their clean latents with the
 * current text, oldest first; sink frames only if `sink`. */
gboolean lf_transformer_recache (
    LfTransformerState *state, gboolean sink, GCancellable *cancellable);

/* (n, pairs, 2) cos and sin of position / 10000^(j / pairs); free with g_free. */
float *lf_rope_table (gint pairs, const gint64 *positions, gint n);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfTransformer, lf_transformer_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfTransformerState, lf_transformer_state_free)
G_END_DECLS
#endif
