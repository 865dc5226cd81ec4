/* lightforce: from the pictures of a chunk to video buffers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_OUTPUT_H
#define LF_SRC_OUTPUT_H

#include "gst/cudaoutput.h"

G_BEGIN_DECLS

/* What the library is to make pictures as. */
typedef struct
{
  LfFormat format;
  LfMatrix matrix;
  gboolean on_device;
} LfSrcPictures;

/* Puts pictures into frames of one negotiated format. Those that were made as the output asks for
 * are copied; others, of chunks that were waiting when the format changed, are converted, and so are
 * all where the library does not make what was negotiated: full-range luma, say.
 * Used by one thread at a time. */
typedef struct _LfSrcOutput LfSrcOutput;

/* `cuda_memory`: frames are in CUDA memory, else in system memory. `cuda` has to outlive the output.
 * NULL: no frame like `info` can be made. */
LfSrcOutput *lf_src_output_new (const GstVideoInfo *info, LfSrcCuda *cuda, gboolean cuda_memory);
void lf_src_output_free (LfSrcOutput *output);
const GstVideoInfo *lf_src_output_get_info (LfSrcOutput *output);
const LfSrcPictures *lf_src_output_get_pictures (LfSrcOutput *output);

/* Writes picture number `picture` of `chunk`, which has the size of the output, to
 * `buffer`, whatever its strides. FALSE: the buffer cannot be mapped. */
gboolean lf_src_output_write (LfSrcOutput *output, LfChunk *chunk, gint picture, GstBuffer *buffer);

G_END_DECLS
#endif
