/* lightforce: seeks, and parts of a video
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/rig.h"

/* A seek after a restart leads into the new video, from its first picture. */
GST_START_TEST (test_seek_after_restart)
{
  Rig *rig = rig_new ("seed=1 num-buffers=40", "video/x-raw,format=RGBx");
  guint i;

  rig_run_to_eos (rig);
  g_object_set (rig->src, "seed", G_GUINT64_CONSTANT (2), NULL);
  g_signal_emit_by_name (rig->src, "restart");
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (rig->pipeline, GST_FORMAT_TIME,
      GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE, 11 * GST_SECOND / 16));
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 29);
  for (i = 0; i < 29; i++)
    fail_unless_equals_int (
        (gint) rig_first_pixel (rig_frame (rig, i)), (gint) standin_pixel (2, "", 11 + i, 0, 0));
  rig_free (rig);
}
GST_END_TEST;

static GstPadProbeReturn
keep_segment (GstPad *pad, GstPadProbeInfo *probe, gpointer user_data)
{
  GstEvent *event = GST_PAD_PROBE_INFO_EVENT (probe);

  if (GST_EVENT_TYPE (event) == GST_EVENT_SEGMENT)
    gst_event_copy_segment (event, user_data);
  return GST_PAD_PROBE_OK;
}

/* Whatever is sought, the same pictures as in one go, and a segment that fits. */
GST_START_TEST (test_seek_checksum)
{
  const GstSeekFlags kind = __i__ % 2 ? GST_SEEK_FLAG_ACCURATE : GST_SEEK_FLAG_KEY_UNIT;
  const guint target = __i__ / 2 ? 26 : 4;
  const GstClockTime time = target * (GST_SECOND / 16) + 20 * GST_MSECOND;
  Rig *rig = rig_new ("seed=9 num-buffers=45", NULL);
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->src, "src");
  g_autofree char *whole = NULL, *sum = NULL;
  GstSegment segment;
  gint64 position;

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, keep_segment, &segment, NULL);
  rig_run_to_eos (rig);
  whole = rig_checksum_from (rig, target);
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (
      rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH | kind, (gint64) time));
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 45 - target);
  sum = rig_checksum (rig);
  fail_unless_equals_string (sum, whole);
  fail_unless_equals_uint64 (
      segment.start, kind == GST_SEEK_FLAG_ACCURATE ? time : target * (GST_SECOND / 16));
  fail_unless_equals_uint64 (segment.time, segment.start);
  fail_unless_equals_uint64 (segment.base, 0);
  fail_unless_equals_uint64 (segment.stop, GST_CLOCK_TIME_NONE);
  fail_unless_equals_uint64 (segment.duration, 45 * (GST_SECOND / 16));
  fail_unless_equals_float (segment.rate, 1);
  fail_unless (gst_element_query_position (rig->pipeline, GST_FORMAT_TIME, &position));
  /* Nothing was in the way of a second go. */
  rig_reach_state (rig, GST_STATE_READY);
  rig_forget_frames (rig);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 45);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_seek_past_the_end)
{
  Rig *rig = rig_new ("num-buffers=20", NULL);

  rig_run_to_eos (rig);
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (
      rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SECOND * 9));
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 0);
  fail_unless (gst_element_seek_simple (rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 20);
  rig_free (rig);
}
GST_END_TEST;

/* What is not done is refused, and the video goes on. */
GST_START_TEST (test_seek_refused)
{
  static const struct
  {
    const char *properties;
    gdouble rate;
    GstFormat format;
    GstSeekFlags flags;
    GstSeekType start_type;
    gint64 start;
    GstSeekType stop_type;
    gint64 stop;
  } cases[] = {
      {"", 2, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, -1},
      {"", -1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_SET, 1},
      {"", 1, GST_FORMAT_BYTES, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, -1},
      {"", 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_TRICKMODE, GST_SEEK_TYPE_SET, 0,
          GST_SEEK_TYPE_NONE, -1},
      {"", 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 2, GST_SEEK_TYPE_SET, 1},
      {"", 1, GST_FORMAT_TIME, GST_SEEK_FLAG_SEGMENT, GST_SEEK_TYPE_SET, 2, GST_SEEK_TYPE_SET, 1},
      {"", 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_END, 0, GST_SEEK_TYPE_NONE, -1},
      {"", 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_END, -1},
      {"is-live=true late-policy=resync", 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH,
          GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_NONE, -1},
  };
  g_autofree char *line =
      g_strdup_printf ("num-buffers=30 framerate=500/1 %s", cases[__i__].properties);
  Rig *rig = rig_new (line, NULL);
  guint i;

  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  if (cases[__i__].properties[0] == 0)
    rig_wait_frames (rig, 21);
  fail_if (gst_element_seek (rig->src, cases[__i__].rate, cases[__i__].format, cases[__i__].flags,
      cases[__i__].start_type, cases[__i__].start, cases[__i__].stop_type, cases[__i__].stop));
  STANDIN_SET (hold_chunk, -1);
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 30);
  for (i = 0; i < 30; i++)
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, i)), i);
  rig_free (rig);
}
GST_END_TEST;

