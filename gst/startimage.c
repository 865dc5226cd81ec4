/* lightforce: the picture that a video starts from, out of any file that GStreamer decodes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/startimage.h"

#include <glib/gstdio.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <stdio.h>
#include <string.h>

#include "core/lightforce.h"
#include "gst/i18n.h"

#define TIMEOUT (20 * G_TIME_SPAN_SECOND)
#define PIECE (1 << 20)         /* bytes of a file, the same */
#define LOOK (50 * GST_MSECOND) /* between two looks at the cancellable */

/* ---------------------------------------------------------------- decoding */

/* In a streaming thread: hands the picture to the thread that waits at the bus. */
static void
take_picture (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  GstCaps *caps = gst_pad_get_current_caps (pad);
  GstSample *sample = gst_sample_new (buffer, caps, NULL, NULL);

  gst_element_post_message (
      sink, gst_message_new_application (GST_OBJECT (sink),
                gst_structure_new ("picture", "sample", GST_TYPE_SAMPLE, sample, NULL)));
  gst_sample_unref (sample);
  gst_caps_replace (&caps, NULL);
}

/* The first stream of pictures is the one. */
static void
link_pad (GstElement *decoder, GstPad *pad, gpointer filter)
{
  GstPad *sink = gst_element_get_static_pad (filter, "sink");
  GstCaps *caps = gst_pad_get_current_caps (pad);

  if (caps && !gst_pad_is_linked (sink)
      && gst_structure_has_name (gst_caps_get_structure (caps, 0), "video/x-raw"))
    gst_pad_link (pad, sink);
  gst_caps_replace (&caps, NULL);
  gst_object_unref (sink);
}

static void
say_no_picture (GstElement *decoder, gpointer filter)
{
  GstPad *sink = gst_element_get_static_pad (filter, "sink");

  if (!gst_pad_is_linked (sink))
    gst_element_post_message (filter,
        gst_message_new_application (GST_OBJECT (filter), gst_structure_new_empty ("no-picture")));
  gst_object_unref (sink);
}

static GstElement *
make (GstElement *pipeline, const char *factory, const char *location, GError **error)
{
  GstElement *element = gst_element_factory_make (factory, NULL);

  if (element)
    gst_bin_add (GST_BIN (pipeline), element);
  else
    g_set_error (error, GST_CORE_ERROR, GST_CORE_ERROR_MISSING_PLUGIN,
        _ ("The property start-image is \"%s\", and the GStreamer element %s is not there to read "
           "it: install gstreamer1.0-plugins-base."),
        location, factory);
  return element;
}

/* uridecodebin ! capsfilter ! fakesink; a new reference. */
static GstElement *
make_pipeline (const char *location, GError **error)
{
  GstElement *pipeline = gst_object_ref_sink (gst_pipeline_new (NULL)), *decoder, *filter, *sink;
  g_autofree char *file = lf_start_image_find_file (location);
  g_autofree char *uri = file ? gst_filename_to_uri (file, error) : g_strdup (location);
  GstCaps *caps;

  if (!uri || !(decoder = make (pipeline, "uridecodebin", location, error))
      || !(filter = make (pipeline, "capsfilter", location, error))
      || !(sink = make (pipeline, "fakesink", location, error))) {
    gst_object_unref (pipeline);
    return NULL;
  }
  caps = gst_caps_new_empty_simple ("video/x-raw");
  g_object_set (filter, "caps", caps, NULL);
  gst_caps_unref (caps);
  g_object_set (decoder, "uri", uri, NULL);
  g_object_set (sink, "signal-handoffs", TRUE, "sync", FALSE, "enable-last-sample", FALSE, NULL);
  gst_element_link (filter, sink);
  g_signal_connect (decoder, "pad-added", G_CALLBACK (link_pad), filter);
  g_signal_connect (decoder, "no-more-pads", G_CALLBACK (say_no_picture), filter);
  g_signal_connect (sink, "preroll-handoff", G_CALLBACK (take_picture), NULL);
  return pipeline;
}

