/* lightforce: tensor names of published files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_MODELKEYS_H
#define LF_MODELKEYS_H

#include "modelfiles.h"

G_BEGIN_DECLS

/* The native name of a tensor, whatever layout its file has: a dict's name in front and wrapper
 * infixes are dropped, diffusers' names translated. Free with g_free. */
char *lf_native_name (const char *name);

/* Whether the native name is the scale of an FP8 weight; `weight` is then set to the name of the
 * weight. Free with g_free. */
gboolean lf_native_name_is_scale (const char *name, char **weight);

/* The dict of a container that the model lies in, up to and with its '/' ("" at the top): averaged
 * weights before raw ones. Free with g_free. */
char *lf_choose_dict (const LfContainer *container);

/* Which part of a model has these native names (a set); FALSE: none. */
gboolean lf_recognise_part (GHashTable *names, LfPart *part, LfDecoderKind *decoder);

G_END_DECLS
#endif
