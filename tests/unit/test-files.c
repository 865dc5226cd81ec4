/* lightforce: tests of weight files, sound and damaged
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <zip.h>

#include "core/container.h"
#include "core/json.h"
#include "scratch.h"

static void
assert_refused (const char *path, gint code, const char *word)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (LfContainer) container = lf_container_open (path, &error);

  g_assert_null (container);
  assert_error (error, code, path, word);
}

/* ------------------------------------------------------------- element types */

static void
test_dtypes (void)
{
  static const struct
  {
    float value;
    guint16 f16, bf16;
  } cases[] = {
      {0.0f, 0x0000, 0x0000},
      {-0.0f, 0x8000, 0x8000},
      {1.0f, 0x3c00, 0x3f80},
      {-2.5f, 0xc100, 0xc020},
      {65504.0f, 0x7bff, 0x4780},
      {65519.0f, 0x7bff, 0x4780},
      {65520.0f, 0x7c00, 0x4780}, /* rounds to infinity in 16 bits */
      {0x1p-14f, 0x0400, 0x3880},
      {0x1p-24f, 0x0001, 0x3380},
      {0x1p-25f, 0x0000, 0x3300},     /* half of the smallest: to even */
      {0x1.8p-24f, 0x0002, 0x33c0},   /* one and a half: to even */
      {1 + 0x1p-11f, 0x3c00, 0x3f80}, /* ties go to even */
      {1 + 0x3p-11f, 0x3c02, 0x3f80},
      {1 + 0x1p-8f, 0x3c04, 0x3f80},
      {1 + 0x3p-8f, 0x3c0c, 0x3f82},
      {INFINITY, 0x7c00, 0x7f80},
      {-INFINITY, 0xfc00, 0xff80},
  };
  float nan = NAN, back;
  guint16 bits;
  guint8 byte;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    lf_dtype_convert (&bits, LF_DTYPE_F16, &cases[i].value, LF_DTYPE_F32, 1);
    g_assert_cmphex (bits, ==, cases[i].f16);
    lf_dtype_convert (&bits, LF_DTYPE_BF16, &cases[i].value, LF_DTYPE_F32, 1);
    g_assert_cmphex (bits, ==, cases[i].bf16);
  }
  /* all 65536 values survive the way there and back */
  for (i = 0; i < 65536; i++) {
    guint16 in = i, out;

    lf_dtype_convert (&back, LF_DTYPE_F32, &in, LF_DTYPE_F16, 1);
    lf_dtype_convert (&out, LF_DTYPE_F16, &back, LF_DTYPE_F32, 1);
    g_assert_true (out == in || (isnan (back) && (out & 0x7c00) == 0x7c00 && (out & 0x3ff)));
    lf_dtype_convert (&back, LF_DTYPE_F32, &in, LF_DTYPE_BF16, 1);
    lf_dtype_convert (&out, LF_DTYPE_BF16, &back, LF_DTYPE_F32, 1);
    g_assert_true (out == in || (isnan (back) && (out & 0x7f80) == 0x7f80 && (out & 0x7f)));
  }
  lf_dtype_convert (&bits, LF_DTYPE_F16, &nan, LF_DTYPE_F32, 1);
  g_assert_true ((bits & 0x7c00) == 0x7c00 && (bits & 0x3ff));
  lf_dtype_convert (&bits, LF_DTYPE_BF16, &nan, LF_DTYPE_F32, 1);
  g_assert_true ((bits & 0x7f80) == 0x7f80 && (bits & 0x7f));

  byte = 0x7e; /* the largest FP8: 448 */
  lf_dtype_convert (&back, LF_DTYPE_F32, &byte, LF_DTYPE_F8_E4M3, 1);
  g_assert_cmpfloat (back, ==, 448);
  byte = 0x81; /* the smallest negative one */
  lf_dtype_convert (&back, LF_DTYPE_F32, &byte, LF_DTYPE_F8_E4M3, 1);
  g_assert_cmpfloat (back, ==, -0x1p-9f);
  byte = 0x7f;
  lf_dtype_convert (&back, LF_DTYPE_F32, &byte, LF_DTYPE_F8_E4M3, 1);
  g_assert_true (isnan (back));
}

