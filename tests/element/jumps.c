/* lightforce: restarts, flushes and seeks, and what was changed before them
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/check/gsttestclock.h>
#include <gst/controller/gstdirectcontrolbinding.h>
#include <gst/controller/gstinterpolationcontrolsource.h>
#include "tests/element/script.h"

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
  Rig *rig;
  guint i;

  script_write ("00:00 one\n00:01 two\n00:03 three\n");
  rig = script_rig ("queue-chunks=1 num-buffers=70");
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

/* --------------------------------------------------- seeks where something was changed */

static void
set_nothing (Rig *rig)
{
}

static void
set_nothing_new (Rig *rig)
{
  g_object_set (rig->src, "prompt", "one", "sparsity", -1.0, "late-policy", 1, "seed",
      G_GUINT64_CONSTANT (7), NULL);
}

static void
set_prompt (Rig *rig)
{
  g_object_set (rig->src, "prompt", "two", NULL);
}

/* There and back. */
static void
set_prompts (Rig *rig)
{
  set_prompt (rig);
  g_object_set (rig->src, "prompt", "one", NULL);
}

static void
set_sparsity (Rig *rig)
{
  g_object_set (rig->src, "sparsity", 0.25, NULL);
}

static void
set_keep_near (Rig *rig)
{
  g_object_set (rig->src, "keep-near", 3, NULL);
}

static void
set_attention (Rig *rig)
{
  gst_util_set_object_arg (G_OBJECT (rig->src), "attention", "sparse");
}

static void
set_prompt_switch (Rig *rig)
{
  gst_util_set_object_arg (G_OBJECT (rig->src), "prompt-switch", "blend");
}

static void
send_prompt (Rig *rig, const char *text, GstClockTime time)
{
  GstStructure *s = gst_structure_new (
      "lightforce-prompt", "prompt", G_TYPE_STRING, text, "time", G_TYPE_UINT64, time, NULL);

  fail_unless (
      gst_element_send_event (rig->src, gst_event_new_custom (GST_EVENT_CUSTOM_UPSTREAM, s)));
}

static void
send_early (Rig *rig)
{
  send_prompt (rig, "later", 3 * GST_SECOND);
}

/* Chunk 3, which is begun, starts at 33/16 s. */
static void
send_late (Rig *rig)
{
  send_prompt (rig, "two", 2 * GST_SECOND);
}

/* Attached before it starts, as is usual. */
static void
control_sparsity (Rig *rig)
{
  GstControlSource *source = gst_interpolation_control_source_new ();

  g_object_set (source, "mode", GST_INTERPOLATION_MODE_LINEAR, NULL);
  gst_timed_value_control_source_set (GST_TIMED_VALUE_CONTROL_SOURCE (source), 0, 0.0);
  gst_timed_value_control_source_set (GST_TIMED_VALUE_CONTROL_SOURCE (source), 9 * GST_SECOND, 0.9);
  gst_object_add_control_binding (GST_OBJECT (rig->src),
      gst_direct_control_binding_new_absolute (GST_OBJECT (rig->src), "sparsity", source));
  gst_object_unref (source);
}

static guint
restarts (void)
{
  StandinLog log;
  guint count;

  standin_get_log (&log);
  count = log.restarts;
  standin_log_clear (&log);
  return count;
}

static void
seek_to_frame (Rig *rig, guint frame)
{
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (rig->pipeline, GST_FORMAT_TIME,
      GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE, frame * (GST_SECOND / 16)));
}

/* Seeks to the same frame, forward and backward, show the same pictures: those of a video with what
 * was set last. Prompts and values that come at their times are the same video, which goes on. Frames
 * 0 to 8 are on their way here, two more chunks wait and the next one was begun. */
