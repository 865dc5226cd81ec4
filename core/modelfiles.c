/* lightforce: which files make a model, and what it is
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "modelfiles.h"

#include <string.h>

#include "container-private.h"
#include "i18n.h"
#include "modelconfig.h"
#include "modelparts.h"

#define SCALED_BLOCK 4096
#define MAX_DESCRIPTION (1 << 20)

static const char *const option_names[LF_N_PARTS] = {
    "transformer", "text-encoder", "decoder", "decoder"};

struct _LfModelFiles
{
  char *path;
  GPtrArray *founds;              /* of LfFound, which own what parts points to */
  LfModelPart *parts[LF_N_PARTS]; /* NULL: missing */
  LfModelConfig config;
  char *description; /* the JSON that the configuration was read from, or NULL */
  GBytes *tokenizer;
  char *tokenizer_path;
  GPtrArray *aside;    /* paths of decoders that another was preferred to; borrowed */
  GPtrArray *problems; /* messages; borrowed */
  gboolean random;     /* weights are made up and not read */
};

/* ------------------------------------------------------------------ choosing */

/* Of decoders one is chosen, and encoders come with them. */
static const char *const two_of_a_kind[LF_N_PARTS] = {
    N_ ("%s: there are two transformers, %s and %s; name the file to use with %s"),
    N_ ("%s: there are two text encoders, %s and %s; name the file to use with %s"),
};

static const char *const of_another_kind[LF_N_PARTS] = {
    N_ ("%s: this is not a transformer; name it with %s"),
    N_ ("%s: this is not a text encoder; name it with %s"),
    N_ ("%s: this is not a decoder; name it with %s"),
};

/* Behind each come reasons. */
static const char *const none_of_a_kind[LF_N_PARTS] = {
    N_ ("%s: this is no transformer%s"),
    N_ ("%s: this is no text encoder%s"),
    N_ ("%s: this is no decoder%s"),
};

/* Width of a decoder, for the choice between several. */
static gint64
decoder_width (const LfModelPart *part)
{
  const LfWeightRef *ref = g_hash_table_lookup (
      part->refs, part->decoder == LF_DECODER_WAN ? "decoder.conv1.weight" : "decoder.1.weight");

  return ref && ref->tensor->ndim ? ref->tensor->shape[0] : 0;
}

/* The Wan VAE and its kin before TAEHV, the smaller one first: whoever fetched a pruned one
 * wants to use it. */
static gboolean
is_better (const LfModelPart *a, const LfModelPart *b)
{
  if (a->decoder != b->decoder)
    return a->decoder == LF_DECODER_WAN;
  return decoder_width (a) < decoder_width (b);
}

/* Takes the part of a kind out of what was found, if there is one. */
static gboolean
choose (LfModelFiles *files, LfPart kind, const LfFound *found, GError **error)
{
  LfModelPart *chosen = NULL;
  guint i;

  for (i = 0; i < found->parts->len; i++) {
    LfModelPart *part = g_ptr_array_index (found->parts, i);

    if (part->kind != kind)
      continue;
    if (chosen && two_of_a_kind[kind]) {
      g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL, _ (two_of_a_kind[kind]), files->path,
          chosen->path, part->path, option_names[kind]);
      return FALSE;
    }
    if (!chosen) {
      chosen = part;
    } else {
      gboolean better = is_better (part, chosen);

      g_ptr_array_add (files->aside, better ? chosen->path : part->path);
      chosen = better ? part : chosen;
    }
  }
  files->parts[kind] = chosen;
  return TRUE;
}

/* The encoder beside the chosen decoder, in its file or else in any other: all that are published
 * make the same latents. Weights that are made up encode nothing. */
static void
choose_encoder (LfModelFiles *files)
{
  const LfModelPart *decoder = files->parts[LF_PART_DECODER];
  guint i, j;

  for (i = 0; i < files->founds->len && !files->random; i++) {
    const LfFound *found = g_ptr_array_index (files->founds, i);

    for (j = 0; j < found->parts->len; j++) {
      LfModelPart *part = g_ptr_array_index (found->parts, j);
      gboolean beside = decoder && g_str_equal (part->path, decoder->path);

      if (part->kind == LF_PART_ENCODER && (beside || !files->parts[LF_PART_ENCODER]))
        files->parts[LF_PART_ENCODER] = part;
    }
  }
}

