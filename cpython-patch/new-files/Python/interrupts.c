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
#include "pycore_code.h"          // _Py_GetBaseOpcode()
#include "pycore_frame.h"         // _PyInterpreterFrame
#include "pycore_gc.h"            // _PyGC_FINALIZED()
#include "pycore_genobject.h"     // _PyFrame_GetGenerator()
#include "pycore_initconfig.h"    // _Py_get_xoption()
#include "pycore_interp.h"        // PyInterpreterState.interrupts
#include "pycore_interrupts.h"
#include "pycore_lock.h"          // PyMutex_LockFlags()
#include "pycore_opcode_metadata.h" // _PyOpcode_Caches
#include "pycore_opcode_utils.h"  // RESUME_AFTER_YIELD_FROM
#include "pycore_pyerrors.h"      // _PyErr_GetRaisedException()
#include "pycore_pystate.h"       // _PyThreadState_GET()
#include "pycore_signal.h"        // Py_NSIG
#include "pycore_traceback.h"     // _Py_DumpTraceback()
#include "pycore_tstate.h"        // _PyThreadStateImpl

#ifdef HAVE_FCNTL_H
#  include <fcntl.h>              // open()
#endif
#include <signal.h>               // SIGINT
#ifdef HAVE_UNISTD_H
#  include <unistd.h>             // isatty()
#endif


static int deliver_raised(PyThreadState *tstate, int place, int forced);

static inline _PyInterruptState *
interrupt_state(PyThreadState *tstate)
{
    return &((_PyThreadStateImpl *)tstate)->interrupts;
}

/* What threads of an interpreter share.  With a GIL, whoever runs holds it. */
static inline void
lock_shared(PyInterpreterState *interp)
{
#ifdef Py_GIL_DISABLED
    PyMutex_LockFlags(&interp->interrupts.mutex, _Py_LOCK_DONT_DETACH);
#endif
}

static inline void
unlock_shared(PyInterpreterState *interp)
{
#ifdef Py_GIL_DISABLED
    PyMutex_Unlock(&interp->interrupts.mutex);
#endif
}

/* What generators carry.  The lock is held only while the core looks, which calls
   nothing back but next_step(). */
static inline _PyInterruptCarried *
lock_carried(PyInterpreterState *interp)
{
    lock_shared(interp);
    return &interp->interrupts.carried;
}

static inline void
unlock_carried(PyInterpreterState *interp)
{
    unlock_shared(interp);
}


/* What runs in a thread, for the core */

/* A generator is known by its exception state: that of the innermost one that
   runs is at hand, whoever compiled it. */
static inline const void *
carrier_of(PyGenObject *gen)
{
    return &gen->gi_exc_state;
}

/* The innermost generator that runs, or NULL. */
static const void *
innermost_carrier(PyThreadState *tstate)
{
    const _PyErr_StackItem *item = tstate->exc_info;
    return item == &tstate->exc_state ? NULL : item;
}

static _PyInterruptWalk
start_walk(PyThreadState *tstate)
{
    /* The first chunk of a stack is never freed before the stack.  Libraries
       that switch between stacks give each its own. */
    const _PyStackChunk *chunk = tstate->datastack_chunk;
    while (chunk != NULL && chunk->previous != NULL) {
        chunk = chunk->previous;
    }
    return (_PyInterruptWalk){
        .frame = tstate->current_frame,
        .generator = tstate->exc_info,
        .stack = chunk != NULL ? (const void *)chunk : (const void *)tstate,
    };
}

/* Give the stack a first chunk, if no function has run on it yet: what is entered
   now has to be found when one does. */
