/* An application that embeds Python, for test_interrupt_embedding: one function
   for each test, chosen by the first argument.  It is linked with the library
   that the interpreter is made of. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what)                                                       \
    do {                                                                  \
        if (!(what)) {                                                    \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__,    \
                    #what);                                               \
            if (PyErr_Occurred()) {                                       \
                PyErr_Print();                                            \
            }                                                             \
            exit(1);                                                      \
        }                                                                 \
    } while (0)

/* What tests return if they have nothing to try. */
#define NOT_POSSIBLE 77

static const char *python;      /* where that is whose library is used */
static int allocator = PYMEM_ALLOCATOR_NOT_SET;

static void
check_status(PyStatus status)
{
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
}

/* What Python has of the heap, in bytes, if that is counted.  It forgets some of it at
   the end of each life, compiled code above all, not always as much.  What others have,
   the interrupt core above all, is the rest, and has to be the same each time. */
static atomic_size_t python_bytes = 0;

static void *
counted(void *block)
{
    python_bytes += malloc_usable_size(block) + sizeof(size_t);
    return block;
}

static void
uncounted(void *block)
{
    if (block != NULL) {
        python_bytes -= malloc_usable_size(block) + sizeof(size_t);
    }
}

static void *
count_malloc(void *ctx, size_t size)
{
    return counted(malloc(size ? size : 1));
}

static void *
count_calloc(void *ctx, size_t number, size_t size)
{
    return counted(number && size ? calloc(number, size) : calloc(1, 1));
}

static void *
count_realloc(void *ctx, void *block, size_t size)
{
    uncounted(block);
    return counted(realloc(block, size ? size : 1));
}

static void
count_free(void *ctx, void *block)
{
    uncounted(block);
    free(block);
}

static void
start(void)
{
    PyPreConfig preconfig;
    PyPreConfig_InitIsolatedConfig(&preconfig);
    preconfig.allocator = allocator;
    check_status(Py_PreInitialize(&preconfig));
    if (allocator == PYMEM_ALLOCATOR_MALLOC) {
        PyMemAllocatorEx count = {NULL, count_malloc, count_calloc, count_realloc,
                                  count_free};
        PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &count);
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &count);
        PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &count);
    }
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.install_signal_handlers = 1;
    check_status(PyConfig_SetBytesString(&config, &config.program_name, python));
    check_status(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

static void
run(const char *source)
{
    CHECK(PyRun_SimpleString(source) == 0);
}

/* The value of an expression in __main__. */
static long
value(const char *source)
{
    PyObject *globals = PyModule_GetDict(PyImport_AddModule("__main__"));
    PyObject *result = PyRun_String(source, Py_eval_input, globals, globals);
    CHECK(result != NULL);
    long number = PyLong_AsLong(result);
    CHECK(!PyErr_Occurred());
    Py_DECREF(result);
    return number;
}

/* Has this been raised?  Not any more. */
static int
raised(const char *name)
{
    PyObject *exc = PyErr_GetRaisedException();
    int is_it = exc != NULL && strcmp(Py_TYPE(exc)->tp_name, name) == 0;
    Py_XDECREF(exc);
    return is_it;
}

static pthread_t
start_thread(void *(*function)(void *), void *arg)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, function, arg) == 0);
    return thread;
}

/* Wait for one that needs the GIL to end. */
static void
join(pthread_t thread)
{
    Py_BEGIN_ALLOW_THREADS
    CHECK(pthread_join(thread, NULL) == 0);
    Py_END_ALLOW_THREADS
}

static pid_t
this_tid(void)
{
    return (pid_t)syscall(SYS_gettid);
}


/* --- States that belong to nobody in particular ---------------------------- */

/* The main thread runs with another state than its first when a signal comes.
   Only C code looks. */
