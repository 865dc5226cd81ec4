/* lightforce: what the studio and its pages tell each other
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/studio-api.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "core/json.h"
#include "pipelines/studio-json.h"
#include "pipelines/studio-viewer.h"

/* Longest message of a client, bytes. */
#define MESSAGE_LIMIT 32768
#define ID_LIMIT 64
/* Messages of a client that are looked into: so many at once, so many a second; one that sends this
 * many more is dropped. */
#define BURST 60
#define RATE 30
#define EXCESS_LIMIT 2000
/* A client that answers no ping for so long is dropped, with all that waits for it. */
#define PING_SECONDS 5
#define SILENCE_US (20 * G_USEC_PER_SEC)
/* What a page that comes later is told of the past. */
#define HISTORY 50
#define CHUNKS 60
/* libsoup bounds the pieces of a message and not their sum, and reads for as long as there is
 * something: a client that has sent so much without completing one is ended by another thread,
 * which looks this often. */
#define PIECES_LIMIT (1 << 20)
#define PIECES_US (G_USEC_PER_SEC / 10)
/* Changes that come together are told together. */
#define STATE_MS 50
/* How long a video goes on that nobody follows. */
#define LINGER_US (5 * G_USEC_PER_SEC)

typedef struct
{
  LfApi *api;
  SoupWebsocketConnection *connection;
  GSocket *socket; /* NULL: unknown */
  guint64 taken;   /* bytes received when the latest message was complete */
  LfViewer *viewer;
  JsonNode *watch_id; /* of the request that `viewer` will answer, may be NULL */
  double credit;      /* messages that may come now */
  gint64 counted;     /* when it was last added to, monotonic time */
  guint excess;
  gint64 heard; /* monotonic time */
  guint broken; /* source that takes the client out; 0: there is none */
} Client;

struct _LfApi
{
  const LfStudioConfig *config;
  void (*ended) (gboolean failed, gpointer user_data);
  void (*done) (gpointer user_data);
  gpointer user_data, done_data;
  LfModel *model;
  LfShow *show;
  GPtrArray *clients; /* of Client */
  GQueue history;     /* of char *, latest first */
  GQueue chunks;      /* of char *: messages, latest last */
  char *shown;        /* prompt of the picture, NULL: none yet */
  guint state_source, tick_source;

  /* a thread that ends connections whose messages do not */
  GThread *guard;
  GMutex lock; /* of the sockets of clients, what they have taken, and quit */
  GCond cond;
  gboolean quit;
  GPtrArray *guarded; /* of Client */
  gint64 followed;    /* when somebody last was there, monotonic time */
  gboolean stopping;
};

/* ---------------------------------------------------------------------- messages */

static char *
to_text (JsonObject *message)
{
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), message);

  return json_to_string (node, FALSE);
}

static void
send_text (Client *client, const char *text)
{
  if (soup_websocket_connection_get_state (client->connection) == SOUP_WEBSOCKET_STATE_OPEN)
    soup_websocket_connection_send_text (client->connection, text);
}

/* Takes over `message`. */
static void
send_message (Client *client, JsonObject *message)
{
  g_autofree char *text = to_text (message);

  send_text (client, text);
  json_object_unref (message);
}

static void
broadcast_text (LfApi *api, const char *text)
{
  guint i;

  for (i = 0; i < api->clients->len; i++)
    send_text (g_ptr_array_index (api->clients, i), text);
}

static void
broadcast (LfApi *api, JsonObject *message)
{
  g_autofree char *text = to_text (message);

  broadcast_text (api, text);
  json_object_unref (message);
}

static void
set_id (JsonObject *message, JsonNode *id)
{
  if (id)
    json_object_set_member (message, "id", json_node_copy (id));
}

static void
send_ok (Client *client, JsonNode *id)
{
  JsonObject *message = lf_message_new ("ok");

  set_id (message, id);
  send_message (client, message);
}

static void
send_error (Client *client, JsonNode *id, const char *code, const char *text)
{
  JsonObject *message = lf_message_new ("error");

  set_id (message, id);
  json_object_set_string_member (message, "code", code);
  json_object_set_string_member (message, "message", text);
  send_message (client, message);
}

