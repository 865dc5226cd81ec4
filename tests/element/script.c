/* lightforce: prompts with a time, for tests of the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/script.h"

#include <glib/gstdio.h>

char *script_path;

static char *folder;

void
script_setup (void)
{
  folder = g_dir_make_tmp ("lightforce-XXXXXX", NULL);
  fail_unless (folder != NULL);
  script_path = g_build_filename (folder, "script", NULL);
}

void
script_teardown (void)
{
  g_unlink (script_path);
  g_rmdir (folder);
  g_clear_pointer (&script_path, g_free);
  g_clear_pointer (&folder, g_free);
}

void
script_write (const char *text)
{
  fail_unless (g_file_set_contents (script_path, text, -1, NULL));
}

Rig *
script_rig (const char *extra)
{
  g_autofree char *properties = g_strdup_printf ("prompt-file=%s %s", script_path, extra);

  return rig_new (properties, "video/x-raw,format=RGBx");
}

GstEvent *
script_event (const char *fields)
{
  g_autofree char *text = g_strdup_printf ("lightforce-prompt%s", fields);
  GstStructure *structure = gst_structure_from_string (text, NULL);

  fail_unless (structure != NULL, "%s", text);
  return gst_event_new_custom (GST_EVENT_CUSTOM_UPSTREAM, structure);
}
