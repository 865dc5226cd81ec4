/* lightforce: lets frames go when they are due
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/pacer.h"

void
lf_pacer_init (LfPacer *pacer)
{
  g_mutex_init (&pacer->lock);
  g_cond_init (&pacer->cond);
}

void
lf_pacer_clear (LfPacer *pacer)
{
  g_mutex_clear (&pacer->lock);
  g_cond_clear (&pacer->cond);
}

gboolean
lf_pacer_wait (LfPacer *pacer, GstElement *element, LfPacerDueFunc due, gpointer user_data)
{
  gboolean done = FALSE, flushing;

  g_mutex_lock (&pacer->lock);
  while (!pacer->flushing && !done) {
    g_autoptr (GstClock) clock = NULL;
    GstClockTime base, time, now, when;

    if (!pacer->playing) {
      g_cond_wait (&pacer->cond, &pacer->lock);
      continue;
    }
    clock = gst_element_get_clock (element);
    if (clock == NULL)
      break;
    base = gst_element_get_base_time (element);
    time = gst_clock_get_time (clock);
    now = time > base ? time - base : 0;
    when = due (now, user_data);
    if (when <= now)
      break;
    pacer->clock_id = gst_clock_new_single_shot_id (clock, base + when);
    g_mutex_unlock (&pacer->lock);
    done = gst_clock_id_wait (pacer->clock_id, NULL) != GST_CLOCK_UNSCHEDULED;
    g_mutex_lock (&pacer->lock);
    g_clear_pointer (&pacer->clock_id, gst_clock_id_unref);
  }
  flushing = pacer->flushing;
  g_mutex_unlock (&pacer->lock);
  return !flushing;
}

void
lf_pacer_set_flushing (LfPacer *pacer, gboolean flushing)
{
  g_mutex_lock (&pacer->lock);
  pacer->flushing = flushing;
  if (flushing && pacer->clock_id)
    gst_clock_id_unschedule (pacer->clock_id);
  g_cond_signal (&pacer->cond);
  g_mutex_unlock (&pacer->lock);
}

gboolean
lf_pacer_is_flushing (LfPacer *pacer)
{
  gboolean flushing;

  g_mutex_lock (&pacer->lock);
  flushing = pacer->flushing;
  g_mutex_unlock (&pacer->lock);
  return flushing;
}

void
lf_pacer_set_playing (LfPacer *pacer, gboolean playing)
{
  g_mutex_lock (&pacer->lock);
  pacer->playing = playing;
  if (!playing && pacer->clock_id)
    gst_clock_id_unschedule (pacer->clock_id);
  g_cond_signal (&pacer->cond);
  g_mutex_unlock (&pacer->lock);
}
