/* lightforce: models of made-up weights, for measurements
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "randommodel.h"

#include <math.h>
#include <string.h>

#include "container-private.h"
#include "model.h"
#include "modelconfig.h"

#define STAGING_FLOATS ((gsize) 1 << 20)
#define SMALL 0.02f /* size of biases and modulations */

/* -------------------------------------------------------------------- presets */

typedef struct
{
  const char *name;
  gint dim, heads, layers, ffn_dim, text_len;
  gint text_dim, text_heads, text_layers, text_ffn_dim, vocab;
  gint full_width, light_width, tiny_width; /* base widths of the Wan VAEs, first of TAEHV */
  gint width, height;
  LfSparse sparse;
} Preset;

/* Wan 2.1 T2V with UMT5-XXL, with the settings of Light Forcing's short videos; and one that a
 * processor runs in no time. */
static const Preset presets[] = {
    {"wan-1.3b", 1536, 12, 30, 8960, 512, 4096, 64, 24, 10240, 256384, 96, 24, 256, 768, 512,
        {TRUE, 0.80, 0.90, 21, 128, 128, 6, 1, 2}},
    {"wan-14b", 5120, 40, 40, 13824, 512, 4096, 64, 24, 10240, 256384, 96, 24, 256, 768, 512,
        {TRUE, 0.80, 0.90, 21, 128, 128, 6, 1, 2}},
    {"test", 64, 2, 2, 128, 128, 32, 2, 2, 64, 256, 8, 4, 64, 96, 64,
        {TRUE, 0.50, 0.60, 21, 8, 8, 3, 1, 1}},
};

static const char *const preset_names[] = {"wan-1.3b", "wan-14b", "test", NULL};
static const char *const decoder_names[] = {"full", "light", "tiny", NULL};

const char *const *
lf_random_presets (void)
{
  return preset_names;
}

const char *const *
lf_random_decoders (void)
{
  return decoder_names;
}

static const Preset *
find_preset (const char *name)
{
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (presets); i++)
    if (g_str_equal (presets[i].name, name))
      return &presets[i];
  return NULL;
}

/* ----------------------------------------------------- lists of tensors */

#define Z 16         /* latent channels of all of them */
#define FREQ_DIM 256 /* of the embedding of time */
#define BUCKETS 32   /* of distances, in the text encoder */

static void
random_close (LfContainer *container)
{
}

/* There are no bytes: loaders ask lf_random_fill. */
static const guint8 *
random_map (LfContainer *container, gint storage)
{
  g_return_val_if_reached (NULL);
}

static const LfContainerFormat random_format = {"random", random_close, random_map};

static LfContainer *
container_new (const char *name)
{
  g_autoptr (GBytes) nothing = g_bytes_new_static ("", 0);

  return lf_container_new (&random_format, name, nothing);
}

/* Adds a tensor; of `shape` the dimensions up to the first 0 count. */
static void add (LfContainer *c, const gint shape[5], const char *format, ...) G_GNUC_PRINTF (3, 4);

static void
add (LfContainer *c, const gint shape[5], const char *format, ...)
{
  g_autofree char *name = NULL;
  LfTensor tensor = {.info.dtype = LF_DTYPE_BF16};
  gint64 count = 1;
  va_list args;
  gint i;

  va_start (args, format);
  name = g_strdup_vprintf (format, args);
  va_end (args);
  tensor.info.name = name;
  while (tensor.info.ndim < 5 && shape[tensor.info.ndim]) {
    tensor.info.shape[tensor.info.ndim] = shape[tensor.info.ndim];
    tensor.info.ndim++;
  }
  for (i = tensor.info.ndim - 1; i >= 0; i--) {
    tensor.stride[i] = count;
    count *= tensor.info.shape[i];
  }
  if (!lf_container_add (c, &tensor, count * lf_dtype_size (tensor.info.dtype), NULL))
    g_assert_not_reached ();
}

#define SHAPE(...) ((const gint[5]){__VA_ARGS__})

static void
add_linear (LfContainer *c, gint n_out, gint n_in, gboolean bias, const char *prefix)
{
  add (c, SHAPE (n_out, n_in), "%s.weight", prefix);
  if (bias)
    add (c, SHAPE (n_out), "%s.bias", prefix);
}

