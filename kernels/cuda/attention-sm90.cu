/* lightforce: attention on Hopper GPUs, dense and by block lists
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cuda/attention-sm90.cuh"

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

/* What a consumer is made for. */
#define LAZY 1   /* scores are weighed relative to an older maximum until they outgrow it */
#define ALIKE 2  /* both warpgroups have the same keys, and know how many */
#define BIASED 4 /* the last key's score has something added */
#define GROWTH 8.0f

/* Nothing that reads sums may come before, as far as the compiler is concerned. */
template <int N>
__device__ __forceinline__ void
settle (float (&sum)[N])
{
#pragma unroll
  for (int i = 0; i < N; i++)
    asm volatile("" : "+f"(sum[i])::"memory");
}

/* A warpgroup's 64 queries. A thread has two rows of them: lane / 4 and that + 8 of its warp's
 * 16, in each of which 2 of every 8 columns. */
template <int D, int BK, int V> struct Consumer
{
  Shared<D, BK> *s;
  LfBf16 (*q)[ROWS][PANEL]; /* this tile's queries, (D / PANEL) of them */
  int wg;
  unsigned keys, values; /* counts of what came */
  int pending;           /* the stage whose values are still to be added, or -1 */
  int pending_parity;
  float scale; /* 1 / sqrt (d) / ln 2 */
  float bias;  /* of the last key, as scores are before they are scaled */
  float out[D / 2], maximum[2], sum[2];
  int limit[2]; /* bits of the score that is too large for the base, or INT_MIN */
  uint32_t weights[BK / 16][4];

  __device__ __forceinline__ void
  issue_scores (float (&score)[BK / 2], int stage)
  {
    const uint64_t of_q = lf_tile_descriptor (&q[0][wg * 64][0], 16, 1024);
    const uint64_t of_keys = lf_tile_descriptor (s->keys[stage], 16, 1024);

#pragma unroll
    for (int k = 0; k < D / 16; k++) {
      const int panel = k / 4, column = k % 4 * 16;

      multiply_ss (score, lf_descriptor_at (of_q, (panel * ROWS * PANEL + column) * 2),
          lf_descriptor_at (of_keys, (panel * BK * PANEL + column) * 2), k > 0);
    }
  }

  __device__ __forceinline__ void
  issue_values (int stage)
  {
    const uint64_t of_values = lf_tile_descriptor (s->values[stage], BK * 128, 1024);

#pragma unroll
    for (int k = 0; k < BK / 16; k++)
      multiply_rs (out, weights[k], lf_descriptor_at (of_values, k * 16 * PANEL * 2));
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

  /* Keys behind the frame's end have no weight. */
  __device__ __forceinline__ void
  mask (float (&score)[BK / 2], int valid)
  {
    if (valid < BK) {
#pragma unroll
      for (int i = 0; i < BK / 2; i++)
        if (i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2 >= valid)
          score[i] = -CUDART_INF_F;
    }
  }

  __device__ __forceinline__ void
  add_bias (float (&score)[BK / 2], int valid)
  {
#pragma unroll
    for (int i = 0; i < BK / 2; i++)
      if (i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2 == valid - 1)
        score[i] += bias;
  }

  /* Row r's largest score among this thread's. */
  __device__ __forceinline__ float
  largest (const float (&score)[BK / 2], int r)
  {
    float most = -CUDART_INF_F;

#pragma unroll
    for (int i = 0; i < BK / 8; i++)
      most = fmaxf (most, fmaxf (score[i * 4 + r * 2], score[i * 4 + r * 2 + 1]));
    return most;
  }

  /* Whether no row's scores have outgrown what they are weighed relative to by much; the same for
   * all of a warp. Floats above a positive one are in the order of their bits, and three integers
   * are compared at once. */
  __device__ __forceinline__ bool
  base_holds (const float (&score)[BK / 2])
  {
    int most[4] = {INT_MIN, INT_MIN, INT_MIN, INT_MIN}; /* two of each row */

#pragma unroll
    for (int i = 0; i < BK / 8; i++)
#pragma unroll
      for (int r = 0; r < 2; r++)
        most[i % 2 * 2 + r] = __vimax3_s32 (most[i % 2 * 2 + r],
            __float_as_int (score[i * 4 + r * 2]), __float_as_int (score[i * 4 + r * 2 + 1]));
    return __all_sync (
        0xffffffffu, (max (most[0], most[2]) < limit[0]) & (max (most[1], most[3]) < limit[1]));
  }

  /* Scores are weighed relative to the largest so far; `rescale` is for what was summed before. */
  __device__ __forceinline__ void
  find_base (const float (&score)[BK / 2], float (&rescale)[2])
  {
    const float growth = GROWTH / scale;

#pragma unroll
    for (int r = 0; r < 2; r++) {
      float most = fmaxf (maximum[r], largest (score, r));

      most = fmaxf (most, __shfl_xor_sync (0xffffffffu, most, 1));
      most = fmaxf (most, __shfl_xor_sync (0xffffffffu, most, 2));
      rescale[r] = lf_exp2 ((maximum[r] - most) * scale);
      maximum[r] = most;
      limit[r] = most + growth > 0 ? __float_as_int (most + growth) : INT_MIN;
      sum[r] *= rescale[r];
    }
  }

  /* Eight scores, of two rows, to weights. */
  __device__ __forceinline__ void
  weigh_8 (float (&score)[BK / 2], int k, const float (&base)[2])
  {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int r = i / 2 % 2;
      const float w = lf_exp2 (fmaf (score[k * 8 + i], scale, -base[r]));

      score[k * 8 + i] = w;
      sum[r] += w;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
      weights[k][i] = lf_pack_bf16 (score[k * 8 + i * 2], score[k * 8 + i * 2 + 1]);
  }

  __device__ __forceinline__ void
  scale_out (const float (&rescale)[2])
  {
#pragma unroll
    for (int i = 0; i < D / 2; i++)
      out[i] *= rescale[i / 2 % 2];
  }

  __device__ __forceinline__ void
  start ()
  {
    pending = -1;
    maximum[0] = maximum[1] = -CUDART_INF_F;
    limit[0] = limit[1] = INT_MIN;
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int i = 0; i < D / 2; i++)
      out[i] = 0;
  }

  /* One block of keys, after which its values are pending. `last`: none come behind it. */
  template <bool PENDING>
  __device__ __forceinline__ void
  step (int stage, int valid, bool last)
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
    settle (score);
    release (&s->keys_free[stage]);
    mask (score, valid);
    if (V & BIASED && last)
      add_bias (score, valid);
    const bool holds = V & LAZY ? base_holds (score) : false;

    if (!(V & LAZY))
      find_base (score, rescale);
    /* touching the sums while they are being added to would serialise everything */
    if (PENDING) {
      lf_wgmma_wait<0> ();
      settle (out);
      release (&s->values_free[pending]);
    }
    if (V & LAZY && !holds) {
      find_base (score, rescale);
      scale_out (rescale);
    }
    const float base[2] = {maximum[0] * scale, maximum[1] * scale};
#pragma unroll
    for (int k = 0; k < BK / 16; k++)
      weigh_8 (score, k, base);
    if (!(V & LAZY))
      scale_out (rescale);
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

  /* The next block of keys, when it is there; how many of them count. */
  __device__ __forceinline__ int
  await_keys (bool whole)
  {
    lf_barrier_wait (&s->keys_full[keys % STAGES], keys / STAGES % 2);
    return whole ? BK : take_item (keys % STAGES) / 8;
  }

  /* `count` key blocks, every one of which this warpgroup wants. `ends`: they are the last. */
  __device__ __forceinline__ void
  consume_all (int count, bool whole, bool ends)
  {
    int valid = await_keys (whole);

    step<false> (keys % STAGES, valid, ends && count == 1);
    for (keys++, values++; --count > 0; keys++, values++) {
      valid = await_keys (whole);
      step<true> (keys % STAGES, valid, ends && count == 1);
    }
    finish ();
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
          step<true> (stage, item / 8, false);
        else
          step<false> (stage, item / 8, false);
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
    finish ();
  }

  __device__ __forceinline__ void
  finish ()
  {
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

        *reinterpret_cast<uint32_t *> (&q[i / 8][row][piece * 8 + lane % 4 * 2]) =
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
            *reinterpret_cast<const uint4 *> (&q[column / 8][row][(column % 8 ^ row % 8) * 8]);
    }
  }
};

