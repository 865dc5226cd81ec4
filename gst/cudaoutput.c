/* lightforce: frames in CUDA memory
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The library keeps its memory in the primary context of its device. Other elements make contexts of
 * their own unless they are given one, and memory of one context is out of reach in another, even on
 * the same device: so the primary one is wrapped and offered to all of them, and a foreign one is
 * taken only where it is the same underneath or GStreamer has made the two peers.
 */
#define GST_USE_UNSTABLE_API
#include "gst/cudaoutput.h"

#include <gst/cuda/cuda-gst.h>
#include <gst/cuda/gstcudabufferpool.h>
#include <gst/cuda/gstcudacontext.h>
#include <gst/cuda/gstcudaloader.h>
#include <gst/cuda/gstcudamemory.h>
#include <gst/cuda/gstcudautils.h>

GST_DEBUG_CATEGORY_EXTERN (lightforcesrc_debug);
#define GST_CAT_DEFAULT lightforcesrc_debug

struct _LfSrcCuda
{
  GMutex lock;
  gboolean tried;          /* to make `own` */
  gboolean shared;         /* neighbours were asked and told */
  GstCudaContext *own;     /* wraps the backend's; NULL: not available */
  GstCudaContext *context; /* in use: `own` or one that shares memory with it */
  GstCudaContext *given;   /* was set and not looked at yet */
  CUstream stream;         /* of copies, in `own` */
};

LfSrcCuda *
lf_src_cuda_new (void)
{
  LfSrcCuda *cuda = g_new0 (LfSrcCuda, 1);

  g_mutex_init (&cuda->lock);
  return cuda;
}

void
lf_src_cuda_free (LfSrcCuda *cuda)
{
  if (cuda->stream && gst_cuda_context_push (cuda->own)) {
    gst_cuda_result (CuStreamDestroy (cuda->stream));
    gst_cuda_context_pop (NULL);
  }
  gst_clear_object (&cuda->given);
  gst_clear_object (&cuda->context);
  gst_clear_object (&cuda->own);
  g_mutex_clear (&cuda->lock);
  g_free (cuda);
}

/* -------------------------------------------------------------------- contexts */

static gboolean
share_memory (GstCudaContext *a, GstCudaContext *b)
{
  return a == b || gst_cuda_context_get_handle (a) == gst_cuda_context_get_handle (b)
         || (gst_cuda_context_can_access_peer (a, b) && gst_cuda_context_can_access_peer (b, a));
}

/* With the lock. */
static GstCudaContext *
make_own (void)
{
  g_autoptr (GError) error = NULL;
  void *handle;
  gint device;

  /* Where the driver is not there, every other function of that library aborts. */
  if (!gst_cuda_load_library ())
    return NULL;
  gst_cuda_memory_init_once ();
  handle = lf_device_get_context ("cuda", &device, &error);
  if (handle == NULL) {
    GST_INFO ("no frames in CUDA memory: %s", error->message);
    return NULL;
  }
  return gst_cuda_context_new_wrapped (handle, device);
}

/* With the lock: the context in use, NULL if there is none. */
static GstCudaContext *
get_context (LfSrcCuda *cuda)
{
  if (!cuda->tried)
    cuda->own = make_own ();
  cuda->tried = TRUE;
  if (cuda->own && cuda->given) {
    if (share_memory (cuda->given, cuda->own))
      gst_object_replace ((GstObject **) &cuda->context, GST_OBJECT (cuda->given));
    else
      GST_INFO ("%" GST_PTR_FORMAT " is not the backend's, which is offered instead", cuda->given);
    gst_clear_object (&cuda->given);
  }
  if (cuda->own && cuda->context == NULL)
    cuda->context = gst_object_ref (cuda->own);
  return cuda->context;
}

gboolean
lf_src_cuda_is_available (LfSrcCuda *cuda)
{
  gboolean available;

  g_mutex_lock (&cuda->lock);
  available = get_context (cuda) != NULL;
  g_mutex_unlock (&cuda->lock);
  return available;
}

void
lf_src_cuda_set_context (LfSrcCuda *cuda, GstContext *context)
{
  const GstStructure *structure;
  GstCudaContext *given = NULL;

  if (g_strcmp0 (gst_context_get_context_type (context), GST_CUDA_CONTEXT_TYPE) != 0)
    return;
  structure = gst_context_get_structure (context);
  if (!gst_structure_get (structure, GST_CUDA_CONTEXT_TYPE, GST_TYPE_CUDA_CONTEXT, &given, NULL)
      || given == NULL)
    return;
  g_mutex_lock (&cuda->lock);
  gst_clear_object (&cuda->given);
  cuda->given = given;
  g_mutex_unlock (&cuda->lock);
}

