/* lightforce: whether files make a model
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_MODELCHECK_H
#define LF_MODELCHECK_H

#include "core/modelfiles.h"

G_BEGIN_DECLS

/* Whether a part has all of its tensors and no others, each of its shape: the same check as
 * before loading, without reading a weight. `parameters` is the number of weights. */
gboolean lf_check_part (LfModelFiles *files, LfPart part, guint64 *parameters, GError **error);

/* Whether parts that are there fit one another: text encoder, decoder, tokenizer. */
gboolean lf_check_text (LfModelFiles *files, GError **error);
gboolean lf_check_decoder (LfModelFiles *files, GError **error);
gboolean lf_check_tokenizer (LfModelFiles *files, GError **error);

G_END_DECLS
#endif
