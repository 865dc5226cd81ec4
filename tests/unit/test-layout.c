/* lightforce: tests of the layouts and colours of pictures
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "tests/unit/cpu-fixture.h"

#define POISON 0xa5

static void
test_places (void)
{
  static const struct
  {
    LfFormat format;
    gint width, height;
    gsize stride[3], offset[3], size;
  } cases[] = {
      {LF_FORMAT_RGBX, 96, 64, {384}, {0}, 24576},
      {LF_FORMAT_BGRX, 5, 3, {20}, {0}, 60},
      {LF_FORMAT_RGB, 96, 64, {288}, {0}, 18432},
      {LF_FORMAT_RGB, 5, 3, {16}, {0}, 48},
      {LF_FORMAT_RGB, 1, 1, {4}, {0}, 4},
      {LF_FORMAT_I420, 96, 64, {96, 48, 48}, {0, 6144, 7680}, 9216},
      {LF_FORMAT_I420, 5, 3, {8, 4, 4}, {0, 32, 40}, 48},
      {LF_FORMAT_I420, 33, 17, {36, 20, 20}, {0, 648, 828}, 1008},
      {LF_FORMAT_I420, 1, 1, {4, 4, 4}, {0, 8, 12}, 16},
      {LF_FORMAT_I420, 1920, 1080, {1920, 960, 960}, {0, 2073600, 2592000}, 3110400},
      {LF_FORMAT_NV12, 96, 64, {96, 96}, {0, 6144}, 9216},
      {LF_FORMAT_NV12, 5, 3, {8, 8}, {0, 32}, 48},
      {LF_FORMAT_NV12, 33, 17, {36, 36}, {0, 648}, 972},
      {LF_FORMAT_NV12, 1, 1, {4, 4}, {0, 8}, 12},
  };
  guint i, p;

  for (i = 0; i < G_N_ELEMENTS (cases); i++) {
    LfLayout l;

    memset (&l, POISON, sizeof l);
    lf_layout_init (&l, cases[i].format, LF_MATRIX_BT709, cases[i].width, cases[i].height);
    g_assert_cmpint (l.format, ==, cases[i].format);
    g_assert_cmpint (l.matrix, ==, LF_MATRIX_BT709);
    g_assert_cmpint (l.width, ==, cases[i].width);
    g_assert_cmpint (l.height, ==, cases[i].height);
    for (p = 0; p < 3; p++) {
      g_assert_cmpuint (l.stride[p], ==, cases[i].stride[p]);
      g_assert_cmpuint (l.offset[p], ==, cases[i].offset[p]);
    }
    g_assert_cmpuint (l.size, ==, cases[i].size);
  }
}

/* Numbers of the pictures as they are; free with g_free. */
static guint8 *
frames_of (const LfLayout *l, const float *x, gint n)
{
  Fixture f = open_cpu (2);
  guint8 *y = g_malloc (n * l->size + 1);

  memset (y, POISON, n * l->size + 1);
  f.be->ops->pictures_to_frames (f.q, y, x, n, l, 1, 0);
  g_assert_cmpint (y[n * l->size], ==, POISON);
  close_cpu (&f);
  return y;
}

static void
test_rounding (void)
{
  static const struct
  {
    float x;
    guint8 expected; /* of x / 2 + 1 / 2 */
  } cases[] = {
      {-1, 0},
      {1, 255},
      {0, 128},
      {-5, 0},
      {5, 255},
      {INFINITY, 255},
      {-INFINITY, 0},
      {NAN, 0},
      {2 * 0.5019f - 1, 128},
      {2 * (10.4f / 255) - 1, 10},
      {2 * (10.6f / 255) - 1, 11},
      {2 * (254.4f / 255) - 1, 254},
  };
  enum
  {
    N = G_N_ELEMENTS (cases)
  };
  Fixture f = open_cpu (2);
  float x[3 * N];
  guint8 y[4 * N];
  gint pass, i, c;

  for (i = 0; i < 3 * N; i++)
    x[i] = cases[(i / 3 + i % 3) % N].x;
  for (pass = 0; pass < 3; pass++) {
    LfFormat format = pass == 0 ? LF_FORMAT_RGBX : pass == 1 ? LF_FORMAT_BGRX : LF_FORMAT_RGB;
    gint bytes = format == LF_FORMAT_RGB ? 3 : 4;
    LfLayout l;

    lf_layout_init (&l, format, LF_MATRIX_BT601, N / 2, 1);
    f.be->ops->pictures_to_frames (f.q, y, x, 2, &l, 0.5f, 0.5f);
    for (i = 0; i < N; i++) {
      const guint8 *pixel = y + i / (N / 2) * l.size + i % (N / 2) * bytes;

      for (c = 0; c < 3; c++)
        g_assert_cmpint (
            pixel[format == LF_FORMAT_BGRX ? 2 - c : c], ==, cases[(i + c) % N].expected);
      if (bytes == 4)
        g_assert_cmpint (pixel[3], ==, 255);
    }
  }
  close_cpu (&f);
}

