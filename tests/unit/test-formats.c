/* lightforce: tests of what pictures are made as
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "stream-fixture.h"

/* The same video with luma and chroma. */
static void
test_formats (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfChunk) rgb = NULL, nv12 = NULL;
  g_autoptr (LfStream) unknown = NULL;
  g_autoptr (GError) error = NULL;
  LfStreamConfig config;
  gint n, row, column;

  lf_stream_config_init (&config, model);
  config.prompt = "a cube";
  {
    g_autoptr (LfStream) stream = open_stream (model, &config);

    rgb = next (stream);
  }
  config.format = LF_FORMAT_NV12;
  config.matrix = LF_MATRIX_BT709;
  {
    g_autoptr (LfStream) stream = open_stream (model, &config);

    nv12 = next (stream);
  }
  g_assert_cmpint (rgb->layout.format, ==, LF_FORMAT_RGBX);
  g_assert_cmpint (nv12->layout.format, ==, LF_FORMAT_NV12);
  g_assert_cmpint (nv12->layout.matrix, ==, LF_MATRIX_BT709);
  g_assert_cmpuint (nv12->layout.size, ==, 96 * 64 * 3 / 2);
  g_assert_cmpint (nv12->n_pictures, ==, rgb->n_pictures);
  for (n = 0; n < rgb->n_pictures; n++)
    for (row = 0; row < 64; row++)
      for (column = 0; column < 96; column++) {
        const guint8 *p =
            rgb->data + n * rgb->layout.size + row * rgb->layout.stride[0] + 4 * column;
        gint y = nv12->data[n * nv12->layout.size + row * nv12->layout.stride[0] + column];

        g_assert_cmpfloat_with_epsilon (
            y, 16 + (0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]) * 219 / 255, 1);
      }
  config.format = (LfFormat) (LF_FORMAT_NV12 + 1);
  unknown = lf_stream_new (model, &config, NULL, &error);
  g_assert_null (unknown);
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
}

static void
set_format (LfStream *stream, LfFormat format, gboolean on_device)
{
  g_autoptr (GError) error = NULL;

  lf_stream_set_format (stream, format, LF_MATRIX_BT709, on_device, &error);
  g_assert_no_error (error);
}

/* A running video goes on in another format as if it had always had it; a chunk that was
 * interrupted is of one format or the other, and whole. */
static void
test_change_format (void)
{
  static const LfFormat formats[] = {
      LF_FORMAT_NV12, LF_FORMAT_RGBX, LF_FORMAT_I420, LF_FORMAT_RGB, LF_FORMAT_BGRX};
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) stream = NULL;
  g_autoptr (LfChunk) last = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *last_sum = NULL;
  char *plain[G_N_ELEMENTS (formats)][6];
  LfStreamConfig config;
  LfStats before, after;
  guint i, j;

  lf_stream_config_init (&config, model);
  config.matrix = LF_MATRIX_BT709;
  for (i = 0; i < G_N_ELEMENTS (formats); i++) {
    g_autoptr (LfStream) one = NULL;

    config.format = formats[i];
    config.on_device = i % 2;
    one = open_stream (model, &config);
    for (j = 0; j < 6; j++)
      plain[i][j] = next_checksum (one);
  }
  config.format = formats[0];
  config.on_device = TRUE;
  stream = open_stream (model, &config);
  lf_stream_get_stats (stream, &before);
  for (j = 0; j < 5; j++) {
    g_autoptr (LfChunk) chunk = NULL;
    g_autofree char *sum = NULL;

    set_format (stream, formats[j], j == 1);
    chunk = next (stream);
    sum = checksum (chunk);
    g_assert_cmpint (chunk->layout.format, ==, formats[j]);
    g_assert_cmpint (chunk->on_device, ==, j == 1);
    g_assert_cmpstr (sum, ==, plain[j][j]);
  }
  lf_stream_get_stats (stream, &after);
  g_assert_cmpuint (after.scratch_bytes, >, before.scratch_bytes);
  g_assert_false (
      lf_stream_set_format (stream, LF_FORMAT_NV12 + 1, LF_MATRIX_BT601, FALSE, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);

  while (!last) {
    g_autoptr (GCancellable) c = g_cancellable_new ();
    GThread *thread = g_thread_new ("cancel", cancel_soon, c);
    guint which = g_test_rand_int_range (0, G_N_ELEMENTS (formats));

    set_format (stream, formats[which], which & 1);
    g_clear_error (&error);
    last = lf_stream_next (stream, c, &error);
    g_thread_join (thread);
    set_format (stream, formats[0], FALSE);
    if (!last)
      g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    if (!last && g_test_rand_bit ())
      last = next (stream);
  }
  /* A chunk has all that it needs. */
  g_clear_pointer (&stream, lf_stream_free);
  g_clear_pointer (&model, lf_model_unref);
  last_sum = checksum (last);
  for (i = 0; formats[i] != last->layout.format; i++)
    continue;
  g_assert_cmpstr (last_sum, ==, plain[i][5]);
  for (i = 0; i < G_N_ELEMENTS (formats); i++)
    for (j = 0; j < 6; j++)
      g_free (plain[i][j]);
}

int
main (int argc, char *argv[])
{
  init_stream_tests (&argc, &argv);
  g_test_add_func ("/formats/luma", test_formats);
  g_test_add_func ("/formats/change", test_change_format);
  return run_stream_tests ();
}
