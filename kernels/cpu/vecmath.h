/* lightforce: functions of floats that compilers vectorise
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CPU_VECMATH_H
#define LF_CPU_VECMATH_H

#include <stdint.h>

#define LF_INLINE static inline __attribute__ ((always_inline))

/* e^x within 2 ulp for x in [-87, 88] only.
 * e^x = 2^n e^r, n = round (x / ln 2), |r| <= ln 2 / 2, e^r by its Taylor series. */
LF_INLINE float
lf_exp_inside (float x)
{
  const float magic = 12582912.0f; /* 1.5 x 2^23: adding it rounds to an integer */
  union
  {
    float f;
    uint32_t u;
  } scale;
  float n, r, p;

  n = x * 1.44269504088896341f + magic;
  scale.f = n;
  n -= magic;
  scale.u = (scale.u << 23) + 0x3f800000u;
  r = x - n * 0.693359375f; /* ln 2 in two parts: the first is exact in 9 bits */
  r = r + n * 2.12194440e-4f;
  p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  return p * scale.f;
}

/* The same, clamped outside, so never 0, infinite or NaN. */
LF_INLINE float
lf_exp (float x)
{
  x = x > -87.0f ? x : -87.0f;
  x = x < 88.0f ? x : 88.0f;
  return lf_exp_inside (x);
}

/* Clamped at 4e-18: compilers take the clamped case out and compute what it would give for
 * every x, and a product that is not a normal number takes a processor 100 times as long. */
LF_INLINE float
lf_sigmoid (float x)
{
  x = x > -40.0f ? x : -40.0f;
  x = x < 40.0f ? x : 40.0f;
  return 1.0f / (1.0f + lf_exp_inside (-x));
}

LF_INLINE float
lf_silu_1 (float x)
{
  return x * lf_sigmoid (x);
}

/* 0.5 x (1 + tanh (u)) = x sigmoid (2 u), u = sqrt (2 / pi) (x + 0.044715 x^3) */
LF_INLINE float
lf_gelu_1 (float x)
{
  return x * lf_sigmoid (1.59576912160573081f * (x + 0.044715f * x * x * x));
}

#endif
