/* lightforce: what happens when a GPU's memory is used up, when backends share it, and when it
 * fails
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <string.h>

#include "core/backend.h"

#define SKIPPED 77

static LfBackend *
open_or_die (const char *name)
{
  g_autoptr (GError) error = NULL;
  LfBackend *be = lf_backend_open (name, LF_PRECISION_AUTO, &error);

  if (!be)
    g_error ("%s: %s", name, error->message);
  return be;
}

static LfQueue *
queue_or_die (LfBackend *be)
{
  g_autoptr (GError) error = NULL;
  LfQueue *q = be->ops->queue_new (be, 1, &error);

  g_assert_no_error (error);
  return q;
}

/* The backend works: noise comes out and is not all the same. */
static void
assert_works (LfBackend *be)
{
  g_autoptr (GError) error = NULL;
  LfQueue *q = queue_or_die (be);
  float host[64], *y = be->ops->alloc (be, sizeof (host), &error);

  g_assert_no_error (error);
  be->ops->noise (q, y, G_N_ELEMENTS (host), 1, 2, 3);
  be->ops->download (q, host, y, sizeof (host));
  be->ops->wait (q, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (host[0], !=, host[1]);
  be->ops->free (be, y);
  be->ops->queue_free (q);
}

/* More than there is: an error of its own kind, after which the device goes on. */
static void
use_up_memory (void)
{
  g_autoptr (GError) error = NULL;
  LfBackend *be = open_or_die ("cuda");
  LfMemory memory;
  void *mem;

  be->ops->get_memory (be, &memory);
  mem = be->ops->alloc (be, memory.available + ((gsize) 1 << 30), &error);
  g_assert_null (mem);
  g_assert_error (error, LF_ERROR, LF_ERROR_NO_MEMORY);
  printf ("memory: %s\n", error->message);
  g_assert_nonnull (strstr (error->message, "choose"));
  assert_works (be);
  lf_backend_close (be);
}

/* A backend for decoders beside another: memory of one serves the other and counts for both,
 * half floats stay finite, and what no decoder does is refused. */
static void
share_device (void)
{
  static const float wide[] = {1.5f, 1e6f, -1e6f, 65504};
  g_autoptr (GError) error = NULL, refused = NULL;
  LfBackend *be = open_or_die ("cuda");
  LfBackend *half = lf_backend_open ("cuda", LF_PRECISION_FP16, &error);
  LfMemory before, after;
  float host[G_N_ELEMENTS (wide)], *x;
  LfQueue *q;
  void *y;

  g_assert_no_error (error);
  be->ops->get_memory (be, &before);
  x = half->ops->alloc (half, sizeof (wide), &error);
  y = half->ops->alloc (half, sizeof (wide), &error);
  g_assert_no_error (error);
  be->ops->get_memory (be, &after);
  g_assert_cmpuint (after.used, ==, before.used + 2 * sizeof (wide));
  q = queue_or_die (half);
  half->ops->upload (q, x, wide, sizeof (wide));
  half->ops->from_float (q, y, x, G_N_ELEMENTS (wide));
  half->ops->to_float (q, x, y, G_N_ELEMENTS (wide));
  half->ops->download (q, host, x, sizeof (wide));
  half->ops->wait (q, &error);
  g_assert_no_error (error);
  g_assert_true (host[0] == 1.5f && host[1] == 65504 && host[2] == -65504 && host[3] == 65504);
  half->ops->silu (q, y, y, 1);
  g_assert_false (half->ops->wait (q, &refused));
  g_assert_error (refused, LF_ERROR, LF_ERROR_UNSUPPORTED);
  printf ("refused: %s\n", refused->message);
  half->ops->queue_free (q);
  half->ops->free (half, x);
  half->ops->free (half, y);
  lf_backend_close (half);
  assert_works (be);
  lf_backend_close (be);
}

/* A write to where nothing is makes the device unusable for this process; the failure is
 * reported once, closing works, and the CPU takes over. */
static void
lose_device (void)
{
  g_autoptr (GError) error = NULL, again = NULL;
  LfBackend *be = open_or_die ("cuda"), *other;
  LfQueue *q = queue_or_die (be);

  be->ops->noise (q, (float *) 0x1000, 1 << 20, 1, 2, 3);
  g_assert_false (be->ops->wait (q, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_BACKEND);
  printf ("lost: %s\n", error->message);
  be->ops->queue_free (q);
  lf_backend_close (be);
  be = lf_backend_open ("cuda", LF_PRECISION_AUTO, &again);
  g_assert_null (be);
  g_assert_error (again, LF_ERROR, LF_ERROR_BACKEND);
  printf ("again: %s\n", again->message);
  other = open_or_die ("auto");
  g_assert_cmpstr (other->name, ==, "cpu");
  assert_works (other);
  lf_backend_close (other);
}

int
main (void)
{
  g_autoptr (GError) error = NULL;
  LfBackend *be = lf_backend_open ("cuda", LF_PRECISION_AUTO, &error);

  if (!be) {
    printf ("skipped: %s\n", error->message);
    return SKIPPED;
  }
  lf_backend_close (be);
  use_up_memory ();
  share_device ();
  lose_device ();
  return 0;
}
