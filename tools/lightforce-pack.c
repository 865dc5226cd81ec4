/* lightforce-pack: makes one file of a model
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/modelconfig.h"
#include "modelcheck.h"

#define STAGING_ELEMENTS (1 << 20)

static char *transformer, *text_encoder, *tokenizer, *decoder, *dtype_name;
static volatile sig_atomic_t interrupted;

static const char *const prefixes[] = {"transformer.", "text_encoder.", "decoder.", "encoder."};

/* One tensor of the file to be. */
typedef struct
{
  char *name;
  LfWeightRef ref; /* none: the tokenizer */
  LfDType dtype;
  gint64 count;
  guint64 begin, end; /* bytes of the data */
} Entry;

static void
entry_clear (gpointer data)
{
  g_free (((Entry *) data)->name);
}

/* By name, bytes behind wider elements: so all lie aligned in a mapped file. */
static gint
compare_entries (gconstpointer a, gconstpointer b)
{
  const Entry *x = a, *y = b;

  if ((x->dtype == LF_DTYPE_U8) != (y->dtype == LF_DTYPE_U8))
    return x->dtype == LF_DTYPE_U8 ? 1 : -1;
  return strcmp (x->name, y->name);
}

/* All tensors, in one order, so that the same model gives the same bytes. */
static GArray *
collect (const LfModelFiles *files, GBytes *spiece, LfDType dtype)
{
  GArray *entries = g_array_new (FALSE, TRUE, sizeof (Entry));
  guint64 at = 0;
  guint part, i;

  g_array_set_clear_func (entries, entry_clear);
  for (part = 0; part < LF_N_PARTS; part++) {
    g_autoptr (GPtrArray) names = lf_model_files_list (files, part);

    for (i = 0; i < names->len; i++) {
      const char *name = g_ptr_array_index (names, i);
      Entry e = {.dtype = dtype};

      lf_model_files_find (files, part, name, &e.ref);
      e.name = g_strconcat (prefixes[part], name, NULL);
      e.count = e.ref.tensor->count;
      g_array_append_val (entries, e);
    }
  }
  if (spiece) {
    Entry e = {.name = g_strdup ("tokenizer.model"), .dtype = LF_DTYPE_U8};

    e.count = g_bytes_get_size (spiece);
    g_array_append_val (entries, e);
  }
  g_array_sort (entries, compare_entries);
  for (i = 0; i < entries->len; i++) {
    Entry *e = &g_array_index (entries, Entry, i);

    e->begin = at;
    e->end = at += e->count * lf_dtype_size (e->dtype);
  }
  return entries;
}

static void
append_json_string (GString *s, const char *text)
{
  const char *c;

  g_string_append_c (s, '"');
  for (c = text; *c; c++) {
    if (*c == '"' || *c == '\\')
      g_string_append_c (s, '\\');
    if ((guchar) *c < 0x20)
      g_string_append_printf (s, "\\u%04x", *c);
    else
      g_string_append_c (s, *c);
  }
  g_string_append_c (s, '"');
}

static GString *
make_header (const LfModelFiles *files, const GArray *entries)
{
  g_autofree char *description = lf_model_config_to_json (lf_model_files_get_config (files),
      lf_model_files_get_description (files), lf_model_files_has (files, LF_PART_TEXT_ENCODER),
      lf_model_files_has (files, LF_PART_DECODER));
  GString *s = g_string_new ("{\"__metadata__\":{\"lightforce\":");
  guint i;
  gint d;

  append_json_string (s, description);
  g_string_append_c (s, '}');
  for (i = 0; i < entries->len; i++) {
    const Entry *e = &g_array_index (entries, Entry, i);

    g_string_append_c (s, ',');
    append_json_string (s, e->name);
    g_string_append_printf (s, ":{\"dtype\":\"%s\",\"shape\":[", lf_dtype_name (e->dtype));
    if (e->ref.tensor)
      for (d = 0; d < e->ref.tensor->ndim; d++)
        g_string_append_printf (s, "%s%" G_GINT64_FORMAT, d ? "," : "", e->ref.tensor->shape[d]);
    else
      g_string_append_printf (s, "%" G_GINT64_FORMAT, e->count);
    g_string_append_printf (
        s, "],\"data_offsets\":[%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "]}", e->begin, e->end);
  }
  g_string_append_c (s, '}');
  while (s->len % 8)
    g_string_append_c (s, ' ');
  return s;
}

