/* lightforce: one viewer of the studio, by WebRTC
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The browser offers and the studio answers, once, with all its candidates: it needs none of the
 * browser's, which reaches it at the address that it was given. It takes none, either.
 */
#define GST_USE_UNSTABLE_API
#include "pipelines/studio-viewer.h"

#include <gst/sdp/sdp.h>
#include <gst/webrtc/webrtc.h>
#include <stdlib.h>
#include <string.h>

/* How long a viewer has to connect, seconds. */
#define CONNECT_SECONDS 20
/* Coded frames that wait for a viewer; what is more goes lost, and a key frame follows. */
#define QUEUE_FRAMES 32

struct _LfViewer
{
  gint refs; /* atomic: what is asked of webrtcbin has one, too */
  LfShow *show;
  const LfViewerFuncs *funcs;
  gpointer user_data;
  GstElement *branch, *webrtc;
  LfCodec codec;
  guint timeout;
  gboolean settled; /* webrtcbin has answered, or will not */
  gboolean freed;
};

static LfViewer *
viewer_ref (LfViewer *viewer)
{
  g_atomic_int_inc (&viewer->refs);
  return viewer;
}

static void
viewer_unref (gpointer data)
{
  LfViewer *viewer = data;

  if (!g_atomic_int_dec_and_test (&viewer->refs))
    return;
  gst_clear_object (&viewer->webrtc);
  gst_clear_object (&viewer->branch);
  g_free (viewer);
}

static void
closure_unref (gpointer data, GClosure *closure)
{
  viewer_unref (data);
}

/* Calls `function` in the main thread; webrtcbin tells things in its own. */
static void
call (LfViewer *viewer, GSourceFunc function)
{
  g_idle_add_full (G_PRIORITY_DEFAULT, function, viewer_ref (viewer), viewer_unref);
}

/* webrtcbin leaks its sockets where it is taken away while it answers: a viewer that goes earlier
 * leaves it in place until then. */
static void
release (LfViewer *viewer)
{
  g_clear_handle_id (&viewer->timeout, g_source_remove);
  g_signal_handlers_disconnect_by_data (viewer->webrtc, viewer);
  lf_show_remove_branch (viewer->show, viewer->branch);
  viewer_unref (viewer);
}

/* TRUE: the viewer is gone. */
static gboolean
settle (LfViewer *viewer)
{
  gboolean first = !viewer->settled;

  viewer->settled = TRUE;
  if (viewer->freed && first)
    release (viewer);
  return viewer->freed;
}

/* ------------------------------------------------------------------------- offers */

static gboolean
refuse (GError **error, const char *why)
{
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "%s", why);
  return FALSE;
}

/* Of the media, or of the session. */
static const char *
find_attribute (const GstSDPMessage *sdp, const GstSDPMedia *media, const char *name)
{
  const char *value = gst_sdp_media_get_attribute_val (media, name);

  return value ? value : gst_sdp_message_get_attribute_val (sdp, name);
}

