/* lightforce: what can be set on the element
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/settings.h"

#include "gst/i18n.h"
#include "gst/startimage.h"

enum
{
  PROP_0,
  PROP_MODEL,
  PROP_TRANSFORMER,
  PROP_TEXT_ENCODER,
  PROP_TOKENIZER,
  PROP_DECODER,
  PROP_PROMPT,
  PROP_SEED,
  PROP_WIDTH,
  PROP_HEIGHT,
  PROP_FRAMERATE,
  PROP_QUEUE_CHUNKS,
  PROP_PREBUFFER,
  PROP_LATE_POLICY,
  PROP_THREADS,
  PROP_BACKEND,
  PROP_PRECISION,
  PROP_TEXT_RESIDENCY,
  PROP_KV_CACHE,
  PROP_ATTENTION,
  PROP_SPARSITY,
  PROP_SPARSITY_BASE,
  PROP_KEEP_FRAMES,
  PROP_KEEP_SINK,
  PROP_KEEP_NEAR,
  PROP_PROBE_LAYER,
  PROP_PROBE_HEAD,
  PROP_MODE,
  PROP_WINDOW,
  PROP_SINK,
  PROP_PROMPT_SWITCH,
  PROP_BLEND_CHUNKS,
  PROP_PROMPT_FILE,
  PROP_FLUSH_ON_PROMPT,
  PROP_PROMPT_IN_TAGS,
  PROP_START_IMAGE,
  PROP_LAST
};

#define DEFAULT_PROMPT ""
#define DEFAULT_QUEUE_CHUNKS 2
#define DEFAULT_BLEND_CHUNKS 4

#define READY (GST_PARAM_MUTABLE_READY)
#define PLAYING (GST_PARAM_MUTABLE_PLAYING)
#define FLAGS (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS)

static GType
register_enum (const char *name, const GEnumValue *values)
{
  GType type = g_enum_register_static (name, values);

  gst_type_mark_as_plugin_api (type, 0);
  return type;
}

#define DEFINE_ENUM(function, name, ...)                                                           \
  static GType function (void)                                                                     \
  {                                                                                                \
    static const GEnumValue values[] = {__VA_ARGS__, {0, NULL, NULL}};                             \
    static gsize type = 0;                                                                         \
                                                                                                   \
    if (g_once_init_enter (&type))                                                                 \
      g_once_init_leave (&type, register_enum (name, values));                                     \
    return (GType) type;                                                                           \
  }

DEFINE_ENUM (backend_type, "LightforceSrcBackend",
    {LF_SRC_BACKEND_AUTO, "The fastest one that works here", "auto"},
    {LF_SRC_BACKEND_CPU, "Processor", "cpu"},
    {LF_SRC_BACKEND_CUDA, "NVIDIA graphics processor", "cuda"})

DEFINE_ENUM (precision_type, "LightforceSrcPrecision",
    {LF_PRECISION_AUTO, "fp32 on the processor, bf16 on a graphics processor", "auto"},
    {LF_PRECISION_FP32, "32-bit floats: the most exact", "fp32"},
    {LF_PRECISION_BF16, "16-bit floats: half the memory and faster", "bf16"},
    {LF_PRECISION_FP8, "bf16 with 8-bit floats where most of the work is: a quarter", "fp8"})

DEFINE_ENUM (text_residency_type, "LightforceSrcTextResidency",
    {LF_TEXT_RESIDENCY_KEEP, "In the backend's memory, where prompts are quick", "keep"},
    {LF_TEXT_RESIDENCY_RELEASE, "Nowhere: each prompt loads it, layer by layer", "release"},
    {LF_TEXT_RESIDENCY_CPU, "In main memory; the processor encodes prompts", "cpu"})

DEFINE_ENUM (kv_cache_type, "LightforceSrcKvCache",
    {LF_SRC_KV_CACHE_AUTO, "The type that the model computes in", "auto"},
    {LF_SRC_KV_CACHE_FP8, "8-bit floats: half the memory of bf16", "fp8"})

DEFINE_ENUM (attention_type, "LightforceSrcAttention",
    {LF_SRC_ATTENTION_AUTO, "The model's own; sparse where a sparsity is set", "auto"},
    {LF_SRC_ATTENTION_SPARSE, "Only the key blocks that matter most", "sparse"},
    {LF_SRC_ATTENTION_DENSE, "All keys", "dense"})

DEFINE_ENUM (mode_type, "LightforceSrcMode", {LF_SRC_MODE_AUTO, "The model's own", "auto"},
    {LF_SRC_MODE_SHORT, "Positions count from the start of the video", "short"},
    {LF_SRC_MODE_LONG, "Positions count within the window: the video never ends", "long"})

DEFINE_ENUM (prompt_switch_type, "LightforceSrcPromptSwitch",
    {LF_PROMPT_SWITCH_CUT, "New text from the next chunk on, past frames stay", "cut"},
    {LF_PROMPT_SWITCH_RECACHE, "Past frames are reinterpreted with the new text", "recache"},
    {LF_PROMPT_SWITCH_BLEND, "The text is interpolated over blend-chunks", "blend"})

DEFINE_ENUM (late_policy_type, "LightforceSrcLatePolicy",
    {LF_SRC_LATE_REPEAT, "The last picture again, flagged GAP: a constant rate", "repeat"},
    {LF_SRC_LATE_RESYNC, "Wait and move the schedule: no picture twice, none lost", "resync"},
    {LF_SRC_LATE_DROP, "Leave late pictures out: the schedule never moves", "drop"})

void
lf_src_settings_init (LfSrcSettings *settings)
{
  *settings = (LfSrcSettings){
      .prompt = g_strdup (DEFAULT_PROMPT),
      .fps_n = 0,
      .fps_d = 1,
      .queue_chunks = DEFAULT_QUEUE_CHUNKS,
      .prebuffer = -1,
      .late_policy = LF_SRC_LATE_REPEAT,
      .sparsity = -1,
      .sparsity_base = -1,
      .keep_frames = -1,
      .keep_sink = -1,
      .keep_near = -1,
      .probe_layer = -1,
      .window = -2,
      .sink = -2,
      .prompt_switch = LF_PROMPT_SWITCH_CUT,
      .blend_chunks = DEFAULT_BLEND_CHUNKS,
  };
}

void
lf_src_settings_clear (LfSrcSettings *settings)
{
  g_clear_pointer (&settings->model, g_free);
  g_clear_pointer (&settings->transformer, g_free);
  g_clear_pointer (&settings->text_encoder, g_free);
  g_clear_pointer (&settings->tokenizer, g_free);
  g_clear_pointer (&settings->decoder, g_free);
  g_clear_pointer (&settings->prompt, g_free);
  g_clear_pointer (&settings->prompt_file, g_free);
  g_clear_pointer (&settings->start_image, g_free);
}

void
lf_src_settings_copy (LfSrcSettings *to, const LfSrcSettings *from)
{
  *to = *from;
  to->model = g_strdup (from->model);
  to->transformer = g_strdup (from->transformer);
  to->text_encoder = g_strdup (from->text_encoder);
  to->tokenizer = g_strdup (from->tokenizer);
  to->decoder = g_strdup (from->decoder);
  to->prompt = g_strdup (from->prompt);
  to->prompt_file = g_strdup (from->prompt_file);
  to->start_image = g_strdup (from->start_image);
}

static void
install_model_properties (GObjectClass *object_class)
{
  g_object_class_install_property (object_class, PROP_MODEL,
      g_param_spec_string ("model", "Model",
          "Packed .safetensors file, or directory with the published files (NULL: the default "
          "model)",
          NULL, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_TRANSFORMER,
      g_param_spec_string ("transformer", "Transformer",
          "File that replaces the model's transformer (NULL: the model's)", NULL, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_TEXT_ENCODER,
      g_param_spec_string ("text-encoder", "Text encoder",
          "File that replaces the model's text encoder (NULL: the model's)", NULL, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_TOKENIZER,
      g_param_spec_string ("tokenizer", "Tokenizer",
          "SentencePiece file that replaces the model's tokenizer (NULL: the model's)", NULL,
          FLAGS | READY));
  g_object_class_install_property (object_class, PROP_DECODER,
      g_param_spec_string ("decoder", "Decoder",
          "File that replaces the model's video decoder (NULL: the model's)", NULL, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_BACKEND,
      g_param_spec_enum ("backend", "Backend",
          "What computes the video: the processor (cpu) or an NVIDIA graphics processor (cuda)",
          backend_type (), LF_SRC_BACKEND_AUTO, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_PRECISION,
      g_param_spec_enum ("precision", "Precision",
          "What numbers are computed in: fewer bits take less memory and time, and change the "
          "pictures a little; the processor has fp32 only",
          precision_type (), LF_PRECISION_AUTO, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_TEXT_RESIDENCY,
      g_param_spec_enum ("text-encoder-residency", "Text encoder residency",
          "Where the text encoder is between prompts: released or in main memory, it leaves the "
          "graphics processor's memory to the video, and a new prompt takes seconds more",
          text_residency_type (), LF_TEXT_RESIDENCY_KEEP, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_KV_CACHE,
      g_param_spec_enum ("kv-cache", "Key/value cache",
          "How past frames are kept: fp8 takes half the memory of bf16, a quarter of fp32, costs "
          "a little time, and changes the pictures a little",
          kv_cache_type (), LF_SRC_KV_CACHE_AUTO, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_THREADS,
      g_param_spec_uint (
          "threads", "Threads", "Processor threads (0: one a core)", 0, 1024, 0, FLAGS | READY));
}

static void
install_time_properties (GObjectClass *object_class)
{
  g_object_class_install_property (object_class, PROP_FRAMERATE,
      gst_param_spec_fraction ("framerate", "Framerate",
          "Pictures a second that are shown, up to 1000/1: another rate than the model's plays the "
          "same pictures slower or faster (0/1: the model's)",
          0, 1, 1000, 1, 0, 1, FLAGS | PLAYING));
  g_object_class_install_property (object_class, PROP_PREBUFFER,
      g_param_spec_int ("prebuffer", "Prebuffer",
          "Finished chunks that wait before a live video begins, at most queue-chunks: more make "
          "the start later and keep the first slow moment from showing (-1: queue-chunks)",
          -1, 16, -1, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_LATE_POLICY,
      g_param_spec_enum ("late-policy", "Late policy",
          "What a live video does when a picture is not made in time; repeat is the default "
          "because "
          "encoders, muxers and receivers of a live video count on a steady rate; num-buffers "
          "counts what is repeated",
          late_policy_type (), LF_SRC_LATE_REPEAT, FLAGS | PLAYING));
}

static void
install_stream_properties (GObjectClass *object_class)
{
  g_object_class_install_property (object_class, PROP_PROMPT,
      g_param_spec_string ("prompt", "Prompt",
          "What the video shows; a change takes effect at the next chunk that is made",
          DEFAULT_PROMPT, FLAGS | PLAYING));
  g_object_class_install_property (object_class, PROP_SEED,
      g_param_spec_uint64 ("seed", "Seed",
          "Start of the random numbers: the same seed makes the same video; taken up at the start "
          "and by the signal restart",
          0, G_MAXUINT64, 0, FLAGS | PLAYING));
  g_object_class_install_property (object_class, PROP_WIDTH,
      g_param_spec_int ("width", "Width",
          "Width in pixels (0: what downstream asks for, else the model's)", 0, 8192, 0,
          FLAGS | READY));
  g_object_class_install_property (object_class, PROP_HEIGHT,
      g_param_spec_int ("height", "Height",
          "Height in pixels (0: what downstream asks for, else the model's)", 0, 8192, 0,
          FLAGS | READY));
  g_object_class_install_property (object_class, PROP_QUEUE_CHUNKS,
      g_param_spec_uint ("queue-chunks", "Queue chunks",
          "Finished chunks that wait for their time, beside one that waits for room among them, so "
          "that 1 is enough for live video, too: more ride out slower moments, fewer let a new "
          "prompt show sooner, which it does after queue-chunks + 2 chunks at most",
          1, 16, DEFAULT_QUEUE_CHUNKS, FLAGS | READY));
  install_time_properties (object_class);
  g_object_class_install_property (object_class, PROP_MODE,
      g_param_spec_enum ("mode", "Mode", "How positions in time are counted", mode_type (),
          LF_SRC_MODE_AUTO, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_WINDOW,
      g_param_spec_int ("window", "Window",
          "Latent frames that attention sees, the new chunk included (-1: all, -2: the model's)",
          -2, G_MAXINT, -2, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_SINK,
      g_param_spec_int ("sink", "Sink",
          "First latent frames that never leave the window, 0 or more (-2: the model's)", -2,
          G_MAXINT, -2, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_PROMPT_SWITCH,
      g_param_spec_enum ("prompt-switch", "Prompt switch",
          "How a changed prompt enters the running video", prompt_switch_type (),
          LF_PROMPT_SWITCH_CUT, FLAGS | PLAYING));
  g_object_class_install_property (object_class, PROP_BLEND_CHUNKS,
      g_param_spec_uint ("blend-chunks", "Blend chunks",
          "Chunks over which prompt-switch=blend goes", 1, 256, DEFAULT_BLEND_CHUNKS,
          FLAGS | READY));
}

static void
install_prompt_properties (GObjectClass *object_class)
{
  g_object_class_install_property (object_class, PROP_PROMPT_FILE,
      g_param_spec_string ("prompt-file", "Prompt file",
          "File of timed prompts, \"HH:MM:SS.mmm text\" a line in order of time: each one shows "
          "from the first chunk on that begins at or after its time; read again when it changes",
          NULL, FLAGS | READY));
  g_object_class_install_property (object_class, PROP_FLUSH_ON_PROMPT,
      g_param_spec_boolean ("flush-on-prompt", "Flush on prompt",
          "Throw away finished chunks that wait when the prompt is changed, so that it shows "
          "sooner; the video skips what was in them",
          FALSE, FLAGS | PLAYING));
  g_object_class_install_property (object_class, PROP_PROMPT_IN_TAGS,
      g_param_spec_boolean ("prompt-in-tags", "Prompt in tags",
          "Put the prompt's text into the stream's tags, from where it gets into files; its hash "
          "is there in any case",
          FALSE, FLAGS | PLAYING));
  g_object_class_install_property (object_class, PROP_START_IMAGE,
      g_param_spec_string ("start-image", "Start image",
          "File (path or URI) whose first picture the video starts from, scaled to fill the frame "
          "and cut at the sides: anything that GStreamer decodes; the model must have an encoder "
          "(NULL: starts from the prompt alone)",
          NULL, FLAGS | READY));
}

static void
install_attention_properties (GObjectClass *object_class)
{
  g_object_class_install_property (object_class, PROP_ATTENTION,
      g_param_spec_enum ("attention", "Attention", "Which keys attention reads", attention_type (),
          LF_SRC_ATTENTION_AUTO, FLAGS | PLAYING));
  g_object_class_install_property (object_class, PROP_SPARSITY,
      g_param_spec_double ("sparsity", "Sparsity",
          "Mean share of key blocks that sparse attention leaves out, 0 to 1 (-1: the model's)", -1,
          1, -1, FLAGS | PLAYING | GST_PARAM_CONTROLLABLE));
  g_object_class_install_property (object_class, PROP_SPARSITY_BASE,
      g_param_spec_double ("sparsity-base", "Sparsity base",
          "Share of key blocks left out that late chunks approach, sparsity to 1 (-1: the "
          "model's)",
          -1, 1, -1, FLAGS | PLAYING | GST_PARAM_CONTROLLABLE));
  g_object_class_install_property (object_class, PROP_KEEP_FRAMES,
      g_param_spec_int ("keep-frames", "Keep frames",
          "Past latent frames that sparse attention picks from (-1: the model's)", -1, G_MAXINT, -1,
          FLAGS | PLAYING | GST_PARAM_CONTROLLABLE));
  g_object_class_install_property (object_class, PROP_KEEP_SINK,
      g_param_spec_int ("keep-sink", "Keep sink",
          "How many of keep-frames are the first ones of the video (-1: the model's)", -1, G_MAXINT,
          -1, FLAGS | PLAYING | GST_PARAM_CONTROLLABLE));
  g_object_class_install_property (object_class, PROP_KEEP_NEAR,
      g_param_spec_int ("keep-near", "Keep near",
          "How many of keep-frames are the latest ones (-1: the model's)", -1, G_MAXINT, -1,
          FLAGS | PLAYING | GST_PARAM_CONTROLLABLE));
  g_object_class_install_property (object_class, PROP_PROBE_LAYER,
      g_param_spec_int ("probe-layer", "Probe layer",
          "Layer, from 0, of which messages lightforce-chunk say the frames that sparse attention "
          "chose (-1: none)",
          -1, G_MAXINT, -1, FLAGS | PLAYING));
  g_object_class_install_property (object_class, PROP_PROBE_HEAD,
      g_param_spec_int ("probe-head", "Probe head", "Attention head, from 0, of probe-layer", 0,
          G_MAXINT, 0, FLAGS | PLAYING));
}

guint
lf_src_settings_install_properties (GObjectClass *object_class)
{
  install_model_properties (object_class);
  install_stream_properties (object_class);
  install_prompt_properties (object_class);
  install_attention_properties (object_class);
  return PROP_LAST - 1;
}

static void
set_string (char **member, const GValue *value)
{
  g_free (*member);
  *member = g_value_dup_string (value);
}

/* The member that holds a string property, or NULL. */
static char **
string_member (LfSrcSettings *s, guint id)
{
  switch (id) {
    case PROP_MODEL:
      return &s->model;
    case PROP_TRANSFORMER:
      return &s->transformer;
    case PROP_TEXT_ENCODER:
      return &s->text_encoder;
    case PROP_TOKENIZER:
      return &s->tokenizer;
    case PROP_DECODER:
      return &s->decoder;
    case PROP_PROMPT:
      return &s->prompt;
    case PROP_PROMPT_FILE:
      return &s->prompt_file;
    case PROP_START_IMAGE:
      return &s->start_image;
    default:
      return NULL;
  }
}

