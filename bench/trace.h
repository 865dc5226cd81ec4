/* lightforce-bench: what a GPU does when
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_BENCH_TRACE_H
#define LF_BENCH_TRACE_H

#include <glib.h>

G_BEGIN_DECLS

typedef struct
{
  guint64 activities;             /* kernels, copies and fills */
  double span, busy, longest_gap; /* seconds */
} BenchTrace;

/* Records all that the GPU does from now on, by NVIDIA's CUPTI, which is opened here. */
gboolean bench_trace_start (GError **error);

/* Drops what was recorded so far, so that the recorder's own start is not counted; the GPU has
 * nothing to do meanwhile. */
void bench_trace_forget (void);

/* Ends it and writes the record to `path` as JSON of the Trace Event Format, which
 * chrome://tracing and Perfetto show. */
gboolean bench_trace_stop (const char *path, BenchTrace *trace, GError **error);

G_END_DECLS
#endif