char *
lf_join_problems (const GPtrArray *problems, const char *otherwise)
{
  GString *text = g_string_new (NULL);
  guint i;

  for (i = 0; i < MIN (problems->len, 3); i++)
    g_string_append_printf (text, "; %s", (char *) g_ptr_array_index (problems, i));
  if (!problems->len && otherwise)
    g_string_append_printf (text, "; %s", otherwise);
  return g_string_free (text, FALSE);
}

static LfFound *
look_into (LfModelFiles *files, const char *path, GError **error)
{
  LfFound *found = lf_found_new ();
  guint i;

  g_ptr_array_add (files->founds, found);
  if (!lf_found_add (found, path, error))
    return NULL;
  for (i = 0; i < found->problems->len; i++)
    g_ptr_array_add (files->problems, g_ptr_array_index (found->problems, i));
  return found;
}

/* A part that an option names. */
static gboolean
choose_option (LfModelFiles *files, LfPart kind, const char *path, GError **error)
{
  const LfFound *found = look_into (files, path, error);
  const LfModelPart *other;
  g_autofree char *more = NULL;

  if (!found || !choose (files, kind, found, error))
    return FALSE;
  if (files->parts[kind])
    return TRUE;
  other = found->parts->len ? g_ptr_array_index (found->parts, 0) : NULL;
  if (other && !g_str_equal (option_names[other->kind], option_names[kind])) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL, _ (of_another_kind[kind]), path,
        option_names[other->kind]);
    return FALSE;
  }
  more = lf_join_problems (found->problems, _ ("its tensors have other names"));
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL, _ (none_of_a_kind[kind]), path, more);
  return FALSE;
}

static gboolean
choose_tokenizer (LfModelFiles *files, const LfFound *found, const char *option, GError **error)
{
  if (option && *option) {
    LfFound *named = lf_found_new ();

    g_ptr_array_add (files->founds, named);
    if (!lf_found_set_tokenizer (named, option, error))
      return FALSE;
    found = named;
  }
  files->tokenizer = found->tokenizer ? g_bytes_ref (found->tokenizer) : NULL;
  files->tokenizer_path = g_strdup (found->tokenizer_path);
  return TRUE;
}

/* ----------------------------------------------------------- configuration */

#define CHECK(part, member)                                                                        \
  if (files->config.part.member != measured.part.member) {                                         \
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,                                          \
        _ ("%s: the description says %s is %d, but the tensors have %d"), path, #part "." #member, \
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
  if (files->parts[LF_PART_TEXT_ENCODER]) {
    CHECK (text, dim)
    CHECK (text, heads)
    CHECK (text, layers)
    CHECK (text, ffn_dim)
  }
  if (files->parts[LF_PART_DECODER] && files->config.decoder.kind != measured.decoder.kind) {
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
        _ ("%s: the description says another kind of decoder than the tensors"), path);
    return FALSE;
  }
  return TRUE;
}

#undef CHECK

static gboolean
check_heads (const char *path, gint dim, gint heads, gint multiple, GError **error)
{
  if (heads >= 1 && dim % (heads * multiple) == 0)
    return TRUE;
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_MODEL,
      _ ("%s: a width of %d cannot have %d heads; say how many in lightforce.json"), path, dim,
      heads);
  return FALSE;
}

/* `json` may be NULL: then everything is measured and guessed. `described` are the parts (bits
 * 1 << LfPart) that the description is about. */
static gboolean
configure (LfModelFiles *files, guint described, const char *json_path, const char *json,
    gsize length, GError **error)
{
  LfModelConfig *config = &files->config;
  const char *transformer = files->parts[LF_PART_TRANSFORMER]->path;
  g_autofree char *base = g_path_get_basename (transformer);
  LfModelConfig measured;
  gint i;

  lf_model_config_init (config, base);
  if (files->parts[LF_PART_DECODER])
    config->decoder.kind = files->parts[LF_PART_DECODER]->decoder;
  for (i = 0; i < LF_PART_ENCODER; i++)
    if (files->parts[i] && !lf_model_config_measure (config, files, i, error))
      return FALSE;
  measured = *config;
  config->name = g_path_get_basename (files->path);
  if (json
      && (!lf_model_config_parse (config, json_path, json, length, described, error)
          || !check_sizes (files, json_path, measured, error)))
    return FALSE;
  files->description = json ? g_strndup (json, length) : NULL;
  return lf_model_config_check (config, json ? json_path : transformer, error)
         && check_heads (transformer, config->transformer.dim, config->transformer.heads, 2, error)
         && (!files->parts[LF_PART_TEXT_ENCODER]
             || check_heads (files->parts[LF_PART_TEXT_ENCODER]->path, config->text.dim,
                 config->text.heads, 1, error));
}

