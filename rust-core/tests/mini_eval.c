/* A miniature of the eval loop, as far as interrupts are concerned: frames with
   a level byte, generators, signal handlers, one eval-breaker word, NIT and TIT.

   It uses the header the way Python/interrupts.c, the opcodes and the eval loop
   do, so that the tests drive the C fast path and the decisions in Rust
   together.  tests/mini/c.rs mirrors the structs. */

#include <stddef.h>
#include "interrupt_core.h"

/* Event bits of the eval breaker. */
#define SIGNALS_BIT ((uintptr_t)1 << 0)    /* a C signal handler has run */
#define PENDING_BIT ((uintptr_t)1 << 1)    /* what Python handlers raised */
#define ASYNC_BIT   ((uintptr_t)1 << 2)    /* what other threads have sent */

#define MINI_LIST 64

/* What a mutant leaves out.  mini/c.rs has the same list. */
enum {
    NOTHING_LEFT_OUT,
    REGION_NIT,
    HANDLER_NIT,
    TIT_STORE,
    TIT_ASKS,
    TIT_FLOOR,
    SUSPENDING_TIT,
    SUSPENDING_ASKS,
    CATCH_FLOOR,
    UNWIND_FLOOR,
    FRAME_LEVEL,
    TAKE_DOWN,
    LEAVE_UP,
    HOLD_BACK,
    CARRIER_ENDS,
    SCOPE_UP,
    SOMETHING_IN_THE_CORE,
};

struct mini_frame {
    struct mini_frame *previous;
    const void *carrier;      /* the generator whose frame it is, or NULL */
    uint8_t level;
};

struct mini_list {
    size_t count;
    void *items[MINI_LIST];
};

struct mini_thread {
    _PyInterruptState interrupts;
    uintptr_t eval_breaker;
    _PyInterruptCarried *carried;
    struct mini_frame *current;
    int is_tripped;
    int left_out;
    struct mini_list raised;  /* by the last check, together */
    struct mini_list dropped; /* references that the core gave back */
};

/* What a check point comes to. */
enum {
    QUIET = 0,
    RAISED = 1,
    HANDLER_STARTS = 2,
    /* Only of TIT: it was a check point. */
    ASKED = 4,
};

static void
append(struct mini_list *list, void *item)
{
    assert(list->count < MINI_LIST);
    list->items[list->count++] = item;
}

/* A _PyInterruptCore_StepFunc. */
static int
step_out(_PyInterruptWalk *walk, _PyInterruptStep *step)
{
    const struct mini_frame *f = walk->frame;
    if (f == NULL) {
        return 0;
    }
    step->frame = f;
    step->carrier = f->carrier;
    step->level = f->level;
    walk->frame = f->previous;
    return 1;
}

static _PyInterruptWalk
walk_of(const struct mini_thread *t)
{
    return (_PyInterruptWalk){.frame = t->current, .stack = t};
}

static const void *
innermost_generator(const struct mini_frame *f)
{
    while (f != NULL && f->carrier == NULL) {
        f = f->previous;
    }
    return f == NULL ? NULL : f->carrier;
}

/* The core has no argument to tell whose references it drops. */
static _Thread_local struct mini_list *dropping;

static void
drop(void *exc)
{
    append(dropping, exc);
}


/* --- The gate --- */

static int
must_wait(struct mini_thread *t, uintptr_t bits, int place)
{
    _PyInterruptWalk walk = walk_of(t);
    switch (_PyInterruptCore_MustWait(&t->interrupts, t->carried, bits, place,
                                      &walk, step_out)) {
        case _PyInterruptCore_RAISE:
            return 0;
        case _PyInterruptCore_WAIT:
            if (t->left_out == TAKE_DOWN) {
                t->eval_breaker |= bits;
            }
            return 1;
        default:
            if (t->left_out != LEAVE_UP) {
                t->eval_breaker |= bits;
            }
            return 1;
    }
}

static int
take_down(struct mini_thread *t, uintptr_t bit)
{
    int up = (t->eval_breaker & bit) != 0;
    t->eval_breaker &= ~bit;
    return up;
}

static int
deliver_raised(struct mini_thread *t, int place)
{
    _PyInterruptState *state = &t->interrupts;
    /* What a soft region holds back it does not hold back from a blocked call. */
    if (!take_down(t, PENDING_BIT)
        && !(place == _PyInterruptCore_BLOCKED
             && _PyInterruptState_Waits(state)))
    {
        return QUIET;
    }
    if (_PyInterruptCore_Count(state) == 0
        || must_wait(t, PENDING_BIT, place))
    {
        return QUIET;
    }
    void *exc = _PyInterruptCore_Pop(state, NULL);
    do {
        append(&t->raised, exc);
        exc = _PyInterruptCore_Pop(state, *(void **)exc);
    } while (exc != NULL);
    if (_PyInterruptCore_Count(state) != 0) {
        t->eval_breaker |= PENDING_BIT;
    }
    return RAISED;
}

