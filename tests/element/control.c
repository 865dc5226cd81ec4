/* lightforce: framerate, restarts and what is told of them
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/sim.h"

/* -------------------------------------------------------------------------- framerate */

/* The same pictures, in as many frames, in another time. */
GST_START_TEST (test_framerate)
{
  static const struct
  {
    const char *properties;
    gint n, d;
  } cases[] = {
      {"framerate=0/1", 16, 1}, {"framerate=8/1", 8, 1}, {"framerate=60000/1001", 60000, 1001}};
  g_autofree char *line = g_strdup_printf ("num-buffers=30 %s", cases[__i__].properties);
  Rig *rig = rig_new (line, "video/x-raw,format=RGBx");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");
  g_autoptr (GstCaps) caps = NULL;
  GstVideoInfo info;
  gint64 duration;
  guint i;

  rig_run_to_eos (rig);
  caps = gst_pad_get_current_caps (pad);
  fail_unless (gst_video_info_from_caps (&info, caps));
  fail_unless_equals_int (info.fps_n, cases[__i__].n);
  fail_unless_equals_int (info.fps_d, cases[__i__].d);
  fail_unless_equals_int (rig_count (rig), 30);
  for (i = 0; i < 30; i++) {
    guint64 scale = (guint64) cases[__i__].d * GST_SECOND;

    fail_unless_equals_uint64 (
        GST_BUFFER_PTS (rig_frame (rig, i)), i * scale / (guint64) cases[__i__].n);
    fail_unless_equals_int (
        (gint) rig_first_pixel (rig_frame (rig, i)), (gint) standin_pixel (0, "", i, 0, 0));
  }
  fail_unless (gst_element_query_duration (rig->src, GST_FORMAT_TIME, &duration));
  fail_unless_equals_int64 (
      duration, (gint64) (30 * (guint64) cases[__i__].d * GST_SECOND / (guint64) cases[__i__].n));
  rig_free (rig);
}
GST_END_TEST;

static GstClockTime
query_latency (Rig *rig)
{
  g_autoptr (GstQuery) query = gst_query_new_latency ();
  GstClockTime min, max;
  gboolean live;

  fail_unless (gst_element_query (rig->src, query));
  gst_query_parse_latency (query, &live, &min, &max);
  fail_unless (live);
  fail_unless_equals_uint64 (max, GST_CLOCK_TIME_NONE);
  return min;
}

/* Of the element's own. */
static guint
latency_messages (Sim *sim)
{
  GstMessage *message;
  guint count = 0;

  while ((message = gst_bus_pop_filtered (sim->rig->bus, GST_MESSAGE_LATENCY))) {
    count += GST_MESSAGE_SRC (message) == GST_OBJECT (sim->rig->src);
    gst_message_unref (message);
  }
  return count;
}

/* While it plays: the next frames have the new rate, and the latency is told anew. */
GST_START_TEST (test_framerate_while_live)
{
  Sim *sim;
  SimFrame frame, before;

  sim = sim_new ("resync", 2, 1, "");
  sim_run_frames (sim, 5);
  fail_unless_equals_int (latency_messages (sim), 1);
  fail_unless_equals_uint64 (query_latency (sim->rig), GST_SECOND / 16);
  g_object_set (sim->rig->src, "framerate", 32, 1, NULL);
  sim_run_frames (sim, 40);
  fail_unless_equals_int (latency_messages (sim), 1);
  fail_unless_equals_uint64 (query_latency (sim->rig), GST_SECOND / 32);
  sim_frame (sim, 39, &frame);
  sim_frame (sim, 38, &before);
  fail_unless_equals_uint64 (GST_BUFFER_DURATION (frame.buffer), GST_SECOND / 32);
  fail_unless_equals_uint64 (
      GST_BUFFER_PTS (frame.buffer), GST_BUFFER_PTS (before.buffer) + GST_SECOND / 32);
  fail_unless_equals_uint64 (frame.arrival, GST_BUFFER_PTS (frame.buffer));
  fail_unless_equals_uint64 (frame.picture, 39);
  sim_free (sim);
}
GST_END_TEST;

