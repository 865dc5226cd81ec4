/* lightforce: models of made-up weights, for measurements
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_RANDOMMODEL_H
#define LF_RANDOMMODEL_H

#include "loader.h"

G_BEGIN_DECLS

/* How long something takes does not depend on what the weights are. A random model has the
 * shapes of a real one and weights out of nothing, made where they are used, so that any size
 * can be measured on any machine without its files. (But how long loading takes does: weights are
 * made and not read.) Values are scaled so that activations stay of order 1 through all layers;
 * they depend on the tensor's name alone. */

/* The presets, NULL at the end: "wan-1.3b", "wan-14b" and "test", which is small. */
const char *const *lf_random_presets (void);
/* The decoders that need no file, NULL at the end: "full", "light" and "tiny". */
const char *const *lf_random_decoders (void);

/* Loads a random model. `model` is a preset, or a file or directory whose shapes are taken
 * (NULL: the default model's). `decoder` is one of lf_random_decoders, or NULL: that of `model`,
 * or the one that `options` names; a preset's is "full". Such models are not shared. */
LfModel *lf_model_new_random (const char *model, const char *decoder, const LfModelOptions *options,
    GCancellable *cancellable, LfProgressFunc progress, gpointer user_data, GError **error);

/* A list of tensors without contents: preset's transformer and text encoder, or a decoder of a
 * preset (NULL: in its published size). NULL with `error` set where there is none of that name. */
LfContainer *lf_random_container (const char *preset, GError **error);
LfContainer *lf_random_decoder_container (const char *preset, const char *decoder, GError **error);

/* For the loader: makes elements first .. first+count-1 of the tensor, as `dtype`, at `dst` in
 * backend memory. The first call takes staging memory, which release gives back. */
gboolean lf_random_fill (LfLoader *loader, const LfTensorInfo *tensor, gint64 first, gint64 count,
    LfDType dtype, guint8 *dst, GError **error);
void lf_random_release (LfLoader *loader);

G_END_DECLS
#endif
