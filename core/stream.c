/* lightforce: one video being made
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "conditioning.h"
#include "i18n.h"
#include "probe.h"
#include "sampler.h"
#include "sparsity.h"
#include "stream-private.h"
#include "streamconfig.h"

struct _LfStream
{
  LfModel *model;
  LfQueue *q;
  LfQueue *decoder_q; /* of the decoder's backend: `q` where that is the model's */
  LfTransformerState *state;
  LfSampler *sampler;
  LfDecoderState *decoder;
  gint decode_frames; /* latents decoded at a time */
  LfLayout layout;    /* of pictures */
  guint64 seed;
  gboolean recache_sink;
  LfSparse sparse; /* of the next chunk: the state has the latest one's until that is committed */

  LfConditioning text;
  float *start;       /* backend memory: the first latent, */
  gboolean has_start; /* where the video starts from a picture */

  guint8 *frames; /* backend memory: pictures of decode_frames latents, on their way to the host */
  gsize frames_bytes;
  void *memory;
  gsize bytes;
  LfPicturePool *pool;

  guint64 index, first_picture; /* of the chunk at work */
  LfPooledChunk *pending;       /* its latents are made, its pictures not all */
  gint decoded;                 /* latents of it that are */
  LfProbe probe;
  LfStats stats;
};

/* ----------------------------------------------------------------- opening */

static gboolean
open_parts (LfStream *s, const LfStreamConfig *config, GError **error)
{
  LfModel *model = s->model;
  double timesteps[LF_MAX_STEPS + 1];
  LfTransformerShape shape = {.height = config->height / 16,
      .width = config->width / 16,
      .max_frames = model->info.chunk_frames,
      .window = config->window,
      .sink = config->sink,
      .relative = config->relative,
      .cache_fp8 = config->cache_fp8,
      .sparse = config->sparse,
      .n_timesteps = model->config->n_steps + 1,
      .timesteps = timesteps};

  lf_sampler_timesteps (model->config, timesteps);
  s->state = lf_transformer_state_new (model->transformer, s->q, &shape, error);
  if (!s->state)
    return FALSE;
  s->sampler = lf_sampler_new (s->state, model->config, error);
  if (!s->sampler)
    return FALSE;
  /* the Wan VAE's intermediates are large: one latent at a time */
  s->decode_frames = model->config->decoder.kind == LF_DECODER_TINY ? model->info.chunk_frames : 1;
  s->decoder = lf_decoder_state_new (
      model->decoder, config->height / 8, config->width / 8, s->decode_frames, error);
  return s->decoder != NULL;
}

static void
lay_out (LfStream *s, LfArena *arena)
{
  lf_conditioning_lay_out (&s->text, arena);
  if (s->has_start)
    s->start = lf_arena_take (arena, s->state->cache->latent_floats * sizeof (float));
}

static gboolean
open_memory (LfStream *s, GError **error)
{
  LfBackend *backend = s->model->backend;
  LfArena arena = {0};

  lay_out (s, &arena);
  s->memory = backend->ops->alloc (backend, arena.used, error);
  if (!s->memory)
    return FALSE;
  s->bytes = arena.used;
  arena = (LfArena){s->memory, 0};
  lay_out (s, &arena);
  return TRUE;
}

/* The picture that the video starts from becomes its first latent, once for all restarts. */
static gboolean
take_start (LfStream *s, const LfStreamConfig *config, GCancellable *cancellable, GError **error)
{
  gsize count = s->state->cache->latent_floats;
  g_autofree float *latent = s->has_start ? g_new (float, count) : NULL;

  if (!s->has_start)
    return TRUE;
  if (!lf_model_encode_picture (s->model, config->threads, config->start_picture, config->height,
          config->width, latent, cancellable, error))
    return FALSE;
  s->model->backend->ops->upload (s->q, s->start, latent, count * sizeof (float));
  return TRUE;
}

/* Takes memory for pictures like these. */
static gboolean
set_layout (LfStream *s, const LfLayout *layout, gboolean on_device, GError **error)
{
  LfBackend *be = s->model->decoder_backend;
  gsize bytes = layout->size * 4 * s->decode_frames;

  if (!on_device && bytes > s->frames_bytes) {
    guint8 *frames = be->ops->alloc (be, bytes, error);

    if (!frames)
      return FALSE;
    if (s->frames)
      be->ops->free (be, s->frames);
    s->frames = frames;
    s->bytes += bytes - s->frames_bytes;
    s->frames_bytes = bytes;
  }
  s->layout = *layout;
  g_clear_pointer (&s->pool, lf_picture_pool_unref);
  /* one is made while its user has the other */
  s->pool =
      lf_picture_pool_new (s->model, on_device, layout->size * s->model->info.chunk_pictures, 2);
  return TRUE;
}

