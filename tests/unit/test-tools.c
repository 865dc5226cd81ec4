/* lightforce: tests of the command-line tools
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>

#include "core/modelconfig.h"

static char *directory;

static char *
in_directory (const char *name)
{
  return g_build_filename (directory, name, NULL);
}

static char *
golden_path (const char *name)
{
  return g_build_filename (g_getenv ("LF_GOLDEN_DATA"), "torch", name, NULL);
}

static char *
small_model (void)
{
  return g_build_filename (g_getenv ("LF_TEST_DATA"), "small-model.safetensors", NULL);
}

/* Runs a tool; returns its exit status. What it printed is in `out`, errors included. */
static gint run (char **out, const char *tool, ...) G_GNUC_NULL_TERMINATED;

static gint
run (char **out, const char *tool, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *text = NULL, *errors = NULL;
  g_autoptr (GError) error = NULL;
  const char *argument;
  gint status;
  va_list args;

  g_ptr_array_add (argv, g_build_filename (g_getenv ("LF_TOOLS"), tool, NULL));
  va_start (args, tool);
  while ((argument = va_arg (args, const char *)))
    g_ptr_array_add (argv, g_strdup (argument));
  va_end (args);
  g_ptr_array_add (argv, NULL);
  g_spawn_sync (NULL, (char **) argv->pdata, NULL, 0, NULL, NULL, &text, &errors, &status, &error);
  g_assert_no_error (error);
  g_assert_true (WIFEXITED (status));
  if (out) {
    g_free (*out);
    *out = g_strconcat (text, errors, NULL);
  }
  g_test_message ("%s%s", text, errors);
  return WEXITSTATUS (status);
}

static void
assert_has (const char *text, const char *word)
{
  if (!strstr (text, word))
    g_error ("\"%s\" is not in:\n%s", word, text);
}

static void
assert_same_files (const char *a, const char *b)
{
  g_autofree char *x = NULL, *y = NULL;
  gsize nx, ny;

  g_assert_true (g_file_get_contents (a, &x, &nx, NULL));
  g_assert_true (g_file_get_contents (b, &y, &ny, NULL));
  g_assert_cmpmem (x, nx, y, ny);
}

/* How many files the test directory holds: none is left behind. */
static guint
count_files (void)
{
  g_autoptr (GDir) dir = g_dir_open (directory, 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir))
    n++;
  return n;
}

/* All weights of two models are the same within `tolerance` of their size. */
static void
assert_same_weights (const char *a, const char *b, double tolerance)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (LfModelFiles) x = lf_model_files_open (a, NULL, &error);
  g_autoptr (LfModelFiles) y = lf_model_files_open (b, NULL, &error);
  gint part;

  g_assert_no_error (error);
  for (part = 0; part < LF_N_PARTS; part++) {
    g_autoptr (GPtrArray) names = lf_model_files_list (x, part);
    g_autoptr (GPtrArray) others = lf_model_files_list (y, part);
    guint i;

    g_assert_cmpuint (names->len, ==, others->len);
    for (i = 0; i < names->len; i++) {
      const char *name = g_ptr_array_index (names, i);
      g_autofree float *p = NULL, *q = NULL;
      LfWeightRef r, s;
      gint64 j;

      g_assert_true (lf_model_files_find (x, part, name, &r));
      g_assert_true (lf_model_files_find (y, part, name, &s));
      g_assert_cmpint (r.tensor->count, ==, s.tensor->count);
      p = g_new (float, r.tensor->count);
      q = g_new (float, r.tensor->count);
      g_assert_true (lf_weight_read (&r, 0, r.tensor->count, LF_DTYPE_F32, p, &error));
      g_assert_true (lf_weight_read (&s, 0, s.tensor->count, LF_DTYPE_F32, q, &error));
      for (j = 0; j < r.tensor->count; j++)
        g_assert_true (fabsf (p[j] - q[j]) <= tolerance * fabsf (p[j]) + 1e-7);
    }
  }
}

static void
test_pack (void)
{
  static const struct
  {
    const char *dtype;
    double tolerance;
  } types[] = {{"bf16", 0x1p-8}, {"fp16", 0x1p-11}, {"fp32", 0}};
  g_autofree char *from = golden_path (""), *one = in_directory ("one.safetensors");
  g_autofree char *two = in_directory ("two.safetensors"), *out = NULL;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (types); i++) {
    g_assert_cmpint (
        run (&out, "lightforce-pack", from, one, "--dtype", types[i].dtype, NULL), ==, 0);
    assert_has (out, "no tokenizer");
    assert_same_weights (from, one, types[i].tolerance);
    /* the same again, and packed again */
    g_assert_cmpint (
        run (NULL, "lightforce-pack", from, two, "--dtype", types[i].dtype, NULL), ==, 0);
    assert_same_files (one, two);
    g_assert_cmpint (
        run (NULL, "lightforce-pack", one, two, "--dtype", types[i].dtype, NULL), ==, 0);
    assert_same_files (one, two);
  }
  g_assert_cmpuint (count_files (), ==, 2);
  g_unlink (one);
  g_unlink (two);
}

