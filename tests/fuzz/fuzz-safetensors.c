/* lightforce: fuzzes safetensors files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The input is the header and the data: its length is put in front, or every second mutation
 * would only break that.
 */
#include <string.h>

#include "exercise.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autofree guint8 *file = g_malloc0 (8 + size + 1);
  const guint8 *end = size ? memrchr (data, '}', size) : NULL;
  guint64 length = end ? (guint64) (end - data) + 1 : size;

  /* a header of which the last byte tells more: the raw file */
  if (size && data[size - 1] == '!') {
    exercise (data, size);
    return 0;
  }
  length = GUINT64_TO_LE (length);
  memcpy (file, &length, 8);
  memcpy (file + 8, data, size);
  exercise (file, 8 + size);
  return 0;
}
