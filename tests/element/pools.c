/* lightforce: buffers of downstream that are few, or no use
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/rig.h"

#define CAPS "video/x-raw,format=RGBx,width=34,height=18"
#define SIZE (34 * 18 * 4)

/* ------------------------------------------------------------------- a pool with ills */

typedef enum
{
  SOUND,
  NO_MEMORY,  /* buffers cannot be had */
  TOO_SMALL,  /* or hold half a frame */
  NO_START,   /* it cannot be made active */
  OTHER_CAPS, /* it insists on a configuration of its own */
} Ill;

typedef struct
{
  GstBufferPool parent;
  Ill ill;
} TestPool;

typedef GstBufferPoolClass TestPoolClass;

static GType test_pool_get_type (void);
G_DEFINE_TYPE (TestPool, test_pool, GST_TYPE_BUFFER_POOL)

static gboolean
test_pool_start (GstBufferPool *pool)
{
  return ((TestPool *) pool)->ill != NO_START
         && GST_BUFFER_POOL_CLASS (test_pool_parent_class)->start (pool);
}

static gboolean
test_pool_set_config (GstBufferPool *pool, GstStructure *config)
{
  if (((TestPool *) pool)->ill == OTHER_CAPS) {
    g_autoptr (GstCaps) caps = gst_caps_from_string ("video/x-raw,format=GRAY8,width=2,height=2");

    gst_buffer_pool_config_set_params (config, caps, 4, 0, 0);
    GST_BUFFER_POOL_CLASS (test_pool_parent_class)->set_config (pool, config);
    return FALSE;
  }
  return GST_BUFFER_POOL_CLASS (test_pool_parent_class)->set_config (pool, config);
}

static GstFlowReturn
test_pool_alloc (GstBufferPool *pool, GstBuffer **buffer, GstBufferPoolAcquireParams *params)
{
  Ill ill = ((TestPool *) pool)->ill;

  if (ill == NO_MEMORY)
    return GST_FLOW_ERROR;
  *buffer = gst_buffer_new_allocate (NULL, ill == TOO_SMALL ? SIZE / 2 : SIZE, NULL);
  return GST_FLOW_OK;
}

static void
test_pool_class_init (TestPoolClass *klass)
{
  klass->start = test_pool_start;
  klass->set_config = test_pool_set_config;
  klass->alloc_buffer = test_pool_alloc;
}

static void
test_pool_init (TestPool *pool)
{
}

/* What downstream proposes. */
typedef struct
{
  GstBufferPool *pool;
  guint min, max;
} Offer;

static GstPadProbeReturn
answer_allocation (GstPad *pad, GstPadProbeInfo *probe, gpointer user_data)
{
  GstQuery *query = GST_PAD_PROBE_INFO_QUERY (probe);
  Offer *offer = user_data;

  if (GST_QUERY_TYPE (query) != GST_QUERY_ALLOCATION)
    return GST_PAD_PROBE_OK;
  gst_query_add_allocation_pool (query, offer->pool, SIZE, offer->min, offer->max);
  return GST_PAD_PROBE_HANDLED;
}

static gulong
propose (Rig *rig, Offer *offer, Ill ill, guint min, guint max)
{
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");

  offer->pool = g_object_new (test_pool_get_type (), NULL);
  gst_object_ref_sink (offer->pool);
  ((TestPool *) offer->pool)->ill = ill;
  offer->min = min;
  offer->max = max;
  g_object_set (rig->sink, "enable-last-sample", FALSE, NULL);
  return gst_pad_add_probe (
      pad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, answer_allocation, offer, NULL);
}

/* --------------------------------------------------------------------------- the tests */

/* What goes wrong with buffers is told once, and is not the end of the element. */
GST_START_TEST (test_bad_pool)
{
  static const struct
  {
    Ill ill;
    gint code; /* of GST_RESOURCE_ERROR */
    const char *text;
  } cases[] = {
      {NO_MEMORY, GST_RESOURCE_ERROR_NO_SPACE_LEFT, "No memory for a video frame of 34x18"},
      {TOO_SMALL, GST_RESOURCE_ERROR_WRITE, "put videoconvert behind lightforcesrc"},
  };
  Rig *rig = rig_new (__i__ & 1 ? "num-buffers=12 is-live=true" : "num-buffers=12", CAPS);
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");
  Offer offer;
  gulong probe = propose (rig, &offer, cases[__i__ / 2].ill, 0, 0);

  STANDIN_SET (fps_n, 500);
  rig_expect_error (
      rig, rig_run (rig), GST_RESOURCE_ERROR, cases[__i__ / 2].code, cases[__i__ / 2].text);
  fail_unless_equals_int (rig_count (rig), 0);
  rig_set_state (rig, GST_STATE_NULL);
  gst_pad_remove_probe (pad, probe);
  gst_object_unref (offer.pool);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 12);
  rig_free (rig);
}
GST_END_TEST;

