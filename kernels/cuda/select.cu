/* lightforce: block pooling and selection on CUDA
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <float.h>
#include <stdint.h>

#include "kernels/cuda/common.cuh"

/* ----------------------------------------------------------------- pooling */

#define POOL_WARPS 16 /* rows that a block reads at once: few rounds, for memory is far */

typedef struct
{
  float *pooled;       /* (slots, blocks, C) */
  const void *x;       /* (slots, rows, C) act */
  const gint32 *slots; /* NULL: slot 0 */
  int rows, C, block, blocks;
} Pool;

/* CUDA blocks are (frame, block, piece of 32 N channels): a warp reads 32 N neighbours of a
 * row, the warps take the rows in turn. N is 1 or a pack. */
template <typename T, int N>
static __global__ void
pool_rows (Pool a)
{
  lf_kernel_begin ();
  __shared__ __align__ (16) float sums[POOL_WARPS][32 * N];
  int pieces = (a.C + 32 * N - 1) / (32 * N), piece = blockIdx.x % pieces;
  int block = blockIdx.x / pieces, frame = block / a.blocks;
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, c = (piece * 32 + lane) * N, rows;
  gsize slot = a.slots ? a.slots[frame] : 0;
  const T *x;
  float sum[N];

  block %= a.blocks;
  rows = min (a.block, a.rows - block * a.block);
  x = (const T *) a.x + (slot * a.rows + (gsize) block * a.block) * a.C + c;
#pragma unroll
  for (int j = 0; j < N; j++)
    sum[j] = 0;
  if (c < a.C)
#pragma unroll 8
    for (int i = warp; i < rows; i += POOL_WARPS) {
      if constexpr (N == 1) {
        sum[0] += lf_load (x + (gsize) i * a.C);
      } else {
        LfPack<T> p = lf_load_pack (x + (gsize) i * a.C);

#pragma unroll
        for (int j = 0; j < N; j++)
          sum[j] += lf_load (&p.value[j]);
      }
    }
  if constexpr (N == 1) {
    sums[warp][lane] = sum[0];
  } else {
#pragma unroll
    for (int j = 0; j < N; j += 4)
      *reinterpret_cast<float4 *> (&sums[warp][lane * N + j]) =
          make_float4 (sum[j], sum[j + 1], sum[j + 2], sum[j + 3]);
  }
  __syncthreads ();
  c = piece * 32 * N + threadIdx.x;
  if (threadIdx.x < 32 * N && c < a.C) {
    float total = 0;

#pragma unroll
    for (int i = 0; i < POOL_WARPS; i++)
      total += sums[i][threadIdx.x];
    a.pooled[(slot * a.blocks + block) * a.C + c] = total / rows;
  }
}

/* The mean of a frame from those of its blocks. */
static __global__ void
pool_means (float *means, Pool a)
{
  lf_kernel_begin ();
  int pieces = (a.C + blockDim.x - 1) / blockDim.x;
  int c = blockIdx.x % pieces * blockDim.x + threadIdx.x;
  gsize slot = a.slots[blockIdx.x / pieces];
  const float *pooled = a.pooled + slot * a.blocks * a.C + c;
  float sum = 0;

  if (c >= a.C)
    return;
#pragma unroll 8
  for (int i = 0; i < a.blocks; i++)
    sum += pooled[(gsize) i * a.C] * min (a.block, a.rows - i * a.block);
  means[slot * a.C + c] = sum / a.rows;
}

template <typename T>
static void
launch_pool (LfQueue *q, const Pool *a, gint frames)
{
  constexpr int N = LfPack<T>::N;
  gsize blocks = (gsize) frames * a->blocks;

  if (a->C % N == 0 && GPOINTER_TO_SIZE (a->x) % 16 == 0)
    lf_cuda_launch (
        q, pool_rows<T, N>, blocks * lf_cuda_blocks (a->C, 32 * N), 32 * POOL_WARPS, 0, *a);
  else
    lf_cuda_launch (q, pool_rows<T, 1>, blocks * lf_cuda_blocks (a->C, 32), 32 * POOL_WARPS, 0, *a);
}

