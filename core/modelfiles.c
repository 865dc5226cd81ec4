/* lightforce: which files make a model, and what it is
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "modelfiles.h"

#include <stdlib.h>
#include <string.h>

#include "container-private.h"
#include "modelconfig.h"
#include "modelkeys.h"

#define MAX_SCAN_DEPTH 2
#define MAX_SCAN_FILES 10000
#define MAX_TOKENIZER (64 << 20)

typedef struct
{
  char *path;       /* NULL: the part is missing */
  GHashTable *refs; /* native name -> LfWeightRef; owns both */
  GPtrArray *names; /* native names in file order; borrowed from refs */
  LfDecoderKind kind;
} Part;

struct _LfModelFiles
{
  char *path;
  GPtrArray *containers; /* owned */
  Part parts[LF_N_PARTS];
  LfModelConfig config;
  GBytes *tokenizer;
  char *tokenizer_path;
  GPtrArray *aside; /* paths of parts that others were preferred to */
};

/* ------------------------------------------------------------------- parts */

static void
part_init (Part *part)
{
  part->refs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  part->names = g_ptr_array_new ();
}

static void
part_clear (Part *part)
{
  g_free (part->path);
  g_clear_pointer (&part->refs, g_hash_table_unref);
  g_clear_pointer (&part->names, g_ptr_array_unref);
}

/* Adds one tensor under its native name. FALSE if it is there already. */
static gboolean
part_add (Part *part, char *name, LfContainer *container, const LfTensorInfo *tensor)
{
  LfWeightRef *ref;

  if (g_hash_table_contains (part->refs, name)) {
    g_free (name);
    return FALSE;
  }
  ref = g_new0 (LfWeightRef, 1);
  ref->container = container;
  ref->tensor = tensor;
  g_hash_table_insert (part->refs, name, ref);
  g_ptr_array_add (part->names, name);
  return TRUE;
}

/* Gives FP8 weights their scales, which are no weights of their own. */
static void
part_join_scales (Part *part)
{
  guint i, kept = 0;

  for (i = 0; i < part->names->len; i++) {
    char *name = g_ptr_array_index (part->names, i);
    g_autofree char *weight = NULL;
    LfWeightRef *scale = g_hash_table_lookup (part->refs, name), *ref;

    if (g_str_equal (name, "scaled_fp8") || lf_native_name_is_scale (name, &weight)) {
      ref = weight ? g_hash_table_lookup (part->refs, weight) : NULL;
      if (ref) {
        ref->scale_container = scale->container;
        ref->scale = scale->tensor;
      }
      g_hash_table_remove (part->refs, name);
    } else {
      part->names->pdata[kept++] = name;
    }
  }
  g_ptr_array_set_size (part->names, kept);
}

/* All tensors of one container that lie in the dict in use. */
static gboolean
part_add_container (Part *part, LfContainer *container, GError **error)
{
  g_autofree char *dict = lf_choose_dict (container);
  guint n = lf_container_get_size (container), i;

  for (i = 0; i < n; i++) {
    const LfTensorInfo *tensor = lf_container_get_tensor (container, i);

    if (!g_str_has_prefix (tensor->name, dict) || strchr (tensor->name + strlen (dict), '/'))
      continue;
    if (!part_add (part, lf_native_name (tensor->name), container, tensor)) {
      lf_container_set_error (error, LF_ERROR_INVALID_MODEL, lf_container_get_path (container),
          tensor->name, "it is there twice under other names");
      return FALSE;
    }
  }
  return TRUE;
}

/* Opens one file or all shards of one, and finds out what they are. FALSE without an error: no
 * part of a model. */
static gboolean
open_group (LfModelFiles *files, GPtrArray *paths, Part *part, LfPart *kind, GError **error)
{
  guint first = files->containers->len, i;

  part_init (part);
  for (i = 0; i < paths->len; i++) {
    LfContainer *container = lf_container_open (g_ptr_array_index (paths, i), error);

    if (!container)
      goto fail;
    g_ptr_array_add (files->containers, container);
    if (!part_add_container (part, container, error))
      goto fail;
  }
  part_join_scales (part);
  if (!lf_recognise_part (part->refs, kind, &part->kind))
    goto fail;
  part->path = g_strdup (g_ptr_array_index (paths, 0));
  return TRUE;

fail:
  part_clear (part);
  memset (part, 0, sizeof (*part));
  g_ptr_array_set_size (files->containers, first);
  return FALSE;
}

