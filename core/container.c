/* lightforce: files of named tensors
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "i18n.h"

#include "container-private.h"

#define LFS_POINTER "version https://git-lfs"

/* A pickled number of ten bytes, 0x1950a86a20f9469cfc6c. */
#define LEGACY_MAGIC "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

/* ----------------------------------------------------------------- opening */

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
        _ ("its shape is impossible; the file is damaged"));
    return FALSE;
  }
  if (!fits_storage (&t, MIN (bytes / size, (guint64) G_MAXINT64))) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, container->path, t.info.name,
        _ ("it reaches beyond its data; the file is damaged"));
    return FALSE;
  }
  /* a stride of 0 could make any size of a few bytes */
  if (t.info.count > (gint64) MIN (bytes / size, (guint64) G_MAXINT64)) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, container->path, t.info.name,
        _ ("it has more elements than its data; the file is damaged"));
    return FALSE;
  }
  if (container->tensors->len >= LF_MAX_TENSORS) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, container->path, NULL,
        _ ("more than %d tensors"), LF_MAX_TENSORS);
    return FALSE;
  }
  if (g_hash_table_contains (container->by_name, t.info.name)) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, container->path, t.info.name,
        _ ("it is there twice; the file is damaged"));
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
  if (size >= 14 && data[0] == 0x80 && !memcmp (data + 2, LEGACY_MAGIC, 12)) {
    lf_container_set_error (error, LF_ERROR_UNSUPPORTED, path, NULL,
        _ ("this is torch's old format from before version 1.6; convert it with a recent PyTorch: "
           "torch.save(torch.load(\"old.pt\", map_location=\"cpu\"), \"new.pt\")"));
    return NULL;
  }
  if (size >= strlen (LFS_POINTER) && !memcmp (data, LFS_POINTER, strlen (LFS_POINTER))) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL,
        _ ("this only points to the file, which Git LFS keeps; fetch it with git lfs pull"));
    return NULL;
  }
  if (size >= 9 && data[8] == '{')
    return lf_safetensors_open (path, bytes, error);
  lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL,
      size < 9 ? _ ("neither safetensors nor a torch file; the file is empty or truncated")
               : _ ("neither safetensors nor a torch file"));
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
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, path, NULL, _ ("this is no regular file"));
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

/* A view with strides: run by run of its innermost dimension. */
static void
gather (
    const LfTensor *t, const guint8 *map, gint64 first, gint64 count, LfDType dtype, guint8 *dst)
{
  gsize from = lf_dtype_size (t->info.dtype), to = lf_dtype_size (dtype);
  gint64 row = t->info.ndim ? t->info.shape[t->info.ndim - 1] : 1;
  gint64 stride = t->info.ndim ? t->stride[t->info.ndim - 1] : 1;

  while (count > 0) {
    const guint8 *src = map + place_of (t, first) * from;
    gint64 run = MIN (count, row - first % row), i;

    if (stride == 1)
      lf_dtype_convert (dst, dtype, src, t->info.dtype, run);
    for (i = 0; stride != 1 && i < run; i++)
      lf_dtype_convert (dst + i * to, dtype, src + i * stride * from, t->info.dtype, 1);
    first += run;
    count -= run;
    dst += run * to;
  }
}

gboolean
lf_container_read (LfContainer *container, const LfTensorInfo *tensor, gint64 first, gint64 count,
    LfDType dtype, void *dst, GError **error)
{
  const LfTensor *t = (const LfTensor *) tensor;
  const guint8 *map = container->format->map (container, t->storage);

  g_assert (first >= 0 && count >= 0 && first <= tensor->count && count <= tensor->count - first);
  if (count == 0)
    return TRUE;
  if (t->contiguous)
    lf_dtype_convert (dst, dtype, map + (t->offset + first) * lf_dtype_size (tensor->dtype),
        tensor->dtype, count);
  else
    gather (t, map, first, count, dtype, dst);
  return TRUE;
}

const void *
lf_container_map (LfContainer *container, const LfTensorInfo *tensor)
{
  const LfTensor *t = (const LfTensor *) tensor;
  const guint8 *map = container->format->map (container, t->storage);
  gsize size = lf_dtype_size (tensor->dtype);

  if (!t->contiguous || tensor->count == 0 || ((guintptr) (map + t->offset * size)) % size)
    return NULL;
  return map + t->offset * size;
}
