/* lightforce: the element that makes prompts of a stream of text
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

/**
 * SECTION:element-lightforcepromptsink
 * @title: lightforcepromptsink
 * @short_description: lets a stream of text say what lightforcesrc shows
 * @see_also: lightforcesrc
 *
 * Text becomes prompts of a #LightforceSrc in the same pipeline. Subtitles, text from the network
 * and what speech recognisers hear can drive the video that way. Markup is taken out; empty texts
 * change nothing, and ones of more than 64 KiB are left out, with a warning.
 *
 * What is one prompt depends on the segment. In a segment of time, as subtitles and datagrams have
 * it, each buffer is: its lines are joined, and it holds from the buffer's running time on, or at
 * once where it has none. A segment of bytes comes from a TCP connection, a pipe or a file that is
 * read as it is, without `do-timestamp`: there each line is a prompt, at once, however the bytes
 * are cut into buffers, and the end of the stream ends the last line. A buffer with a duration is
 * a prompt of its own in either. An application that pushes whole texts sets `format=time` on its
 * appsrc.
 *
 * Texts are handed on as soon as they come, and wait in the source for their time. The source
 * makes its video ahead of time, up to #LightforceSrc:queue-chunks + 2 chunks: a text that comes less
 * than that ahead of its time shows with the next chunk that is made, and may be late. With
 * #LightforceSrc:flush-on-prompt it shows with the first chunk that begins at its time or later, and
 * what was made for then is thrown away. A subtitle file
 * is usually read before the model is loaded. Where a video has to be the same every time, use
 * #LightforceSrc:prompt-file.
 *
 * Which source it is can be left out where there is one only: #LightforcePromptSink:source names
 * it. The end of the pipeline does not wait for this element, nor do seeks get to it: the source
 * keeps the texts it was given.
 *
 * ## Example launch lines
 *
 * |[
 * gst-launch-1.0 lightforcesrc num-buffers=320 ! videoconvert ! x264enc ! mp4mux ! filesink location=story.mp4 filesrc location=story.srt ! subparse ! lightforcepromptsink
 * ]|
 * Shows what a subtitle file tells.
 *
 * |[
 * gst-launch-1.0 lightforcesrc is-live=true flush-on-prompt=true ! videoconvert ! autovideosink tcpserversrc host=127.0.0.1 port=5001 ! text/x-raw,format=utf8 ! lightforcepromptsink
 * ]|
 * Shows each line that is sent to a TCP port, as by `nc 127.0.0.1 5001`, until that connection ends.
 *
 * Since: 0.1
 */
#include "gst/lightforcepromptsink.h"

#include "gst/i18n.h"
#include "gst/lightforcesrc.h"
#include "gst/promptevent.h"

GST_DEBUG_CATEGORY_STATIC (lightforcepromptsink_debug);
#define GST_CAT_DEFAULT lightforcepromptsink_debug

#define MAX_TEXT_BYTES 65536

enum
{
  PROP_0,
  PROP_SOURCE
};

struct _LightforcePromptSink
{
  GstBaseSink parent;

  char *source_name; /* object lock */
  GWeakRef source;   /* from READY to PAUSED on */

  /* streaming thread */
  gboolean markup;
  gboolean warned; /* of what is no text */
  GString *line;   /* of a stream of bytes: what came of the line that has not ended */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS, GST_STATIC_CAPS ("text/x-raw, format = (string) { utf8, pango-markup }"));

G_DEFINE_TYPE (LightforcePromptSink, lf_prompt_sink, GST_TYPE_BASE_SINK)
GST_ELEMENT_REGISTER_DEFINE (
    lightforcepromptsink, "lightforcepromptsink", GST_RANK_NONE, LF_TYPE_PROMPT_SINK)

/* --------------------------------------------------------------------- the source */

static GstBin *
find_top (LightforcePromptSink *self)
{
  GstObject *object = GST_OBJECT (gst_object_ref (self)), *parent;

  while ((parent = gst_object_get_parent (object))) {
    gst_object_unref (object);
    object = parent;
  }
  if (GST_IS_BIN (object))
    return GST_BIN (object);
  gst_object_unref (object);
  return NULL;
}

