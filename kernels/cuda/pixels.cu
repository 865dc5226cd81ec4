/* lightforce: decoder operations on single pixels, on the GPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "core/layout.h"
#include "kernels/cuda/common.cuh"

#define THREADS 256

static gboolean
is_aligned (const void *p, gsize bytes)
{
  return (gsize) p % bytes == 0;
}

/* ------------------------------------------------------------------ norm */

#define NORM_FRAMES 32 /* of a launch */
#define NORM_PACKS 3   /* of a lane: channel counts of the Wan VAE are 3 x 2^k */
#define MIN_LENGTH 1e-12f

template <typename T>
__device__ __forceinline__ float
silu_as (float v)
{
  return sizeof (T) == sizeof (float) ? v / (1.0f + expf (-v)) : lf_silu_1 (v);
}

/* Where the pixels of a norm lie. A block has pixels of frame blockIdx.y. */
typedef struct
{
  void *y[NORM_FRAMES];
  const void *x;
  const float *gamma;
  gsize pixels;  /* of a frame */
  gint C, lanes; /* lanes of a pixel: a power of 2 up to 32 */
  float root;
  gboolean silu;
} Norm;

/* Neighbouring lanes share a pixel and keep it in registers. */
template <typename T>
static __global__ void
__launch_bounds__ (THREADS) norm_packs (const __grid_constant__ Norm a)
{
  lf_kernel_begin ();
  constexpr int N = LfPack<T>::N;
  const gint lane = threadIdx.x % a.lanes, packs = a.C / N;
  const gint per_warp = 32 / a.lanes, in_warp = threadIdx.x % 32 / a.lanes;
  const gsize warps = (gsize) gridDim.x * (THREADS / 32);
  gsize first = ((gsize) blockIdx.x * (THREADS / 32) + threadIdx.x / 32) * per_warp;
  const T *from = (const T *) a.x + blockIdx.y * a.pixels * a.C;
  T *to = (T *) a.y[blockIdx.y];
  float gamma[NORM_PACKS][N];

#pragma unroll
  for (int i = 0; i < NORM_PACKS; i++)
#pragma unroll
    for (int j = 0; j < N; j++)
      gamma[i][j] = lane + i * a.lanes < packs ? a.gamma[(lane + i * a.lanes) * N + j] : 0;
  for (; first < a.pixels; first += warps * per_warp) { /* the same for all of a warp */
    const bool inside = first + in_warp < a.pixels;
    const gsize at = (first + in_warp) * a.C + lane * N;
    LfPack<T> x[NORM_PACKS];
    float sum = 0;

#pragma unroll
    for (int i = 0; i < NORM_PACKS; i++) {
      x[i].raw = make_uint4 (0, 0, 0, 0);
      if (inside && lane + i * a.lanes < packs)
        x[i] = lf_load_pack (from + at + i * a.lanes * N);
#pragma unroll
      for (int j = 0; j < N; j++)
        sum += lf_load (&x[i].value[j]) * lf_load (&x[i].value[j]);
    }
    for (gint i = a.lanes / 2; i > 0; i /= 2)
      sum += __shfl_xor_sync (0xffffffffu, sum, i);
    sum = a.root / fmaxf (sqrtf (sum), MIN_LENGTH);
#pragma unroll
    for (int i = 0; i < NORM_PACKS; i++) {
      if (!inside || lane + i * a.lanes >= packs)
        continue;
#pragma unroll
      for (int j = 0; j < N; j++) {
        float v = lf_load (&x[i].value[j]) * sum * gamma[i][j];

        lf_store (&x[i].value[j], a.silu ? silu_as<T> (v) : v);
      }
      lf_store_pack (to + at + i * a.lanes * N, x[i]);
    }
  }
}

/* Any number of channels: a warp has a pixel. */
template <typename T>
static __global__ void
__launch_bounds__ (THREADS) norm_any (const __grid_constant__ Norm a)
{
  lf_kernel_begin ();
  const gint lane = threadIdx.x % 32;
  const gsize warps = (gsize) gridDim.x * (THREADS / 32);
  gsize pixel = (gsize) blockIdx.x * (THREADS / 32) + threadIdx.x / 32;

  for (; pixel < a.pixels; pixel += warps) {
    const T *x = (const T *) a.x + (blockIdx.y * a.pixels + pixel) * a.C;
    T *y = (T *) a.y[blockIdx.y] + pixel * a.C;
    float sum = 0;

    for (gint c = lane; c < a.C; c += 32)
      sum += lf_load (x + c) * lf_load (x + c);
    sum = a.root / fmaxf (sqrtf (lf_warp_sum (sum)), MIN_LENGTH);
    for (gint c = lane; c < a.C; c += 32) {
      float v = lf_load (x + c) * sum * a.gamma[c];

      lf_store (y + c, a.silu ? silu_as<T> (v) : v);
    }
  }
}

