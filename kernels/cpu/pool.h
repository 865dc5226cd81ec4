/* lightforce: the CPU backend's threads
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CPU_POOL_H
#define LF_CPU_POOL_H

#include "cpu.h"

/* `threads` counts the one that calls lf_cpu_for. */
LfCpuPool *lf_cpu_pool_new (gint threads, GError **error);
void lf_cpu_pool_free (LfCpuPool *pool);

#endif
