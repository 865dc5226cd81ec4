/* lightforce: files of named tensors
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "container-private.h"

#define GATHER_BYTES (1 << 20)

/* ----------------------------------------------------------------- opening */

void
lf_container_set_error (
    GError **error, gint code, const char *path, const char *name, const char *format, ...)
{
  g_autofree char *reason = NULL;
  va_list args;

  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  if (name) {
    /* names come from the file: no control characters and no length of its choice */
    g_autofree char *escaped = g_strescape (name, NULL);

    if (strlen (escaped) > 200)
      strcpy (escaped + 197, "...");
    g_set_error (error, LF_ERROR, code, "%s: tensor %s: %s", path, escaped, reason);
  } else {
    g_set_error (error, LF_ERROR, code, "%s: %s", path, reason);
  }
}

LfContainer *
lf_container_new (const LfContainerFormat *format, const char *path, GBytes *bytes)
{
  LfContainer *c = g_new0 (LfContainer, 1);

  c->format = format;
  c->path = g_strdup (path);
  c->tensors = g_array_new (FALSE, TRUE, sizeof (LfTensor));
  c->by_name = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  c->bytes = g_bytes_ref (bytes);
  return c;
}

void
lf_container_close (LfContainer *container)
{
  container->format->close (container);
  g_array_unref (container->tensors);
  g_hash_table_unref (container->by_name);
  g_clear_pointer (&container->metadata, g_hash_table_unref);
  g_bytes_unref (container->bytes);
  g_free (container->path);
  g_free (container);
}

/* The number of elements, or -1 if that is no number a file can hold. */
static gint64
count_elements (const LfTensorInfo *info)
{
  gint64 count = 1;
  gint i;

  for (i = 0; i < info->ndim; i++) {
    if (info->shape[i] < 0 || info->shape[i] > G_MAXINT64 >> 8
        || __builtin_mul_overflow (count, info->shape[i], &count) || count > G_MAXINT64 >> 8)
      return -1;
  }
  return count;
}

/* Whether the furthest element lies inside a storage of this many elements. */
static gboolean
fits_storage (const LfTensor *t, gint64 elements)
{
  gint64 last = t->offset, step;
  gint i;

  if (t->info.count == 0)
    return t->offset >= 0;
  for (i = 0; i < t->info.ndim; i++) {
    if (t->stride[i] < 0 || __builtin_mul_overflow (t->info.shape[i] - 1, t->stride[i], &step)
        || __builtin_add_overflow (last, step, &last))
      return FALSE;
  }
  return t->offset >= 0 && last < elements;
}

static gboolean
is_contiguous (const LfTensor *t)
{
  gint64 expected = 1;
  gint i;

  for (i = t->info.ndim - 1; i >= 0; i--) {
    if (t->info.shape[i] != 1 && t->stride[i] != expected)
      return FALSE;
    expected *= t->info.shape[i];
  }
  return TRUE;
}

gboolean
lf_container_add (LfContainer *container, const LfTensor *tensor, guint64 bytes, GError **error)
{
  LfTensor t = *tensor;
  gsize size = lf_dtype_size (t.info.dtype);
  char *name;

  t.info.count = count_elements (&t.info);
  if (t.info.count < 0) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, container->path, t.info.name,
        "its shape is impossible; the file is damaged");
    return FALSE;
  }
  if (!fits_storage (&t, MIN (bytes / size, (guint64) G_MAXINT64))) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, container->path, t.info.name,
        "it reaches beyond its data; the file is damaged");
    return FALSE;
  }
  if (container->tensors->len >= LF_MAX_TENSORS) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, container->path, NULL,
        "more than %d tensors", LF_MAX_TENSORS);
    return FALSE;
  }
  if (g_hash_table_contains (container->by_name, t.info.name)) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, container->path, t.info.name,
        "it is there twice; the file is damaged");
    return FALSE;
  }
  t.contiguous = is_contiguous (&t);
  t.info.name = name = g_strdup (t.info.name);
  g_array_append_val (container->tensors, t);
  g_hash_table_insert (container->by_name, name, GUINT_TO_POINTER (container->tensors->len));
  return TRUE;
}

LfContainer *
lf_container_open_bytes (const char *path, GBytes *bytes, GError **error)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  if (size >= 4 && !memcmp (data, "PK\3\4", 4))
    return lf_torch_open (path, bytes, error);
  /* protocol 2 pickles of torch's magic number: what torch.save wrote until version 1.6 */
  if (size >= 2 && data[0] == 0x80 && data[1] <= 5 && (size < 9 || data[8] != '{')) {
    lf_container_set_error (error, LF_ERROR_UNSUPPORTED, path, NULL,
        "this is torch's old format from before version 1.6; convert it with a recent PyTorch: "
        "torch.save(torch.load(\"old.pt\", map_location=\"cpu\"), \"new.pt\")");
    return NULL;
  }
  if (size >= 9 && data[8] == '{')
    return lf_safetensors_open (path, bytes, error);
  lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL,
      size < 9 ? "%s; the file is empty or truncated" : "%s",
      "neither safetensors nor a torch file");
  return NULL;
}

