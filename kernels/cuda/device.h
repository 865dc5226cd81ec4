/* lightforce: the CUDA backend, inside: what its C and CUDA files share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_DEVICE_H
#define LF_CUDA_DEVICE_H

#include <cuda_runtime_api.h>

#include "core/backend.h"

G_BEGIN_DECLS

/* Operations are queued on the queue's stream and return at once. The first failure stays in
 * q->error until wait() hands it over; operations after it do nothing.
 *
 * Activations are float or bf16 (LfBackend.act), in the decoders' operations half floats, too;
 * sums run in float32 always. */

#define LF_CUDA_LISTS 8  /* host lists that a queue keeps on the device */
#define LF_CUDA_STAGES 4 /* pinned buffers for uploads */
#define LF_CUDA_STAGE_BYTES ((gsize) 8 << 20)

/* What a queue's scratch memory is for: one use at a time of each. */
typedef enum
{
  LF_CUDA_SCRATCH_WORKSPACE, /* cuBLASLt's */
  LF_CUDA_SCRATCH_LINEAR,    /* products on their way to an epilogue */
  LF_CUDA_SCRATCH_FP8,       /* quantised activations and their scales */
  LF_CUDA_SCRATCH_TO_FP8,    /* what a layer gives before it is quantised */
  LF_CUDA_SCRATCH_ATTENTION,
  LF_CUDA_SCRATCH_MISC,
  LF_CUDA_N_SCRATCH
} LfCudaScratch;

typedef struct
{
  gint32 *device, *host; /* (size) */
  gint size, count;
  guint64 used; /* when: the one not used for longest gives way */
} LfCudaList;

typedef struct _LfCudaLt LfCudaLt; /* lt.c */

/* backend->data: one for all backends of a process, while any is open. */
typedef struct
{
  gint users; /* backends that are open */
  gint device;
  gint processors;     /* multiprocessors */
  gint capability;     /* 90 for compute capability 9.0 */
  gsize shared_limit;  /* bytes of shared memory a block can have */
  gboolean avoid_sm90; /* the kernels for every GPU on a Hopper one, too: for tests of them */
  gboolean chains;     /* kernels start before the one in front of them has ended */
  LfCudaLt *lt;
  GMutex lock;       /* of what follows */
  GHashTable *sizes; /* allocation -> bytes */
  gsize used, peak;
} LfCudaDevice;

typedef struct
{
  cudaEvent_t event;
  gint tag;
} LfCudaMark;

struct _LfQueue
{
  LfBackend *backend;
  LfCudaDevice *device;
  cudaStream_t stream;
  GError *error;

  struct
  {
    void *data;
    gsize bytes;
  } scratch[LF_CUDA_N_SCRATCH];
  LfCudaList lists[LF_CUDA_LISTS];
  guint64 list_clock;
  struct
  {
    guint8 *data; /* pinned */
    cudaEvent_t free;
  } stages[LF_CUDA_STAGES];
  gint stage;
  gboolean profiling;
  GArray *marks; /* of LfCudaMark; the events are used again */
  guint n_marks;
};

/* ------------------------------------------------------------------ backend.c */

/* Keeps the first failure; TRUE if there is none so far. `what` was being done. */
gboolean lf_cuda_ok (LfQueue *q, cudaError_t status, const char *what);
/* After a kernel launch. */
#define LF_CUDA_LAUNCHED(q, what) lf_cuda_ok (q, cudaGetLastError (), what)
void lf_cuda_fail (LfQueue *q, gint code, const char *format, ...) G_GNUC_PRINTF (3, 4);
void lf_cuda_set_error (GError **error, cudaError_t status, const char *what);

/* At least `bytes`, aligned to 256; valid until the next call for the same use. It only ever
 * grows, so steady state allocates nothing. NULL after a failure. */
void *lf_cuda_scratch (LfQueue *q, LfCudaScratch use, gsize bytes);

/* The same numbers on the device, for the operation being queued; lists that come again (slots
 * of frames do) are not uploaded again. NULL after a failure. */
const gint32 *lf_cuda_list (LfQueue *q, const gint32 *host, gint count);

void lf_cuda_upload (LfQueue *q, void *dst, const void *src, gsize bytes);

/* ------------------------------------------------------------------ operations
 * As in core/backend.h, one file a family. */

/* lt.c */
gboolean lf_cuda_lt_open (LfCudaDevice *device, GError **error);
void lf_cuda_lt_close (LfCudaDevice *device);

/* linear.cu */
void lf_cuda_linear (LfQueue *q, const LfLinear *w, void *y, gint ldy, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue, const float *gate);
void lf_cuda_linear_to_fp8 (LfQueue *q, const LfLinear *w, void *y, float *y_scale, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue);

