/* lightforce: texts for people, which can be translated
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_I18N_H
#define LF_I18N_H

#define GETTEXT_PACKAGE "lightforce"

#include <glib/gi18n-lib.h>

#endif
