/* lightforce: how a stream may be made
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "streamconfig.h"

#include <string.h>

#include "i18n.h"
#include "modelconfig.h"
#include "sparsity.h"

#define MAX_SIZE 16384 /* pixels */

void
lf_stream_config_init (LfStreamConfig *config, LfModel *model)
{
  memset (config, 0, sizeof (*config));
  config->window = config->sink = -2;
  config->relative = -1;
  config->sparse = model->info.sparse;
  config->blend_chunks = 4;
}

void
lf_stream_config_resolve (LfStreamConfig *config, LfModel *model)
{
  if (!config->width)
    config->width = model->info.width;
  if (!config->height)
    config->height = model->info.height;
  if (config->window == -2)
    config->window = model->info.window;
  if (config->sink == -2)
    config->sink = model->info.sink;
  if (config->relative < 0)
    config->relative = model->info.relative;
  if (config->sparse.block_q <= 0)
    config->sparse.block_q = 64;
  if (config->sparse.block_k <= 0)
    config->sparse.block_k = 64;
}

static gboolean
check_size (const char *name, gint value, gint step, GError **error)
{
  if (value >= step && value <= MAX_SIZE && value % step == 0)
    return TRUE;
  g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
      _ ("%s is %d; choose a multiple of %d up to %d, and let videoscale make other sizes"), name,
      value, step, MAX_SIZE);
  return FALSE;
}

gboolean
lf_format_check (LfFormat format, LfMatrix matrix, GError **error)
{
  if ((guint) format <= LF_FORMAT_NV12 && (guint) matrix <= LF_MATRIX_BT709)
    return TRUE;
  g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
      _ ("pictures of format %d in matrix %d are unknown; choose ones that lightforce.h names"),
      format, matrix);
  return FALSE;
}

gboolean
lf_stream_config_check (const LfStreamConfig *config, LfModel *model, GError **error)
{
  gint chunk = model->info.chunk_frames;
  gint64 least = (gint64) config->sink + chunk; /* of the window */

  if (!check_size ("width", config->width, model->info.size_step, error)
      || !check_size ("height", config->height, model->info.size_step, error)
      || !lf_sparse_check (&config->sparse, error)
      || !lf_format_check (config->format, config->matrix, error))
    return FALSE;
  if (config->sink < 0)
    g_set_error (
        error, LF_ERROR, LF_ERROR_SETTINGS, _ ("sink is %d; choose 0 or more"), config->sink);
  else if (config->window != -1 && config->window < least)
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("window is %d latent frames; choose at least sink + chunk (%d + %d), or -1 for all"),
        config->window, config->sink, chunk);
  else if (config->window > LF_MAX_WINDOW)
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("window is %d latent frames; choose at most %d, or -1 for all"), config->window,
        LF_MAX_WINDOW);
  else if (config->relative && config->window == -1)
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
        _ ("long (relative) mode needs a window; choose at least %ld latent frames"),
        (glong) least);
  else if (config->prompt_switch == LF_PROMPT_SWITCH_BLEND && config->blend_chunks < 1)
    g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS, _ ("blend-chunks is %d; choose 1 or more"),
        config->blend_chunks);
  else
    return TRUE;
  return FALSE;
}
