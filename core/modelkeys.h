/* lightforce: tensor names of published files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_MODELKEYS_H
#define LF_MODELKEYS_H

#include "modelfiles.h"

G_BEGIN_DECLS

/* Who chose the names of a file. */
typedef enum
{
  LF_LAYOUT_NATIVE,      /* Wan, Self Forcing and kin; UMT5, VAE and TAEHV as published with them */
  LF_LAYOUT_DIFFUSERS,   /* a transformer in diffusers' names */
  LF_LAYOUT_TRANSFORMERS /* a UMT5 encoder in transformers' names */
} LfKeyLayout;

/* The layout that one name gives away; LF_LAYOUT_NATIVE if it does not tell. */
LfKeyLayout lf_layout_of (const char *name);

/* The native name of a tensor: the dict's name in front and what wrappers put around names are
 * dropped, the layout's names translated. Free with g_free. */
char *lf_native_name (const char *name, LfKeyLayout layout);

/* What a native name stands for in a quantised file. */
typedef enum
{
  LF_ROLE_WEIGHT,
  LF_ROLE_SCALE,  /* of the weight that `weight` is set to; free with g_free */
  LF_ROLE_NOTHING /* scales of activations, marks */
} LfRole;

LfRole lf_native_name_role (const char *name, char **weight);

/* Which part of a model has these native names (a set); FALSE: none. */
gboolean lf_recognise_part (GHashTable *names, LfPart *part, LfDecoderKind *decoder);

/* Whether a published file has this tensor beside those of the part: a decoder's encoder, which is a
 * part of its own. */
gboolean lf_part_ignores (LfPart part, const char *name);

G_END_DECLS
#endif
