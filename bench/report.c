/* lightforce-bench: what came out
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <json-glib/json-glib.h>
#include <stdio.h>

#include "bench.h"

#define MIB 1048576.0

typedef struct
{
  const char *name;
  gint phase; /* LfPhase */
} Phase;

/* Of the passes; those that belong to none of them prepare the chunk: its text, the cache. */
static const Phase in_pass[] = {{"linears", LF_PHASE_LINEAR}, {"attention", LF_PHASE_ATTENTION},
    {"selection", LF_PHASE_SELECTION}, {"text", LF_PHASE_TEXT}, {"rest", LF_PHASE_REST}};
static const Phase outside[] = {
    {"decoder", LF_PHASE_DECODER}, {"conversion", LF_PHASE_CONVERSION}, {"copy", LF_PHASE_COPY}};

static const char *const precisions[] = {"auto", "fp32", "bf16", "fp8"};
static const char *const activations[] = {
    [LF_DTYPE_F32] = "fp32", [LF_DTYPE_BF16] = "bf16", [LF_DTYPE_F16] = "fp16"};
static const char *const residencies[] = {"keep", "release", "cpu"};

/* Seconds of a phase in a pass of one chunk. */
static double
in (const BenchProfile *p, gint phase, gint pass)
{
  return p->seconds[lf_phase_tag (phase, pass)];
}

/* Of a phase outside of passes, wherever it was marked. */
static double
all_passes (const BenchProfile *p, gint phase)
{
  double sum = 0;
  gint tag;

  for (tag = phase; tag < LF_MAX_TAGS; tag += LF_N_PHASES)
    sum += p->seconds[tag];
  return sum;
}

static double
pass_seconds (const BenchProfile *p, gint pass)
{
  double sum = 0;
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (in_pass); i++)
    sum += in (p, in_pass[i].phase, pass);
  return sum;
}

/* Passes that have tags of their own. */
static gint
n_passes (const BenchResult *r)
{
  return MIN (r->info.steps + 1, LF_PASS_NONE);
}

/* What no mark accounts for: waiting, and what the host does meanwhile. */
static double
unaccounted (const BenchProfile *p)
{
  double sum = 0;
  gint tag;

  for (tag = 0; tag < LF_MAX_TAGS; tag++)
    sum += p->seconds[tag];
  return MAX (p->wall - sum, 0);
}

/* ------------------------------------------------------------------ printing */

static void
print_chunks (const BenchResult *r)
{
  gint i;

  printf ("chunk  pictures  sparsity  generate ms  decode ms  pictures/s\n");
  for (i = 0; i < r->options->chunks; i++) {
    const BenchChunk *c = &r->median->chunks[i];

    printf ("%5d  %8d  %7.1f%%  %11.1f  %9.1f  %10.2f\n", i, c->pictures, 100 * c->sparsity,
        c->generate_us / 1e3, c->decode_us / 1e3, c->pictures * 1e6 / MAX (c->wall_us, 1));
  }
}

#define N_SHARES (G_N_ELEMENTS (in_pass) + G_N_ELEMENTS (outside))

/* One line of the table: a pass, or what prepares it. Adds to `shares`. */
static void
print_pass (const BenchProfile *p, gint chunk, const char *name, gint pass, double *shares)
{
  gsize i;

  printf ("%5d  %-10s", chunk, name);
  for (i = 0; i < G_N_ELEMENTS (in_pass); i++) {
    printf (" %10.2f", 1e3 * in (p, in_pass[i].phase, pass));
    shares[i] += in (p, in_pass[i].phase, pass);
  }
  printf (" %10.2f\n", 1e3 * pass_seconds (p, pass));
}

static void
print_profile_chunk (const BenchResult *r, gint chunk, double *shares)
{
  const BenchProfile *p = &r->profile[chunk];
  gint pass;
  gsize i;

  print_pass (p, chunk, "prepare", LF_PASS_NONE, shares);
  for (pass = 0; pass < n_passes (r); pass++) {
    g_autofree char *name =
        pass < r->info.steps ? g_strdup_printf ("pass %d", pass + 1) : g_strdup ("clean");

    print_pass (p, chunk, name, pass, shares);
  }
  printf ("%5d  ", chunk);
  for (i = 0; i < G_N_ELEMENTS (outside); i++) {
    double s = all_passes (p, outside[i].phase);

    printf ("%s %.2f, ", outside[i].name, 1e3 * s);
    shares[G_N_ELEMENTS (in_pass) + i] += s;
  }
  printf ("other %.2f, in all %.2f\n", 1e3 * unaccounted (p), 1e3 * p->wall);
}