gboolean
lf_stream_set_format (
    LfStream *s, LfFormat format, LfMatrix matrix, gboolean on_device, GError **error)
{
  LfLayout layout;

  if (!lf_format_check (format, matrix, error))
    return FALSE;
  if (s->layout.format == format && s->layout.matrix == matrix && s->pool->on_device == !!on_device)
    return TRUE;
  lf_layout_init (&layout, format, matrix, s->layout.width, s->layout.height);
  return set_layout (s, &layout, !!on_device, error);
}

/* A queue belongs to a backend. One is enough where all computes on one: another would have
 * threads or buffers of its own, and the two never work at the same time. */
static gboolean
open_queues (LfStream *s, gint threads, GError **error)
{
  LfBackend *backend = s->model->backend, *decoder_backend = s->model->decoder_backend;

  s->q = backend->ops->queue_new (backend, threads, error);
  s->decoder_q = s->q && decoder_backend != backend
                     ? decoder_backend->ops->queue_new (decoder_backend, threads, error)
                     : s->q;
  s->text.q = s->q;
  return s->decoder_q != NULL;
}

LfStream *
lf_stream_new (
    LfModel *model, const LfStreamConfig *config, GCancellable *cancellable, GError **error)
{
  g_autoptr (LfStream) s = NULL;
  LfStreamConfig c = *config;
  LfLayout layout;

  lf_stream_config_resolve (&c, model);
  if (!lf_model_check (model, error) || !lf_stream_config_check (&c, model, error))
    return NULL;
  s = g_new0 (LfStream, 1);
  s->model = lf_model_ref (model);
  lf_layout_init (&layout, c.format, c.matrix, c.width, c.height);
  s->seed = c.seed;
  s->text.model = model;
  s->text.blend_chunks = c.blend_chunks;
  s->recache_sink = c.recache_sink;
  s->has_start = c.start_picture != NULL;
  if (!open_queues (s, c.threads, error) || !open_parts (s, &c, error) || !open_memory (s, error)
      || !set_layout (s, &layout, !!c.on_device, error)
      || g_cancellable_set_error_if_cancelled (cancellable, error)
      || !take_start (s, &c, cancellable, error)
      || !lf_stream_set_prompt (s, c.prompt, cancellable, error))
    return NULL;
  s->text.serial = 0;
  s->text.prompt_switch = c.prompt_switch;
  s->sparse = s->state->sparse;
  if (!model->backend->ops->wait (s->q, error))
    return NULL;
  lf_stream_get_stats (s, &s->stats);
  g_info ("stream %dx%d: cache and histories %.1f MiB, scratch %.1f MiB", s->layout.width,
      s->layout.height, s->stats.state_bytes / 1048576.0, s->stats.scratch_bytes / 1048576.0);
  return g_steal_pointer (&s);
}

void
lf_stream_free (LfStream *s)
{
  g_clear_pointer (&s->decoder, lf_decoder_state_free);
  g_clear_pointer (&s->sampler, lf_sampler_free);
  g_clear_pointer (&s->state, lf_transformer_state_free);
  if (s->memory)
    s->model->backend->ops->free (s->model->backend, s->memory);
  if (s->frames)
    s->model->decoder_backend->ops->free (s->model->decoder_backend, s->frames);
  if (s->decoder_q && s->decoder_q != s->q)
    s->model->decoder_backend->ops->queue_free (s->decoder_q);
  if (s->q)
    s->model->backend->ops->queue_free (s->q);
  lf_probe_clear (&s->probe);
  if (s->pending)
    lf_chunk_unref (&s->pending->chunk);
  g_clear_pointer (&s->pool, lf_picture_pool_unref);
  lf_model_unref (s->model);
  g_free (s);
}

/* ------------------------------------------------------- changes in mid-stream */

gboolean
lf_stream_set_prompt (LfStream *s, const char *prompt, GCancellable *cancellable, GError **error)
{
  return lf_conditioning_set_prompt (&s->text, prompt, cancellable, error);
}

void
lf_stream_set_prompt_switch (LfStream *s, LfPromptSwitch prompt_switch)
{
  s->text.prompt_switch = prompt_switch;
}

gboolean
lf_stream_set_sparse (LfStream *s, const LfSparse *sparse, GError **error)
{
  LfSparse next = *sparse;

  next.block_q = s->sparse.block_q;
  next.block_k = s->sparse.block_k;
  if (!lf_sparse_check (&next, error))
    return FALSE;
  s->sparse = next;
  return TRUE;
}

