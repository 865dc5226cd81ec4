/* lightforce: convolution on the GPU's matrix units
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <type_traits>

#include "kernels/cuda/conv-tile.cuh"

/* ----------------------------------------- 16-bit floats on the tensor cores */

template <typename T_, int N_, int TAPS_, int ROW_ = 64> struct Plan : Tile<T_, N_, TAPS_, ROW_>
{
  static constexpr int N = N_, TAPS = TAPS_;
  static constexpr int WARPS_N = N >= 64 ? 2 : 1, WARPS_M = 4 / WARPS_N;
  static constexpr int M_TILES = TILE_ROWS / WARPS_M; /* of a warp, 16 pixels each */
  static constexpr int N_TILES = N / WARPS_N / 8;     /* 8 channels each */
  static constexpr int STEP_TAPS = TAPS == 9 && N <= 48 ? 3 : 1;
  static constexpr int GROUP_STEPS = TAPS / STEP_TAPS; /* of the same input pixels */
  static constexpr int STAGES = 3;
  static constexpr int INPUTS = TAPS == 9 ? 2 : STAGES; /* places for input pixels */
  static constexpr int STAGE_BYTES = STEP_TAPS * Plan::WEIGHT_BYTES;
  static constexpr int LOOP_BYTES = INPUTS * Plan::INPUT_BYTES + STAGES * STAGE_BYTES;
  static constexpr int BYTES = LOOP_BYTES > Plan::OUT_BYTES ? LOOP_BYTES : Plan::OUT_BYTES;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  static constexpr int BLOCKS = 2; /* of a multiprocessor */
#else
  static constexpr int BLOCKS = ROW_ == 32 ? (N == 16 ? 6 : 5) : N == 64 || N == 16 ? 3 : 2;
#endif

  static_assert (N_TILES % 2 == 0 && N % 16 == 0);
  static_assert (GROUP_STEPS * (INPUTS - 1) >= STAGES - 1); /* inputs come as early as weights */
  static_assert (BYTES <= 99 * 1024);                       /* what every GPU has */
};

/* Adds 16 input channels of a tap, number k of the row. */
template <typename P>
__device__ __forceinline__ void
add_16 (float (&sum)[P::M_TILES][P::N_TILES][4], const guint32 (&pixels)[P::M_TILES],
    guint32 weights, int k)
{
  guint32 x[P::M_TILES][4];

#pragma unroll
  for (int i = 0; i < P::M_TILES; i++)
    load_matrices (x[i], pixels[i] ^ (k << 5));
#pragma unroll
  for (int j = 0; j < P::N_TILES; j += 2) {
    guint32 w[4];

    load_matrices (w, (weights ^ (k << 5)) + j * 8 * P::ROW_BYTES);
#pragma unroll
    for (int i = 0; i < P::M_TILES; i++) {
      lf_mma_of<typename P::T> (sum[i][j], x[i], w[0], w[1]);
      lf_mma_of<typename P::T> (sum[i][j + 1], x[i], w[2], w[3]);
    }
  }
}

/* All channels of a row: 16 `count` of them. */
template <typename P>
__device__ __forceinline__ void
add_tap (
    float (&sum)[P::M_TILES][P::N_TILES][4], guint32 inputs, gint line, guint32 weights, int count)
{
  const guint32 half = threadIdx.x % 32 / 16;
  guint32 pixels[P::M_TILES];

#pragma unroll
  for (int i = 0; i < P::M_TILES; i++) {
    guint32 r = line + i * P::PITCH;

    pixels[i] = inputs + r * P::ROW_BYTES + ((P::permutation (r) ^ half) << 4);
  }
  if (count == P::ROW_CHANNELS / 16) {
#pragma unroll
    for (int k = 0; k < P::ROW_CHANNELS / 16; k++)
      add_16<P> (sum, pixels, weights, k);
  } else {
#pragma unroll 1
    for (int k = 0; k < count; k++)
      add_16<P> (sum, pixels, weights, k);
  }
}

/* Sums of the block to shared memory, so that whole rows of channels are stored. */
template <typename P>
__device__ __forceinline__ void
spread_sums (const float (&sum)[P::M_TILES][P::N_TILES][4], float *out)
{
  const gint lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const gint m = warp % P::WARPS_M * P::M_TILES * 16 + lane / 4;
  const gint n = warp / P::WARPS_M * P::N_TILES * 8 + lane % 4 * 2;

#pragma unroll
  for (int i = 0; i < P::M_TILES; i++) {
#pragma unroll
    for (int j = 0; j < P::N_TILES; j++) {
      float *to = out + (m + 16 * i) * P::OUT_PITCH + n + 8 * j;

      *(float2 *) to = make_float2 (sum[i][j][0], sum[i][j][1]);
      *(float2 *) (to + 8 * P::OUT_PITCH) = make_float2 (sum[i][j][2], sum[i][j][3]);
    }
  }
}