static void
print_profile (const BenchResult *r)
{
  double shares[N_SHARES] = {0}, wall = 0;
  gint chunk;
  gsize i;

  printf ("\nwhere the time goes, ms, in one more video that is slower for being watched:\n"
          "chunk  part      ");
  for (i = 0; i < G_N_ELEMENTS (in_pass); i++)
    printf (" %10s", in_pass[i].name);
  printf (" %10s\n", "sum");
  for (chunk = 0; chunk < r->options->chunks; chunk++) {
    print_profile_chunk (r, chunk, shares);
    wall += r->profile[chunk].wall;
  }
  printf ("shares of the video:");
  for (i = 0; i < N_SHARES; i++)
    printf ("%s %s %.1f%%", i ? "," : "",
        i < G_N_ELEMENTS (in_pass) ? in_pass[i].name : outside[i - G_N_ELEMENTS (in_pass)].name,
        100 * shares[i] / wall);
  printf ("\n\n");
}

void
bench_print (const BenchResult *r)
{
  const BenchOptions *o = r->options;
  double fps = (double) r->info.fps_n / r->info.fps_d;

  printf ("%s on %s (%s), %s, decoder %s, %dx%d, %s attention, window %d, sink %d%s%s, "
          "seed %" G_GINT64_FORMAT ", %d tokens%s\n",
      r->name, r->backend, r->device ? r->device : "", precisions[r->info.precision],
      activations[r->decoder_act], r->config.width, r->config.height,
      r->config.sparse.enabled ? "sparse" : "dense", r->config.window, r->config.sink,
      r->config.relative ? ", relative" : "", r->config.cache_fp8 ? ", FP8 cache" : "", o->seed,
      r->tokens, o->no_decoder ? ", not decoded" : "");
  print_chunks (r);
  if (r->profile)
    print_profile (r);
  printf ("load %.2f s, text %.1f ms, first pictures %.2f s after opening, %.1f ms after a new "
          "prompt\n",
      r->load_s, 1e3 * r->prompt_text_s, r->first_s, 1e3 * r->prompt_s);
  printf ("memory: weights %.1f MiB, cache and histories %.1f MiB, scratch %.1f MiB, "
          "%s at most %.1f MiB, process at most %.1f MiB\n",
      r->stats.weights_bytes / MIB, r->stats.state_bytes / MIB, r->stats.scratch_bytes / MIB,
      r->backend, r->memory.peak / MIB, r->process_mib);
  if (o->trace)
    printf ("trace: %" G_GUINT64_FORMAT " kernels and copies, the GPU is busy %.2f%% of %.3f s, "
            "the longest pause is %.3f ms\n",
        r->trace.activities, 100 * r->trace.busy / r->trace.span, r->trace.span,
        1e3 * r->trace.longest_gap);
  printf ("video: %.3f s for %d pictures, %.2f pictures/s, real-time factor %.2f (median of %d)\n",
      r->median->wall_us / 1e6, r->median->pictures, r->median->pictures * 1e6 / r->median->wall_us,
      r->median->pictures * 1e6 / r->median->wall_us / fps, o->videos);
  printf ("warm: %.2f pictures/s; %.2f without the decoder; real-time factor %.2f at %d/%d\n",
      r->rate, r->rate_generate, r->rate / fps, r->info.fps_n, r->info.fps_d);
}

/* ---------------------------------------------------------------------- JSON */

static void
put (JsonBuilder *b, const char *name, double value)
{
  json_builder_set_member_name (b, name);
  json_builder_add_double_value (b, value);
}

static void
put_int (JsonBuilder *b, const char *name, gint64 value)
{
  json_builder_set_member_name (b, name);
  json_builder_add_int_value (b, value);
}

static void
put_string (JsonBuilder *b, const char *name, const char *value)
{
  json_builder_set_member_name (b, name);
  json_builder_add_string_value (b, value ? value : "");
}

static void
put_boolean (JsonBuilder *b, const char *name, gboolean value)
{
  json_builder_set_member_name (b, name);
  json_builder_add_boolean_value (b, value);
}

static void
put_settings (JsonBuilder *b, const BenchResult *r)
{
  const LfSparse *s = &r->config.sparse;

  put_string (b, "model", r->name);
  put_boolean (b, "random_weights", r->options->random);
  put_string (b, "decoder", r->options->no_decoder ? "none" : r->options->decoder);
  put_string (b, "backend", r->backend);
  put_string (b, "device", r->device);
  put_string (b, "precision", precisions[r->info.precision]);
  put_string (b, "decoder_precision", activations[r->decoder_act]);
  put_string (b, "text_encoder_residency", residencies[r->options->text_residency]);
  put_int (b, "parameters", r->info.parameters);
  put_int (b, "width", r->config.width);
  put_int (b, "height", r->config.height);
  put_int (b, "window", r->config.window);
  put_int (b, "sink", r->config.sink);
  put_boolean (b, "relative", r->config.relative);
  put_string (b, "kv_cache", r->config.cache_fp8 ? "fp8" : "auto");
  put_string (b, "attention", s->enabled ? "sparse" : "dense");
  put (b, "sparsity", s->target);
  put (b, "sparsity_base", s->base);
  put_int (b, "steps", r->info.steps);
  put_int (b, "tokens", r->tokens);
  put_int (b, "seed", r->options->seed);
  put_int (
      b, "threads", r->options->threads ? r->options->threads : (gint) g_get_num_processors ());
}

