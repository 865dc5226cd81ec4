/* lightforce: when live frames go out, and what happens to those that are late
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frames have their times by a schedule that counts from an anchor, which is set when the first
 * frame goes out. Pictures are put on frames in order. When the next picture is not there at its
 * time, then by policy:
 *
 * - repeat: the frame shows the latest picture again, and the next picture goes to the next frame;
 * - resync: the anchor moves to the picture, once it is there;
 * - drop: picture and frame belong together; a picture whose frame is over is left out. When all of
 *   a chunk is, and no other is waiting, its last picture is shown, so that the video does not
 *   freeze for good where the generator never keeps up.
 *
 * Downstream can be late, too: it holds up this thread while pictures are waiting. Repeating one
 * would add to its load; the picture goes to the frame of the present time.
 */
#include "gst/element.h"

#include "gst/i18n.h"
#include "gst/messages.h"

/* Others look at it under the object lock. */
static void
set_next_frame (LightforceSrc *self, guint64 frame)
{
  GST_OBJECT_LOCK (self);
  self->next_frame = frame;
  GST_OBJECT_UNLOCK (self);
}

/* The next picture has the next frame. */
static void
put_together (LightforceSrc *self)
{
  self->shift = self->next_frame - self->next_picture;
}

static void
move_anchor (LightforceSrc *self, GstClockTime now)
{
  GST_OBJECT_LOCK (self);
  lf_timeline_anchor (&self->timeline, self->next_frame, now);
  put_together (self);
  if (self->anchored)
    self->counts.resyncs++;
  GST_OBJECT_UNLOCK (self);
  if (self->anchored)
    GST_INFO_OBJECT (self, "frame %" G_GUINT64_FORMAT " goes out at %" GST_TIME_FORMAT,
        self->next_frame, GST_TIME_ARGS (now));
  self->anchored = TRUE;
  self->discont = TRUE;
}

/* The next frame is the one of the present time; the schedule stays. */
static void
skip_frames (LightforceSrc *self, GstClockTime now)
{
  GST_OBJECT_LOCK (self);
  self->next_frame = lf_timeline_frame (&self->timeline, now);
  put_together (self);
  self->counts.resyncs++;
  GST_OBJECT_UNLOCK (self);
  GST_INFO_OBJECT (self, "goes on with frame %" G_GUINT64_FORMAT, self->next_frame);
  self->discont = TRUE;
}

/* The running time at which the next frame goes out. */
static GstClockTime
next_due (GstClockTime now, gpointer user_data)
{
  LightforceSrc *self = user_data;
  GstClockTime due, duration;

  self->now = now;
  if (!self->anchored)
    move_anchor (self, now);
  due = lf_timeline_time (&self->timeline, self->next_frame);
  duration = lf_timeline_duration (&self->timeline, self->next_frame);
  if (due > now + 2 * duration) {
    /* the running time was set back */
    move_anchor (self, now);
    return now;
  }
  if (now <= due + duration) {
    self->now = MAX (now, due);
    return due;
  }
  if (self->policy == LF_SRC_LATE_RESYNC)
    move_anchor (self, now);
  else if (self->policy == LF_SRC_LATE_REPEAT)
    skip_frames (self, now);
  return now;
}

/* A picture was not there in time, which is the generator's fault unless it was told to throw away
 * what it had. */
static void
note_late (LightforceSrc *self)
{
  if (self->late || lf_src_worker_is_refilling (self->worker, self->restarts))
    return;
  self->late = self->warn = TRUE;
}

void
lf_src_release_taken (LightforceSrc *self, const LfFrameItem *item)
{
  GstClockTime plays = gst_util_uint64_scale ((guint64) item->chunk->n_pictures,
      (guint64) self->timeline.fps_d * GST_SECOND, (guint64) self->timeline.fps_n);
  double ratio = (double) item->made_us * GST_USECOND / (double) plays;

  GST_OBJECT_LOCK (self);
  self->counts.ratio = ratio;
  GST_OBJECT_UNLOCK (self);
  if (item->was_full)
    self->late = self->warn = FALSE;
}

/* Once for each time that the generator falls behind, as soon as it is known how slow it is. */
static void
warn_if_slow (LightforceSrc *self)
{
  double ratio = self->counts.ratio;

  if (!self->warn || self->item == NULL || ratio <= 1)
    return;
  self->warn = FALSE;
  GST_OBJECT_LOCK (self);
  self->counts.late_episodes++;
  GST_OBJECT_UNLOCK (self);
  GST_ELEMENT_WARNING_WITH_DETAILS (self, CORE, CLOCK,
      (_ ("The video is made more slowly than it plays: %.2f times real time for the latest chunk. "
          "Choose a smaller width and height, a higher sparsity or a lower framerate, or more "
          "queue-chunks for single slow moments."),
          ratio),
      ("chunk %" G_GUINT64_FORMAT ", %d pictures in %" G_GINT64_FORMAT " us",
          self->item->chunk->index, self->item->chunk->n_pictures, self->item->made_us),
      ("ratio", G_TYPE_DOUBLE, ratio, "chunk", G_TYPE_UINT64, self->item->chunk->index, NULL));
}

