/* lightforce: many threads at once, many starts and stops
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * LF_TEST_CYCLES is the number of starts and stops, 1000 where it is not set.
 */
#include "tests/element/rig.h"
#include "tests/process.h"

static guint
cycles (void)
{
  const char *text = g_getenv ("LF_TEST_CYCLES");

  return text ? MAX ((guint) g_ascii_strtoull (text, NULL, 10), 20) : 1000;
}

/* ------------------------------------------------------------------ threads at once */

typedef struct
{
  GstElement *src;
  guint number;
  gint stop;
} Disturber;

static void
set_something (GstElement *src, guint i)
{
  static const char *const policies[] = {"repeat", "resync", "drop"};
  g_autofree char *prompt = g_strdup_printf ("prompt %u", i % 50);

  g_object_set (src, "prompt", prompt, "sparsity", (i % 10) / 10.0, NULL);
  gst_util_set_object_arg (G_OBJECT (src), "late-policy", policies[i % 3]);
  if (i % 8 == 0)
    g_object_set (src, "framerate", 400 + (gint) (i % 5) * 100, 1, NULL);
}

/* How prompts enter, and what attention sees. */
static void
set_ways (GstElement *src, guint i)
{
  static const char *const switches[] = {"cut", "recache", "blend"};
  static const char *const attentions[] = {"auto", "sparse", "dense"};

  gst_util_set_object_arg (G_OBJECT (src), "prompt-switch", switches[i % 3]);
  gst_util_set_object_arg (G_OBJECT (src), "attention", attentions[i / 3 % 3]);
  g_object_set (src, "flush-on-prompt", i % 4 == 1, "prompt-in-tags", i % 2, "keep-frames",
      4 + (gint) (i % 3), "probe-layer", (gint) (i % 3) - 1, NULL);
}

/* With a time or without, to the element or to its pad, and some that are wrong. */
static void
send_prompt (GstElement *src, guint i)
{
  static const char *const modes[] = {"cut", "recache", "blend", "blink"};
  g_autofree char *prompt = g_strdup_printf ("event %u", i % 50);
  GstStructure *s = gst_structure_new ("lightforce-prompt", "prompt", G_TYPE_STRING, prompt, NULL);
  GstEvent *event = gst_event_new_custom (GST_EVENT_CUSTOM_UPSTREAM, s);

  if (i % 3)
    gst_structure_set (s, "time", G_TYPE_UINT64, (guint64) (i % 20) * 5 * GST_MSECOND, NULL);
  if (i % 2)
    gst_structure_set (s, "mode", G_TYPE_STRING, modes[i % 30 == 1 ? 3 : i % 3], NULL);
  if (i % 4 < 2)
    gst_element_send_event (src, event);
  else
    gst_pad_send_event (GST_PAD (src->srcpads->data), event);
}

static void
begin_again (GstElement *src, guint i)
{
  g_object_set (src, "seed", (guint64) i, NULL);
  if (i % 40 == 0) /* often, and not so often that no chunk is ever done */
    g_signal_emit_by_name (src, "restart");
}

static void
ask_something (GstElement *src, guint i)
{
  g_autoptr (GstStructure) stats = NULL;
  g_autoptr (GstQuery) latency = gst_query_new_latency ();
  guint64 chunk, shown, frames, repeated;
  gint64 time;

  g_object_get (src, "stats", &stats, "chunk", &chunk, NULL);
  fail_unless (gst_structure_get (stats, "shown", G_TYPE_UINT64, &shown, "frames", G_TYPE_UINT64,
      &frames, "repeated", G_TYPE_UINT64, &repeated, NULL));
  fail_unless_equals_uint64 (frames, shown + repeated);
  gst_element_query (src, latency);
  gst_element_query_duration (src, GST_FORMAT_TIME, &time);
  gst_element_query_position (src, GST_FORMAT_TIME, &time);
}

static void
negotiate_something (GstElement *src, guint i)
{
  GstPad *pad = GST_PAD (src->srcpads->data);

  gst_caps_unref (gst_pad_query_caps (pad, NULL));
  if (i % 16 == 0)
    gst_pad_mark_reconfigure (pad);
}

/* Each thread does all of it, and each in another order. */
static gpointer
disturb (gpointer data)
{
  static void (*const kinds[]) (GstElement *, guint) = {set_something, set_ways, send_prompt,
      begin_again, set_something, ask_something, negotiate_something};
  const guint n = G_N_ELEMENTS (kinds);
  Disturber *d = data;
  guint i;

  for (i = 0; !g_atomic_int_get (&d->stop); i++) {
    kinds[(i * (d->number + 1)) % n](d->src, i / n + 10 * d->number);
    g_usleep (500);
  }
  return NULL;
}

