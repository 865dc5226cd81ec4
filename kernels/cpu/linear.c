/* lightforce: linear layers on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "gemm.h"

/* A piece of a product is a few columns by many rows, so that weights are converted and
 * brought into order seldom: PIECE_K of them at a time, in the first-level cache. */
#define PIECE_COLUMNS 32 /* a multiple of every tile's */
#define PIECE_ROWS 96    /* at least, where rows are shared out */
#define PIECE_K 256

typedef struct
{
  const LfGemmLevel *level;
  LfQueue *q;
  const LfLinear *w;
  float *y;
  gint ldy;
  const float *x; /* (rows, n_in) */
  gint rows, piece_rows, column_pieces;
  LfEpilogue epilogue;
  const float *gate;
} Linear;

/* `columns` rows of the weights from `column` on, as floats. */
static void
convert_weights (float *y, const LfLinear *w, gint column, gint columns)
{
  const guint8 *from =
      (const guint8 *) w->weight + (gsize) column * w->n_in * lf_dtype_size (w->dtype);
  gint i;

  if (w->dtype != LF_DTYPE_F8_E4M3)
    lf_dtype_convert (y, LF_DTYPE_F32, from, w->dtype, (gsize) columns * w->n_in);
  for (i = 0; i < columns && w->dtype == LF_DTYPE_F8_E4M3; i++)
    lf_cpu_from_fp8 (
        y + (gsize) i * w->n_in, from + (gsize) i * w->n_in, w->scale[column + i], w->n_in);
}

/* y = epilogue of x (rows, n_in) matrix (columns, n_in): all rows by the columns of a tile,
 * whose weights are brought into the order of the loops once for all rows. sums has room for
 * (rows rounded up to tiles, columns of a tile), packed for (PIECE_K, columns of a tile), edge for
 * (rows of a tile, n_in). */
static void
multiply (const Linear *a, float *y, const float *x, const float *matrix, gint rows, gint columns,
    const float *bias, const float *gate, float *sums, float *packed, float *edge)
{
  const LfGemmLevel *level = a->level;
  gint n_in = a->w->n_in, whole = rows / level->rows[0] * level->rows[0], row, k;

  if (whole < rows) {
    memcpy (edge, x + (gsize) whole * n_in, (gsize) (rows - whole) * n_in * sizeof (float));
    memset (edge + (gsize) (rows - whole) * n_in, 0,
        (gsize) (level->rows[0] - (rows - whole)) * n_in * sizeof (float));
  }
  for (k = 0; k < n_in; k += PIECE_K) {
    gint count = MIN (PIECE_K, n_in - k);

    level->pack (packed, matrix + k, n_in, columns, count);
    for (row = 0; row < rows; row += level->rows[0]) {
      float *sum = sums + (gsize) row * level->columns;

      level->tile[0](sum, level->columns, (row < whole ? x + (gsize) row * n_in : edge) + k, n_in,
          packed, count, k > 0);
      if (k + count == n_in)
        level->finish (y + (gsize) row * a->ldy, a->ldy, sum, bias, gate,
            MIN (level->rows[0], rows - row), columns, a->epilogue);
    }
  }
}

static void
linear_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Linear *a = data;
  const LfLinear *w = a->w;
  const LfGemmLevel *level = a->level;
  gsize rows_up = (a->piece_rows + level->rows[0] - 1) / level->rows[0] * level->rows[0];
  float zeros[LF_GEMM_MAX_COLUMNS] = {0}, ones[LF_GEMM_MAX_COLUMNS];
  gint64 piece;
  gint i;

  for (i = 0; i < LF_GEMM_MAX_COLUMNS; i++)
    ones[i] = 1;
  for (piece = begin; piece < end; piece++) {
    gint row = piece / a->column_pieces * a->piece_rows;
    gint first = piece % a->column_pieces * PIECE_COLUMNS, column;
    gint rows = MIN (a->piece_rows, a->rows - row);
    gint last = MIN (first + PIECE_COLUMNS, w->n_out);
    const float *matrix = (const float *) w->weight + (gsize) first * w->n_in;
    float *sums, *packed, *edge;

    sums = lf_cpu_scratch (a->q, thread,
        (rows_up + PIECE_K) * level->columns + (gsize) level->rows[0] * w->n_in
            + (w->dtype == LF_DTYPE_F32 ? 0 : (gsize) PIECE_COLUMNS * w->n_in));
    packed = sums + rows_up * level->columns;
    edge = packed + (gsize) PIECE_K * level->columns;
    if (w->dtype != LF_DTYPE_F32) {
      float *converted = edge + (gsize) level->rows[0] * w->n_in;

      convert_weights (converted, w, first, last - first);
      matrix = converted;
    }
    for (column = first; column < last; column += level->columns)
      multiply (a, a->y + (gsize) row * a->ldy + column, a->x + (gsize) row * w->n_in,
          matrix + (gsize) (column - first) * w->n_in, rows, MIN (level->columns, last - column),
          w->bias ? (const float *) w->bias + column : zeros, a->gate ? a->gate + column : ones,
          sums, packed, edge);
  }
}

