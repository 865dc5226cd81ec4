/* lightforce: from the pictures of a chunk to video buffers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/output.h"

struct _LfSrcOutput
{
  GstVideoInfo in, out;
  GstVideoConverter *converter; /* NULL: the pictures are in the format of the output */
};

LfSrcOutput *
lf_src_output_new (const GstVideoInfo *info)
{
  LfSrcOutput *output = g_new0 (LfSrcOutput, 1);
  GstVideoFormat format = GST_VIDEO_INFO_FORMAT (info);

  output->out = *info;
  /* The fourth byte is 255, which is as good a padding as an opaque alpha. */
  if (format != GST_VIDEO_FORMAT_RGBA)
    format = GST_VIDEO_FORMAT_RGBx;
  gst_video_info_set_format (&output->in, format, info->width, info->height);
  output->in.fps_n = info->fps_n;
  output->in.fps_d = info->fps_d;
  if (format == GST_VIDEO_INFO_FORMAT (info)
      && gst_video_colorimetry_is_equal (&output->in.colorimetry, &info->colorimetry))
    return output;
  output->converter = gst_video_converter_new (&output->in, &output->out, NULL);
  if (output->converter == NULL)
    g_clear_pointer (&output, lf_src_output_free);
  return output;
}

void
lf_src_output_free (LfSrcOutput *output)
{
  g_clear_pointer (&output->converter, gst_video_converter_free);
  g_free (output);
}

const GstVideoInfo *
lf_src_output_get_info (LfSrcOutput *output)
{
  return &output->out;
}

/* A read-only buffer around one picture; it keeps the chunk. */
static GstBuffer *
wrap_picture (LfSrcOutput *output, LfChunk *chunk, gint picture)
{
  gsize offsets[GST_VIDEO_MAX_PLANES] = {0};
  gint strides[GST_VIDEO_MAX_PLANES] = {(gint) chunk->layout.stride[0]};
  gsize start = (gsize) picture * chunk->layout.size;
  GstBuffer *buffer = gst_buffer_new_wrapped_full (GST_MEMORY_FLAG_READONLY,
      (gpointer) (chunk->data + start), chunk->layout.size, 0, chunk->layout.size,
      lf_chunk_ref (chunk), (GDestroyNotify) lf_chunk_unref);

  gst_buffer_add_video_meta_full (buffer, GST_VIDEO_FRAME_FLAG_NONE,
      GST_VIDEO_INFO_FORMAT (&output->in), (guint) chunk->layout.width,
      (guint) chunk->layout.height, 1, offsets, strides);
  return buffer;
}

gboolean
lf_src_output_write (LfSrcOutput *output, LfChunk *chunk, gint picture, GstBuffer *buffer)
{
  g_autoptr (GstBuffer) wrapped = wrap_picture (output, chunk, picture);
  GstVideoFrame in, out;
  gboolean done = TRUE;

  if (!gst_video_frame_map (&in, &output->in, wrapped, GST_MAP_READ))
    return FALSE;
  if (!gst_video_frame_map (&out, &output->out, buffer, GST_MAP_WRITE)) {
    gst_video_frame_unmap (&in);
    return FALSE;
  }
  if (output->converter)
    gst_video_converter_frame (output->converter, &in, &out);
  else
    done = gst_video_frame_copy (&out, &in);
  gst_video_frame_unmap (&out);
  gst_video_frame_unmap (&in);
  return done;
}
