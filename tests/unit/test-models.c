/* lightforce: tests of files that make a model
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include "core/model.h"
#include "core/modelconfig.h"
#include "scratch.h"

/* --------------------------------------------------------------- directories */

static LfModelFiles *
open_files (const char *path, const LfModelOptions *options)
{
  g_autoptr (GError) error = NULL;
  LfModelFiles *files = lf_model_files_open (path, options, &error);

  g_assert_no_error (error);
  return files;
}

static void
test_published_directory (void)
{
  g_autofree char *path = golden_path ("torch"), *tiny = golden_path ("torch/taew2_1.pth");
  g_autoptr (LfModelFiles) files = open_files (path, NULL), other = NULL;
  LfModelOptions options = {.decoder = tiny};
  const LfModelConfig *c = lf_model_files_get_config (files);
  g_autoptr (GError) error = NULL;
  LfWeightRef ref;
  float value;

  g_assert_true (g_str_has_suffix (
      lf_model_files_get_path (files, LF_PART_TRANSFORMER), "short_video_gen.pt"));
  g_assert_true (
      g_str_has_suffix (lf_model_files_get_path (files, LF_PART_DECODER), "Wan2.1_VAE.pth"));
  g_assert_cmpint (c->transformer.dim, ==, 128);
  g_assert_cmpint (c->transformer.layers, ==, 2);
  g_assert_cmpint (c->transformer.z, ==, 4);
  g_assert_cmpint (c->text.layers, ==, 3);
  g_assert_cmpint (c->decoder.kind, ==, LF_DECODER_WAN);
  g_assert_cmpint (c->width, ==, 768);
  g_assert_cmpuint (lf_model_files_get_aside (files)->len, ==, 1);
  g_assert_null (lf_model_files_get_tokenizer_path (files));
  /* the averaged weights, not the raw ones, which are all 7 */
  g_assert_true (lf_model_files_find (files, LF_PART_TRANSFORMER, "blocks.1.ffn.2.weight", &ref));
  g_assert_true (lf_weight_read (&ref, 0, 1, LF_DTYPE_F32, &value, &error));
  g_assert_cmpfloat (fabsf (value), <, 3);

  other = open_files (path, &options);
  g_assert_cmpint (lf_model_files_get_config (other)->decoder.kind, ==, LF_DECODER_TINY);
}

/* A decoder's file may come without its encoder, or with a part of one. */
static void
test_no_encoder (void)
{
  g_autofree char *path = golden_path ("torch");
  LfModelOptions options = {.backend = "cpu"};
  LfModelFiles *files = open_files (path, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (LfModel) model = lf_model_load_files (files, &options, NULL, NULL, NULL, &error);
  guint8 picture[3 * 64] = {0};
  float latent[4];

  g_assert_no_error (error);
  g_assert_false (lf_model_get_info (model)->has_encoder);
  g_assert_false (lf_model_encode_picture (model, 1, picture, 8, 8, latent, NULL, &error));
  g_test_message ("%s", error->message);
  g_assert_error (error, LF_ERROR, LF_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "Wan2.1_VAE.pth has no encoder"));
}