static int
deliver_sent(struct mini_thread *t)
{
    _PyInterruptState *state = &t->interrupts;
    if (!take_down(t, ASYNC_BIT)) {
        return QUIET;
    }
    dropping = &t->dropped;
    _PyInterruptCore_Collect(state, drop);
    if (_PyInterruptCore_CountSent(state) == 0) {
        return QUIET;
    }
    if (must_wait(t, ASYNC_BIT, _PyInterruptCore_RUNNING)) {
        if (t->left_out != HOLD_BACK) {
            _PyInterruptCore_HoldBack(state);
        }
        return QUIET;
    }
    uintptr_t equal = 0;
    void *exc = _PyInterruptCore_PopSent(state, 0, &equal);
    do {
        append(&t->raised, exc);
        assert(equal == 0);  /* a class is never sent in both ways */
        exc = _PyInterruptCore_PopSent(state, 1, &equal);
    } while (exc != NULL);
    if (_PyInterruptCore_CountSent(state) != 0) {
        t->eval_breaker |= ASYNC_BIT;
    }
    return RAISED;
}

/* A blocked call is broken by what signal handlers raise; what other threads send
   is looked at where code runs. */
static int
deliver(struct mini_thread *t, int place)
{
    t->raised.count = 0;
    int result = deliver_raised(t, place);
    if (result != QUIET || place != _PyInterruptCore_RUNNING) {
        return result;
    }
    return deliver_sent(t);
}

/* A check point, or a blocked call that was broken.  If a signal handler starts,
   the rest follows when it has ended. */
int
mini_check(struct mini_thread *t, int place)
{
    t->raised.count = 0;
    if (take_down(t, SIGNALS_BIT) && t->is_tripped) {
        t->is_tripped = 0;
        return HANDLER_STARTS;
    }
    return deliver(t, place);
}

int
mini_is_masked(const struct mini_thread *t)
{
    _PyInterruptWalk walk = walk_of(t);
    return _PyInterruptCore_IsMasked(&t->interrupts, t->carried,
                                     _PyInterruptCore_RUNNING, &walk,
                                     step_out);
}

static void
set_floor(struct mini_thread *t, int level, int left_out)
{
    if ((t->interrupts.waiting & _PyInterruptState_LOWERS)
        && t->left_out != left_out)
    {
        _PyInterruptCore_SetFloor(&t->interrupts, t->carried, t->current,
                                  level);
    }
}

static void
release(struct mini_thread *t, int reason)
{
    if (_PyInterruptState_Waits(&t->interrupts)) {
        t->eval_breaker |= _PyInterruptCore_Release(&t->interrupts, reason, 0);
    }
}

/* Other scopes count than before.  TIT has to look at what every check point has
   asked about so far, so the core is told of all that there is. */
static void
scopes_changed(struct mini_thread *t, int reason)
{
    _PyInterruptState *state = &t->interrupts;
    uintptr_t up = 0;
    if (_PyInterruptCore_Count(state) != 0) {
        up |= PENDING_BIT;
    }
    if (_PyInterruptCore_CountSent(state) != 0) {
        up |= ASYNC_BIT;
    }
    if (t->left_out == SCOPE_UP) {
        up = 0;
    }
    if (up != 0 || _PyInterruptState_Waits(state)) {
        t->eval_breaker |= _PyInterruptCore_Release(state, reason, up);
    }
}


/* --- Levels --- */

int
mini_level_inside(int level, int hard)
{
    return _PyInterruptLevel_Enter(level, hard);
}

void
mini_nit(struct mini_thread *t, int level)
{
    if (t->left_out != REGION_NIT) {
        t->current->level = (uint8_t)_PyInterruptLevel_InForce(level);
    }
}

int
mini_tit(struct mini_thread *t, int level)
{
    int suspending = (level & _PyInterruptLevel_SUSPENDING) != 0;
    if (suspending && t->left_out == SUSPENDING_TIT) {
        return QUIET;
    }
    if (t->left_out != TIT_STORE) {
        t->current->level = (uint8_t)level;
    }
    if (!_PyInterruptState_Waits(&t->interrupts)) {
        return QUIET;
    }
    set_floor(t, level, TIT_FLOOR);
    if (t->left_out == (suspending ? SUSPENDING_ASKS : TIT_ASKS)) {
        return QUIET;
    }
    uintptr_t bits = _PyInterruptCore_Leave(&t->interrupts, t->current);
    t->eval_breaker |= bits;
    if (bits == 0) {
        return QUIET;
    }
    if (suspending) {
        /* A TIT may come before the next check point. */
        t->eval_breaker |= _PyInterruptCore_Release(&t->interrupts,
                                                    _PyInterruptCore_LEAVE,
                                                    bits);
        return QUIET;
    }
    return ASKED | mini_check(t, _PyInterruptCore_RUNNING);
}


