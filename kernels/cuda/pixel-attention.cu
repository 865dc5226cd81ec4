/* lightforce: attention between the pixels of a frame, on the GPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math_constants.h>

#include "kernels/cuda/mma.cuh"

#define LOG2_E 1.4426950408889634f

/* One head as wide as the picture has channels. Two ways: scores in memory, for any type and
 * number of channels, and on the tensor cores, where scores never leave a multiprocessor. */

/* ------------------------------------------------------- any type and shape */

#define TILE 64 /* rows and columns of a block */
#define TILE_K 16
#define TILE_THREADS 256
#define SCORES_BYTES ((gsize) 64 << 20) /* about, of the scores of some queries */

/* A thread's 4 x 4 of the product of 64 x TILE_K and TILE_K x 64. */
__device__ __forceinline__ void
multiply_tiles (float (&sum)[4][4], const float (*a)[TILE + 4], const float (*b)[TILE + 4])
{
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;

#pragma unroll
  for (int k = 0; k < TILE_K; k++) {
    float4 u = *(const float4 *) &a[k][ty * 4], v = *(const float4 *) &b[k][tx * 4];
    float x[4] = {u.x, u.y, u.z, u.w}, w[4] = {v.x, v.y, v.z, v.w};

#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        sum[i][j] += x[i] * w[j];
  }
}

/* Columns 0 .. n - 1 of `rows` rows of x, transposed into a tile; zeros outside. */
template <typename T>
__device__ __forceinline__ void
load_across (float (*tile)[TILE + 4], const T *x, gsize ld, int rows, int n)
{
  const int row = threadIdx.x / 4, k = threadIdx.x % 4 * 4;

#pragma unroll
  for (int i = 0; i < 4; i++)
    tile[k + i][row] = row < rows && k + i < n ? lf_load (x + row * ld + k + i) : 0;
}

/* scores (rows, pixels) = scale q k^T. q, k: first of the queries and of all keys, in qkv. */
template <typename T>
static __global__ void
__launch_bounds__ (TILE_THREADS)
    score_queries (float *scores, const T *q, const T *k, int rows, int pixels, int C, float scale)
{
  lf_kernel_begin ();
  __shared__ __align__ (16) float a[TILE_K][TILE + 4], b[TILE_K][TILE + 4];
  const int row = blockIdx.y * TILE, column = blockIdx.x * TILE;
  const gsize ld = 3 * (gsize) C;
  float sum[4][4] = {};

  for (int c = 0; c < C; c += TILE_K) {
    load_across (a, q + row * ld + c, ld, rows - row, C - c);
    load_across (b, k + column * ld + c, ld, pixels - column, C - c);
    __syncthreads ();
    multiply_tiles (sum, a, b);
    __syncthreads ();
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int y = row + threadIdx.x / 16 * 4 + i, x = column + threadIdx.x % 16 * 4 + j;

      if (y < rows && x < pixels)
        scores[(gsize) y * pixels + x] = sum[i][j] * scale;
    }
}

/* A block has a row. */
static __global__ void
__launch_bounds__ (TILE_THREADS) soften_rows (float *scores, int n)
{
  lf_kernel_begin ();
  __shared__ float shared[32];
  float *row = scores + (gsize) blockIdx.x * n;
  float most = -CUDART_INF_F, sum = 0;

  for (int i = threadIdx.x; i < n; i += TILE_THREADS)
    most = fmaxf (most, row[i]);
  most = lf_warp_max (most);
  if (threadIdx.x % 32 == 0)
    shared[threadIdx.x / 32] = most;
  __syncthreads ();
  most = lf_warp_max (shared[threadIdx.x % (TILE_THREADS / 32)]);
  for (int i = threadIdx.x; i < n; i += TILE_THREADS) {
    float v = expf (row[i] - most);

    row[i] = v;
    sum += v;
  }
  sum = 1 / lf_block_sum (sum, shared);
  for (int i = threadIdx.x; i < n; i += TILE_THREADS)
    row[i] *= sum;
}