GST_START_TEST (test_changes_and_seeks)
{
  static const struct
  {
    const char *properties;
    void (*before) (Rig *rig), (*change) (Rig *rig);
    guint chunks; /* that are begun, with those behind the change */
    gboolean again;
    const char *prompt, *late_prompt; /* from 3 s on */
  } cases[] = {
      {"", NULL, set_nothing_new, 4, FALSE, "one", "one"},
      {"flush-on-prompt=true", NULL, set_prompt, 5, TRUE, "two", "two"},
      {"", NULL, set_prompt, 4, TRUE, "two", "two"},
      {"", NULL, set_prompts, 4, TRUE, "one", "one"},
      {"", NULL, set_sparsity, 4, TRUE, "one", "one"},
      {"", NULL, set_keep_near, 4, TRUE, "one", "one"},
      {"", NULL, set_attention, 4, TRUE, "one", "one"},
      {"", NULL, set_prompt_switch, 4, TRUE, "one", "one"},
      {"", NULL, send_early, 4, FALSE, "one", "later"},
      {"", send_early, set_nothing, 4, FALSE, "one", "later"},
      {"", NULL, send_late, 4, TRUE, NULL, "two"},
      {"flush-on-prompt=true", NULL, send_late, 5, TRUE, NULL, "two"},
      {"flush-on-prompt=true", NULL, send_early, 4, FALSE, "one", "later"},
      {"attention=sparse", control_sparsity, set_nothing, 4, FALSE, "one", "one"},
  };
  g_autofree char *line = g_strdup_printf ("prompt=one num-buffers=66 %s", cases[__i__].properties);
  Rig *rig = rig_new (line, RGBX);
  guint32 forward[54];
  guint i, again = cases[__i__].again;

  if (cases[__i__].before)
    cases[__i__].before (rig);
  STANDIN_SET (hold_chunk, 3);
  rig_set_state (rig, GST_STATE_PAUSED);
  rig_wait_chunks (4);
  cases[__i__].change (rig);
  rig_wait_chunks (cases[__i__].chunks);
  seek_to_frame (rig, 12);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_finish (rig);
  fail_unless_equals_int (rig_count (rig), 54);
  fail_unless_equals_int (restarts (), again);
  for (i = 0; i < 54; i++)
    forward[i] = rig_first_pixel (rig_frame (rig, i));
  for (i = 0; i < 54 && cases[__i__].prompt; i++)
    check_picture (rig, i, i + 12 < 57 ? cases[__i__].prompt : cases[__i__].late_prompt, i + 12);
  STANDIN_SET (hold_chunk, 4);
  seek_to_frame (rig, 12);
  rig_wait_frames (rig, 33);
  fail_unless_equals_int (restarts (), again + 1);
  for (i = 0; i < 33; i++)
    fail_unless_equals_int ((gint) rig_first_pixel (rig_frame (rig, i)), (gint) forward[i]);
  /* nothing was changed since */
  seek_to_frame (rig, 50);
  rig_finish (rig);
  fail_unless_equals_int (rig_count (rig), 16);
  fail_unless_equals_int (restarts (), again + 1);
  for (i = 0; i < 16; i++)
    fail_unless_equals_int ((gint) rig_first_pixel (rig_frame (rig, i)), (gint) forward[38 + i]);
  rig_free (rig);
}
GST_END_TEST;

/* A prompt whose time is behind the segment at hand waits for it. */
GST_START_TEST (test_prompt_behind_segment)
{
  Rig *rig = rig_new ("prompt=one num-buffers=66", RGBX);
  const gint64 start = 2 * GST_SECOND, stop = start + GST_SECOND / 2;
  guint i;

  STANDIN_SET (hold_chunk, 1);
  rig_reach_state (rig, GST_STATE_PAUSED);
  fail_unless (gst_element_seek (rig->pipeline, 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH,
      GST_SEEK_TYPE_SET, start, GST_SEEK_TYPE_SET, stop));
  send_prompt (rig, "later", GST_SECOND);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_finish (rig);
  fail_unless_equals_int (rig_count (rig), 8);
  for (i = 0; i < 8; i++)
    check_picture (rig, i, "one", 32 + i);
  seek_to_frame (rig, 40);
  rig_wait_end (rig);
  fail_unless_equals_int (rig_count (rig), 26);
  for (i = 0; i < 26; i++)
    check_picture (rig, i, i + 40 < 57 ? "one" : "later", 40 + i);
  fail_unless_equals_int (restarts (), 0);
  rig_free (rig);
}
GST_END_TEST;

