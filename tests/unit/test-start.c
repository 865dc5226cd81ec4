/* lightforce: tests of videos that start from a picture
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/stream-fixture.h"

/* The worst difference of the first picture of `chunk` to RGB bytes. */
static gint
first_picture_differs (const LfChunk *chunk, const guint8 *rgb)
{
  gint worst = 0, y, x, k;

  for (y = 0; y < chunk->layout.height; y++)
    for (x = 0; x < chunk->layout.width; x++)
      for (k = 0; k < 3; k++)
        worst = MAX (worst, ABS (chunk->data[y * chunk->layout.stride[0] + 4 * x + k]
                                 - rgb[3 * (y * chunk->layout.width + x) + k]));
  return worst;
}

/* A picture of the small model's size. */
static guint8 *
make_picture (guint salt)
{
  guint8 *rgb = g_malloc (64 * 96 * 3);
  guint i;

  for (i = 0; i < 64 * 96 * 3; i++)
    rgb[i] = (i * 7 + i / 288 * salt) & 255;
  return rgb;
}

typedef struct
{
  GCancellable *cancellable;
  gint delay; /* microseconds */
} CancelIn;

static gpointer
cancel_in (gpointer data)
{
  const CancelIn *in = data;

  g_usleep (in->delay);
  g_cancellable_cancel (in->cancellable);
  return NULL;
}

/* The first picture is that of the given one's latent, whatever seed and prompt are; the others are
 * made. The same again is the same video, and so is a restart. */
static void
test_start_picture (void)
{
  static const struct
  {
    const char *prompt;
    guint64 seed;
    guint picture; /* 0: none */
  } cases[] = {
      {"a cube", 1, 3}, {"a cube", 1, 3}, {"a ring", 2, 3}, {"a cube", 1, 5}, {"a cube", 1, 0}};
  g_autoptr (LfModel) model = load ();
  g_autofree guint8 *first = g_malloc (64 * 96 * 3);
  char *sums[5], *again;
  guint i, p;

  g_assert_true (lf_model_get_info (model)->has_encoder);
  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree guint8 *picture = cases[i].picture ? make_picture (cases[i].picture) : NULL;
    g_autoptr (LfStream) stream = NULL;
    g_autoptr (LfChunk) chunk = NULL;
    LfStreamConfig config;

    lf_stream_config_init (&config, model);
    config.prompt = cases[i].prompt;
    config.seed = cases[i].seed;
    config.start_picture = picture;
    config.sparse.keep_frames = config.sparse.keep_sink = config.sparse.keep_near = 0;
    stream = open_stream (model, &config);
    if (picture)
      memset (picture, 0, 64 * 96 * 3); /* it is not needed any more */
    chunk = next (stream);
    if (!i)
      for (p = 0; p < 64 * 96 * 3; p++)
        first[p] = chunk->data[p / 3 * 4 + p % 3];
    if (cases[i].picture == 3)
      g_assert_cmpint (first_picture_differs (chunk, first), ==, 0);
    else
      g_assert_cmpint (first_picture_differs (chunk, first), >, 8);
    g_assert_cmpint (chunk->n_pictures, ==, 9);
    sums[i] = checksum (chunk);
    lf_chunk_unref (next (stream));
    lf_stream_restart (stream, cases[i].seed);
    again = next_checksum (stream);
    g_assert_cmpstr (again, ==, sums[i]);
    g_free (again);
  }
  g_assert_cmpstr (sums[1], ==, sums[0]);
  for (i = 2; i < G_N_ELEMENTS (cases); i++)
    assert_differ (sums[i], sums[0]);
  for (i = 0; i < G_N_ELEMENTS (cases); i++)
    g_free (sums[i]);
}

