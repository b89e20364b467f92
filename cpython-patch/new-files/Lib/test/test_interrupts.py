"""What no interrupt may cut short, and where it is raised instead.

An interrupt is an exception that reaches a thread from outside its own code:
what a signal handler raises, or an asynchronous exception.  It is held back
while `with` enters and leaves and while a `finally` body runs.  The promises
are written down in InternalDocs/interrupt_masking.md.

Nothing here depends on when a signal happens to arrive.  signal.raise_signal()
calls the handler before it returns: in open code what the handler raises is
raised right there, in masked code it waits.  Only a blocked call needs a timer,
and then it is checked what happened, not how long it took.

A test that says "this is masked" proves nothing if it also passes where
nothing is masked.  @needs_masks marks such a test, and WithoutMasksTests shows
that it does not (test.support.interrupt_masks).
"""

import _thread
import asyncio
import contextlib
import dis
import fcntl
import functools
import gc
import hashlib
import importlib.util
import operator
import os
import queue
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import weakref

from test import support
from test.support import (
    import_helper, interrupt_masks, script_helper, threading_helper)
from test.support.interrupt_masks import needs_masks

if not hasattr(signal, 'SIGUSR1') or not hasattr(signal, 'setitimer'):
    raise unittest.SkipTest('needs SIGUSR1 and setitimer()')


class Interrupt(BaseException):
    """What the signal handlers of these tests raise."""


class Failure(Exception):
    """What the code under test raises by itself."""


def interrupt():
    """Interrupt the running code: raised here if it is open."""
    signal.raise_signal(signal.SIGUSR1)


# Notes the signal, but does not look at it: that is left to whatever code asks
# next.  Unlike raise_signal(), kill() and the like, which ask themselves.
trip = functools.partial(_thread.interrupt_main, signal.SIGUSR1)


def check_point():
    """A call of a Python function is one; those of some C functions are not."""


def in_one_call(*functions):
    """Call C functions with no check point of the eval loop between them."""
    return list(map(operator.call, functions))


class Catch:
    """Put the exception that ends the body, if any, into a list."""

    def __init__(self, caught):
        self.caught = caught

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, tb):
        if exc is not None:
            self.caught.append(exc)
        return True


def collect(function, *args):
    """Call and return what was raised, in order.

    Those of different types that have waited are raised one after the other.  So
    several `with` stand around each other: what the end of one raises is caught
    by the next.
    """
    caught = []

    def nested(count):
        with Catch(caught):
            if count:
                nested(count - 1)
            else:
                function(*args)

    nested(6)
    return caught


def line_in(exc, function):
    """The line, relative to its `def`, in which `exc` left the function."""
    tb = exc.__traceback__
    while tb.tb_frame.f_code is not function.__code__:
        tb = tb.tb_next
    return tb.tb_lineno - function.__code__.co_firstlineno


class Manager:
    """A context manager that keeps a log, and calls functions on its way."""

    def __init__(self, log, *, enter=None, exit=None, suppress=False):
        self.log = log
        self.enter = enter
        self.exit = exit
        self.suppress = suppress

    def __enter__(self):
        self.log.append('enter')
        if self.enter is not None:
            self.enter()
        self.log.append('entered')
        return self

    def __exit__(self, exc_type, exc, tb):
        name = 'None' if exc_type is None else exc_type.__name__
        self.log.append(f'exit {name}')
        if self.exit is not None:
            self.exit()
        self.log.append('exited')
        return self.suppress


@types.coroutine
def suspend(value=None):
    """Await this to hand `value` to whoever drives the coroutine."""
    return (yield value)


class AsyncManager(Manager):
    """The same for `async with`; suspends before its functions are called."""

    suspend = staticmethod(suspend)

    async def __aenter__(self):
        self.log.append('enter')
        await self.suspend('entering')
        if self.enter is not None:
            self.enter()
        self.log.append('entered')
        return self

    async def __aexit__(self, exc_type, exc, tb):
        name = 'None' if exc_type is None else exc_type.__name__
        self.log.append(f'exit {name}')
        await self.suspend('leaving')
        if self.exit is not None:
            self.exit()
        self.log.append('exited')
        return self.suppress


