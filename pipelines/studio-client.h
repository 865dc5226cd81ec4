/* lightforce: one client of the studio's API: what it asks for, and its viewer
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_CLIENT_H
#define LF_STUDIO_CLIENT_H

#include "pipelines/studio-connection.h"
#include "pipelines/studio-viewer.h"

G_BEGIN_DECLS

/* Carries out each request that comes by its connection, and answers it. All in the main thread. */
typedef struct _LfClient LfClient;

/* What all clients share. It is copied; what it points to has to live as long as they do. */
typedef struct
{
  const LfStudioConfig *config;
  const LfModelInfo *info;
  LfShow *show;
  LfGuard *guard;
} LfClientContext;

typedef struct
{
  /* A message "state", new. */
  JsonObject *(*make_state) (gpointer user_data);
  /* What a state tells has changed. */
  void (*changed) (gpointer user_data);
  /* The client has set this prompt. */
  void (*prompted) (const char *prompt, gpointer user_data);
  /* Its connection has ended; the last call, in which the client may be freed. */
  void (*gone) (LfClient *client, gpointer user_data);
} LfClientFuncs;

/* `socket` is that of `websocket`, NULL: unknown. `funcs` have to live as long. */
LfClient *lf_client_new (const LfClientContext *context, SoupWebsocketConnection *websocket,
    GSocket *socket, const LfClientFuncs *funcs, gpointer user_data);
/* Calls `changed` where it had a viewer. */
void lf_client_free (LfClient *client);

/* The client's own. */
LfConnection *lf_client_get_connection (LfClient *client);
/* The client's own; NULL: it watches nothing. */
LfViewer *lf_client_get_viewer (LfClient *client);

G_END_DECLS
#endif
