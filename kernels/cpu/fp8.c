/* lightforce: 8-bit floats (e4m3) on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "cpu.h"

#define PIECE_ROWS 16
#define LARGEST 448.0f
#define SMALLEST 0x1p-100f /* what lies below counts as 0: its scale would be no float */

typedef union
{
  guint32 u;
  float f;
} Bits;

/* Rounds to nearest even; what is larger than the largest value becomes that. */
LF_CPU_CLONES static void
to_e4m3 (guint8 *y, const float *x, float factor, gint n)
{
  gint i;

  for (i = 0; i < n; i++) {
    Bits b = {.f = x[i] * factor}, small;
    guint32 sign = b.u >> 24 & 0x80, normal, code;

    b.u &= 0x7fffffffu;
    /* exponent and three bits of the fraction, counted from 2^-7 */
    normal = (b.u - 0x3c000000u + 0x7ffffu + (b.u >> 20 & 1)) >> 20;
    normal = normal > 0x7e ? 0x7e : normal;
    /* below 2^-6 in steps of 2^-9: the spacing of floats from 2^14 on */
    small.f = (b.f < 0x1p-6f ? b.f : 0) + 0x1p14f;
    code = b.f < 0x1p-6f ? small.u - 0x46800000u : normal;
    y[i] = (guint8) (sign | (b.u > 0x7f800000u ? 0x7f : code));
  }
}

static float
largest (const float *x, gint n)
{
  float m = 0;
  gint i;

#pragma omp simd reduction(max : m)
  for (i = 0; i < n; i++)
    m = fabsf (x[i]) > m ? fabsf (x[i]) : m;
  return m;
}

float
lf_cpu_to_fp8 (guint8 *y, const float *x, gint n)
{
  float m = largest (x, n);

  to_e4m3 (y, x, m > SMALLEST ? LARGEST / m : 1, n);
  return m > SMALLEST ? m / LARGEST : 1;
}

void
lf_cpu_from_fp8 (float *y, const guint8 *x, float scale, gint n)
{
  gint i;

  lf_dtype_convert (y, LF_DTYPE_F32, x, LF_DTYPE_F8_E4M3, n);
  for (i = 0; i < n; i++)
    y[i] *= scale;
}

/* ----------------------------------------------------------------- weights */

typedef struct
{
  LfQueue *q;
  guint8 *y;
  float *scale;
  const guint8 *x;
  LfDType dtype;
  gint n;
} Quantize;

static void
quantize_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Quantize *a = data;
  float *values = lf_cpu_scratch (a->q, thread, a->n);
  gsize row = (gsize) a->n * lf_dtype_size (a->dtype);
  gint64 i;

  for (i = begin; i < end; i++) {
    lf_dtype_convert (values, LF_DTYPE_F32, a->x + i * row, a->dtype, a->n);
    a->scale[i] = lf_cpu_to_fp8 (a->y + i * a->n, values, a->n);
  }
}

void
lf_cpu_quantize (
    LfQueue *q, void *y, float *scale, const void *x, LfDType dtype, gsize rows, gint n)
{
  Quantize a = {q, y, scale, x, dtype, n};

  lf_cpu_for (q, rows, PIECE_ROWS, quantize_piece, &a);
}

/* ------------------------------------------------------------------- cache */

typedef struct
{
  guint8 *cache; /* (slots, n, heads, d) */
  float *scales; /* (slots, n, heads) */
  float *x;      /* (frames, n, heads, d) */
  const gint32 *slots;
  gint n, heads, d;
} Frames;

static void
compress_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Frames *a = data;
  gint64 row;
  gint h;

  for (row = begin; row < end; row++) {
    gsize at = ((gsize) a->slots[row / a->n] * a->n + row % a->n) * a->heads;

    for (h = 0; h < a->heads; h++)
      a->scales[at + h] =
          lf_cpu_to_fp8 (a->cache + (at + h) * a->d, a->x + (row * a->heads + h) * a->d, a->d);
  }
}

void
lf_cpu_compress_frames (LfQueue *q, void *cache, float *scales, const void *x, const gint32 *slots,
    gint frames, gint n, gint heads, gint d)
{
  Frames a = {cache, scales, (float *) x, slots, n, heads, d};

  lf_cpu_for (q, (gint64) frames * n, PIECE_ROWS, compress_piece, &a);
}

static void
expand_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Frames *a = data;
  gint64 row;
  gint h;

  for (row = begin; row < end; row++) {
    gsize at = ((gsize) a->slots[row / a->n] * a->n + row % a->n) * a->heads;

    for (h = 0; h < a->heads; h++)
      lf_cpu_from_fp8 (
          a->x + (row * a->heads + h) * a->d, a->cache + (at + h) * a->d, a->scales[at + h], a->d);
  }
}

void
lf_cpu_expand_frames (LfQueue *q, void *x, const void *cache, const float *scales,
    const gint32 *slots, gint frames, gint n, gint heads, gint d)
{
  Frames a = {(guint8 *) cache, (float *) scales, x, slots, n, heads, d};

  lf_cpu_for (q, (gint64) frames * n, PIECE_ROWS, expand_piece, &a);
}
