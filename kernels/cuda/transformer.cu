/* lightforce: norms, rotation and patches on CUDA
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <cuda_fp8.h>

#include "kernels/cuda/common.cuh"

#define THREADS 256

/* Whether accesses of `bytes` at once may start at all of these. */
template <typename... P>
static bool
aligned (gsize bytes, P... pointers)
{
  return (... && (GPOINTER_TO_SIZE (pointers) % bytes == 0));
}

/* N floats that nobody writes: aligned to 16 bytes where N is a multiple of 4. */
template <int N>
__device__ __forceinline__ void
load_weights (float (&v)[N], const float *x)
{
  if constexpr (N % 4 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      float4 f = __ldg (reinterpret_cast<const float4 *> (x + i));

      v[i] = f.x;
      v[i + 1] = f.y;
      v[i + 2] = f.z;
      v[i + 3] = f.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; i++)
      v[i] = x[i];
  }
}

/* ------------------------------------------------------------------- norms */

/* y = (x - mean) inv (one + scale) + shift; RMS norm has no mean and no shift. */
typedef struct
{
  void *y;
  const void *x;
  const float *shift, *scale;
  float one, eps;
  gint ldy, ldx, rows, C;
  float *y_scale;    /* NULL, or y is e4m3 */
  float *sum;        /* x where something is added to it, */
  const void *add;   /* and what: (rows, C) act */
  const float *gate; /* NULL: 1 */
} Norm;

template <int WARPS>
__device__ __forceinline__ float
row_sum (float v, float *shared)
{
  return WARPS == 1 ? lf_warp_sum (v) : lf_block_sum (v, shared);
}

/* N values in e4m3, aligned to N bytes. */
template <int N>
__device__ __forceinline__ void
store_fp8 (guint8 *y, const float (&v)[N], float inverse)
{
  unsigned short pairs[N / 2];

#pragma unroll
  for (int i = 0; i < N / 2; i++)
    pairs[i] = __nv_cvt_float2_to_fp8x2 (
        make_float2 (v[2 * i] * inverse, v[2 * i + 1] * inverse), __NV_SATFINITE, __NV_E4M3);
#pragma unroll
  for (int i = 0; i < N / 4; i++)
    reinterpret_cast<unsigned *> (y)[i] = pairs[2 * i] | (unsigned) pairs[2 * i + 1] << 16;
}

/* WARPS warps a row, whose values stay in registers: up to PACKS packs a thread. X is the type
 * of x, T of y. */
