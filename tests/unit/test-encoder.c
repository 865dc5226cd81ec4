/* lightforce: tests of the picture encoders
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "core/encoder.h"
#include "tests/unit/cpu-fixture.h"

/* An encoder out of a file. */
typedef struct
{
  Fixture cpu;
  LfContainer *file;
  LfModelFiles *files;
  LfModelConfig config;
  LfLoader loader;
  LfEncoder *encoder;
} Case;

static char *
data_path (const char *name)
{
  return g_build_filename (g_getenv ("LF_TEST_DATA"), name, NULL);
}

/* Tensors under `prefix` of the file; the encoder is NULL where `error` is set. */
static Case
open_case (const char *path, const char *prefix, gint threads, GError **error)
{
  Case c = {.cpu = open_cpu (threads)};

  c.file = lf_container_open (path, error);
  g_assert_no_error (*error);
  c.files = lf_model_files_wrap (c.file, prefix, LF_PART_ENCODER, &c.config);
  c.loader = lf_loader_make (c.files, LF_PART_ENCODER, c.cpu.be, c.cpu.q);
  c.encoder = lf_encoder_load (&c.loader, error);
  return c;
}

static void
close_case (Case *c)
{
  g_clear_pointer (&c->encoder, lf_encoder_free);
  lf_model_files_close (c->files);
  lf_container_close (c->file);
  close_cpu (&c->cpu);
}

static float *
encode (Case *c, gint height, gint width)
{
  g_autofree guint8 *rgb = g_malloc (height * width * 3);
  float *latent = g_new (float, 16 * height * width / 64);
  g_autoptr (GError) error = NULL;
  gint i;

  for (i = 0; i < height * width * 3; i++)
    rgb[i] = i * 37 % 251;
  g_assert_cmpint (lf_encoder_get_latent_channels (c->encoder), ==, 16);
  g_assert_true (
      lf_encoder_encode (c->encoder, c->cpu.q, rgb, height, width, latent, NULL, &error));
  g_assert_no_error (error);
  return latent;
}

static const struct
{
  const char *file, *prefix;
} kinds[] = {{"encoder.safetensors", "w."}, {"small-model.safetensors", "encoder."}};

/* Pictures of all sizes, down to one latent position; threads change nothing. */
static void
test_sizes (void)
{
  static const gint sizes[][2] = {{8, 8}, {8, 40}, {48, 8}, {72, 56}};
  guint kind, i;

  for (kind = 0; kind < G_N_ELEMENTS (kinds); kind++) {
    g_autofree char *path = data_path (kinds[kind].file);
    g_autoptr (GError) error = NULL;
    Case one = open_case (path, kinds[kind].prefix, 1, &error);
    Case three = open_case (path, kinds[kind].prefix, 3, &error);

    g_assert_no_error (error);
    for (i = 0; i < G_N_ELEMENTS (sizes); i++) {
      gsize bytes = sizes[i][0] * sizes[i][1] / 64 * 16 * sizeof (float);
      g_autofree float *a = encode (&one, sizes[i][0], sizes[i][1]);
      g_autofree float *b = encode (&three, sizes[i][0], sizes[i][1]);

      g_assert_cmpmem (a, bytes, b, bytes);
    }
    close_case (&one);
    close_case (&three);
  }
}

static void
test_cancel (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  guint8 rgb[3 * 64] = {0};
  float latent[16];
  guint kind;

  g_cancellable_cancel (cancellable);
  for (kind = 0; kind < G_N_ELEMENTS (kinds); kind++) {
    g_autofree char *path = data_path (kinds[kind].file);
    g_autoptr (GError) error = NULL;
    Case c = open_case (path, kinds[kind].prefix, 1, &error);

    g_assert_no_error (error);
    g_assert_false (lf_encoder_encode (c.encoder, c.cpu.q, rgb, 8, 8, latent, cancellable, &error));
    g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    close_case (&c);
  }
}

/* Files whose header differs in one place: what is wrong is named. */
static void
test_bad_files (void)
{
  static const struct
  {
    gint kind;
    const char *from, *to, *says; /* as long as each other */
  } cases[] = {
      {0, "w.encoder.downsamples.8.resample.1.weight", "w.encoder.downsamples.8.resample.9.weight",
          "halves pictures 2 times"},
      {0, "w.conv1.weight", "w.conv7.weight", "tensor conv1.weight is missing"},
      {0, "\"w.encoder.conv1.weight\":{\"dtype\":\"BF16\",\"shape\":[8,3,3,3,3]",
          "\"w.encoder.conv1.weight\":{\"dtype\":\"BF16\",\"shape\":[8,9,1,3,3]",
          "8 of 3 belong here"},
      {0, "\"w.encoder.middle.1.to_qkv.weight\":{\"dtype\":\"BF16\",\"shape\":[96,32,1",
          "\"w.encoder.middle.1.to_qkv.weight\":{\"dtype\":\"BF16\",\"shape\":[96,16,2",
          "makes 96 channels of 16"},
      {0, "w.encoder.head.0.gamma", "w.encoder.head.7.gamma", "encoder.head.0.gamma is missing"},
      {1, "encoder.down2.weight", "encoder.down7.weight", "tensor down2.weight is missing"},
      {1, "encoder.body2.1.2.bias", "encoder.body7.1.2.bias", "body7.1.2.bias"},
      {1, "[16,12,4,4]", "[16,48,2,2]", "is a 2 x 2 kernel"},
      {1, "[12,16,4,4]", "[12,32,2,4]", "is a 2 x 4 kernel"},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = data_path (kinds[cases[i].kind].file), *contents = NULL, *bad = NULL;
    g_autoptr (GError) error = NULL, failure = NULL;
    gsize length;
    char *place;
    Case c;

    g_assert_cmpuint (strlen (cases[i].from), ==, strlen (cases[i].to));
    g_assert_true (g_file_get_contents (path, &contents, &length, NULL));
    place = g_strstr_len (contents + 8, length - 8, cases[i].from);
    g_assert_nonnull (place);
    memcpy (place, cases[i].to, strlen (cases[i].to));
    close (g_file_open_tmp ("lightforce-encoder-XXXXXX.safetensors", &bad, &failure));
    g_assert_no_error (failure);
    g_assert_true (g_file_set_contents (bad, contents, length, NULL));
    c = open_case (bad, kinds[cases[i].kind].prefix, 1, &error);
    g_assert_null (c.encoder);
    g_test_message ("%s", error->message);
    g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL);
    g_assert_nonnull (strstr (error->message, bad));
    g_assert_nonnull (strstr (error->message, cases[i].says));
    close_case (&c);
    g_unlink (bad);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/encoder/sizes", test_sizes);
  g_test_add_func ("/encoder/cancel", test_cancel);
  g_test_add_func ("/encoder/bad-files", test_bad_files);
  return g_test_run ();
}
