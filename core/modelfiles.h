/* lightforce: which files make a model, and what it is
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_MODELFILES_H
#define LF_MODELFILES_H

#include "container.h"
#include "lightforce.h"

G_BEGIN_DECLS

#define LF_MAX_STEPS 64

typedef enum
{
  LF_PART_TRANSFORMER,
  LF_PART_TEXT_ENCODER,
  LF_PART_DECODER,
  LF_PART_ENCODER, /* of pictures; only where a video starts from one */
  LF_N_PARTS
} LfPart;

typedef enum
{
  LF_DECODER_WAN, /* Wan VAE and its pruned kin (LightVAE) */
  LF_DECODER_TINY /* TAEHV */
} LfDecoderKind;

/* Everything about a model that is not a weight. Shapes found in the tensors win over
 * nothing: where a file's metadata says otherwise, opening fails. */
typedef struct
{
  char *name;
  struct
  {
    gint dim, heads, layers, ffn_dim, freq_dim, text_dim, text_len;
    gint z; /* latent channels */
    gint chunk_frames;
  } transformer;
  struct
  {
    gint dim, heads, layers, ffn_dim, vocab, buckets;
  } text;
  struct
  {
    LfDecoderKind kind;
    gint z;
  } decoder;
  gint n_steps;
  double steps[LF_MAX_STEPS]; /* nominal steps, 1000 .. 0, before the time shift */
  double shift;
  gint window, sink; /* latent frames; window -1: all */
  gboolean relative;
  LfSparse sparse;
  gint width, height; /* native size, pixels */
  gint fps_n, fps_d;
} LfModelConfig;

/* The files of one model, opened and understood; no weight is read yet. */
typedef struct _LfModelFiles LfModelFiles;

/* One weight under its canonical name: where it lies and how it is scaled. */
typedef struct
{
  LfContainer *container; /* not owned */
  const LfTensorInfo *tensor;
  LfContainer *scale_container; /* FP8 weights: tensor of scales, per tensor or per row */
  const LfTensorInfo *scale;    /* or NULL */
} LfWeightRef;

/* `path`: packed .safetensors file, or directory of published files (found by content).
 * A directory may hold lightforce.json: the same JSON as a packed file's metadata key
 * "lightforce"; it wins over what would be guessed.
 * The transformer must be there. Other parts may be missing (has() is then FALSE).
 * Tensors are known by the native Wan / UMT5 / VAE / TAEHV names whatever the file's
 * layout (prefixes, FSDP infixes, diffusers' names). */
LfModelFiles *lf_model_files_open (const char *path, const LfModelOptions *options, GError **error);
void lf_model_files_close (LfModelFiles *files);

/* For measurements: a model whose weights loaders make up. Its parts are what `parts` lists (taken
 * over; packed), or where that is NULL what is at `path`; the decoder of `decoder` (the same)
 * replaces the one there unless it is NULL. */
LfModelFiles *lf_model_files_open_random (const char *path, LfContainer *parts,
    LfContainer *decoder, const LfModelOptions *options, GError **error);
gboolean lf_model_files_is_random (const LfModelFiles *files);

/* For tools that bring their own files: one part, whose tensors are those of `container`
 * (not taken over) under `prefix`, with this configuration (its strings are not kept). */
LfModelFiles *lf_model_files_wrap (
    LfContainer *container, const char *prefix, LfPart part, const LfModelConfig *config);

/* Replaces the numbers of the configuration; the name stays. */
void lf_model_files_set_config (LfModelFiles *files, const LfModelConfig *config);

const LfModelConfig *lf_model_files_get_config (const LfModelFiles *files);
/* The JSON it was read from, or NULL. */
const char *lf_model_files_get_description (const LfModelFiles *files);
gboolean lf_model_files_has (const LfModelFiles *files, LfPart part);
/* The file the part comes from (its first shard), for messages. NULL if missing. */
const char *lf_model_files_get_path (const LfModelFiles *files, LfPart part);

/* FALSE if there is none of this name. */
gboolean lf_model_files_find (
    const LfModelFiles *files, LfPart part, const char *name, LfWeightRef *ref);
/* Canonical names of all tensors of a part, in file order; borrowed strings. */
GPtrArray *lf_model_files_list (const LfModelFiles *files, LfPart part);

/* Paths of decoders that another one was preferred to; borrowed. */
GPtrArray *lf_model_files_get_aside (const LfModelFiles *files);

/* Messages about files that look as if they were of use and are not; borrowed. */
GPtrArray *lf_model_files_get_problems (const LfModelFiles *files);

/* The end of a message on a missing part: "; " and the first of the problems, which may be why, or
 * `otherwise` (NULL: nothing) where there are none. Free with g_free. */
char *lf_join_problems (const GPtrArray *problems, const char *otherwise);

/* As lf_container_read, scales applied; `dtype` is F32, BF16 or F16 where there are scales. */
gboolean lf_weight_read (
    const LfWeightRef *ref, gint64 first, gint64 count, LfDType dtype, void *dst, GError **error);

/* The SentencePiece model, or NULL. A new reference. */
GBytes *lf_model_files_get_tokenizer (const LfModelFiles *files);
const char *lf_model_files_get_tokenizer_path (const LfModelFiles *files);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfModelFiles, lf_model_files_close)
G_END_DECLS
#endif
