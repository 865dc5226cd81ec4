/* lightforce: tests of 8-bit floats: values, weights, the cache; and of what backends measure
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "core/sampler.h"
#include "core/sparsity.h"
#include "tests/unit/cpu-fixture.h"

static double
relative_error (const float *x, const float *expected, gsize count)
{
  double difference = 0, norm = 0;
  gsize i;

  for (i = 0; i < count; i++) {
    difference += ((double) x[i] - expected[i]) * ((double) x[i] - expected[i]);
    norm += (double) expected[i] * expected[i];
  }
  return sqrt (difference / norm);
}

static float *
random_floats (GRand *rand, gsize count)
{
  float *x = g_new (float, count);
  gsize i;

  for (i = 0; i < count; i++)
    x[i] = g_rand_double_range (rand, -1, 1) * exp (g_rand_double_range (rand, -4, 4));
  return x;
}

/* ------------------------------------------------------------------ values */

/* Every value of the type comes back as it was, and what lies halfway goes to the even one. */
static void
test_values (void)
{
  Fixture f = open_cpu (1);
  guint8 codes[126], out[127];
  float values[127], between[127], scale;
  gint i;

  for (i = 0; i < 126; i++)
    codes[i] = i;
  lf_dtype_convert (values, LF_DTYPE_F32, codes, LF_DTYPE_F8_E4M3, 126);
  values[126] = 448;
  f.be->ops->quantize (f.q, out, &scale, values, LF_DTYPE_F32, 1, 127);
  g_assert_cmpfloat (scale, ==, 1);
  for (i = 0; i < 127; i++)
    g_assert_cmpint (out[i], ==, i);
  for (i = 0; i < 127; i++)
    between[i] = i < 126 ? -(values[i] + values[i + 1]) / 2 : -448;
  f.be->ops->quantize (f.q, out, &scale, between, LF_DTYPE_F32, 1, 127);
  g_assert_cmpfloat (scale, ==, 1);
  for (i = 0; i < 126; i++)
    g_assert_cmpint (out[i], ==, 128 + (i + 1) / 2 * 2);
  close_cpu (&f);
}

/* Each row has a scale of its own; rows of zeros have 1, and 16 bits go in, too. */
static void
test_quantize (void)
{
  enum
  {
    ROWS = 37,
    N = 83
  };
  Fixture f = open_cpu (3);
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  g_autofree float *x = random_floats (rand, ROWS * N), *y = g_new (float, ROWS *N);
  g_autofree guint16 *half = g_new (guint16, ROWS * N);
  g_autofree guint8 *codes = g_new (guint8, ROWS * N), *again = g_new (guint8, ROWS * N);
  float scales[ROWS];
  gint i, j;

  memset (x + 5 * N, 0, N * sizeof (float));
  x[6 * N] = 1e-42f;
  memset (x + 6 * N + 1, 0, (N - 1) * sizeof (float));
  lf_dtype_convert (half, LF_DTYPE_BF16, x, LF_DTYPE_F32, ROWS * N);
  lf_dtype_convert (x, LF_DTYPE_F32, half, LF_DTYPE_BF16, ROWS * N);
  f.be->ops->quantize (f.q, codes, scales, x, LF_DTYPE_F32, ROWS, N);
  f.be->ops->quantize (f.q, again, scales, half, LF_DTYPE_BF16, ROWS, N);
  g_assert_cmpmem (codes, ROWS * N, again, ROWS * N);
  lf_dtype_convert (y, LF_DTYPE_F32, codes, LF_DTYPE_F8_E4M3, ROWS * N);
  g_assert_cmpfloat (scales[5], ==, 1);
  g_assert_cmpfloat (scales[6], ==, 1);
  for (i = 0; i < ROWS; i++)
    for (j = 0; j < N; j++) {
      float v = x[i * N + j], r = y[i * N + j] * scales[i];

      /* four bits hold a value to 1/16 of it; the smallest ones to half a step of 2^-9 */
      g_assert_cmpfloat (fabsf (r - v), <=, MAX (fabsf (v) / 16, scales[i] * 0x1p-10f) * 1.0001f);
    }
  close_cpu (&f);
}