/* ------------------------------------------------------------------------- state */

static JsonObject *
describe_model (LfApi *api)
{
  const LfModelInfo *info = lf_model_get_info (api->model);
  GstElement *source = lf_show_get_source (api->show);
  JsonObject *o = json_object_new ();
  gint width, height, fps_n, fps_d;

  g_object_get (source, "width", &width, "height", &height, NULL);
  {
    g_auto (GValue) rate = G_VALUE_INIT;

    g_value_init (&rate, GST_TYPE_FRACTION);
    g_object_get_property (G_OBJECT (source), "framerate", &rate);
    fps_n = gst_value_get_fraction_numerator (&rate);
    fps_d = gst_value_get_fraction_denominator (&rate);
  }
  json_object_set_string_member (o, "name", info->name);
  json_object_set_string_member (o, "backend", info->backend);
  json_object_set_int_member (o, "parameters", (gint64) info->parameters);
  json_object_set_int_member (o, "width", width ? width : info->width);
  json_object_set_int_member (o, "height", height ? height : info->height);
  json_object_set_double_member (
      o, "framerate", fps_n ? (double) fps_n / fps_d : (double) info->fps_n / info->fps_d);
  json_object_set_int_member (o, "chunk-pictures", info->chunk_pictures);
  json_object_set_int_member (o, "layers", info->layers);
  json_object_set_int_member (o, "heads", info->heads);
  json_object_set_double_member (o, "sparsity", info->sparse.enabled ? info->sparse.target : 0);
  return o;
}

static guint
count_viewers (LfApi *api)
{
  guint n = 0, i;

  for (i = 0; i < api->clients->len; i++)
    n += ((Client *) g_ptr_array_index (api->clients, i))->viewer != NULL;
  return n;
}

static void
set_nullable (JsonObject *o, const char *name, const char *text)
{
  if (text)
    json_object_set_string_member (o, name, text);
  else
    json_object_set_null_member (o, name);
}

static JsonObject *
make_state (LfApi *api)
{
  GstElement *source = lf_show_get_source (api->show);
  JsonObject *o = lf_message_new ("state");
  JsonArray *history = json_array_new ();
  g_autofree char *prompt = NULL, *seed_text = NULL;
  gint prompt_switch, attention, layer, head;
  guint queue;
  guint64 seed;
  double sparsity;
  GList *l;

  g_object_get (source, "prompt", &prompt, "prompt-switch", &prompt_switch, "seed", &seed,
      "sparsity", &sparsity, "attention", &attention, "probe-layer", &layer, "probe-head", &head,
      "queue-chunks", &queue, NULL);
  seed_text = g_strdup_printf ("%" G_GUINT64_FORMAT, seed);
  json_object_set_string_member (o, "version", lf_version ());
  json_object_set_object_member (o, "model", describe_model (api));
  json_object_set_string_member (o, "prompt", prompt ? prompt : "");
  set_nullable (o, "shown", api->shown);
  json_object_set_string_member (o, "prompt-switch", lf_prompt_switches[prompt_switch]);
  json_object_set_string_member (o, "seed", seed_text);
  if (sparsity >= 0)
    json_object_set_double_member (o, "sparsity", sparsity);
  else
    json_object_set_null_member (o, "sparsity");
  json_object_set_string_member (o, "attention", lf_attentions[attention]);
  json_object_set_int_member (o, "probe-layer", layer);
  json_object_set_int_member (o, "probe-head", head);
  /* the one that is shown, the one that is made, and those that wait between them */
  json_object_set_int_member (o, "prompt-chunks", (gint64) queue + 2);
  set_nullable (o, "recording", lf_show_get_recording (api->show));
  json_object_set_boolean_member (o, "finishing", lf_show_is_finishing (api->show));
  json_object_set_int_member (o, "clients", api->clients->len);
  json_object_set_int_member (o, "viewers", count_viewers (api));
  for (l = api->history.head; l; l = l->next)
    json_array_add_string_element (history, l->data);
  json_object_set_array_member (o, "history", history);
  return o;
}

static gboolean
tell_state (gpointer data)
{
  LfApi *api = data;

  api->state_source = 0;
  broadcast (api, make_state (api));
  return G_SOURCE_REMOVE;
}

