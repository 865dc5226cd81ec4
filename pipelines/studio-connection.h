/* lightforce: a client's connection to the studio, and how much may come by it
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_CONNECTION_H
#define LF_STUDIO_CONNECTION_H

#include <json-glib/json-glib.h>
#include <libsoup/soup.h>

G_BEGIN_DECLS

/* A thread that ends connections whose messages do not. */
typedef struct _LfGuard LfGuard;

LfGuard *lf_guard_new (void);
/* Once the connections that it guards are freed. */
void lf_guard_free (LfGuard *guard);

/* A WebSocket connection that passes on messages of text, as long, as many and as complete as
 * docs/STUDIO.md allows, and itself answers, or closes, where they are not. All in the main thread. */
typedef struct _LfConnection LfConnection;

typedef struct
{
  /* A message, UTF-8 of `size` bytes. */
  void (*received) (const char *text, gsize size, gpointer user_data);
  /* It has ended; the last call, in which the connection may be freed. */
  void (*gone) (gpointer user_data);
} LfConnectionFuncs;

/* `socket` is that of `websocket`, NULL: unknown. `funcs` and `guard` have to live as long. */
LfConnection *lf_connection_new (SoupWebsocketConnection *websocket, GSocket *socket,
    LfGuard *guard, const LfConnectionFuncs *funcs, gpointer user_data);
/* Says nothing more, and calls nothing. */
void lf_connection_free (LfConnection *connection);

/* One that is about to end takes nothing. */
void lf_connection_send_text (LfConnection *connection, const char *text);
/* Takes over `message`. */
void lf_connection_send (LfConnection *connection, JsonObject *message);

/* Says goodbye, and passes on nothing more; `gone` follows once the client has answered. */
void lf_connection_end (LfConnection *connection, const char *why);
/* Whether the client has long answered no ping, or leaves unread what it is sent, and so takes
 * nothing, a goodbye included. */
gboolean lf_connection_is_stuck (LfConnection *connection);
/* Without a goodbye, for one that would not take it; it can then only be freed. */
void lf_connection_break (LfConnection *connection);

G_END_DECLS
#endif
