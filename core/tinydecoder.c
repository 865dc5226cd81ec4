/* lightforce: the tiny video decoder, TAEHV
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "decoder-private.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 256
#define LATENT_BOUND 3.0f /* latents are squeezed into -3 .. 3 */
#define UNGROWN_LAYER 7   /* its convolution could double time, but only the later half is used */

typedef enum
{
  LAYER_CONV,    /* perhaps enlarged before, perhaps with a ReLU behind */
  LAYER_MEMORY,  /* three convolutions that see the frame before, around a residual */
  LAYER_GROW,    /* makes `fold` frames of each */
  LAYER_UPSAMPLE /* while loading only: becomes part of the convolution behind it */
} LayerKind;

typedef struct
{
  LayerKind kind;
  LfConv conv[3]; /* [0] alone but for LAYER_MEMORY */
  LfConv skip;
  gboolean has_skip;
  gint history;
  gboolean enlarges;
  gint fold, first_out;
  LfActivation activation;
} Layer;

typedef struct
{
  gint n_layers;
  Layer layers[MAX_LAYERS];
} LfTinyDecoder;

/* ---------------------------------------------------------------- loading */

static void
load_memory (LfLoader *loader, LfDecoder *decoder, Layer *out, gint *C, gint i)
{
  gint j, c = 2 * *C;

  out->kind = LAYER_MEMORY;
  out->history = decoder->n_histories++;
  for (j = 0; j < 3; j++) {
    lf_decoder_load_conv (loader, &out->conv[j], c, 0, FALSE, "decoder.%d.conv.%d", i, 2 * j);
    c = out->conv[j].c_out;
  }
  out->has_skip = lf_loader_has (loader, "decoder.%d.skip.weight", i);
  if (out->has_skip)
    lf_decoder_load_conv (loader, &out->skip, *C, c, FALSE, "decoder.%d.skip", i);
  else if (c != *C)
    lf_decoder_fail (
        loader, "decoder.%d makes %d channels of %d and there is no decoder.%d.skip", i, c, *C, i);
  *C = c;
}

/* Growing in time before enlarging gives the same with a quarter of the work. */
static void
load_grow (LfLoader *loader, LfTinyDecoder *tiny, gint C, gint i, gint *time)
{
  Layer layer = {.kind = LAYER_GROW, .fold = 1};
  LfConv *conv = &layer.conv[0];

  lf_decoder_load_conv (loader, conv, C, 0, FALSE, "decoder.%d.conv", i);
  if (loader->error)
    return;
  if (conv->kh != 1 || (conv->c_out != C && conv->c_out != 2 * C)) {
    lf_decoder_fail (
        loader, "decoder.%d.conv.weight does not keep or double the time of %d channels", i, C);
    return;
  }
  if (i == UNGROWN_LAYER)
    layer.first_out = conv->c_out - C;
  else
    layer.fold = conv->c_out / C;
  *time *= layer.fold;
  if (tiny->n_layers && tiny->layers[tiny->n_layers - 1].kind == LAYER_UPSAMPLE) {
    tiny->layers[tiny->n_layers] = tiny->layers[tiny->n_layers - 1];
    tiny->layers[tiny->n_layers - 1] = layer;
  } else {
    tiny->layers[tiny->n_layers] = layer;
  }
  tiny->n_layers++;
}

static void
load_conv (LfLoader *loader, LfTinyDecoder *tiny, gint *C, gint c_out, gint i)
{
  Layer layer = {.kind = LAYER_CONV};

  lf_decoder_load_conv (loader, &layer.conv[0], *C, c_out, FALSE, "decoder.%d", i);
  *C = layer.conv[0].c_out;
  if (tiny->n_layers && tiny->layers[tiny->n_layers - 1].kind == LAYER_UPSAMPLE) {
    layer.enlarges = TRUE;
    tiny->n_layers--;
  }
  tiny->layers[tiny->n_layers++] = layer;
}

/* Layers without weights are known by their place: ReLUs behind the first convolution and
 * before the last, else enlargements. */
static void
load_weightless (LfLoader *loader, LfTinyDecoder *tiny, gint i, gint last, gint *space)
{
  Layer *before = tiny->n_layers ? &tiny->layers[tiny->n_layers - 1] : NULL;

  if (i == 2 || i == last - 1) {
    if (before && before->kind == LAYER_CONV)
      before->activation = LF_ACTIVATION_RELU;
    else
      lf_decoder_fail (loader, "decoder.%d should be a convolution", i - 1);
    return;
  }
  if (!before || before->kind == LAYER_UPSAMPLE) {
    lf_decoder_fail (loader, "tensor decoder.%d.weight is missing", i);
    return;
  }
  *space *= 2;
  tiny->layers[tiny->n_layers++] = (Layer){.kind = LAYER_UPSAMPLE};
}

/* The highest N of all decoder.N. */
static gint
last_layer (LfLoader *loader)
{
  g_autoptr (GPtrArray) names = lf_model_files_list (loader->files, loader->part);
  gint64 last = 0;
  guint i;

  for (i = 0; i < names->len; i++) {
    const char *name = g_ptr_array_index (names, i);

    if (g_str_has_prefix (name, "decoder."))
      last = MAX (last, g_ascii_strtoll (name + strlen ("decoder."), NULL, 10));
  }
  return MIN (last, G_MAXINT);
}

