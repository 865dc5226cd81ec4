/* lightforce: parts of models in files
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_MODELPARTS_H
#define LF_MODELPARTS_H

#include "modelfiles.h"

G_BEGIN_DECLS

/* One part, out of one file or the shards of one. */
typedef struct
{
  LfPart kind;
  LfDecoderKind decoder;   /* of LF_PART_DECODER */
  char *path;              /* its file, the first of several */
  const char *description; /* JSON of the packed file that it lies in, or NULL; borrowed */
  GHashTable *refs;        /* native name -> LfWeightRef; owns both */
  GPtrArray *names;        /* native names in file order; borrowed from refs */
} LfModelPart;

LfModelPart *lf_model_part_new (LfPart kind, const char *path);
void lf_model_part_free (LfModelPart *part);

/* Adds a tensor under its native name. FALSE if that is there already. */
gboolean lf_model_part_add (
    LfModelPart *part, const char *name, LfContainer *container, const LfTensorInfo *tensor);

/* What paths turned out to hold. */
typedef struct
{
  GPtrArray *containers; /* of LfContainer */
  GPtrArray *parts;      /* of LfModelPart, which point into containers */
  GBytes *tokenizer;     /* the first one found, or NULL */
  char *tokenizer_path;
  GPtrArray *problems; /* messages: files that look as if they were of use and are not */
} LfFound;

LfFound *lf_found_new (void);
void lf_found_free (LfFound *found);

/* Looks into a file, an index of shards, or a directory and those in it; files are known by
 * content. In a directory what is no part of a model is left aside, and what is wrong goes
 * to problems; of a single file it is an error. */
gboolean lf_found_add (LfFound *found, const char *path, GError **error);

/* Adds the parts of a packed model that is open; takes it over. */
gboolean lf_found_add_packed (LfFound *found, LfContainer *container, GError **error);

/* Reads a file as a tokenizer without a look at it. */
gboolean lf_found_set_tokenizer (LfFound *found, const char *path, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfModelPart, lf_model_part_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfFound, lf_found_free)
G_END_DECLS
#endif
