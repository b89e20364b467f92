# cython: language_level=3
"""Loops over objects and C numbers, GIL held.  Nobody has thought of interrupts here."""

import itertools


def for_range(n):
    total = 0
    for i in range(n):
        if i % 3 == 1:
            continue
        total += i
    return total


def for_c_range(long n):
    cdef long i, total = 0
    for i in range(n):
        total = total * 3 + i
    return total


def for_step(long n):
    cdef long i
    total = []
    for i in range(n, 0, -max(n // 7, 1)):
        total.append(i)
    for i from 0 <= i < n:
        if i & (i - 1) == 0:
            total.append(i)
    return total


def while_else(long n):
    cdef long i = 0
    while i < n:
        i += 1
        if i == -1:
            break
    else:
        i = -i
    return i


def for_object(n):
    total = 0
    for item in itertools.repeat(3, n):
        total += item
    else:
        total += 1
    return total


def for_dict(n):
    mapping = {key: str(key) for key in range(min(n, 1000))}
    total = []
    for _ in range(n // 1000 + 1):
        total.clear()
        for key, value in mapping.items():
            total.append((value, key))
        for value in mapping.values():
            total.append(value)
    return total


def nested(long n):
    cdef long i, j, total = 0
    for i in range(n):
        for j in range(n):
            if j > i:
                break
            total ^= i * j
    return total


def comprehension(n):
    return len([i for i in range(n) if i % 7 == 0]), sum(i for i in range(n))


def unpacked(n):
    a, *b = (i for i in range(n + 1))
    return a, len(b), any(i < 0 for i in range(n)), all(i >= 0 for i in range(n))


def caught(n):
    total = 0
    for i in range(n):
        try:
            if i % 2:
                raise ValueError(i)
            total += 1
        except ValueError as error:
            total -= error.args[0]
        finally:
            for _ in range(2):
                total += 1
    return total


cdef class Account:
    cdef public list log

    def __cinit__(self):
        self.log = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for i in range(3):
            self.log.append(i)

    cpdef long work(self, long n) except? -1:
        cdef long i, total = 0
        while True:
            i = total & 7
            total += 1 + i
            if total > n:
                return total

    def __dealloc__(self):
        cdef int i
        for i in range(3):
            pass


def method(long n):
    with Account() as account:
        result = account.work(n)
    return result, account.log


class Walk:
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        i = 0
        while i < self.n:
            yield i
            i += 1


def walk(n):
    total = 0
    for i in Walk(n):
        total += i
    return total


def closure(n):
    total = 0

    def add():
        nonlocal total
        for i in range(n):
            total += i
        return total

    return add() + (lambda: sum([i for i in range(n)]))()


def delegating(n):
    def inner():
        for i in range(n):
            got = yield i
            if got:
                return got

    def outer():
        result = yield from inner()
        yield result

    return sum(value or 0 for value in outer())


ENDLESS = [
    ('for_range', 10**12), ('for_c_range', 10**15), ('for_step', 10**15),
    ('while_else', 10**15), ('for_object', 10**12), ('for_dict', 10**12),
    ('nested', 10**9), ('comprehension', 10**12), ('unpacked', 10**12),
    ('caught', 10**12), ('method', 10**15), ('walk', 10**12), ('closure', 10**12),
    ('delegating', 10**12)]
SMALL = 5000
