/* lightforce: the operations that a backend implements
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_BACKEND_H
#define LF_BACKEND_H

#include "lightforce.h"
#include "tensor.h"

G_BEGIN_DECLS

/* The model is written once against this table. Every operation is a whole step of the
 * model. Operations of one queue run in order and may be asynchronous: only wait()
 * says that they are done, and only it reports what went wrong in them.
 *
 * Pointers are memory of the backend unless they are said to be on the host; host
 * arrays are read before the call returns. Every operation overwrites its output and
 * none allocates.
 *
 * Shapes are in comments, row-major, innermost last:
 *   L tokens of the chunk (F frames of n tokens)   C model width = h heads of d
 *   P visible frames (cached ones and the chunk's)  T text tokens   Z latent channels
 * `act` is the backend's activation type (LfBackend.act); f32 are floats always. */

typedef struct _LfBackend LfBackend;
typedef struct _LfBackendOps LfBackendOps;
typedef struct _LfQueue LfQueue;

/* A linear layer's weights: y = x W^T + b. */
typedef struct
{
  LfDType dtype;      /* of weight */
  const void *weight; /* (n_out, n_in) dtype */
  const float *scale; /* (n_out) f32 for FP8, else NULL */
  const void *bias;   /* (n_out) act, or NULL */
  gint n_out, n_in;
} LfLinear;

/* x += gate add, then y = norm (x) (scale + one) + shift: layer norm over C. */
typedef struct
{
  float *x;                   /* (rows, C) f32 */
  const void *add;            /* (rows, C) act, or NULL: x stays */
  const float *gate;          /* (C) f32, or NULL for 1 */
  const float *shift, *scale; /* (C) f32 */
  float one;                  /* 1 for modulation, 0 for an affine norm */
  void *y;                    /* (rows, C) act; may be `add` */
  float *y_scale; /* (rows) f32, or NULL. With it, y is e4m3, as quantize makes it, and is
                        not `add` */
  gint rows, C;
  float eps;
} LfNorm;

typedef enum
{
  LF_EPILOGUE_NONE,     /* y = v, v = x W^T + b */
  LF_EPILOGUE_GELU,     /* y = gelu (v), tanh form */
  LF_EPILOGUE_SILU,     /* y = v sigmoid (v) */
  LF_EPILOGUE_RESIDUAL, /* y = y + gate v, y f32; gate (n_out) f32 or NULL for 1 */
  LF_EPILOGUE_MULTIPLY  /* y = y v */
} LfEpilogue;

/* Rotary tables in f32, one row a position: cos and sin of the angles of each axis.
 * d/2 = ct + cr + cc pairs of a head: time, row, column. */
typedef struct
{
  const float *time;   /* (frames, ct, 2): cos, sin */
  const float *row;    /* (height, cr, 2) */
  const float *column; /* (width, cc, 2) */
  gint ct, cr, cc;
  gint height, width; /* tokens of a frame: n = height width */
} LfRope;

/* Normalise and rotate the queries and keys of a chunk, and store keys and values.
 * q = rope (rms (q) norm_q), k = rope (rms (k) norm_k); rms over all of C. */
typedef struct
{
  const void *qkv;              /* (L, 3, C) act: q, k, v */
  const float *norm_q, *norm_k; /* (C) f32 */
  LfRope rope;                  /* time row f is chunk frame f */
  void *q;                      /* (L, C) act, rotated */
  void *keys;                   /* (slots, n, C) act, rotated */
  void *keys_plain;             /* (slots, n, C) act, before rotation; NULL: not kept */
  void *values;                 /* (slots, n, C) act */
  const gint32 *slots;          /* host (F): slot of each frame of the chunk */
  gint frames, n, heads, d;
  float eps;
} LfQkNormRope;

/* Block-pooled queries against block-pooled keys; see select_blocks in core/sparsity.h
 * for the definition. Lists come out ascending. */
typedef struct
{
  const float *q_pooled; /* (q_blocks, C) f32 */
  const float *k_pooled; /* (slots, frame_blocks, C) f32 */
  const float *k_means;  /* (slots, C) f32, mean key of each frame */
  const gint32 *slots;   /* host (P): slot of each visible frame, in order */
  gint heads, d;
  gint q_blocks, frame_blocks; /* query blocks of the chunk; key blocks of a frame */
  gint past, frames;           /* P = past + frames */
  gint keep_sink, keep_near;   /* always candidates */
  gint picked;                 /* past frames picked by score; < 0: all are candidates */
  gint count;                  /* blocks chosen for each head and query block */
  gint32 *list;                /* out (heads, q_blocks, count): key block numbers in
                                   visible order, frame x frame_blocks + block */
} LfSelectBlocks;

