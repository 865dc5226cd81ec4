/* lightforce: attention on Hopper GPUs, dense and by block lists
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/hopper.cuh"

/* Blocks of three warpgroups, one a multiprocessor, do tiles of 128 queries of one head. The
 * first warpgroup's single working thread feeds key and value blocks through the copy engine;
 * the other two have 64 queries each and take turns: while one issues its matrix products, the
 * other does its softmax. Inside a warpgroup, the scores of block j + 1 are issued before
 * block j's values.
 *
 * As many tiles as fill all multiprocessors the same number of times are done whole. The keys of
 * the rest are shared out evenly, wherever that cuts a tile: what it has of a tile a block leaves
 * in scratch memory, and a second kernel puts the parts together.
 *
 * Where query blocks are 64 long, the two warpgroups have lists of their own: their union is
 * loaded, and each passes over what only the other wants. */

#define ROWS 128  /* queries of a block */
#define GROUP 128 /* threads of a warpgroup */
#define STAGES 2
#define CONSUMER_WARPS 8
#define PANEL 64 /* columns of a swizzled tile: 128 bytes */

#define MIN_CUT_STEPS 4 /* key blocks of a tile that is worth cutting */

#define FOR_BOTH 3
#define THE_END 4

/* What a stage of keys holds, in an int: who wants it (bit w: consumer w), and times 8 how many
 * keys come before the frame's end. */
__device__ __forceinline__ int
make_item (int wanted, int valid)
{
  return valid * 8 + wanted;
}

template <int D, int BK> struct Shared
{
  LfBf16 q[D / PANEL][ROWS][PANEL];
  LfBf16 keys[STAGES][D / PANEL][BK][PANEL];
  LfBf16 values[STAGES][D / PANEL][BK][PANEL];
  uint64_t q_full, q_free, keys_full[STAGES], keys_free[STAGES], values_full[STAGES],
      values_free[STAGES];
  int items[STAGES];
};

/* ---------------------------------------------------------------- schedule */

/* Tiles are numbered through all heads. */
struct Schedule
{
  int tiles;   /* of a head */
  int total;   /* of all heads */
  int whole;   /* that are done whole: a multiple of the grid, or all */
  int steps;   /* key blocks of a tile; only where not all are whole */
  float *part; /* (grid, 2, PART): what blocks have of the others */
};

/* The rows' sums (ROWS, D), maxima (ROWS) and sums of weights (ROWS). */
template <int D> constexpr int PART = ROWS *(D + 2);

/* Where in the key blocks of all tiles that are shared out block b begins. */
__device__ __forceinline__ gint64
share_begin (const Schedule &c, int b, int grid)
{
  return (gint64) (c.total - c.whole) * c.steps * b / grid;
}

/* What a block does, one after another. */
struct Segments
{
  int next;        /* tile */
  gint64 at, end;  /* of the share */
  int tile, first; /* the segment: `count` key blocks of a tile from `first` on, or */
  int count;       /* all where count is 0 */
  int part;        /* where to leave it, or -1: it is whole */

  __device__ __forceinline__
  Segments (const Schedule &c)
      : next (blockIdx.x), at (share_begin (c, blockIdx.x, gridDim.x)),
        end (share_begin (c, blockIdx.x + 1, gridDim.x)), tile (0), first (0), count (0), part (0)
  {
  }

  __device__ __forceinline__ bool
  advance (const Schedule &c)
  {
    if (next < c.whole) {
      tile = next;
      next += gridDim.x;
      first = count = 0;
      part = -1;
      return true;
    }
    if (at >= end)
      return false;
    tile = c.whole + at / c.steps;
    first = at % c.steps;
    count = min ((gint64) c.steps - first, end - at);
    part = count == c.steps ? -1
                            : 2 * (int) blockIdx.x + (at > share_begin (c, blockIdx.x, gridDim.x));
    at += count;
    return true;
  }
};

/* ---------------------------------------------------------------- producer */

struct Maps
{
  CUtensorMap q, keys, values;
};