static gint *
int_member (LfSrcSettings *s, guint id)
{
  switch (id) {
    case PROP_WIDTH:
      return &s->width;
    case PROP_HEIGHT:
      return &s->height;
    case PROP_KEEP_FRAMES:
      return &s->keep_frames;
    case PROP_KEEP_SINK:
      return &s->keep_sink;
    case PROP_KEEP_NEAR:
      return &s->keep_near;
    case PROP_PROBE_LAYER:
      return &s->probe_layer;
    case PROP_PROBE_HEAD:
      return &s->probe_head;
    case PROP_WINDOW:
      return &s->window;
    case PROP_SINK:
      return &s->sink;
    case PROP_PREBUFFER:
      return &s->prebuffer;
    default:
      return NULL;
  }
}

static guint *
uint_member (LfSrcSettings *s, guint id)
{
  switch (id) {
    case PROP_QUEUE_CHUNKS:
      return &s->queue_chunks;
    case PROP_THREADS:
      return &s->threads;
    case PROP_BLEND_CHUNKS:
      return &s->blend_chunks;
    default:
      return NULL;
  }
}

gboolean
lf_src_settings_set (LfSrcSettings *s, guint id, const GValue *value)
{
  if (string_member (s, id)) {
    set_string (string_member (s, id), value);
    if (s->prompt == NULL)
      s->prompt = g_strdup ("");
    return TRUE;
  }
  if (int_member (s, id)) {
    *int_member (s, id) = g_value_get_int (value);
    return TRUE;
  }
  if (uint_member (s, id)) {
    *uint_member (s, id) = g_value_get_uint (value);
    return TRUE;
  }
  switch (id) {
    case PROP_SEED:
      s->seed = g_value_get_uint64 (value);
      return TRUE;
    case PROP_BACKEND:
      s->backend = g_value_get_enum (value);
      return TRUE;
    case PROP_PRECISION:
      s->precision = g_value_get_enum (value);
      return TRUE;
    case PROP_TEXT_RESIDENCY:
      s->text_residency = g_value_get_enum (value);
      return TRUE;
    case PROP_KV_CACHE:
      s->kv_cache = g_value_get_enum (value);
      return TRUE;
    case PROP_ATTENTION:
      s->attention = g_value_get_enum (value);
      return TRUE;
    case PROP_MODE:
      s->mode = g_value_get_enum (value);
      return TRUE;
    case PROP_PROMPT_SWITCH:
      s->prompt_switch = g_value_get_enum (value);
      return TRUE;
    case PROP_LATE_POLICY:
      s->late_policy = g_value_get_enum (value);
      return TRUE;
    case PROP_FRAMERATE:
      s->fps_n = gst_value_get_fraction_numerator (value);
      s->fps_d = gst_value_get_fraction_denominator (value);
      return TRUE;
    case PROP_FLUSH_ON_PROMPT:
      s->flush_on_prompt = g_value_get_boolean (value);
      return TRUE;
    case PROP_PROMPT_IN_TAGS:
      s->prompt_in_tags = g_value_get_boolean (value);
      return TRUE;
    case PROP_SPARSITY:
      s->sparsity = g_value_get_double (value);
      return TRUE;
    case PROP_SPARSITY_BASE:
      s->sparsity_base = g_value_get_double (value);
      return TRUE;
    default:
      return FALSE;
  }
}

