/* lightforce: what RTSP clients ask and set with GET_PARAMETER and SET_PARAMETER
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_RTSP_SERVER_PARAMS_H
#define LF_RTSP_SERVER_PARAMS_H

#include "pipelines/rtsp-server-channel.h"

G_BEGIN_DECLS

/* Bytes of a request's body. */
#define LF_RTSP_BODY_LIMIT 8192

/* Both answer with a status of RTSP and a body of type text/parameters in `reply`, which may be
 * empty: what was asked for, or each name that is to blame, with the reason behind a colon. Of a
 * request with several parameters all are set, or none.
 *
 *     prompt                text, one line
 *     prompt-switch         cut, recache, blend
 *     seed                  0 to 18446744073709551615; taken up by restart
 *     restart               true: begins a new video, behind all else that the request sets
 *     model, backend, chunk, stats, clients, late
 *                           are only asked for; late is the number of frames that showed a
 *                           picture again, of pictures left out and of moves of the schedule */
GstRTSPStatusCode lf_rtsp_params_set (
    LfRtspChannel *channel, const char *body, gsize size, GString *reply);
/* `clients`: how many there are. */
GstRTSPStatusCode lf_rtsp_params_get (
    LfRtspChannel *channel, const char *body, gsize size, guint clients, GString *reply);

G_END_DECLS
#endif