template <typename X, typename T, int WARPS, int PACKS, bool CENTER, bool ADD, bool FP8>
static __global__ void
__launch_bounds__ (WARPS == 1 ? 128 : 256, WARPS == 1 ? 5 : 2) norm_packs (Norm a)
{
  lf_kernel_begin ();
  constexpr int N = LfPack<T>::N, WIDTH = 32 * WARPS;
  __shared__ float shared[32];
  int lane = threadIdx.x % WIDTH, packs = a.C / N;
  gsize row = (gsize) blockIdx.x * (blockDim.x / WIDTH) + threadIdx.x / WIDTH;
  const X *x = (const X *) a.x + row * a.ldx;
  T *y = (T *) a.y + row * a.ldy;
  float v[PACKS][N], sum = 0, mean = 0, inv;

  if (row >= (gsize) a.rows)
    return; /* whole warps, where several rows share a block */
#pragma unroll
  for (int i = 0; i < PACKS; i++)
    if (lane + i * WIDTH < packs)
      lf_load_values (v[i], x + (lane + i * WIDTH) * N);
  if constexpr (ADD) {
    LfPack<T> more[PACKS]; /* all on their way before anything is stored */

#pragma unroll
    for (int i = 0; i < PACKS; i++)
      if (lane + i * WIDTH < packs)
        more[i] = lf_load_pack ((const T *) a.add + row * a.C + (lane + i * WIDTH) * N);
#pragma unroll
    for (int i = 0; i < PACKS; i++)
      if (lane + i * WIDTH < packs) {
        int c = (lane + i * WIDTH) * N;
        float gate[N];

        if (a.gate)
          load_weights (gate, a.gate + c);
#pragma unroll
        for (int j = 0; j < N; j++) {
          float term = lf_load (&more[i].value[j]);

          v[i][j] += a.gate ? gate[j] * term : term;
        }
        lf_store_values (a.sum + row * a.C + c, v[i]);
      }
  }
  if (CENTER) {
#pragma unroll
    for (int i = 0; i < PACKS; i++)
      if (lane + i * WIDTH < packs)
#pragma unroll
        for (int j = 0; j < N; j++)
          sum += v[i][j];
    mean = row_sum<WARPS> (sum, shared) / a.C;
    sum = 0;
  }
#pragma unroll
  for (int i = 0; i < PACKS; i++)
    if (lane + i * WIDTH < packs)
#pragma unroll
      for (int j = 0; j < N; j++)
        sum += (v[i][j] - mean) * (v[i][j] - mean);
  inv = 1.0f / sqrtf (row_sum<WARPS> (sum, shared) / a.C + a.eps);
  sum = 0; /* from here on the largest magnitude */
#pragma unroll
  for (int i = 0; i < PACKS; i++)
    if (lane + i * WIDTH < packs) {
      int c = (lane + i * WIDTH) * N;
      float scale[N], shift[N];

      load_weights (scale, a.scale + c);
      if (CENTER)
        load_weights (shift, a.shift + c);
#pragma unroll
      for (int j = 0; j < N; j++) {
        v[i][j] = (v[i][j] - mean) * inv * (a.one + scale[j]);
        if (CENTER)
          v[i][j] += shift[j];
        sum = fmaxf (sum, fabsf (v[i][j]));
      }
      if (!FP8)
        lf_store_values (y + c, v[i]);
    }
  if constexpr (FP8) {
    float most = lf_row_max<WARPS> (sum, shared), inverse = lf_fp8_inverse (most);

    if (lane == 0)
      a.y_scale[row] = lf_fp8_scale (most);
#pragma unroll
    for (int i = 0; i < PACKS; i++)
      if (lane + i * WIDTH < packs)
        store_fp8 ((guint8 *) a.y + row * a.C + (lane + i * WIDTH) * N, v[i], inverse);
  }
}

/* A block a row of any width and alignment, which is read again for each pass. Where y is x or
 * what is added to it, a thread writes only what it alone reads. */
template <typename X, typename T, bool CENTER, bool ADD>
static __global__ void
norm_any (Norm a)
{
  lf_kernel_begin ();
  __shared__ float shared[32];
  const gsize row = blockIdx.x;
  const X *x = (const X *) a.x + row * a.ldx;
  float sum = 0, mean = 0, inv;

  if constexpr (ADD) {
    const T *add = (const T *) a.add + row * a.C;

    for (int i = threadIdx.x; i < a.C; i += blockDim.x)
      a.sum[row * a.C + i] += (a.gate ? a.gate[i] : 1) * lf_load (add + i);
  }
  if (CENTER) {
    for (int i = threadIdx.x; i < a.C; i += blockDim.x)
      sum += lf_load (x + i);
    mean = lf_block_sum (sum, shared) / a.C;
    sum = 0;
  }
  for (int i = threadIdx.x; i < a.C; i += blockDim.x) {
    float v = lf_load (x + i) - mean;

    sum += v * v;
  }
  inv = 1.0f / sqrtf (lf_block_sum (sum, shared) / a.C + a.eps);
  auto normed = [&] (int i) {
    return (lf_load (x + i) - mean) * inv * (a.one + a.scale[i]) + (CENTER ? a.shift[i] : 0.0f);
  };
  if (!a.y_scale) {
    for (int i = threadIdx.x; i < a.C; i += blockDim.x)
      lf_store ((T *) a.y + row * a.ldy + i, normed (i));
    return;
  }
  sum = 0;
  for (int i = threadIdx.x; i < a.C; i += blockDim.x)
    sum = fmaxf (sum, fabsf (normed (i)));
  sum = lf_block_max (sum, shared);
  if (threadIdx.x == 0)
    a.y_scale[row] = lf_fp8_scale (sum);
  for (int i = threadIdx.x; i < a.C; i += blockDim.x)
    ((guint8 *) a.y)[row * a.C + i] =
        __nv_cvt_float_to_fp8 (normed (i) * lf_fp8_inverse (sum), __NV_SATFINITE, __NV_E4M3);
}

