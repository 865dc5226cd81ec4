/* lightforce: the plugin in whole pipelines, with the default model
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <gst/pbutils/pbutils.h>
#include <gst/video/video.h>

#include "core/lightforce.h"

#define PROMPT "a red ball rolls over a green hill"

static char *folder;

static void
setup (void)
{
  folder = g_dir_make_tmp ("lightforce-XXXXXX", NULL);
  fail_unless (folder != NULL);
}

static void
teardown (void)
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

/* Plays to the end; `handoff` gets what comes to the element named sink. */
static void
play_with (const char *line, GCallback handoff, gpointer user_data)
{
  g_autoptr (GError) error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error);
  g_autoptr (GstBus) bus = NULL;
  GstMessage *message;

  fail_unless (error == NULL, "%s: %s", line, error ? error->message : "");
  if (handoff) {
    GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");

    g_signal_connect (sink, "handoff", handoff, user_data);
    gst_object_unref (sink);
  }
  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 100 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL, "%s does not end", line);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    g_autofree char *debug = NULL;

    gst_message_parse_error (message, &error, &debug);
    fail ("%s: %s (%s)", line, error->message, debug);
  }
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}

static void
play (const char *line)
{
  play_with (line, NULL, NULL);
}

static char *
make_mp4 (const char *name, guint64 seed, guint frames)
{
  char *path = g_build_filename (folder, name, NULL);
  g_autofree char *line = g_strdup_printf (
      "lightforcesrc num-buffers=%u seed=%" G_GUINT64_FORMAT " prompt=\"" PROMPT "\" ! "
      "x264enc speed-preset=ultrafast threads=1 ! h264parse ! mp4mux ! filesink location=%s",
      frames, seed, path);

  play (line);
  return path;
}

typedef struct
{
  GChecksum *sum;
  guint count;
} Digest;

static void
add_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  Digest *digest = user_data;
  GstMapInfo map;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  g_checksum_update (digest->sum, map.data, (gssize) map.size);
  gst_buffer_unmap (buffer, &map);
  digest->count++;
}

/* The checksum of all decoded frames. */
static char *
decode (const char *path, guint frames)
{
  g_autofree char *line =
      g_strdup_printf ("filesrc location=%s ! decodebin ! videoconvert ! video/x-raw,format=I420 ! "
                       "fakesink name=sink signal-handoffs=true sync=false",
          path);
  g_autoptr (GError) error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error);
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  Digest digest = {g_checksum_new (G_CHECKSUM_SHA256), 0};
  GstMessage *message;
  char *text;

  fail_unless (error == NULL);
  g_signal_connect (sink, "handoff", G_CALLBACK (add_frame), &digest);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL && GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (sink);
  gst_object_unref (pipeline);
  fail_unless_equals_int (digest.count, frames);
  text = g_strdup (g_checksum_get_string (digest.sum));
  g_checksum_free (digest.sum);
  return text;
}

/* 81 pictures, as a published model makes them at a time: a file of a bit more than 5 s. */
GST_START_TEST (test_mp4)
{
  g_autofree char *path = make_mp4 ("a.mp4", 1, 81);
  g_autofree char *uri = gst_filename_to_uri (path, NULL);
  g_autoptr (GError) error = NULL;
  GstDiscoverer *discoverer = gst_discoverer_new (20 * GST_SECOND, &error);
  GstDiscovererInfo *info;
  GstDiscovererVideoInfo *video;
  g_autoptr (GstCaps) caps = NULL;
  g_autofree char *again = NULL;
  GList *streams;
  guint n, d;

  fail_unless (discoverer != NULL);
  info = gst_discoverer_discover_uri (discoverer, uri, &error);
  fail_unless (info != NULL && error == NULL, "%s", error ? error->message : "");
  fail_unless_equals_int (gst_discoverer_info_get_result (info), GST_DISCOVERER_OK);
  streams = gst_discoverer_info_get_video_streams (info);
  fail_unless_equals_int ((gint) g_list_length (streams), 1);
  video = streams->data;
  n = gst_discoverer_video_info_get_framerate_num (video);
  d = gst_discoverer_video_info_get_framerate_denom (video);
  fail_unless (n > 0 && d > 0);
  fail_unless (gst_discoverer_video_info_get_width (video) > 0);
  fail_unless_equals_int ((gint) gst_discoverer_video_info_get_par_num (video), 1);
  fail_if (gst_discoverer_video_info_is_interlaced (video));
  fail_unless (ABS ((gint64) gst_discoverer_info_get_duration (info)
                    - (gint64) gst_util_uint64_scale (81, d * GST_SECOND, n))
               < 10 * GST_MSECOND);
  caps = gst_discoverer_stream_info_get_caps (GST_DISCOVERER_STREAM_INFO (video));
  fail_unless (gst_structure_has_name (gst_caps_get_structure (caps, 0), "video/x-h264"));
  gst_discoverer_stream_info_list_free (streams);
  gst_discoverer_info_unref (info);
  g_object_unref (discoverer);
  again = decode (path, 81);
}
GST_END_TEST;

