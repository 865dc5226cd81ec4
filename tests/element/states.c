/* lightforce: states, interruptions, seeks and several elements at once
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/rig.h"

GST_START_TEST (test_create)
{
  GstElement *src = gst_element_factory_make ("lightforcesrc", NULL);

  fail_unless (src != NULL);
  ASSERT_OBJECT_REFCOUNT (src, "lightforcesrc", 1);
  gst_object_unref (src);
}
GST_END_TEST;

GST_START_TEST (test_every_state_path)
{
  static const GstState path[] = {GST_STATE_READY, GST_STATE_NULL, GST_STATE_READY,
      GST_STATE_PAUSED, GST_STATE_READY, GST_STATE_PAUSED, GST_STATE_PLAYING, GST_STATE_PAUSED,
      GST_STATE_PLAYING, GST_STATE_READY, GST_STATE_PLAYING, GST_STATE_NULL, GST_STATE_PAUSED,
      GST_STATE_NULL, GST_STATE_PLAYING, GST_STATE_NULL};
  Rig *rig = rig_new (__i__ ? "is-live=true" : "", NULL);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (path); i++)
    rig_reach_state (rig, path[i]);
  rig_free (rig);
}
GST_END_TEST;

/* What the generator is at: ready for anything, loading, opening the stream, in a chunk. */
static void
hold_generator (gint where)
{
  STANDIN_SET (hold_load, where == 1);
  STANDIN_SET (open_ms, where == 2 ? 600000 : 0);
  STANDIN_SET (hold_chunk, where == 3 ? 0 : -1);
}

/* From each state to each other one, whatever the generator is at; where it is at something, the
 * first change is not through. None waits for the generator, and all work after that. */
GST_START_TEST (test_every_pair_of_states)
{
  static const GstState states[] = {
      GST_STATE_NULL, GST_STATE_READY, GST_STATE_PAUSED, GST_STATE_PLAYING};
  Rig *rig = rig_new (__i__ & 1 ? "is-live=true num-buffers=9" : "num-buffers=9", NULL);
  guint from, to;

  for (from = 0; from < 4; from++) {
    for (to = 0; to < 4; to++) {
      gint64 start;

      hold_generator (__i__ / 2);
      rig_set_state (rig, states[from]);
      if (__i__ / 2 == 0)
        rig_settle (rig, states[from]);
      else
        g_usleep (to * 3 * MS);
      start = g_get_monotonic_time ();
      rig_set_state (rig, states[to]);
      fail_unless (g_get_monotonic_time () - start < SOON, "%s to %s waits for the generator",
          gst_element_state_get_name (states[from]), gst_element_state_get_name (states[to]));
      hold_generator (0);
      if (__i__ / 2 != 2) /* an opening takes as long as was said when it began */
        rig_settle (rig, states[to]);
      rig_set_state (rig, GST_STATE_NULL);
      rig_forget_frames (rig);
      STANDIN_SET (fps_n, 500);
      rig_run_to_eos (rig);
      fail_unless_equals_int (rig_count (rig), 9);
      rig_set_state (rig, GST_STATE_NULL);
      rig_forget_frames (rig);
    }
  }
  rig_free (rig);
}
GST_END_TEST;

static GstState
state_of (GstElement *element)
{
  GstState state;

  gst_element_get_state (element, &state, NULL, 0);
  return state;
}

/* Not live: PAUSED is there when the first frame is, and no earlier; it goes no further, and the
 * first one that plays is the one that was shown in PAUSED. */
