/* lightforce: the backends that are compiled in
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "core/backend.h"

extern const LfBackendInfo lf_cpu_backend;

/* best first */
const LfBackendInfo *const lf_backends[] = {
    &lf_cpu_backend,
    NULL,
};
