/* lightforce: which video the element offers
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "gst/caps.h"

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

GstCaps *
lf_src_caps_narrow (GstCaps *caps, const LfSrcVideo *want, const LfModelInfo *info)
{
  GstStructure *structure;
  gint fps_n = want->fps_n > 0 ? want->fps_n : info->fps_n;
  gint fps_d = want->fps_n > 0 ? want->fps_d : info->fps_d;

  caps = gst_caps_make_writable (caps);
  structure = gst_caps_get_structure (caps, 0);
  set_size (structure, "width", want->width, info);
  set_size (structure, "height", want->height, info);
  gst_structure_set (structure, "framerate", GST_TYPE_FRACTION, fps_n, fps_d, "pixel-aspect-ratio",
      GST_TYPE_FRACTION, 1, 1, "interlace-mode", G_TYPE_STRING, "progressive", NULL);
  return caps;
}

GstCaps *
lf_src_caps_choose (GstCaps *caps, const LfModelInfo *info)
{
  GstStructure *structure;

  caps = gst_caps_truncate (gst_caps_make_writable (caps));
  if (info == NULL)
    return caps;
  structure = gst_caps_get_structure (caps, 0);
  gst_structure_fixate_field_nearest_int (structure, "width", info->width);
  gst_structure_fixate_field_nearest_int (structure, "height", info->height);
  return caps;
}

char *
lf_src_caps_explain_size (const char *property, gint value, const LfModelInfo *info)
{
  gint step = info->size_step, below = value / step * step;

  if (value % step == 0)
    return NULL;
  if (below == 0)
    return g_strdup_printf ("The property %s is %d, but the model %s makes multiples of %d "
                            "pixels: set %d or more, or 0 for its own size.",
        property, value, info->name, step, step);
  return g_strdup_printf ("The property %s is %d, but the model %s makes multiples of %d pixels: "
                          "set %d or %d, or 0 for its own size.",
      property, value, info->name, step, below, below + step);
}

char *
lf_src_caps_explain_refusal (
    gint width, gint height, const LfSrcVideo *want, const LfModelInfo *info)
{
  g_autofree char *offer = NULL, *rate = NULL;

  if (width > 0)
    offer = g_strdup_printf ("the running video is %dx%d", width, height);
  else if (want->width > 0 && want->height > 0)
    offer = g_strdup_printf ("its properties ask for %dx%d", want->width, want->height);
  else if (want->width > 0)
    offer = g_strdup_printf ("its property width asks for %d, with a height of %d or another "
                             "multiple of %d",
        want->width, info->height, info->size_step);
  else if (want->height > 0)
    offer = g_strdup_printf ("its property height asks for %d, with a width of %d or another "
                             "multiple of %d",
        want->height, info->width, info->size_step);
  else
    offer = g_strdup_printf ("the model %s makes %dx%d, or other multiples of %d pixels",
        info->name, info->width, info->height, info->size_step);
  if (want->fps_n > 0)
    rate = g_strdup_printf ("its property framerate asks for %d/%d", want->fps_n, want->fps_d);
  else
    rate = g_strdup_printf ("the model's framerate is %d/%d", info->fps_n, info->fps_d);
  return g_strdup_printf ("Downstream takes no video that lightforcesrc can make: %s, in square "
                          "pixels, and %s. Size and framerate are the model's: put videorate and "
                          "videoconvertscale behind it, or set its properties width, height and "
                          "framerate.",
      offer, rate);
}
