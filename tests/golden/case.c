/* lightforce-golden: one recorded case
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/golden/case.h"

#include <math.h>

#include "core/decoder.h"

/* ---------------------------------------------------------------- opening */

gint
golden_member (JsonObject *json, const char *name, gint fallback)
{
  return json_object_get_int_member_with_default (json, name, fallback);
}

gboolean
case_open (Case *c, GError **error)
{
  const char *config;

  c->file = lf_container_open (c->path, error);
  if (!c->file)
    return FALSE;
  c->name = g_strdup (lf_container_get_metadata (c->file, "case"));
  config = lf_container_get_metadata (c->file, "config");
  if (!c->name || !config) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "no golden case: its metadata lacks one");
    return FALSE;
  }
  c->parser = json_parser_new ();
  if (!json_parser_load_from_data (c->parser, config, -1, error))
    return FALSE;
  c->json = json_node_get_object (json_parser_get_root (c->parser));
  c->config.decoder.kind = g_str_equal (c->name, "tiny-decoder") ? LF_DECODER_TINY : LF_DECODER_WAN;
  c->backend = lf_backend_open (c->options->backend,
      g_str_has_suffix (c->name, "decoder")
          ? lf_decoder_precision (c->config.decoder.kind, c->options->precision)
          : c->options->precision,
      error);
  return c->backend && (c->q = c->backend->ops->queue_new (c->backend, 0, error));
}

gboolean
case_open_weights (Case *c, LfPart part, GError **error)
{
  if (c->options->weights) {
    LfModelOptions options = {.decoder = c->options->decoder};

    c->files = lf_model_files_open (c->options->weights, &options, error);
    if (!c->files)
      return FALSE;
    lf_model_files_set_config (c->files, &c->config);
  } else {
    c->files = lf_model_files_wrap (c->file, "w.", part, &c->config);
  }
  c->loader = lf_loader_make (c->files, part, c->backend, c->q);
  return TRUE;
}

void
case_clear (Case *c)
{
  g_clear_pointer (&c->files, lf_model_files_close);
  if (c->q)
    c->backend->ops->queue_free (c->q);
  g_clear_pointer (&c->backend, lf_backend_close);
  g_clear_object (&c->parser);
  g_clear_pointer (&c->file, lf_container_close);
  g_clear_error (&c->trace_error);
  g_free (c->name);
}

/* -------------------------------------------------------------- comparing */

float *
case_read_floats (Case *c, gint64 *count, GError **error, const char *format, ...)
{
  g_autofree char *name = NULL;
  const LfTensorInfo *t;
  float *x;
  va_list args;

  va_start (args, format);
  name = g_strdup_vprintf (format, args);
  va_end (args);
  t = lf_container_find (c->file, name);
  if (!t) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "tensor %s is missing", name);
    return NULL;
  }
  x = g_new (float, t->count + 1);
  if (!lf_container_read (c->file, t, 0, t->count, LF_DTYPE_F32, x, error))
    g_clear_pointer (&x, g_free);
  *count = t->count;
  return x;
}

/* Not a number anywhere counts as infinitely wrong. */
static double
relative_error (const float *x, const float *expected, gint64 count)
{
  double difference = 0, norm = 0;
  gint64 i;

  for (i = 0; i < count; i++) {
    double d = (double) x[i] - expected[i];

    difference += d * d;
    norm += (double) expected[i] * expected[i];
  }
  if (!(difference >= 0) || isinf (difference))
    return INFINITY;
  return norm > 0 ? sqrt (difference / norm) : sqrt (difference);
}

gboolean
case_compare (Case *c, const float *x, gint64 count, GError **error, const char *name)
{
  gint64 n;
  g_autofree float *expected = case_read_floats (c, &n, error, "%s", name);
  double e;

  if (!expected)
    return FALSE;
  if (n != count) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE,
        "%s has %" G_GINT64_FORMAT " values where %" G_GINT64_FORMAT " came out", name, n, count);
    return FALSE;
  }
  e = relative_error (x, expected, count);
  if (!(e <= c->worst))
    c->worst = e;
  return TRUE;
}

gboolean
case_compare_backend (Case *c, const float *x, gint64 count, const char *name, GError **error)
{
  g_autofree float *host = g_new (float, count);

  c->backend->ops->download (c->q, host, x, count * sizeof (float));
  return c->backend->ops->wait (c->q, error) && case_compare (c, host, count, error, name);
}
