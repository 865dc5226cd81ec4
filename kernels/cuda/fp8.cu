/* lightforce: conversions to and from FP8 on CUDA
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <cuda_fp8.h>

#include "kernels/cuda/common.cuh"

#define THREADS 256
#define VALUES 8      /* values of a chunk: 8 bytes of FP8, 16 or 32 of anything else */
#define CHUNKS 8      /* chunks that a thread holds at most */
#define HEAD_LANES 16 /* lanes that share a head of a token, a chunk each */

/* lf_gelu_1 in a third of its instructions, within 2^-18 of it but where it is next to nothing
 * (below 1e-10): what is done here has to keep up with memory. */
__device__ __forceinline__ float
quick_gelu (float x)
{
  constexpr float a = -2.30220820f, b = -0.102943240f; /* of lf_gelu_1, by -log2 (e) */
  float power, sigmoid;

  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * (a + b * x * x)));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(sigmoid) : "f"(1.0f + power));
  return x * sigmoid;
}

/* What is quantised: a value, or GELU of it. */
template <bool GELU>
__device__ __forceinline__ float
activated (float x)
{
  return GELU ? quick_gelu (x) : x;
}

/* VALUES values of 2 or 4 bytes, as they are. */
template <typename T> struct Chunk
{
  LfPack<T> part[VALUES / LfPack<T>::N];

  __device__ __forceinline__ void
  load (const T *x)
  {
#pragma unroll
    for (int i = 0; i < VALUES / LfPack<T>::N; i++)
      part[i] = lf_load_pack (x + i * LfPack<T>::N);
  }

  __device__ __forceinline__ float
  value (int i) const
  {
    return lf_load (&part[i / LfPack<T>::N].value[i % LfPack<T>::N]);
  }

  template <bool GELU = false>
  __device__ __forceinline__ float
  largest () const
  {
    float most = 0;

#pragma unroll
    for (int i = 0; i < VALUES; i++)
      most = fmaxf (most, fabsf (activated<GELU> (value (i))));
    return most;
  }

  /* 0 where all are negative */
  __device__ __forceinline__ float
  highest () const
  {
    float most = 0;

#pragma unroll
    for (int i = 0; i < VALUES; i++)
      most = fmaxf (most, value (i));
    return most;
  }
};

/* 8 bytes, aligned */
template <bool GELU = false, typename T>
__device__ __forceinline__ void
store_fp8 (guint8 *y, const Chunk<T> &x, float inverse)
{
  uint2 packed;
  unsigned half[4];

#pragma unroll
  for (int i = 0; i < 4; i++)
    half[i] = __nv_cvt_float2_to_fp8x2 (make_float2 (activated<GELU> (x.value (2 * i)) * inverse,
                                            activated<GELU> (x.value (2 * i + 1)) * inverse),
        __NV_SATFINITE, __NV_E4M3);
  packed.x = half[0] | half[1] << 16;
  packed.y = half[2] | half[3] << 16;
  *reinterpret_cast<uint2 *> (y) = packed;
}

__device__ __forceinline__ float
fp8_value (guint8 bits)
{
  return __half2float (__half (__nv_cvt_fp8_to_halfraw (bits, __NV_E4M3)));
}

/* -------------------------------------------------------------- quantize */

/* From here on GELU grows with x and is more than its largest magnitude below 0, which is 0.17. */
#define GELU_LEADS 0.5f

/* WARPS warps a row, which stays in registers as it is: GELU is taken of what goes out, its largest
 * magnitude from the largest x, but where that is small. */
template <bool GELU, int WARPS, typename T>
static __global__ void
quantize_chunks (guint8 *y, float *scale, const T *x, gsize rows, int n)
{
  lf_kernel_begin ();
  constexpr int WIDTH = 32 * WARPS;
  __shared__ float shared[32];
  int lane = threadIdx.x % WIDTH, chunks = n / VALUES;
  gsize row = (gsize) blockIdx.x * (blockDim.x / WIDTH) + threadIdx.x / WIDTH;
  Chunk<T> chunk[CHUNKS];
  float most = 0, inverse;

  if (row >= rows)
    return; /* whole warps, where several rows share a block */
  x += row * n;
  y += row * n;
#pragma unroll
  for (int i = 0; i < CHUNKS; i++)
    if (lane + i * WIDTH < chunks)
      chunk[i].load (x + (lane + i * WIDTH) * VALUES);
#pragma unroll
  for (int i = 0; i < CHUNKS; i++)
    if (lane + i * WIDTH < chunks)
      most = fmaxf (most, GELU ? chunk[i].highest () : chunk[i].largest ());
  most = lf_row_max<WARPS> (most, shared);
  if (GELU && most >= GELU_LEADS) {
    most = quick_gelu (most);
  } else if (GELU) {
    most = 0;
#pragma unroll
    for (int i = 0; i < CHUNKS; i++)
      if (lane + i * WIDTH < chunks)
        most = fmaxf (most, chunk[i].template largest<GELU> ());
    most = lf_row_max<WARPS> (most, shared);
  }
  inverse = lf_fp8_inverse (most);
#pragma unroll
  for (int i = 0; i < CHUNKS; i++)
    if (lane + i * WIDTH < chunks)
      store_fp8<GELU> (y + (lane + i * WIDTH) * VALUES, chunk[i], inverse);
  if (lane == 0)
    scale[row] = lf_fp8_scale (most);
}

