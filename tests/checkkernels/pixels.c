/* lightforce: checkkernels, decoder operations on single pixels
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "check.h"

/* ------------------------------------------------------------------- norm */

static void
pixel_norm_silu (Ck *c, gint frames, gsize pixels, gint C, gboolean silu, gsize shift)
{
  g_autofree gint32 *slots = g_new (gint32, frames);
  g_autofree void **to = g_new (void *, frames);
  CkBuffer *x, *gamma, *y;

  ck_begin (c, "F=%d pixels=%" G_GSIZE_FORMAT " C=%d%s%s", frames, pixels, C, silu ? " silu" : "",
      shift ? " shifted" : "");
  c->shift = shift;
  x = ck_in (c, CK_ACT, "x", frames * pixels, C, CK_MIXED);
  gamma = ck_in (c, CK_F32, "gamma", 1, C, CK_NORMAL);
  ck_choose (c, slots, frames, frames + 1, c->bench);
  y = ck_out (c, CK_ACT, "y", (frames + 1) * pixels, C);
  y->gaps = TRUE;
  c->bytes = 2.0 * x->count * lf_dtype_size (c->tested.be->act);
  CK_RUN (c, ck_at_frames (y, to, slots, frames, pixels * C);
          ops->pixel_norm_silu (q, to, ck_at (x), ck_at (gamma), frames, pixels, C, silu));
}

