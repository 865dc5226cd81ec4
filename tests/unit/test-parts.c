/* lightforce: tests of how parts of models are found in files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <zip.h>

#include "core/container-private.h"
#include "core/modelfiles.h"
#include "core/modelkeys.h"
#include "scratch.h"

typedef struct
{
  char *path; /* a directory that goes away with all in it */
} Place;

static void
place_setup (Place *place, gconstpointer data)
{
  place->path = g_dir_make_tmp ("lightforce-parts-XXXXXX", NULL);
  g_assert_nonnull (place->path);
}

static void
place_teardown (Place *place, gconstpointer data)
{
  scratch_remove (place->path);
  g_free (place->path);
}

static char *
in_place (const Place *place, const char *name)
{
  return g_build_filename (place->path, name, NULL);
}

static void
write_text (const Place *place, const char *name, const char *text)
{
  g_autofree char *path = in_place (place, name);
  g_autofree char *directory = g_path_get_dirname (path);

  g_assert_cmpint (g_mkdir_with_parents (directory, 0755), ==, 0);
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

/* What a file is to hold: "name DTYPE shape" lines, such as "a.weight F32 2,3". The elements are
 * bytes 0, 1, 2... of an F32's 1.0 or an F8's 0x38 (1) by type. */
static void
write_tensors (const Place *place, const char *file, const char *metadata, const char *lines)
{
  g_autofree char *path = in_place (place, file), *directory = g_path_get_dirname (path);
  g_auto (GStrv) all = g_strsplit (lines, "\n", -1);
  g_autoptr (GString) header = g_string_new ("{");
  g_autoptr (GByteArray) data = g_byte_array_new (), out = g_byte_array_new ();
  guint64 length;
  guint i;

  g_assert_cmpint (g_mkdir_with_parents (directory, 0755), ==, 0);
  if (metadata)
    g_string_append_printf (header, "\"__metadata__\":{\"lightforce\":\"%s\"}", metadata);
  for (i = 0; all[i] && *all[i]; i++) {
    g_auto (GStrv) words = g_strsplit (all[i], " ", 3);
    g_auto (GStrv) dims = g_strsplit (words[2], ",", -1);
    gsize begin = data->len, count = 1, j;
    const float one = 1;

    for (j = 0; dims[j]; j++)
      count *= g_ascii_strtoull (dims[j], NULL, 10);
    for (j = 0; j < count; j++) {
      if (g_str_equal (words[1], "F32"))
        g_byte_array_append (data, (const guint8 *) &one, 4);
      else
        g_byte_array_append (data, (const guint8 *) "\x38", 1);
    }
    g_string_append_printf (header,
        "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%u,%u]}",
        header->len > 1 ? "," : "", words[0], words[1], words[2], (guint) begin, data->len);
  }
  g_string_append_c (header, '}');
  length = GUINT64_TO_LE ((guint64) header->len);
  g_byte_array_append (out, (const guint8 *) &length, 8);
  g_byte_array_append (out, (const guint8 *) header->str, header->len);
  g_byte_array_append (out, data->data, data->len);
  g_assert_true (g_file_set_contents (path, (const char *) out->data, out->len, NULL));
}

/* The least that passes for each part: width 4, z latent channels. */
#define TRANSFORMER_A(p)                                                                           \
  p "patch_embedding.weight F32 4,16,1,2,2\n" p "head.head.weight F32 64,4\n" p                    \
    "time_embedding.0.weight F32 4,6\n"
#define TRANSFORMER_B(p)                                                                           \
  p "text_embedding.0.weight F32 4,8\n" p "blocks.0.self_attn.q.weight F32 4,4\n" p                \
    "blocks.0.ffn.0.weight F32 12,4\n"
#define TRANSFORMER(p) TRANSFORMER_A (p) TRANSFORMER_B (p)
#define TEXT(p)                                                                                    \
  p "token_embedding.weight F32 10,8\n" p "blocks.0.attn.q.weight F32 8,8\n" p                     \
    "blocks.0.ffn.gate.0.weight F32 12,8\n" p "blocks.0.pos_embedding.embedding.weight F32 32,2\n"
#define WAN(width)                                                                                 \
  "conv2.weight F32 16,16,1,1,1\ndecoder.conv1.weight F32 " width ",16,3,3,3\n"                    \
  "decoder.middle.0.residual.2.weight F32 1\nencoder.conv1.weight F32 7\nconv1.weight F32 5\n"
#define TINY                                                                                       \
  "decoder.1.weight F32 4,16,3,3\ndecoder.3.conv.0.weight F32 1\nencoder.0.weight F32 3\n"

static LfModelFiles *
open_model (const Place *place, const char *name, const LfModelOptions *options)
{
  g_autofree char *path = in_place (place, name);
  g_autoptr (GError) error = NULL;
  LfModelFiles *files = lf_model_files_open (path, options, &error);

  g_assert_no_error (error);
  return files;
}

static void
assert_no_model (const Place *place, const char *name, const LfModelOptions *options, gint code,
    const char *first, const char *second)
{
  g_autofree char *path = in_place (place, name);
  g_autoptr (GError) error = NULL;

  g_assert_null (lf_model_files_open (path, options, &error));
  g_test_message ("%s", error->message);
  g_assert_error (error, LF_ERROR, code);
  g_assert_nonnull (strstr (error->message, first));
  g_assert_nonnull (strstr (error->message, second));
  g_assert_null (strchr (error->message, '\n'));
}

static void
assert_from (const LfModelFiles *files, LfPart part, const char *name)
{
  const char *path = lf_model_files_get_path (files, part);

  g_assert_nonnull (path);
  g_assert_true (g_str_has_suffix (path, name));
}

/* ------------------------------------------------------------------- names */

static void
test_names (void)
{
  static const struct
  {
    LfKeyLayout layout;
    const char *from, *to;
  } cases[] = {
      {LF_LAYOUT_NATIVE,
          "generator_ema/model._fsdp_wrapped_module.blocks.3._fsdp_wrapped_module."
          "self_attn.q.weight",
          "blocks.3.self_attn.q.weight"},
      {LF_LAYOUT_NATIVE, "model.diffusion_model.head.head.bias", "head.head.bias"},
      {LF_LAYOUT_NATIVE, "module._orig_mod.norm.weight", "norm.weight"},
      {LF_LAYOUT_NATIVE, "blocks.0.norm2.weight", "blocks.0.norm2.weight"},
      {LF_LAYOUT_DIFFUSERS, "blocks.0.norm2.weight", "blocks.0.norm3.weight"},
      {LF_LAYOUT_DIFFUSERS, "blocks.12.attn1.to_out.0.bias", "blocks.12.self_attn.o.bias"},
      {LF_LAYOUT_DIFFUSERS, "blocks.12.attn2.norm_k.weight", "blocks.12.cross_attn.norm_k.weight"},
      {LF_LAYOUT_DIFFUSERS, "blocks.1.attn2.to_v.weight_scale",
          "blocks.1.cross_attn.v.weight_scale"},
      {LF_LAYOUT_DIFFUSERS, "blocks.1.ffn.net.0.proj.bias", "blocks.1.ffn.0.bias"},
      {LF_LAYOUT_DIFFUSERS, "blocks.1.ffn.net.2.bias", "blocks.1.ffn.2.bias"},
      {LF_LAYOUT_DIFFUSERS, "blocks.1.scale_shift_table", "blocks.1.modulation"},
      {LF_LAYOUT_DIFFUSERS, "scale_shift_table", "head.modulation"},
      {LF_LAYOUT_DIFFUSERS, "proj_out.weight", "head.head.weight"},
      {LF_LAYOUT_DIFFUSERS, "condition_embedder.time_proj.bias", "time_projection.1.bias"},
      {LF_LAYOUT_DIFFUSERS, "condition_embedder.text_embedder.linear_2.bias",
          "text_embedding.2.bias"},
      {LF_LAYOUT_TRANSFORMERS, "shared.weight", "token_embedding.weight"},
      {LF_LAYOUT_TRANSFORMERS, "encoder.final_layer_norm.weight", "norm.weight"},
      {LF_LAYOUT_TRANSFORMERS, "encoder.block.7.layer.0.SelfAttention.o.weight",
          "blocks.7.attn.o.weight"},
      {LF_LAYOUT_TRANSFORMERS,
          "encoder.block.7.layer.0.SelfAttention.relative_attention_bias.weight",
          "blocks.7.pos_embedding.embedding.weight"},
      {LF_LAYOUT_TRANSFORMERS, "encoder.block.7.layer.1.DenseReluDense.wi_0.weight",
          "blocks.7.ffn.gate.0.weight"},
      {LF_LAYOUT_TRANSFORMERS, "encoder.block.7.layer.1.DenseReluDense.wo.scale_weight",
          "blocks.7.ffn.fc2.scale_weight"},
      {LF_LAYOUT_TRANSFORMERS, "encoder.block.7.layer.1.layer_norm.weight",
          "blocks.7.norm2.weight"},
      {LF_LAYOUT_TRANSFORMERS, "encoder.block.x.weight", "encoder.block.x.weight"},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *name = lf_native_name (cases[i].from, cases[i].layout);

    g_assert_cmpstr (name, ==, cases[i].to);
  }
}

/* --------------------------------------------------------------- directories */

static void
test_decoders (Place *place, gconstpointer data)
{
  LfModelOptions options = {0};
  g_autofree char *tiny = in_place (place, "sub/t.bin");
  g_autoptr (LfModelFiles) files = NULL, other = NULL;
  g_autoptr (GPtrArray) names = NULL;

  /* names say nothing: content does */
  write_tensors (place, "x.weights", NULL, TRANSFORMER ("model."));
  write_tensors (place, "a.safetensors", NULL, WAN ("16"));
  write_tensors (place, "b.safetensors", NULL, WAN ("8"));
  write_tensors (place, "sub/t.bin", NULL, TINY);
  write_text (place, "README.md", "# not a part of anything, and long enough to be looked at");
  files = open_model (place, ".", NULL);
  assert_from (files, LF_PART_TRANSFORMER, "x.weights");
  assert_from (files, LF_PART_DECODER, "b.safetensors");
  g_assert_cmpuint (lf_model_files_get_aside (files)->len, ==, 2);
  g_assert_cmpuint (lf_model_files_get_problems (files)->len, ==, 0);
  g_assert_cmpint (lf_model_files_get_config (files)->decoder.z, ==, 16);
  names = lf_model_files_list (files, LF_PART_DECODER);
  g_assert_cmpuint (names->len, ==, 3);                  /* its encoder is a part of its own */
  assert_from (files, LF_PART_ENCODER, "b.safetensors"); /* out of the same file */

  options.decoder = tiny;
  other = open_model (place, ".", &options);
  g_assert_cmpint (lf_model_files_get_config (other)->decoder.kind, ==, LF_DECODER_TINY);
  g_assert_cmpuint (lf_model_files_get_aside (other)->len, ==, 0);
  assert_from (other, LF_PART_ENCODER, "a.safetensors"); /* it has none, but others there do */
}

static void
test_two_transformers (Place *place, gconstpointer data)
{
  g_autofree char *one = in_place (place, "one.safetensors");
  LfModelOptions options = {.transformer = one};
  g_autoptr (LfModelFiles) files = NULL;

  write_tensors (place, "one.safetensors", NULL, TRANSFORMER (""));
  write_tensors (place, "two.safetensors", NULL, TRANSFORMER ("model."));
  assert_no_model (
      place, ".", NULL, LF_ERROR_INVALID_MODEL, "one.safetensors", "two.safetensors; name");
  files = open_model (place, ".", &options);
  assert_from (files, LF_PART_TRANSFORMER, "one.safetensors");
  g_clear_pointer (&files, lf_model_files_close);
  /* the option's own faults */
  g_assert_cmpint (g_remove (one), ==, 0);
  assert_no_model (place, ".", &options, LF_ERROR_NOT_FOUND, "one.safetensors", "No such file");
  write_tensors (place, "one.safetensors", NULL, TINY);
  assert_no_model (
      place, ".", &options, LF_ERROR_INVALID_MODEL, "one.safetensors", "not a transformer");
  write_tensors (place, "one.safetensors", NULL, "x F32 1");
  assert_no_model (
      place, ".", &options, LF_ERROR_INVALID_MODEL, "one.safetensors", "no transformer");
}

/* What is wrong with a file shows where its part is missing. */
static void
test_problems (Place *place, gconstpointer data)
{
  g_autoptr (LfModelFiles) files = NULL;

  write_text (place, "damaged.pt", "PK\3\4 this was a torch file once");
  assert_no_model (place, ".", NULL, LF_ERROR_NOT_FOUND, "no transformer", "damaged.pt");
  write_text (place, "damaged.pt", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
  assert_no_model (place, ".", NULL, LF_ERROR_NOT_FOUND, "damaged.pt", "git lfs pull");
  write_tensors (place, "t-1-of-3.safetensors", NULL, TRANSFORMER_A (""));
  write_tensors (place, "t-2-of-3.safetensors", NULL, TRANSFORMER_B (""));
  assert_no_model (place, ".", NULL, LF_ERROR_NOT_FOUND, "damaged.pt", "2 of the 3 shards");
  write_tensors (place, "whole.safetensors", NULL, TRANSFORMER (""));
  files = open_model (place, ".", NULL);
  g_assert_cmpuint (lf_model_files_get_problems (files)->len, ==, 2);
  g_assert_nonnull (
      strstr (g_ptr_array_index (lf_model_files_get_problems (files), 0), "damaged.pt"));
}

static void
test_index (Place *place, gconstpointer data)
{
  static const char good[] =
      "{\"metadata\":{},\"weight_map\":{\"patch_embedding.weight\":\"begin.bin\","
      "\"blocks.0.ffn.0.weight\":\"end.bin\",\"head.head.weight\":\"begin.bin\"}}";
  static const struct
  {
    const char *json, *word;
  } bad[] = {
      {"{\"weight_map\":{\"a\":\"../begin.bin\"}}", "beside the index"},
      {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "beside the index"},
      {"{\"weight_map\":{\"a\":7}}", "beside the index"},
      {"{\"weight_map\":{\"a\":\"begin.bin\",\"b\":\"lost.bin\"}}", "lost.bin"},
      {"{\"weight_map\":[]}", "weight_map"},
      {"{\"weight_map\":{}}", "no files"},
      {"{}", "weight_map"},
      {"weights", "JSON"},
  };
  g_autoptr (LfModelFiles) files = NULL, direct = NULL;
  g_autoptr (GPtrArray) names = NULL;
  guint i;

  write_tensors (place, "begin.bin", NULL, TRANSFORMER_A ("model."));
  write_tensors (place, "end.bin", NULL, TRANSFORMER_B ("model."));
  write_text (place, "model.safetensors.index.json", good);
  files = open_model (place, ".", NULL);
  names = lf_model_files_list (files, LF_PART_TRANSFORMER);
  g_assert_cmpuint (names->len, ==, 6);
  direct = open_model (place, "model.safetensors.index.json", NULL);
  assert_from (direct, LF_PART_TRANSFORMER, "begin.bin");
  for (i = 0; i < G_N_ELEMENTS (bad); i++) {
    write_text (place, "model.safetensors.index.json", bad[i].json);
    assert_no_model (place, "model.safetensors.index.json", NULL,
        strstr (bad[i].word, "lost") ? LF_ERROR_NOT_FOUND : LF_ERROR_INVALID_FILE,
        "model.safetensors.index.json", bad[i].word);
  }
  /* a tensor of two shards */
  write_text (place, "model.safetensors.index.json", good);
  write_tensors (place, "end.bin", NULL, TRANSFORMER ("model."));
  assert_no_model (place, "model.safetensors.index.json", NULL, LF_ERROR_INVALID_MODEL, "end.bin",
      "patch_embedding.weight");
}

static void
test_tokenizer (Place *place, gconstpointer data)
{
  g_autofree char *from = g_build_filename (g_getenv ("LF_TEST_DATA"), "tokenizer.model", NULL);
  g_autofree char *to = in_place (place, "google/umt5-xxl/pieces"), *contents = NULL;
  g_autofree char *absent = in_place (place, "absent.model");
  LfModelOptions options = {.tokenizer = to};
  g_autoptr (LfModelFiles) files = NULL, named = NULL;
  g_autoptr (GBytes) bytes = NULL;
  gsize size;

  write_tensors (place, "t.safetensors", NULL, TRANSFORMER (""));
  write_text (place, "other.model", "a file whose name alone says that it is a tokenizer");
  g_assert_true (g_file_get_contents (from, &contents, &size, NULL));
  write_text (place, "google/umt5-xxl/pieces", "");
  g_assert_true (g_file_set_contents (to, contents, size, NULL));
  files = open_model (place, ".", NULL);
  bytes = lf_model_files_get_tokenizer (files);
  g_assert_cmpmem (g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes), contents, size);
  named = open_model (place, "t.safetensors", &options);
  g_assert_cmpstr (lf_model_files_get_tokenizer_path (named), ==, to);
  options.tokenizer = absent;
  assert_no_model (
      place, "t.safetensors", &options, LF_ERROR_NOT_FOUND, "absent.model", "no such file");
}

/* ---------------------------------------------------------------- packed files */

#define DESCRIPTION                                                                                \
  "{\\\"format\\\":1,\\\"name\\\":\\\"p\\\",\\\"transformer\\\":{\\\"heads\\\":2}}"

/* The text encoder as transformers names it, its tokenizer inside. */
static void
test_transformers_text (Place *place, gconstpointer data)
{
#define ATTENTION "encoder.block.0.layer.0.SelfAttention."
  g_autoptr (LfModelFiles) files = NULL;

  write_tensors (place, "t.safetensors", NULL, TRANSFORMER (""));
  write_tensors (place, "e.safetensors", NULL,
      "shared.weight F32 10,8\nencoder.embed_tokens.weight F32 10,8\n" ATTENTION
      "q.weight F32 8,8\n" ATTENTION "relative_attention_bias.weight F32 32,2\n"
      "encoder.block.0.layer.1.DenseReluDense.wi_0.weight F32 12,8\nspiece_model U8 9");
#undef ATTENTION
  files = open_model (place, ".", NULL);
  g_assert_cmpint (lf_model_files_get_config (files)->text.ffn_dim, ==, 12);
  g_assert_nonnull (lf_model_files_get_tokenizer_path (files));
}

static void
test_packed (Place *place, gconstpointer data)
{
  g_autofree char *packed = in_place (place, "p.safetensors");
  LfModelOptions options = {.transformer = packed};
  g_autoptr (LfModelFiles) files = NULL, mixed = NULL;
  g_autoptr (GBytes) tokenizer = NULL;
  LfWeightRef ref;

  write_tensors (place, "p.safetensors", DESCRIPTION,
      TRANSFORMER ("transformer.") TEXT ("text_encoder.") "decoder.decoder.1.weight F32 4,16,3,3\n"
                                                          "decoder.decoder.3.conv.0.weight F32 1\n"
                                                          "tokenizer.model U8 5\n");
  files = open_model (place, "p.safetensors", NULL);
  g_assert_cmpstr (lf_model_files_get_config (files)->name, ==, "p");
  g_assert_cmpint (lf_model_files_get_config (files)->transformer.heads, ==, 2);
  g_assert_cmpint (lf_model_files_get_config (files)->decoder.kind, ==, LF_DECODER_TINY);
  g_assert_cmpint (lf_model_files_get_config (files)->text.heads, ==, 2);
  g_assert_false (lf_model_files_get_config (files)->sparse.enabled);
  g_assert_true (lf_model_files_find (files, LF_PART_DECODER, "decoder.1.weight", &ref));
  tokenizer = lf_model_files_get_tokenizer (files);
  g_assert_cmpuint (g_bytes_get_size (tokenizer), ==, 5);

  /* its transformer brings its description along */
  write_tensors (place, "dir/other.safetensors", NULL, TRANSFORMER (""));
  write_tensors (place, "dir/decoder.safetensors", NULL, WAN ("8"));
  mixed = open_model (place, "dir", &options);
  g_assert_cmpint (lf_model_files_get_config (mixed)->transformer.heads, ==, 2);
  g_assert_cmpint (lf_model_files_get_config (mixed)->decoder.kind, ==, LF_DECODER_WAN);
  g_assert_false (lf_model_files_has (mixed, LF_PART_TEXT_ENCODER));

  write_tensors (place, "p.safetensors", DESCRIPTION, TRANSFORMER ("transformer.") "x F32 1\n");
  assert_no_model (
      place, "p.safetensors", NULL, LF_ERROR_INVALID_MODEL, "tensor x", "belongs to no part");
  write_tensors (
      place, "p.safetensors", DESCRIPTION, TRANSFORMER ("transformer.") "tokenizer.model F32 1\n");
  assert_no_model (place, "p.safetensors", NULL, LF_ERROR_INVALID_FILE, "tokenizer.model", "bytes");
  write_tensors (place, "p.safetensors", DESCRIPTION, TRANSFORMER ("decoder."));
  assert_no_model (place, "p.safetensors", NULL, LF_ERROR_INVALID_MODEL, "decoder.*", "not those");
  write_tensors (place, "p.safetensors", "{\\\"transformer\\\":{\\\"dim\\\":8}}",
      TRANSFORMER ("transformer."));
  assert_no_model (place, "p.safetensors", NULL, LF_ERROR_INVALID_MODEL, "is 8", "have 4");
}

/* ---------------------------------------------------------------------- scales */

static void
test_scales (Place *place, gconstpointer data)
{
  static const struct
  {
    const char *name, *shape;
    gboolean fits;
  } scales[] = {
      {"blocks.0.self_attn.k.weight_scale", "1", TRUE},
      {"blocks.0.self_attn.k.scale_weight", "4,1", TRUE},
      {"blocks.0.self_attn.k.scale_weight", "3", FALSE},
      {"blocks.0.self_attn.k.scale_weight", "0", FALSE},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (scales); i++) {
    g_autofree char *lines =
        g_strdup_printf (TRANSFORMER ("") "blocks.0.self_attn.k.weight F8_E4M3 "
                                          "4,4\n%s F32 %s\nscaled_fp8 F32 0\n"
                                          "blocks.0.self_attn.k.scale_input "
                                          "F32 1\n",
            scales[i].name, scales[i].shape);
    g_autoptr (LfModelFiles) files = NULL;
    g_autoptr (GPtrArray) names = NULL;
    g_autoptr (GError) error = NULL;
    float values[16];
    LfWeightRef ref;
    gint j;

    write_tensors (place, "t.safetensors", NULL, lines);
    if (!scales[i].fits) {
      assert_no_model (
          place, "t.safetensors", NULL, LF_ERROR_INVALID_MODEL, scales[i].name, "scales");
      continue;
    }
    files = open_model (place, "t.safetensors", NULL);
    names = lf_model_files_list (files, LF_PART_TRANSFORMER);
    g_assert_cmpuint (names->len, ==, 7); /* scales are no weights */
    g_assert_true (
        lf_model_files_find (files, LF_PART_TRANSFORMER, "blocks.0.self_attn.k.weight", &ref));
    g_assert_nonnull (ref.scale);
    g_assert_true (lf_weight_read (&ref, 0, 16, LF_DTYPE_F32, values, &error));
    for (j = 0; j < 16; j++)
      g_assert_cmpfloat (values[j], ==, 1);
  }
}

/* ------------------------------------------------------------------ large archives */

static void
put (GByteArray *out, guint64 value, gint bytes)
{
  guint64 le = GUINT64_TO_LE (value);

  g_byte_array_append (out, (const guint8 *) &le, bytes);
}

/* The end of a zip file whose places are in 64-bit fields, as in files of more than 4 GiB. */
static void
widen (GByteArray *out)
{
  guint8 *data = out->data;
  gsize end = out->len - 22;
  guint64 at, entries, directory, size, i;
  g_autoptr (GByteArray) wide = g_byte_array_new ();

  memcpy (&entries, data + end + 10, 2);
  entries &= 0xffff;
  directory = data[end + 16] | data[end + 17] << 8 | (guint64) data[end + 18] << 16;
  for (i = 0, at = directory; i < entries; i++) {
    gsize name = data[at + 28] | data[at + 29] << 8, extra = data[at + 30] | data[at + 31] << 8;
    guint32 place;

    memcpy (&place, data + at + 42, 4);
    g_byte_array_append (wide, data + at, 30);
    put (wide, 12, 2); /* extra */
    g_byte_array_append (wide, data + at + 32, 10);
    put (wide, G_MAXUINT32, 4);
    g_byte_array_append (wide, data + at + 46, name);
    put (wide, 1, 2);
    put (wide, 8, 2);
    put (wide, place, 8);
    at += 46 + name + extra;
  }
  size = wide->len;
  g_byte_array_set_size (out, directory);
  g_byte_array_append (out, wide->data, wide->len);
  g_byte_array_append (out, (const guint8 *) "PK\6\6", 4);
  put (out, 44, 8);
  put (out, 45 | 45 << 16, 4);
  put (out, 0, 8);
  put (out, entries, 8);
  put (out, entries, 8);
  put (out, size, 8);
  put (out, directory, 8);
  g_byte_array_append (out, (const guint8 *) "PK\6\7\0\0\0\0", 8);
  put (out, directory + size, 8);
  put (out, 1, 4);
  g_byte_array_append (out, (const guint8 *) "PK\5\6\0\0\0\0", 8);
  put (out, entries, 2);
  put (out, entries, 2);
  put (out, size, 4);
  put (out, G_MAXUINT32, 4);
  put (out, 0, 2);
}

static void
test_wide_archive (void)
{
  g_autofree char *path = g_build_filename (g_getenv ("LF_GOLDEN_DATA"), "torch", "odd.pt", NULL);
  g_autofree char *contents = NULL;
  g_autoptr (GByteArray) out = g_byte_array_new ();
  g_autoptr (GBytes) bytes = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (LfContainer) plain = NULL, wide = NULL;
  gsize size;
  guint i;

  g_assert_true (g_file_get_contents (path, &contents, &size, NULL));
  plain = lf_container_open (path, &error);
  g_assert_no_error (error);
  g_byte_array_append (out, (const guint8 *) contents, size);
  widen (out);
  bytes = g_bytes_new_static (out->data, out->len);
  wide = lf_container_open_bytes ("wide", bytes, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (lf_container_get_size (wide), ==, lf_container_get_size (plain));
  for (i = 0; i < lf_container_get_size (plain); i++) {
    const LfTensorInfo *a = lf_container_get_tensor (plain, i);
    const LfTensorInfo *b = lf_container_find (wide, a->name);
    float x[64], y[64];

    g_assert_true (lf_container_read (plain, a, 0, MIN (a->count, 64), LF_DTYPE_F32, x, &error));
    g_assert_true (lf_container_read (wide, b, 0, MIN (a->count, 64), LF_DTYPE_F32, y, &error));
    g_assert_cmpmem (x, MIN (a->count, 64) * 4, y, MIN (a->count, 64) * 4);
  }
}

/* Whatever single byte of a file is wrong, it opens and reads, or says in one line why not. */
static void
test_every_byte (void)
{
  static const char *const names[] = {"odd.pt", "odd.safetensors"};
  static const guint8 masks[] = {0xff, 0x01, 0x80};
  guint i, refused = 0;
  gsize size, at;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path = g_build_filename (g_getenv ("LF_GOLDEN_DATA"), "torch", names[i], NULL);
    g_autofree char *contents = NULL;

    g_assert_true (g_file_get_contents (path, &contents, &size, NULL));
    for (at = 0; at < size * G_N_ELEMENTS (masks); at++) {
      g_autofree char *flipped = g_memdup2 (contents, size);
      g_autoptr (GBytes) bytes = g_bytes_new_static (flipped, size);
      g_autoptr (GError) error = NULL;
      g_autoptr (LfContainer) c = NULL;
      guint j;

      flipped[at / G_N_ELEMENTS (masks)] ^= masks[at % G_N_ELEMENTS (masks)];
      c = lf_container_open_bytes ("flipped", bytes, &error);
      if (!c) {
        refused++;
        g_assert_true (error->domain == LF_ERROR);
        g_assert_true (g_str_has_prefix (error->message, "flipped: "));
        g_assert_null (strchr (error->message, '\n'));
        continue;
      }
      for (j = 0; j < lf_container_get_size (c); j++) {
        const LfTensorInfo *t = lf_container_get_tensor (c, j);
        g_autofree float *values = g_new (float, t->count + 1);

        g_assert_cmpint (t->count, <=, (gint64) size);
        g_assert_true (lf_container_read (c, t, 0, t->count, LF_DTYPE_F32, values, &error));
      }
    }
  }
  /* most bytes are contents; but there are headers, too */
  g_assert_cmpuint (refused, >, 1000);
}

/* What plain damage does not make: pickles that are well formed and wrong. */
static void
test_wrong_pickles (Place *place, gconstpointer data)
{
#define TENSOR(shape, stride)                                                                      \
  "X\x01\0\0\0tctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"      \
  "X\x01\0\0\0000X\x03\0\0\0cpuK\x04tQK\0" shape stride "\x89"                                     \
  "ccollections\nOrderedDict\n)RtR"
#define CASE(pickle, word)                                                                         \
  {                                                                                                \
    pickle, sizeof (pickle) - 1, word                                                              \
  }
  static const struct
  {
    const char *pickle;
    gsize size;
    const char *word;
  } cases[] = {
      CASE ("\x80\x02}(" TENSOR ("K\x04\x85", "K\x01\x85") TENSOR ("K\x04\x85", "K\x01\x85") "u.",
          "it is there twice"),
      CASE ("\x80\x02}(" TENSOR ("M\xff\xff\x85", "K\0\x85") "u.", "more elements"),
      CASE ("\x80\x02}(" TENSOR ("K\x04\x85", "J\xff\xff\xff\xff\x85") "u.", "beyond its data"),
      CASE ("\x80\x02}(" TENSOR ("J\xfc\xff\xff\xff\x85", "K\x01\x85") "u.", "shape is impossible"),
  };
#undef TENSOR
  static const float storage[4] = {1, 2, 3, 4};
  g_autofree char *path = in_place (place, "wrong.pt");
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    zip_t *zip = zip_open (path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    g_autoptr (LfContainer) c = NULL;
    g_autoptr (GError) error = NULL;
    zip_int64_t entry;

    entry = zip_file_add (
        zip, "x/data.pkl", zip_source_buffer (zip, cases[i].pickle, cases[i].size, 0), 0);
    zip_set_file_compression (zip, entry, ZIP_CM_STORE, 0);
    entry =
        zip_file_add (zip, "x/data/0", zip_source_buffer (zip, storage, sizeof (storage), 0), 0);
    zip_set_file_compression (zip, entry, ZIP_CM_STORE, 0);
    g_assert_cmpint (zip_close (zip), ==, 0);
    c = lf_container_open (path, &error);
    g_assert_null (c);
    g_test_message ("%s", error->message);
    g_assert_error (error, LF_ERROR, LF_ERROR_INVALID_FILE);
    g_assert_nonnull (strstr (error->message, "wrong.pt: tensor t: "));
    g_assert_nonnull (strstr (error->message, cases[i].word));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add (name, Place, NULL, place_setup, func, place_teardown)
  g_test_add_func ("/parts/names", test_names);
  ADD ("/parts/decoders", test_decoders);
  ADD ("/parts/two-transformers", test_two_transformers);
  ADD ("/parts/problems", test_problems);
  ADD ("/parts/index", test_index);
  ADD ("/parts/tokenizer", test_tokenizer);
  ADD ("/parts/transformers-text", test_transformers_text);
  ADD ("/parts/packed", test_packed);
  ADD ("/parts/scales", test_scales);
  g_test_add_func ("/parts/wide-archive", test_wide_archive);
  g_test_add_func ("/parts/every-byte", test_every_byte);
  ADD ("/parts/wrong-pickles", test_wrong_pickles);
#undef ADD
  return g_test_run ();
}
