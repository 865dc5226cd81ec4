/* lightforce: from weight files to backend memory
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_LOADER_H
#define LF_LOADER_H

#include "backend.h"
#include "modelfiles.h"

G_BEGIN_DECLS

/* Reads the weights of one part. A part's loading function asks for each tensor by its
 * canonical name and shape. It runs twice: first with `measure` TRUE, when shapes are
 * checked and bytes are counted but nothing is read, then for real into one arena.
 *
 * The first error stays in loader->error and turns all further calls into no-ops (they
 * return NULL), so a loading function needs no checks of its own. */
typedef struct
{
  LfModelFiles *files;
  LfPart part;
  LfBackend *backend;
  LfQueue *queue;
  gboolean dry;   /* only measure: shapes are checked, nothing is loaded */
  gboolean still; /* convolutions as one picture without a past meets them: of a kernel over time
                     the last tap */
  gboolean measure;
  guint8 *arena;        /* backend memory; NULL while measuring */
  gsize used;           /* bytes of it */
  GHashTable *seen;     /* canonical names asked for */
  guint64 parameters;   /* weights asked for */
  LfDType linear_dtype; /* type of linear, conv and embedding weights */
  guint8 *staging;      /* backend memory: weights on their way to FP8 */
  gsize staging_bytes;
  GError *error;
  GCancellable *cancellable;
  LfProgressFunc progress;
  gpointer progress_data;
  double progress_from, progress_to;
  gsize loaded, total;             /* bytes so far, and of the part as measured; for the progress */
  struct _LfRandomStaging *random; /* of random models (randommodel.h), while loading */
} LfLoader;

/* Number of weights of a part; 0 where it is missing. `stored` (may be NULL) is the 16-bit type
 * that suits its file. */
guint64 lf_loader_count (const LfModelFiles *files, LfPart part, LfDType *stored);

/* A loader for one part whose weights have the types that suit the backend. */
LfLoader lf_loader_make (LfModelFiles *files, LfPart part, LfBackend *backend, LfQueue *queue);

/* An f32 vector or table of `count` elements whose tensor has these shape; any shape of
 * the same count that differs by dimensions of 1 fits. `name` is a printf format. */
const float *lf_loader_floats (LfLoader *loader, gint64 count, const char *name, ...)
    G_GNUC_PRINTF (3, 4);

/* FALSE if the part has no tensor of this name. */
gboolean lf_loader_has (LfLoader *loader, const char *name, ...) G_GNUC_PRINTF (2, 3);

/* The shape of a tensor; FALSE if there is none. */
gboolean lf_loader_shape (LfLoader *loader, gint *ndim, gint64 *shape, const char *name, ...)
    G_GNUC_PRINTF (4, 5);

/* prefix.weight (n_out, n_in), and prefix.bias (n_out) act where `bias`. Several prefixes
 * (NULL at the end) are stacked: n_out is that of each. Weights whose trailing dimensions
 * multiply to n_in (patch embedding) fit too. */
void lf_loader_linear (LfLoader *loader, LfLinear *out, gint n_out, gint n_in, gboolean bias,
    const char *prefix, ...) G_GNUC_NULL_TERMINATED;

/* The same for a layer that LF_PRECISION_FP8 is about: FP8 there, if the sizes allow it. */
void lf_loader_block_linear (LfLoader *loader, LfLinear *out, gint n_out, gint n_in, gboolean bias,
    const char *prefix, ...) G_GNUC_NULL_TERMINATED;

/* prefix.weight (c_out, c_in, [kt,] kh, kw), brought to channels last; bias where it is. */
void lf_loader_conv (LfLoader *loader, LfConv *out, const char *prefix);

/* The same of a convolution with stride 2, for pictures whose squares of 2 x 2 pixels were made one
 * each (lf_frames_fold): a 3 x 3 kernel and 4 times the channels. One of 3 x 3 in the file begins
 * at the output's square, zeros being behind the picture; one of 4 x 4 a pixel before it, zeros
 * being around the picture. */
void lf_loader_folded_conv (LfLoader *loader, LfConv *out, const char *prefix);

/* A table kept in linear_dtype: (rows, columns). */
const void *lf_loader_table (LfLoader *loader, gint64 rows, gint64 columns, const char *name);

/* Of such a table only the rows `ids` (n), in that order: (n, columns). */
const void *lf_loader_rows (
    LfLoader *loader, gint64 rows, gint64 columns, const char *name, const gint32 *ids, gint n);

/* Fails with LF_ERROR_INVALID_MODEL, naming one, if the part has tensors that nobody asked
 * for; names that begin with one of `ignore` (NULL at the end) do not count. */
void lf_loader_finish (LfLoader *loader, const char *const *ignore);

typedef void (*LfLoadFunc) (LfLoader *loader, gpointer part);

/* Runs `load` both times, or once if dry; the arena is NULL then. On success `*arena` is the
 * backend memory (free with backend->ops->free) and `*bytes` its size. */
gboolean lf_loader_run (
    LfLoader *loader, LfLoadFunc load, gpointer part, void **arena, gsize *bytes, GError **error);

G_END_DECLS
#endif
