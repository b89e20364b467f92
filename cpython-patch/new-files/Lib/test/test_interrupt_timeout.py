"""threading.timeout: a block that takes too long is broken.

What interrupts the block is only held back by what was entered inside of it, and
nobody but the timeout gets to see it: TimeoutError is raised at its end.  The
promises are written down in InternalDocs/interrupt_masking.md.
"""

import asyncio
import collections
import contextlib
import itertools
import math
import os
import random
import signal
import threading
import time
import unittest
import weakref
from threading import interrupts, nointerrupts, timeout

import _interrupts
from test import support
from test.support import import_helper, script_helper
from test.support import interrupt_masks
from test.support.interrupt_masks import check_marks, needs_masks
from test.support.interrupt_sweep import sweep
from test.support.interrupt_waits import WAITS

if not _interrupts.kick_signal():
    raise unittest.SkipTest('needs a signal that wakes threads')

# Blocks that are to be broken would take so long.
LONG = support.LONG_TIMEOUT
SHORT = 0.02


class Other(Exception):
    """Sent by somebody else."""


def spin():
    while True:
        pass


def take_time(seconds):
    """Run for that long, whatever comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def interrupt_of(exception):
    """What has broken the block."""
    return exception.__cause__


class TimeoutTestCase(unittest.TestCase):

    @contextlib.contextmanager
    def times_out(self):
        start = time.monotonic()
        with self.assertRaises(TimeoutError) as caught:
            yield caught
        self.assertIs(type(caught.exception), TimeoutError)
        self.assertLess(time.monotonic() - start, LONG)


class BasicTests(TimeoutTestCase):

    def test_running(self):
        with self.times_out():
            with timeout(SHORT):
                spin()

    def test_blocked(self):
        for name, wait in WAITS.items():
            with self.subTest(name), wait() as case:
                with self.times_out():
                    with timeout(SHORT):
                        case.wait()

    def test_over_in_c_code_that_then_blocks(self):
        # There is no check point between the ring and the call that blocks.
        receiver, sender = os.pipe()
        self.addCleanup(os.close, receiver)
        self.addCleanup(os.close, sender)
        count = 1_000_000
        start = time.monotonic()
        collections.deque(itertools.repeat(None, count), maxlen=0)
        enough = int(count * 4 * SHORT / (time.monotonic() - start))
        with self.times_out():
            with timeout(SHORT):
                collections.deque(itertools.chain(
                    itertools.repeat(None, enough),
                    map(os.read, [receiver], [1])), maxlen=0)

    def test_in_time(self):
        with timeout(LONG) as limit:
            work = [1, 2]
        self.assertFalse(limit.expired())
        self.assertEqual(work, [1, 2])

    def test_nothing_comes_afterwards(self):
        with timeout(SHORT):
            pass
        time.sleep(2 * SHORT)
        self.assertFalse(_interrupts.interrupts_pending())

    def test_expired(self):
        limit = timeout(SHORT)
        self.assertFalse(limit.expired())
        with self.times_out():
            with limit as entered:
                spin()
        self.assertIs(entered, limit)
        self.assertTrue(limit.expired())

    @needs_masks
    def test_no_time_at_all(self):
        with self.times_out():
            with timeout(0):
                spin()

    def test_no_limit(self):
        for seconds in None, math.inf, 1e300, threading.TIMEOUT_MAX:
            with self.subTest(seconds), timeout(seconds) as limit:
                time.sleep(SHORT)
            self.assertFalse(limit.expired())

    def test_context(self):
        # It says where the block was broken, and by what time.
        with self.times_out() as caught:
            with timeout(SHORT):
                try:
                    raise ValueError
                except ValueError:
                    spin()
        interrupt = interrupt_of(caught.exception)
        self.assertIn(str(SHORT), str(interrupt))
        self.assertIsInstance(interrupt.__context__, ValueError)
        frames = []
        traceback = interrupt.__traceback__
        while traceback is not None:
            frames.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        self.assertEqual(frames[-1], 'spin')

    def test_no_handler_sees_it(self):
        seen = []
        with self.times_out():
            with timeout(SHORT):
                try:
                    spin()
                except (Exception, KeyboardInterrupt, SystemExit) as exc:
                    seen.append(exc)
        self.assertEqual(seen, [])

    def test_somebody_has_swallowed_it(self):
        with self.times_out() as caught:
            with timeout(SHORT):
                try:
                    spin()
                except BaseException:
                    pass
        self.assertIsNone(interrupt_of(caught.exception))

    def test_somebody_raises_something_else(self):
        limit = timeout(SHORT)
        with self.assertRaises(ValueError) as caught:
            with limit:
                try:
                    spin()
                finally:
                    raise ValueError
        self.assertTrue(limit.expired())
        self.assertIsInstance(caught.exception.__context__, BaseException)

    def test_block_raises_in_time(self):
        with self.assertRaises(ValueError):
            with timeout(LONG):
                raise ValueError
        with self.assertRaises(TimeoutError) as caught:
            with timeout(LONG) as limit:
                raise TimeoutError('of the block')
        self.assertEqual(str(caught.exception), 'of the block')
        self.assertFalse(limit.expired())

    def test_every_way_out(self):
        def leaves():
            for _ in range(2):
                with timeout(SHORT):
                    continue
            while True:
                with timeout(SHORT):
                    break
            with timeout(SHORT):
                return 'value'

        self.assertEqual(leaves(), 'value')
        time.sleep(2 * SHORT)

    @needs_masks
    def test_repr(self):
        limit = timeout(1.5)
        self.assertEqual(repr(limit),
                         '<threading.timeout(1.5), not expired>')
        limit = timeout(0)
        with self.times_out():
            with limit:
                spin()
        self.assertEqual(repr(limit), '<threading.timeout(0), expired>')


class BadInputTests(TimeoutTestCase):

    def test_negative(self):
        for seconds in -1, -1e-9, -math.inf, math.nan:
            with (self.subTest(seconds),
                  self.assertRaisesRegex(ValueError, 'negative or NaN')):
                timeout(seconds)

    def test_no_number(self):
        for seconds in '1', b'1', [], object():
            with (self.subTest(seconds),
                  self.assertRaisesRegex(TypeError, 'number of seconds')):
                timeout(seconds)
        with self.assertRaises(TypeError):
            timeout()

    def test_used_twice(self):
        limit = timeout(LONG)
        with limit:
            with self.assertRaisesRegex(RuntimeError, 'used twice'):
                with limit:
                    pass
        with self.assertRaisesRegex(RuntimeError, 'used twice'):
            with limit:
                pass

    def test_left_but_not_entered(self):
        with self.assertRaisesRegex(RuntimeError, 'not been entered'):
            timeout(LONG).__exit__(None, None, None)

    def test_left_twice(self):
        limit = timeout(LONG)
        with limit:
            pass
        with self.assertRaisesRegex(RuntimeError, 'not been entered'):
            limit.__exit__(None, None, None)

    def test_left_in_another_thread(self):
        errors = []

        def leave():
            try:
                limit.__exit__(None, None, None)
            except RuntimeError as exc:
                errors.append(exc)

        with self.times_out():
            with timeout(SHORT) as limit:
                thread = threading.Thread(target=leave)
                thread.start()
                thread.join()
                spin()
        self.assertEqual(len(errors), 1)

    def test_no_signal(self):
        code = ('import threading\n'
                'try:\n'
                '    with threading.timeout(1): print("entered")\n'
                'except RuntimeError as exc: print(exc)\n'
                'with threading.timeout(None): print("no limit")\n')
        _, out, _ = script_helper.assert_python_ok(
            '-X', 'interrupt_signal=0', '-c', code)
        self.assertIn(b'needs a signal that wakes threads', out)
        self.assertIn(b'no limit', out)
        self.assertNotIn(b'entered', out)


class NestingTests(TimeoutTestCase):

    def test_inner(self):
        with timeout(LONG) as outer:
            with self.times_out():
                with timeout(SHORT) as inner:
                    spin()
        self.assertTrue(inner.expired())
        self.assertFalse(outer.expired())

    def test_outer(self):
        with self.times_out():
            with timeout(SHORT) as outer:
                try:
                    with timeout(LONG) as inner:
                        spin()
                except TimeoutError:
                    self.fail('it was not the inner one')
        self.assertTrue(outer.expired())
        self.assertFalse(inner.expired())

    @needs_masks
    def test_both(self):
        # The outer one breaks both blocks.  Without the mask the inner one comes first,
        # however busy the system is.
        with self.times_out():
            with timeout(20 * SHORT) as outer:
                with timeout(SHORT) as inner:
                    with nointerrupts:
                        take_time(22 * SHORT)
        self.assertTrue(outer.expired())
        self.assertFalse(inner.expired())

    def test_many(self):
        # Each breaks the handler of the one before, or several blocks at once.
        limits = [timeout(SHORT * n) for n in range(20, 0, -1)]
        caught = []

        def nest(number):
            if number == len(limits):
                spin()
            try:
                with limits[number]:
                    nest(number + 1)
            except TimeoutError:
                caught.append(number)
                if number > 0:
                    spin()

        nest(0)
        self.assertEqual(caught, sorted(caught, reverse=True))
        self.assertEqual(caught[-1], 0)
        expired = [n for n, limit in enumerate(limits) if limit.expired()]
        self.assertEqual(expired, caught[::-1])

    def test_inner_one_does_not_take_over(self):
        # The block is left because of the outer one, whatever runs on the way.
        rounds = 0
        with self.times_out():
            with timeout(SHORT) as outer:
                for _ in range(100):
                    rounds += 1
                    try:
                        with timeout(SHORT) as inner:
                            try:
                                spin()
                            except BaseException:
                                str(rounds)
                                raise
                    except TimeoutError:
                        pass
        self.assertEqual(rounds, 1)
        self.assertTrue(outer.expired())
        self.assertFalse(inner.expired())

    def test_one_after_the_other(self):
        for _ in range(50):
            with self.times_out():
                with timeout(0.01):
                    spin()

    def test_in_many_threads(self):
        failures = []

        def job(seconds):
            try:
                with timeout(seconds):
                    time.sleep(LONG)
            except TimeoutError:
                return
            failures.append(seconds)

        threads = [threading.Thread(target=job, args=(n / 500,))
                   for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])


class MaskTests(TimeoutTestCase):
    """Only what was entered inside of the block holds it back."""

    def test_in_nointerrupts(self):
        for scope in nointerrupts, nointerrupts(interruptible_waits=True):
            with scope:
                with self.times_out():
                    with timeout(SHORT):
                        spin()
                with self.times_out():
                    with timeout(SHORT):
                        time.sleep(LONG)

    def test_in_finally(self):
        try:
            pass
        finally:
            with self.times_out():
                with timeout(SHORT):
                    spin()
            with self.times_out():
                with timeout(SHORT):
                    time.sleep(LONG)

    def test_in_finally_of_a_caller(self):
        def limited():
            with timeout(SHORT):
                spin()

        try:
            pass
        finally:
            with self.times_out():
                limited()

    def test_in_enter_and_exit(self):
        test = self

        class Manager:
            def limited(self, *args):
                with test.times_out():
                    with timeout(SHORT):
                        time.sleep(LONG)
            __enter__ = __exit__ = limited

        with Manager():
            pass

    def test_in_finalizer(self):
        class Finalized:
            def __del__(self):
                with timeout(SHORT) as self.limit:
                    time.sleep(LONG)

        with support.catch_unraisable_exception() as caught:
            Finalized()
            self.assertIs(caught.unraisable.exc_type, TimeoutError)

    def test_in_signal_handler(self):
        def handler(signum, frame):
            with timeout(SHORT):
                time.sleep(LONG)

        before = signal.signal(signal.SIGUSR1, handler)
        with contextlib.ExitStack() as stack:
            stack.callback(signal.signal, signal.SIGUSR1, before)
            with self.times_out():
                os.kill(os.getpid(), signal.SIGUSR1)
                spin()

    @needs_masks
    def test_nobody_else_gets_in(self):
        me = threading.current_thread()
        steps = []
        with self.assertRaises(Other):
            try:
                pass
            finally:
                me.interrupt(Other)
                with self.times_out():
                    with timeout(SHORT):
                        spin()
                steps.append('cleaned up')
        self.assertEqual(steps, ['cleaned up'])

    @needs_masks
    def test_entered_inside(self):
        for scope in nointerrupts, nointerrupts(interruptible_waits=True):
            steps = []
            with self.times_out():
                with timeout(SHORT):
                    with scope:
                        take_time(2 * SHORT)
                        steps.append('all')
                    spin()
            self.assertEqual(steps, ['all'])

    @needs_masks
    def test_blocked_in_hard_scope(self):
        start = time.monotonic()
        with self.times_out():
            with timeout(SHORT):
                with nointerrupts:
                    time.sleep(4 * SHORT)
        self.assertGreaterEqual(time.monotonic() - start, 4 * SHORT)

    def test_blocked_in_soft_scope(self):
        with self.times_out():
            with timeout(SHORT):
                with nointerrupts(interruptible_waits=True):
                    time.sleep(LONG)

    @needs_masks
    def test_finally_inside(self):
        steps = []
        with self.times_out():
            with timeout(SHORT):
                try:
                    pass
                finally:
                    take_time(2 * SHORT)
                    steps.append('cleaned up')
                spin()
        self.assertEqual(steps, ['cleaned up'])

    def test_cleanup_of_the_block_is_whole(self):
        steps = []

        class Manager:
            def __enter__(self):
                steps.append('entered')

            def __exit__(self, *args):
                take_time(SHORT)
                steps.append('left')

        with self.times_out():
            with timeout(SHORT):
                with Manager():
                    spin()
        self.assertEqual(steps, ['entered', 'left'])

    @needs_masks
    def test_due_in_the_inner_while_the_outer_waits(self):
        # A mask between the two holds back the outer one only.
        steps = []
        with self.times_out():
            with timeout(SHORT) as outer:
                with nointerrupts:
                    with self.times_out():
                        with timeout(2 * SHORT) as inner:
                            spin()
                    steps.append('inner')
                steps.append('outer')
        self.assertEqual(steps, ['inner'])
        self.assertTrue(inner.expired())
        self.assertTrue(outer.expired())

    def test_opened_inside(self):
        with self.times_out():
            with timeout(SHORT):
                with nointerrupts:
                    with interrupts:
                        spin()

    def test_limit(self):
        before = signal.set_interrupt_limits(limit=2 * SHORT)
        self.addCleanup(signal.set_interrupt_limits, **before)
        steps = []
        with self.times_out():
            with timeout(SHORT):
                with nointerrupts:
                    take_time(20 * SHORT)
                    steps.append('too late')
        self.assertEqual(steps, [])

    def test_limit_while_the_block_is_suspended(self):
        # What has waited for too long is something else.  There are so many
        # that one of them is looked at when that is noticed.
        def suspended(seconds):
            with timeout(seconds) as limit:
                yield limit
                spin()

        before = signal.set_interrupt_limits(limit=2 * SHORT)
        self.addCleanup(signal.set_interrupt_limits, **before)
        generators = [suspended(SHORT + n * 5e-5) for n in range(200)]
        limits = [next(generator) for generator in generators]
        steps = []
        with self.assertRaises(Other):
            with nointerrupts:
                threading.current_thread().interrupt(Other())
                take_time(20 * SHORT)
                steps.append('too late')
        self.assertEqual(steps, [])
        self.assertFalse(any(limit.expired() for limit in limits))
        for limit, generator in zip(limits, generators):
            with self.times_out():
                next(generator)
            self.assertTrue(limit.expired())

    @needs_masks
    def test_with_others_that_wait(self):
        # It is raised alone; the others where nothing masks them.
        me = threading.current_thread()
        with self.assertRaises(ExceptionGroup) as group:
            with nointerrupts:
                me.interrupt(Other('1'))
                me.interrupt(Other('2'))
                with self.times_out():
                    with timeout(SHORT):
                        spin()
        self.assertEqual([str(exc) for exc in group.exception.exceptions],
                         ['1', '2'])


class ManagerTests(TimeoutTestCase):
    """Whoever enters it, it is in force until it is left."""

    def test_exit_stack(self):
        with nointerrupts:
            with self.times_out():
                with contextlib.ExitStack() as stack:
                    limit = stack.enter_context(timeout(SHORT))
                    spin()
        self.assertTrue(limit.expired())

    def test_contextmanager(self):
        @contextlib.contextmanager
        def limited():
            with timeout(SHORT) as limit:
                yield limit

        with nointerrupts:
            with self.times_out():
                with limited() as limit:
                    spin()
        self.assertTrue(limit.expired())

    def test_class(self):
        class Limited:
            def __enter__(self):
                self.limit = timeout(SHORT)
                self.limit.__enter__()
                return self.limit

            def __exit__(self, *args):
                self.limit.__exit__(*args)

        with nointerrupts:
            with self.times_out():
                with Limited() as limit:
                    spin()
        self.assertTrue(limit.expired())

    @needs_masks
    def test_owner_has_returned(self):
        # Another frame gets its place, which the timeout must not take for it.
        def by_stack():
            with contextlib.ExitStack() as stack:
                stack.enter_context(timeout(SHORT))
                return stack.pop_all()

        def by_hand():
            stack = contextlib.ExitStack()
            limit = timeout(SHORT)
            limit.__enter__()
            stack.push(limit)
            return stack

        def clean_up():
            take_time(2 * SHORT)
            steps.append('cleaned up')

        for start in by_stack, by_hand:
            steps = []
            with self.times_out():
                with start():
                    try:
                        pass
                    finally:
                        clean_up()
                    spin()
            self.assertEqual(steps, ['cleaned up'], start.__name__)

    def test_by_hand(self):
        limit = timeout(SHORT)
        with nointerrupts:
            limit.__enter__()
            try:
                spin()
            except BaseException as exc:
                with self.times_out():
                    limit.__exit__(type(exc), exc, exc.__traceback__)
        self.assertTrue(limit.expired())

    def test_decorated_generator(self):
        def numbers():
            with timeout(SHORT):
                yield 1
                spin()

        iterator = numbers()
        self.assertEqual(next(iterator), 1)
        # Not while it is suspended.
        take_time(2 * SHORT)
        with self.times_out():
            next(iterator)

    def test_generator_is_dropped(self):
        def numbers():
            with timeout(SHORT):
                yield

        iterator = numbers()
        next(iterator)
        del iterator
        support.gc_collect()
        take_time(2 * SHORT)
        self.assertFalse(_interrupts.interrupts_pending())

    def test_generator_is_continued_in_another_thread(self):
        caught = []

        def numbers():
            try:
                with timeout(SHORT):
                    yield
                    yield
            finally:
                caught.append(threading.get_ident())

        iterator = numbers()
        next(iterator)
        thread = threading.Thread(target=iterator.close)
        thread.start()
        thread.join()
        take_time(2 * SHORT)
        self.assertEqual(caught, [thread.ident])
        # Nothing is left of it here.
        with timeout(LONG):
            time.sleep(SHORT)

    def test_coroutine(self):
        async def limited():
            with timeout(SHORT):
                await asyncio.sleep(0)
                time.sleep(LONG)

        with self.times_out():
            asyncio.run(limited(), debug=False)


class LifeTests(TimeoutTestCase):

    @unittest.skipUnless(hasattr(os, 'fork'), 'needs fork()')
    @support.requires_fork()
    def test_fork(self):
        # It goes on in the child.
        with self.times_out():
            with timeout(5 * SHORT):
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        time.sleep(LONG)
                    except Exception:
                        status = 2
                    except BaseException:
                        status = 0
                    finally:
                        os._exit(status)
                try:
                    time.sleep(LONG)
                finally:
                    support.wait_process(pid, exitcode=0)

    @support.requires_fork()
    def test_fork_when_it_is_due(self):
        with self.times_out():
            with timeout(SHORT):
                with nointerrupts:
                    take_time(2 * SHORT)
                    pid = os.fork()
                    if pid == 0:
                        status = 1
                        try:
                            with interrupts:
                                spin()
                        except Exception:
                            status = 2
                        except BaseException:
                            status = 0
                        finally:
                            os._exit(status)
                    support.wait_process(pid, exitcode=0)

    def test_thread_ends_inside(self):
        # Nobody leaves it.
        limits = []

        def job():
            limit = timeout(SHORT)
            limits.append(weakref.ref(limit))
            limit.__enter__()
            limits.append(weakref.ref(limit._interrupt))

        thread = threading.Thread(target=job)
        thread.start()
        thread.join()
        support.gc_collect()
        self.assertEqual([limit() for limit in limits], [None, None])

    def test_another_interpreter_runs(self):
        interpreters = import_helper.import_module('_interpreters')
        interpreter = interpreters.create('legacy')
        self.addCleanup(interpreters.destroy, interpreter)
        with self.times_out():
            with timeout(SHORT):
                interpreters.exec(
                    interpreter, f'import time; time.sleep({3 * SHORT})')
                spin()

    def test_no_reference_cycle(self):
        def use():
            limit = timeout(SHORT)
            with contextlib.suppress(TimeoutError):
                with limit:
                    spin()
            return weakref.ref(limit)

        with support.disable_gc():
            self.assertIsNone(use()())

    def test_interpreter_ends_inside(self):
        code = ('import atexit, threading\n'
                'limit = threading.timeout(0.1)\n'
                'limit.__enter__()\n'
                'atexit.register(print, "done")\n')
        _, out, err = script_helper.assert_python_ok('-c', code)
        self.assertEqual(out.strip(), b'done')
        self.assertEqual(err, b'')

    def test_uncaught(self):
        code = ('import threading, time\n'
                'with threading.timeout(0.01):\n'
                '    time.sleep(100)\n')
        _, out, err = script_helper.assert_python_failure('-c', code)
        self.assertIn(b'TimeoutError: timed out after 0.01 s', err)
        self.assertIn(b'time.sleep(100)', err)


class RaceTests(TimeoutTestCase):

    @needs_masks
    def test_end_of_the_block(self):
        """The deadline comes just when the block ends."""
        rounds = 100_000
        rng = random.Random(rounds)
        expired = late = 0
        for _ in range(rounds):
            seconds = rng.uniform(0, 60e-6)
            end = time.perf_counter() + rng.uniform(0, 60e-6)
            limit = timeout(seconds)
            ended = False
            try:
                with limit:
                    while time.perf_counter() < end:
                        pass
                    ended = True
            except TimeoutError as exc:
                self.assertTrue(limit.expired())
                self.assertIsNotNone(interrupt_of(exc))
                expired += 1
            else:
                self.assertFalse(limit.expired())
                self.assertTrue(ended)
            # Nothing comes from here on.
            try:
                for _ in range(3):
                    str(rounds)
            except BaseException:
                late += 1
        self.assertEqual(late, 0)
        self.assertGreater(expired, rounds // 100)
        self.assertLess(expired, rounds)

    def test_interrupted_at_each_check_point(self):
        """Ctrl-C comes at each check point of a use of it."""
        class Use:
            def __init__(self):
                self.limit = timeout(LONG)

            def run(self):
                with self.limit:
                    str(self)
                str(self)

        for run in sweep(Use.run, Use):
            with self.subTest(run):
                # It has been left, or never entered.
                with self.assertRaises(RuntimeError):
                    run.state.limit.__exit__(None, None, None)

    @needs_masks
    def test_due_at_each_check_point(self):
        """It is due at once, and breaks the block at the first check point."""
        for _ in range(200):
            steps = []
            with self.times_out():
                with timeout(0):
                    steps.append(1)
                    spin()
            self.assertLessEqual(len(steps), 1)


class MarkTests(unittest.TestCase):

    def test_marks(self):
        check_marks(self, __file__, marked=10, others=40)


if __name__ == '__main__':
    interrupt_masks.main(TimeoutTestCase)
