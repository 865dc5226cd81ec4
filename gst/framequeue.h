/* lightforce: bounded queue of chunks between the worker and the streaming thread
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_FRAME_QUEUE_H
#define LF_FRAME_QUEUE_H

#include "core/lightforce.h"

G_BEGIN_DECLS

/* Pictures are counted from 0 at each restart of the generator. Those that are thrown away without
 * a restart have no numbers: where they were, the chunk's own count goes ahead.
 *
 * One chunk on its way out. */
typedef struct
{
  LfChunk *chunk; /* owned */
  char *prompt;   /* owned; what the chunk was made from */
  gint64 made_us; /* what the generator worked from the previous chunk to this one, a new prompt
                   * included; not what it waited for room */
  guint restarts; /* of the generator, before it */
  guint64 time;   /* at which it was thought to show when its prompt was chosen */
  /* set by the queue */
  guint64 first_picture; /* number of its first picture */
  gboolean broken;       /* pictures between it and the one before were thrown away */
  gboolean was_full;     /* it was taken from a full queue */
} LfFrameItem;

void lf_frame_item_free (LfFrameItem *item);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfFrameItem, lf_frame_item_free)

typedef enum
{
  LF_FRAME_QUEUE_OK,
  LF_FRAME_QUEUE_EMPTY,    /* there is nothing, and no waiting was asked for */
  LF_FRAME_QUEUE_FLUSHING, /* interrupted: nothing was taken */
  LF_FRAME_QUEUE_FAILED    /* the producer failed and all it made before is taken */
} LfFrameQueueResult;

/* One producer, one consumer; the rest may be called from any thread. */
typedef struct _LfFrameQueue LfFrameQueue;

/* `depth`: chunks the queue holds before the producer has to wait, 1 at least. */
LfFrameQueue *lf_frame_queue_new (guint depth);
/* Both sides must be gone. */
void lf_frame_queue_free (LfFrameQueue *queue);

/* Producer: waits for room, takes ownership of `item` and numbers its pictures.
 * FALSE: the queue was closed, or drained since `epoch`, and the item is gone. */
gboolean lf_frame_queue_push (LfFrameQueue *queue, guint epoch, LfFrameItem *item);
/* Producer: whether an item would be taken without a wait. */
gboolean lf_frame_queue_has_room (LfFrameQueue *queue);
/* Producer: no more items will come because of `error`, which is taken over. */
void lf_frame_queue_fail (LfFrameQueue *queue, GError *error);

/* Consumer: takes an item; `wait`: waits for one. `error` is set with LF_FRAME_QUEUE_FAILED only. */
LfFrameQueueResult lf_frame_queue_pop (
    LfFrameQueue *queue, gboolean wait, LfFrameItem **item, GError **error);
/* Consumer: waits until there are `level` items, or as many as there can be. FALSE: flushing. */
gboolean lf_frame_queue_wait (LfFrameQueue *queue, guint level);

/* Interrupts the consumer and keeps it from waiting, until called with FALSE. */
void lf_frame_queue_set_flushing (LfFrameQueue *queue, gboolean flushing);
/* Throws all items away, also those still being made for an older epoch; pictures are counted from 0
 * again. Returns the new epoch; the first one is 0. */
guint lf_frame_queue_restart (LfFrameQueue *queue);
/* Throws away items that begin with `picture` or a later one, also the one that is still being made;
 * the numbers go on without a gap. FALSE: that one begins earlier, and nothing was thrown away. */
gboolean lf_frame_queue_flush (LfFrameQueue *queue, guint64 picture, guint *epoch);
/* The number that the first picture of the next item to come in will have. */
guint64 lf_frame_queue_get_next_picture (LfFrameQueue *queue);
/* Refuses items from now on and wakes the producer. */
void lf_frame_queue_close (LfFrameQueue *queue);
guint lf_frame_queue_get_level (LfFrameQueue *queue);
/* Whether the consumer waits for an item and only the producer can end that. */
gboolean lf_frame_queue_is_awaited (LfFrameQueue *queue);

G_END_DECLS
#endif