void
lf_cuda_pool_blocks (LfQueue *q, float *y, const void *x, gint rows, gint C, gint block)
{
  Pool a = {y, x, NULL, rows, C, block, 0};

  if (q->error || rows <= 0 || C <= 0)
    return;
  a.blocks = lf_cuda_blocks (rows, block);
  LF_CUDA_ACT (q, launch_pool<T> (q, &a, 1));
  LF_CUDA_LAUNCHED (q, "pool_blocks");
}

void
lf_cuda_pool_frames (LfQueue *q, float *pooled, float *means, const void *cache,
    const gint32 *slots, gint frames, gint n, gint C, gint block)
{
  Pool a = {pooled, cache, NULL, n, C, block, 0};

  if (q->error || frames <= 0 || n <= 0 || C <= 0)
    return;
  a.blocks = lf_cuda_blocks (n, block);
  a.slots = lf_cuda_list (q, slots, frames);
  if (!a.slots)
    return;
  LF_CUDA_ACT (q, launch_pool<T> (q, &a, frames));
  if (LF_CUDA_LAUNCHED (q, "pool_frames") && means) {
    lf_cuda_launch (q, pool_means, frames * lf_cuda_blocks (C, 128), 128, 0, means, a);
    LF_CUDA_LAUNCHED (q, "pool_frames");
  }
}

/* --------------------------------------------------------------- selection */

#define QUERIES                                                                                    \
  4 /* query blocks of a CUDA block: keys are read once for them; a warp chooses for each */
#define SELECT_THREADS 512
#define KEY_LANES 8 /* lanes that share a dot product */

