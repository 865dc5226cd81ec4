/* lightforce: videos that start from a picture
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <string.h>

#include "tests/element/rig.h"

#define RGBX "video/x-raw,format=RGBx"

static char *folder;

static void
make_folder (void)
{
  folder = g_dir_make_tmp ("lightforce-image-XXXXXX", NULL);
  fail_unless (folder != NULL);
}

static void
remove_folder (void)
{
  GDir *dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir))) {
    g_autofree char *path = g_build_filename (folder, name, NULL);

    g_remove (path);
  }
  g_dir_close (dir);
  g_rmdir (folder);
  g_clear_pointer (&folder, g_free);
}

/* Writes a file with a pipeline whose last element lacks; its path. */
static char *
write_file (const char *name, const char *line)
{
  char *path = g_build_filename (folder, name, NULL);
  g_autofree char *whole = g_strdup_printf ("%s ! filesink location=\"%s\"", line, path);
  g_autoptr (GError) error = NULL;
  GstElement *pipeline = gst_parse_launch (whole, &error);
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;

  fail_unless (error == NULL, "%s: %s", whole, error ? error->message : "");
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message && GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS, "%s", whole);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  return path;
}

/* A rig of the element that starts from `location`, of num-buffers=30. */
static Rig *
new_rig (const char *location)
{
  Rig *rig = rig_new ("num-buffers=30", RGBX);

  g_object_set (rig->src, "start-image", location, NULL);
  return rig;
}

/* Whether a pixel of a frame, in RGBx, has about this colour. */
static void
check_pixel (GstBuffer *frame, gint x, gint y, guint32 color, gint tolerance)
{
  guint8 p[3];
  gint i;

  fail_unless_equals_int ((gint) gst_buffer_extract (frame, (gsize) (y * 64 + x) * 4, p, 3), 3);
  for (i = 0; i < 3; i++)
    fail_unless (ABS (p[i] - (gint) (color >> (16 - 8 * i) & 255)) <= tolerance,
        "%02x%02x%02x at %d, %d instead of %06x", p[0], p[1], p[2], x, y, color);
}

/* A picture of a border around a middle: 64 x 48 of `color` and `border` pixels on two sides. */
static char *
write_bordered (const char *name, guint32 color, const char *border, const char *encoder)
{
  g_autofree char *line = g_strdup_printf (
      "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0x%08x ! "
      "video/x-raw,format=RGBA,width=64,height=48 ! videobox fill=green %s ! videoconvert ! %s",
      0xff000000u | color, border, encoder);

  return write_file (name, line);
}

/* The first picture is the file's, of whatever kind; all others are made. */
GST_START_TEST (test_first_picture)
{
  static const struct
  {
    const char *name, *encoder;
    gint tolerance;
  } kinds[] = {{"a.png", "pngenc", 0}, {"a.jpg", "jpegenc quality=95", 6},
      {"a b#.mkv", "jpegenc quality=95 ! matroskamux", 6}};
  g_autofree char *path = write_bordered (kinds[__i__].name, 0x2080e0, "", kinds[__i__].encoder);
  g_autofree char *uri = gst_filename_to_uri (path, NULL);
  gint by_uri, i;

  for (by_uri = 0; by_uri < 2; by_uri++) {
    Rig *rig = new_rig (by_uri ? uri : path);

    rig_run_to_eos (rig);
    fail_unless_equals_int (rig_count (rig), 30);
    check_pixel (rig_frame (rig, 0), 0, 0, 0x2080e0, kinds[__i__].tolerance);
    check_pixel (rig_frame (rig, 0), 63, 47, 0x2080e0, kinds[__i__].tolerance);
    for (i = 1; i < 30; i++)
      fail_unless_equals_int ((gint) rig_first_pixel (rig_frame (rig, (guint) i)),
          (gint) standin_pixel (0, "", (guint64) i, 0, 0));
    rig_free (rig);
  }
}
GST_END_TEST;

/* A relative path with a colon looks like a URI. */
GST_START_TEST (test_colon)
{
  g_autofree char *path = write_bordered ("take:2.png", 0x2080e0, "", "pngenc");
  g_autofree char *before = g_get_current_dir ();
  Rig *rig;

  fail_unless (g_chdir (folder) == 0);
  rig = new_rig ("take:2.png");
  rig_run_to_eos (rig);
  check_pixel (rig_frame (rig, 0), 0, 0, 0x2080e0, 0);
  rig_free (rig);
  fail_unless (g_chdir (before) == 0);
}
GST_END_TEST;