gboolean
lf_src_settings_get (const LfSrcSettings *settings, guint id, GValue *value)
{
  LfSrcSettings *s = (LfSrcSettings *) settings; /* the member functions only find */

  if (string_member (s, id)) {
    g_value_set_string (value, *string_member (s, id));
    return TRUE;
  }
  if (int_member (s, id)) {
    g_value_set_int (value, *int_member (s, id));
    return TRUE;
  }
  if (uint_member (s, id)) {
    g_value_set_uint (value, *uint_member (s, id));
    return TRUE;
  }
  switch (id) {
    case PROP_SEED:
      g_value_set_uint64 (value, s->seed);
      return TRUE;
    case PROP_BACKEND:
      g_value_set_enum (value, s->backend);
      return TRUE;
    case PROP_PRECISION:
      g_value_set_enum (value, s->precision);
      return TRUE;
    case PROP_TEXT_RESIDENCY:
      g_value_set_enum (value, s->text_residency);
      return TRUE;
    case PROP_KV_CACHE:
      g_value_set_enum (value, s->kv_cache);
      return TRUE;
    case PROP_ATTENTION:
      g_value_set_enum (value, s->attention);
      return TRUE;
    case PROP_MODE:
      g_value_set_enum (value, s->mode);
      return TRUE;
    case PROP_PROMPT_SWITCH:
      g_value_set_enum (value, s->prompt_switch);
      return TRUE;
    case PROP_LATE_POLICY:
      g_value_set_enum (value, s->late_policy);
      return TRUE;
    case PROP_FRAMERATE:
      gst_value_set_fraction (value, s->fps_n, s->fps_d);
      return TRUE;
    case PROP_FLUSH_ON_PROMPT:
      g_value_set_boolean (value, s->flush_on_prompt);
      return TRUE;
    case PROP_PROMPT_IN_TAGS:
      g_value_set_boolean (value, s->prompt_in_tags);
      return TRUE;
    case PROP_SPARSITY:
      g_value_set_double (value, s->sparsity);
      return TRUE;
    case PROP_SPARSITY_BASE:
      g_value_set_double (value, s->sparsity_base);
      return TRUE;
    default:
      return FALSE;
  }
}

