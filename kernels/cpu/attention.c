/* lightforce: attention on the CPU, dense and by block lists
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "gemm.h"
#include "vecmath.h"

/* Keys and values are brought into the order of the products once an operation, a few heads at a
 * time. Then each block of queries takes them in with an online softmax: keys come in runs whose
 * scores stay in the first-level cache. */
#define TILE_KEYS 128                   /* or a block, where that is more */
#define TILE_QUERIES 48                 /* at most; whole tiles of every level */
#define DENSE_BLOCK 96                  /* keys, where there are no lists */
#define PACKED_BYTES ((gsize) 64 << 20) /* of keys and values, unless one head needs more */

typedef struct
{
  const LfGemmLevel *level;
  LfQueue *queue;
  float *y;
  const float *q, *keys, *values; /* as in LfAttention */
  const gint32 *slots;            /* NULL: frame by frame as they lie */
  gint rows, visible, n, heads, d;
  float last_bias; /* for the score of the very last key */

  const gint32 *list;
  gint count, block_q, block_k, q_blocks, frame_blocks;

  gint d_columns; /* panels of a head: d in columns of a tile, the last filled up */
  gint panels;    /* of a block of keys */
  gint tile_keys;
  gint first_head, some_heads; /* what is packed now */
  /* (some_heads, visible, frame_blocks, panels, d, columns): keys, each block filled up; */
  float *packed_keys;
  /* (some_heads, d_columns, visible n, columns): values */
  float *packed_values;
  gsize head_keys, head_values; /* floats of a head */
} Attention;

static gint
round_up (gint x, gint to)
{
  return (x + to - 1) / to * to;
}

/* Items are (head, frame, block). */
static void
pack_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Attention *a = data;
  gint C = a->heads * a->d, columns = a->level->columns;
  gint64 item;

  for (item = begin; item < end; item++) {
    gint block = item % a->frame_blocks;
    gint frame = item / a->frame_blocks % a->visible;
    gint head = item / a->frame_blocks / a->visible;
    gint first = block * a->block_k, rows = MIN (a->block_k, a->n - first), i, j;
    gsize slot = a->slots ? a->slots[frame] : frame;
    gsize from = (slot * a->n + first) * C + (gsize) (a->first_head + head) * a->d;
    float *to = a->packed_keys + (gsize) item * a->panels * a->d * columns;

    for (i = 0; i < rows; i += columns)
      a->level->pack (
          to + (gsize) i * a->d, a->keys + from + (gsize) i * C, C, MIN (columns, rows - i), a->d);
    for (j = 0; j < a->d_columns; j++) {
      gint width = MIN (columns, a->d - j * columns);

      to = a->packed_values + head * a->head_values
           + (((gsize) j * a->visible + frame) * a->n + first) * columns;
      for (i = 0; i < rows; i++, to += columns) {
        memcpy (to, a->values + from + (gsize) i * C + j * columns, width * sizeof (float));
        memset (to + width, 0, (columns - width) * sizeof (float));
      }
    }
  }
}

/* A run of neighbouring keys in a tile. */
typedef struct
{
  gint first, count; /* number among all visible ones */
} Run;

/* Working memory of one thread: M rows in whole tiles. */
typedef struct
{
  float *queries; /* (M, d), scaled */
  float *scores;  /* (M, ld) */
  float *out;     /* (M, d_columns columns) */
  float *maximum, *sum;
  gint rows, tall, M; /* queries; tiles of the first kind; rows of all tiles */
  gint ld;
  Run *runs;
  gint n_runs, filled;
} Tile;

static gsize
tile_floats (const Attention *a)
{
  gint M = round_up (TILE_QUERIES, a->level->rows[0]);

  return (gsize) M
             * (a->d + a->tile_keys + a->level->columns + a->d_columns * a->level->columns + 2)
         + (gsize) a->tile_keys * sizeof (Run) / sizeof (float);
}

/* Takes as many tiles of each kind as leave fewest rows without a query. */
static void
choose_tiles (Tile *t, const LfGemmLevel *level)
{
  gint low;

  t->M = G_MAXINT;
  for (low = 0; low < level->rows[0]; low++) {
    gint rest = MAX (t->rows - low * level->rows[1], 0);
    gint tall = (rest + level->rows[0] - 1) / level->rows[0];
    gint M = tall * level->rows[0] + low * level->rows[1];

    if (M < t->M) {
      t->M = M;
      t->tall = tall;
    }
  }
}

