/* lightforce: loading and sharing models
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "model.h"

#include "encoder.h"
#include "i18n.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_STEP 16         /* pixels: 8 to a latent position, 2 of those to a token */
#define PICTURES_PER_FRAME 4 /* of every latent frame but a stream's first, which has 1 */

/* Models that live or are being loaded, by key; a NULL value is a load at work. */
static GMutex registry_lock;
static GCond registry_changed;
static GHashTable *registry;

/* ----------------------------------------------------------------- loading */

typedef struct
{
  LfModel *model;
  LfQueue *queue;
  guint64 total, done; /* weights of all parts, and of those that were begun */
  gboolean dry;
  GCancellable *cancellable;
  LfProgressFunc progress;
  gpointer progress_data;
} Load;

static LfLoader
prepare (Load *load, LfPart part, LfBackend *backend, LfQueue *queue)
{
  LfModel *model = load->model;
  LfLoader loader = lf_loader_make (model->files, part, backend, queue);

  loader.dry = load->dry;
  loader.cancellable = load->cancellable;
  loader.progress = load->progress;
  loader.progress_data = load->progress_data;
  loader.progress_from = (double) load->done / load->total;
  load->done += lf_loader_count (model->files, part, NULL);
  loader.progress_to = (double) load->done / load->total;
  return loader;
}

/* The encoder to where it stays; one that stays nowhere is only looked at. */
static gboolean
load_text (Load *load, GError **error)
{
  LfModel *model = load->model;
  LfLoader loader =
      model->text_backend
          ? prepare (load, LF_PART_TEXT_ENCODER, model->text_backend, model->text_queue)
          : prepare (load, LF_PART_TEXT_ENCODER, model->backend, load->queue);

  loader.dry = loader.dry || model->text_residency == LF_TEXT_RESIDENCY_RELEASE;
  model->text = lf_text_encoder_load (&loader, error);
  if (!model->text)
    return FALSE;
  model->info.parameters += loader.parameters;
  if (model->text_residency == LF_TEXT_RESIDENCY_RELEASE)
    g_clear_pointer (&model->text, lf_text_encoder_free);
  return TRUE;
}

static gboolean
load_decoder (Load *load, GError **error)
{
  LfModel *model = load->model;
  LfBackend *backend = model->decoder_backend;
  LfQueue *queue = load->queue;
  LfLoader loader;

  if (backend != model->backend && !(queue = backend->ops->queue_new (backend, 1, error)))
    return FALSE;
  loader = prepare (load, LF_PART_DECODER, backend, queue);
  model->decoder = lf_decoder_load (&loader, error);
  if (queue != load->queue)
    backend->ops->queue_free (queue);
  if (model->decoder)
    model->info.parameters += loader.parameters;
  return model->decoder != NULL;
}

static gboolean
load_parts (Load *load, GError **error)
{
  LfModel *model = load->model;
  LfLoader loader;
  gint i;

  for (i = 0; i < LF_PART_ENCODER; i++)
    load->total += lf_loader_count (model->files, i, NULL);
  load->total = MAX (load->total, 1);
  loader = prepare (load, LF_PART_TRANSFORMER, model->backend, load->queue);
  model->transformer = lf_transformer_load (&loader, error);
  if (!model->transformer)
    return FALSE;
  model->info.parameters = loader.parameters;
  return (!lf_model_files_has (model->files, LF_PART_TEXT_ENCODER) || load_text (load, error))
         && (!lf_model_files_has (model->files, LF_PART_DECODER) || load_decoder (load, error));
}

static gboolean
load_tokenizer (LfModel *model, GError **error)
{
  g_autoptr (GBytes) bytes = lf_model_files_get_tokenizer (model->files);

  if (!bytes) {
    if (lf_model_files_is_random (model->files))
      model->tokenizer = lf_tokenizer_new_stand_in (model->config->text.vocab);
    return TRUE;
  }
  model->tokenizer =
      lf_tokenizer_new (bytes, lf_model_files_get_tokenizer_path (model->files), error);
  return model->tokenizer != NULL;
}