static int
test_main_with_another_state(void)
{
    start();
    PyThreadState *first = PyThreadState_Get();
    PyThreadState *other = PyThreadState_New(PyInterpreterState_Main());
    PyThreadState_Swap(other);
    CHECK(PyErr_CheckSignals() == 0);
    raise(SIGINT);
    CHECK(PyErr_CheckSignals() == -1);
    CHECK(raised("KeyboardInterrupt"));
    CHECK(PyErr_CheckSignals() == 0);

    /* It waits for this state, and goes with it. */
    PyInterruptMask mask;
    CHECK(PyInterrupt_Mask(&mask, PyInterrupt_MASK_SOFT) == 0);
    raise(SIGINT);
    CHECK(PyErr_CheckSignals() == 0);
    CHECK(PyInterrupt_CheckBlocked() == -1);
    CHECK(raised("KeyboardInterrupt"));
    raise(SIGINT);
    CHECK(PyErr_CheckSignals() == 0);
    CHECK(PyInterrupt_Unmask(&mask) == 0);
    CHECK(PyErr_CheckSignals() == -1);
    CHECK(raised("KeyboardInterrupt"));
    CHECK(PyInterrupt_Mask(&mask, PyInterrupt_MASK_HARD) == 0);
    raise(SIGINT);
    CHECK(PyErr_CheckSignals() == 0);
    PyThreadState_Clear(other);
    PyThreadState_Swap(first);
    PyThreadState_Delete(other);
    CHECK(PyErr_CheckSignals() == 0);
    CHECK(!PyInterrupt_IsMasked());

    raise(SIGINT);
    CHECK(PyErr_CheckSignals() == -1);
    CHECK(raised("KeyboardInterrupt"));
    return Py_FinalizeEx();
}

#define BLOCKS \
    "import threading, time\n"                                            \
    "class Interrupt(Exception): pass\n"                                  \
    "threads = []\n"                                                      \
    "woken = False\n"                                                     \
    "def block():\n"                                                      \
    "    global woken\n"                                                  \
    "    woken = False\n"                                                 \
    "    threads.append(threading.current_thread())\n"                    \
    "    try:\n"                                                          \
    "        time.sleep(1000)\n"                                          \
    "    except Interrupt:\n"                                             \
    "        woken = True\n"                                              \
    "    end.append(time.monotonic())\n"                                  \
    "def interrupt():\n"                                                  \
    "    while not threads: time.sleep(0.001)\n"                          \
    "    time.sleep(0.05)\n"                                              \
    "    start = time.monotonic()\n"                                      \
    "    assert threads.pop().interrupt(Interrupt)\n"                     \
    "    while not end: time.sleep(0.001)\n"                              \
    "    return woken and end.pop() - start < 5\n"                        \
    "end = []\n"

static PyThreadState *made_state = NULL;

static void *
make_state(void *number)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    made_state = PyThreadState_New(PyInterpreterState_Main());
    PyGILState_Release(gil);
    *(pid_t *)number = this_tid();
    return NULL;
}

static void *
block_with_state(void *arg)
{
    PyEval_RestoreThread(made_state);
    run("block()");
    PyThreadState_Clear(made_state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

/* A state that one thread has made, and another one runs with: that one is woken. */
static int
test_state_of_another_thread(void)
{
    start();
    run(BLOCKS);
    made_state = PyThreadState_New(PyInterpreterState_Main());
    pthread_t thread = start_thread(block_with_state, NULL);
    CHECK(value("interrupt()"));
    join(thread);
    return Py_FinalizeEx();
}

static pid_t wanted;
static sem_t looked;
static int found = 0;
static int pipe_ends[2];
static ssize_t read_result;

/* Knows nothing of Python. */
static void *
read_if_wanted(void *arg)
{
    found = this_tid() == wanted;
    sem_post(&looked);
    if (found) {
        char byte;
        read_result = read(pipe_ends[0], &byte, 1);
    }
    return NULL;
}

/* Start a thread with this number.  Return whether that was possible. */
static int
start_with_number(pid_t number, pthread_t *thread)
{
    long numbers = 0;
    FILE *file = fopen("/proc/sys/kernel/pid_max", "r");
    if (file != NULL) {
        (void)fscanf(file, "%ld", &numbers);
        fclose(file);
    }
    if (numbers > 100000) {
        return 0;
    }
    wanted = number;
    CHECK(sem_init(&looked, 0, 0) == 0);
    /* Others may take it the first time. */
    for (long i = 0; i < 3 * numbers; i++) {
        *thread = start_thread(read_if_wanted, NULL);
        while (sem_wait(&looked) < 0) {
        }
        if (found) {
            return 1;
        }
        CHECK(pthread_join(*thread, NULL) == 0);
    }
    return 0;
}

/* The thread that has made the state has ended, and another one has its number. */
static int
test_number_is_used_again(void)
{
    start();
    run(BLOCKS);
    pid_t number;
    join(start_thread(make_state, &number));
    pthread_t thread = start_thread(block_with_state, NULL);
    pthread_t stranger;
    CHECK(pipe(pipe_ends) == 0);
    int possible;
    Py_BEGIN_ALLOW_THREADS
    possible = start_with_number(number, &stranger);
    Py_END_ALLOW_THREADS
    if (!possible) {
        return NOT_POSSIBLE;
    }
    int woken = (int)value("interrupt()");
    CHECK(write(pipe_ends[1], "!", 1) == 1);
    join(stranger);
    join(thread);
    /* Not EINTR: no signal of ours has come there. */
    CHECK(read_result == 1);
    CHECK(woken);
    return Py_FinalizeEx();
}

static void *
block_and_go_on(void *arg)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyThreadState *own = PyThreadState_Swap(made_state);
    run("with threading.timeout(1000):\n"
        "    block()\n");
    PyThreadState_Swap(own);
    PyGILState_Release(gil);
    return NULL;
}

static void *
send_interrupt(void *result)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    *(int *)result = (int)value("interrupt()");
    PyGILState_Release(gil);
    return NULL;
}