/* y (M, columns of a tile) = x (M, k) w, or added to it. */
static void
tile_multiply (const Tile *t, const LfGemmLevel *level, float *y, gsize ldy, const float *x,
    gsize ldx, const float *w, gint k, gboolean add)
{
  gint row = 0, kind;

  for (; row < t->M; row += level->rows[kind]) {
    kind = row >= t->tall * level->rows[0];
    level->tile[kind](y + row * ldy, ldy, x + row * ldx, ldx, w, k, add);
  }
}

static void
tile_start (Tile *t, const Attention *a, float *scratch, gint head, gint row, gint rows)
{
  gint C = a->heads * a->d, i, j;
  float scale = 1.0f / sqrtf (a->d);

  t->rows = rows;
  choose_tiles (t, a->level);
  t->ld = a->tile_keys + a->level->columns;
  t->queries = scratch;
  t->scores = t->queries + (gsize) t->M * a->d;
  t->out = t->scores + (gsize) t->M * t->ld;
  t->maximum = t->out + (gsize) t->M * a->d_columns * a->level->columns;
  t->sum = t->maximum + t->M;
  t->runs = (Run *) (t->sum + t->M);
  t->n_runs = t->filled = 0;
  for (i = 0; i < rows; i++)
    for (j = 0; j < a->d; j++)
      t->queries[i * a->d + j] = scale * a->q[(gsize) (row + i) * C + head * a->d + j];
  memset (t->queries + (gsize) rows * a->d, 0, (gsize) (t->M - rows) * a->d * sizeof (float));
  memset (t->out, 0, (gsize) t->M * a->d_columns * a->level->columns * sizeof (float));
  for (i = 0; i < t->M; i++) {
    t->maximum[i] = -FLT_MAX;
    t->sum[i] = 0;
  }
}

/* Adds what the tile's keys give: scores become weights relative to the row's running maximum, and
 * what was summed before is rescaled. */
static void
tile_flush (Tile *t, const Attention *a, const float *values)
{
  gint columns = a->level->columns, ldo = a->d_columns * columns, i, j, at = 0;

  if (!t->filled)
    return;
  for (i = 0; i < t->rows; i++) {
    float before = t->maximum[i];
    float total = a->level->softmax (t->scores + (gsize) i * t->ld, t->filled, &t->maximum[i]);

    if (t->maximum[i] != before && t->sum[i] > 0) {
      float rescale = lf_exp (before - t->maximum[i]);

      for (j = 0; j < ldo; j++)
        t->out[i * ldo + j] *= rescale;
      t->sum[i] *= rescale;
    }
    t->sum[i] += total;
  }
  for (i = 0; i < t->n_runs; i++) {
    const Run *run = &t->runs[i];

    for (j = 0; j < a->d_columns; j++)
      tile_multiply (t, a->level, t->out + j * columns, ldo, t->scores + at, t->ld,
          values + ((gsize) j * a->visible * a->n + run->first) * columns, run->count, TRUE);
    at += run->count;
  }
  t->n_runs = t->filled = 0;
}

/* Takes in block number `block` in visible order. */
static void
tile_add (Tile *t, const Attention *a, const float *keys, const float *values, gint block)
{
  gint columns = a->level->columns, frame = block / a->frame_blocks;
  gint in_frame = block % a->frame_blocks * a->block_k, rows = MIN (a->block_k, a->n - in_frame);
  gint first = frame * a->n + in_frame, row, i;
  Run *last;

  if (t->filled + rows > a->tile_keys)
    tile_flush (t, a, values);
  keys += (gsize) block * a->panels * a->d * columns;
  for (i = 0; i < rows; i += columns)
    tile_multiply (t, a->level, t->scores + t->filled + i, t->ld, t->queries, a->d,
        keys + (gsize) i * a->d, a->d, FALSE);
  last = t->n_runs ? &t->runs[t->n_runs - 1] : NULL;
  if (last && last->first + last->count == first)
    last->count += rows;
  else
    t->runs[t->n_runs++] = (Run){first, rows};
  t->filled += rows;
  if (first + rows == a->visible * a->n)
    for (row = 0; row < t->rows; row++)
      t->scores[(gsize) row * t->ld + t->filled - 1] += a->last_bias;
}

static void
tile_finish (const Tile *t, const Attention *a, gint head, gint row)
{
  gint C = a->heads * a->d, ldo = a->d_columns * a->level->columns, i, j;

  for (i = 0; i < t->rows; i++) {
    float inv = 1.0f / t->sum[i];

    for (j = 0; j < a->d; j++)
      a->y[(gsize) (row + i) * C + head * a->d + j] = t->out[i * ldo + j] * inv;
  }
}

