/* lightforce: decoder operations on single pixels, on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "cpu.h"
#include "vecmath.h"

#define PIECE_FLOATS 16384 /* of one item that threads share */
#define QUERY_PIECE 64

static gint64
items_of (gsize floats)
{
  return MAX (1, PIECE_FLOATS / MAX (floats, 1));
}

/* ------------------------------------------------------------------ norm */

typedef struct
{
  float *y;
  const float *x, *gamma;
  gint C;
  gboolean silu;
} PixelNorm;

LF_CPU_CLONES static void
norm_pixels (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const PixelNorm *a = data;
  const float root = sqrtf (a->C);
  gint64 i;

  for (i = begin; i < end; i++) {
    const float *x = a->x + i * a->C;
    float *y = a->y + i * a->C;
    float part[16] = {0}, sum = 0, scale;
    gint c, j;

    for (c = 0; c + 16 <= a->C; c += 16) {
      for (j = 0; j < 16; j++)
        part[j] += x[c + j] * x[c + j];
    }
    for (; c < a->C; c++)
      sum += x[c] * x[c];
    for (j = 0; j < 16; j++)
      sum += part[j];
    sum = sqrtf (sum);
    scale = root / (sum > 1e-12f ? sum : 1e-12f);
    if (a->silu) {
      for (c = 0; c < a->C; c++)
        y[c] = lf_silu_1 (x[c] * scale * a->gamma[c]);
    } else {
      for (c = 0; c < a->C; c++)
        y[c] = x[c] * scale * a->gamma[c];
    }
  }
}

void
lf_cpu_pixel_norm_silu (
    LfQueue *q, void *y, const void *x, const float *gamma, gsize pixels, gint C, gboolean silu)
{
  PixelNorm a = {y, x, gamma, C, silu};

  lf_cpu_for (q, pixels, items_of (C), norm_pixels, &a);
}

/* -------------------------------------------------------------- upsample */

typedef struct
{
  float *y;
  const float *x;
  gint W, C;
} Upsample;

/* Items are input rows: each makes two rows of the output. */
static void
upsample_rows (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Upsample *a = data;
  gsize pixel = a->C * sizeof (float);
  gint64 row;

  for (row = begin; row < end; row++) {
    const float *x = a->x + row * a->W * a->C;
    float *y = a->y + 4 * row * a->W * a->C;
    gint i;

    for (i = 0; i < a->W; i++) {
      memcpy (y + 2 * (gsize) i * a->C, x + (gsize) i * a->C, pixel);
      memcpy (y + (2 * (gsize) i + 1) * a->C, x + (gsize) i * a->C, pixel);
    }
    memcpy (y + 2 * (gsize) a->W * a->C, y, 2 * a->W * pixel);
  }
}

void
lf_cpu_upsample (LfQueue *q, void *y, const void *x, gint frames, gint H, gint W, gint C)
{
  Upsample a = {y, x, W, C};

  lf_cpu_for (q, (gint64) frames * H, items_of ((gsize) W * C), upsample_rows, &a);
}

/* ------------------------------------------------------------- attention */

typedef struct
{
  LfQueue *q;
  float *y;
  const float *qkv;
  gint pixels, C, pieces;
} PixelAttention;

LF_CPU_CLONES static void
softmax (float *x, gint n)
{
  float most = -INFINITY, sum = 0;
  gint i;

  for (i = 0; i < n; i++)
    most = x[i] > most ? x[i] : most;
  for (i = 0; i < n; i++) {
    x[i] = lf_exp (x[i] - most);
    sum += x[i];
  }
  for (i = 0; i < n; i++)
    x[i] /= sum;
}

