/* lightforce: the element's negotiation with downstream
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/element.h"

#include "gst/caps.h"
#include "gst/messages.h"

static GstBaseSrcClass *parent_class;

/* What properties ask for. With the object lock. */
static LfSrcVideo
wanted (LightforceSrc *self)
{
  return (LfSrcVideo){
      self->want_width, self->want_height, self->settings.fps_n, self->settings.fps_d};
}

/* The same, and the size of the running video. With the object lock. */
static LfSrcVideo
bound (LightforceSrc *self)
{
  LfSrcVideo want = wanted (self);

  if (self->width > 0) {
    want.width = self->width;
    want.height = self->height;
  }
  return want;
}

/* Whether frames can be in CUDA memory. Posts nothing, so that a lock does no harm. */
static gboolean
has_cuda (LightforceSrc *self, const LfModelInfo *info)
{
  return g_str_equal (info->backend, "cuda") && lf_src_cuda_is_available (self->cuda);
}

static GstCaps *
lf_src_get_caps (GstBaseSrc *bsrc, GstCaps *filter)
{
  LightforceSrc *self = LF_SRC (bsrc);
  GstCaps *caps = gst_pad_get_pad_template_caps (bsrc->srcpad);
  const LfModelInfo *info;
  gboolean cuda;

  /* Everything can be linked; what the model cannot make is refused with an explanation, once
   * it is loaded. */
  GST_OBJECT_LOCK (self);
  info = self->worker ? lf_src_worker_get_info (self->worker) : NULL;
  cuda = info && has_cuda (self, info);
  if (info) {
    LfSrcVideo want = bound (self);

    caps = lf_src_caps_narrow (caps, &want, info, cuda);
  }
  GST_OBJECT_UNLOCK (self);

  if (filter) {
    GstCaps *both = gst_caps_intersect_full (filter, caps, GST_CAPS_INTERSECT_FIRST);

    gst_caps_unref (caps);
    caps = both;
  }
  GST_LOG_OBJECT (self, "caps %" GST_PTR_FORMAT, caps);
  return caps;
}

static GstCaps *
lf_src_fixate (GstBaseSrc *bsrc, GstCaps *caps)
{
  LightforceSrc *self = LF_SRC (bsrc);
  gboolean cuda = lf_src_caps_name_cuda (caps);
  LfSrcVideo want;

  /* Who takes any memory gets what anybody can read. */
  if (cuda) {
    g_autoptr (GstCaps) peer = gst_pad_peer_query_caps (bsrc->srcpad, NULL);

    cuda = peer && lf_src_caps_name_cuda (peer);
  }
  GST_OBJECT_LOCK (self);
  want = bound (self);
  caps = lf_src_caps_choose (
      caps, &want, self->worker ? lf_src_worker_get_info (self->worker) : NULL, cuda);
  GST_OBJECT_UNLOCK (self);
  return GST_BASE_SRC_CLASS (parent_class)->fixate (bsrc, caps);
}

static gboolean
lf_src_set_caps (GstBaseSrc *bsrc, GstCaps *caps)
{
  LightforceSrc *self = LF_SRC (bsrc);
  GstVideoInfo info;
  LfSrcOutput *output;
  gboolean rate_changed;
  guint64 end = (guint64) MAX (bsrc->num_buffers, 0);
  gboolean cuda = lf_src_caps_name_cuda (caps);

  if (!gst_video_info_from_caps (&info, caps) || info.fps_n <= 0)
    return FALSE;
  output = lf_src_output_new (&info, self->cuda, cuda);
  if (output == NULL)
    return FALSE;
  if (cuda)
    lf_src_cuda_share (self->cuda, GST_ELEMENT (self));
  g_clear_pointer (&self->output, lf_src_output_free);
  self->output = output;

  GST_OBJECT_LOCK (self);
  rate_changed = info.fps_n != self->timeline.fps_n || info.fps_d != self->timeline.fps_d;
  if (rate_changed) {
    lf_timeline_set_rate (&self->timeline, self->next_frame, info.fps_n, info.fps_d);
    lf_src_note_change (self); /* what has a time comes with other pictures */
  }
  self->width = info.width;
  self->height = info.height;
  if (bsrc->num_buffers >= 0)
    bsrc->segment.duration =
        (gint64) lf_timeline_time (&self->timeline, MAX (end, self->next_frame));
  GST_OBJECT_UNLOCK (self);
  lf_src_worker_open (self->worker, info.width, info.height, lf_src_output_get_pictures (output));

  if (rate_changed && gst_base_src_is_live (bsrc))
    gst_element_post_message (GST_ELEMENT (self), gst_message_new_latency (GST_OBJECT (self)));
  if (rate_changed && bsrc->num_buffers >= 0)
    gst_element_post_message (
        GST_ELEMENT (self), gst_message_new_duration_changed (GST_OBJECT (self)));
  return TRUE;
}

/* FALSE, with an error posted: the size set by a property cannot be made. */
static gboolean
check_size (LightforceSrc *self, const char *property, gint value, const LfModelInfo *info)
{
  g_autofree char *problem = lf_src_caps_explain_size (property, value, info);

  if (problem)
    GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS, ("%s", problem), (NULL));
  return problem == NULL;
}

