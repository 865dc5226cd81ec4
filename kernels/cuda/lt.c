/* lightforce: matrix products by cuBLASLt
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <cublasLt.h>
#include <dlfcn.h>
#include <string.h>

#include "core/i18n.h"
#include "kernels/cuda/lt.h"

/* The library is opened when the first backend is, not when the program starts: machines without a
 * GPU do not have it. cuBLAS is column-major: a row-major (rows, n) is its (n, rows), so
 * the weight is its A, transposed, and activations are its B. */

#define WORKSPACE_BYTES ((gsize) 32 << 20)
#define CANDIDATES 32 /* of those with a workspace, and of those without */
#define REPEATS 5
/* Below this a product takes microseconds, and its shape may come only once (prompts have all
 * lengths): what cuBLASLt thinks best is taken. */
#define MIN_TIMED_ROWS 1024

#define FUNCTIONS(F)                                                                               \
  F (Create)                                                                                       \
  F (Destroy)                                                                                      \
  F (Matmul)                                                                                       \
  F (MatmulDescCreate)                                                                             \
  F (MatmulDescDestroy)                                                                            \
  F (MatmulDescSetAttribute)                                                                       \
  F (MatrixLayoutCreate)                                                                           \
  F (MatrixLayoutDestroy)                                                                          \
  F (MatmulPreferenceCreate)                                                                       \
  F (MatmulPreferenceDestroy)                                                                      \
  F (MatmulPreferenceSetAttribute)                                                                 \
  F (MatmulAlgoGetHeuristic)

struct _LfCudaLt
{
  void *library;
#define DECLARE(name) __typeof__ (&cublasLt##name) name;
  FUNCTIONS (DECLARE)
#undef DECLARE
  cublasLtHandle_t handle;
  GMutex lock; /* of the plans: their descriptors hold the operands of the call at work */
  GHashTable *plans;
};

/* Products of one kind share a plan. */
typedef struct
{
  gint n_out, n_in, rows, ldy;
  gint16 dtype, act;
  gint8 bias, gelu, scaled;
  gint8 align_w, align_x, align_y, align_bias; /* log2 of bytes, at most 8 */
} Key;

typedef struct
{
  Key key;
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t a, b, d;
  cublasLtMatmulHeuristicResult_t results[2 * CANDIDATES];
  gint n_results; /* 0: cuBLASLt cannot do this */
  gint chosen;    /* -1: not timed yet */
  LfCudaLt *lt;
} Plan;

static guint
key_hash (gconstpointer key)
{
  const guint8 *bytes = key;
  guint hash = 2166136261u;
  gsize i;

  for (i = 0; i < sizeof (Key); i++)
    hash = (hash ^ bytes[i]) * 16777619u;
  return hash;
}

static gboolean
key_equal (gconstpointer a, gconstpointer b)
{
  return !memcmp (a, b, sizeof (Key));
}

static void
plan_free (gpointer data)
{
  Plan *plan = data;

  if (plan->desc)
    plan->lt->MatmulDescDestroy (plan->desc);
  if (plan->a)
    plan->lt->MatrixLayoutDestroy (plan->a);
  if (plan->b)
    plan->lt->MatrixLayoutDestroy (plan->b);
  if (plan->d)
    plan->lt->MatrixLayoutDestroy (plan->d);
  g_free (plan);
}

/* ----------------------------------------------------------------- opening */

void
lf_cuda_lt_close (LfCudaDevice *device)
{
  LfCudaLt *lt = device->lt;

  if (!lt)
    return;
  g_clear_pointer (&lt->plans, g_hash_table_unref);
  if (lt->handle)
    lt->Destroy (lt->handle);
  /* the library stays: its clean-up at unloading is not made for a process that goes on */
  g_mutex_clear (&lt->lock);
  g_free (lt);
  device->lt = NULL;
}

