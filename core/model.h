/* lightforce: a loaded model, inside
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_MODEL_H
#define LF_MODEL_H

#include "decoder.h"
#include "text.h"
#include "transformer.h"

G_BEGIN_DECLS

struct _LfModel
{
  gint refs; /* under the registry's lock */
  char *key; /* path and options */
  char *path;
  LfBackend *backend;
  LfModelFiles *files; /* open for their configuration and for messages */
  const LfModelConfig *config;
  LfTransformer *transformer;
  LfTextEncoder *text;    /* NULL: no prompt can be encoded, */
  LfTokenizer *tokenizer; /* the same */
  LfDecoder *decoder;     /* NULL: no pictures can be made */
  LfModelInfo info;
};

/* Whether the parts are there and fit one another, so that a stream can be opened; the error
 * names the files at odds. */
gboolean lf_model_check (LfModel *model, GError **error);

/* Whether lf_model_load and then a stream would work: everything is looked at and nothing is
 * loaded. */
gboolean lf_model_examine (const char *path, const LfModelOptions *options, GError **error);

/* Bytes of backend memory of all weights. */
gsize lf_model_get_bytes (LfModel *model);

G_END_DECLS
#endif
