/* lightforce: convolution on the CPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "conv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* The output is cut into pieces of a few rows. A thread copies the inputs of a piece into
 * its scratch with zeros around, so that the inner loops meet no border: there a block of
 * pixels is a range of the padded rows laid end to end, the pixels between two rows are
 * computed too and thrown away. Weights are brought into the order of the loops at each
 * call; that costs what a few dozen pixels do. */

/* Bytes of a piece's inputs: well inside the second-level cache. */
#define PIECE_BYTES (384 * 1024)
#define MAX_SUMS 432 /* pixels x channels of a block */

#ifdef LF_CPU_AVX512
#define TILE_TITLE "AVX-512"
#define TILE_NAME(n) avx512_##n
#define TILE_TARGET __attribute__ ((target ("avx512f,avx512dq,avx512vl,avx512bw,fma")))
#define TILE_VECTOR __m512
#define TILE_LANES 16
#define TILE_LOAD _mm512_loadu_ps
#define TILE_STORE _mm512_storeu_ps
#define TILE_SET1 _mm512_set1_ps
#define TILE_FMA _mm512_fmadd_ps
#define TILE_ADD_UP _mm512_reduce_add_ps
#define TILE_PIXELS_1 24
#define TILE_PIXELS_2 12
#define TILE_PIXELS_3 9
#define TILE_PIXELS_DOT 6
#include "conv-tile.h"
#endif

#if defined(__x86_64__)

static inline __attribute__ ((target ("avx2,fma"))) float
add_up_8 (__m256 v)
{
  __m128 a = _mm_add_ps (_mm256_castps256_ps128 (v), _mm256_extractf128_ps (v, 1));

  a = _mm_add_ps (a, _mm_movehl_ps (a, a));
  return _mm_cvtss_f32 (_mm_add_ss (a, _mm_movehdup_ps (a)));
}

#define TILE_TITLE "AVX2"
#define TILE_NAME(n) avx2_##n
#define TILE_TARGET __attribute__ ((target ("avx2,fma")))
#define TILE_VECTOR __m256
#define TILE_LANES 8
#define TILE_LOAD _mm256_loadu_ps
#define TILE_STORE _mm256_storeu_ps
#define TILE_SET1 _mm256_set1_ps
#define TILE_FMA _mm256_fmadd_ps
#define TILE_ADD_UP add_up_8
#define TILE_PIXELS_1 12
#define TILE_PIXELS_2 6
#define TILE_PIXELS_3 3
#define TILE_PIXELS_DOT 3
#include "conv-tile.h"
#endif

/* Vectors of four floats as the compiler makes them of what the processor has. */
typedef float Vector4 __attribute__ ((vector_size (16)));
typedef float Vector4Unaligned __attribute__ ((vector_size (16), aligned (4)));

#define TILE_TITLE "plain"
#define TILE_NAME(n) plain_##n
#define TILE_TARGET
#define TILE_VECTOR Vector4
#define TILE_LANES 4
#define TILE_LOAD(p) (*(const Vector4Unaligned *) (p))
#define TILE_STORE(p, v) (*(Vector4Unaligned *) (p) = (v))
#define TILE_SET1(f) (((Vector4){0, 0, 0, 0}) + (f))
#define TILE_FMA(a, b, c) ((a) * (b) + (c))
#define TILE_ADD_UP(v) (((v)[0] + (v)[1]) + ((v)[2] + (v)[3]))
#define TILE_PIXELS_1 12
#define TILE_PIXELS_2 6
#define TILE_PIXELS_3 3
#define TILE_PIXELS_DOT 3
#include "conv-tile.h"

typedef struct
{
  LfQueue *q;
  const LfConv *w;
  float *y;
  void *const *x; /* frames */
  gint H, W, fold, first_out;
  gint halvings; /* of H and W to those of x: 1 where pixels are doubled */
  const float *residual;
  LfActivation activation;

  /* blocks of channels and pixels */
  LfConvTileFunc func;
  gint lanes, pixels; /* pixels of a block */
  gint width, blocks; /* channels of a block; number of blocks */
  gint channels;      /* computed: c_out - first_out */
  gboolean dot;
  gint kernel, run;    /* inputs of one sum; of one row of it */
  gint run_padded;     /* whole vectors where lanes run over the inputs */
  gsize packed_floats; /* of weights, one block of channels */
  float *packed;       /* (blocks, packed_floats), then bias (blocks, width) */
  gsize shared_floats; /* all of that, in front of the first thread's scratch */

  /* pieces */
  gint rows, columns; /* of a piece */
  gint row_pieces, column_pieces;
  LfConvTile tile;
  gsize tile_floats;
} Conv;