static void
post_not_negotiated (LightforceSrc *self, const LfModelInfo *info)
{
  GstPad *pad = GST_BASE_SRC_PAD (self);
  g_autoptr (GstCaps) caps = gst_pad_query_caps (pad, NULL);
  g_autoptr (GstCaps) peer = gst_pad_peer_query_caps (pad, NULL);
  g_autofree char *text = NULL;
  LfSrcVideo want;

  GST_OBJECT_LOCK (self);
  want = wanted (self);
  GST_OBJECT_UNLOCK (self);
  text = peer ? lf_src_caps_explain_memory (peer, info, has_cuda (self, info)) : NULL;
  if (text == NULL)
    text = lf_src_caps_explain_refusal (self->width, self->height, &want, info);
  GST_ELEMENT_ERROR (self, CORE, NEGOTIATION, ("%s", text),
      ("source caps %" GST_PTR_FORMAT ", downstream caps %" GST_PTR_FORMAT, caps, peer));
}

/* Waits for the model, for the caps need its sizes. A failure is not reported by FALSE, for
 * which the base class would post a second error: an error message is posted here and
 * create() ends the stream. */
static gboolean
lf_src_negotiate (GstBaseSrc *bsrc)
{
  LightforceSrc *self = LF_SRC (bsrc);
  const LfModelInfo *info;
  g_autoptr (GError) error = NULL;

  if (self->failed)
    return TRUE;
  switch (lf_src_worker_wait_model (self->worker, &info, &error)) {
    case LF_FRAME_QUEUE_OK:
    case LF_FRAME_QUEUE_EMPTY:
      break;
    case LF_FRAME_QUEUE_FLUSHING:
      goto interrupted;
    case LF_FRAME_QUEUE_FAILED:
      lf_src_post_error (GST_ELEMENT (self), error, FALSE);
      goto failed;
  }
  if (!check_size (self, "width", self->want_width, info)
      || !check_size (self, "height", self->want_height, info))
    goto failed;
  if (GST_BASE_SRC_CLASS (parent_class)->negotiate (bsrc) && self->output)
    return TRUE;

  if (lf_pacer_is_flushing (&self->pacer) || GST_PAD_IS_FLUSHING (bsrc->srcpad))
    goto interrupted;
  post_not_negotiated (self, info);
  goto failed;

  /* ERRORS */
interrupted:
  gst_pad_mark_reconfigure (bsrc->srcpad);
  return TRUE;
failed:
  self->failed = TRUE;
  return TRUE;
}

/* A pool that cannot be made active, for want of memory or by its own fault, is replaced by one that
 * makes buffers when they are needed. */
static void
replace_dead_pool (LightforceSrc *self, GstQuery *query, GstCaps *caps)
{
  GstBufferPool *pool = NULL;
  guint size, min, max;
  GstStructure *config;

  gst_query_parse_nth_allocation_pool (query, 0, &pool, &size, &min, &max);
  if (pool && !gst_buffer_pool_set_active (pool, TRUE)) {
    GST_WARNING_OBJECT (self, "%" GST_PTR_FORMAT " cannot be made active", pool);
    gst_object_unref (pool);
    pool = gst_video_buffer_pool_new ();
    config = gst_buffer_pool_get_config (pool);
    gst_buffer_pool_config_set_params (config, caps, size, 0, 0);
    gst_buffer_pool_set_config (pool, config);
    gst_query_set_nth_allocation_pool (query, 0, pool, size, 0, 0);
  }
  g_clear_pointer (&pool, gst_object_unref);
}

static gboolean
lf_src_decide_allocation (GstBaseSrc *bsrc, GstQuery *query)
{
  LightforceSrc *self = LF_SRC (bsrc);
  GstBufferPool *pool = NULL;
  guint size = 0, min = 0, max = 0;
  gboolean update = gst_query_get_n_allocation_pools (query) > 0;
  GstStructure *config;
  GstCaps *caps;

  gst_query_parse_allocation (query, &caps, NULL);
  if (caps == NULL || self->output == NULL)
    return GST_BASE_SRC_CLASS (parent_class)->decide_allocation (bsrc, query);
  if (lf_src_caps_name_cuda (caps))
    return lf_src_cuda_decide_allocation (self->cuda, query);
  if (update)
    gst_query_parse_nth_allocation_pool (query, 0, &pool, &size, &min, &max);
  size = MAX (size, (guint) GST_VIDEO_INFO_SIZE (lf_src_output_get_info (self->output)));
  if (pool == NULL)
    pool = gst_video_buffer_pool_new ();
  config = gst_buffer_pool_get_config (pool);
  gst_buffer_pool_config_set_params (config, caps, size, min, max);
  if (gst_query_find_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL))
    gst_buffer_pool_config_add_option (config, GST_BUFFER_POOL_OPTION_VIDEO_META);
  if (!gst_buffer_pool_set_config (pool, config))
    GST_DEBUG_OBJECT (self, "%" GST_PTR_FORMAT " changed its configuration", pool);
  if (update)
    gst_query_set_nth_allocation_pool (query, 0, pool, size, min, max);
  else
    gst_query_add_allocation_pool (query, pool, size, min, max);
  gst_object_unref (pool);
  /* It reads back what a pool made of the configuration and replaces one that is no use. */
  if (!GST_BASE_SRC_CLASS (parent_class)->decide_allocation (bsrc, query))
    return FALSE;
  replace_dead_pool (self, query, caps);
  return TRUE;
}

void
lf_src_negotiation_class_init (GstBaseSrcClass *klass)
{
  parent_class = GST_BASE_SRC_CLASS (g_type_class_peek_parent (klass));
  klass->get_caps = lf_src_get_caps;
  klass->fixate = lf_src_fixate;
  klass->set_caps = lf_src_set_caps;
  klass->negotiate = lf_src_negotiate;
  klass->decide_allocation = lf_src_decide_allocation;
}
