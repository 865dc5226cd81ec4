/* lightforce: seeks
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A video that is not live can be sought: it is made again from its seed, and the pictures before
 * the place in question are thrown away. Every frame is one to start from. The base class ends a
 * segment behind the frame that reaches its stop.
 */
#include "gst/element.h"

static gboolean
lf_src_is_seekable (GstBaseSrc *bsrc)
{
  return !gst_base_src_is_live (bsrc);
}

/* Where a seek begins and ends: what it leaves as it is, is the present segment's. */
static void
get_range (LightforceSrc *self, GstEvent *event, gint64 *start, gint64 *stop)
{
  GstBaseSrc *bsrc = GST_BASE_SRC (self);
  GstSeekType start_type, stop_type;

  gst_event_parse_seek (event, NULL, NULL, NULL, &start_type, start, &stop_type, stop);
  GST_OBJECT_LOCK (self);
  if (start_type == GST_SEEK_TYPE_NONE)
    *start = GST_BASE_SRC_IS_STARTED (bsrc) ? (gint64) bsrc->segment.start : 0;
  if (stop_type == GST_SEEK_TYPE_NONE)
    *stop = GST_BASE_SRC_IS_STARTED (bsrc) ? (gint64) bsrc->segment.stop : -1;
  GST_OBJECT_UNLOCK (self);
}

/* Why a seek is not done; NULL: it is. */
static const char *
find_problem (LightforceSrc *self, GstEvent *event)
{
  const GstSeekFlags refused =
      GST_SEEK_FLAG_TRICKMODE | GST_SEEK_FLAG_TRICKMODE_KEY_UNITS | GST_SEEK_FLAG_TRICKMODE_NO_AUDIO
      | GST_SEEK_FLAG_TRICKMODE_FORWARD_PREDICTED | GST_SEEK_FLAG_INSTANT_RATE_CHANGE;
  GstSeekType start_type, stop_type;
  GstSeekFlags flags;
  GstFormat format;
  gint64 start, stop;
  gdouble rate;

  gst_event_parse_seek (event, &rate, &format, &flags, &start_type, NULL, &stop_type, NULL);
  get_range (self, event, &start, &stop);
  if (gst_base_src_is_live (GST_BASE_SRC (self)))
    return "a live video cannot be sought";
  if (format != GST_FORMAT_TIME)
    return "only times can be sought";
  if (rate != 1)
    return "the rate can only be 1: the property framerate plays slower or faster";
  if (flags & refused)
    return "trick modes are not done";
  if (start_type == GST_SEEK_TYPE_END || stop_type == GST_SEEK_TYPE_END)
    return "times count from the beginning: the end may be unknown";
  if (start < 0 || stop < -1)
    return "times before the beginning cannot be sought";
  if (stop != -1 && start > stop)
    return "the stop is before the start; one that was set before stays until another one is, or "
           "-1";
  return NULL;
}

/* The base class flushes before it asks do_seek(), and after a refusal there goes on without
 * a segment: what cannot be done is refused before. */
gboolean
lf_src_can_seek (LightforceSrc *self, GstEvent *event)
{
  const char *problem = find_problem (self, event);
  GstSeekType start_type;
  GstSeekFlags flags;

  if (problem) {
    GST_WARNING_OBJECT (self, "refused, %s: %" GST_PTR_FORMAT, problem, event);
    return FALSE;
  }
  gst_event_parse_seek (event, NULL, NULL, &flags, &start_type, NULL, NULL, NULL);
  GST_OBJECT_LOCK (self);
  self->seek_key_unit = start_type == GST_SEEK_TYPE_SET && flags & GST_SEEK_FLAG_KEY_UNIT
                        && !(flags & GST_SEEK_FLAG_ACCURATE);
  GST_OBJECT_UNLOCK (self);
  return TRUE;
}

/* To the beginning of the frame that is shown at the segment's position. */
static void
snap (GstSegment *segment, const LfTimeline *now, gboolean key_unit)
{
  LfTimeline timeline = *now;
  GstClockTime begin;

  lf_timeline_anchor (&timeline, 0, 0);
  begin = lf_timeline_time (&timeline, lf_timeline_frame (&timeline, segment->position));
  /* The segment of a seek to a key unit begins there; that of an accurate one exactly where it was
   * told, in the middle of the frame. */
  if (key_unit) {
    segment->start = segment->position = segment->time = begin;
  } else if (segment->position != segment->start && begin > segment->start) {
    /* The start stays and the video goes on, where it may have stopped in the middle of a frame. */
    segment->position = begin;
    segment->offset = begin - segment->start;
  }
}

