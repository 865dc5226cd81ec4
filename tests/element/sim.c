/* lightforce: a live pipeline in simulated time
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/sim.h"

#undef GST_CAT_DEFAULT /* the element has its own */
#include "gst/element.h"

static void
note_arrival (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  Sim *sim = user_data;
  GstClockTime time = gst_clock_get_time (GST_CLOCK (sim->clock));

  g_mutex_lock (&sim->rig->lock);
  g_array_append_val (sim->arrivals, time);
  g_mutex_unlock (&sim->rig->lock);
}

Sim *
sim_new (const char *policy, guint depth, guint prebuffer, const char *properties)
{
  Sim *sim = g_new0 (Sim, 1);
  g_autofree char *line =
      g_strdup_printf ("is-live=true late-policy=%s queue-chunks=%u prebuffer=%u %s", policy, depth,
          prebuffer, properties);
  Standin *standin;

  sim->clock = GST_TEST_CLOCK (gst_test_clock_new_with_start_time (0));
  sim->depth = depth;
  sim->prebuffer = MAX (prebuffer, 1);
  sim->arrivals = g_array_new (FALSE, FALSE, sizeof (GstClockTime));
  standin = standin_lock ();
  standin->clock = GST_CLOCK (sim->clock);
  standin->solid = TRUE;
  sim->first_pictures = standin->first_pictures;
  sim->pictures = standin->chunk_pictures;
  standin_unlock ();
  sim->rig = rig_new (line, "video/x-raw,format=RGBx,width=2,height=2");
  /* before the one of the rig, so that each frame that counts has its time */
  g_signal_handlers_disconnect_by_data (sim->rig->sink, sim->rig);
  g_signal_connect (sim->rig->sink, "handoff", G_CALLBACK (note_arrival), sim);
  g_signal_connect (sim->rig->sink, "handoff", G_CALLBACK (rig_take_frame), sim->rig);
  gst_pipeline_use_clock (GST_PIPELINE (sim->rig->pipeline), GST_CLOCK (sim->clock));
  g_object_get (sim->rig->src, "seed", &sim->seed, NULL);
  rig_set_state (sim->rig, GST_STATE_PLAYING);
  return sim;
}

void
sim_free (Sim *sim)
{
  rig_set_state (sim->rig, GST_STATE_NULL);
  STANDIN_SET (clock, NULL);
  rig_free (sim->rig);
  gst_object_unref (sim->clock);
  g_array_unref (sim->arrivals);
  g_free (sim);
}

void
sim_frame (Sim *sim, guint index, SimFrame *frame)
{
  GstCustomMeta *meta;
  guint64 chunk;
  guint in_chunk;

  frame->buffer = rig_frame (sim->rig, index);
  g_mutex_lock (&sim->rig->lock);
  frame->arrival = g_array_index (sim->arrivals, GstClockTime, index);
  g_mutex_unlock (&sim->rig->lock);
  meta = gst_buffer_get_custom_meta (frame->buffer, "LightforceMeta");
  fail_unless (gst_structure_get (gst_custom_meta_get_structure (meta), "chunk", G_TYPE_UINT64,
      &chunk, "frame-in-chunk", G_TYPE_UINT, &in_chunk, NULL));
  frame->picture = in_chunk;
  if (chunk > 0)
    frame->picture += (guint64) sim->first_pictures + (chunk - 1) * (guint64) sim->pictures;
  fail_unless (
      gst_structure_get_uint64 (gst_custom_meta_get_structure (meta), "seed", &frame->seed));
  frame->gap = GST_BUFFER_FLAG_IS_SET (frame->buffer, GST_BUFFER_FLAG_GAP);
  frame->discont = GST_BUFFER_FLAG_IS_SET (frame->buffer, GST_BUFFER_FLAG_DISCONT);
}

guint64
sim_stat (Sim *sim, const char *field)
{
  return rig_stat (sim->rig, field);
}

/* Chunks of the present video. */
static guint64
chunks_made (Sim *sim)
{
  return sim_stat (sim, "chunks") - sim->old_chunks;
}

/* How many chunks must have been taken for the next picture to go out. */
static guint64
chunks_needed (Sim *sim)
{
  guint count = rig_count (sim->rig);
  SimFrame last;

  if (count == 0)
    return 1;
  sim_frame (sim, count - 1, &last);
  if (last.seed != sim->seed || last.picture + 1 < (guint64) sim->first_pictures)
    return 1;
  return 2 + (last.picture + 1 - (guint64) sim->first_pictures) / (guint64) sim->pictures;
}

/* Without its strings. */
static StandinLog
standin_log (void)
{
  StandinLog log, counts;

  standin_get_log (&log);
  counts = log;
  standin_log_clear (&log);
  return counts;
}

