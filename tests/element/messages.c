/* lightforce: properties, prompts, errors and what is told of them
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <gst/controller/controller.h>
#include "tests/element/rig.h"

/* ------------------------------------------------------------------------- errors */

static const struct
{
  LfError error;
  const char *load_domain;
  gint load_code;
  const char *run_domain;
  gint run_code;
} errors[] = {
    {LF_ERROR_NOT_FOUND, "gst-resource-error-quark", GST_RESOURCE_ERROR_NOT_FOUND,
        "gst-resource-error-quark", GST_RESOURCE_ERROR_NOT_FOUND},
    {LF_ERROR_INVALID_FILE, "gst-resource-error-quark", GST_RESOURCE_ERROR_OPEN_READ,
        "gst-resource-error-quark", GST_RESOURCE_ERROR_OPEN_READ},
    {LF_ERROR_INVALID_MODEL, "gst-resource-error-quark", GST_RESOURCE_ERROR_OPEN_READ,
        "gst-resource-error-quark", GST_RESOURCE_ERROR_OPEN_READ},
    {LF_ERROR_UNSUPPORTED, "gst-library-error-quark", GST_LIBRARY_ERROR_INIT,
        "gst-stream-error-quark", GST_STREAM_ERROR_FAILED},
    {LF_ERROR_SETTINGS, "gst-library-error-quark", GST_LIBRARY_ERROR_SETTINGS,
        "gst-library-error-quark", GST_LIBRARY_ERROR_SETTINGS},
    {LF_ERROR_NO_MEMORY, "gst-resource-error-quark", GST_RESOURCE_ERROR_NO_SPACE_LEFT,
        "gst-resource-error-quark", GST_RESOURCE_ERROR_NO_SPACE_LEFT},
    {LF_ERROR_BACKEND, "gst-library-error-quark", GST_LIBRARY_ERROR_INIT, "gst-stream-error-quark",
        GST_STREAM_ERROR_FAILED},
};

GST_START_TEST (test_load_error)
{
  Rig *rig = rig_new (__i__ % 2 ? "model=/dev/null is-live=true" : "model=/dev/null", NULL);

  STANDIN_SET (load_error, (gint) errors[__i__ / 2].error);
  rig_expect_error (rig, rig_run (rig), g_quark_from_string (errors[__i__ / 2].load_domain),
      errors[__i__ / 2].load_code, "/dev/null does not load: the test says so");
  fail_unless_equals_int (rig_count (rig), 0);
  /* The next try is a new one. */
  STANDIN_SET (load_error, -1);
  rig_reach_state (rig, GST_STATE_NULL);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 3);
  rig_free (rig);
}
GST_END_TEST;

/* A path to nothing fails at once, in the state change. */
GST_START_TEST (test_missing_file)
{
  static const char *const names[] = {
      "model", "transformer", "text-encoder", "tokenizer", "decoder"};
  g_autofree char *properties = g_strdup_printf ("%s=/no/such/file", names[__i__]);
  g_autofree char *text = g_strdup_printf ("The property %s is \"/no/such/file\"", names[__i__]);
  Rig *rig = rig_new (properties, NULL);

  fail_unless_equals_int (
      gst_element_set_state (rig->pipeline, GST_STATE_PLAYING), GST_STATE_CHANGE_FAILURE);
  rig_expect_error (rig, rig_wait (rig, GST_MESSAGE_ERROR), GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_NOT_FOUND, text);
  rig_set_state (rig, GST_STATE_NULL);
  g_object_set (rig->src, names[__i__], "/dev/null", NULL);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 1);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_open_error)
{
  Rig *rig = rig_new ("", NULL);

  STANDIN_SET (open_error, (gint) errors[__i__].error);
  rig_expect_error (rig, rig_run (rig), g_quark_from_string (errors[__i__].load_domain),
      errors[__i__].load_code, "the stream does not open: the test says so");
  rig_free (rig);
}
GST_END_TEST;

