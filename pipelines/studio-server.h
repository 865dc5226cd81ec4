/* lightforce: the studio's web server
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_SERVER_H
#define LF_STUDIO_SERVER_H

#include "pipelines/studio-api.h"

G_BEGIN_DECLS

/* Serves the page at /, and the API at /api. Both have to outlive the server. Returns the address
 * of the page in `url`, to be freed; NULL with `error` set. */
SoupServer *lf_studio_server_new (
    const LfStudioConfig *config, LfApi *api, char **url, GError **error);

G_END_DECLS
#endif
