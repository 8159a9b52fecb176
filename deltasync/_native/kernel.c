/* The native engine: rsync's rolling sum over blocks and over all offsets, and the table that sums are looked up in.
 *
 * Weak sum of a block x of n bytes (Tridgell and Mackerras: The rsync algorithm, 1996):
 *     a = sum x[i] mod 2^16        b = sum (n - i) x[i] mod 2^16        weak = a | b << 16
 *
 * Stable ABI of Python 3.11. Every size, range and type is checked before memory is touched; what takes long runs without the
 * interpreter's lock. The interface is that of `Kernel` in `__init__.py`, word for word. Another thread may write to a buffer
 * meanwhile: then the numbers are worthless, but none of them is ever used as a place in memory without a look at its range.
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

/* Vectors of 16-bit numbers, which the compiler makes of what the processor has: both halves of a sum are numbers modulo 2^16. Other
 * compilers, and the tests by SCALARS_ONLY, do without. */
#if defined(__has_builtin) && defined(__BYTE_ORDER__) && !defined(SCALARS_ONLY)
#if __has_builtin(__builtin_shufflevector) && __has_builtin(__builtin_convertvector) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define VECTORS 1
typedef uint16_t Halves __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(8)));

static inline Halves eight(const uint8_t *from) {
    Bytes bytes;
    memcpy(&bytes, from, sizeof bytes);
    return __builtin_convertvector(bytes, Halves);
}

/* Each number becomes the sum of those up to it. */
static inline Halves running(Halves x) {
    const Halves zero = {0};
    x += __builtin_shufflevector(zero, x, 0, 8, 9, 10, 11, 12, 13, 14);
    x += __builtin_shufflevector(zero, x, 0, 0, 8, 9, 10, 11, 12, 13);
    return x + __builtin_shufflevector(zero, x, 0, 0, 0, 0, 8, 9, 10, 11);
}
#endif
#endif

/* ---- The table ---- */

/* Before a hash is looked up, it must pass a filter: in the word that its upper bits choose, the three bits that its lower bits choose
 * must be clear. With 64 bits of filter for each sum, one offset in 700 of random data passes by chance. More bits would pass fewer,
 * but 32,768 sums then no longer fit beside the data into 1 MiB of L2 cache, which costs more. */
#define FILTER_BITS_PER_SUM 64
#define MIN_FILTER_LOG 16
#define MAX_FILTER_LOG 26
#define MASK_LOG 10
#define MASKS (1 << MASK_LOG)

/* An odd factor is a bijection of 32-bit numbers; the upper bits of the product depend on all bits (Knuth, TAOCP 3, 6.4), the lower
 * ones on lower ones alone. So these are to be b, which is spread better than a. */
#define FACTOR 0x9E3779B1u

static inline uint32_t turned(uint32_t weak) { return weak << 16 | weak >> 16; }

typedef struct {
    PyObject *table_type;
} State;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count;
    uint64_t *keys;    /* hash of the sum << 32 | number of the block, ascending */
    uint32_t *places;  /* where the key of each block stands */
    uint32_t *buckets; /* first key of each value of the upper bits of the hash, and one beyond */
    int bucket_shift;
    uint32_t *filter;
    int filter_shift;
    uint32_t masks[MASKS]; /* the bits of a word of the filter, by the lower bits of the hash */
} Table;

