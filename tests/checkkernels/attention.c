/* lightforce: checkkernels, attention
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "check.h"

typedef enum
{
  SCORES_PLAIN,
  SCORES_HUGE,  /* up to 10^4 of either sign, exact in float32 but for the scale */
  SCORES_EQUAL, /* all the same: plain means */
  SCORES_MIXED  /* of keys with zeros, denormals and large numbers */
} Scores;

static const char *const scores_names[] = {"", " huge", " equal", " mixed"};

/* Makes queries and keys such that scores are of the kind. */
static void
fill_scores (Ck *c, float *q, gsize q_count, float *k, gsize k_count, gint d, Scores kind)
{
  /* a sum of d products of -3 .. 3 is 4 sqrt (d) or so; 10^4 of it, once scaled */
  float gain = exp2f (rintf (log2f (1e4f / 14)));
  gsize i;

  if (kind == SCORES_MIXED) {
    ck_fill (c, k, k_count / d, d, CK_MIXED);
    ck_fill (c, q, q_count / d, d, CK_MIXED);
  } else if (kind == SCORES_HUGE) {
    ck_fill (c, k, k_count / d, d, CK_INTEGERS);
    ck_fill (c, q, q_count / d, d, CK_INTEGERS);
    for (i = 0; i < k_count; i++)
      k[i] *= gain;
  } else if (kind == SCORES_EQUAL) {
    for (i = 0; i < k_count; i++)
      k[i] = (i % d) % 3 - 1.0f;
  }
}

/* A score of 10^4 has 10^-3 to its last bit, and so have its weights; mixed ones reach some
 * hundred. */
static double
slack_of (const Ck *c, Scores kind)
{
  gboolean floats = c->tested.be->act == LF_DTYPE_F32;

  return kind == SCORES_HUGE ? (floats ? 400 : 3) : kind == SCORES_MIXED && floats ? 10 : 1;
}

/* --------------------------------------------------------- self-attention */

typedef struct
{
  gint frames, visible, n, heads, d;
  gint count; /* blocks of a list; 0: dense; < 0: all */
  gint block_q, block_k;
  Scores scores;
} Attention;

static void
attention (Ck *c, const Attention *a)
{
  g_autofree gint32 *slots = g_new (gint32, a->visible);
  gint C = a->heads * a->d, L = a->frames * a->n, all = 2 * a->visible + 1;
  gint frame_blocks = a->count ? (a->n + a->block_k - 1) / a->block_k : 0;
  gint q_blocks = a->count ? (L + a->block_q - 1) / a->block_q : 0;
  gint blocks = a->visible * frame_blocks, count = a->count < 0 ? blocks : MIN (a->count, blocks);
  CkBuffer *queries, *keys, *values, *list = NULL, *y;
  gint i;

  if (a->count)
    ck_begin (c, "d=%d heads=%d F=%d P=%d n=%d %dx%d %d of %d blocks%s", a->d, a->heads, a->frames,
        a->visible, a->n, a->block_q, a->block_k, count, blocks, scores_names[a->scores]);
  else
    ck_begin (c, "d=%d heads=%d F=%d P=%d n=%d dense%s", a->d, a->heads, a->frames, a->visible,
        a->n, scores_names[a->scores]);
  ck_slots (c, slots, a->visible);
  queries = ck_in (c, CK_ACT, "q", L, C, CK_NORMAL);
  keys = ck_in (c, CK_ACT, "keys", (gsize) all * a->n, C, CK_NORMAL);
  values = ck_in (c, CK_ACT, "values", (gsize) all * a->n, C, CK_NORMAL);
  fill_scores (c, queries->values, queries->count, keys->values, keys->count, a->d, a->scores);
  ck_poison_slots (keys, all, slots, a->visible);
  ck_poison_slots (values, all, slots, a->visible);
  if (a->count) {
    list = ck_in (c, CK_INT, "list", (gsize) a->heads * q_blocks, count, CK_ZEROS);
    for (i = 0; i < a->heads * q_blocks; i++)
      ck_choose (c, (gint32 *) list->bytes + (gsize) i * count, count, blocks, TRUE);
  }
  y = ck_out (c, CK_ACT, "y", L, C);
  c->slack = slack_of (c, a->scores);
  c->flops = 4.0 * L * C
             * (a->count ? (double) count * MIN (a->block_k, a->n) : (double) a->visible * a->n);
  CK_RUN (c, LfAttention o = {.q = ck_at (queries),
                 .keys = ck_at (keys),
                 .values = ck_at (values),
                 .y = ck_at (y),
                 .slots = slots,
                 .frames = a->frames,
                 .visible = a->visible,
                 .n = a->n,
                 .heads = a->heads,
                 .d = a->d,
                 .list = list ? ck_at (list) : NULL,
                 .count = count,
                 .block_q = a->block_q,
                 .block_k = a->block_k};
          ops->attention (q, &o));
}

