/* lightforce: from a picture to the first latent of a video
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "encoder.h"

#include "arena.h"
#include "wanlayers.h"

#define MAX_STAGES 64
#define PLAIN_BODIES 3 /* residuals of the default model's encoder */

/* One entry of encoder.downsamples: a residual block, or a reduction to half the size. What a
 * reduction does to time (its time_conv) begins with the second latent. */
typedef struct
{
  gboolean reduces;
  LfWanResidual residual;
  LfConv resample; /* folded */
} Stage;

typedef struct
{
  LfWanCausal conv1;
  gint n_stages;
  Stage stages[MAX_STAGES];
  LfWanResidual middle[2];
  LfWanAttention attention;
  const float *head_norm;
  LfWanCausal head;
  LfConv quant; /* to means and log variances */
} Wan;

/* The default model's: it sees four pictures in a latent, which all are the first picture in the
 * first latent, side by side as channels. */
typedef struct
{
  LfConv stem, down1, down2, out;
  LfConv body[PLAIN_BODIES][2];
} Plain;

struct _LfEncoder
{
  LfDecoder layers; /* whose weights go through the same functions as a decoder's */
  gboolean wan;
  union
  {
    Wan wan;
    Plain plain;
  } net;
};

/* ---------------------------------------------------------------- loading */

static void
load_folded (LfLoader *loader, LfConv *out, gint c_in, const char *prefix)
{
  lf_loader_folded_conv (loader, out, prefix);
  if (!loader->error && out->c_in != 4 * c_in)
    lf_decoder_fail (
        loader, "tensor %s.weight takes %d channels where %d come", prefix, out->c_in / 4, c_in);
}

static gint
load_stages (LfLoader *loader, LfDecoder *layers, Wan *wan, gint C)
{
  gint reductions = 0;

  for (wan->n_stages = 0; !loader->error && wan->n_stages < MAX_STAGES; wan->n_stages++) {
    g_autofree char *prefix = g_strdup_printf ("encoder.downsamples.%d.", wan->n_stages);
    g_autofree char *resample = g_strconcat (prefix, "resample.1", NULL);
    Stage *stage = &wan->stages[wan->n_stages];

    stage->reduces = lf_loader_has (loader, "%s.weight", resample);
    if (stage->reduces) {
      load_folded (loader, &stage->resample, C, resample);
      C = stage->resample.c_out;
      reductions++;
    } else if (lf_loader_has (loader, "%sresidual.2.weight", prefix)) {
      C = lf_wan_load_residual (loader, layers, &stage->residual, C, prefix);
    } else {
      break;
    }
  }
  if (reductions != 3)
    lf_decoder_fail (loader, "the encoder halves pictures %d times; 3 times is wanted", reductions);
  return C;
}

/* encoder.downsamples.N.time_conv sees nothing of a first picture: it is left where it is. */
static void
load_wan (LfLoader *loader, LfDecoder *layers, Wan *wan)
{
  static const char *const ignore[] = {"encoder.downsamples.", NULL};
  gint C;

  lf_wan_load_causal (loader, layers, &wan->conv1, 3, 0, "encoder.conv1");
  C = load_stages (loader, layers, wan, wan->conv1.conv.c_out);
  C = lf_wan_load_residual (loader, layers, &wan->middle[0], C, "encoder.middle.0.");
  lf_wan_load_attention (loader, &wan->attention, C, "encoder.middle.1.");
  C = lf_wan_load_residual (loader, layers, &wan->middle[1], C, "encoder.middle.2.");
  wan->head_norm = lf_loader_floats (loader, C, "encoder.head.0.gamma");
  lf_wan_load_causal (loader, layers, &wan->head, C, 0, "encoder.head.2");
  C = wan->head.conv.c_out;
  lf_decoder_load_conv (loader, &wan->quant, C, C, TRUE, "conv1");
  layers->z = C / 2;
  if (C < 2 || C % 2 || layers->z > LF_WAN_MAX_CHANNELS)
    lf_decoder_fail (loader, "the encoder makes means and variances of %d channels, not of 2 to %d",
        C, 2 * LF_WAN_MAX_CHANNELS);
  lf_loader_finish (loader, ignore);
}

static void
load_plain (LfLoader *loader, LfDecoder *layers, Plain *plain)
{
  static const char *const names[PLAIN_BODIES] = {"body1.0", "body2.0", "body2.1"};
  gint b, c, i;

  lf_decoder_load_conv (loader, &plain->stem, 48, 0, FALSE, "stem");
  load_folded (loader, &plain->down1, plain->stem.c_out, "down1");
  b = plain->down1.c_out;
  load_folded (loader, &plain->down2, b, "down2");
  c = plain->down2.c_out;
  for (i = 0; i < PLAIN_BODIES; i++) {
    gint C = i ? c : b;

    lf_decoder_load_conv (loader, &plain->body[i][0], C, C, FALSE, "%s.0", names[i]);
    lf_decoder_load_conv (loader, &plain->body[i][1], C, C, FALSE, "%s.2", names[i]);
  }
  lf_decoder_load_conv (loader, &plain->out, c, 0, FALSE, "out");
  layers->z = plain->out.c_out;
  lf_loader_finish (loader, NULL);
}

