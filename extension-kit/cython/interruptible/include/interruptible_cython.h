/* interruptible_cython.h: Cython's part of the kit, above interruptible.h.

   Checks without a region (interruptible_cy_check and ..._nogil) find what
   they need in a thread-local record, made at the thread's first check: nobody
   has to call anything first.  Checks in a team are for OpenMP (prange). */

#ifndef INTERRUPTIBLE_CYTHON_H
#define INTERRUPTIBLE_CYTHON_H

#include "interruptible.h"

#ifdef _OPENMP
#  include <omp.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- Masks of the package ------------------------------------------------

   On the fallback interruptible.masked() is counted in the package's module;
   the checks of every other module have to hear of it. */

#define INTERRUPTIBLE_CY_MASKS "interruptible._interruptible._masks"

typedef struct {
    uint32_t size;
    const volatile uint32_t *in_force;      /* in the process; 0: do not ask */
    int (*masked)(void);                    /* this thread's */
} interruptible_cy_masks;

static const volatile uint32_t interruptible_cy_zero = 0;
static int interruptible_cy_unmasked(void) { return 0; }
static const interruptible_cy_masks interruptible_cy_no_masks = {
    sizeof(interruptible_cy_masks), &interruptible_cy_zero,
    interruptible_cy_unmasked
};

IPRIV_SHARED const interruptible_cy_masks *interruptible_cy_the_masks =
    &interruptible_cy_no_masks;
IPRIV_SHARED int interruptible_cy_is_ready;

/* Imports what there is, once.  GIL held.  0, or -1 with an exception.  Not
   IPRIV_SLOW: every begin calls it, and the loops after that are not cold. */
IPRIV_NOINLINE int
interruptible_cy_ready(void)
{
    if (interruptible_cy_is_ready) {
        return 0;
    }
    if (interruptible_backend() == NULL && interruptible_import(0) < 0) {
        return -1;
    }
#ifndef INTERRUPTIBLE_CY_IS_PACKAGE
    if (interruptible_table() == NULL) {
        /* The package need not be there at run time; then nobody masks. */
        PyObject *module = PyImport_ImportModule("interruptible._interruptible");
        PyObject *capsule = NULL;
        if (module != NULL) {
            capsule = PyObject_GetAttrString(module, "_masks");
            Py_DECREF(module);
        }
        if (capsule == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_ImportError)
                && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
                return -1;
            }
            PyErr_Clear();
        }
        else {
            const interruptible_cy_masks *found =
                (const interruptible_cy_masks *)PyCapsule_GetPointer(
                    capsule, INTERRUPTIBLE_CY_MASKS);
            Py_DECREF(capsule);
            if (found == NULL) {
                return -1;
            }
            if (found->size >= sizeof(*found)) {
                interruptible_cy_the_masks = found;
            }
        }
    }
#endif
    interruptible_cy_is_ready = 1;
    return 0;
}

/* On the fallback: is this thread in a masked() of the package?  (The header
   itself looks at the masks of this module.) */
IPRIV_FUNCTION int
interruptible_cy_masked(void)
{
    const interruptible_cy_masks *masks = interruptible_cy_the_masks;
    return IPRIV_UNLIKELY(*masks->in_force != 0) && masks->masked();
}

#define INTERRUPTIBLE_CY_REQUIRE_NATIVE() interruptible_import(1)

static inline interruptible_token
interruptible_cy_new_token(void)
{
    interruptible_token token = INTERRUPTIBLE_TOKEN_INIT;
    return token;
}

IPRIV_FUNCTION int
interruptible_cy_mask(interruptible_token *token)
{
    return interruptible_cy_ready() < 0 ? -1 : interruptible_mask(token);
}

IPRIV_FUNCTION int
interruptible_cy_mask_soft(interruptible_token *token)
{
    return interruptible_cy_ready() < 0 ? -1 : interruptible_mask_soft(token);
}

/* --- Checks without a region -------------------------------------------- */

typedef struct {
    const volatile uint32_t *word;          /* not 0: something to do */
    uint32_t started;
    uint32_t budget;                        /* checks until the clock is read */
    uint32_t batch;
    uint64_t clock;
    uint64_t due;
    uint32_t hold;                          /* do not raise now */
    uint32_t owner;                         /* of team */
    interruptible_region *team;             /* works in it; or NULL */
} interruptible_cy_thread;

/* Until the thread's first check, and on the fallback, each check counts. */
static const volatile uint32_t interruptible_cy_one = 1;

IPRIV_SHARED IPRIV_THREAD_LOCAL interruptible_cy_thread interruptible_cy_here =
    {&interruptible_cy_one, 0, 0, 1, 0, 0, 0, 0, NULL};

