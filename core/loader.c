/* lightforce: from weight files to backend memory
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "loader.h"

#include <stdarg.h>
#include <string.h>

#define ALIGNMENT 256
#define STAGING_BYTES (4 << 20)

static void fail (LfLoader *loader, const char *name, const char *format, ...) G_GNUC_PRINTF (3, 4);

/* Keeps the first error, which names the file and the tensor. */
static void
fail (LfLoader *loader, const char *name, const char *format, ...)
{
  g_autofree char *reason = NULL;
  va_list args;

  if (loader->error)
    return;
  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (&loader->error, LF_ERROR, LF_ERROR_INVALID_MODEL, "%s: tensor %s: %s",
      lf_model_files_get_path (loader->files, loader->part), name, reason);
}

/* `bytes` of the arena; NULL while measuring. */
static guint8 *
take (LfLoader *loader, gsize bytes)
{
  guint8 *place = loader->measure ? NULL : loader->arena + loader->used;

  loader->used += (bytes + ALIGNMENT - 1) & ~(gsize) (ALIGNMENT - 1);
  return place;
}

static char *
shape_text (gint ndim, const gint64 *shape)
{
  GString *text = g_string_new ("[");
  gint i;

  for (i = 0; i < ndim; i++)
    g_string_append_printf (text, "%s%" G_GINT64_FORMAT, i ? ", " : "", shape[i]);
  return g_string_free (g_string_append_c (text, ']'), FALSE);
}

/* Finds a tensor and marks it as used. */
static gboolean
find (LfLoader *loader, const char *name, LfWeightRef *ref)
{
  if (loader->error)
    return FALSE;
  if (!lf_model_files_find (loader->files, loader->part, name, ref)) {
    g_set_error (&loader->error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        "%s: tensor %s is missing; is this a file of another model, or one shard of several?",
        lf_model_files_get_path (loader->files, loader->part), name);
    return FALSE;
  }
  if (g_hash_table_add (loader->seen, g_strdup (name)))
    loader->parameters += ref->tensor->count;
  return TRUE;
}

/* Whether the tensor is (rows, count / rows), dimensions of 1 and a flattened tail aside. */
static gboolean
fits (LfLoader *loader, const char *name, const LfTensorInfo *tensor, gint64 rows, gint64 count)
{
  gint i = 0;

  while (rows > 1 && i < tensor->ndim && tensor->shape[i] == 1)
    i++;
  if (tensor->count == count && (rows == 1 || (i < tensor->ndim && tensor->shape[i] == rows)))
    return TRUE;
  {
    g_autofree char *shape = shape_text (tensor->ndim, tensor->shape);

    if (rows > 1)
      fail (loader, name, "has shape %s where (%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT ") belongs",
          shape, rows, count / rows);
    else
      fail (loader, name, "has shape %s where %" G_GINT64_FORMAT " values belong", shape, count);
  }
  return FALSE;
}

static void
report (LfLoader *loader)
{
  static const char *const stages[] = {"transformer", "text encoder", "decoder"};

  if (loader->progress && loader->total)
    loader->progress (stages[loader->part],
        loader->progress_from
            + (loader->progress_to - loader->progress_from) * loader->used / loader->total,
        loader->progress_data);
}

/* Streams a tensor to `dst` in backend memory. */
static void
transfer (LfLoader *loader, const LfWeightRef *ref, LfDType dtype, guint8 *dst)
{
  gsize size = lf_dtype_size (dtype);
  gint64 step = STAGING_BYTES / size, at;
  g_autofree guint8 *staging = g_malloc (MIN (ref->tensor->count, step) * size + 1);

  for (at = 0; at < ref->tensor->count; at += step) {
    gint64 count = MIN (step, ref->tensor->count - at);

    if (g_cancellable_set_error_if_cancelled (loader->cancellable, &loader->error)
        || !lf_weight_read (ref, at, count, dtype, staging, &loader->error))
      return;
    loader->backend->ops->upload (loader->queue, dst + at * size, staging, count * size);
  }
  report (loader);
}

