/* lightforce: checkkernels, pooling and the selection of blocks
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "check.h"

/* ----------------------------------------------------------------- pooling */

static void
pool_blocks (Ck *c, gint rows, gint C, gint block, gsize shift)
{
  CkBuffer *x, *y;

  ck_begin (c, "rows=%d C=%d block=%d%s", rows, C, block, shift ? " shifted" : "");
  c->shift = shift;
  x = ck_in (c, CK_ACT, "x", rows, C, CK_MIXED);
  y = ck_out (c, CK_F32, "y", (rows + block - 1) / block, C);
  c->bytes = (double) x->count * lf_dtype_size (c->tested.be->act);
  CK_RUN (c, ops->pool_blocks (q, ck_at (y), ck_at (x), rows, C, block));
}

void
ck_check_pool_blocks (Ck *c)
{
  static const gint cases[][3] = {
      {65, 33, 64},
      {7, 20, 3},
      {33, 128, 48},
      {1, 1, 1},
      {1, 7, 64},
      {127, 65, 128},
      {128, 64, 128},
      {257, 129, 64},
      {60, 1000, 7},
      {500, 1536, 128},
      {129, 516, 1},
  };
  gint i;

  if (c->bench) {
    pool_blocks (c, 4608, 1536, 128, 0);
    pool_blocks (c, 4608, 1536, 64, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++) {
    pool_blocks (c, cases[i][0], cases[i][1], cases[i][2], 0);
    pool_blocks (c, cases[i][0], cases[i][1], cases[i][2], 1);
  }
}

static void
pool_frames (Ck *c, gint frames, gint n, gint C, gint block, gboolean with_means)
{
  g_autofree gint32 *slots = g_new (gint32, frames);
  gint all = 2 * frames + 1, frame_blocks = (n + block - 1) / block;
  CkBuffer *cache, *pooled, *means = NULL;

  ck_begin (
      c, "frames=%d n=%d C=%d block=%d%s", frames, n, C, block, with_means ? "" : " without means");
  ck_slots (c, slots, frames);
  cache = ck_in (c, CK_ACT, "cache", (gsize) all * n, C, CK_MIXED);
  ck_poison_slots (cache, all, slots, frames);
  pooled = ck_out (c, CK_F32, "pooled", (gsize) all * frame_blocks, C);
  pooled->gaps = TRUE;
  if (with_means) {
    means = ck_out (c, CK_F32, "means", all, C);
    means->gaps = TRUE;
  }
  c->bytes = (double) frames * n * C * lf_dtype_size (c->tested.be->act);
  CK_RUN (c, ops->pool_frames (q, ck_at (pooled), with_means ? ck_at (means) : NULL, ck_at (cache),
                 slots, frames, n, C, block));
}

void
ck_check_pool_frames (Ck *c)
{
  static const gint cases[][4] = {
      {2, 65, 33, 64},
      {1, 7, 20, 9},
      {3, 31, 128, 16},
      {1, 1, 1, 1},
      {3, 1, 7, 64},
      {2, 127, 65, 128},
      {3, 128, 64, 128},
      {9, 160, 100, 64},
      {2, 390, 1536, 128},
      {3, 200, 516, 20},
  };
  gint i;

  if (c->bench) {
    pool_frames (c, 3, 1536, 1536, 128, TRUE);
    pool_frames (c, 3, 1536, 1536, 128, FALSE);
    pool_frames (c, 12, 1536, 1536, 64, TRUE);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++) {
    pool_frames (c, cases[i][0], cases[i][1], cases[i][2], cases[i][3], TRUE);
    pool_frames (c, cases[i][0], cases[i][1], cases[i][2], cases[i][3], FALSE);
  }
}

/* --------------------------------------------------------------- selection */

typedef struct
{
  gint heads, d, q_blocks, frame_blocks, past, frames, keep_sink, keep_near, picked, count;
} Select;

typedef enum
{
  FILL_GRID,     /* scores differ, mostly */
  FILL_INTEGERS, /* many are equal */
  FILL_EQUAL,    /* all are */
  FILL_NAN,      /* some are no numbers */
  N_FILLS
} Fill;

static const char *const fill_names[] = {"", " repeated", " equal", " with NaN"};

/* Scores are exact in any order of summing, so that lists are one and the same everywhere. */
static void
select_blocks (Ck *c, const Select *a, Fill fill)
{
  static const CkFill fills[] = {CK_GRID, CK_INTEGERS, CK_ZEROS, CK_GRID};
  gint visible = a->past + a->frames, all = 2 * visible + 1, C = a->heads * a->d;
  g_autofree gint32 *slots = g_new (gint32, visible);
  CkBuffer *q_pooled, *k_pooled, *k_means, *list;
  gsize i;

  ck_begin (c,
      "heads=%d d=%d q_blocks=%d blocks=%d past=%d F=%d sink=%d near=%d picked=%d count=%d%s",
      a->heads, a->d, a->q_blocks, a->frame_blocks, a->past, a->frames, a->keep_sink, a->keep_near,
      a->picked, a->count, fill_names[fill]);
  ck_slots (c, slots, visible);
  q_pooled = ck_in (c, CK_F32, "q_pooled", a->q_blocks, C, fills[fill]);
  k_pooled = ck_in (c, CK_F32, "k_pooled", (gsize) all * a->frame_blocks, C, fills[fill]);
  k_means = ck_in (c, CK_F32, "k_means", all, C, fills[fill]);
  for (i = 0; fill == FILL_NAN && i < k_pooled->count; i += 1 + ck_random (c) % 97)
    k_pooled->values[i] = NAN;
  for (i = 0; fill == FILL_NAN && i < k_means->count; i += 1 + ck_random (c) % 97)
    k_means->values[i] = NAN;
  ck_poison_slots (k_pooled, all, slots, visible);
  ck_poison_slots (k_means, all, slots, visible);
  list = ck_out (c, CK_INT, "list", (gsize) a->heads * a->q_blocks, a->count);
  c->flops = 2.0 * a->q_blocks * visible * a->frame_blocks * C;
  CK_RUN (c, LfSelectBlocks o = {.q_pooled = ck_at (q_pooled),
                 .k_pooled = ck_at (k_pooled),
                 .k_means = ck_at (k_means),
                 .slots = slots,
                 .heads = a->heads,
                 .d = a->d,
                 .q_blocks = a->q_blocks,
                 .frame_blocks = a->frame_blocks,
                 .past = a->past,
                 .frames = a->frames,
                 .keep_sink = a->keep_sink,
                 .keep_near = a->keep_near,
                 .picked = a->picked,
                 .count = a->count,
                 .list = ck_at (list)};
          ops->select_blocks (q, &o));
}

static void
random_select (Ck *c)
{
  static const gint widths[] = {16, 20, 64, 128, 7, 1};
  Select a = {.heads = ck_random_int (c, 1, 4),
      .d = widths[ck_random_int (c, 0, G_N_ELEMENTS (widths) - 1)],
      .q_blocks = ck_random_int (c, 1, 20),
      .frame_blocks = ck_random_int (c, 1, 30),
      .past = ck_random_int (c, 0, 24),
      .frames = ck_random_int (c, 1, 3)};
  gint candidates = a.past + a.frames;

  if (a.past > 3) {
    a.keep_sink = ck_random_int (c, 0, 1);
    a.keep_near = ck_random_int (c, 0, 2);
    a.picked = ck_random_int (c, -1, a.past - a.keep_sink - a.keep_near - 1);
    if (a.picked >= 0)
      candidates = a.keep_sink + a.keep_near + a.picked + a.frames;
  } else {
    a.picked = -1;
  }
  a.count = ck_random_int (c, 1, candidates * a.frame_blocks);
  select_blocks (c, &a, ck_random_int (c, 0, N_FILLS - 1));
}

void
ck_check_select_blocks (Ck *c)
{
  static const Select cases[] = {
      {2, 20, 5, 3, 9, 3, 1, 2, 3, 11},
      {1, 128, 3, 4, 3, 3, 1, 2, -1, 5},
      {3, 16, 4, 1, 20, 1, 1, 1, 1, 4},
      {1, 1, 1, 1, 0, 1, 0, 0, -1, 1},
      {2, 64, 6, 5, 0, 3, 1, 2, -1, 15},
      {2, 64, 6, 5, 7, 3, 1, 2, 0, 30}, /* none is picked; all candidates are taken */
      {2, 64, 6, 5, 7, 3, 1, 2, 3, 45},
      {2, 64, 6, 5, 7, 3, 0, 0, 6, 1},
      {12, 128, 36, 12, 18, 3, 1, 2, 3, 50},
      {12, 128, 72, 24, 18, 3, 1, 2, 3, 100},
      {2, 128, 9, 25, 9, 3, 1, 1, 1, 33},
      {1, 64, 4, 37, 60, 3, 1, 2, 30, 700},
  };
  static const Select published[] = {
      {12, 128, 36, 12, 18, 3, 1, 2, 3, 50}, {12, 128, 72, 24, 18, 3, 1, 2, 3, 60}};
  gint i, fill;

  if (c->bench) {
    for (i = 0; i < 2; i++)
      select_blocks (c, &published[i], FILL_GRID);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++)
    for (fill = 0; fill < N_FILLS; fill++)
      select_blocks (c, &cases[i], fill);
  for (i = 0; i < 60 && !c->quick; i++)
    random_select (c);
}
