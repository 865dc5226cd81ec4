/* lightforce: matrix products by cuBLASLt
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CUDA_LT_H
#define LF_CUDA_LT_H

#include "kernels/cuda/device.h"

G_BEGIN_DECLS

/* y (rows, n_out) act = x (rows, n_in) weight^T + bias, then gelu. Operands are of the
 * weight's type: activations, or FP8. */
typedef struct
{
  const LfLinear *w;
  void *y;
  gint ldy; /* elements */
  const void *x;
  const float *x_scale; /* FP8: (rows) f32, applied with the weight's scales; NULL: neither is */
  gint rows;
  gboolean bias, gelu;
} LfLtProduct;

/* Queues the product. FALSE where cuBLASLt cannot do it (odd strides, for instance), or
 * something failed: then q->error is set. */
gboolean lf_cuda_lt_multiply (LfQueue *q, const LfLtProduct *p);

G_END_DECLS
#endif
