/* lightforce: the thread that loads a model and makes chunks
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/worker.h"

#include "gst/startimage.h"

struct _LfSrcWorker
{
  GThread *thread;
  LfSrcWorkerFuncs funcs;
  gpointer user_data;
  LfSrcSettings start; /* as they were when the worker began */
  LfFrameQueue *queue;

  GMutex lock;
  GCond cond;
  GCancellable *cancellable; /* of what is under way; a new one for each restart and flush */
  gboolean quit, flushing;
  gboolean open;
  gint width, height;
  LfSrcPictures pictures;
  guint64 seed;
  guint epoch;     /* of the queue: one more for each restart and flush */
  guint restarts;  /* so far */
  gboolean rushed; /* a flush interrupted the generator, and it made no chunk since */
  LfModel *model;
  GError *error; /* why there is no model */
  LfStats stats;
  char *image_hash; /* of start-image; set before the first chunk */
};

/* What the thread alone knows of its stream. */
typedef struct
{
  LfStream *stream;
  LfSrcSettings applied;
  LfSparse sparse;
  LfSrcPictures pictures;
  char *prompt;                 /* the one in use: a refused one is in `applied` only */
  gint probe_layer, probe_head; /* a refused one, too */
  guint restarts;
  GstClockTime time; /* of the chunk at work */
  gint64 spent_us;   /* on all up to the latest chunk */
  gboolean begins;   /* the video has no chunk yet */
} Video;

static void
load_progress (const char *stage, double fraction, gpointer user_data)
{
  LfSrcWorker *worker = user_data;

  worker->funcs.load (LF_SRC_LOAD_CONTINUE, stage, fraction, worker->user_data);
}

/* What the next step belongs to; all but `worker` may be NULL. */
static GCancellable *
current_cancellable (LfSrcWorker *worker, guint *epoch, guint *restarts, guint64 *seed)
{
  GCancellable *cancellable;

  g_mutex_lock (&worker->lock);
  cancellable = g_object_ref (worker->cancellable);
  if (epoch)
    *epoch = worker->epoch;
  if (restarts)
    *restarts = worker->restarts;
  if (seed)
    *seed = worker->seed;
  g_mutex_unlock (&worker->lock);
  return cancellable;
}

static LfSrcPictures
current_pictures (LfSrcWorker *worker)
{
  LfSrcPictures pictures;

  g_mutex_lock (&worker->lock);
  pictures = worker->pictures;
  g_mutex_unlock (&worker->lock);
  return pictures;
}

static gboolean
has_quit (LfSrcWorker *worker)
{
  gboolean quit;

  g_mutex_lock (&worker->lock);
  quit = worker->quit;
  g_mutex_unlock (&worker->lock);
  return quit;
}

static LfModel *
load_model (LfSrcWorker *worker)
{
  LfModelOptions options;
  g_autoptr (GCancellable) cancellable = current_cancellable (worker, NULL, NULL, NULL);
  g_autoptr (GError) error = NULL;
  LfModel *model;

  worker->funcs.load (LF_SRC_LOAD_START, "model", 0, worker->user_data);
  lf_src_settings_to_options (&worker->start, &options);
  model = lf_model_load (worker->start.model, &options, cancellable, load_progress, worker, &error);
  if (model)
    worker->funcs.load (LF_SRC_LOAD_COMPLETE, "model", 1, worker->user_data);
  else if (has_quit (worker))
    worker->funcs.load (LF_SRC_LOAD_CANCELED, "model", 0, worker->user_data);
  else
    worker->funcs.load (LF_SRC_LOAD_ERROR, error->message, 0, worker->user_data);

  g_mutex_lock (&worker->lock);
  worker->model = model;
  worker->error = g_steal_pointer (&error);
  g_cond_broadcast (&worker->cond);
  g_mutex_unlock (&worker->lock);
  return model;
}

