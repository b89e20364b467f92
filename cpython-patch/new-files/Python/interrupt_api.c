/* What extension modules see of interrupts: Include/cpython/pyinterrupts.h. */

#include "Python.h"
#include "pycore_interrupts.h"
#include "pycore_lock.h"          // PyMutex
#include "pycore_pyerrors.h"      // _PyErr_CheckSignalsEINTR()
#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_signal.h"        // _PyErr_ClaimSignal()
#include "pycore_tstate.h"        // _PyThreadStateImpl


const volatile uint32_t *
PyInterrupt_Flag(void)
{
    const volatile uint32_t *flag = _PyInterrupts_Flag(_PyThreadState_GET());
    if (flag == NULL) {
        PyErr_NoMemory();
    }
    return flag;
}

const volatile uint32_t *
PyInterrupt_Count(void)
{
    return _PyInterruptCore_FlagCount();
}

int
PyInterrupt_CheckBlocked(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (_PyErr_Occurred(tstate)) {
        return -1;
    }
    (void)_PyInterrupts_TakeFlag(tstate);
    return _PyErr_CheckSignalsEINTR();
}

int
PyInterrupt_IsMasked(void)
{
    return _PyInterrupts_Masked();
}


/* Masks */

/* Unlikely to be found in memory that holds no saved mask. */
static inline uintptr_t
key_of(const PyInterruptMask *saved)
{
    return (uintptr_t)saved->thread ^ saved->region ^ (uintptr_t)0x9e3779b9;
}

int
PyInterrupt_Mask(PyInterruptMask *saved, int kind)
{
    if (kind != PyInterrupt_MASK_SOFT && kind != PyInterrupt_MASK_HARD) {
        PyErr_Format(PyExc_ValueError,
                     "PyInterrupt_Mask() takes PyInterrupt_MASK_SOFT or "
                     "PyInterrupt_MASK_HARD, not %d", kind);
        return -1;
    }
    PyThreadState *tstate = _PyThreadState_GET();
    uintptr_t number;
    saved->thread = tstate->id;
    saved->region = _PyInterrupts_EnterGuard(
                        tstate, kind == PyInterrupt_MASK_HARD, &number);
    saved->check = number ^ key_of(saved);
    return 0;
}

int
PyInterrupt_Unmask(PyInterruptMask *saved)
{
    PyThreadState *tstate = _PyThreadState_GET();
    uintptr_t number = saved->check ^ key_of(saved);
    const char *message = NULL;
    if (saved->check == 0) {
        message = "PyInterrupt_Unmask() without PyInterrupt_Mask()";
    }
    else if (saved->thread != tstate->id) {
        message = "PyInterrupt_Unmask() with the mask of another thread";
    }
    else if (!_PyInterruptCore_IsGuard(
                    &((_PyThreadStateImpl *)tstate)->interrupts,
                    saved->region, number))
    {
        message = "PyInterrupt_Unmask() with a mask that is not in force";
    }
    if (message != NULL) {
#ifdef Py_DEBUG
        Py_FatalError(message);
#endif
        /* The error that there may be says more. */
        if (!_PyErr_Occurred(tstate)) {
            _PyErr_SetString(tstate, PyExc_RuntimeError, message);
        }
        return -1;
    }
    uintptr_t region = saved->region;
    *saved = (PyInterruptMask){0};
    _PyInterrupts_LeaveRegion(tstate, region);
    return 0;
}


/* Frameworks that see signals by a way of their own */

typedef struct poller_entry {
    const PyInterruptPoller *poller;
    /* Each interpreter that imports a module adds its poller. */
    size_t times;
    struct poller_entry *next;
} poller_entry;

/* Signals are the process's, and so are those who look at them.  The lock is held
   while they are called, so that none is removed meanwhile. */
static poller_entry *pollers = NULL;
static PyMutex pollers_mutex = {0};

