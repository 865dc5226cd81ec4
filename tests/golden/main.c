/* lightforce-golden: holds the model against recorded outputs of its definition
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each case is a safetensors file (case.h), or a JSON file, a table of Chunk-Aware Growth.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/sparsity.h"
#include "tests/golden/run.h"

#define GROWTH_TOLERANCE 1e-9

static const struct
{
  const char *name;
  LfPrecision precision;
  double tolerance, blocks;
} precisions[] = {
    {"fp32", LF_PRECISION_FP32, 1e-4, 0.999},
    {"bf16", LF_PRECISION_BF16, 2e-2, 0.99},
    {"fp8", LF_PRECISION_FP8, 6e-2, 0.95},
};

static gboolean
run_growth (const char *path, double *worst, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonArray *rows;
  guint i, j;

  if (!json_parser_load_from_file (parser, path, error))
    return FALSE;
  if (!JSON_NODE_HOLDS_ARRAY (json_parser_get_root (parser))) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "not a table of Chunk-Aware Growth");
    return FALSE;
  }
  rows = json_node_get_array (json_parser_get_root (parser));
  for (i = 0; i < json_array_get_length (rows); i++) {
    JsonObject *row = json_array_get_object_element (rows, i);
    JsonArray *expected = json_object_get_array_member (row, "sparsity");

    for (j = 0; j < json_array_get_length (expected); j++) {
      double s = lf_chunk_sparsity (j, golden_member (row, "chunk_frames", 3),
          golden_member (row, "total_frames", 0), json_object_get_double_member (row, "target"),
          json_object_get_double_member (row, "base"), golden_member (row, "window", -1));
      double e = fabs (s - json_array_get_double_element (expected, j));

      if (!(e <= *worst))
        *worst = e;
    }
  }
  return TRUE;
}

static gboolean
run_case (Case *c, GError **error)
{
  if (!case_open (c, error))
    return FALSE;
  if (g_str_equal (c->name, "generator"))
    return run_generator (c, error);
  if (g_str_equal (c->name, "decoder") || g_str_equal (c->name, "tiny-decoder"))
    return run_decoder (c, error);
  if (g_str_equal (c->name, "encoder"))
    return run_encoder (c, error);
  if (g_str_equal (c->name, "text-encoder"))
    return run_text_encoder (c, error);
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "unknown case \"%s\"", c->name);
  return FALSE;
}

static gboolean
run_file (const GoldenOptions *options, const char *path)
{
  Case c = {.options = options, .path = path};
  g_autofree char *base = g_path_get_basename (path);
  g_autoptr (GError) error = NULL;
  gboolean ok, growth = g_str_has_suffix (path, ".json");

  ok = growth ? run_growth (path, &c.worst, &error) : run_case (&c, &error);
  if (!ok) {
    printf ("FAIL %s %s: %s\n", c.name ? c.name : "?", base, error->message);
  } else {
    ok = c.worst <= (growth ? GROWTH_TOLERANCE : options->tolerance)
         && (!c.blocks || c.agreeing >= options->block_tolerance * c.blocks);
    printf ("%s %s %s %.3g", ok ? "PASS" : "FAIL", growth ? "chunk-aware-growth" : c.name, base,
        c.worst);
    if (c.blocks)
      printf (" blocks %.4f%%", 100.0 * c.agreeing / c.blocks);
    printf ("\n");
  }
  fflush (stdout);
  case_clear (&c);
  return ok;
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

/* All cases of a directory, by name. */
static gboolean
run_directory (const GoldenOptions *options, const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  const char *name;
  gboolean ok = TRUE;
  guint i;

  while (dir && (name = g_dir_read_name (dir)))
    if (g_str_has_suffix (name, ".safetensors") || g_str_has_suffix (name, ".json"))
      g_ptr_array_add (names, g_build_filename (path, name, NULL));
  g_ptr_array_sort (names, compare_names);
  if (!names->len) {
    printf ("FAIL ? %s: no golden files here\n", path);
    return FALSE;
  }
  for (i = 0; i < names->len; i++)
    ok = run_file (options, g_ptr_array_index (names, i)) && ok;
  return ok;
}

/* Finds the precision; what was not given follows from it. */
static gboolean
choose_precision (GoldenOptions *options, const char *name)
{
  guint i;

  for (i = 0; i < G_N_ELEMENTS (precisions); i++) {
    if (!g_str_equal (precisions[i].name, name))
      continue;
    options->precision = precisions[i].precision;
    if (options->tolerance < 0)
      options->tolerance = precisions[i].tolerance;
    if (options->block_tolerance < 0)
      options->block_tolerance = precisions[i].blocks;
    return TRUE;
  }
  fprintf (stderr, "lightforce-golden: precision is \"%s\"; choose fp32, bf16 or fp8\n", name);
  return FALSE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("PATH...");
  g_autoptr (GError) error = NULL;
  g_autofree char *precision = NULL;
  GoldenOptions options = {.tolerance = -1, .block_tolerance = -1}; /* the precision's */
  GOptionEntry entries[] = {
      {"backend", 0, 0, G_OPTION_ARG_STRING, &options.backend, "auto, cpu or cuda", "NAME"},
      {"precision", 0, 0, G_OPTION_ARG_STRING, &precision, "fp32 (the default), bf16 or fp8",
          "NAME"},
      {"tolerance", 0, 0, G_OPTION_ARG_DOUBLE, &options.tolerance,
          "largest relative L2 error that passes (1e-4; bf16 2e-2; fp8 6e-2)", "X"},
      {"blocks", 0, 0, G_OPTION_ARG_DOUBLE, &options.block_tolerance,
          "smallest share of agreeing blocks that passes (0.999; bf16 0.99; fp8 0.95)", "X"},
      {"weights", 0, 0, G_OPTION_ARG_FILENAME, &options.weights,
          "take the weights from this model instead of the cases", "PATH"},
      {"decoder", 0, 0, G_OPTION_ARG_FILENAME, &options.decoder, "the model's other decoder",
          "PATH"},
      G_OPTION_ENTRY_NULL,
  };
  gboolean ok = TRUE;
  gint i;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (
      context, "Holds the model against recorded outputs of its definition.");
  if (!g_option_context_parse (context, &argc, &argv, &error)) {
    fprintf (stderr, "lightforce-golden: %s\n", error->message);
    return 2;
  }
  if (argc < 2) {
    fprintf (stderr, "lightforce-golden: name a golden file or a directory of them\n");
    return 2;
  }
  if (!choose_precision (&options, precision ? precision : "fp32"))
    return 2;
  for (i = 1; i < argc; i++)
    ok = (g_file_test (argv[i], G_FILE_TEST_IS_DIR) ? run_directory : run_file) (&options, argv[i])
         && ok;
  g_free (options.backend);
  g_free (options.weights);
  g_free (options.decoder);
  return ok ? 0 : 1;
}
