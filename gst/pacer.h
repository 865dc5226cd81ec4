/* lightforce: lets frames go when they are due
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_PACER_H
#define LF_PACER_H

#include <gst/gst.h>

G_BEGIN_DECLS

/* Waits on an element's clock, and can be interrupted from any thread. */
typedef struct
{
  GMutex lock; /* may be held when an object lock is taken */
  GCond cond;
  gboolean flushing, playing;
  GstClockID clock_id; /* what is being waited for */
} LfPacer;

/* The running time at which to go, given the running time now; at most that: go at once. */
typedef GstClockTime (*LfPacerDueFunc) (GstClockTime now, gpointer user_data);

void lf_pacer_init (LfPacer *pacer);
void lf_pacer_clear (LfPacer *pacer);

/* Waits while the element does not play and then until the time of `due`, which is asked
 * again after each interruption. FALSE: flushing. */
gboolean lf_pacer_wait (
    LfPacer *pacer, GstElement *element, LfPacerDueFunc due, gpointer user_data);
void lf_pacer_set_flushing (LfPacer *pacer, gboolean flushing);
gboolean lf_pacer_is_flushing (LfPacer *pacer);
/* Not playing: whoever waits goes on waiting, without a time, until it plays again. */
void lf_pacer_set_playing (LfPacer *pacer, gboolean playing);

G_END_DECLS
#endif
