/* lightforce: live video from a text prompt
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LIGHTFORCE_H
#define LIGHTFORCE_H

/**
 * The whole public API.
 *
 * An LfModel is a set of weights on one backend, shared by any number of streams.
 * An LfStream is one video being made from it. An LfChunk is the pictures of one
 * step of a stream. Loading and making a chunk block; the caller owns the threads.
 *
 * Threads: an LfModel may be used from several threads. An LfStream is used by one
 * thread at a time; different streams may run in different threads. An LfChunk is
 * immutable.
 *
 * Errors are GErrors of LF_ERROR, or G_IO_ERROR_CANCELLED where a GCancellable was
 * given. Their messages name the file or the setting, the reason and the way out, in the language
 * of the locale where the program has bound the text domain "lightforce" to translations of it.
 *
 * Source of the method: Lv et al., "Light Forcing", arXiv 2602.04789.
 */

#include <gio/gio.h>

G_BEGIN_DECLS

#define LF_API __attribute__ ((visibility ("default")))

#define LF_ERROR (lf_error_quark ())

typedef enum
{
  LF_ERROR_NOT_FOUND,     /* a file, directory or part of a model is not there */
  LF_ERROR_INVALID_FILE,  /* a file is damaged or not of its format */
  LF_ERROR_INVALID_MODEL, /* the files are sound but make no model */
  LF_ERROR_UNSUPPORTED,   /* well formed, but nothing here can do it */
  LF_ERROR_SETTINGS,      /* a setting is out of range or does not fit the model */
  LF_ERROR_NO_MEMORY,     /* host or device memory is used up */
  LF_ERROR_BACKEND        /* the backend cannot start, or failed */
} LfError;

LF_API GQuark lf_error_quark (void);

/* "major.minor.patch" of the library. */
LF_API const char *lf_version (void);

/* ------------------------------------------------------------------ models */

typedef struct _LfModel LfModel;

/* What a model computes in. */
typedef enum
{
  LF_PRECISION_AUTO, /* fp32 on the CPU, bf16 on a GPU */
  LF_PRECISION_FP32,
  LF_PRECISION_BF16,
  LF_PRECISION_FP8, /* bf16, with FP8 (e4m3) in the linear layers of the transformer's blocks */
  LF_PRECISION_FP16 /* what the tiny decoder runs in on a GPU; no model as a whole does */
} LfPrecision;

/* Where the text encoder is between two prompts. */
typedef enum
{
  LF_TEXT_RESIDENCY_KEEP,    /* in the backend's memory */
  LF_TEXT_RESIDENCY_RELEASE, /* nowhere: a prompt loads it layer by layer */
  LF_TEXT_RESIDENCY_CPU      /* in host memory, where it computes, too */
} LfTextResidency;

/* How a model is loaded. Zero-initialise; NULL and 0 members mean the default. */
typedef struct
{
  const char *backend; /* "auto", "cpu" or "cuda" */
  LfPrecision precision;
  LfTextResidency text_residency;
  const char *transformer; /* paths that replace single parts of the model */
  const char *text_encoder;
  const char *tokenizer;
  const char *decoder;
} LfModelOptions;

/* Hierarchical Sparse Attention and Chunk-Aware Growth (arXiv 2602.04789). */
typedef struct
{
  gboolean enabled;      /* FALSE: dense attention */
  double target;         /* mean share of key blocks left out, 0..1 */
  double base;           /* the share that late chunks approach, target..1 */
  gint total_frames;     /* latent frames over which target holds */
  gint block_q, block_k; /* tokens in a query and in a key block */
  gint keep_frames;      /* past frames kept: sink, near and picked ones */
  gint keep_sink;        /* of them the first ones of the stream */
  gint keep_near;        /* of them the latest ones */
} LfSparse;

/* What a model is. Owned by the model, valid as long as it. */
typedef struct
{
  const char *name;
  const char *backend;   /* the backend in use: "cpu", "cuda" */
  LfPrecision precision; /* in use: not LF_PRECISION_AUTO */
  gint width, height;    /* native picture size, pixels */
  gint size_step;        /* width and height must be multiples of this */
  gint fps_n, fps_d;     /* native pictures a second */
  gint chunk_frames;     /* latent frames in a chunk */
  gint first_pictures;   /* pictures in the first chunk of a stream */
  gint chunk_pictures;   /* pictures in every later chunk */
  gint steps;            /* denoising passes a chunk, clean pass not counted */
  gint layers, heads;    /* of the transformer's attention */
  gint window;           /* latent frames kept, -1: all */
  gint sink;             /* latent frames never evicted */
  gboolean relative;     /* long mode: a stream never ends */
  LfSparse sparse;       /* the model's own settings */
  gboolean has_text;     /* text encoder and tokenizer are there */
  gboolean has_encoder;  /* a video can start from a picture */
  guint64 parameters;    /* number of weights in all parts */
} LfModelInfo;

