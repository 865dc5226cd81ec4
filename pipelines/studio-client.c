/* lightforce: one client of the studio's API: what it asks for, and its viewer
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/studio-client.h"

#include <string.h>

#include "core/json.h"
#include "pipelines/studio-json.h"

/* Longest id of a request, bytes. */
#define ID_LIMIT 64

struct _LfClient
{
  LfClientContext context;
  const LfClientFuncs *funcs;
  gpointer user_data;
  LfConnection *connection;
  LfViewer *viewer;
  JsonNode *watch_id; /* of the request that `viewer` will answer, may be NULL */
};

/* ----------------------------------------------------------------------- answers */

static void
send_ok (LfClient *client, JsonNode *id)
{
  JsonObject *message = lf_message_new ("ok");

  lf_message_set_id (message, id);
  lf_connection_send (client->connection, message);
}

static void
send_error (LfClient *client, JsonNode *id, const char *code, const char *text)
{
  lf_connection_send (client->connection, lf_message_of_error (id, code, text));
}

static void
changed (LfClient *client)
{
  client->funcs->changed (client->user_data);
}

/* ---------------------------------------------------------------------- requests */

/* Of several members all are set, or none. */
static void
handle_set (LfClient *client, JsonObject *message, JsonNode *id)
{
  LfRequest request = {0};
  JsonObjectIter iter;
  const char *name;
  JsonNode *node;

  json_object_iter_init (&iter, message);
  while (json_object_iter_next (&iter, &name, &node)) {
    const char *problem = lf_request_take (&request, client->context.info, name, node);

    if (problem) {
      g_autofree char *shown =
          g_utf8_strlen (name, -1) > 64 ? g_utf8_substring (name, 0, 64) : g_strdup (name);
      g_autofree char *text = g_strdup_printf ("%s: %s", shown, problem);

      send_error (client, id, "bad-value", text);
      return;
    }
  }
  lf_request_apply (&request, lf_show_get_source (client->context.show));
  if (request.prompt)
    client->funcs->prompted (request.prompt, client->user_data);
  changed (client);
  send_ok (client, id);
}

static void
drop_viewer (LfClient *client)
{
  if (client->viewer == NULL)
    return;
  g_clear_pointer (&client->viewer, lf_viewer_free);
  g_clear_pointer (&client->watch_id, json_node_unref);
  changed (client);
}

static void
viewer_answered (LfViewer *viewer, const char *sdp, LfCodec codec, gpointer user_data)
{
  LfClient *client = user_data;
  JsonObject *message = lf_message_new ("answer");

  lf_message_set_id (message, client->watch_id);
  json_object_set_string_member (message, "sdp", sdp);
  json_object_set_string_member (message, "codec", codec == LF_CODEC_H264 ? "H264" : "VP8");
  lf_connection_send (client->connection, message);
}

static void
viewer_gone (LfViewer *viewer, const char *why, gpointer user_data)
{
  LfClient *client = user_data;
  JsonObject *message = lf_message_new ("gone");

  lf_message_set_id (message, client->watch_id);
  json_object_set_string_member (message, "message", why);
  lf_connection_send (client->connection, message);
  drop_viewer (client);
}

static const LfViewerFuncs viewer_funcs = {viewer_answered, viewer_gone};

static void
handle_watch (LfClient *client, JsonObject *message, JsonNode *id)
{
  const LfClientContext *context = &client->context;
  const char *sdp = lf_json_get_string (json_object_get_member (message, "sdp"));
  g_autoptr (GError) error = NULL;

  if (sdp == NULL) {
    send_error (client, id, "bad-value", "sdp: it is a string, the offer");
    return;
  }
  /* one a client: a new one takes the place of the old one */
  drop_viewer (client);
  client->viewer =
      lf_viewer_new (context->show, context->config, sdp, &viewer_funcs, client, &error);
  if (client->viewer == NULL) {
    g_autofree char *text = g_strdup_printf ("sdp: %s", error->message);

    send_error (client, id, "bad-offer", text);
    return;
  }
  client->watch_id = id ? json_node_copy (id) : NULL;
  changed (client);
}

static void
handle_record (LfClient *client, JsonObject *message, JsonNode *id)
{
  static const char *const formats[] = {"mp4", "mkv", NULL};
  LfShow *show = client->context.show;
  JsonNode *on = json_object_get_member (message, "on");
  JsonNode *format = json_object_get_member (message, "format");
  g_autoptr (GError) error = NULL;
  gint choice = 0;

  if (on == NULL || !JSON_NODE_HOLDS_VALUE (on) || json_node_get_value_type (on) != G_TYPE_BOOLEAN)
    send_error (client, id, "bad-value", "on: it is true or false");
  else if (format && !lf_json_get_choice (format, formats, &choice))
    send_error (client, id, "bad-value", "format: it is mp4 or mkv");
  else if (!json_node_get_boolean (on)) {
    lf_show_stop_recording (show);
    send_ok (client, id);
  } else if (lf_show_record (show, formats[choice], &error))
    send_ok (client, id);
  else
    send_error (client, id, "recording", error->message);
  changed (client);
}

static void
handle_unwatch (LfClient *client, JsonObject *message, JsonNode *id)
{
  drop_viewer (client);
  send_ok (client, id);
}

static void
handle_state (LfClient *client, JsonObject *message, JsonNode *id)
{
  JsonObject *state = client->funcs->make_state (client->user_data);

  lf_message_set_id (state, id);
  lf_connection_send (client->connection, state);
}

static const struct
{
  const char *type;
  void (*handle) (LfClient *client, JsonObject *message, JsonNode *id);
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
received (const char *text, gsize size, gpointer user_data)
{
  LfClient *client = user_data;
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

/* -------------------------------------------------------------------------- life */

static void
gone (gpointer user_data)
{
  LfClient *client = user_data;

  client->funcs->gone (client, client->user_data);
}

static const LfConnectionFuncs connection_funcs = {received, gone};

LfClient *
lf_client_new (const LfClientContext *context, SoupWebsocketConnection *websocket, GSocket *socket,
    const LfClientFuncs *funcs, gpointer user_data)
{
  LfClient *client = g_new0 (LfClient, 1);

  client->context = *context;
  client->funcs = funcs;
  client->user_data = user_data;
  client->connection =
      lf_connection_new (websocket, socket, context->guard, &connection_funcs, client);
  return client;
}

void
lf_client_free (LfClient *client)
{
  drop_viewer (client);
  lf_connection_free (client->connection);
  g_free (client);
}

LfConnection *
lf_client_get_connection (LfClient *client)
{
  return client->connection;
}

LfViewer *
lf_client_get_viewer (LfClient *client)
{
  return client->viewer;
}