/* Softmax attention of a chunk over visible frames, all of it or by block lists. */
typedef struct
{
  const void *q;             /* (L, C) act */
  const void *keys, *values; /* (slots, n, C) act */
  void *y;                   /* (L, C) act */
  const gint32 *slots;       /* host (P) */
  gint frames, visible;      /* F, P */
  gint n, heads, d;
  const gint32 *list; /* (heads, q_blocks, count), or NULL: dense */
  gint count, block_q, block_k;
} LfAttention;

#define LF_MAX_KT 8 /* of a convolution */

/* A convolution's weights; channels last. Time kernels are causal, kernels in space odd. */
typedef struct
{
  LfDType dtype;
  const void *weight; /* (c_out, kt, kh, kw, c_in) dtype */
  const float *bias;  /* (c_out) f32 or NULL */
  gint c_out, c_in, kt, kh, kw;
} LfConv;

typedef enum
{
  LF_ACTIVATION_NONE,
  LF_ACTIVATION_RELU
} LfActivation;

/* Causal convolution of frames, zero padding in space, "same" size:
 * y = activation (conv (x) + residual). */
typedef struct
{
  const LfConv *w;
  void *y;        /* (frames, H, W, c_out - first_out) act, but for `fold` */
  void *const *x; /* host (kt - 1 + frames): each frame, (H, W, c_in) act, the kt - 1 earlier ones
                     first. Where `enlarges`, they are (H/2, W/2, c_in) and are seen with each
                     pixel doubled in both directions; H and W are even then */
  gint frames, H, W;
  gboolean enlarges;
  gint fold; /* 1; 2 (time doubling): y has 2 frames, and frame 2t+j takes channels j c_out/2 ..
                of frame t */
  gint first_out;       /* output channels that are left out; > 0 with fold 1 only */
  const void *residual; /* as y, may be y; or NULL */
  LfActivation activation;
} LfConvolution;

/* Memory of a backend in bytes. */
typedef struct
{
  gsize used, peak; /* allocated now, and at most since the backend was opened; backends that
                       share a device have these together */
  gsize available;  /* what else could be; G_MAXSIZE where nobody knows */
} LfMemory;

#define LF_MAX_TAGS 256
#define LF_NO_TAG (-1)

struct _LfBackendOps
{
  void (*close) (LfBackend *be);

  /* --- memory. alloc is zeroed and aligned to 256 bytes. */
  void *(*alloc) (LfBackend *be, gsize bytes, GError **error);
  void (*free) (LfBackend *be, void *mem);
  /* Host memory that download reaches fastest, and without holding up the caller; not zeroed. Freed
   * from any thread. */
  void *(*host_alloc) (LfBackend *be, gsize bytes, GError **error);
  void (*host_free) (LfBackend *be, void *mem);
  void (*get_memory) (LfBackend *be, LfMemory *memory);

  /* --- queues. `threads` is a hint for CPU backends, 0: one a core. */
  LfQueue *(*queue_new) (LfBackend *be, gint threads, GError **error);
  void (*queue_free) (LfQueue *q);
  gboolean (*wait) (LfQueue *q, GError **error);
  /* Host memory may be reused when upload returns; download is done after wait. */
  void (*upload) (LfQueue *q, void *dst, const void *src, gsize bytes);
  void (*download) (LfQueue *q, void *dst, const void *src, gsize bytes);
  void (*copy) (LfQueue *q, void *dst, const void *src, gsize bytes);
  /* Time spent, for measurements. While profiling is on, all that was queued since the last
   * mark counts for `tag` (0 .. LF_MAX_TAGS - 1), for none if that is LF_NO_TAG; off, a mark
   * costs nothing. After a wait, read_profile adds the seconds of each tag to `seconds`
   * (LF_MAX_TAGS) and forgets them. */
  void (*set_profiling) (LfQueue *q, gboolean on);
  void (*mark) (LfQueue *q, gint tag);
  void (*read_profile) (LfQueue *q, double *seconds);
  /* act <-> f32 */
  void (*from_float) (LfQueue *q, void *y, const float *x, gsize count);
  void (*to_float) (LfQueue *q, float *y, const void *x, gsize count);