/* In every mode the first picture is the same, and so is a chunk that was interrupted anywhere. */
static void
test_start_picture_modes (void)
{
  g_autoptr (LfModel) model = load ();
  g_autofree guint8 *picture = make_picture (3), *first = NULL;
  gint mode;

  for (mode = 0; mode < 6; mode++) {
    g_autoptr (LfStream) stream = NULL;
    g_autoptr (LfChunk) chunk = NULL, later = NULL;
    g_autofree char *sum = NULL, *again = NULL;
    LfStreamConfig config;
    gint delay, cancelled = 0;

    lf_stream_config_init (&config, model);
    config.relative = mode % 2;
    config.window = config.relative ? 9 : -1;
    config.cache_fp8 = mode / 2 == 1;
    config.sparse.enabled = mode / 2 != 2;
    config.start_picture = picture;
    stream = open_stream (model, &config);
    chunk = next (stream);
    later = next (stream);
    g_assert_cmpint (chunk->n_pictures, ==, 9);
    g_assert_cmpint (later->n_pictures, ==, 12);
    if (first)
      g_assert_cmpmem (first, chunk->layout.size, chunk->data, chunk->layout.size);
    else
      first = g_memdup2 (chunk->data, chunk->layout.size);
    sum = checksum (chunk);
    lf_stream_restart (stream, 0);
    for (delay = 0; !again; delay += 200) {
      g_autoptr (GCancellable) cancellable = g_cancellable_new ();
      g_autoptr (GError) error = NULL;
      g_autoptr (LfChunk) whole = NULL;
      CancelIn in = {cancellable, delay};
      GThread *thread = g_thread_new ("cancel", cancel_in, &in);

      if (!delay)
        g_cancellable_cancel (cancellable); /* once at least */
      whole = lf_stream_next (stream, cancellable, &error);
      g_thread_join (thread);
      if (whole) {
        again = checksum (whole);
      } else {
        g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
        cancelled++;
      }
    }
    g_assert_cmpint (cancelled, >, 0);
    g_assert_cmpstr (again, ==, sum);
  }
}

/* With chunks of one latent frame the picture is the first chunk, and the video goes on from it. */
static void
test_start_chunk_of_one (void)
{
  static const char three[] = "\\\"chunk_frames\\\": 3";
  g_autofree char *path = NULL, *contents = NULL, *other = NULL, *sum = NULL;
  g_autofree guint8 *picture = make_picture (3);
  LfModelOptions options = {.backend = "cpu"};
  g_autoptr (GError) error = NULL;
  g_autoptr (LfModel) model = NULL;
  LfStreamConfig config;
  char *place;
  gsize length;
  gint fd, i;

  g_assert_true (g_file_get_contents (model_path, &contents, &length, NULL));
  place = g_strstr_len (contents + 8, length - 8, three);
  g_assert_nonnull (place);
  place[strlen (three) - 1] = '1';
  fd = g_file_open_tmp ("lightforce-one-XXXXXX.safetensors", &path, &error);
  g_assert_no_error (error);
  close (fd);
  g_assert_true (g_file_set_contents (path, contents, length, NULL));
  model = lf_model_load (path, &options, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (lf_model_get_info (model)->chunk_frames, ==, 1);
  lf_stream_config_init (&config, model);
  config.start_picture = picture;
  for (i = 0; i < 2; i++) {
    g_autoptr (LfStream) stream = NULL;
    g_autoptr (LfChunk) first = NULL, second = NULL;
    g_autofree char *a = NULL, *b = NULL;

    config.seed = i;
    stream = open_stream (model, &config);
    first = next (stream);
    second = next (stream);
    g_assert_cmpint (first->n_pictures, ==, 1);
    g_assert_cmpint (second->n_pictures, ==, 4);
    a = checksum (first);
    b = checksum (second);
    if (i) {
      g_assert_cmpstr (a, ==, sum);
      assert_differ (b, other);
    }
    g_free (sum);
    g_free (other);
    sum = g_steal_pointer (&a);
    other = g_steal_pointer (&b);
  }
  g_unlink (path);
}

static void
test_start_picture_cancelled (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autofree guint8 *picture = make_picture (1);
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) stream = NULL;
  g_autoptr (GError) error = NULL;
  LfStreamConfig config;

  lf_stream_config_init (&config, model);
  config.start_picture = picture;
  g_cancellable_cancel (cancellable);
  stream = lf_stream_new (model, &config, cancellable, &error);
  g_assert_null (stream);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

int
main (int argc, char **argv)
{
  init_stream_tests (&argc, &argv);
  g_test_add_func ("/start/picture", test_start_picture);
  g_test_add_func ("/start/picture-modes", test_start_picture_modes);
  g_test_add_func ("/start/chunk-of-one", test_start_chunk_of_one);
  g_test_add_func ("/start/picture-cancelled", test_start_picture_cancelled);
  return run_stream_tests ();
}
