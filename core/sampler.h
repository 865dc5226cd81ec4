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
  const float *held; /* what the first frames of the chunk are to be, (n_held, Z, H, W); their
                        count is 0 where all are free */
  gint n_held;
  void *memory;
  gsize bytes;
} LfSampler;

/* Steps and shift of `config`; `timesteps` (n_steps + 1) is filled with what the
 * transformer's state must know: level x 1000 of each, and the clean pass's 0. */
void lf_sampler_timesteps (const LfModelConfig *config, double *timesteps);

LfSampler *lf_sampler_new (LfTransformerState *state, const LfModelConfig *config, GError **error);
void lf_sampler_free (LfSampler *sampler);

/* Makes the chunk that lf_transformer_begin has prepared: every denoising step, then the
 * clean pass that writes the cache, then the commit. Held frames are given to each step with its
 * noise level, so that the others are made to go with them (replacement, as in RePaint, Lugmayr et
 * al., arXiv 2201.09865); a chunk all of whose frames are held has the clean pass alone. The clean latents (F, Z, H, W) are
 * in sampler->clean. FALSE if cancelled: nothing is committed then. */
gboolean lf_sampler_chunk (
    LfSampler *sampler, LfNoiseFunc noise, gpointer user_data, GCancellable *cancellable);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfSampler, lf_sampler_free)
G_END_DECLS
#endif