/* ---------------------------------------------------------------------- parts of a video */

#define FRAME (GST_SECOND / 16)

static gboolean
seek (Rig *rig, GstSeekFlags flags, gint64 start, gint64 stop)
{
  return gst_element_seek (rig->pipeline, 1, GST_FORMAT_TIME, flags,
      start < 0 ? GST_SEEK_TYPE_NONE : GST_SEEK_TYPE_SET, start, GST_SEEK_TYPE_SET, stop);
}

typedef struct
{
  Rig *rig;
  gint done; /* the seek is */
} Release;

static gpointer
release_when_paused (gpointer data)
{
  Release *release = data;
  GstPad *pad = GST_PAD (release->rig->src->srcpads->data);
  gboolean paused = FALSE;

  while (!paused && !g_atomic_int_get (&release->done)) {
    GST_OBJECT_LOCK (pad);
    paused = gst_task_get_state (GST_PAD_TASK (pad)) == GST_TASK_PAUSED;
    GST_OBJECT_UNLOCK (pad);
    g_usleep (MS);
  }
  STANDIN_SET (hold_chunk, -1);
  return NULL;
}

/* The same without a flush while the generator is held: it waits for the frame that is being made,
 * where one is. */
static gboolean
seek_and_release (Rig *rig, GstSeekFlags flags, gint64 start, gint64 stop)
{
  Release release = {rig, FALSE};
  GThread *thread = g_thread_new ("release", release_when_paused, &release);
  gboolean done = seek (rig, flags, start, stop);

  g_atomic_int_set (&release.done, TRUE);
  g_thread_join (thread);
  return done;
}

/* The end of the segment at hand comes once, at `position`, and is that of a seek with `flags`. */
static void
expect_end (Rig *rig, GstSeekFlags flags, gint64 position)
{
  const GstMessageType types = GST_MESSAGE_EOS | GST_MESSAGE_SEGMENT_DONE | GST_MESSAGE_ERROR;
  GstMessage *message = rig_wait (rig, types);
  GstFormat format;
  gint64 at;

  if (flags & GST_SEEK_FLAG_SEGMENT) {
    fail_unless_equals_string (GST_MESSAGE_TYPE_NAME (message), "segment-done");
    gst_message_parse_segment_done (message, &format, &at);
    fail_unless_equals_int (format, GST_FORMAT_TIME);
    fail_unless_equals_int64 (at, position);
  } else {
    fail_unless_equals_string (GST_MESSAGE_TYPE_NAME (message), "eos");
  }
  gst_message_unref (message);
  fail_unless (gst_bus_timed_pop_filtered (rig->bus, 30 * GST_MSECOND, types) == NULL);
}

/* Frames `at` to `end` that came: from number `begin` on, as a video with seed 9 has them. The first
 * one of them that follows on no other is the one that was sought. */
static void
check_frames (Rig *rig, guint at, guint end, guint begin, guint sought)
{
  guint i;

  for (i = at; i < end; i++) {
    GstBuffer *frame = rig_frame (rig, i);
    guint number = begin + i - at;

    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (frame), number);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (frame), number * FRAME);
    fail_unless_equals_int (
        (gint) rig_first_pixel (frame), (gint) standin_pixel (9, "", number, 0, 0));
    fail_unless (GST_BUFFER_FLAG_IS_SET (frame, GST_BUFFER_FLAG_DISCONT) == (number == sought));
  }
}

/* All frames that came are these after a seek. */
static void
check_part (Rig *rig, guint begin, guint count)
{
  fail_unless_equals_int (rig_count (rig), count);
  check_frames (rig, 0, count, begin, begin);
  rig_forget_frames (rig);
}

static Rig *
part_rig (GstSegment *segment)
{
  Rig *rig = rig_new ("seed=9 num-buffers=45", "video/x-raw,format=RGBx");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->src, "src");

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, keep_segment, segment, NULL);
  return rig;
}