/* The bits of a float as an integer of the same order; -0 is 0. */
__device__ __forceinline__ uint32_t
ordered_bits (float v)
{
  uint32_t bits = v == 0 ? 0 : __float_as_uint (v);

  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* A score that is not a number must neither win nor break the order. */
__device__ __forceinline__ float
finite_score (float score)
{
  return score >= -FLT_MAX ? score : -FLT_MAX;
}

/* sum (QUERIES) = this lane's share of the queries' dot products with k. STEPS float4 of each
 * query are in registers: d is STEPS x KEY_LANES x 4. */
template <int STEPS>
__device__ __forceinline__ void
dot_share (float (&sum)[QUERIES], const float4 (&query)[QUERIES][STEPS], const float *k, int sub)
{
  float4 key[STEPS];

#pragma unroll
  for (int s = 0; s < STEPS; s++)
    key[s] = reinterpret_cast<const float4 *> (k)[s * KEY_LANES + sub];
#pragma unroll
  for (int s = 0; s < STEPS; s++)
#pragma unroll
    for (int i = 0; i < QUERIES; i++)
      sum[i] += query[i][s].x * key[s].x + query[i][s].y * key[s].y + query[i][s].z * key[s].z
                + query[i][s].w * key[s].w;
}

/* The same for any d and alignment. */
__device__ __forceinline__ void
dot_share_any (
    float (&sum)[QUERIES], const float *const (&query)[QUERIES], const float *k, int d, int sub)
{
  for (int c = sub; c < d; c += KEY_LANES) {
    float key = k[c];

#pragma unroll
    for (int i = 0; i < QUERIES; i++)
      sum[i] += query[i][c] * key;
  }
}

/* Rows of pooled keys to be scored, and where the scores go. */
typedef struct
{
  const float *k;      /* (slots, per, C) */
  const gint32 *slots; /* of the frames that the rows are of */
  int per, rows;
  uint32_t *score;      /* ordered bits (rows), of each query `stride` further */
  const uint32_t *keep; /* nonzero: a candidate; a frame's, strided the same; NULL: all */
  gsize stride;
} Scoring;

/* STEPS is 0 where queries do not fit registers. */
template <int STEPS>
static __device__ void
score_rows (const LfSelectBlocks &a, const Scoring &s, int head, int first)
{
  int C = a.heads * a.d, lane = threadIdx.x % 32, sub = lane % KEY_LANES;
  constexpr int ROWS = 32 / KEY_LANES; /* of a warp at once */
  const float *query[QUERIES];
  float4 held[QUERIES][STEPS ? STEPS : 1];

#pragma unroll
  for (int i = 0; i < QUERIES; i++) {
    query[i] = a.q_pooled + (gsize) min (first + i, a.q_blocks - 1) * C + head * a.d;
#pragma unroll
    for (int j = 0; j < STEPS; j++)
      held[i][j] = reinterpret_cast<const float4 *> (query[i])[j * KEY_LANES + sub];
  }
  for (int base = threadIdx.x / 32 * ROWS; base < s.rows; base += SELECT_THREADS / 32 * ROWS) {
    int row = base + lane / KEY_LANES, frame = row / s.per;
    float sum[QUERIES] = {}, mine = 0;
    bool wanted = row < s.rows, kept = true;

    if (wanted && s.keep) {
      wanted = false;
#pragma unroll
      for (int i = 0; i < QUERIES; i++)
        wanted |= s.keep[i * s.stride + frame] != 0;
      kept = sub < QUERIES && s.keep[sub * s.stride + frame];
    }
    if (wanted) {
      const float *k = s.k + ((gsize) s.slots[frame] * s.per + row % s.per) * C + head * a.d;

      if constexpr (STEPS > 0)
        dot_share (sum, held, k, sub);
      else
        dot_share_any (sum, query, k, a.d, sub);
    }
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
#pragma unroll
      for (int j = KEY_LANES / 2; j > 0; j /= 2)
        sum[i] += __shfl_xor_sync (0xffffffffu, sum[i], j);
      mine = sub == i ? sum[i] : mine;
    }
    if (row < s.rows && sub < QUERIES)
      s.score[sub * s.stride + row] = ordered_bits (kept ? finite_score (mine) : -INFINITY);
  }
}

/* One warp calls mark (i, rank) for the k largest of key (n), 1 <= k <= n; of equal ones for the
 * first; in order, so that rank counts up with i. The k-th largest is found bit by bit from the
 * top. */
template <typename Mark>
static __device__ void
choose (const uint32_t *key, int n, int k, Mark mark)
{
  const int lane = threadIdx.x % 32;
  const uint32_t below = (1u << lane) - 1;
  int ties = 0, before = 0; /* before: chosen ones in front of those at work */
  uint32_t least = 0;
  bool exact = false;

  for (int bit = 31; bit >= 0 && !exact; bit--) {
    uint32_t candidate = least | 1u << bit;
    int count = 0;

    for (int i = lane; i < n; i += 32)
      count += key[i] >= candidate;
    count = __reduce_add_sync (0xffffffffu, count);
    if (count >= k)
      least = candidate;
    exact = count == k;
  }
  if (!exact) { /* some of those that equal the k-th are too many */
    int count = 0;

    for (int i = lane; i < n; i += 32)
      count += key[i] > least;
    ties = k - __reduce_add_sync (0xffffffffu, count);
  }
  for (int base = 0; base < n; base += 32) {
    int i = base + lane;
    uint32_t value = i < n ? key[i] : 0;
    bool larger = i < n && (exact ? value >= least : value > least);
    bool equal = i < n && !exact && value == least;
    uint32_t tied = __ballot_sync (0xffffffffu, equal);
    bool chosen = larger || (equal && __popc (tied & below) < ties);
    uint32_t all = __ballot_sync (0xffffffffu, chosen);

    if (chosen)
      mark (i, before + __popc (all & below));
    before += __popc (all);
    ties -= min (ties, __popc (tied));
  }
}

