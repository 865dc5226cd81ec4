/* lightforce: the RTSP server's side of its clients: who may do what, and how many
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Connections are accepted in the main thread; each has a thread of its own, so that one that waits
 * for its video to begin holds up no other. To end one from the main thread, its socket is shut
 * down: its own thread finds that the client has gone, whatever it was doing.
 */
#include "pipelines/rtsp-server-client.h"

#include "pipelines/rtsp-server-params.h"

#define ROLE_VIEWER "viewer"
#define ROLE_OPERATOR "operator" /* may set parameters, too */

/* Sessions of one connection; players have one. */
#define SESSIONS_PER_CLIENT 4

struct _LfRtspServer
{
  GstRTSPServer parent;
  const LfRtspConfig *config;
  GstRTSPAddressPool *addresses; /* that video over UDP is sent from */
  gint clients;                  /* atomic; without those over the limit, */
  gint refused;      /* atomic; and of those, which are told so before they are closed */
  gint64 complained; /* when the limit was last logged, monotonic time */
  guint unheard;     /* refused without a line in the log since */
};

G_DEFINE_FINAL_TYPE (LfRtspServer, lf_rtsp_server, GST_TYPE_RTSP_SERVER)

#define LF_TYPE_RTSP_CLIENT (lf_rtsp_client_get_type ())
G_DECLARE_FINAL_TYPE (LfRtspClient, lf_rtsp_client, LF, RTSP_CLIENT, GstRTSPClient)

struct _LfRtspClient
{
  GstRTSPClient parent;
  LfRtspServer *server;
  GSocket *socket;  /* main thread */
  gboolean refused; /* over the limit; set before the first request is read */
  GMutex lock;
  gint64 active;  /* when it last had a request, or the end of its wait, monotonic time */
  gboolean waits; /* for a video to begin */
};

G_DEFINE_FINAL_TYPE (LfRtspClient, lf_rtsp_client, GST_TYPE_RTSP_CLIENT)

/* The channel that a request is about, or NULL; to unref. */
static LfRtspChannel *
find_channel (GstRTSPContext *ctx)
{
  g_autoptr (GstRTSPMountPoints) mounts = NULL;
  GstRTSPMediaFactory *factory;
  gint matched;

  if (ctx->uri == NULL || ctx->uri->abspath == NULL)
    return NULL;
  mounts = gst_rtsp_client_get_mount_points (ctx->client);
  factory = mounts ? gst_rtsp_mount_points_match (mounts, ctx->uri->abspath, &matched) : NULL;
  return factory ? LF_RTSP_CHANNEL (factory) : NULL;
}

/* --------------------------------------------------------------------- passwords */

#define LF_TYPE_RTSP_AUTH (lf_rtsp_auth_get_type ())
G_DECLARE_FINAL_TYPE (LfRtspAuth, lf_rtsp_auth, LF, RTSP_AUTH, GstRTSPAuth)

struct _LfRtspAuth
{
  GstRTSPAuth parent;
};

G_DEFINE_FINAL_TYPE (LfRtspAuth, lf_rtsp_auth, GST_TYPE_RTSP_AUTH)

/* The library's own way, an answer other than OK before a request, crashes it where that is OPTIONS
 * (gst-rtsp-server 1.22). */
static void
send_refusal (GstRTSPContext *ctx)
{
  GstRTSPStatusCode status = GST_RTSP_STS_SERVICE_UNAVAILABLE;

  gst_rtsp_message_init_response (
      ctx->response, status, gst_rtsp_status_as_text (status), ctx->request);
  gst_rtsp_client_send_message (ctx->client, ctx->session, ctx->response);
}

/* The base class asks who it is only when it looks for the video, which is behind what is done
 * before a request; and parameters tell of the video, too. */