/* Without a clock frames go as they come: no present time is to be made up for. */
GST_START_TEST (test_framerate_without_clock)
{
  Rig *rig = rig_new ("is-live=true late-policy=drop num-buffers=60", "video/x-raw,format=RGBx");
  guint i;

  gst_pipeline_use_clock (GST_PIPELINE (rig->pipeline), NULL);
  STANDIN_SET (hold_chunk, 3);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 20);
  gst_util_set_object_arg (G_OBJECT (rig->src), "framerate", "30/1");
  rig_finish (rig);
  for (i = 0; i < 60; i++)
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, i)), i);
  fail_unless_equals_uint64 (rig_stat (rig, "dropped"), 0);
  rig_free (rig);
}
GST_END_TEST;

/* --------------------------------------------------------------------------- restart */

static guint64
chunk_of (Rig *rig)
{
  guint64 chunk;

  g_object_get (rig->src, "chunk", &chunk, NULL);
  return chunk;
}

/* Not live: from the frame that is made next, the video of the new seed; the time goes on. */
GST_START_TEST (test_restart)
{
  Rig *rig = rig_new ("seed=1 num-buffers=60", "video/x-raw,format=RGBx");
  gint notified = 0;
  guint i, at;

  rig_count_notify (rig, "chunk", &notified);
  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 21);
  fail_unless_equals_uint64 (chunk_of (rig), 1);
  fail_unless_equals_int (g_atomic_int_get (&notified), 1);
  g_object_set (rig->src, "seed", G_GUINT64_CONSTANT (2), NULL);
  if (__i__ == 0)
    g_signal_emit_by_name (rig->src, "restart");
  STANDIN_SET (hold_chunk, -1);
  g_usleep (__i__ * 3 * MS);
  if (__i__ > 0)
    g_signal_emit_by_name (rig->src, "restart");
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS | GST_MESSAGE_ERROR));
  fail_unless_equals_int (rig_count (rig), 60);
  for (at = 0;
       at < 60
       && (gint) rig_first_pixel (rig_frame (rig, at)) == (gint) standin_pixel (1, "", at, 0, 0);)
    at++;
  /* The third chunk was under way; the later ones may have been quicker than the signal. */
  fail_unless (at >= 21);
  if (__i__ == 0)
    fail_unless_equals_int (at, 21);
  for (i = 0; i < 60; i++) {
    GstBuffer *frame = rig_frame (rig, i);

    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (frame), i);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (frame), i * (GST_SECOND / 16));
    fail_unless (GST_BUFFER_FLAG_IS_SET (frame, GST_BUFFER_FLAG_DISCONT) == (i == 0 || i == at));
    if (i >= at)
      fail_unless_equals_int (
          (gint) rig_first_pixel (frame), (gint) standin_pixel (2, "", i - at, 0, 0));
  }
  rig_free (rig);
}
GST_END_TEST;

/* Live, by each policy: the schedule goes on, the new video begins with its first picture, and the
 * generator is not blamed. */
