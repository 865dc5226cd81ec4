/* lightforce: convolution on Hopper's matrix units
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <type_traits>

#include "kernels/cuda/conv-tile.cuh"
#include "kernels/cuda/hopper.cuh"

/* Tiles as those of conv.cu. Warps take their pixels from shared memory, at any tap's offset, into
 * registers; the matrix units take the weights from there themselves. */

#define STAGES 4
#define AHEAD 2 /* steps that copies run ahead */

template <typename T_, int N_, int TAPS_> struct Plan : Tile<T_, N_, TAPS_>
{
  static constexpr int STEP_TAPS = 1;
  static constexpr int INPUTS = TAPS_ == 9 ? 2 : AHEAD + 1;
  static constexpr int STAGE_BYTES = Plan::WEIGHT_BYTES;
  static constexpr int LOOP_BYTES = INPUTS * Plan::INPUT_BYTES + STAGES * STAGE_BYTES;
  static constexpr int BYTES =
      (LOOP_BYTES > Plan::OUT_BYTES ? LOOP_BYTES : Plan::OUT_BYTES) + 1024; /* to align them */

  static_assert (INPUTS * Plan::INPUT_BYTES % 1024 == 0); /* weights are swizzled tiles */
};

#define HALVES 2 /* of a tile: 64 pixels, 16 a warp */

/* Operands of a thread's sums, 8 at a time. */
#define PLACES_8(i)                                                                                \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),      \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define OPERANDS_48 PLACES_8 (0), PLACES_8 (8), PLACES_8 (16)
#define OPERANDS_64 OPERANDS_48, PLACES_8 (24)
#define OPERANDS_96 OPERANDS_64, PLACES_8 (32), PLACES_8 (40)
#define OPERANDS_128 OPERANDS_96, PLACES_8 (48), PLACES_8 (56)
#define SUMS_48                                                                                    \
  "%0, %1, %2, %3, %4, %5, %6, %7, "                                                               \
  "%8, %9, %10, %11, %12, %13, %14, %15, "                                                         \
  "%16, %17, %18, %19, %20, %21, %22, %23"
#define SUMS_64 SUMS_48 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define SUMS_96                                                                                    \
  SUMS_64 ", %32, %33, %34, %35, %36, %37, %38, %39"                                               \
          ", %40, %41, %42, %43, %44, %45, %46, %47"
#define SUMS_128                                                                                   \
  SUMS_96 ", %48, %49, %50, %51, %52, %53, %54, %55"                                               \
          ", %56, %57, %58, %59, %60, %61, %62, %63"

