# cython: language_level=3
"""Where an interrupt would be lost or do harm: it has to wait, and to come afterwards."""

from libc.stdlib cimport qsort

steps = []


cdef long work(long n) except -1 nogil:
    cdef long i, total = 0
    for i in range(n):
        total ^= i * i
    return total & 1


cdef int compare(const void *a, const void *b) noexcept nogil:
    # What work() raises would be printed and forgotten.
    work(1000)
    return (<int *>a)[0] - (<int *>b)[0]


def sort(int n):
    """Sorted, and by how much work."""
    cdef int[512] values
    cdef int i
    for i in range(512):
        values[i] = (i * 7919) % 512
    for i in range(n):
        qsort(values, 512, sizeof(int), compare)
    return [values[i] for i in range(512)]


def cleanup(long n, long cleaning):
    """The finally clause calls what has checks; it must come to its end."""
    try:
        work(n)
    finally:
        work(cleaning)
        steps.append('clean')


cdef class Guard:
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        work(20000000)
        steps.append('exit')


def guarded(long n):
    with Guard():
        work(n)


ENDLESS = [('sort', 2**30), ('guarded', 10**15)]
SMALL = 2
