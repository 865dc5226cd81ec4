/* lightforce: lightforce-inspect says what a model file or directory is
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <locale.h>

#include "core/model.h"
#include "core/modelparts.h"
#include "modelcheck.h"

static const char *const part_names[LF_N_PARTS] = {
    "transformer", "text encoder", "decoder", "encoder"};

static LfModelOptions options;
static char **arguments;
static gboolean show_tensors, show_version;

static const GOptionEntry entries[] = {
    {"transformer", 0, 0, G_OPTION_ARG_FILENAME, &options.transformer, "use this transformer",
        "PATH"},
    {"text-encoder", 0, 0, G_OPTION_ARG_FILENAME, &options.text_encoder, "use this text encoder",
        "PATH"},
    {"decoder", 0, 0, G_OPTION_ARG_FILENAME, &options.decoder, "use this decoder", "PATH"},
    {"tokenizer", 0, 0, G_OPTION_ARG_FILENAME, &options.tokenizer, "use this tokenizer", "PATH"},
    {"tensors", 't', 0, G_OPTION_ARG_NONE, &show_tensors, "list all tensors", NULL},
    {"version", 0, 0, G_OPTION_ARG_NONE, &show_version, "print the version and exit", NULL},
    {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &arguments, NULL, "PATH"},
    G_OPTION_ENTRY_NULL,
};

/* "BF16 98%, F32 2%, 17.4 MiB", shares by the number of weights. */
static char *
describe_types (LfModelFiles *files, LfPart part)
{
  g_autoptr (GPtrArray) names = lf_model_files_list (files, part);
  guint64 counts[LF_N_DTYPES] = {0}, total = 0, bytes = 0;
  GString *text = g_string_new (NULL);
  LfWeightRef ref;
  guint i;

  for (i = 0; i < names->len; i++) {
    lf_model_files_find (files, part, g_ptr_array_index (names, i), &ref);
    counts[ref.tensor->dtype] += ref.tensor->count;
    total += ref.tensor->count;
  }
  for (i = 0; i < LF_N_DTYPES; i++) {
    if (counts[i])
      g_string_append_printf (text, "%s%s", text->len ? ", " : "", lf_dtype_name (i));
    if (counts[i] && counts[i] != total)
      g_string_append_printf (text, " %.3g%%", 100.0 * counts[i] / total);
    bytes += counts[i] * lf_dtype_size (i);
  }
  g_string_append_printf (text, ", %.1f MiB", bytes / 1048576.0);
  return g_string_free (text, FALSE);
}

static void
print_tensors (LfModelFiles *files, LfPart part)
{
  g_autoptr (GPtrArray) names = lf_model_files_list (files, part);
  LfWeightRef ref;
  guint i;
  gint j;

  for (i = 0; i < names->len; i++) {
    lf_model_files_find (files, part, g_ptr_array_index (names, i), &ref);
    g_print ("  %s %s [", (char *) g_ptr_array_index (names, i), lf_dtype_name (ref.tensor->dtype));
    for (j = 0; j < ref.tensor->ndim; j++)
      g_print ("%s%" G_GINT64_FORMAT, j ? ", " : "", ref.tensor->shape[j]);
    g_print ("]%s\n", ref.scale ? " scaled" : "");
  }
}

static void
print_sizes (const LfModelConfig *c, LfPart part)
{
  if (part == LF_PART_TRANSFORMER)
    g_print ("  width %d, %d heads, %d layers, feed-forward %d, time %d, text %d x %d, "
             "%d latent channels, %d latent frames a chunk\n",
        c->transformer.dim, c->transformer.heads, c->transformer.layers, c->transformer.ffn_dim,
        c->transformer.freq_dim, c->transformer.text_len, c->transformer.text_dim, c->transformer.z,
        c->transformer.chunk_frames);
  else if (part == LF_PART_TEXT_ENCODER)
    g_print ("  width %d, %d heads, %d layers, feed-forward %d, %d words\n", c->text.dim,
        c->text.heads, c->text.layers, c->text.ffn_dim, c->text.vocab);
  else if (part == LF_PART_DECODER)
    g_print ("  %s, %d latent channels\n", c->decoder.kind == LF_DECODER_WAN ? "Wan VAE" : "TAEHV",
        c->decoder.z);
}

/* Prints one part; returns whether it is there and whole. */
static gboolean
print_part (LfModelFiles *files, LfPart part)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *types = NULL;
  guint64 parameters;
  gboolean ok;

  if (!lf_model_files_has (files, part)) {
    g_print ("%s: %s\n", part_names[part],
        part == LF_PART_ENCODER ? "none: no video starts from a picture" : "missing");
    return part == LF_PART_ENCODER;
  }
  ok = lf_check_part (files, part, &parameters, &error);
  types = describe_types (files, part);
  g_print ("%s: %s\n", part_names[part], lf_model_files_get_path (files, part));
  if (ok)
    g_print ("  %.4g million parameters, %s\n", parameters / 1e6, types);
  else
    g_print ("  does not fit: %s\n", error->message);
  print_sizes (lf_model_files_get_config (files), part);
  if (show_tensors)
    print_tensors (files, part);
  return ok;
}