static gboolean
write_all (FILE *f, const char *path, const void *data, gsize bytes, GError **error)
{
  if (fwrite (data, 1, bytes, f) == bytes)
    return TRUE;
  g_set_error (
      error, LF_ERROR, LF_ERROR_INVALID_FILE, "%s: cannot write: %s", path, g_strerror (errno));
  return FALSE;
}

static void
show_progress (guint64 done, guint64 total)
{
  static gint last = -1;
  gint percent = total ? (gint) (done * 100 / total) : 100, i;

  if (!isatty (STDERR_FILENO) || percent == last)
    return;
  last = percent;
  fprintf (stderr, "\r[");
  for (i = 0; i < 50; i++)
    fputc (i * 2 < percent ? '#' : ' ', stderr);
  fprintf (stderr, "] %3d%%%s", percent, percent == 100 ? "\n" : "");
}

static gboolean
write_data (FILE *f, const char *path, const GArray *entries, GBytes *spiece, GError **error)
{
  guint64 total = entries->len ? g_array_index (entries, Entry, entries->len - 1).end : 0;
  g_autofree guint8 *staging = g_malloc (STAGING_ELEMENTS * sizeof (float));
  guint i;

  for (i = 0; i < entries->len; i++) {
    const Entry *e = &g_array_index (entries, Entry, i);
    gsize size = lf_dtype_size (e->dtype);
    gint64 at;

    if (!e->ref.tensor) {
      if (!write_all (f, path, g_bytes_get_data (spiece, NULL), e->count, error))
        return FALSE;
      continue;
    }
    for (at = 0; at < e->count; at += STAGING_ELEMENTS) {
      gint64 n = MIN (STAGING_ELEMENTS, e->count - at);

      if (interrupted) {
        g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE, "%s: interrupted", path);
        return FALSE;
      }
      if (!lf_weight_read (&e->ref, at, n, e->dtype, staging, error)
          || !write_all (f, path, staging, n * size, error))
        return FALSE;
      show_progress (e->begin + (at + n) * size, total);
    }
  }
  return TRUE;
}

/* Writes beside the goal and moves there at the end: never half a file under its name. */
static gboolean
write_file (const LfModelFiles *files, const char *path, LfDType dtype, GError **error)
{
  g_autoptr (GBytes) spiece = lf_model_files_get_tokenizer (files);
  g_autoptr (GArray) entries = collect (files, spiece, dtype);
  GString *header = make_header (files, entries);
  g_autofree char *part = g_strconcat (path, ".XXXXXX", NULL);
  guint64 length = GUINT64_TO_LE ((guint64) header->len);
  gint fd = g_mkstemp_full (part, O_WRONLY | O_CLOEXEC, 0666);
  FILE *f = fd < 0 ? NULL : fdopen (fd, "wb");
  gboolean ok = FALSE;

  if (!f) {
    g_set_error (
        error, LF_ERROR, LF_ERROR_INVALID_FILE, "%s: cannot write: %s", part, g_strerror (errno));
    goto done;
  }
  ok = write_all (f, part, &length, sizeof (length), error)
       && write_all (f, part, header->str, header->len, error)
       && write_data (f, part, entries, spiece, error);
  /* on the disk before it has its name: a crash leaves the whole file or none */
  if (ok && (fflush (f) != 0 || fsync (fd) != 0)) {
    ok = FALSE;
    g_set_error (
        error, LF_ERROR, LF_ERROR_INVALID_FILE, "%s: cannot write: %s", part, g_strerror (errno));
  }
  if (fclose (f) != 0 && ok) {
    ok = FALSE;
    g_set_error (
        error, LF_ERROR, LF_ERROR_INVALID_FILE, "%s: cannot write: %s", part, g_strerror (errno));
  }
  if (ok && g_rename (part, path) != 0) {
    ok = FALSE;
    g_set_error (
        error, LF_ERROR, LF_ERROR_INVALID_FILE, "%s: cannot write: %s", path, g_strerror (errno));
  }
  if (!ok)
    g_unlink (part);
done:
  g_string_free (header, TRUE);
  return ok;
}

