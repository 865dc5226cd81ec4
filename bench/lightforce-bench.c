/* lightforce-bench: how fast a model makes pictures
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <sys/resource.h>

#include "core/lightforce.h"

static char *model_path, *backend, *attention, *prompt, *decoder, *json_path, *size;
static gint chunks = 8, threads, warm = 1;
static gint64 seed;
static double sparsity = -1, sparsity_base = -1;

typedef struct
{
  gint64 generate_us, decode_us, wall_us;
  gint pictures;
  double sparsity;
} Row;

static gboolean
configure (LfStreamConfig *config, LfModel *model, GError **error)
{
  lf_stream_config_init (config, model);
  config->prompt = prompt ? prompt : "a red ball bouncing on green hills";
  config->seed = seed;
  config->threads = threads;
  if (size && sscanf (size, "%dx%d", &config->width, &config->height) != 2) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "--size is WIDTHxHEIGHT, not \"%s\"", size);
    return FALSE;
  }
  if (attention && !g_str_equal (attention, "sparse") && !g_str_equal (attention, "dense")) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "--attention is sparse or dense, not \"%s\"",
        attention);
    return FALSE;
  }
  if (attention)
    config->sparse.enabled = g_str_equal (attention, "sparse");
  if (sparsity >= 0)
    config->sparse.target = sparsity;
  if (sparsity_base >= 0)
    config->sparse.base = sparsity_base;
  return TRUE;
}

static gdouble
peak_mib (void)
{
  struct rusage usage;

  getrusage (RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024.0;
}

static void
write_member (JsonBuilder *b, const char *name, double value)
{
  json_builder_set_member_name (b, name);
  json_builder_add_double_value (b, value);
}

static gboolean
write_json (const LfModelInfo *info, const LfStreamConfig *config, const Row *rows, gint n,
    double load_s, double first_s, double rate, double rate_generate, GError **error)
{
  g_autoptr (JsonBuilder) b = json_builder_new ();
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autoptr (JsonNode) root = NULL;
  gint i;

  json_builder_begin_object (b);
  json_builder_set_member_name (b, "model");
  json_builder_add_string_value (b, info->name);
  json_builder_set_member_name (b, "backend");
  json_builder_add_string_value (b, info->backend);
  write_member (b, "width", config->width ? config->width : info->width);
  write_member (b, "height", config->height ? config->height : info->height);
  write_member (b, "threads", threads ? threads : (gint) g_get_num_processors ());
  write_member (b, "load_seconds", load_s);
  write_member (b, "first_picture_seconds", first_s);
  write_member (b, "pictures_per_second", rate);
  write_member (b, "pictures_per_second_without_decoder", rate_generate);
  write_member (b, "peak_mib", peak_mib ());
  json_builder_set_member_name (b, "chunks");
  json_builder_begin_array (b);
  for (i = 0; i < n; i++) {
    json_builder_begin_object (b);
    write_member (b, "pictures", rows[i].pictures);
    write_member (b, "sparsity", rows[i].sparsity);
    write_member (b, "generate_seconds", rows[i].generate_us / 1e6);
    write_member (b, "decode_seconds", rows[i].decode_us / 1e6);
    json_builder_end_object (b);
  }
  json_builder_end_array (b);
  json_builder_end_object (b);
  root = json_builder_get_root (b);
  json_generator_set_root (generator, root);
  json_generator_set_pretty (generator, TRUE);
  return json_generator_to_file (generator, json_path, error);
}

static gboolean
run (GError **error)
{
  LfModelOptions options = {.backend = backend, .decoder = decoder};
  gint64 start = g_get_monotonic_time (), opened, wall = 0, generate = 0, decode = 0;
  g_autoptr (LfModel) model = lf_model_load (model_path, &options, NULL, NULL, NULL, error);
  g_autoptr (LfStream) stream = NULL;
  g_autofree Row *rows = g_new0 (Row, chunks);
  const LfModelInfo *info;
  LfStreamConfig config;
  LfStats stats;
  double load_s, first_s = 0, rate, rate_generate;
  gint i, pictures = 0;

  if (!model || !configure (&config, model, error))
    return FALSE;
  load_s = (g_get_monotonic_time () - start) / 1e6;
  info = lf_model_get_info (model);
  opened = g_get_monotonic_time ();
  stream = lf_stream_new (model, &config, NULL, error);
  if (!stream)
    return FALSE;
  printf ("%s on %s, %s attention, seed %" G_GINT64_FORMAT "\n", info->name, info->backend,
      config.sparse.enabled ? "sparse" : "dense", seed);
  printf ("chunk  pictures  sparsity  generate ms  decode ms  pictures/s\n");
  for (i = 0; i < chunks; i++) {
    gint64 before = g_get_monotonic_time ();
    g_autoptr (LfChunk) chunk = lf_stream_next (stream, NULL, error);

    if (!chunk)
      return FALSE;
    rows[i] = (Row){chunk->generate_us, chunk->decode_us, g_get_monotonic_time () - before,
        chunk->n_pictures, chunk->sparsity};
    if (i == 0)
      first_s = (g_get_monotonic_time () - opened) / 1e6;
    printf ("%5d  %8d  %7.1f%%  %11.1f  %9.1f  %10.2f\n", i, rows[i].pictures,
        100 * rows[i].sparsity, rows[i].generate_us / 1e3, rows[i].decode_us / 1e3,
        rows[i].pictures * 1e6 / rows[i].wall_us);
    if (i >= warm) {
      pictures += rows[i].pictures;
      wall += rows[i].wall_us;
      generate += rows[i].generate_us;
      decode += rows[i].decode_us;
    }
  }
  rate = wall ? pictures * 1e6 / wall : 0;
  rate_generate = generate ? pictures * 1e6 / generate : 0;
  lf_stream_get_stats (stream, &stats);
  printf ("load %.2f s, text %.1f ms, first pictures %.2f s after opening\n", load_s,
      stats.text_us / 1e3, first_s);
  printf ("memory: weights %.1f MiB, cache and histories %.1f MiB, scratch %.1f MiB, "
          "process at most %.1f MiB\n",
      stats.weights_bytes / 1048576.0, stats.state_bytes / 1048576.0,
      stats.scratch_bytes / 1048576.0, peak_mib ());
  printf ("warm: %.2f pictures/s; %.2f without the decoder; real-time factor %.2f at %d/%d\n", rate,
      rate_generate, rate * info->fps_d / info->fps_n, info->fps_n, info->fps_d);
  return !json_path
         || write_json (info, &config, rows, chunks, load_s, first_s, rate, rate_generate, error);
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_autoptr (GError) error = NULL;
  GOptionEntry entries[] = {
      {"model", 0, 0, G_OPTION_ARG_FILENAME, &model_path, "file or directory (the default model)",
          "PATH"},
      {"decoder", 0, 0, G_OPTION_ARG_FILENAME, &decoder, "another decoder", "PATH"},
      {"backend", 0, 0, G_OPTION_ARG_STRING, &backend, "auto, cpu or cuda", "NAME"},
      {"size", 0, 0, G_OPTION_ARG_STRING, &size, "pixels (the model's)", "WxH"},
      {"prompt", 0, 0, G_OPTION_ARG_STRING, &prompt, "what is shown", "TEXT"},
      {"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "of the noise (0)", "N"},
      {"chunks", 0, 0, G_OPTION_ARG_INT, &chunks, "chunks to make (8)", "N"},
      {"warm", 0, 0, G_OPTION_ARG_INT, &warm, "first chunks left out of the rates (1)", "N"},
      {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "CPU threads (one a core)", "N"},
      {"attention", 0, 0, G_OPTION_ARG_STRING, &attention, "sparse or dense (the model's)", "KIND"},
      {"sparsity", 0, 0, G_OPTION_ARG_DOUBLE, &sparsity, "0..1 (the model's)", "X"},
      {"sparsity-base", 0, 0, G_OPTION_ARG_DOUBLE, &sparsity_base, "0..1 (the model's)", "X"},
      {"json", 0, 0, G_OPTION_ARG_FILENAME, &json_path, "write the figures here too", "FILE"},
      G_OPTION_ENTRY_NULL,
  };

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context, "Measures how fast a model makes pictures.");
  if (!g_option_context_parse (context, &argc, &argv, &error)
      || (chunks < 1
          && (g_set_error (&error, LF_ERROR, LF_ERROR_SETTINGS, "--chunks must be 1 or more"),
              1))) {
    fprintf (stderr, "lightforce-bench: %s\n", error->message);
    return 2;
  }
  if (!run (&error)) {
    fprintf (stderr, "lightforce-bench: %s\n", error->message);
    return 1;
  }
  return 0;
}
