/* lightforce: tests of prompts, tokens and the text encoder
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

#include "core/text.h"

static char *
data_path (const char *name)
{
  return g_build_filename (g_getenv ("LF_TEST_DATA"), name, NULL);
}

static GBytes *
read_model (void)
{
  g_autofree char *path = data_path ("tokenizer.model");
  g_autoptr (GError) error = NULL;
  char *data;
  gsize size;

  g_file_get_contents (path, &data, &size, &error);
  g_assert_no_error (error);
  return g_bytes_new_take (data, size);
}

static LfTokenizer *
new_tokenizer (void)
{
  g_autoptr (GBytes) model = read_model ();
  g_autoptr (GError) error = NULL;
  LfTokenizer *tokenizer = lf_tokenizer_new (model, "tokenizer.model", &error);

  g_assert_no_error (error);
  return tokenizer;
}

/* ---------------------------------------------------------------- prompts */

static void
test_clean (void)
{
  static const struct
  {
    const char *prompt, *expected;
  } cases[] = {
      {"", ""},
      {" \t\r\n", ""},
      {"fox", "fox"},
      {"  a \n\n fox\v ", "a fox"},
      {"\302\240a\342\200\203fox\343\200\200", "a fox"}, /* spaces of other widths */
      {"a\302\205b\034c", "a b c"},
      {"a\342\200\213b", "a\342\200\213b"}, /* zero width: no white space */
      {"&amp;", "&"},
      {"&amp;amp;", "&"},
      {"&amp;amp;amp;", "&amp;"}, /* twice, and no more */
      {"&lt;&gt;&quot;&apos;&eacute;", "<>\"'\303\251"},
      {"a&nbsp;&nbsp;b", "a b"},
      {"&copy &AMP &times", "\302\251 & \303\227"},
      {"&hearts &hearts;", "&hearts \342\231\245"},
      {"&notit; &notin;", "\302\254it; \342\210\211"},
      {"&nosuchname; &; & &", "&nosuchname; &; & &"},
      {"&#65;&#x42;&#X43;&#68", "ABCD"},
      {"&#; &#x; &#xg;", "&#; &#x; &#xg;"},
      {"&#0;", "\357\277\275"},
      {"&#xD800;&#x110000;&#99999999999999999999;", "\357\277\275\357\277\275\357\277\275"},
      {"&#x1F98A;", "\360\237\246\212"},
      {"&#147;a&#148;", "\342\200\234a\342\200\235"},
      {"a&#1;b&#xFFFE;c&#x10FFFF;", "abc"},
      {"&", "&"},
      {"&a", "&a"},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *clean = lf_prompt_clean (cases[i].prompt);

    g_assert_cmpstr (clean, ==, cases[i].expected);
  }
}

/* ----------------------------------------------------------------- tokens */

/* What the Python library makes of the same prompts; see make_tokenizer.py. */
static void
test_ids (void)
{
  g_autoptr (LfTokenizer) tokenizer = new_tokenizer ();
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autofree char *path = data_path ("tokenizer-cases.json");
  g_autoptr (GError) error = NULL;
  JsonArray *cases;
  guint i;
  gint j;

  json_parser_load_from_file (parser, path, &error);
  g_assert_no_error (error);
  cases = json_node_get_array (json_parser_get_root (parser));
  g_assert_cmpuint (json_array_get_length (cases), >, 50);
  g_assert_cmpint (lf_tokenizer_get_size (tokenizer), ==, 360);
  for (i = 0; i < json_array_get_length (cases); i++) {
    JsonObject *c = json_array_get_object_element (cases, i);
    const char *prompt = json_object_get_string_member (c, "prompt");
    g_autofree char *clean = lf_prompt_clean (prompt);
    JsonArray *expected = json_object_get_array_member (c, "ids");
    gint max = json_object_get_int_member (c, "max"), n;
    g_autofree gint32 *ids = g_new (gint32, max);

    g_assert_cmpstr (clean, ==, json_object_get_string_member (c, "clean"));
    n = lf_tokenizer_encode (tokenizer, prompt, ids, max, &error);
    g_assert_no_error (error);
    g_assert_cmpint (n, ==, json_array_get_length (expected));
    for (j = 0; j < n; j++)
      g_assert_cmpint (ids[j], ==, json_array_get_int_element (expected, j));
    g_assert_cmpint (ids[n - 1], ==, 1);
  }
}

