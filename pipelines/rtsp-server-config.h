/* lightforce: what the RTSP server is told by its file and its command line
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_RTSP_SERVER_CONFIG_H
#define LF_RTSP_SERVER_CONFIG_H

#include "pipelines/parts.h"

G_BEGIN_DECLS

typedef struct
{
  char *name, *password;
  gboolean control; /* may set parameters */
} LfRtspUser;

/* One video that clients can play. */
typedef struct
{
  char *path;            /* "/live" */
  GPtrArray *properties; /* of LfSourceProperty */
  char *filter;          /* launch line between source and encoder, or NULL */
  char *encoder;         /* launch line of the encoder, complete */
  char *profile;         /* of H.264, or NULL: whatever the encoder makes */
  gint config_interval;  /* of rtph264pay: seconds, 0: never, -1: with every key frame */
  gboolean control;      /* parameters may be set */
  gboolean warm;         /* ready to play before the first client, and after the last one */
} LfRtspMount;

typedef struct
{
  char *address;           /* that is listened on */
  guint port;              /* 0: any that is free */
  guint max_clients;       /* connections at a time */
  guint timeout;           /* seconds after which a session that is not heard of ends */
  guint idle_timeout;      /* seconds after which a connection without a session ends */
  gboolean tcp, udp;       /* what carries the video */
  guint udp_min, udp_max;  /* ports that video over UDP is sent from */
  char *certificate, *key; /* PEM files, or NULL: no TLS */
  gboolean basic;          /* passwords may come in the clear */
  char *realm;
  GPtrArray *users;  /* of LfRtspUser; empty: everyone */
  GPtrArray *mounts; /* of LfRtspMount, at least one */
} LfRtspConfig;

/* Reads `path`, or makes the defaults with one mount "/live" where it is NULL. Command-line
 * settings come on top: each of `server_settings` is "key=value" of the group [server], each of
 * `mount_settings` "key=value" of every mount; both may be NULL. The plugin has to be there, as
 * properties are checked against it. NULL with `error` set, which names file, group and key. */
LfRtspConfig *lf_rtsp_config_new (const char *path, const char *const *server_settings,
    const char *const *mount_settings, GError **error);
void lf_rtsp_config_free (LfRtspConfig *config);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfRtspConfig, lf_rtsp_config_free)
G_END_DECLS
#endif