/* Where the producer is. */
template <int D, int BK> struct Feed
{
  Shared<D, BK> *s;
  const Maps *maps;
  const LfCudaAttention *a;
  int head;
  int segment, keys, values; /* counts */

  __device__ void
  start (int tile)
  {
    lf_barrier_wait (&s->q_free, segment % 2 ^ 1);
    lf_barrier_expect (&s->q_full, ROWS * D * 2);
#pragma unroll
    for (int p = 0; p < D / PANEL; p++)
      lf_tma_load_2d (s->q[p], &maps->q, &s->q_full, head * D + p * PANEL, tile * ROWS);
    segment++;
  }

  __device__ void
  add (int frame, int first, int wanted)
  {
    int slot = a->slots ? a->slots[frame] : frame, stage = keys % STAGES;

    lf_barrier_wait (&s->keys_free[stage], keys / STAGES % 2 ^ 1);
    s->items[stage] = make_item (wanted, min (BK, a->n - first));
    lf_barrier_expect (&s->keys_full[stage], BK * D * 2);
#pragma unroll
    for (int p = 0; p < D / PANEL; p++)
      lf_tma_load_3d (
          s->keys[stage][p], &maps->keys, &s->keys_full[stage], head * D + p * PANEL, first, slot);
    keys++;
    stage = values % STAGES;
    lf_barrier_wait (&s->values_free[stage], values / STAGES % 2 ^ 1);
    lf_barrier_expect (&s->values_full[stage], BK * D * 2);
#pragma unroll
    for (int p = 0; p < D / PANEL; p++)
      lf_tma_load_3d (s->values[stage][p], &maps->values, &s->values_full[stage],
          head * D + p * PANEL, first, slot);
    values++;
  }

  __device__ void
  end ()
  {
    int stage = keys % STAGES;

    lf_barrier_wait (&s->keys_free[stage], keys / STAGES % 2 ^ 1);
    s->items[stage] = make_item (THE_END, 0);
    lf_barrier_arrive (&s->keys_full[stage]);
    keys++;
  }

  /* Entries from .. from + count - 1 of a list. */
  __device__ void
  add_list (const gint32 *list, int from, int count)
  {
    for (int i = from; i < from + count; i++)
      add (list[i] / a->frame_blocks, list[i] % a->frame_blocks * BK, FOR_BOTH);
  }

  /* The union of two ascending lists; the second may be empty. */
  __device__ void
  add_lists (const gint32 *x, const gint32 *y, int count_y)
  {
    int count_x = a->count, i = 0, k = 0;

    while (i < count_x || k < count_y) {
      int from_x = i < count_x ? x[i] : INT_MAX, from_y = k < count_y ? y[k] : INT_MAX;
      int block = min (from_x, from_y);

      add (block / a->frame_blocks, block % a->frame_blocks * BK,
          (from_x == block) | (from_y == block) << 1);
      i += from_x == block;
      k += from_y == block;
    }
  }

  /* Blocks from .. from + count - 1 of all that is visible. */
  __device__ void
  add_all (int from, int count)
  {
    int blocks = (a->n + BK - 1) / BK, frame = from / blocks, first = from % blocks * BK;

    for (int i = 0; i < count; i++) {
      add (frame, first, FOR_BOTH);
      first += BK;
      if (first >= a->n) {
        first = 0;
        frame++;
      }
    }
  }
};

template <int D, int BK>
__device__ void
produce (Shared<D, BK> *s, const Maps *maps, const LfCudaAttention *a, const Schedule &c)
{
  Feed<D, BK> feed = {s, maps, a, 0, 0, 0, 0};
  Segments seg (c);

  while (seg.advance (c)) {
    int tile = seg.tile % c.tiles;

    feed.head = seg.tile / c.tiles;
    feed.start (tile);
    if (!a->list) {
      feed.add_all (seg.first, seg.count ? seg.count : a->visible * ((a->n + BK - 1) / BK));
    } else {
      int per_tile = ROWS / a->block_q, block = tile * per_tile;
      const gint32 *list = a->list + ((gsize) feed.head * a->q_blocks + block) * a->count;

      if (per_tile == 1)
        feed.add_list (list, seg.first, seg.count ? seg.count : a->count);
      else
        feed.add_lists (list, list + a->count, block + 1 < a->q_blocks ? a->count : 0);
    }
    feed.end ();
  }
}

/* --------------------------------------------------------------- consumers */

__device__ __forceinline__ void
multiply_ss (float (&d)[64], uint64_t a, uint64_t b, int add)
{
  lf_wgmma_n128_ss (d, a, b, add);
}

__device__ __forceinline__ void
multiply_ss (float (&d)[32], uint64_t a, uint64_t b, int add)
{
  lf_wgmma_n64_ss (d, a, b, add);
}

__device__ __forceinline__ void
multiply_rs (float (&d)[64], const uint32_t (&a)[4], uint64_t b)
{
  lf_wgmma_n128_rs (d, a, b);
}

