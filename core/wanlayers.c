/* lightforce: layers that the Wan VAE's decoder and encoder share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "wanlayers.h"

const float lf_wan_latent_mean[LF_WAN_MAX_CHANNELS] = {-0.7571f, -0.7089f, -0.9113f, 0.1075f,
    -0.1745f, 0.9653f, -0.1517f, 1.5508f, 0.4134f, -0.0715f, 0.5517f, -0.3632f, -0.1922f, -0.9497f,
    0.2503f, -0.2921f};
const float lf_wan_latent_std[LF_WAN_MAX_CHANNELS] = {2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f,
    1.7708f, 2.6052f, 2.0743f, 3.2687f, 2.1526f, 2.8652f, 1.5579f, 1.6382f, 1.1253f, 2.8251f,
    1.9160f};

/* ---------------------------------------------------------------- loading */

void
lf_wan_load_causal (LfLoader *loader, LfDecoder *decoder, LfWanCausal *out, gint c_in, gint c_out,
    const char *prefix)
{
  lf_decoder_load_conv (loader, &out->conv, c_in, c_out, TRUE, "%s", prefix);
  out->history = decoder->n_histories++;
}

gint
lf_wan_load_residual (
    LfLoader *loader, LfDecoder *decoder, LfWanResidual *out, gint c_in, const char *prefix)
{
  g_autofree char *conv1 = g_strconcat (prefix, "residual.2", NULL);
  g_autofree char *conv2 = g_strconcat (prefix, "residual.6", NULL);
  gint c_out;

  out->norm1 = lf_loader_floats (loader, c_in, "%sresidual.0.gamma", prefix);
  lf_wan_load_causal (loader, decoder, &out->conv1, c_in, 0, conv1);
  c_out = out->conv1.conv.c_out;
  out->norm2 = lf_loader_floats (loader, c_out, "%sresidual.3.gamma", prefix);
  lf_wan_load_causal (loader, decoder, &out->conv2, c_out, c_out, conv2);
  out->has_shortcut = lf_loader_has (loader, "%sshortcut.weight", prefix);
  if (out->has_shortcut)
    lf_decoder_load_conv (loader, &out->shortcut, c_in, c_out, FALSE, "%sshortcut", prefix);
  else if (c_in != c_out)
    lf_decoder_fail (loader, "%sresidual.2 makes %d channels of %d and there is no %sshortcut",
        prefix, c_out, c_in, prefix);
  return c_out;
}

void
lf_wan_load_attention (LfLoader *loader, LfWanAttention *out, gint C, const char *prefix)
{
  out->norm = lf_loader_floats (loader, C, "%snorm.gamma", prefix);
  lf_decoder_load_conv (loader, &out->qkv, C, 3 * C, FALSE, "%sto_qkv", prefix);
  lf_decoder_load_conv (loader, &out->proj, C, C, FALSE, "%sproj", prefix);
}

/* ---------------------------------------------------------------- running */

void
lf_wan_norm (
    const LfFrames *f, gint from, const float *gamma, gboolean silu, const LfWanCausal *next)
{
  void *const *to = lf_frames_place (f, next ? next->history : -1, next ? next->conv.kt - 1 : 0);

  if (!f->s->measure)
    f->s->decoder->backend->ops->pixel_norm_silu (
        f->s->q, to, lf_frames_data (f, from), gamma, f->T, (gsize) f->H * f->W, f->C, silu);
}

void
lf_wan_run_causal (const LfFrames *f, const LfWanCausal *c, gint to, guint8 *pictures, gint from,
    gint fold, gint residual)
{
  lf_frames_causal_conv (f, &c->conv, c->history, to, pictures, from, fold, residual);
}

void
lf_wan_run_residual (LfFrames *f, const LfWanResidual *r)
{
  gint c_in = f->C;

  lf_wan_norm (f, f->x, r->norm1, TRUE, &r->conv1);
  lf_wan_run_causal (f, &r->conv1, f->y, NULL, LF_BUFFER_INPUT, 1, -1);
  f->C = r->conv1.conv.c_out;
  lf_wan_norm (f, f->y, r->norm2, TRUE, &r->conv2);
  if (r->has_shortcut) {
    f->C = c_in;
    lf_frames_conv (f, &r->shortcut, f->y, NULL, f->x, 1, 0, -1, LF_ACTIVATION_NONE);
    f->C = r->conv1.conv.c_out;
    lf_wan_run_causal (f, &r->conv2, f->y, NULL, LF_BUFFER_INPUT, 1, f->y);
    lf_frames_swap (f);
  } else {
    lf_wan_run_causal (f, &r->conv2, f->x, NULL, LF_BUFFER_INPUT, 1, f->x);
  }
}

void
lf_wan_run_attention (const LfFrames *f, const LfWanAttention *a)
{
  lf_wan_norm (f, f->x, a->norm, FALSE, NULL);
  lf_frames_conv (f, &a->qkv, f->y, NULL, LF_BUFFER_INPUT, 1, 0, -1, LF_ACTIVATION_NONE);
  if (!f->s->measure)
    f->s->decoder->backend->ops->pixel_attention (f->s->q, lf_frames_data (f, LF_BUFFER_INPUT),
        lf_frames_data (f, f->y), f->T, f->H * f->W, f->C);
  lf_frames_conv (f, &a->proj, f->x, NULL, LF_BUFFER_INPUT, 1, 0, f->x, LF_ACTIVATION_NONE);
}