static void
print_settings (const LfModelConfig *c)
{
  gint i;

  g_print ("settings: steps");
  for (i = 0; i < c->n_steps; i++)
    g_print (" %g", c->steps[i]);
  g_print (", shift %g\n", c->shift);
  if (c->window < 0)
    g_print ("  all frames are kept");
  else
    g_print ("  window %d, sink %d", c->window, c->sink);
  g_print (", %s positions\n", c->relative ? "relative" : "absolute");
  if (c->sparse.enabled)
    g_print ("  sparse attention %g to %g over %d latent frames, blocks %d x %d, %d frames kept "
             "(first %d, last %d)\n",
        c->sparse.target, c->sparse.base, c->sparse.total_frames, c->sparse.block_q,
        c->sparse.block_k, c->sparse.keep_frames, c->sparse.keep_sink, c->sparse.keep_near);
  else
    g_print ("  dense attention\n");
  g_print ("  %d x %d pixels, %d/%d pictures a second\n", c->width, c->height, c->fps_n, c->fps_d);
}

static void
print_rest (LfModelFiles *files)
{
  GPtrArray *aside = lf_model_files_get_aside (files);
  GPtrArray *problems = lf_model_files_get_problems (files);
  guint i;

  for (i = 0; i < aside->len; i++)
    g_print ("left aside: %s: another decoder is preferred; choose it with decoder\n",
        (char *) g_ptr_array_index (aside, i));
  for (i = 0; i < problems->len; i++)
    g_print ("left aside: %s\n", (char *) g_ptr_array_index (problems, i));
}

/* What a path holds that is no model, such as a decoder alone. */
static void
print_found (const char *path)
{
  g_autoptr (LfFound) found = lf_found_new ();
  guint i, j;

  if (!lf_found_add (found, path, NULL))
    return;
  for (i = 0; i < found->parts->len; i++) {
    const LfModelPart *part = g_ptr_array_index (found->parts, i);
    guint64 parameters = 0;

    for (j = 0; j < part->names->len; j++) {
      const LfWeightRef *ref = g_hash_table_lookup (part->refs, g_ptr_array_index (part->names, j));

      parameters += ref->tensor->count;
    }
    g_print ("%s: %s%s, %u tensors, %.4g million parameters\n", part_names[part->kind], part->path,
        part->kind != LF_PART_DECODER     ? ""
        : part->decoder == LF_DECODER_WAN ? " (Wan VAE)"
                                          : " (TAEHV)",
        part->names->len, parameters / 1e6);
  }
}

static gboolean
inspect (const char *path)
{
  static gboolean (*const checks[]) (LfModelFiles *, GError **) = {
      lf_check_text, lf_check_decoder, lf_check_tokenizer};
  g_autoptr (GError) error = NULL;
  g_autoptr (LfModelFiles) files = lf_model_files_open (path, &options, &error);
  const char *tokenizer;
  gboolean ok = TRUE;
  gint i;

  if (!files) {
    print_found (path);
    g_print ("%s\n", error->message);
    return FALSE;
  }
  g_print ("model: %s\n", lf_model_files_get_config (files)->name);
  for (i = 0; i < LF_N_PARTS; i++)
    ok = print_part (files, i) && ok;
  tokenizer = lf_model_files_get_tokenizer_path (files);
  g_print ("tokenizer: %s\n", tokenizer ? tokenizer : "missing");
  print_settings (lf_model_files_get_config (files));
  print_rest (files);
  for (i = 0; i < (gint) G_N_ELEMENTS (checks); i++) {
    g_autoptr (GError) misfit = NULL;

    if (!checks[i](files, &misfit)) {
      g_print ("does not fit: %s\n", misfit->message);
      ok = FALSE;
    }
  }
  ok = ok && tokenizer;
  /* the verdict is the loader's own */
  if (ok && !lf_model_examine (path, &options, &error)) {
    g_print ("does not fit: %s\n", error->message);
    ok = FALSE;
  }
  g_print ("%s\n", ok ? "This makes video." : "This makes no video.");
  return ok;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_autoptr (GError) error = NULL;
  gboolean ok;

  setlocale (LC_ALL, "");
  g_option_context_set_summary (context,
      "Says what a model file or a directory of model files is, what is missing and what does not "
      "fit.\nThe exit status is 0 if it makes video, else 1; 2 where the command line is wrong.");
  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, &argc, &argv, &error)) {
    g_printerr ("%s\n", error->message);
    return 2;
  }
  if (show_version) {
    g_print ("lightforce-inspect %s\n", lf_version ());
    return 0;
  }
  if (!arguments || !arguments[0] || arguments[1]) {
    g_printerr ("Give one path; lightforce-inspect --help says more.\n");
    return 2;
  }
  ok = inspect (arguments[0]);
  g_strfreev (arguments);
  return ok ? 0 : 1;
}
