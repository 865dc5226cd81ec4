/* lightforce: tests of the video decoders
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#include "core/decoder.h"

/* One recorded case and its decoder. */
typedef struct
{
  LfBackend *backend;
  LfQueue *q;
  LfContainer *file;
  LfModelFiles *files;
  LfModelConfig config;
  LfLoader loader;
  LfDecoder *decoder;
  gint frames, z, H, W; /* of the latents */
  float *latents;       /* (frames, z, H, W) */
  gint n_pictures;
  float *pictures; /* (n_pictures, 3, 8 H, 8 W), as recorded */
} Case;

static const char *const names[] = {"decoder.safetensors", "tiny-decoder.safetensors"};

static char *
golden_path (const char *name)
{
  return g_build_filename (g_getenv ("LF_GOLDEN_DATA"), name, NULL);
}

static float *
read_tensor (Case *c, const char *name, const LfTensorInfo **info)
{
  const LfTensorInfo *tensor = lf_container_find (c->file, name);
  g_autoptr (GError) error = NULL;
  float *data;

  g_assert_nonnull (tensor);
  data = g_new (float, tensor->count);
  lf_container_read (c->file, tensor, 0, tensor->count, LF_DTYPE_F32, data, &error);
  g_assert_no_error (error);
  *info = tensor;
  return data;
}

/* Opens a case's file; returns whether its decoder loads. */
static gboolean
open_case (Case *c, const char *path, gboolean tiny, GError **error)
{
  g_autoptr (GError) failure = NULL;

  memset (c, 0, sizeof (*c));
  c->backend = lf_backend_open ("cpu", LF_PRECISION_AUTO, &failure);
  g_assert_no_error (failure);
  c->q = c->backend->ops->queue_new (c->backend, 2, &failure);
  g_assert_no_error (failure);
  c->file = lf_container_open (path, &failure);
  g_assert_no_error (failure);
  c->config.decoder.kind = tiny ? LF_DECODER_TINY : LF_DECODER_WAN;
  c->files = lf_model_files_wrap (c->file, "w.", LF_PART_DECODER, &c->config);
  c->loader = (LfLoader){.files = c->files,
      .part = LF_PART_DECODER,
      .backend = c->backend,
      .queue = c->q,
      .linear_dtype = LF_DTYPE_F32};
  c->decoder = lf_decoder_load (&c->loader, error);
  return c->decoder != NULL;
}

static void
open_golden (Case *c, gboolean tiny)
{
  g_autofree char *path = golden_path (names[tiny]);
  g_autoptr (GError) error = NULL;
  const LfTensorInfo *in, *out;

  open_case (c, path, tiny, &error);
  g_assert_no_error (error);
  c->latents = read_tensor (c, "in.latent", &in);
  c->frames = in->shape[0];
  c->z = in->shape[1];
  c->H = in->shape[2];
  c->W = in->shape[3];
  c->pictures = read_tensor (c, "out.pictures", &out);
  c->n_pictures = out->shape[0];
  g_assert_cmpint (c->n_pictures, ==, 4 * c->frames - 3);
  g_assert_cmpint (lf_decoder_get_latent_channels (c->decoder), ==, c->z);
  g_assert_cmpuint (lf_decoder_get_bytes (c->decoder), >, 100000);
}

static void
close_case (Case *c)
{
  g_free (c->latents);
  g_free (c->pictures);
  g_clear_pointer (&c->decoder, lf_decoder_free);
  lf_model_files_close (c->files);
  lf_container_close (c->file);
  c->backend->ops->queue_free (c->q);
  lf_backend_close (c->backend);
}

/* Decodes all latents, `step` at a time, to (n_pictures, 8 H, 8 W, 3). */
static float *
decode (Case *c, LfDecoderState *s, gint step)
{
  gsize latent = (gsize) c->z * c->H * c->W, picture = (gsize) c->H * c->W * 64 * 3;
  float *all = g_new (float, c->n_pictures *picture);
  g_autoptr (GError) error = NULL;
  gint done, n, have = 0;

  for (done = 0; done < c->frames; done += step) {
    gint frames = MIN (step, c->frames - done);
    gint expected = lf_decoder_state_get_pictures (s, frames);
    const float *pictures = lf_decoder_decode (s, c->q, c->latents + done * latent, frames, &n);

    g_assert_cmpint (n, ==, expected);
    g_assert_cmpint (have + n, <=, c->n_pictures);
    c->backend->ops->download (c->q, all + have * picture, pictures, n * picture * sizeof (float));
    have += n;
  }
  c->backend->ops->wait (c->q, &error);
  g_assert_no_error (error);
  g_assert_cmpint (have, ==, c->n_pictures);
  return all;
}

