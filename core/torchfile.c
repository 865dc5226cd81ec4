/* lightforce: the archives that torch.save writes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A zip of stored entries: NAME/data.pkl describes the tensors, NAME/data/KEY are their storages.
 */
#include <string.h>
#include <zip.h>

#include "container-private.h"
#include "i18n.h"
#include "unpickle.h"

#define MAX_PICKLE (64 << 20)
#define MAX_NESTING 8

/* libzip reads the directory and small entries. The storages are stored as they are, so they are
 * used where they lie in the mapped file: no second copy, and strides cost nothing. */
typedef struct
{
  const guint8 *data;
  guint64 bytes;
} Storage;

typedef struct
{
  zip_t *zip;
  char *prefix;       /* "NAME/" or "" */
  GArray *places;     /* of guint64: where the local header of each entry is */
  GArray *storages;   /* of Storage */
  GHashTable *by_key; /* key -> index + 1 */
} Torch;

static void
torch_close (LfContainer *container)
{
  Torch *t = container->data;

  if (t->zip)
    zip_discard (t->zip);
  g_array_unref (t->places);
  g_array_unref (t->storages);
  g_hash_table_unref (t->by_key);
  g_free (t->prefix);
  g_free (t);
}

static const guint8 *
torch_map (LfContainer *container, gint storage)
{
  return g_array_index (((Torch *) container->data)->storages, Storage, storage).data;
}

static const LfContainerFormat torch_format = {"torch", torch_close, torch_map};

/* ------------------------------------------------------------------ places */

/* Where entries lie is the one thing that libzip does not say. Format: PKWARE's APPNOTE.TXT. */
#define LOCAL_HEADER 30
#define CENTRAL_HEADER 46
#define END_RECORD 22
#define END64_LOCATOR 20
#define END64_RECORD 56

static guint64
get_le (const guint8 *data, gint bytes)
{
  guint64 x = 0;

  while (bytes--)
    x = x << 8 | data[bytes];
  return x;
}

/* Begin and number of entries of the central directory. */
static gboolean
find_directory (const guint8 *data, gsize size, guint64 *at, guint64 *entries)
{
  gsize end, least = size > END_RECORD + 65535 ? size - END_RECORD - 65535 : 0;

  if (size < END_RECORD)
    return FALSE;
  for (end = size - END_RECORD; memcmp (data + end, "PK\5\6", 4); end--)
    if (end == least)
      return FALSE;
  *entries = get_le (data + end + 10, 2);
  *at = get_le (data + end + 16, 4);
  if (end >= END64_LOCATOR && !memcmp (data + end - END64_LOCATOR, "PK\6\7", 4)) {
    guint64 end64 = get_le (data + end - END64_LOCATOR + 8, 8);

    if (end64 > size || size - end64 < END64_RECORD || memcmp (data + end64, "PK\6\6", 4))
      return FALSE;
    *entries = get_le (data + end64 + 32, 8);
    *at = get_le (data + end64 + 48, 8);
  }
  return TRUE;
}

/* The place in a central header, which a 64-bit field replaces where 32 bits are not enough. */
static gboolean
get_place (const guint8 *header, const guint8 *extra, gsize extra_size, guint64 *place)
{
  *place = get_le (header + 42, 4);
  if (*place != G_MAXUINT32)
    return TRUE;
  while (extra_size >= 4) {
    guint64 id = get_le (extra, 2), length = get_le (extra + 2, 2);
    /* sizes come first, those that are not in the header */
    gsize skip =
        (get_le (header + 24, 4) == G_MAXUINT32) * 8 + (get_le (header + 20, 4) == G_MAXUINT32) * 8;

    if (length > extra_size - 4)
      return FALSE;
    if (id == 1 && length >= skip + 8) {
      *place = get_le (extra + 4 + skip, 8);
      return TRUE;
    }
    extra += 4 + length;
    extra_size -= 4 + length;
  }
  return FALSE;
}

static gboolean
read_places (LfContainer *c, GError **error)
{
  Torch *t = c->data;
  gsize size;
  const guint8 *data = g_bytes_get_data (c->bytes, &size);
  guint64 at, entries, i;

  if (!find_directory (data, size, &at, &entries)
      || entries != (guint64) zip_get_num_entries (t->zip, 0))
    goto damaged;
  for (i = 0; i < entries; i++) {
    gsize name, extra, comment;
    guint64 place;

    if (at > size || size - at < CENTRAL_HEADER || memcmp (data + at, "PK\1\2", 4))
      goto damaged;
    name = get_le (data + at + 28, 2);
    extra = get_le (data + at + 30, 2);
    comment = get_le (data + at + 32, 2);
    if (size - at - CENTRAL_HEADER < name + extra + comment
        || !get_place (data + at, data + at + CENTRAL_HEADER + name, extra, &place))
      goto damaged;
    g_array_append_val (t->places, place);
    at += CENTRAL_HEADER + name + extra + comment;
  }
  return TRUE;

damaged:
  lf_container_set_error (error, LF_ERROR_INVALID_FILE, c->path, NULL,
      _ ("its zip directory is damaged; fetch the file again"));
  return FALSE;
}

