/* lightforce: tensor names of published files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "modelkeys.h"

#include <string.h>

/* diffusers' names of whole prefixes, and of parts of a block (behind "blocks.N."). */
static const struct
{
  const char *from, *to;
} top_names[] =
    {
        {"condition_embedder.time_embedder.linear_1.", "time_embedding.0."},
        {"condition_embedder.time_embedder.linear_2.", "time_embedding.2."},
        {"condition_embedder.time_proj.", "time_projection.1."},
        {"condition_embedder.text_embedder.linear_1.", "text_embedding.0."},
        {"condition_embedder.text_embedder.linear_2.", "text_embedding.2."},
        {"proj_out.", "head.head."},
        {"scale_shift_table", "head.modulation"},
},
  block_names[] = {
      {"attn1.to_out.0.", "self_attn.o."},
      {"attn1.to_", "self_attn."},
      {"attn1.", "self_attn."},
      {"attn2.to_out.0.", "cross_attn.o."},
      {"attn2.to_", "cross_attn."},
      {"attn2.", "cross_attn."},
      {"ffn.net.0.proj.", "ffn.0."},
      {"ffn.net.2.", "ffn.2."},
      {"norm2.", "norm3."},
      {"scale_shift_table", "modulation"},
};

/* What wrappers put in front of or between names. */
static const char *const infixes[] = {"_fsdp_wrapped_module.", "_orig_mod."};
static const char *const prefixes[] = {"model.", "diffusion_model.", "module."};

static void
drop_infixes (char *name)
{
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (infixes); i++) {
    gsize length = strlen (infixes[i]);
    char *at = name;

    while ((at = strstr (at, infixes[i])))
      memmove (at, at + length, strlen (at + length) + 1);
  }
}

/* The place behind "blocks.N.", or NULL. */
static const char *
behind_block (const char *name)
{
  if (!g_str_has_prefix (name, "blocks."))
    return NULL;
  name += strlen ("blocks.");
  if (!g_ascii_isdigit (*name))
    return NULL;
  while (g_ascii_isdigit (*name))
    name++;
  return *name == '.' ? name + 1 : NULL;
}

static char *
translate (const char *name, gboolean diffusers)
{
  const char *rest = behind_block (name);
  gsize i;

  if (!diffusers)
    return g_strdup (name);
  for (i = 0; rest && i < G_N_ELEMENTS (block_names); i++)
    if (g_str_has_prefix (rest, block_names[i].from))
      return g_strdup_printf ("%.*s%s%s", (int) (rest - name), name, block_names[i].to,
          rest + strlen (block_names[i].from));
  for (i = 0; !rest && i < G_N_ELEMENTS (top_names); i++)
    if (g_str_has_prefix (name, top_names[i].from))
      return g_strconcat (top_names[i].to, name + strlen (top_names[i].from), NULL);
  return g_strdup (name);
}

/* norm2 alone does not tell: UMT5 has one, too. */
static gboolean
is_diffusers (const char *name)
{
  const char *rest = behind_block (name);

  if (rest)
    return g_str_has_prefix (rest, "attn1.") || g_str_has_prefix (rest, "attn2.")
           || g_str_has_prefix (rest, "ffn.net.") || g_str_equal (rest, "scale_shift_table")
           || g_str_equal (rest, "norm2.bias");
  return TRUE;
}

char *
lf_native_name (const char *name)
{
  const char *dict = strrchr (name, '/');
  g_autofree char *plain = g_strdup (dict ? dict + 1 : name);
  const char *start = plain;
  gboolean again = TRUE;
  gsize i;

  drop_infixes (plain);
  while (again) {
    again = FALSE;
    for (i = 0; i < G_N_ELEMENTS (prefixes); i++) {
      if (g_str_has_prefix (start, prefixes[i])) {
        start += strlen (prefixes[i]);
        again = TRUE;
      }
    }
  }
  return translate (start, is_diffusers (start));
}

gboolean
lf_native_name_is_scale (const char *name, char **weight)
{
  static const char *const suffixes[] = {".weight_scale", ".scale_weight"};
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (suffixes); i++) {
    if (g_str_has_suffix (name, suffixes[i])) {
      *weight = g_strdup_printf ("%.*s.weight", (int) (strlen (name) - strlen (suffixes[i])), name);
      return TRUE;
    }
  }
  return FALSE;
}

char *
lf_choose_dict (const LfContainer *container)
{
  /* training checkpoints hold several; the one that a name says is meant for use comes first */
  static const char *const preferred[] = {"generator_ema/", "generator/", "state_dict/", "model/"};
  guint n = lf_container_get_size (container), i, j;
  const char *name, *slash;

  for (j = 0; j < G_N_ELEMENTS (preferred); j++)
    for (i = 0; i < n; i++)
      if (g_str_has_prefix (lf_container_get_tensor (container, i)->name, preferred[j]))
        return g_strdup (preferred[j]);
  if (n == 0)
    return g_strdup ("");
  name = lf_container_get_tensor (container, 0)->name;
  slash = strrchr (name, '/');
  return slash ? g_strndup (name, slash - name + 1) : g_strdup ("");
}

gboolean
lf_recognise_part (GHashTable *names, LfPart *part, LfDecoderKind *decoder)
{
#define HAS(name) g_hash_table_contains (names, name)
  if (HAS ("patch_embedding.weight") && HAS ("blocks.0.self_attn.q.weight")) {
    *part = LF_PART_TRANSFORMER;
  } else if (HAS ("token_embedding.weight") && HAS ("blocks.0.attn.q.weight")) {
    *part = LF_PART_TEXT_ENCODER;
  } else if (HAS ("decoder.conv1.weight") && HAS ("decoder.head.2.weight")) {
    *part = LF_PART_DECODER;
    *decoder = LF_DECODER_WAN;
  } else if (HAS ("decoder.1.weight") && HAS ("decoder.3.conv.0.weight")) {
    *part = LF_PART_DECODER;
    *decoder = LF_DECODER_TINY;
  } else {
    return FALSE;
  }
#undef HAS
  return TRUE;
}