static gboolean
lf_rtsp_auth_check (GstRTSPAuth *auth, GstRTSPContext *ctx, const char *check)
{
  GstRTSPAuthClass *parent = GST_RTSP_AUTH_CLASS (lf_rtsp_auth_parent_class);
  g_autoptr (LfRtspChannel) channel = NULL;
  gboolean ok;

  if (!parent->check (auth, ctx, check))
    return FALSE;
  if (!g_str_equal (check, GST_RTSP_AUTH_CHECK_URL))
    return TRUE;
  if (LF_RTSP_CLIENT (ctx->client)->refused) {
    send_refusal (ctx);
    return FALSE;
  }
  if (!(ctx->method
          & (GST_RTSP_DESCRIBE | GST_RTSP_SETUP | GST_RTSP_GET_PARAMETER | GST_RTSP_SET_PARAMETER)))
    return TRUE;
  channel = find_channel (ctx);
  if (channel == NULL)
    return TRUE;
  ctx->factory = GST_RTSP_MEDIA_FACTORY (channel);
  ok = parent->check (auth, ctx, GST_RTSP_AUTH_CHECK_MEDIA_FACTORY_ACCESS);
  ctx->factory = NULL;
  return ok;
}

static void
lf_rtsp_auth_init (LfRtspAuth *auth)
{
}

static void
lf_rtsp_auth_class_init (LfRtspAuthClass *klass)
{
  GST_RTSP_AUTH_CLASS (klass)->check = lf_rtsp_auth_check;
}

static GstRTSPToken *
make_token (const char *role)
{
  return gst_rtsp_token_new (GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE, G_TYPE_STRING, role, NULL);
}

static GstRTSPAuth *
make_auth (const LfRtspConfig *config, GError **error)
{
  g_autoptr (GstRTSPAuth) auth = g_object_new (LF_TYPE_RTSP_AUTH, NULL);
  guint i;

  if (config->certificate) {
    /* Without a key of its own, the file has both. */
    g_autoptr (GTlsCertificate) certificate = g_tls_certificate_new_from_files (
        config->certificate, config->key ? config->key : config->certificate, error);

    if (certificate == NULL) {
      g_prefix_error (error, "%s: ", config->certificate);
      return NULL;
    }
    gst_rtsp_auth_set_tls_certificate (auth, certificate);
  }
  if (config->users->len == 0) {
    GstRTSPToken *token = make_token (ROLE_OPERATOR);

    gst_rtsp_auth_set_default_token (auth, token);
    gst_rtsp_token_unref (token);
  }
  gst_rtsp_auth_set_realm (auth, config->realm);
  gst_rtsp_auth_set_supported_methods (
      auth, config->basic ? GST_RTSP_AUTH_BASIC : GST_RTSP_AUTH_DIGEST);
  for (i = 0; i < config->users->len; i++) {
    const LfRtspUser *user = g_ptr_array_index (config->users, i);
    GstRTSPToken *token = make_token (user->control ? ROLE_OPERATOR : ROLE_VIEWER);

    if (config->basic) {
      g_autofree char *basic = gst_rtsp_auth_make_basic (user->name, user->password);

      gst_rtsp_auth_add_basic (auth, basic, token);
    } else {
      gst_rtsp_auth_add_digest (auth, user->name, user->password, token);
    }
    gst_rtsp_token_unref (token);
  }
  return g_steal_pointer (&auth);
}

/* ---------------------------------------------------------------------- requests */

static void
answer (GstRTSPContext *ctx, GstRTSPStatusCode status, const GString *body)
{
  gst_rtsp_message_init_response (
      ctx->response, status, gst_rtsp_status_as_text (status), ctx->request);
  if (body->len == 0)
    return;
  gst_rtsp_message_add_header (ctx->response, GST_RTSP_HDR_CONTENT_TYPE, "text/parameters");
  gst_rtsp_message_set_body (ctx->response, (const guint8 *) body->str, (guint) body->len);
}

/* Why a request about parameters is not looked into; GST_RTSP_STS_OK: it is. */
static GstRTSPStatusCode
check_params (GstRTSPContext *ctx, LfRtspChannel *channel, gboolean set)
{
  const char *role =
      ctx->token ? gst_rtsp_token_get_string (ctx->token, GST_RTSP_TOKEN_MEDIA_FACTORY_ROLE) : NULL;
  char *type;

  if (channel == NULL)
    return GST_RTSP_STS_NOT_FOUND;
  if (gst_rtsp_message_get_header (ctx->request, GST_RTSP_HDR_CONTENT_TYPE, &type, 0) == GST_RTSP_OK
      && g_ascii_strncasecmp (type, "text/parameters", strlen ("text/parameters")) != 0)
    return GST_RTSP_STS_UNSUPPORTED_MEDIA_TYPE;
  if (set
      && (!lf_rtsp_channel_get_mount (channel)->control || g_strcmp0 (role, ROLE_OPERATOR) != 0))
    return GST_RTSP_STS_FORBIDDEN;
  return GST_RTSP_STS_OK;
}