/* Copies the tensors of a golden case to a safetensors file, names changed by `rename`. */
static void
copy_renamed (const char *to, char *(*rename) (const char *name))
{
  g_autofree char *from = golden_path ("sparse-short.safetensors");
  g_autoptr (GError) error = NULL;
  g_autoptr (LfContainer) c = lf_container_open (from, &error);
  g_autoptr (GString) header = g_string_new ("{");
  g_autoptr (GByteArray) data = g_byte_array_new ();
  g_autoptr (GByteArray) file = g_byte_array_new ();
  guint64 length;
  guint i;
  gint d;

  g_assert_no_error (error);
  for (i = 0; i < lf_container_get_size (c); i++) {
    const LfTensorInfo *t = lf_container_get_tensor (c, i);
    g_autofree char *name = g_str_has_prefix (t->name, "w.") ? rename (t->name + 2) : NULL;
    gsize bytes = t->count * lf_dtype_size (t->dtype), at = data->len;

    if (!name)
      continue;
    g_string_append_printf (header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", at ? "," : "", name,
        lf_dtype_name (t->dtype));
    for (d = 0; d < t->ndim; d++)
      g_string_append_printf (header, "%s%d", d ? "," : "", (gint) t->shape[d]);
    g_string_append_printf (header, "],\"data_offsets\":[%d,%d]}", (gint) at, (gint) (at + bytes));
    g_byte_array_set_size (data, at + bytes);
    g_assert_true (lf_container_read (c, t, 0, t->count, t->dtype, data->data + at, &error));
  }
  g_string_append_c (header, '}');
  length = GUINT64_TO_LE ((guint64) header->len);
  g_byte_array_append (file, (guint8 *) &length, 8);
  g_byte_array_append (file, (guint8 *) header->str, header->len);
  g_byte_array_append (file, data->data, data->len);
  g_assert_true (g_file_set_contents (to, (char *) file->data, file->len, NULL));
}

static char *
diffusers_name (const char *name)
{
  static const char *const names[][2] = {
      {"time_embedding.0", "condition_embedder.time_embedder.linear_1"},
      {"time_embedding.2", "condition_embedder.time_embedder.linear_2"},
      {"time_projection.1", "condition_embedder.time_proj"},
      {"text_embedding.0", "condition_embedder.text_embedder.linear_1"},
      {"text_embedding.2", "condition_embedder.text_embedder.linear_2"},
      {"head.head", "proj_out"},
      {"head.modulation", "scale_shift_table"},
      {".modulation", ".scale_shift_table"},
      {"self_attn.norm_", "attn1.norm_"},
      {"cross_attn.norm_", "attn2.norm_"},
      {"self_attn.o", "attn1.to_out.0"},
      {"cross_attn.o", "attn2.to_out.0"},
      {"self_attn.", "attn1.to_"},
      {"cross_attn.", "attn2.to_"},
      {"ffn.0", "ffn.net.0.proj"},
      {"ffn.2", "ffn.net.2"},
      {"norm3", "norm2"},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    const char *at = strstr (name, names[i][0]);

    if (at)
      return g_strdup_printf (
          "%.*s%s%s", (gint) (at - name), name, names[i][1], at + strlen (names[i][0]));
  }
  return g_strdup (name);
}

static char *
prefixed_name (const char *name)
{
  return g_strconcat ("model._fsdp_wrapped_module.", name, NULL);
}

static char *
first_shard_name (const char *name)
{
  return strstr (name, "blocks.1.") ? NULL : g_strdup (name);
}

static char *
second_shard_name (const char *name)
{
  return strstr (name, "blocks.1.") ? g_strdup (name) : NULL;
}

static char *
extra_name (const char *name)
{
  return g_str_equal (name, "blocks.1.norm3.bias") ? g_strdup ("blocks.1.norm4.bias")
                                                   : g_strdup (name);
}

/* Whether all transformer tensors of `files` are those of the golden case. */
static void
assert_golden_weights (LfModelFiles *files)
{
  g_autofree char *path = golden_path ("sparse-short.safetensors");
  g_autoptr (GError) error = NULL;
  g_autoptr (LfContainer) c = lf_container_open (path, &error);
  guint i, n = 0;

  for (i = 0; i < lf_container_get_size (c); i++) {
    const LfTensorInfo *t = lf_container_get_tensor (c, i);
    g_autofree float *a = g_new (float, t->count), *b = g_new (float, t->count);
    LfWeightRef ref;

    if (!g_str_has_prefix (t->name, "w."))
      continue;
    n++;
    g_test_message ("%s", t->name);
    g_assert_true (lf_model_files_find (files, LF_PART_TRANSFORMER, t->name + 2, &ref));
    g_assert_true (lf_container_read (c, t, 0, t->count, LF_DTYPE_F32, a, &error));
    g_assert_true (lf_weight_read (&ref, 0, t->count, LF_DTYPE_F32, b, &error));
    g_assert_cmpmem (a, t->count * 4, b, t->count * 4);
  }
  {
    g_autoptr (GPtrArray) names = lf_model_files_list (files, LF_PART_TRANSFORMER);

    g_assert_cmpuint (names->len, ==, n);
  }
}

