/* sample_c: three pieces of work that can be interrupted, in C.

   A loop over an array, a recursion, and a computation by several threads.
   Each has memory and a temporary file while it runs, and leaves neither
   behind, whatever ends it: live() tells.  And a type whose method can be
   interrupted.  The modules sample_rust and sample_cython do the same.

   What the module knows is in its state, and nothing is static but what never
   changes.  So each interpreter has a module of its own, with a type and an
   exception of its own, and so has who imports it again. */

#include "interruptible.h"      /* first: it includes Python.h */

#include <math.h>
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

/* The same function, before it was public. */
#if PY_VERSION_HEX < 0x030B0000
#  define PyType_GetModuleByDef _PyType_GetModuleByDef
#endif

static struct PyModuleDef sample_module;

/* One per module. */
typedef struct {
    PyObject *error;            /* sample_c.Error */
    PyTypeObject *values_type;  /* sample_c.Values */
    interruptible_poller poller;
    const interruptible_capi *polled;   /* has it; NULL: nobody has */
    Py_ssize_t signals;         /* atomic: taken() is called anywhere */
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

/* For slots, which are not told the class that defines them.  The type of an
   object may be a subclass, made anywhere: its bases are searched.  NULL with
   an exception. */
static module_state *
find_state(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &sample_module);
    return module == NULL ? NULL : get_state(module);
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

/* --- A type ------------------------------------------------------------- */

/* Never changes, so it needs no lock where there is no GIL. */
typedef struct {
    PyObject_HEAD
    Py_ssize_t count;
    double *items;
} values_object;

/* Its items are not set.  NULL with an exception. */
static values_object *
make_values(PyTypeObject *type, Py_ssize_t count)
{
    values_object *self = (values_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->count = count;
    self->items = (double *)malloc(count > 0 ? (size_t)count * sizeof(double)
                                             : 1);
    if (self->items == NULL) {
        Py_DECREF(self);
        PyErr_NoMemory();
        return NULL;
    }
    return self;
}

/* The objects of a heap type own a reference to it, and have to say so. */
static int
values_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* Asks for no module state: a collection may have cleared the type before. */
static void
values_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    free(((values_object *)self)->items);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Which is the first that is not finite: -1 if all are, or if it was stopped. */
static Py_ssize_t
find_bad(interruptible_region *r, const double *items, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i % BLOCK == 0 && interruptible_check_nogil(r) < 0) {
            return -1;
        }
        if (!isfinite(items[i])) {
            return i;
        }
    }
    return -1;
}

PyDoc_STRVAR(values_doc,
"Values(values, /)\n--\n\n"
"A copy of the float64 buffer values.  Error if one of them is not finite.");

