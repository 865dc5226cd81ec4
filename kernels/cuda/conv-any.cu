/* lightforce: convolution on the GPU, for any type and shape
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cuda/conv.cuh"

#define ANY_PIXELS 128
#define ANY_K 16 /* input channels of a step */
#define ANY_THREADS 256

/* Where a step stands: a tap and the first of its input channels. */
typedef struct
{
  gint t, row, column, c;
} Tap;

__device__ __forceinline__ void
next_tap (Tap *s, const Conv &a)
{
  s->c += ANY_K;
  if (s->c < a.c_in)
    return;
  s->c = 0;
  if (++s->column < a.kw)
    return;
  s->column = 0;
  if (++s->row < a.kh)
    return;
  s->row = 0;
  s->t++;
}

/* Eight input channels of the pixel (row, column) of `frame`, as tap s sees it. */
template <typename T>
__device__ __forceinline__ void
load_inputs (float *v, const Conv &a, const Tap &s, gint frame, gint row, gint column, gint c)
{
  gint y = row + s.row - a.kh / 2, x = column + s.column - a.kw / 2;
  bool inside = row < a.H && y >= 0 && y < a.H && x >= 0 && x < a.W;
  const T *from = (const T *) a.x[frame + s.t];

  c += s.c;
  if (inside)
    from += ((gint64) (y >> a.halvings) * a.x_width + (x >> a.halvings)) * a.c_in + c;
  if (a.wide) {
#pragma unroll
    for (int i = 0; i < 8; i += LfPack<T>::N) {
      LfPack<T> p;

      p.raw = make_uint4 (0, 0, 0, 0);
      if (inside && c + i < a.c_in)
        p = lf_load_pack (from + i);
#pragma unroll
      for (int j = 0; j < LfPack<T>::N; j++)
        v[i + j] = lf_load (&p.value[j]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++)
      v[i] = inside && c + i < a.c_in ? lf_load (from + i) : 0;
  }
}

/* COUNT weights of output channel n. */
template <typename W, int COUNT>
__device__ __forceinline__ void
load_weights (float *v, const Conv &a, const Tap &s, gint n, gint c)
{
  const W *from = (const W *) a.weight;

  c += s.c;
  from += ((((gint64) n * a.kt + s.t) * a.kh + s.row) * a.kw + s.column) * a.c_in + c;
#pragma unroll
  for (int i = 0; i < COUNT; i++)
    v[i] = n < a.channels && c + i < a.c_in ? lf_load (from + i) : 0;
}

/* A block makes 128 pixels of a frame x 16 COLUMNS channels, a thread 8 x COLUMNS of them. */
template <typename T, typename W, int COLUMNS>
static __global__ void
__launch_bounds__ (ANY_THREADS, COLUMNS == 1 ? 4 : 2) conv_any (const __grid_constant__ Conv a)
{
  lf_kernel_begin ();
  constexpr int N = 16 * COLUMNS, SPLIT = ANY_K / COLUMNS;
  __shared__ __align__ (16) float xs[ANY_K][ANY_PIXELS + 4];
  __shared__ __align__ (16) float ws[ANY_K][N + 4];
  const gint tid = threadIdx.x, tx = tid % 16, ty = tid / 16;
  const gint n0 = blockIdx.x % a.blocks * N, tile = blockIdx.x / a.blocks;
  const gint frame = tile / a.tiles, p0 = tile % a.tiles * ANY_PIXELS;
  const gint p = tid / 2, p_c = tid % 2 * 8;               /* what this thread loads: a pixel */
  const gint w = tid / SPLIT, w_c = tid % SPLIT * COLUMNS; /* and a channel's weights */
  const gint row = (p0 + p) / a.W, column = (p0 + p) % a.W;
  const gint steps = a.kt * a.kh * a.kw * ((a.c_in + ANY_K - 1) / ANY_K);
  float sum[8][COLUMNS] = {}, x_next[8], w_next[COLUMNS];
  Tap s = {0, 0, 0, 0};

  load_inputs<T> (x_next, a, s, frame, row, column, p_c);
  load_weights<W, COLUMNS> (w_next, a, s, n0 + w, w_c);
  for (gint step = 0; step < steps; step++) {
#pragma unroll
    for (int i = 0; i < 8; i++)
      xs[p_c + i][p] = x_next[i];
#pragma unroll
    for (int i = 0; i < COLUMNS; i++)
      ws[w_c + i][w] = w_next[i];
    __syncthreads ();
    if (step + 1 < steps) {
      next_tap (&s, a);
      load_inputs<T> (x_next, a, s, frame, row, column, p_c);
      load_weights<W, COLUMNS> (w_next, a, s, n0 + w, w_c);
    }
#pragma unroll
    for (int k = 0; k < ANY_K; k++) {
      float4 low = *(const float4 *) &xs[k][ty * 8], high = *(const float4 *) &xs[k][ty * 8 + 4];
      float u[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};

#pragma unroll
      for (int j = 0; j < COLUMNS; j++) {
        float v = ws[k][tx * COLUMNS + j];

#pragma unroll
        for (int i = 0; i < 8; i++)
          sum[i][j] += u[i] * v;
      }
    }
    __syncthreads ();
  }
#pragma unroll
  for (int i = 0; i < 8; i++) {
    gint at = p0 + ty * 8 + i;

#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
      if (at < a.H * a.W && n0 + tx * COLUMNS + j < a.channels)
        put<T> (a, frame, at, n0 + tx * COLUMNS + j, sum[i][j]);
  }
}

template <typename T, typename W>
static void
run_any (LfQueue *q, Conv a)
{
  gint columns = a.channels <= 16 ? 1 : 4;
  gint64 grid;

  if (a.kh == 1 && a.kw == 1 && !a.halvings) {
    /* no neighbours: the picture is one long row */
    a.W = a.x_width = a.W * a.H;
    a.H = 1;
  }
  a.tiles = lf_cuda_blocks ((gsize) a.H * a.W, ANY_PIXELS);
  a.blocks = (a.channels + 16 * columns - 1) / (16 * columns);
  a.wide = a.c_in % 8 == 0 && lf_cuda_conv_is_aligned (a);
  grid = (gint64) a.frames * a.tiles * a.blocks;
  if (grid > G_MAXINT32)
    lf_cuda_fail (
        q, LF_ERROR_SETTINGS, "pictures are too large for the GPU; choose a smaller size");
  else if (columns == 1)
    lf_cuda_launch (q, conv_any<T, W, 1>, (unsigned) grid, ANY_THREADS, 0, a);
  else
    lf_cuda_launch (q, conv_any<T, W, 4>, (unsigned) grid, ANY_THREADS, 0, a);
  LF_CUDA_LAUNCHED (q, "a convolution");
}

void
lf_cuda_conv_any (LfQueue *q, LfDType dtype, Conv a)
{
  LF_CUDA_DECODER_ACT (
      q, switch (dtype) {
        case LF_DTYPE_F32:
          run_any<T, float> (q, a);
          break;
        case LF_DTYPE_BF16:
          run_any<T, LfBf16> (q, a);
          break;
        case LF_DTYPE_F16:
          run_any<T, __half> (q, a);
          break;
        default:
          lf_cuda_fail (q, LF_ERROR_UNSUPPORTED, "a convolution has weights of an unknown type");
      });
}
