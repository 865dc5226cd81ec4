/* lightforce: finished chunks, and the memory of their pictures
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "chunk.h"

static guint8 *
allocate (LfPicturePool *pool, GError **error)
{
  LfBackend *be = pool->model->decoder_backend;

  return pool->on_device ? be->ops->alloc (be, pool->bytes, error)
                         : be->ops->host_alloc (be, pool->bytes, error);
}

LfPicturePool *
lf_picture_pool_new (LfModel *model, gboolean on_device, gsize bytes, guint ready)
{
  LfPicturePool *pool = g_new0 (LfPicturePool, 1);

  pool->refs = 1;
  pool->model = lf_model_ref (model);
  pool->on_device = on_device;
  pool->bytes = bytes;
  pool->free = g_ptr_array_new ();
  g_mutex_init (&pool->lock);
  while (pool->free->len < ready) {
    guint8 *data = allocate (pool, NULL);

    if (!data)
      break;
    g_ptr_array_add (pool->free, data);
  }
  return pool;
}

void
lf_picture_pool_unref (LfPicturePool *pool)
{
  LfBackend *be = pool->model->decoder_backend;
  guint i;

  if (!g_atomic_int_dec_and_test (&pool->refs))
    return;
  for (i = 0; i < pool->free->len; i++) {
    if (pool->on_device)
      be->ops->free (be, g_ptr_array_index (pool->free, i));
    else
      be->ops->host_free (be, g_ptr_array_index (pool->free, i));
  }
  g_ptr_array_unref (pool->free);
  g_mutex_clear (&pool->lock);
  lf_model_unref (pool->model);
  g_free (pool);
}

LfPooledChunk *
lf_picture_pool_take (LfPicturePool *pool, GError **error)
{
  guint8 *data = NULL;
  LfPooledChunk *c;

  g_mutex_lock (&pool->lock);
  if (pool->free->len)
    data = g_ptr_array_steal_index_fast (pool->free, pool->free->len - 1);
  g_mutex_unlock (&pool->lock);
  if (!data)
    data = allocate (pool, error);
  if (!data)
    return NULL;
  c = g_new0 (LfPooledChunk, 1);
  c->refs = 1;
  c->pool = pool;
  g_atomic_int_inc (&pool->refs);
  c->data = data;
  c->chunk.data = data;
  c->chunk.on_device = pool->on_device;
  return c;
}

LfChunk *
lf_chunk_ref (LfChunk *chunk)
{
  g_atomic_int_inc (&((LfPooledChunk *) chunk)->refs);
  return chunk;
}

void
lf_chunk_unref (LfChunk *chunk)
{
  LfPooledChunk *c = (LfPooledChunk *) chunk;

  if (!g_atomic_int_dec_and_test (&c->refs))
    return;
  g_mutex_lock (&c->pool->lock);
  g_ptr_array_add (c->pool->free, c->data);
  g_mutex_unlock (&c->pool->lock);
  lf_picture_pool_unref (c->pool);
  g_free (c->frames);
  g_free (c);
}
