/* lightforce: products of matrices by OpenBLAS
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For the attention of the text encoder and of the Wan VAE; the transformer's layers have tiles of
 * their own (gemm.h).
 */
#ifndef LF_CPU_BLAS_H
#define LF_CPU_BLAS_H

#include <cblas.h>
#include <glib.h>

/* Row-major C (M, N) = alpha A (M, K) op(B) + beta C in one thread, B (N, K) if trans_b else (K, N). */
static inline void
lf_cpu_blas (gboolean trans_b, gint M, gint N, gint K, float alpha, const float *A, gint lda,
    const float *B, gint ldb, float beta, float *C, gint ldc)
{
  cblas_sgemm (CblasRowMajor, CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, M, N, K, alpha, A,
      lda, B, ldb, beta, C, ldc);
}

#endif
