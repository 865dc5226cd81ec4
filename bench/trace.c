/* lightforce-bench: what a GPU does when
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "trace.h"

#include "core/lightforce.h"

#ifdef LF_HAVE_CUPTI
#include <cupti.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define BUFFER_BYTES ((gsize) 8 << 20)

#define FUNCTIONS(F)                                                                               \
  F (ActivityRegisterCallbacks)                                                                    \
  F (ActivityEnable)                                                                               \
  F (ActivityDisable)                                                                              \
  F (ActivityFlushAll)                                                                             \
  F (ActivityGetNextRecord)

static const CUpti_ActivityKind kinds[] = {
    CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET};

typedef struct
{
  const char *name; /* interned */
  guint64 start, end;
  guint32 stream;
} Activity;

/* CUPTI's callbacks have no user data. */
static struct
{
#define DECLARE(name) __typeof__ (&cupti##name) name;
  FUNCTIONS (DECLARE)
#undef DECLARE
  GMutex lock;
  GArray *activities;
} cupti;

static void CUPTIAPI
give_buffer (uint8_t **buffer, size_t *size, size_t *max_records)
{
  *buffer = aligned_alloc (8, BUFFER_BYTES);
  *size = *buffer ? BUFFER_BYTES : 0;
  *max_records = 0;
}

static void
add (const char *name, guint64 start, guint64 end, guint32 stream)
{
  Activity a = {g_intern_string (name), start, end, stream};

  g_array_append_val (cupti.activities, a);
}

static void
add_record (const CUpti_Activity *record)
{
  if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
    const CUpti_ActivityMemcpy6 *copy = (const CUpti_ActivityMemcpy6 *) record;

    add (copy->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_HTOD   ? "upload"
         : copy->copyKind == CUPTI_ACTIVITY_MEMCPY_KIND_DTOH ? "download"
                                                             : "copy",
        copy->start, copy->end, copy->streamId);
  } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
    const CUpti_ActivityMemset4 *fill = (const CUpti_ActivityMemset4 *) record;
    char name[64];

    g_snprintf (name, sizeof (name), "fill of %" G_GUINT64_FORMAT " bytes", (guint64) fill->bytes);
    add (name, fill->start, fill->end, fill->streamId);
  } else if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
    const CUpti_ActivityKernel10 *kernel = (const CUpti_ActivityKernel10 *) record;

    add (kernel->name, kernel->start, kernel->end, kernel->streamId);
  }
}

static void CUPTIAPI
take_buffer (CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid)
{
  CUpti_Activity *record = NULL;

  g_mutex_lock (&cupti.lock);
  while (cupti.activities && cupti.ActivityGetNextRecord (buffer, valid, &record) == CUPTI_SUCCESS)
    add_record (record);
  g_mutex_unlock (&cupti.lock);
  free (buffer);
}

gboolean
bench_trace_start (GError **error)
{
  void *library = dlopen ("libcupti.so." G_STRINGIFY (LF_HAVE_CUPTI), RTLD_NOW | RTLD_LOCAL);
  gsize i;

  if (!library)
    library = dlopen ("libcupti.so", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND,
        "--trace needs libcupti of the CUDA toolkit (%s); put its folder into LD_LIBRARY_PATH",
        dlerror ());
    return FALSE;
  }
#define FIND(name)                                                                                 \
  if (!(cupti.name = (__typeof__ (cupti.name)) dlsym (library, "cupti" #name)))                    \
    goto fail;
  FUNCTIONS (FIND)
#undef FIND
  cupti.activities = g_array_new (FALSE, FALSE, sizeof (Activity));
  if (cupti.ActivityRegisterCallbacks (give_buffer, take_buffer) != CUPTI_SUCCESS)
    goto fail;
  for (i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (cupti.ActivityEnable (kinds[i]) != CUPTI_SUCCESS)
      goto fail;
  return TRUE;

fail:
  g_clear_pointer (&cupti.activities, g_array_unref);
  g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
      "--trace: CUPTI refuses to record; is another profiler at work?");
  return FALSE;
}

static gint
compare (gconstpointer a, gconstpointer b)
{
  const Activity *x = a, *y = b;

  return x->start < y->start ? -1 : x->start > y->start;
}

/* What is done at the same time counts once. */
static void
measure (const GArray *activities, BenchTrace *trace)
{
  guint64 first, until, busy = 0, gap = 0;
  guint i;

  first = until = activities->len ? g_array_index (activities, Activity, 0).start : 0;
  for (i = 0; i < activities->len; i++) {
    const Activity *a = &g_array_index (activities, Activity, i);

    if (a->start > until)
      gap = MAX (gap, a->start - until);
    if (a->end > until) {
      busy += a->end - MAX (a->start, until);
      until = a->end;
    }
  }
  *trace = (BenchTrace){activities->len, (until - first) * 1e-9, busy * 1e-9, gap * 1e-9};
}

static gboolean
write_file (const char *path, const GArray *activities, GError **error)
{
  FILE *f = fopen (path, "w");
  gboolean ok;
  guint i;

  if (!f) {
    g_set_error (
        error, LF_ERROR, LF_ERROR_NOT_FOUND, "%s: the trace cannot be written there", path);
    return FALSE;
  }
  fprintf (f, "{\"displayTimeUnit\": \"ns\", \"traceEvents\": [");
  for (i = 0; i < activities->len; i++) {
    const Activity *a = &g_array_index (activities, Activity, i);
    guint64 start = a->start - g_array_index (activities, Activity, 0).start;

    fprintf (f,
        "%s\n{\"ph\": \"X\", \"pid\": 0, \"tid\": %u, \"name\": \"%s\", \"ts\": %.3f, \"dur\": "
        "%.3f}",
        i ? "," : "", a->stream, a->name, start * 1e-3, (a->end - a->start) * 1e-3);
  }
  fprintf (f, "\n]}\n");
  ok = !ferror (f);
  if (fclose (f) || !ok) {
    g_set_error (error, LF_ERROR, LF_ERROR_NOT_FOUND, "%s: the trace cannot be written", path);
    return FALSE;
  }
  return TRUE;
}

void
bench_trace_forget (void)
{
  cupti.ActivityFlushAll (CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  g_mutex_lock (&cupti.lock);
  g_array_set_size (cupti.activities, 0);
  g_mutex_unlock (&cupti.lock);
}

gboolean
bench_trace_stop (const char *path, BenchTrace *trace, GError **error)
{
  GArray *activities;
  gboolean ok;
  gsize i;

  for (i = 0; i < G_N_ELEMENTS (kinds); i++)
    cupti.ActivityDisable (kinds[i]);
  cupti.ActivityFlushAll (CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  g_mutex_lock (&cupti.lock);
  activities = g_steal_pointer (&cupti.activities);
  g_mutex_unlock (&cupti.lock);
  g_array_sort (activities, compare);
  measure (activities, trace);
  ok = write_file (path, activities, error);
  g_array_unref (activities);
  return ok;
}

#else

gboolean
bench_trace_start (GError **error)
{
  g_set_error (error, LF_ERROR, LF_ERROR_UNSUPPORTED,
      "--trace needs a build with CUDA and its CUPTI headers");
  return FALSE;
}

void
bench_trace_forget (void)
{
}

gboolean
bench_trace_stop (const char *path, BenchTrace *trace, GError **error)
{
  g_return_val_if_reached (FALSE);
}
#endif