/* Where it is cancelled, what comes next is, too. */
static void
hash_image (LfSrcWorker *worker, GCancellable *cancellable)
{
  char *hash = lf_start_image_hash (worker->start.start_image, cancellable);

  g_mutex_lock (&worker->lock);
  g_free (worker->image_hash);
  worker->image_hash = hash;
  g_mutex_unlock (&worker->lock);
}

/* Waits for the size and opens the stream; NULL: told to quit, or the queue has the error. */
static LfStream *
open_stream (LfSrcWorker *worker, LfModel *model, Video *video)
{
  LfStreamConfig config;
  LfStream *stream;
  guint64 seed;
  g_autoptr (GCancellable) cancellable = NULL;
  g_autofree guint8 *picture = NULL;
  const char *start_image = worker->start.start_image;
  GError *error = NULL;

  g_mutex_lock (&worker->lock);
  while (!worker->open && !worker->quit)
    g_cond_wait (&worker->cond, &worker->lock);
  g_mutex_unlock (&worker->lock);
  /* A restart during the opening has nothing to undo. */
  do {
    g_clear_error (&error);
    g_clear_object (&cancellable);
    if (has_quit (worker))
      return NULL;
    cancellable = current_cancellable (worker, NULL, &video->restarts, &seed);
    lf_src_settings_clear (&video->applied);
    worker->funcs.snapshot (video->restarts, 0, &video->applied, worker->user_data);
    lf_src_settings_to_config (&video->applied, model, &config);
    config.seed = seed;
    config.width = worker->width;
    config.height = worker->height;
    video->pictures = current_pictures (worker);
    config.format = video->pictures.format;
    config.matrix = video->pictures.matrix;
    config.on_device = video->pictures.on_device;
    stream = NULL;
    if (start_image && *start_image && !picture)
      picture = lf_start_image_load (start_image, config.width, config.height, cancellable, &error);
    if (picture)
      hash_image (worker, cancellable);
    config.start_picture = picture;
    if (!error)
      stream = lf_stream_new (model, &config, cancellable, &error);
  } while (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED)
           && g_cancellable_is_cancelled (cancellable));
  if (stream == NULL)
    lf_frame_queue_fail (worker->queue, error);
  video->begins = TRUE;
  video->sparse = config.sparse;
  video->probe_layer = -1;
  video->prompt = g_strdup (video->applied.prompt);
  return stream;
}

static gboolean
sparse_equal (const LfSparse *a, const LfSparse *b)
{
  return a->enabled == b->enabled && a->target == b->target && a->base == b->base
         && a->keep_frames == b->keep_frames && a->keep_sink == b->keep_sink
         && a->keep_near == b->keep_near;
}

static void
apply_probe (LfSrcWorker *worker, const LfSrcSettings *now, Video *video)
{
  g_autoptr (GError) error = NULL;

  if (now->probe_layer == video->probe_layer && now->probe_head == video->probe_head)
    return;
  video->probe_layer = now->probe_layer;
  video->probe_head = now->probe_head;
  if (!lf_stream_set_probe (video->stream, now->probe_layer, now->probe_head, &error))
    worker->funcs.warning (error, worker->user_data);
}

/* At a chunk boundary: what was set since the last chunk. A setting that is refused is
 * reported once and not tried again until it changes; one that was interrupted is. */