template <typename X, typename T, bool CENTER, bool ADD, bool FP8>
static void
launch_norm (LfQueue *q, const Norm *a)
{
  constexpr int N = LfPack<T>::N;
  bool packs = a->C % N == 0 && a->ldx % N == 0 && a->ldy % N == 0
               && aligned (16, a->x, a->y, a->scale, a->shift, a->add, a->gate);

  if (packs && a->C / N <= 32 * 6)
    lf_cuda_launch (
        q, norm_packs<X, T, 1, 6, CENTER, ADD, FP8>, lf_cuda_blocks (a->rows, 4), 4 * 32, 0, *a);
  else if (packs && a->C / N <= 256 * 8)
    lf_cuda_launch (q, norm_packs<X, T, 8, 8, CENTER, ADD, FP8>, a->rows, 256, 0, *a);
  else
    lf_cuda_launch (q, norm_any<X, T, CENTER, ADD>, a->rows, THREADS, 0, *a);
}

template <typename T>
static void
launch_modulate (LfQueue *q, const Norm *a)
{
  if (a->add && a->y_scale)
    launch_norm<float, T, true, true, true> (q, a);
  else if (a->add)
    launch_norm<float, T, true, true, false> (q, a);
  else if (a->y_scale)
    launch_norm<float, T, true, false, true> (q, a);
  else
    launch_norm<float, T, true, false, false> (q, a);
}

void
lf_cuda_norm_modulate (LfQueue *q, const LfNorm *a)
{
  Norm b = {a->y, a->x, a->shift, a->scale, a->one, a->eps, a->C, a->C, a->rows, a->C, a->y_scale,
      a->x, a->add, a->gate};

  if (q->error || a->rows <= 0 || a->C <= 0)
    return;
  LF_CUDA_ACT (q, launch_modulate<T> (q, &b));
  LF_CUDA_LAUNCHED (q, "norm_modulate");
}

void
lf_cuda_rms_norm (LfQueue *q, void *y, gint ldy, const void *x, LfDType dtype, gint ldx,
    const float *weight, gint rows, gint C, float eps)
{
  Norm a = {y, x, NULL, weight, 0, eps, ldy, ldx, rows, C, NULL, NULL, NULL, NULL};

  if (q->error || rows <= 0 || C <= 0)
    return;
  if (dtype == LF_DTYPE_F32)
    LF_CUDA_ACT (q, launch_norm<float, T, false, false, false> (q, &a));
  else
    LF_CUDA_ACT (q, launch_norm<T, T, false, false, false> (q, &a));
  LF_CUDA_LAUNCHED (q, "rms_norm");
}

/* ---------------------------------------------------------------- rotation */

/* The rows of a rotary table that hold for one token. */
typedef struct
{
  const float *time, *row, *column;
  int ct, cr;
} Angles;

__device__ __forceinline__ Angles
token_angles (const LfRope &rope, int time, int token)
{
  return {rope.time + (gsize) time * rope.ct * 2,
      rope.row + (gsize) (token / rope.width) * rope.cr * 2,
      rope.column + (gsize) (token % rope.width) * rope.cc * 2, rope.ct, rope.cr};
}

/* Rotates N values that begin with pair `pair` of a head; N is even. Tables are aligned to
 * 8 bytes where N is more than a pair. */
template <int N>
__device__ __forceinline__ void
rotate_values (float (&v)[N], const Angles &a, int pair)
{
#pragma unroll
  for (int i = 0; i < N; i += 2, pair++) {
    const float *table = pair < a.ct          ? a.time + 2 * pair
                         : pair < a.ct + a.cr ? a.row + 2 * (pair - a.ct)
                                              : a.column + 2 * (pair - a.ct - a.cr);
    float2 angle =
        N > 2 ? __ldg (reinterpret_cast<const float2 *> (table)) : make_float2 (table[0], table[1]);
    float even = v[i], odd = v[i + 1];

    v[i] = even * angle.x - odd * angle.y;
    v[i + 1] = even * angle.y + odd * angle.x;
  }
}

/* Sums of two values over a block, at the cost of one. */
__device__ __forceinline__ float2
block_sum_2 (float a, float b, float2 *shared)
{
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  float2 s;

  a = lf_warp_sum (a);
  b = lf_warp_sum (b);
  if (lane == 0)
    shared[warp] = make_float2 (a, b);
  __syncthreads ();
  s = lane < warps ? shared[lane] : make_float2 (0, 0);
  return make_float2 (lf_warp_sum (s.x), lf_warp_sum (s.y));
}

