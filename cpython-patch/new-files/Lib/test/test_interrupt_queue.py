"""What one thread sends to another, and how what has waited is raised.

_interrupts.send() puts an exception into the queue of a thread.  In open code
it is raised at the next check point.  In masked code it waits, and several
that have waited are raised together, as a group.  PyThreadState_SetAsyncExc()
uses the same queue.  The promises are written down in
InternalDocs/interrupt_masking.md.

As in test_interrupts, most tests send to their own thread: it is known what
the code is doing when the exception arrives.
"""

import _interpreters
import _thread
import functools
import gc
import itertools
import signal
import sys
import textwrap
import threading
import unittest
import weakref
from threading import (
    interrupts, interrupts_masked, interrupts_pending, nointerrupts)

import _interrupts
from test import support
from test.support import (
    import_helper, interrupt_masks, script_helper, threading_helper)
from test.support.interrupt_masks import needs_masks
from test.test_interrupt_scopes import ScopeTestCase, send_to_self
from test.test_interrupts import (
    Failure, Interrupt, InterruptTestCase, Manager, check_point, collect,
    in_one_call, interrupt)


class A(Exception):
    """One of several that are sent."""


class B(Exception):
    """Another one."""


class C(Exception):
    """And another one."""


class Base(BaseException):
    """One that is no Exception."""


def sender(exc):
    """A C function that sends this to the thread that calls this."""
    return functools.partial(_interrupts.send, threading.get_ident(), exc)


def leaves(exc):
    """The exceptions of a group, or the one; then those of its contexts."""
    while exc is not None:
        if isinstance(exc, BaseExceptionGroup):
            for inner in exc.exceptions:
                yield from leaves(inner)
        else:
            yield exc
        exc = exc.__context__


def one_by_one(function):
    """Call, then go on to the next check points.  Return what was raised.

    Nothing here is masked, and no check point lies outside of a `try`.
    """
    first = second = third = fourth = None
    try:
        function()
    except BaseException as exc:
        first = exc
    try:
        check_point()
    except BaseException as exc:
        second = exc
    try:
        check_point()
    except BaseException as exc:
        third = exc
    try:
        check_point()
    except BaseException as exc:
        fourth = exc
    return [first, second, third, fourth]


class QueueTestCase(ScopeTestCase):

    # Ways to be masked while the function sends.

    def in_scope(self, function):
        with nointerrupts:
            function()
            self.log.append('masked')
        self.log.append('missed')

    def in_soft_scope(self, function):
        with nointerrupts(interruptible_waits=True):
            function()
            self.log.append('masked')
        self.log.append('missed')

    def in_finally(self, function):
        try:
            pass
        finally:
            function()
            self.log.append('masked')
        self.log.append('missed')

    def in_enter(self, function):
        def enter():
            function()
            self.log.append('masked')
        with Manager([], enter=enter):
            self.log.append('missed')

    def in_exit(self, function):
        def exit():
            function()
            self.log.append('masked')
        with Manager([], exit=exit):
            pass
        self.log.append('missed')

    def in_handler(self, function):
        def handler(signum, frame):
            function()
            self.log.append('masked')
        self.install(signal.SIGUSR2, handler)
        signal.raise_signal(signal.SIGUSR2)
        check_point()
        self.log.append('missed')

    def in_generator(self, function):
        def generator():
            with nointerrupts:
                function()
                self.log.append('masked')
                yield
        suspended = generator()
        next(suspended)
        self.log.append('missed')

    masks = (in_scope, in_soft_scope, in_finally, in_enter, in_exit,
             in_handler, in_generator)

    def held_back(self, *sent, mask=in_scope):
        """Send these while masked; return what was raised afterwards."""
        def send():
            for exc in sent:
                if callable(exc) and not isinstance(exc, type):
                    exc()
                else:
                    self.assertIs(send_to_self(exc), True)
            self.assertIs(interrupts_pending(), True)

        self.log.clear()
        caught = collect(mask, self, send)
        self.assertEqual(self.log, ['masked'])
        self.assertFalse(interrupts_pending())
        self.assertOpen()
        return caught

    def assertGroup(self, caught, group_type, *members):
        """One group was raised, of these: types or instances."""
        self.assertTypes(caught, group_type)
        group = caught[0]
        self.assertEqual(len(group.exceptions), len(members), group.exceptions)
        for found, member in zip(group.exceptions, members):
            if isinstance(member, type):
                self.assertIs(type(found), member)
            else:
                self.assertIs(found, member)
            self.assertIsNone(found.__context__)
        self.assertIsInstance(group.message, str)
        self.assertTrue(group.message)