/* ------------------------------------------------------------- safetensors */

/* A file of this header, and data of this size. */
static char *
write_safetensors (const char *header, gsize data)
{
  gsize length = strlen (header);
  g_autofree guint8 *file = g_malloc0 (8 + length + data);
  guint64 le = GUINT64_TO_LE ((guint64) length);

  memcpy (file, &le, 8);
  memcpy (file + 8, header, length);
  return write_file ("bad.safetensors", file, 8 + length + data);
}

static void
test_bad_safetensors (void)
{
#define T(offsets, shape)                                                                          \
  "{\"t\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
  static const struct
  {
    const char *header;
    gsize data;
    gint code;
    const char *word;
  } cases[] = {
      {T ("[0,16]", "[2,2]"), 8, LF_ERROR_INVALID_FILE, "tensor t"}, /* truncated */
      {T ("[0,16]", "[2,3]"), 16, LF_ERROR_INVALID_FILE, "do not agree"},
      {T ("[0,16]", "[-2,-2]"), 16, LF_ERROR_INVALID_FILE, "shape"},
      {T ("[0,16]", "[4294967296,4294967296,4294967296]"), 16, LF_ERROR_INVALID_FILE, "shape"},
      {T ("[0,16]", "[9223372036854775807]"), 16, LF_ERROR_INVALID_FILE, "agree"},
      {T ("[0,16]", "[1e300]"), 16, LF_ERROR_INVALID_FILE, "shape"},
      {T ("[0,16]", "[1,1,1,1,1,1,1,1,4]"), 16, LF_ERROR_INVALID_FILE, "shape"},
      {T ("[0,16]", "\"no\""), 16, LF_ERROR_INVALID_FILE, "shape"},
      {T ("[16,0]", "[4]"), 16, LF_ERROR_INVALID_FILE, "beyond the end"},
      {T ("[0]", "[4]"), 16, LF_ERROR_INVALID_FILE, "beyond the end"},
      {T ("[NaN,16]", "[4]"), 16, LF_ERROR_INVALID_FILE, "JSON"},
      {T ("[0,9999999999999999999]", "[4]"), 16, LF_ERROR_INVALID_FILE, "tensor t"},
      {T ("[0,18446744073709551615]", "[4]"), 16, LF_ERROR_INVALID_FILE, "no JSON of numbers"},
      {"{\"t\":{\"dtype\":\"C64\",\"shape\":[2],\"data_offsets\":[0,16]}}", 16,
          LF_ERROR_UNSUPPORTED, "C64"},
      {"{\"t\":{\"shape\":[2],\"data_offsets\":[0,16]}}", 16, LF_ERROR_INVALID_FILE, "dtype"},
      {"{\"t\":7}", 16, LF_ERROR_INVALID_FILE, "tensor t"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
       "\"b\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[12,24]}}",
          24, LF_ERROR_INVALID_FILE, "overlaps"},
      {"{\"__metadata__\":{\"lightforce\":NaN}}", 0, LF_ERROR_INVALID_FILE, "JSON"},
      {"{\"__metadata__\":{\"lightforce\":7}}", 0, LF_ERROR_INVALID_FILE, "__metadata__"},
      {"{\"__metadata__\":[]}", 0, LF_ERROR_INVALID_FILE, "__metadata__"},
      {"{{{{", 0, LF_ERROR_INVALID_FILE, "JSON"},
      {"{\"a\":\"\xff\xfe\"}", 0, LF_ERROR_INVALID_FILE, "UTF-8"},
      {"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]}", 0, LF_ERROR_INVALID_FILE,
          "nested"},
      {"{\"line\\nbreak\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,999]}}", 16,
          LF_ERROR_INVALID_FILE, "line\\nbreak"},
  };
#undef T
  static const struct
  {
    guint64 length;
    gint code;
    const char *word;
  } lengths[] = {
      {1000, LF_ERROR_INVALID_FILE, "claims"},
      {G_MAXUINT64, LF_ERROR_INVALID_FILE, "claims"},
      {G_MAXUINT64 - 7, LF_ERROR_INVALID_FILE, "claims"},
      {G_MAXINT64, LF_ERROR_INVALID_FILE, "claims"},
  };
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = write_safetensors (cases[i].header, cases[i].data);

    assert_refused (path, cases[i].code, cases[i].word);
  }
  for (i = 0; i < G_N_ELEMENTS (lengths); i++) {
    guint8 file[64] = {0};
    guint64 le = GUINT64_TO_LE (lengths[i].length);
    g_autofree char *path = NULL;

    memcpy (file, &le, 8);
    file[8] = '{';
    path = write_file ("bad.safetensors", file, sizeof (file));
    assert_refused (path, lengths[i].code, lengths[i].word);
  }
}

