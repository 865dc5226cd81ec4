/* lightforce: how pictures lie in memory
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "layout.h"

#include <string.h>

static gsize
round_up (gsize n, gsize step)
{
  return (n + step - 1) / step * step;
}

/* The rules of GStreamer's gst_video_info_set_format: elements that know no other place for
 * rows and planes can take the pictures as they are. */
void
lf_layout_init (LfLayout *layout, LfFormat format, LfMatrix matrix, gint width, gint height)
{
  gsize even_height = round_up (height, 2), chroma_height = even_height / 2;

  memset (layout, 0, sizeof (*layout));
  layout->format = format;
  layout->matrix = matrix;
  layout->width = width;
  layout->height = height;
  switch (format) {
    case LF_FORMAT_RGBX:
    case LF_FORMAT_BGRX:
      layout->stride[0] = (gsize) width * 4;
      layout->size = layout->stride[0] * height;
      break;
    case LF_FORMAT_RGB:
      layout->stride[0] = round_up ((gsize) width * 3, 4);
      layout->size = layout->stride[0] * height;
      break;
    case LF_FORMAT_I420:
      layout->stride[0] = round_up (width, 4);
      layout->stride[1] = layout->stride[2] = round_up (round_up (width, 2) / 2, 4);
      layout->offset[1] = layout->stride[0] * even_height;
      layout->offset[2] = layout->offset[1] + layout->stride[1] * chroma_height;
      layout->size = layout->offset[2] + layout->stride[2] * chroma_height;
      break;
    case LF_FORMAT_NV12:
      layout->stride[0] = layout->stride[1] = round_up (width, 4);
      layout->offset[1] = layout->stride[0] * even_height;
      layout->size = layout->offset[1] + layout->stride[1] * chroma_height;
      break;
  }
}
