/* lightforce: timestamps, the live schedule, latency and duration
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/check/gsttestclock.h>
#include "tests/element/rig.h"

/* --------------------------------------------------------------- exact timestamps */

/* The first `count` numbers are exact: rounded down once, no error adds up. */
GST_START_TEST (test_exact_timestamps)
{
  static const gint rates[][2] = {{16, 1}, {30000, 1001}, {7, 3}, {24000, 1001}};
  const gint *rate = rates[__i__];
  const guint count = 5000;
  g_autofree char *caps = g_strdup_printf (
      "video/x-raw,format=RGBx,width=2,height=2,framerate=%d/%d", rate[0], rate[1]);
  g_autofree char *properties =
      g_strdup_printf ("num-buffers=%u framerate=%d/%d", count, rate[0], rate[1]);
  Rig *rig = rig_new (properties, caps);
  guint i;

  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), count);
  for (i = 0; i < count; i++) {
    GstBuffer *frame = rig_frame (rig, i);
    guint64 scaled = (guint64) i * (guint64) rate[1] * GST_SECOND;
    guint64 next = (guint64) (i + 1) * (guint64) rate[1] * GST_SECOND;

    fail_unless_equals_uint64 (GST_BUFFER_PTS (frame), scaled / (guint64) rate[0]);
    fail_unless_equals_uint64 (
        GST_BUFFER_DURATION (frame), next / (guint64) rate[0] - scaled / (guint64) rate[0]);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (frame), i);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET_END (frame), i + 1);
    fail_unless (GST_BUFFER_FLAG_IS_SET (frame, GST_BUFFER_FLAG_DISCONT) == (i == 0));
  }
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_num_buffers)
{
  static const guint counts[] = {1, 9, 10, 21, 81};
  g_autofree char *properties = g_strdup_printf ("num-buffers=%u", counts[__i__]);
  Rig *rig = rig_new (properties, NULL);

  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), counts[__i__]);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_duration)
{
  Rig *rig = rig_new ("num-buffers=81 framerate=30000/1001", NULL);
  Rig *endless = rig_new ("", NULL);
  gint64 duration;

  rig_reach_state (rig, GST_STATE_PAUSED);
  fail_unless (gst_element_query_duration (rig->src, GST_FORMAT_TIME, &duration));
  fail_unless_equals_int64 (
      duration, (gint64) gst_util_uint64_scale (81, 1001 * GST_SECOND, 30000));
  fail_unless (gst_element_query_duration (rig->src, GST_FORMAT_DEFAULT, &duration));
  fail_unless_equals_int64 (duration, 81);
  rig_reach_state (endless, GST_STATE_PAUSED);
  fail_if (gst_element_query_duration (endless->src, GST_FORMAT_TIME, &duration) && duration != -1);
  rig_set_state (endless, GST_STATE_NULL);
  rig_set_state (rig, GST_STATE_NULL);
  rig_free (endless);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_latency)
{
  Rig *rig = rig_new (__i__ ? "is-live=true framerate=30000/1001" : "framerate=30000/1001", NULL);
  GstQuery *query = gst_query_new_latency ();
  GstClockTime min, max;
  gboolean live;

  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 1);
  fail_unless (gst_element_query (rig->src, query));
  gst_query_parse_latency (query, &live, &min, &max);
  fail_unless (live == __i__);
  if (__i__) {
    fail_unless_equals_uint64 (min, 33366666);
    fail_unless_equals_uint64 (max, GST_CLOCK_TIME_NONE);
    /* It was not known when the pipeline asked first. */
    gst_message_unref (rig_wait (rig, GST_MESSAGE_LATENCY));
  }
  gst_query_unref (query);
  rig_free (rig);
}
GST_END_TEST;

/* ------------------------------------------------------------- the live schedule */

typedef struct
{
  Rig *rig;
  GstTestClock *clock;
} Live;

static Live
live_start (const char *properties, const char *caps, GstClockTime time)
{
  g_autofree char *line = g_strdup_printf ("is-live=true framerate=30000/1001 %s", properties);
  Live live;

  live.rig = rig_new (line, caps);
  live.clock = GST_TEST_CLOCK (gst_test_clock_new_with_start_time (time));
  gst_pipeline_use_clock (GST_PIPELINE (live.rig->pipeline), GST_CLOCK (live.clock));
  rig_set_state (live.rig, GST_STATE_PLAYING);
  return live;
}

static void
live_free (Live *live)
{
  rig_free (live->rig);
  gst_object_unref (live->clock);
}

