# cython: language_level=3, cdivision=True
"""nogil blocks and functions, with each kind of error report; fused types, structs."""

from libc.stdlib cimport free, malloc

cimport cython

ctypedef fused number:
    int
    long
    double

cdef struct Pair:
    long a
    double b


def block(long n):
    cdef long i, total = 0
    with nogil:
        for i in range(n):
            total = total * 5 + i
    return total


cdef long implicit(long n) nogil:
    cdef long i, total = 0
    for i in range(n):
        total = total * 5 + i
    return total


cdef long explicit(long n) except? -7 nogil:
    cdef long i = 0
    while i < n:
        i += 1 + (i & 1)
    return i


cdef void nothing(long n, long *result) except * nogil:
    cdef long i
    for i in range(n):
        result[0] += i ^ 5


cdef Pair struct_result(long n) nogil:
    cdef Pair pair
    cdef long i
    pair.a = pair.b = 0
    for i in range(n):
        pair.a += i
        pair.b += 0.5
    return pair


cdef long silent(long n) noexcept nogil:
    cdef long i, total = 0
    for i in range(n):
        total = total * 5 + i
    return total


cdef number fused(number n, number step) nogil:
    cdef number total = 0
    while total < n:
        total += step
    return total


def call_implicit(long n):
    with nogil:
        n = implicit(n)
    return n


def call_implicit_with_gil(long n):
    return implicit(n)


def call_explicit(long n):
    cdef long result
    with nogil:
        result = explicit(n)
    return result


def call_nothing(long n):
    cdef long result = 0
    with nogil:
        nothing(n, &result)
    return result


def call_struct(long n):
    cdef Pair pair
    with nogil:
        pair = struct_result(n)
    return pair.a, pair.b


def call_silent(long n):
    return silent(min(n, 10**6))


def call_fused(long n):
    if n < 1000000:
        return fused[int](n, 3), fused[long](n, 5), fused[double](n, 0.5)
    return fused[double](n, 0.5)


def memory(long n):
    cdef long i, total = 0
    cdef long *values = <long *>malloc(64 * sizeof(long))
    try:
        with nogil:
            for i in range(n):
                values[i & 63] = i
        for i in range(min(n, 64)):
            total += values[i]
        return total
    finally:
        free(values)
        released.append(1)


released = []


@cython.wraparound(False)
def view(long n):
    cdef char buffer[256]
    cdef char[::1] values = <char[:256]>buffer
    cdef long i, total = 0
    values[:] = 1
    with nogil:
        for i in range(n):
            values[i % 256] += 1
    for i in range(256):
        total += values[i]
    return total


def in_and_out(long n):
    cdef long i, total = 0
    with nogil:
        for i in range(n):
            if i % 1000 == 0:
                with gil:
                    for item in [1, 2, 3]:
                        total += item
    return total


def generator(long n):
    def inner():
        cdef long i, j, total = 0
        for i in range(n):
            with nogil:
                for j in range(100):
                    total += j
            yield total
    return sum(inner())


ENDLESS = [(name, 10**15) for name in (
    'block', 'call_implicit', 'call_implicit_with_gil', 'call_explicit', 'call_nothing',
    'call_struct', 'call_fused', 'memory', 'view', 'in_and_out', 'generator')]
SMALL = 5000
