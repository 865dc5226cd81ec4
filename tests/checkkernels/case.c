/* lightforce: checkkernels, one case: buffers and runs
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

#define GUARD_FRONT 256 /* keeps alignment */
#define GUARD_BEHIND 4096
#define FAILURES_SHOWN 12
#define BENCH_BYTES ((gsize) 160 << 20) /* far more than any second-level cache */

/* ------------------------------------------------------------------ cases */

void
ck_begin (Ck *c, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  g_free (c->title);
  c->title = g_strdup_vprintf (format, args);
  va_end (args);
  c->case_failed = FALSE;
  c->slack = 1;
  c->scale = 0;
  c->shift = 0;
  c->flops = c->bytes = 0;
  c->run = 0;
}

const char *const ck_precisions[] = {"auto", "fp32", "bf16", "fp8", "fp16"};

void
ck_fail (Ck *c, const char *format, ...)
{
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  if (!c->case_failed)
    c->failed++;
  c->case_failed = TRUE;
  if (c->failed <= FAILURES_SHOWN)
    printf (
        "FAILED  %s  %s  %s: %s\n", c->op->name, ck_precisions[c->precision], c->title, message);
  else if (c->failed == FAILURES_SHOWN + 1)
    printf ("FAILED  %s: more cases, which are not shown\n", c->op->name);
  fflush (stdout);
}

void
ck_end (Ck *c)
{
  guint i;
  gint j;

  for (i = 0; i < c->n_buffers; i++) {
    CkBuffer *b = c->buffers[i];

    for (j = 0; j < 1 + CK_MAX_SETS; j++) {
      CkSide *side = j ? &c->tested : &c->reference;

      /* memory of a lost device is gone with the process */
      if (b->memory[j] && !(j && c->lost))
        side->be->ops->free (side->be, b->memory[j]);
    }
    g_free (b->values);
    g_free (b->bytes);
    g_free (b->expected);
    g_free (b->first);
    g_free (b);
  }
  c->n_buffers = 0;
  c->cases++;
}

/* What failed stays failed: a device whose queue reports an error is not trusted again. */
gboolean
ck_wait (Ck *c)
{
  g_autoptr (GError) error = NULL;

  if (c->tested.be->ops->wait (c->tested.q, &error))
    return TRUE;
  ck_fail (c, "%s", error->message);
  if (!g_error_matches (error, LF_ERROR, LF_ERROR_UNSUPPORTED)
      && !g_error_matches (error, LF_ERROR, LF_ERROR_NO_MEMORY))
    c->lost = TRUE;
  return FALSE;
}

/* ---------------------------------------------------------------- buffers */

static CkBuffer *
add (Ck *c, CkType type, const char *name, gsize rows, gsize columns)
{
  CkBuffer *b = g_new0 (CkBuffer, 1);

  g_assert (c->n_buffers < CK_MAX_BUFFERS);
  b->check = c;
  b->name = name;
  b->type = type;
  b->rows = rows;
  b->columns = columns;
  b->count = rows * columns;
  b->shift = c->shift;
  c->buffers[c->n_buffers++] = b;
  return b;
}

CkBuffer *
ck_in (Ck *c, CkType type, const char *name, gsize rows, gsize columns, CkFill fill)
{
  CkBuffer *b = add (c, type, name, rows, columns);

  if (type == CK_F32 || type == CK_ACT) {
    b->values = g_new (float, b->count + 1);
    ck_fill (c, b->values, rows, columns, fill);
  } else {
    b->bytes = g_malloc0 (b->count * ck_element_size (b, &c->reference) + 1);
  }
  return b;
}

CkBuffer *
ck_out (Ck *c, CkType type, const char *name, gsize rows, gsize columns)
{
  CkBuffer *b = add (c, type, name, rows, columns);

  b->output = TRUE;
  return b;
}

CkBuffer *
ck_inout (Ck *c, CkType type, const char *name, gsize rows, gsize columns, CkFill fill)
{
  CkBuffer *b = ck_in (c, type, name, rows, columns, fill);

  b->output = TRUE;
  return b;
}

/* Values are of the kind that every type holds exactly: rounding weights is no part of an
 * operation. */
CkBuffer *
ck_weight (Ck *c, LfDType dtype, const char *name, gsize rows, gsize columns, float *values)
{
  CkBuffer *b;
  gsize i;

  if (dtype == LF_DTYPE_F8_E4M3) {
    b = add (c, CK_BYTES, name, rows, columns);
    b->bytes = g_malloc (b->count + 1);
    for (i = 0; i < b->count; i++) {
      guint8 code = ck_random (c) >> 40;

      b->bytes[i] = (code & 127) == 127 ? code - 1 : code;
    }
    g_free (values);
    return b;
  }
  if (!values) {
    values = g_new (float, rows *columns + 1);
    ck_fill (c, values, rows, columns, CK_NORMAL);
  }
  if (c->tested.be->act != LF_DTYPE_F32)
    ck_round (values, rows * columns, c->tested.be->act);
  b = add (c, CK_BYTES, name, rows, columns * lf_dtype_size (dtype));
  b->bytes = g_malloc (b->count + 1);
  lf_dtype_convert (b->bytes, dtype, values, LF_DTYPE_F32, rows * columns);
  g_free (values);
  return b;
}

