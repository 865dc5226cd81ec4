/* lightforce: norms, rotation and patches on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "cpu.h"
#include "vecmath.h"

#define PIECE_ROWS 16
#define PIECE_ELEMENTS 16384

/* ------------------------------------------------------------------- norms */

typedef struct
{
  LfQueue *q;
  const LfNorm *a;
} Norm;

/* x += gate add */
LF_CPU_CLONES static void
add_row (float *x, const float *add, const float *gate, gint C)
{
  gint i;

  if (gate)
    for (i = 0; i < C; i++)
      x[i] += gate[i] * add[i];
  else
    for (i = 0; i < C; i++)
      x[i] += add[i];
}

LF_CPU_CLONES static void
norm_row (const LfNorm *a, const float *x, float *y)
{
  float sum = 0, squares = 0, mean, inv;
  gint i;

#pragma omp simd reduction(+ : sum)
  for (i = 0; i < a->C; i++)
    sum += x[i];
  mean = sum / a->C;
  /* two passes: the difference of large squares would lose digits */
#pragma omp simd reduction(+ : squares)
  for (i = 0; i < a->C; i++)
    squares += (x[i] - mean) * (x[i] - mean);
  inv = 1.0f / sqrtf (squares / a->C + a->eps);
  for (i = 0; i < a->C; i++)
    y[i] = (x[i] - mean) * inv * (a->one + a->scale[i]) + a->shift[i];
}

static void
norm_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Norm *job = data;
  const LfNorm *a = job->a;
  float *normed = a->y_scale ? lf_cpu_scratch (job->q, thread, a->C) : NULL;
  gint64 i;

  for (i = begin; i < end; i++) {
    float *x = a->x + i * a->C;

    if (a->add)
      add_row (x, (const float *) a->add + i * a->C, a->gate, a->C);
    norm_row (a, x, normed ? normed : (float *) a->y + i * a->C);
    if (normed)
      a->y_scale[i] = lf_cpu_to_fp8 ((guint8 *) a->y + i * a->C, normed, a->C);
  }
}

void
lf_cpu_norm_modulate (LfQueue *q, const LfNorm *a)
{
  Norm job = {q, a};

  lf_cpu_for (q, a->rows, PIECE_ROWS, norm_piece, &job);
}

LF_CPU_CLONES static float
inverse_rms (const float *x, gint C, float eps)
{
  float squares = 0;
  gint i;

#pragma omp simd reduction(+ : squares)
  for (i = 0; i < C; i++)
    squares += x[i] * x[i];
  return 1.0f / sqrtf (squares / C + eps);
}

typedef struct
{
  float *y;
  const float *x, *weight;
  float eps;
  gint ldy, ldx, C;
} RmsNorm;

static void
rms_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const RmsNorm *a = data;
  gint64 row;
  gint i;

  for (row = begin; row < end; row++) {
    const float *x = a->x + row * a->ldx;
    float *y = a->y + row * a->ldy;
    float inv = inverse_rms (x, a->C, a->eps);

    for (i = 0; i < a->C; i++)
      y[i] = x[i] * inv * a->weight[i];
  }
}

void
lf_cpu_rms_norm (LfQueue *q, void *y, gint ldy, const void *x, LfDType dtype, gint ldx,
    const float *weight, gint rows, gint C, float eps)
{
  RmsNorm a = {y, x, weight, eps, ldy, ldx, C};

  lf_cpu_for (q, rows, PIECE_ROWS, rms_piece, &a);
}

/* ---------------------------------------------------------------- rotation */

/* One axis of one head: `pairs` interleaved pairs by (cos, sin). */
LF_INLINE void
rotate_axis (float *y, const float *x, const float *table, gint pairs)
{
  gint i;

  for (i = 0; i < pairs; i++) {
    float even = x[2 * i], odd = x[2 * i + 1], c = table[2 * i], s = table[2 * i + 1];

    y[2 * i] = even * c - odd * s;
    y[2 * i + 1] = even * s + odd * c;
  }
}

/* All heads of one token at time row `time` and place `token` of the frame. */
LF_CPU_CLONES static void
rotate_token (
    float *y, const float *x, const LfRope *rope, gint time, gint token, gint heads, gint d)
{
  const float *t = rope->time + (gsize) time * rope->ct * 2;
  const float *r = rope->row + (gsize) (token / rope->width) * rope->cr * 2;
  const float *c = rope->column + (gsize) (token % rope->width) * rope->cc * 2;
  gint h;

  for (h = 0; h < heads; h++, x += d, y += d) {
    rotate_axis (y, x, t, rope->ct);
    rotate_axis (y + 2 * rope->ct, x + 2 * rope->ct, r, rope->cr);
    rotate_axis (y + 2 * (rope->ct + rope->cr), x + 2 * (rope->ct + rope->cr), c, rope->cc);
  }
}

typedef struct
{
  LfQueue *q;
  const LfQkNormRope *a;
} QkNormRope;

