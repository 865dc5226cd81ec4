/* lightforce: a live pipeline in simulated time
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef SIM_H
#define SIM_H

#include <gst/check/gsttestclock.h>
#include "tests/element/rig.h"

G_BEGIN_DECLS

/* A live element whose generator takes its time by the clock that releases the frames. The clock
 * goes to the next event only when both threads wait, so that what happens depends on the script
 * alone and not on the machine. Where a chunk is done in the moment in which a frame is due, the
 * chunk comes first. */
typedef struct
{
  Rig *rig;
  GstTestClock *clock;
  guint depth, prebuffer;
  gint first_pictures, pictures; /* in a chunk */
  guint64 seed;                  /* of the present video, */
  guint64 old_chunks;            /* and chunks that were made before it */
  GArray *arrivals;              /* GstClockTime: running time at which each frame came out */
} Sim;

/* A frame and where it comes from. */
typedef struct
{
  GstBuffer *buffer; /* no reference */
  GstClockTime arrival;
  guint64 picture, seed;
  gboolean gap, discont;
} SimFrame;

/* Set up the stand-in before. `policy` is late-policy, `properties` are further ones. */
Sim *sim_new (const char *policy, guint depth, guint prebuffer, const char *properties);
void sim_free (Sim *sim);
/* Begins a new video in no time; another seed than before. */
void sim_restart (Sim *sim, guint64 seed);
/* Lets time pass until `count` frames came out. */
void sim_run_frames (Sim *sim, guint count);
/* Lets time pass until the picture or a later one came out. */
void sim_run_to_picture (Sim *sim, guint64 picture);
void sim_frame (Sim *sim, guint index, SimFrame *frame);
guint64 sim_stat (Sim *sim, const char *field);

/* Messages that came since the last call. */
typedef struct
{
  guint qos, warnings;
  double ratio; /* in the last warning */
} SimMessages;

void sim_messages (Sim *sim, SimMessages *messages);

G_END_DECLS
#endif
