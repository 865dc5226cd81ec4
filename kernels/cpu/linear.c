/* lightforce: linear layers on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <cblas.h>

#include "cpu.h"
#include "vecmath.h"

/* One piece of a product: small enough to share among threads, large enough for OpenBLAS
 * to run at speed. Pieces depend on shapes only, so results do not depend on threads. */
#define PIECE_ROWS 128
#define PIECE_COLUMNS 256

typedef struct
{
  LfQueue *q;
  const LfLinear *w;
  float *y;
  gint ldy;
  const float *x; /* (rows, n_in) */
  gint rows, piece_rows, piece_columns, column_pieces;
  LfEpilogue epilogue;
  const float *gate;
} Linear;

void
lf_cpu_gemm (gboolean trans_b, gint M, gint N, gint K, float alpha, const float *A, gint lda,
    const float *B, gint ldb, float beta, float *C, gint ldc)
{
  cblas_sgemm (CblasRowMajor, CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, M, N, K, alpha, A,
      lda, B, ldb, beta, C, ldc);
}

/* y (n) = epilogue of v (n) + bias */
LF_CPU_CLONES static void
finish_row (
    float *y, const float *v, const float *bias, const float *gate, gint n, LfEpilogue epilogue)
{
  gint i;

  switch (epilogue) {
    case LF_EPILOGUE_NONE:
      for (i = 0; i < n; i++)
        y[i] = v[i] + bias[i];
      break;
    case LF_EPILOGUE_GELU:
      for (i = 0; i < n; i++)
        y[i] = lf_gelu_1 (v[i] + bias[i]);
      break;
    case LF_EPILOGUE_SILU:
      for (i = 0; i < n; i++)
        y[i] = lf_silu_1 (v[i] + bias[i]);
      break;
    case LF_EPILOGUE_RESIDUAL:
      for (i = 0; i < n; i++)
        y[i] += (v[i] + bias[i]) * gate[i];
      break;
    case LF_EPILOGUE_MULTIPLY:
      for (i = 0; i < n; i++)
        y[i] *= v[i] + bias[i];
      break;
  }
}

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

static void
linear_piece (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Linear *a = data;
  const LfLinear *w = a->w;
  gint64 piece;

  for (piece = begin; piece < end; piece++) {
    gint row = piece / a->column_pieces * a->piece_rows;
    gint column = piece % a->column_pieces * a->piece_columns;
    gint rows = MIN (a->piece_rows, a->rows - row);
    gint columns = MIN (a->piece_columns, w->n_out - column);
    gsize weights = (gsize) columns * w->n_in;
    const float *matrix = (const float *) w->weight + (gsize) column * w->n_in;
    float *scratch, *ones, *zeros, *v;
    gint i;

    scratch = lf_cpu_scratch (a->q, thread,
        2 * (gsize) columns + (gsize) rows * columns + (w->dtype == LF_DTYPE_F32 ? 0 : weights));
    zeros = scratch;
    ones = zeros + columns;
    v = ones + columns;
    if (w->dtype != LF_DTYPE_F32) {
      float *converted = v + (gsize) rows * columns;

      convert_weights (converted, w, column, columns);
      matrix = converted;
    }
    for (i = 0; i < columns; i++) {
      zeros[i] = 0;
      ones[i] = 1;
    }
    lf_cpu_gemm (TRUE, rows, columns, w->n_in, 1, a->x + (gsize) row * w->n_in, w->n_in, matrix,
        w->n_in, 0, v, columns);
    for (i = 0; i < rows; i++)
      finish_row (a->y + (gsize) (row + i) * a->ldy + column, v + (gsize) i * columns,
          w->bias ? (const float *) w->bias + column : zeros, a->gate ? a->gate + column : ones,
          columns, a->epilogue);
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

void
lf_cpu_linear (LfQueue *q, const LfLinear *w, void *y, gint ldy, const void *x,
    const float *x_scale, gint rows, LfEpilogue epilogue, const float *gate)
{
  Linear a = {q, w, y, ldy, x, rows, PIECE_ROWS, PIECE_COLUMNS, 0, epilogue, gate};
  gint row_pieces;

  if (w->dtype == LF_DTYPE_F8_E4M3) {
    /* products of FP8 have it on both sides: each row of x with a scale of its own */
    Round r = {q, lf_cpu_shared (q, (gsize) rows * w->n_in), x, x, x_scale, w->n_in};

    lf_cpu_for (q, rows, 16, round_piece, &r);
    a.x = r.y;
  }
  if (w->dtype != LF_DTYPE_F32) {
    /* each weight is converted once */
    a.piece_rows = MAX (rows, 1);
    a.piece_columns = 64;
  } else {
    /* even pieces: a short last one would leave a thread idle */
    row_pieces = (rows + PIECE_ROWS - 1) / PIECE_ROWS;
    a.piece_rows = (rows + row_pieces - 1) / MAX (row_pieces, 1);
  }
  row_pieces = (rows + a.piece_rows - 1) / MAX (a.piece_rows, 1);
  a.column_pieces = (w->n_out + a.piece_columns - 1) / a.piece_columns;
  lf_cpu_for (q, (gint64) row_pieces * a.column_pieces, 1, linear_piece, &a);
}
