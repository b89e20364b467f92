/* interruptible.h: loops in C that Ctrl-C and Thread.interrupt() can stop.

   On an interpreter that has the module _interrupts ("native") a check is one
   load and one branch and stops at once, in any thread.  On any other CPython
   from 3.10 on ("fallback") the same binary asks for signals every 10 ms, in
   the main thread.  Copy this file beside your source; there is nothing to
   link.

       #include "interruptible.h"              // before other headers

       static int
       my_exec(PyObject *module)               // Py_mod_exec
       {
           return interruptible_import(0);     // 1: fail where not native
       }

       static PyObject *
       my_sum(PyObject *self, PyObject *arg)
       {
           interruptible_region r;
           double sum = 0.0;
           if (interruptible_begin(&r) < 0) {
               return NULL;
           }
           Py_BEGIN_ALLOW_THREADS
           for (long i = 0; i < N; i++) {
               if (interruptible_check_nogil(&r) < 0) {
                   break;                      // the exception is set
               }
               sum += work(i);
           }
           Py_END_ALLOW_THREADS
           free_all();                         // ends like any other way out
           return interruptible_end(&r) < 0 ? NULL : PyFloat_FromDouble(sum);
       }

   The thread that calls interruptible_begin() owns the region.  It checks with
   interruptible_check() while it holds the GIL, with ..._check_nogil() while
   it has released it.  Threads that are not Python's use ..._check_worker();
   see "Teams" below.  Once a check of a region has said stop (-1), all do.
   A check may also find nothing to do (the signal's handler returned, or the
   caller is masked): then it says 0 and the work goes on.

   Names that begin with ipriv_ or IPRIV_ are not for users. */

#ifndef INTERRUPTIBLE_H
#define INTERRUPTIBLE_H

#ifndef PY_SSIZE_T_CLEAN
#  define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#if PY_VERSION_HEX < 0x030A0000
#  error "interruptible.h needs Python 3.10 or newer"
#endif
#ifdef _WIN32
#  error "interruptible.h needs POSIX threads; Windows is not supported"
#endif

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* On the fallback: how long a region runs, at most, between two questions
   whether a signal has come.  interruptible_set_interval() changes it for one
   region. */
#ifndef INTERRUPTIBLE_INTERVAL_NS
#  define INTERRUPTIBLE_INTERVAL_NS 10000000u
#endif

/* How long a worker waits for its owner's answer before it goes on without. */
#ifndef INTERRUPTIBLE_PARK_NS
#  define INTERRUPTIBLE_PARK_NS 100000000u
#endif

/* The fallback's clock, in nanoseconds.  A test may put its own here. */
#ifndef INTERRUPTIBLE_CLOCK_NS
#  define INTERRUPTIBLE_CLOCK_NS() ipriv_clock_ns()
#endif

/* --- Compilers ---------------------------------------------------------- */

#if defined(__GNUC__)
#  define IPRIV_UNLIKELY(x) __builtin_expect(!!(x), 0)
#  define IPRIV_FUNCTION static __attribute__((unused))
#  define IPRIV_NOINLINE static __attribute__((unused, noinline))
   /* Only what is rarely called: a path that leads to a cold function is
      compiled for size, so a cold interruptible_begin() would spoil the loops
      after it. */
#  define IPRIV_SLOW static __attribute__((unused, noinline, cold))
   /* One copy for all the files of an extension module, and none that another
      module sees. */
#  define IPRIV_SHARED __attribute__((weak, visibility("hidden")))
#  define IPRIV_THREAD_LOCAL __thread
#else
   /* Every file that uses the kit has its own copy and has to call
      interruptible_import(). */
#  define IPRIV_UNLIKELY(x) (x)
#  define IPRIV_FUNCTION static inline
#  define IPRIV_NOINLINE static inline
#  define IPRIV_SLOW static inline
#  define IPRIV_SHARED static
#  ifdef __cplusplus
#    define IPRIV_THREAD_LOCAL thread_local
#  else
#    define IPRIV_THREAD_LOCAL _Thread_local
#  endif
#endif

/* INTERRUPTIBLE_STD_ATOMICS: use the language's atomics also where the
   compiler's own are there. */