/* A state that runs in one thread after another: timers and signals are for the one
   that it runs in. */
static int
test_state_that_moves(void)
{
    start();
    run(BLOCKS);
    PyThreadState *first = PyThreadState_Get();
    made_state = PyThreadState_New(PyInterpreterState_Main());
    pthread_t thread = start_thread(block_and_go_on, NULL);
    CHECK(value("interrupt()"));
    join(thread);

    PyThreadState_Swap(made_state);
    int woken;
    thread = start_thread(send_interrupt, &woken);
    run("block()");
    join(thread);
    CHECK(woken);
    run("start = time.monotonic()\n"
        "try:\n"
        "    with threading.timeout(0.05):\n"
        "        time.sleep(10)\n"
        "except TimeoutError:\n"
        "    pass\n"
        "assert time.monotonic() - start < 5\n");
    PyThreadState_Clear(made_state);
    PyThreadState_Swap(first);
    PyThreadState_Delete(made_state);

    /* The same in the child of a fork, where this thread has another number. */
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
        made_state = PyThreadState_New(PyInterpreterState_Main());
        thread = start_thread(block_and_go_on, NULL);
        CHECK(value("interrupt()"));
        join(thread);
        PyThreadState_Swap(made_state);
        thread = start_thread(send_interrupt, &woken);
        run("block()");
        join(thread);
        CHECK(woken);
        _exit(7);
    }
    PyOS_AfterFork_Parent();
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    return Py_FinalizeEx();
}


/* --- Threads that Python has not made ---------------------------------------- */

static void *
end_with_something_waiting(void *arg)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    run("import threading, weakref\n"
        "class Interrupt(Exception): pass\n"
        "old = threading.current_thread()\n"
        "threading.nointerrupts.__enter__()\n"
        "exc = Interrupt()\n"
        "old.interrupt(exc)\n"
        "old.interrupt(KeyError)\n"
        "waits = weakref.ref(exc)\n"
        "del exc\n"
        "assert threading.interrupts_masked()\n"
        "assert threading.interrupts_pending()\n"
        "assert waits() is not None\n");
    PyInterruptMask mask;
    CHECK(PyInterrupt_Mask(&mask, PyInterrupt_MASK_HARD) == 0);
    PyGILState_Release(gil);

    /* The same thread, with a new state. */
    gil = PyGILState_Ensure();
    CHECK(!PyInterrupt_IsMasked());
    CHECK(PyErr_CheckSignals() == 0);
    run("assert waits() is None\n"
        "assert not threading.interrupts_masked()\n"
        "assert not threading.interrupts_pending()\n"
        "assert not old.interrupt(Interrupt)\n"
        "new = threading.current_thread()\n"
        "assert new is not old\n");
#ifndef Py_DEBUG
    CHECK(PyInterrupt_Unmask(&mask) == -1);
    CHECK(raised("RuntimeError"));
#endif
    run("try:\n"
        "    with threading.nointerrupts:\n"
        "        new.interrupt(Interrupt)\n"
        "        went_on = True\n"
        "    went_on = False\n"
        "except Interrupt:\n"
        "    pass\n");
    CHECK(value("went_on"));
    PyGILState_Release(gil);
    return NULL;
}

