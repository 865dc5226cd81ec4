/* lightforce: tests of models and streams through the public API
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "stream-fixture.h"

static void
test_info (void)
{
  g_autoptr (LfModel) model = load ();
  const LfModelInfo *info = lf_model_get_info (model);

  g_assert_cmpstr (info->name, ==, "small-model");
  g_assert_cmpstr (info->backend, ==, "cpu");
  g_assert_cmpint (info->precision, ==, LF_PRECISION_FP32);
  g_assert_cmpint (info->width, ==, 96);
  g_assert_cmpint (info->height, ==, 64);
  g_assert_cmpint (info->fps_n, ==, 16);
  g_assert_cmpint (info->first_pictures, ==, 9);
  g_assert_cmpint (info->chunk_pictures, ==, 12);
  g_assert_true (info->has_text);
  g_assert_true (info->relative);
  g_assert_cmpuint (info->parameters, >, 100000);
}

static void
test_shared (void)
{
  g_autoptr (LfModel) a = load ();
  g_autoptr (LfModel) b = load ();
  LfModelOptions other = {.backend = "cpu", .decoder = model_path};
  g_autoptr (GError) error = NULL;
  g_autoptr (LfModel) c = NULL;

  g_assert_true (a == b);
  c = lf_model_load (model_path, &other, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (c != a);
}

static void
test_chunks (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) stream = NULL;
  LfStreamConfig config;
  LfStats stats;
  guint64 pictures = 0;
  gint i;

  lf_stream_config_init (&config, model);
  config.prompt = "a cube";
  config.seed = 3;
  stream = open_stream (model, &config);
  for (i = 0; i < 4; i++) {
    g_autoptr (LfChunk) chunk = next (stream);

    g_assert_cmpuint (chunk->index, ==, i);
    g_assert_cmpuint (chunk->first_picture, ==, pictures);
    g_assert_cmpint (chunk->n_pictures, ==, i ? 12 : 9);
    g_assert_cmpint (chunk->layout.width, ==, 96);
    g_assert_cmpint (chunk->layout.height, ==, 64);
    g_assert_cmpuint (chunk->seed, ==, 3);
    g_assert_cmpint (chunk->data[3], ==, 255);
    if (i)
      g_assert_cmpfloat (chunk->sparsity, >, 0.3);
    else
      g_assert_cmpfloat (chunk->sparsity, ==, 0);
    pictures += chunk->n_pictures;
  }
  lf_stream_get_stats (stream, &stats);
  g_assert_cmpuint (stats.chunks, ==, 4);
  g_assert_cmpuint (stats.pictures, ==, pictures);
  g_assert_cmpint (stats.generate_us, >, 0);
  g_assert_cmpint (stats.decode_us, >, 0);
}

/* Same seed, same pictures, whatever the number of threads; another seed or prompt, others. */
static void
test_reproducible (void)
{
  g_autoptr (LfModel) model = load ();
  static const struct
  {
    const char *prompt;
    guint64 seed;
    gint threads;
    gboolean same;
  } cases[] = {{"a cube", 5, 1, TRUE}, {"a cube", 5, 3, TRUE}, {"a cube", 6, 1, FALSE},
      {"a ring", 5, 1, FALSE}, {"  a \n cube&#32;", 5, 2, TRUE}};
  g_autofree char *first = NULL;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (LfStream) stream = NULL;
    g_autofree char *sum = NULL;
    LfStreamConfig config;

    lf_stream_config_init (&config, model);
    config.prompt = cases[i].prompt;
    config.seed = cases[i].seed;
    config.threads = cases[i].threads;
    stream = open_stream (model, &config);
    lf_chunk_unref (next (stream));
    sum = next_checksum (stream);
    if (!first)
      first = g_steal_pointer (&sum);
    else if (cases[i].same)
      g_assert_cmpstr (sum, ==, first);
    else
      assert_differ (sum, first);
  }
}

