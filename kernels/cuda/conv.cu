/* lightforce: convolution on the GPU's matrix units
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <type_traits>

#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/mma.cuh"

/* ----------------------------------------- 16-bit floats on the tensor cores */

/* A block of four warps makes 8 rows x 16 columns of pixels x N channels. What it needs of the
 * input for 64 channels of one frame, the pixels and a border of one, is copied to shared
 * memory once and serves all nine taps from there: a tap is an offset in rows of that memory.
 * Copies run steps ahead, into rings of places.
 *
 * Rows of shared memory are 128 bytes: 64 channels of a pixel, or of an output channel's
 * weights of one tap. Their 16-byte pieces are permuted, piece i of row r lies at i ^ (r % 8),
 * so that eight neighbouring rows can be read at once whichever row is first. */

#define TILE_ROWS 8
#define TILE_COLUMNS 16
#define TILE_PIXELS (TILE_ROWS * TILE_COLUMNS)
#define ROW_BYTES 128
#define ROW_CHANNELS 64
#define THREADS 128

template <typename T_, int N_, int TAPS_> struct Plan
{
  typedef T_ T;                              /* of everything but sums: LfBf16 or __half */
  static constexpr int N = N_, TAPS = TAPS_; /* TAPS of a plane: 9, or 1 */
  static constexpr int SIDE = TAPS == 9 ? 3 : 1;
  static constexpr int WARPS_N = N >= 64 ? 2 : 1, WARPS_M = 4 / WARPS_N;
  static constexpr int M_TILES = TILE_ROWS / WARPS_M; /* of a warp, 16 pixels each */
  static constexpr int N_TILES = N / WARPS_N / 8;     /* 8 channels each */
  static constexpr int STEP_TAPS = TAPS == 9 && N <= 48 ? 3 : 1;
  static constexpr int GROUP_STEPS = TAPS / STEP_TAPS; /* of the same input pixels */
  static constexpr int STAGES = 3;
  static constexpr int INPUTS = TAPS == 9 ? 2 : STAGES; /* places for input pixels */
  static constexpr int PITCH = TILE_COLUMNS + SIDE - 1; /* pixels */
  static constexpr int INPUT_ROWS = (TILE_ROWS + SIDE - 1) * PITCH;
  static constexpr int INPUT_BYTES = INPUT_ROWS * ROW_BYTES;
  static constexpr int WEIGHT_BYTES = N * ROW_BYTES; /* of a tap */
  static constexpr int STAGE_BYTES = STEP_TAPS * WEIGHT_BYTES;
  static constexpr int OUT_PITCH = N + 8; /* floats: rows of sums on their way out */
  static constexpr int LOOP_BYTES = INPUTS * INPUT_BYTES + STAGES * STAGE_BYTES;
  static constexpr int OUT_BYTES = TILE_PIXELS * OUT_PITCH * 4;
  static constexpr int BYTES = LOOP_BYTES > OUT_BYTES ? LOOP_BYTES : OUT_BYTES;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  static constexpr int BLOCKS = 2; /* of a multiprocessor */
#else
  static constexpr int BLOCKS = N == 64 || N == 16 ? 3 : 2;
#endif

  static_assert (N_TILES % 2 == 0 && N % 16 == 0);
  static_assert (GROUP_STEPS * (INPUTS - 1) >= STAGES - 1); /* inputs come as early as weights */
  static_assert (BYTES <= 99 * 1024);                       /* what every GPU has */
};

/* As lf_copy_async and lf_load_matrix, with addresses that places can be computed from. */
__device__ __forceinline__ void
copy_async (guint32 dst, const void *src, bool inside)
{
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(dst), "l"(src), "r"(inside ? 16 : 0)
      : "memory");
}

__device__ __forceinline__ void
load_matrices (guint32 (&m)[4], guint32 at)
{
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(at)
               : "memory");
}