static void
test_linear (void)
{
  enum
  {
    ROWS = 19,
    N_IN = 80,
    N_OUT = 144
  };
  Fixture f = open_cpu (2);
  g_autoptr (GRand) rand = g_rand_new_with_seed (2);
  g_autofree float *x = random_floats (rand, ROWS * N_IN), *w = random_floats (rand, N_OUT * N_IN);
  g_autofree float *bias = random_floats (rand, N_OUT), *y = g_new (float, ROWS *N_OUT);
  g_autofree float *expected = g_new (float, ROWS *N_OUT);
  g_autofree guint8 *w8 = g_new (guint8, N_OUT * N_IN), *x8 = g_new (guint8, ROWS * N_IN);
  guint8 y8[ROWS * N_OUT], codes[ROWS * N_OUT];
  float w_scale[N_OUT], x_scale[ROWS], given[ROWS * N_OUT], y_scale[ROWS], scales[ROWS];
  LfLinear layer = {LF_DTYPE_F8_E4M3, w8, w_scale, bias, N_OUT, N_IN};
  gint i, j, k;

  f.be->ops->quantize (f.q, w8, w_scale, w, LF_DTYPE_F32, N_OUT, N_IN);
  f.be->ops->quantize (f.q, x8, x_scale, x, LF_DTYPE_F32, ROWS, N_IN);
  f.be->ops->linear (f.q, &layer, y, N_OUT, x, NULL, ROWS, LF_EPILOGUE_NONE, NULL);
  /* the same from what is in FP8 already */
  f.be->ops->linear (f.q, &layer, given, N_OUT, x8, x_scale, ROWS, LF_EPILOGUE_NONE, NULL);
  g_assert_cmpmem (given, sizeof (given), y, sizeof (given));
  /* out in FP8: what quantize makes of the result */
  f.be->ops->linear (f.q, &layer, given, N_OUT, x8, x_scale, ROWS, LF_EPILOGUE_GELU, NULL);
  f.be->ops->quantize (f.q, codes, scales, given, LF_DTYPE_F32, ROWS, N_OUT);
  f.be->ops->linear_to_fp8 (f.q, &layer, y8, y_scale, x8, x_scale, ROWS, LF_EPILOGUE_GELU);
  g_assert_cmpmem (y8, sizeof (y8), codes, sizeof (codes));
  g_assert_cmpmem (y_scale, sizeof (y_scale), scales, sizeof (scales));
  f.be->ops->linear_to_fp8 (f.q, &layer, y8, y_scale, x, NULL, ROWS, LF_EPILOGUE_GELU);
  g_assert_cmpmem (y8, sizeof (y8), codes, sizeof (codes));
  lf_dtype_convert (w, LF_DTYPE_F32, w8, LF_DTYPE_F8_E4M3, N_OUT * N_IN);
  lf_dtype_convert (x, LF_DTYPE_F32, x8, LF_DTYPE_F8_E4M3, ROWS * N_IN);
  for (i = 0; i < ROWS; i++)
    for (j = 0; j < N_OUT; j++) {
      double sum = 0;

      for (k = 0; k < N_IN; k++)
        sum += (double) x[i * N_IN + k] * w[j * N_IN + k];
      expected[i * N_OUT + j] = sum * x_scale[i] * w_scale[j] + bias[j];
    }
  g_assert_cmpfloat (relative_error (y, expected, ROWS * N_OUT), <, 1e-6);
  close_cpu (&f);
}

static void
test_frames (void)
{
  enum
  {
    N = 7,
    HEADS = 3,
    D = 10,
    FRAME = N * HEADS * D
  };
  static const gint32 slots[] = {4, 0, 2};
  Fixture f = open_cpu (2);
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);
  g_autofree float *x = random_floats (rand, 3 * FRAME), *y = g_new0 (float, 3 * FRAME);
  guint8 cache[5 * FRAME];
  float scales[5 * N * HEADS];
  gint i;

  memset (cache, 0xaa, sizeof (cache));
  f.be->ops->compress_frames (f.q, cache, scales, x, slots, 3, N, HEADS, D);
  f.be->ops->expand_frames (f.q, y, cache, scales, slots, 3, N, HEADS, D);
  for (i = 0; i < 3 * FRAME; i++)
    g_assert_cmpfloat (fabsf (y[i] - x[i]), <=,
        MAX (fabsf (x[i]) / 16, scales[slots[i / FRAME] * N * HEADS + i % FRAME / D] * 0x1p-10f)
            * 1.0001f);
  for (i = 0; i < FRAME; i++) {
    g_assert_cmpint (cache[FRAME + i], ==, 0xaa);
    g_assert_cmpint (cache[3 * FRAME + i], ==, 0xaa);
  }
  close_cpu (&f);
}

