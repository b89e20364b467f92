/* Libraries that sleep by themselves while they wait, and do not notice when a signal
   breaks that: they get a function to sleep with.  It is in a file of its own because
   it stands on what the other files, and the functions for EINTR, do together. */

#include "Python.h"
#include "pycore_ceval.h"         // _Py_set_eval_breaker_bit()
#include "pycore_interrupts.h"
#include "pycore_pyerrors.h"      // _PyErr_GetRaisedException()
#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_tstate.h"        // _PyThreadStateImpl


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
    (void)_PyInterrupts_Postpone();
    return 1;
#else
    (void)microseconds;
    return 0;
#endif
}

int
_PyInterrupts_Postpone(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    _PyInterruptState *state = &((_PyThreadStateImpl *)tstate)->interrupts;
    PyObject *exc = _PyErr_GetRaisedException(tstate);
    if (_PyInterruptCore_Push(state, exc, Py_TYPE(exc), 0) != 1) {
        _PyErr_SetRaisedException(tstate, exc);
        return 0;
    }
    _Py_set_eval_breaker_bit(tstate, _PY_INTERRUPTS_PENDING_BIT);
    return 1;
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
