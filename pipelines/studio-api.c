/* lightforce: what the studio and its pages tell each other
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/studio-api.h"

#include <string.h>

#include "pipelines/studio-client.h"
#include "pipelines/studio-json.h"

/* What a page that comes later is told of the past. */
#define HISTORY 50
#define CHUNKS 60
/* Changes that come together are told together. */
#define STATE_MS 50
/* How long a video goes on that nobody follows. */
#define LINGER_US (5 * G_USEC_PER_SEC)

struct _LfApi
{
  const LfStudioConfig *config;
  void (*ended) (gboolean failed, gpointer user_data);
  void (*done) (gpointer user_data);
  gpointer user_data, done_data;
  LfModel *model;
  LfShow *show;
  LfGuard *guard;
  GPtrArray *clients; /* of LfClient */
  GQueue history;     /* of char *, latest first */
  GQueue chunks;      /* of char *: messages, latest last */
  char *shown;        /* prompt of the picture, NULL: none yet */
  guint state_source, tick_source;
  gint64 followed; /* when somebody last was there, monotonic time */
  gboolean stopping;
};

/* ---------------------------------------------------------------------- messages */

static LfClient *
get_client (LfApi *api, guint i)
{
  return g_ptr_array_index (api->clients, i);
}

static void
broadcast_text (LfApi *api, const char *text)
{
  guint i;

  for (i = 0; i < api->clients->len; i++)
    lf_connection_send_text (lf_client_get_connection (get_client (api, i)), text);
}

/* Takes over `message`. */
static void
broadcast (LfApi *api, JsonObject *message)
{
  g_autofree char *text = lf_message_to_text (message);

  broadcast_text (api, text);
  json_object_unref (message);
}

/* ------------------------------------------------------------------------- state */

static guint
count_viewers (LfApi *api)
{
  guint n = 0, i;

  for (i = 0; i < api->clients->len; i++)
    n += lf_client_get_viewer (get_client (api, i)) != NULL;
  return n;
}

static JsonObject *
make_state (gpointer data)
{
  LfApi *api = data;
  JsonObject *o = lf_message_of_source (
      lf_model_get_info (api->model), lf_show_get_source (api->show), api->shown);
  JsonArray *history = json_array_new ();
  GList *l;

  lf_message_set_text (o, "recording", lf_show_get_recording (api->show));
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
state_changed (gpointer data)
{
  LfApi *api = data;

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

/* ----------------------------------------------------------------------- clients */

static void
client_prompted (const char *prompt, gpointer user_data)
{
  remember_prompt (user_data, prompt);
}

static void
client_gone (LfClient *client, gpointer user_data)
{
  LfApi *api = user_data;

  g_ptr_array_remove (api->clients, client); /* frees it */
  api->followed = g_get_monotonic_time ();
  state_changed (api);
}

static const LfClientFuncs client_funcs = {make_state, state_changed, client_prompted, client_gone};

gboolean
lf_api_has_room (LfApi *api)
{
  return !api->stopping && api->clients->len < api->config->max_clients;
}

void
lf_api_add_client (LfApi *api, SoupWebsocketConnection *websocket, GSocket *socket)
{
  LfClientContext context = {api->config, lf_model_get_info (api->model), api->show, api->guard};
  LfClient *client = lf_client_new (&context, websocket, socket, &client_funcs, api);
  LfConnection *connection = lf_client_get_connection (client);
  GList *l;

  g_ptr_array_add (api->clients, client);
  if (!lf_show_is_playing (api->show))
    lf_show_set_playing (api->show, TRUE);
  lf_connection_send (connection, make_state (api));
  for (l = api->chunks.head; l; l = l->next)
    lf_connection_send_text (connection, l->data);
  state_changed (api);
}

/* ------------------------------------------------------------- what the show tells */

static void
tell_prompt (LfApi *api, const GstStructure *s)
{
  JsonObject *o = lf_message_new ("prompt");
  const char *prompt = gst_structure_get_string (s, "prompt");
  guint64 offset = 0;
  guint serial = 0;

  gst_structure_get (s, "offset", G_TYPE_UINT64, &offset, "serial", G_TYPE_UINT, &serial, NULL);
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

  g_queue_push_tail (&api->chunks, lf_message_to_text (o));
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

  lf_message_set_text (o, "message", error);
  broadcast (api, o);
  api->ended (error != NULL, api->user_data);
}

static void
show_branch_failed (GstElement *branch, const char *text, gpointer user_data)
{
  LfApi *api = user_data;
  guint i;

  for (i = 0; i < api->clients->len; i++) {
    LfViewer *viewer = lf_client_get_viewer (get_client (api, i));

    if (viewer && lf_viewer_get_branch (viewer) == branch) {
      lf_viewer_fail (viewer, text);
      return;
    }
  }
}

static void
show_recorded (const char *path, guint64 bytes, const char *error, gpointer user_data)
{
  LfApi *api = user_data;
  JsonObject *o = lf_message_new ("recorded");

  lf_message_set_text (o, "path", path);
  json_object_set_int_member (o, "bytes", (gint64) bytes);
  lf_message_set_text (o, "error", error);
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
    LfConnection *connection = lf_client_get_connection (get_client (api, i));

    if (!lf_connection_is_stuck (connection))
      continue;
    lf_connection_break (connection);
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

typedef struct
{
  GstElement *source;
  GCancellable *cancellable;
  LfModel *model;
  GError *error;
} Loading;

static void
load (gpointer data)
{
  Loading *loading = data;

  loading->model = lf_source_load_model (loading->source, loading->cancellable, &loading->error);
}

static LfModel *
load_model (GstElement *source, GCancellable *cancellable, GError **error)
{
  Loading loading = {source, cancellable, NULL, NULL};

  lf_run_in_thread (load, &loading);
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
  api->clients = g_ptr_array_new_with_free_func ((GDestroyNotify) lf_client_free);
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
  api->guard = lf_guard_new ();
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
  g_clear_pointer (&api->guard, lf_guard_free);
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
    lf_connection_end (lf_client_get_connection (get_client (api, i)), "the studio ends");
  if (lf_show_get_recording (api->show))
    lf_show_stop_recording (api->show);
  else
    done (user_data);
}
