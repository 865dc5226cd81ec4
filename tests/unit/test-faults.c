/* lightforce: tests of streams that find no memory or threads
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <pthread.h>
#include <string.h>

#include "core/model.h"
#include "stream-fixture.h"

#define CHUNKS 9

/* The backend's own operations, but for those that allocate. */
static const LfBackendOps *own;
static LfBackendOps ops;
static gint until_failure = -1; /* calls that succeed before the one that fails; -1: all do */
static gboolean failed;

static gboolean
fails (GError **error)
{
  if (until_failure < 0 || until_failure-- > 0)
    return FALSE;
  g_set_error (error, LF_ERROR, LF_ERROR_NO_MEMORY, "no memory in this test");
  failed = TRUE;
  return TRUE;
}

static void *
alloc (LfBackend *be, gsize bytes, GError **error)
{
  return fails (error) ? NULL : own->alloc (be, bytes, error);
}

static void *
host_alloc (LfBackend *be, gsize bytes, GError **error)
{
  return fails (error) ? NULL : own->host_alloc (be, bytes, error);
}

static LfModel *
load_failing (void)
{
  LfModel *model = load ();

  own = model->backend->ops;
  ops = *own;
  ops.alloc = alloc;
  ops.host_alloc = host_alloc;
  model->backend->ops = &ops;
  return model;
}

static void
unload (LfModel *model)
{
  model->backend->ops = own;
  lf_model_unref (model);
}

static gsize
used (LfModel *model)
{
  LfMemory memory;

  own->get_memory (model->backend, &memory);
  return memory.used;
}

/* Whichever allocation fails, opening says so and keeps nothing. */
static void
test_open (void)
{
  LfModel *model = load_failing ();
  gsize before = used (model);
  LfStream *stream = NULL;
  LfStreamConfig config;
  gint n;

  lf_stream_config_init (&config, model);
  for (n = 0; !stream; n++) {
    g_autoptr (GError) error = NULL;

    until_failure = n;
    stream = lf_stream_new (model, &config, NULL, &error);
    if (!stream) {
      g_assert_error (error, LF_ERROR, LF_ERROR_NO_MEMORY);
      g_assert_cmpuint (used (model), ==, before);
    }
  }
  until_failure = -1;
  g_assert_cmpint (n, >, 5);
  lf_stream_free (stream);
  g_assert_cmpuint (used (model), ==, before);
  unload (model);
}

/* The checksums of all chunks of a stream whose cache grows and whose format changes, where
 * allocation number `n` fails: what wanted it is asked for again. */
static char *
run (LfModel *model, const LfStreamConfig *config, gint n)
{
  g_autoptr (LfStream) stream = open_stream (model, config);
  GString *sums = g_string_new (NULL);
  gint i;

  failed = FALSE;
  until_failure = n;
  for (i = 0; i < CHUNKS; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (LfChunk) chunk = NULL;
    g_autofree char *sum = NULL;

    if (i == 2 && !lf_stream_set_format (stream, LF_FORMAT_I420, LF_MATRIX_BT709, TRUE, &error)) {
      g_assert_error (error, LF_ERROR, LF_ERROR_NO_MEMORY);
      g_clear_error (&error);
      lf_stream_set_format (stream, LF_FORMAT_I420, LF_MATRIX_BT709, TRUE, &error);
    }
    g_assert_no_error (error);
    chunk = lf_stream_next (stream, NULL, &error);
    if (!chunk) {
      g_assert_error (error, LF_ERROR, LF_ERROR_NO_MEMORY);
      chunk = next (stream);
    }
    sum = checksum (chunk);
    g_string_append_printf (sums, "%s ", sum);
  }
  until_failure = -1;
  return g_string_free (sums, FALSE);
}

static void
test_run (void)
{
  LfModel *model = load_failing ();
  gsize before = used (model);
  g_autofree char *plain = NULL;
  LfStreamConfig config;
  gint n;

  lf_stream_config_init (&config, model);
  config.relative = FALSE;
  config.window = -1;
  config.sparse.enabled = TRUE;
  plain = run (model, &config, -1);
  for (n = 0, failed = TRUE; failed; n++) {
    g_autofree char *sums = run (model, &config, n);

    g_assert_cmpstr (sums, ==, plain);
    g_assert_cmpuint (used (model), ==, before);
  }
  g_assert_cmpint (n, >, 4);
  unload (model);
}

/* Threads that want more stack than there are addresses do not start. */
static void
test_threads (void)
{
  g_autoptr (LfModel) model = load ();
  g_autoptr (GError) error = NULL;
  pthread_attr_t usual, huge;
  LfStreamConfig config;

  g_assert_cmpint (pthread_getattr_default_np (&usual), ==, 0);
  g_assert_cmpint (pthread_attr_init (&huge), ==, 0);
  g_assert_cmpint (pthread_attr_setstacksize (&huge, (gsize) 1 << 60), ==, 0);
  g_assert_cmpint (pthread_setattr_default_np (&huge), ==, 0);
  lf_stream_config_init (&config, model);
  config.threads = 3;
  g_assert_null (lf_stream_new (model, &config, NULL, &error));
  g_assert_error (error, LF_ERROR, LF_ERROR_BACKEND);
  g_assert_nonnull (strstr (error->message, "thread 2 of 3"));
  g_assert_cmpint (pthread_setattr_default_np (&usual), ==, 0);
  pthread_attr_destroy (&usual);
  pthread_attr_destroy (&huge);
}

int
main (int argc, char **argv)
{
  init_stream_tests (&argc, &argv);
  g_test_add_func ("/faults/open", test_open);
  g_test_add_func ("/faults/run", test_run);
  g_test_add_func ("/faults/threads", test_threads);
  return run_stream_tests ();
}
