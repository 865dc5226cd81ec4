/* lightforce: the text that a stream's chunks are made with
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "conditioning.h"

/* Numbers in an embedding. */
static gsize
embedding_floats (const LfConditioning *c)
{
  const LfModelConfig *config = c->model->config;

  return (gsize) config->transformer.text_len * config->transformer.text_dim;
}

void
lf_conditioning_lay_out (LfConditioning *c, LfArena *arena)
{
  gsize bytes = embedding_floats (c) * sizeof (float);

  c->now = lf_arena_take (arena, bytes);
  c->from = lf_arena_take (arena, bytes);
  c->to = lf_arena_take (arena, bytes);
  c->next = lf_arena_take (arena, bytes);
}

/* Encodes `prompt` into `embedding`; the number of tokens, or -1 with `error` set. */
static gint
encode (LfConditioning *c, const char *prompt, float *embedding, GCancellable *cancellable,
    GError **error)
{
  LfModel *model = c->model;
  const LfBackendOps *ops = model->backend->ops;
  gint text_len = model->config->transformer.text_len;
  gsize row = (gsize) model->config->transformer.text_dim * sizeof (float);
  g_autofree gint32 *ids = g_new (gint32, text_len);
  gint64 start = g_get_monotonic_time ();
  g_autofree guint8 *zeros = NULL;
  gint n;

  n = lf_tokenizer_encode (model->tokenizer, prompt, ids, text_len, error);
  if (n < 0 || !lf_model_encode (model, c->q, ids, n, embedding, cancellable, error))
    return -1;
  if (n < text_len) {
    /* a row of zeros from here, then twice as many by each copy: much less than all from here */
    guint8 *padding = (guint8 *) embedding + n * row;
    gsize bytes = (text_len - n) * row, done, part;

    zeros = g_malloc0 (row);
    ops->upload (c->q, padding, zeros, row);
    for (done = row; done < bytes; done += part) {
      part = MIN (done, bytes - done);
      ops->copy (c->q, padding + done, padding, part);
    }
  }
  ops->mark (c->q, lf_phase_tag (LF_PHASE_TEXT, LF_PASS_NONE));
  c->encoding_us += g_get_monotonic_time () - start;
  return n;
}

static void
swap (float **a, float **b)
{
  float *t = *a;

  *a = *b;
  *b = t;
}

gboolean
lf_conditioning_set_prompt (
    LfConditioning *c, const char *prompt, GCancellable *cancellable, GError **error)
{
  gint tokens = encode (c, prompt ? prompt : "", c->next, cancellable, error);

  if (tokens < 0)
    return FALSE;
  c->serial++;
  if (c->prompt_switch == LF_PROMPT_SWITCH_BLEND && c->blend_chunks > 1) {
    /* one that is under way starts anew from where it is */
    c->model->backend->ops->copy (c->q, c->from, c->now, embedding_floats (c) * sizeof (float));
    swap (&c->to, &c->next);
    c->tokens_from = c->tokens_now;
    c->tokens_to = tokens;
    c->blend_left = c->blend_chunks;
    c->blended = FALSE;
  } else {
    swap (&c->now, &c->next);
    c->tokens_now = tokens;
    c->blend_left = 0;
    c->changed = TRUE;
    c->recache = c->prompt_switch == LF_PROMPT_SWITCH_RECACHE;
  }
  return TRUE;
}

void
lf_conditioning_begin_chunk (LfConditioning *c, LfTransformerState *state)
{
  if (c->blend_left && !c->blended) {
    c->blend_left--;
    c->model->backend->ops->lerp (c->q, c->now, c->from, c->to,
        1 - (float) c->blend_left / c->blend_chunks, embedding_floats (c));
    c->tokens_now = c->blend_left ? MAX (c->tokens_from, c->tokens_to) : c->tokens_to;
    c->changed = c->blended = TRUE;
  }
  if (c->changed)
    lf_transformer_set_text (state, c->now, c->tokens_now);
  c->changed = FALSE;
}

void
lf_conditioning_end_chunk (LfConditioning *c)
{
  c->recache = c->blended = FALSE;
}

void
lf_conditioning_restart (LfConditioning *c)
{
  if (c->blend_left) {
    swap (&c->now, &c->to);
    c->tokens_now = c->tokens_to;
    c->blend_left = 0;
    c->changed = TRUE;
  }
  c->recache = c->blended = FALSE;
}
