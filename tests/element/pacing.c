/* lightforce: what live video does with a generator that is slow, stalled or bursty
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/sim.h"

#define FRAME (GST_SECOND / 16)
#define LATENESS (5 * GST_MSECOND) /* what a sink takes */

/* What a sink would do with the frames so far. */
typedef struct
{
  guint shown, late, repeats, disconts;
} Sink;

static Sink
sink_of (Sim *sim)
{
  Sink sink = {0};
  guint i;

  for (i = 0; i < rig_count (sim->rig); i++) {
    SimFrame frame;

    sim_frame (sim, i, &frame);
    if (frame.arrival > GST_BUFFER_PTS (frame.buffer) + LATENESS)
      sink.late++;
    else if (frame.gap)
      sink.repeats++;
    else
      sink.shown++;
    sink.disconts += frame.discont;
  }
  return sink;
}

/* The generator of this test takes `ms` for each chunk of twelve pictures, 0.75 s. */
static void
generator (guint ms)
{
  Standin *standin = standin_lock ();

  standin->first_pictures = 12;
  standin->chunk_ms = ms;
  standin_unlock ();
}

static void
stall (gint64 chunk, guint ms)
{
  Standin *standin = standin_lock ();

  standin->stall_chunk = chunk;
  standin->stall_ms = ms;
  standin_unlock ();
}

/* 96 pictures, 8 chunks, as a sink shows them. A generator that works in create() shows 36 of them
 * and a queue without any policy 32 to 61; here none is late. */
static const struct
{
  const char *policy;
  guint depth, prebuffer, chunk_ms;
  gint64 stall_chunk;
  guint stall_ms;
  guint repeats, resyncs, episodes;
  double ratio; /* in the warning; 0: no warning */
} table[] = {
    {"repeat", 1, 1, 500, -1, 0, 0, 0, 0, 0},
    {"repeat", 2, 2, 500, -1, 0, 0, 0, 0, 0},
    {"resync", 2, 2, 500, -1, 0, 0, 0, 0, 0},
    /* a stall of 2 s on top of the 0.5 s, when nothing is in reserve; 0.75 s of it play */
    {"repeat", 2, 1, 500, 1, 2500, 28, 0, 1, 2500 / 750.0},
    {"resync", 2, 1, 500, 1, 2500, 0, 1, 1, 2500 / 750.0},
    /* the same later on: the queue hides it */
    {"repeat", 2, 2, 500, 5, 2000, 0, 0, 0, 0},
    {"resync", 2, 2, 500, 5, 2000, 0, 0, 0, 0},
    /* 1.33 times real time: each chunk after the ones in reserve is 0.25 s late */
    {"repeat", 2, 2, 1000, -1, 0, 12, 0, 1, 1000 / 750.0},
    {"resync", 2, 2, 1000, -1, 0, 0, 3, 1, 1000 / 750.0},
};

GST_START_TEST (test_table)
{
  Sim *sim;
  Sink sink;
  SimMessages messages;

  generator (table[__i__].chunk_ms);
  stall (table[__i__].stall_chunk, table[__i__].stall_ms);
  sim = sim_new (table[__i__].policy, table[__i__].depth, table[__i__].prebuffer, "");
  sim_run_to_picture (sim, 95);
  sink = sink_of (sim);
  fail_unless_equals_int (sink.shown, 96);
  fail_unless_equals_int (sink.late, 0);
  fail_unless_equals_int (sink.repeats, table[__i__].repeats);
  fail_unless_equals_int (sink.disconts, 1 + table[__i__].resyncs);
  fail_unless_equals_uint64 (sim_stat (sim, "shown"), 96);
  fail_unless_equals_uint64 (sim_stat (sim, "repeated"), table[__i__].repeats);
  fail_unless_equals_uint64 (sim_stat (sim, "frames"), 96 + table[__i__].repeats);
  fail_unless_equals_uint64 (sim_stat (sim, "resyncs"), table[__i__].resyncs);
  fail_unless_equals_uint64 (sim_stat (sim, "dropped"), 0);
  fail_unless_equals_uint64 (sim_stat (sim, "late-episodes"), table[__i__].episodes);
  sim_messages (sim, &messages);
  fail_unless_equals_int (messages.qos, table[__i__].repeats);
  fail_unless_equals_int (messages.warnings, table[__i__].ratio > 0 ? 1 : 0);
  fail_unless (ABS (messages.ratio - table[__i__].ratio) < 1e-6, "%f", messages.ratio);
  sim_free (sim);
}
GST_END_TEST;

