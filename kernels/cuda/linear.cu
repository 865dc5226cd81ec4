/* lightforce: linear layers on the GPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <cuda_fp8.h>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/lt.h"

/* cuBLASLt does the products, with bias and GELU on the way. What it cannot take (odd strides,
 * weights of another type than the activations) goes through a plain kernel of our own; other
 * epilogues are one more pass over the result. */

#define TILE 64 /* rows and columns of a block of the plain kernel */
#define TILE_K 16
#define THREADS 256

/* What comes after the product: see LfEpilogue. */
struct Finish
{
  LfEpilogue epilogue;
  const void *bias;                 /* (n_out) act, or NULL: none or added already */
  const float *gate;                /* (n_out), or NULL */
  const float *row_scale, *w_scale; /* (rows), (n_out): FP8 scales not applied yet, or NULL */
};

template <typename T>
__device__ __forceinline__ float
finish_one (const Finish &f, float v, float y, int row, int column)
{
  if (f.row_scale)
    v *= f.row_scale[row] * f.w_scale[column];
  if (f.bias)
    v += lf_load (static_cast<const T *> (f.bias) + column);
  switch (f.epilogue) {
    case LF_EPILOGUE_GELU:
      return lf_gelu_1 (v);
    case LF_EPILOGUE_SILU:
      return lf_silu_1 (v);
    case LF_EPILOGUE_RESIDUAL:
      return y + v * (f.gate ? f.gate[column] : 1.0f);
    case LF_EPILOGUE_MULTIPLY:
      return y * v;
    default:
      return v;
  }
}

/* y (rows, n_out) from v (rows, n_out); N values a thread, one where nothing is aligned. T is the
 * activations' type, Y that of y. */
template <typename T, typename Y, int N>
static __global__ void
finish_kernel (Y *y, int ldy, const T *v, gsize count, int n_out, Finish f)
{
  lf_kernel_begin ();
  gsize i = ((gsize) blockIdx.x * blockDim.x + threadIdx.x) * N;

  if (i >= count)
    return;
  int row = i / n_out, column = i % n_out;
  Y *to = y + (gsize) row * ldy + column;
  bool reads = f.epilogue == LF_EPILOGUE_RESIDUAL || f.epilogue == LF_EPILOGUE_MULTIPLY;

  if constexpr (N == 1) {
    lf_store (to, finish_one<T> (f, lf_load (v + i), reads ? lf_load (to) : 0, row, column));
  } else {
    float from[N], old[N];

    lf_load_values (from, v + i);
    if (reads)
      lf_load_values (old, to);
#pragma unroll
    for (int j = 0; j < N; j++)
      from[j] = finish_one<T> (f, from[j], reads ? old[j] : 0, row, column + j);
    lf_store_values (to, from);
  }
}

template <typename T, typename Y>
static void
finish (LfQueue *q, Y *y, gint ldy, const T *v, gint rows, gint n_out, const Finish &f)
{
  const int N = LfPack<T>::N;
  gsize count = (gsize) rows * n_out;

  if (n_out % N == 0 && ldy % N == 0 && (guintptr) y % 16 == 0 && (guintptr) v % 16 == 0)
    lf_cuda_launch (q, finish_kernel<T, Y, N>, lf_cuda_blocks (count / N, THREADS), THREADS, 0, y,
        ldy, v, count, n_out, f);
  else
    lf_cuda_launch (q, finish_kernel<T, Y, 1>, lf_cuda_blocks (count, THREADS), THREADS, 0, y, ldy,
        v, count, n_out, f);
  LF_CUDA_LAUNCHED (q, "a linear layer's epilogue");
}

/* ------------------------------------------------------------ plain product */

__device__ __forceinline__ float
load_weight (const void *w, LfDType dtype, gsize i)
{
  switch (dtype) {
    case LF_DTYPE_F32:
      return static_cast<const float *> (w)[i];
    case LF_DTYPE_BF16:
      return __bfloat162float (static_cast<const __nv_bfloat16 *> (w)[i]);
    case LF_DTYPE_F16:
      return __half2float (static_cast<const __half *> (w)[i]);
    default:
      return float (static_cast<const __nv_fp8_e4m3 *> (w)[i]);
  }
}