/* Width of a decoder, for the choice between several. */
static gint64
decoder_width (const Part *part)
{
  const LfWeightRef *ref = g_hash_table_lookup (
      part->refs, part->kind == LF_DECODER_WAN ? "decoder.conv1.weight" : "decoder.1.weight");

  return ref && ref->tensor->ndim ? ref->tensor->shape[0] : 0;
}

/* The Wan VAE and its kin before TAEHV, the smaller one first: whoever fetched a pruned one
 * wants to use it. */
static gboolean
better_decoder (const Part *a, const Part *b)
{
  if (a->kind != b->kind)
    return a->kind == LF_DECODER_WAN;
  return decoder_width (a) < decoder_width (b);
}

/* Takes over `part`. */
static gboolean
accept_part (LfModelFiles *files, LfPart kind, Part *part, GError **error)
{
  Part *have = &files->parts[kind];
  static const char *const words[] = {"transformer", "text encoder", "decoder"};
  static const char *const options[] = {"transformer", "text-encoder", "decoder"};

  if (!have->path) {
    *have = *part;
    return TRUE;
  }
  if (kind == LF_PART_DECODER) {
    if (better_decoder (part, have)) {
      Part other = *have;

      *have = *part;
      *part = other;
    }
    g_ptr_array_add (files->aside, g_strdup (part->path));
    part_clear (part);
    return TRUE;
  }
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
      "%s: there are two %ss, %s and %s; name one with %s", files->path, words[kind], have->path,
      part->path, options[kind]);
  part_clear (part);
  return FALSE;
}

/* --------------------------------------------------------------- directories */

static gint
compare_paths (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

/* All files below a directory, by name. */
static void
scan (const char *path, gint depth, GPtrArray *found)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)) && found->len < MAX_SCAN_FILES) {
    g_autofree char *full = g_build_filename (path, name, NULL);

    if (name[0] == '.')
      continue;
    if (g_file_test (full, G_FILE_TEST_IS_DIR)) {
      if (depth < MAX_SCAN_DEPTH)
        scan (full, depth + 1, found);
    } else if (g_file_test (full, G_FILE_TEST_IS_REGULAR)) {
      g_ptr_array_add (found, g_steal_pointer (&full));
    }
  }
}

static gboolean
has_suffix (const char *path, const char *const *suffixes)
{
  for (; *suffixes; suffixes++)
    if (g_str_has_suffix (path, *suffixes))
      return TRUE;
  return FALSE;
}

/* "name-00001-of-00003.safetensors": the length of "name", number and count of shards. */
static gboolean
parse_shard (const char *path, gsize *stem, gint *number, gint *count)
{
  const char *dash = g_strrstr (path, "-of-");
  gint digits = 0;

  if (!dash)
    return FALSE;
  while (dash - digits > path && g_ascii_isdigit (dash[-1 - digits]))
    digits++;
  if (!digits || dash - digits <= path || dash[-1 - digits] != '-' || !g_ascii_isdigit (dash[4]))
    return FALSE;
  *stem = dash - digits - 1 - path;
  *number = atoi (dash - digits);
  *count = atoi (dash + 4);
  return TRUE;
}

/* The shards that belong to `paths[*at]`, or it alone; moves *at behind them. */
static GPtrArray *
take_group (LfModelFiles *files, GPtrArray *paths, guint *at, GError **error)
{
  const char *first = g_ptr_array_index (paths, *at);
  GPtrArray *group = g_ptr_array_new ();
  gsize stem, other_stem;
  gint number, count, i;

  g_ptr_array_add (group, (gpointer) first);
  (*at)++;
  if (!parse_shard (first, &stem, &number, &count))
    return group;
  for (i = number; *at < paths->len; (*at)++) {
    const char *path = g_ptr_array_index (paths, *at);

    if (!parse_shard (path, &other_stem, &i, &count) || other_stem != stem
        || strncmp (path, first, stem))
      break;
    g_ptr_array_add (group, (gpointer) path);
  }
  if ((gint) group->len == count)
    return group;
  g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
      "%s: %d of the %d shards are there; fetch the others", first, (gint) group->len, count);
  g_ptr_array_unref (group);
  return NULL;
}

