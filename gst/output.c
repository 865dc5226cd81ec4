/* lightforce: from the pictures of a chunk to video buffers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/output.h"

struct _LfSrcOutput
{
  GstVideoInfo info;
  LfSrcPictures pictures;
  gboolean direct; /* `pictures` are what `info` says */
  LfSrcCuda *cuda;
  guint8 *host; /* a picture that comes from a device and does not go to one */
  gsize host_size;
  GstVideoConverter *converter; /* from pictures like `from`; NULL: not needed yet */
  LfLayout from;
  GstVideoConverter *to_rgb; /* NULL: `converter` does it alone */
  GstVideoInfo rgb_info;
  GstBuffer *rgb; /* on the way */
};

static GstVideoFormat
gst_format (LfFormat format)
{
  switch (format) {
    case LF_FORMAT_BGRX:
      return GST_VIDEO_FORMAT_BGRx;
    case LF_FORMAT_RGB:
      return GST_VIDEO_FORMAT_RGB;
    case LF_FORMAT_I420:
      return GST_VIDEO_FORMAT_I420;
    case LF_FORMAT_NV12:
      return GST_VIDEO_FORMAT_NV12;
    default:
      return GST_VIDEO_FORMAT_RGBx;
  }
}

/* FALSE: the library has no such format. */
static gboolean
find_format (GstVideoFormat format, LfFormat *found)
{
  switch (format) {
    case GST_VIDEO_FORMAT_RGBx:
    case GST_VIDEO_FORMAT_RGBA: /* the fourth byte is 255, which is as good an opaque alpha */
      *found = LF_FORMAT_RGBX;
      return TRUE;
    case GST_VIDEO_FORMAT_BGRx:
    case GST_VIDEO_FORMAT_BGRA:
      *found = LF_FORMAT_BGRX;
      return TRUE;
    case GST_VIDEO_FORMAT_RGB:
      *found = LF_FORMAT_RGB;
      return TRUE;
    case GST_VIDEO_FORMAT_I420:
      *found = LF_FORMAT_I420;
      return TRUE;
    case GST_VIDEO_FORMAT_NV12:
      *found = LF_FORMAT_NV12;
      return TRUE;
    default:
      return FALSE;
  }
}

/* What the library can make of it: TRUE, or FALSE where only a converter makes the rest of it.
 * Primaries and the transfer function say what the model's colours are taken for, and change no
 * number. */
static gboolean
find_pictures (const GstVideoInfo *info, LfSrcPictures *pictures)
{
  const GstVideoColorimetry *color = &info->colorimetry;

  *pictures = (LfSrcPictures){LF_FORMAT_RGBX, LF_MATRIX_BT601, FALSE};
  if (GST_VIDEO_INFO_IS_YUV (info)) {
    if (color->range != GST_VIDEO_COLOR_RANGE_16_235
        || info->chroma_site != GST_VIDEO_CHROMA_SITE_MPEG2)
      return FALSE;
    if (color->matrix == GST_VIDEO_COLOR_MATRIX_BT709)
      pictures->matrix = LF_MATRIX_BT709;
    else if (color->matrix != GST_VIDEO_COLOR_MATRIX_BT601)
      return FALSE;
  } else if (color->range != GST_VIDEO_COLOR_RANGE_0_255) {
    return FALSE;
  }
  return find_format (GST_VIDEO_INFO_FORMAT (info), &pictures->format);
}

LfSrcOutput *
lf_src_output_new (const GstVideoInfo *info, LfSrcCuda *cuda, gboolean cuda_memory)
{
  LfSrcOutput *output = g_new0 (LfSrcOutput, 1);
  LfFormat format;

  output->info = *info;
  output->cuda = cuda;
  output->direct = find_pictures (info, &output->pictures);
  /* what goes through the converter is needed on the host */
  output->pictures.on_device = cuda_memory && output->direct;
  if (!find_format (GST_VIDEO_INFO_FORMAT (info), &format))
    g_clear_pointer (&output, lf_src_output_free);
  return output;
}

static void
clear_converter (LfSrcOutput *output)
{
  g_clear_pointer (&output->converter, gst_video_converter_free);
  g_clear_pointer (&output->to_rgb, gst_video_converter_free);
}

void
lf_src_output_free (LfSrcOutput *output)
{
  clear_converter (output);
  gst_clear_buffer (&output->rgb);
  g_free (output->host);
  g_free (output);
}

const GstVideoInfo *
lf_src_output_get_info (LfSrcOutput *output)
{
  return &output->info;
}

const LfSrcPictures *
lf_src_output_get_pictures (LfSrcOutput *output)
{
  return &output->pictures;
}

/* Whether pictures of `layout` are what the frames are to have. */
static gboolean
is_as_asked (LfSrcOutput *output, const LfLayout *layout)
{
  return output->direct && layout->format == output->pictures.format
         && (!GST_VIDEO_INFO_IS_YUV (&output->info) || layout->matrix == output->pictures.matrix);
}

