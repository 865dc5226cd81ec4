/* lightforce: the CUDA backend: device, memory, queues
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "core/i18n.h"
#include "kernels/cuda/device.h"

#define MIN_CAPABILITY 80 /* bf16 */

/* ------------------------------------------------------------------ errors */

void
lf_cuda_set_error (GError **error, cudaError_t status, const char *what)
{
  /* else the next launch of this thread would be told of it, too */
  cudaGetLastError ();
  if (status == cudaErrorMemoryAllocation)
    g_set_error (error, LF_ERROR, LF_ERROR_NO_MEMORY,
        _ ("the GPU's memory is used up (%s); choose a smaller size, a shorter window, "
           "precision=fp8 "
           "or text-encoder-residency=release"),
        what);
  else
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND, _ ("the GPU failed at %s: %s"), what,
        cudaGetErrorString (status));
}

gboolean
lf_cuda_ok (LfQueue *q, cudaError_t status, const char *what)
{
  if (status != cudaSuccess && !q->error)
    lf_cuda_set_error (&q->error, status, what);
  return q->error == NULL;
}

void
lf_cuda_fail (LfQueue *q, gint code, const char *format, ...)
{
  va_list args;

  if (q->error)
    return;
  va_start (args, format);
  q->error = g_error_new_valist (LF_ERROR, code, format, args);
  va_end (args);
}

/* ------------------------------------------------------------------ memory */

static void *
cuda_alloc (LfBackend *be, gsize bytes, GError **error)
{
  LfCudaDevice *device = be->data;
  g_autofree char *what = g_strdup_printf ("%" G_GSIZE_FORMAT " MiB wanted", bytes >> 20);
  void *mem = NULL;
  cudaError_t status;

  bytes = MAX (bytes, 1);
  status = cudaMalloc (&mem, bytes);
  if (status == cudaSuccess && (status = cudaMemset (mem, 0, bytes)) == cudaSuccess)
    /* queues do not wait for the null stream: zeros must be there before they look */
    status = cudaStreamSynchronize (0);
  if (status != cudaSuccess) {
    if (mem)
      cudaFree (mem);
    cudaGetLastError (); /* an allocation that failed leaves the device usable */
    lf_cuda_set_error (error, status, what);
    return NULL;
  }
  g_mutex_lock (&device->lock);
  g_hash_table_insert (device->sizes, mem, GSIZE_TO_POINTER (bytes));
  device->used += bytes;
  device->peak = MAX (device->peak, device->used);
  g_mutex_unlock (&device->lock);
  return mem;
}

static void
cuda_free (LfBackend *be, void *mem)
{
  LfCudaDevice *device = be->data;

  if (!mem)
    return;
  g_mutex_lock (&device->lock);
  device->used -= GPOINTER_TO_SIZE (g_hash_table_lookup (device->sizes, mem));
  g_hash_table_remove (device->sizes, mem);
  g_mutex_unlock (&device->lock);
  cudaFree (mem);
}

/* Page-locked: the copy engine writes it while the caller and the multiprocessors go on. */
static void *
cuda_host_alloc (LfBackend *be, gsize bytes, GError **error)
{
  void *mem = NULL;
  cudaError_t status = cudaHostAlloc (&mem, MAX (bytes, 1), cudaHostAllocDefault);

  if (status == cudaSuccess)
    return mem;
  cudaGetLastError ();
  if (status == cudaErrorMemoryAllocation)
    g_set_error (error, LF_ERROR, LF_ERROR_NO_MEMORY,
        _ ("no page-locked host memory is left (%zu MiB wanted for pictures); choose a smaller "
           "size "
           "or fewer chunks in the queue"),
        bytes >> 20);
  else
    lf_cuda_set_error (error, status, "taking page-locked memory");
  return NULL;
}

static void
cuda_host_free (LfBackend *be, void *mem)
{
  cudaFreeHost (mem);
}