static void
state_changed (LfApi *api)
{
  if (api->state_source == 0)
    api->state_source = g_timeout_add (STATE_MS, tell_state, api);
}

/* The latest one first, each once. */
static void
remember_prompt (LfApi *api, const char *prompt)
{
  GList *old = g_queue_find_custom (&api->history, prompt, (GCompareFunc) strcmp);

  if (old) {
    g_free (old->data);
    g_queue_delete_link (&api->history, old);
  }
  if (*prompt)
    g_queue_push_head (&api->history, g_strdup (prompt));
  while (api->history.length > HISTORY)
    g_free (g_queue_pop_tail (&api->history));
}

/* ---------------------------------------------------------------------- requests */

/* Of several members all are set, or none. */
static void
handle_set (Client *client, JsonObject *message, JsonNode *id)
{
  LfApi *api = client->api;
  const LfModelInfo *info = lf_model_get_info (api->model);
  LfRequest request = {0};
  JsonObjectIter iter;
  const char *name;
  JsonNode *node;

  json_object_iter_init (&iter, message);
  while (json_object_iter_next (&iter, &name, &node)) {
    const char *problem = lf_request_take (&request, info, name, node);

    if (problem) {
      g_autofree char *shown =
          g_utf8_strlen (name, -1) > 64 ? g_utf8_substring (name, 0, 64) : g_strdup (name);
      g_autofree char *text = g_strdup_printf ("%s: %s", shown, problem);

      send_error (client, id, "bad-value", text);
      return;
    }
  }
  lf_request_apply (&request, lf_show_get_source (api->show));
  if (request.prompt)
    remember_prompt (api, request.prompt);
  state_changed (api);
  send_ok (client, id);
}

static void
drop_viewer (Client *client)
{
  if (client->viewer == NULL)
    return;
  g_clear_pointer (&client->viewer, lf_viewer_free);
  g_clear_pointer (&client->watch_id, json_node_unref);
  state_changed (client->api);
}

static void
viewer_answered (LfViewer *viewer, const char *sdp, LfCodec codec, gpointer user_data)
{
  Client *client = user_data;
  JsonObject *message = lf_message_new ("answer");

  set_id (message, client->watch_id);
  json_object_set_string_member (message, "sdp", sdp);
  json_object_set_string_member (message, "codec", codec == LF_CODEC_H264 ? "H264" : "VP8");
  send_message (client, message);
}

static void
viewer_gone (LfViewer *viewer, const char *why, gpointer user_data)
{
  Client *client = user_data;
  JsonObject *message = lf_message_new ("gone");

  set_id (message, client->watch_id);
  json_object_set_string_member (message, "message", why);
  send_message (client, message);
  drop_viewer (client);
}

static const LfViewerFuncs viewer_funcs = {viewer_answered, viewer_gone};

static void
handle_watch (Client *client, JsonObject *message, JsonNode *id)
{
  LfApi *api = client->api;
  const char *sdp = lf_json_get_string (json_object_get_member (message, "sdp"));
  g_autoptr (GError) error = NULL;

  if (sdp == NULL) {
    send_error (client, id, "bad-value", "sdp: it is a string, the offer");
    return;
  }
  /* one a client: a new one takes the place of the old one */
  drop_viewer (client);
  client->viewer = lf_viewer_new (api->show, api->config, sdp, &viewer_funcs, client, &error);
  if (client->viewer == NULL) {
    g_autofree char *text = g_strdup_printf ("sdp: %s", error->message);

    send_error (client, id, "bad-offer", text);
    return;
  }
  client->watch_id = id ? json_node_copy (id) : NULL;
  state_changed (api);
}