void
ck_check_pixel_norm_silu (Ck *c)
{
  static const gint cases[][2] = {{7, 24}, {33, 3}, {65, 96}, {1, 1}, {129, 8}, {127, 16},
      {31, 130}, {1000, 48}, {17, 384}, {9, 513}, {5000, 24}};
  gint i;

  if (c->bench) {
    pixel_norm_silu (c, 3, 64 * 96, 384, TRUE, 0);
    pixel_norm_silu (c, 12, 256 * 384, 192, TRUE, 0);
    pixel_norm_silu (c, 12, 512 * 768, 96, TRUE, 0);
    pixel_norm_silu (c, 12, 512 * 768, 24, TRUE, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++) {
    pixel_norm_silu (c, 1 + i % 4, cases[i][0], cases[i][1], TRUE, 0);
    pixel_norm_silu (c, 1, cases[i][0], cases[i][1], FALSE, 0);
    pixel_norm_silu (c, 1 + (i + 1) % 4, cases[i][0], cases[i][1], TRUE, 1);
  }
  pixel_norm_silu (c, 40, 35, 24, TRUE, 0); /* more than go with a launch */
  pixel_norm_silu (c, 65, 3, 5, TRUE, 0);
}

/* --------------------------------------------------------------- the past */

static void
beside_past (Ck *c, gint frames, gsize pixels, gint C, gsize shift)
{
  CkBuffer *x, *past, *y;

  ck_begin (
      c, "F=%d pixels=%" G_GSIZE_FORMAT " C=%d%s", frames, pixels, C, shift ? " shifted" : "");
  c->shift = shift;
  x = ck_in (c, CK_ACT, "x", frames * pixels, C, CK_MIXED);
  past = ck_in (c, CK_ACT, "past", pixels, C, CK_MIXED);
  y = ck_out (c, CK_ACT, "y", frames * pixels, 2 * C);
  c->bytes = 4.0 * frames * pixels * C * lf_dtype_size (c->tested.be->act);
  CK_RUN (c, ops->beside_past (q, ck_at (y), ck_at (x), ck_at (past), frames, pixels, C));
}

void
ck_check_beside_past (Ck *c)
{
  static const gint cases[][3] = {
      {3, 35, 5}, {1, 7, 64}, {2, 33, 24}, {1, 1, 1}, {4, 129, 8}, {2, 63, 31}, {6, 500, 64}};
  gint i;

  if (c->bench) {
    beside_past (c, 12, 256 * 384, 64, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++) {
    beside_past (c, cases[i][0], cases[i][1], cases[i][2], 0);
    beside_past (c, cases[i][0], cases[i][1], cases[i][2], 1);
  }
}

/* ------------------------------------------------------------- attention */

static void
pixel_attention (Ck *c, gint frames, gint pixels, gint C, float gain)
{
  CkBuffer *qkv, *y;
  gsize i;

  ck_begin (c, "F=%d pixels=%d C=%d gain=%g", frames, pixels, C, gain);
  qkv =
      ck_in (c, CK_ACT, "qkv", (gsize) frames * pixels * 3, C, gain > 4 ? CK_INTEGERS : CK_NORMAL);
  for (i = 0; i < qkv->count; i++)
    qkv->values[i] *= i / C % 3 < 2 ? gain : 1;
  y = ck_out (c, CK_ACT, "y", (gsize) frames * pixels, C);
  c->slack = gain <= 4 ? 1 : c->tested.be->act == LF_DTYPE_F32 ? 400 : 3;
  c->flops = 4.0 * frames * pixels * (double) pixels * C;
  CK_RUN (c, ops->pixel_attention (q, ck_at (y), ck_at (qkv), frames, pixels, C));
}

void
ck_check_pixel_attention (Ck *c)
{
  static const gint cases[][3] = {{2, 33, 12}, {1, 65, 96}, {1, 7, 16}, {1, 1, 1}, {3, 1, 24},
      {1, 2, 7}, {2, 63, 48}, {2, 127, 96}, {1, 129, 130}, {3, 260, 96}, {1, 1000, 64},
      {2, 400, 384}};
  gint i;

  if (c->bench) {
    pixel_attention (c, 3, 64 * 96, 384, 1);
    pixel_attention (c, 3, 64 * 96, 96, 1);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++) {
    pixel_attention (c, cases[i][0], cases[i][1], cases[i][2], 1);
    pixel_attention (c, cases[i][0], cases[i][1], cases[i][2], 16);
  }
}

/* --------------------------------------------------- latents and pictures */

static void
latent_to_pixels (Ck *c, gint Z, gint H, gint W, gboolean scaled, float bound)
{
  g_autofree float *scale = g_new (float, Z), *shift = g_new (float, Z);
  CkBuffer *latent, *y;

  ck_begin (c, "Z=%d %dx%d%s bound=%g", Z, H, W, scaled ? " scaled" : "", bound);
  ck_fill (c, scale, 1, Z, CK_NORMAL);
  ck_fill (c, shift, 1, Z, CK_NORMAL);
  latent = ck_in (c, CK_F32, "latent", (gsize) Z * H, W, CK_MIXED);
  y = ck_out (c, CK_ACT, "y", (gsize) H * W, Z);
  c->bytes = latent->count * (4.0 + lf_dtype_size (c->tested.be->act));
  CK_RUN (c, ops->latent_to_pixels (q, ck_at (y), ck_at (latent), Z, H, W, scaled ? scale : NULL,
                 scaled ? shift : NULL, bound));
}

void
ck_check_latent_to_pixels (Ck *c)
{
  static const gint cases[][3] = {
      {16, 5, 7}, {3, 9, 11}, {6, 4, 4}, {1, 1, 1}, {16, 33, 31}, {48, 7, 9}, {16, 64, 96}};
  gint i;

  if (c->bench) {
    latent_to_pixels (c, 16, 64, 96, TRUE, 0);
    latent_to_pixels (c, 16, 64, 96, FALSE, 3);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++) {
    latent_to_pixels (c, cases[i][0], cases[i][1], cases[i][2], TRUE, 0);
    latent_to_pixels (c, cases[i][0], cases[i][1], cases[i][2], FALSE, 3);
    latent_to_pixels (c, cases[i][0], cases[i][1], cases[i][2], TRUE, 1.5f);
  }
}

/* A layout with `gap` bytes behind each row, each plane and the picture. */
static LfLayout
layout_of (LfFormat format, LfMatrix matrix, gint width, gint height, gsize gap)
{
  LfLayout l = {.format = format, .matrix = matrix, .width = width, .height = height};
  gint half_width = (width + 1) / 2, half_height = (height + 1) / 2, planes = 1, i;
  gsize row[3] = {0}, rows[3] = {0}, at = 0;

  row[0] = format == LF_FORMAT_RGB                                ? 3 * (gsize) width
           : format == LF_FORMAT_RGBX || format == LF_FORMAT_BGRX ? 4 * (gsize) width
                                                                  : (gsize) width;
  rows[0] = height;
  if (format == LF_FORMAT_I420) {
    planes = 3;
    row[1] = row[2] = half_width;
    rows[1] = rows[2] = half_height;
  } else if (format == LF_FORMAT_NV12) {
    planes = 2;
    row[1] = 2 * (gsize) half_width;
    rows[1] = half_height;
  }
  for (i = 0; i < planes; i++) {
    l.offset[i] = at;
    l.stride[i] = (row[i] + 3) / 4 * 4 + gap;
    at += l.stride[i] * rows[i] + gap;
  }
  l.size = at;
  return l;
}

static void
pictures_to_frames (
    Ck *c, gint n, LfFormat format, LfMatrix matrix, gint width, gint height, gsize gap)
{
  static const char *const names[] = {"RGBx", "BGRx", "RGB", "I420", "NV12"};
  LfLayout layout = layout_of (format, matrix, width, height, gap);
  CkBuffer *x, *y;

  ck_begin (c, "n=%d %s %s %dx%d gap=%" G_GSIZE_FORMAT, n, names[format],
      matrix == LF_MATRIX_BT601 ? "BT.601" : "BT.709", width, height, gap);
  x = ck_in (c, CK_ACT, "x", (gsize) n * height * width, 3, CK_NORMAL);
  if (x->count > 60) {
    x->values[7] = NAN; /* black */
    x->values[30] = INFINITY;
    x->values[50] = -INFINITY;
  }
  y = ck_out (c, CK_BYTES, "y", n, layout.size);
  y->off = 1; /* a value between two may go to either */
  c->bytes = (double) x->count * lf_dtype_size (c->tested.be->act) + (double) y->count;
  CK_RUN (c, ops->pictures_to_frames (q, ck_at (y), ck_at (x), n, &layout, 0.5f, 0.5f));
}

void
ck_check_pictures_to_frames (Ck *c)
{
  static const gint sizes[][2] = {
      {7, 5}, {16, 8}, {33, 2}, {1, 1}, {2, 1}, {1, 3}, {64, 48}, {63, 31}, {129, 65}, {256, 160}};
  gint i, format;

  if (c->bench) {
    for (format = LF_FORMAT_RGBX; format <= LF_FORMAT_NV12; format++)
      pictures_to_frames (c, 12, format, LF_MATRIX_BT709, 768, 512, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (sizes)); i++)
    for (format = LF_FORMAT_RGBX; format <= LF_FORMAT_NV12; format++) {
      pictures_to_frames (c, 1 + i % 3, format, i % 2, sizes[i][0], sizes[i][1], 0);
      pictures_to_frames (c, 1 + i % 2, format, (i + 1) % 2, sizes[i][0], sizes[i][1], 12);
    }
}
