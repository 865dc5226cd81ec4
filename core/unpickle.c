/* lightforce: reading the pickles that torch.save writes
 *
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "unpickle.h"

#include <string.h>

#include "container-private.h"

/* A thousand times what the largest models need, and still no burden. */
#define MAX_VALUES (1 << 20)
#define MAX_STEPS (8 << 20)

enum
{
  GLOBAL_ORDERED_DICT,
  GLOBAL_REBUILD_TENSOR,
  GLOBAL_REBUILD_PARAMETER,
  GLOBAL_STORAGE /* + LfDType */
};

static const struct
{
  const char *module, *name;
  gint global;
} globals[] = {
    {"collections", "OrderedDict", GLOBAL_ORDERED_DICT},
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_parameter", GLOBAL_REBUILD_PARAMETER},
    {"torch", "FloatStorage", GLOBAL_STORAGE + LF_DTYPE_F32},
    {"torch", "BFloat16Storage", GLOBAL_STORAGE + LF_DTYPE_BF16},
    {"torch", "HalfStorage", GLOBAL_STORAGE + LF_DTYPE_F16},
    {"torch", "DoubleStorage", GLOBAL_STORAGE + LF_DTYPE_F64},
    {"torch", "Float8_e4m3fnStorage", GLOBAL_STORAGE + LF_DTYPE_F8_E4M3},
    {"torch", "LongStorage", GLOBAL_STORAGE + LF_DTYPE_I64},
    {"torch", "IntStorage", GLOBAL_STORAGE + LF_DTYPE_I32},
    {"torch", "ShortStorage", GLOBAL_STORAGE + LF_DTYPE_I16},
    {"torch", "CharStorage", GLOBAL_STORAGE + LF_DTYPE_I8},
    {"torch", "ByteStorage", GLOBAL_STORAGE + LF_DTYPE_U8},
    {"torch", "BoolStorage", GLOBAL_STORAGE + LF_DTYPE_BOOL},
};

struct _LfPickle
{
  const char *path; /* while reading */
  const guint8 *data;
  gsize size, at;
  GPtrArray *values; /* owns all of them */
  GPtrArray *stack;
  GHashTable *memo; /* number -> value */
  LfPickleValue *root;
  GError *error;
};

