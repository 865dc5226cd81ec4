/* lightforce: the text that a stream's chunks are made with
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CONDITIONING_H
#define LF_CONDITIONING_H

#include "arena.h"
#include "model.h"

G_BEGIN_DECLS

/* One stream's text. Its memory is the stream's: lf_conditioning_lay_out. */
typedef struct
{
  LfModel *model; /* no reference: the stream's, */
  LfQueue *q;     /* whose queue this is */
  LfPromptSwitch prompt_switch;
  gint blend_chunks;

  /* (text_len, text_dim) f32 in backend memory, rows behind the tokens are zero */
  float *now, *from, *to;
  float *next; /* where a prompt is encoded: one that fails leaves the others as they are */
  gint tokens_now, tokens_from, tokens_to;
  gint blend_left; /* chunks until `to` is reached; 0: `now` is set */
  gboolean changed;
  gboolean recache;   /* cached frames are to be written again, with `now` */
  gboolean blended;   /* the chunk at work has had its step of the blend */
  guint serial;       /* number of the latest prompt */
  gint64 encoding_us; /* wall time in all */
} LfConditioning;

/* Takes its place in the stream's memory. */
void lf_conditioning_lay_out (LfConditioning *c, LfArena *arena);

/* As lf_stream_set_prompt. */
gboolean lf_conditioning_set_prompt (
    LfConditioning *c, const char *prompt, GCancellable *cancellable, GError **error);

/* At a chunk boundary: gives `state` the text of the chunk that comes. A chunk that is made again
 * has the same. */
void lf_conditioning_begin_chunk (LfConditioning *c, LfTransformerState *state);
/* Its passes are queued, all of them: the next one is another chunk's. */
void lf_conditioning_end_chunk (LfConditioning *c);
/* The video begins again: there is no past to blend from, or to write again. */
void lf_conditioning_restart (LfConditioning *c);

G_END_DECLS
#endif
