/* lightforce: reading the pickles that torch.save writes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_UNPICKLE_H
#define LF_UNPICKLE_H

#include "tensor.h"

G_BEGIN_DECLS

/* A pickle is a program. This reader runs the few instructions that make dicts, lists, tuples,
 * numbers, strings and tensors, knows the few names that torch.save writes for those, and
 * refuses everything else: nothing in a file is ever called or imported.
 * Instructions: CPython, Lib/pickletools.py. */

typedef enum
{
  LF_PICKLE_OTHER, /* None, booleans, floats: of no use here */
  LF_PICKLE_INT,
  LF_PICKLE_STRING,
  LF_PICKLE_LIST, /* lists and tuples */
  LF_PICKLE_DICT,
  LF_PICKLE_STORAGE,
  LF_PICKLE_TENSOR,
  LF_PICKLE_GLOBAL,
  LF_PICKLE_MARK
} LfPickleKind;

typedef struct _LfPickleValue LfPickleValue;
struct _LfPickleValue
{
  LfPickleKind kind;
  gint64 number;          /* INT; GLOBAL: which; STORAGE: elements; TENSOR: offset */
  char *string;           /* STRING; STORAGE: its key in the archive */
  LfDType dtype;          /* STORAGE */
  GPtrArray *items;       /* LIST: values; DICT: key, value, key, value... */
  LfPickleValue *storage; /* TENSOR */
  gint ndim;
  gint64 *shape, *stride; /* TENSOR: (LF_MAX_DIMS) as they are written, not checked */
};

/* The values of one pickle, alive as long as it. */
typedef struct _LfPickle LfPickle;

/* `path` is for messages. */
LfPickle *lf_pickle_read (const char *path, const guint8 *data, gsize size, GError **error);
LfPickleValue *lf_pickle_get_root (LfPickle *pickle);
void lf_pickle_free (LfPickle *pickle);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfPickle, lf_pickle_free)
G_END_DECLS
#endif
