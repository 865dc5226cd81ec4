/* lightforce: tests of the decoders' operations on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/conv.h"
#include "tests/unit/cpu-fixture.h"

static float *
random_floats (GRand *rand, gsize count)
{
  float *x = g_new (float, count + 1);
  gsize i;

  for (i = 0; i < count; i++)
    x[i] = g_rand_double_range (rand, -1, 1);
  return x;
}

/* ------------------------------------------------------------ convolution */

typedef struct
{
  LfConv w;
  gint frames, H, W, fold, first_out;
  gint residual; /* 0: none, 1: another buffer, 2: y itself */
  LfActivation activation;
  gboolean enlarges;
} Case;

/* Sum of one output in double precision. */
static double
plain_sum (
    const Case *c, const float *weight, const float *x, gint t, gint row, gint column, gint o)
{
  const LfConv *w = &c->w;
  gint size = c->enlarges ? 2 : 1; /* of a pixel of x */
  double sum = w->bias ? w->bias[o] : 0;
  gint i, j, k, z;

  for (i = 0; i < w->kt; i++) {
    for (j = 0; j < w->kh; j++) {
      for (k = 0; k < w->kw; k++) {
        gint y = row + j - w->kh / 2, xx = column + k - w->kw / 2;

        if (y < 0 || y >= c->H || xx < 0 || xx >= c->W)
          continue;
        for (z = 0; z < w->c_in; z++)
          sum += (double) weight[(((o * w->kt + i) * w->kh + j) * w->kw + k) * w->c_in + z]
                 * x[(((gssize) (t + i - w->kt + 1) * (c->H / size) + y / size) * (c->W / size)
                         + xx / size)
                         * w->c_in
                     + z];
      }
    }
  }
  return sum;
}

static void
plain_conv (const Case *c, const float *weight, float *y, const float *x, const float *residual)
{
  gint channels = c->w.c_out - c->first_out, per_frame = channels / c->fold;
  gint t, row, column, o;

  for (t = 0; t < c->frames; t++) {
    for (row = 0; row < c->H; row++) {
      for (column = 0; column < c->W; column++) {
        for (o = 0; o < channels; o++) {
          gsize frame = t * c->fold + o / per_frame;
          gsize at = ((frame * c->H + row) * c->W + column) * per_frame + o % per_frame;
          double v = plain_sum (c, weight, x, t, row, column, c->first_out + o);

          v += residual ? residual[at] : 0;
          y[at] = c->activation == LF_ACTIVATION_RELU ? MAX (v, 0) : v;
        }
      }
    }
  }
}

static void
run_conv (Case *c, const LfConvLevel *level, LfQueue *q, float *y, float **x, float *residual)
{
  LfConvolution a = {.w = &c->w,
      .y = y,
      .x = (void *const *) x,
      .frames = c->frames,
      .H = c->H,
      .W = c->W,
      .enlarges = c->enlarges,
      .fold = c->fold,
      .first_out = c->first_out,
      .residual = c->residual == 2 ? y
                  : c->residual    ? residual
                                   : NULL,
      .activation = c->activation};

  lf_cpu_conv_at (level, q, &a);
}

