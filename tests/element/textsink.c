/* lightforce: prompts from a stream of text
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gio/gio.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include "tests/element/rig.h"

#define RGBX "video/x-raw,format=RGBx"

static GstPadProbeReturn
see_end (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_EOS)
    STANDIN_SET (hold_load, FALSE);
  return GST_PAD_PROBE_OK;
}

/* A subtitle file; the model is not loaded before all of it is read. The video ends when it
 * does, long before the last subtitle. */
GST_START_TEST (test_subtitles)
{
  Rig *rig;
  GstElement *text;
  g_autoptr (GstPad) pad = NULL;
  g_autofree char *tail = NULL, *path = NULL;
  gint file = g_file_open_tmp ("lightforce-XXXXXX.srt", &path, NULL);

  fail_unless (file >= 0);
  close (file);
  fail_unless (g_file_set_contents (path,
      "1\n00:00:00,000 --> 00:00:00,500\n<i>one</i>\n\n"
      "2\n00:00:01,000 --> 00:00:01,100\ntwo\nlines\n\n"
      "3\n00:00:02,500 --> 00:00:02,600\nthree\n\n"
      "4\n01:00:00,000 --> 01:00:01,000\nfour\n\n",
      -1, NULL));
  tail = g_strdup_printf ("fakesink name=sink sync=false  filesrc location=%s ! subparse ! "
                          "lightforcepromptsink name=text",
      path);
  STANDIN_SET (hold_load, TRUE);
  rig = rig_new_full ("prompt=zero num-buffers=69", RGBX, tail);
  text = gst_bin_get_by_name (GST_BIN (rig->pipeline), "text");
  pad = gst_element_get_static_pad (text, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, see_end, NULL, NULL);
  rig_set_state (rig, GST_STATE_PLAYING);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "one", 0), 0);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two lines", 1), 21);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "three", 2), 45);
  rig_wait_end (rig);
  rig_check_frames (rig, 21, 45, "two lines");
  gst_object_unref (text);
  rig_free (rig);
  g_unlink (path);
}
GST_END_TEST;

static void
push_text (GstPad *pad, const void *text, gsize size, GstClockTime time)
{
  GstBuffer *buffer = size ? gst_buffer_new_memdup (text, size) : gst_buffer_new ();

  GST_BUFFER_PTS (buffer) = time;
  fail_unless_equals_int (gst_pad_chain (pad, buffer), GST_FLOW_OK);
}

static void
begin_text (GstPad *pad, const char *format, GstFormat segment_format)
{
  GstSegment segment;
  g_autofree char *caps_text = g_strdup_printf ("text/x-raw,format=%s", format);
  g_autoptr (GstCaps) caps = gst_caps_from_string (caps_text);

  gst_segment_init (&segment, segment_format);
  fail_unless (gst_pad_send_event (pad, gst_event_new_stream_start ("text")));
  fail_unless (gst_pad_send_event (pad, gst_event_new_caps (caps)));
  fail_unless (gst_pad_send_event (pad, gst_event_new_segment (&segment)));
}

/* Text as it comes from elsewhere: with markup, without time, empty, or no text at all. */
GST_START_TEST (test_texts)
{
  static const struct
  {
    const char *format, *text, *prompt;
    GstFormat segment;
    gboolean bad;
  } cases[] = {
      {"utf8", " two <b>\n", "two <b>", GST_FORMAT_BYTES, FALSE},
      {"utf8", "two\r\n <b>", "two   <b>", GST_FORMAT_TIME, FALSE},
      {"pango-markup", "t<b>w<i>o</i></b> &lt;", "two <", GST_FORMAT_TIME, FALSE},
      {"pango-markup", "t<b>w<i>o</i></b> &lt;\n", "two <", GST_FORMAT_BYTES, FALSE},
      {"pango-markup", "two </b>", "two </b>", GST_FORMAT_TIME, FALSE},
      {"utf8", "  \r\n", NULL, GST_FORMAT_BYTES, FALSE},
      {"utf8", "", NULL, GST_FORMAT_BYTES, FALSE},
      {"utf8", "", NULL, GST_FORMAT_TIME, FALSE},
      {"utf8", "\xff\xfe", NULL, GST_FORMAT_TIME, TRUE},
      {"utf8", "\xff\xfe\n", NULL, GST_FORMAT_BYTES, TRUE},
  };
  Rig *rig = rig_new_full ("prompt=one queue-chunks=1 num-buffers=45", RGBX,
      "fakesink name=sink sync=false  lightforcepromptsink name=text source=src");
  GstElement *text = gst_bin_get_by_name (GST_BIN (rig->pipeline), "text");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (text, "sink");
  const char *input = cases[__i__].text;
  gint i;

  STANDIN_SET (hold_chunk, 1);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 9);
  rig_wait_chunks (2);
  begin_text (pad, cases[__i__].format, cases[__i__].segment);
  for (i = 0; i < 2; i++) /* the same again changes nothing, and warns no more */
    push_text (pad, input, strlen (input), GST_CLOCK_TIME_NONE);
  if (cases[__i__].bad) {
    g_autofree char *warning = rig_next_warning (rig);

    fail_unless (strstr (warning, "prompts are UTF-8") != NULL, "%s", warning);
  }
  rig_finish (rig);
  rig_expect_no_warning (rig);
  rig_check_frames (rig, 0, 21, "one");
  rig_check_frames (rig, 21, 45, cases[__i__].prompt ? cases[__i__].prompt : "one");
  gst_object_unref (text);
  rig_free (rig);
}
GST_END_TEST;