/* How pictures of `layout` are told from others. */
static void
describe (LfSrcOutput *output, const LfLayout *layout, GstVideoInfo *info)
{
  if (is_as_asked (output, layout)) {
    *info = output->info;
    return;
  }
  gst_video_info_set_format (
      info, gst_format (layout->format), (guint) layout->width, (guint) layout->height);
  if (GST_VIDEO_INFO_IS_YUV (info)) {
    gst_video_colorimetry_from_string (&info->colorimetry, layout->matrix == LF_MATRIX_BT709
                                                               ? GST_VIDEO_COLORIMETRY_BT709
                                                               : GST_VIDEO_COLORIMETRY_BT601);
    info->chroma_site = GST_VIDEO_CHROMA_SITE_MPEG2;
  }
  info->fps_n = output->info.fps_n;
  info->fps_d = output->info.fps_d;
}

/* A read-only buffer around one picture in host memory; it keeps the chunk. NULL: it is on a device
 * and does not come from there. */
static GstBuffer *
wrap_picture (LfSrcOutput *output, LfChunk *chunk, gint picture, GstVideoInfo *info)
{
  const LfLayout *l = &chunk->layout;
  gsize offsets[GST_VIDEO_MAX_PLANES] = {l->offset[0], l->offset[1], l->offset[2]};
  gint strides[GST_VIDEO_MAX_PLANES] = {
      (gint) l->stride[0], (gint) l->stride[1], (gint) l->stride[2]};
  const guint8 *data = chunk->data + (gsize) picture * l->size;
  GstBuffer *buffer;

  describe (output, l, info);
  if (chunk->on_device && output->host_size < l->size) {
    output->host = g_realloc (output->host, l->size);
    output->host_size = l->size;
  }
  if (chunk->on_device && !lf_src_cuda_download (output->cuda, output->host, data, l->size))
    return NULL;
  if (chunk->on_device)
    data = output->host;
  buffer = gst_buffer_new_wrapped_full (GST_MEMORY_FLAG_READONLY, (gpointer) data, l->size, 0,
      l->size, lf_chunk_ref (chunk), (GDestroyNotify) lf_chunk_unref);
  gst_buffer_add_video_meta_full (buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT (info),
      (guint) l->width, (guint) l->height, GST_VIDEO_INFO_N_PLANES (info), offsets, strides);
  return buffer;
}

/* Makes ready to convert pictures of `layout`, which are like `info`. */
static gboolean
find_converter (LfSrcOutput *output, const LfLayout *layout, GstVideoInfo *info)
{
  GstVideoInfo *from = info;

  if (output->converter && output->from.format == layout->format
      && output->from.matrix == layout->matrix)
    return TRUE;
  clear_converter (output);
  output->from = *layout;
  /* From one range of luma to another it only copies where all else is the same. */
  if (GST_VIDEO_INFO_IS_YUV (info) && GST_VIDEO_INFO_IS_YUV (&output->info)
      && info->colorimetry.range != output->info.colorimetry.range) {
    from = &output->rgb_info;
    gst_video_info_set_format (
        from, GST_VIDEO_FORMAT_RGBx, (guint) layout->width, (guint) layout->height);
    from->fps_n = info->fps_n;
    from->fps_d = info->fps_d;
    if (output->rgb == NULL)
      output->rgb = gst_buffer_new_and_alloc (from->size);
    output->to_rgb = gst_video_converter_new (info, from, NULL);
  }
  output->converter = gst_video_converter_new (from, &output->info, NULL);
  return output->converter && (output->to_rgb || from == info);
}

static gboolean
convert (LfSrcOutput *output, GstVideoFrame *in, GstVideoFrame *out)
{
  GstVideoFrame rgb;

  if (output->to_rgb == NULL) {
    gst_video_converter_frame (output->converter, in, out);
    return TRUE;
  }
  if (!gst_video_frame_map (&rgb, &output->rgb_info, output->rgb, GST_MAP_READWRITE))
    return FALSE;
  gst_video_converter_frame (output->to_rgb, in, &rgb);
  gst_video_converter_frame (output->converter, &rgb, out);
  gst_video_frame_unmap (&rgb);
  return TRUE;
}

gboolean
lf_src_output_write (LfSrcOutput *output, LfChunk *chunk, gint picture, GstBuffer *buffer)
{
  gboolean as_asked = is_as_asked (output, &chunk->layout), done = FALSE;
  g_autoptr (GstBuffer) wrapped = NULL;
  GstVideoFrame in, out;
  GstVideoInfo info;

  if (output->pictures.on_device && chunk->on_device && as_asked
      && lf_src_cuda_copy (output->cuda, chunk, picture, &output->info, buffer))
    return TRUE;
  wrapped = wrap_picture (output, chunk, picture, &info);
  if (wrapped == NULL || (!as_asked && !find_converter (output, &chunk->layout, &info))
      || !gst_video_frame_map (&in, &info, wrapped, GST_MAP_READ))
    return FALSE;
  /* CUDA memory, too, can be written from here: it goes to the device when it is read there. */
  if (gst_video_frame_map (&out, &output->info, buffer, GST_MAP_WRITE)) {
    done = as_asked ? gst_video_frame_copy (&out, &in) : convert (output, &in, &out);
    gst_video_frame_unmap (&out);
  }
  gst_video_frame_unmap (&in);
  return done;
}
