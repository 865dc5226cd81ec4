/* lightforce: from R, G, B to what video carries
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_LAYOUT_H
#define LF_LAYOUT_H

#include "lightforce.h"

G_BEGIN_DECLS

/* v = ((add + b B) + g G) + r R, whole numbers by cutting off: `add` has the half that rounds.
 * Backends keep to this order, so that they agree. R, G and B are 0..1. */
typedef struct
{
  float add, r, g, b;
} LfColorSum;

typedef struct
{
  LfColorSum y, cb, cr;
} LfColors;

/* Whether chroma has planes of its own, of half the size. */
static inline gboolean
lf_format_is_planar (LfFormat format)
{
  return format == LF_FORMAT_I420 || format == LF_FORMAT_NV12;
}

/* Y = Kr R + Kg G + Kb B in 16..235; Cb = (B - Y) / (2 (1 - Kb)) and Cr = (R - Y) / (2 (1 - Kr))
 * in 16..240 around 128. */
static inline LfColors
lf_colors (LfMatrix matrix)
{
  double kr = matrix == LF_MATRIX_BT709 ? 0.2126 : 0.299;
  double kb = matrix == LF_MATRIX_BT709 ? 0.0722 : 0.114;
  double kg = 1 - kr - kb, u = 112 / (1 - kb), v = 112 / (1 - kr);
  LfColors c;

  c.y.add = 16.5f;
  c.y.r = (float) (219 * kr);
  c.y.g = (float) (219 * kg);
  c.y.b = (float) (219 * kb);
  c.cb.add = 128.5f;
  c.cb.r = (float) (-u * kr);
  c.cb.g = (float) (-u * kg);
  c.cb.b = 112;
  c.cr.add = 128.5f;
  c.cr.r = 112;
  c.cr.g = (float) (-v * kg);
  c.cr.b = (float) (-v * kb);
  return c;
}

G_END_DECLS
#endif