static char *
make_directory (const char *name)
{
  char *path = g_build_filename (scratch_dir, name, NULL);

  g_assert_cmpint (g_mkdir_with_parents (path, 0755), ==, 0);
  return path;
}

static void
test_layouts (void)
{
  static char *(*const renames[]) (const char *) = {diffusers_name, prefixed_name};
  g_autofree char *dir = make_directory ("layouts");
  g_autofree char *path = g_build_filename (dir, "model.safetensors", NULL);
  g_autofree char *one = NULL, *two = NULL;
  g_autoptr (GError) error = NULL;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (renames); i++) {
    g_autoptr (LfModelFiles) files = NULL, alone = NULL;

    copy_renamed (path, renames[i]);
    files = open_files (dir, NULL);
    assert_golden_weights (files);
    g_assert_false (lf_model_files_has (files, LF_PART_DECODER));
    alone = open_files (path, NULL);
    assert_golden_weights (alone);
  }
  /* shards: both make a model, one alone says so */
  g_unlink (path);
  one = g_build_filename (dir, "model-00001-of-00002.safetensors", NULL);
  two = g_build_filename (dir, "model-00002-of-00002.safetensors", NULL);
  copy_renamed (one, first_shard_name);
  g_assert_null (lf_model_files_open (dir, NULL, &error));
  assert_error (error, LF_ERROR_NOT_FOUND, one, "1 of the 2 shards");
  g_clear_error (&error);
  copy_renamed (two, second_shard_name);
  {
    g_autoptr (LfModelFiles) files = open_files (dir, NULL);

    assert_golden_weights (files);
  }
  g_unlink (one);
  g_unlink (two);
}

static void
test_bad_directories (void)
{
  g_autofree char *dir = make_directory ("bad-directory"), *absent = NULL;
  g_autofree char *a = g_build_filename (dir, "a.safetensors", NULL);
  g_autofree char *b = g_build_filename (dir, "b.safetensors", NULL);
  g_autofree char *json = g_build_filename (dir, "lightforce.json", NULL);
  LfModelOptions options = {.decoder = a};
  g_autoptr (GError) error = NULL;

#define REFUSED(path, options, code, word)                                                         \
  g_assert_null (lf_model_files_open (path, options, &error));                                     \
  assert_error (error, code, path, word);                                                          \
  g_clear_error (&error)
  absent = g_build_filename (dir, "absent", NULL);
  REFUSED (absent, NULL, LF_ERROR_NOT_FOUND, "No such file");
  REFUSED (dir, NULL, LF_ERROR_NOT_FOUND, "no transformer");
  g_assert_true (g_file_set_contents (a, "broken", -1, NULL));
  REFUSED (dir, NULL, LF_ERROR_NOT_FOUND, "a.safetensors"); /* names the file that may be it */
  copy_renamed (a, prefixed_name);
  copy_renamed (b, diffusers_name);
  REFUSED (dir, NULL, LF_ERROR_INVALID_MODEL, "two transformers");
  g_unlink (b);
  g_assert_null (lf_model_files_open (dir, &options, &error));
  assert_error (error, LF_ERROR_INVALID_MODEL, a, "not a decoder");
  g_clear_error (&error);
  g_assert_true (g_file_set_contents (json, "{\"transformer\":{\"dim\":64}}", -1, NULL));
  g_assert_null (lf_model_files_open (dir, NULL, &error));
  assert_error (error, LF_ERROR_INVALID_MODEL, json, "transformer.dim");
#undef REFUSED
  g_unlink (json);
  g_unlink (a);
}

/* Missing and extra tensors show when a model is loaded. */
static void
test_wrong_tensors (void)
{
  g_autofree char *dir = make_directory ("wrong-tensors");
  g_autofree char *path = g_build_filename (dir, "model.safetensors", NULL);
  g_autoptr (GError) error = NULL;

  copy_renamed (path, extra_name);
  g_assert_null (lf_model_load (dir, NULL, NULL, NULL, NULL, &error));
  assert_error (error, LF_ERROR_INVALID_MODEL, path, "blocks.1.norm3.bias is missing");
  g_unlink (path);
}

