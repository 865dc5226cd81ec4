/* lightforce: which prompt holds when
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_PROMPTS_H
#define LF_SRC_PROMPTS_H

#include "gst/promptscript.h"
#include "gst/settings.h"

G_BEGIN_DECLS

/* There is one prompt that was set, the property; and there are prompts with a time, from a file
 * and from events. Of those with a time the latest one whose time has come holds, until another
 * one is set; what was set holds until the next time comes.
 *
 * Times are nanoseconds of the video. The caller locks, where nothing else is said. */
typedef struct _LfPrompts LfPrompts;

LfPrompts *lf_prompts_new (void);
void lf_prompts_free (LfPrompts *prompts);

/* Before the video starts: reads the file (NULL: there is none). Without the lock. */
gboolean lf_prompts_open (LfPrompts *prompts, const char *file, GError **error);
/* The video begins, anew or again. */
void lf_prompts_rewind (LfPrompts *prompts);
/* After the video: forgets all times. */
void lf_prompts_close (LfPrompts *prompts);

#define LF_PROMPT_MODE_DEFAULT (-1) /* of the property prompt-switch; else an LfPromptSwitch */

/* The property was set just now. */
void lf_prompts_set (LfPrompts *prompts, gint mode);
/* The prompt that holds now: the one that was set is in `settings`. */
const char *lf_prompts_peek (LfPrompts *prompts, const LfSrcSettings *settings);
/* Whether no prompt with a later time than this held yet. */
gboolean lf_prompts_is_latest (LfPrompts *prompts, GstClockTime time);
/* Adds a prompt with a time. */
void lf_prompts_add (LfPrompts *prompts, GstClockTime time, const char *text, gint mode);

/* Before each chunk: reads the file again if it changed, for lf_prompts_replace(). NULL: it did not;
 * or with `error` set it did, and is no use now; this version is not reported again. Without the
 * lock, in the thread that calls lf_prompts_choose(). */
LfPromptScript *lf_prompts_read_again (LfPrompts *prompts, GError **error);
/* Takes the file's new contents over. */
void lf_prompts_replace (LfPrompts *prompts, LfPromptScript *script);
/* Puts the prompt for a chunk that begins at `time` into `settings`, where one with a time holds,
 * and how it is to enter. `forget`: the video is never made again from an earlier time. */
void lf_prompts_choose (
    LfPrompts *prompts, GstClockTime time, gboolean forget, LfSrcSettings *settings);
/* Texts of those with a time behind `time` and before `end`, `max` at most, in order. */
GPtrArray *lf_prompts_list_later (
    LfPrompts *prompts, GstClockTime time, GstClockTime end, guint max);

G_END_DECLS
#endif