/* The address, which a loop keeps: finding it takes longer than a check.  Not
   to be kept over a yield, after which the thread may be another. */
static inline interruptible_cy_thread *
interruptible_cy_find(void)
{
    interruptible_cy_thread *here = &interruptible_cy_here;
#if defined(__GNUC__)
    /* Otherwise the compiler takes it for a constant and finds it anew in each
       turn of the loop. */
    __asm__("" : "+r" (here));
#endif
    return here;
}

/* The thread's first check.  GIL held. */
IPRIV_SLOW int
interruptible_cy_start(interruptible_cy_thread *here)
{
    if (interruptible_cy_ready() < 0) {
        return -1;
    }
    const interruptible_capi *table = interruptible_table();
    if (table != NULL) {
        const volatile uint32_t *flag = table->flag();
        if (flag == NULL) {
            return -1;
        }
        here->budget = 0;
        here->word = flag;
    }
    else {
        here->clock = INTERRUPTIBLE_CLOCK_NS();
        here->due = here->clock + INTERRUPTIBLE_INTERVAL_NS;
    }
    here->started = 1;
    return 0;
}

/* As in a region: the clock is read about four times per interval. */
IPRIV_SLOW int
interruptible_cy_due(interruptible_cy_thread *here)
{
    const uint64_t target = INTERRUPTIBLE_INTERVAL_NS / 4;
    uint64_t now = INTERRUPTIBLE_CLOCK_NS();
    uint64_t passed = now - here->clock;
    here->clock = now;
    if (passed > target) {
        uint64_t fewer = (uint64_t)here->batch * target / passed;
        here->batch = fewer > 0 ? (uint32_t)fewer : 1;
    }
    else if (passed < target / 2 && here->batch < 128) {
        here->batch *= 2;
    }
    here->budget = here->batch;
    if (now < here->due) {
        return 0;
    }
    here->due = now + INTERRUPTIBLE_INTERVAL_NS;
    return 1;
}

/* A function must not say -1 without an exception.  The one that stopped the
   team is raised in the end, and not this. */
IPRIV_SLOW int
interruptible_cy_stopped(void)
{
    if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_KeyboardInterrupt, "the owner was interrupted");
    }
    return -1;
}

/* A function that was called in a team by another thread than the owner. */
IPRIV_SLOW int
interruptible_cy_in_worker(interruptible_cy_thread *here)
{
    here->budget = 64;
    /* Who holds the GIL must not wait for the owner, who needs it. */
    if (PyGILState_GetThisThreadState() == NULL || PyGILState_Check()
        || interruptible_check_worker(here->team) == 0) {
        return 0;
    }
    PyGILState_STATE gil = PyGILState_Ensure();
    int result = interruptible_cy_stopped();
    PyGILState_Release(gil);
    return result;
}

/* GIL held.  With an error set already that one stays and the answer is -1. */
IPRIV_SLOW int
interruptible_cy_ask(interruptible_cy_thread *here)
{
    if (PyErr_Occurred()) {
        return -1;
    }
    if (!here->started && interruptible_cy_start(here) < 0) {
        return -1;
    }
    const interruptible_capi *table = interruptible_table();
    if (here->team != NULL) {
        /* All of the team stop or none.  The fallback has waited long enough,
           as after EINTR. */
        int result = table != NULL ? interruptible_check(here->team)
                     : interruptible_cy_masked() ? 0
                     : interruptible_check_blocked(here->team);
        return result < 0 ? interruptible_cy_stopped() : 0;
    }
    if (table != NULL) {
        return table->check();
    }
    return ipriv_masks > 0 || interruptible_cy_masked()
           ? 0 : PyErr_CheckSignals();
}

/* Does it count, and is it not yet time to ask? */
IPRIV_FUNCTION int
interruptible_cy_early(interruptible_cy_thread *here)
{
    return here->started && here->word == &interruptible_cy_one
           && !interruptible_cy_due(here);
}

IPRIV_SLOW int
interruptible_cy_slow(interruptible_cy_thread *here)
{
    int saved_errno = errno;
    int result = 0;
    if (here->hold == 0 && !(here->team != NULL && !here->owner)
        && !interruptible_cy_early(here)) {
        result = interruptible_cy_ask(here);
    }
    errno = saved_errno;
    return result;
}

