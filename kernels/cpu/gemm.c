/* lightforce: matrix products on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gemm.h"
#include "vecmath.h"

/* Vectors of four floats as the compiler makes them of what the processor has. */
typedef float Vector4 __attribute__ ((vector_size (16), aligned (4), may_alias));

/* y (4, 4) = x (4, 4) transposed */
LF_INLINE void
transpose_4 (float *y, gsize ldy, const float *x, gsize ldx)
{
  Vector4 a = *(const Vector4 *) x, b = *(const Vector4 *) (x + ldx);
  Vector4 c = *(const Vector4 *) (x + 2 * ldx), d = *(const Vector4 *) (x + 3 * ldx);
  Vector4 ab = __builtin_shufflevector (a, b, 0, 4, 1, 5);
  Vector4 cd = __builtin_shufflevector (c, d, 0, 4, 1, 5);
  Vector4 ab_end = __builtin_shufflevector (a, b, 2, 6, 3, 7);
  Vector4 cd_end = __builtin_shufflevector (c, d, 2, 6, 3, 7);

  *(Vector4 *) y = __builtin_shufflevector (ab, cd, 0, 1, 4, 5);
  *(Vector4 *) (y + ldy) = __builtin_shufflevector (ab, cd, 2, 3, 6, 7);
  *(Vector4 *) (y + 2 * ldy) = __builtin_shufflevector (ab_end, cd_end, 0, 1, 4, 5);
  *(Vector4 *) (y + 3 * ldy) = __builtin_shufflevector (ab_end, cd_end, 2, 3, 6, 7);
}

#ifdef LF_CPU_AVX512
typedef float Vector16 __attribute__ ((vector_size (64), aligned (4), may_alias));
#define TILE_TITLE "AVX-512"
#define TILE_NAME(n) avx512_##n
#define TILE_TARGET __attribute__ ((target ("avx512f,avx512dq,avx512vl,avx512bw,fma")))
#define TILE_VECTOR Vector16
#define TILE_LANES 16
#define TILE_TALL 12
#define TILE_LOW 8
#include "gemm-tile.h"
#endif

#if defined(__x86_64__)
typedef float Vector8 __attribute__ ((vector_size (32), aligned (4), may_alias));
#define TILE_TITLE "AVX2"
#define TILE_NAME(n) avx2_##n
#define TILE_TARGET __attribute__ ((target ("avx2,fma")))
#define TILE_VECTOR Vector8
#define TILE_LANES 8
#define TILE_TALL 6
#define TILE_LOW 4
#include "gemm-tile.h"
#endif

#define TILE_TITLE "plain"
#define TILE_NAME(n) plain_##n
#define TILE_TARGET
#define TILE_VECTOR Vector4
#define TILE_LANES 4
#define TILE_TALL 6
#define TILE_LOW 4
#include "gemm-tile.h"

const LfGemmLevel *const *
lf_cpu_gemm_levels (gint *n_levels)
{
  static const LfGemmLevel *levels[3];
  static gsize n = 0;

  if (g_once_init_enter (&n)) {
    gint i = 0;

#ifdef LF_CPU_AVX512
    if (lf_cpu_has_avx512 ())
      levels[i++] = &avx512_level;
#endif
#if defined(__x86_64__)
    if (lf_cpu_has_avx2 ())
      levels[i++] = &avx2_level;
#endif
    levels[i++] = &plain_level;
    g_once_init_leave (&n, i);
  }
  *n_levels = n;
  return levels;
}