/* The contents of a stored entry, or NULL if they do not lie inside of the file. */
static const guint8 *
find_contents (LfContainer *c, const zip_stat_t *st)
{
  gsize size, name;
  const guint8 *data = g_bytes_get_data (c->bytes, &size);
  guint64 at = g_array_index (((Torch *) c->data)->places, guint64, st->index);

  if (at > size || size - at < LOCAL_HEADER || memcmp (data + at, "PK\3\4", 4))
    return NULL;
  name = get_le (data + at + 26, 2);
  if (size - at - LOCAL_HEADER < name || strlen (st->name) != name
      || memcmp (data + at + LOCAL_HEADER, st->name, name))
    return NULL;
  at += LOCAL_HEADER + name + get_le (data + at + 28, 2);
  return at <= size && st->size <= size - at ? data + at : NULL;
}

/* ----------------------------------------------------------------- entries */

/* Finds prefix + name. Entries are stored as they are: what would have to be unpacked could grow
 * without bound, and torch writes none. */
static gboolean
find_entry (LfContainer *c, const char *name, zip_stat_t *st, gboolean *there, GError **error)
{
  Torch *t = c->data;
  g_autofree char *full = g_strconcat (t->prefix, name, NULL);
  const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_INDEX | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;

  *there = zip_stat (t->zip, full, 0, st) == 0 && (st->valid & needed) == needed;
  if (!*there)
    return TRUE;
  if (st->comp_method != ZIP_CM_STORE || st->size > g_bytes_get_size (c->bytes)) {
    g_autofree char *shown = g_strescape (name, NULL);

    lf_container_set_error (error, LF_ERROR_INVALID_FILE, c->path, NULL,
        _ ("its entry %.100s is compressed, which torch files never are; it is refused"), shown);
    return FALSE;
  }
  return TRUE;
}

/* All of a small entry; free with g_free. */
static guint8 *
read_entry (LfContainer *c, const zip_stat_t *st, GError **error)
{
  Torch *t = c->data;
  zip_file_t *file = zip_fopen_index (t->zip, st->index, 0);
  g_autofree guint8 *data = g_malloc (st->size + 1);
  gboolean ok = file && zip_fread (file, data, st->size) == (zip_int64_t) st->size;

  if (file)
    zip_fclose (file);
  if (!ok) {
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, c->path, NULL, _ ("it cannot be read; the file is damaged"));
    return NULL;
  }
  data[st->size] = 0;
  return g_steal_pointer (&data);
}

/* The directory that all entries of the archive lie in: where data.pkl is. */
static gboolean
find_prefix (Torch *t)
{
  zip_int64_t n = zip_get_num_entries (t->zip, 0), i;

  for (i = 0; i < n; i++) {
    const char *name = zip_get_name (t->zip, i, 0);

    if (name && (g_str_equal (name, "data.pkl") || g_str_has_suffix (name, "/data.pkl"))) {
      t->prefix = g_strndup (name, strlen (name) - strlen ("data.pkl"));
      return TRUE;
    }
  }
  return FALSE;
}

static gboolean
check_byte_order (LfContainer *c, GError **error)
{
  g_autofree guint8 *order = NULL;
  zip_stat_t st;
  gboolean there;

  if (!find_entry (c, "byteorder", &st, &there, error))
    return FALSE;
  if (!there || st.size > 16)
    return TRUE;
  order = read_entry (c, &st, error);
  if (!order)
    return FALSE;
  if (g_str_has_prefix ((const char *) order, "big")) {
    lf_container_set_error (error, LF_ERROR_UNSUPPORTED, c->path, NULL,
        _ ("it was written on a big-endian machine; save it again on a little-endian one"));
    return FALSE;
  }
  return TRUE;
}

/* ----------------------------------------------------------------- tensors */

/* The number of a storage, or -1. */
static gint
find_storage (LfContainer *c, LfPickleValue *value, const char *tensor, GError **error)
{
  Torch *t = c->data;
  gpointer known = g_hash_table_lookup (t->by_key, value->string);
  g_autofree char *name = NULL;
  Storage s;
  zip_stat_t st;
  gboolean there;

  if (known) {
    gint i = GPOINTER_TO_INT (known) - 1;

    /* the same bytes seen as two types: torch shares untyped storages */
    s = g_array_index (t->storages, Storage, i);
    if (s.bytes / lf_dtype_size (value->dtype) >= (guint64) value->number)
      return i;
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, c->path, tensor,
        _ ("its data is shorter than it says; the file is damaged"));
    return -1;
  }
  name = g_strconcat ("data/", value->string, NULL);
  if (!find_entry (c, name, &st, &there, error))
    return -1;
  if (!there || st.size / lf_dtype_size (value->dtype) < (guint64) value->number) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, c->path, tensor,
        there ? _ ("its data is shorter than it says; the file is damaged")
              : _ ("its data is missing; the file is damaged"));
    return -1;
  }
  s.data = find_contents (c, &st);
  s.bytes = st.size;
  if (!s.data) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, c->path, tensor,
        _ ("its data lies outside of the file; the file is damaged"));
    return -1;
  }
  g_array_append_val (t->storages, s);
  g_hash_table_insert (t->by_key, value->string, GINT_TO_POINTER (t->storages->len));
  return t->storages->len - 1;
}