/* Items are (frame, piece of queries). */
static void
attend_pixels (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const PixelAttention *a = data;
  gint n = a->pixels, C = a->C;
  gint64 item;

  for (item = begin; item < end; item++) {
    gint frame = item / a->pieces, first = item % a->pieces * QUERY_PIECE;
    gint rows = MIN (QUERY_PIECE, n - first);
    const float *qkv = a->qkv + (gsize) frame * n * 3 * C;
    float *score = lf_cpu_scratch (a->q, thread, (gsize) rows * n);
    gint i;

    lf_cpu_gemm (TRUE, rows, n, C, 1 / sqrtf (C), qkv + (gsize) first * 3 * C, 3 * C, qkv + C,
        3 * C, 0, score, n);
    for (i = 0; i < rows; i++)
      softmax (score + (gsize) i * n, n);
    lf_cpu_gemm (FALSE, rows, C, n, 1, score, n, qkv + 2 * C, 3 * C, 0,
        a->y + ((gsize) frame * n + first) * C, C);
  }
}

void
lf_cpu_pixel_attention (LfQueue *q, void *y, const void *qkv, gint frames, gint pixels, gint C)
{
  PixelAttention a = {q, y, qkv, pixels, C, (pixels + QUERY_PIECE - 1) / QUERY_PIECE};

  lf_cpu_for (q, (gint64) frames * a.pieces, 1, attend_pixels, &a);
}

/* --------------------------------------------------- latents and pictures */

typedef struct
{
  float *y;
  const float *latent, *scale, *shift;
  gsize pixels;
  gint Z;
  float bound;
} Latent;

static void
latent_pixels (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Latent *a = data;
  gint64 i;
  gint z;

  for (z = 0; z < a->Z; z++) {
    float scale = a->scale ? a->scale[z] : 1, shift = a->shift ? a->shift[z] : 0;

    for (i = begin; i < end; i++) {
      float v = a->latent[z * a->pixels + i] * scale + shift;

      a->y[i * a->Z + z] = a->bound > 0 ? a->bound * tanhf (v / a->bound) : v;
    }
  }
}

void
lf_cpu_latent_to_pixels (LfQueue *q, void *y, const float *latent, gint Z, gint H, gint W,
    const float *scale, const float *shift, float bound)
{
  Latent a = {y, latent, scale, shift, (gsize) H * W, Z, bound};

  lf_cpu_for (q, a.pixels, items_of (8 * Z), latent_pixels, &a);
}

typedef struct
{
  float *y;
  const float *x;
  gsize pixels;
  gint C;
} BesidePast;

/* Items are pixels of all frames. */
static void
beside_past (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const BesidePast *a = data;
  gssize back = (gssize) a->pixels * a->C;
  gint64 i;

  for (i = begin; i < end; i++) {
    memcpy (a->y + 2 * i * a->C, a->x + i * a->C, a->C * sizeof (float));
    memcpy (a->y + (2 * i + 1) * a->C, a->x + i * a->C - back, a->C * sizeof (float));
  }
}

void
lf_cpu_beside_past (LfQueue *q, void *y, const void *x, gint frames, gsize pixels, gint C)
{
  BesidePast a = {y, x, pixels, C};

  lf_cpu_for (q, frames * (gint64) pixels, items_of (2 * C), beside_past, &a);
}

typedef struct
{
  guint8 *y;
  const float *x;
  float scale, shift;
} Rgbx;

LF_CPU_CLONES static void
rgbx_pixels (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Rgbx *a = data;
  gint64 i;
  gint c;

  for (i = begin; i < end; i++) {
    for (c = 0; c < 3; c++) {
      float v = a->x[3 * i + c] * a->scale + a->shift;

      v = v > 0 ? v : 0; /* not a number is black */
      v = v < 1 ? v : 1;
      a->y[4 * i + c] = (guint8) (v * 255 + 0.5f);
    }
    a->y[4 * i + 3] = 255;
  }
}

void
lf_cpu_to_rgbx (LfQueue *q, guint8 *y, const void *x, gsize pixels, float scale, float shift)
{
  Rgbx a = {y, x, scale, shift};

  lf_cpu_for (q, pixels, items_of (8), rgbx_pixels, &a);
}