/* y (rows, C) = scores (rows, pixels) v; v: the first of all values, in qkv. */
template <typename T>
static __global__ void
__launch_bounds__ (TILE_THREADS)
    mix_values (T *y, const float *scores, const T *v, int rows, int pixels, int C)
{
  lf_kernel_begin ();
  __shared__ __align__ (16) float a[TILE_K][TILE + 4], b[TILE_K][TILE + 4];
  const int row = blockIdx.y * TILE, column = blockIdx.x * TILE;
  const int k = threadIdx.x / 16, c = threadIdx.x % 16 * 4;
  const gsize ld = 3 * (gsize) C;
  float sum[4][4] = {};

  for (int first = 0; first < pixels; first += TILE_K) {
    load_across (a, scores + (gsize) row * pixels + first, pixels, rows - row, pixels - first);
#pragma unroll
    for (int i = 0; i < 4; i++)
      b[k][c + i] = first + k < pixels && column + c + i < C
                        ? lf_load (v + (first + k) * ld + column + c + i)
                        : 0;
    __syncthreads ();
    multiply_tiles (sum, a, b);
    __syncthreads ();
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int at = row + threadIdx.x / 16 * 4 + i, x = column + threadIdx.x % 16 * 4 + j;

      if (at < rows && x < C)
        lf_store (y + (gsize) at * C + x, sum[i][j]);
    }
}

template <typename T>
static void
attend_any (LfQueue *q, T *y, const T *qkv, gint frames, gint pixels, gint C)
{
  gsize ld = 3 * (gsize) C;
  gint piece = (gint) CLAMP (SCORES_BYTES / (pixels * sizeof (float)) / TILE * TILE, TILE,
      65535 * TILE); /* the grid's height */
  gint frame, first;
  float *scores;

  piece = MIN (piece, pixels);
  scores = (float *) lf_cuda_scratch (
      q, LF_CUDA_SCRATCH_ATTENTION, (gsize) piece * pixels * sizeof (float));
  for (frame = 0; frame < frames && scores; frame++) {
    const T *of_frame = qkv + (gsize) frame * pixels * ld;

    for (first = 0; first < pixels; first += piece) {
      gint rows = MIN (piece, pixels - first);
      dim3 grid (lf_cuda_blocks (pixels, TILE), lf_cuda_blocks (rows, TILE));

      lf_cuda_launch (q, score_queries<T>, grid, TILE_THREADS, 0, scores, of_frame + first * ld,
          of_frame + C, rows, pixels, C, 1 / sqrtf ((float) C));
      lf_cuda_launch (q, soften_rows, rows, TILE_THREADS, 0, scores, pixels);
      grid.x = lf_cuda_blocks (C, TILE);
      lf_cuda_launch (q, mix_values<T>, grid, TILE_THREADS, 0,
          y + ((gsize) frame * pixels + first) * C, scores, of_frame + 2 * C, rows, pixels, C);
    }
  }
  LF_CUDA_LAUNCHED (q, "attention between pixels");
}

/* -------------------------------------------------- bf16 on the tensor cores */

/* A block has 64 queries and walks over all keys, 64 at a time; its eight warps are four groups
 * of 16 queries, and of each one half of the keys while scores are made, of the channels while
 * values are mixed. Rows in shared memory are an odd number of 16-byte pieces apart, so that
 * eight of them can be read at once.
 *
 * Few queries leave multiprocessors idle. Then the keys are cut into shares, each a block's, which
 * leaves what it has in scratch memory; a second kernel puts the shares together. */

#define ROWS 64
#define KEYS 64
#define THREADS 256
#define SCORES_PITCH (KEYS + 8)
#define MAX_SHARES 8
#define JOIN_THREADS 256