/* With or without the GIL. */
IPRIV_SLOW int
interruptible_cy_slow_nogil(interruptible_cy_thread *here)
{
    int saved_errno = errno;
    int result = 0;
    /* A thread that is not Python's has nobody to ask: it goes on, and its
       owner, if any, is asked in the checks of the team. */
    if (here->hold > 0) {
        return 0;
    }
    if (here->team != NULL && !here->owner) {
        result = interruptible_cy_in_worker(here);
    }
    else if (!interruptible_cy_early(here)
        && PyGILState_GetThisThreadState() != NULL)
    {
        PyGILState_STATE gil = PyGILState_Ensure();
        result = interruptible_cy_ask(here);
        PyGILState_Release(gil);
        if (here->word == &interruptible_cy_one) {
            /* Waiting for a busy GIL shall cost a tenth of the time. */
            uint64_t now = INTERRUPTIBLE_CLOCK_NS();
            uint64_t pause = (now - here->clock) * 9;
            if (pause > 10 * (uint64_t)INTERRUPTIBLE_INTERVAL_NS) {
                pause = 10 * (uint64_t)INTERRUPTIBLE_INTERVAL_NS;
            }
            if (pause > INTERRUPTIBLE_INTERVAL_NS) {
                here->due = now + pause;
            }
            here->clock = now;
        }
    }
    errno = saved_errno;
    return result;
}

/* Until the end of the C block, checks without a region do not raise: what is
   raised in a noexcept function or in cleanup would be lost, or do harm. */
IPRIV_FUNCTION interruptible_cy_thread *
interruptible_cy_hold(void)
{
    interruptible_cy_thread *here = interruptible_cy_find();
    here->hold++;
    return here;
}

IPRIV_FUNCTION void
interruptible_cy_let_go(interruptible_cy_thread **here)
{
    (*here)->hold--;
}

#if defined(__GNUC__)
#  define INTERRUPTIBLE_CY_HOLD \
        interruptible_cy_thread *interruptible_cy_held \
            __attribute__((cleanup(interruptible_cy_let_go), unused)) = \
            interruptible_cy_hold();
#else
#  define INTERRUPTIBLE_CY_HOLD
#endif

#define INTERRUPTIBLE_CY_CHECK(here, slow) \
    /* Relaxed: the slow path asks the interpreter, which orders. */ \
    if (IPRIV_UNLIKELY( \
            IPRIV_LOAD(IPRIV_FLAG((here)->word), IPRIV_RELAXED))) { \
        if ((here)->budget > 1) { \
            (here)->budget--; \
            return 0; \
        } \
        return slow(here); \
    } \
    return 0;

/* GIL held: 0, or -1 with an exception. */
static inline int
interruptible_cy_check_at(interruptible_cy_thread *here)
{
    INTERRUPTIBLE_CY_CHECK(here, interruptible_cy_slow)
}

/* With or without the GIL: 0, or -1 with an exception in this thread's state. */
static inline int
interruptible_cy_check_nogil_at(interruptible_cy_thread *here)
{
    INTERRUPTIBLE_CY_CHECK(here, interruptible_cy_slow_nogil)
}

static inline int
interruptible_cy_check(void)
{
    return interruptible_cy_check_at(interruptible_cy_find());
}

static inline int
interruptible_cy_check_nogil(void)
{
    return interruptible_cy_check_nogil_at(interruptible_cy_find());
}

/* --- Regions: the header's, that need no import and know masked() -------- */

IPRIV_FUNCTION int
interruptible_cy_begin(interruptible_region *r)
{
    /* On failure, too, the region can be closed, and its checks say stop. */
    int ready = interruptible_cy_ready();
    return interruptible_begin(r) < 0 || ready < 0 ? -1 : 0;
}

IPRIV_SLOW int
interruptible_cy_region_slow(interruptible_region *r)
{
    return interruptible_cy_masked() ? 0 : ipriv_check(r, 0);
}

IPRIV_SLOW int
interruptible_cy_region_slow_nogil(interruptible_region *r)
{
    return interruptible_cy_masked() ? 0 : ipriv_check_nogil(r);
}

/* As the header's: masked() is asked for only where something has come. */
static inline int
interruptible_cy_region_check(interruptible_region *r)
{
    return IPRIV_UNLIKELY(ipriv_is_slow(r)) ? interruptible_cy_region_slow(r) : 0;
}

static inline int
interruptible_cy_region_check_nogil(interruptible_region *r)
{
    return IPRIV_UNLIKELY(ipriv_is_slow(r))
           ? interruptible_cy_region_slow_nogil(r) : 0;
}

/* For a finally clause: whatever has happened, what is raised stays raised. */
IPRIV_FUNCTION void
interruptible_cy_close(interruptible_region *r)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (interruptible_end(r) < 0) {
        PyErr_Clear();
    }
    PyErr_Restore(type, value, traceback);
}

/* --- Teams: OpenMP's thread 0 is the owner ------------------------------- */

