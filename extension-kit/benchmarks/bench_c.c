/* bench_c: one sum, with each way to look for Ctrl-C in it, timed.

   Every way is the same loop; only what stands in it differs. */

#include "interruptible.h"

#include <time.h>

static double
seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* What each way has at hand. */
typedef struct {
    interruptible_region *region;
    unsigned int count;
} tools;

typedef int (*sum_loop)(tools *t, const double *values, Py_ssize_t count,
                        Py_ssize_t laps, double *result);

/* The additions depend on one another and must not be reordered: that is what
   the compiler makes of a plain loop. */
#define DEFINE_SUM(name, CHECK) \
    static __attribute__((noinline)) int \
    sum_##name(tools *t, const double *values, Py_ssize_t count, \
               Py_ssize_t laps, double *result) \
    { \
        (void)t; \
        double sum = 0.0; \
        for (Py_ssize_t lap = 0; lap < laps; lap++) { \
            for (Py_ssize_t i = 0; i < count; i++) { \
                if (CHECK) { \
                    return -1; \
                } \
                sum += values[i]; \
            } \
        } \
        *result = sum; \
        return 0; \
    }

static int
ensure_and_check(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int result = PyErr_CheckSignals();
    PyGILState_Release(state);
    return result;
}

DEFINE_SUM(none, 0)
DEFINE_SUM(kit, interruptible_check(t->region) < 0)
DEFINE_SUM(kit_nogil, interruptible_check_nogil(t->region) < 0)
DEFINE_SUM(kit_worker, interruptible_check_worker(t->region) < 0)
DEFINE_SUM(signals, PyErr_CheckSignals() < 0)
DEFINE_SUM(every_1000, ++t->count % 1000 == 0 && PyErr_CheckSignals() < 0)
DEFINE_SUM(ensure, ensure_and_check() < 0)

/* A check for each 4 KiB. */
#define BLOCK 512

static __attribute__((noinline)) int
sum_kit_4k(tools *t, const double *values, Py_ssize_t count, Py_ssize_t laps,
           double *result)
{
    double sum = 0.0;
    for (Py_ssize_t lap = 0; lap < laps; lap++) {
        for (Py_ssize_t start = 0; start < count; start += BLOCK) {
            if (interruptible_check_nogil(t->region) < 0) {
                return -1;
            }
            Py_ssize_t end = start + BLOCK < count ? start + BLOCK : count;
            for (Py_ssize_t i = start; i < end; i++) {
                sum += values[i];
            }
        }
    }
    *result = sum;
    return 0;
}

static const struct {
    const char *name;
    sum_loop loop;
    int needs_gil;
} ways[] = {
    {"none", sum_none, 0},
    {"kit", sum_kit, 1},
    {"kit_nogil", sum_kit_nogil, 0},
    {"kit_worker", sum_kit_worker, 0},
    {"kit_4k", sum_kit_4k, 0},
    {"signals", sum_signals, 1},
    {"every_1000", sum_every_1000, 1},
    {"ensure", sum_ensure, 0},
};

PyDoc_STRVAR(time_sum_doc,
"time_sum(way, values, laps, /)\n--\n\n"
"Sum the float64 buffer values, laps times: (seconds, sum).");

static PyObject *
time_sum(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *way;
    Py_buffer view;
    Py_ssize_t laps;
    if (!PyArg_ParseTuple(args, "sy*n:time_sum", &way, &view, &laps)) {
        return NULL;
    }
    size_t number = 0;
    while (number < Py_ARRAY_LENGTH(ways)
           && strcmp(ways[number].name, way) != 0) {
        number++;
    }
    if (number == Py_ARRAY_LENGTH(ways)) {
        PyErr_Format(PyExc_ValueError, "there is no way '%s'", way);
        PyBuffer_Release(&view);
        return NULL;
    }
    interruptible_region region;
    if (interruptible_begin(&region) < 0) {
        PyBuffer_Release(&view);
        return NULL;
    }
    tools t = {&region, 0};
    const double *values = (const double *)view.buf;
    Py_ssize_t count = view.len / (Py_ssize_t)sizeof(double);
    double took = 0.0, sum = 0.0;
    int result;
    if (ways[number].needs_gil) {
        double start = seconds();
        result = ways[number].loop(&t, values, count, laps, &sum);
        took = seconds() - start;
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        double start = seconds();
        result = ways[number].loop(&t, values, count, laps, &sum);
        took = seconds() - start;
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&view);
    if (interruptible_end(&region) < 0 || result < 0) {
        return NULL;
    }
    return Py_BuildValue("dd", took, sum);
}

PyDoc_STRVAR(call_doc,
"call(checks, empty, /)\n--\n\n"
"PyErr_CheckSignals() so many times, and so many turns of an empty loop.");

static PyObject *
call(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t checks, empty;
    if (!PyArg_ParseTuple(args, "nn:call", &checks, &empty)) {
        return NULL;
    }
    volatile int result = 0;
    for (Py_ssize_t i = 0; i < checks; i++) {
        result |= PyErr_CheckSignals();
    }
    if (result < 0) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < empty; i++) {
        result |= 0;
    }
    Py_RETURN_NONE;
}

static PyObject *
backend(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(interruptible_backend());
}

static PyMethodDef methods[] = {
    {"time_sum", time_sum, METH_VARARGS, time_sum_doc},
    {"call", call, METH_VARARGS, call_doc},
    {"backend", backend, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *Py_UNUSED(module))
{
    return interruptible_import(0);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "bench_c",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_bench_c(void)
{
    return PyModuleDef_Init(&definition);
}