static void table_dealloc(PyObject *object) {
    Table *self = (Table *)object;
    PyTypeObject *type = Py_TYPE(object);
    free(self->keys);
    free(self->places);
    free(self->buckets);
    free(self->filter);
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

static void fill_table(Table *self, const unsigned char *sums, uint64_t *spare) {
    const Py_ssize_t count = self->count;
    for (uint32_t i = 0; i < MASKS; i++) self->masks[i] = 1u << (i & 31) | 1u << (i >> 5) | 1u << ((i * FACTOR) >> 27);
    for (Py_ssize_t i = 0; i < count; i++) {
        uint32_t weak;
        memcpy(&weak, sums + 4 * i, sizeof weak);
        self->keys[i] = (uint64_t)(turned(weak) * FACTOR) << 32 | (uint64_t)i;
    }
    sort_keys(self->keys, spare, count);
    memset(self->filter, 0xFF, (size_t)4 << (32 - self->filter_shift));
    uint32_t bucket = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        uint32_t hash = (uint32_t)(self->keys[i] >> 32);
        self->places[(uint32_t)self->keys[i]] = (uint32_t)i;
        self->filter[hash >> self->filter_shift] &= ~self->masks[hash & (MASKS - 1)];
        while (bucket <= hash >> self->bucket_shift) self->buckets[bucket++] = (uint32_t)i;
    }
    const uint32_t buckets = (uint32_t)1 << (32 - self->bucket_shift);
    while (bucket <= buckets) self->buckets[bucket++] = (uint32_t)count;
}

/* The place of the first key of a hash, or -1. Within a bucket it is a binary search, so that chosen sums can't make it slow. */
static Py_ssize_t find(const Table *self, uint32_t hash) {
    const uint32_t bucket = hash >> self->bucket_shift;
    const Py_ssize_t end = self->buckets[bucket + 1];
    Py_ssize_t low = self->buckets[bucket], high = end;
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
    const Table *self = (Table *)object;
    int overflow;
    long long weak = PyLong_AsLongLongAndOverflow(argument, &overflow);
    if (weak == -1 && PyErr_Occurred()) return NULL;
    if (overflow || weak < 0 || weak > 0xFFFFFFFFll) {
        PyErr_SetString(PyExc_OverflowError, "a weak sum has 32 bits");
        return NULL;
    }
    Py_ssize_t place = find(self, turned((uint32_t)weak) * FACTOR);
    return PyLong_FromSsize_t(place < 0 ? -1 : (Py_ssize_t)(uint32_t)self->keys[place]);
}

