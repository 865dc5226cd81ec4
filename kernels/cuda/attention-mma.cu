/* lightforce: attention on any GPU with bf16 matrix instructions, dense and by block lists
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/mma.cuh"

/* A block does ROWS queries of one head, 16 a warp. Keys come in tiles of KEYS, gathered row by
 * row from the blocks of the list laid end to end, whatever their length, so that lists of
 * short blocks waste nothing; the next tile is on its way while one is worked on. */

#define KEYS 64
#define STAGES 2

template <int D, int ROWS> struct Shared
{
  LfBf16 q[ROWS * D];
  LfBf16 keys[STAGES][KEYS * D], values[STAGES][KEYS * D];
  float bias[STAGES][KEYS]; /* of the scores: -infinity where there is no key */
};

/* Element offset of 16-byte piece `piece` of a row, spread over the banks. */
template <int D>
__device__ __forceinline__ int
place (int row, int piece)
{
  return row * D + (piece ^ row % 8) * 8;
}

/* Starts the copies of tile `tile` to its stage. */
template <int D, int ROWS>
__device__ __forceinline__ void
fetch (Shared<D, ROWS> *s, const LfCudaAttention &a, const gint32 *list, int head, int tile)
{
  const int PIECES = D / 8, STEP = ROWS * 2 / PIECES; /* threads: 2 a row of queries */
  const int stage = tile % STAGES, piece = threadIdx.x % PIECES, C = a.heads * D;

#pragma unroll
  for (int i = 0; i < KEYS / STEP; i++) {
    int row = threadIdx.x / PIECES + i * STEP, at = tile * KEYS + row;
    int e = at / a.block_k, key = at % a.block_k, frame = e;
    bool there = e < a.count;
    gsize from = 0;

    if (there && list) {
      int entry = list[e];

      frame = entry / a.frame_blocks;
      key += entry % a.frame_blocks * a.block_k;
    }
    there = there && key < a.n;
    if (there)
      from = ((gsize) (a.slots ? a.slots[frame] : frame) * a.n + key) * C + head * D + piece * 8;
    lf_copy_async (
        &s->keys[stage][place<D> (row, piece)], static_cast<const LfBf16 *> (a.keys) + from, there);
    lf_copy_async (&s->values[stage][place<D> (row, piece)],
        static_cast<const LfBf16 *> (a.values) + from, there);
    if (piece == 0)
      s->bias[stage][row] = !there ? -CUDART_INF_F : key == a.n - 1 ? a.last_bias : 0;
  }
  lf_copy_commit ();
}

/* What a warp has of its 16 queries: a thread has rows lane / 4 and that + 8. */
template <int D> struct Rows
{
  uint32_t q[D / 16][4];
  float out[D / 8][4], maximum[2], sum[2];

  __device__ __forceinline__ void
  start ()
  {
#pragma unroll
    for (int i = 0; i < D / 8; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        out[i][j] = 0;
    maximum[0] = maximum[1] = -CUDART_INF_F;
    sum[0] = sum[1] = 0;
  }

  __device__ __forceinline__ void
  load_queries (const LfBf16 *tile)
  {
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane % 16;

#pragma unroll
    for (int k = 0; k < D / 16; k++)
      lf_load_matrix (q[k], tile + place<D> (row, k * 2 + lane / 16));
  }

  __device__ __forceinline__ void
  multiply_keys (float (&score)[KEYS / 8][4], const LfBf16 *keys)
  {
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < KEYS / 8; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        score[i][j] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
#pragma unroll
      for (int i = 0; i < KEYS / 16; i++) {
        uint32_t b[4];

        lf_load_matrix (
            b, keys + place<D> (i * 16 + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2));
        lf_mma (score[i * 2], q[k], b[0], b[1]);
        lf_mma (score[i * 2 + 1], q[k], b[2], b[3]);
      }
    }
  }

  __device__ __forceinline__ void
  softmax (float (&score)[KEYS / 8][4], const float *bias, float scale)
  {
    const int column = threadIdx.x % 4 * 2;
    float rescale[2];

#pragma unroll
    for (int i = 0; i < KEYS / 8; i++) {
      float2 b = *reinterpret_cast<const float2 *> (bias + i * 8 + column);

#pragma unroll
      for (int j = 0; j < 4; j++)
        score[i][j] = fmaf (score[i][j], scale, (j % 2 ? b.y : b.x) * 1.44269504088896341f);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float most = maximum[r], total = 0;

#pragma unroll
      for (int i = 0; i < KEYS / 8; i++)
        most = fmaxf (most, fmaxf (score[i][r * 2], score[i][r * 2 + 1]));
      most = fmaxf (most, __shfl_xor_sync (0xffffffffu, most, 1));
      most = fmaxf (most, __shfl_xor_sync (0xffffffffu, most, 2));
      rescale[r] = lf_exp2 (maximum[r] - most);
      maximum[r] = most;
#pragma unroll
      for (int i = 0; i < KEYS / 8; i++) {
#pragma unroll
        for (int c = 0; c < 2; c++) {
          score[i][r * 2 + c] = lf_exp2 (score[i][r * 2 + c] - most);
          total += score[i][r * 2 + c];
        }
      }
      sum[r] = sum[r] * rescale[r] + total;
    }
#pragma unroll
    for (int i = 0; i < D / 8; i++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        out[i][j] *= rescale[j / 2];
  }

  __device__ __forceinline__ void
  add_values (const float (&score)[KEYS / 8][4], const LfBf16 *values)
  {
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
      uint32_t a[4] = {lf_pack_bf16 (score[k * 2][0], score[k * 2][1]),
          lf_pack_bf16 (score[k * 2][2], score[k * 2][3]),
          lf_pack_bf16 (score[k * 2 + 1][0], score[k * 2 + 1][1]),
          lf_pack_bf16 (score[k * 2 + 1][2], score[k * 2 + 1][3])};

#pragma unroll
      for (int i = 0; i < D / 16; i++) {
        uint32_t b[4];

        lf_load_matrix_transposed (b, values + place<D> (k * 16 + lane % 16, i * 2 + lane / 16));
        lf_mma (out[i * 2], a, b[0], b[1]);
        lf_mma (out[i * 2 + 1], a, b[2], b[3]);
      }
    }
  }

  __device__ __forceinline__ void
  store (const LfCudaAttention &a, int first, int rows, int head)
  {
    const int lane = threadIdx.x % 32, C = a.heads * D;

#pragma unroll
    for (int r = 0; r < 2; r++) {
      int row = threadIdx.x / 32 * 16 + lane / 4 + r * 8;
      float total = sum[r];

      total += __shfl_xor_sync (0xffffffffu, total, 1);
      total += __shfl_xor_sync (0xffffffffu, total, 2);
      total = 1.0f / total;
      if (row < rows) {
        LfBf16 *y = static_cast<LfBf16 *> (a.y) + (gsize) (first + row) * C + head * D;

#pragma unroll
        for (int i = 0; i < D / 8; i++)
          *reinterpret_cast<uint32_t *> (y + i * 8 + lane % 4 * 2) =
              lf_pack_bf16 (out[i][r * 2] * total, out[i][r * 2 + 1] * total);
      }
    }
  }
};

