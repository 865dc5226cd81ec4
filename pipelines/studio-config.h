/* lightforce: what the studio is told by its command line
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_CONFIG_H
#define LF_STUDIO_CONFIG_H

#include "pipelines/parts.h"

G_BEGIN_DECLS

typedef struct
{
  char *address; /* numeric, that is listened on */
  guint port;    /* 0: any that is free */
  gboolean loopback;
  char **names;            /* of the host, other than its address, that browsers may use; or NULL */
  char *token;             /* that clients have to know; NULL: none, on loopback only */
  char *certificate, *key; /* PEM files, or NULL: no TLS */
  char *media_address;     /* that video is sent from; NULL: all that this machine has */
  char *output;            /* folder of recordings */
  guint max_clients;       /* WebSocket connections at a time */
  guint bitrate;           /* kbit/s */
  GPtrArray *properties;   /* of LfSourceProperty */
} LfStudioConfig;

G_END_DECLS
#endif
