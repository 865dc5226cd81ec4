/* lightforce: tests of lightforce-bench and of random models
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>

#include "core/container.h"
#include "core/model.h"
#include "core/randommodel.h"

/* Runs lightforce-bench with the words of `arguments`; returns its exit status. */
static gint
run (const char *arguments, char **out, char **errors)
{
  g_autofree char *line = g_strdup_printf ("%s %s", g_getenv ("LF_BENCH"), arguments);
  g_auto (GStrv) argv = g_strsplit (line, " ", -1);
  g_autoptr (GError) error = NULL;
  gint status;

  g_spawn_sync (NULL, argv, NULL, 0, NULL, NULL, out, errors, &status, &error);
  g_assert_no_error (error);
  g_test_message ("%s: %s%s", arguments, *out, *errors);
  g_assert_true (WIFEXITED (status));
  return WEXITSTATUS (status);
}

/* What it writes with these arguments. */
static JsonNode *
figures_of (const char *arguments)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "lightforce-bench.XXXXXX", NULL);
  g_autofree char *full = NULL, *out = NULL, *errors = NULL;
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (GError) error = NULL;
  gint fd = g_mkstemp (path);

  g_assert_cmpint (fd, >=, 0);
  g_close (fd, NULL);
  full = g_strdup_printf ("%s --backend cpu --threads 1 --json %s", arguments, path);
  g_assert_cmpint (run (full, &out, &errors), ==, 0);
  g_assert_cmpstr (errors, ==, "");
  g_assert_nonnull (strstr (out, "warm: "));
  g_assert_nonnull (strstr (out, "real-time factor"));
  json_parser_load_from_file (parser, path, &error);
  g_assert_no_error (error);
  g_unlink (path);
  return json_node_copy (json_parser_get_root (parser));
}

static double
sum_of (JsonObject *o, const char *const *names)
{
  double sum = 0;

  for (; *names; names++)
    sum += json_object_get_double_member (o, *names);
  return sum;
}

/* What the marks account for is nearly all of the profiled video. */
static void
check_profile (JsonObject *root, guint chunks, guint passes)
{
  static const char *const in_pass[] = {"linears", "attention", "selection", "text", "rest", NULL};
  static const char *const outside[] = {"decoder", "conversion", "copy", NULL};
  JsonArray *profile = json_object_get_array_member (root, "profile");
  double wall = 0, marked = 0;
  guint i, j;

  g_assert_cmpuint (json_array_get_length (profile), ==, chunks);
  for (i = 0; i < chunks; i++) {
    JsonObject *chunk = json_array_get_object_element (profile, i);
    JsonArray *all = json_object_get_array_member (chunk, "passes");

    g_assert_cmpuint (json_array_get_length (all), ==, passes);
    wall += json_object_get_double_member (chunk, "seconds");
    marked += sum_of (chunk, outside)
              + sum_of (json_object_get_object_member (chunk, "prepare"), in_pass);
    for (j = 0; j < passes; j++) {
      JsonObject *pass = json_array_get_object_element (all, j);

      g_assert_cmpfloat (json_object_get_double_member (pass, "linears"), >, 0);
      marked += sum_of (pass, in_pass);
    }
  }
  g_assert_cmpfloat (marked, >, 0.5 * wall);
  g_assert_cmpfloat (marked, <, 1.1 * wall + 0.01);
}

static void
check_positive (JsonObject *o, const char *name)
{
  g_assert_cmpfloat (json_object_get_double_member (o, name), >, 0);
}

/* Every decoder that needs no file, from the text to the pictures. */
static void
test_presets (gconstpointer data)
{
  const char *decoder = data;
  g_autofree char *arguments =
      g_strdup_printf ("--model test --random-weights --decoder %s --chunks 3 --videos 2", decoder);
  g_autoptr (JsonNode) node = figures_of (arguments);
  JsonObject *root = json_node_get_object (node);

  check_positive (root, "pictures_per_second");
  check_positive (root, "pictures_per_second_without_decoder");
  check_positive (root, "video_seconds");
  check_positive (root, "first_picture_seconds");
  check_positive (root, "first_picture_of_prompt_seconds");
  check_positive (root, "backend_peak_mib");
  g_assert_cmpint (json_object_get_int_member (root, "video_pictures"), ==, 9 + 12 + 12);
  g_assert_cmpint (json_object_get_int_member (root, "tokens"), ==, 64);
  g_assert_cmpuint (
      json_array_get_length (json_object_get_array_member (root, "videos")), ==, 1 + 2);
  g_assert_cmpuint (json_array_get_length (json_object_get_array_member (root, "chunks")), ==, 3);
  check_profile (root, 3, 5);
}

