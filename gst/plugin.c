/* lightforce: the plugin
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/i18n.h"
#include "gst/lightforcepromptsink.h"
#include "gst/lightforcesrc.h"

static gboolean
plugin_init (GstPlugin *plugin)
{
  bindtextdomain (GETTEXT_PACKAGE, LF_LOCALE_DIR);
  bind_textdomain_codeset (GETTEXT_PACKAGE, "UTF-8");
  return GST_ELEMENT_REGISTER (lightforcesrc, plugin)
         & GST_ELEMENT_REGISTER (lightforcepromptsink, plugin);
}

#ifndef PACKAGE
#define PACKAGE "lightforce"
#endif

GST_PLUGIN_DEFINE (GST_VERSION_MAJOR, GST_VERSION_MINOR, lightforce,
    "Live video from a text prompt", plugin_init, LF_VERSION, "LGPL", "lightforce", "lightforce")