GST_START_TEST (test_restart_while_live)
{
  static const char *const policies[] = {"repeat", "resync", "drop"};
  SimFrame frame, before;
  SimMessages messages;
  guint at, i;
  Sim *sim;

  STANDIN_SET (chunk_ms, 400);
  sim = sim_new (policies[__i__], 2, 2, "seed=5");
  sim_run_frames (sim, 30);
  sim_restart (sim, 6);
  sim_run_frames (sim, 80);
  for (at = 30; at < 80; at++) {
    sim_frame (sim, at, &frame);
    if (frame.picture == 0)
      break;
    fail_unless_equals_uint64 (frame.picture, 29);
  }
  fail_unless (at < 80 && frame.discont);
  fail_unless_equals_int (at - 30, __i__ == 0 ? 6 : 0);
  for (i = at + 1; i < 80; i++) {
    before = frame;
    sim_frame (sim, i, &frame);
    fail_unless_equals_uint64 (frame.picture, i - at);
    fail_unless_equals_uint64 (
        GST_BUFFER_PTS (frame.buffer), GST_BUFFER_PTS (before.buffer) + GST_SECOND / 16);
    fail_unless_equals_uint64 (frame.seed, 6);
  }
  fail_unless_equals_uint64 (sim_stat (sim, "late-episodes"), 0);
  fail_unless_equals_uint64 (sim_stat (sim, "dropped"), 0);
  sim_messages (sim, &messages);
  fail_unless_equals_int (messages.warnings, 0);
  sim_free (sim);
}
GST_END_TEST;

/* In any state: stopped, loading, paused, at the end. */
GST_START_TEST (test_restart_in_any_state)
{
  Rig *rig = rig_new ("seed=1 num-buffers=20", "video/x-raw,format=RGBx");
  StandinLog log;

  g_signal_emit_by_name (rig->src, "restart");
  STANDIN_SET (hold_load, TRUE);
  rig_set_state (rig, GST_STATE_PAUSED);
  g_usleep (10 * MS);
  g_object_set (rig->src, "seed", G_GUINT64_CONSTANT (2), NULL);
  g_signal_emit_by_name (rig->src, "restart");
  STANDIN_SET (hold_load, FALSE);
  rig_reach_state (rig, GST_STATE_PAUSED);
  g_object_set (rig->src, "seed", G_GUINT64_CONSTANT (3), NULL);
  if (__i__)
    g_signal_emit_by_name (rig->src, "restart");
  rig_run_to_eos (rig);
  fail_unless_equals_int (
      (gint) rig_first_pixel (rig_frame (rig, 0)), (gint) standin_pixel (2, "", 0, 0, 0));
  standin_get_log (&log);
  fail_unless_equals_int (log.loads, 1);
  standin_log_clear (&log);
  g_signal_emit_by_name (rig->src, "restart");
  rig_reach_state (rig, GST_STATE_READY);
  g_signal_emit_by_name (rig->src, "restart");
  rig_forget_frames (rig);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 20);
  fail_unless_equals_int (
      (gint) rig_first_pixel (rig_frame (rig, 0)), (gint) standin_pixel (3, "", 0, 0, 0));
  fail_unless_equals_uint64 (chunk_of (rig), 1);
  rig_free (rig);
}
GST_END_TEST;

/* ------------------------------------------------------------------------ descriptions */

/* What each number counts, and what values mean that are none of it. */
static const struct
{
  const char *name, *unit, *special[2];
} numbers[] = {
    {"blend-chunks", "Chunks over which", {NULL}},
    {"chunk", "Number of the chunk", {"from 0 at the start"}},
    {"framerate", "Pictures a second", {"(0/1: the model's)"}},
    {"height", "in pixels", {"(0: what downstream asks for, else the model's)"}},
    {"keep-frames", "latent frames", {"(-1: the model's)"}},
    {"keep-near", "How many of keep-frames", {"(-1: the model's)"}},
    {"keep-sink", "How many of keep-frames", {"(-1: the model's)"}},
    {"prebuffer", "chunks that wait", {"(-1: queue-chunks)"}},
    {"probe-head", "Attention head, from 0,", {NULL}},
    {"probe-layer", "Layer, from 0,", {"(-1: none)"}},
    {"queue-chunks", "chunks", {NULL}},
    {"seed", "Start of the random numbers", {NULL}},
    {"sink", "First latent frames", {"0 or more (-2: the model's)"}},
    {"sparsity", "share of key blocks", {"0 to 1 (-1: the model's)"}},
    {"sparsity-base", "Share of key blocks", {"sparsity to 1 (-1: the model's)"}},
    {"threads", "Processor threads", {"(0: one a core)"}},
    {"width", "in pixels", {"(0: what downstream asks for, else the model's)"}},
    {"window", "Latent frames", {"-1: all", "-2: the model's"}},
};

