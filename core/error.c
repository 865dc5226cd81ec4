/* lightforce: errors and version
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdarg.h>
#include <string.h>

#include "container-private.h"

G_DEFINE_QUARK (lightforce - error, lf_error)

const char *
lf_version (void)
{
  return LF_VERSION;
}

void
lf_container_set_error (
    GError **error, gint code, const char *path, const char *name, const char *format, ...)
{
  g_autofree char *reason = NULL;
  va_list args;
  char *c;

  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  for (c = reason; *c; c++)
    if (g_ascii_iscntrl (*c))
      *c = '?';
  if (name) {
    /* names come from the file: no control characters and no length of its choice */
    g_autofree char *escaped = g_strescape (name, NULL);

    if (strlen (escaped) > 200)
      strcpy (escaped + 197, "...");
    g_set_error (error, LF_ERROR, code, "%s: tensor %s: %s", path, escaped, reason);
  } else {
    g_set_error (error, LF_ERROR, code, "%s: %s", path, reason);
  }
}