static void
test_settings (void)
{
  g_autoptr (JsonNode) node =
      figures_of ("--model test --random-weights --decoder tiny --size 64x48 --chunks 2 "
                  "--attention dense --window 6 --sink 2 --relative --tokens 20 --precision fp32 "
                  "--text-encoder-residency release");
  g_autoptr (JsonNode) small =
      figures_of ("--model test --random-weights --decoder none --chunks 2 "
                  "--kv-cache fp8 --window -1 --text-encoder-residency cpu --warm 0");
  JsonObject *root = json_node_get_object (node);

  g_assert_cmpint (json_object_get_int_member (root, "width"), ==, 64);
  g_assert_cmpint (json_object_get_int_member (root, "height"), ==, 48);
  g_assert_cmpint (json_object_get_int_member (root, "window"), ==, 6);
  g_assert_cmpint (json_object_get_int_member (root, "sink"), ==, 2);
  g_assert_cmpint (json_object_get_int_member (root, "tokens"), ==, 20);
  g_assert_true (json_object_get_boolean_member (root, "relative"));
  g_assert_cmpstr (json_object_get_string_member (root, "attention"), ==, "dense");
  g_assert_cmpstr (json_object_get_string_member (root, "precision"), ==, "fp32");
  g_assert_cmpstr (json_object_get_string_member (root, "text_encoder_residency"), ==, "release");
  root = json_node_get_object (small);
  g_assert_cmpint (json_object_get_int_member (root, "window"), ==, -1);
  g_assert_cmpstr (json_object_get_string_member (root, "kv_cache"), ==, "fp8");
  g_assert_cmpstr (json_object_get_string_member (root, "decoder"), ==, "none");
}

/* The shapes of a file, read and made up; its tokenizer and another decoder with it. */
static void
test_file (void)
{
  g_autofree char *small =
      g_build_filename (g_getenv ("LF_TEST_DATA"), "small-model.safetensors", NULL);
  g_autofree char *read = g_strdup_printf ("--model %s --chunks 2", small);
  g_autofree char *made = g_strdup_printf ("--model %s --chunks 2 --random-weights", small);
  g_autofree char *none = g_strdup_printf ("--model %s --chunks 2 --decoder none", small);
  g_autoptr (JsonNode) a = figures_of (read);
  g_autoptr (JsonNode) b = figures_of (made);
  g_autoptr (JsonNode) c = figures_of (none);
  JsonObject *x = json_node_get_object (a), *y = json_node_get_object (b);
  JsonObject *z = json_node_get_object (c);

  g_assert_cmpint (json_object_get_int_member (x, "parameters"), ==,
      json_object_get_int_member (y, "parameters"));
  g_assert_false (json_object_get_boolean_member (x, "random_weights"));
  g_assert_true (json_object_get_boolean_member (y, "random_weights"));
  g_assert_cmpint (json_object_get_int_member (x, "video_pictures"), ==, 9 + 12);
  g_assert_cmpint (json_object_get_int_member (z, "video_pictures"), ==, 9 + 12);
  g_assert_cmpstr (json_object_get_string_member (z, "decoder"), ==, "none");
}

static void
test_wrong_options (void)
{
  static const struct
  {
    const char *arguments, *says;
  } cases[] = {
      {"--model wan-1.3b", "--random-weights"},
      {"--decoder light", "--random-weights"},
      {"--model test --random-weights --size 64", "--size"},
      {"--model test --random-weights --size 64x48x3", "--size"},
      {"--model test --random-weights --size 65x48", "width"},
      {"--model test --random-weights --chunks 0", "--chunks"},
      {"--model test --random-weights --videos 0", "--videos"},
      {"--model test --random-weights --attention none", "--attention"},
      {"--model test --random-weights --precision fp64", "--precision"},
      {"--model test --random-weights --backend cpu --precision fp8", "precision"},
      {"--model test --random-weights --kv-cache fp4", "--kv-cache"},
      {"--model test --random-weights --text-encoder-residency gone", "--text-encoder-residency"},
      {"--model test --random-weights --sparsity 2", "--sparsity"},
      {"--model test --random-weights --window 2", "window"},
      {"--model test --random-weights --tokens 1000", "--tokens"},
      {"--model test --random-weights more", "more"},
      {"--nonsense", "nonsense"},
  };
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *out = NULL, *errors = NULL;

    g_assert_cmpint (run (cases[i].arguments, &out, &errors), ==, 2);
    g_assert_true (g_str_has_prefix (errors, "lightforce-bench: "));
    g_assert_nonnull (strstr (errors, cases[i].says));
    g_assert_true (strchr (errors, '\n') == errors + strlen (errors) - 1);
  }
}

