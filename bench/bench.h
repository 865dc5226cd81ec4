/* lightforce-bench: how fast a model makes pictures, inside
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_BENCH_H
#define LF_BENCH_H

#include "core/model.h"
#include "trace.h"

G_BEGIN_DECLS

/* What is measured; options.c reads it from the command line. */
typedef struct
{
  char *model;   /* NULL: the default model */
  char *decoder; /* a path, or one of lf_random_decoders; NULL: the model's */
  char *backend, *prompt, *json, *trace;
  gboolean random;     /* made-up weights */
  gboolean no_decoder; /* chunks stay latents */
  LfPrecision precision;
  LfTextResidency text_residency;
  gint width, height;    /* 0: the model's */
  gint attention;        /* -1: the model's, else whether it is sparse */
  double sparsity, base; /* < 0: the model's */
  gint window, sink;     /* -2: the model's */
  gboolean relative;     /* FALSE: the model's */
  gboolean cache_fp8;
  gint tokens; /* 0: as the prompt has them */
  gint chunks, videos;
  gint warm, warm_videos; /* first ones that do not count; -1: chosen by what follows */
  gint threads;
  gint64 seed;
  gboolean version; /* only this is asked for */
} BenchOptions;

/* FALSE with `error` set where an option is wrong. */
gboolean bench_options_parse (BenchOptions *options, int *argc, char ***argv, GError **error);
void bench_options_clear (BenchOptions *options);

typedef struct
{
  gint pictures;
  double sparsity;
  gint64 generate_us, decode_us, wall_us;
} BenchChunk;

typedef struct
{
  gint64 wall_us;
  gint pictures;
  BenchChunk *chunks; /* (options->chunks) */
} BenchVideo;

/* Where the time of one chunk went, in seconds, by tag as in core/transformer.h. */
typedef struct
{
  double wall;
  double seconds[LF_MAX_TAGS];
} BenchProfile;

typedef struct
{
  const BenchOptions *options;
  LfModelInfo info;
  char *name, *backend, *device;
  LfDType decoder_act;   /* what the decoder runs in */
  LfStreamConfig config; /* in use; its prompt is `prompt` */
  char *prompt;
  gint tokens;                    /* of the prompt */
  double load_s, open_s, first_s; /* opening: without and with the first chunk */
  double prompt_s, prompt_text_s; /* a new prompt on a warm stream, likewise; text alone */
  BenchVideo *videos;             /* (warm_videos + videos) */
  const BenchVideo *median;       /* one of those that count */
  double rate, rate_generate;     /* pictures a second of it, without its warm chunks */
  BenchProfile *profile;          /* (chunks), or NULL */
  BenchTrace trace;               /* of one more video, where one is wanted */
  LfStats stats;
  LfMemory memory;
  double process_mib; /* at most */
} BenchResult;

/* Measures; prints a line for each chunk or video while it goes on. */
gboolean bench_measure (BenchResult *result, const BenchOptions *options, GError **error);
void bench_result_clear (BenchResult *result);

void bench_print (const BenchResult *result);
gboolean bench_write_json (const BenchResult *result, GError **error);

G_END_DECLS
#endif