#if defined(__GNUC__) && !defined(INTERRUPTIBLE_STD_ATOMICS)
#  define IPRIV_ATOMIC(type) type
#  define IPRIV_FLAG(p) (p)
#  define IPRIV_LOAD(p, order) __atomic_load_n((p), order)
#  define IPRIV_STORE(p, value, order) __atomic_store_n((p), (value), order)
#  define IPRIV_FENCE(order) __atomic_thread_fence(order)
#  define IPRIV_RELAXED __ATOMIC_RELAXED
#  define IPRIV_ACQUIRE __ATOMIC_ACQUIRE
#  define IPRIV_RELEASE __ATOMIC_RELEASE
#elif defined(__cplusplus)
#  include <atomic>
#  define IPRIV_ATOMIC(type) std::atomic<type>
   /* The interpreter's flag is a plain word; both have the same size and
      alignment, and no lock, where this is used. */
#  define IPRIV_FLAG(p) \
        (reinterpret_cast<const volatile std::atomic<uint32_t> *>(p))
#  define IPRIV_LOAD(p, order) std::atomic_load_explicit((p), order)
#  define IPRIV_STORE(p, value, order) \
        std::atomic_store_explicit((p), (value), order)
#  define IPRIV_FENCE(order) std::atomic_thread_fence(order)
#  define IPRIV_RELAXED std::memory_order_relaxed
#  define IPRIV_ACQUIRE std::memory_order_acquire
#  define IPRIV_RELEASE std::memory_order_release
#else
#  include <stdatomic.h>
#  define IPRIV_ATOMIC(type) _Atomic(type)
#  define IPRIV_FLAG(p) ((const volatile _Atomic(uint32_t) *)(p))
#  define IPRIV_LOAD(p, order) atomic_load_explicit((p), order)
#  define IPRIV_STORE(p, value, order) \
        atomic_store_explicit((p), (value), order)
#  define IPRIV_FENCE(order) atomic_thread_fence(order)
#  define IPRIV_RELAXED memory_order_relaxed
#  define IPRIV_ACQUIRE memory_order_acquire
#  define IPRIV_RELEASE memory_order_release
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- What the interpreter offers ---------------------------------------- */

#define INTERRUPTIBLE_ABI_VERSION 1u

/* The interpreter's own header calls these PyInterruptMask, PyInterruptPoller
   and PyInterrupt_CAPI.  They have other names here, so that this file compiles
   with and without that header. */
typedef struct {
    uint64_t thread;
    uintptr_t region;
    uintptr_t check;
} interruptible_saved;

/* For add_poller(), remove_poller() and claim(). */
typedef struct {
    const char *name;
    void (*taken)(int signum, void *arg);
    void *arg;
} interruptible_poller;

typedef struct {
    uint32_t size;
    uint32_t version;
    const volatile uint32_t *(*flag)(void);
    const volatile uint32_t *(*count)(void);
    int (*check)(void);
    int (*check_blocked)(void);
    int (*is_masked)(void);
    int (*mask)(interruptible_saved *saved, int kind);
    int (*unmask)(interruptible_saved *saved);
    int (*add_poller)(const void *poller);
    int (*remove_poller)(const void *poller);
    int (*claim)(const void *poller, int signum);
} interruptible_capi;

#ifdef PyInterrupt_ABI_VERSION
/* Both descriptions at hand: they had better agree. */
typedef char ipriv_same_table[
    sizeof(interruptible_capi) == sizeof(PyInterrupt_CAPI) ? 1 : -1];
typedef char ipriv_same_saved[
    sizeof(interruptible_saved) == sizeof(PyInterruptMask) ? 1 : -1];
typedef char ipriv_same_poller[
    sizeof(interruptible_poller) == sizeof(PyInterruptPoller) ? 1 : -1];
#endif

/* --- Process-wide state: no Python object in it ------------------------ */

enum { IPRIV_NO_MODULE, IPRIV_NO_TABLE, IPRIV_STOCK };

/* Their addresses stand for "fallback", and for why. */
IPRIV_SHARED interruptible_capi ipriv_stock[IPRIV_STOCK];

/* NULL until interruptible_import(). */
IPRIV_SHARED IPRIV_ATOMIC(const interruptible_capi *) ipriv_table;

/* On the fallback: how many masks are in force in this thread. */
IPRIV_SHARED IPRIV_THREAD_LOCAL unsigned int ipriv_masks;

/* Owners that have to go into the slow path each time read this word. */
static const volatile uint32_t ipriv_one = 1;

/* The fallback has no flag: its workers read this one. */
static const volatile uint32_t ipriv_zero = 0;

IPRIV_FUNCTION const interruptible_capi *
ipriv_get_table(void)
{
    /* Acquire: pairs with the store in interruptible_import(), which another
       interpreter of this process may just be doing. */
    return IPRIV_LOAD(&ipriv_table, IPRIV_ACQUIRE);
}