/* Progress of a load; `stage` is what is being read, `fraction` 0..1 of all.
 * Called in the loading thread. */
typedef void (*LfProgressFunc) (const char *stage, double fraction, gpointer user_data);

/* Loads the model at `path`: a packed .safetensors file, or a directory with the
 * published files; NULL: the default model that is installed with the library.
 * Models are shared: while one with the same path and options lives, it is returned
 * again at once; a caller that comes during its loading waits for it.
 * Returns a new reference, or NULL with `error` set. */
LF_API LfModel *lf_model_load (const char *path, const LfModelOptions *options,
    GCancellable *cancellable, LfProgressFunc progress, gpointer user_data, GError **error);
LF_API LfModel *lf_model_ref (LfModel *model);
LF_API void lf_model_unref (LfModel *model);
LF_API const LfModelInfo *lf_model_get_info (LfModel *model);

/* The path lf_model_load (NULL, ...) reads: $LIGHTFORCE_DEFAULT_MODEL or the
 * installed file. The string is the library's. */
LF_API const char *lf_default_model_path (void);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfModel, lf_model_unref)

/* ----------------------------------------------------------------- devices */

/* The context that memory of a backend's device belongs to, whether or not a model is loaded: for
 * "cuda" a CUcontext, the primary one of the device that the backend takes, whose ordinal goes to
 * `device`. It stays valid as long as the process. NULL with `error` set: the backend cannot be
 * used, or has no such thing, as "cpu". */
LF_API void *lf_device_get_context (const char *backend, gint *device, GError **error);

/* ---------------------------------------------------------------- pictures */

/* Formats of pictures; the names are GStreamer's. */
typedef enum
{
  LF_FORMAT_RGBX, /* the fourth byte is 255: it serves as opaque alpha, too */
  LF_FORMAT_BGRX,
  LF_FORMAT_RGB,
  LF_FORMAT_I420,
  LF_FORMAT_NV12
} LfFormat;

/* From R, G, B to Y, Cb, Cr; video range (16..235, 16..240). */
typedef enum
{
  LF_MATRIX_BT601,
  LF_MATRIX_BT709
} LfMatrix;

/* How one picture lies in memory. Width and height may be odd: chroma planes are rounded up.
 * Chroma is sited as MPEG-2 has it: on the left column of each pair, between its rows. */
typedef struct
{
  LfFormat format;
  LfMatrix matrix;
  gint width, height;
  gsize offset[3], stride[3]; /* bytes, of each plane and of its rows */
  gsize size;                 /* bytes of a picture */
} LfLayout;

/* Rows and planes without gaps but those that make a stride a multiple of 4, which is what
 * GStreamer has by default. */
LF_API void lf_layout_init (
    LfLayout *layout, LfFormat format, LfMatrix matrix, gint width, gint height);

/* ----------------------------------------------------------------- streams */

typedef struct _LfStream LfStream;

/* How a changed prompt enters a running stream; always at a chunk boundary. */
typedef enum
{
  LF_PROMPT_SWITCH_CUT,     /* new text keys only: cheapest, the old picture lingers */
  LF_PROMPT_SWITCH_RECACHE, /* also rewrite the cached frames with the new text */
  LF_PROMPT_SWITCH_BLEND    /* interpolate the text over blend_chunks chunks */
} LfPromptSwitch;

/* How a stream is made. Fill with lf_stream_config_init. */
typedef struct
{
  const char *prompt; /* UTF-8; NULL: "" */
  guint64 seed;       /* same seed, same pictures on one backend */
  gint width, height; /* pixels; 0: the model's */
  LfFormat format;    /* of the pictures; 0: RGBX */
  LfMatrix matrix;    /* of their colours where they have luma and chroma */
  gboolean on_device; /* pictures stay in the memory of the backend: see LfChunk */
  gint window, sink;  /* latent frames; -2: the model's */
  gint relative;      /* -1: the model's, else a boolean */
  LfSparse sparse;
  LfPromptSwitch prompt_switch;
  gint blend_chunks;     /* chunks over which LF_PROMPT_SWITCH_BLEND goes */
  gboolean recache_sink; /* LF_PROMPT_SWITCH_RECACHE: sink frames too */
  gboolean cache_fp8;    /* keep past keys and values in FP8: half the memory of bf16 */
  gint threads;          /* CPU threads of this stream; 0: one a core */
  /* The first picture: R, G, B bytes (height, width, 3) of the stream's size, or NULL. It shows as
   * the decoder makes it of its latent, and the video goes on from it, also after a restart. The
   * model has to have an encoder. */
  const guint8 *start_picture;
} LfStreamConfig;

/* Fills `config` with the defaults of `model`. */
LF_API void lf_stream_config_init (LfStreamConfig *config, LfModel *model);

