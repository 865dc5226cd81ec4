/* lightforce: text encoder operations on CUDA
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include "core/t5bucket.h"
#include "kernels/cuda/common.cuh"

#define TILE 64           /* queries, keys and channels that a block has at once */
#define STRIDE (TILE + 4) /* floats a row of a tile: 16-byte reads of a column do not collide */
#define SIDE 16           /* threads of a block: SIDE x SIDE, each 4 x 4 values of a tile */
#define BLOCK (SIDE * SIDE)
#define PER (TILE / SIDE)

template <typename From>
static __global__ void
embed (float *y, const From *table, const gint32 *ids, int C)
{
  lf_kernel_begin ();
  const From *row = table + (gsize) ids[blockIdx.x] * C;

  for (int i = threadIdx.x; i < C; i += blockDim.x)
    y[(gsize) blockIdx.x * C + i] = lf_load (row + i);
}

static void
launch_embed (
    LfQueue *q, float *y, const void *table, LfDType dtype, const gint32 *ids, gint T, gint C)
{
  if (dtype == LF_DTYPE_F32)
    lf_cuda_launch (q, embed<float>, T, BLOCK, 0, y, (const float *) table, ids, C);
  else if (dtype == LF_DTYPE_BF16)
    lf_cuda_launch (q, embed<LfBf16>, T, BLOCK, 0, y, (const LfBf16 *) table, ids, C);
  else
    lf_cuda_launch (q, embed<__half>, T, BLOCK, 0, y, (const __half *) table, ids, C);
}

void
lf_cuda_embed (
    LfQueue *q, float *y, const void *table, LfDType dtype, const gint32 *ids, gint T, gint C)
{
  const gint32 *list;

  if (q->error || T <= 0)
    return;
  if (dtype != LF_DTYPE_F32 && dtype != LF_DTYPE_BF16 && dtype != LF_DTYPE_F16) {
    lf_cuda_fail (q, LF_ERROR_UNSUPPORTED, "the GPU looks up no rows of a table of %s",
        lf_dtype_name (dtype));
    return;
  }
  list = lf_cuda_list (q, ids, T);
  if (!list)
    return;
  launch_embed (q, y, table, dtype, list, T, C);
  LF_CUDA_LAUNCHED (q, "embed");
}

/* --------------------------------------------------------------- attention */

typedef struct
{
  void *y;              /* (T, C) act */
  const void *qkv;      /* (T, 3, C) act */
  const float *bias;    /* (buckets, heads) */
  const gint32 *bucket; /* (2 T - 1): of distance i - (T - 1) */
  int T, length, heads, d;
} Attention;

/* Rows first .. of x, `C3` elements apart, channels c .. of d, to a tile; 0 beyond both. */
template <typename T>
__device__ __forceinline__ void
load_tile (float *tile, const T *x, int first, int rows, gsize C3, int c, int d)
{
#pragma unroll 4
  for (int i = threadIdx.x; i < TILE * TILE; i += BLOCK) {
    int row = i / TILE, column = i % TILE;
    bool inside = first + row < rows && c + column < d;

    tile[row * STRIDE + column] = inside ? lf_load (x + (first + row) * C3 + c + column) : 0.0f;
  }
}

__device__ __forceinline__ float4
tile_4 (const float *tile, int row, int column)
{
  return *reinterpret_cast<const float4 *> (tile + row * STRIDE + column);
}

/* Over the SIDE threads that share rows: neighbours in a warp. */
__device__ __forceinline__ float
side_max (float v)
{
#pragma unroll
  for (int i = SIDE / 2; i > 0; i /= 2)
    v = fmaxf (v, __shfl_xor_sync (0xffffffffu, v, i));
  return v;
}

__device__ __forceinline__ float
side_sum (float v)
{
#pragma unroll
  for (int i = SIDE / 2; i > 0; i /= 2)
    v += __shfl_xor_sync (0xffffffffu, v, i);
  return v;
}

/* score [i][j] += query row PER ty + i times key row tx + SIDE j */
__device__ __forceinline__ void
multiply_scores (float (&score)[PER][PER], const float *queries, const float *keys, int tx, int ty)
{
#pragma unroll 4
  for (int c = 0; c < TILE; c += 4) {
    float4 query[PER], key[PER];

#pragma unroll
    for (int i = 0; i < PER; i++) {
      query[i] = tile_4 (queries, PER * ty + i, c);
      key[i] = tile_4 (keys, tx + SIDE * i, c);
    }
#pragma unroll
    for (int i = 0; i < PER; i++)
#pragma unroll
      for (int j = 0; j < PER; j++)
        score[i][j] += query[i].x * key[j].x + query[i].y * key[j].y + query[i].z * key[j].z
                       + query[i].w * key[j].w;
  }
}

/* out [i][j] += probabilities of query row PER ty + i times channel 4 tx + j of the values */
__device__ __forceinline__ void
multiply_values (float (&out)[PER][4], const float *shares, const float *values, int tx, int ty)
{
#pragma unroll 4
  for (int k = 0; k < TILE; k += 4) {
    float4 share[PER], value[4];

#pragma unroll
    for (int i = 0; i < PER; i++)
      share[i] = tile_4 (shares, PER * ty + i, k);
#pragma unroll
    for (int i = 0; i < 4; i++)
      value[i] = tile_4 (values, k + i, 4 * tx);
#pragma unroll
    for (int i = 0; i < PER; i++) {
      const float of_key[4] = {share[i].x, share[i].y, share[i].z, share[i].w};

#pragma unroll
      for (int j = 0; j < 4; j++) {
        out[i][0] += of_key[j] * value[j].x;
        out[i][1] += of_key[j] * value[j].y;
        out[i][2] += of_key[j] * value[j].z;
        out[i][3] += of_key[j] * value[j].w;
      }
    }
  }
}

