/* lightforce: the Wan VAE decoder and its pruned kin
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "decoder-private.h"

#include <string.h>

#define MAX_CHANNELS 16

/* Mean and standard deviation of each latent channel over the training videos: latents are
 * made normalised. */
static const float latent_mean[MAX_CHANNELS] = {-0.7571f, -0.7089f, -0.9113f, 0.1075f, -0.1745f,
    0.9653f, -0.1517f, 1.5508f, 0.4134f, -0.0715f, 0.5517f, -0.3632f, -0.1922f, -0.9497f, 0.2503f,
    -0.2921f};
static const float latent_std[MAX_CHANNELS] = {2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f, 1.7708f,
    2.6052f, 2.0743f, 3.2687f, 2.1526f, 2.8652f, 1.5579f, 1.6382f, 1.1253f, 2.8251f, 1.9160f};

/* A convolution over time and the number of its history. */
typedef struct
{
  LfConv conv;
  gint history;
} Causal;

typedef struct
{
  const float *norm1, *norm2; /* (c_in), (c_out) */
  Causal conv1, conv2;
  LfConv shortcut;
  gboolean has_shortcut;
} Residual;

typedef struct
{
  const float *norm; /* (C) */
  LfConv qkv, proj;  /* C -> 3 C, C -> C */
} Attention;

/* One entry of decoder.upsamples: a residual block, or an enlargement. */
typedef struct
{
  gboolean enlarges, doubles_time;
  Residual residual;
  Causal time_conv; /* C -> 2 C: two frames of each */
  LfConv resample;
} Stage;

typedef struct
{
  LfConv conv2;
  Causal conv1;
  Residual middle[2];
  Attention attention;
  GArray *stages;
  const float *head_norm;
  Causal head;
} LfWanDecoder;

/* ---------------------------------------------------------------- loading */

static void
load_causal (
    LfLoader *loader, LfDecoder *decoder, Causal *out, gint c_in, gint c_out, const char *prefix)
{
  lf_decoder_load_conv (loader, &out->conv, c_in, c_out, TRUE, "%s", prefix);
  out->history = decoder->n_histories++;
}

/* Returns the channels that come out. */
static gint
load_residual (LfLoader *loader, LfDecoder *decoder, Residual *out, gint c_in, const char *prefix)
{
  g_autofree char *conv1 = g_strconcat (prefix, "residual.2", NULL);
  g_autofree char *conv2 = g_strconcat (prefix, "residual.6", NULL);
  gint c_out;

  out->norm1 = lf_loader_floats (loader, c_in, "%sresidual.0.gamma", prefix);
  load_causal (loader, decoder, &out->conv1, c_in, 0, conv1);
  c_out = out->conv1.conv.c_out;
  out->norm2 = lf_loader_floats (loader, c_out, "%sresidual.3.gamma", prefix);
  load_causal (loader, decoder, &out->conv2, c_out, c_out, conv2);
  out->has_shortcut = lf_loader_has (loader, "%sshortcut.weight", prefix);
  if (out->has_shortcut)
    lf_decoder_load_conv (loader, &out->shortcut, c_in, c_out, FALSE, "%sshortcut", prefix);
  else if (c_in != c_out)
    lf_decoder_fail (loader, "%sresidual.2 makes %d channels of %d and there is no %sshortcut",
        prefix, c_out, c_in, prefix);
  return c_out;
}

/* Returns the channels that come out. */
static gint
load_stage (LfLoader *loader, LfDecoder *decoder, Stage *out, gint C, const char *prefix)
{
  g_autofree char *time_conv = g_strconcat (prefix, "time_conv", NULL);

  out->enlarges = lf_loader_has (loader, "%sresample.1.weight", prefix);
  if (!out->enlarges)
    return load_residual (loader, decoder, &out->residual, C, prefix);
  out->doubles_time = lf_loader_has (loader, "%stime_conv.weight", prefix);
  if (out->doubles_time)
    load_causal (loader, decoder, &out->time_conv, C, 2 * C, time_conv);
  lf_decoder_load_conv (loader, &out->resample, C, 0, FALSE, "%sresample.1", prefix);
  return out->resample.c_out;
}

