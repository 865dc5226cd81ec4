/* lightforce: buckets of distances in T5's attention
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_T5BUCKET_H
#define LF_T5BUCKET_H

#include <glib.h>
#include <math.h>

/* Distances from this on share the last bucket of their side. */
#define LF_T5_MAX_DISTANCE 128

/* Bucket of key position - query position: exact near by, logarithmic further away. Here, so that
 * every backend draws the lines between buckets with these same roundings. */
static inline gint
lf_t5_bucket (gint distance, gint buckets)
{
  gint half = buckets / 2, exact = half / 2;
  gint side = distance > 0 ? half : 0;
  gint away = ABS (distance), far;

  if (away < exact)
    return side + away;
  far = exact
        + (gint) (logf ((float) away / exact) / (float) log ((double) LF_T5_MAX_DISTANCE / exact)
                  * (half - exact));
  return side + MIN (far, half - 1);
}

#endif
