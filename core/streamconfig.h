/* lightforce: how a stream may be made
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STREAM_CONFIG_H
#define LF_STREAM_CONFIG_H

#include "model.h"

G_BEGIN_DECLS

/* Replaces "the model's" by the model's values. */
void lf_stream_config_resolve (LfStreamConfig *config, LfModel *model);

/* Whether a stream can be made like this, once the above is done; the error names the setting that
 * is not possible. */
gboolean lf_stream_config_check (const LfStreamConfig *config, LfModel *model, GError **error);

/* Whether pictures can be of this format. */
gboolean lf_format_check (LfFormat format, LfMatrix matrix, GError **error);

G_END_DECLS
#endif
