/* lightforce: tests of opening backends, on machines with and without a GPU
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "core/backend.h"

#define TIMES 100

/* One line that says what to do. */
static void
assert_message (const GError *error, gint code, const char *mentions)
{
  g_assert_error (error, LF_ERROR, code);
  g_assert_null (strchr (error->message, '\n'));
  g_assert_nonnull (strstr (error->message, mentions));
}

static gboolean
has_gpu (void)
{
  LfBackend *be = lf_backend_open ("cuda", LF_PRECISION_AUTO, NULL);

  if (be)
    lf_backend_close (be);
  return be != NULL;
}

static void
test_unknown (void)
{
  static const char *const names[] = {"abacus", "", "CPU", "cpu "};
  guint i;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (lf_backend_open (names[i], LF_PRECISION_AUTO, &error));
    assert_message (error, LF_ERROR_BACKEND, names[i]);
    g_assert_nonnull (strstr (error->message, "it has: "));
    g_assert_nonnull (strstr (strstr (error->message, "it has: "), "cpu"));
#ifdef LF_HAVE_CUDA
    g_assert_nonnull (strstr (strstr (error->message, "it has: "), "cuda"));
#endif
  }
}

static void
test_cpu (void)
{
  static const LfPrecision right[] = {LF_PRECISION_AUTO, LF_PRECISION_FP32};
  static const LfPrecision wrong[] = {LF_PRECISION_BF16, LF_PRECISION_FP8};
  guint i;

  for (i = 0; i < G_N_ELEMENTS (right); i++) {
    g_autoptr (GError) error = NULL;
    LfBackend *be = lf_backend_open ("cpu", right[i], &error);

    g_assert_no_error (error);
    g_assert_cmpstr (be->name, ==, "cpu");
    g_assert_cmpint (be->precision, ==, LF_PRECISION_FP32);
    g_assert_cmpint (be->act, ==, LF_DTYPE_F32);
    lf_backend_close (be);
  }
  for (i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (lf_backend_open ("cpu", wrong[i], &error));
    assert_message (error, LF_ERROR_SETTINGS, "precision");
    g_assert_nonnull (strstr (error->message, "fp32"));
  }
}

/* What is best is taken; without a GPU that is the CPU. */
static void
test_auto (void)
{
  static const char *const names[] = {"auto", NULL};
  gboolean gpu = has_gpu ();
  guint i;

  for (i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;
    LfBackend *be = lf_backend_open (names[i], LF_PRECISION_AUTO, &error);

    g_assert_no_error (error);
    g_assert_cmpstr (be->name, ==, gpu ? "cuda" : "cpu");
    g_assert_cmpint (be->precision, ==, gpu ? LF_PRECISION_BF16 : LF_PRECISION_FP32);
    lf_backend_close (be);
  }
}

/* None has what is asked for: the message says why each of them has not. */
static void
test_auto_precision (void)
{
  g_autoptr (GError) error = NULL;

  if (has_gpu ()) {
    g_test_skip ("there is a GPU");
    return;
  }
  g_assert_null (lf_backend_open ("auto", LF_PRECISION_BF16, &error));
  g_assert_cmpint (error->domain, ==, LF_ERROR);
  g_assert_null (strchr (error->message, '\n'));
  g_assert_nonnull (strstr (error->message, "precision"));
#ifdef LF_HAVE_CUDA
  g_assert_nonnull (strstr (error->message, "NVIDIA"));
#endif
}

static void
test_cuda (void)
{
  LfPrecision precision;

  if (has_gpu ()) {
    g_test_skip ("there is a GPU");
    return;
  }
  for (precision = LF_PRECISION_AUTO; precision <= LF_PRECISION_FP8; precision++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (lf_backend_open ("cuda", precision, &error));
#ifdef LF_HAVE_CUDA
    assert_message (error, LF_ERROR_BACKEND, "backend=cpu");
#else
    assert_message (error, LF_ERROR_BACKEND, "not part of this build");
#endif
  }
}

/* An error is not asked for everywhere. */
static void
test_no_error (void)
{
  g_assert_null (lf_backend_open ("abacus", LF_PRECISION_AUTO, NULL));
  g_assert_null (lf_backend_open ("cpu", LF_PRECISION_FP8, NULL));
}

/* The context of a device is there without a model, the same each time. */
static void
test_context (void)
{
  g_autoptr (GError) error = NULL, none = NULL;
  gint device = -1, again = -1;
  void *context = lf_device_get_context ("cuda", &device, &error);

  g_assert_true ((context != NULL) == has_gpu ());
  g_assert_true ((context != NULL) != (error != NULL));
  if (context) {
    g_assert_cmpint (device, ==, 0);
    g_assert_true (lf_device_get_context ("cuda", &again, NULL) == context && again == 0);
  }
  g_assert_null (lf_device_get_context ("cpu", &device, &none));
  assert_message (none, LF_ERROR_UNSUPPORTED, "cpu");
}

/* Sanitizers see whether anything is left over. */
static void
test_again (void)
{
  static const char *const names[] = {"cpu", "auto", "cuda", "abacus"};
  gint i;

  for (i = 0; i < TIMES; i++) {
    g_autoptr (GError) error = NULL;
    const char *name = names[i % G_N_ELEMENTS (names)];
    LfBackend *be = lf_backend_open (name, LF_PRECISION_AUTO, &error);
    LfMemory memory;
    LfQueue *q;
    void *mem;

    g_assert_true ((be != NULL) != (error != NULL));
    if (!be)
      continue;
    q = be->ops->queue_new (be, 2, &error);
    g_assert_no_error (error);
    mem = be->ops->alloc (be, 100000, &error);
    g_assert_no_error (error);
    be->ops->get_memory (be, &memory);
    g_assert_cmpuint (memory.used, >=, 100000);
    be->ops->free (be, mem);
    mem = be->ops->host_alloc (be, 100000, &error);
    g_assert_no_error (error);
    memset (mem, 1, 100000);
    be->ops->host_free (be, mem);
    be->ops->get_memory (be, &memory);
    g_assert_cmpuint (memory.used, ==, 0);
    g_assert_cmpuint (memory.peak, >=, 100000);
    be->ops->queue_free (q);
    lf_backend_close (be);
  }
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/backends/unknown", test_unknown);
  g_test_add_func ("/backends/cpu", test_cpu);
  g_test_add_func ("/backends/auto", test_auto);
  g_test_add_func ("/backends/auto-precision", test_auto_precision);
  g_test_add_func ("/backends/cuda", test_cuda);
  g_test_add_func ("/backends/no-error", test_no_error);
  g_test_add_func ("/backends/context", test_context);
  g_test_add_func ("/backends/again", test_again);
  return g_test_run ();
}
