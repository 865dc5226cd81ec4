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
  char *key; /* path and options; NULL: not shared */
  char *path;
  LfBackend *backend;
  LfModelFiles *files; /* open for their configuration and for messages */
  const LfModelConfig *config;
  LfTransformer *transformer;
  LfTextResidency text_residency;
  LfTextEncoder *text;     /* NULL: there is none, or it is released between prompts */
  LfBackend *text_backend; /* where the encoder is, if not on `backend`, */
  LfQueue *text_queue;     /* and its queue there */
  GMutex text_lock;        /* of text_busy: a prompt is being encoded; text_free: no more */
  GCond text_free;
  gboolean text_busy;
  LfTokenizer *tokenizer;     /* NULL: no prompt can be encoded */
  LfBackend *decoder_backend; /* where the decoder is: `backend`, or one of another precision */
  LfDecoder *decoder;         /* NULL: no pictures can be made */
  LfModelInfo info;
};

/* Whether the parts are there and fit one another, so that a stream can be opened; the error
 * names the files at odds. */
gboolean lf_model_check (LfModel *model, GError **error);

/* Whether lf_model_load and then a stream would work: everything is looked at and nothing is
 * loaded. */
gboolean lf_model_examine (const char *path, const LfModelOptions *options, GError **error);

/* As lf_model_load, of files that are open; takes them over. The model is not shared. */
LfModel *lf_model_load_files (LfModelFiles *files, const LfModelOptions *options,
    GCancellable *cancellable, LfProgressFunc progress, gpointer user_data, GError **error);

/* As lf_text_encode, wherever the encoder is. `q` is a queue of the model's backend. */
gboolean lf_model_encode (LfModel *model, LfQueue *q, const gint32 *ids, gint length,
    float *embedding, GCancellable *cancellable, GError **error);

/* The first latent (Z, height / 8, width / 8), on the host, of a video that starts from the picture
 * rgb (height, width, 3). Loads the encoder and lets it go again; it is one picture only, so that
 * fp32 costs little wherever it is. `threads` as in LfStreamConfig. */
gboolean lf_model_encode_picture (LfModel *model, gint threads, const guint8 *rgb, gint height,
    gint width, float *latent, GCancellable *cancellable, GError **error);

/* Bytes of backend memory of all weights that stay there. */
gsize lf_model_get_bytes (LfModel *model);

G_END_DECLS
#endif
