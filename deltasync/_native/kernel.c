/* The native engine: rsync's rolling sum over blocks and over all offsets, and the table that sums are looked up in.
 *
 * Weak sum of a block x of n bytes (Tridgell and Mackerras: The rsync algorithm, 1996):
 *     a = sum x[i] mod 2^16        b = sum (n - i) x[i] mod 2^16        weak = a | b << 16
 *
 * Stable ABI of Python 3.11. Every size, range and type is checked before memory is touched; what takes long runs without the
 * interpreter's lock. The interface is that of `Kernel` in `__init__.py`, word for word.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BLOCK_BYTES ((Py_ssize_t)1 << 26)
#define MAX_SUMS ((Py_ssize_t)1 << 22)
/* Below so many bytes, giving up the lock and taking it again costs more than it gains. */
#define LOCKED_BYTES (16 << 10)
/* Bits of the filter for each sum: less than one offset in a hundred of random data passes it by chance. */
#define FILTER_BITS_PER_SUM 128
#define MIN_FILTER_LOG 16
#define MAX_FILTER_LOG 28

/* An odd factor is a bijection of 32-bit numbers; the upper bits of the product depend on all bits of the sum (Knuth, TAOCP 3, 6.4). */
static inline uint32_t mixed(uint32_t weak) { return weak * 0x9E3779B1u; }

typedef struct {
    PyObject *table_type;
} State;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count;
    uint64_t *keys;      /* mixed(sum) << 32 | index of the block, ascending */
    uint32_t *places;    /* where the key of each block stands */
    uint32_t *buckets;   /* first key of each value of the upper bits of mixed(sum), and one beyond */
    int bucket_shift;
    uint64_t *filter;    /* one bit for each value of the upper bits of mixed(sum) */
    int filter_shift;
} Table;

/* ---- The table ---- */

static void table_free(Table *self) {
    free(self->keys);
    free(self->places);
    free(self->buckets);
    free(self->filter);
    self->keys = NULL;
    self->places = self->buckets = NULL;
    self->filter = NULL;
}

static void table_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    table_free((Table *)self);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

static int log2_at_least(uint64_t value, int least, int most) {
    int log = least;
    while (log < most && ((uint64_t)1 << log) < value) log++;
    return log;
}

/* Sort keys by their upper half; they come in the order of their lower half, and each pass keeps the order of equals. */
static void sort_keys(uint64_t *keys, uint64_t *spare, Py_ssize_t count) {
    for (int shift = 32; shift < 64; shift += 8) {
        Py_ssize_t starts[257] = {0};
        for (Py_ssize_t i = 0; i < count; i++) starts[((keys[i] >> shift) & 0xFF) + 1]++;
        for (int digit = 0; digit < 256; digit++) starts[digit + 1] += starts[digit];
        for (Py_ssize_t i = 0; i < count; i++) spare[starts[(keys[i] >> shift) & 0xFF]++] = keys[i];
        uint64_t *swap = keys;
        keys = spare;
        spare = swap;
    }
}

static void fill_table(Table *self, const uint32_t *sums, uint64_t *spare) {
    Py_ssize_t count = self->count;
    for (Py_ssize_t i = 0; i < count; i++) self->keys[i] = (uint64_t)mixed(sums[i]) << 32 | (uint64_t)i;
    sort_keys(self->keys, spare, count);
    uint32_t bucket = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        uint32_t hash = (uint32_t)(self->keys[i] >> 32);
        uint32_t bit = hash >> self->filter_shift;
        self->places[(uint32_t)self->keys[i]] = (uint32_t)i;
        self->filter[bit >> 6] |= (uint64_t)1 << (bit & 63);
        while (bucket <= hash >> self->bucket_shift) self->buckets[bucket++] = (uint32_t)i;
    }
    uint32_t buckets = (uint32_t)1 << (32 - self->bucket_shift);
    while (bucket <= buckets) self->buckets[bucket++] = (uint32_t)count;
}