def drive(coroutine):
    """Run a coroutine to its end, whatever it waits for."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value


class InterruptTestCase(unittest.TestCase):

    def setUp(self):
        self.log = []
        self.sent = 0
        self.install(signal.SIGUSR1, self.raise_interrupt)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)

    def install(self, signum, handler):
        self.addCleanup(signal.signal, signum, signal.signal(signum, handler))

    def raise_interrupt(self, signum, frame):
        # Each has a number, so that all are told apart and none is merged.
        self.sent += 1
        raise Interrupt(self.sent)

    def cleanup(self):
        """What `finally` bodies and __exit__ call: interrupted half-way."""
        self.log.append('cleanup')
        interrupt()
        self.log.append('cleaned up')

    def assertChain(self, caught, *numbers):
        """One interrupt was raised, while the one before was in flight ..."""
        self.assertEqual(len(caught), 1, caught)
        chain = []
        exc = caught[0]
        while exc is not None:
            chain.append(exc)
            exc = exc.__context__
        self.assertInterrupts(chain, *numbers)

    def assertOpen(self):
        """Nothing waits, and the code that calls this is not masked."""
        with self.assertRaises(Interrupt, msg='the code is still masked'):
            interrupt()

    def assertTypes(self, caught, *types):
        self.assertEqual([type(exc) for exc in caught], list(types), caught)

    def assertInterrupts(self, caught, *numbers):
        self.assertTypes(caught, *[Interrupt] * len(numbers))
        self.assertEqual([exc.args[0] for exc in caught], list(numbers))


# Each way to run a `finally` body.  The compiler emits a copy of the body for
# most of them.


def finally_fall_through(cleanup):
    try:
        pass
    finally:
        cleanup()


def finally_return_constant(cleanup):
    try:
        return 'value'
    finally:
        cleanup()


def finally_return_value(cleanup):
    try:
        return [cleanup]
    finally:
        cleanup()


def finally_return_from_handler(cleanup):
    try:
        raise Failure
    except Failure:
        return 'value'
    finally:
        cleanup()


def finally_break(cleanup):
    for _ in range(2):
        try:
            break
        finally:
            cleanup()


def finally_continue(cleanup):
    for _ in range(1):
        try:
            continue
        finally:
            cleanup()


def finally_break_while(cleanup):
    while True:
        try:
            break
        finally:
            cleanup()


def finally_exception(cleanup):
    try:
        raise Failure
    finally:
        cleanup()


def finally_exception_of_callee(cleanup):
    try:
        finally_exception(lambda: None)
    finally:
        cleanup()


def finally_handled(cleanup):
    try:
        raise Failure
    except Failure:
        pass
    finally:
        cleanup()


def finally_handler_raises(cleanup):
    try:
        raise Failure
    except Failure:
        raise Failure
    finally:
        cleanup()


def finally_not_handled(cleanup):
    try:
        raise Failure
    except ZeroDivisionError:
        pass
    finally:
        cleanup()


def finally_else(cleanup):
    try:
        pass
    except Failure:
        pass
    else:
        pass
    finally:
        cleanup()


def finally_else_raises(cleanup):
    try:
        pass
    except Failure:
        pass
    else:
        raise Failure
    finally:
        cleanup()


def finally_handled_group(cleanup):
    try:
        raise ExceptionGroup('', [Failure()])
    except* Failure:
        pass
    finally:
        cleanup()


def finally_group_not_handled(cleanup):
    try:
        raise ExceptionGroup('', [Failure()])
    except* ZeroDivisionError:
        pass
    finally:
        cleanup()


def finally_returns(cleanup):
    try:
        pass
    finally:
        cleanup()
        return 'value'


def finally_return_overrides(cleanup):
    try:
        return 'first'
    finally:
        cleanup()
        return cleanup


def finally_return_drops_exception(cleanup):
    try:
        raise Failure
    finally:
        cleanup()
        return 'value'


def finally_breaks(cleanup):
    for _ in range(2):
        try:
            pass
        finally:
            cleanup()
            break


def finally_break_drops_exception(cleanup):
    for _ in range(2):
        try:
            raise Failure
        finally:
            cleanup()
            break


def finally_break_overrides_return(cleanup):
    for _ in range(2):
        try:
            return 'value'
        finally:
            cleanup()
            break


def finally_continues(cleanup):
    for _ in range(1):
        try:
            pass
        finally:
            cleanup()
            continue


def finally_continue_drops_exception(cleanup):
    for _ in range(1):
        try:
            raise Failure
        finally:
            cleanup()
            continue


def finally_in_try(cleanup):
    try:
        try:
            pass
        finally:
            cleanup()
    finally:
        pass


def finally_in_handler(cleanup):
    try:
        raise Failure
    except Failure:
        try:
            pass
        finally:
            cleanup()


def finally_return_through_two(cleanup):
    try:
        try:
            return 'value'
        finally:
            pass
    finally:
        cleanup()


def finally_in_class_body(cleanup):
    class Namespace:
        try:
            pass
        finally:
            cleanup()


def finally_at_module_level(cleanup):
    exec('try:\n  pass\nfinally:\n  cleanup()', {'cleanup': cleanup})


def finally_with_loop(cleanup):
    try:
        pass
    finally:
        for step in (cleanup, list):
            step()


FINALLY_PATHS = [function for name, function in list(globals().items())
                 if name.startswith('finally_')]


class FinallyTests(InterruptTestCase):

    @needs_masks
    def test_body_is_not_cut(self):
        for path in FINALLY_PATHS:
            with self.subTest(path=path.__name__):
                self.log.clear()
                self.sent = 0
                caught = collect(path, self.cleanup)
                self.assertEqual(self.log, ['cleanup', 'cleaned up'])
                self.assertInterrupts(caught, 1)
                self.assertOpen()

    def test_uninterrupted(self):
        # The same paths do what they always did.
        results = {}
        for path in FINALLY_PATHS:
            name = path.__name__.removeprefix('finally_')
            calls = []
            cleanup = functools.partial(calls.append, 'cleanup')
            try:
                results[name] = path(cleanup)
            except Exception as exc:
                results[name] = type(exc)
            if results[name] == [cleanup]:
                results[name] = 'a list'
            elif results[name] is cleanup:
                results[name] = 'cleanup'
            self.assertEqual(calls, ['cleanup'], name)
            with self.subTest(path=name):
                self.assertOpen()
        self.assertEqual({k: v for k, v in results.items() if v is not None}, {
            'return_constant': 'value',
            'return_value': 'a list',
            'return_from_handler': 'value',
            'exception': Failure,
            'exception_of_callee': Failure,
            'handler_raises': Failure,
            'not_handled': Failure,
            'else_raises': Failure,
            'group_not_handled': ExceptionGroup,
            'returns': 'value',
            'return_overrides': 'cleanup',
            'return_drops_exception': 'value',
            'return_through_two': 'value',
        })

    @needs_masks
    def test_interrupt_in_the_body_itself(self):
        log = self.log
        with self.assertRaises(Interrupt):
            try:
                pass
            finally:
                interrupt()
                log.append('cleaned up')
            log.append('after')
        self.assertEqual(log, ['cleaned up'])

    @needs_masks
    def test_interrupt_in_callee_of_callee(self):
        def callee(depth):
            if depth:
                callee(depth - 1)
            else:
                interrupt()
            self.log.append(depth)

        with self.assertRaises(Interrupt):
            try:
                pass
            finally:
                callee(3)
        self.assertEqual(self.log, [0, 1, 2, 3])

    @needs_masks
    def test_kill_and_trip_in_the_body(self):
        # Other ways for a signal to reach the process.
        log = self.log
        for send in (
            lambda: os.kill(os.getpid(), signal.SIGUSR1),
            lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1),
            lambda: _thread.interrupt_main(signal.SIGUSR1),
        ):
            with self.subTest(send=send.__code__.co_names[-2:]):
                log.clear()
                with self.assertRaises(Interrupt):
                    try:
                        pass
                    finally:
                        send()
                        log.append('cleaned up')
                self.assertEqual(log, ['cleaned up'])

    @needs_masks
    def test_ctrl_c(self):
        self.install(signal.SIGINT, signal.default_int_handler)
        with self.assertRaises(KeyboardInterrupt):
            try:
                pass
            finally:
                signal.raise_signal(signal.SIGINT)
                self.log.append('cleaned up')
        self.assertEqual(self.log, ['cleaned up'])

    def test_other_bodies_are_open(self):
        log = self.log

        def in_try():
            try:
                interrupt()
                log.append('missed')
            finally:
                log.append('finally')

        def in_except():
            try:
                raise Failure
            except Failure:
                interrupt()
                log.append('missed')
            finally:
                log.append('finally')

        def in_else():
            try:
                pass
            except Failure:
                pass
            else:
                interrupt()
                log.append('missed')
            finally:
                log.append('finally')

        def in_except_star():
            try:
                raise ExceptionGroup('', [Failure()])
            except* Failure:
                interrupt()
                log.append('missed')
            finally:
                log.append('finally')

        for function in in_try, in_except, in_else, in_except_star:
            with self.subTest(function=function.__name__):
                log.clear()
                with self.assertRaises(Interrupt):
                    function()
                self.assertEqual(log, ['finally'])


# Each way to leave the body of `with`.


def with_fall_through(manager):
    with manager:
        pass


def with_return_constant(manager):
    with manager:
        return 'value'


def with_return_value(manager):
    with manager:
        return [manager]


def with_break(manager):
    for _ in range(2):
        with manager:
            break


def with_continue(manager):
    for _ in range(1):
        with manager:
            continue


def with_exception(manager):
    with manager:
        raise Failure


def with_exception_suppressed(manager):
    manager.suppress = True
    with manager:
        raise Failure


def with_exception_of_callee(manager):
    with manager:
        finally_exception(lambda: None)


def with_in_handler(manager):
    try:
        raise Failure
    except Failure:
        with manager:
            pass


def with_two_items(manager):
    with contextlib.nullcontext(), manager:
        pass


def with_first_of_two_items(manager):
    with manager, contextlib.nullcontext():
        pass


def with_return_through_two(manager):
    with manager:
        with contextlib.nullcontext():
            return 'value'


def with_in_class_body(manager):
    class Namespace:
        with manager:
            pass


def with_at_module_level(manager):
    exec('with manager:\n  pass', {'manager': manager})


WITH_PATHS = [function for name, function in list(globals().items())
              if name.startswith('with_')]


class WithTests(InterruptTestCase):

    @needs_masks
    def test_interrupt_while_entering_runs_exit(self):
        log = self.log
        target = 'untouched'
        with self.assertRaises(Interrupt):
            with Manager(log, enter=interrupt) as target:
                log.append('body')
        self.assertEqual(
            log, ['enter', 'entered', 'exit Interrupt', 'exited'])
        self.assertEqual(target, 'untouched')
        self.assertOpen()

    @needs_masks
    def test_interrupt_while_entering_can_be_suppressed(self):
        log = self.log
        with Manager(log, enter=interrupt, suppress=True):
            log.append('body')
        log.append('after')
        self.assertEqual(
            log, ['enter', 'entered', 'exit Interrupt', 'exited', 'after'])
        self.assertOpen()

    @needs_masks
    def test_lock_is_held_or_not(self):
        class InterruptedLock:
            def __init__(self):
                self.lock = threading.Lock()
            def __enter__(self):
                self.lock.acquire()
                interrupt()
            def __exit__(self, *args):
                interrupt()
                self.lock.release()

        manager = InterruptedLock()
        # The first is raised in the body, the second when that has left.
        self.assertChain(collect(with_fall_through, manager), 2, 1)
        self.assertFalse(manager.lock.locked())

    @needs_masks
    def test_exit_is_not_cut(self):
        for path in WITH_PATHS:
            with self.subTest(path=path.__name__):
                log = self.log = []
                self.sent = 0
                manager = Manager(log, exit=interrupt)
                caught = collect(path, manager)
                self.assertEqual(log[:2], ['enter', 'entered'])
                self.assertIn(log[2:], (['exit None', 'exited'],
                                        ['exit Failure', 'exited']))
                self.assertInterrupts(caught, 1)
                self.assertOpen()

    @needs_masks
    def test_enter_is_not_cut(self):
        for path in WITH_PATHS:
            with self.subTest(path=path.__name__):
                log = self.log = []
                self.sent = 0
                caught = collect(path, Manager(log, enter=interrupt))
                self.assertEqual(
                    log, ['enter', 'entered', 'exit Interrupt', 'exited'])
                if path is with_exception_suppressed:
                    self.assertEqual(caught, [])
                else:
                    self.assertInterrupts(caught, 1)
                self.assertOpen()

    def test_uninterrupted(self):
        # The same paths do what they always did.
        results = {}
        for path in WITH_PATHS:
            name = path.__name__.removeprefix('with_')
            log = []
            manager = Manager(log)
            try:
                results[name] = path(manager)
            except Exception as exc:
                results[name] = type(exc)
            if results[name] == [manager]:
                results[name] = 'a list'
            self.assertEqual(len(log), 4, (name, log))
            with self.subTest(path=name):
                self.assertOpen()
        self.assertEqual({k: v for k, v in results.items() if v is not None}, {
            'return_constant': 'value',
            'return_value': 'a list',
            'exception': Failure,
            'exception_of_callee': Failure,
            'return_through_two': 'value',
        })

    @needs_masks
    def test_truth_value_of_result(self):
        log = self.log

        class Answer:
            def __init__(self, truth):
                self.truth = truth
            def __bool__(self):
                log.append('asked')
                interrupt()
                log.append('answered')
                return self.truth

        for truth in (False, True):
            with self.subTest(truth=truth):
                log.clear()
                self.sent = 0
                caught = collect(
                    with_exception, Manager(log, suppress=Answer(truth)))
                self.assertEqual(log, ['enter', 'entered', 'exit Failure',
                                       'exited', 'asked', 'answered'])
                self.assertInterrupts(caught, 1)
                if truth:
                    self.assertIsNone(caught[0].__context__)
                else:
                    self.assertIs(type(caught[0].__context__), Failure)

    def test_context_expression_is_open(self):
        def make():
            interrupt()
            self.log.append('missed')
            return Manager(self.log)

        with self.assertRaises(Interrupt):
            with make():
                self.log.append('missed')
        self.assertEqual(self.log, [])

    def test_body_is_open(self):
        for path in 'plain', 'second item', 'nested':
            with self.subTest(path=path):
                log = self.log = []
                with self.assertRaises(Interrupt):
                    if path == 'plain':
                        with Manager(log):
                            interrupt()
                            log.append('missed')
                    elif path == 'second item':
                        with contextlib.nullcontext(), Manager(log):
                            interrupt()
                            log.append('missed')
                    else:
                        with contextlib.nullcontext():
                            with Manager(log):
                                interrupt()
                                log.append('missed')
                self.assertEqual(
                    log, ['enter', 'entered', 'exit Interrupt', 'exited'])

    def test_assignment_to_target_is_open(self):
        log = self.log

        class Target:
            def __setattr__(self, name, value):
                interrupt()
                log.append('missed')

        target = Target()
        with self.assertRaises(Interrupt):
            with Manager(log) as target.attribute:
                log.append('missed')
        self.assertEqual(
            log, ['enter', 'entered', 'exit Interrupt', 'exited'])

    @needs_masks
    def test_second_item_fails_to_enter(self):
        log = self.log
        second = []

        def fail():
            interrupt()
            second.append('fails')
            raise Failure

        def function():
            with Manager(log), Manager(second, enter=fail):
                second.append('body')

        # The first manager leaves for the failure of the second; the interrupt
        # is raised after.
        caught = collect(function)
        self.assertEqual(second, ['enter', 'fails'])
        self.assertIn('exited', log)
        self.assertTypes(caught, Interrupt)
        self.assertIs(type(caught[0].__context__), Failure)

    @needs_masks
    def test_every_point_of_nested_regions(self):
        # Interrupt at the first, the second, the third ... of all calls that
        # nested regions make.  Whichever it is: all that was entered is left,
        # all cleanup runs to its end, one interrupt is raised.
        def run(number):
            log = self.log = []
            points = 0
            def point():
                nonlocal points
                points += 1
                if points == number:
                    interrupt()

            def note(text):
                log.append(text)
                point()

            class Noting:
                def __init__(self, name):
                    self.name = name
                def __enter__(self):
                    point()
                    note(f'+{self.name}')
                    point()
                def __exit__(self, *args):
                    point()
                    note(f'-{self.name}')
                    try:
                        point()
                    finally:
                        point()

            def function():
                with Noting('a'), Noting('b'):
                    point()
                    for i in range(2):
                        try:
                            with Noting('c'):
                                point()
                                if i:
                                    break
                        finally:
                            log.append('+f')
                            point()
                            with Noting('d'):
                                point()
                            note('-f')
                    point()
                point()

            caught = collect(function)
            return points, caught, log

        total, caught, log = run(0)
        self.assertEqual(caught, [])
        self.assertGreater(total, 50)
        for number in range(1, total + 1):
            with self.subTest(point=number):
                self.sent = 0
                points, caught, log = run(number)
                self.assertInterrupts(caught, 1)
                opened = []
                for entry in log:
                    if entry[0] == '+':
                        opened.append(entry[1])
                    else:
                        self.assertEqual(opened.pop(), entry[1], log)
                self.assertEqual(opened, [], log)
                self.assertOpen()
    # Some points stand in open code and balance anyway.
    test_every_point_of_nested_regions.some_subtests_pass = True


async def async_with_fall_through(manager):
    async with manager:
        pass


async def async_with_return(manager):
    async with manager:
        return [manager]


async def async_with_break(manager):
    for _ in range(2):
        async with manager:
            break


async def async_with_continue(manager):
    for _ in range(1):
        async with manager:
            continue


async def async_with_exception(manager):
    async with manager:
        raise Failure


async def async_with_exception_suppressed(manager):
    manager.suppress = True
    async with manager:
        raise Failure


async def async_with_two_items(manager):
    async with AsyncManager([]), manager:
        pass


ASYNC_WITH_PATHS = [function for name, function in list(globals().items())
                    if name.startswith('async_with_')]


class AsyncWithTests(InterruptTestCase):

    @needs_masks
    def test_interrupt_while_entering_runs_exit(self):
        for path in ASYNC_WITH_PATHS:
            with self.subTest(path=path.__name__):
                log = self.log = []
                self.sent = 0
                manager = AsyncManager(log, enter=interrupt)
                caught = collect(drive, path(manager))
                self.assertEqual(
                    log, ['enter', 'entered', 'exit Interrupt', 'exited'])
                if path is async_with_exception_suppressed:
                    self.assertEqual(caught, [])
                else:
                    self.assertInterrupts(caught, 1)
                self.assertOpen()

    @needs_masks
    def test_target_is_not_assigned(self):
        target = 'untouched'

        async def function():
            nonlocal target
            async with AsyncManager(self.log, enter=interrupt) as target:
                self.log.append('body')

        with self.assertRaises(Interrupt):
            drive(function())
        self.assertEqual(target, 'untouched')
        self.assertEqual(
            self.log, ['enter', 'entered', 'exit Interrupt', 'exited'])

    @needs_masks
    def test_exit_is_not_cut(self):
        for path in ASYNC_WITH_PATHS:
            with self.subTest(path=path.__name__):
                log = self.log = []
                self.sent = 0
                manager = AsyncManager(log, exit=interrupt)
                caught = collect(drive, path(manager))
                self.assertEqual(log[:2], ['enter', 'entered'])
                self.assertIn(log[2:], (['exit None', 'exited'],
                                        ['exit Failure', 'exited']))
                self.assertInterrupts(caught, 1)
                self.assertOpen()

    def test_body_is_open(self):
        async def function():
            async with AsyncManager(self.log):
                interrupt()
                self.log.append('missed')

        with self.assertRaises(Interrupt):
            drive(function())
        self.assertEqual(
            self.log, ['enter', 'entered', 'exit Interrupt', 'exited'])

    def test_driver_is_open_while_entering_and_leaving_suspend(self):
        coroutine = async_with_fall_through(AsyncManager(self.log))
        self.assertEqual(coroutine.send(None), 'entering')
        self.assertOpen()
        self.assertEqual(coroutine.send(None), 'leaving')
        self.assertOpen()
        with self.assertRaises(StopIteration):
            coroutine.send(None)
        self.assertEqual(self.log, ['enter', 'entered', 'exit None', 'exited'])
        self.assertOpen()

    @needs_masks
    def test_asyncio(self):
        class AsyncioManager(AsyncManager):
            async def suspend(self, value):
                await asyncio.sleep(0)

        log = self.log

        async def neighbour():
            # Runs while the other task is suspended in its regions.
            while True:
                await asyncio.sleep(0)

        async def main(**functions):
            task = asyncio.create_task(neighbour())
            async with AsyncioManager(log, **functions):
                log.append('body')
            task.cancel()

        self.addCleanup(asyncio.set_event_loop_policy, None)
        with self.subTest('enter'):
            with self.assertRaises(Interrupt):
                asyncio.run(main(enter=interrupt))
            self.assertEqual(
                log, ['enter', 'entered', 'exit Interrupt', 'exited'])
        log.clear()
        with self.subTest('exit'):
            with self.assertRaises(Interrupt):
                asyncio.run(main(exit=interrupt))
            self.assertEqual(
                log, ['enter', 'entered', 'body', 'exit None', 'exited'])
        self.assertOpen()


class NestingTests(InterruptTestCase):
    """The end of a region restores what was around it: it never opens."""

    @needs_masks
    def test_regions_in_a_finally_body(self):
        log = self.log

        def function():
            try:
                pass
            finally:
                interrupt()
                with Manager([]):
                    log.append('with')
                log.append('after with')
                try:
                    log.append('try')
                finally:
                    log.append('finally')
                log.append('after finally')
                try:
                    with Manager([]):
                        raise Failure
                except Failure:
                    log.append('caught')
                for _ in range(2):
                    with Manager([]):
                        break
                log.append('after break')
                for _ in range(2):
                    try:
                        continue
                    finally:
                        pass
                log.append('after continue')
                interrupt()
                log.append('cleaned up')

        caught = collect(function)
        self.assertEqual(log, [
            'with', 'after with', 'try', 'finally', 'after finally', 'caught',
            'after break', 'after continue', 'cleaned up'])
        self.assertChain(caught, 2, 1)
        self.assertOpen()

    @needs_masks
    def test_every_path_as_a_callee(self):
        # A callee's own region ends without opening its caller's.
        def by_finally(path):
            path(self.cleanup)

        def by_with(path):
            path(Manager([], enter=self.cleanup, exit=self.cleanup))

        for call, paths in (by_finally, FINALLY_PATHS), (by_with, WITH_PATHS):
            for path in paths:
                with self.subTest(path=path.__name__):
                    self.log.clear()
                    self.sent = 0

                    def function():
                        try:
                            pass
                        finally:
                            try:
                                call(path)
                            except Exception:
                                pass
                            self.log.append('after the callee')

                    caught = collect(function)
                    self.assertEqual(self.log[-1], 'after the callee')
                    self.assertEqual(len(self.log), 1 + 2 * self.sent)
                    self.assertChain(caught, *range(self.sent, 0, -1))
                    self.assertOpen()

    @needs_masks
    def test_regions_in_enter_and_exit(self):
        def step():
            interrupt()
            with Manager([]):
                self.log.append('with')
            try:
                self.log.append('try')
            finally:
                self.log.append('finally')
            self.log.append('step ends')

        def function():
            with Manager([], enter=step, exit=step):
                self.log.append('missed')

        step_log = ['with', 'try', 'finally', 'step ends']
        caught = collect(function)
        self.assertEqual(self.log, step_log * 2)
        self.assertChain(caught, 2, 1)

    @needs_masks
    def test_return_through_a_masked_region(self):
        # `with` and `try` inside a `finally` body, left by one return.
        def function():
            try:
                return 'first'
            finally:
                interrupt()
                for _ in range(2):
                    with Manager(self.log):
                        try:
                            return 'second'
                        finally:
                            self.log.append('inner finally')

        caught = collect(function)
        self.assertEqual(self.log, ['enter', 'entered', 'inner finally',
                                    'exit None', 'exited'])
        self.assertInterrupts(caught, 1)
        self.assertOpen()

    @needs_masks
    def test_exception_caught_outside_the_region(self):
        # An `except` around a `finally` stands at the level around it.
        log = self.log

        def in_an_open_function():
            try:
                try:
                    pass
                finally:
                    interrupt()
                    log.append('cleaned up')
                    raise Failure
            except Failure:
                check_point()
                log.append('missed')

        def in_a_region():
            try:
                pass
            finally:
                try:
                    try:
                        pass
                    finally:
                        interrupt()
                        log.append('cleaned up')
                        raise Failure
                except Failure:
                    log.append('caught')
                log.append('after')

        with self.subTest('open'):
            caught = collect(in_an_open_function)
            self.assertInterrupts(caught, 1)
            self.assertIs(type(caught[0].__context__), Failure)
            # At the first check point of the handler.
            self.assertEqual(log, ['cleaned up'])
        log.clear()
        with self.subTest('masked'):
            self.assertInterrupts(collect(in_a_region), 2)
            self.assertEqual(log, ['cleaned up', 'caught', 'after'])
        self.assertOpen()

    def test_recursion_error(self):
        # Raised anywhere: while entering, in the body, while leaving.
        def by_with():
            with Manager([]):
                by_with()

        def by_finally():
            try:
                pass
            finally:
                by_finally()

        def by_enter():
            with Manager([], enter=by_enter):
                pass

        for function in by_with, by_finally, by_enter:
            with self.subTest(function=function.__name__):
                with support.infinite_recursion(150):
                    with self.assertRaises(RecursionError):
                        function()
                self.assertOpen()

    @needs_masks
    def test_many_levels(self):
        # Regions of one function in each other, each also in the copies of the
        # one around it.
        depth = 10
        lines = ['def function(cleanup, log):']
        for level in range(1, depth + 1):
            indent = '  ' * level
            lines += [f'{indent}with manager:', f'{indent}  pass',
                      f'{indent}try: pass', f'{indent}finally:']
        lines.append('  ' * (depth + 1) + 'cleanup()')
        for level in range(depth, 0, -1):
            lines.append('  ' * (level + 1) + f'log.append({level})')
        namespace = {'manager': contextlib.nullcontext()}
        exec('\n'.join(lines), namespace)
        caught = collect(namespace['function'], self.cleanup, self.log)
        self.assertEqual(
            self.log, ['cleanup', 'cleaned up', *range(depth, 0, -1)])
        self.assertInterrupts(caught, 1)
        self.assertOpen()


class DeliveryTests(InterruptTestCase):
    """When the outermost region ends, its end raises what has waited."""

    @needs_masks
    def test_line_of_enter(self):
        def function():
            with (
                Manager([], enter=self.cleanup) as target
            ):
                self.log.append('missed')

        caught = collect(function)
        self.assertInterrupts(caught, 1)
        self.assertEqual(line_in(caught[0], function), 2)
        self.assertEqual(self.log, ['cleanup', 'cleaned up'])

    @needs_masks
    def test_line_of_exit(self):
        def function():
            with Manager([], exit=self.cleanup):
                self.log.append('body')
            self.log.append('missed')

        caught = collect(function)
        self.assertInterrupts(caught, 1)
        self.assertEqual(line_in(caught[0], function), 1)
        self.assertEqual(self.log, ['body', 'cleanup', 'cleaned up'])

    @needs_masks
    def test_line_of_finally(self):
        def function():
            try:
                pass
            finally:
                interrupt()
                self.log.append('cleaned up')
            self.log.append('missed')

        caught = collect(function)
        self.assertInterrupts(caught, 1)
        self.assertEqual(line_in(caught[0], function), 5)
        self.assertEqual(self.log, ['cleaned up'])

    @needs_masks
    def test_no_statement_without_a_check_point_runs(self):
        # A store has no check point: TIT itself raises.
        state = 'before'
        with self.assertRaises(Interrupt):
            try:
                pass
            finally:
                interrupt()
                state = 'cleaned up'
            state = 'after'
        self.assertEqual(state, 'cleaned up')

    @needs_masks
    def test_exception_in_flight_is_context(self):
        def in_finally():
            try:
                raise Failure('in flight')
            finally:
                self.cleanup()

        def in_exit():
            with Manager([], exit=self.cleanup):
                raise Failure('in flight')

        async def in_aexit():
            async with AsyncManager([], exit=self.cleanup):
                raise Failure('in flight')

        for function in in_finally, in_exit, lambda: drive(in_aexit()):
            with self.subTest(function=function.__qualname__):
                self.log.clear()
                caught = collect(function)
                self.assertEqual(self.log, ['cleanup', 'cleaned up'])
                self.assertTypes(caught, Interrupt)
                context = caught[0].__context__
                self.assertIs(type(context), Failure)
                self.assertEqual(context.args, ('in flight',))
                self.assertIsNone(context.__context__)

    @needs_masks
    def test_no_context_where_nothing_is_handled(self):
        # The handler runs while an inner exception is handled; it is raised
        # where that is over.
        def in_finally():
            try:
                pass
            finally:
                try:
                    raise Failure
                except Failure:
                    interrupt()

        def suppressed():
            with Manager([], exit=interrupt, suppress=True):
                raise Failure

        for function in in_finally, suppressed:
            with self.subTest(function=function.__name__):
                caught = collect(function)
                self.assertTypes(caught, Interrupt)
                self.assertIsNone(caught[0].__context__)

    @needs_masks
    def test_exception_caught_inside_the_region(self):
        # Catching one is no end of the region, and no reason for TIT to miss
        # what waits.  No check point lies between the two.
        ended = False
        log = self.log

        def in_finally():
            nonlocal ended
            try:
                pass
            finally:
                interrupt()
                log.append('waits')
                try:
                    raise Failure
                except Failure:
                    pass
            ended = True

        def in_callee():
            nonlocal ended

            def callee():
                interrupt()
                log.append('waits')
                try:
                    raise Failure
                except Failure:
                    pass

            try:
                pass
            finally:
                callee()
            ended = True

        def from_callee():
            nonlocal ended

            def callee():
                interrupt()
                log.append('waits')
                raise Failure

            try:
                pass
            finally:
                try:
                    callee()
                except Failure:
                    pass
            ended = True

        def in_enter():
            nonlocal ended

            def enter():
                interrupt()
                log.append('waits')
                try:
                    raise Failure
                except Failure:
                    pass

            class Entering:
                def __enter__(self):
                    enter()
                def __exit__(self, *args):
                    pass

            with Entering():
                ended = True

        for function in in_finally, in_callee, from_callee, in_enter:
            with self.subTest(function=function.__name__):
                ended = False
                self.sent = 0
                log.clear()
                caught = collect(function)
                self.assertEqual(log, ['waits'])
                self.assertInterrupts(caught, 1)
                self.assertFalse(ended, 'TIT has not raised what waited')
                self.assertIsNone(caught[0].__context__)

    @needs_masks
    def test_handler_runs_just_before_the_end(self):
        # Neither does the end of a handler that does not raise.
        ended = False
        calls = []
        self.install(signal.SIGUSR2, lambda *args: calls.append('handler'))
        # `in` calls them in C, and no check point follows.
        steps = map(operator.call, (
            functools.partial(_thread.interrupt_main, signal.SIGUSR2),
            functools.partial(repr, []),
        ))

        def function():
            nonlocal ended
            try:
                pass
            finally:
                interrupt()
                self.log.append('waits')
                False in steps
            ended = True

        caught = collect(function)
        self.assertEqual(self.log, ['waits'])
        self.assertEqual(calls, ['handler'])
        self.assertInterrupts(caught, 1)
        self.assertFalse(ended, 'TIT has not raised what waited')

    @needs_masks
    def test_exception_caught_before_the_re_raise(self):
        log = self.log

        def in_finally():
            try:
                raise Failure
            finally:
                interrupt()
                log.append('waits')
                try:
                    raise KeyError
                except KeyError:
                    pass

        class Leaving:
            def __enter__(self):
                pass
            def __exit__(self, *args):
                interrupt()
                log.append('waits')
                try:
                    raise KeyError
                except KeyError:
                    return False

        def in_exit():
            with Leaving():
                raise Failure

        for function in in_finally, in_exit:
            with self.subTest(function=function.__name__):
                self.sent = 0
                log.clear()
                caught = collect(function)
                self.assertEqual(log, ['waits'])
                self.assertInterrupts(caught, 1)
                self.assertIs(type(caught[0].__context__), Failure)

    @needs_masks
    def test_own_context_is_kept(self):
        def handler(signum, frame):
            try:
                raise KeyError
            except KeyError:
                raise Interrupt

        self.install(signal.SIGUSR2, handler)

        def function():
            try:
                raise Failure
            finally:
                signal.raise_signal(signal.SIGUSR2)
                self.log.append('cleaned up')

        caught = collect(function)
        self.assertTypes(caught, Interrupt)
        self.assertIs(type(caught[0].__context__), KeyError)
        self.assertIs(type(caught[0].__context__.__context__), Failure)
        self.assertEqual(self.log, ['cleaned up'])

    def test_context_in_open_code(self):
        def function():
            try:
                raise Failure
            except Failure:
                interrupt()

        caught = collect(function)
        self.assertInterrupts(caught, 1)
        self.assertIs(type(caught[0].__context__), Failure)

    @needs_masks
    def test_cleanup_that_raises(self):
        def in_finally():
            try:
                pass
            finally:
                interrupt()
                raise Failure

        def in_finally_after_exception():
            try:
                raise KeyError
            finally:
                interrupt()
                raise Failure

        def fail():
            interrupt()
            raise Failure

        def in_exit():
            with Manager([], exit=fail):
                pass

        def in_exit_after_exception():
            with Manager([], exit=fail):
                raise KeyError

        def in_enter():
            with Manager([], enter=fail):
                pass

        async def in_aexit():
            async with AsyncManager([], exit=fail):
                pass

        for function in (in_finally, in_finally_after_exception, in_exit,
                         in_exit_after_exception, in_enter,
                         lambda: drive(in_aexit())):
            with self.subTest(function=function.__qualname__):
                # First the failure, then, outside, the interrupt.
                caught = collect(function)
                self.assertTypes(caught, Failure, Interrupt)
                self.assertOpen()

    @needs_masks
    def test_handler_of_the_failure_is_the_next_check_point(self):
        def function():
            try:
                pass
            finally:
                interrupt()
                raise Failure

        with self.assertRaises(Interrupt) as caught:
            try:
                function()
            except Failure:
                check_point()
                self.log.append('missed')
        self.assertIs(type(caught.exception.__context__), Failure)
        self.assertNotIn('missed', self.log)

    @needs_masks
    def test_in_order(self):
        def function():
            try:
                pass
            finally:
                for _ in range(5):
                    interrupt()

        self.assertChain(collect(function), 5, 4, 3, 2, 1)
        self.assertOpen()

    @needs_masks
    def test_in_order_across_handlers(self):
        def handler(signum, frame):
            self.sent += 1
            raise Failure(self.sent)

        self.install(signal.SIGUSR2, handler)

        def function():
            try:
                pass
            finally:
                for signum in (signal.SIGUSR2, signal.SIGUSR1,
                               signal.SIGUSR2, signal.SIGUSR1):
                    signal.raise_signal(signum)

        caught = collect(function)
        self.assertTypes(caught, Failure, Interrupt, Failure, Interrupt)
        self.assertEqual([exc.args for exc in caught], [(1,), (2,), (3,), (4,)])

    @needs_masks
    def test_other_types_are_no_context(self):
        def handler(signum, frame):
            raise Failure

        self.install(signal.SIGUSR2, handler)

        def function():
            try:
                pass
            finally:
                interrupt()
                signal.raise_signal(signal.SIGUSR2)

        first, second = collect(function)
        self.assertIsNone(first.__context__)
        self.assertIsNone(second.__context__)

    def one_handler(self, make):
        def handler(signum, frame):
            raise make()
        self.install(signal.SIGUSR2, handler)

        def function():
            try:
                pass
            finally:
                for _ in range(3):
                    signal.raise_signal(signal.SIGUSR2)
                self.log.append('cleaned up')
        caught = collect(function)
        self.assertEqual(self.log, ['cleaned up'])
        self.log.clear()
        return caught

    @needs_masks
    def test_equal_classes_are_one(self):
        class WithWeakrefs(Exception):
            pass

        class WithoutWeakrefs(Exception):
            __slots__ = ()

        for exc_type in (KeyboardInterrupt, Interrupt, WithWeakrefs,
                         WithoutWeakrefs):
            with self.subTest(type=exc_type.__name__):
                self.assertTypes(self.one_handler(exc_type), exc_type)

    @needs_masks
    def test_exceptions_with_data_are_raised_together(self):
        class WithSlot(Exception):
            __slots__ = ('slot',)

        def with_attribute():
            exc = Interrupt()
            exc.attribute = 1
            return exc

        def with_note():
            exc = Interrupt()
            exc.add_note('a note')
            return exc

        def with_cause():
            exc = Interrupt()
            exc.__cause__ = Failure()
            return exc

        for make in (lambda: Interrupt(1), lambda: SystemExit(1), OSError,
                     WithSlot, with_attribute, with_note, with_cause):
            with self.subTest(make=getattr(make, '__name__', make)):
                exc_type = type(make())
                caught = self.one_handler(make)
                self.assertTypes(caught, exc_type)
                chain = [caught[0], caught[0].__context__,
                         caught[0].__context__.__context__]
                self.assertTypes(chain, *[exc_type] * 3)
                self.assertIsNone(chain[2].__context__)

    @needs_masks
    def test_one_instance_is_raised_once(self):
        # It cannot be its own context.
        the_one = Interrupt(1)
        caught = self.one_handler(lambda: the_one)
        self.assertEqual(caught, [the_one])
        self.assertIsNone(the_one.__context__)

    def test_nothing_is_raised_twice(self):
        def function():
            try:
                pass
            finally:
                interrupt()

        for _ in range(100):
            self.sent = 0
            self.assertInterrupts(collect(function), 1)


class ReleaseTests(InterruptTestCase):
    """Nothing that waited is kept alive once it has been raised or dropped."""

    def raise_weak(self, references, *args):
        def handler(signum, frame):
            exc = Interrupt(*args)
            references.append(weakref.ref(exc))
            raise exc
        self.install(signal.SIGUSR2, handler)

    def assertDead(self, references):
        support.gc_collect()
        self.assertEqual([ref for ref in references if ref() is not None], [])

    def function(self, count):
        try:
            raise Failure
        finally:
            for _ in range(count):
                signal.raise_signal(signal.SIGUSR2)
            self.log.append('cleaned up')

    @needs_masks
    def test_raised(self):
        references = []
        self.raise_weak(references, 'data')
        for _ in range(50):
            self.log.clear()
            collect(self.function, 3)
            # It has come to the end of its cleanup: all three have waited.
            self.assertEqual(self.log, ['cleaned up'])
        self.assertEqual(len(references), 150)
        self.assertDead(references)

    @needs_masks
    def test_merged(self):
        references = []
        self.raise_weak(references)
        for _ in range(50):
            collect(self.function, 3)
        self.assertEqual(len(references), 150)
        self.assertDead(references)

    @needs_masks
    def test_number_of_objects(self):
        def run():
            collect(self.function, 3)

        def handler(signum, frame):
            raise Interrupt('data')

        self.install(signal.SIGUSR2, handler)
        run()
        support.gc_collect()
        before = len(gc.get_objects())
        for _ in range(200):
            self.log.clear()
            run()
            self.assertEqual(self.log, ['cleaned up'])
        support.gc_collect()
        self.assertLess(len(gc.get_objects()) - before, 100)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_thread_ends_while_something_waits(self):
        ctypes = import_helper.import_module('ctypes')

        class Late(Exception):
            pass

        # An instance: without a GIL, classes are immortal once there are threads.
        cell = [Late()]
        reference = weakref.ref(cell[0])
        log = self.log

        def function():
            try:
                pass
            finally:
                send_async_exception(ctypes, threading.get_ident(), cell.pop())
                log.append('cleaned up')
                # Ends the thread in silence; there is no check point after.
                raise SystemExit

        with support.catch_unraisable_exception() as unraisable:
            # Not threading.Thread: its own code around run() has check points.
            _thread.start_joinable_thread(function).join()
            self.assertIsNone(unraisable.unraisable)
        self.assertEqual(log, ['cleaned up'])
        del function
        support.gc_collect()
        self.assertIsNone(reference())


class HandlerTests(InterruptTestCase):
    """Signal handlers run in masked code; only what they raise waits."""

    def test_flag(self):
        flag = False

        def handler(signum, frame):
            nonlocal flag
            flag = True

        self.install(signal.SIGUSR2, handler)
        with self.subTest('at once'):
            try:
                pass
            finally:
                signal.raise_signal(signal.SIGUSR2)
                self.assertTrue(flag)

        self.install(signal.SIGALRM, handler)
        with self.subTest('in a loop'):
            flag = False
            deadline = time.monotonic() + support.SHORT_TIMEOUT
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            try:
                pass
            finally:
                while not flag:
                    if time.monotonic() > deadline:
                        self.fail('the handler did not run')

    @needs_masks
    def test_runs_again_while_something_waits(self):
        calls = []
        self.install(signal.SIGUSR2, lambda *args: calls.append(len(calls)))

        def function():
            try:
                pass
            finally:
                interrupt()
                for _ in range(3):
                    signal.raise_signal(signal.SIGUSR2)
                interrupt()
                signal.raise_signal(signal.SIGUSR2)
                self.log.append(list(calls))

        caught = collect(function)
        self.assertEqual(self.log, [[0, 1, 2, 3]])
        self.assertChain(caught, 2, 1)

    def test_gets_the_interrupted_frame(self):
        frames = []
        self.install(signal.SIGUSR2,
                     lambda signum, frame: frames.append(frame.f_code))

        def function():
            try:
                pass
            finally:
                signal.raise_signal(signal.SIGUSR2)

        function()
        self.assertEqual(frames, [function.__code__])

    @needs_masks
    def test_exception_waits_for_the_end_of_another_handler(self):
        def handler(signum, frame):
            self.log.append('handler')
            interrupt()
            self.log.append('handler ends')

        self.install(signal.SIGUSR2, handler)
        with self.assertRaises(Interrupt):
            signal.raise_signal(signal.SIGUSR2)
            self.log.append('missed')
        self.assertEqual(self.log, ['handler', 'handler ends'])
        self.assertOpen()

    @needs_masks
    def test_both_handlers_raise(self):
        def handler(signum, frame):
            interrupt()
            self.log.append('handler ends')
            raise Failure

        self.install(signal.SIGUSR2, handler)
        caught = collect(signal.raise_signal, signal.SIGUSR2)
        self.assertEqual(self.log, ['handler ends'])
        # In the order in which they were raised, and independent.
        self.assertTypes(caught, Interrupt, Failure)
        self.assertEqual([exc.__context__ for exc in caught], [None, None])

    @needs_masks
    def test_handler_in_masked_code(self):
        def handler(signum, frame):
            interrupt()
            with Manager([]):
                self.log.append('handler')
            self.log.append('handler ends')
            raise Failure

        self.install(signal.SIGUSR2, handler)

        def function():
            try:
                pass
            finally:
                signal.raise_signal(signal.SIGUSR2)
                self.log.append('cleaned up')

        caught = collect(function)
        self.assertEqual(self.log, ['handler', 'handler ends', 'cleaned up'])
        self.assertTypes(caught, Interrupt, Failure)

    @needs_masks
    def test_handlers_do_not_nest_for_ever(self):
        # A handler that interrupts itself runs again, but nothing is raised in
        # it.
        def handler(signum, frame):
            self.sent += 1
            number = self.sent
            if number < 4:
                signal.raise_signal(signal.SIGUSR2)
            self.log.append(number)
            raise Interrupt(number)

        self.install(signal.SIGUSR2, handler)
        caught = collect(signal.raise_signal, signal.SIGUSR2)
        self.assertEqual(self.log, [4, 3, 2, 1])
        self.assertChain(caught, 1, 2, 3, 4)

    @needs_masks
    def test_all_handlers_run_although_the_first_raises(self):
        self.install(signal.SIGUSR2, lambda *args: self.log.append('second'))
        trip_both = (trip, functools.partial(_thread.interrupt_main,
                                             signal.SIGUSR2))
        def function():
            try:
                pass
            finally:
                in_one_call(*trip_both)
                self.log.append('cleaned up')

        first, second = signal.SIGUSR1, signal.SIGUSR2
        self.assertLess(first, second)      # the order in which they run
        caught = collect(function)
        self.assertEqual(self.log, ['second', 'cleaned up'])
        self.assertInterrupts(caught, 1)

    @needs_masks
    def test_wakeup_fd(self):
        reader, writer = socket.socketpair()
        self.addCleanup(reader.close)
        self.addCleanup(writer.close)
        reader.settimeout(support.SHORT_TIMEOUT)
        writer.setblocking(False)
        self.addCleanup(
            signal.set_wakeup_fd, signal.set_wakeup_fd(writer.fileno()))
        received = []

        def function():
            try:
                pass
            finally:
                interrupt()
                received.append(reader.recv(1))

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(received, [bytes([signal.SIGUSR1])])

    @needs_masks
    def test_generator_of_the_handler(self):
        # What the handler leaves behind does not mask.
        left = []

        def generator():
            try:
                yield
            finally:
                yield

        def handler(signum, frame):
            left.append(generator())
            next(left[0])
            next(left[0])
            interrupt()
            self.log.append('handler ends')

        self.install(signal.SIGUSR2, handler)
        caught = collect(signal.raise_signal, signal.SIGUSR2)
        self.assertEqual(self.log, ['handler ends'])
        self.assertInterrupts(caught, 1)
        self.assertOpen()
        left.clear()
        self.assertOpen()


class GeneratorTests(InterruptTestCase):
    """A suspended frame masks nobody; resumed, it is masked again."""

    def generator(self):
        """Yields 'try', and in the masked `finally`, 'finally'."""
        try:
            yield 'try'
        finally:
            yield 'finally'
            self.log.append('resumed')
            interrupt()
            self.log.append('cleaned up')

    @needs_masks
    def test_close_and_throw_and_end(self):
        def generator():
            try:
                yield
            finally:
                self.cleanup()

        def by_next(gen):
            next(gen)

        def by_send(gen):
            gen.send('value')

        def by_throw(gen):
            gen.throw(Failure)

        def by_close(gen):
            gen.close()

        def by_for(gen):
            for _ in gen:
                pass

        def by_c_function(gen):
            list(gen)

        contexts = {by_throw: Failure, by_close: GeneratorExit}
        for end in by_next, by_send, by_throw, by_close, by_for, by_c_function:
            with self.subTest(end=end.__name__):
                self.log.clear()
                self.sent = 0
                gen = generator()
                next(gen)
                caught = collect(end, gen)
                self.assertEqual(self.log, ['cleanup', 'cleaned up'])
                self.assertInterrupts(caught, 1)
                self.assertIs(type(caught[0].__context__),
                              contexts.get(end, type(None)))
                self.assertOpen()

    @needs_masks
    def test_suspended_in_finally_masks_nobody(self):
        gen = self.generator()
        next(gen)
        self.assertEqual(next(gen), 'finally')
        self.assertOpen()
        self.log.append('other code')
        # The generator is still there.
        with self.assertRaises(Interrupt):
            next(gen)
        self.assertEqual(self.log, ['other code', 'resumed', 'cleaned up'])
        self.assertOpen()

    @needs_masks
    def test_caller_stays_masked(self):
        # Neither the suspension nor the end of a generator opens its caller.
        gen = self.generator()

        def function():
            try:
                pass
            finally:
                for value in gen:
                    interrupt()
                    self.log.append(value)
                self.log.append('caller')

        caught = collect(function)
        self.assertEqual(
            self.log, ['try', 'finally', 'resumed', 'cleaned up', 'caller'])
        self.assertChain(caught, 3, 2, 1)
        self.assertOpen()

    @needs_masks
    def test_what_waits_is_released_when_it_suspends(self):
        def generator():
            try:
                yield
            finally:
                interrupt()
                self.log.append('before')
                yield 'suspended'
                self.log.append('resumed')

        def by_next(gen):
            next(gen)

        def by_for(gen):
            for _ in gen:
                pass

        def by_yield_from(gen):
            def delegate():
                yield from gen
            delegates.append(delegate())    # its end would close `gen`
            next(delegates[-1])

        delegates = []
        for resume in by_next, by_for, by_yield_from:
            with self.subTest(resume=resume.__name__):
                self.log.clear()
                self.sent = 0
                gen = generator()
                next(gen)
                caught = collect(resume, gen)
                self.assertEqual(self.log, ['before'])
                self.assertInterrupts(caught, 1)
                # The generator can go on.
                self.assertIsNone(next(gen, None))
                self.assertEqual(self.log, ['before', 'resumed'])

    @needs_masks
    def test_what_waits_is_released_into_masked_code(self):
        def generator():
            try:
                yield
            finally:
                interrupt()
                yield 'suspended'

        gen = generator()
        next(gen)

        def function():
            try:
                pass
            finally:
                self.log.append(next(gen))
                self.log.append('caller')

        caught = collect(function)
        self.assertEqual(self.log, ['suspended', 'caller'])
        self.assertInterrupts(caught, 1)

    @needs_masks
    def test_close_and_throw_in_a_masked_region(self):
        # The exception arrives at a yield that is masked already.
        def generator():
            try:
                try:
                    yield
                finally:
                    try:
                        yield 'in finally'
                    except Failure:
                        self.log.append('caught')
                    self.cleanup()
            finally:
                self.log.append('outer')

        def by_close(gen):
            gen.close()

        def by_throw(gen):
            gen.throw(ZeroDivisionError)

        def by_caught_throw(gen):
            gen.throw(Failure)

        for end, log, types in (
            (by_close, ['outer'], []),
            (by_throw, ['outer'], [ZeroDivisionError]),
            (by_caught_throw, ['caught', 'cleanup', 'cleaned up', 'outer'],
             [Interrupt]),
        ):
            with self.subTest(end=end.__name__):
                self.log.clear()
                gen = generator()
                next(gen)
                self.assertEqual(next(gen), 'in finally')
                caught = collect(end, gen)
                self.assertEqual(self.log, log)
                self.assertTypes(caught, *types)
                self.assertOpen()
    # Without an interrupt there is nothing that masks could change.
    test_close_and_throw_in_a_masked_region.some_subtests_pass = True

    @needs_masks
    def test_close_and_throw_from_masked_code(self):
        # They leave the state of their caller as it was.
        def generator():
            try:
                yield
            finally:
                yield 'in finally'

        def close(gen):
            gen.close()

        def throw(gen):
            with contextlib.suppress(Failure):
                gen.throw(Failure)

        for steps in (1, 2):
            for end in close, throw:
                if (steps, end) == (1, close):
                    continue        # the generator would ignore GeneratorExit
                with self.subTest(end=end.__name__, steps=steps):
                    self.log.clear()
                    gen = generator()
                    for _ in range(steps):
                        next(gen)

                    def function():
                        try:
                            pass
                        finally:
                            end(gen)
                            self.log.append('before')
                            interrupt()
                            self.log.append('cleaned up')

                    caught = collect(function)
                    self.assertEqual(self.log, ['before', 'cleaned up'])
                    self.assertTypes(caught, Interrupt)
                    self.assertOpen()

    def test_collected_while_suspended_in_finally(self):
        def generator():
            try:
                yield
            finally:
                yield
                self.log.append('missed')

        with self.subTest('reference count'):
            gen = generator()
            next(gen)
            next(gen)
            del gen
            self.assertOpen()
        with self.subTest('cycle'):
            gen = generator()
            next(gen)
            next(gen)
            cycle = [gen]
            cycle.append(cycle)
            del gen, cycle
            support.gc_collect()
            self.assertOpen()
        self.assertEqual(self.log, [])

    @needs_masks
    def test_yield_from(self):
        def delegate():
            try:
                pass
            finally:
                yield from self.generator()
                self.log.append('delegate')

        gen = delegate()
        self.assertEqual(next(gen), 'try')
        self.assertOpen()
        self.assertEqual(next(gen), 'finally')
        self.assertOpen()
        self.sent = 0
        self.assertInterrupts(collect(next, gen), 1)
        self.assertEqual(self.log, ['resumed', 'cleaned up', 'delegate'])

    @needs_masks
    def test_with_in_generator(self):
        def generator():
            with Manager(self.log, exit=interrupt):
                yield

        gen = generator()
        next(gen)
        self.assertOpen()
        self.sent = 0
        self.assertInterrupts(collect(gen.close), 1)
        self.assertEqual(
            self.log, ['enter', 'entered', 'exit GeneratorExit', 'exited'])

    @needs_masks
    def test_generator_expression_and_comprehension_in_finally(self):
        def function():
            try:
                pass
            finally:
                self.log.extend(self.step(n) for n in (1, 2))
                self.log.extend([self.step(n) for n in (3, 4)])
                self.log.append('cleaned up')

        caught = collect(function)
        self.assertEqual(self.log, [1, 2, 3, 4, 'cleaned up'])
        self.assertChain(caught, 4, 3, 2, 1)

    def step(self, number):
        interrupt()
        return number

    @needs_masks
    def test_contextmanager(self):
        # A generator inside __enter__ and __exit__: masked by its callers.
        @contextlib.contextmanager
        def manager():
            self.log.append('enter')
            interrupt()
            self.log.append('entered')
            try:
                yield
            except BaseException as exc:
                self.log.append(type(exc).__name__)
                raise
            finally:
                interrupt()
                self.log.append('exited')

        def function():
            with manager():
                self.log.append('body')

        caught = collect(function)
        self.assertEqual(self.log, ['enter', 'entered', 'Interrupt', 'exited'])
        self.assertChain(caught, 2, 1)
        self.assertOpen()


class CoroutineTests(InterruptTestCase):

    async def coroutine(self):
        try:
            pass
        finally:
            await suspend('first')
            interrupt()
            self.log.append('interrupted')
            await suspend('second')
            self.log.append('cleaned up')

    @needs_masks
    def test_await_in_finally(self):
        coroutine = self.coroutine()
        self.assertEqual(coroutine.send(None), 'first')
        self.assertOpen()
        self.sent = 0
        # Released when it suspends again: raised in who resumed it.
        self.assertInterrupts(collect(coroutine.send, None), 1)
        self.assertEqual(self.log, ['interrupted'])
        with self.assertRaises(StopIteration):
            coroutine.send(None)
        self.assertEqual(self.log, ['interrupted', 'cleaned up'])
        self.assertOpen()

    @needs_masks
    def test_await_in_finally_from_masked_code(self):
        def function():
            try:
                pass
            finally:
                drive(self.coroutine())
                self.log.append('caller')

        caught = collect(function)
        self.assertEqual(self.log, ['interrupted', 'cleaned up', 'caller'])
        self.assertInterrupts(caught, 1)

    @needs_masks
    def test_close_and_throw(self):
        async def coroutine():
            try:
                await suspend()
            finally:
                self.cleanup()

        for end, context in (
            (lambda coro: coro.close(), GeneratorExit),
            (lambda coro: coro.throw(Failure), Failure),
        ):
            with self.subTest(context=context.__name__):
                self.log.clear()
                self.sent = 0
                coro = coroutine()
                coro.send(None)
                caught = collect(end, coro)
                self.assertEqual(self.log, ['cleanup', 'cleaned up'])
                self.assertInterrupts(caught, 1)
                self.assertIs(type(caught[0].__context__), context)
                self.assertOpen()

    @needs_masks
    def test_throw_into_entering_and_leaving(self):
        for steps, log in (
            (1, ['enter']),
            (2, ['enter', 'entered', 'exit None']),
        ):
            with self.subTest(steps=steps):
                self.log.clear()
                coroutine = async_with_fall_through(AsyncManager(self.log))
                for _ in range(steps):
                    coroutine.send(None)

                def function():
                    try:
                        pass
                    finally:
                        with contextlib.suppress(Failure):
                            coroutine.throw(Failure)
                        interrupt()
                        self.log.append('caller')

                caught = collect(function)
                self.assertEqual(self.log, [*log, 'caller'])
                self.assertTypes(caught, Interrupt)
                self.assertOpen()

    async def async_generator(self):
        try:
            yield 'try'
        finally:
            await suspend('in finally')
            interrupt()
            self.log.append('cleaned up')

    @needs_masks
    def test_async_generator(self):
        async def by_aclose():
            agen = self.async_generator()
            await anext(agen)
            await agen.aclose()

        async def by_athrow():
            agen = self.async_generator()
            await anext(agen)
            await agen.athrow(Failure)

        async def by_async_for():
            async for value in self.async_generator():
                self.log.append(value)

        for function, log in ((by_aclose, []), (by_athrow, []),
                              (by_async_for, ['try'])):
            with self.subTest(function=function.__name__):
                self.log.clear()
                coroutine = function()
                self.assertEqual(coroutine.send(None), 'in finally')
                self.assertOpen()
                self.sent = 0
                self.assertInterrupts(collect(coroutine.send, None), 1)
                self.assertEqual(self.log, [*log, 'cleaned up'])
                self.assertOpen()

    @needs_masks
    def test_async_generator_suspends_in_finally(self):
        async def async_generator():
            try:
                yield 'try'
            finally:
                interrupt()
                self.log.append('before')
                yield 'finally'
                self.log.append('resumed')

        agen = async_generator()

        async def step():
            return await anext(agen, 'end')

        self.assertEqual(drive(step()), 'try')
        self.assertInterrupts(collect(drive, step()), 1)
        self.assertEqual(self.log, ['before'])
        self.assertOpen()
        self.assertEqual(drive(step()), 'end')
        self.assertEqual(self.log, ['before', 'resumed'])

    @needs_masks
    def test_async_comprehension_in_finally(self):
        async def values():
            for value in (1, 2):
                await suspend()
                yield value

        async def function():
            try:
                pass
            finally:
                self.log.extend([value async for value in values()])
                interrupt()
                self.log.append('cleaned up')

        self.assertInterrupts(collect(drive, function()), 1)
        self.assertEqual(self.log, [1, 2, 'cleaned up'])


def send_async_exception(ctypes, ident, exc_type):
    """Raise an exception in a thread, without data, from outside."""
    count = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), ctypes.py_object(exc_type))
    if count != 1:
        raise RuntimeError(f'found {count} threads')


class AsyncExceptionTests(InterruptTestCase):

    def setUp(self):
        super().setUp()
        self.ctypes = import_helper.import_module('ctypes')

    def send(self, exc_type=Interrupt):
        send_async_exception(self.ctypes, threading.get_ident(), exc_type)

    def test_open_code(self):
        with self.assertRaises(Interrupt):
            self.send()
            self.log.append('missed')
        self.assertEqual(self.log, [])

    @needs_masks
    def test_finally_paths(self):
        def cleanup():
            self.log.append('cleanup')
            self.send()
            self.log.append('cleaned up')

        for path in FINALLY_PATHS:
            with self.subTest(path=path.__name__):
                self.log.clear()
                caught = collect(path, cleanup)
                self.assertEqual(self.log, ['cleanup', 'cleaned up'])
                self.assertTypes(caught, Interrupt)
                self.assertOpen()

    @needs_masks
    def test_with_paths(self):
        for path in WITH_PATHS:
            with self.subTest(path=path.__name__):
                log = self.log = []
                caught = collect(path, Manager(log, enter=self.send))
                self.assertEqual(
                    log, ['enter', 'entered', 'exit Interrupt', 'exited'])
                self.assertOpen()

    @needs_masks
    def test_comes_after_what_handlers_raised(self):
        def function():
            try:
                pass
            finally:
                self.send(Failure)
                interrupt()
                self.log.append('cleaned up')

        caught = collect(function)
        self.assertEqual(self.log, ['cleaned up'])
        self.assertTypes(caught, Interrupt, Failure)

    @needs_masks
    def test_waits_for_the_end_of_a_handler(self):
        def handler(signum, frame):
            self.send()
            self.log.append('handler ends')

        self.install(signal.SIGUSR2, handler)
        caught = collect(signal.raise_signal, signal.SIGUSR2)
        self.assertEqual(self.log, ['handler ends'])
        self.assertTypes(caught, Interrupt)

    @needs_masks
    def test_suspended_generator(self):
        def generator():
            try:
                yield
            finally:
                self.send()
                self.log.append('before')
                yield
                self.log.append('resumed')

        gen = generator()
        next(gen)
        self.assertTypes(collect(next, gen), Interrupt)
        self.assertEqual(self.log, ['before'])
        self.assertIsNone(next(gen, None))

    @needs_masks
    def test_cleanup_that_raises(self):
        def function():
            try:
                pass
            finally:
                self.send()
                raise Failure

        self.assertTypes(collect(function), Failure, Interrupt)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_other_thread(self):
        in_cleanup = threading.Event()
        sent = threading.Event()
        caught = []

        def function():
            try:
                pass
            finally:
                in_cleanup.set()
                if sent.wait(support.SHORT_TIMEOUT):
                    self.log.append('cleaned up')
            self.log.append('missed')

        def run():
            caught.extend(collect(function))

        thread = threading.Thread(target=run)
        with threading_helper.start_threads([thread]):
            self.assertTrue(in_cleanup.wait(support.SHORT_TIMEOUT))
            send_async_exception(self.ctypes, thread.ident, Interrupt)
            # The other thread runs and sees it before it goes on.
            sent.set()
        self.assertEqual(self.log, ['cleaned up'])
        self.assertTypes(caught, Interrupt)

    @threading_helper.requires_working_threading()
    def test_other_thread_in_open_code(self):
        started = threading.Event()
        caught = []

        def function():
            started.set()
            deadline = time.monotonic() + support.SHORT_TIMEOUT
            while time.monotonic() < deadline:
                pass
            self.log.append('missed')

        def run():
            caught.extend(collect(function))

        thread = threading.Thread(target=run)
        with threading_helper.start_threads([thread]):
            self.assertTrue(started.wait(support.SHORT_TIMEOUT))
            send_async_exception(self.ctypes, thread.ident, Interrupt)
        self.assertEqual(self.log, [])
        self.assertTypes(caught, Interrupt)

    @threading_helper.requires_working_threading()
    def test_masked_code_of_one_thread_does_not_mask_another(self):
        caught = []

        def run():
            caught.extend(collect(self.send))

        try:
            pass
        finally:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        self.assertTypes(caught, Interrupt)


class ComputingTests(InterruptTestCase):
    """Long computations ask PyErr_CheckSignals().  It asks the mask, too."""

    nested = []
    for _ in range(20):
        nested = [nested]

    # C functions: no check point of the eval loop lies between the signal and
    # the end of the computation.
    computations = {
        'pow': functools.partial(pow, 3, 1 << 5000, (1 << 1000) - 1),
        'str of int': functools.partial(str, 1 << 5000),
        'repr': functools.partial(repr, nested),
        're': functools.partial(re.compile('(?:a|aa)+$').match, 'a' * 20 + 'b'),
    }

    def test_open(self):
        for name, compute in self.computations.items():
            with self.subTest(name):
                done = functools.partial(self.log.append, 'done')
                caught = collect(in_one_call, trip, compute, done)
                self.assertTypes(caught, Interrupt)
                self.assertEqual(self.log, [])

    @needs_masks
    def test_masked(self):
        for name, compute in self.computations.items():
            def in_finally():
                try:
                    pass
                finally:
                    self.log.append(in_one_call(trip, compute)[1])

            def in_enter():
                with Manager([], enter=lambda: self.log.append(
                                    in_one_call(trip, compute)[1])):
                    self.log.append('missed')

            for function in in_finally, in_enter:
                with self.subTest(name, function=function.__name__):
                    self.log.clear()
                    caught = collect(function)
                    self.assertEqual(self.log, [compute()])
                    self.assertTypes(caught, Interrupt)


# Long enough that the timer has rung several times.
WAIT = 0.2
PERIOD = 0.02


class WaitingTests(InterruptTestCase):
    """Blocked calls, while a timer's handler raises again and again."""

    def ring(self, region, *, wake=None):
        """Start the timer: its handler raises while `region` is running.

        The third time it calls `wake` first.
        """
        self.rings = 0
        code = region.__code__

        def handler(signum, frame):
            self.rings += 1
            if wake is not None and self.rings == 3:
                wake()
            # Not where the test has already left the region.
            while frame is not None:
                if frame.f_code is code:
                    raise Interrupt
                frame = frame.f_back

        self.install(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, PERIOD, PERIOD)

    def stop_ringing(self):
        signal.setitimer(signal.ITIMER_REAL, 0)

    def assertGoesOn(self, wait, *args, result=None, wake=None):
        """The call is not broken in a `finally` body."""
        outcome = took = rings = None

        def function():
            nonlocal outcome, took, rings
            try:
                pass
            finally:
                self.ring(function, wake=wake)
                started = time.monotonic()
                outcome = wait(*args)
                took = time.monotonic() - started
                self.stop_ringing()
                rings = self.rings
                self.log.append('cleaned up')
            self.log.append('missed')

        self.log.clear()
        caught = collect(function)
        self.stop_ringing()
        self.assertEqual(self.log, ['cleaned up'])
        self.assertEqual(outcome, result)
        if wake is None:
            self.assertGreaterEqual(rings, 1)
            # It was restarted with the time that was left, not given up.
            self.assertGreaterEqual(took, WAIT * 0.9)
        else:
            self.assertGreaterEqual(rings, 3)
        self.assertTypes(caught, Interrupt)
        self.assertOpen()

    def held_lock(self, factory=threading.Lock):
        lock = factory()
        lock.acquire()
        return lock

    def pipe(self):
        fds = os.pipe()
        for fd in fds:
            self.addCleanup(os.close, fd)
        return fds

    def socketpair(self):
        sockets = socket.socketpair()
        for sock in sockets:
            self.addCleanup(sock.close)
        return sockets

    def thread(self):
        """A thread that runs until the function returned second is called."""
        lock = self.held_lock()
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        ended = False
        def end():
            nonlocal ended
            if not ended:
                ended = True
                lock.release()
        self.addCleanup(thread.join)
        self.addCleanup(end)
        return thread, end

    # -- hard regions

    @needs_masks
    def test_sleep(self):
        self.assertGoesOn(time.sleep, WAIT)

    @needs_masks
    def test_sleep_in_exit(self):
        def function():
            with Manager(self.log, exit=exit):
                pass
            self.log.append('missed')

        def exit():
            self.ring(function)
            started = time.monotonic()
            time.sleep(WAIT)
            self.log.append(time.monotonic() - started >= WAIT * 0.9)
            self.stop_ringing()

        caught = collect(function)
        self.stop_ringing()
        self.assertEqual(
            self.log, ['enter', 'entered', 'exit None', True, 'exited'])
        self.assertGreaterEqual(self.rings, 1)
        self.assertTypes(caught, Interrupt)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_timeouts(self):
        def get(queue_):
            try:
                queue_.get(timeout=WAIT)
            except queue.Empty:
                return 'empty'

        def receive(sock):
            try:
                sock.recv(1)
            except TimeoutError:
                return 'timeout'

        def with_condition(condition):
            with condition:
                return condition.wait(WAIT)

        reader, writer = self.pipe()
        sock, other = self.socketpair()
        sock.settimeout(WAIT)
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        thread, end = self.thread()
        waits = {
            'Lock.acquire': (False, self.held_lock().acquire, True, WAIT),
            'Event.wait': (False, threading.Event().wait, WAIT),
            'Condition.wait': (False, with_condition, threading.Condition()),
            'Semaphore.acquire':
                (False, threading.Semaphore(0).acquire, True, WAIT),
            'Queue.get': ('empty', get, queue.Queue()),
            'SimpleQueue.get': ('empty', get, queue.SimpleQueue()),
            'Thread.join': (None, thread.join, WAIT),
            'select': (([], [], []), select.select, [reader], [], [], WAIT),
            'poll': ([], poll.poll, WAIT * 1000),
            'recv': ('timeout', receive, sock),
        }
        if hasattr(select, 'epoll'):
            epoll = select.epoll()
            self.addCleanup(epoll.close)
            epoll.register(reader, select.EPOLLIN)
            waits['epoll'] = [], epoll.poll, WAIT
        for name, (result, wait, *args) in waits.items():
            with self.subTest(name):
                self.assertGoesOn(wait, *args, result=result)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_until_woken(self):
        reader, writer = self.pipe()
        with self.subTest('os.read'):
            self.assertGoesOn(os.read, reader, 1, result=b'x',
                              wake=lambda: os.write(writer, b'x'))

        sock, other = self.socketpair()
        with self.subTest('recv'):
            self.assertGoesOn(sock.recv, 1, result=b'x',
                              wake=lambda: other.send(b'x'))

        lock = self.held_lock()
        with self.subTest('Lock.acquire'):
            self.assertGoesOn(lock.acquire, result=True, wake=lock.release)
            self.assertTrue(lock.locked())

        queue_ = queue.SimpleQueue()
        with self.subTest('SimpleQueue.get'):
            self.assertGoesOn(queue_.get, result='item',
                              wake=lambda: queue_.put('item'))
            self.assertEqual(queue_.qsize(), 0)

        thread, end = self.thread()
        with self.subTest('Thread.join'):
            self.assertGoesOn(thread.join, wake=end)
            self.assertFalse(thread.is_alive())

        reader, writer = self.pipe()
        with self.subTest('os.waitpid'), subprocess.Popen(
            [sys.executable, '-I', '-S', '-c', 'import os; os.read(0, 1)'],
            stdin=reader,
        ) as process:
            try:
                self.assertGoesOn(
                    os.waitpid, process.pid, 0, result=(process.pid, 0),
                    wake=lambda: os.write(writer, b'x'))
            except ChildProcessError:
                # Broken and ended meanwhile: Popen has waited for it.
                self.fail('the wait was broken')
            finally:
                os.write(writer, b'x')
                process.wait()

        with tempfile.TemporaryFile() as file, self.subTest('flock'):
            path = f'/proc/self/fd/{file.fileno()}'
            if not os.path.exists(path):
                self.skipTest('cannot open the file a second time')
            with open(path, 'rb') as again:
                fcntl.flock(file, fcntl.LOCK_EX)
                self.assertGoesOn(
                    fcntl.flock, again, fcntl.LOCK_EX,
                    wake=lambda: fcntl.flock(file, fcntl.LOCK_UN))

    @needs_masks
    def test_handler_in_a_hard_region(self):
        # Handlers are soft, but what they interrupted is hard.
        def handler(signum, frame):
            self.ring(function)
            started = time.monotonic()
            time.sleep(WAIT)
            self.log.append(time.monotonic() - started >= WAIT * 0.9)
            self.stop_ringing()

        self.install(signal.SIGUSR2, handler)

        def function():
            try:
                pass
            finally:
                signal.raise_signal(signal.SIGUSR2)
                self.log.append('cleaned up')

        caught = collect(function)
        self.stop_ringing()
        self.assertEqual(self.log, [True, 'cleaned up'])
        self.assertTypes(caught, Interrupt)

    @needs_masks
    def test_soft_inside_hard(self):
        def enter():
            self.ring(function)
            started = time.monotonic()
            time.sleep(WAIT)
            self.log.append(time.monotonic() - started >= WAIT * 0.9)
            self.stop_ringing()

        def function():
            try:
                pass
            finally:
                with Manager(self.log, enter=enter):
                    self.log.append('body')
                self.log.append('cleaned up')

        caught = collect(function)
        self.stop_ringing()
        self.assertEqual(self.log, ['enter', True, 'entered', 'body',
                                    'exit None', 'exited', 'cleaned up'])
        self.assertTypes(caught, Interrupt)

    @needs_masks
    def test_hard_inside_soft(self):
        def enter():
            try:
                pass
            finally:
                self.ring(function)
                started = time.monotonic()
                time.sleep(WAIT)
                self.log.append(time.monotonic() - started >= WAIT * 0.9)
                self.stop_ringing()
            # Soft again, but nothing blocks here.
            self.log.append('enter ends')

        def function():
            with Manager([], enter=enter):
                self.log.append('missed')

        caught = collect(function)
        self.stop_ringing()
        self.assertEqual(self.log, [True, 'enter ends'])
        self.assertTypes(caught, Interrupt)

    # -- soft regions: a deadlock can be broken

    def assertIsBroken(self, wait, *args):
        """The call is broken while `with` enters."""
        def enter():
            try:
                # Rings until the call is really blocked: what rings before
                # that waits, because code runs.
                self.ring(function)
                self.log.append('waits')
                wait(*args)
            finally:
                self.stop_ringing()
            self.log.append('missed')

        def function():
            with Manager(self.log, enter=enter):
                self.log.append('missed')

        self.log.clear()
        caught = collect(function)
        self.assertEqual(self.log, ['enter', 'waits'])
        # One that rang meanwhile is another one.
        self.assertEqual({type(exc) for exc in caught}, {Interrupt})
        self.assertOpen()

    @threading_helper.requires_working_threading()
    def test_enter_is_broken(self):
        # Each would wait for ever, or too long; what happens then is a failure.
        reader, writer = self.pipe()
        sock, other = self.socketpair()
        thread, end = self.thread()
        watchdog = threading.Event()
        lock = self.held_lock()
        rlock = threading.RLock()
        holder = threading.Thread(
            target=lambda: (rlock.acquire(), holding.set(), watchdog.wait(
                support.LONG_TIMEOUT), rlock.release()))
        holding = threading.Event()
        holder.start()
        self.addCleanup(holder.join)
        self.addCleanup(watchdog.set)
        self.assertTrue(holding.wait(support.SHORT_TIMEOUT))
        timeout = support.SHORT_TIMEOUT
        sock.settimeout(timeout)
        for name, wait, *args in (
            ('sleep', time.sleep, timeout),
            ('Lock.acquire', lock.acquire, True, timeout),
            ('RLock.acquire', rlock.acquire, True, timeout),
            ('Event.wait', threading.Event().wait, timeout),
            ('Queue.get', queue.Queue().get, True, timeout),
            ('SimpleQueue.get', queue.SimpleQueue().get, True, timeout),
            ('Thread.join', thread.join, timeout),
            ('select', select.select, [reader], [], [], timeout),
            ('recv', sock.recv, 1),
        ):
            with self.subTest(name):
                self.assertIsBroken(wait, *args)

    @threading_helper.requires_working_threading()
    def test_calls_without_timeout_are_broken(self):
        # If they are not, the watchdog ends them and the test fails.
        reader, writer = self.pipe()
        lock = self.held_lock()

        def end():
            os.write(writer, b'x')
            lock.release()

        watchdog = threading.Timer(support.SHORT_TIMEOUT, end)
        watchdog.start()
        self.addCleanup(watchdog.join)
        self.addCleanup(watchdog.cancel)
        with self.subTest('os.read'):
            self.assertIsBroken(os.read, reader, 1)
        with self.subTest('Lock.acquire'):
            self.assertIsBroken(lock.acquire)
            self.assertTrue(lock.locked())

    @threading_helper.requires_working_threading()
    def test_deadlocked_with_lock(self):
        lock = self.held_lock()
        watchdog = threading.Timer(support.SHORT_TIMEOUT, lock.release)
        watchdog.start()
        self.addCleanup(watchdog.join)
        self.addCleanup(watchdog.cancel)

        def function():
            try:
                self.ring(function)
                with lock:
                    self.log.append('missed')
            finally:
                self.stop_ringing()

        caught = collect(function)
        self.assertEqual(self.log, [])
        self.assertEqual({type(exc) for exc in caught}, {Interrupt})
        self.assertTrue(lock.locked())
        self.assertOpen()

    def test_blocked_handler_is_broken(self):
        def handler(signum, frame):
            try:
                self.ring(handler)
                time.sleep(support.SHORT_TIMEOUT)
            finally:
                self.stop_ringing()
            self.log.append('missed')

        self.install(signal.SIGUSR2, handler)
        caught = collect(signal.raise_signal, signal.SIGUSR2)
        self.assertEqual(self.log, [])
        self.assertEqual({type(exc) for exc in caught}, {Interrupt})
        self.assertOpen()


