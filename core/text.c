/* lightforce: the UMT5 text encoder
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "text.h"

#include "arena.h"
#include "i18n.h"

#define EPS 1e-6f

typedef struct
{
  const float *norm1, *norm2; /* (C) */
  LfLinear qkv, o;            /* C -> 3 C, C -> C */
  LfLinear gate, fc1, fc2;    /* C -> ffn, C -> ffn, ffn -> C */
  const float *positions;     /* (buckets, heads) */
} Block;

struct _LfTextEncoder
{
  LfBackend *backend;
  void *arena;
  gsize bytes;
  gint dim, heads, layers, ffn_dim, vocab, buckets;
  LfDType table_dtype;
  const void *table; /* (vocab, C) */
  Block *blocks;     /* (layers) */
  const float *norm; /* (C) */
};

static void
load_block (LfLoader *loader, const LfTextEncoder *encoder, gint i, Block *block)
{
  gint C = encoder->dim, ffn = encoder->ffn_dim;
  g_autofree char *q = g_strdup_printf ("blocks.%d.attn.q", i);
  g_autofree char *k = g_strdup_printf ("blocks.%d.attn.k", i);
  g_autofree char *v = g_strdup_printf ("blocks.%d.attn.v", i);
  g_autofree char *o = g_strdup_printf ("blocks.%d.attn.o", i);
  g_autofree char *gate = g_strdup_printf ("blocks.%d.ffn.gate.0", i);
  g_autofree char *fc1 = g_strdup_printf ("blocks.%d.ffn.fc1", i);
  g_autofree char *fc2 = g_strdup_printf ("blocks.%d.ffn.fc2", i);

  block->norm1 = lf_loader_floats (loader, C, "blocks.%d.norm1.weight", i);
  lf_loader_linear (loader, &block->qkv, C, C, FALSE, q, k, v, NULL);
  lf_loader_linear (loader, &block->o, C, C, FALSE, o, NULL);
  block->positions = lf_loader_floats (loader, (gint64) encoder->buckets * encoder->heads,
      "blocks.%d.pos_embedding.embedding.weight", i);
  block->norm2 = lf_loader_floats (loader, C, "blocks.%d.norm2.weight", i);
  lf_loader_linear (loader, &block->gate, ffn, C, FALSE, gate, NULL);
  lf_loader_linear (loader, &block->fc1, ffn, C, FALSE, fc1, NULL);
  lf_loader_linear (loader, &block->fc2, C, ffn, FALSE, fc2, NULL);
}

static void
load (LfLoader *loader, gpointer part)
{
  LfTextEncoder *encoder = part;
  gint i;

  encoder->table_dtype = loader->linear_dtype;
  encoder->table = lf_loader_table (loader, encoder->vocab, encoder->dim, "token_embedding.weight");
  for (i = 0; i < encoder->layers && !loader->error; i++)
    load_block (loader, encoder, i, &encoder->blocks[i]);
  encoder->norm = lf_loader_floats (loader, encoder->dim, "norm.weight");
  lf_loader_finish (loader, NULL);
}

/* Sizes without weights; NULL with `error` set where they are no encoder's. */
static LfTextEncoder *
encoder_new (const LfLoader *loader, GError **error)
{
  const LfModelConfig *config = lf_model_files_get_config (loader->files);
  LfTextEncoder *encoder = g_new0 (LfTextEncoder, 1);

  encoder->backend = loader->backend;
  encoder->dim = config->text.dim;
  encoder->heads = config->text.heads;
  encoder->layers = config->text.layers;
  encoder->ffn_dim = config->text.ffn_dim;
  encoder->vocab = config->text.vocab;
  encoder->buckets = config->text.buckets;
  if (encoder->dim < 1 || encoder->heads < 1 || encoder->dim % encoder->heads || encoder->layers < 0
      || encoder->ffn_dim < 1 || encoder->vocab < 1 || encoder->buckets < 4
      || encoder->buckets > 256 || encoder->buckets % 4) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        _ ("%s: no text encoder has width %d, %d heads, %d layers, inner width %d, %d words and %d "
           "position buckets; give the file of a UMT5 encoder"),
        lf_model_files_get_path (loader->files, loader->part), encoder->dim, encoder->heads,
        encoder->layers, encoder->ffn_dim, encoder->vocab, encoder->buckets);
    g_clear_pointer (&encoder, lf_text_encoder_free);
  }
  return encoder;
}

