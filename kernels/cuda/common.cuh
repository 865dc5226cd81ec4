/* lightforce: the CUDA backend, inside: what its kernels share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_COMMON_CUH
#define LF_CUDA_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/device.h"

typedef __nv_bfloat16 LfBf16;

/* Runs the statement with T as the activation type. */
#define LF_CUDA_ACT(q, ...)                                                                        \
  do {                                                                                             \
    if ((q)->backend->act == LF_DTYPE_BF16) {                                                      \
      typedef LfBf16 T;                                                                            \
      __VA_ARGS__;                                                                                 \
    } else if ((q)->backend->act == LF_DTYPE_F32) {                                                \
      typedef float T;                                                                             \
      __VA_ARGS__;                                                                                 \
    } else {                                                                                       \
      lf_cuda_fail (q, LF_ERROR_UNSUPPORTED, "%s does not compute in %s", __func__,                \
          lf_dtype_name ((q)->backend->act));                                                      \
    }                                                                                              \
  } while (0)

/* The same for operations of the decoders, which compute in half floats, too. */
#define LF_CUDA_DECODER_ACT(q, ...)                                                                \
  do {                                                                                             \
    if ((q)->backend->act == LF_DTYPE_F16) {                                                       \
      typedef __half T;                                                                            \
      __VA_ARGS__;                                                                                 \
    } else {                                                                                       \
      LF_CUDA_ACT (q, __VA_ARGS__);                                                                \
    }                                                                                              \
  } while (0)

/* Queues a kernel. Where the GPU can, its blocks start while the last ones of the kernel before
 * are still at work, and wait in lf_kernel_begin(): that hides what a launch takes. */
template <typename... P, typename... A>
static inline void
lf_cuda_launch (
    LfQueue *q, void (*kernel) (P...), dim3 grid, dim3 block, gsize shared_bytes, A... args)
{
  cudaLaunchAttribute chained = {};
  cudaLaunchConfig_t config = {};

  chained.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  chained.val.programmaticStreamSerializationAllowed = 1;
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = q->stream;
  config.attrs = &chained;
  config.numAttrs = q->device->chains ? 1 : 0;
  /* a failure is found by LF_CUDA_LAUNCHED */
  (void) cudaLaunchKernelEx (&config, kernel, static_cast<P> (args)...);
}

/* Lets blocks of a kernel have all the shared memory there is beside `fixed` bytes of its own. Asked
 * for before launches of more than 48 KiB; always for the most, since streams of other threads may
 * be about to launch the same kernel with more. */
template <typename... P>
static inline gboolean
lf_cuda_allow_shared (LfQueue *q, void (*kernel) (P...), gsize fixed, const char *what)
{
  return lf_cuda_ok (q,
      cudaFuncSetAttribute (kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
          (int) (q->device->shared_limit - fixed)),
      what);
}

/* Every kernel that lf_cuda_launch() queues begins with this, in all its threads, and reads and
 * writes nothing before: when it returns, all that was queued earlier is done. */
__device__ __forceinline__ void
lf_kernel_begin ()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

static inline unsigned
lf_cuda_blocks (gsize count, gsize per_block)
{
  return (unsigned) ((count + per_block - 1) / per_block);
}

template <typename T>
__device__ __forceinline__ float
lf_load (const T *x)
{
  return (float) *x;
}

template <>
__device__ __forceinline__ float
lf_load (const LfBf16 *x)
{
  return __bfloat162float (*x);
}

template <>
__device__ __forceinline__ float
lf_load (const __half *x)
{
  return __half2float (*x);
}

__device__ __forceinline__ void
lf_store (float *y, float v)
{
  *y = v;
}

__device__ __forceinline__ void
lf_store (LfBf16 *y, float v)
{
  *y = __float2bfloat16_rn (v);
}

/* What is too large becomes the largest there is, not infinite: it would spread. */
__device__ __forceinline__ void
lf_store (__half *y, float v)
{
  constexpr float largest = 65504;

  v = v > largest ? largest : v;
  v = v < -largest ? -largest : v; /* not a number stays so */
  *y = __float2half_rn (v);
}

/* 16 bytes at once: N values of T, aligned. */
template <typename T> struct LfPack
{
  static constexpr int N = 16 / sizeof (T);
  union
  {
    uint4 raw;
    T value[N];
  };

  __device__ __forceinline__
  LfPack ()
  {
  }
};