/* The clock time the element waits for. */
static GstClockTime
live_next (Live *live)
{
  GstClockID id = NULL;
  GstClockTime time;

  gst_test_clock_wait_for_next_pending_id (live->clock, &id);
  time = gst_clock_id_get_time (id);
  gst_clock_id_unref (id);
  return time;
}

/* Lets the wait end at its time. */
static void
live_crank (Live *live)
{
  live_next (live);
  fail_unless (gst_test_clock_crank (live->clock));
}

static GstClockTime
frames_time (guint64 frames)
{
  return gst_util_uint64_scale (frames, 1001 * GST_SECOND, 30000);
}

#define NTSC "video/x-raw,format=RGBx,width=2,height=2"

/* Each frame leaves at its time, exactly, for a thousand frames. */
GST_START_TEST (test_live_schedule)
{
  const GstClockTime begin = 5 * GST_SECOND;
  Live live = live_start ("late-policy=resync", NTSC, begin);
  guint i;

  for (i = 1; i <= 1000; i++) {
    fail_unless_equals_uint64 (live_next (&live), begin + frames_time (i));
    fail_unless_equals_int (rig_count (live.rig), i);
    fail_unless (gst_test_clock_crank (live.clock));
    rig_wait_frames (live.rig, i + 1);
  }
  for (i = 0; i <= 1000; i++) {
    GstBuffer *frame = rig_frame (live.rig, i);

    fail_unless_equals_uint64 (GST_BUFFER_PTS (frame), frames_time (i));
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (frame), frames_time (i + 1) - frames_time (i));
    fail_unless (GST_BUFFER_FLAG_IS_SET (frame, GST_BUFFER_FLAG_DISCONT) == (i == 0));
  }
  live_free (&live);
}
GST_END_TEST;

/* The schedule begins with the first frame, not with the pipeline. */
GST_START_TEST (test_live_anchor)
{
  Live live;

  STANDIN_SET (hold_load, TRUE);
  live = live_start ("", NTSC, GST_SECOND);
  g_usleep (20 * MS);
  gst_test_clock_set_time (live.clock, 4 * GST_SECOND);
  STANDIN_SET (hold_load, FALSE);
  fail_unless_equals_uint64 (live_next (&live), 4 * GST_SECOND + frames_time (1));
  fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (live.rig, 0)), 3 * GST_SECOND);
  live_free (&live);
}
GST_END_TEST;

/* A frame that is late by less than its duration goes at once and keeps its time; one that is
 * later moves the schedule. Nothing is lost and the order stays. */
GST_START_TEST (test_live_late)
{
  const GstClockTime late = __i__ == 0 ? 20 * GST_MSECOND : 2 * GST_SECOND;
  Live live;
  GstBuffer *frame;
  guint i;

  STANDIN_SET (hold_chunk, 1);
  live = live_start ("late-policy=resync prebuffer=1", NTSC, 0);
  for (i = 0; i < 8; i++)
    live_crank (&live);
  rig_wait_frames (live.rig, 9);
  /* Now the ninth frame is out and the tenth is not made. */
  gst_test_clock_set_time (live.clock, frames_time (9) + late);
  STANDIN_SET (hold_chunk, -1);
  rig_wait_frames (live.rig, 10);
  frame = rig_frame (live.rig, 9);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (frame), 9);
  if (__i__ == 0) {
    fail_if (GST_BUFFER_FLAG_IS_SET (frame, GST_BUFFER_FLAG_DISCONT));
    fail_unless_equals_uint64 (GST_BUFFER_PTS (frame), frames_time (9));
    fail_unless_equals_uint64 (live_next (&live), frames_time (10));
  } else {
    fail_unless (GST_BUFFER_FLAG_IS_SET (frame, GST_BUFFER_FLAG_DISCONT));
    fail_unless_equals_uint64 (GST_BUFFER_PTS (frame), frames_time (9) + late);
    fail_unless_equals_uint64 (live_next (&live), frames_time (9) + late + frames_time (1));
    fail_unless_equals_uint64 (rig_stat (live.rig, "resyncs"), 1);
  }
  live_free (&live);
}
GST_END_TEST;

/* Paused in the middle of a wait: the running time stands still, and the frame waits for the
 * rest of its time. */