/* What was made before the failure is shown. */
GST_START_TEST (test_chunk_error)
{
  Rig *rig = rig_new ("", NULL);

  STANDIN_SET (chunk_error, (gint) errors[__i__].error);
  STANDIN_SET (fail_chunk, 2);
  rig_expect_error (rig, rig_run (rig), g_quark_from_string (errors[__i__].run_domain),
      errors[__i__].run_code, "chunk 2 fails: the test says so");
  fail_unless_equals_int (rig_count (rig), 21);
  rig_free (rig);
}
GST_END_TEST;

/* The chunk is out when the pass that remembers it fails. */
GST_START_TEST (test_settle_error)
{
  Rig *rig = rig_new ("", NULL);

  STANDIN_SET (fail_settle, 1);
  rig_expect_error (rig, rig_run (rig), GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED,
      "the pass fails: the test says so");
  fail_unless_equals_int (rig_count (rig), 21);
  rig_free (rig);
}
GST_END_TEST;

/* That pass is done while the queue is full, so that a new prompt does not wait for it. */
GST_START_TEST (test_settle_while_full)
{
  Rig *rig = rig_new ("queue-chunks=2", NULL);
  gint64 end = g_get_monotonic_time () + LONG;
  guint chunks = 0, settles = 0;

  rig_reach_state (rig, GST_STATE_PAUSED);
  /* one is shown, two wait, one waits for room */
  while (settles < 4) {
    StandinLog log;

    fail_unless (g_get_monotonic_time () < end, "%u chunks, %u passes", chunks, settles);
    g_usleep (MS);
    standin_get_log (&log);
    chunks = log.chunks;
    settles = log.settles;
    standin_log_clear (&log);
  }
  fail_unless_equals_int (chunks, 4);
  fail_unless_equals_int (settles, 4);
  rig_free (rig);
}
GST_END_TEST;

/* ----------------------------------------------------------------------- progress */

static GstProgressType
next_progress (Rig *rig, gint *percent, char **text)
{
  GstMessage *message = rig_wait (rig, GST_MESSAGE_PROGRESS);
  g_autofree char *code = NULL;
  GstProgressType type;

  gst_message_parse_progress (message, &type, &code, text);
  fail_unless_equals_string (code, "load");
  fail_unless (gst_structure_get_int (gst_message_get_structure (message), "percent", percent));
  gst_message_unref (message);
  return type;
}

GST_START_TEST (test_progress)
{
  Rig *rig = rig_new ("num-buffers=1", NULL);
  GstProgressType type,
      last[] = {GST_PROGRESS_TYPE_COMPLETE, GST_PROGRESS_TYPE_ERROR, GST_PROGRESS_TYPE_CANCELED};
  gint percent, before = -1, messages = 0;
  char *text;

  if (__i__ == 1)
    STANDIN_SET (load_error, LF_ERROR_NOT_FOUND);
  if (__i__ == 2)
    STANDIN_SET (load_ms, 4000);
  rig_set_state (rig, GST_STATE_PAUSED);
  fail_unless_equals_int (next_progress (rig, &percent, &text), GST_PROGRESS_TYPE_START);
  g_free (text);
  if (__i__ == 2) {
    GstBus *bus = gst_bus_new ();

    /* A pipeline in NULL flushes its own. */
    gst_element_set_bus (rig->pipeline, bus);
    g_usleep (20 * MS);
    gst_element_set_state (rig->src, GST_STATE_NULL);
    gst_object_unref (rig->bus);
    rig->bus = bus;
  }
  for (;;) {
    type = next_progress (rig, &percent, &text);
    if (type != GST_PROGRESS_TYPE_CONTINUE)
      break;
    fail_unless (percent > before && percent <= 100);
    fail_unless (strstr (text, "transformer") != NULL);
    g_free (text);
    before = percent;
    messages++;
  }
  g_free (text);
  fail_unless_equals_int (type, last[__i__]);
  if (__i__ == 0)
    fail_unless_equals_int (messages, 19); /* every 5 %, the start is 0 % */
  if (__i__ == 0)
    fail_unless_equals_int (percent, 100);
  rig_free (rig);
}
GST_END_TEST;

/* ------------------------------------------------------------------------ prompts */

/* Set from the thread of the test while another one streams: it changes at the next chunk that
 * is made, and the message names the frame. */
