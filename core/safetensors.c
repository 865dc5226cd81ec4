/* lightforce: safetensors files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An 8-byte little-endian header length, a JSON header of that length, then the data:
 * {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, "__metadata__": {..}}.
 * Format: huggingface/safetensors, README.
 */
#include <string.h>

#include "container-private.h"
#include "i18n.h"
#include "json.h"

/* The format's own bound on headers. */
#define MAX_HEADER (100 << 20)

/* Each tensor is a storage of its own: nothing says that their places are multiples of their
 * element sizes. */
typedef struct
{
  const guint8 *data;
  GArray *begins; /* of gint64: where each storage begins */
} Safetensors;

static void
safetensors_close (LfContainer *container)
{
  Safetensors *s = container->data;

  g_array_unref (s->begins);
  g_free (s);
}

static const guint8 *
safetensors_map (LfContainer *container, gint storage)
{
  const Safetensors *s = container->data;

  return s->data + g_array_index (s->begins, gint64, storage);
}

static const LfContainerFormat safetensors_format = {
    "safetensors", safetensors_close, safetensors_map};

static gboolean
dtype_from_name (const char *name, LfDType *dtype)
{
  gint i;

  for (i = 0; i < LF_N_DTYPES; i++) {
    if (g_str_equal (name, lf_dtype_name (i))) {
      *dtype = i;
      return TRUE;
    }
  }
  if (g_str_equal (name, "F8_E4M3FN")) {
    *dtype = LF_DTYPE_F8_E4M3;
    return TRUE;
  }
  return FALSE;
}

static const char *
string_member (JsonObject *object, const char *name)
{
  JsonNode *node = json_object_get_member (object, name);

  return node && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
             ? json_node_get_string (node)
             : NULL;
}

/* The elements of an array of whole numbers; their count, or -1. */
static gint
int_members (JsonObject *object, const char *name, gint64 *values, gint max)
{
  JsonNode *node = json_object_get_member (object, name);
  JsonArray *array;
  guint i, n;

  if (!node || !JSON_NODE_HOLDS_ARRAY (node))
    return -1;
  array = json_node_get_array (node);
  n = json_array_get_length (array);
  if (n > (guint) max)
    return -1;
  for (i = 0; i < n; i++)
    if (!lf_json_get_int (json_array_get_element (array, i), &values[i]) || values[i] < 0)
      return -1;
  return n;
}

typedef struct
{
  gint64 begin, end;
  const char *name;
} Range;

static gboolean
parse_tensor (LfContainer *c, const char *name, JsonNode *node, gint64 data_size, Range *range,
    GError **error)
{
  GArray *begins = ((Safetensors *) c->data)->begins;
  LfTensor t = {.info.name = name};
  const char *dtype = NULL;
  gint64 offsets[2], stride = 1, size;
  JsonObject *object;
  gint i;

#define BAD(code, ...)                                                                             \
  lf_container_set_error (error, code, c->path, name, __VA_ARGS__);                                \
  return FALSE
  if (!JSON_NODE_HOLDS_OBJECT (node)) {
    BAD (LF_ERROR_INVALID_FILE, _ ("its entry is no object; the header is damaged"));
  }
  object = json_node_get_object (node);
  dtype = string_member (object, "dtype");
  if (!dtype) {
    BAD (LF_ERROR_INVALID_FILE, _ ("it has no dtype; the header is damaged"));
  }
  if (!dtype_from_name (dtype, &t.info.dtype)) {
    g_autofree char *escaped = g_utf8_substring (dtype, 0, MIN (g_utf8_strlen (dtype, -1), 20));

    BAD (LF_ERROR_UNSUPPORTED, _ ("its type %s is not supported; convert it to F32, F16 or BF16"),
        escaped);
  }
  t.info.ndim = int_members (object, "shape", t.info.shape, LF_MAX_DIMS);
  if (t.info.ndim < 0) {
    BAD (LF_ERROR_INVALID_FILE, _ ("its shape is impossible; the header is damaged"));
  }
  if (int_members (object, "data_offsets", offsets, 2) != 2 || offsets[1] < offsets[0]
      || offsets[1] > data_size) {
    BAD (LF_ERROR_INVALID_FILE,
        _ ("its data lies beyond the end; the file is damaged or truncated"));
  }
  size = lf_dtype_size (t.info.dtype);
  for (i = t.info.ndim - 1; i >= 0; i--) {
    t.stride[i] = stride;
    if (__builtin_mul_overflow (stride, t.info.shape[i], &stride)) {
      BAD (LF_ERROR_INVALID_FILE, _ ("its shape is impossible; the header is damaged"));
    }
  }
  if (stride > G_MAXINT64 / 16 || stride * size != offsets[1] - offsets[0]) {
    BAD (LF_ERROR_INVALID_FILE, _ ("its shape and the size of its data do not agree"));
  }
#undef BAD
  t.storage = begins->len;
  g_array_append_val (begins, offsets[0]);
  *range = (Range){offsets[0], offsets[1], name};
  return lf_container_add (c, &t, offsets[1] - offsets[0], error);
}

