/* lightforce: what the parts of the element share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_ELEMENT_H
#define LF_SRC_ELEMENT_H

#include "gst/lightforcesrc.h"
#include "gst/output.h"
#include "gst/pacer.h"
#include "gst/prompts.h"
#include "gst/provenance.h"
#include "gst/timeline.h"
#include "gst/worker.h"

G_BEGIN_DECLS

GST_DEBUG_CATEGORY_EXTERN (lightforcesrc_debug);
#define GST_CAT_DEFAULT lightforcesrc_debug

struct _LightforceSrc
{
  GstPushSrc parent;

  /* object lock */
  LfSrcSettings settings;
  LfPrompts *prompts;
  LfSrcWorker *worker;          /* also read by the streaming thread, which never outlives it */
  gint want_width, want_height; /* the properties when the element was started */
  gint width, height;           /* the size of the stream; 0 until it is negotiated */
  LfTimeline timeline;          /* written by the streaming thread only */
  guint64 frames, resyncs;      /* since the start */
  LfStats final_stats;          /* of the latest worker, when there is none */

  /* streaming thread, under the stream lock */
  LfSrcOutput *output; /* NULL until negotiated */
  LfFrameItem *item;   /* the chunk that is being pushed */
  guint64 next_frame;  /* written with the object lock */
  LfProvenance provenance;
  gboolean failed;   /* an error was posted: only EOS from here on */
  gboolean discont;  /* the next frame does not follow the previous one */
  gboolean anchored; /* live: the time of the first frame is set */
  gboolean seek_pending;
  GstClockTime seek_time;

  /* worker thread */
  gint percent; /* of the latest progress message */

  LfPacer pacer; /* has a lock of its own */
};

/* negotiation.c: which video, in which memory. Sets the methods for it. */
void lf_src_negotiation_class_init (GstBaseSrcClass *klass);

/* promptcontrol.c */
/* The same as setting the property; `mode`: how it enters, or LF_PROMPT_MODE_DEFAULT. */
void lf_src_set_prompt (LightforceSrc *self, const char *text, gint mode);
/* FALSE, with a warning posted: the event is wrong. */
gboolean lf_src_take_prompt_event (LightforceSrc *self, GstEvent *event);
/* When the chunk that begins with `frame` is going to show, as far as can be known. */
GstClockTime lf_src_chunk_time (LightforceSrc *self, guint64 frame);
/* Says what the next frame was made from: in its meta, and where the prompt is another one, on
 * the bus and downstream. */
void lf_src_tell_frame (LightforceSrc *self, GstBuffer *buffer);

G_END_DECLS
#endif
