/* lightforce: noise and sampling on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "core/philox.h"
#include "cpu.h"

#define PIECE 16384 /* elements; a multiple of 4 */

typedef struct
{
  float *y;
  const float *a, *b;
  float weight_a, weight_b;
  gsize count;
  guint64 seed;
  guint32 chunk, step;
} Sampler;

static void
noise_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Sampler *s = data;
  gint64 i, j;

  for (i = begin; i < end; i += 4) {
    float normal[4];

    lf_philox_normal (s->seed, s->chunk, s->step, i / 4, normal);
    for (j = 0; j < MIN (4, end - i); j++)
      s->y[i + j] = normal[j];
  }
}

void
lf_cpu_noise (LfQueue *q, float *y, gsize count, guint64 seed, guint32 chunk, guint32 step)
{
  Sampler s = {.y = y, .count = count, .seed = seed, .chunk = chunk, .step = step};

  lf_cpu_for (q, count, PIECE, noise_piece, &s);
}

static void
combine_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Sampler *s = data;
  gint64 i;

  for (i = begin; i < end; i++)
    s->y[i] = s->weight_a * s->a[i] + s->weight_b * s->b[i];
}

void
lf_cpu_denoise (
    LfQueue *q, float *clean, const float *x, const float *flow, float level, gsize count)
{
  Sampler s = {.y = clean, .a = x, .b = flow, .weight_a = 1, .weight_b = -level};

  lf_cpu_for (q, count, PIECE, combine_piece, &s);
}

void
lf_cpu_mix_noise (
    LfQueue *q, float *x, const float *clean, const float *noise, float level, gsize count)
{
  lf_cpu_lerp (q, x, clean, noise, level, count);
}

void
lf_cpu_lerp (LfQueue *q, float *y, const float *a, const float *b, float weight, gsize count)
{
  Sampler s = {.y = y, .a = a, .b = b, .weight_a = 1 - weight, .weight_b = weight};

  lf_cpu_for (q, count, PIECE, combine_piece, &s);
}
