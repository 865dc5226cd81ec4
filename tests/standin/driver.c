/* lightforce: a CUDA driver without a GPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <glib.h>
#include <string.h>

#include "tests/standin/driver.h"

/* The interface is the driver's, whose header has other names for some of it in every version. */
#define SUCCESS 0
#define REFUSED 1
#define NOT_SUPPORTED 801
#define MEMORY_DEVICE 2
#define TEXTURE_ALIGNMENT 14
#define PITCH 512

typedef guint64 Device; /* an address there */

typedef struct
{
  gsize x, y;
  gint type;
  void *host;
  Device device;
  void *array;
  gsize pitch;
} Place;

typedef struct
{
  Place from, to;
  gsize width, height;
} Copy;

/* What is not called is there all the same: the library looks it all up. */
#define NOTHING(name)                                                                              \
  gint name (void)                                                                                 \
  {                                                                                                \
    return NOT_SUPPORTED;                                                                          \
  }

NOTHING (cuCtxEnablePeerAccess)
NOTHING (cuCtxDisablePeerAccess)
NOTHING (cuGraphicsMapResources)
NOTHING (cuGraphicsUnmapResources)
NOTHING (cuGraphicsUnregisterResource)
NOTHING (cuGraphicsGLRegisterImage)
NOTHING (cuGraphicsGLRegisterBuffer)
NOTHING (cuGraphicsResourceSetMapFlags_v2)
NOTHING (cuGraphicsResourceGetMappedPointer_v2)
NOTHING (cuGraphicsSubResourceGetMappedArray)
NOTHING (cuGLGetDevices_v2)
NOTHING (cuMemAlloc_v2)
NOTHING (cuModuleLoadData)
NOTHING (cuModuleUnload)
NOTHING (cuModuleGetFunction)
NOTHING (cuTexObjectCreate)
NOTHING (cuTexObjectDestroy)
NOTHING (cuLaunchKernel)

typedef struct
{
  guint8 *data;
  gsize bytes;
  void *context;
} Memory;

typedef struct
{
  GArray *copies; /* Copy, to be done */
} Stream;

static GMutex mutex;
static DriverCounts counts;
static GList *memories;
static GPrivate stack; /* GSList of contexts */
static gsize next_context = 0x200;

void
driver_get_counts (DriverCounts *out)
{
  g_mutex_lock (&mutex);
  *out = counts;
  g_mutex_unlock (&mutex);
}

static gint
refuse (void)
{
  g_mutex_lock (&mutex);
  counts.refused++;
  g_mutex_unlock (&mutex);
  return REFUSED;
}

/* ------------------------------------------------------------- devices, contexts */

gint
cuInit (guint flags)
{
  return SUCCESS;
}

gint
cuDriverGetVersion (int *version)
{
  *version = 12000;
  return SUCCESS;
}

gint
cuDeviceGetCount (int *count)
{
  *count = 1;
  return SUCCESS;
}

gint
cuDeviceGet (gint *device, int ordinal)
{
  *device = ordinal;
  return ordinal == 0 ? SUCCESS : refuse ();
}

gint
cuDeviceGetName (char *name, int length, gint device)
{
  g_strlcpy (name, "stand-in", (gsize) length);
  return SUCCESS;
}

gint
cuDeviceGetAttribute (int *value, gint attribute, gint device)
{
  *value = attribute == TEXTURE_ALIGNMENT ? PITCH : 8;
  return SUCCESS;
}

gint
cuDeviceCanAccessPeer (int *can, gint device, gint peer)
{
  *can = 0; /* as between contexts of one device */
  return SUCCESS;
}

gint
cuCtxPushCurrent_v2 (void *context)
{
  g_private_set (&stack, g_slist_prepend (g_private_get (&stack), context));
  return SUCCESS;
}

gint
cuCtxPopCurrent_v2 (void **context)
{
  GSList *list = g_private_get (&stack);

  if (list == NULL)
    return refuse ();
  if (context)
    *context = list->data;
  g_private_set (&stack, g_slist_delete_link (list, list));
  return SUCCESS;
}

gint
cuCtxCreate_v2 (void **context, guint flags, gint device)
{
  g_mutex_lock (&mutex);
  counts.contexts++;
  *context = GSIZE_TO_POINTER (next_context++);
  g_mutex_unlock (&mutex);
  return cuCtxPushCurrent_v2 (*context);
}

gint
cuCtxDestroy_v2 (void *context)
{
  return context == DRIVER_PRIMARY ? refuse () : SUCCESS;
}

static void *
current (void)
{
  GSList *list = g_private_get (&stack);

  return list ? list->data : NULL;
}

/* ----------------------------------------------------------------------- memory */

