/* lightforce: checkkernels, holds a backend against the CPU's
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every operation runs on random and adversarial inputs on the CPU in float32, which is the
 * reference, and on the backend that is tested. With --backend cpu the reference has one
 * thread and the tested one several, and results must be the same bit for bit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define EXIT_SKIPPED 77
#define MOST_SECONDS 400

/* Why each tolerance is what it is. Errors are relative to the size of what is expected
 * (check.h). A rounding to float32 is one of up to 2^-24 = 6e-8, to bf16 2^-8 = 4e-3, to e4m3
 * 2^-4 = 6e-2; in L2 it is less than half of that, unless a few large values are most of
 * it. Inputs are exact in the type, so only these
 * count: */
static const CkTolerance tolerances[] = {
    /* copies and conversions: the value itself, rounded once */
    [CK_EXACT] = {0, 0},
    /* float32: a few roundings an element, and functions good to 2 units in the last place */
    [CK_FLOAT] = {2e-6, 1e-6},
    /* float32: sums of up to some thousand products in another order: sqrt (n) roundings */
    [CK_FLOAT_SUMS] = {2e-5, 5e-6},
    /* float32: exp of sums; the error of a score is that of its weight */
    [CK_FLOAT_SOFTMAX] = {5e-5, 1e-5},
    /* float32: other sines and logarithms, beside values of size 1 */
    [CK_NOISE] = {1e-5, 1e-5},
    /* bf16: float32 inside, one rounding at the end */
    [CK_HALF] = {4e-3, 4e-3},
    /* bf16: one more rounding of an intermediate result, such as a product before an epilogue,
     * which may be larger than the sum that it goes into */
    [CK_HALF_TWICE] = {1e-2, 3.5e-3},
    /* bf16: softmax weights are rounded, too: independent errors in a weighted mean, whose own
     * size is that of such a sum (five standard deviations), beside the rounding of the result */
    [CK_HALF_SOFTMAX] = {1.5e-2, 5e-3},
    /* FP8 products of exact inputs: the units add in fewer bits than float32 has (about 14) */
    [CK_EIGHTH] = {1.2e-2, 5e-3},
};