/* The place of a block, and the next pixels and weights that it copies. */
template <typename P> struct Loader
{
  const Conv &a;
  guint32 inputs, weights; /* shared memory: this thread's first 16 bytes of place 0 */
  gint piece, line;        /* of a row's 16-byte pieces; the first row */
  gint frame, first;       /* first pixel where pixels are in one line */
  gint row, column;        /* of the first pixel, the border not counted */
  gint n;                  /* first output channel */
  gint in_t, in_c;         /* next inputs */
  gint w_t, w_c, w_tap;    /* next weights */

  __device__ __forceinline__
  Loader (const Conv &conv, guint32 shared, gint tile, gint block)
      : a (conv)
  {
    guint32 offset;

    piece = threadIdx.x % 8;
    line = threadIdx.x / 8;
    offset = line * ROW_BYTES + ((piece ^ (line % 8)) << 4);
    inputs = shared + offset;
    weights = shared + P::INPUTS * P::INPUT_BYTES + offset;
    frame = tile / a.tiles;
    tile %= a.tiles;
    first = tile * TILE_PIXELS;
    row = tile / a.tiles_x * TILE_ROWS;
    column = tile % a.tiles_x * TILE_COLUMNS;
    n = block * P::N;
    in_t = in_c = w_t = w_c = w_tap = 0;
  }

  /* 64 channels of the pixels and their border, in one frame */
  __device__ __forceinline__ void
  load_inputs (gint place)
  {
    const gint c = in_c + piece * 8;
    const bool some = c < a.c_in;
    const typename P::T *from = (const typename P::T *) a.x
                                + (gint64) (frame + in_t - (a.kt - 1)) * a.H * a.W * a.c_in
                                + (some ? c : 0);
    guint32 dst = inputs + place * P::INPUT_BYTES;
    gint y = row - P::SIDE / 2, x = column - P::SIDE / 2 + line;

    /* pieces that no sum of 16 channels reaches are not read */
    if (piece * 8 < ((a.c_in - in_c + 15) & ~15)) {
#pragma unroll
      for (int i = 0; i < (P::INPUT_ROWS + 15) / 16; i++) {
        if (P::INPUT_ROWS % 16 == 0 || line + 16 * i < P::INPUT_ROWS) {
          gint at = P::SIDE == 1 ? first + line + 16 * i : y * a.W + x;
          bool inside =
              some
              && (P::SIDE == 1 ? at < a.H * a.W
                               : (unsigned) y < (unsigned) a.H && (unsigned) x < (unsigned) a.W);

          copy_async (dst + 16 * i * ROW_BYTES, from + (inside ? at * a.c_in : 0), inside);
        }
        x += 16;
        if (x >= column - P::SIDE / 2 + P::PITCH) {
          x -= P::PITCH;
          y++;
        }
      }
    }
    if (++in_t == a.kt) {
      in_t = 0;
      in_c += ROW_CHANNELS;
    }
  }

  /* the weights of a step's taps for 64 channels */
  __device__ __forceinline__ void
  load_weights (gint place)
  {
    const gint c = w_c + piece * 8, taps = a.kt * P::TAPS;
    const bool some = c < a.c_in;
    const typename P::T *from = (const typename P::T *) a.weight + (some ? c : 0);
    guint32 dst = weights + place * P::STAGE_BYTES;

    if (piece * 8 < ((a.c_in - w_c + 15) & ~15)) {
#pragma unroll
      for (int u = 0; u < P::STEP_TAPS; u++) {
        gint at = (n + line) * taps + w_t * P::TAPS + w_tap + u;

#pragma unroll
        for (int i = 0; i < P::N / 16; i++) {
          bool inside = some && n + line + 16 * i < a.channels;

          copy_async (dst + u * P::WEIGHT_BYTES + 16 * i * ROW_BYTES,
              from + (inside ? (gint64) (at + 16 * i * taps) * a.c_in : 0), inside);
        }
      }
    }
    w_tap += P::STEP_TAPS;
    if (w_tap == P::TAPS) {
      w_tap = 0;
      if (++w_t == a.kt) {
        w_t = 0;
        w_c += ROW_CHANNELS;
      }
    }
  }
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

    load_matrices (w, (weights ^ (k << 5)) + j * 8 * ROW_BYTES);
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

    pixels[i] = inputs + r * ROW_BYTES + (((r & 7) ^ half) << 4);
  }
  if (count == ROW_CHANNELS / 16) {
#pragma unroll
    for (int k = 0; k < ROW_CHANNELS / 16; k++)
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

/* Eight channels of a pixel of an output frame. */
template <typename T>
__device__ __forceinline__ void
put_8 (const Conv &a, gint frame, gint at, gint n, const float *sum)
{
  gint part = a.fold == 1 ? 0 : n / a.per_frame;
  gint64 offset =
      (((gint64) frame * a.fold + part) * a.H * a.W + at) * a.per_frame + n - part * a.per_frame;
  LfPack<T> residual, y;

  residual.raw = make_uint4 (0, 0, 0, 0);
  if (a.residual)
    residual = lf_load_pack ((const T *) a.residual + offset);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float v = sum[i] + (a.bias ? a.bias[n + i] : 0) + lf_load (&residual.value[i]);

    lf_store (&y.value[i], activate (v, a.relu));
  }
  lf_store_pack ((T *) a.y + offset, y);
}

