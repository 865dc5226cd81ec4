/* lightforce: element types and tensor shapes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_TENSOR_H
#define LF_TENSOR_H

#include <glib.h>

G_BEGIN_DECLS

#define LF_MAX_DIMS 8

/* Element types that weight files hold. */
typedef enum
{
  LF_DTYPE_F32,
  LF_DTYPE_BF16,
  LF_DTYPE_F16,
  LF_DTYPE_F64,
  LF_DTYPE_F8_E4M3,
  LF_DTYPE_I64,
  LF_DTYPE_I32,
  LF_DTYPE_I16,
  LF_DTYPE_I8,
  LF_DTYPE_U8,
  LF_DTYPE_BOOL,
  LF_N_DTYPES
} LfDType;

/* Bytes of one element. */
gsize lf_dtype_size (LfDType dtype);

/* The safetensors name, such as "BF16". */
const char *lf_dtype_name (LfDType dtype);

/* Converts `count` elements of `src` (type `from`, any alignment) to `dst` (type
 * `to`: F32, BF16 or F16; or any type when from == to). Rounds to nearest even. */
void lf_dtype_convert (void *dst, LfDType to, const void *src, LfDType from, gsize count);

static inline float
lf_bf16_to_float (guint16 bits)
{
  union
  {
    guint32 u;
    float f;
  } v;

  v.u = (guint32) bits << 16;
  return v.f;
}

G_END_DECLS
#endif
