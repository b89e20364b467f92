"""Threads: what becomes of them, and what is done with what is sent to them.

Thread.wait(), attach() and detach(), and the corners of interrupt().  The
queue itself is tested in test_interrupt_queue, what breaks blocked calls in
test_interrupt_blocking.  The promises are written down in
InternalDocs/interrupt_masking.md.
"""

import _thread
import gc
import itertools
import math
import os
import queue
import random
import select
import signal
import sys
import threading
import time
import traceback
import unittest
import weakref
from threading import (
    WaitTimeoutError, interrupts, interrupts_masked, interrupts_pending,
    nointerrupts)

from test import support
from test.support import (
    import_helper, interrupt_masks, script_helper, threading_helper)
from test.support.interrupt_masks import may_need_masks, needs_masks
from test.support.interrupt_sweep import sweep
from test.test_interrupt_blocking import BlockingTestCase


class A(Exception):
    """One of several that are sent."""


class B(A):
    """More specific."""


class C(B):
    """Still more."""


class Base(BaseException):
    """One that is no Exception."""


class Died(Exception):
    """What a thread dies of."""


def die():
    raise Died


def contexts(exc):
    while exc is not None:
        yield exc
        exc = exc.__context__


class ThreadsTestCase(BlockingTestCase):

    def setUp(self):
        super().setUp()
        # What has been reported, without the traceback, which has frames.
        self.reported = []
        reported = self.reported

        def hook(args):
            reported.append((args.thread, args.exc_type))
        self.enterContext(support.swap_attr(threading, 'excepthook', hook))
        self.addCleanup(reported.clear)

    def start(self, target, *args, **kwargs):
        thread = threading.Thread(target=target, args=args, daemon=True,
                                  **kwargs)
        thread.start()
        return thread

    def join(self, thread):
        thread.join(support.SHORT_TIMEOUT)
        self.assertFalse(thread.is_alive(), 'the thread hangs')

    def until(self, condition):
        for _ in support.sleeping_retry(support.SHORT_TIMEOUT):
            if condition():
                break

    def start_waiters(self, thread, count=1):
        """Threads that wait() for it.  Returns them, and what they get."""
        got = []

        def run():
            try:
                got.append(thread.wait())
            except BaseException as exc:
                got.append(exc)
        waiters = [self.start(run) for _ in range(count)]
        self.until(lambda: thread._wait_count == count
                           or not thread.is_alive())
        return waiters, got