static void
add_layer (LfContainer *c, const Preset *p, gint i)
{
  static const char *const attentions[] = {"self_attn", "cross_attn"};
  static const char *const linears[] = {"q", "k", "v", "o"};
  g_autofree char *layer = g_strdup_printf ("transformer.blocks.%d", i);
  g_autofree char *ffn0 = g_strconcat (layer, ".ffn.0", NULL);
  g_autofree char *ffn2 = g_strconcat (layer, ".ffn.2", NULL);
  gsize a, l;

  add (c, SHAPE (1, 6, p->dim), "%s.modulation", layer);
  for (a = 0; a < G_N_ELEMENTS (attentions); a++) {
    for (l = 0; l < G_N_ELEMENTS (linears); l++) {
      g_autofree char *prefix = g_strdup_printf ("%s.%s.%s", layer, attentions[a], linears[l]);

      add_linear (c, p->dim, p->dim, TRUE, prefix);
    }
    add (c, SHAPE (p->dim), "%s.%s.norm_q.weight", layer, attentions[a]);
    add (c, SHAPE (p->dim), "%s.%s.norm_k.weight", layer, attentions[a]);
  }
  add (c, SHAPE (p->dim), "%s.norm3.weight", layer);
  add (c, SHAPE (p->dim), "%s.norm3.bias", layer);
  add_linear (c, p->ffn_dim, p->dim, TRUE, ffn0);
  add_linear (c, p->dim, p->ffn_dim, TRUE, ffn2);
}

static void
add_transformer (LfContainer *c, const Preset *p)
{
  gint C = p->dim, i;

  add (c, SHAPE (C, Z, 1, 2, 2), "transformer.patch_embedding.weight");
  add (c, SHAPE (C), "transformer.patch_embedding.bias");
  add_linear (c, C, p->text_dim, TRUE, "transformer.text_embedding.0");
  add_linear (c, C, C, TRUE, "transformer.text_embedding.2");
  add_linear (c, C, FREQ_DIM, TRUE, "transformer.time_embedding.0");
  add_linear (c, C, C, TRUE, "transformer.time_embedding.2");
  add_linear (c, 6 * C, C, TRUE, "transformer.time_projection.1");
  for (i = 0; i < p->layers; i++)
    add_layer (c, p, i);
  add (c, SHAPE (1, 2, C), "transformer.head.modulation");
  add_linear (c, 4 * Z, C, TRUE, "transformer.head.head");
}

static void
add_text_encoder (LfContainer *c, const Preset *p)
{
  static const char *const square[] = {"attn.q", "attn.k", "attn.v", "attn.o"};
  gint C = p->text_dim, i;
  gsize l;

  add (c, SHAPE (p->vocab, C), "text_encoder.token_embedding.weight");
  for (i = 0; i < p->text_layers; i++) {
    g_autofree char *block = g_strdup_printf ("text_encoder.blocks.%d", i);

    for (l = 0; l < G_N_ELEMENTS (square); l++)
      add (c, SHAPE (C, C), "%s.%s.weight", block, square[l]);
    add (c, SHAPE (BUCKETS, p->text_heads), "%s.pos_embedding.embedding.weight", block);
    add (c, SHAPE (C), "%s.norm1.weight", block);
    add (c, SHAPE (C), "%s.norm2.weight", block);
    add (c, SHAPE (p->text_ffn_dim, C), "%s.ffn.gate.0.weight", block);
    add (c, SHAPE (p->text_ffn_dim, C), "%s.ffn.fc1.weight", block);
    add (c, SHAPE (C, p->text_ffn_dim), "%s.ffn.fc2.weight", block);
  }
  add (c, SHAPE (C), "text_encoder.norm.weight");
}

/* ------------------------------------------------------------- decoders */

