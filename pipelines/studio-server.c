/* lightforce: the studio's web server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A browser visits other pages, too. What they make it send here is told by two headers: Host has
 * the name in the address, which a page can have point here by its own name server (DNS
 * rebinding), and Origin the page. Host has to be an address or a name that was allowed, and Origin
 * this very server.
 */
#include "pipelines/studio-server.h"

#include <string.h>

#define API_PATH "/api"
#define RESOURCES "/lightforce/studio"
/* of RFC 6455 and RFC 9110; libsoup has no names for them */
#define TRY_AGAIN_LATER 1013
#define UPGRADE_REQUIRED 426

/* How long a connection may be without a new request; WebSocket connections are none of them. */
#define IDLE_US (10 * G_USEC_PER_SEC)
#define TIDY_SECONDS 2
#define CONNECTION_LIMIT 256

typedef struct
{
  const LfStudioConfig *config;
  LfApi *api;
  guint port;
  GHashTable *visits; /* GSocket: gint64, when its latest request began */
  guint tidy_source;
} Studio;

static const struct
{
  const char *path, *resource, *type;
} files[] = {
    {"/", RESOURCES "/index.html", "text/html; charset=utf-8"},
    {"/studio.css", RESOURCES "/studio.css", "text/css; charset=utf-8"},
    {"/studio.js", RESOURCES "/studio.js", "text/javascript; charset=utf-8"},
    {"/icon.svg", RESOURCES "/icon.svg", "image/svg+xml"},
};

/* -------------------------------------------------------------------- connections */

/* libsoup lets connections idle for ever, and keeps some whose requests were broken off. */
static gboolean
tidy (gpointer data)
{
  Studio *studio = data;
  gint64 now = g_get_monotonic_time ();
  GHashTableIter iter;
  gpointer socket, since;

  g_hash_table_iter_init (&iter, studio->visits);
  while (g_hash_table_iter_next (&iter, &socket, &since))
    if (g_socket_is_closed (socket)) {
      g_hash_table_iter_remove (&iter);
    } else if (now - *(gint64 *) since > IDLE_US) {
      g_socket_close (socket, NULL);
      g_hash_table_iter_remove (&iter);
    }
  return G_SOURCE_CONTINUE;
}

static gboolean
is_full (const Studio *studio)
{
  return g_hash_table_size (studio->visits) >= CONNECTION_LIMIT;
}

/* The first one of a connection starts as the connection comes, whether it says anything or not. */
static void
request_started (SoupServer *server, SoupServerMessage *message, gpointer data)
{
  Studio *studio = data;
  GSocket *socket = soup_server_message_get_socket (message);
  gint64 now = g_get_monotonic_time ();

  if (socket == NULL)
    return;
  if (is_full (studio) && !g_hash_table_contains (studio->visits, socket)) {
    tidy (studio);
    if (is_full (studio)) {
      g_socket_shutdown (socket, TRUE, TRUE, NULL);
      return;
    }
  }
  g_hash_table_insert (studio->visits, g_object_ref (socket), g_memdup2 (&now, sizeof (now)));
}

static void
studio_free (gpointer data)
{
  Studio *studio = data;

  g_source_remove (studio->tidy_source);
  g_hash_table_unref (studio->visits);
  g_free (studio);
}

/* ------------------------------------------------------------------------- access */

/* Whether the host of an address, without brackets, is this server's. */
static gboolean
is_own_host (const LfStudioConfig *config, const char *host)
{
  g_autoptr (GInetAddress) address = g_inet_address_new_from_string (host);
  g_autoptr (GInetAddress) bound = g_inet_address_new_from_string (config->address);
  guint i;

  /* browsers write names in small letters, whatever was typed */
  for (i = 0; config->names && config->names[i]; i++)
    if (g_ascii_strcasecmp (config->names[i], host) == 0)
      return TRUE;
  if (address == NULL)
    return config->loopback && g_ascii_strcasecmp (host, "localhost") == 0;
  /* no name server can make a browser send an address that it was not given */
  return g_inet_address_get_is_any (bound) || g_inet_address_equal (address, bound)
         || (config->loopback && g_inet_address_get_is_loopback (address));
}

static gboolean
check_host (const Studio *studio, const char *text)
{
  g_autofree char *url = NULL;
  g_autoptr (GUri) uri = NULL;
  const char *c;
  gint port;

  if (text == NULL)
    return FALSE;
  for (c = text; *c; c++)
    if (!g_ascii_isalnum (*c) && !strchr (".:[]-", *c))
      return FALSE;
  url = g_strdup_printf ("http://%s/", text);
  uri = g_uri_parse (url, G_URI_FLAGS_NONE, NULL);
  if (uri == NULL || g_uri_get_host (uri) == NULL || *g_uri_get_host (uri) == '\0')
    return FALSE;
  port = g_uri_get_port (uri);
  if (port < 0)
    port = studio->config->certificate ? 443 : 80;
  return (guint) port == studio->port && is_own_host (studio->config, g_uri_get_host (uri));
}