IPRIV_FUNCTION int
ipriv_is_stock(const interruptible_capi *table)
{
    return table == &ipriv_stock[IPRIV_NO_MODULE]
           || table == &ipriv_stock[IPRIV_NO_TABLE];
}

/* --- Import ------------------------------------------------------------- */

#define IPRIV_ADVICE \
    "; use a release of the interpreter and one of this extension module " \
    "that belong together"

/* 0 if the table can be used, -1 with ImportError. */
IPRIV_NOINLINE int
ipriv_validate(const interruptible_capi *table)
{
    /* Whatever the rest looks like, these two come first. */
    if (table->version < INTERRUPTIBLE_ABI_VERSION) {
        PyErr_Format(PyExc_ImportError,
                     "_interrupts.C_API has version %u; version %u or newer "
                     "is needed" IPRIV_ADVICE,
                     (unsigned int)table->version,
                     (unsigned int)INTERRUPTIBLE_ABI_VERSION);
        return -1;
    }
    if (table->size < sizeof(*table)) {
        PyErr_Format(PyExc_ImportError,
                     "_interrupts.C_API has %u bytes; %u are needed"
                     IPRIV_ADVICE,
                     (unsigned int)table->size,
                     (unsigned int)sizeof(*table));
        return -1;
    }
    const char *missing = NULL;
#define IPRIV_NEED(entry) \
    if (missing == NULL && table->entry == NULL) { \
        missing = #entry; \
    }
    IPRIV_NEED(flag)
    IPRIV_NEED(count)
    IPRIV_NEED(check)
    IPRIV_NEED(check_blocked)
    IPRIV_NEED(is_masked)
    IPRIV_NEED(mask)
    IPRIV_NEED(unmask)
    IPRIV_NEED(add_poller)
    IPRIV_NEED(remove_poller)
    IPRIV_NEED(claim)
#undef IPRIV_NEED
    if (missing != NULL) {
        PyErr_Format(PyExc_ImportError,
                     "_interrupts.C_API has no function '%s' (it is NULL); "
                     "version %u has it" IPRIV_ADVICE,
                     missing, (unsigned int)INTERRUPTIBLE_ABI_VERSION);
        return -1;
    }
    return 0;
}

/* Finds the table.  0 with *table, or -1 with an exception. */
IPRIV_NOINLINE int
ipriv_find(const interruptible_capi **table)
{
    /* PyCapsule_Import() would hide why an import has failed, and a Ctrl-C
       must not look like a stock interpreter. */
    PyObject *module = PyImport_ImportModule("_interrupts");
    if (module == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_ModuleNotFoundError)) {
            return -1;
        }
        PyErr_Clear();
        *table = &ipriv_stock[IPRIV_NO_MODULE];
        return 0;
    }
    PyObject *capsule = PyObject_GetAttrString(module, "C_API");
    Py_DECREF(module);
    if (capsule == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        *table = &ipriv_stock[IPRIV_NO_TABLE];
        return 0;
    }
    int result = -1;
    if (!PyCapsule_IsValid(capsule, "_interrupts.C_API")) {
        PyErr_Format(PyExc_ImportError,
                     "_interrupts.C_API is %R; a capsule of that name is "
                     "needed" IPRIV_ADVICE, capsule);
    }
    else {
        *table = (const interruptible_capi *)PyCapsule_GetPointer(
            capsule, "_interrupts.C_API");
        if (*table != NULL) {
            result = ipriv_validate(*table);
        }
    }
    /* The table is the interpreter's and outlives the capsule. */
    Py_DECREF(capsule);
    return result;
}

/* Call it in the module's Py_mod_exec function.  0, or -1 with an exception:
   ImportError if the interpreter's table cannot be used, or if require_native
   and there is none. */
IPRIV_NOINLINE int
interruptible_import(int require_native)
{
    const interruptible_capi *table;
    if (ipriv_find(&table) < 0) {
        return -1;
    }
    if (require_native && ipriv_is_stock(table)) {
        PyErr_Format(PyExc_ImportError,
                     "this extension module needs an interpreter that can "
                     "interrupt it in any thread, and this one cannot: %s",
                     table == &ipriv_stock[IPRIV_NO_MODULE]
                     ? "it has no module _interrupts (stock CPython)"
                     : "its module _interrupts has no C_API");
        return -1;
    }
    /* Release: pairs with the load in ipriv_get_table(). */
    IPRIV_STORE(&ipriv_table, table, IPRIV_RELEASE);
    return 0;
}

