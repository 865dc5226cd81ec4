/* lightforce: frames in CUDA memory, by a driver without a GPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define GST_USE_UNSTABLE_API
#include <gmodule.h>
#include <gst/cuda/gstcudabufferpool.h>
#include <gst/cuda/gstcudacontext.h>
#include <gst/cuda/gstcudaloader.h>
#include <gst/cuda/gstcudamemory.h>
#include <gst/cuda/gstcudautils.h>

#include "tests/element/picture.h"
#include "tests/standin/driver.h"

#define CUDA "video/x-raw(memory:CUDAMemory)"

static DriverCounts
get_counts (void)
{
  static DriverGetCounts get;
  DriverCounts counts;

  if (get == NULL) {
    GModule *module = g_module_open ("libcuda.so.1", 0);

    fail_unless (module != NULL && g_module_symbol (module, DRIVER_GET_COUNTS, (gpointer *) &get),
        "%s", g_module_error ());
  }
  get (&counts);
  return counts;
}

/* With a device, where the generator has its pictures. */
static Rig *
cuda_rig (const char *properties, const char *caps)
{
  Rig *rig = rig_new (properties, caps);

  STANDIN_SET (size_step, 1);
  STANDIN_SET (backend, "cuda");
  STANDIN_SET (context, DRIVER_PRIMARY);
  return rig;
}

/* Everything is given back, and nothing was done that a driver would refuse. */
static void
finish (Rig *rig)
{
  gint64 end = g_get_monotonic_time () + 2 * G_TIME_SPAN_SECOND;
  DriverCounts counts;

  rig_free (rig);
  /* A bin's own thread may hold the element for a moment longer. */
  while ((counts = get_counts (), counts.memory || counts.streams) && g_get_monotonic_time () < end)
    g_usleep (5 * MS);
  fail_unless_equals_int (counts.memory, 0);
  fail_unless_equals_int (counts.streams, 0);
  fail_unless_equals_int (counts.refused, 0);
}

static gboolean
is_in_cuda (Rig *rig, guint frame)
{
  return gst_is_cuda_memory (gst_buffer_peek_memory (rig_frame (rig, frame), 0));
}

/* Frames are the library's, bit for bit, and go from device to device only. (With odd heights, which
 * no model has, chroma planes overlap in GStreamer 1.22's own memory.) */
GST_START_TEST (test_every_format)
{
  static const gint sizes[][2] = {{64, 48}, {33, 18}, {322, 98}};
  const gint *size = sizes[__i__ / N_FORMATS];
  g_autofree char *caps = g_strdup_printf (
      CUDA ",format=%s,width=%d,height=%d", picture_formats[__i__ % N_FORMATS], size[0], size[1]);
  Rig *rig = cuda_rig ("num-buffers=12 seed=5 prompt=colours", caps);
  DriverCounts before = get_counts (), after;
  GstVideoInfo info;
  StandinLog log;
  guint i;

  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 12);
  after = get_counts ();
  picture_info (rig, &info);
  fail_unless_equals_int (
      (gint) (after.within - before.within), 12 * (gint) GST_VIDEO_INFO_N_PLANES (&info));
  fail_unless_equals_int ((gint) (after.up - before.up), 0);
  fail_unless_equals_int ((gint) (after.down - before.down), 0);
  fail_unless_equals_int ((gint) (after.contexts - before.contexts), 0);
  standin_get_log (&log);
  fail_unless (log.config.on_device);
  standin_log_clear (&log);
  for (i = 0; i < 12; i++) {
    fail_unless (is_in_cuda (rig, i));
    check_picture (rig, i, &info, "colours", TRUE);
  }
  finish (rig);
}
GST_END_TEST;

/* What the library does not make gets there by way of the host. */
GST_START_TEST (test_other_colours)
{
  Rig *rig = cuda_rig ("num-buffers=3 seed=5 prompt=colours",
      CUDA ",format=I420,width=64,height=48,colorimetry=1:4:0:0");
  GstVideoInfo info;
  StandinLog log;

  rig_run_to_eos (rig);
  standin_get_log (&log);
  fail_if (log.config.on_device);
  standin_log_clear (&log);
  picture_info (rig, &info);
  fail_unless (is_in_cuda (rig, 2));
  check_picture (rig, 2, &info, "colours", TRUE);
  finish (rig);
}
GST_END_TEST;