/* From a start to a stop, both in frames: the frame that reaches the stop is the last one. */
GST_START_TEST (test_seek_with_stop)
{
  static const struct
  {
    double start, stop;
    guint first, count;
  } cases[] = {{8, 20, 8, 12}, {8.5, 20.5, 8, 13}, {0, 0.25, 0, 1}, {40, 45, 40, 5},
      {40, 99, 40, 5}, {8, 8, 8, 0}, {8.25, 8.25, 8, 1}, {0, -1, 0, 45}, {45, 99, 45, 0}};
  const guint which = (guint) __i__ / 4;
  const GstSeekFlags flags = (__i__ & 1 ? GST_SEEK_FLAG_SEGMENT : 0) | GST_SEEK_FLAG_FLUSH
                             | (__i__ & 2 ? GST_SEEK_FLAG_KEY_UNIT : GST_SEEK_FLAG_ACCURATE);
  const gint64 start = (gint64) (cases[which].start * FRAME), end = 45 * FRAME;
  const gint64 stop = cases[which].stop < 0 ? -1 : MIN ((gint64) (cases[which].stop * FRAME), end);
  GstSegment segment;
  Rig *rig = part_rig (&segment);
  g_autoptr (GstQuery) query = gst_query_new_seeking (GST_FORMAT_TIME);
  gboolean seekable;

  rig_run_to_eos (rig);
  check_part (rig, 0, 45);
  fail_unless (seek (rig, flags, start, stop));
  expect_end (rig, flags, stop < 0 ? end : stop);
  check_part (rig, cases[which].first, cases[which].count);
  if (cases[which].count > 0) {
    fail_unless_equals_int64 ((gint64) segment.stop, stop);
    fail_unless_equals_uint64 (
        segment.start, __i__ & 2 ? cases[which].first * FRAME : (guint64) start);
    fail_unless_equals_uint64 (segment.base, 0);
  }
  /* a stop stays until another one is set: what it leaves no room for is refused */
  if (stop > 0 && stop < end)
    fail_if (gst_element_seek (rig->pipeline, 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH,
        GST_SEEK_TYPE_SET, stop + 1, GST_SEEK_TYPE_NONE, -1));
  fail_unless (gst_element_query (rig->src, query));
  gst_query_parse_seeking (query, NULL, &seekable, NULL, NULL);
  fail_unless (seekable);
  fail_unless (seek (rig, GST_SEEK_FLAG_FLUSH, 40 * FRAME, -1));
  expect_end (rig, 0, 0);
  check_part (rig, 40, 5);
  /* nor is any left when it starts again */
  rig_reach_state (rig, GST_STATE_READY);
  fail_unless (gst_element_seek (rig->src, 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH,
      GST_SEEK_TYPE_SET, 30 * FRAME, GST_SEEK_TYPE_NONE, -1));
  rig_run_to_eos (rig);
  check_part (rig, 30, 15);
  rig_free (rig);
}
GST_END_TEST;

/* Another stop and the same start: the video goes on where it is, to there. */
GST_START_TEST (test_seek_stop_only)
{
  const gboolean flush = __i__ & 1;
  const guint64 start = __i__ & 2 ? 4 * FRAME + FRAME / 2 : 0; /* of the segment before */
  const gint64 stop = 30 * FRAME + FRAME / 2;
  GstSegment segment;
  Rig *rig = part_rig (&segment);
  guint sought = 21;
  StandinLog log;

  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 21);
  rig_settle (rig, GST_STATE_PLAYING);
  rig_forget_frames (rig);
  if (start) {
    fail_unless (seek (rig, GST_SEEK_FLAG_FLUSH, (gint64) start, -1));
    rig_wait_frames (rig, 17);
    rig_settle (rig, GST_STATE_PLAYING);
    rig_forget_frames (rig);
  }
  if (flush) {
    fail_unless (seek (rig, GST_SEEK_FLAG_FLUSH, -1, stop));
    STANDIN_SET (hold_chunk, -1);
  } else {
    fail_unless (seek_and_release (rig, GST_SEEK_FLAG_NONE, -1, stop));
  }
  expect_end (rig, GST_SEEK_FLAG_NONE, 0);
  fail_unless_equals_int (rig_count (rig), 10);
  if (!flush && !GST_BUFFER_FLAG_IS_SET (rig_frame (rig, 0), GST_BUFFER_FLAG_DISCONT))
    sought = 22;
  check_frames (rig, 0, 10, 21, sought);
  rig_forget_frames (rig);
  standin_get_log (&log);
  fail_unless_equals_int (log.restarts, start > 0);
  standin_log_clear (&log);
  fail_unless_equals_uint64 (segment.start, start);
  fail_unless_equals_uint64 (segment.time, start);
  fail_unless_equals_uint64 (
      gst_segment_to_running_time (&segment, GST_FORMAT_TIME, sought * FRAME),
      flush ? 0 : sought * FRAME - start);
  /* the last frame was not whole, and comes again */
  fail_unless (seek (rig, GST_SEEK_FLAG_FLUSH, -1, 32 * FRAME));
  expect_end (rig, GST_SEEK_FLAG_NONE, 0);
  check_part (rig, 30, 2);
  fail_unless_equals_uint64 (
      gst_segment_to_running_time (&segment, GST_FORMAT_TIME, 30 * FRAME), 0);
  /* a stop that is behind already */
  fail_unless (seek (rig, GST_SEEK_FLAG_FLUSH, -1, 20 * FRAME));
  expect_end (rig, GST_SEEK_FLAG_NONE, 0);
  check_part (rig, 0, 0);
  rig_free (rig);
}
GST_END_TEST;

