/* lightforce: convolution on the CPU, inside
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CPU_CONV_H
#define LF_CPU_CONV_H

#include "cpu.h"

/* Convolutions of at most this many output channels have a kernel of their own. */
#define LF_CONV_NARROW 3

/* Sums of one block of neighbouring pixels over a padded piece of the input. */
typedef struct
{
  gint c_in, kt, kh;
  gint run;           /* kw c_in: inputs that lie in a row for one pixel */
  gsize plane, pitch; /* floats from frame to frame and from row to row */
} LfConvTile;

/* x at the block's first pixel; y (pixels, vectors lanes), or (pixels, LF_CONV_NARROW). */
typedef void (*LfConvTileFunc) (
    float *y, const float *x, const LfConvTile *tile, const float *w, const float *bias);

/* The inner loops for one vector width. */
typedef struct
{
  const char *name;
  gint lanes;
  gint pixels[3]; /* of a block that is 1, 2 and 3 vectors wide */
  LfConvTileFunc wide[3];
  gint dot_pixels;
  LfConvTileFunc dot;
} LfConvLevel;

/* What this processor can run, best first. */
const LfConvLevel *const *lf_cpu_conv_levels (gint *n_levels);

/* lf_cpu_conv at a level. */
void lf_cpu_conv_at (const LfConvLevel *level, LfQueue *q, const LfConvolution *c);

#endif
