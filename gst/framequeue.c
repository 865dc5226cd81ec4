/* lightforce: bounded queue of chunks between the worker and the streaming thread
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/framequeue.h"

struct _LfFrameQueue
{
  GMutex lock;
  GCond room;  /* signalled for the producer */
  GCond items; /* signalled for the consumer */
  GQueue queue;
  guint depth, epoch;
  gboolean flushing, closed;
  GError *error;
};

void
lf_frame_item_free (LfFrameItem *item)
{
  lf_chunk_unref (item->chunk);
  g_free (item->prompt);
  g_free (item);
}

LfFrameQueue *
lf_frame_queue_new (guint depth)
{
  LfFrameQueue *queue = g_new0 (LfFrameQueue, 1);

  g_assert (depth > 0);
  g_mutex_init (&queue->lock);
  g_cond_init (&queue->room);
  g_cond_init (&queue->items);
  g_queue_init (&queue->queue);
  queue->depth = depth;
  return queue;
}

void
lf_frame_queue_free (LfFrameQueue *queue)
{
  g_queue_clear_full (&queue->queue, (GDestroyNotify) lf_frame_item_free);
  g_clear_error (&queue->error);
  g_mutex_clear (&queue->lock);
  g_cond_clear (&queue->room);
  g_cond_clear (&queue->items);
  g_free (queue);
}

gboolean
lf_frame_queue_push (LfFrameQueue *queue, guint epoch, LfFrameItem *item)
{
  gboolean wanted;

  g_mutex_lock (&queue->lock);
  while (queue->queue.length >= queue->depth && !queue->closed && epoch == queue->epoch)
    g_cond_wait (&queue->room, &queue->lock);
  wanted = !queue->closed && epoch == queue->epoch;
  if (wanted) {
    item->epoch = epoch;
    g_queue_push_tail (&queue->queue, item);
    g_cond_signal (&queue->items);
  }
  g_mutex_unlock (&queue->lock);
  if (!wanted)
    lf_frame_item_free (item);
  return wanted;
}

void
lf_frame_queue_fail (LfFrameQueue *queue, GError *error)
{
  g_mutex_lock (&queue->lock);
  g_assert (queue->error == NULL);
  queue->error = error;
  g_cond_signal (&queue->items);
  g_mutex_unlock (&queue->lock);
}

LfFrameQueueResult
lf_frame_queue_pop (LfFrameQueue *queue, gboolean wait, LfFrameItem **item, GError **error)
{
  LfFrameQueueResult result = LF_FRAME_QUEUE_OK;

  *item = NULL;
  g_mutex_lock (&queue->lock);
  while (wait && !queue->flushing && queue->queue.length == 0 && queue->error == NULL)
    g_cond_wait (&queue->items, &queue->lock);
  if (queue->flushing) {
    result = LF_FRAME_QUEUE_FLUSHING;
  } else if (queue->queue.length > 0) {
    gboolean was_full = queue->queue.length >= queue->depth;

    *item = g_queue_pop_head (&queue->queue);
    (*item)->was_full = was_full;
    g_cond_signal (&queue->room);
  } else if (queue->error == NULL) {
    result = LF_FRAME_QUEUE_EMPTY;
  } else {
    result = LF_FRAME_QUEUE_FAILED;
    g_propagate_error (error, g_error_copy (queue->error));
  }
  g_mutex_unlock (&queue->lock);
  return result;
}

gboolean
lf_frame_queue_wait (LfFrameQueue *queue, guint level)
{
  gboolean flushing;

  level = MIN (level, queue->depth);
  g_mutex_lock (&queue->lock);
  while (!queue->flushing && queue->queue.length < level && queue->error == NULL)
    g_cond_wait (&queue->items, &queue->lock);
  flushing = queue->flushing;
  g_mutex_unlock (&queue->lock);
  return !flushing;
}

void
lf_frame_queue_set_flushing (LfFrameQueue *queue, gboolean flushing)
{
  g_mutex_lock (&queue->lock);
  queue->flushing = flushing;
  g_cond_signal (&queue->items);
  g_mutex_unlock (&queue->lock);
}

guint
lf_frame_queue_drain (LfFrameQueue *queue)
{
  guint epoch;

  g_mutex_lock (&queue->lock);
  epoch = ++queue->epoch;
  g_queue_clear_full (&queue->queue, (GDestroyNotify) lf_frame_item_free);
  g_cond_signal (&queue->room);
  g_mutex_unlock (&queue->lock);
  return epoch;
}

void
lf_frame_queue_close (LfFrameQueue *queue)
{
  g_mutex_lock (&queue->lock);
  queue->closed = TRUE;
  g_cond_signal (&queue->room);
  g_mutex_unlock (&queue->lock);
}

guint
lf_frame_queue_get_level (LfFrameQueue *queue)
{
  guint level;

  g_mutex_lock (&queue->lock);
  level = queue->queue.length;
  g_mutex_unlock (&queue->lock);
  return level;
}
