/* lightforce: checkkernels, norms, rotation and patches
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "check.h"

static const gint rows_and_channels[][2] = {{7, 20}, {3, 129}, {33, 64}, {1, 1}, {1, 7}, {2, 31},
    {5, 65}, {9, 127}, {130, 33}, {4, 1536}, {17, 1000}, {3, 5120}, {65, 516}};

/* ------------------------------------------------------------------- norms */

typedef enum
{
  ADDED_NOTHING,
  ADDED_PLAIN,
  ADDED_GATED,
  ADDED_IN_PLACE,
  ADDED_FOR_FP8
} Added;

static void
norm_modulate (
    Ck *c, gint rows, gint C, float one, CkFill fill, float mean, Added added, gsize shift_by)
{
  static const char *const names[] = {
      "", " of a sum", " of a gated sum", " in place of the other", " of a sum, in FP8"};
  CkBuffer *x, *shift, *scale, *y, *add = NULL, *gate = NULL, *y_scale = NULL;
  gsize i;

  ck_begin (c, "rows=%d C=%d one=%g%s%s%s%s", rows, C, one, fill == CK_MIXED ? " mixed" : "",
      mean != 0 ? " far from 0" : "", names[added], shift_by ? " shifted" : "");
  c->shift = shift_by;
  x = added ? ck_inout (c, CK_F32, "x", rows, C, fill) : ck_in (c, CK_F32, "x", rows, C, fill);
  if (added == ADDED_GATED || added == ADDED_IN_PLACE)
    gate = ck_in (c, CK_F32, "gate", 1, C, CK_NORMAL);
  if (added == ADDED_PLAIN || added == ADDED_GATED || added == ADDED_FOR_FP8)
    add = ck_in (c, CK_ACT, "add", rows, C, CK_NORMAL);
  for (i = 0; i < x->count && mean != 0; i++)
    x->values[i] += mean;
  shift = ck_in (c, CK_F32, "shift", 1, C, CK_NORMAL);
  scale = ck_in (c, CK_F32, "scale", 1, C, CK_NORMAL);
  if (added == ADDED_IN_PLACE)
    add = y = ck_inout (c, CK_ACT, "y", rows, C, CK_NORMAL);
  else
    y = ck_out (c, added == ADDED_FOR_FP8 ? CK_BYTES : CK_ACT, "y", rows, C);
  if (added == ADDED_FOR_FP8) {
    y_scale = ck_out (c, CK_F32, "scale", rows, 1);
    /* a value between two codes may go either way */
    y->off = 1;
  }
  /* the mean's rounding is one of the large values */
  c->slack = mean != 0 ? 20 : 1;
  c->bytes =
      (double) x->count * (sizeof (float) + lf_dtype_size (c->tested.be->act)) * (added ? 2 : 1);
  CK_RUN (c, LfNorm norm = {.x = ck_at (x),
                 .add = add ? ck_at (add) : NULL,
                 .gate = gate ? ck_at (gate) : NULL,
                 .shift = ck_at (shift),
                 .scale = ck_at (scale),
                 .one = one,
                 .y = ck_at (y),
                 .y_scale = y_scale ? ck_at (y_scale) : NULL,
                 .rows = rows,
                 .C = C,
                 .eps = 1e-6f};
          ops->norm_modulate (q, &norm));
}

void
ck_check_norm_modulate (Ck *c)
{
  gint i;

  if (c->bench) {
    norm_modulate (c, 4608, 1536, 1, CK_NORMAL, 0, ADDED_NOTHING, 0);
    norm_modulate (c, 4608, 1536, 1, CK_NORMAL, 0, ADDED_IN_PLACE, 0);
    norm_modulate (c, 4608, 1536, 1, CK_NORMAL, 0, ADDED_FOR_FP8, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (rows_and_channels)); i++) {
    gint rows = rows_and_channels[i][0], C = rows_and_channels[i][1];

    norm_modulate (c, rows, C, 1, CK_NORMAL, 0, ADDED_NOTHING, 0);
    norm_modulate (c, rows, C, 0, CK_MIXED, 0, ADDED_PLAIN, 0);
    norm_modulate (c, rows, C, 1, CK_NORMAL, 0, ADDED_GATED, 1);
    if (C > 1) {
      norm_modulate (c, rows, C, 1, CK_NORMAL, 0, ADDED_IN_PLACE, 0);
      norm_modulate (c, rows, C, 1, CK_NORMAL, 0, ADDED_FOR_FP8, 0);
      norm_modulate (c, rows, C, 1, CK_NORMAL, 100, ADDED_NOTHING, 0);
    }
  }
}

