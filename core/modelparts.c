/* lightforce: parts of models in files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "modelparts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "container-private.h"
#include "i18n.h"
#include "json.h"
#include "modelkeys.h"

#define MAX_SCAN_DEPTH 3
#define MAX_SCAN_FILES 10000
#define MAX_SHARDS 1000
#define MAX_INDEX (64 << 20)
#define MAX_TOKENIZER (64 << 20)

/* -------------------------------------------------------------------- parts */

LfModelPart *
lf_model_part_new (LfPart kind, const char *path)
{
  LfModelPart *part = g_new0 (LfModelPart, 1);

  part->kind = kind;
  part->path = g_strdup (path);
  part->refs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  part->names = g_ptr_array_new ();
  return part;
}

void
lf_model_part_free (LfModelPart *part)
{
  g_free (part->path);
  g_hash_table_unref (part->refs);
  g_ptr_array_unref (part->names);
  g_free (part);
}

gboolean
lf_model_part_add (
    LfModelPart *part, const char *name, LfContainer *container, const LfTensorInfo *tensor)
{
  LfWeightRef *ref;
  char *own;

  if (g_hash_table_contains (part->refs, name))
    return FALSE;
  ref = g_new0 (LfWeightRef, 1);
  ref->container = container;
  ref->tensor = tensor;
  own = g_strdup (name);
  g_hash_table_insert (part->refs, own, ref);
  g_ptr_array_add (part->names, own);
  return TRUE;
}

/* One scale for all, or one a row. */
static gboolean
check_scale (const LfWeightRef *weight, const LfWeightRef *scale, GError **error)
{
  const LfTensorInfo *t = weight->tensor, *s = scale->tensor;

  if (s->count == 1 || (t->ndim > 0 && s->count > 0 && s->count == t->shape[0]))
    return TRUE;
  lf_container_set_error (error, LF_ERROR_INVALID_MODEL, lf_container_get_path (scale->container),
      s->name, _ ("it holds %ld scales; 1, or one for each row of the weight, belong here"),
      (glong) s->count);
  return FALSE;
}

/* Gives quantised weights their scales, which are no weights of their own, and drops what is not
 * the part's. */
static gboolean
tidy (LfModelPart *part, GError **error)
{
  guint i, kept = 0;

  for (i = 0; i < part->names->len; i++) {
    char *name = g_ptr_array_index (part->names, i);
    LfWeightRef *ref = g_hash_table_lookup (part->refs, name), *weight;
    g_autofree char *weight_name = NULL;
    LfRole role = lf_native_name_role (name, &weight_name);

    if (role == LF_ROLE_WEIGHT && !lf_part_ignores (part->kind, name)) {
      part->names->pdata[kept++] = name;
      continue;
    }
    weight = weight_name ? g_hash_table_lookup (part->refs, weight_name) : NULL;
    if (weight) {
      if (!check_scale (weight, ref, error))
        return FALSE;
      weight->scale_container = ref->container;
      weight->scale = ref->tensor;
    }
    g_hash_table_remove (part->refs, name);
  }
  g_ptr_array_set_size (part->names, kept);
  return TRUE;
}

/* ----------------------------------------------------------- files of tensors */

LfFound *
lf_found_new (void)
{
  LfFound *found = g_new0 (LfFound, 1);

  found->containers = g_ptr_array_new_with_free_func ((GDestroyNotify) lf_container_close);
  found->parts = g_ptr_array_new_with_free_func ((GDestroyNotify) lf_model_part_free);
  found->problems = g_ptr_array_new_with_free_func (g_free);
  return found;
}

void
lf_found_free (LfFound *found)
{
  g_ptr_array_unref (found->parts);
  g_ptr_array_unref (found->containers);
  g_ptr_array_unref (found->problems);
  g_clear_pointer (&found->tokenizer, g_bytes_unref);
  g_free (found->tokenizer_path);
  g_free (found);
}

static void
take_tokenizer (LfFound *found, GBytes *bytes, const char *path)
{
  g_clear_pointer (&found->tokenizer, g_bytes_unref);
  g_free (found->tokenizer_path);
  found->tokenizer = bytes;
  found->tokenizer_path = g_strdup (path);
}

