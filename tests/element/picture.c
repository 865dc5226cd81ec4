/* lightforce: what frames are to show, for tests of the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/picture.h"

#define MAX_CAPS 4

struct _Changes
{
  Rig *rig;
  GstPad *pad;
  gulong probe;
  guint after[2]; /* frames */
  GstCaps *to[2];
  GstVideoInfo came[MAX_CAPS];
  guint first[MAX_CAPS]; /* frame with them */
  guint n;
};

const char *const picture_formats[N_FORMATS] = {
    "I420", "NV12", "RGB", "RGBx", "BGRx", "RGBA", "BGRA"};

void
picture_info (Rig *rig, GstVideoInfo *info)
{
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);

  fail_unless (caps != NULL && gst_video_info_from_caps (info, caps));
}

gboolean
picture_layout (const GstVideoInfo *info, LfLayout *layout)
{
  static const LfFormat made_as[] = {LF_FORMAT_I420, LF_FORMAT_NV12, LF_FORMAT_RGB, LF_FORMAT_RGBX,
      LF_FORMAT_BGRX, LF_FORMAT_RGBX, LF_FORMAT_BGRX};
  gboolean yuv = GST_VIDEO_INFO_IS_YUV (info);
  gint i = 0;

  while (g_strcmp0 (picture_formats[i], gst_video_format_to_string (GST_VIDEO_INFO_FORMAT (info)))
         != 0)
    i++;
  lf_layout_init (layout, made_as[i],
      info->colorimetry.matrix == GST_VIDEO_COLOR_MATRIX_BT709 ? LF_MATRIX_BT709 : LF_MATRIX_BT601,
      info->width, info->height);
  return yuv ? info->colorimetry.range == GST_VIDEO_COLOR_RANGE_16_235
                   && info->chroma_site == GST_VIDEO_CHROMA_SITE_MPEG2
                   && info->colorimetry.matrix != GST_VIDEO_COLOR_MATRIX_BT2020
             : info->colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255;
}

static void
paint_frame (const GstVideoInfo *info, const LfLayout *l, GstBuffer *buffer, const char *prompt,
    guint64 picture)
{
  gsize offsets[4] = {l->offset[0], l->offset[1], l->offset[2]};
  gint strides[4] = {(gint) l->stride[0], (gint) l->stride[1], (gint) l->stride[2]};
  GstMapInfo map;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_WRITE));
  standin_paint (l, map.data, 5, prompt, picture);
  gst_buffer_unmap (buffer, &map);
  gst_buffer_add_video_meta_full (buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT (info),
      (guint) l->width, (guint) l->height, GST_VIDEO_INFO_N_PLANES (info), offsets, strides);
}

/* What a frame of `info` is to be: as the library makes it, or else what the video library makes of
 * its RGBx. */
static GstBuffer *
wanted_frame (const GstVideoInfo *info, const char *prompt, guint64 picture)
{
  GstBuffer *want, *rgb;
  GstVideoInfo rgb_info;
  GstVideoConverter *converter;
  GstVideoFrame in, out;
  LfLayout layout;

  if (picture_layout (info, &layout)) {
    want = gst_buffer_new_and_alloc (layout.size);
    paint_frame (info, &layout, want, prompt, picture);
    return want;
  }
  lf_layout_init (&layout, LF_FORMAT_RGBX, LF_MATRIX_BT601, info->width, info->height);
  want = gst_buffer_new_and_alloc (info->size);
  rgb = gst_buffer_new_and_alloc (layout.size);
  gst_video_info_set_format (
      &rgb_info, GST_VIDEO_FORMAT_RGBx, (guint) info->width, (guint) info->height);
  rgb_info.fps_n = info->fps_n;
  rgb_info.fps_d = info->fps_d;
  paint_frame (&rgb_info, &layout, rgb, prompt, picture);
  fail_unless (gst_video_frame_map (&in, &rgb_info, rgb, GST_MAP_READ));
  fail_unless (gst_video_frame_map (&out, info, want, GST_MAP_WRITE));
  converter = gst_video_converter_new (&rgb_info, (GstVideoInfo *) info, NULL);
  gst_video_converter_frame (converter, &in, &out);
  gst_video_converter_free (converter);
  gst_video_frame_unmap (&out);
  gst_video_frame_unmap (&in);
  gst_buffer_unref (rgb);
  return want;
}

