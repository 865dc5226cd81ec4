/* lightforce: what a model is, beside its weights
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_MODELCONFIG_H
#define LF_MODELCONFIG_H

#include "modelfiles.h"

G_BEGIN_DECLS

#define LF_MAX_WINDOW (1 << 20) /* latent frames */

/* What the published files do not say: `name` is the transformer's file name, by which Light
 * Forcing's models are told apart. */
void lf_model_config_init (LfModelConfig *config, const char *name);

/* Sizes from the shapes of the tensors of a part. The error names file and tensor. */
gboolean lf_model_config_measure (
    LfModelConfig *config, const LfModelFiles *files, LfPart part, GError **error);

/* Reads the JSON of a packed file's metadata "lightforce", or of a directory's lightforce.json,
 * over what is there. All members are optional; sizes are read of those parts only whose bit
 * (1 << LfPart) is set. The error names `path` and the member. */
gboolean lf_model_config_parse (LfModelConfig *config, const char *path, const char *json,
    gsize length, guint parts, GError **error);

/* Whether the numbers go together; the error begins with `path`. */
gboolean lf_model_config_check (const LfModelConfig *config, const char *path, GError **error);

/* The JSON that lf_model_config_parse reads back; other texts in `base` (such a JSON, or NULL), a
 * license for one, stay. Free with g_free. */
char *lf_model_config_to_json (
    const LfModelConfig *config, const char *base, gboolean has_text, gboolean has_decoder);

G_END_DECLS
#endif
