/* lightforce: a generator for tests of the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/standin/standin.h"

#include <string.h>

#include "core/layout.h"

#define PADDING 12 /* bytes behind each row, which nothing may show */

struct _LfModel
{
  gint refs;
  LfModelInfo info;
};

struct _LfStream
{
  LfModel *model;
  LfStreamConfig config;
  char *prompt;
  char *pending; /* of a chunk that was interrupted while it was decoded, or NULL, */
  guint pending_serial;
  guint8 *start; /* (height, width, 3): the first picture, or NULL */
  guint64 index, picture;
  gint layer, head; /* of the probe */
  LfStats stats;
};

typedef struct
{
  LfChunk chunk;
  LfSelection selection;
  gint refs;
  guint8 *data;
} Chunk;

/* what a probe finds, whatever it looks at */
static const gint64 probe_frames[] = {0, 7, 8};
static const float probe_shares[] = {0.25f, 0, 1};

static GMutex mutex;
static Standin standin;
static StandinLog record;
static gint live;
static GstClockTime deadline = GST_CLOCK_TIME_NONE;

GQuark
lf_error_quark (void)
{
  return g_quark_from_static_string ("lf-error-quark");
}

const char *
lf_version (void)
{
  return "0.0.0";
}

const char *
lf_default_model_path (void)
{
  return "/";
}

void
standin_reset (void)
{
  g_mutex_lock (&mutex);
  standin = (Standin){
      .width = 64,
      .height = 48,
      .size_step = 2,
      .fps_n = 16,
      .fps_d = 1,
      .first_pictures = 9,
      .chunk_pictures = 12,
      .stall_chunk = -1,
      .hold_chunk = -1,
      .load_error = -1,
      .fail_chunk = -1,
      .fail_settle = -1,
      .open_error = -1,
      .backend = "cpu",
  };
  standin_log_clear (&record);
  g_mutex_unlock (&mutex);
}

Standin *
standin_lock (void)
{
  g_mutex_lock (&mutex);
  return &standin;
}

void
standin_unlock (void)
{
  g_mutex_unlock (&mutex);
}

void
standin_get_log (StandinLog *log)
{
  g_mutex_lock (&mutex);
  *log = record;
  log->model = g_strdup (record.model);
  log->backend = g_strdup (record.backend);
  log->decoder = g_strdup (record.decoder);
  g_mutex_unlock (&mutex);
}

void
standin_log_clear (StandinLog *log)
{
  g_free (log->model);
  g_free (log->backend);
  g_free (log->decoder);
  *log = (StandinLog){0};
}

GstClockTime
standin_deadline (void)
{
  GstClockTime time;

  g_mutex_lock (&mutex);
  time = deadline;
  g_mutex_unlock (&mutex);
  return time;
}

gint
standin_live_objects (void)
{
  return g_atomic_int_get (&live);
}

static guint32
hash_video (guint64 seed, const char *prompt)
{
  return g_str_hash (prompt) ^ (guint32) (seed * 2654435761u);
}

static guint32
pixel (guint32 hash, guint64 picture, gint x, gint y)
{
  return (hash + (guint32) picture * 0x010305u + (guint32) (x / 8) * 0x0b0701u
             + (guint32) (y / 8) * 0x050d0bu)
         & 0xffffffu;
}

guint32
standin_pixel (guint64 seed, const char *prompt, guint64 picture, gint x, gint y)
{
  return pixel (hash_video (seed, prompt), picture, x, y);
}

/* TRUE while a test holds chunk `index`, or the loading for -1. */
static gboolean
is_held (gint64 index)
{
  gboolean held;

  g_mutex_lock (&mutex);
  held = index < 0 ? standin.hold_load : standin.hold_chunk >= 0 && index >= standin.hold_chunk;
  g_mutex_unlock (&mutex);
  return held;
}

/* Works for `ms` in small steps, as a generator between its denoising passes. */
static gboolean
work (guint ms, gint64 index, GCancellable *cancellable, GError **error)
{
  gint64 end = g_get_monotonic_time () + (gint64) ms * 1000;

  while (g_get_monotonic_time () < end || is_held (index)) {
    if (g_cancellable_set_error_if_cancelled (cancellable, error)) {
      g_mutex_lock (&mutex);
      record.cancels++;
      g_mutex_unlock (&mutex);
      return FALSE;
    }
    g_usleep (500);
  }
  return TRUE;
}