GST_START_TEST (test_seeds)
{
  g_autofree char *path_1 = make_mp4 ("1.mp4", 7, 21), *path_2 = make_mp4 ("2.mp4", 7, 21);
  g_autofree char *path_3 = make_mp4 ("3.mp4", 8, 21);
  g_autofree char *sum_1 = decode (path_1, 21), *sum_2 = decode (path_2, 21);
  g_autofree char *sum_3 = decode (path_3, 21);

  fail_unless_equals_string (sum_1, sum_2);
  fail_if (strcmp (sum_1, sum_3) == 0, "another seed made the same video");
}
GST_END_TEST;

typedef struct
{
  LfChunk *chunk;
  gint n;
} Original;

static void
compare_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  Original *original = user_data;
  const LfLayout *l = &original->chunk->layout;
  const guint8 *data = original->chunk->data + (gsize) original->n * l->size;
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);
  GstVideoFrame frame;
  GstVideoInfo info;
  guint p, y;

  fail_unless (gst_video_info_from_caps (&info, caps));
  fail_unless (gst_video_frame_map (&frame, &info, buffer, GST_MAP_READ));
  for (p = 0; p < GST_VIDEO_FRAME_N_PLANES (&frame); p++) {
    gsize bytes = (gsize) GST_VIDEO_FRAME_COMP_WIDTH (&frame, p)
                  * (gsize) GST_VIDEO_FRAME_COMP_PSTRIDE (&frame, p);

    for (y = 0; y < (guint) GST_VIDEO_FRAME_COMP_HEIGHT (&frame, p); y++)
      if (memcmp ((guint8 *) GST_VIDEO_FRAME_PLANE_DATA (&frame, p)
                      + y * (guint) GST_VIDEO_FRAME_PLANE_STRIDE (&frame, p),
              data + l->offset[p] + y * l->stride[p], bytes)
          != 0)
        fail ("frame %d, plane %u, row %u", original->n, p, y);
  }
  gst_video_frame_unmap (&frame);
  original->n++;
}

/* In every format the frames are the library's, bit for bit. */
GST_START_TEST (test_library_frames)
{
  static const struct
  {
    const char *caps;
    LfFormat format;
    LfMatrix matrix;
  } cases[] = {{"I420", LF_FORMAT_I420, LF_MATRIX_BT601}, {"NV12", LF_FORMAT_NV12, LF_MATRIX_BT601},
      {"NV12,colorimetry=bt709", LF_FORMAT_NV12, LF_MATRIX_BT709},
      {"RGB", LF_FORMAT_RGB, LF_MATRIX_BT601}, {"RGBx", LF_FORMAT_RGBX, LF_MATRIX_BT601},
      {"BGRx", LF_FORMAT_BGRX, LF_MATRIX_BT601}, {"RGBA", LF_FORMAT_RGBX, LF_MATRIX_BT601},
      {"BGRA", LF_FORMAT_BGRX, LF_MATRIX_BT601}};
  LfModelOptions options = {.backend = "cpu"};
  LfModel *model = lf_model_load (NULL, &options, NULL, NULL, NULL, NULL);
  g_autofree char *line = g_strdup_printf (
      "lightforcesrc backend=cpu num-buffers=9 seed=4 width=112 height=80 prompt=\"" PROMPT "\" ! "
      "video/x-raw,format=%s ! fakesink name=sink signal-handoffs=true",
      cases[__i__].caps);
  Original original = {0};
  LfStreamConfig config;
  LfStream *stream;

  fail_unless (model != NULL);
  lf_stream_config_init (&config, model);
  config.prompt = PROMPT;
  config.seed = 4;
  config.width = 112;
  config.height = 80;
  config.format = cases[__i__].format;
  config.matrix = cases[__i__].matrix;
  stream = lf_stream_new (model, &config, NULL, NULL);
  fail_unless (stream != NULL);
  original.chunk = lf_stream_next (stream, NULL, NULL);
  fail_unless (original.chunk != NULL);
  play_with (line, G_CALLBACK (compare_frame), &original);
  fail_unless_equals_int (original.n, 9);
  lf_chunk_unref (original.chunk);
  lf_stream_free (stream);
  lf_model_unref (model);
}
GST_END_TEST;

