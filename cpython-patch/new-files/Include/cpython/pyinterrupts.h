#ifndef Py_CPYTHON_PYINTERRUPTS_H
#  error "this header file must not be included directly"
#endif

/* For extension modules that run for long: how they learn that they are to be
   interrupted, and how they mask interrupts.  See Doc/c-api/interrupts.rst.

   The same functions are in the table that PyCapsule_Import() gives for
   PyInterrupt_CAPSULE_NAME.  A module that takes them from there runs on an
   interpreter without them, too. */

#define PyInterrupt_ABI_VERSION 1u
#define PyInterrupt_CAPSULE_NAME "_interrupts.C_API"

/* What Mask() stores, and Unmask() needs. */
typedef struct {
    uint64_t thread;
    uintptr_t region;
    uintptr_t check;
} PyInterruptMask;

enum {
    /* Code is not interrupted, a call that is really blocked may be. */
    PyInterrupt_MASK_SOFT = 0,
    /* Nothing is raised until Unmask(). */
    PyInterrupt_MASK_HARD = 1,
};

/* A framework that sees a signal by a way of its own, and raises something for it
   itself. */
typedef struct {
    const char *name;
    /* Somebody else deals with this signal: forget it.  The caller is attached to an
       interpreter, and must stay so; nothing may be raised, and no poller added or
       removed. */
    void (*taken)(int signum, void *arg);
    void *arg;
} PyInterruptPoller;

PyAPI_FUNC(const volatile uint32_t *) PyInterrupt_Flag(void);
PyAPI_FUNC(const volatile uint32_t *) PyInterrupt_Count(void);
PyAPI_FUNC(int) PyInterrupt_CheckBlocked(void);
PyAPI_FUNC(int) PyInterrupt_IsMasked(void);
PyAPI_FUNC(int) PyInterrupt_Mask(PyInterruptMask *saved, int kind);
PyAPI_FUNC(int) PyInterrupt_Unmask(PyInterruptMask *saved);
PyAPI_FUNC(int) PyInterrupt_AddPoller(const PyInterruptPoller *poller);
PyAPI_FUNC(int) PyInterrupt_RemovePoller(const PyInterruptPoller *poller);
PyAPI_FUNC(int) PyInterrupt_Claim(const PyInterruptPoller *poller, int signum);

/* What the capsule holds.  Members are only ever added at the end. */
typedef struct {
    uint32_t size;
    uint32_t version;
    const volatile uint32_t *(*flag)(void);
    const volatile uint32_t *(*count)(void);
    int (*check)(void);             /* PyErr_CheckSignals() */
    int (*check_blocked)(void);
    int (*is_masked)(void);
    int (*mask)(PyInterruptMask *saved, int kind);
    int (*unmask)(PyInterruptMask *saved);
    int (*add_poller)(const PyInterruptPoller *poller);
    int (*remove_poller)(const PyInterruptPoller *poller);
    int (*claim)(const PyInterruptPoller *poller, int signum);
} PyInterrupt_CAPI;
