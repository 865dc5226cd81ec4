/* lightforce: prompts across restarts, repeated frames and seeks
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/check/gsttestclock.h>
#include <glib/gstdio.h>
#include "tests/element/rig.h"

#define RGBX "video/x-raw,format=RGBx"

static void
check_picture (Rig *rig, guint frame, const char *prompt, guint64 picture)
{
  fail_unless (rig_first_pixel (rig_frame (rig, frame)) == standin_pixel (0, prompt, picture, 0, 0),
      "frame %u does not show picture %" G_GUINT64_FORMAT " of \"%s\"", frame, picture, prompt);
}

static gboolean
has_flag (Rig *rig, guint frame, GstBufferFlags flag)
{
  return GST_BUFFER_FLAG_IS_SET (rig_frame (rig, frame), flag);
}

/* Chunk 0 is on its way, 1 and 2 wait, 3 was begun; then a prompt throws away what waits. */
static void
flush (Rig *rig)
{
  rig_wait_chunks (4);
  g_object_set (rig->src, "prompt", "two", NULL);
  rig_wait_chunks (5);
}

/* A video that begins again in the middle has the prompts of the time at which it shows. */
GST_START_TEST (test_restart_and_times)
{
  g_autofree char *path = NULL, *properties = NULL;
  Rig *rig;
  guint i;
  gint fd = g_file_open_tmp ("lightforce-XXXXXX", &path, NULL);

  fail_unless (fd >= 0 && g_close (fd, NULL));
  fail_unless (g_file_set_contents (path, "00:00 one\n00:01 two\n00:03 three\n", -1, NULL));
  properties = g_strdup_printf ("prompt-file=%s queue-chunks=1 num-buffers=70", path);
  rig = rig_new (properties, RGBX);
  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 21);
  rig_wait_chunks (3);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "one", 0), 0);
  g_signal_emit_by_name (rig->src, "restart");
  rig_finish (rig);
  rig_check_frames (rig, 0, 21, "one");
  for (i = 21; i < 70; i++) {
    check_picture (rig, i, i < 54 ? "two" : "three", i - 21);
    fail_unless (has_flag (rig, i, GST_BUFFER_FLAG_DISCONT) == (i == 21));
  }
  rig_free (rig);
  g_unlink (path);
}
GST_END_TEST;

/* Live: until the new prompt's chunk is there, the latest picture is shown again, for which nobody
 * is to blame. */
GST_START_TEST (test_flush_and_repeat)
{
  GstTestClock *clock = GST_TEST_CLOCK (gst_test_clock_new ());
  Rig *rig = rig_new ("prompt=one is-live=true flush-on-prompt=true", RGBX);
  guint i;

  gst_pipeline_use_clock (GST_PIPELINE (rig->pipeline), GST_CLOCK (clock));
  STANDIN_SET (hold_chunk, 3);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 1);
  flush (rig);
  for (i = 1; i < 24; i++) {
    gst_test_clock_wait_for_next_pending_id (clock, NULL);
    if (i == 12) {
      STANDIN_SET (hold_chunk, -1);
      while (rig_stat (rig, "queue-level") < 1)
        g_usleep (MS);
    }
    fail_unless (gst_test_clock_crank (clock));
    rig_wait_frames (rig, i + 1);
  }
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "one", 0), 0);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two", 1), 12);
  for (i = 0; i < 24; i++) {
    check_picture (rig, i, i < 12 ? "one" : "two", i < 12 ? MIN (i, 8) : i + 21);
    fail_unless (has_flag (rig, i, GST_BUFFER_FLAG_GAP) == (i >= 9 && i < 12));
    fail_unless (has_flag (rig, i, GST_BUFFER_FLAG_DISCONT) == (i == 0 || i == 12));
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, i)), i);
  }
  fail_unless_equals_uint64 (rig_stat (rig, "repeated"), 3);
  fail_unless_equals_uint64 (rig_stat (rig, "dropped"), 0);
  fail_unless_equals_uint64 (rig_stat (rig, "late-episodes"), 0);
  rig_free (rig);
  gst_object_unref (clock);
}
GST_END_TEST;

