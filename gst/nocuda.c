/* lightforce: frames in CUDA memory, where the plugin is built without it
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/cudaoutput.h"

LfSrcCuda *
lf_src_cuda_new (void)
{
  return NULL;
}

void
lf_src_cuda_free (LfSrcCuda *cuda)
{
}

gboolean
lf_src_cuda_is_available (LfSrcCuda *cuda)
{
  return FALSE;
}

void
lf_src_cuda_share (LfSrcCuda *cuda, GstElement *element)
{
}

void
lf_src_cuda_set_context (LfSrcCuda *cuda, GstContext *context)
{
}

gboolean
lf_src_cuda_answer (LfSrcCuda *cuda, GstElement *element, GstQuery *query)
{
  return FALSE;
}

gboolean
lf_src_cuda_decide_allocation (LfSrcCuda *cuda, GstQuery *query)
{
  return FALSE;
}

gboolean
lf_src_cuda_copy (LfSrcCuda *cuda, const LfChunk *chunk, gint picture, const GstVideoInfo *info,
    GstBuffer *buffer)
{
  return FALSE;
}

gboolean
lf_src_cuda_download (LfSrcCuda *cuda, void *host, const void *device, gsize bytes)
{
  return FALSE;
}