static void
check_pictures (Case *c, const float *decoded)
{
  gsize pixels = (gsize) c->H * c->W * 64, i;
  double difference = 0, norm = 0;
  float black, white;
  gint t, channel;

  lf_decoder_get_range (c->decoder, &black, &white);
  g_assert_cmpfloat (black, ==, c->config.decoder.kind == LF_DECODER_TINY ? 0 : -1);
  g_assert_cmpfloat (white, ==, 1);
  for (t = 0; t < c->n_pictures; t++) {
    for (channel = 0; channel < 3; channel++) {
      for (i = 0; i < pixels; i++) {
        float v = CLAMP (decoded[(t * pixels + i) * 3 + channel], black, white);
        float expected = c->pictures[((gsize) t * 3 + channel) * pixels + i];

        difference += ((double) v - expected) * ((double) v - expected);
        norm += (double) expected * expected;
      }
    }
  }
  g_assert_cmpfloat (sqrt (difference / norm), <, 1e-5);
}

/* However many latents at a time, the pictures are the same to the last bit; and again
 * after a reset in the middle of a stream. */
static void
check_stream (gboolean tiny)
{
  Case c;
  g_autofree float *expected = NULL;
  gsize bytes;
  gint step, n;

  open_golden (&c, tiny);
  bytes = (gsize) c.n_pictures * c.H * c.W * 64 * 3 * sizeof (float);
  for (step = 1; step <= c.frames; step++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (LfDecoderState) s =
        lf_decoder_state_new (c.decoder, c.H, c.W, MAX (step, 2), &error);
    g_autofree float *decoded = NULL;

    g_assert_no_error (error);
    if (step == 2) {
      lf_decoder_decode (s, c.q, c.latents + c.z * c.H * c.W, 2, &n);
      g_assert_cmpint (n, ==, 5);
      lf_decoder_state_reset (s, c.q);
    }
    g_assert_cmpint (lf_decoder_state_get_pictures (s, 2), ==, 5);
    decoded = decode (&c, s, step);
    g_assert_cmpint (lf_decoder_state_get_pictures (s, 2), ==, 8);
    if (!expected) {
      check_pictures (&c, decoded);
      expected = g_memdup2 (decoded, bytes);
    }
    g_assert_cmpmem (decoded, bytes, expected, bytes);
  }
  close_case (&c);
}

static void
test_wan (void)
{
  check_stream (FALSE);
}

static void
test_tiny (void)
{
  check_stream (TRUE);
}

/* Two streams of one decoder know nothing of each other. */
static void
test_two_streams (void)
{
  gint tiny;

  for (tiny = 0; tiny < 2; tiny++) {
    g_autoptr (LfDecoderState) a = NULL;
    g_autoptr (LfDecoderState) b = NULL;
    g_autoptr (GError) error = NULL;
    gsize latent, bytes;
    const float *pictures;
    g_autofree float *first = NULL;
    gint n;
    Case c;

    open_golden (&c, tiny);
    latent = (gsize) c.z * c.H * c.W;
    a = lf_decoder_state_new (c.decoder, c.H, c.W, 2, &error);
    g_assert_no_error (error);
    b = lf_decoder_state_new (c.decoder, c.H, c.W, 2, &error);
    g_assert_no_error (error);
    pictures = lf_decoder_decode (a, c.q, c.latents, 2, &n);
    bytes = (gsize) n * c.H * c.W * 64 * 3 * sizeof (float);
    first = g_memdup2 (pictures, bytes);
    lf_decoder_decode (a, c.q, c.latents + 2 * latent, 2, &n);
    pictures = lf_decoder_decode (b, c.q, c.latents, 2, &n);
    g_assert_cmpmem (pictures, bytes, first, bytes);
    g_clear_pointer (&a, lf_decoder_state_free);
    g_clear_pointer (&b, lf_decoder_state_free);
    close_case (&c);
  }
}

static void
test_sizes (void)
{
  gint tiny;

  for (tiny = 0; tiny < 2; tiny++) {
    g_autoptr (LfDecoderState) small = NULL;
    g_autoptr (LfDecoderState) large = NULL;
    g_autoptr (GError) error = NULL;
    gsize histories[2], scratch[2];
    Case c;

    open_golden (&c, tiny);
    small = lf_decoder_state_new (c.decoder, 8, 8, 1, &error);
    g_assert_no_error (error);
    large = lf_decoder_state_new (c.decoder, 32, 32, 3, &error);
    g_assert_no_error (error);
    lf_decoder_state_get_bytes (small, &histories[0], &scratch[0]);
    lf_decoder_state_get_bytes (large, &histories[1], &scratch[1]);
    g_assert_cmpuint (histories[1] - histories[0], >, histories[0] / 4);
    g_assert_cmpuint (scratch[1], >, 16 * scratch[0]);
    g_assert_cmpuint (scratch[1], <, 64 * scratch[0]);
    g_assert_null (lf_decoder_state_new (c.decoder, 20000, 20000, 1, &error));
    g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
    g_clear_pointer (&small, lf_decoder_state_free);
    g_clear_pointer (&large, lf_decoder_state_free);
    close_case (&c);
  }
}

