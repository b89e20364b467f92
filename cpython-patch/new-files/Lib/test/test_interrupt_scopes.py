"""Scopes that a program opens itself: threading.nointerrupts and interrupts.

`nointerrupts` holds interrupts back until it is left.  `interrupts` lets them
in again: it opens every `nointerrupts` scope, and the regions of its own
function, but never the `finally`, __exit__ or __enter__ of a caller.  The
promises are written down in InternalDocs/interrupt_masking.md; test_interrupts
tells how code is interrupted here.

Most tests take steps: a step is interrupted first, then it writes to the log.
In masked code the interrupt waits, and the step is in the log.  In open code
it is raised right there, and the step is missing.
"""

import _interpreters
import _thread
import ast
import asyncio
import concurrent.futures
import contextlib
import functools
import importlib
import inspect
import itertools
import json
import multiprocessing
import os
import pydoc
import re
import signal
import sys
import textwrap
import threading
import time
import unittest
import weakref
from multiprocessing.pool import ThreadPool
from threading import (
    interrupts, interrupts_masked, interrupts_pending, nointerrupts)

import _interrupts
from test import support, test_interrupts
from test.support import interrupt_masks, script_helper, threading_helper
from test.support.interrupt_masks import needs_masks
from test.test_interrupts import (
    AsyncManager, Catch, Failure, Interrupt, InterruptTestCase, Manager,
    check_point, collect, drive, interrupt, line_in, suspend)

try:
    import greenlet
except ImportError:
    greenlet = None


def tearDownModule():
    asyncio.set_event_loop_policy(None)


# Each way to get a scope that masks, and one that opens.
MASKING = {
    'bare': lambda: nointerrupts,
    'called': lambda: nointerrupts(),
    'hard': lambda: nointerrupts(interruptible_waits=False),
    'soft': lambda: nointerrupts(interruptible_waits=True),
    'called twice': lambda: nointerrupts()(),
    'of the thread': lambda: threading.current_thread().nointerrupts(),
    'of the thread, soft':
        lambda: threading.current_thread().nointerrupts(
            interruptible_waits=True),
}
OPENING = {
    'bare': lambda: interrupts,
    'called': lambda: interrupts(),
    'called twice': lambda: interrupts()(),
    'of the thread': lambda: threading.current_thread().interrupts(),
}

NOT_ENTERED = 'left.*entered'


def leave(scope):
    """Leave a scope by hand."""
    return scope.__exit__(None, None, None)


def send_to_self(exc):
    return _interrupts.send(threading.get_ident(), exc)


class ScopeTestCase(InterruptTestCase):

    def setUp(self):
        super().setUp()
        self.assertFalse(interrupts_masked(), 'an earlier test masks this one')

    def step(self, name):
        """Interrupt, then log: what is in the log has waited."""
        interrupt()
        self.log.append(name)

    def note(self, name):
        """Log whether an interrupt would wait."""
        self.log.append((name, interrupts_masked()))

    def discard(self, *scopes):
        """Leave these at the end, lest a test that fails masks the others."""
        def leave_all(scope):
            for _ in range(10):
                with contextlib.suppress(RuntimeError, Interrupt):
                    leave(scope)
        for scope in scopes:
            self.addCleanup(leave_all, scope)

    def assertNotEntered(self, function, *args):
        with self.assertRaisesRegex(RuntimeError, NOT_ENTERED):
            function(*args)

    def assertRestored(self):
        self.assertFalse(interrupts_masked())
        self.assertFalse(interrupts_pending())
        self.assertOpen()
        self.assertFalse(interrupts_pending())


class NoInterruptsTests(ScopeTestCase):

    @needs_masks
    def test_body_is_not_cut(self):
        def function():
            with make():
                self.step('first')
                self.step('second')
            self.log.append('missed')

        for name, make in MASKING.items():
            with self.subTest(name):
                self.log.clear()
                self.sent = 0
                caught = collect(function)
                self.assertEqual(self.log, ['first', 'second'])
                self.assertChain(caught, 2, 1)
                self.assertEqual(line_in(caught[0], function), 1)
                self.assertRestored()

    def test_uninterrupted(self):
        for name, make in (MASKING | OPENING).items():
            with self.subTest(name):
                with make() as target:
                    pass
                self.assertIsNone(target)
                with self.assertRaises(Failure) as caught:
                    with make():
                        raise Failure
                self.assertIsNone(caught.exception.__context__)
                self.assertRestored()

    def test_exit_suppresses_nothing(self):
        for scope in nointerrupts, interrupts:
            scope.__enter__()
            self.assertFalse(scope.__exit__(Failure, Failure(), None))
            self.assertRestored()

    @needs_masks
    def test_callees(self):
        def callee(depth):
            if depth:
                callee(depth - 1)
            self.step(depth)

        def function():
            with nointerrupts:
                callee(5)
                self.log.extend(map(self.result, 'ab'))

        caught = collect(function)
        self.assertEqual(self.log, [0, 1, 2, 3, 4, 5, 'a', 'b'])
        self.assertChain(caught, *range(8, 0, -1))

    def result(self, value):
        interrupt()
        return value

    @needs_masks
    def test_reentrant(self):
        def function():
            with scope:
                self.step(1)
                with scope:
                    self.step(2)
                    with scope, scope:
                        self.step(3)
                    self.step(4)
                self.step(5)
            self.log.append('missed')

        for name, make in MASKING.items():
            with self.subTest(name):
                scope = make()
                self.log.clear()
                self.sent = 0
                self.assertChain(collect(function), 5, 4, 3, 2, 1)
                self.assertEqual(self.log, [1, 2, 3, 4, 5])
                self.assertRestored()

    @needs_masks
    def test_reusable(self):
        def function():
            with scope:
                self.step('body')

        for name, make in MASKING.items():
            with self.subTest(name):
                scope = make()
                for _ in range(3):
                    self.log.clear()
                    self.sent = 0
                    self.assertInterrupts(collect(function), 1)
                    self.assertEqual(self.log, ['body'])
                    self.assertRestored()

    @needs_masks
    def test_shared_by_two_threads(self):
        # The object is shared, the entry is not.
        scope = nointerrupts()
        self.discard(scope)
        found = []
        with scope:
            thread = threading.Thread(
                target=lambda: found.append(interrupts_masked()))
            thread.start()
            thread.join()
            found.append(interrupts_masked())
        self.assertEqual(found, [False, True])

    @needs_masks
    def test_exception_in_flight_is_context(self):
        def function():
            with nointerrupts:
                self.step('body')
                raise Failure

        caught = collect(function)
        self.assertEqual(self.log, ['body'])
        self.assertInterrupts(caught, 1)
        self.assertIs(type(caught[0].__context__), Failure)
        self.assertRestored()

    @needs_masks
    def test_no_statement_runs_in_between(self):
        state = 'before'
        with self.assertRaises(Interrupt):
            with nointerrupts:
                interrupt()
                state = 'body'
            state = 'after'
        self.assertEqual(state, 'body')

    @needs_masks
    def test_called_by_hand(self):
        # The call that leaves the scope raises what has waited.
        for name, make in MASKING.items():
            with self.subTest(name):
                self.sent = 0
                self.log.clear()
                scope = make()
                self.discard(scope)
                scope.__enter__()
                self.step('first')
                self.step('second')
                with self.assertRaises(Interrupt):
                    leave(scope)
                self.assertEqual(self.log, ['first', 'second'])
                self.assertRestored()

    @needs_masks
    def test_ctrl_c(self):
        self.install(signal.SIGINT, signal.default_int_handler)
        with self.assertRaises(KeyboardInterrupt):
            with nointerrupts:
                signal.raise_signal(signal.SIGINT)
                self.log.append('body')
            self.log.append('missed')
        self.assertEqual(self.log, ['body'])

    @needs_masks
    def test_handlers_run(self):
        self.install(signal.SIGUSR2,
                     lambda signum, frame: self.log.append('handler'))

        def function():
            with nointerrupts:
                signal.raise_signal(signal.SIGUSR2)
                self.step('between')
                signal.raise_signal(signal.SIGUSR2)
                self.log.append('body ends')

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(self.log,
                         ['handler', 'between', 'handler', 'body ends'])

    @needs_masks
    def test_loop_that_waits_for_a_handler(self):
        flag = False

        def handler(signum, frame):
            nonlocal flag
            flag = True

        self.install(signal.SIGALRM, handler)

        def function():
            with nointerrupts:
                interrupt()
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                deadline = time.monotonic() + support.SHORT_TIMEOUT
                while not flag and time.monotonic() < deadline:
                    pass
                self.log.append(flag)

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(self.log, [True])

    def test_thread_methods(self):
        current = threading.current_thread()
        self.assertIs(type(current.nointerrupts()), type(nointerrupts))
        self.assertIs(type(current.interrupts()), type(interrupts))
        with self.assertRaises(TypeError):
            current.nointerrupts(True)
        with self.assertRaises(TypeError):
            current.nointerrupts(interruptible_waits=3)
        with self.assertRaises(TypeError):
            current.interrupts(True)

    def test_thread_methods_of_another_thread(self):
        never_started = threading.Thread()
        ended = threading.Thread()
        ended.start()
        ended.join()
        errors = []

        def run():
            for method in main.nointerrupts, main.interrupts:
                try:
                    method()
                except RuntimeError as exc:
                    errors.append(exc)

        main = threading.current_thread()
        running = threading.Thread(target=run)
        running.start()
        running.join()
        self.assertEqual(len(errors), 2)
        for thread in never_started, ended:
            for method in thread.nointerrupts, thread.interrupts:
                with self.subTest(method=method):
                    with self.assertRaises(RuntimeError):
                        method()
        self.assertRestored()


class StateTests(ScopeTestCase):
    """interrupts_masked() and interrupts_pending()"""

    def note(self, name='', *args):
        self.log.append((name, interrupts_masked(), interrupts_pending()))

    @needs_masks
    def test_scopes(self):
        self.note('before')
        with self.assertRaises(Interrupt):
            with nointerrupts:
                self.note('body')
                interrupt()
                self.note('interrupted')
                interrupt()
                self.note('twice')
        self.note('after')
        self.assertEqual(self.log, [
            ('before', False, False), ('body', True, False),
            ('interrupted', True, True), ('twice', True, True),
            ('after', False, False)])

    @needs_masks
    def test_opened(self):
        with nointerrupts:
            with interrupts:
                self.note('opened')
            self.note('masked again')
        self.assertEqual(self.log, [('opened', False, False),
                                    ('masked again', True, False)])

    @needs_masks
    def test_regions(self):
        def enter():
            self.note('enter')

        def exit():
            self.note('exit')

        def handler(signum, frame):
            self.note('handler')

        self.install(signal.SIGUSR2, handler)
        try:
            with Manager([], enter=enter, exit=exit):
                self.note('body')
        finally:
            self.note('finally')
        signal.raise_signal(signal.SIGUSR2)
        self.note('after')
        self.assertEqual(self.log, [
            ('enter', True, False), ('body', False, False),
            ('exit', True, False), ('finally', True, False),
            ('handler', True, False), ('after', False, False)])

    @needs_masks
    def test_called_in_other_ways(self):
        # By C code, and under other names: it is the caller that counts.
        def function():
            try:
                pass
            finally:
                self.log.append(functools.partial(interrupts_masked)())
                self.log.extend(call() for call in [interrupts_masked])
                self.log.append(threading.interrupts_masked())
                self.log.append(eval('interrupts_masked()'))

        function()
        self.assertEqual(self.log, [True] * 4)

    @needs_masks
    def test_what_was_sent_is_pending(self):
        with self.assertRaises(Interrupt):
            with nointerrupts:
                send_to_self(Interrupt)
                self.note('sent')
        self.assertEqual(self.log, [('sent', True, True)])
        self.assertRestored()

    @needs_masks
    def test_other_threads_have_their_own(self):
        with self.assertRaises(Interrupt):
            with nointerrupts:
                interrupt()
                thread = threading.Thread(target=self.note, args=['thread'])
                thread.start()
                thread.join()
                self.note('creator')
        self.assertEqual(self.log, [('thread', False, False),
                                    ('creator', True, True)])

    def test_arguments(self):
        for function in interrupts_masked, interrupts_pending:
            self.assertIs(function(), False)
            with self.assertRaises(TypeError):
                function(1)


