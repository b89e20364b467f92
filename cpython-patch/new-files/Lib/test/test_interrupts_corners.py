"""Where what waits could be raised too early, too late or never.

These are the places at which levels change without a TIT, or a call is cut
short that was not blocked.  The promises are those of test_interrupts.
"""

import os
import socket
import sys
import threading
import time
import unittest

from test import support
from test.support import interrupt_masks
from test.support.interrupt_masks import needs_masks
from test.test_interrupts import (
    Failure, Interrupt, InterruptTestCase, Manager, check_point, collect,
    interrupt)


class BeforeBlockingTests(InterruptTestCase):
    """In a soft region, what came before a call blocks does break it."""

    def entering(self, *functions):
        """Run a `with` whose __enter__ is interrupted, then calls these."""
        def enter():
            interrupt()
            self.log.append('waits')
            for function in functions:
                self.log.append(function())

        def function():
            with Manager(self.log, enter=enter):
                self.log.append('body')

        return collect(function)

    @needs_masks
    def test_lock_that_is_not_free(self):
        lock = threading.Lock()
        lock.acquire()
        caught = self.entering(
            lambda: lock.acquire(timeout=support.SHORT_TIMEOUT))
        self.assertInterrupts(caught, 1)
        self.assertEqual(self.log, ['enter', 'waits'])
        self.assertTrue(lock.locked())
        self.assertOpen()

    @needs_masks
    def test_free_lock_is_taken_without_looking(self):
        lock = threading.Lock()
        caught = self.entering(lock.acquire)
        self.assertInterrupts(caught, 1)
        self.assertEqual(self.log,
                         ['enter', 'waits', True, 'entered', 'exit Interrupt',
                          'exited'])
        self.assertTrue(lock.locked())

    @needs_masks
    def test_sleep(self):
        caught = self.entering(lambda: time.sleep(support.SHORT_TIMEOUT))
        self.assertInterrupts(caught, 1)
        self.assertEqual(self.log, ['enter', 'waits'])

    @needs_masks
    def test_calls_that_do_not_block(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        file = open(writer, 'wb')
        self.addCleanup(file.close)
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        caught = self.entering(
            lambda: time.sleep(0),
            lambda: file.write(b'x' * 100),
            file.flush,
            lambda: one.sendall(b'x'),
            lambda: os.write(writer, b'x'))
        self.assertInterrupts(caught, 1)
        self.assertEqual(self.log, ['enter', 'waits', None, 100, None, None, 1,
                                    'entered', 'exit Interrupt', 'exited'])

    @needs_masks
    def test_hard_region_does_not_look(self):
        lock = threading.Lock()
        lock.acquire()

        def function():
            try:
                pass
            finally:
                interrupt()
                self.log.append(lock.acquire(timeout=0.01))
                time.sleep(0.01)
                self.log.append('slept')

        self.assertInterrupts(collect(function), 1)
        self.assertEqual(self.log, [False, 'slept'])


# The next two are about what is lost, not about what is masked: with masks off
# they pass as well.


class SuspensionTests(InterruptTestCase):

    def test_throw_is_passed_on(self):
        # The outer generator is suspended again, without having run.
        def inner():
            while True:
                try:
                    yield
                except Failure:
                    interrupt()

        def outer():
            try:
                pass
            finally:
                yield from inner()

        def function(generator):
            generator.throw(Failure)
            self.log.append('suspended')
            check_point()
            self.log.append('missed')

        generator = outer()
        next(generator)
        self.assertInterrupts(collect(function, generator), 1)
        self.assertIn(self.log, ([], ['suspended']))
        self.assertOpen()

    def test_passed_on_by_coroutines(self):
        class Suspend:
            def __await__(self):
                yield

        async def inner():
            while True:
                try:
                    await Suspend()
                except Failure:
                    interrupt()

        async def outer():
            try:
                pass
            finally:
                await inner()

        def function(coroutine):
            coroutine.throw(Failure)
            check_point()
            self.log.append('missed')

        coroutine = outer()
        self.addCleanup(coroutine.close)
        coroutine.send(None)
        self.assertInterrupts(collect(function, coroutine), 1)
        self.assertEqual(self.log, [])


class ToolTests(InterruptTestCase):
    """An interrupt that arrives in a tool finds no level that will be left."""

    def once(self, code, wanted=None):
        """Return a function that is interrupted when it first sees `code`."""
        def tool(seen, event=None):
            if seen is code and event == wanted and 'tool' not in self.log:
                self.log.append('tool')
                interrupt()
        return tool

    def test_profiler_at_a_yield(self):
        def generator():
            try:
                pass
            finally:
                yield

        tool = self.once(generator.__code__, 'return')

        def function():
            next(iterator)
            sys.setprofile(None)
            check_point()
            self.log.append('missed')

        iterator = generator()
        old = sys.getprofile()
        self.addCleanup(sys.setprofile, old)
        sys.setprofile(lambda frame, event, arg: tool(frame.f_code, event))
        caught = collect(function)
        sys.setprofile(old)
        self.assertEqual(self.log, ['tool'])
        self.assertInterrupts(caught, 1)
        self.assertOpen()

    def test_monitor_of_handled_exceptions(self):
        monitoring = sys.monitoring
        event = monitoring.events.EXCEPTION_HANDLED
        tool_id = monitoring.PROFILER_ID

        def function():
            try:
                try:
                    pass
                finally:
                    raise Failure
            except Failure:
                check_point()
                self.log.append('missed')

        tool = self.once(function.__code__)
        monitoring.use_tool_id(tool_id, 'test_interrupts_corners')
        self.addCleanup(monitoring.free_tool_id, tool_id)
        monitoring.register_callback(
            tool_id, event, lambda code, offset, exc: tool(code))
        monitoring.set_events(tool_id, event)
        caught = collect(function)
        monitoring.set_events(tool_id, 0)
        self.assertEqual(self.log, ['tool'])
        self.assertInterrupts(caught, 1)
        self.assertOpen()


class ForkTests(InterruptTestCase):

    @needs_masks
    @support.requires_fork()
    def test_nothing_waits_in_the_child(self):
        def function():
            try:
                pass
            finally:
                interrupt()
                self.log.append('waits')
                pid = os.fork()
            check_point()
            return pid

        parent = os.getpid()
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        try:
            function()
            self.log.append('nothing')
        except Interrupt:
            self.log.append('interrupt')
        if os.getpid() != parent:
            os.write(writer, ' '.join(self.log).encode())
            os._exit(0)
        os.wait()
        self.assertEqual(os.read(reader, 100), b'waits nothing')
        self.assertEqual(self.log, ['waits', 'interrupt'])


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=5, others=3)


if __name__ == '__main__':
    interrupt_masks.main(InterruptTestCase)