static PyObject *table_next(PyObject *object, PyObject *argument) {
    const Table *self = (Table *)object;
    Py_ssize_t index = PyNumber_AsSsize_t(argument, PyExc_ValueError);
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

/* Whether these are 32-bit unsigned integers in the machine's own order; sets TypeError if not. */
static int is_u32(const Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=') format++;
    if (view->itemsize == 4 && (!strcmp(format, "I") || !strcmp(format, "L"))) return 1;
    PyErr_SetString(PyExc_TypeError, "a buffer of 32-bit unsigned integers is needed");
    return 0;
}

/* Give a table its memory; 0 if there is not enough. */
static int reserve(Table *self, Py_ssize_t count) {
    const int bucket_log = log2_at_least((uint64_t)count, 4, 22);
    const int filter_log = log2_at_least((uint64_t)count * FILTER_BITS_PER_SUM, MIN_FILTER_LOG, MAX_FILTER_LOG);
    self->count = count;
    self->bucket_shift = 32 - bucket_log;
    self->filter_shift = 32 - (filter_log - 5);
    self->keys = calloc((size_t)count + 1, sizeof *self->keys);
    self->places = calloc((size_t)count + 1, sizeof *self->places);
    self->buckets = calloc(((size_t)1 << bucket_log) + 1, sizeof *self->buckets);
    self->filter = calloc((size_t)1 << (filter_log - 5), sizeof *self->filter);
    return self->keys && self->places && self->buckets && self->filter;
}

static PyObject *build_table(PyObject *module, PyObject *argument) {
    State *state = PyModule_GetState(module);
    Py_buffer view;
    if (!state || PyObject_GetBuffer(argument, &view, PyBUF_CONTIG_RO | PyBUF_FORMAT) < 0) return NULL;
    const Py_ssize_t count = view.len / 4;
    Table *self = NULL;
    uint64_t *spare = NULL;
    if (is_u32(&view)) {
        if (count > MAX_SUMS)
            PyErr_SetString(PyExc_ValueError, "a table has at most 4,194,304 sums");
        else
            self = PyObject_New(Table, (PyTypeObject *)state->table_type);
    }
    if (self) {
        spare = calloc((size_t)count + 1, sizeof *spare);
        if (reserve(self, count) && spare) {
            PyThreadState *unlocked = view.len >= LOCKED_BYTES ? PyEval_SaveThread() : NULL;
            fill_table(self, view.buf, spare);
            if (unlocked) PyEval_RestoreThread(unlocked);
        } else {
            Py_DECREF((PyObject *)self);
            self = NULL;
            PyErr_NoMemory();
        }
    }
    free(spare);
    PyBuffer_Release(&view);
    return (PyObject *)self;
}

/* ---- Sums ---- */

/* The sum of a block. In rows of 8 bytes, S[j] sums column j and T[j] sums what S[j] was after each row; with R rows, a byte in row r
 * is R - r times in T, so that b = 8 sum T[j] - sum j S[j], and for each byte behind the rows the sum of all up to it once more. */
static uint32_t block_sum(const uint8_t *data, Py_ssize_t size) {
    uint32_t a = 0, b = 0;
    Py_ssize_t at = 0;
#ifdef VECTORS
    Halves s = {0}, t = {0};
    for (; size - at >= 8; at += 8) {
        s += eight(data + at);
        t += s;
    }
    for (uint32_t j = 0; j < 8; j++) {
        a += s[j];
        b += 8u * t[j] - j * s[j];
    }
#endif
    for (; at < size; at++) {
        a += data[at];
        b += a;
    }
    return (a & 0xFFFF) | b << 16;
}

static PyObject *weak_sums(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    Py_buffer data, out;
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "weak_sums takes data, the length of a block and room for the sums");
        return NULL;
    }
    const Py_ssize_t block_bytes = PyNumber_AsSsize_t(args[1], PyExc_ValueError);
    if (block_bytes == -1 && PyErr_Occurred()) return NULL;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) return NULL;
    if (PyObject_GetBuffer(args[2], &out, PyBUF_CONTIG | PyBUF_FORMAT) < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    PyObject *result = NULL;
    if (block_bytes < 1 || block_bytes > MAX_BLOCK_BYTES) {
        PyErr_SetString(PyExc_ValueError, "a block has 1 to 67,108,864 bytes");
    } else if (is_u32(&out)) {
        const Py_ssize_t blocks = data.len / block_bytes + (data.len % block_bytes != 0);
        if (out.len / 4 != blocks) {
            PyErr_SetString(PyExc_ValueError, "there must be room for exactly one sum for each block");
        } else {
            PyThreadState *unlocked = data.len >= LOCKED_BYTES ? PyEval_SaveThread() : NULL;
            for (Py_ssize_t i = 0; i < blocks; i++) {
                const Py_ssize_t at = i * block_bytes, left = data.len - at;
                const uint32_t sum = block_sum((const uint8_t *)data.buf + at, left < block_bytes ? left : block_bytes);
                memcpy((unsigned char *)out.buf + 4 * i, &sum, sizeof sum);
            }
            if (unlocked) PyEval_RestoreThread(unlocked);
            result = Py_NewRef(Py_None);
        }
    }
    PyBuffer_Release(&out);
    PyBuffer_Release(&data);
    return result;
}

/* ---- All offsets ---- */

/* Offsets whose sums are made at a time; they stay in the L1 cache until they are looked up. */
#define RUN 1024
/* The first run is shorter: where matches are dense, what is made behind one is made in vain. */
#define FIRST_RUN 32