/* A convolution with a bias, over time too where kt is not 0. */
static void
add_conv (
    LfContainer *c, gint c_out, gint c_in, gint kt, gint k, const char *prefix, const char *name)
{
  if (kt)
    add (c, SHAPE (c_out, c_in, kt, k, k), "decoder.%s%s.weight", prefix, name);
  else
    add (c, SHAPE (c_out, c_in, k, k), "decoder.%s%s.weight", prefix, name);
  add (c, SHAPE (c_out), "decoder.%s%s.bias", prefix, name);
}

static void
add_residual (LfContainer *c, gint c_out, gint c_in, const char *prefix)
{
  add (c, SHAPE (c_in, 1, 1, 1), "decoder.%sresidual.0.gamma", prefix);
  add_conv (c, c_out, c_in, 3, 3, prefix, "residual.2");
  add (c, SHAPE (c_out, 1, 1, 1), "decoder.%sresidual.3.gamma", prefix);
  add_conv (c, c_out, c_out, 3, 3, prefix, "residual.6");
  if (c_in != c_out)
    add_conv (c, c_out, c_in, 1, 1, prefix, "shortcut");
}

/* The decoding half of a Wan VAE: four levels of three residual blocks, of 4, 4, 2 and 1 times
 * the width, each but the last enlarged, the first two doubled in time. Enlargements halve the
 * channels. */
static void
add_wan_decoder (LfContainer *c, gint width)
{
  static const gint levels[] = {4, 4, 2, 1};
  gint top = 4 * width, C = top, stage = 0;
  gsize level;
  gint i;

  add_conv (c, Z, Z, 1, 1, "", "conv2");
  add_conv (c, top, Z, 3, 3, "decoder.", "conv1");
  add_residual (c, top, top, "decoder.middle.0.");
  add (c, SHAPE (top, 1, 1), "decoder.decoder.middle.1.norm.gamma");
  add_conv (c, 3 * top, top, 0, 1, "decoder.middle.1.", "to_qkv");
  add_conv (c, top, top, 0, 1, "decoder.middle.1.", "proj");
  add_residual (c, top, top, "decoder.middle.2.");
  for (level = 0; level < G_N_ELEMENTS (levels); level++) {
    for (i = 0; i < 3; i++) {
      g_autofree char *prefix = g_strdup_printf ("decoder.upsamples.%d.", stage++);

      add_residual (c, levels[level] * width, C, prefix);
      C = levels[level] * width;
    }
    if (level + 1 < G_N_ELEMENTS (levels)) {
      g_autofree char *prefix = g_strdup_printf ("decoder.upsamples.%d.", stage++);

      if (level < 2)
        add_conv (c, 2 * C, C, 3, 1, prefix, "time_conv");
      add_conv (c, C / 2, C, 0, 3, prefix, "resample.1");
      C /= 2;
    }
  }
  add (c, SHAPE (C, 1, 1, 1), "decoder.decoder.head.0.gamma");
  add_conv (c, 3, C, 3, 3, "decoder.", "head.2");
}

static void
add_memory (LfContainer *c, gint C, gint i)
{
  g_autofree char *prefix = g_strdup_printf ("decoder.%d.conv.", i);

  add_conv (c, C, 2 * C, 0, 3, prefix, "0");
  add_conv (c, C, C, 0, 3, prefix, "2");
  add_conv (c, C, C, 0, 3, prefix, "4");
}

/* TAEHV: levels of three blocks with a memory, an enlargement, growth in time and a convolution
 * to the next width. */
static void
add_tiny_decoder (LfContainer *c, gint width)
{
  const gint widths[] = {width, width / 2, width / 4, width / 4};
  gint layer = 3, level, i;

  add_conv (c, width, Z, 0, 3, "decoder.", "1");
  for (level = 0; level < 3; level++) {
    gint C = widths[level];

    for (i = 0; i < 3; i++)
      add_memory (c, C, layer++);
    layer++; /* the enlargement has no weights */
    add (c, SHAPE (2 * C, C, 1, 1), "decoder.decoder.%d.conv.weight", layer++);
    add (c, SHAPE (widths[level + 1], C, 3, 3), "decoder.decoder.%d.weight", layer++);
  }
  layer++; /* a ReLU */
  g_assert (layer == 22);
  add_conv (c, 3, widths[3], 0, 3, "decoder.", "22");
}

/* --------------------------------------------------------------- containers */