/* webrtcbin trusts what it is given: it gets nothing but what a browser makes. */
static gboolean
check_offer (const GstSDPMessage *sdp, GError **error)
{
  const GstSDPMedia *media;
  const char *ufrag, *pwd, *fingerprint, *setup;
  guint i;

  if (gst_sdp_message_medias_len (sdp) != 1)
    return refuse (error, "the offer has other than one media section; it is to receive one video");
  media = gst_sdp_message_get_media (sdp, 0);
  if (g_strcmp0 (gst_sdp_media_get_media (media), "video") != 0
      || g_strcmp0 (gst_sdp_media_get_proto (media), "UDP/TLS/RTP/SAVPF") != 0)
    return refuse (error, "the offer's media section is no video over UDP/TLS/RTP/SAVPF");
  for (i = 0; i < gst_sdp_media_formats_len (media); i++)
    if (!g_ascii_string_to_unsigned (gst_sdp_media_get_format (media, i), 10, 0, 127, NULL, NULL))
      return refuse (error, "the offer's video has a payload type that is no number to 127");
  if (gst_sdp_media_get_attribute_val (media, "recvonly") == NULL)
    return refuse (error, "the offer's video is not recvonly");
  if (gst_sdp_media_get_attribute_val (media, "rtcp-mux") == NULL
      || gst_sdp_media_get_attribute_val (media, "mid") == NULL)
    return refuse (error, "the offer's video has no mid, or no rtcp-mux");
  ufrag = find_attribute (sdp, media, "ice-ufrag");
  pwd = find_attribute (sdp, media, "ice-pwd");
  /* RFC 8839, 5.4 */
  if (ufrag == NULL || pwd == NULL || strlen (ufrag) < 4 || strlen (ufrag) > 256
      || strlen (pwd) < 22 || strlen (pwd) > 256)
    return refuse (error, "the offer has no proper ice-ufrag and ice-pwd");
  fingerprint = find_attribute (sdp, media, "fingerprint");
  setup = find_attribute (sdp, media, "setup");
  if (fingerprint == NULL || g_ascii_strncasecmp (fingerprint, "sha-256 ", 8) != 0
      || strlen (fingerprint) != 8 + 32 * 3 - 1)
    return refuse (error, "the offer has no fingerprint by sha-256");
  if (setup == NULL || (!g_str_equal (setup, "actpass") && !g_str_equal (setup, "active")))
    return refuse (error, "the offer's setup is neither actpass nor active");
  return TRUE;
}

/* Nobody can have the studio send to an address, or ask for the address of a name, by writing it into
 * an offer: it answers those who come to it. */
static void
remove_candidates (GstSDPMessage *sdp)
{
  GstSDPMedia *media = (GstSDPMedia *) gst_sdp_message_get_media (sdp, 0);
  guint i;

  for (i = gst_sdp_media_attributes_len (media); i-- > 0;) {
    const char *key = gst_sdp_media_get_attribute (media, i)->key;

    if (g_strcmp0 (key, "candidate") == 0 || g_strcmp0 (key, "end-of-candidates") == 0)
      gst_sdp_media_remove_attribute (media, i);
  }
}

/* How well the codec of a payload type suits, 0: not at all. */
static guint
rate (const GstStructure *s, LfCodec *codec)
{
  const char *name = gst_structure_get_string (s, "encoding-name");
  const char *mode = gst_structure_get_string (s, "packetization-mode");
  const char *profile = gst_structure_get_string (s, "profile-level-id");

  if (name && g_ascii_strcasecmp (name, "VP8") == 0) {
    *codec = LF_CODEC_VP8;
    return 1;
  }
  if (name == NULL || g_ascii_strcasecmp (name, "H264") != 0 || g_strcmp0 (mode, "1") != 0)
    return 0;
  *codec = LF_CODEC_H264;
  /* constrained baseline is what is sent, and what every other profile can decode */
  return profile && g_ascii_strncasecmp (profile, "42e0", 4) == 0 ? 3 : 2;
}