__device__ __forceinline__ void
multiply_rs (float (&d)[32], const uint32_t (&a)[4], uint64_t b)
{
  lf_wgmma_n64_rs (d, a, b);
}

/* A warpgroup's 64 queries. A thread has two rows of them: lane / 4 and that + 8 of its warp's
 * 16, in each of which 2 of every 8 columns. */
template <int D, int BK> struct Consumer
{
  Shared<D, BK> *s;
  int wg, keys, values; /* counts of what came */
  int pending;          /* the stage whose values are still to be added, or -1 */
  int pending_parity;
  float scale; /* 1 / sqrt (d) / ln 2 */
  float out[D / 2], maximum[2], sum[2];
  uint32_t weights[BK / 16][4];

  __device__ __forceinline__ void
  issue_scores (float (&score)[BK / 2], int stage)
  {
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      const int panel = k / 4, step = k % 4 * 16;

      multiply_ss (score, lf_tile_descriptor (&s->q[panel][wg * 64][step], 16, 1024),
          lf_tile_descriptor (&s->keys[stage][panel][0][step], 16, 1024), k > 0);
    }
  }

  __device__ __forceinline__ void
  issue_values (int stage)
  {
#pragma unroll
    for (int k = 0; k < BK / 16; k++)
      multiply_rs (
          out, weights[k], lf_tile_descriptor (&s->values[stage][0][k * 16][0], BK * 128, 1024));
  }

  __device__ __forceinline__ void
  release (uint64_t *barrier)
  {
    __syncwarp ();
    if (threadIdx.x % 32 == 0)
      lf_barrier_arrive (barrier);
  }

  __device__ __forceinline__ void
  my_turn ()
  {
    lf_named_sync (1 + wg, 2 * GROUP);
  }

  __device__ __forceinline__ void
  your_turn ()
  {
    lf_named_arrive (2 - wg, 2 * GROUP);
  }

  /* Scores to weights relative to the new maximum; `rescale` is for what was summed before. */
  __device__ __forceinline__ void
  softmax (float (&score)[BK / 2], int valid, float (&rescale)[2])
  {
    if (valid < BK) {
#pragma unroll
      for (int i = 0; i < BK / 2; i++)
        if (i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2 >= valid)
          score[i] = -CUDART_INF_F;
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float most = maximum[r], total = 0, base;

#pragma unroll
      for (int i = 0; i < BK / 8; i++)
        most = fmaxf (most, fmaxf (score[i * 4 + r * 2], score[i * 4 + r * 2 + 1]));
      most = fmaxf (most, __shfl_xor_sync (0xffffffffu, most, 1));
      most = fmaxf (most, __shfl_xor_sync (0xffffffffu, most, 2));
      rescale[r] = lf_exp2 ((maximum[r] - most) * scale);
      maximum[r] = most;
      base = most * scale;
#pragma unroll
      for (int i = 0; i < BK / 8; i++) {
#pragma unroll
        for (int c = 0; c < 2; c++) {
          float w = lf_exp2 (fmaf (score[i * 4 + r * 2 + c], scale, -base));

          score[i * 4 + r * 2 + c] = w;
          total += w;
        }
      }
      sum[r] = sum[r] * rescale[r] + total;
    }
  }

  __device__ __forceinline__ void
  take_weights (const float (&score)[BK / 2], const float (&rescale)[2])
  {
#pragma unroll
    for (int k = 0; k < BK / 16; k++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        weights[k][i] = lf_pack_bf16 (score[k * 8 + i * 2], score[k * 8 + i * 2 + 1]);
#pragma unroll
    for (int i = 0; i < D / 2; i++)
      out[i] *= rescale[i / 2 % 2];
  }

  __device__ __forceinline__ void
  start ()
  {
    pending = -1;
    maximum[0] = maximum[1] = -CUDART_INF_F;
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int i = 0; i < D / 2; i++)
      out[i] = 0;
  }

  /* One block of keys, after which its values are pending. */
  template <bool PENDING>
  __device__ __forceinline__ void
  step (int stage, int valid)
  {
    float score[BK / 2], rescale[2];

    if (PENDING)
      lf_barrier_wait (&s->values_full[pending], pending_parity);
    my_turn ();
    lf_wgmma_fence ();
    issue_scores (score, stage);
    lf_wgmma_commit ();
    if (PENDING) {
      issue_values (pending);
      lf_wgmma_commit ();
    }
    your_turn ();
    lf_wgmma_wait<PENDING ? 1 : 0> ();
    release (&s->keys_free[stage]);
    softmax (score, valid, rescale);
    if (PENDING) {
      /* touching the sums while they are being added to would serialise everything */
      lf_wgmma_wait<0> ();
      release (&s->values_free[pending]);
    }
    take_weights (score, rescale);
    pending = values % STAGES;
    pending_parity = values / STAGES % 2;
  }

  __device__ __forceinline__ void
  add_pending ()
  {
    lf_barrier_wait (&s->values_full[pending], pending_parity);
    lf_wgmma_fence ();
    issue_values (pending);
    lf_wgmma_commit ();
    lf_wgmma_wait<0> ();
    release (&s->values_free[pending]);
    pending = -1;
  }

  /* Read by the lane that says when the stage is free again. */
  __device__ __forceinline__ int
  take_item (int stage)
  {
    int item = 0;

    if (threadIdx.x % 32 == 0)
      item = s->items[stage];
    return __shfl_sync (0xffffffffu, item, 0);
  }

  __device__ __forceinline__ void
  consume ()
  {
    for (;; values++) {
      int stage = keys % STAGES, item;

      lf_barrier_wait (&s->keys_full[stage], keys / STAGES % 2);
      keys++;
      item = take_item (stage);
      if (item == THE_END) {
        release (&s->keys_free[stage]);
        break;
      }
      if (item >> wg & 1) {
        if (pending >= 0)
          step<true> (stage, item / 8);
        else
          step<false> (stage, item / 8);
      } else {
        my_turn ();
        your_turn ();
        if (pending >= 0)
          add_pending ();
        release (&s->keys_free[stage]);
        /* a phase of a barrier that nobody looked at would be taken for a later one */
        lf_barrier_wait (&s->values_full[values % STAGES], values / STAGES % 2);
        release (&s->values_free[values % STAGES]);
      }
    }
    if (pending >= 0)
      add_pending ();
#pragma unroll
    for (int r = 0; r < 2; r++) {
      sum[r] += __shfl_xor_sync (0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync (0xffffffffu, sum[r], 2);
    }
  }

  /* What this block has of a tile. */
  __device__ __forceinline__ void
  leave (float *part)
  {
    const int lane = threadIdx.x % 32, first = wg * 64 + threadIdx.x % GROUP / 32 * 16 + lane / 4;

#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int row = first + r * 8;

#pragma unroll
      for (int i = 0; i < D / 8; i++)
        *reinterpret_cast<float2 *> (part + row * D + i * 8 + lane % 4 * 2) =
            make_float2 (out[i * 4 + r * 2], out[i * 4 + r * 2 + 1]);
      if (lane % 4 == 0) {
        part[ROWS * D + row] = maximum[r];
        part[ROWS * (D + 1) + row] = sum[r];
      }
    }
  }

  /* By way of the queries' shared memory, where a warp's rows are its own, so that 16 bytes are
   * written at a time. */
  __device__ __forceinline__ void
  store (const LfCudaAttention *a, int tile, int head)
  {
    const int lane = threadIdx.x % 32, C = a->heads * D;
    const int first = wg * 64 + threadIdx.x % GROUP / 32 * 16; /* row of this warp */
    const float inverse[2] = {1.0f / sum[0], 1.0f / sum[1]};

#pragma unroll
    for (int i = 0; i < D / 8; i++) {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        int row = first + lane / 4 + r * 8, piece = i % 8 ^ row % 8;

        *reinterpret_cast<uint32_t *> (&s->q[i / 8][row][piece * 8 + lane % 4 * 2]) =
            lf_pack_bf16 (out[i * 4 + r * 2] * inverse[r], out[i * 4 + r * 2 + 1] * inverse[r]);
      }
    }
    __syncwarp ();
