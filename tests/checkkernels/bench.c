/* lightforce: checkkernels, measurements
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

static int
compare (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

/* Prints the median of the samples of the case at work. */
void
ck_bench_finish (Ck *c)
{
  double seconds[LF_MAX_TAGS] = {0}, median;
  const char *precision = ck_precisions[c->precision];

  c->tested.be->ops->read_profile (c->tested.q, seconds);
  qsort (seconds + 1, c->samples, sizeof (double), compare);
  median = (seconds[c->samples / 2] + seconds[c->samples / 2 + 1]) / 2 / c->inner;
  printf ("%-18s %-4s %10.1f us", c->op->name, precision, median * 1e6);
  if (c->flops > 0)
    printf ("  %7.1f TFLOP/s", c->flops / median * 1e-12);
  else if (c->bytes > 0)
    printf ("  %7.0f GB/s   ", c->bytes / median * 1e-9);
  else
    printf ("                 ");
  printf ("  %s\n", c->title);
  fflush (stdout);
}