/* ----------------------------------------------------- slow, stalled, bursty, by policy */

static const guint slow[] = {1000}, stalled[] = {400, 400, 400, 3000, 400, 400, 400, 400};
static const guint bursty[] = {2100, 100, 100, 100}, steady[] = {700};

static const struct
{
  const char *name;
  const guint *script;
  guint length;
  gboolean late; /* with two chunks in the queue */
} scripts[] = {
    {"slow", slow, G_N_ELEMENTS (slow), TRUE},
    {"stalled", stalled, G_N_ELEMENTS (stalled), TRUE},
    {"bursty", bursty, G_N_ELEMENTS (bursty), FALSE},
    {"steady", steady, G_N_ELEMENTS (steady), FALSE},
};
static const char *const policies[] = {"repeat", "resync", "drop"};

/* Every frame comes out at its time and every picture once, whatever the generator does. */
static void
check_constant_rate (Sim *sim)
{
  guint64 next = 0;
  guint i;

  for (i = 0; i < rig_count (sim->rig); i++) {
    SimFrame frame, begin;

    sim_frame (sim, 0, &begin);
    sim_frame (sim, i, &frame);
    fail_unless_equals_uint64 (
        GST_BUFFER_PTS (frame.buffer), GST_BUFFER_PTS (begin.buffer) + i * FRAME);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (frame.buffer), i);
    fail_unless (frame.discont == (i == 0));
    fail_unless_equals_uint64 (frame.picture, frame.gap ? next - 1 : next);
    next += !frame.gap;
  }
}

/* Every picture once and in order; a gap in time is flagged. */
static void
check_nothing_lost (Sim *sim)
{
  GstClockTime end = 0;
  guint i;

  for (i = 0; i < rig_count (sim->rig); i++) {
    SimFrame frame;

    sim_frame (sim, i, &frame);
    fail_unless_equals_uint64 (frame.picture, i);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (frame.buffer), i);
    fail_if (frame.gap);
    fail_unless (GST_BUFFER_PTS (frame.buffer) >= end);
    fail_unless (frame.discont == (i == 0 || GST_BUFFER_PTS (frame.buffer) > end));
    end = GST_BUFFER_PTS (frame.buffer) + GST_BUFFER_DURATION (frame.buffer);
  }
}

/* A frame's number is its time. Pictures keep to their frames, but for the last one of a chunk that
 * came too late as a whole. */
static void
check_schedule_stays (Sim *sim)
{
  guint64 next = 0, dropped = 0;
  guint i;

  for (i = 0; i < rig_count (sim->rig); i++) {
    SimFrame frame, begin;
    guint64 number;

    sim_frame (sim, 0, &begin);
    sim_frame (sim, i, &frame);
    number = GST_BUFFER_OFFSET (frame.buffer);
    fail_unless_equals_uint64 (
        GST_BUFFER_PTS (frame.buffer), GST_BUFFER_PTS (begin.buffer) + number * FRAME);
    fail_unless (frame.picture == number || (frame.picture < number && frame.picture % 12 == 11));
    fail_unless (frame.picture >= next && !frame.gap);
    if (i > 0 && frame.picture > next)
      fail_unless (frame.discont);
    dropped += frame.picture - next;
    next = frame.picture + 1;
  }
  fail_unless_equals_uint64 (sim_stat (sim, "dropped"), dropped);
}

