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
  guint64 next_picture; /* of the next item to come in */
  guint64 next_made;    /* behind the latest item that went out, by the generator's count */
  gboolean flushing, closed;
  gboolean waiting; /* the consumer, for an item */
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
    item->first_picture = queue->next_picture;
    queue->next_picture += (guint64) item->chunk->n_pictures;
    g_queue_push_tail (&queue->queue, item);
    g_cond_signal (&queue->items);
  }
  g_mutex_unlock (&queue->lock);
  if (!wanted)
    lf_frame_item_free (item);
  return wanted;
}

gboolean
lf_frame_queue_has_room (LfFrameQueue *queue)
{
  gboolean room;

  g_mutex_lock (&queue->lock);
  room = queue->queue.length < queue->depth;
  g_mutex_unlock (&queue->lock);
  return room;
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
  queue->waiting = wait;
  while (wait && !queue->flushing && queue->queue.length == 0 && queue->error == NULL)
    g_cond_wait (&queue->items, &queue->lock);
  queue->waiting = FALSE;
  if (queue->flushing) {
    result = LF_FRAME_QUEUE_FLUSHING;
  } else if (queue->queue.length > 0) {
    gboolean was_full = queue->queue.length >= queue->depth;

    *item = g_queue_pop_head (&queue->queue);
    (*item)->was_full = was_full;
    (*item)->broken = (*item)->chunk->first_picture != queue->next_made;
    queue->next_made = (*item)->chunk->first_picture + (guint64) (*item)->chunk->n_pictures;
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

/* With the lock. Returns the new epoch. */
static guint
drain (LfFrameQueue *queue, guint64 picture)
{
  const LfFrameItem *last;

  while ((last = g_queue_peek_tail (&queue->queue)) && last->first_picture >= picture) {
    queue->next_picture = last->first_picture;
    lf_frame_item_free (g_queue_pop_tail (&queue->queue));
  }
  g_cond_signal (&queue->room);
  return ++queue->epoch;
}

guint
lf_frame_queue_restart (LfFrameQueue *queue)
{
  guint epoch;

  g_mutex_lock (&queue->lock);
  epoch = drain (queue, 0);
  queue->next_picture = queue->next_made = 0;
  g_mutex_unlock (&queue->lock);
  return epoch;
}

gboolean
lf_frame_queue_flush (LfFrameQueue *queue, guint64 picture, guint *epoch)
{
  gboolean flushed;

  g_mutex_lock (&queue->lock);
  flushed = queue->next_picture >= picture;
  if (flushed)
    *epoch = drain (queue, picture);
  g_mutex_unlock (&queue->lock);
  return flushed;
}

guint64
lf_frame_queue_get_next_picture (LfFrameQueue *queue)
{
  guint64 picture;

  g_mutex_lock (&queue->lock);
  picture = queue->next_picture;
  g_mutex_unlock (&queue->lock);
  return picture;
}

gboolean
lf_frame_queue_is_awaited (LfFrameQueue *queue)
{
  gboolean awaited;

  g_mutex_lock (&queue->lock);
  awaited = queue->waiting && !queue->flushing && queue->queue.length == 0 && queue->error == NULL;
  g_mutex_unlock (&queue->lock);
  return awaited;
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