/* CUDA memory is for those who name it. */
GST_START_TEST (test_choice)
{
  static const struct
  {
    const char *caps;
    gboolean cuda;
  } cases[] = {{"video/x-raw;" CUDA, TRUE}, {CUDA ";video/x-raw", TRUE},
      {"video/x-raw(ANY)", FALSE}, {"video/x-raw", FALSE}, {"ANY", FALSE}};
  Rig *rig = cuda_rig ("num-buffers=1", cases[__i__].caps);

  rig_run_to_eos (rig);
  fail_unless (is_in_cuda (rig, 0) == cases[__i__].cuda);
  finish (rig);
}
GST_END_TEST;

/* From memory to memory, in the middle of a chunk and while others wait. */
GST_START_TEST (test_memory_changes)
{
  static const char *const pairs[][2] = {{CUDA ",format=NV12", "video/x-raw,format=NV12"},
      {CUDA ",format=NV12", "video/x-raw,format=RGB"},
      {"video/x-raw,format=I420", CUDA ",format=I420"},
      {"video/x-raw,format=RGBA", CUDA ",format=NV12"}, {CUDA ",format=I420", CUDA ",format=BGRA"}};
  Rig *rig = cuda_rig (
      "num-buffers=81 queue-chunks=1 seed=5 prompt=colours width=64 height=48", pairs[__i__][0]);
  g_autoptr (Changes) changes = follow_changes (rig, 5, pairs[__i__][1], 38, pairs[__i__][0]);

  rig_run_to_eos (rig);
  check_changes (rig, changes, FALSE);
  fail_unless (is_in_cuda (rig, 6) == (strstr (pairs[__i__][1], "CUDA") != NULL));
  fail_unless (is_in_cuda (rig, 80) == (strstr (pairs[__i__][0], "CUDA") != NULL));
  g_clear_pointer (&changes, changes_free);
  finish (rig);
}
GST_END_TEST;

static GstCudaContext *
ask_for_context (Rig *rig)
{
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->src, "src");
  GstQuery *query = gst_query_new_context (GST_CUDA_CONTEXT_TYPE);
  GstCudaContext *cuda = NULL;
  GstContext *context;

  if (gst_pad_query (pad, query)) {
    gst_query_parse_context (query, &context);
    gst_structure_get (gst_context_get_structure (context), GST_CUDA_CONTEXT_TYPE,
        GST_TYPE_CUDA_CONTEXT, &cuda, NULL);
  }
  gst_query_unref (query);
  return cuda;
}

