/* lightforce: the thread that loads a model and makes chunks
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_WORKER_H
#define LF_SRC_WORKER_H

#include "gst/framequeue.h"
#include "gst/output.h"
#include "gst/settings.h"

G_BEGIN_DECLS

typedef enum
{
  LF_SRC_LOAD_START,
  LF_SRC_LOAD_CONTINUE,
  LF_SRC_LOAD_COMPLETE,
  LF_SRC_LOAD_ERROR,
  LF_SRC_LOAD_CANCELED
} LfSrcLoadState;

/* What the worker tells and asks, all in its own thread and without its locks. */
typedef struct
{
  /* `text` is the stage, or the error's message. */
  void (*load) (LfSrcLoadState state, const char *text, double fraction, gpointer user_data);
  /* Copies the settings for the chunk that begins with `picture` after this many restarts. Returns
   * when that is going to show, as far as can be known. */
  GstClockTime (*snapshot) (
      guint restarts, guint64 picture, LfSrcSettings *settings, gpointer user_data);
  /* A setting could not be changed; the stream goes on with what it had. */
  void (*warning) (const GError *error, gpointer user_data);
} LfSrcWorkerFuncs;

typedef struct _LfSrcWorker LfSrcWorker;

/* Starts to load the model of `settings`. `funcs` stays the caller's. */
LfSrcWorker *lf_src_worker_new (
    const LfSrcSettings *settings, const LfSrcWorkerFuncs *funcs, gpointer user_data);
/* Interrupts whatever it does and joins it. */
void lf_src_worker_free (LfSrcWorker *worker);

/* Waits until the model is there; `info` is valid as long as the worker. */
LfFrameQueueResult lf_src_worker_wait_model (
    LfSrcWorker *worker, const LfModelInfo **info, GError **error);
/* The same without waiting: NULL while there is no model. */
const LfModelInfo *lf_src_worker_get_info (LfSrcWorker *worker);

/* The SHA-256 of start-image (lf_start_image_hash), once there is a chunk; NULL without one. */
char *lf_src_worker_dup_image_hash (LfSrcWorker *worker);

/* Lets the worker make chunks of this size, for which only the first call counts, with pictures like
 * these. Another call changes them for the chunks that are begun after it. */
void lf_src_worker_open (
    LfSrcWorker *worker, gint width, gint height, const LfSrcPictures *pictures);
/* Begins the video again from picture 0, with another seed unless `seed` is NULL. Finished chunks
 * are thrown away. Returns how many restarts are before the chunks to come. */
guint lf_src_worker_restart (LfSrcWorker *worker, const guint64 *seed);
guint lf_src_worker_get_restarts (LfSrcWorker *worker);
/* Throws away chunks that begin with `picture` or a later one, finished or being made, so that
 * settings show sooner; the video goes on behind them. Does nothing where even the latest one begins
 * earlier, and while the chunk that follows an earlier call is made. */
void lf_src_worker_flush (LfSrcWorker *worker, guint64 picture);
/* Whether it was told to throw chunks away, by a restart since `restarts` or by a flush, and has
 * made none since: there is no other reason to wait for it. */
gboolean lf_src_worker_is_refilling (LfSrcWorker *worker, guint restarts);
/* Takes the next chunk; `wait`: waits for it. */
LfFrameQueueResult lf_src_worker_pop (
    LfSrcWorker *worker, gboolean wait, LfFrameItem **item, GError **error);
/* Waits for `level` finished chunks, or as many as the queue holds. FALSE: flushing. */
gboolean lf_src_worker_prebuffer (LfSrcWorker *worker, guint level);
guint lf_src_worker_get_level (LfSrcWorker *worker);
/* Whether somebody waits for the next chunk and it is not there. */
gboolean lf_src_worker_is_awaited (LfSrcWorker *worker);
/* Interrupts the waits above and keeps them from waiting, until called with FALSE. */
void lf_src_worker_set_flushing (LfSrcWorker *worker, gboolean flushing);

/* Figures after the latest chunk; zeros before the first one. */
void lf_src_worker_get_stats (LfSrcWorker *worker, LfStats *stats, guint *queue_level);

G_END_DECLS
#endif
