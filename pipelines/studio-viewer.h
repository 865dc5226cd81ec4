/* lightforce: one viewer of the studio, by WebRTC
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_VIEWER_H
#define LF_STUDIO_VIEWER_H

#include "pipelines/studio-show.h"

G_BEGIN_DECLS

/* Longest offer, bytes. */
#define LF_OFFER_LIMIT 16384

typedef struct _LfViewer LfViewer;

typedef struct
{
  /* The answer to the offer is there, with all candidates. */
  void (*answered) (LfViewer *viewer, const char *sdp, LfCodec codec, gpointer user_data);
  /* The viewer cannot be served, or is gone; the last call. It may be freed in it. */
  void (*gone) (LfViewer *viewer, const char *why, gpointer user_data);
} LfViewerFuncs;

/* Answers `offer`, SDP of one video that is received only. All in the main thread. NULL with `error`
 * set: the offer is not one that can be answered. `config`, `funcs` and the show have to live as
 * long. */
LfViewer *lf_viewer_new (LfShow *show, const LfStudioConfig *config, const char *offer,
    const LfViewerFuncs *funcs, gpointer user_data, GError **error);
void lf_viewer_free (LfViewer *viewer);
/* The branch of the show. */
GstElement *lf_viewer_get_branch (LfViewer *viewer);
/* The branch failed and is gone; calls `gone`. */
void lf_viewer_fail (LfViewer *viewer, const char *why);

G_END_DECLS
#endif