GST_START_TEST (test_prompt_change)
{
  Rig *rig =
      rig_new_held ("prompt=one queue-chunks=1 num-buffers=57", "video/x-raw,format=RGBx", 1);
  guint64 at;

  fail_unless_equals_uint64 (rig_expect_prompt (rig, "one", 0), 0);
  g_object_set (rig->src, "prompt", "two", NULL);
  STANDIN_SET (hold_chunk, -1);
  at = rig_expect_prompt (rig, "two", 1);
  fail_unless_equals_uint64 (at, 21); /* chunk 1 was begun with the old one */
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  fail_unless_equals_int (rig_count (rig), 57);
  rig_check_frames (rig, 0, (guint) at, "one");
  rig_check_frames (rig, (guint) at, 57, "two");
  rig_free (rig);
}
GST_END_TEST;

/* -------------------------------------------------------------------------- meta */

/* Each frame says where it comes from, behind a conversion, too. */
GST_START_TEST (test_meta)
{
  Rig *rig = rig_new_full (
      "num-buffers=30 seed=7", NULL, "videoconvert ! video/x-raw,format=NV12 ! fakesink name=sink");
  guint i, in_chunk, serial;
  guint64 chunk, seed;
  gdouble sparsity;

  rig_run_to_eos (rig);
  for (i = 0; i < 30; i++) {
    GstCustomMeta *meta = gst_buffer_get_custom_meta (rig_frame (rig, i), "LightforceMeta");

    fail_unless (meta != NULL);
    fail_unless (gst_structure_get (gst_custom_meta_get_structure (meta), "chunk", G_TYPE_UINT64,
        &chunk, "frame-in-chunk", G_TYPE_UINT, &in_chunk, "seed", G_TYPE_UINT64, &seed,
        "prompt-serial", G_TYPE_UINT, &serial, "sparsity", G_TYPE_DOUBLE, &sparsity, NULL));
    fail_unless_equals_uint64 (chunk, i < 9 ? 0 : 1 + (i - 9) / 12);
    fail_unless_equals_int (in_chunk, i < 9 ? i : (i - 9) % 12);
    fail_unless_equals_uint64 (seed, 7);
    fail_unless_equals_int (serial, 0);
    fail_unless (sparsity >= 0 && sparsity < 1);
  }
  rig_free (rig);
}
GST_END_TEST;

/* Whatever the threads do, each chunk has one prompt, and the messages tell which. */
GST_START_TEST (test_prompts_from_another_thread)
{
  Rig *rig = rig_new ("num-buffers=600", "video/x-raw,format=RGBx");
  char *prompts[64];
  gboolean done = FALSE;
  guint64 from[64], i;
  guint serial, offset = 0, count = 0;

  STANDIN_SET (chunk_ms, 3);
  rig_begin_prompts (rig);
  rig_set_state (rig, GST_STATE_PLAYING);
  while (!done) {
    GstMessage *message = rig_wait (rig, GST_MESSAGE_ELEMENT | GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    const GstStructure *s = gst_message_get_structure (message);

    fail_if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR);
    done = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
    if (!done && gst_message_has_name (message, "lightforce-prompt")) {
      fail_unless (count < 64);
      fail_unless (gst_structure_get_uint64 (s, "offset", &from[count]));
      fail_unless (gst_structure_get_uint (s, "serial", &serial));
      /* the prompt may change between opening the stream and its first chunk */
      if (count == 0)
        offset = serial;
      fail_unless (offset <= 1);
      fail_unless_equals_int (serial, offset + count);
      prompts[count++] = g_strdup (gst_structure_get_string (s, "prompt"));
    }
    gst_message_unref (message);
  }
  rig_end_prompts (rig);
  fail_unless (count > 10);
  for (i = 0, serial = 0; i < 600; i++) {
    while (serial + 1 < count && from[serial + 1] <= i)
      serial++;
    fail_unless_equals_int ((gint) rig_first_pixel (rig_frame (rig, (guint) i)),
        (gint) standin_pixel (0, prompts[serial], i, 0, 0));
  }
  for (i = 0; i < count; i++)
    g_free (prompts[i]);
  rig_free (rig);
}
GST_END_TEST;

