/* sample_c: three pieces of work that can be interrupted, in C.

   A loop over an array, a recursion, and a computation by several threads.
   Each has memory and a temporary file while it runs, and leaves neither
   behind, whatever ends it: live() tells.  The modules sample_rust and
   sample_cython do the same. */

#include "interruptible.h"      /* first: it includes Python.h */

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef _OPENMP
#  include <omp.h>
#endif

#if defined(__GNUC__)
#  define RELAXED __ATOMIC_RELAXED
#  define ADD(p, n) __atomic_add_fetch((p), (n), RELAXED)
#  define LOAD(p) __atomic_load_n((p), RELAXED)
#  define STORE(p, v) __atomic_store_n((p), (v), RELAXED)
#else
#  error "sample_c.c is written for GCC and Clang"
#endif

/* How many elements are added between two checks: about half a microsecond. */
#define BLOCK 512

#define MAX_THREADS 1024

/* One per interpreter. */
typedef struct {
    Py_ssize_t bytes;           /* atomic: workers allocate, too */
    Py_ssize_t files;           /* atomic: for builds without a GIL */
    int stopped;                /* atomic: the two below mean something */
    Py_ssize_t passed_after;    /* atomic */
    uint64_t spread;            /* atomic, nanoseconds */
} module_state;

static module_state *
get_state(PyObject *module)
{
    return (module_state *)PyModule_GetState(module);
}

/* --- What a call owns --------------------------------------------------- */

/* Needs no GIL, sets no exception. */
static void *
allocate(module_state *state, size_t size)
{
    void *memory = malloc(size > 0 ? size : 1);
    if (memory != NULL) {
        ADD(&state->bytes, (Py_ssize_t)size);
    }
    return memory;
}

static void
release(module_state *state, void *memory, size_t size)
{
    if (memory != NULL) {
        free(memory);
        ADD(&state->bytes, -(Py_ssize_t)size);
    }
}

typedef struct {
    int fd;
    char *path;
    size_t size;                /* of path */
} temporary;

#define NO_FILE {-1, NULL, 0}

/* 0, or -1 with an exception.  'directory' is bytes. */
static int
open_temporary(module_state *state, temporary *file, PyObject *directory)
{
    static const char name[] = "/sample_c-XXXXXX";
    const char *folder = PyBytes_AsString(directory);
    if (folder == NULL) {
        return -1;
    }
    file->size = strlen(folder) + sizeof(name);
    file->path = (char *)allocate(state, file->size);
    if (file->path == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    strcpy(file->path, folder);
    strcat(file->path, name);
    file->fd = mkstemp(file->path);
    if (file->fd < 0) {
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, folder);
        release(state, file->path, file->size);
        file->path = NULL;
        return -1;
    }
    ADD(&state->files, 1);
    return 0;
}

static void
close_temporary(module_state *state, temporary *file)
{
    if (file->fd >= 0) {
        close(file->fd);
        unlink(file->path);
        ADD(&state->files, -1);
    }
    release(state, file->path, file->size);
}

