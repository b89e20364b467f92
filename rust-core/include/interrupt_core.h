/* The contract between the interpreter (C) and the interrupt core (Rust).
 *
 * An interrupt is an exception that reaches a thread from outside its own
 * code.  This header holds everything both sides share: the level byte that
 * the compiler emits and each frame stores, the per-thread state, and the
 * functions that decide.  C stores levels, tests one word and calls in; every
 * decision -- masked or not, raise or wait, ask again or stay quiet -- is made
 * behind these functions, in rust-core/src.
 *
 * The header needs no CPython header, so the core builds and is tested
 * without an interpreter.  In the interpreter's source tree it is
 * Include/internal/pycore_interrupt_core.h.
 *
 * Threads: a state belongs to one thread.  Only its owner, while attached to
 * its interpreter, may pass it to any function below; nothing here is called
 * from a C signal handler.
 */
#ifndef Py_INTERNAL_INTERRUPT_CORE_H
#define Py_INTERNAL_INTERRUPT_CORE_H
#ifdef __cplusplus
extern "C" {
#endif

#include <assert.h>
#include <stdint.h>

/* Nothing here is part of the interpreter's ABI.  A hidden declaration is
 * enough to hide the definition: the linker keeps the stricter visibility. */
#if defined(__GNUC__)
#  define _PyInterruptCore_API(RTYPE) \
       extern __attribute__((visibility("hidden"))) RTYPE
#else
#  define _PyInterruptCore_API(RTYPE) extern RTYPE
#endif


/* --- Levels ---------------------------------------------------------------
 *
 * A level says how deep in masked regions an instruction of a code object
 * stands.  It is the oparg of NIT and TIT and, while it is in force, one byte
 * of the frame.
 *
 *    bit   7   6   5   4   3   2   1   0
 *          -   S   H   [      depth      ]
 *
 *    depth  number of masked regions open in this frame; 0 is "open".
 *    H      hard: some open region is hard, nothing at all is raised.  Without
 *           it every open region is soft: a call that is really blocked may be
 *           interrupted.
 *    S      only as an oparg of TIT: the frame is about to suspend.  Whoever
 *           runs next may be open, so what waits must be asked about again.
 */
#define _PyInterruptLevel_OPEN        0x00
#define _PyInterruptLevel_DEPTH_MASK  0x1f
#define _PyInterruptLevel_HARD        0x20
#define _PyInterruptLevel_SUSPENDING  0x40

/* The level inside a region that is entered at level `outer`.  A soft region
 * inside a hard one stays hard. */
static inline int
_PyInterruptLevel_Enter(int outer, int hard)
{
    assert((outer & _PyInterruptLevel_DEPTH_MASK)
           < _PyInterruptLevel_DEPTH_MASK);
    return (outer + 1) | (hard ? _PyInterruptLevel_HARD : 0);
}

/* The level that an instruction with this oparg puts in force. */
static inline int
_PyInterruptLevel_InForce(int oparg)
{
    return oparg & ~_PyInterruptLevel_SUSPENDING;
}


/* --- Per-thread state -----------------------------------------------------
 *
 *    waiting  masker            meaning
 *    0        NULL              nothing waits
 *    bits     a frame           the outermost masked frame; as long as that
 *                               stays masked the answer cannot change, so
 *                               inner regions do not ask again
 *    bits     the state itself  every region that is left asks again: a signal
 *                               handler masks, or frames of several stacks
 *                               that the thread switches between
 *    bits     NULL              put back into the eval breaker, to be asked
 *                               about at the next check point or TIT,
 *                               whichever comes first
 *
 * All zero is a valid state: nothing waits, no handler runs.
 */
typedef struct _PyInterruptState {
    /* Event bits of the eval breaker that were taken down because the thread
     * was masked when they were looked at.  TIT tests this word. */
    uintptr_t waiting;
    const void *masker;
    /* What only the core looks at: the queue of exceptions that wait and the
     * signal handlers that run.  NULL until there is something to keep. */
    struct _PyInterruptThread *thread;
} _PyInterruptState;

/* How C shows the core a thread's frames: returns the frame that called
 * `frame` (NULL for none) and stores the level of `frame`. */
typedef const void *(*_PyInterruptCore_CallerFunc)(const void *frame,
                                                   uint8_t *level);

/* Where an interrupt is asked about. */
enum {
    /* Code runs: soft and hard regions both mask. */
    _PyInterruptCore_RUNNING = 0,
    /* A call is blocked in the kernel: only hard regions mask. */
    _PyInterruptCore_BLOCKED = 1,
};


/* The fast path of TIT: nothing more to do while this is zero. */
static inline int
_PyInterruptState_Waits(const _PyInterruptState *state)
{
    return state->waiting != 0;
}

/* Switch masking on or off for the process.  Off: MustWait() answers "raise"
 * whatever the levels.  Call before any thread can be interrupted. */
_PyInterruptCore_API(void) _PyInterruptCore_SetMasks(int enabled);

/* May what the eval-breaker bits `bits` stand for be raised in this thread?
 *
 * `frame` is the running frame (or NULL), `caller` walks outwards from it,
 * `place` is RUNNING or BLOCKED.  Returns 0: raise it now.  Returns 1: it must
 * wait; `bits` have been added to state->waiting and the masker remembered, so
 * the caller takes the bits out of the eval breaker. */
_PyInterruptCore_API(int) _PyInterruptCore_MustWait(
    _PyInterruptState *state, uintptr_t bits, int place,
    const void *frame, _PyInterruptCore_CallerFunc caller);

/* `frame` has lowered its level or is about to suspend.  Returns the bits to
 * put back into the eval breaker: all that waited if the answer may have
 * changed, otherwise 0. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_Leave(
    _PyInterruptState *state, const void *frame);

/* Levels may have changed without a TIT: a frame is unwound, catches an
 * exception or suspends.  Returns the bits to put back into the eval breaker:
 * all that waited.  They stay in state->waiting, too: a TIT that comes before
 * the next check point raises them itself. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_Release(
    _PyInterruptState *state);

/* A signal handler starts: until it ends, the code it runs is softly masked.
 * `frame` is the frame it interrupts (or NULL).  Returns what LeaveHandler()
 * must be given.  Handlers may end in any order: code that switches stacks can
 * do that. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_EnterHandler(
    _PyInterruptState *state, const void *frame);

/* That signal handler has ended.  Returns as Release(). */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_LeaveHandler(
    _PyInterruptState *state, uintptr_t handler);

/* Append an exception of type `type` to the queue of those that wait.
 *
 * `plain` says that it carries nothing but its type: two waiting plain
 * exceptions of one type are one interrupt.
 * Returns 1: queued, the queue owns the reference.  0: merged with an equal
 * one, -1: no memory; in both cases the reference stays with the caller. */
_PyInterruptCore_API(int) _PyInterruptCore_Push(
    _PyInterruptState *state, void *exc, const void *type, int plain);

/* Take the oldest exception from the queue; NULL if there is none.  With
 * `joining`, the type of the one taken before, only if it is of that type:
 * then both are raised together. */
_PyInterruptCore_API(void *) _PyInterruptCore_Pop(
    _PyInterruptState *state, const void *joining);

/* How many exceptions are in the queue. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_Count(
    const _PyInterruptState *state);

/* Give everything back: `drop` is called for each queued exception, in order,
 * after the state has been reset to all zero.  No handler may be running. */
_PyInterruptCore_API(void) _PyInterruptCore_Clear(
    _PyInterruptState *state, void (*drop)(void *exc));

#ifdef __cplusplus
}
#endif
#endif /* !Py_INTERNAL_INTERRUPT_CORE_H */