/* A tokenizer's bytes as a tensor. */
static gboolean
add_tokenizer_tensor (
    LfFound *found, LfContainer *container, const LfTensorInfo *tensor, GError **error)
{
  guint8 *data;

  if (tensor->dtype != LF_DTYPE_U8 || tensor->count > MAX_TOKENIZER) {
    lf_container_set_error (error, LF_ERROR_INVALID_FILE, lf_container_get_path (container),
        tensor->name, _ ("it is not the bytes of a tokenizer"));
    return FALSE;
  }
  if (found->tokenizer)
    return TRUE;
  data = g_malloc (tensor->count + 1);
  if (!lf_container_read (container, tensor, 0, tensor->count, LF_DTYPE_U8, data, error)) {
    g_free (data);
    return FALSE;
  }
  take_tokenizer (found, g_bytes_new_take (data, tensor->count), lf_container_get_path (container));
  return TRUE;
}

/* A packed file holds all parts under prefixes of their own. */
static gboolean
add_packed (LfFound *found, LfContainer *container, const char *description, GError **error)
{
  static const char *const prefixes[LF_N_PARTS] = {
      "transformer.", "text_encoder.", "decoder.", "encoder."};
  const char *path = lf_container_get_path (container);
  guint n = lf_container_get_size (container), i;
  LfModelPart *parts[LF_N_PARTS] = {NULL};
  gboolean ok = TRUE;
  gint j;

  for (i = 0; i < n && ok; i++) {
    const LfTensorInfo *tensor = lf_container_get_tensor (container, i);

    for (j = 0; j < LF_N_PARTS && !g_str_has_prefix (tensor->name, prefixes[j]); j++)
      ;
    if (j < LF_N_PARTS) {
      if (!parts[j])
        parts[j] = lf_model_part_new (j, path);
      lf_model_part_add (parts[j], tensor->name + strlen (prefixes[j]), container, tensor);
    } else if (g_str_equal (tensor->name, "tokenizer.model")) {
      ok = add_tokenizer_tensor (found, container, tensor, error);
    } else {
      lf_container_set_error (error, LF_ERROR_INVALID_MODEL, path, tensor->name,
          _ ("it belongs to no part of a packed model"));
      ok = FALSE;
    }
  }
  for (j = 0; j < LF_N_PARTS; j++) {
    LfPart kind;

    if (!parts[j])
      continue;
    parts[j]->description = description;
    if (ok
        && (!lf_recognise_part (parts[j]->refs, &kind, &parts[j]->decoder) || (gint) kind != j)) {
      g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
          _ ("%s: the tensors under %s* are not those of that part"), path, prefixes[j]);
      ok = FALSE;
    }
    if (ok && (ok = tidy (parts[j], error)))
      g_ptr_array_add (found->parts, parts[j]);
    else
      lf_model_part_free (parts[j]);
  }
  return ok;
}

gboolean
lf_found_add_packed (LfFound *found, LfContainer *container, GError **error)
{
  g_ptr_array_add (found->containers, container);
  return add_packed (found, container, lf_container_get_metadata (container, "lightforce"), error);
}

/* The dicts that tensors of a file lie in, each with its '/', "" for the top; the ones that are
 * meant for use come first. */
static GPtrArray *
list_dicts (LfContainer *container)
{
  static const char *const preferred[] = {"generator_ema/", "generator/"};
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  GPtrArray *dicts = g_ptr_array_new_with_free_func (g_free);
  guint n = lf_container_get_size (container), i;

  for (i = 0; i < n; i++) {
    const char *name = lf_container_get_tensor (container, i)->name, *slash = strrchr (name, '/');
    char *dict = slash ? g_strndup (name, slash - name + 1) : g_strdup ("");

    if (g_hash_table_contains (seen, dict)) {
      g_free (dict);
    } else {
      g_hash_table_add (seen, dict);
      g_ptr_array_add (dicts, dict);
    }
  }
  for (i = G_N_ELEMENTS (preferred); i-- > 0;) {
    guint at;

    if (g_ptr_array_find_with_equal_func (dicts, preferred[i], g_str_equal, &at))
      g_ptr_array_insert (dicts, 0, g_ptr_array_steal_index (dicts, at));
  }
  return dicts;
}

/* Takes the encoder out of a published decoder; NULL: there is none. */
static LfModelPart *
split_encoder (LfModelPart *decoder)
{
  g_autoptr (LfModelPart) encoder = lf_model_part_new (LF_PART_ENCODER, decoder->path);
  LfDecoderKind unused;
  guint i;

  for (i = 0; i < decoder->names->len; i++) {
    const char *name = g_ptr_array_index (decoder->names, i);
    const LfWeightRef *ref = g_hash_table_lookup (decoder->refs, name);

    if (lf_part_ignores (decoder->kind, name))
      lf_model_part_add (encoder, name, ref->container, ref->tensor);
  }
  return lf_recognise_part (encoder->refs, &encoder->kind, &unused)
                 && encoder->kind == LF_PART_ENCODER
             ? g_steal_pointer (&encoder)
             : NULL;
}