/* ------------------------------------------------------------------ models */

/* The small model's transformer, and a stream's part of it. */
typedef struct
{
  Fixture f;
  LfModelFiles *files;
  LfTransformer *transformer;
  LfTransformerState *state;
  LfSampler *sampler;
  gint chunk;
} Model;

typedef struct
{
  LfPrecision precision;
  gboolean relative, sparse, cache_fp8;
  gint window;
} Way;

static void
open_model (Model *m, const Way *way)
{
  g_autofree char *path =
      g_build_filename (g_getenv ("LF_TEST_DATA"), "small-model.safetensors", NULL);
  g_autoptr (GError) error = NULL;
  g_autofree float *text = NULL;
  const LfModelConfig *config;
  double timesteps[LF_MAX_STEPS + 1];
  LfTransformerShape shape = {.height = 4,
      .width = 6,
      .max_frames = 3,
      .window = way->window,
      .sink = 1,
      .relative = way->relative,
      .cache_fp8 = way->cache_fp8,
      .timesteps = timesteps};
  LfLoader loader;
  gint i, count;

  memset (m, 0, sizeof (*m));
  m->f = open_cpu (2);
  /* what a GPU would do: the backend has everything for it */
  m->f.be->precision = way->precision;
  m->files = lf_model_files_open (path, NULL, &error);
  g_assert_no_error (error);
  loader = lf_loader_make (m->files, LF_PART_TRANSFORMER, m->f.be, m->f.q);
  m->transformer = lf_transformer_load (&loader, &error);
  g_assert_no_error (error);
  config = lf_model_files_get_config (m->files);
  lf_sampler_timesteps (config, timesteps);
  shape.n_timesteps = config->n_steps + 1;
  shape.sparse = config->sparse;
  shape.sparse.enabled = way->sparse;
  m->state = lf_transformer_state_new (m->transformer, m->f.q, &shape, &error);
  g_assert_no_error (error);
  m->sampler = lf_sampler_new (m->state, config, &error);
  g_assert_no_error (error);
  count = 5 * config->transformer.text_dim;
  text = g_new (float, count);
  for (i = 0; i < count; i++)
    text[i] = sinf (i);
  lf_transformer_set_text (m->state, text, 5);
}

static void
close_model (Model *m)
{
  LfMemory memory;

  lf_sampler_free (m->sampler);
  lf_transformer_state_free (m->state);
  lf_transformer_free (m->transformer);
  lf_model_files_close (m->files);
  m->f.be->ops->get_memory (m->f.be, &memory);
  g_assert_cmpuint (memory.used, ==, 0);
  g_assert_cmpuint (memory.peak, >, 0);
  close_cpu (&m->f);
}

static void
noise (gpointer user_data, gint step, float *y, gsize count)
{
  Model *m = user_data;

  m->f.be->ops->noise (m->f.q, y, count, 1, m->chunk, step);
}

/* The latents of the next chunk; valid until the one after it. */
static const float *
make_chunk (Model *m, gboolean recache)
{
  const LfSparse *sparse = &m->state->sparse;
  g_autoptr (GError) error = NULL;

  g_assert_true (lf_transformer_begin (m->state, 3, &error));
  m->state->sparsity = !sparse->enabled ? 0
                                        : lf_chunk_sparsity (m->chunk, 3, sparse->total_frames,
                                            sparse->target, sparse->base, m->state->cache->window);
  if (recache)
    g_assert_true (lf_transformer_recache (m->state, TRUE, NULL));
  g_assert_true (lf_sampler_chunk (m->sampler, 0, noise, m, NULL));
  g_assert_true (lf_sampler_commit (m->sampler, NULL));
  m->chunk++;
  return m->sampler->clean;
}