static void
fill_info (LfModel *model)
{
  const LfModelConfig *config = model->config;
  LfModelInfo *info = &model->info;

  info->name = config->name;
  info->backend = model->backend->name;
  info->precision = model->backend->precision;
  info->width = config->width;
  info->height = config->height;
  info->size_step = SIZE_STEP;
  info->fps_n = config->fps_n;
  info->fps_d = config->fps_d;
  info->chunk_frames = config->transformer.chunk_frames;
  info->first_pictures = 1 + (info->chunk_frames - 1) * PICTURES_PER_FRAME;
  info->chunk_pictures = info->chunk_frames * PICTURES_PER_FRAME;
  info->steps = config->n_steps;
  info->layers = config->transformer.layers;
  info->heads = config->transformer.heads;
  info->window = config->window;
  info->sink = config->sink;
  info->relative = config->relative;
  info->sparse = config->sparse;
  info->has_text =
      lf_model_files_has (model->files, LF_PART_TEXT_ENCODER) && model->tokenizer != NULL;
  info->has_encoder = lf_model_files_has (model->files, LF_PART_ENCODER);
}

static void
model_free (LfModel *model)
{
  g_clear_pointer (&model->decoder, lf_decoder_free);
  if (model->decoder_backend != model->backend)
    g_clear_pointer (&model->decoder_backend, lf_backend_close);
  g_clear_pointer (&model->text, lf_text_encoder_free);
  if (model->text_queue)
    model->text_backend->ops->queue_free (model->text_queue);
  g_clear_pointer (&model->text_backend, lf_backend_close);
  g_mutex_clear (&model->text_lock);
  g_cond_clear (&model->text_free);
  g_clear_pointer (&model->tokenizer, lf_tokenizer_free);
  g_clear_pointer (&model->transformer, lf_transformer_free);
  g_clear_pointer (&model->files, lf_model_files_close);
  g_clear_pointer (&model->backend, lf_backend_close);
  g_free (model->path);
  g_free (model->key);
  g_free (model);
}

/* Where the text encoder computes, if that is not the model's backend. */
static gboolean
open_text_backend (LfModel *model, GError **error)
{
  if (model->text_residency != LF_TEXT_RESIDENCY_CPU
      || !lf_model_files_has (model->files, LF_PART_TEXT_ENCODER))
    return TRUE;
  model->text_backend = lf_backend_open ("cpu", LF_PRECISION_AUTO, error);
  if (model->text_backend)
    model->text_queue = model->text_backend->ops->queue_new (model->text_backend, 0, error);
  return model->text_queue != NULL;
}

/* Where all but the decoder computes, and where that does. */
static gboolean
open_backends (LfModel *model, const LfModelOptions *options, GError **error)
{
  LfPrecision precision;

  if (options->precision == LF_PRECISION_FP16) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("precision is fp16, in which decoders run but no model; choose auto, fp32, bf16 or "
           "fp8"));
    return FALSE;
  }
  model->backend = lf_backend_open (options->backend, options->precision, error);
  if (!model->backend)
    return FALSE;
  precision = lf_decoder_precision (model->config->decoder.kind, model->backend->precision);
  if (precision == model->backend->precision || !lf_model_files_has (model->files, LF_PART_DECODER))
    model->decoder_backend = model->backend;
  else
    model->decoder_backend = lf_backend_open (model->backend->name, precision, error);
  return model->decoder_backend && open_text_backend (model, error);
}

