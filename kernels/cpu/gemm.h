/* lightforce: matrix products on the CPU, inside
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CPU_GEMM_H
#define LF_CPU_GEMM_H

#include "cpu.h"

#define LF_GEMM_MAX_ROWS 12
#define LF_GEMM_MAX_COLUMNS 32

typedef void (*LfGemmTileFunc) (
    float *y, gsize ldy, const float *x, gsize ldx, const float *w, gint k, gboolean add);

/* The inner loops for one vector width. A tile is rows x columns sums; every sum runs over k
 * in order, whichever tile it is in: how a product is cut changes no bit. */
typedef struct
{
  const char *name;
  gint columns;
  /* y (rows, columns) = x (rows, k) w (k, columns), added to y where `add` is set: the first kind
   * is the fastest, the second has fewer rows. */
  gint rows[2];
  LfGemmTileFunc tile[2];
  /* y (k, columns of a tile) = x (columns, k; ldx) transposed, zeros for columns that are not there. */
  void (*pack) (float *y, const float *x, gsize ldx, gint columns, gint k);
  /* y (rows, columns) = epilogue of v (rows, columns of a tile) and bias, gate (columns). */
  void (*finish) (float *y, gsize ldy, const float *v, const float *bias, const float *gate,
      gint rows, gint columns, LfEpilogue epilogue);
  /* score (n) = exp (score - m), m the largest of them and *maximum, which becomes m; returns
   * their sum. */
  float (*softmax) (float *score, gint n, float *maximum);
} LfGemmLevel;

/* What this processor can run, best first. */
const LfGemmLevel *const *lf_cpu_gemm_levels (gint *n_levels);

/* lf_cpu_linear, lf_cpu_attention and lf_cpu_text_attention at a level. */
void lf_cpu_linear_at (const LfGemmLevel *level, LfQueue *q, const LfLinear *w, void *y, gint ldy,
    const void *x, const float *x_scale, gint rows, LfEpilogue epilogue, const float *gate);
void lf_cpu_attention_at (const LfGemmLevel *level, LfQueue *q, const LfAttention *a);
void lf_cpu_text_attention_at (const LfGemmLevel *level, LfQueue *q, void *y, const void *queries,
    const void *k, const void *v, gint rows, gint tokens, gint heads, gint d, float last_bias);

#endif
