/* lightforce: the CPU backend's threads and scratch
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "pool.h"

#include "core/i18n.h"

typedef struct
{
  LfCpuPool *pool;
  gint number;
  GThread *thread;
  float *scratch;
  gsize floats;
} LfCpuWorker;

struct _LfCpuPool
{
  gint n_workers; /* the calling thread is worker 0 */
  LfCpuWorker *workers;
  GMutex lock;
  GCond start, done;
  guint round;   /* atomic: counts calls of lf_cpu_for */
  gint busy;     /* atomic: workers that have not finished this round */
  gint sleeping; /* workers that wait for start */
  gboolean caller_sleeps;
  gboolean quit;
  gint spins;

  LfCpuFunc func; /* this round's work */
  gpointer data;
  gint64 count, grain;
  gint64 next; /* atomic: first item nobody has taken */
};

/* Rounds follow each other within microseconds, sleeping and waking takes tens of them: so who
 * waits looks that often for what it waits for before it sleeps. */
#define SPINS 500

static inline void
relax (void)
{
#if defined(__x86_64__)
  __builtin_ia32_pause ();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void
work (LfCpuPool *pool, gint thread)
{
  for (;;) {
    gint64 begin = __atomic_fetch_add (&pool->next, pool->grain, __ATOMIC_RELAXED);

    if (begin >= pool->count)
      return;
    pool->func (pool->data, begin, MIN (begin + pool->grain, pool->count), thread);
  }
}

static gpointer
worker_main (gpointer data)
{
  LfCpuWorker *worker = data;
  LfCpuPool *pool = worker->pool;
  guint round = 0;
  gint i;

  for (;;) {
    for (i = 0; i < pool->spins && __atomic_load_n (&pool->round, __ATOMIC_RELAXED) == round; i++)
      relax ();
    g_mutex_lock (&pool->lock);
    pool->sleeping++;
    while (!pool->quit && pool->round == round)
      g_cond_wait (&pool->start, &pool->lock);
    pool->sleeping--;
    round = pool->round;
    if (pool->quit)
      break;
    g_mutex_unlock (&pool->lock);

    work (pool, worker->number);

    /* what this thread wrote is the caller's from here on */
    if (__atomic_sub_fetch (&pool->busy, 1, __ATOMIC_ACQ_REL) == 0) {
      g_mutex_lock (&pool->lock);
      if (pool->caller_sleeps)
        g_cond_signal (&pool->done);
      g_mutex_unlock (&pool->lock);
    }
  }
  g_mutex_unlock (&pool->lock);
  return NULL;
}

LfCpuPool *
lf_cpu_pool_new (gint threads, GError **error)
{
  LfCpuPool *pool = g_new0 (LfCpuPool, 1);
  g_autoptr (GError) reason = NULL;
  gint i;

  pool->n_workers = threads;
  /* more threads than processors: one would spin in the way of another */
  pool->spins = threads <= (gint) g_get_num_processors () ? SPINS : 0;
  pool->workers = g_new0 (LfCpuWorker, threads);
  g_mutex_init (&pool->lock);
  g_cond_init (&pool->start);
  g_cond_init (&pool->done);
  for (i = 0; i < threads; i++) {
    pool->workers[i].pool = pool;
    pool->workers[i].number = i;
    if (i > 0) {
      pool->workers[i].thread =
          g_thread_try_new ("lightforce-cpu", worker_main, &pool->workers[i], &reason);
      if (!pool->workers[i].thread) {
        g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
            _ ("thread %d of %d cannot start: %s; set threads to fewer"), i + 1, threads,
            reason->message);
        pool->n_workers = i;
        lf_cpu_pool_free (pool);
        return NULL;
      }
    }
  }
  return pool;
}

void
lf_cpu_pool_free (LfCpuPool *pool)
{
  gint i;

  g_mutex_lock (&pool->lock);
  pool->quit = TRUE;
  g_cond_broadcast (&pool->start);
  g_mutex_unlock (&pool->lock);
  for (i = 0; i < pool->n_workers; i++) {
    if (pool->workers[i].thread)
      g_thread_join (pool->workers[i].thread);
    g_aligned_free (pool->workers[i].scratch);
  }
  g_mutex_clear (&pool->lock);
  g_cond_clear (&pool->start);
  g_cond_clear (&pool->done);
  g_free (pool->workers);
  g_free (pool);
}

void
lf_cpu_for (LfQueue *q, gint64 count, gint64 grain, LfCpuFunc func, gpointer data)
{
  LfCpuPool *pool = q->pool;
  gint64 i;

  if (count <= 0)
    return;
  if (pool->n_workers == 1 || count <= grain) {
    /* the same pieces as with several threads: results do not depend on their number */
    for (i = 0; i < count; i += grain)
      func (data, i, MIN (i + grain, count), 0);
    return;
  }
  g_mutex_lock (&pool->lock);
  pool->func = func;
  pool->data = data;
  pool->count = count;
  pool->grain = grain;
  __atomic_store_n (&pool->next, 0, __ATOMIC_RELAXED);
  __atomic_store_n (&pool->busy, pool->n_workers - 1, __ATOMIC_RELAXED);
  __atomic_store_n (&pool->round, pool->round + 1, __ATOMIC_RELAXED);
  if (pool->sleeping)
    g_cond_broadcast (&pool->start);
  g_mutex_unlock (&pool->lock);

  work (pool, 0);

  for (i = 0; i < pool->spins; i++) {
    if (__atomic_load_n (&pool->busy, __ATOMIC_ACQUIRE) == 0)
      return;
    relax ();
  }
  g_mutex_lock (&pool->lock);
  pool->caller_sleeps = TRUE;
  while (__atomic_load_n (&pool->busy, __ATOMIC_ACQUIRE) > 0)
    g_cond_wait (&pool->done, &pool->lock);
  pool->caller_sleeps = FALSE;
  g_mutex_unlock (&pool->lock);
}

float *
lf_cpu_scratch (LfQueue *q, gint thread, gsize floats)
{
  LfCpuWorker *worker = &q->pool->workers[thread];

  if (worker->floats < floats) {
    g_aligned_free (worker->scratch);
    worker->floats = floats + floats / 4;
    worker->scratch = g_aligned_alloc (worker->floats, sizeof (float), 64);
  }
  return worker->scratch;
}
