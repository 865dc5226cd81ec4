/* lightforce: what sparse attention chose in one layer and head
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "probe.h"

#include <string.h>

/* Queues the download of what the probe is about: the backend's list serves the next layer, too. */
static void
take_selection (gpointer user_data, gint step, gint layer, const LfSelectBlocks *a)
{
  LfProbe *p = user_data;
  const LfTransformerState *state = p->state;
  gsize blocks = (gsize) a->q_blocks * a->count;
  gint last_step = state->n_timesteps - 2; /* the clean pass is behind it */

  if (layer != p->layer || step != last_step)
    return;
  p->n_past = a->past;
  p->n_frames = a->past + a->frames;
  p->frame_blocks = a->frame_blocks;
  p->q_blocks = a->q_blocks;
  p->count = a->count;
  p->frames = g_renew (gint64, p->frames, p->n_frames);
  memcpy (p->frames, state->cache->frame, p->n_frames * sizeof (gint64));
  p->list = g_renew (gint32, p->list, blocks);
  state->model->backend->ops->download (
      state->q, p->list, a->list + p->head * blocks, blocks * sizeof (gint32));
  p->taken = TRUE;
}

void
lf_probe_attach (LfProbe *p, LfTransformerState *state, gint layer, gint head)
{
  p->state = state;
  p->layer = layer;
  p->head = head;
  state->trace = layer < 0 ? NULL : take_selection;
  state->trace_data = p;
}

void
lf_probe_begin (LfProbe *p)
{
  p->taken = FALSE;
}

void
lf_probe_hand_out (const LfProbe *p, LfPooledChunk *c)
{
  gsize i, blocks = (gsize) p->q_blocks * p->count;
  float *shares;

  if (!p->taken)
    return;
  c->frames = g_malloc0 (p->n_frames * (sizeof (gint64) + sizeof (float)));
  memcpy (c->frames, p->frames, p->n_frames * sizeof (gint64));
  shares = (float *) (c->frames + p->n_frames);
  for (i = 0; i < blocks; i++)
    shares[p->list[i] / p->frame_blocks]++;
  for (i = 0; i < (gsize) p->n_frames; i++)
    shares[i] /= (float) p->frame_blocks * p->q_blocks;
  c->selection = (LfSelection){p->layer, p->head, p->n_frames, p->n_past, c->frames, shares};
  c->chunk.selection = &c->selection;
}

void
lf_probe_clear (LfProbe *p)
{
  g_free (p->frames);
  g_free (p->list);
}
