/* lightforce: tests of when a stream remembers its latest chunk
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "stream-fixture.h"

/* The changes that a user makes between chunks. */
static void
change_before (LfStream *stream, const LfSparse *sparse, gint chunk)
{
  g_autoptr (GError) error = NULL;
  LfSparse other = *sparse;

  other.enabled = chunk != 3;
  other.target = 0.5;
  other.base = 0.7;
  if (chunk == 3 || chunk == 5)
    g_assert_true (lf_stream_set_sparse (stream, &other, &error));
  if (chunk == 2 || chunk == 4 || chunk == 6) {
    lf_stream_set_prompt_switch (stream, (LfPromptSwitch) (chunk / 2 - 1));
    g_assert_true (lf_stream_set_prompt (stream, chunk == 4 ? "hills" : "the sea", NULL, &error));
  }
  if (chunk == 7)
    g_assert_true (lf_stream_set_probe (stream, 0, 0, &error));
  g_assert_no_error (error);
}

/* When the latest chunk is remembered makes no difference: before the changes for the next one, after
 * them, or when that was cancelled. */
static void
test_settle (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (GCancellable) cancelled = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  LfStream *streams[4];
  LfStreamConfig config;
  gint i, j;

  lf_stream_config_init (&config, model);
  config.blend_chunks = 2;
  g_cancellable_cancel (cancelled);
  for (j = 0; j < 4; j++) {
    streams[j] = open_stream (model, &config);
    g_assert_true (lf_stream_settle (streams[j], cancelled, &error)); /* nothing to do yet */
  }
  for (i = 0; i < 10; i++) {
    g_autofree char *expected = NULL;

    for (j = 0; j < 4; j++) {
      g_autofree char *sum = NULL;

      if (i && j == 3) {
        g_assert_false (lf_stream_settle (streams[j], cancelled, &error));
        g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
        g_clear_error (&error);
      }
      if (j == 1)
        g_assert_true (lf_stream_settle (streams[j], NULL, &error));
      change_before (streams[j], &config.sparse, i);
      if (j == 2)
        g_assert_true (lf_stream_settle (streams[j], NULL, &error));
      sum = next_checksum (streams[j]);
      if (j == 0)
        expected = g_steal_pointer (&sum);
      else
        g_assert_cmpstr (sum, ==, expected);
    }
  }
  /* a new video remembers nothing, whether that was done or not */
  g_assert_true (lf_stream_settle (streams[1], NULL, &error));
  for (j = 0; j < 4; j++)
    lf_stream_restart (streams[j], 0);
  for (i = 0; i < 2; i++) {
    g_autofree char *expected = next_checksum (streams[0]);

    for (j = 1; j < 4; j++) {
      g_autofree char *sum = next_checksum (streams[j]);

      g_assert_cmpstr (sum, ==, expected);
    }
  }
  for (j = 0; j < 4; j++)
    lf_stream_free (streams[j]);
}

int
main (int argc, char **argv)
{
  init_stream_tests (&argc, &argv);
  g_test_add_func ("/stream/settle", test_settle);
  return run_stream_tests ();
}