/* Also called at the start of every stream. */
static gboolean
lf_src_do_seek (GstBaseSrc *bsrc, GstSegment *segment)
{
  LightforceSrc *self = LF_SRC (bsrc);
  LfTimeline timeline;
  gboolean key_unit;

  if (gst_base_src_is_live (bsrc))
    return TRUE;
  GST_OBJECT_LOCK (self);
  timeline = self->timeline;
  key_unit = self->seek_key_unit;
  GST_OBJECT_UNLOCK (self);
  if (timeline.fps_n > 0)
    snap (segment, &timeline, key_unit);
  self->provenance.known = FALSE; /* what told of the prompt may be lost in the flush */
  self->seek_time = segment->position;
  self->seek_pending = TRUE;
  self->discont = TRUE;
  bsrc->num_buffers_left = bsrc->num_buffers;
  return TRUE;
}

void
lf_src_note_change (LightforceSrc *self)
{
  if (GST_CLOCK_TIME_IS_VALID (self->begun))
    self->mixed = TRUE;
}

void
lf_src_note_settings (LightforceSrc *self, const LfSrcSettings *before)
{
  const LfSrcSettings *now = &self->settings;

  /* The value of a controlled property comes at its time. */
  if (self->syncing == g_thread_self ())
    return;
  if (now->attention != before->attention || now->sparsity != before->sparsity
      || now->sparsity_base != before->sparsity_base || now->keep_frames != before->keep_frames
      || now->keep_sink != before->keep_sink || now->keep_near != before->keep_near
      || now->prompt_switch != before->prompt_switch)
    lf_src_note_change (self);
}

GstFlowReturn
lf_src_apply_seek (LightforceSrc *self)
{
  GstBaseSrc *bsrc = GST_BASE_SRC (self);
  gboolean again, ended;
  guint64 frame;

  if (!self->seek_pending)
    return GST_FLOW_OK;
  self->seek_pending = FALSE;
  GST_OBJECT_LOCK (self);
  lf_timeline_anchor (&self->timeline, 0, 0);
  frame = lf_timeline_frame (&self->timeline, self->seek_time);
  ended = GST_CLOCK_TIME_IS_VALID (bsrc->segment.stop)
          && lf_timeline_time (&self->timeline, frame) >= bsrc->segment.stop;
  GST_OBJECT_UNLOCK (self);
  if (ended)
    return GST_FLOW_EOS;
  if (bsrc->num_buffers >= 0) {
    if (frame >= (guint64) bsrc->num_buffers)
      return GST_FLOW_EOS;
    /* This buffer is counted already. */
    bsrc->num_buffers_left = bsrc->num_buffers - (gint) frame - 1;
  }
  GST_OBJECT_LOCK (self);
  /* Going on is enough for a later picture of a video that would be the same from its beginning, and
   * at its start, which comes here, too, nothing was seen yet. */
  again = frame < self->next_picture || self->shift != 0 || (self->mixed && self->counts.shown > 0)
          || lf_src_worker_get_restarts (self->worker) != self->restarts;
  if (again) {
    lf_prompts_rewind (self->prompts);
    self->restarts = lf_src_worker_restart (self->worker, NULL);
    self->begun = GST_CLOCK_TIME_NONE;
    self->mixed = FALSE;
  }
  self->next_frame = self->next_picture = frame;
  self->shift = 0;
  GST_OBJECT_UNLOCK (self);
  if (again) {
    GST_DEBUG_OBJECT (self, "begin again for frame %" G_GUINT64_FORMAT, frame);
    g_clear_pointer (&self->item, lf_frame_item_free);
    lf_provenance_reset (&self->provenance);
  }
  return GST_FLOW_OK;
}

void
lf_src_seek_class_init (GstBaseSrcClass *klass)
{
  klass->is_seekable = lf_src_is_seekable;
  klass->do_seek = lf_src_do_seek;
}