char *
lf_src_settings_find_missing (const LfSrcSettings *settings)
{
  g_autofree char *image = settings->start_image && *settings->start_image
                               ? lf_start_image_find_file (settings->start_image)
                               : NULL;
  const struct
  {
    const char *property, *path;
  } files[] = {
      {"model", settings->model},
      {"transformer", settings->transformer},
      {"text-encoder", settings->text_encoder},
      {"tokenizer", settings->tokenizer},
      {"decoder", settings->decoder},
  };
  const char *path = lf_default_model_path ();
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (files); i++)
    if (files[i].path && !g_file_test (files[i].path, G_FILE_TEST_EXISTS))
      return g_strdup_printf (
          _ ("The property %s is \"%s\", and there is no such file or directory."),
          files[i].property, files[i].path);
  /* what is no regular file, a named pipe for one, could keep its reader for ever */
  if (image && !g_file_test (image, G_FILE_TEST_IS_REGULAR))
    return g_strdup_printf (_ ("The property start-image is \"%s\", and there is no such file."),
        settings->start_image);
  if (settings->model == NULL && !g_file_test (path, G_FILE_TEST_EXISTS))
    return g_strdup_printf (
        _ ("The default model \"%s\" is not there: set the property model or the "
           "environment variable LIGHTFORCE_DEFAULT_MODEL."),
        path);
  return NULL;
}

