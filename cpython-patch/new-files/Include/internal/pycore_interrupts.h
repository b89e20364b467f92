#ifndef Py_INTERNAL_INTERRUPTS_H
#define Py_INTERNAL_INTERRUPTS_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

#include "pycore_ceval.h"         // _PY_ASYNC_EXCEPTION_BIT
#include "pycore_interrupt_core.h" // _PyInterruptState
#include "pycore_tstate.h"        // _PyThreadStateImpl

/* The interpreter's side of interrupt masking: what the eval loop, the signal
   module and the frame objects call.  See InternalDocs/interrupt_masking.md.

   Everywhere below `place` is _PyInterruptCore_RUNNING, or
   _PyInterruptCore_BLOCKED where a system call has just been broken by a
   signal. */

struct _PyInterpreterFrame;

/* Read -X interrupt_masks and PYTHONINTERRUPTMASKS and switch masking on or
   off for the process. */
extern PyStatus _PyInterrupts_Init(const PyConfig *config);

/* This process is `python`, and its stderr is its own: a user may be told there what
   an interrupt waits for. */
extern void _PyInterrupts_IsProgram(void);

/* Drop what waits in a thread that ends; nothing can be sent to it any more. */
extern void _PyInterrupts_ClearThread(PyThreadState *tstate);

/* Drop what generators carried in an interpreter that ends. */
extern void _PyInterrupts_ClearInterp(PyInterpreterState *interp);

/* In the child of a fork, this is the main thread: signals are for it, and wake it.
   Called while the other thread states are still there. */
extern void _PyInterrupts_MainAfterFork(PyThreadState *tstate);

/* Nothing waits there: it was sent to the parent. */
extern void _PyInterrupts_AfterFork(PyThreadState *tstate);

/* What _PyInterrupts_MustWait() returns if nothing masks. */
#define _PyInterrupts_IN_FLIGHT 2

/* Must what the eval-breaker bits `bits` stand for wait?  If so, return 1 and
   take the bits out of the eval breaker until the code that masks has been
   left; or IN_FLIGHT, and the next check point asks again. */
extern int _PyInterrupts_MustWait(PyThreadState *tstate, uintptr_t bits,
                                  int place);

/* The eval loop is between two instructions.  Is a value on its way
   to something that guards it, so that an interrupt is better raised in there? */
extern int _PyInterrupts_ValueInFlight(PyThreadState *tstate);

/* Python code that the interpreter masks itself, whatever scopes there are: a
   soft region for what an interrupt runs, a hard one for what is finalized;
   `kind` is _PyInterruptCore_REGION_SOFT or a neighbour.  LeaveRegion() must be
   given what EnterRegion() returned. */
PyAPI_FUNC(uintptr_t) _PyInterrupts_EnterRegion(PyThreadState *tstate, int kind);
PyAPI_FUNC(void) _PyInterrupts_LeaveRegion(PyThreadState *tstate,
                                           uintptr_t region);

/* The same for extension code; what is forced is raised in it.  Stores a number that no
   other entry has. */
extern uintptr_t _PyInterrupts_EnterGuard(PyThreadState *tstate, int hard,
                                          uintptr_t *number);

/* Where C code can read whether this thread has to look; NULL if there is no
   memory. */
extern const volatile uint32_t *_PyInterrupts_Flag(PyThreadState *tstate);

/* Those of the eval breaker that interrupts have. */
#define _PyInterrupts_BITS (_PY_SIGNALS_PENDING_BIT | _PY_INTERRUPTS_PENDING_BIT \
                            | _PY_ASYNC_EXCEPTION_BIT)

static inline int
_PyInterrupts_BitsUp(PyThreadState *tstate)
{
    return (_Py_atomic_load_uintptr_relaxed(&tstate->eval_breaker)
            & _PyInterrupts_BITS) != 0;
}

