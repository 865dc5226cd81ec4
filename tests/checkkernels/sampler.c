/* lightforce: checkkernels, noise and sampling
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "check.h"

static void
noise (Ck *c, gsize count, guint64 seed, guint32 chunk, guint32 step, gsize shift)
{
  CkBuffer *y;

  ck_begin (c, "count=%" G_GSIZE_FORMAT " seed=%#" G_GINT64_MODIFIER "x chunk=%u step=%u%s", count,
      seed, chunk, step, shift ? " shifted" : "");
  c->shift = shift;
  y = ck_out (c, CK_F32, "y", 1, count);
  c->scale = 1;
  c->bytes = 4.0 * count;
  CK_RUN (c, ops->noise (q, ck_at (y), count, seed, chunk, step));
}

void
ck_check_noise (Ck *c)
{
  static const gsize counts[] = {7, 4099, 1025, 1, 2, 3, 4, 5, 16383, 294912, 1000001};
  static const guint64 seeds[] = {0, G_GUINT64_CONSTANT (0x123456789abcdef0), G_MAXUINT64};
  gint i;

  if (c->bench) {
    noise (c, 3 * 16 * 64 * 96, 1, 2, 3, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (counts)); i++) {
    noise (c, counts[i], seeds[i % 3], i % 2 ? 7 : G_MAXUINT32, i % 5, 0);
    noise (c, counts[i], seeds[(i + 1) % 3], i, i % 2 ? 3 : G_MAXUINT32, 1);
  }
}

typedef enum
{
  DENOISE,
  MIX_NOISE,
  LERP
} Kind;

static void
combine (Ck *c, Kind kind, gsize count, float level, gsize shift)
{
  CkBuffer *a, *b, *y;

  ck_begin (c, "count=%" G_GSIZE_FORMAT " level=%g%s", count, level, shift ? " shifted" : "");
  c->shift = shift;
  a = ck_in (c, CK_F32, "a", 1, count, CK_MIXED);
  b = ck_in (c, CK_F32, "b", 1, count, CK_MIXED);
  y = ck_out (c, CK_F32, "y", 1, count);
  c->bytes = 12.0 * count;
  CK_RUN (
      c, if (kind == DENOISE) ops->denoise (q, ck_at (y), ck_at (a), ck_at (b), level, count);
      else if (kind == MIX_NOISE) ops->mix_noise (q, ck_at (y), ck_at (a), ck_at (b), level, count);
      else ops->lerp (q, ck_at (y), ck_at (a), ck_at (b), level, count));
}

static void
combine_all (Ck *c, Kind kind)
{
  static const gsize counts[] = {7, 1025, 4099, 1, 8, 127, 294912};
  static const float levels[] = {0.9375f, 1, 0, 0.625f, 0.3333333f};
  gint i;

  if (c->bench) {
    combine (c, kind, 3 * 16 * 64 * 96, 0.9375f, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (counts)); i++) {
    combine (c, kind, counts[i], levels[i % G_N_ELEMENTS (levels)], 0);
    combine (c, kind, counts[i], levels[(i + 2) % G_N_ELEMENTS (levels)], 1);
  }
}

void
ck_check_denoise (Ck *c)
{
  combine_all (c, DENOISE);
}

void
ck_check_mix_noise (Ck *c)
{
  combine_all (c, MIX_NOISE);
}

void
ck_check_lerp (Ck *c)
{
  combine_all (c, LERP);
}