static gint
take (void **data, gsize bytes)
{
  Memory *memory;

  if (current () == NULL)
    return refuse ();
  memory = g_new (Memory, 1);
  *memory = (Memory){g_malloc (bytes), bytes, current ()};
  memset (memory->data, 0xaa, bytes);
  g_mutex_lock (&mutex);
  memories = g_list_prepend (memories, memory);
  counts.memory++;
  g_mutex_unlock (&mutex);
  *data = memory->data;
  return SUCCESS;
}

/* With the lock. */
static GList *
find (const void *data)
{
  GList *l = memories;

  while (l
         && ((guint8 *) data < ((Memory *) l->data)->data
             || (guint8 *) data >= ((Memory *) l->data)->data + ((Memory *) l->data)->bytes))
    l = l->next;
  return l;
}

static gint
give_back (const void *data)
{
  GList *l;

  g_mutex_lock (&mutex);
  l = find (data);
  if (l) {
    g_free (((Memory *) l->data)->data);
    g_free (l->data);
    memories = g_list_delete_link (memories, l);
    counts.memory--;
  }
  g_mutex_unlock (&mutex);
  return l ? SUCCESS : refuse ();
}

gint
cuMemAllocPitch_v2 (Device *data, gsize *pitch, gsize width, gsize height, guint element)
{
  *pitch = (width + PITCH - 1) / PITCH * PITCH;
  return take ((void **) data, *pitch * height);
}

gint
cuMemAllocHost_v2 (void **data, gsize bytes)
{
  return take (data, bytes);
}

gint
cuMemFree_v2 (Device data)
{
  return give_back ((void *) data);
}

gint
cuMemFreeHost (void *data)
{
  return give_back (data);
}

/* Whether `data` is memory of the current context. */
static gboolean
within_reach (Device data)
{
  gboolean reach;
  GList *l;

  g_mutex_lock (&mutex);
  l = find ((void *) data);
  reach = current () == (l ? ((Memory *) l->data)->context : DRIVER_PRIMARY);
  g_mutex_unlock (&mutex);
  return reach;
}

static gint
check (const Copy *p)
{
  gboolean from = p->from.type == MEMORY_DEVICE;
  gboolean to = p->to.type == MEMORY_DEVICE;

  if (current () == NULL || (from && !within_reach (p->from.device))
      || (to && !within_reach (p->to.device)) || p->width > p->from.pitch || p->width > p->to.pitch)
    return refuse ();
  g_mutex_lock (&mutex);
  counts.within += from && to;
  counts.down += from && !to;
  counts.up += !from && to;
  g_mutex_unlock (&mutex);
  return SUCCESS;
}

static void
do_copy (const Copy *p)
{
  const guint8 *from = p->from.type == MEMORY_DEVICE ? (guint8 *) p->from.device : p->from.host;
  guint8 *to = p->to.type == MEMORY_DEVICE ? (guint8 *) p->to.device : p->to.host;
  gsize i;

  for (i = 0; i < p->height; i++)
    memcpy (to + i * p->to.pitch, from + i * p->from.pitch, p->width);
}

gint
cuMemcpy2D_v2 (const Copy *params)
{
  gint result = check (params);

  if (result == SUCCESS)
    do_copy (params);
  return result;
}

/* ---------------------------------------------------------------------- streams */

gint
cuStreamCreate (Stream **stream, guint flags)
{
  if (current () == NULL)
    return refuse ();
  *stream = g_new (Stream, 1);
  (*stream)->copies = g_array_new (FALSE, FALSE, sizeof (Copy));
  g_mutex_lock (&mutex);
  counts.streams++;
  g_mutex_unlock (&mutex);
  return SUCCESS;
}

gint
cuStreamSynchronize (Stream *stream)
{
  guint i;

  for (i = 0; stream && i < stream->copies->len; i++)
    do_copy (&g_array_index (stream->copies, Copy, i));
  if (stream)
    g_array_set_size (stream->copies, 0);
  return SUCCESS;
}

gint
cuStreamDestroy (Stream *stream)
{
  g_array_unref (stream->copies);
  g_free (stream);
  g_mutex_lock (&mutex);
  counts.streams--;
  g_mutex_unlock (&mutex);
  return SUCCESS;
}

gint
cuMemcpy2DAsync_v2 (const Copy *params, Stream *stream)
{
  gint result = check (params);

  if (result == SUCCESS && stream)
    g_array_append_val (stream->copies, *params);
  else if (result == SUCCESS)
    do_copy (params); /* the null stream is waited for by those who use it */
  return result;
}

/* ------------------------------------------------------------------------ errors */

gint
cuGetErrorName (gint error, const char **text)
{
  *text = "CUDA_ERROR_INVALID_VALUE";
  return SUCCESS;
}

gint
cuGetErrorString (gint error, const char **text)
{
  *text = "the stand-in refuses it";
  return SUCCESS;
}
