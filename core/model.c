/* lightforce: loading and sharing models
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_STEP 16         /* pixels: 8 to a latent position, 2 of those to a token */
#define PICTURES_PER_FRAME 4 /* of every latent frame but a stream's first, which has 1 */

/* Models that live or are being loaded, by key; a NULL value is a load at work. */
static GMutex registry_lock;
static GCond registry_changed;
static GHashTable *registry;

/* ----------------------------------------------------------------- loading */

static guint64
count_parameters (LfModelFiles *files, LfPart part, LfDType *stored)
{
  g_autoptr (GPtrArray) names = NULL;
  guint64 count = 0;
  guint i;

  *stored = LF_DTYPE_BF16;
  if (!lf_model_files_has (files, part))
    return 0;
  names = lf_model_files_list (files, part);
  for (i = 0; i < names->len; i++) {
    LfWeightRef ref;

    if (lf_model_files_find (files, part, g_ptr_array_index (names, i), &ref)) {
      count += ref.tensor->count;
      if (ref.tensor->dtype == LF_DTYPE_F16)
        *stored = LF_DTYPE_F16;
    }
  }
  return count;
}

typedef struct
{
  LfModel *model;
  LfQueue *queue;
  guint64 counts[LF_N_PARTS], total, done;
  LfDType stored[LF_N_PARTS];
  gboolean dry;
  GCancellable *cancellable;
  LfProgressFunc progress;
  gpointer progress_data;
} Load;

static LfLoader
prepare (Load *load, LfPart part)
{
  LfLoader loader = {.files = load->model->files,
      .part = part,
      .backend = load->model->backend,
      .queue = load->queue,
      .dry = load->dry,
      .cancellable = load->cancellable,
      .progress = load->progress,
      .progress_data = load->progress_data,
      .progress_from = (double) load->done / load->total};

  loader.linear_dtype = load->counts[part] * sizeof (float) <= load->model->backend->float_limit
                            ? LF_DTYPE_F32
                            : load->stored[part];
  load->done += load->counts[part];
  loader.progress_to = (double) load->done / load->total;
  return loader;
}

static gboolean
load_parts (Load *load, GError **error)
{
  LfModel *model = load->model;
  LfLoader loader;
  guint64 parameters;
  gint i;

  for (i = 0; i < LF_N_PARTS; i++) {
    load->counts[i] = count_parameters (model->files, i, &load->stored[i]);
    load->total += load->counts[i];
  }
  load->total = MAX (load->total, 1);
  loader = prepare (load, LF_PART_TRANSFORMER);
  model->transformer = lf_transformer_load (&loader, error);
  if (!model->transformer)
    return FALSE;
  parameters = loader.parameters;
  if (lf_model_files_has (model->files, LF_PART_TEXT_ENCODER)) {
    loader = prepare (load, LF_PART_TEXT_ENCODER);
    model->text = lf_text_encoder_load (&loader, error);
    if (!model->text)
      return FALSE;
    parameters += loader.parameters;
  }
  if (lf_model_files_has (model->files, LF_PART_DECODER)) {
    loader = prepare (load, LF_PART_DECODER);
    model->decoder = lf_decoder_load (&loader, error);
    if (!model->decoder)
      return FALSE;
    parameters += loader.parameters;
  }
  model->info.parameters = parameters;
  return TRUE;
}

static gboolean
load_tokenizer (LfModel *model, GError **error)
{
  g_autoptr (GBytes) bytes = lf_model_files_get_tokenizer (model->files);

  if (!bytes)
    return TRUE;
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
  info->width = config->width;
  info->height = config->height;
  info->size_step = SIZE_STEP;
  info->fps_n = config->fps_n;
  info->fps_d = config->fps_d;
  info->chunk_frames = config->transformer.chunk_frames;
  info->first_pictures = 1 + (info->chunk_frames - 1) * PICTURES_PER_FRAME;
  info->chunk_pictures = info->chunk_frames * PICTURES_PER_FRAME;
  info->steps = config->n_steps;
  info->window = config->window;
  info->sink = config->sink;
  info->relative = config->relative;
  info->sparse = config->sparse;
  info->has_text = model->text && model->tokenizer;
}

