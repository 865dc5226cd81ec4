/* lightforce: the CPU backend
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "core/i18n.h"
#include "pool.h"

#define MAX_THREADS 256

/* backend->data: what is allocated */
typedef struct
{
  GMutex lock;
  GHashTable *sizes; /* allocation -> bytes */
  gsize used, peak;
} Memory;

static void
cpu_close (LfBackend *be)
{
  Memory *memory = be->data;

  g_hash_table_unref (memory->sizes);
  g_mutex_clear (&memory->lock);
  g_free (memory);
}

static void *
cpu_alloc (LfBackend *be, gsize bytes, GError **error)
{
  gsize rounded = (bytes + 255) & ~(gsize) 255;
  Memory *memory = be->data;
  void *mem;

  if (rounded < bytes || !(mem = aligned_alloc (256, MAX (rounded, 256)))) {
    g_set_error (error, LF_ERROR, LF_ERROR_NO_MEMORY,
        _ ("out of memory: %zu MiB wanted; choose a smaller size or model"), bytes >> 20);
    return NULL;
  }
  memset (mem, 0, bytes);
  g_mutex_lock (&memory->lock);
  g_hash_table_insert (memory->sizes, mem, GSIZE_TO_POINTER (rounded));
  memory->used += rounded;
  memory->peak = MAX (memory->peak, memory->used);
  g_mutex_unlock (&memory->lock);
  return mem;
}

static void
cpu_free (LfBackend *be, void *mem)
{
  Memory *memory = be->data;

  g_mutex_lock (&memory->lock);
  memory->used -= GPOINTER_TO_SIZE (g_hash_table_lookup (memory->sizes, mem));
  g_hash_table_remove (memory->sizes, mem);
  g_mutex_unlock (&memory->lock);
  free (mem);
}

static void *
cpu_host_alloc (LfBackend *be, gsize bytes, GError **error)
{
  void *mem = g_try_malloc (MAX (bytes, 1));

  if (!mem)
    g_set_error (error, LF_ERROR, LF_ERROR_NO_MEMORY,
        _ ("out of memory: %zu MiB wanted for pictures; choose a smaller size"), bytes >> 20);
  return mem;
}

static void
cpu_host_free (LfBackend *be, void *mem)
{
  g_free (mem);
}

static void
cpu_get_memory (LfBackend *be, LfMemory *out)
{
  Memory *memory = be->data;

  g_mutex_lock (&memory->lock);
  *out = (LfMemory){memory->used, memory->peak, G_MAXSIZE};
  g_mutex_unlock (&memory->lock);
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
  g_aligned_free (q->shared);
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

float *
lf_cpu_shared (LfQueue *q, gsize floats)
{
  if (q->shared_floats < floats) {
    g_aligned_free (q->shared);
    q->shared_floats = floats + floats / 4;
    q->shared = g_aligned_alloc (q->shared_floats, sizeof (float), 64);
  }
  return q->shared;
}

/* Operations are done when they return: a mark only looks at the clock. */
static void
cpu_set_profiling (LfQueue *q, gboolean on)
{
  q->profiling = on;
  q->marked = g_get_monotonic_time ();
  memset (q->seconds, 0, sizeof (q->seconds));
}

static void
cpu_mark (LfQueue *q, gint tag)
{
  gint64 now;

  if (!q->profiling)
    return;
  now = g_get_monotonic_time ();
  if (tag != LF_NO_TAG)
    q->seconds[tag] += (now - q->marked) * 1e-6;
  q->marked = now;
}

static void
cpu_read_profile (LfQueue *q, double *seconds)
{
  gint i;

  for (i = 0; i < LF_MAX_TAGS; i++)
    seconds[i] += q->seconds[i];
  cpu_set_profiling (q, q->profiling);
}

static const LfBackendOps cpu_ops = {
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .host_alloc = cpu_host_alloc,
    .host_free = cpu_host_free,
    .get_memory = cpu_get_memory,
    .queue_new = cpu_queue_new,
    .queue_free = cpu_queue_free,
    .wait = cpu_wait,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .set_profiling = cpu_set_profiling,
    .mark = cpu_mark,
    .read_profile = cpu_read_profile,
    .from_float = cpu_from_float,
    .to_float = cpu_to_float,
    .linear = lf_cpu_linear,
    .linear_to_fp8 = lf_cpu_linear_to_fp8,
    .quantize = lf_cpu_quantize,
    .norm_modulate = lf_cpu_norm_modulate,
    .rms_norm = lf_cpu_rms_norm,
    .qk_norm_rope = lf_cpu_qk_norm_rope,
    .rotate_keys = lf_cpu_rotate_keys,
    .pool_blocks = lf_cpu_pool_blocks,
    .pool_frames = lf_cpu_pool_frames,
    .compress_frames = lf_cpu_compress_frames,
    .expand_frames = lf_cpu_expand_frames,
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
    .pixel_attention = lf_cpu_pixel_attention,
    .latent_to_pixels = lf_cpu_latent_to_pixels,
    .beside_past = lf_cpu_beside_past,
    .pictures_to_frames = lf_cpu_pictures_to_frames,
};

/* What the kernel calls the processor, its vectors, how many there are. */
static char *
describe_processors (void)
{
  g_autofree char *info = NULL, *name = NULL;
  const char *line, *vectors = lf_cpu_has_avx512 () ? ", AVX-512"
                               : lf_cpu_has_avx2 () ? ", AVX2"
                                                    : "";

  if (g_file_get_contents ("/proc/cpuinfo", &info, NULL, NULL)
      && (line = strstr (info, "model name")) && (line = strchr (line, ':')))
    name = g_strstrip (g_strndup (line + 1, strcspn (line + 1, "\n")));
  return g_strdup_printf (
      "%s%s, %u processors", name ? name : "CPU", vectors, g_get_num_processors ());
}

static gboolean
cpu_open (LfBackend *be, LfPrecision precision, GError **error)
{
  Memory *memory;

  if (precision != LF_PRECISION_AUTO && precision != LF_PRECISION_FP32) {
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("precision: the CPU computes in fp32; leave precision at auto, or use a GPU"));
    return FALSE;
  }
  memory = g_new0 (Memory, 1);
  g_mutex_init (&memory->lock);
  memory->sizes = g_hash_table_new (NULL, NULL);
  be->ops = &cpu_ops;
  be->device = describe_processors ();
  be->data = memory;
  be->act = LF_DTYPE_F32;
  be->precision = LF_PRECISION_FP32;
  be->float_limit = (gsize) 1 << 30;
  /* threads are the queue's (cpu.h): OpenBLAS runs in each of them */
  openblas_set_num_threads (1);
  return TRUE;
}

const LfBackendInfo lf_cpu_backend = {"cpu", cpu_open, NULL};