/* Takes `files` over; NULL where opening them has set the error. */
static LfModel *
load_model (const char *path, LfModelFiles *files, const LfModelOptions *options, gboolean dry,
    GCancellable *cancellable, LfProgressFunc progress, gpointer user_data, GError **error)
{
  LfModel *model = g_new0 (LfModel, 1);
  Load load = {.model = model,
      .dry = dry,
      .cancellable = cancellable,
      .progress = progress,
      .progress_data = user_data};
  gint64 start = g_get_monotonic_time ();
  gboolean ok;

  model->refs = 1;
  model->path = g_strdup (path);
  model->text_residency = options->text_residency;
  g_mutex_init (&model->text_lock);
  g_cond_init (&model->text_free);
  model->files = files;
  if (!model->files)
    goto fail;
  model->config = lf_model_files_get_config (model->files);
  if (!open_backends (model, options, error))
    goto fail;
  load.queue = model->backend->ops->queue_new (model->backend, 1, error);
  if (!load.queue)
    goto fail;
  ok = load_tokenizer (model, error) && load_parts (&load, error);
  model->backend->ops->queue_free (load.queue);
  if (!ok)
    goto fail;
  fill_info (model);
  g_info ("%s: %" G_GUINT64_FORMAT " parameters, weights %.1f MiB on %s, loaded in %.2f s", path,
      model->info.parameters, lf_model_get_bytes (model) / 1048576.0, model->backend->name,
      (g_get_monotonic_time () - start) / 1e6);
  return model;

fail:
  model_free (model);
  return NULL;
}

gsize
lf_model_get_bytes (LfModel *model)
{
  gboolean text_here = model->text && !model->text_backend;

  return model->transformer->bytes + (text_here ? lf_text_encoder_get_bytes (model->text) : 0)
         + (model->decoder ? lf_decoder_get_bytes (model->decoder) : 0);
}

static gboolean
check_text (LfModel *model, GError **error)
{
  g_autofree char *problems = lf_join_problems (lf_model_files_get_problems (model->files), NULL);
  const char *transformer = lf_model_files_get_path (model->files, LF_PART_TRANSFORMER);
  const char *text = lf_model_files_get_path (model->files, LF_PART_TEXT_ENCODER);

  if (!text)
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
        _ ("%s: there is no text encoder; put models_t5_umt5-xxl-enc-bf16.pth beside the "
           "transformer, or set text-encoder%s"),
        model->path, problems);
  else if (!model->tokenizer)
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
        _ ("%s: there is no tokenizer; put google/umt5-xxl's spiece.model beside the text encoder, "
           "or set tokenizer%s"),
        model->path, problems);
  else if (model->config->text.dim != model->config->transformer.text_dim)
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        _ ("%s gives text embeddings of width %d, but %s takes %d: they belong to different "
           "models"),
        text, model->config->text.dim, transformer, model->config->transformer.text_dim);
  else if (lf_tokenizer_get_size (model->tokenizer) > model->config->text.vocab)
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        _ ("%s has %d pieces, but %s knows %d: they belong to different models"),
        lf_model_files_get_tokenizer_path (model->files), lf_tokenizer_get_size (model->tokenizer),
        text, model->config->text.vocab);
  else
    return TRUE;
  return FALSE;
}

gboolean
lf_model_check (LfModel *model, GError **error)
{
  g_autofree char *problems = lf_join_problems (lf_model_files_get_problems (model->files), NULL);

  if (!model->decoder)
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
        _ ("%s: there is no video decoder; put Wan2.1_VAE.pth, lightvaew2_1.pth or taew2_1.pth "
           "beside the transformer, or set decoder%s"),
        model->path, problems);
  else if (lf_decoder_get_latent_channels (model->decoder) != model->config->transformer.z)
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        _ ("%s decodes latents of %d channels, but %s makes %d: they belong to different models"),
        lf_model_files_get_path (model->files, LF_PART_DECODER),
        lf_decoder_get_latent_channels (model->decoder),
        lf_model_files_get_path (model->files, LF_PART_TRANSFORMER), model->config->transformer.z);
  else
    return check_text (model, error);
  return FALSE;
}

gboolean
lf_model_examine (const char *path, const LfModelOptions *options, GError **error)
{
  LfModel *model = load_model (
      path, lf_model_files_open (path, options, error), options, TRUE, NULL, NULL, NULL, error);
  gboolean ok = model && lf_model_check (model, error);

  if (model)
    model_free (model);
  return ok;
}

/* -------------------------------------------------------------------- text */

/* The encoder that is not kept, or its only queue, serves one prompt at a time. Waiting ends when
 * nobody wants the prompt any more. */