GST_START_TEST (test_policies)
{
  const char *policy = policies[__i__ % 3];
  guint script = (guint) __i__ / 3;
  SimMessages messages;
  guint i;
  Standin *standin;
  Sim *sim;

  generator (0);
  standin = standin_lock ();
  standin->script = scripts[script].script;
  standin->script_length = scripts[script].length;
  standin_unlock ();
  sim = sim_new (policy, 2, 2, "");
  sim_run_to_picture (sim, 12 * 14);
  if (__i__ % 3 == 0)
    check_constant_rate (sim);
  else if (__i__ % 3 == 1)
    check_nothing_lost (sim);
  else
    check_schedule_stays (sim);
  for (i = 0; i < rig_count (sim->rig); i++) {
    SimFrame frame;

    sim_frame (sim, i, &frame);
    /* a picture is late by less than a frame where it is dropped after that */
    fail_unless (frame.arrival >= GST_BUFFER_PTS (frame.buffer));
    fail_unless (frame.arrival - GST_BUFFER_PTS (frame.buffer) <= (__i__ % 3 == 0 ? 0 : FRAME));
  }
  sim_messages (sim, &messages);
  fail_unless_equals_int (messages.qos, sim_stat (sim, "repeated") + sim_stat (sim, "dropped"));
  fail_unless_equals_uint64 (sim_stat (sim, "late-episodes"), messages.warnings);
  if (!scripts[script].late || scripts[script].script == slow)
    fail_unless_equals_int (messages.warnings, scripts[script].late);
  if (scripts[script].script == stalled)
    fail_unless (messages.warnings >= 1 && messages.ratio == 3000 / 750.0);
  fail_unless_equals_uint64 (
      sim_stat (sim, "frames"), sim_stat (sim, "shown") + sim_stat (sim, "repeated"));
  fail_unless_equals_uint64 (sim_stat (sim, "frames"), rig_count (sim->rig));
  sim_free (sim);
}
GST_END_TEST;

/* ---------------------------------------------------------------------- the beginning */

/* The first frame goes out when as many chunks are there as are asked for. */
GST_START_TEST (test_prebuffer)
{
  static const struct
  {
    guint depth;
    gint prebuffer;
    guint chunks;
  } cases[] = {{3, 0, 1}, {3, 1, 1}, {3, 2, 2}, {3, 3, 3}, {2, 16, 2}};
  SimFrame frame;
  Sim *sim;

  generator (500);
  sim = sim_new ("repeat", cases[__i__].depth, (guint) cases[__i__].prebuffer, "");
  sim->prebuffer = cases[__i__].chunks;
  sim_run_frames (sim, 20);
  sim_frame (sim, 0, &frame);
  fail_unless_equals_uint64 (
      GST_BUFFER_PTS (frame.buffer), cases[__i__].chunks * 500 * GST_MSECOND);
  fail_unless_equals_uint64 (frame.arrival, GST_BUFFER_PTS (frame.buffer));
  check_constant_rate (sim);
  sim_free (sim);
}
GST_END_TEST;

/* By default the queue is filled. */
GST_START_TEST (test_prebuffer_default)
{
  Rig *rig = rig_new ("is-live=true queue-chunks=3", NULL);

  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  g_usleep (50 * MS);
  fail_unless_equals_int (rig_count (rig), 0);
  STANDIN_SET (hold_chunk, -1);
  rig_wait_frames (rig, 1);
  rig_free (rig);
}
GST_END_TEST;

/* A generator that fails before the queue is full does not keep what it made. */
GST_START_TEST (test_prebuffer_and_failure)
{
  Rig *rig = rig_new ("is-live=true queue-chunks=4 late-policy=resync", NULL);

  STANDIN_SET (fps_n, 200);
  STANDIN_SET (fail_chunk, 1);
  STANDIN_SET (chunk_error, LF_ERROR_BACKEND);
  rig_expect_error (rig, rig_run (rig), GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
      "chunk 1 fails: the test says so");
  fail_unless_equals_int (rig_count (rig), 9);
  rig_free (rig);
}
GST_END_TEST;

/* A generator that fails in mid-stream: what is made is shown, then there is the error and no
 * repetition. */
GST_START_TEST (test_failure_while_live)
{
  Sim *sim;
  GstMessage *message;

  generator (500);
  STANDIN_SET (fail_chunk, 2);
  STANDIN_SET (chunk_error, LF_ERROR_BACKEND);
  sim = sim_new (policies[__i__], 2, 1, "");
  sim_run_frames (sim, 24);
  message = rig_wait (sim->rig, GST_MESSAGE_ERROR);
  rig_expect_error (sim->rig, message, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED, "chunk 2 fails");
  fail_unless_equals_int (rig_count (sim->rig), 24);
  sim_free (sim);
}
GST_END_TEST;

/* -------------------------------------------------------------------------- episodes */

