/* lightforce: a small pipeline around the element, for its tests
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/rig.h"

#include <stdio.h>
#include <unistd.h>

#include "gst/lightforcepromptsink.h"
#include "gst/lightforcesrc.h"

static gint rigs;        /* alive */
static gboolean spoiled; /* a test failed on its way and left all as it was */

gint
rig_patience (void)
{
  const char *text = g_getenv ("LF_TEST_PATIENCE");

  return text ? MAX ((gint) g_ascii_strtoll (text, NULL, 10), 1) : 1;
}

void
rig_take_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  Rig *rig = user_data;

  g_mutex_lock (&rig->lock);
  g_ptr_array_add (rig->frames, gst_buffer_ref (buffer));
  g_cond_broadcast (&rig->cond);
  g_mutex_unlock (&rig->lock);
}

Rig *
rig_new_full (const char *properties, const char *caps, const char *tail)
{
  Rig *rig = g_new0 (Rig, 1);
  g_autofree char *filter =
      g_strdup_printf ("capsfilter name=filter caps=\"%s\" !", caps ? caps : "video/x-raw");
  g_autofree char *line = g_strdup_printf ("lightforcesrc name=src %s ! %s %s", properties,
      g_strcmp0 (caps, "") == 0 ? "" : filter, tail);
  GError *error = NULL;

  g_atomic_int_inc (&rigs);
  g_mutex_init (&rig->lock);
  g_cond_init (&rig->cond);
  rig->frames = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_buffer_unref);
  rig->pipeline = gst_parse_launch (line, &error);
  fail_unless (error == NULL, "%s: %s", line, error ? error->message : "");
  rig->src = gst_bin_get_by_name (GST_BIN (rig->pipeline), "src");
  rig->filter = gst_bin_get_by_name (GST_BIN (rig->pipeline), "filter");
  rig->sink = gst_bin_get_by_name (GST_BIN (rig->pipeline), "sink");
  rig->bus = gst_element_get_bus (rig->pipeline);
  g_object_set (rig->sink, "signal-handoffs", TRUE, NULL);
  g_signal_connect (rig->sink, "handoff", G_CALLBACK (rig_take_frame), rig);
  return rig;
}

Rig *
rig_new (const char *properties, const char *caps)
{
  return rig_new_full (properties, caps, "fakesink name=sink sync=false");
}

Rig *
rig_new_held (const char *properties, const char *caps, guint hold)
{
  Rig *rig = rig_new (properties, caps);
  guint first, later;

  STANDIN_SET (hold_chunk, hold);
  first = (guint) standin_lock ()->first_pictures;
  standin_unlock ();
  later = (guint) standin_lock ()->chunk_pictures;
  standin_unlock ();
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, hold == 0 ? 0 : first + (hold - 1) * later);
  rig_wait_chunks (hold + 1);
  return rig;
}

void
rig_free (Rig *rig)
{
  rig_set_state (rig, GST_STATE_NULL);
  gst_bus_set_flushing (rig->bus, TRUE);
  g_ptr_array_unref (rig->frames);
  gst_object_unref (rig->bus);
  gst_object_unref (rig->sink);
  gst_clear_object (&rig->filter);
  gst_object_unref (rig->src);
  gst_object_unref (rig->pipeline);
  g_mutex_clear (&rig->lock);
  g_cond_clear (&rig->cond);
  g_free (rig);
  g_atomic_int_add (&rigs, -1);
  fail_unless_equals_int (standin_live_objects (), 0);
}

void
rig_set_state (Rig *rig, GstState state)
{
  fail_unless (gst_element_set_state (rig->pipeline, state) != GST_STATE_CHANGE_FAILURE);
}

void
rig_reach_state (Rig *rig, GstState state)
{
  rig_set_state (rig, state);
  rig_settle (rig, state);
}