/* ----------------------------------------------------------------- kernels */

template <int D, int BK, int V>
__device__ __forceinline__ void
consume (Shared<D, BK> *s, const LfCudaAttention *a, const Schedule &c, int wg)
{
  Consumer<D, BK, V> consumer;
  Segments seg (c);
  int segment = 0;

  consumer.s = s;
  consumer.wg = wg;
  consumer.keys = consumer.values = 0;
  consumer.scale = rsqrtf ((float) D) * 1.44269504088896341f;
  consumer.bias = a->last_bias * sqrtf ((float) D);
  if (wg == 1)
    consumer.your_turn ();
  for (; seg.advance (c); segment++) {
    const int stage = segment % STAGES;

    consumer.start ();
    consumer.q = s->q[stage];
    lf_barrier_wait (&s->q_full[stage], segment / STAGES % 2);
    if constexpr (V & ALIKE)
      consumer.consume_all (seg.count ? seg.count : c.steps, a->n % BK == 0,
          seg.count == 0 || seg.first + seg.count == c.steps);
    else
      consumer.consume ();
    if (seg.part < 0)
      consumer.store (a, seg.tile % c.tiles, seg.tile / c.tiles);
    else
      consumer.leave (c.part + (gsize) seg.part * PART<D>);
    /* the copy engine writes there next */
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    consumer.release (&s->q_free[stage]);
  }
  if (wg == 0)
    consumer.my_turn (); /* the other one's last word */
}