  /* --- linear algebra. y (rows, n_out) act (f32 with LF_EPILOGUE_RESIDUAL: what layers add up
   * would lose digits in 16 bits) with ldy elements a row, x (rows, n_in) act;
   * or, where w is FP8 and x_scale (rows) is not NULL, e4m3 with a scale a row. */
  void (*linear) (LfQueue *q, const LfLinear *w, void *y, gint ldy, const void *x,
      const float *x_scale, gint rows, LfEpilogue epilogue, const float *gate);
  /* The same where the next layer takes FP8: y (rows, n_out) e4m3 and y_scale (rows) f32 as
   * quantize makes them of what linear gives. The epilogue is NONE or GELU; in 16 bits, v may be
   * rounded before GELU instead of after it. */
  void (*linear_to_fp8) (LfQueue *q, const LfLinear *w, void *y, float *y_scale, const void *x,
      const float *x_scale, gint rows, LfEpilogue epilogue);
  /* FP8 weights: y (rows, n) e4m3 = x / scale of the row, scale (rows) f32 = largest |x| of
   * the row / 448, or 1 where all are 0. x (rows, n) dtype: F32, BF16 or F16. */
  void (*quantize) (
      LfQueue *q, void *y, float *scale, const void *x, LfDType dtype, gsize rows, gint n);

  /* --- transformer */
  void (*norm_modulate) (LfQueue *q, const LfNorm *a);
  /* y = x / rms (x) weight over C. x (rows, C) act or F32 as `dtype` says, y (rows, C) act,
   * which may be x; ld elements a row. */
  void (*rms_norm) (LfQueue *q, void *y, gint ldy, const void *x, LfDType dtype, gint ldx,
      const float *weight, gint rows, gint C, float eps);
  void (*qk_norm_rope) (LfQueue *q, const LfQkNormRope *a);
  /* Rotates kept keys: keys[slot] = rope (keys_plain[slot]) at time row i for slots[i].
   * slots on the host (frames). keys and keys_plain may be the same. */
  void (*rotate_keys) (LfQueue *q, void *keys, const void *keys_plain, const LfRope *rope,
      const gint32 *slots, gint frames, gint n, gint heads, gint d);
  /* Means of `block` consecutive rows of x (rows, C) act; the last may be shorter.
   * y (blocks, C) f32. */
  void (*pool_blocks) (LfQueue *q, float *y, const void *x, gint rows, gint C, gint block);
  /* The same for each given frame of a cache (slots, n, C) act: pooled (slots,
   * frame_blocks, C) and, unless it is NULL, means (slots, C) f32. */
  void (*pool_frames) (LfQueue *q, float *pooled, float *means, const void *cache,
      const gint32 *slots, gint frames, gint n, gint C, gint block);
  /* FP8 caches: the d values of one head of one token share a scale, largest |x| / 448.
   * cache (slots, n, heads, d) e4m3, scales (slots, n, heads) f32, x (frames, n, C) act,
   * slots on the host (frames). */
  void (*compress_frames) (LfQueue *q, void *cache, float *scales, const void *x,
      const gint32 *slots, gint frames, gint n, gint heads, gint d);
  void (*expand_frames) (LfQueue *q, void *x, const void *cache, const float *scales,
      const gint32 *slots, gint frames, gint n, gint heads, gint d);
  void (*select_blocks) (LfQueue *q, const LfSelectBlocks *a);
  void (*attention) (LfQueue *q, const LfAttention *a);
  /* Attention to the text. q, y (L, C), k, v (tokens, C) act; last_bias is added to the
   * scores of the last token, which stands for all padding. */
  void (*text_attention) (LfQueue *q, void *y, const void *queries, const void *k, const void *v,
      gint rows, gint tokens, gint heads, gint d, float last_bias);
  /* y (layers, rows, C) f32 = tables (layers, rows, C) f32 + x broadcast over layers;
   * x (rows, C) act, or (1, C) repeated if x_rows is 1. */
  void (*add_modulation) (LfQueue *q, float *y, const float *tables, const void *x, gint layers,
      gint rows, gint x_rows, gint C);
  void (*silu) (LfQueue *q, void *y, const void *x, gsize count);
  /* Patches of 1 x 2 x 2: latent (F, Z, H, W) f32 -> (F H/2 W/2, 4 Z) act in the order
   * channel, row, column; and back from the order row, column, channel. */
  void (*patchify) (LfQueue *q, void *y, const float *latent, gint F, gint Z, gint H, gint W);
  void (*unpatchify) (LfQueue *q, float *latent, const void *x, gint F, gint Z, gint H, gint W);