static gint
compare_ranges (gconstpointer a, gconstpointer b)
{
  const Range *x = a, *y = b;

  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  return x->end < y->end ? -1 : x->end > y->end;
}

static gboolean
check_overlap (const char *path, GArray *ranges, GError **error)
{
  guint i;

  g_array_sort (ranges, compare_ranges);
  for (i = 1; i < ranges->len; i++) {
    const Range *before = &g_array_index (ranges, Range, i - 1);
    const Range *range = &g_array_index (ranges, Range, i);

    if (range->begin < before->end) {
      lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, range->name,
          _ ("its data overlaps another tensor's; the file is damaged"));
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
parse_metadata (LfContainer *c, JsonNode *node, GError **error)
{
  JsonObjectIter iter;
  const char *key;
  JsonNode *value;

  if (!JSON_NODE_HOLDS_OBJECT (node)) {
    lf_container_set_error (
        error, LF_ERROR_INVALID_FILE, c->path, NULL, _ ("its __metadata__ is no object"));
    return FALSE;
  }
  c->metadata = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  json_object_iter_init (&iter, json_node_get_object (node));
  while (json_object_iter_next (&iter, &key, &value)) {
    if (!JSON_NODE_HOLDS_VALUE (value) || json_node_get_value_type (value) != G_TYPE_STRING) {
      lf_container_set_error (error, LF_ERROR_INVALID_FILE, c->path, NULL,
          _ ("its __metadata__ holds other than strings"));
      return FALSE;
    }
    g_hash_table_insert (c->metadata, g_strdup (key), json_node_dup_string (value));
  }
  return TRUE;
}

LfContainer *
lf_safetensors_open (const char *path, GBytes *bytes, GError **error)
{
  g_autoptr (LfContainer) c = NULL;
  g_autoptr (JsonParser) parser = NULL;
  g_autoptr (GArray) ranges = g_array_new (FALSE, FALSE, sizeof (Range));
  JsonObjectIter iter;
  const char *name;
  JsonNode *node;
  guint64 header;
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);
  Safetensors *s;

  if (size < 8) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL, _ ("it is truncated"));
    return NULL;
  }
  memcpy (&header, data, 8);
  header = GUINT64_FROM_LE (header);
  if (header > size - 8 || header > MAX_HEADER) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, NULL,
        _ ("its header claims %lu bytes of %zu; the file is damaged or truncated"), (gulong) header,
        size);
    return NULL;
  }
  parser = lf_json_parse (path, "header", (const char *) data + 8, header, error);
  if (!parser)
    return NULL;
  c = lf_container_new (&safetensors_format, path, bytes);
  c->data = s = g_new0 (Safetensors, 1);
  s->data = data + 8 + header;
  s->begins = g_array_new (FALSE, FALSE, sizeof (gint64));
  json_object_iter_init_ordered (&iter, lf_json_root (parser));
  while (json_object_iter_next_ordered (&iter, &name, &node)) {
    Range range;

    if (g_str_equal (name, "__metadata__")) {
      if (!parse_metadata (c, node, error))
        return NULL;
      continue;
    }
    if (!parse_tensor (c, name, node, size - 8 - header, &range, error))
      return NULL;
    if (range.end > range.begin)
      g_array_append_val (ranges, range);
  }
  if (!check_overlap (path, ranges, error))
    return NULL;
  return g_steal_pointer (&c);
}