static void
near (double value, double expected)
{
  if (fabs (value - expected) > 1)
    g_error ("%g where %g is expected", value, expected);
}

/* Y, Cb and Cr of a pixel of an even column and row. */
static void
read_pixel (const LfLayout *l, const guint8 *y, gint column, gint row, gint *out)
{
  const guint8 *chroma = y + l->offset[1] + row / 2 * l->stride[1];

  out[0] = y[row * l->stride[0] + column];
  if (l->format == LF_FORMAT_NV12) {
    out[1] = chroma[column];
    out[2] = chroma[column + 1];
  } else {
    out[1] = chroma[column / 2];
    out[2] = y[l->offset[2] + row / 2 * l->stride[2] + column / 2];
  }
}

static void
exact (LfMatrix matrix, const float *rgb, double *out)
{
  double kr = matrix == LF_MATRIX_BT601 ? 0.299 : 0.2126;
  double kg = matrix == LF_MATRIX_BT601 ? 0.587 : 0.7152;
  double kb = matrix == LF_MATRIX_BT601 ? 0.114 : 0.0722;
  double y = kr * rgb[0] + kg * rgb[1] + kb * rgb[2];

  out[0] = 16 + 219 * y;
  out[1] = 128 + 224 * (rgb[2] - y) / (2 * (1 - kb));
  out[2] = 128 + 224 * (rgb[0] - y) / (2 * (1 - kr));
}

static void
test_colors (void)
{
  static const float colors[][3] = {{0, 0, 0}, {1, 1, 1}, {1, 0, 0}, {0, 1, 0}, {0, 0, 1},
      {1, 1, 0}, {0, 1, 1}, {1, 0, 1}, {0.5f, 0.5f, 0.5f}, {0.2f, 0.7f, 0.4f}};
  /* white, black, red, blue: what the standards print */
  static const gint white[] = {235, 128, 128}, black[] = {16, 128, 128};
  static const gint red[2][3] = {{81, 90, 240}, {63, 102, 240}};
  enum
  {
    W = 7,
    H = 5
  };
  gint format, matrix, i, p, row, column, c;

  for (format = LF_FORMAT_I420; format <= LF_FORMAT_NV12; format++) {
    for (matrix = LF_MATRIX_BT601; matrix <= LF_MATRIX_BT709; matrix++) {
      for (i = 0; i < (gint) G_N_ELEMENTS (colors); i++) {
        float x[W * H * 3];
        g_autofree guint8 *y = NULL;
        LfLayout l;
        double want[3];

        for (p = 0; p < W * H * 3; p++)
          x[p] = colors[i][p % 3];
        lf_layout_init (&l, format, matrix, W, H);
        y = frames_of (&l, x, 1);
        exact (matrix, colors[i], want);
        for (row = 0; row < H; row += 2)
          for (column = 0; column < W; column += 2) {
            gint have[3];

            read_pixel (&l, y, column, row, have);
            for (c = 0; c < 3; c++) {
              near (have[c], want[c]);
              if (i < 2)
                g_assert_cmpint (have[c], ==, i ? white[c] : black[c]);
              else if (i == 2)
                g_assert_cmpint (have[c], ==, red[matrix][c]);
            }
          }
        /* odd columns and rows, and what is no pixel */
        near (y[l.stride[0] * 1 + 1], want[0]);
        near (y[l.stride[0] * (H - 2) + W - 2], want[0]);
        g_assert_cmpint (y[W], ==, POISON);
        g_assert_cmpint (y[l.stride[0] * H], ==, POISON);
      }
    }
  }
}