  /* --- sampler; all f32 */
  /* Standard normal noise of (seed, chunk, step): see lf_philox_normal in core/philox.h. */
  void (*noise) (LfQueue *q, float *y, gsize count, guint64 seed, guint32 chunk, guint32 step);
  /* clean = x - level flow */
  void (*denoise) (
      LfQueue *q, float *clean, const float *x, const float *flow, float level, gsize count);
  /* x = (1 - level) clean + level noise */
  void (*mix_noise) (
      LfQueue *q, float *x, const float *clean, const float *noise, float level, gsize count);
  /* y = (1 - weight) a + weight b */
  void (*lerp) (LfQueue *q, float *y, const float *a, const float *b, float weight, gsize count);

  /* --- text encoder */
  /* y (T, C) f32 = rows of table (vocab, C) dtype; ids on the host (T). */
  void (*embed) (
      LfQueue *q, float *y, const void *table, LfDType dtype, const gint32 *ids, gint T, gint C);
  /* Unscaled attention with a bias by bucketed distance; keys from `length` on are
   * masked. qkv (T, 3, C) act, bias (buckets, heads) f32, y (T, C) act. */
  void (*t5_attention) (LfQueue *q, void *y, const void *qkv, const float *bias, gint T,
      gint length, gint heads, gint d, gint buckets);

  /* --- decoders; pictures of (frames, H, W, channels) act */
  void (*conv) (LfQueue *q, const LfConvolution *a);
  /* y = silu (x / |x| sqrt (C) gamma), over the channels of each pixel; without silu
   * where `silu` is FALSE. gamma (C) f32, x (frames, pixels, C), y on the host (frames): where
   * each frame goes. */
  void (*pixel_norm_silu) (LfQueue *q, void *const *y, const void *x, const float *gamma,
      gint frames, gsize pixels, gint C, gboolean silu);
  /* Single-head attention inside each frame. qkv (frames, pixels, 3, C), y (frames, pixels, C). */
  void (*pixel_attention) (LfQueue *q, void *y, const void *qkv, gint frames, gint pixels, gint C);
  /* Latent (Z, H, W) f32 -> (H, W, Z) act: x scale + shift a channel (host arrays (Z),
   * NULL: 1 and 0), then bound tanh (x / bound) where bound > 0. */
  void (*latent_to_pixels) (LfQueue *q, void *y, const float *latent, gint Z, gint H, gint W,
      const float *scale, const float *shift, float bound);
  /* y (frames, pixels, 2 C): each frame of x (frames, pixels, C) beside the one before it,
   * which for the first is `past` (pixels, C). */
  void (*beside_past) (
      LfQueue *q, void *y, const void *x, const void *past, gint frames, gsize pixels, gint C);
  /* Pictures (n, H, W, 3) act to `n` frames of the layout, one behind the other in y:
   * clamp (x scale + shift, 0, 1) is R, G, B. */
  void (*pictures_to_frames) (LfQueue *q, guint8 *y, const void *x, gint n, const LfLayout *layout,
      float scale, float shift);
};

struct _LfBackend
{
  const LfBackendOps *ops;
  const char *name;
  LfDType act;           /* type of activations */
  LfPrecision precision; /* in use: not LF_PRECISION_AUTO */
  gsize float_limit;     /* parts of a model up to this many bytes in f32 keep linear weights so;
                        larger ones have them in 16 bits */
  gpointer data;         /* the backend's own */
  char *device; /* what it computes on, for people: set when it opens, freed when it closes */
};

/* What can be opened: a table of these is compiled into the library (kernels/backends.c). */
typedef struct
{
  const char *name;
  /* Returns FALSE with `error` saying why the device cannot be used. */
  gboolean (*open) (LfBackend *be, LfPrecision precision, GError **error);
  /* As lf_device_get_context; NULL: there is none. */
  void *(*get_context) (gint *device, GError **error);
} LfBackendInfo;

extern const LfBackendInfo *const lf_backends[]; /* best first, NULL at the end */

/* Opens by name; "auto" or NULL takes the first that opens. Every operation is there or
 * opening fails. Backends of one name are on one device, whatever their precisions: each can
 * use the memory of the others, when their queues have been waited for. LF_PRECISION_FP16 is
 * for decoders: other operations may fail in it. */
LfBackend *lf_backend_open (const char *name, LfPrecision precision, GError **error);
void lf_backend_close (LfBackend *be);

G_END_DECLS
#endif