class JumpTests(InterruptTestCase):
    """A debugger's jump leaves the level of its target in force."""

    def jump(self, function, origin, target, *args):
        """Call, jumping once from one line to another.

        Lines are counted from the `def`.  Returns what was raised.
        """
        code = function.__code__
        jumped = False

        def trace(frame, event, arg):
            nonlocal jumped
            if frame.f_code is not code:
                return None
            line = frame.f_lineno - code.co_firstlineno
            if event == 'line' and not jumped and line == origin:
                jumped = True
                frame.f_lineno = code.co_firstlineno + target
            return trace

        def traced():
            sys.settrace(trace)
            try:
                function(*args)
            finally:
                sys.settrace(old)

        old = sys.gettrace()
        caught = collect(traced)
        self.assertTrue(jumped, 'the line to jump from was not reached')
        return caught

    def test_out_of_finally(self):
        def function(log):
            try:
                log.append('try')
            finally:
                log.append('finally')
                log.append('skipped')
            interrupt()
            log.append('missed')

        caught = self.jump(function, 5, 6, self.log)
        self.assertEqual(self.log, ['try', 'finally'])
        self.assertInterrupts(caught, 1)
        self.assertEqual(line_in(caught[0], function), 6)
        self.assertOpen()

    @needs_masks
    def test_out_of_finally_while_something_waits(self):
        def function(log):
            try:
                log.append('try')
            finally:
                interrupt()
                log.append('finally')
                log.append('skipped')
            check_point()
            log.append('missed')

        caught = self.jump(function, 6, 7, self.log)
        self.assertEqual(self.log, ['try', 'finally'])
        self.assertInterrupts(caught, 1)
        self.assertEqual(line_in(caught[0], function), 7)

    @needs_masks
    def test_into_finally(self):
        def function(log):
            log.append('start')
            log.append('skipped')
            try:
                log.append('skipped')
            finally:
                interrupt()
                log.append('cleaned up')
            log.append('missed')

        caught = self.jump(function, 2, 6, self.log)
        self.assertEqual(self.log, ['start', 'cleaned up'])
        self.assertInterrupts(caught, 1)
        self.assertOpen()

    def test_back_out_of_finally_and_in_again(self):
        def function(log):
            log.append('start')
            try:
                log.append('try')
            finally:
                log.append('finally')
                log.append('cleaned up')

        caught = self.jump(function, 6, 1, self.log)
        self.assertEqual(
            self.log, ['start', 'try', 'finally', 'start', 'try', 'finally',
                       'cleaned up'])
        self.assertEqual(caught, [])
        self.assertOpen()

    @needs_masks
    def test_from_one_finally_into_another(self):
        def function(log):
            try:
                pass
            finally:
                log.append('first')
                log.append('skipped')
            try:
                log.append('skipped')
            finally:
                interrupt()
                log.append('second')
            log.append('missed')

        caught = self.jump(function, 5, 9, self.log)
        self.assertEqual(self.log, ['first', 'second'])
        self.assertInterrupts(caught, 1)

    def test_out_of_nested_finally(self):
        def function(log):
            try:
                pass
            finally:
                try:
                    pass
                finally:
                    log.append('inner')
                    log.append('skipped')
                log.append('outer')
                log.append('skipped')
            interrupt()
            log.append('missed')

        caught = self.jump(function, 10, 11, self.log)
        self.assertEqual(self.log, ['inner', 'skipped', 'outer'])
        self.assertInterrupts(caught, 1)

    @needs_masks
    def test_out_of_inner_into_outer_finally(self):
        def function(log):
            try:
                pass
            finally:
                try:
                    pass
                finally:
                    log.append('inner')
                    log.append('skipped')
                interrupt()
                log.append('outer')
            log.append('missed')

        caught = self.jump(function, 8, 9, self.log)
        self.assertEqual(self.log, ['inner', 'outer'])
        self.assertInterrupts(caught, 1)

    def test_over_the_exit_of_with(self):
        # The line of `with` comes a second time when the body has ended.
        def function(manager, log):
            for _ in range(1):
                with manager:
                    log.append('body')
                    log.append('skipped')
            interrupt()
            log.append('missed')

        caught = self.jump(function, 4, 5, Manager([]), self.log)
        self.assertEqual(self.log, ['body'])
        self.assertInterrupts(caught, 1)

    def test_from_exit_of_with(self):
        def function(manager, log):
            with manager:
                log.append('body')
            interrupt()
            log.append('missed')

        code = function.__code__
        seen = 0

        def trace(frame, event, arg):
            nonlocal seen
            if frame.f_code is not code:
                return None
            if event == 'line' and frame.f_lineno == code.co_firstlineno + 1:
                seen += 1
                if seen == 2:
                    frame.f_lineno = code.co_firstlineno + 3
            return trace

        def traced():
            sys.settrace(trace)
            try:
                function(Manager(manager_log), self.log)
            finally:
                sys.settrace(old)

        manager_log = []
        old = sys.gettrace()
        caught = collect(traced)
        self.assertEqual(seen, 2)
        self.assertEqual(manager_log, ['enter', 'entered'])
        self.assertEqual(self.log, ['body'])
        self.assertInterrupts(caught, 1)
        self.assertOpen()

    @needs_masks
    def test_from_with_inside_finally(self):
        def function(manager, log):
            try:
                pass
            finally:
                with manager:
                    log.append('body')
                    log.append('skipped')
                interrupt()
                log.append('cleaned up')
            log.append('missed')

        caught = self.jump(function, 6, 7, Manager([]), self.log)
        self.assertEqual(self.log, ['body', 'cleaned up'])
        self.assertInterrupts(caught, 1)


