/* lightforce: attention on the GPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cuda/attention.cuh"

/* The kernels with matrix instructions take bf16 and the head widths of published models; the
 * one here takes everything. */

#define ROWS 16         /* queries of a block */
#define KEYS 32         /* of a tile */
#define OWN_SHARED 8192 /* bytes beside those that depend on a head's width, at most */
#define THREADS 128

/* Shared memory: queries (ROWS, d), keys (KEYS, d + 1), values (KEYS, d), results (ROWS, d), all
 * f32; an odd pitch keeps the columns of keys on different banks. */
static gsize
shared_bytes (gint d)
{
  return ((gsize) ROWS * d * 2 + (gsize) KEYS * (2 * d + 1)) * sizeof (float);
}

/* A tile of up to KEYS keys from `from` on, those that end before `end`. */
template <typename T>
__device__ void
add_tile (const LfCudaAttention &a, const T *keys, const T *values, int first, int end, float *sq,
    float *sk, float *sv, float *so, float (*weight)[KEYS], float *maximum, float *sum)
{
  const int d = a.d, C = a.heads * d, count = min (KEYS, end - first);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  __syncthreads (); /* the tile before has been used */
  for (int i = threadIdx.x; i < count * d; i += THREADS) {
    int row = i / d, column = i % d;
    gsize at = (gsize) (first + row) * C + column;

    sk[row * (d + 1) + column] = lf_load (keys + at);
    sv[row * d + column] = lf_load (values + at);
  }
  __syncthreads ();
  /* a warp has 4 rows, a lane one key */
  for (int r = warp; r < ROWS; r += THREADS / 32) {
    float score = -CUDART_INF_F, most, rescale, w;

    if (lane < count) {
      score = 0;
      for (int i = 0; i < d; i++)
        score += sq[r * d + i] * sk[lane * (d + 1) + i];
      score = score * rsqrtf ((float) d) + (first + lane == a.n - 1 ? a.last_bias : 0);
    }
    most = fmaxf (maximum[r], lf_warp_max (score));
    rescale = expf (maximum[r] - most);
    w = expf (score - most);
    weight[r][lane] = w;
    w = lf_warp_sum (w);
    __syncwarp ();
    if (lane == 0) {
      sum[r] = sum[r] * rescale + w;
      maximum[r] = most;
    }
    for (int i = lane; i < d; i += 32) {
      float v = so[r * d + i] * rescale;

      for (int k = 0; k < count; k++)
        v += weight[r][k] * sv[k * d + i];
      so[r * d + i] = v;
    }
    __syncwarp ();
  }
}

template <typename T>
static __global__ void
__launch_bounds__ (THREADS) attention_kernel (const __grid_constant__ LfCudaAttention a)
{
  lf_kernel_begin ();
  extern __shared__ float shared[];
  __shared__ float weight[ROWS][KEYS], maximum[ROWS], sum[ROWS];
  static_assert (sizeof (weight) + sizeof (maximum) + sizeof (sum) <= OWN_SHARED);
  const int d = a.d, C = a.heads * d, head = blockIdx.y;
  float *sq = shared, *sk = sq + ROWS * d, *sv = sk + KEYS * (d + 1), *so = sv + KEYS * d;
  const int pieces = (a.block_q + ROWS - 1) / ROWS, block = blockIdx.x / pieces;
  const int first = block * a.block_q + blockIdx.x % pieces * ROWS;
  const int rows = min (ROWS, min ((block + 1) * a.block_q, a.L) - first);
  const gint32 *list = a.list ? a.list + ((gsize) head * a.q_blocks + block) * a.count : NULL;

  if (rows <= 0)
    return;
  for (int i = threadIdx.x; i < ROWS * d; i += THREADS) {
    int row = i / d, column = i % d;

    sq[i] = row < rows ? lf_load (
                static_cast<const T *> (a.q) + (gsize) (first + row) * C + head * d + column)
                       : 0;
    so[i] = 0;
  }
  if (threadIdx.x < ROWS) {
    maximum[threadIdx.x] = -CUDART_INF_F;
    sum[threadIdx.x] = 0;
  }
  for (int e = 0; e < a.count; e++) {
    int entry = list ? list[e] : e, frame = entry / a.frame_blocks;
    int start = entry % a.frame_blocks * a.block_k, end = min (start + a.block_k, a.n);
    gsize at = (gsize) (a.slots ? a.slots[frame] : frame) * a.n * C + head * d;

    for (int tile = start; tile < end; tile += KEYS)
      add_tile<T> (a, static_cast<const T *> (a.keys) + at, static_cast<const T *> (a.values) + at,
          tile, end, sq, sk, sv, so, weight, maximum, sum);
  }
  __syncthreads ();
  for (int i = threadIdx.x; i < rows * d; i += THREADS)
    lf_store (static_cast<T *> (a.y) + (gsize) (first + i / d) * C + head * d + i % d,
        so[i] / sum[i / d]);
}