/* What a file says of its making: with discoverer, as gst-discoverer-1.0 does. */
static char *
read_tag (const char *path, const char *tag)
{
  g_autofree char *uri = gst_filename_to_uri (path, NULL);
  g_autoptr (GError) error = NULL;
  GstDiscoverer *discoverer = gst_discoverer_new (20 * GST_SECOND, &error);
  GstDiscovererInfo *info = gst_discoverer_discover_uri (discoverer, uri, &error);
  const GstTagList *tags;
  char *value = NULL;
  GList *streams;

  fail_unless (info != NULL && error == NULL, "%s", error ? error->message : "");
  streams = gst_discoverer_info_get_video_streams (info);
  fail_unless (streams != NULL);
  tags = gst_discoverer_stream_info_get_tags (streams->data);
  fail_unless (tags != NULL);
  gst_tag_list_get_string (tags, tag, &value);
  gst_discoverer_stream_info_list_free (streams);
  gst_discoverer_info_unref (info);
  g_object_unref (discoverer);
  return value;
}

#define ENCODER "x264enc speed-preset=ultrafast threads=1 ! h264parse"

static const char *const muxers[] = {"mp4mux", "qtmux", "matroskamux"};

static char *
hash_line (const char *name, const char *prompt)
{
  g_autofree char *hash = g_compute_checksum_for_string (G_CHECKSUM_SHA256, prompt, -1);

  return g_strdup_printf ("; lightforce-%s=%s", name, hash);
}

GST_START_TEST (test_tags_in_files)
{
  g_autofree char *path = g_build_filename (folder, "a", NULL);
  g_autofree char *hash = hash_line ("prompt-sha256", PROMPT);
  g_autofree char *want =
      g_strdup_printf ("; lightforce-model=lightforce-default; lightforce-seed=7%s", hash);
  g_autofree char *line =
      g_strdup_printf ("lightforcesrc num-buffers=9 seed=7 prompt-in-tags=%s prompt=\"" PROMPT
                       "\" ! " ENCODER " ! %s ! filesink location=%s",
          __i__ / 3 ? "true" : "false", muxers[__i__ % 3], path);
  g_autofree char *comment = NULL, *title = NULL;

  play (line);
  comment = read_tag (path, GST_TAG_COMMENT);
  fail_unless (comment && g_str_has_prefix (comment, "lightforce-version="));
  fail_unless (g_str_has_suffix (comment, want), "%s", comment);
  title = read_tag (path, GST_TAG_TITLE);
  fail_unless_equals_string (title, __i__ / 3 ? PROMPT : NULL);
}
GST_END_TEST;

/* Every container has the hash of each prompt of a file, whether it keeps the first comment or the
 * last one. */
GST_START_TEST (test_script_in_tags)
{
  g_autofree char *path = g_build_filename (folder, "a", NULL);
  g_autofree char *script = g_build_filename (folder, "script", NULL);
  g_autofree char *line =
      g_strdup_printf ("lightforcesrc num-buffers=21 width=112 height=80 prompt-file=%s ! " ENCODER
                       " ! %s ! filesink location=%s",
          script, muxers[__i__], path);
  g_autofree char *one = hash_line ("prompt-sha256", "one");
  g_autofree char *two = hash_line (__i__ < 2 ? "later-prompt-sha256" : "prompt-sha256", "two");
  g_autofree char *want = g_strconcat (one, two, NULL);
  g_autofree char *comment = NULL;

  fail_unless (g_file_set_contents (script, "00:00 one\n00:00.5 two\n", -1, NULL));
  play (line);
  comment = read_tag (path, GST_TAG_COMMENT);
  fail_unless (comment && g_str_has_suffix (comment, want), "%s", comment);
}
GST_END_TEST;

/* With the first frame begins another video, of another prompt. */
static void
begin_another (GstElement *identity, GstBuffer *buffer, gpointer user_data)
{
  GstElement *source = user_data;

  if (GST_BUFFER_OFFSET (buffer) == 0) {
    g_object_set (source, "prompt", "two", "seed", G_GUINT64_CONSTANT (8), NULL);
    g_signal_emit_by_name (source, "restart");
  }
}

