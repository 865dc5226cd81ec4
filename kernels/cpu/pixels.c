/* lightforce: decoder operations on single pixels, on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "core/layout.h"
#include "blas.h"
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
  void *const *y; /* frames */
  const float *x, *gamma;
  gint64 pixels; /* of a frame */
  gint C;
  gboolean silu;
} PixelNorm;

/* Items are pixels of all frames. */
LF_CPU_CLONES static void
norm_pixels (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const PixelNorm *a = data;
  const float root = sqrtf (a->C);
  gint64 frame = begin / a->pixels, at = begin % a->pixels, i;

  for (i = begin; i < end; i++) {
    const float *x = a->x + i * a->C;
    float *y = (float *) a->y[frame] + at * a->C;
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
    if (++at == a->pixels) {
      at = 0;
      frame++;
    }
  }
}

void
lf_cpu_pixel_norm_silu (LfQueue *q, void *const *y, const void *x, const float *gamma, gint frames,
    gsize pixels, gint C, gboolean silu)
{
  PixelNorm a = {y, x, gamma, pixels, C, silu};

  lf_cpu_for (q, frames * (gint64) pixels, items_of (C), norm_pixels, &a);
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

    lf_cpu_blas (TRUE, rows, n, C, 1 / sqrtf (C), qkv + (gsize) first * 3 * C, 3 * C, qkv + C,
        3 * C, 0, score, n);
    for (i = 0; i < rows; i++)
      softmax (score + (gsize) i * n, n);
    lf_cpu_blas (FALSE, rows, C, n, 1, score, n, qkv + 2 * C, 3 * C, 0,
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
  const float *x, *past;
  gint64 pixels;
  gint C;
} BesidePast;

/* Items are pixels of all frames. */
static void
beside_past (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const BesidePast *a = data;
  gint64 i;

  for (i = begin; i < end; i++) {
    const float *past = i < a->pixels ? a->past + i * a->C : a->x + (i - a->pixels) * a->C;

    memcpy (a->y + 2 * i * a->C, a->x + i * a->C, a->C * sizeof (float));
    memcpy (a->y + (2 * i + 1) * a->C, past, a->C * sizeof (float));
  }
}

void
lf_cpu_beside_past (
    LfQueue *q, void *y, const void *x, const void *past, gint frames, gsize pixels, gint C)
{
  BesidePast a = {y, x, past, pixels, C};

  lf_cpu_for (q, frames * (gint64) pixels, items_of (2 * C), beside_past, &a);
}

/* ---------------------------------------------------------------- frames */

typedef struct
{
  LfQueue *q;
  guint8 *y;
  const float *x;
  const LfLayout *layout;
  LfColors colors;
  float scale, shift;
  gint lines;   /* rows of a picture that make one item: 2 where they share chroma */
  gint of_each; /* items of a picture */
} Frames;

/* Red, green and blue of a row, 0..1. */
LF_CPU_CLONES static void
clamp_row (float *rgb, const float *x, gint n, float scale, float shift)
{
  gint i;

  for (i = 0; i < n; i++) {
    float v = x[i] * scale + shift;

    v = v > 0 ? v : 0; /* not a number is black */
    rgb[i] = v < 1 ? v : 1;
  }
}

LF_CPU_CLONES static void
store_rgb (guint8 *y, const float *rgb, gint width, gint bytes, gboolean swap)
{
  gint i, c;

  for (i = 0; i < width; i++) {
    for (c = 0; c < 3; c++)
      y[i * bytes + (swap ? 2 - c : c)] = (guint8) (rgb[3 * i + c] * 255 + 0.5f);
    if (bytes == 4)
      y[4 * i + 3] = 255;
  }
}

LF_INLINE guint8
color_sum (const LfColorSum *s, float r, float g, float b)
{
  return (guint8) (s->add + s->b * b + s->g * g + s->r * r);
}

LF_CPU_CLONES static void
store_luma (guint8 *y, const float *rgb, gint width, const LfColorSum *sum)
{
  const LfColorSum s = *sum;
  gint i;

  for (i = 0; i < width; i++)
    y[i] = color_sum (&s, rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]);
}

/* Chroma lies on the even columns, between the rows a and b: 1 2 1 across, their mean down. */
LF_CPU_CLONES static void
store_chroma (guint8 *cb, guint8 *cr, gint step, const float *a, const float *b, gint width,
    const LfColors *colors)
{
  const LfColors s = *colors;
  gint i, c;

  for (i = 0; 2 * i < width; i++) {
    gint here = 3 * 2 * i, left = i ? here - 3 : here, right = 2 * i + 1 < width ? here + 3 : here;
    float v[3];

    for (c = 0; c < 3; c++)
      v[c] = ((a[left + c] + a[right + c] + 2 * a[here + c])
                 + (b[left + c] + b[right + c] + 2 * b[here + c]))
             * 0.125f;
    cb[i * step] = color_sum (&s.cb, v[0], v[1], v[2]);
    cr[i * step] = color_sum (&s.cr, v[0], v[1], v[2]);
  }
}

/* Items are rows, or pairs of rows, of all pictures. */
static void
frame_rows (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Frames *a = data;
  const LfLayout *l = a->layout;
  gint numbers = 3 * l->width, j;
  float *rgb = lf_cpu_scratch (a->q, thread, 2 * (gsize) numbers);
  gint64 item;

  for (item = begin; item < end; item++) {
    gint64 picture = item / a->of_each;
    gint first = item % a->of_each * a->lines, rows = MIN (a->lines, l->height - first);
    guint8 *y = a->y + picture * l->size;
    guint8 *chroma = y + first / 2 * l->stride[1];

    for (j = 0; j < rows; j++) {
      float *row = rgb + (gsize) j * numbers;
      guint8 *to = y + l->offset[0] + (first + j) * l->stride[0];

      clamp_row (
          row, a->x + (picture * l->height + first + j) * numbers, numbers, a->scale, a->shift);
      if (lf_format_is_planar (l->format))
        store_luma (to, row, l->width, &a->colors.y);
      else
        store_rgb (
            to, row, l->width, l->format == LF_FORMAT_RGB ? 3 : 4, l->format == LF_FORMAT_BGRX);
    }
    if (l->format == LF_FORMAT_I420)
      store_chroma (chroma + l->offset[1], chroma + l->offset[2], 1, rgb,
          rgb + (gsize) (rows - 1) * numbers, l->width, &a->colors);
    else if (l->format == LF_FORMAT_NV12)
      store_chroma (chroma + l->offset[1], chroma + l->offset[1] + 1, 2, rgb,
          rgb + (gsize) (rows - 1) * numbers, l->width, &a->colors);
  }
}

void
lf_cpu_pictures_to_frames (
    LfQueue *q, guint8 *y, const void *x, gint n, const LfLayout *layout, float scale, float shift)
{
  Frames a = {q, y, x, layout, lf_colors (layout->matrix), scale, shift, 1, 0};

  a.lines = lf_format_is_planar (layout->format) ? 2 : 1;
  a.of_each = (layout->height + a.lines - 1) / a.lines;
  lf_cpu_for (
      q, (gint64) n * a.of_each, items_of ((gsize) 8 * a.lines * layout->width), frame_rows, &a);
}
