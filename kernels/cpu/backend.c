/* lightforce: the CPU backend
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

#define MAX_THREADS 256

static void
cpu_close (LfBackend *be)
{
}

static void *
cpu_alloc (LfBackend *be, gsize bytes, GError **error)
{
  gsize rounded = (bytes + 255) & ~(gsize) 255;
  void *mem;

  if (rounded < bytes || !(mem = aligned_alloc (256, MAX (rounded, 256)))) {
    g_set_error (error, LF_ERROR, LF_ERROR_NO_MEMORY,
        "out of memory: %" G_GSIZE_FORMAT " MiB wanted; choose a smaller size or model",
        bytes >> 20);
    return NULL;
  }
  memset (mem, 0, bytes);
  return mem;
}

static void
cpu_free (LfBackend *be, void *mem)
{
  free (mem);
}

static LfQueue *
cpu_queue_new (LfBackend *be, gint threads, GError **error)
{
  LfQueue *q = g_new0 (LfQueue, 1);

  q->backend = be;
  q->threads = CLAMP (threads > 0 ? threads : (gint) g_get_num_processors (), 1, MAX_THREADS);
  q->pool = lf_cpu_pool_new (q->threads, error);
  if (!q->pool)
    g_clear_pointer (&q, g_free);
  return q;
}

static void
cpu_queue_free (LfQueue *q)
{
  lf_cpu_pool_free (q->pool);
  g_clear_error (&q->error);
  g_free (q);
}

static gboolean
cpu_wait (LfQueue *q, GError **error)
{
  if (!q->error)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&q->error));
  return FALSE;
}

static void
cpu_copy (LfQueue *q, void *dst, const void *src, gsize bytes)
{
  memmove (dst, src, bytes);
}

static void
cpu_from_float (LfQueue *q, void *y, const float *x, gsize count)
{
  memmove (y, x, count * sizeof (float));
}

static void
cpu_to_float (LfQueue *q, float *y, const void *x, gsize count)
{
  memmove (y, x, count * sizeof (float));
}

static const LfBackendOps cpu_ops = {
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .queue_new = cpu_queue_new,
    .queue_free = cpu_queue_free,
    .wait = cpu_wait,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .from_float = cpu_from_float,
    .to_float = cpu_to_float,
    .linear = lf_cpu_linear,
    .norm_modulate = lf_cpu_norm_modulate,
    .rms_norm = lf_cpu_rms_norm,
    .qk_norm_rope = lf_cpu_qk_norm_rope,
    .rotate_keys = lf_cpu_rotate_keys,
    .pool_blocks = lf_cpu_pool_blocks,
    .pool_frames = lf_cpu_pool_frames,
    .select_blocks = lf_cpu_select_blocks,
    .attention = lf_cpu_attention,
    .text_attention = lf_cpu_text_attention,
    .add_modulation = lf_cpu_add_modulation,
    .silu = lf_cpu_silu,
    .patchify = lf_cpu_patchify,
    .unpatchify = lf_cpu_unpatchify,
    .noise = lf_cpu_noise,
    .denoise = lf_cpu_denoise,
    .mix_noise = lf_cpu_mix_noise,
    .lerp = lf_cpu_lerp,
    .embed = lf_cpu_embed,
    .t5_attention = lf_cpu_t5_attention,
    .conv = lf_cpu_conv,
    .pixel_norm_silu = lf_cpu_pixel_norm_silu,
    .upsample = lf_cpu_upsample,
    .pixel_attention = lf_cpu_pixel_attention,
    .latent_to_pixels = lf_cpu_latent_to_pixels,
    .beside_past = lf_cpu_beside_past,
    .to_rgbx = lf_cpu_to_rgbx,
};

static gboolean
cpu_open (LfBackend *be, GError **error)
{
  be->ops = &cpu_ops;
  be->act = LF_DTYPE_F32;
  be->float_limit = (gsize) 1 << 30;
  /* threads are the queue's (cpu.h): OpenBLAS runs in each of them */
  openblas_set_num_threads (1);
  return TRUE;
}

const LfBackendInfo lf_cpu_backend = {"cpu", cpu_open};
