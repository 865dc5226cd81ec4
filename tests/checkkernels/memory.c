/* lightforce: checkkernels, memory, copies and measurements of time
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "check.h"

static guint8 *
random_bytes (Ck *c, gsize count)
{
  guint8 *bytes = g_malloc (count + 8);
  gsize i;

  for (i = 0; i < count; i += 8) {
    guint64 r = ck_random (c);

    memcpy (bytes + i, &r, 8);
  }
  return bytes;
}

static void *
take (Ck *c, gsize bytes)
{
  g_autoptr (GError) error = NULL;
  void *mem = c->tested.be->ops->alloc (c->tested.be, bytes, &error);

  if (!mem)
    ck_fail (c, "%s", error->message);
  return mem;
}

/* ------------------------------------------------------------------ copies */

/* Up and down again; the source is overwritten as soon as upload has returned. */
static void
transfer (Ck *c, gsize bytes, gsize offset)
{
  const LfBackendOps *ops = c->tested.be->ops;
  g_autofree guint8 *sent = random_bytes (c, bytes), *kept = g_memdup2 (sent, bytes + 1);
  g_autofree guint8 *found = g_malloc0 (bytes + 1);
  guint8 *mem;

  ck_begin (c, "%" G_GSIZE_FORMAT " bytes to offset %" G_GSIZE_FORMAT, bytes, offset);
  if ((mem = take (c, bytes + offset + 16))) {
    ops->upload (c->tested.q, mem + offset, sent, bytes);
    memset (sent, 0x5a, bytes);
    ops->download (c->tested.q, found, mem + offset, bytes);
    if (ck_wait (c) && memcmp (found, kept, bytes))
      ck_fail (c, "other bytes come back");
    ops->download (c->tested.q, found, mem + offset + bytes, MIN (bytes, 16));
    if (ck_wait (c) && bytes && found[0])
      ck_fail (c, "the byte behind was written");
    ops->free (c->tested.be, mem);
  }
  ck_end (c);
}

/* Many small ones in a row, from one buffer. */
static void
transfer_row (Ck *c)
{
  const LfBackendOps *ops = c->tested.be->ops;
  guint8 small[24], *mem, found[100 * sizeof small];
  guint i;

  ck_begin (c, "100 uploads from one place");
  if ((mem = take (c, sizeof found))) {
    for (i = 0; i < 100; i++) {
      memset (small, i + 1, sizeof small);
      ops->upload (c->tested.q, mem + i * sizeof small, small, sizeof small);
    }
    ops->download (c->tested.q, found, mem, sizeof found);
    if (ck_wait (c))
      for (i = 0; i < sizeof found; i++)
        if (found[i] != i / sizeof small + 1) {
          ck_fail (c, "byte %u is %d", i, found[i]);
          break;
        }
    ops->free (c->tested.be, mem);
  }
  ck_end (c);
}

void
ck_check_transfer (Ck *c)
{
  static const gsize sizes[] = {
      1, 257, 4099, 3, 255, 65537, (8 << 20) - 1, (8 << 20), (8 << 20) + 1, (41 << 20) + 13};
  gint i;

  if (c->bench)
    return;
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (sizes)); i++)
    transfer (c, sizes[i], i % 2 ? 3 : 0);
  transfer_row (c);
}

static void
copy (Ck *c, gsize bytes, gsize from, gsize to)
{
  CkBuffer *x, *y;
  gsize i;

  ck_begin (c, "%" G_GSIZE_FORMAT " bytes from offset %" G_GSIZE_FORMAT " to %" G_GSIZE_FORMAT,
      bytes, from, to);
  c->shift = from;
  x = ck_in (c, CK_BYTES, "x", 1, bytes, CK_ZEROS);
  for (i = 0; i < bytes; i++)
    x->bytes[i] = ck_random (c) >> 9;
  c->shift = to;
  y = ck_out (c, CK_BYTES, "y", 1, bytes);
  c->bytes = 2.0 * bytes;
  CK_RUN (c, ops->copy (q, ck_at (y), ck_at (x), bytes));
}

void
ck_check_copy (Ck *c)
{
  static const gsize sizes[] = {1, 255, 4099, 65536, 70001, (9 << 20) + 5};
  gint i;

  if (c->bench) {
    copy (c, (gsize) 64 << 20, 0, 0);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (sizes)); i++) {
    copy (c, sizes[i], 0, 0);
    copy (c, sizes[i], i % 7, 3);
  }
}

/* ------------------------------------------------------------------ memory */

