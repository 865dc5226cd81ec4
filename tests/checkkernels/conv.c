/* lightforce: checkkernels, convolution
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include "check.h"

typedef enum
{
  RESIDUAL_NONE,
  RESIDUAL_OTHER,
  RESIDUAL_Y /* in place */
} Residual;

typedef struct
{
  gint c_out, c_in, kt, kh, frames, H, W, fold, first_out;
  Residual residual;
  LfActivation activation;
  gboolean bias;
} Conv;

static void
conv (Ck *c, const Conv *a, gboolean enlarges, LfDType dtype)
{
  static const char *const residuals[] = {"", " residual", " in place"};
  gint channels = a->c_out - a->first_out, kernel = a->kt * a->kh * a->kh * a->c_in;
  gsize out = (gsize) a->frames * a->H * a->W, i;
  gsize pixels = (gsize) a->H * a->W / (enlarges ? 4 : 1); /* of a frame of x */
  gint inputs = a->frames + a->kt - 1;
  g_autofree gint32 *slots = g_new (gint32, inputs);
  g_autofree void **from = g_new (void *, inputs);
  gsize weights = (gsize) a->c_out * kernel;
  float *values = g_new (float, weights + 1);
  CkBuffer *x, *w, *y, *bias = NULL, *residual = NULL;

  ck_begin (c, "%d->%d %dx%dx%d %s F=%d %dx%d fold=%d first=%d%s%s%s%s", a->c_in, a->c_out, a->kt,
      a->kh, a->kh, lf_dtype_name (dtype), a->frames, a->H, a->W, a->fold, a->first_out,
      a->bias ? " bias" : "", residuals[a->residual], a->activation ? " relu" : "",
      enlarges ? " enlarged" : "");
  ck_choose (c, slots, inputs, inputs + 1, c->bench);
  x = ck_in (c, CK_ACT, "x", (inputs + 1) * pixels, a->c_in, CK_MIXED);
  ck_poison_slots (x, inputs + 1, slots, inputs);
  for (i = 0; i < weights; i++)
    values[i] = ck_random_normal (c) / sqrtf (kernel);
  w = ck_weight (c, dtype, "weight", a->c_out, kernel, values);
  if (a->bias)
    bias = ck_in (c, CK_F32, "bias", 1, a->c_out, CK_NORMAL);
  if (a->residual == RESIDUAL_OTHER)
    residual = ck_in (c, CK_ACT, "residual", out * a->fold, channels / a->fold, CK_MIXED);
  y = a->residual == RESIDUAL_Y
          ? ck_inout (c, CK_ACT, "y", out * a->fold, channels / a->fold, CK_MIXED)
          : ck_out (c, CK_ACT, "y", out * a->fold, channels / a->fold);
  if (a->residual == RESIDUAL_Y)
    residual = y;
  c->flops = 2.0 * out * channels * kernel;
  CK_RUN (c, ck_at_frames (x, from, slots, inputs, pixels * a->c_in);
          LfConv o = {dtype, ck_at (w), bias ? ck_at (bias) : NULL, a->c_out, a->c_in, a->kt, a->kh,
              a->kh};
          LfConvolution run = {.w = &o,
              .y = ck_at (y),
              .x = from,
              .frames = a->frames,
              .H = a->H,
              .W = a->W,
              .enlarges = enlarges,
              .fold = a->fold,
              .first_out = a->first_out,
              .residual = residual ? ck_at (residual) : NULL,
              .activation = a->activation};

          ops->conv (q, &run));
}