/* Runs a case at every level, on one and on three threads. */
static void
check_conv (Case *c, GRand *rand)
{
  gsize per_out = (gsize) c->w.kt * c->w.kh * c->w.kw * c->w.c_in, weights = c->w.c_out * per_out;
  gsize frame = (gsize) c->H * c->W * c->w.c_in / (c->enlarges ? 4 : 1);
  gsize out = (gsize) c->frames * c->H * c->W * (c->w.c_out - c->first_out);
  g_autofree float *weight = random_floats (rand, weights),
                   *bias = random_floats (rand, c->w.c_out);
  gint frames = c->frames + c->w.kt - 1;
  g_autofree float *x = random_floats (rand, frames * frame);
  g_autofree float **lone = g_new (float *, frames); /* each in memory of its own */
  g_autofree float *residual = random_floats (rand, out), *expected = g_new (float, out);
  g_autofree float *y = g_new (float, out), *again = g_new (float, out);
  g_autofree guint16 *half = g_new (guint16, weights);
  const float *begin = x + (c->w.kt - 1) * frame;
  const LfConvLevel *const *levels;
  gint n_levels, level;
  gsize i;

  c->w.weight = weight;
  if (c->w.dtype != LF_DTYPE_F32) {
    lf_dtype_convert (half, c->w.dtype, weight, LF_DTYPE_F32, weights);
    lf_dtype_convert (weight, LF_DTYPE_F32, half, c->w.dtype, weights);
    c->w.weight = half;
  }
  c->w.bias = g_rand_boolean (rand) ? bias : NULL;
  plain_conv (c, weight, expected, begin, c->residual ? residual : NULL);
  for (level = 0; level < frames; level++)
    lone[level] = g_memdup2 (x + level * frame, frame * sizeof (float));
  levels = lf_cpu_conv_levels (&n_levels);
  g_assert_cmpint (n_levels, >, 0);
  for (level = 0; level < n_levels; level++) {
    Fixture one = open_cpu (1), three = open_cpu (3);
    float scale = sqrtf (per_out + 1);

    for (i = 0; i < out; i++)
      y[i] = again[i] = c->residual == 2 ? residual[i] : NAN;
    run_conv (c, levels[level], one.q, y, lone, residual);
    run_conv (c, levels[level], three.q, again, lone, residual);
    for (i = 0; i < out; i++)
      g_assert_cmpfloat_with_epsilon (y[i], expected[i], 5e-6f * scale);
    g_assert_cmpmem (y, out * sizeof (float), again, out * sizeof (float));
    close_cpu (&one);
    close_cpu (&three);
  }
  for (level = 0; level < frames; level++)
    g_free (lone[level]);
}

static void
test_conv_shapes (void)
{
  static const Case cases[] = {
      {{.c_out = 64, .c_in = 128, .kt = 1, .kh = 3, .kw = 3}, 1, 5, 32, 1, 0, 0, 1, FALSE},
      {{.c_out = 48, .c_in = 48, .kt = 1, .kh = 3, .kw = 3}, 2, 9, 13, 1, 0, 2, 1, FALSE},
      {{.c_out = 16, .c_in = 16, .kt = 1, .kh = 3, .kw = 3}, 1, 40, 70, 1, 0, 1, 0, FALSE},
      {{.c_out = 3, .c_in = 16, .kt = 1, .kh = 3, .kw = 3}, 2, 17, 33, 1, 0, 0, 0, FALSE},
      {{.c_out = 3, .c_in = 8, .kt = 3, .kh = 3, .kw = 3}, 3, 6, 8, 1, 0, 0, 0, FALSE},
      {{.c_out = 32, .c_in = 32, .kt = 3, .kh = 3, .kw = 3}, 4, 12, 16, 1, 0, 2, 0, FALSE},
      {{.c_out = 64, .c_in = 32, .kt = 3, .kh = 1, .kw = 1}, 2, 7, 9, 2, 0, 0, 0, FALSE},
      {{.c_out = 96, .c_in = 48, .kt = 1, .kh = 1, .kw = 1}, 3, 20, 5, 2, 0, 0, 0, FALSE},
      {{.c_out = 128, .c_in = 64, .kt = 1, .kh = 1, .kw = 1}, 3, 4, 5, 1, 64, 0, 0, FALSE},
      {{.c_out = 80, .c_in = 200, .kt = 3, .kh = 3, .kw = 3}, 1, 20, 60, 1, 0, 1, 0, FALSE},
      {{.c_out = 5, .c_in = 3, .kt = 1, .kh = 5, .kw = 5}, 1, 1, 1, 1, 0, 0, 1, FALSE},
      {{.c_out = 1, .c_in = 1, .kt = 2, .kh = 7, .kw = 7}, 2, 2, 50, 1, 0, 0, 1, FALSE},
      {{.dtype = LF_DTYPE_BF16, .c_out = 40, .c_in = 24, .kt = 3, .kh = 3, .kw = 3}, 2, 9, 11, 1, 0,
          1, 1, FALSE},
      {{.dtype = LF_DTYPE_F16, .c_out = 3, .c_in = 40, .kt = 1, .kh = 3, .kw = 3}, 2, 9, 11, 1, 0,
          1, 0, FALSE},
      {{.c_out = 48, .c_in = 64, .kt = 1, .kh = 3, .kw = 3}, 2, 34, 70, 1, 0, 0, 1, TRUE},
      {{.c_out = 3, .c_in = 16, .kt = 1, .kh = 3, .kw = 3}, 1, 16, 32, 1, 0, 0, 0, TRUE},
      {{.c_out = 80, .c_in = 200, .kt = 2, .kh = 3, .kw = 3}, 1, 20, 60, 1, 0, 1, 0, TRUE},
      {{.c_out = 24, .c_in = 5, .kt = 1, .kh = 1, .kw = 1}, 2, 6, 4, 1, 0, 0, 0, TRUE},
  };
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    Case c = cases[i];

    check_conv (&c, rand);
  }
}