static gboolean
read_tokenizer (LfModelFiles *files, const char *path, GError **error)
{
  g_autoptr (GMappedFile) file = NULL;
  g_autoptr (GError) reason = NULL;

  file = g_mapped_file_new (path, FALSE, &reason);
  if (!file || g_mapped_file_get_length (file) > MAX_TOKENIZER) {
    g_set_error (error, LF_ERROR,
        g_file_test (path, G_FILE_TEST_EXISTS) ? LF_ERROR_INVALID_FILE : LF_ERROR_NOT_FOUND,
        "%s: %s", path, reason ? reason->message : "too large for a tokenizer");
    return FALSE;
  }
  g_clear_pointer (&files->tokenizer, g_bytes_unref);
  g_free (files->tokenizer_path);
  files->tokenizer = g_mapped_file_get_bytes (file);
  files->tokenizer_path = g_strdup (path);
  return TRUE;
}

/* Opens what a directory holds. Files that are no part of a model are left aside; what is wrong
 * with one is kept for the case that the transformer is missing. Parts that options name are
 * not looked for. */
static gboolean
open_directory (LfModelFiles *files, GPtrArray *paths, const LfModelOptions *options,
    char **problem, GError **error)
{
  static const char *const weights[] = {".safetensors", ".pt", ".pth", ".ckpt", ".bin", NULL};
  static const char *const tokenizers[] = {".model", NULL};
  const char *const named[] = {options->transformer, options->text_encoder, options->decoder};
  guint i;

  g_ptr_array_sort (paths, compare_paths);
  for (i = 0; i < paths->len;) {
    const char *path = g_ptr_array_index (paths, i);
    g_autoptr (GPtrArray) group = NULL;
    g_autoptr (GError) reason = NULL;
    Part part = {0};
    LfPart kind;

    if (has_suffix (path, tokenizers) && !options->tokenizer && !files->tokenizer
        && !read_tokenizer (files, path, error))
      return FALSE;
    if (!has_suffix (path, weights)) {
      i++;
      continue;
    }
    group = take_group (files, paths, &i, error);
    if (!group)
      return FALSE;
    if (!open_group (files, group, &part, &kind, &reason)) {
      if (reason) {
        g_info ("left aside: %s", reason->message);
        if (!*problem)
          *problem = g_strdup (reason->message);
      }
    } else if (named[kind]) {
      part_clear (&part);
    } else if (!accept_part (files, kind, &part, error)) {
      return FALSE;
    }
  }
  return TRUE;
}

/* ----------------------------------------------------------------- files */

/* A packed file holds all parts under prefixes of their own. */
static gboolean
open_packed (LfModelFiles *files, LfContainer *container, GError **error)
{
  static const char *const prefixes[] = {"transformer.", "text_encoder.", "decoder."};
  const char *path = lf_container_get_path (container);
  guint n = lf_container_get_size (container), i, j;

  for (i = 0; i < n; i++) {
    const LfTensorInfo *tensor = lf_container_get_tensor (container, i);

    if (g_str_equal (tensor->name, "tokenizer.model")) {
      g_autofree guint8 *data = NULL;

      if (tensor->dtype != LF_DTYPE_U8 || tensor->count > MAX_TOKENIZER) {
        lf_container_set_error (
            error, LF_ERROR_INVALID_FILE, path, tensor->name, "it is not the bytes of a tokenizer");
        return FALSE;
      }
      data = g_malloc (tensor->count + 1);
      if (!lf_container_read (container, tensor, 0, tensor->count, LF_DTYPE_U8, data, error))
        return FALSE;
      files->tokenizer = g_bytes_new_take (g_steal_pointer (&data), tensor->count);
      files->tokenizer_path = g_strdup (path);
      continue;
    }
    for (j = 0; j < LF_N_PARTS && !g_str_has_prefix (tensor->name, prefixes[j]); j++)
      ;
    if (j == LF_N_PARTS) {
      lf_container_set_error (
          error, LF_ERROR_INVALID_FILE, path, tensor->name, "it belongs to no part of a model");
      return FALSE;
    }
    if (!files->parts[j].refs)
      part_init (&files->parts[j]);
    if (!files->parts[j].path)
      files->parts[j].path = g_strdup (path);
    part_add (&files->parts[j], g_strdup (tensor->name + strlen (prefixes[j])), container, tensor);
  }
  for (j = 0; j < LF_N_PARTS; j++) {
    LfPart kind;

    if (files->parts[j].path
        && (!lf_recognise_part (files->parts[j].refs, &kind, &files->parts[j].kind) || kind != j)) {
      g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
          "%s: its tensors under %s are not what belongs there", path, prefixes[j]);
      return FALSE;
    }
  }
  return TRUE;
}