/* The part that the tensors of a dict make, be it spread over several files. NULL without an
 * error: none. `encoder` is the one that a decoder comes with, or NULL. */
static LfModelPart *
make_part (
    LfFound *found, GPtrArray *group, const char *dict, LfModelPart **encoder, GError **error)
{
  g_autoptr (LfModelPart) part =
      lf_model_part_new (0, lf_container_get_path (g_ptr_array_index (group, 0)));
  LfKeyLayout layout = LF_LAYOUT_NATIVE;
  gsize length = strlen (dict);
  guint pass, i, j;

  for (pass = 0; pass < 2; pass++) {
    for (i = 0; i < group->len; i++) {
      LfContainer *container = g_ptr_array_index (group, i);

      for (j = 0; j < lf_container_get_size (container); j++) {
        const LfTensorInfo *tensor = lf_container_get_tensor (container, j);
        const char *leaf = tensor->name + length;
        g_autofree char *name = NULL;

        if (!g_str_has_prefix (tensor->name, dict) || strchr (leaf, '/'))
          continue;
        if (pass == 0) {
          layout = layout ? layout : lf_layout_of (leaf);
        } else if (g_str_equal (leaf, "spiece_model")) {
          if (!add_tokenizer_tensor (found, container, tensor, error))
            return NULL;
        } else {
          name = lf_native_name (leaf, layout);
          /* transformers ties shared.weight and encoder.embed_tokens.weight */
          if (!lf_model_part_add (part, name, container, tensor)
              && layout != LF_LAYOUT_TRANSFORMERS) {
            lf_container_set_error (error, LF_ERROR_INVALID_MODEL,
                lf_container_get_path (container), tensor->name,
                _ ("it is there twice, as %s under two names"), name);
            return NULL;
          }
        }
      }
    }
  }
  if (!lf_recognise_part (part->refs, &part->kind, &part->decoder))
    return NULL;
  *encoder = part->kind == LF_PART_DECODER ? split_encoder (part) : NULL;
  if (!tidy (part, error) || (*encoder && !tidy (*encoder, error))) {
    g_clear_pointer (encoder, lf_model_part_free);
    return NULL;
  }
  return g_steal_pointer (&part);
}

/* Takes the part out of one file, or the shards of one, and keeps the files if there is one.
 * `found_one` says so. */
static gboolean
add_group (LfFound *found, GPtrArray *paths, gboolean *found_one, GError **error)
{
  g_autoptr (GPtrArray) group =
      g_ptr_array_new_with_free_func ((GDestroyNotify) lf_container_close);
  g_autoptr (GPtrArray) dicts = NULL;
  g_autoptr (GError) reason = NULL;
  LfModelPart *part = NULL, *encoder = NULL;
  const char *description;
  guint i;

  *found_one = FALSE;
  for (i = 0; i < paths->len; i++) {
    LfContainer *container = lf_container_open (g_ptr_array_index (paths, i), error);

    if (!container)
      return FALSE;
    g_ptr_array_add (group, container);
  }
  description = lf_container_get_metadata (g_ptr_array_index (group, 0), "lightforce");
  if (description && group->len == 1) {
    guint before = found->parts->len;

    if (!add_packed (found, g_ptr_array_index (group, 0), description, error)) {
      g_ptr_array_set_size (found->parts, before);
      return FALSE;
    }
    *found_one = TRUE;
  } else {
    dicts = list_dicts (g_ptr_array_index (group, 0));
    for (i = 0; i < dicts->len && !part && !reason; i++)
      part = make_part (found, group, g_ptr_array_index (dicts, i), &encoder, &reason);
    if (reason) {
      g_propagate_error (error, g_steal_pointer (&reason));
      return FALSE;
    }
    if (part)
      g_ptr_array_add (found->parts, part);
    if (encoder)
      g_ptr_array_add (found->parts, encoder);
    *found_one = part != NULL;
  }
  if (*found_one)
    g_ptr_array_extend_and_steal (found->containers, g_steal_pointer (&group));
  return TRUE;
}

/* ------------------------------------------------------------------- shards */

/* "name-00001-of-00003.safetensors": the length of "name" and the count of shards. */
static gboolean
parse_shard (const char *path, gsize *stem, gint *count)
{
  const char *dash = g_strrstr (path, "-of-"), *digits = dash;

  if (!dash || strchr (dash, G_DIR_SEPARATOR) || !g_ascii_isdigit (dash[4]))
    return FALSE;
  while (digits > path && g_ascii_isdigit (digits[-1]))
    digits--;
  if (digits == dash || digits == path || digits[-1] != '-')
    return FALSE;
  *stem = digits - 1 - path;
  *count = (gint) MIN (strtol (dash + 4, NULL, 10), MAX_SHARDS + 1);
  return TRUE;
}