static GstRTSPResult
handle_params (GstRTSPClient *client, GstRTSPContext *ctx, gboolean set)
{
  LfRtspServer *server = LF_RTSP_CLIENT (client)->server;
  g_autoptr (LfRtspChannel) channel = find_channel (ctx);
  GstRTSPStatusCode status = check_params (ctx, channel, set);
  g_autoptr (GString) reply = g_string_new (NULL);
  guint8 *body;
  guint size;

  gst_rtsp_message_get_body (ctx->request, &body, &size);
  if (status == GST_RTSP_STS_OK && set)
    status = lf_rtsp_params_set (channel, (const char *) body, size, reply);
  else if (status == GST_RTSP_STS_OK)
    status = lf_rtsp_params_get (
        channel, (const char *) body, size, lf_rtsp_server_count (server), reply);
  answer (ctx, status, reply);
  return GST_RTSP_OK;
}

static GstRTSPResult
lf_rtsp_client_params_set (GstRTSPClient *client, GstRTSPContext *ctx)
{
  return handle_params (client, ctx, TRUE);
}

static GstRTSPResult
lf_rtsp_client_params_get (GstRTSPClient *client, GstRTSPContext *ctx)
{
  return handle_params (client, ctx, FALSE);
}

static gboolean
has_sessions (GstRTSPClient *client, guint n)
{
  GList *sessions = gst_rtsp_client_session_filter (client, NULL, NULL);
  gboolean has = g_list_length (sessions) >= n;

  g_list_free_full (sessions, g_object_unref);
  return has;
}

static void
note_active (LfRtspClient *self, gboolean waits)
{
  g_mutex_lock (&self->lock);
  self->active = g_get_monotonic_time ();
  self->waits = waits;
  g_mutex_unlock (&self->lock);
}

/* FALSE: the video does not begin. */
static gboolean
open_channel (GstRTSPContext *ctx)
{
  g_autoptr (LfRtspChannel) channel = find_channel (ctx);
  g_autoptr (GstRTSPThreadPool) threads = gst_rtsp_client_get_thread_pool (ctx->client);
  gboolean open;

  /* The library answers 404 itself. */
  if (channel == NULL)
    return TRUE;
  note_active (LF_RTSP_CLIENT (ctx->client), TRUE);
  open = lf_rtsp_channel_open (channel, threads);
  note_active (LF_RTSP_CLIENT (ctx->client), FALSE);
  return open;
}

/* Before each request. */
static GstRTSPStatusCode
lf_rtsp_client_pre_request (GstRTSPClient *client, GstRTSPContext *ctx)
{
  note_active (LF_RTSP_CLIENT (client), FALSE);
  if (ctx->method == GST_RTSP_SETUP && ctx->session == NULL
      && has_sessions (client, SESSIONS_PER_CLIENT))
    return GST_RTSP_STS_SERVICE_UNAVAILABLE;
  if ((ctx->method == GST_RTSP_DESCRIBE || ctx->method == GST_RTSP_SETUP) && !open_channel (ctx))
    return GST_RTSP_STS_SERVICE_UNAVAILABLE;
  return GST_RTSP_STS_OK;
}

/* Behind the answer. */
static void
lf_rtsp_client_play_request (GstRTSPClient *client, GstRTSPContext *ctx)
{
  g_autoptr (LfRtspChannel) channel = find_channel (ctx);

  if (channel)
    lf_rtsp_channel_refresh (channel);
}

/* The library's default is a minute. */
static void
lf_rtsp_client_new_session (GstRTSPClient *client, GstRTSPSession *session)
{
  gst_rtsp_session_set_timeout (session, LF_RTSP_CLIENT (client)->server->config->timeout);
}

