/* lightforce: what is told of prompts downstream: tags, events, and the meta of frames
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/element/script.h"

#define RGBX "video/x-raw,format=RGBx"

/* --------------------------------------------------------------------------- tags */

typedef struct
{
  GPtrArray *tags; /* GstTagList */
  guint64 at[8];   /* the frame that each came before */
} Seen;

static GstPadProbeReturn
see_tags (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  Seen *seen = user_data;
  GstTagList *tags;

  if (GST_PAD_PROBE_INFO_TYPE (info) & GST_PAD_PROBE_TYPE_BUFFER) {
    guint i;

    for (i = 0; i < seen->tags->len; i++)
      if (seen->at[i] == G_MAXUINT64)
        seen->at[i] = GST_BUFFER_OFFSET (GST_PAD_PROBE_INFO_BUFFER (info));
  } else if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_TAG) {
    gst_event_parse_tag (GST_PAD_PROBE_INFO_EVENT (info), &tags);
    fail_unless (seen->tags->len < 8);
    seen->at[seen->tags->len] = G_MAXUINT64;
    g_ptr_array_add (seen->tags, gst_tag_list_ref (tags));
  }
  return GST_PAD_PROBE_OK;
}

static void
expect_tag (GstTagList *tags, const char *tag, const char *want)
{
  g_autofree char *have = NULL;

  gst_tag_list_get_string (tags, tag, &have);
  fail_unless (g_strcmp0 (have, want) == 0, "%s is \"%s\", not \"%s\"", tag, have, want);
}

#define SHA_ONE "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
#define SHA_TWO "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"

/* Right before the frame, with those that are to follow; the prompt itself only where it is asked
 * for. */
GST_START_TEST (test_tags)
{
  const char *begin = "lightforce-version=0.0.0; lightforce-model=standin; "
                      "lightforce-seed=18446744073709551615; lightforce-prompt-sha256=" SHA_ONE
                      "; lightforce-later-prompt-sha256=" SHA_TWO;
  Seen seen = {g_ptr_array_new_with_free_func ((GDestroyNotify) gst_tag_list_unref), {0}};
  Rig *rig;
  g_autoptr (GstPad) pad = NULL;
  g_autofree char *properties = NULL;

  /* the last one when the video has ended */
  script_write ("00:00 one\n00:01.5 two\n00:02.2 one\n00:03.125 three\n");
  properties = g_strdup_printf ("prompt-file=%s num-buffers=50 seed=18446744073709551615%s",
      script_path, __i__ ? " prompt-in-tags=true" : "");
  rig = rig_new (properties, RGBX);
  pad = gst_element_get_static_pad (rig->sink, "sink");
  gst_pad_add_probe (
      pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, see_tags, &seen, NULL);
  rig_run_to_eos (rig);
  fail_unless_equals_int (seen.tags->len, 3);
  fail_unless_equals_uint64 (seen.at[0], 0);
  fail_unless_equals_uint64 (seen.at[1], 33);
  fail_unless_equals_uint64 (seen.at[2], 45);
  expect_tag (seen.tags->pdata[0], GST_TAG_COMMENT, begin);
  expect_tag (seen.tags->pdata[0], GST_TAG_APPLICATION_NAME, "lightforce 0.0.0");
  expect_tag (seen.tags->pdata[0], GST_TAG_ENCODER, "lightforce 0.0.0");
  expect_tag (seen.tags->pdata[0], GST_TAG_TITLE, __i__ ? "one" : NULL);
  expect_tag (seen.tags->pdata[0], GST_TAG_DESCRIPTION, __i__ ? "one" : NULL);
  fail_unless_equals_int (
      (gint) gst_tag_list_get_tag_size (seen.tags->pdata[0], GST_TAG_EXTENDED_COMMENT), 5);
  expect_tag (seen.tags->pdata[1], GST_TAG_TITLE, __i__ ? "two" : NULL);
  fail_unless_equals_int (
      (gint) gst_tag_list_get_tag_size (seen.tags->pdata[2], GST_TAG_EXTENDED_COMMENT), 5);
  fail_unless (gst_tag_list_get_scope (seen.tags->pdata[2]) == GST_TAG_SCOPE_STREAM);
  rig_free (rig);
  g_ptr_array_unref (seen.tags);
}
GST_END_TEST;

