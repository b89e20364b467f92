# The sum of bench_c, with what cysignals and the kit offer to Cython in it.

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from cysignals.signals cimport sig_check
from interruptible cimport begin, check, check_region, close, end, region


cdef double seconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef int sum_cysignals(const double *values, Py_ssize_t count, Py_ssize_t laps,
                       double *result) except -1 nogil:
    cdef Py_ssize_t lap, i
    cdef double total = 0
    for lap in range(laps):
        for i in range(count):
            sig_check()
            total += values[i]
    result[0] = total
    return 0


cdef int sum_kit(const double *values, Py_ssize_t count, Py_ssize_t laps,
                 double *result) except -1 nogil:
    cdef Py_ssize_t lap, i
    cdef double total = 0
    for lap in range(laps):
        for i in range(count):
            check()
            total += values[i]
    result[0] = total
    return 0


cdef int sum_kit_region(region *r, const double *values, Py_ssize_t count,
                        Py_ssize_t laps, double *result) except -1 nogil:
    cdef Py_ssize_t lap, i
    cdef double total = 0
    for lap in range(laps):
        for i in range(count):
            check_region(r)
            total += values[i]
    result[0] = total
    return 0


def time_sum(str way, const double[::1] values, Py_ssize_t laps):
    """Sum values, laps times: (seconds, sum)."""
    cdef double total = 0, start, took
    cdef region r
    if way == 'cysignals':
        with nogil:
            start = seconds()
            sum_cysignals(&values[0], values.shape[0], laps, &total)
            took = seconds() - start
    elif way == 'kit':
        with nogil:
            start = seconds()
            sum_kit(&values[0], values.shape[0], laps, &total)
            took = seconds() - start
    elif way == 'kit_region':
        begin(&r)
        try:
            with nogil:
                start = seconds()
                sum_kit_region(&r, &values[0], values.shape[0], laps, &total)
                took = seconds() - start
            end(&r)
        finally:
            close(&r)
    else:
        raise ValueError(f'there is no way {way!r}')
    return took, total
