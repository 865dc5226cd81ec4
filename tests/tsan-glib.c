/* lightforce: lets ThreadSanitizer see GLib's locks
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * GLib's mutexes are futexes inside a library that is not instrumented, so ThreadSanitizer
 * takes everything they protect for a race. These wrappers stand in front of them in programs
 * built for it, and say what each call orders.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <glib.h>

void __tsan_acquire (void *address);
void __tsan_release (void *address);

#define EXPORT __attribute__ ((visibility ("default")))

/* `real` is the function of this name in the libraries behind this one. */
#define REAL(type, name)                                                                           \
  static type known;                                                                               \
  type real = __atomic_load_n (&known, __ATOMIC_ACQUIRE);                                          \
  if (!real)                                                                                       \
  __atomic_store_n (&known, real = (type) dlsym (RTLD_NEXT, name), __ATOMIC_RELEASE)

typedef void (*MutexFunc) (GMutex *);
typedef gboolean (*TryFunc) (GMutex *);
typedef void (*WaitFunc) (GCond *, GMutex *);
typedef gboolean (*WaitUntilFunc) (GCond *, GMutex *, gint64);
typedef gboolean (*OnceFunc) (volatile void *);
typedef void (*OnceLeaveFunc) (volatile void *, gsize);

EXPORT void
g_mutex_lock (GMutex *mutex)
{
  REAL (MutexFunc, "g_mutex_lock");
  real (mutex);
  __tsan_acquire (mutex);
}

EXPORT gboolean
g_mutex_trylock (GMutex *mutex)
{
  REAL (TryFunc, "g_mutex_trylock");
  if (!real (mutex))
    return FALSE;
  __tsan_acquire (mutex);
  return TRUE;
}

EXPORT void
g_mutex_unlock (GMutex *mutex)
{
  REAL (MutexFunc, "g_mutex_unlock");
  __tsan_release (mutex);
  real (mutex);
}

EXPORT void
g_cond_wait (GCond *cond, GMutex *mutex)
{
  REAL (WaitFunc, "g_cond_wait");
  __tsan_release (mutex);
  real (cond, mutex);
  __tsan_acquire (mutex);
}

EXPORT gboolean
g_cond_wait_until (GCond *cond, GMutex *mutex, gint64 end_time)
{
  gboolean signalled;

  REAL (WaitUntilFunc, "g_cond_wait_until");
  __tsan_release (mutex);
  signalled = real (cond, mutex, end_time);
  __tsan_acquire (mutex);
  return signalled;
}

#undef g_once_init_enter
#undef g_once_init_leave

EXPORT gboolean
g_once_init_enter (volatile void *location)
{
  gboolean first;

  REAL (OnceFunc, "g_once_init_enter");
  first = real (location);
  __tsan_acquire ((void *) location);
  return first;
}

EXPORT void
g_once_init_leave (volatile void *location, gsize result)
{
  REAL (OnceLeaveFunc, "g_once_init_leave");
  __tsan_release ((void *) location);
  real (location, result);
}