class WaitTests(ThreadsTestCase):
    """Thread.wait()"""

    def test_result(self):
        for result in object(), None, 0, Died():
            with self.subTest(result=result):
                thread = self.start(lambda: result)
                self.assertIs(thread.wait(), result)
                self.assertIs(thread.wait(), result)
                self.assertIs(thread.wait(0), result)
        self.assertIsNone(self.start(None).wait())

    def test_result_of_run(self):
        class Mine(threading.Thread):
            def run(self):
                return 'mine'

        class Both(threading.Thread):
            def run(self):
                super().run()
        for thread, expected in (
            (Mine(target=lambda: 'target'), 'mine'),
            (Both(target=lambda: 'target'), 'target'),
        ):
            thread.start()
            self.assertEqual(thread.wait(), expected)

    def test_arguments(self):
        thread = self.start(lambda *args, **kwargs: (args, kwargs), 1,
                            kwargs={'a': 2})
        self.assertEqual(thread.wait(), ((1,), {'a': 2}))

    def test_all_get_the_exception(self):
        let_go = threading.Event()
        died = Died('data')

        def run():
            let_go.wait()
            raise died
        thread = self.start(run)
        waiters, got = self.start_waiters(thread, 5)
        let_go.set()
        for waiter in waiters:
            self.join(waiter)
        self.assertEqual(got, [died] * 5)
        # Those who come later, too.
        for timeout in None, 0, 1:
            with self.assertRaises(Died) as caught:
                thread.wait(timeout)
            self.assertIs(caught.exception, died)
        self.assertEqual(self.reported, [])
        self.assertEqual(thread._wait_count, 0)

    def test_exceptions_of_all_kinds(self):
        for exc in (Died(), Base(), KeyboardInterrupt(),
                    ExceptionGroup('', [A()])):
            with self.subTest(exc=exc):
                def run():
                    raise exc
                thread = self.start(run)
                with self.assertRaises(type(exc)) as caught:
                    thread.wait()
                self.assertIs(caught.exception, exc)

    def test_interrupt_that_ends_it(self):
        lock = threading.Lock()
        lock.acquire()
        thread = self.start(lock.acquire)
        waiters, got = self.start_waiters(thread)
        exc = A('data')
        thread.interrupt(exc)
        self.join(waiters[0])
        self.assertEqual(got, [exc])
        self.assertEqual(self.reported, [])

    def names(self, thread):
        """The functions in the traceback, from wait() on."""
        try:
            thread.wait()
        except BaseException as exc:
            names = [frame.name
                     for frame in traceback.extract_tb(exc.__traceback__)]
        self.assertEqual(names[:2], ['names', 'wait'])
        return names[2:]

    def test_traceback(self):
        def inner():
            raise Died

        def target():
            inner()

        class Mine(threading.Thread):
            def run(self):
                inner()

        class Both(threading.Thread):
            def run(self):
                super().run()
        mine = Mine()
        both = Both(target=target)
        mine.start()
        both.start()
        threads = [
            (self.start(target), ['target', 'inner']),
            (self.start(int, 'no number'), []),
            (mine, ['run', 'inner']),
            (both, ['run', 'run', 'target', 'inner']),
        ]
        for thread, expected in threads:
            # It does not become longer.
            for _ in range(3):
                self.assertEqual(self.names(thread), expected)

    def test_system_exit(self):
        class Leaving(SystemExit):
            pass
        for exc in SystemExit, SystemExit(3), SystemExit('text'), Leaving:
            with self.subTest(exc=exc):
                def run():
                    raise exc
                self.assertIsNone(self.start(run).wait())

    def test_terminate(self):
        lock = threading.Lock()
        lock.acquire()
        thread = self.start(lock.acquire)
        waiters, got = self.start_waiters(thread)
        self.assertTrue(thread.terminate())
        self.join(waiters[0])
        self.assertEqual(got, [None])

    def test_nobody_waits(self):
        thread = self.start(die)
        self.join(thread)
        self.assertEqual(self.reported, [(thread, Died)])
        with self.assertRaises(Died):
            thread.wait()
        self.assertEqual(self.reported, [(thread, Died)])

    def test_many_raise_it_at_a_time(self):
        # In parallel, if there is no GIL: it is one exception, with one traceback.
        thread = self.start(die)
        self.join(thread)
        count = 4
        barrier = threading.Barrier(count)

        def wait():
            barrier.wait()
            for _ in range(2_000):
                try:
                    thread.wait()
                except Died:
                    pass
        waiters = [self.start(wait) for _ in range(count)]
        for waiter in waiters:
            waiter.wait(support.LONG_TIMEOUT)

    def test_somebody_has_waited(self):
        let_go = threading.Event()

        def run():
            let_go.wait()
            raise Died
        thread = self.start(run)
        with self.assertRaises(WaitTimeoutError):
            thread.wait(0.001)
        let_go.set()
        self.join(thread)
        self.assertEqual(self.reported, [(thread, Died)])

    def test_somebody_joins(self):
        # join() tells nobody.
        let_go = threading.Event()

        def run():
            let_go.wait()
            raise Died
        thread = self.start(run)
        joining = self.start(thread.join)
        let_go.set()
        self.join(joining)
        self.assertEqual(self.reported, [(thread, Died)])

    def test_timeout(self):
        self.assertTrue(issubclass(WaitTimeoutError, TimeoutError))
        let_go = threading.Event()

        def run():
            let_go.wait()
            return 'result'
        thread = self.start(run)
        for timeout in 0, 0.0, False, 0.01:
            start = time.monotonic()
            with self.assertRaisesRegex(WaitTimeoutError, 'has not ended'):
                thread.wait(timeout)
            self.assertGreaterEqual(time.monotonic() - start, timeout)
        self.assertTrue(thread.is_alive())
        self.assertEqual(thread._wait_count, 0)
        let_go.set()
        self.assertEqual(thread.wait(support.SHORT_TIMEOUT), 'result')

    def test_own_timeout_error(self):
        # It is told from that of the target.
        def run():
            raise TimeoutError('mine')
        thread = self.start(run)
        with self.assertRaisesRegex(TimeoutError, 'mine') as caught:
            thread.wait(support.SHORT_TIMEOUT)
        self.assertNotIsInstance(caught.exception, WaitTimeoutError)

    def test_long_timeouts(self):
        for timeout in (threading.TIMEOUT_MAX, threading.TIMEOUT_MAX + 1,
                        math.inf, sys.float_info.max, sys.maxsize, 10**400):
            with self.subTest(timeout=timeout):
                def run():
                    # Ends when the other one waits.
                    me = threading.current_thread()
                    self.until(lambda: me._wait_count)
                    return 'result'
                thread = self.start(run)
                self.assertEqual(thread.wait(timeout), 'result')

    def test_bad_timeouts(self):
        let_go = threading.Event()
        thread = self.start(let_go.wait)
        for ended in False, True:
            if ended:
                let_go.set()
                self.join(thread)
            for bad in -1, -0.001, -math.inf, math.nan, -10**400:
                with self.subTest(bad, ended=ended):
                    self.assertRaises(ValueError, thread.wait, bad)
            for bad in '1', b'', [], (1,), 1j, object(), Died:
                with self.subTest(bad, ended=ended):
                    self.assertRaises(TypeError, thread.wait, bad)
            self.assertEqual(thread._wait_count, 0)

    def test_cannot_wait(self):
        thread = threading.Thread(target=die)
        with self.assertRaisesRegex(RuntimeError, 'before it is started'):
            thread.wait()
        current = threading.current_thread()
        with self.assertRaisesRegex(RuntimeError, 'current thread'):
            current.wait()
        with self.assertRaisesRegex(RuntimeError, 'current thread'):
            current.wait(0)
        self.assertEqual([thread._wait_count, current._wait_count], [0, 0])

        class NoInit(threading.Thread):
            def __init__(self):
                pass
        with self.assertRaisesRegex(RuntimeError, '__init__'):
            NoInit().wait()

    def test_dummy_thread(self):
        let_go = threading.Event()
        threads = queue.SimpleQueue()

        def run():
            thread = threading.current_thread()
            try:
                thread.wait(0)
            except RuntimeError:
                threads.put(thread)
            let_go.wait()
        _thread.start_new_thread(run, ())
        thread = threads.get(timeout=support.SHORT_TIMEOUT)
        try:
            with self.assertRaisesRegex(RuntimeError, 'dummy'):
                thread.wait(0)
        finally:
            let_go.set()
        self.until(lambda: not thread.terminate())

    def test_interrupted(self):
        let_go = threading.Event()

        def run():
            let_go.wait()
            return 'result'
        thread = self.start(run)
        for timeout in None, 3600:
            waiters, got = self.start_waiters(thread)
            waiters[0].interrupt(A)
            self.join(waiters[0])
            self.assertEqual(list(map(type, got)), [A])
            self.assertEqual(thread._wait_count, 0)
        let_go.set()
        self.assertEqual(thread.wait(), 'result')

    def test_one_of_two_is_interrupted(self):
        let_go = threading.Event()

        def run():
            let_go.wait()
            raise Died
        thread = self.start(run)
        (first,), got_first = self.start_waiters(thread)
        got = []

        def wait():
            try:
                thread.wait()
            except Died as exc:
                got.append(exc)
        second = self.start(wait)
        self.until(lambda: thread._wait_count == 2)
        first.interrupt(A)
        self.join(first)
        let_go.set()
        self.join(second)
        self.assertEqual(list(map(type, got_first + got)), [A, Died])
        self.assertEqual(self.reported, [])

    def test_main_thread(self):
        def run():
            with self.assertRaises(WaitTimeoutError):
                threading.main_thread().wait(0.001)
            return 'timed out'
        self.assertEqual(self.start(run).wait(), 'timed out')
        result = script_helper.assert_python_ok('-c', '''if True:
            import threading
            def run():
                print(threading.main_thread().wait())
            threading.Thread(target=run).start()
        ''')
        self.assertEqual(result.out.split(), [b'None'])

    def check_told(self, thread, got):
        """Somebody knows, and has not been told twice."""
        told = any(isinstance(exc, Died) for exc in contexts(got))
        if not told:
            self.assertEqual(self.reported, [(thread, Died)], got)
        self.assertLessEqual(len(self.reported), 1)
        self.assertEqual(thread._wait_count, 0)
        self.reported.clear()
        return told

    def test_timeout_while_it_dies(self):
        outcomes = {True: 0, False: 0}
        for i in range(300):
            barrier = threading.Barrier(2)

            def run():
                barrier.wait()
                raise Died
            thread = self.start(run)
            barrier.wait()
            with self.assertRaises((Died, WaitTimeoutError)) as caught:
                thread.wait(i % 30 * 1e-5)
            self.join(thread)
            outcomes[self.check_told(thread, caught.exception)] += 1
        self.assertGreater(outcomes[True], 0)

    @may_need_masks
    def test_interrupted_while_it_dies(self):
        for i in range(300):
            barrier = threading.Barrier(3)
            got = None

            def run():
                barrier.wait()
                raise Died

            def wait():
                nonlocal got
                try:
                    try:
                        barrier.wait()
                        thread.wait()
                    except Died as exc:
                        got = exc
                except A as exc:
                    # Has the other as its context, if that was caught.
                    got = exc
            thread = self.start(run)
            waiter = self.start(wait)
            barrier.wait()
            for _ in range(i % 30):
                pass
            waiter.interrupt(A)
            self.join(thread)
            # A late one ends the waiter.
            self.join(waiter)
            if any(report[0] is waiter for report in self.reported):
                self.reported.clear()
                continue
            self.check_told(thread, got)

    @needs_masks
    def test_interrupted_at_each_check_point(self):
        # The thread has died when wait() looks, and counts on it.
        counted = False

        def join(thread, timeout=None):
            nonlocal counted
            thread._wait_untold = counted = True

        def setup():
            nonlocal counted
            counted = False
            thread = threading.Thread(target=die)
            thread.start()
            self.join(thread)
            self.reported.clear()
            return thread

        def use(thread):
            thread.wait()
        cut = 0
        self.enterContext(support.swap_attr(threading.Thread, '_join', join))
        self.join = lambda thread: thread._handle.join()
        for run in sweep(use, setup, errors=(Died,)):
            if counted:
                cut += 1
                self.check_told(run.state, run.exc)
            self.assertEqual(run.state._wait_count, 0, run)
        self.assertGreater(cut, 1)

    def test_interrupted_while_it_is_counted_on(self):
        # Nobody else waits: it is reported, by the thread that was interrupted.
        thread = threading.Thread(target=die)
        reporting = []

        def join(thread, timeout=None):
            thread._wait_untold = True
            raise A

        def hook(args):
            reporting.append((threading.current_thread(), args.thread,
                              args.exc_type,
                              args.exc_traceback.tb_frame.f_code))
        thread.start()
        self.join(thread)
        with (support.swap_attr(threading.Thread, '_join', join),
              support.swap_attr(threading, 'excepthook', hook),
              self.assertRaises(A)):
            thread.wait()
        self.assertEqual(reporting, [
            (threading.current_thread(), thread, Died, die.__code__)])
        self.assertIs(thread._wait_untold, False)

    def test_timeout_while_it_counts_on_it(self):
        # It has died, but not ended yet: whoever is counted on is told.
        let_go = threading.Event()
        join = threading.Thread._join

        def run():
            let_go.wait()
            raise Died

        def slow_join(thread, timeout=None):
            if timeout is not None:
                thread._wait_untold = True
            else:
                let_go.set()
                join(thread)
        thread = self.start(run)
        with support.swap_attr(threading.Thread, '_join', slow_join):
            with self.assertRaises(Died):
                thread.wait(0)
        self.assertEqual(self.reported, [])

    def test_subclass_with_a_join_of_its_own(self):
        class Mine(threading.Thread):
            def join(self, timeout=None):
                raise AssertionError('called')
        thread = Mine(target=lambda: 'result')
        thread.start()
        self.assertEqual(thread.wait(), 'result')

    def test_no_cycles(self):
        class Argument:
            pass

        def returns(argument):
            return argument

        def raises(argument):
            raise Died

        def exits(argument):
            raise SystemExit

        # The traceback has the frames of those who wait, too: if they have a
        # name for the thread, that is a cycle.
        def joins():
            threads[0].join()

        def waits():
            try:
                threads[0].wait()
            except Died:
                pass

        def waits_in_vain():
            with self.assertRaises(WaitTimeoutError):
                threads[0].wait(0)
        with support.disable_gc():
            for target, before, after in itertools.product(
                [returns, raises, exits],
                [None, waits, waits_in_vain],
                [joins, waits],
            ):
                with self.subTest(target=target.__name__, before=before,
                                  after=after.__name__):
                    argument = Argument()
                    let_go = threading.Event()

                    def run(argument):
                        let_go.wait()
                        target(argument)
                    threads = [threading.Thread(target=run, args=(argument,))]
                    refs = weakref.ref(threads[0]), weakref.ref(argument)
                    del argument
                    threads[0].start()
                    if before is waits_in_vain:
                        waits_in_vain()
                    elif before is waits:
                        waiter = self.start(waits)
                        self.until(lambda: threads[0]._wait_count)
                    let_go.set()
                    if before is waits:
                        self.join(waiter)
                    after()
                    self.reported.clear()
                    del threads[0]
                    self.assertEqual([ref() for ref in refs], [None, None])

    def test_subclass_with_methods_of_its_own(self):
        # Nothing in the library calls them.
        result = script_helper.assert_python_ok('-c', '''if True:
            import threading

            class Mine(threading.Thread):
                def wait(self, *args, **kwargs):
                    raise AssertionError('called')
                terminate = interrupt = attach = detach = wait

            def run(*args):
                return args
            thread = Mine(target=run)
            thread.start()
            thread.join()
            assert threading.Thread.wait(thread) == ()

            threading.Thread = Mine
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(2) as executor:
                assert list(executor.map(run, 'ab')) == [('a',), ('b',)]
            import multiprocessing.dummy
            assert issubclass(multiprocessing.dummy.DummyProcess, Mine)
            process = multiprocessing.dummy.Process(target=run)
            process.start()
            process.join()
            assert process.exitcode == 0
            from multiprocessing.pool import ThreadPool
            with ThreadPool(2) as pool:
                assert pool.map(run, 'ab') == [('a',), ('b',)]
            with ThreadPool(2) as pool:
                assert pool.map(run, 'ab') == [('a',), ('b',)]
                pool.close()
                pool.join()

            # The end of the program waits for these.
            def last(started):
                started.set()
                threading.main_thread().join()
                print('last\\n', end='')     # in one piece
            for kind in Mine, Mine.__base__:
                started = threading.Event()
                kind(target=last, args=(started,)).start()
                started.wait()
            executor = ThreadPoolExecutor(1)
            executor.submit(print, 'job').result()
        ''')
        self.assertEqual(sorted(result.out.split()), [b'job', b'last', b'last'])
        self.assertEqual(result.err, b'')

    def test_subclass_with_attributes_of_its_own(self):
        class Mine(threading.Thread):
            def __init__(self):
                super().__init__(target=self.work)
                self._result = self._exception = self._traceback = None
                self._waiters = []
                self._untold = self._attached = 'mine'

            def work(self):
                self._result = 'mine'
                self._waiters.append('mine')
                if self._exception:
                    raise Died
        thread = Mine()
        thread.start()
        self.join(thread)
        self.assertEqual(thread._result, 'mine')
        self.assertIsNone(thread.wait())
        thread = Mine()
        thread._exception = 'mine'
        thread.start()
        self.join(thread)
        self.assertEqual(self.reported, [(thread, Died)])
        self.assertEqual((thread._result, thread._waiters, thread._untold),
                         ('mine', ['mine'], 'mine'))
        self.assertEqual((thread._exception, thread._traceback),
                         ('mine', None))
        self.assertRaises(Died, thread.wait)
        thread.attach(A, print)
        self.assertEqual(thread._attached, 'mine')

    @support.requires_fork()
    def test_nobody_waits_in_the_child(self):
        # Those who wait do so in the parent.
        result = script_helper.assert_python_ok('-W', 'ignore', '-c', '''if True:
            import os, threading, time
            def hook(args):
                print(args.exc_value, flush=True)
                os._exit(0)
            threading.excepthook = hook
            def run():
                while not thread._wait_count:
                    time.sleep(0.001)
                pid = os.fork()
                if pid == 0:
                    raise ValueError('in the child')
                os.waitpid(pid, 0)
            thread = threading.Thread(target=run)
            thread.start()
            thread.wait()
        ''')
        self.assertEqual(result.out.strip(), b'in the child')