/* What nobody knew when the video began is in files of muxers that keep the last comment: Matroska,
 * and all that are told to replace tags. */
GST_START_TEST (test_change_in_tags)
{
  gboolean replace = __i__ / 3;
  g_autofree char *path = g_build_filename (folder, "a", NULL);
  g_autofree char *line = g_strdup_printf (
      "lightforcesrc name=src num-buffers=6 seed=7 prompt=one width=112 height=80 ! "
      "identity name=frames ! " ENCODER " ! %s name=mux ! filesink location=%s",
      muxers[__i__ % 3], path);
  g_autofree char *one = hash_line ("prompt-sha256", "one");
  g_autofree char *two = hash_line ("prompt-sha256", "two");
  g_autofree char *first = g_strdup_printf ("; lightforce-seed=7%s", one);
  g_autofree char *last = g_strdup_printf ("; lightforce-seed=7; lightforce-seed=8%s%s", one, two);
  g_autofree char *comment = NULL;
  GstElement *pipeline = gst_parse_launch (line, NULL);
  g_autoptr (GstElement) source = gst_bin_get_by_name (GST_BIN (pipeline), "src");
  g_autoptr (GstElement) frames = gst_bin_get_by_name (GST_BIN (pipeline), "frames");
  g_autoptr (GstElement) muxer = gst_bin_get_by_name (GST_BIN (pipeline), "mux");
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);

  if (replace)
    gst_tag_setter_set_tag_merge_mode (GST_TAG_SETTER (muxer), GST_TAG_MERGE_REPLACE);
  g_signal_connect (frames, "handoff", G_CALLBACK (begin_another), source);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  gst_message_unref (gst_bus_timed_pop_filtered (bus, 100 * GST_SECOND, GST_MESSAGE_EOS));
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  comment = read_tag (path, GST_TAG_COMMENT);
  fail_unless (
      comment && g_str_has_suffix (comment, replace || __i__ == 2 ? last : first), "%s", comment);
}
GST_END_TEST;

/* What a user sees on the command line: one message that names the file, and failure. */
GST_START_TEST (test_missing_file)
{
  static const char *const argv[] = {"gst-launch-1.0", "-q", "lightforcesrc",
      "model=/no/such/model.safetensors", "!", "fakesink", NULL};
  g_autofree char *errors = NULL;
  g_autoptr (GError) error = NULL;
  const char *found;
  gint status;

  fail_unless (
      g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL,
          NULL, NULL, NULL, &errors, &status, &error),
      "%s", error ? error->message : "");
  fail_if (g_spawn_check_wait_status (status, NULL), "gst-launch-1.0 succeeds");
  found = strstr (errors, "ERROR: from element");
  fail_unless (found != NULL, "%s", errors);
  fail_unless (strstr (found, "/no/such/model.safetensors") != NULL, "%s", errors);
  fail_unless (strstr (found + 1, "ERROR: from element") == NULL, "%s", errors);
}
GST_END_TEST;

/* Nothing that GStreamer counts outlives a program that plays, with all of its elements. */
GST_START_TEST (test_leaks)
{
  static const char *const argv[] = {"gst-launch-1.0", "-q", "lightforcesrc", "num-buffers=12",
      "width=128", "height=80", "!", "videoconvert", "!", "video/x-raw,format=NV12", "!", "x264enc",
      "!", "fakesink", NULL};
  g_auto (GStrv) env = g_get_environ ();
  g_autofree char *log = NULL;
  g_autoptr (GError) error = NULL;
  gint status;

  env = g_environ_setenv (env, "GST_TRACERS", "leaks", TRUE);
  env = g_environ_setenv (env, "GST_DEBUG", "GST_TRACER:7", TRUE);
  env = g_environ_setenv (env, "GST_DEBUG_NO_COLOR", "1", TRUE);
  fail_unless (
      g_spawn_sync (NULL, (char **) argv, env, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL,
          NULL, NULL, NULL, &log, &status, &error),
      "%s", error ? error->message : "");
  fail_unless (g_spawn_check_wait_status (status, NULL), "%s", log);
  /* the tracer was there, and has nothing to tell */
  fail_unless (strstr (log, "new format string: object-alive") != NULL, "%s", log);
  fail_unless (strstr (log, ":: object-alive, ") == NULL, "%s", log);
}
GST_END_TEST;

/* Live, for two seconds and a bit, into a sink that is in no hurry. */
GST_START_TEST (test_live)
{
  play ("lightforcesrc is-live=true num-buffers=33 prompt=\"" PROMPT "\" ! videoconvert ! "
        "fakesink sync=true max-lateness=-1");
}
GST_END_TEST;