template <typename T>
__device__ __forceinline__ LfPack<T>
lf_load_pack (const T *x)
{
  LfPack<T> p;

  p.raw = *reinterpret_cast<const uint4 *> (x);
  return p;
}

template <typename T>
__device__ __forceinline__ void
lf_store_pack (T *y, const LfPack<T> &p)
{
  *reinterpret_cast<uint4 *> (y) = p.raw;
}

/* N values from or to memory: by packs, aligned, where they are whole ones, else one by one. */
template <int N, typename T>
__device__ __forceinline__ void
lf_load_values (float (&v)[N], const T *x)
{
  if constexpr (N % LfPack<T>::N == 0) {
#pragma unroll
    for (int j = 0; j < N; j += LfPack<T>::N) {
      LfPack<T> p = lf_load_pack (x + j);

#pragma unroll
      for (int i = 0; i < LfPack<T>::N; i++)
        v[j + i] = lf_load (&p.value[i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++)
      v[i] = lf_load (x + i);
  }
}

template <int N, typename T>
__device__ __forceinline__ void
lf_store_values (T *y, const float (&v)[N])
{
  if constexpr (N % LfPack<T>::N == 0) {
#pragma unroll
    for (int j = 0; j < N; j += LfPack<T>::N) {
      LfPack<T> p;

#pragma unroll
      for (int i = 0; i < LfPack<T>::N; i++)
        lf_store (&p.value[i], v[j + i]);
      lf_store_pack (y + j, p);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++)
      lf_store (y + i, v[i]);
  }
}

__device__ __forceinline__ float
lf_warp_sum (float v)
{
#pragma unroll
  for (int i = 16; i > 0; i /= 2)
    v += __shfl_xor_sync (0xffffffffu, v, i);
  return v;
}

__device__ __forceinline__ float
lf_warp_max (float v)
{
#pragma unroll
  for (int i = 16; i > 0; i /= 2)
    v = fmaxf (v, __shfl_xor_sync (0xffffffffu, v, i));
  return v;
}

/* Sum over a block of up to 1024 threads; `shared` (32) floats. All threads get it. */
__device__ __forceinline__ float
lf_block_sum (float v, float *shared)
{
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = (blockDim.x + 31) / 32;

  v = lf_warp_sum (v);
  __syncthreads (); /* an earlier sum has been read */
  if (lane == 0)
    shared[warp] = v;
  __syncthreads ();
  return lf_warp_sum (lane < warps ? shared[lane] : 0);
}

/* The largest v, which are not negative; as lf_block_sum. */
__device__ __forceinline__ float
lf_block_max (float v, float *shared)
{
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = (blockDim.x + 31) / 32;

  v = lf_warp_max (v);
  __syncthreads (); /* an earlier result has been read */
  if (lane == 0)
    shared[warp] = v;
  __syncthreads ();
  return lf_warp_max (lane < warps ? shared[lane] : 0);
}

/* The same over a row's WARPS warps: one, which may share a block with others, or a whole block. */
template <int WARPS>
__device__ __forceinline__ float
lf_row_max (float v, float *shared)
{
  return WARPS == 1 ? lf_warp_max (v) : lf_block_max (v, shared);
}

#define LF_FP8_LARGEST 448.0f     /* of e4m3 */
#define LF_FP8_SMALLEST 0x1p-100f /* what lies below counts as 0: its scale would be no float */

/* The scale of FP8 values whose largest magnitude is given, and its inverse. */
__device__ __forceinline__ float
lf_fp8_scale (float most)
{
  return most > LF_FP8_SMALLEST ? most / LF_FP8_LARGEST : 1.0f;
}

__device__ __forceinline__ float
lf_fp8_inverse (float most)
{
  return most > LF_FP8_SMALLEST ? LF_FP8_LARGEST / most : 1.0f;
}

/* as the CPU backend has them: kernels/cpu/vecmath.h */
__device__ __forceinline__ float
lf_sigmoid (float x)
{
  return 1.0f / (1.0f + __expf (-x));
}

__device__ __forceinline__ float
lf_silu_1 (float x)
{
  return x * lf_sigmoid (x);
}

__device__ __forceinline__ float
lf_gelu_1 (float x)
{
  return x * lf_sigmoid (1.59576912160573081f * (x + 0.044715f * x * x * x));
}

#endif