template <int D, int BK, int V>
static __global__ void __launch_bounds__ (3 * GROUP, 1)
    attention_kernel (const __grid_constant__ Maps maps, const __grid_constant__ LfCudaAttention a,
        const __grid_constant__ Schedule c)
{
  extern __shared__ guint8 raw[];
  Shared<D, BK> *s = reinterpret_cast<Shared<D, BK> *> (
      (reinterpret_cast<guintptr> (raw) + 1023) & ~(guintptr) 1023);
  const int group = threadIdx.x / GROUP;

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      lf_barrier_init (&s->q_full[i], 1);
      lf_barrier_init (&s->q_free[i], CONSUMER_WARPS);
      lf_barrier_init (&s->keys_full[i], 1);
      lf_barrier_init (&s->values_full[i], 1);
      lf_barrier_init (&s->keys_free[i], CONSUMER_WARPS);
      lf_barrier_init (&s->values_free[i], CONSUMER_WARPS);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  lf_kernel_begin ();
  __syncthreads ();
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    if (threadIdx.x == 0)
      produce<D, BK, (V & ALIKE) != 0> (s, &maps, &a, c);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    consume<D, BK, V> (s, &a, c, group - 1);
  }
}

/* Puts a tile together that was cut. Blocks (i - 1, piece of the tile) look at the border between
 * what blocks i - 1 and i of the first kernel did; of several in one tile the first counts. */
