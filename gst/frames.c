/* lightforce: from chunks to frames
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/element.h"

#include "gst/i18n.h"
#include "gst/messages.h"

/* `item` is new: the next chunk, or the first one after a restart. */
static void
take_item (LightforceSrc *self)
{
  const LfFrameItem *item = self->item;

  GST_DEBUG_OBJECT (self, "chunk %" G_GUINT64_FORMAT " made in %" G_GINT64_FORMAT " us",
      item->chunk->index, item->made_us);
  self->discont |= item->broken;
  if (item->restarts != self->restarts) {
    self->discont = self->fresh = TRUE;
    self->provenance.known = FALSE; /* prompt and seed are told again */
    GST_OBJECT_LOCK (self);
    self->restarts = item->restarts;
    self->next_picture = 0;
    self->shift = self->next_frame;
    GST_OBJECT_UNLOCK (self);
  }
  lf_src_release_taken (self, item);
}

GstFlowReturn
lf_src_find_chunk (LightforceSrc *self, gboolean wait)
{
  g_autoptr (GError) error = NULL;

  for (;;) {
    const LfFrameItem *item = self->item;

    if (item && self->next_picture < item->first_picture + (guint64) item->chunk->n_pictures
        && item->restarts == lf_src_worker_get_restarts (self->worker))
      return GST_FLOW_OK;
    g_clear_pointer (&self->item, lf_frame_item_free);
    switch (lf_src_worker_pop (self->worker, wait, &self->item, &error)) {
      case LF_FRAME_QUEUE_OK:
        take_item (self);
        break;
      case LF_FRAME_QUEUE_EMPTY:
        return LF_SRC_FLOW_EMPTY;
      case LF_FRAME_QUEUE_FLUSHING:
        return GST_FLOW_FLUSHING;
      case LF_FRAME_QUEUE_FAILED:
        lf_src_post_error (GST_ELEMENT (self), error, self->next_frame > 0);
        self->failed = TRUE;
        return GST_FLOW_EOS;
    }
  }
}

static void
stamp (LightforceSrc *self, GstBuffer *buffer)
{
  GST_BUFFER_PTS (buffer) = lf_timeline_time (&self->timeline, self->next_frame);
  GST_BUFFER_DTS (buffer) = GST_CLOCK_TIME_NONE;
  GST_BUFFER_DURATION (buffer) = lf_timeline_duration (&self->timeline, self->next_frame);
  GST_BUFFER_OFFSET (buffer) = self->next_frame;
  GST_BUFFER_OFFSET_END (buffer) = self->next_frame + 1;
  if (self->discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  self->discont = FALSE;
}

/* The frame with the next picture goes out. */
static void
note_shown (LightforceSrc *self, LfChunk *chunk, gint picture, GstClockTime pts)
{
  gboolean new_chunk = self->chunk != chunk->index;

  if (self->shown_chunk != chunk) {
    lf_src_post_chunk (GST_ELEMENT (self), chunk, self->item->made_us, self->next_frame, pts);
    g_clear_pointer (&self->shown_chunk, lf_chunk_unref);
    self->shown_chunk = lf_chunk_ref (chunk);
  }
  self->shown_picture = picture;
  GST_OBJECT_LOCK (self);
  self->chunk = chunk->index;
  self->counts.shown++;
  self->next_picture++;
  GST_OBJECT_UNLOCK (self);
  if (new_chunk)
    g_object_notify (G_OBJECT (self), "chunk");
}

GstFlowReturn
lf_src_make_frame (LightforceSrc *self, gboolean repeat, GstBuffer **frame)
{
  GstBaseSrc *bsrc = GST_BASE_SRC (self);
  LfChunk *chunk = repeat ? self->shown_chunk : self->item->chunk;
  gint picture =
      repeat ? self->shown_picture : (gint) (self->next_picture - self->item->first_picture);
  g_autoptr (GstBuffer) buffer = NULL;
  GstFlowReturn ret;

  ret = GST_BASE_SRC_GET_CLASS (bsrc)->alloc (bsrc, GST_BUFFER_OFFSET_NONE,
      (guint) GST_VIDEO_INFO_SIZE (lf_src_output_get_info (self->output)), &buffer);
  if (ret != GST_FLOW_OK && ret != GST_FLOW_FLUSHING)
    goto no_buffer;
  if (ret != GST_FLOW_OK)
    return ret;
  if (!lf_src_output_write (self->output, chunk, picture, buffer))
    goto not_written;
  stamp (self, buffer);
  lf_src_tell_frame (self, buffer, chunk, picture, repeat);
  if (repeat)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  else
    note_shown (self, chunk, picture, GST_BUFFER_PTS (buffer));
  GST_OBJECT_LOCK (self);
  self->counts.repeated += repeat;
  self->next_frame++;
  if (self->policy != LF_SRC_LATE_DROP)
    self->shift = self->next_frame - self->next_picture;
  GST_OBJECT_UNLOCK (self);
  if (repeat)
    lf_src_release_repeated (self, self->next_frame - 1);
  *frame = g_steal_pointer (&buffer);
  return GST_FLOW_OK;

  /* ERRORS */
no_buffer:
  GST_ELEMENT_ERROR (self, RESOURCE, NO_SPACE_LEFT,
      (_ ("No memory for a video frame of %dx%d: choose a smaller width and height."),
          chunk->layout.width, chunk->layout.height),
      ("allocation: %s", gst_flow_get_name (ret)));
  self->failed = TRUE;
  return GST_FLOW_EOS;
not_written:
  GST_ELEMENT_ERROR (self, RESOURCE, WRITE,
      (_ ("A buffer from downstream's pool cannot be written: put videoconvert behind "
          "lightforcesrc.")),
      ("%" GST_PTR_FORMAT " cannot be mapped as a frame", buffer));
  self->failed = TRUE;
  return GST_FLOW_EOS;
}
