/* lightforce: tests of the CPU's linear layers and attention, at every level of the processor
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/gemm.h"
#include "tests/unit/cpu-fixture.h"

static float *
random_floats (GRand *rand, gsize count, double limit)
{
  float *x = g_new (float, count + 1);
  gsize i;

  for (i = 0; i < count; i++)
    x[i] = g_rand_double_range (rand, -limit, limit);
  return x;
}

/* Every operation runs on one and on three threads: the number must not show. */
static void
check_same (const float *y, const float *again, gsize count)
{
  g_assert_cmpmem (y, count * sizeof (float), again, count * sizeof (float));
}

/* ----------------------------------------------------------- linear layers */

static double
plain_epilogue (double v, double y, double gate, LfEpilogue epilogue)
{
  switch (epilogue) {
    case LF_EPILOGUE_GELU:
      return 0.5 * v * (1 + tanh (sqrt (2 / G_PI) * (v + 0.044715 * v * v * v)));
    case LF_EPILOGUE_SILU:
      return v / (1 + exp (-v));
    case LF_EPILOGUE_RESIDUAL:
      return y + v * gate;
    case LF_EPILOGUE_MULTIPLY:
      return y * v;
    case LF_EPILOGUE_NONE:
      break;
  }
  return v;
}

typedef struct
{
  gint rows, n_out, n_in, spare; /* columns of y that are not written */
  LfEpilogue epilogue;
  gboolean bias, gate;
  LfDType dtype;
} LinearCase;

static void
check_linear (const LinearCase *c, GRand *rand)
{
  gint ldy = c->n_out + c->spare, n_levels, level, i, j, k;
  gsize weights = (gsize) c->n_out * c->n_in, out = (gsize) c->rows * ldy;
  g_autofree float *weight = random_floats (rand, weights, 1);
  g_autofree float *x = random_floats (rand, (gsize) c->rows * c->n_in, 1);
  g_autofree float *bias = random_floats (rand, c->n_out, 1);
  g_autofree float *gate = random_floats (rand, c->n_out, 1);
  g_autofree float *before = random_floats (rand, out, 1);
  g_autofree float *y = g_new (float, out), *again = g_new (float, out);
  g_autofree guint16 *half = g_new (guint16, weights);
  LfLinear w = {c->dtype, weight, NULL, c->bias ? bias : NULL, c->n_out, c->n_in};
  const LfGemmLevel *const *levels = lf_cpu_gemm_levels (&n_levels);

  if (c->dtype != LF_DTYPE_F32) {
    lf_dtype_convert (half, c->dtype, weight, LF_DTYPE_F32, weights);
    lf_dtype_convert (weight, LF_DTYPE_F32, half, c->dtype, weights);
    w.weight = half;
  }
  for (level = 0; level < n_levels; level++) {
    Fixture one = open_cpu (1), three = open_cpu (3);

    memcpy (y, before, out * sizeof (float));
    memcpy (again, before, out * sizeof (float));
    lf_cpu_linear_at (
        levels[level], one.q, &w, y, ldy, x, NULL, c->rows, c->epilogue, c->gate ? gate : NULL);
    lf_cpu_linear_at (levels[level], three.q, &w, again, ldy, x, NULL, c->rows, c->epilogue,
        c->gate ? gate : NULL);
    check_same (y, again, out);
    for (i = 0; i < c->rows; i++) {
      for (j = 0; j < ldy; j++) {
        double v = j < c->n_out && c->bias ? bias[j] : 0;

        for (k = 0; k < c->n_in && j < c->n_out; k++)
          v += (double) x[i * c->n_in + k] * weight[(gsize) j * c->n_in + k];
        if (j < c->n_out)
          v = plain_epilogue (v, before[i * ldy + j], c->gate ? gate[j] : 1, c->epilogue);
        else
          v = before[i * ldy + j];
        g_assert_cmpfloat_with_epsilon (y[i * ldy + j], v, 5e-6f * sqrtf (c->n_in + 1));
      }
    }
    close_cpu (&one);
    close_cpu (&three);
  }
}