/* A block a row of any length and alignment. */
template <bool GELU, typename T>
static __global__ void
quantize_any (guint8 *y, float *scale, const T *x, int n)
{
  lf_kernel_begin ();
  __shared__ float shared[32];
  float most = 0, inverse;

  x += (gsize) blockIdx.x * n;
  y += (gsize) blockIdx.x * n;
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    most = fmaxf (most, fabsf (activated<GELU> (lf_load (x + i))));
  most = lf_block_max (most, shared);
  inverse = lf_fp8_inverse (most);
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    y[i] = __nv_cvt_float_to_fp8 (
        activated<GELU> (lf_load (x + i)) * inverse, __NV_SATFINITE, __NV_E4M3);
  if (threadIdx.x == 0)
    scale[blockIdx.x] = lf_fp8_scale (most);
}

template <bool GELU, typename T>
static void
launch_quantize (LfQueue *q, guint8 *y, float *scale, const T *x, gsize rows, gint n)
{
  bool chunks = n % VALUES == 0 && GPOINTER_TO_SIZE (x) % 16 == 0 && GPOINTER_TO_SIZE (y) % 8 == 0;

  if (chunks && n / VALUES <= 32 * CHUNKS)
    lf_cuda_launch (
        q, quantize_chunks<GELU, 1, T>, lf_cuda_blocks (rows, 4), 4 * 32, 0, y, scale, x, rows, n);
  else if (chunks && n / VALUES <= 256 * CHUNKS)
    lf_cuda_launch (q, quantize_chunks<GELU, 8, T>, rows, 256, 0, y, scale, x, rows, n);
  else
    lf_cuda_launch (q, quantize_any<GELU, T>, rows, THREADS, 0, y, scale, x, n);
}

void
lf_cuda_quantize (
    LfQueue *q, void *y, float *scale, const void *x, LfDType dtype, gsize rows, gint n)
{
  if (q->error || rows == 0 || n <= 0)
    return;
  switch (dtype) {
    case LF_DTYPE_F32:
      launch_quantize<false> (q, (guint8 *) y, scale, (const float *) x, rows, n);
      break;
    case LF_DTYPE_BF16:
      launch_quantize<false> (q, (guint8 *) y, scale, (const LfBf16 *) x, rows, n);
      break;
    case LF_DTYPE_F16:
      launch_quantize<false> (q, (guint8 *) y, scale, (const __half *) x, rows, n);
      break;
    default:
      lf_cuda_fail (q, LF_ERROR_UNSUPPORTED, "the GPU makes no FP8 of %s", lf_dtype_name (dtype));
      return;
  }
  LF_CUDA_LAUNCHED (q, "quantize");
}

void
lf_cuda_quantize_gelu (LfQueue *q, void *y, float *scale, const void *x, gsize rows, gint n)
{
  if (q->error || rows == 0 || n <= 0)
    return;
  LF_CUDA_ACT (q, launch_quantize<true> (q, (guint8 *) y, scale, (const T *) x, rows, n));
  LF_CUDA_LAUNCHED (q, "quantize");
}

/* ---------------------------------------------------------------- caches */

typedef struct
{
  guint8 *cache;       /* (slots, n, heads, d) e4m3 */
  float *scales;       /* (slots, n, heads) */
  const gint32 *slots; /* (frames) */
  gsize items;         /* (frames, n, heads) of them */
  int per_frame, d;    /* n heads */
} Frames;

/* Where head `item` of all the frames' tokens lies in the cache, in heads. */
__device__ __forceinline__ gsize
cache_item (const Frames &a, gsize item)
{
  return (gsize) a.slots[item / a.per_frame] * a.per_frame + item % a.per_frame;
}

/* HEAD_LANES lanes a head of a token: d is a multiple of VALUES up to VALUES HEAD_LANES. */
template <typename T>
static __global__ void
compress_chunks (Frames a, const T *x)
{
  lf_kernel_begin ();
  int lane = threadIdx.x % HEAD_LANES, c = lane * VALUES;
  gsize item = ((gsize) blockIdx.x * blockDim.x + threadIdx.x) / HEAD_LANES, to;
  bool mine = item < a.items && c < a.d;
  Chunk<T> chunk;
  float most = 0;

  if (mine) {
    chunk.load (x + item * a.d + c);
    most = chunk.largest ();
  }
#pragma unroll
  for (int i = HEAD_LANES / 2; i > 0; i /= 2)
    most = fmaxf (most, __shfl_xor_sync (0xffffffffu, most, i));
  if (!mine)
    return;
  to = cache_item (a, item);
  store_fp8 (a.cache + to * a.d + c, chunk, lf_fp8_inverse (most));
  if (lane == 0)
    a.scales[to] = lf_fp8_scale (most);
}

