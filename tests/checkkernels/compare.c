/* lightforce: checkkernels, comparing results
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "check.h"

#define SMALLEST 1e-30 /* differences below are none: sums of denormals */
#define FEW 1000

/* Where the largest difference is, and what it is. */
typedef struct
{
  double most, square, expected_square;
  gsize at, off;
  const char *what;
} Difference;

static void
report (Ck *c, const CkBuffer *b, const Difference *d, double found, double expected)
{
  ck_fail (c,
      "%s[%" G_GSIZE_FORMAT ", %" G_GSIZE_FORMAT
      "] is %.7g and should be %.7g (%s); %" G_GSIZE_FORMAT " of %" G_GSIZE_FORMAT
      " elements are off, by up to %.2g",
      b->name, d->at / MAX (b->columns, 1), d->at % MAX (b->columns, 1), found, expected, d->what,
      d->off, b->count, d->most);
}

/* Bytes and integers. */
static void
compare_whole (Ck *c, const CkBuffer *b)
{
  Difference d = {.what = b->off ? "off by one at most" : "exact"};
  gint off = c->exact ? 0 : b->off, found = 0, expected = 0;
  gsize i;

  for (i = 0; i < b->count; i++) {
    gint x, e;

    if (b->type == CK_INT) {
      memcpy (&x, b->first + 4 * i, 4);
      memcpy (&e, b->expected + 4 * i, 4);
    } else {
      x = b->first[i];
      e = b->expected[i];
    }
    if (ABS ((gint64) x - e) > off) {
      d.off++;
      if (d.off == 1 || ABS ((double) x - e) > d.most) {
        d.most = ABS ((double) x - e);
        d.at = i;
        found = x;
        expected = e;
      }
    }
  }
  if (d.off)
    report (c, b, &d, found, expected);
}

/* Root mean square of what is expected: the size of an error that matters. */
static double
size_of_expected (const float *expected, gsize count)
{
  double sum = 0;
  gsize i, n = 0;

  for (i = 0; i < count; i++) {
    if (isfinite (expected[i])) {
      sum += (double) expected[i] * expected[i];
      n++;
    }
  }
  return n ? sqrt (sum / n) : 0;
}

static gboolean
is_poison (const guint8 *bytes, gsize size)
{
  gsize i;

  for (i = 0; i < size && bytes[i] == 0xff; i++)
    ;
  return i == size;
}

/* One element that is no ordinary number on one side or the other; TRUE where it is right. */
static gboolean
same_kind (float x, float e)
{
  if (isnan (e))
    return isnan (x);
  return x == e; /* infinities */
}

static void
add_up (Difference *d, double difference, gsize i, double bound)
{
  if (difference > d->most) {
    d->most = difference;
    d->at = i;
  }
  d->off += difference > bound;
}

/* What lies where the reference wrote nothing must have been left alone. */
static gboolean
check_gaps (Ck *c, const CkBuffer *b)
{
  gsize size = ck_element_size (b, &c->tested), i;

  for (i = 0; i < b->count; i++) {
    gboolean expected = is_poison (b->expected + 4 * i, 4);
    gboolean found = is_poison (b->first + size * i, size);

    if (expected && !b->gaps && !b->values) {
      ck_fail (c, "%s[%" G_GSIZE_FORMAT "] is not written by the CPU", b->name, i);
      return FALSE;
    }
    if (expected != found) {
      ck_fail (c, "%s[%" G_GSIZE_FORMAT ", %" G_GSIZE_FORMAT "] %s", b->name,
          i / MAX (b->columns, 1), i % MAX (b->columns, 1),
          expected ? "is not the operation's and was written" : "was not written");
      return FALSE;
    }
  }
  return TRUE;
}

