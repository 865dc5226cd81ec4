/* lightforce: a generator for tests of the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <gst/gst.h>
#include "core/lightforce.h"

G_BEGIN_DECLS

/* Stands in for liblightforce: all functions of core/lightforce.h with a model that costs
 * nothing, takes as long as a test says and fails where a test says. Its pictures follow from
 * seed, prompt, number and place alone. All functions may be called from any thread. */

/* What a test can change between standin_reset() and the element's start, and the delays and
 * failures at any time. */
typedef struct
{
  gint width, height, size_step, fps_n, fps_d, first_pictures, chunk_pictures;
  guint load_ms, open_ms, chunk_ms; /* how long each takes */
  GstClock *clock;                  /* not NULL: whose time chunks take; not owned */
  const guint *script;              /* not NULL: chunk i takes script[i % script_length] ms */
  guint script_length;
  gint64 stall_chunk; /* this chunk takes stall_ms instead; -1: none */
  guint stall_ms;
  gint64 hold_chunk; /* this and later chunks wait until it is -1 again */
  gboolean hold_load;
  gboolean decoding;    /* a chunk that is interrupted is finished by the next call, as it was */
  gint load_error;      /* an LfError; -1: loads */
  gint64 fail_chunk;    /* -1: none */
  gint64 fail_settle;   /* after this chunk; -1: none */
  gint chunk_error;     /* an LfError */
  gint open_error;      /* an LfError; -1: opens */
  gboolean fail_prompt; /* prompts cannot be changed */
  gboolean fail_format; /* formats cannot be changed */
  const char *backend;  /* the one in use, */
  void *context;        /* and its device's; NULL: there is none */
  gboolean solid;       /* all pixels have `color`, 0xRRGGBB */
  guint32 color;
} Standin;

void standin_reset (void);
/* Between the two, the caller alone has the settings. */
Standin *standin_lock (void);
void standin_unlock (void);

#define STANDIN_SET(member, value)                                                                 \
  G_STMT_START                                                                                     \
  {                                                                                                \
    standin_lock ()->member = (value);                                                             \
    standin_unlock ();                                                                             \
  }                                                                                                \
  G_STMT_END

/* What the element asked for last. */
typedef struct
{
  char *model, *backend, *decoder;
  LfPrecision precision;
  LfTextResidency text_residency;
  LfStreamConfig config; /* without the prompt; format, matrix and on_device as they are now */
  LfSparse sparse;
  LfPromptSwitch prompt_switch;
  LfPromptSwitch entered; /* how the latest prompt did that came after the start */
  guint loads, opens, chunks, settles, restarts, prompts, cancels, formats;
  guint failures; /* of chunks */
} StandinLog;

/* Copies the log; free the strings with standin_log_clear. */
void standin_get_log (StandinLog *log);
void standin_log_clear (StandinLog *log);

/* The time of Standin.clock at which the chunk under way is done; NONE: none is under way. */
GstClockTime standin_deadline (void);

/* Models, streams and chunks that are alive. */
gint standin_live_objects (void);

/* 0xRRGGBB of a pixel. */
guint32 standin_pixel (guint64 seed, const char *prompt, guint64 picture, gint x, gint y);
/* A picture as the library defines it in each format; `data` is layout.size bytes. */
void standin_paint (
    const LfLayout *layout, guint8 *data, guint64 seed, const char *prompt, guint64 picture);

G_END_DECLS
#endif
