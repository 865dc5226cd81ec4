/* lightforce-bench: what is measured
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>

#include "bench.h"
#include "core/randommodel.h"

/* Words as GOption hands them over; BenchOptions has their meanings. */
typedef struct
{
  char *precision, *residency, *attention, *kv_cache, *size;
} Words;

static void
words_clear (Words *words)
{
  g_free (words->precision);
  g_free (words->residency);
  g_free (words->attention);
  g_free (words->kv_cache);
  g_free (words->size);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Words, words_clear)

void
bench_options_clear (BenchOptions *options)
{
  g_free (options->model);
  g_free (options->decoder);
  g_free (options->backend);
  g_free (options->prompt);
  g_free (options->json);
  g_free (options->trace);
}

/* Sets `value` to the place of a word among `choices`; stays as it is where there is no word. */
static gboolean
choose (
    const char *option, const char *word, const char *const *choices, gint *value, GError **error)
{
  g_autofree char *all = NULL;
  gint i;

  if (!word)
    return TRUE;
  for (i = 0; choices[i]; i++) {
    if (g_str_equal (word, choices[i])) {
      *value = i;
      return TRUE;
    }
  }
  all = g_strjoinv (", ", (char **) choices);
  g_set_error (
      error, LF_ERROR, LF_ERROR_SETTINGS, "--%s is \"%s\"; choose one of: %s", option, word, all);
  return FALSE;
}

static gboolean
at_least (const char *option, gint value, gint least, GError **error)
{
  if (value >= least)
    return TRUE;
  g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "--%s is %d; it must be %d or more", option,
      value, least);
  return FALSE;
}

static gboolean
is_share (const char *option, double value, GError **error)
{
  if (value == -1 || (value >= 0 && value <= 1))
    return TRUE;
  g_set_error (
      error, LF_ERROR, LF_ERROR_SETTINGS, "--%s is %g; it must be from 0 to 1", option, value);
  return FALSE;
}

static gboolean
read_words (BenchOptions *o, const Words *words, GError **error)
{
  static const char *const precisions[] = {"auto", "fp32", "bf16", "fp8", NULL};
  static const char *const residencies[] = {"keep", "release", "cpu", NULL};
  static const char *const attentions[] = {"dense", "sparse", NULL};
  static const char *const caches[] = {"auto", "fp8", NULL};
  gint precision = LF_PRECISION_AUTO, residency = LF_TEXT_RESIDENCY_KEEP, n = 0;

  if (!choose ("precision", words->precision, precisions, &precision, error)
      || !choose ("text-encoder-residency", words->residency, residencies, &residency, error)
      || !choose ("attention", words->attention, attentions, &o->attention, error)
      || !choose ("kv-cache", words->kv_cache, caches, &o->cache_fp8, error))
    return FALSE;
  o->precision = precision;
  o->text_residency = residency;
  if (words->size
      && (sscanf (words->size, "%dx%d%n", &o->width, &o->height, &n) != 2 || words->size[n]
          || o->width < 1 || o->height < 1)) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        "--size is \"%s\"; WIDTHxHEIGHT belongs here, such as 768x512", words->size);
    return FALSE;
  }
  return TRUE;
}

static gboolean
check_numbers (const BenchOptions *o, GError **error)
{
  return at_least ("chunks", o->chunks, 1, error) && at_least ("videos", o->videos, 1, error)
         && at_least ("warm", o->warm, -1, error)
         && at_least ("warm-videos", o->warm_videos, -1, error)
         && at_least ("threads", o->threads, 0, error) && at_least ("tokens", o->tokens, 0, error)
         && at_least ("window", o->window, -2, error) && at_least ("sink", o->sink, -2, error)
         && is_share ("sparsity", o->sparsity, error) && is_share ("sparsity-base", o->base, error);
}

/* Words that stand for models and decoders. */
static gboolean
check_model (BenchOptions *o, GError **error)
{
  gboolean preset = o->model && g_strv_contains (lf_random_presets (), o->model);

  if (o->model && g_str_equal (o->model, "default"))
    g_clear_pointer (&o->model, g_free);
  if (preset && !o->random) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        "--model %s has no files here; add --random-weights to measure its shapes, or give the "
        "directory that its files are in",
        o->model);
    return FALSE;
  }
  if (o->decoder && g_str_equal (o->decoder, "none")) {
    o->no_decoder = TRUE;
    g_clear_pointer (&o->decoder, g_free);
    /* a stream has one, used or not: the smallest */
    if (preset)
      o->decoder = g_strdup ("tiny");
  }
  if (o->decoder && !o->random && g_strv_contains (lf_random_decoders (), o->decoder)) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        "--decoder %s has no file here; add --random-weights to measure its shapes, or give the "
        "file",
        o->decoder);
    return FALSE;
  }
  return TRUE;
}