static void
qk_norm_rope_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const QkNormRope *job = data;
  const LfQkNormRope *a = job->a;
  gint C = a->heads * a->d, i;
  float *scratch = lf_cpu_scratch (job->q, thread, C);
  gint64 row;

  for (row = begin; row < end; row++) {
    const float *q = (const float *) a->qkv + row * 3 * C, *k = q + C, *v = k + C;
    gint frame = row / a->n, token = row % a->n;
    gsize at = ((gsize) a->slots[frame] * a->n + token) * C;
    float *plain = a->keys_plain ? (float *) a->keys_plain + at : scratch;
    float inv = inverse_rms (q, C, a->eps);

    for (i = 0; i < C; i++)
      scratch[i] = q[i] * inv * a->norm_q[i];
    rotate_token ((float *) a->q + row * C, scratch, &a->rope, frame, token, a->heads, a->d);
    inv = inverse_rms (k, C, a->eps);
    for (i = 0; i < C; i++)
      plain[i] = k[i] * inv * a->norm_k[i];
    rotate_token ((float *) a->keys + at, plain, &a->rope, frame, token, a->heads, a->d);
    memcpy ((float *) a->values + at, v, C * sizeof (float));
  }
}

void
lf_cpu_qk_norm_rope (LfQueue *q, const LfQkNormRope *a)
{
  QkNormRope job = {q, a};

  lf_cpu_for (q, (gint64) a->frames * a->n, PIECE_ROWS, qk_norm_rope_piece, &job);
}

typedef struct
{
  float *keys;
  const float *plain;
  const LfRope *rope;
  const gint32 *slots;
  gint n, heads, d;
} RotateKeys;

static void
rotate_keys_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const RotateKeys *a = data;
  gint64 row;

  for (row = begin; row < end; row++) {
    gint frame = row / a->n, token = row % a->n;
    gsize at = ((gsize) a->slots[frame] * a->n + token) * a->heads * a->d;

    rotate_token (a->keys + at, a->plain + at, a->rope, frame, token, a->heads, a->d);
  }
}

void
lf_cpu_rotate_keys (LfQueue *q, void *keys, const void *keys_plain, const LfRope *rope,
    const gint32 *slots, gint frames, gint n, gint heads, gint d)
{
  RotateKeys a = {keys, keys_plain, rope, slots, n, heads, d};

  lf_cpu_for (q, (gint64) frames * n, PIECE_ROWS, rotate_keys_piece, &a);
}

/* -------------------------------------------------------------- modulation */

typedef struct
{
  float *y;
  const float *tables, *x;
  gint rows, x_rows, C;
} Modulation;

static void
modulation_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Modulation *a = data;
  gint64 row;
  gint i;

  for (row = begin; row < end; row++) {
    const float *x = a->x + (a->x_rows == 1 ? 0 : row % a->rows * a->C);

    for (i = 0; i < a->C; i++)
      a->y[row * a->C + i] = a->tables[row * a->C + i] + x[i];
  }
}

void
lf_cpu_add_modulation (LfQueue *q, float *y, const float *tables, const void *x, gint layers,
    gint rows, gint x_rows, gint C)
{
  Modulation a = {y, tables, x, rows, x_rows, C};

  lf_cpu_for (q, (gint64) layers * rows, PIECE_ROWS, modulation_piece, &a);
}

static void
silu_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Modulation *a = data;
  gint64 i;

  for (i = begin; i < end; i++)
    a->y[i] = lf_silu_1 (a->x[i]);
}

void
lf_cpu_silu (LfQueue *q, void *y, const void *x, gsize count)
{
  Modulation a = {.y = y, .x = x};

  lf_cpu_for (q, count, PIECE_ELEMENTS, silu_piece, &a);
}

/* ----------------------------------------------------------------- patches */

typedef struct
{
  float *tokens; /* (F H/2 W/2, 4 Z) */
  float *latent; /* (F, Z, H, W) */
  gint Z, H, W;
} Patches;

static void
patchify_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Patches *a = data;
  gint width = a->W / 2, n = a->H / 2 * width;
  gint64 token;
  gint z, i;

  for (token = begin; token < end; token++) {
    gint row = token % n / width, column = token % width;
    const float *x = a->latent + token / n * a->Z * a->H * a->W;
    float *y = a->tokens + token * 4 * a->Z;

    for (z = 0; z < a->Z; z++)
      for (i = 0; i < 4; i++)
        y[z * 4 + i] = x[((gsize) z * a->H + 2 * row + i / 2) * a->W + 2 * column + i % 2];
  }
}

void
lf_cpu_patchify (LfQueue *q, void *y, const float *latent, gint F, gint Z, gint H, gint W)
{
  Patches a = {y, (float *) latent, Z, H, W};

  lf_cpu_for (q, (gint64) F * (H / 2) * (W / 2), PIECE_ROWS, patchify_piece, &a);
}

static void
unpatchify_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Patches *a = data;
  gint width = a->W / 2, n = a->H / 2 * width;
  gint64 token;
  gint z, i;

  for (token = begin; token < end; token++) {
    gint row = token % n / width, column = token % width;
    float *y = a->latent + token / n * a->Z * a->H * a->W;
    const float *x = a->tokens + token * 4 * a->Z;

    for (i = 0; i < 4; i++)
      for (z = 0; z < a->Z; z++)
        y[((gsize) z * a->H + 2 * row + i / 2) * a->W + 2 * column + i % 2] = x[i * a->Z + z];
  }
}

void
lf_cpu_unpatchify (LfQueue *q, float *latent, const void *x, gint F, gint Z, gint H, gint W)
{
  Patches a = {(float *) x, latent, Z, H, W};

  lf_cpu_for (q, (gint64) F * (H / 2) * (W / 2), PIECE_ROWS, unpatchify_piece, &a);
}