void
lf_stream_restart (LfStream *s, guint64 seed)
{
  s->seed = seed;
  s->index = s->first_picture = 0;
  if (s->pending)
    lf_chunk_unref (&g_steal_pointer (&s->pending)->chunk);
  lf_conditioning_restart (&s->text);
  s->sampler->made = NULL;
  lf_cache_reset (s->state->cache);
  lf_decoder_state_reset (s->decoder, s->decoder_q);
}

gboolean
lf_stream_set_probe (LfStream *s, gint layer, gint head, GError **error)
{
  const LfModelInfo *info = &s->model->info;

  if (layer >= info->layers || (layer >= 0 && (head < 0 || head >= info->heads))) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("there is no layer %d with a head %d to probe; the model has layers 0 to %d with heads "
           "0 "
           "to "
           "%d"),
        layer, head, info->layers - 1, info->heads - 1);
    return FALSE;
  }
  lf_probe_attach (&s->probe, s->state, layer, head);
  return TRUE;
}

/* ------------------------------------------------------------------ chunks */

static void
philox_noise (gpointer user_data, gint step, float *noise, gsize count)
{
  LfStream *s = user_data;

  s->model->backend->ops->noise (s->q, noise, count, s->seed, s->index, step);
}

static gboolean
cancelled (GError **error)
{
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "making the chunk was cancelled");
  return FALSE;
}

/* The clean pass of the latest chunk, with what that one was made with. */
static gboolean
commit (LfStream *s, GCancellable *cancellable, GError **error)
{
  return lf_sampler_commit (s->sampler, cancellable)
         || (s->model->backend->ops->wait (s->q, error) && cancelled (error));
}

gboolean
lf_stream_settle (LfStream *s, GCancellable *cancellable, GError **error)
{
  gint64 start = g_get_monotonic_time ();

  if (!s->sampler->made)
    return TRUE;
  s->model->backend->ops->mark (s->q, LF_NO_TAG); /* what decoding took is not the pass's time */
  if (!commit (s, cancellable, error) || !s->model->backend->ops->wait (s->q, error))
    return FALSE;
  s->stats.generate_us += g_get_monotonic_time () - start;
  return TRUE;
}

/* The picture's latent goes into the cache as a clean past of one frame, as every chunk of models
 * with chunks of one frame does; the rest of the first chunk is made after it. */
static gboolean
give_start (LfStream *s, GCancellable *cancellable, GError **error)
{
  lf_cache_reset (s->state->cache); /* of the same, where this chunk was cancelled before */
  if (!lf_transformer_begin (s->state, 1, error))
    return FALSE;
  return lf_sampler_give (s->sampler, s->start, cancellable)
         || (s->model->backend->ops->wait (s->q, error) && cancelled (error));
}

/* The latents of the next chunk; s->pending is set when they are there. */
static gboolean
generate (LfStream *s, GCancellable *cancellable, GError **error)
{
  LfTransformerState *state = s->state;
  const LfBackendOps *ops = s->model->backend->ops;
  gint64 start = g_get_monotonic_time ();
  gint frames = s->model->info.chunk_frames, given = s->has_start && s->index == 0;
  g_autoptr (LfChunk) chunk = NULL;
  LfPooledChunk *pooled;

  pooled = lf_picture_pool_take (s->pool, error);
  if (!pooled)
    return FALSE;
  chunk = &pooled->chunk;
  ops->mark (s->q, LF_NO_TAG);
  if (!commit (s, cancellable, error))
    return FALSE;
  state->sparse = s->sparse;
  lf_probe_begin (&s->probe);
  lf_conditioning_begin_chunk (&s->text, state);
  if ((given && !give_start (s, cancellable, error))
      || (frames > given && !lf_transformer_begin (state, frames - given, error)))
    return FALSE;
  state->dense = given;
  state->sparsity = 0;
  if (state->sparse.enabled)
    state->sparsity = lf_chunk_sparsity (s->index, frames, state->sparse.total_frames,
        state->sparse.target, state->sparse.base, state->cache->window);
  if ((s->text.recache && !lf_transformer_recache (state, s->recache_sink, cancellable))
      || (frames > given && !lf_sampler_chunk (s->sampler, given, philox_noise, s, cancellable)))
    return ops->wait (s->q, error) && cancelled (error);
  lf_conditioning_end_chunk (&s->text);
  if (!ops->wait (s->q, error)) {
    s->sampler->made = NULL; /* the chunk is made again */
    return FALSE;
  }
  chunk->index = s->index;
  chunk->first_picture = s->first_picture;
  chunk->layout = s->layout;
  chunk->seed = s->seed;
  chunk->prompt_serial = s->text.serial;
  chunk->sparsity = CLAMP (state->sparsity, 0, 1);
  lf_probe_hand_out (&s->probe, pooled);
  chunk->generate_us = g_get_monotonic_time () - start;
  s->pending = pooled;
  s->decoded = 0;
  chunk = NULL; /* it is the stream's */
  return TRUE;
}

