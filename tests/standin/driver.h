/* lightforce: a CUDA driver without a GPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef STANDIN_DRIVER_H
#define STANDIN_DRIVER_H

#include <glib.h>

/* libcuda.so.1 as far as GStreamer's CUDA library needs it to keep frames: one device, whose memory is
 * the host's. It is strict where a real one is easily used wrongly: asynchronous copies happen when
 * their stream is waited for and not before; a copy needs a current context, and memory of no other. */

/* What has been done; since the start of the process. */
typedef struct
{
  guint contexts; /* made, the primary one not counted */
  guint within;   /* copies from device to device, */
  guint up, down; /* from the host, and to it */
  guint refused;  /* calls that were wrong */
  gint memory;    /* allocations that are alive */
  gint streams;   /* the same */
} DriverCounts;

/* To be looked up in the library. */
typedef void (*DriverGetCounts) (DriverCounts *counts);
#define DRIVER_GET_COUNTS "driver_get_counts"
/* The primary context. Memory that the driver did not give out belongs to it. */
#define DRIVER_PRIMARY ((void *) 0x100)

#endif
