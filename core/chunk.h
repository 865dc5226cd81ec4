/* lightforce: finished chunks, and the memory of their pictures
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CHUNK_H
#define LF_CHUNK_H

#include "model.h"

G_BEGIN_DECLS

/* Memory of finished chunks, used again: shared by a stream and its chunks, whoever goes last. */
typedef struct
{
  gint refs;      /* atomic */
  LfModel *model; /* whose decoder's backend has the memory */
  gboolean on_device;
  GMutex lock;
  GPtrArray *free; /* buffers of `bytes` */
  gsize bytes;
} LfPicturePool;

/* What an LfChunk is inside. */
typedef struct
{
  LfChunk chunk; /* first: lf_chunk_ref and lf_chunk_unref take it for the whole */
  gint refs;     /* atomic */
  LfPicturePool *pool;
  guint8 *data;          /* chunk.data, to be written */
  LfSelection selection; /* chunk.selection, where there is one; its arrays are one allocation, */
  gint64 *frames;        /* which begins here */
} LfPooledChunk;

/* For chunks whose pictures take up to `bytes`, in the memory of the decoder's backend where
 * `on_device`, else in host memory that it reaches at full speed. That of `ready` chunks is taken now,
 * if it is there: to lock pages for a GPU takes milliseconds, which would come between chunks. */
LfPicturePool *lf_picture_pool_new (LfModel *model, gboolean on_device, gsize bytes, guint ready);
void lf_picture_pool_unref (LfPicturePool *pool);

/* A chunk without pictures, for lf_chunk_unref; NULL with `error` set: there is no memory. */
LfPooledChunk *lf_picture_pool_take (LfPicturePool *pool, GError **error);

G_END_DECLS
#endif