static int
begin_stack(PyThreadState *tstate)
{
    if (tstate->datastack_chunk == NULL
        && _PyThreadState_PushFrame(tstate, 0) == NULL)
    {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

void
_PyInterrupts_StackBegins(PyThreadState *tstate)
{
    _PyInterruptCore_DropScopes(interrupt_state(tstate),
                                tstate->datastack_chunk);
}

/* Is `item` among those from `top` on?  The last one is no generator's. */
static int
in_chain(const _PyErr_StackItem *top, const _PyErr_StackItem *item)
{
    while (top != NULL && top->previous_item != NULL && top != item) {
        top = top->previous_item;
    }
    return top == item;
}

/* The innermost frame that is a function's, or NULL. */
static _PyInterpreterFrame *
skip_entries(const _PyInterpreterFrame *frame)
{
    while (frame != NULL && frame->owner == FRAME_OWNED_BY_CSTACK) {
        frame = frame->previous;
    }
    return (_PyInterpreterFrame *)frame;
}

/* Are the three instructions before the one at `index` loads of None?  Only from the
   start of the code on is it known what is an instruction: what an inline cache
   holds can look like one. */
static int
loads_nones_before(PyCodeObject *code, int index)
{
    int nones = 0, oparg = 0;
    for (int i = 0, opcode; i < index; i += 1 + _PyOpcode_Caches[opcode]) {
        opcode = _Py_GetBaseOpcode(code, i);
        oparg = (oparg << 8) | _PyCode_CODE(code)[i].op.arg;
        if (opcode == EXTENDED_ARG) {
            continue;
        }
        int none = opcode == LOAD_CONST
                   && PyTuple_GET_ITEM(code->co_consts, oparg) == Py_None;
        nones = none ? nones + 1 : 0;
        oparg = 0;
    }
    return nones >= 3;
}

/* Has this frame called the __exit__() of a `with` statement?  No other call looks
   like that. */
static int
is_exiting(const _PyInterpreterFrame *frame)
{
    PyCodeObject *code = _PyFrame_GetCode((_PyInterpreterFrame *)frame);
    int index = (int)(frame->instr_ptr - _PyCode_CODE(code));
    int opcode = _Py_GetBaseOpcode(code, index);
    if (opcode != CALL) {
        return opcode == WITH_EXCEPT_START;
    }
    return _PyCode_CODE(code)[index].op.arg == 2 && loads_nones_before(code, index);
}

/* A _PyInterruptCore_StepFunc. */
static int
next_step(_PyInterruptWalk *walk, _PyInterruptStep *step)
{
    const _PyInterpreterFrame *f = skip_entries(walk->frame);
    walk->frame = f;
    const _PyErr_StackItem *top = walk->generator;
    const _PyErr_StackItem *own = NULL;
    if (f != NULL && f->owner == FRAME_OWNED_BY_GENERATOR) {
        own = carrier_of(_PyFrame_GetGenerator((_PyInterpreterFrame *)f));
    }
    else if (f != NULL) {
        goto frame;
    }
    if (own != NULL && !in_chain(top, own)) {
        /* It only passes a throw() or close() on. */
        goto frame;
    }
    if (top != own && top != NULL && top->previous_item != NULL) {
        /* A generator that another compiler made runs inside of this frame. */
        walk->generator = top->previous_item;
        *step = (_PyInterruptStep){.carrier = top};
        return 1;
    }
    if (f == NULL) {
        return 0;
    }
    walk->generator = own->previous_item;
frame:
    walk->frame = f->previous;
    *step = (_PyInterruptStep){
        .frame = f,
        .carrier = own,
        .level = f->interrupt_level,
        .exiting = walk->asks_exiting
                   && f->interrupt_level != _PyInterruptLevel_OPEN
                   && is_exiting(f),
    };
    return 1;
}


/* Is this `python`, and not an application that has the interpreter in it?  Its
   stderr is its own. */
static int is_program = 0;

void
_PyInterrupts_IsProgram(void)
{
    is_program = 1;
}


/* The off switch */

/* Store what is set as the number of the kick signal.  Return whether something is; -1
   if that is no such number. */
static int
read_kick_signal(const PyConfig *config, int *signum)
{
    const char *env = _Py_GetEnv(config->use_environment,
                                 "PYTHONINTERRUPTSIGNAL");
    const wchar_t *xoption = _Py_get_xoption(&config->xoptions,
                                             L"interrupt_signal");
    if (xoption != NULL) {
        const wchar_t *value = wcschr(xoption, L'=');
        wchar_t *end;
        long number = value == NULL ? -1 : wcstol(value + 1, &end, 10);
        if (value == NULL || end == value + 1 || *end != L'\0'
            || number < 0 || number >= Py_NSIG)
        {
            return -1;
        }
        *signum = (int)number;
        return 1;
    }
    if (env != NULL) {
        return (_Py_str_to_int(env, signum) < 0
                || *signum < 0 || *signum >= Py_NSIG) ? -1 : 1;
    }
    return 0;
}

/* Return -1 if what is set is wrong. */
static int
read_limits(const PyConfig *config)
{
    const char *env = _Py_GetEnv(config->use_environment,
                                 "PYTHONINTERRUPTLIMITS");
    const wchar_t *xoption = _Py_get_xoption(&config->xoptions,
                                             L"interrupt_limits");
    if (xoption == NULL) {
        return env == NULL ? 0 : _PyInterruptCore_SetLimits(env);
    }
    const wchar_t *value = wcschr(xoption, L'=');
    if (value == NULL) {
        return -1;
    }
    char text[200];
    size_t size = 0;
    while (*++value != L'\0') {
        if (*value > 127 || size + 1 == sizeof(text)) {
            return -1;
        }
        text[size++] = (char)*value;
    }
    text[size] = '\0';
    return _PyInterruptCore_SetLimits(text);
}

PyStatus
_PyInterrupts_Init(const PyConfig *config)
{
    is_program = 0;
    _PyInterruptCore_SetDefaults();
    int signum;
    int chosen = read_kick_signal(config, &signum);
    if (chosen < 0
        || (chosen > 0 && _PyInterruptCore_SetKickSignal(signum) < 0))
    {
        return _PyStatus_ERR("PYTHONINTERRUPTSIGNAL / -X interrupt_signal "
                             "must be the number of a signal that can be "
                             "handled, or 0");
    }
    if (read_limits(config) < 0) {
        return _PyStatus_ERR("PYTHONINTERRUPTLIMITS / -X interrupt_limits "
                             "must be like \"notice_after=1.5,presses=3\"; "
                             "see signal.set_interrupt_limits()");
    }
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
    _PyInterruptState *state = interrupt_state(tstate);
    if (tstate != _PyThreadState_GET()) {
        /* From now on, handlers in its thread leave it alone. */
        _PyInterrupts_ForgetThread(tstate);
    }
    do {
        _PyInterruptCore_Clear(state, drop_exception);
        Py_CLEAR(((_PyThreadStateImpl *)tstate)->kept_exception);
        /* What is dropped may run code, which has to be kept apart again. */
    } while (state->thread != NULL);
}

void
_PyInterrupts_ClearInterp(PyInterpreterState *interp)
{
    _PyInterruptCore_DropCarried(&interp->interrupts.carried);
    if (_Py_IsMainInterpreter(interp)) {
        /* What was finalized may have installed it again. */
        _PyInterrupts_NoHandlers();
    }
}

void
_PyInterrupts_AfterFork(PyThreadState *tstate)
{
    _PyInterruptState *state = interrupt_state(tstate);
    _PyInterruptCore_DropWaiting(state, drop_exception);
    _PyInterruptCore_TimeoutsAfterFork(state);
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


/* Check points, and code that polls, have something to look at.  Any thread that may
   look at this state; async-signal-safe. */
static inline void
set_bits(PyThreadState *tstate, uintptr_t bits)
{
    _Py_set_eval_breaker_bit(tstate, bits);
    /* In this order: see rust-core/src/flag.rs. */
    _PyInterruptCore_RaiseFlag(interrupt_state(tstate));
}


/* The gate */

int
_PyInterrupts_MustWait(PyThreadState *tstate, uintptr_t bits, int place)
{
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    int answer = _PyInterruptCore_MustWait(interrupt_state(tstate), carried,
                                           bits, place, &walk, next_step);
    unlock_carried(tstate->interp);
    switch (answer) {
        case _PyInterruptCore_RAISE:
            if (place != _PyInterruptCore_IN_FLIGHT) {
                return 0;
            }
            _Py_set_eval_breaker_bit(tstate, bits);
            return _PyInterrupts_IN_FLIGHT;
        case _PyInterruptCore_WAIT:
            /* Masked code runs at full speed.  The bit of what is sent is down
               already; if it is up, it is for something else. */
            _Py_unset_eval_breaker_bit(tstate,
                                       bits & ~_PY_ASYNC_EXCEPTION_BIT);
            break;
        default:
            /* The flag stays down: code that polls would spin. */
            _Py_set_eval_breaker_bit(tstate, bits);
            break;
    }
    return 1;
}

static uintptr_t
rearm(PyThreadState *tstate, uintptr_t bits)
{
    if (bits != 0) {
        set_bits(tstate, bits);
    }
    return bits;
}

uintptr_t
_PyInterrupts_EnterRegion(PyThreadState *tstate, int kind)
{
    /* The one that the core will be shown: a frame that returns to C code drops
       its variables when it is no longer there. */
    return _PyInterruptCore_EnterRuntimeRegion(
                interrupt_state(tstate), skip_entries(tstate->current_frame),
                kind);
}

uintptr_t
_PyInterrupts_EnterGuard(PyThreadState *tstate, int hard, uintptr_t *number)
{
    return _PyInterruptCore_EnterGuard(
                interrupt_state(tstate), skip_entries(tstate->current_frame),
                hard, number);
}

void
_PyInterrupts_LeaveRegion(PyThreadState *tstate, uintptr_t region)
{
    rearm(tstate, _PyInterruptCore_LeaveRuntimeRegion(interrupt_state(tstate),
                                                      region));
}

PyObject *
_PyInterrupts_CallHandler(PyThreadState *tstate, PyObject *handler,
                          PyObject *args)
{
    uintptr_t region = _PyInterrupts_EnterRegion(
                            tstate, _PyInterruptCore_REGION_SOFT);
    PyObject *result = _PyObject_Call(tstate, handler, args, NULL);
    _PyInterrupts_LeaveRegion(tstate, region);
    return result;
}

/* Does the cleanup of something run that is finalized?  Nothing is raised there, even
   if it is forced. */
static int
is_finalizing(PyThreadState *tstate)
{
    _PyInterruptWalk walk = start_walk(tstate);
    return _PyInterruptCore_IsFinalizing(interrupt_state(tstate), &walk,
                                         next_step);
}

static int
is_overdue(PyThreadState *tstate)
{
    return (_PyInterruptCore_IsOverdue(interrupt_state(tstate))
            && !is_finalizing(tstate));
}

/* Is something of what was sent raised whatever masks? */
static int
sent_is_forced(PyThreadState *tstate)
{
    _PyInterruptState *state = interrupt_state(tstate);
    return ((_PyInterruptCore_IsOverdue(state)
             || _PyInterruptCore_AnyForced(state))
            && !is_finalizing(tstate));
}

int
_PyInterrupts_HandlerRaised(PyThreadState *tstate, int place, int signum)
{
    _PyInterruptState *state = interrupt_state(tstate);
    int wait = _PyInterrupts_MustWait(tstate, _PY_INTERRUPTS_PENDING_BIT,
                                      place);
    int forced = 0;
    int only_break = 0;
    if (wait == 1) {
        only_break = is_finalizing(tstate);
        int may_force = !only_break || place == _PyInterruptCore_BLOCKED;
        forced = _PyInterruptCore_SignalWaits(state, signum, may_force);
        wait = !forced || only_break;
    }
    if (!wait && _PyInterruptCore_Count(state) == 0) {
        _PyInterruptCore_HasRaised(state);
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
    if (forced && only_break) {
        /* It is raised afterwards; the call ends. */
        errno = EINTR;
        PyObject *message = PyUnicode_FromString("forced by a signal");
        PyErr_SetObject(PyExc_InterruptedError, message);
        Py_XDECREF(message);
        return -1;
    }
    if (wait) {
        return 0;
    }
    return deliver_raised(tstate, place, forced);
}

/* Something is raised that has waited.  Steals a reference. */
static void
raise_here(PyThreadState *tstate, PyObject *exc)
{
    _PyInterruptCore_HasRaised(interrupt_state(tstate));
    /* What is being handled where the exception is finally raised is its
       context. */
    PyObject *handled = handled_exception(tstate);
    if (handled != NULL) {
        add_context(exc, handled);
    }
    _PyErr_SetRaisedException(tstate, exc);
}

/* Raise what handlers raised. */
static int
deliver_raised(PyThreadState *tstate, int place, int forced)
{
    _PyInterruptState *state = interrupt_state(tstate);
    _Py_unset_eval_breaker_bit(tstate, _PY_INTERRUPTS_PENDING_BIT);
    if (_PyInterruptCore_Count(state) == 0
        || (!forced
            && _PyInterrupts_MustWait(tstate, _PY_INTERRUPTS_PENDING_BIT,
                                      place)
            && !is_overdue(tstate)))
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
        set_bits(tstate, _PY_INTERRUPTS_PENDING_BIT);
    }
    raise_here(tstate, exc);
    return -1;
}

/* What a test has asked _PyInterrupts_SignalAt() for. */
static Py_ssize_t signal_at = 0;
static int signal_fd = -1;

/* A check of this kind.  While a test sweeps through them, the bit that brings
   them here stays up until the exception has arrived. */
static int
deliver_and_count(PyThreadState *tstate, int place, int where)
{
    _PyInterruptState *state = interrupt_state(tstate);
    if (!_PyInterruptCore_Sweeping(state)) {
        return deliver_raised(tstate, place, 0);
    }
    PyObject *exc = _PyInterruptCore_SweepCheck(state, where);
    if (exc == Py_None) {
        /* It stands for a signal. */
        (void)_Py_write_noraise(signal_fd, "!", 1);
        raise(SIGINT);
        exc = NULL;
    }
    if (exc != NULL
        && _PyInterruptCore_Push(state, exc, Py_TYPE(exc), 0) < 0)
    {
        _PyErr_SetRaisedException(tstate, exc);
        return -1;
    }
    int err = deliver_raised(tstate, place, 0);
    if (_PyInterruptCore_Sweeping(state)) {
        set_bits(tstate, _PY_INTERRUPTS_PENDING_BIT);
    }
    return err;
}

int
_PyInterrupts_Deliver(PyThreadState *tstate, int place)
{
    if (!_Py_eval_breaker_bit_is_set(tstate, _PY_INTERRUPTS_PENDING_BIT)
        && !(place == _PyInterruptCore_BLOCKED
             && _PyInterrupts_Waits(tstate)))
    {
        return 0;
    }
    return deliver_and_count(tstate, place, _PyInterruptCore_IN_CHECK_SIGNALS);
}

int
_PyInterrupts_DeliverInEvalLoop(PyThreadState *tstate, int place)
{
    return deliver_and_count(tstate, place, _PyInterruptCore_IN_EVAL_LOOP);
}

int
_PyInterrupts_DeliverBlocked(PyThreadState *tstate)
{
    if (_PyInterrupts_Waits(tstate)
        && _PyInterrupts_Deliver(tstate, _PyInterruptCore_BLOCKED) < 0)
    {
        return -1;
    }
    return _PyInterrupts_DeliverSent(tstate, _PyInterruptCore_BLOCKED);
}


/* Waking a blocked thread */

/* Others may give it one, or take it away: see rust-core/src/kick/registry.rs. */
static inline const void *
kick_of(PyThreadState *tstate)
{
    return _Py_atomic_load_ptr_relaxed(&interrupt_state(tstate)->kick);
}

static inline int
is_detached(PyThreadState *tstate)
{
#ifdef Py_GIL_DISABLED
    int state = _Py_atomic_load_int(&tstate->state);
#else
    int state = tstate->state;
#endif
    /* Or about to be; or suspended: the world is stopped while it is. */
    return state != _Py_THREAD_ATTACHED;
}

/* Would an interrupt have to wait in this thread even if it is blocked?  Its frames
   must stand still: it runs this, or cannot run. */
static int
masks_blocked(PyThreadState *tstate)
{
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    int masked = _PyInterruptCore_IsMasked(interrupt_state(tstate), carried,
                                           _PyInterruptCore_BLOCKED,
                                           &walk, next_step);
    unlock_carried(tstate->interp);
    return masked;
}

/* The same for timeouts, of which others may wait. */
static int
may_raise_timeout(PyThreadState *tstate)
{
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    int may = _PyInterruptCore_MayRaiseTimeout(interrupt_state(tstate), carried,
                                               _PyInterruptCore_BLOCKED,
                                               &walk, next_step);
    unlock_carried(tstate->interp);
    return may;
}

/* For the core: is this thread, which has this record, blocked, with something to
   look at?  Called in a signal handler. */
static int
is_blocked(const void *kick)
{
    PyThreadState *tstate = PyGILState_GetThisThreadState();
    return (tstate != NULL && is_detached(tstate) && kick_of(tstate) == kick
            && _PyInterrupts_Detached(tstate));
}

#ifdef O_NONBLOCK
static void
put(int fd, const char *text)
{
    (void)_Py_write_noraise(fd, text, strlen(text));
}

static void
put_signal(int fd, int signum)
{
    if (signum == SIGINT) {
        put(fd, "Ctrl-C");
    }
    else {
        put(fd, "signal ");
        _Py_DumpDecimal(fd, (size_t)signum);
    }
}

/* Open stderr once more: what is written there must not block, neither because a
   terminal has been stopped nor because nobody reads, and others use stderr as it
   is.  Return -1 if that is not possible. */
static int
open_stderr(void)
{
    int flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = open("/proc/self/fd/2", flags);
    if (fd < 0 && isatty(STDERR_FILENO)) {
        /* A terminal of another user. */
        fd = open("/dev/tty", flags);
    }
    return fd;
}

/* The outermost frame that masks, or NULL if a scope does. */
static _PyInterpreterFrame *
outermost_masked(PyThreadState *tstate)
{
    _PyInterpreterFrame *found = NULL;
    _PyInterpreterFrame *frame = skip_entries(tstate->current_frame);
    for (; frame != NULL; frame = skip_entries(frame->previous)) {
        if (frame->interrupt_level != _PyInterruptLevel_OPEN) {
            found = frame;
        }
    }
    return found;
}

/* Tell the user what an interrupt waits for.  Called in a signal handler, in the thread
   itself: like faulthandler, it looks at what it can and writes directly.  Return
   whether it was written. */
static int
write_notice(PyThreadState *tstate, int signum)
{
    uint32_t limits[_PyInterruptCore_NLIMITS];
    _PyInterruptCore_GetLimits(limits);
    uint32_t goes = limits[_PyInterruptCore_NOTICE];
    if (!is_program || goes == 0 || (goes == 1 && !isatty(STDERR_FILENO))) {
        return 0;
    }
    int fd = open_stderr();
    if (fd < 0) {
        return 0;
    }
    put(fd, "\n");
    put_signal(fd, signum);
    put(fd, " waits for code that must not be interrupted");
    _PyInterpreterFrame *frame = outermost_masked(tstate);
    if (frame != NULL) {
        PyCodeObject *code = _PyFrame_GetCode(frame);
        int line = PyUnstable_InterpreterFrame_GetLine(frame);
        put(fd, ":\n  File \"");
        _Py_DumpASCII(fd, code->co_filename);
        put(fd, "\", line ");
        _Py_DumpDecimal(fd, (size_t)Py_MAX(line, 0));
        put(fd, " in ");
        _Py_DumpASCII(fd, code->co_name);
    }
    put(fd, "\n");
    _Py_DumpTraceback(fd, tstate);
    if (limits[_PyInterruptCore_FORCE]) {
        if (signum == SIGINT) {
            put(fd, "Press Ctrl-C");
        }
        else {
            put(fd, "Send ");
            put_signal(fd, signum);
        }
        put(fd, " again to interrupt it all the same.\n");
    }
    else {
        put(fd, "It is interrupted when that has ended.\n");
    }
    close(fd);
    return 1;
}
#else
static int
write_notice(PyThreadState *tstate, int signum)
{
    return 0;
}
#endif

/* For the core: something has waited for long in this thread.  Called in a signal
   handler.  Return -1 if the thread runs another interpreter. */
static int
on_alarm(const void *kick, int signum)
{
    PyThreadState *tstate = PyGILState_GetThisThreadState();
    if (tstate == NULL || kick_of(tstate) != kick) {
        return -1;
    }
    if (signum != 0) {
        return write_notice(tstate, signum);
    }
    set_bits(tstate, _PY_INTERRUPTS_PENDING_BIT
                                     | _PY_ASYNC_EXCEPTION_BIT);
    if (is_detached(tstate)) {
        _PyInterruptCore_Blocks(interrupt_state(tstate));
    }
    return 1;
}

/* Make it possible to wake a thread.  HEAD_LOCK is held.  Return -1 if it is not, in
   which case it gets what is sent when it is back. */
static int
prepare_kick(PyThreadState *tstate)
{
    if (_PyInterruptCore_KickSignal() == 0 || tstate->native_thread_id == 0) {
        return -1;
    }
    if (_PyInterruptCore_AddKick(interrupt_state(tstate),
                                 (int)tstate->native_thread_id) < 0) {
        return -1;
    }
    return _PyInterruptCore_InstallKick(is_blocked, on_alarm);
}

/* Something has been sent to this thread, and its eval breaker says so.  HEAD_LOCK
   is held. */
static void
wake(PyThreadState *tstate, int how)
{
    if (prepare_kick(tstate) < 0 || !is_detached(tstate)) {
        return;
    }
#ifndef Py_GIL_DISABLED
    /* We have the GIL, so that thread stands still.  If there is a limit, it has to
       look, so that its time begins. */
    uint32_t limits[_PyInterruptCore_NLIMITS];
    _PyInterruptCore_GetLimits(limits);
    if (how != _PyInterruptCore_FORCED && limits[_PyInterruptCore_LIMIT] == 0
        && masks_blocked(tstate))
    {
        if (how == _PyInterruptCore_CLASS) {
            /* Nobody else does it before the thread is back.  A class that is
               merged is not dropped for good, so no code runs. */
            _PyInterruptCore_CollectClasses(interrupt_state(tstate),
                                            drop_exception);
        }
        return;
    }
#endif
    _PyInterruptCore_Wake(interrupt_state(tstate));
}

const volatile uint32_t *
_PyInterrupts_Flag(PyThreadState *tstate)
{
    _PyInterruptState *state = interrupt_state(tstate);
    if (_PyInterruptCore_Flag(state) == NULL) {
        /* That it can be woken, too, is not needed here. */
        _PyRuntimeState *runtime = tstate->interp->runtime;
        HEAD_LOCK(runtime);
        int err = _PyInterruptCore_AddKick(state,
                                           (int)tstate->native_thread_id);
        HEAD_UNLOCK(runtime);
        if (err < 0) {
            return NULL;
        }
    }
    /* What came before there was one, or was left for later. */
    _PyInterrupts_RaiseFlagAgain(tstate);
    return _PyInterruptCore_Flag(state);
}

#ifdef HAVE_THREAD_LOCAL
/* The system's number of this thread, once it is known: who switches between thread
   states needs no system call. */
static _Py_thread_local unsigned long native_id = 0;
#endif

void
_PyInterrupts_RunsHere(PyThreadState *tstate)
{
#ifdef PY_HAVE_THREAD_NATIVE_ID
#ifndef HAVE_THREAD_LOCAL
    unsigned long native_id = 0;
#endif
    if (native_id == 0) {
        native_id = PyThread_get_thread_native_id();
    }
    if (tstate->native_thread_id != native_id) {
        _PyRuntimeState *runtime = tstate->interp->runtime;
        HEAD_LOCK(runtime);
        tstate->native_thread_id = native_id;
        _PyInterruptCore_MoveKick(interrupt_state(tstate), (int)native_id);
        HEAD_UNLOCK(runtime);
    }
#endif
}

void
_PyInterrupts_MainAfterFork(PyThreadState *tstate)
{
    _PyRuntimeState *runtime = tstate->interp->runtime;
#ifdef Py_GIL_DISABLED
    /* The world stood still, so nothing is half changed; but a thread that was
       detached may have held it, to look, and is gone. */
    PyInterpreterState *interp = runtime->interpreters.head;
    for (; interp != NULL; interp = interp->next) {
        _PyMutex_at_fork_reinit(&interp->interrupts.mutex);
    }
#endif
    int is_woken = kick_of(runtime->main_tstate) != NULL;
    runtime->main_tstate = tstate;
#ifdef HAVE_THREAD_LOCAL
    native_id = tstate->native_thread_id;
#endif
    _PyInterruptCore_KickAfterFork(interrupt_state(tstate),
                                   (int)tstate->native_thread_id);
    if (is_woken) {
        HEAD_LOCK(runtime);
        (void)prepare_kick(tstate);
        HEAD_UNLOCK(runtime);
    }
}

void
_PyInterrupts_HandlerInstalled(PyThreadState *tstate)
{
    _PyRuntimeState *runtime = tstate->interp->runtime;
    HEAD_LOCK(runtime);
    (void)prepare_kick(tstate);
    HEAD_UNLOCK(runtime);
    if (signal_at > 0) {
        _PyInterrupts_SweepStart(signal_at, _PyInterruptCore_IN_EVAL_LOOP,
                                 Py_None);
        signal_at = 0;
    }
}

void
_PyInterrupts_NoHandlers(void)
{
    HEAD_LOCK(&_PyRuntime);
    _PyInterruptCore_UninstallKick();
    HEAD_UNLOCK(&_PyRuntime);
}

void
_PyInterrupts_SignalReceived(PyThreadState *main_tstate)
{
    if (main_tstate == NULL) {
        return;
    }
    _PyInterruptState *state = interrupt_state(main_tstate);
    _PyInterruptCore_RaiseFlag(state);
    if (!_Py_IsMainThread()) {
        _PyInterruptCore_AskBlocked(state);
    }
    else if (is_detached(main_tstate)
             /* It does not run another interpreter. */
             && PyGILState_GetThisThreadState() == main_tstate)
    {
        _PyInterruptCore_Signalled(state);
    }
}

void
_PyInterrupts_ForgetThread(PyThreadState *tstate)
{
    if (kick_of(tstate) != NULL) {
        /* Its interpreter may be gone. */
        HEAD_LOCK(&_PyRuntime);
        _PyInterruptCore_DropKick(interrupt_state(tstate));
        HEAD_UNLOCK(&_PyRuntime);
    }
}

void
_PyInterrupts_LookBeforeBlocking(PyThreadState *tstate, int handlers_wait)
{
    _PyInterruptState *state = interrupt_state(tstate);
    if (!(handlers_wait
          && _Py_eval_breaker_bit_is_set(tstate, _PY_SIGNALS_PENDING_BIT))
        && ((_PyInterruptCore_Count(state) == 0
             && _PyInterruptCore_CountSent(state) == 0)
            || (masks_blocked(tstate) && !sent_is_forced(tstate)))
        && !(_PyInterruptCore_IsTimeoutOver(state)
             && may_raise_timeout(tstate)))
    {
        return;
    }
    _PyInterruptCore_Blocks(state);
}

void
_PyInterrupts_IsBack(PyThreadState *tstate)
{
    if (_PyInterruptCore_Runs(interrupt_state(tstate))) {
        set_bits(tstate, _PY_INTERRUPTS_PENDING_BIT | _PY_ASYNC_EXCEPTION_BIT);
    }
}


/* What other threads send */

/* Which thread is meant: by the system's number of it, or by that of its state if
   that is not 0. */
typedef struct {
    unsigned long thread_id;
    uint64_t state_id;
} target_id;

static int
send_to(PyInterpreterState *interp, target_id target, PyObject *exc, int how)
{
    _PyRuntimeState *runtime = interp->runtime;
    int sent = 0;
    /* Given back, if it is not sent, when no lock is held: that may take others. */
    Py_XINCREF(exc);
    /* The lock keeps the thread state alive, and its list of what was sent. */
    HEAD_LOCK(runtime);
    PyThreadState *tstate = interp->threads.head;
    for (; tstate != NULL && sent == 0; tstate = tstate->next) {
        if (target.state_id != 0 ? tstate->id != target.state_id
            : tstate->thread_id != target.thread_id)
        {
            continue;
        }
        sent = _PyInterruptCore_Send(interrupt_state(tstate), exc, how);
        if (sent == 1) {
            set_bits(tstate, _PY_ASYNC_EXCEPTION_BIT);
            if (exc != NULL) {
                wake(tstate, how);
            }
        }
    }
    HEAD_UNLOCK(runtime);
    if (sent != 1) {
        Py_XDECREF(exc);
    }
    return sent;
}

static int
send_exception(target_id target, PyObject *exc, int force)
{
    int how = (force ? _PyInterruptCore_FORCED
               : PyExceptionInstance_Check(exc) ? _PyInterruptCore_INSTANCE
               : _PyInterruptCore_CLASS);
    int sent = send_to(_PyInterpreterState_GET(), target, exc, how);
    if (sent < 0) {
        PyErr_NoMemory();
    }
    return sent;
}

int
_PyInterrupts_Send(unsigned long thread_id, PyObject *exc, int force)
{
    return send_exception((target_id){.thread_id = thread_id}, exc, force);
}

int
_PyInterrupts_SendToState(uint64_t id, PyObject *exc, int force)
{
    return send_exception((target_id){.state_id = id}, exc, force);
}

uint64_t
_PyInterrupts_CurrentState(void)
{
    return _PyThreadState_GET()->id;
}

int
_PyInterrupts_SetAsyncExc(unsigned long thread_id, PyObject *exc)
{
    /* There is no way to say that there was no memory. */
    return send_to(_PyInterpreterState_GET(),
                   (target_id){.thread_id = thread_id}, exc,
                   _PyInterruptCore_REPLACING) == 1;
}

void
_PyInterrupts_SetDispatch(PyObject *function)
{
    PyInterpreterState *interp = _PyInterpreterState_GET();
    lock_shared(interp);
    PyObject *old = interp->interrupts.dispatch;
    interp->interrupts.dispatch = Py_NewRef(function);
    unlock_shared(interp);
    Py_XDECREF(old);
}

/* Somebody may have attached something to it.  What that raises takes its place.
   Steals a reference, returns a new one, or NULL if nothing is to be raised. */
static PyObject *
dispatch(PyThreadState *tstate, PyObject *exc)
{
    lock_shared(tstate->interp);
    PyObject *function = Py_XNewRef(tstate->interp->interrupts.dispatch);
    unlock_shared(tstate->interp);
    if (function == NULL) {
        return exc;
    }
    uintptr_t region = _PyInterrupts_EnterRegion(
                            tstate, _PyInterruptCore_REGION_SOFT);
    PyObject *result = PyObject_CallOneArg(function, exc);
    Py_DECREF(function);
    Py_DECREF(exc);
    _PyInterrupts_LeaveRegion(tstate, region);
    if (result == NULL) {
        result = _PyErr_GetRaisedException(tstate);
        forget_context(tstate, result);
    }
    else if (result == Py_None) {
        Py_CLEAR(result);
    }
    return result;
}

/* A class becomes an instance in the thread that it is raised in.  What its
   constructor raises takes its place.  Steals a reference, returns a new one, or
   NULL if nothing is to be raised. */
static PyObject *
make_instance(PyThreadState *tstate, PyObject *exc)
{
    if (PyExceptionInstance_Check(exc)) {
        return dispatch(tstate, exc);
    }
    uintptr_t region = _PyInterrupts_EnterRegion(
                            tstate, _PyInterruptCore_REGION_SOFT);
    _PyErr_SetNone(tstate, exc);
    _PyInterrupts_LeaveRegion(tstate, region);
    PyObject *instance = _PyErr_GetRaisedException(tstate);
    /* Of several, only what is raised in the end has a context. */
    forget_context(tstate, instance);
    int is_one = PyErr_GivenExceptionMatches(instance, exc);
    Py_DECREF(exc);
    return is_one ? dispatch(tstate, instance) : instance;
}

/* A new reference, or NULL.  See _PyInterruptCore_PopSent(). */
static PyObject *
pop_sent(_PyInterruptState *state, int joining)
{
    uintptr_t equal = 0;
    PyObject *exc = _PyInterruptCore_PopSent(state, joining, &equal);
    while (equal-- > 0) {
        /* Not the last reference. */
        Py_DECREF(exc);
    }
    return exc;
}

/* Put several exceptions into one: a group, or a SystemExit that has the others
   as its context.  Steals the list, returns a new reference. */
static PyObject *
join_exceptions(PyThreadState *tstate, PyObject *list)
{
    PyObject *exits = NULL;
    Py_ssize_t size = PyList_GET_SIZE(list);
    Py_ssize_t kept = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *exc = PyList_GET_ITEM(list, i);
        if (PyErr_GivenExceptionMatches(exc, PyExc_SystemExit)) {
            /* The first one wins. */
            if (exits == NULL) {
                exits = Py_NewRef(exc);
            }
            else {
                add_context(exits, exc);
            }
        }
        else {
            PyList_SET_ITEM(list, i, PyList_GET_ITEM(list, kept));
            PyList_SET_ITEM(list, kept, exc);
            kept++;
        }
    }
    PyObject *joined = NULL;
    if (kept == 1) {
        joined = Py_NewRef(PyList_GET_ITEM(list, 0));
    }
    else if (kept > 1) {
        PyObject *group = PyList_GetSlice(list, 0, kept);
        if (group != NULL) {
            joined = PyObject_CallFunction(PyExc_BaseExceptionGroup, "sN",
                                           "several interrupts", group);
        }
        if (joined == NULL) {
            /* None of them may be lost. */
            joined = _PyErr_GetRaisedException(tstate);
            for (Py_ssize_t i = kept; i-- > 0; ) {
                add_context(joined, PyList_GET_ITEM(list, i));
            }
        }
    }
    Py_DECREF(list);
    if (exits == NULL) {
        return joined;
    }
    if (joined != NULL) {
        add_context(exits, joined);
        Py_DECREF(joined);
    }
    return exits;
}

/* Take what is raised together.  Returns a new reference, or NULL if nothing has
   been collected, or somebody has dealt with it. */
static PyObject *
take_sent(PyThreadState *tstate)
{
    _PyInterruptState *state = interrupt_state(tstate);
    /* Made before anything is taken: without it nothing is lost. */
    Py_ssize_t room = (Py_ssize_t)_PyInterruptCore_CountSent(state);
    PyObject *list = PyList_New(room);
    if (list == NULL) {
        return _PyErr_GetRaisedException(tstate);
    }
    /* All taken before the first constructor runs: those sent after that are
       others. */
    Py_ssize_t size = 0;
    PyObject *exc;
    while ((exc = pop_sent(state, size > 0)) != NULL) {
        assert(size < room);
        PyList_SET_ITEM(list, size, exc);
        size++;
    }
    Py_SET_SIZE(list, size);
    if (size == 0) {
        Py_DECREF(list);
        return NULL;
    }
    /* What comes while code runs for them has a limit of its own. */
    _PyInterruptCore_Fewer(state);
    Py_ssize_t kept = 0;
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(list, i));
        item = make_instance(tstate, item);
        if (item != NULL) {
            PyList_SetItem(list, kept++, item);
        }
    }
    if (PyList_SetSlice(list, kept, size, NULL) < 0 || kept == 0) {
        Py_DECREF(list);
        return _PyErr_GetRaisedException(tstate);
    }
    return join_exceptions(tstate, list);
}