/* The chunk that is being made is thrown away in any case: where it is being decoded it cannot have the
 * new prompt any more, and the next one shows it. */
GST_START_TEST (test_flush_while_decoding)
{
  Rig *rig = rig_new ("prompt=one flush-on-prompt=true num-buffers=21", RGBX);
  guint i;

  STANDIN_SET (decoding, TRUE);
  STANDIN_SET (hold_chunk, 3);
  rig_set_state (rig, GST_STATE_PAUSED);
  rig_wait_chunks (4);
  g_object_set (rig->src, "prompt", "two", NULL);
  rig_wait_chunks (6);
  rig_set_state (rig, GST_STATE_PLAYING);
  STANDIN_SET (hold_chunk, -1);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "one", 0), 0);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two", 1), 9);
  rig_wait_end (rig);
  for (i = 0; i < 21; i++) {
    check_picture (rig, i, i < 9 ? "one" : "two", i < 9 ? i : i + 36);
    fail_unless (has_flag (rig, i, GST_BUFFER_FLAG_DISCONT) == (i == 0 || i == 9));
  }
  rig_free (rig);
}
GST_END_TEST;

/* Not live: the video goes on behind what was thrown away; made again after a seek, it is whole. */
GST_START_TEST (test_flush_and_seek)
{
  Rig *rig = rig_new ("prompt=one flush-on-prompt=true num-buffers=40", RGBX);
  guint i;

  STANDIN_SET (hold_chunk, 3);
  rig_set_state (rig, GST_STATE_PAUSED);
  flush (rig);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_finish (rig);
  fail_unless_equals_int (rig_count (rig), 40);
  for (i = 0; i < 40; i++) {
    check_picture (rig, i, i < 9 ? "one" : "two", i < 9 ? i : i + 24);
    fail_unless (has_flag (rig, i, GST_BUFFER_FLAG_DISCONT) == (i == 0 || i == 9));
  }
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (rig->pipeline, GST_FORMAT_TIME,
      GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE, 12 * GST_SECOND / 16));
  rig_wait_end (rig);
  fail_unless_equals_int (rig_count (rig), 28);
  for (i = 0; i < 28; i++) {
    check_picture (rig, i, "two", i + 12);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, i)), i + 12);
  }
  rig_free (rig);
}
GST_END_TEST;

/* A prompt that is set before there is a first chunk is what that is made with, and nothing else. */
GST_START_TEST (test_prompt_before_first_chunk)
{
  Rig *rig = rig_new ("prompt=one prompt-switch=blend num-buffers=21", RGBX);
  StandinLog log = {.opens = 0};

  STANDIN_SET (open_ms, 100);
  STANDIN_SET (stall_ms, 500);
  STANDIN_SET (stall_chunk, 0);
  STANDIN_SET (hold_chunk, 1);
  rig_set_state (rig, GST_STATE_PLAYING);
  while (log.opens == 0) {
    standin_log_clear (&log);
    g_usleep (MS);
    standin_get_log (&log);
  }
  g_object_set (rig->src, "prompt", "two", NULL);
  rig_wait_chunks (1);
  standin_log_clear (&log);
  standin_get_log (&log);
  fail_unless_equals_int (log.prompts, 1);
  fail_unless_equals_int (log.prompt_switch, LF_PROMPT_SWITCH_CUT);
  standin_log_clear (&log);
  rig_wait_chunks (2);
  standin_get_log (&log);
  fail_unless_equals_int (log.prompt_switch, LF_PROMPT_SWITCH_BLEND);
  standin_log_clear (&log);
  rig_finish (rig);
  rig_check_frames (rig, 0, 21, "two");
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "jumps");

  tcase_add_test (tc, test_restart_and_times);
  tcase_add_test (tc, test_flush_and_repeat);
  tcase_add_test (tc, test_flush_while_decoding);
  tcase_add_test (tc, test_flush_and_seek);
  tcase_add_test (tc, test_prompt_before_first_chunk);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "jumps", add);
}