/* `more` is what the buffer's own type adds to the tolerance. */
static void
compare_floats (Ck *c, CkBuffer *b, const float *found, float *expected, CkTolerance more)
{
  gboolean exact = c->exact || b->exact || (c->tolerance.most <= 0);
  double most = exact ? 0 : c->tolerance.most * c->slack + more.most, scale, l2, l2_most;
  Difference d = {.what = exact ? "exact" : "beyond the tolerance"};
  gsize i;

  if (exact && c->tested.be->act != LF_DTYPE_F32 && b->type == CK_ACT)
    ck_round (expected, b->count, c->tested.be->act);
  scale = c->scale > 0 ? c->scale : size_of_expected (expected, b->count);
  for (i = 0; i < b->count; i++) {
    double x = found[i], e = expected[i];

    if (is_poison ((guint8 *) &expected[i], 4) && b->gaps)
      continue;
    if (!isfinite (x) || !isfinite (e)) {
      if (!same_kind (found[i], expected[i]))
        add_up (&d, INFINITY, i, 0);
      continue;
    }
    d.square += (x - e) * (x - e);
    d.expected_square += e * e;
    if (exact)
      add_up (&d, x == e ? 0 : MAX (fabs (x - e), 1e-300), i, 0);
    else if (fabs (x - e) > SMALLEST)
      add_up (&d, fabs (x - e) / (scale + fabs (e)), i, most);
  }
  if (d.off) {
    report (c, b, &d, b->count ? found[d.at] : 0, b->count ? expected[d.at] : 0);
    return;
  }
  l2 = sqrt (d.square / MAX (d.expected_square, SMALLEST * SMALLEST));
  /* a few elements may all be at their worst */
  l2_most = b->count < FEW ? c->slack * c->tolerance.most + more.most
                           : c->slack * c->tolerance.l2 + more.l2;
  if (!exact && scale > 1e-20 && l2 > l2_most)
    ck_fail (c, "%s is off by %.2g in L2, more than %.2g", b->name, l2, l2_most);
  /* looser cases are not what the worst one is looked for among */
  if (!exact && c->slack <= 1 && more.most <= 0) {
    c->worst_l2 = MAX (c->worst_l2, scale > 1e-20 && b->count >= FEW ? l2 : 0);
    if (d.most > c->worst) {
      c->worst = d.most;
      g_free (c->worst_case);
      c->worst_case = g_strdup (c->title);
    }
  }
}

/* e4m3 with a scale a row, as numbers. Values between two codes may go either way: those are up to
 * 1/8 apart, and values are off by 1/36 in the mean where they were rounded. */
static void
compare_scaled (Ck *c, CkBuffer *b)
{
  static const CkTolerance rounding = {1.0 / 8, 1.0 / 36};
  g_autofree float *found = g_new (float, b->count + 1), *expected = g_new (float, b->count + 1);
  gsize i;

  lf_dtype_convert (found, LF_DTYPE_F32, b->first, LF_DTYPE_F8_E4M3, b->count);
  lf_dtype_convert (expected, LF_DTYPE_F32, b->expected, LF_DTYPE_F8_E4M3, b->count);
  for (i = 0; i < b->count; i++) {
    found[i] *= ((const float *) b->scales->first)[i / b->columns];
    expected[i] *= ((const float *) b->scales->expected)[i / b->columns];
  }
  compare_floats (c, b, found, expected, rounding);
}

void
ck_compare (Ck *c, const CkBuffer *buffer)
{
  CkBuffer *b = (CkBuffer *) buffer;
  g_autofree float *found = NULL;

  if (b->scales && !c->exact) {
    compare_scaled (c, b);
    return;
  }
  if (b->type == CK_BYTES || b->type == CK_INT) {
    compare_whole (c, b);
    return;
  }
  if (!check_gaps (c, b))
    return;
  found = g_new (float, b->count + 1);
  lf_dtype_convert (found, LF_DTYPE_F32, b->first,
      b->type == CK_ACT ? c->tested.be->act : LF_DTYPE_F32, b->count);
  compare_floats (c, b, found, (float *) b->expected, (CkTolerance){0, 0});
}