static void
load (LfLoader *loader, gpointer part)
{
  LfEncoder *encoder = part;

  loader->still = TRUE;
  encoder->layers.n_histories = 0;
  encoder->layers.z = 1;
  if (encoder->wan)
    load_wan (loader, &encoder->layers, &encoder->net.wan);
  else
    load_plain (loader, &encoder->layers, &encoder->net.plain);
}

LfEncoder *
lf_encoder_load (LfLoader *loader, GError **error)
{
  LfEncoder *encoder = g_new0 (LfEncoder, 1);

  encoder->layers.backend = loader->backend;
  encoder->wan = !lf_loader_has (loader, "stem.weight");
  if (!lf_loader_run (loader, load, encoder, &encoder->layers.arena, &encoder->layers.bytes, error))
    g_clear_pointer (&encoder, lf_encoder_free);
  return encoder;
}

void
lf_encoder_free (LfEncoder *encoder)
{
  LfBackend *backend = encoder->layers.backend;

  if (encoder->layers.arena)
    backend->ops->free (backend, encoder->layers.arena);
  g_free (encoder);
}

gint
lf_encoder_get_latent_channels (const LfEncoder *encoder)
{
  return encoder->layers.z;
}

/* --------------------------------------------------------------- encoding */

/* A convolution of the input buffer to x. */
static void
convolve (LfFrames *f, const LfConv *conv)
{
  lf_frames_conv (f, conv, f->x, NULL, LF_BUFFER_INPUT, 1, 0, -1, LF_ACTIVATION_NONE);
  f->C = conv->c_out;
}

static void
reduce (LfFrames *f, const LfConv *conv)
{
  lf_frames_fold (f);
  convolve (f, conv);
}

/* The same way for measuring, when nothing is cancelled. */
static gboolean
run_wan (const Wan *wan, LfFrames *f, GCancellable *cancellable)
{
  gint i;

  convolve (f, &wan->conv1.conv);
  for (i = 0; i < wan->n_stages; i++) {
    if (g_cancellable_is_cancelled (cancellable))
      return FALSE;
    if (wan->stages[i].reduces)
      reduce (f, &wan->stages[i].resample);
    else
      lf_wan_run_residual (f, &wan->stages[i].residual);
  }
  lf_wan_run_residual (f, &wan->middle[0]);
  lf_wan_run_attention (f, &wan->attention);
  lf_wan_run_residual (f, &wan->middle[1]);
  lf_wan_norm (f, f->x, wan->head_norm, TRUE, NULL);
  lf_frames_conv (f, &wan->head.conv, f->y, NULL, LF_BUFFER_INPUT, 1, 0, -1, LF_ACTIVATION_NONE);
  f->C = wan->quant.c_out;
  lf_frames_conv (f, &wan->quant, f->x, NULL, f->y, 1, 0, -1, LF_ACTIVATION_NONE);
  return TRUE;
}

/* Buffer `to` becomes silu of `from`, which may be the same. */
static void
silu (const LfFrames *f, gint to, gint from)
{
  lf_frames_need (f, to, 1, f->C);
  if (!f->s->measure)
    f->s->decoder->backend->ops->silu (
        f->s->q, lf_frames_data (f, to), lf_frames_data (f, from), (gsize) f->H * f->W * f->C);
}

static void
run_body (LfFrames *f, const LfConv body[2])
{
  lf_frames_conv (f, &body[0], LF_BUFFER_INPUT, NULL, f->x, 1, 0, -1, LF_ACTIVATION_NONE);
  silu (f, LF_BUFFER_INPUT, LF_BUFFER_INPUT);
  lf_frames_conv (f, &body[1], f->x, NULL, LF_BUFFER_INPUT, 1, 0, f->x, LF_ACTIVATION_NONE);
}

static gboolean
run_plain (const Plain *plain, LfFrames *f, GCancellable *cancellable)
{
  convolve (f, &plain->stem);
  silu (f, f->x, f->x);
  reduce (f, &plain->down1);
  silu (f, f->x, f->x);
  run_body (f, plain->body[0]);
  reduce (f, &plain->down2);
  silu (f, f->x, f->x);
  run_body (f, plain->body[1]);
  run_body (f, plain->body[2]);
  lf_frames_conv (f, &plain->out, f->y, NULL, f->x, 1, 0, -1, LF_ACTIVATION_NONE);
  f->C = plain->out.c_out;
  lf_frames_swap (f);
  return !g_cancellable_is_cancelled (cancellable);
}