void
lf_src_settings_to_options (const LfSrcSettings *settings, LfModelOptions *options)
{
  static const char *const backends[] = {"auto", "cpu", "cuda"};

  *options = (LfModelOptions){
      .backend = backends[settings->backend],
      .precision = settings->precision,
      .text_residency = settings->text_residency,
      .transformer = settings->transformer,
      .text_encoder = settings->text_encoder,
      .tokenizer = settings->tokenizer,
      .decoder = settings->decoder,
  };
}

void
lf_src_settings_to_sparse (const LfSrcSettings *settings, const LfModelInfo *info, LfSparse *sparse)
{
  *sparse = info->sparse;
  if (settings->attention == LF_SRC_ATTENTION_SPARSE
      || (settings->attention == LF_SRC_ATTENTION_AUTO && settings->sparsity >= 0))
    sparse->enabled = TRUE;
  else if (settings->attention == LF_SRC_ATTENTION_DENSE)
    sparse->enabled = FALSE;
  if (settings->sparsity >= 0) {
    sparse->target = settings->sparsity;
    /* The model's curve, moved no further than it has to. */
    sparse->base = MAX (sparse->base, sparse->target);
  }
  if (settings->sparsity_base >= 0)
    sparse->base = settings->sparsity_base;
  if (settings->keep_frames >= 0)
    sparse->keep_frames = settings->keep_frames;
  if (settings->keep_sink >= 0)
    sparse->keep_sink = settings->keep_sink;
  if (settings->keep_near >= 0)
    sparse->keep_near = settings->keep_near;
}

void
lf_src_settings_to_config (const LfSrcSettings *settings, LfModel *model, LfStreamConfig *config)
{
  lf_stream_config_init (config, model);
  config->prompt = settings->prompt;
  config->seed = settings->seed;
  config->window = settings->window;
  config->sink = settings->sink;
  if (settings->mode != LF_SRC_MODE_AUTO)
    config->relative = settings->mode == LF_SRC_MODE_LONG;
  lf_src_settings_to_sparse (settings, lf_model_get_info (model), &config->sparse);
  config->prompt_switch = settings->prompt_switch;
  config->blend_chunks = (gint) settings->blend_chunks;
  config->cache_fp8 = settings->kv_cache == LF_SRC_KV_CACHE_FP8;
  config->threads = (gint) settings->threads;
}
