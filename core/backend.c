/* lightforce: choosing and opening a backend
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "backend.h"

#include "i18n.h"

/* Every operation must be there: a missing one is a bug that shows here and not in the
 * middle of a stream. The table holds nothing but function pointers. */
static gboolean
check_operations (const LfBackend *be, GError **error)
{
  const gpointer *ops = (const gpointer *) be->ops;
  gsize i;

  for (i = 0; i < sizeof (LfBackendOps) / sizeof (gpointer); i++) {
    if (!ops[i]) {
      g_set_error (error, LF_ERROR, LF_ERROR_BACKEND, _ ("backend %s lacks operation number %zu"),
          be->name, i);
      return FALSE;
    }
  }
  return TRUE;
}

static LfBackend *
open_one (const LfBackendInfo *info, LfPrecision precision, GError **error)
{
  LfBackend *be = g_new0 (LfBackend, 1);

  be->name = info->name;
  if (!info->open (be, precision, error)) {
    g_free (be->device);
    g_free (be);
    return NULL;
  }
  if (!check_operations (be, error)) {
    lf_backend_close (be);
    return NULL;
  }
  return be;
}

LfBackend *
lf_backend_open (const char *name, LfPrecision precision, GError **error)
{
  gboolean any = !name || !g_strcmp0 (name, "auto");
  g_autoptr (GString) names = g_string_new (NULL);
  g_autoptr (GString) reasons = g_string_new (NULL);
  g_autoptr (GError) last = NULL;
  gint i;

  for (i = 0; lf_backends[i]; i++) {
    if (any) {
      LfBackend *be;

      g_clear_error (&last);
      if ((be = open_one (lf_backends[i], precision, &last)))
        return be;
      g_info ("backend %s: %s", lf_backends[i]->name, last->message);
      g_string_append_printf (
          reasons, "%s%s: %s", i ? "; " : "", lf_backends[i]->name, last->message);
    } else if (g_str_equal (name, lf_backends[i]->name)) {
      return open_one (lf_backends[i], precision, error);
    }
    g_string_append_printf (names, "%s%s", i ? ", " : "", lf_backends[i]->name);
  }
  if (last)
    g_set_error_literal (error, last->domain, last->code, i > 1 ? reasons->str : last->message);
  else
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
        _ ("backend \"%s\" is not part of this build; it has: %s"), name, names->str);
  return NULL;
}

void *
lf_device_get_context (const char *backend, gint *device, GError **error)
{
  gint i;

  for (i = 0; lf_backends[i]; i++)
    if (!g_strcmp0 (backend, lf_backends[i]->name) && lf_backends[i]->get_context)
      return lf_backends[i]->get_context (device, error);
  g_set_error (error, LF_ERROR, LF_ERROR_UNSUPPORTED,
      _ ("backend \"%s\" has no device context, or is not part of this build"), backend);
  return NULL;
}

void
lf_backend_close (LfBackend *be)
{
  be->ops->close (be);
  g_free (be->device);
  g_free (be);
}