/* Neighbours get the library's context as soon as they ask. */
GST_START_TEST (test_context_is_told)
{
  Rig *rig = cuda_rig ("num-buffers=1", CUDA);
  GstCudaContext *context = ask_for_context (rig);
  GstMemory *memory;
  GstMessage *message;

  fail_unless (context != NULL && gst_cuda_context_get_handle (context) == DRIVER_PRIMARY);
  rig_set_state (rig, GST_STATE_PLAYING);
  message = rig_wait (rig, GST_MESSAGE_HAVE_CONTEXT | GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless_equals_string (GST_MESSAGE_TYPE_NAME (message), "have-context");
  gst_message_unref (message);
  rig_wait_end (rig);
  memory = gst_buffer_peek_memory (rig_frame (rig, 0), 0);
  fail_unless (((GstCudaMemory *) memory)->context == context);
  gst_object_unref (context);
  finish (rig);

  /* The CPU has none. */
  rig = cuda_rig ("backend=cpu num-buffers=1", NULL);
  fail_unless (ask_for_context (rig) == NULL);
  finish (rig);
}
GST_END_TEST;

/* A context from outside is taken if it is the library's, else the library's goes on. */
GST_START_TEST (test_context_is_set)
{
  Rig *rig = cuda_rig ("num-buffers=2 seed=5 prompt=colours", CUDA ",format=NV12");
  GstCudaContext *given, *used;
  GstContext *context;
  GstVideoInfo info;

  fail_unless (gst_cuda_load_library ());
  given = __i__ ? gst_cuda_context_new_wrapped (DRIVER_PRIMARY, 0) : gst_cuda_context_new (0);
  context = gst_context_new_cuda_context (given);
  gst_element_set_context (rig->pipeline, context);
  gst_context_unref (context);
  rig_run_to_eos (rig);
  used = ((GstCudaMemory *) gst_buffer_peek_memory (rig_frame (rig, 0), 0))->context;
  fail_unless ((used == given) == __i__);
  fail_unless (gst_cuda_context_get_handle (used) == DRIVER_PRIMARY);
  picture_info (rig, &info);
  check_picture (rig, 1, &info, "colours", TRUE);
  rig_forget_frames (rig);
  gst_object_unref (given);
  finish (rig);
}
GST_END_TEST;

static GstPadProbeReturn
offer_pool (GstPad *pad, GstPadProbeInfo *probe, gpointer user_data)
{
  GstQuery *query = GST_PAD_PROBE_INFO_QUERY (probe);
  GstBufferPool **pool = user_data;
  GstVideoInfo info;
  GstCaps *caps;

  if (GST_QUERY_TYPE (query) != GST_QUERY_ALLOCATION)
    return GST_PAD_PROBE_OK;
  gst_query_parse_allocation (query, &caps, NULL);
  fail_unless (caps != NULL && gst_video_info_from_caps (&info, caps));
  gst_query_add_allocation_pool (query, *pool, (guint) info.size, 2, 5);
  return GST_PAD_PROBE_HANDLED;
}

/* Downstream's pool serves where it has memory of the same context: 1. Others do not. */
GST_START_TEST (test_pool)
{
  Rig *rig =
      cuda_rig ("num-buffers=3 seed=5 prompt=colours", CUDA ",format=I420,width=33,height=18");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");
  GstCudaContext *context;
  GstBufferPool *pool;
  GstVideoInfo info;

  fail_unless (gst_cuda_load_library ());
  context =
      __i__ == 1 ? gst_cuda_context_new_wrapped (DRIVER_PRIMARY, 0) : gst_cuda_context_new (0);
  pool = __i__ == 2 ? gst_video_buffer_pool_new () : gst_cuda_buffer_pool_new (context);
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, offer_pool, &pool, NULL);
  rig_run_to_eos (rig);
  fail_unless ((rig_frame (rig, 2)->pool == pool) == (__i__ == 1));
  fail_unless (is_in_cuda (rig, 2));
  picture_info (rig, &info);
  check_picture (rig, 2, &info, "colours", TRUE);
  rig_set_state (rig, GST_STATE_NULL);
  rig_forget_frames (rig);
  gst_object_unref (pool);
  gst_object_unref (context);
  finish (rig);
}
GST_END_TEST;

/* The backend computes on a GPU, but frames cannot stay there. */
GST_START_TEST (test_no_device)
{
  Rig *rig = cuda_rig ("", CUDA);

  STANDIN_SET (context, NULL);
  if (__i__)
    STANDIN_SET (backend, "cpu");
  rig_expect_error (rig, rig_run (rig), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION,
      __i__ ? "the backend in use is cpu" : "in CUDA memory only");
  finish (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "cuda");

  tcase_add_loop_test (tc, test_every_format, 0, N_FORMATS * 3);
  tcase_add_test (tc, test_other_colours);
  tcase_add_loop_test (tc, test_choice, 0, 5);
  tcase_add_loop_test (tc, test_memory_changes, 0, 5);
  tcase_add_test (tc, test_context_is_told);
  tcase_add_loop_test (tc, test_context_is_set, 0, 2);
  tcase_add_loop_test (tc, test_pool, 0, 3);
  tcase_add_loop_test (tc, test_no_device, 0, 2);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "cuda", add);
}