static void
apply_settings (
    LfSrcWorker *worker, const LfModelInfo *info, Video *video, GCancellable *cancellable)
{
  guint64 picture = lf_frame_queue_get_next_picture (worker->queue);
  LfSrcSettings now;
  LfSparse sparse;

  video->time = worker->funcs.snapshot (video->restarts, picture, &now, worker->user_data);
  /* There is no past to come from. */
  if (video->begins)
    now.prompt_switch = LF_PROMPT_SWITCH_CUT;
  if (now.prompt_switch != video->applied.prompt_switch)
    lf_stream_set_prompt_switch (video->stream, now.prompt_switch);
  lf_src_settings_to_sparse (&now, info, &sparse);
  if (!sparse_equal (&sparse, &video->sparse)) {
    g_autoptr (GError) error = NULL;

    if (!lf_stream_set_sparse (video->stream, &sparse, &error))
      worker->funcs.warning (error, worker->user_data);
    video->sparse = sparse;
  }
  apply_probe (worker, &now, video);
  if (g_strcmp0 (now.prompt, video->applied.prompt) != 0) {
    g_autoptr (GError) error = NULL;

    if (lf_stream_set_prompt (video->stream, now.prompt, cancellable, &error)) {
      g_free (video->prompt);
      video->prompt = g_strdup (now.prompt);
    } else if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
      g_free (now.prompt);
      now.prompt = g_strdup (video->applied.prompt);
    } else {
      worker->funcs.warning (error, worker->user_data);
    }
  }
  lf_src_settings_clear (&video->applied);
  video->applied = now;
}

/* What was negotiated since the last chunk. Where that does not work the old pictures go on, and are
 * converted when they go out. */
static void
apply_pictures (LfSrcWorker *worker, Video *video)
{
  LfSrcPictures now = current_pictures (worker), *old = &video->pictures;
  g_autoptr (GError) error = NULL;

  if (now.format == old->format && now.matrix == old->matrix && now.on_device == old->on_device)
    return;
  video->pictures = now;
  if (!lf_stream_set_format (video->stream, now.format, now.matrix, now.on_device, &error))
    worker->funcs.warning (error, worker->user_data);
}

static void
begin_again (Video *video, guint restarts, guint64 seed)
{
  lf_stream_restart (video->stream, seed);
  video->restarts = restarts;
  video->begins = TRUE;
}

/* What interrupts a call of the library is a wish to quit, to begin again or to take a prompt at
 * once: TRUE, the loop goes on and sees. Takes over `error`. */
static gboolean
go_on (LfSrcWorker *worker, GCancellable *cancellable, GError *error)
{
  if (!g_cancellable_is_cancelled (cancellable)
      || !g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    lf_frame_queue_fail (worker->queue, error);
    return FALSE;
  }
  g_error_free (error);
  return TRUE;
}

/* Takes over `chunk`. */
static LfFrameItem *
make_item (Video *video, LfChunk *chunk, const LfStats *stats)
{
  LfFrameItem *item = g_new0 (LfFrameItem, 1);
  gint64 spent = stats->generate_us + stats->decode_us + stats->text_us;

  item->chunk = chunk;
  item->restarts = video->restarts;
  item->time = video->time;
  item->made_us = spent - video->spent_us;
  item->prompt = g_strdup (video->prompt);
  video->spent_us = spent;
  return item;
}

/* One turn of the loop; FALSE ends it. */
static gboolean
make_chunk (LfSrcWorker *worker, const LfModelInfo *info, Video *video)
{
  g_autoptr (GCancellable) cancellable = NULL;
  g_autoptr (LfFrameItem) item = NULL;
  GError *error = NULL;
  LfChunk *chunk;
  LfStats stats;
  guint64 seed;
  guint epoch, restarts;
  gboolean room, settled = FALSE;

  if (has_quit (worker))
    return FALSE;
  cancellable = current_cancellable (worker, &epoch, &restarts, &seed);
  if (restarts != video->restarts)
    begin_again (video, restarts, seed);
  apply_pictures (worker, video);
  apply_settings (worker, info, video, cancellable);
  chunk = lf_stream_next (video->stream, cancellable, &error);
  if (chunk == NULL)
    return go_on (worker, cancellable, error);
  lf_stream_get_stats (video->stream, &stats);
  g_mutex_lock (&worker->lock);
  worker->stats = stats;
  g_mutex_unlock (&worker->lock);
  video->begins = FALSE;

  item = make_item (video, chunk, &stats);
  /* A prompt that interrupted it while it was decoded could not change it any more: it is thrown away
   * as those before it. */
  if (chunk->prompt_serial != stats.prompt_serial)
    return TRUE;
  /* the queue's wait for room is time for it; else the chunk may be waited for */
  room = lf_frame_queue_has_room (worker->queue);
  if (!room)
    settled = lf_stream_settle (video->stream, cancellable, &error);
  if (lf_frame_queue_push (worker->queue, epoch, g_steal_pointer (&item))) {
    g_mutex_lock (&worker->lock);
    if (epoch == worker->epoch)
      worker->rushed = FALSE;
    g_mutex_unlock (&worker->lock);
  }
  if (room)
    settled = lf_stream_settle (video->stream, cancellable, &error);
  return settled || go_on (worker, cancellable, error);
}