/* Take the timeout that is due and may be raised here; the others wait.  Returns a
   new reference, or NULL if there is none. */
static PyObject *
take_timeout(PyThreadState *tstate, int place)
{
    _PyInterruptState *state = interrupt_state(tstate);
    void *gone;
    int due;
    do {
        gone = NULL;
        _PyInterruptWalk walk = start_walk(tstate);
        _PyInterruptCarried *carried = lock_carried(tstate->interp);
        due = _PyInterruptCore_LookAtTimeouts(state, carried, &walk, next_step,
                                              &gone);
        unlock_carried(tstate->interp);
        /* May run code: look again. */
        Py_XDECREF((PyObject *)gone);
    } while (gone != NULL);
    if (!due) {
        return NULL;
    }
    void *exc = NULL;
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    int answer = _PyInterruptCore_TakeTimeout(state, carried,
                                              _PY_ASYNC_EXCEPTION_BIT, place,
                                              &walk, next_step, &exc);
    unlock_carried(tstate->interp);
    if (answer == 0 && _PyInterrupts_Waits(tstate)) {
        _PyInterruptCore_SentWaits(state);
        if (is_overdue(tstate)) {
            carried = lock_carried(tstate->interp);
            exc = _PyInterruptCore_ForceTimeout(state, carried, &walk, next_step);
            unlock_carried(tstate->interp);
        }
    }
    if (exc != NULL && _PyInterruptCore_AnyTimeoutDue(state)) {
        set_bits(tstate, _PY_ASYNC_EXCEPTION_BIT);
    }
    else if (answer == 2) {
        /* As in MustWait(): code that polls would spin. */
        _Py_set_eval_breaker_bit(tstate, _PY_ASYNC_EXCEPTION_BIT);
    }
    return Py_XNewRef((PyObject *)exc);
}