/* A buffer of doubles. */
static int
get_values(PyObject *object, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view,
                           PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        return -1;
    }
    if (view->format == NULL || strcmp(view->format, "d") != 0
        || view->itemsize != (Py_ssize_t)sizeof(double)) {
        PyErr_Format(PyExc_TypeError,
                     "values must be a buffer of float64 (format 'd'), "
                     "not of format '%s'",
                     view->format == NULL ? "B" : view->format);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

/* The buffer may be written to while the GIL is released: work on a copy.
   NULL with an exception. */
static double *
copy_values(module_state *state, const Py_buffer *view)
{
    double *copy = (double *)allocate(state, (size_t)view->len);
    if (copy == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(copy, view->buf, (size_t)view->len);
    return copy;
}

/* --- A loop, GIL released ----------------------------------------------- */

static double
sum_block(const double *values, Py_ssize_t count)
{
    double sum = 0.0;
    for (Py_ssize_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return sum;
}

static double
sum_laps(interruptible_region *r, const double *values, Py_ssize_t count,
         Py_ssize_t repeat)
{
    double sum = 0.0;
    for (Py_ssize_t lap = 0; lap < repeat; lap++) {
        Py_ssize_t i = 0;
        do {
            if (interruptible_check_nogil(r) < 0) {
                return 0.0;
            }
            Py_ssize_t step = count - i < BLOCK ? count - i : BLOCK;
            sum += sum_block(values + i, step);
            i += step;
        } while (i < count);
    }
    return sum;
}

PyDoc_STRVAR(sum_array_doc,
"sum_array(values, repeat, directory, /)\n--\n\n"
"The sum of the float64 buffer values, taken repeat times.");

static PyObject *
sum_array(PyObject *module, PyObject *args)
{
    module_state *state = get_state(module);
    PyObject *object, *directory = NULL;
    Py_ssize_t repeat;
    if (!PyArg_ParseTuple(args, "OnO&:sum_array", &object, &repeat,
                          PyUnicode_FSConverter, &directory)) {
        return NULL;
    }
    PyObject *result = NULL;
    temporary file = NO_FILE;
    double *values = NULL;
    Py_buffer view;
    if (get_values(object, &view) < 0) {
        Py_DECREF(directory);
        return NULL;
    }
    values = copy_values(state, &view);
    if (values == NULL || open_temporary(state, &file, directory) < 0) {
        goto done;
    }

    interruptible_region r;
    if (interruptible_begin(&r) < 0) {
        goto done;
    }
    double sum;
    Py_BEGIN_ALLOW_THREADS
    sum = sum_laps(&r, values, view.len / (Py_ssize_t)sizeof(double), repeat);
    Py_END_ALLOW_THREADS
    if (interruptible_end(&r) == 0) {
        result = PyFloat_FromDouble(sum);
    }

done:
    close_temporary(state, &file);
    release(state, values, (size_t)view.len);
    PyBuffer_Release(&view);
    Py_DECREF(directory);
    return result;
}

/* --- A recursion, GIL held ---------------------------------------------- */

/* Solutions with the rows above already filled, or -1: stop.  The sets of
   columns and diagonals that are attacked are bits. */
static Py_ssize_t
place(interruptible_region *r, uint32_t *board, uint32_t all, int row,
      uint32_t columns, uint32_t left, uint32_t right)
{
    if (interruptible_check(r) < 0) {
        return -1;
    }
    if (columns == all) {
        return 1;
    }
    Py_ssize_t solutions = 0;
    uint32_t free_fields = all & ~(columns | left | right);
    while (free_fields != 0) {
        uint32_t field = free_fields & (0u - free_fields);
        free_fields ^= field;
        board[row] = field;
        Py_ssize_t found = place(r, board, all, row + 1, columns | field,
                                 (left | field) << 1, (right | field) >> 1);
        if (found < 0) {
            return -1;
        }
        solutions += found;
    }
    return solutions;
}

PyDoc_STRVAR(queens_doc,
"queens(n, directory, /)\n--\n\n"
"In how many ways n queens stand on a board without attacking each other.");

static PyObject *
queens(PyObject *module, PyObject *args)
{
    module_state *state = get_state(module);
    PyObject *directory = NULL;
    int n;
    if (!PyArg_ParseTuple(args, "iO&:queens", &n,
                          PyUnicode_FSConverter, &directory)) {
        return NULL;
    }
    PyObject *result = NULL;
    temporary file = NO_FILE;
    if (n < 1 || n > 31) {
        PyErr_Format(PyExc_ValueError, "n must be from 1 to 31, not %d", n);
        Py_DECREF(directory);
        return NULL;
    }
    size_t size = (size_t)n * sizeof(uint32_t);
    uint32_t *board = (uint32_t *)allocate(state, size);
    if (board == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    if (open_temporary(state, &file, directory) < 0) {
        goto done;
    }

    interruptible_region r;
    if (interruptible_begin(&r) < 0) {
        goto done;
    }
    Py_ssize_t solutions = place(&r, board, (1u << n) - 1u, 0, 0, 0, 0);
    if (interruptible_end(&r) == 0) {
        result = PyLong_FromSsize_t(solutions);
    }

done:
    close_temporary(state, &file);
    release(state, board, size);
    Py_DECREF(directory);
    return result;
}

/* --- Several threads, GIL released -------------------------------------- */

static uint64_t
nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

typedef struct {
    module_state *state;
    interruptible_region *region;
    const double *values;
    Py_ssize_t count;
    Py_ssize_t repeat;
    int workers;
    uint32_t seen;              /* atomic: see check_team() */
} team_job;

/* What one worker leaves. */
typedef struct {
    const team_job *job;
    double sum;
    uint64_t stopped_at;        /* 0: not stopped */
    Py_ssize_t passed_after;
    int no_memory;
} team_share;

/* A check that also counts what must not happen: that it passes although some
   worker has seen before that something waits, and the owner has not decided
   about it yet.  Decisions are numbered; 'seen' is the latest number that
   anybody waits for. */
static int
check_team(team_job *job, team_share *share, int is_owner)
{
    interruptible_region *r = job->region;
    uint32_t next = interruptible_decisions(r) + 1;
    if (interruptible_pending(r)) {
        /* Release: pairs with the load below, so that who reads the number
           also finds what was seen. */
        __atomic_store_n(&job->seen, next, __ATOMIC_RELEASE);
    }
    uint32_t seen = __atomic_load_n(&job->seen, __ATOMIC_ACQUIRE);
    int result = is_owner ? interruptible_check_nogil(r)
                          : interruptible_check_worker(r);
    if (result == 0 && (int32_t)(seen - interruptible_decisions(r)) > 0) {
        share->passed_after++;
    }
    return result;
}

static void
work(team_job *job, team_share *share, int number, int workers, int is_owner)
{
    Py_ssize_t begin = job->count / workers * number;
    Py_ssize_t end = number == workers - 1
                     ? job->count : job->count / workers * (number + 1);
    size_t size = BLOCK * sizeof(double);
    double *block = (double *)allocate(job->state, size);
    if (block == NULL) {
        share->no_memory = 1;
        return;
    }
    for (Py_ssize_t lap = 0; lap < job->repeat; lap++) {
        Py_ssize_t i = begin;
        do {
            if (check_team(job, share, is_owner) < 0) {
                share->stopped_at = nanoseconds();
                goto done;
            }
            Py_ssize_t step = end - i < BLOCK ? end - i : BLOCK;
            memcpy(block, job->values + i, (size_t)step * sizeof(double));
            share->sum += sum_block(block, step);
            i += step;
        } while (i < end);
    }
done:
    release(job->state, block, size);
}

#ifdef _OPENMP

#define WORKERS "OpenMP"

/* The owner is one of the workers.  0, or an errno. */
static int
run_team(team_job *job, team_share *shares)
{
    interruptible_team_begin(job->region);
    #pragma omp parallel num_threads(job->workers)
    {
        int number = omp_get_thread_num();
        int workers = omp_get_num_threads();    /* may be fewer than wanted */
        work(job, &shares[number], number, workers, number == 0);
        if (number == 0) {
            interruptible_team_join(job->region, (uint32_t)workers - 1);
        }
        else {
            interruptible_team_worker_done(job->region);
        }
    }
    return 0;
}

#else

#define WORKERS "pthreads"

typedef struct {
    team_job *job;
    team_share *share;
    int number;
} thread_argument;

static void *
thread_main(void *opaque)
{
    thread_argument *argument = (thread_argument *)opaque;
    work(argument->job, argument->share, argument->number,
         argument->job->workers, 0);
    interruptible_team_worker_done(argument->job->region);
    return NULL;
}

/* The owner only waits.  0, or an errno. */
static int
run_team(team_job *job, team_share *shares)
{
    size_t count = (size_t)job->workers;
    size_t size = count * (sizeof(pthread_t) + sizeof(thread_argument));
    thread_argument *arguments = (thread_argument *)allocate(job->state, size);
    if (arguments == NULL) {
        return ENOMEM;
    }
    pthread_t *threads = (pthread_t *)(arguments + count);
    int error = 0;
    int started = 0;
    interruptible_team_begin(job->region);
    while (started < job->workers) {
        thread_argument *argument = &arguments[started];
        argument->job = job;
        argument->share = &shares[started];
        argument->number = started;
        error = pthread_create(&threads[started], NULL, thread_main, argument);
        if (error != 0) {
            break;              /* the others finish their shares */
        }
        started++;
    }
    interruptible_team_join(job->region, (uint32_t)started);
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    release(job->state, arguments, size);
    return error;
}

#endif

static void
note_stop(module_state *state, const team_share *shares, int workers)
{
    uint64_t first = 0, last = 0;
    Py_ssize_t passed_after = 0;
    for (int i = 0; i < workers; i++) {
        uint64_t at = shares[i].stopped_at;
        passed_after += shares[i].passed_after;
        if (at == 0) {
            continue;           /* had finished before */
        }
        if (first == 0 || at < first) {
            first = at;
        }
        if (at > last) {
            last = at;
        }
    }
    STORE(&state->passed_after, passed_after);
    STORE(&state->spread, last - first);
    STORE(&state->stopped, 1);
}

PyDoc_STRVAR(parallel_sum_doc,
"parallel_sum(values, repeat, threads, directory, /)\n--\n\n"
"The sum of the float64 buffer values, taken repeat times, by threads.");

static PyObject *
parallel_sum(PyObject *module, PyObject *args)
{
    module_state *state = get_state(module);
    PyObject *object, *directory = NULL;
    Py_ssize_t repeat;
    int threads;
    if (!PyArg_ParseTuple(args, "OniO&:parallel_sum", &object, &repeat,
                          &threads, PyUnicode_FSConverter, &directory)) {
        return NULL;
    }
    PyObject *result = NULL;
    temporary file = NO_FILE;
    double *values = NULL;
    team_share *shares = NULL;
    size_t size = 0;
    Py_buffer view;
    if (threads < 1 || threads > MAX_THREADS) {
        PyErr_Format(PyExc_ValueError, "threads must be from 1 to %d, not %d",
                     MAX_THREADS, threads);
        Py_DECREF(directory);
        return NULL;
    }
    if (get_values(object, &view) < 0) {
        Py_DECREF(directory);
        return NULL;
    }
    values = copy_values(state, &view);
    if (values == NULL) {
        goto done;
    }
    size = (size_t)threads * sizeof(team_share);
    shares = (team_share *)allocate(state, size);
    if (shares == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    memset(shares, 0, size);
    if (open_temporary(state, &file, directory) < 0) {
        goto done;
    }

    interruptible_region r;
    if (interruptible_begin(&r) < 0) {
        goto done;
    }
    team_job job = {state, &r, values,
                    view.len / (Py_ssize_t)sizeof(double), repeat, threads, 0};
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = run_team(&job, shares);
    Py_END_ALLOW_THREADS
    if (interruptible_end(&r) < 0) {
        note_stop(state, shares, threads);
        goto done;
    }
    double sum = 0.0;
    for (int i = 0; i < threads; i++) {
        sum += shares[i].sum;
        if (shares[i].no_memory) {
            error = ENOMEM;
        }
    }
    if (error == ENOMEM) {
        PyErr_NoMemory();
    }
    else if (error != 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    else {
        result = PyFloat_FromDouble(sum);
    }

done:
    close_temporary(state, &file);
    release(state, shares, size);
    release(state, values, (size_t)view.len);
    PyBuffer_Release(&view);
    Py_DECREF(directory);
    return result;
}

/* --- About it ----------------------------------------------------------- */

PyDoc_STRVAR(live_doc,
"live()\n--\n\n"
"(bytes, files): what calls of this module have allocated and opened now.");

static PyObject *
live(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    module_state *state = get_state(module);
    return Py_BuildValue("nn", LOAD(&state->bytes), LOAD(&state->files));
}

PyDoc_STRVAR(backend_doc,
"backend()\n--\n\n"
"'native' or 'fallback'.");

static PyObject *
backend(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(interruptible_backend());
}

PyDoc_STRVAR(reason_doc,
"reason()\n--\n\n"
"Why backend() says what it says.");

static PyObject *
reason(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(interruptible_reason());
}

PyDoc_STRVAR(workers_doc,
"workers()\n--\n\n"
"What parallel_sum() was compiled with: 'OpenMP' or 'pthreads'.");

static PyObject *
workers(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(WORKERS);
}

PyDoc_STRVAR(last_stop_doc,
"last_stop()\n--\n\n"
"Of the parallel_sum() that was interrupted last, {} if none was:\n"
"passed_after: how many checks passed although a worker had seen the flag;\n"
"spread: seconds from the first worker's stop to the last one's.");

static PyObject *
last_stop(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    module_state *state = get_state(module);
    if (!LOAD(&state->stopped)) {
        return PyDict_New();
    }
    return Py_BuildValue("{s:n,s:d}",
                         "passed_after", LOAD(&state->passed_after),
                         "spread", (double)LOAD(&state->spread) * 1e-9);
}

static PyMethodDef sample_methods[] = {
    {"sum_array", sum_array, METH_VARARGS, sum_array_doc},
    {"queens", queens, METH_VARARGS, queens_doc},
    {"parallel_sum", parallel_sum, METH_VARARGS, parallel_sum_doc},
    {"live", live, METH_NOARGS, live_doc},
    {"backend", backend, METH_NOARGS, backend_doc},
    {"reason", reason, METH_NOARGS, reason_doc},
    {"workers", workers, METH_NOARGS, workers_doc},
    {"last_stop", last_stop, METH_NOARGS, last_stop_doc},
    {NULL, NULL, 0, NULL},
};

static int
sample_exec(PyObject *Py_UNUSED(module))
{
    return interruptible_import(0);
}

static PyModuleDef_Slot sample_slots[] = {
    {Py_mod_exec, (void *)sample_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef sample_module = {
    PyModuleDef_HEAD_INIT,
    "sample_c",
    PyDoc_STR("Work in C that can be interrupted."),
    sizeof(module_state),
    sample_methods,
    sample_slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit_sample_c(void)
{
    return PyModuleDef_Init(&sample_module);
}
