/* lightforce: video decoders, as streams
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "decoder-private.h"

#include <string.h>

#include "arena.h"
#include "i18n.h"

/* Latents go through the layers together as long as this is enough for the buffers. */
#define BUFFERS_BYTES ((gsize) 1 << 30)
#define ZEROS_BYTES ((gsize) 1 << 20)
#define MAX_RESET_BYTES ((gsize) 16 << 20) /* at once: a GPU's cache holds as much */
#define MAX_CHANNELS 65536
#define MAX_PIXELS (1 << 26) /* of a picture: all the numbers of one fit an int */

/* --------------------------------------------------------------- decoders */

LfPrecision
lf_decoder_precision (LfDecoderKind kind, LfPrecision precision)
{
  gboolean sixteen = precision == LF_PRECISION_BF16 || precision == LF_PRECISION_FP8;

  return kind == LF_DECODER_TINY && sixteen ? LF_PRECISION_FP16 : precision;
}

LfDecoder *
lf_decoder_load (LfLoader *loader, GError **error)
{
  const LfModelConfig *config = lf_model_files_get_config (loader->files);
  LfDecoder *decoder = g_new0 (LfDecoder, 1);

  decoder->backend = loader->backend;
  decoder->family = config->decoder.kind == LF_DECODER_TINY ? &lf_tiny_decoder : &lf_wan_decoder;
  decoder->net = g_malloc0 (decoder->family->net_size);
  if (!lf_loader_run (loader, (LfLoadFunc) decoder->family->load, decoder, &decoder->arena,
          &decoder->bytes, error))
    g_clear_pointer (&decoder, lf_decoder_free);
  return decoder;
}

void
lf_decoder_free (LfDecoder *decoder)
{
  if (decoder->arena)
    decoder->backend->ops->free (decoder->backend, decoder->arena);
  decoder->family->clear (decoder->net);
  g_free (decoder->net);
  g_free (decoder);
}

gsize
lf_decoder_get_bytes (const LfDecoder *decoder)
{
  return decoder->bytes;
}

gint
lf_decoder_get_latent_channels (const LfDecoder *decoder)
{
  return decoder->z;
}

void
lf_decoder_get_range (const LfDecoder *decoder, float *black, float *white)
{
  *black = decoder->family->black;
  *white = decoder->family->white;
}

/* ---------------------------------------------------------------- loading */

void
lf_decoder_fail (LfLoader *loader, const char *format, ...)
{
  g_autofree char *reason = NULL;
  va_list args;

  if (loader->error)
    return;
  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (&loader->error, LF_ERROR, LF_ERROR_INVALID_MODEL, "%s: %s; give the file of a %s",
      lf_model_files_get_path (loader->files, loader->part), reason,
      loader->part == LF_PART_ENCODER ? "Wan 2.1 VAE" : "Wan 2.1 or TAEHV decoder");
}

void
lf_decoder_load_conv (
    LfLoader *loader, LfConv *out, gint c_in, gint c_out, gboolean causal, const char *prefix, ...)
{
  g_autofree char *full = NULL;
  va_list args;

  va_start (args, prefix);
  full = g_strdup_vprintf (prefix, args);
  va_end (args);
  lf_loader_conv (loader, out, full);
  if (loader->error)
    return;
  if (out->c_in != c_in || (c_out && out->c_out != c_out))
    lf_decoder_fail (loader, "tensor %s.weight makes %d channels of %d, %s%d of %d belong here",
        full, out->c_out, out->c_in, c_out ? "" : "e.g. ", c_out ? c_out : out->c_out, c_in);
  else if (out->c_out > MAX_CHANNELS)
    lf_decoder_fail (
        loader, "tensor %s.weight makes %d channels, more than any decoder", full, out->c_out);
  else if (out->kh != out->kw || out->kh % 2 == 0 || (out->kt > 1 && !causal))
    lf_decoder_fail (loader,
        "tensor %s.weight is a %d x %d x %d kernel, which does not belong here", full, out->kt,
        out->kh, out->kw);
}

void
lf_decoder_check_scale (LfLoader *loader, gint space, gint time)
{
  if (space != 8 || time != 4)
    lf_decoder_fail (loader,
        "the decoder makes %d pictures %d times the size of a latent; 4 of 8 times are wanted",
        time, space);
}

/* --------------------------------------------------- frames in the layers */

gsize
lf_frames_bytes (const LfFrames *f, gint C)
{
  return (gsize) f->H * f->W * C * lf_dtype_size (f->s->decoder->backend->act);
}

void *
lf_frames_data (const LfFrames *f, gint buffer)
{
  return f->s->buffers[buffer].data;
}

void
lf_frames_need (const LfFrames *f, gint buffer, gint T, gint C)
{
  LfDecoderBuffer *b = &f->s->buffers[buffer];

  if (f->s->measure)
    b->size = MAX (b->size, T * lf_frames_bytes (f, C));
}