int
_PyInterrupts_DeliverSent(PyThreadState *tstate, int place)
{
    _PyInterruptState *state = interrupt_state(tstate);
    if (!_Py_eval_breaker_bit_is_set(tstate, _PY_ASYNC_EXCEPTION_BIT)
        && !(place == _PyInterruptCore_BLOCKED && _PyInterrupts_Waits(tstate)))
    {
        return 0;
    }
    /* A sender that took this thread for blocked when it was just back. */
    (void)_PyInterruptCore_Runs(state);
    /* In this order: what is sent from here on sets the bit again. */
    _Py_unset_eval_breaker_bit(tstate, _PY_ASYNC_EXCEPTION_BIT);
    _PyInterruptCore_Collect(state, drop_exception);
    PyObject *timeout = take_timeout(tstate, place);
    if (timeout != NULL) {
        if (_PyInterruptCore_CountSent(state) != 0) {
            set_bits(tstate, _PY_ASYNC_EXCEPTION_BIT);
        }
        raise_here(tstate, timeout);
        return -1;
    }
    if (_PyInterruptCore_CountSent(state) == 0) {
        _PyInterruptCore_Fewer(state);
        return 0;
    }
    int wait = _PyInterrupts_MustWait(tstate, _PY_ASYNC_EXCEPTION_BIT, place);
    if (wait && !sent_is_forced(tstate)) {
        if (wait != _PyInterrupts_IN_FLIGHT) {
            _PyInterruptCore_HoldBack(state);
            _PyInterruptCore_SentWaits(state);
        }
        return 0;
    }
    if (wait) {
        /* Without a GIL, the one that is forced may have come since. */
        _PyInterruptCore_Collect(state, drop_exception);
    }
    PyObject *exc = take_sent(tstate);
    if (exc == NULL) {
        /* What there is was sent while references were dropped, or by a thread
           that runs at the same time: the bit is up for it.  Or this was dealt
           with. */
        if (_PyInterruptCore_CountSent(state) != 0) {
            set_bits(tstate, _PY_ASYNC_EXCEPTION_BIT);
        }
        else {
            _PyInterruptCore_Fewer(state);
        }
        return 0;
    }
    if (_PyInterruptCore_CountSent(state) != 0) {
        set_bits(tstate, _PY_ASYNC_EXCEPTION_BIT);
    }
    raise_here(tstate, exc);
    return -1;
}