/* A pipeline that is told another state, or is flushed, in the moment in which it continues to
 * PLAYING by itself can stay in PAUSED (gst_bin_continue_func() gives up), and prompts flush here
 * at any time: it is told again, as an application would. */
static void
reach_playing (Rig *rig)
{
  GstState have = GST_STATE_NULL;
  guint i;

  for (i = 0; i < 10 && have != GST_STATE_PLAYING; i++) {
    rig_set_state (rig, GST_STATE_PLAYING);
    gst_element_get_state (rig->pipeline, &have, NULL, 2 * GST_SECOND);
  }
  rig_settle (rig, GST_STATE_PLAYING);
}

/* Four threads change and ask the element while its state changes, 200 times. */
GST_START_TEST (test_threads)
{
  static const GstState between[] = {GST_STATE_PAUSED, GST_STATE_READY, GST_STATE_NULL};
  Rig *rig = rig_new (__i__ ? "is-live=true framerate=500/1" : "framerate=500/1", NULL);
  guint rounds = MIN (cycles (), 200), i;
  Disturber disturbers[4];
  GThread *threads[4];
  Standin *standin = standin_lock ();

  standin->load_ms = standin->chunk_ms = 1;
  standin_unlock ();
  for (i = 0; i < 4; i++) {
    disturbers[i] = (Disturber){rig->src, i, 0};
    threads[i] = g_thread_new ("disturb", disturb, &disturbers[i]);
  }
  for (i = 0; i < rounds; i++) {
    gboolean wait = i % 10 == 9;

    if (wait) {
      rig_set_state (rig, GST_STATE_NULL);
      reach_playing (rig);
      rig_wait_frames (rig, 1);
    } else {
      rig_set_state (rig, GST_STATE_PLAYING);
      g_usleep ((i % 5) * 1000);
    }
    if (i % 4 == 1)
      gst_element_seek (rig->pipeline, 1, GST_FORMAT_TIME,
          GST_SEEK_FLAG_FLUSH | (i % 8 == 1 ? GST_SEEK_FLAG_SEGMENT : 0), GST_SEEK_TYPE_SET,
          (gint64) (i % 3) * 30 * GST_MSECOND, GST_SEEK_TYPE_SET,
          i % 12 == 1 ? 100 * GST_MSECOND : -1);
    rig_set_state (rig, between[i % 3]);
    rig_forget_frames (rig);
  }
  for (i = 0; i < 4; i++) {
    g_atomic_int_set (&disturbers[i].stop, 1);
    g_thread_join (threads[i]);
  }
  fail_unless (gst_bus_pop_filtered (rig->bus, GST_MESSAGE_ERROR) == NULL);
  rig_free (rig);
}
GST_END_TEST;

/* ----------------------------------------------------------------- starts and stops */

static Rig *
new_rig (guint i)
{
  return rig_new (i % 2 ? "is-live=true framerate=1000/1 prebuffer=1" : "prompt=again", NULL);
}

/* Memory and open files stay what they are after the first rounds. */
GST_START_TEST (test_start_and_stop)
{
  const guint count = cycles (), warm = count / 5;
  gsize bytes = 0, resident = 0;
  guint files = 0, i;
  Rig *rig = new_rig (0);

  for (i = 0; i < count; i++) {
    if (i % 8 == 7) {
      rig_free (rig);
      rig = new_rig (i / 8);
    }
    rig_set_state (rig, GST_STATE_PLAYING);
    if (i % 3 < 2)
      rig_wait_frames (rig, i % 3 + 1);
    rig_set_state (rig, i % 5 == 0 ? GST_STATE_READY : GST_STATE_NULL);
    rig_forget_frames (rig);
    if (i == warm) {
      bytes = process_allocated ();
      resident = process_resident ();
      files = process_open_files ();
    }
  }
  rig_set_state (rig, GST_STATE_NULL);
  fail_unless_equals_int (process_open_files (), files);
  /* Less than a frame of this test, let alone a chunk, for every tenth cycle. A sanitizer has an
   * allocator of its own, which keeps what was freed. */
  fail_unless (process_allocated () < bytes + 512 * 1024,
      "%" G_GSIZE_FORMAT " bytes allocated, were %" G_GSIZE_FORMAT, process_allocated (), bytes);
  if (bytes > 0 && g_getenv ("LF_TEST_CYCLES") == NULL)
    fail_unless (process_resident () < resident + 8 * 1024 * 1024,
        "%" G_GSIZE_FORMAT " bytes in memory, were %" G_GSIZE_FORMAT, process_resident (),
        resident);
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "stress");

  tcase_set_timeout (tc, 220 * rig_patience ());
  tcase_add_loop_test (tc, test_threads, 0, 2);
  tcase_add_test (tc, test_start_and_stop);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "stress", add);
}