/* What is made of the keys' shares; only one: nothing of it counts. */
typedef struct
{
  float *mixed;  /* (shares, frames pixels, C): values by weights relative to the largest score */
  float2 *state; /* (shares, frames pixels): the largest score, the sum of weights */
  gint count;    /* of shares */
  gint keys;     /* of a share: a multiple of KEYS */
  gint rows;     /* frames pixels */
} Shares;

static gint
row_pitch (gint C)
{
  return C + 8;
}

static gsize
shared_bytes (gint C)
{
  return 3 * (gsize) ROWS * row_pitch (C) * sizeof (LfBf16) + ROWS * SCORES_PITCH * sizeof (LfBf16)
         + 2 * ROWS * sizeof (float);
}

/* 64 rows of C channels, zeros behind the last of `rows`. */
__device__ __forceinline__ void
copy_rows (LfBf16 *tile, int pitch, const LfBf16 *x, int rows, int C)
{
  for (int i = 0; i < ROWS / 8; i++) {
    int row = threadIdx.x / 32 + 8 * i;

    for (int c = threadIdx.x % 32 * 8; c < C; c += 32 * 8)
      lf_copy_async (
          tile + row * pitch + c, x + (row < rows ? (gsize) row * 3 * C + c : 0), row < rows);
  }
}

/* What a warp has of its 16 queries: a thread has rows lane / 4 and that + 8. GROUPS is the
 * most groups of 16 channels that a warp has: every other one of C / 16. */
template <int GROUPS> struct Queries
{
  float out[GROUPS][2][4], maximum[2], sum[2];
};

/* s = this warp's 16 queries x 32 keys. */
__device__ __forceinline__ void
score_keys (float (&s)[4][4], const LfBf16 *queries, const LfBf16 *keys, int pitch, int C)
{
  const int lane = threadIdx.x % 32;

  queries += lane % 16 * pitch + lane / 16 * 8;
  keys += (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 8;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
      s[i][j] = 0;
#pragma unroll 2
  for (int c = 0; c < C; c += 16) {
    uint32_t a[4], b[4];

    lf_load_matrix (a, queries + c);
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      lf_load_matrix (b, keys + i * 8 * pitch + c);
      lf_mma (s[i], a, b[0], b[1]);
      lf_mma (s[i + 1], a, b[2], b[3]);
    }
  }
}

/* Largest score of each of a thread's two rows, over the warp's 32 keys; those from `keys` on
 * are not there. */
__device__ __forceinline__ void
find_maxima (float (&maximum)[2], float (&s)[4][4], int keys, float scale)
{
  maximum[0] = maximum[1] = -CUDART_INF_F;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int key = i * 8 + threadIdx.x % 4 * 2 + j % 2;

      s[i][j] = key < keys ? s[i][j] * scale : -CUDART_INF_F;
      maximum[j / 2] = fmaxf (maximum[j / 2], s[i][j]);
    }
#pragma unroll
  for (int j = 0; j < 2; j++) {
    maximum[j] = fmaxf (maximum[j], __shfl_xor_sync (0xffffffffu, maximum[j], 1));
    maximum[j] = fmaxf (maximum[j], __shfl_xor_sync (0xffffffffu, maximum[j], 2));
  }
}

/* Takes the new maxima: weights to shared memory, what is mixed so far scaled down. */
template <int GROUPS>
__device__ __forceinline__ void
soften (Queries<GROUPS> &q, const float (&s)[4][4], const float (&maximum)[2], LfBf16 *weights)
{
  const int lane = threadIdx.x % 32;

#pragma unroll
  for (int r = 0; r < 2; r++) {
    float most = fmaxf (q.maximum[r], maximum[r]);
    float shrink = exp2f (q.maximum[r] - most);

    q.maximum[r] = most;
    q.sum[r] *= shrink;
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
#pragma unroll
      for (int j = 0; j < 2; j++) {
        q.out[i][j][2 * r] *= shrink;
        q.out[i][j][2 * r + 1] *= shrink;
      }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float u = exp2f (s[i][2 * r] - most), v = exp2f (s[i][2 * r + 1] - most);

      q.sum[r] += u + v;
      *(__nv_bfloat162 *) (weights + (lane / 4 + 8 * r) * SCORES_PITCH + i * 8 + lane % 4 * 2) =
          __floats2bfloat162_rn (u, v);
    }
  }
}