void
lf_src_cuda_share (LfSrcCuda *cuda, GstElement *element)
{
  g_autoptr (GstPad) pad = gst_element_get_static_pad (element, "src");
  GstQuery *query;
  GstCudaContext *context;
  GstContext *other = NULL;
  gboolean shared;

  g_mutex_lock (&cuda->lock);
  shared = cuda->shared;
  cuda->shared = TRUE;
  g_mutex_unlock (&cuda->lock);
  if (shared)
    return;
  query = gst_query_new_context (GST_CUDA_CONTEXT_TYPE);
  if (gst_pad_peer_query (pad, query)) {
    gst_query_parse_context (query, &other);
    if (other)
      lf_src_cuda_set_context (cuda, other);
  } else {
    /* An application that has one sets it at this message. */
    gst_element_post_message (
        element, gst_message_new_need_context (GST_OBJECT (element), GST_CUDA_CONTEXT_TYPE));
  }
  gst_query_unref (query);
  g_mutex_lock (&cuda->lock);
  context = get_context (cuda);
  if (context)
    gst_object_ref (context);
  g_mutex_unlock (&cuda->lock);
  if (context == NULL)
    return;
  gst_element_post_message (element,
      gst_message_new_have_context (GST_OBJECT (element), gst_context_new_cuda_context (context)));
  gst_object_unref (context);
}

gboolean
lf_src_cuda_answer (LfSrcCuda *cuda, GstElement *element, GstQuery *query)
{
  const char *type;
  GstCudaContext *context;
  gboolean done = FALSE;

  if (!gst_query_parse_context_type (query, &type) || g_strcmp0 (type, GST_CUDA_CONTEXT_TYPE) != 0)
    return FALSE;
  g_mutex_lock (&cuda->lock);
  context = get_context (cuda);
  if (context)
    gst_object_ref (context);
  g_mutex_unlock (&cuda->lock);
  if (context)
    done = gst_cuda_handle_context_query (element, query, context);
  gst_clear_object (&context);
  return done;
}

/* ------------------------------------------------------------------- memory */

static gboolean
set_config (GstBufferPool *pool, GstCaps *caps, guint *size, guint min, guint max)
{
  GstStructure *config = gst_buffer_pool_get_config (pool);

  gst_buffer_pool_config_set_params (config, caps, *size, min, max);
  gst_buffer_pool_config_add_option (config, GST_BUFFER_POOL_OPTION_VIDEO_META);
  if (!gst_buffer_pool_set_config (pool, config))
    return FALSE;
  /* rows are as long as the device likes */
  config = gst_buffer_pool_get_config (pool);
  gst_buffer_pool_config_get_params (config, NULL, size, NULL, NULL);
  gst_structure_free (config);
  return TRUE;
}

gboolean
lf_src_cuda_decide_allocation (LfSrcCuda *cuda, GstQuery *query)
{
  gboolean update = gst_query_get_n_allocation_pools (query) > 0, done;
  GstBufferPool *pool = NULL;
  guint size = 0, min = 0, max = 0;
  GstCudaContext *context;
  GstVideoInfo info;
  GstCaps *caps;

  gst_query_parse_allocation (query, &caps, NULL);
  if (caps == NULL || !gst_video_info_from_caps (&info, caps))
    return FALSE;
  if (update)
    gst_query_parse_nth_allocation_pool (query, 0, &pool, &size, &min, &max);
  size = MAX (size, (guint) info.size);
  g_mutex_lock (&cuda->lock);
  context = get_context (cuda);
  if (context)
    gst_object_ref (context);
  g_mutex_unlock (&cuda->lock);
  if (context == NULL) {
    gst_clear_object (&pool);
    return FALSE;
  }
  if (pool
      && (!GST_IS_CUDA_BUFFER_POOL (pool)
          || !share_memory (GST_CUDA_BUFFER_POOL (pool)->context, context)))
    gst_clear_object (&pool);
  done = pool && set_config (pool, caps, &size, min, max);
  if (!done) {
    gst_clear_object (&pool);
    pool = gst_cuda_buffer_pool_new (context);
    max = 0;
    done = set_config (pool, caps, &size, min, max);
  }
  if (done && update)
    gst_query_set_nth_allocation_pool (query, 0, pool, size, min, max);
  else if (done)
    gst_query_add_allocation_pool (query, pool, size, min, max);
  gst_object_unref (pool);
  gst_object_unref (context);
  return done;
}