static gboolean
add_tensor (LfContainer *c, const char *name, LfPickleValue *value, GError **error)
{
  LfTensor t = {.info.name = name, .info.dtype = value->storage->dtype, .info.ndim = value->ndim};

  t.storage = find_storage (c, value->storage, name, error);
  if (t.storage < 0)
    return FALSE;
  t.offset = value->number;
  memcpy (t.info.shape, value->shape, sizeof (t.info.shape));
  memcpy (t.stride, value->stride, sizeof (t.stride));
  return lf_container_add (
      c, &t, (guint64) value->storage->number * lf_dtype_size (t.info.dtype), error);
}

/* Adds the tensors of a dict and of dicts in it; other values are left aside. `budget` bounds the
 * walk: dicts may be shared, so that a small file can spell out an endless tree. */
static gboolean
walk (LfContainer *c, LfPickleValue *dict, const char *prefix, gint depth, gint *budget,
    GError **error)
{
  guint i;

  if (depth > MAX_NESTING || *budget < 0) {
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, c->path, NULL, _ ("its dicts are nested too deep"));
    return FALSE;
  }
  for (i = 0; i + 1 < dict->items->len; i += 2) {
    LfPickleValue *key = g_ptr_array_index (dict->items, i);
    LfPickleValue *value = g_ptr_array_index (dict->items, i + 1);
    g_autofree char *name = NULL;

    if (--*budget < 0)
      return walk (c, dict, prefix, depth, budget, error);
    if (key->kind != LF_PICKLE_STRING)
      continue;
    if (value->kind == LF_PICKLE_TENSOR) {
      name = g_strconcat (prefix, key->string, NULL);
      if (!add_tensor (c, name, value, error))
        return FALSE;
    } else if (value->kind == LF_PICKLE_DICT) {
      name = g_strconcat (prefix, key->string, "/", NULL);
      if (strlen (name) > 1024) {
        lf_container_set_error (
            error, LF_ERROR_INVALID_FILE, c->path, NULL, _ ("its names are too long"));
        return FALSE;
      }
      if (!walk (c, value, name, depth + 1, budget, error))
        return FALSE;
    }
  }
  return TRUE;
}

static zip_t *
open_zip (const char *path, GBytes *bytes, GError **error)
{
  gsize size;
  const void *data = g_bytes_get_data (bytes, &size);
  zip_error_t ze;
  zip_source_t *source;
  zip_t *zip = NULL;

  zip_error_init (&ze);
  source = zip_source_buffer_create (data, size, 0, &ze);
  if (source && !(zip = zip_open_from_source (source, ZIP_RDONLY, &ze)))
    zip_source_free (source);
  if (!zip)
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL,
        _ ("%s; the file is damaged or truncated"), zip_error_strerror (&ze));
  zip_error_fini (&ze);
  return zip;
}

static gboolean
read_pickle (LfContainer *c, GError **error)
{
  g_autoptr (LfPickle) pickle = NULL;
  g_autofree guint8 *data = NULL;
  zip_stat_t st;
  gboolean there, ok;
  gint budget = LF_MAX_TENSORS;

  if (!find_entry (c, "data.pkl", &st, &there, error))
    return FALSE;
  if (!there || st.size > MAX_PICKLE) {
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, c->path, NULL, _ ("its data.pkl is larger than any model's"));
    return FALSE;
  }
  data = read_entry (c, &st, error);
  if (!data || !(pickle = lf_pickle_read (c->path, data, st.size, error)))
    return FALSE;
  if (lf_pickle_get_root (pickle)->kind != LF_PICKLE_DICT) {
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, c->path, NULL, _ ("it holds no dict of tensors"));
    return FALSE;
  }
  ok = walk (c, lf_pickle_get_root (pickle), "", 0, &budget, error);
  /* its keys go with the pickle */
  g_hash_table_remove_all (((Torch *) c->data)->by_key);
  return ok;
}

LfContainer *
lf_torch_open (const char *path, GBytes *bytes, GError **error)
{
  g_autoptr (LfContainer) c = lf_container_new (&torch_format, path, bytes);
  Torch *t = c->data = g_new0 (Torch, 1);

  t->places = g_array_new (FALSE, FALSE, sizeof (guint64));
  t->storages = g_array_new (FALSE, FALSE, sizeof (Storage));
  t->by_key = g_hash_table_new (g_str_hash, g_str_equal);
  t->zip = open_zip (path, bytes, error);
  if (!t->zip)
    return NULL;
  if (!find_prefix (t)) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL,
        _ ("this is a zip file without data.pkl: no torch file"));
    return NULL;
  }
  if (!read_places (c, error) || !check_byte_order (c, error) || !read_pickle (c, error))
    return NULL;
  return g_steal_pointer (&c);
}
