/* lightforce: from a prompt to its embedding
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_TEXT_H
#define LF_TEXT_H

#include "loader.h"

G_BEGIN_DECLS

/* SentencePiece over a model in memory; immutable, shared by threads. */
typedef struct _LfTokenizer LfTokenizer;

/* `path` is for messages. The bytes are copied. */
LfTokenizer *lf_tokenizer_new (GBytes *model, const char *path, GError **error);
/* For random models, to which no piece means anything: each word is one token, any below
 * `vocab` but </s>. */
LfTokenizer *lf_tokenizer_new_stand_in (gint vocab);
void lf_tokenizer_free (LfTokenizer *tokenizer);
gint lf_tokenizer_get_size (const LfTokenizer *tokenizer);

/* Cleans the prompt (HTML entities unescaped twice, white space folded, ends trimmed),
 * encodes it and appends </s> (1); cut to `max` ids, the </s> kept. Returns the number of
 * ids, or -1 with `error` set (not UTF-8). */
gint lf_tokenizer_encode (
    const LfTokenizer *tokenizer, const char *prompt, gint32 *ids, gint max, GError **error);

/* What encode does first; `prompt` is UTF-8. Free with g_free. */
char *lf_prompt_clean (const char *prompt);

/* A UMT5 encoder's weights on a backend; shared by streams. */
typedef struct _LfTextEncoder LfTextEncoder;

/* `loader` is prepared for LF_PART_TEXT_ENCODER. */
LfTextEncoder *lf_text_encoder_load (LfLoader *loader, GError **error);
void lf_text_encoder_free (LfTextEncoder *encoder);
gsize lf_text_encoder_get_bytes (const LfTextEncoder *encoder);
gint lf_text_encoder_get_dim (const LfTextEncoder *encoder);
gint lf_text_encoder_get_vocab (const LfTextEncoder *encoder);

/* ids (length) on the host -> embedding (length, dim) f32 in backend memory. Scratch is
 * taken and given back here: prompts are rare. Waits for the queue. */
gboolean lf_text_encode (LfTextEncoder *encoder, LfQueue *q, const gint32 *ids, gint length,
    float *embedding, GCancellable *cancellable, GError **error);

/* The same without weights in memory: each layer's are loaded when it is computed, and given back
 * after it. */
gboolean lf_text_encode_released (const LfLoader *loader, const gint32 *ids, gint length,
    float *embedding, GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfTokenizer, lf_tokenizer_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfTextEncoder, lf_text_encoder_free)
G_END_DECLS
#endif