/* N values of a token from channel c on: queries q and keys k come in as they are; of_q, of_k are
 * the norms' weights. */
template <int N, typename T>
__device__ __forceinline__ void
finish_qk (const LfQkNormRope &a, const Angles &angles, float (&q)[N], float (&k)[N],
    const float (&of_q)[N], const float (&of_k)[N], float2 inv, gsize query, gsize key, int c)
{
  int pair = c % a.d / 2;

#pragma unroll
  for (int i = 0; i < N; i++) {
    q[i] = q[i] * inv.x * of_q[i];
    k[i] = k[i] * inv.y * of_k[i];
  }
  if (a.keys_plain)
    lf_store_values ((T *) a.keys_plain + key + c, k);
  rotate_values (q, angles, pair);
  rotate_values (k, angles, pair);
  lf_store_values ((T *) a.q + query + c, q);
  lf_store_values ((T *) a.keys + key + c, k);
}

__device__ __forceinline__ float2
inverse_rms (float2 squares, int C, float eps)
{
  return make_float2 (1.0f / sqrtf (squares.x / C + eps), 1.0f / sqrtf (squares.y / C + eps));
}

/* A block a token, up to PACKS packs of q, k and v a thread. a.slots is on the device. */
template <typename T, int PACKS>
static __global__ void __launch_bounds__ (1024) qk_norm_rope_packs (LfQkNormRope a)
{
  lf_kernel_begin ();
  constexpr int N = LfPack<T>::N;
  __shared__ float2 shared[32];
  int C = a.heads * a.d, packs = C / N, frame = blockIdx.x / a.n, token = blockIdx.x % a.n;
  gsize row = blockIdx.x, key = ((gsize) a.slots[frame] * a.n + token) * C;
  const T *x = (const T *) a.qkv + row * 3 * C;
  Angles angles = token_angles (a.rope, frame, token);
  LfPack<T> q[PACKS], k[PACKS], v[PACKS];
  float squares_q = 0, squares_k = 0, of_q[N], of_k[N];
  float2 inv;

#pragma unroll
  for (int i = 0; i < PACKS; i++) {
    int p = threadIdx.x + i * blockDim.x;

    if (p < packs) {
      q[i] = lf_load_pack (x + p * N);
      k[i] = lf_load_pack (x + C + p * N);
      v[i] = lf_load_pack (x + 2 * C + p * N);
    }
  }
  /* on their way while sums are taken, where there is room for them */
  if (PACKS == 1 && threadIdx.x < packs) {
    load_weights (of_q, a.norm_q + threadIdx.x * N);
    load_weights (of_k, a.norm_k + threadIdx.x * N);
  }
#pragma unroll
  for (int i = 0; i < PACKS; i++)
    if (threadIdx.x + i * blockDim.x < packs)
#pragma unroll
      for (int j = 0; j < N; j++) {
        float q_j = lf_load (&q[i].value[j]), k_j = lf_load (&k[i].value[j]);

        squares_q += q_j * q_j;
        squares_k += k_j * k_j;
      }
#pragma unroll
  for (int i = 0; i < PACKS; i++) {
    int p = threadIdx.x + i * blockDim.x;

    if (p < packs)
      lf_store_pack ((T *) a.values + key + p * N, v[i]);
  }
  inv = inverse_rms (block_sum_2 (squares_q, squares_k, shared), C, a.eps);
#pragma unroll
  for (int i = 0; i < PACKS; i++) {
    int c = (threadIdx.x + i * blockDim.x) * N;
    float q_i[N], k_i[N];

    if (c >= C)
      break;
    if (PACKS > 1) {
      load_weights (of_q, a.norm_q + c);
      load_weights (of_k, a.norm_k + c);
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
      q_i[j] = lf_load (&q[i].value[j]);
      k_i[j] = lf_load (&k[i].value[j]);
    }
    finish_qk<N, T> (a, angles, q_i, k_i, of_q, of_k, inv, row * C, key, c);
  }
}