class SendTests(QueueTestCase):
    """_interrupts.send()"""

    def test_open_code(self):
        for exc in Interrupt, Failure, KeyboardInterrupt, SystemExit:
            with self.subTest(exc=exc.__name__):
                with self.assertRaises(exc) as caught:
                    send_to_self(exc)
                    self.log.append('missed')
                self.assertIs(type(caught.exception), exc)
                self.assertEqual(caught.exception.args, ())
                self.assertIsNone(caught.exception.__context__)
                self.assertEqual(self.log, [])
                self.assertOpen()

    def test_instance(self):
        # The very object, with its data.
        cause = Failure()
        for exc in Interrupt(1, 'data'), Failure([]), SystemExit(3):
            exc.attribute = exc.args
            exc.__cause__ = cause
            with self.subTest(exc=exc):
                with self.assertRaises(type(exc)) as caught:
                    send_to_self(exc)
                self.assertIs(caught.exception, exc)
                self.assertEqual(exc.attribute, exc.args)
                self.assertIs(exc.__cause__, cause)

    def test_group_is_an_instance_like_any_other(self):
        group = ExceptionGroup('sent', [A(), B()])
        with self.assertRaises(ExceptionGroup) as caught:
            send_to_self(group)
        self.assertIs(caught.exception, group)

    def test_returns_true(self):
        result = []
        with self.assertRaises(A):
            result.extend(map(_interrupts.send, [threading.get_ident()], [A]))
            check_point()
        self.assertIn(result, ([], [True]))

    @needs_masks
    def test_returns_true_in_masked_code(self):
        with self.assertRaises(ExceptionGroup):
            with nointerrupts:
                self.log.append(send_to_self(A))
                self.log.append(send_to_self(A))    # waits already
                self.log.append(send_to_self(B()))
        self.assertEqual(self.log, [True] * 3)
        for value in self.log:
            self.assertIs(type(value), bool)

    def test_nothing_is_pending_after_it_was_raised(self):
        for _ in range(100):
            with self.assertRaises(A):
                send_to_self(A)
            self.assertFalse(interrupts_pending())
        self.assertOpen()

    def test_context_is_what_is_handled(self):
        try:
            raise Failure
        except Failure as failure:
            with self.assertRaises(A) as caught:
                send_to_self(A)
            self.assertIs(caught.exception.__context__, failure)

    def test_traceback_starts_where_it_was_raised(self):
        def function():
            send_to_self(A)

        names = []
        try:
            function()
        except A as exc:
            tb = exc.__traceback__
            while tb is not None:
                names.append(tb.tb_frame.f_code.co_name)
                tb = tb.tb_next
        self.assertEqual(names[1:], ['function', 'send_to_self'])

    @threading_helper.requires_working_threading()
    def test_unknown_threads(self):
        for start in (lambda function: threading.Thread(target=function),
                      None):
            idents = []

            def function():
                idents.append(threading.get_ident())

            if start is None:
                _thread.start_joinable_thread(function).join()
            else:
                thread = start(function)
                thread.start()
                thread.join()
            # The ident can have been given to another thread only if there is
            # one: none was started since.
            self.assertIs(_interrupts.send(idents[0], A), False)
            self.assertIs(_interrupts.send(idents[0], A()), False)
        self.assertFalse(interrupts_pending())
        self.assertIs(_interrupts.send(0, A), False)
        self.assertOpen()

    def test_numbers_that_are_no_ident(self):
        for ident in -1, 1 << 63, 1 << 64, -1 << 64:
            with self.subTest(ident=ident):
                try:
                    self.assertIs(_interrupts.send(ident, A), False)
                except (OverflowError, ValueError):
                    pass
        self.assertOpen()

    def test_bad_exceptions(self):
        for exc in (None, 1, 'A', object(), object, int, [A], (A, B),
                    A.__name__, A().with_traceback, type, lambda: A()):
            for ident in threading.get_ident(), 0:
                with self.subTest(exc=exc, ident=ident):
                    with self.assertRaises(TypeError) as caught:
                        _interrupts.send(ident, exc)
                    self.assertIn('BaseException', str(caught.exception))
                    self.assertFalse(interrupts_pending())
        self.assertOpen()

    def test_bad_idents(self):
        for ident in None, 'main', 1.5, threading.current_thread(), [1]:
            with self.subTest(ident=ident):
                with self.assertRaises(TypeError):
                    _interrupts.send(ident, A)
        self.assertOpen()

    def test_bad_arguments(self):
        ident = threading.get_ident()
        for args in (), (ident,), (ident, A, False, B):
            with self.assertRaises(TypeError):
                _interrupts.send(*args)
        with self.assertRaises(TypeError):
            _interrupts.send(ident, A, force=True)
        self.assertOpen()