#pragma unroll
    for (int i = 0; i < 16 * D / 8 / 32; i++) {
      int at = i * 32 + lane, row = first + at / (D / 8), column = at % (D / 8);
      gint64 token = (gint64) tile * ROWS + row;

      if (token < a->L)
        *reinterpret_cast<uint4 *> (
            static_cast<LfBf16 *> (a->y) + token * C + head * D + column * 8) =
            *reinterpret_cast<const uint4 *> (&s->q[column / 8][row][(column % 8 ^ row % 8) * 8]);
    }
  }
};

/* ----------------------------------------------------------------- kernels */

template <int D, int BK>
__device__ __forceinline__ void
consume (Shared<D, BK> *s, const LfCudaAttention *a, const Schedule &c, int wg)
{
  Consumer<D, BK> consumer;
  Segments seg (c);
  int segment = 0;

  consumer.s = s;
  consumer.wg = wg;
  consumer.keys = consumer.values = 0;
  consumer.scale = rsqrtf ((float) D) * 1.44269504088896341f;
  if (wg == 1)
    consumer.your_turn ();
  for (; seg.advance (c); segment++) {
    consumer.start ();
    lf_barrier_wait (&s->q_full, segment % 2);
    consumer.consume ();
    if (seg.part < 0)
      consumer.store (a, seg.tile % c.tiles, seg.tile / c.tiles);
    else
      consumer.leave (c.part + (gsize) seg.part * PART<D>);
    /* the copy engine writes there next */
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    consumer.release (&s->q_free);
  }
  if (wg == 0)
    consumer.my_turn (); /* the other one's last word */
}

