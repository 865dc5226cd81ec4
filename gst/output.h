/* lightforce: from the pictures of a chunk to video buffers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_OUTPUT_H
#define LF_SRC_OUTPUT_H

#include <gst/video/video.h>
#include "core/lightforce.h"

G_BEGIN_DECLS

/* Turns pictures (full-range sRGB, 4 bytes a pixel) into frames of one negotiated format.
 * Used by one thread at a time. */
typedef struct _LfSrcOutput LfSrcOutput;

/* NULL: no conversion to `info` is possible. */
LfSrcOutput *lf_src_output_new (const GstVideoInfo *info);
void lf_src_output_free (LfSrcOutput *output);
const GstVideoInfo *lf_src_output_get_info (LfSrcOutput *output);

/* Writes picture number `picture` of `chunk`, which has the size of the output, to
 * `buffer`, whatever its strides. FALSE: the buffer cannot be mapped. */
gboolean lf_src_output_write (LfSrcOutput *output, LfChunk *chunk, gint picture, GstBuffer *buffer);

G_END_DECLS
#endif
