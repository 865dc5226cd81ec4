/* lightforce: the Wan VAE decoder and its pruned kin
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "wanlayers.h"

/* One entry of decoder.upsamples: a residual block, or an enlargement. */
typedef struct
{
  gboolean enlarges, doubles_time;
  LfWanResidual residual;
  LfWanCausal time_conv; /* C -> 2 C: two frames of each */
  LfConv resample;
} Stage;

typedef struct
{
  LfConv conv2;
  LfWanCausal conv1;
  LfWanResidual middle[2];
  LfWanAttention attention;
  GArray *stages;
  const float *head_norm;
  LfWanCausal head;
} LfWanDecoder;

/* ---------------------------------------------------------------- loading */

/* Returns the channels that come out. */
static gint
load_stage (LfLoader *loader, LfDecoder *decoder, Stage *out, gint C, const char *prefix)
{
  g_autofree char *time_conv = g_strconcat (prefix, "time_conv", NULL);

  out->enlarges = lf_loader_has (loader, "%sresample.1.weight", prefix);
  if (!out->enlarges)
    return lf_wan_load_residual (loader, decoder, &out->residual, C, prefix);
  out->doubles_time = lf_loader_has (loader, "%stime_conv.weight", prefix);
  if (out->doubles_time)
    lf_wan_load_causal (loader, decoder, &out->time_conv, C, 2 * C, time_conv);
  lf_decoder_load_conv (loader, &out->resample, C, 0, FALSE, "%sresample.1", prefix);
  return out->resample.c_out;
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
  LfWanDecoder *wan = decoder->net;
  gint64 shape[LF_MAX_DIMS];
  gint ndim, C;

  decoder->n_histories = 0;
  wan_clear (wan);
  wan->stages = g_array_new (FALSE, FALSE, sizeof (Stage));
  decoder->z = 1;
  if (lf_loader_shape (loader, &ndim, shape, "conv2.weight") && ndim >= 2) {
    if (shape[1] > LF_WAN_MAX_CHANNELS)
      lf_decoder_fail (loader,
          "the decoder takes latents of %" G_GINT64_FORMAT " channels, more than Wan 2.1's %d",
          shape[1], LF_WAN_MAX_CHANNELS);
    decoder->z = shape[1];
  }
  lf_decoder_load_conv (loader, &wan->conv2, decoder->z, 0, FALSE, "conv2");
  lf_wan_load_causal (loader, decoder, &wan->conv1, wan->conv2.c_out, 0, "decoder.conv1");
  C = lf_wan_load_residual (
      loader, decoder, &wan->middle[0], wan->conv1.conv.c_out, "decoder.middle.0.");
  lf_wan_load_attention (loader, &wan->attention, C, "decoder.middle.1.");
  C = lf_wan_load_residual (loader, decoder, &wan->middle[1], C, "decoder.middle.2.");
  load_stages (loader, decoder, wan->stages, &C);
  wan->head_norm = lf_loader_floats (loader, C, "decoder.head.0.gamma");
  lf_wan_load_causal (loader, decoder, &wan->head, C, 3, "decoder.head.2");
  lf_loader_finish (loader, NULL);
}

/* --------------------------------------------------------------- decoding */

/* The first latent of a stream is one picture: its time does not double, and time_conv
 * sees nothing of it. */
static void
run_enlargement (LfFrames *f, const Stage *stage, gboolean first)
{
  if (stage->doubles_time && !first) {
    lf_wan_run_causal (f, &stage->time_conv, f->y, NULL, f->x, 2, -1);
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

  lf_frames_start (&f, f.y, latents, lf_wan_latent_std, lf_wan_latent_mean, 0);
  lf_frames_conv (&f, &wan->conv2, LF_BUFFER_INPUT, NULL, f.y, 1, 0, -1, LF_ACTIVATION_NONE);
  f.C = wan->conv2.c_out;
  lf_wan_run_causal (&f, &wan->conv1, f.x, NULL, LF_BUFFER_INPUT, 1, -1);
  f.C = wan->conv1.conv.c_out;
  lf_wan_run_residual (&f, &wan->middle[0]);
  lf_wan_run_attention (&f, &wan->attention);
  lf_wan_run_residual (&f, &wan->middle[1]);
  for (i = 0; i < wan->stages->len; i++) {
    const Stage *stage = &g_array_index (wan->stages, Stage, i);

    if (stage->enlarges)
      run_enlargement (&f, stage, first);
    else
      lf_wan_run_residual (&f, &stage->residual);
  }
  lf_wan_norm (&f, f.x, wan->head_norm, TRUE, &wan->head);
  lf_wan_run_causal (&f, &wan->head, LF_N_BUFFERS, pictures, LF_BUFFER_INPUT, 1, -1);
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
