/* lightforce: prompts that come to the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/promptevent.h"

#include "gst/i18n.h"
#include "gst/prompts.h"

static const char *const modes[] = {
    [LF_PROMPT_SWITCH_CUT] = "cut",
    [LF_PROMPT_SWITCH_RECACHE] = "recache",
    [LF_PROMPT_SWITCH_BLEND] = "blend",
};

gboolean
lf_is_prompt_event (GstEvent *event)
{
  return GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_UPSTREAM
         && gst_event_has_name (event, LF_PROMPT_EVENT);
}

char *
lf_prompt_event_parse (GstEvent *event, LfPromptEvent *parsed)
{
  const GstStructure *s = gst_event_get_structure (event);
  const char *mode;

  parsed->text = gst_structure_get_string (s, "prompt");
  parsed->mode = LF_PROMPT_MODE_DEFAULT;
  parsed->time = GST_CLOCK_TIME_NONE;
  if (parsed->text == NULL)
    return g_strdup (_ ("An event lightforce-prompt has no string field prompt."));
  if (!g_utf8_validate (parsed->text, -1, NULL))
    return g_strdup (_ ("The prompt of an event lightforce-prompt is not UTF-8."));
  if (gst_structure_has_field (s, "mode")) {
    guint i;

    mode = gst_structure_get_string (s, "mode");
    for (i = 0; mode && i < G_N_ELEMENTS (modes); i++)
      if (g_str_equal (mode, modes[i]))
        parsed->mode = (gint) i;
    if (parsed->mode == LF_PROMPT_MODE_DEFAULT && mode == NULL)
      return g_strdup (_ ("The mode of an event lightforce-prompt is no string: choose cut, "
                          "recache or blend."));
    if (parsed->mode == LF_PROMPT_MODE_DEFAULT)
      return g_strdup_printf (_ ("The mode of an event lightforce-prompt is \"%s\": choose cut, "
                                 "recache or blend."),
          mode);
  }
  if (gst_structure_has_field (s, "time") && !gst_structure_get_uint64 (s, "time", &parsed->time))
    return g_strdup (_ ("The time of an event lightforce-prompt is a guint64, the running time in "
                        "nanoseconds."));
  return NULL;
}

GstEvent *
lf_prompt_event_new (const char *text, GstClockTime time)
{
  GstStructure *s = gst_structure_new (LF_PROMPT_EVENT, "prompt", G_TYPE_STRING, text, NULL);

  if (GST_CLOCK_TIME_IS_VALID (time))
    gst_structure_set (s, "time", G_TYPE_UINT64, time, NULL);
  return gst_event_new_custom (GST_EVENT_CUSTOM_UPSTREAM, s);
}