/* ------------------------------------------------------------------ streams of bytes */

/* A source that makes no end, and in order all prompts that it is given without a time. */
typedef struct
{
  Rig *rig;
  GstElement *text;
  GstPad *pad;
  GAsyncQueue *prompts;
  gint bytes; /* that came to the pad */
} Lines;

static void
keep_prompt (GObject *src, GParamSpec *pspec, gpointer user_data)
{
  char *prompt;

  g_object_get (src, "prompt", &prompt, NULL);
  g_async_queue_push (user_data, prompt);
}

static GstPadProbeReturn
count_bytes (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  g_atomic_int_add (
      (gint *) user_data, (gint) gst_buffer_get_size (GST_PAD_PROBE_INFO_BUFFER (info)));
  return GST_PAD_PROBE_OK;
}

static void
lines_begin (Lines *lines, const char *before)
{
  g_autofree char *tail =
      g_strdup_printf ("fakesink name=sink sync=false  %s lightforcepromptsink name=text", before);

  lines->bytes = 0;
  lines->prompts = g_async_queue_new_full (g_free);
  lines->rig = rig_new_full ("prompt=zero", RGBX, tail);
  lines->text = gst_bin_get_by_name (GST_BIN (lines->rig->pipeline), "text");
  lines->pad = gst_element_get_static_pad (lines->text, "sink");
  gst_pad_add_probe (lines->pad, GST_PAD_PROBE_TYPE_BUFFER, count_bytes, &lines->bytes, NULL);
  g_signal_connect (lines->rig->src, "notify::prompt", G_CALLBACK (keep_prompt), lines->prompts);
  STANDIN_SET (hold_chunk, 1);
  rig_set_state (lines->rig, GST_STATE_PLAYING);
  rig_wait_frames (lines->rig, 9);
}

static void
lines_expect (Lines *lines, const char *prompt)
{
  g_autofree char *got = g_async_queue_timeout_pop (lines->prompts, (guint64) LONG);

  fail_unless_equals_string (got, prompt);
}

static void
lines_end (Lines *lines)
{
  rig_expect_no_warning (lines->rig);
  fail_unless (g_async_queue_try_pop (lines->prompts) == NULL);
  gst_object_unref (lines->pad);
  gst_object_unref (lines->text);
  rig_free (lines->rig);
  g_async_queue_unref (lines->prompts);
}

static GSocketConnection *
connect_to (Rig *rig)
{
  g_autoptr (GSocketClient) client = g_socket_client_new ();
  GstElement *tcp = gst_bin_get_by_name (GST_BIN (rig->pipeline), "tcp");
  GSocketConnection *connection;
  gint64 end = g_get_monotonic_time () + LONG;
  gint port = 0;

  while (port == 0 && g_get_monotonic_time () < end) {
    g_object_get (tcp, "current-port", &port, NULL);
    g_usleep (MS);
  }
  fail_unless (port > 0);
  g_socket_client_set_enable_proxy (client, FALSE);
  connection = g_socket_client_connect_to_host (client, "127.0.0.1", (guint16) port, NULL, NULL);
  fail_unless (connection != NULL);
  gst_object_unref (tcp);
  return connection;
}

/* Waits until the sink has seen it, so that what is sent next comes in a buffer of its own. */
static void
send_bytes (Lines *lines, GSocketConnection *connection, const char *bytes)
{
  GOutputStream *stream = g_io_stream_get_output_stream (G_IO_STREAM (connection));
  gint all = g_atomic_int_get (&lines->bytes) + (gint) strlen (bytes);
  gint64 end = g_get_monotonic_time () + LONG;

  fail_unless (g_output_stream_write_all (stream, bytes, strlen (bytes), NULL, NULL, NULL));
  while (g_atomic_int_get (&lines->bytes) < all && g_get_monotonic_time () < end)
    g_usleep (MS);
  fail_unless_equals_int (g_atomic_int_get (&lines->bytes), all);
}