static void
set_deadline (GstClockTime time)
{
  g_mutex_lock (&mutex);
  deadline = time;
  g_mutex_unlock (&mutex);
}

/* The same in the time of a clock that a test moves. */
static gboolean
work_by_clock (GstClock *clock, guint ms, GCancellable *cancellable, GError **error)
{
  GstClockTime end = gst_clock_get_time (clock) + ms * GST_MSECOND;
  gboolean done = TRUE;

  set_deadline (end);
  while (done && gst_clock_get_time (clock) < end) {
    done = !g_cancellable_set_error_if_cancelled (cancellable, error);
    g_usleep (200);
  }
  set_deadline (GST_CLOCK_TIME_NONE);
  return done;
}

static guint
chunk_time (const Standin *now, gint64 index)
{
  if (index == now->stall_chunk)
    return now->stall_ms;
  return now->script ? now->script[index % now->script_length] : now->chunk_ms;
}

LfModel *
lf_model_load (const char *path, const LfModelOptions *options, GCancellable *cancellable,
    LfProgressFunc progress, gpointer user_data, GError **error)
{
  Standin now;
  LfModel *model;
  gint i;

  g_mutex_lock (&mutex);
  now = standin;
  record.loads++;
  g_free (record.model);
  g_free (record.backend);
  g_free (record.decoder);
  record.model = g_strdup (path);
  record.backend = g_strdup (options->backend);
  record.decoder = g_strdup (options->decoder);
  record.precision = options->precision;
  record.text_residency = options->text_residency;
  g_mutex_unlock (&mutex);
  for (i = 0; i < 40; i++) {
    progress ("transformer", i / 40.0, user_data);
    if (!work (now.load_ms / 40, -1, cancellable, error))
      return NULL;
  }
  if (now.load_error >= 0) {
    g_set_error (error, LF_ERROR, now.load_error, "%s does not load: the test says so",
        path ? path : "standin");
    return NULL;
  }
  model = g_new0 (LfModel, 1);
  model->refs = 1;
  model->info = (LfModelInfo){
      .name = "standin",
      .backend = now.backend,
      .width = now.width,
      .height = now.height,
      .size_step = now.size_step,
      .fps_n = now.fps_n,
      .fps_d = now.fps_d,
      .chunk_frames = 3,
      .first_pictures = now.first_pictures,
      .chunk_pictures = now.chunk_pictures,
      .layers = 2,
      .heads = 2,
      .steps = 4,
      .window = -1,
      .sparse = {.enabled = FALSE,
          .target = 0.5,
          .base = 0.75,
          .total_frames = 21,
          .block_q = 64,
          .block_k = 64,
          .keep_frames = 6,
          .keep_sink = 1,
          .keep_near = 2},
      .has_text = TRUE,
      .parameters = 1,
  };
  g_atomic_int_inc (&live);
  return model;
}

LfModel *
lf_model_ref (LfModel *model)
{
  g_atomic_int_inc (&model->refs);
  return model;
}

void
lf_model_unref (LfModel *model)
{
  if (!g_atomic_int_dec_and_test (&model->refs))
    return;
  g_free (model);
  g_atomic_int_add (&live, -1);
}

const LfModelInfo *
lf_model_get_info (LfModel *model)
{
  return &model->info;
}

void
lf_stream_config_init (LfStreamConfig *config, LfModel *model)
{
  *config = (LfStreamConfig){
      .window = -2,
      .sink = -2,
      .relative = -1,
      .sparse = model->info.sparse,
      .blend_chunks = 4,
  };
}

