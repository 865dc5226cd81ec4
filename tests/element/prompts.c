/* lightforce: how prompts get in
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <gst/check/gsttestclock.h>
#include "tests/element/script.h"

#define RGBX "video/x-raw,format=RGBx"

static LfPromptSwitch
latest_switch (void)
{
  StandinLog log;
  LfPromptSwitch latest;

  standin_get_log (&log);
  latest = log.prompt_switch;
  standin_log_clear (&log);
  return latest;
}

/* -------------------------------------------------------------- property and event */

static const char *const modes[] = {"cut", "recache", "blend"};

/* The mode is the one that is set when the prompt is. */
GST_START_TEST (test_modes)
{
  Rig *rig = rig_new_held ("prompt=one queue-chunks=1 num-buffers=45", RGBX, 1);

  gst_util_set_object_arg (G_OBJECT (rig->src), "prompt-switch", modes[__i__]);
  g_object_set (rig->src, "prompt", "two", NULL);
  STANDIN_SET (hold_chunk, -1);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "one", 0), 0);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two", 1), 21);
  rig_wait_end (rig);
  fail_unless_equals_int ((gint) latest_switch (), __i__);
  rig_check_frames (rig, 0, 21, "one");
  rig_check_frames (rig, 21, 45, "two");
  rig_free (rig);
}
GST_END_TEST;

/* To the element or from downstream; its mode is for this prompt only. */
GST_START_TEST (test_event)
{
  g_autofree char *fields = g_strdup_printf (", prompt=two, mode=%s", modes[__i__ % 3]);
  g_autofree char *prompt = NULL;
  Rig *rig = rig_new_held ("prompt=one queue-chunks=1 num-buffers=69 prompt-switch=cut", RGBX, 1);
  gint notified = 0;

  rig_count_notify (rig, "prompt", &notified);
  fail_unless (gst_element_send_event (__i__ / 3 ? rig->sink : rig->src, script_event (fields)));
  g_object_get (rig->src, "prompt", &prompt, NULL);
  fail_unless_equals_string (prompt, "two");
  fail_unless_equals_int (notified, 1);
  STANDIN_SET (hold_chunk, 3);
  rig_wait_frames (rig, 33);
  rig_wait_chunks (4);
  fail_unless_equals_int ((gint) latest_switch (), __i__ % 3);
  g_object_set (rig->src, "prompt", "three", NULL);
  STANDIN_SET (hold_chunk, -1);
  rig_expect_prompt (rig, "one", 0);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two", 1), 21);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "three", 2), 45);
  rig_wait_end (rig);
  fail_unless_equals_int (latest_switch (), LF_PROMPT_SWITCH_CUT);
  rig_free (rig);
}
GST_END_TEST;

/* With a time it waits for the first chunk at or after it, and goes over what is set. */
GST_START_TEST (test_event_with_time)
{
  Rig *rig = rig_new_held ("prompt=one queue-chunks=1 num-buffers=81", RGBX, 1);

  fail_unless (gst_element_send_event (
      rig->src, script_event (", prompt=three, time=(guint64)2812500000, mode=recache")));
  fail_unless (gst_element_send_event (
      rig->src, script_event (", prompt=two, time=(guint64)1312500001, mode=blend")));
  STANDIN_SET (hold_chunk, 3);
  rig_wait_chunks (4);
  fail_unless_equals_int (latest_switch (), LF_PROMPT_SWITCH_BLEND);
  STANDIN_SET (hold_chunk, 4);
  rig_wait_chunks (5);
  fail_unless_equals_int (latest_switch (), LF_PROMPT_SWITCH_RECACHE);
  STANDIN_SET (hold_chunk, -1);
  rig_expect_prompt (rig, "one", 0);
  /* 1312500000 is the time of frame 21, 2812500000 of frame 45 */
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two", 1), 33);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "three", 2), 45);
  rig_wait_end (rig);
  rig_check_frames (rig, 0, 33, "one");
  rig_check_frames (rig, 33, 45, "two");
  rig_check_frames (rig, 45, 81, "three");
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_bad_event)
{
  static const struct
  {
    const char *fields, *text;
  } cases[] = {
      {"", "has no string field prompt"},
      {", prompt=(int)1", "has no string field prompt"},
      {", prompt=two, mode=fade", "is \"fade\": choose cut, recache or blend."},
      {", prompt=two, mode=(int)1", "is no string: choose cut, recache or blend."},
      {", prompt=two, time=(int)5", "is a guint64, the running time in nanoseconds"},
  };
  Rig *rig = rig_new_held ("prompt=one queue-chunks=1 num-buffers=33", RGBX, 1);
  g_autofree char *warning = NULL;

  fail_if (gst_element_send_event (rig->src, script_event (cases[__i__].fields)));
  warning = rig_next_warning (rig);
  fail_unless (strstr (warning, cases[__i__].text) != NULL, "%s", warning);
  rig_finish (rig);
  rig_check_frames (rig, 0, 33, "one");
  rig_free (rig);
}
GST_END_TEST;

