/* Many entries of a directory at once: their names sorted, their attributes as the columns that travel, new small files put in place.
 * What a loop of system calls costs in Python is for a good part the making of objects that nobody looks at, and the handing over of the
 * interpreter's lock at each call.
 *
 * Whatever is out of the ordinary (an error of any kind, a device node, a time beyond 64 bits of nanoseconds) is left to Python, which
 * does it once more, entry by entry: look() returns None, put_small() says of which files. Little-endian machines only, as the columns
 * are.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the columns are little-endian"
#endif

#ifdef __APPLE__
#define MTIME st_mtimespec
#else
#define MTIME st_mtim
#endif

#define BILLION 1000000000

/* ---- Names ---- */

/* All names of a directory, each with its NUL, one after the other, and where each begins. */
typedef struct {
    char *text;
    size_t size, room;
    size_t *starts;
    size_t count, places;
} Names;

/* Make room for `more` further bytes or items; 0, or -1 where there is no memory. */
static int grow(void **data, size_t *room, size_t used, size_t more, size_t item) {
    if (used + more <= *room) return 0;
    const size_t wanted = *room * 2 > used + more ? *room * 2 : used + more + 1024;
    void *grown = realloc(*data, wanted * item);
    if (!grown) return -1;
    *data = grown;
    *room = wanted;
    return 0;
}

static int add(Names *names, const char *name) {
    const size_t length = strlen(name) + 1;
    if (grow((void **)&names->text, &names->room, names->size, length, 1) < 0) return -1;
    if (grow((void **)&names->starts, &names->places, names->count, 1, sizeof *names->starts) < 0) return -1;
    memcpy(names->text + names->size, name, length);
    names->starts[names->count++] = names->size;
    names->size += length;
    return 0;
}

static int is_dots(const char *name) { return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])); }

/* Read a directory from its start; 0, or the number of the error. */
static int read_names(int dir_fd, Names *names) {
    const int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return errno;
    DIR *directory = fdopendir(fd);
    if (!directory) {
        const int number = errno;
        close(fd);
        return number;
    }
    /* The copy shares its position with the original. */
    rewinddir(directory);
    int number = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry) {
            number = errno;
            break;
        }
        if (!is_dots(entry->d_name) && add(names, entry->d_name) < 0) {
            number = ENOMEM;
            break;
        }
    }
    rewinddir(directory);
    closedir(directory);
    return number;
}

static int by_bytes(const void *one, const void *other) { return strcmp(*(const char *const *)one, *(const char *const *)other); }

/* Put the names in order, joined by NUL, into `out`, which has room for all of them. */
static int put_sorted(const Names *names, char *out) {
    const char **order = malloc((names->count ? names->count : 1) * sizeof *order);
    if (!order) return -1;
    for (size_t i = 0; i < names->count; i++) order[i] = names->text + names->starts[i];
    qsort(order, names->count, sizeof *order, by_bytes);
    for (size_t i = 0; i < names->count; i++) {
        const size_t length = strlen(order[i]);
        memcpy(out, order[i], length);
        out += length;
        if (i + 1 < names->count) *out++ = 0;
    }
    free(order);
    return 0;
}

static PyObject *list_names(PyObject *module, PyObject *argument) {
    (void)module;
    const int dir_fd = PyObject_AsFileDescriptor(argument);
    if (dir_fd < 0) return NULL;
    Names names = {0};
    PyThreadState *unlocked = PyEval_SaveThread();
    const int number = read_names(dir_fd, &names);
    PyEval_RestoreThread(unlocked);
    PyObject *joined = NULL;
    if (number) {
        errno = number;
        PyErr_SetFromErrno(PyExc_OSError);
    } else {
        joined = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(names.size ? names.size - 1 : 0));
    }
    if (joined) {
        char *out = PyBytes_AsString(joined);
        unlocked = PyEval_SaveThread();
        const int failed = put_sorted(&names, out);
        PyEval_RestoreThread(unlocked);
        if (failed) {
            Py_CLEAR(joined);
            PyErr_NoMemory();
        }
    }
    free(names.text);
    free(names.starts);
    return joined;
}

/* ---- Entries ---- */

enum { MODES, SIZES, MTIMES, UIDS, GIDS, DEVICES, INODES, LINKS, COLUMNS };
static const Py_ssize_t WIDTHS[COLUMNS] = {4, 8, 8, 4, 4, 8, 8, 8};