gsize
ck_element_size (const CkBuffer *b, const CkSide *side)
{
  switch (b->type) {
    case CK_BYTES:
      return 1;
    case CK_ACT:
      return lf_dtype_size (side->be->act);
    default:
      return 4;
  }
}

static gsize
guard_front (const CkBuffer *b, const CkSide *side)
{
  return (b->check->tight ? 0 : GUARD_FRONT) + b->shift * ck_element_size (b, side);
}

static gsize
guard_behind (const CkBuffer *b)
{
  return b->check->tight ? 0 : GUARD_BEHIND;
}

void *
ck_at_element (const CkBuffer *b, gsize element)
{
  const Ck *c = b->check;
  const CkSide *side = c->side;
  guint8 *memory = b->memory[side == &c->reference ? 0 : 1 + c->set];

  return memory + guard_front (b, side) + element * ck_element_size (b, side);
}

void *
ck_at (const CkBuffer *b)
{
  return ck_at_element (b, 0);
}

void
ck_at_frames (const CkBuffer *b, void **at, const gint32 *slots, gint frames, gsize elements)
{
  gint i;

  for (i = 0; i < frames; i++)
    at[i] = ck_at_element (b, slots[i] * elements);
}

/* ------------------------------------------------------------------- runs */

/* All bytes of a buffer with its guards, as they are before a run. 0xff is NaN in every
 * type; bytes have no NaN, but 0xa5 is seldom right. */
static guint8 *
image (const CkBuffer *b, const CkSide *side, gsize *size)
{
  gsize element = ck_element_size (b, side), front = guard_front (b, side);
  guint8 *bytes;

  *size = front + b->count * element + guard_behind (b);
  bytes = g_malloc (*size + 1);
  memset (bytes, 0xff, *size);
  if (b->values)
    lf_dtype_convert (bytes + front, b->type == CK_ACT ? side->be->act : LF_DTYPE_F32, b->values,
        LF_DTYPE_F32, b->count);
  else if (b->bytes)
    memcpy (bytes + front, b->bytes, b->count * element);
  else if (b->type == CK_BYTES)
    memset (bytes + front, 0xa5, b->count);
  return bytes;
}

static gboolean
place (Ck *c, CkBuffer *b, CkSide *side, gint memory)
{
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *bytes = NULL;
  gsize size;

  bytes = image (b, side, &size);
  if (!b->memory[memory] && !(b->memory[memory] = side->be->ops->alloc (side->be, size, &error))) {
    ck_fail (c, "%s", error->message);
    return FALSE;
  }
  side->be->ops->upload (side->q, b->memory[memory], bytes, size);
  return TRUE;
}

static gboolean
prepare (Ck *c)
{
  LfDType act = c->tested.be->act;
  gsize total = 0;
  guint i;
  gint set;

  for (i = 0; i < c->n_buffers; i++) {
    CkBuffer *b = c->buffers[i];

    if (act != LF_DTYPE_F32 && b->type == CK_ACT && b->values)
      ck_round (b->values, b->count, act);
    total += b->count * ck_element_size (b, &c->tested);
  }
  c->sets = c->bench ? (gint) CLAMP (BENCH_BYTES / MAX (total, 1) + 1, 1, CK_MAX_SETS) : 1;
  c->set = 0;
  for (i = 0; i < c->n_buffers; i++) {
    if (!c->bench && !place (c, c->buffers[i], &c->reference, 0))
      return FALSE;
    for (set = 0; set < c->sets; set++)
      if (!place (c, c->buffers[i], &c->tested, 1 + set))
        return FALSE;
  }
  return ck_wait (c);
}

static guint8 *
fetch (const CkBuffer *b, CkSide *side, gint memory)
{
  gsize size = guard_front (b, side) + b->count * ck_element_size (b, side) + guard_behind (b);
  guint8 *bytes = g_malloc (size + 1);

  side->be->ops->download (side->q, bytes, b->memory[memory], size);
  return bytes;
}