gboolean
lf_cuda_lt_open (LfCudaDevice *device, GError **error)
{
  static const char *const names[] = {
      "libcublasLt.so." G_STRINGIFY (CUBLAS_VER_MAJOR), "libcublasLt.so", NULL};
  LfCudaLt *lt = g_new0 (LfCudaLt, 1);
  cublasStatus_t status;
  gint i;

  device->lt = lt;
  g_mutex_init (&lt->lock);
  for (i = 0; names[i] && !lt->library; i++)
    lt->library = dlopen (names[i], RTLD_NOW | RTLD_LOCAL);
  if (!lt->library) {
    g_set_error (error, LF_ERROR, LF_ERROR_BACKEND,
        _ ("%s cannot be opened (%s); install the CUDA %d runtime libraries, or choose "
           "backend=cpu"),
        names[0], dlerror (), CUBLAS_VER_MAJOR);
    goto fail;
  }
#define FIND(name)                                                                                 \
  if (!(lt->name = (__typeof__ (lt->name)) dlsym (lt->library, "cublasLt" #name)))                 \
    goto missing;
  FUNCTIONS (FIND)
#undef FIND
  status = lt->Create (&lt->handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    g_set_error (
        error, LF_ERROR, LF_ERROR_BACKEND, _ ("cuBLASLt cannot start: its status is %d"), status);
    goto fail;
  }
  lt->plans = g_hash_table_new_full (key_hash, key_equal, NULL, plan_free);
  return TRUE;

missing:
  g_set_error (error, LF_ERROR, LF_ERROR_BACKEND, _ ("%s is too old: %s"), names[0], dlerror ());
fail:
  lf_cuda_lt_close (device);
  return FALSE;
}

/* ------------------------------------------------------------------- plans */

static gint8
alignment (const void *pointer)
{
  guintptr p = (guintptr) pointer;
  gint8 bits = 0;

  while (bits < 8 && !(p & ((guintptr) 1 << bits)))
    bits++;
  return bits;
}

static cudaDataType_t
cuda_type (LfDType dtype)
{
  switch (dtype) {
    case LF_DTYPE_BF16:
      return CUDA_R_16BF;
    case LF_DTYPE_F16:
      return CUDA_R_16F;
    case LF_DTYPE_F8_E4M3:
      return CUDA_R_8F_E4M3;
    default:
      return CUDA_R_32F;
  }
}

static Key
make_key (LfQueue *q, const LfLtProduct *p)
{
  Key key;

  memset (&key, 0, sizeof (key));
  key.n_out = p->w->n_out;
  key.n_in = p->w->n_in;
  key.rows = p->rows;
  key.ldy = p->ldy;
  key.dtype = p->w->dtype;
  key.act = q->backend->act;
  key.bias = p->bias;
  key.gelu = p->gelu;
  key.scaled = p->x_scale != NULL;
  key.align_w = alignment (p->w->weight);
  key.align_x = alignment (p->x);
  key.align_y = alignment (p->y);
  key.align_bias = p->bias ? alignment (p->w->bias) : 8;
  return key;
}

#define SET(desc, attribute, value)                                                                \
  (lt->MatmulDescSetAttribute (desc, attribute, &(value), sizeof (value)) == CUBLAS_STATUS_SUCCESS)

static gboolean
describe (Plan *plan)
{
  LfCudaLt *lt = plan->lt;
  const Key *k = &plan->key;
  cublasOperation_t transpose = CUBLAS_OP_T;
  cudaDataType_t type = cuda_type (k->dtype), act = cuda_type (k->act);
  cublasLtEpilogue_t epilogue =
      k->gelu ? (k->bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU)
              : (k->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);

  if (lt->MatmulDescCreate (&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS
      || lt->MatrixLayoutCreate (&plan->a, type, k->n_in, k->n_out, k->n_in)
             != CUBLAS_STATUS_SUCCESS
      || lt->MatrixLayoutCreate (&plan->b, type, k->n_in, k->rows, k->n_in) != CUBLAS_STATUS_SUCCESS
      || lt->MatrixLayoutCreate (&plan->d, act, k->n_out, k->rows, k->ldy) != CUBLAS_STATUS_SUCCESS
      || !SET (plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, transpose)
      || !SET (plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)
      || (k->bias && !SET (plan->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, act)))
    return FALSE;
  if (k->dtype == LF_DTYPE_F8_E4M3) {
    int8_t fast = 1;

    if (!SET (plan->desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, fast))
      return FALSE;
  }
  if (k->scaled) {
    cublasLtMatmulMatrixScale_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;

    if (!SET (plan->desc, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, mode)
        || !SET (plan->desc, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, mode))
      return FALSE;
  }
  return TRUE;
}

static gboolean
set_operands (const Plan *plan, const LfLtProduct *p)
{
  LfCudaLt *lt = plan->lt;

  return (!p->bias || SET (plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->w->bias))
         && (!p->x_scale
             || (SET (plan->desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p->w->scale)
                 && SET (plan->desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p->x_scale)));
}

/* Asks for up to `count` algorithms that make do with `workspace` bytes. */
static void
ask_for (Plan *plan, gsize workspace, gint count)
{
  LfCudaLt *lt = plan->lt;
  cublasLtMatmulPreference_t preference;
  cublasLtMatmulHeuristicResult_t results[CANDIDATES];
  guint32 a = 1u << plan->key.align_w, b = 1u << plan->key.align_x, d = 1u << plan->key.align_y;
  gint known = plan->n_results, i;
  int found = 0;

  if (lt->MatmulPreferenceCreate (&preference) != CUBLAS_STATUS_SUCCESS)
    return;
#define PREFER(name, value)                                                                        \
  lt->MatmulPreferenceSetAttribute (                                                               \
      preference, CUBLASLT_MATMUL_PREF_##name, &(value), sizeof (value))
  PREFER (MAX_WORKSPACE_BYTES, workspace);
  PREFER (MIN_ALIGNMENT_A_BYTES, a);
  PREFER (MIN_ALIGNMENT_B_BYTES, b);
  PREFER (MIN_ALIGNMENT_C_BYTES, d);
  PREFER (MIN_ALIGNMENT_D_BYTES, d);
#undef PREFER
  if (lt->MatmulAlgoGetHeuristic (lt->handle, plan->desc, plan->a, plan->b, plan->d, plan->d,
          preference, count, results, &found)
      != CUBLAS_STATUS_SUCCESS)
    found = 0;
  for (i = 0; i < found; i++)
    if (known == 0 || results[i].workspaceSize > 0) /* else asked for before */
      plan->results[plan->n_results++] = results[i];
  lt->MatmulPreferenceDestroy (preference);
}

/* Asks for algorithms; there may be none. Those without a workspace need not clear it first, but
 * are not what is offered first where there is one. */
static void
ask (Plan *plan, const LfLtProduct *p)
{
  if (!describe (plan) || !set_operands (plan, p))
    return;
  if (plan->key.rows < MIN_TIMED_ROWS) {
    ask_for (plan, WORKSPACE_BYTES, 1);
    return;
  }
  ask_for (plan, 0, CANDIDATES);
  ask_for (plan, WORKSPACE_BYTES, CANDIDATES);
}

/* What needs no workspace gets none: there is nothing to clear then. */
static cublasStatus_t
run (LfQueue *q, const Plan *plan, const LfLtProduct *p, gint i, void *workspace)
{
  static const float one = 1, zero = 0;
  gboolean needed = plan->results[i].workspaceSize > 0;

  return plan->lt->Matmul (plan->lt->handle, plan->desc, &one, p->w->weight, plan->a, p->x, plan->b,
      &zero, p->y, plan->d, p->y, plan->d, &plan->results[i].algo, needed ? workspace : NULL,
      needed ? WORKSPACE_BYTES : 0, q->stream);
}

/* Times the candidates where the product is large. */
static void
choose (LfQueue *q, Plan *plan, const LfLtProduct *p, void *workspace)
{
  cudaEvent_t from = NULL, to = NULL;
  float best = G_MAXFLOAT;
  gint i, j;

  plan->chosen = 0;
  if (plan->n_results < 2 || plan->key.rows < MIN_TIMED_ROWS
      || cudaEventCreate (&from) != cudaSuccess || cudaEventCreate (&to) != cudaSuccess)
    goto done;
  for (i = 0; i < plan->n_results; i++) {
    gboolean ok = run (q, plan, p, i, workspace) == CUBLAS_STATUS_SUCCESS;
    float ms = 0;

    cudaEventRecord (from, q->stream);
    for (j = 0; j < REPEATS && ok; j++)
      ok = run (q, plan, p, i, workspace) == CUBLAS_STATUS_SUCCESS;
    cudaEventRecord (to, q->stream);
    if (cudaEventSynchronize (to) != cudaSuccess)
      break;
    if (ok && cudaEventElapsedTime (&ms, from, to) == cudaSuccess && ms < best) {
      best = ms;
      plan->chosen = i;
    }
  }
done:
  if (from)
    cudaEventDestroy (from);
  if (to)
    cudaEventDestroy (to);
}

gboolean
lf_cuda_lt_multiply (LfQueue *q, const LfLtProduct *p)
{
  LfCudaLt *lt = q->device->lt;
  Key key = make_key (q, p);
  void *workspace = lf_cuda_scratch (q, LF_CUDA_SCRATCH_WORKSPACE, WORKSPACE_BYTES);
  cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
  Plan *plan;

  if (q->error)
    return FALSE;
  g_mutex_lock (&lt->lock);
  plan = g_hash_table_lookup (lt->plans, &key);
  if (!plan) {
    plan = g_new0 (Plan, 1);
    plan->key = key;
    plan->lt = lt;
    plan->chosen = -1;
    ask (plan, p);
    g_hash_table_insert (lt->plans, &plan->key, plan);
  }
  if (plan->n_results && set_operands (plan, p)) {
    if (plan->chosen < 0)
      choose (q, plan, p, workspace);
    status = run (q, plan, p, plan->chosen, workspace);
    if (status != CUBLAS_STATUS_SUCCESS)
      plan->n_results = 0; /* not again */
  }
  g_mutex_unlock (&lt->lock);
  /* what the library refuses another kernel can do; what broke the device shows there */
  return status == CUBLAS_STATUS_SUCCESS;
}
