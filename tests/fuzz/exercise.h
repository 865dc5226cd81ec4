/* lightforce: what fuzzers do with a container that opened
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_EXERCISE_H
#define LF_EXERCISE_H

#include "core/container-private.h"
#include "core/modelkeys.h"

/* Warnings are findings, too. */
int LLVMFuzzerInitialize (int *argc, char ***argv);
int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  g_log_set_always_fatal (G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);
  return 0;
}

/* Errors have one line that begins with the path. */
static inline void
check_error (const GError *error)
{
  g_assert (error && error->domain == LF_ERROR);
  g_assert (g_str_has_prefix (error->message, "fuzzed: "));
  g_assert (!strpbrk (error->message, "\n\r") && strlen (error->message) < 2000);
}

/* Reads from both ends and the middle of each tensor. */
static inline void
exercise (const guint8 *data, gsize size)
{
  g_autoptr (GBytes) bytes = g_bytes_new_static (data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (LfContainer) c = lf_container_open_bytes ("fuzzed", bytes, &error);
  guint i, n;

  if (!c) {
    check_error (error);
    return;
  }
  n = MIN (lf_container_get_size (c), 256);
  for (i = 0; i < n; i++) {
    const LfTensorInfo *t = lf_container_get_tensor (c, i);
    gint64 count = MIN (t->count, 64), places[] = {0, (t->count - count) / 2, t->count - count}, j;
    g_autofree char *name = lf_native_name (t->name, lf_layout_of (t->name)), *weight = NULL;
    const guint8 *map = lf_container_map (c, t);
    guint8 raw[64 * 8];
    float values[64];

    lf_native_name_role (name, &weight);
    g_assert (lf_container_find (c, t->name) == t);
    for (j = 0; j < 3; j++) {
      g_assert (lf_container_read (c, t, places[j], count, LF_DTYPE_F32, values, &error));
      g_assert (lf_container_read (c, t, places[j], count, t->dtype, raw, &error));
      g_assert (lf_container_read (c, t, places[j], count, LF_DTYPE_F16, values, &error));
    }
    if (map)
      g_assert (!memcmp (
          map + places[2] * lf_dtype_size (t->dtype), raw, count * lf_dtype_size (t->dtype)));
  }
}

#endif
