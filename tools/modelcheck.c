/* lightforce: whether files make a model
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "modelcheck.h"

#include "core/decoder.h"
#include "core/encoder.h"
#include "core/text.h"
#include "core/transformer.h"

static gboolean
nothing_to_wait_for (LfQueue *q, GError **error)
{
  return TRUE;
}

gboolean
lf_check_part (LfModelFiles *files, LfPart part, guint64 *parameters, GError **error)
{
  static const LfBackendOps no_ops = {.wait = nothing_to_wait_for};
  LfBackend backend = {.ops = &no_ops, .name = "none", .act = LF_DTYPE_F32};
  LfLoader loader = {.files = files,
      .part = part,
      .backend = &backend,
      .dry = TRUE,
      .linear_dtype = LF_DTYPE_BF16};
  g_autoptr (LfTransformer) transformer = NULL;
  g_autoptr (LfTextEncoder) text = NULL;
  g_autoptr (LfDecoder) decoder = NULL;
  g_autoptr (LfEncoder) encoder = NULL;

  if (part == LF_PART_TRANSFORMER)
    transformer = lf_transformer_load (&loader, error);
  else if (part == LF_PART_TEXT_ENCODER)
    text = lf_text_encoder_load (&loader, error);
  else if (part == LF_PART_DECODER)
    decoder = lf_decoder_load (&loader, error);
  else
    encoder = lf_encoder_load (&loader, error);
  *parameters = loader.parameters;
  return transformer || text || decoder || encoder;
}

gboolean
lf_check_tokenizer (LfModelFiles *files, GError **error)
{
  const char *path = lf_model_files_get_tokenizer_path (files);
  g_autoptr (GBytes) bytes = lf_model_files_get_tokenizer (files);
  g_autoptr (LfTokenizer) tokenizer = bytes ? lf_tokenizer_new (bytes, path, error) : NULL;
  gint vocab = lf_model_files_get_config (files)->text.vocab;

  if (!bytes)
    return TRUE;
  if (!tokenizer)
    return FALSE;
  if (lf_model_files_has (files, LF_PART_TEXT_ENCODER)
      && lf_tokenizer_get_size (tokenizer) > vocab) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        "%s has %d pieces, but %s knows %d: they belong to different models", path,
        lf_tokenizer_get_size (tokenizer), lf_model_files_get_path (files, LF_PART_TEXT_ENCODER),
        vocab);
    return FALSE;
  }
  return TRUE;
}

gboolean
lf_check_text (LfModelFiles *files, GError **error)
{
  const LfModelConfig *config = lf_model_files_get_config (files);

  if (!lf_model_files_has (files, LF_PART_TEXT_ENCODER)
      || config->text.dim == config->transformer.text_dim)
    return TRUE;
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
      "%s gives text embeddings of width %d, but %s takes %d: they belong to different models",
      lf_model_files_get_path (files, LF_PART_TEXT_ENCODER), config->text.dim,
      lf_model_files_get_path (files, LF_PART_TRANSFORMER), config->transformer.text_dim);
  return FALSE;
}

gboolean
lf_check_decoder (LfModelFiles *files, GError **error)
{
  const LfModelConfig *config = lf_model_files_get_config (files);

  if (!lf_model_files_has (files, LF_PART_DECODER) || config->decoder.z == config->transformer.z)
    return TRUE;
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
      "%s decodes latents of %d channels, but %s makes %d: they belong to different models",
      lf_model_files_get_path (files, LF_PART_DECODER), config->decoder.z,
      lf_model_files_get_path (files, LF_PART_TRANSFORMER), config->transformer.z);
  return FALSE;
}
