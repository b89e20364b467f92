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
 * its interpreter, may pass it to any function below, except Send(), which any
 * thread may call while the state exists; nothing here is called from a C
 * signal handler.  What generators carry belongs to their interpreter; where
 * several threads of one interpreter can run at once, the caller of a function
 * that takes it must hold a lock of that interpreter.
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
 *          E   S   H   [      depth      ]
 *
 *    depth  number of masked regions open in this frame; 0 is "open".
 *    H      hard: some open region is hard, nothing at all is raised.  Without
 *           it every open region is soft: a call that is really blocked may be
 *           interrupted.
 *    S      only as an oparg of TIT: the frame is about to suspend.  Whoever
 *           runs next may be open, so what waits must be asked about again.
 *    E      only together with H: the innermost region is soft, since something
 *           is being entered, and hard only because of a region around it.  If
 *           a scope opens that one, this one is soft.
 *
 * A soft region holds nothing but a call or an await, so no other region of the
 * frame stands inside of it: all but the innermost are hard.
 */
#define _PyInterruptLevel_OPEN        0x00
#define _PyInterruptLevel_DEPTH_MASK  0x1f
#define _PyInterruptLevel_HARD        0x20
#define _PyInterruptLevel_SUSPENDING  0x40
#define _PyInterruptLevel_ENTERING    0x80

/* The level inside a region that is entered at level `outer`.  A soft region
 * inside a hard one stays hard. */