static gpointer
run (gpointer data)
{
  LfSrcWorker *worker = data;
  Video video = {0};
  LfModel *model = load_model (worker);

  if (model == NULL)
    return NULL;
  video.stream = open_stream (worker, model, &video);
  if (video.stream) {
    while (make_chunk (worker, lf_model_get_info (model), &video))
      continue;
    lf_stream_free (video.stream);
  }
  lf_src_settings_clear (&video.applied);
  g_free (video.prompt);
  return NULL;
}

LfSrcWorker *
lf_src_worker_new (const LfSrcSettings *settings, const LfSrcWorkerFuncs *funcs, gpointer user_data)
{
  LfSrcWorker *worker = g_new0 (LfSrcWorker, 1);

  g_mutex_init (&worker->lock);
  g_cond_init (&worker->cond);
  worker->funcs = *funcs;
  worker->user_data = user_data;
  lf_src_settings_copy (&worker->start, settings);
  worker->seed = settings->seed;
  worker->queue = lf_frame_queue_new (settings->queue_chunks);
  worker->cancellable = g_cancellable_new ();
  worker->thread = g_thread_new ("lightforce", run, worker);
  return worker;
}

void
lf_src_worker_free (LfSrcWorker *worker)
{
  g_mutex_lock (&worker->lock);
  worker->quit = TRUE;
  g_cancellable_cancel (worker->cancellable);
  g_cond_broadcast (&worker->cond);
  g_mutex_unlock (&worker->lock);
  lf_frame_queue_close (worker->queue);
  g_thread_join (worker->thread);

  g_clear_pointer (&worker->model, lf_model_unref);
  g_clear_error (&worker->error);
  g_object_unref (worker->cancellable);
  lf_frame_queue_free (worker->queue);
  lf_src_settings_clear (&worker->start);
  g_free (worker->image_hash);
  g_mutex_clear (&worker->lock);
  g_cond_clear (&worker->cond);
  g_free (worker);
}

LfFrameQueueResult
lf_src_worker_wait_model (LfSrcWorker *worker, const LfModelInfo **info, GError **error)
{
  LfFrameQueueResult result = LF_FRAME_QUEUE_OK;

  *info = NULL;
  g_mutex_lock (&worker->lock);
  while (!worker->flushing && worker->model == NULL && worker->error == NULL)
    g_cond_wait (&worker->cond, &worker->lock);
  if (worker->flushing) {
    result = LF_FRAME_QUEUE_FLUSHING;
  } else if (worker->model) {
    *info = lf_model_get_info (worker->model);
  } else {
    result = LF_FRAME_QUEUE_FAILED;
    g_propagate_error (error, g_error_copy (worker->error));
  }
  g_mutex_unlock (&worker->lock);
  return result;
}

const LfModelInfo *
lf_src_worker_get_info (LfSrcWorker *worker)
{
  const LfModelInfo *info;

  g_mutex_lock (&worker->lock);
  info = worker->model ? lf_model_get_info (worker->model) : NULL;
  g_mutex_unlock (&worker->lock);
  return info;
}

