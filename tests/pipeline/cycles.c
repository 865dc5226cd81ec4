/* lightforce: many starts and stops of the real generator
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * LF_TEST_CYCLES is the number of starts and stops, 300 where it is not set.
 */
#include <gst/check/gstcheck.h>

#include "core/lightforce.h"
#include "tests/process.h"

#define WAIT (60 * G_TIME_SPAN_SECOND)
#define BLOCK 10 /* cycles of one pipeline */

#define PROPERTIES "width=64 height=48 queue-chunks=1"

static const char *const videos[] = {
    "prompt=\"a red ball bouncing on green hills\"",
    "is-live=true framerate=60/1 prebuffer=1 threads=1",
    "attention=dense flush-on-prompt=true prompt-switch=blend",
};

typedef struct
{
  GstElement *pipeline, *src;
  GMutex lock;
  GCond cond;
  guint frames;
} Source;

static void
count_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  Source *source = user_data;

  g_mutex_lock (&source->lock);
  source->frames++;
  g_cond_broadcast (&source->cond);
  g_mutex_unlock (&source->lock);
}

static void
source_init (Source *source, guint number)
{
  g_autofree char *line =
      g_strdup_printf ("lightforcesrc name=src " PROPERTIES " %s ! fakesink name=sink sync=false "
                       "signal-handoffs=true",
          videos[number % G_N_ELEMENTS (videos)]);
  g_autoptr (GError) error = NULL;
  g_autoptr (GstElement) sink = NULL;

  *source = (Source){.pipeline = gst_parse_launch (line, &error)};
  fail_unless (error == NULL, "%s: %s", line, error ? error->message : "");
  g_mutex_init (&source->lock);
  g_cond_init (&source->cond);
  source->src = gst_bin_get_by_name (GST_BIN (source->pipeline), "src");
  sink = gst_bin_get_by_name (GST_BIN (source->pipeline), "sink");
  g_signal_connect (sink, "handoff", G_CALLBACK (count_frame), source);
}

static void
source_clear (Source *source)
{
  fail_unless (
      gst_element_set_state (source->pipeline, GST_STATE_NULL) != GST_STATE_CHANGE_FAILURE);
  gst_object_unref (source->src);
  gst_object_unref (source->pipeline);
  g_mutex_clear (&source->lock);
  g_cond_clear (&source->cond);
}

static void
wait_frames (Source *source, guint count)
{
  gint64 end = g_get_monotonic_time () + WAIT;
  gboolean enough = TRUE;

  g_mutex_lock (&source->lock);
  while (source->frames < count && enough)
    enough = g_cond_wait_until (&source->cond, &source->lock, end);
  g_mutex_unlock (&source->lock);
  fail_unless (enough, "frame %u does not come", count);
}

/* Stops while it loads, after the first frame or in a later chunk, and there after a change. */
static void
start_and_stop (Source *source, guint i)
{
  source->frames = 0;
  fail_unless (
      gst_element_set_state (source->pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE);
  if (i % 3 == 0)
    g_usleep (i % 10 * 10000);
  else
    wait_frames (source, i % 3 == 1 ? 1 : 10);
  if (i % 6 == 2)
    g_object_set (source->src, "prompt", "snow falls on a city at night", NULL);
  else if (i % 6 == 5)
    g_signal_emit_by_name (source->src, "restart");
  if (i % 3 == 2)
    wait_frames (source, 12);
  fail_unless (
      gst_element_set_state (source->pipeline, i % 5 == 0 ? GST_STATE_READY : GST_STATE_NULL)
      != GST_STATE_CHANGE_FAILURE);
}

/* One pipeline from its making to its end. In every second block the model stays loaded. */
static void
run_block (guint block)
{
  LfModelOptions options = {.backend = "auto"};
  LfModel *model = block % 2 ? lf_model_load (NULL, &options, NULL, NULL, NULL, NULL) : NULL;
  Source source;
  guint i;

  source_init (&source, block);
  for (i = 0; i < BLOCK; i++)
    start_and_stop (&source, block * BLOCK + i);
  source_clear (&source);
  if (model)
    lf_model_unref (model);
}

typedef struct
{
  gsize allocated, resident;
  guint files;
} Taken;

static Taken
measure (void)
{
  malloc_trim (0);
  return (Taken){process_allocated (), process_resident (), process_open_files ()};
}

/* Memory and open files stay what they are after the first rounds. A chunk of these pictures takes
 * 54 KiB: less than one may be lost in a block. */
GST_START_TEST (test_start_and_stop)
{
  const char *text = g_getenv ("LF_TEST_CYCLES");
  const guint count = text ? (guint) g_ascii_strtoull (text, NULL, 10) : 300;
  const guint blocks = MAX (count / BLOCK, 6), warm = blocks / 3;
  Taken before = {0}, after;
  guint block;

  for (block = 0; block < blocks; block++) {
    if (block == warm)
      before = measure ();
    run_block (block);
  }
  after = measure ();
  fail_unless_equals_int (after.files, before.files);
  fail_unless (after.allocated < before.allocated + 256 * 1024,
      "%" G_GSIZE_FORMAT " bytes allocated, were %" G_GSIZE_FORMAT, after.allocated,
      before.allocated);
  /* a sanitizer has an allocator of its own, which keeps what was freed */
  if (before.allocated > 0)
    fail_unless (after.resident < before.resident + 4 * 1024 * 1024,
        "%" G_GSIZE_FORMAT " bytes in memory, were %" G_GSIZE_FORMAT, after.resident,
        before.resident);
}
GST_END_TEST;

int
main (int argc, char **argv)
{
  Suite *suite = suite_create ("cycles");
  TCase *tc = tcase_create ("cycles");

  gst_check_init (&argc, &argv);
  tcase_set_timeout (tc, 220);
  tcase_add_test (tc, test_start_and_stop);
  suite_add_tcase (suite, tc);
  return gst_check_run_suite (suite, "cycles", __FILE__);
}
