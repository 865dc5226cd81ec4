/* lightforce: frames from a GPU, in CUDA memory and in system memory
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each way through CUDA memory and back to the host has to give the bytes that come in system memory.
 * Says PASS or FAIL a line; without a GPU it is skipped.
 */
#include <gst/video/video.h>
#include <stdio.h>
#include <string.h>

#define SKIPPED 77
#define SOURCE                                                                                     \
  "lightforcesrc name=src backend=cuda seed=3 prompt=\"a red ball rolls over a green hill\" "
#define CUDA_MEMORY "gst.cuda.memory" /* what its memory calls itself */

typedef struct
{
  GPtrArray *frames;       /* GBytes: rows of all planes without gaps */
  guint n, in_cuda;        /* buffers that left the source, and of them those in CUDA memory */
  GstElement *filter;      /* behind the source, or NULL */
  guint after[2];          /* so many frames the filter gets */
  const char *to[2];       /* these caps */
  char *error;             /* NULL: none */
  gint64 first_us, end_us; /* when the first frame came out, and the last one */
} Run;

static gint passed, failed;

static void
verdict (gboolean good, const char *what, const char *why)
{
  printf ("%s %s%s%s\n", good ? "PASS" : "FAIL", what, good ? "" : ": ", good ? "" : why);
  fflush (stdout);
  passed += good;
  failed += !good;
}

static GstPadProbeReturn
look_at_memory (GstPad *pad, GstPadProbeInfo *probe, gpointer user_data)
{
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (probe);
  Run *run = user_data;
  gint i;

  run->n++;
  run->in_cuda += gst_memory_is_type (gst_buffer_peek_memory (buffer, 0), CUDA_MEMORY);
  for (i = 0; i < 2; i++) {
    if (run->to[i] && run->n == run->after[i]) {
      g_autoptr (GstCaps) caps = gst_caps_from_string (run->to[i]);

      g_object_set (run->filter, "caps", caps, NULL);
    }
  }
  return GST_PAD_PROBE_OK;
}

static void
keep_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer user_data)
{
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);
  GByteArray *bytes = g_byte_array_new ();
  Run *run = user_data;
  GstVideoFrame frame;
  GstVideoInfo info;
  guint p, y;

  run->end_us = g_get_monotonic_time ();
  if (run->frames->len == 0)
    run->first_us = run->end_us;
  if (!gst_video_info_from_caps (&info, caps)
      || !gst_video_frame_map (&frame, &info, buffer, GST_MAP_READ)) {
    g_byte_array_unref (bytes);
    return;
  }
  for (p = 0; p < GST_VIDEO_FRAME_N_PLANES (&frame); p++)
    for (y = 0; y < (guint) GST_VIDEO_FRAME_COMP_HEIGHT (&frame, p); y++)
      g_byte_array_append (bytes,
          (guint8 *) GST_VIDEO_FRAME_PLANE_DATA (&frame, p)
              + y * GST_VIDEO_FRAME_PLANE_STRIDE (&frame, p),
          (guint) GST_VIDEO_FRAME_COMP_WIDTH (&frame, p)
              * GST_VIDEO_FRAME_COMP_PSTRIDE (&frame, p));
  gst_video_frame_unmap (&frame);
  g_ptr_array_add (run->frames, g_byte_array_free_to_bytes (bytes));
}

static void
clear_run (Run *run)
{
  g_ptr_array_unref (run->frames);
  g_free (run->error);
}

/* Plays `line`, whose source is src and whose sink is sink, to the end. */
static void
play (Run *run, const char *line)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GstElement) pipeline = gst_parse_launch (line, &error), src = NULL, sink = NULL;
  g_autoptr (GstBus) bus = NULL;
  g_autoptr (GstPad) pad = NULL;
  GstMessage *message;

  run->frames = g_ptr_array_new_with_free_func ((GDestroyNotify) g_bytes_unref);
  if (error) {
    run->error = g_strdup (error->message);
    return;
  }
  src = gst_bin_get_by_name (GST_BIN (pipeline), "src");
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  run->filter = gst_bin_get_by_name (GST_BIN (pipeline), "filter");
  pad = gst_element_get_static_pad (src, "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, look_at_memory, run, NULL);
  g_object_set (sink, "signal-handoffs", TRUE, "sync", FALSE, NULL);
  g_signal_connect (sink, "handoff", G_CALLBACK (keep_frame), run);
  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 100 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  if (message == NULL) {
    run->error = g_strdup ("it does not end");
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, NULL);
    run->error = g_strdup (error->message);
  }
  g_clear_pointer (&message, gst_message_unref);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_clear_object (&run->filter);
}

/* Says what is wrong in frames begin .. end - 1; NULL: nothing. */
static char *
compare (const Run *a, const Run *b, guint begin, guint end)
{
  guint i;

  if (a->error || b->error)
    return g_strdup (a->error ? a->error : b->error);
  if (a->frames->len < end || b->frames->len < end)
    return g_strdup_printf ("%u and %u frames of %u", a->frames->len, b->frames->len, end);
  for (i = begin; i < end; i++)
    if (!g_bytes_equal (a->frames->pdata[i], b->frames->pdata[i]))
      return g_strdup_printf ("frame %u differs", i);
  return NULL;
}