/* The caps of the payload type that suits best; NULL: there is none. */
static GstCaps *
choose (const GstSDPMedia *media, LfCodec *codec)
{
  GstCaps *best = NULL;
  guint most = 0, i;

  for (i = 0; i < gst_sdp_media_formats_len (media); i++) {
    gint pt = atoi (gst_sdp_media_get_format (media, i));
    GstCaps *caps = gst_sdp_media_get_caps_from_media (media, pt);
    LfCodec its = LF_CODEC_VP8;
    guint rating;

    rating = caps && !gst_caps_is_empty (caps) ? rate (gst_caps_get_structure (caps, 0), &its) : 0;
    if (rating > most) {
      const char *profile =
          gst_structure_get_string (gst_caps_get_structure (caps, 0), "profile-level-id");

      most = rating;
      *codec = its;
      gst_clear_caps (&best);
      best = gst_caps_new_simple ("application/x-rtp", "media", G_TYPE_STRING, "video",
          "clock-rate", G_TYPE_INT, 90000, "encoding-name", G_TYPE_STRING,
          its == LF_CODEC_H264 ? "H264" : "VP8", "payload", G_TYPE_INT, pt, "rtcp-fb-nack-pli",
          G_TYPE_BOOLEAN, TRUE, NULL);
      if (its == LF_CODEC_H264)
        gst_caps_set_simple (best, "packetization-mode", G_TYPE_STRING, "1", "profile-level-id",
            G_TYPE_STRING, profile ? profile : "42e01f", "level-asymmetry-allowed", G_TYPE_STRING,
            "1", NULL);
    }
    gst_clear_caps (&caps);
  }
  return best;
}

static GstSDPMessage *
parse_offer (const char *offer, GError **error)
{
  GstSDPMessage *sdp = NULL;

  if (strlen (offer) > LF_OFFER_LIMIT) {
    refuse (error, "the offer is longer than 16384 bytes");
    return NULL;
  }
  if (*offer == '\0' || gst_sdp_message_new_from_text (offer, &sdp) != GST_SDP_OK) {
    refuse (error, "the offer is no session description (SDP)");
    return NULL;
  }
  if (!check_offer (sdp, error)) {
    gst_sdp_message_free (sdp);
    return NULL;
  }
  remove_candidates (sdp);
  return sdp;
}

/* ------------------------------------------------------------------------ answers */

static gboolean
tell_connection (gpointer data)
{
  LfViewer *viewer = data;
  GstWebRTCPeerConnectionState state;

  if (viewer->freed)
    return G_SOURCE_REMOVE;
  g_object_get (viewer->webrtc, "connection-state", &state, NULL);
  if (state == GST_WEBRTC_PEER_CONNECTION_STATE_CONNECTED) {
    g_clear_handle_id (&viewer->timeout, g_source_remove);
    lf_show_refresh (viewer->show, viewer->codec);
  } else if (state == GST_WEBRTC_PEER_CONNECTION_STATE_FAILED
             || state == GST_WEBRTC_PEER_CONNECTION_STATE_CLOSED) {
    viewer->funcs->gone (viewer, "the connection for the video failed", viewer->user_data);
  }
  return G_SOURCE_REMOVE;
}

static void
connection_changed (GstElement *webrtc, GParamSpec *spec, gpointer data)
{
  call (data, tell_connection);
}

static gboolean
tell_answer (gpointer data)
{
  LfViewer *viewer = data;
  GstWebRTCICEGatheringState state;
  GstWebRTCSessionDescription *local = NULL;
  g_autofree char *text = NULL;

  if (viewer->settled)
    return G_SOURCE_REMOVE;
  g_object_get (viewer->webrtc, "ice-gathering-state", &state, "local-description", &local, NULL);
  if (state == GST_WEBRTC_ICE_GATHERING_STATE_COMPLETE && local && !settle (viewer)) {
    text = gst_sdp_message_as_text (local->sdp);
    viewer->funcs->answered (viewer, text, viewer->codec, viewer->user_data);
  }
  g_clear_pointer (&local, gst_webrtc_session_description_free);
  return G_SOURCE_REMOVE;
}

static void
gathering_changed (GstElement *webrtc, GParamSpec *spec, gpointer data)
{
  call (data, tell_answer);
}

static gboolean
tell_refusal (gpointer data)
{
  LfViewer *viewer = data;

  if (!settle (viewer))
    viewer->funcs->gone (viewer, "the offer was not understood", viewer->user_data);
  return G_SOURCE_REMOVE;
}

static void
local_set (GstPromise *promise, gpointer data)
{
  call (
      data, gst_promise_wait (promise) == GST_PROMISE_RESULT_REPLIED ? tell_answer : tell_refusal);
  gst_promise_unref (promise);
}

