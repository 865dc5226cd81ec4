/* lightforce: element types
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tensor.h"

#include <string.h>

static const struct
{
  const char *name;
  gsize size;
} dtypes[LF_N_DTYPES] = {
    [LF_DTYPE_F32] = {"F32", 4},
    [LF_DTYPE_BF16] = {"BF16", 2},
    [LF_DTYPE_F16] = {"F16", 2},
    [LF_DTYPE_F64] = {"F64", 8},
    [LF_DTYPE_F8_E4M3] = {"F8_E4M3", 1},
    [LF_DTYPE_I64] = {"I64", 8},
    [LF_DTYPE_I32] = {"I32", 4},
    [LF_DTYPE_I16] = {"I16", 2},
    [LF_DTYPE_I8] = {"I8", 1},
    [LF_DTYPE_U8] = {"U8", 1},
    [LF_DTYPE_BOOL] = {"BOOL", 1},
};

typedef union
{
  guint32 u;
  float f;
} Bits;

gsize
lf_dtype_size (LfDType dtype)
{
  return dtypes[dtype].size;
}

const char *
lf_dtype_name (LfDType dtype)
{
  return dtypes[dtype].name;
}

static float
from_f16 (guint16 h)
{
  guint32 sign = (guint32) (h >> 15) << 31, exponent = h >> 10 & 31, fraction = h & 1023;
  Bits b;

  if (exponent == 0) { /* zero and subnormals: fraction x 2^-24 */
    b.f = fraction * 0x1p-24f;
    b.u |= sign;
  } else if (exponent == 31) {
    b.u = sign | 0x7f800000u | fraction << 13;
  } else {
    b.u = sign | (exponent + 112) << 23 | fraction << 13;
  }
  return b.f;
}

static guint16
to_f16 (float x)
{
  Bits b = {.f = x};
  guint16 sign = b.u >> 16 & 0x8000;
  guint32 rest;

  b.u &= 0x7fffffffu;
  if (b.u > 0x7f800000u)
    return sign | 0x7e00;
  if (b.u >= 0x477ff000u) /* rounds to 2^16 or more */
    return sign | 0x7c00;
  if (b.u < 0x38800000u) { /* subnormal: the hardware's rounding at 2^-24 */
    b.f += 0.5f;
    return sign | (guint16) (b.u - 0x3f000000u);
  }
  rest = (b.u >> 13) & 1;
  return sign | (guint16) ((b.u - 0x38000000u + 0xfffu + rest) >> 13);
}

static guint16
to_bf16 (float x)
{
  Bits b = {.f = x};

  if ((b.u & 0x7fffffffu) > 0x7f800000u)
    return (guint16) (b.u >> 16 | 0x40);
  return (guint16) ((b.u + 0x7fffu + (b.u >> 16 & 1)) >> 16);
}

/* 1-4-3 bits, bias 7, no infinities: all ones is NaN. */
static float
from_f8_e4m3 (guint8 h)
{
  gint exponent = h >> 3 & 15, fraction = h & 7;
  Bits b;

  if ((h & 127) == 127)
    b.u = 0x7fc00000u;
  else if (exponent == 0)
    b.f = fraction * 0x1p-9f;
  else
    b.u = (guint32) (exponent + 120) << 23 | (guint32) fraction << 20;
  b.u |= (guint32) (h >> 7) << 31;
  return b.f;
}

#define BLOCK 512

/* `count` elements of any type as floats; memcpy because nothing says that src is aligned. */
static void
load (float *restrict dst, const guint8 *restrict src, LfDType from, gsize count)
{
  gsize i;

#define LOAD(type, value)                                                                          \
  for (i = 0; i < count; i++) {                                                                    \
    type x;                                                                                        \
                                                                                                   \
    memcpy (&x, src + i * sizeof (x), sizeof (x));                                                 \
    dst[i] = value;                                                                                \
  }                                                                                                \
  break
  switch (from) {
    case LF_DTYPE_F32:
      LOAD (float, x);
    case LF_DTYPE_BF16:
      LOAD (guint16, lf_bf16_to_float (x));
    case LF_DTYPE_F16:
      LOAD (guint16, from_f16 (x));
    case LF_DTYPE_F64:
      LOAD (double, x);
    case LF_DTYPE_F8_E4M3:
      LOAD (guint8, from_f8_e4m3 (x));
    case LF_DTYPE_I64:
      LOAD (gint64, x);
    case LF_DTYPE_I32:
      LOAD (gint32, x);
    case LF_DTYPE_I16:
      LOAD (gint16, x);
    case LF_DTYPE_I8:
      LOAD (gint8, x);
    default:
      LOAD (guint8, x);
  }
#undef LOAD
}

static void
store (guint8 *restrict dst, LfDType to, const float *restrict src, gsize count)
{
  gsize i;

  for (i = 0; i < count; i++) {
    guint16 bits = to == LF_DTYPE_BF16 ? to_bf16 (src[i]) : to_f16 (src[i]);

    memcpy (dst + 2 * i, &bits, 2);
  }
}

void
lf_dtype_convert (void *dst, LfDType to, const void *src, LfDType from, gsize count)
{
  float block[BLOCK];
  gsize at, n;

  if (count == 0)
    return;
  if (from == to) {
    memcpy (dst, src, count * dtypes[to].size);
    return;
  }
  g_assert (to == LF_DTYPE_F32 || to == LF_DTYPE_BF16 || to == LF_DTYPE_F16);
  if (to == LF_DTYPE_F32) {
    load (dst, src, from, count);
    return;
  }
  for (at = 0; at < count; at += n) {
    n = MIN (count - at, BLOCK);
    load (block, (const guint8 *) src + at * dtypes[from].size, from, n);
    store ((guint8 *) dst + at * dtypes[to].size, to, block, n);
  }
}