/* The picture of f->s as it enters; `floats` is NULL or takes it, (H, W, C) f32 on the host: -1
 * to 1, for the default model in squares of 2 x 2 whose pixels come last, four times over. */
static LfFrames
enter (const LfEncoder *encoder, LfDecoderState *s, const guint8 *rgb, float *floats)
{
  gint side = encoder->wan ? 1 : 2, copies = encoder->wan ? 1 : 4;
  LfFrames f = {
      s, 1, s->height / side, s->width / side, 3 * side * side * copies, LF_BUFFER_X, LF_BUFFER_Y};
  gint y, x, c;

  for (y = 0; floats && y < f.H; y++)
    for (x = 0; x < f.W; x++)
      for (c = 0; c < f.C; c++) {
        gint square = c % (side * side), color = c / (side * side) % 3;
        gsize at = (gsize) (y * side + square / side) * s->width + x * side + square % side;

        *floats++ = rgb[3 * at + color] / 127.5f - 1;
      }
  return f;
}

static gboolean
run (const LfEncoder *encoder, LfFrames *f, GCancellable *cancellable)
{
  lf_frames_need (f, LF_BUFFER_INPUT, 1, f->C);
  return encoder->wan ? run_wan (&encoder->net.wan, f, cancellable)
                      : run_plain (&encoder->net.plain, f, cancellable);
}

static float *
lay_out (LfDecoderState *s, LfArena *arena, gsize floats)
{
  gint i;

  for (i = 0; i < LF_N_BUFFERS; i++)
    s->buffers[i].data = lf_arena_take (arena, s->buffers[i].size);
  return lf_arena_take (arena, floats * sizeof (float));
}

/* (H, W, C) to (Z, H, W): the mean, and what decoding undoes. */
static void
leave (const LfEncoder *encoder, const LfFrames *f, const float *floats, float *latent)
{
  gsize pixels = (gsize) f->H * f->W, p;
  gint z;

  for (z = 0; z < encoder->layers.z; z++)
    for (p = 0; p < pixels; p++) {
      float x = floats[p * f->C + z];

      *latent++ = encoder->wan ? (x - lf_wan_latent_mean[z]) / lf_wan_latent_std[z] : x;
    }
}

gboolean
lf_encoder_encode (LfEncoder *encoder, LfQueue *q, const guint8 *rgb, gint height, gint width,
    float *latent, GCancellable *cancellable, GError **error)
{
  LfBackend *backend = encoder->layers.backend;
  const LfBackendOps *ops = backend->ops;
  g_autofree LfDecoderHistory *histories = g_new0 (LfDecoderHistory, encoder->layers.n_histories);
  LfDecoderState s = {.decoder = &encoder->layers, .height = height, .width = width, .q = q};
  LfFrames f = enter (encoder, &s, rgb, NULL);
  gsize in = (gsize) f.H * f.W * f.C, count = in;
  void *input;
  g_autofree float *host = NULL;
  LfArena arena = {0};
  void *memory;
  float *floats;
  gboolean ok;

  g_return_val_if_fail (height > 0 && width > 0 && height % 8 == 0 && width % 8 == 0, FALSE);
  s.histories = histories;
  s.inputs = &input; /* one picture, without a past */
  s.measure = TRUE;
  run (encoder, &f, NULL);
  s.measure = FALSE;
  count = MAX (in, (gsize) f.H * f.W * f.C);
  host = g_new (float, count);
  lay_out (&s, &arena, count);
  memory = ops->alloc (backend, arena.used, error);
  if (!memory)
    return FALSE;
  arena = (LfArena){memory, 0};
  floats = lay_out (&s, &arena, count);

  f = enter (encoder, &s, rgb, host);
  ops->upload (q, floats, host, in * sizeof (float));
  ops->from_float (q, lf_frames_data (&f, LF_BUFFER_INPUT), floats, in);
  ok = run (encoder, &f, cancellable);
  if (ok) {
    count = (gsize) f.H * f.W * f.C;
    ops->to_float (q, floats, lf_frames_data (&f, f.x), count);
    ops->download (q, host, floats, count * sizeof (float));
  }
  /* before the memory goes, in any case */
  if (!ops->wait (q, ok ? error : NULL)) {
    ok = FALSE;
  } else if (ok) {
    leave (encoder, &f, host, latent);
  }
  ops->free (backend, memory);
  if (!ok && error && !*error)
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "encoding the picture was cancelled");
  return ok;
}
