/* lightforce: a file of prompts and the times at which they begin
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_PROMPT_SCRIPT_H
#define LF_PROMPT_SCRIPT_H

#include "core/lightforce.h"

G_BEGIN_DECLS

/* One prompt a line, in order of time, in UTF-8:
 *
 *     # comment
 *     HH:MM:SS.mmm text        fractions of a second (1 to 9 digits) may be left out,
 *     MM:SS text               and so may hours
 *
 * White space around a line and between time and text does not count, nor do empty lines. */

#define LF_PROMPT_SCRIPT_MAX_BYTES (16 * 1024 * 1024)

typedef struct
{
  guint64 time; /* nanoseconds */
  char *text;
} LfPromptLine;

typedef struct _LfPromptScript LfPromptScript;

/* NULL with an LF_ERROR whose message begins with `path` and the number of the first bad line. */
LfPromptScript *lf_prompt_script_load (const char *path, GError **error);
/* The same with the contents of a file; `path` is for messages. */
LfPromptScript *lf_prompt_script_parse (
    const char *path, const char *data, gsize size, GError **error);
void lf_prompt_script_free (LfPromptScript *script);

guint lf_prompt_script_get_size (const LfPromptScript *script);
const LfPromptLine *lf_prompt_script_get_line (const LfPromptScript *script, guint index);
/* The line that holds at `time`: the last one that does not begin later. NULL: there is none. */
const LfPromptLine *lf_prompt_script_find (const LfPromptScript *script, guint64 time);

/* The first line that begins after `time`. NULL: there is none. */
const LfPromptLine *lf_prompt_script_find_next (const LfPromptScript *script, guint64 time);

/* Tells versions of a file apart; zeros where there is no file. */
typedef struct
{
  guint64 inode, size;
  gint64 seconds, nanoseconds;
} LfFileStamp;

void lf_file_stamp_get (LfFileStamp *stamp, const char *path);
gboolean lf_file_stamp_equal (const LfFileStamp *a, const LfFileStamp *b);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfPromptScript, lf_prompt_script_free)
G_END_DECLS
#endif