LfStream *
lf_stream_new (
    LfModel *model, const LfStreamConfig *config, GCancellable *cancellable, GError **error)
{
  LfStream *stream;
  Standin now;

  g_mutex_lock (&mutex);
  now = standin;
  record.opens++;
  record.config = *config;
  record.config.prompt = NULL;
  record.config.start_picture = NULL;
  record.sparse = config->sparse;
  record.prompt_switch = config->prompt_switch;
  g_mutex_unlock (&mutex);
  if (!work (now.open_ms, 0, cancellable, error))
    return NULL;
  if (now.open_error >= 0) {
    g_set_error (error, LF_ERROR, now.open_error, "the stream does not open: the test says so");
    return NULL;
  }
  stream = g_new0 (LfStream, 1);
  stream->model = lf_model_ref (model);
  stream->config = *config;
  stream->prompt = g_strdup (config->prompt);
  stream->config.start_picture = NULL;
  stream->start =
      g_memdup2 (config->start_picture, (gsize) config->width * (gsize) config->height * 3);
  stream->layer = -1;
  g_atomic_int_inc (&live);
  return stream;
}

void
lf_stream_free (LfStream *stream)
{
  lf_model_unref (stream->model);
  g_free (stream->prompt);
  g_free (stream->pending);
  g_free (stream->start);
  g_free (stream);
  g_atomic_int_add (&live, -1);
}

static guint8
color_sum (const LfColorSum *s, const double *rgb)
{
  return (guint8) (s->add + s->b * rgb[2] + s->g * rgb[1] + s->r * rgb[0]);
}

/* Chroma is on the even columns and between two rows: 1 2 1 across, their mean down. */
static void
paint_chroma (const LfLayout *l, guint8 *data, const guint8 *rgb, const LfColors *colors)
{
  gint x, y, i, c;

  for (y = 0; y < l->height; y += 2) {
    guint8 *cb = data + l->offset[1] + (gsize) (y / 2) * l->stride[1];
    guint8 *cr =
        l->format == LF_FORMAT_NV12 ? cb + 1 : data + l->offset[2] + (gsize) (y / 2) * l->stride[2];

    for (x = 0; x < l->width; x += 2) {
      gint at = l->format == LF_FORMAT_NV12 ? x : x / 2;
      double mean[3] = {0};

      for (i = 0; i < 8; i++) {
        gint column = CLAMP (x + (i % 4 < 2 ? 0 : i % 4 == 2 ? -1 : 1), 0, l->width - 1);
        gint row = MIN (y + i / 4, l->height - 1);

        for (c = 0; c < 3; c++)
          mean[c] += rgb[3 * (row * l->width + column) + c] / (8 * 255.0);
      }
      cb[at] = color_sum (&colors->cb, mean);
      cr[at] = color_sum (&colors->cr, mean);
    }
  }
}

/* rgb: (height, width, 3) */
static void
paint_rgb (const LfLayout *l, guint8 *data, const guint8 *rgb)
{
  LfColors colors = lf_colors (l->matrix);
  gint bytes = l->format == LF_FORMAT_RGB ? 3 : 4, x, y;

  for (y = 0; y < l->height; y++) {
    guint8 *to = data + l->offset[0] + (gsize) y * l->stride[0];

    for (x = 0; x < l->width; x++) {
      const guint8 *p = rgb + 3 * (y * l->width + x);
      double color[3] = {p[0] / 255.0, p[1] / 255.0, p[2] / 255.0};

      if (lf_format_is_planar (l->format)) {
        to[x] = color_sum (&colors.y, color);
        continue;
      }
      to[bytes * x] = p[l->format == LF_FORMAT_BGRX ? 2 : 0];
      to[bytes * x + 1] = p[1];
      to[bytes * x + 2] = p[l->format == LF_FORMAT_BGRX ? 0 : 2];
      if (bytes == 4)
        to[bytes * x + 3] = 255;
    }
  }
  if (lf_format_is_planar (l->format))
    paint_chroma (l, data, rgb, &colors);
}

/* `now` and `start` may be NULL */
static void
paint (const LfLayout *l, guint8 *data, const Standin *now, const guint8 *start, guint64 seed,
    const char *prompt, guint64 picture)
{
  g_autofree guint8 *rgb = g_malloc ((gsize) l->width * (gsize) l->height * 3);
  guint8 *p = rgb;
  guint32 hash = hash_video (seed, prompt);
  gint x, y;

  for (y = 0; y < l->height; y++) {
    for (x = 0; x < l->width; x++, p += 3) {
      guint32 color = now && now->solid ? now->color : pixel (hash, picture, x, y);

      p[0] = (guint8) (color >> 16);
      p[1] = (guint8) (color >> 8);
      p[2] = (guint8) color;
    }
  }
  paint_rgb (l, data, start && picture == 0 ? start : rgb);
}

