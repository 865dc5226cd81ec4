/* lightforce: from a picture to the first latent of a video
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_ENCODER_H
#define LF_ENCODER_H

#include "loader.h"

G_BEGIN_DECLS

/* The half of an autoencoder that playing does without: that of the Wan VAE and its pruned kin, or
 * the default model's (Encoder in models/nets.py). It encodes one picture, which is what the first
 * latent of a video stands for, and goes: nothing is kept for it. */
typedef struct _LfEncoder LfEncoder;

/* `loader` is prepared for LF_PART_ENCODER. */
LfEncoder *lf_encoder_load (LfLoader *loader, GError **error);
void lf_encoder_free (LfEncoder *encoder);
gint lf_encoder_get_latent_channels (const LfEncoder *encoder);

/* Encodes rgb (height, width, 3), on the host; height and width are multiples of 8. `latent`
 * (Z, height / 8, width / 8), on the host too, is as the transformer makes latents. Takes memory for
 * intermediate results and gives it back. */
gboolean lf_encoder_encode (LfEncoder *encoder, LfQueue *q, const guint8 *rgb, gint height,
    gint width, float *latent, GCancellable *cancellable, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfEncoder, lf_encoder_free)
G_END_DECLS
#endif
