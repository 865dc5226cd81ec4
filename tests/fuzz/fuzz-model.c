/* lightforce: fuzzes the descriptions of models
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "core/modelconfig.h"
#include "exercise.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static const guint all = (1 << LF_N_PARTS) - 1;
  g_autofree char *text = g_strndup ((const char *) data, size), *first = NULL, *second = NULL;
  g_autoptr (GError) error = NULL, failure = NULL;
  LfModelConfig config, again;

  lf_model_config_init (&config, "fuzzed");
  lf_model_config_init (&again, "long_fuzzed");
  config.transformer.z = again.transformer.z = 16;
  config.transformer.layers = again.transformer.layers = 2;
  if (!lf_model_config_parse (&config, "fuzzed", (const char *) data, size, all, &error)
      || !lf_model_config_check (&config, "fuzzed", &error)) {
    check_error (error);
    g_free (config.name);
    return 0;
  }
  /* what is written reads back as it was */
  config.transformer.dim = MAX (config.transformer.dim, 1);
  config.transformer.heads = MAX (config.transformer.heads, 1);
  config.transformer.ffn_dim = MAX (config.transformer.ffn_dim, 1);
  config.transformer.freq_dim = MAX (config.transformer.freq_dim, 2);
  config.transformer.text_dim = MAX (config.transformer.text_dim, 1);
  first = lf_model_config_to_json (&config, text, FALSE, TRUE);
  lf_model_config_parse (&again, "fuzzed", first, strlen (first), all, &failure);
  g_assert_no_error (failure);
  second = lf_model_config_to_json (&again, first, FALSE, TRUE);
  g_assert_cmpstr (first, ==, second);
  g_free (config.name);
  g_free (again.name);
  return 0;
}
