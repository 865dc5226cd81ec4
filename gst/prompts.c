/* lightforce: which prompt holds when
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/prompts.h"

#include "gst/i18n.h"

typedef struct
{
  GstClockTime time;
  char *text;
  gint mode;
} Timed;

struct _LfPrompts
{
  char *file;
  LfFileStamp stamp;
  LfPromptScript *script; /* NULL: there is no file */
  GQueue added;           /* Timed, in order of time */

  /* with a time, as of the latest chunk; no text: none held */
  Timed current;
  gboolean set; /* the property was set since */
  gint set_mode;
};

static void
timed_free (Timed *timed)
{
  g_free (timed->text);
  g_free (timed);
}

LfPrompts *
lf_prompts_new (void)
{
  LfPrompts *prompts = g_new0 (LfPrompts, 1);

  g_queue_init (&prompts->added);
  prompts->set_mode = LF_PROMPT_MODE_DEFAULT;
  return prompts;
}

void
lf_prompts_free (LfPrompts *prompts)
{
  lf_prompts_close (prompts);
  g_free (prompts);
}

gboolean
lf_prompts_open (LfPrompts *prompts, const char *file, GError **error)
{
  LfPromptScript *script = NULL;

  if (file) {
    /* taken first: what is written meanwhile is read at the next chunk */
    lf_file_stamp_get (&prompts->stamp, file);
    script = lf_prompt_script_load (file, error);
    if (script == NULL)
      return FALSE;
  }
  g_clear_pointer (&prompts->script, lf_prompt_script_free);
  g_free (prompts->file);
  prompts->file = g_strdup (file);
  prompts->script = script;
  return TRUE;
}

void
lf_prompts_rewind (LfPrompts *prompts)
{
  g_clear_pointer (&prompts->current.text, g_free);
  prompts->set = FALSE;
}

void
lf_prompts_close (LfPrompts *prompts)
{
  lf_prompts_rewind (prompts);
  g_queue_clear_full (&prompts->added, (GDestroyNotify) timed_free);
  g_clear_pointer (&prompts->script, lf_prompt_script_free);
  g_clear_pointer (&prompts->file, g_free);
}

void
lf_prompts_set (LfPrompts *prompts, gint mode)
{
  prompts->set = TRUE;
  prompts->set_mode = mode;
}

const char *
lf_prompts_peek (LfPrompts *prompts, const LfSrcSettings *settings)
{
  return prompts->current.text && !prompts->set ? prompts->current.text : settings->prompt;
}

gboolean
lf_prompts_is_latest (LfPrompts *prompts, GstClockTime time)
{
  return prompts->current.text == NULL || prompts->current.time <= time;
}

void
lf_prompts_add (LfPrompts *prompts, GstClockTime time, const char *text, gint mode)
{
  Timed *timed = g_new (Timed, 1);
  GList *before = prompts->added.tail;

  *timed = (Timed){.time = time, .text = g_strdup (text), .mode = mode};
  while (before && ((Timed *) before->data)->time > time)
    before = before->prev;
  /* behind those of the same time: the later one holds */
  if (before)
    g_queue_insert_after (&prompts->added, before, timed);
  else
    g_queue_push_head (&prompts->added, timed);
}

LfPromptScript *
lf_prompts_read_again (LfPrompts *prompts, GError **error)
{
  LfFileStamp stamp;
  LfPromptScript *script;

  if (prompts->file == NULL)
    return NULL;
  lf_file_stamp_get (&stamp, prompts->file);
  if (lf_file_stamp_equal (&stamp, &prompts->stamp))
    return NULL;
  prompts->stamp = stamp;
  script = lf_prompt_script_load (prompts->file, error);
  if (script == NULL)
    g_prefix_error (error, "%s", _ ("The prompts stay as they were: "));
  return script;
}

void
lf_prompts_replace (LfPrompts *prompts, LfPromptScript *script)
{
  lf_prompt_script_free (prompts->script);
  prompts->script = script;
}

/* The one that holds at `time`; it has no text where there is none. */
static Timed
find (LfPrompts *prompts, GstClockTime time)
{
  const LfPromptLine *line = NULL;
  Timed timed = {.mode = LF_PROMPT_MODE_DEFAULT};
  const GList *l = prompts->added.tail;

  while (l && ((const Timed *) l->data)->time > time)
    l = l->prev;
  if (prompts->script)
    line = lf_prompt_script_find (prompts->script, time);
  if (l && (line == NULL || ((const Timed *) l->data)->time >= line->time))
    return *(const Timed *) l->data;
  if (line) {
    timed.time = line->time;
    timed.text = line->text;
  }
  return timed;
}

static void
forget_past (LfPrompts *prompts, GstClockTime time)
{
  while (prompts->added.length > 1
         && ((const Timed *) g_queue_peek_nth (&prompts->added, 1))->time <= time)
    timed_free (g_queue_pop_head (&prompts->added));
}

void
lf_prompts_choose (LfPrompts *prompts, GstClockTime time, gboolean forget, LfSrcSettings *settings)
{
  Timed now = find (prompts, time);
  gint mode = prompts->set_mode;

  if (g_strcmp0 (now.text, prompts->current.text) != 0
      || (now.text && now.time != prompts->current.time)) {
    g_free (prompts->current.text);
    prompts->current = now;
    prompts->current.text = g_strdup (now.text);
    prompts->set = FALSE;
  }
  if (now.text && !prompts->set) {
    g_free (settings->prompt);
    settings->prompt = g_strdup (now.text);
    mode = now.mode;
  }
  if (mode != LF_PROMPT_MODE_DEFAULT)
    settings->prompt_switch = (LfPromptSwitch) mode;
  if (forget)
    forget_past (prompts, time);
}

/* The first time behind `time` at which another one holds; NONE: there is none. */
static GstClockTime
next_time (LfPrompts *prompts, GstClockTime time)
{
  const LfPromptLine *line =
      prompts->script ? lf_prompt_script_find_next (prompts->script, time) : NULL;
  GstClockTime next = line ? line->time : GST_CLOCK_TIME_NONE;
  const GList *l = prompts->added.head;

  while (l && ((const Timed *) l->data)->time <= time)
    l = l->next;
  return l ? MIN (next, ((const Timed *) l->data)->time) : next;
}

GPtrArray *
lf_prompts_list_later (LfPrompts *prompts, GstClockTime time, GstClockTime end, guint max)
{
  GPtrArray *texts = g_ptr_array_new_with_free_func (g_free);

  while (texts->len < max && (time = next_time (prompts, time)) < end)
    g_ptr_array_add (texts, g_strdup (find (prompts, time).text));
  return texts;
}