/* Timeouts */

int
_PyInterrupts_EnterTimeout(PyObject *exc, uint64_t microseconds)
{
    PyThreadState *tstate = _PyThreadState_GET();
    _PyInterruptState *state = interrupt_state(tstate);
    _PyRuntimeState *runtime = tstate->interp->runtime;
    HEAD_LOCK(runtime);
    int possible = prepare_kick(tstate) == 0;
    HEAD_UNLOCK(runtime);
    if (!possible) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a timeout needs a signal that wakes threads; there is "
                        "none on this system, or it has been switched off");
        return -1;
    }
    if (_PyInterrupts_EnterScope((uintptr_t)exc, _PyInterruptCore_TIMEOUT) < 0) {
        return -1;
    }
    int entered = _PyInterruptCore_EnterTimeout(state, Py_NewRef(exc),
                                                microseconds);
    if (entered == 1) {
        return 0;
    }
    if (entered < 0) {
        PyErr_NoMemory();
    }
    else {
        PyErr_SetString(PyExc_OSError, "the system has no timer left for a "
                                       "timeout");
    }
    PyObject *error = PyErr_GetRaisedException();
    (void)_PyInterrupts_LeaveScope((uintptr_t)exc, 0);
    Py_DECREF(exc);
    PyErr_SetRaisedException(error);
    return -1;
}

