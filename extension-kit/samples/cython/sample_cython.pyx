# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
# distutils: extra_compile_args = -fopenmp
# distutils: extra_link_args = -fopenmp
"""Three pieces of work that can be interrupted, in Cython.

A loop over an array, a recursion, and a computation by several threads.  Each has memory
and a temporary file while it runs, and leaves neither behind, whatever ends it: live()
tells.  And a type whose method can be interrupted.  The modules sample_c and sample_rust
do the same.

It needs no GIL.  An interpreter with a GIL of its own cannot have it: Cython 3.3 keeps what
is global in a module for the process, and typed memoryviews do not work there.  Who imports
it again gets the module that there is.
"""

import os
from array import array

from cython.parallel cimport parallel, prange
from libc.errno cimport errno
from libc.math cimport isfinite
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close as close_fd, unlink

from interruptible cimport (
    backend_name, begin, check_gil, check_region, close, decisions, end,
    interruptible_ready, pending, region, team_begin, team_check, team_leave)

cdef extern from "<stdlib.h>":
    int mkstemp(char *template) nogil

cdef extern from *:
    """
    #define SAMPLE_STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define SAMPLE_LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define SAMPLE_ADD(p, n) __atomic_add_fetch((p), (n), __ATOMIC_RELAXED)
    """
    void store "SAMPLE_STORE"(uint32_t *, uint32_t) noexcept nogil
    uint32_t load "SAMPLE_LOAD"(uint32_t *) noexcept nogil
    void store_size "SAMPLE_STORE"(Py_ssize_t *, Py_ssize_t) noexcept nogil
    Py_ssize_t load_size "SAMPLE_LOAD"(Py_ssize_t *) noexcept nogil
    void add "SAMPLE_ADD"(Py_ssize_t *, Py_ssize_t) noexcept nogil

# So that the import says what is wrong with the interpreter, not the first call.
interruptible_ready()

# How many elements are added between two checks: about half a microsecond.
cdef enum:
    BLOCK = 512
    MAX_THREADS = 1024

# Atomic, for builds without a GIL.
cdef Py_ssize_t live_bytes = 0
cdef Py_ssize_t live_files = 0
# Of the parallel_sum() that was interrupted last; nanoseconds, -1 if none was.
cdef Py_ssize_t last_spread = -1
cdef Py_ssize_t last_passed = 0


# --- What a call owns ---

cdef class Work:
    """Memory and a file.  Whoever makes one calls close() in a finally clause.

    All of it is C: no Python code runs here that an interrupt could cut short.
    """

    cdef char *memory
    cdef size_t size
    cdef char *path
    cdef int fd

    def __cinit__(self):
        self.memory = NULL
        self.path = NULL
        self.fd = -1

    cdef int open(self, size_t size, bytes directory) except -1:
        cdef bytes name = directory + b'/sample_cython-XXXXXX\0'
        self.size = size + len(name)
        self.memory = <char *>malloc(self.size)
        if self.memory == NULL:
            raise MemoryError
        add(&live_bytes, self.size)
        self.path = self.memory + size
        memcpy(self.path, <const char *>name, len(name))
        self.fd = mkstemp(self.path)
        if self.fd < 0:
            raise OSError(errno, os.strerror(errno), os.fsdecode(directory))
        add(&live_files, 1)
        return 0

    cdef void close(self) noexcept:
        if self.fd >= 0:
            close_fd(self.fd)
            unlink(self.path)
            self.fd = -1
            add(&live_files, -1)
        if self.memory != NULL:
            free(self.memory)
            self.memory = NULL
            add(&live_bytes, -<Py_ssize_t>self.size)


# --- A loop, GIL released ---

cdef double sum_block(const double *values, Py_ssize_t count) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(count):
        total += values[i]
    return total


cdef double sum_laps(region *r, const double *values, Py_ssize_t count,
                     Py_ssize_t repeat) except? -1 nogil:
    cdef double total = 0
    cdef Py_ssize_t lap, i
    for lap in range(repeat):
        # A lap over nothing is checked, too.
        check_region(r)
        i = 0
        while i < count:
            check_region(r)
            total += sum_block(values + i, min(<Py_ssize_t>BLOCK, count - i))
            i += BLOCK
    return total


