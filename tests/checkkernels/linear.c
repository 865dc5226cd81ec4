/* lightforce: checkkernels, linear layers and FP8
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "check.h"

typedef struct
{
  gint rows, n_out, n_in;
  LfDType dtype;
  LfEpilogue epilogue;
  gboolean bias, gate;
  gint gap;       /* ldy - n_out */
  gboolean given; /* x comes in FP8 */
} Linear;

/* ------------------------------------------------------------------ linear */

/* Rows that FP8 holds exactly with the scale that quantize chooses, a power of two: so only
 * sums are rounded, whoever quantises activations. */
static void
fill_fp8_rows (Ck *c, float *x, gint rows, gint n)
{
  gint i, j;

  for (i = 0; i < rows; i++) {
    float scale = ldexpf (1, -ck_random_int (c, 6, 9));

    for (j = 0; j < n; j++) {
      guint8 code = ck_random (c) >> 40;
      float value;

      code = (code & 127) == 127 ? code - 1 : code;
      lf_dtype_convert (&value, LF_DTYPE_F32, &code, LF_DTYPE_F8_E4M3, 1);
      x[(gsize) i * n + j] = value * scale;
    }
    x[(gsize) i * n + ck_random_int (c, 0, n - 1)] = (i % 2 ? 448 : -448) * scale;
  }
}

static void
linear (Ck *c, const Linear *a, gboolean loose)
{
  static const char *const names[] = {"none", "gelu", "silu", "residual", "multiply"};
  gboolean fp8 = a->dtype == LF_DTYPE_F8_E4M3;
  gboolean reads = a->epilogue == LF_EPILOGUE_RESIDUAL || a->epilogue == LF_EPILOGUE_MULTIPLY;
  gint ldy = a->n_out + a->gap, i;
  float *values = fp8 ? NULL : g_new (float, (gsize) a->n_out * a->n_in + 1);
  CkBuffer *x, *w, *y, *bias = NULL, *gate = NULL, *scale = NULL;
  CkBuffer *x_scale = NULL;
  gsize j;

  ck_begin (c, "rows=%d n_out=%d n_in=%d %s %s%s%s ldy=%d%s", a->rows, a->n_out, a->n_in,
      lf_dtype_name (a->dtype), names[a->epilogue], a->bias ? " bias" : "", a->gate ? " gate" : "",
      ldy,
      a->given ? " given"
      : loose  ? " rounded"
               : "");
  x = a->given
          ? ck_weight (c, LF_DTYPE_F8_E4M3, "x", a->rows, a->n_in, NULL)
          : ck_in (c, CK_ACT, "x", a->rows, a->n_in, fp8 || a->rows < 3 ? CK_NORMAL : CK_MIXED);
  if (a->given) {
    x_scale = ck_in (c, CK_F32, "x_scale", a->rows, 1, CK_NORMAL);
    for (i = 0; i < a->rows; i++)
      x_scale->values[i] = (0.5f + fabsf (x_scale->values[i])) / 120;
  }
  if (fp8 && !loose && !a->given)
    fill_fp8_rows (c, x->values, a->rows, a->n_in);
  for (j = 0; values && j < (gsize) a->n_out * a->n_in; j++)
    values[j] = ck_random_normal (c) / sqrtf (a->n_in);
  w = ck_weight (c, a->dtype, "weight", a->n_out, a->n_in, values);
  if (fp8) {
    scale = ck_in (c, CK_F32, "scale", 1, a->n_out, CK_NORMAL);
    for (i = 0; i < a->n_out; i++)
      scale->values[i] = (0.5f + fabsf (scale->values[i])) / (120 * sqrtf (a->n_in));
  }
  if (a->bias)
    bias = ck_in (c, CK_ACT, "bias", 1, a->n_out, CK_NORMAL);
  if (a->gate)
    gate = ck_in (c, CK_F32, "gate", 1, a->n_out, CK_NORMAL);
  y = reads ? ck_inout (
          c, a->epilogue == LF_EPILOGUE_RESIDUAL ? CK_F32 : CK_ACT, "y", a->rows, ldy, CK_NORMAL)
            : ck_out (c, CK_ACT, "y", a->rows, ldy);
  y->gaps = a->gap > 0;
  /* activations rounded to FP8 are off by 1/36 in the mean, 1/16 at most; a backend may do
   * without where a size does not suit its units */
  c->slack = loose ? 16 : 1;
  /* GELU far below zero is a difference of almost equal numbers: a lone one is off by what others
   * are */
  if (a->epilogue == LF_EPILOGUE_GELU && a->rows * a->n_out == 1)
    c->scale = 1;
  c->flops = 2.0 * a->rows * a->n_out * a->n_in;
  CK_RUN (c, LfLinear layer = {a->dtype, ck_at (w), scale ? ck_at (scale) : NULL,
                 bias ? ck_at (bias) : NULL, a->n_out, a->n_in};
          ops->linear (q, &layer, ck_at (y), ldy, ck_at (x), x_scale ? ck_at (x_scale) : NULL,
              a->rows, a->epilogue, gate ? ck_at (gate) : NULL));
}

