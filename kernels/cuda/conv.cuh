/* lightforce: convolution on the GPU: what its kernels share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_CONV_CUH
#define LF_CUDA_CONV_CUH

#include "kernels/cuda/common.cuh"

/* The kernels are matrix products that are never laid out: rows are pixels, columns output
 * channels, and what is summed over are taps x input channels. */

#define CONV_FRAMES 32 /* of the input, of a launch */

typedef struct
{
  void *y;
  const void *x[CONV_FRAMES]; /* (kt - 1 + frames) of them */
  const void *weight, *residual;
  const float *bias;
  gint frames, H, W;
  gint halvings;       /* of H and W to those of x: 1 where its pixels are seen doubled */
  gint x_width;        /* of a row of x */
  gint c_in, channels; /* in; out, those in front of first_out not counted */
  gint kt, kh, kw;
  gint fold, per_frame; /* channels of an output frame */
  gint blocks;          /* of output channels */
  gint tiles_x, tiles;  /* of pixels: in a row; in a frame */
  gboolean relu;
  gboolean wide; /* 16 bytes at a time can be moved */
} Conv;

__device__ __forceinline__ float
activate (float v, gboolean relu)
{
  return relu && !(v > 0) ? 0 : v;
}

/* Writes channel n of pixel `at`. */
template <typename T>
__device__ __forceinline__ void
put (const Conv &a, gint frame, gint at, gint n, float v)
{
  gint part = a.fold == 1 ? 0 : n / a.per_frame;
  gint64 offset =
      (((gint64) frame * a.fold + part) * a.H * a.W + at) * a.per_frame + n - part * a.per_frame;

  v += a.bias ? a.bias[n] : 0;
  v += a.residual ? lf_load ((const T *) a.residual + offset) : 0;
  lf_store ((T *) a.y + offset, activate (v, a.relu));
}

/* Whether 16 bytes at a time can be read of every frame, if they can of every pixel. */
static inline gboolean
lf_cuda_conv_is_aligned (const Conv &a)
{
  for (gint i = 0; i < a.frames + a.kt - 1; i++)
    if ((gsize) a.x[i] % 16)
      return FALSE;
  return TRUE;
}

/* Hopper's kernel, for blocks of so many output channels. FALSE where it is not made for them or
 * for this device. */
gboolean lf_cuda_conv_sm90 (LfQueue *q, LfDType dtype, const Conv &a, gint columns);

/* The kernel for any type and shape; weights of `dtype`. */
void lf_cuda_conv_any (LfQueue *q, LfDType dtype, Conv a);

#endif