/* One warning each time that the generator falls behind: after it has caught up, the next one. */
GST_START_TEST (test_episodes)
{
  static const guint script[] = {300, 300, 3000, 300, 300, 300, 300, 300, 300, 300, 4000, 300};
  SimMessages messages;
  Standin *standin;
  Sim *sim;

  generator (0);
  standin = standin_lock ();
  standin->script = script;
  standin->script_length = G_N_ELEMENTS (script);
  standin_unlock ();
  sim = sim_new ("repeat", 2, 1, "");
  sim_run_to_picture (sim, 5 * 12);
  sim_messages (sim, &messages);
  fail_unless (messages.warnings == 1 && messages.ratio == 3000 / 750.0);
  fail_unless_equals_uint64 (sim_stat (sim, "late-episodes"), 1);
  sim_run_to_picture (sim, 11 * 12);
  sim_messages (sim, &messages);
  fail_unless (messages.warnings == 1 && messages.ratio == 4000 / 750.0);
  fail_unless_equals_uint64 (sim_stat (sim, "late-episodes"), 2);
  sim_free (sim);
}
GST_END_TEST;

/* What a QOS message says of a repetition, and the warning of its cause. */
GST_START_TEST (test_qos_message)
{
  GstClockTime running, stream, pts, duration;
  guint64 processed, dropped, repeated;
  GstMessage *message;
  gint64 jitter;
  gboolean live;
  GstFormat format;
  Sim *sim;

  generator (500);
  stall (1, 2500);
  sim = sim_new ("repeat", 2, 1, "");
  sim_run_frames (sim, 14);
  message = gst_bus_pop_filtered (sim->rig->bus, GST_MESSAGE_QOS);
  fail_unless (message != NULL && GST_MESSAGE_SRC (message) == GST_OBJECT (sim->rig->src));
  gst_message_parse_qos (message, &live, &running, &stream, &pts, &duration);
  fail_unless (live);
  fail_unless_equals_uint64 (pts, 500 * GST_MSECOND + 12 * FRAME);
  fail_unless_equals_uint64 (running, pts);
  fail_unless_equals_uint64 (duration, FRAME);
  gst_message_parse_qos_values (message, &jitter, NULL, NULL);
  fail_unless_equals_int64 (jitter, 0);
  gst_message_parse_qos_stats (message, &format, &processed, &dropped);
  fail_unless_equals_int (format, GST_FORMAT_BUFFERS);
  fail_unless_equals_uint64 (processed, 13);
  fail_unless_equals_uint64 (dropped, 0);
  fail_unless (
      gst_structure_get_uint64 (gst_message_get_structure (message), "repeated", &repeated));
  fail_unless_equals_uint64 (repeated, 1);
  gst_message_unref (message);
  sim_free (sim);
}
GST_END_TEST;

/* The policy may change while it plays. */
GST_START_TEST (test_change_policy)
{
  Sim *sim;
  SimFrame frame;
  guint i;

  generator (1000);
  sim = sim_new ("repeat", 2, 1, "");
  sim_run_frames (sim, 40);
  fail_unless (sim_stat (sim, "repeated") > 0);
  gst_util_set_object_arg (G_OBJECT (sim->rig->src), "late-policy", "resync");
  sim_run_frames (sim, 80);
  gst_util_set_object_arg (G_OBJECT (sim->rig->src), "late-policy", "drop");
  sim_run_frames (sim, 110);
  fail_unless (sim_stat (sim, "resyncs") > 0);
  fail_unless (sim_stat (sim, "dropped") > 0);
  for (i = 1; i < 110; i++) {
    SimFrame before;

    sim_frame (sim, i - 1, &before);
    sim_frame (sim, i, &frame);
    fail_unless (GST_BUFFER_PTS (frame.buffer)
                 >= GST_BUFFER_PTS (before.buffer) + GST_BUFFER_DURATION (before.buffer) - 1);
    fail_unless (GST_BUFFER_OFFSET (frame.buffer) > GST_BUFFER_OFFSET (before.buffer));
    fail_unless (frame.gap ? frame.picture == before.picture : frame.picture > before.picture);
  }
  sim_free (sim);
}
GST_END_TEST;

/* Not live: late-policy means nothing, every picture comes out once. */
GST_START_TEST (test_policy_not_live)
{
  g_autofree char *properties =
      g_strdup_printf ("late-policy=%s num-buffers=60 framerate=1000/1", policies[__i__]);
  Rig *rig = rig_new (properties, NULL);
  guint i;

  STANDIN_SET (chunk_ms, 15);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 60);
  for (i = 0; i < 60; i++) {
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, i)), i);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (rig, i)), i * GST_MSECOND);
    fail_if (GST_BUFFER_FLAG_IS_SET (rig_frame (rig, i), GST_BUFFER_FLAG_GAP));
    fail_unless (GST_BUFFER_FLAG_IS_SET (rig_frame (rig, i), GST_BUFFER_FLAG_DISCONT) == (i == 0));
  }
  fail_unless (gst_bus_pop_filtered (rig->bus, GST_MESSAGE_QOS | GST_MESSAGE_WARNING) == NULL);
  rig_free (rig);
}
GST_END_TEST;