static void
test_linear_shapes (void)
{
  static const LinearCase cases[] = {
      {480, 64, 256, 0, LF_EPILOGUE_NONE, TRUE, FALSE, LF_DTYPE_F32},
      {481, 96, 600, 0, LF_EPILOGUE_GELU, TRUE, FALSE, LF_DTYPE_F32},
      {1, 256, 256, 0, LF_EPILOGUE_SILU, TRUE, FALSE, LF_DTYPE_F32},
      {1, 1, 1, 0, LF_EPILOGUE_NONE, FALSE, FALSE, LF_DTYPE_F32},
      {100, 33, 257, 3, LF_EPILOGUE_RESIDUAL, TRUE, TRUE, LF_DTYPE_F32},
      {13, 70, 64, 0, LF_EPILOGUE_MULTIPLY, FALSE, FALSE, LF_DTYPE_BF16},
      {200, 40, 300, 1, LF_EPILOGUE_RESIDUAL, FALSE, FALSE, LF_DTYPE_F16},
  };
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++)
    check_linear (&cases[i], rand);
}

static void
test_linear_random (void)
{
  static const LfDType dtypes[] = {LF_DTYPE_F32, LF_DTYPE_F32, LF_DTYPE_BF16};
  g_autoptr (GRand) rand = g_rand_new_with_seed (4);
  gint i;

  for (i = 0; i < 60; i++) {
    LinearCase c = {g_rand_int_range (rand, 1, 60), g_rand_int_range (rand, 1, 80),
        g_rand_int_range (rand, 1, 80), g_rand_int_range (rand, 0, 3),
        g_rand_int_range (rand, 0, 5), g_rand_boolean (rand), g_rand_boolean (rand),
        dtypes[g_rand_int_range (rand, 0, 3)]};

    check_linear (&c, rand);
  }
}

/* Far from 0, where the exponential is clamped. */
static void
test_activation_ends (void)
{
  static const float values[] = {0, 1e-30f, -1e-30f, 1, -1, 30, -30, 87, -87, 1000, -1000, 1e30f};
  const LfEpilogue epilogues[] = {LF_EPILOGUE_GELU, LF_EPILOGUE_SILU};
  float weight = 1, x[G_N_ELEMENTS (values)], y[G_N_ELEMENTS (values)];
  LfLinear w = {LF_DTYPE_F32, &weight, NULL, NULL, 1, 1};
  gint n_levels, level, n = G_N_ELEMENTS (values), i, e;
  const LfGemmLevel *const *levels = lf_cpu_gemm_levels (&n_levels);
  Fixture f = open_cpu (1);

  memcpy (x, values, sizeof x);
  for (level = 0; level < n_levels; level++) {
    for (e = 0; e < 2; e++) {
      lf_cpu_linear_at (levels[level], f.q, &w, y, 1, x, NULL, n, epilogues[e], NULL);
      for (i = 0; i < n; i++) {
        float v = plain_epilogue (x[i], 0, 1, epilogues[e]);

        g_assert_cmpfloat_with_epsilon (y[i], v, 1e-6f * (1 + fabsf (v)));
      }
    }
  }
  close_cpu (&f);
}

/* No step on the way may give less than the smallest normal number: that takes a processor a
 * hundred times as long. */
static void
test_activation_underflow (void)
{
  const LfEpilogue epilogues[] = {LF_EPILOGUE_GELU, LF_EPILOGUE_SILU};
  g_autoptr (GRand) rand = g_rand_new_with_seed (8);
  g_autofree float *weight = random_floats (rand, 32 * 32, 1);
  g_autofree float *x = random_floats (rand, 24 * 32, 1), *y = g_new0 (float, 24 * 32);
  LfLinear w = {LF_DTYPE_F32, weight, NULL, NULL, 32, 32};
  gint n_levels, level, e;
  const LfGemmLevel *const *levels = lf_cpu_gemm_levels (&n_levels);
  Fixture f = open_cpu (1);

  for (level = 0; level < n_levels; level++) {
    for (e = 0; e < 2; e++) {
      feclearexcept (FE_ALL_EXCEPT);
      lf_cpu_linear_at (levels[level], f.q, &w, y, 32, x, NULL, 24, epilogues[e], NULL);
      g_assert_false (fetestexcept (FE_UNDERFLOW));
    }
  }
  close_cpu (&f);
}

