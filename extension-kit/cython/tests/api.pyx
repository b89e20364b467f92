# cython: language_level=3
"""For test_interruptible_cython: what an author writes who knows the package."""

from libc.signal cimport SIGINT, raise_

from interruptible cimport (
    backend_name, begin, check, check_gil, check_region, check_region_gil, close, end,
    mask, mask_token, new_token, region, require_native_here, unmask)

from interruptible import masked


def implicit(long n):
    cdef long i
    for i in range(n):
        check()
    with nogil:
        for i in range(n):
            check()


def implicit_nogil(long n):
    cdef long i
    with nogil:
        for i in range(n):
            check()


def implicit_gil(long n):
    cdef long i
    for i in range(n):
        check_gil()


def region_nogil(long n):
    cdef region r
    cdef long i
    begin(&r)
    try:
        with nogil:
            for i in range(n):
                check_region(&r)
        end(&r)
    finally:
        close(&r)


def region_gil(long n):
    cdef region r
    cdef long i
    begin(&r)
    try:
        for i in range(n):
            check_region_gil(&r)
        end(&r)
    finally:
        close(&r)


def pressed_in_masked(log, bint soft=False, long n=50000000):
    """Ctrl-C inside the mask, many checks there, and one after it."""
    cdef long i
    cdef region r
    begin(&r)
    try:
        with masked(soft=soft):
            raise_(SIGINT)
            for i in range(n):
                check()
                check_region_gil(&r)
            with masked():
                check_gil()
            log.append('masked')
        for i in range(n):
            check()
        log.append('too far')
    finally:
        close(&r)


def pressed_in_mask(log, long n=50000000):
    """The same with the C functions."""
    cdef mask_token token = new_token()
    cdef long i
    mask(&token)
    try:
        raise_(SIGINT)
        with nogil:
            for i in range(n):
                check()
        log.append('masked')
    finally:
        unmask(&token)
    for i in range(n):
        check()
    log.append('too far')


def unmask_only():
    cdef mask_token token = new_token()
    unmask(&token)


def require_native():
    require_native_here()


def backend():
    return backend_name().decode()


ENDLESS = [(name, 10**15) for name in (
    'implicit', 'implicit_nogil', 'implicit_gil', 'region_nogil', 'region_gil')]
