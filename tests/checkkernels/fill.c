/* lightforce: checkkernels, random and adversarial numbers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "check.h"

#define BENCH_FRESH 1000003

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
guint64
ck_random (Ck *c)
{
  guint64 z = c->random += G_GUINT64_CONSTANT (0x9E3779B97F4A7C15);

  z = (z ^ z >> 30) * G_GUINT64_CONSTANT (0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * G_GUINT64_CONSTANT (0x94D049BB133111EB);
  return z ^ z >> 31;
}

gint
ck_random_int (Ck *c, gint from, gint to)
{
  return from + (gint) (ck_random (c) % (guint64) ((gint64) to - from + 1));
}

/* Four uniform numbers added up: near enough, quick, and bounded. */
float
ck_random_normal (Ck *c)
{
  guint64 bits = ck_random (c);
  float sum =
      (float) ((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));

  return (sum - 131070.0f) * (1.7320508f / 65536);
}

static float
mixed (Ck *c)
{
  float x = ck_random_normal (c);

  switch (ck_random (c) % 64) {
    case 0:
    case 1:
      return 0;
    case 2:
    case 3:
      return -0.0f;
    case 4:
      return x * 0x1p-130f; /* a denormal, also in bf16 */
    case 5:
      return x * 40;
    default:
      return x;
  }
}

void
ck_fill (Ck *c, float *x, gsize rows, gsize columns, CkFill fill)
{
  gsize i, j;

  if (c->bench && rows * columns > BENCH_FRESH) {
    /* what is measured does not look at values */
    ck_fill (c, x, 1, BENCH_FRESH, CK_NORMAL);
    for (i = BENCH_FRESH; i < rows * columns; i += j) {
      j = MIN (i, rows * columns - i);
      memcpy (x + i, x, j * sizeof (float));
    }
    return;
  }
  for (i = 0; i < rows; i++) {
    float *row = x + i * columns;
    gboolean zeros = fill == CK_ZEROS || (fill == CK_MIXED && rows > 2 && i % 5 == 2);

    for (j = 0; j < columns; j++) {
      if (zeros)
        row[j] = i % 2 ? -0.0f : 0.0f;
      else if (fill == CK_MIXED)
        row[j] = mixed (c);
      else if (fill == CK_INTEGERS)
        row[j] = (gint) (ck_random (c) >> 32) % 4;
      else if (fill == CK_GRID)
        row[j] = rintf (CLAMP (ck_random_normal (c), -4, 4) * 16) / 16;
      else
        row[j] = ck_random_normal (c);
    }
  }
}

void
ck_choose (Ck *c, gint32 *chosen, gint count, gint of, gboolean ascending)
{
  g_autofree gint32 *all = g_new (gint32, of);
  gint i, j, left = count;

  if (ascending) {
    for (i = 0, j = 0; i < of; i++) {
      if (ck_random_int (c, 0, of - i - 1) < left) {
        chosen[j++] = i;
        left--;
      }
    }
    return;
  }
  for (i = 0; i < of; i++)
    all[i] = i;
  for (i = 0; i < count; i++) {
    gint32 picked;

    j = ck_random_int (c, i, of - 1);
    picked = all[j];
    all[j] = all[i];
    chosen[i] = picked;
  }
}

void
ck_slots (Ck *c, gint32 *slots, gint frames)
{
  gint i;

  ck_choose (c, slots, frames, frames, FALSE);
  for (i = 0; i < frames; i++)
    slots[i] = 2 * slots[i] + 1;
}

void
ck_poison_slots (CkBuffer *b, gint all, const gint32 *slots, gint frames)
{
  gsize each = b->count / all, i;
  gint slot, f;

  for (slot = 0; slot < all; slot++) {
    for (f = 0; f < frames && slots[f] != slot; f++)
      ;
    if (f < frames)
      continue;
    for (i = 0; i < each; i++) {
      if (b->values)
        b->values[slot * each + i] = NAN;
      else
        b->bytes[slot * each + i] = 0xff; /* NaN in e4m3 */
    }
  }
}

void
ck_round (float *x, gsize count, LfDType dtype)
{
  guint16 half[256];
  gsize i, n;

  for (i = 0; i < count; i += n) {
    n = MIN (count - i, G_N_ELEMENTS (half));
    lf_dtype_convert (half, dtype, x + i, LF_DTYPE_F32, n);
    lf_dtype_convert (x + i, LF_DTYPE_F32, half, dtype, n);
  }
}

gint
ck_cases (const Ck *c, gint n)
{
  return c->quick ? MIN (n, 3) : n;
}