static void
lf_rtsp_client_finalize (GObject *object)
{
  LfRtspClient *self = LF_RTSP_CLIENT (object);

  g_clear_object (&self->socket);
  if (self->server)
    g_atomic_int_add (self->refused ? &self->server->refused : &self->server->clients, -1);
  g_clear_object (&self->server);
  g_mutex_clear (&self->lock);
  G_OBJECT_CLASS (lf_rtsp_client_parent_class)->finalize (object);
}

static void
lf_rtsp_client_init (LfRtspClient *self)
{
  g_mutex_init (&self->lock);
  self->active = g_get_monotonic_time ();
}

static void
lf_rtsp_client_class_init (LfRtspClientClass *klass)
{
  GstRTSPClientClass *client_class = GST_RTSP_CLIENT_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = lf_rtsp_client_finalize;
  client_class->params_set = lf_rtsp_client_params_set;
  client_class->params_get = lf_rtsp_client_params_get;
  client_class->new_session = lf_rtsp_client_new_session;
  client_class->play_request = lf_rtsp_client_play_request;
  client_class->pre_options_request = lf_rtsp_client_pre_request; /* which is always OK */
  client_class->pre_describe_request = lf_rtsp_client_pre_request;
  client_class->pre_setup_request = lf_rtsp_client_pre_request;
  client_class->pre_play_request = lf_rtsp_client_pre_request;
  client_class->pre_pause_request = lf_rtsp_client_pre_request;
  client_class->pre_teardown_request = lf_rtsp_client_pre_request;
  client_class->pre_set_parameter_request = lf_rtsp_client_pre_request;
  client_class->pre_get_parameter_request = lf_rtsp_client_pre_request;
  client_class->pre_announce_request = lf_rtsp_client_pre_request;
  client_class->pre_record_request = lf_rtsp_client_pre_request;
}

/* ------------------------------------------------------------------- the server */

static GstRTSPClient *
lf_rtsp_server_create_client (GstRTSPServer *server)
{
  LfRtspServer *self = LF_RTSP_SERVER (server);
  LfRtspClient *client = g_object_new (LF_TYPE_RTSP_CLIENT, NULL);
  GstRTSPClient *base = GST_RTSP_CLIENT (client);
  g_autoptr (GstRTSPSessionPool) sessions = gst_rtsp_server_get_session_pool (server);
  g_autoptr (GstRTSPMountPoints) mounts = gst_rtsp_server_get_mount_points (server);
  g_autoptr (GstRTSPAuth) auth = gst_rtsp_server_get_auth (server);
  g_autoptr (GstRTSPThreadPool) threads = gst_rtsp_server_get_thread_pool (server);

  client->server = g_object_ref (self);
  client->refused = lf_rtsp_server_count (self) >= self->config->max_clients;
  g_atomic_int_inc (client->refused ? &self->refused : &self->clients);
  gst_rtsp_client_set_session_pool (base, sessions);
  gst_rtsp_client_set_mount_points (base, mounts);
  gst_rtsp_client_set_content_length_limit (base, LF_RTSP_BODY_LIMIT);
  gst_rtsp_client_set_auth (base, auth);
  gst_rtsp_client_set_thread_pool (base, threads);
  return base;
}

static void
shut (LfRtspClient *client)
{
  if (client->socket)
    g_socket_shutdown (client->socket, TRUE, TRUE, NULL);
}

/* One line a second at most: a flood must not become one of the log. */
static void
complain (LfRtspServer *self, GSocket *socket)
{
  gint64 now = g_get_monotonic_time ();
  g_autoptr (GSocketAddress) address = g_socket_get_remote_address (socket, NULL);
  g_autofree char *text = G_IS_SOCKET_CONNECTABLE (address)
                              ? g_socket_connectable_to_string (G_SOCKET_CONNECTABLE (address))
                              : g_strdup ("a client that has gone");

  if (self->complained && now - self->complained < G_USEC_PER_SEC) {
    self->unheard++;
    return;
  }
  self->complained = now;
  g_printerr ("refused %s: there are %u clients, as many as max-clients allows", text,
      self->config->max_clients);
  if (self->unheard)
    g_printerr ("; %u more were refused", self->unheard);
  g_printerr ("\n");
  self->unheard = 0;
}