class WaitingTests(QueueTestCase):
    """One that has waited is raised as itself, several as a group."""

    @needs_masks
    def test_one_class(self):
        for mask in self.masks:
            for exc in A, Base, KeyboardInterrupt, SystemExit:
                with self.subTest(mask=mask.__name__, exc=exc.__name__):
                    caught = self.held_back(exc, mask=mask)
                    self.assertTypes(caught, exc)

    @needs_masks
    def test_one_instance(self):
        for mask in self.masks:
            with self.subTest(mask=mask.__name__):
                exc = A('data')
                self.assertEqual(self.held_back(exc, mask=mask), [exc])
                self.assertEqual(exc.args, ('data',))
                self.assertIsNone(exc.__context__)

    @needs_masks
    def test_several(self):
        instance = A('data')
        for mask in self.masks:
            with self.subTest(mask=mask.__name__):
                instance.__traceback__ = None
                caught = self.held_back(B, instance, C, mask=mask)
                self.assertGroup(caught, ExceptionGroup, B, instance, C)

    @needs_masks
    def test_kind_of_group(self):
        for sent, group_type in (
            ([A, B], ExceptionGroup),
            ([A(1), A(2)], ExceptionGroup),
            ([A, Base], BaseExceptionGroup),
            ([Base, A], BaseExceptionGroup),
            ([Base(1), Base(2)], BaseExceptionGroup),
            ([A, B, C, Base], BaseExceptionGroup),
            ([A, KeyboardInterrupt], BaseExceptionGroup),
        ):
            with self.subTest(sent=sent):
                self.assertGroup(self.held_back(*sent), group_type, *sent)

    @needs_masks
    def test_groups_that_were_sent(self):
        # Members as they are.
        group = ExceptionGroup('sent', [A(), B()])
        base_group = BaseExceptionGroup('sent', [Base()])
        self.assertEqual(self.held_back(group), [group])
        group.__traceback__ = None
        self.assertGroup(self.held_back(C, group), ExceptionGroup, C, group)
        self.assertGroup(self.held_back(C, base_group), BaseExceptionGroup,
                         C, base_group)

    @needs_masks
    def test_order(self):
        sent = [A(number) for number in range(100)]
        self.assertGroup(self.held_back(*sent), ExceptionGroup, *sent)

    @needs_masks
    def test_equal_classes_are_one(self):
        self.assertTypes(self.held_back(A, A, A), A)
        self.assertGroup(self.held_back(A, B, A, B, C, A),
                         ExceptionGroup, A, B, C)

    @needs_masks
    def test_other_classes_are_not(self):
        class SubA(A):
            pass

        class OtherA(Exception):
            def __eq__(self, other):
                return True
            __hash__ = object.__hash__

        OtherA.__name__ = 'A'
        self.assertGroup(self.held_back(A, SubA, OtherA),
                         ExceptionGroup, A, SubA, OtherA)

    @needs_masks
    def test_classes_that_say_they_are_equal_are_not(self):
        class Equal(type):
            def __eq__(self, other):
                return True
            __hash__ = type.__hash__

        class One(Exception, metaclass=Equal):
            pass

        class Two(Exception, metaclass=Equal):
            pass

        caught = self.held_back(One, Two)
        self.assertTypes(caught, ExceptionGroup)
        self.assertEqual(
            [type(exc).__name__ for exc in caught[0].exceptions],
            ['One', 'Two'])

    @needs_masks
    def test_instances_are_not_merged(self):
        # Equal or empty, each was sent for itself.
        sent = [A(), A(), A(1), A(1)]
        self.assertGroup(self.held_back(*sent), ExceptionGroup, *sent)
        instance = A()
        self.assertGroup(self.held_back(A, instance, A),
                         ExceptionGroup, A, instance)
        instance = A()
        self.assertGroup(self.held_back(instance, A, A),
                         ExceptionGroup, instance, A)

    @needs_masks
    def test_class_can_be_sent_again(self):
        for _ in range(3):
            self.assertTypes(self.held_back(A), A)
            self.assertGroup(self.held_back(A, B), ExceptionGroup, A, B)

    @needs_masks
    def test_exception_in_flight_is_context_of_the_group(self):
        def by_scope():
            with nointerrupts:
                send_to_self(A)
                send_to_self(B)
                self.log.append('masked')
                raise Failure

        def by_finally():
            try:
                raise Failure
            finally:
                send_to_self(A)
                send_to_self(B)
                self.log.append('masked')

        for function in by_scope, by_finally:
            with self.subTest(function=function.__name__):
                self.log.clear()
                caught = collect(function)
                self.assertEqual(self.log, ['masked'])
                self.assertGroup(caught, ExceptionGroup, A, B)
                self.assertIs(type(caught[0].__context__), Failure)

    @needs_masks
    def test_own_context_is_kept(self):
        own = Failure('own')
        exc = A()
        exc.__context__ = own

        def function():
            try:
                raise Failure('in flight')
            finally:
                send_to_self(exc)
                self.log.append('masked')

        caught = collect(function)
        self.assertEqual(self.log, ['masked'])
        self.assertEqual(caught, [exc])
        self.assertIn(own, list(leaves(exc)))

    @needs_masks
    def test_except_star(self):
        found = []
        try:
            with nointerrupts:
                for exc in A, B(1), C:
                    send_to_self(exc)
                self.log.append('masked')
        except* B as group:
            found += group.exceptions
        except* (A, C) as group:
            found += group.exceptions
        self.assertEqual(self.log, ['masked'])
        self.assertTypes(found, B, A, C)

    @needs_masks
    def test_raised_on_entry_of_what_opens(self):
        def function():
            with nointerrupts:
                send_to_self(A)
                send_to_self(B)
                try:
                    with interrupts:
                        self.log.append('missed')
                except ExceptionGroup as exc:
                    caught.append(exc)
                send_to_self(C)
                self.log.append('masked again')

        caught = []
        self.assertTypes(collect(function), C)
        self.assertGroup(caught, ExceptionGroup, A, B)
        self.assertEqual(self.log, ['masked again'])

    @needs_masks
    def test_cleanup_that_raises(self):
        def function():
            try:
                pass
            finally:
                send_to_self(A)
                send_to_self(B)
                raise Failure

        failure, group = collect(function)
        self.assertIs(type(failure), Failure)
        self.assertGroup([group], ExceptionGroup, A, B)

    @needs_masks
    def test_released_when_a_generator_suspends(self):
        def by_finally():
            try:
                yield
            finally:
                send_to_self(A)
                send_to_self(B)
                self.log.append('masked')
                yield
                self.log.append('resumed')

        def by_scope():
            with nointerrupts:
                yield
                send_to_self(A)
                send_to_self(B)
                self.log.append('masked')
                yield
                self.log.append('resumed')

        for generator in by_finally, by_scope:
            with self.subTest(generator=generator.__name__):
                self.log.clear()
                gen = generator()
                next(gen)
                caught = collect(next, gen)
                self.assertGroup(caught, ExceptionGroup, A, B)
                self.assertEqual(self.log, ['masked'])
                self.assertIsNone(next(gen, None))
                self.assertEqual(self.log, ['masked', 'resumed'])

    @needs_masks
    def test_two_masks(self):
        # The inner one opens nothing.
        def function():
            with nointerrupts:
                send_to_self(A)
                try:
                    pass
                finally:
                    send_to_self(B)
                with Manager([], exit=lambda: send_to_self(C)):
                    pass
                self.log.append('masked')

        self.assertGroup(collect(function), ExceptionGroup, A, B, C)
        self.assertEqual(self.log, ['masked'])


class NoMemoryTests(QueueTestCase):

    # A debug build does not survive it, whatever is raised: a plain `raise` of an
    # exception group fails in the same places.
    @unittest.skipIf(support.Py_DEBUG, 'needs a release build')
    @support.cpython_only
    @support.requires_subprocess()
    def test_none_of_a_group_is_lost(self):
        import_helper.import_module('_testcapi')
        # A child, since any allocation may be the one that fails.
        script = textwrap.dedent('''
            import _interrupts, _testcapi, sys, threading

            class A(Exception): pass
            class B(Exception): pass

            ident = threading.get_ident()
            sent = {A(), B()}

            def raise_them(start):
                # Without memory for a frame object, CPython loses whatever is
                # raised.
                sys._getframe()
                with threading.nointerrupts:
                    for exc in sent:
                        _interrupts.send(ident, exc)
                    _testcapi.set_nomemory(start, start + 1)

            def found(exc):
                if exc is None:
                    return set()
                one = {exc} | found(exc.__context__)
                for inner in getattr(exc, 'exceptions', ()):
                    one |= found(inner)
                return one

            outcomes = set()
            for start in range(30):
                for exc in sent:
                    exc.__context__ = exc.__traceback__ = None
                left = set(sent)
                try:
                    try:
                        raise_them(start)
                    finally:
                        _testcapi.remove_mem_hooks()
                except Exception as exc:
                    outcomes.add(type(exc).__name__)
                    left -= found(exc)
                if left and threading.interrupts_pending():
                    outcomes.add('waits')
                    try:
                        while True:
                            pass
                    except Exception as exc:
                        left -= found(exc)
                if left or threading.interrupts_pending():
                    sys.exit(f'{start}: {left or "what"} is lost or left')
            print(*sorted(outcomes))
        ''')
        result = script_helper.assert_python_ok('-c', script)
        self.assertEqual(result.out.split(), [b'ExceptionGroup', b'MemoryError'])