template <int D, int ROWS>
static __global__ void
__launch_bounds__ (ROWS * 2) attention_kernel (const __grid_constant__ LfCudaAttention a)
{
  lf_kernel_begin ();
  extern __shared__ guint8 raw[];
  Shared<D, ROWS> *s = reinterpret_cast<Shared<D, ROWS> *> (raw);
  const int PIECES = D / 8;
  const int pieces = (a.block_q + ROWS - 1) / ROWS; /* of a query block */
  const int block = blockIdx.x / pieces, head = blockIdx.y, C = a.heads * D;
  const int first = block * a.block_q + blockIdx.x % pieces * ROWS;
  const int rows = min (ROWS, min ((block + 1) * a.block_q, a.L) - first);
  const gint32 *list = a.list ? a.list + ((gsize) head * a.q_blocks + block) * a.count : NULL;
  const int tiles = ((gint64) a.count * a.block_k + KEYS - 1) / KEYS;
  const float scale = rsqrtf ((float) D) * 1.44269504088896341f;
  Rows<D> w;

  if (rows <= 0)
    return;
  for (int i = threadIdx.x; i < ROWS * PIECES; i += ROWS * 2) {
    int row = i / PIECES, piece = i % PIECES;
    bool there = row < rows;

    lf_copy_async (&s->q[place<D> (row, piece)],
        static_cast<const LfBf16 *> (a.q) + (gsize) (there ? first + row : first) * C + head * D
            + piece * 8,
        there);
  }
  fetch<D, ROWS> (s, a, list, head, 0);
  w.start ();
  for (int tile = 0; tile < tiles; tile++) {
    const int stage = tile % STAGES;
    float score[KEYS / 8][4];

    lf_copy_wait ();
    __syncthreads (); /* this tile is there, and nobody reads the one before */
    if (tile == 0)
      w.load_queries (s->q);
    if (tile + 1 < tiles)
      fetch<D, ROWS> (s, a, list, head, tile + 1);
    w.multiply_keys (score, s->keys[stage]);
    w.softmax (score, s->bias[stage], scale);
    w.add_values (score, s->values[stage]);
  }
  w.store (a, first, rows, head);
}

template <int D, int ROWS>
static gboolean
launch (LfQueue *q, LfCudaAttention a)
{
  gsize bytes = sizeof (Shared<D, ROWS>);

  if (!a.list) {
    a.block_q = ROWS;
    a.q_blocks = (a.L + ROWS - 1) / ROWS;
    a.block_k = a.n;
    a.frame_blocks = 1;
  }
  if (bytes > q->device->shared_limit
      || !lf_cuda_ok (q,
          cudaFuncSetAttribute (
              attention_kernel<D, ROWS>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) bytes),
          "attention"))
    return FALSE;
  dim3 grid (a.q_blocks * lf_cuda_blocks (a.block_q, ROWS), a.heads);
  lf_cuda_launch (q, attention_kernel<D, ROWS>, grid, ROWS * 2, bytes, a);
  LF_CUDA_LAUNCHED (q, "attention");
  return TRUE;
}

gboolean
lf_cuda_attention_mma (LfQueue *q, const LfCudaAttention *a)
{
  gboolean tall = a->list ? a->block_q % 128 == 0 : a->L > 512;

  if ((a->d != 64 && a->d != 128)
      || ((guintptr) a->q | (guintptr) a->keys | (guintptr) a->values | (guintptr) a->y) % 16
      || (gint64) a->count * (a->list ? a->block_k : a->n) > G_MAXINT32 - KEYS)
    return FALSE;
  if (a->d == 128)
    return tall ? launch<128, 128> (q, *a) : launch<128, 64> (q, *a);
  return tall ? launch<64, 128> (q, *a) : launch<64, 64> (q, *a);
}
