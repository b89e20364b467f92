/* A miniature of the eval loop, as far as interrupts are concerned: frames with
   a level byte, one eval-breaker word, NIT and TIT.  It uses the header the way
   Python/interrupts.c and the opcodes do, so that the tests drive the C fast
   path and the decisions in Rust together. */

#include <stddef.h>
#include "interrupt_core.h"

struct mini_frame {
    struct mini_frame *previous;
    uint8_t level;
};

struct mini_thread {
    _PyInterruptState interrupts;
    uintptr_t eval_breaker;
    uintptr_t pending;    /* what there is to raise, like the queue */
    struct mini_frame *current;
};

static const void *
caller_of(const void *frame, uint8_t *level)
{
    const struct mini_frame *f = frame;
    *level = f->level;
    return f->previous;
}

/* What the signal handler or another thread does. */
void
mini_arrive(struct mini_thread *t, uintptr_t bits)
{
    t->pending |= bits;
    t->eval_breaker |= bits;
}

/* A check point.  Returns what is raised here. */
uintptr_t
mini_check(struct mini_thread *t, int place)
{
    if (t->eval_breaker == 0
        && !(place == _PyInterruptCore_BLOCKED
             && _PyInterruptState_Waits(&t->interrupts)))
    {
        return 0;
    }
    uintptr_t bits = t->eval_breaker;
    t->eval_breaker = 0;
    if (_PyInterruptCore_MustWait(&t->interrupts, bits, place, t->current,
                                  caller_of)) {
        return 0;
    }
    uintptr_t raised = t->pending;
    t->pending = 0;
    return raised;
}

void
mini_nit(struct mini_thread *t, int level)
{
    t->current->level = (uint8_t)level;
}

/* Returns what is raised by TIT itself. */
uintptr_t
mini_tit(struct mini_thread *t, int level)
{
    t->current->level = (uint8_t)level;
    if (!_PyInterruptState_Waits(&t->interrupts)) {
        return 0;
    }
    uintptr_t bits = _PyInterruptCore_Leave(&t->interrupts, t->current);
    t->eval_breaker |= bits;
    if (bits == 0 || (level & _PyInterruptLevel_SUSPENDING)) {
        return 0;
    }
    return mini_check(t, _PyInterruptCore_RUNNING);
}

/* An exception arrives at a handler in the running frame. */
void
mini_catch(struct mini_thread *t, int level)
{
    if (_PyInterruptState_Waits(&t->interrupts)) {
        t->eval_breaker |= _PyInterruptCore_Release(&t->interrupts);
    }
    mini_nit(t, level);
}

/* The running frame is unwound. */
void
mini_unwind(struct mini_thread *t)
{
    if (_PyInterruptState_Waits(&t->interrupts)) {
        t->eval_breaker |= _PyInterruptCore_Release(&t->interrupts);
    }
    t->current = t->current->previous;
}

uintptr_t
mini_enter_handler(struct mini_thread *t)
{
    return _PyInterruptCore_EnterHandler(&t->interrupts, t->current);
}

void
mini_leave_handler(struct mini_thread *t, uintptr_t handler)
{
    t->eval_breaker |= _PyInterruptCore_LeaveHandler(&t->interrupts, handler);
}

int
mini_level_inside(int level, int hard)
{
    return _PyInterruptLevel_Enter(level, hard);
}

/* Where C puts things, for comparison with Rust. */
const size_t mini_layout[] = {
    sizeof(_PyInterruptState),
    offsetof(_PyInterruptState, waiting),
    offsetof(_PyInterruptState, masker),
    offsetof(_PyInterruptState, thread),
};