template <int D>
static __global__ void
__launch_bounds__ (JOIN_THREADS) join_kernel (
    const __grid_constant__ LfCudaAttention a, const __grid_constant__ Schedule c, int grid)
{
  lf_kernel_begin ();
  const int i = blockIdx.x + 1, at = blockIdx.y * JOIN_THREADS + threadIdx.x;
  const int row = at / (D / 4), column = at % (D / 4) * 4, C = a.heads * D;
  const int border = share_begin (c, i, grid), before = share_begin (c, i - 1, grid);
  const int begin = border / c.steps * c.steps, end = begin + c.steps;
  const int unit = c.whole + border / c.steps;
  const gint64 token = (gint64) (unit % c.tiles) * ROWS + row;
  const float scale = rsqrtf ((float) D) * 1.44269504088896341f;
  float most = -CUDART_INF_F, total = 0;
  float4 sum = {0, 0, 0, 0};

  if (border == begin || before > begin || token >= a.L)
    return;
  for (int k = i - 1, from = before; k < grid && from < end; k++) {
    const int next = share_begin (c, k + 1, grid);

    if (next > from) { /* else it had nothing to do */
      const float *part = c.part + (gsize) (2 * k + (from < begin)) * PART<D>;
      const float4 v = *reinterpret_cast<const float4 *> (part + row * D + column);
      const float maximum = part[ROWS * D + row], weights = part[ROWS * (D + 1) + row];
      const float larger = fmaxf (most, maximum);
      const float rescale = lf_exp2 ((most - larger) * scale);
      const float weight = lf_exp2 ((maximum - larger) * scale);

      sum.x = sum.x * rescale + v.x * weight;
      sum.y = sum.y * rescale + v.y * weight;
      sum.z = sum.z * rescale + v.z * weight;
      sum.w = sum.w * rescale + v.w * weight;
      total = total * rescale + weights * weight;
      most = larger;
    }
    from = next;
  }
  total = 1.0f / total;
  *reinterpret_cast<uint2 *> (static_cast<LfBf16 *> (a.y) + token * C + unit / c.tiles * D
                              + column) = make_uint2 (lf_pack_bf16 (sum.x * total, sum.y * total),
      lf_pack_bf16 (sum.z * total, sum.w * total));
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
  if (even && c.steps >= MIN_CUT_STEPS && (gint64) c.steps * *grid * *grid <= G_MAXINT)
    c.whole = c.total / *grid * *grid;
  else
    *grid = MIN (*grid, c.total);
  return c;
}

template <int D, int BK, int V>
static gboolean
launch_as (LfQueue *q, EncodeFunc f, const LfCudaAttention *a)
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
              attention_kernel<D, BK, V>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) bytes),
          "attention"))
    return FALSE;
  if (c.whole < c.total) {
    c.part = static_cast<float *> (lf_cuda_scratch (
        q, LF_CUDA_SCRATCH_ATTENTION, (gsize) grid * 2 * PART<D> * sizeof (float)));
    if (!c.part)
      return FALSE;
  }
  lf_cuda_launch (q, attention_kernel<D, BK, V>, grid, 3 * GROUP, bytes, maps, *a, c);
  if (LF_CUDA_LAUNCHED (q, "attention") && c.whole < c.total && grid > 1) {
    lf_cuda_launch (q, join_kernel<D>, dim3 (grid - 1, ROWS * D / 4 / JOIN_THREADS), JOIN_THREADS,
        0, *a, c, grid);
    LF_CUDA_LAUNCHED (q, "attention");
  }
  return TRUE;
}

template <int D, int BK>
static gboolean
launch (LfQueue *q, EncodeFunc f, const LfCudaAttention *a)
{
  if (a->list && a->block_q != ROWS)
    return launch_as<D, BK, 0> (q, f, a);
  if constexpr (BK == 128) {
    if (a->last_bias != 0)
      return launch_as<D, BK, ALIKE | BIASED> (q, f, a);
  }
  if constexpr (D == 128 && BK == 128) {
    return launch_as<D, BK, ALIKE | LAZY> (q, f, a);
  }
  return launch_as<D, BK, ALIKE> (q, f, a);
}

gboolean
lf_cuda_attention_sm90 (LfQueue *q, const LfCudaAttention *a)
{
  EncodeFunc f;
  gint block_k = a->list ? a->block_k : 128;

  if (q->device->capability != 90 || (a->d != 64 && a->d != 128)
      || (a->list && a->block_q != 64 && a->block_q != 128) || (block_k != 64 && block_k != 128)
      || ((guintptr) a->q | (guintptr) a->keys | (guintptr) a->values | (guintptr) a->y) % 16
      || !(f = find_encode ()))
    return FALSE;
  if (a->d == 128)
    return block_k == 128 ? launch<128, 128> (q, f, a) : launch<128, 64> (q, f, a);
  return block_k == 128 ? launch<64, 128> (q, f, a) : launch<64, 64> (q, f, a);
}
