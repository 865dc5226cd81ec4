/* lightforce: a client's connection to the studio, and how much may come by it
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * libsoup bounds the pieces of a message and not their sum, and reads for as long as there is
 * something, in the main thread: a client that has sent a lot without completing a message is ended
 * by another thread, which shuts its socket.
 */
#include "pipelines/studio-connection.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "pipelines/studio-json.h"
#include "pipelines/studio-traffic.h"

/* Longest message of a client, bytes. */
#define MESSAGE_LIMIT 32768
/* Messages of a client that are looked into: so many at once, so many a second; one that sends this
 * many more is dropped. */
#define BURST 60
#define RATE 30
#define EXCESS_LIMIT 2000
/* A client that answers no ping for so long is dropped, with all that waits for it. */
#define SILENCE_US (20 * G_USEC_PER_SEC)
/* How often is looked at what came without completing a message. */
#define PIECES_US (G_USEC_PER_SEC / 10)

struct _LfGuard
{
  GThread *thread;
  GMutex lock; /* of what follows, and of `traffic` of the connections */
  GCond cond;
  gboolean quit;
  GPtrArray *connections; /* of LfConnection */
};

struct _LfConnection
{
  SoupWebsocketConnection *websocket;
  GSocket *socket; /* NULL: unknown */
  LfGuard *guard;
  const LfConnectionFuncs *funcs;
  gpointer user_data;
  LfTraffic traffic;
  double credit;  /* messages that may come now */
  gint64 counted; /* when it was last added to, monotonic time */
  guint excess;
  gint64 heard;   /* monotonic time */
  guint broken;   /* source that gives the connection up; 0: there is none */
  gboolean ended; /* nothing more is passed on */
};

/* ------------------------------------------------------------------------- guard */

/* Bytes that the client has sent and acknowledged. FALSE: nobody knows. */
static gboolean
count_bytes (const LfConnection *connection, guint64 *received, guint64 *acked)
{
  struct tcp_info info = {0};
  socklen_t size = sizeof (info);
  gboolean known =
      connection->socket
      && getsockopt (g_socket_get_fd (connection->socket), IPPROTO_TCP, TCP_INFO, &info, &size)
             == 0;

  *received = info.tcpi_bytes_received;
  *acked = info.tcpi_bytes_acked;
  return known;
}

/* A message is complete, or a ping is answered. */
static void
note_received (LfConnection *connection, gboolean pong)
{
  guint64 received, acked;

  connection->heard = g_get_monotonic_time ();
  g_mutex_lock (&connection->guard->lock);
  if (count_bytes (connection, &received, &acked)) {
    if (pong)
      lf_traffic_note_pong (&connection->traffic, received, connection->heard);
    else
      lf_traffic_note_message (&connection->traffic, received);
  }
  g_mutex_unlock (&connection->guard->lock);
}

static gpointer
watch (gpointer data)
{
  LfGuard *guard = data;
  guint i;

  g_mutex_lock (&guard->lock);
  while (!guard->quit) {
    g_cond_wait_until (&guard->cond, &guard->lock, g_get_monotonic_time () + PIECES_US);
    for (i = 0; i < guard->connections->len; i++) {
      LfConnection *connection = g_ptr_array_index (guard->connections, i);
      guint64 received, acked;

      if (count_bytes (connection, &received, &acked)
          && lf_traffic_has_pieces (&connection->traffic, received))
        g_socket_shutdown (connection->socket, TRUE, TRUE, NULL);
    }
  }
  g_mutex_unlock (&guard->lock);
  return NULL;
}

LfGuard *
lf_guard_new (void)
{
  LfGuard *guard = g_new0 (LfGuard, 1);

  g_mutex_init (&guard->lock);
  g_cond_init (&guard->cond);
  guard->connections = g_ptr_array_new ();
  guard->thread = g_thread_new ("guard", watch, guard);
  return guard;
}

void
lf_guard_free (LfGuard *guard)
{
  g_mutex_lock (&guard->lock);
  guard->quit = TRUE;
  g_cond_signal (&guard->cond);
  g_mutex_unlock (&guard->lock);
  g_thread_join (guard->thread);
  g_ptr_array_unref (guard->connections);
  g_mutex_clear (&guard->lock);
  g_cond_clear (&guard->cond);
  g_free (guard);
}

/* ----------------------------------------------------------------------- sending */

void
lf_connection_send_text (LfConnection *connection, const char *text)
{
  if (soup_websocket_connection_get_state (connection->websocket) != SOUP_WEBSOCKET_STATE_OPEN)
    return;
  g_mutex_lock (&connection->guard->lock);
  lf_traffic_note_text (&connection->traffic, strlen (text));
  g_mutex_unlock (&connection->guard->lock);
  soup_websocket_connection_send_text (connection->websocket, text);
}

void
lf_connection_send (LfConnection *connection, JsonObject *message)
{
  g_autofree char *text = lf_message_to_text (message);

  lf_connection_send_text (connection, text);
  json_object_unref (message);
}

static void
send_error (LfConnection *connection, const char *code, const char *text)
{
  lf_connection_send (connection, lf_message_of_error (NULL, code, text));
}

/* libsoup takes it once. */
static void
say_goodbye (LfConnection *connection, gushort code, const char *why)
{
  if (soup_websocket_connection_get_state (connection->websocket) == SOUP_WEBSOCKET_STATE_OPEN)
    soup_websocket_connection_close (connection->websocket, code, why);
}

