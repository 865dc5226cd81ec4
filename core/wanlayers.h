/* lightforce: layers that the Wan VAE's decoder and encoder share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_WANLAYERS_H
#define LF_WANLAYERS_H

#include "decoder-private.h"

#define LF_WAN_MAX_CHANNELS 16

/* Mean and standard deviation of each latent channel over the training videos: latents are
 * made normalised. */
extern const float lf_wan_latent_mean[LF_WAN_MAX_CHANNELS], lf_wan_latent_std[LF_WAN_MAX_CHANNELS];

/* A convolution over time and the number of its history. */
typedef struct
{
  LfConv conv;
  gint history;
} LfWanCausal;

typedef struct
{
  const float *norm1, *norm2; /* (c_in), (c_out) */
  LfWanCausal conv1, conv2;
  LfConv shortcut;
  gboolean has_shortcut;
} LfWanResidual;

typedef struct
{
  const float *norm; /* (C) */
  LfConv qkv, proj;  /* C -> 3 C, C -> C */
} LfWanAttention;

/* c_out 0: any. */
void lf_wan_load_causal (LfLoader *loader, LfDecoder *decoder, LfWanCausal *out, gint c_in,
    gint c_out, const char *prefix);
/* Names begin with `prefix`. Returns the channels that come out. */
gint lf_wan_load_residual (
    LfLoader *loader, LfDecoder *decoder, LfWanResidual *out, gint c_in, const char *prefix);
void lf_wan_load_attention (LfLoader *loader, LfWanAttention *out, gint C, const char *prefix);

/* Buffer `from`, normalised, becomes the input of the next convolution: `next`, or NULL where that
 * has no history. */
void lf_wan_norm (
    const LfFrames *f, gint from, const float *gamma, gboolean silu, const LfWanCausal *next);
/* As lf_frames_causal_conv. */
void lf_wan_run_causal (const LfFrames *f, const LfWanCausal *c, gint to, guint8 *pictures,
    gint from, gint fold, gint residual);
/* From x to x. */
void lf_wan_run_residual (LfFrames *f, const LfWanResidual *r);
void lf_wan_run_attention (const LfFrames *f, const LfWanAttention *a);

#endif