/* Programs that are no browser send none. */
static gboolean
check_origin (const Studio *studio, const char *origin, const char *host)
{
  const char *scheme = studio->config->certificate ? "https://" : "http://";

  return origin == NULL
         || (g_str_has_prefix (origin, scheme)
             && g_ascii_strcasecmp (origin + strlen (scheme), host) == 0);
}

/* In a time that does not tell how much of it is right. */
static gboolean
is_token (const char *token, const char *text)
{
  gsize n = strlen (token), m = strlen (text), i;
  guint8 wrong = n != m;

  for (i = 0; i < m; i++)
    wrong |= (guint8) (text[i] ^ token[i < n ? i : 0]);
  return !wrong;
}

static gboolean
check_token (const Studio *studio, SoupServerMessage *message)
{
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (message);
  const char *header = soup_message_headers_get_one (headers, "Authorization");
  const char *query = g_uri_get_query (soup_server_message_get_uri (message));
  g_autoptr (GHashTable) fields = query ? soup_form_decode (query) : NULL;
  const char *given = fields ? g_hash_table_lookup (fields, "token") : NULL;

  if (studio->config->token == NULL)
    return TRUE;
  if (header && g_str_has_prefix (header, "Bearer "))
    given = header + strlen ("Bearer ");
  return given && is_token (studio->config->token, given);
}

static void
refuse (SoupServerMessage *message, guint status, const char *text)
{
  soup_server_message_set_status (message, status, NULL);
  soup_server_message_set_response (
      message, "text/plain; charset=utf-8", SOUP_MEMORY_STATIC, text, strlen (text));
  soup_message_headers_replace (
      soup_server_message_get_response_headers (message), "Connection", "close");
}

/* For all requests, once their headers are there. What it answers goes no further. */
static void
check_request (SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
    gpointer data)
{
  Studio *studio = data;
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (message);
  const char *host = soup_message_headers_get_one (headers, "Host");
  const char *method = soup_server_message_get_method (message);

  /* no request has a body that anybody wants */
  soup_message_body_set_accumulate (soup_server_message_get_request_body (message), FALSE);
  if (!check_host (studio, host))
    refuse (message, SOUP_STATUS_FORBIDDEN,
        "This is not the address of this server; start it with --name to allow another one.\n");
  else if (!check_origin (studio, soup_message_headers_get_one (headers, "Origin"), host))
    refuse (message, SOUP_STATUS_FORBIDDEN, "Another page may not use this server.\n");
  else if (!g_str_equal (method, "GET") && !g_str_equal (method, "HEAD"))
    refuse (message, SOUP_STATUS_METHOD_NOT_ALLOWED, "There is nothing but GET and HEAD.\n");
  else if (g_str_equal (path, API_PATH) && !check_token (studio, message))
    refuse (message, SOUP_STATUS_UNAUTHORIZED,
        "A token is needed: open the address that the server printed.\n");
  else if (g_str_equal (path, API_PATH) && !lf_api_has_room (studio->api))
    refuse (message, SOUP_STATUS_SERVICE_UNAVAILABLE,
        "There are as many clients as --max-clients allows.\n");
}

/* ------------------------------------------------------------------------ answers */

static void
serve_file (SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
    gpointer data)
{
  SoupMessageHeaders *headers = soup_server_message_get_response_headers (message);
  g_autoptr (GBytes) bytes = NULL;
  gsize size;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (files) && bytes == NULL; i++)
    if (g_str_equal (path, files[i].path)) {
      bytes = g_resources_lookup_data (files[i].resource, G_RESOURCE_LOOKUP_FLAGS_NONE, NULL);
      soup_message_headers_set_content_type (headers, files[i].type, NULL);
    }
  if (bytes == NULL) {
    refuse (message, SOUP_STATUS_NOT_FOUND, "There is no such page.\n");
    return;
  }
  /* the page uses nothing but what comes from here, and is shown in no other */
  soup_message_headers_replace (headers, "Content-Security-Policy",
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src "
      "'self'; media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; "
      "frame-ancestors 'none'");
  soup_message_headers_replace (headers, "X-Content-Type-Options", "nosniff");
  soup_message_headers_replace (headers, "Referrer-Policy", "no-referrer");
  soup_message_headers_replace (headers, "Cross-Origin-Resource-Policy", "same-origin");
  soup_message_headers_replace (headers, "Cache-Control", "no-cache");
  soup_server_message_set_status (message, SOUP_STATUS_OK, NULL);
  size = g_bytes_get_size (bytes);
  if (g_str_equal (soup_server_message_get_method (message), "HEAD"))
    soup_message_headers_set_content_length (headers, (goffset) size);
  else
    soup_message_body_append_bytes (soup_server_message_get_response_body (message), bytes);
}

