/* lightforce: video decoders, as streams
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_DECODER_H
#define LF_DECODER_H

#include "loader.h"

G_BEGIN_DECLS

/* The weights of a decoder on a backend; shared by streams. */
typedef struct _LfDecoder LfDecoder;

/* One stream's histories and scratch. */
typedef struct _LfDecoderState LfDecoderState;

/* What a decoder runs in where the model runs in `precision`. TAEHV is made for half floats; bf16
 * rounds eight times more, which shows. Whether the Wan VAE's values stay in their range nobody
 * has said. */
LfPrecision lf_decoder_precision (LfDecoderKind kind, LfPrecision precision);

/* `loader` is prepared for LF_PART_DECODER. */
LfDecoder *lf_decoder_load (LfLoader *loader, GError **error);
void lf_decoder_free (LfDecoder *decoder);
gsize lf_decoder_get_bytes (const LfDecoder *decoder);
gint lf_decoder_get_latent_channels (const LfDecoder *decoder);

/* For latents of height x width, at most `max_frames` in one call. They go through the
 * layers together where the buffers stay small, else in parts; the pictures are the same. */
LfDecoderState *lf_decoder_state_new (
    LfDecoder *decoder, gint height, gint width, gint max_frames, GError **error);
void lf_decoder_state_free (LfDecoderState *state);
void lf_decoder_state_get_bytes (const LfDecoderState *state, gsize *histories, gsize *scratch);

/* The next latent is the first of a stream again. */
void lf_decoder_state_reset (LfDecoderState *state, LfQueue *q);

/* How many pictures `frames` latents give next: 1 for the first of a stream, else 4 each. */
gint lf_decoder_state_get_pictures (const LfDecoderState *state, gint frames);

/* Decodes latents (frames, Z, H, W) f32 in backend memory. Returns pictures (n, 8H, 8W, 3)
 * act in backend memory, valid until the next call; `n` is their number. Values are
 * meant to be -1..1 (Wan VAE) or 0..1 (TAEHV); what lies outside is left to
 * pictures_to_frames, which clamps. */
const void *lf_decoder_decode (
    LfDecoderState *state, LfQueue *q, const float *latents, gint frames, gint *n);

/* The value of black and of white in decoded pictures. */
void lf_decoder_get_range (const LfDecoder *decoder, float *black, float *white);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfDecoder, lf_decoder_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfDecoderState, lf_decoder_state_free)
G_END_DECLS
#endif
