/* lightforce: what a test's own process takes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_TEST_PROCESS_H
#define LF_TEST_PROCESS_H

#include <glib.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

/* Bytes that malloc has handed out. */
static inline gsize
process_allocated (void)
{
  struct mallinfo2 info = mallinfo2 ();

  return info.uordblks + info.hblkhd;
}

/* Bytes of it all that are in memory. */
static inline gsize
process_resident (void)
{
  g_autofree char *text = NULL;
  gulong all, pages;

  if (!g_file_get_contents ("/proc/self/statm", &text, NULL, NULL)
      || sscanf (text, "%lu %lu", &all, &pages) != 2)
    g_error ("/proc/self/statm says nothing of memory");
  return pages * (gsize) sysconf (_SC_PAGESIZE);
}

static inline guint
process_open_files (void)
{
  GDir *dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint count = 0;

  while (g_dir_read_name (dir))
    count++;
  g_dir_close (dir);
  return count;
}

#endif
