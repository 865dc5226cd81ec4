/* lightforce: checkkernels, what its files share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CHECK_H
#define LF_CHECK_H

#include "core/backend.h"

G_BEGIN_DECLS

/* A case declares its buffers and runs an operation on them:
 *
 *   ck_begin (c, "count=%d", count);
 *   x = ck_in (c, CK_ACT, "x", 1, count, CK_NORMAL);
 *   y = ck_out (c, CK_ACT, "y", 1, count);
 *   CK_RUN (c, ops->silu (q, ck_at (y), ck_at (x), count));
 *
 * CK_RUN runs it once on the reference (the CPU in float32) and twice on the tested backend,
 * and compares. Where measurements are wanted it runs it many times on the latter alone. */

#define CK_MAX_BUFFERS 24
#define CK_MAX_SETS 32

typedef enum
{
  CK_F32,
  CK_ACT,   /* the backend's activation type */
  CK_BYTES, /* the same bytes everywhere; outputs may be off by CkBuffer.off */
  CK_INT    /* gint32, exact */
} CkType;

typedef enum
{
  CK_ZEROS,
  CK_NORMAL,   /* mean 0, variance 1, |x| < 3.5 */
  CK_MIXED,    /* that with zeros of both signs, denormals, large ones and rows of zeros */
  CK_INTEGERS, /* -3 .. 3: sums of products are exact in any order, equal ones frequent */
  CK_GRID      /* multiples of 1/16 within -4 .. 4: as exact, equal ones rare */
} CkFill;

typedef struct _Ck Ck;

typedef struct _CkBuffer
{
  Ck *check;
  const char *name;
  CkType type;
  gsize rows, columns, count;
  gboolean output;
  gboolean gaps;  /* elements that the reference leaves alone are none of the output's */
  gboolean exact; /* must be the reference's value, rounded to the type */
  gint off;       /* CK_BYTES: largest difference */
  gsize shift;    /* elements that it begins behind an aligned place */
  float *values;  /* CK_F32, CK_ACT: at first; NULL: an output that is only written */
  guint8 *bytes;  /* the others */
  guint8 *memory[1 + CK_MAX_SETS]; /* of the reference; of the tested backend */
  guint8 *expected, *first;        /* results, as they lie there */
  /* CK_BYTES: of e4m3, (rows) CK_F32, an output declared before; compared as numbers then */
  const struct _CkBuffer *scales;
} CkBuffer;

typedef struct
{
  LfBackend *be;
  LfQueue *q;
} CkSide;

/* Bounds of |x - expected| / (scale + |expected|), scale being the root mean square of what
 * is expected, and of the relative difference in L2. Both 0: exact but for rounding to the
 * type. */
typedef struct
{
  double most, l2;
} CkTolerance;

/* Which tolerance: main.c says why each is what it is. */
typedef enum
{
  CK_EXACT,
  CK_FLOAT,
  CK_FLOAT_SUMS,
  CK_FLOAT_SOFTMAX,
  CK_NOISE,
  CK_HALF,
  CK_HALF_TWICE,
  CK_HALF_SOFTMAX,
  CK_EIGHTH,
  CK_NOT /* not checked in this precision */
} CkBound;

typedef struct
{
  const char *name;
  void (*func) (Ck *c);
  CkBound fp32, bf16, fp8;
  gboolean fp16; /* one of those that the tiny decoder needs: bounds as in bf16, but finer */
} CkOperation;

struct _Ck
{
  CkSide reference, tested;
  LfPrecision precision;
  gboolean quick, bench;
  gboolean exact; /* the tested backend is the reference's: results must be the same */
  gboolean tight; /* no guards: a sanitizer sees what leaves an allocation */
  gboolean lost;  /* the device does not answer any more */
  guint64 random;

  const CkOperation *op;
  CkTolerance tolerance;
  gint cases, failed;
  double worst, worst_l2;
  char *worst_case;

  /* the case at work */
  char *title;
  CkBuffer *buffers[CK_MAX_BUFFERS];
  guint n_buffers;
  gboolean case_failed;
  double slack;        /* factor of the tolerance */
  double scale;        /* instead of the root mean square, if > 0 */
  gsize shift;         /* of the buffers made from now on, elements */
  double flops, bytes; /* for measurements: of one run */

  /* CK_RUN */
  gint run, set, sets;
  gint samples, inner, inner_at;
  CkSide *side;
};