/* A prompt or a sparsity that is refused leaves the video as it is, with one warning. */
GST_START_TEST (test_refused_changes)
{
  Rig *rig = rig_new_held ("num-buffers=57 queue-chunks=1", NULL, 1);
  GstMessage *message;
  g_autoptr (GError) error = NULL;

  STANDIN_SET (fail_prompt, TRUE);
  if (__i__)
    g_object_set (rig->src, "keep-frames", 2, "keep-sink", 2, "keep-near", 2, NULL);
  else
    g_object_set (rig->src, "prompt", "refused", NULL);
  STANDIN_SET (hold_chunk, -1);
  message = rig_wait (rig, GST_MESSAGE_WARNING | GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless_equals_string (GST_MESSAGE_TYPE_NAME (message), "warning");
  gst_message_parse_warning (message, &error, NULL);
  fail_unless (strstr (error->message, __i__ ? "exceed keep-frames" : "no prompt \"refused\""));
  gst_message_unref (message);
  message = rig_wait (rig, GST_MESSAGE_WARNING | GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless_equals_string (GST_MESSAGE_TYPE_NAME (message), "eos");
  gst_message_unref (message);
  fail_unless_equals_int (rig_count (rig), 57);
  rig_free (rig);
}
GST_END_TEST;

/* --------------------------------------------------------------------- properties */

GST_START_TEST (test_defaults)
{
  GstElement *src = gst_element_factory_make ("lightforcesrc", NULL);
  guint n, i;
  GParamSpec **specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (src), &n);

  for (i = 0; i < n; i++) {
    g_auto (GValue) value = G_VALUE_INIT;

    if (specs[i]->owner_type != G_OBJECT_TYPE (src) || !(specs[i]->flags & G_PARAM_WRITABLE))
      continue;
    fail_unless (strlen (g_param_spec_get_blurb (specs[i])) > 15);
    fail_unless (specs[i]->flags & (GST_PARAM_MUTABLE_READY | GST_PARAM_MUTABLE_PLAYING));
    g_value_init (&value, specs[i]->value_type);
    g_object_get_property (G_OBJECT (src), specs[i]->name, &value);
    fail_unless (g_param_value_defaults (specs[i], &value), "%s", specs[i]->name);
    fail_if (g_param_value_validate (specs[i], &value), "%s", specs[i]->name);
    g_object_set_property (G_OBJECT (src), specs[i]->name, &value);
  }
  g_free (specs);
  gst_object_unref (src);
}
GST_END_TEST;

/* Every property keeps what it is given, at both ends of its range. */
GST_START_TEST (test_set_and_get)
{
  static const struct
  {
    const char *name, *values[3];
  } cases[] = {
      {"model", {"/a/model", "b"}},
      {"transformer", {"/a", "b"}},
      {"text-encoder", {"/a", "b"}},
      {"tokenizer", {"/a", "b"}},
      {"decoder", {"/a", "b"}},
      {"prompt", {"a cat", "été"}},
      {"seed", {"0", "18446744073709551615"}},
      {"width", {"0", "8192"}},
      {"height", {"0", "8192"}},
      {"framerate", {"0/1", "1000/1", "30000/1001"}},
      {"queue-chunks", {"1", "16"}},
      {"prebuffer", {"-1", "16"}},
      {"late-policy", {"repeat", "resync", "drop"}},
      {"threads", {"0", "1024"}},
      {"backend", {"auto", "cpu", "cuda"}},
      {"precision", {"fp32", "bf16", "fp8"}},
      {"text-encoder-residency", {"keep", "release", "cpu"}},
      {"kv-cache", {"auto", "fp8"}},
      {"attention", {"auto", "sparse", "dense"}},
      {"mode", {"auto", "short", "long"}},
      {"prompt-switch", {"cut", "recache", "blend"}},
      {"blend-chunks", {"1", "256"}},
      {"sparsity", {"-1", "1", "0.5"}},
      {"sparsity-base", {"-1", "1", "0.5"}},
      {"keep-frames", {"-1", "2147483647"}},
      {"keep-sink", {"-1", "2147483647"}},
      {"keep-near", {"-1", "2147483647"}},
      {"probe-layer", {"-1", "2147483647"}},
      {"probe-head", {"0", "2147483647"}},
      {"window", {"-2", "2147483647"}},
      {"sink", {"-2", "2147483647"}},
      {"prompt-file", {"/a", "b"}},
      {"start-image", {"/a.png", "file:///b"}},
      {"flush-on-prompt", {"true", "false"}},
      {"prompt-in-tags", {"true", "false"}},
      {"is-live", {"true", "false"}},
  };
  GstElement *src = gst_element_factory_make ("lightforcesrc", NULL);
  guint i, j, n, own = 0;
  GParamSpec **specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (src), &n);

  for (i = 0; i < n; i++)
    own += specs[i]->owner_type == G_OBJECT_TYPE (src) && specs[i]->flags & G_PARAM_WRITABLE;
  fail_unless_equals_int (own, G_N_ELEMENTS (cases));
  for (i = 0; i < G_N_ELEMENTS (cases); i++)
    for (j = 0; j < 3 && cases[i].values[j]; j++) {
      GParamSpec *spec = g_object_class_find_property (G_OBJECT_GET_CLASS (src), cases[i].name);
      g_auto (GValue) want = G_VALUE_INIT, have = G_VALUE_INIT;

      g_value_init (&want, spec->value_type);
      fail_unless (gst_value_deserialize (&want, cases[i].values[j]), "%s", cases[i].name);
      g_object_set_property (G_OBJECT (src), cases[i].name, &want);
      g_value_init (&have, spec->value_type);
      g_object_get_property (G_OBJECT (src), cases[i].name, &have);
      fail_unless (gst_value_compare (&want, &have) == GST_VALUE_EQUAL, "%s=%s", cases[i].name,
          cases[i].values[j]);
    }
  g_free (specs);
  gst_object_unref (src);
}
GST_END_TEST;

