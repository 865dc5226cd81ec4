/* lightforce: attention on Hopper GPUs: who does what, and what feeds the work
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_ATTENTION_SM90_CUH
#define LF_CUDA_ATTENTION_SM90_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/hopper.cuh"

#define ROWS 128  /* queries of a block */
#define GROUP 128 /* threads of a warpgroup */
#define STAGES 2
#define CONSUMER_WARPS 8
#define PANEL 64 /* columns of a swizzled tile: 128 bytes */

#define JOIN_THREADS 256
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
  LfBf16 q[STAGES][D / PANEL][ROWS][PANEL]; /* the next tile's come while one is at work */
  LfBf16 keys[STAGES][D / PANEL][BK][PANEL];
  LfBf16 values[STAGES][D / PANEL][BK][PANEL];
  uint64_t q_full[STAGES], q_free[STAGES], keys_full[STAGES], keys_free[STAGES],
      values_full[STAGES], values_free[STAGES];
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

/* Where in the key blocks of all tiles that are shared out block b begins: there are less than
 * `grid` tiles, of so few steps that numbers fit 32 bits. */
__device__ __forceinline__ int
share_begin (const Schedule &c, int b, int grid)
{
  return (c.total - c.whole) * c.steps * b / grid;
}

/* What a block does, one after another. */
struct Segments
{
  int next;        /* tile */
  int at, end;     /* of the share */
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
    count = min (c.steps - first, end - at);
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
    int stage = segment % STAGES;

    lf_barrier_wait (&s->q_free[stage], segment / STAGES % 2 ^ 1);
    lf_barrier_expect (&s->q_full[stage], ROWS * D * 2);
#pragma unroll
    for (int p = 0; p < D / PANEL; p++)
      lf_tma_load_2d (
          s->q[stage][p], &maps->q, &s->q_full[stage], head * D + p * PANEL, tile * ROWS);
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

/* COUNTED: consumers know how many blocks come. */
template <int D, int BK, bool COUNTED>
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
    if (!COUNTED)
      feed.end ();
  }
}

#endif