static LfContainer *
no_such (const char *what, const char *name, const char *const *names, GError **error)
{
  g_autofree char *all = g_strjoinv (", ", (char **) names);

  g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "there is no %s \"%s\"; choose one of: %s", what,
      name, all);
  return NULL;
}

LfContainer *
lf_random_container (const char *preset, GError **error)
{
  const Preset *p = find_preset (preset);
  g_autofree char *name = NULL;
  LfModelConfig config;
  LfContainer *c;

  if (!p)
    return no_such ("preset", preset, preset_names, error);
  name = g_strdup_printf ("%s, random weights", p->name);
  lf_model_config_init (&config, "short_video_gen");
  config.name = name;
  config.transformer.dim = p->dim;
  config.transformer.heads = p->heads;
  config.transformer.layers = p->layers;
  config.transformer.ffn_dim = p->ffn_dim;
  config.transformer.freq_dim = FREQ_DIM;
  config.transformer.text_dim = p->text_dim;
  config.transformer.text_len = p->text_len;
  config.transformer.z = Z;
  config.text.dim = p->text_dim;
  config.text.heads = p->text_heads;
  config.text.layers = p->text_layers;
  config.text.ffn_dim = p->text_ffn_dim;
  config.sparse = p->sparse;
  config.width = p->width;
  config.height = p->height;
  c = container_new (p->name);
  c->metadata = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_hash_table_insert (
      c->metadata, g_strdup ("lightforce"), lf_model_config_to_json (&config, NULL, TRUE, FALSE));
  add_transformer (c, p);
  add_text_encoder (c, p);
  return c;
}

LfContainer *
lf_random_decoder_container (const char *preset, const char *decoder, GError **error)
{
  const Preset *p = find_preset (preset ? preset : presets[0].name);
  LfContainer *c;

  if (!p)
    return no_such ("preset", preset, preset_names, error);
  if (!g_strv_contains (decoder_names, decoder))
    return no_such ("decoder", decoder, decoder_names, error);
  c = container_new (decoder);
  if (g_str_equal (decoder, "full"))
    add_wan_decoder (c, p->full_width);
  else if (g_str_equal (decoder, "light"))
    add_wan_decoder (c, p->light_width);
  else
    add_tiny_decoder (c, p->tiny_width);
  return c;
}

LfModel *
lf_model_new_random (const char *model, const char *decoder, const LfModelOptions *options,
    GCancellable *cancellable, LfProgressFunc progress, gpointer user_data, GError **error)
{
  static const LfModelOptions no_options;
  const LfModelOptions *o = options ? options : &no_options;
  const char *preset = model && find_preset (model) ? model : NULL;
  const char *path = model && *model ? model : lf_default_model_path ();
  LfContainer *parts = NULL, *replacement = NULL;
  LfModelFiles *files;

  if (preset && !decoder && !o->decoder)
    decoder = decoder_names[0];
  if (decoder && !(replacement = lf_random_decoder_container (preset, decoder, error)))
    return NULL;
  if (preset)
    parts = lf_random_container (preset, NULL);
  files = lf_model_files_open_random (path, parts, replacement, o, error);
  return files ? lf_model_load_files (files, o, cancellable, progress, user_data, error) : NULL;
}

/* ------------------------------------------------------------------- values */

typedef struct _LfRandomStaging LfRandomStaging;

struct _LfRandomStaging
{
  void *memory;
  float *zeros, *noise, *values; /* (STAGING_FLOATS) in backend memory; zeros stay so */
  guint8 *host; /* (STAGING_FLOATS) of any type: only where no operation converts */
};

/* What keeps activations of order 1: weights of variance 1 / inputs, gains of 1, small biases.
 * Names are of any layout that files have. */
static float
deviation_of (const LfTensorInfo *t)
{
  static const char *const tables[] = {
      "token_embedding.weight", "shared.weight", "embed_tokens.weight"};
  gint64 fan_in = 1;
  gsize i;

  if (g_str_has_suffix (t->name, "gamma") || t->ndim < 1
      || (t->ndim == 1 && g_str_has_suffix (t->name, "weight")))
    return 0;
  if (t->ndim == 1 || strstr (t->name, "modulation") || strstr (t->name, "scale_shift_table"))
    return SMALL;
  for (i = 0; i < G_N_ELEMENTS (tables); i++)
    if (g_str_has_suffix (t->name, tables[i]))
      return 1;
  for (i = 1; i < (gsize) t->ndim; i++)
    fan_in *= t->shape[i];
  return 1 / sqrtf (MAX (fan_in, 1));
}