/* What reaches the generator. */
GST_START_TEST (test_settings_arrive)
{
  Rig *rig = rig_new (
      "num-buffers=1 model=/dev/null backend=cpu decoder=/dev/zero seed=99 threads=3 mode=long "
      "precision=fp8 text-encoder-residency=release kv-cache=fp8 "
      "window=12 sink=1 sparsity=0.85 sparsity-base=0.95 keep-frames=3 "
      "keep-sink=1 keep-near=1 prompt-switch=recache blend-chunks=7",
      NULL);
  Rig *plain = rig_new ("num-buffers=1", NULL);
  Rig *dense = rig_new ("num-buffers=1 attention=dense sparsity=0.9", NULL);
  StandinLog log;

  rig_run_to_eos (rig);
  standin_get_log (&log);
  fail_unless_equals_string (log.model, "/dev/null");
  fail_unless_equals_string (log.backend, "cpu");
  fail_unless_equals_string (log.decoder, "/dev/zero");
  fail_unless_equals_int (log.precision, LF_PRECISION_FP8);
  fail_unless_equals_int (log.text_residency, LF_TEXT_RESIDENCY_RELEASE);
  fail_unless (log.config.cache_fp8);
  fail_unless_equals_uint64 (log.config.seed, 99);
  fail_unless_equals_int (log.config.threads, 3);
  fail_unless_equals_int (log.config.relative, 1);
  fail_unless_equals_int (log.config.window, 12);
  fail_unless_equals_int (log.config.sink, 1);
  fail_unless_equals_int (log.config.blend_chunks, 7);
  fail_unless_equals_int (log.config.prompt_switch, LF_PROMPT_SWITCH_RECACHE);
  fail_unless (log.sparse.enabled && log.sparse.target == 0.85 && log.sparse.base == 0.95);
  fail_unless (log.sparse.keep_frames == 3 && log.sparse.keep_sink == 1);
  fail_unless_equals_int (log.sparse.keep_near, 1);
  standin_log_clear (&log);
  rig_set_state (rig, GST_STATE_NULL);

  rig_run_to_eos (plain);
  standin_get_log (&log);
  fail_unless (log.model == NULL && log.decoder == NULL);
  fail_unless_equals_string (log.backend, "auto");
  fail_unless_equals_int (log.precision, LF_PRECISION_AUTO);
  fail_unless_equals_int (log.text_residency, LF_TEXT_RESIDENCY_KEEP);
  fail_if (log.config.cache_fp8);
  fail_unless_equals_int (log.config.relative, -1);
  fail_unless_equals_int (log.config.window, -2);
  fail_if (log.sparse.enabled);
  fail_unless (log.sparse.target == 0.5 && log.sparse.base == 0.75);
  standin_log_clear (&log);
  rig_set_state (plain, GST_STATE_NULL);

  rig_run_to_eos (dense);
  standin_get_log (&log);
  fail_if (log.sparse.enabled);
  standin_log_clear (&log);
  rig_set_state (dense, GST_STATE_NULL);
  rig_free (rig);
  rig_free (plain);
  rig_free (dense);
}
GST_END_TEST;

