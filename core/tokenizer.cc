/* lightforce: SentencePiece, seen from C
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "text.h"

#include <sentencepiece_processor.h>

#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "i18n.h"

/* No exception leaves this file. */

namespace {

constexpr gint32 END_ID = 1; /* </s>: what the encoders were trained with */

struct Bytes
{
  const guint8 *data;
  gsize size;
};

bool
read_varint (Bytes *in, guint64 *value)
{
  *value = 0;
  for (int shift = 0; shift < 64 && in->size; shift += 7) {
    guint8 byte = *in->data++;

    in->size--;
    *value |= static_cast<guint64> (byte & 0x7F) << shift;
    if (!(byte & 0x80))
      return true;
  }
  return false;
}

/* One field of a protobuf message; `body` is empty where the field is a number. */
bool
read_field (Bytes *in, guint64 *number, Bytes *body)
{
  guint64 key, size = 0;

  if (!read_varint (in, &key))
    return false;
  *number = key >> 3;
  *body = {in->data, 0};
  switch (key & 7) {
    case 0:
      return read_varint (in, &size);
    case 1:
      size = 8;
      break;
    case 2:
      if (!read_varint (in, &size))
        return false;
      break;
    case 5:
      size = 4;
      break;
    default: /* groups: no such model has them */
      return false;
  }
  if (size > in->size)
    return false;
  if ((key & 7) == 2)
    *body = {in->data, static_cast<gsize> (size)};
  in->data += size;
  in->size -= size;
  return true;
}

/* A table of character replacements: bytes of a double-array trie, its units, and the
 * replacements it points at. SentencePiece walks it unchecked, so every step that a unit
 * allows must end inside. */
bool
charsmap_is_sound (Bytes map)
{
  auto word_at = [&map] (gsize i) {
    guint32 word;

    memcpy (&word, map.data + i, sizeof word);
    return GUINT32_FROM_LE (word);
  };
  guint64 trie_bytes, units, texts;

  if (!map.size)
    return true;
  if (map.size < 4)
    return false;
  trie_bytes = word_at (0);
  if (trie_bytes % 4 || trie_bytes == 0 || 4 + trie_bytes >= map.size)
    return false;
  units = trie_bytes / 4;
  texts = map.size - 4 - trie_bytes;
  if (map.data[map.size - 1] != 0)
    return false;
  for (guint64 i = 0; i < units; i++) {
    guint32 unit = word_at (4 + 4 * i);
    guint64 offset = static_cast<guint64> (unit >> 10) << ((unit & 0x200) >> 6);
    guint64 next = i ^ offset;

    if (unit >> 31 && i > 0)
      continue; /* a value: nothing leads on from it */
    if ((next | 0xFF) >= units)
      return false;
    if (unit & 0x100 && (word_at (4 + 4 * next) & 0x7FFFFFFF) >= texts)
      return false;
  }
  return true;
}

/* Whether the fields are whole and the normalizers (fields 3 and 5) can be walked. */
bool
model_is_sound (Bytes model)
{
  guint64 number;
  Bytes body;

  while (model.size) {
    if (!read_field (&model, &number, &body))
      return false;
    if (number != 3 && number != 5)
      continue;
    while (body.size) {
      guint64 inner;
      Bytes map;

      if (!read_field (&body, &inner, &map) || (inner == 2 && !charsmap_is_sound (map)))
        return false;
    }
  }
  return true;
}

/* What went wrong, for people: failed checks only name lines of source. */
std::string
plain_reason (const sentencepiece::util::Status &status)
{
  std::string text = status.ToString ();

  if (text.find (".cc(") != std::string::npos)
    return "the file is damaged or cut off";
  g_autofree char *valid = g_utf8_make_valid (text.c_str (), text.size ());
  return valid;
}

/* A token for each word: the same for the same one. */
sentencepiece::util::Status
count_words (const char *text, gint vocab, std::vector<int> *pieces)
{
  g_auto (GStrv) words = g_strsplit (text, " ", -1);

  for (gint i = 0; words[i]; i++) {
    if (*words[i])
      pieces->push_back (vocab < 3 ? 0 : 2 + g_str_hash (words[i]) % (vocab - 2));
  }
  return sentencepiece::util::Status ();
}

} // namespace

struct _LfTokenizer
{
  sentencepiece::SentencePieceProcessor processor;
  gint stand_in = 0; /* the vocabulary where words are counted only, and nothing is loaded */
};

LfTokenizer *
lf_tokenizer_new (GBytes *model, const char *path, GError **error)
{
  LfTokenizer *tokenizer = nullptr;
  LfError code = LF_ERROR_INVALID_FILE;
  std::string reason;

  try {
    gsize size;
    auto *data = static_cast<const guint8 *> (g_bytes_get_data (model, &size));

    tokenizer = new LfTokenizer;
    if (!size || !model_is_sound ({data, size})) {
      reason = _ ("the file is damaged or cut off");
    } else {
      auto status = tokenizer->processor.LoadFromSerializedProto (
          absl::string_view (reinterpret_cast<const char *> (data), size));

      if (!status.ok ())
        reason = plain_reason (status);
      else if (tokenizer->processor.eos_id () != END_ID) {
        code = LF_ERROR_INVALID_MODEL;
        g_autofree char *text =
            g_strdup_printf (_ ("</s> has id %d and not 1"), tokenizer->processor.eos_id ());

        reason = text;
      }
    }
  } catch (const std::exception &e) {
    reason = e.what ();
  }
  if (tokenizer && reason.empty ())
    return tokenizer;
  lf_tokenizer_free (tokenizer);
  g_set_error (error, LF_ERROR, code,
      _ ("%s: not a SentencePiece model that can be used: %s; give the spiece.model that belongs "
         "to "
         "the text encoder"),
      path, reason.c_str ());
  return nullptr;
}

LfTokenizer *
lf_tokenizer_new_stand_in (gint vocab)
{
  auto *tokenizer = new LfTokenizer;

  tokenizer->stand_in = vocab;
  return tokenizer;
}

void
lf_tokenizer_free (LfTokenizer *tokenizer)
{
  delete tokenizer;
}

gint
lf_tokenizer_get_size (const LfTokenizer *tokenizer)
{
  return tokenizer->stand_in ? tokenizer->stand_in : tokenizer->processor.GetPieceSize ();
}

gint
lf_tokenizer_encode (
    const LfTokenizer *tokenizer, const char *prompt, gint32 *ids, gint max, GError **error)
{
  const char *bad;
  gint n = 0;

  g_return_val_if_fail (prompt && max > 0, -1);
  if (!g_utf8_validate (prompt, -1, &bad)) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("prompt: byte %zu is not UTF-8; convert the text to UTF-8"),
        static_cast<gsize> (bad - prompt));
    return -1;
  }
  try {
    g_autofree char *clean = lf_prompt_clean (prompt);
    std::vector<int> pieces;
    auto status = tokenizer->stand_in ? count_words (clean, tokenizer->stand_in, &pieces)
                                      : tokenizer->processor.Encode (clean, &pieces);

    if (!status.ok ()) {
      g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, _ ("prompt: the tokenizer failed: %s"),
          plain_reason (status).c_str ());
      return -1;
    }
    for (; n < static_cast<gint> (pieces.size ()) && n < max - 1; n++)
      ids[n] = pieces[n];
  } catch (const std::exception &e) {
    g_set_error (
        error, LF_ERROR, LF_ERROR_NO_MEMORY, _ ("prompt: the tokenizer failed: %s"), e.what ());
    return -1;
  }
  ids[n++] = END_ID;
  return n;
}