/* Makes the same chunks both ways; the largest difference of one of them. */
static double
compare_ways (const Way *a, const Way *b, gint chunks, gint recache_at)
{
  double worst = 0;
  Model one, other;
  gint i;

  open_model (&one, a);
  open_model (&other, b);
  for (i = 0; i < chunks; i++) {
    const float *expected = make_chunk (&one, i == recache_at);
    const float *x = make_chunk (&other, i == recache_at);
    double e = relative_error (x, expected, 3 * one.state->cache->latent_floats);

    g_test_message ("chunk %d: %.3g", i, e);
    worst = MAX (worst, e);
  }
  close_model (&one);
  close_model (&other);
  return worst;
}

static void
test_cache (void)
{
  gint i;

  for (i = 0; i < 8; i++) {
    Way plain = {LF_PRECISION_FP32, i & 1, i & 2, FALSE, i & 1 ? 9 : i & 4 ? -1 : 12};
    Way fp8 = plain;
    double e;

    fp8.cache_fp8 = TRUE;
    /* A value of e4m3 is off by 2.5 % (root mean square). Attention averages hundreds of them,
     * and adds a part of a layer's output: less than 1 % arrives. Sparse attention goes on to
     * pick another block here and there where scores are close. */
    e = compare_ways (&plain, &fp8, 9, i & 4 ? 5 : -1);
    g_test_message ("%s, %s, window %d: %.3g", plain.relative ? "relative" : "short",
        plain.sparse ? "sparse" : "dense", plain.window, e);
    g_assert_cmpfloat (e, >, 0);
    g_assert_cmpfloat (e, <, plain.sparse ? 0.03 : 0.01);
  }
}

static gsize
cache_bytes (const Way *way)
{
  Model m;
  gsize bytes;

  open_model (&m, way);
  bytes = m.state->cache->bytes;
  close_model (&m);
  return bytes;
}

static void
test_cache_bytes (void)
{
  Way plain = {LF_PRECISION_FP32, FALSE, FALSE, FALSE, 9};
  Way fp8 = {LF_PRECISION_FP32, FALSE, FALSE, TRUE, 9};

  g_assert_cmpuint (cache_bytes (&fp8), <, cache_bytes (&plain));
  plain.relative = fp8.relative = TRUE;
  g_assert_cmpuint (cache_bytes (&fp8), <, cache_bytes (&plain));
}

/* Keys and values come back as they were written: with the text they were made with, recaching
 * an FP8 cache changes no more than its own rounding. */
static void
test_cache_recache (void)
{
  Way way = {LF_PRECISION_FP32, FALSE, FALSE, TRUE, 30};
  double e = 0;
  Model one, other;
  gint i;

  open_model (&one, &way);
  open_model (&other, &way);
  for (i = 0; i < 4; i++) {
    const float *expected = make_chunk (&one, FALSE), *x = make_chunk (&other, i == 3);

    e = relative_error (x, expected, 3 * one.state->cache->latent_floats);
    if (i < 3)
      g_assert_cmpfloat (e, ==, 0);
  }
  g_assert_cmpfloat (e, <, 1e-5);
  close_model (&one);
  close_model (&other);
}

static void
test_weights (void)
{
  Way plain = {LF_PRECISION_FP32, TRUE, FALSE, FALSE, 9};
  Way fp8 = {LF_PRECISION_FP8, TRUE, FALSE, FALSE, 9};
  Model m;
  gsize bytes[2];
  double e;

  open_model (&m, &plain);
  g_assert_cmpint (m.transformer->layers[1].ffn2.dtype, ==, LF_DTYPE_F32);
  bytes[0] = m.transformer->bytes;
  close_model (&m);
  open_model (&m, &fp8);
  g_assert_cmpint (m.transformer->layers[1].ffn2.dtype, ==, LF_DTYPE_F8_E4M3);
  g_assert_cmpint (m.transformer->layers[0].qkv.dtype, ==, LF_DTYPE_F8_E4M3);
  g_assert_cmpint (m.transformer->patch.dtype, ==, LF_DTYPE_F32);
  g_assert_cmpint (m.transformer->head.dtype, ==, LF_DTYPE_F32);
  bytes[1] = m.transformer->bytes;
  close_model (&m);
  g_assert_cmpuint (bytes[1], <, bytes[0] * 2 / 3);
  e = compare_ways (&plain, &fp8, 3, -1);
  g_test_message ("FP8 weights: %.3g", e);
  g_assert_cmpfloat (e, >, 0);
  /* products of two of them are off by 3.5 %, and half of a layer's output is its input */
  g_assert_cmpfloat (e, <, 0.05);
}