template <typename T>
static void
run_norm (LfQueue *q, Norm a, gint frames)
{
  const gsize limit = lf_cuda_blocks (16 * (gsize) q->device->processors, frames);
  const gint packs = a.C / LfPack<T>::N;
  gboolean aligned = is_aligned (a.x, 16);

  a.lanes = 1;
  while (a.lanes < 32 && a.lanes * NORM_PACKS < packs)
    a.lanes *= 2;
  for (gint i = 0; i < frames; i++)
    aligned = aligned && is_aligned (a.y[i], 16);
  if (a.C % LfPack<T>::N == 0 && packs <= 32 * NORM_PACKS && aligned)
    lf_cuda_launch (q, norm_packs<T>,
        dim3 (MIN (lf_cuda_blocks (a.pixels, THREADS / a.lanes), limit), frames), THREADS, 0, a);
  else
    lf_cuda_launch (q, norm_any<T>,
        dim3 (MIN (lf_cuda_blocks (a.pixels, THREADS / 32), limit), frames), THREADS, 0, a);
  LF_CUDA_LAUNCHED (q, "normalising pixels");
}

extern "C" void
lf_cuda_pixel_norm_silu (LfQueue *q, void *const *y, const void *x, const float *gamma, gint frames,
    gsize pixels, gint C, gboolean silu)
{
  const gsize frame = pixels * C * lf_dtype_size (q->backend->act);
  Norm a = {};

  if (pixels == 0 || C <= 0)
    return;
  a.gamma = gamma;
  a.pixels = pixels;
  a.C = C;
  a.root = sqrtf ((float) C);
  a.silu = silu;
  for (gint first = 0; first < frames && !q->error; first += NORM_FRAMES) {
    gint n = MIN (frames - first, NORM_FRAMES);

    a.x = (const guint8 *) x + first * frame;
    for (gint i = 0; i < n; i++)
      a.y[i] = y[first + i];
    LF_CUDA_DECODER_ACT (q, run_norm<T> (q, a, n));
  }
}

/* ----------------------------------------------------------------- copies */

/* Pixels are copied in units as large as their size and place allow. */
static gint
unit_bytes (const void *y, const void *x, gsize pixel)
{
  gint bytes = 16;

  while (bytes > 2 && (pixel % bytes || !is_aligned (y, bytes) || !is_aligned (x, bytes)))
    bytes /= 2;
  return bytes;
}

/* Runs the statement with U as a type of `bytes`. */
#define WITH_UNIT(bytes, ...)                                                                      \
  do {                                                                                             \
    if ((bytes) == 16) {                                                                           \
      typedef uint4 U;                                                                             \
      __VA_ARGS__;                                                                                 \
    } else if ((bytes) == 8) {                                                                     \
      typedef uint2 U;                                                                             \
      __VA_ARGS__;                                                                                 \
    } else if ((bytes) == 4) {                                                                     \
      typedef guint32 U;                                                                           \
      __VA_ARGS__;                                                                                 \
    } else {                                                                                       \
      typedef guint16 U;                                                                           \
      __VA_ARGS__;                                                                                 \
    }                                                                                              \
  } while (0)

#define BESIDE_PIXELS 32 /* of a block */

template <typename U>
static __global__ void
__launch_bounds__ (THREADS)
    beside_past (U *y, const U *x, const U *past, gsize count, gsize frame, gint units)
{
  lf_kernel_begin ();
  const gsize first = (gsize) blockIdx.x * BESIDE_PIXELS;
  const gint n = (gint) MIN (count - first, (gsize) BESIDE_PIXELS) * units;

  const gsize at = first * units;
  const gint beside = at < frame ? (gint) MIN (frame - at, (gsize) n) : 0; /* those of the first */

  x += at;
  past += at;
  y += 2 * at;
  for (gint i = threadIdx.x; i < n; i += THREADS) {
    U *to = y + i + i / units * units;

    to[0] = x[i];
    to[units] = i < beside ? past[i] : x[i - (gssize) frame];
  }
}

