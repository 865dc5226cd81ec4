/* lightforce: what a client of the studio keeps waiting
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/studio-traffic.h"

#define MONTH (30 * 24 * 3600)
#define PONG 48 /* bytes of an answer to libsoup's ping, TLS included */

/* Who only watches is not ended for its answers to pings, however long it does. */
static void
test_pongs (void)
{
  LfTraffic traffic;
  guint64 received = 500;
  gint64 now;

  lf_traffic_init (&traffic, received, 0);
  for (now = 1; now < MONTH; now += LF_TRAFFIC_PING_SECONDS) {
    received += PONG;
    lf_traffic_note_pong (&traffic, received, now * G_USEC_PER_SEC);
    g_assert_false (lf_traffic_has_pieces (&traffic, received));
  }
  g_assert_cmpuint (traffic.taken, ==, received);
}

/* Pongs hide no pieces of a message: neither many nor large ones. */
static void
test_pieces (void)
{
  LfTraffic traffic;
  guint64 received = 0;
  guint i;

  lf_traffic_init (&traffic, 0, 0);
  for (i = 0; i < 100000 && !lf_traffic_has_pieces (&traffic, received); i++) {
    received += 120;
    lf_traffic_note_pong (&traffic, received, i * G_USEC_PER_SEC / 1000);
  }
  g_assert_cmpuint (received, <, LF_TRAFFIC_PIECES_LIMIT + 4096);

  lf_traffic_note_message (&traffic, received);
  g_assert_false (lf_traffic_has_pieces (&traffic, received + LF_TRAFFIC_PIECES_LIMIT));
  for (i = 1; i < 100000 && !lf_traffic_has_pieces (&traffic, received); i++) {
    received += 100000;
    lf_traffic_note_pong (
        &traffic, received, (gint64) i * LF_TRAFFIC_PING_SECONDS * G_USEC_PER_SEC);
  }
  g_assert_cmpuint (i, <, 14);
}

/* What is acknowledged beside the text never makes up for text that is not. */
static void
test_unread (void)
{
  LfTraffic traffic;
  guint64 acked = 130;
  guint i;

  lf_traffic_init (&traffic, 0, acked);
  for (i = 0; i < 1000000; i++) {
    lf_traffic_note_text (&traffic, 1000);
    acked += 1034;
    g_assert_false (lf_traffic_has_unread (&traffic, acked));
  }
  lf_traffic_note_text (&traffic, LF_TRAFFIC_UNREAD_LIMIT);
  g_assert_false (lf_traffic_has_unread (&traffic, acked));
  lf_traffic_note_text (&traffic, 1);
  g_assert_true (lf_traffic_has_unread (&traffic, acked));
  g_assert_false (lf_traffic_has_unread (&traffic, acked + 1));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/traffic/pongs", test_pongs);
  g_test_add_func ("/traffic/pieces", test_pieces);
  g_test_add_func ("/traffic/unread", test_unread);
  return g_test_run ();
}