/* Each chunk is told of once, with its first frame; and what a probe finds. */
GST_START_TEST (test_chunk_messages)
{
  Rig *rig = rig_new ("num-buffers=33 attention=sparse probe-layer=1 probe-head=1", NULL);
  g_autofree char *warning = NULL;
  guint64 chunk, offset, pts;
  guint i;

  rig_set_state (rig, GST_STATE_PLAYING);
  for (i = 0; i < 3; i++) {
    GstMessage *message = rig_wait_element (rig, "lightforce-chunk");
    const GstStructure *s = gst_message_get_structure (message);
    g_autofree char *frames = NULL, *shares = NULL;
    gint layer = -1, head = -1, past = -1;
    double sparsity;
    gint64 us;

    fail_unless (gst_structure_get (s, "chunk", G_TYPE_UINT64, &chunk, "offset", G_TYPE_UINT64,
        &offset, "pts", G_TYPE_UINT64, &pts, "sparsity", G_TYPE_DOUBLE, &sparsity, "generate-us",
        G_TYPE_INT64, &us, "made-us", G_TYPE_INT64, &us, "layer", G_TYPE_INT, &layer, "head",
        G_TYPE_INT, &head, "past", G_TYPE_INT, &past, NULL));
    fail_unless_equals_uint64 (chunk, i);
    fail_unless_equals_uint64 (offset, i ? 9 + 12 * (i - 1) : 0);
    fail_unless_equals_uint64 (pts, gst_util_uint64_scale (offset, GST_SECOND, 16));
    fail_unless (sparsity == 0.5 && layer == 1 && head == 1 && past == 2);
    frames = gst_value_serialize (gst_structure_get_value (s, "frames"));
    fail_unless_equals_string (frames, "< (gint64)0, (gint64)7, (gint64)8 >");
    shares = gst_value_serialize (gst_structure_get_value (s, "shares"));
    fail_unless_equals_string (shares, "< (double)0.25, (double)0, (double)1 >");
    gst_message_unref (message);
  }
  rig_wait_end (rig);
  /* one that is not there is told of, and the video goes on */
  g_object_set (rig->src, "probe-layer", 2, NULL);
  rig_set_state (rig, GST_STATE_NULL);
  rig_set_state (rig, GST_STATE_PLAYING);
  warning = rig_next_warning (rig);
  fail_unless_equals_string (warning, "there is no layer 2, head 1");
  rig_wait_end (rig);
  rig_free (rig);
}
GST_END_TEST;

static double
sparse_member (const LfSparse *sparse, const char *property)
{
  if (g_str_equal (property, "sparsity"))
    return sparse->target;
  if (g_str_equal (property, "sparsity-base"))
    return sparse->base;
  if (g_str_equal (property, "keep-frames"))
    return sparse->keep_frames;
  return g_str_equal (property, "keep-sink") ? sparse->keep_sink : sparse->keep_near;
}

/* A controlled property has the value of the first frame of each chunk: here, of frame 21, with which
 * chunk 2 begins. */