LfTextEncoder *
lf_text_encoder_load (LfLoader *loader, GError **error)
{
  LfTextEncoder *encoder = encoder_new (loader, error);

  if (!encoder)
    return NULL;
  encoder->blocks = g_new0 (Block, encoder->layers);
  if (!lf_loader_run (loader, load, encoder, &encoder->arena, &encoder->bytes, error))
    g_clear_pointer (&encoder, lf_text_encoder_free);
  return encoder;
}

void
lf_text_encoder_free (LfTextEncoder *encoder)
{
  if (encoder->arena)
    encoder->backend->ops->free (encoder->backend, encoder->arena);
  g_free (encoder->blocks);
  g_free (encoder);
}

gsize
lf_text_encoder_get_bytes (const LfTextEncoder *encoder)
{
  return encoder->bytes;
}

gint
lf_text_encoder_get_dim (const LfTextEncoder *encoder)
{
  return encoder->dim;
}

gint
lf_text_encoder_get_vocab (const LfTextEncoder *encoder)
{
  return encoder->vocab;
}

/* Intermediate results of T tokens, act but for x. */
typedef struct
{
  float *x;    /* (T, C) f32 */
  void *y;     /* (T, C) */
  void *qkv;   /* (T, 3, C) */
  void *inner; /* (T, ffn) */
} Scratch;

static void
lay_out (LfArena *arena, Scratch *s, const LfTextEncoder *encoder, gint T)
{
  gsize row = (gsize) T * lf_dtype_size (encoder->backend->act);

  s->x = lf_arena_take (arena, (gsize) T * encoder->dim * sizeof (float));
  s->y = lf_arena_take (arena, row * encoder->dim);
  s->qkv = lf_arena_take (arena, row * encoder->dim * 3);
  s->inner = lf_arena_take (arena, row * encoder->ffn_dim);
}

static void
run_block (const LfTextEncoder *encoder, LfQueue *q, const Block *block, const Scratch *s, gint T)
{
  const LfBackendOps *ops = encoder->backend->ops;
  gint C = encoder->dim, heads = encoder->heads;

  ops->rms_norm (q, s->y, C, s->x, LF_DTYPE_F32, C, block->norm1, T, C, EPS);
  ops->linear (q, &block->qkv, s->qkv, 3 * C, s->y, NULL, T, LF_EPILOGUE_NONE, NULL);
  ops->t5_attention (q, s->y, s->qkv, block->positions, T, T, heads, C / heads, encoder->buckets);
  ops->linear (q, &block->o, s->x, C, s->y, NULL, T, LF_EPILOGUE_RESIDUAL, NULL);

  ops->rms_norm (q, s->y, C, s->x, LF_DTYPE_F32, C, block->norm2, T, C, EPS);
  ops->linear (q, &block->gate, s->inner, encoder->ffn_dim, s->y, NULL, T, LF_EPILOGUE_GELU, NULL);
  ops->linear (
      q, &block->fc1, s->inner, encoder->ffn_dim, s->y, NULL, T, LF_EPILOGUE_MULTIPLY, NULL);
  ops->linear (q, &block->fc2, s->x, C, s->inner, NULL, T, LF_EPILOGUE_RESIDUAL, NULL);
}

static gboolean
check_ids (const LfTextEncoder *encoder, const gint32 *ids, gint length, GError **error)
{
  gint i;

  for (i = 0; i < length; i++) {
    if (ids[i] < 0 || ids[i] >= encoder->vocab) {
      g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
          _ ("the tokenizer gives token %d, but the text encoder knows %d; "
             "use the tokenizer that belongs to it"),
          ids[i], encoder->vocab);
      return FALSE;
    }
  }
  return TRUE;
}

/* Takes memory for the intermediate results; free it with the backend. */
static void *
take_scratch (const LfTextEncoder *encoder, Scratch *s, gint T, GError **error)
{
  LfArena arena = {NULL, 0};
  void *mem;

  lay_out (&arena, s, encoder, T);
  mem = encoder->backend->ops->alloc (encoder->backend, arena.used, error);
  if (mem) {
    arena = (LfArena){mem, 0};
    lay_out (&arena, s, encoder, T);
  }
  return mem;
}

