/* lightforce: tests of the reader of timed prompts
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/promptscript.h"

#include <glib/gstdio.h>
#include <string.h>

#define MSECOND G_GUINT64_CONSTANT (1000000)

static LfPromptScript *
parse (const char *text, GError **error)
{
  return lf_prompt_script_parse ("script.txt", text, strlen (text), error);
}

static void
test_lines (void)
{
  static const struct
  {
    guint64 ms;
    const char *text;
  } want[] = {{0, "first"}, {1500, "a second, with 00:00:03 in it"}, {61000, "été # not a comment"},
      {3723004, "tab"}, {3723005, "last"}, {9999 * 3600000ull, "far"}};
  g_autoptr (GError) error = NULL;
  g_autoptr (LfPromptScript) script = parse ("\xef\xbb\xbf# made by hand\r\n"
                                             "\n"
                                             "00:00 first\r\n"
                                             "  00:00:01.5   a second, with 00:00:03 in it \n"
                                             "\t# 00:00:02 not this one\n"
                                             "1:01 été # not a comment\n"
                                             "01:02:03.004\ttab\n"
                                             "01:02:03.005000000 last\n"
                                             "9999:00:00 far",
      &error);
  guint i;

  g_assert_no_error (error);
  g_assert_cmpuint (lf_prompt_script_get_size (script), ==, G_N_ELEMENTS (want));
  for (i = 0; i < G_N_ELEMENTS (want); i++) {
    const LfPromptLine *line = lf_prompt_script_get_line (script, i);

    g_assert_cmpuint (line->time, ==, want[i].ms * MSECOND);
    g_assert_cmpstr (line->text, ==, want[i].text);
    g_assert_true (lf_prompt_script_find (script, line->time) == line);
    g_assert_true (lf_prompt_script_find (script, line->time + 1) == line);
    if (i > 0) {
      g_assert_true (lf_prompt_script_find (script, line->time - 1) == line - 1);
      g_assert_true (lf_prompt_script_find_next (script, line->time - 1) == line);
      g_assert_true (lf_prompt_script_find_next (script, (line - 1)->time) == line);
    }
  }
  g_assert_true (
      lf_prompt_script_find (script, G_MAXUINT64) == lf_prompt_script_get_line (script, i - 1));
  g_assert_null (
      lf_prompt_script_find_next (script, lf_prompt_script_get_line (script, i - 1)->time));
}

static void
test_empty (void)
{
  static const char *const texts[] = {"", "\n\n", "# nothing", "\xef\xbb\xbf", "  \r\n"};
  guint i;

  for (i = 0; i < G_N_ELEMENTS (texts); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (LfPromptScript) script = parse (texts[i], &error);

    g_assert_no_error (error);
    g_assert_cmpuint (lf_prompt_script_get_size (script), ==, 0);
    g_assert_null (lf_prompt_script_find (script, 5));
    g_assert_null (lf_prompt_script_find_next (script, 5));
  }
}

static void
test_bad_lines (void)
{
  static const struct
  {
    const char *text, *message;
  } cases[] = {
      {"a cat", "line 1: it does not begin with a time such as 00:01:30.500 or 01:30."},
      {"\n00:01\n", "line 2: there is no text behind the time."},
      {"# x\n\n5 a", "line 3: it does not begin with a time"},
      {"00:00:00:01 a", "line 1: it does not begin with a time"},
      {"00:01a", "line 1: it does not begin with a time"},
      {"00:01,5 a", "line 1: it does not begin with a time"},
      {"00:01. a", "line 1: it does not begin with a time"},
      {"00:01.1234567890 a", "line 1: it does not begin with a time"},
      {"-00:01 a", "line 1: it does not begin with a time"},
      {"00: 01 a", "line 1: it does not begin with a time"},
      {"12345:00:00 a", "line 1: it does not begin with a time"},
      {"00:60 a", "line 1: minutes and seconds go up to 59."},
      {"00:60:00 a", "line 1: minutes and seconds go up to 59."},
      {"60:00 a", "line 1: minutes go up to 59: write hours as well."},
      {"00:02 a\n00:02 b", "line 2: its time is not after that of the line before."},
      {"00:02 a\n00:01.999 b", "line 2: its time is not after that of the line before."},
      {"00:02 a\nb\n00:03 c\nd", "line 2: it does not begin with a time such as 00:01:30.500 or "
                                 "01:30; 1 more line is bad."},
      {"a\nb\nc", "; 2 more lines are bad."},
      {"00:01 \xff", "line 1: it is not UTF-8."},
  };
  g_autoptr (GError) zero = NULL;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (parse (cases[i].text, &error));
    g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
    g_assert_true (g_str_has_prefix (error->message, "script.txt, line "));
    if (!strstr (error->message, cases[i].message))
      g_error ("\"%s\" is not in \"%s\"", cases[i].message, error->message);
  }
  g_assert_null (lf_prompt_script_parse ("x", "00:01 a\0b\n", 10, &zero));
  g_assert_cmpstr (zero->message, ==, "x, line 1: it has a zero byte.");
}

static void
test_files (void)
{
  g_autofree char *folder = g_dir_make_tmp ("lightforce-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "script", NULL);
  g_autofree char *big = g_malloc (LF_PROMPT_SCRIPT_MAX_BYTES + 1);
  g_autoptr (GError) error = NULL;
  g_autoptr (LfPromptScript) script = NULL;
  LfFileStamp before, after;

  lf_file_stamp_get (&before, path);
  g_assert_null (lf_prompt_script_load (path, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_NOT_FOUND);
  g_assert_true (g_str_has_prefix (error->message, path));
  g_clear_error (&error);
  g_assert_null (lf_prompt_script_load (folder, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_FILE);
  g_clear_error (&error);

  g_assert_true (g_file_set_contents (path, "00:01 a\n", -1, NULL));
  lf_file_stamp_get (&after, path);
  g_assert_false (lf_file_stamp_equal (&before, &after));
  script = lf_prompt_script_load (path, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (lf_prompt_script_get_size (script), ==, 1);
  lf_file_stamp_get (&before, path);
  g_assert_true (lf_file_stamp_equal (&before, &after));

  memset (big, '\n', LF_PROMPT_SCRIPT_MAX_BYTES + 1);
  g_assert_true (g_file_set_contents (path, big, LF_PROMPT_SCRIPT_MAX_BYTES + 1, NULL));
  g_assert_null (lf_prompt_script_load (path, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_FILE);
  g_assert_nonnull (strstr (error->message, "16 MiB at most"));
  g_unlink (path);
  g_rmdir (folder);
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/prompts/lines", test_lines);
  g_test_add_func ("/prompts/empty", test_empty);
  g_test_add_func ("/prompts/bad-lines", test_bad_lines);
  g_test_add_func ("/prompts/files", test_files);
  return g_test_run ();
}