/* A part that an option names. */
static gboolean
open_option (LfModelFiles *files, LfPart kind, const char *path, GError **error)
{
  static const char *const words[] = {"transformer", "text encoder", "decoder"};
  g_autoptr (GPtrArray) group = NULL;
  g_autoptr (GError) reason = NULL;
  Part part = {0};
  LfPart found;

  if (!path || !*path)
    return TRUE;
  /* a packed model gives its part, too */
  {
    g_autoptr (LfModelFiles) other = NULL;
    g_autoptr (LfContainer) container = lf_container_open (path, error);

    if (!container)
      return FALSE;
    if (lf_container_get_metadata (container, "lightforce")) {
      other = lf_model_files_open (path, NULL, error);
      if (!other)
        return FALSE;
      if (!other->parts[kind].path) {
        g_set_error (
            error, LF_ERROR, LF_ERROR_INVALID_MODEL, "%s: this has no %s", path, words[kind]);
        return FALSE;
      }
      part_clear (&files->parts[kind]);
      files->parts[kind] = other->parts[kind];
      memset (&other->parts[kind], 0, sizeof (Part));
      g_ptr_array_extend_and_steal (files->containers, g_steal_pointer (&other->containers));
      return TRUE;
    }
  }
  group = g_ptr_array_new ();
  g_ptr_array_add (group, (gpointer) path);
  if (!open_group (files, group, &part, &found, &reason)) {
    if (reason)
      g_propagate_error (error, g_steal_pointer (&reason));
    else
      g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
          "%s: this is no %s: its tensors have "
          "other names",
          path, words[kind]);
    return FALSE;
  }
  if (found != kind) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL, "%s: this is a %s, not a %s", path,
        words[found], words[kind]);
    part_clear (&part);
    return FALSE;
  }
  part_clear (&files->parts[kind]);
  files->parts[kind] = part;
  return TRUE;
}

static gboolean
open_options (LfModelFiles *files, const LfModelOptions *options, GError **error)
{
  return open_option (files, LF_PART_TRANSFORMER, options->transformer, error)
         && open_option (files, LF_PART_TEXT_ENCODER, options->text_encoder, error)
         && open_option (files, LF_PART_DECODER, options->decoder, error)
         && (!options->tokenizer || !*options->tokenizer
             || read_tokenizer (files, options->tokenizer, error));
}

/* ----------------------------------------------------------- configuration */

#define CHECK(part, member)                                                                        \
  if (files->config.part.member != measured.part.member) {                                         \
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,                                          \
        "%s: the description says " #part "." #member " is %d, but the tensors have %d", path,     \
        files->config.part.member, measured.part.member);                                          \
    return FALSE;                                                                                  \
  }

static gboolean
check_sizes (LfModelFiles *files, const char *path, LfModelConfig measured, GError **error)
{
  CHECK (transformer, dim)
  CHECK (transformer, layers)
  CHECK (transformer, ffn_dim)
  CHECK (transformer, freq_dim)
  CHECK (transformer, text_dim)
  CHECK (transformer, z)
  if (files->parts[LF_PART_TEXT_ENCODER].path) {
    CHECK (text, dim)
    CHECK (text, heads)
    CHECK (text, layers)
    CHECK (text, ffn_dim)
  }
  if (files->parts[LF_PART_DECODER].path && files->config.decoder.kind != measured.decoder.kind) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        "%s: the description says another kind of decoder than the tensors", path);
    return FALSE;
  }
  return TRUE;
}

#undef CHECK

static gboolean
check_heads (
    const char *path, const char *what, gint dim, gint heads, gint multiple, GError **error)
{
  if (heads >= 1 && dim % (heads * multiple) == 0)
    return TRUE;
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
      "%s: %s of width %d cannot have %d heads; say how many in lightforce.json", path, what, dim,
      heads);
  return FALSE;
}