/* The shards beside a file that is one of several, or it alone; NULL with `error` naming how many
 * are missing. */
static GPtrArray *
list_shards (const char *path, GError **error)
{
  g_autoptr (GPtrArray) group = g_ptr_array_new_with_free_func (g_free);
  const char *rest;
  gsize stem;
  gint count, width, present = 0, i;

  if (!parse_shard (path, &stem, &count) || count < 1 || count > MAX_SHARDS) {
    g_ptr_array_add (group, g_strdup (path));
    return g_steal_pointer (&group);
  }
  rest = g_strrstr (path, "-of-");
  width = (gint) (rest - path - stem - 1);
  for (i = 1; i <= count; i++) {
    g_ptr_array_add (group, g_strdup_printf ("%.*s-%0*d%s", (int) stem, path, width, i, rest));
    present += g_file_test (g_ptr_array_index (group, i - 1), G_FILE_TEST_IS_REGULAR);
  }
  if (present < count) {
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
        _ ("%s: %d of the %d shards are there; fetch the others"), path, present, count);
    return NULL;
  }
  return g_steal_pointer (&group);
}

static gint
compare_paths (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

/* The files that an index (a JSON with a "weight_map": tensor -> file beside it) names. */
static GPtrArray *
read_index (const char *path, GError **error)
{
  g_autoptr (GPtrArray) group = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  g_autofree char *directory = g_path_get_dirname (path);
  g_autoptr (GMappedFile) file = g_mapped_file_new (path, FALSE, NULL);
  g_autoptr (JsonParser) parser = NULL;
  JsonObjectIter iter;
  JsonNode *map, *node;
  const char *tensor;

  if (!file || g_mapped_file_get_length (file) > MAX_INDEX) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, _ ("%s: it cannot be read"), path);
    return NULL;
  }
  parser = lf_json_parse (
      path, "index", g_mapped_file_get_contents (file), g_mapped_file_get_length (file), error);
  if (!parser)
    return NULL;
  map = json_object_get_member (lf_json_root (parser), "weight_map");
  if (!map || !JSON_NODE_HOLDS_OBJECT (map)) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE,
        _ ("%s: it has no weight_map, so it is no index of shards"), path);
    return NULL;
  }
  json_object_iter_init_ordered (&iter, json_node_get_object (map));
  while (json_object_iter_next_ordered (&iter, &tensor, &node)) {
    const char *name = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
    g_autofree char *full = NULL;

    if (!name || !*name || strchr (name, '/') || group->len > MAX_SHARDS) {
      lf_container_set_error (error, LF_ERROR_INVALID_FILE, path, tensor,
          _ ("its file is not the name of one beside the index"));
      return NULL;
    }
    if (g_hash_table_contains (seen, name))
      continue;
    full = g_build_filename (directory, name, NULL);
    if (!g_file_test (full, G_FILE_TEST_IS_REGULAR)) {
      lf_container_set_error (error, LF_ERROR_NOT_FOUND, path, NULL,
          _ ("the shard %.200s is not there; fetch it, too"), name);
      return NULL;
    }
    g_hash_table_add (seen, (gpointer) name);
    g_ptr_array_add (group, g_steal_pointer (&full));
  }
  if (!group->len) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, _ ("%s: it names no files"), path);
    return NULL;
  }
  g_ptr_array_sort (group, compare_paths);
  return g_steal_pointer (&group);
}

/* ---------------------------------------------------------------- single files */

typedef enum
{
  CONTENT_OTHER,
  CONTENT_TENSORS,
  CONTENT_TOKENIZER,
  CONTENT_INDEX
} Content;

/* A SentencePiece model begins with a piece: a message (field 1) of a string (field 1) and its
 * score (a float, field 2). */
static gboolean
is_tokenizer (const guint8 *data, gsize size)
{
  return size > 16 && data[0] == 0x0a && data[2] == 0x0a && data[1] >= data[3] + 2 && data[3] < 64
         && size > (gsize) data[3] + 5 && data[4 + data[3]] == 0x15;
}