static void
serve_api (SoupServer *server, SoupServerMessage *message, const char *path,
    SoupWebsocketConnection *connection, gpointer data)
{
  Studio *studio = data;

  GSocket *socket = soup_server_message_get_socket (message);

  if (socket)
    g_hash_table_remove (studio->visits, socket);
  /* several may have come in between */
  if (lf_api_has_room (studio->api))
    lf_api_add_client (studio->api, connection, socket);
  else
    soup_websocket_connection_close (connection, TRY_AGAIN_LATER, "there are too many clients");
}

static void
serve_no_api (SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
    gpointer data)
{
  SoupMessageHeaders *headers = soup_server_message_get_request_headers (message);

  /* what has no answer yet goes on to the other handler */
  if (soup_message_headers_header_contains (headers, "Upgrade", "websocket"))
    return;
  refuse (message, UPGRADE_REQUIRED, "This is for WebSocket connections.\n");
  soup_server_message_set_status (message, UPGRADE_REQUIRED, "Upgrade Required");
}

/* ---------------------------------------------------------------------- listening */

static char *
make_url (const Studio *studio)
{
  const LfStudioConfig *config = studio->config;
  gboolean v6 = strchr (config->address, ':') != NULL;
  g_autofree char *token = config->token ? g_uri_escape_string (config->token, NULL, FALSE) : NULL;

  /* what is behind # stays in the browser */
  return g_strdup_printf ("%s://%s%s%s:%u/%s%s", config->certificate ? "https" : "http",
      v6 ? "[" : "", config->address, v6 ? "]" : "", studio->port, token ? "#token=" : "",
      token ? token : "");
}

static gboolean
set_certificate (SoupServer *server, const LfStudioConfig *config, GError **error)
{
  g_autoptr (GTlsCertificate) certificate = NULL;

  if (config->certificate == NULL)
    return TRUE;
  certificate = g_tls_certificate_new_from_files (
      config->certificate, config->key ? config->key : config->certificate, error);
  if (certificate == NULL) {
    g_prefix_error (error, "%s: ", config->certificate);
    return FALSE;
  }
  soup_server_set_tls_certificate (server, certificate);
  return TRUE;
}

static gboolean
listen_on (SoupServer *server, Studio *studio, GError **error)
{
  const LfStudioConfig *config = studio->config;
  g_autoptr (GSocketAddress) address =
      g_inet_socket_address_new_from_string (config->address, config->port);
  GSList *uris;

  if (!soup_server_listen (server, address,
          config->certificate ? SOUP_SERVER_LISTEN_HTTPS : (SoupServerListenOptions) 0, error)) {
    g_prefix_error (error, "cannot listen on %s, port %u: ", config->address, config->port);
    return FALSE;
  }
  uris = soup_server_get_uris (server);
  studio->port = (guint) g_uri_get_port (uris->data);
  g_slist_free_full (uris, (GDestroyNotify) g_uri_unref);
  return TRUE;
}

SoupServer *
lf_studio_server_new (const LfStudioConfig *config, LfApi *api, char **url, GError **error)
{
  g_autoptr (SoupServer) server = soup_server_new ("server-header", "lightforce-studio", NULL);
  Studio *studio = g_new0 (Studio, 1);

  g_object_set_data_full (G_OBJECT (server), "studio", studio, studio_free);
  studio->visits = g_hash_table_new_full (g_direct_hash, g_direct_equal, g_object_unref, g_free);
  studio->tidy_source = g_timeout_add_seconds (TIDY_SECONDS, tidy, studio);
  g_signal_connect (server, "request-started", G_CALLBACK (request_started), studio);
  studio->config = config;
  studio->api = api;
  soup_server_add_early_handler (server, NULL, check_request, studio, NULL);
  soup_server_add_handler (server, NULL, serve_file, studio, NULL);
  soup_server_add_early_handler (server, API_PATH, check_request, studio, NULL);
  soup_server_add_handler (server, API_PATH, serve_no_api, studio, NULL);
  /* what is compressed cannot be told from what a client has not read */
  soup_server_remove_websocket_extension (server, SOUP_TYPE_WEBSOCKET_EXTENSION_DEFLATE);
  soup_server_add_websocket_handler (server, API_PATH, NULL, NULL, serve_api, studio, NULL);
  if (!set_certificate (server, config, error) || !listen_on (server, studio, error))
    return NULL;
  *url = make_url (studio);
  return g_steal_pointer (&server);
}
