/* lightforce: what frames are to show, for tests of the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef PICTURE_H
#define PICTURE_H

#include "tests/element/rig.h"

G_BEGIN_DECLS

#define N_FORMATS 7

extern const char *const picture_formats[N_FORMATS];

/* Of the latest caps. */
void picture_info (Rig *rig, GstVideoInfo *info);

/* How the library makes such pictures; FALSE: it does not, and this is the nearest. */
gboolean picture_layout (const GstVideoInfo *info, LfLayout *layout);

/* Whether frame `index` shows its picture, with seed 5, as caps `info` say. Pictures have squares of 8
 * pixels: `exact`, every byte is what it has to be, else what is inside of squares is nearly so. */
void check_picture (
    Rig *rig, guint index, const GstVideoInfo *info, const char *prompt, gboolean exact);

/* A rig whose caps change while it runs; keeps all that came. */
typedef struct _Changes Changes;

/* After so many frames the filter gets these caps, and after more of them those. */
Changes *follow_changes (
    Rig *rig, guint first_after, const char *first, guint then_after, const char *then);
void changes_free (Changes *changes);
/* Checks all frames once they are there; their prompt is "colours". Chunks have 9, 12, 12 .. pictures.
 * With a queue of one, of the format before a change are at most the chunk that is shown, the one that
 * waits and one that waits for room; all others are to be exact, but if `refused` those after the first
 * change, as it was not made. */
void check_changes (Rig *rig, Changes *changes, gboolean refused);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Changes, changes_free)
G_END_DECLS
#endif
