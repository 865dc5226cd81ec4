/* lightforce-bench: how fast a model makes pictures
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>

#include "bench.h"

/* 2: an option is wrong; 1: something else. */
static int
fail (const GError *error)
{
  gboolean wrong =
      g_error_matches (error, LF_ERROR, LF_ERROR_SETTINGS) || error->domain == G_OPTION_ERROR;

  fprintf (stderr, "lightforce-bench: %s\n", error->message);
  return wrong ? 2 : 1;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  BenchOptions options;
  BenchResult result = {.options = &options};
  int status = 0;

  setvbuf (stdout, NULL, _IOLBF, 0);
  if (bench_options_parse (&options, &argc, &argv, &error) && options.version) {
    printf ("lightforce-bench %s\n", lf_version ());
  } else if (!error && bench_measure (&result, &options, &error)) {
    bench_print (&result);
    if (options.json)
      bench_write_json (&result, &error);
  }
  if (error)
    status = fail (error);
  bench_result_clear (&result);
  bench_options_clear (&options);
  return status;
}