/* The place of the first key of a sum, or -1. Within a bucket it is a binary search, so that chosen sums can't make it slow. */
static Py_ssize_t find(const Table *self, uint32_t weak) {
    uint32_t hash = mixed(weak);
    uint32_t bucket = hash >> self->bucket_shift;
    Py_ssize_t low = self->buckets[bucket], end = self->buckets[bucket + 1], high = end;
    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;
        if ((uint32_t)(self->keys[middle] >> 32) < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && (uint32_t)(self->keys[low] >> 32) == hash ? low : -1;
}

static PyObject *table_first(PyObject *object, PyObject *argument) {
    Table *self = (Table *)object;
    unsigned long weak = PyLong_AsUnsignedLong(argument);
    if (weak == (unsigned long)-1 && PyErr_Occurred()) return NULL;
    if (weak > 0xFFFFFFFFul) {
        PyErr_SetString(PyExc_OverflowError, "a weak sum has 32 bits");
        return NULL;
    }
    Py_ssize_t place = find(self, (uint32_t)weak);
    return PyLong_FromSsize_t(place < 0 ? -1 : (Py_ssize_t)(uint32_t)self->keys[place]);
}

static PyObject *table_next(PyObject *object, PyObject *argument) {
    Table *self = (Table *)object;
    Py_ssize_t index = PyLong_AsSsize_t(argument);
    if (index == -1 && PyErr_Occurred()) return NULL;
    if (index < 0 || index >= self->count) {
        PyErr_SetString(PyExc_ValueError, "there is no block of this number");
        return NULL;
    }
    Py_ssize_t place = self->places[index];
    if (place + 1 < self->count && self->keys[place + 1] >> 32 == self->keys[place] >> 32)
        return PyLong_FromSsize_t((Py_ssize_t)(uint32_t)self->keys[place + 1]);
    return PyLong_FromLong(-1);
}

static int u32_buffer(Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=') format++;
    if (view->itemsize == 4 && (!strcmp(format, "I") || !strcmp(format, "L"))) return 1;
    PyErr_SetString(PyExc_TypeError, "a buffer of 32-bit unsigned integers is needed");
    return 0;
}

static PyObject *build_table(PyObject *module, PyObject *argument) {
    State *state = PyModule_GetState(module);
    Py_buffer view;
    if (!state || PyObject_GetBuffer(argument, &view, PyBUF_CONTIG_RO | PyBUF_FORMAT) < 0) return NULL;
    Table *self = NULL;
    uint64_t *spare = NULL;
    Py_ssize_t count = view.len / 4;
    if (!u32_buffer(&view)) goto failed;
    if (count > MAX_SUMS) {
        PyErr_SetString(PyExc_ValueError, "a table has at most 4,194,304 sums");
        goto failed;
    }
    self = PyObject_New(Table, (PyTypeObject *)state->table_type);
    if (!self) goto failed;
    int bucket_log = log2_at_least((uint64_t)count, 4, 22);
    int filter_log = log2_at_least((uint64_t)count * FILTER_BITS_PER_SUM, MIN_FILTER_LOG, MAX_FILTER_LOG);
    self->count = count;
    self->bucket_shift = 32 - bucket_log;
    self->filter_shift = 32 - filter_log;
    self->keys = calloc((size_t)count + 1, sizeof(uint64_t));
    self->places = calloc((size_t)count + 1, sizeof(uint32_t));
    self->buckets = calloc(((size_t)1 << bucket_log) + 1, sizeof(uint32_t));
    self->filter = calloc((size_t)1 << (filter_log - 6), sizeof(uint64_t));
    spare = calloc((size_t)count + 1, sizeof(uint64_t));
    if (!self->keys || !self->places || !self->buckets || !self->filter || !spare) {
        PyErr_NoMemory();
        goto failed;
    }
    Py_BEGIN_ALLOW_THREADS;
    fill_table(self, view.buf, spare);
    Py_END_ALLOW_THREADS;
    free(spare);
    PyBuffer_Release(&view);
    return (PyObject *)self;
failed:
    free(spare);
    Py_XDECREF((PyObject *)self);
    PyBuffer_Release(&view);
    return NULL;
}

/* ---- Sums ---- */

static uint32_t block_sum(const uint8_t *data, Py_ssize_t size) {
    uint32_t a = 0, b = 0;
    for (Py_ssize_t at = 0; at < size; at += 256) {
        Py_ssize_t part = size - at < 256 ? size - at : 256;
        uint32_t sum = 0, weighted = 0;
        for (uint32_t i = 0; i < (uint32_t)part; i++) {
            sum += data[at + i];
            weighted += data[at + i] * i;
        }
        a += sum;
        b += (uint32_t)(size - at) * sum - weighted;
    }
    return (a & 0xFFFF) | b << 16;
}

static PyObject *weak_sums(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer data, out;
    PyObject *target;
    Py_ssize_t block_bytes;
    if (!PyArg_ParseTuple(args, "y*nO:weak_sums", &data, &block_bytes, &target)) return NULL;
    if (PyObject_GetBuffer(target, &out, PyBUF_CONTIG | PyBUF_FORMAT) < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    PyObject *result = NULL;
    if (block_bytes < 1 || block_bytes > MAX_BLOCK_BYTES) {
        PyErr_SetString(PyExc_ValueError, "a block has 1 to 67,108,864 bytes");
    } else if (u32_buffer(&out)) {
        Py_ssize_t blocks = data.len / block_bytes + (data.len % block_bytes != 0);
        if (out.len / 4 != blocks) {
            PyErr_SetString(PyExc_ValueError, "there must be room for exactly one sum for each block");
        } else {
            PyThreadState *unlocked = data.len >= LOCKED_BYTES ? PyEval_SaveThread() : NULL;
            const uint8_t *bytes = data.buf;
            uint32_t *sums = out.buf;
            for (Py_ssize_t i = 0, at = 0; i < blocks; i++, at += block_bytes)
                sums[i] = block_sum(bytes + at, data.len - at < block_bytes ? data.len - at : block_bytes);
            if (unlocked) PyEval_RestoreThread(unlocked);
            result = Py_NewRef(Py_None);
        }
    }
    PyBuffer_Release(&out);
    PyBuffer_Release(&data);
    return result;
}

/* ---- All offsets ---- */

/* The first offset from start to before stop whose block has a sum of the table, or -1; its sum is put into *weak. */
static Py_ssize_t scan_bytes(const Table *table, const uint8_t *data, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size, uint32_t *weak) {
    const uint64_t *filter = table->filter;
    const int shift = table->filter_shift;
    /* The upper half is kept where it stands in the sum, which spares a step for each offset. */
    const uint32_t length = (uint32_t)size << 16;
    uint32_t sum = block_sum(data + start, size);
    uint32_t a = sum & 0xFFFF, b = sum & 0xFFFF0000u;
    for (Py_ssize_t at = start;;) {
        uint32_t bit = mixed(b | (a & 0xFFFF)) >> shift;
        if (filter[bit >> 6] >> (bit & 63) & 1 && find(table, b | (a & 0xFFFF)) >= 0) {
            *weak = b | (a & 0xFFFF);
            return at;
        }
        if (++at >= stop) return -1;
        uint32_t out = data[at - 1];
        a += data[at - 1 + size] - out;
        b += (a << 16) - length * out;
    }
}

static PyObject *scan(PyObject *module, PyObject *args) {
    State *state = PyModule_GetState(module);
    Py_buffer data;
    Py_ssize_t start, stop, block_bytes;
    PyObject *object;
    if (!state || !PyArg_ParseTuple(args, "y*nnnO!:scan", &data, &start, &stop, &block_bytes, state->table_type, &object)) return NULL;
    Py_ssize_t found = -1;
    uint32_t weak = 0;
    int valid = 0 <= start && start <= stop && stop <= data.len && 1 <= block_bytes && block_bytes <= MAX_BLOCK_BYTES;
    if (!valid) {
        PyErr_SetString(PyExc_ValueError, "a range or the length of a block is beyond its limits");
    } else {
        const Table *table = (Table *)object;
        Py_ssize_t last = data.len - block_bytes + 1;
        if (stop > last) stop = last;
        if (start < stop && table->count) {
            PyThreadState *unlocked = stop - start >= LOCKED_BYTES ? PyEval_SaveThread() : NULL;
            found = scan_bytes(table, data.buf, start, stop, block_bytes, &weak);
            if (unlocked) PyEval_RestoreThread(unlocked);
        }
    }
    PyBuffer_Release(&data);
    return valid ? Py_BuildValue("(nI)", found, (unsigned int)weak) : NULL;
}

/* ---- The module ---- */

static PyMethodDef table_methods[] = {
    {"first", table_first, METH_O, "Return the lowest number of a block with this weak sum, or -1."},
    {"next", table_next, METH_O, "Return the next higher number of a block with the same weak sum, or -1."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_methods, table_methods},
    {Py_tp_doc, "The weak sums of a signature, ready to be looked up; made by build_table."},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "deltasync._native.kernel.Table",
    .basicsize = sizeof(Table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = table_slots,
};

static int prepare(PyObject *module) {
    State *state = PyModule_GetState(module);
    if (!state) return -1;
    state->table_type = PyType_FromModuleAndSpec(module, &table_spec, NULL);
    if (!state->table_type || PyModule_AddObjectRef(module, "Table", state->table_type) < 0) return -1;
    return PyModule_AddStringConstant(module, "NAME", "native");
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = PyModule_GetState(module);
    if (state) Py_VISIT(state->table_type);
    return 0;
}

static int clear(PyObject *module) {
    State *state = PyModule_GetState(module);
    if (state) Py_CLEAR(state->table_type);
    return 0;
}

static void release(void *module) { clear(module); }

static PyMethodDef methods[] = {
    {"weak_sums", weak_sums, METH_VARARGS, "Put the weak sum of each block of data into out."},
    {"build_table", build_table, METH_O, "Make a table of weak sums."},
    {"scan", scan, METH_VARARGS, "Find the first offset whose block has a sum of the table."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "deltasync._native.kernel",
    .m_doc = "The native engine.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit_kernel(void) { return PyModuleDef_Init(&definition); }
