/* lightforce: several sources in one process, with the default model
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/check/gstcheck.h>

#include "core/lightforce.h"
#include "tests/process.h"

#define WAIT (60 * G_TIME_SPAN_SECOND)

enum
{
  SOURCES = 4,
  FRAMES = 21 /* two chunks: the second one looks back at the first */
};

/* Small pictures, one thread each: what is of interest is who disturbs whom. The last two are
 * live; late or not, by their policy each picture comes out once. */
static const struct
{
  const char *prompt, *properties;
} videos[SOURCES] = {
    {"a red ball bouncing on green hills", ""},
    {"snow falls on a city at night", "attention=dense"},
    {"a white bird over the sea", "is-live=true late-policy=resync framerate=60/1"},
    {"a blue boat at sunset", "is-live=true late-policy=resync framerate=60/1"},
};

/* One pipeline and the checksums of the frames that came out of it. */
typedef struct
{
  guint number;
  guint64 seed;
  GstElement *pipeline, *src;
  GstBus *bus;
  GMutex lock;
  GCond cond;
  GPtrArray *sums;
  guint begins; /* the number of the latest frame that began a video */
  guint progress;
} Source;

static void
take_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  Source *source = user_data;
  GstMapInfo map;
  char *sum;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  sum = g_compute_checksum_for_data (G_CHECKSUM_SHA256, map.data, map.size);
  gst_buffer_unmap (buffer, &map);
  g_mutex_lock (&source->lock);
  if (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_DISCONT))
    source->begins = source->sums->len;
  g_ptr_array_add (source->sums, sum);
  g_cond_broadcast (&source->cond);
  g_mutex_unlock (&source->lock);
}

/* Video `number` with `seed`, `frames` of it. */
static Source *
source_new (guint number, guint64 seed, guint frames)
{
  Source *source = g_new0 (Source, 1);
  g_autofree char *line =
      g_strdup_printf ("lightforcesrc name=src prompt=\"%s\" seed=%" G_GUINT64_FORMAT
                       " width=128 height=80 threads=1 queue-chunks=1 num-buffers=%u %s ! fakesink "
                       "name=sink sync=false "
                       "signal-handoffs=true",
          videos[number].prompt, seed, frames, videos[number].properties);
  g_autoptr (GError) error = NULL;
  g_autoptr (GstElement) sink = NULL;

  source->number = number;
  source->seed = seed;
  g_mutex_init (&source->lock);
  g_cond_init (&source->cond);
  source->sums = g_ptr_array_new_with_free_func (g_free);
  source->pipeline = gst_parse_launch (line, &error);
  fail_unless (error == NULL, "%s: %s", line, error ? error->message : "");
  source->src = gst_bin_get_by_name (GST_BIN (source->pipeline), "src");
  source->bus = gst_element_get_bus (source->pipeline);
  sink = gst_bin_get_by_name (GST_BIN (source->pipeline), "sink");
  g_signal_connect (sink, "handoff", G_CALLBACK (take_frame), source);
  return source;
}

static void
source_set_state (Source *source, GstState state)
{
  fail_unless (gst_element_set_state (source->pipeline, state) != GST_STATE_CHANGE_FAILURE);
}

static void
source_free (Source *source)
{
  source_set_state (source, GST_STATE_NULL);
  g_ptr_array_unref (source->sums);
  gst_object_unref (source->bus);
  gst_object_unref (source->src);
  gst_object_unref (source->pipeline);
  g_mutex_clear (&source->lock);
  g_cond_clear (&source->cond);
  g_free (source);
}

static void
source_wait_frames (Source *source, guint count)
{
  gint64 end = g_get_monotonic_time () + WAIT;
  gboolean enough = TRUE;

  g_mutex_lock (&source->lock);
  while (source->sums->len < count && enough)
    enough = g_cond_wait_until (&source->cond, &source->lock, end);
  g_mutex_unlock (&source->lock);
  fail_unless (enough, "video %u: frame %u does not come", source->number, count);
}