static void
test_restart (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) stream = NULL;
  g_autofree char *a0 = NULL, *a1 = NULL, *b0 = NULL, *b1 = NULL, *c0 = NULL;
  LfStreamConfig config;

  lf_stream_config_init (&config, model);
  config.seed = 1;
  stream = open_stream (model, &config);
  a0 = next_checksum (stream);
  a1 = next_checksum (stream);
  lf_stream_restart (stream, 2);
  c0 = next_checksum (stream);
  assert_differ (c0, a0);
  lf_stream_restart (stream, 1);
  b0 = next_checksum (stream);
  b1 = next_checksum (stream);
  g_assert_cmpstr (b0, ==, a0);
  g_assert_cmpstr (b1, ==, a1);
}

/* A restart on the way from one prompt to the next, before a step of it, after one or in the middle of
 * a chunk: from the first chunk on, the video of the new prompt. */
static void
test_restart_in_blend (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) plain = NULL;
  char *sums[4];
  LfStreamConfig config;
  gint i, steps;

  lf_stream_config_init (&config, model);
  config.prompt = "a blue ring at night, seen from far away";
  config.seed = 3;
  plain = open_stream (model, &config);
  for (i = 0; i < 4; i++)
    sums[i] = next_checksum (plain);
  config.prompt_switch = LF_PROMPT_SWITCH_BLEND;
  config.blend_chunks = 3;
  for (steps = 0; steps < 5; steps++) {
    g_autoptr (LfStream) stream = NULL;
    g_autoptr (GCancellable) cancelled = g_cancellable_new ();
    g_autoptr (GError) error = NULL;

    config.prompt = "a red cube";
    stream = open_stream (model, &config);
    lf_chunk_unref (next (stream));
    g_assert_true (
        lf_stream_set_prompt (stream, "a blue ring at night, seen from far away", NULL, &error));
    for (i = 0; i < steps % 4; i++)
      lf_chunk_unref (next (stream));
    if (steps == 4) { /* after the first step, which is of a chunk that never was */
      g_cancellable_cancel (cancelled);
      g_assert_true (lf_stream_settle (stream, NULL, &error));
      g_assert_null (lf_stream_next (stream, cancelled, &error));
      g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    }
    lf_stream_restart (stream, 3);
    for (i = 0; i < 4; i++) {
      g_autofree char *sum = next_checksum (stream);

      g_assert_cmpstr (sum, ==, sums[i]);
    }
  }
  for (i = 0; i < 4; i++)
    g_free (sums[i]);
}

/* A changed prompt changes later chunks, each way in its own manner; earlier ones stay. */
static void
test_prompt_switch (void)
{
  static const LfPromptSwitch ways[] = {
      LF_PROMPT_SWITCH_CUT, LF_PROMPT_SWITCH_RECACHE, LF_PROMPT_SWITCH_BLEND};
  g_autoptr (LfModel) model = load ();
  char *sums[4][5];
  guint way, i, j;

  for (way = 0; way < 4; way++) {
    g_autoptr (LfStream) stream = NULL;
    g_autoptr (GError) error = NULL;
    LfStreamConfig config;

    lf_stream_config_init (&config, model);
    config.prompt = "a red cube";
    config.prompt_switch = way < 3 ? ways[way] : LF_PROMPT_SWITCH_CUT;
    config.blend_chunks = 2;
    stream = open_stream (model, &config);
    for (i = 0; i < 5; i++) {
      g_autoptr (LfChunk) chunk = NULL;

      if (i == 2 && way < 3) {
        g_assert_true (lf_stream_set_prompt (stream, "a blue ring at night", NULL, &error));
        g_assert_no_error (error);
      }
      chunk = next (stream);
      g_assert_cmpuint (chunk->prompt_serial, ==, i >= 2 && way < 3);
      sums[way][i] = checksum (chunk);
    }
  }
  for (way = 0; way < 3; way++) {
    g_assert_cmpstr (sums[way][0], ==, sums[3][0]);
    g_assert_cmpstr (sums[way][1], ==, sums[3][1]);
    for (i = 2; i < 5; i++) {
      assert_differ (sums[way][i], sums[3][i]);
      for (j = 0; j < way; j++)
        assert_differ (sums[way][i], sums[j][i]);
    }
  }
  for (way = 0; way < 4; way++)
    for (i = 0; i < 5; i++)
      g_free (sums[way][i]);
}

/* Recaching with the prompt that the cache was made with changes next to nothing: keys and
 * values come out as they were, but for the selection of blocks, which is dense then. */
