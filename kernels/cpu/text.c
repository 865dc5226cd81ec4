/* lightforce: text encoder operations on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include "core/t5bucket.h"
#include "blas.h"
#include "cpu.h"
#include "vecmath.h"

#define QUERY_PIECE 64

typedef struct
{
  float *y;
  const void *table;
  LfDType dtype;
  const gint32 *ids;
  gint C;
} Embed;

static void
embed_rows (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Embed *a = data;
  gint64 i;

  for (i = begin; i < end; i++)
    lf_dtype_convert (a->y + i * a->C, LF_DTYPE_F32,
        (const guint8 *) a->table + (gsize) a->ids[i] * a->C * lf_dtype_size (a->dtype), a->dtype,
        a->C);
}

void
lf_cpu_embed (
    LfQueue *q, float *y, const void *table, LfDType dtype, const gint32 *ids, gint T, gint C)
{
  Embed a = {y, table, dtype, ids, C};

  lf_cpu_for (q, T, 16, embed_rows, &a);
}

typedef struct
{
  LfQueue *q;
  float *y;
  const float *qkv, *bias;
  const gint32 *bucket; /* (2 T - 1): of distance i - (T - 1) */
  gint T, length, heads, d, pieces;
} Attention;

/* score (n) += bias of each distance, then softmax */
LF_CPU_CLONES static void
biased_softmax (float *score, const float *bias, gint n)
{
  float most = -INFINITY, sum = 0;
  gint i;

  for (i = 0; i < n; i++) {
    score[i] += bias[i];
    most = score[i] > most ? score[i] : most;
  }
  for (i = 0; i < n; i++) {
    score[i] = lf_exp (score[i] - most);
    sum += score[i];
  }
  for (i = 0; i < n; i++)
    score[i] /= sum;
}

/* Items are (head, piece of queries). */
static void
attend (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Attention *a = data;
  gint C = a->heads * a->d, n = a->length;
  gint64 item;

  for (item = begin; item < end; item++) {
    gint head = item / a->pieces, first = item % a->pieces * QUERY_PIECE;
    gint rows = MIN (QUERY_PIECE, a->T - first);
    float *by_distance = lf_cpu_scratch (a->q, thread, 2 * (gsize) a->T + (gsize) rows * n);
    float *score = by_distance + 2 * a->T;
    const float *queries = a->qkv + (gsize) first * 3 * C + head * a->d;
    const float *keys = a->qkv + C + head * a->d, *values = keys + C;
    gint i;

    for (i = 0; i < 2 * a->T - 1; i++)
      by_distance[i] = a->bias[(gsize) a->bucket[i] * a->heads + head];
    lf_cpu_blas (TRUE, rows, n, a->d, 1, queries, 3 * C, keys, 3 * C, 0, score, n);
    for (i = 0; i < rows; i++)
      biased_softmax (score + (gsize) i * n, by_distance + a->T - 1 - (first + i), n);
    lf_cpu_blas (FALSE, rows, a->d, n, 1, score, n, values, 3 * C, 0,
        a->y + (gsize) first * C + head * a->d, C);
  }
}

void
lf_cpu_t5_attention (LfQueue *q, void *y, const void *qkv, const float *bias, gint T, gint length,
    gint heads, gint d, gint buckets)
{
  g_autofree gint32 *bucket = g_new (gint32, 2 * T - 1);
  Attention a = {q, y, qkv, bias, bucket, T, length, heads, d, 0};
  gint i;

  for (i = 0; i < 2 * T - 1; i++)
    bucket[i] = lf_t5_bucket (i - (T - 1), buckets);
  a.pieces = (T + QUERY_PIECE - 1) / QUERY_PIECE;
  lf_cpu_for (q, (gint64) heads * a.pieces, 1, attend, &a);
}