static void
test_bad_descriptions (void)
{
  static const struct
  {
    const char *json, *word;
  } cases[] = {
      {"{", "no JSON"},
      {"[]", "no JSON object"},
      {"{\"format\":2}", "format"},
      {"{\"name\":3}", "name"},
      {"{\"transformer\":7}", "transformer"},
      {"{\"transformer\":{\"heads\":0}}", "transformer.heads"},
      {"{\"transformer\":{\"heads\":3}}", "3 heads"},
      {"{\"transformer\":{\"heads\":\"2\"}}", "transformer.heads"},
      {"{\"transformer\":{\"text_len\":1e99}}", "transformer.text_len"},
      {"{\"transformer\":{\"chunk_frames\":-3}}", "transformer.chunk_frames"},
      {"{\"sampling\":{\"steps\":[]}}", "sampling.steps"},
      {"{\"sampling\":{\"steps\":[500,750]}}", "sampling.steps"},
      {"{\"sampling\":{\"steps\":[1000,null]}}", "sampling.steps"},
      {"{\"sampling\":{\"shift\":0}}", "sampling.shift"},
      {"{\"cache\":{\"window\":3,\"sink\":1}}", "cache.window"},
      {"{\"cache\":{\"relative\":1}}", "cache.relative"},
      {"{\"cache\":{\"window\":-1,\"relative\":true}}", "cache.window"},
      {"{\"sparse\":{\"target\":2}}", "sparse.target"},
      {"{\"sparse\":{\"target\":0.5,\"base\":0.4}}", "sparsity-base"},
      {"{\"sparse\":{\"block_q\":0}}", "sparse.block_q"},
      {"{\"sparse\":{\"keep_frames\":0,\"keep_sink\":1}}", "keep-frames"},
      {"{\"video\":{\"width\":100}}", "video.width"},
      {"{\"video\":{\"framerate\":[16,0]}}", "video.framerate"},
      {"{\"video\":{\"framerate\":16}}", "video.framerate"},
      {"{\"decoder\":{\"kind\":\"huge\"}}", "decoder.kind"},
      {"{\"sampling\":{\"shift\":NaN}}", "no JSON"},
  };
  g_autofree char *dir = make_directory ("descriptions");
  g_autofree char *path = g_build_filename (dir, "model.safetensors", NULL);
  g_autofree char *json = g_build_filename (dir, "lightforce.json", NULL);
  guint i;

  copy_renamed (path, prefixed_name);
  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_true (g_file_set_contents (json, cases[i].json, -1, NULL));
    g_assert_null (lf_model_files_open (dir, NULL, &error));
    g_test_message ("%s", error->message);
    g_assert_true (error->domain == LF_ERROR);
    g_assert_nonnull (strstr (error->message, cases[i].word));
    g_assert_null (strchr (error->message, '\n'));
  }
  g_assert_true (g_file_set_contents (json,
      "{\"transformer\":{\"heads\":2,\"text_len\":24},\"video\":{\"width\":128,\"height\":64,"
      "\"framerate\":[30000,1001]},\"unknown\":{\"x\":[1,2]},\"sparse\":null}",
      -1, NULL));
  {
    g_autoptr (LfModelFiles) files = open_files (dir, NULL);
    const LfModelConfig *c = lf_model_files_get_config (files);

    g_assert_cmpint (c->transformer.heads, ==, 2);
    g_assert_cmpint (c->transformer.text_len, ==, 24);
    g_assert_cmpint (c->width, ==, 128);
    g_assert_cmpint (c->fps_n, ==, 30000);
    g_assert_false (c->sparse.enabled);
  }
  g_unlink (json);
  g_unlink (path);
}