/* The same for any even d: pair by pair, read again for the second pass. */
template <typename T>
static __global__ void
qk_norm_rope_pairs (LfQkNormRope a)
{
  lf_kernel_begin ();
  __shared__ float2 shared[32];
  int C = a.heads * a.d, frame = blockIdx.x / a.n, token = blockIdx.x % a.n;
  gsize row = blockIdx.x, key = ((gsize) a.slots[frame] * a.n + token) * C;
  const T *q = (const T *) a.qkv + row * 3 * C, *k = q + C, *v = k + C;
  Angles angles = token_angles (a.rope, frame, token);
  float squares_q = 0, squares_k = 0;
  float2 inv;

  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    float of_q = lf_load (q + c), of_k = lf_load (k + c);

    squares_q += of_q * of_q;
    squares_k += of_k * of_k;
    ((T *) a.values)[key + c] = v[c];
  }
  inv = inverse_rms (block_sum_2 (squares_q, squares_k, shared), C, a.eps);
  for (int c = 2 * threadIdx.x; c < C; c += 2 * blockDim.x) {
    float q_c[2], k_c[2], of_q[2], of_k[2];

    lf_load_values (q_c, q + c);
    lf_load_values (k_c, k + c);
    load_weights (of_q, a.norm_q + c);
    load_weights (of_k, a.norm_k + c);
    finish_qk<2, T> (a, angles, q_c, k_c, of_q, of_k, inv, row * C, key, c);
  }
}

template <typename T>
static void
launch_qk_norm_rope (LfQueue *q, const LfQkNormRope *a)
{
  constexpr int N = LfPack<T>::N;
  gint C = a->heads * a->d, packs = C / N, rows = a->frames * a->n;
  bool fits = a->d % N == 0 && packs <= 2 * 1024
              && aligned (16, a->qkv, a->q, a->keys, a->keys_plain, a->values, a->norm_q, a->norm_k)
              && aligned (8, a->rope.time, a->rope.row, a->rope.column);

  if (fits && packs <= 1024)
    lf_cuda_launch (q, qk_norm_rope_packs<T, 1>, rows, (packs + 31) / 32 * 32, 0, *a);
  else if (fits)
    lf_cuda_launch (q, qk_norm_rope_packs<T, 2>, rows, (packs + 63) / 64 * 32, 0, *a);
  else
    lf_cuda_launch (q, qk_norm_rope_pairs<T>, rows, THREADS, 0, *a);
}

void
lf_cuda_qk_norm_rope (LfQueue *q, const LfQkNormRope *a)
{
  LfQkNormRope b = *a;

  if (q->error || a->frames <= 0 || a->n <= 0)
    return;
  b.slots = lf_cuda_list (q, a->slots, a->frames);
  if (!b.slots)
    return;
  LF_CUDA_ACT (q, launch_qk_norm_rope<T> (q, &b));
  LF_CUDA_LAUNCHED (q, "qk_norm_rope");
}

/* A block a token, N values at a time. */
template <typename T, int N>
static __global__ void
rotate_keys (T *keys, const T *plain, LfRope rope, const gint32 *slots, int n, int C, int d)
{
  lf_kernel_begin ();
  int frame = blockIdx.x / n, token = blockIdx.x % n;
  gsize at = ((gsize) slots[frame] * n + token) * C;
  Angles angles = token_angles (rope, frame, token);

  for (int c = threadIdx.x * N; c < C; c += blockDim.x * N) {
    float v[N];

    lf_load_values (v, plain + at + c);
    rotate_values (v, angles, c % d / 2);
    lf_store_values (keys + at + c, v);
  }
}

template <typename T>
static void
launch_rotate_keys (LfQueue *q, T *keys, const T *plain, const LfRope *rope, const gint32 *slots,
    gint frames, gint n, gint C, gint d)
{
  constexpr int N = LfPack<T>::N;

  if (d % N == 0 && aligned (16, keys, plain) && aligned (8, rope->time, rope->row, rope->column))
    lf_cuda_launch (q, rotate_keys<T, N>, frames * n, MIN (THREADS, (C / N + 31) / 32 * 32), 0,
        keys, plain, *rope, slots, n, C, d);
  else
    lf_cuda_launch (
        q, rotate_keys<T, 2>, frames * n, THREADS, 0, keys, plain, *rope, slots, n, C, d);
}

void
lf_cuda_rotate_keys (LfQueue *q, void *keys, const void *keys_plain, const LfRope *rope,
    const gint32 *slots, gint frames, gint n, gint heads, gint d)
{
  const gint32 *list;

  if (q->error || frames <= 0 || n <= 0)
    return;
  list = lf_cuda_list (q, slots, frames);
  if (!list)
    return;
  LF_CUDA_ACT (q, launch_rotate_keys (
                      q, (T *) keys, (const T *) keys_plain, rope, list, frames, n, heads * d, d));
  LF_CUDA_LAUNCHED (q, "rotate_keys");
}

