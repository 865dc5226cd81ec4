/* lightforce: how much is left out, and from where
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SPARSITY_H
#define LF_SPARSITY_H

#include "lightforce.h"

G_BEGIN_DECLS

/* Chunk-Aware Growth (arXiv 2602.04789): the sparsity of chunk number `chunk`; chunk 0 is
 * dense. s_i = base - beta / sqrt (frames up to and including chunk i), where beta makes the
 * attention cost of chunks 1.. of a total_frames long video equal that of a uniform
 * `target`. A longer stream goes on along the same curve. window limits the visible
 * frames (-1: all). */
double lf_chunk_sparsity (
    gint64 chunk, gint chunk_frames, gint total_frames, double target, double base, gint window);

/* Hierarchical Sparse Attention, what is known before any score: with past > keep_frames,
 * `picked` past frames between the sink and the near ones are chosen by pooled score and
 * join them and the chunk's own as candidates; else all are candidates (picked -1). Of the
 * candidates' key blocks the `count` best by pooled score are attended to. The budget is a
 * share of all blocks, candidates or not. */
typedef struct
{
  gint picked;
  gint count;
} LfBlockBudget;

LfBlockBudget lf_block_budget (
    const LfSparse *sparse, double sparsity, gint past, gint frames, gint frame_blocks);

/* Whether the settings are possible; the error names the one that is not. */
gboolean lf_sparse_check (const LfSparse *sparse, GError **error);

G_END_DECLS
#endif