class InterruptsTests(ScopeTestCase):
    """What `interrupts` opens, and what it does not."""

    def opened_step(self, name):
        with interrupts:
            self.step(name)

    def masked_and_opened_step(self, name):
        with nointerrupts:
            with interrupts:
                self.step(name)

    def test_open_code(self):
        for name, make in OPENING.items():
            with self.subTest(name):
                with self.assertRaises(Interrupt):
                    with make():
                        self.step('missed')
                self.assertEqual(self.log, [])
                self.assertRestored()

    @needs_masks
    def test_raised_on_entry(self):
        def function():
            with nointerrupts:
                self.step('waits')
                with make():
                    self.log.append('missed')
                self.log.append('missed')

        for name, make in OPENING.items():
            with self.subTest(name):
                self.log.clear()
                self.sent = 0
                caught = collect(function)
                self.assertEqual(self.log, ['waits'])
                self.assertInterrupts(caught, 1)
                self.assertEqual(line_in(caught[0], function), 3)
                self.assertRestored()

    @needs_masks
    def test_raised_on_entry_runs_exit(self):
        # If it did not, the scope would stay open.
        def function():
            with nointerrupts:
                interrupt()
                try:
                    with interrupts:
                        self.log.append('missed')
                except Interrupt:
                    self.step('masked again')

        caught = collect(function)
        self.assertEqual(self.log, ['masked again'])
        self.assertInterrupts(caught, 2)
        self.assertRestored()

    @needs_masks
    def test_raised_on_entry_runs_exit_of_a_class(self):
        log = self.log

        class Opened:
            def __enter__(self):
                interrupts.__enter__()
                log.append('entered')

            def __exit__(self, exc_type, exc, tb):
                log.append(exc_type.__name__)
                leave(interrupts)

        def function():
            with nointerrupts:
                interrupt()
                try:
                    with Opened():
                        self.log.append('missed')
                except Interrupt:
                    self.step('masked again')

        caught = collect(function)
        # Nothing is raised in an __enter__, not by what it has opened either.
        self.assertEqual(log, ['entered', 'Interrupt', 'masked again'])
        self.assertInterrupts(caught, 2)
        self.assertRestored()

    @needs_masks
    def test_body_is_open(self):
        def function():
            with nointerrupts:
                self.step('masked')
                try:
                    with contextlib.suppress(Interrupt), make():
                        self.log.append('missed')
                    with make():
                        self.step('missed')
                except Interrupt as exc:
                    self.log.append(exc.args)
                self.step('masked again')

        for name, make in OPENING.items():
            with self.subTest(name):
                self.log.clear()
                self.sent = 0
                caught = collect(function)
                self.assertEqual(self.log, ['masked', (2,), 'masked again'])
                self.assertInterrupts(caught, 3)

    @needs_masks
    def test_opens_scopes_of_callers(self):
        def callee(depth):
            if depth:
                callee(depth - 1)
            else:
                self.opened_step('missed')

        def function():
            with nointerrupts, nointerrupts(interruptible_waits=True):
                self.log.append('body')
                try:
                    callee(5)
                except Interrupt:
                    self.step('masked again')

        caught = collect(function)
        self.assertEqual(self.log, ['body', 'masked again'])
        self.assertInterrupts(caught, 2)

    # The functions of test_interrupts, with `cleanup()` replaced; some have no
    # such line.
    replaced = re.compile(r'^( *)cleanup\(\)$', re.MULTILINE)

    def finally_paths(self, *lines):
        for path in test_interrupts.FINALLY_PATHS:
            source = inspect.getsource(path)
            source, count = self.replaced.subn(
                '\n'.join(rf'\1{line}' for line in lines), source)
            if count:
                namespace = {'Failure': Failure, 'interrupts': interrupts,
                             'nointerrupts': nointerrupts, 'step': self.step,
                             'note': self.note}
                exec(source, namespace)
                yield path.__name__, namespace[path.__name__]

    def test_opens_own_finally(self):
        paths = dict(self.finally_paths(
            'with interrupts:', '    cleanup()'))
        self.assertGreater(len(paths), 20)
        for name, path in paths.items():
            with self.subTest(name):
                self.log.clear()
                self.sent = 0
                caught = collect(path, self.cleanup)
                self.assertEqual(self.log, ['cleanup'])
                self.assertInterrupts(caught, 1)
                self.assertRestored()

    @needs_masks
    def test_own_finally_is_masked_before_and_after(self):
        for name, path in self.finally_paths(
            'step("before")',
            'try:',
            '    with interrupts:',
            '        step("missed")',
            'except BaseException as exc:',
            '    cleanup(exc)',
            'step("after")',
            'with interrupts:',
            '    note("opened again")',
        ):
            with self.subTest(name):
                self.log.clear()
                self.sent = 0
                raised = []
                caught = collect(path, raised.append)
                self.assertEqual(self.log, ['before', 'after'])
                # The first was raised on entry, the second at the next one.
                self.assertInterrupts(raised, 1)
                self.assertInterrupts(caught, 2)
                self.assertRestored()

    @needs_masks
    def test_new_region_masks_again(self):
        def function():
            try:
                pass
            finally:
                with interrupts:
                    self.log.append('opened')
                    try:
                        self.log.append('try')
                    finally:
                        self.step('finally')
                        self.step('finally ends')
                    self.log.append('missed')

        self.assertChain(collect(function), 2, 1)
        self.assertEqual(self.log,
                         ['opened', 'try', 'finally', 'finally ends'])
        self.assertRestored()

    @needs_masks
    def test_new_regions_of_all_kinds_mask_again(self):
        def by_finally(step):
            try:
                pass
            finally:
                step()

        def by_enter(step):
            with Manager([], enter=step):
                pass

        def by_exit(step):
            with Manager([], exit=step):
                pass

        def by_scope(step):
            with nointerrupts:
                step()

        def by_handler(step):
            self.install(signal.SIGUSR2, lambda signum, frame: step())
            signal.raise_signal(signal.SIGUSR2)

        def step():
            self.step('first')
            self.step('second')

        for mask in by_finally, by_enter, by_exit, by_scope, by_handler:
            def in_scope():
                with nointerrupts:
                    with interrupts:
                        mask(step)

            def in_finally():
                try:
                    pass
                finally:
                    with interrupts:
                        mask(step)

            for function in in_scope, in_finally:
                with self.subTest(mask=mask.__name__,
                                  function=function.__name__):
                    self.log.clear()
                    self.sent = 0
                    self.assertChain(collect(function), 2, 1)
                    self.assertEqual(self.log, ['first', 'second'])
                    self.assertRestored()

    @needs_masks
    def test_composed(self):
        lock = interrupted = None

        def at(name):
            self.log.append(name)
            if name == interrupted:
                interrupt()
                self.log.append('waits')

        def function():
            with nointerrupts:
                lock.acquire()
                at('set up')
                try:
                    with interrupts:
                        at('work')
                finally:
                    at('clean up')
                    lock.release()
                    with interrupts:
                        at('report')

        for interrupted, log in {
            'set up': ['set up', 'waits', 'clean up', 'report'],
            'clean up': ['set up', 'work', 'clean up', 'waits'],
        }.items():
            with self.subTest(interrupted=interrupted):
                self.log.clear()
                self.sent = 0
                lock = threading.Lock()
                self.assertInterrupts(collect(function), 1)
                self.assertEqual(self.log, log)
                self.assertFalse(lock.locked())
                self.assertRestored()

    def test_composed_open_parts(self):
        lock = threading.Lock()

        def function(work, report):
            with nointerrupts:
                lock.acquire()
                try:
                    with interrupts:
                        work('work')
                finally:
                    lock.release()
                    with interrupts:
                        report('report')

        log = self.log.append
        for work, report in (self.step, log), (log, self.step):
            self.log.clear()
            self.sent = 0
            self.assertInterrupts(collect(function, work, report), 1)
            self.assertEqual(len(self.log), 1)
            self.assertFalse(lock.locked())
            self.assertRestored()

    # -- never a caller's cleanup

    @needs_masks
    def test_callers_regions_stay_masked(self):
        def by_finally(callee):
            try:
                pass
            finally:
                callee('first')
                callee('second')

        def by_opened_finally(callee):
            # The callee is called by a finally body inside of what was opened.
            try:
                pass
            finally:
                with interrupts:
                    by_finally(callee)

        def by_enter(callee):
            with Manager([], enter=lambda: by_open(callee)):
                self.log.append('missed')

        def by_exit(callee):
            with Manager([], exit=lambda: by_open(callee)):
                pass

        def by_aenter(callee):
            drive(async_with(enter=lambda: by_open(callee)))

        def by_aexit(callee):
            drive(async_with(exit=lambda: by_open(callee)))

        async def async_with(**functions):
            async with AsyncManager([], **functions):
                pass

        def by_open(callee):
            callee('first')
            callee('second')

        def by_handler(callee):
            self.install(signal.SIGUSR2, lambda signum, frame: by_open(callee))
            signal.raise_signal(signal.SIGUSR2)

        for region in (by_finally, by_opened_finally, by_enter, by_exit,
                       by_aenter, by_aexit, by_handler):
            for callee in self.opened_step, self.masked_and_opened_step:
                with self.subTest(region=region.__name__,
                                  callee=callee.__name__):
                    self.log.clear()
                    self.sent = 0
                    self.assertChain(collect(region, callee), 2, 1)
                    self.assertEqual(self.log, ['first', 'second'])
                    self.assertRestored()

    @needs_masks
    def test_recursive_function(self):
        # Its caller is the same function, but not the same call of it.
        def function(depth):
            try:
                pass
            finally:
                if depth:
                    function(depth - 1)
                else:
                    with interrupts:
                        self.step('opened')
                self.log.append(depth)

        self.assertInterrupts(collect(function, 2), 1)
        self.assertEqual(self.log, ['opened', 0, 1, 2])
        with self.subTest('not nested'):
            self.log.clear()
            collect(function, 0)
            self.assertEqual(self.log, [])
    test_recursive_function.some_subtests_pass = True

    @needs_masks
    def test_code_in_a_finally_body_with_a_frame_of_its_own(self):
        def by_generator():
            try:
                pass
            finally:
                def generate():
                    with interrupts:
                        self.step('opened')
                        yield
                list(generate())

        def by_class_body():
            try:
                pass
            finally:
                class Namespace:
                    with interrupts:
                        self.step('opened')

        def by_exec():
            try:
                pass
            finally:
                exec('with interrupts: step("opened")',
                     {'interrupts': interrupts, 'step': self.step})

        for function in by_generator, by_class_body, by_exec:
            with self.subTest(function=function.__name__):
                self.log.clear()
                self.sent = 0
                self.assertInterrupts(collect(function), 1)
                self.assertEqual(self.log, ['opened'])

    @needs_masks
    def test_other_handlers_wait_for_the_end_of_a_handler(self):
        def handler(signum, frame):
            with interrupts:
                self.step('handler')

        self.install(signal.SIGUSR2, handler)
        caught = collect(signal.raise_signal, signal.SIGUSR2)
        self.assertEqual(self.log, ['handler'])
        self.assertInterrupts(caught, 1)

    # -- entered by hand

    @needs_masks
    def test_by_hand_in_scope(self):
        self.discard(interrupts)

        def function():
            with nointerrupts:
                self.step('masked')
                try:
                    interrupts.__enter__()
                    self.log.append('missed')
                except Interrupt as exc:
                    self.log.append(exc.args)
                self.note('opened')
                leave(interrupts)
                self.step('masked again')

        self.assertInterrupts(collect(function), 2)
        self.assertEqual(self.log,
                         ['masked', (1,), ('opened', False), 'masked again'])
        self.assertRestored()

    @needs_masks
    def test_later_finally_is_not_the_one_that_was_opened(self):
        # It stands at the same depth of the same function.
        scope = interrupts()
        self.discard(scope)

        def function():
            try:
                pass
            finally:
                self.note('first finally')
                scope.__enter__()
                self.note('opened')
            self.note('between')
            try:
                pass
            finally:
                self.step('second finally')
            self.log.append('missed')

        caught = collect(function)
        self.assertEqual(self.log, [
            ('first finally', True), ('opened', False), ('between', False),
            'second finally'])
        self.assertInterrupts(caught, 1)
        leave(scope)
        self.assertRestored()

    @needs_masks
    def test_function_that_has_ended(self):
        # Another call may find its frame in the same place.
        scope = interrupts()
        self.discard(scope)

        def opens():
            try:
                pass
            finally:
                scope.__enter__()

        def masks():
            try:
                pass
            finally:
                self.step('finally')

        opens()
        self.assertInterrupts(collect(masks), 1)
        self.assertEqual(self.log, ['finally'])
        leave(scope)
        self.assertRestored()

    @needs_masks
    def test_outer_finally_of_the_same_function(self):
        # What was opened by the inner one, and left, was both of them.
        def function():
            try:
                pass
            finally:
                try:
                    pass
                finally:
                    with interrupts:
                        self.note('opened')
                    self.note('inner')
                self.note('outer')
                with interrupts:
                    self.note('opened')
                self.step('outer ends')

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(self.log, [
            ('opened', False), ('inner', True), ('outer', True),
            ('opened', False), 'outer ends'])

    @needs_masks
    def test_yields_in_an_opened_finally(self):
        def generator():
            try:
                pass
            finally:
                self.note('finally')
                with interrupts:
                    yield
                    self.note('opened')
                    yield
                self.note('masked')

        for _ in generator():
            self.note('driver')
        self.assertEqual(self.log, [
            ('finally', True), ('driver', False), ('opened', False),
            ('driver', False), ('masked', True)])


class WaitingTests(ScopeTestCase):
    """Blocked calls, while a timer's handler raises again and again."""

    ring = test_interrupts.WaitingTests.ring
    stop_ringing = test_interrupts.WaitingTests.stop_ringing

    def held_lock(self):
        lock = threading.Lock()
        lock.acquire()
        return lock

    def wait(self, region):
        """Wait for a lock that is released when the signal comes a third time.
        """
        lock = self.held_lock()
        self.log.append('waits')
        try:
            self.ring(region, wake=lock.release)
            self.log.append(lock.acquire(timeout=support.LONG_TIMEOUT))
        finally:
            self.stop_ringing()

    def wait_for_ever(self, region):
        """Wait for what never happens."""
        lock = self.held_lock()
        self.log.append('waits')
        try:
            self.ring(region)
            lock.acquire(timeout=support.SHORT_TIMEOUT)
        finally:
            self.stop_ringing()
        self.log.append('missed')

    def assertGoesOn(self, region):
        self.log.clear()
        caught = collect(region, functools.partial(self.wait, region))
        self.assertEqual(self.log, ['waits', True])
        self.assertTypes(caught, Interrupt)
        self.assertRestored()

    def assertIsBroken(self, region):
        self.log.clear()
        caught = collect(region,
                         functools.partial(self.wait_for_ever, region))
        self.assertEqual(self.log, ['waits'])
        # One that rang meanwhile is another one.
        self.assertEqual({type(exc) for exc in caught}, {Interrupt})
        self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_hard(self):
        def hard(wait):
            with nointerrupts:
                wait()

        def hard_by_name(wait):
            with nointerrupts(interruptible_waits=False):
                wait()

        def soft_inside_hard(wait):
            with nointerrupts:
                with soft:
                    wait()

        def hard_inside_soft(wait):
            with soft:
                with nointerrupts:
                    wait()

        def after_soft_inside_hard(wait):
            with nointerrupts:
                with soft:
                    pass
                wait()

        def soft_inside_finally(wait):
            try:
                pass
            finally:
                with soft:
                    wait()

        def soft_inside_finally_of_the_caller(wait):
            def callee():
                with soft:
                    wait()
            try:
                pass
            finally:
                callee()

        def finally_inside_soft(wait):
            with soft:
                try:
                    pass
                finally:
                    wait()

        def enter_inside_hard(wait):
            with nointerrupts:
                with Manager([], enter=wait):
                    pass

        def hard_inside_what_was_opened(wait):
            with soft, interrupts, nointerrupts:
                wait()

        def opened_by_callee_of_finally(wait):
            def callee():
                with nointerrupts, interrupts, soft:
                    wait()
            try:
                pass
            finally:
                callee()

        soft = nointerrupts(interruptible_waits=True)
        for region in (hard, hard_by_name, soft_inside_hard, hard_inside_soft,
                       after_soft_inside_hard, soft_inside_finally,
                       soft_inside_finally_of_the_caller, finally_inside_soft,
                       enter_inside_hard, hard_inside_what_was_opened,
                       opened_by_callee_of_finally):
            with self.subTest(region=region.__name__):
                self.assertGoesOn(region)

    @threading_helper.requires_working_threading()
    def test_soft(self):
        def once(wait):
            with soft:
                wait()

        def twice(wait):
            with soft, soft:
                wait()

        def of_the_thread(wait):
            with threading.current_thread().nointerrupts(
                    interruptible_waits=True):
                wait()

        def after_hard(wait):
            with soft:
                with nointerrupts:
                    pass
                wait()

        def in_opened_scope(wait):
            with nointerrupts, interrupts, soft:
                wait()

        def in_opened_finally(wait):
            try:
                pass
            finally:
                with interrupts, soft:
                    wait()

        def enter_in_opened_scope(wait):
            with nointerrupts, interrupts:
                with Manager([], enter=wait):
                    pass

        def enter_in_opened_finally(wait):
            try:
                pass
            finally:
                with interrupts:
                    with Manager([], enter=wait):
                        pass

        def in_opened_scope_of_the_caller(wait):
            def callee():
                with interrupts, soft:
                    wait()
            with nointerrupts:
                callee()

        soft = nointerrupts(interruptible_waits=True)
        for region in (once, twice, of_the_thread, after_hard, in_opened_scope,
                       in_opened_finally, enter_in_opened_scope,
                       enter_in_opened_finally, in_opened_scope_of_the_caller):
            with self.subTest(region=region.__name__):
                self.assertIsBroken(region)

    @threading_helper.requires_working_threading()
    def test_deadlocked_with_lock_in_opened_finally(self):
        lock = self.held_lock()
        watchdog = threading.Timer(support.SHORT_TIMEOUT, lock.release)
        watchdog.start()
        self.addCleanup(watchdog.join)
        self.addCleanup(watchdog.cancel)

        def region():
            try:
                pass
            finally:
                with interrupts:
                    try:
                        self.ring(region)
                        with lock:
                            self.log.append('missed')
                    finally:
                        self.stop_ringing()

        caught = collect(region)
        self.assertEqual(self.log, [])
        self.assertEqual({type(exc) for exc in caught}, {Interrupt})
        self.assertTrue(lock.locked())
        self.assertRestored()

    @needs_masks
    def test_running_code_in_a_soft_scope(self):
        def function():
            with nointerrupts(interruptible_waits=True):
                self.step('first')
                # Free: it is taken without looking.
                self.log.append(lock.acquire(timeout=support.SHORT_TIMEOUT))
                self.step('second')
                lock.acquire(timeout=support.SHORT_TIMEOUT)
                self.log.append('missed')

        lock = threading.Lock()
        caught = collect(function)
        # What came before does break the one that blocks.
        self.assertEqual(self.log, ['first', True, 'second'])
        self.assertChain(caught, 2, 1)
        self.assertRestored()


