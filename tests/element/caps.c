/* lightforce: negotiation, formats and buffers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/picture.h"

/* Component bytes of a pixel in component order: Y U V or R G B (A). */
static void
check_pixel (Rig *rig, guint frame, const gint *want, gint tolerance)
{
  GstVideoInfo info;
  GstVideoFrame video;
  gint c, x, y;

  picture_info (rig, &info);
  fail_unless (gst_video_frame_map (&video, &info, rig_frame (rig, frame), GST_MAP_READ));
  for (c = 0; c < (gint) GST_VIDEO_FRAME_N_COMPONENTS (&video); c++) {
    gint rows = GST_VIDEO_FRAME_COMP_HEIGHT (&video, c);
    gint columns = GST_VIDEO_FRAME_COMP_WIDTH (&video, c);

    for (y = 0; y < rows; y++) {
      const guint8 *line = (guint8 *) GST_VIDEO_FRAME_COMP_DATA (&video, c)
                           + y * GST_VIDEO_FRAME_COMP_STRIDE (&video, c);

      for (x = 0; x < columns; x++) {
        gint have = line[x * GST_VIDEO_FRAME_COMP_PSTRIDE (&video, c)];

        fail_unless (ABS (have - want[c]) <= tolerance, "component %d at %d,%d is %d, not %d", c, x,
            y, have, want[c]);
      }
    }
  }
  gst_video_frame_unmap (&video);
}

/* Every byte of every pixel, in every format, in even and in odd sizes. The reference for
 * YUV is the definition of BT.601 (studio swing), which sizes below 720 lines have. */
GST_START_TEST (test_solid_colour)
{
  static const guint32 colours[] = {0xff0000, 0x00ff00, 0x0000ff, 0xffffff, 0x000000, 0x336699};
  static const gint sizes[][2] = {{64, 48}, {33, 17}, {1, 1}, {7, 5}, {322, 2}};
  const char *format = picture_formats[__i__ % 7];
  const gint *size = sizes[__i__ / 7];
  gboolean yuv = format[0] == 'I' || format[0] == 'N';
  guint i;

  for (i = 0; i < G_N_ELEMENTS (colours); i++) {
    gint r = (gint) (colours[i] >> 16), g = (gint) (colours[i] >> 8) & 255;
    gint b = (gint) colours[i] & 255;
    gint rgb[4] = {r, g, b, 255};
    gint y601[3] = {(gint) (16.5 + 0.256788 * r + 0.504129 * g + 0.097906 * b),
        (gint) (128.5 - 0.148223 * r - 0.290993 * g + 0.439216 * b),
        (gint) (128.5 + 0.439216 * r - 0.367788 * g - 0.071427 * b)};
    g_autofree char *caps =
        g_strdup_printf ("video/x-raw,format=%s,width=%d,height=%d", format, size[0], size[1]);
    Rig *rig = rig_new ("num-buffers=2", caps);

    STANDIN_SET (size_step, 1);
    STANDIN_SET (solid, TRUE);
    STANDIN_SET (color, colours[i]);
    rig_run_to_eos (rig);
    check_pixel (rig, 1, yuv ? y601 : rgb, yuv ? 2 : 0);
    rig_free (rig);
  }
}
GST_END_TEST;

/* Frames are the library's, bit for bit, in even and odd sizes and both matrices; the defaults of
 * colour are by size. */
GST_START_TEST (test_every_format)
{
  static const gint sizes[][2] = {{64, 48}, {33, 17}, {50, 722}};
  const gint *size = sizes[__i__ / 7];
  g_autofree char *caps = g_strdup_printf (
      "video/x-raw,format=%s,width=%d,height=%d", picture_formats[__i__ % 7], size[0], size[1]);
  Rig *rig = rig_new ("num-buffers=3 seed=5 prompt=colours", caps);
  GstVideoInfo info;
  LfLayout layout;
  StandinLog log;
  guint i;

  STANDIN_SET (size_step, 1);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 3);
  picture_info (rig, &info);
  fail_unless (picture_layout (&info, &layout));
  fail_unless_equals_int (
      layout.matrix, __i__ >= 14 && __i__ % 7 < 2 ? LF_MATRIX_BT709 : LF_MATRIX_BT601);
  standin_get_log (&log);
  fail_unless_equals_int (log.config.format, layout.format);
  fail_unless_equals_int (log.config.matrix, layout.matrix);
  fail_if (log.config.on_device);
  standin_log_clear (&log);
  for (i = 0; i < 3; i++)
    check_picture (rig, i, &info, "colours", TRUE);
  rig_free (rig);
}
GST_END_TEST;