/* What stands out on two sides is cut off evenly; a small picture is enlarged. */
GST_START_TEST (test_fills_frame)
{
  static const char *const borders[] = {
      "left=-40 right=-40", "top=-30 bottom=-30", "left=24 right=24 top=18 bottom=18"};
  g_autofree char *path = write_bordered ("b.png", 0xd06010, borders[__i__], "pngenc");
  static const gint corners[][2] = {{0, 0}, {63, 0}, {0, 47}, {63, 47}, {32, 24}};
  Rig *rig = new_rig (path);
  guint i;

  rig_run_to_eos (rig);
  for (i = 0; i < G_N_ELEMENTS (corners); i++)
    check_pixel (rig_frame (rig, 0), corners[i][0], corners[i][1], 0xd06010, 1);
  rig_free (rig);
}
GST_END_TEST;

/* Left, right, above and below stay where they are, and pixels that are not square are heeded. */
GST_START_TEST (test_upright)
{
  g_autofree char *path = write_file ("c.png",
      "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0xff0000ff ! "
      "video/x-raw,format=RGBA,width=32,height=24 ! videobox fill=red left=-32 ! "
      "videobox fill=green top=-24 ! videoconvert ! pngenc");
  g_autofree char *flat = write_file ("c.mkv",
      "videotestsrc num-buffers=2 pattern=solid-color foreground-color=0xff2080e0 ! "
      "video/x-raw,format=RGBA,width=32,height=48,framerate=5/1 ! "
      "videobox fill=green top=-24 bottom=-24 ! capssetter "
      "caps=video/x-raw,pixel-aspect-ratio=2/1 ! videoconvert ! jpegenc quality=95 ! matroskamux");
  Rig *rig = new_rig (path);

  rig_run_to_eos (rig);
  check_pixel (rig_frame (rig, 0), 4, 4, 0x00ff00, 1);
  check_pixel (rig_frame (rig, 0), 60, 4, 0x00ff00, 1);
  check_pixel (rig_frame (rig, 0), 4, 44, 0xff0000, 1);
  check_pixel (rig_frame (rig, 0), 60, 44, 0x0000ff, 1);
  rig_free (rig);
  rig = new_rig (flat);
  rig_run_to_eos (rig);
  check_pixel (rig_frame (rig, 0), 32, 2, 0x2080e0, 12);
  check_pixel (rig_frame (rig, 0), 32, 45, 0x2080e0, 12);
  rig_free (rig);
}
GST_END_TEST;

/* Each beginning has it: after a restart, a seek and a stop. */
GST_START_TEST (test_again)
{
  g_autofree char *path = write_bordered ("d.png", 0x123456, "", "pngenc");
  Rig *rig = new_rig (path);
  g_autofree char *sum = NULL, *sought = NULL, *again = NULL;

  rig_run_to_eos (rig);
  sum = rig_checksum (rig);
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (
      rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_KEY_UNIT, 0));
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  sought = rig_checksum (rig);
  fail_unless_equals_string (sought, sum);
  rig_forget_frames (rig);
  rig_reach_state (rig, GST_STATE_READY);
  rig_run_to_eos (rig);
  again = rig_checksum (rig);
  fail_unless_equals_string (again, sum);
  rig_forget_frames (rig);
  rig_reach_state (rig, GST_STATE_READY);
  g_object_set (rig->src, "start-image", __i__ ? "" : NULL, NULL);
  rig_run_to_eos (rig);
  fail_unless_equals_int (
      (gint) rig_first_pixel (rig_frame (rig, 0)), (gint) standin_pixel (0, "", 0, 0, 0));
  rig_free (rig);
}
GST_END_TEST;

/* A frame's file says what it began with. */
GST_START_TEST (test_tags)
{
  g_autofree char *path = write_bordered ("g.png", 0x123456, "", "pngenc"), *data = NULL;
  g_autofree char *hash = NULL, *line = NULL, *comment = NULL;
  Rig *rig = new_rig (__i__ ? NULL : path);
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");
  GstEvent *event;
  GstTagList *tags;
  gsize length;

  fail_unless (g_file_get_contents (path, &data, &length, NULL));
  hash = g_compute_checksum_for_data (G_CHECKSUM_SHA256, (guchar *) data, length);
  line = g_strdup_printf ("lightforce-start-image-sha256=%s;", hash);
  rig_run_to_eos (rig);
  event = gst_pad_get_sticky_event (pad, GST_EVENT_TAG, 0);
  fail_unless (event != NULL);
  gst_event_parse_tag (event, &tags);
  fail_unless (gst_tag_list_get_string (tags, GST_TAG_COMMENT, &comment));
  if (__i__)
    fail_if (strstr (comment, "start-image"), "%s", comment);
  else
    fail_unless (strstr (comment, line), "%s", comment);
  gst_event_unref (event);
  rig_free (rig);
}
GST_END_TEST;

