/* kit_test_c: what interruptible.h does, one call at a time, for test_c.py.

   Unlike a real extension module it does not call interruptible_import() when
   it is imported; the tests do. */

/* The tests can stop the fallback's clock and turn its hands. */
static unsigned long long test_clock(void);
#define INTERRUPTIBLE_CLOCK_NS() test_clock()

#include "interruptible.h"

#include <signal.h>

static int clock_is_ours;
static uint64_t clock_now;
static Py_ssize_t clock_reads;

static unsigned long long
test_clock(void)
{
    if (clock_is_ours) {
        clock_reads++;
        return clock_now;
    }
    return ipriv_clock_ns();
}

static PyObject *
import_kit(PyObject *Py_UNUSED(module), PyObject *args)
{
    int require_native = 0;
    if (!PyArg_ParseTuple(args, "|p:import_kit", &require_native)) {
        return NULL;
    }
    if (interruptible_import(require_native) < 0) {
        return NULL;
    }
    return PyUnicode_FromString(interruptible_backend());
}

static PyObject *
backend(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    const char *name = interruptible_backend();
    if (name == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(name);
}

static PyObject *
reason(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(interruptible_reason());
}

/* --- Regions, step by step ---------------------------------------------- */

#define REGION "kit_test_c.region"

static void
free_region(PyObject *capsule)
{
    free(PyCapsule_GetPointer(capsule, REGION));
}

static interruptible_region *
get_region(PyObject *capsule)
{
    return (interruptible_region *)PyCapsule_GetPointer(capsule, REGION);
}

static PyObject *
region_begin(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    interruptible_region *r =
        (interruptible_region *)malloc(sizeof(interruptible_region));
    if (r == NULL) {
        return PyErr_NoMemory();
    }
    if (interruptible_begin(r) < 0) {
        free(r);
        return NULL;
    }
    return PyCapsule_New(r, REGION, free_region);
}

static PyObject *
region_end(PyObject *Py_UNUSED(module), PyObject *capsule)
{
    interruptible_region *r = get_region(capsule);
    if (r == NULL || interruptible_end(r) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* check(region, how): None, or 'stop' from a worker, or raises. */
static PyObject *
region_check(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *capsule;
    const char *how;
    if (!PyArg_ParseTuple(args, "Os:region_check", &capsule, &how)) {
        return NULL;
    }
    interruptible_region *r = get_region(capsule);
    if (r == NULL) {
        return NULL;
    }
    int result;
    if (strcmp(how, "gil") == 0) {
        result = interruptible_check(r);
    }
    else if (strcmp(how, "blocked") == 0) {
        result = interruptible_check_blocked(r);
    }
    else if (strcmp(how, "nogil") == 0) {
        Py_BEGIN_ALLOW_THREADS
        result = interruptible_check_nogil(r);
        Py_END_ALLOW_THREADS
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        result = interruptible_check_worker(r);
        Py_END_ALLOW_THREADS
        if (result < 0 && !PyErr_Occurred()) {
            return PyUnicode_FromString("stop");
        }
    }
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* join(region, workers): 0 or -1, or raises. */
static PyObject *
region_join(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *capsule;
    unsigned int workers;
    if (!PyArg_ParseTuple(args, "OI:region_join", &capsule, &workers)) {
        return NULL;
    }
    interruptible_region *r = get_region(capsule);
    if (r == NULL) {
        return NULL;
    }
    int result;
    Py_BEGIN_ALLOW_THREADS
    result = interruptible_team_join(r, workers);
    Py_END_ALLOW_THREADS
    if (PyErr_Occurred()) {
        return NULL;
    }
    return PyLong_FromLong(result);
}

static PyObject *
region_done(PyObject *Py_UNUSED(module), PyObject *capsule)
{
    interruptible_region *r = get_region(capsule);
    if (r == NULL) {
        return NULL;
    }
    interruptible_team_worker_done(r);
    Py_RETURN_NONE;
}

static PyObject *
region_pending(PyObject *Py_UNUSED(module), PyObject *capsule)
{
    interruptible_region *r = get_region(capsule);
    if (r == NULL) {
        return NULL;
    }
    return PyBool_FromLong(interruptible_pending(r));
}

static PyObject *
begin_with_error(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    interruptible_region r;
    PyErr_SetString(PyExc_ValueError, "first");
    int began = interruptible_begin(&r);
    int checked = interruptible_check(&r);
    int worker = interruptible_check_worker(&r);
    int ended = interruptible_end(&r);
    if (began != -1 || checked != -1 || worker != -1 || ended != -1) {
        PyErr_Format(PyExc_AssertionError, "begin %d, check %d, worker %d, "
                     "end %d", began, checked, worker, ended);
    }
    return NULL;
}

/* An error is set when a signal comes.  Raises that error, or AssertionError
   if a check does not say stop within a second or says "go on" afterwards. */
static PyObject *
check_with_error(PyObject *Py_UNUSED(module), PyObject *args)
{
    int signum, nogil;
    if (!PyArg_ParseTuple(args, "ip:check_with_error", &signum, &nogil)) {
        return NULL;
    }
    interruptible_region r;
    if (interruptible_begin(&r) < 0) {
        return NULL;
    }
    PyErr_SetString(PyExc_ValueError, "first");
    raise(signum);
    uint64_t end = ipriv_clock_ns() + 1000000000u;
    int first = 0, second = 0;
    PyThreadState *saved = nogil ? PyEval_SaveThread() : NULL;
    while (first == 0 && ipriv_clock_ns() < end) {
        first = nogil ? interruptible_check_nogil(&r)
                      : interruptible_check(&r);
    }
    second = nogil ? interruptible_check_nogil(&r) : interruptible_check(&r);
    if (nogil) {
        PyEval_RestoreThread(saved);
    }
    int third = interruptible_end(&r);
    if (first != -1 || second != -1 || third != -1) {
        PyErr_Format(PyExc_AssertionError, "check %d, check %d, end %d",
                     first, second, third);
    }
    return NULL;
}

/* Somebody clears the exception between check and end. */
static PyObject *
end_without_error(PyObject *Py_UNUSED(module), PyObject *args)
{
    int signum;
    if (!PyArg_ParseTuple(args, "i:end_without_error", &signum)) {
        return NULL;
    }
    interruptible_region r;
    if (interruptible_begin(&r) < 0) {
        return NULL;
    }
    raise(signum);
    while (interruptible_check(&r) == 0) {
    }
    PyErr_Clear();
    if (interruptible_end(&r) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* run(seconds, nogil): checks for so long.  (checks, decisions). */
static PyObject *
run(PyObject *Py_UNUSED(module), PyObject *args)
{
    double seconds;
    int nogil;
    if (!PyArg_ParseTuple(args, "dp:run", &seconds, &nogil)) {
        return NULL;
    }
    interruptible_region r;
    if (interruptible_begin(&r) < 0) {
        return NULL;
    }
    uint64_t end = ipriv_clock_ns() + (uint64_t)(seconds * 1e9);
    Py_ssize_t checks = 0;
    int result = 0;
    PyThreadState *saved = nogil ? PyEval_SaveThread() : NULL;
    while (result == 0 && (checks % 1000 != 0 || ipriv_clock_ns() < end)) {
        result = nogil ? interruptible_check_nogil(&r)
                       : interruptible_check(&r);
        checks++;
    }
    if (nogil) {
        PyEval_RestoreThread(saved);
    }
    uint32_t decisions = interruptible_decisions(&r);
    if (interruptible_end(&r) < 0) {
        return NULL;
    }
    return Py_BuildValue("nk", checks, (unsigned long)decisions);
}

/* cost(checks, nogil): nanoseconds per check in a tight loop. */
static PyObject *
cost(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t checks;
    const char *how;
    if (!PyArg_ParseTuple(args, "ns:cost", &checks, &how)) {
        return NULL;
    }
    interruptible_region r;
    if (interruptible_begin(&r) < 0) {
        return NULL;
    }
    uint64_t start = ipriv_clock_ns();
    if (how[0] == 'g') {
        for (Py_ssize_t i = 0; i < checks; i++) {
            if (interruptible_check(&r) < 0) {
                break;
            }
        }
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        if (how[0] == 'n') {
            for (Py_ssize_t i = 0; i < checks; i++) {
                if (interruptible_check_nogil(&r) < 0) {
                    break;
                }
            }
        }
        else {
            for (Py_ssize_t i = 0; i < checks; i++) {
                if (interruptible_check_worker(&r) < 0) {
                    break;
                }
            }
        }
        Py_END_ALLOW_THREADS
    }
    uint64_t stop = ipriv_clock_ns();
    if (interruptible_end(&r) < 0) {
        return NULL;
    }
    return PyFloat_FromDouble((double)(stop - start) / (double)checks);
}

/* --- The fallback's clock ----------------------------------------------- */

/* clock_plan([(steps, nanoseconds per step), ...], signum): with a clock of
   our own, checks so often at such a pace; before the last part the signal
   comes, if there is one.  ([clock reads in each part], steps in the last part
   until it stopped, or None). */
static PyObject *
clock_plan(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *plan, *reads = NULL, *result = NULL;
    int signum, nogil;
    if (!PyArg_ParseTuple(args, "O!ip:clock_plan", &PyList_Type, &plan,
                          &signum, &nogil)) {
        return NULL;
    }
    interruptible_region r;
    clock_is_ours = 1;
    clock_now = 1;
    if (interruptible_begin(&r) < 0) {
        clock_is_ours = 0;
        return NULL;
    }
    reads = PyList_New(0);
    Py_ssize_t stopped = -1;
    Py_ssize_t parts = PyList_Size(plan);
    for (Py_ssize_t part = 0; reads != NULL && part < parts; part++) {
        Py_ssize_t steps;
        unsigned long long pace;
        if (!PyArg_ParseTuple(PyList_GetItem(plan, part), "nK:part", &steps,
                              &pace)) {
            goto done;
        }
        clock_reads = 0;
        if (part == parts - 1 && signum != 0) {
            raise(signum);
        }
        PyThreadState *saved = nogil ? PyEval_SaveThread() : NULL;
        for (Py_ssize_t i = 0; i < steps && stopped < 0; i++) {
            clock_now += pace;
            int said = nogil ? interruptible_check_nogil(&r)
                             : interruptible_check(&r);
            if (said < 0) {
                stopped = i + 1;
            }
        }
        if (nogil) {
            PyEval_RestoreThread(saved);
        }
        if (stopped >= 0) {
            PyErr_Clear();
        }
        PyObject *number = PyLong_FromSsize_t(clock_reads);
        if (number == NULL || PyList_Append(reads, number) < 0) {
            Py_XDECREF(number);
            goto done;
        }
        Py_DECREF(number);
    }
    if (reads != NULL) {
        result = stopped < 0 ? Py_BuildValue("OO", reads, Py_None)
                             : Py_BuildValue("On", reads, stopped);
    }
done:
    clock_is_ours = 0;
    Py_XDECREF(reads);
    if (stopped >= 0) {
        (void)interruptible_end(&r);
        if (result != NULL) {
            PyErr_Clear();
        }
    }
    else if (interruptible_end(&r) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

/* --- Workers ------------------------------------------------------------ */

typedef struct {
    interruptible_region *r;
    int go;                     /* atomic: the signal has come */
    int result;
    uint64_t took;
} lonely;

static void *
lonely_main(void *opaque)
{
    lonely *worker = (lonely *)opaque;
    while (!__atomic_load_n(&worker->go, __ATOMIC_ACQUIRE)) {
    }
    uint64_t start = ipriv_clock_ns();
    worker->result = interruptible_check_worker(worker->r);
    worker->took = ipriv_clock_ns() - start;
    interruptible_team_worker_done(worker->r);
    return NULL;
}

/* lonely_worker(signum, join): one worker checks after a signal has come; its
   owner uses team_join(), or has forgotten to.  (what the check said, seconds
   it took, what join said), or raises what the handler raised. */
static PyObject *
lonely_worker(PyObject *Py_UNUSED(module), PyObject *args)
{
    int signum, join;
    if (!PyArg_ParseTuple(args, "ip:lonely_worker", &signum, &join)) {
        return NULL;
    }
    interruptible_region r;
    if (interruptible_begin(&r) < 0) {
        return NULL;
    }
    lonely worker = {&r, 0, 99, 0};
    pthread_t thread;
    int joined = 0;
    interruptible_team_begin(&r);
    int error = pthread_create(&thread, NULL, lonely_main, &worker);
    if (error != 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        (void)interruptible_end(&r);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    /* To this thread: the handler has run when it returns. */
    pthread_kill(pthread_self(), signum);
    __atomic_store_n(&worker.go, 1, __ATOMIC_RELEASE);
    if (join) {
        joined = interruptible_team_join(&r, 1);
    }
    pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS
    if (interruptible_end(&r) < 0) {
        return NULL;
    }
    return Py_BuildValue("idi", worker.result, (double)worker.took * 1e-9,
                         joined);
}

/* --- Masks -------------------------------------------------------------- */

#define TOKEN "kit_test_c.token"

static void
free_token(PyObject *capsule)
{
    free(PyCapsule_GetPointer(capsule, TOKEN));
}

static PyObject *
token_new(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    static const interruptible_token fresh = INTERRUPTIBLE_TOKEN_INIT;
    interruptible_token *token =
        (interruptible_token *)malloc(sizeof(interruptible_token));
    if (token == NULL) {
        return PyErr_NoMemory();
    }
    *token = fresh;
    return PyCapsule_New(token, TOKEN, free_token);
}

static PyObject *
token_mask(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *capsule;
    int soft = 0;
    if (!PyArg_ParseTuple(args, "O|p:token_mask", &capsule, &soft)) {
        return NULL;
    }
    interruptible_token *token =
        (interruptible_token *)PyCapsule_GetPointer(capsule, TOKEN);
    if (token == NULL) {
        return NULL;
    }
    if ((soft ? interruptible_mask_soft(token)
              : interruptible_mask(token)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
token_unmask(PyObject *Py_UNUSED(module), PyObject *capsule)
{
    interruptible_token *token =
        (interruptible_token *)PyCapsule_GetPointer(capsule, TOKEN);
    if (token == NULL || interruptible_unmask(token) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Cleanup that has failed unmasks wrongly: the failure is not lost. */
static PyObject *
unmask_with_error(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    interruptible_token token = INTERRUPTIBLE_TOKEN_INIT;
    PyErr_SetString(PyExc_ValueError, "first");
    if (interruptible_unmask(&token) < 0) {
        return NULL;
    }
    PyErr_SetString(PyExc_AssertionError, "unmask said yes");
    return NULL;
}

/* masked_run(signum, seconds, nogil): masks, sends itself the signal, checks
   for so long, unmasks, checks until it stops.  Raises what the handler has
   raised; AssertionError if that came while it was masked; returns the
   decisions while masked if nothing came within a second. */
static PyObject *
masked_run(PyObject *Py_UNUSED(module), PyObject *args)
{
    int signum, nogil;
    double seconds;
    if (!PyArg_ParseTuple(args, "idp:masked_run", &signum, &seconds, &nogil)) {
        return NULL;
    }
    interruptible_token token = INTERRUPTIBLE_TOKEN_INIT;
    interruptible_region r;
    if (interruptible_mask(&token) < 0) {
        return NULL;
    }
    if (interruptible_begin(&r) < 0) {
        (void)interruptible_unmask(&token);
        return NULL;
    }
    raise(signum);
    uint64_t end = ipriv_clock_ns() + (uint64_t)(seconds * 1e9);
    int result = 0;
    PyThreadState *saved = nogil ? PyEval_SaveThread() : NULL;
    while (result == 0 && ipriv_clock_ns() < end) {
        result = nogil ? interruptible_check_nogil(&r)
                       : interruptible_check(&r);
    }
    if (nogil) {
        PyEval_RestoreThread(saved);
    }
    uint32_t decisions = interruptible_decisions(&r);
    if (result < 0) {
        PyErr_SetString(PyExc_AssertionError, "interrupted while masked");
        (void)interruptible_unmask(&token);
        (void)interruptible_end(&r);
        return NULL;
    }
    if (interruptible_unmask(&token) < 0) {
        (void)interruptible_end(&r);
        return NULL;
    }
    end = ipriv_clock_ns() + 1000000000u;
    saved = nogil ? PyEval_SaveThread() : NULL;
    while (result == 0 && ipriv_clock_ns() < end) {
        result = nogil ? interruptible_check_nogil(&r)
                       : interruptible_check(&r);
    }
    if (nogil) {
        PyEval_RestoreThread(saved);
    }
    if (interruptible_end(&r) < 0) {
        return NULL;
    }
    return PyLong_FromUnsignedLong(decisions);
}

/* --- Frameworks that see signals by themselves --------------------------- */

/* Each has a handler of its own before that of Python, remembers the signal,
   and raises KeyboardInterrupt when it polls: as Python would do, too. */
typedef struct {
    interruptible_poller poller;
    volatile sig_atomic_t pending;
    int raised;
    int told;
} framework;

static void
forget(int Py_UNUSED(signum), void *arg)
{
    framework *self = (framework *)arg;
    self->pending = 0;
    self->told++;
}

static framework frameworks[2] = {
    {{"one", forget, &frameworks[0]}, 0, 0, 0},
    {{"other", forget, &frameworks[1]}, 0, 0, 0},
};
static struct sigaction python_action;

static void
see_signal(int signum)
{
    python_action.sa_handler(signum);
    frameworks[0].pending = frameworks[1].pending = 1;
}

static const interruptible_capi *
need_table(void)
{
    const interruptible_capi *table = interruptible_table();
    if (table == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "only the native backend has pollers");
    }
    return table;
}

static PyObject *
frameworks_start(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    const interruptible_capi *table = need_table();
    if (table == NULL) {
        return NULL;
    }
    for (int i = 0; i < 2; i++) {
        frameworks[i].pending = frameworks[i].raised = frameworks[i].told = 0;
        if (table->add_poller(&frameworks[i].poller) < 0) {
            return NULL;
        }
    }
    struct sigaction action = {0};
    action.sa_handler = see_signal;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &python_action);
    Py_RETURN_NONE;
}

/* 0; -1 with KeyboardInterrupt. */
static int
poll_framework(const interruptible_capi *table, framework *self, int ask)
{
    if (!self->pending) {
        return 0;
    }
    self->pending = 0;
    int mine = ask ? table->claim(&self->poller, SIGINT) : 1;
    if (mine > 0) {
        self->raised++;
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return -1;
    }
    return mine;
}

/* frameworks_work(turns, ask): both poll in each turn; without ask they raise
   without having claimed the signal. */
static PyObject *
frameworks_work(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t turns;
    int ask;
    const interruptible_capi *table = need_table();
    if (table == NULL || !PyArg_ParseTuple(args, "np", &turns, &ask)) {
        return NULL;
    }
    for (Py_ssize_t turn = 0; turn < turns; turn++) {
        for (int i = 0; i < 2; i++) {
            if (poll_framework(table, &frameworks[i], ask) < 0) {
                return NULL;
            }
        }
    }
    Py_RETURN_NONE;
}

/* What each has raised, and how often each was told. */
static PyObject *
frameworks_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    const interruptible_capi *table = need_table();
    if (table == NULL) {
        return NULL;
    }
    sigaction(SIGINT, &python_action, NULL);
    for (int i = 0; i < 2; i++) {
        if (table->remove_poller(&frameworks[i].poller) < 0) {
            return NULL;
        }
    }
    return Py_BuildValue("(ii)(ii)", frameworks[0].raised,
                         frameworks[1].raised, frameworks[0].told,
                         frameworks[1].told);
}

/* claim_in_turn(): a signal, and both claim it before anybody else can look:
   the two answers. */
static PyObject *
claim_in_turn(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    const interruptible_capi *table = need_table();
    if (table == NULL) {
        return NULL;
    }
    raise(SIGINT);
    int first = table->claim(&frameworks[0].poller, SIGINT);
    int second = table->claim(&frameworks[1].poller, SIGINT);
    return Py_BuildValue("ii", first, second);
}

static PyMethodDef kit_methods[] = {
    {"frameworks_start", frameworks_start, METH_NOARGS, NULL},
    {"frameworks_work", frameworks_work, METH_VARARGS, NULL},
    {"frameworks_stop", frameworks_stop, METH_NOARGS, NULL},
    {"claim_in_turn", claim_in_turn, METH_NOARGS, NULL},
    {"import_kit", import_kit, METH_VARARGS, NULL},
    {"backend", backend, METH_NOARGS, NULL},
    {"reason", reason, METH_NOARGS, NULL},
    {"region_begin", region_begin, METH_NOARGS, NULL},
    {"region_end", region_end, METH_O, NULL},
    {"region_check", region_check, METH_VARARGS, NULL},
    {"region_join", region_join, METH_VARARGS, NULL},
    {"region_done", region_done, METH_O, NULL},
    {"region_pending", region_pending, METH_O, NULL},
    {"begin_with_error", begin_with_error, METH_NOARGS, NULL},
    {"check_with_error", check_with_error, METH_VARARGS, NULL},
    {"end_without_error", end_without_error, METH_VARARGS, NULL},
    {"run", run, METH_VARARGS, NULL},
    {"cost", cost, METH_VARARGS, NULL},
    {"clock_plan", clock_plan, METH_VARARGS, NULL},
    {"lonely_worker", lonely_worker, METH_VARARGS, NULL},
    {"token_new", token_new, METH_NOARGS, NULL},
    {"token_mask", token_mask, METH_VARARGS, NULL},
    {"token_unmask", token_unmask, METH_O, NULL},
    {"unmask_with_error", unmask_with_error, METH_NOARGS, NULL},
    {"masked_run", masked_run, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* For one interpreter: the clock that tests turn, and the two frameworks, which
   handlers of C signals must find, are the process's.  No test calls from two
   threads what uses them. */
static PyModuleDef_Slot kit_slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef kit_module = {
    PyModuleDef_HEAD_INIT,
    "kit_test_c",
    PyDoc_STR("interruptible.h, one call at a time."),
    0,
    kit_methods,
    kit_slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit_kit_test_c(void)
{
    return PyModuleDef_Init(&kit_module);
}
