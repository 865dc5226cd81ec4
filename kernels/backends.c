/* lightforce: the backends that are compiled in
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "core/backend.h"

extern const LfBackendInfo lf_cpu_backend, lf_cuda_backend;

/* best first */
const LfBackendInfo *const lf_backends[] = {
#ifdef LF_HAVE_CUDA
    &lf_cuda_backend,
#endif
    &lf_cpu_backend,
    NULL,
};