/* A pool that is for something else, or cannot be made active, is left alone. */
GST_START_TEST (test_useless_pool)
{
  static const Ill ills[] = {OTHER_CAPS, NO_START, NO_MEMORY};
  Rig *rig = rig_new ("num-buffers=30 prompt=one", CAPS);
  Offer offer;

  propose (rig, &offer, ills[__i__], 1, 0);
  rig_run_to_eos (rig);
  fail_unless_equals_int (rig_count (rig), 30);
  fail_if (rig_frame (rig, 0)->pool == offer.pool);
  rig_check_frames (rig, 0, 30, "one");
  rig_free (rig);
  gst_object_unref (offer.pool);
}
GST_END_TEST;

static void
forget (Rig *rig, gpointer unused)
{
  rig_forget_frames (rig);
}

/* Downstream has all buffers there are: the element waits, and what ends its waiting for chunks
 * ends this, too. */
GST_START_TEST (test_exhausted_pool)
{
  static const char *const properties[] = {
      "num-buffers=30 prompt=one", "num-buffers=30 prompt=one is-live=true late-policy=resync"};
  Rig *rig = rig_new (properties[__i__ & 1], CAPS);
  gint what = __i__ / 2;
  gint64 start;
  Offer offer;
  guint i;

  STANDIN_SET (fps_n, 500);
  propose (rig, &offer, SOUND, 1, 4);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 4);
  g_usleep (20 * MS);
  fail_unless_equals_int (rig_count (rig), 4);
  start = g_get_monotonic_time ();
  if (what == 0) {
    rig_set_state (rig, GST_STATE_NULL);
  } else if (what == 1) {
    rig_flush (rig, forget, NULL);
  } else {
    rig_set_state (rig, GST_STATE_PAUSED);
    rig_forget_frames (rig);
    rig_reach_state (rig, GST_STATE_PAUSED);
    rig_set_state (rig, GST_STATE_PLAYING);
  }
  fail_unless (g_get_monotonic_time () - start < SOON);
  /* The rest of the 30, a few at a time; none is lost and none is shown twice. */
  for (i = 4; what > 0 && i < 30; i++) {
    rig_wait_frames (rig, 1);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (rig_frame (rig, 0)), i);
    fail_unless (rig_first_pixel (rig_frame (rig, 0)) == standin_pixel (0, "one", i, 0, 0));
    g_mutex_lock (&rig->lock);
    g_ptr_array_remove_index (rig->frames, 0);
    g_mutex_unlock (&rig->lock);
  }
  if (what > 0)
    rig_wait_end (rig);
  rig_free (rig);
  gst_object_unref (offer.pool);
}
GST_END_TEST;

/* The frames that downstream keeps stay what they are while others are made. */
GST_START_TEST (test_kept_frames)
{
  Rig *rig = rig_new ("num-buffers=60 prompt=one", CAPS);
  Offer offer;
  guint i, next = 0;

  propose (rig, &offer, SOUND, 1, 5);
  rig_set_state (rig, GST_STATE_PLAYING);
  /* always three kept, with one more on its way and one being written */
  while (next < 60) {
    rig_wait_frames (rig, MIN (3, 60 - next));
    for (i = 0; i < MIN (3, 60 - next); i++) {
      GstBuffer *frame = rig_frame (rig, i);

      fail_unless (frame->pool == offer.pool);
      fail_unless_equals_uint64 (GST_BUFFER_OFFSET (frame), next + i);
      fail_unless (rig_first_pixel (frame) == standin_pixel (0, "one", next + i, 0, 0));
    }
    g_mutex_lock (&rig->lock);
    g_ptr_array_remove_index (rig->frames, 0);
    g_mutex_unlock (&rig->lock);
    next++;
  }
  rig_wait_end (rig);
  rig_free (rig);
  gst_object_unref (offer.pool);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "pools");

  tcase_add_loop_test (tc, test_bad_pool, 0, 4);
  tcase_add_loop_test (tc, test_useless_pool, 0, 3);
  tcase_add_loop_test (tc, test_exhausted_pool, 0, 6);
  tcase_add_test (tc, test_kept_frames);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "pools", add);
}
