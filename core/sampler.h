/* lightforce: from noise to a clean chunk in a few steps
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SAMPLER_H
#define LF_SAMPLER_H

#include "transformer.h"

G_BEGIN_DECLS

/* Flow-matching noise level, 0..1, of a nominal step in 0..1000 after the time shift. */
double lf_sigma_of (double step, double shift);

/* Fills `noise` (count) f32 in backend memory with the noise of denoising step `step`. */
typedef void (*LfNoiseFunc) (gpointer user_data, gint step, float *noise, gsize count);

/* One stream's sampler. */
typedef struct
{
  LfTransformerState *state;
  gint n_steps;
  double levels[LF_MAX_STEPS];
  float *x, *clean, *flow, *noise; /* (max_frames, Z, H, W) f32 */
  const float *made;               /* clean latents that are not in the cache yet; NULL: none */
  void *memory;
  gsize bytes;
} LfSampler;

/* Steps and shift of `config`; `timesteps` (n_steps + 1) is filled with what the
 * transformer's state must know: level x 1000 of each, and the clean pass's 0. */
void lf_sampler_timesteps (const LfModelConfig *config, double *timesteps);

LfSampler *lf_sampler_new (LfTransformerState *state, const LfModelConfig *config, GError **error);
void lf_sampler_free (LfSampler *sampler);

/* Makes the frames that lf_transformer_begin has prepared, by every denoising step. The clean latents
 * (F, Z, H, W) are in sampler->clean, behind `given` frames of the same chunk that are there. FALSE
 * if cancelled: there are none then. lf_sampler_commit has to follow, when there is time. */
gboolean lf_sampler_chunk (LfSampler *sampler, gint given, LfNoiseFunc noise, gpointer user_data,
    GCancellable *cancellable);

/* The clean pass that writes what was made to the cache. The state must be as lf_sampler_chunk left
 * it: of the same text and sparsity. Does nothing where there is nothing to commit. FALSE if
 * cancelled: it can be called again. */
gboolean lf_sampler_commit (LfSampler *sampler, GCancellable *cancellable);

/* Both where the clean latents are known: no denoising. */
gboolean lf_sampler_give (LfSampler *sampler, const float *latents, GCancellable *cancellable);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfSampler, lf_sampler_free)
G_END_DECLS
#endif
