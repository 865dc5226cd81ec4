/* lightforce-bench: making videos by the clock
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "bench.h"
#include "core/randommodel.h"
#include "core/stream-private.h"

#define PROMPT "a red ball bouncing on green hills"
#define RANDOM_TOKENS 64 /* about what prompts have */

typedef struct
{
  const BenchOptions *options;
  BenchResult *result;
  LfModel *model;
  LfStream *stream;
} Bench;

static double
seconds_since (gint64 start)
{
  return (g_get_monotonic_time () - start) / 1e6;
}

void
bench_result_clear (BenchResult *r)
{
  gint i;

  for (i = 0; r->videos && i < r->options->warm_videos + r->options->videos; i++)
    g_free (r->videos[i].chunks);
  g_free (r->videos);
  g_free (r->profile);
  g_free (r->name);
  g_free (r->backend);
  g_free (r->device);
  g_free (r->prompt);
}

/* -------------------------------------------------------------------- opening */

static LfModel *
load (const BenchOptions *o, GError **error)
{
  gboolean made_up = o->decoder && g_strv_contains (lf_random_decoders (), o->decoder);
  LfModelOptions options = {.backend = o->backend,
      .precision = o->precision,
      .text_residency = o->text_residency,
      .decoder = made_up ? NULL : o->decoder};

  if (o->random)
    return lf_model_new_random (
        o->model, made_up ? o->decoder : NULL, &options, NULL, NULL, NULL, error);
  return lf_model_load (o->model, &options, NULL, NULL, NULL, error);
}

static void
configure (LfStreamConfig *config, const BenchOptions *o, LfModel *model)
{
  lf_stream_config_init (config, model);
  config->seed = o->seed;
  config->threads = o->threads;
  config->width = o->width ? o->width : model->info.width;
  config->height = o->height ? o->height : model->info.height;
  config->window = o->window == -2 ? model->info.window : o->window;
  config->sink = o->sink == -2 ? model->info.sink : o->sink;
  config->relative = o->relative || model->info.relative;
  config->cache_fp8 = o->cache_fp8;
  config->format = LF_FORMAT_NV12; /* what encoders take */
  config->matrix = LF_MATRIX_BT709;
  if (o->attention >= 0)
    config->sparse.enabled = o->attention;
  if (o->sparsity >= 0)
    config->sparse.target = o->sparsity;
  if (o->base >= 0)
    config->sparse.base = o->base;
}

static gint
count_tokens (LfModel *model, const char *prompt, GError **error)
{
  gint max = model->config->transformer.text_len;
  g_autofree gint32 *ids = g_new (gint32, max);

  return lf_tokenizer_encode (model->tokenizer, prompt, ids, max, error);
}

/* The prompt, its words repeated until there are tokens enough. */
static char *
make_prompt (const BenchOptions *o, LfModel *model, gint *tokens, GError **error)
{
  const char *text = o->prompt ? o->prompt : PROMPT;
  gint wanted = o->tokens ? o->tokens : o->random && !o->prompt ? RANDOM_TOKENS : 0;
  g_auto (GStrv) words = g_strsplit (text, " ", -1);
  g_autoptr (GString) prompt = g_string_new (wanted ? "" : text);
  guint i, n = g_strv_length (words);

  if (o->tokens > model->config->transformer.text_len) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "--tokens is %d; the model takes %d at most",
        o->tokens, model->config->transformer.text_len);
    return NULL;
  }
  wanted = MIN (wanted, model->config->transformer.text_len);
  *tokens = count_tokens (model, prompt->str, error);
  for (i = 0; *tokens >= 0 && *tokens < wanted && i < 64u * wanted; i++) {
    g_string_append_printf (prompt, "%s%s", i ? " " : "", n ? words[i % n] : PROMPT);
    *tokens = count_tokens (model, prompt->str, error);
  }
  return *tokens < 0 ? NULL : g_string_free (g_steal_pointer (&prompt), FALSE);
}

static gboolean
open_stream (Bench *b, GError **error)
{
  const BenchOptions *o = b->options;
  BenchResult *r = b->result;
  gint64 start = g_get_monotonic_time ();

  b->model = load (o, error);
  if (!b->model || !lf_model_check (b->model, error))
    return FALSE;
  r->load_s = seconds_since (start);
  r->info = *lf_model_get_info (b->model);
  r->name = g_strdup (r->info.name);
  r->backend = g_strdup (r->info.backend);
  r->device = g_strdup (b->model->backend->device);
  r->decoder_act = b->model->decoder_backend->act;
  configure (&r->config, o, b->model);
  r->prompt = make_prompt (o, b->model, &r->tokens, error);
  if (!r->prompt)
    return FALSE;
  r->config.prompt = r->prompt;
  start = g_get_monotonic_time ();
  b->stream = lf_stream_new (b->model, &r->config, NULL, error);
  r->open_s = seconds_since (start);
  return b->stream != NULL;
}

/* -------------------------------------------------------------------- videos */

static LfChunk *
next (const Bench *b, GError **error)
{
  return b->options->no_decoder ? lf_stream_next_latents (b->stream, NULL, error)
                                : lf_stream_next (b->stream, NULL, error);
}