const LfConvLevel *const *
lf_cpu_conv_levels (gint *n_levels)
{
  static const LfConvLevel *levels[3];
  static gsize n = 0;

  if (g_once_init_enter (&n)) {
    gint i = 0;

#ifdef LF_CPU_AVX512
    if (lf_cpu_has_avx512 ())
      levels[i++] = &avx512_level;
#endif
#if defined(__x86_64__)
    if (lf_cpu_has_avx2 ())
      levels[i++] = &avx2_level;
#endif
    levels[i++] = &plain_level;
    g_once_init_leave (&n, i);
  }
  *n_levels = n;
  return levels;
}

/* Picks the inner loop: as wide as wastes fewest lanes. */
static void
choose_blocks (Conv *a, const LfConvLevel *level)
{
  static const gint order[] = {2, 3, 1};
  gint vectors = (a->channels + level->lanes - 1) / level->lanes;
  gint best = G_MAXINT;
  guint i;

  a->lanes = level->lanes;
  a->run = a->w->kw * a->w->c_in;
  a->kernel = a->w->kt * a->w->kh * a->run;
  a->run_padded = a->run;
  if (a->channels <= LF_CONV_NARROW) {
    a->dot = TRUE;
    a->func = level->dot;
    a->pixels = level->dot_pixels;
    a->width = LF_CONV_NARROW;
    a->run_padded = (a->run + a->lanes - 1) / a->lanes * a->lanes;
  } else {
    for (i = 0; i < G_N_ELEMENTS (order); i++) {
      gint padded = (vectors + order[i] - 1) / order[i] * order[i];

      if (padded < best) {
        best = padded;
        a->func = level->wide[order[i] - 1];
        a->pixels = level->pixels[order[i] - 1];
        a->width = order[i] * a->lanes;
      }
    }
  }
  g_assert (a->pixels * a->width <= MAX_SUMS);
  a->blocks = (a->channels + a->width - 1) / a->width;
  a->packed_floats = (gsize) a->w->kt * a->w->kh * a->run_padded * a->width;
  a->shared_floats = ((a->packed_floats + a->width) * a->blocks + 15) / 16 * 16;
}

static gsize
piece_floats (const Conv *a, gint rows, gint columns)
{
  return (gsize) a->w->kt * (rows + a->w->kh - 1) * (columns + a->w->kw - 1) * a->w->c_in;
}

static void
choose_pieces (Conv *a, gint frames)
{
  gint rows = MIN (a->H, 16), columns = a->W;

  while (piece_floats (a, rows, columns) * sizeof (float) > PIECE_BYTES) {
    if (columns > 16 && columns > 2 * rows)
      columns = (columns + 1) / 2;
    else if (rows > 2)
      rows = (rows + 1) / 2;
    else if (columns > 8)
      columns = (columns + 1) / 2;
    else
      break;
  }
  /* a few for each thread, or the last one keeps the others waiting */
  while (rows > 2
         && (gint64) frames * ((a->H + rows - 1) / rows) * ((a->W + columns - 1) / columns)
                < 4 * a->q->threads)
    rows = (rows + 1) / 2;
  a->row_pieces = (a->H + rows - 1) / rows;
  a->rows = (a->H + a->row_pieces - 1) / a->row_pieces;
  a->row_pieces = (a->H + a->rows - 1) / a->rows;
  a->column_pieces = (a->W + columns - 1) / columns;
  a->columns = (a->W + a->column_pieces - 1) / a->column_pieces;
  a->column_pieces = (a->W + a->columns - 1) / a->columns;
  /* blocks reach past the last pixel, vectors past the last input */
  a->tile_floats =
      piece_floats (a, a->rows, a->columns) + (gsize) a->pixels * a->w->c_in + a->lanes;
}

/* Where input k of a sum stands in the packed weights of a block, for its channel 0. */
static inline gsize
packed_index (const Conv *a, gint k)
{
  gint in_run;

  if (!a->dot)
    return (gsize) k * a->width;
  in_run = k % a->run;
  return ((gsize) (k / a->run) * a->run_padded + in_run / a->lanes * a->lanes) * a->width
         + in_run % a->lanes;
}

#define PACK_RUN 64

