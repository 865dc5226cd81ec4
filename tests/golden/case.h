/* lightforce-golden: one recorded case
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef GOLDEN_CASE_H
#define GOLDEN_CASE_H

#include <json-glib/json-glib.h>

#include "core/loader.h"

G_BEGIN_DECLS

/* What the command line says of all cases. */
typedef struct
{
  char *backend; /* NULL: the best one */
  char *weights; /* the model to take weights from; NULL: they are in the cases */
  char *decoder; /* its other decoder, or NULL */
  LfPrecision precision;
  double tolerance;       /* largest relative L2 error that passes */
  double block_tolerance; /* smallest share of agreeing blocks that does */
} GoldenOptions;

/* One case at work: a safetensors file with metadata "case" (generator, decoder, tiny-decoder, encoder
 * or text-encoder) and "config" (JSON), tensors "w.*" (weights), "in.*" and "out.*". */
typedef struct
{
  const GoldenOptions *options;
  const char *path;
  char *name; /* the case */
  LfContainer *file;
  JsonParser *parser;
  JsonObject *json; /* its config */
  LfModelConfig config;
  LfModelFiles *files;
  LfBackend *backend;
  LfQueue *q;
  LfLoader loader;
  double worst;             /* largest relative L2 error so far */
  guint64 blocks, agreeing; /* chosen blocks expected; of them found */
  gint traced, chunk;       /* selections seen of the chunk at work */
  GError *trace_error;
} Case;

/* Opens the file at `path` and a backend for it; `c` is zero but for `options` and `path`. */
gboolean case_open (Case *c, GError **error);
void case_clear (Case *c);

/* Prepares the loader for one part: its weights lie in the case itself, or in the model of the
 * options. */
gboolean case_open_weights (Case *c, LfPart part, GError **error);

/* A tensor of the case as floats, `count` of them; free with g_free. NULL with `error` set. */
float *case_read_floats (Case *c, gint64 *count, GError **error, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

/* Holds `count` values against tensor `name`, and takes note in `worst`. FALSE with `error` set: they
 * cannot be compared. */
gboolean case_compare (Case *c, const float *x, gint64 count, GError **error, const char *name);
/* The same of f32 in backend memory. */
gboolean case_compare_backend (
    Case *c, const float *x, gint64 count, const char *name, GError **error);

/* A whole number in a configuration. */
gint golden_member (JsonObject *json, const char *name, gint fallback);

G_END_DECLS
#endif
