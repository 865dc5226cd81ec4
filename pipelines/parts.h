/* lightforce: what the programs of this folder share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_PARTS_H
#define LF_PARTS_H

#include <gst/gst.h>

#include "core/lightforce.h"

G_BEGIN_DECLS

/* Longest prompt that is taken from somebody, bytes. */
#define LF_PROMPT_LIMIT 4096

/* Reads a program's options, GStreamer's among them, and answers --version where `version` was set by
 * it. FALSE: the program is to end with `status`. */
gboolean lf_read_options (int argc, char **argv, const char *program, const char *summary,
    const char *description, const GOptionEntry *entries, const gboolean *version, int *status);

/* A property of lightforcesrc, of the type that it has there. */
typedef struct
{
  char *name;
  GValue value;
} LfSourceProperty;

/* What `text` says that the property `name` is to be; NULL: `problem` says what is wrong, to be
 * freed. The plugin has to be there. */
LfSourceProperty *lf_source_property_new (const char *name, const char *text, char **problem);
void lf_source_property_free (LfSourceProperty *property);
/* A live lightforcesrc called "src", floating, with these (of LfSourceProperty) set. */
GstElement *lf_source_new (const GPtrArray *properties);
/* The model that `source` is going to ask for, so that it finds it loaded. */
LfModel *lf_source_load_model (GstElement *source, GCancellable *cancellable, GError **error);

/* Calls `func` in a thread of its own and returns when it has, while the main context goes on: what
 * takes long does not keep signals from being heard. To be called in the main thread. */
void lf_run_in_thread (void (*func) (gpointer data), gpointer data);

/* What is wrong with a prompt that came from somebody, UTF-8; NULL: nothing. */
const char *lf_prompt_problem (const char *prompt);

/* Launch line of an encoder without delay. It has one thread: with more, tune=zerolatency makes as
 * many slices of a frame, which FFmpeg takes for frames where they come over RTP. `bitrate`:
 * kbit/s; `interval`: frames from one key frame to the next. To be freed. */
char *lf_encoder_line (gint64 bitrate, gint64 interval, const char *speed);

G_END_DECLS
#endif