/* What a file seems to be by its first bytes; names only tell that something is wrong. */
static Content
look (const char *path)
{
  static const char *const suffixes[] = {".safetensors", ".pt", ".pth"};
  g_autoptr (GMappedFile) file =
      g_file_test (path, G_FILE_TEST_IS_REGULAR) ? g_mapped_file_new (path, FALSE, NULL) : NULL;
  const guint8 *data = file ? (const guint8 *) g_mapped_file_get_contents (file) : NULL;
  gsize size = file ? g_mapped_file_get_length (file) : 0, i;

  if (g_str_has_suffix (path, ".index.json"))
    return CONTENT_INDEX;
  for (i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (path, suffixes[i]))
      return CONTENT_TENSORS;
  if (size < 16 || !data)
    return CONTENT_OTHER;
  if (!memcmp (data, "PK\3\4", 4) || (data[8] == '{' && !data[5] && !data[6] && !data[7]))
    return CONTENT_TENSORS;
  return is_tokenizer (data, size) ? CONTENT_TOKENIZER : CONTENT_OTHER;
}

gboolean
lf_found_set_tokenizer (LfFound *found, const char *path, GError **error)
{
  g_autoptr (GError) reason = NULL;
  g_autoptr (GMappedFile) file = NULL;

  if (!g_file_test (path, G_FILE_TEST_IS_REGULAR)) {
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND, _ ("%s: there is no such file"), path);
    return FALSE;
  }
  file = g_mapped_file_new (path, FALSE, &reason);
  if (!file || g_mapped_file_get_length (file) > MAX_TOKENIZER) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "%s: %s", path,
        reason ? reason->message : _ ("it is too large for a tokenizer"));
    return FALSE;
  }
  take_tokenizer (found, g_mapped_file_get_bytes (file), path);
  return TRUE;
}

/* ----------------------------------------------------------------- directories */

/* All files below a directory. */
static void
list_files (const char *path, gint depth, GPtrArray *files)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)) && files->len < MAX_SCAN_FILES) {
    g_autofree char *full = g_build_filename (path, name, NULL);

    if (name[0] == '.')
      continue;
    if (g_file_test (full, G_FILE_TEST_IS_REGULAR))
      g_ptr_array_add (files, g_steal_pointer (&full));
    else if (depth < MAX_SCAN_DEPTH && g_file_test (full, G_FILE_TEST_IS_DIR))
      list_files (full, depth + 1, files);
  }
}

/* Adds a file or its whole group and marks its paths as `done`. What is wrong goes to problems. */
static void
add_from_directory (LfFound *found, const char *path, Content content, GHashTable *done)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) group =
      content == CONTENT_INDEX ? read_index (path, &error) : list_shards (path, &error);
  gboolean found_one;
  gsize stem;
  gint count;
  guint i;

  for (i = 0; group && i < group->len; i++)
    g_hash_table_add (done, g_strdup (g_ptr_array_index (group, i)));
  if (group && add_group (found, group, &found_one, &error)) {
    if (!found_one)
      g_info ("%s: no part of a model, left aside", path);
    return;
  }
  g_info ("left aside: %s", error->message);
  /* one word for all shards of a file of which some are missing */
  for (i = 0; !group && content == CONTENT_TENSORS && i < found->problems->len; i++)
    if (parse_shard (path, &stem, &count)
        && !strncmp (g_ptr_array_index (found->problems, i), path, stem))
      return;
  g_ptr_array_add (found->problems, g_strdup (error->message));
}

static void
add_directory (LfFound *found, const char *path)
{
  g_autoptr (GPtrArray) files = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GHashTable) done = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  guint pass, i;

  list_files (path, 0, files);
  g_ptr_array_sort (files, compare_paths);
  /* an index says which files belong together, so indices come first */
  for (pass = 0; pass < 2; pass++) {
    for (i = 0; i < files->len; i++) {
      const char *file = g_ptr_array_index (files, i);
      Content content = look (file);

      if (g_hash_table_contains (done, file) || (pass == 0) != (content == CONTENT_INDEX))
        continue;
      if (content == CONTENT_INDEX || content == CONTENT_TENSORS)
        add_from_directory (found, file, content, done);
      else if (content == CONTENT_TOKENIZER && !found->tokenizer)
        lf_found_set_tokenizer (found, file, NULL);
    }
  }
}

gboolean
lf_found_add (LfFound *found, const char *path, GError **error)
{
  g_autoptr (GPtrArray) group = NULL;
  gboolean found_one;

  if (g_file_test (path, G_FILE_TEST_IS_DIR)) {
    add_directory (found, path);
    return TRUE;
  }
  group = look (path) == CONTENT_INDEX ? read_index (path, error) : list_shards (path, error);
  return group && add_group (found, group, &found_one, error);
}