void
rig_settle (Rig *rig, GstState state)
{
  GstState have;
  GstStateChangeReturn ret = gst_element_get_state (rig->pipeline, &have, NULL, LONG * GST_USECOND);

  fail_unless (
      have == state && (ret == GST_STATE_CHANGE_SUCCESS || ret == GST_STATE_CHANGE_NO_PREROLL),
      "state %s instead of %s: %s", gst_element_state_get_name (have),
      gst_element_state_get_name (state), gst_element_state_change_return_get_name (ret));
}

void
rig_flush (Rig *rig, void (*between) (Rig *rig, gpointer user_data), gpointer user_data)
{
  rig_settle (rig, GST_STATE_PLAYING);
  fail_unless (gst_element_send_event (rig->src, gst_event_new_flush_start ()));
  if (between)
    between (rig, user_data);
  fail_unless (gst_element_send_event (rig->src, gst_event_new_flush_stop (TRUE)));
}

GstMessage *
rig_wait (Rig *rig, GstMessageType types)
{
  GstMessage *message = gst_bus_timed_pop_filtered (rig->bus, LONG * GST_USECOND, types);

  fail_unless (message != NULL, "no message comes");
  return message;
}

GstMessage *
rig_wait_element (Rig *rig, const char *name)
{
  for (;;) {
    GstMessage *message = rig_wait (rig, GST_MESSAGE_ELEMENT | GST_MESSAGE_ERROR);

    fail_if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR);
    if (gst_message_has_name (message, name))
      return message;
    gst_message_unref (message);
  }
}

GstMessage *
rig_run (Rig *rig)
{
  rig_set_state (rig, GST_STATE_PLAYING);
  return rig_wait (rig, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
}

void
rig_run_to_eos (Rig *rig)
{
  GstMessage *message = rig_run (rig);

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    g_autoptr (GError) error = NULL;

    gst_message_parse_error (message, &error, NULL);
    fail ("%s", error->message);
  }
  gst_message_unref (message);
}

void
rig_wait_frames (Rig *rig, guint count)
{
  gint64 end = g_get_monotonic_time () + LONG;
  gboolean enough = TRUE;
  guint have;

  g_mutex_lock (&rig->lock);
  while (rig->frames->len < count && enough)
    enough = g_cond_wait_until (&rig->cond, &rig->lock, end);
  have = rig->frames->len;
  g_mutex_unlock (&rig->lock);
  fail_unless (have >= count, "only %u frames of %u come", have, count);
}

guint
rig_count (Rig *rig)
{
  guint count;

  g_mutex_lock (&rig->lock);
  count = rig->frames->len;
  g_mutex_unlock (&rig->lock);
  return count;
}

GstBuffer *
rig_frame (Rig *rig, guint index)
{
  GstBuffer *buffer;

  g_mutex_lock (&rig->lock);
  fail_unless (index < rig->frames->len);
  buffer = g_ptr_array_index (rig->frames, index);
  g_mutex_unlock (&rig->lock);
  return buffer;
}

void
rig_forget_frames (Rig *rig)
{
  g_mutex_lock (&rig->lock);
  g_ptr_array_set_size (rig->frames, 0);
  g_mutex_unlock (&rig->lock);
}

char *
rig_checksum (Rig *rig)
{
  return rig_checksum_from (rig, 0);
}

char *
rig_checksum_from (Rig *rig, guint begin)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  guint i;

  for (i = begin; i < rig_count (rig); i++) {
    GstMapInfo map;

    fail_unless (gst_buffer_map (rig_frame (rig, i), &map, GST_MAP_READ));
    g_checksum_update (sum, map.data, (gssize) map.size);
    gst_buffer_unmap (rig_frame (rig, i), &map);
  }
  return g_strdup (g_checksum_get_string (sum));
}

void
rig_check_sequence (Rig *rig)
{
  guint i;

  for (i = 0; i < rig_count (rig); i++) {
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, i)), i);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (rig_frame (rig, i)), i * (GST_SECOND / 16));
  }
}

