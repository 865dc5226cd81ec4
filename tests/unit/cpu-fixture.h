/* lightforce: a CPU backend with a queue, for tests of its operations
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CPU_FIXTURE_H
#define LF_CPU_FIXTURE_H

#include "core/backend.h"

typedef struct
{
  LfBackend *be;
  LfQueue *q;
} Fixture;

static inline Fixture
open_cpu (gint threads)
{
  g_autoptr (GError) error = NULL;
  Fixture f;

  f.be = lf_backend_open ("cpu", LF_PRECISION_AUTO, &error);
  g_assert_no_error (error);
  f.q = f.be->ops->queue_new (f.be, threads, &error);
  g_assert_no_error (error);
  return f;
}

static inline void
close_cpu (Fixture *f)
{
  f->be->ops->queue_free (f->q);
  lf_backend_close (f->be);
}

#endif