static void
cuda_get_memory (LfBackend *be, LfMemory *memory)
{
  LfCudaDevice *device = be->data;
  size_t available = 0, total = 0;

  if (cudaMemGetInfo (&available, &total) != cudaSuccess)
    available = 0;
  g_mutex_lock (&device->lock);
  *memory = (LfMemory){device->used, device->peak, available};
  g_mutex_unlock (&device->lock);
}

void *
lf_cuda_scratch (LfQueue *q, LfCudaScratch use, gsize bytes)
{
  if (q->error)
    return NULL;
  if (q->scratch[use].bytes < bytes) {
    /* what is queued may still use the old one; cudaFree waits for it */
    cuda_free (q->backend, q->scratch[use].data);
    q->scratch[use].bytes = 0;
    q->scratch[use].data = cuda_alloc (q->backend, bytes, &q->error);
    if (!q->scratch[use].data)
      return NULL;
    q->scratch[use].bytes = bytes;
  }
  return q->scratch[use].data;
}

/* ------------------------------------------------------------------ copies */

/* Through pinned memory: the caller's may be paged, and may be used again at once. */
void
lf_cuda_upload (LfQueue *q, void *dst, const void *src, gsize bytes)
{
  gsize at, n;

  for (at = 0; at < bytes && !q->error; at += n) {
    gint i = q->stage;

    n = MIN (bytes - at, LF_CUDA_STAGE_BYTES);
    if (!q->stages[i].data
        && (!lf_cuda_ok (q,
                cudaHostAlloc (
                    (void **) &q->stages[i].data, LF_CUDA_STAGE_BYTES, cudaHostAllocDefault),
                "taking pinned memory")
            || !lf_cuda_ok (q,
                cudaEventCreateWithFlags (&q->stages[i].free, cudaEventDisableTiming),
                "making an event")))
      return;
    if (!lf_cuda_ok (q, cudaEventSynchronize (q->stages[i].free), "an earlier operation"))
      return;
    memcpy (q->stages[i].data, (const guint8 *) src + at, n);
    if (!lf_cuda_ok (q,
            cudaMemcpyAsync (
                (guint8 *) dst + at, q->stages[i].data, n, cudaMemcpyHostToDevice, q->stream),
            "an upload")
        || !lf_cuda_ok (q, cudaEventRecord (q->stages[i].free, q->stream), "an upload"))
      return;
    q->stage = (i + 1) % LF_CUDA_STAGES;
  }
}

static void
cuda_download (LfQueue *q, void *dst, const void *src, gsize bytes)
{
  if (!q->error)
    lf_cuda_ok (
        q, cudaMemcpyAsync (dst, src, bytes, cudaMemcpyDeviceToHost, q->stream), "a download");
}

const gint32 *
lf_cuda_list (LfQueue *q, const gint32 *host, gint count)
{
  LfCudaList *oldest = &q->lists[0];
  gsize bytes = (gsize) count * sizeof (gint32);
  gint i;

  if (q->error)
    return NULL;
  q->list_clock++;
  for (i = 0; i < LF_CUDA_LISTS; i++) {
    LfCudaList *list = &q->lists[i];

    if (list->device && list->count == count && !memcmp (list->host, host, bytes)) {
      list->used = q->list_clock;
      return list->device;
    }
    if (list->used < oldest->used)
      oldest = list;
  }
  if (oldest->size < count) {
    gint size = MAX (64, 2 * count);

    cuda_free (q->backend, oldest->device);
    oldest->device = NULL;
    oldest->size = 0;
    oldest->host = g_renew (gint32, oldest->host, size);
    oldest->device = cuda_alloc (q->backend, size * sizeof (gint32), &q->error);
    if (!oldest->device)
      return NULL;
    oldest->size = size;
  }
  memcpy (oldest->host, host, bytes);
  oldest->count = 0; /* nothing is found there until it is */
  oldest->used = q->list_clock;
  lf_cuda_upload (q, oldest->device, host, bytes);
  if (q->error)
    return NULL;
  oldest->count = count;
  return oldest->device;
}

/* ------------------------------------------------------------------ queues */