class OpenCodeTests(QueueTestCase):
    """What no mask has held back is raised one by one."""

    def test_one_by_one(self):
        instance = B(1)
        raised = one_by_one(functools.partial(
            in_one_call, sender(A), sender(instance), sender(C)))
        self.assertTypes(raised, A, B, C, type(None))
        self.assertIs(raised[1], instance)
        for exc in raised[:3]:
            self.assertIsNone(exc.__context__)
        self.assertOpen()

    def test_equal_classes(self):
        raised = one_by_one(functools.partial(
            in_one_call, sender(A), sender(A), sender(B), sender(A)))
        self.assertTypes(raised, A, B, type(None), type(None))

    def test_system_exit(self):
        # In its turn, or at once with what came before as its context: in any
        # case each once.
        raised = one_by_one(functools.partial(
            in_one_call, sender(A), sender(SystemExit(7)), sender(C)))
        found = [exc for exc in raised if exc is not None]
        self.assertCountEqual(
            [type(exc) for one in found for exc in leaves(one)],
            [A, SystemExit, C])
        self.assertOpen()

    @needs_masks
    def test_handlers_come_first(self):
        # The handler is masked, so the other one does not cut it short.
        raised = one_by_one(functools.partial(
            in_one_call, sender(A),
            functools.partial(signal.raise_signal, signal.SIGUSR1)))
        self.assertTypes(raised, Interrupt, A, type(None), type(None))

    def test_pending_until_the_next_check_point(self):
        found = []
        with self.assertRaises(A):
            found += in_one_call(sender(A), interrupts_pending,
                                 interrupts_masked)
        self.assertEqual(found, [])
        self.assertFalse(interrupts_pending())


class PriorityTests(QueueTestCase):
    """Handlers first, then SystemExit, then the rest."""

    @needs_masks
    def test_handlers_come_first_and_alone(self):
        for sent in ([A, interrupt, B, interrupt],
                     [interrupt, A, interrupt, B],
                     [A, B, interrupt, interrupt]):
            self.sent = 0
            first, second = self.held_back(*sent)
            self.assertChain([first], 2, 1)
            self.assertGroup([second], ExceptionGroup, A, B)

    @needs_masks
    def test_ctrl_c(self):
        self.install(signal.SIGINT, signal.default_int_handler)

        def ctrl_c():
            signal.raise_signal(signal.SIGINT)

        caught = self.held_back(A, ctrl_c)
        self.assertTypes(caught, KeyboardInterrupt, A)
        first, second = self.held_back(A, ctrl_c, B)
        self.assertIs(type(first), KeyboardInterrupt)
        self.assertIsNone(first.__context__)
        self.assertGroup([second], ExceptionGroup, A, B)

    @needs_masks
    def test_ctrl_c_and_one_that_was_sent(self):
        # The sent one is like any other.
        self.install(signal.SIGINT, signal.default_int_handler)
        first, second = self.held_back(
            A, lambda: signal.raise_signal(signal.SIGINT), KeyboardInterrupt)
        self.assertIs(type(first), KeyboardInterrupt)
        self.assertGroup([second], BaseExceptionGroup, A, KeyboardInterrupt)

    @needs_masks
    def test_system_exit_wins(self):
        instance = SystemExit(3)
        for exit in SystemExit, instance:
            for sent in [A, exit], [exit, A]:
                with self.subTest(sent=sent):
                    caught = self.held_back(*sent)
                    self.assertTypes(caught, SystemExit)
                    self.assertIs(type(caught[0].__context__), A)
                    self.assertIsNone(caught[0].__context__.__context__)
                    if exit is instance:
                        self.assertIs(caught[0], exit)
                    instance.__context__ = instance.__traceback__ = None

    @needs_masks
    def test_system_exit_wins_over_several(self):
        for sent in ([A, B, SystemExit], [SystemExit, A, B],
                     [A, SystemExit, B]):
            with self.subTest(sent=sent):
                caught = self.held_back(*sent)
                self.assertTypes(caught, SystemExit)
                self.assertGroup([caught[0].__context__], ExceptionGroup, A, B)
        caught = self.held_back(A, SystemExit, Base)
        self.assertTypes(caught, SystemExit)
        self.assertGroup([caught[0].__context__], BaseExceptionGroup, A, Base)

    @needs_masks
    def test_subclass_of_system_exit(self):
        class Exit(SystemExit):
            pass

        caught = self.held_back(A, Exit, B)
        self.assertTypes(caught, Exit)
        self.assertGroup([caught[0].__context__], ExceptionGroup, A, B)

    @needs_masks
    def test_system_exit_alone_and_twice(self):
        caught = self.held_back(SystemExit, SystemExit)
        self.assertTypes(caught, SystemExit)
        self.assertIsNone(caught[0].__context__)

    @needs_masks
    def test_several_system_exits(self):
        # Neither is lost, nor in a group.
        first, second = SystemExit(1), SystemExit(2)
        caught = self.held_back(A, first, B, second)
        self.assertIs(caught[0], first)
        found = [exc for one in caught for exc in leaves(one)]
        self.assertCountEqual([type(exc) for exc in found],
                              [SystemExit, SystemExit, A, B])
        self.assertIn(second, found)
        for one in caught:
            if isinstance(one, BaseExceptionGroup):
                self.assertIsNone(one.subgroup(SystemExit))

    @needs_masks
    def test_system_exit_waits_for_handlers(self):
        caught = self.held_back(SystemExit, A, interrupt)
        self.assertTypes(caught, Interrupt, SystemExit)
        self.assertIs(type(caught[1].__context__), A)

    @needs_masks
    def test_exception_in_flight_stays_in_the_chain(self):
        def function():
            try:
                raise Failure
            finally:
                send_to_self(A)
                send_to_self(SystemExit)
                self.log.append('masked')

        caught = collect(function)
        self.assertEqual(self.log, ['masked'])
        self.assertTypes(caught, SystemExit)
        self.assertEqual([type(exc) for exc in leaves(caught[0])],
                         [SystemExit, A, Failure])

    @needs_masks
    def test_sent_by_a_handler(self):
        def handler(signum, frame):
            send_to_self(A)
            send_to_self(B)
            self.log.append('handler ends')

        def function():
            signal.raise_signal(signal.SIGUSR2)
            check_point()
            self.log.append('missed')

        self.install(signal.SIGUSR2, handler)
        self.assertGroup(collect(function), ExceptionGroup, A, B)
        self.assertEqual(self.log, ['handler ends'])