static void
rms_norm (Ck *c, gint rows, gint C, gint gap_x, gint gap_y, CkType type, gboolean in_place,
    gsize shift_by)
{
  CkBuffer *x, *weight, *y;
  gint ldx = C + gap_x, ldy = in_place ? ldx : C + gap_y;

  ck_begin (c, "rows=%d C=%d ldx=%d ldy=%d%s%s%s", rows, C, ldx, ldy,
      type == CK_F32 ? " of floats" : "", in_place ? " in place" : "", shift_by ? " shifted" : "");
  c->shift = shift_by;
  weight = ck_in (c, CK_F32, "weight", 1, C, CK_NORMAL);
  if (in_place) {
    x = y = ck_inout (c, CK_ACT, "y", rows, ldx, CK_MIXED);
  } else {
    x = ck_in (c, type, "x", rows, ldx, CK_MIXED);
    y = ck_out (c, CK_ACT, "y", rows, ldy);
    y->gaps = gap_y > 0;
  }
  c->bytes = 2.0 * rows * C * lf_dtype_size (c->tested.be->act);
  CK_RUN (c,
      ops->rms_norm (q, ck_at (y), ldy, ck_at (x), type == CK_F32 ? LF_DTYPE_F32 : c->side->be->act,
          ldx, ck_at (weight), rows, C, 1e-6f));
}

void
ck_check_rms_norm (Ck *c)
{
  gint i;

  if (c->bench) {
    rms_norm (c, 4608, 1536, 0, 0, CK_ACT, TRUE, 0);
    rms_norm (c, 77, 4096, 0, 0, CK_F32, FALSE, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (rows_and_channels)); i++) {
    gint rows = rows_and_channels[i][0], C = rows_and_channels[i][1];

    rms_norm (c, rows, C, 0, 0, CK_ACT, TRUE, 0);
    rms_norm (c, rows, C, 0, 0, CK_F32, FALSE, 0);
    rms_norm (c, rows, C, 2 * C, 0, CK_ACT, FALSE, 0);
    rms_norm (c, rows, C, 8, 3, CK_F32, FALSE, 0);
    rms_norm (c, rows, C, 5, 0, CK_ACT, TRUE, 1);
  }
}

/* ---------------------------------------------------------------- rotation */

typedef struct
{
  gint frames, height, width, heads, d;
} Rotation;

static const Rotation rotations[] = {
    {2, 3, 5, 3, 20},
    {1, 4, 4, 2, 16},
    {3, 2, 9, 1, 64},
    {1, 1, 1, 1, 2},
    {3, 1, 7, 12, 16},
    {2, 8, 8, 4, 128},
    {1, 7, 9, 6, 30},
    {3, 5, 13, 12, 128},
    {1, 3, 3, 40, 128},
    {9, 6, 10, 2, 64},
};

static void
fill_angles (Ck *c, CkBuffer *table)
{
  gsize i;

  for (i = 0; i + 1 < table->count; i += 2) {
    float angle = 3 * ck_random_normal (c);

    table->values[i] = cosf (angle);
    table->values[i + 1] = sinf (angle);
  }
}

typedef struct
{
  LfRope rope;
  CkBuffer *time, *row, *column;
} Tables;

/* d/2 pairs in Wan's parts: 22, 21, 21 of 64. */
static Tables
tables_of (Ck *c, const Rotation *a)
{
  Tables t = {{NULL}, NULL, NULL, NULL};

  t.rope.cr = t.rope.cc = a->d / 6;
  t.rope.ct = a->d / 2 - 2 * (a->d / 6);
  t.rope.height = a->height;
  t.rope.width = a->width;
  t.time = ck_in (c, CK_F32, "time", a->frames, 2 * t.rope.ct, CK_NORMAL);
  t.row = ck_in (c, CK_F32, "row", a->height, 2 * t.rope.cr, CK_NORMAL);
  t.column = ck_in (c, CK_F32, "column", a->width, 2 * t.rope.cc, CK_NORMAL);
  fill_angles (c, t.time);
  fill_angles (c, t.row);
  fill_angles (c, t.column);
  return t;
}

