/* lightforce: how the element takes prompts, and tells of them
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/element.h"

#include "gst/messages.h"
#include "gst/promptevent.h"

/* The running time where frames wait for theirs, in live video that plays; else NONE. */
static GstClockTime
live_time (LightforceSrc *self)
{
  gboolean playing;

  GST_OBJECT_LOCK (self);
  playing = GST_STATE (self) == GST_STATE_PLAYING;
  GST_OBJECT_UNLOCK (self);
  return playing && gst_base_src_is_live (GST_BASE_SRC (self))
             ? gst_element_get_current_running_time (GST_ELEMENT (self))
             : GST_CLOCK_TIME_NONE;
}

/* When frames are going to show, as far as can be known at the live time `now`: a schedule that is
 * behind, as before the first frame and in a stall, moves there with the next frame. With the object
 * lock. */
static LfTimeline
find_schedule (LightforceSrc *self, GstClockTime now)
{
  LfTimeline schedule = self->timeline;
  gboolean begun = self->counts.shown > 0;
  GstClockTime slack;

  if (!GST_CLOCK_TIME_IS_VALID (now) || schedule.fps_n == 0
      || (begun && self->settings.late_policy == LF_SRC_LATE_DROP))
    return schedule;
  slack = begun ? lf_timeline_duration (&schedule, self->next_frame) : 0;
  if (now > lf_timeline_time (&schedule, self->next_frame) + slack)
    lf_timeline_anchor (&schedule, self->next_frame, now);
  return schedule;
}

/* A picture's number and this, modulo 2^64, is going to be its frame's. A video that begins again
 * does so with the next frame, once it is there. With the object lock. */
static guint64
find_shift (LightforceSrc *self, guint restarts)
{
  return restarts == self->restarts ? self->shift : self->next_frame;
}

/* With the object lock: the new prompt is to show from `picture` on. */
static void
show_sooner (LightforceSrc *self, const char *text, guint64 picture)
{
  if (self->settings.flush_on_prompt && self->worker
      && g_strcmp0 (lf_prompts_peek (self->prompts, &self->settings), text) != 0)
    lf_src_worker_flush (self->worker, picture);
}

void
lf_src_set_prompt (LightforceSrc *self, const char *text, gint mode)
{
  if (text == NULL)
    text = "";
  GST_OBJECT_LOCK (self);
  show_sooner (self, text, 0);
  if (!g_str_equal (self->settings.prompt, text)
      || !g_str_equal (lf_prompts_peek (self->prompts, &self->settings), text))
    lf_src_note_change (self);
  g_free (self->settings.prompt);
  self->settings.prompt = g_strdup (text);
  lf_prompts_set (self->prompts, mode);
  GST_OBJECT_UNLOCK (self);
}

/* The first picture that shows at `time` or later, where there are frames. With the object lock. */
static guint64
find_picture (LightforceSrc *self, GstClockTime time, GstClockTime now)
{
  LfTimeline schedule = find_schedule (self, now);
  guint restarts = lf_src_worker_get_restarts (self->worker);
  guint64 frame;

  if (time <= lf_timeline_time (&schedule, self->next_frame)
      || (GST_CLOCK_TIME_IS_VALID (now) && time <= now))
    return 0;
  /* behind the one of the moment before */
  frame = lf_timeline_frame (&schedule, time - 1) + 1;
  return frame - find_shift (self, restarts);
}

static void
add_prompt (LightforceSrc *self, const LfPromptEvent *event)
{
  const GstSegment *segment = &GST_BASE_SRC (self)->segment;
  guint64 position;
  GstClockTime now = live_time (self);

  GST_OBJECT_LOCK (self);
  if (segment->format != GST_FORMAT_TIME)
    position = event->time;
  else if (gst_segment_position_from_running_time_full (
               segment, GST_FORMAT_TIME, event->time, &position)
           <= 0)
    position = 0; /* before the video */
  if (self->worker && self->timeline.fps_n > 0 && lf_prompts_is_latest (self->prompts, position))
    show_sooner (self, event->text, find_picture (self, position, now));
  if (GST_CLOCK_TIME_IS_VALID (self->begun) && position <= self->begun)
    lf_src_note_change (self); /* too late for chunks that would have had it */
  lf_prompts_add (self->prompts, position, event->text, event->mode);
  GST_OBJECT_UNLOCK (self);
  GST_DEBUG_OBJECT (self, "from %" GST_TIME_FORMAT ": %s", GST_TIME_ARGS (position), event->text);
}

