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

/* Element i of any type as a float; memcpy because nothing says that src is aligned. */
static float
load (const guint8 *src, LfDType from, gsize i)
{
  union
  {
    float f32;
    double f64;
    guint16 u16;
    gint64 i64;
    gint32 i32;
    gint16 i16;
    gint8 i8;
    guint8 u8;
  } v;

  memcpy (&v, src + i * dtypes[from].size, dtypes[from].size);
  switch (from) {
    case LF_DTYPE_F32:
      return v.f32;
    case LF_DTYPE_BF16:
      return lf_bf16_to_float (v.u16);
    case LF_DTYPE_F16:
      return from_f16 (v.u16);
    case LF_DTYPE_F64:
      return v.f64;
    case LF_DTYPE_F8_E4M3:
      return from_f8_e4m3 (v.u8);
    case LF_DTYPE_I64:
      return v.i64;
    case LF_DTYPE_I32:
      return v.i32;
    case LF_DTYPE_I16:
      return v.i16;
    case LF_DTYPE_I8:
      return v.i8;
    default:
      return v.u8;
  }
}

void
lf_dtype_convert (void *dst, LfDType to, const void *src, LfDType from, gsize count)
{
  gsize i;

  if (from == to) {
    memcpy (dst, src, count * dtypes[to].size);
    return;
  }
  /* the usual case, which matrix products on 16-bit weights wait for */
  if (from == LF_DTYPE_BF16 && to == LF_DTYPE_F32) {
    for (i = 0; i < count; i++) {
      guint16 bits;

      memcpy (&bits, (const guint8 *) src + 2 * i, 2);
      ((float *) dst)[i] = lf_bf16_to_float (bits);
    }
    return;
  }
  for (i = 0; i < count; i++) {
    float x = load (src, from, i);

    if (to == LF_DTYPE_F32)
      ((float *) dst)[i] = x;
    else if (to == LF_DTYPE_BF16)
      ((guint16 *) dst)[i] = to_bf16 (x);
    else if (to == LF_DTYPE_F16)
      ((guint16 *) dst)[i] = to_f16 (x);
    else
      g_assert_not_reached ();
  }
}