LfContainer *
lf_container_open (const char *path, GError **error)
{
  g_autoptr (GMappedFile) file = NULL;
  g_autoptr (GBytes) bytes = NULL;
  g_autoptr (GError) reason = NULL;
  struct stat st;

  if (stat (path, &st) != 0) {
    lf_container_set_error (error, errno == ENOENT ? LF_ERROR_NOT_FOUND : LF_ERROR_INVALID_FILE,
        path, NULL, "%s", g_strerror (errno));
    return NULL;
  }
  if (!S_ISREG (st.st_mode)) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL, "this is no regular file");
    return NULL;
  }
  file = g_mapped_file_new (path, FALSE, &reason);
  if (!file) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL, "%s", reason->message);
    return NULL;
  }
  bytes = g_mapped_file_get_bytes (file);
  return lf_container_open_bytes (path, bytes, error);
}

/* ----------------------------------------------------------------- looking */

const char *
lf_container_get_path (const LfContainer *container)
{
  return container->path;
}

const char *
lf_container_get_format (const LfContainer *container)
{
  return container->format->format;
}

guint
lf_container_get_size (const LfContainer *container)
{
  return container->tensors->len;
}

const LfTensorInfo *
lf_container_get_tensor (const LfContainer *container, guint i)
{
  return &g_array_index (container->tensors, LfTensor, i).info;
}

const LfTensorInfo *
lf_container_find (const LfContainer *container, const char *name)
{
  guint i = GPOINTER_TO_UINT (g_hash_table_lookup (container->by_name, name));

  return i ? lf_container_get_tensor (container, i - 1) : NULL;
}

const char *
lf_container_get_metadata (const LfContainer *container, const char *key)
{
  return container->metadata ? g_hash_table_lookup (container->metadata, key) : NULL;
}

/* ----------------------------------------------------------------- reading */

static gboolean
read_elements (LfContainer *c, const LfTensor *t, gint64 at, gint64 count, LfDType dtype,
    guint8 *dst, guint8 *staging, GError **error)
{
  gsize from = lf_dtype_size (t->info.dtype), to = lf_dtype_size (dtype);

  while (count > 0) {
    gint64 n = MIN (count, (gint64) (GATHER_BYTES / from));

    if (dtype == t->info.dtype) {
      n = count;
      if (!c->format->read (c, t->storage, at * from, n * from, dst, error))
        return FALSE;
    } else {
      if (!c->format->read (c, t->storage, at * from, n * from, staging, error))
        return FALSE;
      lf_dtype_convert (dst, dtype, staging, t->info.dtype, n);
    }
    at += n;
    count -= n;
    dst += n * to;
  }
  return TRUE;
}

/* Where element `index` of the row-major order lies, in elements. */
static gint64
place_of (const LfTensor *t, gint64 index)
{
  gint64 place = t->offset;
  gint i;

  for (i = t->info.ndim - 1; i >= 0; i--) {
    place += index % t->info.shape[i] * t->stride[i];
    index /= t->info.shape[i];
  }
  return place;
}

/* A view with strides: element by element out of pieces of its storage. */
static gboolean
gather (LfContainer *c, const LfTensor *t, gint64 first, gint64 count, LfDType dtype, guint8 *dst,
    guint8 *staging, GError **error)
{
  gsize from = lf_dtype_size (t->info.dtype), to = lf_dtype_size (dtype);
  gint64 window = GATHER_BYTES / from, begin = 0, end = 0, last, i;

  last = t->offset;
  for (i = 0; i < t->info.ndim; i++)
    last += (t->info.shape[i] - 1) * t->stride[i];
  for (i = 0; i < count; i++) {
    gint64 place = place_of (t, first + i);

    if (place < begin || place >= end) {
      begin = place;
      end = MIN (last + 1, place + window);
      if (!c->format->read (c, t->storage, begin * from, (end - begin) * from, staging, error))
        return FALSE;
    }
    lf_dtype_convert (dst + i * to, dtype, staging + (place - begin) * from, t->info.dtype, 1);
  }
  return TRUE;
}

gboolean
lf_container_read (LfContainer *container, const LfTensorInfo *tensor, gint64 first, gint64 count,
    LfDType dtype, void *dst, GError **error)
{
  const LfTensor *t = (const LfTensor *) tensor;
  g_autofree guint8 *staging = NULL;

  g_assert (first >= 0 && count >= 0 && first + count <= tensor->count);
  if (count == 0)
    return TRUE;
  if (!t->contiguous && container->format->map (container, t->storage) == NULL) {
    staging = g_malloc (GATHER_BYTES);
    return gather (container, t, first, count, dtype, dst, staging, error);
  }
  if (!t->contiguous) {
    const guint8 *map = container->format->map (container, t->storage);
    gsize from = lf_dtype_size (tensor->dtype), to = lf_dtype_size (dtype);
    gint64 i;

    for (i = 0; i < count; i++)
      lf_dtype_convert (
          (guint8 *) dst + i * to, dtype, map + place_of (t, first + i) * from, tensor->dtype, 1);
    return TRUE;
  }
  if (dtype != tensor->dtype)
    staging = g_malloc (GATHER_BYTES);
  return read_elements (container, t, t->offset + first, count, dtype, dst, staging, error);
}

const void *
lf_container_map (LfContainer *container, const LfTensorInfo *tensor)
{
  const LfTensor *t = (const LfTensor *) tensor;
  const guint8 *map = t->contiguous ? container->format->map (container, t->storage) : NULL;
  gsize size = lf_dtype_size (tensor->dtype);

  if (!map || ((guintptr) (map + t->offset * size)) % size)
    return NULL;
  return map + t->offset * size;
}
