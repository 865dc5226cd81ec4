/* lightforce: the inner loops of a convolution, for one vector width
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */

/* Included by conv.c once for each level of the processor, with these defined:
 *   TILE_TARGET                 attribute of the functions
 *   TILE_VECTOR, TILE_LANES     the vector and its floats
 *   TILE_LOAD(p), TILE_STORE(p, v), TILE_SET1(f), TILE_FMA(a, b, c), TILE_ADD_UP(v)
 *   TILE_NAME(n)                the level's name for function n */

/* PIXELS x VECTORS sums in registers, weights (kt, kh, run, VECTORS lanes). Pixels lie
 * three to a pointer, so that their addresses need few registers. Every sum runs over the
 * kernel in the same order wherever its pixel lies: how the work is cut changes no bit. */
#define TILE_WIDE(NAME, PIXELS, VECTORS)                                                           \
  TILE_TARGET static void TILE_NAME (NAME) (                                                       \
      float *y, const float *x, const LfConvTile *t, const float *w, const float *bias)            \
  {                                                                                                \
    TILE_VECTOR sum[PIXELS][VECTORS];                                                              \
    const gsize s = t->c_in;                                                                       \
    gint p, v, i, j, k;                                                                            \
                                                                                                   \
    LF_UNROLL for (p = 0; p < PIXELS; p++)                                                         \
    {                                                                                              \
      LF_UNROLL for (v = 0; v < VECTORS; v++) sum[p][v] = TILE_LOAD (bias + v * TILE_LANES);       \
    }                                                                                              \
    for (i = 0; i < t->kt; i++) {                                                                  \
      for (j = 0; j < t->kh; j++) {                                                                \
        const float *from[PIXELS / 3];                                                             \
                                                                                                   \
        LF_UNROLL for (p = 0; p < PIXELS / 3; p++)                                                 \
        {                                                                                          \
          from[p] = x + i * t->plane + j * t->pitch + (gsize) p * 3 * s;                           \
        }                                                                                          \
        for (k = 0; k < t->run; k++) {                                                             \
          TILE_VECTOR weight[VECTORS];                                                             \
                                                                                                   \
          LF_UNROLL for (v = 0; v < VECTORS; v++) weight[v] = TILE_LOAD (w + v * TILE_LANES);      \
          LF_UNROLL for (p = 0; p < PIXELS; p++)                                                   \
          {                                                                                        \
            TILE_VECTOR value = TILE_SET1 (from[p / 3][p % 3 * s]);                                \
                                                                                                   \
            LF_UNROLL for (v = 0; v < VECTORS; v++)                                                \
            {                                                                                      \
              sum[p][v] = TILE_FMA (value, weight[v], sum[p][v]);                                  \
            }                                                                                      \
          }                                                                                        \
          LF_UNROLL for (p = 0; p < PIXELS / 3; p++) from[p]++;                                    \
          w += VECTORS * TILE_LANES;                                                               \
        }                                                                                          \
      }                                                                                            \
    }                                                                                              \
    LF_UNROLL for (p = 0; p < PIXELS; p++)                                                         \
    {                                                                                              \
      LF_UNROLL for (v = 0; v < VECTORS; v++)                                                      \
      {                                                                                            \
        TILE_STORE (y + (p * VECTORS + v) * TILE_LANES, sum[p][v]);                                \
      }                                                                                            \
    }                                                                                              \
  }

/* Few output channels: lanes run over the inputs and are added up at the end. Weights
 * (kt, kh, run / lanes rounded up, LF_CONV_NARROW, lanes), zeros behind the run. */
#define TILE_DOT(NAME, PIXELS)                                                                     \
  TILE_TARGET static void TILE_NAME (NAME) (                                                       \
      float *y, const float *x, const LfConvTile *t, const float *w, const float *bias)            \
  {                                                                                                \
    TILE_VECTOR sum[PIXELS][LF_CONV_NARROW];                                                       \
    const gsize s = t->c_in;                                                                       \
    gint p, c, i, j, k;                                                                            \
                                                                                                   \
    LF_UNROLL for (p = 0; p < PIXELS; p++)                                                         \
    {                                                                                              \
      LF_UNROLL for (c = 0; c < LF_CONV_NARROW; c++) sum[p][c] = TILE_SET1 (0);                    \
    }                                                                                              \
    for (i = 0; i < t->kt; i++) {                                                                  \
      for (j = 0; j < t->kh; j++) {                                                                \
        const float *from = x + i * t->plane + j * t->pitch;                                       \
                                                                                                   \
        for (k = 0; k < t->run; k += TILE_LANES) {                                                 \
          TILE_VECTOR weight[LF_CONV_NARROW];                                                      \
                                                                                                   \
          LF_UNROLL for (c = 0; c < LF_CONV_NARROW; c++)                                           \
          {                                                                                        \
            weight[c] = TILE_LOAD (w + c * TILE_LANES);                                            \
          }                                                                                        \
          LF_UNROLL for (p = 0; p < PIXELS; p++)                                                   \
          {                                                                                        \
            TILE_VECTOR value = TILE_LOAD (from + p * s + k);                                      \
                                                                                                   \
            LF_UNROLL for (c = 0; c < LF_CONV_NARROW; c++)                                         \
            {                                                                                      \
              sum[p][c] = TILE_FMA (value, weight[c], sum[p][c]);                                  \
            }                                                                                      \
          }                                                                                        \
          w += LF_CONV_NARROW * TILE_LANES;                                                        \
        }                                                                                          \
      }                                                                                            \
    }                                                                                              \
    LF_UNROLL for (p = 0; p < PIXELS; p++)                                                         \
    {                                                                                              \
      LF_UNROLL for (c = 0; c < LF_CONV_NARROW; c++)                                               \
      {                                                                                            \
        y[p * LF_CONV_NARROW + c] = TILE_ADD_UP (sum[p][c]) + bias[c];                             \
      }                                                                                            \
    }                                                                                              \
  }

TILE_WIDE (wide_1, TILE_PIXELS_1, 1)
TILE_WIDE (wide_2, TILE_PIXELS_2, 2)
TILE_WIDE (wide_3, TILE_PIXELS_3, 3)
TILE_DOT (dot, TILE_PIXELS_DOT)

static const LfConvLevel TILE_NAME (level) = {
    TILE_TITLE,
    TILE_LANES,
    {TILE_PIXELS_1, TILE_PIXELS_2, TILE_PIXELS_3},
    {TILE_NAME (wide_1), TILE_NAME (wide_2), TILE_NAME (wide_3)},
    TILE_PIXELS_DOT,
    TILE_NAME (dot),
};

#undef TILE_WIDE
#undef TILE_DOT
#undef TILE_NAME
#undef TILE_TITLE
#undef TILE_TARGET
#undef TILE_VECTOR
#undef TILE_LANES
#undef TILE_LOAD
#undef TILE_STORE
#undef TILE_SET1
#undef TILE_FMA
#undef TILE_ADD_UP
#undef TILE_PIXELS_1
#undef TILE_PIXELS_2
#undef TILE_PIXELS_3
#undef TILE_PIXELS_DOT
