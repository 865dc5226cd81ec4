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
 * reads. */
enum
{
  LF_BUFFER_X,
  LF_BUFFER_Y,
  LF_BUFFER_INPUT,
  LF_N_BUFFERS
};

typedef struct
{
  gsize size;
  guint8 *data;
} LfDecoderBuffer;

#define LF_MAX_HISTORY (LF_MAX_KT - 1)

/* The last input frames of a layer, kept from one call to the next, oldest first. Where they are
 * `placed`, a layer's last inputs are written into spare frames and stay there; the frames that
 * they take the place of become spare. Layers whose frames have one size share the spare ones. */
typedef struct
{
  gsize bytes; /* of a frame */
  gint count;
  void *frames[LF_MAX_HISTORY];
  gboolean placed;
  gint spare; /* number of the spare ones, where `placed` */
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
  LfDecoderHistory *spares;    /* (n_spares), one for each size of frames */
  gint n_spares;
  void **inputs; /* (LF_MAX_HISTORY + 4 max_frames): those of the operation at work */
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

/* History `h` of `count` frames of H x W x C; NULL while measuring. */
void *const *lf_frames_recall (const LfFrames *f, gint h, gint count);
/* Its frames become the last ones of x or y, or those that were placed. */
void lf_frames_remember (const LfFrames *f, gint h, gint buffer);
/* Where T frames of H x W x C are to be written that a convolution reads from the input buffer: in
 * that buffer, but for the last ones, which will be history `h` of `count` frames (h < 0: none).
 * NULL while measuring. */
void *const *lf_frames_place (const LfFrames *f, gint h, gint count);

/* Convolution without history from buffer `from` to `to` (LF_N_BUFFERS: to `pictures`);
 * `residual` is a buffer or -1. */
void lf_frames_conv (const LfFrames *f, const LfConv *conv, gint to, guint8 *pictures, gint from,
    gint fold, gint first_out, gint residual, LfActivation activation);

/* Convolution with history `h`, of which the input becomes part. */
void lf_frames_causal_conv (const LfFrames *f, const LfConv *conv, gint h, gint to,
    guint8 *pictures, gint from, gint fold, gint residual);

/* A convolution without history of x twice as high and wide, to x or `pictures`. */
void lf_frames_upsample_conv (
    LfFrames *f, const LfConv *conv, guint8 *pictures, LfActivation activation);

/* The squares of 2 x 2 pixels of the one picture in x become the pixels of the input buffer, half as
 * high and wide: the channels of the lower row, left and right, then those of the upper row. For a
 * convolution with stride 2 (lf_loader_folded_conv). Height and width are even. */
void lf_frames_fold (LfFrames *f);

extern const LfDecoderFamily lf_wan_decoder, lf_tiny_decoder;

#endif
