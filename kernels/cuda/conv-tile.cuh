/* lightforce: convolution on the GPU's matrix units: tiles of pixels
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_CONV_TILE_CUH
#define LF_CUDA_CONV_TILE_CUH

#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/mma.cuh"

/* A block of four warps makes 8 rows x 16 columns of pixels x N channels. What it needs of the
 * input for 64 channels of one frame, the pixels and a border of one, is copied to shared
 * memory once and serves all nine taps from there: a tap is an offset in rows of that memory.
 * Copies run steps ahead, into rings of places.
 *
 * Rows of shared memory are 128 bytes: 64 channels of a pixel, or of an output channel's
 * weights of one tap. Their 16-byte pieces are permuted, piece i of row r lies at i ^ (r % 8),
 * so that eight neighbouring rows can be read at once whichever row is first. Where there are
 * no more than 32 input channels rows can be half as long, two in the place of one: piece i of
 * row r lies at i ^ (r / 2 % 4). */

#define TILE_ROWS 8
#define TILE_COLUMNS 16
#define TILE_PIXELS (TILE_ROWS * TILE_COLUMNS)
#define THREADS 128

/* What a kernel's plan says of a tile of N channels and TAPS (9, or 1) of a plane, with rows of
 * ROW_CHANNELS (64, or 32) input channels. */
template <typename T_, int N_, int TAPS_, int ROW_CHANNELS_ = 64> struct Tile
{
  typedef T_ T; /* of everything but sums: LfBf16 or __half */
  static constexpr int N = N_, TAPS = TAPS_;
  static constexpr int ROW_CHANNELS = ROW_CHANNELS_, ROW_BYTES = ROW_CHANNELS * 2;
  static constexpr int PIECES = ROW_BYTES / 16, LINES = THREADS / PIECES; /* copied at once */
  static constexpr int SIDE = TAPS == 9 ? 3 : 1;
  static constexpr int PITCH = TILE_COLUMNS + SIDE - 1; /* pixels */
  static constexpr int INPUT_ROWS = (TILE_ROWS + SIDE - 1) * PITCH;
  static constexpr int INPUT_BYTES = INPUT_ROWS * ROW_BYTES;
  static constexpr int WEIGHT_BYTES = N * ROW_BYTES; /* of a tap */
  static constexpr int OUT_PITCH = N + 8;            /* floats: rows of sums on their way out */
  static constexpr int OUT_BYTES = TILE_PIXELS * OUT_PITCH * 4;

  static_assert (ROW_CHANNELS == 64 || ROW_CHANNELS == 32);

  /* Where in a row of shared memory its piece 0 lies. */
  static __device__ __forceinline__ guint32
  permutation (guint32 row)
  {
    return ROW_CHANNELS == 64 ? row % 8 : row / 2 % 4;
  }
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

    piece = threadIdx.x % P::PIECES;
    line = threadIdx.x / P::PIECES;
    offset = line * P::ROW_BYTES + ((piece ^ P::permutation (line)) << 4);
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

  /* the pixels and their border, in one frame of half the height and width if HALVINGS is 1 */
  template <int HALVINGS>
  __device__ __forceinline__ void
  copy_pixels (guint32 dst, const typename P::T *from, bool some)
  {
    constexpr int COPIES = (P::INPUT_ROWS + P::LINES - 1) / P::LINES;
    constexpr int UNROLL = HALVINGS ? 3 : COPIES; /* the rarer one takes no more registers */
    gint y = row - P::SIDE / 2 + line / P::PITCH, x = column - P::SIDE / 2 + line % P::PITCH;

#pragma unroll UNROLL
    for (int i = 0; i < COPIES; i++) {
      if (P::INPUT_ROWS % P::LINES == 0 || line + P::LINES * i < P::INPUT_ROWS) {
        gint at = P::SIDE == 1 ? first + line + P::LINES * i
                               : (y >> HALVINGS) * a.x_width + (x >> HALVINGS);
        bool inside =
            some
            && (P::SIDE == 1 ? at < a.H * a.W
                             : (unsigned) y < (unsigned) a.H && (unsigned) x < (unsigned) a.W);

        copy_async (dst + P::LINES * i * P::ROW_BYTES, from + (inside ? at * a.c_in : 0), inside);
      }
      y += P::LINES / P::PITCH;
      x += P::LINES % P::PITCH;
      if (x >= column - P::SIDE / 2 + P::PITCH) {
        x -= P::PITCH;
        y++;
      }
    }
  }

  /* a row's channels of them */
  __device__ __forceinline__ void
  load_inputs (gint place)
  {
    const gint c = in_c + piece * 8;
    const bool some = c < a.c_in;
    const typename P::T *from = (const typename P::T *) a.x[frame + in_t] + (some ? c : 0);
    guint32 dst = inputs + place * P::INPUT_BYTES;

    /* pieces that no sum of 16 channels reaches are not read */
    if (piece * 8 < ((a.c_in - in_c + 15) & ~15)) {
      if (P::SIDE > 1 && a.halvings)
        copy_pixels<1> (dst, from, some);
      else
        copy_pixels<0> (dst, from, some);
    }
    if (++in_t == a.kt) {
      in_t = 0;
      in_c += P::ROW_CHANNELS;
    }
  }

  /* the weights of a step's taps for a row's channels */
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
        for (int i = 0; i < (P::N + P::LINES - 1) / P::LINES; i++) {
          bool inside = some && n + line + P::LINES * i < a.channels;

          if (P::N % P::LINES == 0 || line + P::LINES * i < P::N)
            copy_async (dst + u * P::WEIGHT_BYTES + P::LINES * i * P::ROW_BYTES,
                from + (inside ? (gint64) (at + P::LINES * i * taps) * a.c_in : 0), inside);
        }
      }
    }
    w_tap += P::STEP_TAPS;
    if (w_tap == P::TAPS) {
      w_tap = 0;
      if (++w_t == a.kt) {
        w_t = 0;
        w_c += P::ROW_CHANNELS;
      }
    }
  }
};

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

/* Sets what a kernel's tiles are numbered by; their count, or 0 after a failure. */
template <typename P>
static unsigned
count_tiles (LfQueue *q, Conv *a)
{
  gint64 grid;

  if (P::SIDE == 1) {
    a->tiles_x = 1;
    a->tiles = lf_cuda_blocks ((gsize) a->H * a->W, TILE_PIXELS);
  } else {
    a->tiles_x = (a->W + TILE_COLUMNS - 1) / TILE_COLUMNS;
    a->tiles = a->tiles_x * ((a->H + TILE_ROWS - 1) / TILE_ROWS);
  }
  a->blocks = (a->channels + P::N - 1) / P::N;
  grid = (gint64) a->frames * a->tiles * a->blocks;
  if (grid > G_MAXINT32) {
    lf_cuda_fail (
        q, LF_ERROR_SETTINGS, "pictures are too large for the GPU; choose a smaller size");
    return 0;
  }
  return (unsigned) grid;
}

#endif