/* "native" or "fallback"; NULL before interruptible_import(). */
IPRIV_FUNCTION const char *
interruptible_backend(void)
{
    const interruptible_capi *table = ipriv_get_table();
    if (table == NULL) {
        return NULL;
    }
    return ipriv_is_stock(table) ? "fallback" : "native";
}

/* Why it is that one, for people. */
IPRIV_FUNCTION const char *
interruptible_reason(void)
{
    const interruptible_capi *table = ipriv_get_table();
    if (table == NULL) {
        return "interruptible_import() has not been called";
    }
    if (table == &ipriv_stock[IPRIV_NO_MODULE]) {
        return "this interpreter has no module _interrupts: signals are "
               "looked for every few milliseconds, in the main thread only";
    }
    if (table == &ipriv_stock[IPRIV_NO_TABLE]) {
        return "the module _interrupts of this interpreter has no C_API: "
               "signals are looked for every few milliseconds, in the main "
               "thread only";
    }
    return "this interpreter has _interrupts.C_API";
}

/* The interpreter's table, for what this file does not wrap (pollers, the
   count); NULL on the fallback. */
IPRIV_FUNCTION const interruptible_capi *
interruptible_table(void)
{
    const interruptible_capi *table = ipriv_get_table();
    return table == NULL || ipriv_is_stock(table) ? NULL : table;
}

/* --- Regions ------------------------------------------------------------ */

/* RUN: go on.  DECIDE: the owner is asking the interpreter, wait for it.
   STOP: for good. */
enum { IPRIV_RUN = 0, IPRIV_DECIDE = 1, IPRIV_STOP = 2 };

/* Lives where its owner likes, usually on the stack.  Must not be copied or
   moved between begin and end.  The fields are not for users. */
typedef struct {
    /* Read by all threads, written rarely. */
    const volatile uint32_t *flag;          /* the owner's; fallback: zero */
    IPRIV_ATOMIC(uint32_t) state;
    IPRIV_ATOMIC(uint32_t) decisions;       /* how often the owner answered */
    const interruptible_capi *table;        /* NULL on the fallback */
    PyThreadState *tstate;                  /* the owner's */
    pthread_t owner;
    int alive;                              /* lock and conditions exist */

    /* What the owner writes in each check must not share a cache line with
       what the workers read in each. */
    char apart[64];

    /* The owner's alone. */
    const volatile uint32_t *word;          /* not 0: something to do */
    uint32_t budget;                        /* checks until a clock read */
    uint32_t batch;                         /* what budget started from */
    uint64_t clock;                         /* when it was read last */
    uint64_t due;                           /* when to ask for signals */
    uint64_t interval;

    char apart_too[64];

    pthread_mutex_t lock;
    pthread_cond_t for_owner;               /* asked, or done has grown */
    pthread_cond_t for_workers;             /* decisions has grown */
    uint32_t asked;                         /* by lock */
    uint32_t done;                          /* by lock */
} interruptible_region;

IPRIV_FUNCTION uint64_t
ipriv_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Waits at most that long; may wake up early.  The lock is held. */
IPRIV_NOINLINE void
ipriv_wait(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t ns)
{
    struct timespec end;
#ifdef __APPLE__
    clock_gettime(CLOCK_REALTIME, &end);    /* its conditions know no other */
#else
    clock_gettime(CLOCK_MONOTONIC, &end);
#endif
    ns += (uint64_t)end.tv_nsec;
    end.tv_sec += (time_t)(ns / 1000000000u);
    end.tv_nsec = (long)(ns % 1000000000u);
    pthread_cond_timedwait(condition, lock, &end);
}

/* 0, or an errno. */
IPRIV_NOINLINE int
ipriv_init_waiting(interruptible_region *r)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0) {
        return error;
    }
#ifndef __APPLE__
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    if (error == 0) {
        error = pthread_cond_init(&r->for_owner, &attributes);
    }
    if (error == 0) {
        error = pthread_cond_init(&r->for_workers, &attributes);
        if (error == 0) {
            error = pthread_mutex_init(&r->lock, NULL);
            if (error != 0) {
                pthread_cond_destroy(&r->for_workers);
            }
        }
        if (error != 0) {
            pthread_cond_destroy(&r->for_owner);
        }
    }
    pthread_condattr_destroy(&attributes);
    return error;
}