/* A part again and again without a flush: its time goes on as if it were one video. */
GST_START_TEST (test_loop)
{
  GstSegment segment;
  Rig *rig = part_rig (&segment);
  GstSeekFlags flags = GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_SEGMENT;
  guint i;

  rig_reach_state (rig, GST_STATE_PAUSED);
  for (i = 0; i < 5; i++) {
    rig_forget_frames (rig);
    fail_unless (seek (rig, flags, 8 * FRAME, 20 * FRAME));
    if (i == 0)
      rig_reach_state (rig, GST_STATE_PLAYING);
    expect_end (rig, flags, 20 * FRAME);
    check_part (rig, 8, 12);
    fail_unless_equals_uint64 (segment.start, 8 * FRAME);
    fail_unless_equals_uint64 (segment.base, i * 12 * FRAME);
    flags = i < 3 ? GST_SEEK_FLAG_SEGMENT : GST_SEEK_FLAG_NONE;
  }
  rig_free (rig);
}
GST_END_TEST;

/* In the middle of a segment, too: what went out plays, and the rest does not come. */
GST_START_TEST (test_seek_without_flush)
{
  const guint target = __i__ ? 30 : 4;
  GstSegment segment;
  Rig *rig = part_rig (&segment);
  guint sought = 21;

  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 21);
  rig_settle (rig, GST_STATE_PLAYING);
  fail_unless (seek_and_release (rig, GST_SEEK_FLAG_NONE, target * FRAME, -1));
  expect_end (rig, GST_SEEK_FLAG_NONE, 0);
  if (!GST_BUFFER_FLAG_IS_SET (rig_frame (rig, 21), GST_BUFFER_FLAG_DISCONT))
    sought = 22;
  fail_unless_equals_int (rig_count (rig), sought + 45 - target);
  check_frames (rig, 0, sought, 0, 0);
  check_frames (rig, sought, sought + 45 - target, target, target);
  fail_unless_equals_uint64 (segment.base, sought * FRAME);
  rig_free (rig);
}
GST_END_TEST;

static GstPadProbeReturn
keep_end (GstPad *pad, GstPadProbeInfo *probe, gpointer user_data)
{
  GstEventType type = GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (probe));

  if (type == GST_EVENT_EOS || type == GST_EVENT_SEGMENT_DONE)
    g_atomic_int_set ((gint *) user_data, (gint) type);
  return GST_PAD_PROBE_OK;
}

/* A generator that fails ends the video, not a segment that an application would play again. */
GST_START_TEST (test_failure_in_segment)
{
  GstSegment segment;
  Rig *rig = part_rig (&segment);
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->src, "src");
  gint ended = 0, i;

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, keep_end, &ended, NULL);
  rig_reach_state (rig, GST_STATE_PAUSED);
  STANDIN_SET (fail_chunk, 2);
  fail_unless (seek (rig, GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_SEGMENT, 0, -1));
  rig_set_state (rig, GST_STATE_PLAYING);
  gst_message_unref (rig_wait (rig, GST_MESSAGE_ERROR));
  for (i = 0; i < 1000 && g_atomic_int_get (&ended) == 0; i++)
    g_usleep (5 * MS);
  fail_unless_equals_int (g_atomic_int_get (&ended), GST_EVENT_EOS);
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "seeks");

  tcase_add_test (tc, test_seek_after_restart);
  tcase_add_loop_test (tc, test_seek_checksum, 0, 4);
  tcase_add_test (tc, test_seek_past_the_end);
  tcase_add_loop_test (tc, test_seek_refused, 0, 9);
  tcase_add_loop_test (tc, test_seek_with_stop, 0, 9 * 4);
  tcase_add_loop_test (tc, test_seek_stop_only, 0, 4);
  tcase_add_test (tc, test_loop);
  tcase_add_loop_test (tc, test_seek_without_flush, 0, 2);
  tcase_add_test (tc, test_failure_in_segment);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "seeks", add);
}