/* A video from its start; where there is a `profile` (chunks), from its prompt. */
static gboolean
make_video (const Bench *b, BenchVideo *video, BenchProfile *profile, GError **error)
{
  gint64 start = g_get_monotonic_time ();
  gint i;

  if (profile && !lf_stream_set_prompt (b->stream, b->result->prompt, NULL, error))
    return FALSE;
  lf_stream_restart (b->stream, b->options->seed);
  video->chunks = g_new0 (BenchChunk, b->options->chunks);
  for (i = 0; i < b->options->chunks; i++) {
    BenchChunk *row = &video->chunks[i];
    gint64 before = i ? g_get_monotonic_time () : start;
    g_autoptr (LfChunk) chunk = next (b, error);

    if (!chunk)
      return FALSE;
    *row = (BenchChunk){chunk->n_pictures, chunk->sparsity, chunk->generate_us, chunk->decode_us,
        g_get_monotonic_time () - before};
    video->pictures += row->pictures;
    if (profile) {
      /* the clean pass is the chunk's, though it can wait for the next one */
      if (!lf_stream_settle (b->stream, NULL, error))
        return FALSE;
      profile[i].wall = (g_get_monotonic_time () - before) / 1e6;
      lf_stream_read_profile (b->stream, profile[i].seconds);
    }
  }
  video->wall_us = g_get_monotonic_time () - start;
  return TRUE;
}

static gint
compare_videos (gconstpointer a, gconstpointer b)
{
  const BenchVideo *const *x = a, *const *y = b;

  return ((*x)->wall_us > (*y)->wall_us) - ((*x)->wall_us < (*y)->wall_us);
}

static gboolean
make_videos (const Bench *b, GError **error)
{
  const BenchOptions *o = b->options;
  BenchResult *r = b->result;
  gint n = o->warm_videos + o->videos, i;
  g_autofree const BenchVideo **sorted = g_new (const BenchVideo *, o->videos);
  gint64 wall = 0, generate = 0;
  gint pictures = 0;

  r->videos = g_new0 (BenchVideo, n);
  for (i = 0; i < n; i++) {
    gint64 before = g_get_monotonic_time ();

    if (!make_video (b, &r->videos[i], NULL, error))
      return FALSE;
    if (i == 0)
      r->first_s = r->open_s + (r->videos[0].chunks[0].wall_us) / 1e6;
    if (n > 1)
      printf ("video %d%s: %.3f s, %.2f pictures/s\n", i, i < o->warm_videos ? " (warm-up)" : "",
          seconds_since (before), r->videos[i].pictures * 1e6 / r->videos[i].wall_us);
    if (i >= o->warm_videos)
      sorted[i - o->warm_videos] = &r->videos[i];
  }
  qsort (sorted, o->videos, sizeof (*sorted), compare_videos);
  r->median = sorted[(o->videos - 1) / 2];
  for (i = MIN (o->warm, o->chunks - 1); i < o->chunks; i++) {
    pictures += r->median->chunks[i].pictures;
    wall += r->median->chunks[i].wall_us;
    generate += r->median->chunks[i].generate_us;
  }
  r->rate = pictures * 1e6 / MAX (wall, 1);
  r->rate_generate = pictures * 1e6 / MAX (generate, 1);
  return TRUE;
}

/* From a new prompt to its first pictures, on a stream that has run. */
static gboolean
time_prompt (const Bench *b, GError **error)
{
  BenchResult *r = b->result;
  g_autoptr (LfChunk) chunk = NULL;
  gint64 start;

  lf_stream_restart (b->stream, b->options->seed);
  start = g_get_monotonic_time ();
  if (!lf_stream_set_prompt (b->stream, r->prompt, NULL, error))
    return FALSE;
  r->prompt_text_s = seconds_since (start);
  chunk = next (b, error);
  r->prompt_s = seconds_since (start);
  return chunk != NULL;
}

/* Longer videos are not taken apart: each chunk has some thousand marks. */
#define PROFILED_CHUNKS 100

/* One more video, whose times tell shares only: marks cost time. */
static gboolean
make_profile (const Bench *b, GError **error)
{
  double nothing[LF_MAX_TAGS] = {0};
  BenchVideo video = {0};
  gboolean ok;

  if (b->options->chunks > PROFILED_CHUNKS)
    return TRUE;
  b->result->profile = g_new0 (BenchProfile, b->options->chunks);
  lf_stream_set_profiling (b->stream, TRUE);
  lf_stream_read_profile (b->stream, nothing);
  ok = make_video (b, &video, b->result->profile, error);
  lf_stream_set_profiling (b->stream, FALSE);
  g_free (video.chunks);
  return ok;
}

/* One more video, with the GPU watched from outside; a chunk before it lets the watching start. */
static gboolean
make_trace (const Bench *b, GError **error)
{
  g_autoptr (LfChunk) chunk = NULL;
  BenchVideo video = {0};
  gboolean ok;

  if (!b->options->trace)
    return TRUE;
  if (!bench_trace_start (error))
    return FALSE;
  chunk = next (b, error);
  bench_trace_forget ();
  ok = chunk && make_video (b, &video, NULL, error);
  g_free (video.chunks);
  return bench_trace_stop (b->options->trace, &b->result->trace, ok ? error : NULL) && ok;
}

static double
process_peak_mib (void)
{
  struct rusage usage;

  getrusage (RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024.0;
}

gboolean
bench_measure (BenchResult *result, const BenchOptions *options, GError **error)
{
  Bench b = {options, result, NULL, NULL};
  gboolean ok;

  *result = (BenchResult){.options = options};
  ok = open_stream (&b, error) && make_videos (&b, error);
  if (ok) {
    lf_stream_get_stats (b.stream, &result->stats);
    ok = time_prompt (&b, error) && make_profile (&b, error) && make_trace (&b, error);
    b.model->backend->ops->get_memory (b.model->backend, &result->memory);
    result->process_mib = process_peak_mib ();
  }
  g_clear_pointer (&b.stream, lf_stream_free);
  g_clear_pointer (&b.model, lf_model_unref);
  return ok;
}