static void put32(char *column, Py_ssize_t at, uint32_t value) { memcpy(column + 4 * at, &value, sizeof value); }
static void put64(char *column, Py_ssize_t at, uint64_t value) { memcpy(column + 8 * at, &value, sizeof value); }

/* Look at one entry and fill its place in every column; 0, or -1 where it is out of the ordinary. */
static int fill(int dir_fd, const char *name, char *const columns[COLUMNS], Py_ssize_t at) {
    struct stat status;
    int64_t mtime_ns;
    if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return -1;
    if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) return -1;
    if (__builtin_mul_overflow((int64_t)status.MTIME.tv_sec, (int64_t)BILLION, &mtime_ns)) return -1;
    if (__builtin_add_overflow(mtime_ns, (int64_t)status.MTIME.tv_nsec, &mtime_ns)) return -1;
    put32(columns[MODES], at, (uint32_t)status.st_mode);
    put64(columns[SIZES], at, S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0);
    put64(columns[MTIMES], at, (uint64_t)mtime_ns);
    put32(columns[UIDS], at, (uint32_t)status.st_uid);
    put32(columns[GIDS], at, (uint32_t)status.st_gid);
    put64(columns[DEVICES], at, (uint64_t)status.st_dev);
    put64(columns[INODES], at, (uint64_t)status.st_ino);
    put64(columns[LINKS], at, (uint64_t)status.st_nlink);
    return 0;
}

/* Look at `count` names that follow each other, each ended by a NUL. */
static int fill_all(int dir_fd, const char *name, const char *end, Py_ssize_t count, char *const columns[COLUMNS]) {
    for (Py_ssize_t at = 0; at < count; at++) {
        if (name > end || fill(dir_fd, name, columns, at) < 0) return -1;
        name += strlen(name) + 1;
    }
    return name == end + 1 ? 0 : -1;
}

static PyObject *look(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "look takes a directory, names joined by NUL, and how many they are");
        return NULL;
    }
    const int dir_fd = PyObject_AsFileDescriptor(args[0]);
    if (dir_fd < 0) return NULL;
    char *names;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(args[1], &names, &length) < 0) return NULL;
    const Py_ssize_t count = PyNumber_AsSsize_t(args[2], PyExc_ValueError);
    if (count == -1 && PyErr_Occurred()) return NULL;
    /* Each name has a byte at least, and a NUL or the end behind it. */
    if (count < 1 || count > length / 2 + 1) {
        PyErr_SetString(PyExc_ValueError, "there are not so many names");
        return NULL;
    }
    PyObject *made = PyTuple_New(COLUMNS);
    char *columns[COLUMNS];
    for (Py_ssize_t i = 0; made && i < COLUMNS; i++) {
        PyObject *column = PyBytes_FromStringAndSize(NULL, WIDTHS[i] * count);
        if (!column || PyTuple_SetItem(made, i, column) < 0) {
            Py_CLEAR(made);
        } else {
            columns[i] = PyBytes_AsString(column);
        }
    }
    if (!made) return NULL;
    PyThreadState *unlocked = PyEval_SaveThread();
    const int failed = fill_all(dir_fd, names, names + length, count, columns);
    PyEval_RestoreThread(unlocked);
    if (!failed) return made;
    Py_DECREF(made);
    return Py_NewRef(Py_None);
}

/* ---- Small files ---- */

#define STAGED_BYTES 128

/* What a small file shall be. */
typedef struct {
    const char *name, *content;
    uint32_t size, mode;
    int64_t mtime_ns;
} Small;

static int write_all(int fd, const char *content, size_t size) {
    while (size) {
        const ssize_t written = write(fd, content, size);
        if (written <= 0) return -1;
        content += written;
        size -= (size_t)written;
    }
    return 0;
}