/* What the library does not make is converted from what it does. */
GST_START_TEST (test_other_colours)
{
  static const char *const caps[] = {"format=I420,colorimetry=bt709",
      "format=NV12,colorimetry=bt601,chroma-site=mpeg2", "format=I420,colorimetry=bt2020",
      "format=NV12,chroma-site=jpeg", "format=I420,colorimetry=1:4:0:0",
      "format=RGB,colorimetry=2:1:7:1"};
  g_autofree char *all =
      g_strdup_printf ("video/x-raw,width=64,height=48,%s", caps[__i__ % G_N_ELEMENTS (caps)]);
  Rig *rig = rig_new ("num-buffers=2 seed=5 prompt=colours", all);
  GstVideoInfo info;
  StandinLog log;
  LfLayout layout;

  rig_run_to_eos (rig);
  picture_info (rig, &info);
  standin_get_log (&log);
  fail_unless (picture_layout (&info, &layout) == (__i__ < 2));
  fail_unless_equals_int (log.config.format, __i__ < 2 ? layout.format : LF_FORMAT_RGBX);
  standin_log_clear (&log);
  check_picture (rig, 1, &info, "colours", TRUE);
  rig_free (rig);
}
GST_END_TEST;

/* In CUDA memory there is nothing without a GPU. */
GST_START_TEST (test_no_cuda_memory)
{
  static const char *const line =
      "lightforcesrc name=src ! capsfilter caps=video/x-raw(memory:CUDAMemory),format=NV12 ! "
      "fakesink name=sink";
  g_autoptr (GError) error = NULL;
  g_autoptr (GstBus) bus = NULL;
  g_autoptr (GstElement) pipeline = gst_parse_launch (line, &error);
#ifdef LF_HAVE_CUDA_MEMORY
  GstMessage *message;
  g_autoptr (GError) told = NULL;

  fail_unless (error == NULL);
  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 10 * GST_SECOND, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &told, NULL);
  fail_unless (g_error_matches (told, GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION));
  fail_unless (strstr (told->message, "the backend in use is cpu") != NULL, "%s", told->message);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
#else
  fail_unless (g_error_matches (error, GST_PARSE_ERROR, GST_PARSE_ERROR_LINK));
#endif
}
GST_END_TEST;

static void
expect_caps (const char *properties, const char *caps, gint width, gint height, gint n, gint d)
{
  Rig *rig = rig_new (properties, caps);
  GstVideoInfo info;
  StandinLog log;

  rig_run_to_eos (rig);
  picture_info (rig, &info);
  fail_unless_equals_int (info.width, width);
  fail_unless_equals_int (info.height, height);
  fail_unless_equals_int (info.fps_n, n);
  fail_unless_equals_int (info.fps_d, d);
  fail_unless_equals_int (info.par_n, 1);
  fail_unless_equals_int (info.par_d, 1);
  fail_unless (GST_VIDEO_INFO_INTERLACE_MODE (&info) == GST_VIDEO_INTERLACE_MODE_PROGRESSIVE);
  standin_get_log (&log);
  fail_unless_equals_int (log.config.width, width);
  fail_unless_equals_int (log.config.height, height);
  standin_log_clear (&log);
  rig_free (rig);
}

GST_START_TEST (test_fixate)
{
  expect_caps ("num-buffers=1", NULL, 64, 48, 16, 1);
  expect_caps ("num-buffers=1 width=32", NULL, 32, 48, 16, 1);
  expect_caps ("num-buffers=1 width=32 height=100", NULL, 32, 100, 16, 1);
  expect_caps ("num-buffers=1", "video/x-raw,width=320,height=240", 320, 240, 16, 1);
  expect_caps ("num-buffers=1", "video/x-raw,width=[100,200]", 100, 48, 16, 1);
  expect_caps ("num-buffers=1 framerate=30000/1001", NULL, 64, 48, 30000, 1001);
  expect_caps ("num-buffers=1 framerate=24/1", "video/x-raw,framerate=[20/1,60/1]", 64, 48, 24, 1);
  STANDIN_SET (size_step, 16);
  expect_caps ("num-buffers=1", "video/x-raw,width=[65,90]", 80, 48, 16, 1);
}
GST_END_TEST;