/* `json` may be NULL: then everything is measured and guessed. */
static gboolean
configure (LfModelFiles *files, const LfModelOptions *options, const char *json_path,
    const char *json, gsize length, GError **error)
{
  const char *const named[] = {options->transformer, options->text_encoder, options->decoder};
  guint described = 0; /* parts that the description is about */
  LfModelConfig *config = &files->config;
  const char *transformer = files->parts[LF_PART_TRANSFORMER].path;
  g_autofree char *base = g_path_get_basename (transformer);
  LfModelConfig measured;
  gint i;

  lf_model_config_init (config, base);
  config->decoder.kind = files->parts[LF_PART_DECODER].kind;
  for (i = 0; i < LF_N_PARTS; i++)
    if (files->parts[i].path && !lf_model_config_measure (config, files, i, error))
      return FALSE;
  measured = *config;
  config->name = g_path_get_basename (files->path);
  for (i = 0; i < LF_N_PARTS; i++)
    if (!named[i] || !*named[i])
      described |= 1 << i;
  if (json && !lf_model_config_parse (config, json_path, json, length, described, error))
    return FALSE;
  if (json && !check_sizes (files, json_path, measured, error))
    return FALSE;
  return check_heads (transformer, "a transformer", config->transformer.dim,
             config->transformer.heads, 2, error)
         && (!files->parts[LF_PART_TEXT_ENCODER].path
             || check_heads (files->parts[LF_PART_TEXT_ENCODER].path, "a text encoder",
                 config->text.dim, config->text.heads, 1, error));
}

/* ------------------------------------------------------------------ opening */

static LfModelFiles *
files_new (const char *path)
{
  LfModelFiles *files = g_new0 (LfModelFiles, 1);

  files->path = g_strdup (path);
  files->containers = g_ptr_array_new_with_free_func ((GDestroyNotify) lf_container_close);
  files->aside = g_ptr_array_new_with_free_func (g_free);
  return files;
}

void
lf_model_files_close (LfModelFiles *files)
{
  gint i;

  for (i = 0; i < LF_N_PARTS; i++)
    part_clear (&files->parts[i]);
  g_clear_pointer (&files->containers, g_ptr_array_unref);
  g_ptr_array_unref (files->aside);
  g_clear_pointer (&files->tokenizer, g_bytes_unref);
  g_free (files->tokenizer_path);
  g_free (files->config.name);
  g_free (files->path);
  g_free (files);
}

static gboolean
open_file (LfModelFiles *files, const LfModelOptions *options, GError **error)
{
  LfContainer *container = lf_container_open (files->path, error);
  const char *json;
  g_autofree char *problem = NULL;

  if (!container)
    return FALSE;
  json = lf_container_get_metadata (container, "lightforce");
  if (!json) {
    g_autoptr (GPtrArray) paths = g_ptr_array_new ();

    lf_container_close (container);
    g_ptr_array_add (paths, files->path);
    if (!open_directory (files, paths, options, &problem, error))
      return FALSE;
    if (!open_options (files, options, error))
      return FALSE;
    if (!files->parts[LF_PART_TRANSFORMER].path) {
      g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
          "%s: this is no transformer and no packed model; name a directory with all parts, or "
          "make one file of them with lightforce-pack",
          files->path);
      return FALSE;
    }
    return configure (files, options, NULL, NULL, 0, error);
  }
  g_ptr_array_add (files->containers, container);
  if (!open_packed (files, container, error) || !open_options (files, options, error))
    return FALSE;
  if (!files->parts[LF_PART_TRANSFORMER].path) {
    g_set_error (
        error, LF_ERROR, LF_ERROR_INVALID_MODEL, "%s: there is no transformer in it", files->path);
    return FALSE;
  }
  return configure (files, options, files->path, json, strlen (json), error);
}

static gboolean
open_tree (LfModelFiles *files, const LfModelOptions *options, GError **error)
{
  g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *json_path = g_build_filename (files->path, "lightforce.json", NULL);
  g_autofree char *problem = NULL, *json = NULL;
  g_autoptr (GMappedFile) file = NULL;

  scan (files->path, 0, paths);
  if (!open_directory (files, paths, options, &problem, error)
      || !open_options (files, options, error))
    return FALSE;
  if (!files->parts[LF_PART_TRANSFORMER].path) {
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND, "%s: there is no transformer here%s%s",
        files->path,
        problem ? "; "
                : "; put one here, such as long_video_gen.pt, or set "
                  "transformer",
        problem ? problem : "");
    return FALSE;
  }
  if (!g_file_test (json_path, G_FILE_TEST_EXISTS))
    return configure (files, options, NULL, NULL, 0, error);
  file = g_mapped_file_new (json_path, FALSE, error);
  return file
         && configure (files, options, json_path, g_mapped_file_get_contents (file),
             g_mapped_file_get_length (file), error);
}

