/* lightforce: what file formats share
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CONTAINER_PRIVATE_H
#define LF_CONTAINER_PRIVATE_H

#include "container.h"
#include "lightforce.h"

G_BEGIN_DECLS

/* More tensors than any model has: a file that claims more is damaged. */
#define LF_MAX_TENSORS (1 << 20)

/* A tensor and where its elements lie: element (i, j, ...) at offset + i stride[0] + ... of
 * storage number `storage`, in elements. */
typedef struct
{
  LfTensorInfo info;
  gint storage;
  gint64 offset;
  gint64 stride[LF_MAX_DIMS];
  gboolean contiguous;
} LfTensor;

typedef struct
{
  const char *format;
  void (*close) (LfContainer *container);
  /* The bytes of a storage, in the mapped file. */
  const guint8 *(*map) (LfContainer *container, gint storage);
} LfContainerFormat;

struct _LfContainer
{
  const LfContainerFormat *format;
  char *path;
  GArray *tensors;      /* of LfTensor */
  GHashTable *by_name;  /* name -> index + 1; owns the names */
  GHashTable *metadata; /* string -> string, or NULL */
  GBytes *bytes;        /* all of the file */
  gpointer data;        /* the format's own */
};

/* For formats. Takes over no reference. */
LfContainer *lf_container_new (const LfContainerFormat *format, const char *path, GBytes *bytes);

/* Adds a tensor whose name is copied. `bytes` is the size of its storage: strides and offset must
 * stay inside. FALSE with `error` naming file and tensor. */
gboolean lf_container_add (
    LfContainer *container, const LfTensor *tensor, guint64 bytes, GError **error);

/* "path: tensor name: reason" or "path: reason" where name is NULL. */
void lf_container_set_error (GError **error, gint code, const char *path, const char *name,
    const char *format, ...) G_GNUC_PRINTF (5, 6);

/* Opens contents that are in memory; `path` is for messages. */
LfContainer *lf_container_open_bytes (const char *path, GBytes *bytes, GError **error);

/* The formats. */
LfContainer *lf_safetensors_open (const char *path, GBytes *bytes, GError **error);
LfContainer *lf_torch_open (const char *path, GBytes *bytes, GError **error);

G_END_DECLS
#endif
