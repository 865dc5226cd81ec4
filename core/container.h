/* lightforce: files of named tensors
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_CONTAINER_H
#define LF_CONTAINER_H

#include "tensor.h"

G_BEGIN_DECLS

/* One open file of tensors: safetensors (safetensors.c) or a torch zip-pickle
 * (torchfile.c). Opening reads and checks the directory only; the file is mapped and its
 * contents come in as they are used, so it must not shrink while it is open (a new one
 * may be moved over it). Immutable after opening: any thread may read. */
typedef struct _LfContainer LfContainer;

typedef struct
{
  const char *name; /* nested dicts joined by '/': "generator_ema/model.x" */
  LfDType dtype;
  gint ndim; /* 0: a scalar */
  gint64 shape[LF_MAX_DIMS];
  gint64 count; /* number of elements, the product of shape */
} LfTensorInfo;

/* Opens by content, whatever the name. Errors: LF_ERROR_NOT_FOUND, _INVALID_FILE,
 * _UNSUPPORTED; the message names the file and where it helps the tensor. */
LfContainer *lf_container_open (const char *path, GError **error);
void lf_container_close (LfContainer *container);

const char *lf_container_get_path (const LfContainer *container);
/* "safetensors" or "torch" */
const char *lf_container_get_format (const LfContainer *container);
guint lf_container_get_size (const LfContainer *container);
const LfTensorInfo *lf_container_get_tensor (const LfContainer *container, guint i);
const LfTensorInfo *lf_container_find (const LfContainer *container, const char *name);
/* A string of the safetensors metadata, or NULL. */
const char *lf_container_get_metadata (const LfContainer *container, const char *key);

/* Copies elements first .. first+count-1 in row-major order of the tensor's shape
 * (strides undone) to `dst` as `dtype` (the tensor's own, or F32, BF16, F16).
 * Needs no memory of the tensor's size. */
gboolean lf_container_read (LfContainer *container, const LfTensorInfo *tensor, gint64 first,
    gint64 count, LfDType dtype, void *dst, GError **error);

/* The stored elements where they lie contiguous in a mapped file, aligned to their
 * size, else NULL. Valid until the container is closed. */
const void *lf_container_map (LfContainer *container, const LfTensorInfo *tensor);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (LfContainer, lf_container_close)
G_END_DECLS
#endif