static void
handle_record (Client *client, JsonObject *message, JsonNode *id)
{
  static const char *const formats[] = {"mp4", "mkv", NULL};
  LfApi *api = client->api;
  JsonNode *on = json_object_get_member (message, "on");
  JsonNode *format = json_object_get_member (message, "format");
  g_autoptr (GError) error = NULL;
  gint choice = 0;

  if (on == NULL || !JSON_NODE_HOLDS_VALUE (on) || json_node_get_value_type (on) != G_TYPE_BOOLEAN)
    send_error (client, id, "bad-value", "on: it is true or false");
  else if (format && !lf_json_get_choice (format, formats, &choice))
    send_error (client, id, "bad-value", "format: it is mp4 or mkv");
  else if (!json_node_get_boolean (on)) {
    lf_show_stop_recording (api->show);
    send_ok (client, id);
  } else if (lf_show_record (api->show, formats[choice], &error))
    send_ok (client, id);
  else
    send_error (client, id, "recording", error->message);
  state_changed (api);
}

static void
handle_unwatch (Client *client, JsonObject *message, JsonNode *id)
{
  drop_viewer (client);
  send_ok (client, id);
}

static void
handle_state (Client *client, JsonObject *message, JsonNode *id)
{
  JsonObject *state = make_state (client->api);

  set_id (state, id);
  send_message (client, state);
}

static const struct
{
  const char *type;
  void (*handle) (Client *client, JsonObject *message, JsonNode *id);
} requests[] = {
    {"set", handle_set},
    {"watch", handle_watch},
    {"unwatch", handle_unwatch},
    {"record", handle_record},
    {"state", handle_state},
};

/* An id is sent back as it came: it has to be short. */
static gboolean
is_id (JsonNode *id)
{
  const char *text = lf_json_get_string (id);
  gint64 number;

  return text ? strlen (text) <= ID_LIMIT : lf_json_get_int (id, &number);
}

static void
handle_text (Client *client, const char *text, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonParser) parser = lf_json_parse ("the message", "text", text, size, &error);
  JsonObject *message;
  JsonNode *id;
  const char *type;
  guint i;

  if (parser == NULL) {
    send_error (client, NULL, "bad-json", error->message);
    return;
  }
  message = lf_json_root (parser);
  id = json_object_get_member (message, "id");
  if (id && !is_id (id)) {
    send_error (
        client, NULL, "bad-value", "id: it is a whole number, or a string of up to 64 bytes");
    return;
  }
  type = lf_json_get_string (json_object_get_member (message, "type"));
  for (i = 0; type && i < G_N_ELEMENTS (requests); i++)
    if (g_str_equal (requests[i].type, type)) {
      requests[i].handle (client, message, id);
      return;
    }
  send_error (client, id, "bad-type", "type: it is one of set, watch, unwatch, record and state");
}

/* ----------------------------------------------------------------------- clients */

