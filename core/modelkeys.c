/* lightforce: tensor names of published files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "modelkeys.h"

#include <string.h>

typedef struct
{
  const char *from, *to; /* beginnings of names */
} Rule;

/* diffusers, WanTransformer3DModel: whole names, and what stands behind "blocks.N." */
static const Rule diffusers_top[] = {
    {"condition_embedder.time_embedder.linear_1.", "time_embedding.0."},
    {"condition_embedder.time_embedder.linear_2.", "time_embedding.2."},
    {"condition_embedder.time_proj.", "time_projection.1."},
    {"condition_embedder.text_embedder.linear_1.", "text_embedding.0."},
    {"condition_embedder.text_embedder.linear_2.", "text_embedding.2."},
    {"proj_out.", "head.head."},
    {"scale_shift_table", "head.modulation"},
    {NULL, NULL},
};
static const Rule diffusers_block[] = {
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
    {NULL, NULL},
};

/* transformers, UMT5EncoderModel: whole names, and what stands behind "encoder.block.N." */
static const Rule transformers_top[] = {
    {"shared.", "token_embedding."},
    {"encoder.embed_tokens.", "token_embedding."},
    {"encoder.final_layer_norm.", "norm."},
    {NULL, NULL},
};
static const Rule transformers_block[] = {
    {"layer.0.layer_norm.", "norm1."},
    {"layer.0.SelfAttention.relative_attention_bias.", "pos_embedding.embedding."},
    {"layer.0.SelfAttention.", "attn."},
    {"layer.1.layer_norm.", "norm2."},
    {"layer.1.DenseReluDense.wi_0.", "ffn.gate.0."},
    {"layer.1.DenseReluDense.wi_1.", "ffn.fc1."},
    {"layer.1.DenseReluDense.wo.", "ffn.fc2."},
    {NULL, NULL},
};

static const struct
{
  const char *block; /* what a block's number stands behind */
  const Rule *top, *in_block;
} layouts[] = {
    [LF_LAYOUT_DIFFUSERS] = {"blocks.", diffusers_top, diffusers_block},
    [LF_LAYOUT_TRANSFORMERS] = {"encoder.block.", transformers_top, transformers_block},
};

/* What wrappers put in front of or between names. */
static const char *const infixes[] = {
    "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod."};
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

static const char *
skip_prefixes (const char *name)
{
  gsize i = 0;

  while (i < G_N_ELEMENTS (prefixes)) {
    if (g_str_has_prefix (name, prefixes[i])) {
      name += strlen (prefixes[i]);
      i = 0;
    } else {
      i++;
    }
  }
  return name;
}

/* The place behind `block` and "N.", or NULL. */
static const char *
behind_block (const char *name, const char *block)
{
  if (!g_str_has_prefix (name, block))
    return NULL;
  name += strlen (block);
  if (!g_ascii_isdigit (*name))
    return NULL;
  while (g_ascii_isdigit (*name))
    name++;
  return *name == '.' ? name + 1 : NULL;
}

/* The rule that a name falls under, or NULL. */
static const Rule *
find_rule (const Rule *rules, const char *name)
{
  for (; rules->from; rules++)
    if (g_str_has_prefix (name, rules->from))
      return rules;
  return NULL;
}

LfKeyLayout
lf_layout_of (const char *name)
{
  if (strstr (name, "condition_embedder.") || strstr (name, ".attn1."))
    return LF_LAYOUT_DIFFUSERS;
  if (strstr (name, "encoder.block.0.layer."))
    return LF_LAYOUT_TRANSFORMERS;
  return LF_LAYOUT_NATIVE;
}

char *
lf_native_name (const char *name, LfKeyLayout layout)
{
  const char *dict = strrchr (name, '/'), *start, *rest;
  g_autofree char *plain = g_strdup (dict ? dict + 1 : name);
  const Rule *rule;

  drop_infixes (plain);
  start = skip_prefixes (plain);
  if (layout == LF_LAYOUT_NATIVE)
    return g_strdup (start);
  rest = behind_block (start, layouts[layout].block);
  if (!rest) {
    rule = find_rule (layouts[layout].top, start);
    return rule ? g_strconcat (rule->to, start + strlen (rule->from), NULL) : g_strdup (start);
  }
  rule = find_rule (layouts[layout].in_block, rest);
  start += strlen (layouts[layout].block);
  return g_strdup_printf ("blocks.%.*s%s%s", (int) (rest - start), start, rule ? rule->to : "",
      rest + (rule ? strlen (rule->from) : 0));
}

LfRole
lf_native_name_role (const char *name, char **weight)
{
  static const char *const scales[] = {".weight_scale", ".scale_weight"};
  static const char *const nothing[] = {".scale_input", ".input_scale", ".comfy_quant"};
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (scales); i++) {
    if (g_str_has_suffix (name, scales[i])) {
      *weight = g_strdup_printf ("%.*s.weight", (int) (strlen (name) - strlen (scales[i])), name);
      return LF_ROLE_SCALE;
    }
  }
  for (i = 0; i < G_N_ELEMENTS (nothing); i++)
    if (g_str_has_suffix (name, nothing[i]))
      return LF_ROLE_NOTHING;
  return g_str_equal (name, "scaled_fp8") ? LF_ROLE_NOTHING : LF_ROLE_WEIGHT;
}

gboolean
lf_recognise_part (GHashTable *names, LfPart *part, LfDecoderKind *decoder)
{
#define HAS(name) g_hash_table_contains (names, name)
  /* one tensor may be missing: it is named later */
  if (HAS ("blocks.0.self_attn.q.weight")
      || (HAS ("patch_embedding.weight") && HAS ("head.head.weight"))) {
    *part = LF_PART_TRANSFORMER;
  } else if (HAS ("blocks.0.attn.q.weight")
             || (HAS ("token_embedding.weight") && HAS ("blocks.0.norm1.weight"))) {
    *part = LF_PART_TEXT_ENCODER;
  } else if (HAS ("decoder.conv1.weight") || HAS ("decoder.middle.0.residual.2.weight")) {
    *part = LF_PART_DECODER;
    *decoder = LF_DECODER_WAN;
  } else if (HAS ("decoder.3.conv.0.weight")
             || (HAS ("decoder.1.weight") && HAS ("decoder.22.weight"))) {
    *part = LF_PART_DECODER;
    *decoder = LF_DECODER_TINY;
  } else if ((HAS ("encoder.conv1.weight") && HAS ("conv1.weight"))
             || (HAS ("stem.weight") && HAS ("down1.weight"))) {
    *part = LF_PART_ENCODER;
  } else {
    return FALSE;
  }
#undef HAS
  return TRUE;
}

gboolean
lf_part_ignores (LfPart part, const char *name)
{
  return part == LF_PART_DECODER
         && (g_str_has_prefix (name, "encoder.") || g_str_has_prefix (name, "conv1."));
}