static void
test_not_utf8 (void)
{
  static const char *const prompts[] = {"\377", "fox \303", "a\300\200b", "\355\240\200"};
  g_autoptr (LfTokenizer) tokenizer = new_tokenizer ();
  gint32 ids[8];
  guint i;

  for (i = 0; i < G_N_ELEMENTS (prompts); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_cmpint (lf_tokenizer_encode (tokenizer, prompts[i], ids, 8, &error), ==, -1);
    g_assert_error (error, LF_ERROR, LF_ERROR_SETTINGS);
    g_assert_nonnull (strstr (error->message, "prompt"));
  }
}

/* A damaged model is refused by name, or works on as another model would. */
static gboolean
try_model (const guint8 *data, gsize size)
{
  static const char *const prompts[] = {"", "a red fox runs along the beach",
      "\357\274\262\357\275\205\357\275\204 \357\254\201nd\342\200\246 \360\237\246\212 <pad> 12"};
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (LfTokenizer) tokenizer = lf_tokenizer_new (bytes, "damaged.model", &error);
  gint32 ids[32];
  guint i;

  if (!tokenizer) {
    g_assert_nonnull (error);
    g_assert_true (error->domain == LF_ERROR);
    g_assert_true (error->code == LF_ERROR_INVALID_FILE || error->code == LF_ERROR_INVALID_MODEL);
    g_assert_true (g_str_has_prefix (error->message, "damaged.model: "));
    g_assert_true (g_utf8_validate (error->message, -1, NULL));
    return FALSE;
  }
  g_assert_no_error (error);
  for (i = 0; i < G_N_ELEMENTS (prompts); i++) {
    g_autoptr (GError) failure = NULL;
    gint n = lf_tokenizer_encode (tokenizer, prompts[i], ids, 32, &failure);

    g_assert_true ((n > 0) == (failure == NULL));
  }
  return TRUE;
}

static void
test_damaged (void)
{
  g_autoptr (GBytes) model = read_model ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (1);
  gsize size, i;
  const guint8 *data = g_bytes_get_data (model, &size);
  gint refused = 0;

  g_assert_true (try_model (data, size));
  g_assert_false (try_model (data, 0));
  g_assert_false (try_model ((const guint8 *) "not a model", 11));
  /* cut off: one byte from the end, and here and there */
  g_assert_false (try_model (data, size - 1));
  for (i = 1; i < size; i += 97)
    try_model (data, i);
  for (i = 0; i < 400; i++) {
    g_autofree guint8 *damaged = g_memdup2 (data, size);
    gint bytes = g_rand_int_range (rand, 1, 4);

    while (bytes--) /* half of them in the normalizer at the end */
      damaged[g_rand_boolean (rand) ? g_rand_int_range (rand, 0, size)
                                    : g_rand_int_range (rand, size - size / 3, size)] =
          g_rand_int (rand);
    refused += !try_model (damaged, size);
  }
  g_assert_cmpint (refused, >, 100);
}

/* A unit of the normalizer's trie that leads out of it is found before it is walked. */
static void
test_damaged_trie (void)
{
  g_autoptr (GBytes) model = read_model ();
  gsize size, at;
  const guint8 *data = g_bytes_get_data (model, &size);
  g_autofree guint8 *damaged = g_memdup2 (data, size);
  guint32 trie_bytes = 0;

  /* the map is the field that begins with the size of its trie, a multiple of 1024 */
  for (at = size / 2; at + 4 < size; at++) {
    memcpy (&trie_bytes, data + at, 4);
    trie_bytes = GUINT32_FROM_LE (trie_bytes);
    if (trie_bytes && trie_bytes % 1024 == 0 && trie_bytes < size - at)
      break;
  }
  g_assert_cmpuint (at + 4, <, size);
  memset (damaged + at + 4, 0x7F, 4); /* the root's offset, far away */
  g_assert_false (try_model (damaged, size));
  memcpy (damaged, data, size);
  memset (damaged + at, 0xFF, 4); /* the trie's own size */
  g_assert_false (try_model (damaged, size));
}

/* ---------------------------------------------------------------- encoder */