/* --- Frames and exceptions --- */

/* The memory of a frame was that of others before. */
void
mini_call(struct mini_thread *t, struct mini_frame *frame)
{
    frame->previous = t->current;
    if (t->left_out != FRAME_LEVEL) {
        frame->level = _PyInterruptLevel_OPEN;
    }
    t->current = frame;
}

void
mini_return(struct mini_thread *t)
{
    assert((t->current->level & _PyInterruptLevel_DEPTH_MASK) == 0
           || t->left_out != NOTHING_LEFT_OUT);
    t->current = t->current->previous;
}

/* A trace function or monitor, called by the running frame and masked softly:
   nothing in it but one check point. */
static int
call_tool(struct mini_thread *t)
{
    uintptr_t region = _PyInterruptCore_EnterRuntimeRegion(
                            &t->interrupts, t->current,
                            _PyInterruptCore_REGION_SOFT);
    struct mini_frame frame = {t->current, NULL, _PyInterruptLevel_OPEN};
    t->current = &frame;
    int result = mini_check(t, _PyInterruptCore_RUNNING);
    t->current = frame.previous;
    t->eval_breaker |= _PyInterruptCore_LeaveRuntimeRegion(&t->interrupts,
                                                           region);
    return result;
}

/* An exception arrives at a handler whose level is this.  With `traced`, a tool
   is told before the handler's NIT. */
int
mini_catch(struct mini_thread *t, int level, int traced)
{
    set_floor(t, level, CATCH_FLOOR);
    release(t, _PyInterruptCore_CATCH);
    int result = traced ? call_tool(t) : QUIET;
    if (t->left_out != HANDLER_NIT) {
        t->current->level = (uint8_t)_PyInterruptLevel_InForce(level);
    }
    return result;
}

/* The running frame is unwound. */
void
mini_unwind(struct mini_thread *t)
{
    set_floor(t, _PyInterruptLevel_OPEN, UNWIND_FLOOR);
    release(t, _PyInterruptCore_UNWIND);
    t->current = t->current->previous;
}


/* --- Generators --- */

/* A suspended generator's frame runs again. */
void
mini_resume(struct mini_thread *t, struct mini_frame *frame)
{
    frame->previous = t->current;
    t->current = frame;
}

/* The running generator yields.  Its compiler has put a TIT before that if the
   level is not 0.  With `traced`, a tool is told in between. */
int
mini_yield(struct mini_thread *t, int traced)
{
    if (t->current->level != _PyInterruptLevel_OPEN) {
        mini_tit(t, t->current->level | _PyInterruptLevel_SUSPENDING);
    }
    int result = traced ? call_tool(t) : QUIET;
    t->current = t->current->previous;
    return result;
}

/* throw() or close() was passed on to what this generator waits for.  That has
   ended, or is suspended again: so is this one, without having run. */
void
mini_passed_on(struct mini_thread *t)
{
    t->current = t->current->previous;
    release(t, _PyInterruptCore_THROW);
}

/* A generator's frame has gone, after return or unwinding.  `awaited`: the running
   frame is that of a generator that waits for what it has returned. */
void
mini_generator_ends(struct mini_thread *t, const void *carrier, int awaited)
{
    if (t->left_out != CARRIER_ENDS) {
        _PyInterruptWalk walk = walk_of(t);
        _PyInterruptCore_CarrierEnds(&t->interrupts, t->carried, carrier,
                                     awaited ? t->current->carrier : NULL,
                                     &walk, step_out);
        scopes_changed(t, _PyInterruptCore_SCOPE_EXIT);
    }
}

/* A suspended generator is deallocated. */
void
mini_generator_goes(struct mini_thread *t, const void *carrier)
{
    _PyInterruptWalk walk = walk_of(t);
    _PyInterruptCore_CarrierEnds(&t->interrupts, t->carried, carrier, NULL,
                                 &walk, step_out);
}


/* --- Interrupts --- */

/* A C signal handler. */
void
mini_signal(struct mini_thread *t)
{
    t->is_tripped = 1;
    t->eval_breaker |= SIGNALS_BIT;
}

uintptr_t
mini_enter_handler(struct mini_thread *t)
{
    return _PyInterruptCore_EnterRuntimeRegion(&t->interrupts, t->current, 0);
}

/* The Python handler that a check point at this place started has ended, and has
   raised `exc` or NULL.  The rest of the check point follows. */
