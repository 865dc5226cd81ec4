/* lightforce: what the programs of this folder share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pipelines/parts.h"

#include <string.h>

gboolean
lf_read_options (int argc, char **argv, const char *program, const char *summary,
    const char *description, const GOptionEntry *entries, const gboolean *version, int *status)
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_autoptr (GError) error = NULL;

  g_option_context_set_summary (context, summary);
  g_option_context_set_description (context, description);
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  *status = 2;
  if (!g_option_context_parse (context, &argc, &argv, &error)) {
    g_printerr ("%s\n", error->message);
    return FALSE;
  }
  if (*version) {
    g_print ("%s %s\n", program, lf_version ());
    *status = 0;
    return FALSE;
  }
  if (argc > 1) {
    g_printerr ("\"%s\" is no option; %s --help names them.\n", argv[1], program);
    return FALSE;
  }
  return TRUE;
}

void
lf_source_property_free (LfSourceProperty *property)
{
  g_free (property->name);
  if (G_IS_VALUE (&property->value))
    g_value_unset (&property->value);
  g_free (property);
}

static LfSourceProperty *
parse (GParamSpec *spec, const char *text, char **problem)
{
  LfSourceProperty *property = g_new0 (LfSourceProperty, 1);
  g_autofree char *shown = NULL, *stripped = NULL;

  property->name = g_strdup (spec->name);
  g_value_init (&property->value, spec->value_type);
  if (spec->value_type == G_TYPE_STRING) {
    g_value_set_string (&property->value, text);
    return property;
  }
  stripped = g_strstrip (g_strdup (text));
  /* g_param_value_validate: TRUE where it was out of range, and was changed */
  if (gst_value_deserialize (&property->value, stripped)
      && !g_param_value_validate (spec, &property->value))
    return property;
  g_value_reset (&property->value);
  g_param_value_set_default (spec, &property->value);
  shown = gst_value_serialize (&property->value);
  *problem = g_strdup_printf ("\"%s\" is not a value of this property (its default is %s; "
                              "gst-inspect-1.0 lightforcesrc tells its range)",
      stripped, shown ? shown : "not set");
  lf_source_property_free (property);
  return NULL;
}

LfSourceProperty *
lf_source_property_new (const char *name, const char *text, char **problem)
{
  GstElement *source = gst_object_ref_sink (gst_element_factory_make ("lightforcesrc", NULL));
  GParamSpec *spec = g_object_class_find_property (G_OBJECT_GET_CLASS (source), name);
  LfSourceProperty *property = NULL;

  if (spec && g_str_equal (spec->name, "is-live"))
    *problem = g_strdup ("a video of this server is live always");
  else if (spec == NULL || !(spec->flags & G_PARAM_WRITABLE)
           || (spec->owner_type != G_OBJECT_TYPE (source)
               && !g_str_equal (spec->name, "num-buffers")))
    *problem = g_strdup ("there is no such setting; --help names them, and "
                         "gst-inspect-1.0 lightforcesrc the properties of the source that can be "
                         "set, too");
  else
    property = parse (spec, text, problem);
  gst_object_unref (source);
  return property;
}

GstElement *
lf_source_new (const GPtrArray *properties)
{
  GstElement *source = gst_element_factory_make ("lightforcesrc", "src");
  guint i;

  for (i = 0; source && i < properties->len; i++) {
    const LfSourceProperty *property = g_ptr_array_index (properties, i);

    g_object_set_property (G_OBJECT (source), property->name, &property->value);
  }
  if (source)
    g_object_set (source, "is-live", TRUE, NULL);
  return source;
}

LfModel *
lf_source_load_model (GstElement *source, GCancellable *cancellable, GError **error)
{
  static const char *const backends[] = {"auto", "cpu", "cuda"};
  g_autofree char *path = NULL, *transformer = NULL, *text_encoder = NULL, *tokenizer = NULL;
  g_autofree char *decoder = NULL;
  gint backend, precision, residency;
  LfModelOptions options = {0};

  g_object_get (source, "model", &path, "transformer", &transformer, "text-encoder", &text_encoder,
      "tokenizer", &tokenizer, "decoder", &decoder, "backend", &backend, "precision", &precision,
      "text-encoder-residency", &residency, NULL);
  options.backend = backends[backend];
  options.precision = precision;
  options.text_residency = residency;
  options.transformer = transformer;
  options.text_encoder = text_encoder;
  options.tokenizer = tokenizer;
  options.decoder = decoder;
  return lf_model_load (path, &options, cancellable, NULL, NULL, error);
}

typedef struct
{
  void (*func) (gpointer data);
  gpointer data;
  gint done; /* atomic */
} Run;

static gpointer
run (gpointer data)
{
  Run *r = data;

  r->func (r->data);
  g_atomic_int_set (&r->done, TRUE);
  g_main_context_wakeup (NULL);
  return NULL;
}

void
lf_run_in_thread (void (*func) (gpointer data), gpointer data)
{
  Run r = {func, data, FALSE};
  GThread *thread = g_thread_new ("run", run, &r);

  while (!g_atomic_int_get (&r.done))
    g_main_context_iteration (NULL, TRUE);
  g_thread_join (thread);
}

const char *
lf_prompt_problem (const char *prompt)
{
  const char *c;

  if (strlen (prompt) > LF_PROMPT_LIMIT)
    return "it is longer than 4096 bytes";
  for (c = prompt; *c; c = g_utf8_next_char (c))
    if (g_unichar_iscntrl (g_utf8_get_char (c)))
      return "it has control characters";
  return NULL;
}

char *
lf_encoder_line (gint64 bitrate, gint64 interval, const char *speed)
{
  return g_strdup_printf (
      "x264enc tune=zerolatency threads=1 speed-preset=%s bitrate=%" G_GINT64_FORMAT
      " key-int-max=%" G_GINT64_FORMAT,
      speed, bitrate, interval);
}
