/* lightforce: a directory for the files that tests write
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SCRATCH_H
#define LF_SCRATCH_H

#include <glib/gstdio.h>
#include <string.h>

#include "core/lightforce.h"

static char *scratch_dir; /* while tests run */

static inline char *
golden_path (const char *name)
{
  return g_build_filename (g_getenv ("LF_GOLDEN_DATA"), name, NULL);
}

/* Writes a file of the test directory; returns its path. */
static inline char *
write_file (const char *name, gconstpointer data, gsize size)
{
  char *path = g_build_filename (scratch_dir, name, NULL);

  g_assert_true (g_file_set_contents (path, data, size, NULL));
  return path;
}

/* An error of one line that names the file and says `word`. */
static inline void
assert_error (GError *error, gint code, const char *path, const char *word)
{
  g_autofree char *base = g_path_get_basename (path);

  g_test_message ("%s", error ? error->message : "no error");
  g_assert_error (error, LF_ERROR, code);
  g_assert_nonnull (strstr (error->message, base));
  g_assert_nonnull (strstr (error->message, word));
  g_assert_null (strchr (error->message, '\n'));
  g_assert_cmpuint (strlen (error->message), <, 1000);
}

static inline void
scratch_remove (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *full = g_build_filename (path, name, NULL);

    scratch_remove (full);
  }
  g_assert_cmpint (g_remove (path), ==, 0);
}

/* Runs the tests with the directory there. */
static inline gint
scratch_run (void)
{
  gint result;

  scratch_dir = g_dir_make_tmp ("lightforce-test-XXXXXX", NULL);
  g_assert_nonnull (scratch_dir);
  result = g_test_run ();
  scratch_remove (scratch_dir);
  g_free (scratch_dir);
  return result;
}

#endif
