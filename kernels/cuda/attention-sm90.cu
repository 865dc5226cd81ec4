/* lightforce: attention on Hopper GPUs, dense and by block lists
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/hopper.cuh"

/* One block of three warpgroups does 128 queries of one head. The first one's single working
 * thread feeds key and value blocks through the copy engine; the other two have 64 queries
 * each and take turns: while one issues its matrix products, the other does its softmax.
 * Inside a warpgroup, the scores of block j + 1 are issued before block j's values.
 *
 * Where query blocks are 64 long, the two warpgroups have lists of their own: their union is
 * loaded, and each passes over what only the other wants. */

#define ROWS 128  /* queries of a block */
#define GROUP 128 /* threads of a warpgroup */
#define STAGES 2
#define CONSUMER_WARPS 8
#define PANEL 64 /* columns of a swizzled tile: 128 bytes */

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
  uint64_t q_full, keys_full[STAGES], keys_free[STAGES], values_full[STAGES], values_free[STAGES];
  int items[STAGES];
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
  int head, j;

  __device__ void
  add (int frame, int first, int wanted)
  {
    int stage = j % STAGES, parity = j / STAGES % 2 ^ 1;
    int slot = a->slots ? a->slots[frame] : frame;

    lf_barrier_wait (&s->keys_free[stage], parity);
    s->items[stage] = make_item (wanted, min (BK, a->n - first));
    lf_barrier_expect (&s->keys_full[stage], BK * D * 2);
#pragma unroll
    for (int p = 0; p < D / PANEL; p++)
      lf_tma_load_3d (
          s->keys[stage][p], &maps->keys, &s->keys_full[stage], head * D + p * PANEL, first, slot);
    lf_barrier_wait (&s->values_free[stage], parity);
    lf_barrier_expect (&s->values_full[stage], BK * D * 2);
#pragma unroll
    for (int p = 0; p < D / PANEL; p++)
      lf_tma_load_3d (s->values[stage][p], &maps->values, &s->values_full[stage],
          head * D + p * PANEL, first, slot);
    j++;
  }

  __device__ void
  end ()
  {
    int stage = j % STAGES;

    lf_barrier_wait (&s->keys_free[stage], j / STAGES % 2 ^ 1);
    s->items[stage] = make_item (THE_END, 0);
    lf_barrier_arrive (&s->keys_full[stage]);
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

  __device__ void
  add_all ()
  {
    for (int frame = 0; frame < a->visible; frame++)
      for (int first = 0; first < a->n; first += BK)
        add (frame, first, FOR_BOTH);
  }
};