/* All sources under `bin` (of that name, where there is one), each with a reference. */
static GPtrArray *
find_sources (GstBin *bin, const char *name)
{
  GPtrArray *sources = g_ptr_array_new_with_free_func (gst_object_unref);
  GstIterator *it = gst_bin_iterate_recurse (bin);
  g_auto (GValue) item = G_VALUE_INIT;
  GstIteratorResult result;

  while ((result = gst_iterator_next (it, &item)) == GST_ITERATOR_OK
         || result == GST_ITERATOR_RESYNC) {
    GstElement *element;

    if (result == GST_ITERATOR_RESYNC) {
      g_ptr_array_set_size (sources, 0);
      gst_iterator_resync (it);
      continue;
    }
    element = g_value_get_object (&item);
    if (LF_IS_SRC (element) && (name == NULL || g_str_equal (GST_OBJECT_NAME (element), name)))
      g_ptr_array_add (sources, gst_object_ref (element));
    g_value_reset (&item);
  }
  gst_iterator_free (it);
  return sources;
}

static char *
list_names (GPtrArray *sources)
{
  GString *names = g_string_new (NULL);
  guint i;

  for (i = 0; i < sources->len; i++)
    g_string_append_printf (
        names, "%s%s", i ? ", " : "", GST_OBJECT_NAME (g_ptr_array_index (sources, i)));
  return g_string_free (names, FALSE);
}

/* FALSE, with an error posted: it is not clear which source is meant. */
static gboolean
choose_source (LightforcePromptSink *self)
{
  g_autoptr (GstBin) top = find_top (self);
  g_autoptr (GPtrArray) sources = NULL;
  g_autofree char *name = NULL, *names = NULL;

  GST_OBJECT_LOCK (self);
  name = g_strdup (self->source_name);
  GST_OBJECT_UNLOCK (self);
  sources = top ? find_sources (top, name) : g_ptr_array_new ();
  names = list_names (sources);
  if (sources->len == 1) {
    g_weak_ref_set (&self->source, g_ptr_array_index (sources, 0));
    return TRUE;
  }
  if (sources->len > 1 && name)
    GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS,
        (_ ("The property source is \"%s\", and there are %u elements lightforcesrc of that name: "
            "give them different names."),
            name, sources->len),
        (NULL));
  else if (sources->len > 1)
    GST_ELEMENT_ERROR (self, LIBRARY, SETTINGS,
        (_ ("There are several elements lightforcesrc: set the property source of "
            "lightforcepromptsink to one of %s."),
            names),
        (NULL));
  else if (name)
    GST_ELEMENT_ERROR (self, RESOURCE, NOT_FOUND,
        (_ ("The property source is \"%s\", and no lightforcesrc in this pipeline has that name."),
            name),
        (NULL));
  else
    GST_ELEMENT_ERROR (self, RESOURCE, NOT_FOUND,
        (_ ("There is no lightforcesrc in this pipeline that lightforcepromptsink could prompt: "
            "put "
            "both into one pipeline.")),
        (NULL));
  return FALSE;
}

/* ----------------------------------------------------------------------- the text */

static void
add_plain (GMarkupParseContext *context, const gchar *text, gsize length, gpointer user_data,
    GError **error)
{
  g_string_append_len (user_data, text, (gssize) length);
}

/* What is between tags; all of it where that is no markup. */
static char *
strip_markup (const char *text)
{
  static const GMarkupParser parser = {.text = add_plain};
  GString *plain = g_string_new (NULL);
  GMarkupParseContext *context = g_markup_parse_context_new (&parser, 0, plain, NULL);
  gboolean good = g_markup_parse_context_parse (context, "<markup>", -1, NULL)
                  && g_markup_parse_context_parse (context, text, -1, NULL)
                  && g_markup_parse_context_parse (context, "</markup>", -1, NULL)
                  && g_markup_parse_context_end_parse (context, NULL);

  g_markup_parse_context_free (context);
  if (!good)
    g_string_assign (plain, text);
  return g_string_free (plain, FALSE);
}

/* One line without white space around it. */
static void
fold (char *text)
{
  g_strdelimit (text, "\r\n\t", ' ');
  g_strstrip (text);
}

/* Once from READY to PAUSED on: where one is bad, more may come, and quickly. */
static void
warn_left_out (LightforcePromptSink *self, gsize size)
{
  if (self->warned)
    return;
  self->warned = TRUE;
  if (size > MAX_TEXT_BYTES)
    GST_ELEMENT_WARNING (self, STREAM, DECODE,
        (_ ("A text of more than %d bytes is left out: send shorter ones."), MAX_TEXT_BYTES),
        (NULL));
  else
    GST_ELEMENT_WARNING (self, STREAM, DECODE,
        (_ ("A text of %lu bytes is left out: prompts are UTF-8."), (gulong) size), (NULL));
}

