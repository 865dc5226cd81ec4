/* lightforce: several threads, each with a stream of one shared model
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "core/lightforce.h"

enum
{
  THREADS = 4,
  CHUNKS = 4
};

typedef struct
{
  char *path;
  LfTextResidency residency;
  gint number;
  char *sums[CHUNKS];
} Worker;

static gpointer
work (gpointer data)
{
  Worker *w = data;
  g_autoptr (GError) error = NULL;
  LfModelOptions options = {.backend = "cpu", .text_residency = w->residency};
  g_autoptr (LfModel) model = lf_model_load (w->path, &options, NULL, NULL, NULL, &error);
  g_autoptr (LfStream) stream = NULL;
  LfStreamConfig config;
  gint i;

  g_assert_no_error (error);
  lf_stream_config_init (&config, model);
  config.prompt = "a green star";
  config.seed = w->number / 2; /* two threads make the same video */
  config.threads = 1 + w->number % 2;
  stream = lf_stream_new (model, &config, NULL, &error);
  g_assert_no_error (error);
  for (i = 0; i < CHUNKS; i++) {
    g_autoptr (LfChunk) chunk = NULL;

    if (i == 2)
      g_assert_true (lf_stream_set_prompt (stream, "a red ring", NULL, &error));
    chunk = lf_stream_next (stream, NULL, &error);
    g_assert_no_error (error);
    w->sums[i] = g_compute_checksum_for_data (
        G_CHECKSUM_SHA256, chunk->data, chunk->layout.size * chunk->n_pictures);
  }
  return NULL;
}

static void
test_threads (gconstpointer residency)
{
  Worker workers[THREADS] = {{NULL}};
  GThread *threads[THREADS];
  gint i, j;

  for (i = 0; i < THREADS; i++) {
    workers[i].path = g_build_filename (g_getenv ("LF_TEST_DATA"), "small-model.safetensors", NULL);
    workers[i].number = i;
    workers[i].residency = GPOINTER_TO_INT (residency);
    threads[i] = g_thread_new ("stream", work, &workers[i]);
  }
  for (i = 0; i < THREADS; i++)
    g_thread_join (threads[i]);
  for (j = 0; j < CHUNKS; j++) {
    for (i = 0; i < THREADS; i += 2)
      g_assert_cmpstr (workers[i].sums[j], ==, workers[i + 1].sums[j]);
    g_assert_cmpstr (workers[0].sums[j], !=, workers[2].sums[j]);
  }
  for (i = 0; i < THREADS; i++) {
    g_free (workers[i].path);
    for (j = 0; j < CHUNKS; j++)
      g_free (workers[i].sums[j]);
  }
}

/* Loads and drops of one model by many threads at once: it is there, once, or gone. */
static gpointer
load_and_drop (gpointer data)
{
  gint i;

  for (i = 0; i < 20; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (LfModel) model = lf_model_load (data, NULL, NULL, NULL, NULL, &error);

    g_assert_no_error (error);
    g_assert_cmpstr (lf_model_get_info (model)->name, ==, "small-model");
  }
  return NULL;
}

static void
test_registry (void)
{
  g_autofree char *path =
      g_build_filename (g_getenv ("LF_TEST_DATA"), "small-model.safetensors", NULL);
  GThread *threads[THREADS];
  gint i;

  for (i = 0; i < THREADS; i++)
    threads[i] = g_thread_new ("load", load_and_drop, path);
  for (i = 0; i < THREADS; i++)
    g_thread_join (threads[i]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/threads/streams", GINT_TO_POINTER (LF_TEXT_RESIDENCY_KEEP), test_threads);
  g_test_add_data_func (
      "/threads/text-released", GINT_TO_POINTER (LF_TEXT_RESIDENCY_RELEASE), test_threads);
  g_test_add_data_func (
      "/threads/text-on-cpu", GINT_TO_POINTER (LF_TEXT_RESIDENCY_CPU), test_threads);
  g_test_add_func ("/threads/registry", test_registry);
  return g_test_run ();
}