static int
test_foreign_thread_ends(void)
{
    start();
    for (int i = 0; i < 3; i++) {
        join(start_thread(end_with_something_waiting, NULL));
    }
    CHECK(value("new.interrupt(Interrupt)") == 0);
    return Py_FinalizeEx();
}

static void *
mask_and_enter_again(void *arg)
{
    PyGILState_STATE outer = PyGILState_Ensure();
    PyInterruptMask mask, inner_mask;
    run("import threading\n"
        "me = threading.current_thread()\n"
        "class Interrupt(Exception): pass\n");
    CHECK(PyInterrupt_Mask(&mask, PyInterrupt_MASK_HARD) == 0);
    run("me.interrupt(Interrupt('masked'))\n");
    PyGILState_STATE inner = PyGILState_Ensure();
    CHECK(PyInterrupt_IsMasked());
    CHECK(PyInterrupt_Mask(&inner_mask, PyInterrupt_MASK_SOFT) == 0);
    run("me.interrupt(Interrupt('also'))\n");
    PyGILState_Release(inner);
    PyThreadState *state = PyEval_SaveThread();
    inner = PyGILState_Ensure();
    CHECK(PyErr_CheckSignals() == 0);
    CHECK(PyInterrupt_Unmask(&inner_mask) == 0);
    CHECK(PyErr_CheckSignals() == 0);
    PyGILState_Release(inner);
    PyEval_RestoreThread(state);
    CHECK(PyInterrupt_Unmask(&mask) == 0);
    CHECK(!PyInterrupt_IsMasked());
    CHECK(PyErr_CheckSignals() == -1);
    CHECK(raised("ExceptionGroup"));
    CHECK(PyErr_CheckSignals() == 0);
    PyGILState_Release(outer);
    return NULL;
}

static int
test_foreign_thread_masks(void)
{
    start();
    join(start_thread(mask_and_enter_again, NULL));
    return Py_FinalizeEx();
}

static void *
wait_and_enter(void *ident)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    *(int *)ident = (int)value("threading.get_ident() == ident");
    CHECK(value("thread.interrupt(Interrupt)") == 0);
    CHECK(value("thread.terminate()") == 0);
    CHECK(PyErr_CheckSignals() == 0);
    run("for i in range(100): pass\n");
    PyGILState_Release(gil);
    return NULL;
}

/* What is sent to a thread that has ended does not come to a foreign one that has got
   its identifier. */
static int
test_identifier_is_used_again(void)
{
    start();
    run("import threading\n"
        "class Interrupt(Exception): pass\n"
        "thread = threading.Thread(target=lambda: None)\n");
    int same = 0;
    for (int i = 0; i < 100 && !same; i++) {
        run("thread = threading.Thread(target=lambda: None)\n"
            "thread.start()\n"
            "thread.join()\n"
            "ident = thread.ident\n");
        join(start_thread(wait_and_enter, &same));
    }
    return same ? Py_FinalizeEx() : NOT_POSSIBLE;
}


/* --- One life after another --------------------------------------------------- */