/* ------------------------------------------------------------------- opening */

static LfModelFiles *
files_new (const char *path)
{
  LfModelFiles *files = g_new0 (LfModelFiles, 1);

  files->path = g_strdup (path);
  files->founds = g_ptr_array_new_with_free_func ((GDestroyNotify) lf_found_free);
  files->aside = g_ptr_array_new ();
  files->problems = g_ptr_array_new ();
  return files;
}

void
lf_model_files_close (LfModelFiles *files)
{
  g_ptr_array_unref (files->aside);
  g_ptr_array_unref (files->problems);
  g_ptr_array_unref (files->founds);
  g_clear_pointer (&files->tokenizer, g_bytes_unref);
  g_free (files->tokenizer_path);
  g_free (files->config.name);
  g_free (files->description);
  g_free (files->path);
  g_free (files);
}

/* Reads the description: a directory's lightforce.json, or that of the packed file. */
static gboolean
describe (LfModelFiles *files, const LfFound *found, guint parts, GError **error)
{
  g_autofree char *json_path = g_build_filename (files->path, "lightforce.json", NULL);
  const LfModelPart *part = files->parts[LF_PART_TRANSFORMER];
  g_autoptr (GMappedFile) file = NULL;
  g_autoptr (GError) reason = NULL;
  guint i;

  if (g_file_test (json_path, G_FILE_TEST_IS_REGULAR)) {
    file = g_mapped_file_new (json_path, FALSE, &reason);
    if (file && g_mapped_file_get_length (file) <= MAX_DESCRIPTION)
      return configure (files, parts, json_path, g_mapped_file_get_contents (file),
          g_mapped_file_get_length (file), error);
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "%s: %s", json_path,
        reason ? reason->message : _ ("it is too large for a description"));
    return FALSE;
  }
  /* the packed file's that the transformer lies in, or that its transformer was replaced in */
  for (i = 0; i < found->parts->len && !part->description; i++)
    part = g_ptr_array_index (found->parts, i);
  for (i = 0, parts = 0; i < LF_N_PARTS; i++)
    if (files->parts[i] && files->parts[i]->description == part->description)
      parts |= 1 << i;
  return configure (files, parts, part->path, part->description,
      part->description ? strlen (part->description) : 0, error);
}

/* The model of what was found; parts that options name replace those in it. */
static gboolean
choose_parts (LfModelFiles *files, const LfFound *found, const LfFound *decoder,
    const LfModelOptions *o, GError **error)
{
  const char *const named[LF_PART_ENCODER] = {o->transformer, o->text_encoder, o->decoder};
  guint described = 0; /* parts that the description is about */
  gint i;

  if (!choose_tokenizer (files, found, o->tokenizer, error))
    return FALSE;
  for (i = 0; i < LF_PART_ENCODER; i++) {
    if (i == LF_PART_DECODER && decoder) {
      if (!choose (files, i, decoder, error))
        return FALSE;
    } else if (named[i] && *named[i]) {
      if (!choose_option (files, i, named[i], error))
        return FALSE;
    } else {
      described |= 1 << i;
      if (!choose (files, i, found, error))
        return FALSE;
    }
  }
  choose_encoder (files);
  if (!files->parts[LF_PART_TRANSFORMER]) {
    gboolean is_dir = g_file_test (files->path, G_FILE_TEST_IS_DIR);
    g_autofree char *more = lf_join_problems (
        files->problems, is_dir ? _ ("put one here, such as long_video_gen.pt, or set transformer")
                                : _ ("name a directory with all parts, or a packed model"));

    g_set_error (error, LF_ERROR, is_dir ? LF_ERROR_NOT_FOUND : LF_ERROR_INVALID_MODEL,
        is_dir ? _ ("%s: there is no transformer%s") : _ ("%s: there is no transformer in it%s"),
        files->path, more);
    return FALSE;
  }
  return describe (files, found, described, error);
}

LfModelFiles *
lf_model_files_open (const char *path, const LfModelOptions *options, GError **error)
{
  static const LfModelOptions no_options;
  g_autoptr (LfModelFiles) files = files_new (path);
  const LfFound *found = look_into (files, path, error);

  if (!found || !choose_parts (files, found, NULL, options ? options : &no_options, error))
    return NULL;
  return g_steal_pointer (&files);
}

