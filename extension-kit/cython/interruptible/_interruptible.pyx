# cython: language_level=3, freethreading_compatible=True
"""The part of the package that Python code uses."""

from cpython.pycapsule cimport PyCapsule_New
from interruptible cimport (
    backend_name, check_gil, interruptible_ready, mask, mask_soft, mask_token,
    new_token, require_native_here, unmask)

cdef extern from *:
    """
    /* Counted for the other modules; changed with the GIL held or atomically. */
    static IPRIV_ATOMIC(uint32_t) interruptible_cy_in_force;

    static void
    interruptible_cy_count(int difference)
    {
    #if defined(__GNUC__) && !defined(INTERRUPTIBLE_STD_ATOMICS)
        __atomic_fetch_add(&interruptible_cy_in_force, difference,
                           __ATOMIC_RELAXED);
    #else
        interruptible_cy_in_force += difference;    /* atomic by its type */
    #endif
    }

    static int
    interruptible_cy_this_thread(void)
    {
        return ipriv_masks > 0;
    }

    static interruptible_cy_masks interruptible_cy_exported = {
        sizeof(interruptible_cy_masks),
        (const volatile uint32_t *)&interruptible_cy_in_force,
        interruptible_cy_this_thread
    };
    """
    const char *MASKS_NAME "INTERRUPTIBLE_CY_MASKS"
    void *exported "&interruptible_cy_exported"
    void count "interruptible_cy_count"(int difference) noexcept

cdef extern from "interruptible_cython.h":
    const char *reason_text "interruptible_reason"() noexcept

interruptible_ready()
_masks = PyCapsule_New(exported, MASKS_NAME, NULL)


def backend():
    """'native' or 'fallback'; see reason()."""
    return backend_name().decode()


def reason():
    """Why backend() is what it is, for people."""
    return reason_text().decode()


def require_native():
    """Raise ImportError if only the fallback is there.

    For modules that are of no use unless they can be interrupted in any thread.
    """
    require_native_here()


def check():
    """Raise what waits for this thread: what a check in a loop does."""
    check_gil()


cdef class _Entry:
    cdef mask_token token

    def __cinit__(self):
        self.token = new_token()


cdef class masked:
    """with masked(): nothing is raised by an interrupt in this thread.

    masked(soft=True): a call that is really blocked may be interrupted nevertheless.
    On the fallback only the checks of the kit do not raise inside; Python code may.
    What waited is raised at the first check after the block.
    """

    cdef bint soft
    cdef list entries

    def __cinit__(self, *, bint soft=False):
        self.soft = soft
        self.entries = []

    def __enter__(self):
        cdef _Entry entry = _Entry()
        self.entries.append(entry)
        try:
            if self.soft:
                mask_soft(&entry.token)
            else:
                mask(&entry.token)
        except BaseException:
            self.entries.pop()
            raise
        count(1)
        return self

    def __exit__(self, *exception):
        if not self.entries:
            raise RuntimeError('masked(): left without having been entered')
        cdef _Entry entry = self.entries[len(self.entries) - 1]
        unmask(&entry.token)
        count(-1)
        self.entries.pop()
        return False
