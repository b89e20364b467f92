"""Calls that block: broken when they may be, never when they may not.

An interrupt breaks a blocked call in open code and in soft regions, and none in
hard ones, where the call goes on for the time that is left.  That holds in the
main thread, for what signal handlers raise, and in every other one, for what
Thread.interrupt() sends.  The promises are written down in
InternalDocs/interrupt_masking.md, with the list of the calls.
"""

import contextlib
import os
import queue
import random
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from threading import interrupts, interrupts_pending, nointerrupts

import _interrupts
from test import support
from test.support import (
    import_helper, interrupt_masks, os_helper, script_helper, threading_helper)
from test.support.interrupt_masks import may_need_masks, needs_masks
from test.support.interrupt_waits import (
    WAITS, ByThread, BySignal, Interrupt, interrupt_one_at_a_time)

try:
    import sqlite3
except ImportError:
    sqlite3 = None

soft = nointerrupts(interruptible_waits=True)


@unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
@threading_helper.requires_working_threading()
class BlockingTestCase(unittest.TestCase):

    def setUp(self):
        self.addCleanup(self.assertFalse, interrupts_pending())
        # What goes wrong here hangs.
        self.enterContext(support.swap_attr(sys, 'unraisablehook',
                                            self.fail_unraisable))

    def fail_unraisable(self, unraisable):
        self.fail(f'lost: {unraisable.exc_value!r}')

    def for_each(self, check, need='wait'):
        """check(wait, way) for all waits that have this, and both ways."""
        for name, make in WAITS.items():
            for way in ByThread(), BySignal():
                with make() as wait:
                    if getattr(wait, need) is None:
                        continue
                    with self.subTest(name, way=type(way).__name__):
                        check(wait, way)


class BreakingTests(BlockingTestCase):
    """Where the interrupt may be raised."""

    ROUNDS = 20

    def interrupt_often(self, wait, way, scope):
        """One in flight at a time, at any step on the way into the call."""
        ready = queue.SimpleQueue()
        caught = queue.SimpleQueue()

        def body():
            for i in range(self.ROUNDS):
                try:
                    with scope:
                        ready.put(i)
                        wait.wait()
                except Interrupt:
                    caught.put(i)
                else:
                    self.fail('it has returned')

        def driver(fire):
            for i in range(self.ROUNDS):
                self.assertEqual(way.get(ready), i)
                time.sleep(random.choice([0, 0.00005, 0.0002, 0.001]))
                fire()
                self.assertEqual(way.get(caught), i)
        way.run(body, driver)

    def test_open(self):
        def check(wait, way):
            self.interrupt_often(wait, way, threading.interrupts)
        self.for_each(check)

    def test_soft(self):
        def check(wait, way):
            self.interrupt_often(wait, way, soft)
        self.for_each(check)

    @needs_masks
    def test_what_came_before(self):
        # It waits as long as code runs, also in C, and breaks the call.
        def check(wait, way):
            def body():
                try:
                    with soft:
                        way.fire_at_self()
                        sum(range(1000))
                        before = interrupts_pending()
                        wait.wait()
                except Interrupt:
                    return before
            self.assertIs(way.run(body, lambda fire: None), True)
        self.for_each(check)

    def test_compute_in_c_then_block(self):
        # The call comes without a check point after the interrupt.
        def body():
            started.put(None)
            try:
                # Signals are looked for while it sorts.
                sorted(range(300_000), key=str)
                time.sleep(3600)
            except Interrupt:
                return True
        for way in ByThread(), BySignal():
            with self.subTest(type(way).__name__):
                started = queue.SimpleQueue()

                def driver(fire):
                    way.get(started)
                    fire()
                self.assertTrue(way.run(body, driver))