/* A connection: two lines at once, one in pieces, the last one not ended. */
GST_START_TEST (test_tcp)
{
  Lines lines;
  g_autoptr (GSocketConnection) connection = NULL;

  lines_begin (&lines, "tcpserversrc name=tcp host=127.0.0.1 port=0 ! text/x-raw,format=utf8 !");
  connection = connect_to (lines.rig);
  send_bytes (&lines, connection, "one\ntwo\r\n");
  lines_expect (&lines, "one");
  lines_expect (&lines, "two");
  send_bytes (&lines, connection, "a caf\xc3");
  send_bytes (&lines, connection, "\xa9 at night\n\nthe");
  lines_expect (&lines, "a café at night");
  send_bytes (&lines, connection, " end");
  fail_unless (g_async_queue_try_pop (lines.prompts) == NULL);
  g_io_stream_close (G_IO_STREAM (connection), NULL, NULL);
  lines_expect (&lines, "the end");
  lines_end (&lines);
}
GST_END_TEST;

/* What is too long is left out, and what comes behind it is not. */
GST_START_TEST (test_long_lines)
{
  g_autofree char *longest = g_strnfill (65536, 'x');
  g_autofree char *warning = NULL;
  Lines lines;
  gint i;

  lines_begin (&lines, "");
  begin_text (lines.pad, "utf8", GST_FORMAT_BYTES);
  for (i = 0; i < 2; i++)
    push_text (lines.pad, longest, 32768, GST_CLOCK_TIME_NONE);
  push_text (lines.pad, "\ntwo\n", 5, GST_CLOCK_TIME_NONE);
  lines_expect (&lines, longest);
  lines_expect (&lines, "two");
  rig_expect_no_warning (lines.rig);
  for (i = 0; i < 100; i++) {
    push_text (lines.pad, longest, 65536, GST_CLOCK_TIME_NONE);
    if (i == 1) /* it has not ended */
      warning = rig_next_warning (lines.rig);
  }
  fail_unless (strstr (warning, "more than 65536 bytes") != NULL, "%s", warning);
  push_text (lines.pad, "\nthree\n", 7, GST_CLOCK_TIME_NONE);
  lines_expect (&lines, "three");
  lines_end (&lines);
}
GST_END_TEST;

/* What begins anew has nothing of the line before. */
GST_START_TEST (test_line_ends)
{
  Lines lines;

  lines_begin (&lines, "");
  begin_text (lines.pad, "utf8", GST_FORMAT_BYTES);
  push_text (lines.pad, "one", 3, GST_CLOCK_TIME_NONE);
  begin_text (lines.pad, "utf8", GST_FORMAT_BYTES); /* another stream */
  lines_expect (&lines, "one");
  push_text (lines.pad, "lost", 4, GST_CLOCK_TIME_NONE);
  fail_unless (gst_pad_send_event (lines.pad, gst_event_new_flush_start ()));
  fail_unless (gst_pad_send_event (lines.pad, gst_event_new_flush_stop (TRUE)));
  begin_text (lines.pad, "utf8", GST_FORMAT_BYTES);
  push_text (lines.pad, "two\n", 4, GST_CLOCK_TIME_NONE);
  lines_expect (&lines, "two");
  push_text (lines.pad, "lost, too", 9, GST_CLOCK_TIME_NONE);
  fail_unless (gst_element_set_state (lines.text, GST_STATE_READY) == GST_STATE_CHANGE_SUCCESS);
  fail_unless (gst_element_set_state (lines.text, GST_STATE_PLAYING) == GST_STATE_CHANGE_SUCCESS);
  begin_text (lines.pad, "utf8", GST_FORMAT_BYTES);
  push_text (lines.pad, "three\n", 6, GST_CLOCK_TIME_NONE);
  lines_expect (&lines, "three");
  lines_end (&lines);
}
GST_END_TEST;

static GstBuffer *
new_cue (const char *text, GstClockTime time)
{
  GstBuffer *buffer = gst_buffer_new_memdup (text, strlen (text));

  GST_BUFFER_PTS (buffer) = time;
  GST_BUFFER_DURATION (buffer) = GST_SECOND / 2;
  return buffer;
}

