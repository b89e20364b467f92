/* Interrupt masking: between the eval loop and the interrupt core.

   The compiler emits NIT and TIT around code that no interrupt may cut, and
   each frame stores the level of the last one it executed.  Everything that
   could raise an interrupt -- the eval loop, PyErr_CheckSignals(), the retry
   after EINTR -- comes here first.  What may be raised, what has to wait and
   when to ask again is decided by the core (pycore_interrupt_core.h); this
   file shows it the frames and moves exceptions and eval-breaker bits.

   InternalDocs/interrupt_masking.md has the whole story. */

#include "Python.h"
#include "pycore_call.h"          // _PyObject_Call()
#include "pycore_ceval.h"         // _Py_set_eval_breaker_bit()
#include "pycore_frame.h"         // _PyInterpreterFrame
#include "pycore_initconfig.h"    // _Py_get_xoption()
#include "pycore_interrupts.h"
#include "pycore_pyerrors.h"      // _PyErr_GetRaisedException()
#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_tstate.h"        // _PyThreadStateImpl


static inline _PyInterruptState *
interrupt_state(PyThreadState *tstate)
{
    return &((_PyThreadStateImpl *)tstate)->interrupts;
}

/* A _PyInterruptCore_CallerFunc. */
static const void *
caller_of(const void *frame, uint8_t *level)
{
    const _PyInterpreterFrame *f = (const _PyInterpreterFrame *)frame;
    *level = f->interrupt_level;
    return f->previous;
}


/* The off switch */

PyStatus
_PyInterrupts_Init(const PyConfig *config)
{
    const char *env = _Py_GetEnv(config->use_environment,
                                 "PYTHONINTERRUPTMASKS");
    const wchar_t *xoption = _Py_get_xoption(&config->xoptions,
                                             L"interrupt_masks");
    int enabled;
    if (xoption != NULL) {
        const wchar_t *value = wcschr(xoption, L'=');
        enabled = (value == NULL ? -1
                   : wcscmp(value, L"=0") == 0 ? 0
                   : wcscmp(value, L"=1") == 0 ? 1 : -1);
    }
    else {
        enabled = (env == NULL ? 1
                   : strcmp(env, "0") == 0 ? 0
                   : strcmp(env, "1") == 0 ? 1 : -1);
    }
    if (enabled < 0) {
        return _PyStatus_ERR("PYTHONINTERRUPTMASKS / -X interrupt_masks "
                             "must be \"0\" or \"1\"");
    }
    _PyInterruptCore_SetMasks(enabled);
    return _PyStatus_OK();
}


/* The queue of exceptions that wait */

static void
drop_exception(void *exc)
{
    Py_DECREF((PyObject *)exc);
}

void
_PyInterrupts_ClearThread(PyThreadState *tstate)
{
    _PyInterruptCore_Clear(interrupt_state(tstate), drop_exception);
}

void
_PyInterrupts_AfterFork(PyThreadState *tstate)
{
    PyObject *exc;
    while ((exc = _PyInterruptCore_Pop(interrupt_state(tstate), NULL)) != NULL) {
        Py_DECREF(exc);
    }
}

/* Does an exception carry nothing but its type? */
static int
is_plain(PyObject *exc)
{
    PyBaseExceptionObject *base = (PyBaseExceptionObject *)exc;
    /* A class statement adds room for weak references, but no data. */
    Py_ssize_t size = sizeof(PyBaseExceptionObject);
    if (Py_TYPE(exc)->tp_weaklistoffset != 0) {
        size += sizeof(PyObject *);
    }
    return (Py_TYPE(exc)->tp_basicsize <= size
            && PyTuple_GET_SIZE(base->args) == 0
            && (base->dict == NULL || PyDict_GET_SIZE(base->dict) == 0)
            && base->notes == NULL && base->cause == NULL);
}

/* The exception that the running code handles, or NULL.  Borrowed. */
static PyObject *
handled_exception(PyThreadState *tstate)
{
    PyObject *handled = _PyErr_GetTopmostException(tstate)->exc_value;
    return handled == Py_None ? NULL : handled;
}

/* The last exception of the context chain that starts at `exc`, or the last
   one before `stop`.  Borrowed.  NULL if the chain is a ring. */
static PyObject *
last_of_chain(PyObject *exc, PyObject *stop)
{
    PyObject *slow = exc;
    for (int step = 0; ; step++) {
        PyObject *next = ((PyBaseExceptionObject *)exc)->context;
        if (next == NULL || next == stop) {
            return exc;
        }
        exc = next;
        if (step & 1) {
            slow = ((PyBaseExceptionObject *)slow)->context;
        }
        if (exc == slow) {
            return NULL;
        }
    }
}

/* An exception that waits is raised somewhere else than where its handler ran:
   what that place was handling is not its context. */
static void
forget_context(PyThreadState *tstate, PyObject *exc)
{
    PyObject *handled = handled_exception(tstate);
    if (handled == NULL || exc == handled) {
        return;
    }
    PyObject *last = last_of_chain(exc, handled);
    if (last != NULL) {
        PyException_SetContext(last, NULL);
    }
}

