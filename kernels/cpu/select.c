/* lightforce: block pooling and selection on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "cpu.h"

/* ----------------------------------------------------------------- pooling */

typedef struct
{
  float *pooled, *means;
  const float *x;
  const gint32 *slots;
  gint rows, C, block, blocks;
} Pool;

/* y = mean of `rows` rows of x */
LF_CPU_CLONES static void
mean_rows (float *y, const float *x, gint rows, gint C)
{
  gint i, j;

  memset (y, 0, C * sizeof (float));
  for (i = 0; i < rows; i++)
    for (j = 0; j < C; j++)
      y[j] += x[(gsize) i * C + j];
  for (j = 0; j < C; j++)
    y[j] /= rows;
}

static void
pool_blocks_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Pool *a = data;
  gint64 i;

  for (i = begin; i < end; i++)
    mean_rows (a->pooled + i * a->C, a->x + i * a->block * a->C,
        MIN (a->block, a->rows - i * a->block), a->C);
}

void
lf_cpu_pool_blocks (LfQueue *q, float *y, const void *x, gint rows, gint C, gint block)
{
  Pool a = {.pooled = y, .x = x, .rows = rows, .C = C, .block = block};

  lf_cpu_for (q, (rows + block - 1) / block, 1, pool_blocks_piece, &a);
}

static void
pool_frames_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Pool *a = data;
  gint64 frame;
  gint i;

  for (frame = begin; frame < end; frame++) {
    gsize slot = a->slots[frame];
    const float *x = a->x + slot * a->rows * a->C;

    for (i = 0; i < a->blocks; i++)
      mean_rows (a->pooled + (slot * a->blocks + i) * a->C, x + (gsize) i * a->block * a->C,
          MIN (a->block, a->rows - i * a->block), a->C);
    if (a->means)
      mean_rows (a->means + slot * a->C, x, a->rows, a->C);
  }
}

void
lf_cpu_pool_frames (LfQueue *q, float *pooled, float *means, const void *cache, const gint32 *slots,
    gint frames, gint n, gint C, gint block)
{
  Pool a = {pooled, means, cache, slots, n, C, block, (n + block - 1) / block};

  lf_cpu_for (q, frames, 1, pool_frames_piece, &a);
}

/* --------------------------------------------------------------- selection */

typedef struct
{
  LfQueue *queue;
  const LfSelectBlocks *a;
} Select;

LF_CPU_CLONES static float
dot (const float *x, const float *y, gint d)
{
  float sum = 0;
  gint i;

#pragma omp simd reduction(+ : sum)
  for (i = 0; i < d; i++)
    sum += x[i] * y[i];
  return sum;
}

/* The k-th largest (from 1) of n values; reorders them (Hoare's selection). */
static float
kth_largest (float *x, gint n, gint k)
{
  gint low = 0, high = n - 1;

  while (low < high) {
    float pivot = x[(low + high) / 2];
    gint i = low, j = high;

    while (i <= j) {
      while (x[i] > pivot)
        i++;
      while (pivot > x[j])
        j--;
      if (i <= j) {
        float t = x[i];

        x[i++] = x[j];
        x[j--] = t;
      }
    }
    if (k - 1 <= j)
      high = j;
    else if (k - 1 >= i)
      low = i;
    else
      break;
  }
  return x[k - 1];
}

/* Marks the k largest of score (n) among those that are not -inf; of equal ones the first. */
static void
mark_largest (const float *score, gint n, gint k, float *copy, guint8 *mark)
{
  gint above = 0, i;
  float least;

  memcpy (copy, score, n * sizeof (float));
  least = kth_largest (copy, n, k);
  for (i = 0; i < n; i++)
    above += score[i] > least;
  for (i = 0; i < n; i++) {
    mark[i] = score[i] > least;
    if (score[i] == least && above < k) {
      mark[i] = 1;
      above++;
    }
  }
}

/* A score that is not a number must neither win nor break the order. */
static float
finite_score (float score)
{
  return score >= -FLT_MAX ? score : -FLT_MAX;
}

static void
select_one (const LfSelectBlocks *a, gint head, gint block, float *scratch)
{
  gint C = a->heads * a->d, visible = a->past + a->frames, n = visible * a->frame_blocks, f, i;
  const float *q = a->q_pooled + (gsize) block * C + head * a->d;
  gint32 *list = a->list + ((gsize) head * a->q_blocks + block) * a->count;
  float *score = scratch, *copy = scratch + n;
  guint8 *mark = (guint8 *) (scratch + 2 * n), *keep = mark + n;
  gint middle = a->past - a->keep_near - a->keep_sink;

  memset (keep, 1, visible);
  if (a->picked >= 0) {
    memset (keep + a->keep_sink, 0, middle);
    if (a->picked > 0) {
      for (i = 0; i < middle; i++)
        score[i] = finite_score (
            dot (q, a->k_means + (gsize) a->slots[a->keep_sink + i] * C + head * a->d, a->d));
      mark_largest (score, middle, a->picked, copy, keep + a->keep_sink);
    }
  }
  for (f = 0; f < visible; f++) {
    const float *k = a->k_pooled + (gsize) a->slots[f] * a->frame_blocks * C + head * a->d;

    for (i = 0; i < a->frame_blocks; i++)
      score[f * a->frame_blocks + i] =
          keep[f] ? finite_score (dot (q, k + (gsize) i * C, a->d)) : -INFINITY;
  }
  mark_largest (score, n, a->count, copy, mark);
  for (i = 0; i < n; i++)
    if (mark[i])
      *list++ = i;
}

static void
select_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Select *job = data;
  const LfSelectBlocks *a = job->a;
  gsize n = (gsize) (a->past + a->frames) * a->frame_blocks;
  float *scratch = lf_cpu_scratch (job->queue, thread, 3 * n + a->past + a->frames);
  gint64 i;

  for (i = begin; i < end; i++)
    select_one (a, i / a->q_blocks, i % a->q_blocks, scratch);
}

void
lf_cpu_select_blocks (LfQueue *q, const LfSelectBlocks *a)
{
  Select job = {q, a};

  lf_cpu_for (q, (gint64) a->heads * a->q_blocks, 4, select_piece, &job);
}
