/* lightforce: which video the element offers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/caps.h"

#include "gst/i18n.h"

static void
set_size (GstStructure *structure, const char *field, gint fixed, const LfModelInfo *info)
{
  GValue range = G_VALUE_INIT;

  if (fixed > 0) {
    gst_structure_set (structure, field, G_TYPE_INT, fixed, NULL);
  } else {
    gint step = info->size_step;

    g_value_init (&range, GST_TYPE_INT_RANGE);
    gst_value_set_int_range_step (&range, step, MAX (LF_SRC_MAX_SIZE / step, 2) * step, step);
    gst_structure_take_value (structure, field, &range);
  }
}

static gboolean
is_cuda (const GstCaps *caps, guint index)
{
  GstCapsFeatures *features = gst_caps_get_features (caps, index);

  return !gst_caps_features_is_any (features)
         && gst_caps_features_contains (features, LF_SRC_CUDA_FEATURE);
}

gboolean
lf_src_caps_name_cuda (const GstCaps *caps)
{
  guint i;

  for (i = 0; i < gst_caps_get_size (caps); i++)
    if (is_cuda (caps, i))
      return TRUE;
  return FALSE;
}

GstCaps *
lf_src_caps_narrow (GstCaps *caps, const LfSrcVideo *want, const LfModelInfo *info, gboolean cuda)
{
  guint i;
  gint fps_n = want->fps_n > 0 ? want->fps_n : info->fps_n;
  gint fps_d = want->fps_n > 0 ? want->fps_d : info->fps_d;

  caps = gst_caps_make_writable (caps);
  for (i = gst_caps_get_size (caps); i-- > 0;) {
    GstStructure *structure = gst_caps_get_structure (caps, i);

    if (!cuda && is_cuda (caps, i)) {
      gst_caps_remove_structure (caps, i);
      continue;
    }
    set_size (structure, "width", want->width, info);
    set_size (structure, "height", want->height, info);
    gst_structure_set (structure, "framerate", GST_TYPE_FRACTION, fps_n, fps_d,
        "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1, "interlace-mode", G_TYPE_STRING,
        "progressive", NULL);
  }
  return caps;
}

static void
choose_string (GstStructure *structure, const char *field, const char *value)
{
  if (gst_structure_has_field (structure, field))
    gst_structure_fixate_field_string (structure, field, value);
  else
    gst_structure_set (structure, field, G_TYPE_STRING, value, NULL);
}

/* Where downstream does not say, luma and chroma are as the library makes them, with the matrix
 * that is usual for the size. Both are told: chroma is not where small pictures have it by default,
 * and caps without a colorimetry are taken for the default in both. */
static void
choose_colors (GstStructure *structure)
{
  const char *format;
  GstVideoInfo info;
  gint height;

  gst_structure_fixate_field (structure, "format");
  format = gst_structure_get_string (structure, "format");
  if (!gst_structure_get_int (structure, "height", &height)
      || (g_strcmp0 (format, "I420") != 0 && g_strcmp0 (format, "NV12") != 0))
    return;
  gst_video_info_set_format (&info, GST_VIDEO_FORMAT_NV12, 16, (guint) height);
  choose_string (structure, "chroma-site", "mpeg2");
  choose_string (structure, "colorimetry",
      info.colorimetry.matrix == GST_VIDEO_COLOR_MATRIX_BT601 ? GST_VIDEO_COLORIMETRY_BT601
                                                              : GST_VIDEO_COLORIMETRY_BT709);
}

/* Leaves the wanted size, or the model's own, where downstream takes it. It may ask for another one
 * first: a scaler does, for the size it is to make. */
static GstCaps *
prefer_size (GstCaps *caps, const LfSrcVideo *want, const LfModelInfo *info)
{
  g_autoptr (GstCaps) all = caps;
  g_autoptr (GstCaps) size = gst_caps_new_simple ("video/x-raw", "width", G_TYPE_INT,
      want->width > 0 ? want->width : info->width, "height", G_TYPE_INT,
      want->height > 0 ? want->height : info->height, NULL);
  g_autoptr (GstCaps) both = NULL;

  gst_caps_set_features_simple (size, gst_caps_features_new_any ());
  both = gst_caps_intersect_full (caps, size, GST_CAPS_INTERSECT_FIRST);
  return gst_caps_is_empty (both) ? g_steal_pointer (&all) : g_steal_pointer (&both);
}

