"""A result is not dropped on its way to what guards it, and nothing else goes deaf.

An interrupt that is there when a call returns is raised inside of the `try` or `with`
that follows, if nothing lies between.  test_interrupt_sweep shows that for the usual
ways to acquire something.  Here are the limits: what could have caught the interrupt
still does, and no code stops later than it would have.

The promises are written down in InternalDocs/interrupt_masking.md.
"""

import _interrupts
import _thread
import contextlib
import functools
import itertools
import signal
import sys
import threading
import unittest

from test import support
from test.support import interrupt_masks, script_helper
from test.support.interrupt_masks import needs_masks
from test.support.interrupt_sweep import Interrupt, sweep


def work():
    """A call: a check point."""


def call(function):
    """A call from Python, which returns what it has got."""
    return function()


class ValuesTestCase(unittest.TestCase):

    def setUp(self):
        # A call of a function in C that is interrupted before it returns.
        self.send = functools.partial(_interrupts.send, threading.get_ident(),
                                      Interrupt)


class CatchingTests(ValuesTestCase):
    """What could catch an interrupt still does."""

    def caught(self, function):
        with self.subTest(function.__name__):
            self.assertEqual(function(self.send), 'caught')

    def test_followed_by_return(self):
        def with_value(send):
            try:
                return send()
            except Interrupt:
                return 'caught'
        self.caught(with_value)

        def with_constant(send):
            try:
                send()
                return 'missed'
            except Interrupt:
                return 'caught'
        self.caught(with_constant)

        def with_condition(send):
            try:
                if send():
                    return 'missed'
            except Interrupt:
                return 'caught'
        self.caught(with_condition)

    def test_followed_by_something_that_guards(self):
        def by_try(send):
            try:
                send()
            except Interrupt:
                return 'caught'
            try:
                work()
            finally:
                pass
        self.caught(by_try)

        def by_with(send):
            try:
                send()
            except Interrupt:
                return 'caught'
            with threading.Lock():
                pass
        self.caught(by_with)

        def in_the_handler(send):
            try:
                try:
                    raise ValueError
                except ValueError:
                    send()
            except Interrupt:
                return 'caught'
            with threading.Lock():
                pass
        self.caught(in_the_handler)

    @needs_masks
    def test_around_what_guards(self):
        # It is raised a bit later, and caught all the same.
        kept = []

        def by_try(send):
            try:
                value = send()
                try:
                    work()
                finally:
                    kept.append(value)
            except Interrupt:
                return 'caught'

        self.assertEqual((by_try(self.send), kept), ('caught', [True]))

    def test_around_a_function(self):
        def by_with(send):
            try:
                call(send)
            except Interrupt:
                return 'caught'
            with threading.Lock():
                pass
        self.caught(by_with)

        def deep(send):
            try:
                call(functools.partial(call, send))
            except Interrupt:
                return 'caught'
            try:
                work()
            finally:
                pass
        self.caught(deep)

        def method(send):
            class Number:
                def __neg__(self):
                    return send()
            try:
                -Number()
            except Interrupt:
                return 'caught'
            with threading.Lock():
                pass
        self.caught(method)

        def generator(send):
            def numbers():
                yield 1
                send()
            try:
                for _ in numbers():
                    pass
            except Interrupt:
                return 'caught'
            with threading.Lock():
                pass
        self.caught(generator)

    def test_guards_without_a_check_point(self):
        # What comes after them may be outside of what catches.
        class Busy:
            def by_finally(self):
                sent = send()
                try:
                    self.sent = sent
                finally:
                    self.busy = False
                return sent

            def by_return(self):
                try:
                    return send()
                finally:
                    self.busy = False

            def by_except(self):
                send()
                try:
                    self.busy = False
                except ValueError:
                    pass
        send = self.send
        for name in 'by_finally', 'by_return', 'by_except':
            def function(send):
                try:
                    getattr(Busy(), name)()
                except Interrupt:
                    return 'caught'
            self.caught(function)

        def here(send):
            try:
                send()
                try:
                    busy = False
                except ValueError:
                    pass
            except Interrupt:
                return 'caught'
        self.caught(here)

        def generator(send):
            def numbers():
                yield 1
                send()
                try:
                    busy = False
                finally:
                    busy = True
            try:
                for _ in numbers():
                    pass
            except Interrupt:
                return 'caught'
        self.caught(generator)

    def test_many_constants(self):
        # The exit of the `with` loads None with an EXTENDED_ARG.
        code = ('def many(send):\n'
                '    "documentation"\n'
                + ''.join(f'    x = {i}.25\n' for i in range(300))
                + '    with contextlib.suppress(Interrupt):\n'
                  '        obj.x = send()\n'
                  '        return "missed"\n'
                  '    return "caught"\n')
        namespace = {**globals(), 'obj': CatchingTests}
        exec(code, namespace)
        self.caught(namespace['many'])

    def test_with_that_suppresses(self):
        def at_its_end(send):
            with contextlib.suppress(Interrupt):
                send()
                return 'missed'
            return 'caught'
        self.caught(at_its_end)

        def at_the_end_of_its_body(send):
            with contextlib.suppress(Interrupt):
                send()
            return 'caught'
        self.caught(at_the_end_of_its_body)

        def followed_by_try(send):
            result = 'caught'
            with contextlib.suppress(Interrupt):
                send()
                result = 'missed'
            try:
                work()
            finally:
                pass
            return result
        self.caught(followed_by_try)

        with self.assertRaises(Interrupt):
            self.send()

    def test_finally(self):
        # It catches nothing, but what is around it does.
        def function(send):
            try:
                try:
                    return send()
                finally:
                    work()
            except Interrupt:
                return 'caught'
        self.caught(function)

    def test_at_the_end_of_a_program(self):
        # There is nobody to return to.
        for code in ('_interrupts.send(threading.get_ident(), SystemExit(7))',
                     'def f():\n'
                     '    return _interrupts.send(threading.get_ident(), '
                     'SystemExit(7))\n'
                     'f()'):
            result, _ = script_helper.run_python_until_end(
                '-c', 'import _interrupts, threading\n' + code)
            self.assertEqual(result.rc, 7)


