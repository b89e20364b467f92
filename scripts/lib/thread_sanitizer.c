/* Linked into the interpreter that has the sanitizer for data races: how it is to
   behave there, as sanitizers.c is for the others. */

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

/* Reports go to files.  A process goes on after one and exits as it would have: that
   there is a report is enough of a failure.

   Tests ask for more memory than there is, to get MemoryError.  Crashes on purpose are
   faulthandler's.  Tests fork while threads run.

   The order in which locks are taken is not looked at: CPython has a lock in each
   object, given up when its thread waits for another, of which the sanitizer knows
   nothing.

   A report shows, and a suppression compares, where the other access came from.  That is
   worked out from what the thread did last, so as much as possible of this is kept. */
const char *
__tsan_default_options(void)
{
    return "log_path=" REPORTS ":suppressions=" SUPPRESSIONS
           ":exitcode=0:allocator_may_return_null=1:die_after_fork=0"
           ":handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0"
           ":handle_sigfpe=0:detect_deadlocks=0:history_size=7";
}

/* When a thread blocks for the first time, the sanitizer's library makes room for signals
   that have come, and in gcc 12 it loses one that comes meanwhile: the thread would not
   be woken.  So each thread blocks once before anybody can know of it. */
static void
block_once(void)
{
    sem_t semaphore;
    sem_init(&semaphore, 0, 1);
    sem_wait(&semaphore);
    sem_destroy(&semaphore);
}

static __attribute__((constructor)) void
begin(void)
{
    block_once();
}

struct thread {
    void *(*function)(void *);
    void *argument;
};

static void *
run(void *memory)
{
    struct thread thread = *(struct thread *)memory;
    free(memory);
    block_once();
    return thread.function(thread.argument);
}

int __interceptor_pthread_create(pthread_t *, const pthread_attr_t *,
                                 void *(*)(void *), void *);

int
pthread_create(pthread_t *id, const pthread_attr_t *attributes,
               void *(*function)(void *), void *argument)
{
    struct thread *thread = malloc(sizeof(struct thread));
    if (thread == NULL) {
        return EAGAIN;
    }
    *thread = (struct thread){function, argument};
    int err = __interceptor_pthread_create(id, attributes, run, thread);
    if (err != 0) {
        free(thread);
    }
    return err;
}