/* The parts of a packed model that is open. */
static LfFound *
look_into_packed (LfModelFiles *files, LfContainer *container, GError **error)
{
  LfFound *found = lf_found_new ();

  g_ptr_array_add (files->founds, found);
  return lf_found_add_packed (found, container, error) ? found : NULL;
}

LfModelFiles *
lf_model_files_open_random (const char *path, LfContainer *parts, LfContainer *decoder,
    const LfModelOptions *options, GError **error)
{
  static const LfModelOptions no_options;
  g_autoptr (LfModelFiles) files = files_new (path);
  const LfFound *found =
      parts ? look_into_packed (files, parts, error) : look_into (files, path, error);
  const LfFound *replacement = NULL;

  files->random = TRUE;
  if (!found || (decoder && !(replacement = look_into_packed (files, decoder, error)))
      || !choose_parts (files, found, replacement, options ? options : &no_options, error))
    return NULL;
  return g_steal_pointer (&files);
}

gboolean
lf_model_files_is_random (const LfModelFiles *files)
{
  return files->random;
}

LfModelFiles *
lf_model_files_wrap (
    LfContainer *container, const char *prefix, LfPart part, const LfModelConfig *config)
{
  LfModelFiles *files = files_new (lf_container_get_path (container));
  LfFound *found = lf_found_new ();
  LfModelPart *p = lf_model_part_new (part, files->path);
  guint i;

  g_ptr_array_add (files->founds, found);
  g_ptr_array_add (found->parts, p);
  files->parts[part] = p;
  p->decoder = config->decoder.kind;
  for (i = 0; i < lf_container_get_size (container); i++) {
    const LfTensorInfo *tensor = lf_container_get_tensor (container, i);

    if (g_str_has_prefix (tensor->name, prefix))
      lf_model_part_add (p, tensor->name + strlen (prefix), container, tensor);
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

/* -------------------------------------------------------------------- asking */

const LfModelConfig *
lf_model_files_get_config (const LfModelFiles *files)
{
  return &files->config;
}

const char *
lf_model_files_get_description (const LfModelFiles *files)
{
  return files->description;
}

gboolean
lf_model_files_has (const LfModelFiles *files, LfPart part)
{
  return files->parts[part] != NULL;
}

const char *
lf_model_files_get_path (const LfModelFiles *files, LfPart part)
{
  return files->parts[part] ? files->parts[part]->path : NULL;
}

gboolean
lf_model_files_find (const LfModelFiles *files, LfPart part, const char *name, LfWeightRef *ref)
{
  const LfWeightRef *found =
      files->parts[part] ? g_hash_table_lookup (files->parts[part]->refs, name) : NULL;

  if (!found)
    return FALSE;
  *ref = *found;
  return TRUE;
}

GPtrArray *
lf_model_files_list (const LfModelFiles *files, LfPart part)
{
  return files->parts[part] ? g_ptr_array_copy (files->parts[part]->names, NULL, NULL)
                            : g_ptr_array_new ();
}

GPtrArray *
lf_model_files_get_aside (const LfModelFiles *files)
{
  return files->aside;
}

GPtrArray *
lf_model_files_get_problems (const LfModelFiles *files)
{
  return files->problems;
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

/* ------------------------------------------------------------------- reading */

gboolean
lf_weight_read (
    const LfWeightRef *ref, gint64 first, gint64 count, LfDType dtype, void *dst, GError **error)
{
  float values[SCALED_BLOCK], scale = 1;
  gint64 row, at_row = -1, n, i;

  if (!ref->scale)
    return lf_container_read (ref->container, ref->tensor, first, count, dtype, dst, error);
  row = ref->scale->count > 1 ? ref->tensor->count / ref->scale->count : ref->tensor->count;
  for (; count > 0; first += n, count -= n, dst = (guint8 *) dst + n * lf_dtype_size (dtype)) {
    n = MIN (count, SCALED_BLOCK);
    if (!lf_container_read (ref->container, ref->tensor, first, n, LF_DTYPE_F32, values, error))
      return FALSE;
    for (i = 0; i < n; i++) {
      if ((first + i) / row != at_row) {
        at_row = (first + i) / row;
        if (!lf_container_read (
                ref->scale_container, ref->scale, at_row, 1, LF_DTYPE_F32, &scale, error))
          return FALSE;
      }
      values[i] *= scale;
    }
    lf_dtype_convert (dst, dtype, values, LF_DTYPE_F32, n);
  }
  return TRUE;
}