class ConstructorTests(QueueTestCase):
    """A class is called when it is raised, by the thread that gets it."""

    @needs_masks
    def test_called_when_raised(self):
        log = self.log

        class Logging(Exception):
            def __init__(self):
                log.append('constructed')

        def function():
            with nointerrupts:
                send_to_self(Logging)
                send_to_self(Logging)
                log.append('masked')

        self.assertTypes(collect(function), Logging)
        self.assertEqual(log, ['masked', 'constructed'])

    def raising(self, name='Raising'):
        def __init__(self):
            raise Failure(name)
        return type(name, (Exception,), {'__init__': __init__})

    def test_raises(self):
        for _ in range(3):
            with self.assertRaises(Failure):
                send_to_self(self.raising())
            self.assertOpen()

    @needs_masks
    def test_raises_after_it_has_waited(self):
        self.assertTypes(self.held_back(self.raising()), Failure)

    @needs_masks
    def test_one_of_several_raises(self):
        # It takes the place of what it should have made; the others are not
        # lost.
        for position in range(3):
            with self.subTest(position=position):
                sent = [A, B]
                sent.insert(position, self.raising())
                caught = self.held_back(*sent)
                found = [type(exc) for one in caught for exc in leaves(one)]
                self.assertCountEqual(found, [A, B, Failure])

    @needs_masks
    def test_all_raise(self):
        caught = self.held_back(self.raising('One'), self.raising('Two'))
        found = [exc.args for one in caught for exc in leaves(one)]
        self.assertCountEqual(found, [('One',), ('Two',)])

    @needs_masks
    def test_system_exit_raises(self):
        class Exit(SystemExit):
            def __init__(self):
                raise Failure

        caught = self.held_back(A, Exit, B)
        found = [type(exc) for one in caught for exc in leaves(one)]
        self.assertCountEqual(found, [A, B, Failure])

    def test_needs_arguments(self):
        class Needs(Exception):
            def __init__(self, argument):
                super().__init__(argument)

        with self.assertRaises(TypeError):
            send_to_self(Needs)
        exc = Needs('argument')
        with self.assertRaises(Needs) as caught:
            send_to_self(exc)
        self.assertIs(caught.exception, exc)

    def test_returns_something_else(self):
        class Wrong(Exception):
            def __new__(cls):
                return result

        for result in 42, None, A, object():
            with self.subTest(result=result):
                with self.assertRaises(TypeError):
                    send_to_self(Wrong)
                self.assertOpen()

    def test_returns_another_exception(self):
        class Other(Exception):
            def __new__(cls):
                return B('other')

        with self.assertRaises(B) as caught:
            send_to_self(Other)
        self.assertEqual(caught.exception.args, ('other',))

    @needs_masks
    def test_interrupted(self):
        # What arrives while an exception is made is not lost, nor is that.
        test = self

        class Interrupted(Exception):
            def __init__(self):
                send_to_self(A)
                test.log.append('constructor')
                check_point()

        def function():
            with nointerrupts:
                send_to_self(Interrupted)
                self.log.append('masked')

        caught = collect(function)
        self.assertEqual(self.log[:1], ['masked'])
        found = [type(exc) for one in caught for exc in leaves(one)]
        self.assertIn(A, found)
        if 'constructor' in self.log:
            self.assertCountEqual(found, [Interrupted, A])
        self.assertOpen()

    def test_sends_itself_again(self):
        # Each is raised; it does not recurse.
        count = 0

        class Again(Exception):
            def __init__(self):
                nonlocal count
                count += 1
                if count < 5:
                    send_to_self(Again)

        caught = collect(send_to_self, Again)
        self.assertGreaterEqual(len(caught), 1)
        self.assertLessEqual(count, 5)
        for exc in caught:
            self.assertIs(type(exc), Again)
        self.assertFalse(interrupts_pending())