/* What an error of the pipeline means; `missing`: the plug-in that it lacks, or NULL. */
static void
set_error (GstMessage *message, const char *location, const char *missing, GError **error)
{
  g_autoptr (GError) reason = NULL;

  gst_message_parse_error (message, &reason, NULL);
  if (missing || g_error_matches (reason, GST_CORE_ERROR, GST_CORE_ERROR_MISSING_PLUGIN))
    g_set_error (error, GST_CORE_ERROR, GST_CORE_ERROR_MISSING_PLUGIN,
        _ ("The property start-image is \"%s\", and a GStreamer plug-in is missing to read it "
           "(%s): "
           "install it, or convert the picture to PNG."),
        location, missing ? missing : reason->message);
  else if (g_error_matches (reason, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND))
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
        _ ("The property start-image is \"%s\", and there is no such file."), location);
  else
    g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE,
        _ ("The property start-image is \"%s\", and no picture can be read from it: %s"), location,
        reason->message);
}

static void
set_no_picture (const char *location, GError **error)
{
  g_set_error (error, LF_ERROR, LF_ERROR_INVALID_FILE,
      _ ("The property start-image is \"%s\", and there is no picture in it: name a picture or a "
         "video."),
      location);
}

/* Waits for the picture; NULL with `error` set. */
static GstSample *
wait_for_picture (GstBus *bus, const char *location, GCancellable *cancellable, GError **error)
{
  gint64 end = g_get_monotonic_time () + TIMEOUT;
  g_autofree char *missing = NULL;
  GstSample *sample = NULL;
  gboolean done = FALSE;

  while (!done && !g_cancellable_set_error_if_cancelled (cancellable, error)) {
    GstMessage *message = gst_bus_timed_pop_filtered (bus, LOOK,
        GST_MESSAGE_ERROR | GST_MESSAGE_EOS | GST_MESSAGE_APPLICATION | GST_MESSAGE_ELEMENT);
    const GstStructure *s = message ? gst_message_get_structure (message) : NULL;

    done = TRUE;
    if (!message && g_get_monotonic_time () > end) {
      g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
          _ ("The property start-image is \"%s\", and no picture came from it in %d seconds."),
          location, (int) (TIMEOUT / G_TIME_SPAN_SECOND));
    } else if (!message) {
      done = FALSE;
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      set_error (message, location, missing, error);
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ELEMENT) {
      if (gst_structure_has_name (s, "missing-plugin") && !missing)
        missing = g_strdup (gst_structure_get_string (s, "name"));
      done = FALSE;
    } else if (s && gst_structure_has_name (s, "picture")) {
      gst_structure_get (s, "sample", GST_TYPE_SAMPLE, &sample, NULL);
    } else {
      set_no_picture (location, error);
    }
    g_clear_pointer (&message, gst_message_unref);
  }
  return sample;
}

static GstSample *
decode (const char *location, GCancellable *cancellable, GError **error)
{
  GstElement *pipeline = make_pipeline (location, error);
  GstSample *sample;
  GstBus *bus;

  if (!pipeline)
    return NULL;
  bus = gst_element_get_bus (pipeline);
  /* a camera or a stream gives nothing while it is paused */
  if (gst_element_set_state (pipeline, GST_STATE_PAUSED) == GST_STATE_CHANGE_NO_PREROLL)
    gst_element_set_state (pipeline, GST_STATE_PLAYING);
  sample = wait_for_picture (bus, location, cancellable, error);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  return sample;
}

/* ----------------------------------------------------------------- fitting */