static void
bench_linear (Ck *c)
{
  gboolean fp8 = c->precision == LF_PRECISION_FP8;
  static const Linear cases[] = {
      {4608, 1536, 1536, 0, LF_EPILOGUE_NONE, TRUE, FALSE, 0, FALSE},
      {4608, 1536, 1536, 0, LF_EPILOGUE_RESIDUAL, TRUE, TRUE, 0, FALSE},
      {4608, 4608, 1536, 0, LF_EPILOGUE_NONE, TRUE, FALSE, 0, FALSE},
      {4608, 8960, 1536, 0, LF_EPILOGUE_GELU, TRUE, FALSE, 0, FALSE},
      {4608, 8960, 1536, 0, LF_EPILOGUE_GELU, TRUE, FALSE, 0, TRUE},
      {4608, 8960, 1536, 0, LF_EPILOGUE_NONE, TRUE, FALSE, 0, TRUE},
      {4608, 1536, 8960, 0, LF_EPILOGUE_RESIDUAL, TRUE, TRUE, 0, FALSE},
      {4608, 64, 1536, 0, LF_EPILOGUE_NONE, TRUE, FALSE, 0, FALSE},
      {78, 1536, 1536, 0, LF_EPILOGUE_NONE, TRUE, FALSE, 0, FALSE},
      {1, 9216, 1536, 0, LF_EPILOGUE_NONE, TRUE, FALSE, 0, FALSE},
      {77, 10240, 4096, 0, LF_EPILOGUE_GELU, FALSE, FALSE, 0, FALSE},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    Linear a = cases[i];

    a.dtype = c->precision == LF_PRECISION_FP32 ? LF_DTYPE_F32
              : fp8                             ? LF_DTYPE_F8_E4M3
                                                : LF_DTYPE_BF16;
    if (fp8 || !a.given)
      linear (c, &a, FALSE);
  }
}

/* All sizes and epilogues with weights of one type. */
static void
check_dtype (Ck *c, LfDType dtype)
{
  static const gint sizes[][3] = {
      {7, 33, 40},
      {33, 65, 31},
      {1, 128, 64},
      {128, 63, 127},
      {65, 129, 1},
      {1, 1, 1},
      {127, 16, 16},
      {31, 7, 129},
      {129, 256, 128},
      {130, 192, 1536},
      {300, 520, 264},
      {4608, 64, 96},
  };
  gint i, epilogue;

  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (sizes)); i++) {
    for (epilogue = 0; epilogue <= LF_EPILOGUE_MULTIPLY; epilogue++) {
      Linear a = {sizes[i][0], sizes[i][1], sizes[i][2], dtype, epilogue, (i + epilogue) % 3 != 0,
          FALSE,
          (i + epilogue) % 4 == 1   ? 8
          : (i + epilogue) % 4 == 3 ? 5
                                    : 0,
          FALSE};

      if (c->quick && epilogue % 3 != i % 3)
        continue;
      linear (c, &a, FALSE);
      if (epilogue == LF_EPILOGUE_RESIDUAL) {
        a.gate = TRUE;
        a.bias = !a.bias;
        linear (c, &a, FALSE);
      }
      if (dtype == LF_DTYPE_F8_E4M3 && c->precision == LF_PRECISION_FP8 && a.n_in >= 64)
        linear (c, &a, TRUE);
      if (dtype == LF_DTYPE_F8_E4M3) {
        a.given = TRUE;
        linear (c, &a, FALSE);
      }
    }
  }
}