void
standin_paint (
    const LfLayout *layout, guint8 *data, guint64 seed, const char *prompt, guint64 picture)
{
  paint (layout, data, NULL, NULL, seed, prompt, picture);
}

/* The library's layout with something behind each row. */
static void
lay_out (LfLayout *l, const LfStreamConfig *config)
{
  gsize rows = (gsize) config->height;
  gint i;

  lf_layout_init (l, config->format, config->matrix, config->width, config->height);
  l->size = 0;
  for (i = 0; i < 3 && l->stride[i]; i++) {
    l->offset[i] = l->size;
    l->stride[i] += PADDING;
    l->size += l->stride[i] * (i ? (rows + 1) / 2 : rows);
  }
}

/* Works at chunk `index`; FALSE: it was interrupted. */
static gboolean
make_latents (
    LfStream *stream, const Standin *now, gint64 index, GCancellable *cancellable, GError **error)
{
  guint ms = chunk_time (now, index);

  if (stream->pending
      || (now->clock ? work_by_clock (now->clock, ms, cancellable, error)
                     : work (ms, index, cancellable, error)))
    return TRUE;
  if (now->decoding) {
    stream->pending = g_strdup (stream->prompt);
    stream->pending_serial = stream->stats.prompt_serial;
  }
  return FALSE;
}

LfChunk *
lf_stream_next (LfStream *stream, GCancellable *cancellable, GError **error)
{
  gint64 start = g_get_monotonic_time ();
  gint64 index = (gint64) stream->index;
  LfLayout layout;
  Standin now;
  g_autofree char *pending = NULL;
  Chunk *c;
  gint i;

  g_mutex_lock (&mutex);
  now = standin;
  record.chunks++;
  g_mutex_unlock (&mutex);
  lay_out (&layout, &stream->config);
  if (!make_latents (stream, &now, index, cancellable, error))
    return NULL;
  pending = g_steal_pointer (&stream->pending);
  if (index == now.fail_chunk) {
    g_mutex_lock (&mutex);
    record.failures++;
    g_mutex_unlock (&mutex);
    g_set_error (
        error, LF_ERROR, now.chunk_error, "chunk %d fails: the test says so", (gint) index);
    return NULL;
  }
  c = g_new0 (Chunk, 1);
  c->refs = 1;
  c->chunk = (LfChunk){
      .index = stream->index,
      .first_picture = stream->picture,
      .n_pictures = index == 0 ? now.first_pictures : now.chunk_pictures,
      .layout = layout,
      .on_device = stream->config.on_device,
      .seed = stream->config.seed,
      .prompt_serial = pending ? stream->pending_serial : stream->stats.prompt_serial,
      .sparsity = stream->config.sparse.enabled ? stream->config.sparse.target : 0,
  };
  c->selection = (LfSelection){stream->layer, stream->head, 3, 2, probe_frames, probe_shares};
  if (stream->layer >= 0 && stream->config.sparse.enabled)
    c->chunk.selection = &c->selection;
  c->data = g_malloc (c->chunk.layout.size * (gsize) c->chunk.n_pictures);
  memset (c->data, 0x55, c->chunk.layout.size * (gsize) c->chunk.n_pictures);
  c->chunk.data = c->data;
  for (i = 0; i < c->chunk.n_pictures; i++)
    paint (&layout, c->data + (gsize) i * layout.size, &now, stream->start, stream->config.seed,
        pending ? pending : stream->prompt, stream->picture + (guint64) i);
  c->chunk.generate_us =
      now.clock ? chunk_time (&now, index) * 1000 : g_get_monotonic_time () - start;
  stream->index++;
  stream->picture += (guint64) c->chunk.n_pictures;
  stream->stats.chunks++;
  stream->stats.pictures += (guint64) c->chunk.n_pictures;
  stream->stats.sparsity = c->chunk.sparsity;
  stream->stats.generate_us += c->chunk.generate_us;
  g_atomic_int_inc (&live);
  return &c->chunk;
}