/* FNV-1a of the name: which noise a tensor gets. */
static guint32
number_of (const char *name)
{
  guint32 hash = 2166136261u;

  for (; *name; name++)
    hash = (hash ^ (guint8) *name) * 16777619u;
  return hash;
}

static LfRandomStaging *
staging_of (LfLoader *loader, GError **error)
{
  LfRandomStaging *s;

  if (loader->random)
    return loader->random;
  s = g_new0 (LfRandomStaging, 1);
  s->memory =
      loader->backend->ops->alloc (loader->backend, 3 * STAGING_FLOATS * sizeof (float), error);
  if (!s->memory) {
    g_free (s);
    return NULL;
  }
  s->zeros = s->memory;
  s->noise = s->zeros + STAGING_FLOATS;
  s->values = s->noise + STAGING_FLOATS;
  loader->random = s;
  return s;
}

void
lf_random_release (LfLoader *loader)
{
  if (!loader->random)
    return;
  loader->backend->ops->free (loader->backend, loader->random->memory);
  g_free (loader->random->host);
  g_clear_pointer (&loader->random, g_free);
}

/* `count` of the staged values to `dst` as `dtype`. */
static gboolean
convert (LfLoader *loader, LfRandomStaging *s, const float *values, gsize count, LfDType dtype,
    guint8 *dst, GError **error)
{
  const LfBackendOps *ops = loader->backend->ops;

  if (dtype == LF_DTYPE_F32) {
    ops->copy (loader->queue, dst, values, count * sizeof (float));
  } else if (dtype == loader->backend->act) {
    ops->from_float (loader->queue, dst, values, count);
  } else {
    float *wide;

    if (!s->host)
      s->host = g_malloc (STAGING_FLOATS * 2 * sizeof (float));
    wide = (float *) s->host + STAGING_FLOATS;
    ops->download (loader->queue, wide, values, count * sizeof (float));
    if (!ops->wait (loader->queue, error))
      return FALSE;
    lf_dtype_convert (s->host, dtype, wide, LF_DTYPE_F32, count);
    ops->upload (loader->queue, dst, s->host, count * lf_dtype_size (dtype));
  }
  return TRUE;
}

/* `count` values of the deviation, or ones. */
static void
make_values (LfLoader *loader, LfRandomStaging *s, float deviation, guint64 first, guint32 number,
    guint32 block, gsize count)
{
  const LfBackendOps *ops = loader->backend->ops;
  gsize i;

  if (deviation == 0) {
    g_autofree float *ones = g_new (float, count);

    for (i = 0; i < count; i++)
      ones[i] = 1;
    ops->upload (loader->queue, s->values, ones, count * sizeof (float));
  } else {
    ops->noise (loader->queue, s->noise, count, first, number, block);
    /* = deviation x noise */
    ops->lerp (loader->queue, s->values, s->zeros, s->noise, deviation, count);
  }
}

gboolean
lf_random_fill (LfLoader *loader, const LfTensorInfo *tensor, gint64 first, gint64 count,
    LfDType dtype, guint8 *dst, GError **error)
{
  LfRandomStaging *s = staging_of (loader, error);
  float deviation = deviation_of (tensor);
  guint32 number = number_of (tensor->name), block;
  gint64 at, n;

  for (at = 0, block = 0; s && at < count; at += n, block++) {
    n = MIN ((gint64) STAGING_FLOATS, count - at);
    if (g_cancellable_set_error_if_cancelled (loader->cancellable, error))
      return FALSE;
    make_values (loader, s, deviation, first, number, block, n);
    if (!convert (loader, s, s->values, n, dtype, dst + at * lf_dtype_size (dtype), error))
      return FALSE;
  }
  return s != NULL;
}
