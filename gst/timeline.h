/* lightforce: when each frame is due
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_TIMELINE_H
#define LF_TIMELINE_H

#include <gst/gst.h>

G_BEGIN_DECLS

/* Times are counted from an anchor in one scaling, never added up, so that they are exact
 * however long the stream runs. Zero-initialise. */
typedef struct
{
  gint fps_n, fps_d; /* 0 until known */
  guint64 frame;     /* the anchor: this frame is due at this time */
  GstClockTime time;
} LfTimeline;

static inline void
lf_timeline_anchor (LfTimeline *timeline, guint64 frame, GstClockTime time)
{
  timeline->frame = frame;
  timeline->time = time;
}

/* `frame` is the anchor's or a later one. */
static inline GstClockTime
lf_timeline_time (const LfTimeline *timeline, guint64 frame)
{
  return timeline->time
         + gst_util_uint64_scale (frame - timeline->frame, (guint64) timeline->fps_d * GST_SECOND,
             (guint64) timeline->fps_n);
}

static inline GstClockTime
lf_timeline_duration (const LfTimeline *timeline, guint64 frame)
{
  return lf_timeline_time (timeline, frame + 1) - lf_timeline_time (timeline, frame);
}

/* The frame that is shown at `time`, which is not before the anchor's. */
static inline guint64
lf_timeline_frame (const LfTimeline *timeline, GstClockTime time)
{
  guint64 frame = timeline->frame
                  + gst_util_uint64_scale (time - timeline->time, (guint64) timeline->fps_n,
                      (guint64) timeline->fps_d * GST_SECOND);

  /* Frame times are rounded down, so that the division can come out one short. */
  if (lf_timeline_time (timeline, frame + 1) <= time)
    frame++;
  return frame;
}

/* Another framerate from `frame` on; the frame keeps its time. */
static inline void
lf_timeline_set_rate (LfTimeline *timeline, guint64 frame, gint fps_n, gint fps_d)
{
  if (timeline->fps_n > 0)
    lf_timeline_anchor (timeline, frame, lf_timeline_time (timeline, frame));
  timeline->fps_n = fps_n;
  timeline->fps_d = fps_d;
}

G_END_DECLS
#endif