/* The streams of a first video are cold: it does not count where there are others, and else its
 * first chunk does not. */
static void
choose_warm (BenchOptions *o)
{
  if (o->warm_videos < 0)
    o->warm_videos = o->videos > 1;
  if (o->warm < 0)
    o->warm = o->warm_videos == 0;
}

gboolean
bench_options_parse (BenchOptions *o, int *argc, char ***argv, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_auto (Words) words = {NULL};
  const GOptionEntry entries[] = {
      {"model", 0, 0, G_OPTION_ARG_FILENAME, &o->model,
          "file or directory; default, or with --random-weights wan-1.3b or wan-14b", "NAME"},
      {"random-weights", 0, 0, G_OPTION_ARG_NONE, &o->random,
          "the model's shapes with made-up weights", NULL},
      {"decoder", 0, 0, G_OPTION_ARG_FILENAME, &o->decoder,
          "another file; none; with --random-weights full, light or tiny", "NAME"},
      {"backend", 0, 0, G_OPTION_ARG_STRING, &o->backend, "auto, cpu or cuda", "NAME"},
      {"precision", 0, 0, G_OPTION_ARG_STRING, &words.precision, "auto, fp32, bf16 or fp8", "NAME"},
      {"text-encoder-residency", 0, 0, G_OPTION_ARG_STRING, &words.residency,
          "keep, release or cpu", "NAME"},
      {"size", 0, 0, G_OPTION_ARG_STRING, &words.size, "pixels (the model's)", "WxH"},
      {"prompt", 0, 0, G_OPTION_ARG_STRING, &o->prompt, "what is shown", "TEXT"},
      {"tokens", 0, 0, G_OPTION_ARG_INT, &o->tokens,
          "repeat the prompt's words until the text encoder sees as many (64 for made-up weights)",
          "N"},
      {"seed", 0, 0, G_OPTION_ARG_INT64, &o->seed, "of the noise (0)", "N"},
      {"chunks", 0, 0, G_OPTION_ARG_INT, &o->chunks, "chunks of a video (8)", "N"},
      {"videos", 0, 0, G_OPTION_ARG_INT, &o->videos, "videos that count (1)", "N"},
      {"warm-videos", 0, 0, G_OPTION_ARG_INT, &o->warm_videos,
          "videos before them that do not (1, or 0 where one counts)", "N"},
      {"warm", 0, 0, G_OPTION_ARG_INT, &o->warm,
          "first chunks of each left out of the rates (0, or 1 without warm videos)", "N"},
      {"threads", 0, 0, G_OPTION_ARG_INT, &o->threads, "CPU threads (one a core)", "N"},
      {"attention", 0, 0, G_OPTION_ARG_STRING, &words.attention, "sparse or dense (the model's)",
          "KIND"},
      {"sparsity", 0, 0, G_OPTION_ARG_DOUBLE, &o->sparsity, "0..1 (the model's)", "X"},
      {"sparsity-base", 0, 0, G_OPTION_ARG_DOUBLE, &o->base, "0..1 (the model's)", "X"},
      {"window", 0, 0, G_OPTION_ARG_INT, &o->window, "latent frames, -1: all (the model's)", "N"},
      {"sink", 0, 0, G_OPTION_ARG_INT, &o->sink, "latent frames (the model's)", "N"},
      {"relative", 0, 0, G_OPTION_ARG_NONE, &o->relative, "endless video", NULL},
      {"kv-cache", 0, 0, G_OPTION_ARG_STRING, &words.kv_cache, "auto or fp8", "NAME"},
      {"json", 0, 0, G_OPTION_ARG_FILENAME, &o->json, "write the figures here too", "FILE"},
      {"trace", 0, 0, G_OPTION_ARG_FILENAME, &o->trace,
          "record what the GPU does in one more video", "FILE"},
      {"version", 0, 0, G_OPTION_ARG_NONE, &o->version, "print the version and exit", NULL},
      G_OPTION_ENTRY_NULL,
  };

  *o = (BenchOptions){.attention = -1,
      .sparsity = -1,
      .base = -1,
      .window = -2,
      .sink = -2,
      .warm = -1,
      .warm_videos = -1,
      .chunks = 8,
      .videos = 1};
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context, "Measures how fast a model makes pictures.");
  if (!g_option_context_parse (context, argc, argv, error))
    return FALSE;
  if (*argc > 1) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        "\"%s\" is no option; see lightforce-bench --help", (*argv)[1]);
    return FALSE;
  }
  if (!read_words (o, &words, error) || !check_numbers (o, error) || !check_model (o, error))
    return FALSE;
  choose_warm (o);
  return TRUE;
}