static void
bench_attention (Ck *c)
{
  static const Attention cases[] = {
      {3, 3, 1536, 12, 128, 0, 0, 0, SCORES_PLAIN},
      {3, 12, 1536, 12, 128, 0, 0, 0, SCORES_PLAIN},
      {3, 21, 1536, 12, 128, 0, 0, 0, SCORES_PLAIN},
      {3, 21, 1536, 12, 128, 50, 128, 128, SCORES_PLAIN}, /* 20% of 252 */
      {3, 21, 1536, 12, 128, 30, 128, 128, SCORES_PLAIN},
      {3, 21, 1536, 12, 128, 100, 64, 64, SCORES_PLAIN},
      {3, 21, 1536, 12, 128, 60, 64, 64, SCORES_PLAIN},
      {3, 21, 1560, 12, 128, 0, 0, 0, SCORES_PLAIN},
      {3, 21, 1560, 12, 128, 54, 128, 128, SCORES_PLAIN},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++)
    attention (c, &cases[i]);
}

/* Everything small against everything small, of random numbers. */
static void
random_attention (Ck *c)
{
  static const gint widths[] = {16, 20, 64, 128, 32, 40, 96, 8};
  static const gint blocks[] = {64, 128, 64, 128, 48, 20, 7, 9, 16, 1};
  Attention a = {.frames = ck_random_int (c, 1, 3),
      .visible = ck_random_int (c, 1, 9),
      .n = ck_random_int (c, 1, 200),
      .heads = ck_random_int (c, 1, 4),
      .d = widths[ck_random_int (c, 0, G_N_ELEMENTS (widths) - 1)],
      .block_q = blocks[ck_random_int (c, 0, G_N_ELEMENTS (blocks) - 1)],
      .block_k = blocks[ck_random_int (c, 0, G_N_ELEMENTS (blocks) - 1)],
      .scores = ck_random_int (c, 0, 11)};

  a.scores = a.scores > SCORES_MIXED ? SCORES_PLAIN : a.scores;
  a.visible = MAX (a.visible, a.frames);
  if (ck_random_int (c, 0, 3))
    a.count = ck_random_int (c, 1, MAX (1, a.visible * ((a.n + a.block_k - 1) / a.block_k)));
  attention (c, &a);
}