static void
finish_text (const LfTextEncoder *encoder, LfQueue *q, const float *norm, const Scratch *s, gint T,
    float *embedding)
{
  const LfBackendOps *ops = encoder->backend->ops;
  gint C = encoder->dim;

  ops->rms_norm (q, s->y, C, s->x, LF_DTYPE_F32, C, norm, T, C, EPS);
  ops->to_float (q, embedding, s->y, (gsize) T * C);
}

/* Padding is masked everywhere, so only the real tokens are computed. */
gboolean
lf_text_encode (LfTextEncoder *encoder, LfQueue *q, const gint32 *ids, gint length,
    float *embedding, GCancellable *cancellable, GError **error)
{
  const LfBackendOps *ops = encoder->backend->ops;
  gboolean done;
  Scratch s;
  void *mem;
  gint i;

  g_return_val_if_fail (length > 0, FALSE);
  if (!check_ids (encoder, ids, length, error)
      || !(mem = take_scratch (encoder, &s, length, error)))
    return FALSE;
  ops->embed (q, s.x, encoder->table, encoder->table_dtype, ids, length, encoder->dim);
  for (i = 0; i < encoder->layers && !g_cancellable_is_cancelled (cancellable); i++)
    run_block (encoder, q, &encoder->blocks[i], &s, length);
  finish_text (encoder, q, encoder->norm, &s, length, embedding);
  done = ops->wait (q, error);
  ops->free (encoder->backend, mem);
  return done && !g_cancellable_set_error_if_cancelled (cancellable, error);
}

/* ---------------------------------------------------------- piece by piece */

/* What of the weights is in memory: the rows of the table that a prompt needs, then one block
 * after another, then the last norm. */
typedef struct
{
  LfTextEncoder *encoder;
  const gint32 *ids;
  gint length;
  gint step; /* -1: the rows; 0 .. layers - 1: a block; layers: the norm */
  const void *rows;
  Block block;
} Piece;

static void
load_piece (LfLoader *loader, gpointer data)
{
  Piece *p = data;
  LfTextEncoder *encoder = p->encoder;

  if (p->step < 0)
    p->rows = lf_loader_rows (
        loader, encoder->vocab, encoder->dim, "token_embedding.weight", p->ids, p->length);
  else if (p->step < encoder->layers)
    load_block (loader, encoder, p->step, &p->block);
  else
    encoder->norm = lf_loader_floats (loader, encoder->dim, "norm.weight");
}

static void
run_piece (const Piece *p, const LfLoader *loader, const Scratch *s, float *embedding)
{
  const LfTextEncoder *encoder = p->encoder;
  LfQueue *q = loader->queue;
  gint i;

  if (p->step < 0) {
    g_autofree gint32 *in_order = g_new (gint32, p->length);

    for (i = 0; i < p->length; i++)
      in_order[i] = i;
    encoder->backend->ops->embed (
        q, s->x, p->rows, loader->linear_dtype, in_order, p->length, encoder->dim);
  } else if (p->step < encoder->layers) {
    run_block (encoder, q, &p->block, s, p->length);
  } else {
    finish_text (encoder, q, encoder->norm, s, p->length, embedding);
  }
}

gboolean
lf_text_encode_released (const LfLoader *loader, const gint32 *ids, gint length, float *embedding,
    GCancellable *cancellable, GError **error)
{
  g_autoptr (LfTextEncoder) encoder = encoder_new (loader, error);
  const LfBackendOps *ops = loader->backend->ops;
  Piece piece = {encoder, ids, length, -1, NULL, {0}};
  gboolean ok = TRUE;
  Scratch s;
  void *mem;

  g_return_val_if_fail (length > 0, FALSE);
  if (!encoder || !check_ids (encoder, ids, length, error)
      || !(mem = take_scratch (encoder, &s, length, error)))
    return FALSE;
  for (; piece.step <= encoder->layers && ok; piece.step++) {
    LfLoader part = *loader;
    void *weights;
    gsize bytes;

    part.cancellable = cancellable;
    ok = lf_loader_run (&part, load_piece, &piece, &weights, &bytes, error);
    if (!ok)
      break;
    run_piece (&piece, loader, &s, embedding);
    ok = ops->wait (loader->queue, error);
    ops->free (encoder->backend, weights);
  }
  ops->free (encoder->backend, mem);
  return ok;
}