/* Paused in the middle of a stall: no frame, no repetition, and the schedule goes on where it was. */
GST_START_TEST (test_pause_in_a_stall)
{
  SimFrame before, frame;
  guint i;
  Sim *sim;

  generator (500);
  stall (1, 5000);
  sim = sim_new ("repeat", 2, 1, "");
  sim_run_frames (sim, 15);
  rig_reach_state (sim->rig, GST_STATE_PAUSED);
  gst_test_clock_advance_time (sim->clock, 7 * GST_SECOND);
  while (sim_stat (sim, "chunks") < 2)
    g_usleep (200);
  fail_unless_equals_int (rig_count (sim->rig), 15);
  rig_set_state (sim->rig, GST_STATE_PLAYING);
  sim_run_frames (sim, 30);
  fail_unless_equals_uint64 (sim_stat (sim, "repeated"), 3);
  fail_unless_equals_uint64 (sim_stat (sim, "resyncs"), 0);
  check_constant_rate (sim);
  for (i = 15; i < 30; i++) {
    sim_frame (sim, i - 1, &before);
    sim_frame (sim, i, &frame);
    fail_unless_equals_uint64 (frame.picture, i - 3);
    if (i > 15)
      fail_unless_equals_uint64 (frame.arrival - before.arrival, FRAME);
  }
  sim_free (sim);
}
GST_END_TEST;

/* Waits until a frame is held up at `pad`, which a probe blocks. */
static void
wait_for_block (GstPad *pad)
{
  gint64 end = g_get_monotonic_time () + LONG;

  while (!gst_pad_is_blocking (pad)) {
    fail_unless (g_get_monotonic_time () < end, "no frame comes to the block");
    g_usleep (MS);
  }
}

/* Downstream that holds the element up gets the frame of the present time and nothing twice. */
GST_START_TEST (test_slow_downstream)
{
  Rig *rig = rig_new ("is-live=true framerate=100/1", "video/x-raw,format=RGBx,width=2,height=2");
  GstTestClock *clock = GST_TEST_CLOCK (gst_test_clock_new_with_start_time (0));
  GstPad *pad = gst_element_get_static_pad (rig->src, "src");
  gulong probe;

  gst_pipeline_use_clock (GST_PIPELINE (rig->pipeline), GST_CLOCK (clock));
  probe = gst_pad_add_probe (
      pad, GST_PAD_PROBE_TYPE_BLOCK | GST_PAD_PROBE_TYPE_BUFFER, NULL, NULL, NULL);
  rig_set_state (rig, GST_STATE_PLAYING);
  wait_for_block (pad);
  gst_test_clock_set_time (clock, 105 * GST_MSECOND);
  gst_pad_remove_probe (pad, probe);
  rig_wait_frames (rig, 2);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (rig, 0)), 0);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (rig, 1)), 100 * GST_MSECOND);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, 1)), 10);
  fail_unless (GST_BUFFER_FLAG_IS_SET (rig_frame (rig, 1), GST_BUFFER_FLAG_DISCONT));
  fail_if (GST_BUFFER_FLAG_IS_SET (rig_frame (rig, 1), GST_BUFFER_FLAG_GAP));
  gst_object_unref (pad);
  rig_free (rig);
  gst_object_unref (clock);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "pacing");

  tcase_add_loop_test (tc, test_table, 0, G_N_ELEMENTS (table));
  tcase_add_loop_test (tc, test_policies, 0, 3 * G_N_ELEMENTS (scripts));
  tcase_add_loop_test (tc, test_prebuffer, 0, 5);
  tcase_add_test (tc, test_prebuffer_default);
  tcase_add_test (tc, test_prebuffer_and_failure);
  tcase_add_loop_test (tc, test_failure_while_live, 0, 3);
  tcase_add_test (tc, test_episodes);
  tcase_add_test (tc, test_qos_message);
  tcase_add_test (tc, test_change_policy);
  tcase_add_loop_test (tc, test_policy_not_live, 0, 3);
  tcase_add_test (tc, test_pause_in_a_stall);
  tcase_add_test (tc, test_slow_downstream);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "pacing", add);
}
