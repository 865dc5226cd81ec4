/* lightforce: plays live for as long as it is told, and measures
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Fails if a frame reaches the sink too late to be shown, if frames and clock drift apart by more
 * than a frame, if a picture is shown again, left out or moved because the generator was too slow,
 * or if the memory of the process grows by more than a margin, and what is allocated by more than a
 * part of the pictures that were made meanwhile. What can be the fault of a machine that let no thread
 * run for a while is excused, as far as it was that long.
 */
#include <gst/gst.h>
#include <gst/video/video.h>
#include <stdlib.h>

#include "tests/process.h"

#define LATENESS (5 * GST_MSECOND) /* what sinks of video take */
#define SETTLED GST_SECOND         /* played, by when the latency is known to all */
#define BLOCK 16                   /* frames, of which one at least is shown when it should be */
#define TICK 10000                 /* us that a thread sleeps to see whether it can run */
#define STALL 25000                /* us that it sleeps too long if it cannot */

typedef struct
{
  gsize allocated, resident; /* bytes; 0: not measured yet */
  guint64 frames;            /* shown until then */
} Memory;

typedef struct
{
  GMainLoop *loop;
  GstElement *pipeline, *src, *sink;
  GstClockTime warm, length; /* from the first frame on: until measuring begins, and the end */
  gboolean failed;

  GMutex lock; /* of what the streaming thread notes */
  guint64 frames, gaps, disconts;
  GstClockTime first_time, last_time; /* running times at which frames were shown */
  GstClockTimeDiff worst;             /* the longest way from a frame's time to its showing */
  /* The shortest way in the block at hand, in the first block and in the latest whole one. A busy
   * machine makes ways longer, never shorter: how the shortest ones differ is the drift. */
  GstClockTimeDiff best, first_best, last_best;
  guint in_block;
  guint64 blocks;

  Memory start, middle, end; /* `start`: after the warm-up */

  gint ended; /* atomic */
  guint stalls;
  gint64 stalled; /* us in all */
} Run;

/* Sleeps a little, again and again: what it oversleeps, the machine may have taken from any thread. */
static gpointer
watch_machine (gpointer data)
{
  Run *run = data;

  while (!g_atomic_int_get (&run->ended)) {
    gint64 slept = g_get_monotonic_time ();

    g_usleep (TICK);
    slept = g_get_monotonic_time () - slept;
    if (slept < TICK + STALL)
      continue;
    g_mutex_lock (&run->lock);
    run->stalls++;
    run->stalled += slept - TICK;
    g_mutex_unlock (&run->lock);
  }
  return NULL;
}

static void
note_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  Run *run = user_data;
  GstClockTime time = gst_element_get_current_running_time (sink);
  /* encoders may shift timestamps and the segment with them */
  g_autoptr (GstEvent) event = gst_pad_get_sticky_event (pad, GST_EVENT_SEGMENT, 0);
  const GstSegment *segment;
  GstClockTimeDiff way;

  gst_event_parse_segment (event, &segment);
  way = GST_CLOCK_DIFF (
      gst_segment_to_running_time (segment, GST_FORMAT_TIME, GST_BUFFER_PTS (buffer)), time);

  g_mutex_lock (&run->lock);
  if (run->frames++ == 0)
    run->first_time = time;
  run->last_time = time;
  if (time - run->first_time >= SETTLED) {
    run->worst = MAX (run->worst, way);
    run->best = run->in_block++ == 0 ? way : MIN (run->best, way);
    if (run->in_block == BLOCK) {
      run->last_best = run->best;
      if (run->blocks++ == 0)
        run->first_best = run->best;
      run->in_block = 0;
    }
  }
  run->gaps += GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP) != 0;
  run->disconts += GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_DISCONT) != 0;
  g_mutex_unlock (&run->lock);
}

static void
measure (Memory *memory, guint64 frames)
{
  *memory = (Memory){process_allocated (), process_resident (), frames};
}

/* Every quarter of a second. */
static gboolean
look (gpointer data)
{
  Run *run = data;
  GstClockTime played;
  guint64 frames;

  g_mutex_lock (&run->lock);
  frames = run->frames;
  played = run->frames ? run->last_time - run->first_time : 0;
  g_mutex_unlock (&run->lock);
  if (run->start.resident == 0 && played >= run->warm)
    measure (&run->start, frames);
  if (run->middle.resident == 0 && played >= (run->warm + run->length) / 2)
    measure (&run->middle, frames);
  if (played < run->length)
    return G_SOURCE_CONTINUE;
  measure (&run->end, frames);
  g_main_loop_quit (run->loop);
  return G_SOURCE_REMOVE;
}