template <typename T>
static void
plain (LfQueue *q, LfCudaAttention a)
{
  gsize bytes = shared_bytes (a.d);

  if (!a.list) {
    a.block_q = ROWS;
    a.q_blocks = (a.L + ROWS - 1) / ROWS;
    a.block_k = a.n;
    a.frame_blocks = 1;
  }
  if (bytes + OWN_SHARED > q->device->shared_limit) {
    lf_cuda_fail (q, LF_ERROR_UNSUPPORTED,
        "attention heads %d wide do not fit this GPU; choose backend=cpu", a.d);
    return;
  }
  if (!lf_cuda_allow_shared (q, attention_kernel<T>, OWN_SHARED, "attention"))
    return;
  dim3 grid (a.q_blocks * lf_cuda_blocks (a.block_q, ROWS), a.heads);
  lf_cuda_launch (q, attention_kernel<T>, grid, THREADS, bytes, a);
  LF_CUDA_LAUNCHED (q, "attention");
}

static void
attend (LfQueue *q, const LfCudaAttention *a)
{
  if (q->backend->act == LF_DTYPE_BF16) {
    if ((!q->device->avoid_sm90 && lf_cuda_attention_sm90 (q, a)) || q->error
        || lf_cuda_attention_mma (q, a) || q->error)
      return;
  }
  LF_CUDA_ACT (q, plain<T> (q, *a));
}

void
lf_cuda_attention (LfQueue *q, const LfAttention *a)
{
  LfCudaAttention job = {};
  gint i;

  if (q->error || a->frames <= 0)
    return;
  job.q = a->q;
  job.keys = a->keys;
  job.values = a->values;
  job.y = a->y;
  job.list = a->list;
  job.L = a->frames * a->n;
  job.n = a->n;
  job.visible = a->visible;
  job.heads = a->heads;
  job.d = a->d;
  job.count = a->list ? a->count : a->visible;
  job.block_q = a->block_q;
  job.block_k = a->block_k;
  if (a->list) {
    job.q_blocks = (job.L + a->block_q - 1) / a->block_q;
    job.frame_blocks = (a->n + a->block_k - 1) / a->block_k;
  }
  for (i = 0; i < a->visible; i++)
    job.n_slots = MAX (job.n_slots, a->slots[i] + 1);
  job.slots = lf_cuda_list (q, a->slots, a->visible);
  if (job.slots)
    attend (q, &job);
}

void
lf_cuda_text_attention (LfQueue *q, void *y, const void *queries, const void *k, const void *v,
    gint rows, gint tokens, gint heads, gint d, float last_bias)
{
  LfCudaAttention job = {};

  if (q->error || rows <= 0 || tokens <= 0)
    return;
  job.q = queries;
  job.keys = k;
  job.values = v;
  job.y = y;
  job.L = rows;
  job.n = tokens;
  job.visible = job.count = job.n_slots = 1;
  job.heads = heads;
  job.d = d;
  job.last_bias = last_bias;
  attend (q, &job);
}
