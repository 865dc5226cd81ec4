/* lightforce: the element that makes video from a text prompt
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_H
#define LF_SRC_H

#include <gst/base/gstpushsrc.h>

G_BEGIN_DECLS

#define LF_TYPE_SRC (lf_src_get_type ())
G_DECLARE_FINAL_TYPE (LightforceSrc, lf_src, LF, SRC, GstPushSrc)

GST_ELEMENT_REGISTER_DECLARE (lightforcesrc)

G_END_DECLS
#endif