static gboolean
take_message (GstBus *bus, GstMessage *message, gpointer data)
{
  g_autoptr (GError) error = NULL;
  Run *run = data;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, NULL);
      printf ("warning: %s\n", error->message);
      break;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, NULL);
      printf ("error: %s\n", error->message);
      run->failed = TRUE;
      g_main_loop_quit (run->loop);
      break;
    case GST_MESSAGE_EOS:
      printf ("error: the video ended by itself\n");
      run->failed = TRUE;
      g_main_loop_quit (run->loop);
      break;
    case GST_MESSAGE_LATENCY:
      gst_bin_recalculate_latency (GST_BIN (run->pipeline));
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

static guint64
stat_of (GstElement *element, const char *field)
{
  g_autoptr (GstStructure) stats = NULL;
  guint64 value = 0;

  g_object_get (element, "stats", &stats, NULL);
  if (!gst_structure_get_uint64 (stats, field, &value))
    g_error ("the stats of %s have no %s", GST_ELEMENT_NAME (element), field);
  return value;
}

static void
expect (Run *run, gboolean good, const char *what)
{
  if (good)
    return;
  printf ("FAILED: %s\n", what);
  run->failed = TRUE;
}

/* What may be allocated more than after the warm-up: a third of the pictures that were shown since, for
 * where the generator or the machine was slow a moment, one or two chunks more are in use. */
static double
allowance (Run *run, GstCaps *caps)
{
  GstVideoInfo info;

  if (!gst_video_info_from_caps (&info, caps))
    g_error ("%s are no video's caps", gst_caps_to_string (caps));
  return (double) (run->end.frames - run->start.frames) * (double) info.size / 3;
}

static double
growth (gsize start, gsize end)
{
  return (double) end - (double) start;
}

static void
print_memory (const char *what, gsize start, gsize middle, gsize end)
{
  printf ("%-17s %.2f MiB at the start, %.2f in the middle, %.2f at the end\n", what,
      start / 1048576.0, middle / 1048576.0, end / 1048576.0);
}

/* While the pipeline still plays. */
static void
report (Run *run, double margin)
{
  guint64 late = stat_of (run->sink, "dropped"), repeated = stat_of (run->src, "repeated");
  guint64 dropped = stat_of (run->src, "dropped"), resyncs = stat_of (run->src, "resyncs");
  GstClockTimeDiff drift;
  gint fps_n = 0, fps_d = 1;
  double frame, most = margin * 1048576;
  g_autoptr (GstPad) pad = gst_element_get_static_pad (run->src, "src");
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);

  gst_structure_get_fraction (gst_caps_get_structure (caps, 0), "framerate", &fps_n, &fps_d);
  frame = 1000.0 * fps_d / fps_n;
  g_mutex_lock (&run->lock);
  drift = run->first_best - run->last_best;
  printf ("played            %.1f s, %" G_GUINT64_FORMAT " buffers of %.3f ms\n",
      (run->last_time - run->first_time) / 1e9, run->frames, frame);
  printf ("late at the sink  %" G_GUINT64_FORMAT "\n", late);
  printf ("drift             %+.3f ms (what frames gained on the clock)\n", drift / 1e6);
  printf ("longest way       %.3f ms from a frame's time to its showing, latency included\n",
      run->worst / 1e6);
  printf ("stats             %" G_GUINT64_FORMAT " shown, %" G_GUINT64_FORMAT
          " repeated, %" G_GUINT64_FORMAT " dropped, %" G_GUINT64_FORMAT
          " resyncs, %" G_GUINT64_FORMAT " late episodes\n",
      stat_of (run->src, "shown"), repeated, dropped, resyncs, stat_of (run->src, "late-episodes"));
  print_memory ("memory", run->start.resident, run->middle.resident, run->end.resident);
  print_memory ("allocated", run->start.allocated, run->middle.allocated, run->end.allocated);
  printf ("machine           %u stalls, %.3f s in all\n", run->stalls, run->stalled / 1e6);
  expect (run, run->blocks >= 2, "it did not play long enough to measure");
  /* those of the time itself, and the one before and behind it */
  expect (run, late <= run->stalled / (1000 * frame) + 2.0 * run->stalls,
      "frames came too late to be shown");
  expect (run, ABS (drift / 1e6) <= frame, "frames and clock have drifted apart");
  expect (run, repeated == 0 && run->gaps == 0, "pictures were shown again");
  expect (run, dropped == 0 && resyncs <= run->stalls && run->disconts == 1 + resyncs,
      "the schedule was broken");
  expect (run,
      growth (run->start.allocated, run->end.allocated) <= MIN (allowance (run, caps), most),
      "what is allocated grows");
  expect (run, growth (run->start.resident, run->end.resident) <= most, "memory grows");
  g_mutex_unlock (&run->lock);
}

