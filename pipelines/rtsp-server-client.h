/* lightforce: the RTSP server's side of its clients: who may do what, and how many
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_RTSP_SERVER_CLIENT_H
#define LF_RTSP_SERVER_CLIENT_H

#include "pipelines/rtsp-server-channel.h"

G_BEGIN_DECLS

/* A server whose clients ask and set parameters, and of whom there are only so many. */
#define LF_TYPE_RTSP_SERVER (lf_rtsp_server_get_type ())
G_DECLARE_FINAL_TYPE (LfRtspServer, lf_rtsp_server, LF, RTSP_SERVER, GstRTSPServer)

/* Not listening yet, without mounts. `config` has to live as long as the server. */
LfRtspServer *lf_rtsp_server_new (const LfRtspConfig *config, GError **error);
/* Adds `channel` at its path, and who may use it. */
void lf_rtsp_server_add (LfRtspServer *self, LfRtspChannel *channel);
/* To be called every second or so: ends what has been silent for too long. */
void lf_rtsp_server_tidy (LfRtspServer *self);
/* Ends all sessions that play `media`, or all where it is NULL, and connections that have none. */
void lf_rtsp_server_drop (LfRtspServer *self, GstRTSPMedia *media);
/* Whether a session has `media`, and has not paused it where `playing`. */
gboolean lf_rtsp_server_uses (LfRtspServer *self, GstRTSPMedia *media, gboolean playing);
/* Connections that are not over the limit. */
guint lf_rtsp_server_count (LfRtspServer *self);

G_END_DECLS
#endif
