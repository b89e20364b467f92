/* fake_interrupts: tables like the interpreter's _interrupts.C_API, for tests.

   Wrong ones, to see what import says; and one that works, so that the native
   side of the kit can be tested on an interpreter that has none.  That one
   knows the main thread only: its flag is set by the C signal handler that
   hook() puts in front of Python's. */

#include <Python.h>

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

typedef struct {
    uint64_t thread;
    uintptr_t region;
    uintptr_t check;
} mask_token;

typedef struct {
    uint32_t size;
    uint32_t version;
    const volatile uint32_t *(*flag)(void);
    const volatile uint32_t *(*count)(void);
    int (*check)(void);
    int (*check_blocked)(void);
    int (*is_masked)(void);
    int (*mask)(mask_token *, int);
    int (*unmask)(mask_token *);
    int (*add_poller)(const void *);
    int (*remove_poller)(const void *);
    int (*claim)(const void *, int);
} table;

/* The main thread's, and everybody else's, which is never set. */
static volatile uint32_t main_flag;
static volatile uint32_t other_flag;
static volatile uint32_t count_word;
static pthread_t main_thread;

static __thread unsigned int mask_depth;
static __thread int held_back;

/* How often check() was called; atomic. */
static unsigned long checks;

static const volatile uint32_t *
fake_flag(void)
{
    return pthread_equal(pthread_self(), main_thread) ? &main_flag
                                                      : &other_flag;
}

static const volatile uint32_t *
fake_count(void)
{
    return &count_word;
}

static int
fake_check(void)
{
    __atomic_add_fetch(&checks, 1, __ATOMIC_RELAXED);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (pthread_equal(pthread_self(), main_thread)) {
        __atomic_store_n(&main_flag, 0, __ATOMIC_SEQ_CST);
        if (mask_depth > 0) {
            held_back = 1;
            return 0;
        }
    }
    return PyErr_CheckSignals();
}

static int
fake_is_masked(void)
{
    return mask_depth > 0;
}

static int
fake_mask(mask_token *token, int kind)
{
    token->thread = (uint64_t)(uintptr_t)&mask_depth;
    token->region = (uintptr_t)kind + 1;
    mask_depth++;
    return 0;
}

static int
fake_unmask(mask_token *token)
{
    if (token->region == 0
        || token->thread != (uint64_t)(uintptr_t)&mask_depth) {
        Py_FatalError("fake_interrupts: the kit has let misuse through");
    }
    token->region = 0;
    mask_depth--;
    if (mask_depth == 0 && held_back) {
        held_back = 0;
        __atomic_store_n(&main_flag, 1, __ATOMIC_SEQ_CST);
    }
    return 0;
}

static int
fake_poller(const void *Py_UNUSED(poller))
{
    return 0;
}

static int
fake_claim(const void *Py_UNUSED(poller), int Py_UNUSED(signum))
{
    return 0;
}

static const table good = {
    sizeof(table), 1, fake_flag, fake_count, fake_check, fake_check,
    fake_is_masked, fake_mask, fake_unmask, fake_poller, fake_poller,
    fake_claim,
};

/* A newer one has more behind the end. */
typedef struct {
    table old;
    void (*more)(void);
} newer_table;

static newer_table newer;
static table bad;

PyDoc_STRVAR(capsule_doc,
"capsule(kind, /)\n--\n\n"
"'good', 'newer', 'short', 'version0', 'renamed', or the name of an entry\n"
"that shall be NULL.");

static PyObject *
capsule(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *kind;
    const char *name = "_interrupts.C_API";
    if (!PyArg_ParseTuple(args, "s:capsule", &kind)) {
        return NULL;
    }
    if (strcmp(kind, "good") == 0) {
        return PyCapsule_New((void *)&good, name, NULL);
    }
    if (strcmp(kind, "newer") == 0) {
        newer.old = good;
        newer.old.version = 7;
        newer.old.size = sizeof(newer);
        return PyCapsule_New(&newer, name, NULL);
    }
    bad = good;
    if (strcmp(kind, "short") == 0) {
        bad.size = (uint32_t)offsetof(table, mask);
    }
    else if (strcmp(kind, "version0") == 0) {
        bad.version = 0;
    }
    else if (strcmp(kind, "renamed") == 0) {
        name = "_interrupts.ANOTHER";
    }
#define ENTRY(field) \
    else if (strcmp(kind, #field) == 0) { \
        bad.field = NULL; \
    }
    ENTRY(flag)
    ENTRY(count)
    ENTRY(check)
    ENTRY(check_blocked)
    ENTRY(is_masked)
    ENTRY(mask)
    ENTRY(unmask)
    ENTRY(add_poller)
    ENTRY(remove_poller)
    ENTRY(claim)
    else {
        PyErr_Format(PyExc_ValueError, "no such kind: %s", kind);
        return NULL;
    }
    return PyCapsule_New(&bad, name, NULL);
}

/* Python's own handlers. */
static struct sigaction before[NSIG];

static void
handler(int signum)
{
    /* First Python's: when the flag is seen, there must be something. */
    before[signum].sa_handler(signum);
    __atomic_add_fetch(&count_word, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&main_flag, 1, __ATOMIC_SEQ_CST);
}

PyDoc_STRVAR(hook_doc,
"hook(signum, /)\n--\n\n"
"Let the signal set the flag, too.  Again after each signal.signal().");

static PyObject *
hook(PyObject *Py_UNUSED(module), PyObject *args)
{
    int signum;
    if (!PyArg_ParseTuple(args, "i:hook", &signum)) {
        return NULL;
    }
    struct sigaction action;
    if (sigaction(signum, NULL, &action) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (action.sa_handler != handler) {
        before[signum] = action;
        action.sa_handler = handler;
        if (sigaction(signum, &action, NULL) < 0) {
            return PyErr_SetFromErrno(PyExc_OSError);
        }
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(checks_doc,
"checks()\n--\n\n"
"How often the good table's check() has been called.");

static PyObject *
get_checks(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(
        __atomic_load_n(&checks, __ATOMIC_RELAXED));
}

static PyMethodDef fake_methods[] = {
    {"capsule", capsule, METH_VARARGS, capsule_doc},
    {"hook", hook, METH_VARARGS, hook_doc},
    {"checks", get_checks, METH_NOARGS, checks_doc},
    {NULL, NULL, 0, NULL},
};

static int
fake_exec(PyObject *Py_UNUSED(module))
{
    /* Tests import it in the main thread. */
    main_thread = pthread_self();
    return 0;
}

/* For one interpreter: the tables, the flags and the C signal handlers are the
   process's.  capsule() and hook() are for one thread at a time. */
static PyModuleDef_Slot fake_slots[] = {
    {Py_mod_exec, (void *)fake_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef fake_module = {
    PyModuleDef_HEAD_INIT,
    "fake_interrupts",
    PyDoc_STR("Tables like _interrupts.C_API, for tests."),
    0,
    fake_methods,
    fake_slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit_fake_interrupts(void)
{
    return PyModuleDef_Init(&fake_module);
}