/* The first failure ends the reading. */
static gboolean fail (LfPickle *p, gint code, const char *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
fail (LfPickle *p, gint code, const char *format, ...)
{
  g_autofree char *reason = NULL;
  va_list args;

  if (p->error)
    return FALSE;
  va_start (args, format);
  reason = g_strdup_vprintf (format, args);
  va_end (args);
  lf_container_set_error (&p->error, code, p->path, NULL, "%s", reason);
  return FALSE;
}

static gboolean
damaged (LfPickle *p)
{
  return fail (p, LF_ERROR_INVALID_FILE, "its data.pkl is damaged at byte %" G_GSIZE_FORMAT, p->at);
}

static void
value_free (gpointer data)
{
  LfPickleValue *v = data;

  g_free (v->string);
  g_clear_pointer (&v->items, g_ptr_array_unref);
  g_free (v->shape);
  g_free (v);
}

/* A new value on top of the stack. */
static LfPickleValue *
push (LfPickle *p, LfPickleKind kind)
{
  LfPickleValue *v;

  if (p->values->len >= MAX_VALUES) {
    fail (p, LF_ERROR_INVALID_FILE, "its data.pkl has more than %d values", MAX_VALUES);
    return NULL;
  }
  v = g_new0 (LfPickleValue, 1);
  v->kind = kind;
  if (kind == LF_PICKLE_LIST || kind == LF_PICKLE_DICT)
    v->items = g_ptr_array_new ();
  g_ptr_array_add (p->values, v);
  g_ptr_array_add (p->stack, v);
  return v;
}

static gboolean
push_int (LfPickle *p, gint64 number)
{
  LfPickleValue *v = push (p, LF_PICKLE_INT);

  if (v)
    v->number = number;
  return v != NULL;
}

/* The top of the stack, taken off; NULL on an empty one or a mark. */
static LfPickleValue *
pop (LfPickle *p)
{
  LfPickleValue *v = p->stack->len ? g_ptr_array_index (p->stack, p->stack->len - 1) : NULL;

  if (!v || v->kind == LF_PICKLE_MARK) {
    damaged (p);
    return NULL;
  }
  g_ptr_array_set_size (p->stack, p->stack->len - 1);
  return v;
}

/* Index of the topmost mark, or -1. */
static gint
find_mark (LfPickle *p)
{
  gint i;

  for (i = (gint) p->stack->len - 1; i >= 0; i--)
    if (((LfPickleValue *) g_ptr_array_index (p->stack, i))->kind == LF_PICKLE_MARK)
      return i;
  damaged (p);
  return -1;
}

/* `size` bytes of the program. */
static const guint8 *
take (LfPickle *p, gsize size)
{
  const guint8 *bytes = p->data + p->at;

  if (size > p->size - p->at) {
    damaged (p);
    return NULL;
  }
  p->at += size;
  return bytes;
}

/* A little-endian number of 1 to 8 bytes, signed from 4 bytes on. */
static gboolean
take_int (LfPickle *p, gint size, gint64 *number)
{
  const guint8 *bytes = take (p, size);
  guint64 x = 0;
  gint i;

  if (!bytes)
    return FALSE;
  for (i = 0; i < size; i++)
    x |= (guint64) bytes[i] << (8 * i);
  *number = size == 4 ? (gint32) x : (gint64) x;
  return TRUE;
}

static gboolean
push_string (LfPickle *p, gint64 length)
{
  const guint8 *bytes = length >= 0 ? take (p, length) : NULL;
  LfPickleValue *v;

  if (!bytes)
    return damaged (p);
  if (!g_utf8_validate_len ((const char *) bytes, length, NULL))
    return damaged (p);
  v = push (p, LF_PICKLE_STRING);
  if (v)
    v->string = g_strndup ((const char *) bytes, length);
  return v != NULL;
}

/* A line of the program without its newline. */
static char *
take_line (LfPickle *p)
{
  const guint8 *start = p->data + p->at, *end = memchr (start, '\n', p->size - p->at);

  if (!end || end - start > 256 || !g_utf8_validate_len ((const char *) start, end - start, NULL)) {
    damaged (p);
    return NULL;
  }
  p->at += end - start + 1;
  return g_strndup ((const char *) start, end - start);
}

static gboolean
push_global (LfPickle *p)
{
  g_autofree char *module = take_line (p);
  g_autofree char *name = module ? take_line (p) : NULL;
  g_autofree char *full = NULL, *shown = NULL;
  guint i;

  if (!name)
    return FALSE;
  for (i = 0; i < G_N_ELEMENTS (globals); i++) {
    if (g_str_equal (module, globals[i].module) && g_str_equal (name, globals[i].name)) {
      LfPickleValue *v = push (p, LF_PICKLE_GLOBAL);

      if (v)
        v->number = globals[i].global;
      return v != NULL;
    }
  }
  full = g_strdup_printf ("%s.%s", module, name);
  shown = g_strescape (full, NULL);
  return fail (p, LF_ERROR_INVALID_FILE,
      "it asks to run %s, which is refused; save plain tensors only, as model.state_dict() gives",
      shown);
}

/* ("storage", type, key, device, elements) */
static gboolean
push_storage (LfPickle *p)
{
  LfPickleValue *id = pop (p), *type, *key, *count, *v;

  if (!id || id->kind != LF_PICKLE_LIST || id->items->len != 5)
    return damaged (p);
  type = g_ptr_array_index (id->items, 1);
  key = g_ptr_array_index (id->items, 2);
  count = g_ptr_array_index (id->items, 4);
  if (type->kind != LF_PICKLE_GLOBAL || type->number < GLOBAL_STORAGE
      || key->kind != LF_PICKLE_STRING || count->kind != LF_PICKLE_INT)
    return damaged (p);
  v = push (p, LF_PICKLE_STORAGE);
  if (!v)
    return FALSE;
  v->dtype = type->number - GLOBAL_STORAGE;
  v->string = g_strdup (key->string);
  v->number = count->number;
  return TRUE;
}

static gboolean
read_dims (LfPickleValue *list, gint64 *dims, gint *ndim)
{
  guint i;

  if (list->kind != LF_PICKLE_LIST || list->items->len > LF_MAX_DIMS)
    return FALSE;
  for (i = 0; i < list->items->len; i++) {
    LfPickleValue *v = g_ptr_array_index (list->items, i);

    if (v->kind != LF_PICKLE_INT)
      return FALSE;
    dims[i] = v->number;
  }
  *ndim = list->items->len;
  return TRUE;
}

/* _rebuild_tensor_v2 (storage, offset, shape, stride, ...) */
static gboolean
push_tensor (LfPickle *p, LfPickleValue *args)
{
  LfPickleValue *storage, *offset, *v;
  gint strides;

  if (args->items->len < 4)
    return damaged (p);
  storage = g_ptr_array_index (args->items, 0);
  offset = g_ptr_array_index (args->items, 1);
  if (storage->kind != LF_PICKLE_STORAGE || offset->kind != LF_PICKLE_INT)
    return damaged (p);
  v = push (p, LF_PICKLE_TENSOR);
  if (!v)
    return FALSE;
  v->storage = storage;
  v->number = offset->number;
  v->shape = g_new0 (gint64, 2 * LF_MAX_DIMS);
  v->stride = v->shape + LF_MAX_DIMS;
  if (!read_dims (g_ptr_array_index (args->items, 2), v->shape, &v->ndim)
      || !read_dims (g_ptr_array_index (args->items, 3), v->stride, &strides) || strides != v->ndim)
    return damaged (p);
  return TRUE;
}

static gboolean
reduce (LfPickle *p)
{
  LfPickleValue *args = pop (p), *function = args ? pop (p) : NULL, *first;

  if (!function || args->kind != LF_PICKLE_LIST || function->kind != LF_PICKLE_GLOBAL)
    return damaged (p);
  switch (function->number) {
    case GLOBAL_ORDERED_DICT:
      return push (p, LF_PICKLE_DICT) != NULL;
    case GLOBAL_REBUILD_TENSOR:
      return push_tensor (p, args);
    case GLOBAL_REBUILD_PARAMETER:
      first = args->items->len ? g_ptr_array_index (args->items, 0) : NULL;
      if (!first || first->kind != LF_PICKLE_TENSOR)
        return damaged (p);
      g_ptr_array_add (p->stack, first);
      return TRUE;
    default:
      return damaged (p);
  }
}

/* Moves what lies above the mark into the list or dict below it, or into a new tuple. */
static gboolean
collect (LfPickle *p, LfPickleKind kind, gboolean new_tuple)
{
  gint mark = find_mark (p), i;
  LfPickleValue *target;
  g_autoptr (GPtrArray) items = NULL;

  if (mark < 0)
    return FALSE;
  items = g_ptr_array_new ();
  for (i = mark + 1; i < (gint) p->stack->len; i++)
    g_ptr_array_add (items, g_ptr_array_index (p->stack, i));
  g_ptr_array_set_size (p->stack, mark);
  if (new_tuple)
    target = push (p, LF_PICKLE_LIST);
  else
    target = p->stack->len ? g_ptr_array_index (p->stack, p->stack->len - 1) : NULL;
  if (!target || target->kind != kind || (kind == LF_PICKLE_DICT && items->len % 2))
    return damaged (p);
  g_ptr_array_extend_and_steal (target->items, g_steal_pointer (&items));
  return TRUE;
}

/* A tuple of the topmost `n` values. */
static gboolean
push_tuple (LfPickle *p, gint n)
{
  LfPickleValue *items[3], *tuple;
  gint i;

  for (i = n - 1; i >= 0; i--)
    if (!(items[i] = pop (p)))
      return FALSE;
  tuple = push (p, LF_PICKLE_LIST);
  for (i = 0; tuple && i < n; i++)
    g_ptr_array_add (tuple->items, items[i]);
  return tuple != NULL;
}

/* One item of a list, or key and value of a dict. */
static gboolean
add_item (LfPickle *p, LfPickleKind kind)
{
  LfPickleValue *value = pop (p), *key = NULL, *target;

  if (!value || (kind == LF_PICKLE_DICT && !(key = pop (p))))
    return FALSE;
  target = p->stack->len ? g_ptr_array_index (p->stack, p->stack->len - 1) : NULL;
  if (!target || target->kind != kind)
    return damaged (p);
  if (key)
    g_ptr_array_add (target->items, key);
  g_ptr_array_add (target->items, value);
  return TRUE;
}

static gboolean
memo_put (LfPickle *p, gint size)
{
  gint64 i;

  if (!take_int (p, size, &i))
    return FALSE;
  if (!p->stack->len)
    return damaged (p);
  g_hash_table_insert (
      p->memo, GUINT_TO_POINTER ((guint) i), g_ptr_array_index (p->stack, p->stack->len - 1));
  return TRUE;
}

static gboolean
memo_get (LfPickle *p, gint size)
{
  LfPickleValue *v;
  gint64 i;

  if (!take_int (p, size, &i))
    return FALSE;
  v = g_hash_table_lookup (p->memo, GUINT_TO_POINTER ((guint) i));
  if (!v || v->kind == LF_PICKLE_MARK || p->stack->len >= MAX_VALUES)
    return damaged (p);
  g_ptr_array_add (p->stack, v);
  return TRUE;
}

static gboolean
push_sized_int (LfPickle *p, gint size)
{
  gint64 number;

  return take_int (p, size, &number) && push_int (p, number);
}

/* LONG1: a length, then a two's complement number of that length. */
static gboolean
push_long (LfPickle *p)
{
  gint64 length, number = 0;

  if (!take_int (p, 1, &length))
    return FALSE;
  if (length > 8)
    return damaged (p);
  if (length && !take_int (p, length, &number))
    return FALSE;
  if (length && length < 8 && length != 4 && number >> (8 * length - 1))
    number -= (gint64) 1 << (8 * length);
  return push_int (p, number);
}

static gboolean
push_sized_string (LfPickle *p, gint size)
{
  gint64 length;

  return take_int (p, size, &length) && push_string (p, length);
}

/* The attributes of an object, such as a state dict's _metadata: not looked at. */
static gboolean
build (LfPickle *p)
{
  return pop (p) != NULL && (p->stack->len > 0 || damaged (p));
}

static gboolean
step (LfPickle *p, guint8 op)
{
  switch (op) {
    case 0x80: /* PROTO */
      return take (p, 1) != NULL;
    case 'c':
      return push_global (p);
    case 'q':
      return memo_put (p, 1);
    case 'r':
      return memo_put (p, 4);
    case 'h':
      return memo_get (p, 1);
    case 'j':
      return memo_get (p, 4);
    case '(':
      return push (p, LF_PICKLE_MARK) != NULL;
    case '}':
      return push (p, LF_PICKLE_DICT) != NULL;
    case ']':
    case ')':
      return push (p, LF_PICKLE_LIST) != NULL;
    case 't':
      return collect (p, LF_PICKLE_LIST, TRUE);
    case 'e':
      return collect (p, LF_PICKLE_LIST, FALSE);
    case 'u':
      return collect (p, LF_PICKLE_DICT, FALSE);
    case 0x85: /* TUPLE1, 2, 3 */
    case 0x86:
    case 0x87:
      return push_tuple (p, op - 0x84);
    case 'a':
      return add_item (p, LF_PICKLE_LIST);
    case 's':
      return add_item (p, LF_PICKLE_DICT);
    case 'X':
      return push_sized_string (p, 4);
    case 'U':
      return push_sized_string (p, 1);
    case 'K':
      return push_sized_int (p, 1);
    case 'M':
      return push_sized_int (p, 2);
    case 'J':
      return push_sized_int (p, 4);
    case 0x8a:
      return push_long (p);
    case 'G':
      return take (p, 8) != NULL && push (p, LF_PICKLE_OTHER) != NULL;
    case 'N':
    case 0x88: /* True, False */
    case 0x89:
      return push (p, LF_PICKLE_OTHER) != NULL;
    case 'Q':
      return push_storage (p);
    case 'R':
      return reduce (p);
    case 'b':
      return build (p);
    default:
      return fail (p, LF_ERROR_INVALID_FILE,
          "its data.pkl uses instruction 0x%02x, which plain tensors do not need; it is refused",
          op);
  }
}

LfPickle *
lf_pickle_read (const char *path, const guint8 *data, gsize size, GError **error)
{
  g_autoptr (LfPickle) p = g_new0 (LfPickle, 1);
  gsize i;

  p->path = path;
  p->data = data;
  p->size = size;
  p->values = g_ptr_array_new_with_free_func (value_free);
  p->stack = g_ptr_array_new ();
  p->memo = g_hash_table_new (NULL, NULL);
  for (i = 0;; i++) {
    const guint8 *op = i < MAX_STEPS ? take (p, 1) : NULL;

    if (!op)
      break;
    if (*op == '.') {
      p->root = pop (p);
      break;
    }
    if (!step (p, *op))
      break;
  }
  if (!p->root) {
    damaged (p);
    g_propagate_error (error, g_steal_pointer (&p->error));
    return NULL;
  }
  return g_steal_pointer (&p);
}

LfPickleValue *
lf_pickle_get_root (LfPickle *pickle)
{
  return pickle->root;
}

void
lf_pickle_free (LfPickle *pickle)
{
  g_ptr_array_unref (pickle->values);
  g_ptr_array_unref (pickle->stack);
  g_hash_table_unref (pickle->memo);
  g_clear_error (&pickle->error);
  g_free (pickle);
}