int
main (int argc, char **argv)
{
  double minutes = 20.0 / 60, margin = 4;
  g_autofree char *properties = NULL, *through = NULL, *line = NULL;
  const GOptionEntry entries[] = {
      {"minutes", 'l', 0, G_OPTION_ARG_DOUBLE, &minutes, "how long it plays (a third)", "N"},
      {"margin", 'm', 0, G_OPTION_ARG_DOUBLE, &margin,
          "MiB by which memory may grow after the warm-up (4)", "N"},
      {"properties", 'p', 0, G_OPTION_ARG_STRING, &properties, "of lightforcesrc", "TEXT"},
      {"through", 't', 0, G_OPTION_ARG_STRING, &through,
          "elements between source and sink (videoconvert)", "TEXT"},
      {NULL}};
  g_autoptr (GOptionContext) options = g_option_context_new ("- play live and measure");
  g_autoptr (GError) error = NULL;
  g_autoptr (GstBus) bus = NULL;
  Run run = {.worst = G_MININT64};
  GThread *watch;

  g_option_context_add_main_entries (options, entries, NULL);
  g_option_context_add_group (options, gst_init_get_option_group ());
  if (!g_option_context_parse (options, &argc, &argv, &error))
    goto unusable;
  line =
      g_strdup_printf ("lightforcesrc name=src is-live=true %s ! %s ! fakesink name=sink "
                       "sync=true qos=true max-lateness=%" G_GUINT64_FORMAT " signal-handoffs=true",
          properties ? properties : "prompt=\"a red ball bouncing on green hills\"",
          through ? through : "videoconvert", (guint64) LATENESS);
  run.pipeline = gst_parse_launch (line, &error);
  if (error)
    goto unusable;

  /* The first chunks take memory that stays: pools, histories, the cache as long as its window. */
  run.length = (GstClockTime) (minutes * 60 * GST_SECOND);
  run.warm = MAX (run.length / 10, MIN (run.length / 2, 8 * GST_SECOND));
  run.loop = g_main_loop_new (NULL, FALSE);
  g_mutex_init (&run.lock);
  run.src = gst_bin_get_by_name (GST_BIN (run.pipeline), "src");
  run.sink = gst_bin_get_by_name (GST_BIN (run.pipeline), "sink");
  g_signal_connect (run.sink, "handoff", G_CALLBACK (note_frame), &run);
  bus = gst_element_get_bus (run.pipeline);
  gst_bus_add_watch (bus, take_message, &run);
  g_timeout_add (250, look, &run);
  watch = g_thread_new ("watch", watch_machine, &run);
  /* one message of it is enough where a change of state fails */
  gst_element_set_state (run.pipeline, GST_STATE_PLAYING);
  g_main_loop_run (run.loop);
  if (!run.failed)
    report (&run, margin);
  gst_element_set_state (run.pipeline, GST_STATE_NULL);
  g_atomic_int_set (&run.ended, TRUE);
  g_thread_join (watch);
  gst_bus_remove_watch (bus);
  gst_object_unref (run.sink);
  gst_object_unref (run.src);
  gst_object_unref (run.pipeline);
  g_main_loop_unref (run.loop);
  g_mutex_clear (&run.lock);
  return run.failed ? EXIT_FAILURE : EXIT_SUCCESS;

unusable:
  fprintf (stderr, "%s\n", error->message);
  if (run.pipeline)
    gst_object_unref (run.pipeline);
  return 2;
}