static void
test_recache_same_prompt (void)
{
  g_autoptr (LfModel) model = load ();
  LfStreamConfig config;
  gint pass;
  LfChunk *chunks[2];

  lf_stream_config_init (&config, model);
  config.prompt = "a red cube";
  config.sparse.enabled = FALSE;
  config.window = 30;
  config.recache_sink = TRUE;
  config.prompt_switch = LF_PROMPT_SWITCH_RECACHE;
  for (pass = 0; pass < 2; pass++) {
    g_autoptr (LfStream) stream = open_stream (model, &config);
    gint i;

    for (i = 0; i < 3; i++)
      lf_chunk_unref (next (stream));
    if (pass)
      g_assert_true (lf_stream_set_prompt (stream, "a red cube", NULL, NULL));
    chunks[pass] = next (stream);
  }
  {
    gsize bytes = chunks[0]->layout.size * chunks[0]->n_pictures, i;
    gint worst = 0;

    for (i = 0; i < bytes; i++)
      worst = MAX (worst, ABS (chunks[0]->data[i] - chunks[1]->data[i]));
    g_assert_cmpint (worst, <=, 1);
  }
  lf_chunk_unref (chunks[0]);
  lf_chunk_unref (chunks[1]);
}

static void
cancel_after_first_progress (const char *stage, double fraction, gpointer data)
{
  g_assert_cmpfloat (fraction, >=, 0);
  g_assert_cmpfloat (fraction, <=, 1);
  g_cancellable_cancel (data);
}

static void
test_cancel (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  LfModelOptions options = {.backend = "cpu"};
  g_autoptr (LfModel) model = NULL;
  g_autoptr (LfStream) stream = NULL;
  char *plain[3];
  LfStreamConfig config;
  gint i, cancelled = 0;

  /* loading */
  g_assert_null (lf_model_load (
      model_path, &options, cancellable, cancel_after_first_progress, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);

  /* in mid-chunk: what comes after is as if nothing had been */
  model = load ();
  lf_stream_config_init (&config, model);
  stream = open_stream (model, &config);
  for (i = 0; i < 3; i++)
    plain[i] = next_checksum (stream);
  lf_stream_restart (stream, 0);
  for (i = 0; i < 3; i++) {
    g_autofree char *sum = NULL;
    gint tries;

    for (tries = 0; tries < 5; tries++) {
      g_autoptr (GCancellable) c = g_cancellable_new ();
      GThread *thread = g_thread_new ("cancel", cancel_soon, c);
      LfChunk *chunk = lf_stream_next (stream, c, &error);

      g_thread_join (thread);
      if (chunk) {
        sum = checksum (chunk);
        lf_chunk_unref (chunk);
        break;
      }
      g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
      g_clear_error (&error);
      cancelled++;
    }
    if (!sum)
      sum = next_checksum (stream);
    g_assert_cmpstr (sum, ==, plain[i]);
  }
  g_test_message ("%d cancelled calls", cancelled);
  for (i = 0; i < 3; i++)
    g_free (plain[i]);
}

static void
test_long_stream (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) stream = NULL;
  LfStreamConfig config;
  LfStats early, late;
  gint i;

  lf_stream_config_init (&config, model);
  stream = open_stream (model, &config);
  for (i = 0; i < 40; i++) {
    g_autoptr (LfChunk) chunk = next (stream);

    if (i == 4)
      lf_stream_get_stats (stream, &early);
    if (i > 4)
      g_assert_cmpfloat (chunk->sparsity, <, 0.6);
  }
  lf_stream_get_stats (stream, &late);
  g_assert_cmpuint (late.state_bytes, ==, early.state_bytes);
  g_assert_cmpuint (late.scratch_bytes, ==, early.scratch_bytes);
}

/* A cache without a window grows past its first reserve and goes on unharmed. */
static void
test_no_window (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) grown = NULL, windowed = NULL;
  LfStreamConfig config;
  gint i;

  lf_stream_config_init (&config, model);
  config.relative = FALSE;
  config.sparse.enabled = TRUE;
  config.window = -1;
  grown = open_stream (model, &config);
  /* the same curve of sparsity needs the same window: one that never fills */
  config.window = 63;
  windowed = open_stream (model, &config);
  for (i = 0; i < 9; i++) {
    g_autofree char *a = next_checksum (grown), *b = next_checksum (windowed);

    g_assert_cmpstr (a, ==, b);
  }
}