/* Texts with times and lines of their own, one by one and in a list. */
GST_START_TEST (test_cues)
{
  static const char tail[] = "fakesink name=sink sync=false  appsrc name=app format=time "
                             "caps=text/x-raw,format=utf8 ! lightforcepromptsink name=text";
  Rig *rig = rig_new_full ("prompt=zero num-buffers=69", RGBX, tail);
  GstElement *text = gst_bin_get_by_name (GST_BIN (rig->pipeline), "text");
  GstElement *app = gst_bin_get_by_name (GST_BIN (rig->pipeline), "app");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (text, "sink");
  g_autoptr (GstBufferList) list = gst_buffer_list_new ();
  g_autoptr (GstBuffer) single = new_cue ("one", 0);
  GstFlowReturn ret;

  gst_buffer_list_add (list, new_cue ("two\nlines", GST_SECOND));
  gst_buffer_list_add (list, new_cue ("three\r\n", 5 * GST_SECOND / 2));
  STANDIN_SET (hold_load, TRUE);
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, see_end, NULL, NULL);
  rig_set_state (rig, GST_STATE_PLAYING);
  g_signal_emit_by_name (app, "push-buffer", single, &ret);
  fail_unless_equals_int (ret, GST_FLOW_OK);
  g_signal_emit_by_name (app, "push-buffer-list", list, &ret);
  fail_unless_equals_int (ret, GST_FLOW_OK);
  g_signal_emit_by_name (app, "end-of-stream", &ret);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "one", 0), 0);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "two lines", 1), 21);
  fail_unless_equals_uint64 (rig_expect_prompt (rig, "three", 2), 45);
  rig_wait_end (rig);
  rig_expect_no_warning (rig);
  gst_object_unref (app);
  gst_object_unref (text);
  rig_free (rig);
}
GST_END_TEST;

/* Lists of a stream's pieces; a text with a duration is whole in any stream. */
GST_START_TEST (test_lists)
{
  GstBufferList *list = gst_buffer_list_new ();
  Lines lines;

  lines_begin (&lines, "");
  begin_text (lines.pad, "utf8", GST_FORMAT_BYTES);
  gst_buffer_list_add (list, gst_buffer_new_memdup ("on", 2));
  gst_buffer_list_add (list, gst_buffer_new_memdup ("e\ntw", 4));
  gst_buffer_list_add (list, gst_buffer_new_memdup ("o\n", 2));
  gst_buffer_list_add (list, new_cue ("three\nand four", 0));
  fail_unless_equals_int (gst_pad_chain_list (lines.pad, list), GST_FLOW_OK);
  lines_expect (&lines, "one");
  lines_expect (&lines, "two");
  lines_expect (&lines, "three and four");
  lines_end (&lines);
}
GST_END_TEST;

/* ------------------------------------------------------------------------ its source */

GST_START_TEST (test_which_source)
{
  static const struct
  {
    const char *line, *text; /* NULL: it is found */
  } cases[] = {
      {"lightforcesrc name=a ! fakesink  bin.( lightforcepromptsink )", NULL},
      {"bin.( lightforcesrc name=a ! fakesink )  lightforcepromptsink", NULL},
      {"lightforcesrc name=a ! fakesink  lightforcesrc name=b ! fakesink  "
       "lightforcepromptsink source=b",
          NULL},
      {"fakesrc ! fakesink  lightforcepromptsink", "There is no lightforcesrc in this pipeline"},
      {"lightforcesrc name=a ! fakesink  lightforcesrc name=b ! fakesink  lightforcepromptsink",
          "set the property source of lightforcepromptsink to one of"},
      {"lightforcesrc name=a ! fakesink  lightforcepromptsink source=c",
          "The property source is \"c\", and no lightforcesrc in this pipeline has that name"},
      {"lightforcesrc name=a ! fakesink  bin.( lightforcesrc name=a ! fakesink )  "
       "lightforcepromptsink source=a",
          "there are 2 elements lightforcesrc of that name"},
  };
  g_autoptr (GError) error = NULL;
  GstElement *pipeline = gst_parse_launch (cases[__i__].line, &error);
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GstStateChangeReturn ret;
  GstMessage *message;

  fail_unless (error == NULL, "%s", error ? error->message : "");
  ret = gst_element_set_state (pipeline, GST_STATE_PAUSED);
  message = gst_bus_timed_pop_filtered (bus, 0, GST_MESSAGE_ERROR);
  if (cases[__i__].text == NULL) {
    fail_unless (ret != GST_STATE_CHANGE_FAILURE && message == NULL);
  } else {
    fail_unless (ret == GST_STATE_CHANGE_FAILURE && message != NULL);
    gst_message_parse_error (message, &error, NULL);
    fail_unless (strstr (error->message, cases[__i__].text) != NULL, "%s", error->message);
    gst_message_unref (message);
    fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR) == NULL);
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "textsink");

  tcase_add_test (tc, test_subtitles);
  tcase_add_loop_test (tc, test_texts, 0, 10);
  tcase_add_test (tc, test_tcp);
  tcase_add_test (tc, test_long_lines);
  tcase_add_test (tc, test_line_ends);
  tcase_add_test (tc, test_cues);
  tcase_add_test (tc, test_lists);
  tcase_add_loop_test (tc, test_which_source, 0, 7);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "textsink", add);
}