/* From here on the owner's checks go into the slow path, each of them. */
IPRIV_FUNCTION void
ipriv_stop_owner(interruptible_region *r)
{
    r->word = &ipriv_one;
    r->budget = 0;
}

/* Starts a region that belongs to this thread.  GIL held.  0, or -1 with an
   exception; with one already set that one stays and the answer is -1.
   After -1 there is nothing to end, but interruptible_end() does no harm. */
IPRIV_NOINLINE int
interruptible_begin(interruptible_region *r)
{
    const interruptible_capi *table = ipriv_get_table();
    r->alive = 0;
    r->table = NULL;
    r->flag = &ipriv_zero;
    r->tstate = PyThreadState_Get();
    r->owner = pthread_self();
    r->interval = INTERRUPTIBLE_INTERVAL_NS;
    r->batch = 1;
    r->clock = 0;
    r->due = 0;
    r->asked = 0;
    r->done = 0;
    /* Relaxed: no other thread knows the region yet. */
    IPRIV_STORE(&r->state, IPRIV_STOP, IPRIV_RELAXED);
    IPRIV_STORE(&r->decisions, 0, IPRIV_RELAXED);
    ipriv_stop_owner(r);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (table == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "interruptible_begin(): call interruptible_import() "
                        "first, in the Py_mod_exec function of the module");
        return -1;
    }
    if (!ipriv_is_stock(table)) {
        const volatile uint32_t *flag = table->flag();
        if (flag == NULL) {
            return -1;
        }
        r->table = table;
        r->flag = flag;
        r->word = flag;
    }
    else {
        r->clock = INTERRUPTIBLE_CLOCK_NS();
        r->due = r->clock + r->interval;
        r->budget = r->batch;
    }
    int error = ipriv_init_waiting(r);
    if (error != 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        ipriv_stop_owner(r);
        return -1;
    }
    r->alive = 1;
    IPRIV_STORE(&r->state, IPRIV_RUN, IPRIV_RELAXED);
    return 0;
}

/* For this region: how long the fallback may leave a signal unseen.  By the
   owner, after interruptible_begin(). */
IPRIV_FUNCTION void
interruptible_set_interval(interruptible_region *r, uint64_t nanoseconds)
{
    r->interval = nanoseconds > 0 ? nanoseconds : 1;
    r->due = r->clock + r->interval;
}

/* Would a check have something to do?  Any thread. */
static inline int
interruptible_pending(const interruptible_region *r)
{
    /* Acquire: pairs with the fence in ipriv_ask().  Who sees the flag that
       the owner's question has cleared sees DECIDE, or what came of it. */
    uint32_t flag = IPRIV_LOAD(IPRIV_FLAG(r->flag), IPRIV_ACQUIRE);
    return (flag | IPRIV_LOAD(&r->state, IPRIV_RELAXED)) != 0;
}

/* How often the owner has asked the interpreter and told the workers.  Any
   thread. */
static inline uint32_t
interruptible_decisions(const interruptible_region *r)
{
    /* Acquire: pairs with the store of the state in ipriv_answer().  After a
       check that has read RUN there, its answer is counted. */
    IPRIV_FENCE(IPRIV_ACQUIRE);
    return IPRIV_LOAD(&r->decisions, IPRIV_RELAXED);
}

IPRIV_FUNCTION int
ipriv_stopped(const interruptible_region *r)
{
    /* Relaxed: STOP is final, and nothing is read because of it. */
    return IPRIV_LOAD(&r->state, IPRIV_RELAXED) == IPRIV_STOP;
}

IPRIV_FUNCTION int
ipriv_is_owner(const interruptible_region *r)
{
    return pthread_equal(pthread_self(), r->owner);
}

/* Fallback: reads the clock, sets how many checks may pass until it is read
   again, and says whether it is time to ask. */
IPRIV_NOINLINE int
ipriv_due(interruptible_region *r)
{
    uint64_t now = INTERRUPTIBLE_CLOCK_NS();
    uint64_t passed = now - r->clock;
    uint64_t target = r->interval / 4;
    r->clock = now;
    /* A read every quarter of the interval is often enough.  But the batch
       stays small: should the work per check become a thousand times slower,
       no more than that many slow steps pass unseen.  A clock read in 128
       checks is a fraction of a nanosecond per check. */
    if (passed > target) {
        uint64_t fewer = (uint64_t)r->batch * target / passed;
        r->batch = fewer > 0 ? (uint32_t)fewer : 1;
    }
    else if (passed < target / 2 && r->batch < 128) {
        r->batch *= 2;
    }
    r->budget = r->batch;
    if (now < r->due) {
        return 0;
    }
    r->due = now + r->interval;
    return 1;
}