/* Has PyErr_CheckSignals() anything to do in this thread?  It also runs the GC. */
static inline int
_PyInterrupts_MustLook(PyThreadState *tstate)
{
    return ((_Py_atomic_load_uintptr_relaxed(&tstate->eval_breaker)
             & (_PyInterrupts_BITS | _PY_GC_SCHEDULED_BIT)) != 0
            || _PyInterruptState_FlagIsUp(
                    &((_PyThreadStateImpl *)tstate)->interrupts));
}

/* A bit of those has been set in the eval breaker.  Async-signal-safe. */
static inline void
_PyInterrupts_RaiseFlag(PyThreadState *tstate)
{
    _PyInterruptCore_RaiseFlag(&((_PyThreadStateImpl *)tstate)->interrupts);
}

/* The flag was taken down, and bits were left: for code that polls. */
static inline void
_PyInterrupts_RaiseFlagAgain(PyThreadState *tstate)
{
    if (_PyInterrupts_BitsUp(tstate)) {
        _PyInterrupts_RaiseFlag(tstate);
    }
}

/* Before those bits are read.  Return whether it was up. */
static inline int
_PyInterrupts_TakeFlag(PyThreadState *tstate)
{
    return _PyInterruptCore_TakeFlag(
                &((_PyThreadStateImpl *)tstate)->interrupts);
}

/* The Python handler of this signal is about to be called: tell those that have noted the
   signal themselves. */
extern void _PyInterrupts_SignalTaken(int signum);

/* In the child of a fork, nobody holds the lock on them. */
extern void _PyInterrupts_PollersAfterFork(void);

/* The capsule for extension modules.  A new reference, or NULL with an exception. */
PyAPI_FUNC(PyObject *) _PyInterrupts_NewCAPI(void);

/* How it is made; from then on there is one. */
extern void _PyInterrupts_SetCAPI(PyObject *(*function)(void));
extern void _PyInterrupts_InitCAPI(void);

/* Call a signal handler.  Until it returns, what other handlers raise waits.
   Returns a new reference, or NULL with an exception set. */
extern PyObject *_PyInterrupts_CallHandler(PyThreadState *tstate,
                                           PyObject *handler, PyObject *args);

/* The handler of this signal has raised the current exception.  Return -1 with an
   exception set if one may be raised here, or is forced: that one, or an older one
   that waits.  Return 0 with no exception set if it has to wait. */
extern int _PyInterrupts_HandlerRaised(PyThreadState *tstate, int place,
                                       int signum);

/* Raise the oldest exception that waits, if one may be raised here; those of the
   same type that follow it are raised with it, as a chain of contexts.  Where
   code runs, only what has been released is looked at; a blocked call also
   looks at what soft regions hold back.  Return -1 if an exception was set,
   otherwise 0. */
extern int _PyInterrupts_Deliver(PyThreadState *tstate, int place);

/* Has anything been held back in this thread? */
static inline int
_PyInterrupts_Waits(PyThreadState *tstate)
{
    return _PyInterruptState_Waits(&((_PyThreadStateImpl *)tstate)->interrupts);
}

/* Raise what may be raised in a call that blocks: what handlers raised, then what
   was sent.  Signal handlers do not run.  Return -1 if an exception was set,
   otherwise 0. */
extern int _PyInterrupts_DeliverBlocked(PyThreadState *tstate);

/* Before a call that is going to block, what it would be woken for is raised at
   once.  Return -1 if an exception was set, otherwise 0. */
static inline int
_PyInterrupts_BeforeBlocking(PyThreadState *tstate)
{
    return (_PyInterrupts_Waits(tstate)
            || (_Py_atomic_load_uintptr_relaxed(&tstate->eval_breaker)
                & _PY_ASYNC_EXCEPTION_BIT)
            ? _PyInterrupts_DeliverBlocked(tstate) : 0);
}

/* The same at a check point of the eval loop: tests count those. */
extern int _PyInterrupts_DeliverInEvalLoop(PyThreadState *tstate, int place);

/* Raise what other threads have sent, if it may be raised here.  Return -1 if an
   exception was set, otherwise 0. */