typedef struct
{
  LfBackend *backend;
  LfQueue *q;
  LfContainer *file;
  LfModelFiles *files;
  LfModelConfig config;
  LfLoader loader;
} Golden;

static void
open_golden (Golden *g)
{
  g_autofree char *path =
      g_build_filename (g_getenv ("LF_GOLDEN_DATA"), "text-encoder.safetensors", NULL);
  g_autoptr (GError) error = NULL;

  memset (g, 0, sizeof (*g));
  g->backend = lf_backend_open ("cpu", LF_PRECISION_AUTO, &error);
  g_assert_no_error (error);
  g->q = g->backend->ops->queue_new (g->backend, 2, &error);
  g_assert_no_error (error);
  g->file = lf_container_open (path, &error);
  g_assert_no_error (error);
  g->config.text.dim = 64;
  g->config.text.heads = 4;
  g->config.text.layers = 3;
  g->config.text.ffn_dim = 160;
  g->config.text.vocab = 300;
  g->config.text.buckets = 32;
}

static LfTextEncoder *
load_encoder (Golden *g, LfDType dtype, GError **error)
{
  g_clear_pointer (&g->files, lf_model_files_close);
  g->files = lf_model_files_wrap (g->file, "w.", LF_PART_TEXT_ENCODER, &g->config);
  g->loader = (LfLoader){.files = g->files,
      .part = LF_PART_TEXT_ENCODER,
      .backend = g->backend,
      .queue = g->q,
      .linear_dtype = dtype};
  return lf_text_encoder_load (&g->loader, error);
}

static void
close_golden (Golden *g)
{
  g_clear_pointer (&g->files, lf_model_files_close);
  lf_container_close (g->file);
  g->backend->ops->queue_free (g->q);
  lf_backend_close (g->backend);
}

static void *
read_tensor (Golden *g, const char *name, LfDType dtype, gint64 *count)
{
  const LfTensorInfo *tensor = lf_container_find (g->file, name);
  g_autoptr (GError) error = NULL;
  void *data;

  g_assert_nonnull (tensor);
  data = g_malloc (tensor->count * lf_dtype_size (dtype));
  lf_container_read (g->file, tensor, 0, tensor->count, dtype, data, &error);
  g_assert_no_error (error);
  if (count)
    *count = tensor->count;
  return data;
}

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