/* The same caps in both memories, 33 frames: three chunks. */
static void
check_format (const char *caps)
{
  g_autofree char *name = g_strdup_printf ("%s: CUDA memory as system memory", caps), *why = NULL;
  g_autofree char *there = g_strdup_printf (SOURCE
      "num-buffers=33 ! video/x-raw(memory:CUDAMemory),%s ! cudadownload ! video/x-raw ! "
      "fakesink name=sink",
      caps);
  g_autofree char *here =
      g_strdup_printf (SOURCE "num-buffers=33 ! video/x-raw,%s ! fakesink name=sink", caps);
  Run a = {0}, b = {0};

  play (&a, there);
  play (&b, here);
  why = compare (&a, &b, 0, 33);
  if (why == NULL && (a.in_cuda != a.n || b.in_cuda != 0))
    why = g_strdup_printf ("%u of %u frames are in CUDA memory, and %u of those that are to be in "
                           "system memory",
        a.in_cuda, a.n, b.in_cuda);
  verdict (why == NULL, name, why);
  clear_run (&a);
  clear_run (&b);
}

/* Who names CUDA memory gets it unasked; who takes anything gets system memory. */
static void
check_choice (void)
{
  g_autofree char *why = NULL;
  Run a = {0}, b = {0};

  play (&a, SOURCE "num-buffers=9 ! cudadownload ! video/x-raw,format=NV12 ! fakesink name=sink");
  play (&b, SOURCE "num-buffers=9 ! fakesink name=sink");
  why = g_strdup (a.error ? a.error : b.error);
  if (why == NULL && (a.in_cuda != 9 || b.in_cuda != 0))
    why = g_strdup_printf ("%u and %u of 9 frames are in CUDA memory", a.in_cuda, b.in_cuda);
  verdict (why == NULL, "CUDA memory where it is named, and only there", why);
  clear_run (&a);
  clear_run (&b);
}

/* From CUDA memory to system memory in another format and on to a third, in the middle of chunks of 9,
 * 12, 12 .. pictures. Frames of chunks that waited are converted; the others are to be exact. */
static void
check_changes (void)
{
  static const char *const nv12 = "video/x-raw(memory:CUDAMemory),format=NV12";
  static const guint from[] = {0, 33, 69}, to[] = {5, 38, 81};
  static const char *const formats[] = {"NV12", "I420", "RGBA"};
  Run run = {.after = {5, 38},
      .to = {"video/x-raw,format=I420", "video/x-raw(memory:CUDAMemory),format=RGBA"}};
  g_autofree char *line = g_strdup_printf (SOURCE
      "num-buffers=81 queue-chunks=1 ! capsfilter name=filter caps=\"%s\" ! cudadownload ! "
      "video/x-raw ! fakesink name=sink",
      nv12);
  g_autofree char *why = NULL;
  gint i;

  play (&run, line);
  for (i = 0; i < 3 && why == NULL; i++) {
    g_autofree char *plain = g_strdup_printf (
        SOURCE "num-buffers=81 ! video/x-raw,format=%s ! fakesink name=sink", formats[i]);
    Run one = {0};

    play (&one, plain);
    why = compare (&run, &one, from[i], to[i]);
    clear_run (&one);
  }
  if (why == NULL && run.in_cuda != 81 - 33)
    why = g_strdup_printf ("%u frames of 48 are in CUDA memory", run.in_cuda);
  verdict (why == NULL, "format and memory change while it runs", why);
  clear_run (&run);
}

/* How long the frames of twenty chunks take, the first one not counted. */
static void
measure (const char *what, const char *rest)
{
  g_autofree char *line = g_strdup_printf (SOURCE "num-buffers=249 %s", rest);
  Run run = {0};

  play (&run, line);
  if (run.error)
    printf ("%s: %s\n", what, run.error);
  else
    printf ("%s: %.3f ms a frame\n", what, (double) (run.end_us - run.first_us) / 248e3);
  clear_run (&run);
}

/* A pipeline that stays, so that the model is loaded once and matrix products are chosen once: only
 * then are runs the same to the last bit. NULL: there is no GPU. */
static GstElement *
hold_model (void)
{
  g_autoptr (GError) error = NULL;
  GstElement *pipeline = gst_parse_launch (SOURCE "! fakesink", &error);
  g_autoptr (GstBus) bus = NULL;
  GstMessage *message = NULL;

  if (error == NULL) {
    bus = gst_element_get_bus (pipeline);
    gst_element_set_state (pipeline, GST_STATE_PAUSED);
    message = gst_bus_timed_pop_filtered (
        bus, 100 * GST_SECOND, GST_MESSAGE_ASYNC_DONE | GST_MESSAGE_ERROR);
  }
  if (message && GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    gst_message_parse_error (message, &error, NULL);
  if (error || message == NULL) {
    printf ("SKIP: %s\n", error ? error->message : "the model does not load in 100 s");
    if (pipeline)
      gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_clear_object (&pipeline);
  }
  g_clear_pointer (&message, gst_message_unref);
  return pipeline;
}

int
main (int argc, char **argv)
{
  static const char *const caps[] = {"format=NV12", "format=I420", "format=RGB", "format=RGBx",
      "format=BGRx", "format=RGBA", "format=BGRA", "format=NV12,colorimetry=bt709",
      "format=I420,colorimetry=bt709", "format=NV12,width=112,height=80",
      "format=I420,width=112,height=80", "format=RGB,width=112,height=80",
      "format=I420,colorimetry=1:4:0:0"};
  GstElement *held;
  guint i;

  gst_init (&argc, &argv);
  held = hold_model ();
  if (held == NULL)
    return SKIPPED;
  for (i = 0; i < G_N_ELEMENTS (caps); i++)
    check_format (caps[i]);
  check_choice ();
  check_changes ();
  measure ("system memory", "! video/x-raw,format=NV12 ! fakesink name=sink");
  measure ("CUDA memory",
      "! video/x-raw(memory:CUDAMemory),format=NV12 ! cudadownload ! video/x-raw "
      "! fakesink name=sink");
  gst_element_set_state (held, GST_STATE_NULL);
  gst_object_unref (held);
  printf ("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