/* Blocks of TILE rows by TILE columns; each thread has 4 x 4 of them. T is the activations' type,
 * Y that of y, X that of x: activations, or FP8. */
template <typename T, typename Y, typename X>
static __global__ void
__launch_bounds__ (THREADS) product_kernel (Y *y, int ldy, const X *x, int rows, const void *w,
    LfDType dtype, int n_out, int n_in, Finish f)
{
  lf_kernel_begin ();
  __shared__ float xs[TILE_K][TILE + 4], ws[TILE_K][TILE + 4];
  int row = blockIdx.y * TILE, column = blockIdx.x * TILE;
  int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  float sum[4][4] = {};

  for (int k = 0; k < n_in; k += TILE_K) {
    for (int i = threadIdx.x; i < TILE * TILE_K; i += THREADS) {
      int r = i / TILE_K, c = i % TILE_K;
      bool inside = k + c < n_in;

      xs[c][r] = inside && row + r < rows ? float (x[(gsize) (row + r) * n_in + k + c]) : 0;
      ws[c][r] = inside && column + r < n_out
                     ? load_weight (w, dtype, (gsize) (column + r) * n_in + k + c)
                     : 0;
    }
    __syncthreads ();
#pragma unroll
    for (int c = 0; c < TILE_K; c++) {
      float a[4], b[4];

#pragma unroll
      for (int i = 0; i < 4; i++) {
        a[i] = xs[c][ty * 4 + i];
        b[i] = ws[c][tx * 4 + i];
      }
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          sum[i][j] += a[i] * b[j];
    }
    __syncthreads ();
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int r = row + ty * 4 + i, c = column + tx * 4 + j;

      if (r < rows && c < n_out) {
        Y *to = y + (gsize) r * ldy + c;

        lf_store (to, finish_one<T> (f, sum[i][j], lf_load (to), r, c));
      }
    }
  }
}

template <typename T, typename Y, typename X>
static void
plain (LfQueue *q, const LfLinear *w, Y *y, gint ldy, const X *x, gint rows, const Finish &f)
{
  dim3 grid (lf_cuda_blocks (w->n_out, TILE), lf_cuda_blocks (rows, TILE));

  lf_cuda_launch (q, product_kernel<T, Y, X>, grid, THREADS, 0, y, ldy, x, rows, w->weight,
      w->dtype, w->n_out, w->n_in, f);
  LF_CUDA_LAUNCHED (q, "a linear layer");
}

/* ---------------------------------------------------------------- the layer */

/* What cuBLASLt is asked to do of the epilogue; the rest is left in `f`. */
static LfLtProduct
ask_for (const LfLinear *w, const void *x, gint rows, Finish *f)
{
  LfLtProduct p = {};

  p.w = w;
  p.x = x;
  p.rows = rows;
  p.bias = w->bias != NULL;
  p.gelu = f->epilogue == LF_EPILOGUE_GELU;
  f->bias = NULL;
  if (p.gelu)
    f->epilogue = LF_EPILOGUE_NONE;
  return p;
}

/* Into y where nothing is left to do, else by way of scratch. FALSE if it has to go another
 * way. */
template <typename T, typename Y>
static gboolean
multiply (LfQueue *q, LfLtProduct *p, Y *y, gint ldy, const Finish &f)
{
  gint n_out = p->w->n_out;

  p->y = y;
  p->ldy = ldy;
  if (f.epilogue == LF_EPILOGUE_NONE && !f.row_scale)
    return lf_cuda_lt_multiply (q, p);
  p->y = lf_cuda_scratch (q, LF_CUDA_SCRATCH_LINEAR, (gsize) p->rows * n_out * sizeof (T));
  p->ldy = n_out;
  if (!p->y || !lf_cuda_lt_multiply (q, p))
    return FALSE;
  finish (q, y, ldy, static_cast<const T *> (p->y), p->rows, n_out, f);
  return TRUE;
}

template <typename T, typename Y>
static void
linear_act (LfQueue *q, const LfLinear *w, Y *y, gint ldy, const T *x, gint rows, Finish f)
{
  if (w->dtype == q->backend->act) {
    Finish rest = f;
    LfLtProduct p = ask_for (w, x, rows, &rest);

    if (multiply<T> (q, &p, y, ldy, rest) || q->error)
      return;
  }
  plain<T> (q, w, y, ldy, x, rows, f);
}