static const float *
load_floats (LfLoader *loader, gint64 count, const char *name)
{
  LfWeightRef ref;
  guint8 *place;

  if (!find (loader, name, &ref) || !fits (loader, name, ref.tensor, 1, count))
    return NULL;
  place = take (loader, count * sizeof (float));
  if (!loader->measure)
    transfer (loader, &ref, LF_DTYPE_F32, place);
  return (const float *) place;
}

const float *
lf_loader_floats (LfLoader *loader, gint64 count, const char *name, ...)
{
  g_autofree char *full = NULL;
  va_list args;

  va_start (args, name);
  full = g_strdup_vprintf (name, args);
  va_end (args);
  return load_floats (loader, count, full);
}

gboolean
lf_loader_shape (LfLoader *loader, gint *ndim, gint64 *shape, const char *name, ...)
{
  g_autofree char *full = NULL;
  LfWeightRef ref;
  va_list args;

  va_start (args, name);
  full = g_strdup_vprintf (name, args);
  va_end (args);
  if (loader->error || !lf_model_files_find (loader->files, loader->part, full, &ref))
    return FALSE;
  *ndim = ref.tensor->ndim;
  memcpy (shape, ref.tensor->shape, ref.tensor->ndim * sizeof (gint64));
  return TRUE;
}

gboolean
lf_loader_has (LfLoader *loader, const char *name, ...)
{
  g_autofree char *full = NULL;
  LfWeightRef ref;
  va_list args;

  va_start (args, name);
  full = g_strdup_vprintf (name, args);
  va_end (args);
  return !loader->error && lf_model_files_find (loader->files, loader->part, full, &ref);
}

void
lf_loader_linear (
    LfLoader *loader, LfLinear *out, gint n_out, gint n_in, gboolean bias, const char *prefix, ...)
{
  const char *prefixes[8];
  gsize weights = (gsize) n_out * n_in * lf_dtype_size (loader->linear_dtype);
  guint8 *place, *biases;
  gint n = 0, i;
  va_list args;

  memset (out, 0, sizeof (*out));
  va_start (args, prefix);
  for (; prefix && n < (gint) G_N_ELEMENTS (prefixes); prefix = va_arg (args, const char *))
    prefixes[n++] = prefix;
  va_end (args);

  place = take (loader, n * weights);
  biases = bias ? take (loader, (gsize) n * n_out * sizeof (float)) : NULL;
  for (i = 0; i < n && !loader->error; i++) {
    g_autofree char *weight_name = g_strconcat (prefixes[i], ".weight", NULL);
    g_autofree char *bias_name = g_strconcat (prefixes[i], ".bias", NULL);
    LfWeightRef ref;

    if (!find (loader, weight_name, &ref)
        || !fits (loader, weight_name, ref.tensor, n_out, (gint64) n_out * n_in))
      return;
    if (!loader->measure)
      transfer (loader, &ref, loader->linear_dtype, place + i * weights);
    if (!bias)
      continue;
    if (!find (loader, bias_name, &ref) || !fits (loader, bias_name, ref.tensor, 1, n_out))
      return;
    if (!loader->measure)
      transfer (loader, &ref, LF_DTYPE_F32, biases + (gsize) i * n_out * sizeof (float));
  }
  out->dtype = loader->linear_dtype;
  out->weight = place;
  out->bias = (const float *) biases;
  out->n_out = n * n_out;
  out->n_in = n_in;
}

/* (c_out, c_in, kt, kh, kw) -> (c_out, kt, kh, kw, c_in): channels last. */
static void
transfer_conv (LfLoader *loader, const LfWeightRef *ref, const LfConv *conv, guint8 *dst)
{
  gsize size = lf_dtype_size (conv->dtype);
  gint taps = conv->kt * conv->kh * conv->kw, o, t, c;
  gint64 row = (gint64) taps * conv->c_in;
  g_autofree guint8 *plain = g_malloc (row * size), *last = g_malloc (row * size);

  for (o = 0; o < conv->c_out; o++) {
    if (g_cancellable_set_error_if_cancelled (loader->cancellable, &loader->error)
        || !lf_weight_read (ref, o * row, row, conv->dtype, plain, &loader->error))
      return;
    for (t = 0; t < taps; t++)
      for (c = 0; c < conv->c_in; c++)
        memcpy (last + ((gsize) t * conv->c_in + c) * size, plain + ((gsize) c * taps + t) * size,
            size);
    loader->backend->ops->upload (loader->queue, dst + o * row * size, last, row * size);
  }
  report (loader);
}