/* Another size and framerate, by the elements the error messages name. */
GST_START_TEST (test_scaled)
{
  play ("lightforcesrc num-buffers=9 ! videorate ! videoscale ! videoconvert ! "
        "video/x-raw,format=NV12,width=321,height=243,framerate=25/1 ! fakesink");
}
GST_END_TEST;

/* The element is made, started and dropped at any moment of the real generator's work. */
GST_START_TEST (test_stop_anywhere)
{
  guint i;

  for (i = 0; i < 6; i++) {
    GstElement *pipeline =
        gst_parse_launch ("lightforcesrc prompt=\"" PROMPT "\" ! fakesink", NULL);
    gint64 start;

    fail_unless (GST_IS_PIPELINE (pipeline));
    fail_unless (gst_element_set_state (pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE);
    g_usleep (i * i * 25000);
    start = g_get_monotonic_time ();
    gst_element_set_state (pipeline, GST_STATE_NULL);
    fail_unless (g_get_monotonic_time () - start < 500000, "NULL takes %d ms",
        (gint) ((g_get_monotonic_time () - start) / 1000));
    gst_object_unref (pipeline);
  }
}
GST_END_TEST;

/* A video as RGB bytes; free with g_free. */
static char *
make_raw (const char *name, const char *properties, gsize *bytes)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *line = g_strdup_printf ("lightforcesrc prompt=\"" PROMPT "\" %s ! "
                                           "video/x-raw,format=RGB ! filesink location=%s",
      properties, path);
  char *data;

  play (line);
  fail_unless (g_file_get_contents (path, &data, bytes, NULL));
  return data;
}

/* Mean squared difference of the bytes of two pictures. */
static double
difference (const char *a, const char *b, gsize bytes)
{
  double sum = 0;
  gsize i;

  for (i = 0; i < bytes; i++) {
    double d = (guint8) a[i] - (double) (guint8) b[i];

    sum += d * d;
  }
  return sum / (double) bytes;
}

/* The first picture is the one given, as near as encoder and decoder come to it, and the video goes
 * on from there and not from where its seed would begin. */
GST_START_TEST (test_start_image)
{
  g_autofree char *png = g_build_filename (folder, "start.png", NULL);
  g_autofree char *write = g_strdup_printf ("lightforcesrc num-buffers=1 seed=5 prompt=\"" PROMPT
                                            "\" ! videoconvert ! pngenc ! filesink location=%s",
      png);
  g_autofree char *with = g_strdup_printf ("num-buffers=9 seed=6 start-image=%s", png);
  gsize bytes, nine, other;
  g_autofree char *picture = make_raw ("a.rgb", "num-buffers=1 seed=5", &bytes);
  g_autofree char *video = NULL, *plain = make_raw ("b.rgb", "num-buffers=9 seed=6", &other);
  double first, last, without;

  play (write);
  video = make_raw ("c.rgb", with, &nine);
  fail_unless (nine == 9 * bytes && other == nine);
  first = difference (video, picture, bytes);
  last = difference (video + 8 * bytes, picture, bytes);
  without = difference (plain + 8 * bytes, picture, bytes);
  GST_INFO ("first %g, last %g, without %g", first, last, without);
  fail_unless (first < 200, "the first picture is %g away, less than 25 dB", first);
  fail_unless (last < without, "%g from the picture, and %g without it", last, without);
}
GST_END_TEST;

int
main (int argc, char **argv)
{
  Suite *suite = suite_create ("pipeline");
  TCase *tc = tcase_create ("pipeline");

  gst_check_init (&argc, &argv);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_set_timeout (tc, 120);
  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_mp4);
  tcase_add_test (tc, test_seeds);
  tcase_add_loop_test (tc, test_library_frames, 0, 8);
  tcase_add_loop_test (tc, test_tags_in_files, 0, 6);
  tcase_add_loop_test (tc, test_script_in_tags, 0, 3);
  tcase_add_loop_test (tc, test_change_in_tags, 0, 6);
  tcase_add_test (tc, test_missing_file);
  tcase_add_test (tc, test_leaks);
  tcase_add_test (tc, test_live);
  tcase_add_test (tc, test_scaled);
  tcase_add_test (tc, test_stop_anywhere);
  tcase_add_test (tc, test_start_image);
  return gst_check_run_suite (suite, "pipeline", __FILE__);
}