GST_START_TEST (test_preroll)
{
  Rig *rig = rig_new ("num-buffers=30", NULL);
  g_autoptr (GstSample) sample = NULL;
  GstMessage *message;

  STANDIN_SET (hold_load, __i__ == 0);
  STANDIN_SET (hold_chunk, __i__ == 1 ? 0 : -1);
  fail_unless_equals_int (
      gst_element_set_state (rig->pipeline, GST_STATE_PAUSED), GST_STATE_CHANGE_ASYNC);
  /* the element itself is in PAUSED at once: who waits is the sink */
  fail_unless_equals_int (state_of (rig->src), GST_STATE_PAUSED);
  if (__i__ < 2)
    fail_unless_equals_int (gst_element_get_state (rig->pipeline, NULL, NULL, 50 * GST_MSECOND),
        GST_STATE_CHANGE_ASYNC);
  STANDIN_SET (hold_load, FALSE);
  STANDIN_SET (hold_chunk, -1);
  message = rig_wait (rig, GST_MESSAGE_ASYNC_DONE | GST_MESSAGE_ERROR);
  fail_unless_equals_string (GST_MESSAGE_TYPE_NAME (message), "async-done");
  gst_message_unref (message);
  fail_unless_equals_int (state_of (rig->pipeline), GST_STATE_PAUSED);
  g_usleep (30 * MS);
  fail_unless_equals_int (rig_count (rig), 0);
  g_object_get (rig->sink, "last-sample", &sample, NULL);
  fail_unless (sample != NULL);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (gst_sample_get_buffer (sample)), 0);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 30);
  fail_unless (rig_frame (rig, 0) == gst_sample_get_buffer (sample));
  rig_check_sequence (rig);
  rig_free (rig);
}
GST_END_TEST;

/* An element that failed plays again from NULL or from READY. */
GST_START_TEST (test_reuse_after_failure)
{
  Rig *rig = rig_new (__i__ & 1 ? "is-live=true num-buffers=30" : "num-buffers=30", NULL);

  STANDIN_SET (fps_n, 200);
  STANDIN_SET (fail_chunk, 1);
  STANDIN_SET (chunk_error, LF_ERROR_BACKEND);
  rig_expect_error (rig, rig_run (rig), GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED, "chunk 1 fails");
  fail_unless_equals_int (rig_count (rig), 9);
  rig_reach_state (rig, __i__ & 2 ? GST_STATE_READY : GST_STATE_NULL);
  rig_forget_frames (rig);
  STANDIN_SET (fail_chunk, -1);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 30);
  rig_free (rig);
}
GST_END_TEST;

/* Taken out of a pipeline that plays, and used in another one. */
GST_START_TEST (test_other_pipeline)
{
  Rig *rig = rig_new ("seed=3", NULL), *other = rig_new ("seed=4", NULL);

  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 15);
  /* frames can come while the pipeline still takes its elements to PLAYING, the source last */
  rig_settle (rig, GST_STATE_PLAYING);
  gst_element_set_state (rig->src, GST_STATE_NULL);
  fail_unless (gst_bin_remove (GST_BIN (rig->pipeline), rig->src));
  gst_element_set_state (other->src, GST_STATE_NULL);
  fail_unless (gst_bin_remove (GST_BIN (other->pipeline), other->src));
  fail_unless (gst_bin_add (GST_BIN (other->pipeline), rig->src));
  fail_unless (gst_element_link (rig->src, other->filter));
  g_object_set (rig->src, "num-buffers", 21, NULL);
  rig_run_to_eos (other);
  fail_unless_equals_int (rig_count (other), 21);
  rig_check_sequence (other);
  rig_set_state (rig, GST_STATE_NULL);
  rig_free (other);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_live_does_not_preroll)
{
  Rig *rig = rig_new ("is-live=true", NULL);

  fail_unless_equals_int (
      gst_element_set_state (rig->pipeline, GST_STATE_PAUSED), GST_STATE_CHANGE_NO_PREROLL);
  g_usleep (50 * MS);
  fail_unless_equals_int (rig_count (rig), 0);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 2);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_reuse)
{
  Rig *rig = rig_new ("num-buffers=12 seed=3 prompt=same", NULL);
  g_autofree char *sum_1 = NULL, *sum_2 = NULL, *sum_3 = NULL;

  rig_run_to_eos (rig);
  sum_1 = rig_checksum (rig);
  rig_forget_frames (rig);
  rig_reach_state (rig, GST_STATE_READY);
  rig_run_to_eos (rig);
  sum_2 = rig_checksum (rig);
  fail_unless_equals_int (rig_count (rig), 12);
  rig_forget_frames (rig);
  rig_reach_state (rig, GST_STATE_NULL);
  g_object_set (rig->src, "seed", G_GUINT64_CONSTANT (4), NULL);
  rig_run_to_eos (rig);
  sum_3 = rig_checksum (rig);
  fail_unless_equals_string (sum_1, sum_2);
  fail_if (g_strcmp0 (sum_1, sum_3) == 0);
  rig_free (rig);
}
GST_END_TEST;