static const CkOperation operations[] = {
    {"memory", ck_check_memory, CK_EXACT, CK_EXACT, CK_NOT, TRUE},
    {"upload, download", ck_check_transfer, CK_EXACT, CK_EXACT, CK_NOT, TRUE},
    {"profile", ck_check_profile, CK_EXACT, CK_EXACT, CK_NOT, FALSE},
    {"copy", ck_check_copy, CK_EXACT, CK_EXACT, CK_NOT, TRUE},
    {"from_float", ck_check_from_float, CK_EXACT, CK_EXACT, CK_NOT, TRUE},
    {"to_float", ck_check_to_float, CK_EXACT, CK_EXACT, CK_NOT, TRUE},
    {"linear", ck_check_linear, CK_FLOAT_SUMS, CK_HALF_TWICE, CK_EIGHTH, FALSE},
    {"linear_to_fp8", ck_check_linear_to_fp8, CK_FLOAT_SUMS, CK_NOT, CK_EIGHTH, FALSE},
    {"quantize", ck_check_quantize, CK_FLOAT, CK_FLOAT, CK_NOT, FALSE},
    {"norm_modulate", ck_check_norm_modulate, CK_FLOAT_SUMS, CK_HALF, CK_NOT, FALSE},
    {"rms_norm", ck_check_rms_norm, CK_FLOAT_SUMS, CK_HALF, CK_NOT, FALSE},
    /* keys may be kept in bf16 before they are rotated, and sums of two products cancel */
    {"qk_norm_rope", ck_check_qk_norm_rope, CK_FLOAT_SUMS, CK_HALF_TWICE, CK_NOT, FALSE},
    {"rotate_keys", ck_check_rotate_keys, CK_FLOAT_SUMS, CK_HALF, CK_NOT, FALSE},
    {"pool_blocks", ck_check_pool_blocks, CK_FLOAT_SUMS, CK_FLOAT_SUMS, CK_NOT, FALSE},
    {"pool_frames", ck_check_pool_frames, CK_FLOAT_SUMS, CK_FLOAT_SUMS, CK_NOT, FALSE},
    {"compress_frames", ck_check_compress_frames, CK_FLOAT, CK_FLOAT, CK_NOT, FALSE},
    {"expand_frames", ck_check_expand_frames, CK_EXACT, CK_EXACT, CK_NOT, FALSE},
    {"select_blocks", ck_check_select_blocks, CK_EXACT, CK_EXACT, CK_NOT, FALSE},
    {"attention", ck_check_attention, CK_FLOAT_SOFTMAX, CK_HALF_SOFTMAX, CK_NOT, FALSE},
    {"text_attention", ck_check_text_attention, CK_FLOAT_SOFTMAX, CK_HALF_SOFTMAX, CK_NOT, FALSE},
    {"add_modulation", ck_check_add_modulation, CK_FLOAT, CK_FLOAT, CK_NOT, FALSE},
    {"silu", ck_check_silu, CK_FLOAT, CK_HALF, CK_NOT, FALSE},
    {"patchify", ck_check_patchify, CK_EXACT, CK_EXACT, CK_NOT, FALSE},
    {"unpatchify", ck_check_unpatchify, CK_EXACT, CK_EXACT, CK_NOT, FALSE},
    {"noise", ck_check_noise, CK_NOISE, CK_NOISE, CK_NOT, FALSE},
    {"denoise", ck_check_denoise, CK_FLOAT, CK_FLOAT, CK_NOT, FALSE},
    {"mix_noise", ck_check_mix_noise, CK_FLOAT, CK_FLOAT, CK_NOT, FALSE},
    {"lerp", ck_check_lerp, CK_FLOAT, CK_FLOAT, CK_NOT, FALSE},
    {"embed", ck_check_embed, CK_EXACT, CK_EXACT, CK_NOT, FALSE},
    {"t5_attention", ck_check_t5_attention, CK_FLOAT_SOFTMAX, CK_HALF_SOFTMAX, CK_NOT, FALSE},
    {"conv", ck_check_conv, CK_FLOAT_SUMS, CK_HALF_TWICE, CK_NOT, TRUE},
    {"pixel_norm_silu", ck_check_pixel_norm_silu, CK_FLOAT_SUMS, CK_HALF, CK_NOT, TRUE},
    {"pixel_attention", ck_check_pixel_attention, CK_FLOAT_SOFTMAX, CK_HALF_SOFTMAX, CK_NOT, TRUE},
    {"latent_to_pixels", ck_check_latent_to_pixels, CK_FLOAT, CK_HALF, CK_NOT, TRUE},
    {"beside_past", ck_check_beside_past, CK_EXACT, CK_EXACT, CK_NOT, TRUE},
    {"pictures_to_frames", ck_check_pictures_to_frames, CK_EXACT, CK_EXACT, CK_NOT, TRUE},
};

/* ----------------------------------------------------------------- options */

static char *backend_name, *precision_list, *only;
static gint64 seed = 1;
static gboolean quick, bench, tight, in_process, list;