static void
test_conv_random (void)
{
  static const gint kernels[] = {1, 3, 5};
  g_autoptr (GRand) rand = g_rand_new_with_seed (9);
  gint i;

  for (i = 0; i < 60; i++) {
    gint kernel = kernels[g_rand_int_range (rand, 0, 3)];
    Case c = {.w = {.c_out = 2 * g_rand_int_range (rand, 1, 30),
                  .c_in = g_rand_int_range (rand, 1, 30),
                  .kt = g_rand_int_range (rand, 1, 4),
                  .kh = kernel,
                  .kw = kernel},
        .frames = g_rand_int_range (rand, 1, 3),
        .H = g_rand_int_range (rand, 1, 12),
        .W = g_rand_int_range (rand, 1, 20),
        .fold = g_rand_int_range (rand, 1, 3),
        .residual = g_rand_int_range (rand, 0, 3),
        .activation = g_rand_boolean (rand)};

    if (i % 3 == 0) {
      c.enlarges = TRUE;
      c.H += c.H % 2;
      c.W += c.W % 2;
    }
    if (c.fold == 1)
      c.first_out = g_rand_int_range (rand, 0, c.w.c_out);
    check_conv (&c, rand);
  }
}

/* ------------------------------------------------------- pixel operations */

static void
test_pixel_norm (void)
{
  static const gint channels[] = {1, 3, 16, 24, 40};
  g_autoptr (GRand) rand = g_rand_new_with_seed (2);
  Fixture f = open_cpu (2);
  guint i;
  gint p, c;

  for (i = 0; i < 2 * G_N_ELEMENTS (channels); i++) {
    gint C = channels[i / 2];
    gboolean silu = i % 2;
    g_autofree float *x = random_floats (rand, 50 * C), *gamma = random_floats (rand, C);
    g_autofree float *y = g_new (float, 50 * C), *last = g_new (float, 25 * C);
    void *frames[] = {y + 25 * C, last};

    memset (x + 3 * C, 0, C * sizeof (float)); /* a black pixel stays one */
    f.be->ops->pixel_norm_silu (f.q, frames, x, gamma, 2, 25, C, silu);
    memcpy (y, y + 25 * C, 25 * C * sizeof (float));
    memcpy (y + 25 * C, last, 25 * C * sizeof (float));
    for (p = 0; p < 50; p++) {
      double sum = 0;

      for (c = 0; c < C; c++)
        sum += (double) x[p * C + c] * x[p * C + c];
      for (c = 0; c < C; c++) {
        double v = x[p * C + c] / MAX (sqrt (sum), 1e-12) * sqrt (C) * gamma[c];

        v = silu ? v / (1 + exp (-v)) : v;
        g_assert_cmpfloat_with_epsilon (y[p * C + c], v, 4e-6);
      }
    }
  }
  close_cpu (&f);
}