static void
load_attention (LfLoader *loader, Attention *out, gint C)
{
  out->norm = lf_loader_floats (loader, C, "decoder.middle.1.norm.gamma");
  lf_decoder_load_conv (loader, &out->qkv, C, 3 * C, FALSE, "decoder.middle.1.to_qkv");
  lf_decoder_load_conv (loader, &out->proj, C, C, FALSE, "decoder.middle.1.proj");
}

static void
load_stages (LfLoader *loader, LfDecoder *decoder, GArray *stages, gint *C)
{
  gint space = 1, time = 1, i;

  for (i = 0; !loader->error; i++) {
    g_autofree char *prefix = g_strdup_printf ("decoder.upsamples.%d.", i);
    Stage stage = {0};

    if (!lf_loader_has (loader, "%sresample.1.weight", prefix)
        && !lf_loader_has (loader, "%sresidual.2.weight", prefix))
      break;
    *C = load_stage (loader, decoder, &stage, *C, prefix);
    g_array_append_val (stages, stage);
    space *= stage.enlarges && space < 1024 ? 2 : 1;
    time *= stage.doubles_time && time < 1024 ? 2 : 1;
  }
  lf_decoder_check_scale (loader, space, time);
}

static void
wan_clear (gpointer net)
{
  LfWanDecoder *wan = net;

  g_clear_pointer (&wan->stages, g_array_unref);
}

static void
wan_load (LfLoader *loader, LfDecoder *decoder)
{
  static const char *const ignore[] = {"encoder.", "conv1.", NULL};
  LfWanDecoder *wan = decoder->net;
  gint64 shape[LF_MAX_DIMS];
  gint ndim, C;

  decoder->n_histories = 0;
  wan_clear (wan);
  wan->stages = g_array_new (FALSE, FALSE, sizeof (Stage));
  decoder->z = 1;
  if (lf_loader_shape (loader, &ndim, shape, "conv2.weight") && ndim >= 2) {
    if (shape[1] > MAX_CHANNELS)
      lf_decoder_fail (loader,
          "the decoder takes latents of %" G_GINT64_FORMAT " channels, more than Wan 2.1's %d",
          shape[1], MAX_CHANNELS);
    decoder->z = shape[1];
  }
  lf_decoder_load_conv (loader, &wan->conv2, decoder->z, 0, FALSE, "conv2");
  load_causal (loader, decoder, &wan->conv1, wan->conv2.c_out, 0, "decoder.conv1");
  C = load_residual (loader, decoder, &wan->middle[0], wan->conv1.conv.c_out, "decoder.middle.0.");
  load_attention (loader, &wan->attention, C);
  C = load_residual (loader, decoder, &wan->middle[1], C, "decoder.middle.2.");
  load_stages (loader, decoder, wan->stages, &C);
  wan->head_norm = lf_loader_floats (loader, C, "decoder.head.0.gamma");
  load_causal (loader, decoder, &wan->head, C, 3, "decoder.head.2");
  lf_loader_finish (loader, ignore);
}

/* --------------------------------------------------------------- decoding */

/* Buffer `from`, normalised, becomes the input of the next convolution. */
static void
norm (const LfFrames *f, gint from, const float *gamma, gboolean silu)
{
  lf_frames_need (f, LF_BUFFER_INPUT, f->T, f->C);
  if (!f->s->measure)
    f->s->decoder->backend->ops->pixel_norm_silu (f->s->q, lf_frames_data (f, LF_BUFFER_INPUT),
        lf_frames_data (f, from), gamma, (gsize) f->T * f->H * f->W, f->C, silu);
}

/* Convolution of the input buffer, with and of its history. */
static void
causal (const LfFrames *f, const Causal *c, gint to, guint8 *pictures, gint fold, gint residual)
{
  lf_frames_recall (f, c->history, LF_BUFFER_INPUT, c->conv.kt - 1);
  lf_frames_conv (
      f, &c->conv, to, pictures, LF_BUFFER_INPUT, fold, 0, residual, LF_ACTIVATION_NONE);
  lf_frames_remember (f, c->history, LF_BUFFER_INPUT, c->conv.kt - 1);
}