template <typename P>
__device__ __forceinline__ void
put_tile (const Conv &a, const Loader<P> &l, const float *out)
{
  constexpr int RUNS = P::N / 8;

  for (gint i = threadIdx.x; i < TILE_PIXELS * RUNS; i += THREADS) {
    gint m = i / RUNS, n = i % RUNS * 8;
    gint row = l.row + m / TILE_COLUMNS, column = l.column + m % TILE_COLUMNS;
    gint at = P::SIDE == 1 ? l.first + m : row * a.W + column;
    const float *sum = out + m * P::OUT_PITCH + n;

    if (P::SIDE == 1 ? at >= a.H * a.W : row >= a.H || column >= a.W)
      continue;
    n += l.n;
    if (a.wide && n < a.channels)
      put_8<typename P::T> (a, l.frame, at, n, sum);
    for (gint j = 0; !a.wide && j < 8 && n + j < a.channels; j++)
      put<typename P::T> (a, l.frame, at, n + j, sum[j]);
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
  const gint groups = (a.c_in + ROW_CHANNELS - 1) / ROW_CHANNELS * a.kt;
  const gint steps = groups * P::GROUP_STEPS;
  /* rows that this thread points at for its warp: a pixel, an output channel */
  const gint line = warp % P::WARPS_M * P::M_TILES * P::PITCH + lane % 16;
  const gint n = warp / P::WARPS_M * P::N_TILES * 8 + lane % 8 + lane / 16 * 8;
  const guint32 weights =
      shared + P::INPUTS * P::INPUT_BYTES + n * ROW_BYTES + (((lane % 8) ^ (lane / 8 % 2)) << 4);
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
  gint64 grid;

  if (P::SIDE == 1) {
    a.tiles_x = 1;
    a.tiles = lf_cuda_blocks ((gsize) a.H * a.W, TILE_PIXELS);
  } else {
    a.tiles_x = (a.W + TILE_COLUMNS - 1) / TILE_COLUMNS;
    a.tiles = a.tiles_x * ((a.H + TILE_ROWS - 1) / TILE_ROWS);
  }
  a.blocks = (a.channels + P::N - 1) / P::N;
  grid = (gint64) a.frames * a.tiles * a.blocks;
  if (grid > G_MAXINT32) {
    lf_cuda_fail (
        q, LF_ERROR_SETTINGS, "pictures are too large for the GPU; choose a smaller size");
    return;
  }
  if (!lf_cuda_ok (q,
          cudaFuncSetAttribute (
              conv_mma<P>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) P::BYTES),
          "preparing a convolution"))
    return;
  lf_cuda_launch (q, conv_mma<P>, (unsigned) grid, THREADS, P::BYTES, a);
  LF_CUDA_LAUNCHED (q, "a convolution");
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
      run_mma<Plan<T, 32, TAPS>> (q, a);
      break;
    default:
      run_mma<Plan<T, 16, TAPS>> (q, a);
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
         && a.kh == a.kw && (a.kh == 1 || a.kh == 3) && (gsize) a.x % 16 == 0
         && (gsize) a.weight % 16 == 0 && (gint64) a.H * a.W * a.c_in <= G_MAXINT32
         && (gint64) a.channels * a.kt * a.kh * a.kw <= G_MAXINT32 / 2;
}

extern "C" void
lf_cuda_conv (LfQueue *q, const LfConv *w, void *y, const void *x, gint frames, gint H, gint W,
    gint fold, gint first_out, const void *residual, LfActivation activation)
{
  Conv a = {};

  if (q->error)
    return;
  a.y = y;
  a.x = x;
  a.weight = (const guint8 *) w->weight
             + (gsize) first_out * w->kt * w->kh * w->kw * w->c_in * lf_dtype_size (w->dtype);
  a.residual = residual;
  a.bias = w->bias ? w->bias + first_out : NULL;
  a.frames = frames;
  a.H = H;
  a.W = W;
  a.c_in = w->c_in;
  a.channels = w->c_out - first_out;
  a.kt = w->kt;
  a.kh = w->kh;
  a.kw = w->kw;
  a.fold = fold;
  a.per_frame = a.channels / fold;
  a.relu = activation == LF_ACTIVATION_RELU;
  if (frames <= 0 || H <= 0 || W <= 0 || a.channels <= 0)
    return;
  if (is_regular (q, w, a)) {
    a.wide = a.per_frame % 8 == 0 && (gsize) y % 16 == 0 && (gsize) residual % 16 == 0;
    if (w->dtype == LF_DTYPE_F16)
      run_regular<__half> (q, a);
    else
      run_regular<LfBf16> (q, a);
    return;
  }
  lf_cuda_conv_any (q, w->dtype, a);
}