static void
tiny_clear (gpointer net)
{
}

static void
tiny_load (LfLoader *loader, LfDecoder *decoder)
{
  LfTinyDecoder *tiny = decoder->net;
  gint64 shape[LF_MAX_DIMS];
  gint last = last_layer (loader), space = 1, time = 1, ndim, C, i;

  decoder->n_histories = 0;
  decoder->z = 1;
  tiny->n_layers = 0;
  if (last < 1 || last >= MAX_LAYERS) {
    lf_decoder_fail (loader, "a decoder of %d layers is none that is known", last);
    return;
  }
  if (lf_loader_shape (loader, &ndim, shape, "decoder.1.weight") && ndim == 4)
    decoder->z = CLAMP (shape[1], 1, G_MAXINT16);
  C = decoder->z;
  for (i = 1; i <= last && !loader->error; i++) {
    if (lf_loader_has (loader, "decoder.%d.conv.0.weight", i))
      load_memory (loader, decoder, &tiny->layers[tiny->n_layers++], &C, i);
    else if (lf_loader_has (loader, "decoder.%d.conv.weight", i))
      load_grow (loader, tiny, C, i, &time);
    else if (i == 1 || i == last || lf_loader_has (loader, "decoder.%d.weight", i))
      load_conv (loader, tiny, &C, i == last ? 3 : 0, i);
    else
      load_weightless (loader, tiny, i, last, &space);
  }
  for (i = 0; i < tiny->n_layers; i++)
    if (tiny->layers[i].kind == LAYER_UPSAMPLE)
      lf_decoder_fail (loader, "an enlargement has no convolution behind it");
  lf_decoder_check_scale (loader, MIN (space, 1024), time);
  lf_loader_finish (loader, NULL);
}

/* --------------------------------------------------------------- decoding */

static void
run_memory (LfFrames *f, const Layer *layer)
{
  gint c_in = f->C, c_out = layer->conv[2].c_out;
  void *const *past = lf_frames_recall (f, layer->history, 1);

  lf_frames_need (f, LF_BUFFER_INPUT, f->T, 2 * c_in);
  if (!f->s->measure)
    f->s->decoder->backend->ops->beside_past (f->s->q, lf_frames_data (f, LF_BUFFER_INPUT),
        lf_frames_data (f, f->x), *past, f->T, (gsize) f->H * f->W, c_in);
  lf_frames_remember (f, layer->history, f->x);
  lf_frames_conv (f, &layer->conv[0], f->y, NULL, LF_BUFFER_INPUT, 1, 0, -1, LF_ACTIVATION_RELU);
  lf_frames_conv (f, &layer->conv[1], LF_BUFFER_INPUT, NULL, f->y, 1, 0, -1, LF_ACTIVATION_RELU);
  if (layer->has_skip) {
    lf_frames_conv (f, &layer->skip, f->y, NULL, f->x, 1, 0, -1, LF_ACTIVATION_NONE);
    lf_frames_swap (f);
  }
  lf_frames_conv (f, &layer->conv[2], f->x, NULL, LF_BUFFER_INPUT, 1, 0, f->x, LF_ACTIVATION_RELU);
  f->C = c_out;
}

static void
run_layer (LfFrames *f, const Layer *layer, guint8 *pictures)
{
  const LfConv *conv = &layer->conv[0];

  if (layer->kind == LAYER_MEMORY) {
    run_memory (f, layer);
  } else if (layer->enlarges) {
    lf_frames_upsample_conv (f, conv, pictures, layer->activation);
  } else if (layer->kind == LAYER_GROW) {
    lf_frames_conv (
        f, conv, f->y, NULL, f->x, layer->fold, layer->first_out, -1, LF_ACTIVATION_NONE);
    f->T *= layer->fold;
    lf_frames_swap (f);
  } else {
    lf_frames_conv (
        f, conv, pictures ? LF_N_BUFFERS : f->y, pictures, f->x, 1, 0, -1, layer->activation);
    f->C = conv->c_out;
    lf_frames_swap (f);
  }
}

static gint
tiny_run (LfDecoderState *s, gboolean first, const float *latents, gint frames, guint8 *pictures)
{
  const LfTinyDecoder *tiny = s->decoder->net;
  LfFrames f = {s, frames, s->height, s->width, s->decoder->z, LF_BUFFER_X, LF_BUFFER_Y};
  gint i;

  lf_frames_start (&f, f.x, latents, NULL, NULL, LATENT_BOUND);
  for (i = 0; i < tiny->n_layers; i++)
    run_layer (&f, &tiny->layers[i], i + 1 < tiny->n_layers ? NULL : pictures);
  return f.T;
}

const LfDecoderFamily lf_tiny_decoder = {
    .name = "TAEHV",
    .black = 0,
    .white = 1,
    .first_dropped = 3,
    .net_size = sizeof (LfTinyDecoder),
    .clear = tiny_clear,
    .load = tiny_load,
    .run = tiny_run,
};