static PyObject *
values_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    PyObject *object;
    Py_buffer view;
    module_state *state = find_state(type);
    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "O:Values", names,
                                        &object)
        || get_values(object, &view) < 0) {
        return NULL;
    }
    values_object *self = make_values(
        type, view.len / (Py_ssize_t)sizeof(double));
    if (self != NULL) {
        memcpy(self->items, view.buf, (size_t)view.len);
    }
    PyBuffer_Release(&view);
    interruptible_region r;
    if (self == NULL || interruptible_begin(&r) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    Py_ssize_t bad;
    Py_BEGIN_ALLOW_THREADS
    bad = find_bad(&r, self->items, self->count);
    Py_END_ALLOW_THREADS
    if (interruptible_end(&r) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (bad >= 0) {
        PyErr_Format(state->error, "value %zd is not finite", bad);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

PyDoc_STRVAR(values_sum_doc,
"sum($self, repeat=1, /)\n--\n\n"
"Their sum, taken repeat times.  Error if it is too large for a float.");

/* The defining class is sample_c.Values, also where the object's class is a
   subclass, and that of the module which has made the object. */
static PyObject *
values_sum(PyObject *op, PyTypeObject *defining_class, PyObject *const *args,
           Py_ssize_t nargs, PyObject *kwnames)
{
    values_object *self = (values_object *)op;
    Py_ssize_t repeat = 1;
    if (nargs > 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_SetString(PyExc_TypeError,
                        "sum() takes at most one argument, by position");
        return NULL;
    }
    if (nargs == 1) {
        repeat = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
        if (repeat == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    module_state *state =
        (module_state *)PyType_GetModuleState(defining_class);
    interruptible_region r;
    if (state == NULL || interruptible_begin(&r) < 0) {
        return NULL;
    }
    double sum;
    Py_BEGIN_ALLOW_THREADS
    sum = sum_laps(&r, self->items, self->count, repeat);
    Py_END_ALLOW_THREADS
    if (interruptible_end(&r) < 0) {
        return NULL;
    }
    if (!isfinite(sum)) {
        PyErr_SetString(state->error, "the sum is too large for a float");
        return NULL;
    }
    return PyFloat_FromDouble(sum);
}

static Py_ssize_t
values_length(PyObject *self)
{
    return ((values_object *)self)->count;
}

static PyObject *
values_concat(PyObject *self, PyObject *other)
{
    module_state *state = find_state(Py_TYPE(self));
    if (state == NULL) {
        return NULL;
    }
    if (!PyObject_TypeCheck(other, state->values_type)) {
        PyErr_Format(PyExc_TypeError,
                     "only Values of the same module can be added to Values, "
                     "not %.200s", Py_TYPE(other)->tp_name);
        return NULL;
    }
    const values_object *a = (values_object *)self;
    const values_object *b = (values_object *)other;
    if (a->count > PY_SSIZE_T_MAX / (Py_ssize_t)sizeof(double) - b->count) {
        return PyErr_NoMemory();
    }
    values_object *result = make_values(state->values_type,
                                        a->count + b->count);
    if (result != NULL) {
        memcpy(result->items, a->items, (size_t)a->count * sizeof(double));
        memcpy(result->items + a->count, b->items,
               (size_t)b->count * sizeof(double));
    }
    return (PyObject *)result;
}

static PyMethodDef values_methods[] = {
    {"sum", (PyCFunction)(void (*)(void))values_sum,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, values_sum_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot values_slots[] = {
    {Py_tp_doc, (void *)values_doc},
    {Py_tp_new, (void *)values_new},
    {Py_tp_dealloc, (void *)values_dealloc},
    {Py_tp_traverse, (void *)values_traverse},
    {Py_tp_methods, values_methods},
    {Py_sq_length, (void *)values_length},
    {Py_sq_concat, (void *)values_concat},
    {0, NULL},
};

/* Py_tp_clear is missing: the only reference is the one to the type. */
static PyType_Spec values_spec = {
    "sample_c.Values",
    sizeof(values_object),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC
        | Py_TPFLAGS_IMMUTABLETYPE,
    values_slots,
};

/* --- What the interpreter tells ----------------------------------------- */

/* Called in the main thread of the main interpreter, whichever has imported
   the module: what it needs comes with the argument. */
static void
taken(int Py_UNUSED(signum), void *arg)
{
    ADD(&((module_state *)arg)->signals, 1);
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

PyDoc_STRVAR(signals_taken_doc,
"signals_taken()\n--\n\n"
"How many signals Python has dealt with while there was this module.  None on\n"
"the fallback, which does not tell.");

static PyObject *
signals_taken(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    module_state *state = get_state(module);
    if (state->polled == NULL) {
        Py_RETURN_NONE;
    }
    return PyLong_FromSsize_t(LOAD(&state->signals));
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
    {"signals_taken", signals_taken, METH_NOARGS, signals_taken_doc},
    {NULL, NULL, 0, NULL},
};

static int
sample_exec(PyObject *module)
{
    module_state *state = get_state(module);
    if (interruptible_import(0) < 0) {
        return -1;
    }
    state->error = PyErr_NewExceptionWithDoc(
        "sample_c.Error", "Values that cannot be worked with.",
        PyExc_ValueError, NULL);
    if (PyModule_AddObjectRef(module, "Error", state->error) < 0) {
        return -1;
    }
    state->values_type = (PyTypeObject *)PyType_FromModuleAndSpec(
        module, &values_spec, NULL);
    if (state->values_type == NULL
        || PyModule_AddType(module, state->values_type) < 0) {
        return -1;
    }
    const interruptible_capi *table = interruptible_table();
    if (table != NULL) {
        state->poller.name = "sample_c";
        state->poller.taken = taken;
        state->poller.arg = state;
        if (table->add_poller(&state->poller) < 0) {
            return -1;
        }
        state->polled = table;
    }
    return 0;
}

static int
sample_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = get_state(module);
    Py_VISIT(state->error);
    Py_VISIT(state->values_type);
    return 0;
}

static int
sample_clear(PyObject *module)
{
    module_state *state = get_state(module);
    Py_CLEAR(state->error);
    Py_CLEAR(state->values_type);
    return 0;
}

/* Also of a module whose sample_exec() has failed. */
static void
sample_free(void *module)
{
    module_state *state = get_state((PyObject *)module);
    if (state->polled != NULL) {
        /* Nobody calls taken() from here on: its argument goes away. */
        (void)state->polled->remove_poller(&state->poller);
    }
    (void)sample_clear((PyObject *)module);
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
    sample_traverse,
    sample_clear,
    sample_free,
};

PyMODINIT_FUNC
PyInit_sample_c(void)
{
    return PyModuleDef_Init(&sample_module);
}