typedef struct
{
  LfQueue *q;
  float *y;
  const float *x;
  const guint8 *codes; /* of x where it is FP8 already, */
  const float *scale;  /* and its scales */
  gint n;
} Round;

static void
round_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Round *a = data;
  guint8 *codes = (guint8 *) lf_cpu_scratch (a->q, thread, (a->n + 3) / 4);
  gint64 i;

  for (i = begin; i < end; i++) {
    const guint8 *from = a->scale ? a->codes + i * a->n : codes;
    float scale = a->scale ? a->scale[i] : lf_cpu_to_fp8 (codes, a->x + i * a->n, a->n);

    lf_cpu_from_fp8 (a->y + i * a->n, from, scale, a->n);
  }
}

/* What `a` says, with `room` for (rows, n_in) floats. */
static void
multiply_all (Linear a, const float *x_scale, float *room)
{
  const LfLinear *w = a.w;
  LfQueue *q = a.q;
  gint rows = a.rows, row_pieces;

  if (w->dtype == LF_DTYPE_F8_E4M3) {
    /* products of FP8 have it on both sides: each row of x with a scale of its own */
    Round r = {q, room, a.x, (const guint8 *) a.x, x_scale, w->n_in};

    lf_cpu_for (q, rows, 16, round_piece, &r);
    a.x = r.y;
  }
  a.column_pieces = (w->n_out + PIECE_COLUMNS - 1) / PIECE_COLUMNS;
  /* a few pieces for each thread, or the last one keeps the others waiting */
  row_pieces = (4 * q->threads + a.column_pieces - 1) / a.column_pieces;
  row_pieces = CLAMP (row_pieces, 1, MAX (rows / PIECE_ROWS, 1));
  a.piece_rows = (rows + row_pieces - 1) / row_pieces;
  a.piece_rows = (a.piece_rows + a.level->rows[0] - 1) / a.level->rows[0] * a.level->rows[0];
  row_pieces = (rows + a.piece_rows - 1) / a.piece_rows;
  lf_cpu_for (q, (gint64) row_pieces * a.column_pieces, 1, linear_piece, &a);
}

void
lf_cpu_linear_at (const LfGemmLevel *level, LfQueue *q, const LfLinear *w, void *y, gint ldy,
    const void *x, const float *x_scale, gint rows, LfEpilogue epilogue, const float *gate)
{
  Linear a = {level, q, w, y, ldy, x, rows, 0, 0, epilogue, gate};
  gboolean fp8 = w->dtype == LF_DTYPE_F8_E4M3;

  if (rows > 0)
    multiply_all (a, x_scale, fp8 ? lf_cpu_shared (q, (gsize) rows * w->n_in) : NULL);
}

void
lf_cpu_linear (LfQueue *q, const LfLinear *w, void *y, gint ldy, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue, const float *gate)
{
  gint n_levels;
  const LfGemmLevel *const *levels = lf_cpu_gemm_levels (&n_levels);

  lf_cpu_linear_at (levels[0], q, w, y, ldy, x, x_scale, rows, epilogue, gate);
}

void
lf_cpu_linear_to_fp8 (LfQueue *q, const LfLinear *w, void *y, float *y_scale, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue)
{
  gint n_levels;
  gsize count = (gsize) rows * w->n_out;
  Linear a = {
      lf_cpu_gemm_levels (&n_levels)[0], q, w, NULL, w->n_out, x, rows, 0, 0, epilogue, NULL};

  if (rows <= 0)
    return;
  a.y = lf_cpu_shared (q, count + (gsize) rows * w->n_in);
  multiply_all (a, x_scale, a.y + count);
  lf_cpu_quantize (q, y, y_scale, a.y, LF_DTYPE_F32, rows, w->n_out);
}