/* Adds 64 values, weighted. */
template <int GROUPS>
__device__ __forceinline__ void
add_values (Queries<GROUPS> &q, const LfBf16 *weights, const LfBf16 *values, int pitch, int half,
    int groups)
{
  const int lane = threadIdx.x % 32;

  weights += lane % 16 * SCORES_PITCH + lane / 16 * 8;
  values += lane % 16 * pitch + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < KEYS; k += 16) {
    uint32_t a[4], b[4];

    lf_load_matrix (a, weights + k);
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
      int group = 2 * i + half;

      if (group < groups) {
        lf_load_matrix_transposed (b, values + k * pitch + group * 16);
        lf_mma (q.out[i][0], a, b[0], b[1]);
        lf_mma (q.out[i][1], a, b[2], b[3]);
      }
    }
  }
}

template <int GROUPS>
__device__ __forceinline__ void
put_rows (const Queries<GROUPS> &q, const float (&sum)[2], LfBf16 *y, int rows, int C, int half)
{
  const int lane = threadIdx.x % 32, groups = C / 16;

#pragma unroll
  for (int r = 0; r < 2; r++) {
    int row = lane / 4 + 8 * r;
    float scale = 1 / sum[r];

#pragma unroll
    for (int i = 0; i < GROUPS; i++)
#pragma unroll
      for (int j = 0; j < 2; j++)
        if (row < rows && 2 * i + half < groups)
          *(__nv_bfloat162 *) (y + (gsize) row * C + (2 * i + half) * 16 + j * 8 + lane % 4 * 2) =
              __floats2bfloat162_rn (q.out[i][j][2 * r] * scale, q.out[i][j][2 * r + 1] * scale);
  }
}

/* As put_rows, of a share; `first` is where the warp's rows begin among all. */
template <int GROUPS>
__device__ __forceinline__ void
leave_rows (const Queries<GROUPS> &q, const float (&sum)[2], const Shares &s, gsize first, int rows,
    int C, int half)
{
  const int lane = threadIdx.x % 32, groups = C / 16;

#pragma unroll
  for (int r = 0; r < 2; r++) {
    int row = lane / 4 + 8 * r;
    gsize at = (gsize) blockIdx.y * s.rows + first + row;

    if (row >= rows)
      continue;
    if (half == 0 && lane % 4 == 0)
      s.state[at] = make_float2 (q.maximum[r], sum[r]);
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
#pragma unroll
      for (int j = 0; j < 2; j++)
        if (2 * i + half < groups)
          *(float2 *) (s.mixed + at * C + (2 * i + half) * 16 + j * 8 + lane % 4 * 2) =
              make_float2 (q.out[i][j][2 * r], q.out[i][j][2 * r + 1]);
  }
}

/* A thread makes two channels of a row of all shares. */
static __global__ void
__launch_bounds__ (JOIN_THREADS) join_shares (LfBf16 *y, Shares s, int C)
{
  lf_kernel_begin ();
  gsize i = (gsize) blockIdx.x * JOIN_THREADS + threadIdx.x, row = i / (C / 2);
  int c = i % (C / 2) * 2;
  float most = -CUDART_INF_F, sum = 0;
  float2 mixed = {0, 0};

  if (row >= (gsize) s.rows)
    return;
  for (int k = 0; k < s.count; k++)
    most = fmaxf (most, s.state[(gsize) k * s.rows + row].x);
  for (int k = 0; k < s.count; k++) {
    gsize at = (gsize) k * s.rows + row;
    float2 state = s.state[at], v = *(const float2 *) (s.mixed + at * C + c);
    float weight = exp2f (state.x - most);

    sum += state.y * weight;
    mixed.x += v.x * weight;
    mixed.y += v.y * weight;
  }
  *(__nv_bfloat162 *) (y + row * C + c) = __floats2bfloat162_rn (mixed.x / sum, mixed.y / sum);
}