/* Guards of outputs and all of inputs are as they were. */
static void
check_untouched (Ck *c, const CkBuffer *b, const guint8 *found)
{
  g_autofree guint8 *before = NULL;
  gsize front = guard_front (b, &c->tested), size, at;
  gsize behind = front + b->count * ck_element_size (b, &c->tested);

  before = image (b, &c->tested, &size);
  if (!b->output && memcmp (before, found, size))
    ck_fail (c, "input %s was written", b->name);
  if (!b->output)
    return;
  for (at = 0; at < front; at++) {
    if (found[at] != before[at]) {
      ck_fail (c, "%s was written %" G_GSIZE_FORMAT " bytes in front of it", b->name, front - at);
      return;
    }
  }
  for (at = behind; at < size; at++) {
    if (found[at] != before[at]) {
      ck_fail (c, "%s was written %" G_GSIZE_FORMAT " bytes behind its end", b->name, at - behind);
      return;
    }
  }
}

/* After run 1 of the tested backend: keeps results; after run 2: compares. */
static gboolean
take_results (Ck *c, gboolean again)
{
  guint8 *found[CK_MAX_BUFFERS] = {NULL};
  gboolean waited;
  guint i;

  for (i = 0; i < c->n_buffers; i++)
    if (c->buffers[i]->output || again)
      found[i] = fetch (c->buffers[i], &c->tested, 1);
  waited = ck_wait (c);
  for (i = 0; i < c->n_buffers; i++) {
    CkBuffer *b = c->buffers[i];
    gsize element = ck_element_size (b, &c->tested), front = guard_front (b, &c->tested);

    if (waited && found[i]) {
      check_untouched (c, b, found[i]);
      if (b->output && !again) {
        b->first = g_memdup2 (found[i] + front, MAX (b->count * element, 1));
        ck_compare (c, b);
        if (!place (c, b, &c->tested, 1))
          waited = FALSE;
      } else if (b->output && memcmp (b->first, found[i] + front, b->count * element)) {
        ck_fail (c, "%s is another one when it is computed again", b->name);
      }
    }
    g_free (found[i]);
  }
  return waited;
}

static gboolean
take_expected (Ck *c)
{
  g_autoptr (GError) error = NULL;
  guint i;

  if (!c->reference.be->ops->wait (c->reference.q, &error)) {
    ck_fail (c, "the CPU: %s", error->message);
    return FALSE;
  }
  for (i = 0; i < c->n_buffers; i++) {
    CkBuffer *b = c->buffers[i];
    gsize size = b->count * ck_element_size (b, &c->reference);

    if (b->output) {
      c->side = &c->reference;
      b->expected = g_malloc (size + 1);
      c->reference.be->ops->download (c->reference.q, b->expected, ck_at (b), size);
    }
  }
  return c->reference.be->ops->wait (c->reference.q, NULL);
}

/* Warm-up runs, then samples of several runs each, every one with its own mark. */
static gboolean
bench_next (Ck *c)
{
  const LfBackendOps *ops = c->tested.be->ops;
  enum
  {
    WARM = 5,
    SAMPLES = 20
  };

  if (c->run == 0) {
    if (c->n_buffers && !prepare (c)) {
      ck_end (c);
      return FALSE;
    }
    ops->set_profiling (c->tested.q, TRUE);
    c->side = &c->tested;
    c->samples = SAMPLES;
    c->inner = 1;
    c->inner_at = 0;
  }
  if (c->run == WARM) {
    double seconds[LF_MAX_TAGS] = {0};

    /* short operations are measured in a row, so that launching them is hidden */
    ops->mark (c->tested.q, 1);
    if (!ck_wait (c)) {
      ck_end (c);
      return FALSE;
    }
    ops->read_profile (c->tested.q, seconds);
    c->inner = (gint) CLAMP (1e-3 / MAX (seconds[1] / WARM, 1e-6), 1, 32);
    ops->mark (c->tested.q, 0);
  } else if (c->run > WARM && ++c->inner_at == c->inner) {
    ops->mark (c->tested.q, 1 + (c->run - WARM - 1) / c->inner);
    c->inner_at = 0;
  }
  if (c->run == WARM + SAMPLES * c->inner) {
    if (ck_wait (c))
      ck_bench_finish (c);
    ops->set_profiling (c->tested.q, FALSE);
    ck_end (c);
    return FALSE;
  }
  c->run++;
  c->set = c->run % c->sets;
  return TRUE;
}

gboolean
ck_run_next (Ck *c)
{
  gboolean on = !c->lost;

  if (c->bench && on)
    return bench_next (c);
  switch (on ? c->run++ : -1) {
    case 0:
      on = prepare (c);
      c->side = &c->reference;
      break;
    case 1:
      on = take_expected (c);
      c->side = &c->tested;
      break;
    case 2:
      on = take_results (c, FALSE);
      c->side = &c->tested;
      break;
    case 3:
      take_results (c, TRUE);
      on = FALSE;
      break;
    default:
      on = FALSE;
  }
  if (!on)
    ck_end (c);
  return on;
}