/* With the backend's context pushed: waits for one copy. The null stream would wait for other
 * elements' work, too. */
static gboolean
copy (LfSrcCuda *cuda, const CUDA_MEMCPY2D *params, gint n)
{
  gboolean done = cuda->stream != NULL
                  || gst_cuda_result (CuStreamCreate (&cuda->stream, CU_STREAM_NON_BLOCKING));
  gint i;

  for (i = 0; i < n && done; i++)
    done = gst_cuda_result (CuMemcpy2DAsync (&params[i], cuda->stream));
  /* also after a failure: what was begun may still read the chunk */
  if (cuda->stream)
    done &= gst_cuda_result (CuStreamSynchronize (cuda->stream));
  return done;
}

/* The same from outside. */
static gboolean
run_copies (LfSrcCuda *cuda, const CUDA_MEMCPY2D *params, gint n)
{
  gboolean done;

  g_mutex_lock (&cuda->lock);
  done = get_context (cuda) && gst_cuda_context_push (cuda->own);
  if (done) {
    done = copy (cuda, params, n);
    gst_cuda_context_pop (NULL);
  }
  g_mutex_unlock (&cuda->lock);
  return done;
}

/* Whether all of it is where the backend can write. */
static gboolean
is_ours (LfSrcCuda *cuda, GstBuffer *buffer)
{
  GstMemory *memory = gst_buffer_peek_memory (buffer, 0);
  gboolean ours;

  if (gst_buffer_n_memory (buffer) != 1 || !gst_is_cuda_memory (memory))
    return FALSE;
  g_mutex_lock (&cuda->lock);
  ours = get_context (cuda) && share_memory (GST_CUDA_MEMORY_CAST (memory)->context, cuda->own);
  g_mutex_unlock (&cuda->lock);
  return ours;
}

gboolean
lf_src_cuda_copy (LfSrcCuda *cuda, const LfChunk *chunk, gint picture, const GstVideoInfo *info,
    GstBuffer *buffer)
{
  const guint8 *data = chunk->data + (gsize) picture * chunk->layout.size;
  CUDA_MEMCPY2D params[GST_VIDEO_MAX_PLANES] = {0};
  GstVideoFrame frame;
  gboolean done;
  guint i;

  if (!is_ours (cuda, buffer)
      || !gst_video_frame_map (&frame, info, buffer, GST_MAP_WRITE | GST_MAP_CUDA))
    return FALSE;
  /* the first component of each plane has the plane's number in all formats that are made */
  for (i = 0; i < GST_VIDEO_FRAME_N_PLANES (&frame); i++)
    params[i] = (CUDA_MEMCPY2D){
        .srcMemoryType = CU_MEMORYTYPE_DEVICE,
        .srcDevice = (CUdeviceptr) (data + chunk->layout.offset[i]),
        .srcPitch = chunk->layout.stride[i],
        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
        .dstDevice = (CUdeviceptr) GST_VIDEO_FRAME_PLANE_DATA (&frame, i),
        .dstPitch = (gsize) GST_VIDEO_FRAME_PLANE_STRIDE (&frame, i),
        .WidthInBytes = (gsize) GST_VIDEO_FRAME_COMP_WIDTH (&frame, i)
                        * GST_VIDEO_FRAME_COMP_PSTRIDE (&frame, i),
        .Height = (gsize) GST_VIDEO_FRAME_COMP_HEIGHT (&frame, i),
    };
  done = run_copies (cuda, params, (gint) i);
  gst_video_frame_unmap (&frame);
  return done;
}

gboolean
lf_src_cuda_download (LfSrcCuda *cuda, void *host, const void *device, gsize bytes)
{
  CUDA_MEMCPY2D params = {
      .srcMemoryType = CU_MEMORYTYPE_DEVICE,
      .srcDevice = (CUdeviceptr) device,
      .srcPitch = bytes,
      .dstMemoryType = CU_MEMORYTYPE_HOST,
      .dstHost = host,
      .dstPitch = bytes,
      .WidthInBytes = bytes,
      .Height = 1,
  };

  return run_copies (cuda, &params, 1);
}