/* What a layer reads: activations, or FP8 with a scale a row. */
struct Input
{
  const void *x;
  const float *scale; /* NULL: x is activations */
  gint rows;
};

/* Quantises activations, a scale a row; x is NULL after a failure. */
static Input
quantized (LfQueue *q, const LfLinear *w, const Input &in)
{
  gsize bytes = ((gsize) in.rows * w->n_in + 255) & ~(gsize) 255;
  guint8 *x8 = static_cast<guint8 *> (
      lf_cuda_scratch (q, LF_CUDA_SCRATCH_FP8, bytes + (gsize) in.rows * sizeof (float)));
  float *scale = reinterpret_cast<float *> (x8 + bytes);

  if (x8)
    lf_cuda_quantize (q, x8, scale, in.x, q->backend->act, in.rows, w->n_in);
  return {x8, scale, in.rows};
}

template <typename T, typename Y>
static void
linear_fp8 (LfQueue *q, const LfLinear *w, Y *y, gint ldy, Input in, Finish f)
{
  if (!in.scale)
    in = quantized (q, w, in);
  if (!in.x)
    return;
  if (q->backend->act == LF_DTYPE_BF16) {
    Finish rest = f;
    LfLtProduct p = ask_for (w, in.x, in.rows, &rest);

    /* scales of rows and columns inside the product are Hopper's alone */
    p.x_scale = in.scale;
    if (q->device->capability == 90 && !q->device->avoid_sm90 && multiply<T> (q, &p, y, ldy, rest))
      return;
    p.x_scale = NULL;
    p.bias = p.gelu = FALSE;
    rest = f;
    rest.row_scale = in.scale;
    rest.w_scale = w->scale;
    if (q->error || multiply<T> (q, &p, y, ldy, rest))
      return;
  }
  f.row_scale = in.scale;
  f.w_scale = w->scale;
  if (!q->error)
    plain<T> (q, w, y, ldy, static_cast<const __nv_fp8_e4m3 *> (in.x), in.rows, f);
}

template <typename T, typename Y>
static void
linear_to (LfQueue *q, const LfLinear *w, Y *y, gint ldy, const Input &in, const Finish &f)
{
  if (w->dtype == LF_DTYPE_F8_E4M3)
    linear_fp8<T> (q, w, y, ldy, in, f);
  else
    linear_act<T> (q, w, y, ldy, static_cast<const T *> (in.x), in.rows, f);
}

void
lf_cuda_linear (LfQueue *q, const LfLinear *w, void *y, gint ldy, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue, const float *gate)
{
  Finish f = {epilogue, w->bias, gate, NULL, NULL};
  Input in = {x, x_scale, rows};

  if (q->error || rows <= 0 || w->n_out <= 0)
    return;
  if (epilogue == LF_EPILOGUE_RESIDUAL)
    LF_CUDA_ACT (q, linear_to<T> (q, w, static_cast<float *> (y), ldy, in, f));
  else
    LF_CUDA_ACT (q, linear_to<T> (q, w, static_cast<T *> (y), ldy, in, f));
}

/* cuBLASLt makes no FP8 with a scale a row, so what it gives is read once more in any case. That
 * takes as long as memory does, and GELU has its place there: in the product it takes time. */
void
lf_cuda_linear_to_fp8 (LfQueue *q, const LfLinear *w, void *y, float *y_scale, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue)
{
  gboolean gelu = epilogue == LF_EPILOGUE_GELU;
  LfDType act = q->backend->act;
  void *v;

  if (q->error || rows <= 0 || w->n_out <= 0)
    return;
  v = lf_cuda_scratch (q, LF_CUDA_SCRATCH_TO_FP8, (gsize) rows * w->n_out * lf_dtype_size (act));
  lf_cuda_linear (q, w, v, w->n_out, x, x_scale, rows, LF_EPILOGUE_NONE, NULL);
  if (gelu)
    lf_cuda_quantize_gelu (q, y, y_scale, v, rows, w->n_out);
  else
    lf_cuda_quantize (q, y, y_scale, v, act, rows, w->n_out);
}