/* Of the tags that came last. */
static char *
latest_comment (Rig *rig)
{
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");
  GstEvent *event = gst_pad_get_sticky_event (pad, GST_EVENT_TAG, 0);
  GstTagList *tags;
  char *comment = NULL;

  fail_unless (event != NULL);
  gst_event_parse_tag (event, &tags);
  gst_tag_list_get_string (tags, GST_TAG_COMMENT, &comment);
  gst_event_unref (event);
  return comment;
}

static guint
count_in (const char *text, const char *part)
{
  guint count = 0;

  for (; (text = strstr (text, part)); text++)
    count++;
  return count;
}

/* Events tell before of what is to follow, too. */
GST_START_TEST (test_tags_of_events)
{
  Rig *rig = rig_new ("prompt=one num-buffers=20", RGBX);
  g_autofree char *comment = NULL;

  fail_unless (
      gst_element_send_event (rig->src, script_event (", prompt=two, time=(guint64)1000000000")));
  rig_run_to_eos (rig);
  comment = latest_comment (rig);
  fail_unless (g_str_has_suffix (comment, "; lightforce-prompt-sha256=" SHA_ONE
                                          "; lightforce-later-prompt-sha256=" SHA_TWO),
      "%s", comment);
  rig_free (rig);
}
GST_END_TEST;

/* Each seed that the video had, once. */
GST_START_TEST (test_seeds_in_tags)
{
  static const guint64 seeds[] = {2, 1};
  Rig *rig = rig_new_held ("seed=1 prompt=one queue-chunks=1 num-buffers=27", RGBX, 1);
  g_autofree char *comment = NULL;
  guint i;

  for (i = 0; i < G_N_ELEMENTS (seeds); i++) {
    g_object_set (rig->src, "seed", seeds[i], NULL);
    g_signal_emit_by_name (rig->src, "restart");
    rig_wait_frames (rig, 18 + 9 * i);
  }
  rig_wait_end (rig);
  comment = latest_comment (rig);
  fail_unless (
      strstr (comment, "; lightforce-seed=1; lightforce-seed=2; lightforce-prompt-sha256=") != NULL,
      "%s", comment);
  rig_free (rig);
}
GST_END_TEST;

typedef struct
{
  guint64 at; /* the frame that it came before */
  guint64 offset, pts;
  guint serial;
  gboolean tagged; /* tags came before it, and behind the frame before */
  char *hash, *prompt;
} Told;

/* The events that told of prompts. */
typedef struct
{
  Told told[8];
  guint count;
  gboolean tagged;
} Tale;

static void
take_prompt_event (Tale *tale, const GstStructure *s)
{
  Told *told = &tale->told[tale->count++];

  fail_unless (tale->count < 8);
  fail_unless (gst_structure_get (s, "serial", G_TYPE_UINT, &told->serial, "offset", G_TYPE_UINT64,
      &told->offset, "pts", G_TYPE_UINT64, &told->pts, "prompt-sha256", G_TYPE_STRING, &told->hash,
      NULL));
  told->prompt = g_strdup (gst_structure_get_string (s, "prompt"));
  told->at = G_MAXUINT64;
  told->tagged = tale->tagged;
}

static GstPadProbeReturn
take_tale (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  Tale *tale = user_data;
  Told *latest = tale->count > 0 ? &tale->told[tale->count - 1] : NULL;
  GstEvent *event;

  if (GST_PAD_PROBE_INFO_TYPE (info) & GST_PAD_PROBE_TYPE_BUFFER) {
    if (latest && latest->at == G_MAXUINT64)
      latest->at = GST_BUFFER_OFFSET (GST_PAD_PROBE_INFO_BUFFER (info));
    tale->tagged = FALSE;
    return GST_PAD_PROBE_OK;
  }
  event = GST_PAD_PROBE_INFO_EVENT (info);
  tale->tagged |= GST_EVENT_TYPE (event) == GST_EVENT_TAG;
  if (GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM
      && gst_event_has_name (event, "lightforce-prompt"))
    take_prompt_event (tale, gst_event_get_structure (event));
  return GST_PAD_PROBE_OK;
}