template <typename P>
static __global__ void
__launch_bounds__ (THREADS, P::BLOCKS) conv_mma (const __grid_constant__ Conv a)
{
  lf_kernel_begin ();
  extern __shared__ __align__ (1024) unsigned char memory[];
  const guint32 shared = (guint32) __cvta_generic_to_shared (memory);
  const gint lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  constexpr int ROW_CHANNELS = P::ROW_CHANNELS;
  const gint groups = (a.c_in + ROW_CHANNELS - 1) / ROW_CHANNELS * a.kt;
  const gint steps = groups * P::GROUP_STEPS;
  /* rows that this thread points at for its warp: a pixel, an output channel */
  const gint line = warp % P::WARPS_M * P::M_TILES * P::PITCH + lane % 16;
  const gint n = warp / P::WARPS_M * P::N_TILES * 8 + lane % 8 + lane / 16 * 8;
  const guint32 weights = shared + P::INPUTS * P::INPUT_BYTES + n * P::ROW_BYTES
                          + ((P::permutation (n) ^ (lane / 8 % 2)) << 4);
  float sum[P::M_TILES][P::N_TILES][4] = {};
  Loader<P> l (a, shared, blockIdx.x / a.blocks, blockIdx.x % a.blocks);
  gint group = 0, in_group = 0, tap_line = 0, tap_column = 0;
  gint input = 0, stage = 0, t = 0, left = a.c_in;

#pragma unroll
  for (int i = 0; i < P::STAGES - 1; i++) {
    if (i < P::INPUTS - 1 && i < groups)
      l.load_inputs (i);
    if (i < steps)
      l.load_weights (i);
    lf_copy_commit ();
  }
  for (gint step = 0; step < steps; step++) {
    lf_copy_wait<P::STAGES - 2> ();
    __syncthreads (); /* this step's copies are there, and the step before has been used */
    if (in_group == 0 && group + P::INPUTS - 1 < groups)
      l.load_inputs (input == 0 ? P::INPUTS - 1 : input - 1);
    if (step + P::STAGES - 1 < steps)
      l.load_weights (stage == 0 ? P::STAGES - 1 : stage - 1);
    lf_copy_commit ();

#pragma unroll
    for (int u = 0; u < P::STEP_TAPS; u++) {
      add_tap<P> (sum, shared + input * P::INPUT_BYTES, line + tap_line,
          weights + stage * P::STAGE_BYTES + u * P::WEIGHT_BYTES,
          left >= ROW_CHANNELS ? ROW_CHANNELS / 16 : (left + 15) / 16);
      tap_line++;
      if (++tap_column == P::SIDE) {
        tap_column = 0;
        tap_line += P::PITCH - P::SIDE;
      }
    }
    stage = stage + 1 == P::STAGES ? 0 : stage + 1;
    if (++in_group == P::GROUP_STEPS) {
      in_group = tap_line = 0;
      group++;
      input = input + 1 == P::INPUTS ? 0 : input + 1;
      if (++t == a.kt) {
        t = 0;
        left -= ROW_CHANNELS;
      }
    }
  }
  lf_copy_wait<0> ();
  __syncthreads ();
  spread_sums<P> (sum, (float *) memory);
  __syncthreads ();
  put_tile<P> (a, l, (const float *) memory);
}

/* ----------------------------------------------------------------- choosing */

template <typename P>
static void
run_mma (LfQueue *q, Conv a)
{
  unsigned grid = count_tiles<P> (q, &a);

  if (!grid
      || !lf_cuda_ok (q,
          cudaFuncSetAttribute (
              conv_mma<P>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) P::BYTES),
          "preparing a convolution"))
    return;
  lf_cuda_launch (q, conv_mma<P>, grid, THREADS, P::BYTES, a);
  LF_CUDA_LAUNCHED (q, "a convolution");
}

/* With few input channels more blocks fit a multiprocessor where rows are short. */
template <typename T, int N, int TAPS>
static void
run_narrow (LfQueue *q, const Conv &a)
{
  if constexpr (TAPS == 9) {
    if (a.c_in <= 32) {
      run_mma<Plan<T, N, TAPS, 32>> (q, a);
      return;
    }
  }
  run_mma<Plan<T, N, TAPS>> (q, a);
}

static gint
columns_in_all (gint channels, gint width)
{
  return (channels + width - 1) / width * width;
}