# Three levels of scopes in each other, in all combinations, left in each way.
#
# The text of a program is made from the letters of its levels.  A tiny model
# that knows nothing of frames says what is masked.

HEADS = {
    '-': ['if True:'],                              # nothing
    'N': ['with nointerrupts:'],
    'I': ['with interrupts:'],
    'F': ['try: pass', 'finally:'],
    'E': ['try:', ' try: raise Entry', ' finally:'],    # the other copy
}
TAILS = {'E': ['except Entry: pass']}

# Statements that leave the third level.  Where they land: inside the level of
# that number, 0 being outside of all.
EXITS = {
    'fall': ([], [None]),
    'exception': (['raise Failure'], [0, 1, 2]),
    'break': (['break'], [0, 1, 2]),
    'continue': (['continue'], [0, 1, 2]),
    'return': (['return'], [None]),
    'resume': (['SUSPEND', 'step("resumed")'], [None]),
    'throw': (['SUSPEND'], [0, 1, 2]),
    'close': (['SUSPEND'], [0, 1, 2]),
}
LOOPS = 'break', 'continue'
EXCEPTIONS = {'exception': 'Failure', 'throw': 'Failure',
              'close': 'GeneratorExit'}
SUSPENDING = 'resume', 'throw', 'close'

# Class bodies and modules have no `return`, `yield` or `await`; functions
# cannot be suspended.
KINDS = {
    'function': [exit for exit in EXITS if exit not in SUSPENDING],
    'class': ['fall', 'exception', *LOOPS],
    'module': ['fall', 'exception', *LOOPS],
    'generator': list(EXITS),
    'coroutine': list(EXITS),
    'async generator': list(EXITS),
}
DEFS = {'function': 'def', 'generator': 'def', 'coroutine': 'async def',
        'async generator': 'async def'}
SUSPEND = {'generator': 'yield', 'coroutine': 'await suspend()',
           'async generator': 'yield'}
CALLS = {'function': '{}()', 'generator': 'yield from {}()',
         'coroutine': 'await {}()'}


class Entry(Exception):
    """In flight where a `finally` body of letter E runs."""


def indented(lines, depth=1):
    return [' ' * depth + line for line in lines]


class Program:
    """Levels of scopes.  Those in `starts` begin a function of their own."""

    def __init__(self, kind, levels, exit, landing, starts=(1,)):
        self.kind = kind
        self.levels = levels
        self.exit = exit
        self.landing = landing
        self.starts = starts

    # -- the text

    def source(self):
        lines = []
        for start in self.starts[1:]:
            lines += self.function(f'level{start}', [
                *self.level(start), f'step("end {start}")'])
        body = ['step("before")', *self.inside(0)]
        if self.kind == 'module':
            lines += body
        elif self.kind == 'class':
            lines += ['class Namespace:', *indented(body)]
        else:
            lines += self.function('run', body)
        return '\n'.join(lines)

    def function(self, name, body):
        if self.kind in ('generator', 'async generator'):
            body = [*body, 'if 0: yield']
        return [f'{DEFS[self.kind]} {name}():', *indented(body)]

    def level(self, number):
        letter = self.levels[number - 1]
        body = [f'step("in {number}")', *self.inside(number)]
        depth = 2 if letter == 'E' else 1
        return [*HEADS[letter], *indented(body, depth), *TAILS.get(letter, [])]

    def inside(self, number):
        if number == 3:
            statements, landings = EXITS[self.exit]
            return [line.replace('SUSPEND', SUSPEND.get(self.kind, ''))
                    for line in statements]
        inner = number + 1
        if inner in self.starts[1:]:
            lines = [CALLS[self.kind].format(f'level{inner}')]
        else:
            lines = self.level(inner)
        if number == self.landing:
            if self.exit in LOOPS:
                lines = ['for _ in once:', *indented(lines)]
            else:
                lines = ['try:', *indented(lines),
                         f'except {EXCEPTIONS[self.exit]}:',
                         ' step("caught")']
        return [*lines, f'step("left {inner}")']

    # -- the model

    def start_of(self, level):
        return max(start for start in self.starts if start <= level)

    def masked(self, base, depth):
        """Is the code inside the level of that number masked?"""
        masking = {(base, 0)}
        for level, letter in enumerate(self.levels[:depth], 1):
            if letter == 'I':
                # Opens all scopes, and the regions of its own function.
                own = range(self.start_of(level), level)
                masking = {(mask, at) for mask, at in masking
                           if mask in 'FE' and at not in own}
            else:
                masking.add((letter, level))
        return any(mask in 'NFE' for mask, at in masking)

    def steps(self):
        """The name of each step and the depth at which it is taken.

        A name of None is no step, but a point at which a region or a scope is
        left on the way: what has waited is raised there, if all is open.
        """
        yield 'before', 0
        for level in 1, 2, 3:
            yield f'in {level}', level
        if self.exit in SUSPENDING:
            yield 'suspended', None
        if self.exit == 'resume':
            yield 'resumed', 3
        if self.exit in ('fall', 'resume'):
            landing = 3
        elif self.exit == 'return':
            # It leaves the last function only.
            landing = self.starts[-1] - 1
        else:
            landing = self.landing
        for level in range(3, landing, -1):
            # A region that is left by an exception is not asked; a `with` is.
            if (self.levels[level - 1] in 'NI'
                    or self.exit in (*LOOPS, 'return')
                    and self.levels[level - 1] in 'FE'):
                yield None, level - 1
        if self.exit in EXCEPTIONS:
            yield 'caught', landing
        for level in 3, 2, 1:
            if level in self.starts[1:] and level <= landing:
                yield f'end {level}', level - 1
            if level <= landing + (level > 1 or self.exit != 'return'):
                yield f'left {level}', level - 1
        yield 'end', None

    def expected(self, base):
        """The steps in order, None included, and whether they are masked."""
        return [(name, self.masked(base, depth or 0))
                for name, depth in self.steps()]

    # -- running

    def drive(self, namespace, step, suspended):
        """Run it to its end.  What may stay suspended goes into the list."""
        if self.kind in ('class', 'module'):
            exec(namespace['code'], namespace)
        elif self.kind == 'function':
            namespace['run']()
        else:
            self.resume(namespace['run'](), step, suspended)
        step('end')

    def resume(self, iterator, step, suspended):
        suspended.append(iterator)
        if self.kind == 'async generator':
            def advance():
                drive(iterator.asend(None))

            def throw():
                drive(iterator.athrow(Failure))

            def close():
                drive(iterator.aclose())
        else:
            advance = functools.partial(iterator.send, None)
            throw = functools.partial(iterator.throw, Failure)
            close = iterator.close
        try:
            advance()
            step('suspended')
            if self.exit == 'resume':
                advance()
            elif self.exit == 'throw':
                throw()
            else:
                close()
        except (StopIteration, StopAsyncIteration):
            pass


@functools.cache
def compiled(source):
    # Each text is run in several places, and compiling takes longest.
    return compile(source, '<program>', 'exec')


def programs(kind, exit, levels, starts=(1,)):
    landings = EXITS[exit][1]
    if exit in LOOPS:
        # They land in the same function.
        landings = [landing for landing in landings
                    if landing >= starts[-1] or starts == (1,)]
    if exit == 'close':
        # All functions are closed, whatever the inner ones have caught.
        landings = [landing for landing in landings
                    if landing < min(starts[1:], default=3)]
    for landing in landings:
        yield Program(kind, levels, exit, landing, starts)


def in_open_code(function):
    function()


def in_scope(function):
    with nointerrupts:
        function()


def in_finally(function):
    try:
        pass
    finally:
        function()


BASES = {'-': in_open_code, 'N': in_scope, 'F': in_finally}


class Combinations:
    """The tests of all combinations; a base of two test cases."""

    def run_program(self, program, code, base, interrupted=None):
        """Run once; the step of that name is interrupted.  Return the log."""
        log = []
        running = True

        def step(name):
            if running:
                if name == interrupted:
                    interrupt()
                log.append((name, interrupts_masked()))

        namespace = {
            'step': step, 'nointerrupts': nointerrupts,
            'interrupts': interrupts, 'suspend': suspend, 'once': (1,),
            'Failure': Failure, 'Entry': Entry, 'code': code}
        if program.kind not in ('class', 'module'):
            exec(code, namespace)
        suspended = []
        raised = None
        try:
            BASES[base](functools.partial(
                program.drive, namespace, step, suspended))
        except Interrupt as exc:
            raised = exc
        running = False
        for iterator in suspended:
            if program.kind == 'async generator':
                drive(iterator.aclose())
            else:
                iterator.close()
        if (interrupted is None) != (raised is None):
            log.append(('raised', raised))
        if interrupts_masked() or interrupts_pending():
            log.append(('not restored', interrupts_masked()))
        return log

    def check_state(self, chosen, base):
        for program in chosen:
            source = program.source()
            code = compiled(source)
            expected = [point for point in program.expected(base)
                        if point[0] is not None]
            log = self.run_program(program, code, base)
            if log != expected:
                self.fail(f'{log}\nis not\n{expected}\nin\n{source}')

    def check_interrupted(self, chosen, base):
        for program in chosen:
            source = program.source()
            code = compiled(source)
            expected = program.expected(base)
            for position, (name, masked) in enumerate(expected):
                if name is None:
                    continue
                # It is raised before the first step that is not masked.
                end = position
                while end < len(expected) and expected[end][1]:
                    end += 1
                wanted = [point for point in expected[:end]
                          if point[0] is not None]
                log = self.run_program(program, code, base, name)
                if log != wanted:
                    self.fail(f'interrupted in {name!r}: {log}\n'
                              f'is not\n{wanted}\nin\n{source}')

    def combinations(self):
        """Yield the kind, what is around, the exit, the levels and the starts.
        """
        return ()

    def check_each(self, masked, *checks):
        """Check the combinations that are masked somewhere, or the others."""
        for kind, base, exit, levels, starts in self.combinations():
            chosen = list(programs(kind, exit, levels, starts))
            if masked == any(program.masked(base, depth)
                             for program in chosen for depth in range(4)):
                with self.subTest(kind=kind, base=base, exit=exit,
                                  levels=''.join(levels), starts=starts):
                    for check in checks:
                        check(chosen, base)

    @needs_masks
    def test_state(self):
        self.check_each(True, self.check_state)

    @needs_masks
    def test_interrupted(self):
        self.check_each(True, self.check_interrupted)

    def test_never_masked(self):
        self.check_each(False, self.check_state, self.check_interrupted)


class ScopesInEachOtherTests(Combinations, ScopeTestCase):
    """All combinations of nothing, nointerrupts and interrupts."""

    def combinations(self):
        for kind, exits in KINDS.items():
            for exit, base, levels in itertools.product(
                exits, BASES, itertools.product('-NI', repeat=3),
            ):
                yield kind, base, exit, levels, (1,)


class ScopesAndFinallyTests(Combinations, ScopeTestCase):
    """The same with `finally` bodies, in one function and in several."""

    def combinations(self):
        for kind, letters, starts in (
            ('function', '-NIF', [(1,), (1, 2), (1, 3), (1, 2, 3)]),
            ('function', '-NIE', [(1,), (1, 2), (1, 3), (1, 2, 3)]),
            ('generator', '-NIF', [(1,), (1, 2, 3)]),
            ('coroutine', '-NIF', [(1,), (1, 2, 3)]),
        ):
            for exit, levels, start in itertools.product(
                KINDS[kind], itertools.product(letters, repeat=3), starts,
            ):
                if letters[-1] in levels:
                    yield kind, '-', exit, levels, start