/* --------------------------------------------------------------------- receiving */

/* FALSE: the client sends faster than anything is looked into. */
static gboolean
has_credit (LfConnection *connection)
{
  gint64 now = g_get_monotonic_time ();

  connection->credit += (double) (now - connection->counted) / G_USEC_PER_SEC * RATE;
  connection->credit = MIN (connection->credit, BURST);
  connection->counted = now;
  if (connection->credit < 1) {
    connection->excess++;
    return FALSE;
  }
  connection->credit--;
  connection->excess = 0;
  return TRUE;
}

static void
message_came (SoupWebsocketConnection *websocket, gint type, GBytes *message, gpointer data)
{
  LfConnection *connection = data;
  gsize size;
  const char *text = g_bytes_get_data (message, &size);

  note_received (connection, FALSE);
  if (connection->ended)
    return;
  if (!has_credit (connection)) {
    /* told once: the answers must not become a flood, too */
    if (connection->excess == 1)
      send_error (connection, "too-fast", "messages come too fast and are not looked at");
    else if (connection->excess == EXCESS_LIMIT)
      say_goodbye (connection, SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION, "messages come too fast");
  } else if (type != SOUP_WEBSOCKET_DATA_TEXT) {
    send_error (connection, "bad-json", "the message: it is binary; messages are text");
  } else {
    connection->funcs->received (text, size, connection->user_data);
  }
}

static void
pong_came (SoupWebsocketConnection *websocket, GBytes *message, gpointer data)
{
  note_received (data, TRUE);
}

/* ---------------------------------------------------------------------- the end */

static void
closed (SoupWebsocketConnection *websocket, gpointer data)
{
  LfConnection *connection = data;

  connection->funcs->gone (connection->user_data);
}

/* Of a connection that is broken: there is nobody to say goodbye to. */
static gboolean
give_up (gpointer data)
{
  LfConnection *connection = data;

  connection->broken = 0;
  lf_connection_break (connection);
  connection->funcs->gone (connection->user_data);
  return G_SOURCE_REMOVE;
}

/* libsoup would wait for an answer to its goodbye. What breaks the protocol gets one, what does not
 * read does not. */
static void
failed (SoupWebsocketConnection *websocket, GError *error, gpointer data)
{
  LfConnection *connection = data;

  if (error->domain != SOUP_WEBSOCKET_ERROR && connection->broken == 0)
    connection->broken = g_idle_add (give_up, connection);
}

void
lf_connection_end (LfConnection *connection, const char *why)
{
  connection->ended = TRUE;
  say_goodbye (connection, SOUP_WEBSOCKET_CLOSE_GOING_AWAY, why);
}

gboolean
lf_connection_is_stuck (LfConnection *connection)
{
  guint64 received, acked;
  gboolean unread;

  g_mutex_lock (&connection->guard->lock);
  unread = count_bytes (connection, &received, &acked)
           && lf_traffic_has_unread (&connection->traffic, acked);
  g_mutex_unlock (&connection->guard->lock);
  return unread || g_get_monotonic_time () - connection->heard >= SILENCE_US;
}

void
lf_connection_break (LfConnection *connection)
{
  g_io_stream_close (soup_websocket_connection_get_io_stream (connection->websocket), NULL, NULL);
}

/* -------------------------------------------------------------------------- life */

LfConnection *
lf_connection_new (SoupWebsocketConnection *websocket, GSocket *socket, LfGuard *guard,
    const LfConnectionFuncs *funcs, gpointer user_data)
{
  LfConnection *connection = g_new0 (LfConnection, 1);
  guint64 received, acked;

  connection->websocket = g_object_ref (websocket);
  connection->socket = socket ? g_object_ref (socket) : NULL;
  connection->guard = guard;
  connection->funcs = funcs;
  connection->user_data = user_data;
  g_mutex_lock (&guard->lock);
  count_bytes (connection, &received, &acked);
  lf_traffic_init (&connection->traffic, received, acked);
  g_ptr_array_add (guard->connections, connection);
  g_mutex_unlock (&guard->lock);
  connection->credit = BURST;
  connection->heard = connection->counted = g_get_monotonic_time ();
  soup_websocket_connection_set_max_incoming_payload_size (websocket, MESSAGE_LIMIT);
  soup_websocket_connection_set_keepalive_interval (websocket, LF_TRAFFIC_PING_SECONDS);
  g_signal_connect (websocket, "message", G_CALLBACK (message_came), connection);
  g_signal_connect (websocket, "pong", G_CALLBACK (pong_came), connection);
  g_signal_connect (websocket, "error", G_CALLBACK (failed), connection);
  g_signal_connect (websocket, "closed", G_CALLBACK (closed), connection);
  return connection;
}

void
lf_connection_free (LfConnection *connection)
{
  g_clear_handle_id (&connection->broken, g_source_remove);
  g_mutex_lock (&connection->guard->lock);
  g_ptr_array_remove (connection->guard->connections, connection);
  g_mutex_unlock (&connection->guard->lock);
  g_signal_handlers_disconnect_by_data (connection->websocket, connection);
  g_object_unref (connection->websocket);
  g_clear_object (&connection->socket);
  g_free (connection);
}
