/* lightforce: prompts that come to the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_PROMPT_EVENT_H
#define LF_PROMPT_EVENT_H

#include <gst/gst.h>

G_BEGIN_DECLS

/* The custom upstream event:
 *
 *     prompt (string)  the text
 *     mode (string)    how it enters: cut, recache or blend; without: what prompt-switch says
 *     time (guint64)   running time in nanoseconds; without: now */
#define LF_PROMPT_EVENT "lightforce-prompt"

typedef struct
{
  const char *text; /* belongs to the event */
  gint mode;        /* an LfPromptSwitch, or LF_PROMPT_MODE_DEFAULT */
  GstClockTime time;
} LfPromptEvent;

gboolean lf_is_prompt_event (GstEvent *event);
/* What is wrong with the event; NULL: it is parsed. */
char *lf_prompt_event_parse (GstEvent *event, LfPromptEvent *parsed);
/* `time` may be GST_CLOCK_TIME_NONE. */
GstEvent *lf_prompt_event_new (const char *text, GstClockTime time);

G_END_DECLS
#endif