class ThreadTests(QueueTestCase):
    """From any thread to any other."""

    def start(self, function):
        """Start a thread; return it and what will be raised in it."""
        caught = []
        thread = threading.Thread(
            target=lambda: caught.extend(collect(function)))
        self.enterContext(threading_helper.start_threads([thread]))
        return thread, caught

    @threading_helper.requires_working_threading()
    def test_open_code_of_another_thread(self):
        started = threading.Event()

        def function():
            started.set()
            while True:
                pass

        for exc in A, A('data'), Base, Base(1):
            with self.subTest(exc=exc):
                started.clear()
                thread, caught = self.start(function)
                self.assertTrue(started.wait(support.SHORT_TIMEOUT))
                self.assertIs(_interrupts.send(thread.ident, exc), True)
                thread.join()
                if isinstance(exc, type):
                    self.assertTypes(caught, exc)
                else:
                    self.assertEqual(caught, [exc])

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_masked_code_of_another_thread(self):
        masked = threading.Event()
        sent = threading.Event()

        def function():
            with nointerrupts:
                masked.set()
                if sent.wait(support.SHORT_TIMEOUT):
                    self.log.append(interrupts_pending())
            self.log.append('missed')

        thread, caught = self.start(function)
        self.assertTrue(masked.wait(support.SHORT_TIMEOUT))
        for exc in A, B, A, C:
            self.assertTrue(_interrupts.send(thread.ident, exc))
        self.assertFalse(interrupts_pending())
        sent.set()
        thread.join()
        self.assertGroup(caught, ExceptionGroup, A, B, C)
        self.assertEqual(self.log, [True])

    @threading_helper.requires_working_threading()
    def test_blocked_thread(self):
        # At the latest when it goes on.
        lock = threading.Lock()
        lock.acquire()
        started = threading.Event()

        def function():
            started.set()
            lock.acquire()
            check_point()
            self.log.append('missed')

        thread, caught = self.start(function)
        self.assertTrue(started.wait(support.SHORT_TIMEOUT))
        _interrupts.send(thread.ident, A)
        lock.release()
        thread.join()
        self.assertTypes(caught, A)
        self.assertEqual(self.log, [])

    @threading_helper.requires_working_threading()
    def test_to_the_main_thread(self):
        ident = threading.get_ident()
        sent = threading.Event()

        def function():
            _interrupts.send(ident, A)
            sent.set()

        def receive():
            thread = threading.Thread(target=function)
            thread.start()
            # Raised in here, or in the call before.
            while not sent.is_set():
                pass
            check_point()
            self.log.append('missed')

        self.assertTypes(collect(receive), A)
        self.assertEqual(self.log, [])
        self.assertTrue(sent.wait(support.SHORT_TIMEOUT))

    @threading_helper.requires_working_threading()
    def test_to_a_low_level_thread(self):
        ready = threading.Event()
        idents = []
        caught = []

        def function():
            idents.append(threading.get_ident())
            ready.set()
            while True:
                pass

        handle = _thread.start_joinable_thread(
            lambda: caught.extend(collect(function)))
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        self.assertTrue(_interrupts.send(idents[0], A))
        handle.join()
        self.assertTypes(caught, A)

    # How many threads send how much.
    SENDERS = 8
    COUNT = 200

    def send_all(self, ident, number, begin):
        begin.wait()
        for count in range(self.COUNT):
            if not _interrupts.send(ident, A(number, count)):
                self.log.append('no such thread')

    def assertReceivedAll(self, received):
        for number in range(self.SENDERS):
            self.assertEqual(
                [exc.args[1] for exc in received if exc.args[0] == number],
                list(range(self.COUNT)))
        self.assertEqual(len(received), self.SENDERS * self.COUNT)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_many_senders_while_masked(self):
        begin = threading.Barrier(self.SENDERS)
        ident = threading.get_ident()

        def receive():
            with nointerrupts:
                self.assertTrue(interrupts_masked())
                threads = [threading.Thread(target=self.send_all,
                                            args=[ident, number, begin])
                           for number in range(self.SENDERS)]
                with threading_helper.start_threads(threads):
                    pass
                self.log.append('masked')

        caught = collect(receive)
        self.assertEqual(self.log, ['masked'])
        self.assertTypes(caught, ExceptionGroup)
        self.assertReceivedAll(caught[0].exceptions)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_many_senders_while_masked_in_turns(self):
        begin = threading.Barrier(self.SENDERS)
        ident = threading.get_ident()
        received = []

        def receive():
            with nointerrupts:
                self.assertTrue(interrupts_masked())
                threads = [threading.Thread(target=self.send_all,
                                            args=[ident, number, begin])
                           for number in range(self.SENDERS)]
                for thread in threads:
                    thread.start()
                # What comes is raised between the start and the end of the
                # `with` that opens, and nowhere else.
                while (any(thread.is_alive() for thread in threads)
                       or interrupts_pending()):
                    try:
                        with interrupts:
                            for _ in range(100):
                                check_point()
                    except Exception as exc:
                        received.extend(leaves(exc))

        self.assertEqual(collect(receive), [])
        self.assertEqual(self.log, [])
        self.assertReceivedAll(received)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_equal_classes_of_many_senders(self):
        begin = threading.Barrier(self.SENDERS)
        ident = threading.get_ident()

        def send():
            begin.wait()
            for _ in range(self.COUNT):
                _interrupts.send(ident, A)

        def receive():
            with nointerrupts:
                self.assertTrue(interrupts_masked())
                threads = [threading.Thread(target=send)
                           for number in range(self.SENDERS)]
                with threading_helper.start_threads(threads):
                    pass

        self.assertTypes(collect(receive), A)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_each_has_its_own_queue(self):
        begin = threading.Barrier(self.SENDERS)
        found = [None] * self.SENDERS

        def function(number):
            idents[number] = threading.get_ident()
            with nointerrupts:
                begin.wait(support.SHORT_TIMEOUT)
                for ident in idents:
                    _interrupts.send(ident, A(number))
                begin.wait(support.SHORT_TIMEOUT)

        def run(number):
            found[number] = collect(function, number)

        idents = [None] * self.SENDERS
        threads = [threading.Thread(target=run, args=[number])
                   for number in range(self.SENDERS)]
        with threading_helper.start_threads(threads):
            pass
        for caught in found:
            self.assertTypes(caught, ExceptionGroup)
            self.assertCountEqual([exc.args for exc in caught[0].exceptions],
                                  [(n,) for n in range(self.SENDERS)])

    @threading_helper.requires_working_threading()
    def test_threads_that_end(self):
        # It was sent or it was not: nothing is raised twice or left over.
        references = []
        for _ in range(100):
            caught = []

            def function():
                try:
                    started.set()
                    for _ in range(100):
                        check_point()
                except A as exc:
                    caught.append(exc.args[0])

            def run():
                # Another one can be raised in the handler, or after it.
                try:
                    function()
                except A as exc:
                    caught.extend(one.args[0] for one in leaves(exc))

            started = threading.Event()
            results = []
            with support.catch_unraisable_exception():
                handle = _thread.start_joinable_thread(run)
                started.wait(support.SHORT_TIMEOUT)
                for number in range(20):
                    exc = A(number)
                    references.append(weakref.ref(exc))
                    results.append(_interrupts.send(handle.ident, exc))
                    del exc
                handle.join()
            # Once it has ended it stays so.
            self.assertEqual(results, sorted(results, reverse=True))
            self.assertIs(_interrupts.send(handle.ident, A), False)
            self.assertEqual(sorted(set(caught) - set(range(20))), [])
        support.gc_collect()
        self.assertEqual([ref() for ref in references if ref()], [])