/* Counts messages on the way that the loading of a model goes on. */
static void
source_wait_end (Source *source)
{
  const GstMessageType types = GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_PROGRESS;
  gboolean end = FALSE;

  while (!end) {
    GstMessage *message = gst_bus_timed_pop_filtered (source->bus, WAIT * GST_USECOND, types);
    g_autoptr (GError) error = NULL;
    GstProgressType type;

    fail_unless (message != NULL, "video %u does not end", source->number);
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_PROGRESS) {
      gst_message_parse_progress (message, &type, NULL, NULL);
      source->progress += type == GST_PROGRESS_TYPE_CONTINUE;
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      gst_message_parse_error (message, &error, NULL);
      fail ("video %u: %s", source->number, error->message);
    }
    end = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
    gst_message_unref (message);
  }
}

static guint64
source_stat (Source *source, const char *field)
{
  g_autoptr (GstStructure) stats = NULL;
  guint64 value = 0;

  g_object_get (source->src, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint64 (stats, field, &value), "%s", field);
  return value;
}

/* ------------------------------------------------------------- what each makes alone */

static GPtrArray *alone[SOURCES]; /* checksums */

/* In the process of the test itself: threads do not survive a fork. */
static void
make_alone (void)
{
  guint i;

  for (i = 0; i < SOURCES; i++) {
    Source *source = source_new (i, i, FRAMES);

    source_set_state (source, GST_STATE_PLAYING);
    source_wait_end (source);
    fail_unless_equals_int (source->sums->len, FRAMES);
    alone[i] = g_ptr_array_ref (source->sums);
    source_free (source);
    fail_unless (i == 0 || strcmp (alone[i]->pdata[0], alone[i - 1]->pdata[0]) != 0);
  }
}

static void
drop_alone (void)
{
  guint i;

  for (i = 0; i < SOURCES; i++)
    g_clear_pointer (&alone[i], g_ptr_array_unref);
}

/* All frames from `begin` on are those of `video`, from its first one on. */
static void
check_frames (GPtrArray *sums, guint begin, guint video)
{
  guint i;

  for (i = begin; i < sums->len; i++)
    fail_unless (strcmp (sums->pdata[i], alone[video]->pdata[i - begin]) == 0,
        "frame %u is not frame %u of video %u", i, i - begin, video);
}

/* --------------------------------------------------------------------------- the tests */

static void
note_progress (const char *stage, double fraction, gpointer user_data)
{
  ++*(guint *) user_data;
}

/* As the elements load it. */
static LfModel *
load_model (guint *progress)
{
  LfModelOptions options = {.backend = "auto"};
  g_autoptr (GError) error = NULL;
  LfModel *model;

  *progress = 0;
  model = lf_model_load (NULL, &options, NULL, note_progress, progress, &error);
  fail_unless (model != NULL, "%s", error ? error->message : "");
  return model;
}

/* One copy of the weights: only one source reads the file, the library has the model for who asks
 * for it, and memory grows by what belongs to a stream. When the last source is gone, so is it. */
GST_START_TEST (test_shared_weights)
{
  Source *sources[SOURCES];
  guint loading = 0, progress, i;
  gsize before = process_allocated (), used;
  guint64 weights, streams = 0;
  LfModel *model;

  for (i = 0; i < SOURCES; i++) {
    sources[i] = source_new (i, i, FRAMES);
    source_set_state (sources[i], GST_STATE_PLAYING);
  }
  for (i = 0; i < SOURCES; i++)
    source_wait_end (sources[i]);
  used = process_allocated () - before;
  for (i = 0; i < SOURCES; i++) {
    loading += sources[i]->progress > 0;
    streams += source_stat (sources[i], "state-bytes") + source_stat (sources[i], "scratch-bytes");
  }
  weights = source_stat (sources[0], "weights-bytes");
  fail_unless_equals_int (loading, 1);
  fail_unless (weights > 10000000 && used > weights);
  /* Chunks that wait, tables and threads are less than half a copy. */
  fail_unless (used < streams + weights + weights / 2,
      "%" G_GSIZE_FORMAT " bytes, of which %" G_GUINT64_FORMAT " for streams and %" G_GUINT64_FORMAT
      " for one copy of the weights",
      used, streams, weights);
  model = load_model (&progress);
  fail_unless_equals_int (progress, 0);
  lf_model_unref (model);
  for (i = 0; i < SOURCES; i++)
    source_free (sources[i]);
  model = load_model (&progress);
  fail_unless (progress > 0);
  lf_model_unref (model);
}
GST_END_TEST;