template <int GROUPS>
static __global__ void
__launch_bounds__ (THREADS, GROUPS == 3 ? 3 : 1) attend_mma (
    LfBf16 *y, const LfBf16 *qkv, int pixels, int C, int pieces, float scale, Shares shares)
{
  lf_kernel_begin ();
  extern __shared__ __align__ (128) unsigned char memory[];
  const int pitch = C + 8, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first_row = warp % 4 * 16, half = warp / 4;
  const int first = blockIdx.x % pieces * ROWS;
  const int from = blockIdx.y * shares.keys, end = min (pixels, from + shares.keys);
  LfBf16 *queries = (LfBf16 *) memory, *keys = queries + ROWS * pitch,
         *values = keys + KEYS * pitch;
  LfBf16 *weights = values + KEYS * pitch;
  float *shared = (float *) (weights + ROWS * SCORES_PITCH); /* (2, ROWS) */
  Queries<GROUPS> q = {};
  float s[4][4], maximum[2];

  qkv += (gsize) (blockIdx.x / pieces) * pixels * 3 * C;
  y += ((gsize) (blockIdx.x / pieces) * pixels + first) * C;
  q.maximum[0] = q.maximum[1] = -CUDART_INF_F;
  copy_rows (queries, pitch, qkv + (gsize) first * 3 * C, pixels - first, C);
  copy_rows (keys, pitch, qkv + (gsize) from * 3 * C + C, end - from, C);
  lf_copy_commit ();
  for (int key = from; key < end; key += KEYS) {
    const LfBf16 *next = qkv + (gsize) key * 3 * C;

    __syncthreads (); /* the values before have been used */
    copy_rows (values, pitch, next + 2 * C, end - key, C);
    lf_copy_commit ();
    lf_copy_wait<1> ();
    __syncthreads (); /* keys are there */
    score_keys (s, queries + first_row * pitch, keys + half * 32 * pitch, pitch, C);
    find_maxima (maximum, s, end - key - half * 32, scale);
    if (lane % 4 == 0) {
      shared[half * ROWS + first_row + lane / 4] = maximum[0];
      shared[half * ROWS + first_row + lane / 4 + 8] = maximum[1];
    }
    __syncthreads (); /* maxima are there, keys have been used */
    if (key + KEYS < end)
      copy_rows (keys, pitch, next + KEYS * 3 * (gsize) C + C, end - key - KEYS, C);
    lf_copy_commit ();
#pragma unroll
    for (int r = 0; r < 2; r++)
      maximum[r] = fmaxf (maximum[r], shared[(1 - half) * ROWS + first_row + lane / 4 + 8 * r]);
    soften (q, s, maximum, weights + first_row * SCORES_PITCH + half * 32);
    lf_copy_wait<1> ();
    __syncthreads (); /* values and weights are there */
    add_values (q, weights + first_row * SCORES_PITCH, values, pitch, half, C / 16);
  }
  /* both halves of the keys count */
#pragma unroll
  for (int r = 0; r < 2; r++) {
    q.sum[r] += __shfl_xor_sync (0xffffffffu, q.sum[r], 1);
    q.sum[r] += __shfl_xor_sync (0xffffffffu, q.sum[r], 2);
    if (lane % 4 == 0)
      shared[half * ROWS + first_row + lane / 4 + 8 * r] = q.sum[r];
  }
  __syncthreads ();
#pragma unroll
  for (int r = 0; r < 2; r++)
    maximum[r] = q.sum[r] + shared[(1 - half) * ROWS + first_row + lane / 4 + 8 * r];
  if (shares.count > 1)
    leave_rows (q, maximum, shares, (gsize) (blockIdx.x / pieces) * pixels + first + first_row,
        pixels - first - first_row, C, half);
  else
    put_rows (q, maximum, y + (gsize) first_row * C, pixels - first - first_row, C, half);
}