/* Everything that loads a part finds all it asks for, and nothing else is there; nothing is
 * loaded. Returns the number of weights. */
static double
examine (LfModelFiles *files, LfPart part, LfBackend *be)
{
  LfLoader loader = lf_loader_make (files, part, be, be->ops->queue_new (be, 1, NULL));
  g_autoptr (GError) error = NULL;

  loader.dry = TRUE;
  if (part == LF_PART_TRANSFORMER)
    lf_transformer_free (lf_transformer_load (&loader, &error));
  else if (part == LF_PART_TEXT_ENCODER)
    lf_text_encoder_free (lf_text_encoder_load (&loader, &error));
  else
    lf_decoder_free (lf_decoder_load (&loader, &error));
  g_assert_no_error (error);
  be->ops->queue_free (loader.queue);
  return loader.parameters;
}

/* The published sizes. */
static void
test_shapes (void)
{
  static const struct
  {
    const char *preset, *decoder;
    double parameters[LF_PART_ENCODER];
  } cases[] = {
      {"wan-1.3b", "full", {1.419e9, 5.681e9, 73.3e6}},
      {"wan-14b", "tiny", {14.289e9, 5.681e9, 9.84e6}},
      {"wan-1.3b", "light", {1.419e9, 5.681e9, 4.6e6}},
  };
  g_autoptr (GError) error = NULL;
  LfBackend *be = lf_backend_open ("cpu", LF_PRECISION_AUTO, &error);
  gsize i;
  gint part;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    LfContainer *parts = lf_random_container (cases[i].preset, &error);
    LfContainer *decoder = lf_random_decoder_container (cases[i].preset, cases[i].decoder, &error);
    g_autoptr (LfModelFiles) files =
        lf_model_files_open_random (cases[i].preset, parts, decoder, NULL, &error);

    g_assert_no_error (error);
    g_assert_true (lf_model_files_is_random (files));
    g_assert_cmpint (lf_model_files_get_config (files)->width, ==, 768);
    g_assert_cmpint (lf_model_files_get_config (files)->window, ==, 21);
    for (part = 0; part < LF_PART_ENCODER; part++) {
      double n = examine (files, part, be);

      g_test_message ("%s, %s: %.0f", cases[i].preset, cases[i].decoder, n);
      g_assert_cmpfloat (fabs (n / cases[i].parameters[part] - 1), <, 0.01);
    }
  }
  lf_backend_close (be);
  g_assert_null (lf_random_container ("wan-2b", &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_null (lf_random_decoder_container (NULL, "huge", &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
}

/* The test preset has the widths of the golden files, which have the names of published ones. */
static void
test_decoder_names (void)
{
  static const struct
  {
    const char *decoder, *golden;
  } cases[] = {{"full", "decoder.safetensors"}, {"tiny", "tiny-decoder.safetensors"}};
  gsize i;
  guint j;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = g_build_filename (g_getenv ("LF_GOLDEN_DATA"), cases[i].golden, NULL);
    g_autoptr (GError) error = NULL;
    g_autoptr (LfContainer) golden = lf_container_open (path, &error);
    g_autoptr (LfContainer) c = lf_random_decoder_container ("test", cases[i].decoder, &error);
    guint n = 0;

    g_assert_no_error (error);
    for (j = 0; j < lf_container_get_size (golden); j++) {
      const LfTensorInfo *tensor = lf_container_get_tensor (golden, j), *mine;
      g_autofree char *name = NULL;

      if (!g_str_has_prefix (tensor->name, "w."))
        continue;
      n++;
      name = g_strconcat ("decoder.", tensor->name + 2, NULL);
      mine = lf_container_find (c, name);
      g_assert_nonnull (mine);
      g_assert_cmpint (mine->ndim, ==, tensor->ndim);
      g_assert_cmpmem (
          mine->shape, mine->ndim * sizeof (gint64), tensor->shape, tensor->ndim * sizeof (gint64));
    }
    g_assert_cmpuint (lf_container_get_size (c), ==, n);
  }
}

/* Standard deviation of n values. */
static double
deviation (const float *x, gsize n)
{
  double sum = 0, squares = 0;
  gsize i;

  for (i = 0; i < n; i++) {
    sum += x[i];
    squares += (double) x[i] * x[i];
  }
  g_assert_cmpfloat (fabs (sum / n), <, 4 * sqrt (squares / n / n));
  return sqrt (squares / n - sum / n * (sum / n));
}

/* Values have the size that keeps activations of order 1, in any type; a part of a tensor that is
 * longer than the staging memory, too. */
static void
test_values (void)
{
  g_autoptr (GError) error = NULL;
  LfBackend *be = lf_backend_open ("cpu", LF_PRECISION_AUTO, &error);
  LfLoader loader = {.backend = be, .queue = be->ops->queue_new (be, 1, &error)};
  const LfTensorInfo weight = {
      "blocks.0.self_attn.q.weight", LF_DTYPE_BF16, 2, {3000, 400}, 1200000};
  const LfTensorInfo gain = {"blocks.0.norm3.weight", LF_DTYPE_BF16, 1, {300}, 300};
  const LfTensorInfo bias = {"blocks.0.norm3.bias", LF_DTYPE_BF16, 1, {300}, 300};
  const LfTensorInfo other = {
      "blocks.1.self_attn.q.weight", LF_DTYPE_BF16, 2, {3000, 400}, 1200000};
  g_autofree float *x = g_new (float, 1200000), *y = g_new (float, 1200000);
  g_autofree guint16 *bits = g_new (guint16, 1200000);
  gsize i;

#define FILL(tensor, dtype, to)                                                                    \
  g_assert_true (                                                                                  \
      lf_random_fill (&loader, &(tensor), 0, (tensor).count, dtype, (guint8 *) (to), &error))
  FILL (weight, LF_DTYPE_F32, x);
  g_assert_cmpfloat (fabs (deviation (x, 1200000) / 0.05 - 1), <, 0.01);
  g_assert_true (memcmp (x, x + 1048576, 1000 * sizeof (float)) != 0);
  FILL (other, LF_DTYPE_F32, y);
  g_assert_true (memcmp (x, y, 1000 * sizeof (float)) != 0);
  FILL (weight, LF_DTYPE_BF16, bits);
  for (i = 0; i < 1200000; i++)
    if (!(fabsf (lf_bf16_to_float (bits[i]) - x[i]) <= fabsf (x[i]) / 256))
      g_error ("%" G_GSIZE_FORMAT ": %g is not %g", i, lf_bf16_to_float (bits[i]), x[i]);
  FILL (gain, LF_DTYPE_F32, x);
  for (i = 0; i < 300; i++)
    g_assert_cmpfloat (x[i], ==, 1);
  FILL (bias, LF_DTYPE_F32, x);
  g_assert_cmpfloat (fabs (deviation (x, 300) / 0.02 - 1), <, 0.2);
#undef FILL
  lf_random_release (&loader);
  be->ops->queue_free (loader.queue);
  lf_backend_close (be);
}

/* Two loads make the same weights, and their pictures show something. */
static void
test_deterministic (void)
{
  LfModelOptions options = {.backend = "cpu"};
  LfChunk *chunks[2];
  guint8 least = 255, most = 0;
  gsize size, j;
  gint i;

  for (i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (LfModel) model =
        lf_model_new_random ("test", "light", &options, NULL, NULL, NULL, &error);
    g_autoptr (LfStream) stream = NULL;
    LfStreamConfig config;

    g_assert_no_error (error);
    lf_stream_config_init (&config, model);
    config.prompt = "one two three";
    stream = lf_stream_new (model, &config, NULL, &error);
    g_assert_no_error (error);
    chunks[i] = lf_stream_next (stream, NULL, &error);
    g_assert_no_error (error);
  }
  size = chunks[0]->n_pictures * chunks[0]->layout.size;
  g_assert_cmpmem (
      chunks[0]->data, size, chunks[1]->data, chunks[1]->n_pictures * chunks[1]->layout.size);
  for (j = 0; j < size; j += 4) {
    least = MIN (least, chunks[0]->data[j]);
    most = MAX (most, chunks[0]->data[j]);
  }
  g_assert_cmpint (most, >, least);
  lf_chunk_unref (chunks[0]);
  lf_chunk_unref (chunks[1]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/bench/presets/full", "full", test_presets);
  g_test_add_data_func ("/bench/presets/light", "light", test_presets);
  g_test_add_data_func ("/bench/presets/tiny", "tiny", test_presets);
  g_test_add_func ("/bench/settings", test_settings);
  g_test_add_func ("/bench/file", test_file);
  g_test_add_func ("/bench/wrong-options", test_wrong_options);
  g_test_add_func ("/random/shapes", test_shapes);
  g_test_add_func ("/random/decoder-names", test_decoder_names);
  g_test_add_func ("/random/values", test_values);
  g_test_add_func ("/random/deterministic", test_deterministic);
  return g_test_run ();
}