/* Put `context` at the end of the exception's chain of contexts. */
static void
add_context(PyObject *exc, PyObject *context)
{
    if (exc == context) {
        return;
    }
    PyObject *last = last_of_chain(exc, NULL);
    /* Chain nothing that would close a ring. */
    if (last == NULL || last == context
        || last_of_chain(context, NULL) == last)
    {
        return;
    }
    PyException_SetContext(last, Py_NewRef(context));
}


/* The gate */

int
_PyInterrupts_MustWait(PyThreadState *tstate, uintptr_t bits, int place)
{
    if (!_PyInterruptCore_MustWait(interrupt_state(tstate), bits, place,
                                   tstate->current_frame, caller_of))
    {
        return 0;
    }
    /* Masked code runs at full speed.  A bit that another thread sets again
       meanwhile is only asked about once more. */
    _Py_unset_eval_breaker_bit(tstate, bits);
    return 1;
}

static uintptr_t
rearm(PyThreadState *tstate, uintptr_t bits)
{
    if (bits != 0) {
        _Py_set_eval_breaker_bit(tstate, bits);
    }
    return bits;
}

PyObject *
_PyInterrupts_CallHandler(PyThreadState *tstate, PyObject *handler,
                          PyObject *args)
{
    _PyInterruptState *state = interrupt_state(tstate);
    uintptr_t scope = _PyInterruptCore_EnterHandler(state,
                                                    tstate->current_frame);
    PyObject *result = _PyObject_Call(tstate, handler, args, NULL);
    rearm(tstate, _PyInterruptCore_LeaveHandler(state, scope));
    return result;
}

int
_PyInterrupts_HandlerRaised(PyThreadState *tstate, int place)
{
    _PyInterruptState *state = interrupt_state(tstate);
    int wait = _PyInterrupts_MustWait(tstate, _PY_INTERRUPTS_PENDING_BIT,
                                      place);
    if (!wait && _PyInterruptCore_Count(state) == 0) {
        return -1;
    }
    PyObject *exc = _PyErr_GetRaisedException(tstate);
    forget_context(tstate, exc);
    switch (_PyInterruptCore_Push(state, exc, Py_TYPE(exc), is_plain(exc))) {
        case 1:
            break;
        case 0:
            Py_DECREF(exc);
            break;
        default:
            /* It cannot be kept, and must not be lost. */
            _PyErr_SetRaisedException(tstate, exc);
            return -1;
    }
    if (wait) {
        return 0;
    }
    _Py_set_eval_breaker_bit(tstate, _PY_INTERRUPTS_PENDING_BIT);
    return _PyInterrupts_Deliver(tstate, place);
}

int
_PyInterrupts_Deliver(PyThreadState *tstate, int place)
{
    _PyInterruptState *state = interrupt_state(tstate);
    if (!_Py_eval_breaker_bit_is_set(tstate, _PY_INTERRUPTS_PENDING_BIT)
        && !(place == _PyInterruptCore_BLOCKED
             && _PyInterruptState_Waits(state)))
    {
        return 0;
    }
    _Py_unset_eval_breaker_bit(tstate, _PY_INTERRUPTS_PENDING_BIT);
    if (_PyInterruptCore_Count(state) == 0
        || _PyInterrupts_MustWait(tstate, _PY_INTERRUPTS_PENDING_BIT, place))
    {
        return 0;
    }
    PyObject *exc = _PyInterruptCore_Pop(state, NULL);
    PyObject *next;
    while ((next = _PyInterruptCore_Pop(state, Py_TYPE(exc))) != NULL) {
        add_context(next, exc);
        Py_DECREF(exc);
        exc = next;
    }
    if (_PyInterruptCore_Count(state) != 0) {
        /* One type at a time: the next check point raises the next one. */
        _Py_set_eval_breaker_bit(tstate, _PY_INTERRUPTS_PENDING_BIT);
    }
    /* What is being handled where the exception is finally raised is its
       context. */
    PyObject *handled = handled_exception(tstate);
    if (handled != NULL) {
        add_context(exc, handled);
    }
    _PyErr_SetRaisedException(tstate, exc);
    return -1;
}

void
_PyInterrupts_Release(PyThreadState *tstate)
{
    rearm(tstate, _PyInterruptCore_Release(interrupt_state(tstate)));
}

int
_PyInterrupts_TryInterrupts(PyThreadState *tstate, _PyInterpreterFrame *frame,
                            int oparg)
{
    uintptr_t bits = _PyInterruptCore_Leave(interrupt_state(tstate), frame);
    if (rearm(tstate, bits) == 0 || (oparg & _PyInterruptLevel_SUSPENDING)) {
        return 0;
    }
    return _Py_HandlePending(tstate);
}

void
_PyInterrupts_SetLevel(_PyInterpreterFrame *frame, int level)
{
    /* What waits is asked about when the trace function that made the jump
       returns; until then the frame has not moved. */
    frame->interrupt_level = (uint8_t)level;
}
