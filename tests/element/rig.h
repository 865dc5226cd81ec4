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

/* Limits that only a failure exceeds, in microseconds. LF_TEST_PATIENCE says how many times as long
 * everything takes where a tool watches each instruction; it makes them longer. */
#define LONG (rig_patience () * 10 * G_TIME_SPAN_SECOND)
/* Taken twice and more by an interruption that works: a loaded machine has to pass too. */
#define SOON (rig_patience () * 500 * MS)

gint rig_patience (void);

/* lightforcesrc ! capsfilter ! fakesink, and all frames that came out of it. */
typedef struct
{
  GstElement *pipeline, *src, *filter, *sink;
  GstBus *bus;
  GMutex lock;
  GCond cond;
  GPtrArray *frames; /* GstBuffer */
  GThread *prompter;
  gint stop_prompter;
} Rig;

/* `properties` of lightforcesrc as on a command line; `caps` NULL: any. */
Rig *rig_new (const char *properties, const char *caps);
/* `tail`: what stands behind the capsfilter, with a fakesink named sink. No filter for caps of "". */
Rig *rig_new_full (const char *properties, const char *caps, const char *tail);
/* Plays, has shown all that comes before chunk `hold` and works at that one, until rig_finish or
 * until hold_chunk is another. */
Rig *rig_new_held (const char *properties, const char *caps, guint hold);
/* Goes to NULL and looks for leaks. */
void rig_free (Rig *rig);

/* The handler of the sink's handoffs: keeps the frame. */
void rig_take_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data);

void rig_set_state (Rig *rig, GstState state);
/* Waits for the state change as well. Not while the pipeline is on its way to PLAYING by itself: a
 * new change can make it stay in PAUSED, as gst_bin_continue_func() gives up then. */
void rig_reach_state (Rig *rig, GstState state);
/* Waits until the pipeline has come to a state that it was told before. */
void rig_settle (Rig *rig, GstState state);
/* Flushes the element: it is interrupted, and goes on. Not before the pipeline has come to PLAYING:
 * the thread in which it goes there by itself has the lock of the pipeline's state and waits for the
 * one of the element's; a flush that is sent to the element has that one, and the sink's message
 * about it waits for the pipeline's. `between` NULL: nothing happens meanwhile. */
void rig_flush (Rig *rig, void (*between) (Rig *rig, gpointer user_data), gpointer user_data);
/* Plays to the end or the first error; the message. */
GstMessage *rig_run (Rig *rig);
/* Plays to the end, which must not be an error. */
void rig_run_to_eos (Rig *rig);
/* The next message of `types`; fails the test when none comes for LONG. */
GstMessage *rig_wait (Rig *rig, GstMessageType types);
/* The next element message of this name. */
GstMessage *rig_wait_element (Rig *rig, const char *name);
/* Waits until `count` frames have come out in all. */
void rig_wait_frames (Rig *rig, guint count);
guint rig_count (Rig *rig);
GstBuffer *rig_frame (Rig *rig, guint index); /* no reference */
void rig_forget_frames (Rig *rig);
/* Of all frames' bytes so far, and of those from `begin` on. */
char *rig_checksum (Rig *rig);
char *rig_checksum_from (Rig *rig, guint begin);
/* Checks that the frames have no gaps in number and, at 16 a second from 0 on, in time. */
void rig_check_sequence (Rig *rig);
/* A number in the property stats. */
guint64 rig_stat (Rig *rig, const char *field);

/* The next message of a prompt, at 16 frames a second from 0 on; the number of its first frame. */
guint64 rig_expect_prompt (Rig *rig, const char *prompt, guint serial);
/* A number in the meta LightforceMeta of a frame. */
guint64 rig_meta_value (GstBuffer *frame, const char *field);
/* 0xRRGGBB of the upper left pixel of a frame in RGBx. */
guint32 rig_first_pixel (GstBuffer *frame);
/* Checks that these frames, in RGBx with seed 0, show `prompt`. */
void rig_check_frames (Rig *rig, guint begin, guint end, const char *prompt);
/* The text of the next message, which must be a warning. */
char *rig_next_warning (Rig *rig);
void rig_expect_no_warning (Rig *rig);
void rig_wait_end (Rig *rig);
/* Lets the generator go on, and waits for the end. */
void rig_finish (Rig *rig);
/* Waits until the generator has begun this many chunks: their settings are taken. */
void rig_wait_chunks (guint count);

/* Sets prompts "prompt 0", "prompt 1" and so on from a thread of its own, every 0.3 ms. */
void rig_begin_prompts (Rig *rig);
void rig_end_prompts (Rig *rig);
/* How often "notify" came for this property; `count` is 0 at first and outlives the rig. */
void rig_count_notify (Rig *rig, const char *property, gint *count);

/* Checks domain, code and that the text contains `part`; then that no second error comes. */
void rig_expect_error (Rig *rig, GstMessage *message, GQuark domain, gint code, const char *part);

/* Runs a suite named after `name`. */
int rig_main (int argc, char **argv, const char *name, void (*add) (Suite *suite));
/* A test case with the fixture that resets the generator. */
TCase *rig_case (Suite *suite, const char *name);

G_END_DECLS
#endif