static gboolean
begin_text (LfModel *model, GCancellable *cancellable, GError **error)
{
  gboolean cancelled = FALSE;

  g_mutex_lock (&model->text_lock);
  while (
      model->text_busy && !(cancelled = g_cancellable_set_error_if_cancelled (cancellable, error)))
    g_cond_wait_until (&model->text_free, &model->text_lock,
        g_get_monotonic_time () + 50 * G_TIME_SPAN_MILLISECOND);
  if (!cancelled)
    model->text_busy = TRUE;
  g_mutex_unlock (&model->text_lock);
  return !cancelled;
}

static void
end_text (LfModel *model)
{
  g_mutex_lock (&model->text_lock);
  model->text_busy = FALSE;
  g_cond_signal (&model->text_free);
  g_mutex_unlock (&model->text_lock);
}

static gboolean
encode_released (LfModel *model, LfQueue *q, const gint32 *ids, gint length, float *embedding,
    GCancellable *cancellable, GError **error)
{
  LfLoader loader = lf_loader_make (model->files, LF_PART_TEXT_ENCODER, model->backend, q);

  return lf_text_encode_released (&loader, ids, length, embedding, cancellable, error);
}

static gboolean
encode_on_cpu (LfModel *model, LfQueue *q, const gint32 *ids, gint length, float *embedding,
    GCancellable *cancellable, GError **error)
{
  gsize count = (gsize) length * model->config->text.dim;
  g_autofree float *host = g_new (float, count); /* which is the CPU backend's memory, too */

  if (!lf_text_encode (model->text, model->text_queue, ids, length, host, cancellable, error))
    return FALSE;
  model->backend->ops->upload (q, embedding, host, count * sizeof (float));
  return model->backend->ops->wait (q, error);
}

gboolean
lf_model_encode (LfModel *model, LfQueue *q, const gint32 *ids, gint length, float *embedding,
    GCancellable *cancellable, GError **error)
{
  gboolean ok;

  if (model->text_residency == LF_TEXT_RESIDENCY_KEEP)
    return lf_text_encode (model->text, q, ids, length, embedding, cancellable, error);
  if (!begin_text (model, cancellable, error))
    return FALSE;
  ok = (model->text ? encode_on_cpu : encode_released) (
      model, q, ids, length, embedding, cancellable, error);
  end_text (model);
  return ok;
}

/* ---------------------------------------------------------------- pictures */

static gboolean
encode_picture (LfModel *model, LfBackend *backend, LfQueue *q, const guint8 *rgb, gint height,
    gint width, float *latent, GCancellable *cancellable, GError **error)
{
  LfLoader loader = lf_loader_make (model->files, LF_PART_ENCODER, backend, q);
  g_autoptr (LfEncoder) encoder = NULL;

  loader.cancellable = cancellable;
  encoder = lf_encoder_load (&loader, error);
  if (!encoder)
    return FALSE;
  if (lf_encoder_get_latent_channels (encoder) != model->config->transformer.z) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        _ ("%s encodes to latents of %d channels, but %s takes %d: they belong to different "
           "models"),
        lf_model_files_get_path (model->files, LF_PART_ENCODER),
        lf_encoder_get_latent_channels (encoder),
        lf_model_files_get_path (model->files, LF_PART_TRANSFORMER), model->config->transformer.z);
    return FALSE;
  }
  return lf_encoder_encode (encoder, q, rgb, height, width, latent, cancellable, error);
}

gboolean
lf_model_encode_picture (LfModel *model, gint threads, const guint8 *rgb, gint height, gint width,
    float *latent, GCancellable *cancellable, GError **error)
{
  LfBackend *backend = model->backend;
  const char *decoder = lf_model_files_get_path (model->files, LF_PART_DECODER);
  gboolean ok = FALSE;
  LfQueue *q;

  if (!lf_model_files_has (model->files, LF_PART_ENCODER)) {
    g_set_error (error, LF_ERROR, LF_ERROR_UNSUPPORTED,
        _ ("%s has no encoder that is known here, and a video that starts from a picture needs "
           "one: "
           "put Wan2.1_VAE.pth or "
           "lightvaew2_1.pth beside the transformer, or leave start-image empty"),
        decoder ? decoder : model->path);
    return FALSE;
  }
  if (backend->precision != LF_PRECISION_FP32
      && !(backend = lf_backend_open (backend->name, LF_PRECISION_FP32, error)))
    return FALSE;
  q = backend->ops->queue_new (backend, threads, error);
  if (q) {
    ok = encode_picture (model, backend, q, rgb, height, width, latent, cancellable, error);
    backend->ops->queue_free (q);
  }
  if (backend != model->backend)
    lf_backend_close (backend);
  return ok;
}