void
ck_check_attention (Ck *c)
{
  static const Attention quick[] = {
      {1, 3, 65, 2, 128, 0, 0, 0, SCORES_PLAIN},
      {2, 3, 130, 1, 128, 3, 128, 128, SCORES_PLAIN},
      {1, 2, 65, 1, 64, 2, 64, 64, SCORES_HUGE},
      {1, 2, 21, 3, 20, 3, 48, 20, SCORES_PLAIN},
      {3, 3, 9, 2, 16, -1, 7, 9, SCORES_EQUAL},
  };
  static const Attention cases[] = {
      /* one token, one frame */
      {1, 1, 1, 1, 16, 0, 0, 0, SCORES_PLAIN},
      {1, 1, 1, 3, 128, 1, 64, 64, SCORES_PLAIN},
      {3, 3, 1, 2, 20, 2, 7, 9, SCORES_PLAIN},
      /* sizes off every tile */
      {1, 2, 7, 1, 64, 0, 0, 0, SCORES_PLAIN},
      {1, 2, 31, 2, 128, 0, 0, 0, SCORES_MIXED},
      {3, 4, 33, 2, 16, 0, 0, 0, SCORES_PLAIN},
      {2, 3, 63, 1, 128, 0, 0, 0, SCORES_EQUAL},
      {3, 5, 127, 2, 128, 0, 0, 0, SCORES_HUGE},
      {3, 6, 129, 12, 64, 0, 0, 0, SCORES_PLAIN},
      {3, 6, 128, 4, 128, 0, 0, 0, SCORES_PLAIN},
      {3, 6, 160, 5, 20, 0, 0, 0, SCORES_MIXED},
      {1, 21, 1536, 2, 128, 0, 0, 0, SCORES_PLAIN},
      {3, 21, 97, 3, 64, 0, 0, 0, SCORES_HUGE},
      /* lists: one block, all, whole and short last blocks */
      {3, 6, 128, 4, 128, 1, 128, 128, SCORES_PLAIN},
      {3, 6, 128, 4, 128, -1, 128, 128, SCORES_PLAIN},
      {3, 6, 192, 4, 128, 5, 128, 128, SCORES_HUGE},
      {3, 6, 192, 2, 128, 7, 64, 64, SCORES_PLAIN},
      {3, 6, 192, 2, 128, 8, 64, 64, SCORES_EQUAL},
      {3, 6, 192, 2, 128, 1, 64, 64, SCORES_PLAIN},
      {3, 6, 192, 3, 128, -1, 64, 64, SCORES_MIXED},
      {3, 7, 200, 2, 128, 9, 64, 128, SCORES_PLAIN},
      {3, 7, 200, 2, 128, 9, 128, 64, SCORES_PLAIN},
      {2, 7, 321, 12, 64, 11, 64, 64, SCORES_PLAIN},
      {3, 12, 390, 3, 128, 12, 128, 128, SCORES_PLAIN},
      {3, 5, 160, 5, 20, 6, 64, 64, SCORES_PLAIN},
      {3, 5, 160, 5, 16, 4, 48, 20, SCORES_HUGE},
      {3, 5, 65, 4, 64, 10, 7, 9, SCORES_MIXED},
      {1, 2, 129, 1, 128, 1, 64, 64, SCORES_PLAIN}, /* a list may hold one token */
      {1, 2, 129, 1, 128, 1, 128, 128, SCORES_PLAIN},
      {3, 21, 1560, 2, 128, 54, 128, 128, SCORES_PLAIN},
      {3, 21, 1536, 2, 128, 60, 64, 64, SCORES_PLAIN},
  };
  guint i;

  if (c->bench) {
    bench_attention (c);
    return;
  }
  for (i = 0; i < G_N_ELEMENTS (quick); i++)
    attention (c, &quick[i]);
  for (i = 0; i < G_N_ELEMENTS (cases) && !c->quick; i++)
    attention (c, &cases[i]);
  for (i = 0; i < 80 && !c->quick; i++)
    random_attention (c);
}

/* --------------------------------------------------------- text attention */

static void
text_attention (Ck *c, gint rows, gint tokens, gint heads, gint d, float last_bias, Scores scores)
{
  CkBuffer *queries, *k, *v, *y;
  gint C = heads * d;

  ck_begin (c, "rows=%d tokens=%d heads=%d d=%d bias=%g%s", rows, tokens, heads, d, last_bias,
      scores_names[scores]);
  queries = ck_in (c, CK_ACT, "q", rows, C, CK_NORMAL);
  k = ck_in (c, CK_ACT, "k", tokens, C, CK_NORMAL);
  v = ck_in (c, CK_ACT, "v", tokens, C, CK_NORMAL);
  fill_scores (c, queries->values, queries->count, k->values, k->count, d, scores);
  y = ck_out (c, CK_ACT, "y", rows, C);
  c->slack = slack_of (c, scores);
  c->flops = 4.0 * rows * tokens * C;
  CK_RUN (c, ops->text_attention (q, ck_at (y), ck_at (queries), ck_at (k), ck_at (v), rows, tokens,
                 heads, d, last_bias));
}