/* Tells all what the owner has found.  Owner, GIL held. */
IPRIV_SLOW void
ipriv_answer(interruptible_region *r, int result)
{
    uint32_t decisions = IPRIV_LOAD(&r->decisions, IPRIV_RELAXED);
    pthread_mutex_lock(&r->lock);
    IPRIV_STORE(&r->decisions, decisions + 1, IPRIV_RELAXED);
    /* Release: pairs with the fence in interruptible_decisions(). */
    IPRIV_STORE(&r->state, result < 0 ? IPRIV_STOP : IPRIV_RUN,
                IPRIV_RELEASE);
    r->asked = 0;
    pthread_cond_broadcast(&r->for_workers);
    pthread_mutex_unlock(&r->lock);
    if (result < 0) {
        ipriv_stop_owner(r);
    }
}

/* Asks the interpreter: 0, or -1 with an exception.  Owner, GIL held. */
IPRIV_SLOW int
ipriv_ask(interruptible_region *r, int blocked)
{
    int result;
    if (PyErr_Occurred()) {
        result = -1;
    }
    else if (r->table != NULL) {
        IPRIV_STORE(&r->state, IPRIV_DECIDE, IPRIV_RELAXED);
        /* Release: DECIDE is seen before the flag that check() clears.  Pairs
           with the loads of the flag in interruptible_pending() and
           ipriv_park(): without it a worker could find neither and slip
           through. */
        IPRIV_FENCE(IPRIV_RELEASE);
        result = blocked ? r->table->check_blocked() : r->table->check();
    }
    else {
        result = ipriv_masks > 0 ? 0 : PyErr_CheckSignals();
        if (result == 0) {
            return 0;       /* the workers have not waited */
        }
    }
    ipriv_answer(r, result);
    return result;
}

IPRIV_SLOW int
ipriv_check(interruptible_region *r, int blocked)
{
    int saved_errno = errno;
    int result = -1;
    if (!ipriv_is_owner(r)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "interruptible_check(): this region belongs to "
                        "another thread; workers use "
                        "interruptible_check_worker()");
    }
    else if (!ipriv_stopped(r)) {
        /* After EINTR the fallback asks at once: something has come. */
        if (r->table == NULL && !blocked && !ipriv_due(r)) {
            result = 0;
        }
        else {
            result = ipriv_ask(r, blocked);
        }
    }
    errno = saved_errno;
    return result;
}

/* A worker has something to do: it waits for the owner.  0 or -1. */
IPRIV_SLOW int
ipriv_park(interruptible_region *r)
{
    int saved_errno = errno;
    uint64_t end = ipriv_clock_ns() + INTERRUPTIBLE_PARK_NS;
    pthread_mutex_lock(&r->lock);
    uint32_t decisions = IPRIV_LOAD(&r->decisions, IPRIV_RELAXED);
    while (interruptible_pending(r) && !ipriv_stopped(r)
           && IPRIV_LOAD(&r->decisions, IPRIV_RELAXED) == decisions) {
        uint64_t now = ipriv_clock_ns();
        if (now >= end) {
            break;          /* an owner that does not answer: degrade */
        }
        r->asked = 1;
        pthread_cond_signal(&r->for_owner);
        ipriv_wait(&r->for_workers, &r->lock, end - now);
    }
    pthread_mutex_unlock(&r->lock);
    errno = saved_errno;
    return ipriv_stopped(r) ? -1 : 0;
}

IPRIV_SLOW int
ipriv_check_nogil(interruptible_region *r)
{
    if (ipriv_stopped(r)) {
        return -1;
    }
    if (!ipriv_is_owner(r)) {
        return ipriv_park(r);
    }
    int saved_errno = errno;
    int result = 0;
    if (r->table != NULL) {
        PyEval_RestoreThread(r->tstate);
        result = ipriv_ask(r, 0);
        PyEval_SaveThread();
    }
    else if (ipriv_due(r)) {
        uint64_t before = r->clock;
        PyEval_RestoreThread(r->tstate);
        result = ipriv_ask(r, 0);
        PyEval_SaveThread();
        /* Where other threads are busy, the GIL comes only after some
           milliseconds.  Waiting for it shall cost a tenth of the time, not
           a third; the price is a later answer, by ten intervals at most. */
        r->clock = INTERRUPTIBLE_CLOCK_NS();
        uint64_t pause = (r->clock - before) * 9;
        if (pause > r->interval * 10) {
            pause = r->interval * 10;
        }
        if (pause > r->interval) {
            r->due = r->clock + pause;
        }
    }
    errno = saved_errno;
    return result;
}

