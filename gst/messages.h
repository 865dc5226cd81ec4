/* lightforce: what the element tells of its frames, on the bus and in them
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_MESSAGES_H
#define LF_SRC_MESSAGES_H

#include "gst/element.h"

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
/* The element message `lightforce-chunk`; `made_us` as LfFrameItem has it. */
void lf_src_post_chunk (
    GstElement *element, const LfChunk *chunk, gint64 made_us, guint64 frame, GstClockTime pts);
/* A QOS message for a frame that showed a picture again or a picture that was left out; `jitter`:
 * how late it is; `counts` include it. */
void lf_src_post_qos (GstElement *element, GstClockTime due, GstClockTime duration,
    GstClockTimeDiff jitter, const LfSrcCounts *counts);
/* The value of the property `stats`. */
GstStructure *lf_src_make_stats (
    const LfStats *stats, guint queue_level, const LfSrcCounts *counts);

G_END_DECLS
#endif
