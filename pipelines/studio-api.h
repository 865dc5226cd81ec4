/* lightforce: what the studio and its pages tell each other
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_API_H
#define LF_STUDIO_API_H

#include <libsoup/soup.h>

#include "pipelines/studio-show.h"

G_BEGIN_DECLS

/* JSON over WebSocket connections; docs/STUDIO.md has every message. All in the main thread. */
typedef struct _LfApi LfApi;

/* The video of `config`, which has to live as long. Loads the model; `cancellable` interrupts it.
 * `ended` is called when the video is over; `failed`: by an error, which was printed. */
LfApi *lf_api_new (const LfStudioConfig *config, GCancellable *cancellable,
    void (*ended) (gboolean failed, gpointer user_data), gpointer user_data, GError **error);
/* Closes all connections. */
void lf_api_free (LfApi *api);

/* Whether there is room for one more client. */
gboolean lf_api_has_room (LfApi *api);
/* `socket` is that of `websocket`, NULL: unknown. */
void lf_api_add_client (LfApi *api, SoupWebsocketConnection *websocket, GSocket *socket);
/* Closes all connections, and ends the recording; calls `done` when its file is complete. */
void lf_api_stop (LfApi *api, void (*done) (gpointer user_data), gpointer user_data);

G_END_DECLS
#endif