/* The pictures of s->pending. */
static gboolean
decode (LfStream *s, GCancellable *cancellable, GError **error)
{
  const LfBackendOps *ops = s->model->decoder_backend->ops;
  LfQueue *q = s->decoder_q; /* generate() has waited for the latents */
  LfChunk *chunk = &s->pending->chunk;
  gint64 start = g_get_monotonic_time ();
  float black, white;

  ops->mark (q, LF_NO_TAG);
  lf_decoder_get_range (s->model->decoder, &black, &white);
  while (s->decoded < s->model->info.chunk_frames) {
    gint frames = MIN (s->decode_frames, s->model->info.chunk_frames - s->decoded), n;
    guint8 *at = s->pending->data + chunk->n_pictures * chunk->layout.size;
    const void *pictures;

    if (g_cancellable_is_cancelled (cancellable))
      return cancelled (error);
    pictures = lf_decoder_decode (
        s->decoder, q, s->sampler->clean + s->decoded * s->state->cache->latent_floats, frames, &n);
    ops->mark (q, lf_phase_tag (LF_PHASE_DECODER, LF_PASS_NONE));
    ops->pictures_to_frames (q, chunk->on_device ? at : s->frames, pictures, n, &chunk->layout,
        1 / (white - black), -black / (white - black));
    ops->mark (q, lf_phase_tag (LF_PHASE_CONVERSION, LF_PASS_NONE));
    if (!chunk->on_device)
      ops->download (q, at, s->frames, n * chunk->layout.size);
    ops->mark (q, lf_phase_tag (LF_PHASE_COPY, LF_PASS_NONE));
    if (!ops->wait (q, error))
      return FALSE;
    chunk->n_pictures += n;
    s->decoded += frames;
  }
  chunk->decode_us = g_get_monotonic_time () - start;
  return TRUE;
}

/* Hands out what is pending and counts it. */
static LfChunk *
finish (LfStream *s)
{
  LfChunk *chunk = &g_steal_pointer (&s->pending)->chunk;

  s->index++;
  s->first_picture += chunk->n_pictures;
  s->stats.chunks++;
  s->stats.pictures += chunk->n_pictures;
  s->stats.sparsity = chunk->sparsity;
  s->stats.generate_us += chunk->generate_us;
  s->stats.decode_us += chunk->decode_us;
  return chunk;
}

LfChunk *
lf_stream_next (LfStream *s, GCancellable *cancellable, GError **error)
{
  if ((!s->pending && !generate (s, cancellable, error)) || !decode (s, cancellable, error))
    return NULL;
  return finish (s);
}

LfChunk *
lf_stream_next_latents (LfStream *s, GCancellable *cancellable, GError **error)
{
  if (!s->pending && !generate (s, cancellable, error))
    return NULL;
  s->pending->chunk.n_pictures =
      s->index ? s->model->info.chunk_pictures : s->model->info.first_pictures;
  return finish (s);
}

void
lf_stream_set_profiling (LfStream *s, gboolean on)
{
  s->model->backend->ops->set_profiling (s->q, on);
  if (s->decoder_q != s->q)
    s->model->decoder_backend->ops->set_profiling (s->decoder_q, on);
}

void
lf_stream_read_profile (LfStream *s, double *seconds)
{
  s->model->backend->ops->read_profile (s->q, seconds);
  if (s->decoder_q != s->q)
    s->model->decoder_backend->ops->read_profile (s->decoder_q, seconds);
}

void
lf_stream_get_stats (LfStream *s, LfStats *stats)
{
  gsize histories, scratch;

  lf_decoder_state_get_bytes (s->decoder, &histories, &scratch);
  s->stats.prompt_serial = s->text.serial;
  s->stats.text_us = s->text.encoding_us;
  s->stats.weights_bytes = lf_model_get_bytes (s->model);
  s->stats.state_bytes = s->state->cache->bytes + histories;
  s->stats.scratch_bytes =
      s->state->bytes + s->state->list_bytes + s->sampler->bytes + s->bytes + scratch;
  *stats = s->stats;
}