class TracingTests(InterruptTestCase):

    def trace_lines(self, function, *args):
        lines = []
        code = function.__code__

        def trace(frame, event, arg):
            if frame.f_code is not code:
                return None
            if event == 'line':
                lines.append(frame.f_lineno - code.co_firstlineno)
            return trace

        old = sys.gettrace()
        sys.settrace(trace)
        try:
            function(*args)
        finally:
            sys.settrace(old)
        return lines

    def test_lines(self):
        # NIT and TIT have no line of their own.
        def function(manager):
            with manager:
                pass
            try:
                pass
            finally:
                check_point()
            return

        self.assertEqual(self.trace_lines(function, Manager([])),
                         [1, 2, 1, 3, 4, 6, 7])

    @needs_masks
    def test_masked_while_traced(self):
        for path in FINALLY_PATHS:
            with self.subTest(path=path.__name__):
                self.log.clear()
                self.sent = 0
                caught = collect(self.trace_lines, path, self.cleanup)
                self.assertEqual(self.log, ['cleanup', 'cleaned up'])
                self.assertInterrupts(caught, 1)
                self.assertOpen()


SWITCH_SCRIPT = '''
import signal

class Interrupt(Exception):
    pass

def handler(signum, frame):
    raise Interrupt

signal.signal(signal.SIGUSR1, handler)
try:
    try:
        pass
    finally:
        signal.raise_signal(signal.SIGUSR1)
        print('masked')
except Interrupt:
    print('interrupted')
'''