static void
lf_rtsp_server_client_connected (GstRTSPServer *server, GstRTSPClient *base)
{
  LfRtspServer *self = LF_RTSP_SERVER (server);
  LfRtspClient *client = LF_RTSP_CLIENT (base);
  GstRTSPConnection *connection = gst_rtsp_client_get_connection (base);
  GSocket *socket = connection ? gst_rtsp_connection_get_read_socket (connection) : NULL;

  if (socket == NULL)
    return;
  client->socket = g_object_ref (socket);
  if (!client->refused)
    return;
  complain (self, socket);
  /* There are only so many to whom it is said. */
  if ((guint) g_atomic_int_get (&self->refused) > self->config->max_clients + 8)
    shut (client);
}

static void
lf_rtsp_server_finalize (GObject *object)
{
  g_clear_object (&LF_RTSP_SERVER (object)->addresses);
  G_OBJECT_CLASS (lf_rtsp_server_parent_class)->finalize (object);
}

static void
lf_rtsp_server_init (LfRtspServer *self)
{
  self->addresses = gst_rtsp_address_pool_new ();
}

static void
lf_rtsp_server_class_init (LfRtspServerClass *klass)
{
  G_OBJECT_CLASS (klass)->finalize = lf_rtsp_server_finalize;
  GST_RTSP_SERVER_CLASS (klass)->create_client = lf_rtsp_server_create_client;
  GST_RTSP_SERVER_CLASS (klass)->client_connected = lf_rtsp_server_client_connected;
}

/* Else the library listens on all addresses for what receivers report. */
static void
add_addresses (LfRtspServer *self)
{
  const LfRtspConfig *config = self->config;
  guint16 min = (guint16) config->udp_min, max = (guint16) config->udp_max;

  gst_rtsp_address_pool_add_range (self->addresses, config->address, config->address, min, max, 0);
  /* which is IPv4, too */
  if (g_str_equal (config->address, "::"))
    gst_rtsp_address_pool_add_range (self->addresses, GST_RTSP_ADDRESS_POOL_ANY_IPV4,
        GST_RTSP_ADDRESS_POOL_ANY_IPV4, min, max, 0);
}

LfRtspServer *
lf_rtsp_server_new (const LfRtspConfig *config, GError **error)
{
  g_autoptr (LfRtspServer) self = g_object_new (LF_TYPE_RTSP_SERVER, NULL);
  GstRTSPServer *server = GST_RTSP_SERVER (self);
  g_autoptr (GstRTSPThreadPool) threads = gst_rtsp_server_get_thread_pool (server);
  g_autoptr (GstRTSPSessionPool) sessions = gst_rtsp_server_get_session_pool (server);
  g_autofree char *service = g_strdup_printf ("%u", config->port);
  g_autoptr (GstRTSPAuth) auth = NULL;

  self->config = config;
  add_addresses (self);
  gst_rtsp_server_set_address (server, config->address);
  gst_rtsp_server_set_service (server, service);
  gst_rtsp_server_set_backlog (server, 128);
  gst_rtsp_thread_pool_set_max_threads (threads, -1);
  gst_rtsp_session_pool_set_max_sessions (sessions, SESSIONS_PER_CLIENT * config->max_clients);
  auth = make_auth (config, error);
  if (auth == NULL)
    return NULL;
  gst_rtsp_server_set_auth (server, auth);
  return g_steal_pointer (&self);
}

void
lf_rtsp_server_add (LfRtspServer *self, LfRtspChannel *channel)
{
  g_autoptr (GstRTSPMountPoints) mounts = gst_rtsp_server_get_mount_points (GST_RTSP_SERVER (self));
  static const char *const roles[] = {ROLE_VIEWER, ROLE_OPERATOR};
  guint i;

  for (i = 0; i < G_N_ELEMENTS (roles); i++)
    gst_rtsp_media_factory_add_role (GST_RTSP_MEDIA_FACTORY (channel), roles[i],
        GST_RTSP_PERM_MEDIA_FACTORY_ACCESS, G_TYPE_BOOLEAN, TRUE,
        GST_RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, G_TYPE_BOOLEAN, TRUE, NULL);
  gst_rtsp_media_factory_set_address_pool (GST_RTSP_MEDIA_FACTORY (channel), self->addresses);
  gst_rtsp_mount_points_add_factory (mounts, lf_rtsp_channel_get_mount (channel)->path,
      GST_RTSP_MEDIA_FACTORY (g_object_ref (channel)));
}