/* Opens a stream: all memory is taken and the prompt is encoded here.
 * `config` is copied, its strings and picture with it; the stream keeps a reference of `model`.
 * NULL with `error` set on failure. */
LF_API LfStream *lf_stream_new (
    LfModel *model, const LfStreamConfig *config, GCancellable *cancellable, GError **error);
LF_API void lf_stream_free (LfStream *stream);

/* What sparse attention chose for one chunk, in one layer and head, in the last denoising pass.
 * Valid as long as the chunk. */
typedef struct
{
  gint layer, head;
  gint n_frames;        /* latent frames that the chunk could see, its own among them */
  gint n_past;          /* of them those before the chunk: the first ones of the list */
  const gint64 *frames; /* (n_frames) number of each in the video, from 0 */
  const float *shares;  /* (n_frames) share of its key blocks that were attended to, mean over the
                           chunk's query blocks, 0..1 */
} LfSelection;

/* Pictures of one chunk. They are whole when the chunk is there, and stay as they are until its
 * last reference goes: nobody has to wait for anything before reading them, and who copies them on
 * a GPU has to wait for the copy before letting the chunk go. A chunk may outlive its stream, and
 * keeps the model. */
typedef struct
{
  guint64 index;         /* number of the chunk in the stream */
  guint64 first_picture; /* number of its first picture in the stream */
  gint n_pictures;
  LfLayout layout; /* of each; picture i starts at i x layout.size */
  /* FALSE: data is host memory, which a GPU reaches at full speed where one is the backend. TRUE: it
   * is memory of the backend: of a GPU with "cuda", in the context of lf_device_get_context, and
   * host memory, too, with "cpu". */
  gboolean on_device;
  const guint8 *data;
  guint64 seed;
  guint prompt_serial;           /* 0 for the first prompt, one more for each change */
  double sparsity;               /* share of key blocks left out in this chunk */
  gint64 generate_us, decode_us; /* wall time, microseconds */
  const LfSelection *selection;  /* NULL: no probe is set, or all keys were attended to */
} LfChunk;

/* Makes the next chunk. Returns a reference, for lf_chunk_unref; NULL with `error` set on failure. After
 * a cancelled call, or one that found no memory, the stream can go on: the same chunk is made again. */
LF_API LfChunk *lf_stream_next (LfStream *stream, GCancellable *cancellable, GError **error);
/* Does what the next call of lf_stream_next would begin with: one more pass over the latest chunk, by
 * which later ones remember it. For a moment in which nothing waits for a chunk; if it has been done,
 * or there is no chunk, it returns at once. FALSE with `error` set on failure; after a cancelled call
 * the stream can go on. */
LF_API gboolean lf_stream_settle (LfStream *stream, GCancellable *cancellable, GError **error);
LF_API LfChunk *lf_chunk_ref (LfChunk *chunk);
LF_API void lf_chunk_unref (LfChunk *chunk);

/* Changes the prompt from the next chunk on; encodes it here. On failure, or when cancelled, the
 * text stays as it is. */
LF_API gboolean lf_stream_set_prompt (
    LfStream *stream, const char *prompt, GCancellable *cancellable, GError **error);

/* Changes how later prompts enter. */
LF_API void lf_stream_set_prompt_switch (LfStream *stream, LfPromptSwitch prompt_switch);

/* Changes the sparse attention from the next chunk on; block sizes stay. */
LF_API gboolean lf_stream_set_sparse (LfStream *stream, const LfSparse *sparse, GError **error);

/* Changes what pictures are made as, which does not change what they show. From the next chunk on:
 * one whose making was interrupted is still of the old format. FALSE with `error` set: all stays
 * as it is. */
LF_API gboolean lf_stream_set_format (
    LfStream *stream, LfFormat format, LfMatrix matrix, gboolean on_device, GError **error);

/* From the next chunk on, chunks tell what sparse attention chose in this layer and head, both
 * from 0; layer -1: they do not, which is the default. It costs the download of one list a chunk
 * and leaves the pictures as they are. */
LF_API gboolean lf_stream_set_probe (LfStream *stream, gint layer, gint head, GError **error);

/* Starts the video again from picture 0 with `seed`; prompt and settings stay. A prompt that was
 * still being blended in holds from the first chunk on. */
LF_API void lf_stream_restart (LfStream *stream, guint64 seed);

/* Figures of a stream since it was opened. */
typedef struct
{
  guint64 chunks, pictures;
  guint prompt_serial;
  double sparsity;                        /* of the latest chunk */
  gint64 generate_us, decode_us, text_us; /* wall time in all, microseconds */
  gsize weights_bytes;                    /* memory of the model (shared), */
  gsize state_bytes;                      /* of the stream's cache and histories, */
  gsize scratch_bytes;                    /* and of its intermediate results */
} LfStats;

LF_API void lf_stream_get_stats (LfStream *stream, LfStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfStream, lf_stream_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfChunk, lf_chunk_unref)
G_END_DECLS
#endif
