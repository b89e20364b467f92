# cython: language_level=3, boundscheck=False, cdivision=True
# cython: freethreading_compatible=True
# distutils: extra_compile_args = -fopenmp
# distutils: extra_link_args = -fopenmp
"""A prange that stops promptly: how many points of the plane are in the Mandelbrot set.

The four steps: begin() and team_begin(); team_check() in the loop, on True break;
team_leave() as the last statement of the parallel block; end(), which raises.
"""

from cython.parallel cimport parallel, prange
from openmp cimport omp_get_max_threads

from interruptible cimport begin, close, end, region, team_begin, team_check, team_leave


# A check every 1024 steps: the longest a thread goes on is a few microseconds.
cdef bint is_member(double x, double y, long steps, region *r) noexcept nogil:
    cdef double a = 0, b = 0, square
    cdef long i
    for i in range(steps):
        if i % 1024 == 0 and team_check(r):
            return False
        square = a * a - b * b + x
        b = 2 * a * b + y
        a = square
        if a * a + b * b > 4:
            return False
    return True


def members(int size, long steps, int threads=0, /):
    """Of size * size points, by so many threads (0: OpenMP's default)."""
    cdef region r
    cdef long point, total = 0
    cdef long points = <long>size * size
    if threads < 1:
        threads = omp_get_max_threads()
    begin(&r)
    try:
        team_begin(&r)
        with nogil, parallel(num_threads=threads):
            for point in prange(points, schedule='dynamic', chunksize=16):
                if team_check(&r):
                    break
                total += is_member(3.0 * (point % size) / size - 2,
                                   2.0 * (point // size) / size - 1, steps, &r)
            team_leave(&r)
        end(&r)
        return total
    finally:
        close(&r)