static void
test_bad_magic (void)
{
  static const struct
  {
    const char *data;
    gsize size;
    const char *word;
  } cases[] = {
      {"", 0, "truncated"},
      {"\x02", 1, "truncated"},
      {"hello, world: this is text", 26, "neither"},
      {"PK\3\4 but no zip", 15, "damaged"},
  };
  g_autofree char *missing = g_build_filename (scratch_dir, "absent.safetensors", NULL);
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = write_file ("magic.bin", cases[i].data, cases[i].size);

    assert_refused (path, LF_ERROR_INVALID_FILE, cases[i].word);
  }
  assert_refused (missing, LF_ERROR_NOT_FOUND, "No such file");
  assert_refused (scratch_dir, LF_ERROR_INVALID_FILE, "no regular file");
}

/* Any cut of a sound file is refused: none is read as if it were whole. */
static void
test_truncated (void)
{
  static const char *const names[] = {
      "text-encoder.safetensors", "torch/odd.pt", "torch/odd.safetensors"};
  guint i, part;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *path = golden_path (names[i]), *data = NULL;
    gsize size;

    g_assert_true (g_file_get_contents (path, &data, &size, NULL));
    for (part = 0; part < 16; part++) {
      g_autofree char *cut = write_file ("cut.bin", data, size * part / 16);
      g_autoptr (GError) error = NULL;
      g_autoptr (LfContainer) container = lf_container_open (cut, &error);

      g_assert_null (container);
      assert_error (error, LF_ERROR_INVALID_FILE, cut, "");
    }
  }
}

/* ------------------------------------------------------------- torch files */

typedef struct
{
  const char *pickle;
  gsize size;
  gint code;
  const char *word;
} PickleCase;

