/* lightforce: errors and version
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "lightforce.h"

G_DEFINE_QUARK (lightforce - error, lf_error)

const char *
lf_version (void)
{
  return LF_VERSION;
}