/* Zeroed, aligned, counted, whatever lay there before. */
void
ck_check_memory (Ck *c)
{
  static const gsize sizes[] = {1, 4096, 100001, 0, 12 << 20};
  const LfBackendOps *ops = c->tested.be->ops;
  LfMemory before, with, after;
  gint i, j;

  if (c->bench)
    return;
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (sizes)); i++) {
    gsize bytes = sizes[i], at;
    g_autofree guint8 *found = g_malloc (bytes + 1);

    ck_begin (c, "%" G_GSIZE_FORMAT " bytes", bytes);
    for (j = 0; j < 2; j++) {
      guint8 *mem;

      ops->get_memory (c->tested.be, &before);
      if (!(mem = take (c, bytes)))
        break;
      ops->get_memory (c->tested.be, &with);
      if (GPOINTER_TO_SIZE (mem) % 256)
        ck_fail (c, "%p is not aligned to 256 bytes", (void *) mem);
      if (with.used < before.used + bytes || with.peak < with.used)
        ck_fail (c,
            "%" G_GSIZE_FORMAT " bytes in use before it, %" G_GSIZE_FORMAT
            " after, at most %" G_GSIZE_FORMAT,
            before.used, with.used, with.peak);
      memset (found, 0xff, bytes + 1);
      ops->download (c->tested.q, found, mem, bytes);
      if (ck_wait (c)) {
        for (at = 0; at < bytes && !found[at]; at++)
          ;
        if (at < bytes)
          ck_fail (c, "byte %" G_GSIZE_FORMAT " is %d and not 0", at, found[at]);
      }
      memset (found, 0xff, bytes + 1);
      ops->upload (c->tested.q, mem, found, bytes);
      ck_wait (c);
      ops->free (c->tested.be, mem);
      ops->get_memory (c->tested.be, &after);
      if (after.used != before.used || after.peak < with.used)
        ck_fail (c, "%" G_GSIZE_FORMAT " bytes more are in use after it", after.used - before.used);
    }
    ck_end (c);
  }
}

/* -------------------------------------------------------------------- time */

void
ck_check_profile (Ck *c)
{
  const LfBackendOps *ops = c->tested.be->ops;
  LfQueue *q = c->tested.q;
  double seconds[LF_MAX_TAGS] = {0}, again[LF_MAX_TAGS] = {0};
  const gsize count = 200000;
  float *mem;
  gint i;

  if (c->bench)
    return;
  ck_begin (c, "tags 3 and %d", LF_MAX_TAGS - 1);
  mem = take (c, count * sizeof (float));
  if (mem) {
    ops->mark (q, 1); /* off: nothing */
    ops->set_profiling (q, TRUE);
    for (i = 0; i < 3; i++) {
      ops->noise (q, mem, count, 1, 2, i);
      ops->mark (q, 3);
    }
    ops->noise (q, mem, count, 1, 2, 9);
    ops->mark (q, LF_MAX_TAGS - 1);
    if (ck_wait (c))
      ops->read_profile (q, seconds);
    for (i = 0; i < LF_MAX_TAGS; i++) {
      gboolean used = i == 3 || i == LF_MAX_TAGS - 1;

      if (used ? !(seconds[i] > 0 && seconds[i] < 60) : seconds[i] != 0)
        ck_fail (c, "tag %d took %g s", i, seconds[i]);
    }
    ops->read_profile (q, again);
    for (i = 0; i < LF_MAX_TAGS; i++)
      if (again[i] != 0)
        ck_fail (c, "tag %d is counted twice", i);
    ops->set_profiling (q, FALSE);
    ops->noise (q, mem, count, 1, 2, 3);
    ops->mark (q, 3);
    if (ck_wait (c))
      ops->read_profile (q, again);
    if (again[3] != 0)
      ck_fail (c, "it goes on when it is switched off");
    ops->free (c->tested.be, mem);
  }
  ck_end (c);
}

/* ------------------------------------------------------------- conversions */

static void
convert (Ck *c, gsize count, gsize shift, gboolean from_float)
{
  CkBuffer *x, *y;

  ck_begin (c, "count=%" G_GSIZE_FORMAT " shift=%" G_GSIZE_FORMAT, count, shift);
  c->shift = shift;
  x = ck_in (c, from_float ? CK_F32 : CK_ACT, "x", 1, count, CK_MIXED);
  y = ck_out (c, from_float ? CK_ACT : CK_F32, "y", 1, count);
  y->exact = TRUE;
  c->bytes = count * (4.0 + lf_dtype_size (c->tested.be->act));
  if (from_float) {
    CK_RUN (c, ops->from_float (q, ck_at (y), ck_at (x), count));
  } else {
    CK_RUN (c, ops->to_float (q, ck_at (y), ck_at (x), count));
  }
}

static void
convert_all (Ck *c, gboolean from_float)
{
  static const gsize counts[] = {1, 7, 1025, 8, 127, 129, 65536, 65539, (8 << 20) / 4 + 3};
  gint i;

  if (c->bench) {
    convert (c, 512 * 4096, 0, from_float);
    return;
  }
  for (i = 0; i < ck_cases (c, G_N_ELEMENTS (counts)); i++) {
    convert (c, counts[i], 0, from_float);
    convert (c, counts[i], 1, from_float);
  }
}

void
ck_check_from_float (Ck *c)
{
  convert_all (c, TRUE);
}

void
ck_check_to_float (Ck *c)
{
  convert_all (c, FALSE);
}