int
mini_leave_handler(struct mini_thread *t, uintptr_t handler, void *exc,
                   int plain, int place)
{
    _PyInterruptState *state = &t->interrupts;
    t->raised.count = 0;
    t->eval_breaker |= _PyInterruptCore_LeaveRuntimeRegion(state, handler);
    if (exc != NULL) {
        int wait = must_wait(t, PENDING_BIT, place);
        if (!wait && _PyInterruptCore_Count(state) == 0) {
            append(&t->raised, exc);
            return RAISED;
        }
        if (_PyInterruptCore_Push(state, exc, *(void **)exc, plain) != 1) {
            append(&t->dropped, exc);
        }
        if (!wait) {
            t->eval_breaker |= PENDING_BIT;
        }
    }
    return deliver(t, place);
}

/* What another thread does. */
void
mini_send(struct mini_thread *t, void *exc, int how)
{
    if (_PyInterruptCore_Send(&t->interrupts, exc, how) == 1) {
        t->eval_breaker |= ASYNC_BIT;
    }
}


/* --- Scopes --- */

int
mini_enter_scope(struct mini_thread *t, const void *scope, int kind)
{
    _PyInterruptWalk walk = walk_of(t);
    int err = _PyInterruptCore_EnterScope(&t->interrupts, t->carried, scope,
                                          kind, innermost_generator(t->current),
                                          &walk, step_out);
    if (kind == _PyInterruptCore_OPEN) {
        scopes_changed(t, _PyInterruptCore_SCOPE_ENTER);
    }
    return err;
}

int
mini_leave_scope(struct mini_thread *t, const void *scope, int shared)
{
    _PyInterruptWalk walk = walk_of(t);
    int err = _PyInterruptCore_LeaveScope(&t->interrupts, t->carried, scope,
                                          shared,
                                          innermost_generator(t->current),
                                          &walk, step_out);
    if (err == 0) {
        scopes_changed(t, _PyInterruptCore_SCOPE_EXIT);
    }
    return err;
}

/* `from` is a suspended generator, or NULL for what was entered since `mark`; with
   UINTPTR_MAX, for what the running frame entered. */
int
mini_hand_over(struct mini_thread *t, const void *from, uintptr_t mark)
{
    _PyInterruptWalk walk = walk_of(t);
    int count = _PyInterruptCore_HandOver(&t->interrupts, t->carried, from,
                                          mark,
                                          innermost_generator(t->current),
                                          &walk, step_out);
    if (count > 0) {
        scopes_changed(t, _PyInterruptCore_HAND_OVER);
    }
    return count;
}


/* A C function that enters something for its caller, masked as a `with` is, and
   then gives the caller what scopes were entered.  Stores a number below theirs. */
uintptr_t
mini_start_to_enter(struct mini_thread *t, uintptr_t *mark)
{
    *mark = _PyInterruptCore_Mark();
    return mini_enter_handler(t);
}

/* Returns how many, 0 if what it has called has raised an exception. */
int
mini_has_entered(struct mini_thread *t, uintptr_t handler, uintptr_t mark,
                 int raised)
{
    t->eval_breaker |= _PyInterruptCore_LeaveRuntimeRegion(&t->interrupts,
                                                           handler);
    return raised ? 0 : mini_hand_over(t, NULL, mark);
}


/* --- Where C puts things, for comparison with Rust --- */

const size_t mini_layout[] = {
    sizeof(_PyInterruptState),
    offsetof(_PyInterruptState, waiting),
    offsetof(_PyInterruptState, masker),
    offsetof(_PyInterruptState, thread),
    offsetof(_PyInterruptState, sent),
    offsetof(_PyInterruptState, kick),
    sizeof(_PyInterruptCarried),
    offsetof(_PyInterruptCarried, count),
    offsetof(_PyInterruptCarried, carriers),
    sizeof(_PyInterruptStep),
    offsetof(_PyInterruptStep, frame),
    offsetof(_PyInterruptStep, carrier),
    offsetof(_PyInterruptStep, level),
    offsetof(_PyInterruptStep, exiting),
    sizeof(_PyInterruptWalk),
    offsetof(_PyInterruptWalk, frame),
    offsetof(_PyInterruptWalk, generator),
    offsetof(_PyInterruptWalk, stack),
    offsetof(_PyInterruptWalk, asks_exiting),
    sizeof(struct mini_frame),
    offsetof(struct mini_frame, carrier),
    offsetof(struct mini_frame, level),
    sizeof(struct mini_thread),
    offsetof(struct mini_thread, eval_breaker),
    offsetof(struct mini_thread, raised),
    offsetof(struct mini_thread, dropped),
    /* Constants that Rust writes out. */
    _PyInterruptLevel_DEPTH_MASK,
    _PyInterruptLevel_HARD,
    _PyInterruptLevel_ENTERING,
    _PyInterruptLevel_SUSPENDING,
    _PyInterruptState_LOWERS,
};