static const LfRope *
rope_at (Tables *t)
{
  t->rope.time = ck_at (t->time);
  t->rope.row = ck_at (t->row);
  t->rope.column = ck_at (t->column);
  return &t->rope;
}

static void
qk_norm_rope (Ck *c, const Rotation *a, gboolean plain)
{
  g_autofree gint32 *slots = g_new (gint32, a->frames);
  gint n = a->height * a->width, C = a->heads * a->d, all = 2 * a->frames + 1, L = a->frames * n;
  CkBuffer *qkv, *norm_q, *norm_k, *queries, *keys, *keys_plain = NULL, *values;
  Tables t;

  ck_begin (c, "F=%d %dx%d heads=%d d=%d%s", a->frames, a->height, a->width, a->heads, a->d,
      plain ? " plain" : "");
  ck_slots (c, slots, a->frames);
  qkv = ck_in (c, CK_ACT, "qkv", (gsize) L * 3, C, CK_MIXED);
  norm_q = ck_in (c, CK_F32, "norm_q", 1, C, CK_NORMAL);
  norm_k = ck_in (c, CK_F32, "norm_k", 1, C, CK_NORMAL);
  t = tables_of (c, a);
  queries = ck_out (c, CK_ACT, "q", L, C);
  keys = ck_out (c, CK_ACT, "keys", (gsize) all * n, C);
  values = ck_out (c, CK_ACT, "values", (gsize) all * n, C);
  keys->gaps = values->gaps = values->exact = TRUE;
  if (plain) {
    keys_plain = ck_out (c, CK_ACT, "keys_plain", (gsize) all * n, C);
    keys_plain->gaps = TRUE;
  }
  c->bytes = (plain ? 7.0 : 6.0) * L * C * lf_dtype_size (c->tested.be->act);
  CK_RUN (c, LfQkNormRope o = {.qkv = ck_at (qkv),
                 .norm_q = ck_at (norm_q),
                 .norm_k = ck_at (norm_k),
                 .rope = *rope_at (&t),
                 .q = ck_at (queries),
                 .keys = ck_at (keys),
                 .keys_plain = plain ? ck_at (keys_plain) : NULL,
                 .values = ck_at (values),
                 .slots = slots,
                 .frames = a->frames,
                 .n = n,
                 .heads = a->heads,
                 .d = a->d,
                 .eps = 1e-6f};
          ops->qk_norm_rope (q, &o));
}

void
ck_check_qk_norm_rope (Ck *c)
{
  static const Rotation large = {3, 32, 48, 12, 128};
  gint i;

  if (c->bench) {
    qk_norm_rope (c, &large, FALSE);
    qk_norm_rope (c, &large, TRUE);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (rotations)); i++) {
    qk_norm_rope (c, &rotations[i], FALSE);
    qk_norm_rope (c, &rotations[i], TRUE);
  }
}

static void
rotate_keys (Ck *c, const Rotation *a)
{
  g_autofree gint32 *slots = g_new (gint32, a->frames);
  gint n = a->height * a->width, C = a->heads * a->d, all = 2 * a->frames + 1;
  CkBuffer *keys, *plain;
  Tables t;

  ck_begin (c, "frames=%d %dx%d heads=%d d=%d", a->frames, a->height, a->width, a->heads, a->d);
  ck_slots (c, slots, a->frames);
  plain = ck_in (c, CK_ACT, "keys_plain", (gsize) all * n, C, CK_MIXED);
  ck_poison_slots (plain, all, slots, a->frames);
  t = tables_of (c, a);
  keys = ck_out (c, CK_ACT, "keys", (gsize) all * n, C);
  keys->gaps = TRUE;
  c->bytes = 2.0 * a->frames * n * C * lf_dtype_size (c->tested.be->act);
  CK_RUN (c, ops->rotate_keys (q, ck_at (keys), ck_at (plain), rope_at (&t), slots, a->frames, n,
                 a->heads, a->d));
}

void
ck_check_rotate_keys (Ck *c)
{
  static const Rotation large = {12, 32, 48, 12, 128};
  gint i;

  if (c->bench) {
    rotate_keys (c, &large);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (rotations)); i++)
    rotate_keys (c, &rotations[i]);
}