static void
test_beside_past (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (6);
  Fixture f = open_cpu (2);
  enum
  {
    F = 3,
    P = 35,
    C = 5
  };
  g_autofree float *x = random_floats (rand, (F + 1) * P * C);
  g_autofree float *past = g_memdup2 (x, P * C * sizeof (float));
  g_autofree float *y = g_new (float, 2 * F * P * C);
  gint i, c;

  f.be->ops->beside_past (f.q, y, x + P * C, past, F, P, C);
  for (i = 0; i < F * P; i++) {
    for (c = 0; c < C; c++) {
      g_assert_cmpfloat (y[2 * i * C + c], ==, x[(i + P) * C + c]);
      g_assert_cmpfloat (y[(2 * i + 1) * C + c], ==, x[i * C + c]);
    }
  }
  close_cpu (&f);
}

static void
test_latent_to_pixels (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (8);
  Fixture f = open_cpu (2);
  enum
  {
    Z = 6,
    H = 9,
    W = 11
  };
  static const float scale[Z] = {1, 2, 3, 0.5, -1, 7}, shift[Z] = {0, 1, -1, 2, -2, 0.5};
  g_autofree float *x = random_floats (rand, Z * H * W), *y = g_new (float, Z *H *W);
  gint i, z;

  f.be->ops->latent_to_pixels (f.q, y, x, Z, H, W, scale, shift, 0);
  for (i = 0; i < H * W; i++)
    for (z = 0; z < Z; z++)
      g_assert_cmpfloat_with_epsilon (y[i * Z + z], x[z * H * W + i] * scale[z] + shift[z], 1e-6);
  f.be->ops->latent_to_pixels (f.q, y, x, Z, H, W, NULL, NULL, 3);
  for (i = 0; i < H * W; i++)
    for (z = 0; z < Z; z++)
      g_assert_cmpfloat_with_epsilon (y[i * Z + z], 3 * tanh (x[z * H * W + i] / 3.0), 1e-6);
  close_cpu (&f);
}

static void
test_pixel_attention (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);
  Fixture f = open_cpu (2);
  enum
  {
    F = 2,
    P = 90,
    C = 12
  };
  g_autofree float *qkv = random_floats (rand, F * P * 3 * C), *y = g_new (float, F *P *C);
  gint t, i, j, c;

  for (i = 0; i < F * P * 3 * C; i++)
    qkv[i] *= 3;
  f.be->ops->pixel_attention (f.q, y, qkv, F, P, C);
  for (t = 0; t < F; t++) {
    const float *x = qkv + t * P * 3 * C;

    for (i = 0; i < P; i += 11) {
      double sum = 0, out[C] = {0};

      for (j = 0; j < P; j++) {
        double score = 0;

        for (c = 0; c < C; c++)
          score += (double) x[i * 3 * C + c] * x[j * 3 * C + C + c];
        score = exp (score / sqrt (C));
        sum += score;
        for (c = 0; c < C; c++)
          out[c] += score * x[j * 3 * C + 2 * C + c];
      }
      for (c = 0; c < C; c++)
        g_assert_cmpfloat_with_epsilon (y[(t * P + i) * C + c], out[c] / sum, 1e-5);
    }
  }
  close_cpu (&f);
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/conv/shapes", test_conv_shapes);
  g_test_add_func ("/conv/random", test_conv_random);
  g_test_add_func ("/pixels/norm", test_pixel_norm);
  g_test_add_func ("/pixels/beside-past", test_beside_past);
  g_test_add_func ("/pixels/latent", test_latent_to_pixels);
  g_test_add_func ("/pixels/attention", test_pixel_attention);
  return g_test_run ();
}