class HoldingTests(BlockingTestCase):
    """Where it may not."""

    @needs_masks
    def test_hard(self):
        def check(wait, way):
            ready = queue.SimpleQueue()

            def body():
                try:
                    with nointerrupts:
                        ready.put(None)
                        result = wait.wait()
                except Interrupt:
                    return result

            def driver(fire):
                way.get(ready)
                for pause in 0, 0.01, 0.001, 0.001:
                    time.sleep(pause)
                    fire()
                if not way.over:
                    wait.let_go()
            self.assertEqual(way.run(body, driver), wait.expected)
        self.for_each(check, need='let_go')

    @needs_masks
    def test_deadline(self):
        seconds = 0.1
        def check(wait, way):
            ready = queue.SimpleQueue()

            def body():
                try:
                    with nointerrupts:
                        start = time.monotonic()
                        ready.put(None)
                        result = wait.timed(seconds)
                        took = time.monotonic() - start
                except Interrupt:
                    return result, took

            def driver(fire):
                way.get(ready)
                for i in range(10):
                    fire()
                    time.sleep(seconds / 20)
            result, took = way.run(body, driver)
            self.assertEqual(result, wait.timed_out)
            # Clocks differ, and so do the grains in which they count.
            self.assertGreaterEqual(took, seconds - 0.02)
            self.assertLess(took, support.SHORT_TIMEOUT)
        self.for_each(check, need='timed')

    @needs_masks
    def test_no_kicks_for_hard_regions(self):
        ready = queue.SimpleQueue()
        let_go = threading.Event()

        def body():
            try:
                with nointerrupts:
                    ready.put(None)
                    result = let_go.wait()
            except Interrupt:
                return result

        def driver(fire):
            way.get(ready)
            time.sleep(0.05)
            before = _interrupts.kicks()
            for i in range(100):
                fire()
            kicks.append(_interrupts.kicks() - before)
            time.sleep(0.1)
            before = _interrupts.kicks()
            time.sleep(0.1)
            kicks.append(_interrupts.kicks() - before)
            let_go.set()
        kicks = []
        way = ByThread()
        self.assertTrue(way.run(body, driver))
        if support.Py_GIL_DISABLED:
            # Only the thread itself can tell that it is masked: it is woken to look,
            # at most once each time, and then left alone.
            self.assertLessEqual(kicks.pop(0), 100)
            kicks.insert(0, 0)
        self.assertEqual(kicks, [0, 0])

    @needs_masks
    def test_sleep_in_finally_under_fire(self):
        def body():
            try:
                try:
                    pass
                finally:
                    cpu = time.thread_time()
                    start = time.monotonic()
                    ready.put(None)
                    time.sleep(0.5)
                    took = time.monotonic() - start
                    cpu = time.thread_time() - cpu
            except Interrupt:
                return took, cpu

        def driver(fire):
            way.get(ready)
            for i in range(1000):
                fire()
                time.sleep(0.0003)
        for way in ByThread(), BySignal():
            with self.subTest(type(way).__name__):
                ready = queue.SimpleQueue()
                took, cpu = way.run(body, driver)
                self.assertGreaterEqual(took, 0.5)
                self.assertLess(took, 0.5 + support.SHORT_TIMEOUT / 10)
                support.print_warning(f'{cpu=}') if cpu > 0.2 else None