/* What the pictures were made with is told as before. */
GST_START_TEST (test_sparsity_and_seek)
{
  Rig *rig = rig_new ("attention=sparse sparsity=0.5 num-buffers=40", RGBX);
  guint i;

  STANDIN_SET (hold_chunk, 3);
  rig_set_state (rig, GST_STATE_PAUSED);
  rig_wait_chunks (4);
  set_sparsity (rig);
  seek_to_frame (rig, 12);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_finish (rig);
  for (i = 0; i < rig_count (rig); i++) {
    GstCustomMeta *meta = gst_buffer_get_custom_meta (rig_frame (rig, i), "LightforceMeta");
    double sparsity;

    fail_unless (
        gst_structure_get_double (gst_custom_meta_get_structure (meta), "sparsity", &sparsity));
    fail_unless_equals_float (sparsity, 0.25);
  }
  rig_free (rig);
}
GST_END_TEST;

/* A file of prompts that is another one from now on, or a framerate by which times come at other
 * frames: the next seek makes the video anew. */
GST_START_TEST (test_times_and_seek)
{
  g_autofree char *properties = g_strdup_printf ("prompt-file=%s num-buffers=70", script_path);
  Rig *rig;
  guint i;

  script_write ("00:00 one\n00:01 two\n");
  rig = rig_new_held (properties, RGBX, 3);
  if (__i__ == 1)
    script_write ("00:00 three\n");
  else if (__i__ == 2)
    g_object_set (rig->src, "framerate", 32, 1, NULL);
  STANDIN_SET (hold_chunk, 4);
  rig_wait_frames (rig, 45);
  rig_wait_chunks (5);
  fail_unless_equals_int (restarts (), 0);
  rig_forget_frames (rig);
  fail_unless (gst_element_seek_simple (rig->pipeline, GST_FORMAT_TIME,
      GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE, 60 * (GST_SECOND / (__i__ == 2 ? 32 : 16))));
  rig_finish (rig);
  fail_unless_equals_int (rig_count (rig), 10);
  fail_unless_equals_int (restarts (), __i__ != 0);
  for (i = 0; i < 10; i++)
    check_picture (rig, i, __i__ == 1 ? "three" : "two", 60 + i);
  rig_free (rig);
}
GST_END_TEST;

/* A prompt that is set before there is a first chunk is what that is made with, and nothing else. */
GST_START_TEST (test_prompt_before_first_chunk)
{
  Rig *rig = rig_new ("prompt=one prompt-switch=blend num-buffers=21", RGBX);
  StandinLog log = {.opens = 0};

  STANDIN_SET (hold_chunk, 0); /* and the opening of the stream */
  rig_set_state (rig, GST_STATE_PLAYING);
  while (log.opens == 0) {
    standin_log_clear (&log);
    g_usleep (MS);
    standin_get_log (&log);
  }
  set_prompt (rig);
  STANDIN_SET (hold_chunk, 1);
  rig_wait_chunks (2);
  standin_log_clear (&log);
  standin_get_log (&log);
  fail_unless_equals_int (log.prompts, 1);
  fail_unless_equals_int (log.entered, LF_PROMPT_SWITCH_CUT);
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

  tcase_add_checked_fixture (tc, script_setup, script_teardown);
  tcase_add_test (tc, test_restart_and_times);
  tcase_add_test (tc, test_flush_and_repeat);
  tcase_add_test (tc, test_flush_while_decoding);
  tcase_add_test (tc, test_flush_and_seek);
  tcase_add_loop_test (tc, test_changes_and_seeks, 0, 14);
  tcase_add_test (tc, test_prompt_behind_segment);
  tcase_add_test (tc, test_sparsity_and_seek);
  tcase_add_loop_test (tc, test_times_and_seek, 0, 3);
  tcase_add_test (tc, test_prompt_before_first_chunk);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "jumps", add);
}