/* Blocks are (tile of queries, head, TILE channels of the output). The softmax is kept up to
 * date from one tile of keys to the next. */
template <typename T>
static __global__ void
__launch_bounds__ (BLOCK) t5_attention (Attention a)
{
  lf_kernel_begin ();
  extern __shared__ __align__ (16) float shared[];
  float *queries = shared, *keys = queries + TILE * STRIDE; /* keys, then their shares */
  float *values = keys + TILE * STRIDE, *bias = values + TILE * STRIDE; /* (2 TILE - 1) */
  int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
  int first = blockIdx.x * TILE, head = blockIdx.y, channel = blockIdx.z * TILE;
  gsize C = (gsize) a.heads * a.d, C3 = 3 * C;
  const T *q = (const T *) a.qkv + head * a.d, *k = q + C, *v = k + C;
  float most[PER], sum[PER], out[PER][4] = {};

#pragma unroll
  for (int i = 0; i < PER; i++) {
    most[i] = -INFINITY;
    sum[i] = 0;
  }
  for (int key = 0; key < a.length; key += TILE) {
    float score[PER][PER] = {};

    __syncthreads (); /* the last tile is done with */
    load_tile (values, v, key, a.length, C3, channel, a.d);
    for (int i = threadIdx.x; i < 2 * TILE - 1; i += BLOCK) {
      int distance = key - first + i - (TILE - 1) + a.T - 1;

      bias[i] = distance >= 0 && distance < 2 * a.T - 1
                    ? a.bias[(gsize) a.bucket[distance] * a.heads + head]
                    : 0.0f;
    }
    for (int c = 0; c < a.d; c += TILE) {
      if (c > 0)
        __syncthreads ();
      if (key == 0 || a.d > TILE)
        load_tile (queries, q, first, a.T, C3, c, a.d);
      load_tile (keys, k, key, a.length, C3, c, a.d);
      __syncthreads ();
      multiply_scores (score, queries, keys, tx, ty);
    }
    __syncthreads (); /* the keys are read: their place is free */
#pragma unroll
    for (int i = 0; i < PER; i++) {
      float tile_most = -INFINITY, tile_sum = 0, scale;

#pragma unroll
      for (int j = 0; j < PER; j++) {
        int column = tx + SIDE * j;

        score[i][j] = key + column < a.length
                          ? score[i][j] + bias[column - (PER * ty + i) + TILE - 1]
                          : -INFINITY;
        tile_most = fmaxf (tile_most, score[i][j]);
      }
      tile_most = fmaxf (most[i], side_max (tile_most));
      scale = expf (most[i] - tile_most);
      most[i] = tile_most;
#pragma unroll
      for (int j = 0; j < PER; j++) {
        float share = expf (score[i][j] - tile_most);

        tile_sum += share;
        keys[(PER * ty + i) * STRIDE + tx + SIDE * j] = share;
      }
      sum[i] = sum[i] * scale + side_sum (tile_sum);
#pragma unroll
      for (int j = 0; j < 4; j++)
        out[i][j] *= scale;
    }
    __syncthreads ();
    multiply_values (out, keys, values, tx, ty);
  }
#pragma unroll
  for (int i = 0; i < PER; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int row = first + PER * ty + i, c = channel + 4 * tx + j;

      if (row < a.T && c < a.d)
        lf_store ((T *) a.y + row * C + head * a.d + c, sum[i] > 0 ? out[i][j] / sum[i] : 0.0f);
    }
}

template <typename T>
static void
launch_t5_attention (LfQueue *q, const Attention *a)
{
  const int bytes = (3 * TILE * STRIDE + 2 * TILE) * sizeof (float);
  dim3 grid (lf_cuda_blocks (a->T, TILE), a->heads, lf_cuda_blocks (a->d, TILE));

  if (!lf_cuda_ok (q,
          cudaFuncSetAttribute (
              t5_attention<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
          "t5_attention"))
    return;
  lf_cuda_launch (q, t5_attention<T>, grid, BLOCK, bytes, *a);
  LF_CUDA_LAUNCHED (q, "t5_attention");
}

void
lf_cuda_t5_attention (LfQueue *q, void *y, const void *qkv, const float *bias, gint T, gint length,
    gint heads, gint d, gint buckets)
{
  Attention a = {y, qkv, bias, NULL, T, MIN (length, T), heads, d};
  gint32 *bucket;
  gint i;

  if (q->error || T <= 0)
    return;
  bucket = g_new (gint32, 2 * T - 1);
  for (i = 0; i < 2 * T - 1; i++)
    bucket[i] = lf_t5_bucket (i - (T - 1), buckets);
  a.bucket = lf_cuda_list (q, bucket, 2 * T - 1);
  g_free (bucket);
  if (!a.bucket)
    return;
  LF_CUDA_ACT (q, launch_t5_attention<T> (q, &a));
}