void
ck_check_text_attention (Ck *c)
{
  static const gint tokens[] = {33, 2, 1, 77, 78, 512, 127, 129, 600};
  static const gint sizes[][3] = {
      {7, 3, 20}, {65, 1, 128}, {1, 2, 16}, {130, 12, 64}, {129, 4, 128}, {63, 2, 128}};
  static const float biases[] = {6.07f, 0, 60, -40};
  gint i, j;

  if (c->bench) {
    text_attention (c, 4608, 78, 12, 128, 6.07f, SCORES_PLAIN);
    text_attention (c, 4608, 512, 12, 128, 0, SCORES_PLAIN);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (tokens)); i++)
    for (j = 0; j < ck_cases (c, G_N_ELEMENTS (sizes)); j++)
      text_attention (c, sizes[j][0], tokens[i], sizes[j][1], sizes[j][2],
          biases[(i + j) % G_N_ELEMENTS (biases)], (i * 5 + j) % 7 % 4);
  if (!c->quick)
    text_attention (c, 1001, 300, 12, 128, 5.3f, SCORES_PLAIN);
}

/* ----------------------------------------------------------- text encoder */

static void
t5_attention (Ck *c, gint T, gint length, gint heads, gint d, gint buckets)
{
  CkBuffer *qkv, *bias, *y;
  gint C = heads * d, i;
  gsize j;

  ck_begin (c, "T=%d length=%d heads=%d d=%d buckets=%d", T, length, heads, d, buckets);
  qkv = ck_in (c, CK_ACT, "qkv", (gsize) T * 3, C, CK_NORMAL);
  for (i = 0; i < T; i++) {
    float *k = qkv->values + ((gsize) i * 3 + 1) * C;

    for (j = 0; j < (gsize) C; j++)
      k[j] /= sqrtf (d) / 2; /* scores are not scaled */
    for (j = 0; j < 2 * (gsize) C && i >= length; j++)
      k[j] = NAN; /* a masked key is not looked at */
  }
  bias = ck_in (c, CK_F32, "bias", buckets, heads, CK_NORMAL);
  for (j = 0; j < bias->count; j++)
    bias->values[j] *= 3;
  y = ck_out (c, CK_ACT, "y", T, C);
  c->flops = 4.0 * T * length * C;
  CK_RUN (
      c, ops->t5_attention (q, ck_at (y), ck_at (qkv), ck_at (bias), T, length, heads, d, buckets));
}

void
ck_check_t5_attention (Ck *c)
{
  static const gint cases[][5] = {
      {33, 33, 2, 16, 32},
      {7, 5, 3, 20, 8},
      {65, 64, 1, 64, 32},
      {1, 1, 1, 16, 32},
      {2, 1, 6, 64, 32},
      {31, 31, 4, 12, 16},
      {129, 127, 2, 64, 32},
      {300, 300, 3, 64, 32},
      {512, 77, 2, 64, 32},
      {512, 512, 8, 64, 32},
  };
  gint i;

  if (c->bench) {
    t5_attention (c, 77, 77, 64, 64, 32);
    t5_attention (c, 512, 512, 64, 64, 32);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++)
    t5_attention (c, cases[i][0], cases[i][1], cases[i][2], cases[i][3], cases[i][4]);
}

static void
embed (Ck *c, gint vocab, gint T, gint C, LfDType dtype)
{
  g_autofree gint32 *ids = g_new (gint32, T);
  CkBuffer *table, *y;
  gint i;

  ck_begin (c, "vocab=%d T=%d C=%d %s", vocab, T, C, lf_dtype_name (dtype));
  for (i = 0; i < T; i++)
    ids[i] = i == 0 ? vocab - 1 : i == 1 ? 0 : ck_random_int (c, 0, vocab - 1);
  table = ck_weight (c, dtype, "table", vocab, C, NULL);
  y = ck_out (c, CK_F32, "y", T, C);
  c->bytes = (double) T * C * (lf_dtype_size (dtype) + sizeof (float));
  CK_RUN (c, ops->embed (q, ck_at (y), ck_at (table), dtype, ids, T, C));
}

void
ck_check_embed (Ck *c)
{
  static const LfDType dtypes[] = {LF_DTYPE_BF16, LF_DTYPE_F16, LF_DTYPE_F32};
  static const gint cases[][3] = {
      {50, 3, 33}, {9, 31, 128}, {100, 1, 7}, {1, 1, 1}, {3, 129, 64}, {300, 77, 4096}};
  gint i, j;

  if (c->bench) {
    embed (c, 5000, 512, 4096, LF_DTYPE_BF16);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++)
    for (j = 0; j < 3; j++)
      embed (c, cases[i][0], cases[i][1], cases[i][2], dtypes[j]);
}