/* CUDA blocks are (head, QUERIES query blocks). Scores lie in shared memory or, where they are
 * too many, in `scratch`: of each query block the scores (n) and what frames are kept
 * (visible). a.slots is on the device. */
template <int STEPS>
static __global__ void
__launch_bounds__ (SELECT_THREADS) select_blocks (LfSelectBlocks a, uint32_t *scratch)
{
  lf_kernel_begin ();
  extern __shared__ uint32_t in_shared[];
  int visible = a.past + a.frames, n = visible * a.frame_blocks;
  int tiles = (a.q_blocks + QUERIES - 1) / QUERIES;
  int head = blockIdx.x / tiles, first = blockIdx.x % tiles * QUERIES;
  int warp = threadIdx.x / 32, middle = a.past - a.keep_near - a.keep_sink;
  gsize stride = (gsize) n + visible;
  uint32_t *all = scratch ? scratch + blockIdx.x * QUERIES * stride : in_shared;
  uint32_t *score = all + warp * stride, *keep = score + n; /* where warp < QUERIES */
  Scoring of_blocks = {a.k_pooled, a.slots, a.frame_blocks, n, all, all + n, stride};

  for (int i = threadIdx.x % 32; i < visible && warp < QUERIES; i += 32)
    keep[i] = a.picked < 0 || i < a.keep_sink || i >= a.keep_sink + middle;
  if (a.picked > 0 && middle > 0) {
    Scoring of_frames = {a.k_means, a.slots + a.keep_sink, 1, middle, all, NULL, stride};

    score_rows<STEPS> (a, of_frames, head, first);
    __syncthreads ();
    if (warp < QUERIES)
      choose (score, middle, min (a.picked, middle),
          [&] (int i, int rank) { keep[a.keep_sink + i] = 1; });
  }
  __syncthreads ();
  score_rows<STEPS> (a, of_blocks, head, first);
  __syncthreads ();
  if (warp < QUERIES && first + warp < a.q_blocks) {
    gint32 *list = a.list + ((gsize) head * a.q_blocks + first + warp) * a.count;

    choose (score, n, min (a.count, n), [&] (int i, int rank) { list[rank] = i; });
  }
}

template <int STEPS>
static void
launch_select (LfQueue *q, const LfSelectBlocks *a)
{
  gint visible = a->past + a->frames;
  gsize bytes = ((gsize) visible * a->frame_blocks + visible) * QUERIES * sizeof (uint32_t);
  unsigned blocks = a->heads * lf_cuda_blocks (a->q_blocks, QUERIES);
  uint32_t *scratch = NULL;

  if (bytes > q->device->shared_limit) {
    scratch = (uint32_t *) lf_cuda_scratch (q, LF_CUDA_SCRATCH_MISC, bytes * blocks);
    if (!scratch)
      return;
    bytes = 0;
  } else if (bytes > 48 * 1024
             && !lf_cuda_allow_shared (q, select_blocks<STEPS>, 0, "select_blocks")) {
    return;
  }
  lf_cuda_launch (q, select_blocks<STEPS>, blocks, SELECT_THREADS, bytes, *a, scratch);
  LF_CUDA_LAUNCHED (q, "select_blocks");
}

void
lf_cuda_select_blocks (LfQueue *q, const LfSelectBlocks *a)
{
  LfSelectBlocks b = *a;
  gsize at = GPOINTER_TO_SIZE (a->q_pooled) | GPOINTER_TO_SIZE (a->k_pooled)
             | GPOINTER_TO_SIZE (a->k_means);

  if (q->error || a->q_blocks <= 0 || a->count <= 0)
    return;
  b.slots = lf_cuda_list (q, a->slots, a->past + a->frames);
  if (!b.slots)
    return;
  if (a->d == 4 * KEY_LANES * 4 && at % 16 == 0)
    launch_select<4> (q, &b);
  else
    launch_select<0> (q, &b);
}