/* --------------------------------------------------------------- attention */

/* One head of one query in double precision: keys are those that `seen` marks. */
static void
plain_attention (double *out, const float *q, const float *keys, const float *values, gint C,
    gint d, const guint8 *seen, gint n_keys, float last_bias)
{
  double sum = 0, largest = -1e30, score;
  gint pass, i, j;

  for (j = 0; j < d; j++)
    out[j] = 0;
  for (pass = 0; pass < 2; pass++) {
    for (i = 0; i < n_keys; i++) {
      if (!seen[i])
        continue;
      score = 0;
      for (j = 0; j < d; j++)
        score += (double) q[j] * keys[(gsize) i * C + j];
      score = score / sqrt (d) + (i == n_keys - 1 ? last_bias : 0);
      if (pass == 0) {
        largest = MAX (largest, score);
        continue;
      }
      score = exp (score - largest);
      sum += score;
      for (j = 0; j < d; j++)
        out[j] += score * values[(gsize) i * C + j];
    }
  }
  for (j = 0; j < d; j++)
    out[j] /= sum;
}

/* frames x n queries; blocks of 0: dense. */
typedef struct
{
  gint frames, visible, n, heads, d, block_q, block_k, count;
} AttentionCase;

static void
check_attention (const AttentionCase *c, GRand *rand)
{
  gint C = c->heads * c->d, L = c->frames * c->n, keys = c->visible * c->n;
  gint frame_blocks = c->count ? (c->n + c->block_k - 1) / c->block_k : 0;
  gint q_blocks = c->count ? (L + c->block_q - 1) / c->block_q : 0;
  gint all = c->visible * frame_blocks, n_levels, level, i, j, h;
  /* slots lie in the cache from back to front, with one between them */
  gint n_slots = 2 * c->visible;
  g_autofree gint32 *slots = g_new (gint32, c->visible);
  g_autofree gint32 *list = g_new (gint32, (gsize) c->heads * q_blocks * c->count + 1);
  g_autofree float *q = random_floats (rand, (gsize) L * C, 3);
  g_autofree float *k = random_floats (rand, (gsize) n_slots * c->n * C, 3);
  g_autofree float *v = random_floats (rand, (gsize) n_slots * c->n * C, 1);
  g_autofree float *k_seen = g_new (float, (gsize) keys *C), *v_seen = g_new (float, keys *C);
  g_autofree float *y = g_new (float, (gsize) L *C), *again = g_new (float, (gsize) L *C);
  g_autofree guint8 *seen = g_new (guint8, keys);
  g_autofree double *out = g_new (double, c->d);
  const LfGemmLevel *const *levels = lf_cpu_gemm_levels (&n_levels);
  gsize frame = (gsize) c->n * C;

  for (i = 0; i < c->visible; i++) {
    slots[i] = 2 * (c->visible - 1 - i);
    memcpy (k_seen + i * frame, k + slots[i] * frame, frame * sizeof (float));
    memcpy (v_seen + i * frame, v + slots[i] * frame, frame * sizeof (float));
  }
  for (i = 0; i < c->heads * q_blocks; i++) {
    gint at = 0;

    for (j = 0; j < all && at < c->count; j++)
      if (g_rand_int_range (rand, 0, all - j) < c->count - at)
        list[i * c->count + at++] = j;
  }
  for (level = 0; level < n_levels; level++) {
    Fixture one = open_cpu (1), three = open_cpu (3);
    LfAttention a = {q, k, v, y, slots, c->frames, c->visible, c->n, c->heads, c->d,
        c->count ? list : NULL, c->count, c->block_q, c->block_k};

    lf_cpu_attention_at (levels[level], one.q, &a);
    a.y = again;
    lf_cpu_attention_at (levels[level], three.q, &a);
    check_same (y, again, (gsize) L * C);
    for (i = 0; i < L; i++) {
      for (h = 0; h < c->heads; h++) {
        gsize at = (gsize) i * C + h * c->d;

        memset (seen, c->count == 0, keys);
        for (j = 0; j < c->count; j++) {
          gint block = list[(h * q_blocks + i / c->block_q) * c->count + j];
          gint first = block % frame_blocks * c->block_k;

          memset (seen + block / frame_blocks * c->n + first, 1, MIN (c->block_k, c->n - first));
        }
        plain_attention (out, q + at, k_seen + h * c->d, v_seen + h * c->d, C, c->d, seen, keys, 0);
        for (j = 0; j < c->d; j++)
          g_assert_cmpfloat_with_epsilon (y[at + j], out[j], 1e-5);
      }
    }
    close_cpu (&one);
    close_cpu (&three);
  }
}