/* Bytes that the client has sent; 0: nobody knows. */
static guint64
count_received (const Client *client)
{
  struct tcp_info info = {0};
  socklen_t size = sizeof (info);

  if (client->socket == NULL
      || getsockopt (g_socket_get_fd (client->socket), IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
    return 0;
  return info.tcpi_bytes_received;
}

/* A message is complete. */
static void
note_taken (Client *client)
{
  g_mutex_lock (&client->api->lock);
  client->taken = count_received (client);
  g_mutex_unlock (&client->api->lock);
}

static gpointer
guard (gpointer data)
{
  LfApi *api = data;
  guint i;

  g_mutex_lock (&api->lock);
  while (!api->quit) {
    g_cond_wait_until (&api->cond, &api->lock, g_get_monotonic_time () + PIECES_US);
    for (i = 0; i < api->guarded->len; i++) {
      Client *client = g_ptr_array_index (api->guarded, i);

      if (count_received (client) > client->taken + PIECES_LIMIT)
        g_socket_shutdown (client->socket, TRUE, TRUE, NULL);
    }
  }
  g_mutex_unlock (&api->lock);
  return NULL;
}

/* libsoup takes it once. */
static void
say_goodbye (SoupWebsocketConnection *connection, gushort code, const char *why)
{
  if (soup_websocket_connection_get_state (connection) == SOUP_WEBSOCKET_STATE_OPEN)
    soup_websocket_connection_close (connection, code, why);
}

/* FALSE: the client sends faster than anything is looked into. */
static gboolean
has_credit (Client *client)
{
  gint64 now = g_get_monotonic_time ();

  client->credit += (double) (now - client->counted) / G_USEC_PER_SEC * RATE;
  client->credit = MIN (client->credit, BURST);
  client->counted = now;
  if (client->credit < 1) {
    client->excess++;
    return FALSE;
  }
  client->credit--;
  client->excess = 0;
  return TRUE;
}

static void
connection_message (SoupWebsocketConnection *connection, gint type, GBytes *message, gpointer data)
{
  Client *client = data;
  gsize size;
  const char *text = g_bytes_get_data (message, &size);

  client->heard = g_get_monotonic_time ();
  note_taken (client);
  if (client->api->stopping)
    return;
  if (!has_credit (client)) {
    /* told once: the answers must not become a flood, too */
    if (client->excess == 1)
      send_error (client, NULL, "too-fast", "messages come too fast and are not looked at");
    else if (client->excess == EXCESS_LIMIT)
      say_goodbye (connection, SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION, "messages come too fast");
  } else if (type != SOUP_WEBSOCKET_DATA_TEXT) {
    send_error (client, NULL, "bad-json", "the message: it is binary; messages are text");
  } else {
    handle_text (client, text, size);
  }
}

static void
connection_pong (SoupWebsocketConnection *connection, GBytes *message, gpointer data)
{
  ((Client *) data)->heard = g_get_monotonic_time ();
}

static void
connection_closed (SoupWebsocketConnection *connection, gpointer data)
{
  Client *client = data;
  LfApi *api = client->api;

  g_ptr_array_remove (api->clients, client); /* frees it */
  api->followed = g_get_monotonic_time ();
  state_changed (api);
}

/* Of a connection that is broken: there is nobody to say goodbye to. */
static gboolean
give_up (gpointer data)
{
  Client *client = data;
  LfApi *api = client->api;

  client->broken = 0;
  g_io_stream_close (soup_websocket_connection_get_io_stream (client->connection), NULL, NULL);
  g_ptr_array_remove (api->clients, client);
  api->followed = g_get_monotonic_time ();
  state_changed (api);
  return G_SOURCE_REMOVE;
}

/* libsoup would wait for an answer to its goodbye. What breaks the protocol gets one, what does not
 * read does not. */
static void
connection_error (SoupWebsocketConnection *connection, GError *error, gpointer data)
{
  Client *client = data;

  if (error->domain != SOUP_WEBSOCKET_ERROR && client->broken == 0)
    client->broken = g_idle_add (give_up, client);
}

static void
client_free (gpointer data)
{
  Client *client = data;

  g_clear_handle_id (&client->broken, g_source_remove);
  g_mutex_lock (&client->api->lock);
  g_ptr_array_remove (client->api->guarded, client);
  g_mutex_unlock (&client->api->lock);
  g_signal_handlers_disconnect_by_data (client->connection, client);
  drop_viewer (client);
  g_object_unref (client->connection);
  g_clear_object (&client->socket);
  g_free (client);
}

gboolean
lf_api_has_room (LfApi *api)
{
  return !api->stopping && api->clients->len < api->config->max_clients;
}

void
lf_api_add_client (LfApi *api, SoupWebsocketConnection *connection, GSocket *socket)
{
  Client *client = g_new0 (Client, 1);
  GList *l;

  client->api = api;
  client->connection = g_object_ref (connection);
  client->socket = socket ? g_object_ref (socket) : NULL;
  g_mutex_lock (&api->lock);
  client->taken = count_received (client);
  g_ptr_array_add (api->guarded, client);
  g_mutex_unlock (&api->lock);
  client->credit = BURST;
  client->heard = client->counted = g_get_monotonic_time ();
  soup_websocket_connection_set_max_incoming_payload_size (connection, MESSAGE_LIMIT);
  soup_websocket_connection_set_keepalive_interval (connection, PING_SECONDS);
  g_signal_connect (connection, "message", G_CALLBACK (connection_message), client);
  g_signal_connect (connection, "pong", G_CALLBACK (connection_pong), client);
  g_signal_connect (connection, "error", G_CALLBACK (connection_error), client);
  g_signal_connect (connection, "closed", G_CALLBACK (connection_closed), client);
  g_ptr_array_add (api->clients, client);
  if (!lf_show_is_playing (api->show))
    lf_show_set_playing (api->show, TRUE);
  send_message (client, make_state (api));
  for (l = api->chunks.head; l; l = l->next)
    send_text (client, l->data);
  state_changed (api);
}

/* ------------------------------------------------------------- what the show tells */

static void
tell_prompt (LfApi *api, const GstStructure *s)
{
  JsonObject *o = lf_message_new ("prompt");
  const char *prompt = gst_structure_get_string (s, "prompt");
  guint64 offset = 0, chunk = 0;
  guint serial = 0;

  gst_structure_get (s, "offset", G_TYPE_UINT64, &offset, "serial", G_TYPE_UINT, &serial, NULL);
  g_object_get (lf_show_get_source (api->show), "chunk", &chunk, NULL);
  json_object_set_string_member (o, "prompt", prompt ? prompt : "");
  json_object_set_int_member (o, "serial", serial);
  json_object_set_int_member (o, "frame", (gint64) offset);
  broadcast (api, o);
  g_free (api->shown);
  api->shown = g_strdup (prompt);
  state_changed (api);
}

static void
tell_chunk (LfApi *api, const GstStructure *s)
{
  JsonObject *o = lf_message_of_chunk (s);

  g_queue_push_tail (&api->chunks, to_text (o));
  json_object_unref (o);
  broadcast_text (api, g_queue_peek_tail (&api->chunks));
  while (api->chunks.length > CHUNKS)
    g_free (g_queue_pop_head (&api->chunks));
}

static void
show_told (const GstStructure *message, gpointer user_data)
{
  if (gst_structure_has_name (message, "lightforce-prompt"))
    tell_prompt (user_data, message);
  else if (gst_structure_has_name (message, "lightforce-chunk"))
    tell_chunk (user_data, message);
}

static void
show_warned (const char *text, gpointer user_data)
{
  JsonObject *o = lf_message_new ("warning");

  json_object_set_string_member (o, "message", text);
  broadcast (user_data, o);
}

static void
show_ended (const char *error, gpointer user_data)
{
  LfApi *api = user_data;
  JsonObject *o = lf_message_new ("ended");

  set_nullable (o, "message", error);
  broadcast (api, o);
  api->ended (error != NULL, api->user_data);
}

static void
show_branch_failed (GstElement *branch, const char *text, gpointer user_data)
{
  LfApi *api = user_data;
  guint i;

  for (i = 0; i < api->clients->len; i++) {
    Client *client = g_ptr_array_index (api->clients, i);

    if (client->viewer && lf_viewer_get_branch (client->viewer) == branch) {
      lf_viewer_fail (client->viewer, text);
      return;
    }
  }
}

static void
show_recorded (const char *path, guint64 bytes, const char *error, gpointer user_data)
{
  LfApi *api = user_data;
  JsonObject *o = lf_message_new ("recorded");

  json_object_set_string_member (o, "path", path);
  json_object_set_int_member (o, "bytes", (gint64) bytes);
  set_nullable (o, "error", error);
  broadcast (api, o);
  state_changed (api);
  if (error)
    g_printerr ("%s: %s\n", path, error);
  else
    g_printerr ("recorded %s\n", path);
  if (api->stopping)
    api->done (api->done_data);
}

static const LfShowFuncs show_funcs = {
    show_told, show_warned, show_ended, show_branch_failed, show_recorded};

/* ------------------------------------------------------------------- every second */

static void
tell_stats (LfApi *api)
{
  g_autoptr (GstStructure) stats = NULL;
  JsonObject *o;

  g_object_get (lf_show_get_source (api->show), "stats", &stats, NULL);
  o = lf_message_of_stats (stats);
  json_object_set_int_member (o, "clients", api->clients->len);
  json_object_set_int_member (o, "viewers", count_viewers (api));
  broadcast (api, o);
}

static gboolean
tick (gpointer data)
{
  LfApi *api = data;
  gint64 now = g_get_monotonic_time ();
  guint i;

  for (i = api->clients->len; i-- > 0;) {
    Client *client = g_ptr_array_index (api->clients, i);

    if (now - client->heard < SILENCE_US)
      continue;
    /* it takes nothing that would be sent, a goodbye among it */
    g_io_stream_close (soup_websocket_connection_get_io_stream (client->connection), NULL, NULL);
    g_ptr_array_remove_index (api->clients, i);
    state_changed (api);
  }
  if (api->clients->len > 0 || lf_show_get_recording (api->show))
    api->followed = now;
  else if (lf_show_is_playing (api->show) && now - api->followed > LINGER_US)
    lf_show_set_playing (api->show, FALSE);
  if (api->clients->len > 0)
    tell_stats (api);
  return G_SOURCE_CONTINUE;
}

/* -------------------------------------------------------------------------- life */

/* The model is loaded in a thread of its own, so that signals end it. */
typedef struct
{
  GstElement *source;
  GCancellable *cancellable;
  LfModel *model;
  GError *error;
  gint done; /* atomic */
} Loading;

static gpointer
load (gpointer data)
{
  Loading *loading = data;

  loading->model = lf_source_load_model (loading->source, loading->cancellable, &loading->error);
  g_atomic_int_set (&loading->done, TRUE);
  g_main_context_wakeup (NULL);
  return NULL;
}

static LfModel *
load_model (GstElement *source, GCancellable *cancellable, GError **error)
{
  Loading loading = {source, cancellable, NULL, NULL, FALSE};
  GThread *thread = g_thread_new ("load", load, &loading);

  while (!g_atomic_int_get (&loading.done))
    g_main_context_iteration (NULL, TRUE);
  g_thread_join (thread);
  if (loading.error)
    g_propagate_error (error, loading.error);
  return loading.model;
}

LfApi *
lf_api_new (const LfStudioConfig *config, GCancellable *cancellable,
    void (*ended) (gboolean failed, gpointer user_data), gpointer user_data, GError **error)
{
  LfApi *api = g_new0 (LfApi, 1);
  g_autofree char *prompt = NULL;

  api->config = config;
  api->ended = ended;
  api->user_data = user_data;
  api->clients = g_ptr_array_new_with_free_func (client_free);
  api->guarded = g_ptr_array_new ();
  g_mutex_init (&api->lock);
  g_cond_init (&api->cond);
  g_queue_init (&api->history);
  g_queue_init (&api->chunks);
  api->show = lf_show_new (config, &show_funcs, api, error);
  if (api->show)
    api->model = load_model (lf_show_get_source (api->show), cancellable, error);
  if (api->model == NULL) {
    lf_api_free (api);
    return NULL;
  }
  g_object_get (lf_show_get_source (api->show), "prompt", &prompt, NULL);
  remember_prompt (api, prompt ? prompt : "");
  api->followed = g_get_monotonic_time ();
  api->tick_source = g_timeout_add_seconds (1, tick, api);
  api->guard = g_thread_new ("guard", guard, api);
  return api;
}

void
lf_api_free (LfApi *api)
{
  api->stopping = TRUE;
  g_clear_pointer (&api->clients, g_ptr_array_unref);
  if (api->state_source)
    g_source_remove (api->state_source);
  if (api->tick_source)
    g_source_remove (api->tick_source);
  g_mutex_lock (&api->lock);
  api->quit = TRUE;
  g_cond_signal (&api->cond);
  g_mutex_unlock (&api->lock);
  g_clear_pointer (&api->guard, g_thread_join);
  g_ptr_array_unref (api->guarded);
  g_mutex_clear (&api->lock);
  g_cond_clear (&api->cond);
  g_clear_pointer (&api->show, lf_show_free);
  g_clear_pointer (&api->model, lf_model_unref);
  g_queue_clear_full (&api->history, g_free);
  g_queue_clear_full (&api->chunks, g_free);
  g_free (api->shown);
  g_free (api);
}

void
lf_api_stop (LfApi *api, void (*done) (gpointer user_data), gpointer user_data)
{
  guint i;

  api->stopping = TRUE;
  api->done = done;
  api->done_data = user_data;
  for (i = api->clients->len; i-- > 0;)
    say_goodbye (((Client *) g_ptr_array_index (api->clients, i))->connection,
        SOUP_WEBSOCKET_CLOSE_GOING_AWAY, "the studio ends");
  if (lf_show_get_recording (api->show))
    lf_show_stop_recording (api->show);
  else
    done (user_data);
}
