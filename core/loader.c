/* lightforce: from weight files to backend memory
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "loader.h"

#include <stdarg.h>
#include <string.h>

#include "i18n.h"
#include "randommodel.h"

#define ALIGNMENT 256
#define PIECE_BYTES (8 << 20)    /* between two looks at the cancellable */
#define STAGING_BYTES (64 << 20) /* of 16-bit weights that become FP8 at once */
#define FP8_MULTIPLE 16          /* matrix units want such sizes */
#define MAX_STACKED 8

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

guint64
lf_loader_count (const LfModelFiles *files, LfPart part, LfDType *stored)
{
  g_autoptr (GPtrArray) names = lf_model_files_list (files, part);
  guint64 count = 0;
  guint i;

  if (stored)
    *stored = LF_DTYPE_BF16;
  for (i = 0; i < names->len; i++) {
    LfWeightRef ref;

    if (!lf_model_files_find (files, part, g_ptr_array_index (names, i), &ref))
      continue;
    count += ref.tensor->count;
    if (stored && ref.tensor->dtype == LF_DTYPE_F16)
      *stored = LF_DTYPE_F16;
  }
  return count;
}

/* A backend that computes in 16 bits has weights of the same type; one that computes in f32 takes
 * them as they are where they are many. */
LfLoader
lf_loader_make (LfModelFiles *files, LfPart part, LfBackend *backend, LfQueue *queue)
{
  LfLoader loader = {.files = files, .part = part, .backend = backend, .queue = queue};
  LfDType stored;
  guint64 count = lf_loader_count (files, part, &stored);

  if (backend->act != LF_DTYPE_F32)
    loader.linear_dtype = backend->act;
  else if (count <= backend->float_limit / sizeof (float))
    loader.linear_dtype = LF_DTYPE_F32;
  else
    loader.linear_dtype = stored;
  return loader;
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
        _ ("%s: tensor %s is missing; is this a file of another model, or one shard of several?"),
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

/* `bytes` more of the part have been handed to the queue. */
static void
report (LfLoader *loader, gsize bytes)
{
  static const char *const stages[] = {
      N_ ("transformer"), N_ ("text encoder"), N_ ("decoder"), N_ ("encoder")};

  loader->loaded += bytes;
  if (loader->progress && loader->total)
    loader->progress (_ (stages[loader->part]),
        loader->progress_from
            + (loader->progress_to - loader->progress_from) * loader->loaded / loader->total,
        loader->progress_data);
}

/* Hands host memory to the queue, piece by piece; `kept` bytes of the part come of it. */
static void
upload (LfLoader *loader, guint8 *dst, const guint8 *src, gsize bytes, gsize kept)
{
  gsize at, n;

  for (at = 0; at < bytes; at += n) {
    n = MIN (bytes - at, PIECE_BYTES);
    if (g_cancellable_set_error_if_cancelled (loader->cancellable, &loader->error))
      return;
    loader->backend->ops->upload (loader->queue, dst + at, src + at, n);
    report (loader, (gsize) ((double) kept * n / bytes));
  }
}

/* The elements in the mapped file, if they are what `dtype` asks for. */
static const guint8 *
map (const LfWeightRef *ref, LfDType dtype)
{
  return ref->tensor->dtype == dtype && !ref->scale ? lf_container_map (ref->container, ref->tensor)
                                                    : NULL;
}

/* Streams elements first .. first+count-1 of a tensor to `dst` in backend memory; `kept` bytes of
 * each stay. */
static void
transfer_part (LfLoader *loader, const LfWeightRef *ref, gint64 first, gint64 count, LfDType dtype,
    guint8 *dst, gsize kept)
{
  gsize size = lf_dtype_size (dtype);
  gint64 step = PIECE_BYTES / size, at, n;
  gboolean random = lf_model_files_is_random (loader->files);
  const guint8 *mapped = random ? NULL : map (ref, dtype);
  g_autofree guint8 *converted = NULL;

  if (random) {
    if (lf_random_fill (loader, ref->tensor, first, count, dtype, dst, &loader->error))
      report (loader, count * kept);
    return;
  }
  if (mapped) {
    upload (loader, dst, mapped + first * size, count * size, count * kept);
    return;
  }
  converted = g_malloc (MIN (count, step) * size + 1);
  for (at = 0; at < count && !loader->error; at += n) {
    n = MIN (step, count - at);
    if (lf_weight_read (ref, first + at, n, dtype, converted, &loader->error))
      upload (loader, dst + at * size, converted, n * size, n * kept);
  }
}

static void
transfer (LfLoader *loader, const LfWeightRef *ref, LfDType dtype, guint8 *dst)
{
  transfer_part (loader, ref, 0, ref->tensor->count, dtype, dst, lf_dtype_size (dtype));
}

static gboolean
reserve_staging (LfLoader *loader, gsize bytes)
{
  LfBackend *backend = loader->backend;

  if (bytes <= loader->staging_bytes)
    return TRUE;
  if (loader->staging) {
    /* it may still be read */
    if (!backend->ops->wait (loader->queue, &loader->error))
      return FALSE;
    backend->ops->free (backend, loader->staging);
  }
  loader->staging = backend->ops->alloc (backend, bytes, &loader->error);
  loader->staging_bytes = loader->staging ? bytes : 0;
  return loader->staging != NULL;
}

/* A matrix with n_in columns to FP8, with a scale for each row. The backend rounds: it is
 * faster at it than the host, and 16 bits are all that has to travel. */
static void
transfer_fp8 (LfLoader *loader, const LfWeightRef *ref, gint n_in, guint8 *dst, float *scales)
{
  LfDType dtype = ref->tensor->dtype == LF_DTYPE_BF16 || ref->tensor->dtype == LF_DTYPE_F16
                      ? ref->tensor->dtype
                      : LF_DTYPE_F32;
  gsize row = (gsize) n_in * lf_dtype_size (dtype);
  gint64 rows = ref->tensor->count / n_in, step = MAX (STAGING_BYTES / row, 1), at, n;

  for (at = 0; at < rows; at += n) {
    n = MIN (step, rows - at);
    if (!reserve_staging (loader, MIN (step, rows) * row))
      return;
    transfer_part (loader, ref, at * n_in, n * n_in, dtype, loader->staging, 1);
    if (loader->error)
      return;
    loader->backend->ops->quantize (
        loader->queue, dst + at * n_in, scales + at, loader->staging, dtype, n, n_in);
  }
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

/* Layer number i of those stacked in `out`: weight and bias. */
static void
load_one (
    LfLoader *loader, const LfLinear *out, gint n_out, gboolean bias, const char *prefix, gint i)
{
  g_autofree char *weight_name = g_strconcat (prefix, ".weight", NULL);
  g_autofree char *bias_name = g_strconcat (prefix, ".bias", NULL);
  gsize first = (gsize) i * n_out;
  gsize at = first * out->n_in * lf_dtype_size (out->dtype);
  LfDType act = loader->backend->act;
  LfWeightRef ref;

  if (!find (loader, weight_name, &ref)
      || !fits (loader, weight_name, ref.tensor, n_out, (gint64) n_out * out->n_in))
    return;
  if (!loader->measure && out->dtype == LF_DTYPE_F8_E4M3)
    transfer_fp8 (
        loader, &ref, out->n_in, (guint8 *) out->weight + at, (float *) out->scale + first);
  else if (!loader->measure)
    transfer (loader, &ref, out->dtype, (guint8 *) out->weight + at);
  if (!bias || !find (loader, bias_name, &ref) || !fits (loader, bias_name, ref.tensor, 1, n_out))
    return;
  if (!loader->measure)
    transfer (loader, &ref, act, (guint8 *) out->bias + first * lf_dtype_size (act));
}

static void
load_stacked (LfLoader *loader, LfLinear *out, LfDType dtype, gint n_out, gint n_in, gboolean bias,
    const char *prefix, va_list more)
{
  const char *prefixes[MAX_STACKED];
  gsize weights = (gsize) n_out * n_in * lf_dtype_size (dtype), rows;
  gint n = 0, i;

  for (; prefix && n < MAX_STACKED; prefix = va_arg (more, const char *))
    prefixes[n++] = prefix;
  rows = (gsize) n * n_out;
  *out = (LfLinear){.dtype = dtype, .n_out = rows, .n_in = n_in};
  out->weight = take (loader, n * weights);
  if (dtype == LF_DTYPE_F8_E4M3)
    out->scale = (const float *) take (loader, rows * sizeof (float));
  if (bias)
    out->bias = take (loader, rows * lf_dtype_size (loader->backend->act));
  for (i = 0; i < n && !loader->error; i++)
    load_one (loader, out, n_out, bias, prefixes[i], i);
}

void
lf_loader_linear (
    LfLoader *loader, LfLinear *out, gint n_out, gint n_in, gboolean bias, const char *prefix, ...)
{
  va_list more;

  va_start (more, prefix);
  load_stacked (loader, out, loader->linear_dtype, n_out, n_in, bias, prefix, more);
  va_end (more);
}

void
lf_loader_block_linear (
    LfLoader *loader, LfLinear *out, gint n_out, gint n_in, gboolean bias, const char *prefix, ...)
{
  gboolean fp8 = loader->backend->precision == LF_PRECISION_FP8 && n_out % FP8_MULTIPLE == 0
                 && n_in % FP8_MULTIPLE == 0;
  va_list more;

  va_start (more, prefix);
  load_stacked (
      loader, out, fp8 ? LF_DTYPE_F8_E4M3 : loader->linear_dtype, n_out, n_in, bias, prefix, more);
  va_end (more);
}

/* Where the tap (y, x) of a kernel with stride 2 goes in one of 3 x 3 squares of 2 x 2 pixels:
 * the square to the upper left of where the output lies is the first. Channels of a square are
 * those of its lower row and then of its upper one (lf_frames_fold). */
static gint
folded_place (gint kernel, gint y, gint x, gint C)
{
  gint from = kernel == 4 ? 1 : 2; /* a kernel of 4 begins one pixel before the square at hand */

  y += from;
  x += from;
  return ((y / 2 * 3 + x / 2) * 4 + (1 - y % 2) * 2 + x % 2) * C;
}

/* (c_out, c_in, kt, kh, kw) -> (c_out, kt, kh, kw, c_in): channels last; of the kernel over time
 * the last conv->kt taps. */
static void
transfer_conv (
    LfLoader *loader, const LfWeightRef *ref, const LfConv *conv, gboolean folded, guint8 *dst)
{
  const LfTensorInfo *tensor = ref->tensor;
  gsize size = lf_dtype_size (conv->dtype);
  gint C = tensor->shape[1], kt = tensor->ndim == 5 ? tensor->shape[2] : 1;
  gint kh = tensor->shape[tensor->ndim - 2], kw = tensor->shape[tensor->ndim - 1];
  gint skipped = kt - conv->kt, o, t, y, x, c;
  gint64 row = (gint64) kt * kh * kw * C;
  gsize out = (gsize) conv->kt * conv->kh * conv->kw * conv->c_in * size;
  g_autofree guint8 *plain = g_malloc (row * size), *last = g_malloc0 (conv->c_out * out);

  for (o = 0; o < conv->c_out; o++) {
    if (g_cancellable_set_error_if_cancelled (loader->cancellable, &loader->error)
        || !lf_weight_read (ref, o * row, row, conv->dtype, plain, &loader->error))
      return;
    for (t = skipped; t < kt; t++)
      for (y = 0; y < kh; y++)
        for (x = 0; x < kw; x++) {
          gsize place =
              folded ? folded_place (kh, y, x, C) : (((t - skipped) * kh + y) * kw + x) * C;
          guint8 *to = last + o * out + place * size;

          for (c = 0; c < C; c++, to += size)
            memcpy (to, plain + ((((gsize) c * kt + t) * kh + y) * kw + x) * size, size);
        }
  }
  upload (loader, dst, last, conv->c_out * out, conv->c_out * out);
}

static void
load_conv (LfLoader *loader, LfConv *out, const char *prefix, gboolean folded)
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
      || ref.tensor->count > G_MAXINT32 / (folded ? 4 : 1)) {
    g_autofree char *text = shape_text (ref.tensor->ndim, shape);

    fail (loader, weight_name, "has shape %s, which is no convolution's", text);
    return;
  }
  out->dtype = loader->linear_dtype;
  out->c_out = shape[0];
  out->c_in = shape[1];
  out->kt = ref.tensor->ndim == 5 && !loader->still ? shape[2] : 1;
  out->kh = shape[ref.tensor->ndim - 2];
  out->kw = shape[ref.tensor->ndim - 1];
  if (folded) {
    if (out->kh != out->kw || out->kh < 3 || out->kh > 4) {
      fail (loader, weight_name, "is a %d x %d kernel where 3 x 3 or 4 x 4 belongs", out->kh,
          out->kw);
      return;
    }
    out->c_in *= 4;
    out->kh = out->kw = 3;
  }
  place = take (loader,
      (gsize) out->c_out * out->kt * out->kh * out->kw * out->c_in * lf_dtype_size (out->dtype));
  if (!loader->measure && lf_model_files_is_random (loader->files))
    transfer (loader, &ref, out->dtype, place); /* in whatever order */
  else if (!loader->measure)
    transfer_conv (loader, &ref, out, folded, place);
  out->weight = place;
  if (lf_loader_has (loader, "%s", bias_name))
    out->bias = load_floats (loader, out->c_out, bias_name);
}