/* Roll a block on by `count` bytes and put the sums, turned, into `sums`. The bytes that leave are at `out`, those that come at `in`. */
static void roll(const uint8_t *out, const uint8_t *in, uint32_t size, uint32_t *turned_sum, uint32_t *sums, Py_ssize_t count) {
    uint32_t a = *turned_sum >> 16, b = *turned_sum & 0xFFFF;
    Py_ssize_t i = 0;
#ifdef VECTORS
    const Halves zero = {0};
    Halves last_a = zero + (uint16_t)a, last_b = zero + (uint16_t)b;
    for (; count - i >= 8; i += 8) {
        const Halves leaving = eight(out + i);
        const Halves as = last_a + running(eight(in + i) - leaving);
        const Halves bs = last_b + running(as - leaving * (uint16_t)size);
        const Halves low = __builtin_shufflevector(bs, as, 0, 8, 1, 9, 2, 10, 3, 11);
        const Halves high = __builtin_shufflevector(bs, as, 4, 12, 5, 13, 6, 14, 7, 15);
        memcpy(sums + i, &low, sizeof low);
        memcpy(sums + i + 4, &high, sizeof high);
        last_a = __builtin_shufflevector(as, as, 7, 7, 7, 7, 7, 7, 7, 7);
        last_b = __builtin_shufflevector(bs, bs, 7, 7, 7, 7, 7, 7, 7, 7);
    }
    a = last_a[0];
    b = last_b[0];
#endif
    for (; i < count; i++) {
        a += (uint32_t)in[i] - out[i];
        b += a - size * out[i];
        sums[i] = a << 16 | (b & 0xFFFF);
    }
    *turned_sum = a << 16 | (b & 0xFFFF);
}

/* The first offset from start to before stop whose block has a sum of the table, or -1; its sum is put into *weak. */
static Py_ssize_t scan_bytes(const Table *table, const uint8_t *data, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size, uint32_t *weak) {
    const uint32_t *filter = table->filter, *masks = table->masks;
    const int shift = table->filter_shift;
    uint32_t sums[RUN], last = turned(block_sum(data + start, size));
    Py_ssize_t count = 1, longest = FIRST_RUN;
    sums[0] = last;
    for (Py_ssize_t at = start;;) {
        for (Py_ssize_t i = 0; i < count; i++) {
            const uint32_t hash = sums[i] * FACTOR;
            if (!(filter[hash >> shift] & masks[hash & (MASKS - 1)]) && find(table, hash) >= 0) {
                *weak = turned(sums[i]);
                return at + i;
            }
        }
        at += count;
        if (at >= stop) return -1;
        count = stop - at < longest ? stop - at : longest;
        longest = RUN;
        roll(data + at - 1, data + at - 1 + size, (uint32_t)size, &last, sums, count);
    }
}

static PyObject *scan(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    State *state = PyModule_GetState(module);
    if (!state) return NULL;
    if (given != 5) {
        PyErr_SetString(PyExc_TypeError, "scan takes data, a start, a stop, the length of a block and a table");
        return NULL;
    }
    Py_ssize_t numbers[3];
    for (int i = 0; i < 3; i++) {
        numbers[i] = PyNumber_AsSsize_t(args[i + 1], PyExc_ValueError);
        if (numbers[i] == -1 && PyErr_Occurred()) return NULL;
    }
    if (!PyObject_TypeCheck(args[4], (PyTypeObject *)state->table_type)) {
        PyErr_SetString(PyExc_TypeError, "a table that this engine built is needed");
        return NULL;
    }
    const Table *table = (Table *)args[4];
    const Py_ssize_t start = numbers[0], block_bytes = numbers[2];
    Py_ssize_t stop = numbers[1], found = -1;
    uint32_t weak = 0;
    Py_buffer data;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) return NULL;
    const int valid = 0 <= start && start <= stop && stop <= data.len && 1 <= block_bytes && block_bytes <= MAX_BLOCK_BYTES;
    if (valid) {
        const Py_ssize_t last = data.len - block_bytes + 1;
        if (stop > last) stop = last;
        if (start < stop && table->count) {
            PyThreadState *unlocked = stop - start + block_bytes >= LOCKED_BYTES ? PyEval_SaveThread() : NULL;
            found = scan_bytes(table, data.buf, start, stop, block_bytes, &weak);
            if (unlocked) PyEval_RestoreThread(unlocked);
        }
    } else {
        PyErr_SetString(PyExc_ValueError, "a range or the length of a block is beyond its limits");
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
    {"weak_sums", (PyCFunction)(void (*)(void))weak_sums, METH_FASTCALL, "Put the weak sum of each block of data into out."},
    {"build_table", build_table, METH_O, "Make a table of weak sums."},
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL, "Find the first offset whose block has a sum of the table."},
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