template <int D, int BK>
static __global__ void __launch_bounds__ (3 * GROUP, 1)
    attention_kernel (const __grid_constant__ Maps maps, const __grid_constant__ LfCudaAttention a,
        const __grid_constant__ Schedule c)
{
  extern __shared__ guint8 raw[];
  Shared<D, BK> *s = reinterpret_cast<Shared<D, BK> *> (
      (reinterpret_cast<guintptr> (raw) + 1023) & ~(guintptr) 1023);
  const int group = threadIdx.x / GROUP;

  if (threadIdx.x == 0) {
    lf_barrier_init (&s->q_full, 1);
    lf_barrier_init (&s->q_free, CONSUMER_WARPS);
    for (int i = 0; i < STAGES; i++) {
      lf_barrier_init (&s->keys_full[i], 1);
      lf_barrier_init (&s->values_full[i], 1);
      lf_barrier_init (&s->keys_free[i], CONSUMER_WARPS);
      lf_barrier_init (&s->values_free[i], CONSUMER_WARPS);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads ();
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    if (threadIdx.x == 0)
      produce (s, &maps, &a, c);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    consume (s, &a, c, group - 1);
  }
}

/* Puts a tile together that was cut. Block i - 1 looks at the border between what blocks i - 1 and
 * i of the first kernel did; of several in one tile the first counts. */
template <int D>
static __global__ void __launch_bounds__ (256) join_kernel (
    const __grid_constant__ LfCudaAttention a, const __grid_constant__ Schedule c, int grid)
{
  const int i = blockIdx.x + 1, C = a.heads * D;
  const gint64 border = share_begin (c, i, grid), before = share_begin (c, i - 1, grid);
  const gint64 begin = border / c.steps * c.steps, end = begin + c.steps;
  const int unit = c.whole + border / c.steps, head = unit / c.tiles;
  const float scale = rsqrtf ((float) D) * 1.44269504088896341f;

  if (border == begin || before > begin)
    return;
  for (int at = threadIdx.x; at < ROWS * D / 4; at += blockDim.x) {
    const int row = at / (D / 4), column = at % (D / 4) * 4;
    const gint64 token = (gint64) (unit % c.tiles) * ROWS + row;
    float most = -CUDART_INF_F, total = 0;
    float4 sum = {0, 0, 0, 0};

    if (token >= a.L)
      break;
    for (int k = i - 1; k < grid && share_begin (c, k, grid) < end; k++) {
      const gint64 from = share_begin (c, k, grid);
      const float *part = c.part + (gsize) (2 * k + (from < begin)) * PART<D>;
      float maximum, rescale, weight;
      float4 v;

      if (share_begin (c, k + 1, grid) == from)
        continue; /* it had nothing to do */
      maximum = fmaxf (most, part[ROWS * D + row]);
      rescale = lf_exp2 ((most - maximum) * scale);
      weight = lf_exp2 ((part[ROWS * D + row] - maximum) * scale);
      v = *reinterpret_cast<const float4 *> (part + row * D + column);
      sum.x = sum.x * rescale + v.x * weight;
      sum.y = sum.y * rescale + v.y * weight;
      sum.z = sum.z * rescale + v.z * weight;
      sum.w = sum.w * rescale + v.w * weight;
      total = total * rescale + part[ROWS * (D + 1) + row] * weight;
      most = maximum;
    }
    total = 1.0f / total;
    *reinterpret_cast<uint2 *> (static_cast<LfBf16 *> (a.y) + token * C + head * D + column) =
        make_uint2 (lf_pack_bf16 (sum.x * total, sum.y * total),
            lf_pack_bf16 (sum.z * total, sum.w * total));
  }
}

/* -------------------------------------------------------------------- host */

typedef CUresult (*EncodeFunc) (CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
    const cuuint64_t *, const cuuint64_t *, const cuuint32_t *, const cuuint32_t *,
    CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* The driver's function, by way of the runtime: nothing is linked to the driver. */
static EncodeFunc
find_encode (void)
{
  static gsize found;

  if (g_once_init_enter (&found)) {
    enum cudaDriverEntryPointQueryResult result;
    void *function = NULL;

    if (cudaGetDriverEntryPointByVersion (
            "cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result)
            != cudaSuccess
        || result != cudaDriverEntryPointSuccess)
      function = NULL;
    g_once_init_leave (&found, function ? (gsize) function : 1);
  }
  return found == 1 ? NULL : reinterpret_cast<EncodeFunc> (found);
}

/* (depth, height, width) of bf16, in boxes of PANEL columns and `rows` rows. */
static gboolean
encode (EncodeFunc f, CUtensorMap *map, const void *data, gint width, gint height, gint depth,
    gint rows)
{
  cuuint64_t size[3] = {(cuuint64_t) width, (cuuint64_t) height, (cuuint64_t) depth};
  cuuint64_t stride[2] = {size[0] * 2, size[0] * size[1] * 2};
  cuuint32_t box[3] = {PANEL, (cuuint32_t) rows, 1}, step[3] = {1, 1, 1};

  return f (map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, depth ? 3 : 2, const_cast<void *> (data), size,
             stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
         == CUDA_SUCCESS;
}

/* Cuts tiles only where all have the same number of key blocks. */
static Schedule
make_schedule (const LfCudaAttention *a, gint block_k, gint *grid)
{
  Schedule c = {};
  gboolean even = !a->list || a->block_q == ROWS;

  c.tiles = lf_cuda_blocks (a->L, ROWS);
  c.total = c.whole = c.tiles * a->heads;
  c.steps = a->list ? a->count : a->visible * (gint) lf_cuda_blocks (a->n, block_k);
  if (even && c.steps >= MIN_CUT_STEPS)
    c.whole = c.total / *grid * *grid;
  else
    *grid = MIN (*grid, c.total);
  return c;
}

template <int D, int BK>
static gboolean
launch (LfQueue *q, EncodeFunc f, const LfCudaAttention *a)
{
  gint C = a->heads * D, grid = q->device->processors;
  gsize bytes = sizeof (Shared<D, BK>) + 1024;
  Schedule c = make_schedule (a, BK, &grid);
  Maps maps;

  if (bytes > q->device->shared_limit || !encode (f, &maps.q, a->q, C, a->L, 0, ROWS)
      || !encode (f, &maps.keys, a->keys, C, a->n, a->n_slots, BK)
      || !encode (f, &maps.values, a->values, C, a->n, a->n_slots, BK)
      || !lf_cuda_ok (q,
          cudaFuncSetAttribute (
              attention_kernel<D, BK>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) bytes),
          "attention"))
    return FALSE;
  if (c.whole < c.total) {
    c.part = static_cast<float *> (lf_cuda_scratch (
        q, LF_CUDA_SCRATCH_ATTENTION, (gsize) grid * 2 * PART<D> * sizeof (float)));
    if (!c.part)
      return FALSE;
  }
  attention_kernel<D, BK><<<grid, 3 * GROUP, bytes, q->stream>>> (maps, *a, c);
  if (LF_CUDA_LAUNCHED (q, "attention") && c.whole < c.total && grid > 1) {
    join_kernel<D><<<grid - 1, 256, 0, q->stream>>> (*a, c, grid);
    LF_CUDA_LAUNCHED (q, "attention");
  }
  return TRUE;
}

gboolean
lf_cuda_attention_sm90 (LfQueue *q, const LfCudaAttention *a)
{
  EncodeFunc f;
  gint block_k = a->list ? a->block_k : 128;

  if (q->device->capability != 90 || (a->d != 64 && a->d != 128) || a->last_bias != 0
      || (a->list && a->block_q != 64 && a->block_q != 128) || (block_k != 64 && block_k != 128)
      || ((guintptr) a->q | (guintptr) a->keys | (guintptr) a->values | (guintptr) a->y) % 16
      || !(f = find_encode ()))
    return FALSE;
  if (a->d == 128)
    return block_k == 128 ? launch<128, 128> (q, f, a) : launch<128, 64> (q, f, a);
  return block_k == 128 ? launch<64, 128> (q, f, a) : launch<64, 64> (q, f, a);
}
