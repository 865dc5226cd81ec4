/* lightforce: one video being made, for measurements
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STREAM_PRIVATE_H
#define LF_STREAM_PRIVATE_H

#include "backend.h"

G_BEGIN_DECLS

/* As LfBackendOps has them, for all that a stream does: it may have two queues. */
void lf_stream_set_profiling (LfStream *stream, gboolean on);
void lf_stream_read_profile (LfStream *stream, double *seconds);

/* As lf_stream_next, but the chunk stays latents: it says how many pictures it has and its data
 * are none. Chunks behind it in the same video cannot be decoded. */
LfChunk *lf_stream_next_latents (LfStream *stream, GCancellable *cancellable, GError **error);

G_END_DECLS
#endif