class AttachTests(ThreadsTestCase):
    """Thread.attach() and Thread.detach()"""

    def setUp(self):
        super().setUp()
        self.thread = threading.current_thread()
        self.calls = []

    def attach(self, *types, callback=None):
        """Attach these to this thread, for this test."""
        for exc_type in types:
            self.thread.attach(exc_type, callback or self.callback(exc_type))
            self.addCleanup(self.thread._attachments.pop, exc_type, None)

    def callback(self, exc_type):
        def callback(exc):
            self.calls.append((exc_type, exc))
        return callback

    def test_called_in_the_thread(self):
        lock = threading.Lock()
        lock.acquire()
        thread = self.start(lambda: (lock.acquire(), 'went on'))
        called = threading.Event()

        def callback(*args):
            self.calls.append((threading.get_ident(),
                               threading.current_thread(), args, interrupts_masked()))
            called.set()
        thread.attach(A, callback)
        for exc in A('data'), B():
            self.assertIs(thread.interrupt(exc), True)
            self.assertTrue(called.wait(support.SHORT_TIMEOUT))
            self.assertEqual(self.calls.pop()[:3],
                             (thread.ident, thread, (exc,)))
            called.clear()
        lock.release()
        self.assertEqual(thread.wait(), (True, 'went on'))

    def test_consumed(self):
        self.attach(A)
        exc = A()
        self.assertIs(self.thread.interrupt(exc), True)
        self.assertEqual(self.calls, [(A, exc)])
        self.assertFalse(interrupts_pending())
        with self.assertRaises(Base):
            self.thread.interrupt(Base)
        self.assertEqual(len(self.calls), 1)

    def test_classes_are_instantiated(self):
        self.attach(A)
        self.thread.interrupt(A)
        self.thread.interrupt(B)
        self.assertEqual([(type(exc), exc.args) for _, exc in self.calls],
                         [(A, ()), (B, ())])

    def test_most_specific_first(self):
        self.attach(BaseException, A, B)
        for sent, expected in (
            (C, B), (C(), B), (B, B), (A, A), (Died, BaseException),
            (Base, BaseException), (SystemExit, BaseException),
            (ExceptionGroup('', [A()]), BaseException),
        ):
            self.thread.interrupt(sent)
            self.assertEqual(self.calls.pop()[0], expected, sent)
        self.thread.detach(B)
        self.thread.interrupt(C)
        self.assertEqual(self.calls.pop()[0], A)
        self.thread.detach(A)
        self.thread.interrupt(C)
        self.assertEqual(self.calls.pop()[0], BaseException)
        self.thread.detach(BaseException)
        with self.assertRaises(C):
            self.thread.interrupt(C)

    def test_several_bases(self):
        class Left(Exception):
            pass

        class Right(Exception):
            pass

        class Both(Left, Right):
            pass
        self.attach(Right, Exception)
        self.thread.interrupt(Both)
        self.attach(Left)
        self.thread.interrupt(Both)
        self.assertEqual([kind for kind, _ in self.calls], [Right, Left])

    def test_raises(self):
        def callback(exc):
            raise Died('instead')
        self.attach(A, callback=callback)
        try:
            self.thread.interrupt(A)
        except Died as exc:
            self.assertEqual(exc.args, ('instead',))
            frames = traceback.extract_tb(exc.__traceback__)
            self.assertEqual(frames[0].name, 'test_raises')
            self.assertEqual(frames[-1].name, 'callback')
        else:
            self.fail('not raised')

    def test_raises_the_same(self):
        def callback(exc):
            self.calls.append(exc)
            raise exc
        self.attach(A, callback=callback)
        exc = A()
        with self.assertRaises(A) as caught:
            self.thread.interrupt(exc)
        self.assertIs(caught.exception, exc)
        self.assertEqual(self.calls, [exc])

    def test_what_it_raises_is_not_dispatched(self):
        def callback(exc):
            raise Died
        self.attach(A, callback=callback)
        self.attach(Died)
        with self.assertRaises(Died):
            self.thread.interrupt(A)
        self.assertEqual(self.calls, [])

    def test_raises_in_a_blocked_thread(self):
        def callback(exc):
            raise Died
        lock = threading.Lock()
        lock.acquire()
        thread = self.start(lock.acquire)
        thread.attach(A, callback)
        (waiter,), got = self.start_waiters(thread)
        thread.interrupt(A)
        self.join(waiter)
        self.assertEqual(list(map(type, got)), [Died])

    def test_blocked_call_goes_on(self):
        # If it began anew each time, it would not end.
        lock = threading.Lock()
        lock.acquire()
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        for block in (
            lambda: time.sleep(0.2),
            lambda: lock.acquire(timeout=0.2),
            lambda: threading.Event().wait(0.2),
            lambda: select.select([read], [], [], 0.2),
        ):
            calls = []

            def run():
                start = time.monotonic()
                block()
                return time.monotonic() - start
            thread = threading.Thread(target=run, daemon=True)
            thread.attach(A, calls.append)
            thread.start()
            deadline = time.monotonic() + support.SHORT_TIMEOUT
            while thread.interrupt(A()):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            self.assertGreaterEqual(thread.wait(), 0.199)
            self.assertGreater(len(calls), 2)

    def test_blocked_call_goes_on_and_returns(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        called = threading.Event()
        thread = self.start(os.read, read, 10)
        thread.attach(A, lambda exc: called.set())
        for _ in range(20):
            thread.interrupt(A)
            self.assertTrue(called.wait(support.SHORT_TIMEOUT))
            called.clear()
        os.write(write, b'data')
        self.assertEqual(thread.wait(), b'data')

    @needs_masks
    def test_before_they_are_grouped(self):
        self.attach(A)
        first, second, third, fourth = A(1), Died(2), Base(3), B(4)
        with self.assertRaises(BaseExceptionGroup) as caught:
            with nointerrupts:
                for exc in first, second, third, fourth:
                    self.thread.interrupt(exc)
                self.assertEqual(self.calls, [])
        self.assertEqual(caught.exception.exceptions, (second, third))
        self.assertEqual(self.calls, [(A, first), (A, fourth)])

    @needs_masks
    def test_one_is_left(self):
        self.attach(A)
        last = Died()
        with self.assertRaises(Died) as caught:
            with nointerrupts:
                for exc in A, last, B:
                    self.thread.interrupt(exc)
                self.assertEqual(self.calls, [])
        self.assertIs(caught.exception, last)
        self.assertEqual(len(self.calls), 2)

    @needs_masks
    def test_none_is_left(self):
        self.attach(A)
        with nointerrupts:
            for exc in A(), B(), A():
                self.thread.interrupt(exc)
            self.assertEqual(self.calls, [])
        self.assertEqual(len(self.calls), 3)
        self.assertFalse(interrupts_pending())

    @needs_masks
    def test_what_it_raises_is_grouped(self):
        def callback(exc):
            raise Died('instead')
        self.attach(A, callback=callback)
        base = Base()
        with self.assertRaises(BaseExceptionGroup) as caught:
            with nointerrupts:
                self.thread.interrupt(A)
                self.thread.interrupt(base)
                went_on = True
        self.assertTrue(went_on)
        self.assertEqual(list(map(type, caught.exception.exceptions)),
                         [Died, Base])

    @needs_masks
    def test_callback_is_masked(self):
        # As often as it is called, it is not called while it runs.
        depth = 0

        def callback(exc):
            nonlocal depth
            depth += 1
            self.calls.append((exc.args[0], depth, interrupts_masked()))
            if exc.args[0] < 3:
                self.thread.interrupt(A(exc.args[0] + 1))
                self.calls.append('went on')
                self.assertTrue(interrupts_pending())
            depth -= 1
        self.attach(A, callback=callback)
        self.thread.interrupt(A(1))
        for _ in range(3):
            # The next check points.
            (lambda: None)()
        self.assertEqual(self.calls, [
            (1, 1, True), 'went on', (2, 1, True), 'went on', (3, 1, True)])
        self.assertFalse(interrupts_masked())

    @needs_masks
    def test_others_wait_for_the_callback(self):
        def callback(exc):
            self.thread.interrupt(Died)
            self.calls.append('went on')
        self.attach(A, callback=callback)
        with self.assertRaises(Died):
            self.thread.interrupt(A)
            (lambda: None)()
        self.assertEqual(self.calls, ['went on'])

    def test_others_that_have_waited_for_the_callback_wake(self):
        # Sent by the callback, to a thread that goes on blocking.
        lock = threading.Lock()
        lock.acquire()

        def callback(exc):
            with nointerrupts:
                thread.interrupt(Died)
        thread = self.start(lock.acquire)
        thread.attach(A, callback)
        (waiter,), got = self.start_waiters(thread)
        thread.interrupt(A)
        self.join(waiter)
        self.assertEqual(list(map(type, got)), [Died])
        self.assertTrue(lock.locked())

    def test_callback_that_blocks_can_be_interrupted(self):
        blocking = threading.Event()
        lock = threading.Lock()
        lock.acquire()

        def callback(exc):
            blocking.set()
            try:
                lock.acquire()
            except Died as exc:
                self.calls.append(exc)
        thread = self.start(lambda: (time.sleep(0.01), 'went on')[1])
        thread.attach(A, callback)
        self.assertTrue(thread.interrupt(A))
        self.assertTrue(blocking.wait(support.SHORT_TIMEOUT))
        died = Died()
        thread.interrupt(died)
        self.assertEqual(thread.wait(support.SHORT_TIMEOUT), 'went on')
        self.assertEqual(self.calls, [died])

    @needs_masks
    def test_force(self):
        self.attach(A)
        with nointerrupts:
            self.thread.interrupt(A(1))
            self.assertEqual(self.calls, [])
            exc = A(2)
            self.thread.interrupt(exc, force=True)
            self.assertEqual(self.calls, [(A, exc)])
        self.assertEqual(len(self.calls), 2)

    # The interrupt may come to the code that starts the thread.
    @may_need_masks
    def test_before_it_is_started(self):
        lock = threading.Lock()
        lock.acquire()
        thread = threading.Thread(target=lock.acquire, daemon=True)
        called = threading.Event()
        callback = lambda exc: called.set()
        thread.attach(A, print)
        self.assertIs(thread.attach(A, callback), print)
        thread.start()
        thread.interrupt(A)
        self.assertTrue(called.wait(support.SHORT_TIMEOUT))
        lock.release()
        self.assertIs(thread.wait(), True)
        self.assertIs(thread.detach(A), callback)

    def test_from_another_thread_to_the_main_thread(self):
        main = threading.main_thread()
        self.assertIs(main, self.thread)
        called = threading.Event()
        idents = []

        def callback(exc):
            idents.append(threading.get_ident())
            called.set()
        self.attach(A, callback=callback)
        sender = self.start(lambda: main.interrupt(A))
        self.assertTrue(called.wait(support.SHORT_TIMEOUT))
        self.assertEqual(idents, [main.ident])
        self.join(sender)

    def check_foreign(self, start):
        threads = queue.SimpleQueue()
        calls = queue.SimpleQueue()
        caught = queue.SimpleQueue()

        def run():
            try:
                threads.put(threading.current_thread())
                time.sleep(3600)
            except Died as exc:
                caught.put((threading.get_ident(), exc))
        start(run)
        thread = threads.get(timeout=support.SHORT_TIMEOUT)
        self.assertIsInstance(thread, threading._DummyThread)
        thread.attach(A, lambda exc: calls.put((threading.get_ident(), exc)))
        exc, died = A(), Died()
        self.assertTrue(thread.interrupt(exc))
        self.assertEqual(calls.get(timeout=support.SHORT_TIMEOUT),
                         (thread.ident, exc))
        self.assertTrue(thread.interrupt(died))
        self.assertEqual(caught.get(timeout=support.SHORT_TIMEOUT),
                         (thread.ident, died))
        return thread

    def test_dummy_thread(self):
        thread = self.check_foreign(
            lambda run: _thread.start_new_thread(run, ()))
        self.until(lambda: not thread.terminate())

    def test_thread_of_c(self):
        _testcapi = import_helper.import_module('_testcapi')
        thread = self.check_foreign(
            lambda run: _testcapi.call_in_temporary_c_thread(run, False))
        _testcapi.join_temporary_c_thread()
        self.assertIs(thread.interrupt(A), False)

    def test_each_thread_has_its_own(self):
        self.attach(BaseException)
        lock = threading.Lock()
        lock.acquire()
        thread = self.start(lock.acquire)
        thread.attach(B, self.callback(B))
        (waiter,), got = self.start_waiters(thread)
        thread.interrupt(A)
        self.join(waiter)
        self.assertEqual(list(map(type, got)), [A])
        self.assertEqual(self.calls, [])

    def test_replaced_and_detached(self):
        first, second = self.callback(1), self.callback(2)
        self.assertIsNone(self.thread.attach(A, first))
        self.assertIs(self.thread.attach(A, second), first)
        self.thread.interrupt(A)
        self.assertEqual([kind for kind, _ in self.calls], [2])
        self.assertIs(self.thread.detach(A), second)
        with self.assertRaises(A):
            self.thread.interrupt(A)
        for thread in self.thread, threading.Thread():
            with self.assertRaises(KeyError):
                thread.detach(A)

    def test_bad_arguments(self):
        for bad in A(), None, 1, int, 'A', (A, B):
            with self.subTest(bad), self.assertRaises(TypeError):
                self.thread.attach(bad, print)
        for bad in None, 1, 'print':
            with self.subTest(bad), self.assertRaises(TypeError):
                self.thread.attach(A, bad)
        with self.assertRaises(KeyError):
            self.thread.detach(A)

        class NoInit(threading.Thread):
            def __init__(self):
                pass
        with self.assertRaisesRegex(RuntimeError, '__init__'):
            NoInit().attach(A, print)
        with self.assertRaisesRegex(RuntimeError, '__init__'):
            NoInit().detach(A)

    def test_what_signal_handlers_raise_does_not_come(self):
        self.attach(BaseException)

        def handler(signum, frame):
            raise A
        old = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        with self.assertRaises(A):
            signal.raise_signal(signal.SIGUSR1)
        with self.assertRaises(A):
            with nointerrupts:
                signal.raise_signal(signal.SIGUSR1)
        self.assertEqual(self.calls, [])

    def test_timeouts_do_not_come(self):
        self.attach(BaseException, TimeoutError)
        with self.assertRaises(TimeoutError):
            with threading.timeout(0.01):
                time.sleep(support.SHORT_TIMEOUT)
        self.assertEqual(self.calls, [])

    def test_asynchronous_exceptions_come(self):
        ctypes = import_helper.import_module('ctypes')
        set_async_exc = ctypes.PYFUNCTYPE(
            ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(
                ('PyThreadState_SetAsyncExc', ctypes.pythonapi))
        self.attach(A)
        self.assertEqual(set_async_exc(self.thread.ident, A), 1)
        self.assertEqual([type(exc) for _, exc in self.calls], [A])

    def test_constructor_raises(self):
        class Bad(Exception):
            def __init__(self):
                raise Died
        self.attach(BaseException, Bad)
        with self.assertRaises(Died):
            self.thread.interrupt(Bad)
        self.assertEqual(self.calls, [])

    @needs_masks
    def test_detached_on_its_way(self):
        self.attach(A)
        with self.assertRaises(A):
            with nointerrupts:
                self.thread.interrupt(A)
                self.thread.detach(A)
                went_on = True
        self.assertTrue(went_on)
        self.assertEqual(self.calls, [])

    @needs_masks
    def test_attached_on_its_way(self):
        exc = A()
        with nointerrupts:
            self.thread.interrupt(exc)
            self.attach(A)
            self.assertEqual(self.calls, [])
        self.assertEqual(self.calls, [(A, exc)])

    def test_detached_by_the_callback(self):
        def callback(exc):
            self.calls.append(exc)
            self.thread.detach(A)
        self.attach(A, callback=callback)
        self.thread.interrupt(A)
        with self.assertRaises(A):
            self.thread.interrupt(A)
        self.assertEqual(len(self.calls), 1)

    def test_terminate(self):
        self.attach(SystemExit)
        self.assertTrue(self.thread.terminate())
        self.assertEqual([type(exc) for _, exc in self.calls], [SystemExit])

    def test_handled_exception_is_untouched(self):
        def callback(exc):
            self.calls.append(sys.exception())
            try:
                raise Died
            except Died:
                pass
        self.attach(A, callback=callback)
        try:
            raise Base
        except Base as exc:
            self.thread.interrupt(A)
            self.assertIs(sys.exception(), exc)
        self.assertIsNone(sys.exception())

    def test_objects_are_released(self):
        class Callback:
            fail = False

            def __call__(self, exc):
                if self.fail:
                    raise Died
        callback = Callback()
        thread = self.start(lambda: None)
        self.join(thread)
        thread.attach(A, callback)
        self.attach(A, callback=callback)
        refs = []
        with support.disable_gc():
            for callback.fail in False, True:
                for masked in False, True:
                    sent = A(), A()
                    refs += map(weakref.ref, sent)
                    with self.subTest(fail=callback.fail, masked=masked):
                        try:
                            with nointerrupts if masked else interrupts:
                                for exc in sent:
                                    self.thread.interrupt(exc)
                        except (Died, ExceptionGroup):
                            pass
                        del sent, exc
                        self.assertEqual([ref() for ref in refs],
                                         [None] * len(refs))
            ref = weakref.ref(callback)
            del callback
            self.thread.detach(A)
            self.assertIsNotNone(ref())
            del thread
            self.assertIsNone(ref())

    @needs_masks
    def test_limit(self):
        # What is forced is over when the callback begins: it is not cut.
        class Other(Exception):
            pass

        before = signal.set_interrupt_limits(limit=0.02)
        self.addCleanup(signal.set_interrupt_limits, **before)
        steps = []

        def callback(exception):
            steps.append('begins')
            self.thread.interrupt(Other())
            for _ in range(1000):
                str(steps)
            steps.append('ends')

        self.thread.attach(A, callback)
        self.addCleanup(self.thread.detach, A)
        with self.assertRaises(Other):
            with nointerrupts:
                self.thread.interrupt(A())
                while len(steps) < 2:
                    pass
        self.assertEqual(steps, ['begins', 'ends'])

    def test_number_of_blocks(self):
        def use():
            self.thread.attach(A, callback)
            for _ in range(100):
                self.thread.interrupt(A)
                with nointerrupts:
                    self.thread.interrupt(A())
                    self.thread.interrupt(B())
            self.thread.detach(A)
        callback = lambda exc: None
        use()
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(3):
            use()
        self.assertLess(sys.getallocatedblocks() - before, 100)


class CornerTests(ThreadsTestCase):
    """Corners of Thread.interrupt().

    In test_interrupt_blocking: before a thread has been started, after its end,
    to the current thread, to the main thread, to foreign ones, bad arguments,
    200 threads at once.  In test_interrupt_queue: constructors that raise, the
    order of what several senders send, the end of a thread that something waits for.
    """

    @needs_masks
    def test_constructor_of_another_thread_raises(self):
        # Runs in the target, masked, not in the sender.
        where = []

        class Bad(Exception):
            def __init__(self):
                where.append((threading.get_ident(), interrupts_masked()))
                raise Died
        lock = threading.Lock()
        lock.acquire()
        thread = self.start(lock.acquire)
        (waiter,), got = self.start_waiters(thread)
        self.assertTrue(thread.interrupt(Bad))
        self.join(waiter)
        self.assertEqual(list(map(type, got)), [Died])
        self.assertEqual(where, [(thread.ident, True)])

    def test_same_instance_to_two_threads(self):
        lock = threading.Lock()
        lock.acquire()
        exc = A()
        got = []
        for thread in [self.start(lock.acquire) for _ in range(2)]:
            (waiter,), result = self.start_waiters(thread)
            got.append(result)
            self.assertTrue(thread.interrupt(exc))
            self.join(waiter)
        self.assertEqual(got, [[exc], [exc]])

    @needs_masks
    def test_ten_thousand_instances(self):
        ready, let_go = threading.Event(), threading.Event()

        def run():
            with nointerrupts:
                ready.set()
                let_go.wait()
        thread = self.start(run)
        ready.wait()
        (waiter,), got = self.start_waiters(thread)
        for i in range(10_000):
            thread.interrupt(A(i))
        let_go.set()
        self.join(waiter)
        self.assertIsInstance(got[0], ExceptionGroup)
        self.assertEqual([exc.args[0] for exc in got[0].exceptions],
                         list(range(10_000)))

    @needs_masks
    def test_ten_thousand_classes(self):
        # All that is equal is one as soon as the thread has looked, and it does
        # whenever it runs.
        over = False
        ended = []
        ready = threading.Event()

        def run():
            with nointerrupts:
                ready.set()
                while not over:
                    pass
                ended.append(True)

        class Sent(Exception):
            pass
        thread = self.start(run)
        ready.wait()
        (waiter,), got = self.start_waiters(thread)
        for i in range(10_000):
            thread.interrupt(Sent)
        # Without a GIL, the references to a class are not counted.
        if not support.Py_GIL_DISABLED:
            self.until(lambda: sys.getrefcount(Sent) < 20)
        over = True
        self.join(waiter)
        self.assertEqual(ended, [True])
        self.assertEqual(list(map(type, got)), [Sent])

    @needs_masks
    def test_ten_thousand_classes_to_a_blocked_thread(self):
        # It does not look, so those who send do; without a GIL they wake it.
        ended = []
        ready, let_go = threading.Lock(), threading.Lock()
        ready.acquire()
        let_go.acquire()

        def run():
            with nointerrupts:
                ready.release()
                let_go.acquire()
                ended.append(True)

        class Sent(Exception):
            pass

        class Other(Exception):
            pass
        thread = self.start(run)
        ready.acquire()
        (waiter,), got = self.start_waiters(thread)
        for i in range(10_000):
            thread.interrupt(Sent if i % 3 else Other)
        if not support.Py_GIL_DISABLED:
            self.assertLess(sys.getrefcount(Sent) + sys.getrefcount(Other), 40)
        let_go.release()
        self.join(waiter)
        self.assertEqual(ended, [True])
        self.assertIsInstance(got[0], ExceptionGroup)
        self.assertEqual(list(map(type, got[0].exceptions)), [Other, Sent])

    def test_target_that_swallows_everything(self):
        swallowed = 0
        over = False
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)

        def run():
            nonlocal swallowed
            with nointerrupts:
                while not over:
                    try:
                        with interrupts:
                            os.read(read, 1)
                    except BaseException:
                        swallowed += 1
            return 'ended'
        thread = self.start(run)
        for i in range(200):
            exc = random.choice([A, Base, SystemExit, KeyboardInterrupt])
            self.assertTrue(thread.interrupt(exc))
            self.until(lambda: swallowed > i)
        over = True
        os.write(write, b'x')
        self.assertEqual(thread.wait(support.SHORT_TIMEOUT), 'ended')
        self.assertEqual(swallowed, 200)

    @needs_masks
    def test_two_interrupt_each_other(self):
        progress = [0, 0]
        caught = [0, 0]
        barrier = threading.Barrier(2)

        def run(me):
            with nointerrupts:
                try:
                    barrier.wait()
                    threads[1 - me].interrupt(A)
                    barrier.wait()
                except BaseException:
                    # Not masked: the other one need not wait.
                    barrier.abort()
                    raise
                while not enough():
                    try:
                        with interrupts:
                            while not enough():
                                threads[1 - me].interrupt(A)
                                progress[me] += 1
                    except A:
                        caught[me] += 1

        def enough():
            # Who runs when is up to the system.
            now = time.monotonic()
            return (now > end and min(progress) > 100 and min(caught) > 10
                    or now > end + support.SHORT_TIMEOUT)
        end = time.monotonic() + 1
        threads = []
        threads += [threading.Thread(target=run, args=(i,), daemon=True)
                    for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            self.join(thread)
        self.assertGreater(min(progress), 100)
        self.assertGreater(min(caught), 10)

    def test_sent_right_after_start(self):
        # Whatever the new thread is at: it ends, and can be joined.
        def wait():
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        for target in None, wait:
            with self.subTest(target=target):
                for _ in range(1_500):
                    thread = threading.Thread(target=target, daemon=True)
                    thread.start()
                    thread.interrupt(A)
                    self.join(thread)
                    self.assertFalse(thread.interrupt(A))

    @needs_masks
    def test_many_interrupt_one_another(self):
        # In parallel, if there is no GIL.  Nothing is lost, nothing comes twice, and
        # steps that are masked are not cut.
        count, rounds = 8, 200
        sent, got = [], []
        barrier = threading.Barrier(count)

        class Pair:
            first = second = 0

            def __enter__(self):
                self.first += 1
                self.step()
                self.second += 1

            def __exit__(self, *exc_info):
                self.__enter__()

            def step(self):
                pass

        def raised_in(function, *args):
            try:
                with interrupts:
                    function(*args)
            except (A, ExceptionGroup) as raised:
                # One that comes while another is on its way has that as its context.
                return [exc.args for outer in contexts(raised)
                        for exc in getattr(outer, 'exceptions', [outer])]
            return []

        def use(pair):
            for _ in range(5):
                with pair:
                    pass

        def run(me):
            with nointerrupts:
                try:
                    barrier.wait()
                    for number in range(rounds):
                        victim = random.choice(threads)
                        sent.append((me, number))
                        self.assertTrue(victim.interrupt(A(me, number)))
                        got.extend(raised_in(use, pairs[me]))
                    barrier.wait()
                    while interrupts_pending():
                        got.extend(raised_in(use, pairs[me]))
                    return 'ended'
                except BaseException:
                    # Not masked: the others need not wait.
                    barrier.abort()
                    raise
        pairs = [Pair() for _ in range(count)]
        threads = []
        threads += [threading.Thread(target=run, args=(i,), daemon=True)
                    for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            self.assertEqual(thread.wait(support.LONG_TIMEOUT), 'ended')
        self.assertEqual(len(sent), count * rounds)
        self.assertEqual(sorted(got), sorted(sent))
        for pair in pairs:
            self.assertGreater(pair.first, 0)
            self.assertEqual(pair.first, pair.second)

    def test_exactly_one_is_left(self):
        # Who has the lock kills another one that waits for it.  If one took the
        # lock and died, nobody would be left.
        count = 20
        lock = threading.Lock()
        running = []
        killed = []

        def run():
            me = threading.current_thread()
            # Not a barrier: some might still be leaving it.
            running.append(me)
            while True:
                with lock:
                    others = [thread for thread in threads
                              if thread is not me and thread.is_alive()]
                    if not others:
                        return 'left'
                    victim = random.choice(others)
                    victim.terminate()
                    self.join(victim)
                    killed.append(victim)
        for _ in range(5):
            running.clear()
            killed.clear()
            threads = []
            threads += [threading.Thread(target=run, daemon=True)
                        for _ in range(count)]
            with lock:
                for thread in threads:
                    thread.start()
                self.until(lambda: len(running) == count)
            results = [thread.wait(support.LONG_TIMEOUT) for thread in threads]
            self.assertEqual(results.count('left'), 1)
            self.assertEqual(results.count(None), count - 1)
            self.assertEqual(len(set(killed)), count - 1)
            self.assertNotIn(threads[results.index('left')], killed)
            self.assertFalse(lock.locked())
        self.reported.clear()

    @support.requires_fork()
    def test_fork(self):
        # In the child nothing waits, but what is attached is.
        script_helper.assert_python_ok('-W', 'ignore', '-c', '''if True:
            import os, threading
            thread = threading.current_thread()
            calls = []
            thread.attach(KeyError, calls.append)
            try:
                with threading.nointerrupts:
                    thread.interrupt(ValueError)
                    thread.interrupt(ValueError())
                    pid = os.fork()
                    if pid == 0:
                        try:
                            assert not threading.interrupts_pending()
                            thread.interrupt(KeyError)
                            assert threading.interrupts_pending()
                            with threading.interrupts:
                                pass
                            assert len(calls) == 1
                        except BaseException:
                            os._exit(1)
                        os._exit(7)
            except ExceptionGroup as group:
                assert len(group.exceptions) == 2
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert status == 7, status
            assert not calls
        ''')

    def check_exit(self, *threads):
        """A process that ends while these daemon threads are interrupted."""
        result = script_helper.assert_python_ok('-c', '''if True:
            import threading, time, sys
            from threading import nointerrupts, interrupts
            def masked():
                with nointerrupts:
                    ready.release()
                    time.sleep(3600)
            def busy():
                with nointerrupts:
                    ready.release()
                    while True:
                        try:
                            with interrupts:
                                while True:
                                    pass
                        except Exception:
                            pass
            def attached():
                threading.current_thread().attach(ValueError, lambda exc: None)
                ready.release()
                while True:
                    time.sleep(0.001)
            def interrupts_others():
                with nointerrupts:
                    ready.release()
                    while True:
                        for thread in threads:
                            thread.interrupt(ValueError('waits'))
            ready = threading.Semaphore(0)
            threads = []
            for name in sys.argv[1:]:
                thread = threading.Thread(target=vars()[name], daemon=True)
                thread.start()
                threads.append(thread)
            for thread in threads:
                ready.acquire()
            for thread in threads:
                for _ in range(10):
                    thread.interrupt(ValueError('waits'))
        ''', *threads)
        self.assertEqual(result.err, b'')

    def test_exit(self):
        self.check_exit('masked', 'attached')
        self.check_exit('attached', 'interrupts_others')
        self.check_exit('masked', 'busy', 'interrupts_others')

    def test_exit_while_threads_begin_to_block(self):
        # Without a GIL, the states of these threads are deleted as soon as they have
        # looked whether there is something that they have to be woken for; and their
        # handlers, which may be looking, are waited for.
        for _ in range(5):
            script_helper.assert_python_ok('-c', '''if True:
                import threading, time
                from threading import nointerrupts, interrupts
                class A(Exception):
                    pass
                def run():
                    with nointerrupts:
                        while True:
                            try:
                                time.sleep(0.00001)
                                with interrupts:
                                    time.sleep(0.00001)
                            except (A, ExceptionGroup):
                                pass
                threads = [threading.Thread(target=run, daemon=True)
                           for _ in range(6)]
                for thread in threads:
                    thread.start()
                for _ in range(100):
                    for thread in threads:
                        thread.interrupt(A)
            ''')


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=13, others=60)


if __name__ == '__main__':
    interrupt_masks.main(ThreadsTestCase)