def sum_array(const double[::1] values not None, Py_ssize_t repeat, directory, /):
    """The sum of the float64 buffer values, taken repeat times."""
    cdef bytes folder = os.fsencode(directory)
    cdef Py_ssize_t count = values.shape[0]
    cdef Work work = Work()
    cdef region r
    cdef double total
    try:
        # The buffer may be written to while the GIL is released: work on a copy.
        work.open(count * sizeof(double), folder)
        if count:
            memcpy(work.memory, &values[0], count * sizeof(double))
        begin(&r)
        try:
            with nogil:
                total = sum_laps(&r, <double *>work.memory, count, repeat)
            return total
        finally:
            close(&r)
    finally:
        work.close()


# --- A recursion, GIL held ---

# Solutions with the rows above already filled.  The sets of columns and diagonals that
# are attacked are bits.  check_gil() needs no region.
cdef Py_ssize_t place(uint32_t *board, uint32_t all_fields, int row, uint32_t columns,
                      uint32_t left, uint32_t right) except -1:
    check_gil()
    if columns == all_fields:
        return 1
    cdef Py_ssize_t solutions = 0
    cdef uint32_t field, free_fields = all_fields & ~(columns | left | right)
    while free_fields:
        field = free_fields & (0 - free_fields)
        free_fields ^= field
        board[row] = field
        solutions += place(board, all_fields, row + 1, columns | field,
                           (left | field) << 1, (right | field) >> 1)
    return solutions


def queens(int n, directory, /):
    """In how many ways n queens stand on a board without attacking each other."""
    if not 1 <= n <= 31:
        raise ValueError(f'n must be from 1 to 31, not {n}')
    cdef bytes folder = os.fsencode(directory)
    cdef Work work = Work()
    try:
        work.open(n * sizeof(uint32_t), folder)
        return place(<uint32_t *>work.memory, (<uint32_t>1 << n) - 1, 0, 0, 0, 0)
    finally:
        work.close()


# --- Several threads, GIL released ---

cdef double seconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


# What one part of the array leaves.
cdef struct Share:
    double total
    double stopped_at       # 0: not stopped
    Py_ssize_t passed_after


# A check that also counts what must not happen: that it passes although some worker has
# seen before that something waits, and the owner has not decided about it yet.  Decisions
# are numbered; `seen` is the latest number that anybody waits for.
cdef bint stop(region *r, uint32_t *seen, Share *share) noexcept nogil:
    cdef uint32_t awaited, after = decisions(r) + 1
    if pending(r):
        store(seen, after)
    awaited = load(seen)
    if team_check(r):
        return True
    if <int>(awaited - decisions(r)) > 0:
        share.passed_after += 1
    return False


cdef void sum_share(region *r, uint32_t *seen, Share *share, const double *values,
                    Py_ssize_t count, Py_ssize_t repeat) noexcept nogil:
    cdef Py_ssize_t lap, i
    for lap in range(repeat):
        i = 0
        while True:
            if stop(r, seen, share):
                share.stopped_at = seconds()
                return
            share.total += sum_block(values + i, min(<Py_ssize_t>BLOCK, count - i))
            i += BLOCK
            if i >= count:
                break