/* Changes the directory of a golden file: `from` becomes `to`, of the same length. */
static char *
write_changed (gboolean tiny, const char *from, const char *to)
{
  g_autofree char *path = golden_path (names[tiny]);
  g_autoptr (GError) error = NULL;
  g_autofree char *data = NULL;
  char *changed, *at;
  gsize size;
  gint fd;

  g_file_get_contents (path, &data, &size, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (strlen (from), ==, strlen (to));
  at = g_strstr_len (data + 8, size - 8, from);
  g_assert_nonnull (at);
  memcpy (at, to, strlen (to));
  fd = g_file_open_tmp ("lightforce-XXXXXX.safetensors", &changed, &error);
  g_assert_no_error (error);
  g_close (fd, NULL);
  g_file_set_contents (changed, data, size, &error);
  g_assert_no_error (error);
  return changed;
}

static void
test_misfits (void)
{
  static const struct
  {
    gboolean tiny;
    const char *from, *to, *word;
  } cases[] = {
      {FALSE, "w.conv2.weight", "w.conv9.weight", "conv2.weight"},
      {FALSE, "w.decoder.conv1.weight", "w.decoder.conv9.weight", "decoder.conv1.weight"},
      {FALSE, "w.decoder.head.2.bias", "w.decoder.head.2.bios", "head.2.bios"},
      {FALSE, "w.decoder.head.0.gamma", "w.decoder.head.0.gemma", "head.0.gamma"},
      {FALSE, "w.decoder.middle.1.norm.gamma", "w.decoder.middle.1.norm.gemma", "norm.gamma"},
      {FALSE, "w.decoder.middle.0.residual.6.weight", "w.decoder.middle.0.residual.7.weight",
          "middle.0.residual.6.weight"},
      {FALSE, "upsamples.4.shortcut.weight", "upsamples.4.longcut_.weight", "upsamples.4"},
      {FALSE, "upsamples.3.resample.1.weight", "upsamples.3.resample.9.weight", "decoder"},
      {FALSE, "upsamples.3.time_conv.weight", "upsamples.3.time_cong.weight", "decoder"},
      {FALSE, "w.decoder.upsamples.8", "w.decoder.upsamples.X", "decoder"},
      {TRUE, "w.decoder.1.weight", "w.decoder.1.wait__", "decoder.1.weight"},
      {TRUE, "w.decoder.4.conv.2.weight", "w.decoder.4.conv.3.weight", "decoder.4.conv.2.weight"},
      {TRUE, "w.decoder.8.weight", "w.decoder.8.wait__", "decoder.8"},
      {TRUE, "w.decoder.22.weight", "w.decoder.99.weight", "decoder"},
      {TRUE, "w.decoder.13.conv.weight", "w.decoder.13.cone.weight", "decoder.13"},
      {TRUE, "w.decoder.22.bias", "w.decoder.22.bios", "22.bios"},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = write_changed (cases[i].tiny, cases[i].from, cases[i].to);
    g_autoptr (GError) error = NULL;
    Case c;

    g_assert_false (open_case (&c, path, cases[i].tiny, &error));
    g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL);
    g_assert_true (g_str_has_prefix (error->message, path));
    g_assert_nonnull (strstr (error->message, cases[i].word));
    close_case (&c);
    g_unlink (path);
  }
}

/* The file of one family given for the other. */
static void
test_wrong_family (void)
{
  gint tiny;

  for (tiny = 0; tiny < 2; tiny++) {
    g_autofree char *path = golden_path (names[!tiny]);
    g_autoptr (GError) error = NULL;
    Case c;

    g_assert_false (open_case (&c, path, tiny, &error));
    g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL);
    close_case (&c);
  }
}

static void
test_rule (void)
{
  g_assert_cmpint (
      lf_decoder_precision (LF_DECODER_TINY, LF_PRECISION_BF16), ==, LF_PRECISION_FP16);
  g_assert_cmpint (lf_decoder_precision (LF_DECODER_TINY, LF_PRECISION_FP8), ==, LF_PRECISION_FP16);
  g_assert_cmpint (
      lf_decoder_precision (LF_DECODER_TINY, LF_PRECISION_FP32), ==, LF_PRECISION_FP32);
  g_assert_cmpint (lf_decoder_precision (LF_DECODER_WAN, LF_PRECISION_BF16), ==, LF_PRECISION_BF16);
  g_assert_cmpint (lf_decoder_precision (LF_DECODER_WAN, LF_PRECISION_FP8), ==, LF_PRECISION_FP8);
  g_assert_cmpint (lf_decoder_precision (LF_DECODER_WAN, LF_PRECISION_FP32), ==, LF_PRECISION_FP32);
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/decoder/wan", test_wan);
  g_test_add_func ("/decoder/tiny", test_tiny);
  g_test_add_func ("/decoder/two-streams", test_two_streams);
  g_test_add_func ("/decoder/sizes", test_sizes);
  g_test_add_func ("/decoder/misfits", test_misfits);
  g_test_add_func ("/decoder/wrong-family", test_wrong_family);
  g_test_add_func ("/decoder/precision", test_rule);
  return g_test_run ();
}