/* A warp a head of a token, any d. */
template <typename T>
static __global__ void
compress_any (Frames a, const T *x)
{
  lf_kernel_begin ();
  gsize item = ((gsize) blockIdx.x * blockDim.x + threadIdx.x) / 32, to;
  float most = 0, inverse;

  if (item >= a.items)
    return;
  to = cache_item (a, item);
  for (int i = threadIdx.x % 32; i < a.d; i += 32)
    most = fmaxf (most, fabsf (lf_load (x + item * a.d + i)));
  most = lf_warp_max (most);
  inverse = lf_fp8_inverse (most);
  for (int i = threadIdx.x % 32; i < a.d; i += 32)
    a.cache[to * a.d + i] =
        __nv_cvt_float_to_fp8 (lf_load (x + item * a.d + i) * inverse, __NV_SATFINITE, __NV_E4M3);
  if (threadIdx.x % 32 == 0)
    a.scales[to] = lf_fp8_scale (most);
}

/* A thread a chunk. */
template <typename T>
static __global__ void
expand_chunks (T *x, Frames a)
{
  lf_kernel_begin ();
  constexpr int PACK = LfPack<T>::N;
  unsigned per_item = a.d / VALUES;
  gsize at = (gsize) blockIdx.x * blockDim.x + threadIdx.x, item = at / per_item, from;
  unsigned c = at % per_item * VALUES;
  float scale;
  uint2 packed;

  if (item >= a.items)
    return;
  from = cache_item (a, item);
  scale = a.scales[from];
  packed = *reinterpret_cast<const uint2 *> (a.cache + from * a.d + c);
#pragma unroll
  for (int i = 0; i < VALUES; i += PACK) {
    LfPack<T> p;

#pragma unroll
    for (int j = 0; j < PACK; j += 2) {
      unsigned word = i + j < 4 ? packed.x : packed.y;
      float2 v = __half22float2 (__half2 (__nv_cvt_fp8x2_to_halfraw2 (
          (__nv_fp8x2_storage_t) (word >> (i + j) % 4 * 8), __NV_E4M3)));

      lf_store (&p.value[j], v.x * scale);
      lf_store (&p.value[j + 1], v.y * scale);
    }
    lf_store_pack (x + item * a.d + c + i, p);
  }
}

/* A thread a value, any d. */
template <typename T>
static __global__ void
expand_any (T *x, Frames a)
{
  lf_kernel_begin ();
  gsize at = (gsize) blockIdx.x * blockDim.x + threadIdx.x, item = at / a.d, from;

  if (item >= a.items)
    return;
  from = cache_item (a, item);
  lf_store (x + at, fp8_value (a.cache[from * a.d + at % a.d]) * a.scales[from]);
}

static bool
in_chunks (const Frames *a, const void *x)
{
  return a->d % VALUES == 0 && GPOINTER_TO_SIZE (x) % 16 == 0
         && GPOINTER_TO_SIZE (a->cache) % 8 == 0;
}

template <typename T>
static void
launch_compress (LfQueue *q, const Frames *a, const T *x)
{
  if (in_chunks (a, x) && a->d <= VALUES * HEAD_LANES)
    lf_cuda_launch (
        q, compress_chunks<T>, lf_cuda_blocks (a->items, THREADS / HEAD_LANES), THREADS, 0, *a, x);
  else
    lf_cuda_launch (q, compress_any<T>, lf_cuda_blocks (a->items, THREADS / 32), THREADS, 0, *a, x);
}

template <typename T>
static void
launch_expand (LfQueue *q, T *x, const Frames *a)
{
  if (in_chunks (a, x))
    lf_cuda_launch (q, expand_chunks<T>, lf_cuda_blocks (a->items * (a->d / VALUES), THREADS),
        THREADS, 0, x, *a);
  else
    lf_cuda_launch (q, expand_any<T>, lf_cuda_blocks (a->items * a->d, THREADS), THREADS, 0, x, *a);
}

void
lf_cuda_compress_frames (LfQueue *q, void *cache, float *scales, const void *x, const gint32 *slots,
    gint frames, gint n, gint heads, gint d)
{
  Frames a = {(guint8 *) cache, scales, NULL, (gsize) frames * n * heads, n * heads, d};

  if (q->error || a.items == 0)
    return;
  a.slots = lf_cuda_list (q, slots, frames);
  if (!a.slots)
    return;
  LF_CUDA_ACT (q, launch_compress (q, &a, (const T *) x));
  LF_CUDA_LAUNCHED (q, "compress_frames");
}

void
lf_cuda_expand_frames (LfQueue *q, void *x, const void *cache, const float *scales,
    const gint32 *slots, gint frames, gint n, gint heads, gint d)
{
  Frames a = {(guint8 *) cache, (float *) scales, NULL, (gsize) frames * n * heads, n * heads, d};

  if (q->error || a.items == 0)
    return;
  a.slots = lf_cuda_list (q, slots, frames);
  if (!a.slots)
    return;
  LF_CUDA_ACT (q, launch_expand (q, (T *) x, &a));
  LF_CUDA_LAUNCHED (q, "expand_frames");
}