/* A scaler takes any size: it gets the model's, and not the one that it is to make. */
GST_START_TEST (test_scaler)
{
  static const struct
  {
    const char *properties, *caps, *elements;
    gint width, height;
  } cases[] = {
      {"", "", "videoscale", 64, 48},
      {"", NULL, "videoscale", 64, 48},
      {"", "", "videoconvertscale", 64, 48},
      {"", "", "queue ! videorate ! videoconvert ! videoscale", 64, 48},
      {"width=32", "", "videoscale", 32, 48},
      {"width=32 height=64", "", "videoscale", 32, 64},
      /* nothing scales: it is made as asked for */
      {"", "", "videoconvert", 320, 240},
  };
  g_autofree char *properties = g_strdup_printf ("num-buffers=1 %s", cases[__i__].properties);
  g_autofree char *tail =
      g_strdup_printf ("%s ! video/x-raw,width=320,height=240 ! fakesink name=sink sync=false",
          cases[__i__].elements);
  Rig *rig = rig_new_full (properties, cases[__i__].caps, tail);
  StandinLog log;

  rig_run_to_eos (rig);
  standin_get_log (&log);
  fail_unless_equals_int (log.config.width, cases[__i__].width);
  fail_unless_equals_int (log.config.height, cases[__i__].height);
  standin_log_clear (&log);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_not_negotiated)
{
  static const struct
  {
    const char *properties, *caps, *text;
  } cases[] = {
      {"", "video/x-raw,width=40,height=48",
          "the model standin makes 64x48, or other multiples of 16"},
      {"", "video/x-raw,width=100,height=100", "multiples of 16 pixels"},
      {"width=32 height=32", "video/x-raw,width=64", "properties ask for 32x32"},
      {"width=32", "video/x-raw,width=64", "property width asks for 32, with a height of 48"},
      {"height=32", "video/x-raw,height=64", "property height asks for 32, with a width of 64"},
      {"", "video/x-raw,pixel-aspect-ratio=2/1", "put videorate and videoconvertscale behind it"},
      {"is-live=true", "video/x-raw,interlace-mode=interleaved",
          "Size and framerate are the model's"},
      {"", "video/x-raw,framerate=30/1", "the model's framerate is 16/1"},
      {"framerate=25/1", "video/x-raw,framerate=30/1", "its property framerate asks for 25/1"},
  };
  Rig *rig = rig_new (cases[__i__].properties, cases[__i__].caps);

  STANDIN_SET (size_step, 16);
  rig_expect_error (
      rig, rig_run (rig), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION, cases[__i__].text);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_size_not_possible)
{
  static const struct
  {
    const char *properties, *text;
  } cases[] = {
      {"width=100", "The property width is 100, but the model standin makes multiples of 16 "
                    "pixels: set 96 or 112, or 0"},
      {"height=3", "The property height is 3, but the model standin makes multiples of 16 pixels: "
                   "set 16 or more"},
  };
  Rig *rig = rig_new (cases[__i__].properties, NULL);

  STANDIN_SET (size_step, 16);
  rig_expect_error (
      rig, rig_run (rig), GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS, cases[__i__].text);
  rig_free (rig);
}
GST_END_TEST;

