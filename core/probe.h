/* lightforce: what sparse attention chose in one layer and head
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_PROBE_H
#define LF_PROBE_H

#include "chunk.h"
#include "transformer.h"

G_BEGIN_DECLS

/* What was taken of the chunk at work. Zero-initialise. */
typedef struct
{
  LfTransformerState *state; /* no reference: the one that is probed */
  gint layer, head;
  gint n_frames, n_past, frame_blocks, q_blocks, count;
  gint64 *frames; /* (n_frames) */
  gint32 *list;   /* host (q_blocks, count); downloaded when the queue has been waited for */
  gboolean taken;
} LfProbe;

/* Has `state` tell the probe what it chooses in this layer and head; layer -1: no more. */
void lf_probe_attach (LfProbe *probe, LfTransformerState *state, gint layer, gint head);
/* A chunk begins: nothing has been taken of it. */
void lf_probe_begin (LfProbe *probe);
/* Gives the chunk what was taken, if anything was. The state's queue has been waited for. */
void lf_probe_hand_out (const LfProbe *probe, LfPooledChunk *chunk);
/* The queue is idle or gone: nothing downloads into the probe any more. */
void lf_probe_clear (LfProbe *probe);

G_END_DECLS
#endif