class SwitchTests(unittest.TestCase):
    """-X interrupt_masks and PYTHONINTERRUPTMASKS"""

    def run_script(self, *args, script=SWITCH_SCRIPT, variable=None):
        # Not isolated: that would ignore the environment.
        env = {} if variable is None else {'PYTHONINTERRUPTMASKS': variable}
        env['__isolated'] = False
        result = script_helper.assert_python_ok(*args, '-c', script, **env)
        return result.out.decode().split()

    on = ['masked', 'interrupted']
    off = ['interrupted']

    def test_option(self):
        self.assertEqual(self.run_script('-X', 'interrupt_masks=1'), self.on)
        self.assertEqual(self.run_script('-X', 'interrupt_masks=0'), self.off)

    def test_variable(self):
        self.assertEqual(self.run_script(variable='1'), self.on)
        self.assertEqual(self.run_script(variable='0'), self.off)
        with self.subTest('empty is not set'):
            self.assertEqual(self.run_script(variable=''), self.on)

    def test_option_wins(self):
        self.assertEqual(
            self.run_script('-X', 'interrupt_masks=1', variable='0'), self.on)
        self.assertEqual(
            self.run_script('-X', 'interrupt_masks=0', variable='1'), self.off)
        with self.subTest('over a bad variable'):
            self.assertEqual(
                self.run_script('-X', 'interrupt_masks=0', variable='bad'),
                self.off)

    def test_environment_can_be_ignored(self):
        for option in '-E', '-I':
            with self.subTest(option=option):
                self.assertEqual(self.run_script(option, variable='0'), self.on)
                self.assertEqual(self.run_script(option, variable='bad'),
                                 self.on)

    def test_bad_values(self):
        message = (b'PYTHONINTERRUPTMASKS / -X interrupt_masks must be '
                   b'"0" or "1"')
        for value in ('', '=', '=2', '=-1', '=00', '=on', '=false', '= 1'):
            with self.subTest(option=value):
                result = script_helper.assert_python_failure(
                    '-X', f'interrupt_masks{value}', '-c', 'pass')
                self.assertIn(message, result.err)
        for value in ('2', 'on', '01', ' 0'):
            with self.subTest(variable=value):
                result = script_helper.assert_python_failure(
                    '-c', 'pass', PYTHONINTERRUPTMASKS=value,
                    __isolated=False)
                self.assertIn(message, result.err)

    def test_child_interpreters_inherit_the_option(self):
        script = ('import subprocess; '
                  'print(*subprocess._args_from_interpreter_flags())')
        for value in '0', '1':
            with self.subTest(value=value):
                words = self.run_script('-X', f'interrupt_masks={value}',
                                        script=script)
                self.assertIn(f'interrupt_masks={value}', words)
        self.assertNotIn('interrupt_masks', ' '.join(
            self.run_script(script=script)))

    def test_same_bytecode(self):
        script = ('import hashlib, marshal, sys; '
                  'path = sys.modules["test.support"].__file__; '
                  'source = open(path, "rb").read(); '
                  'code = compile(source, path, "exec"); '
                  'print(hashlib.sha256(marshal.dumps(code)).hexdigest())')
        script = 'import test.support; ' + script
        on, off = (
            self.run_script('-X', f'interrupt_masks={value}', script=script)
            for value in '10')
        self.assertEqual(on, off)

    def test_opcodes_stay(self):
        script = ('import dis; '
                  'code = compile("with a: pass", "", "exec"); '
                  'print(*[i.opname for i in dis.get_instructions(code)])')
        words = self.run_script('-X', 'interrupt_masks=0', script=script)
        self.assertIn('NIT', words)
        self.assertIn('TIT', words)


