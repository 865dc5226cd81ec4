/* lightforce: the CPU backend, inside
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CPU_H
#define LF_CPU_H

#include "core/backend.h"

G_BEGIN_DECLS

/* Operations run when they are called, in float32, spread over the queue's threads.
 * OpenBLAS is called with one thread each: the threads are ours, so that their number is
 * a property of a stream and not of the process. */

typedef struct _LfCpuPool LfCpuPool;

struct _LfQueue
{
  LfBackend *backend;
  LfCpuPool *pool;
  gint threads;
  GError *error; /* first failure; wait() hands it over */
  float *shared; /* lf_cpu_shared */
  gsize shared_floats;
  gboolean profiling;
  gint64 marked; /* when, microseconds */
  double seconds[LF_MAX_TAGS];
};

/* Works on items begin .. end-1; `thread` is 0 .. threads-1. */
typedef void (*LfCpuFunc) (gpointer data, gint64 begin, gint64 end, gint thread);

/* Runs `func` over 0 .. count-1 in pieces of `grain` items and waits. Not reentrant. */
void lf_cpu_for (LfQueue *q, gint64 count, gint64 grain, LfCpuFunc func, gpointer data);

/* Memory of one thread of the queue, aligned to 64 bytes, at least `floats` long. Valid until
 * the next call for this thread; it only ever grows, so steady state allocates nothing. */
float *lf_cpu_scratch (LfQueue *q, gint thread, gsize floats);

/* The same for an operation as a whole, between its loops. */
float *lf_cpu_shared (LfQueue *q, gsize floats);

/* -Dc_args=-DLF_CPU_WITHOUT_AVX512 is for measuring what processors without it do. */
#ifdef LF_CPU_WITHOUT_AVX512
#define LF_CPU_V4
#else
#define LF_CPU_V4 "arch=x86-64-v4",
#ifdef __x86_64__
#define LF_CPU_AVX512
#endif
#endif

/* Whether there are loops for the processor's vectors: 64 bytes, 32 with multiply-add. */
static inline gboolean
lf_cpu_has_avx512 (void)
{
#ifdef LF_CPU_AVX512
  return __builtin_cpu_supports ("avx512f") && __builtin_cpu_supports ("avx512dq")
         && __builtin_cpu_supports ("avx512vl") && __builtin_cpu_supports ("avx512bw");
#else
  return FALSE;
#endif
}

static inline gboolean
lf_cpu_has_avx2 (void)
{
#if defined(__x86_64__)
  return __builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("fma");
#else
  return FALSE;
#endif
}

/* Compiles a function for several levels of x86-64 and picks one when loading. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)                                \
    && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LF_CPU_CLONES __attribute__ ((target_clones (LF_CPU_V4 "arch=x86-64-v3", "default")))
#else
#define LF_CPU_CLONES
#endif

/* In front of a loop: no loop is left of it. */
#ifdef __clang__
#define LF_UNROLL _Pragma ("clang loop unroll(full)")
#else
#define LF_UNROLL _Pragma ("GCC unroll 32")
#endif

/* fp8.c. Each takes `n` values with one scale; to_fp8 returns it. */
float lf_cpu_to_fp8 (guint8 *y, const float *x, gint n);
void lf_cpu_from_fp8 (float *y, const guint8 *x, float scale, gint n);
void lf_cpu_quantize (
    LfQueue *q, void *y, float *scale, const void *x, LfDType dtype, gsize rows, gint n);
void lf_cpu_compress_frames (LfQueue *q, void *cache, float *scales, const void *x,
    const gint32 *slots, gint frames, gint n, gint heads, gint d);
void lf_cpu_expand_frames (LfQueue *q, void *x, const void *cache, const float *scales,
    const gint32 *slots, gint frames, gint n, gint heads, gint d);

/* linear.c */
void lf_cpu_linear (LfQueue *q, const LfLinear *w, void *y, gint ldy, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue, const float *gate);
void lf_cpu_linear_to_fp8 (LfQueue *q, const LfLinear *w, void *y, float *y_scale, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue);

/* transformer.c */
void lf_cpu_norm_modulate (LfQueue *q, const LfNorm *a);
void lf_cpu_rms_norm (LfQueue *q, void *y, gint ldy, const void *x, LfDType dtype, gint ldx,
    const float *weight, gint rows, gint C, float eps);
void lf_cpu_qk_norm_rope (LfQueue *q, const LfQkNormRope *a);
void lf_cpu_rotate_keys (LfQueue *q, void *keys, const void *keys_plain, const LfRope *rope,
    const gint32 *slots, gint frames, gint n, gint heads, gint d);
void lf_cpu_add_modulation (LfQueue *q, float *y, const float *tables, const void *x, gint layers,
    gint rows, gint x_rows, gint C);
void lf_cpu_silu (LfQueue *q, void *y, const void *x, gsize count);
void lf_cpu_patchify (LfQueue *q, void *y, const float *latent, gint F, gint Z, gint H, gint W);
void lf_cpu_unpatchify (LfQueue *q, float *latent, const void *x, gint F, gint Z, gint H, gint W);

/* attention.c */
void lf_cpu_attention (LfQueue *q, const LfAttention *a);
void lf_cpu_text_attention (LfQueue *q, void *y, const void *queries, const void *k, const void *v,
    gint rows, gint tokens, gint heads, gint d, float last_bias);

/* select.c */
void lf_cpu_pool_blocks (LfQueue *q, float *y, const void *x, gint rows, gint C, gint block);
void lf_cpu_pool_frames (LfQueue *q, float *pooled, float *means, const void *cache,
    const gint32 *slots, gint frames, gint n, gint C, gint block);
void lf_cpu_select_blocks (LfQueue *q, const LfSelectBlocks *a);

/* sampler.c */
void lf_cpu_noise (LfQueue *q, float *y, gsize count, guint64 seed, guint32 chunk, guint32 step);
void lf_cpu_denoise (
    LfQueue *q, float *clean, const float *x, const float *flow, float level, gsize count);
void lf_cpu_mix_noise (
    LfQueue *q, float *x, const float *clean, const float *noise, float level, gsize count);
void lf_cpu_lerp (LfQueue *q, float *y, const float *a, const float *b, float weight, gsize count);

/* text.c */
void lf_cpu_embed (
    LfQueue *q, float *y, const void *table, LfDType dtype, const gint32 *ids, gint T, gint C);
void lf_cpu_t5_attention (LfQueue *q, void *y, const void *qkv, const float *bias, gint T,
    gint length, gint heads, gint d, gint buckets);

/* conv.c */
void lf_cpu_conv (LfQueue *q, const LfConvolution *a);

/* pixels.c */
void lf_cpu_pixel_norm_silu (LfQueue *q, void *const *y, const void *x, const float *gamma,
    gint frames, gsize pixels, gint C, gboolean silu);
void lf_cpu_pixel_attention (
    LfQueue *q, void *y, const void *qkv, gint frames, gint pixels, gint C);
void lf_cpu_latent_to_pixels (LfQueue *q, void *y, const float *latent, gint Z, gint H, gint W,
    const float *scale, const float *shift, float bound);
void lf_cpu_beside_past (
    LfQueue *q, void *y, const void *x, const void *past, gint frames, gsize pixels, gint C);
void lf_cpu_pictures_to_frames (
    LfQueue *q, guint8 *y, const void *x, gint n, const LfLayout *layout, float scale, float shift);

G_END_DECLS
#endif
