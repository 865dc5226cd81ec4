/* lightforce: counter-based random numbers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_PHILOX_H
#define LF_PHILOX_H

#include <math.h>
#include <stdint.h>

/* Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 * Plain C without GLib, so that every backend compiles these same lines. */

#ifdef __CUDACC__
#define LF_PHILOX_INLINE static __host__ __device__ __forceinline__
#else
#define LF_PHILOX_INLINE static inline
#endif

LF_PHILOX_INLINE void
lf_philox4x32 (const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  int round;

  for (round = 0; round < 10; round++) {
    uint64_t a = (uint64_t) 0xD2511F53u * c0;
    uint64_t b = (uint64_t) 0xCD9E8D57u * c2;

    c0 = (uint32_t) (b >> 32) ^ c1 ^ k0;
    c1 = (uint32_t) b;
    c2 = (uint32_t) (a >> 32) ^ c3 ^ k1;
    c3 = (uint32_t) a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* Elements 4 block .. 4 block + 3 of the standard normal noise of (seed, chunk, step):
 * two Box-Muller pairs of one Philox block. Logarithms see (0, 1], so all is finite. */
LF_PHILOX_INLINE void
lf_philox_normal (uint64_t seed, uint32_t chunk, uint32_t step, uint32_t block, float out[4])
{
  const uint32_t counter[4] = {block, step, chunk, 0};
  const uint32_t key[2] = {(uint32_t) seed, (uint32_t) (seed >> 32)};
  uint32_t bits[4];
  int i;

  lf_philox4x32 (counter, key, bits);
  for (i = 0; i < 4; i += 2) {
    float u = ((float) (bits[i] >> 8) + 1.0f) * 0x1p-24f;
    float angle = (float) (bits[i + 1] >> 8) * (0x1p-24f * 6.28318530717958647692f);
    float radius = sqrtf (-2.0f * logf (u));

    out[i] = radius * cosf (angle);
    out[i + 1] = radius * sinf (angle);
  }
}

#endif