/* The element leaves PAUSED or PLAYING at once, whatever the generator is at. */
GST_START_TEST (test_null_is_quick)
{
  static const char *const properties[] = {"", "is-live=true prebuffer=1"};
  Rig *rig = rig_new (properties[__i__ & 1], NULL);
  gint where = __i__ / 2;
  gint64 start;

  STANDIN_SET (load_ms, where == 0 ? 60000 : 0);
  STANDIN_SET (open_ms, where == 1 ? 60000 : 0);
  STANDIN_SET (chunk_ms, where == 2 ? 60000 : 0);
  STANDIN_SET (hold_chunk, where == 3 ? 1 : -1);
  start = g_get_monotonic_time ();
  rig_set_state (rig, GST_STATE_PLAYING);
  fail_unless (g_get_monotonic_time () - start < SOON, "the state change waits for the model");
  if (where == 3)
    rig_wait_frames (rig, 9);
  g_usleep (100 * MS);
  start = g_get_monotonic_time ();
  rig_set_state (rig, GST_STATE_NULL);
  fail_unless (g_get_monotonic_time () - start < SOON);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_null_while_queue_is_full)
{
  Rig *rig = rig_new ("queue-chunks=1", NULL);

  rig_reach_state (rig, GST_STATE_PAUSED);
  g_usleep (50 * MS);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_pause_and_resume)
{
  Rig *rig = rig_new_full (__i__ ? "is-live=true late-policy=resync" : "", NULL,
      "fakesink name=sink sync=true max-lateness=-1");
  guint count, i;

  STANDIN_SET (fps_n, 100);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 20);
  rig_reach_state (rig, GST_STATE_PAUSED);
  count = rig_count (rig);
  g_usleep (1000 * MS);
  fail_unless (rig_count (rig) <= count + 1, "frames in PAUSED");
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, count + 20);
  rig_set_state (rig, GST_STATE_NULL);
  for (i = 0; i < rig_count (rig); i++)
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, i)), i);
  /* The running time stood still, and so did the schedule. */
  for (i = 1; i < rig_count (rig); i++) {
    GstClockTime step =
        GST_BUFFER_PTS (rig_frame (rig, i)) - GST_BUFFER_PTS (rig_frame (rig, i - 1));

    /* well under the pause, well over what a busy machine holds a frame up */
    fail_unless (step < (GstClockTime) rig_patience () * 700 * GST_MSECOND, "%" GST_TIME_FORMAT,
        GST_TIME_ARGS (step));
  }
  rig_free (rig);
}
GST_END_TEST;

/* Interrupted by a pause while live and still loading. */
GST_START_TEST (test_pause_while_loading)
{
  Rig *rig = rig_new ("is-live=true num-buffers=15", NULL);

  STANDIN_SET (hold_load, TRUE);
  rig_set_state (rig, GST_STATE_PLAYING);
  g_usleep (20 * MS);
  rig_reach_state (rig, GST_STATE_PAUSED);
  rig_set_state (rig, GST_STATE_PLAYING);
  g_usleep (20 * MS);
  rig_reach_state (rig, GST_STATE_PAUSED);
  STANDIN_SET (hold_load, FALSE);
  g_usleep (20 * MS);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 15);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_flush)
{
  Rig *rig = rig_new (
      __i__ ? "is-live=true late-policy=resync prebuffer=1 num-buffers=30" : "num-buffers=30",
      NULL);
  guint i;

  STANDIN_SET (hold_chunk, 1);
  STANDIN_SET (fps_n, 200);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 9);
  /* The streaming thread waits for the second chunk. */
  rig_flush (rig, NULL, NULL);
  STANDIN_SET (hold_chunk, -1);
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 30);
  for (i = 0; i < 30; i++)
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, i)), i);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_seek_to_start)
{
  Rig *rig = rig_new ("num-buffers=30 seed=11", NULL);
  g_autofree char *sum_1 = NULL, *sum_2 = NULL;
  gint round;

  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 30);
  sum_1 = rig_checksum (rig);
  for (round = 0; round < 2; round++) {
    rig_forget_frames (rig);
    fail_unless (gst_element_seek_simple (
        rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_KEY_UNIT, 0));
    gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
    g_free (sum_2);
    sum_2 = rig_checksum (rig);
    fail_unless_equals_int (rig_count (rig), 30);
    fail_unless_equals_string (sum_1, sum_2);
    fail_unless (GST_BUFFER_FLAG_IS_SET (rig_frame (rig, 0), GST_BUFFER_FLAG_DISCONT));
  }
  rig_free (rig);
}
GST_END_TEST;

