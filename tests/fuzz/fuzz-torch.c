/* lightforce: fuzzes the archives of torch files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "exercise.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  exercise (data, size);
  return 0;
}
