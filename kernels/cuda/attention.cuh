/* lightforce: what the attention kernels share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_ATTENTION_CUH
#define LF_CUDA_ATTENTION_CUH

#include <math_constants.h>
#include <stdint.h>

#include "kernels/cuda/common.cuh"

/* Self-attention and attention to the text alike; pointers are on the device. Keys come in
 * blocks: entry e of a list is block e % frame_blocks of visible frame e / frame_blocks, and
 * ends with its frame. Dense attention has one block a frame and every frame on its list. */
typedef struct
{
  const void *q;             /* (L, C) */
  const void *keys, *values; /* (slots, n, C) */
  void *y;                   /* (L, C) */
  const gint32 *slots;       /* (visible), or NULL: 0, 1, 2 ... */
  const gint32 *list;        /* (heads, q_blocks, count), or NULL: dense */
  gint L, n, visible, heads, d;
  gint count; /* blocks of each query block; visible where dense */
  gint block_q, block_k, q_blocks, frame_blocks;
  gint n_slots;    /* frames that keys and values hold at least */
  float last_bias; /* of the last key's score; only where dense and one frame */
} LfCudaAttention;

/* 2^x; 0 for -infinity. */
__device__ __forceinline__ float
lf_exp2 (float x)
{
  float y;

  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/* As two bf16 in a register, the first in the low half. */
__device__ __forceinline__ uint32_t
lf_pack_bf16 (float low, float high)
{
  uint32_t y;

  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

/* FALSE where the kernel is not made for these shapes or this device. */
gboolean lf_cuda_attention_mma (LfQueue *q, const LfCudaAttention *a);
gboolean lf_cuda_attention_sm90 (LfQueue *q, const LfCudaAttention *a);

#endif