guint64
rig_stat (Rig *rig, const char *field)
{
  g_autoptr (GstStructure) stats = NULL;
  guint64 value = 0;
  guint level;
  gint64 time;

  g_object_get (rig->src, "stats", &stats, NULL);
  if (gst_structure_get_uint (stats, field, &level))
    return level;
  if (gst_structure_get_int64 (stats, field, &time))
    return (guint64) time;
  fail_unless (gst_structure_get_uint64 (stats, field, &value), "%s", field);
  return value;
}

static gpointer
set_prompts (gpointer data)
{
  Rig *rig = data;
  guint i;

  for (i = 0; !g_atomic_int_get (&rig->stop_prompter); i++) {
    g_autofree char *prompt = g_strdup_printf ("prompt %u", i);

    g_object_set (rig->src, "prompt", prompt, NULL);
    g_usleep (300);
  }
  return NULL;
}

void
rig_begin_prompts (Rig *rig)
{
  rig->stop_prompter = 0;
  rig->prompter = g_thread_new ("prompts", set_prompts, rig);
}

void
rig_end_prompts (Rig *rig)
{
  g_atomic_int_set (&rig->stop_prompter, 1);
  g_thread_join (g_steal_pointer (&rig->prompter));
}

static void
count_up (GObject *object, GParamSpec *spec, gpointer user_data)
{
  g_atomic_int_inc ((gint *) user_data);
}

void
rig_count_notify (Rig *rig, const char *property, gint *count)
{
  g_autofree char *signal = g_strdup_printf ("notify::%s", property);

  g_signal_connect (rig->src, signal, G_CALLBACK (count_up), count);
}

guint64
rig_expect_prompt (Rig *rig, const char *prompt, guint serial)
{
  GstMessage *message = rig_wait_element (rig, "lightforce-prompt");
  const GstStructure *s = gst_message_get_structure (message);
  guint have;
  guint64 offset, pts;

  fail_unless_equals_string (gst_structure_get_string (s, "prompt"), prompt);
  fail_unless (gst_structure_get_uint (s, "serial", &have));
  fail_unless_equals_int (have, serial);
  fail_unless (gst_structure_get_uint64 (s, "offset", &offset));
  fail_unless (gst_structure_get_uint64 (s, "pts", &pts));
  fail_unless_equals_uint64 (pts, offset * (GST_SECOND / 16));
  gst_message_unref (message);
  return offset;
}

guint64
rig_meta_value (GstBuffer *frame, const char *field)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (frame, "LightforceMeta");
  guint64 value = 0;
  guint small = 0;

  fail_unless (meta != NULL);
  if (gst_structure_get_uint (gst_custom_meta_get_structure (meta), field, &small))
    return small;
  fail_unless (gst_structure_get_uint64 (gst_custom_meta_get_structure (meta), field, &value));
  return value;
}

guint32
rig_first_pixel (GstBuffer *frame)
{
  guint8 p[3];

  fail_unless_equals_int ((gint) gst_buffer_extract (frame, 0, p, 3), 3);
  return (guint32) p[0] << 16 | (guint32) p[1] << 8 | p[2];
}

void
rig_wait_chunks (guint count)
{
  gint64 end = g_get_monotonic_time () + LONG;
  guint begun = 0;

  while (begun < count && g_get_monotonic_time () < end) {
    StandinLog log;

    standin_get_log (&log);
    begun = log.chunks;
    standin_log_clear (&log);
    g_usleep (MS);
  }
  fail_unless_equals_int (begun, count);
}

void
rig_check_frames (Rig *rig, guint begin, guint end, const char *prompt)
{
  guint i;

  for (i = begin; i < end; i++)
    fail_unless (rig_first_pixel (rig_frame (rig, i)) == standin_pixel (0, prompt, i, 0, 0),
        "frame %u does not show \"%s\"", i, prompt);
}

