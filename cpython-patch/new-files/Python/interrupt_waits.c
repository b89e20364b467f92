/* Libraries that sleep by themselves while they wait, and do not notice when a signal
   breaks that: they get a function to sleep with.  It is in a file of its own because
   it stands on what the other files, and the functions for EINTR, do together. */

#include "Python.h"
#include "pycore_ceval.h"         // _Py_set_eval_breaker_bit()
#include "pycore_interrupts.h"
#include "pycore_pyerrors.h"      // _PyErr_GetRaisedException()
#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_tstate.h"        // _PyThreadStateImpl


/* Let an exception wait, as if it had come later.  Return 1 if the queue has taken the
   reference, 0 if there was no memory. */
static int
push(PyThreadState *tstate, PyObject *exc)
{
    _PyInterruptState *state = &((_PyThreadStateImpl *)tstate)->interrupts;
    if (_PyInterruptCore_Push(state, exc, Py_TYPE(exc), 0) != 1) {
        return 0;
    }
    _Py_set_eval_breaker_bit(tstate, _PY_INTERRUPTS_PENDING_BIT);
    _PyInterruptCore_RaiseFlag(state);
    return 1;
}

int
_PyInterrupts_SleepFor(int64_t microseconds)
{
#ifdef HAVE_NANOSLEEP
    struct timespec rest = {
        .tv_sec = (time_t)(microseconds / 1000000),
        .tv_nsec = (long)(microseconds % 1000000) * 1000,
    };
    while (_PyErr_CheckSignalsEINTR() == 0) {
        int err;
        Py_BEGIN_ALLOW_THREADS
        err = nanosleep(&rest, &rest);
        Py_END_ALLOW_THREADS
        if (err == 0 || errno != EINTR) {
            return 0;
        }
    }
    /* The library may still succeed, so it waits until that is known. */
    PyThreadState *tstate = _PyThreadState_GET();
    PyObject *exc = _PyErr_GetRaisedException(tstate);
    if (!push(tstate, exc)) {
        _PyErr_SetRaisedException(tstate, exc);
    }
    return 1;
#else
    (void)microseconds;
    return 0;
#endif
}

void
_PyInterrupts_Keep(void)
{
    _PyInterrupts_PostponeKept();
    PyThreadState *tstate = _PyThreadState_GET();
    PyObject **kept = &((_PyThreadStateImpl *)tstate)->kept_exception;
    Py_XSETREF(*kept, _PyErr_GetRaisedException(tstate));
}

int
_PyInterrupts_IsKept(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    return ((_PyThreadStateImpl *)tstate)->kept_exception != NULL;
}

int
_PyInterrupts_RaiseKept(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    PyObject **kept = &((_PyThreadStateImpl *)tstate)->kept_exception;
    if (*kept == NULL) {
        return 0;
    }
    PyObject *exc = *kept;
    *kept = NULL;
    _PyErr_SetRaisedException(tstate, exc);
    return -1;
}

void
_PyInterrupts_PostponeKept(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    PyObject **kept = &((_PyThreadStateImpl *)tstate)->kept_exception;
    /* If there is no memory it stays. */
    if (*kept != NULL && push(tstate, *kept)) {
        *kept = NULL;
    }
}

int
_PyInterrupts_RaiseBlocked(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (_PyErr_Occurred(tstate)) {
        return -1;
    }
    if (_PyInterrupts_Deliver(tstate, _PyInterruptCore_BLOCKED) < 0) {
        return -1;
    }
    return _PyInterrupts_DeliverSent(tstate, _PyInterruptCore_BLOCKED);
}