GST_START_TEST (test_live_pause)
{
  Live live = live_start ("late-policy=resync", NTSC, 0);
  guint i;

  for (i = 0; i < 4; i++)
    live_crank (&live);
  rig_wait_frames (live.rig, 5);
  fail_unless_equals_uint64 (live_next (&live), frames_time (5));
  gst_test_clock_set_time (live.clock, frames_time (4) + 10 * GST_MSECOND);
  rig_reach_state (live.rig, GST_STATE_PAUSED);
  gst_test_clock_set_time (live.clock, frames_time (4) + 10 * GST_MSECOND + 7 * GST_SECOND);
  g_usleep (30 * MS);
  fail_unless_equals_int (rig_count (live.rig), 5);
  rig_set_state (live.rig, GST_STATE_PLAYING);
  fail_unless_equals_uint64 (live_next (&live), frames_time (5) + 7 * GST_SECOND);
  fail_unless_equals_int (rig_count (live.rig), 5);
  live_crank (&live);
  rig_wait_frames (live.rig, 6);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (live.rig, 5)), frames_time (5));
  fail_if (GST_BUFFER_FLAG_IS_SET (rig_frame (live.rig, 5), GST_BUFFER_FLAG_DISCONT));
  live_free (&live);
}
GST_END_TEST;

static void
set_time_back (Rig *rig, gpointer clock)
{
  gst_element_set_base_time (rig->src, gst_clock_get_time (clock));
  gst_element_set_base_time (rig->pipeline, gst_clock_get_time (clock));
}

/* A flush that sets the running time back does not make the element wait for the old one. */
GST_START_TEST (test_live_running_time_reset)
{
  Live live = live_start ("late-policy=resync", NTSC, 0);
  guint i;

  for (i = 0; i < 60; i++)
    live_crank (&live);
  rig_wait_frames (live.rig, 61);
  live_next (&live);
  rig_flush (live.rig, set_time_back, live.clock);
  rig_wait_frames (live.rig, 62);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (live.rig, 61)), 0);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (live.rig, 61)), 61);
  live_free (&live);
}
GST_END_TEST;

/* Not live: there is no clock and no waiting, however long the generator takes. */
GST_START_TEST (test_not_live_is_not_paced)
{
  Rig *rig = rig_new ("num-buffers=320", NULL);
  gint64 start = g_get_monotonic_time ();
  guint i;

  rig_run_to_eos (rig);
  fail_unless (g_get_monotonic_time () - start < LONG / 2); /* 20 s of video */
  for (i = 0; i < 320; i++)
    fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (rig, i)), i * (GST_SECOND / 16));
  rig_free (rig);
}
GST_END_TEST;

/* While one chunk takes its time, those in the queue go out on schedule. */
GST_START_TEST (test_queue_hides_stall)
{
  Live live;
  guint i;

  STANDIN_SET (hold_chunk, 3);
  live = live_start ("queue-chunks=2 late-policy=resync", NTSC, 0);
  for (i = 0; i < 32; i++)
    live_crank (&live);
  rig_wait_frames (live.rig, 33);
  fail_unless_equals_uint64 (rig_stat (live.rig, "chunks"), 3);
  STANDIN_SET (hold_chunk, -1);
  for (i = 0; i < 30; i++)
    live_crank (&live);
  rig_wait_frames (live.rig, 63);
  fail_unless_equals_uint64 (rig_stat (live.rig, "resyncs"), 0);
  for (i = 0; i < 63; i++) {
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (live.rig, i)), i);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (live.rig, i)), frames_time (i));
  }
  live_free (&live);
}
GST_END_TEST;

/* The generator is ahead by the queue, the chunk in its hands and no more. */
GST_START_TEST (test_queue_is_bounded)
{
  g_autofree char *properties = g_strdup_printf ("queue-chunks=%d", __i__);
  Live live = live_start (properties, NTSC, 0);

  live_next (&live);
  g_usleep (100 * MS);
  /* One that is being shown, those in the queue and one that waits for room. */
  fail_unless_equals_uint64 (rig_stat (live.rig, "chunks"), (guint64) __i__ + 2);
  fail_unless_equals_uint64 (rig_stat (live.rig, "queue-level"), (guint64) __i__);
  live_free (&live);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "timing");

  tcase_add_loop_test (tc, test_exact_timestamps, 0, 4);
  tcase_add_loop_test (tc, test_num_buffers, 0, 5);
  tcase_add_test (tc, test_duration);
  tcase_add_loop_test (tc, test_latency, 0, 2);
  tcase_add_test (tc, test_live_schedule);
  tcase_add_test (tc, test_live_anchor);
  tcase_add_loop_test (tc, test_live_late, 0, 2);
  tcase_add_test (tc, test_live_pause);
  tcase_add_test (tc, test_live_running_time_reset);
  tcase_add_test (tc, test_not_live_is_not_paced);
  tcase_add_test (tc, test_queue_hides_stall);
  tcase_add_loop_test (tc, test_queue_is_bounded, 1, 4);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "timing", add);
}