/* Is the word not 0, and this not one of the fallback's checks that only
   count?  There the word is never 0; natively budget is, and the word is the
   flag. */
static inline int
ipriv_is_slow(interruptible_region *r)
{
    /* Relaxed: the slow path asks the interpreter, which orders. */
    if (IPRIV_UNLIKELY(IPRIV_LOAD(IPRIV_FLAG(r->word), IPRIV_RELAXED) != 0)) {
        if (r->budget <= 1) {
            return 1;
        }
        r->budget--;
    }
    return 0;
}

/* By the owner, GIL held: 0 go on; -1 stop, with the exception set. */
static inline int
interruptible_check(interruptible_region *r)
{
    return IPRIV_UNLIKELY(ipriv_is_slow(r)) ? ipriv_check(r, 0) : 0;
}

/* By the owner, GIL released in the way of Py_BEGIN_ALLOW_THREADS: 0 go on;
   -1 stop, with the exception set in the owner's thread state. */
static inline int
interruptible_check_nogil(interruptible_region *r)
{
    return IPRIV_UNLIKELY(ipriv_is_slow(r)) ? ipriv_check_nogil(r) : 0;
}

/* By the owner, GIL held, after a system call has failed with EINTR: 0 call it
   again; -1 stop, with the exception set. */
static inline int
interruptible_check_blocked(interruptible_region *r)
{
    return ipriv_check(r, 1);
}

/* By any thread of a team, Python's or not, without the GIL: 0 go on, -1 stop.
   May wait for the owner. */
static inline int
interruptible_check_worker(interruptible_region *r)
{
    if (IPRIV_UNLIKELY(interruptible_pending(r))) {
        return ipriv_check_nogil(r);
    }
    return 0;
}

/* Ends the region: all its threads are done with it.  GIL held.  0, or -1 with
   an exception: the one that stopped it, or one that was set meanwhile. */
IPRIV_NOINLINE int
interruptible_end(interruptible_region *r)
{
    if (r->alive) {
        r->alive = 0;
        pthread_mutex_destroy(&r->lock);
        pthread_cond_destroy(&r->for_workers);
        pthread_cond_destroy(&r->for_owner);
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    if (ipriv_stopped(r)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "interruptible_end(): the region was stopped, and "
                        "somebody has cleared the exception since");
        return -1;
    }
    return 0;
}

/* --- Teams --------------------------------------------------------------

   Threads that work for one owner.  They check with
   interruptible_check_worker(); if something waits for the owner, they park
   until it has asked the interpreter.  So the owner may not just wait for them
   (pthread_join(), the barrier at the end of an OpenMP construct): it calls
   interruptible_team_join() first, which waits and answers.  If it does not,
   each check of a worker takes a tenth of a second, and passes.

       interruptible_team_begin(&r);                   // owner
       Py_BEGIN_ALLOW_THREADS
       #pragma omp parallel num_threads(wanted)
       {
           int owner = omp_get_thread_num() == 0;
           while (more()) {
               if ((owner ? interruptible_check_nogil(&r)
                          : interruptible_check_worker(&r)) < 0) {
                   break;
               }
               work();
           }
           if (owner) {
               interruptible_team_join(&r, omp_get_num_threads() - 1);
           }
           else {
               interruptible_team_worker_done(&r);
           }
       }
       Py_END_ALLOW_THREADS

   With threads of one's own: start them, team_join() with the number that did
   start, then pthread_join() each.  */

/* By the owner, before the first worker starts; again for a next team. */
IPRIV_FUNCTION void
interruptible_team_begin(interruptible_region *r)
{
    r->done = 0;
    r->asked = 0;
}

/* By each worker, once, as the last thing it does with the region. */
IPRIV_NOINLINE void
interruptible_team_worker_done(interruptible_region *r)
{
    /* Signals while it holds the lock: the owner may destroy both as soon as
       it is free. */
    pthread_mutex_lock(&r->lock);
    r->done++;
    pthread_cond_signal(&r->for_owner);
    pthread_mutex_unlock(&r->lock);
}