class NotDeafTests(ValuesTestCase):
    """Code that acquires nothing stops where it did."""

    def stops(self, function):
        """function(send, next) does not come to next()."""
        with self.subTest(function.__name__):
            counter = itertools.count()
            with self.assertRaises(Interrupt):
                function(self.send, counter.__next__)
            self.assertEqual(next(counter), 0)

    def test_straight_lines(self):
        def line(send, next):
            a = send()
            b = next()
        self.stops(line)

        def arguments(send, next):
            return [send(), next()]
        self.stops(arguments)

        def functions(send, next):
            a = call(send)
            b = next()
        self.stops(functions)

        def within_try(send, next):
            try:
                a = send()
                b = next()
            finally:
                pass
        self.stops(within_try)

        def after_with(send, next):
            with threading.Lock():
                send()
            next()
        self.stops(after_with)

    def test_loops(self):
        def comprehension(send, next):
            return [(send() if i == 0 else next()) for i in range(2)]
        self.stops(comprehension)

        def loop(send, next):
            for function in send, next:
                function()
        self.stops(loop)

        def with_try(send, next):
            for function in send, next:
                function()
                try:
                    i = 1
                except ValueError:
                    pass
        self.stops(with_try)

        def with_with(send, next):
            for function in send, next:
                function()
                with lock:
                    pass
        lock = threading.Lock()
        self.stops(with_with)

        def with_inside(send, next):
            for function in send, next:
                with lock:
                    function()
        self.stops(with_inside)

    def test_condition_that_does_not_lead_there(self):
        def false(send, next):
            if not send():
                try:
                    work()
                finally:
                    pass
            next()
        self.stops(false)

        def is_none(send, next):
            if (sent := send()) is None:
                with threading.Lock():
                    pass
            next()
        self.stops(is_none)

    def test_many_blocks_in_a_row(self):
        code = ('def blocks(send, next):\n'
                '    with lock: send()\n'
                + '    with lock: pass\n' * 3
                + '    with lock: next()\n')
        namespace = {'lock': threading.Lock()}
        exec(code, namespace)
        self.stops(namespace['blocks'])

    def test_what_is_far_away(self):
        def function(send, next):
            a = send()
            b = c = d = e = f = g = h = i = j = k = l = m = n = a
            next_one = next()
            with threading.Lock():
                pass
        self.stops(function)


class LaterTests(ValuesTestCase):
    """What does wait, and what does not wait with it."""

    def reaches(self, interrupt):
        """Interrupted by this, the next `try` is reached and left."""
        reached = []

        def function():
            interrupt()
            try:
                reached.append('try')
                work()
                reached.append('end')
            finally:
                reached.append('finally')
        with self.assertRaises(Interrupt):
            function()
        return reached

    @needs_masks
    def test_sent(self):
        self.assertEqual(self.reaches(self.send), ['try', 'finally'])

    @needs_masks
    def test_signal_handlers_run_at_once(self):
        handled = []

        def handler(signum, frame):
            handled.append(True)
            raise Interrupt
        old = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        before = []

        def function():
            # Does not look for signals itself.
            _thread.interrupt_main(signal.SIGUSR1)
            try:
                # No call, so no check point.
                before[:] = handled
                work()
            finally:
                before.append('finally')
        with self.assertRaises(Interrupt):
            function()
        self.assertEqual(before, [True, 'finally'])

    def test_masks_off(self):
        result = script_helper.assert_python_ok(
            '-X', 'interrupt_masks=0', '-c', '''if True:
            import _interrupts, threading
            class Interrupt(Exception): pass
            reached = []
            def function():
                _interrupts.send(threading.get_ident(), Interrupt)
                try:
                    len('')
                finally:
                    reached.append(True)
            try:
                function()
            except Interrupt:
                print(reached)
        ''')
        self.assertEqual(result.out.strip(), b'[]')


class InstrumentedTests(ValuesTestCase):
    """Tools change the bytecode, but not what is found in it."""

    def use(self, lock):
        if lock.acquire(timeout=5):
            try:
                work()
            finally:
                lock.release()

    def acquire(self, lock):
        return lock.acquire()

    def use_function(self, lock):
        taken = self.acquire(lock)
        try:
            work()
        finally:
            lock.release()

    def check(self):
        for function in self.use, self.use_function:
            for run in sweep(function, setup=threading.Lock):
                self.assertFalse(run.state.locked(), run)
                run.forget()

    @needs_masks
    def test_plain(self):
        self.check()

    @needs_masks
    def test_monitoring(self):
        monitoring = sys.monitoring
        tool = monitoring.DEBUGGER_ID
        monitoring.use_tool_id(tool, 'test')
        self.addCleanup(monitoring.free_tool_id, tool)
        self.addCleanup(monitoring.set_events, tool, 0)
        events = monitoring.events
        for event in events.LINE, events.PY_RETURN, events.INSTRUCTION:
            # In C, so that it has no check points of its own.
            monitoring.register_callback(tool, event, ''.format)
            self.addCleanup(monitoring.register_callback, tool, event, None)
        monitoring.set_events(tool, events.LINE | events.PY_RETURN
                              | events.INSTRUCTION)
        self.check()


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=3, others=10)


if __name__ == '__main__':
    interrupt_masks.main(ValuesTestCase)