static void
model_free (LfModel *model)
{
  g_clear_pointer (&model->decoder, lf_decoder_free);
  g_clear_pointer (&model->text, lf_text_encoder_free);
  g_clear_pointer (&model->tokenizer, lf_tokenizer_free);
  g_clear_pointer (&model->transformer, lf_transformer_free);
  g_clear_pointer (&model->files, lf_model_files_close);
  g_clear_pointer (&model->backend, lf_backend_close);
  g_free (model->path);
  g_free (model->key);
  g_free (model);
}

static LfModel *
load_model (const char *path, const LfModelOptions *options, gboolean dry,
    GCancellable *cancellable, LfProgressFunc progress, gpointer user_data, GError **error)
{
  LfModel *model = g_new0 (LfModel, 1);
  Load load = {
      .model = model, .cancellable = cancellable, .progress = progress, .progress_data = user_data};
  gint64 start = g_get_monotonic_time ();
  gboolean ok;

  model->refs = 1;
  model->path = g_strdup (path);
  model->files = lf_model_files_open (path, options, error);
  if (!model->files || !(model->backend = lf_backend_open (options->backend, error)))
    goto fail;
  model->config = lf_model_files_get_config (model->files);
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
  return model->transformer->bytes + (model->text ? lf_text_encoder_get_bytes (model->text) : 0)
         + (model->decoder ? lf_decoder_get_bytes (model->decoder) : 0);
}

static gboolean
check_text (LfModel *model, GError **error)
{
  g_autofree char *problems = lf_join_problems (lf_model_files_get_problems (model->files), NULL);
  const char *transformer = lf_model_files_get_path (model->files, LF_PART_TRANSFORMER);
  const char *text = lf_model_files_get_path (model->files, LF_PART_TEXT_ENCODER);

  if (!model->text)
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
        "%s: there is no text encoder; put models_t5_umt5-xxl-enc-bf16.pth beside the "
        "transformer, or set text-encoder%s",
        model->path, problems);
  else if (!model->tokenizer)
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
        "%s: there is no tokenizer; put google/umt5-xxl's spiece.model beside the text encoder, "
        "or set tokenizer%s",
        model->path, problems);
  else if (lf_text_encoder_get_dim (model->text) != model->config->transformer.text_dim)
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        "%s gives text embeddings of width %d, but %s takes %d: they belong to different models",
        text, lf_text_encoder_get_dim (model->text), transformer,
        model->config->transformer.text_dim);
  else if (lf_tokenizer_get_size (model->tokenizer) > lf_text_encoder_get_vocab (model->text))
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        "%s has %d pieces, but %s knows %d: they belong to different models",
        lf_model_files_get_tokenizer_path (model->files), lf_tokenizer_get_size (model->tokenizer),
        text, lf_text_encoder_get_vocab (model->text));
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
        "%s: there is no video decoder; put Wan2.1_VAE.pth, lightvaew2_1.pth or taew2_1.pth "
        "beside the transformer, or set decoder%s",
        model->path, problems);
  else if (lf_decoder_get_latent_channels (model->decoder) != model->config->transformer.z)
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        "%s decodes latents of %d channels, but %s makes %d: they belong to different models",
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
  LfModel *model = load_model (path, options, TRUE, NULL, NULL, NULL, error);
  gboolean ok = model && lf_model_check (model, error);

  if (model)
    model_free (model);
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
#define OR_EMPTY(s) ((s) ? (s) : "")

  return g_strjoin ("\n", absolute, backend, OR_EMPTY (options->transformer),
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

  model = load_model (path, options, FALSE, cancellable, progress, user_data, error);

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
  if (last)
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