static inline int
interruptible_cy_thread_is_owner(void)
{
#ifdef _OPENMP
    return omp_get_thread_num() == 0;
#else
    return 1;
#endif
}

/* In a parallel construct, any of its threads, without the GIL. */
static inline int
interruptible_cy_team_region_check(interruptible_region *r, int owner)
{
    return owner ? interruptible_cy_region_check_nogil(r)
                 : interruptible_check_worker(r);
}

#define INTERRUPTIBLE_CY_TEAM_CHECK(r) \
    (interruptible_cy_team_region_check( \
        (r), interruptible_cy_thread_is_owner()) < 0)
#define INTERRUPTIBLE_CY_TEAM_LEAVE(r) \
    interruptible_cy_team_region_leave( \
        (r), interruptible_cy_thread_is_owner())

/* The last thing each thread does in the construct, before its barrier. */
IPRIV_SLOW void
interruptible_cy_team_region_leave(interruptible_region *r, int owner)
{
    if (!owner) {
        interruptible_team_worker_done(r);
        return;
    }
    uint32_t workers = 0;
#ifdef _OPENMP
    workers = (uint32_t)omp_get_num_threads() - 1;
#endif
    /* The header knows only the masks of this module. */
    unsigned int masked = interruptible_cy_masked() ? 1 : 0;
    ipriv_masks += masked;
    (void)interruptible_team_join(r, workers);
    ipriv_masks -= masked;
}

/* The same for code whose author did nothing: begins without the GIL, and does
   nothing if the thread is not Python's. */
typedef struct {
    interruptible_region region;
    int active;
} interruptible_cy_team;

/* What a thread was before it entered the team. */
typedef struct {
    int owner;
    int stopped;                            /* so the rest is skipped fast */
    interruptible_cy_thread before;
} interruptible_cy_member;

IPRIV_SLOW void
interruptible_cy_team_begin(interruptible_cy_team *team)
{
    interruptible_cy_thread *here = interruptible_cy_find();
    /* In a team already: prange does not start threads again, by default. */
    team->active = here->hold == 0 && here->team == NULL
                   && PyGILState_GetThisThreadState() != NULL;
    if (team->active) {
        PyGILState_STATE gil = PyGILState_Ensure();
        /* On failure the exception is set and all checks say stop. */
        if (interruptible_cy_begin(&team->region) == 0) {
            interruptible_team_begin(&team->region);
        }
        PyGILState_Release(gil);
    }
}

/* Functions called from here on check for the team. */
IPRIV_SLOW interruptible_cy_member
interruptible_cy_team_enter(interruptible_cy_team *team)
{
    interruptible_cy_thread *here = interruptible_cy_find();
    interruptible_cy_member member;
    member.owner = interruptible_cy_thread_is_owner();
    member.stopped = 0;
    member.before = *here;
    if (team->active && team->region.alive) {
        here->team = &team->region;
        here->owner = (uint32_t)member.owner;
        if (!member.owner) {
            here->word = &interruptible_cy_one;
            here->budget = 0;
        }
    }
    return member;
}

static inline int
interruptible_cy_team_check(interruptible_cy_team *team,
                            interruptible_cy_member *member)
{
    if (!team->active) {
        return 0;
    }
    if (IPRIV_UNLIKELY(member->stopped)) {
        return -1;
    }
    if (IPRIV_UNLIKELY(interruptible_cy_team_region_check(
            &team->region, member->owner) < 0)) {
        member->stopped = 1;
        return -1;
    }
    return 0;
}

IPRIV_SLOW void
interruptible_cy_team_leave(interruptible_cy_team *team,
                            const interruptible_cy_member *member)
{
    /* A region that did not begin has no lock to wait with. */
    if (team->active && team->region.alive) {
        interruptible_cy_thread *here = interruptible_cy_find();
        here->team = member->before.team;
        here->owner = member->before.owner;
        if (!member->owner) {
            *here = member->before;
        }
        interruptible_cy_team_region_leave(&team->region, member->owner);
    }
}

/* After the construct: 0, or -1 with an exception.  'fetched': Cython has taken
   one out of a thread's state and will raise it. */
IPRIV_SLOW int
interruptible_cy_team_end(interruptible_cy_team *team, int fetched)
{
    int result = 0;
    if (team->active) {
        PyGILState_STATE gil = PyGILState_Ensure();
        int still_set = PyErr_Occurred() != NULL;
        result = interruptible_end(&team->region);
        if (result < 0 && !still_set && fetched) {
            /* That one is what stopped the team. */
            PyErr_Clear();
            result = 0;
        }
        PyGILState_Release(gil);
    }
    return result;
}

#ifdef __cplusplus
}
#endif

#endif  /* INTERRUPTIBLE_CYTHON_H */