/* Items are (block, PACK_RUN inputs). */
static void
pack_weights (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Conv *a = data;
  const LfConv *w = a->w;
  gint runs = (a->kernel + PACK_RUN - 1) / PACK_RUN;
  gint step = a->dot ? a->lanes : 1;
  float converted[PACK_RUN];
  gint64 item;

  for (item = begin; item < end; item++) {
    gint block = item / runs, first = item % runs * PACK_RUN;
    gint count = MIN (PACK_RUN, a->kernel - first);
    float *packed = a->packed + block * a->packed_floats;
    gint c, k;

    for (c = 0; c < a->width; c++) {
      gint channel = block * a->width + c;
      gsize at = (gsize) (a->first_out + channel) * a->kernel + first;
      const float *row = converted;

      if (channel >= a->channels)
        memset (converted, 0, sizeof converted);
      else if (w->dtype == LF_DTYPE_F32)
        row = (const float *) w->weight + at;
      else
        lf_dtype_convert (converted, LF_DTYPE_F32,
            (const guint8 *) w->weight + at * lf_dtype_size (w->dtype), w->dtype, count);
      for (k = 0; k < count; k++)
        packed[packed_index (a, first + k) + c * step] = row[k];
    }
  }
}

static void
pack (Conv *a)
{
  gint runs = (a->kernel + PACK_RUN - 1) / PACK_RUN;
  float *bias;
  gint c;

  a->packed = lf_cpu_scratch (a->q, 0, a->shared_floats + a->tile_floats);
  if (a->run_padded > a->run)
    memset (a->packed, 0, a->packed_floats * a->blocks * sizeof (float));
  bias = a->packed + a->packed_floats * a->blocks;
  for (c = 0; c < a->width * a->blocks; c++)
    bias[c] = a->w->bias && c < a->channels ? a->w->bias[a->first_out + c] : 0;
  lf_cpu_for (a->q, (gint64) a->blocks * runs, 8, pack_weights, a);
}

/* Pixels from .. to - 1 of a row whose pixels are seen twice. */
static void
double_pixels (float *to_row, const float *row, gint from, gint to, gint c_in)
{
  gint x;

  for (x = from; x < to; x++) {
    memcpy (to_row, row + (gsize) (x / 2) * c_in, c_in * sizeof (float));
    to_row += c_in;
  }
}

/* Copies the inputs of a piece, zeros outside the picture. */
static void
gather (const Conv *a, float *tile, const LfConvTile *t, gint frame, gint row, gint column,
    gint rows, gint columns)
{
  const LfConv *w = a->w;
  gint width = a->W >> a->halvings; /* of a row of x */
  gint left = column - w->kw / 2, right = left + columns + w->kw - 1;
  gint from = CLAMP (0, left, right), to = CLAMP (a->W, from, right);
  float *to_row = tile;
  gint i, j;

  for (i = 0; i < w->kt; i++) {
    const float *picture = a->x[frame + i];

    for (j = 0; j < rows + w->kh - 1; j++) {
      gint y = row + j - w->kh / 2;

      if (y < 0 || y >= a->H) {
        memset (to_row, 0, t->pitch * sizeof (float));
      } else if (a->halvings && j > 0 && y % 2) {
        memcpy (to_row, to_row - t->pitch, t->pitch * sizeof (float)); /* the same row again */
      } else {
        float *inside = to_row + (gsize) (from - left) * w->c_in;

        memset (to_row, 0, (gsize) (from - left) * w->c_in * sizeof (float));
        if (a->halvings)
          double_pixels (inside, picture + (gsize) (y / 2) * width * w->c_in, from, to, w->c_in);
        else
          memcpy (inside, picture + ((gsize) y * width + from) * w->c_in,
              (gsize) (to - from) * w->c_in * sizeof (float));
        memset (to_row + (gsize) (to - left) * w->c_in, 0,
            (gsize) (right - to) * w->c_in * sizeof (float));
      }
      to_row += t->pitch;
    }
  }
  memset (to_row, 0, ((gsize) a->pixels * w->c_in + a->lanes) * sizeof (float));
}

#define FINISH_RUN 16

/* y (n) = activation (sum + residual); y may be residual */
LF_CPU_CLONES static void
finish (float *y, const float *sum, const float *residual, gint n, gboolean relu)
{
  float v[FINISH_RUN];
  gint i;

  for (; n >= FINISH_RUN; n -= FINISH_RUN) {
    for (i = 0; i < FINISH_RUN; i++)
      v[i] = sum[i] + (residual ? residual[i] : 0);
    for (i = 0; i < FINISH_RUN; i++)
      y[i] = relu && !(v[i] > 0) ? 0 : v[i];
    y += FINISH_RUN;
    sum += FINISH_RUN;
    residual = residual ? residual + FINISH_RUN : NULL;
  }
  for (i = 0; i < n; i++) {
    float u = sum[i] + (residual ? residual[i] : 0);

    y[i] = relu && !(u > 0) ? 0 : u;
  }
}