static void
test_attention (void)
{
  static const AttentionCase cases[] = {
      {1, 2, 160, 1, 64, 32, 32, 5},
      {2, 3, 70, 2, 12, 0, 0, 0},
      {1, 1, 1, 1, 1, 0, 0, 0},
      {2, 2, 50, 2, 40, 16, 8, 9},
      {1, 2, 330, 1, 16, 128, 150, 4},
      {1, 3, 33, 3, 20, 5, 7, 1},
      {1, 2, 20, 1, 8, 64, 1000, 1},
      {1, 2, 300, 1, 128, 0, 0, 0},
  };
  g_autoptr (GRand) rand = g_rand_new_with_seed (6);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++)
    check_attention (&cases[i], rand);
}

static void
test_text_attention (void)
{
  static const gint tokens[] = {1, 5, 64, 300};
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);
  gint n_levels, level, i, h, j;
  const LfGemmLevel *const *levels = lf_cpu_gemm_levels (&n_levels);
  guint t;
  enum
  {
    L = 50,
    H = 2,
    D = 20
  };

  for (t = 0; t < G_N_ELEMENTS (tokens); t++) {
    gsize keys = tokens[t];
    g_autofree float *q = random_floats (rand, L * H * D, 2);
    g_autofree float *k = random_floats (rand, keys * H * D, 2);
    g_autofree float *v = random_floats (rand, keys * H * D, 1);
    g_autofree guint8 *seen = g_malloc (keys);
    float y[L * H * D], again[L * H * D];

    memset (seen, 1, keys);
    for (level = 0; level < n_levels; level++) {
      Fixture one = open_cpu (1), three = open_cpu (3);

      lf_cpu_text_attention_at (levels[level], one.q, y, q, k, v, L, keys, H, D, 2.5);
      lf_cpu_text_attention_at (levels[level], three.q, again, q, k, v, L, keys, H, D, 2.5);
      check_same (y, again, L * H * D);
      for (i = 0; i < L; i++) {
        for (h = 0; h < H; h++) {
          double out[D];

          plain_attention (
              out, q + (i * H + h) * D, k + h * D, v + h * D, H * D, D, seen, keys, 2.5);
          for (j = 0; j < D; j++)
            g_assert_cmpfloat_with_epsilon (y[(i * H + h) * D + j], out[j], 1e-5);
        }
      }
      close_cpu (&one);
      close_cpu (&three);
    }
  }
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/linear/shapes", test_linear_shapes);
  g_test_add_func ("/linear/random", test_linear_random);
  g_test_add_func ("/linear/activation-ends", test_activation_ends);
  g_test_add_func ("/linear/activation-underflow", test_activation_underflow);
  g_test_add_func ("/attention/self", test_attention);
  g_test_add_func ("/attention/text", test_text_attention);
  return g_test_run ();
}