class EitherOrTests(BlockingTestCase):
    """Taken or interrupted: never both, never neither."""

    ROUNDS = 2000

    def race(self, take, give, taken):
        """Give and interrupt at once, again and again.

        take() blocks until give() is called.  Afterwards taken() says whether
        it has been, and takes it back.
        """
        for way in ByThread(), BySignal():
            with self.subTest(type(way).__name__):
                start, ready, done = (queue.SimpleQueue() for i in range(3))

                def body():
                    for i in range(self.ROUNDS):
                        what = start.get(timeout=support.SHORT_TIMEOUT)
                        if what == 'stop':
                            return
                        got = False
                        try:
                            with soft:
                                ready.put(None)
                                take()
                                if what == 'after':
                                    way.fire_at_self()
                                got = True
                            # The interrupt may come after it was taken.
                            while True:
                                time.sleep(0)
                        except Interrupt:
                            done.put(got)

                def driver(fire):
                    try:
                        outcomes = [one_round(i, fire)
                                    for i in range(self.ROUNDS)]
                    finally:
                        start.put('stop')
                    if len(set(outcomes)) == 1:
                        support.print_warning('there was no race')

                def one_round(i, fire):
                    what = ['give first', 'fire first', 'after'][i % 3]
                    start.put(what)
                    way.get(ready)
                    time.sleep(random.choice([0, 0.00001, 0.0001]))
                    actions = {'give first': [give, fire],
                               'fire first': [fire, give],
                               'after': [give]}[what]
                    pause = random.choice([None, 0, 0.00002, 0.0001])
                    for action in actions:
                        action()
                        if pause is not None:
                            # Whoever sleeps lets the other one run.
                            time.sleep(pause)
                    got = way.get(done)
                    self.assertIs(taken(), got)
                    return got
                way.run(body, driver)

    @needs_masks
    def test_lock(self):
        lock = threading.Lock()
        lock.acquire()

        def taken():
            # Free if nobody took it.
            return not lock.acquire(blocking=False)
        self.race(lock.acquire, lock.release, taken)

    @needs_masks
    def test_simple_queue(self):
        items = queue.SimpleQueue()

        def taken():
            try:
                items.get_nowait()
            except queue.Empty:
                return True
            return False
        self.race(items.get, lambda: items.put(None), taken)

    @needs_masks
    def test_pipe(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)

        def taken():
            os.set_blocking(read, False)
            try:
                os.read(read, 1)
            except BlockingIOError:
                return True
            finally:
                os.set_blocking(read, True)
            return False
        self.race(lambda: os.read(read, 1), lambda: os.write(write, b'x'),
                  taken)

    @needs_masks
    def test_socket(self):
        a, b = socket.socketpair()
        self.addCleanup(a.close)
        self.addCleanup(b.close)

        def taken():
            try:
                a.recv(1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            return False
        self.race(lambda: a.recv(1), lambda: b.send(b'x'), taken)

    @may_need_masks
    def test_condition_is_locked_in_the_handler(self):
        condition = threading.Condition()
        ready = queue.SimpleQueue()
        rounds = 200

        def body():
            for i in range(rounds):
                with condition:
                    try:
                        ready.put(None)
                        condition.wait()
                    except Interrupt:
                        self.assertTrue(condition._is_owned())
                    else:
                        self.fail('it has returned')

        def driver(fire):
            for i in range(rounds):
                way.get(ready)
                # Now it waits, since it has given the lock back.
                with condition:
                    pass
                fire()
        for way in ByThread(), BySignal():
            with self.subTest(type(way).__name__):
                way.run(body, driver)


class ExitTests(BlockingTestCase):
    """Exits that wait for the work of others can be interrupted."""

    def setUp(self):
        super().setUp()
        self.let_go = threading.Event()
        self.addCleanup(self.let_go.set)

    def check_breaks(self, leave):
        """leave() comes to an exit that waits, and calls what it is given before.
        """
        for way in ByThread(), BySignal():
            with self.subTest(type(way).__name__):
                self.let_go.clear()
                ready = queue.SimpleQueue()

                def body():
                    with self.assertRaises(Interrupt):
                        leave(lambda: ready.put(None))

                def driver(fire):
                    way.get(ready)
                    time.sleep(0.02)
                    fire()
                try:
                    way.run(body, driver)
                finally:
                    self.let_go.set()

    def executor(self, ready):
        with ThreadPoolExecutor(1) as executor:
            executor.submit(self.let_go.wait)
            ready()

    def test_executor(self):
        self.check_breaks(self.executor)

    def test_after_an_exception(self):
        def leave(ready):
            with ThreadPoolExecutor(1) as executor:
                executor.submit(self.let_go.wait)
                ready()
                raise ValueError
        self.check_breaks(leave)

    def test_exit_stack(self):
        def leave(ready):
            with contextlib.ExitStack() as stack:
                executor = stack.enter_context(ThreadPoolExecutor(1))
                executor.submit(self.let_go.wait)
                ready()
        self.check_breaks(leave)

    def test_context_manager(self):
        @contextlib.contextmanager
        def manager():
            with ThreadPoolExecutor(1) as executor:
                yield executor

        def leave(ready):
            with manager() as executor:
                executor.submit(self.let_go.wait)
                ready()
        self.check_breaks(leave)

    def test_process(self):
        def leave(ready):
            with subprocess.Popen(
                    [sys.executable, '-I', '-S', '-c',
                     'import sys; sys.stdin.read()'],
                    stdin=subprocess.PIPE) as child:
                # Otherwise the exit would close it, and the child end.
                self.addCleanup(child.wait)
                self.addCleanup(child.stdin.close)
                child.stdin, stdin = None, child.stdin
                self.addCleanup(setattr, child, 'stdin', stdin)
                ready()
        self.check_breaks(leave)

    def test_server(self):
        class Handler(socketserver.BaseRequestHandler):
            def handle(handler):
                self.let_go.wait()

        def leave(ready):
            with socketserver.ThreadingTCPServer(('127.0.0.1', 0),
                                                 Handler) as server:
                with socket.create_connection(server.server_address):
                    server.handle_request()
                    ready()
        self.check_breaks(leave)

    def test_executor_in_the_main_thread_of_another_process(self):
        # SIGINT, and the handler that everybody has.
        result = script_helper.assert_python_ok('-c', '''if True:
            import os, signal, threading
            from concurrent.futures import ThreadPoolExecutor
            let_go = threading.Event()
            try:
                with ThreadPoolExecutor(1) as executor:
                    executor.submit(let_go.wait)
                    threading.Timer(
                        0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            except KeyboardInterrupt:
                print('broken')
            let_go.set()
        ''')
        self.assertEqual(result.out, b'broken\n')

    def check_holds(self, leave):
        for way in ByThread(), BySignal():
            with self.subTest(type(way).__name__):
                self.let_go.clear()
                ready = queue.SimpleQueue()
                finished = []

                def body():
                    with self.assertRaises(Interrupt):
                        leave(lambda: ready.put(None))
                        finished.append(True)

                def driver(fire):
                    way.get(ready)
                    for pause in 0.01, 0.01:
                        time.sleep(pause)
                        fire()
                    self.let_go.set()
                try:
                    way.run(body, driver)
                finally:
                    self.let_go.set()
                self.assertEqual(finished, [])
                self.assertEqual(self.after, ['after'])

    @needs_masks
    def test_in_finally(self):
        def leave(ready):
            self.after = []
            try:
                pass
            finally:
                self.executor(ready)
                self.after.append('after')
        self.check_holds(leave)

    @needs_masks
    def test_in_nointerrupts(self):
        def leave(ready):
            self.after = []
            with nointerrupts:
                self.executor(ready)
                self.after.append('after')
        self.check_holds(leave)

    @needs_masks
    def test_in_an_exit_of_a_class(self):
        # Its exit does more than to wait: what comes after that is not cut.
        class Manager:
            def __enter__(manager):
                self.after = []

            def __exit__(manager, *exc_info):
                try:
                    thread = threading.Thread(target=self.let_go.wait)
                    thread.start()
                    manager.ready()
                    thread.join()
                finally:
                    # It has waited until then.
                    if self.let_go.is_set():
                        self.after.append('after')

        def leave(ready):
            with (manager := Manager()):
                manager.ready = ready
        self.check_holds(leave)

    def test_returns_what_the_call_returns(self):
        result = _interrupts.wait_for_others(dict, [('a', 1)], b=2)
        self.assertEqual(result, {'a': 1, 'b': 2})
        with self.assertRaises(ZeroDivisionError):
            _interrupts.wait_for_others(divmod, 1, 0)
        with self.assertRaises(TypeError):
            _interrupts.wait_for_others()

    def test_caches_are_no_instructions(self):
        # Whether a frame leaves a `with` is read from the instructions before the
        # call.  Here a counter is there, and takes on nearly all values: the sum of
        # an int and a float has no specialized form.
        script_helper.assert_python_ok('-c', '''if 1:
            import signal
            from _interrupts import wait_for_others

            def wait(a, b):
                wait_for_others(signal.raise_signal, signal.SIGINT)

            def clean_up(n):
                try:
                    str(n)
                finally:
                    wait(1, n + 0.5)

            for n in range(4000):
                try:
                    clean_up(n)
                except KeyboardInterrupt:
                    pass
            ''')


@unittest.skipIf(sqlite3 is None, 'needs sqlite3')
class DatabaseTests(BlockingTestCase):
    """What an interrupt leaves of a transaction that waits for others."""

    def connect(self, *pragmas):
        connection = sqlite3.connect(os_helper.TESTFN, timeout=3600,
                                     isolation_level=None,
                                     check_same_thread=False)
        self.addCleanup(connection.close)
        for pragma in pragmas:
            connection.execute(f'PRAGMA {pragma}')
        return connection

    def interrupt(self, call):
        for way in ByThread(), BySignal():
            with self.subTest(type(way).__name__):
                ready = queue.SimpleQueue()

                def body():
                    ready.put(None)
                    with self.assertRaises(Interrupt):
                        call()

                def driver(fire):
                    way.get(ready)
                    time.sleep(0.02)
                    fire()
                way.run(body, driver)

    def setUp(self):
        super().setUp()
        for suffix in '', '-wal', '-shm', '-journal':
            self.addCleanup(os_helper.unlink, os_helper.TESTFN + suffix)
        self.other = self.connect()
        self.other.execute('CREATE TABLE t (x)')

    def rows(self):
        return [x for x, in self.other.execute('SELECT x FROM t')]

    def test_commit_can_be_repeated(self):
        self.other.execute('BEGIN')
        self.assertEqual(self.rows(), [])
        ours = self.connect('busy_timeout=1000')
        ours.execute('BEGIN')
        ours.execute('INSERT INTO t VALUES (1)')
        self.interrupt(ours.commit)
        self.assertTrue(ours.in_transaction)
        self.other.commit()
        ours.commit()
        self.assertEqual(self.rows(), [1])

    def test_begin(self):
        self.other.execute('BEGIN EXCLUSIVE')
        ours = self.connect()
        for mode in '', ' IMMEDIATE', ' EXCLUSIVE':
            with self.subTest(mode):
                self.interrupt(lambda: ours.executescript(f'''
                    BEGIN{mode};
                    INSERT INTO t VALUES (2);
                '''))
                if ours.in_transaction:
                    ours.rollback()
        self.other.commit()
        ours.execute('INSERT INTO t VALUES (3)')
        self.assertEqual(self.rows(), [3])
        self.assertEqual(ours.execute('PRAGMA busy_timeout').fetchone(),
                         (3600_000,))

    def test_write_ahead_log(self):
        ours = self.connect('journal_mode=wal')
        self.other.execute('BEGIN IMMEDIATE')
        self.other.execute('INSERT INTO t VALUES (1)')
        self.interrupt(lambda: ours.execute('INSERT INTO t VALUES (2)'))
        self.other.commit()
        ours.execute('INSERT INTO t VALUES (3)')
        self.assertEqual(self.rows(), [1, 3])


class ThreadInterruptTests(BlockingTestCase):
    """Thread.interrupt() and Thread.terminate()."""

    def setUp(self):
        super().setUp()
        # Says nothing about SystemExit, unlike that of regrtest.
        self.enterContext(support.swap_attr(threading, 'excepthook',
                                            threading.__excepthook__))

    def start(self, target):
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread

    def join(self, thread):
        thread.join(support.SHORT_TIMEOUT)
        self.assertFalse(thread.is_alive())

    def test_instance_with_data(self):
        caught = []
        ready = threading.Lock()
        ready.acquire()

        def run():
            try:
                ready.release()
                time.sleep(3600)
            except Interrupt as exc:
                caught.append(exc)
        thread = self.start(run)
        ready.acquire()
        exc = Interrupt('data', 17)
        self.assertIs(thread.interrupt(exc), True)
        self.join(thread)
        self.assertEqual(caught, [exc])

    # Without masks one that comes outside of the try ends the thread.
    @may_need_masks
    def test_each_is_raised_in_order(self):
        caught = []
        let_go = threading.Lock()
        let_go.acquire()

        def run():
            with nointerrupts:
                while len(caught) < 100:
                    try:
                        with interrupts:
                            time.sleep(3600)
                    except Interrupt as exc:
                        caught.append(exc.args[0])
        thread = self.start(run)
        for i in range(100):
            while len(caught) < i and thread.is_alive():
                time.sleep(0)
            self.assertTrue(thread.interrupt(Interrupt(i)))
        self.join(thread)
        self.assertEqual(caught, list(range(100)))

    def test_current_thread(self):
        thread = threading.current_thread()
        with self.assertRaises(Interrupt):
            thread.interrupt(Interrupt)
        with self.assertRaises(SystemExit):
            thread.terminate()

    @needs_masks
    def test_current_thread_masked(self):
        with self.assertRaises(Interrupt):
            with nointerrupts:
                threading.current_thread().interrupt(Interrupt)
                went_on = True
        self.assertTrue(went_on)

    def test_main_thread(self):
        ready = threading.Event()

        def run():
            ready.wait()
            threading.main_thread().interrupt(Interrupt)
        thread = self.start(run)
        with self.assertRaises(Interrupt):
            ready.set()
            time.sleep(3600)
        self.join(thread)

    def test_foreign_thread(self):
        import _thread
        threads = queue.SimpleQueue()
        caught = queue.SimpleQueue()

        def run():
            try:
                threads.put(threading.current_thread())
                time.sleep(3600)
            except Interrupt as exc:
                caught.put(exc)
        _thread.start_new_thread(run, ())
        thread = threads.get(timeout=support.SHORT_TIMEOUT)
        self.assertTrue(thread.interrupt(Interrupt))
        caught.get(timeout=support.SHORT_TIMEOUT)
        while thread.interrupt(Interrupt):
            time.sleep(0.001)

    def test_bad_arguments(self):
        thread = self.start(lambda: None)
        for bad in None, 1, 'Interrupt', object, [Interrupt]:
            with self.subTest(bad), self.assertRaises(TypeError):
                thread.interrupt(bad)
        self.join(thread)
        with self.assertRaises(TypeError):
            thread.interrupt(None)
        with self.assertRaises(TypeError):
            thread.interrupt()

    def test_not_started(self):
        thread = threading.Thread(target=lambda: None)
        with self.assertRaisesRegex(RuntimeError, 'before it is started'):
            thread.interrupt(Interrupt)
        with self.assertRaisesRegex(RuntimeError, 'before it is started'):
            thread.terminate()

        class NoInit(threading.Thread):
            def __init__(self):
                pass
        with self.assertRaisesRegex(RuntimeError, '__init__'):
            NoInit().interrupt(Interrupt)

    def test_finished(self):
        thread = self.start(lambda: None)
        self.join(thread)
        self.assertIs(thread.interrupt(Interrupt), False)
        self.assertIs(thread.terminate(), False)

    def test_identifier_is_used_again(self):
        old = self.start(lambda: None)
        self.join(old)
        let_go = threading.Event()
        for i in range(100):
            new = self.start(let_go.wait)
            if new.ident == old.ident:
                break
            let_go.set()
            self.join(new)
            let_go.clear()
        else:
            self.skipTest('no identifier was used again')
        self.assertIs(old.interrupt(Interrupt), False)
        let_go.set()
        self.join(new)

    def test_terminate(self):
        cleaned_up = []

        def run():
            try:
                time.sleep(3600)
            finally:
                cleaned_up.append(True)
        with support.captured_stderr() as stderr:
            thread = self.start(run)
            while not cleaned_up and thread.terminate():
                time.sleep(0.001)
            self.join(thread)
        self.assertEqual(stderr.getvalue(), '')

    def check_forced(self, work):
        """Masked, it is interrupted by force; what came before still waits."""
        caught = []
        ready = threading.Event()

        def run():
            try:
                try:
                    with nointerrupts:
                        try:
                            ready.set()
                            work()
                        except Interrupt as exc:
                            caught.append(exc.args)
                            # The other one is held back.
                            time.sleep(0.05)
                            caught.append('held back')
                except Interrupt as exc:
                    caught.append(exc.args)
            except BaseException as exc:
                caught.append(exc)
        thread = self.start(run)
        ready.wait()
        thread.interrupt(Interrupt('waits'))
        thread.interrupt(Interrupt('forced'), force=True)
        self.join(thread)
        self.assertEqual(caught, [('forced',), 'held back', ('waits',)])

    @needs_masks
    def test_force_while_it_blocks(self):
        self.check_forced(lambda: time.sleep(3600))

    @needs_masks
    def test_force_while_it_computes(self):
        def compute():
            while True:
                pass
        # Without a GIL the two come at any moment of a check.
        for _ in range(10):
            self.check_forced(compute)

    def test_force_the_current_thread(self):
        with nointerrupts:
            with self.assertRaises(Interrupt):
                threading.current_thread().interrupt(Interrupt, force=True)
            self.assertFalse(interrupts_pending())

    @needs_masks
    def test_force_in_a_finalizer(self):
        # Nothing could catch it there, so it comes afterwards.
        finalized = []

        def generator():
            try:
                yield
            finally:
                threading.current_thread().interrupt(Interrupt, force=True)
                finalized.append(True)
        suspended = generator()
        next(suspended)
        with self.assertRaises(Interrupt):
            del suspended
            self.fail('too late')
        self.assertEqual(finalized, [True])

    def test_subclass_with_methods_of_its_own(self):
        class Mine(threading.Thread):
            def interrupt(self):
                return 'mine'
        thread = Mine(target=time.sleep, args=(3600,), daemon=True)
        thread.start()
        self.assertEqual(thread.interrupt(), 'mine')
        self.assertTrue(thread.terminate())
        self.join(thread)

    def test_thread_pool_does_not_terminate_its_threads(self):
        from multiprocessing.pool import ThreadPool
        done = []
        with ThreadPool(1) as pool:
            started = threading.Event()

            def job():
                started.set()
                time.sleep(0.05)
                done.append(True)
            pool.apply_async(job)
            started.wait()
        deadline = time.monotonic() + support.SHORT_TIMEOUT
        while not done and time.monotonic() < deadline:
            time.sleep(0.001)
        self.assertEqual(done, [True])

    def test_many_threads_at_once(self):
        count = 200
        lock = threading.Lock()
        lock.acquire()
        threads = [self.start(lock.acquire) for i in range(count)]
        for thread in threads:
            self.assertTrue(thread.terminate())
        for thread in threads:
            self.join(thread)
        self.assertTrue(lock.locked())

    def test_none_lost_none_double(self):
        interrupt_one_at_a_time(5_000)
        kicks = _interrupts.kicks()
        time.sleep(0.1)
        self.assertEqual(_interrupts.kicks(), kicks)

    @needs_masks
    def test_few_kicks_while_it_waits_for_its_turn(self):
        # It is blocked in no call, only kept from running.
        over = False

        def hog():
            while not over:
                pass

        def run():
            try:
                with soft:
                    ready.set()
                    end = time.monotonic() + 1
                    while time.monotonic() < end:
                        pass
                    waited.append(interrupts_pending())
            except Interrupt:
                waited.append('raised')
        waited = []
        ready = threading.Event()
        other = self.start(hog)
        try:
            thread = self.start(run)
            ready.wait()
            before = _interrupts.kicks()
            thread.interrupt(Interrupt)
            self.join(thread)
            kicks = _interrupts.kicks() - before
        finally:
            over = True
        self.join(other)
        self.assertEqual(waited, [True, 'raised'])
        # About 170 if each turn is taken for the end of a call.
        self.assertLess(kicks, 50)


class KickSignalTests(unittest.TestCase):
    """The signal that wakes threads."""

    WAKE = '''if True:
        import signal, threading, time, _interrupts
        class Interrupt(Exception): pass
        caught = []
        ready = threading.Event()
        def run():
            try:
                ready.set()
                time.sleep(3600)
            except Interrupt:
                caught.append(True)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        ready.wait()
        time.sleep(0.01)
        thread.interrupt(Interrupt)
        thread.join(%s)
        print(_interrupts.kick_signal(), caught)
    '''

    def wakes(self, *args, seconds=support.SHORT_TIMEOUT, **env):
        result = script_helper.assert_python_ok(
            *args, '-c', self.WAKE % seconds, **env)
        return result.out.decode().split(maxsplit=1)

    @unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
    def test_which_signal(self):
        usr2 = int(signal.SIGUSR2)
        self.assertEqual(self.wakes(), [str(int(signal.SIGURG)), '[True]\n'])
        self.assertEqual(self.wakes('-X', f'interrupt_signal={usr2}'),
                         [str(usr2), '[True]\n'])
        self.assertEqual(self.wakes(PYTHONINTERRUPTSIGNAL=str(usr2)),
                         [str(usr2), '[True]\n'])
        # The option wins.
        self.assertEqual(self.wakes('-X', 'interrupt_signal=23',
                                    PYTHONINTERRUPTSIGNAL=str(usr2)),
                         ['23', '[True]\n'])

    def test_none(self):
        self.assertEqual(self.wakes('-X', 'interrupt_signal=0', seconds=0.2),
                         ['0', '[]\n'])

    def test_no_such_signal(self):
        for value in '', '=', '=x', '=-1', '=9', '=19', '=32', '=1000':
            with self.subTest(value):
                result = script_helper.assert_python_failure(
                    '-X', 'interrupt_signal' + value, '-c', '')
                self.assertIn(b'interrupt_signal must be', result.err)

    @unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
    def test_others_keep_their_signal(self):
        # A handler of the program gets what is no kick, and only that.
        script_helper.assert_python_ok('-c', '''if True:
            import os, signal, threading, time
            assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
            seen = []
            signal.signal(signal.SIGURG, lambda *args: seen.append(args[0]))
            class Interrupt(Exception): pass
            caught = []
            def run():
                while True:
                    try:
                        time.sleep(3600)
                    except Interrupt:
                        caught.append(True)
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            def wait_for(condition):
                deadline = time.monotonic() + 60
                while not condition():
                    assert time.monotonic() < deadline
                    time.sleep(0.001)
            for i in range(1, 10):
                thread.interrupt(Interrupt)
                wait_for(lambda: len(caught) == i)
                os.kill(os.getpid(), signal.SIGURG)
                wait_for(lambda: len(seen) == i)
            signal.signal(signal.SIGURG, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGURG)
            signal.siginterrupt(signal.SIGURG, False)
            thread.interrupt(Interrupt)
            wait_for(lambda: len(caught) == 10)
            assert len(seen) == 9
        ''')

    @unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
    def test_others_that_pass_it_back(self):
        # faulthandler calls who had the signal before, which we are again.
        script_helper.assert_python_ok('-c', '''if True:
            import faulthandler, os, signal, tempfile, threading, time
            class Interrupt(Exception): pass
            caught = []
            def run():
                while True:
                    try:
                        time.sleep(3600)
                    except Interrupt:
                        caught.append(True)
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            def wake(count):
                thread.interrupt(Interrupt)
                deadline = time.monotonic() + 60
                while len(caught) < count:
                    assert time.monotonic() < deadline
                    time.sleep(0.001)
            wake(1)
            with tempfile.TemporaryFile() as file:
                faulthandler.register(signal.SIGURG, file, chain=True)
                for i in range(2, 5):
                    wake(i)
                    os.kill(os.getpid(), signal.SIGURG)
                assert file.tell() or os.fstat(file.fileno()).st_size
        ''')

    @unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
    def test_late_ones_at_exit(self):
        # The signal would end the process.
        script_helper.assert_python_ok('-X', f'interrupt_signal={int(signal.SIGUSR1)}',
            '-X', 'interrupt_limits=notice_after=0.1', '-c', '''if True:
            import signal, threading, time
            class Last:
                def __del__(self, sleep=time.sleep):
                    sleep(0.3)
            last = Last()
            threading.nointerrupts.__enter__()
            signal.raise_signal(signal.SIGINT)
        ''')

    @support.requires_fork()
    @unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
    def test_fork(self):
        # Neither the parent's timers nor the numbers of its threads are the
        # child's.
        script_helper.assert_python_ok('-W', 'ignore', '-c', '''if True:
            import os, signal, sys, threading, time
            class Interrupt(Exception): pass
            def wake_one():
                caught = []
                def run():
                    try:
                        time.sleep(3600)
                    except Interrupt:
                        caught.append(True)
                thread = threading.Thread(target=run, daemon=True)
                thread.start()
                time.sleep(0.01)
                assert thread.interrupt(Interrupt)
                thread.join(60)
                assert caught, thread
            def interrupt_main():
                def run():
                    time.sleep(0.01)
                    main.interrupt(Interrupt)
                main = threading.current_thread()
                thread = threading.Thread(target=run)
                thread.start()
                try:
                    time.sleep(60)
                except Interrupt:
                    pass
                else:
                    raise AssertionError
                thread.join()
            wake_one()
            interrupt_main()
            pid = os.fork()
            wake_one()
            interrupt_main()
            if pid == 0:
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        ''')

    @support.requires_fork()
    @unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
    def test_fork_by_another_thread(self):
        # That is the main thread of the child, and is woken as such.
        script_helper.assert_python_ok('-W', 'ignore', '-c', '''if True:
            import os, signal, threading, time
            class Taken(Exception): pass
            def handler(signum, frame):
                raise Taken
            def work_as_child():
                signal.signal(signal.SIGALRM, handler)
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
                def take():
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
                    over.wait()
                over = threading.Event()
                threading.Thread(target=take, daemon=True).start()
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                try:
                    time.sleep(%s)
                except Taken:
                    os._exit(7)
                os._exit(1)
            def fork():
                pid = os.fork()
                if pid == 0:
                    work_as_child()
                status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            status = []
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
            assert status == [7], status
        ''' % support.SHORT_TIMEOUT)

    @unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
    def test_no_kicks_while_a_subinterpreter_runs(self):
        # The main one does not block meanwhile, though its thread state is detached.
        import_helper.import_module('_interpreters')
        result = script_helper.assert_python_ok('-c', '''if True:
            import _interpreters, _interrupts, os, signal, threading
            other = _interpreters.create()
            before = _interrupts.kicks()
            try:
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
                _interpreters.exec(other, """if True:
                    import time
                    end = time.monotonic() + 1
                    while time.monotonic() < end:
                        pass
                """)
                raise AssertionError('not interrupted')
            except KeyboardInterrupt:
                print(_interrupts.kicks() - before)
        ''')
        # About 90 if it is taken for blocked.
        self.assertLess(int(result.out), 30)

    @unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
    def test_a_signal_that_another_thread_takes(self):
        # It does not break the main thread's call, so that is woken.
        class Taken(Exception):
            pass

        def handler(signum, frame):
            raise Taken
        old = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        end = threading.Event()
        for i in range(20):
            end.clear()
            other = threading.Thread(target=end.wait)
            other.start()

            def send():
                time.sleep(random.choice([0, 0.0001, 0.001]))
                signal.pthread_kill(other.ident, signal.SIGUSR1)
            sender = threading.Thread(target=send)
            with self.assertRaises(Taken):
                sender.start()
                time.sleep(support.SHORT_TIMEOUT)
            end.set()
            sender.join()
            other.join()


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=14, others=25)


if __name__ == '__main__':
    interrupt_masks.main(BlockingTestCase)