/* -------------------------------------------------------------- modulation */

static void
add_modulation (Ck *c, gint layers, gint rows, gint x_rows, gint C)
{
  CkBuffer *tables, *x, *y;

  ck_begin (c, "layers=%d rows=%d x_rows=%d C=%d", layers, rows, x_rows, C);
  tables = ck_in (c, CK_F32, "tables", (gsize) layers * rows, C, CK_MIXED);
  x = ck_in (c, CK_ACT, "x", x_rows, C, CK_MIXED);
  y = ck_out (c, CK_F32, "y", (gsize) layers * rows, C);
  c->bytes = 8.0 * y->count;
  CK_RUN (
      c, ops->add_modulation (q, ck_at (y), ck_at (tables), ck_at (x), layers, rows, x_rows, C));
}

void
ck_check_add_modulation (Ck *c)
{
  static const gint cases[][3] = {
      {3, 6, 33}, {1, 2, 7}, {2, 6, 129}, {1, 1, 1}, {30, 6, 64}, {1, 2, 1536}, {5, 3, 31}};
  gint i;

  if (c->bench) {
    add_modulation (c, 30, 6, 6, 1536);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++) {
    add_modulation (c, cases[i][0], cases[i][1], cases[i][1], cases[i][2]);
    add_modulation (c, cases[i][0], cases[i][1], 1, cases[i][2]);
  }
}

static void
silu (Ck *c, gsize count, gsize shift)
{
  CkBuffer *x, *y;

  ck_begin (c, "count=%" G_GSIZE_FORMAT "%s", count, shift ? " shifted" : "");
  c->shift = shift;
  x = ck_in (c, CK_ACT, "x", 1, count, CK_MIXED);
  if (count > 100)
    x->values[50] = 95, x->values[51] = -95, x->values[52] = -86, x->values[53] = -20;
  c->scale = 1;
  y = ck_out (c, CK_ACT, "y", 1, count);
  c->bytes = 2.0 * count * lf_dtype_size (c->tested.be->act);
  CK_RUN (c, ops->silu (q, ck_at (y), ck_at (x), count));
}

void
ck_check_silu (Ck *c)
{
  static const gsize counts[] = {7, 257, 1025, 1, 8, 127, 4099, 200003};
  gint i;

  if (c->bench) {
    silu (c, 4608 * 1536, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (counts)); i++) {
    silu (c, counts[i], 0);
    silu (c, counts[i], 1);
  }
}

/* ----------------------------------------------------------------- patches */

static void
patches (Ck *c, gint F, gint Z, gint H, gint W, gboolean back)
{
  CkBuffer *latent, *x;
  gsize count = (gsize) F * Z * H * W, n = (gsize) H / 2 * (W / 2);

  ck_begin (c, "F=%d Z=%d H=%d W=%d", F, Z, H, W);
  c->bytes = count * (4.0 + lf_dtype_size (c->tested.be->act));
  if (back) {
    x = ck_in (c, CK_ACT, "x", F * n, 4 * Z, CK_MIXED);
    latent = ck_out (c, CK_F32, "latent", (gsize) F * Z * H, W);
    CK_RUN (c, ops->unpatchify (q, ck_at (latent), ck_at (x), F, Z, H, W));
  } else {
    latent = ck_in (c, CK_F32, "latent", (gsize) F * Z * H, W, CK_MIXED);
    x = ck_out (c, CK_ACT, "y", F * n, 4 * Z);
    CK_RUN (c, ops->patchify (q, ck_at (x), ck_at (latent), F, Z, H, W));
  }
}

static void
patches_all (Ck *c, gboolean back)
{
  static const gint cases[][4] = {{2, 3, 6, 10}, {1, 16, 2, 2}, {3, 5, 14, 6}, {1, 1, 2, 4},
      {3, 16, 20, 30}, {2, 48, 10, 18}, {1, 16, 64, 96}};
  gint i;

  if (c->bench) {
    patches (c, 3, 16, 64, 96, back);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (cases)); i++)
    patches (c, cases[i][0], cases[i][1], cases[i][2], cases[i][3], back);
}

void
ck_check_patchify (Ck *c)
{
  patches_all (c, FALSE);
}

void
ck_check_unpatchify (Ck *c)
{
  patches_all (c, TRUE);
}
