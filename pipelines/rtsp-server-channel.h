/* lightforce: one video of the RTSP server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_RTSP_SERVER_CHANNEL_H
#define LF_RTSP_SERVER_CHANNEL_H

#include <gst/rtsp-server/rtsp-server.h>

#include "core/lightforce.h"
#include "pipelines/rtsp-server-config.h"

G_BEGIN_DECLS

/* A media factory: all clients of its path share one pipeline, whatever else is in their address.
 * It keeps the model loaded, and what was set of prompt and seed while there was no pipeline.
 *
 * The channel holds the pipeline, too, and lets go of it a while after the last client, or never
 * where the mount is warm: a client that comes while the last one goes must not find one that is
 * being taken down. */
#define LF_TYPE_RTSP_CHANNEL (lf_rtsp_channel_get_type ())
G_DECLARE_FINAL_TYPE (LfRtspChannel, lf_rtsp_channel, LF, RTSP_CHANNEL, GstRTSPMediaFactory)

/* Called in any thread when a pipeline of `channel` has failed, or its video is over. */
typedef void (*LfRtspChannelEnded) (
    LfRtspChannel *channel, GstRTSPMedia *media, gpointer user_data);

/* `mount` has to live as long as the channel. Loads the model and tries the launch line; NULL with
 * `error` set, which names the mount. `cancellable` interrupts the loading, and later each wait for a
 * first picture. */
LfRtspChannel *lf_rtsp_channel_new (const LfRtspConfig *config, const LfRtspMount *mount,
    GCancellable *cancellable, GError **error);
void lf_rtsp_channel_set_ended (
    LfRtspChannel *channel, LfRtspChannelEnded ended, gpointer user_data);
const LfRtspMount *lf_rtsp_channel_get_mount (LfRtspChannel *channel);

/* Makes the pipeline ready, which takes as long as its first pictures; to be called before a client
 * is given it. FALSE: the log says why, or the cancellable was cancelled. */
gboolean lf_rtsp_channel_open (LfRtspChannel *channel, GstRTSPThreadPool *threads);
/* Whether sessions have `media`, and have not paused it where `playing`. */
typedef gboolean (*LfRtspChannelUsed) (GstRTSPMedia *media, gboolean playing, gpointer user_data);
/* To be called in the main thread every second or so: pauses a pipeline that nobody plays, and lets go
 * of it, or begins to make one again that is to be warm. Does not wait. */
void lf_rtsp_channel_tidy (
    LfRtspChannel *channel, GstRTSPThreadPool *threads, LfRtspChannelUsed used, gpointer user_data);
/* Lets go of the pipeline at once if it is `media`. NULL, at the end, in the main thread: whatever it
 * is, and waits for what tidying has begun, which the cancellable ends. FALSE: it is just being
 * made. */
gboolean lf_rtsp_channel_close (LfRtspChannel *channel, GstRTSPMedia *media);

/* The source of the pipeline that plays, or else one that is in its place with all that is set;
 * to unref. */
GstElement *lf_rtsp_channel_get_source (LfRtspChannel *channel);
/* Sets a property, of the pipeline that plays and of later ones. */
void lf_rtsp_channel_set (LfRtspChannel *channel, const char *property, const GValue *value);
/* Begins the video again from its seed, where one plays. */
void lf_rtsp_channel_restart (LfRtspChannel *channel);
/* Asks the encoder for a picture with which a new client can begin. */
void lf_rtsp_channel_refresh (LfRtspChannel *channel);

G_END_DECLS
#endif