void
ck_check_linear (Ck *c)
{
  static const Linear large[] = {
      {4608, 1536, 512, LF_DTYPE_BF16, LF_EPILOGUE_RESIDUAL, TRUE, TRUE, 0, FALSE},
      {520, 1536, 8960, LF_DTYPE_BF16, LF_EPILOGUE_NONE, TRUE, FALSE, 0, FALSE},
      {1000, 1024, 1032, LF_DTYPE_F32, LF_EPILOGUE_GELU, TRUE, FALSE, 8, FALSE},
  };
  guint i;

  if (c->bench) {
    bench_linear (c);
    return;
  }
  if (c->precision == LF_PRECISION_FP8 || c->exact)
    check_dtype (c, LF_DTYPE_F8_E4M3);
  if (c->precision == LF_PRECISION_FP8) {
    Linear wide = {4608, 1536, 1536, LF_DTYPE_F8_E4M3, LF_EPILOGUE_GELU, TRUE, FALSE, 0, FALSE};

    if (!c->quick) {
      linear (c, &wide, FALSE);
      linear (c, &wide, TRUE);
    }
    /* the layers that stay in 16 bits */
    check_dtype (c, LF_DTYPE_BF16);
    return;
  }
  check_dtype (c, LF_DTYPE_BF16);
  check_dtype (c, LF_DTYPE_F16);
  check_dtype (c, LF_DTYPE_F32);
  for (i = 0; i < G_N_ELEMENTS (large) && !c->quick; i++)
    linear (c, &large[i], FALSE);
}

/* ------------------------------------------------------ linear, out in FP8 */

typedef struct
{
  gint rows, n_out, n_in;
  LfEpilogue epilogue;
  gboolean given; /* x comes in FP8 */
  gboolean whole; /* so do whole numbers, and sums that every type holds: codes must be right */
} ToFp8;

/* Weights of -1 and 0, and inputs of -1, 0 and 1: but one row of 0 alone, and one of a few 1, whose
 * sums are negative, in seven. */
static void
fill_whole (Ck *c, guint8 *x, guint8 *w, const ToFp8 *a)
{
  static const guint8 codes[] = {0xb8, 0, 0x38};
  gint i, j;

  for (i = 0; i < a->rows; i++)
    for (j = 0; j < a->n_in; j++) {
      gint at = (ck_random (c) >> 40) % 24;

      x[(gsize) i * a->n_in + j] = i % 7 == 3   ? 0
                                   : i % 7 == 5 ? codes[at < 3 ? 2 : 1]
                                                : codes[at % 3];
    }
  for (i = 0; i < a->n_out; i++)
    for (j = 0; j < a->n_in; j++)
      w[(gsize) i * a->n_in + j] = codes[(ck_random (c) >> 40) % 2];
}

static void
linear_to_fp8 (Ck *c, const ToFp8 *a)
{
  CkBuffer *x, *x_scale = NULL, *w, *scale, *bias = NULL, *y, *y_scale;
  gint i;

  ck_begin (c, "rows=%d n_out=%d n_in=%d%s%s", a->rows, a->n_out, a->n_in,
      a->epilogue == LF_EPILOGUE_GELU ? " gelu" : "",
      a->whole   ? " whole"
      : a->given ? " given"
                 : "");
  x = a->given ? ck_weight (c, LF_DTYPE_F8_E4M3, "x", a->rows, a->n_in, NULL)
               : ck_in (c, CK_ACT, "x", a->rows, a->n_in, CK_NORMAL);
  w = ck_weight (c, LF_DTYPE_F8_E4M3, "weight", a->n_out, a->n_in, NULL);
  scale = ck_in (c, CK_F32, "scale", 1, a->n_out, CK_NORMAL);
  if (a->given)
    x_scale = ck_in (c, CK_F32, "x_scale", a->rows, 1, CK_NORMAL);
  else
    fill_fp8_rows (c, x->values, a->rows, a->n_in);
  for (i = 0; i < a->n_out; i++)
    scale->values[i] = a->whole ? ldexpf (1, -ck_random_int (c, 0, 2))
                                : (0.5f + fabsf (scale->values[i])) / (120 * sqrtf (a->n_in));
  /* all may be small in a row: its largest GELU is found in another way then */
  for (i = 0; i < a->rows && a->given; i++)
    x_scale->values[i] =
        a->whole ? ldexpf (1, -ck_random_int (c, 2, 7)) : (0.5f + fabsf (x_scale->values[i])) / 120;
  if (a->whole)
    fill_whole (c, x->bytes, w->bytes, a);
  else
    bias = ck_in (c, CK_ACT, "bias", 1, a->n_out, CK_NORMAL);
  y_scale = ck_out (c, CK_F32, "y_scale", a->rows, 1);
  y = ck_out (c, CK_BYTES, "y", a->rows, a->n_out);
  if (a->whole)
    y->off = 1; /* between two codes */
  else
    y->scales = y_scale;
  /* nothing is rounded before GELU */
  c->slack = a->whole && c->precision == LF_PRECISION_FP8 ? 1e-3 : 1;
  c->flops = 2.0 * a->rows * a->n_out * a->n_in;
  CK_RUN (c, LfLinear layer = {LF_DTYPE_F8_E4M3, ck_at (w), ck_at (scale),
                 bias ? ck_at (bias) : NULL, a->n_out, a->n_in};
          ops->linear_to_fp8 (q, &layer, ck_at (y), ck_at (y_scale), ck_at (x),
              x_scale ? ck_at (x_scale) : NULL, a->rows, a->epilogue));
}