char *
lf_src_worker_dup_image_hash (LfSrcWorker *worker)
{
  char *hash;

  g_mutex_lock (&worker->lock);
  hash = g_strdup (worker->image_hash);
  g_mutex_unlock (&worker->lock);
  return hash;
}

void
lf_src_worker_open (LfSrcWorker *worker, gint width, gint height, const LfSrcPictures *pictures)
{
  g_mutex_lock (&worker->lock);
  worker->pictures = *pictures;
  if (!worker->open) {
    worker->open = TRUE;
    worker->width = width;
    worker->height = height;
    g_cond_broadcast (&worker->cond);
  }
  g_mutex_unlock (&worker->lock);
}

/* With the worker's lock, and the queue's new epoch set. */
static void
interrupt (LfSrcWorker *worker)
{
  g_cancellable_cancel (worker->cancellable);
  g_object_unref (worker->cancellable);
  worker->cancellable = g_cancellable_new ();
  if (worker->quit)
    g_cancellable_cancel (worker->cancellable);
}

guint
lf_src_worker_restart (LfSrcWorker *worker, const guint64 *seed)
{
  guint restarts;

  g_mutex_lock (&worker->lock);
  if (seed)
    worker->seed = *seed;
  /* Before there is a model, there is nothing to begin again. */
  if (worker->model) {
    worker->epoch = lf_frame_queue_restart (worker->queue);
    worker->restarts++;
    interrupt (worker);
  }
  restarts = worker->restarts;
  g_mutex_unlock (&worker->lock);
  return restarts;
}

guint
lf_src_worker_get_restarts (LfSrcWorker *worker)
{
  guint restarts;

  g_mutex_lock (&worker->lock);
  restarts = worker->restarts;
  g_mutex_unlock (&worker->lock);
  return restarts;
}

void
lf_src_worker_flush (LfSrcWorker *worker, guint64 picture)
{
  g_mutex_lock (&worker->lock);
  /* Prompts that come faster than chunks must not keep every chunk from being made. */
  if (worker->open && !worker->rushed
      && lf_frame_queue_flush (worker->queue, picture, &worker->epoch)) {
    worker->rushed = TRUE;
    interrupt (worker);
  }
  g_mutex_unlock (&worker->lock);
}

gboolean
lf_src_worker_is_refilling (LfSrcWorker *worker, guint restarts)
{
  gboolean refilling;

  g_mutex_lock (&worker->lock);
  refilling = worker->rushed || worker->restarts != restarts;
  g_mutex_unlock (&worker->lock);
  return refilling;
}

LfFrameQueueResult
lf_src_worker_pop (LfSrcWorker *worker, gboolean wait, LfFrameItem **item, GError **error)
{
  return lf_frame_queue_pop (worker->queue, wait, item, error);
}

gboolean
lf_src_worker_prebuffer (LfSrcWorker *worker, guint level)
{
  return lf_frame_queue_wait (worker->queue, level);
}

guint
lf_src_worker_get_level (LfSrcWorker *worker)
{
  return lf_frame_queue_get_level (worker->queue);
}

gboolean
lf_src_worker_is_awaited (LfSrcWorker *worker)
{
  return lf_frame_queue_is_awaited (worker->queue);
}

void
lf_src_worker_set_flushing (LfSrcWorker *worker, gboolean flushing)
{
  g_mutex_lock (&worker->lock);
  worker->flushing = flushing;
  g_cond_broadcast (&worker->cond);
  g_mutex_unlock (&worker->lock);
  lf_frame_queue_set_flushing (worker->queue, flushing);
}

void
lf_src_worker_get_stats (LfSrcWorker *worker, LfStats *stats, guint *queue_level)
{
  g_mutex_lock (&worker->lock);
  *stats = worker->stats;
  g_mutex_unlock (&worker->lock);
  *queue_level = lf_frame_queue_get_level (worker->queue);
}