/* -------------------------------------------------------------------------- script */

#define SCRIPT                                                                                     \
  "# frame 0, frame 21, behind frame 33\n"                                                         \
  "00:00:00 one\n\n"                                                                               \
  "00:00:01.312500 two\n"                                                                          \
  "00:02.063 three\n"

GST_START_TEST (test_script)
{
  Rig *rig;

  script_write (SCRIPT);
  rig = script_rig ("prompt=none num-buffers=81");
  rig_set_state (rig, GST_STATE_PLAYING);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "one", 0), 0);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two", 1), 21);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "three", 2), 45);
  rig_wait_end (rig);
  rig_check_frames (rig, 0, 21, "one");
  rig_check_frames (rig, 21, 45, "two");
  rig_check_frames (rig, 45, 81, "three");
  rig_free (rig);
}
GST_END_TEST;

/* Before its first line, the property holds; what is set later, until the next line. */
GST_START_TEST (test_script_and_property)
{
  Rig *rig;

  script_write ("00:01 two\n00:02.5 four\n");
  rig = script_rig ("prompt=one queue-chunks=1 num-buffers=69");
  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_chunks (3);
  g_object_set (rig->src, "prompt", "three", NULL);
  rig_finish (rig);
  rig_check_frames (rig, 0, 21, "one");
  rig_check_frames (rig, 21, 33, "two");
  rig_check_frames (rig, 33, 45, "three");
  rig_check_frames (rig, 45, 69, "four");
  rig_free (rig);
}
GST_END_TEST;

/* A seek makes the same pictures again, prompts included. */
GST_START_TEST (test_script_and_seek)
{
  Rig *rig;
  g_autofree char *before = NULL, *again = NULL;

  script_write (SCRIPT);
  rig = script_rig ("num-buffers=81 prompt-switch=blend");
  rig_run_to_eos (rig);
  before = rig_checksum (rig);
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  again = rig_checksum (rig);
  fail_unless_equals_string (before, again);
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (
      rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 30 * (GST_SECOND / 16)));
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 51);
  fail_unless_equals_int (
      (gint) rig_first_pixel (rig_frame (rig, 0)), (gint) standin_pixel (0, "two", 30, 0, 0));
  fail_unless_equals_int (
      (gint) rig_first_pixel (rig_frame (rig, 15)), (gint) standin_pixel (0, "three", 45, 0, 0));
  rig_free (rig);
}
GST_END_TEST;

/* Live frames begin when the model is loaded: what was for earlier is over. */
GST_START_TEST (test_script_live)
{
  GstTestClock *clock = GST_TEST_CLOCK (gst_test_clock_new ());
  GstMessage *message;
  Rig *rig;

  script_write ("00:00 one\n00:02 two\n00:30 three\n");
  rig = script_rig ("is-live=true");
  gst_pipeline_use_clock (GST_PIPELINE (rig->pipeline), GST_CLOCK (clock));
  STANDIN_SET (hold_load, TRUE);
  rig_set_state (rig, GST_STATE_PLAYING);
  gst_message_unref (rig_wait (rig, GST_MESSAGE_STREAM_START | GST_MESSAGE_PROGRESS));
  gst_test_clock_set_time (clock, 4 * GST_SECOND);
  STANDIN_SET (hold_load, FALSE);
  message = rig_wait_element (rig, "lightforce-prompt");
  fail_unless_equals_string (
      gst_structure_get_string (gst_message_get_structure (message), "prompt"), "two");
  gst_message_unref (message);
  rig_free (rig);
  gst_object_unref (clock);
}
GST_END_TEST;

/* Read again between two chunks. A bad one is reported once, and the old one stays. */
GST_START_TEST (test_reload)
{
  g_autofree char *warning = NULL;
  Rig *rig;

  script_write ("00:00 one\n");
  rig = script_rig ("queue-chunks=1 num-buffers=105");
  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_chunks (3);
  script_write ("00:00 one\n00:01 two\nthree\n");
  STANDIN_SET (hold_chunk, 5);
  rig_wait_chunks (6);
  warning = rig_next_warning (rig);
  fail_unless (
      strstr (warning, "script, line 3: it does not begin with a time") != NULL, "%s", warning);
  rig_expect_no_warning (rig);
  script_write ("00:00 one\n00:01 two\n00:05 three\n");
  rig_finish (rig);
  rig_expect_no_warning (rig);
  rig_check_frames (rig, 0, 69, "one");
  rig_check_frames (rig, 69, 81, "two");
  rig_check_frames (rig, 81, 105, "three");
  rig_free (rig);
}
GST_END_TEST;