/* Write a file under its staged name and put it in its place; -1, and nothing is left behind, where anything at all went wrong. */
static int put(int dir_fd, const char *staged, const Small *file) {
    const int fd = openat(dir_fd, staged, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    struct timespec times[2] = {{0, UTIME_NOW}, {file->mtime_ns / BILLION, file->mtime_ns % BILLION}};
    if (times[1].tv_nsec < 0) {
        times[1].tv_sec--;
        times[1].tv_nsec += BILLION;
    }
    int failed = write_all(fd, file->content, file->size) < 0 || fchmod(fd, (mode_t)file->mode) < 0 || futimens(fd, times) < 0;
    /* Network filesystems say only here that they could not store what was written. */
    failed = close(fd) < 0 || failed;
    failed = failed || renameat(dir_fd, staged, dir_fd, file->name) < 0;
    if (failed) unlinkat(dir_fd, staged, 0);
    return failed ? -1 : 0;
}

static uint32_t get32(const char *column, Py_ssize_t at) {
    uint32_t value;
    memcpy(&value, column + 4 * at, sizeof value);
    return value;
}

static int64_t get64(const char *column, Py_ssize_t at) {
    int64_t value;
    memcpy(&value, column + 8 * at, sizeof value);
    return value;
}

enum { STEM, TEXT, CONTENT, FILE_SIZES, FILE_MODES, FILE_TIMES, ARGUMENTS };

/* Whether names, contents and columns are of `count` files. */
static int fit(char *const data[ARGUMENTS], const Py_ssize_t sizes[ARGUMENTS], Py_ssize_t count) {
    if (sizes[STEM] > STAGED_BYTES - 20 || memchr(data[STEM], 0, (size_t)sizes[STEM])) return 0;
    if (sizes[FILE_MODES] != 4 * count || sizes[FILE_SIZES] != 4 * count || sizes[FILE_TIMES] != 8 * count) return 0;
    int64_t total = 0;
    for (Py_ssize_t i = 0; i < count; i++) total += get32(data[FILE_SIZES], i);
    if (total != sizes[CONTENT]) return 0;
    Py_ssize_t names = 1;
    for (Py_ssize_t i = 0; i < sizes[TEXT]; i++) names += !data[TEXT][i];
    return names == count;
}

static void put_all(int dir_fd, char *const data[ARGUMENTS], Py_ssize_t count, char *done) {
    Small file = {.name = data[TEXT], .content = data[CONTENT]};
    char staged[STAGED_BYTES];
    for (Py_ssize_t i = 0; i < count; i++) {
        file.size = get32(data[FILE_SIZES], i);
        file.mode = get32(data[FILE_MODES], i);
        file.mtime_ns = get64(data[FILE_TIMES], i);
        snprintf(staged, sizeof staged, "%s-%zx", data[STEM], (size_t)i);
        done[i] = put(dir_fd, staged, &file) == 0;
        file.name += strlen(file.name) + 1;
        file.content += file.size;
    }
}

static PyObject *put_small(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    char *data[ARGUMENTS];
    Py_ssize_t sizes[ARGUMENTS];
    if (given != 1 + ARGUMENTS) {
        PyErr_SetString(PyExc_TypeError, "put_small takes a directory, a stem, names, contents, sizes, modes and times");
        return NULL;
    }
    const int dir_fd = PyObject_AsFileDescriptor(args[0]);
    if (dir_fd < 0) return NULL;
    for (int i = 0; i < ARGUMENTS; i++) {
        if (PyBytes_AsStringAndSize(args[i + 1], &data[i], &sizes[i]) < 0) return NULL;
    }
    const Py_ssize_t count = sizes[FILE_MODES] / 4;
    if (count < 1 || !fit(data, sizes, count)) {
        PyErr_SetString(PyExc_ValueError, "names, contents and columns are not of the same files");
        return NULL;
    }
    PyObject *done = PyBytes_FromStringAndSize(NULL, count);
    if (!done) return NULL;
    char *out = PyBytes_AsString(done);
    PyThreadState *unlocked = PyEval_SaveThread();
    put_all(dir_fd, data, count, out);
    PyEval_RestoreThread(unlocked);
    return done;
}

/* ---- The module ---- */

static PyMethodDef methods[] = {
    {"list_names", list_names, METH_O, "Return the names of a directory in ascending order, joined by NUL."},
    {"look", (PyCFunction)(void (*)(void))look, METH_FASTCALL, "Return the columns of attributes of entries, or None."},
    {"put_small", (PyCFunction)(void (*)(void))put_small, METH_FASTCALL, "Put small files in their places; say of each whether it is."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "deltasync._native.bulk",
    .m_doc = "Many entries of a directory at once.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_bulk(void) { return PyModuleDef_Init(&definition); }
