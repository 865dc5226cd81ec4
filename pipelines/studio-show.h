/* lightforce: the studio's pipeline
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STUDIO_SHOW_H
#define LF_STUDIO_SHOW_H

#include "pipelines/studio-config.h"

G_BEGIN_DECLS

/* One video that any number of branches show, encoded once for each codec that they want:
 *
 *     lightforcesrc ! tee ! queue ! valve ! videoconvert ! x264enc ! tee ! branches
 *                         ! queue ! valve ! videoconvert ! vp8enc  ! tee ! branches
 *
 * A valve is open while its codec has branches. All functions are for the main thread, where
 * LfShowFuncs are called, too. */
typedef struct _LfShow LfShow;

typedef enum
{
  LF_CODEC_H264,
  LF_CODEC_VP8,
  LF_N_CODECS
} LfCodec;

typedef struct
{
  /* An element message of the source: lightforce-prompt, lightforce-chunk. */
  void (*told) (const GstStructure *message, gpointer user_data);
  void (*warned) (const char *text, gpointer user_data);
  /* The video is over; `error`: why. */
  void (*ended) (const char *error, gpointer user_data);
  /* A branch, which is gone when this returns, failed. */
  void (*branch_failed) (GstElement *branch, const char *text, gpointer user_data);
  /* A recording is complete, or `error` says why it is not. */
  void (*recorded) (const char *path, guint64 bytes, const char *error, gpointer user_data);
} LfShowFuncs;

/* Loads nothing yet. `config` has to live as long. */
LfShow *lf_show_new (
    const LfStudioConfig *config, const LfShowFuncs *funcs, gpointer user_data, GError **error);
void lf_show_free (LfShow *show);

/* The lightforcesrc; not a new reference. */
GstElement *lf_show_get_source (LfShow *show);
/* Plays, or pauses: nothing is computed then. FALSE: it cannot play. */
gboolean lf_show_set_playing (LfShow *show, gboolean playing);
gboolean lf_show_is_playing (LfShow *show);

/* Adds `branch`, which has a pad "sink", takes ownership, and asks for a key frame. */
gboolean lf_show_add_branch (LfShow *show, LfCodec codec, GstElement *branch);
/* Unlinks it, and stops and releases it soon. */
void lf_show_remove_branch (LfShow *show, GstElement *branch);
/* Asks for a picture with which a decoder can begin. */
void lf_show_refresh (LfShow *show, LfCodec codec);

/* Records from the next key frame on; `format` is "mp4" or "mkv". One recording at a time. Returns
 * its path, the show's own, NULL with `error` set. */
const char *lf_show_record (LfShow *show, const char *format, GError **error);
/* Ends the recording, if there is one; `recorded` is called when the file is complete. */
void lf_show_stop_recording (LfShow *show);
/* The path of the recording, NULL: there is none. It exists until `recorded` is called. */
const char *lf_show_get_recording (LfShow *show);
gboolean lf_show_is_finishing (LfShow *show);

G_END_DECLS
#endif