static inline int
_PyInterruptLevel_Enter(int outer, int hard)
{
    assert((outer & _PyInterruptLevel_DEPTH_MASK)
           < _PyInterruptLevel_DEPTH_MASK);
    int level = (outer + 1) | (hard ? _PyInterruptLevel_HARD : 0);
    if (!hard && (level & _PyInterruptLevel_HARD)) {
        level |= _PyInterruptLevel_ENTERING;
    }
    return level;
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
 *    bits     &masker           a scope that this stack entered: only leaving it
 *                               can change the answer
 *    bits     the state itself  every region that is left asks again: a runtime
 *                               region masks, or frames of several stacks
 *                               that the thread switches between
 *    bits     NULL              put back into the eval breaker, to be asked
 *                               about at the next check point or TIT,
 *                               whichever comes first
 *
 * Besides event bits, `waiting` can hold LOWERS: a scope is open whose floor
 * has to follow the level of its frame, so TIT must come in for that, too.
 *
 * All zero is a valid state: nothing waits, nothing masks.
 */
typedef struct _PyInterruptState {
    /* Event bits of the eval breaker that were taken down because the thread
     * was masked when they were looked at.  TIT tests this word. */
    uintptr_t waiting;
    const void *masker;
    /* What only the core looks at: the queue of exceptions that wait, the
     * scopes and the runtime regions.  NULL until there is something
     * to keep. */
    struct _PyInterruptThread *thread;
    /* What other threads have sent, newest first, until this one collects it.
     * An atomic pointer; only the core touches it. */
    struct _PyInterruptSent *sent;
    /* How this thread is woken when it is blocked; NULL as long as nobody
     * had to.  An atomic pointer, set by the core. */
    struct _PyInterruptKick *kick;
} _PyInterruptState;

/* What C sees of it: not zero if the thread, when it comes back from a call that
 * blocked, must call Runs(). */
struct _PyInterruptKick {
    uint32_t phase;
    /* Not zero: code of the thread that polls must look (see RaiseFlag()). */
    uint32_t flag;
};

/* In `waiting` only, above all event bits. */
#define _PyInterruptState_LOWERS      ((uintptr_t)1 << 16)


/* --- Per-interpreter state ------------------------------------------------
 *
 * A generator that suspends inside a scope takes the scope along, perhaps into
 * another thread.  What generators carry is kept here, found by the identity
 * of the generator ("carrier"), so a resumed or suspended generator has nothing
 * to do: a scope counts whenever its carrier is among those that run.
 *
 * All zero is a valid state.
 */
typedef struct _PyInterruptCarried {
    /* How many generators carry scopes; while it is zero there is nothing to
     * look up.  Written under the interpreter's lock; whoever runs a generator
     * that carries one sees it, since the generator was handed over. */
    uintptr_t count;
    struct _PyInterruptCarriers *carriers;
} _PyInterruptCarried;


/* --- The way outwards -----------------------------------------------------
 *
 * How C shows the core what runs in a thread, innermost first: its frames, and
 * between them generators of other compilers, which have no frame.
 */
typedef struct _PyInterruptStep {
    const void *frame;      /* NULL for a generator without one */
    const void *carrier;    /* not NULL if this is a generator's */
    uint8_t level;
    uint8_t exiting;        /* it leaves a `with`, and has called __exit__;
                               0 unless the walk asks for it */
} _PyInterruptStep;

/* A position on that way.  The core copies it to go the same way twice. */
typedef struct _PyInterruptWalk {
    const void *frame;
    const void *generator;
    /* The stack all this stands on: of the thread, or of a coroutine library
     * that switches between several. */
    const void *stack;
    /* The core wants to know which frames are exiting.  It sets this. */
    uint8_t asks_exiting;
} _PyInterruptWalk;

/* Store what stands at this position and go on to the next.  Returns 0 at the
 * end, with nothing stored. */
typedef int (*_PyInterruptCore_StepFunc)(_PyInterruptWalk *walk,
                                         _PyInterruptStep *step);

/* Where an interrupt is asked about. */
enum {
    /* Code runs: soft and hard regions both mask. */
    _PyInterruptCore_RUNNING = 0,
    /* A call is blocked in the kernel: only hard regions mask. */
    _PyInterruptCore_BLOCKED = 1,
    /* As RUNNING, but a value is on its way to what guards it.  For C; the core
     * makes no difference. */
    _PyInterruptCore_IN_FLIGHT = 2,
};


/* The fast path of TIT: nothing more to do while this is zero. */
static inline int
_PyInterruptState_Waits(const _PyInterruptState *state)
{
    return state->waiting != 0;
}

/* Has the thread, which comes back from what blocked it, been woken?  Relaxed:
 * see rust-core/src/kick.rs for why it is enough. */
static inline int
_PyInterruptState_IsKicked(const _PyInterruptState *state)
{
#if defined(__GNUC__)
    const struct _PyInterruptKick *kick;
    __atomic_load(&state->kick, (struct _PyInterruptKick **)&kick,
                  __ATOMIC_ACQUIRE);
    return kick != 0 && __atomic_load_n(&kick->phase, __ATOMIC_RELAXED) != 0;
#else
    /* There are no kicks (src/kick/portable.rs). */
    (void)state;
    return 0;
#endif
}

/* Is the thread's flag up?  Relaxed: TakeFlag() orders what follows. */
static inline int
_PyInterruptState_FlagIsUp(const _PyInterruptState *state)
{
#if defined(__GNUC__)
    const struct _PyInterruptKick *kick;
    __atomic_load(&state->kick, (struct _PyInterruptKick **)&kick,
                  __ATOMIC_ACQUIRE);
    return kick != 0 && __atomic_load_n(&kick->flag, __ATOMIC_RELAXED) != 0;
#else
    return state->kick != 0;        /* TakeFlag() tells */
#endif
}

/* --- Raise or wait -------------------------------------------------------- */

/* Switch masking on or off for the process.  Off: MustWait() answers "raise"
 * whatever the levels and scopes.  Call before any thread can be interrupted. */
_PyInterruptCore_API(void) _PyInterruptCore_SetMasks(int enabled);
_PyInterruptCore_API(int) _PyInterruptCore_GetMasks(void);

/* What MustWait() answers. */
enum {
    _PyInterruptCore_RAISE = 0,
    /* `bits` have been added to state->waiting and the masker remembered: the
     * caller takes the bits out of the eval breaker. */
    _PyInterruptCore_WAIT = 1,
    /* The answer can change without anybody asking, as a generator that carries
     * a scope is suspended or resumed: the bits stay in the eval breaker, and
     * every check point asks. */
    _PyInterruptCore_WAIT_AND_ASK = 2,
};

/* May what the eval-breaker bits `bits` stand for be raised in this thread?
 *
 * `walk` stands at the running frame, `place` is RUNNING or BLOCKED. */
_PyInterruptCore_API(int) _PyInterruptCore_MustWait(
    _PyInterruptState *state, const _PyInterruptCarried *carried,
    uintptr_t bits, int place,
    const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);

/* Would an interrupt that arrives now have to wait?  Changes nothing, so another
 * thread may ask, too, as long as what `walk` shows stands still. */
_PyInterruptCore_API(int) _PyInterruptCore_IsMasked(
    const _PyInterruptState *state, const _PyInterruptCarried *carried,
    int place, const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);

/* `frame` has lowered its level or is about to suspend.  Returns the bits to
 * put back into the eval breaker: all that waited if the answer may have
 * changed, otherwise 0. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_Leave(
    _PyInterruptState *state, const void *frame);

/* What has happened when Release() is called.  The order is that of the names
 * in Modules/_interruptsmodule (rust-core/module). */
enum {
    _PyInterruptCore_LEAVE = 0,        /* the masker runs TIT (see Leave()) */
    _PyInterruptCore_CATCH = 1,        /* a frame catches an exception */
    _PyInterruptCore_UNWIND = 2,       /* an exception leaves a frame */
    _PyInterruptCore_REGION_ENDS = 3,  /* a runtime region is left */
    _PyInterruptCore_THROW = 4,        /* throw() or close() was passed on */
    _PyInterruptCore_SCOPE_EXIT = 5,
    _PyInterruptCore_SCOPE_ENTER = 6,
    _PyInterruptCore_HAND_OVER = 7,
};

/* What masks may have changed without a TIT.  `up` are event bits that are in
 * the eval breaker still.  Returns the bits to put back there: all that waited.
 * They stay in state->waiting, too, as do those of `up`: a TIT that comes
 * before the next check point raises them itself. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_Release(
    _PyInterruptState *state, int reason, uintptr_t up);

/* For tests: ignore one of these from now on, in the whole process; -1: none.
 * Whatever it put back into the eval breaker is then forgotten. */
_PyInterruptCore_API(void) _PyInterruptCore_SuppressRelease(int reason);

/* Kinds of runtime regions. */
enum {
    _PyInterruptCore_REGION_SOFT = 0,
    _PyInterruptCore_REGION_HARD = 1,
    /* Waits for the work of others: softens the regions of `frame`, and those of
     * its callers that are leaving a `with`, no others. */
    _PyInterruptCore_REGION_WAITS = 2,
    /* `frame` and what is outside of it do not mask what it calls: a thread runs
     * what it was made for. */
    _PyInterruptCore_REGION_OPENS = 3,
};

/* A runtime region: C code is about to run Python code that the interpreter
 * itself masks -- a signal handler (softly), the cleanup of something that is
 * finalized (hard) -- or one of the other two kinds.  No scope opens it.
 * `frame` is the running frame (or NULL).  Returns what LeaveRuntimeRegion()
 * must be given.  Regions may end in any order: code that switches stacks can
 * do that. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_EnterRuntimeRegion(
    _PyInterruptState *state, const void *frame, int kind);

/* That region is left.  Returns as Release(). */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_LeaveRuntimeRegion(
    _PyInterruptState *state, uintptr_t region);

/* A guard: a runtime region that extension code enters, `hard` or soft.  What is forced
 * is raised in it, as in a scope that masks.  Returns the region, for
 * LeaveRuntimeRegion(), and stores a number that no other entry has. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_EnterGuard(
    _PyInterruptState *state, const void *frame, int hard, uintptr_t *number);

/* Is this region the guard with that number, entered in this thread and not left? */
_PyInterruptCore_API(int) _PyInterruptCore_IsGuard(
    const _PyInterruptState *state, uintptr_t region, uintptr_t number);


/* --- Scopes --------------------------------------------------------------- */

enum {
    _PyInterruptCore_MASK_SOFT = 0,
    _PyInterruptCore_MASK_HARD = 1,
    _PyInterruptCore_OPEN = 2,
    /* Opens for the interrupt of a timeout alone; `scope` is its exception. */
    _PyInterruptCore_TIMEOUT = 3,
};

/* Enter a scope.  `scope` says which object's it is, `carrier` is the innermost
 * running generator, NULL if none runs; `walk` stands at the frame that enters.
 * Returns 0, or -1 if there is no memory. */
_PyInterruptCore_API(int) _PyInterruptCore_EnterScope(
    _PyInterruptState *state, _PyInterruptCarried *carried,
    const void *scope, int kind, const void *carrier,
    const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);

/* Leave the scope that this very frame has entered last with this object and a
 * `with`; or else the one that was entered last by a call; or, unless the object
 * is `shared` by all, by a `with` of another frame.  `carrier` is as for
 * EnterScope().  Returns 0, or -1 if there is none that this stack or a running
 * generator carries; nothing has changed then. */
_PyInterruptCore_API(int) _PyInterruptCore_LeaveScope(
    _PyInterruptState *state, _PyInterruptCarried *carried,
    const void *scope, int shared, const void *carrier,
    const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);

/* Does any generator carry a scope of this object, running or not? */
_PyInterruptCore_API(int) _PyInterruptCore_IsCarried(
    const _PyInterruptCarried *carried, const void *scope);

/* A number below those of all scopes that are entered from now on. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_Mark(void);

/* `walk` stands at a frame that gives scopes to its caller: with `from`, all those
 * that this (suspended) generator carries; otherwise those that were entered
 * after `mark`, by whomever; if that is UINTPTR_MAX, those it has entered
 * itself.  `carrier` is as for EnterScope().
 * Returns how many, or -1 if there is no memory. */
_PyInterruptCore_API(int) _PyInterruptCore_HandOver(
    _PyInterruptState *state, _PyInterruptCarried *carried,
    const void *from, uintptr_t mark, const void *carrier,
    const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);

/* A generator has ended, or is gone.  What it carried goes to `to`, the
 * generator that awaits it or yields from it, at whose frame `walk` stands; or,
 * if that is NULL, is dropped. */
_PyInterruptCore_API(void) _PyInterruptCore_CarrierEnds(
    _PyInterruptState *state, _PyInterruptCarried *carried,
    const void *carrier, const void *to,
    const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);

/* `frame` is now at `level`, without a TIT that said so: it was unwound (level
 * 0), catches an exception, or was moved by a debugger. */
_PyInterruptCore_API(void) _PyInterruptCore_SetFloor(
    _PyInterruptState *state, _PyInterruptCarried *carried,
    const void *frame, int level);

/* Forget the scopes of this stack: a worker before its next job, and a stack that
 * begins where another has died. */
_PyInterruptCore_API(void) _PyInterruptCore_DropScopes(
    _PyInterruptState *state, const void *stack);

/* Code that `frame` calls from now on is not masked by what called `frame`, nor
 * by `frame`, nor by any scope: a forked child that never returns there. */
_PyInterruptCore_API(void) _PyInterruptCore_StartAfresh(
    _PyInterruptState *state, const void *frame);

/* The interpreter ends. */
_PyInterruptCore_API(void) _PyInterruptCore_DropCarried(
    _PyInterruptCarried *carried);


/* --- Timeouts -------------------------------------------------------------
 *
 * A timeout is known by the exception that it raises, in a scope of that name.
 * What is raised is decided by what was entered inside of that scope.
 */

/* The thread has entered a timeout, that is over after so many microseconds.
 * Returns 1: the reference is kept, until LeaveTimeout() or Clear().  0: there is
 * no timer, -1: no memory. */
_PyInterruptCore_API(int) _PyInterruptCore_EnterTimeout(
    _PyInterruptState *state, void *exc, uint64_t microseconds);

/* It is left.  Returns 1 if it was raised, 0 if not, and the reference goes to the
 * caller; -1 if it was not entered in this thread. */
_PyInterruptCore_API(int) _PyInterruptCore_LeaveTimeout(
    _PyInterruptState *state, void *exc);

/* Look at the clock, and set the alarm to what comes next.  Returns whether a
 * timeout is due.  One that is, and that nobody is in any more, is left, and its
 * reference stored in `gone`. */
_PyInterruptCore_API(int) _PyInterruptCore_LookAtTimeouts(
    _PyInterruptState *state, const _PyInterruptCarried *carried,
    const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step, void **gone);

/* If a timeout that is due may be raised at this `place`, return 1 and store its
 * exception, borrowed; the outermost one, which also stands for those inside of it.
 * Otherwise those that are due wait, as for
 * MustWait(): return 0, with their `bits` in `state->waiting`; or 2 if the next
 * check point has to ask again. */
_PyInterruptCore_API(int) _PyInterruptCore_TakeTimeout(
    _PyInterruptState *state, const _PyInterruptCarried *carried,
    uintptr_t bits, int place, const _PyInterruptWalk *walk,
    _PyInterruptCore_StepFunc step, void **exc);

/* Would it?  Changes nothing. */
_PyInterruptCore_API(int) _PyInterruptCore_MayRaiseTimeout(
    const _PyInterruptState *state, const _PyInterruptCarried *carried,
    int place, const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);

/* Is a timeout due? */
_PyInterruptCore_API(int) _PyInterruptCore_AnyTimeoutDue(
    const _PyInterruptState *state);

/* The same after a look at the clock. */
_PyInterruptCore_API(int) _PyInterruptCore_IsTimeoutOver(
    _PyInterruptState *state);

/* What waits must wait no more: return the exception of the outermost timeout that is
 * due in what runs here, borrowed, or NULL if none is. */
_PyInterruptCore_API(void *) _PyInterruptCore_ForceTimeout(
    _PyInterruptState *state, const _PyInterruptCarried *carried,
    const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);

/* In the child of a fork deadlines hold. */
_PyInterruptCore_API(void) _PyInterruptCore_TimeoutsAfterFork(
    _PyInterruptState *state);


/* --- What waits ----------------------------------------------------------- */

/* Append an exception of type `type`, raised by a signal handler, to the queue
 * of those that wait.
 *
 * `plain` says that it carries nothing but its type: two waiting plain
 * exceptions of one type are one interrupt.
 * Returns 1: queued, the queue owns the reference.  0: merged with an equal
 * one, -1: no memory; in both cases the reference stays with the caller. */
_PyInterruptCore_API(int) _PyInterruptCore_Push(
    _PyInterruptState *state, void *exc, const void *type, int plain);

/* Take the oldest exception of a signal handler; NULL if there is none.  With
 * `joining`, the type of the one taken before, only if it is of that type:
 * then both are raised together. */
_PyInterruptCore_API(void *) _PyInterruptCore_Pop(
    _PyInterruptState *state, const void *joining);

/* How many exceptions of signal handlers are in the queue. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_Count(
    const _PyInterruptState *state);

/* How an exception was sent. */
enum {
    _PyInterruptCore_INSTANCE = 0,
    /* A class without data: equal to the same class that waits already. */
    _PyInterruptCore_CLASS = 1,
    /* Takes the place of the last one sent so; NULL only withdraws that.  May be
     * a class, too. */
    _PyInterruptCore_REPLACING = 2,
    /* Raised whatever masks, before the others. */
    _PyInterruptCore_FORCED = 3,
};

/* Send an exception (or class) to the thread that `state` belongs to.  Any
 * thread may call this as long as the state exists.  Afterwards the caller sets
 * the thread's eval-breaker bit.  Returns 1: sent, the reference belongs to the
 * target.  0: the target has ended, -1: no memory; the reference stays. */
_PyInterruptCore_API(int) _PyInterruptCore_Send(
    _PyInterruptState *state, void *exc, int how);

/* Collect what was sent since the last time, after the eval-breaker bit has
 * been taken down.  References that are not kept (merged, replaced) are given
 * to `drop`, when the state is consistent again. */
_PyInterruptCore_API(void) _PyInterruptCore_Collect(
    _PyInterruptState *state, void (*drop)(void *exc));

/* The same for a thread that stands still, called by another one which knows that
 * nothing of it runs, so that equal ones do not add up while it is blocked.  Does
 * nothing if something else than classes was sent. */
_PyInterruptCore_API(void) _PyInterruptCore_CollectClasses(
    _PyInterruptState *state, void (*drop)(void *exc));

/* What has been collected must wait for a mask: it will be raised together. */
_PyInterruptCore_API(void) _PyInterruptCore_HoldBack(_PyInterruptState *state);

/* Take the oldest of the collected exceptions, NULL if there is none.  With
 * `joining`, only if it is raised together with the one taken before.  Equal
 * classes are one: stores how many more references to it come with it. */
_PyInterruptCore_API(void *) _PyInterruptCore_PopSent(
    _PyInterruptState *state, int joining, uintptr_t *equal);

/* How many exceptions were sent and not raised yet, collected or not.  Not
 * collected ones count as one. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_CountSent(
    const _PyInterruptState *state);

/* Is one of them forced? */
_PyInterruptCore_API(int) _PyInterruptCore_AnyForced(
    const _PyInterruptState *state);

/* The thread ends: give everything back.  `drop` is called for each exception
 * that waits, in order, after the state has been reset; nothing can be sent to
 * it any more.  No handler may be running. */
_PyInterruptCore_API(void) _PyInterruptCore_Clear(
    _PyInterruptState *state, void (*drop)(void *exc));

/* In the child of a fork nothing waits, but scopes and runtime regions remain.
 * `drop` as for Clear(). */
_PyInterruptCore_API(void) _PyInterruptCore_DropWaiting(
    _PyInterruptState *state, void (*drop)(void *exc));


/* --- Kicks ----------------------------------------------------------------
 *
 * A thread that is blocked in a system call, with something to raise, is brought
 * out of it by a signal that comes again until the thread is back.  What is safe
 * to call in a signal handler says so; all keep errno.
 */

/* An interpreter is initialized: the kick signal and the limits are as by default,
 * whatever an earlier one in this process has chosen. */
_PyInterruptCore_API(void) _PyInterruptCore_SetDefaults(void);

/* Use this signal from now on (by default SIGURG); 0: none.  Returns -1 if that is
 * not possible. */
_PyInterruptCore_API(int) _PyInterruptCore_SetKickSignal(int signum);

/* The signal, or 0: nobody can be woken here. */
_PyInterruptCore_API(int) _PyInterruptCore_KickSignal(void);

/* Make sure that the signal comes to the core, whoever had it before; what is not a
 * kick is passed on to them.  Returns -1 if that is not possible.
 *
 * `is_blocked` is asked in the signal handler, in the thread that has this record,
 * whether it is blocked, with something to look at.  `on_alarm` is called there when something has waited for
 * long: to tell the user that what `signum` has raised waits, or if that is 0 to set
 * the eval breaker; it returns whether it has, or -1 if the thread runs another
 * interpreter.  Call with the lock that keeps thread states alive, as the next three. */
_PyInterruptCore_API(int) _PyInterruptCore_InstallKick(
    int (*is_blocked)(const void *kick),
    int (*on_alarm)(const void *kick, int signum));

/* Give it back to whoever had it before. */
_PyInterruptCore_API(void) _PyInterruptCore_UninstallKick(void);

/* From now on the thread of this state can be woken; `native_id` is the system's
 * number of it.  Does nothing if it can be already.  Returns -1 if there is no
 * memory. */
_PyInterruptCore_API(int) _PyInterruptCore_AddKick(
    _PyInterruptState *state, int native_id);

/* No more. */
_PyInterruptCore_API(void) _PyInterruptCore_DropKick(_PyInterruptState *state);

/* This is the only thread of a forked child, and has a new number. */
_PyInterruptCore_API(void) _PyInterruptCore_KickAfterFork(
    _PyInterruptState *state, int native_id);

/* The thread with this number, which asks, goes on with the state of another one.  Call
 * with the lock. */
_PyInterruptCore_API(void) _PyInterruptCore_MoveKick(
    _PyInterruptState *state, int native_id);

/* Any thread: wake the thread of this state, which is blocked. */
_PyInterruptCore_API(void) _PyInterruptCore_Wake(const _PyInterruptState *state);

/* Any thread, in a signal handler, too: wake the thread of this state if it is
 * blocked, which it is asked itself. */
_PyInterruptCore_API(void) _PyInterruptCore_AskBlocked(
    const _PyInterruptState *state);

/* The thread itself, in a signal handler, too: it is about to block, and has
 * something to look at. */
_PyInterruptCore_API(void) _PyInterruptCore_Blocks(const _PyInterruptState *state);

/* The thread itself, in the handler of a signal that it has to look at: it is blocked. */
_PyInterruptCore_API(void) _PyInterruptCore_Signalled(
    const _PyInterruptState *state);

/* The thread itself is back from what blocked it, or has looked.  Returns whether it has
 * to look: an alarm was due while it ran another interpreter. */
_PyInterruptCore_API(int) _PyInterruptCore_Runs(const _PyInterruptState *state);

/* How many kicks have arrived in this process. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_Kicks(void);

/* How many thread states have what they are woken with (AddKick()). */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_KickRecords(void);


/* --- Flags ----------------------------------------------------------------
 *
 * What C code can read without a call (src/flag.rs).  A flag is in the record by which
 * its thread is woken, and stays readable when that thread has ended.
 */

/* A bit of the eval breaker has been set that check points raise something for.  Any
 * thread, in a signal handler, too. */
_PyInterruptCore_API(void) _PyInterruptCore_RaiseFlag(
    const _PyInterruptState *state);

/* The thread itself, before it reads those bits.  Returns whether it was up. */
_PyInterruptCore_API(int) _PyInterruptCore_TakeFlag(
    const _PyInterruptState *state);

/* Where the flag is, after AddKick(); NULL before. */
_PyInterruptCore_API(const uint32_t *) _PyInterruptCore_Flag(
    const _PyInterruptState *state);

/* Where it is counted how often RaiseFlag() was called, for any thread; it wraps. */
_PyInterruptCore_API(const uint32_t *) _PyInterruptCore_FlagCount(void);


/* --- What waits for too long ----------------------------------------------
 *
 * The user is told, and what is pressed again is forced (src/force.rs).
 */

/* Change limits, of the process; `text` is as in -X interrupt_limits.  Returns -1 if
 * it is wrong; nothing has changed then. */
_PyInterruptCore_API(int) _PyInterruptCore_SetLimits(const char *text);

/* Store all of them, _PyInterruptCore_NLIMITS values. */
_PyInterruptCore_API(void) _PyInterruptCore_GetLimits(uint32_t *values);

/* Which is which.  Times are in milliseconds. */
enum {
    /* When the user is told: 0 never, 1 on a terminal, 2 always. */
    _PyInterruptCore_NOTICE = 0,
    _PyInterruptCore_NOTICE_AFTER,
    _PyInterruptCore_PRESSES,
    _PyInterruptCore_PRESS_GAP,
    _PyInterruptCore_DEAD_TIME,
    _PyInterruptCore_FORCE,
    _PyInterruptCore_LIMIT,
    _PyInterruptCore_NLIMITS
};

/* The handler of a signal has raised something that has to wait.  Returns 1 if it
 * is raised all the same, which only `may_force` allows. */
_PyInterruptCore_API(int) _PyInterruptCore_SignalWaits(
    _PyInterruptState *state, int signum, int may_force);

/* What was sent has to wait. */
_PyInterruptCore_API(void) _PyInterruptCore_SentWaits(_PyInterruptState *state);

/* Something has been raised: perhaps nothing waits any more. */
_PyInterruptCore_API(void) _PyInterruptCore_HasRaised(_PyInterruptState *state);

/* The same after something was withdrawn. */
_PyInterruptCore_API(void) _PyInterruptCore_Fewer(_PyInterruptState *state);

/* Has something waited for so long that it is raised whatever masks? */
_PyInterruptCore_API(int) _PyInterruptCore_IsOverdue(
    const _PyInterruptState *state);

/* Does the cleanup of something that is finalized run?  Nothing is raised there, even
 * if it is forced. */
_PyInterruptCore_API(int) _PyInterruptCore_IsFinalizing(
    const _PyInterruptState *state,
    const _PyInterruptWalk *walk, _PyInterruptCore_StepFunc step);


/* --- The sweep, a tool for tests ------------------------------------------ */

enum {
    _PyInterruptCore_IN_EVAL_LOOP = 0,
    _PyInterruptCore_IN_CHECK_SIGNALS = 1,
};

/* From now on count the checks of this kind in this thread, and let `exc`
 * arrive at the n-th (1 is the first).  The state owns the reference. */
_PyInterruptCore_API(void) _PyInterruptCore_SweepStart(
    _PyInterruptState *state, uintptr_t n, int where, void *exc);

/* Is the exception of a sweep still to arrive?  Then the eval breaker's bit must
 * stay up. */
_PyInterruptCore_API(int) _PyInterruptCore_Sweeping(
    const _PyInterruptState *state);

/* A check of this kind.  Returns the exception if it arrives here, with its
 * reference, otherwise NULL. */
_PyInterruptCore_API(void *) _PyInterruptCore_SweepCheck(
    _PyInterruptState *state, int where);

/* End it.  Returns how many checks were counted; stores the exception if it has
 * not arrived, otherwise NULL. */
_PyInterruptCore_API(uintptr_t) _PyInterruptCore_SweepStop(
    _PyInterruptState *state, void **exc);

#ifdef __cplusplus
}
#endif
#endif /* !Py_INTERNAL_INTERRUPT_CORE_H */