static void
put_figures (JsonBuilder *b, const BenchResult *r)
{
  double fps = (double) r->info.fps_n / r->info.fps_d;

  put (b, "load_seconds", r->load_s);
  put (b, "text_seconds", r->prompt_text_s);
  put (b, "first_picture_seconds", r->first_s);
  put (b, "first_picture_of_prompt_seconds", r->prompt_s);
  put (b, "video_seconds", r->median->wall_us / 1e6);
  put_int (b, "video_pictures", r->median->pictures);
  put (b, "video_pictures_per_second", r->median->pictures * 1e6 / r->median->wall_us);
  put (b, "pictures_per_second", r->rate);
  put (b, "pictures_per_second_without_decoder", r->rate_generate);
  put (b, "real_time_factor", r->rate / fps);
  put (b, "weights_mib", r->stats.weights_bytes / MIB);
  put (b, "state_mib", r->stats.state_bytes / MIB);
  put (b, "scratch_mib", r->stats.scratch_bytes / MIB);
  put (b, "backend_peak_mib", r->memory.peak / MIB);
  put (b, "peak_mib", r->process_mib);
}

static void
put_videos (JsonBuilder *b, const BenchResult *r)
{
  const BenchOptions *o = r->options;
  gint i;

  json_builder_set_member_name (b, "videos");
  json_builder_begin_array (b);
  for (i = 0; i < o->warm_videos + o->videos; i++) {
    json_builder_begin_object (b);
    put_boolean (b, "warm_up", i < o->warm_videos);
    put (b, "seconds", r->videos[i].wall_us / 1e6);
    put_int (b, "pictures", r->videos[i].pictures);
    json_builder_end_object (b);
  }
  json_builder_end_array (b);
  json_builder_set_member_name (b, "chunks");
  json_builder_begin_array (b);
  for (i = 0; i < o->chunks; i++) {
    const BenchChunk *c = &r->median->chunks[i];

    json_builder_begin_object (b);
    put_int (b, "pictures", c->pictures);
    put (b, "sparsity", c->sparsity);
    put (b, "generate_seconds", c->generate_us / 1e6);
    put (b, "decode_seconds", c->decode_us / 1e6);
    put (b, "seconds", c->wall_us / 1e6);
    json_builder_end_object (b);
  }
  json_builder_end_array (b);
}

static void
put_pass (JsonBuilder *b, const BenchProfile *p, gint pass)
{
  gsize i;

  json_builder_begin_object (b);
  for (i = 0; i < G_N_ELEMENTS (in_pass); i++)
    put (b, in_pass[i].name, in (p, in_pass[i].phase, pass));
  json_builder_end_object (b);
}

static void
put_profile (JsonBuilder *b, const BenchResult *r)
{
  gint chunk, pass;
  gsize i;

  json_builder_set_member_name (b, "profile");
  json_builder_begin_array (b);
  for (chunk = 0; chunk < r->options->chunks; chunk++) {
    const BenchProfile *p = &r->profile[chunk];

    json_builder_begin_object (b);
    put (b, "seconds", p->wall);
    for (i = 0; i < G_N_ELEMENTS (outside); i++)
      put (b, outside[i].name, all_passes (p, outside[i].phase));
    put (b, "other", unaccounted (p));
    json_builder_set_member_name (b, "prepare");
    put_pass (b, p, LF_PASS_NONE);
    json_builder_set_member_name (b, "passes"); /* the last one is the clean pass */
    json_builder_begin_array (b);
    for (pass = 0; pass < n_passes (r); pass++)
      put_pass (b, p, pass);
    json_builder_end_array (b);
    json_builder_end_object (b);
  }
  json_builder_end_array (b);
}

gboolean
bench_write_json (const BenchResult *result, GError **error)
{
  g_autoptr (JsonBuilder) b = json_builder_new ();
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autoptr (JsonNode) root = NULL;

  json_builder_begin_object (b);
  put_settings (b, result);
  put_figures (b, result);
  put_videos (b, result);
  if (result->profile)
    put_profile (b, result);
  json_builder_end_object (b);
  root = json_builder_get_root (b);
  json_generator_set_root (generator, root);
  json_generator_set_pretty (generator, TRUE);
  return json_generator_to_file (generator, result->options->json, error);
}