/* d (64, 128) += a b^T for 16 of the inner dimension, a in registers, b K-major */
template <typename T>
__device__ __forceinline__ void
multiply (float (&d)[64], const uint32_t (&a)[4], uint64_t b)
{
  if constexpr (std::is_same_v<T, __half>)
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" SUMS_128
                 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 0;\n"
                 : OPERANDS_128
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  else
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" SUMS_128
                 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 0;\n"
                 : OPERANDS_128
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* d (64, 96) += a b^T for 16 of the inner dimension, a in registers, b K-major */
template <typename T>
__device__ __forceinline__ void
multiply (float (&d)[48], const uint32_t (&a)[4], uint64_t b)
{
  if constexpr (std::is_same_v<T, __half>)
    asm volatile("wgmma.mma_async.sync.aligned.m64n96k16.f32.f16.f16 {" SUMS_96
                 "}, {%48, %49, %50, %51}, %52, 1, 1, 1, 0;\n"
                 : OPERANDS_96
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  else
    asm volatile("wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {" SUMS_96
                 "}, {%48, %49, %50, %51}, %52, 1, 1, 1, 0;\n"
                 : OPERANDS_96
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* d (64, 64) += a b^T for 16 of the inner dimension, a in registers, b K-major */
template <typename T>
__device__ __forceinline__ void
multiply (float (&d)[32], const uint32_t (&a)[4], uint64_t b)
{
  if constexpr (std::is_same_v<T, __half>)
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" SUMS_64
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;\n"
                 : OPERANDS_64
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  else
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SUMS_64
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;\n"
                 : OPERANDS_64
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* d (64, 48) += a b^T for 16 of the inner dimension, a in registers, b K-major */
template <typename T>
__device__ __forceinline__ void
multiply (float (&d)[24], const uint32_t (&a)[4], uint64_t b)
{
  static_assert (std::is_same_v<T, LfBf16>);
  asm volatile("wgmma.mma_async.sync.aligned.m64n48k16.f32.bf16.bf16 {" SUMS_48
               "}, {%24, %25, %26, %27}, %28, 1, 1, 1, 0;\n"
               : OPERANDS_48
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* Adds COUNT times 16 input channels of a tap, from number k of the row on. `pixels`: this thread's
 * row of each half. They are at work when it returns. */
template <typename P, int COUNT>
__device__ __forceinline__ void
add_channels (
    float (&sum)[HALVES][P::N / 2], const guint32 (&pixels)[HALVES], uint64_t weights, int first)
{
  guint32 x[HALVES][COUNT][4];

  lf_wgmma_wait<0> (); /* what x was is used; copies were queued meanwhile */
#pragma unroll
  for (int i = 0; i < HALVES; i++)
#pragma unroll
    for (int k = 0; k < COUNT; k++)
      load_matrices (x[i][k], pixels[i] ^ ((first + k) << 5));
  lf_wgmma_fence ();
#pragma unroll
  for (int k = 0; k < COUNT; k++)
#pragma unroll
    for (int i = 0; i < HALVES; i++)
      multiply<typename P::T> (sum[i], x[i][k], lf_descriptor_at (weights, (first + k) * 32));
  lf_wgmma_commit ();
  if (P::TAPS == 1)
    lf_wgmma_wait<0> (); /* the compiler does not see through the short loop */
}

/* Sums of the block to shared memory, so that whole rows of channels are stored. */
template <typename P>
__device__ __forceinline__ void
spread_sums (const float (&sum)[HALVES][P::N / 2], float *out)
{
  const gint lane = threadIdx.x % 32, warp = threadIdx.x / 32;

#pragma unroll
  for (int i = 0; i < HALVES; i++) {
    float *row = out + ((i * 4 + warp) * TILE_COLUMNS + lane / 4) * P::OUT_PITCH + lane % 4 * 2;

#pragma unroll
    for (int j = 0; j < P::N / 8; j++) {
      *(float2 *) (row + 8 * j) = make_float2 (sum[i][4 * j], sum[i][4 * j + 1]);
      *(float2 *) (row + 8 * P::OUT_PITCH + 8 * j) =
          make_float2 (sum[i][4 * j + 2], sum[i][4 * j + 3]);
    }
  }
}

template <typename P>
static __global__ void
__launch_bounds__ (THREADS, P::N == 48 ? 3 : 2) conv_wgmma (const __grid_constant__ Conv a)
{
  lf_kernel_begin ();
  extern __shared__ unsigned char raw[];
  const guint32 shared = (lf_shared_address (raw) + 1023) & ~1023u;
  const gint lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  constexpr int ROW_CHANNELS = P::ROW_CHANNELS;
  const gint groups = (a.c_in + ROW_CHANNELS - 1) / ROW_CHANNELS * a.kt;
  const gint steps = groups * P::TAPS;
  const guint32 of_weights = shared + P::INPUTS * P::INPUT_BYTES;
  float sum[HALVES][P::N / 2] = {};
  Loader<P> l (a, shared, blockIdx.x / a.blocks, blockIdx.x % a.blocks);
  gint group = 0, in_group = 0, tap_line = 0, tap_column = 0;
  gint input = 0, stage = 0, t = 0, left = a.c_in;

#pragma unroll
  for (int i = 0; i < AHEAD; i++) {
    if (i < P::INPUTS - 1 && i < groups)
      l.load_inputs (i);
    if (i < steps)
      l.load_weights (i);
    lf_copy_commit ();
  }
  for (gint step = 0; step < steps; step++) {
    guint32 pixels[HALVES];
    uint64_t weights;

    lf_copy_wait<AHEAD - 1> ();
    /* the matrix units see what was copied */
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads (); /* this step's copies are there, and the step before has been used */
    if (in_group == 0 && group + P::INPUTS - 1 < groups)
      l.load_inputs (input == 0 ? P::INPUTS - 1 : input - 1);
    if (step + AHEAD < steps)
      l.load_weights ((stage + AHEAD) % STAGES);
    lf_copy_commit ();

#pragma unroll
    for (int i = 0; i < HALVES; i++) {
      const guint32 r = (i * 4 + warp) * P::PITCH + lane % 16 + tap_line;

      pixels[i] = shared + input * P::INPUT_BYTES + r * P::ROW_BYTES
                  + ((P::permutation (r) ^ (lane / 16)) << 4);
    }
    weights = lf_tile_descriptor_of (of_weights + stage * P::STAGE_BYTES, 16, 1024);
    if (left >= ROW_CHANNELS) {
      add_channels<P, 4> (sum, pixels, weights, 0);
    } else if (left == ROW_CHANNELS / 2) {
      add_channels<P, 2> (sum, pixels, weights, 0);
    } else if (P::N == 48 && left == 48) {
      add_channels<P, 3> (sum, pixels, weights, 0);
    } else {
#pragma unroll 1
      for (int k = 0; k < (left + 15) / 16; k++)
        add_channels<P, 1> (sum, pixels, weights, k);
    }
    tap_line++;
    if (++tap_column == P::SIDE) {
      tap_column = 0;
      tap_line += P::PITCH - P::SIDE;
    }
    stage = (stage + 1) % STAGES;
    if (++in_group == P::TAPS) {
      in_group = tap_line = 0;
      group++;
      input = input + 1 == P::INPUTS ? 0 : input + 1;
      if (++t == a.kt) {
        t = 0;
        left -= ROW_CHANNELS;
      }
    }
  }
  lf_wgmma_wait<0> ();
  lf_copy_wait<0> ();
  __syncthreads ();
  float *out = reinterpret_cast<float *> (raw + (shared - lf_shared_address (raw)));
  spread_sums<P> (sum, out);
  __syncthreads ();
  put_tile<P> (a, l, out);
}

template <typename T, int N, int TAPS>
static void
run_wgmma (LfQueue *q, Conv a)
{
  typedef Plan<T, N, TAPS> P;
  unsigned grid = count_tiles<P> (q, &a);

  if (!grid
      || !lf_cuda_ok (q,
          cudaFuncSetAttribute (
              conv_wgmma<P>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int) P::BYTES),
          "preparing a convolution"))
    return;
  lf_cuda_launch (q, conv_wgmma<P>, grid, THREADS, P::BYTES, a);
  LF_CUDA_LAUNCHED (q, "a convolution");
}

template <typename T>
static gboolean
choose_columns (LfQueue *q, const Conv &a, gint columns)
{
  switch (columns) {
    case 128:
      a.kh == 3 ? run_wgmma<T, 128, 9> (q, a) : run_wgmma<T, 128, 1> (q, a);
      return TRUE;
    case 96:
      a.kh == 3 ? run_wgmma<T, 96, 9> (q, a) : run_wgmma<T, 96, 1> (q, a);
      return TRUE;
    case 64:
      a.kh == 3 ? run_wgmma<T, 64, 9> (q, a) : run_wgmma<T, 64, 1> (q, a);
      return TRUE;
    case 48:
      /* half floats have no such blocks */
      if constexpr (std::is_same_v<T, LfBf16>) {
        if (a.kh == 3) {
          run_wgmma<T, 48, 9> (q, a);
          return TRUE;
        }
      }
      return FALSE;
    default:
      return FALSE;
  }
}

gboolean
lf_cuda_conv_sm90 (LfQueue *q, LfDType dtype, const Conv &a, gint columns)
{
  if (q->device->capability != 90 || q->device->avoid_sm90)
    return FALSE;
  return dtype == LF_DTYPE_F16 ? choose_columns<__half> (q, a, columns)
                               : choose_columns<LfBf16> (q, a, columns);
}