/* Items are (head, block of queries). */
static void
attention_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Attention *a = data;
  float *scratch = lf_cpu_scratch (a->queue, thread, tile_floats (a));
  gint64 item;

  for (item = begin; item < end; item++) {
    gint in_some = item / a->q_blocks, head = a->first_head + in_some, block = item % a->q_blocks;
    const gint32 *list = a->list ? a->list + ((gsize) head * a->q_blocks + block) * a->count : NULL;
    const float *keys = a->packed_keys + in_some * a->head_keys;
    const float *values = a->packed_values + in_some * a->head_values;
    gint n_blocks = list ? a->count : a->visible * a->frame_blocks, i;
    gint row = block * a->block_q, end_row = MIN (row + a->block_q, a->rows);

    for (; row < end_row; row += TILE_QUERIES) {
      Tile t;

      tile_start (&t, a, scratch, head, row, MIN (TILE_QUERIES, end_row - row));
      for (i = 0; i < n_blocks; i++)
        tile_add (&t, a, keys, values, list ? list[i] : i);
      tile_flush (&t, a, values);
      tile_finish (&t, a, head, row);
    }
  }
}

/* Runs `a`, whose first parts are filled in. */
static void
attend (Attention *a)
{
  gint columns = a->level->columns;

  if (!a->list) {
    a->block_q = TILE_QUERIES;
    a->block_k = DENSE_BLOCK;
  }
  a->block_k = MIN (a->block_k, a->n); /* memory is for whole blocks */
  a->q_blocks = (a->rows + a->block_q - 1) / a->block_q;
  a->frame_blocks = (a->n + a->block_k - 1) / a->block_k;
  a->tile_keys = MAX (TILE_KEYS, a->block_k);
  a->d_columns = (a->d + columns - 1) / columns;
  a->panels = (a->block_k + columns - 1) / columns;
  a->head_keys = (gsize) a->visible * a->frame_blocks * a->panels * a->d * columns;
  a->head_values = (gsize) a->d_columns * a->visible * a->n * columns;
  a->some_heads = PACKED_BYTES / sizeof (float) / (a->head_keys + a->head_values);
  a->some_heads = CLAMP (a->some_heads, 1, a->heads);
  a->packed_keys = lf_cpu_shared (a->queue, a->some_heads * (a->head_keys + a->head_values));
  a->packed_values = a->packed_keys + a->some_heads * a->head_keys;
  for (; a->first_head < a->heads; a->first_head += a->some_heads) {
    gint heads = MIN (a->some_heads, a->heads - a->first_head);

    lf_cpu_for (a->queue, (gint64) heads * a->visible * a->frame_blocks, 4, pack_piece, a);
    lf_cpu_for (a->queue, (gint64) heads * a->q_blocks, 1, attention_piece, a);
  }
}

void
lf_cpu_attention_at (const LfGemmLevel *level, LfQueue *q, const LfAttention *a)
{
  Attention job = {.level = level,
      .queue = q,
      .y = a->y,
      .q = a->q,
      .keys = a->keys,
      .values = a->values,
      .slots = a->slots,
      .rows = a->frames * a->n,
      .visible = a->visible,
      .n = a->n,
      .heads = a->heads,
      .d = a->d,
      .list = a->list,
      .count = a->count,
      .block_q = a->block_q,
      .block_k = a->block_k};

  attend (&job);
}

void
lf_cpu_attention (LfQueue *q, const LfAttention *a)
{
  gint n_levels;
  const LfGemmLevel *const *levels = lf_cpu_gemm_levels (&n_levels);

  lf_cpu_attention_at (levels[0], q, a);
}

void
lf_cpu_text_attention_at (const LfGemmLevel *level, LfQueue *q, void *y, const void *queries,
    const void *k, const void *v, gint rows, gint tokens, gint heads, gint d, float last_bias)
{
  Attention job = {.level = level,
      .queue = q,
      .y = y,
      .q = queries,
      .keys = k,
      .values = v,
      .rows = rows,
      .visible = 1,
      .n = tokens,
      .heads = heads,
      .d = d,
      .last_bias = last_bias};

  attend (&job);
}

void
lf_cpu_text_attention (LfQueue *q, void *y, const void *queries, const void *k, const void *v,
    gint rows, gint tokens, gint heads, gint d, float last_bias)
{
  gint n_levels;
  const LfGemmLevel *const *levels = lf_cpu_gemm_levels (&n_levels);

  lf_cpu_text_attention_at (levels[0], q, y, queries, k, v, rows, tokens, heads, d, last_bias);
}