/* Cuts the keys into as many shares as there is room for at once; FALSE after a failure. */
template <int GROUPS>
static bool
cut_keys (LfQueue *q, Shares *s, gint blocks, gint frames, gint pixels, gint C)
{
  gint tiles = (gint) lf_cuda_blocks (pixels, KEYS), places = 0, per_share;
  gsize mixed;
  float *memory;

  if (!lf_cuda_ok (q,
          cudaOccupancyMaxActiveBlocksPerMultiprocessor (
              &places, attend_mma<GROUPS>, THREADS, shared_bytes (C)),
          "preparing attention between pixels"))
    return false;
  s->count = CLAMP (places * q->device->processors / blocks, 1, MIN (tiles, MAX_SHARES));
  per_share = (tiles + s->count - 1) / s->count;
  s->count = (tiles + per_share - 1) / per_share; /* none has nothing to do */
  s->keys = per_share * KEYS;
  s->rows = frames * pixels;
  if (s->count == 1)
    return true;
  mixed = (gsize) s->count * s->rows * C;
  memory = (float *) lf_cuda_scratch (
      q, LF_CUDA_SCRATCH_ATTENTION, (mixed + (gsize) s->count * s->rows * 2) * sizeof (float));
  s->mixed = memory;
  s->state = (float2 *) (memory + mixed);
  return memory != NULL;
}

template <int GROUPS>
static void
run_mma (LfQueue *q, LfBf16 *y, const LfBf16 *qkv, gint frames, gint pixels, gint C)
{
  gint pieces = (gint) lf_cuda_blocks (pixels, ROWS);
  Shares shares = {};

  if (!lf_cuda_allow_shared (q, attend_mma<GROUPS>, 0, "preparing attention between pixels")
      || !cut_keys<GROUPS> (q, &shares, frames * pieces, frames, pixels, C))
    return;
  lf_cuda_launch (q, attend_mma<GROUPS>, dim3 (frames * pieces, shares.count), THREADS,
      shared_bytes (C), y, qkv, pixels, C, pieces, LOG2_E / sqrtf ((float) C), shares);
  if (shares.count > 1)
    lf_cuda_launch (q, join_shares, lf_cuda_blocks ((gsize) shares.rows * (C / 2), JOIN_THREADS),
        JOIN_THREADS, 0, y, shares, C);
  LF_CUDA_LAUNCHED (q, "attention between pixels");
}

/* FALSE where the tensor cores cannot have it. */
static gboolean
attend_bf16 (LfQueue *q, LfBf16 *y, const LfBf16 *qkv, gint frames, gint pixels, gint C)
{
  if (q->backend->act != LF_DTYPE_BF16 || C % 16 || C > 384 || (gsize) qkv % 16 || (gsize) y % 4
      || shared_bytes (C) > q->device->shared_limit)
    return FALSE;
  if (C <= 96)
    run_mma<3> (q, y, qkv, frames, pixels, C);
  else if (C <= 192)
    run_mma<6> (q, y, qkv, frames, pixels, C);
  else
    run_mma<12> (q, y, qkv, frames, pixels, C);
  return TRUE;
}

extern "C" void
lf_cuda_pixel_attention (LfQueue *q, void *y, const void *qkv, gint frames, gint pixels, gint C)
{
  if (q->error || frames <= 0 || pixels <= 0 || C <= 0
      || attend_bf16 (q, (LfBf16 *) y, (const LfBf16 *) qkv, frames, pixels, C))
    return;
  LF_CUDA_DECODER_ACT (q, attend_any<T> (q, (T *) y, (const T *) qkv, frames, pixels, C));
}
