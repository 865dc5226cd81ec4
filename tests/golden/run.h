/* lightforce-golden: running what is recorded
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef GOLDEN_RUN_H
#define GOLDEN_RUN_H

#include "tests/golden/case.h"

G_BEGIN_DECLS

/* Each has one part of a model make its outputs again, and compares them. FALSE with `error` set: it
 * did not come to that. */
gboolean run_generator (Case *c, GError **error);
gboolean run_decoder (Case *c, GError **error);
gboolean run_encoder (Case *c, GError **error);
gboolean run_text_encoder (Case *c, GError **error);

G_END_DECLS
#endif
