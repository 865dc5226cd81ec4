/* lightforce: what a video was made from, in tags and in each frame
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_PROVENANCE_H
#define LF_PROVENANCE_H

#include <gst/gst.h>
#include "core/lightforce.h"

G_BEGIN_DECLS

/* Belongs to one thread. */
typedef struct
{
  gboolean known; /* the rest is of the latest frame */
  guint serial;
  char *hash;        /* of the prompt: SHA-256, hexadecimal */
  GPtrArray *hashes; /* of all prompts so far, in order of their first frame */
  GArray *seeds;     /* guint64, of all videos so far, likewise */
} LfProvenance;

/* Tags name as many prompts, and as many seeds: an endless video with ever new ones has to stop
 * somewhere. */
#define LF_PROVENANCE_MAX 64

void lf_provenance_init (LfProvenance *provenance);
/* All is made anew. */
void lf_provenance_reset (LfProvenance *provenance);
void lf_provenance_clear (LfProvenance *provenance);

/* TRUE: with `chunk` another prompt begins, or its tags are to be sent again. */
gboolean lf_provenance_update (LfProvenance *provenance, const LfChunk *chunk, const char *prompt);
/* The tags from here on: model, seeds, hashes of prompts, version, and `image_hash` (of the picture
 * that the video starts from) and `prompt` unless they are NULL. `later`: texts that are to follow
 * by their times. */
GstTagList *lf_provenance_make_tags (const LfProvenance *provenance, const LfModelInfo *info,
    const char *image_hash, const GPtrArray *later, const char *prompt);
/* The downstream event that tells where in the stream the prompt of `chunk` begins, with this frame;
 * with the text itself unless `prompt` is NULL. */
GstEvent *lf_provenance_make_event (const LfProvenance *provenance, const LfChunk *chunk,
    guint64 frame, GstClockTime pts, const char *prompt);

/* The custom meta LightforceMeta of a frame: where in the video it comes from. */
void lf_provenance_register_meta (void);
void lf_provenance_add_meta (const LfProvenance *provenance, GstBuffer *buffer,
    const LfModelInfo *info, const LfChunk *chunk, guint frame_in_chunk);

G_END_DECLS
#endif
