/* lightforce: noise and sampling on CUDA
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "core/philox.h"
#include "kernels/cuda/common.cuh"

#define THREADS 256

__device__ __forceinline__ gsize
thread_index ()
{
  return (gsize) blockIdx.x * blockDim.x + threadIdx.x;
}

/* Four elements a thread: what one counter gives. */
static __global__ void
make_noise (float *y, gsize count, guint64 seed, guint32 chunk, guint32 step)
{
  gsize block = thread_index (), first = 4 * block;
  float normal[4];

  if (first >= count)
    return;
  lf_philox_normal (seed, chunk, step, (guint32) block, normal);
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (first + i < count)
      y[first + i] = normal[i];
}

void
lf_cuda_noise (LfQueue *q, float *y, gsize count, guint64 seed, guint32 chunk, guint32 step)
{
  if (q->error || count == 0)
    return;
  make_noise<<<lf_cuda_blocks (count, 4 * THREADS), THREADS, 0, q->stream>>> (
      y, count, seed, chunk, step);
  LF_CUDA_LAUNCHED (q, "noise");
}

/* y may be a or b */
static __global__ void
combine (float *y, const float *a, const float *b, float weight_a, float weight_b, gsize count)
{
  gsize i = thread_index ();

  if (i < count)
    y[i] = weight_a * a[i] + weight_b * b[i];
}

static void
launch_combine (LfQueue *q, float *y, const float *a, const float *b, float weight_a,
    float weight_b, gsize count, const char *what)
{
  if (q->error || count == 0)
    return;
  combine<<<lf_cuda_blocks (count, THREADS), THREADS, 0, q->stream>>> (
      y, a, b, weight_a, weight_b, count);
  LF_CUDA_LAUNCHED (q, what);
}

void
lf_cuda_denoise (
    LfQueue *q, float *clean, const float *x, const float *flow, float level, gsize count)
{
  launch_combine (q, clean, x, flow, 1, -level, count, "denoise");
}

void
lf_cuda_mix_noise (
    LfQueue *q, float *x, const float *clean, const float *noise, float level, gsize count)
{
  launch_combine (q, x, clean, noise, 1 - level, level, count, "mix_noise");
}

void
lf_cuda_lerp (LfQueue *q, float *y, const float *a, const float *b, float weight, gsize count)
{
  launch_combine (q, y, a, b, 1 - weight, weight, count, "lerp");
}

/* -------------------------------------------------------------- activations */

template <typename To, typename From>
static __global__ void
convert (To *y, const From *x, gsize count)
{
  gsize i = thread_index ();

  if (i < count)
    lf_store (y + i, lf_load (x + i));
}

void
lf_cuda_from_float (LfQueue *q, void *y, const float *x, gsize count)
{
  if (q->error || count == 0)
    return;
  LF_CUDA_DECODER_ACT (
      q, convert<<<lf_cuda_blocks (count, THREADS), THREADS, 0, q->stream>>> ((T *) y, x, count));
  LF_CUDA_LAUNCHED (q, "from_float");
}

void
lf_cuda_to_float (LfQueue *q, float *y, const void *x, gsize count)
{
  if (q->error || count == 0)
    return;
  LF_CUDA_DECODER_ACT (q, convert<<<lf_cuda_blocks (count, THREADS), THREADS, 0, q->stream>>> (
                              y, (const T *) x, count));
  LF_CUDA_LAUNCHED (q, "to_float");
}
