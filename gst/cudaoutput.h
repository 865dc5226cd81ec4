/* lightforce: frames in CUDA memory
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_CUDA_OUTPUT_H
#define LF_SRC_CUDA_OUTPUT_H

#include <gst/video/video.h>
#include "core/lightforce.h"

G_BEGIN_DECLS

/* The caps feature of frames in CUDA memory. */
#define LF_SRC_CUDA_FEATURE "memory:CUDAMemory"

/* An element's share in CUDA: the context that it and its neighbours have. Built without
 * gstreamer-cuda all of it is there and nothing is available (nocuda.c). From any thread. */
typedef struct _LfSrcCuda LfSrcCuda;

LfSrcCuda *lf_src_cuda_new (void);
void lf_src_cuda_free (LfSrcCuda *cuda);

/* Whether frames can be in CUDA memory: GStreamer loads the driver, which has the device of the
 * library's backend. Nothing is taken of the device but its primary context, which that backend
 * computes in. */
gboolean lf_src_cuda_is_available (LfSrcCuda *cuda);
/* Once there are going to be frames in CUDA memory: asks the neighbours of `element` for a context,
 * takes it if it is the backend's own, and tells the others of it. */
void lf_src_cuda_share (LfSrcCuda *cuda, GstElement *element);
/* A context that was set on the element: taken if it is the backend's own, which shows when it is
 * needed. */
void lf_src_cuda_set_context (LfSrcCuda *cuda, GstContext *context);
/* Answers a CONTEXT query; FALSE: it is about something else. */
gboolean lf_src_cuda_answer (LfSrcCuda *cuda, GstElement *element, GstQuery *query);

/* Puts the pool that frames come from into an ALLOCATION query: downstream's where that has memory
 * of the context, or one of its own. */
gboolean lf_src_cuda_decide_allocation (LfSrcCuda *cuda, GstQuery *query);

/* From device memory to `buffer`, which is like `info`; done when it returns. FALSE: that is no CUDA
 * memory of the context, or the device failed. */
gboolean lf_src_cuda_copy (LfSrcCuda *cuda, const LfChunk *chunk, gint picture,
    const GstVideoInfo *info, GstBuffer *buffer);
/* From device memory to the host. */
gboolean lf_src_cuda_download (LfSrcCuda *cuda, void *host, const void *device, gsize bytes);

G_END_DECLS
#endif
