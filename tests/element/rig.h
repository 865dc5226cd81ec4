/* lightforce: a small pipeline around the element, for its tests
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef RIG_H
#define RIG_H

#include <gst/check/gstcheck.h>
#include <gst/video/video.h>
#include "tests/standin/standin.h"

G_BEGIN_DECLS

#define MS G_TIME_SPAN_MILLISECOND

/* lightforcesrc ! capsfilter ! fakesink, and all frames that came out of it. */
typedef struct
{
  GstElement *pipeline, *src, *filter, *sink;
  GstBus *bus;
  GMutex lock;
  GCond cond;
  GPtrArray *frames; /* GstBuffer */
} Rig;

/* `properties` of lightforcesrc as on a command line; `caps` NULL: any. */
Rig *rig_new (const char *properties, const char *caps);
/* `tail`: what stands behind the capsfilter, with a fakesink named sink. */
Rig *rig_new_full (const char *properties, const char *caps, const char *tail);
/* Goes to NULL and looks for leaks. */
void rig_free (Rig *rig);

/* The handler of the sink's handoffs: keeps the frame. */
void rig_take_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data);

void rig_set_state (Rig *rig, GstState state);
/* Waits for the state change as well. */
void rig_reach_state (Rig *rig, GstState state);
/* Plays to the end or the first error; the message. */
GstMessage *rig_run (Rig *rig);
/* Plays to the end, which must not be an error. */
void rig_run_to_eos (Rig *rig);
/* The next message of `types`; fails the test after ten seconds. */
GstMessage *rig_wait (Rig *rig, GstMessageType types);
/* The next element message of this name. */
GstMessage *rig_wait_element (Rig *rig, const char *name);
/* Waits until `count` frames have come out in all. */
void rig_wait_frames (Rig *rig, guint count);
guint rig_count (Rig *rig);
GstBuffer *rig_frame (Rig *rig, guint index); /* no reference */
void rig_forget_frames (Rig *rig);
/* Of all frames' bytes so far. */
char *rig_checksum (Rig *rig);

/* Checks domain, code and that the text contains `part`; then that no second error comes. */
void rig_expect_error (Rig *rig, GstMessage *message, GQuark domain, gint code, const char *part);

/* Runs a suite named after `name`. */
int rig_main (int argc, char **argv, const char *name, void (*add) (Suite *suite));
/* A test case with the fixture that resets the generator. */
TCase *rig_case (Suite *suite, const char *name);

G_END_DECLS
#endif
