/* lightforce-golden: decoders, the encoder of pictures and the one of text
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "core/decoder.h"
#include "core/encoder.h"
#include "core/text.h"
#include "tests/golden/run.h"

/* Decodes all latents, the first alone and then up to three at a time; (T, 3, H, W) comes
 * out. */
static float *
decode_all (Case *c, const LfDecoder *decoder, LfDecoderState *state, const float *latents,
    gint frames, gint pixels, gsize latent_floats, gint64 *count)
{
  float black, white;
  float *out = g_new (float, (gsize) frames * 4 * pixels * 3);
  gint done = 0, pictures = 0, t, p, k;

  lf_decoder_get_range (decoder, &black, &white);
  while (done < frames) {
    gint n, step = done ? MIN (3, frames - done) : 1;
    const void *act = lf_decoder_decode (state, c->q, latents + done * latent_floats, step, &n);
    gsize values = (gsize) n * pixels * 3;
    g_autofree float *host = g_new (float, values);
    float *plain = c->backend->ops->alloc (c->backend, values * sizeof (float), NULL);

    c->backend->ops->to_float (c->q, plain, act, values);
    c->backend->ops->download (c->q, host, plain, values * sizeof (float));
    c->backend->ops->wait (c->q, NULL);
    c->backend->ops->free (c->backend, plain);
    for (t = 0; t < n; t++)
      for (p = 0; p < pixels; p++)
        for (k = 0; k < 3; k++)
          out[((gsize) (pictures + t) * 3 + k) * pixels + p] =
              CLAMP (host[((gsize) t * pixels + p) * 3 + k], black, white);
    pictures += n;
    done += step;
  }
  *count = (gint64) pictures * 3 * pixels;
  return out;
}

gboolean
run_decoder (Case *c, GError **error)
{
  g_autoptr (LfDecoder) decoder = NULL;
  g_autoptr (LfDecoderState) state = NULL;
  const LfTensorInfo *in = lf_container_find (c->file, "in.latent");
  g_autofree float *latent = NULL, *pictures = NULL;
  gsize latent_floats;
  float *resident;
  gint64 count;
  gint H, W;

  if (!in || in->ndim != 4) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "tensor in.latent is missing or not 4-D");
    return FALSE;
  }
  c->config.decoder.z = in->shape[1];
  if (!case_open_weights (c, LF_PART_DECODER, error))
    return FALSE;
  decoder = lf_decoder_load (&c->loader, error);
  if (!decoder)
    return FALSE;
  H = in->shape[2];
  W = in->shape[3];
  latent_floats = in->shape[1] * H * W;
  state = lf_decoder_state_new (decoder, H, W, 3, error);
  if (!state || !(latent = case_read_floats (c, &count, error, "in.latent")))
    return FALSE;
  resident = c->backend->ops->alloc (c->backend, count * sizeof (float), error);
  if (!resident)
    return FALSE;
  c->backend->ops->upload (c->q, resident, latent, count * sizeof (float));
  pictures =
      decode_all (c, decoder, state, resident, in->shape[0], 64 * H * W, latent_floats, &count);
  c->backend->ops->free (c->backend, resident);
  return case_compare (c, pictures, count, error, "out.pictures");
}

/* One picture, (H, W, 3) bytes. */
gboolean
run_encoder (Case *c, GError **error)
{
  const LfTensorInfo *in = lf_container_find (c->file, "in.picture");
  g_autoptr (LfEncoder) encoder = NULL;
  g_autofree guint8 *picture = NULL;
  g_autofree float *latent = NULL;
  gint64 count;

  if (!in || in->ndim != 3 || in->dtype != LF_DTYPE_U8 || in->shape[2] != 3) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "tensor in.picture is no picture");
    return FALSE;
  }
  if (!case_open_weights (c, LF_PART_ENCODER, error))
    return FALSE;
  encoder = lf_encoder_load (&c->loader, error);
  if (!encoder)
    return FALSE;
  picture = g_malloc (in->count);
  count = lf_encoder_get_latent_channels (encoder) * in->shape[0] * in->shape[1] / 64;
  latent = g_new (float, count);
  return lf_container_read (c->file, in, 0, in->count, LF_DTYPE_U8, picture, error)
         && lf_encoder_encode (
             encoder, c->q, picture, in->shape[0], in->shape[1], latent, NULL, error)
         && case_compare (c, latent, count, error, "out.latent");
}

gboolean
run_text_encoder (Case *c, GError **error)
{
  g_autoptr (LfTextEncoder) encoder = NULL;
  const LfTensorInfo *in = lf_container_find (c->file, "in.ids");
  const LfTensorInfo *table = lf_container_find (c->file, "w.token_embedding.weight");
  g_autofree gint32 *ids = NULL;
  g_autofree float *host = NULL;
  gint32 length = 0;
  const LfTensorInfo *in_length = lf_container_find (c->file, "in.length");
  float *embedding;
  gint64 count;
  gint dim = golden_member (c->json, "dim", 0);

  if (!in || !in_length || !table || table->ndim != 2) {
    g_set_error (
        error, LF_ERROR, LF_ERROR_INVALID_FILE, "in.ids, in.length or weights are missing");
    return FALSE;
  }
  c->config.text.dim = dim;
  c->config.text.heads = golden_member (c->json, "heads", 0);
  c->config.text.layers = golden_member (c->json, "layers", 0);
  c->config.text.ffn_dim = golden_member (c->json, "ffn_dim", 0);
  c->config.text.vocab = table->shape[0];
  c->config.text.buckets = 32;
  ids = g_new (gint32, in->count);
  if (!lf_container_read (c->file, in, 0, in->count, LF_DTYPE_I32, ids, error)
      || !lf_container_read (c->file, in_length, 0, 1, LF_DTYPE_I32, &length, error)
      || !case_open_weights (c, LF_PART_TEXT_ENCODER, error))
    return FALSE;
  encoder = lf_text_encoder_load (&c->loader, error);
  if (!encoder)
    return FALSE;
  count = in->count * dim;
  embedding = c->backend->ops->alloc (c->backend, count * sizeof (float), error);
  if (!embedding)
    return FALSE;
  host = g_new0 (float, count);
  if (lf_text_encode (encoder, c->q, ids, length, embedding, NULL, error)) {
    /* rows behind the tokens are zero by definition */
    c->backend->ops->download (c->q, host, embedding, (gsize) length * dim * sizeof (float));
    c->backend->ops->wait (c->q, error);
  }
  c->backend->ops->free (c->backend, embedding);
  return !*error && case_compare (c, host, count, error, "out.embedding");
}