extern "C" void
lf_cuda_beside_past (
    LfQueue *q, void *y, const void *x, const void *past, gint frames, gsize pixels, gint C)
{
  gsize pixel = C * lf_dtype_size (q->backend->act), count = frames * pixels;
  gint bytes = MIN (unit_bytes (y, x, pixel), unit_bytes (y, past, pixel));

  if (q->error || frames <= 0 || pixels == 0 || C <= 0)
    return;
  WITH_UNIT (bytes, lf_cuda_launch (q, beside_past<U>, lf_cuda_blocks (count, BESIDE_PIXELS),
                        THREADS, 0, (U *) y, (const U *) x, (const U *) past, count,
                        pixels * (pixel / bytes), (gint) (pixel / bytes)));
  LF_CUDA_LAUNCHED (q, "putting frames beside those before");
}

/* ---------------------------------------------------------------- latents */

#define FEW_CHANNELS 128 /* numbers of these go with the launch */

typedef struct
{
  const float *scale, *shift; /* on the device, or NULL: those here */
  float few_scale[FEW_CHANNELS], few_shift[FEW_CHANNELS];
} LatentRange;

template <typename T>
static __global__ void
__launch_bounds__ (THREADS) latent_pixels (T *y, const float *latent, gint Z, gsize pixels,
    const __grid_constant__ LatentRange range, float bound)
{
  lf_kernel_begin ();
  const gsize i = (gsize) blockIdx.x * THREADS + threadIdx.x;
  gint z;
  float v;

  if (i >= pixels * Z)
    return;
  z = (gint) (i / pixels);
  v = fmaf (latent[i], range.scale ? range.scale[z] : range.few_scale[z],
      range.shift ? range.shift[z] : range.few_shift[z]);
  lf_store (y + (i - z * pixels) * Z + z, bound > 0 ? bound * tanhf (v / bound) : v);
}

/* Many channels: scale and shift on the device. */
static gboolean
upload_range (LfQueue *q, LatentRange *range, gint Z, const float *scale, const float *shift)
{
  float *device = (float *) lf_cuda_scratch (q, LF_CUDA_SCRATCH_MISC, 2 * Z * sizeof (float));
  float *host;
  gint i;

  if (!device)
    return FALSE;
  host = g_new (float, 2 * (gsize) Z);
  for (i = 0; i < Z; i++) {
    host[i] = scale ? scale[i] : 1;
    host[Z + i] = shift ? shift[i] : 0;
  }
  lf_cuda_upload (q, device, host, 2 * Z * sizeof (float));
  g_free (host);
  range->scale = device;
  range->shift = device + Z;
  return q->error == NULL;
}

extern "C" void
lf_cuda_latent_to_pixels (LfQueue *q, void *y, const float *latent, gint Z, gint H, gint W,
    const float *scale, const float *shift, float bound)
{
  gsize pixels = (gsize) H * W;
  LatentRange range = {};
  gint i;

  if (q->error || Z <= 0 || H <= 0 || W <= 0)
    return;
  for (i = 0; i < MIN (Z, FEW_CHANNELS); i++) {
    range.few_scale[i] = scale ? scale[i] : 1;
    range.few_shift[i] = shift ? shift[i] : 0;
  }
  if (Z > FEW_CHANNELS && !upload_range (q, &range, Z, scale, shift))
    return;
  LF_CUDA_DECODER_ACT (q, lf_cuda_launch (q, latent_pixels<T>, lf_cuda_blocks (pixels * Z, THREADS),
                              THREADS, 0, (T *) y, latent, Z, pixels, range, bound));
  LF_CUDA_LAUNCHED (q, "scaling a latent");
}

/* --------------------------------------------------------------- pictures */

typedef struct
{
  guint8 *y;
  const void *x;
  LfLayout layout;
  LfColors colors;
  float scale, shift;
  gint runs;  /* blocks of a row */
  gint lines; /* rows, or pairs of them, of a picture */
} Frames;

/* The same steps as kernels/cpu/pixels.c, rounded at the same places. */
template <typename T>
__device__ __forceinline__ float3
load_pixel (const Frames &a, gsize row, gint column)
{
  const T *x = (const T *) a.x + (row * a.layout.width + column) * 3;
  float v[3];

#pragma unroll
  for (int c = 0; c < 3; c++) {
    v[c] = fmaf (lf_load (x + c), a.scale, a.shift);
    v[c] = v[c] > 0 ? v[c] : 0; /* not a number is black */
    v[c] = v[c] < 1 ? v[c] : 1;
  }
  return make_float3 (v[0], v[1], v[2]);
}

__device__ __forceinline__ guint8
to_byte (float v)
{
  return (guint8) (unsigned) fmaf (v, 255, 0.5f);
}

__device__ __forceinline__ guint8
color_sum (const LfColorSum &s, float3 v)
{
  return (guint8) (unsigned) fmaf (s.r, v.x, fmaf (s.g, v.y, fmaf (s.b, v.z, s.add)));
}