/* An archive of data.pkl and one storage of 16 bytes. */
static char *
write_torch (const void *pickle, gsize size, gboolean compressed, const char *byte_order)
{
  static const guint8 storage[16] = {0, 0, 0x80, 0x3f};
  char *path = g_build_filename (scratch_dir, "bad.pt", NULL);
  zip_int64_t entry;
  zip_t *zip;

  g_unlink (path);
  zip = zip_open (path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
  g_assert_nonnull (zip);
  entry = zip_file_add (zip, "x/data.pkl", zip_source_buffer (zip, pickle, size, 0), 0);
  zip_set_file_compression (zip, entry, compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
  entry = zip_file_add (zip, "x/data/0", zip_source_buffer (zip, storage, sizeof (storage), 0), 0);
  zip_set_file_compression (zip, entry, ZIP_CM_STORE, 0);
  if (byte_order) {
    entry = zip_file_add (
        zip, "x/byteorder", zip_source_buffer (zip, byte_order, strlen (byte_order), 0), 0);
    zip_set_file_compression (zip, entry, ZIP_CM_STORE, 0);
  }
  g_assert_cmpint (zip_close (zip), ==, 0);
  return path;
}

/* {"t": _rebuild_tensor_v2 (storage of `elements`, offset, (shape,), (stride,), ...)} */
#define STORAGE(elements)                                                                          \
  "((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"                                          \
  "0X\x03\0\0\0"                                                                                   \
  "cpu" elements "tQ"
#define TENSOR(elements, offset, shape, stride)                                                    \
  "\x80\x02}(X\x01\0\0\0tctorch._utils\n_rebuild_tensor_v2\n" STORAGE (elements)                   \
      offset shape stride "\x89"                                                                   \
                          "ccollections\nOrderedDict\n)RtRu."
#define CASE(pickle, code, word)                                                                   \
  {                                                                                                \
    pickle, sizeof (pickle) - 1, code, word                                                        \
  }

static void
test_bad_pickles (void)
{
  static const PickleCase cases[] = {
      CASE ("\x80\x02"
            "cos\nsystem\nX\x04\0\0\0true\x85R.",
          LF_ERROR_INVALID_FILE, "os.system"),
      CASE ("\x80\x02"
            "c__builtin__\neval\n.",
          LF_ERROR_INVALID_FILE, "__builtin__.eval"),
      CASE ("\x80\x02"
            "ctorch\nload\n.",
          LF_ERROR_INVALID_FILE, "torch.load"),
      CASE ("\x80\x02"
            "ctorch.nn.modules.linear\nLinear\n)\x81.",
          LF_ERROR_INVALID_FILE, "Linear"),
      CASE ("\x80\x02"
            "c\x1b[31mred\nx\n.",
          LF_ERROR_INVALID_FILE, "\\033"),
      CASE ("\x80\x02"
            "i__main__\nx\n.",
          LF_ERROR_INVALID_FILE, "instruction 0x69"),
      CASE ("\x80\x04\x8c\x05shortq.", LF_ERROR_INVALID_FILE, "instruction"),
      CASE ("", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("\x80", LF_ERROR_INVALID_FILE, "damaged"),
      CASE (".", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("(.", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("tttt.", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("}(K\x01u.", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("}h\x07.", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("X\xff\xff\xff\x7f"
            "a.",
          LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("X\xff\xff\xff\xff"
            "a.",
          LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("X\x02\0\0\0\xff\xfe.", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("\x8a\xff.", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("]R.", LF_ERROR_INVALID_FILE, "damaged"),
      CASE ("K\x01.", LF_ERROR_INVALID_FILE, "no dict"),
      /* a dict in itself: walking it must end */
      CASE ("}q\0(X\x01\0\0\0ah\0u.", LF_ERROR_INVALID_FILE, "nested"),
      /* ten dicts, each of which holds the one before ten times over */
      CASE (TENSOR ("K\x05", "K\0", "K\x04\x85", "K\x01\x85"), LF_ERROR_INVALID_FILE, "shorter"),
      CASE (TENSOR ("K\x04", "K\x01", "K\x04\x85", "K\x01\x85"), LF_ERROR_INVALID_FILE, "beyond"),
      CASE (TENSOR ("K\x04", "K\0", "K\x04\x85", "K\x02\x85"), LF_ERROR_INVALID_FILE, "beyond"),
      CASE (TENSOR ("K\x04", "K\0", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "K\x01\x85"),
          LF_ERROR_INVALID_FILE, "shape"),
      CASE (TENSOR ("K\x04", "K\0", "K\x02\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"),
          LF_ERROR_INVALID_FILE, "beyond"),
      CASE (TENSOR ("K\x04", "J\xff\xff\xff\xff", "K\x04\x85", "K\x01\x85"), LF_ERROR_INVALID_FILE,
          "damaged"),
      CASE (TENSOR ("K\x04", "K\0", "J\xff\xff\xff\xff\x85", "K\x01\x85"), LF_ERROR_INVALID_FILE,
          "damaged"),
      CASE (TENSOR ("J\xff\xff\xff\xff", "K\0", "K\x04\x85", "K\x01\x85"), LF_ERROR_INVALID_FILE,
          "damaged"),
      CASE (
          TENSOR ("K\x04", "K\0", "K\x04\x85", "K\x01K\x01\x86"), LF_ERROR_INVALID_FILE, "damaged"),
  };
  static const char good[] = TENSOR ("K\x04", "K\0", "K\x04\x85", "K\x01\x85");
  g_autoptr (GError) error = NULL;
  g_autoptr (LfContainer) container = NULL;
  g_autofree char *path = NULL;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *bad = write_torch (cases[i].pickle, cases[i].size, FALSE, NULL);

    assert_refused (bad, cases[i].code, cases[i].word);
  }
  /* the same file without the fault opens */
  path = write_torch (good, sizeof (good) - 1, FALSE, "little");
  container = lf_container_open (path, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (lf_container_get_size (container), ==, 1);
  g_assert_cmpint (lf_container_find (container, "t")->count, ==, 4);
}

static void
test_bad_archives (void)
{
  static const char good[] = TENSOR ("K\x04", "K\0", "K\x04\x85", "K\x01\x85");
  g_autoptr (GString) bomb = g_string_new ("\x80\x02");
  g_autofree char *compressed = NULL, *big = NULL, *empty = NULL, *path = NULL;
  zip_t *zip;
  gint level, i;

  compressed = write_torch (good, sizeof (good) - 1, TRUE, NULL);
  assert_refused (compressed, LF_ERROR_INVALID_FILE, "compressed");
  big = write_torch (good, sizeof (good) - 1, FALSE, "big");
  assert_refused (big, LF_ERROR_UNSUPPORTED, "big-endian");

  /* a zip bomb: 256 MiB of zeros in a few hundred KiB */
  {
    gsize size = 256 << 20;
    g_autofree guint8 *zeros = g_malloc0 (size);
    g_autofree char *zeros_path = write_torch (zeros, size, TRUE, NULL);

    assert_refused (zeros_path, LF_ERROR_INVALID_FILE, "compressed");
  }

  empty = g_build_filename (scratch_dir, "plain.zip", NULL);
  zip = zip_open (empty, ZIP_CREATE | ZIP_TRUNCATE, NULL);
  g_assert_true (zip_file_add (zip, "readme", zip_source_buffer (zip, "hi", 2, 0), 0) >= 0);
  g_assert_cmpint (zip_close (zip), ==, 0);
  assert_refused (empty, LF_ERROR_INVALID_FILE, "data.pkl");

  /* shared dicts that spell out ten to the seventh tensors */
  g_string_append_len (bomb, "}q\0", 3);
  for (level = 1; level < 8; level++) {
    g_string_append_len (bomb, "}(", 2);
    for (i = 0; i < 10; i++) {
      g_string_append_len (bomb, "X\x01\0\0\0", 5);
      g_string_append_c (bomb, 'a' + i);
      g_string_append_c (bomb, 'h');
      g_string_append_c (bomb, level - 1);
    }
    g_string_append_len (bomb, "uq", 2);
    g_string_append_c (bomb, level);
  }
  g_string_append_c (bomb, '.');
  path = write_torch (bomb->str, bomb->len, FALSE, NULL);
  assert_refused (path, LF_ERROR_INVALID_FILE, "nested");
}

/* ---------------------------------------------- what PyTorch wrote, read back */

static void
assert_same_tensors (LfContainer *a, const char *prefix, LfContainer *b)
{
  guint i;

  for (i = 0; i < lf_container_get_size (b); i++) {
    const LfTensorInfo *y = lf_container_get_tensor (b, i);
    g_autofree char *name = g_strconcat (prefix, y->name, NULL);
    const LfTensorInfo *x = lf_container_find (a, name);
    gsize bytes = y->count * lf_dtype_size (y->dtype);
    g_autofree guint8 *p = g_malloc (bytes + 1), *q = g_malloc (bytes + 1);
    g_autoptr (GError) error = NULL;
    gint d;

    g_test_message ("%s", name);
    g_assert_nonnull (x);
    g_assert_cmpint (x->dtype, ==, y->dtype);
    g_assert_cmpint (x->ndim, ==, y->ndim);
    for (d = 0; d < y->ndim; d++)
      g_assert_cmpint (x->shape[d], ==, y->shape[d]);
    g_assert_true (lf_container_read (a, x, 0, x->count, x->dtype, p, &error));
    g_assert_true (lf_container_read (b, y, 0, y->count, y->dtype, q, &error));
    g_assert_cmpmem (p, bytes, q, bytes);
    /* and piece by piece, from the back */
    for (d = y->count - 1; d >= 0; d--) {
      gsize size = lf_dtype_size (y->dtype);

      g_assert_true (lf_container_read (a, x, d, 1, x->dtype, p, &error));
      g_assert_cmpmem (p, size, q + d * size, size);
    }
  }
}

static void
test_odd (void)
{
  g_autofree char *torch = golden_path ("torch/odd.pt");
  g_autofree char *plain = golden_path ("torch/odd.safetensors");
  g_autofree char *legacy = golden_path ("torch/odd-legacy.pt");
  g_autoptr (GError) error = NULL;
  g_autoptr (LfContainer) a = lf_container_open (torch, &error);
  g_autoptr (LfContainer) b = lf_container_open (plain, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (lf_container_get_size (b), ==, 12);
  g_assert_cmpuint (lf_container_get_size (a), ==, 12);
  g_assert_cmpstr (lf_container_get_format (a), ==, "torch");
  g_assert_cmpstr (lf_container_get_format (b), ==, "safetensors");
  assert_same_tensors (a, "state_dict/", b);
  assert_refused (legacy, LF_ERROR_UNSUPPORTED, "torch.save(torch.load(");
}

/* ------------------------------------------------------------------------ JSON */

static void
test_json (void)
{
  static const struct
  {
    const char *text, *word;
  } cases[] = {
      {"{\"a\":1,\"a\":1}", "two members"},
      {"{\"a\":{\"b\":1,\"b\":2}}", "two members"},
      {"{\"a\":1 /* \" */ }", "no JSON"},
      {"{\"a\":1} // [", "no JSON"},
      {"{'a':1}", "no JSON"},
      {"{\"a\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}", "nested"},
      {"{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[\"", "no JSON"},
      {"", "no JSON"},
      {"{\"a\":-18446744073709551617}", "no JSON of numbers"},
      {"7", "no JSON object"},
      {"{\"a\":NaN}", "no JSON"},
      {"{\"a\":\"\\ud800\"}", "no JSON of whole"},
      {"{\"a\":\"x\\ud800y\"}", "no JSON of whole"},
      {"{\"a\":\"\\ud800\\u0041\"}", "no JSON of whole"},
      {"{\"a\":\"\\udc00\"}", "no JSON of whole"},
      {"{\"a\":\"\\377\"}", "no JSON of whole"},
      {"{\"a\":\"\\0\"}", "no JSON of whole"},
      {"{\"a\":\"\\x80\"}", "no JSON of whole"},
      {"{\"a\":\"\\u12\"}", "no JSON of whole"},
      {"{\"a\":\"\\u\"}", "no JSON of whole"},
      {"{\"\\ud83d\":1}", "no JSON of whole"},
      {"{\"a\":\"\\ud8", "no JSON"},
      {"{\"a\":\"\\", "no JSON"},
  };
  const char *pair = "{\"a\":\"\\\\ud800 \\ud83d\\uDE00 \\u00e9\"}";
  g_autoptr (GString) many = g_string_new ("{\"a\":[0");
  g_autoptr (JsonParser) good = NULL;
  g_autoptr (GError) error = NULL;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) bad = NULL;

    g_test_message ("%s", cases[i].text);
    g_assert_null (lf_json_parse ("file", "text", cases[i].text, strlen (cases[i].text), &bad));
    g_assert_error (bad, LF_ERROR, LF_ERROR_INVALID_FILE);
    g_assert_nonnull (strstr (bad->message, cases[i].word));
  }
  for (i = 0; i < 2000000; i++)
    g_string_append (many, ",0");
  g_string_append (many, "]}");
  g_assert_null (lf_json_parse ("file", "text", many->str, many->len, &error));
  g_assert_nonnull (strstr (error->message, "longer"));
  g_clear_error (&error);
  good = lf_json_parse ("file", "text", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}", 25, &error);
  g_assert_no_error (error);
  g_clear_object (&good);
  good = lf_json_parse ("file", "text", pair, strlen (pair), &error);
  g_assert_no_error (error);
  g_assert_cmpstr (json_object_get_string_member (lf_json_root (good), "a"), ==,
      "\\ud800 \xf0\x9f\x98\x80 \xc3\xa9");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/files/dtypes", test_dtypes);
  g_test_add_func ("/files/bad-safetensors", test_bad_safetensors);
  g_test_add_func ("/files/bad-magic", test_bad_magic);
  g_test_add_func ("/files/truncated", test_truncated);
  g_test_add_func ("/files/bad-pickles", test_bad_pickles);
  g_test_add_func ("/files/bad-archives", test_bad_archives);
  g_test_add_func ("/files/odd", test_odd);
  g_test_add_func ("/files/json", test_json);
  return scratch_run ();
}