static void
bench_conv (Ck *c)
{
  static const Conv cases[] = {
      /* the Wan decoder at 512x768 */
      {384, 16, 3, 3, 3, 64, 96, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {384, 384, 3, 3, 3, 64, 96, 1, 0, RESIDUAL_Y, 0, TRUE},
      {1152, 384, 1, 1, 3, 64, 96, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {768, 384, 3, 1, 3, 64, 96, 2, 0, RESIDUAL_NONE, 0, TRUE},
      {384, 384, 3, 3, 6, 128, 192, 1, 0, RESIDUAL_Y, 0, TRUE},
      {192, 192, 3, 3, 12, 256, 384, 1, 0, RESIDUAL_Y, 0, TRUE},
      {96, 96, 3, 3, 12, 512, 768, 1, 0, RESIDUAL_Y, 0, TRUE},
      {3, 96, 3, 3, 12, 512, 768, 1, 0, RESIDUAL_NONE, 0, TRUE},
      /* LightVAE */
      {96, 96, 3, 3, 6, 128, 192, 1, 0, RESIDUAL_Y, 0, TRUE},
      {48, 48, 3, 3, 12, 256, 384, 1, 0, RESIDUAL_Y, 0, TRUE},
      {24, 24, 3, 3, 12, 512, 768, 1, 0, RESIDUAL_Y, 0, TRUE},
      {3, 24, 3, 3, 12, 512, 768, 1, 0, RESIDUAL_NONE, 0, TRUE},
      /* TAEHV */
      {256, 512, 1, 3, 3, 64, 96, 1, 0, RESIDUAL_NONE, LF_ACTIVATION_RELU, TRUE},
      {128, 256, 1, 3, 6, 128, 192, 1, 0, RESIDUAL_NONE, LF_ACTIVATION_RELU, TRUE},
      {64, 128, 1, 3, 12, 256, 384, 1, 0, RESIDUAL_NONE, LF_ACTIVATION_RELU, TRUE},
      {3, 64, 1, 3, 12, 512, 768, 1, 0, RESIDUAL_NONE, 0, TRUE},
  };
  static const Conv enlarged[] = {
      /* the Wan decoder, LightVAE, TAEHV */
      {192, 384, 1, 3, 6, 128, 192, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {192, 384, 1, 3, 12, 256, 384, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {96, 192, 1, 3, 12, 512, 768, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {48, 96, 1, 3, 12, 256, 384, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {24, 48, 1, 3, 12, 512, 768, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {64, 64, 1, 3, 12, 512, 768, 1, 0, RESIDUAL_NONE, 0, FALSE},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++)
    conv (c, &cases[i], FALSE, c->tested.be->act);
  for (i = 0; i < G_N_ELEMENTS (enlarged); i++) {
    conv (c, &enlarged[i], FALSE, c->tested.be->act); /* what the same costs otherwise */
    conv (c, &enlarged[i], TRUE, c->tested.be->act);
  }
}

static void
random_conv (Ck *c)
{
  static const gint channels[] = {3, 8, 16, 24, 48, 96, 130, 1, 5, 31, 64, 33};
  static const LfDType dtypes[] = {LF_DTYPE_BF16, LF_DTYPE_F16, LF_DTYPE_F32};
  Conv a = {.c_out = channels[ck_random_int (c, 0, G_N_ELEMENTS (channels) - 1)],
      .c_in = channels[ck_random_int (c, 0, G_N_ELEMENTS (channels) - 1)],
      .kt = ck_random_int (c, 1, 3),
      .kh = 1 + 2 * ck_random_int (c, 0, 1),
      .frames = ck_random_int (c, 1, 4),
      .H = ck_random_int (c, 1, 24),
      .W = ck_random_int (c, 1, 40),
      .fold = ck_random_int (c, 1, 2),
      .residual = ck_random_int (c, 0, 2),
      .activation = ck_random_int (c, 0, 1),
      .bias = ck_random_int (c, 0, 3) > 0};
  gboolean enlarges = ck_random_int (c, 0, 3) == 0;

  if (enlarges) {
    a.H += a.H % 2;
    a.W += a.W % 2;
  }
  if (a.c_out % a.fold)
    a.fold = 1;
  if (a.fold == 1 && ck_random_int (c, 0, 3) == 0)
    a.first_out = ck_random_int (c, 0, a.c_out - 1);
  conv (c, &a, enlarges, dtypes[ck_random_int (c, 0, 2)]);
}

void
ck_check_conv (Ck *c)
{
  static const Conv quick[] = {
      {16, 8, 3, 3, 2, 5, 9, 1, 0, RESIDUAL_Y, 0, TRUE},
      {48, 24, 3, 1, 2, 3, 7, 2, 0, RESIDUAL_NONE, 0, TRUE},
      {3, 24, 3, 3, 1, 5, 33, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {16, 32, 1, 3, 2, 7, 6, 1, 0, RESIDUAL_OTHER, LF_ACTIVATION_RELU, FALSE},
      {34, 17, 1, 1, 1, 5, 5, 1, 17, RESIDUAL_NONE, 0, TRUE},
      {96, 104, 2, 3, 1, 9, 17, 1, 0, RESIDUAL_OTHER, 0, TRUE},
      {128, 96, 1, 1, 1, 9, 17, 1, 0, RESIDUAL_NONE, 0, TRUE},
  };
  static const Conv cases[] = {
      /* the Wan decoder's kinds */
      {16, 16, 1, 1, 3, 9, 13, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {96, 16, 3, 3, 3, 9, 13, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {96, 96, 3, 3, 3, 8, 12, 1, 0, RESIDUAL_Y, 0, TRUE},
      {96, 96, 3, 3, 1, 17, 33, 1, 0, RESIDUAL_Y, 0, TRUE},
      {288, 96, 1, 1, 3, 9, 13, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {96, 96, 1, 1, 3, 9, 13, 1, 0, RESIDUAL_Y, 0, TRUE},
      {192, 96, 3, 1, 3, 9, 13, 2, 0, RESIDUAL_NONE, 0, TRUE},
      {48, 96, 1, 3, 6, 18, 26, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {96, 48, 1, 1, 6, 18, 26, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {48, 24, 3, 3, 4, 20, 34, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {24, 24, 3, 3, 4, 31, 65, 1, 0, RESIDUAL_Y, 0, TRUE},
      {3, 24, 3, 3, 4, 31, 65, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {3, 96, 3, 3, 2, 31, 129, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {384, 384, 3, 3, 2, 8, 12, 1, 0, RESIDUAL_Y, 0, TRUE},
      {192, 192, 3, 3, 2, 16, 24, 1, 0, RESIDUAL_OTHER, 0, TRUE},
      {768, 384, 3, 1, 2, 8, 12, 2, 0, RESIDUAL_NONE, 0, TRUE},
      /* the tiny decoder's */
      {64, 16, 1, 3, 3, 9, 13, 1, 0, RESIDUAL_NONE, LF_ACTIVATION_RELU, TRUE},
      {64, 128, 1, 3, 2, 9, 13, 1, 0, RESIDUAL_NONE, LF_ACTIVATION_RELU, TRUE},
      {64, 64, 1, 3, 2, 9, 13, 1, 0, RESIDUAL_OTHER, LF_ACTIVATION_RELU, TRUE},
      {64, 64, 1, 3, 2, 31, 63, 1, 0, RESIDUAL_NONE, 0, FALSE},
      {128, 64, 1, 1, 3, 9, 13, 2, 0, RESIDUAL_NONE, 0, FALSE},
      {128, 64, 1, 1, 3, 9, 13, 1, 64, RESIDUAL_NONE, 0, FALSE},
      {3, 64, 1, 3, 3, 33, 65, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {12, 32, 1, 3, 3, 33, 65, 1, 0, RESIDUAL_NONE, 0, TRUE},
      /* others */
      {130, 130, 3, 3, 2, 7, 31, 1, 0, RESIDUAL_Y, LF_ACTIVATION_RELU, TRUE},
      {8, 3, 3, 3, 3, 6, 8, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {5, 3, 1, 5, 2, 7, 9, 1, 0, RESIDUAL_OTHER, 0, FALSE},
      {1, 1, 1, 1, 1, 1, 1, 1, 0, RESIDUAL_NONE, 0, FALSE},
      {16, 16, 3, 3, 1, 1, 1, 1, 0, RESIDUAL_Y, 0, TRUE},
      {16, 16, 3, 3, 1, 1, 200, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {16, 16, 3, 3, 1, 200, 1, 1, 0, RESIDUAL_NONE, 0, TRUE},
      /* more frames than go with a launch */
      {16, 24, 3, 3, 65, 5, 3, 1, 0, RESIDUAL_Y, 0, TRUE},
      {32, 16, 3, 1, 40, 3, 7, 2, 0, RESIDUAL_OTHER, 0, TRUE},
      {5, 3, 2, 3, 33, 4, 3, 1, 0, RESIDUAL_Y, 0, TRUE},
      {96, 24, 3, 3, 2, 5, 9, 2, 0, RESIDUAL_OTHER, LF_ACTIVATION_RELU, TRUE},
      {24, 16, 2, 3, 2, 5, 9, 1, 3, RESIDUAL_NONE, 0, TRUE},
  };
  static const Conv enlarged[] = {
      {96, 40, 1, 3, 2, 18, 34, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {32, 24, 1, 3, 2, 10, 14, 1, 0, RESIDUAL_OTHER, LF_ACTIVATION_RELU, TRUE},
      {192, 384, 1, 3, 2, 16, 24, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {96, 192, 1, 3, 1, 34, 50, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {48, 96, 1, 3, 3, 18, 26, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {24, 48, 1, 3, 2, 62, 66, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {64, 64, 1, 3, 2, 30, 66, 1, 0, RESIDUAL_NONE, 0, FALSE},
      {128, 256, 1, 3, 1, 18, 14, 1, 0, RESIDUAL_NONE, 0, FALSE},
      /* others */
      {16, 16, 3, 3, 3, 2, 2, 1, 0, RESIDUAL_Y, 0, TRUE},
      {48, 24, 3, 3, 2, 6, 38, 2, 0, RESIDUAL_OTHER, LF_ACTIVATION_RELU, TRUE},
      {40, 16, 1, 1, 2, 6, 10, 1, 0, RESIDUAL_NONE, 0, TRUE},
      {5, 3, 1, 5, 2, 8, 10, 1, 0, RESIDUAL_OTHER, 0, FALSE},
  };
  static const LfDType dtypes[] = {LF_DTYPE_BF16, LF_DTYPE_F16, LF_DTYPE_F32};
  guint i, j;

  if (c->bench) {
    bench_conv (c);
    return;
  }
  for (i = 0; i < G_N_ELEMENTS (quick); i++)
    conv (c, &quick[i], FALSE, dtypes[i % 3]);
  for (i = 0; i < G_N_ELEMENTS (enlarged); i++)
    for (j = 0; j < (c->quick ? 1 : G_N_ELEMENTS (dtypes)); j++)
      conv (c, &enlarged[i], TRUE, dtypes[(i + j) % 3]);
  for (i = 0; i < G_N_ELEMENTS (cases) && !c->quick; i++) {
    conv (c, &cases[i], FALSE, LF_DTYPE_BF16);
    conv (c, &cases[i], FALSE, LF_DTYPE_F16);
    conv (c, &cases[i], FALSE, LF_DTYPE_F32);
  }
  for (i = 0; i < 60 && !c->quick; i++)
    random_conv (c);
}
