/* lightforce: how much is left out, and from where
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "sparsity.h"

#include <math.h>

#include "i18n.h"

#define MAX_BLOCK (1 << 16) /* tokens */

double
lf_chunk_sparsity (
    gint64 chunk, gint chunk_frames, gint total_frames, double target, double base, gint window)
{
  double visible = 0, weight = 0, beta;
  gint end;

  if (chunk == 0)
    return 0;
  for (end = 2 * chunk_frames; end <= total_frames; end += chunk_frames) {
    gint seen = window < 0 ? end : MIN (end, window);

    visible += seen;
    weight += seen / sqrt (end);
  }
  beta = weight > 0 ? (base - target) * visible / weight : 0;
  return base - beta / sqrt ((double) (chunk + 1) * chunk_frames);
}

LfBlockBudget
lf_block_budget (const LfSparse *sparse, double sparsity, gint past, gint frames, gint frame_blocks)
{
  LfBlockBudget budget = {-1, 0};
  gint candidates = past + frames;

  if (past > sparse->keep_frames) {
    budget.picked = sparse->keep_frames - sparse->keep_sink - sparse->keep_near;
    candidates = sparse->keep_frames + frames;
  }
  budget.count = (gint) ((1 - sparsity) * ((past + frames) * frame_blocks));
  budget.count = MAX (1, MIN (budget.count, candidates * frame_blocks));
  return budget;
}

gboolean
lf_sparse_check (const LfSparse *sparse, GError **error)
{
  /* memory is laid out in blocks in any case: attention may become sparse while a stream runs */
  if (sparse->block_q < 1 || sparse->block_q > MAX_BLOCK || sparse->block_k < 1
      || sparse->block_k > MAX_BLOCK) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("attention blocks are %d queries by %d keys; choose 1 to %d"), sparse->block_q,
        sparse->block_k, MAX_BLOCK);
    return FALSE;
  }
  if (!sparse->enabled)
    return TRUE;
  if (!(sparse->target >= 0 && sparse->target < 1))
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("sparsity is %g; choose 0 or more and less than 1"), sparse->target);
  else if (!(sparse->base >= sparse->target && sparse->base < 1))
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("sparsity-base is %g; choose at least sparsity (%g) and less than 1"), sparse->base,
        sparse->target);
  else if (sparse->total_frames < 1 || sparse->total_frames > 1 << 24)
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("the sparsity is to hold over %d latent frames; choose 1 to %d"), sparse->total_frames,
        1 << 24);
  else if (sparse->keep_sink < 0 || sparse->keep_near < 0 || sparse->keep_frames < sparse->keep_sink
           || sparse->keep_frames - sparse->keep_sink < sparse->keep_near)
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("keep-frames is %d; choose at least keep-sink + keep-near (%d + %d)"),
        sparse->keep_frames, sparse->keep_sink, sparse->keep_near);
  else
    return TRUE;
  return FALSE;
}