class AsyncExceptionTests(QueueTestCase):
    """PyThreadState_SetAsyncExc()"""

    def setUp(self):
        super().setUp()
        ctypes = import_helper.import_module('ctypes')
        function = 'PyThreadState_SetAsyncExc', ctypes.pythonapi
        self.set = ctypes.PYFUNCTYPE(
            ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(function)
        # As a pointer, so that it can be NULL.
        self.set_null = ctypes.PYFUNCTYPE(
            ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(function)

    def async_exc(self, exc):
        """A function that sets this, in this thread."""
        def function():
            self.assertEqual(self.set(threading.get_ident(), exc), 1)
        return function

    def clear(self):
        self.assertEqual(self.set_null(threading.get_ident(), None), 1)

    def test_sent_while_what_was_withdrawn_is_dropped(self):
        # At the check point that finds it nothing has been collected.
        ident = threading.get_ident()

        class Withdrawn:
            # No Python code: that would be a check point.
            __del__ = staticmethod(
                functools.partial(_interrupts.send, ident, Failure))

        def function():
            # The queue has the only reference.
            withdrawn = [Withdrawn()]
            list(itertools.chain(
                map(functools.partial(self.set, ident),
                    map(list.pop, [withdrawn])),
                map(functools.partial(self.set_null, ident), [None])))
            check_point()

        with support.catch_unraisable_exception() as unraisable:
            self.assertEqual(list(map(type, collect(function))), [Failure])
            self.assertIsNone(unraisable.unraisable)
        self.assertFalse(interrupts_pending())

    def test_open_code(self):
        with self.assertRaises(A):
            self.set(threading.get_ident(), A)
            self.log.append('missed')
        self.assertEqual(self.log, [])
        self.assertOpen()

    def test_unknown_thread(self):
        thread = threading.Thread()
        thread.start()
        thread.join()
        for ident in 0, thread.ident:
            self.assertEqual(self.set(ident, A), 0)
            self.assertEqual(self.set_null(ident, None), 0)
        self.assertFalse(interrupts_pending())
        self.assertOpen()

    @needs_masks
    def test_waits(self):
        for mask in self.masks:
            with self.subTest(mask=mask.__name__):
                caught = self.held_back(self.async_exc(A), mask=mask)
                self.assertTypes(caught, A)

    @needs_masks
    def test_replaced(self):
        set_a, set_b = self.async_exc(A), self.async_exc(B)
        self.assertTypes(self.held_back(set_a, set_b), B)
        self.assertTypes(self.held_back(set_a, set_b, set_a), A)
        self.assertTypes(self.held_back(set_a, set_a), A)

    @needs_masks
    def test_cleared(self):
        def function():
            with nointerrupts:
                self.async_exc(A)()
                self.log.append(interrupts_pending())
                self.clear()
                self.log.append(interrupts_pending())
                self.clear()
            check_point()
            self.log.append('after')

        self.assertEqual(collect(function), [])
        self.assertEqual(self.log, [True, False, 'after'])
        self.assertOpen()

    @needs_masks
    def test_cleared_and_set_again(self):
        set_a, set_b = self.async_exc(A), self.async_exc(B)
        self.assertTypes(self.held_back(set_a, self.clear, set_b), B)

    def test_nothing_to_clear(self):
        self.clear()
        check_point()
        self.assertFalse(interrupts_pending())
        self.assertOpen()

    @needs_masks
    def test_sent_ones_are_not_replaced(self):
        set_a, set_b = self.async_exc(A), self.async_exc(B)
        instance = C(1)
        self.assertGroup(self.held_back(instance, set_a),
                         ExceptionGroup, instance, A)
        self.assertGroup(self.held_back(set_a, instance),
                         ExceptionGroup, A, instance)
        caught = self.held_back(set_a, instance, set_b)
        self.assertTypes(caught, ExceptionGroup)
        self.assertCountEqual(
            [type(exc) for exc in caught[0].exceptions], [B, C])
        self.assertTypes(self.held_back(C, set_a, set_a), ExceptionGroup)

    @needs_masks
    def test_sent_ones_are_not_cleared(self):
        self.assertTypes(
            self.held_back(C, self.async_exc(A), self.clear), C)
        self.assertTypes(self.held_back(C, self.clear), C)
        with self.subTest('one of the same class'):
            set_a = self.async_exc(A)
            self.assertTypes(self.held_back(A, set_a, self.clear), A)
            self.assertTypes(self.held_back(set_a, A, self.clear), A)
            self.assertTypes(self.held_back(A, self.clear), A)

    @needs_masks
    def test_one_of_the_same_class_is_replaced(self):
        caught = self.held_back(A, self.async_exc(A), self.async_exc(B))
        self.assertTypes(caught, ExceptionGroup)
        self.assertCountEqual(
            [type(exc) for exc in caught[0].exceptions], [A, B])

    @needs_masks
    def test_equal_classes_are_one(self):
        set_a = self.async_exc(A)
        self.assertTypes(self.held_back(A, set_a), A)
        self.assertTypes(self.held_back(set_a, A), A)
        self.assertGroup(self.held_back(A, set_a, B, set_a, A),
                         ExceptionGroup, A, B)

    @needs_masks
    def test_priorities(self):
        set_exit = self.async_exc(SystemExit)
        caught = self.held_back(A, set_exit, B)
        self.assertTypes(caught, SystemExit)
        self.assertGroup([caught[0].__context__], ExceptionGroup, A, B)
        caught = self.held_back(self.async_exc(A), interrupt, B)
        self.assertIs(type(caught[0]), Interrupt)
        self.assertGroup(caught[1:], ExceptionGroup, A, B)
        caught = self.held_back(self.async_exc(Base), A)
        self.assertGroup(caught, BaseExceptionGroup, Base, A)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_other_thread(self):
        masked = threading.Event()
        sent = threading.Event()
        caught = []

        def function():
            with nointerrupts:
                masked.set()
                if sent.wait(support.SHORT_TIMEOUT):
                    self.log.append('masked')
            self.log.append('missed')

        def run():
            caught.extend(collect(function))

        for sent_after, types in ([B], [B]), ([None], []), ([B, None, C], [C]):
            with self.subTest(sent_after=sent_after):
                self.log.clear()
                caught.clear()
                masked.clear()
                sent.clear()
                thread = threading.Thread(target=run)
                with threading_helper.start_threads([thread]):
                    self.assertTrue(masked.wait(support.SHORT_TIMEOUT))
                    self.assertEqual(self.set(thread.ident, A), 1)
                    for exc in sent_after:
                        count = (self.set_null(thread.ident, None)
                                 if exc is None
                                 else self.set(thread.ident, exc))
                        self.assertEqual(count, 1)
                    sent.set()
                self.assertTypes(caught, *types)
                self.assertEqual(self.log[:1], ['masked'])
    test_other_thread.some_subtests_pass = True

    @needs_masks
    def test_objects_are_released(self):
        class Weak(Exception):
            pass

        reference = weakref.ref(Weak)
        cell = [Weak]
        del Weak
        with nointerrupts:
            self.async_exc(cell[0])()
            self.async_exc(A)()
            self.async_exc(cell[0])()
            self.clear()
        cell.clear()
        support.gc_collect()
        self.assertIsNone(reference())


def masks_off():
    """Is nothing masked, because this was asked for when Python started?"""
    with nointerrupts:
        return not interrupts_masked()


class ReleaseTests(QueueTestCase):
    """What was raised or dropped is not kept alive."""

    def weak(self, references, *args):
        exc = A(*args)
        references.append(weakref.ref(exc))
        return exc

    def assertDead(self, references):
        support.gc_collect()
        alive = [ref() for ref in references if ref() is not None]
        self.assertEqual(alive, [])

    def test_raised_in_open_code(self):
        references = []
        for _ in range(50):
            collect(send_to_self, self.weak(references))
        self.assertEqual(len(references), 50)
        self.assertDead(references)

    @needs_masks
    def test_raised_in_groups(self):
        references = []
        for _ in range(50):
            self.log.clear()
            self.held_back(*[self.weak(references) for _ in range(3)])
            self.held_back(SystemExit(1), self.weak(references), B)
        self.assertEqual(len(references), 200)
        self.assertDead(references)

    def test_not_sent(self):
        references = []
        for _ in range(50):
            self.assertIs(_interrupts.send(0, self.weak(references)), False)
            with self.assertRaises(TypeError):
                _interrupts.send('0', self.weak(references))
        self.assertDead(references)

    @needs_masks
    def test_class_of_a_constructor_that_raises(self):
        references = []
        for _ in range(20):
            class Raising(Exception):
                def __init__(self):
                    raise Failure
            references.append(weakref.ref(Raising))
            self.held_back(Raising, A)
            del Raising
        # Without a GIL, classes are immortal once there are threads.
        if not support.Py_GIL_DISABLED:
            self.assertDead(references)

    @needs_masks
    def test_reference_counts(self):
        instance = Base(1)
        self.held_back(A, B, A, instance)
        instance.__traceback__ = None
        support.gc_collect()
        objects = A, B, Base, instance, ExceptionGroup, BaseExceptionGroup
        before = [sys.getrefcount(thing) for thing in objects]
        for _ in range(100):
            self.held_back(A, B, A, instance)
            self.held_back(A, A)
            instance.__traceback__ = None
            instance.__context__ = None
        support.gc_collect()
        after = [sys.getrefcount(thing) for thing in objects]
        self.assertEqual(after, before)

    @needs_masks
    def test_number_of_objects(self):
        def run():
            self.held_back(A, B(1), SystemExit(2), interrupt)
            self.held_back(A, A, Base)

        run()
        support.gc_collect()
        before = len(gc.get_objects())
        for _ in range(100):
            run()
        support.gc_collect()
        self.assertLess(len(gc.get_objects()) - before, 50)

    @needs_masks
    def test_number_of_blocks(self):
        # Memory that is no Python object, too.
        def run():
            self.held_back(A, B(1), A, Base)
            for scope in nointerrupts(), interrupts():
                with scope, scope:
                    pass

        for _ in range(10):
            run()
        support.gc_collect()
        before = sys.getallocatedblocks()
        for _ in range(500):
            run()
        support.gc_collect()
        self.assertLess(sys.getallocatedblocks() - before, 250)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_thread_ends_in_a_scope(self):
        references = []

        def function():
            nointerrupts.__enter__()
            send_to_self(self.weak(references))
            send_to_self(self.weak(references))
            send_to_self(B)
            self.log.append(interrupts_pending())

        with support.catch_unraisable_exception() as unraisable:
            for _ in range(20):
                _thread.start_joinable_thread(function).join()
            self.assertIsNone(unraisable.unraisable)
        self.assertEqual(self.log, [True] * 20)
        self.assertEqual(len(references), 40)
        self.assertDead(references)
        self.assertRestored()

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_thread_ends_in_a_finally(self):
        references = []

        def function():
            try:
                pass
            finally:
                send_to_self(self.weak(references))
                self.log.append('masked')
                # Ends the thread in silence; there is no check point after.
                raise SystemExit

        with support.catch_unraisable_exception() as unraisable:
            for _ in range(20):
                _thread.start_joinable_thread(function).join()
            self.assertIsNone(unraisable.unraisable)
        self.assertEqual(self.log, ['masked'] * 20)
        self.assertDead(references)

    @threading_helper.requires_working_threading()
    @needs_masks
    def test_object_that_is_released_by_the_end_of_a_thread(self):
        # Its finalizer runs Python code, which sees a thread that ends.
        log = self.log

        class Finalized(Exception):
            def __del__(self):
                log.append('finalized')
                _interrupts.send(threading.get_ident(), B)

        def function():
            nointerrupts.__enter__()
            send_to_self(Finalized())
            log.append('masked')

        with support.catch_unraisable_exception():
            _thread.start_joinable_thread(function).join()
        support.gc_collect()
        self.assertEqual(log, ['masked', 'finalized'])
        self.assertFalse(interrupts_pending())

    @needs_masks
    def test_at_exit(self):
        # Something waits for ever, and the interpreter ends.
        script = textwrap.dedent('''
            import _interrupts, threading
            class Late(Exception):
                pass
            threading.nointerrupts.__enter__()
            _interrupts.send(threading.get_ident(), Late('data'))
            _interrupts.send(threading.get_ident(), Late)
            print(threading.interrupts_pending())
        ''')
        switch = 0 if masks_off() else 1
        result = script_helper.assert_python_ok(
            '-X', f'interrupt_masks={switch}', '-c', script)
        self.assertEqual(result.out.strip(), b'True')
        self.assertEqual(result.err, b'')


class SubinterpreterTests(QueueTestCase):

    script = textwrap.dedent('''
        import _interrupts
        import threading
        if _interrupts.send({ident}, ValueError) is not False:
            raise AssertionError
        if threading.interrupts_pending():
            raise AssertionError
    ''')

    @threading_helper.requires_working_threading()
    def test_threads_of_others_are_unknown(self):
        end = threading.Event()
        caught = []
        thread = threading.Thread(target=lambda: caught.extend(
            collect(end.wait, support.LONG_TIMEOUT)))
        with threading_helper.start_threads([thread], unlock=end.set):
            for config in 'isolated', 'legacy':
                with self.subTest(config):
                    interpreter = _interpreters.create(config)
                    try:
                        error = _interpreters.exec(
                            interpreter,
                            self.script.format(ident=thread.ident))
                        self.assertIsNone(error, error and error.formatted)
                    finally:
                        _interpreters.destroy(interpreter)
        self.assertEqual(caught, [])
        self.assertOpen()

    def test_own_thread(self):
        # This thread has a state in each interpreter.
        script = textwrap.dedent('''
            import _interrupts
            import threading
            try:
                _interrupts.send(threading.get_ident(), ValueError)
                raised = False
            except ValueError:
                raised = True
            if not raised:
                raise AssertionError
            # Something still waits when the interpreter ends.
            threading.nointerrupts.__enter__()
            try:
                _interrupts.send(threading.get_ident(), ValueError('data'))
            except ValueError:
                pass
        ''')
        for config in 'isolated', 'legacy':
            with self.subTest(config):
                interpreter = _interpreters.create(config)
                try:
                    error = _interpreters.exec(interpreter, script)
                    self.assertIsNone(error, error and error.formatted)
                    self.assertFalse(interrupts_pending())
                finally:
                    _interpreters.destroy(interpreter)
                self.assertRestored()


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=40, others=20)


if __name__ == '__main__':
    interrupt_masks.main(InterruptTestCase)