static poller_entry **
find_poller(const PyInterruptPoller *poller)
{
    poller_entry **link = &pollers;
    while (*link != NULL && (*link)->poller != poller) {
        link = &(*link)->next;
    }
    return link;
}

int
PyInterrupt_AddPoller(const PyInterruptPoller *poller)
{
    if (poller->name == NULL || poller->taken == NULL) {
        PyErr_SetString(PyExc_ValueError,
                        "a PyInterruptPoller needs a name, and a function that "
                        "is told what others have taken");
        return -1;
    }
    /* When it is freed, the application may use another allocator for Python. */
    poller_entry *entry = malloc(sizeof(poller_entry));
    if (entry == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMutex_Lock(&pollers_mutex);
    poller_entry *known = *find_poller(poller);
    if (known != NULL) {
        known->times++;
    }
    else {
        *entry = (poller_entry){poller, 1, pollers};
        pollers = entry;
    }
    PyMutex_Unlock(&pollers_mutex);
    if (known != NULL) {
        free(entry);
    }
    return 0;
}

int
PyInterrupt_RemovePoller(const PyInterruptPoller *poller)
{
    PyMutex_Lock(&pollers_mutex);
    poller_entry **link = find_poller(poller);
    poller_entry *entry = *link;
    int known = entry != NULL;
    if (known && --entry->times == 0) {
        *link = entry->next;
    }
    else {
        entry = NULL;
    }
    PyMutex_Unlock(&pollers_mutex);
    if (!known) {
        PyErr_SetString(PyExc_RuntimeError,
                        "PyInterrupt_RemovePoller() of a poller that has not "
                        "been added");
        return -1;
    }
    free(entry);
    return 0;
}

void
_PyInterrupts_PollersAfterFork(void)
{
    _PyMutex_at_fork_reinit(&pollers_mutex);
}

/* Tell all but `but` that this signal has been dealt with. */
static void
tell_pollers(const PyInterruptPoller *but, int signum)
{
    PyMutex_Lock(&pollers_mutex);
    for (poller_entry *entry = pollers; entry != NULL; entry = entry->next) {
        if (entry->poller != but) {
            entry->poller->taken(signum, entry->poller->arg);
        }
    }
    PyMutex_Unlock(&pollers_mutex);
}

void
_PyInterrupts_SignalTaken(int signum)
{
    tell_pollers(NULL, signum);
}

int
PyInterrupt_Claim(const PyInterruptPoller *poller, int signum)
{
    if (signum < 1 || signum >= Py_NSIG) {
        PyErr_SetString(PyExc_ValueError, "signal number out of range");
        return -1;
    }
    PyMutex_Lock(&pollers_mutex);
    int known = *find_poller(poller) != NULL;
    PyMutex_Unlock(&pollers_mutex);
    if (!known) {
        PyErr_SetString(PyExc_RuntimeError,
                        "PyInterrupt_Claim() by a poller that has not been added");
        return -1;
    }
    int claimed = _PyErr_ClaimSignal(signum);
    if (claimed) {
        tell_pollers(poller, signum);
    }
    return claimed;
}


/* The table */

static const PyInterrupt_CAPI capi = {
    .size = sizeof(PyInterrupt_CAPI),
    .version = PyInterrupt_ABI_VERSION,
    .flag = PyInterrupt_Flag,
    .count = PyInterrupt_Count,
    .check = PyErr_CheckSignals,
    .check_blocked = PyInterrupt_CheckBlocked,
    .is_masked = PyInterrupt_IsMasked,
    .mask = PyInterrupt_Mask,
    .unmask = PyInterrupt_Unmask,
    .add_poller = PyInterrupt_AddPoller,
    .remove_poller = PyInterrupt_RemovePoller,
    .claim = PyInterrupt_Claim,
};

static PyObject *
new_capi(void)
{
    return PyCapsule_New((void *)&capi, PyInterrupt_CAPSULE_NAME, NULL);
}

void
_PyInterrupts_InitCAPI(void)
{
    _PyInterrupts_SetCAPI(new_capi);
}