template <typename T>
static __global__ void
__launch_bounds__ (THREADS) frames_rgb (const __grid_constant__ Frames a)
{
  lf_kernel_begin ();
  const LfLayout &l = a.layout;
  const gint column = blockIdx.x % a.runs * THREADS + threadIdx.x;
  const gsize row = blockIdx.x / a.runs; /* of all pictures */
  const gsize picture = row / l.height;
  const gint bytes = l.format == LF_FORMAT_RGB ? 3 : 4;
  const gint red = l.format == LF_FORMAT_BGRX ? 2 : 0;

  if (column < l.width) {
    float3 v = load_pixel<T> (a, row, column);
    guint8 *y = a.y + picture * l.size + l.offset[0] + (row - picture * l.height) * l.stride[0]
                + (gsize) column * bytes;

    y[red] = to_byte (v.x);
    y[1] = to_byte (v.y);
    y[2 - red] = to_byte (v.z);
    if (bytes == 4)
      y[3] = 255;
  }
}

/* 1 2 1 across */
__device__ __forceinline__ float3
weigh (float3 left, float3 here, float3 right)
{
  return make_float3 (fmaf (2, here.x, left.x + right.x), fmaf (2, here.y, left.y + right.y),
      fmaf (2, here.z, left.z + right.z));
}

/* A thread makes two columns of two rows and their chroma: on the left column, between the
 * rows. */
template <typename T>
static __global__ void
__launch_bounds__ (THREADS) frames_planar (const __grid_constant__ Frames a)
{
  lf_kernel_begin ();
  const LfLayout &l = a.layout;
  const gint half = blockIdx.x % a.runs * THREADS + threadIdx.x, column = 2 * half;
  const gsize picture = blockIdx.x / a.runs / a.lines;
  const gint line = blockIdx.x / a.runs % a.lines;
  guint8 *frame = a.y + picture * l.size;
  float3 sums[2], sum;

  if (column >= l.width)
    return;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    gint row = 2 * line + i;
    float3 left, here, right;

    if (row >= l.height) { /* the last row stands for the one that is not there */
      sums[i] = sums[0];
      continue;
    }
    guint8 *y = frame + l.offset[0] + row * l.stride[0] + column;
    here = load_pixel<T> (a, picture * l.height + row, column);
    left = column > 0 ? load_pixel<T> (a, picture * l.height + row, column - 1) : here;
    right = here;
    y[0] = color_sum (a.colors.y, here);
    if (column + 1 < l.width) {
      right = load_pixel<T> (a, picture * l.height + row, column + 1);
      y[1] = color_sum (a.colors.y, right);
    }
    sums[i] = weigh (left, here, right);
  }
  sum = make_float3 ((sums[0].x + sums[1].x) * 0.125f, (sums[0].y + sums[1].y) * 0.125f,
      (sums[0].z + sums[1].z) * 0.125f);
  if (l.format == LF_FORMAT_I420) {
    frame[l.offset[1] + line * l.stride[1] + half] = color_sum (a.colors.cb, sum);
    frame[l.offset[2] + line * l.stride[2] + half] = color_sum (a.colors.cr, sum);
  } else {
    frame[l.offset[1] + line * l.stride[1] + column] = color_sum (a.colors.cb, sum);
    frame[l.offset[1] + line * l.stride[1] + column + 1] = color_sum (a.colors.cr, sum);
  }
}

extern "C" void
lf_cuda_pictures_to_frames (
    LfQueue *q, guint8 *y, const void *x, gint n, const LfLayout *layout, float scale, float shift)
{
  gboolean planar = lf_format_is_planar (layout->format);
  gint step = planar ? 2 : 1;
  Frames a = {y, x, *layout, lf_colors (layout->matrix), scale, shift, 0, 0};
  unsigned grid;

  if (q->error || n <= 0 || layout->width <= 0 || layout->height <= 0)
    return;
  a.runs = (gint) lf_cuda_blocks ((layout->width + step - 1) / step, THREADS);
  a.lines = (layout->height + step - 1) / step;
  grid = (unsigned) n * a.lines * a.runs;
  if (planar)
    LF_CUDA_DECODER_ACT (q, lf_cuda_launch (q, frames_planar<T>, grid, THREADS, 0, a));
  else
    LF_CUDA_DECODER_ACT (q, lf_cuda_launch (q, frames_rgb<T>, grid, THREADS, 0, a));
  LF_CUDA_LAUNCHED (q, "writing frames");
}