/* -------------------------------------------------------------- modulation */

__device__ __forceinline__ gsize
thread_index ()
{
  return (gsize) blockIdx.x * blockDim.x + threadIdx.x;
}

template <typename T>
static __global__ void
add_modulation (float *y, const float *tables, const T *x, gsize count, gsize period)
{
  lf_kernel_begin ();
  gsize i = thread_index ();

  if (i < count)
    y[i] = tables[i] + lf_load (x + i % period);
}

void
lf_cuda_add_modulation (LfQueue *q, float *y, const float *tables, const void *x, gint layers,
    gint rows, gint x_rows, gint C)
{
  gsize count = (gsize) layers * rows * C, period = (gsize) (x_rows == 1 ? 1 : rows) * C;

  if (q->error || count == 0)
    return;
  LF_CUDA_ACT (q, lf_cuda_launch (q, add_modulation<T>, lf_cuda_blocks (count, THREADS), THREADS, 0,
                      y, tables, (const T *) x, count, period));
  LF_CUDA_LAUNCHED (q, "add_modulation");
}

template <typename T>
static __global__ void
silu (T *y, const T *x, gsize count)
{
  lf_kernel_begin ();
  gsize i = thread_index ();

  if (i < count)
    lf_store (y + i, lf_silu_1 (lf_load (x + i)));
}

void
lf_cuda_silu (LfQueue *q, void *y, const void *x, gsize count)
{
  if (q->error || count == 0)
    return;
  LF_CUDA_ACT (q, lf_cuda_launch (q, silu<T>, lf_cuda_blocks (count, THREADS), THREADS, 0, (T *) y,
                      (const T *) x, count));
  LF_CUDA_LAUNCHED (q, "silu");
}

/* ----------------------------------------------------------------- patches */

typedef struct
{
  gsize count; /* values of all tokens */
  int Z, H, W;
} Patches;

/* Where in a latent (F, Z, H, W) value i of 2 x 2 of channel z of a token lies. */
__device__ __forceinline__ gsize
latent_index (const Patches &a, gsize token, int z, int i)
{
  int width = a.W / 2, n = a.H / 2 * width, place = token % n;
  int row = 2 * (place / width) + i / 2, column = 2 * (place % width) + i % 2;

  return ((token / n * a.Z + z) * a.H + row) * a.W + column;
}

template <typename T>
static __global__ void
patchify (T *y, const float *latent, Patches a)
{
  lf_kernel_begin ();
  gsize at = thread_index ();

  if (at < a.count) {
    gsize token = at / (4 * a.Z);
    int c = at % (4 * a.Z);

    lf_store (y + at, latent[latent_index (a, token, c / 4, c % 4)]);
  }
}

template <typename T>
static __global__ void
unpatchify (float *latent, const T *x, Patches a)
{
  lf_kernel_begin ();
  gsize at = thread_index ();

  if (at < a.count) {
    gsize token = at / (4 * a.Z);
    int c = at % (4 * a.Z);

    latent[latent_index (a, token, c % a.Z, c / a.Z)] = lf_load (x + at);
  }
}

void
lf_cuda_patchify (LfQueue *q, void *y, const float *latent, gint F, gint Z, gint H, gint W)
{
  Patches a = {(gsize) F * (H / 2) * (W / 2) * 4 * Z, Z, H, W};

  if (q->error || a.count == 0)
    return;
  LF_CUDA_ACT (q, lf_cuda_launch (q, patchify<T>, lf_cuda_blocks (a.count, THREADS), THREADS, 0,
                      (T *) y, latent, a));
  LF_CUDA_LAUNCHED (q, "patchify");
}

void
lf_cuda_unpatchify (LfQueue *q, float *latent, const void *x, gint F, gint Z, gint H, gint W)
{
  Patches a = {(gsize) F * (H / 2) * (W / 2) * 4 * Z, Z, H, W};

  if (q->error || a.count == 0)
    return;
  LF_CUDA_ACT (q, lf_cuda_launch (q, unpatchify<T>, lf_cuda_blocks (a.count, THREADS), THREADS, 0,
                      latent, (const T *) x, a));
  LF_CUDA_LAUNCHED (q, "unpatchify");
}