/* By the owner, GIL released: waits until that many workers are done, and
   answers those that ask.  0; -1 if the region was stopped. */
IPRIV_NOINLINE int
interruptible_team_join(interruptible_region *r, uint32_t workers)
{
    for (;;) {
        pthread_mutex_lock(&r->lock);
        if (r->done < workers && !r->asked) {
            /* Not for longer: workers that are busy do not ask, and a handler
               should still run soon. */
            uint64_t most = r->interval;
            if (r->table == NULL && !ipriv_stopped(r)) {
                uint64_t now = INTERRUPTIBLE_CLOCK_NS();
                most = r->due > now ? r->due - now : 0;
            }
            ipriv_wait(&r->for_owner, &r->lock, most);
        }
        int all = r->done >= workers;
        r->asked = 0;
        pthread_mutex_unlock(&r->lock);
        if (all) {
            return ipriv_stopped(r) ? -1 : 0;
        }
        /* After a wait there is nothing to count. */
        r->budget = 0;
        (void)interruptible_check_nogil(r);
    }
}

/* --- Masks --------------------------------------------------------------

   Between mask and unmask nothing is raised in this thread: for cleanup that
   calls Python code.  Natively all Python code in between is masked.  The
   fallback cannot do that: there only the checks of this extension module do
   not raise, Python code in between may. */

/* Start from INTERRUPTIBLE_TOKEN_INIT, so that misuse is recognised. */
typedef struct {
    interruptible_saved saved;
    const interruptible_capi *table;        /* NULL on the fallback */
    unsigned long thread;
    uint32_t in_force;
} interruptible_token;

#define INTERRUPTIBLE_TOKEN_INIT {{0, 0, 0}, NULL, 0, 0}

#define IPRIV_IN_FORCE 0x6d61736bu

/* RuntimeError; an exception that was set becomes its context. */
IPRIV_SLOW int
ipriv_misuse(const char *message)
{
    PyObject *type, *value, *message_value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        PyErr_SetString(PyExc_RuntimeError, message);
        return -1;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    PyErr_SetString(PyExc_RuntimeError, message);
    PyErr_Fetch(&type, &message_value, &traceback);
    PyErr_NormalizeException(&type, &message_value, &traceback);
    PyException_SetContext(message_value, value);       /* takes value */
    PyErr_Restore(type, message_value, traceback);
    return -1;
}

IPRIV_NOINLINE int
ipriv_mask(interruptible_token *token, int kind)
{
    const interruptible_capi *table = ipriv_get_table();
    if (table == NULL) {
        return ipriv_misuse("interruptible_mask(): call "
                            "interruptible_import() first, in the "
                            "Py_mod_exec function of the module");
    }
    if (token->in_force == IPRIV_IN_FORCE) {
        return ipriv_misuse("interruptible_mask(): this token is in use; "
                            "each mask needs its own, that starts from "
                            "INTERRUPTIBLE_TOKEN_INIT");
    }
    token->table = ipriv_is_stock(table) ? NULL : table;
    if (token->table == NULL) {
        ipriv_masks++;
    }
    else if (table->mask(&token->saved, kind) < 0) {
        return -1;
    }
    token->thread = PyThread_get_thread_ident();
    token->in_force = IPRIV_IN_FORCE;
    return 0;
}

/* Nothing is raised until unmask.  GIL held.  0, or -1 with an exception. */
IPRIV_FUNCTION int
interruptible_mask(interruptible_token *token)
{
    return ipriv_mask(token, 1);
}

/* The same, but a call that is really blocked may still be interrupted. */
IPRIV_FUNCTION int
interruptible_mask_soft(interruptible_token *token)
{
    return ipriv_mask(token, 0);
}

/* What has waited is raised at the next check, not here.  GIL held.  0, or -1
   with RuntimeError: not masked by this token, or in another thread. */
IPRIV_NOINLINE int
interruptible_unmask(interruptible_token *token)
{
    if (token->in_force != IPRIV_IN_FORCE) {
        return ipriv_misuse("interruptible_unmask(): this token masks "
                            "nothing: no interruptible_mask() before, or "
                            "unmasked twice");
    }
    if (token->thread != PyThread_get_thread_ident()) {
        return ipriv_misuse("interruptible_unmask(): this mask belongs to "
                            "another thread");
    }
    if (token->table == NULL) {
        ipriv_masks--;
    }
    else if (token->table->unmask(&token->saved) < 0) {
        return -1;
    }
    token->in_force = 0;
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif  /* INTERRUPTIBLE_H */
