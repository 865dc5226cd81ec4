/* lightforce: the element that makes prompts of a stream of text
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_PROMPT_SINK_H
#define LF_PROMPT_SINK_H

#include <gst/base/gstbasesink.h>

G_BEGIN_DECLS

#define LF_TYPE_PROMPT_SINK (lf_prompt_sink_get_type ())
G_DECLARE_FINAL_TYPE (LightforcePromptSink, lf_prompt_sink, LF, PROMPT_SINK, GstBaseSink)

GST_ELEMENT_REGISTER_DECLARE (lightforcepromptsink)

G_END_DECLS
#endif
