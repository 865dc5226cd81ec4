/* lightforce: the inner loops of matrix products, for one vector width
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

/* Included by gemm.c once for each level of the processor, with these defined:
 *   TILE_TARGET             attribute of the functions
 *   TILE_VECTOR             a vector of floats that may stand anywhere in memory
 *   TILE_LANES              its floats
 *   TILE_TALL, TILE_LOW     rows of the two kinds of tiles, at most LF_GEMM_MAX_ROWS
 *   TILE_NAME(n)            the level's name for function n
 *   TILE_TITLE */

#define TILE_COLUMNS (2 * TILE_LANES)

/* `rows` is a constant. Rows lie three to a pointer, so that their addresses need few
 * registers. */
TILE_TARGET LF_INLINE void
TILE_NAME (rows) (float *y, gsize ldy, const float *x, gsize ldx, const float *w, gint k,
    gboolean add, const gint rows)
{
  TILE_VECTOR sum[LF_GEMM_MAX_ROWS][2];
  const float *from[LF_GEMM_MAX_ROWS / 3];
  gint p, v;

  LF_UNROLL for (p = 0; p < rows; p += 3) from[p / 3] = x + p * ldx;
  LF_UNROLL for (p = 0; p < rows; p++)
  {
    LF_UNROLL for (v = 0; v < 2; v++) sum[p][v] = (TILE_VECTOR){0};
  }
  if (add) {
    LF_UNROLL for (p = 0; p < rows; p++)
    {
      LF_UNROLL for (v = 0; v < 2; v++)
      {
        sum[p][v] = *(const TILE_VECTOR *) (y + p * ldy + v * TILE_LANES);
      }
    }
  }
  for (; k > 0; k--) {
    TILE_VECTOR w0 = *(const TILE_VECTOR *) w, w1 = *(const TILE_VECTOR *) (w + TILE_LANES);

    LF_UNROLL for (p = 0; p < rows; p++)
    {
      float value = from[p / 3][p % 3 * ldx];

      sum[p][0] = value * w0 + sum[p][0];
      sum[p][1] = value * w1 + sum[p][1];
    }
    LF_UNROLL for (p = 0; p < rows; p += 3) from[p / 3]++;
    w += TILE_COLUMNS;
  }
  LF_UNROLL for (p = 0; p < rows; p++)
  {
    LF_UNROLL for (v = 0; v < 2; v++)
    {
      *(TILE_VECTOR *) (y + p * ldy + v * TILE_LANES) = sum[p][v];
    }
  }
}

TILE_TARGET static void
TILE_NAME (tall) (
    float *y, gsize ldy, const float *x, gsize ldx, const float *w, gint k, gboolean add)
{
  TILE_NAME (rows) (y, ldy, x, ldx, w, k, add, TILE_TALL);
}

TILE_TARGET static void
TILE_NAME (low) (
    float *y, gsize ldy, const float *x, gsize ldx, const float *w, gint k, gboolean add)
{
  TILE_NAME (rows) (y, ldy, x, ldx, w, k, add, TILE_LOW);
}

TILE_TARGET static void
TILE_NAME (pack) (float *y, const float *x, gsize ldx, gint columns, gint k)
{
  gint whole = columns / 4 * 4, c, i;

  for (c = 0; c < whole; c += 4)
    for (i = 0; i + 4 <= k; i += 4)
      transpose_4 (y + (gsize) i * TILE_COLUMNS + c, TILE_COLUMNS, x + c * ldx + i, ldx);
  for (c = 0; c < whole; c++)
    for (i = k / 4 * 4; i < k; i++)
      y[(gsize) i * TILE_COLUMNS + c] = x[c * ldx + i];
  for (; c < TILE_COLUMNS; c++)
    for (i = 0; i < k; i++)
      y[(gsize) i * TILE_COLUMNS + c] = c < columns ? x[c * ldx + i] : 0;
}

/* One row; `n` is a constant where it matters. */
TILE_TARGET LF_INLINE void
TILE_NAME (finish_row) (float *restrict y, const float *restrict v, const float *restrict bias,
    const float *restrict gate, gint n, LfEpilogue epilogue)
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

TILE_TARGET static void
TILE_NAME (finish) (float *y, gsize ldy, const float *v, const float *bias, const float *gate,
    gint rows, gint columns, LfEpilogue epilogue)
{
  gint i;

  for (i = 0; i < rows; i++, y += ldy, v += TILE_COLUMNS) {
    if (columns == TILE_COLUMNS)
      TILE_NAME (finish_row) (y, v, bias, gate, TILE_COLUMNS, epilogue);
    else
      TILE_NAME (finish_row) (y, v, bias, gate, columns, epilogue);
  }
}

TILE_TARGET static float
TILE_NAME (softmax) (float *score, gint n, float *maximum)
{
  float m = *maximum, total = 0;
  gint i;

#pragma omp simd reduction(max : m)
  for (i = 0; i < n; i++)
    m = score[i] > m ? score[i] : m;
#pragma omp simd reduction(+ : total)
  for (i = 0; i < n; i++) {
    score[i] = lf_exp (score[i] - m);
    total += score[i];
  }
  *maximum = m;
  return total;
}

static const LfGemmLevel TILE_NAME (level) = {
    TILE_TITLE,
    TILE_COLUMNS,
    {TILE_TALL, TILE_LOW},
    {TILE_NAME (tall), TILE_NAME (low)},
    TILE_NAME (pack),
    TILE_NAME (finish),
    TILE_NAME (softmax),
};

#undef TILE_COLUMNS
#undef TILE_TARGET
#undef TILE_VECTOR
#undef TILE_LANES
#undef TILE_TALL
#undef TILE_LOW
#undef TILE_NAME
#undef TILE_TITLE