/* Not linked to anything: one error, of the kind that GStreamer has for it. */
GST_START_TEST (test_not_linked)
{
  GstElement *src = gst_element_factory_make ("lightforcesrc", NULL);
  g_autoptr (GstBus) bus = gst_bus_new ();
  g_autoptr (GError) error = NULL;
  GstMessage *message;

  gst_element_set_bus (src, bus);
  gst_element_set_state (src, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, LONG * GST_USECOND, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (g_error_matches (error, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED), "%s %d: %s",
      g_quark_to_string (error->domain), error->code, error->message);
  gst_message_unref (message);
  fail_unless (gst_bus_timed_pop_filtered (bus, 100 * GST_MSECOND, GST_MESSAGE_ERROR) == NULL,
      "a second error for one failure");
  gst_element_set_state (src, GST_STATE_NULL);
  gst_element_set_bus (src, NULL);
  gst_object_unref (src);
}
GST_END_TEST;

/* The format and the framerate may change while the video runs; the size may not. */
GST_START_TEST (test_renegotiation)
{
  Rig *rig = rig_new ("num-buffers=36 framerate=10/1", "video/x-raw,format=I420");
  g_autoptr (GstCaps) caps = gst_caps_from_string ("video/x-raw,format=RGB,width=64,height=48");
  g_autoptr (GstCaps) other = gst_caps_from_string ("video/x-raw,width=32");
  GstVideoInfo info;
  gboolean changed = FALSE;
  guint i;

  STANDIN_SET (hold_chunk, 1);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 9);
  g_object_set (rig->filter, "caps", caps, NULL);
  g_object_set (rig->src, "framerate", 20, 1, NULL);
  STANDIN_SET (hold_chunk, __i__ ? 2 : -1);
  if (!__i__)
    gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  rig_wait_frames (rig, 21);
  for (i = 1; i < rig_count (rig); i++) {
    GstBuffer *frame = rig_frame (rig, i), *before = rig_frame (rig, i - 1);

    changed |= GST_BUFFER_DURATION (frame) == 50 * GST_MSECOND;
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (frame), (changed ? 50 : 100) * GST_MSECOND);
    fail_unless_equals_uint64 (
        GST_BUFFER_PTS (frame), GST_BUFFER_PTS (before) + GST_BUFFER_DURATION (before));
  }
  fail_unless (changed);
  picture_info (rig, &info);
  fail_unless_equals_int (GST_VIDEO_INFO_FORMAT (&info), GST_VIDEO_FORMAT_RGB);
  if (__i__) {
    g_object_set (rig->filter, "caps", other, NULL);
    STANDIN_SET (hold_chunk, -1);
    rig_expect_error (rig, rig_wait (rig, GST_MESSAGE_ERROR | GST_MESSAGE_EOS), GST_CORE_ERROR,
        GST_CORE_ERROR_NEGOTIATION, "the running video is 64x48");
  }
  rig_free (rig);
}
GST_END_TEST;

/* Another format in the middle of a chunk, with more of the old ones waiting, and back again: each
 * frame is what its caps say. `fail`: the generator does not do it. */
GST_START_TEST (test_format_changes)
{
  static const char *const pairs[][2] = {{"format=I420", "format=NV12"},
      {"format=NV12", "format=RGB"}, {"format=RGBx", "format=I420"}, {"format=RGBA", "format=BGRA"},
      {"format=RGBx", "format=RGBA"},
      {"format=I420,colorimetry=bt601", "format=I420,colorimetry=bt709"},
      {"format=NV12", "format=I420,colorimetry=1:4:0:0"},
      {"format=BGRx", "format=NV12,chroma-site=jpeg"}};
  guint n = G_N_ELEMENTS (pairs), which = (guint) __i__ % n;
  gboolean fail = (guint) __i__ >= n;
  g_autofree char *a = g_strdup_printf ("video/x-raw,width=64,height=48,%s", pairs[which][0]);
  g_autofree char *b = g_strdup_printf ("video/x-raw,width=64,height=48,%s", pairs[which][1]);
  Rig *rig = rig_new ("num-buffers=81 queue-chunks=1 seed=5 prompt=colours", a);
  g_autoptr (Changes) changes = follow_changes (rig, 5, b, 38, a);
  StandinLog log;

  STANDIN_SET (fail_format, fail);
  rig_set_state (rig, GST_STATE_PLAYING);
  if (fail && which != 4) {
    g_autofree char *warning = rig_next_warning (rig);

    fail_unless (strstr (warning, "no other format") != NULL, "%s", warning);
  }
  rig_wait_end (rig);
  fail_unless_equals_int (rig_count (rig), 81);
  check_changes (rig, changes, fail);
  standin_get_log (&log);
  /* RGBx and RGBA are the same to the library */
  fail_unless_equals_int (log.formats, which == 4 ? 0 : 2);
  standin_log_clear (&log);
  g_clear_pointer (&changes, changes_free);
  rig_free (rig);
}
GST_END_TEST;

/* ------------------------------------------------------------------- allocation */