static void
test_set_sparse (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) stream = NULL;
  g_autoptr (GError) error = NULL;
  LfStreamConfig config;
  LfSparse sparse;
  gint i;

  lf_stream_config_init (&config, model);
  config.sparse.enabled = FALSE;
  stream = open_stream (model, &config);
  sparse = config.sparse;
  for (i = 0; i < 6; i++) {
    g_autoptr (LfChunk) chunk = NULL;

    if (i == 2 || i == 4) {
      sparse.enabled = i == 2;
      g_assert_true (lf_stream_set_sparse (stream, &sparse, &error));
    }
    chunk = next (stream);
    g_assert_true ((chunk->sparsity > 0) == (i == 2 || i == 3));
  }
  sparse.enabled = TRUE;
  sparse.target = 1.5;
  g_assert_false (lf_stream_set_sparse (stream, &sparse, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
  lf_chunk_unref (next (stream));
}

/* What a probe finds is what the settings allow: the budget, the first and the latest frame, and no
 * more past frames than are kept. The pictures do not depend on it. */
static void
test_probe (void)
{
  g_autoptr (LfModel) model = load ();
  const LfModelInfo *info = lf_model_get_info (model);
  g_autoptr (LfStream) stream = NULL, plain = NULL;
  g_autoptr (GError) error = NULL;
  LfStreamConfig config;
  gint i, j;

  g_assert_cmpint (info->layers, ==, 2);
  g_assert_cmpint (info->heads, ==, 1);
  lf_stream_config_init (&config, model);
  config.sparse.target = config.sparse.base = 0.5;
  plain = open_stream (model, &config);
  stream = open_stream (model, &config);
  g_assert_true (lf_stream_set_probe (stream, 1, 0, &error));
  for (i = 0; i < 6; i++) {
    g_autoptr (LfChunk) chunk = next (stream), other = next (plain);
    const LfSelection *s = chunk->selection;
    g_autofree char *a = checksum (chunk), *b = checksum (other);
    gint past = MIN (3 * i, 6), kept = 0;
    double sum = 0;

    g_assert_cmpstr (a, ==, b);
    g_assert_null (other->selection);
    if (i == 0) { /* it has no past, and is dense */
      g_assert_null (s);
      continue;
    }
    g_assert_cmpint (s->layer, ==, 1);
    g_assert_cmpint (s->head, ==, 0);
    g_assert_cmpint (s->n_past, ==, past);
    g_assert_cmpint (s->n_frames, ==, past + 3);
    for (j = 0; j < s->n_frames; j++) {
      g_assert_cmpint (s->frames[j], ==, j == 0 ? 0 : 3 * i + 3 - s->n_frames + j);
      g_assert_cmpfloat (s->shares[j], >=, 0);
      g_assert_cmpfloat (s->shares[j], <=, 1);
      sum += s->shares[j];
      kept += j < past && s->shares[j] > 0;
    }
    /* 24 tokens of a frame are 3 key blocks */
    g_assert_cmpfloat_with_epsilon (sum * 3, floor (0.5 * s->n_frames * 3), 1e-4);
    g_assert_cmpint (kept, >=, 1);
  }
  g_assert_true (lf_stream_set_probe (stream, -1, 0, &error));
  {
    g_autoptr (LfChunk) chunk = next (stream);

    g_assert_null (chunk->selection);
  }
  g_assert_false (lf_stream_set_probe (stream, 2, 0, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
  g_clear_error (&error);
  g_assert_false (lf_stream_set_probe (stream, 0, 1, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
}

/* Wherever the text encoder is, the pictures are the same; away from the backend, it leaves its
 * memory to others. */
static void
test_text_residency (void)
{
  static const LfTextResidency ways[] = {
      LF_TEXT_RESIDENCY_KEEP, LF_TEXT_RESIDENCY_RELEASE, LF_TEXT_RESIDENCY_CPU};
  char *first[2] = {NULL, NULL};
  gsize kept = 0;
  guint64 parameters = 0;
  guint way, i;

  for (way = 0; way < G_N_ELEMENTS (ways); way++) {
    LfModelOptions options = {.backend = "cpu", .text_residency = ways[way]};
    g_autoptr (GError) error = NULL;
    g_autoptr (GCancellable) cancellable = g_cancellable_new ();
    g_autoptr (LfModel) model = lf_model_load (model_path, &options, NULL, NULL, NULL, &error);
    g_autoptr (LfModel) other = load ();
    g_autoptr (LfStream) stream = NULL;
    LfStreamConfig config;
    LfStats stats;

    g_assert_no_error (error);
    g_assert_true ((model == other) == (way == 0));
    lf_stream_config_init (&config, model);
    config.prompt = "a red cube";
    stream = open_stream (model, &config);
    lf_stream_get_stats (stream, &stats);
    if (!way) {
      kept = stats.weights_bytes;
      parameters = lf_model_get_info (model)->parameters;
    }
    g_assert_true (lf_model_get_info (model)->has_text);
    g_assert_cmpuint (lf_model_get_info (model)->parameters, ==, parameters);
    if (way)
      g_assert_cmpuint (stats.weights_bytes, <, kept);
    for (i = 0; i < 2; i++) {
      g_autofree char *sum = NULL;

      if (i) {
        /* a prompt that nobody waits for any more, one that cannot be read, and one that can */
        g_cancellable_cancel (cancellable);
        g_assert_false (lf_stream_set_prompt (stream, "a star", cancellable, &error));
        g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
        g_clear_error (&error);
        g_assert_false (lf_stream_set_prompt (stream, "\xc3\x28", NULL, &error));
        g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
        g_clear_error (&error);
        g_assert_true (lf_stream_set_prompt (stream, "a blue ring", NULL, &error));
      }
      sum = next_checksum (stream);
      if (way)
        g_assert_cmpstr (sum, ==, first[i]);
      else
        first[i] = g_steal_pointer (&sum);
    }
    g_clear_pointer (&stream, lf_stream_free);
  }
  g_free (first[0]);
  g_free (first[1]);
}

/* The element's kv-cache=fp8: other pictures, less memory. */
static void
test_cache_fp8 (void)
{
  g_autoptr (LfModel) model = load ();
  g_autofree char *plain = NULL;
  LfStreamConfig config;
  LfStats stats[2];
  gint fp8, i;

  lf_stream_config_init (&config, model);
  for (fp8 = 0; fp8 < 2; fp8++) {
    g_autoptr (LfStream) stream = NULL;
    g_autofree char *sum = NULL;

    config.cache_fp8 = fp8;
    stream = open_stream (model, &config);
    lf_stream_get_stats (stream, &stats[fp8]);
    for (i = 0; i < 6; i++) {
      g_free (sum);
      sum = next_checksum (stream);
    }
    if (fp8)
      assert_differ (sum, plain);
    else
      plain = g_steal_pointer (&sum);
  }
  g_assert_cmpuint (stats[1].state_bytes, <, stats[0].state_bytes);
}

static void
test_bad_settings (void)
{
  g_autoptr (LfModel) model = load ();
  LfModelOptions options = {.backend = "abacus"};
  LfModelOptions sixteen = {.backend = "cpu", .precision = LF_PRECISION_BF16};
  LfModelOptions half = {.precision = LF_PRECISION_FP16};
  g_autoptr (GError) error = NULL;
  LfStreamConfig config;

#define REFUSED(member, value, word)                                                               \
  lf_stream_config_init (&config, model);                                                          \
  config.member = value;                                                                           \
  g_assert_null (lf_stream_new (model, &config, NULL, &error));                                    \
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);                                             \
  g_assert_nonnull (strstr (error->message, word));                                                \
  g_assert_null (strchr (error->message, '\n'));                                                   \
  g_clear_error (&error)
  REFUSED (width, 97, "width");
  REFUSED (width, -16, "width");
  REFUSED (height, 1 << 20, "height");
  REFUSED (window, 3, "window");
  REFUSED (window, 0, "window");
  REFUSED (window, -1, "window"); /* relative mode needs one */
  REFUSED (window, G_MAXINT, "window");
  REFUSED (sink, -1, "sink");
  REFUSED (sink, G_MAXINT, "sink");
  REFUSED (sparse.target, 2, "sparsity");
  REFUSED (prompt, "\xff\xfe", "prompt");
#undef REFUSED
  g_assert_null (lf_model_load (model_path, &options, NULL, NULL, NULL, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_BACKEND);
  g_assert_nonnull (strstr (error->message, "abacus"));
  g_clear_error (&error);
  g_assert_null (lf_model_load (model_path, &sixteen, NULL, NULL, NULL, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "precision"));
  g_clear_error (&error);
  g_assert_null (lf_model_load (model_path, &half, NULL, NULL, NULL, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "fp16"));
  g_assert_nonnull (strstr (error->message, "choose"));
  g_clear_error (&error);
  g_assert_null (lf_model_load ("/nonexistent/model", NULL, NULL, NULL, NULL, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (error->message, "/nonexistent/model"));
}

/* A prompt that cannot be read, or that nobody waits for, leaves the stream as it was, on its way
 * to another text, too. */
static void
test_bad_prompt (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (LfStream) stream = NULL, plain = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  LfStreamConfig config;
  gint i;

  g_cancellable_cancel (cancellable);
  lf_stream_config_init (&config, model);
  config.prompt = "a star";
  config.prompt_switch = LF_PROMPT_SWITCH_BLEND;
  config.blend_chunks = 3;
  stream = open_stream (model, &config);
  plain = open_stream (model, &config);
  for (i = 0; i < 6; i++) {
    g_autofree char *a = NULL, *b = NULL;

    if (i == 1) {
      g_assert_true (lf_stream_set_prompt (stream, "a blue ring", NULL, NULL));
      g_assert_true (lf_stream_set_prompt (plain, "a blue ring", NULL, NULL));
    }
    g_assert_false (lf_stream_set_prompt (stream, "\xc3\x28", NULL, &error));
    g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
    g_clear_error (&error);
    g_assert_false (lf_stream_set_prompt (stream, "a red cube", cancellable, &error));
    g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    g_clear_error (&error);
    a = next_checksum (stream);
    b = next_checksum (plain);
    g_assert_cmpstr (a, ==, b);
  }
}

/* The published directory layout loads, but its parts belong to different models. */
static void
test_mismatched_parts (void)
{
  g_autofree char *path = g_build_filename (g_getenv ("LF_GOLDEN_DATA"), "torch", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (LfModel) model = lf_model_load (path, NULL, NULL, NULL, NULL, &error);
  LfStreamConfig config;

  g_assert_no_error (error);
  lf_stream_config_init (&config, model);
  g_assert_null (lf_stream_new (model, &config, NULL, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL);
  g_assert_nonnull (strstr (error->message, "Wan2.1_VAE.pth"));
  g_assert_nonnull (strstr (error->message, "short_video_gen.pt"));
}

int
main (int argc, char **argv)
{
  init_stream_tests (&argc, &argv);
  g_test_add_func ("/model/info", test_info);
  g_test_add_func ("/model/shared", test_shared);
  g_test_add_func ("/model/mismatched-parts", test_mismatched_parts);
  g_test_add_func ("/stream/chunks", test_chunks);
  g_test_add_func ("/stream/reproducible", test_reproducible);
  g_test_add_func ("/stream/restart", test_restart);
  g_test_add_func ("/stream/restart-in-blend", test_restart_in_blend);
  g_test_add_func ("/stream/prompt-switch", test_prompt_switch);
  g_test_add_func ("/stream/recache-same-prompt", test_recache_same_prompt);
  g_test_add_func ("/stream/cancel", test_cancel);
  g_test_add_func ("/stream/long", test_long_stream);
  g_test_add_func ("/stream/no-window", test_no_window);
  g_test_add_func ("/stream/set-sparse", test_set_sparse);
  g_test_add_func ("/stream/probe", test_probe);
  g_test_add_func ("/stream/text-residency", test_text_residency);
  g_test_add_func ("/stream/cache-fp8", test_cache_fp8);
  g_test_add_func ("/stream/bad-settings", test_bad_settings);
  g_test_add_func ("/stream/bad-prompt", test_bad_prompt);
  return run_stream_tests ();
}