static void
answer_made (GstPromise *promise, gpointer data)
{
  LfViewer *viewer = data;
  GstWebRTCSessionDescription *answer = NULL;
  const GstStructure *reply = gst_promise_wait (promise) == GST_PROMISE_RESULT_REPLIED
                                  ? gst_promise_get_reply (promise)
                                  : NULL;

  if (reply == NULL
      || !gst_structure_get (reply, "answer", GST_TYPE_WEBRTC_SESSION_DESCRIPTION, &answer, NULL)) {
    call (viewer, tell_refusal);
  } else {
    g_signal_emit_by_name (viewer->webrtc, "set-local-description", answer,
        gst_promise_new_with_change_func (local_set, viewer_ref (viewer), viewer_unref));
    gst_webrtc_session_description_free (answer);
  }
  gst_promise_unref (promise);
}

static void
remote_set (GstPromise *promise, gpointer data)
{
  LfViewer *viewer = data;
  const GstStructure *reply = gst_promise_wait (promise) == GST_PROMISE_RESULT_REPLIED
                                  ? gst_promise_get_reply (promise)
                                  : NULL;

  if (gst_promise_wait (promise) != GST_PROMISE_RESULT_REPLIED
      || (reply && gst_structure_has_field (reply, "error")))
    call (viewer, tell_refusal);
  else
    g_signal_emit_by_name (viewer->webrtc, "create-answer", NULL,
        gst_promise_new_with_change_func (answer_made, viewer_ref (viewer), viewer_unref));
  gst_promise_unref (promise);
}

static gboolean
lose_patience (gpointer data)
{
  LfViewer *viewer = data;

  viewer->timeout = 0;
  if (settle (viewer))
    return G_SOURCE_REMOVE;
  viewer->funcs->gone (
      viewer, "the connection for the video was not made in time", viewer->user_data);
  return G_SOURCE_REMOVE;
}

/* -------------------------------------------------------------------------- life */

static gboolean
make_branch (LfViewer *viewer, const LfStudioConfig *config, GstCaps *caps, GError **error)
{
  gint pt = 96;
  g_autofree char *line = NULL;
  g_autoptr (GstElement) in = NULL, out = NULL;
  g_autoptr (GstPad) target = NULL, source = NULL, sink = NULL;
  g_autoptr (GObject) ice = NULL, agent = NULL;
  g_autoptr (GstWebRTCRTPTransceiver) transceiver = NULL;

  gst_structure_get_int (gst_caps_get_structure (caps, 0), "payload", &pt);
  line = g_strdup_printf (
      "queue name=in max-size-buffers=%d max-size-bytes=0 max-size-time=0 leaky=downstream ! "
      "%s name=out pt=%d webrtcbin name=webrtc bundle-policy=max-bundle",
      QUEUE_FRAMES,
      viewer->codec == LF_CODEC_H264 ? "rtph264pay config-interval=-1 aggregate-mode=zero-latency"
                                     : "rtpvp8pay",
      pt);
  viewer->branch =
      gst_parse_bin_from_description_full (line, FALSE, NULL, GST_PARSE_FLAG_FATAL_ERRORS, error);
  if (viewer->branch == NULL)
    return FALSE;
  gst_object_ref_sink (viewer->branch);
  viewer->webrtc = gst_bin_get_by_name (GST_BIN (viewer->branch), "webrtc");
  in = gst_bin_get_by_name (GST_BIN (viewer->branch), "in");
  out = gst_bin_get_by_name (GST_BIN (viewer->branch), "out");
  target = gst_element_get_static_pad (in, "sink");
  gst_element_add_pad (viewer->branch, gst_ghost_pad_new ("sink", target));
  source = gst_element_get_static_pad (out, "src");
  sink = gst_element_request_pad (viewer->webrtc,
      gst_element_class_get_pad_template (GST_ELEMENT_GET_CLASS (viewer->webrtc), "sink_%u"), NULL,
      caps);
  if (sink == NULL || gst_pad_link (source, sink) != GST_PAD_LINK_OK) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_FAILED, "the video cannot be given to webrtcbin");
    return FALSE;
  }
  g_object_get (sink, "transceiver", &transceiver, NULL);
  g_object_set (transceiver, "codec-preferences", caps, "direction",
      GST_WEBRTC_RTP_TRANSCEIVER_DIRECTION_SENDONLY, NULL);
  g_object_get (viewer->webrtc, "ice-agent", &ice, NULL);
  /* no router is to be asked for a way in, which would open ports to the network, too */
  if (g_object_class_find_property (G_OBJECT_GET_CLASS (ice), "agent")) {
    g_object_get (ice, "agent", &agent, NULL);
    g_object_set (agent, "upnp", FALSE, NULL);
  }
  if (config->media_address) {
    gboolean ok = FALSE;

    g_signal_emit_by_name (ice, "add-local-ip-address", config->media_address, &ok);
    if (!ok) {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
          "video cannot be sent from %s; choose another --media-address", config->media_address);
      return FALSE;
    }
  }
  return TRUE;
}