void
ck_check_linear_to_fp8 (Ck *c)
{
  /* a row in a warp, in a block, too long for either, and of odd lengths */
  static const gint sizes[][3] = {{33, 520, 64}, {7, 33, 40}, {19, 2064, 48}, {1, 16, 16},
      {1, 7, 1}, {130, 192, 1536}, {9, 8960, 64}, {5, 16400, 32}, {1030, 1152, 96}, {300, 72, 264}};
  gint i, epilogue, kind;

  if (c->bench) {
    linear_to_fp8 (c, &(ToFp8){4608, 8960, 1536, LF_EPILOGUE_NONE, TRUE, FALSE});
    linear_to_fp8 (c, &(ToFp8){4608, 8960, 1536, LF_EPILOGUE_GELU, TRUE, FALSE});
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (sizes)); i++)
    for (epilogue = LF_EPILOGUE_NONE; epilogue <= LF_EPILOGUE_GELU; epilogue++)
      for (kind = 0; kind < 3; kind++)
        linear_to_fp8 (
            c, &(ToFp8){sizes[i][0], sizes[i][1], sizes[i][2], epilogue, kind > 0, kind > 1});
}

/* --------------------------------------------------------------------- FP8 */

/* Values whose quotients by the scale lie on ties between two codes, and all else that
 * rounding can meet. */
static void
fill_ties (Ck *c, float *x, gint n, gint kind)
{
  gint j;

  for (j = 0; j < n; j++) {
    guint8 code = ck_random (c) % 126, next = code + 1;
    float a, b;

    lf_dtype_convert (&a, LF_DTYPE_F32, &code, LF_DTYPE_F8_E4M3, 1);
    lf_dtype_convert (&b, LF_DTYPE_F32, &next, LF_DTYPE_F8_E4M3, 1);
    x[j] = (kind == 0      ? (a + b) / 2
               : kind == 1 ? a
                           : ck_random_normal (c) * a)
           * (ck_random (c) & 256 ? -1 : 1);
  }
  x[ck_random_int (c, 0, n - 1)] = kind == 2 ? 1e4f : 448;
}

static void
quantize (Ck *c, gint rows, gint n, LfDType dtype, gboolean ties)
{
  float *values = g_new (float, (gsize) rows *n);
  CkBuffer *x, *y, *scale;
  gint i;

  ck_begin (c, "rows=%d n=%d %s%s", rows, n, lf_dtype_name (dtype), ties ? " ties" : "");
  ck_fill (c, values, rows, n, n > 3 ? CK_MIXED : CK_NORMAL);
  for (i = 0; ties && i < rows; i++)
    fill_ties (c, values + (gsize) i * n, n, i % 3);
  x = ck_weight (c, dtype, "x", rows, n, values);
  y = ck_out (c, CK_BYTES, "y", rows, n);
  scale = ck_out (c, CK_F32, "scale", rows, 1);
  /* one unit in the last place */
  c->tolerance = (CkTolerance){1.3e-7, 1.3e-7};
  c->bytes = (double) rows * n * (1 + lf_dtype_size (dtype));
  CK_RUN (c, ops->quantize (q, ck_at (y), ck_at (scale), ck_at (x), dtype, rows, n));
}