static void
cuda_queue_free (LfQueue *q)
{
  guint i;

  if (q->stream)
    cudaStreamSynchronize (q->stream);
  for (i = 0; i < LF_CUDA_N_SCRATCH; i++)
    cuda_free (q->backend, q->scratch[i].data);
  for (i = 0; i < LF_CUDA_LISTS; i++) {
    cuda_free (q->backend, q->lists[i].device);
    g_free (q->lists[i].host);
  }
  for (i = 0; i < LF_CUDA_STAGES; i++) {
    if (q->stages[i].free)
      cudaEventDestroy (q->stages[i].free);
    if (q->stages[i].data)
      cudaFreeHost (q->stages[i].data);
  }
  for (i = 0; i < q->marks->len; i++)
    cudaEventDestroy (g_array_index (q->marks, LfCudaMark, i).event);
  g_array_unref (q->marks);
  if (q->stream)
    cudaStreamDestroy (q->stream);
  g_clear_error (&q->error);
  g_free (q);
}

static LfQueue *
cuda_queue_new (LfBackend *be, gint threads, GError **error)
{
  LfQueue *q = g_new0 (LfQueue, 1);

  q->backend = be;
  q->device = be->data;
  q->marks = g_array_new (FALSE, TRUE, sizeof (LfCudaMark));
  if (lf_cuda_ok (q, cudaSetDevice (q->device->device), "choosing the device")
      && lf_cuda_ok (
          q, cudaStreamCreateWithFlags (&q->stream, cudaStreamNonBlocking), "making a stream"))
    return q;
  g_propagate_error (error, g_steal_pointer (&q->error));
  cuda_queue_free (q);
  return NULL;
}

static gboolean
cuda_wait (LfQueue *q, GError **error)
{
  lf_cuda_ok (q, cudaStreamSynchronize (q->stream), "an operation");
  if (!q->error)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&q->error));
  return FALSE;
}

/* --------------------------------------------------------------- profiling */

static void
add_mark (LfQueue *q, gint tag)
{
  LfCudaMark *mark;

  if (q->n_marks == q->marks->len) {
    LfCudaMark fresh = {NULL, 0};

    if (!lf_cuda_ok (q, cudaEventCreate (&fresh.event), "making an event"))
      return;
    g_array_append_val (q->marks, fresh);
  }
  mark = &g_array_index (q->marks, LfCudaMark, q->n_marks);
  mark->tag = tag;
  if (lf_cuda_ok (q, cudaEventRecord (mark->event, q->stream), "recording an event"))
    q->n_marks++;
}

static void
cuda_set_profiling (LfQueue *q, gboolean on)
{
  q->profiling = on;
  q->n_marks = 0;
  if (on)
    add_mark (q, 0);
}

static void
cuda_mark (LfQueue *q, gint tag)
{
  if (q->profiling)
    add_mark (q, tag);
}

static void
cuda_read_profile (LfQueue *q, double *seconds)
{
  guint i;

  for (i = 1; i < q->n_marks; i++) {
    LfCudaMark *from = &g_array_index (q->marks, LfCudaMark, i - 1), *to = from + 1;
    float ms = 0;

    if (to->tag != LF_NO_TAG
        && lf_cuda_ok (q, cudaEventElapsedTime (&ms, from->event, to->event), "reading an event"))
      seconds[to->tag] += ms * 1e-3;
  }
  cuda_set_profiling (q, q->profiling);
}

/* ------------------------------------------------------------------- table */

static GMutex shared_lock;
static LfCudaDevice *shared; /* NULL: no backend is open */

/* Under the lock. */
static void
release_device (LfCudaDevice *device)
{
  if (--device->users > 0)
    return;
  lf_cuda_lt_close (device);
  g_hash_table_unref (device->sizes);
  g_mutex_clear (&device->lock);
  g_free (device);
  shared = NULL;
}

static void
cuda_close (LfBackend *be)
{
  g_mutex_lock (&shared_lock);
  release_device (be->data);
  g_mutex_unlock (&shared_lock);
}