/* FP8 weights times a scale, or one scale a row. */
static void
test_fp8_scales (void)
{
  static const char header[] =
      "{\"patch_embedding.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[0,4]},"
      "\"patch_embedding.scale_weight\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[4,12]}"
      ","
      "\"blocks.0.self_attn.q.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,2],\"data_offsets\":[12,"
      "14]},"
      "\"blocks.0.self_attn.q.weight_scale\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[14,"
      "18]}}";
  guint8 data[18] = {0x38, 0x40, 0x38, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x30};
  float rows[2] = {2, 0.5f}, one = 4, values[4];
  g_autoptr (GByteArray) file = g_byte_array_new ();
  guint64 length = GUINT64_TO_LE ((guint64) strlen (header));
  g_autofree char *path = NULL;
  g_autoptr (LfContainer) c = NULL;
  g_autoptr (GError) error = NULL;
  LfWeightRef ref = {0};

  memcpy (data + 4, rows, 8);
  memcpy (data + 14, &one, 4);
  g_byte_array_append (file, (guint8 *) &length, 8);
  g_byte_array_append (file, (guint8 *) header, strlen (header));
  g_byte_array_append (file, data, sizeof (data));
  path = write_file ("fp8.safetensors", file->data, file->len);
  c = lf_container_open (path, &error);
  g_assert_no_error (error);
  ref.container = ref.scale_container = c;
  ref.tensor = lf_container_find (c, "patch_embedding.weight");
  ref.scale = lf_container_find (c, "patch_embedding.scale_weight");
  g_assert_true (lf_weight_read (&ref, 0, 4, LF_DTYPE_F32, values, &error));
  g_assert_cmpfloat (values[0], ==, 2);
  g_assert_cmpfloat (values[1], ==, 4);
  g_assert_cmpfloat (values[2], ==, 0.5f);
  g_assert_cmpfloat (values[3], ==, -0.5f);
  ref.tensor = lf_container_find (c, "blocks.0.self_attn.q.weight");
  ref.scale = lf_container_find (c, "blocks.0.self_attn.q.weight_scale");
  g_assert_true (lf_weight_read (&ref, 1, 1, LF_DTYPE_F32, values, &error));
  g_assert_cmpfloat (values[0], ==, 2);
  g_unlink (path);
}

/* A description written anew keeps the texts of the old one and reads back. */
static void
test_merged_description (void)
{
  static const char base[] = "{\"license\":\"MIT\",\"x\":1e20,\"steps\":[1,2],\"cache\":7}";
  g_autofree char *json = NULL;
  g_autoptr (GError) error = NULL;
  LfModelConfig config, back;

  lf_model_config_init (&config, "LongLive.pt");
  lf_model_config_init (&back, "short.pt");
  g_assert_true (config.relative && !back.relative);
  config.transformer.dim = config.transformer.layers = config.transformer.ffn_dim = 4;
  config.transformer.heads = config.transformer.text_dim = config.transformer.z = 1;
  config.transformer.freq_dim = 2;
  json = lf_model_config_to_json (&config, base, FALSE, FALSE);
  g_test_message ("%s", json);
  g_assert_nonnull (strstr (json, "\"license\":\"MIT\""));
  g_assert_null (strstr (json, "1e"));
  g_assert_true (lf_model_config_parse (&back, "x", json, strlen (json), 1, &error));
  g_assert_no_error (error);
  g_assert_true (back.relative);
  g_assert_cmpint (back.window, ==, 12);
  g_assert_cmpfloat (back.sparse.target, ==, config.sparse.target);
  g_free (back.name);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/models/fp8-scales", test_fp8_scales);
  g_test_add_func ("/models/published-directory", test_published_directory);
  g_test_add_func ("/models/no-encoder", test_no_encoder);
  g_test_add_func ("/models/layouts", test_layouts);
  g_test_add_func ("/models/bad-directories", test_bad_directories);
  g_test_add_func ("/models/wrong-tensors", test_wrong_tensors);
  g_test_add_func ("/models/bad-descriptions", test_bad_descriptions);
  g_test_add_func ("/models/merged-description", test_merged_description);
  return scratch_run ();
}