static void
hear_tale (Rig *rig, Tale *tale)
{
  g_autoptr (GstPad) pad = gst_element_get_static_pad (rig->sink, "sink");

  gst_pad_add_probe (
      pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, take_tale, tale, NULL);
}

/* The event `index` and tags came right before this frame. */
static void
check_told (Tale *tale, guint index, guint64 frame, guint serial, const char *prompt)
{
  const Told *told = &tale->told[index];
  g_autofree char *hash = g_compute_checksum_for_string (G_CHECKSUM_SHA256, prompt, -1);

  fail_unless (index < tale->count, "event %u does not come", index);
  fail_unless_equals_uint64 (told->at, frame);
  fail_unless_equals_uint64 (told->offset, frame);
  fail_unless_equals_uint64 (told->pts, frame * (GST_SECOND / 16));
  fail_unless_equals_int (told->serial, serial);
  fail_unless_equals_string (told->hash, hash);
  fail_unless (told->tagged);
}

static void
end_tale (Tale *tale)
{
  guint i;

  for (i = 0; i < tale->count; i++) {
    g_free (tale->told[i].hash);
    g_free (tale->told[i].prompt);
  }
}

/* Downstream hears of each prompt between the frames, and where it begins again after a seek. */
GST_START_TEST (test_downstream_event)
{
  Rig *rig;
  Tale tale = {0};

  script_write ("00:00 one\n00:01.5 two\n");
  rig = script_rig (__i__ ? "num-buffers=50 prompt-in-tags=true" : "num-buffers=50");
  hear_tale (rig, &tale);
  rig_run_to_eos (rig);
  check_told (&tale, 0, 0, 0, "one");
  check_told (&tale, 1, 33, 1, "two");
  fail_unless_equals_string (tale.told[0].prompt, __i__ ? "one" : NULL);
  fail_unless_equals_string (tale.told[1].prompt, __i__ ? "two" : NULL);
  fail_unless (gst_element_seek_simple (
      rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 30 * (GST_SECOND / 16)));
  rig_wait_end (rig);
  check_told (&tale, 2, 30, 2, "one");
  check_told (&tale, 3, 33, 3, "two");
  fail_unless_equals_int (tale.count, 4);
  rig_free (rig);
  end_tale (&tale);
}
GST_END_TEST;

/* A flush, and a seek that goes on: the prompt is the same, and is told of again. */
GST_START_TEST (test_event_after_flush)
{
  Rig *rig = rig_new_held ("prompt=one num-buffers=40", RGBX, 1);
  Tale tale = {0};

  rig_settle (rig, GST_STATE_PLAYING);
  hear_tale (rig, &tale);
  if (__i__ == 0)
    rig_flush (rig, NULL, NULL);
  else
    fail_unless (gst_element_seek_simple (
        rig->pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 25 * (GST_SECOND / 16)));
  rig_finish (rig);
  check_told (&tale, 0, __i__ == 0 ? 9 : 25, 0, "one");
  fail_unless_equals_int (tale.count, 1);
  rig_free (rig);
  end_tale (&tale);
}
GST_END_TEST;

static gpointer
flush_source (gpointer data)
{
  Rig *rig = data;

  fail_unless (gst_element_send_event (rig->src, gst_event_new_flush_start ()));
  fail_unless (gst_element_send_event (rig->src, gst_event_new_flush_stop (TRUE)));
  return NULL;
}

typedef struct
{
  Rig *rig;
  GThread *flusher;
} Loser;

/* In the thread that makes frames: when it goes on to tell downstream, all of that is lost. */
static GstBusSyncReply
flush_at_two (GstBus *bus, GstMessage *message, gpointer user_data)
{
  Loser *loser = user_data;
  const GstStructure *s = gst_message_get_structure (message);
  g_autoptr (GstPad) pad = NULL;

  /* such messages come from one thread only */
  if (gst_message_has_name (message, "lightforce-prompt")
      && g_str_equal (gst_structure_get_string (s, "prompt"), "two") && loser->flusher == NULL) {
    pad = gst_element_get_static_pad (loser->rig->src, "src");
    loser->flusher = g_thread_new ("flush", flush_source, loser->rig);
    while (!GST_PAD_IS_FLUSHING (pad))
      g_usleep (100);
  }
  return GST_BUS_PASS;
}