class SpellingTests(ScopeTestCase):
    """Other ways to write nested scopes."""

    @needs_masks
    def test_items_of_one_with(self):
        def masked():
            with nointerrupts, interrupts, nointerrupts:
                self.step('body')

        def masked_by_soft():
            with (nointerrupts(), interrupts(),
                  nointerrupts(interruptible_waits=True)):
                self.step('body')

        def masked_by_outer():
            with nointerrupts, contextlib.nullcontext():
                self.step('body')

        for function in masked, masked_by_soft, masked_by_outer:
            with self.subTest(function=function.__name__):
                self.log.clear()
                self.sent = 0
                self.assertInterrupts(collect(function), 1)
                self.assertEqual(self.log, ['body'])

    def test_open_items_of_one_with(self):
        def function():
            with interrupts, nointerrupts, interrupts:
                self.step('missed')

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(self.log, [])
        self.assertRestored()

    @needs_masks
    def test_second_item_fails_to_enter(self):
        class Failing(Manager):
            def __enter__(manager):
                self.step('enter')
                raise Failure

        def function():
            with nointerrupts, Failing([]):
                self.log.append('missed')

        caught = collect(function)
        self.assertEqual(self.log, ['enter'])
        self.assertInterrupts(caught, 1)
        self.assertIs(type(caught[0].__context__), Failure)
        self.assertRestored()

    @needs_masks
    def test_deep(self):
        depth = 15
        for letters in 'N' * depth, 'NI' * (depth // 2) + 'N':
            with self.subTest(letters):
                lines = []
                for level, letter in enumerate(letters):
                    lines += indented([HEADS[letter][0]], level)
                lines += indented(['step("body")'], len(letters))
                self.log.clear()
                self.sent = 0
                caught = collect(exec, '\n'.join(lines), {
                    'nointerrupts': nointerrupts, 'interrupts': interrupts,
                    'step': self.step})
                self.assertEqual(self.log, ['body'])
                self.assertInterrupts(caught, 1)
                self.assertRestored()

    @needs_masks
    def test_many_entries(self):
        # More than would be kept in a small fixed space.
        scope = nointerrupts()
        count = 1000
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(scope)
            self.note('masked')
            with interrupts:
                self.note('opened')
            self.note('masked again')
        self.assertEqual(self.log, [('masked', True), ('opened', False),
                                    ('masked again', True)])
        self.assertRestored()
        self.assertNotEntered(leave, scope)

    @needs_masks
    def test_recursion(self):
        def function(depth):
            with nointerrupts:
                if depth:
                    function(depth - 1)
                else:
                    self.step('innermost')
                self.log.append(depth)

        self.assertInterrupts(collect(function, 50), 1)
        self.assertEqual(self.log, ['innermost', *range(51)])

    def test_recursion_error(self):
        def masking():
            with nointerrupts:
                masking()

        def opening():
            with interrupts:
                opening()

        for function in masking, opening:
            with support.infinite_recursion(150):
                with self.assertRaises(RecursionError):
                    function()
            self.assertRestored()


class ExitTests(ScopeTestCase):
    """Scopes that are left by hand, in any order, by the wrong one, or twice.
    """

    def check_order(self, kinds, order):
        scopes = [nointerrupts() if kind == 'N' else interrupts()
                  for kind in kinds]
        self.discard(*scopes)
        entered = []
        waiting = 0

        def act(action):
            # What waits is raised as soon as all is open.
            nonlocal waiting
            masked = bool(entered) and kinds[entered[-1]] == 'N'
            caught = collect(action)
            self.assertEqual(bool(caught), waiting > 0 and not masked)
            if caught:
                waiting = 0
            self.assertEqual(interrupts_masked(), masked)
            self.assertEqual(interrupts_pending(), waiting > 0)
            caught = collect(interrupt)
            self.assertEqual(not caught, masked)
            waiting += masked

        for number, scope in enumerate(scopes):
            entered.append(number)
            act(scope.__enter__)
        for number in order:
            entered.remove(number)
            act(functools.partial(leave, scopes[number]))
        self.assertRestored()

    def check_orders(self, kinds):
        for order in itertools.permutations(range(len(kinds))):
            with self.subTest(kinds=''.join(kinds), order=order):
                self.check_order(kinds, order)

    @needs_masks
    def test_in_any_order(self):
        for kinds in itertools.product('NI', repeat=3):
            if 'N' in kinds:
                self.check_orders(kinds)

    def test_opening_ones_in_any_order(self):
        self.check_orders('III')

    @needs_masks
    def test_managers_in_any_order(self):
        # Those made of generators have handed their scopes over.
        orders = [(kinds, order) for kinds in ('N', 'NI', 'IN', 'NIN', 'INI')
                  for order in itertools.permutations(range(len(kinds)))]
        for manager, (kinds, order) in itertools.product(MANAGERS, orders):
            with self.subTest(manager=manager.__name__, kinds=kinds,
                              order=order):
                scopes = [nointerrupts() if kind == 'N' else interrupts()
                          for kind in kinds]
                self.discard(*scopes)
                managers = list(map(manager, scopes))
                entered = []
                for number in range(len(kinds)):
                    managers[number].__enter__()
                    entered.append(number)
                    self.assertEqual(interrupts_masked(),
                                     kinds[entered[-1]] == 'N')
                for number in order:
                    leave(managers[number])
                    entered.remove(number)
                    self.assertEqual(interrupts_masked(), bool(entered)
                                     and kinds[entered[-1]] == 'N')
                self.assertRestored()

    @needs_masks
    def test_one_object_entered_by_several_functions(self):
        # The last entry is left first, wherever the others were made.
        def enter(scope):
            scope.__enter__()

        def enter_deeper(scope):
            enter(scope)

        scope = nointerrupts()
        opening = interrupts()
        self.discard(scope, opening)
        for first, second in itertools.permutations((enter, enter_deeper)):
            with self.subTest(first=first.__name__):
                self.log.clear()
                first(scope)
                opening.__enter__()
                second(scope)
                self.note('entered twice')
                leave(scope)
                self.note('left once')
                leave(opening)
                self.note('masked by the first')
                leave(scope)
                self.assertEqual(self.log, [
                    ('entered twice', True), ('left once', False),
                    ('masked by the first', True)])
                self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_object_that_is_gone(self):
        # Another one, in the same place of the memory, is not that one.
        def run():
            nointerrupts().__enter__()
            for _ in range(10):
                self.assertNotEntered(leave, nointerrupts())
            self.note('still entered')

        # Nobody can leave it: it ends with the thread.
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(self.log, [('still entered', True)])

    @needs_masks
    def test_outer_is_left_inside_of_the_inner_with(self):
        scope = nointerrupts()
        with interrupts:
            scope.__enter__()
            self.note('masked')
            with nointerrupts:
                leave(scope)
                self.note('masked by the inner')
            self.note('opened')
        self.assertEqual(self.log, [
            ('masked', True), ('masked by the inner', True),
            ('opened', False)])
        self.assertRestored()

    def test_without_entry(self):
        for name, make in (MASKING | OPENING).items():
            with self.subTest(name):
                self.assertNotEntered(leave, make())
                self.assertRestored()

    def test_error_of_the_with_statement(self):
        # Left in its own body already: the exit of the `with` is the second.
        for make in *MASKING.values(), *OPENING.values():
            scope = make()

            def function():
                with scope:
                    leave(scope)

            self.assertNotEntered(function)
            self.assertRestored()

    def test_twice(self):
        for name, make in (MASKING | OPENING).items():
            with self.subTest(name):
                scope = make()
                with scope:
                    pass
                self.assertNotEntered(leave, scope)
                scope.__enter__()
                leave(scope)
                self.assertNotEntered(leave, scope)
                self.assertRestored()

    def test_left_by_another_object(self):
        entered = nointerrupts()
        self.discard(entered)
        entered.__enter__()
        for other in (nointerrupts, nointerrupts(), interrupts, interrupts(),
                      nointerrupts(interruptible_waits=True)):
            self.assertNotEntered(leave, other)
        leave(entered)
        self.assertRestored()

    @needs_masks
    def test_error_harms_nothing(self):
        def wrong():
            for scope in nointerrupts(), interrupts(), interrupts:
                with self.assertRaisesRegex(RuntimeError, NOT_ENTERED):
                    leave(scope)
                self.step('wrong')

        def in_scope():
            with nointerrupts:
                wrong()

        def in_finally():
            try:
                pass
            finally:
                wrong()

        def in_called_scope():
            with nointerrupts():
                with self.assertRaisesRegex(RuntimeError, NOT_ENTERED):
                    leave(nointerrupts)
                wrong()

        for function in in_scope, in_finally, in_called_scope:
            with self.subTest(function=function.__name__):
                self.log.clear()
                self.sent = 0
                self.assertChain(collect(function), 3, 2, 1)
                self.assertEqual(self.log, ['wrong'] * 3)
                self.assertRestored()

    @needs_masks
    def test_error_while_something_waits(self):
        # The error is raised where it was made, the interrupt where it may be.
        def function():
            with nointerrupts:
                interrupt()
                with self.assertRaisesRegex(RuntimeError, NOT_ENTERED):
                    leave(interrupts)
                self.log.append('body ends')

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(self.log, ['body ends'])

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_on_another_thread(self):
        errors = []

        def run():
            for scope in scopes:
                try:
                    leave(scope)
                except RuntimeError as exc:
                    errors.append(str(exc))
            self.note('other thread')

        scopes = nointerrupts(), interrupts(), nointerrupts()
        self.discard(*scopes)
        for scope in scopes:
            scope.__enter__()
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(len(errors), 3)
        for error in errors:
            self.assertRegex(error, NOT_ENTERED)
        for scope in reversed(scopes):
            self.note('entered')
            leave(scope)
        self.assertEqual(self.log, [
            ('other thread', False), ('entered', True), ('entered', False),
            ('entered', True)])
        self.assertRestored()

    @needs_masks
    def test_moved_by_pop_all(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(nointerrupts())
            moved = stack.pop_all()
        self.addCleanup(moved.close)
        self.step('still masked')
        with self.assertRaises(Interrupt):
            moved.close()
        self.assertEqual(self.log, ['still masked'])
        self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_moved_to_another_thread(self):
        with contextlib.ExitStack() as stack:
            scope = stack.enter_context(contextlib.nullcontext(nointerrupts()))
            stack.enter_context(scope)
            moved = stack.pop_all()
        self.discard(scope)
        errors = []

        def run():
            try:
                moved.close()
            except RuntimeError as exc:
                errors.append(str(exc))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(len(errors), 1)
        self.assertRegex(errors[0], NOT_ENTERED)
        self.note('masked')
        leave(scope)
        self.assertEqual(self.log, [('masked', True)])
        self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_manager_on_another_thread(self):
        for manager in MANAGERS:
            with self.subTest(manager=manager.__name__):
                self.log.clear()
                scope = nointerrupts()
                self.discard(scope)
                errors = []
                entered = manager(scope)
                entered.__enter__()

                def run():
                    try:
                        leave(entered)
                    except RuntimeError as exc:
                        errors.append(str(exc))
                    self.note('other thread')

                thread = threading.Thread(target=run)
                thread.start()
                thread.join()
                self.assertEqual(len(errors), 1)
                self.assertRegex(errors[0], NOT_ENTERED)
                self.note('still masked')
                leave(scope)
                self.assertEqual(self.log, [('other thread', False),
                                            ('still masked', True)])
                self.assertRestored()

    @unittest.skipUnless(greenlet, 'needs greenlet')
    @needs_masks
    def test_on_another_greenlet(self):
        def other():
            self.note('other greenlet')
            self.assertNotEntered(leave, scope)
            with nointerrupts:
                main.switch()
                self.note('masked again')

        main = greenlet.getcurrent()
        scope = nointerrupts()
        self.discard(scope)
        scope.__enter__()
        child = greenlet.greenlet(other)
        child.switch()
        self.note('masked')
        leave(scope)
        self.note('left')
        child.switch()
        self.note('ended')
        self.assertEqual(self.log, [
            ('other greenlet', False), ('masked', True), ('left', False),
            ('masked again', True), ('ended', False)])
        self.assertRestored()

    @needs_masks
    def test_by_who_resumes_a_generator(self):
        # Suspended, it has taken the entry along.
        def generator():
            scope.__enter__()
            yield
            self.note('masked again')
            leave(scope)
            self.note('left')

        scope = nointerrupts()
        gen = generator()
        next(gen)
        self.assertNotEntered(leave, scope)
        self.note('driver')
        self.assertIsNone(next(gen, None))
        self.assertEqual(self.log, [
            ('driver', False), ('masked again', True), ('left', False)])
        self.assertRestored()

    @needs_masks
    def test_by_another_task(self):
        scope = nointerrupts()

        async def holder(entered, other_done):
            scope.__enter__()
            entered.set()
            await other_done.wait()
            self.note('holder')
            leave(scope)
            self.note('left')

        async def other(entered, other_done):
            await entered.wait()
            self.note('other')
            self.assertNotEntered(leave, scope)
            other_done.set()

        async def main():
            events = asyncio.Event(), asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(holder(*events))
                group.create_task(other(*events))

        asyncio.run(main())
        self.assertEqual(self.log, [
            ('other', False), ('holder', True), ('left', False)])
        self.assertRestored()

    def test_exit_with_an_exception(self):
        # The arguments of __exit__ do not matter.
        for scope in nointerrupts, interrupts:
            for args in (None, None, None), (Failure, Failure(), None):
                scope.__enter__()
                self.assertFalse(scope.__exit__(*args))
                self.assertRestored()


class BadInputTests(unittest.TestCase):

    def assertNames(self, names, function, *args, **kwargs):
        with self.assertRaises(TypeError) as caught:
            function(*args, **kwargs)
        for name in names:
            self.assertIn(name, str(caught.exception))

    def test_calls(self):
        for positional in 1, True, None, 'soft':
            self.assertNames(['nointerrupts', 'positional'],
                             nointerrupts, positional)
            self.assertNames(['interrupts'], interrupts, positional)
        self.assertNames(['soft'], nointerrupts, soft=True)
        self.assertNames(['interruptible_waits'],
                         nointerrupts, True, interruptible_waits=True)
        self.assertNames([], interrupts, interruptible_waits=True)

    def test_keywords_that_are_no_strings(self):
        for key in None, 1, (), 1.5, b'soft', 10**100, [].append:
            for scope in nointerrupts, interrupts:
                with self.subTest(key=key, scope=scope):
                    with self.assertRaisesRegex(TypeError, 'strings'):
                        scope(**{key: True})

    def test_interruptible_waits(self):
        for value in 3, 0, None, 'yes', 1.0, []:
            with self.subTest(value=value):
                with self.assertRaises(TypeError) as caught:
                    nointerrupts(interruptible_waits=value)
                self.assertEqual(
                    str(caught.exception),
                    'interruptible_waits must be a bool, not '
                    f'{type(value).__name__}')

    def test_methods(self):
        for scope in nointerrupts, interrupts:
            with self.assertRaises(TypeError):
                scope.__enter__(1)
            self.assertFalse(interrupts_masked())
            with self.assertRaises(TypeError):
                scope.__exit__(exc=None)

    def test_async_with(self):
        async def function(scope):
            async with scope:
                pass

        for scope in nointerrupts, interrupts:
            with self.assertRaises(TypeError):
                drive(function(scope))

    def test_attributes(self):
        for scope in nointerrupts, interrupts:
            with self.assertRaises(AttributeError):
                scope.attribute = 1
            with self.assertRaises((AttributeError, TypeError)):
                type(scope).__enter__ = None


class DocumentationTests(unittest.TestCase):

    def test_stub(self):
        # An installation has no stubs, so has none of this one.
        path = os.path.join(os.path.dirname(threading.__file__),
                            '_interrupts.pyi')
        if not os.path.exists(path):
            self.skipTest('no stub beside the library')
        with open(path) as file:
            stub = ast.parse(file.read())
        declared = {}
        for node in stub.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                declared[node.name] = node
            elif isinstance(node, ast.AnnAssign):
                declared[node.target.id] = node
        self.assertEqual(
            {name for name in declared if not name.startswith('_')},
            {name for name in dir(_interrupts) if not name.startswith('_')})
        for name, node in declared.items():
            if isinstance(node, ast.FunctionDef):
                with self.subTest(name):
                    function = getattr(_interrupts, name)
                    parameters = inspect.signature(function).parameters
                    args = [*node.args.posonlyargs, node.args.vararg,
                            node.args.kwarg]
                    self.assertEqual([arg.arg for arg in args if arg],
                                     list(parameters))

    def test_docstrings(self):
        for thing in (
            nointerrupts, interrupts, interrupts_masked, interrupts_pending,
            threading.Thread.nointerrupts, threading.Thread.interrupts,
            _interrupts, *(
                getattr(_interrupts, name) for name in dir(_interrupts)
                if not name.startswith('_')),
            *(getattr(type(scope), name)
              for scope in (nointerrupts, interrupts)
              for name in ('__enter__', '__exit__', '__call__'))
        ):
            with self.subTest(thing=thing):
                self.assertTrue(thing.__doc__)
                self.assertGreater(len(thing.__doc__), 10)

    def test_help(self):
        for thing, words in (
            (nointerrupts, ['interrupt', 'interruptible_waits', 'with']),
            (interrupts, ['interrupt', 'finally', 'with']),
            (interrupts_masked, ['interrupt', 'interrupts_masked()']),
            (interrupts_pending, ['interrupt', 'interrupts_pending()']),
        ):
            text = pydoc.render_doc(thing, renderer=pydoc.plaintext)
            with self.subTest('signature as it is', thing=thing):
                self.assertNotIn('--\n', text)
            for word in words:
                with self.subTest(thing=thing, word=word):
                    self.assertIn(word, text)

    def test_exported(self):
        for name in ('nointerrupts', 'interrupts', 'interrupts_masked',
                     'interrupts_pending'):
            self.assertIn(name, threading.__all__)

    def test_repr(self):
        self.assertIn('nointerrupts', repr(nointerrupts).lower())
        self.assertIn('interrupts', repr(interrupts).lower())


# Context managers made of a scope, in each way that keeps it entered in the
# body of the `with` they stand in.


@contextlib.contextmanager
def by_contextmanager(scope):
    with scope:
        yield


@contextlib.contextmanager
def by_contextmanager_by_hand(scope):
    scope.__enter__()
    try:
        yield
    finally:
        leave(scope)


@contextlib.contextmanager
def by_two_contextmanagers(scope):
    with by_contextmanager(scope):
        yield


@contextlib.contextmanager
def by_contextmanager_and_stack(scope):
    with contextlib.ExitStack() as stack:
        stack.enter_context(scope)
        yield


@contextlib.contextmanager
def by_stack_of_contextmanagers(scope):
    with contextlib.ExitStack() as stack:
        stack.enter_context(by_contextmanager(scope))
        yield


class by_class:

    def __init__(self, scope):
        self.scope = scope

    def __enter__(self):
        self.scope.__enter__()
        return self

    def __exit__(self, *args):
        return self.scope.__exit__(*args)


class by_class_and_stack(by_class):

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.scope)
            self.stack = stack.pop_all()

    def __exit__(self, *args):
        return self.stack.__exit__(*args)


class by_subclass(by_class):

    def __enter__(self):
        return super().__enter__()

    def __exit__(self, *args):
        return super().__exit__(*args)


@contextlib.contextmanager
def by_contextmanager_and_class(scope):
    with by_class(scope):
        yield


MANAGERS = [by_contextmanager, by_contextmanager_by_hand,
            by_two_contextmanagers, by_contextmanager_and_stack,
            by_stack_of_contextmanagers, by_class, by_class_and_stack,
            by_subclass, by_contextmanager_and_class]


@contextlib.asynccontextmanager
async def by_asynccontextmanager(scope):
    with scope:
        yield


@contextlib.asynccontextmanager
async def by_asynccontextmanager_that_suspends(scope):
    await suspend('entering')
    with scope:
        yield


@contextlib.asynccontextmanager
async def by_two_asynccontextmanagers(scope):
    async with by_asynccontextmanager(scope):
        yield


@contextlib.asynccontextmanager
async def by_asynccontextmanager_and_stack(scope):
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(scope)
        yield


@contextlib.asynccontextmanager
async def by_async_stack_of_managers(scope):
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(by_asynccontextmanager(scope))
        yield


class by_async_class:

    def __init__(self, scope):
        self.scope = scope

    async def __aenter__(self):
        self.scope.__enter__()
        return self

    async def __aexit__(self, *args):
        return self.scope.__exit__(*args)


class by_async_class_that_suspends(by_async_class):

    async def __aenter__(self):
        await suspend('entering')
        return await super().__aenter__()


@contextlib.asynccontextmanager
async def by_asynccontextmanager_and_class(scope):
    async with by_async_class(scope):
        yield


ASYNC_MANAGERS = [
    by_asynccontextmanager, by_two_asynccontextmanagers,
    by_asynccontextmanager_and_stack, by_async_stack_of_managers,
    by_async_class, by_asynccontextmanager_and_class]


class by_async_class_suspended_while_entered(by_async_class):
    """What waits meanwhile is raised in the driver."""

    async def __aenter__(self):
        await super().__aenter__()
        await suspend('entered')
        return self

    async def __aexit__(self, *args):
        await suspend('leaving')
        result = await super().__aexit__(*args)
        await suspend('left')
        return result


class ManagerTests(ScopeTestCase):
    """Scopes that are entered for somebody else."""

    managers = MANAGERS
    managers_that_suspend = []
    some_managers = MANAGERS[:7:2]

    # Where a manager can be used, with a step in its body.  Each is written
    # once more for `async with`.

    def in_open_code(self, manager):
        with manager:
            self.step('body')
        self.note('after')

    def in_scope(self, manager):
        with nointerrupts:
            try:
                with manager:
                    self.step('body')
            except Interrupt:
                self.log.append('raised')
            self.note('after')

    def in_own_finally(self, manager):
        try:
            pass
        finally:
            try:
                with manager:
                    self.step('body')
            except Interrupt:
                self.log.append('raised')
            self.note('after')

    def in_callers_finally(self, manager):
        try:
            pass
        finally:
            self.in_open_code(manager)

    def in_callers_scope(self, manager):
        with nointerrupts:
            self.in_open_code(manager)

    def with_failure(self, manager):
        with manager:
            self.step('body')
            raise Failure

    def on_stack(self, manager):
        with contextlib.ExitStack() as stack:
            stack.enter_context(manager)
            self.step('body')

    def on_stack_in_own_finally(self, manager):
        try:
            pass
        finally:
            try:
                with contextlib.ExitStack() as stack:
                    stack.enter_context(manager)
                    self.step('body')
            except Interrupt:
                self.log.append('raised')
            self.note('after')

    def decorated(self, manager):
        manager(self.step)('body')

    def check(self, scope, function, log, *numbers, suspending=True):
        """Call with each manager; compare the log and what was raised."""
        managers = self.managers
        if suspending:
            managers = managers + self.managers_that_suspend
        for manager in managers:
            with self.subTest(function=function.__name__,
                              manager=manager.__name__):
                self.log.clear()
                self.sent = 0
                caught = self.collect(function, manager(scope))
                self.assertEqual(self.log, log)
                self.assertInterrupts(caught, *numbers)
                self.assertRestored()

    def collect(self, function, *args):
        return collect(function, *args)

    @needs_masks
    def test_masks(self):
        for make in MASKING.values():
            self.check(make(), self.in_open_code, ['body'], 1)

    @needs_masks
    def test_masks_in_regions(self):
        for function in (self.in_scope, self.in_own_finally,
                         self.in_callers_finally, self.in_callers_scope):
            self.check(nointerrupts, function, ['body', ('after', True)], 1)

    @needs_masks
    def test_masks_on_stack(self):
        self.check(nointerrupts(), self.on_stack, ['body'], 1)

    @needs_masks
    def test_exception_in_the_body(self):
        self.check(nointerrupts, self.with_failure, ['body'], 1)

    def test_opens_open_code(self):
        for make in OPENING.values():
            self.check(make(), self.in_open_code, [], 1)

    @needs_masks
    def test_opens_scope(self):
        self.check(interrupts, self.in_scope, ['raised', ('after', True)])

    @needs_masks
    def test_opens_own_finally(self):
        self.check(interrupts(), self.in_own_finally,
                   ['raised', ('after', True)])

    @needs_masks
    def test_opens_own_finally_on_stack(self):
        self.check(interrupts, self.on_stack_in_own_finally,
                   ['raised', ('after', True)])

    def test_opens_callers_scope(self):
        self.check(interrupts, self.in_callers_scope, [], 1)

    @needs_masks
    def test_does_not_open_callers_finally(self):
        self.check(interrupts, self.in_callers_finally,
                   ['body', ('after', True)], 1)

    @needs_masks
    def test_raised_on_entry(self):
        # If it suspends, what waits is raised in the driver.
        self.check(interrupts, self.raised_on_entry,
                   [(1,), 'masked again'], 2, suspending=False)

    def raised_on_entry(self, manager):
        with nointerrupts:
            interrupt()
            try:
                with manager:
                    self.log.append('missed')
            except Interrupt as exc:
                self.log.append(exc.args)
            self.step('masked again')

    @needs_masks
    def test_raised_on_entry_in_own_finally(self):
        # Not before the scope has been handed over.
        for function in (self.raised_on_entry_in_own_finally,
                         self.raised_on_entry_on_stack_in_own_finally):
            self.check(interrupts, function,
                       ['waits', (1,), ('after', True), 'masked again'], 2,
                       suspending=False)

    def raised_on_entry_in_own_finally(self, manager):
        try:
            pass
        finally:
            self.step('waits')
            try:
                with manager:
                    self.log.append('missed')
            except Interrupt as exc:
                self.log.append(exc.args)
            self.note('after')
            self.step('masked again')

    def raised_on_entry_on_stack_in_own_finally(self, manager):
        try:
            pass
        finally:
            self.step('waits')
            try:
                with contextlib.ExitStack() as stack:
                    stack.enter_context(manager)
                    check_point()
                    self.log.append('missed')
            except Interrupt as exc:
                self.log.append(exc.args)
            self.note('after')
            self.step('masked again')

    def in_each_other(self, outer, middle, inner):
        with outer:
            self.note(1)
            with middle:
                self.note(2)
                with inner:
                    self.note(3)
                self.note(2)
            self.note(1)

    @needs_masks
    def test_in_each_other(self):
        state = {nointerrupts: True, interrupts: False}
        scopes = [scope for scope in itertools.product(state, repeat=3)
                  if nointerrupts in scope]
        for managers in itertools.product(self.some_managers, repeat=3):
            for chosen in scopes:
                with self.subTest(managers=[m.__name__ for m in managers],
                                  scopes=chosen):
                    self.log.clear()
                    self.collect(self.in_each_other, *(
                        manager(scope)
                        for manager, scope in zip(managers, chosen)))
                    self.assertEqual(self.log, [
                        (level, state[chosen[level - 1]])
                        for level in (1, 2, 3, 2, 1)])
                    self.assertFalse(interrupts_masked())


class DecoratorTests(ScopeTestCase):
    """Managers of contextlib that decorate a function."""

    @needs_masks
    def test_masks(self):
        @by_contextmanager(nointerrupts)
        def decorated():
            self.step('body')

        @by_asynccontextmanager_that_suspends(nointerrupts)
        async def async_decorated():
            self.step('body')
            await suspend()
            self.step('resumed')

        self.assertInterrupts(collect(decorated), 1)
        self.assertEqual(self.log, ['body'])
        self.assertRestored()
        self.log.clear()
        self.sent = 0
        coroutine = async_decorated()
        self.assertEqual(coroutine.send(None), 'entering')
        # Suspended, it masks nobody.
        self.assertInterrupts(collect(coroutine.send, None), 1)
        self.assertInterrupts(collect(coroutine.send, None), 2)
        self.assertEqual(self.log, ['body', 'resumed'])
        self.assertRestored()

    @needs_masks
    def test_opens(self):
        @by_contextmanager(interrupts)
        def decorated():
            self.step('body')

        def in_scope():
            with nointerrupts:
                try:
                    decorated()
                except Interrupt:
                    self.step('masked again')

        def in_finally():
            try:
                pass
            finally:
                decorated()
                self.log.append('after')

        self.assertInterrupts(collect(in_scope), 2)
        self.assertEqual(self.log, ['masked again'])
        self.log.clear()
        self.sent = 0
        # The finally body is one of a caller.
        self.assertInterrupts(collect(in_finally), 1)
        self.assertEqual(self.log, ['body', 'after'])
        self.assertRestored()


class AsyncManagerTests(ManagerTests):
    """The same with `async with`."""

    managers = ASYNC_MANAGERS
    managers_that_suspend = [by_asynccontextmanager_that_suspends,
                             by_async_class_that_suspends]
    some_managers = [by_asynccontextmanager, by_asynccontextmanager_and_stack,
                     by_async_class, by_async_class_suspended_while_entered]

    def collect(self, function, *args):
        def run():
            drive(function(*args))
        return collect(run)

    async def in_open_code(self, manager):
        async with manager:
            self.step('body')
        self.note('after')

    async def in_scope(self, manager):
        with nointerrupts:
            try:
                async with manager:
                    self.step('body')
            except Interrupt:
                self.log.append('raised')
            self.note('after')

    async def in_own_finally(self, manager):
        try:
            pass
        finally:
            try:
                async with manager:
                    self.step('body')
            except Interrupt:
                self.log.append('raised')
            self.note('after')

    async def in_callers_finally(self, manager):
        try:
            pass
        finally:
            await self.in_open_code(manager)

    async def in_callers_scope(self, manager):
        with nointerrupts:
            await self.in_open_code(manager)

    async def with_failure(self, manager):
        async with manager:
            self.step('body')
            raise Failure

    @needs_masks
    def test_interrupted_when_entered_on_stack(self):
        # The stack leaves what has been entered.
        @contextlib.asynccontextmanager
        async def opening():
            with interrupts:
                send_to_self(Failure)
                try:
                    yield
                finally:
                    self.log.append(interrupts_masked())

        async def function():
            with nointerrupts:
                async with contextlib.AsyncExitStack() as stack:
                    await stack.enter_async_context(opening())
                    self.log.append('missed')

        caught = self.collect(function)
        self.assertTypes(caught, Failure)
        self.assertEqual(self.log, [True])
        self.assertRestored()

    async def on_stack(self, manager):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(manager)
            self.step('body')

    async def on_stack_in_own_finally(self, manager):
        try:
            pass
        finally:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    await stack.enter_async_context(manager)
                    self.step('body')
            except Interrupt:
                self.log.append('raised')
            self.note('after')

    async def in_each_other(self, outer, middle, inner):
        async with outer:
            self.note(1)
            async with middle:
                self.note(2)
                await suspend()
                async with inner:
                    self.note(3)
                self.note(2)
            await suspend()
            self.note(1)

    async def raised_on_entry(self, manager):
        with nointerrupts:
            interrupt()
            try:
                async with manager:
                    self.log.append('missed')
            except Interrupt as exc:
                self.log.append(exc.args)
            self.step('masked again')

    async def raised_on_entry_in_own_finally(self, manager):
        try:
            pass
        finally:
            self.step('waits')
            try:
                async with manager:
                    self.log.append('missed')
            except Interrupt as exc:
                self.log.append(exc.args)
            self.note('after')
            self.step('masked again')

    async def raised_on_entry_on_stack_in_own_finally(self, manager):
        try:
            pass
        finally:
            self.step('waits')
            try:
                async with contextlib.AsyncExitStack() as stack:
                    await stack.enter_async_context(manager)
                    check_point()
                    self.log.append('missed')
            except Interrupt as exc:
                self.log.append(exc.args)
            self.note('after')
            self.step('masked again')

    @needs_masks
    def test_suspended_in_the_body(self):
        async def function(manager):
            async with manager:
                self.step('body')
                await suspend()
                self.step('resumed')

        for manager in (*self.managers, *self.managers_that_suspend,
                        by_async_class_suspended_while_entered):
            with self.subTest(manager=manager.__name__):
                self.log.clear()
                self.sent = 0
                coroutine = function(manager(nointerrupts))
                caught = []
                while inspect.getcoroutinestate(coroutine) != 'CORO_CLOSED':
                    # What waits is raised here when the coroutine suspends.
                    with Catch(caught):
                        coroutine.send(None)
                    self.assertFalse(interrupts_masked())
                self.assertEqual(self.log, ['body', 'resumed'])
                caught = [exc for exc in caught if type(exc) is Interrupt]
                self.assertInterrupts(caught, 1, 2)
                self.assertRestored()

    @needs_masks
    def test_sync_managers_in_coroutines(self):
        async def function(manager):
            with manager:
                self.step('body')
                await suspend()
                self.step('resumed')

        for manager in MANAGERS:
            with self.subTest(manager=manager.__name__):
                self.log.clear()
                self.sent = 0
                coroutine = function(manager(nointerrupts))
                self.assertInterrupts(collect(coroutine.send, None), 1)
                self.assertRestored()
                self.sent = 0
                self.assertInterrupts(collect(coroutine.send, None), 1)
                self.assertEqual(self.log, ['body', 'resumed'])
                self.assertRestored()


class StartStopTests(ScopeTestCase):
    """Classes that enter a scope in one method and leave it in another."""

    class Masker:

        def __init__(self, scope):
            self.scope = scope

        def start(self):
            self.scope.__enter__()

        def stop(self):
            leave(self.scope)

        async def async_start(self):
            await suspend('starting')
            self.scope.__enter__()

        async def async_stop(self):
            leave(self.scope)
            await suspend('stopping')

    def masker(self, scope):
        self.discard(scope)
        return self.Masker(scope)

    @needs_masks
    def test_masks(self):
        masker = self.masker(nointerrupts())

        def function():
            masker.start()
            self.step('masked')
            masker.stop()
            self.log.append('missed')

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(self.log, ['masked'])
        self.assertRestored()

    @needs_masks
    def test_masks_whoever_runs(self):
        # Until it is stopped: the function that has started it may end.
        masker = self.masker(nointerrupts())

        def start():
            masker.start()
            self.step('starter')

        def stop():
            self.step('stopper')
            masker.stop()
            self.log.append('missed')

        start()
        self.step('between')
        self.assertChain(collect(stop), 3, 2, 1)
        self.assertEqual(self.log, ['starter', 'between', 'stopper'])
        self.assertRestored()

    @needs_masks
    def test_opens_scopes(self):
        masker = self.masker(interrupts())

        def function():
            with nointerrupts:
                self.note('masked')
                masker.start()
                self.note('opened')
                masker.stop()
                self.note('masked again')

        function()
        self.assertEqual(self.log, [('masked', True), ('opened', False),
                                    ('masked again', True)])
        self.assertRestored()

    @needs_masks
    def test_opens_no_finally(self):
        # It belongs to the function that enters it, and that is a callee.
        masker = self.masker(interrupts())

        def function():
            try:
                pass
            finally:
                masker.start()
                self.step('masked')
                masker.stop()
                self.log.append('after')

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(self.log, ['masked', 'after'])
        self.assertRestored()

    @needs_masks
    def test_async(self):
        # A coroutine that ends hands the scope to the one that awaits it.
        masker = self.masker(nointerrupts())

        async def function():
            await masker.async_start()
            self.note('masked')
            await suspend('suspended')
            self.note('masked again')
            await masker.async_stop()
            self.note('stopped')

        coroutine = function()
        for value in 'starting', 'suspended', 'stopping':
            self.assertEqual(coroutine.send(None), value)
            self.note('driver')
        with self.assertRaises(StopIteration):
            coroutine.send(None)
        self.assertEqual(self.log, [
            ('driver', False), ('masked', True), ('driver', False),
            ('masked again', True), ('driver', False), ('stopped', False)])
        self.assertRestored()

    @needs_masks
    def test_async_opens(self):
        masker = self.masker(interrupts())

        async def in_scope():
            with nointerrupts:
                await masker.async_start()
                self.note('scope')
                await masker.async_stop()
                self.note('stopped')

        async def in_finally():
            try:
                pass
            finally:
                await masker.async_start()
                self.note('finally')
                await masker.async_stop()

        drive(in_scope())
        drive(in_finally())
        self.assertEqual(self.log, [('scope', False), ('stopped', True),
                                    ('finally', True)])
        self.assertRestored()

    @needs_masks
    def test_generators(self):
        # The one that runs the generator gets what this has left entered.
        masker = self.masker(nointerrupts())

        def start():
            yield 'starting'
            masker.start()

        def generator():
            yield from start()
            self.note('masked')
            yield 'suspended'
            self.note('masked again')
            masker.stop()
            self.note('stopped')

        for value in generator():
            self.note(value)
        self.assertEqual(self.log, [
            ('starting', False), ('masked', True), ('suspended', False),
            ('masked again', True), ('stopped', False)])
        self.assertRestored()


class ThreadTests(ScopeTestCase):
    """What starts anew starts unmasked."""

    # Each runs the function inside of something that masks.

    def scope(self, function):
        with nointerrupts:
            self.log.append(interrupts_masked())
            function()

    def soft_scope(self, function):
        with nointerrupts(interruptible_waits=True):
            self.log.append(interrupts_masked())
            function()

    def finally_body(self, function):
        try:
            pass
        finally:
            self.log.append(interrupts_masked())
            function()

    def exit(self, function):
        def exit():
            self.log.append(interrupts_masked())
            function()
        with Manager([], exit=exit):
            pass

    def enter(self, function):
        def enter():
            self.log.append(interrupts_masked())
            function()
        with Manager([], enter=enter):
            pass

    def entered_by_hand(self, function):
        scope = nointerrupts()
        scope.__enter__()
        self.log.append(interrupts_masked())
        function()
        leave(scope)

    def all(self, function):
        self.scope(lambda: self.exit(lambda: self.finally_body(function)))

    creators = scope, soft_scope, finally_body, exit, enter, entered_by_hand

    def work(self):
        """What an unmasked thread or process finds."""
        found = [interrupts_masked(), interrupts_pending()]
        try:
            send_to_self(Failure)
            check_point()
            found.append('masked')
        except Failure:
            found.append('open')
        with contextlib.suppress(Failure):
            with nointerrupts:
                send_to_self(Failure)
                found.append(interrupts_masked())
            found.append('missed')
        found.append(interrupts_masked())
        return found

    open_work = [False, False, 'open', True, False]

    def check(self, run):
        for creator in (*self.creators, ThreadTests.all):
            with self.subTest(creator=creator.__name__):
                found = []
                self.log.clear()
                creator(self, lambda: found.extend(run(self.work)))
                self.assertEqual(found, self.open_work)
                self.assertEqual(set(self.log), {True})
                self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_new_thread(self):
        def run(function):
            result = []
            thread = threading.Thread(target=lambda: result.extend(function()))
            thread.start()
            thread.join()
            return result

        self.check(run)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_new_low_level_thread(self):
        def run(function):
            result = []
            _thread.start_joinable_thread(
                lambda: result.extend(function())).join()
            return result

        self.check(run)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_new_pool(self):
        def run(function):
            # Leaving joins the worker, so it is not left to `with`: that would
            # be masked.
            pool = concurrent.futures.ThreadPoolExecutor(1)
            result = pool.submit(function).result()
            pool.shutdown()
            return result

        self.check(run)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_next_job_of_executor(self):
        scope = nointerrupts()

        def enter(*scopes):
            for scope in scopes:
                scope.__enter__()
            return interrupts_masked()

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            def submit(function, *args):
                return pool.submit(function, *args).result()

            self.assertTrue(submit(enter, scope))
            self.assertEqual(submit(self.work), self.open_work)
            # It is not there any more.
            self.assertNotEntered(submit, leave, scope)
            self.assertTrue(submit(enter, interrupts, nointerrupts, scope))
            self.assertEqual(submit(self.work), self.open_work)
            self.assertNotEntered(submit, leave, nointerrupts)
            self.assertNotEntered(submit, leave, interrupts)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_next_job_after_one_that_raised(self):
        def fail():
            nointerrupts.__enter__()
            self.log.append(interrupts_masked())
            raise Failure

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            self.assertIs(type(pool.submit(fail).exception()), Failure)
            self.assertEqual(pool.submit(self.work).result(), self.open_work)
        self.assertEqual(self.log, [True])

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_next_job_of_thread_pool(self):
        def enter():
            nointerrupts.__enter__()
            return interrupts_masked()

        with ThreadPool(1) as pool:
            self.assertTrue(pool.apply(enter))
            self.assertEqual(pool.apply(self.work), self.open_work)

    @support.requires_fork()
    @needs_masks
    def test_multiprocessing_child(self):
        context = multiprocessing.get_context('fork')

        def run(function):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(
                target=lambda: sender.send(function()))
            process.start()
            result = []
            if receiver.poll(support.LONG_TIMEOUT):
                result = receiver.recv()
            process.join()
            self.assertEqual(process.exitcode, 0)
            process.close()
            sender.close()
            receiver.close()
            return result

        self.check(run)

    @support.requires_fork()
    @needs_masks
    def test_nothing_waits_in_a_multiprocessing_child(self):
        context = multiprocessing.get_context('fork')

        def function():
            with nointerrupts:
                interrupt()
                send_to_self(Failure)
                self.log.append(interrupts_pending())
                process = context.Process(target=lambda: os._exit(
                    7 if interrupts_pending() else 42))
                process.start()
                process.join()
                self.log.append(process.exitcode)
                process.close()

        self.assertTypes(collect(function), Interrupt, Failure)
        self.assertEqual(self.log, [True, 42])

    @support.requires_fork()
    @needs_masks
    def test_multiprocessing_child_of_a_coroutine(self):
        # Its start() never returns there.
        context = multiprocessing.get_context('fork')

        def child():
            found = [interrupts_masked()]
            with nointerrupts:
                found.append(interrupts_masked())
                with contextlib.ExitStack() as stack:
                    stack.enter_context(interrupts)
                    found.append(interrupts_masked())
                found.append(interrupts_masked())
            found.append(interrupts_masked())
            os._exit(42 if found == [False, True, False, True, False] else 7)

        def start():
            process = context.Process(target=child)
            process.start()
            process.join()
            self.log.append(process.exitcode)
            process.close()

        async def coroutine():
            start()
            with nointerrupts:
                start()

        def generator():
            start()
            yield
            with nointerrupts:
                start()

        drive(coroutine())
        list(generator())
        self.assertEqual(self.log, [42] * 4)

    def in_child(self, function):
        """Fork here, where the caller is masked, and return what it finds."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, json.dumps(function()).encode())
            finally:
                os._exit(0)
        try:
            os.close(writer)
        finally:
            # Where the caller is masked softly, what waits would break these.
            with open(reader) as file:
                result = json.load(file)
            support.wait_process(pid, exitcode=0)
        return result

    @support.requires_fork()
    @needs_masks
    def test_forked_child_keeps_masks(self):
        def child():
            found = [interrupts_masked(), interrupts_pending()]
            # Its own signals wait, as its parent's do.
            interrupt()
            found += ['waits', interrupts_pending()]
            return found

        def function():
            interrupt()
            send_to_self(Failure)
            found.append(interrupts_pending())
            found.extend(self.in_child(child))

        for creator in self.creators:
            with self.subTest(creator=creator.__name__):
                found = []
                self.sent = 0
                caught = collect(creator, self, function)
                # While entering, the one is in flight when __exit__ ends.
                caught += [exc.__context__ for exc in caught
                           if exc.__context__ is not None]
                self.assertCountEqual(map(type, caught), [Interrupt, Failure])
                self.assertEqual(found, [True, True, False, 'waits', True])
                self.assertRestored()

    @support.requires_fork()
    @needs_masks
    def test_forked_child_leaves_scopes(self):
        def child():
            found = [interrupts_masked()]
            leave(inner)
            found.append(interrupts_masked())
            leave(outer)
            return [*found, interrupts_masked()]

        outer = nointerrupts()
        inner = interrupts()
        self.discard(outer, inner)
        outer.__enter__()
        inner.__enter__()
        self.assertEqual(self.in_child(child), [False, True, False])
        self.note('parent')
        leave(inner)
        self.note('parent')
        leave(outer)
        self.assertEqual(self.log, [('parent', False), ('parent', True)])


class SuspendedTests(ScopeTestCase):
    """What is suspended takes its scopes and regions along."""

    # Ways to be masked while suspended.

    def drop_generator(self, *args):
        """End with a generator that is closed as it goes."""
        def function():
            try:
                yield
            finally:
                with interrupts:
                    self.log.append(interrupts_masked())

        generator = function()
        next(generator)

    @needs_masks
    def test_dropped(self):
        # Wherever the function is called from.
        self.drop_generator()
        list(map(self.drop_generator, [None]))
        sorted([1], key=self.drop_generator)
        _thread.start_joinable_thread(self.drop_generator).join()
        self.assertEqual(self.log, [True] * 4)
        self.assertRestored()

    @needs_masks
    def test_dropped_in_scope_by_one_that_waits(self):
        # Not for the one that is dropped.
        def dropped():
            nointerrupts.__enter__()
            try:
                yield
            except GeneratorExit:
                self.log.append(interrupts_masked())
                return

        def waiting():
            generators = [dropped()]
            next(generators[0])
            # Empties the list when asked for an item.
            clear = iter(generators.clear, None)
            yield from clear
            self.log.append(interrupts_masked())

        list(waiting())
        self.assertEqual(self.log, [True, False])
        self.assertRestored()

    def by_scope(self):
        with nointerrupts:
            yield 'suspended'
            self.step('resumed')
            yield 'again'
            self.step('resumed again')

    def by_two_scopes(self):
        with nointerrupts, interrupts, nointerrupts:
            yield 'suspended'
            self.step('resumed')
            yield 'again'
            self.step('resumed again')

    def by_manager(self):
        with by_contextmanager(nointerrupts):
            yield 'suspended'
            self.step('resumed')
            yield 'again'
            self.step('resumed again')

    def by_hand(self):
        scope = nointerrupts()
        scope.__enter__()
        yield 'suspended'
        self.step('resumed')
        yield 'again'
        self.step('resumed again')
        leave(scope)

    def by_finally(self):
        try:
            pass
        finally:
            yield 'suspended'
            self.step('resumed')
            yield 'again'
            self.step('resumed again')

    def by_scope_in_opened_finally(self):
        try:
            pass
        finally:
            with interrupts:
                with nointerrupts:
                    yield 'suspended'
                    self.step('resumed')
                    yield 'again'
                    self.step('resumed again')

    def by_scope_of_the_outer(self):
        with nointerrupts:
            yield from self.inner()

    def by_finally_of_the_outer(self):
        try:
            pass
        finally:
            yield from self.inner()

    def by_manager_of_the_outer(self):
        with by_contextmanager(nointerrupts):
            yield from self.inner()

    def inner(self):
        yield 'suspended'
        self.step('resumed')
        yield 'again'
        self.step('resumed again')

    generators = (by_scope, by_two_scopes, by_manager, by_hand, by_finally,
                  by_scope_in_opened_finally, by_scope_of_the_outer,
                  by_finally_of_the_outer, by_manager_of_the_outer)

    # Ways to run one to its next suspension.

    def as_generator(self, function):
        return function(self).__next__

    def as_delegate(self, function):
        def delegate():
            yield from function(self)
        return delegate().__next__

    def as_for_loop(self, function):
        def loop():
            for value in function(self):
                yield value
        return loop().__next__

    def as_coroutine(self, function):
        class Await:
            def __await__(awaitable):
                return function(self)

        async def coroutine():
            await Await()

        async def outer():
            await coroutine()

        return functools.partial(outer().send, None)

    def as_async_generator(self, function):
        class Await:
            def __await__(awaitable):
                return function(self)

        async def generator():
            yield 'first'
            await Await()

        async def outer():
            async for _ in generator():
                pass

        return functools.partial(outer().send, None)

    ways = (as_generator, as_delegate, as_for_loop, as_coroutine,
            as_async_generator)

    def each(self, without=()):
        for function, way in itertools.product(self.generators, self.ways):
            if function.__name__ not in without:
                yield ({'generator': function.__name__, 'way': way.__name__},
                       way(self, function))

    @needs_masks
    def test_masks_nobody_meanwhile(self):
        for labels, resume in self.each():
            with self.subTest(**labels):
                self.log.clear()
                self.assertEqual(resume(), 'suspended')
                self.assertRestored()
                self.sent = 0
                # What waited is raised here when it suspends again.
                self.assertInterrupts(collect(resume), 1)
                self.assertEqual(self.log, ['resumed'])
                self.assertRestored()
                self.sent = 0
                self.assertInterrupts(collect(resume), 1)
                self.assertEqual(self.log, ['resumed', 'resumed again'])
                self.assertRestored()

    @needs_masks
    def test_who_resumes_keeps_its_own_state(self):
        def in_scope(resume):
            with nointerrupts:
                self.step(resume())
                with interrupts:
                    self.note('opened')
                with contextlib.suppress(StopIteration):
                    resume()
                    self.step('again')
                    resume()
                self.step('ended')

        def in_finally(resume):
            try:
                pass
            finally:
                self.step(resume())
                with interrupts:
                    self.note('opened')
                with contextlib.suppress(StopIteration):
                    resume()
                    self.step('again')
                    resume()
                self.step('ended')

        for function in in_scope, in_finally:
            for labels, resume in self.each():
                with self.subTest(function=function.__name__, **labels):
                    self.log.clear()
                    self.sent = 0
                    caught = collect(function, resume)
                    self.assertEqual(self.log, ['suspended'])
                    # Raised at once where all is opened.
                    self.assertInterrupts(caught, 1)
                    self.assertRestored()

    @needs_masks
    def test_who_resumes_stays_masked(self):
        def in_scope(resume):
            with nointerrupts:
                with contextlib.suppress(StopIteration):
                    while True:
                        self.step(resume())
                self.step('ended')

        def in_finally(resume):
            try:
                pass
            finally:
                with contextlib.suppress(StopIteration):
                    while True:
                        self.step(resume())
                self.step('ended')

        # Where these open, they open the scope that they were resumed in.
        opening = 'by_two_scopes', 'by_scope_in_opened_finally'
        for function, without in (in_scope, opening), (in_finally, ()):
            for labels, resume in self.each(without):
                with self.subTest(function=function.__name__, **labels):
                    self.log.clear()
                    self.sent = 0
                    caught = collect(function, resume)
                    self.assertEqual(self.log, [
                        'suspended', 'resumed', 'again', 'resumed again',
                        'ended'])
                    self.assertChain(caught, 5, 4, 3, 2, 1)
                    self.assertRestored()

    @needs_masks
    def test_opened_by_who_is_suspended(self):
        # The scope that opens is taken along, too.
        def generator():
            with interrupts:
                self.note('generator')
                yield
                self.note('generator')
            yield

        with nointerrupts:
            gen = generator()
            next(gen)
            self.note('driver')
            next(gen)
            self.note('driver')
            gen.close()
        self.assertEqual(self.log, [
            ('generator', False), ('driver', True),
            ('generator', False), ('driver', True)])
        self.assertRestored()

    @needs_masks
    def test_resumed_inside_of_other_scopes(self):
        # The innermost entered last decides, and that is the generator's.
        def masking():
            with nointerrupts:
                while True:
                    self.note('generator')
                    yield

        def opening():
            with interrupts:
                while True:
                    self.note('generator')
                    yield

        for generator, masked in (masking, True), (opening, False):
            with self.subTest(generator=generator.__name__):
                self.log.clear()
                gen = generator()
                next(gen)
                with nointerrupts:
                    next(gen)
                with interrupts:
                    next(gen)
                with nointerrupts, interrupts:
                    next(gen)
                self.assertEqual(self.log, [('generator', masked)] * 4)
                gen.close()
                self.assertRestored()
    test_resumed_inside_of_other_scopes.some_subtests_pass = True

    @needs_masks
    def test_two_that_are_interleaved(self):
        first = self.by_scope()
        second = self.by_scope()
        for gen in first, second:
            self.assertEqual(next(gen), 'suspended')
        self.assertRestored()
        for number, gen in enumerate((second, first, first, second), 1):
            self.sent = 0
            self.assertInterrupts(collect(next, gen), 1)
            self.assertEqual(len(self.log), number)
            self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_resumed_in_another_thread(self):
        def generator():
            with nointerrupts, interrupts, nointerrupts:
                self.note('first thread')
                yield
                self.note('second thread')
                send_to_self(Failure)
                self.log.append('waits')
                yield
                self.note('first thread again')

        def run():
            self.note('before')
            try:
                next(gen)
                check_point()
                self.log.append('missed')
            except Failure:
                self.note('raised')

        gen = generator()
        next(gen)
        self.note('between')
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.note('between')
        self.assertIsNone(next(gen, None))
        self.note('after')
        self.assertEqual(self.log, [
            ('first thread', True), ('between', False), ('before', False),
            ('second thread', True), 'waits', ('raised', False),
            ('between', False), ('first thread again', True),
            ('after', False)])
        self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_resumed_in_another_thread_after_the_first_has_ended(self):
        def generator():
            with nointerrupts:
                yield
                self.step('resumed')

        gen = generator()
        thread = threading.Thread(target=next, args=[gen])
        thread.start()
        thread.join()
        self.assertInterrupts(collect(next, gen), 1)
        self.assertEqual(self.log, ['resumed'])
        self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_resumed_in_a_thread_at_the_address_of_the_first(self):
        # The generator has left and entered regions where nobody told the scope.
        def generator(scope):
            try:
                pass
            finally:
                try:
                    pass
                finally:
                    scope.__enter__()
                    self.note('first thread')
                    yield
                self.note('left')
                try:
                    pass
                finally:
                    yield
                    self.note('second thread')
                    yield

        def run():
            thread = threading.Thread(target=next, args=[gen])
            thread.start()
            thread.join()

        # Often the second is where the first was: without a GIL always.
        for i in range(10):
            del self.log[:]
            gen = generator(interrupts())
            run()
            next(gen)
            run()
            self.assertEqual(self.log, [('first thread', False), ('left', True),
                                        ('second thread', True)])
            gen.close()
        self.assertRestored()

    # -- ended early

    def clean_up(self):
        self.note('cleanup')

    def suspended_in_scope(self):
        with nointerrupts:
            try:
                yield
            except BaseException:
                self.clean_up()
                raise

    def suspended_in_opened_scope(self):
        with nointerrupts, interrupts:
            try:
                yield
            finally:
                self.clean_up()

    def suspended_in_finally(self):
        try:
            pass
        finally:
            try:
                yield
            except BaseException:
                self.clean_up()
                raise

    def suspended_in_inner(self):
        def inner():
            try:
                yield
            except BaseException:
                self.clean_up()
                raise
        with nointerrupts:
            yield from inner()

    def suspended_in_inner_of_finally(self):
        def inner():
            try:
                yield
            except BaseException:
                self.clean_up()
                raise
        try:
            pass
        finally:
            yield from inner()

    def suspended_in_inner_of_inner(self):
        with nointerrupts:
            yield from self.suspended_in_plain_generator()

    def suspended_in_plain_generator(self):
        yield from self.suspended_in_plain_generator_itself()

    def suspended_in_plain_generator_itself(self):
        try:
            yield
        except BaseException:
            self.clean_up()
            raise

    def suspended_in_iterator(self):
        with nointerrupts:
            yield from self.iterator()

    def suspended_in_iterator_of_finally(self):
        try:
            pass
        finally:
            yield from self.iterator()

    def iterator(self):
        test = self

        class Iterator:
            def __iter__(self):
                return self

            def __next__(self):
                return None

            def close(self):
                test.clean_up()

            def throw(self, *args):
                test.clean_up()
                raise args[0]

        return Iterator()

    enders = (suspended_in_scope, suspended_in_opened_scope,
              suspended_in_finally, suspended_in_inner,
              suspended_in_inner_of_finally, suspended_in_inner_of_inner,
              suspended_in_iterator, suspended_in_iterator_of_finally)

    def end(self, how):
        for function in self.enders:
            with self.subTest(generator=function.__name__):
                self.log.clear()
                gen = function(self)
                next(gen)
                self.assertRestored()
                cell = [gen]
                del gen
                how(cell)
                self.assertEqual(self.log, [('cleanup', True)])
                self.assertRestored()

    def close(self, cell):
        cell[0].close()

    def throw(self, cell):
        with self.assertRaises(Failure):
            cell[0].throw(Failure)

    def throw_instance(self, cell):
        with self.assertRaises(Failure):
            cell[0].throw(Failure('instance'))

    def delete(self, cell):
        cell.clear()
        support.gc_collect()

    def delete_cycle(self, cell):
        cycle = [cell.pop()]
        cycle.append(cycle)
        del cycle
        support.gc_collect()

    @needs_masks
    def test_close(self):
        self.end(self.close)

    @needs_masks
    def test_throw(self):
        self.end(self.throw)
        self.end(self.throw_instance)

    @needs_masks
    def test_deleted(self):
        self.end(self.delete)

    @needs_masks
    def test_collected(self):
        self.end(self.delete_cycle)

    def test_collected_in_any_order(self):
        # That of the context manager may be finalized before the one that uses it.
        def generator(manager):
            with manager:
                yield
                self.fail('it goes on')

        def drop(*made):
            gen = generator(made[0])
            next(gen)
            made[-1].append([gen, made])

        for manager in MANAGERS:
            with (self.subTest(manager=manager.__name__),
                  support.catch_unraisable_exception() as unraisable):
                # Made first, finalized first, with a GIL.
                drop(manager(nointerrupts), [])
                support.gc_collect()
                self.assertIsNone(unraisable.unraisable)
                self.assertRestored()

    @needs_masks
    def test_ended_in_masked_code(self):
        # It leaves its own scopes only.
        for how in self.close, self.throw, self.delete, self.delete_cycle:
            def in_scope(cell):
                with nointerrupts:
                    how(cell)
                    self.step('ended')

            def in_finally(cell):
                try:
                    pass
                finally:
                    how(cell)
                    self.step('ended')

            for mask in in_scope, in_finally:
                for function in self.enders:
                    with self.subTest(generator=function.__name__,
                                      how=how.__name__, mask=mask.__name__):
                        self.log.clear()
                        self.sent = 0
                        cell = [function(self)]
                        next(cell[0])
                        caught = collect(mask, cell)
                        self.assertEqual(
                            self.log, [('cleanup', True), 'ended'])
                        self.assertInterrupts(caught, 1)
                        self.assertRestored()

    @needs_masks
    def test_interrupted_while_it_ends(self):
        # Raised in who has called close() or throw(), where all is open.
        def clean_up():
            self.step('first')
            self.step('second')

        self.clean_up = clean_up
        for name in 'close', 'throw':
            for function in self.enders:
                with self.subTest(generator=function.__name__, how=name):
                    self.log.clear()
                    self.sent = 0
                    gen = function(self)
                    next(gen)
                    args = [] if name == 'close' else [Failure]
                    caught = collect(getattr(gen, name), *args)
                    self.assertEqual(self.log, ['first', 'second'])
                    caught = [exc for exc in caught
                              if type(exc) is not Failure]
                    self.assertChainStarts(caught, 2, 1)
                    self.assertRestored()

    def assertChainStarts(self, caught, *numbers):
        self.assertEqual(len(caught), 1, caught)
        chain = []
        exc = caught[0]
        while type(exc) is Interrupt:
            chain.append(exc)
            exc = exc.__context__
        self.assertInterrupts(chain, *numbers)

    @needs_masks
    def test_exception_of_the_generator(self):
        def generator():
            with nointerrupts:
                yield
                self.step('resumed')
                raise Failure

        gen = generator()
        next(gen)
        caught = collect(next, gen)
        self.assertEqual(self.log, ['resumed'])
        self.assertInterrupts(caught, 1)
        self.assertIs(type(caught[0].__context__), Failure)
        self.assertRestored()

    @needs_masks
    def test_throw_that_is_caught(self):
        def generator():
            with nointerrupts:
                try:
                    yield
                except Failure:
                    self.step('caught')
                yield 'suspended'
                self.step('resumed')

        def delegate():
            yield from generator()

        def coroutine_like():
            with nointerrupts:
                yield from delegate()

        for function in generator, delegate, coroutine_like:
            with self.subTest(function=function.__name__):
                self.log.clear()
                self.sent = 0
                gen = function()
                next(gen)
                # It is suspended again: what waited is raised here.
                self.assertInterrupts(collect(gen.throw, Failure), 1)
                self.assertEqual(self.log, ['caught'])
                self.assertRestored()
                self.sent = 0
                self.assertInterrupts(collect(next, gen), 1)
                self.assertEqual(self.log, ['caught', 'resumed'])
                self.assertRestored()

    def test_never_started(self):
        for how in self.close, self.delete, self.delete_cycle:
            how([self.suspended_in_scope()])
            self.assertRestored()
        self.assertEqual(self.log, [])

    def test_scope_that_is_never_left(self):
        # Who ends a generator, or happens to run when it is collected, keeps
        # its own state.
        def generator():
            scope.__enter__()
            try:
                yield
            finally:
                self.log.append('finally')

        scope = nointerrupts()
        self.discard(scope)
        for how in self.close, self.throw, self.delete, self.delete_cycle:
            with self.subTest(how=how.__name__):
                self.log.clear()
                cell = [generator()]
                next(cell[0])
                how(cell)
                self.assertEqual(self.log, ['finally'])
                masked = interrupts_masked()
                with contextlib.suppress(RuntimeError):
                    leave(scope)
                self.assertFalse(masked)
                self.assertRestored()

    # -- coroutines and asynchronous generators

    @needs_masks
    def test_coroutine_closed_and_thrown_into(self):
        async def inner():
            try:
                await suspend()
            except BaseException:
                self.note('cleanup')
                raise

        async def in_scope():
            with nointerrupts:
                await inner()

        async def in_finally():
            try:
                pass
            finally:
                await inner()

        async def in_enter():
            class Entering:
                async def __aenter__(self):
                    await inner()

                async def __aexit__(self, *args):
                    pass

            async with Entering():
                pass

        async def in_exit():
            class Leaving:
                async def __aenter__(self):
                    pass

                async def __aexit__(self, *args):
                    await inner()

            async with Leaving():
                pass

        for function in in_scope, in_finally, in_enter, in_exit:
            for how in self.close, self.throw, self.delete, self.delete_cycle:
                with self.subTest(function=function.__name__,
                                  how=how.__name__):
                    self.log.clear()
                    cell = [function()]
                    cell[0].send(None)
                    self.assertRestored()
                    how(cell)
                    self.assertEqual(self.log, [('cleanup', True)])
                    self.assertRestored()

    @needs_masks
    def test_async_generator(self):
        async def generator():
            with nointerrupts:
                self.note('generator')
                yield 1
                self.note('generator')
                await suspend('awaiting')
                self.note('generator')
                yield 2
                self.note('generator')

        async def main():
            async for value in generator():
                self.note(value)

        coroutine = main()
        self.assertEqual(coroutine.send(None), 'awaiting')
        self.note('driver')
        self.assertRaises(StopIteration, coroutine.send, None)
        self.assertEqual(self.log, [
            ('generator', True), (1, False), ('generator', True),
            ('driver', False), ('generator', True), (2, False),
            ('generator', True)])
        self.assertRestored()

    @needs_masks
    def test_async_generator_closed_and_thrown_into(self):
        async def in_scope():
            with nointerrupts:
                try:
                    yield
                except BaseException:
                    await suspend()
                    self.note('cleanup')
                    raise

        async def in_finally():
            try:
                yield
            finally:
                await suspend()
                self.note('cleanup')

        async def close(agen):
            await agen.aclose()

        async def throw(agen):
            await agen.athrow(Failure)

        for function in in_scope, in_finally:
            for how in close, throw:
                with self.subTest(function=function.__name__,
                                  how=how.__name__):
                    self.log.clear()
                    agen = function()
                    drive(agen.asend(None))
                    self.assertRestored()
                    coroutine = how(agen)
                    coroutine.send(None)
                    self.assertRestored()
                    with self.assertRaises((StopIteration, Failure)):
                        coroutine.send(None)
                    self.assertEqual(self.log, [('cleanup', True)])
                    self.assertRestored()

    @needs_masks
    def test_scopes_around_an_await_chain(self):
        # The innermost coroutine runs inside of all of them.
        async def inner():
            self.note('inner')
            await suspend()
            self.note('inner')
            with interrupts:
                await suspend()
                self.note('opened')
            self.note('inner')

        async def middle():
            with interrupts:
                self.note('middle')
                with nointerrupts:
                    await inner()
                self.note('middle')

        async def outer():
            with nointerrupts:
                self.note('outer')
                await middle()
                self.note('outer')

        coroutine = outer()
        for _ in range(2):
            coroutine.send(None)
            self.note('driver')
        self.assertRaises(StopIteration, coroutine.send, None)
        self.assertEqual(self.log, [
            ('outer', True), ('middle', False), ('inner', True),
            ('driver', False), ('inner', True), ('driver', False),
            ('opened', False), ('inner', True), ('middle', False),
            ('outer', True)])
        self.assertRestored()

    @unittest.skipUnless(greenlet, 'needs greenlet')
    @needs_masks
    def test_greenlets(self):
        def by_scope():
            with nointerrupts:
                main.switch()
                self.note('resumed')

        def by_finally():
            try:
                pass
            finally:
                main.switch()
                self.note('resumed')

        def in_generator():
            def generator():
                with nointerrupts:
                    main.switch()
                    self.note('resumed')
                    yield
            list(generator())

        main = greenlet.getcurrent()
        for function in by_scope, by_finally, in_generator:
            with self.subTest(function=function.__name__):
                self.log.clear()
                child = greenlet.greenlet(function)
                child.switch()
                self.assertRestored()
                child.switch()
                self.assertEqual(self.log, [('resumed', True)])
                self.assertTrue(child.dead)
                self.assertRestored()
                # One that is started in masked code is not masked by it.
                with nointerrupts:
                    greenlet.greenlet(self.note).switch('started')
                    self.note('starter')
                self.assertEqual(
                    self.log[1:], [('started', False), ('starter', True)])


class TaskTests(ScopeTestCase):
    """Tasks of asyncio: each has its own scopes."""

    def run_tasks(self, *functions):
        async def main():
            async with asyncio.TaskGroup() as group:
                for function in functions:
                    group.create_task(function())

        asyncio.run(main())

    @needs_masks
    def test_other_task_is_open(self):
        async def by_scope():
            with nointerrupts:
                self.note('masked')
                ready.set()
                await done.wait()
                self.note('masked again')
            self.note('left')

        async def by_finally():
            try:
                pass
            finally:
                self.note('masked')
                ready.set()
                await done.wait()
                self.note('masked again')
            self.note('left')

        async def other():
            await ready.wait()
            self.note('other')
            try:
                interrupt()
                self.log.append('missed')
            except Interrupt:
                self.log.append('raised')
            # Its own scope does not outlast a switch either.
            with nointerrupts:
                await asyncio.sleep(0)
                self.note('other masked')
            done.set()

        for holder in by_scope, by_finally:
            with self.subTest(holder=holder.__name__):
                self.log.clear()
                ready = asyncio.Event()
                done = asyncio.Event()
                self.run_tasks(holder, other)
                self.assertEqual(self.log, [
                    ('masked', True), ('other', False), 'raised',
                    ('other masked', True), ('masked again', True),
                    ('left', False)])
                self.assertRestored()

    @needs_masks
    def test_raised_when_the_scope_is_left(self):
        async def task():
            try:
                with nointerrupts:
                    await asyncio.sleep(0)
                    self.step('masked')
                self.log.append('missed')
            except Interrupt as exc:
                self.log.append(exc.args)

        self.run_tasks(task, lambda: asyncio.sleep(0))
        self.assertEqual(self.log, ['masked', (1,)])
        self.assertRestored()

    @needs_masks
    def test_many_tasks(self):
        # Masked and open ones take turns.
        async def masked():
            with nointerrupts:
                for _ in range(10):
                    self.log.append(interrupts_masked() is True)
                    await asyncio.sleep(0)

        async def opened():
            with nointerrupts, interrupts:
                for _ in range(10):
                    self.log.append(interrupts_masked() is False)
                    await asyncio.sleep(0)

        async def unmasked():
            for _ in range(10):
                self.log.append(interrupts_masked() is False)
                await asyncio.sleep(0)

        self.run_tasks(*[masked, opened, unmasked] * 10)
        self.assertEqual(self.log, [True] * 300)
        self.assertRestored()

    @needs_masks
    def test_new_task_is_open(self):
        async def child():
            self.note('child')

        async def by_scope():
            with nointerrupts:
                await asyncio.create_task(child())
                self.note('creator')

        async def by_finally():
            try:
                pass
            finally:
                await asyncio.create_task(child())
                self.note('creator')

        async def by_gather():
            with nointerrupts:
                await asyncio.gather(child())
                self.note('creator')

        for function in by_scope, by_finally, by_gather:
            with self.subTest(function=function.__name__):
                self.log.clear()
                asyncio.run(function())
                self.assertEqual(self.log, [('child', False),
                                            ('creator', True)])

    @needs_masks
    def test_ended_task_drops_its_scopes(self):
        scope = nointerrupts()
        self.discard(scope)

        async def callee():
            scope.__enter__()

        async def leaves_it_entered():
            await callee()
            self.note('task')

        async def raises():
            scope.__enter__()
            self.note('task')
            raise Failure

        async def suspends():
            scope.__enter__()
            await asyncio.sleep(0)
            self.note('task')

        async def main(function):
            task = asyncio.create_task(function())
            await asyncio.wait([task])
            task.exception()
            self.note('awaiting')
            self.assertNotEntered(leave, scope)
            await asyncio.sleep(0)
            self.note('awaiting')

        for function in leaves_it_entered, raises, suspends:
            with self.subTest(function=function.__name__):
                self.log.clear()
                asyncio.run(main(function))
                self.note('after')
                self.assertEqual(self.log, [
                    ('task', True), ('awaiting', False), ('awaiting', False),
                    ('after', False)])
                self.assertNotEntered(leave, scope)

    @needs_masks
    def test_ended_eager_task_drops_its_scopes(self):
        # It runs on the stack of the task that creates it, but is not awaited.
        scope = nointerrupts()
        self.discard(scope)

        async def eager():
            scope.__enter__()
            self.note('eager')

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            task = asyncio.create_task(eager())
            self.assertTrue(task.done())
            self.note('creator')

        asyncio.run(main())
        self.assertEqual(self.log, [('eager', True), ('creator', False)])
        self.assertRestored()

    @needs_masks
    def test_event_loop_runs_inside_of_a_generator(self):
        # This one does not await the tasks either.
        scope = nointerrupts()
        self.discard(scope)

        async def main():
            scope.__enter__()
            await asyncio.sleep(0)
            self.note('task')

        def generator():
            asyncio.run(main())
            self.note('generator')
            yield

        list(generator())
        self.assertEqual(self.log, [('task', True), ('generator', False)])
        self.assertRestored()

    @needs_masks
    def test_cancelled_while_masked(self):
        # A cancellation is an ordinary exception: nothing holds it back.
        async def task():
            with nointerrupts:
                try:
                    await asyncio.sleep(support.LONG_TIMEOUT)
                except asyncio.CancelledError:
                    self.note('cancelled')
                    await asyncio.sleep(0)
                    self.note('cleanup')
                    raise

        async def main():
            cancelled = asyncio.create_task(task())
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            self.assertTrue(cancelled.cancelled())
            self.note('main')

        asyncio.run(main())
        self.assertEqual(self.log, [('cancelled', True), ('cleanup', True),
                                    ('main', False)])
        self.assertRestored()

    @needs_masks
    def test_event_loop_runs_inside_of_a_scope(self):
        # The stack the loop runs on is masked, and so are its tasks.
        async def task():
            self.step('task')
            await asyncio.sleep(0)
            with interrupts:
                self.note('opened')
            self.log.append('missed')

        def function():
            with nointerrupts:
                asyncio.run(main())

        async def main():
            self.note('main')
            with interrupts:
                self.note('opened')
            self.step('masked')

        caught = collect(function)
        self.assertEqual(self.log, [
            ('main', True), ('opened', False), 'masked'])
        self.assertInterrupts(caught, 1)
        self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_to_thread(self):
        async def main():
            with nointerrupts:
                self.log.append(await asyncio.to_thread(interrupts_masked))
                self.note('main')

        asyncio.run(main())
        self.assertEqual(self.log, [False, ('main', True)])

    @needs_masks
    def test_callbacks_are_open(self):
        async def main():
            loop = asyncio.get_running_loop()
            with nointerrupts:
                loop.call_soon(self.note, 'callback')
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                self.note('main')

        asyncio.run(main())
        self.assertEqual(self.log, [('callback', False), ('main', True)])


class JumpTests(ScopeTestCase):
    """A debugger that jumps out of a `with` skips its __exit__, as ever."""

    jump = test_interrupts.JumpTests.jump

    @needs_masks
    def test_scope_stays_entered(self):
        scope = nointerrupts()
        self.discard(scope)

        def function(log):
            with scope:
                log.append('body')
                log.append('skipped')
            log.append('after')
            self.step('masked')
            leave(scope)
            log.append('missed')

        self.assertInterrupts(self.jump(function, 3, 4, self.log), 1)
        self.assertEqual(self.log, ['body', 'after', 'masked'])
        self.assertRestored()

    @needs_masks
    def test_within_the_body(self):
        def function(log):
            with nointerrupts:
                log.append('body')
                log.append('skipped')
                self.step('masked')
            log.append('missed')

        self.assertInterrupts(self.jump(function, 3, 4, self.log), 1)
        self.assertEqual(self.log, ['body', 'masked'])
        self.assertRestored()

    @needs_masks
    def test_from_what_is_opened_into_the_finally_around(self):
        scope = interrupts()
        self.discard(scope)

        def function(log):
            try:
                log.append('try')
            finally:
                with scope:
                    log.append('opened')
                    log.append('skipped')
                leave(scope)
                self.step('finally')
            log.append('missed')

        self.assertInterrupts(self.jump(function, 6, 7, self.log), 1)
        self.assertEqual(self.log, ['try', 'opened', 'finally'])
        self.assertRestored()


class TracedTests(ScopeTestCase):

    @needs_masks
    def test_traced_and_profiled(self):
        def function():
            with nointerrupts:
                self.step('masked')
                try:
                    with interrupts:
                        self.log.append('missed')
                except Interrupt:
                    self.log.append('raised')
                self.step('masked again')

        def trace(frame, event, arg):
            return trace

        for name in 'settrace', 'setprofile':
            with self.subTest(name):
                self.log.clear()
                self.sent = 0
                old = getattr(sys, name.replace('set', 'get'))()
                self.addCleanup(getattr(sys, name), old)
                getattr(sys, name)(trace)
                caught = collect(function)
                getattr(sys, name)(old)
                self.assertEqual(self.log,
                                 ['masked', 'raised', 'masked again'])
                self.assertInterrupts(caught, 2)
                self.assertRestored()


class SwitchTests(unittest.TestCase):

    script = textwrap.dedent('''
        import signal
        from threading import *

        class Interrupt(Exception):
            pass

        def handler(signum, frame):
            raise Interrupt

        def attempt(function):
            try:
                function()
                print('nothing')
            except (Interrupt, RuntimeError) as exc:
                print(type(exc).__name__)

        def scope():
            with nointerrupts:
                print(interrupts_masked(), interrupts_pending())
                signal.raise_signal(signal.SIGUSR1)
                print(interrupts_masked(), interrupts_pending())

        def opened():
            with nointerrupts, interrupts, nointerrupts:
                signal.raise_signal(signal.SIGUSR1)
                print('masked')

        def regions():
            try:
                pass
            finally:
                print(interrupts_masked(), interrupts_pending())

        def left():
            nointerrupts.__exit__(None, None, None)

        def left_twice():
            with interrupts:
                interrupts.__exit__(None, None, None)

        signal.signal(signal.SIGUSR1, handler)
        for function in scope, opened, regions, left, left_twice:
            attempt(function)
        print(interrupts_masked(), interrupts_pending())
    ''')

    def run_script(self, value):
        result = script_helper.assert_python_ok(
            '-X', f'interrupt_masks={value}', '-c', self.script)
        return result.out.decode().splitlines()

    def test_on(self):
        self.assertEqual(self.run_script('1'), [
            'True False', 'True True', 'Interrupt', 'masked', 'Interrupt',
            'True False', 'nothing', 'RuntimeError', 'RuntimeError',
            'False False'])

    def test_off(self):
        self.assertEqual(self.run_script('0'), [
            'False False', 'Interrupt', 'Interrupt', 'False False', 'nothing',
            'RuntimeError', 'RuntimeError', 'False False'])


class ModuleTests(ScopeTestCase):

    @needs_masks
    def test_imported_again(self):
        old = sys.modules.pop('_interrupts')
        try:
            new = importlib.import_module('_interrupts')
        finally:
            sys.modules['_interrupts'] = old
        self.assertIsNot(new, old)
        for name in dir(old):
            self.assertTrue(hasattr(new, name), name)
        # The threading module of the new one.
        names = [name for name, value in vars(old).items()
                 if value is nointerrupts or value is interrupts]
        self.assertEqual(len(names), 2)
        masking, opening = (
            getattr(new, next(name for name, value in vars(old).items()
                              if value is scope))
            for scope in (nointerrupts, interrupts))
        self.assertIsNot(masking, nointerrupts)

        def function():
            with masking:
                self.step('masked')
                try:
                    with interrupts:
                        self.log.append('missed')
                except Interrupt:
                    self.log.append('raised by the old one')
                with nointerrupts, opening:
                    self.note('opened by the new one')
                self.step('masked again')

        self.assertInterrupts(collect(function), 2)
        self.assertEqual(self.log, [
            'masked', 'raised by the old one',
            ('opened by the new one', False), 'masked again'])
        self.assertRestored()

    def test_new_module_is_freed(self):
        # And so are its types.  In a process of its own: without a GIL, types are
        # immortal once there are threads.
        script_helper.assert_python_ok('-c', '''if True:
            import gc, importlib, sys, weakref
            import _interrupts
            old = sys.modules.pop('_interrupts')
            new = importlib.import_module('_interrupts')
            references = [weakref.ref(new)]
            references += [
                weakref.ref(value) for name, value in vars(new).items()
                if isinstance(value, type) and not name.startswith('_')]
            sys.modules['_interrupts'] = old
            assert len(references) > 1
            del new
            gc.collect()
            alive = [ref() for ref in references if ref() is not None]
            assert alive == [], alive
        ''')


class SubinterpreterTests(ScopeTestCase):

    script = textwrap.dedent('''
        import _interrupts
        import threading
        from threading import (
            interrupts, interrupts_masked, interrupts_pending, nointerrupts)

        class Interrupt(BaseException):
            pass

        def check(condition):
            if not condition:
                raise AssertionError

        def send():
            check(_interrupts.send(threading.get_ident(), Interrupt))

        def run():
            check(not interrupts_masked())
            check(not interrupts_pending())
            state = 'before'
            try:
                with nointerrupts:
                    send()
                    check(interrupts_masked())
                    check(interrupts_pending())
                    state = 'masked'
                    with interrupts:
                        state = 'missed'
                    state = 'missed'
            except Interrupt:
                check(not interrupts_masked())
                state += ' raised'
            check(state == 'masked raised')
            try:
                send()
                state = 'missed'
            except Interrupt:
                state = 'raised'
            check(state == 'raised')
            try:
                nointerrupts.__exit__(None, None, None)
            except RuntimeError:
                state = 'error'
            check(state == 'error')

        errors = []

        def run_in_thread():
            try:
                run()
            except BaseException as exc:
                errors.append(exc)

        run()
        thread = threading.Thread(target=run_in_thread)
        thread.start()
        thread.join()
        check(not errors)
    ''')
    leave_entered = 'from threading import *; nointerrupts.__enter__()'

    def each_config(self):
        for name in 'isolated', 'legacy':
            interpreter = _interpreters.create(name)
            try:
                yield name, interpreter
            finally:
                _interpreters.destroy(interpreter)

    def execute(self, interpreter, script):
        error = _interpreters.exec(interpreter, script)
        self.assertIsNone(error, error and error.formatted)

    @needs_masks
    def test_works(self):
        for name, interpreter in self.each_config():
            with self.subTest(name):
                self.execute(interpreter, self.script)
                self.assertRestored()

    @needs_masks
    def test_nothing_crosses(self):
        for name, interpreter in self.each_config():
            with self.subTest(name):
                self.log.clear()
                with nointerrupts:
                    self.execute(interpreter, self.script)
                    self.note('creator')
                try:
                    pass
                finally:
                    self.execute(interpreter, self.script)
                    self.note('creator')
                self.assertEqual(self.log, [('creator', True)] * 2)
                self.assertRestored()

    def test_scope_that_is_left_entered(self):
        for name, interpreter in self.each_config():
            with self.subTest(name):
                self.execute(interpreter, self.leave_entered)
                self.assertRestored()
                self.assertNotEntered(leave, nointerrupts)
                self.execute(
                    interpreter,
                    'from threading import *\n'
                    'if interrupts_masked(): raise AssertionError')


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=80, others=20)


if __name__ == '__main__':
    interrupt_masks.main(InterruptTestCase)