extern int _PyInterrupts_DeliverSent(PyThreadState *tstate, int place);

/* Put what waits back into the eval breaker: the next check point asks again,
   with the levels of then.  `reason` is one of _PyInterruptCore_CATCH and so
   on. */
extern void _PyInterrupts_Release(PyThreadState *tstate, int reason);

/* To be called where levels change without a TIT: a frame suspends without
   running its own code; or where Python code has run between a TIT and what
   the TIT was for. */
static inline void
_PyInterrupts_AskAgain(PyThreadState *tstate, int reason)
{
    if (_PyInterrupts_Waits(tstate)) {
        _PyInterrupts_Release(tstate, reason);
    }
}

/* `frame` is at this level now: scopes open no deeper regions of it. */
extern void _PyInterrupts_SetFloor(PyThreadState *tstate,
                                   struct _PyInterpreterFrame *frame,
                                   int level);

extern void _PyInterrupts_ReleaseInHandler(PyThreadState *tstate,
                                           struct _PyInterpreterFrame *frame,
                                           int handler);
extern void _PyInterrupts_ReleaseUnwound(PyThreadState *tstate,
                                         struct _PyInterpreterFrame *frame);

/* `frame` catches an exception; its handler starts at the code unit `handler`.
   The handler's NIT has not been executed yet. */
static inline void
_PyInterrupts_Caught(PyThreadState *tstate, struct _PyInterpreterFrame *frame,
                     int handler)
{
    if (_PyInterrupts_Waits(tstate)) {
        _PyInterrupts_ReleaseInHandler(tstate, frame, handler);
    }
}

/* An exception leaves `frame`. */
static inline void
_PyInterrupts_Unwound(PyThreadState *tstate, struct _PyInterpreterFrame *frame)
{
    if (_PyInterrupts_Waits(tstate)) {
        _PyInterrupts_ReleaseUnwound(tstate, frame);
    }
}

/* The rest of TIT when something waits: ask again, and unless the frame is
   about to suspend, raise at once.  Return -1 with an exception set, or 0. */
extern int _PyInterrupts_TryInterrupts(PyThreadState *tstate,
                                       struct _PyInterpreterFrame *frame,
                                       int oparg);

/* The level in force before the instruction at index `target` of `code`, which
   has exactly one whatever path leads there.  Return -1 with an exception set
   if there was no memory. */
extern int _PyInterrupts_LevelAt(PyCodeObject *code, int target);

/* A debugger has moved `frame` to an instruction of this level. */
extern void _PyInterrupts_SetLevel(struct _PyInterpreterFrame *frame,
                                   int level);


/* --- Waking a blocked thread ----------------------------------------------- */

/* The main thread has changed how a signal is handled: it may have to be woken for
   that, and the kick signal must be ours. */
extern void _PyInterrupts_HandlerInstalled(PyThreadState *tstate);

/* The interpreter has given back all signals. */
extern void _PyInterrupts_NoHandlers(void);

/* A signal has arrived, and the main thread's eval breaker says so.  Called in the
   C signal handler, in any thread. */
extern void _PyInterrupts_SignalReceived(PyThreadState *main_tstate);

/* This thread runs with this state, which another one may have made or run with. */
extern void _PyInterrupts_RunsHere(PyThreadState *tstate);

/* This state is about to be freed, and in no list any more. */
extern void _PyInterrupts_ForgetThread(PyThreadState *tstate);

/* A library sleeps while it waits, and does not notice when a signal breaks that.
   Sleep for it, attached on entry and on return.  Return 1 if it should wait no
   more: something is to be raised by _PyInterrupts_RaiseBlocked(), or at the next
   check point.
   Export for '_sqlite3' shared extension. */
PyAPI_FUNC(int) _PyInterrupts_SleepFor(int64_t microseconds);

/* A library has called the code that raised the current exception, and cannot pass
   it on: keep it until the library has returned.  An older one that is still kept
   is postponed.
   Export for '_sqlite3' shared extension. */
