/* lightforce: fuzzes the reader of timed prompts
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/promptscript.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (LfPromptScript) script =
      lf_prompt_script_parse ("fuzzed", (const char *) data, size, &error);
  guint i;

  if (!script) {
    g_assert (error && error->domain == LF_ERROR);
    g_assert (g_str_has_prefix (error->message, "fuzzed, line "));
    g_assert (!strpbrk (error->message, "\n\r"));
    return 0;
  }
  for (i = 0; i < lf_prompt_script_get_size (script); i++) {
    const LfPromptLine *line = lf_prompt_script_get_line (script, i);

    g_assert (line->text[0] != '\0' && g_utf8_validate (line->text, -1, NULL));
    g_assert (lf_prompt_script_find (script, line->time) == line);
    g_assert (line->time == 0 || lf_prompt_script_find (script, line->time - 1) != line);
  }
  return 0;
}