/* In the middle of a chunk, to a frame in the middle of a chunk, back and forth. */
GST_START_TEST (test_seek_anywhere)
{
  static const guint targets[] = {14, 3, 25, 0};
  Rig *rig = rig_new ("num-buffers=40 framerate=30000/1001", "video/x-raw,format=RGBx");
  guint i, j;

  rig_reach_state (rig, GST_STATE_PAUSED);
  for (i = 0; i < G_N_ELEMENTS (targets); i++) {
    GstClockTime time = gst_util_uint64_scale (targets[i], 1001 * GST_SECOND, 30000);

    rig_reach_state (rig, GST_STATE_PAUSED);
    fail_unless (gst_element_seek_simple (
        rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, (gint64) time));
    rig_forget_frames (rig);
    rig_run_to_eos (rig);
    fail_unless_equals_int (rig_count (rig), 40 - targets[i]);
    for (j = 0; j < rig_count (rig); j++) {
      GstBuffer *frame = rig_frame (rig, j);

      fail_unless_equals_uint64 (GST_BUFFER_OFFSET (frame), targets[i] + j);
      fail_unless_equals_uint64 (
          GST_BUFFER_PTS (frame), gst_util_uint64_scale (targets[i] + j, 1001 * GST_SECOND, 30000));
      fail_unless_equals_int (
          (gint) rig_first_pixel (frame), (gint) standin_pixel (0, "", targets[i] + j, 0, 0));
    }
  }
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_seek_refused)
{
  Rig *rig = rig_new (__i__ ? "is-live=true" : "", NULL);
  GstQuery *query = gst_query_new_seeking (GST_FORMAT_TIME);
  gboolean seekable;

  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 1);
  fail_unless (gst_element_query (rig->src, query));
  gst_query_parse_seeking (query, NULL, &seekable, NULL, NULL);
  fail_unless (seekable == !__i__);
  gst_query_unref (query);
  if (__i__)
    fail_if (gst_element_seek_simple (rig->src, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
  else
    fail_if (gst_element_seek (rig->src, -1.0, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH,
        GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_SET, GST_SECOND));
  rig_free (rig);
}
GST_END_TEST;

/* A seek while the generator works does not wait for it. */
GST_START_TEST (test_seek_is_quick)
{
  Rig *rig = rig_new_held ("num-buffers=12", NULL, 1);
  gint64 start;
  StandinLog log;

  start = g_get_monotonic_time ();
  fail_unless (gst_element_seek_simple (rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
  rig_wait_frames (rig, 18);
  fail_unless (g_get_monotonic_time () - start < SOON);
  STANDIN_SET (hold_chunk, -1);
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 21);
  standin_get_log (&log);
  fail_unless_equals_int (log.restarts, 1);
  fail_unless (log.cancels >= 1);
  standin_log_clear (&log);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_eos_event)
{
  Rig *rig = rig_new (__i__ ? "is-live=true prebuffer=1" : "", NULL);

  STANDIN_SET (hold_chunk, 1);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 3);
  fail_unless (gst_element_send_event (rig->src, gst_event_new_eos ()));
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_two_elements)
{
  Rig *a = rig_new ("num-buffers=40 seed=1", NULL);
  Rig *b = rig_new ("num-buffers=40 seed=2", NULL);
  Rig *c = rig_new ("num-buffers=40 seed=1", NULL);
  g_autofree char *sum_a = NULL, *sum_b = NULL, *sum_c = NULL;

  rig_set_state (a, GST_STATE_PLAYING);
  rig_set_state (b, GST_STATE_PLAYING);
  rig_run_to_eos (c);
  rig_run_to_eos (a);
  rig_run_to_eos (b);
  sum_a = rig_checksum (a);
  sum_b = rig_checksum (b);
  sum_c = rig_checksum (c);
  fail_unless_equals_string (sum_a, sum_c);
  fail_if (g_strcmp0 (sum_a, sum_b) == 0);
  rig_set_state (a, GST_STATE_NULL);
  rig_set_state (b, GST_STATE_NULL);
  rig_set_state (c, GST_STATE_NULL);
  rig_free (a);
  rig_free (b);
  rig_free (c);
}
GST_END_TEST;

/* State changes from here, properties and queries from another thread. */
static gpointer
disturb (gpointer data)
{
  Rig *rig = data;
  guint i;

  for (i = 0; i < 200; i++) {
    g_autofree char *prompt = g_strdup_printf ("prompt %u", i);
    g_autoptr (GstStructure) stats = NULL;
    gint64 duration;

    g_object_set (rig->src, "prompt", prompt, "sparsity", (i % 10) / 10.0, NULL);
    g_object_get (rig->src, "stats", &stats, NULL);
    fail_unless (stats != NULL);
    gst_element_query_duration (rig->src, GST_FORMAT_TIME, &duration);
    gst_caps_unref (gst_pad_query_caps (GST_PAD (rig->src->srcpads->data), NULL));
    g_usleep (1000);
  }
  return NULL;
}

GST_START_TEST (test_stress)
{
  Rig *rig = rig_new (__i__ ? "is-live=true" : "", NULL);
  GThread *thread;
  guint i;

  STANDIN_SET (load_ms, 2);
  STANDIN_SET (chunk_ms, 2);
  STANDIN_SET (fps_n, 500);
  thread = g_thread_new ("disturb", disturb, rig);
  for (i = 0; i < 25; i++) {
    rig_set_state (rig, GST_STATE_PLAYING);
    g_usleep ((i % 7) * 1500);
    if (i % 3 == 0)
      gst_element_seek_simple (rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0);
    if (i % 2 == 0) {
      rig_set_state (rig, GST_STATE_PAUSED);
      g_usleep (1000);
    }
    rig_set_state (rig, i % 4 == 0 ? GST_STATE_READY : GST_STATE_NULL);
  }
  g_thread_join (thread);
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "states");

  tcase_add_test (tc, test_create);
  tcase_add_loop_test (tc, test_every_state_path, 0, 2);
  tcase_add_loop_test (tc, test_every_pair_of_states, 0, 8);
  tcase_add_loop_test (tc, test_preroll, 0, 3);
  tcase_add_test (tc, test_live_does_not_preroll);
  tcase_add_test (tc, test_reuse);
  tcase_add_loop_test (tc, test_reuse_after_failure, 0, 4);
  tcase_add_test (tc, test_other_pipeline);
  tcase_add_loop_test (tc, test_null_is_quick, 0, 8);
  tcase_add_test (tc, test_null_while_queue_is_full);
  tcase_add_loop_test (tc, test_pause_and_resume, 0, 2);
  tcase_add_test (tc, test_pause_while_loading);
  tcase_add_loop_test (tc, test_flush, 0, 2);
  tcase_add_test (tc, test_seek_to_start);
  tcase_add_test (tc, test_seek_anywhere);
  tcase_add_loop_test (tc, test_seek_refused, 0, 2);
  tcase_add_test (tc, test_seek_is_quick);
  tcase_add_loop_test (tc, test_eos_event, 0, 2);
  tcase_add_test (tc, test_two_elements);
  tcase_add_loop_test (tc, test_stress, 0, 2);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "states", add);
}