LfChunk *
lf_chunk_ref (LfChunk *chunk)
{
  g_atomic_int_inc (&((Chunk *) chunk)->refs);
  return chunk;
}

void
lf_chunk_unref (LfChunk *chunk)
{
  Chunk *c = (Chunk *) chunk;

  if (!g_atomic_int_dec_and_test (&c->refs))
    return;
  g_free (c->data);
  g_free (c);
  g_atomic_int_add (&live, -1);
}

gboolean
lf_stream_set_prompt (
    LfStream *stream, const char *prompt, GCancellable *cancellable, GError **error)
{
  gboolean fail;

  g_mutex_lock (&mutex);
  fail = standin.fail_prompt;
  record.prompts++;
  record.entered = record.prompt_switch;
  g_mutex_unlock (&mutex);
  if (fail) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "no prompt \"%s\": the test says so", prompt);
    return FALSE;
  }
  g_free (stream->prompt);
  stream->prompt = g_strdup (prompt);
  stream->stats.prompt_serial++;
  return TRUE;
}

void
lf_stream_set_prompt_switch (LfStream *stream, LfPromptSwitch prompt_switch)
{
  g_mutex_lock (&mutex);
  record.prompt_switch = prompt_switch;
  g_mutex_unlock (&mutex);
}

gboolean
lf_stream_set_probe (LfStream *stream, gint layer, gint head, GError **error)
{
  if (layer > 1 || head > 1) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "there is no layer %d, head %d", layer, head);
    return FALSE;
  }
  stream->layer = layer;
  stream->head = head;
  return TRUE;
}

gboolean
lf_stream_settle (LfStream *stream, GCancellable *cancellable, GError **error)
{
  gint64 fail;

  g_mutex_lock (&mutex);
  record.settles++;
  fail = standin.fail_settle;
  g_mutex_unlock (&mutex);
  if (fail >= 0 && stream->index == (guint64) fail + 1) {
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND, "the pass fails: the test says so");
    return FALSE;
  }
  return !g_cancellable_set_error_if_cancelled (cancellable, error);
}

gboolean
lf_stream_set_sparse (LfStream *stream, const LfSparse *sparse, GError **error)
{
  if (sparse->keep_sink + sparse->keep_near > sparse->keep_frames) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, "keep-sink and keep-near exceed keep-frames");
    return FALSE;
  }
  stream->config.sparse = *sparse;
  g_mutex_lock (&mutex);
  record.sparse = *sparse;
  g_mutex_unlock (&mutex);
  return TRUE;
}

gboolean
lf_stream_set_format (
    LfStream *stream, LfFormat format, LfMatrix matrix, gboolean on_device, GError **error)
{
  gboolean fail;

  g_mutex_lock (&mutex);
  fail = standin.fail_format;
  record.formats++;
  if (!fail) {
    record.config.format = format;
    record.config.matrix = matrix;
    record.config.on_device = on_device;
  }
  g_mutex_unlock (&mutex);
  if (fail) {
    g_set_error (error, LF_ERROR, LF_ERROR_NO_MEMORY, "no other format: the test says so");
    return FALSE;
  }
  stream->config.format = format;
  stream->config.matrix = matrix;
  stream->config.on_device = on_device;
  return TRUE;
}

void *
lf_device_get_context (const char *backend, gint *device, GError **error)
{
  void *context;

  g_mutex_lock (&mutex);
  context = standin.context;
  g_mutex_unlock (&mutex);
  *device = 0;
  if (context == NULL)
    g_set_error (error, LF_ERROR, LF_ERROR_UNSUPPORTED, "no device: the test says so");
  return context;
}

void
lf_stream_restart (LfStream *stream, guint64 seed)
{
  stream->config.seed = seed;
  stream->index = stream->picture = 0;
  g_clear_pointer (&stream->pending, g_free);
  g_mutex_lock (&mutex);
  record.restarts++;
  g_mutex_unlock (&mutex);
}

void
lf_stream_get_stats (LfStream *stream, LfStats *stats)
{
  *stats = stream->stats;
}