gboolean
lf_src_take_prompt_event (LightforceSrc *self, GstEvent *event)
{
  LfPromptEvent parsed;
  g_autofree char *problem = lf_prompt_event_parse (event, &parsed);

  if (problem) {
    GST_ELEMENT_WARNING (
        self, LIBRARY, SETTINGS, ("%s", problem), ("event %" GST_PTR_FORMAT, event));
    return FALSE;
  }
  if (GST_CLOCK_TIME_IS_VALID (parsed.time)) {
    add_prompt (self, &parsed);
  } else {
    lf_src_set_prompt (self, parsed.text, parsed.mode);
    g_object_notify (G_OBJECT (self), "prompt");
  }
  return TRUE;
}

GstClockTime
lf_src_chunk_time (LightforceSrc *self, guint restarts, guint64 picture)
{
  GstClockTime time = 0, now = live_time (self);
  LfTimeline schedule;
  guint64 frame;

  GST_OBJECT_LOCK (self);
  schedule = find_schedule (self, now);
  frame = picture + find_shift (self, restarts);
  GST_OBJECT_UNLOCK (self);
  if (schedule.fps_n > 0 && frame >= schedule.frame) {
    time = lf_timeline_time (&schedule, frame);
  } else if (schedule.fps_n > 0) {
    /* made again on the way to where a seek went */
    GstClockTime back = gst_util_uint64_scale (
        schedule.frame - frame, (guint64) schedule.fps_d * GST_SECOND, (guint64) schedule.fps_n);

    time = schedule.time > back ? schedule.time - back : 0;
  }
  /* Live frames are never early. */
  return GST_CLOCK_TIME_IS_VALID (now) ? MAX (time, now) : time;
}

/* The time at which the video ends by the number of its frames. With the object lock. */
static GstClockTime
find_end (LightforceSrc *self, gboolean live)
{
  gint end = GST_BASE_SRC (self)->num_buffers;

  /* Live, frames can be left out. */
  return end < 0 || live || (guint64) end < self->timeline.frame
             ? GST_CLOCK_TIME_NONE
             : lf_timeline_time (&self->timeline, (guint64) end);
}

/* The frame is the first one of a prompt. The base class puts events right before it, behind the
 * segment. */
static void
tell_prompt (LightforceSrc *self, GstClockTime pts, const LfFrameItem *item)
{
  GstElement *element = GST_ELEMENT (self);
  const LfModelInfo *info = lf_src_worker_get_info (self->worker);
  g_autofree char *image_hash = lf_src_worker_dup_image_hash (self->worker);
  gboolean live = gst_base_src_is_live (GST_BASE_SRC (self)), in_tags;
  g_autoptr (GPtrArray) later = NULL;
  const char *text;

  lf_src_post_prompt (element, item->prompt, item->chunk->prompt_serial, self->next_frame, pts);
  GST_OBJECT_LOCK (self);
  in_tags = self->settings.prompt_in_tags;
  later =
      lf_prompts_list_later (self->prompts, item->time, find_end (self, live), LF_PROVENANCE_MAX);
  GST_OBJECT_UNLOCK (self);
  text = in_tags ? item->prompt : NULL;
  GST_ELEMENT_GET_CLASS (self)->send_event (
      element, gst_event_new_tag (
                   lf_provenance_make_tags (&self->provenance, info, image_hash, later, text)));
  GST_ELEMENT_GET_CLASS (self)->send_event (element,
      lf_provenance_make_event (&self->provenance, item->chunk, self->next_frame, pts, text));
}

void
lf_src_tell_frame (
    LightforceSrc *self, GstBuffer *buffer, const LfChunk *chunk, gint picture, gboolean repeat)
{
  if (!repeat && lf_provenance_update (&self->provenance, chunk, self->item->prompt))
    tell_prompt (self, GST_BUFFER_PTS (buffer), self->item);
  lf_provenance_add_meta (
      &self->provenance, buffer, lf_src_worker_get_info (self->worker), chunk, (guint) picture);
}
