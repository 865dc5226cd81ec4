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

/* How many of what; since the start. */
typedef struct
{
  guint64 shown, repeated; /* pictures that went out, and frames that showed one again */
  guint64 dropped;         /* pictures left out */
  guint64 resyncs;         /* moves of the live schedule */
  guint64 late_episodes;   /* times that the generator fell behind */
  double ratio;            /* of the time that the latest chunk took to the time that it plays */
} LfSrcCounts;

struct _LightforceSrc
{
  GstPushSrc parent;

  /* object lock */
  LfSrcSettings settings;
  LfPrompts *prompts;
  LfSrcWorker *worker;          /* also read by the streaming thread, which never outlives it */
  gint want_width, want_height; /* the properties when the element was started */
  gint width, height;           /* the size of the stream; 0 until it is negotiated */
  /* Written by the streaming thread only, up to `counts`. Frames are what leaves the element, from
   * 0 at the start; pictures are what the generator made and was not told to throw away, from 0 at
   * each of its restarts. */
  LfTimeline timeline;
  guint64 next_frame, next_picture;
  guint64 shift;  /* a picture's number and this, modulo 2^64, is its frame's */
  guint restarts; /* of the generator, before the pictures that are shown */
  LfSrcCounts counts;
  guint64 chunk;          /* the one that is shown */
  gboolean seek_key_unit; /* the latest seek goes to the beginning of a frame */
  GstClockTime begun; /* when the latest chunk that was begun shows; NONE: the video has none yet */
  gboolean mixed;     /* begun again, the video would not be what it was so far */
  GThread *syncing;   /* gives controlled properties their values; NULL: nobody does */
  LfStats final_stats; /* of the latest worker, when there is none */

  /* streaming thread, under the stream lock */
  LfSrcOutput *output;  /* NULL until negotiated */
  LfFrameItem *item;    /* the chunk that has the next picture; NULL: not taken yet */
  LfChunk *shown_chunk; /* what the latest frame showed, NULL before the first one, */
  gint shown_picture;   /* and its number there */
  LfProvenance provenance;
  gboolean failed;   /* an error was posted: only EOS from here on */
  gboolean discont;  /* the next frame does not follow the previous one */
  gboolean fresh;    /* the next picture is the first one after a restart */
  gboolean anchored; /* live: the time of the first frame is set */
  gboolean seek_pending;
  GstClockTime seek_time;
  LfSrcLatePolicy policy; /* of the frame at hand */
  GstClockTime now;       /* running time when it was last looked at */
  gboolean late;          /* the generator has fallen behind and not caught up */
  gboolean warn;          /* which is still to be told */

  /* worker thread */
  gint percent; /* of the latest progress message */

  LfPacer pacer;   /* has a lock of its own, */
  LfSrcCuda *cuda; /* and so has this */
};

/* There is no chunk yet. */
#define LF_SRC_FLOW_EMPTY GST_FLOW_CUSTOM_SUCCESS

/* frames.c: makes `item` the chunk that has the next picture; `wait`: waits for it. EOS: the
 * generator failed, and an error is posted. */
GstFlowReturn lf_src_find_chunk (LightforceSrc *self, gboolean wait);
/* The next frame: with the next picture, which is in `item`, or where `repeat` with the latest one
 * again. EOS: it cannot be made, and an error is posted. */
GstFlowReturn lf_src_make_frame (LightforceSrc *self, gboolean repeat, GstBuffer **frame);

/* release.c: live, chooses the next frame and waits until it is due. `repeat`: it shows the latest
 * picture again; else `item` has its picture. */
GstFlowReturn lf_src_release (LightforceSrc *self, gboolean *repeat);
/* A chunk was taken: has the generator caught up? */
void lf_src_release_taken (LightforceSrc *self, const LfFrameItem *item);
/* Posts that `frame` showed the latest picture again. */
void lf_src_release_repeated (LightforceSrc *self, guint64 frame);

/* seek.c: which seeks are done, and where they lead. Sets the methods for it. */
void lf_src_seek_class_init (GstBaseSrcClass *klass);
/* FALSE: this seek is not done. */
gboolean lf_src_can_seek (LightforceSrc *self, GstEvent *event);
/* Begins again where a seek went, now that the framerate is known. */
GstFlowReturn lf_src_apply_seek (LightforceSrc *self);
/* With the object lock: from now on the pictures are others than those of a video that has all along
 * what it has now. What comes at its time is part of the video and does not count. */
void lf_src_note_change (LightforceSrc *self);
/* The same, where a property made that of settings which were `before`. */
void lf_src_note_settings (LightforceSrc *self, const LfSrcSettings *before);

/* negotiation.c: which video, in which memory. Sets the methods for it. */
void lf_src_negotiation_class_init (GstBaseSrcClass *klass);

/* promptcontrol.c */
/* The same as setting the property; `mode`: how it enters, or LF_PROMPT_MODE_DEFAULT. */
void lf_src_set_prompt (LightforceSrc *self, const char *text, gint mode);
/* FALSE, with a warning posted: the event is wrong. */
gboolean lf_src_take_prompt_event (LightforceSrc *self, GstEvent *event);
/* When the chunk that begins with `picture` after this many restarts of the generator is going to
 * show, as far as can be known. */
GstClockTime lf_src_chunk_time (LightforceSrc *self, guint restarts, guint64 picture);
/* Says what the next frame was made from: in its meta, and where its prompt is another one, on the
 * bus and downstream. It shows this picture of `chunk`, which is that of `item` unless `repeat`. */
void lf_src_tell_frame (
    LightforceSrc *self, GstBuffer *buffer, const LfChunk *chunk, gint picture, gboolean repeat);

G_END_DECLS
#endif
