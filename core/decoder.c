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
  else if (out->kh != out->kw || out->kh % 2 == 0 || out->kt > (causal ? LF_MAX_KT : 1))
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

void *const *
lf_frames_recall (const LfFrames *f, gint h, gint count)
{
  LfDecoderHistory *history = &f->s->histories[h];

  if (f->s->measure) {
    history->bytes = lf_frames_bytes (f, f->C);
    history->count = count;
    return NULL;
  }
  return history->frames;
}

void
lf_frames_remember (const LfFrames *f, gint h, gint buffer)
{
  const LfBackendOps *ops = f->s->decoder->backend->ops;
  LfDecoderHistory *history = &f->s->histories[h];
  gint n = MIN (f->T, history->count), stay = history->count - n, i;
  void *old[LF_MAX_HISTORY];

  if (f->s->measure)
    return;
  for (i = 0; i < n; i++)
    old[i] = history->frames[i];
  for (i = 0; i < stay; i++)
    history->frames[i] = history->frames[n + i];
  for (i = 0; i < n; i++) {
    if (history->placed) {
      void **spare = &f->s->spares[history->spare].frames[i];

      history->frames[stay + i] = *spare;
      *spare = old[i];
    } else {
      history->frames[stay + i] = old[i];
      ops->copy (f->s->q, old[i],
          (guint8 *) lf_frames_data (f, buffer) + (f->T - n + i) * history->bytes, history->bytes);
    }
  }
}

void *const *
lf_frames_place (const LfFrames *f, gint h, gint count)
{
  LfDecoderState *s = f->s;
  LfDecoderHistory *history = h < 0 ? NULL : &s->histories[h];
  gsize bytes = lf_frames_bytes (f, f->C);
  void **inputs = s->inputs + count;
  gint kept = MIN (f->T, count), i;

  lf_frames_need (f, LF_BUFFER_INPUT, f->T - kept, f->C);
  if (s->measure) {
    if (history) {
      lf_frames_recall (f, h, count);
      history->placed = TRUE;
    }
    return NULL;
  }
  for (i = 0; i < f->T - kept; i++)
    inputs[i] = s->buffers[LF_BUFFER_INPUT].data + i * bytes;
  for (i = 0; i < kept; i++)
    inputs[f->T - kept + i] = s->spares[history->spare].frames[i];
  return inputs;
}

/* The T frames of a buffer become inputs, behind `count` earlier ones. */
static void
list_inputs (const LfFrames *f, gint buffer, gint count, gsize bytes)
{
  gint i;

  for (i = 0; i < f->T && !f->s->measure; i++)
    f->s->inputs[count + i] = (guint8 *) lf_frames_data (f, buffer) + i * bytes;
}

/* Of what list_inputs listed, to a buffer or to `pictures`. */
static void
run_conv (const LfFrames *f, LfConvolution a, gint to, guint8 *pictures, gint residual)
{
  if (to < LF_N_BUFFERS)
    lf_frames_need (f, to, f->T, a.w->c_out - a.first_out);
  if (f->s->measure)
    return;
  a.y = to < LF_N_BUFFERS ? lf_frames_data (f, to) : pictures;
  a.x = f->s->inputs;
  a.frames = f->T;
  a.H = f->H;
  a.W = f->W;
  a.residual = residual < 0 ? NULL : lf_frames_data (f, residual);
  f->s->decoder->backend->ops->conv (f->s->q, &a);
}

void
lf_frames_conv (const LfFrames *f, const LfConv *conv, gint to, guint8 *pictures, gint from,
    gint fold, gint first_out, gint residual, LfActivation activation)
{
  LfConvolution a = {.w = conv, .fold = fold, .first_out = first_out, .activation = activation};

  g_assert (conv->kt == 1);
  list_inputs (f, from, 0, lf_frames_bytes (f, conv->c_in));
  run_conv (f, a, to, pictures, residual);
}

void
lf_frames_causal_conv (const LfFrames *f, const LfConv *conv, gint h, gint to, guint8 *pictures,
    gint from, gint fold, gint residual)
{
  LfConvolution a = {.w = conv, .fold = fold};
  gint past = conv->kt - 1, i;
  void *const *history = lf_frames_recall (f, h, past);

  if (f->s->histories[h].placed)
    lf_frames_place (f, h, past);
  else
    list_inputs (f, from, past, lf_frames_bytes (f, conv->c_in));
  for (i = 0; i < past && history; i++)
    f->s->inputs[i] = history[i];
  run_conv (f, a, to, pictures, residual);
  lf_frames_remember (f, h, from);
}

void
lf_frames_upsample_conv (LfFrames *f, const LfConv *conv, guint8 *pictures, LfActivation activation)
{
  LfConvolution a = {.w = conv, .enlarges = TRUE, .fold = 1, .activation = activation};

  list_inputs (f, f->x, 0, lf_frames_bytes (f, conv->c_in));
  f->H *= 2;
  f->W *= 2;
  f->C = conv->c_out;
  run_conv (f, a, pictures ? LF_N_BUFFERS : f->y, pictures, -1);
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
        (guint8 *) lf_frames_data (f, f->x) + (2 * i + 1) * row,
        (guint8 *) lf_frames_data (f, f->x) + 2 * i * row, 1, f->W / 2, 2 * f->C);
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
lay_out_history (LfDecoderHistory *h, LfArena *arena)
{
  gint i;

  for (i = 0; i < h->count; i++)
    h->frames[i] = lf_arena_take (arena, h->bytes);
}

static void
lay_out_histories (LfDecoderState *s, LfArena *arena)
{
  gint i;

  s->zeros = lf_arena_take (arena, ZEROS_BYTES);
  for (i = 0; i < s->decoder->n_histories; i++)
    lay_out_history (&s->histories[i], arena);
}

/* One set of spare frames for each size: layers run one after another. */
static void
find_spares (LfDecoderState *s)
{
  gint h, i;

  s->n_spares = 0;
  for (h = 0; h < s->decoder->n_histories; h++) {
    LfDecoderHistory *history = &s->histories[h];

    if (!history->placed)
      continue;
    for (i = 0; i < s->n_spares && s->spares[i].bytes != history->bytes; i++)
      ;
    if (i == s->n_spares)
      s->spares[s->n_spares++] = (LfDecoderHistory){.bytes = history->bytes};
    s->spares[i].count = MAX (s->spares[i].count, history->count);
    history->spare = i;
  }
}

static void
lay_out_scratch (LfDecoderState *s, LfArena *arena)
{
  gint i;

  for (i = 0; i < LF_N_BUFFERS; i++) {
    LfDecoderBuffer *b = &s->buffers[i];

    b->data = lf_arena_take (arena, b->size);
  }
  for (i = 0; i < s->n_spares; i++)
    lay_out_history (&s->spares[i], arena);
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
  find_spares (s);
  lay_out_scratch (s, &arena);
  return arena.used;
}

static void
lay_out (LfDecoderState *s)
{
  LfArena histories = {s->histories_mem, 0}, scratch = {s->scratch_mem, 0};

  lay_out_histories (s, &histories);
  lay_out_scratch (s, &scratch);
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
  s->spares = g_new0 (LfDecoderHistory, decoder->n_histories);
  s->inputs = g_new0 (void *, LF_MAX_HISTORY + 4 * (gsize) max_frames);
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
  lay_out (s);
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
  g_free (state->spares);
  g_free (state->inputs);
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

  lay_out (state); /* histories and spare frames have changed places */
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