/* fp8.cu */
void lf_cuda_quantize (
    LfQueue *q, void *y, float *scale, const void *x, LfDType dtype, gsize rows, gint n);
/* The same of GELU of x (rows, n) act, in f32. */
void lf_cuda_quantize_gelu (LfQueue *q, void *y, float *scale, const void *x, gsize rows, gint n);
void lf_cuda_compress_frames (LfQueue *q, void *cache, float *scales, const void *x,
    const gint32 *slots, gint frames, gint n, gint heads, gint d);
void lf_cuda_expand_frames (LfQueue *q, void *x, const void *cache, const float *scales,
    const gint32 *slots, gint frames, gint n, gint heads, gint d);

/* transformer.cu */
void lf_cuda_norm_modulate (LfQueue *q, const LfNorm *a);
void lf_cuda_rms_norm (LfQueue *q, void *y, gint ldy, const void *x, LfDType dtype, gint ldx,
    const float *weight, gint rows, gint C, float eps);
void lf_cuda_qk_norm_rope (LfQueue *q, const LfQkNormRope *a);
void lf_cuda_rotate_keys (LfQueue *q, void *keys, const void *keys_plain, const LfRope *rope,
    const gint32 *slots, gint frames, gint n, gint heads, gint d);
void lf_cuda_add_modulation (LfQueue *q, float *y, const float *tables, const void *x, gint layers,
    gint rows, gint x_rows, gint C);
void lf_cuda_silu (LfQueue *q, void *y, const void *x, gsize count);
void lf_cuda_patchify (LfQueue *q, void *y, const float *latent, gint F, gint Z, gint H, gint W);
void lf_cuda_unpatchify (LfQueue *q, float *latent, const void *x, gint F, gint Z, gint H, gint W);

/* select.cu */
void lf_cuda_pool_blocks (LfQueue *q, float *y, const void *x, gint rows, gint C, gint block);
void lf_cuda_pool_frames (LfQueue *q, float *pooled, float *means, const void *cache,
    const gint32 *slots, gint frames, gint n, gint C, gint block);
void lf_cuda_select_blocks (LfQueue *q, const LfSelectBlocks *a);

/* attention.cu */
void lf_cuda_attention (LfQueue *q, const LfAttention *a);
void lf_cuda_text_attention (LfQueue *q, void *y, const void *queries, const void *k, const void *v,
    gint rows, gint tokens, gint heads, gint d, float last_bias);
/* sampler.cu */
/* Whether this build has kernels for the current device; `waits`: whether those, as it runs them, can
 * start early and wait. */
gboolean lf_cuda_has_code (gboolean *waits);
void lf_cuda_copy (LfQueue *q, void *dst, const void *src, gsize bytes);
void lf_cuda_noise (LfQueue *q, float *y, gsize count, guint64 seed, guint32 chunk, guint32 step);
void lf_cuda_denoise (
    LfQueue *q, float *clean, const float *x, const float *flow, float level, gsize count);
void lf_cuda_mix_noise (
    LfQueue *q, float *x, const float *clean, const float *noise, float level, gsize count);
void lf_cuda_lerp (LfQueue *q, float *y, const float *a, const float *b, float weight, gsize count);
void lf_cuda_from_float (LfQueue *q, void *y, const float *x, gsize count);
void lf_cuda_to_float (LfQueue *q, float *y, const void *x, gsize count);

/* text.cu */
void lf_cuda_embed (
    LfQueue *q, float *y, const void *table, LfDType dtype, const gint32 *ids, gint T, gint C);
void lf_cuda_t5_attention (LfQueue *q, void *y, const void *qkv, const float *bias, gint T,
    gint length, gint heads, gint d, gint buckets);

/* conv.cu */
void lf_cuda_conv (LfQueue *q, const LfConvolution *a);

/* pixels.cu */
void lf_cuda_pixel_norm_silu (LfQueue *q, void *const *y, const void *x, const float *gamma,
    gint frames, gsize pixels, gint C, gboolean silu);
void lf_cuda_pixel_attention (
    LfQueue *q, void *y, const void *qkv, gint frames, gint pixels, gint C);
void lf_cuda_latent_to_pixels (LfQueue *q, void *y, const float *latent, gint Z, gint H, gint W,
    const float *scale, const float *shift, float bound);
void lf_cuda_beside_past (
    LfQueue *q, void *y, const void *x, const void *past, gint frames, gsize pixels, gint C);
void lf_cuda_pictures_to_frames (
    LfQueue *q, guint8 *y, const void *x, gint n, const LfLayout *layout, float scale, float shift);

G_END_DECLS
#endif