static const LfBackendOps cuda_ops = {
    .close = cuda_close,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_host_free,
    .get_memory = cuda_get_memory,
    .queue_new = cuda_queue_new,
    .queue_free = cuda_queue_free,
    .wait = cuda_wait,
    .upload = lf_cuda_upload,
    .download = cuda_download,
    .copy = lf_cuda_copy,
    .set_profiling = cuda_set_profiling,
    .mark = cuda_mark,
    .read_profile = cuda_read_profile,
    .from_float = lf_cuda_from_float,
    .to_float = lf_cuda_to_float,
    .linear = lf_cuda_linear,
    .linear_to_fp8 = lf_cuda_linear_to_fp8,
    .quantize = lf_cuda_quantize,
    .norm_modulate = lf_cuda_norm_modulate,
    .rms_norm = lf_cuda_rms_norm,
    .qk_norm_rope = lf_cuda_qk_norm_rope,
    .rotate_keys = lf_cuda_rotate_keys,
    .pool_blocks = lf_cuda_pool_blocks,
    .pool_frames = lf_cuda_pool_frames,
    .compress_frames = lf_cuda_compress_frames,
    .expand_frames = lf_cuda_expand_frames,
    .select_blocks = lf_cuda_select_blocks,
    .attention = lf_cuda_attention,
    .text_attention = lf_cuda_text_attention,
    .add_modulation = lf_cuda_add_modulation,
    .silu = lf_cuda_silu,
    .patchify = lf_cuda_patchify,
    .unpatchify = lf_cuda_unpatchify,
    .noise = lf_cuda_noise,
    .denoise = lf_cuda_denoise,
    .mix_noise = lf_cuda_mix_noise,
    .lerp = lf_cuda_lerp,
    .embed = lf_cuda_embed,
    .t5_attention = lf_cuda_t5_attention,
    .conv = lf_cuda_conv,
    .pixel_norm_silu = lf_cuda_pixel_norm_silu,
    .pixel_attention = lf_cuda_pixel_attention,
    .latent_to_pixels = lf_cuda_latent_to_pixels,
    .beside_past = lf_cuda_beside_past,
    .pictures_to_frames = lf_cuda_pictures_to_frames,
};

/* Whether there is a device that works: the first one, or what CUDA_VISIBLE_DEVICES says. */
static gboolean
check_device (struct cudaDeviceProp *p, gint device, GError **error)
{
  cudaError_t status;
  gint count = 0;

  status = cudaGetDeviceCount (&count);
  if (status == cudaErrorInsufficientDriver || status == cudaErrorNoDevice
      || (status == cudaSuccess && count == 0)) {
    cudaGetLastError ();
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
        _ ("no NVIDIA GPU can be used: %s; install or update the NVIDIA driver, or choose "
           "backend=cpu"),
        status == cudaSuccess ? _ ("there is none") : cudaGetErrorString (status));
    return FALSE;
  }
  /* cudaFree finds out whether an earlier failure has made the device unusable */
  if (status != cudaSuccess || (status = cudaSetDevice (device)) != cudaSuccess
      || (status = cudaFree (NULL)) != cudaSuccess
      || (status = cudaGetDeviceProperties (p, device)) != cudaSuccess) {
    lf_cuda_set_error (error, status, "opening it");
    return FALSE;
  }
  if (p->major * 10 + p->minor < MIN_CAPABILITY) {
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
        _ ("%s has compute capability %d.%d; 8.0 or newer is needed, or choose backend=cpu"),
        p->name, p->major, p->minor);
    return FALSE;
  }
  return TRUE;
}

