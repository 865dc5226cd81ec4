/* lightforce: what the element tells of its frames, on the bus and in them
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_MESSAGES_H
#define LF_SRC_MESSAGES_H

#include "gst/worker.h"

G_BEGIN_DECLS

/* An error message whose text is the one of `error`; `running`: the video had begun. */
void lf_src_post_error (GstElement *element, const GError *error, gboolean running);
/* A setting that was refused while the video goes on. */
void lf_src_post_warning (GstElement *element, const GError *error);
/* A progress message of the loading. */
void lf_src_post_load (GstElement *element, LfSrcLoadState state, const char *text, gint percent);
/* The element message `lightforce-prompt`. */
void lf_src_post_prompt (
    GstElement *element, const char *prompt, guint serial, guint64 frame, GstClockTime pts);
/* The value of the property `stats`. */
GstStructure *lf_src_make_stats (
    const LfStats *stats, guint queue_level, guint64 frames, guint64 resyncs);

G_END_DECLS
#endif