LfModelFiles *
lf_model_files_open (const char *path, const LfModelOptions *options, GError **error)
{
  static const LfModelOptions no_options;
  g_autoptr (LfModelFiles) files = files_new (path);
  gboolean ok;

  if (!options)
    options = &no_options;
  if (g_file_test (path, G_FILE_TEST_IS_DIR))
    ok = open_tree (files, options, error);
  else
    ok = open_file (files, options, error);
  return ok ? g_steal_pointer (&files) : NULL;
}

LfModelFiles *
lf_model_files_wrap (
    LfContainer *container, const char *prefix, LfPart part, const LfModelConfig *config)
{
  LfModelFiles *files = files_new (lf_container_get_path (container));
  Part *p = &files->parts[part];
  guint i;

  part_init (p);
  p->path = g_strdup (files->path);
  for (i = 0; i < lf_container_get_size (container); i++) {
    const LfTensorInfo *tensor = lf_container_get_tensor (container, i);

    if (g_str_has_prefix (tensor->name, prefix))
      part_add (p, g_strdup (tensor->name + strlen (prefix)), container, tensor);
  }
  lf_model_files_set_config (files, config);
  return files;
}

void
lf_model_files_set_config (LfModelFiles *files, const LfModelConfig *config)
{
  char *name = files->config.name;

  files->config = *config;
  files->config.name = name;
}

/* ------------------------------------------------------------------ asking */

const LfModelConfig *
lf_model_files_get_config (const LfModelFiles *files)
{
  return &files->config;
}

gboolean
lf_model_files_has (const LfModelFiles *files, LfPart part)
{
  return files->parts[part].path != NULL;
}

const char *
lf_model_files_get_path (const LfModelFiles *files, LfPart part)
{
  return files->parts[part].path;
}

gboolean
lf_model_files_find (const LfModelFiles *files, LfPart part, const char *name, LfWeightRef *ref)
{
  const LfWeightRef *found =
      files->parts[part].refs ? g_hash_table_lookup (files->parts[part].refs, name) : NULL;

  if (!found)
    return FALSE;
  *ref = *found;
  return TRUE;
}

GPtrArray *
lf_model_files_list (const LfModelFiles *files, LfPart part)
{
  return files->parts[part].names ? g_ptr_array_copy (files->parts[part].names, NULL, NULL)
                                  : g_ptr_array_new ();
}

GPtrArray *
lf_model_files_get_aside (const LfModelFiles *files)
{
  return files->aside;
}

GBytes *
lf_model_files_get_tokenizer (const LfModelFiles *files)
{
  return files->tokenizer ? g_bytes_ref (files->tokenizer) : NULL;
}

const char *
lf_model_files_get_tokenizer_path (const LfModelFiles *files)
{
  return files->tokenizer_path;
}

/* ------------------------------------------------------------------ reading */

/* FP8 weights times their scales: one, or one a row. */
static gboolean
read_scaled (
    const LfWeightRef *ref, gint64 first, gint64 count, LfDType dtype, void *dst, GError **error)
{
  gint64 rows = ref->scale->count, row = rows ? ref->tensor->count / rows : 0, i;
  g_autofree float *scales = NULL, *values = NULL;

  if (rows < 1 || (rows > 1 && (ref->tensor->ndim < 1 || rows != ref->tensor->shape[0]))
      || row < 1) {
    lf_container_set_error (error, LF_ERROR_INVALID_MODEL,
        lf_container_get_path (ref->scale_container), ref->scale->name,
        "a scale belongs here, or one for each row of the weight");
    return FALSE;
  }
  scales = g_new (float, rows);
  values = g_new (float, count);
  if (!lf_container_read (ref->scale_container, ref->scale, 0, rows, LF_DTYPE_F32, scales, error)
      || !lf_container_read (
          ref->container, ref->tensor, first, count, LF_DTYPE_F32, values, error))
    return FALSE;
  for (i = 0; i < count; i++)
    values[i] *= scales[(first + i) / row];
  lf_dtype_convert (dst, dtype, values, LF_DTYPE_F32, count);
  return TRUE;
}

gboolean
lf_weight_read (
    const LfWeightRef *ref, gint64 first, gint64 count, LfDType dtype, void *dst, GError **error)
{
  if (ref->scale && ref->tensor->dtype == LF_DTYPE_F8_E4M3)
    return read_scaled (ref, first, count, dtype, dst, error);
  return lf_container_read (ref->container, ref->tensor, first, count, dtype, dst, error);
}