static const GOptionEntry options[] = {
    {"backend", 0, 0, G_OPTION_ARG_STRING, &backend_name, "the backend to test (cuda)", "NAME"},
    {"precision", 0, 0, G_OPTION_ARG_STRING, &precision_list,
        "of fp32, bf16, fp8, fp16 (all that the backend has)", "LIST"},
    {"only", 0, 0, G_OPTION_ARG_STRING, &only, "operations whose names have this in them", "TEXT"},
    {"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "of the random numbers (1)", "N"},
    {"quick", 0, 0, G_OPTION_ARG_NONE, &quick, "few small cases", NULL},
    {"bench", 0, 0, G_OPTION_ARG_NONE, &bench, "measure at published sizes instead", NULL},
    {"tight", 0, 0, G_OPTION_ARG_NONE, &tight,
        "no guards around buffers, so that a memory checker sees what leaves one", NULL},
    {"in-process", 0, 0, G_OPTION_ARG_NONE, &in_process,
        "no child process, for debuggers; the first crash ends it", NULL},
    {"list", 0, 0, G_OPTION_ARG_NONE, &list, "name the operations", NULL}, {NULL}};

/* ------------------------------------------------------------------- runs */

/* Shared with the child process that does the work. */
typedef struct
{
  gint next;    /* operation to go on with */
  gint started; /* operation at work, or -1 */
  gint passed, failed, skipped;
  gboolean opened;
} Progress;

static CkBound
bound_of (const CkOperation *op, LfPrecision precision)
{
  if (precision == LF_PRECISION_FP16)
    return op->fp16 ? op->bf16 : CK_NOT;
  return precision == LF_PRECISION_FP32   ? op->fp32
         : precision == LF_PRECISION_BF16 ? op->bf16
                                          : op->fp8;
}

static gboolean
wanted (const CkOperation *op, LfPrecision precision)
{
  return (!only || strstr (op->name, only)) && bound_of (op, precision) != CK_NOT;
}

static gboolean
open_side (CkSide *side, const char *name, LfPrecision precision, gint threads, GError **error)
{
  side->be = lf_backend_open (name, precision, error);
  if (!side->be)
    return FALSE;
  side->q = side->be->ops->queue_new (side->be, threads, error);
  if (!side->q)
    g_clear_pointer (&side->be, lf_backend_close);
  return side->q != NULL;
}

static void
close_side (CkSide *side)
{
  if (side->q)
    side->be->ops->queue_free (side->q);
  if (side->be)
    lf_backend_close (side->be);
  side->q = NULL;
  side->be = NULL;
}

static void
run_operation (Ck *c, const CkOperation *op, Progress *progress)
{
  const char *precision = ck_precisions[c->precision];
  CkBound bound = bound_of (op, c->precision);

  g_return_if_fail (bound < CK_NOT);
  c->op = op;
  c->tolerance = tolerances[bound];
  if (c->tested.be->act == LF_DTYPE_F16 && bound >= CK_HALF) {
    /* three more bits than bf16 has */
    c->tolerance.most /= 8;
    c->tolerance.l2 /= 8;
  }
  c->cases = c->failed = 0;
  c->worst = c->worst_l2 = 0;
  g_clear_pointer (&c->worst_case, g_free);
  c->random = (guint64) seed * 0x9E3779B97F4A7C15 + g_str_hash (op->name);
  op->func (c);
  if (c->bench)
    return;
  if (c->failed) {
    progress->failed++;
    printf ("FAILED  %s  %s  %d of %d cases\n", op->name, precision, c->failed, c->cases);
  } else {
    progress->passed++;
    printf ("ok  %s  %s  %d cases", op->name, precision, c->cases);
    if (c->exact || c->tolerance.most <= 0 || !c->worst_case)
      printf ("  exact\n");
    else
      printf ("  worst %.1e (tolerance %.1e), L2 %.1e (%.1e) at %s\n", c->worst, c->tolerance.most,
          c->worst_l2, c->tolerance.l2, c->worst_case);
  }
  fflush (stdout);
}

/* Runs what is left of a precision. */
static void
run_precision (LfPrecision precision, Progress *progress)
{
  g_autoptr (GError) error = NULL;
  gboolean same = g_str_equal (backend_name, "cpu");
  Ck c = {.precision = precision, .quick = quick, .bench = bench, .tight = tight, .exact = same};
  gint i;

  if (!open_side (&c.tested, backend_name, precision, same ? 3 : 0, &error)
      || !open_side (&c.reference, "cpu", LF_PRECISION_FP32, same ? 1 : 0, &error)) {
    printf ("skipped  %s: %s\n", ck_precisions[precision], error->message);
    progress->skipped++;
    progress->next = G_N_ELEMENTS (operations);
    close_side (&c.tested);
    return;
  }
  progress->opened = TRUE;
  for (i = progress->next; i < (gint) G_N_ELEMENTS (operations) && !c.lost; i++) {
    progress->started = i;
    if (!bench && !in_process)
      alarm (MOST_SECONDS); /* an operation that hangs is one that fails */
    if (wanted (&operations[i], precision))
      run_operation (&c, &operations[i], progress);
    progress->started = -1;
    progress->next = i + 1;
  }
  if (!c.lost)
    close_side (&c.tested);
  close_side (&c.reference);
  g_free (c.title);
  g_free (c.worst_case);
}

/* A crash, or a device that is lost, costs one operation: another process goes on behind it. */
static void
run_in_children (LfPrecision precision, Progress *progress)
{
  while (progress->next < (gint) G_N_ELEMENTS (operations)) {
    gint status = 0;
    pid_t child;

    fflush (stdout);
    child = fork ();
    if (child == 0) {
      run_precision (precision, progress);
      fflush (stdout);
      exit (0); /* leaks are looked for here */
    }
    if (child < 0 || waitpid (child, &status, 0) != child) {
      perror ("checkkernels");
      exit (1);
    }
    if (status == 0)
      continue;
    if (progress->started < 0) {
      printf ("FAILED  a process of %s ended with status %#x\n", ck_precisions[precision], status);
      progress->failed++;
      return;
    }
    printf ("FAILED  %s  %s  the process ended with %s %d\n", operations[progress->started].name,
        ck_precisions[precision], WIFSIGNALED (status) ? "signal" : "status",
        WIFSIGNALED (status) ? WTERMSIG (status) : WEXITSTATUS (status));
    progress->failed++;
    progress->next = progress->started + 1;
    progress->started = -1;
  }
}

/* NULL-terminated, of the option or all. */
static gboolean
parse_precisions (gboolean *precisions, GError **error)
{
  g_auto (GStrv) names =
      g_strsplit (precision_list ? precision_list : "fp32,bf16,fp8,fp16", ",", -1);
  gint i, j;

  for (i = 0; names[i]; i++) {
    for (j = LF_PRECISION_FP32; j < CK_PRECISIONS; j++)
      if (g_str_equal (names[i], ck_precisions[j]))
        break;
    if (j == CK_PRECISIONS) {
      g_set_error (error, LF_ERROR, LF_ERROR_SETTINGS,
          "\"%s\" is no precision; choose of fp32, bf16, fp8, fp16", names[i]);
      return FALSE;
    }
    precisions[j] = TRUE;
  }
  return TRUE;
}

int
main (int argc, char *argv[])
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_autoptr (GError) error = NULL;
  gboolean precisions[CK_PRECISIONS] = {FALSE}, opened = FALSE;
  Progress *progress;
  gint passed, failed, skipped, i;

  g_option_context_set_summary (context, "Holds a backend against the CPU's.");
  g_option_context_add_main_entries (context, options, NULL);
  if (!g_option_context_parse (context, &argc, &argv, &error)
      || !parse_precisions (precisions, &error)) {
    fprintf (stderr, "checkkernels: %s\n", error->message);
    return 2;
  }
  for (i = 0; list && i < (gint) G_N_ELEMENTS (operations); i++)
    printf ("%s\n", operations[i].name);
  if (list)
    return 0;
  if (!backend_name)
    backend_name = g_strdup ("cuda");
  if (!precision_list && g_str_equal (backend_name, "cpu"))
    for (i = LF_PRECISION_BF16; i < CK_PRECISIONS; i++)
      precisions[i] = FALSE;

  progress =
      mmap (NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (progress == MAP_FAILED) {
    perror ("checkkernels");
    return 1;
  }
  for (i = LF_PRECISION_FP32; i < CK_PRECISIONS; i++) {
    if (!precisions[i])
      continue;
    progress->next = 0;
    progress->started = -1;
    if (in_process)
      run_precision (i, progress);
    else
      run_in_children (i, progress);
  }
  passed = progress->passed;
  failed = progress->failed;
  skipped = progress->skipped;
  opened = progress->opened;
  munmap (progress, sizeof *progress);
  printf ("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  g_free (backend_name);
  g_free (precision_list);
  g_free (only);
  return failed ? 1 : opened ? 0 : EXIT_SKIPPED;
}
