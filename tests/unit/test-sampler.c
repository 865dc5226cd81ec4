/* lightforce: tests of noise, levels and sparsity
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "core/backend.h"
#include "core/philox.h"
#include "core/sampler.h"
#include "core/sparsity.h"
#include "tests/unit/cpu-fixture.h"

/* Known answers of the authors' Random123 library (file kat_vectors, philox 4x32 10). */
static void
test_philox (void)
{
  static const struct
  {
    guint32 counter[4], key[2], expected[4];
  } cases[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
          {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
          {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  guint32 out[4];
  guint i, j;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    lf_philox4x32 (cases[i].counter, cases[i].key, out);
    for (j = 0; j < 4; j++)
      g_assert_cmphex (out[j], ==, cases[i].expected[j]);
  }
}

static void
test_noise (void)
{
  enum
  {
    COUNT = 100003
  };
  Fixture one = open_cpu (1), three = open_cpu (3);
  g_autofree float *a = g_new0 (float, COUNT), *b = g_new0 (float, COUNT);
  double sum = 0, squares = 0, fourth = 0, correlation = 0;
  gint i;

  one.be->ops->noise (one.q, a, COUNT, 42, 7, 2);
  three.be->ops->noise (three.q, b, COUNT, 42, 7, 2);
  g_assert_cmpmem (a, COUNT * sizeof (float), b, COUNT * sizeof (float));
  for (i = 0; i < COUNT; i++) {
    g_assert_true (isfinite (a[i]));
    sum += a[i];
    squares += (double) a[i] * a[i];
    fourth += pow (a[i], 4);
    if (i)
      correlation += (double) a[i] * a[i - 1];
  }
  /* five standard errors each */
  g_assert_cmpfloat (fabs (sum / COUNT), <, 5 / sqrt (COUNT));
  g_assert_cmpfloat (fabs (squares / COUNT - 1), <, 5 * sqrt (2.0 / COUNT));
  g_assert_cmpfloat (fabs (fourth / COUNT - 3), <, 5 * sqrt (96.0 / COUNT));
  g_assert_cmpfloat (fabs (correlation / COUNT), <, 5 / sqrt (COUNT));

  /* seed, chunk and step each make other noise */
  one.be->ops->noise (one.q, b, COUNT, 43, 7, 2);
  g_assert_cmpint (memcmp (a, b, COUNT * sizeof (float)), !=, 0);
  one.be->ops->noise (one.q, b, COUNT, 42, 8, 2);
  g_assert_cmpint (memcmp (a, b, COUNT * sizeof (float)), !=, 0);
  one.be->ops->noise (one.q, b, COUNT, 42, 7, 3);
  g_assert_cmpint (memcmp (a, b, COUNT * sizeof (float)), !=, 0);
  one.be->ops->noise (one.q, b, COUNT, 42 | G_GUINT64_CONSTANT (1) << 40, 7, 2);
  g_assert_cmpint (memcmp (a, b, COUNT * sizeof (float)), !=, 0);
  close_cpu (&one);
  close_cpu (&three);
}

static void
test_sigma (void)
{
  static const double steps[] = {1000, 750, 500, 250, 0};
  static const double levels[] = {1, 0.9375, 5.0 / 6, 0.625, 0};
  guint i;

  for (i = 0; i < G_N_ELEMENTS (steps); i++)
    g_assert_cmpfloat_with_epsilon (lf_sigma_of (steps[i], 5), levels[i], 1e-15);
  g_assert_cmpfloat_with_epsilon (lf_sigma_of (250, 1), 0.25, 1e-15);
}

static void
test_block_budget (void)
{
  LfSparse s = {.enabled = TRUE, .keep_frames = 6, .keep_sink = 1, .keep_near = 2};
  LfBlockBudget b;

  /* short past: all frames are candidates */
  b = lf_block_budget (&s, 0.8, 6, 3, 12);
  g_assert_cmpint (b.picked, ==, -1);
  g_assert_cmpint (b.count, ==, 21);
  /* long past: three frames are picked, the budget stays a share of all blocks */
  b = lf_block_budget (&s, 0.8, 18, 3, 12);
  g_assert_cmpint (b.picked, ==, 3);
  g_assert_cmpint (b.count, ==, 50);
  /* never more than the candidates, never none */
  b = lf_block_budget (&s, 0.1, 18, 3, 12);
  g_assert_cmpint (b.count, ==, 9 * 12);
  b = lf_block_budget (&s, 0.9999, 3, 3, 1);
  g_assert_cmpint (b.count, ==, 1);
}

static void
test_sparse_check (void)
{
  static const LfSparse good = {TRUE, 0.8, 0.9, 21, 64, 64, 6, 1, 2};
  LfSparse s = good;
  g_autoptr (GError) error = NULL;

  g_assert_true (lf_sparse_check (&s, &error));
  g_assert_no_error (error);
#define REFUSED(member, value, word)                                                               \
  s = good;                                                                                        \
  s.member = value;                                                                                \
  g_assert_false (lf_sparse_check (&s, &error));                                                   \
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);                                             \
  g_assert_nonnull (strstr (error->message, word));                                                \
  g_clear_error (&error)
  REFUSED (target, 1, "sparsity");
  REFUSED (target, NAN, "sparsity");
  REFUSED (target, -0.1, "sparsity");
  REFUSED (base, 0.7, "sparsity-base");
  REFUSED (base, NAN, "sparsity-base");
  REFUSED (keep_frames, 2, "keep-frames");
  REFUSED (keep_sink, -1, "keep-frames");
  REFUSED (keep_sink, G_MAXINT, "keep-frames");
  REFUSED (keep_near, G_MAXINT, "keep-frames");
  REFUSED (block_k, 0, "blocks");
  REFUSED (block_k, G_MAXINT, "blocks");
  REFUSED (block_q, G_MAXINT, "blocks");
  REFUSED (total_frames, 0, "frames");
#undef REFUSED
  s = good;
  s.enabled = FALSE;
  s.target = 7;
  g_assert_true (lf_sparse_check (&s, &error));
  /* it may be enabled while a stream runs, and blocks stay */
  s.block_k = G_MAXINT;
  g_assert_false (lf_sparse_check (&s, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
}

/* Equal scores must give as many blocks as asked for, each once, in order; scores that are no
 * numbers must not break that. */
static void
test_select_ties (void)
{
  Fixture f = open_cpu (2);
  enum
  {
    D = 4,
    BLOCKS = 5,
    PAST = 6,
    FRAMES = 2,
    SLOTS = PAST + FRAMES,
    COUNT = 7
  };
  float q_pooled[2 * D], k_pooled[SLOTS * BLOCKS * D], k_means[SLOTS * D];
  gint32 slots[SLOTS] = {3, 1, 7, 0, 2, 6, 5, 4}, list[2 * COUNT];
  LfSelectBlocks a = {.q_pooled = q_pooled,
      .k_pooled = k_pooled,
      .k_means = k_means,
      .slots = slots,
      .heads = 1,
      .d = D,
      .q_blocks = 2,
      .frame_blocks = BLOCKS,
      .past = PAST,
      .frames = FRAMES,
      .keep_sink = 1,
      .keep_near = 1,
      .picked = 2,
      .count = COUNT,
      .list = list};
  gint round, i, j;

  for (round = 0; round < 3; round++) {
    for (i = 0; i < (gint) G_N_ELEMENTS (q_pooled); i++)
      q_pooled[i] = round == 2 ? NAN : round;
    for (i = 0; i < (gint) G_N_ELEMENTS (k_pooled); i++)
      k_pooled[i] = 1;
    for (i = 0; i < (gint) G_N_ELEMENTS (k_means); i++)
      k_means[i] = round == 1 && i / D == 2 ? 9 : 1; /* slot 2 is visible frame 4 */
    memset (list, -1, sizeof (list));
    f.be->ops->select_blocks (f.q, &a);
    for (i = 0; i < 2; i++)
      for (j = 0; j < COUNT; j++) {
        gint32 block = list[i * COUNT + j];

        g_assert_cmpint (block, >=, 0);
        g_assert_cmpint (block, <, SLOTS * BLOCKS);
        if (j)
          g_assert_cmpint (block, >, list[i * COUNT + j - 1]);
      }
    /* ties go to the first: the sink's five blocks, then the first picked frame's */
    g_assert_cmpint (list[4], ==, 4);
    g_assert_cmpint (list[5], ==, 5);
  }
  close_cpu (&f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/philox/known-answers", test_philox);
  g_test_add_func ("/noise/normal", test_noise);
  g_test_add_func ("/sampler/sigma", test_sigma);
  g_test_add_func ("/sparsity/block-budget", test_block_budget);
  g_test_add_func ("/sparsity/check", test_sparse_check);
  g_test_add_func ("/select/ties", test_select_ties);
  return g_test_run ();
}