void
ck_check_quantize (Ck *c)
{
  static const LfDType dtypes[] = {LF_DTYPE_BF16, LF_DTYPE_F32, LF_DTYPE_F16};
  static const gint sizes[][2] = {
      {3, 33}, {7, 128}, {2, 1000}, {1, 1}, {1, 7}, {9, 63}, {65, 31}, {5, 1536}, {33, 8961}};
  gint i, j;

  if (c->bench) {
    quantize (c, 4608, 1536, LF_DTYPE_BF16, FALSE);
    quantize (c, 4608, 8960, LF_DTYPE_BF16, FALSE);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (sizes)); i++)
    for (j = 0; j < 3; j++) {
      quantize (c, sizes[i][0], sizes[i][1], dtypes[j], FALSE);
      quantize (c, sizes[i][0], sizes[i][1], dtypes[j], TRUE);
    }
}

typedef struct
{
  gint frames, n, heads, d;
} Frames;

static const Frames frames_cases[] = {{2, 7, 3, 20}, {1, 33, 2, 16}, {3, 5, 1, 128}, {1, 1, 1, 1},
    {1, 3, 5, 7}, {3, 65, 4, 64}, {2, 130, 12, 128}};

static void
compress_frames (Ck *c, const Frames *a, gboolean ties)
{
  g_autofree gint32 *slots = g_new (gint32, a->frames);
  gint all = 2 * a->frames + 1, C = a->heads * a->d, i;
  CkBuffer *x, *cache, *scales;

  ck_begin (c, "F=%d n=%d heads=%d d=%d%s", a->frames, a->n, a->heads, a->d, ties ? " ties" : "");
  ck_slots (c, slots, a->frames);
  x = ck_in (c, CK_ACT, "x", a->frames * a->n, C, a->d > 3 ? CK_MIXED : CK_NORMAL);
  for (i = 0; ties && i < a->frames * a->n * a->heads; i++)
    fill_ties (c, x->values + (gsize) i * a->d, a->d, i % 3);
  cache = ck_out (c, CK_BYTES, "cache", all * a->n, C);
  scales = ck_out (c, CK_F32, "scales", all * a->n, a->heads);
  scales->gaps = TRUE;
  c->tolerance = (CkTolerance){1.3e-7, 1.3e-7};
  c->bytes = (double) x->count * (1 + lf_dtype_size (c->tested.be->act));
  CK_RUN (c, ops->compress_frames (q, ck_at (cache), ck_at (scales), ck_at (x), slots, a->frames,
                 a->n, a->heads, a->d));
}

void
ck_check_compress_frames (Ck *c)
{
  static const Frames large = {3, 1536, 12, 128};
  gint i;

  if (c->bench) {
    compress_frames (c, &large, FALSE);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (frames_cases)); i++) {
    compress_frames (c, &frames_cases[i], FALSE);
    compress_frames (c, &frames_cases[i], TRUE);
  }
}

static void
expand_frames (Ck *c, const Frames *a)
{
  g_autofree gint32 *slots = g_new (gint32, a->frames);
  gint all = 2 * a->frames + 1, C = a->heads * a->d;
  CkBuffer *x, *cache, *scales;

  ck_begin (c, "F=%d n=%d heads=%d d=%d", a->frames, a->n, a->heads, a->d);
  ck_slots (c, slots, a->frames);
  cache = ck_weight (c, LF_DTYPE_F8_E4M3, "cache", all * a->n, C, NULL);
  scales = ck_in (c, CK_F32, "scales", all * a->n, a->heads, CK_NORMAL);
  ck_poison_slots (cache, all, slots, a->frames);
  ck_poison_slots (scales, all, slots, a->frames);
  x = ck_out (c, CK_ACT, "x", a->frames * a->n, C);
  c->bytes = (double) x->count * (1 + lf_dtype_size (c->tested.be->act));
  CK_RUN (c, ops->expand_frames (q, ck_at (x), ck_at (cache), ck_at (scales), slots, a->frames,
                 a->n, a->heads, a->d));
}

void
ck_check_expand_frames (Ck *c)
{
  static const Frames large = {18, 1536, 12, 128};
  gint i;

  if (c->bench) {
    expand_frames (c, &large);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (frames_cases)); i++)
    expand_frames (c, &frames_cases[i]);
}
