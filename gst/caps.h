/* lightforce: which video the element offers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_CAPS_H
#define LF_SRC_CAPS_H

#include "gst/cudaoutput.h"

G_BEGIN_DECLS

#define LF_SRC_MAX_SIZE 8192 /* pixels a side */

#define LF_SRC_CAPS_FIELDS                                                                         \
  "format = (string) { I420, NV12, RGB, RGBx, BGRx, RGBA, BGRA }, "                                \
  "width = (int) [ 1, 8192 ], height = (int) [ 1, 8192 ], "                                        \
  "framerate = (fraction) [ 1/2147483647, 2147483647/1 ]"
#ifdef LF_HAVE_CUDA_MEMORY
#define LF_SRC_CAPS                                                                                \
  "video/x-raw, " LF_SRC_CAPS_FIELDS "; video/x-raw(" LF_SRC_CUDA_FEATURE "), " LF_SRC_CAPS_FIELDS
#else
#define LF_SRC_CAPS "video/x-raw, " LF_SRC_CAPS_FIELDS
#endif

/* What was asked for; zeros are the model's. */
typedef struct
{
  gint width, height; /* pixels */
  gint fps_n, fps_d;
} LfSrcVideo;

/* Narrows the template's caps to `want`, where it is not 0 to the model's sizes and its framerate,
 * and to square pixels and whole frames; without `cuda` also to system memory. Takes and returns
 * ownership. */
GstCaps *lf_src_caps_narrow (
    GstCaps *caps, const LfSrcVideo *want, const LfModelInfo *info, gboolean cuda);
/* Whether some of `caps` are in CUDA memory by name. Caps of any memory are not: who takes them need
 * not know how to read it. */
gboolean lf_src_caps_name_cuda (const GstCaps *caps);
/* Chooses what is nearest to what is wanted, or the model's own where nothing is, in CUDA memory if
 * that is possible and `prefer_cuda`; `info` may be NULL. Takes and returns ownership. */
GstCaps *lf_src_caps_choose (
    GstCaps *caps, const LfSrcVideo *want, const LfModelInfo *info, gboolean prefer_cuda);

/* Why a property's size cannot be made and what can; NULL: it can be made. */
char *lf_src_caps_explain_size (const char *property, gint value, const LfModelInfo *info);
/* What can be made when downstream takes none of it: the running video of this size, else
 * what the properties ask for, else what the model makes. */
char *lf_src_caps_explain_refusal (
    gint width, gint height, const LfSrcVideo *want, const LfModelInfo *info);
/* Why downstream's caps are refused where it takes no system memory; NULL: that is not the reason.
 * `cuda`: CUDA memory was offered. */
char *lf_src_caps_explain_memory (const GstCaps *peer, const LfModelInfo *info, gboolean cuda);

G_END_DECLS
#endif
