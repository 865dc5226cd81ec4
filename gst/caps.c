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

GstCaps *
lf_src_caps_narrow (GstCaps *caps, gint width, gint height, const LfModelInfo *info)
{
  GstStructure *structure;

  caps = gst_caps_make_writable (caps);
  structure = gst_caps_get_structure (caps, 0);
  set_size (structure, "width", width, info);
  set_size (structure, "height", height, info);
  gst_structure_set (structure, "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1, "interlace-mode",
      G_TYPE_STRING, "progressive", NULL);
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
  gst_structure_fixate_field_nearest_fraction (structure, "framerate", info->fps_n, info->fps_d);
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
    gint width, gint height, gint want_width, gint want_height, const LfModelInfo *info)
{
  g_autofree char *offer = NULL;

  if (width > 0)
    offer = g_strdup_printf (_ ("the running video is %dx%d"), width, height);
  else if (want_width > 0 && want_height > 0)
    offer = g_strdup_printf (_ ("its properties ask for %dx%d"), want_width, want_height);
  else if (want_width > 0)
    offer = g_strdup_printf (_ ("its property width asks for %d, with a height of %d or another "
                                "multiple of %d"),
        want_width, info->height, info->size_step);
  else if (want_height > 0)
    offer = g_strdup_printf (_ ("its property height asks for %d, with a width of %d or another "
                                "multiple of %d"),
        want_height, info->width, info->size_step);
  else
    offer = g_strdup_printf (_ ("the model %s makes %dx%d, or other multiples of %d pixels"),
        info->name, info->width, info->height, info->size_step);
  return g_strdup_printf (_ ("Downstream takes no video that lightforcesrc can make: %s, in square "
                             "pixels. Put videoconvert, videoscale and videorate behind it."),
      offer);
}