static gboolean
is_number (GType type)
{
  static const GType types[] = {G_TYPE_CHAR, G_TYPE_UCHAR, G_TYPE_INT, G_TYPE_UINT, G_TYPE_LONG,
      G_TYPE_ULONG, G_TYPE_INT64, G_TYPE_UINT64, G_TYPE_FLOAT, G_TYPE_DOUBLE};
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (types); i++)
    if (type == types[i])
      return TRUE;
  return type == GST_TYPE_FRACTION;
}

static void
check_number (GParamSpec *spec)
{
  const char *blurb = g_param_spec_get_blurb (spec);
  gsize i = 0, j;

  while (i < G_N_ELEMENTS (numbers) && !g_str_equal (numbers[i].name, spec->name))
    i++;
  fail_unless (i < G_N_ELEMENTS (numbers), "what does %s count?", spec->name);
  fail_unless (strstr (blurb, numbers[i].unit) != NULL, "%s: %s", spec->name, blurb);
  for (j = 0; j < 2 && numbers[i].special[j]; j++)
    fail_unless (strstr (blurb, numbers[i].special[j]) != NULL, "%s: %s", spec->name, blurb);
  /* what is below 0 counts nothing */
  if (G_IS_PARAM_SPEC_INT (spec) && G_PARAM_SPEC_INT (spec)->minimum < 0) {
    g_autofree char *least = g_strdup_printf ("%d: ", G_PARAM_SPEC_INT (spec)->minimum);

    fail_unless (strstr (blurb, least) != NULL, "%s: %s", spec->name, blurb);
  }
}

GST_START_TEST (test_descriptions)
{
  static const char *const names[] = {"lightforcesrc", "lightforcepromptsink"};
  guint found = 0, i, j, n;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    GstElement *element = gst_element_factory_make (names[i], NULL);
    g_autofree GParamSpec **specs =
        g_object_class_list_properties (G_OBJECT_GET_CLASS (element), &n);

    for (j = 0; j < n; j++) {
      if (specs[j]->owner_type != G_OBJECT_TYPE (element) || !is_number (specs[j]->value_type))
        continue;
      check_number (specs[j]);
      found++;
    }
    gst_object_unref (element);
  }
  fail_unless_equals_int (found, G_N_ELEMENTS (numbers));
}
GST_END_TEST;

GST_START_TEST (test_interface)
{
  GstElement *src = gst_element_factory_make ("lightforcesrc", NULL);
  GObjectClass *klass = G_OBJECT_GET_CLASS (src);
  GParamSpec *chunk = g_object_class_find_property (klass, "chunk");
  GParamSpec *policy = g_object_class_find_property (klass, "late-policy");
  GSignalQuery query;

  fail_unless (chunk && !(chunk->flags & G_PARAM_WRITABLE));
  fail_unless (strstr (g_param_spec_get_blurb (policy), "because") != NULL);
  g_signal_query (g_signal_lookup ("restart", G_OBJECT_TYPE (src)), &query);
  fail_unless (query.signal_flags & G_SIGNAL_ACTION);
  fail_unless_equals_int (query.n_params, 0);
  gst_object_unref (src);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "control");

  tcase_add_loop_test (tc, test_framerate, 0, 3);
  tcase_add_test (tc, test_framerate_while_live);
  tcase_add_test (tc, test_framerate_without_clock);
  tcase_add_loop_test (tc, test_restart, 0, 3);
  tcase_add_loop_test (tc, test_restart_while_live, 0, 3);
  tcase_add_loop_test (tc, test_restart_in_any_state, 0, 2);
  tcase_add_test (tc, test_descriptions);
  tcase_add_test (tc, test_interface);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "control", add);
}
