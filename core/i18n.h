/* lightforce: texts for people, which can be translated
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CORE_I18N_H
#define LF_CORE_I18N_H

/* Marked are errors that users meet: of settings, files that are missing, cut off or of another
 * kind, memory, devices. What is wrong in a description, a pickle or a single layer is told in
 * English only. Programs bind the domain; the plugin does. */
#define GETTEXT_PACKAGE "lightforce"

#include <glib/gi18n-lib.h>

#endif