static void
post_qos (LightforceSrc *self, guint64 frame)
{
  GstClockTime due = lf_timeline_time (&self->timeline, frame);
  LfSrcCounts counts;

  GST_OBJECT_LOCK (self);
  counts = self->counts;
  GST_OBJECT_UNLOCK (self);
  lf_src_post_qos (GST_ELEMENT (self), due, lf_timeline_duration (&self->timeline, frame),
      GST_CLOCK_DIFF (due, self->now), &counts);
}

void
lf_src_release_repeated (LightforceSrc *self, guint64 frame)
{
  post_qos (self, frame);
}

/* Leaves pictures out up to number `end`. */
static void
drop_pictures (LightforceSrc *self, guint64 end)
{
  while (self->next_picture < end) {
    guint64 frame = self->next_picture + self->shift;

    GST_OBJECT_LOCK (self);
    self->next_picture++;
    self->counts.dropped++;
    GST_OBJECT_UNLOCK (self);
    /* One that stands in for a chunk can have gone out with a later frame. */
    post_qos (self, MAX (frame, self->timeline.frame));
    self->discont = TRUE;
  }
}

/* By the policy drop: finds the picture of the present frame. */
static GstFlowReturn
drop_late (LightforceSrc *self, gboolean starved)
{
  /* Without a clock, it was not looked at, and another framerate can have moved the anchor since. */
  GstClockTime now = MAX (self->now, self->timeline.time);

  for (;;) {
    guint64 end = self->item->first_picture + (guint64) self->item->chunk->n_pictures;
    guint64 frame = MAX (lf_timeline_frame (&self->timeline, now), self->next_frame);
    /* the number of pictures that are late, if any; a new video begins with its first one */
    gint64 late = self->fresh ? 0 : (gint64) (frame - (self->next_picture + self->shift));
    GstFlowReturn ret;

    if (self->fresh) {
      GST_OBJECT_LOCK (self);
      self->next_frame = frame;
      put_together (self);
      GST_OBJECT_UNLOCK (self);
    }

    if (late <= 0) {
      set_next_frame (self, self->next_picture + self->shift);
      return GST_FLOW_OK;
    }
    if (starved)
      note_late (self);
    if (self->next_picture + (guint64) late < end) {
      drop_pictures (self, self->next_picture + (guint64) late);
      set_next_frame (self, frame);
      return GST_FLOW_OK;
    }
    if (lf_src_worker_get_level (self->worker) == 0) {
      drop_pictures (self, end - 1);
      set_next_frame (self, frame);
      return GST_FLOW_OK;
    }
    drop_pictures (self, end);
    ret = lf_src_find_chunk (self, TRUE);
    if (ret != GST_FLOW_OK)
      return ret;
  }
}

static GstFlowReturn
prebuffer (LightforceSrc *self)
{
  gint level;

  GST_OBJECT_LOCK (self);
  level = self->settings.prebuffer;
  if (level < 0)
    level = (gint) self->settings.queue_chunks;
  GST_OBJECT_UNLOCK (self);
  return lf_src_worker_prebuffer (self->worker, (guint) level) ? GST_FLOW_OK : GST_FLOW_FLUSHING;
}

GstFlowReturn
lf_src_release (LightforceSrc *self, gboolean *repeat)
{
  GstFlowReturn ret = GST_FLOW_OK;
  gboolean starved = FALSE, can_repeat;
  guint64 resyncs = self->counts.resyncs;
  guint restarts;

  *repeat = FALSE;
  GST_OBJECT_LOCK (self);
  self->policy = self->settings.late_policy;
  GST_OBJECT_UNLOCK (self);
  can_repeat = self->policy == LF_SRC_LATE_REPEAT && self->shown_chunk;
  if (!self->anchored && self->item == NULL)
    ret = prebuffer (self);
  if (ret != GST_FLOW_OK)
    return ret;
  do {
    ret = lf_src_find_chunk (self, FALSE);
    starved |=
        ret == LF_SRC_FLOW_EMPTY && !lf_src_worker_is_refilling (self->worker, self->restarts);
    if (ret == LF_SRC_FLOW_EMPTY && !can_repeat)
      ret = lf_src_find_chunk (self, TRUE);
    if (ret != GST_FLOW_OK && ret != LF_SRC_FLOW_EMPTY)
      return ret;
    if (!lf_pacer_wait (&self->pacer, GST_ELEMENT (self), next_due, self))
      return GST_FLOW_FLUSHING;
    /* It may have come meanwhile, or be of no use since a restart; then its time is another. */
    restarts = self->restarts;
    ret = lf_src_find_chunk (self, FALSE);
  } while (!can_repeat && (ret == LF_SRC_FLOW_EMPTY || self->restarts != restarts));
  if (ret == LF_SRC_FLOW_EMPTY) {
    note_late (self);
    *repeat = TRUE;
    return GST_FLOW_OK;
  }
  if (ret == GST_FLOW_OK && self->policy == LF_SRC_LATE_DROP)
    ret = drop_late (self, starved);
  else if (starved && !self->fresh && self->counts.resyncs != resyncs)
    note_late (self);
  self->fresh = FALSE;
  if (ret == GST_FLOW_OK)
    warn_if_slow (self);
  return ret;
}