GstCaps *
lf_src_caps_choose (
    GstCaps *caps, const LfSrcVideo *want, const LfModelInfo *info, gboolean prefer_cuda)
{
  GstStructure *structure;
  guint i = 0;

  if (info)
    caps = prefer_size (caps, want, info);
  caps = gst_caps_make_writable (caps);
  while (prefer_cuda && i < gst_caps_get_size (caps) && !is_cuda (caps, i))
    i++;
  if (prefer_cuda && i < gst_caps_get_size (caps))
    while (i-- > 0)
      gst_caps_remove_structure (caps, 0);
  caps = gst_caps_truncate (caps);
  if (info == NULL)
    return caps;
  structure = gst_caps_get_structure (caps, 0);
  gst_structure_fixate_field_nearest_int (structure, "width", info->width);
  gst_structure_fixate_field_nearest_int (structure, "height", info->height);
  choose_colors (structure);
  return caps;
}

char *
lf_src_caps_explain_size (const char *property, gint value, const LfModelInfo *info)
{
  gint step = info->size_step, below = value / step * step;

  if (value % step == 0)
    return NULL;
  if (below == 0)
    return g_strdup_printf (_ ("The property %s is %d, but the model %s makes multiples of %d "
                               "pixels: set %d or more, or 0 for its own size."),
        property, value, info->name, step, step);
  return g_strdup_printf (
      _ ("The property %s is %d, but the model %s makes multiples of %d pixels: "
         "set %d or %d, or 0 for its own size."),
      property, value, info->name, step, below, below + step);
}

char *
lf_src_caps_explain_refusal (
    gint width, gint height, const LfSrcVideo *want, const LfModelInfo *info)
{
  g_autofree char *offer = NULL, *rate = NULL;

  if (width > 0)
    offer = g_strdup_printf (_ ("the running video is %dx%d"), width, height);
  else if (want->width > 0 && want->height > 0)
    offer = g_strdup_printf (_ ("its properties ask for %dx%d"), want->width, want->height);
  else if (want->width > 0)
    offer = g_strdup_printf (_ ("its property width asks for %d, with a height of %d or another "
                                "multiple of %d"),
        want->width, info->height, info->size_step);
  else if (want->height > 0)
    offer = g_strdup_printf (_ ("its property height asks for %d, with a width of %d or another "
                                "multiple of %d"),
        want->height, info->width, info->size_step);
  else
    offer = g_strdup_printf (_ ("the model %s makes %dx%d, or other multiples of %d pixels"),
        info->name, info->width, info->height, info->size_step);
  if (want->fps_n > 0)
    rate = g_strdup_printf (_ ("its property framerate asks for %d/%d"), want->fps_n, want->fps_d);
  else
    rate = g_strdup_printf (_ ("the model's framerate is %d/%d"), info->fps_n, info->fps_d);
  return g_strdup_printf (
      _ ("Downstream takes no video that lightforcesrc can make: %s, in square "
         "pixels, and %s. Size and framerate are the model's: put videorate and "
         "videoconvertscale behind it, or set its properties width, height and "
         "framerate."),
      offer, rate);
}

char *
lf_src_caps_explain_memory (const GstCaps *peer, const LfModelInfo *info, gboolean cuda)
{
  g_autofree char *memory = NULL;
  guint i;

  for (i = 0; i < gst_caps_get_size (peer); i++) {
    GstCapsFeatures *features = gst_caps_get_features (peer, i);

    if (gst_caps_features_is_any (features)
        || gst_caps_features_contains (features, GST_CAPS_FEATURE_MEMORY_SYSTEM_MEMORY)
        || (cuda && is_cuda (peer, i)))
      return NULL;
  }
  if (i == 0)
    return NULL;
  if (lf_src_caps_name_cuda (peer))
    return g_strdup_printf (
        _ ("Downstream takes frames in CUDA memory only, which lightforcesrc has on a GPU only and "
           "the backend in use is %s: set its property backend to cuda where there is one, or put "
           "cudaupload behind it."),
        info->backend);
  memory = gst_caps_features_to_string (gst_caps_get_features (peer, 0));
  return g_strdup_printf (
      _ ("Downstream takes frames in %s only, which lightforcesrc does not have: put an element "
         "that uploads them behind it."),
      memory);
}