/* Files that are not there are told before anything starts. */
GST_START_TEST (test_not_found)
{
  static const char *const names[] = {"/nowhere/x.png", "file:///nowhere/x.png", "/dev", "."};
  Rig *rig = new_rig (names[__i__]);

  fail_unless_equals_int (
      gst_element_set_state (rig->pipeline, GST_STATE_PLAYING), GST_STATE_CHANGE_FAILURE);
  rig_expect_error (rig, rig_wait (rig, GST_MESSAGE_ERROR), GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_NOT_FOUND, names[__i__]);
  rig_free (rig);
}
GST_END_TEST;

/* What is no picture is said with its name. */
GST_START_TEST (test_no_picture)
{
  static const char *const texts[] = {"no picture can be read from it", "there is no picture in it",
      "no picture can be read from it"};
  g_autofree char *path = NULL;
  Rig *rig;

  if (__i__ == 0) {
    path = g_build_filename (folder, "e.png", NULL);
    fail_unless (g_file_set_contents (path, "this is a text and no picture at all\n", -1, NULL));
  } else if (__i__ == 1) {
    path = write_file ("e.wav", "audiotestsrc num-buffers=4 ! audio/x-raw,format=S16LE ! wavenc");
  } else {
    g_autofree char *contents = NULL;

    path = write_bordered ("e.png", 0x2080e0, "", "pngenc");
    fail_unless (g_file_get_contents (path, &contents, NULL, NULL));
    fail_unless (g_file_set_contents (path, contents, 60, NULL)); /* the rest is lost */
  }
  rig = new_rig (path);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_expect_error (rig, rig_wait (rig, GST_MESSAGE_ERROR), GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_OPEN_READ, texts[__i__]);
  rig_free (rig);
}
GST_END_TEST;

/* A plug-in that is missing is named. */
GST_START_TEST (test_missing_plugin)
{
  g_autofree char *path = write_bordered ("f.png", 0x2080e0, "", "pngenc");
  GstCaps *caps = gst_caps_from_string ("image/png");
  GList *all =
      gst_element_factory_list_get_elements (GST_ELEMENT_FACTORY_TYPE_DECODABLE, GST_RANK_MARGINAL);
  GList *png = gst_element_factory_list_filter (all, caps, GST_PAD_SINK, FALSE), *l;
  Rig *rig = new_rig (path);

  fail_unless (png != NULL);
  for (l = png; l; l = l->next)
    gst_plugin_feature_set_rank (l->data, GST_RANK_NONE);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_expect_error (rig, rig_wait (rig, GST_MESSAGE_ERROR), GST_CORE_ERROR,
      GST_CORE_ERROR_MISSING_PLUGIN, "plug-in is missing to read it");
  rig_free (rig);
  for (l = png; l; l = l->next) /* where tests share a process */
    gst_plugin_feature_set_rank (l->data, GST_RANK_PRIMARY);
  gst_plugin_feature_list_free (png);
  gst_plugin_feature_list_free (all);
  gst_caps_unref (caps);
}
GST_END_TEST;

/* Nothing comes from there; the element stops all the same. */
GST_START_TEST (test_null_is_quick)
{
  Rig *rig = new_rig ("udp://127.0.0.1:0");
  gint64 start;

  rig_set_state (rig, GST_STATE_PLAYING);
  g_usleep (200 * MS);
  start = g_get_monotonic_time ();
  rig_set_state (rig, GST_STATE_NULL);
  fail_unless (g_get_monotonic_time () - start < SOON);
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "start image");

  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_loop_test (tc, test_first_picture, 0, 3);
  tcase_add_test (tc, test_colon);
  tcase_add_loop_test (tc, test_fills_frame, 0, 3);
  tcase_add_test (tc, test_upright);
  tcase_add_loop_test (tc, test_again, 0, 2);
  tcase_add_loop_test (tc, test_tags, 0, 2);
  tcase_add_loop_test (tc, test_not_found, 0, 4);
  tcase_add_loop_test (tc, test_no_picture, 0, 3);
  tcase_add_test (tc, test_missing_plugin);
  tcase_add_test (tc, test_null_is_quick);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "startimage", add);
}