static void
check_encoder (LfDType dtype)
{
  Golden g;
  g_autoptr (GError) error = NULL;
  g_autoptr (LfTextEncoder) encoder = NULL;
  g_autofree gint32 *ids = NULL, *length = NULL;
  g_autofree float *expected = NULL, *embedding = NULL;
  float *memory;
  gint64 count;
  gsize bytes;

  open_golden (&g);
  encoder = load_encoder (&g, dtype, &error);
  g_assert_no_error (error);
  g_assert_cmpint (lf_text_encoder_get_dim (encoder), ==, 64);
  g_assert_cmpint (lf_text_encoder_get_vocab (encoder), ==, 300);
  g_assert_cmpuint (lf_text_encoder_get_bytes (encoder), >,
      300 * 64 * lf_dtype_size (dtype) + 3 * (4 * 64 * 64 + 3 * 64 * 160) * lf_dtype_size (dtype));
  ids = read_tensor (&g, "in.ids", LF_DTYPE_I32, NULL);
  length = read_tensor (&g, "in.length", LF_DTYPE_I32, NULL);
  expected = read_tensor (&g, "out.embedding", LF_DTYPE_F32, &count);
  bytes = *length * 64 * sizeof (float);
  memory = g.backend->ops->alloc (g.backend, bytes, &error);
  g_assert_no_error (error);
  embedding = g_malloc (bytes);

  lf_text_encode (encoder, g.q, ids, *length, memory, NULL, &error);
  g_assert_no_error (error);
  g.backend->ops->download (g.q, embedding, memory, bytes);
  g.backend->ops->wait (g.q, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (relative_error (embedding, expected, *length * 64), <, 2e-6);

  ids[1] = 300; /* a tokenizer with more words than the encoder */
  g_assert_false (lf_text_encode (encoder, g.q, ids, *length, memory, NULL, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL);
  g.backend->ops->free (g.backend, memory);
  g_clear_pointer (&encoder, lf_text_encoder_free);
  close_golden (&g);
}

static void
test_encoder (void)
{
  check_encoder (LF_DTYPE_F32);
}

/* The weights are exact in 16 bits. */
static void
test_encoder_16_bits (void)
{
  check_encoder (LF_DTYPE_BF16);
}

static void
test_encoder_misfits (void)
{
  static const struct
  {
    gsize member;
    gint value;
    const char *word;
  } cases[] = {
      {G_STRUCT_OFFSET (LfModelConfig, text.dim), 128, "token_embedding"},
      {G_STRUCT_OFFSET (LfModelConfig, text.heads), 3, "heads"},
      {G_STRUCT_OFFSET (LfModelConfig, text.heads), 8, "pos_embedding"},
      {G_STRUCT_OFFSET (LfModelConfig, text.layers), 4, "blocks.3"},
      {G_STRUCT_OFFSET (LfModelConfig, text.layers), 2, "blocks.2"},
      {G_STRUCT_OFFSET (LfModelConfig, text.ffn_dim), 80, "ffn"},
      {G_STRUCT_OFFSET (LfModelConfig, text.vocab), 301, "token_embedding"},
      {G_STRUCT_OFFSET (LfModelConfig, text.buckets), 64, "pos_embedding"},
      {G_STRUCT_OFFSET (LfModelConfig, text.buckets), 0, "buckets"},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    Golden g;

    open_golden (&g);
    G_STRUCT_MEMBER (gint, &g.config, cases[i].member) = cases[i].value;
    g_assert_null (load_encoder (&g, LF_DTYPE_F32, &error));
    g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL);
    g_assert_nonnull (strstr (error->message, "text-encoder.safetensors"));
    g_assert_nonnull (strstr (error->message, cases[i].word));
    close_golden (&g);
  }
}

/* Attention over more tokens than a piece, some of them padding, near and far apart. */
static void
test_attention (void)
{
  enum
  {
    T = 150,
    LENGTH = 141,
    HEADS = 2,
    D = 8,
    C = HEADS * D
  };
  Golden g;
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);
  g_autofree float *qkv = g_new (float, T * 3 * C), *y = g_new (float, T *C);
  float bias[32 * HEADS];
  gint i, j, h, k;

  open_golden (&g);
  for (i = 0; i < T * 3 * C; i++)
    qkv[i] = g_rand_double_range (rand, -1, 1);
  for (i = 0; i < 32 * HEADS; i++)
    bias[i] = g_rand_double_range (rand, -3, 3);
  g.backend->ops->t5_attention (g.q, y, qkv, bias, T, LENGTH, HEADS, D, 32);
  for (i = 0; i < T; i += 7) {
    for (h = 0; h < HEADS; h++) {
      double sum = 0, out[D] = {0};

      for (j = 0; j < LENGTH; j++) {
        gint away = ABS (j - i), bucket = away;
        double score = 0;

        if (away >= 8) /* each bucket from here on is 2^(1/2) times as far */
          bucket = MIN (8 + (gint) floor (2 * log2 (away / 8.0) + 1e-9), 15);
        for (k = 0; k < D; k++)
          score += (double) qkv[i * 3 * C + h * D + k] * qkv[j * 3 * C + C + h * D + k];
        score = exp (score + bias[(bucket + (j > i ? 16 : 0)) * HEADS + h]);
        sum += score;
        for (k = 0; k < D; k++)
          out[k] += score * qkv[j * 3 * C + 2 * C + h * D + k];
      }
      for (k = 0; k < D; k++)
        g_assert_cmpfloat_with_epsilon (y[i * C + h * D + k], out[k] / sum, 1e-5);
    }
  }
  close_golden (&g);
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/text/clean", test_clean);
  g_test_add_func ("/text/ids", test_ids);
  g_test_add_func ("/text/not-utf8", test_not_utf8);
  g_test_add_func ("/text/damaged", test_damaged);
  g_test_add_func ("/text/damaged-trie", test_damaged_trie);
  g_test_add_func ("/text/encoder", test_encoder);
  g_test_add_func ("/text/encoder-16-bits", test_encoder_16_bits);
  g_test_add_func ("/text/encoder-misfits", test_encoder_misfits);
  g_test_add_func ("/text/attention", test_attention);
  return g_test_run ();
}