/* A part that cannot be loaded is not worth writing. Parts that are missing or do not go together
 * may be meant for options that replace them: they are only mentioned. */
static gboolean
check_model (LfModelFiles *files, GError **error)
{
  static const char *const words[LF_N_PARTS] = {
      "transformer", "text encoder", "decoder", "encoder"};
  static gboolean (*const fits[]) (LfModelFiles *, GError **) = {
      lf_check_text, lf_check_decoder, lf_check_tokenizer};
  guint64 parameters;
  guint i;

  for (i = 0; i < LF_N_PARTS; i++) {
    if (!lf_model_files_has (files, i) && i == LF_PART_ENCODER)
      continue; /* few need it */
    if (!lf_model_files_has (files, i))
      fprintf (stderr, "lightforce-pack: warning: there is no %s\n", words[i]);
    else if (!lf_check_part (files, i, &parameters, error))
      return FALSE;
  }
  if (!lf_model_files_get_tokenizer_path (files))
    fprintf (stderr, "lightforce-pack: warning: there is no tokenizer\n");
  for (i = 0; i < G_N_ELEMENTS (fits); i++) {
    g_autoptr (GError) misfit = NULL;

    if (!fits[i](files, &misfit))
      fprintf (stderr, "lightforce-pack: warning: %s\n", misfit->message);
  }
  return TRUE;
}

static void
interrupt (int number)
{
  interrupted = 1;
}

static gboolean
choose_dtype (LfDType *dtype, GError **error)
{
  if (!dtype_name || g_str_equal (dtype_name, "bf16"))
    *dtype = LF_DTYPE_BF16;
  else if (g_str_equal (dtype_name, "fp16"))
    *dtype = LF_DTYPE_F16;
  else if (g_str_equal (dtype_name, "fp32"))
    *dtype = LF_DTYPE_F32;
  else {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "--dtype is bf16, fp16 or fp32, not \"%s\"",
        dtype_name);
    return FALSE;
  }
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("PATH OUT.safetensors");
  g_autoptr (GError) error = NULL;
  g_autoptr (LfModelFiles) files = NULL;
  LfModelOptions options = {0};
  gboolean show_version = FALSE;
  LfDType dtype;
  GOptionEntry entries[] = {
      {"dtype", 0, 0, G_OPTION_ARG_STRING, &dtype_name, "bf16 (default), fp16 or fp32", "TYPE"},
      {"transformer", 0, 0, G_OPTION_ARG_FILENAME, &transformer, "in place of the one in PATH",
          "FILE"},
      {"text-encoder", 0, 0, G_OPTION_ARG_FILENAME, &text_encoder, "the same", "FILE"},
      {"tokenizer", 0, 0, G_OPTION_ARG_FILENAME, &tokenizer, "the same", "FILE"},
      {"decoder", 0, 0, G_OPTION_ARG_FILENAME, &decoder, "the same", "FILE"},
      {"version", 0, 0, G_OPTION_ARG_NONE, &show_version, "print the version and exit", NULL},
      G_OPTION_ENTRY_NULL,
  };

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (
      context, "Makes one file of a directory with a model's published files.");
  if (!g_option_context_parse (context, &argc, &argv, &error) || !choose_dtype (&dtype, &error)) {
    fprintf (stderr, "lightforce-pack: %s\n", error->message);
    return 2;
  }
  if (show_version) {
    printf ("lightforce-pack %s\n", lf_version ());
    return 0;
  }
  if (argc != 3) {
    fprintf (stderr, "lightforce-pack: name a model and the file to write\n");
    return 2;
  }
  options.transformer = transformer;
  options.text_encoder = text_encoder;
  options.tokenizer = tokenizer;
  options.decoder = decoder;
  files = lf_model_files_open (argv[1], &options, &error);
  signal (SIGINT, interrupt);
  signal (SIGTERM, interrupt);
  if (!files || !check_model (files, &error) || !write_file (files, argv[2], dtype, &error)) {
    fprintf (stderr, "lightforce-pack: %s\n", error->message);
    return 1;
  }
  return 0;
}