/* A file that goes is reported once, too. */
GST_START_TEST (test_script_goes)
{
  g_autofree char *warning = NULL;
  Rig *rig;

  script_write ("00:00 one\n00:01 two\n");
  rig = script_rig ("queue-chunks=1 num-buffers=57");
  STANDIN_SET (hold_chunk, 1);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_chunks (2);
  fail_unless (g_unlink (script_path) == 0);
  STANDIN_SET (hold_chunk, -1);
  warning = rig_next_warning (rig);
  fail_unless (
      strstr (warning, "The prompts stay as they were: ") == warning
          && strstr (warning, "script: the file of prompts cannot be opened: No such file"),
      "%s", warning);
  rig_wait_end (rig);
  rig_expect_no_warning (rig);
  rig_check_frames (rig, 0, 21, "one");
  rig_check_frames (rig, 21, 57, "two");
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_bad_script)
{
  static const struct
  {
    const char *text, *message;
  } cases[] = {
      {"00:00 one\ntwo\n# x\n00:01 three\n00:01 four", "script, line 2: it does not begin with"},
      {"00:00 one\n00:00 two\n", "script, line 2: its time is not after"},
      {NULL, "script: the file of prompts cannot be opened: No such file"},
  };
  Rig *rig = script_rig ("");

  if (cases[__i__].text)
    script_write (cases[__i__].text);
  fail_unless_equals_int (
      gst_element_set_state (rig->pipeline, GST_STATE_PLAYING), GST_STATE_CHANGE_FAILURE);
  rig_expect_error (rig, rig_wait (rig, GST_MESSAGE_ERROR),
      cases[__i__].text ? GST_LIBRARY_ERROR : GST_RESOURCE_ERROR,
      cases[__i__].text ? (gint) GST_LIBRARY_ERROR_SETTINGS : (gint) GST_RESOURCE_ERROR_NOT_FOUND,
      cases[__i__].message);
  /* The next try is a new one. */
  rig_set_state (rig, GST_STATE_NULL);
  script_write ("00:00 good\n");
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 9);
  rig_check_frames (rig, 0, 9, "good");
  rig_free (rig);
}
GST_END_TEST;

/* --------------------------------------------------------------------------- flush */

/* Live on a clock that stands: the chunk of frames 0 to 8 is on its way, those that begin with 9 and
 * 21 wait, the one that begins with 33 is being made. */
static const struct
{
  gboolean flush;
  const char *time;        /* of the prompt; NULL: it is set */
  guint64 at, lost, chunk; /* where it shows, behind as many pictures that are lost */
} flushes[] = {
    {FALSE, NULL, 45, 0, 4},
    {FALSE, "250000000", 45, 0, 4},
    {TRUE, NULL, 9, 24, 3},
    {TRUE, "0", 9, 24, 3}, /* late */
    /* early, but not early enough for what is made already: the times of frames 4 and 9 */
    {TRUE, "250000000", 9, 24, 3},
    {TRUE, "562500000", 9, 24, 3},
    /* chunks that begin before it stay */
    {TRUE, "562500001", 21, 12, 3},
    {TRUE, "1312500000", 21, 12, 3},
    {TRUE, "1312500001", 33, 0, 3},
    {TRUE, "2062500000", 33, 0, 3},
    /* early enough */
    {TRUE, "2062500001", 45, 0, 4},
};

GST_START_TEST (test_flush_latency)
{
  guint64 at = flushes[__i__].at, lost = flushes[__i__].lost;
  gboolean again = flushes[__i__].chunk == 3;
  GstTestClock *clock = GST_TEST_CLOCK (gst_test_clock_new ());
  Rig *rig = rig_new (flushes[__i__].flush
                          ? "prompt=one is-live=true late-policy=resync flush-on-prompt=true"
                          : "prompt=one is-live=true late-policy=resync",
      RGBX);
  g_autofree char *fields = g_strdup_printf (", prompt=two, time=(guint64)%s", flushes[__i__].time);
  StandinLog log;
  guint i;

  gst_pipeline_use_clock (GST_PIPELINE (rig->pipeline), GST_CLOCK (clock));
  STANDIN_SET (hold_chunk, 3);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_chunks (4);
  rig_wait_frames (rig, 1);
  if (flushes[__i__].time)
    fail_unless (gst_element_send_event (rig->src, script_event (fields)));
  else
    g_object_set (rig->src, "prompt", "two", NULL);
  if (again)
    rig_wait_chunks (5);
  STANDIN_SET (hold_chunk, -1);
  for (i = 1; i < at + 12; i++) {
    gst_test_clock_wait_for_next_pending_id (clock, NULL);
    fail_unless (gst_test_clock_crank (clock));
    rig_wait_frames (rig, i + 1);
  }
  rig_expect_prompt (rig, "one", 0);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two", 1), at);
  rig_check_sequence (rig);
  rig_check_frames (rig, 0, (guint) at, "one");
  for (i = (guint) at; i < at + 12; i++) {
    fail_unless_equals_int ((gint) rig_first_pixel (rig_frame (rig, i)),
        (gint) standin_pixel (0, "two", i + lost, 0, 0));
    fail_unless_equals_uint64 (rig_meta_value (rig_frame (rig, i), "chunk"), flushes[__i__].chunk);
    fail_unless_equals_uint64 (rig_meta_value (rig_frame (rig, i), "frame-in-chunk"), i - at);
    fail_unless (GST_BUFFER_FLAG_IS_SET (rig_frame (rig, i), GST_BUFFER_FLAG_DISCONT)
                 == (lost > 0 && i == at));
  }
  standin_get_log (&log);
  fail_unless_equals_int (log.cancels, again);
  standin_log_clear (&log);
  rig_free (rig);
  gst_object_unref (clock);
}
GST_END_TEST;