static int
count_entries(const char *directory)
{
    int count = 0;
    DIR *dir = opendir(directory);
    CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static int
count_timers(void)
{
    int count = 0;
    char line[200];
    FILE *file = fopen("/proc/self/timers", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        count += strncmp(line, "ID:", 3) == 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

static void *
run_in_foreign_thread(void *source)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    run(source);
    PyGILState_Release(gil);
    return NULL;
}

/* Arguments: how many lives; what to run in each, at first, in a foreign thread, and at
   the end.  Prints what there is after each: bytes, bytes that are not Python's, threads,
   files, timers. */
static int
test_lives(char **argv)
{
    int lives = atoi(argv[0]);
    allocator = PYMEM_ALLOCATOR_MALLOC;
    mallopt(M_ARENA_MAX, 1);
    /* These keep what is free, but count it as used. */
    mallopt(M_MXFAST, 0);
    for (int i = 0; i < lives; i++) {
        start();
        run(argv[1]);
        join(start_thread(run_in_foreign_thread, argv[2]));
        run(argv[3]);
        CHECK(Py_FinalizeEx() == 0);
        struct mallinfo2 info = mallinfo2();
        size_t bytes = info.uordblks + info.hblkhd;
        printf("%zu %zd %d %d %d\n", bytes, (Py_ssize_t)(bytes - python_bytes),
               count_entries("/proc/self/task"), count_entries("/proc/self/fd"),
               count_timers());
    }
    return 0;
}

static volatile sig_atomic_t mine = 0;

static void
my_handler(int signum)
{
    mine++;
}

static int
is_mine(int signum)
{
    struct sigaction now;
    CHECK(sigaction(signum, NULL, &now) == 0);
    return now.sa_handler == my_handler;
}

/* The application has a handler for the signal that wakes threads. */
static int
test_handler_is_given_back(void)
{
    struct sigaction action = {.sa_handler = my_handler};
    CHECK(sigaction(SIGURG, &action, NULL) == 0);
    for (int i = 1; i <= 3; i++) {
        start();
        run("import threading, time\n"
            "class Interrupt(Exception): pass\n"
            "def work(timeout=threading.timeout, sleep=time.sleep):\n"
            "    try:\n"
            "        with timeout(0.001):\n"
            "            sleep(10)\n"
            "    except TimeoutError:\n"
            "        pass\n"
            "class Last:\n"
            "    def __del__(self, work=work):\n"
            "        work()\n"
            "work()\n");
        CHECK(!is_mine(SIGURG));
        CHECK(mine == 2 * i - 2);
        raise(SIGURG);
        CHECK(mine == 2 * i - 1);
        /* When it is collected, signals have been given back already. */
        run("import gc\n"
            "gc.disable()\n"
            "last = Last()\n"
            "last.me = last\n"
            "del last\n");
        CHECK(Py_FinalizeEx() == 0);
        CHECK(is_mine(SIGURG));
        raise(SIGURG);
        CHECK(mine == 2 * i);
    }
    return 0;
}

static void
is_taken(int signum, void *arg)
{
}

/* Who looks at signals is known for the process, whoever allocates memory. */
static int
test_pollers_stay(void)
{
    static const PyInterruptPoller pollers[2] = {{"one", is_taken, NULL},
                                                 {"two", is_taken, NULL}};
    start();
    CHECK(PyInterrupt_AddPoller(&pollers[0]) == 0);
    CHECK(Py_FinalizeEx() == 0);
    allocator = PYMEM_ALLOCATOR_MALLOC_DEBUG;
    start();
    CHECK(PyInterrupt_AddPoller(&pollers[1]) == 0);
    CHECK(PyInterrupt_RemovePoller(&pollers[0]) == 0);
    CHECK(PyInterrupt_RemovePoller(&pollers[0]) == -1);
    CHECK(raised("RuntimeError"));
    CHECK(Py_FinalizeEx() == 0);
    allocator = PYMEM_ALLOCATOR_MALLOC;
    start();
    CHECK(PyInterrupt_RemovePoller(&pollers[1]) == 0);
    return Py_FinalizeEx();
}

/* A thread blocks, and goes on doing so, while the interpreter ends and starts again.
   How it was woken is used for others, and the timer it has left does not go off. */
static int leave_pipe[2];
static ssize_t left_result;

static void *
block_for_lives(void *arg)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    run("blocked.append(threading.current_thread())\n"
        "threading.timeout(0.3).__enter__()\n");
    PyGILState_Release(gil);
    sem_post(&looked);
    char byte;
    left_result = read(leave_pipe[0], &byte, 1);
    return NULL;
}

static int
test_thread_outlives_the_interpreter(void)
{
    CHECK(pipe(leave_pipe) == 0);
    CHECK(sem_init(&looked, 0, 0) == 0);
    pthread_t thread;
    for (int i = 0; i < 5; i++) {
        start();
        run(BLOCKS "blocked = []\n");
        if (i == 0) {
            thread = start_thread(block_for_lives, NULL);
            Py_BEGIN_ALLOW_THREADS
            while (sem_wait(&looked) < 0) {
            }
            Py_END_ALLOW_THREADS
            CHECK(value("blocked[0].interrupt(Interrupt)") == 0);
        }
        run("for i in range(5):\n"
            "    thread = threading.Thread(target=block)\n"
            "    thread.start()\n"
            "    assert interrupt()\n"
            "    thread.join()\n");
        CHECK(Py_FinalizeEx() == 0);
    }
    CHECK(write(leave_pipe[1], "!", 1) == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(left_result == 1);
    return 0;
}


/* --- Stacks ----------------------------------------------------------------- */

/* What is there of a stack of frames: libraries that switch between stacks exchange
   this. */
typedef struct {
    _PyStackChunk *chunk;
    PyObject **top, **limit;
} stack;

static stack
switch_to(stack other)
{
    PyThreadState *tstate = PyThreadState_Get();
    stack this = {tstate->datastack_chunk, tstate->datastack_top,
                  tstate->datastack_limit};
    tstate->datastack_chunk = other.chunk;
    tstate->datastack_top = other.top;
    tstate->datastack_limit = other.limit;
    return this;
}

static void
free_stack(stack dead)
{
    PyObjectArenaAllocator arenas;
    PyObject_GetArenaAllocator(&arenas);
    while (dead.chunk != NULL) {
        _PyStackChunk *previous = dead.chunk->previous;
        arenas.free(arenas.ctx, dead.chunk, dead.chunk->size);
        dead.chunk = previous;
    }
}

/* A stack that has ended with a scope that a call had entered.  The next one begins
   at the same address. */
static int
test_stack_at_the_same_address(void)
{
    start();
    run("import threading, _interrupts\n");
    void *first = NULL;
    int again = 0;
    for (int i = 0; i < 10; i++) {
        stack outer = switch_to((stack){NULL});
        CHECK(value("_interrupts.interrupts_masked()") == 0);
        void *chunk = PyThreadState_Get()->datastack_chunk;
        again += chunk == first;
        first = chunk;
        run("threading.nointerrupts().__enter__()\n");
        CHECK(value("_interrupts.interrupts_masked()") == 1);
        stack inner = switch_to(outer);
        CHECK(value("_interrupts.interrupts_masked()") == 0);
        free_stack(inner);
    }
    CHECK(Py_FinalizeEx() == 0);
    /* A sanitizer does not give what is free again so soon. */
    return again > 0 ? 0 : NOT_POSSIBLE;
}

/* C code enters a scope before the first function has run on its stack. */
static void *
enter_before_any_frame(void *arg)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *module = PyImport_AddModule("__main__");
    CHECK(PyThreadState_Get()->datastack_chunk == NULL);
    PyObject *scope = PyObject_GetAttrString(module, "scope");
    PyObject *result = PyObject_CallMethod(scope, "__enter__", NULL);
    CHECK(result != NULL);
    Py_DECREF(result);
    CHECK(value("_interrupts.interrupts_masked()") == 1);
    result = PyObject_CallMethod(scope, "__exit__", "OOO", Py_None, Py_None, Py_None);
    CHECK(result != NULL);
    Py_DECREF(result);
    Py_DECREF(scope);
    CHECK(value("_interrupts.interrupts_masked()") == 0);
    PyGILState_Release(gil);
    return NULL;
}

static int
test_scope_before_any_frame(void)
{
    start();
    run("import threading, _interrupts\n"
        "scope = threading.nointerrupts()\n");
    join(start_thread(enter_before_any_frame, NULL));
    CHECK(Py_FinalizeEx() == 0);
    return 0;
}


int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*function)(void);
    } tests[] = {
        {"main_with_another_state", test_main_with_another_state},
        {"state_of_another_thread", test_state_of_another_thread},
        {"number_is_used_again", test_number_is_used_again},
        {"state_that_moves", test_state_that_moves},
        {"foreign_thread_ends", test_foreign_thread_ends},
        {"foreign_thread_masks", test_foreign_thread_masks},
        {"identifier_is_used_again", test_identifier_is_used_again},
        {"handler_is_given_back", test_handler_is_given_back},
        {"pollers_stay", test_pollers_stay},
        {"thread_outlives_the_interpreter", test_thread_outlives_the_interpreter},
        {"stack_at_the_same_address", test_stack_at_the_same_address},
        {"scope_before_any_frame", test_scope_before_any_frame},
    };
    CHECK(argc > 2);
    python = argv[1];
    if (strcmp(argv[2], "lives") == 0) {
        CHECK(argc == 7);
        return test_lives(argv + 3);
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(tests); i++) {
        if (strcmp(argv[2], tests[i].name) == 0) {
            return tests[i].function();
        }
    }
    CHECK(!"known test");
}
