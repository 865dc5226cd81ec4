/* lightforce: what can be set on the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_SRC_SETTINGS_H
#define LF_SRC_SETTINGS_H

#include <gst/gst.h>
#include "core/lightforce.h"

G_BEGIN_DECLS

typedef enum
{
  LF_SRC_BACKEND_AUTO,
  LF_SRC_BACKEND_CPU,
  LF_SRC_BACKEND_CUDA
} LfSrcBackend;

typedef enum
{
  LF_SRC_KV_CACHE_AUTO, /* of the activations' type */
  LF_SRC_KV_CACHE_FP8
} LfSrcKvCache;

typedef enum
{
  LF_SRC_ATTENTION_AUTO,
  LF_SRC_ATTENTION_SPARSE,
  LF_SRC_ATTENTION_DENSE
} LfSrcAttention;

typedef enum
{
  LF_SRC_MODE_AUTO,
  LF_SRC_MODE_SHORT,
  LF_SRC_MODE_LONG
} LfSrcMode;

/* What a live video does when a picture is not made in time. */
typedef enum
{
  LF_SRC_LATE_REPEAT,
  LF_SRC_LATE_RESYNC,
  LF_SRC_LATE_DROP
} LfSrcLatePolicy;

/* The values of the properties, as they are set: "the model's" is not resolved yet. */
typedef struct
{
  char *model, *transformer, *text_encoder, *tokenizer, *decoder;
  char *prompt;
  guint64 seed;
  gint width, height;
  gint fps_n, fps_d; /* 0/1: the model's */
  guint queue_chunks, threads;
  gint prebuffer; /* -1: queue_chunks */
  LfSrcLatePolicy late_policy;
  LfSrcBackend backend;
  LfPrecision precision;
  LfTextResidency text_residency;
  LfSrcKvCache kv_cache;
  LfSrcAttention attention;
  double sparsity, sparsity_base;
  gint keep_frames, keep_sink, keep_near;
  gint probe_layer, probe_head; /* layer -1: none */
  LfSrcMode mode;
  gint window, sink;
  LfPromptSwitch prompt_switch;
  guint blend_chunks;
  char *prompt_file, *start_image;
  gboolean flush_on_prompt, prompt_in_tags;
} LfSrcSettings;

void lf_src_settings_init (LfSrcSettings *settings);
void lf_src_settings_clear (LfSrcSettings *settings);
/* `to` is uninitialised or cleared. */
void lf_src_settings_copy (LfSrcSettings *to, const LfSrcSettings *from);

/* Installs the properties of the settings under the ids 1 .. the returned one. */
guint lf_src_settings_install_properties (GObjectClass *object_class);
/* FALSE: no property of the settings has this id. The caller locks. */
gboolean lf_src_settings_set (LfSrcSettings *settings, guint id, const GValue *value);
gboolean lf_src_settings_get (const LfSrcSettings *settings, guint id, GValue *value);

/* What is wrong when a file is not there: names property and path. NULL: all are there. */
char *lf_src_settings_find_missing (const LfSrcSettings *settings);
/* The options of lf_model_load; they borrow the strings of `settings`. */
void lf_src_settings_to_options (const LfSrcSettings *settings, LfModelOptions *options);
/* How a stream of `model` is opened; borrows the prompt of `settings`. */
void lf_src_settings_to_config (
    const LfSrcSettings *settings, LfModel *model, LfStreamConfig *config);
void lf_src_settings_to_sparse (
    const LfSrcSettings *settings, const LfModelInfo *info, LfSparse *sparse);

G_END_DECLS
#endif