STOCK_OPCODES = (
    'e19560f377a6b5a06c4bb6bbdf67ed5278f1c2e30a5a80a17ceada3c2fdc2095')


class OpcodeTests(unittest.TestCase):

    def test_numbers(self):
        self.assertEqual(dis.opmap['NIT'], 119)
        self.assertEqual(dis.opmap['TIT'], 120)
        self.assertIn(119, dis.hasarg)
        self.assertIn(120, dis.hasarg)

    def test_no_other_number_has_moved(self):
        # Compared with a digest of the numbers of CPython 3.13: an extension
        # module may have them compiled in.
        others = sorted((name, number)
                        for name, number in dis._all_opmap.items()
                        if name not in ('NIT', 'TIT'))
        self.assertEqual(
            hashlib.sha256(repr(others).encode()).hexdigest(), STOCK_OPCODES)

    def test_pyc_files_are_told_apart(self):
        self.assertEqual(importlib.util.MAGIC_NUMBER,
                         (3592).to_bytes(2, 'little') + b'\r\n')
        self.assertEqual(sys.implementation.cache_tag, 'cpython-313-nit')
        self.assertEqual(
            os.path.basename(importlib.util.cache_from_source('module.py')),
            'module.cpython-313-nit.pyc')

    def levels(self, source):
        code = compile(source, '', 'exec')
        while True:
            inner = [const for const in code.co_consts
                     if isinstance(const, types.CodeType)]
            if not inner:
                break
            [code] = inner
        return [f'{instr.opname} {instr.arg} ({instr.argrepr})'
                for instr in dis.get_instructions(code)
                if instr.opname in ('NIT', 'TIT')]

    def test_words(self):
        levels = self.levels('with a:\n  pass')
        self.assertEqual(levels[:4], [
            'NIT 1 (depth 1, soft)',    # __enter__
            'TIT 0 (open)',
            'NIT 33 (depth 1, hard)',   # __exit__
            'TIT 0 (open)',
        ])
        levels = self.levels(
            'try:\n  pass\nfinally:\n  with a:\n    pass')
        self.assertEqual(levels[:3], [
            'NIT 33 (depth 1, hard)',
            'NIT 162 (depth 2, soft inside hard)',
            'TIT 33 (depth 1, hard)',
        ])

    def test_suspending(self):
        levels = self.levels(
            'def f():\n  try:\n    pass\n  finally:\n    yield')
        self.assertIn('TIT 97 (depth 1, hard, suspending)', levels)
        levels = self.levels('async def f():\n  async with a:\n    pass')
        self.assertIn('TIT 65 (depth 1, soft, suspending)', levels)
        self.assertIn('TIT 97 (depth 1, hard, suspending)', levels)

    def test_printed(self):
        text = dis.Bytecode('with a:\n  pass').dis()
        self.assertRegex(text, r'NIT +1 \(depth 1, soft\)')
        self.assertRegex(text, r'TIT +0 \(open\)')