guint
lf_rtsp_server_count (LfRtspServer *self)
{
  return (guint) g_atomic_int_get (&self->clients);
}

static GstRTSPFilterResult
shut_if_idle (GstRTSPServer *server, GstRTSPClient *base, gpointer user_data)
{
  LfRtspServer *self = LF_RTSP_SERVER (server);
  LfRtspClient *client = LF_RTSP_CLIENT (base);
  gint64 limit = client->refused ? 1 : self->config->idle_timeout;
  gboolean idle;

  g_mutex_lock (&client->lock);
  idle = !client->waits && g_get_monotonic_time () - client->active > limit * G_USEC_PER_SEC;
  g_mutex_unlock (&client->lock);
  if (idle && !has_sessions (base, 1))
    shut (client);
  return GST_RTSP_FILTER_KEEP;
}

void
lf_rtsp_server_tidy (LfRtspServer *self)
{
  g_autoptr (GstRTSPSessionPool) sessions =
      gst_rtsp_server_get_session_pool (GST_RTSP_SERVER (self));

  gst_rtsp_session_pool_cleanup (sessions);
  gst_rtsp_server_client_filter (GST_RTSP_SERVER (self), shut_if_idle, NULL);
}

typedef struct
{
  GstRTSPMedia *media; /* NULL: any */
  gboolean playing;    /* only sessions that play it now */
  guint found;
  GstRTSPFilterResult result; /* what becomes of them */
} Search;

static GstRTSPFilterResult
find_media (GstRTSPSession *session, GstRTSPSessionMedia *media, gpointer user_data)
{
  Search *search = user_data;

  search->found += gst_rtsp_session_media_get_media (media) == search->media
                   && (!search->playing
                       || gst_rtsp_session_media_get_rtsp_state (media) == GST_RTSP_STATE_PLAYING);
  return GST_RTSP_FILTER_KEEP;
}

static GstRTSPFilterResult
find_session (GstRTSPSessionPool *pool, GstRTSPSession *session, gpointer user_data)
{
  Search *search = user_data;
  guint found = search->found;

  if (search->media)
    gst_rtsp_session_filter (session, find_media, search);
  else
    search->found++;
  return search->found > found ? search->result : GST_RTSP_FILTER_KEEP;
}

static guint
search_sessions (LfRtspServer *self, Search *search)
{
  g_autoptr (GstRTSPSessionPool) sessions =
      gst_rtsp_server_get_session_pool (GST_RTSP_SERVER (self));

  gst_rtsp_session_pool_filter (sessions, find_session, search);
  return search->found;
}

gboolean
lf_rtsp_server_uses (LfRtspServer *self, GstRTSPMedia *media, gboolean playing)
{
  Search search = {media, playing, 0, GST_RTSP_FILTER_KEEP};

  return search_sessions (self, &search) > 0;
}

static GstRTSPFilterResult
find_media_of_client (GstRTSPClient *client, GstRTSPSession *session, gpointer user_data)
{
  find_session (NULL, session, user_data);
  return GST_RTSP_FILTER_KEEP;
}

static GstRTSPFilterResult
shut_if_concerned (GstRTSPServer *server, GstRTSPClient *client, gpointer media)
{
  Search search = {media, FALSE, 0, GST_RTSP_FILTER_KEEP};

  gst_rtsp_client_session_filter (client, find_media_of_client, &search);
  if (search.found > 0 || !has_sessions (client, 1))
    shut (LF_RTSP_CLIENT (client));
  return GST_RTSP_FILTER_KEEP;
}

void
lf_rtsp_server_drop (LfRtspServer *self, GstRTSPMedia *media)
{
  Search search = {media, FALSE, 0, GST_RTSP_FILTER_REMOVE};

  /* Connections first: what a session has been is not known once it is removed. */
  gst_rtsp_server_client_filter (GST_RTSP_SERVER (self), shut_if_concerned, media);
  search_sessions (self, &search);
}
