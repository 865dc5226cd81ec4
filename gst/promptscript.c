/* lightforce: a file of prompts and the times at which they begin
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/promptscript.h"

#include "gst/i18n.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND G_GUINT64_CONSTANT (1000000000)

struct _LfPromptScript
{
  GArray *lines; /* LfPromptLine */
};

static void
clear_line (gpointer data)
{
  g_free (((LfPromptLine *) data)->text);
}

void
lf_prompt_script_free (LfPromptScript *script)
{
  g_array_unref (script->lines);
  g_free (script);
}

guint
lf_prompt_script_get_size (const LfPromptScript *script)
{
  return script->lines->len;
}

const LfPromptLine *
lf_prompt_script_get_line (const LfPromptScript *script, guint index)
{
  g_assert (index < script->lines->len);
  return &g_array_index (script->lines, LfPromptLine, index);
}

/* The number of the first line that begins after `time`, or of lines. */
static guint
find_later (const LfPromptScript *script, guint64 time)
{
  guint low = 0, high = script->lines->len;

  while (low < high) {
    guint middle = low + (high - low) / 2;

    if (lf_prompt_script_get_line (script, middle)->time <= time)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

const LfPromptLine *
lf_prompt_script_find (const LfPromptScript *script, guint64 time)
{
  guint later = find_later (script, time);

  return later > 0 ? lf_prompt_script_get_line (script, later - 1) : NULL;
}

const LfPromptLine *
lf_prompt_script_find_next (const LfPromptScript *script, guint64 time)
{
  guint later = find_later (script, time);

  return later < script->lines->len ? lf_prompt_script_get_line (script, later) : NULL;
}

/* ------------------------------------------------------------------------ parsing */

/* A number of at most `max_digits` digits at *p, which moves behind it; -1: there is none. */
static gint
take_number (const char **p, guint max_digits)
{
  gint value = 0;
  guint digits = 0;

  while (g_ascii_isdigit (**p) && digits < max_digits) {
    value = value * 10 + (*(*p)++ - '0');
    digits++;
  }
  return digits > 0 && !g_ascii_isdigit (**p) ? value : -1;
}

/* ".5" at *p as nanoseconds; G_MAXUINT64: not a fraction. */
static guint64
take_fraction (const char **p)
{
  guint64 value = 0, unit = SECOND / 10;

  if (**p != '.')
    return 0;
  (*p)++;
  if (!g_ascii_isdigit (**p))
    return G_MAXUINT64;
  for (; g_ascii_isdigit (**p); (*p)++, unit /= 10) {
    if (unit == 0)
      return G_MAXUINT64;
    value += (guint64) (**p - '0') * unit;
  }
  return value;
}

/* The time at *p, which moves behind it and the white space there. What is wrong, or NULL. */
static const char *
take_time (const char **p, guint64 *time)
{
  gint part[3] = {0};
  gint i, n = 0;
  guint64 fraction;

  do {
    if (n > 0)
      (*p)++;
    part[n] = take_number (p, 4);
    if (part[n] < 0)
      return _ ("it does not begin with a time such as 00:01:30.500 or 01:30");
    n++;
  } while (**p == ':' && n < 3);
  fraction = take_fraction (p);
  if (n < 2 || fraction == G_MAXUINT64 || (**p != '\0' && !g_ascii_isspace (**p)))
    return _ ("it does not begin with a time such as 00:01:30.500 or 01:30");
  for (i = 1; i < n; i++)
    if (part[i] > 59)
      return _ ("minutes and seconds go up to 59");
  if (n == 2 && part[0] > 59)
    return _ ("minutes go up to 59: write hours as well");
  *time = fraction;
  for (i = 0; i < n; i++)
    *time += (guint64) part[n - 1 - i] * (i == 0 ? 1 : i == 1 ? 60 : 3600) * SECOND;
  while (g_ascii_isspace (**p))
    (*p)++;
  return NULL;
}

/* Adds one line, which is stripped and not empty. What is wrong with it, or NULL. */
static const char *
parse_line (LfPromptScript *script, const char *text)
{
  LfPromptLine line;
  const char *problem;

  if (!g_utf8_validate (text, -1, NULL))
    return _ ("it is not UTF-8");
  problem = take_time (&text, &line.time);
  if (problem)
    return problem;
  if (*text == '\0')
    return _ ("there is no text behind the time");
  if (script->lines->len > 0
      && lf_prompt_script_get_line (script, script->lines->len - 1)->time >= line.time)
    return _ ("its time is not after that of the line before");
  line.text = g_strdup (text);
  g_array_append_val (script->lines, line);
  return NULL;
}

LfPromptScript *
lf_prompt_script_parse (const char *path, const char *data, gsize size, GError **error)
{
  g_autoptr (LfPromptScript) script = g_new0 (LfPromptScript, 1);
  const char *end = data + size, *first_problem = NULL;
  guint number = 0, first_bad = 0, bad = 0;

  script->lines = g_array_new (FALSE, FALSE, sizeof (LfPromptLine));
  g_array_set_clear_func (script->lines, clear_line);
  if (size >= 3 && memcmp (data, "\xef\xbb\xbf", 3) == 0)
    data += 3; /* a byte order mark */
  while (data < end) {
    const char *stop = memchr (data, '\n', (gsize) (end - data));
    gsize length = (gsize) ((stop ? stop : end) - data);
    g_autofree char *line = g_strndup (data, length);
    const char *problem = NULL;

    number++;
    if (memchr (data, '\0', length))
      problem = _ ("it has a zero byte");
    else if (*g_strstrip (line) != '\0' && *line != '#')
      problem = parse_line (script, line);
    if (problem && bad++ == 0) {
      first_problem = problem;
      first_bad = number;
    }
    data += length + (stop != NULL);
  }
  if (bad == 0)
    return g_steal_pointer (&script);
  if (bad == 1)
    g_set_error (
        error, LF_ERROR, LF_ERROR_SETTINGS, _ ("%s, line %u: %s."), path, first_bad, first_problem);
  else
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        g_dngettext (GETTEXT_PACKAGE, "%s, line %u: %s; %u more line is bad.",
            "%s, line %u: %s; %u more lines are bad.", bad - 1),
        path, first_bad, first_problem, bad - 1);
  return NULL;
}

/* ------------------------------------------------------------------------- files */

/* All that can be read from `fd`, up to one byte more than is allowed. */
static gboolean
read_all (gint fd, GByteArray *data)
{
  guint8 block[16384];

  while (data->len <= LF_PROMPT_SCRIPT_MAX_BYTES) {
    gssize n = read (fd, block, sizeof (block));

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return n == 0;
    g_byte_array_append (data, block, (guint) n);
  }
  return TRUE;
}

LfPromptScript *
lf_prompt_script_load (const char *path, GError **error)
{
  g_autoptr (GByteArray) data = g_byte_array_new ();
  LfPromptScript *script = NULL;
  struct stat info;
  /* a pipe without a writer must not hold the caller up */
  gint fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

  if (fd < 0)
    g_set_error (error, LF_ERROR, errno == ENOENT ? LF_ERROR_NOT_FOUND : LF_ERROR_INVALID_FILE,
        _ ("%s: the file of prompts cannot be opened: %s."), path, g_strerror (errno));
  else if (fstat (fd, &info) == 0 && !S_ISREG (info.st_mode))
    g_set_error (
        error, LF_ERROR, LF_ERROR_INVALID_FILE, _ ("%s: this is not a file of prompts."), path);
  else if (!read_all (fd, data))
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE,
        _ ("%s: the file of prompts cannot be read: %s."), path, g_strerror (errno));
  else if (data->len > LF_PROMPT_SCRIPT_MAX_BYTES)
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE,
        _ ("%s: a file of prompts has %d MiB at most."), path, LF_PROMPT_SCRIPT_MAX_BYTES >> 20);
  else
    script = lf_prompt_script_parse (path, (const char *) data->data, data->len, error);
  if (fd >= 0)
    close (fd);
  return script;
}

void
lf_file_stamp_get (LfFileStamp *stamp, const char *path)
{
  struct stat info;

  *stamp = (LfFileStamp){0};
  if (stat (path, &info) != 0)
    return;
  stamp->inode = info.st_ino;
  stamp->size = (guint64) info.st_size;
  stamp->seconds = info.st_mtim.tv_sec;
  stamp->nanoseconds = info.st_mtim.tv_nsec;
}

gboolean
lf_file_stamp_equal (const LfFileStamp *a, const LfFileStamp *b)
{
  return a->inode == b->inode && a->size == b->size && a->seconds == b->seconds
         && a->nanoseconds == b->nanoseconds;
}