/* What does not change while backends are open. */
static gboolean
prepare_device (LfCudaDevice *device, const struct cudaDeviceProp *p, GError **error)
{
  gboolean chains;

  device->capability = p->major * 10 + p->minor;
  device->processors = p->multiProcessorCount;
  device->shared_limit = p->sharedMemPerBlockOptin;
  device->avoid_sm90 = g_getenv ("LIGHTFORCE_CUDA_GENERIC") != NULL;
  if (!lf_cuda_has_code (&chains)) {
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
        _ ("this build has no code for %s (compute capability %d.%d); build it with "
           "-Dgpu_targets=all, or choose backend=cpu"),
        p->name, p->major, p->minor);
    return FALSE;
  }
  device->chains = device->capability >= 90 && chains;
  g_info ("%s, compute capability %d.%d, %.1f GiB", p->name, p->major, p->minor,
      p->totalGlobalMem / 1073741824.0);
  return lf_cuda_lt_open (device, error);
}

/* Under the lock: the device, for one user more. Backends of several precisions work side by
 * side: memory figures and the plans of matrix products are those of all. */
static LfCudaDevice *
take_device (struct cudaDeviceProp *p, GError **error)
{
  LfCudaDevice *device = shared;

  if (!check_device (p, device ? device->device : 0, error))
    return NULL;
  if (!device) {
    device = g_new0 (LfCudaDevice, 1);
    g_mutex_init (&device->lock);
    device->sizes = g_hash_table_new (NULL, NULL);
    shared = device;
  }
  if (++device->users > 1 || prepare_device (device, p, error))
    return device;
  release_device (device);
  return NULL;
}

static LfDType
activations (LfPrecision precision)
{
  switch (precision) {
    case LF_PRECISION_FP32:
      return LF_DTYPE_F32;
    case LF_PRECISION_FP16:
      return LF_DTYPE_F16;
    default:
      return LF_DTYPE_BF16;
  }
}

static gboolean
cuda_open (LfBackend *be, LfPrecision precision, GError **error)
{
  struct cudaDeviceProp p;
  LfCudaDevice *device;
  gint driver = 0;

  be->ops = &cuda_ops;
  be->precision = precision == LF_PRECISION_AUTO ? LF_PRECISION_BF16 : precision;
  be->act = activations (be->precision);
  be->float_limit = be->precision == LF_PRECISION_FP32 ? G_MAXSIZE : 0;
  g_mutex_lock (&shared_lock);
  be->data = device = take_device (&p, error);
  g_mutex_unlock (&shared_lock);
  if (!device)
    return FALSE;
  if (be->precision == LF_PRECISION_FP8 && device->capability < 89) {
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
        _ ("precision=fp8 needs compute capability 8.9 or newer, this GPU has %d.%d; choose bf16"),
        device->capability / 10, device->capability % 10);
    cuda_close (be);
    return FALSE;
  }
  if (cudaDriverGetVersion (&driver) != cudaSuccess)
    cudaGetLastError ();
  be->device =
      g_strdup_printf ("%s, driver for CUDA %d.%d", p.name, driver / 1000, driver % 1000 / 10);
  return TRUE;
}

/* The runtime keeps the primary context of its device, and who shares memory with it has to know
 * it. Asked of the driver, so that the calling thread's current context stays what it is; it is
 * kept for good. */
static void *
cuda_get_context (gint *device, GError **error)
{
  static void *context;
  void *retain = NULL;
  enum cudaDriverEntryPointQueryResult found;
  gint count = 0, status;

  *device = 0; /* as take_device */
  g_mutex_lock (&shared_lock);
  if (!context && cudaGetDeviceCount (&count) == cudaSuccess && count > 0
      && cudaGetDriverEntryPointByVersion (
             "cuDevicePrimaryCtxRetain", &retain, 12000, cudaEnableDefault, &found)
             == cudaSuccess
      && found == cudaDriverEntryPointSuccess) {
    status = ((gint (*) (void **, gint)) retain) (&context, 0);
    if (status != 0)
      context = NULL;
  }
  g_mutex_unlock (&shared_lock);
  if (!context) {
    cudaGetLastError ();
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
        _ ("no NVIDIA GPU can be used; install or update the NVIDIA driver"));
  }
  return context;
}

const LfBackendInfo lf_cuda_backend = {"cuda", cuda_open, cuda_get_context};