void
lf_loader_conv (LfLoader *loader, LfConv *out, const char *prefix)
{
  g_autofree char *weight_name = g_strconcat (prefix, ".weight", NULL);
  g_autofree char *bias_name = g_strconcat (prefix, ".bias", NULL);
  LfWeightRef ref;
  const gint64 *shape;
  guint8 *place;

  memset (out, 0, sizeof (*out));
  if (!find (loader, weight_name, &ref))
    return;
  shape = ref.tensor->shape;
  if (ref.tensor->ndim < 4 || ref.tensor->ndim > 5 || ref.tensor->count == 0
      || ref.tensor->count > G_MAXINT32) {
    g_autofree char *text = shape_text (ref.tensor->ndim, shape);

    fail (loader, weight_name, "has shape %s, which is no convolution's", text);
    return;
  }
  out->dtype = loader->linear_dtype;
  out->c_out = shape[0];
  out->c_in = shape[1];
  out->kt = ref.tensor->ndim == 5 ? shape[2] : 1;
  out->kh = shape[ref.tensor->ndim - 2];
  out->kw = shape[ref.tensor->ndim - 1];
  place = take (loader, ref.tensor->count * lf_dtype_size (out->dtype));
  if (!loader->measure)
    transfer_conv (loader, &ref, out, place);
  out->weight = place;
  if (lf_loader_has (loader, "%s", bias_name))
    out->bias = load_floats (loader, out->c_out, bias_name);
}

const void *
lf_loader_table (LfLoader *loader, gint64 rows, gint64 columns, const char *name)
{
  LfWeightRef ref;
  guint8 *place;

  if (!find (loader, name, &ref) || !fits (loader, name, ref.tensor, rows, rows * columns))
    return NULL;
  place = take (loader, rows * columns * lf_dtype_size (loader->linear_dtype));
  if (!loader->measure)
    transfer (loader, &ref, loader->linear_dtype, place);
  return place;
}

void
lf_loader_finish (LfLoader *loader, const char *const *ignore)
{
  g_autoptr (GPtrArray) names = NULL;
  guint i, j;

  if (loader->error)
    return;
  names = lf_model_files_list (loader->files, loader->part);
  for (i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);
    gboolean known = g_hash_table_contains (loader->seen, name);

    for (j = 0; !known && ignore && ignore[j]; j++)
      known = g_str_has_prefix (name, ignore[j]);
    if (!known) {
      fail (loader, name, "does not belong to this kind of model");
      return;
    }
  }
}

gboolean
lf_loader_run (
    LfLoader *loader, LfLoadFunc load, gpointer part, void **arena, gsize *bytes, GError **error)
{
  gint pass;

  *arena = NULL;
  loader->seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (pass = 0; pass < (loader->dry ? 1 : 2) && !loader->error; pass++) {
    loader->measure = pass == 0;
    loader->used = 0;
    if (pass == 1) {
      loader->arena = loader->backend->ops->alloc (loader->backend, *bytes, &loader->error);
      if (!loader->arena)
        break;
    }
    load (loader, part);
    *bytes = loader->total = loader->used;
  }
  g_clear_pointer (&loader->seen, g_hash_table_unref);
  if (!loader->error && loader->backend->ops->wait (loader->queue, &loader->error)) {
    *arena = loader->arena;
    return TRUE;
  }
  if (loader->arena)
    loader->backend->ops->free (loader->backend, loader->arena);
  loader->arena = NULL;
  g_propagate_error (error, g_steal_pointer (&loader->error));
  return FALSE;
}