/* Whether the streaming thread has found no chunk and waits for one: before that it makes a
 * difference when the chunk comes, as the generator is to blame only for what was waited for. */
static gboolean
chunk_is_awaited (Sim *sim)
{
  LightforceSrc *src = LF_SRC (sim->rig->src);
  gboolean awaited;

  GST_OBJECT_LOCK (src);
  awaited = lf_src_worker_is_awaited (src->worker);
  GST_OBJECT_UNLOCK (src);
  return awaited;
}

static gboolean
stream_waits (Sim *sim)
{
  if (gst_test_clock_peek_next_pending_id (sim->clock, NULL))
    return TRUE;
  if (rig_count (sim->rig) == 0)
    return chunks_made (sim) < sim->prebuffer;
  /* or has ended, with an error */
  return chunk_is_awaited (sim)
         || (standin_log ().failures && chunks_made (sim) + 1 == chunks_needed (sim));
}

static gboolean
worker_waits (Sim *sim)
{
  GstClockTime deadline = standin_deadline ();

  if (GST_CLOCK_TIME_IS_VALID (deadline))
    return deadline > gst_clock_get_time (GST_CLOCK (sim->clock));
  if (standin_log ().failures)
    return TRUE;
  /* for room in the queue, with one in hand */
  return sim_stat (sim, "queue-level") == sim->depth
         && chunks_made (sim) == chunks_needed (sim) + sim->depth + 1;
}

static void
settle (Sim *sim)
{
  gint64 end = g_get_monotonic_time () + 2 * LONG;

  while (!(stream_waits (sim) && worker_waits (sim) && stream_waits (sim))) {
    fail_unless (g_get_monotonic_time () < end,
        "nothing happens: %u frames, %u chunks, %u in the queue", rig_count (sim->rig),
        (guint) sim_stat (sim, "chunks"), (guint) sim_stat (sim, "queue-level"));
    g_usleep (50);
  }
}

/* Lets the element go on where its time has come. */
static void
release (Sim *sim)
{
  GstClockTime now = gst_clock_get_time (GST_CLOCK (sim->clock));
  gboolean due = TRUE;
  GstClockID id;

  while (due && gst_test_clock_peek_next_pending_id (sim->clock, &id)) {
    due = gst_clock_id_get_time (id) <= now;
    gst_clock_id_unref (id);
    if (due)
      gst_clock_id_unref (gst_test_clock_process_next_clock_id (sim->clock));
  }
}

/* Lets time pass to the next event. */
static void
step (Sim *sim)
{
  GstClockTime next;
  GstClockID id = NULL;

  settle (sim);
  next = standin_deadline ();
  if (gst_test_clock_peek_next_pending_id (sim->clock, &id)) {
    next = MIN (next, gst_clock_id_get_time (id));
    gst_clock_id_unref (id);
  }
  fail_unless (GST_CLOCK_TIME_IS_VALID (next), "both threads wait for each other");
  gst_test_clock_set_time (sim->clock, next);
  settle (sim);
  release (sim);
}

void
sim_restart (Sim *sim, guint64 seed)
{
  guint before = standin_log ().restarts;

  settle (sim);
  sim->seed = seed;
  g_object_set (sim->rig->src, "seed", seed, NULL);
  g_signal_emit_by_name (sim->rig->src, "restart");
  while (standin_log ().restarts == before || !GST_CLOCK_TIME_IS_VALID (standin_deadline ()))
    g_usleep (50);
  sim->old_chunks = sim_stat (sim, "chunks");
}

void
sim_run_frames (Sim *sim, guint count)
{
  settle (sim);
  while (rig_count (sim->rig) < count) {
    step (sim);
    settle (sim);
  }
}

void
sim_run_to_picture (Sim *sim, guint64 picture)
{
  SimFrame last;

  do {
    sim_run_frames (sim, rig_count (sim->rig) + 1);
    sim_frame (sim, rig_count (sim->rig) - 1, &last);
  } while (last.picture < picture);
}

void
sim_messages (Sim *sim, SimMessages *messages)
{
  GstMessage *message;

  *messages = (SimMessages){0};
  while ((message = gst_bus_pop_filtered (sim->rig->bus, GST_MESSAGE_QOS | GST_MESSAGE_WARNING))) {
    const GstStructure *details = NULL;

    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_QOS) {
      messages->qos++;
    } else {
      messages->warnings++;
      gst_message_parse_warning_details (message, &details);
      fail_unless (details && gst_structure_get_double (details, "ratio", &messages->ratio));
    }
    gst_message_unref (message);
  }
}
