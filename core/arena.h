/* lightforce: one allocation cut into many
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_ARENA_H
#define LF_ARENA_H

#include <glib.h>

/* The same function lays out an arena twice: with base NULL it only counts, then with the
 * memory of that size it hands out places. */
typedef struct
{
  guint8 *base;
  gsize used;
} LfArena;

static inline void *
lf_arena_take (LfArena *arena, gsize bytes)
{
  guint8 *place = arena->base ? arena->base + arena->used : NULL;

  arena->used += (bytes + 255) & ~(gsize) 255;
  return place;
}

#endif