/* NULL: there is none, or, with a warning the first time, it cannot be a prompt. */
static char *
read_text (LightforcePromptSink *self, const char *data, gsize size)
{
  g_autofree char *raw = NULL;
  char *text;

  if (size == 0)
    return NULL;
  if (size <= MAX_TEXT_BYTES)
    raw = g_strndup (data, size);
  if (raw == NULL || !g_utf8_validate (raw, -1, NULL)) {
    warn_left_out (self, size);
    return NULL;
  }
  text = self->markup ? strip_markup (raw) : g_steal_pointer (&raw);
  fold (text);
  return text;
}

static GstClockTime
running_time (LightforcePromptSink *self, GstClockTime time)
{
  const GstSegment *segment = &GST_BASE_SINK (self)->segment;
  guint64 running;

  if (!GST_CLOCK_TIME_IS_VALID (time) || segment->format != GST_FORMAT_TIME)
    return GST_CLOCK_TIME_NONE;
  /* one from before the segment goes on into it */
  return gst_segment_to_running_time_full (segment, GST_FORMAT_TIME, time, &running) > 0 ? running
                                                                                         : 0;
}

static void
prompt (LightforcePromptSink *self, const char *data, gsize size, GstClockTime time)
{
  g_autoptr (LightforceSrc) source = g_weak_ref_get (&self->source);
  g_autofree char *text = read_text (self, data, size);

  if (source && text && *text) {
    GST_DEBUG_OBJECT (self, "from %" GST_TIME_FORMAT ": %s", GST_TIME_ARGS (time), text);
    gst_element_send_event (GST_ELEMENT (source), lf_prompt_event_new (text, time));
  }
}

/* ---------------------------------------------------------------------- the lines */

static void
end_line (LightforcePromptSink *self)
{
  prompt (self, self->line->str, self->line->len, GST_CLOCK_TIME_NONE);
  g_string_truncate (self->line, 0);
}

/* More of a stream that is cut anywhere, in the middle of a character, too. */
static void
add_bytes (LightforcePromptSink *self, const char *data, gsize size)
{
  while (size > 0) {
    const char *end = memchr (data, '\n', size);
    gsize length = end ? (gsize) (end - data) : size;

    /* One byte too many says that the line is too long: no more of it is kept. */
    g_string_append_len (
        self->line, data, (gssize) MIN (length, MAX_TEXT_BYTES + 1 - self->line->len));
    if (self->line->len > MAX_TEXT_BYTES)
      warn_left_out (self, self->line->len);
    if (end) {
      end_line (self);
      length++;
    }
    data += length;
    size -= length;
  }
}

/* ------------------------------------------------------------------------- the pad */

/* Whether the buffer is a piece of a stream, and not a text of its own. */
static gboolean
is_piece (LightforcePromptSink *self, GstBuffer *buffer)
{
  return GST_BASE_SINK (self)->segment.format == GST_FORMAT_BYTES
         && !GST_BUFFER_DURATION_IS_VALID (buffer);
}

static void
take_buffer (LightforcePromptSink *self, GstBuffer *buffer)
{
  GstMapInfo map;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    return;
  if (is_piece (self, buffer))
    add_bytes (self, (const char *) map.data, map.size);
  else
    prompt (self, (const char *) map.data, map.size, running_time (self, GST_BUFFER_PTS (buffer)));
  gst_buffer_unmap (buffer, &map);
}

/* In place of the base class's: it would hold the first text until the pipeline plays, and each
 * one until its time, but the source needs them before. */
static GstFlowReturn
lf_prompt_sink_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  take_buffer (LF_PROMPT_SINK (parent), buffer);
  gst_buffer_unref (buffer);
  return GST_FLOW_OK;
}

/* The base class's knows nothing of the function above, and a pad must have one. */
static GstFlowReturn
lf_prompt_sink_chain_list (GstPad *pad, GstObject *parent, GstBufferList *list)
{
  guint i;

  for (i = 0; i < gst_buffer_list_length (list); i++)
    take_buffer (LF_PROMPT_SINK (parent), gst_buffer_list_get (list, i));
  gst_buffer_list_unref (list);
  return GST_FLOW_OK;
}