/* Four at once, one of which begins another video while the rest go on. */
GST_START_TEST (test_restart_among_others)
{
  Source *sources[SOURCES];
  guint i;

  for (i = 0; i < SOURCES; i++) {
    sources[i] = source_new (i, i, i == 0 ? 2 * FRAMES : FRAMES);
    source_set_state (sources[i], GST_STATE_PLAYING);
  }
  source_wait_frames (sources[0], 1);
  g_object_set (sources[0]->src, "seed", G_GUINT64_CONSTANT (1), "prompt", videos[1].prompt, NULL);
  gst_util_set_object_arg (G_OBJECT (sources[0]->src), "attention", "dense");
  g_signal_emit_by_name (sources[0]->src, "restart");
  for (i = 1; i < SOURCES; i++) {
    source_wait_end (sources[i]);
    fail_unless_equals_int (sources[i]->sums->len, FRAMES);
    check_frames (sources[i]->sums, 0, i);
  }
  /* from here on it makes what the second one makes */
  source_wait_frames (sources[0], 2 * FRAMES - 9);
  source_set_state (sources[0], GST_STATE_NULL);
  fail_unless (sources[0]->begins > 0 && sources[0]->begins <= FRAMES);
  if (sources[0]->sums->len > sources[0]->begins + FRAMES)
    g_ptr_array_set_size (sources[0]->sums, (gint) (sources[0]->begins + FRAMES));
  check_frames (sources[0]->sums, sources[0]->begins, 1);
  g_ptr_array_set_size (sources[0]->sums, (gint) sources[0]->begins);
  check_frames (sources[0]->sums, 0, 0);
  for (i = 0; i < SOURCES; i++)
    source_free (sources[i]);
}
GST_END_TEST;

/* Started and stopped in an order without rules, at any moment of their work; each frame of each
 * is the one that it makes alone. */
GST_START_TEST (test_any_order)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (20240229);
  Source *sources[SOURCES] = {NULL};
  guint step, i, frames = 0, ends = 0;

  for (step = 0; step < 40; step++) {
    i = (guint) g_rand_int_range (rand, 0, SOURCES);
    if (sources[i] == NULL) {
      sources[i] = source_new (i, i, FRAMES);
      source_set_state (sources[i], g_rand_boolean (rand) ? GST_STATE_PLAYING : GST_STATE_PAUSED);
      source_set_state (sources[i], GST_STATE_PLAYING);
    } else {
      switch (g_rand_int_range (rand, 0, 4)) {
        case 0:
          source_wait_end (sources[i]);
          fail_unless_equals_int (sources[i]->sums->len, FRAMES);
          ends++;
          break;
        case 1:
          source_wait_frames (sources[i], 1 + (guint) g_rand_int_range (rand, 0, 9));
          break;
        default:
          g_usleep ((gulong) g_rand_int_range (rand, 0, 60000));
      }
      source_set_state (sources[i], g_rand_boolean (rand) ? GST_STATE_READY : GST_STATE_NULL);
      check_frames (sources[i]->sums, 0, i);
      frames += sources[i]->sums->len;
      source_free (g_steal_pointer (&sources[i]));
    }
  }
  for (i = 0; i < SOURCES; i++)
    if (sources[i])
      source_free (sources[i]);
  fail_unless (frames > 60 && ends > 2, "%u frames, %u ends: the order is no use", frames, ends);
}
GST_END_TEST;

int
main (int argc, char **argv)
{
  Suite *suite = suite_create ("many");
  TCase *tc = tcase_create ("shared"), *others = tcase_create ("others");

  gst_check_init (&argc, &argv);
  tcase_set_timeout (tc, 120);
  tcase_add_test (tc, test_shared_weights);
  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (others, make_alone, drop_alone);
  tcase_set_timeout (others, 120);
  tcase_add_test (others, test_restart_among_others);
  tcase_add_test (others, test_any_order);
  suite_add_tcase (suite, others);
  return gst_check_run_suite (suite, "many", __FILE__);
}