GST_START_TEST (test_controlled_attention)
{
  static const struct
  {
    const char *property;
    double begin, end; /* at 0 and 100 s */
    double value;
  } cases[] = {
      {"sparsity", 0, 1, 21 / 16.0 / 100},
      {"sparsity-base", 0.5, 1, 0.5 + 21 / 16.0 / 200},
      {"keep-frames", 3, 403, 8},
      {"keep-sink", 0, 160, 2},
      {"keep-near", 0, 230, 3},
  };
  Rig *rig = rig_new ("num-buffers=33 queue-chunks=1 attention=sparse keep-frames=100", NULL);
  GstControlSource *source = gst_interpolation_control_source_new ();
  const char *property = cases[__i__].property;
  double value;
  StandinLog log;

  g_object_set (source, "mode", GST_INTERPOLATION_MODE_LINEAR, NULL);
  gst_timed_value_control_source_set (
      GST_TIMED_VALUE_CONTROL_SOURCE (source), 0, cases[__i__].begin);
  gst_timed_value_control_source_set (
      GST_TIMED_VALUE_CONTROL_SOURCE (source), 100 * GST_SECOND, cases[__i__].end);
  fail_unless (gst_object_add_control_binding (GST_OBJECT (rig->src),
      gst_direct_control_binding_new_absolute (GST_OBJECT (rig->src), property, source)));
  gst_object_unref (source);
  STANDIN_SET (hold_chunk, 2);
  rig_set_state (rig, GST_STATE_PLAYING);
  rig_wait_frames (rig, 21);
  rig_wait_chunks (3);
  standin_get_log (&log);
  value = sparse_member (&log.sparse, property);
  fail_unless (ABS (value - cases[__i__].value) < 1e-6, "%s is %f", property, value);
  standin_log_clear (&log);
  STANDIN_SET (hold_chunk, -1);
  gst_message_unref (rig_wait (rig, GST_MESSAGE_EOS));
  rig_expect_no_warning (rig);
  rig_free (rig);
}
GST_END_TEST;

GST_START_TEST (test_stats)
{
  Rig *rig = rig_new ("num-buffers=21 sparsity=0.5", NULL);
  GstStructure *stats = NULL;
  guint64 chunks, pictures, frames;
  gint64 generate;
  gdouble sparsity;

  STANDIN_SET (chunk_ms, 2);
  rig_run_to_eos (rig);
  rig_reach_state (rig, GST_STATE_READY);
  g_object_get (rig->src, "stats", &stats, NULL);
  fail_unless (gst_structure_get (stats, "chunks", G_TYPE_UINT64, &chunks, "pictures",
      G_TYPE_UINT64, &pictures, "frames", G_TYPE_UINT64, &frames, "sparsity", G_TYPE_DOUBLE,
      &sparsity, "generate-us", G_TYPE_INT64, &generate, NULL));
  fail_unless_equals_uint64 (frames, 21);
  fail_unless (chunks >= 2);
  fail_unless_equals_uint64 (pictures, 9 + (chunks - 1) * 12);
  fail_unless (generate >= (gint64) chunks * 2000);
  fail_unless_equals_float (sparsity, 0.5);
  gst_structure_free (stats);
  rig_free (rig);
}
GST_END_TEST;

static void
add (Suite *suite)
{
  TCase *tc = rig_case (suite, "messages");

  tcase_add_loop_test (tc, test_load_error, 0, 2 * G_N_ELEMENTS (errors));
  tcase_add_loop_test (tc, test_missing_file, 0, 5);
  tcase_add_loop_test (tc, test_open_error, 0, G_N_ELEMENTS (errors));
  tcase_add_loop_test (tc, test_chunk_error, 0, G_N_ELEMENTS (errors));
  tcase_add_test (tc, test_settle_error);
  tcase_add_test (tc, test_settle_while_full);
  tcase_add_loop_test (tc, test_progress, 0, 3);
  tcase_add_test (tc, test_prompt_change);
  tcase_add_test (tc, test_prompts_from_another_thread);
  tcase_add_loop_test (tc, test_refused_changes, 0, 2);
  tcase_add_test (tc, test_defaults);
  tcase_add_test (tc, test_set_and_get);
  tcase_add_test (tc, test_settings_arrive);
  tcase_add_loop_test (tc, test_controlled_attention, 0, 5);
  tcase_add_test (tc, test_chunk_messages);
  tcase_add_test (tc, test_stats);
  tcase_add_test (tc, test_meta);
}

int
main (int argc, char **argv)
{
  return rig_main (argc, argv, "messages", add);
}