void
check_picture (Rig *rig, guint index, const GstVideoInfo *info, const char *prompt, gboolean exact)
{
  GstBuffer *wanted = wanted_frame (info, prompt, index);
  GstVideoFrame have, want;
  gint c, x, y;

  fail_unless (gst_video_frame_map (&want, info, wanted, GST_MAP_READ));
  fail_unless (gst_video_frame_map (&have, info, rig_frame (rig, index), GST_MAP_READ));
  for (c = 0; c < (gint) GST_VIDEO_FRAME_N_COMPONENTS (&want); c++) {
    gint step = GST_VIDEO_FRAME_COMP_PSTRIDE (&want, c);
    gint square = 8 * GST_VIDEO_FRAME_COMP_WIDTH (&want, c) / info->width;

    for (y = 0; y < GST_VIDEO_FRAME_COMP_HEIGHT (&want, c); y++) {
      const guint8 *a = (guint8 *) GST_VIDEO_FRAME_COMP_DATA (&want, c)
                        + y * GST_VIDEO_FRAME_COMP_STRIDE (&want, c);
      const guint8 *b = (guint8 *) GST_VIDEO_FRAME_COMP_DATA (&have, c)
                        + y * GST_VIDEO_FRAME_COMP_STRIDE (&have, c);

      for (x = 0; x < GST_VIDEO_FRAME_COMP_WIDTH (&want, c); x++) {
        if (!exact && (x % square != square / 2 || y % square != square / 2))
          continue;
        if (ABS (a[x * step] - b[x * step]) > (exact ? 0 : 8))
          fail ("frame %u, component %d at %d,%d is %d, not %d", index, c, x, y, b[x * step],
              a[x * step]);
      }
    }
  }
  gst_video_frame_unmap (&have);
  gst_video_frame_unmap (&want);
  gst_buffer_unref (wanted);
}

static GstPadProbeReturn
probe_changes (GstPad *pad, GstPadProbeInfo *probe, gpointer user_data)
{
  Changes *changes = user_data;
  guint have = rig_count (changes->rig), i;
  GstCaps *caps;

  if (GST_PAD_PROBE_INFO_TYPE (probe) & GST_PAD_PROBE_TYPE_BUFFER) {
    for (i = 0; i < 2; i++)
      if (have + 1 == changes->after[i])
        g_object_set (changes->rig->filter, "caps", changes->to[i], NULL);
  } else if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (probe)) == GST_EVENT_CAPS) {
    gst_event_parse_caps (GST_PAD_PROBE_INFO_EVENT (probe), &caps);
    fail_unless (changes->n < MAX_CAPS);
    fail_unless (gst_video_info_from_caps (&changes->came[changes->n], caps));
    changes->first[changes->n++] = have;
  }
  return GST_PAD_PROBE_OK;
}

Changes *
follow_changes (Rig *rig, guint first_after, const char *first, guint then_after, const char *then)
{
  Changes *changes = g_new0 (Changes, 1);

  changes->rig = rig;
  changes->after[0] = first_after;
  changes->after[1] = then_after;
  changes->to[0] = gst_caps_from_string (first);
  changes->to[1] = gst_caps_from_string (then);
  changes->pad = gst_element_get_static_pad (rig->sink, "sink");
  changes->probe = gst_pad_add_probe (changes->pad,
      GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, probe_changes, changes,
      NULL);
  return changes;
}

void
changes_free (Changes *changes)
{
  gst_pad_remove_probe (changes->pad, changes->probe);
  gst_object_unref (changes->pad);
  gst_caps_unref (changes->to[0]);
  gst_caps_unref (changes->to[1]);
  g_free (changes);
}

void
check_changes (Rig *rig, Changes *changes, gboolean refused)
{
  guint frame, at = 0, i;

  fail_unless_equals_int ((gint) changes->n, 3);
  for (i = 0; i < 2; i++)
    fail_unless_equals_int ((gint) changes->first[i + 1], (gint) changes->after[i]);
  for (frame = 0; frame < rig_count (rig); frame++) {
    guint chunk, changed;

    if (at + 1 < changes->n && frame >= changes->first[at + 1])
      at++;
    /* numbers of chunks: the frame's, and that of the latest change */
    chunk = (frame + 3) / 12;
    changed = at ? (changes->first[at] - 1 + 3) / 12 : 0;
    check_picture (rig, frame, &changes->came[at], "colours",
        (at == 0 || chunk > changed + 2) && !(refused && at == 1));
  }
}
