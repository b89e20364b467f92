# cython: language_level=3, cdivision=True
# distutils: extra_compile_args = -fopenmp
# distutils: extra_link_args = -fopenmp
"""prange in its shapes."""

from cython.parallel cimport parallel, prange, threadid
from libc.stdlib cimport free, malloc


def reduction(long n):
    cdef long i, total = 0
    for i in prange(n, nogil=True, num_threads=3):
        total += i & 7
    return total


def inner_loops(long n):
    cdef long i, j, total = 0
    for i in prange(7, nogil=True, num_threads=2, schedule='dynamic'):
        for j in range(n):
            total += (i ^ j) & 3
    return total


def uneven(long n):
    """The owner, thread 0, is finished at once; the others are not."""
    cdef long i, j, total = 0
    for i in prange(2, nogil=True, num_threads=2, schedule='static', chunksize=1):
        j = 0
        while j < (n if i == 1 else 1):
            j = j + 1
        total += j
    return total


def last_value(long n):
    cdef long i
    cdef long last = -1
    with nogil:
        for i in prange(n, num_threads=2):
            last = i
    return last, i


def own_break(long n):
    cdef long i, found = 0
    for i in prange(n, nogil=True, num_threads=2, schedule='static', chunksize=1):
        if i == n - 1:
            found = 1
            break
    else:
        found = 2
    return found > 0


cdef long _own_return(long n) except -7 nogil:
    cdef long i, j
    for i in prange(4, num_threads=2):
        for j in range(n):
            if j == n + 1:
                return -1
    return 1


def own_return(long n):
    return _own_return(n)


def own_error(long n):
    cdef long i, j
    try:
        for i in prange(4, nogil=True, num_threads=2):
            for j in range(n):
                if j == n - 1:
                    with gil:
                        raise ValueError('mine')
    except ValueError as error:
        return str(error)


def in_a_block(long n):
    cdef long i, j
    cdef long *own
    cdef long sums[64]
    for i in range(64):
        sums[i] = 0
    with nogil, parallel(num_threads=2):
        own = <long *>malloc(sizeof(long))
        own[0] = 0
        for i in prange(8, schedule='guided'):
            for j in range(n):
                own[0] += 1
        sums[threadid()] = own[0]
        free(own)
    return sum([sums[i] for i in range(64)])


def nested(long n):
    cdef long i, j, total = 0
    for i in prange(3, nogil=True, num_threads=2):
        for j in prange(n):
            total += j & 1
    return total


cdef long helper(long n) except -1 nogil:
    cdef long i, total = 0
    for i in range(n):
        total ^= i
    return total & 1


def calls(long n):
    cdef long i, total = 0
    for i in prange(2, nogil=True, num_threads=2):
        total += helper(n)
    return total


def with_gil_inside(long n):
    cdef long i, j, total = 0
    for i in prange(4, nogil=True, num_threads=2):
        for j in range(n):
            total += 1
        with gil:
            for item in [1, 2]:
                total += item
    return total


# More iterations than this would only be walked over: prange cannot be left early.
ENDLESS = [
    ('inner_loops', 10**15), ('uneven', 10**15), ('own_return', 10**13),
    ('own_error', 10**15), ('in_a_block', 10**15), ('nested', 10**9),
    ('calls', 10**15), ('with_gil_inside', 10**15)]
SMALL = 5000
