/* lightforce: which video the element offers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_CAPS_H
#define LF_SRC_CAPS_H

#include <gst/gst.h>
#include "core/lightforce.h"

G_BEGIN_DECLS

#define LF_SRC_MAX_SIZE 8192 /* pixels a side */

#define LF_SRC_CAPS                                                                                \
  "video/x-raw, format = (string) { I420, NV12, RGB, RGBx, BGRx, RGBA, BGRA }, "                   \
  "width = (int) [ 1, 8192 ], height = (int) [ 1, 8192 ], "                                        \
  "framerate = (fraction) [ 1/2147483647, 2147483647/1 ]"

/* What was asked for; zeros are the model's. */
typedef struct
{
  gint width, height; /* pixels */
  gint fps_n, fps_d;
} LfSrcVideo;

/* Narrows the template's caps to `want`, where it is not 0 to the model's sizes and its framerate,
 * and to square pixels and whole frames. Takes and returns ownership. */
GstCaps *lf_src_caps_narrow (GstCaps *caps, const LfSrcVideo *want, const LfModelInfo *info);
/* Chooses what is nearest to the model's own; `info` may be NULL. Takes and returns
 * ownership. */
GstCaps *lf_src_caps_choose (GstCaps *caps, const LfModelInfo *info);

/* Why a property's size cannot be made and what can; NULL: it can be made. */
char *lf_src_caps_explain_size (const char *property, gint value, const LfModelInfo *info);
/* What can be made when downstream takes none of it: the running video of this size, else
 * what the properties ask for, else what the model makes. */
char *lf_src_caps_explain_refusal (
    gint width, gint height, const LfSrcVideo *want, const LfModelInfo *info);

G_END_DECLS
#endif
