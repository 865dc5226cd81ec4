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
  lf_kernel_begin ();
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
  lf_cuda_launch (
      q, make_noise, lf_cuda_blocks (count, 4 * THREADS), THREADS, 0, y, count, seed, chunk, step);
  LF_CUDA_LAUNCHED (q, "noise");
}

/* y may be a or b */
static __global__ void
combine (float *y, const float *a, const float *b, float weight_a, float weight_b, gsize count)
{
  lf_kernel_begin ();
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
  lf_cuda_launch (
      q, combine, lf_cuda_blocks (count, THREADS), THREADS, 0, y, a, b, weight_a, weight_b, count);
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

gboolean
lf_cuda_has_code (gboolean *waits)
{
  cudaFuncAttributes attributes;

  if (cudaFuncGetAttributes (&attributes, combine) != cudaSuccess) {
    cudaGetLastError ();
    return FALSE;
  }
  *waits = attributes.ptxVersion >= 90;
  return TRUE;
}

/* ------------------------------------------------------------------- copies */

#define COPY_UNITS 4 /* of a thread */

static __global__ void
copy_units (uint4 *dst, const uint4 *src, gsize count)
{
  lf_kernel_begin ();
  gsize first = (gsize) blockIdx.x * THREADS * COPY_UNITS + threadIdx.x;
  uint4 v[COPY_UNITS];

#pragma unroll
  for (int i = 0; i < COPY_UNITS; i++)
    if (first + i * THREADS < count)
      v[i] = src[first + i * THREADS];
#pragma unroll
  for (int i = 0; i < COPY_UNITS; i++)
    if (first + i * THREADS < count)
      dst[first + i * THREADS] = v[i];
}

/* A kernel follows others closer than the driver's copies do. */
void
lf_cuda_copy (LfQueue *q, void *dst, const void *src, gsize bytes)
{
  gsize at = GPOINTER_TO_SIZE (dst) | GPOINTER_TO_SIZE (src) | bytes;

  if (q->error || bytes == 0)
    return;
  if (at % sizeof (uint4))
    cudaMemcpyAsync (dst, src, bytes, cudaMemcpyDeviceToDevice, q->stream);
  else
    lf_cuda_launch (q, copy_units, lf_cuda_blocks (bytes / sizeof (uint4), THREADS * COPY_UNITS),
        THREADS, 0, (uint4 *) dst, (const uint4 *) src, bytes / sizeof (uint4));
  LF_CUDA_LAUNCHED (q, "a copy");
}

/* -------------------------------------------------------------- activations */

template <typename To, typename From>
static __global__ void
convert (To *y, const From *x, gsize count)
{
  lf_kernel_begin ();
  gsize i = thread_index ();

  if (i < count)
    lf_store (y + i, lf_load (x + i));
}

void
lf_cuda_from_float (LfQueue *q, void *y, const float *x, gsize count)
{
  if (q->error || count == 0)
    return;
  LF_CUDA_DECODER_ACT (q, lf_cuda_launch (q, convert<T, float>, lf_cuda_blocks (count, THREADS),
                              THREADS, 0, (T *) y, x, count));
  LF_CUDA_LAUNCHED (q, "from_float");
}

void
lf_cuda_to_float (LfQueue *q, float *y, const void *x, gsize count)
{
  if (q->error || count == 0)
    return;
  LF_CUDA_DECODER_ACT (q, lf_cuda_launch (q, convert<float, T>, lf_cuda_blocks (count, THREADS),
                              THREADS, 0, y, (const T *) x, count));
  LF_CUDA_LAUNCHED (q, "to_float");
}