/* The largest part in the middle of a picture that has the shape of width x height. */
static GstStructure *
choose_part (const GstVideoInfo *in, gint width, gint height)
{
  guint64 wide = (guint64) width * (guint64) in->par_d,
          high = (guint64) height * (guint64) in->par_n;
  gint w = (gint) MIN (
      (guint64) in->width, gst_util_uint64_scale_round ((guint64) in->height, wide, high));
  gint h = (gint) MIN (
      (guint64) in->height, gst_util_uint64_scale_round ((guint64) in->width, high, wide));

  w = MAX (w, 1);
  h = MAX (h, 1);
  return gst_structure_new ("options", GST_VIDEO_CONVERTER_OPT_SRC_X, G_TYPE_INT,
      (in->width - w) / 2, GST_VIDEO_CONVERTER_OPT_SRC_Y, G_TYPE_INT, (in->height - h) / 2,
      GST_VIDEO_CONVERTER_OPT_SRC_WIDTH, G_TYPE_INT, w, GST_VIDEO_CONVERTER_OPT_SRC_HEIGHT,
      G_TYPE_INT, h, NULL);
}

/* NULL: the picture is of a kind that cannot be converted. */
static guint8 *
fit (GstSample *sample, gint width, gint height)
{
  GstBuffer *buffer = NULL;
  GstVideoConverter *converter;
  GstVideoInfo in, out;
  GstVideoFrame from, to;
  guint8 *rgb = NULL;
  gint y;

  if (!gst_video_info_from_caps (&in, gst_sample_get_caps (sample))
      || !gst_video_info_set_format (&out, GST_VIDEO_FORMAT_RGB, (guint) width, (guint) height))
    return NULL;
  /* what a converter does not change */
  out.fps_n = in.fps_n;
  out.fps_d = in.fps_d;
  out.interlace_mode = in.interlace_mode;
  converter = gst_video_converter_new (&in, &out, choose_part (&in, width, height));
  if (!converter)
    return NULL;
  buffer = gst_buffer_new_allocate (NULL, GST_VIDEO_INFO_SIZE (&out), NULL);
  if (buffer && gst_video_frame_map (&to, &out, buffer, GST_MAP_READWRITE)) {
    if (gst_video_frame_map (&from, &in, gst_sample_get_buffer (sample), GST_MAP_READ)) {
      gst_video_converter_frame (converter, &from, &to);
      rgb = g_malloc ((gsize) width * (gsize) height * 3);
      for (y = 0; y < height; y++)
        memcpy (rgb + (gsize) y * (gsize) width * 3,
            (guint8 *) GST_VIDEO_FRAME_PLANE_DATA (&to, 0)
                + (gsize) y * (gsize) GST_VIDEO_FRAME_PLANE_STRIDE (&to, 0),
            (gsize) width * 3);
      gst_video_frame_unmap (&from);
    }
    gst_video_frame_unmap (&to);
  }
  gst_clear_buffer (&buffer);
  gst_video_converter_free (converter);
  return rgb;
}

guint8 *
lf_start_image_load (
    const char *location, gint width, gint height, GCancellable *cancellable, GError **error)
{
  GstSample *sample = decode (location, cancellable, error);
  guint8 *rgb;

  if (!sample)
    return NULL;
  rgb = fit (sample, width, height);
  gst_sample_unref (sample);
  if (!rgb)
    set_no_picture (location, error);
  return rgb;
}

/* -------------------------------------------------------------------- files */

char *
lf_start_image_find_file (const char *location)
{
  return gst_uri_is_valid (location) && !g_file_test (location, G_FILE_TEST_EXISTS)
             ? g_filename_from_uri (location, NULL, NULL)
             : g_strdup (location);
}

char *
lf_start_image_hash (const char *location, GCancellable *cancellable)
{
  g_autofree char *path = lf_start_image_find_file (location);
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autofree guint8 *piece = g_malloc (PIECE);
  FILE *file = path ? g_fopen (path, "rb") : NULL;
  gboolean whole = FALSE;
  gsize n;

  while (file && !whole && !g_cancellable_is_cancelled (cancellable)) {
    n = fread (piece, 1, PIECE, file);
    g_checksum_update (sum, piece, (gssize) n);
    if (n < PIECE && ferror (file))
      break;
    whole = n < PIECE;
  }
  if (file)
    fclose (file);
  if (g_cancellable_is_cancelled (cancellable))
    return NULL;
  return g_strdup (whole ? g_checksum_get_string (sum) : "unknown");
}