template <int D, int BK>
__device__ void
produce (Shared<D, BK> *s, const Maps *maps, const LfCudaAttention *a, int tile, int head)
{
  Feed<D, BK> feed = {s, maps, a, head, 0};

  lf_barrier_expect (&s->q_full, ROWS * D * 2);
#pragma unroll
  for (int p = 0; p < D / PANEL; p++)
    lf_tma_load_2d (s->q[p], &maps->q, &s->q_full, head * D + p * PANEL, tile * ROWS);
  if (!a->list) {
    feed.add_all ();
  } else {
    int per_tile = ROWS / a->block_q, block = tile * per_tile;
    const gint32 *list = a->list + ((gsize) head * a->q_blocks + block) * a->count;

    if (per_tile == 1) {
      for (int i = 0; i < a->count; i++)
        feed.add (list[i] / a->frame_blocks, list[i] % a->frame_blocks * BK, FOR_BOTH);
    } else {
      feed.add_lists (list, list + a->count, block + 1 < a->q_blocks ? a->count : 0);
    }
  }
  feed.end ();
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
  int wg, pending; /* the stage whose values are still to be added, or -1 */
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

  /* One block of keys, after which its values are pending. */
  template <bool PENDING>
  __device__ __forceinline__ void
  step (int stage, int parity, int valid)
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
    pending = stage;
    pending_parity = parity;
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
    for (int j = 0;; j++) {
      int stage = j % STAGES, parity = j / STAGES % 2;

      lf_barrier_wait (&s->keys_full[stage], parity);
      int item = take_item (stage);
      if (item == THE_END)
        break;
      if (item >> wg & 1) {
        if (pending >= 0)
          step<true> (stage, parity, item / 8);
        else
          step<false> (stage, parity, item / 8);
      } else {
        my_turn ();
        your_turn ();
        if (pending >= 0)
          add_pending ();
        release (&s->keys_free[stage]);
        /* a phase of a barrier that nobody looked at would be taken for a later one */
        lf_barrier_wait (&s->values_full[stage], parity);
        release (&s->values_free[stage]);
      }
    }
    if (pending >= 0)
      add_pending ();
  }

  /* By way of the queries' shared memory, where a warp's rows are its own, so that 16 bytes are
   * written at a time. */
  __device__ __forceinline__ void
  store (const LfCudaAttention *a, int tile, int head)
  {
    const int lane = threadIdx.x % 32, C = a->heads * D;
    const int first = wg * 64 + threadIdx.x % GROUP / 32 * 16; /* row of this warp */
    float inverse[2];

#pragma unroll
    for (int r = 0; r < 2; r++) {
      sum[r] += __shfl_xor_sync (0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync (0xffffffffu, sum[r], 2);
      inverse[r] = 1.0f / sum[r];
    }
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

/* ------------------------------------------------------------------ kernel */

template <int D, int BK>
static __global__ void __launch_bounds__ (3 * GROUP, 1)
    attention_kernel (const __grid_constant__ Maps maps, const __grid_constant__ LfCudaAttention a)
{
  extern __shared__ guint8 raw[];
  Shared<D, BK> *s = reinterpret_cast<Shared<D, BK> *> (
      (reinterpret_cast<guintptr> (raw) + 1023) & ~(guintptr) 1023);
  const int tile = blockIdx.x, head = blockIdx.y, group = threadIdx.x / GROUP;

  if (threadIdx.x == 0) {
    lf_barrier_init (&s->q_full, 1);
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
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == 0)
      produce (s, &maps, &a, tile, head);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    Consumer<D, BK> c;

    c.s = s;
    c.wg = group - 1;
    c.pending = -1;
    c.pending_parity = 0;
    c.scale = rsqrtf ((float) D) * 1.44269504088896341f;
    c.maximum[0] = c.maximum[1] = -CUDART_INF_F;
    c.sum[0] = c.sum[1] = 0;
#pragma unroll
    for (int i = 0; i < D / 2; i++)
      c.out[i] = 0;
    if (c.wg == 1)
      c.your_turn ();
    lf_barrier_wait (&s->q_full, 0);
    c.consume ();
    if (c.wg == 0)
      c.my_turn (); /* the other one's last word */
    c.store (&a, tile, head);
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

template <int D, int BK>
static gboolean
launch (LfQueue *q, EncodeFunc f, const LfCudaAttention *a)
{
  gint C = a->heads * D;
  gsize bytes = sizeof (Shared<D, BK>) + 1024;
  dim3 grid (lf_cuda_blocks (a->L, ROWS), a->heads);
  Maps maps;

  if (bytes > q->device->shared_limit || !encode (f, &maps.q, a->q, C, a->L, 0, ROWS)
      || !encode (f, &maps.keys, a->keys, C, a->n, a->n_slots, BK)
      || !encode (f, &maps.values, a->values, C, a->n, a->n_slots, BK)
      || !lf_cuda_ok (q,
          cudaFuncSetAttribute (
              attention_kernel<D, BK>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) bytes),
          "attention"))
    return FALSE;
  attention_kernel<D, BK><<<grid, 3 * GROUP, bytes, q->stream>>> (maps, *a);
  LF_CUDA_LAUNCHED (q, "attention");
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