template <typename T, int TAPS>
static void
choose_columns (LfQueue *q, const Conv &a)
{
  /* in half floats runs the tiny decoder, whose channels are powers of 2 */
  constexpr bool thirds = std::is_same_v<T, LfBf16>;
  static const gint widths[] = {128, 96, 64, 48, 32, 16};
  gint best = 128;

  /* the fewest columns in vain, the widest of those */
  for (gint width : widths)
    if ((thirds || width % 3)
        && columns_in_all (a.channels, width) < columns_in_all (a.channels, best))
      best = width;
  /* a narrow block reads all inputs again: not for a few columns less */
  if (best < 96 && a.channels > 128)
    best = !thirds || a.channels % 128 > 96 || a.channels % 128 == 0 ? 128 : 96;
  if (lf_cuda_conv_sm90 (q, std::is_same_v<T, __half> ? LF_DTYPE_F16 : LF_DTYPE_BF16, a, best)
      || q->error)
    return;
  switch (best) {
    case 128:
      run_mma<Plan<T, 128, TAPS>> (q, a);
      break;
    case 96:
      if constexpr (thirds)
        run_mma<Plan<T, 96, TAPS>> (q, a);
      break;
    case 64:
      run_mma<Plan<T, 64, TAPS>> (q, a);
      break;
    case 48:
      if constexpr (thirds)
        run_mma<Plan<T, 48, TAPS>> (q, a);
      break;
    case 32:
      run_narrow<T, 32, TAPS> (q, a);
      break;
    default:
      run_narrow<T, 16, TAPS> (q, a);
  }
}

template <typename T>
static void
run_regular (LfQueue *q, const Conv &a)
{
  if (a.kh == 3)
    choose_columns<T, 9> (q, a);
  else
    choose_columns<T, 1> (q, a);
}

/* Whether the tensor cores can have it. */
static gboolean
is_regular (const LfQueue *q, const LfConv *w, const Conv &a)
{
  return q->backend->act != LF_DTYPE_F32 && w->dtype == q->backend->act && a.c_in % 8 == 0
         && a.kh == a.kw && (a.kh == 3 || (a.kh == 1 && !a.halvings)) && lf_cuda_conv_is_aligned (a)
         && (gsize) a.weight % 16 == 0 && (gint64) a.H * a.W * a.c_in <= G_MAXINT32
         && (gint64) a.channels * a.kt * a.kh * a.kw <= G_MAXINT32 / 2;
}

/* Frames that fit one launch. */
static void
run (LfQueue *q, const LfConv *w, Conv a)
{
  if (is_regular (q, w, a)) {
    a.wide = a.per_frame % 8 == 0 && (gsize) a.y % 16 == 0 && (gsize) a.residual % 16 == 0;
    if (w->dtype == LF_DTYPE_F16)
      run_regular<__half> (q, a);
    else
      run_regular<LfBf16> (q, a);
    return;
  }
  lf_cuda_conv_any (q, w->dtype, a);
}

extern "C" void
lf_cuda_conv (LfQueue *q, const LfConvolution *c)
{
  const LfConv *w = c->w;
  const gint most = CONV_FRAMES - (w->kt - 1);
  Conv a = {};
  gsize out;

  static_assert (CONV_FRAMES >= LF_MAX_KT);
  g_assert (w->kt <= LF_MAX_KT);
  a.weight = (const guint8 *) w->weight
             + (gsize) c->first_out * w->kt * w->kh * w->kw * w->c_in * lf_dtype_size (w->dtype);
  a.bias = w->bias ? w->bias + c->first_out : NULL;
  a.H = c->H;
  a.W = c->W;
  a.halvings = c->enlarges ? 1 : 0;
  a.x_width = a.W >> a.halvings;
  a.c_in = w->c_in;
  a.channels = w->c_out - c->first_out;
  a.kt = w->kt;
  a.kh = w->kh;
  a.kw = w->kw;
  a.fold = c->fold;
  a.per_frame = a.channels / a.fold;
  a.relu = c->activation == LF_ACTIVATION_RELU;
  if (a.H <= 0 || a.W <= 0 || a.channels <= 0)
    return;
  out = (gsize) a.H * a.W * a.channels * lf_dtype_size (q->backend->act);
  for (gint first = 0; first < c->frames && !q->error; first += most) {
    a.frames = MIN (c->frames - first, most);
    for (gint i = 0; i < a.frames + a.kt - 1; i++)
      a.x[i] = c->x[first + i];
    a.y = (guint8 *) c->y + first * out;
    a.residual = c->residual ? (const guint8 *) c->residual + first * out : NULL;
    run (q, w, a);
  }
}