/* Stores channels first .. first + count - 1 of one pixel, `at` its place in the picture. */
static void
put_pixel (const Conv *a, const float *sum, gint frame, gsize at, gint first, gint count)
{
  gint per_frame = a->channels / a->fold;

  while (count > 0) {
    gint part = first / per_frame, in_part = first % per_frame;
    gint n = MIN (count, per_frame - in_part);
    gsize pixel = ((gsize) frame * a->fold + part) * a->H * a->W + at;
    gsize offset = pixel * per_frame + in_part;

    finish (a->y + offset, sum, a->residual ? a->residual + offset : NULL, n,
        a->activation == LF_ACTIVATION_RELU);
    sum += n;
    first += n;
    count -= n;
  }
}

/* Stores `pixels` neighbours of one row. */
static inline void
put (const Conv *a, const float *sum, gint pixels, gint frame, gsize at, gint first)
{
  if (a->fold == 1 && a->channels == a->width) {
    gsize offset = ((gsize) frame * a->H * a->W + at) * a->width;

    finish (a->y + offset, sum, a->residual ? a->residual + offset : NULL, pixels * a->width,
        a->activation == LF_ACTIVATION_RELU);
  } else {
    gint count = MIN (a->width, a->channels - first), p;

    for (p = 0; p < pixels; p++)
      put_pixel (a, sum + p * a->width, frame, at + p, first, count);
  }
}

/* Items are (frame, row piece, column piece). */
static void
conv_pieces (gpointer data, gint64 begin, gint64 end, gint thread)
{
  const Conv *a = data;
  gsize shared = thread == 0 ? a->shared_floats : 0;
  float *tile = lf_cpu_scratch (a->q, thread, shared + a->tile_floats) + shared;
  const float *bias = a->packed + a->packed_floats * a->blocks;
  float sum[MAX_SUMS] __attribute__ ((aligned (64)));
  gint64 item;

  for (item = begin; item < end; item++) {
    gint frame = item / (a->row_pieces * a->column_pieces);
    gint row = item / a->column_pieces % a->row_pieces * a->rows;
    gint column = item % a->column_pieces * a->columns;
    gint rows = MIN (a->rows, a->H - row), columns = MIN (a->columns, a->W - column);
    gint padded = columns + a->w->kw - 1; /* pixels of a row of the tile */
    gint count = rows * padded - (a->w->kw - 1);
    LfConvTile t = a->tile;
    gint block, first, p, n;

    t.pitch = (gsize) padded * t.c_in;
    t.plane = t.pitch * (rows + t.kh - 1);
    gather (a, tile, &t, frame, row, column, rows, columns);
    for (block = 0; block < a->blocks; block++) {
      gint channel = block * a->width;

      for (first = 0; first < count; first += a->pixels) {
        gint y = first / padded, x = first % padded;

        a->func (sum, tile + (gsize) first * t.c_in, &t, a->packed + block * a->packed_floats,
            bias + channel);
        for (p = 0; p < a->pixels && y < rows; p += n) {
          n = MIN (padded - x, a->pixels - p);
          if (x < columns)
            put (a, sum + p * a->width, MIN (n, columns - x), frame,
                (gsize) (row + y) * a->W + column + x, channel);
          x = 0; /* a block may end here, or go on in the next row */
          y++;
        }
      }
    }
  }
}

void
lf_cpu_conv_at (const LfConvLevel *level, LfQueue *q, const LfConvolution *c)
{
  Conv a = {.q = q,
      .w = c->w,
      .y = c->y,
      .x = c->x,
      .H = c->H,
      .W = c->W,
      .fold = c->fold,
      .first_out = c->first_out,
      .halvings = c->enlarges ? 1 : 0,
      .residual = c->residual,
      .activation = c->activation,
      .channels = c->w->c_out - c->first_out};

  if (c->w->kh == 1 && c->w->kw == 1 && !c->enlarges) {
    /* no neighbours: the picture is one long row */
    a.W *= a.H;
    a.H = 1;
  }
  a.tile.c_in = c->w->c_in;
  a.tile.kt = c->w->kt;
  a.tile.kh = c->w->kh;
  a.tile.run = c->w->kw * c->w->c_in;
  choose_blocks (&a, level);
  choose_pieces (&a, c->frames);
  pack (&a);
  lf_cpu_for (q, (gint64) c->frames * a.row_pieces * a.column_pieces, 1, conv_pieces, &a);
}

void
lf_cpu_conv (LfQueue *q, const LfConvolution *a)
{
  gint n_levels;
  const LfConvLevel *const *levels = lf_cpu_conv_levels (&n_levels);

  lf_cpu_conv_at (levels[0], q, a);
}
