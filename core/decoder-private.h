/* lightforce: what the video decoders have in common
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_DECODER_PRIVATE_H
#define LF_DECODER_PRIVATE_H

#include "decoder.h"

/* One family of decoders. */
typedef struct
{
  const char *name;
  float black, white;           /* in pictures */
  gint first_alone;             /* the first latent of a stream goes through the layers alone */
  gint first_dropped;           /* pictures at the start of a stream that are not shown */
  gsize net_size;               /* zeroed memory that load fills */
  void (*clear) (gpointer net); /* gives back what load took; may be called again */
  void (*load) (LfLoader *loader, LfDecoder *decoder);
  /* Sends latents (frames, Z, H, W) through; returns how many pictures came to `pictures`. */
  gint (*run) (
      LfDecoderState *s, gboolean first, const float *latents, gint frames, guint8 *pictures);
} LfDecoderFamily;

struct _LfDecoder
{
  const LfDecoderFamily *family;
  LfBackend *backend;
  void *arena;
  gsize bytes;
  gint z;
  gint n_histories;
  gpointer net; /* LfWanDecoder or LfTinyDecoder */
};

/* Intermediate results: x goes into a layer, y comes out, `input` is what a convolution
 * reads. Each has room for a history right in front of its first frame. */
enum
{
  LF_BUFFER_X,
  LF_BUFFER_Y,
  LF_BUFFER_INPUT,
  LF_N_BUFFERS
};

typedef struct
{
  gsize front, size; /* bytes before and from data on */
  guint8 *data;
} LfDecoderBuffer;

/* The last input frames of a layer, kept from one call to the next. */
typedef struct
{
  gsize bytes;
  guint8 *data;
} LfDecoderHistory;

/* A family's run() is called once with `measure` set, when it touches no memory and only
 * finds out how large everything has to be. */
struct _LfDecoderState
{
  LfDecoder *decoder;
  gint height, width; /* of a latent */
  gint max_frames;    /* latents a call */
  gint batch;         /* latents that go through the layers together */
  gboolean first;     /* no latent has been decoded yet */
  gboolean measure;
  LfQueue *q;
  LfDecoderBuffer buffers[LF_N_BUFFERS];
  LfDecoderHistory *histories; /* (decoder->n_histories) */
  guint8 *pictures;
  guint8 *zeros; /* stays zero */
  void *histories_mem, *scratch_mem;
  gsize histories_bytes, scratch_bytes;
};

/* Frames on their way through the layers: (T, H, W, C) in buffer x. */
typedef struct
{
  LfDecoderState *s;
  gint T, H, W, C;
  gint x, y; /* numbers of the buffers: they change places */
} LfFrames;

/* Fails the load with a message that begins with the file. */
void lf_decoder_fail (LfLoader *loader, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* A convolution of c_in input channels and c_out output channels (0: any), with an odd
 * square kernel; over time too where `causal`. `prefix` is a printf format. */
void lf_decoder_load_conv (LfLoader *loader, LfConv *out, gint c_in, gint c_out, gboolean causal,
    const char *prefix, ...) G_GNUC_PRINTF (6, 7);

/* Fails the load unless latents grow to pictures of 8 times their size, 4 for each. */
void lf_decoder_check_scale (LfLoader *loader, gint space, gint time);

gsize lf_frames_bytes (const LfFrames *f, gint C); /* of one frame */
void *lf_frames_data (const LfFrames *f, gint buffer);

/* Takes note that `buffer` holds T frames of H x W x C. */
void lf_frames_need (const LfFrames *f, gint buffer, gint T, gint C);

void lf_frames_swap (LfFrames *f);

/* The latents, scaled or bounded, in buffer `to`. */
void lf_frames_start (LfFrames *f, gint to, const float *latents, const float *scale,
    const float *shift, float bound);

/* Puts history `h`, `frames` frames, in front of the frames in `buffer`. */
void lf_frames_recall (const LfFrames *f, gint h, gint buffer, gint frames);
/* Keeps the last ones of `buffer` for the next call. */
void lf_frames_remember (const LfFrames *f, gint h, gint buffer, gint frames);

/* Convolution from buffer `from` to `to` (LF_N_BUFFERS: to `pictures`); `residual` is a
 * buffer or -1. The history in front of `from` is there already. */
void lf_frames_conv (const LfFrames *f, const LfConv *conv, gint to, guint8 *pictures, gint from,
    gint fold, gint first_out, gint residual, LfActivation activation);

/* A convolution without history of x twice as high and wide, to x or `pictures`. */
void lf_frames_upsample_conv (
    LfFrames *f, const LfConv *conv, guint8 *pictures, LfActivation activation);

/* The squares of 2 x 2 pixels of the one picture in x become the pixels of the input buffer, half as
 * high and wide: the channels of the lower row, left and right, then those of the upper row. For a
 * convolution with stride 2 (lf_loader_folded_conv). Height and width are even. */
void lf_frames_fold (LfFrames *f);

extern const LfDecoderFamily lf_wan_decoder, lf_tiny_decoder;

#endif