/* Before the first frame the schedule has not begun: it does at the present time at least. */
GST_START_TEST (test_flush_before_begin)
{
  GstTestClock *clock = GST_TEST_CLOCK (gst_test_clock_new_with_start_time (0));
  Rig *rig = rig_new ("prompt=one is-live=true prebuffer=2 flush-on-prompt=true", RGBX);
  guint i;

  gst_pipeline_use_clock (GST_PIPELINE (rig->pipeline), GST_CLOCK (clock));
  STANDIN_SET (hold_chunk, 1);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_chunks (2);
  gst_test_clock_set_time (clock, 4 * GST_SECOND);
  /* for the second chunk, which would show at 4.5625 s */
  fail_unless (
      gst_element_send_event (rig->src, script_event (", prompt=two, time=(guint64)4500000000")));
  rig_wait_chunks (3);
  STANDIN_SET (hold_chunk, -1);
  rig_wait_frames (rig, 1);
  for (i = 1; i < 10; i++) {
    gst_test_clock_wait_for_next_pending_id (clock, NULL);
    fail_unless (gst_test_clock_crank (clock));
    rig_wait_frames (rig, i + 1);
  }
  fail_unless_equals_uint64 (
      GST_BUFFER_PTS (rig_frame (rig, 9)), 4 * GST_SECOND + 9 * (GST_SECOND / 16));
  rig_check_frames (rig, 0, 9, "one");
  rig_check_frames (rig, 9, 10, "two");
  rig_free (rig);
  gst_object_unref (clock);
}
GST_END_TEST;

/* What is set is what is there already: nothing is thrown away. */
GST_START_TEST (test_flush_same_prompt)
{
  Rig *rig = rig_new_held ("prompt=one flush-on-prompt=true num-buffers=57", RGBX, 1);
  StandinLog log;

  g_object_set (rig->src, "prompt", "one", NULL);
  rig_finish (rig);
  standin_get_log (&log);
  fail_unless_equals_int (log.cancels, 0);
  standin_log_clear (&log);
  rig_check_sequence (rig);
  rig_check_frames (rig, 0, 57, "one");
  rig_free (rig);
}
GST_END_TEST;

/* Prompts that come faster than chunks do not keep the video from going on. */
GST_START_TEST (test_flush_often)
{
  Rig *rig = rig_new ("num-buffers=300 flush-on-prompt=true", RGBX);

  STANDIN_SET (chunk_ms, 3);
  rig_begin_prompts (rig);
  rig_run_to_eos (rig);
  rig_end_prompts (rig);
  fail_unless_equals_int (rig_count (rig), 300);
  rig_check_sequence (rig);
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "prompts");

  tcase_add_checked_fixture (tc, script_setup, script_teardown);
  tcase_add_loop_test (tc, test_modes, 0, 3);
  tcase_add_loop_test (tc, test_event, 0, 6);
  tcase_add_test (tc, test_event_with_time);
  tcase_add_loop_test (tc, test_bad_event, 0, 5);
  tcase_add_test (tc, test_script);
  tcase_add_test (tc, test_script_and_property);
  tcase_add_test (tc, test_script_and_seek);
  tcase_add_test (tc, test_script_live);
  tcase_add_test (tc, test_reload);
  tcase_add_test (tc, test_script_goes);
  tcase_add_loop_test (tc, test_bad_script, 0, 3);
  tcase_add_loop_test (tc, test_flush_latency, 0, G_N_ELEMENTS (flushes));
  tcase_add_test (tc, test_flush_before_begin);
  tcase_add_test (tc, test_flush_same_prompt);
  tcase_add_test (tc, test_flush_often);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "prompts", add);
}
