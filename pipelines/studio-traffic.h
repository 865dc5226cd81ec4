/* lightforce: what a client of the studio keeps waiting, by the bytes of its connection
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_TRAFFIC_H
#define LF_STUDIO_TRAFFIC_H

#include <glib.h>

G_BEGIN_DECLS

/* What may come without completing a message, bytes. */
#define LF_TRAFFIC_PIECES_LIMIT (1 << 20)
/* What may wait for the client to take it, bytes: all that it is sent at the beginning, several
 * times. */
#define LF_TRAFFIC_UNREAD_LIMIT (8 << 20)
/* A client answers a ping every so many seconds, with not more than so many bytes, TLS included. */
#define LF_TRAFFIC_PING_SECONDS 5
#define LF_TRAFFIC_PONG_BYTES 128

/* `received` and `acked` are the kernel's counts of bytes that came from the client, and that it
 * has acknowledged. */
typedef struct
{
  guint64 taken;  /* received when the latest message was complete, and in answers to pings since */
  gint64 ponged;  /* when such an answer was last let pass, monotonic time */
  guint64 sent;   /* bytes of text */
  guint64 before; /* acknowledged that are none of them */
} LfTraffic;

static inline void
lf_traffic_init (LfTraffic *traffic, guint64 received, guint64 acked)
{
  *traffic = (LfTraffic){.taken = received, .before = acked};
}

/* A message is complete. */
static inline void
lf_traffic_note_message (LfTraffic *traffic, guint64 received)
{
  traffic->taken = received;
}

/* Answers to pings complete no message, and add up where a client watches for days. More of them
 * than there are pings are no answers. */
static inline void
lf_traffic_note_pong (LfTraffic *traffic, guint64 received, gint64 now)
{
  if (received <= traffic->taken
      || (traffic->ponged
          && now - traffic->ponged < (LF_TRAFFIC_PING_SECONDS - 1) * G_USEC_PER_SEC))
    return;
  traffic->ponged = now;
  traffic->taken += MIN (received - traffic->taken, LF_TRAFFIC_PONG_BYTES);
}

static inline gboolean
lf_traffic_has_pieces (const LfTraffic *traffic, guint64 received)
{
  return received > traffic->taken + LF_TRAFFIC_PIECES_LIMIT;
}

static inline void
lf_traffic_note_text (LfTraffic *traffic, gsize bytes)
{
  traffic->sent += bytes;
}

/* Pings, heads of frames and TLS are acknowledged, too, and must not make up for text that is not. */
static inline gboolean
lf_traffic_has_unread (LfTraffic *traffic, guint64 acked)
{
  if (acked > traffic->before + traffic->sent)
    traffic->before = acked - traffic->sent;
  return traffic->before + traffic->sent - acked > LF_TRAFFIC_UNREAD_LIMIT;
}

G_END_DECLS
#endif