static void
run_residual (LfFrames *f, const Residual *r)
{
  gint c_in = f->C;

  norm (f, f->x, r->norm1, TRUE);
  causal (f, &r->conv1, f->y, NULL, 1, -1);
  f->C = r->conv1.conv.c_out;
  norm (f, f->y, r->norm2, TRUE);
  if (r->has_shortcut) {
    f->C = c_in;
    lf_frames_conv (f, &r->shortcut, f->y, NULL, f->x, 1, 0, -1, LF_ACTIVATION_NONE);
    f->C = r->conv1.conv.c_out;
    causal (f, &r->conv2, f->y, NULL, 1, f->y);
    lf_frames_swap (f);
  } else {
    causal (f, &r->conv2, f->x, NULL, 1, f->x);
  }
}

static void
run_attention (const LfFrames *f, const Attention *a)
{
  norm (f, f->x, a->norm, FALSE);
  lf_frames_conv (f, &a->qkv, f->y, NULL, LF_BUFFER_INPUT, 1, 0, -1, LF_ACTIVATION_NONE);
  if (!f->s->measure)
    f->s->decoder->backend->ops->pixel_attention (f->s->q, lf_frames_data (f, LF_BUFFER_INPUT),
        lf_frames_data (f, f->y), f->T, f->H * f->W, f->C);
  lf_frames_conv (f, &a->proj, f->x, NULL, LF_BUFFER_INPUT, 1, 0, f->x, LF_ACTIVATION_NONE);
}

/* The first latent of a stream is one picture: its time does not double, and time_conv
 * sees nothing of it. */
static void
run_enlargement (LfFrames *f, const Stage *stage, gboolean first)
{
  if (stage->doubles_time && !first) {
    lf_frames_need (f, LF_BUFFER_INPUT, f->T, f->C);
    if (!f->s->measure)
      f->s->decoder->backend->ops->copy (f->s->q, lf_frames_data (f, LF_BUFFER_INPUT),
          lf_frames_data (f, f->x), f->T * lf_frames_bytes (f, f->C));
    causal (f, &stage->time_conv, f->y, NULL, 2, -1);
    lf_frames_swap (f);
    f->T *= 2;
  }
  lf_frames_upsample_conv (f, &stage->resample, NULL, LF_ACTIVATION_NONE);
}

static gint
wan_run (LfDecoderState *s, gboolean first, const float *latents, gint frames, guint8 *pictures)
{
  const LfWanDecoder *wan = s->decoder->net;
  LfFrames f = {s, frames, s->height, s->width, s->decoder->z, LF_BUFFER_X, LF_BUFFER_Y};
  guint i;

  lf_frames_start (&f, f.y, latents, latent_std, latent_mean, 0);
  lf_frames_conv (&f, &wan->conv2, LF_BUFFER_INPUT, NULL, f.y, 1, 0, -1, LF_ACTIVATION_NONE);
  f.C = wan->conv2.c_out;
  causal (&f, &wan->conv1, f.x, NULL, 1, -1);
  f.C = wan->conv1.conv.c_out;
  run_residual (&f, &wan->middle[0]);
  run_attention (&f, &wan->attention);
  run_residual (&f, &wan->middle[1]);
  for (i = 0; i < wan->stages->len; i++) {
    const Stage *stage = &g_array_index (wan->stages, Stage, i);

    if (stage->enlarges)
      run_enlargement (&f, stage, first);
    else
      run_residual (&f, &stage->residual);
  }
  norm (&f, f.x, wan->head_norm, TRUE);
  causal (&f, &wan->head, LF_N_BUFFERS, pictures, 1, -1);
  return f.T;
}

const LfDecoderFamily lf_wan_decoder = {
    .name = "Wan VAE",
    .black = -1,
    .white = 1,
    .first_alone = TRUE,
    .net_size = sizeof (LfWanDecoder),
    .clear = wan_clear,
    .load = wan_load,
    .run = wan_run,
};