/* --- case.c */
#define CK_PRECISIONS (LF_PRECISION_FP16 + 1)
extern const char *const ck_precisions[CK_PRECISIONS]; /* their names */
void ck_begin (Ck *c, const char *format, ...) G_GNUC_PRINTF (2, 3);
CkBuffer *ck_in (Ck *c, CkType type, const char *name, gsize rows, gsize columns, CkFill fill);
CkBuffer *ck_out (Ck *c, CkType type, const char *name, gsize rows, gsize columns);
/* An output that is read, too. */
CkBuffer *ck_inout (Ck *c, CkType type, const char *name, gsize rows, gsize columns, CkFill fill);
/* Weights of a type: random, or where `values` is not NULL those (it is freed). */
CkBuffer *ck_weight (
    Ck *c, LfDType dtype, const char *name, gsize rows, gsize columns, float *values);

/* Where it lies on the side that runs; at an element. */
void *ck_at (const CkBuffer *b);
void *ck_at_element (const CkBuffer *b, gsize element);
/* Where the given frames of so many elements lie. */
void ck_at_frames (const CkBuffer *b, void **at, const gint32 *slots, gint frames, gsize elements);

gboolean ck_run_next (Ck *c);
#define CK_RUN(c, ...)                                                                             \
  while (ck_run_next (c)) {                                                                        \
    const LfBackendOps *ops = (c)->side->be->ops;                                                  \
    LfQueue *q = (c)->side->q;                                                                     \
                                                                                                   \
    __VA_ARGS__;                                                                                   \
  }

/* A failure of the case at work, for checks of other kinds. */
void ck_fail (Ck *c, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Ends a case that did not CK_RUN. */
void ck_end (Ck *c);
/* wait() on the tested backend; FALSE after a failure, which it reports. */
gboolean ck_wait (Ck *c);

/* --- compare.c */
void ck_compare (Ck *c, const CkBuffer *b);
gsize ck_element_size (const CkBuffer *b, const CkSide *side);

/* --- fill.c */
guint64 ck_random (Ck *c);
gint ck_random_int (Ck *c, gint from, gint to); /* from .. to, both included */
float ck_random_normal (Ck *c);
void ck_fill (Ck *c, float *x, gsize rows, gsize columns, CkFill fill);
/* `count` different ones of 0 .. of - 1, in random order or ascending. */
void ck_choose (Ck *c, gint32 *chosen, gint count, gint of, gboolean ascending);
/* Slots for frames of a cache of 2 frames + 1: in random order, never neighbours. */
void ck_slots (Ck *c, gint32 *slots, gint frames);
/* Makes what no frame of a cache owns NaN; b (slots, anything). */
void ck_poison_slots (CkBuffer *b, gint all, const gint32 *slots, gint frames);
/* Rounds to what BF16 or F16 can hold. */
void ck_round (float *x, gsize count, LfDType dtype);

/* How many of `n` cases to run, the first ones being the small ones. */
gint ck_cases (const Ck *c, gint n);

/* --- bench.c */
void ck_bench_finish (Ck *c);

/* --- one function an operation */
void ck_check_transfer (Ck *c);
void ck_check_memory (Ck *c);
void ck_check_profile (Ck *c);
void ck_check_copy (Ck *c);
void ck_check_from_float (Ck *c);
void ck_check_to_float (Ck *c);
void ck_check_linear (Ck *c);
void ck_check_linear_to_fp8 (Ck *c);
void ck_check_quantize (Ck *c);
void ck_check_norm_modulate (Ck *c);
void ck_check_rms_norm (Ck *c);
void ck_check_qk_norm_rope (Ck *c);
void ck_check_rotate_keys (Ck *c);
void ck_check_pool_blocks (Ck *c);
void ck_check_pool_frames (Ck *c);
void ck_check_compress_frames (Ck *c);
void ck_check_expand_frames (Ck *c);
void ck_check_select_blocks (Ck *c);
void ck_check_attention (Ck *c);
void ck_check_text_attention (Ck *c);
void ck_check_add_modulation (Ck *c);
void ck_check_silu (Ck *c);
void ck_check_patchify (Ck *c);
void ck_check_unpatchify (Ck *c);
void ck_check_noise (Ck *c);
void ck_check_denoise (Ck *c);
void ck_check_mix_noise (Ck *c);
void ck_check_lerp (Ck *c);
void ck_check_embed (Ck *c);
void ck_check_t5_attention (Ck *c);
void ck_check_conv (Ck *c);
void ck_check_pixel_norm_silu (Ck *c);
void ck_check_pixel_attention (Ck *c);
void ck_check_latent_to_pixels (Ck *c);
void ck_check_beside_past (Ck *c);
void ck_check_pictures_to_frames (Ck *c);

G_END_DECLS
#endif