typedef struct
{
  GstBufferPool *pool;
  guint padding;
  gboolean meta;
} Offer;

static GstPadProbeReturn
answer_allocation (GstPad *pad, GstPadProbeInfo *probe, gpointer user_data)
{
  Offer *offer = user_data;
  GstQuery *query = GST_PAD_PROBE_INFO_QUERY (probe);
  GstVideoInfo info;
  GstStructure *config;
  GstCaps *caps;
  guint size;

  if (GST_QUERY_TYPE (query) != GST_QUERY_ALLOCATION)
    return GST_PAD_PROBE_OK;
  gst_query_parse_allocation (query, &caps, NULL);
  if (caps == NULL || !gst_video_info_from_caps (&info, caps))
    return GST_PAD_PROBE_OK;
  size = (guint) info.size;
  if (offer->pool == NULL)
    offer->pool = gst_video_buffer_pool_new ();
  if (offer->meta) {
    GstVideoAlignment align;

    gst_query_add_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL);
    gst_video_alignment_reset (&align);
    align.padding_left = align.padding_right = align.padding_top = offer->padding;
    config = gst_buffer_pool_get_config (offer->pool);
    gst_buffer_pool_config_set_params (config, caps, size, 2, 4);
    gst_buffer_pool_config_add_option (config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    gst_buffer_pool_config_add_option (config, GST_BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
    gst_buffer_pool_config_set_video_alignment (config, &align);
    fail_unless (gst_buffer_pool_set_config (offer->pool, config));
    config = gst_buffer_pool_get_config (offer->pool);
    gst_buffer_pool_config_get_params (config, NULL, &size, NULL, NULL);
    gst_structure_free (config);
  }
  gst_query_add_allocation_pool (query, offer->pool, size, 2, 0);
  return GST_PAD_PROBE_HANDLED;
}

/* The frames are in downstream's pool, with downstream's strides. */
GST_START_TEST (test_downstream_pool)
{
  g_autofree char *caps =
      g_strdup_printf ("video/x-raw,format=%s,width=33,height=17", picture_formats[__i__ % 7]);
  Rig *rig = rig_new ("num-buffers=5 seed=5 prompt=colours", caps);
  Offer offer = {.padding = 24, .meta = __i__ >= 7};
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");
  GstVideoInfo info;
  guint i;

  STANDIN_SET (size_step, 1);
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, answer_allocation, &offer, NULL);
  rig_run_to_eos (rig);
  picture_info (rig, &info);
  for (i = 0; i < 5; i++) {
    GstVideoMeta *meta = gst_buffer_get_video_meta (rig_frame (rig, i));

    fail_unless (rig_frame (rig, i)->pool == offer.pool);
    if (offer.meta) {
      fail_unless (meta != NULL);
      fail_unless (meta->stride[0] > 33 + 48 - 8);
    }
    check_picture (rig, i, &info, "colours", TRUE);
  }
  rig_set_state (rig, GST_STATE_NULL);
  rig_forget_frames (rig);
  gst_object_unref (offer.pool);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_own_pool)
{
  Rig *rig = rig_new ("num-buffers=5", "video/x-raw,format=I420");
  guint i;

  rig_run_to_eos (rig);
  for (i = 0; i < 5; i++)
    fail_unless (GST_IS_VIDEO_BUFFER_POOL (rig_frame (rig, i)->pool));
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "caps");

  tcase_add_loop_test (tc, test_solid_colour, 0, 7 * 5);
  tcase_add_loop_test (tc, test_every_format, 0, 7 * 3);
  tcase_add_loop_test (tc, test_other_colours, 0, 6);
  tcase_add_test (tc, test_no_cuda_memory);
  tcase_add_test (tc, test_fixate);
  tcase_add_loop_test (tc, test_scaler, 0, 7);
  tcase_add_loop_test (tc, test_not_negotiated, 0, 9);
  tcase_add_loop_test (tc, test_size_not_possible, 0, 2);
  tcase_add_test (tc, test_not_linked);
  tcase_add_loop_test (tc, test_renegotiation, 0, 2);
  tcase_add_loop_test (tc, test_format_changes, 0, 16);
  tcase_add_loop_test (tc, test_downstream_pool, 0, 14);
  tcase_add_test (tc, test_own_pool);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "caps", add);
}