int
_PyInterrupts_LeaveTimeout(PyObject *exc)
{
    if (_PyInterrupts_LeaveScope((uintptr_t)exc, 0) < 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the timeout is left, but has not been entered in the "
                        "code that runs now");
        return -1;
    }
    PyThreadState *tstate = _PyThreadState_GET();
    int raised = _PyInterruptCore_LeaveTimeout(interrupt_state(tstate), exc);
    if (raised >= 0) {
        Py_DECREF(exc);
    }
    return raised > 0;
}


/* Asking again */

/* The bits of what waits and is still up in the eval breaker. */
static uintptr_t
bits_up(PyThreadState *tstate)
{
    _PyInterruptState *state = interrupt_state(tstate);
    uintptr_t up = 0;
    if (_PyInterruptCore_Count(state) != 0) {
        up |= _PY_INTERRUPTS_PENDING_BIT;
    }
    if (_PyInterruptCore_CountSent(state) != 0
        || _PyInterruptCore_AnyTimeoutDue(state))
    {
        up |= _PY_ASYNC_EXCEPTION_BIT;
    }
    return up;
}

void
_PyInterrupts_Release(PyThreadState *tstate, int reason)
{
    rearm(tstate,
          _PyInterruptCore_Release(interrupt_state(tstate), reason, 0));
}