/* ----------------------------------------------------------------- sharing */

const char *
lf_default_model_path (void)
{
  const char *path = g_getenv ("LIGHTFORCE_DEFAULT_MODEL");

  return path && *path ? path : LF_DATA_DIR "/lightforce-default.safetensors";
}

/* Two loads share a model exactly if this is equal. */
static char *
model_key (const char *path, const LfModelOptions *options)
{
  g_autofree char *absolute = g_canonicalize_filename (path, NULL);
  const char *backend = options->backend ? options->backend : "auto";
  g_autofree char *numbers = g_strdup_printf ("%d %d", options->precision, options->text_residency);
#define OR_EMPTY(s) ((s) ? (s) : "")

  return g_strjoin ("\n", absolute, backend, numbers, OR_EMPTY (options->transformer),
      OR_EMPTY (options->text_encoder), OR_EMPTY (options->tokenizer), OR_EMPTY (options->decoder),
      NULL);
#undef OR_EMPTY
}

LfModel *
lf_model_load (const char *path, const LfModelOptions *options, GCancellable *cancellable,
    LfProgressFunc progress, gpointer user_data, GError **error)
{
  static const LfModelOptions no_options;
  g_autofree char *key = NULL;
  LfModel *model = NULL;

  if (!options)
    options = &no_options;
  if (!path || !*path)
    path = lf_default_model_path ();
  key = model_key (path, options);

  g_mutex_lock (&registry_lock);
  if (!registry)
    registry = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  while (g_hash_table_contains (registry, key)) {
    model = g_hash_table_lookup (registry, key);
    if (model) {
      model->refs++;
      g_mutex_unlock (&registry_lock);
      return model;
    }
    /* another thread loads it; look up from time to time whether we still want it */
    if (g_cancellable_set_error_if_cancelled (cancellable, error)) {
      g_mutex_unlock (&registry_lock);
      return NULL;
    }
    g_cond_wait_until (
        &registry_changed, &registry_lock, g_get_monotonic_time () + 50 * G_TIME_SPAN_MILLISECOND);
  }
  g_hash_table_insert (registry, g_strdup (key), NULL);
  g_mutex_unlock (&registry_lock);

  model = load_model (path, lf_model_files_open (path, options, error), options, FALSE, cancellable,
      progress, user_data, error);

  g_mutex_lock (&registry_lock);
  if (model) {
    model->key = g_strdup (key);
    g_hash_table_insert (registry, g_strdup (key), model);
  } else {
    g_hash_table_remove (registry, key);
  }
  g_cond_broadcast (&registry_changed);
  g_mutex_unlock (&registry_lock);
  return model;
}

LfModel *
lf_model_load_files (LfModelFiles *files, const LfModelOptions *options, GCancellable *cancellable,
    LfProgressFunc progress, gpointer user_data, GError **error)
{
  g_autofree char *path = g_strdup (lf_model_files_get_path (files, LF_PART_TRANSFORMER));

  return load_model (path, files, options, FALSE, cancellable, progress, user_data, error);
}

LfModel *
lf_model_ref (LfModel *model)
{
  g_mutex_lock (&registry_lock);
  model->refs++;
  g_mutex_unlock (&registry_lock);
  return model;
}

void
lf_model_unref (LfModel *model)
{
  gboolean last;

  g_mutex_lock (&registry_lock);
  last = --model->refs == 0;
  if (last && model->key)
    g_hash_table_remove (registry, model->key);
  g_mutex_unlock (&registry_lock);
  if (last)
    model_free (model);
}

const LfModelInfo *
lf_model_get_info (LfModel *model)
{
  return &model->info;
}