static void
negotiate (LfViewer *viewer, GstSDPMessage *sdp)
{
  GstWebRTCSessionDescription *offer =
      gst_webrtc_session_description_new (GST_WEBRTC_SDP_TYPE_OFFER, sdp);

  g_signal_connect_data (viewer->webrtc, "notify::connection-state",
      G_CALLBACK (connection_changed), viewer_ref (viewer), closure_unref, 0);
  g_signal_connect_data (viewer->webrtc, "notify::ice-gathering-state",
      G_CALLBACK (gathering_changed), viewer_ref (viewer), closure_unref, 0);
  g_signal_emit_by_name (viewer->webrtc, "set-remote-description", offer,
      gst_promise_new_with_change_func (remote_set, viewer_ref (viewer), viewer_unref));
  gst_webrtc_session_description_free (offer);
  viewer->timeout = g_timeout_add_seconds (CONNECT_SECONDS, lose_patience, viewer);
}

LfViewer *
lf_viewer_new (LfShow *show, const LfStudioConfig *config, const char *text,
    const LfViewerFuncs *funcs, gpointer user_data, GError **error)
{
  GstSDPMessage *sdp = parse_offer (text, error);
  g_autoptr (GstCaps) caps = NULL;
  LfViewer *viewer;

  if (sdp == NULL)
    return NULL;
  viewer = g_new0 (LfViewer, 1);
  viewer->refs = 1;
  viewer->show = show;
  viewer->funcs = funcs;
  viewer->user_data = user_data;
  caps = choose (gst_sdp_message_get_media (sdp, 0), &viewer->codec);
  if (caps == NULL)
    refuse (error, "the offer has neither H264 with packetization-mode=1 nor VP8");
  if (caps == NULL || !make_branch (viewer, config, caps, error)) {
    gst_sdp_message_free (sdp);
    if (viewer->branch)
      gst_element_set_state (viewer->branch, GST_STATE_NULL);
    viewer_unref (viewer);
    return NULL;
  }
  if (!lf_show_add_branch (show, viewer->codec, viewer->branch)) {
    refuse (error, "the video cannot be linked");
    gst_sdp_message_free (sdp);
    viewer_unref (viewer);
    return NULL;
  }
  negotiate (viewer, sdp);
  return viewer;
}

void
lf_viewer_free (LfViewer *viewer)
{
  viewer->freed = TRUE;
  if (viewer->settled)
    release (viewer);
}

GstElement *
lf_viewer_get_branch (LfViewer *viewer)
{
  return viewer->branch;
}

void
lf_viewer_fail (LfViewer *viewer, const char *why)
{
  viewer->funcs->gone (viewer, why, viewer->user_data);
}