class CompilerTests(unittest.TestCase):
    """The compiler rejects code whose level depends on the path."""

    def assemble(self, instructions):
        helper = import_helper.import_module('test.support.bytecode_helper')
        internal = import_helper.import_module('_testinternalcapi')
        case = helper.AssemblerTestCase()
        case.Label = helper.CompilationStepTestCase.Label
        metadata = dict(
            name='name', qualname='name', filename='file', consts={None: 0},
            names={}, varnames={}, cellvars={}, freevars={}, fasthidden={},
            argcount=0, posonlyargcount=0, kwonlyargcount=0, firstlineno=1)
        seq = case.seq_from_insts(instructions)
        return internal.assemble_code_object('file', seq, metadata)

    def branch(self, *on_one_path):
        from test.support.bytecode_helper import CompilationStepTestCase
        label = CompilationStepTestCase.Label()
        return [
            ('RESUME', 0, 1),
            ('LOAD_NAME', 0, 1),
            ('POP_JUMP_IF_FALSE', label, 1),
            *on_one_path,
            label,
            ('TIT', 0, 1),
            ('LOAD_CONST', 0, 1),
            ('RETURN_VALUE', None, 1),
        ]

    def test_consistent(self):
        code = self.assemble(self.branch(('NIT', 1, 1), ('TIT', 0, 1)))
        self.assertIn(dis.opmap['NIT'], code.co_code[::2])

    def test_inconsistent(self):
        for level in 1, 33, 2:
            with self.subTest(level=level):
                with self.assertRaisesRegex(
                        ValueError, 'inconsistent interrupt level'):
                    self.assemble(self.branch(('NIT', level, 1)))

    def test_return_from_a_masked_region(self):
        with self.assertRaisesRegex(ValueError, 'return from a masked region'):
            self.assemble([
                ('RESUME', 0, 1),
                ('NIT', 1, 1),
                ('LOAD_CONST', 0, 1),
                ('RETURN_VALUE', None, 1),
            ])


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=80, others=20)


if __name__ == '__main__':
    interrupt_masks.main(InterruptTestCase)
