/* lightforce: from noise to a clean chunk in a few steps
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "sampler.h"

#include "arena.h"

double
lf_sigma_of (double step, double shift)
{
  double s = step / 1000;

  return shift * s / (1 + (shift - 1) * s);
}

void
lf_sampler_timesteps (const LfModelConfig *config, double *timesteps)
{
  gint i;

  for (i = 0; i < config->n_steps; i++)
    timesteps[i] = lf_sigma_of (config->steps[i], config->shift) * 1000;
  timesteps[config->n_steps] = 0;
}

static void
lay_out (LfSampler *s, LfArena *arena)
{
  gsize bytes = s->state->max_frames * s->state->cache->latent_floats * sizeof (float);

  s->x = lf_arena_take (arena, bytes);
  s->clean = lf_arena_take (arena, bytes);
  s->flow = lf_arena_take (arena, bytes);
  s->noise = lf_arena_take (arena, bytes);
}

LfSampler *
lf_sampler_new (LfTransformerState *state, const LfModelConfig *config, GError **error)
{
  g_autoptr (LfSampler) s = g_new0 (LfSampler, 1);
  LfBackend *backend = state->model->backend;
  LfArena arena = {0};
  gint i;

  s->state = state;
  s->n_steps = config->n_steps;
  for (i = 0; i < s->n_steps; i++)
    s->levels[i] = lf_sigma_of (config->steps[i], config->shift);
  lay_out (s, &arena);
  s->memory = backend->ops->alloc (backend, arena.used, error);
  if (!s->memory)
    return NULL;
  s->bytes = arena.used;
  arena = (LfArena){s->memory, 0};
  lay_out (s, &arena);
  return g_steal_pointer (&s);
}

void
lf_sampler_free (LfSampler *sampler)
{
  LfBackend *backend = sampler->state->model->backend;

  if (sampler->memory)
    backend->ops->free (backend, sampler->memory);
  g_free (sampler);
}

gboolean
lf_sampler_chunk (LfSampler *sampler, gint given, LfNoiseFunc noise, gpointer user_data,
    GCancellable *cancellable)
{
  LfTransformerState *state = sampler->state;
  LfCache *cache = state->cache;
  const LfBackendOps *ops = cache->backend->ops;
  gsize count = cache->current * cache->latent_floats;
  float *clean = sampler->clean + given * cache->latent_floats;
  gint j;

  sampler->made = NULL;
  noise (user_data, 0, sampler->x, count);
  for (j = 0; j < sampler->n_steps; j++) {
    if (!lf_transformer_forward (state, sampler->x, j, sampler->flow, cancellable))
      return FALSE;
    ops->denoise (state->q, clean, sampler->x, sampler->flow, sampler->levels[j], count);
    if (j + 1 < sampler->n_steps) {
      noise (user_data, j + 1, sampler->noise, count);
      ops->mix_noise (state->q, sampler->x, clean, sampler->noise, sampler->levels[j + 1], count);
    }
    ops->mark (state->q, lf_phase_tag (LF_PHASE_REST, j));
  }
  sampler->made = clean;
  return TRUE;
}

gboolean
lf_sampler_commit (LfSampler *sampler, GCancellable *cancellable)
{
  LfTransformerState *state = sampler->state;
  LfCache *cache = state->cache;
  const LfBackendOps *ops = cache->backend->ops;
  gint j;

  if (!sampler->made)
    return TRUE;
  if (!lf_transformer_forward (state, sampler->made, sampler->n_steps, NULL, cancellable))
    return FALSE;
  for (j = 0; j < cache->current; j++)
    ops->copy (state->q, cache->latents + lf_cache_current_slots (cache)[j] * cache->latent_floats,
        sampler->made + j * cache->latent_floats, cache->latent_floats * sizeof (float));
  ops->mark (state->q, lf_phase_tag (LF_PHASE_REST, sampler->n_steps));
  lf_cache_commit (cache);
  sampler->made = NULL;
  return TRUE;
}

gboolean
lf_sampler_give (LfSampler *sampler, const float *latents, GCancellable *cancellable)
{
  const LfCache *cache = sampler->state->cache;

  cache->backend->ops->copy (sampler->state->q, sampler->clean, latents,
      cache->current * cache->latent_floats * sizeof (float));
  sampler->made = sampler->clean;
  if (lf_sampler_commit (sampler, cancellable))
    return TRUE;
  sampler->made = NULL; /* they are given again */
  return FALSE;
}