PyAPI_FUNC(void) _PyInterrupts_Keep(void);

/* Is one kept? */
PyAPI_FUNC(int) _PyInterrupts_IsKept(void);

/* The library has failed.  If an exception is kept, raise it, whatever masks: it was
   raised in there.  Return -1 if an exception was set, otherwise 0. */
PyAPI_FUNC(int) _PyInterrupts_RaiseKept(void);

/* The library has succeeded all the same.  What is kept waits, as an interrupt that
   comes now. */
PyAPI_FUNC(void) _PyInterrupts_PostponeKept(void);

/* That library has given up.  Return -1 with an exception set if that was because
   of an interrupt, otherwise 0. */
PyAPI_FUNC(int) _PyInterrupts_RaiseBlocked(void);

/* `handlers_wait`: a signal has arrived whose Python handler has not run yet. */
extern void _PyInterrupts_LookBeforeBlocking(PyThreadState *tstate,
                                             int handlers_wait);
extern void _PyInterrupts_IsBack(PyThreadState *tstate);

/* Of this thread only the order of the program matters: signal handlers come in
   between two steps of it. */
static inline void
_PyInterrupts_CompilerFence(void)
{
#if defined(__GNUC__)
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
#endif
}

/* The thread has been detached and may block from now on: in this order, so that
   whoever interrupts it either is seen here or sees that.  Return whether
   _PyInterrupts_LookBeforeBlocking() must be called. */
static inline int
_PyInterrupts_Detached(PyThreadState *tstate)
{
    _PyInterrupts_CompilerFence();
    return ((_Py_atomic_load_uintptr(&tstate->eval_breaker)
             & (_PY_SIGNALS_PENDING_BIT | _PY_INTERRUPTS_PENDING_BIT
                | _PY_ASYNC_EXCEPTION_BIT))
            || _PyInterrupts_Waits(tstate));
}

/* It is attached again. */
static inline void
_PyInterrupts_Attached(PyThreadState *tstate)
{
    _PyInterrupts_CompilerFence();
    if (_PyInterruptState_IsKicked(
            &((_PyThreadStateImpl *)tstate)->interrupts))
    {
        _PyInterrupts_IsBack(tstate);
    }
}


/* --- Scopes -------------------------------------------------------------- */

/* The frame of a generator has ended.  If it has returned, scopes that it has
   not left are those of the one that awaits it or yields from it. */
extern void _PyInterrupts_GeneratorEnds(PyThreadState *tstate,
                                        PyGenObject *gen,
                                        struct _PyInterpreterFrame *previous);

/* It is gone: another one may get its address. */
extern void _PyInterrupts_GeneratorIsGone(PyGenObject *gen);

/* Do generators of this interpreter carry scopes? */
extern int _PyInterrupts_AnyCarried(PyInterpreterState *interp);

/* The frame of a generator that waits for another object, which is about to be
   thrown into or closed, and runs no code itself.  If the frame masks, put it on
   the stack, so that what runs there is masked; the generator counts as running.
   Return whether that was done, for _PyInterrupts_UnlinkFrame(). */
extern int _PyInterrupts_LinkFrame(PyThreadState *tstate, PyGenObject *gen);
extern void _PyInterrupts_UnlinkFrame(PyThreadState *tstate, PyGenObject *gen,
                                      int linked);


/* --- What the module _interrupts calls (rust-core/module) ------------------ */

/* Enter the scope with this number; `kind` is _PyInterruptCore_OPEN or a
   neighbour.  Return -1 with MemoryError set, otherwise 0. */
extern int _PyInterrupts_EnterScope(uintptr_t scope, int kind);

/* Leave it.  Return -1 with no exception set if it has not been entered in the
   code that runs now.  `shared`: everybody uses this object. */
extern int _PyInterrupts_LeaveScope(uintptr_t scope, int shared);

/* A block is entered that `exc` is to be raised in after so many microseconds, where
   nothing masks it that was entered in there.  Return -1 with an exception set,
   otherwise 0. */