void
lf_loader_conv (LfLoader *loader, LfConv *out, const char *prefix)
{
  load_conv (loader, out, prefix, FALSE);
}

void
lf_loader_folded_conv (LfLoader *loader, LfConv *out, const char *prefix)
{
  load_conv (loader, out, prefix, TRUE);
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

const void *
lf_loader_rows (
    LfLoader *loader, gint64 rows, gint64 columns, const char *name, const gint32 *ids, gint n)
{
  gsize size = lf_dtype_size (loader->linear_dtype);
  LfWeightRef ref;
  guint8 *place;
  gint i;

  if (!find (loader, name, &ref) || !fits (loader, name, ref.tensor, rows, rows * columns))
    return NULL;
  place = take (loader, n * columns * size);
  for (i = 0; i < n && !loader->measure && !loader->error; i++)
    transfer_part (loader, &ref, ids[i] * columns, columns, loader->linear_dtype,
        place + i * columns * size, size);
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
  LfBackend *backend = loader->backend;
  gboolean done;
  gint pass;

  *arena = NULL;
  loader->seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (pass = 0; pass < (loader->dry ? 1 : 2) && !loader->error; pass++) {
    loader->measure = pass == 0;
    loader->used = loader->loaded = 0;
    if (pass == 1) {
      loader->arena = backend->ops->alloc (backend, *bytes, &loader->error);
      if (!loader->arena)
        break;
    }
    load (loader, part);
    *bytes = loader->total = loader->used;
  }
  g_clear_pointer (&loader->seen, g_hash_table_unref);
  /* after an error, too: what is queued still writes to memory that goes away here */
  done = backend->ops->wait (loader->queue, loader->error ? NULL : &loader->error);
  if (loader->staging)
    backend->ops->free (backend, loader->staging);
  loader->staging = NULL;
  loader->staging_bytes = 0;
  lf_random_release (loader);
  if (done && !loader->error) {
    *arena = loader->arena;
    return TRUE;
  }
  if (loader->arena)
    backend->ops->free (backend, loader->arena);
  loader->arena = NULL;
  g_propagate_error (error, g_steal_pointer (&loader->error));
  return FALSE;
}
