/* lightforce: messages in another language, which FOLDER has the texts of: capitals
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <libintl.h>
#include <locale.h>
#include <unistd.h>

static const char *locale_folder;
static char *folder, *text;

static void
setup (void)
{
  GstElement *element = gst_element_factory_make ("lightforcesrc", NULL);

  fail_unless (element != NULL);
  gst_object_unref (element);
  /* after the plugin's own */
  fail_unless (bindtextdomain ("lightforce", locale_folder) != NULL);
  folder = g_dir_make_tmp ("lightforce-XXXXXX", NULL);
  text = g_strdup_printf ("%s.txt", folder);
  fail_unless (g_file_set_contents (text, "this is the text of no model", -1, NULL));
}

static void
teardown (void)
{
  g_unlink (text);
  g_rmdir (folder);
  g_clear_pointer (&text, g_free);
  g_clear_pointer (&folder, g_free);
}

/* Takes all of `part` out. */
static void
take_out (GString *string, const char *part)
{
  while (*part && strstr (string->str, part))
    g_string_erase (string, strstr (string->str, part) - string->str, (gssize) strlen (part));
}

static void
check_text (const char *message, const char *part, const char *name)
{
  g_autoptr (GString) rest = g_string_new (message);
  gsize i;

  fail_unless (strstr (message, part) != NULL, "\"%s\" is not in \"%s\"", part, message);
  take_out (rest, text);
  take_out (rest, folder);
  take_out (rest, name);
  for (i = 0; i < rest->len; i++)
    fail_if (g_ascii_islower (rest->str[i]), "not translated: %s", message);
}

/* The first message of `types` that a pipeline posts. */
static GstMessage *
play (const char *line, GstMessageType types)
{
  g_autoptr (GError) error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error);
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GstMessage *message;

  fail_unless (error == NULL, "%s: %s", line, error ? error->message : "");
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND, types);
  fail_unless (message != NULL, "%s posts nothing", line);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  return message;
}

/* The library's messages and the plugin's, all of each. */
GST_START_TEST (test_errors)
{
  static const struct
  {
    const char *line; /* FILE is one of no use, FOLDER an empty one */
    const char *part;
    const char *name; /* stands in the text as it is */
  } cases[] = {
      {"lightforcesrc model=FOLDER/1", "THERE IS NO SUCH FILE", "model"},
      {"lightforcesrc model=FOLDER", "THERE IS NO TRANSFORMER; PUT ONE HERE", ""},
      {"lightforcesrc model=FILE", ": NEITHER SAFETENSORS NOR A TORCH FILE", ""},
      {"lightforcesrc tokenizer=FILE", ": NOT A SENTENCEPIECE MODEL", ""},
      {"lightforcesrc backend=cpu precision=bf16", "LEAVE PRECISION AT AUTO", ""},
      {"lightforcesrc window=1", "WINDOW IS 1 LATENT FRAMES; CHOOSE AT LEAST", ""},
      {"lightforcesrc sparsity=0.9 sparsity-base=0.5", "SPARSITY-BASE IS 0.5; CHOOSE", ""},
      {"lightforcepromptsink fakesrc", "PUT BOTH INTO ONE PIPELINE", ""},
  };
  GString *line = g_string_new (cases[__i__].line);
  g_autoptr (GError) error = NULL;
  GstMessage *message;

  g_string_replace (line, "FILE", text, 0);
  g_string_replace (line, "FOLDER", folder, 0);
  g_string_append (line, " ! fakesink");
  message = play (line->str, GST_MESSAGE_ERROR);
  gst_message_parse_error (message, &error, NULL);
  check_text (error->message, cases[__i__].part, cases[__i__].name);
  gst_message_unref (message);
  g_string_free (line, TRUE);
}
GST_END_TEST;

GST_START_TEST (test_progress)
{
  g_autofree char *start = NULL, *first = NULL;
  GstElement *pipeline = gst_parse_launch ("lightforcesrc num-buffers=1 ! fakesink", NULL);
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GstMessage *message;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND, GST_MESSAGE_PROGRESS);
  gst_message_parse_progress (message, NULL, NULL, &start);
  gst_message_unref (message);
  check_text (start, "LOADING THE MODEL", "");
  message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND, GST_MESSAGE_PROGRESS);
  gst_message_parse_progress (message, NULL, NULL, &first);
  gst_message_unref (message);
  check_text (first, "LOADING THE MODEL: ", "");
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

int
main (int argc, char **argv)
{
  Suite *suite = suite_create ("translated");
  TCase *tc = tcase_create ("translated");

  if (setlocale (LC_ALL, "") == NULL)
    return 77; /* skipped */
  gst_check_init (&argc, &argv);
  locale_folder = argv[1];
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_set_timeout (tc, 60);
  tcase_add_loop_test (tc, test_errors, 0, 8);
  tcase_add_test (tc, test_progress);
  suite_add_tcase (suite, tc);
  return gst_check_run_suite (suite, "translated", __FILE__);
}
