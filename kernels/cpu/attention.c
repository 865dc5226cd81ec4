/* lightforce: attention on the CPU, dense and by block lists
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "cpu.h"
#include "vecmath.h"

/* Online softmax: keys come in tiles whose scores stay in the second-level cache. */
#define TILE_KEYS 512
#define TILE_QUERIES 64

/* Working memory of one thread for query tiles of M rows and heads of d. */
typedef struct
{
  float *scores;        /* (M, TILE_KEYS) */
  float *keys, *values; /* (TILE_KEYS, d): gathered */
  float *out;           /* (M, d) */
  float *maximum, *sum; /* (M) */
} Tile;

static gsize
tile_floats (gint M, gint d)
{
  return (gsize) M * TILE_KEYS + 2 * (gsize) TILE_KEYS * d + (gsize) M * d + 2 * (gsize) M;
}

static void
tile_start (Tile *t, float *scratch, gint M, gint d)
{
  gint i;

  t->scores = scratch;
  t->keys = t->scores + (gsize) M * TILE_KEYS;
  t->values = t->keys + (gsize) TILE_KEYS * d;
  t->out = t->values + (gsize) TILE_KEYS * d;
  t->maximum = t->out + (gsize) M * d;
  t->sum = t->maximum + M;
  memset (t->out, 0, (gsize) M * d * sizeof (float));
  for (i = 0; i < M; i++) {
    t->maximum[i] = -FLT_MAX;
    t->sum[i] = 0;
  }
}

/* Turns a row of scores into weights relative to its running maximum; rescales what was
 * summed before. */
LF_CPU_CLONES static void
softmax_row (float *scores, gint keys, float *out, gint d, float *maximum, float *sum)
{
  float m = *maximum, total = 0, rescale;
  gint i;

#pragma omp simd reduction(max : m)
  for (i = 0; i < keys; i++)
    m = scores[i] > m ? scores[i] : m;
#pragma omp simd reduction(+ : total)
  for (i = 0; i < keys; i++) {
    scores[i] = lf_exp (scores[i] - m);
    total += scores[i];
  }
  if (m != *maximum) {
    rescale = *sum > 0 ? lf_exp (*maximum - m) : 0;
    for (i = 0; i < d; i++)
      out[i] *= rescale;
    *sum *= rescale;
    *maximum = m;
  }
  *sum += total;
}

/* Adds `keys` gathered keys and values for M queries (ld elements a row). last_bias goes to
 * the score of key number biased, if that is one of them. */
static void
tile_add (
    Tile *t, const float *q, gint ldq, gint M, gint keys, gint d, gint biased, float last_bias)
{
  gint i;

  lf_cpu_gemm (TRUE, M, keys, d, 1.0f / sqrtf (d), q, ldq, t->keys, d, 0, t->scores, TILE_KEYS);
  for (i = 0; i < M; i++) {
    float *row = t->scores + (gsize) i * TILE_KEYS;

    if (biased >= 0)
      row[biased] += last_bias;
    softmax_row (row, keys, t->out + (gsize) i * d, d, &t->maximum[i], &t->sum[i]);
  }
  lf_cpu_gemm (FALSE, M, d, keys, 1, t->scores, TILE_KEYS, t->values, d, 1, t->out, d);
}

static void
tile_finish (const Tile *t, float *y, gint ldy, gint M, gint d)
{
  gint i, j;

  for (i = 0; i < M; i++) {
    float inv = 1.0f / t->sum[i];

    for (j = 0; j < d; j++)
      y[(gsize) i * ldy + j] = t->out[(gsize) i * d + j] * inv;
  }
}

/* Copies one head of `rows` tokens to place `at` of the gathered tile. */
static void
tile_gather (Tile *t, gint at, const float *keys, const float *values, gint rows, gint C, gint d)
{
  gint i;

  for (i = 0; i < rows; i++) {
    memcpy (t->keys + (gsize) (at + i) * d, keys + (gsize) i * C, d * sizeof (float));
    memcpy (t->values + (gsize) (at + i) * d, values + (gsize) i * C, d * sizeof (float));
  }
}

/* --------------------------------------------------------- self-attention */

typedef struct
{
  LfQueue *queue;
  const LfAttention *a;
  gint q_blocks, frame_blocks, block_q;
} SelfAttention;

/* One query tile of one head against the keys of `list`, or all. A whole frame counts as one
 * block where there is no list. */