def parallel_sum(const double[::1] values not None, Py_ssize_t repeat, int threads,
                 directory, /):
    """The sum of the float64 buffer values, taken repeat times, by several threads."""
    if not 1 <= threads <= MAX_THREADS:
        raise ValueError(f'threads must be from 1 to {<int>MAX_THREADS}, not {threads}')
    cdef bytes folder = os.fsencode(directory)
    cdef Py_ssize_t count = values.shape[0]
    cdef Py_ssize_t part = count // threads
    cdef size_t shares_size = threads * sizeof(Share)
    cdef Work work = Work()
    cdef Share *shares
    cdef double *copy
    cdef region r
    cdef uint32_t seen = 0
    cdef uint32_t *seen_by_all = &seen
    cdef int number
    cdef double total = 0
    try:
        work.open(shares_size + count * sizeof(double), folder)
        shares = <Share *>work.memory
        copy = <double *>(work.memory + shares_size)
        memset(shares, 0, shares_size)
        if count:
            memcpy(copy, &values[0], count * sizeof(double))
        begin(&r)
        try:
            team_begin(&r)
            with nogil, parallel(num_threads=threads):
                for number in prange(threads, schedule='static', chunksize=1):
                    sum_share(&r, seen_by_all, &shares[number], copy + number * part,
                              part if number < threads - 1
                              else count - number * part, repeat)
                # Not prange alone: here the owner answers while others still work.
                team_leave(&r)
            try:
                end(&r)
            except:
                note_stop(shares, threads)
                raise
        finally:
            close(&r)
        for number in range(threads):
            total += shares[number].total
        return total
    finally:
        work.close()


cdef void note_stop(Share *shares, int threads) noexcept:
    cdef double first = 0, last = 0
    cdef Py_ssize_t passed_after = 0
    cdef int i
    for i in range(threads):
        passed_after += shares[i].passed_after
        if shares[i].stopped_at == 0:
            continue                # had finished before
        if first == 0 or shares[i].stopped_at < first:
            first = shares[i].stopped_at
        last = max(last, shares[i].stopped_at)
    store_size(&last_passed, passed_after)
    store_size(&last_spread, <Py_ssize_t>((last - first) * 1e9))


# --- A type ---

class Error(ValueError):
    """Values that cannot be worked with."""


# Which is the first that is not finite: -1 if all are.
cdef Py_ssize_t find_bad(region *r, const double *items,
                         Py_ssize_t count) except -2 nogil:
    cdef Py_ssize_t i
    for i in range(count):
        if i % BLOCK == 0:
            check_region(r)
        if not isfinite(items[i]):
            return i
    return -1


cdef bytes as_bytes(Values values):
    return (<char *>values.items)[:values.count * sizeof(double)]


cdef class Values:
    """Values(values, /)

    A copy of the float64 buffer values.  Error if one of them is not finite.
    """

    # Never changes, so it needs no lock where there is no GIL.
    cdef Py_ssize_t count
    cdef double *items

    def __cinit__(self, const double[::1] values not None, /):
        cdef Py_ssize_t bad
        cdef region r
        self.count = values.shape[0]
        self.items = <double *>malloc(self.count * sizeof(double) or 1)
        if self.items == NULL:
            raise MemoryError
        if self.count:
            memcpy(self.items, &values[0], self.count * sizeof(double))
        begin(&r)
        try:
            with nogil:
                bad = find_bad(&r, self.items, self.count)
        finally:
            close(&r)
        if bad >= 0:
            raise Error(f'value {bad} is not finite')

    def __dealloc__(self):
        free(self.items)

    def sum(self, Py_ssize_t repeat=1, /):
        """Their sum, taken repeat times.  Error if it is too large for a float."""
        cdef double total
        cdef region r
        begin(&r)
        try:
            with nogil:
                total = sum_laps(&r, self.items, self.count, repeat)
        finally:
            close(&r)
        if not isfinite(total):
            raise Error('the sum is too large for a float')
        return total

    def __len__(self):
        return self.count

    def __add__(self, other):
        if not isinstance(self, Values) or not isinstance(other, Values):
            return NotImplemented
        return Values(array('d', as_bytes(self) + as_bytes(other)))


# --- About it ---

def live():
    """(bytes, files): what calls of this module have allocated and opened now."""
    return load_size(&live_bytes), load_size(&live_files)


def backend():
    """'native' or 'fallback'."""
    return backend_name().decode()


def last_stop():
    """Of the parallel_sum() that was interrupted last, {} if none was.

    passed_after: how many checks passed although a worker had seen the flag;
    spread: seconds from the first worker's stop to the last one's.
    """
    cdef Py_ssize_t spread = load_size(&last_spread)
    if spread < 0:
        return {}
    return {'passed_after': load_size(&last_passed), 'spread': spread / 1e9}