static gboolean
lf_prompt_sink_event (GstBaseSink *sink, GstEvent *event)
{
  LightforcePromptSink *self = LF_PROMPT_SINK (sink);

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_GAP: /* The base class would wait for its time, too. */
      gst_event_unref (event);
      return TRUE;
    case GST_EVENT_STREAM_START:
    case GST_EVENT_SEGMENT:
    case GST_EVENT_EOS:
      end_line (self);
      break;
    case GST_EVENT_FLUSH_STOP:
      g_string_truncate (self->line, 0);
      break;
    default:
      break;
  }
  return GST_BASE_SINK_CLASS (lf_prompt_sink_parent_class)->event (sink, event);
}

static gboolean
lf_prompt_sink_set_caps (GstBaseSink *sink, GstCaps *caps)
{
  const char *format = gst_structure_get_string (gst_caps_get_structure (caps, 0), "format");

  LF_PROMPT_SINK (sink)->markup = g_strcmp0 (format, "pango-markup") == 0;
  return TRUE;
}

static GstStateChangeReturn
lf_prompt_sink_change_state (GstElement *element, GstStateChange transition)
{
  LightforcePromptSink *self = LF_PROMPT_SINK (element);
  GstStateChangeReturn ret;

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED) {
    self->warned = FALSE;
    g_string_truncate (self->line, 0);
    if (!choose_source (self))
      return GST_STATE_CHANGE_FAILURE;
  }
  ret = GST_ELEMENT_CLASS (lf_prompt_sink_parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    g_weak_ref_set (&self->source, NULL);
  return ret;
}

/* --------------------------------------------------------------------- properties */

static void
lf_prompt_sink_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  LightforcePromptSink *self = LF_PROMPT_SINK (object);

  if (id != PROP_SOURCE) {
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    return;
  }
  GST_OBJECT_LOCK (self);
  g_free (self->source_name);
  self->source_name = g_value_dup_string (value);
  GST_OBJECT_UNLOCK (self);
}

static void
lf_prompt_sink_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  LightforcePromptSink *self = LF_PROMPT_SINK (object);

  if (id != PROP_SOURCE) {
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    return;
  }
  GST_OBJECT_LOCK (self);
  g_value_set_string (value, self->source_name);
  GST_OBJECT_UNLOCK (self);
}

static void
lf_prompt_sink_finalize (GObject *object)
{
  LightforcePromptSink *self = LF_PROMPT_SINK (object);

  g_weak_ref_clear (&self->source);
  g_free (self->source_name);
  g_string_free (self->line, TRUE);
  G_OBJECT_CLASS (lf_prompt_sink_parent_class)->finalize (object);
}

static void
lf_prompt_sink_init (LightforcePromptSink *self)
{
  g_weak_ref_init (&self->source, NULL);
  self->line = g_string_new (NULL);
  gst_base_sink_set_sync (GST_BASE_SINK (self), FALSE);
  gst_base_sink_set_async_enabled (GST_BASE_SINK (self), FALSE);
  gst_pad_set_chain_function (GST_BASE_SINK_PAD (self), lf_prompt_sink_chain);
  gst_pad_set_chain_list_function (GST_BASE_SINK_PAD (self), lf_prompt_sink_chain_list);
  /* The video says when a pipeline ends: text from the network never does, and subtitles may go
   * on for longer. */
  GST_OBJECT_FLAG_UNSET (self, GST_ELEMENT_FLAG_SINK);
}

static void
lf_prompt_sink_class_init (LightforcePromptSinkClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseSinkClass *base_class = GST_BASE_SINK_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (
      lightforcepromptsink_debug, "lightforcepromptsink", 0, "lightforcepromptsink element");
  object_class->set_property = lf_prompt_sink_set_property;
  object_class->get_property = lf_prompt_sink_get_property;
  object_class->finalize = lf_prompt_sink_finalize;
  g_object_class_install_property (object_class, PROP_SOURCE,
      g_param_spec_string ("source", "Source",
          "Name of the lightforcesrc that is prompted (NULL: the only one in the pipeline)", NULL,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_set_static_metadata (element_class, "Prompts from text", "Sink/Text",
      "Lets a stream of text say what lightforcesrc shows", "The lightforce developers");
  element_class->change_state = lf_prompt_sink_change_state;
  base_class->event = lf_prompt_sink_event;
  base_class->set_caps = lf_prompt_sink_set_caps;
}
