# from interruptible cimport check, region, begin, ...
#
# All of it is inline C: a module that uses this file needs the kit's headers when it is
# compiled (interruptible.get_include()) and nothing when it runs.  No init call: the first
# begin() or check() of a module imports the interpreter's table.  interruptible_ready()
# does it at a moment of your choice.

cdef extern from "interruptible_cython.h" nogil:
    # A piece of interruptible work.  Do not copy it between begin() and end().
    ctypedef struct region "interruptible_region":
        pass
    ctypedef struct mask_token "interruptible_token":
        pass

    # --- Without a region ---
    # By a thread of Python, with or without the GIL.  In any other thread: does nothing.
    int check "interruptible_cy_check_nogil"() except -1
    # The same, GIL held, a little faster when something has come.
    int check_gil "interruptible_cy_check"() except -1

    # --- Owner of a region ---
    int check_region "interruptible_cy_region_check_nogil"(region *) except -1

    # --- Teams: in `with parallel():`, all threads.  prange cannot raise: on True, break.
    bint team_check "INTERRUPTIBLE_CY_TEAM_CHECK"(region *) noexcept
    void team_leave "INTERRUPTIBLE_CY_TEAM_LEAVE"(region *) noexcept
    # Would a check have something to do?  How often has the owner decided?
    bint pending "interruptible_pending"(const region *) noexcept
    unsigned int decisions "interruptible_decisions"(const region *) noexcept
    # Other threads than OpenMP's, see interruptible.h.
    bint check_worker "interruptible_check_worker"(region *) noexcept
    void worker_done "interruptible_team_worker_done"(region *) noexcept
    int join "interruptible_team_join"(region *, unsigned int workers) noexcept

    const char *backend_name "interruptible_backend"() noexcept

cdef extern from "interruptible_cython.h":
    int interruptible_ready "interruptible_cy_ready"() except -1
    int require_native_here "INTERRUPTIBLE_CY_REQUIRE_NATIVE"() except -1

    int begin "interruptible_cy_begin"(region *) except -1
    # In the owner, GIL held.
    int check_region_gil "interruptible_cy_region_check"(region *) except -1
    # Normal end: raises what a check of the region has found.
    int end "interruptible_end"(region *) except -1
    # For `finally`: raises nothing; also after end().
    void close "interruptible_cy_close"(region *) noexcept
    void team_begin "interruptible_team_begin"(region *) noexcept

    # --- Masks; interruptible.masked() is the context manager ---
    # cdef mask_token token = new_token()
    mask_token new_token "interruptible_cy_new_token"() noexcept
    int mask "interruptible_cy_mask"(mask_token *) except -1
    int mask_soft "interruptible_cy_mask_soft"(mask_token *) except -1
    int unmask "interruptible_unmask"(mask_token *) except -1