/* --------------------------------------------------------------- measuring */

static void
test_profile (void)
{
  Way way = {LF_PRECISION_FP32, TRUE, TRUE, FALSE, 9};
  double seconds[LF_MAX_TAGS] = {0}, again[LF_MAX_TAGS] = {0}, sum = 0, wall;
  const LfBackendOps *ops;
  gint64 start;
  Model m;
  gint i, pass;

  open_model (&m, &way);
  ops = m.f.be->ops;
  make_chunk (&m, FALSE);
  ops->read_profile (m.f.q, seconds);
  for (i = 0; i < LF_MAX_TAGS; i++)
    g_assert_cmpfloat (seconds[i], ==, 0);
  start = g_get_monotonic_time ();
  ops->set_profiling (m.f.q, TRUE);
  make_chunk (&m, FALSE);
  wall = (g_get_monotonic_time () - start) * 1e-6;
  ops->read_profile (m.f.q, seconds);
  ops->read_profile (m.f.q, again);
  for (i = 0; i < LF_MAX_TAGS; i++) {
    sum += seconds[i];
    g_assert_cmpfloat (again[i], ==, 0);
  }
  g_assert_cmpfloat (sum, <=, wall + 1e-6);
  for (pass = 0; pass < 5; pass++) {
    g_assert_cmpfloat (seconds[lf_phase_tag (LF_PHASE_LINEAR, pass)], >, 0);
    g_assert_cmpfloat (seconds[lf_phase_tag (LF_PHASE_ATTENTION, pass)], >, 0);
  }
  g_assert_cmpfloat (seconds[lf_phase_tag (LF_PHASE_LINEAR, 5)], ==, 0);
  /* what is before this mark counts for nothing */
  g_usleep (20000);
  ops->mark (m.f.q, LF_NO_TAG);
  ops->mark (m.f.q, 7);
  ops->read_profile (m.f.q, again);
  g_assert_cmpfloat (again[7], <, 0.02);
  for (i = 0; i < LF_MAX_TAGS; i++)
    g_assert_cmpfloat (i == 7 ? 0 : again[i], ==, 0);
  ops->set_profiling (m.f.q, FALSE);
  close_model (&m);
}

static void
test_memory (void)
{
  Fixture f = open_cpu (1);
  LfMemory memory;
  void *a = f.be->ops->alloc (f.be, 1000, NULL), *b = f.be->ops->alloc (f.be, 4096, NULL);

  f.be->ops->free (f.be, a);
  f.be->ops->get_memory (f.be, &memory);
  g_assert_cmpuint (memory.used, ==, 4096);
  g_assert_cmpuint (memory.peak, ==, 1024 + 4096);
  g_assert_cmpuint (memory.available, ==, G_MAXSIZE);
  f.be->ops->free (f.be, b);
  f.be->ops->get_memory (f.be, &memory);
  g_assert_cmpuint (memory.used, ==, 0);
  close_cpu (&f);
}

static void
test_refused (void)
{
  static const LfPrecision precisions[] = {LF_PRECISION_BF16, LF_PRECISION_FP8, LF_PRECISION_FP16};
  guint i;

  for (i = 0; i < G_N_ELEMENTS (precisions); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (lf_backend_open ("cpu", precisions[i], &error));
    g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
    g_assert_nonnull (strstr (error->message, "precision"));
    g_assert_null (strchr (error->message, '\n'));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fp8/values", test_values);
  g_test_add_func ("/fp8/quantize", test_quantize);
  g_test_add_func ("/fp8/linear", test_linear);
  g_test_add_func ("/fp8/frames", test_frames);
  g_test_add_func ("/fp8/weights", test_weights);
  g_test_add_func ("/cache/fp8", test_cache);
  g_test_add_func ("/cache/bytes", test_cache_bytes);
  g_test_add_func ("/cache/recache", test_cache_recache);
  g_test_add_func ("/backend/profile", test_profile);
  g_test_add_func ("/backend/memory", test_memory);
  g_test_add_func ("/backend/precision-refused", test_refused);
  return g_test_run ();
}