void
lf_frames_swap (LfFrames *f)
{
  gint x = f->x;

  f->x = f->y;
  f->y = x;
}

void
lf_frames_start (
    LfFrames *f, gint to, const float *latents, const float *scale, const float *shift, float bound)
{
  gsize count = (gsize) f->C * f->H * f->W;
  gint t;

  lf_frames_need (f, to, f->T, f->C);
  for (t = 0; t < f->T && !f->s->measure; t++)
    f->s->decoder->backend->ops->latent_to_pixels (f->s->q,
        (guint8 *) lf_frames_data (f, to) + t * lf_frames_bytes (f, f->C), latents + t * count,
        f->C, f->H, f->W, scale, shift, bound);
}

void
lf_frames_recall (const LfFrames *f, gint h, gint buffer, gint frames)
{
  LfDecoderHistory *history = &f->s->histories[h];
  LfDecoderBuffer *b = &f->s->buffers[buffer];
  gsize bytes = frames * lf_frames_bytes (f, f->C);

  if (f->s->measure) {
    history->bytes = bytes;
    b->front = MAX (b->front, bytes);
  } else if (bytes) {
    f->s->decoder->backend->ops->copy (f->s->q, b->data - bytes, history->data, bytes);
  }
}

void
lf_frames_remember (const LfFrames *f, gint h, gint buffer, gint frames)
{
  gsize frame = lf_frames_bytes (f, f->C);

  if (!f->s->measure && frames)
    f->s->decoder->backend->ops->copy (f->s->q, f->s->histories[h].data,
        f->s->buffers[buffer].data + (gssize) (f->T - frames) * (gssize) frame, frames * frame);
}

void
lf_frames_conv (const LfFrames *f, const LfConv *conv, gint to, guint8 *pictures, gint from,
    gint fold, gint first_out, gint residual, LfActivation activation)
{
  void *y = pictures;

  if (to < LF_N_BUFFERS) {
    lf_frames_need (f, to, f->T, conv->c_out - first_out);
    y = lf_frames_data (f, to);
  }
  if (!f->s->measure) {
    LfConvolution a = {.w = conv,
        .y = y,
        .x = lf_frames_data (f, from),
        .frames = f->T,
        .H = f->H,
        .W = f->W,
        .fold = fold,
        .first_out = first_out,
        .residual = residual < 0 ? NULL : lf_frames_data (f, residual),
        .activation = activation};

    f->s->decoder->backend->ops->conv (f->s->q, &a);
  }
}

void
lf_frames_upsample_conv (LfFrames *f, const LfConv *conv, guint8 *pictures, LfActivation activation)
{
  f->H *= 2;
  f->W *= 2;
  f->C = conv->c_out;
  if (!pictures)
    lf_frames_need (f, f->y, f->T, f->C);
  if (!f->s->measure) {
    LfConvolution a = {.w = conv,
        .y = pictures ? pictures : lf_frames_data (f, f->y),
        .x = lf_frames_data (f, f->x),
        .frames = f->T,
        .H = f->H,
        .W = f->W,
        .enlarges = TRUE,
        .fold = 1,
        .activation = activation};

    f->s->decoder->backend->ops->conv (f->s->q, &a);
  }
  lf_frames_swap (f);
}

/* Each row beside the one before it is a new pixel for every two, where it is a lower one. */
void
lf_frames_fold (LfFrames *f)
{
  const LfBackendOps *ops = f->s->decoder->backend->ops;
  gsize row = lf_frames_bytes (f, f->C) / f->H;
  gint i;

  lf_frames_need (f, LF_BUFFER_INPUT, 1, f->C);
  for (i = 0; i < f->H / 2 && !f->s->measure; i++)
    ops->beside_past (f->s->q, (guint8 *) lf_frames_data (f, LF_BUFFER_INPUT) + i * 2 * row,
        (guint8 *) lf_frames_data (f, f->x) + (2 * i + 1) * row, 1, f->W / 2, 2 * f->C);
  f->H /= 2;
  f->W /= 2;
  f->C *= 4;
}

/* ----------------------------------------------------------------- states */

static gsize
picture_bytes (const LfDecoderState *s)
{
  return (gsize) s->height * s->width * 64 * 3 * lf_dtype_size (s->decoder->backend->act);
}

static void
lay_out_histories (LfDecoderState *s, LfArena *arena)
{
  gint i;

  s->zeros = lf_arena_take (arena, ZEROS_BYTES);
  for (i = 0; i < s->decoder->n_histories; i++)
    s->histories[i].data = lf_arena_take (arena, s->histories[i].bytes);
}