/* The first frame of a prompt is lost in a flush, and with it what told of the prompt. */
GST_START_TEST (test_prompt_lost_in_flush)
{
  Loser loser = {0};
  Tale tale = {0};
  g_autofree char *comment = NULL;
  StandinLog log;

  script_write ("00:00 one\n00:01.5 two\n");
  loser.rig = script_rig ("num-buffers=50");
  hear_tale (loser.rig, &tale);
  STANDIN_SET (hold_chunk, 1);
  rig_set_state (loser.rig, GST_STATE_PLAYING);
  rig_settle (loser.rig, GST_STATE_PLAYING);
  gst_bus_set_sync_handler (loser.rig->bus, flush_at_two, &loser, NULL);
  rig_finish (loser.rig);
  g_thread_join (loser.flusher);
  check_told (&tale, 1, 34, 1, "two");
  fail_unless_equals_int (tale.count, 2);
  comment = latest_comment (loser.rig);
  fail_unless (g_str_has_suffix (comment, "; lightforce-prompt-sha256=" SHA_TWO), "%s", comment);
  standin_get_log (&log);
  fail_unless_equals_int (log.restarts, 0);
  standin_log_clear (&log);
  gst_bus_set_sync_handler (loser.rig->bus, NULL, NULL, NULL);
  rig_free (loser.rig);
  end_tale (&tale);
}
GST_END_TEST;

/* However many prompts there were and are to follow, tags stay small. */
GST_START_TEST (test_many_prompts)
{
  GString *text = g_string_new (NULL);
  g_autofree char *begin = NULL, *end = NULL;
  Rig *rig;
  guint i;

  for (i = 0; i < 80; i++)
    g_string_append_printf (text, "%02u:%02u prompt %u\n", i / 60, i % 60, i);
  script_write (text->str);
  g_string_free (text, TRUE);
  rig = script_rig ("num-buffers=1290");
  rig_reach_state (rig, GST_STATE_PAUSED);
  begin = latest_comment (rig);
  fail_unless_equals_int (count_in (begin, "lightforce-prompt-sha256="), 1);
  fail_unless_equals_int (count_in (begin, "lightforce-later-prompt-sha256="), 64);
  rig_run_to_eos (rig);
  end = latest_comment (rig);
  fail_unless_equals_int (count_in (end, "lightforce-prompt-sha256="), 64);
  fail_unless_equals_int (count_in (end, "lightforce-later-prompt-sha256="), 0);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_meta)
{
  Rig *rig;
  guint i;

  script_write ("00:00 one\n00:01 two\n");
  rig = script_rig ("num-buffers=30");
  rig_run_to_eos (rig);
  for (i = 0; i < 30; i++) {
    GstCustomMeta *meta = gst_buffer_get_custom_meta (rig_frame (rig, i), "LightforceMeta");
    const GstStructure *s = gst_custom_meta_get_structure (meta);

    fail_unless_equals_string (gst_structure_get_string (s, "model"), "standin");
    fail_unless_equals_string (
        gst_structure_get_string (s, "prompt-sha256"), i < 21 ? SHA_ONE : SHA_TWO);
    fail_unless_equals_uint64 (rig_meta_value (rig_frame (rig, i), "prompt-serial"), i >= 21);
  }
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "tags");

  tcase_add_checked_fixture (tc, script_setup, script_teardown);
  tcase_add_loop_test (tc, test_tags, 0, 2);
  tcase_add_test (tc, test_tags_of_events);
  tcase_add_test (tc, test_seeds_in_tags);
  tcase_add_test (tc, test_many_prompts);
  tcase_add_loop_test (tc, test_downstream_event, 0, 2);
  tcase_add_loop_test (tc, test_event_after_flush, 0, 2);
  tcase_add_test (tc, test_prompt_lost_in_flush);
  tcase_add_test (tc, test_meta);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "tags", add);
}