extern int _PyInterrupts_EnterTimeout(PyObject *exc, uint64_t microseconds);

/* It is left.  Return whether it was raised, or -1 with an exception set if it has
   not been entered in the code that runs now. */
extern int _PyInterrupts_LeaveTimeout(PyObject *exc);

/* Give the scopes that a suspended generator carries, or with NULL those the
   calling function has entered itself, to the caller of the calling function.
   Return -1 with an exception set, otherwise 0. */
extern int _PyInterrupts_HandOver(PyObject *generator);

/* The same together with next().  Return a new reference, or NULL with an
   exception set. */
extern PyObject *_PyInterrupts_NextForCaller(PyObject *generator);

/* Call enter(manager), then register(manager, exit), masked softly as a with
   statement is while it enters; hand over the scopes that were entered
   meanwhile.  Return a new reference to what the first one returned, or NULL
   with an exception set. */
extern PyObject *_PyInterrupts_EnterAndRegister(PyObject *enter,
                                                PyObject *manager,
                                                PyObject *add_exit,
                                                PyObject *exit);

/* Call function(*args) in a region of this kind: _PyInterruptCore_REGION_WAITS or
   _PyInterruptCore_REGION_OPENS.  Return a new reference, or NULL with an
   exception set. */
extern PyObject *_PyInterrupts_CallInRegion(int kind, PyObject *function,
                                            PyObject *const *args,
                                            Py_ssize_t nargs,
                                            PyObject *kwnames);

/* The thread has the first chunk of a new stack of frames: if another stack was at
   the same address, scopes that were never left there do not count here. */
extern void _PyInterrupts_StackBegins(PyThreadState *tstate);

/* Leave all scopes of this stack. */
extern void _PyInterrupts_DropScopes(void);

/* Nothing masks what the calling function calls from now on. */
extern void _PyInterrupts_StartAfresh(void);

/* Would an interrupt that arrives now have to wait?  Does one?
   Export for '_sqlite3' shared extension. */
PyAPI_FUNC(int) _PyInterrupts_Masked(void);
PyAPI_FUNC(int) _PyInterrupts_Pending(void);

/* Send an exception or a class to a thread of this interpreter; if it is forced,
   nothing there masks it.  Return 1, 0 if there is no such thread, -1 with
   MemoryError set. */
extern int _PyInterrupts_Send(unsigned long thread_id, PyObject *exc,
                              int force);

/* The same to the thread with this thread state: unlike a thread's number, that of
   a state is never used again. */
extern int _PyInterrupts_SendToState(uint64_t id, PyObject *exc, int force);
extern uint64_t _PyInterrupts_CurrentState(void);

/* Call this with each exception that was sent, in the thread that it was sent to, before
   it is raised.  What the function returns is raised in its place, unless that is
   None. */
extern void _PyInterrupts_SetDispatch(PyObject *function);

/* PyThreadState_SetAsyncExc(). */
extern int _PyInterrupts_SetAsyncExc(unsigned long thread_id, PyObject *exc);

/* For tests: let `exc` arrive at the n-th check of a kind
   (_PyInterruptCore_IN_EVAL_LOOP or its neighbour) from now on.  Stop: return
   how many there were, and whether it has arrived. */
extern void _PyInterrupts_SweepStart(Py_ssize_t n, int where, PyObject *exc);
extern Py_ssize_t _PyInterrupts_SweepStop(int *delivered);

/* The same for a whole life: called before Python is initialized, it raises the signal
   SIGINT at the n-th check point of the main thread's eval loop, counted from the moment
   at which the first handler is installed, and writes "!" to the file descriptor `fd`
   there.
   Export for Programs/_testembed. */
PyAPI_FUNC(void) _PyInterrupts_SignalAt(Py_ssize_t n, int fd);

#ifdef __cplusplus
}
#endif
#endif /* !Py_INTERNAL_INTERRUPTS_H */