static void
scopes_changed(PyThreadState *tstate, int reason)
{
    uintptr_t up = bits_up(tstate);
    if (up != 0 || _PyInterrupts_Waits(tstate)) {
        rearm(tstate, _PyInterruptCore_Release(interrupt_state(tstate),
                                               reason, up));
    }
}

void
_PyInterrupts_SetFloor(PyThreadState *tstate, _PyInterpreterFrame *frame,
                       int level)
{
    _PyInterruptState *state = interrupt_state(tstate);
    if (state->waiting & _PyInterruptState_LOWERS) {
        _PyInterruptCarried *carried = lock_carried(tstate->interp);
        _PyInterruptCore_SetFloor(state, carried, frame, level);
        unlock_carried(tstate->interp);
    }
}

void
_PyInterrupts_ReleaseUnwound(PyThreadState *tstate, _PyInterpreterFrame *frame)
{
    _PyInterrupts_SetFloor(tstate, frame, _PyInterruptLevel_OPEN);
    _PyInterrupts_Release(tstate, _PyInterruptCore_UNWIND);
}

int
_PyInterrupts_TryInterrupts(PyThreadState *tstate, _PyInterpreterFrame *frame,
                            int oparg)
{
    _PyInterrupts_SetFloor(tstate, frame, _PyInterruptLevel_InForce(oparg));
    _PyInterruptState *state = interrupt_state(tstate);
    uintptr_t bits = _PyInterruptCore_Leave(state, frame);
    if (rearm(tstate, bits) == 0) {
        return 0;
    }
    if (oparg & _PyInterruptLevel_SUSPENDING) {
        /* Whoever runs next may come to a TIT before the next check point. */
        rearm(tstate, _PyInterruptCore_Release(state, _PyInterruptCore_LEAVE,
                                               bits));
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
    _PyInterrupts_SetFloor(_PyThreadState_GET(), frame, level);
}


/* Scopes */

int
_PyInterrupts_EnterScope(uintptr_t scope, int kind)
{
    PyThreadState *tstate = _PyThreadState_GET();
    if (begin_stack(tstate) < 0) {
        return -1;
    }
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    int err = _PyInterruptCore_EnterScope(interrupt_state(tstate), carried,
                                          (const void *)scope, kind,
                                          innermost_carrier(tstate),
                                          &walk, next_step);
    unlock_carried(tstate->interp);
    if (err < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (kind == _PyInterruptCore_OPEN) {
        scopes_changed(tstate, _PyInterruptCore_SCOPE_ENTER);
    }
    return 0;
}

/* Does a generator run that is being finalized? */
static int
finalizes_generator(PyThreadState *tstate)
{
    _PyInterpreterFrame *frame = skip_entries(tstate->current_frame);
    for (; frame != NULL; frame = skip_entries(frame->previous)) {
        if (frame->owner == FRAME_OWNED_BY_GENERATOR
            && _PyGC_FINALIZED((PyObject *)_PyFrame_GetGenerator(frame)))
        {
            return 1;
        }
    }
    return 0;
}

int
_PyInterrupts_LeaveScope(uintptr_t scope, int shared)
{
    PyThreadState *tstate = _PyThreadState_GET();
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    int err = _PyInterruptCore_LeaveScope(interrupt_state(tstate), carried,
                                          (const void *)scope, shared,
                                          innermost_carrier(tstate),
                                          &walk, next_step);
    /* The collector may finalize the generator of a context manager before the
       generator that uses it, which has the scope, and which ends it. */
    int ends_later = (err < 0 && finalizes_generator(tstate)
                      && _PyInterruptCore_IsCarried(carried,
                                                    (const void *)scope));
    unlock_carried(tstate->interp);
    if (err == 0) {
        scopes_changed(tstate, _PyInterruptCore_SCOPE_EXIT);
    }
    return ends_later ? 0 : err;
}

/* The identity of what may be a generator, or NULL. */
static const void *
carrier_of_object(PyObject *obj)
{
    if (PyGen_CheckExact(obj) || PyCoro_CheckExact(obj)
        || PyAsyncGen_CheckExact(obj))
    {
        return carrier_of((PyGenObject *)obj);
    }
    return NULL;
}

static int
hand_over(PyThreadState *tstate, const void *from, uintptr_t mark)
{
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    int count = _PyInterruptCore_HandOver(interrupt_state(tstate), carried,
                                          from, mark,
                                          innermost_carrier(tstate),
                                          &walk, next_step);
    unlock_carried(tstate->interp);
    if (count < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (count > 0) {
        scopes_changed(tstate, _PyInterruptCore_HAND_OVER);
    }
    return 0;
}

int
_PyInterrupts_HandOver(PyObject *generator)
{
    PyThreadState *tstate = _PyThreadState_GET();
    const void *from = NULL;
    if (generator != NULL) {
        from = carrier_of_object(generator);
        if (from == NULL || !_PyInterrupts_AnyCarried(tstate->interp)) {
            return 0;
        }
    }
    return hand_over(tstate, from, UINTPTR_MAX);
}

PyObject *
_PyInterrupts_NextForCaller(PyObject *generator)
{
    if (!PyIter_Check(generator)) {
        return PyErr_Format(PyExc_TypeError,
                            "'%.200s' object is not an iterator",
                            Py_TYPE(generator)->tp_name);
    }
    PyObject *item = (*Py_TYPE(generator)->tp_iternext)(generator);
    if (item == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetNone(PyExc_StopIteration);
        }
        return NULL;
    }
    if (_PyInterrupts_HandOver(generator) < 0) {
        Py_DECREF(item);
        return NULL;
    }
    return item;
}

PyObject *
_PyInterrupts_EnterAndRegister(PyObject *enter, PyObject *manager,
                               PyObject *add_exit, PyObject *exit)
{
    PyThreadState *tstate = _PyThreadState_GET();
    uintptr_t mark = _PyInterruptCore_Mark();
    uintptr_t region = _PyInterrupts_EnterRegion(
                            tstate, _PyInterruptCore_REGION_SOFT);
    PyObject *result = PyObject_CallOneArg(enter, manager);
    if (result != NULL) {
        PyObject *none = PyObject_CallFunctionObjArgs(add_exit, manager,
                                                      exit, NULL);
        if (none == NULL) {
            Py_CLEAR(result);
        }
        Py_XDECREF(none);
    }
    _PyInterrupts_LeaveRegion(tstate, region);
    if (result != NULL && hand_over(tstate, NULL, mark) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

PyObject *
_PyInterrupts_CallInRegion(int kind, PyObject *function,
                           PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames)
{
    PyThreadState *tstate = _PyThreadState_GET();
    uintptr_t region = _PyInterrupts_EnterRegion(tstate, kind);
    /* What waits may be let through in there. */
    scopes_changed(tstate, _PyInterruptCore_SCOPE_ENTER);
    PyObject *result = PyObject_Vectorcall(function, args, nargs, kwnames);
    _PyInterrupts_LeaveRegion(tstate, region);
    return result;
}

void
_PyInterrupts_DropScopes(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCore_DropScopes(interrupt_state(tstate), walk.stack);
    scopes_changed(tstate, _PyInterruptCore_SCOPE_EXIT);
}

void
_PyInterrupts_StartAfresh(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptStep step = {0};
    while (next_step(&walk, &step) && step.frame == NULL) {
    }
    _PyInterruptCore_StartAfresh(interrupt_state(tstate), step.frame);
    scopes_changed(tstate, _PyInterruptCore_SCOPE_EXIT);
}

int
_PyInterrupts_AnyCarried(PyInterpreterState *interp)
{
    return _Py_atomic_load_uintptr_relaxed(
                &interp->interrupts.carried.count) != 0;
}

/* The generator that awaits, or yields from, what `frame` calls; or NULL. */
static const void *
carrier_awaiting(_PyInterpreterFrame *frame)
{
    frame = skip_entries(frame);
    if (frame == NULL || frame->owner != FRAME_OWNED_BY_GENERATOR) {
        return NULL;
    }
    PyCodeObject *code = _PyFrame_GetCode(frame);
    int index = (int)(frame->instr_ptr - _PyCode_CODE(code));
    int opcode = _Py_GetBaseOpcode(code, index);
    /* RESUME: it is suspended there, and throw() is passed on. */
    if (opcode == SEND
        || (opcode == RESUME
            && (frame->instr_ptr->op.arg & RESUME_OPARG_LOCATION_MASK)
                >= RESUME_AFTER_YIELD_FROM))
    {
        return carrier_of(_PyFrame_GetGenerator(frame));
    }
    return NULL;
}

void
_PyInterrupts_GeneratorEnds(PyThreadState *tstate, PyGenObject *gen,
                            _PyInterpreterFrame *previous)
{
    const void *to = NULL;
    /* Nobody waits for one that is finalized. */
    if (!_PyErr_Occurred(tstate) && !PyAsyncGen_CheckExact(gen)
        && !_PyGC_FINALIZED((PyObject *)gen))
    {
        to = carrier_awaiting(previous);
    }
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    _PyInterruptCore_CarrierEnds(interrupt_state(tstate), carried,
                                 carrier_of(gen), to, &walk, next_step);
    unlock_carried(tstate->interp);
    scopes_changed(tstate, _PyInterruptCore_SCOPE_EXIT);
}

void
_PyInterrupts_GeneratorIsGone(PyGenObject *gen)
{
    PyThreadState *tstate = _PyThreadState_GET();
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    _PyInterruptCore_CarrierEnds(interrupt_state(tstate), carried,
                                 carrier_of(gen), NULL, &walk, next_step);
    unlock_carried(tstate->interp);
}

int
_PyInterrupts_LinkFrame(PyThreadState *tstate, PyGenObject *gen)
{
    _PyInterpreterFrame *frame = (_PyInterpreterFrame *)gen->gi_iframe;
    if (frame->interrupt_level == _PyInterruptLevel_OPEN
        && !_PyInterrupts_AnyCarried(tstate->interp))
    {
        return 0;
    }
    frame->previous = tstate->current_frame;
    tstate->current_frame = frame;
    return 1;
}

void
_PyInterrupts_UnlinkFrame(PyThreadState *tstate, PyGenObject *gen, int linked)
{
    if (linked) {
        _PyInterpreterFrame *frame = (_PyInterpreterFrame *)gen->gi_iframe;
        tstate->current_frame = frame->previous;
        frame->previous = NULL;
        /* It is suspended again, without having run the TIT that releases what
           waited for it. */
        _PyInterrupts_AskAgain(tstate, _PyInterruptCore_THROW);
    }
}


/* Questions, and switches for tests */

int
_PyInterrupts_Masked(void)
{
    PyThreadState *tstate = _PyThreadState_GET();
    _PyInterruptWalk walk = start_walk(tstate);
    _PyInterruptCarried *carried = lock_carried(tstate->interp);
    int masked = _PyInterruptCore_IsMasked(interrupt_state(tstate), carried,
                                           _PyInterruptCore_RUNNING,
                                           &walk, next_step);
    unlock_carried(tstate->interp);
    return masked;
}

int
_PyInterrupts_Pending(void)
{
    return bits_up(_PyThreadState_GET()) != 0;
}

/* What extension modules use stands on more than this file does. */
static PyObject *(*new_capi)(void) = NULL;

void
_PyInterrupts_SetCAPI(PyObject *(*function)(void))
{
    new_capi = function;
}

PyObject *
_PyInterrupts_NewCAPI(void)
{
    return new_capi == NULL ? Py_NewRef(Py_None) : new_capi();
}

void
_PyInterrupts_SweepStart(Py_ssize_t n, int where, PyObject *exc)
{
    PyThreadState *tstate = _PyThreadState_GET();
    int delivered;
    _PyInterrupts_SweepStop(&delivered);
    _PyInterruptCore_SweepStart(interrupt_state(tstate), (uintptr_t)n, where,
                                Py_NewRef(exc));
    set_bits(tstate, _PY_INTERRUPTS_PENDING_BIT);
}

void
_PyInterrupts_SignalAt(Py_ssize_t n, int fd)
{
    signal_at = n;
    signal_fd = fd;
}

Py_ssize_t
_PyInterrupts_SweepStop(int *delivered)
{
    void *exc;
    uintptr_t seen = _PyInterruptCore_SweepStop(
                        interrupt_state(_PyThreadState_GET()), &exc);
    *delivered = exc == NULL;
    Py_XDECREF((PyObject *)exc);
    return (Py_ssize_t)seen;
}