/* Red as a function of the place: Cr follows it. */
static void
check_siting (gint W, gint H, float (*red) (gint column, gint row))
{
  g_autofree float *x = g_new0 (float, 2 * W * H * 3);
  g_autofree guint8 *i420 = NULL, *nv12 = NULL;
  LfLayout l, m;
  gint n, row, column;

  for (n = 0; n < 2; n++)
    for (row = 0; row < H; row++)
      for (column = 0; column < W; column++)
        x[((n * H + row) * W + column) * 3] = n ? 1 - red (column, row) : red (column, row);
  lf_layout_init (&l, LF_FORMAT_I420, LF_MATRIX_BT601, W, H);
  lf_layout_init (&m, LF_FORMAT_NV12, LF_MATRIX_BT601, W, H);
  i420 = frames_of (&l, x, 2);
  nv12 = frames_of (&m, x, 2);
  for (n = 0; n < 2; n++) {
    for (row = 0; row < H; row += 2) {
      for (column = 0; column < W; column += 2) {
        gint left = MAX (column - 1, 0), right = MIN (column + 1, W - 1);
        gint below = MIN (row + 1, H - 1), have[3], same[3];
        double v = (red (left, row) + 2 * red (column, row) + red (right, row) + red (left, below)
                       + 2 * red (column, below) + red (right, below))
                   / 8;

        v = n ? 1 - v : v;
        read_pixel (&l, i420 + n * l.size, column, row, have);
        read_pixel (&m, nv12 + n * m.size, column, row, same);
        g_assert_cmpmem (have, sizeof have, same, sizeof same);
        /* rounded to the nearest */
        g_assert_cmpfloat (fabs (have[2] - (128 + 112 * v)), <, 0.501);
        g_assert_cmpfloat (
            fabs (have[0] - (16 + 219 * 0.299 * (n ? 1 - red (column, row) : red (column, row)))),
            <, 0.501);
      }
    }
  }
}

static float
ramp (gint column, gint row)
{
  return column / 32.0f;
}

static float
step_after_even (gint column, gint row)
{
  return column > 4;
}

static float
step_before_even (gint column, gint row)
{
  return column >= 4;
}

static float
stripes (gint column, gint row)
{
  return row % 2 ? 0.75f : column % 2;
}

static void
test_siting (void)
{
  static const gint sizes[][2] = {
      {16, 4}, {15, 4}, {16, 5}, {9, 7}, {2, 2}, {1, 1}, {1, 6}, {6, 1}};
  guint i;

  for (i = 0; i < G_N_ELEMENTS (sizes); i++) {
    check_siting (sizes[i][0], sizes[i][1], ramp);
    check_siting (sizes[i][0], sizes[i][1], step_after_even);
    check_siting (sizes[i][0], sizes[i][1], step_before_even);
    check_siting (sizes[i][0], sizes[i][1], stripes);
  }
}

/* Rows and planes go where the layout says. */
static void
test_gaps (void)
{
  enum
  {
    W = 6,
    H = 4,
    GAP = 10
  };
  float x[W * H * 3];
  g_autofree guint8 *plain = NULL, *spread = NULL;
  LfLayout l, m;
  gint p, row, i;

  for (i = 0; i < W * H * 3; i++)
    x[i] = (i * 37 % 101) / 100.0f;
  lf_layout_init (&l, LF_FORMAT_I420, LF_MATRIX_BT709, W, H);
  m = l;
  for (p = 0; p < 3; p++) {
    m.stride[p] += GAP;
    m.offset[p] = (2 - p) * 100 + 3;
  }
  m.size = 400;
  plain = frames_of (&l, x, 1);
  spread = frames_of (&m, x, 1);
  for (p = 0; p < 3; p++)
    for (row = 0; row < (p ? H / 2 : H); row++) {
      const guint8 *a = plain + l.offset[p] + row * l.stride[p];
      const guint8 *b = spread + m.offset[p] + row * m.stride[p];
      gint width = p ? W / 2 : W;

      g_assert_cmpmem (a, width, b, width);
      g_assert_cmpint (b[width], ==, POISON);
    }
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/layout/places", test_places);
  g_test_add_func ("/layout/rounding", test_rounding);
  g_test_add_func ("/layout/colors", test_colors);
  g_test_add_func ("/layout/siting", test_siting);
  g_test_add_func ("/layout/gaps", test_gaps);
  return g_test_run ();
}