char *
rig_next_warning (Rig *rig)
{
  GstMessage *message = rig_wait (rig, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
  g_autoptr (GError) error = NULL;

  fail_unless_equals_string (GST_MESSAGE_TYPE_NAME (message), "warning");
  gst_message_parse_warning (message, &error, NULL);
  gst_message_unref (message);
  return g_strdup (error->message);
}

void
rig_expect_no_warning (Rig *rig)
{
  fail_unless (gst_bus_pop_filtered (rig->bus, GST_MESSAGE_WARNING) == NULL);
}

void
rig_wait_end (Rig *rig)
{
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
}

void
rig_finish (Rig *rig)
{
  STANDIN_SET (hold_chunk, -1);
  rig_wait_end (rig);
}

void
rig_expect_error (Rig *rig, GstMessage *message, GQuark domain, gint code, const char *part)
{
  g_autoptr (GError) error = NULL;
  GstMessage *next;

  fail_unless_equals_string (GST_MESSAGE_TYPE_NAME (message), "error");
  gst_message_parse_error (message, &error, NULL);
  fail_unless (GST_MESSAGE_SRC (message) == GST_OBJECT (rig->src));
  fail_unless (g_error_matches (error, domain, code), "%s %d: %s",
      g_quark_to_string (error->domain), error->code, error->message);
  fail_unless (
      strstr (error->message, part) != NULL, "\"%s\" is not in \"%s\"", part, error->message);
  gst_message_unref (message);
  next = gst_bus_timed_pop_filtered (rig->bus, 100 * GST_MSECOND, GST_MESSAGE_ERROR);
  fail_unless (next == NULL, "a second error for one failure");
}

static void
setup (void)
{
  standin_reset ();
}

/* What is alive according to the leaks tracer; NULL: nothing. */
static char *
live_objects (GstTracer *tracer)
{
  GstStructure *info = NULL;
  const GValue *list;
  char *text = NULL;

  g_signal_emit_by_name (tracer, "get-live-objects", &info);
  list = info ? gst_structure_get_value (info, "live-objects-list") : NULL;
  if (list && gst_value_list_get_size (list) > 0)
    text = gst_structure_to_string (info);
  if (info)
    gst_structure_free (info);
  return text;
}

/* With GST_TRACERS=leaks: no buffer, event, message or element outlives a test. A bin's own
 * thread may hold it for a moment longer. */
static void
teardown (void)
{
  GList *tracers = gst_tracing_get_active_tracers (), *l;
  gint64 end = g_get_monotonic_time () + LONG / 5;

  standin_reset ();
  /* The failure is told already, and where tests share a process they go on. */
  spoiled |= g_atomic_int_get (&rigs) > 0;
  if (spoiled) {
    g_list_free_full (tracers, gst_object_unref);
    tracers = NULL;
  }
  g_atomic_int_set (&rigs, 0);
  for (l = tracers; l; l = l->next) {
    char *text;

    if (strcmp (G_OBJECT_TYPE_NAME (l->data), "GstLeaksTracer") != 0)
      continue;
    while ((text = live_objects (l->data)) && g_get_monotonic_time () < end) {
      g_free (text);
      g_usleep (5 * MS);
    }
    fail_unless (text == NULL, "leaked: %s", text);
  }
  g_list_free_full (tracers, gst_object_unref);
}

TCase *
rig_case (Suite *suite, const char *name)
{
  TCase *tc = tcase_create (name);

  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_set_timeout (tc, 60 * rig_patience ());
  suite_add_tcase (suite, tc);
  return tc;
}

int
rig_main (int argc, char **argv, const char *name, void (*add) (Suite *suite))
{
  Suite *suite;
  int failed;

  gst_check_init (&argc, &argv);
  GST_ELEMENT_REGISTER (lightforcesrc, NULL);
  GST_ELEMENT_REGISTER (lightforcepromptsink, NULL);
  suite = suite_create (name);
  add (suite);
  failed = gst_check_run_suite (suite, name, name);
  /* GStreamer's exit handler waits for all streaming threads, and that of a test which failed in this
   * process may never end. */
  if (failed > 0) {
    fflush (NULL);
    _exit (failed);
  }
  return failed;
}
