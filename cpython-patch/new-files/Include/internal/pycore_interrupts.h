#ifndef Py_INTERNAL_INTERRUPTS_H
#define Py_INTERNAL_INTERRUPTS_H
#ifdef __cplusplus
extern "C" {
#endif

#ifndef Py_BUILD_CORE
#  error "this header requires Py_BUILD_CORE define"
#endif

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

/* Drop what waits in a thread that ends. */
extern void _PyInterrupts_ClearThread(PyThreadState *tstate);

/* In the child of a fork nothing waits: it was sent to the parent. */
extern void _PyInterrupts_AfterFork(PyThreadState *tstate);

/* Must what the eval-breaker bits `bits` stand for wait?  If so, return 1 and
   take the bits out of the eval breaker until the code that masks has been
   left. */
extern int _PyInterrupts_MustWait(PyThreadState *tstate, uintptr_t bits,
                                  int place);

/* Call a signal handler.  Until it returns, what other handlers raise waits.
   Returns a new reference, or NULL with an exception set. */
extern PyObject *_PyInterrupts_CallHandler(PyThreadState *tstate,
                                           PyObject *handler, PyObject *args);

/* A signal handler has raised the current exception.  Return -1 with an
   exception set if one may be raised here: that one, or an older one that
   waits.  Return 0 with no exception set if it has to wait. */
extern int _PyInterrupts_HandlerRaised(PyThreadState *tstate, int place);

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

/* Before a call that is going to block: what a soft region holds back is raised
   now, since nothing would break the call for it.  Return -1 if an exception
   was set, otherwise 0. */
static inline int
_PyInterrupts_BeforeBlocking(PyThreadState *tstate)
{
    return (_PyInterrupts_Waits(tstate)
            ? _PyInterrupts_Deliver(tstate, _PyInterruptCore_BLOCKED) : 0);
}

/* Put what waits back into the eval breaker: the next check point asks again,
   with the levels of then. */
extern void _PyInterrupts_Release(PyThreadState *tstate);

/* To be called where levels change without a TIT: a frame is unwound, catches
   an exception, or suspends without running its own code; or where Python code
   has run between a TIT and what the TIT was for. */
static inline void
_PyInterrupts_AskAgain(PyThreadState *tstate)
{
    if (_PyInterrupts_Waits(tstate)) {
        _PyInterrupts_Release(tstate);
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

#ifdef __cplusplus
}
#endif
#endif /* !Py_INTERNAL_INTERRUPTS_H */
