/* lightforce: fuzzes the pickles in torch files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The input becomes data.pkl of an archive: its checksum would keep mutations of a whole file from
 * ever reaching the pickle.
 */
#include <string.h>

#include "exercise.h"

#define STORAGES 4
#define STORAGE_BYTES 256

static void
put (GByteArray *out, guint64 value, gint bytes)
{
  guint64 le = GUINT64_TO_LE (value);

  g_byte_array_append (out, (const guint8 *) &le, bytes);
}

static guint32
checksum (const guint8 *data, gsize size)
{
  guint32 crc = ~(guint32) 0;
  gint i;

  while (size--)
    for (crc ^= *data++, i = 0; i < 8; i++)
      crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  return ~crc;
}

/* What headers of both kinds have in common. */
static void
put_entry (GByteArray *out, const char *name, const guint8 *data, gsize size)
{
  put (out, 20, 2); /* version */
  put (out, 0, 8);  /* flags, stored, time and date */
  put (out, checksum (data, size), 4);
  put (out, size, 4);
  put (out, size, 4);
  put (out, strlen (name), 2);
  put (out, 0, 2); /* extra */
}

static void
add_entry (GByteArray *out, GByteArray *directory, const char *name, const guint8 *data, gsize size)
{
  guint64 place = out->len;

  g_byte_array_append (out, (const guint8 *) "PK\3\4", 4);
  put_entry (out, name, data, size);
  g_byte_array_append (out, (const guint8 *) name, strlen (name));
  g_byte_array_append (out, data, size);
  g_byte_array_append (directory, (const guint8 *) "PK\1\2", 4);
  put (directory, 20, 2);
  put_entry (directory, name, data, size);
  put (directory, 0, 2 + 2 + 2); /* comment, disk, attributes */
  put (directory, 0, 4);
  put (directory, place, 4);
  g_byte_array_append (directory, (const guint8 *) name, strlen (name));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GByteArray) out = g_byte_array_new (), directory = g_byte_array_new ();
  guint8 storage[STORAGE_BYTES];
  guint64 place;
  gint i;

  for (i = 0; i < STORAGE_BYTES; i++)
    storage[i] = i;
  add_entry (out, directory, "x/data.pkl", data, size);
  for (i = 0; i < STORAGES; i++) {
    g_autofree char *name = g_strdup_printf ("x/data/%d", i);

    add_entry (out, directory, name, storage, STORAGE_BYTES >> i);
  }
  place = out->len;
  g_byte_array_append (out, directory->data, directory->len);
  g_byte_array_append (out, (const guint8 *) "PK\5\6\0\0\0\0", 8);
  put (out, STORAGES + 1, 2);
  put (out, STORAGES + 1, 2);
  put (out, directory->len, 4);
  put (out, place, 4);
  put (out, 0, 2);
  exercise (out->data, out->len);
  return 0;
}