/* A packed file stays what it is, with all that its description says. */
static void
test_repack (void)
{
  g_autofree char *from = small_model (), *to = in_directory ("small.safetensors"), *out = NULL;
  g_autofree char *decoder = golden_path ("taew2_1.pth"), *p = NULL, *q = NULL;
  g_autoptr (LfModelFiles) a = NULL, b = NULL;
  g_autoptr (GBytes) x = NULL, y = NULL;
  g_autoptr (GError) error = NULL;
  guint i;

  g_assert_cmpint (run (&out, "lightforce-pack", from, to, NULL), ==, 0);
  g_assert_cmpstr (out, ==, "");
  assert_same_weights (from, to, 0);
  a = lf_model_files_open (from, NULL, &error);
  b = lf_model_files_open (to, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (lf_model_files_get_config (a)->name, ==, lf_model_files_get_config (b)->name);
  p = lf_model_config_to_json (lf_model_files_get_config (a), NULL, TRUE, TRUE);
  q = lf_model_config_to_json (lf_model_files_get_config (b), NULL, TRUE, TRUE);
  g_assert_cmpstr (p, ==, q);
  x = lf_model_files_get_tokenizer (a);
  y = lf_model_files_get_tokenizer (b);
  g_assert_true (g_bytes_equal (x, y));
  /* every weight lies where it can be used in place */
  for (i = 0; i < LF_N_PARTS; i++) {
    g_autoptr (GPtrArray) names = lf_model_files_list (b, i);
    guint j;

    for (j = 0; j < names->len; j++) {
      LfWeightRef ref;

      g_assert_true (lf_model_files_find (b, i, g_ptr_array_index (names, j), &ref));
      g_assert_nonnull (lf_container_map (ref.container, ref.tensor));
    }
  }
  /* over itself, with another decoder */
  g_assert_cmpint (run (&out, "lightforce-pack", to, to, "--decoder", decoder, NULL), ==, 0);
  g_clear_pointer (&b, lf_model_files_close);
  b = lf_model_files_open (to, NULL, &error);
  g_assert_no_error (error);
  g_unlink (to);
}

static void
test_pack_failures (void)
{
  g_autofree char *model = small_model (), *out = NULL, *to = in_directory ("x.safetensors");
  g_autofree char *nowhere = g_build_filename (directory, "absent", "x.safetensors", NULL);
  g_autofree char *bad = in_directory ("bad.safetensors"), *text = golden_path ("Wan2.1_VAE.pth");

  g_assert_cmpint (run (&out, "lightforce-pack", model, nowhere, NULL), ==, 1);
  assert_has (out, "absent");
  g_assert_cmpint (run (&out, "lightforce-pack", model, NULL), ==, 2);
  g_assert_cmpint (run (&out, "lightforce-pack", model, to, "--dtype", "int3", NULL), ==, 2);
  assert_has (out, "int3");
  g_assert_cmpint (run (&out, "lightforce-pack", nowhere, to, NULL), ==, 1);
  g_assert_cmpint (run (&out, "lightforce-pack", model, to, "--text-encoder", text, NULL), ==, 1);
  assert_has (out, "not a text encoder");
  g_assert_true (g_file_set_contents (bad, "PK\3\4", 4, NULL));
  g_assert_cmpint (run (&out, "lightforce-pack", bad, to, NULL), ==, 1);
  assert_has (out, "bad.safetensors");
  g_unlink (bad);
  g_assert_cmpint (run (&out, "lightforce-pack", "--help", NULL), ==, 0);
  assert_has (out, "--dtype");
  /* a file that is there stays as it was */
  g_assert_cmpuint (count_files (), ==, 0);
}

static void
test_inspect (void)
{
  g_autofree char *model = small_model (), *torch = golden_path (""), *out = NULL;
  g_autofree char *decoder = golden_path ("taew2_1.pth"), *odd = golden_path ("odd.pt");

  g_assert_cmpint (run (&out, "lightforce-inspect", model, NULL), ==, 0);
  assert_has (out, "small-model");
  assert_has (out, "BF16");
  assert_has (out, "makes video");
  g_assert_cmpint (run (&out, "lightforce-inspect", torch, NULL), ==, 1);
  assert_has (out, "short_video_gen.pt");
  assert_has (out, "tokenizer: missing");
  assert_has (out, "taew2_1.pth: another decoder is preferred");
  assert_has (out, "odd-legacy.pt: this is torch's old format");
  assert_has (out, "text embeddings of width 64");
  assert_has (out, "latents of 16 channels");
  g_assert_cmpint (run (&out, "lightforce-inspect", torch, "--decoder", decoder, NULL), ==, 1);
  assert_has (out, "TAEHV");
  g_assert_cmpint (run (&out, "lightforce-inspect", decoder, NULL), ==, 1);
  assert_has (out, "decoder: ");
  assert_has (out, "no transformer");
  g_assert_cmpint (run (&out, "lightforce-inspect", odd, NULL), ==, 1);
  g_assert_cmpint (run (&out, "lightforce-inspect", model, "--tensors", NULL), ==, 0);
  assert_has (out, "  blocks.0.self_attn.q.weight BF16 [64, 64]\n");
  g_assert_cmpint (run (&out, "lightforce-inspect", NULL), ==, 2);
  g_assert_cmpint (run (&out, "lightforce-inspect", "--help", NULL), ==, 0);
  assert_has (out, "exit status");
}

int
main (int argc, char **argv)
{
  gint result;

  g_test_init (&argc, &argv, NULL);
  directory = g_dir_make_tmp ("lightforce-tools-XXXXXX", NULL);
  g_assert_nonnull (directory);
  g_test_add_func ("/tools/pack", test_pack);
  g_test_add_func ("/tools/repack", test_repack);
  g_test_add_func ("/tools/pack-failures", test_pack_failures);
  g_test_add_func ("/tools/inspect", test_inspect);
  result = g_test_run ();
  g_assert_cmpint (g_rmdir (directory), ==, 0);
  g_free (directory);
  return result;
}
