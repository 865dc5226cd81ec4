/* lightforce: streams of the small model, for tests of the public API
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef LF_STREAM_FIXTURE_H
#define LF_STREAM_FIXTURE_H

#include "core/lightforce.h"

static char *model_path;

static inline void
init_stream_tests (int *argc, char ***argv)
{
  g_test_init (argc, argv, NULL);
  model_path = g_build_filename (g_getenv ("LF_TEST_DATA"), "small-model.safetensors", NULL);
}

static inline int
run_stream_tests (void)
{
  int result = g_test_run ();

  g_free (model_path);
  return result;
}

static inline LfModel *
load (void)
{
  g_autoptr (GError) error = NULL;
  LfModelOptions options = {.backend = "cpu"};
  LfModel *model = lf_model_load (model_path, &options, NULL, NULL, NULL, &error);

  g_assert_no_error (error);
  return model;
}

static inline LfStream *
open_stream (LfModel *model, const LfStreamConfig *config)
{
  g_autoptr (GError) error = NULL;
  LfStream *stream = lf_stream_new (model, config, NULL, &error);

  g_assert_no_error (error);
  return stream;
}

static inline LfChunk *
next (LfStream *stream)
{
  g_autoptr (GError) error = NULL;
  LfChunk *chunk = lf_stream_next (stream, NULL, &error);

  g_assert_no_error (error);
  return chunk;
}

/* A checksum of a chunk's pictures; free with g_free. */
static inline char *
checksum (const LfChunk *chunk)
{
  return g_compute_checksum_for_data (
      G_CHECKSUM_SHA256, chunk->data, chunk->layout.size * chunk->n_pictures);
}

static inline char *
next_checksum (LfStream *stream)
{
  g_autoptr (LfChunk) chunk = next (stream);

  return checksum (chunk);
}

static inline void
assert_differ (const char *a, const char *b)
{
  g_assert_cmpstr (a, !=, b);
}

static inline gpointer
cancel_soon (gpointer data)
{
  g_usleep (2000);
  g_cancellable_cancel (data);
  return NULL;
}

#endif
