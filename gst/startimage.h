/* lightforce: the picture that a video starts from, out of any file that GStreamer decodes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_START_IMAGE_H
#define LF_START_IMAGE_H

#include <gio/gio.h>

G_BEGIN_DECLS

/* The first picture of `location`, a path or a URI, as R, G, B bytes (height, width, 3): enlarged
 * or reduced to fill that size, what stands out on two sides cut off evenly. Blocks, in a thread
 * that is none of GStreamer's, until it is there, cancelled, or 20 seconds over. Errors name
 * property and location: of LF_ERROR, of GST_CORE_ERROR where a plug-in is missing, or
 * G_IO_ERROR_CANCELLED. Free with g_free. */
guint8 *lf_start_image_load (
    const char *location, gint width, gint height, GCancellable *cancellable, GError **error);

/* The file on this machine that a path or URI names, NULL: none. A path that looks like a URI, as
 * one with a colon does, is one where there is such a file. Free with g_free. */
char *lf_start_image_find_file (const char *location);

/* SHA-256, hexadecimal, of the file on this machine that it is; "unknown" where it is none or
 * cannot be read. NULL: cancelled. Free with g_free. */
char *lf_start_image_hash (const char *location, GCancellable *cancellable);

G_END_DECLS
#endif