static void
attend (const SelfAttention *job, Tile *t, gint head, gint row, gint M, const gint32 *list)
{
  const LfAttention *a = job->a;
  gint C = a->heads * a->d, n_blocks = list ? a->count : a->visible, filled = 0, i;
  const float *q = (const float *) a->q + (gsize) row * C + head * a->d;

  for (i = 0; i < n_blocks; i++) {
    gint frame = list ? list[i] / job->frame_blocks : i;
    gint first = list ? list[i] % job->frame_blocks * a->block_k : 0;
    gint end = list ? MIN (first + a->block_k, a->n) : a->n;

    while (first < end) {
      gint rows = MIN (end - first, TILE_KEYS - filled);
      gsize at = ((gsize) a->slots[frame] * a->n + first) * C + head * a->d;

      tile_gather (
          t, filled, (const float *) a->keys + at, (const float *) a->values + at, rows, C, a->d);
      filled += rows;
      first += rows;
      if (filled == TILE_KEYS) {
        tile_add (t, q, C, M, filled, a->d, -1, 0);
        filled = 0;
      }
    }
  }
  if (filled)
    tile_add (t, q, C, M, filled, a->d, -1, 0);
  tile_finish (t, (float *) a->y + (gsize) row * C + head * a->d, C, M, a->d);
}

static void
attention_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const SelfAttention *job = data;
  const LfAttention *a = job->a;
  gint L = a->frames * a->n;
  gint64 item;

  for (item = begin; item < end; item++) {
    gint head = item / job->q_blocks, block = item % job->q_blocks;
    const gint32 *list = a->list ? a->list + item * a->count : NULL;
    gint row = block * job->block_q, last = MIN (row + job->block_q, L);

    for (; row < last; row += TILE_QUERIES) {
      gint M = MIN (TILE_QUERIES, last - row);
      Tile t;

      tile_start (&t, lf_cpu_scratch (job->queue, thread, tile_floats (M, a->d)), M, a->d);
      attend (job, &t, head, row, M, list);
    }
  }
}

void
lf_cpu_attention (LfQueue *q, const LfAttention *a)
{
  gint L = a->frames * a->n;
  SelfAttention job = {q, a, 0, 1, a->list ? a->block_q : TILE_QUERIES};

  job.q_blocks = (L + job.block_q - 1) / job.block_q;
  if (a->list)
    job.frame_blocks = (a->n + a->block_k - 1) / a->block_k;
  lf_cpu_for (q, (gint64) a->heads * job.q_blocks, 1, attention_piece, &job);
}

/* --------------------------------------------------------- text attention */

typedef struct
{
  LfQueue *queue;
  float *y;
  const float *queries, *k, *v;
  gint rows, tokens, heads, d, row_tiles;
  float last_bias;
} TextAttention;

static void
text_attention_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const TextAttention *a = data;
  gint C = a->heads * a->d;
  gint64 item;

  for (item = begin; item < end; item++) {
    gint head = item / a->row_tiles, row = item % a->row_tiles * TILE_QUERIES, at;
    gint M = MIN (TILE_QUERIES, a->rows - row);
    gsize place = (gsize) row * C + head * a->d;
    Tile t;

    tile_start (&t, lf_cpu_scratch (a->queue, thread, tile_floats (M, a->d)), M, a->d);
    for (at = 0; at < a->tokens; at += TILE_KEYS) {
      gint keys = MIN (TILE_KEYS, a->tokens - at);
      gsize first = (gsize) at * C + head * a->d;

      tile_gather (&t, 0, a->k + first, a->v + first, keys, C, a->d);
      tile_add (&t, a->queries + place, C, M, keys, a->d, at + keys == a->tokens ? keys - 1 : -1,
          a->last_bias);
    }
    tile_finish (&t, a->y + place, C, M, a->d);
  }
}

void
lf_cpu_text_attention (LfQueue *q, void *y, const void *queries, const void *k, const void *v,
    gint rows, gint tokens, gint heads, gint d, float last_bias)
{
  TextAttention a = {q, y, queries, k, v, rows, tokens, heads, d, 0, last_bias};

  a.row_tiles = (rows + TILE_QUERIES - 1) / TILE_QUERIES;
  lf_cpu_for (q, (gint64) heads * a.row_tiles, 1, text_attention_piece, &a);
}