static void
lay_out_scratch (LfDecoderState *s, LfArena *arena)
{
  gint i;

  for (i = 0; i < LF_N_BUFFERS; i++) {
    LfDecoderBuffer *b = &s->buffers[i];
    guint8 *front;

    b->front = (b->front + 255) & ~(gsize) 255;
    front = lf_arena_take (arena, b->front + b->size);
    b->data = front ? front + b->front : NULL;
  }
  s->pictures = lf_arena_take (arena, 4 * s->max_frames * picture_bytes (s));
}

/* Bytes of the buffers with `batch` latents at a time. */
static gsize
measure (LfDecoderState *s, gint batch)
{
  LfArena arena = {NULL, 0};

  memset (s->buffers, 0, sizeof (s->buffers));
  s->batch = batch;
  s->measure = TRUE;
  s->decoder->family->run (s, FALSE, NULL, batch, NULL);
  s->measure = FALSE;
  lay_out_scratch (s, &arena);
  return arena.used;
}

LfDecoderState *
lf_decoder_state_new (LfDecoder *decoder, gint height, gint width, gint max_frames, GError **error)
{
  const LfBackendOps *ops = decoder->backend->ops;
  LfDecoderState *s;
  LfArena arena = {NULL, 0};
  gint parts;

  g_return_val_if_fail (height > 0 && width > 0 && max_frames > 0, NULL);
  if ((gint64) height * width > MAX_PIXELS / 64) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("size: pictures of %d x %d pixels are too large; choose %d pixels or fewer"), 8 * width,
        8 * height, MAX_PIXELS);
    return NULL;
  }
  s = g_new0 (LfDecoderState, 1);
  s->decoder = decoder;
  s->height = height;
  s->width = width;
  s->max_frames = max_frames;
  s->first = TRUE;
  s->histories = g_new0 (LfDecoderHistory, decoder->n_histories);
  for (parts = 1; parts <= max_frames; parts++) {
    s->scratch_bytes = measure (s, (max_frames + parts - 1) / parts);
    if (s->batch == 1 || s->scratch_bytes - 4 * max_frames * picture_bytes (s) <= BUFFERS_BYTES)
      break;
  }
  lay_out_histories (s, &arena);
  s->histories_bytes = arena.used;
  s->histories_mem = ops->alloc (decoder->backend, s->histories_bytes, error);
  if (s->histories_mem)
    s->scratch_mem = ops->alloc (decoder->backend, s->scratch_bytes, error);
  if (!s->scratch_mem) {
    lf_decoder_state_free (s);
    return NULL;
  }
  arena = (LfArena){s->histories_mem, 0};
  lay_out_histories (s, &arena);
  arena = (LfArena){s->scratch_mem, 0};
  lay_out_scratch (s, &arena);
  return s;
}

void
lf_decoder_state_free (LfDecoderState *state)
{
  const LfBackendOps *ops = state->decoder->backend->ops;

  if (state->histories_mem)
    ops->free (state->decoder->backend, state->histories_mem);
  if (state->scratch_mem)
    ops->free (state->decoder->backend, state->scratch_mem);
  g_free (state->histories);
  g_free (state);
}

void
lf_decoder_state_get_bytes (const LfDecoderState *state, gsize *histories, gsize *scratch)
{
  *histories = state->histories_bytes;
  *scratch = state->scratch_bytes;
}

void
lf_decoder_state_reset (LfDecoderState *state, LfQueue *q)
{
  const LfBackendOps *ops = state->decoder->backend->ops;
  guint8 *begin = state->zeros + ZEROS_BYTES;
  guint8 *end = (guint8 *) state->histories_mem + state->histories_bytes;
  gsize part;

  /* what is zero already makes more so */
  for (; begin < end; begin += part) {
    part = MIN (MIN ((gsize) (begin - state->zeros), MAX_RESET_BYTES), (gsize) (end - begin));
    ops->copy (q, begin, state->zeros, part);
  }
  state->first = TRUE;
}

gint
lf_decoder_state_get_pictures (const LfDecoderState *state, gint frames)
{
  return state->first && frames ? 4 * frames - 3 : 4 * frames;
}

const void *
lf_decoder_decode (LfDecoderState *state, LfQueue *q, const float *latents, gint frames, gint *n)
{
  const LfDecoderFamily *family = state->decoder->family;
  gsize latent = (gsize) state->decoder->z * state->height * state->width;
  gint dropped = state->first ? family->first_dropped : 0;
  gint done = 0, pictures = 0;

  g_return_val_if_fail (frames > 0 && frames <= state->max_frames, NULL);
  state->q = q;
  while (done < frames) {
    gboolean alone = state->first && family->first_alone;
    gint count = alone ? 1 : MIN (state->batch, frames - done);

    pictures += family->run (state, state->first, latents + done * latent, count,
        state->pictures + pictures * picture_bytes (state));
    done += count;
    state->first = FALSE;
  }
  *n = pictures - dropped;
  return state->pictures + dropped * picture_bytes (state);
}
