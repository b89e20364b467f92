"""What others assert of asynchronous exceptions, asserted of ours.

Ruby, GHC and Trio have solved the same problem, and have tests of their
solutions.  These are tests of the same properties, in our terms:

    Ruby                GHC                  Trio              here
    Thread#raise        throwTo, killThread  SIGINT            interrupt()
    :never              uninterruptibleMask  KI protection     nointerrupts
    :on_blocking        mask                 only checkpoints  the soft scope
    :immediate          restore, unmask      no protection     interrupts
    pending_interrupt?  getMaskingState      is it protected?  two functions
    Thread#value        -                    -                 wait()

interrupts_pending() tells whether something waits, interrupts_masked() whether
it would.

TABLE says which of their tests is which of ours, or why it is none.
"""

import asyncio
import contextlib
import hashlib
import importlib
import inspect
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import unittest
import weakref
from threading import (
    interrupts, interrupts_masked, interrupts_pending, nointerrupts)

import _interrupts
from test import support
from test.support import (
    import_helper, interrupt_masks, script_helper, threading_helper)
from test.support.interrupt_masks import needs_masks
from test.test_interrupts import check_point, drive, suspend

soft = nointerrupts(interruptible_waits=True)


class NotHere(str):
    """Why there is no such test here."""


NO_CLASSES = NotHere('a mask holds everything back, not classes of exceptions')
NO_DEFAULT = NotHere('Thread.interrupt() has no exception of its own, see '
                     'RaiseTests.test_bad_arguments')
NO_STATUS = NotHere('threads have no status that tells what they wait for')
WEAK_KEYS = NotHere('levels are kept in frames: there is no table of them')

TABLE = {
    # ruby/spec: core/thread/pending_interrupt_spec.rb
    'Thread.pending_interrupt?': {
        'returns false if there are no pending interrupts, e.g., outside any '
        'Thread.handle_interrupt block': 'PendingTests.test_nothing',
        'returns true if there are pending interrupts, e.g., Thread#raise '
        'inside Thread.handle_interrupt': 'PendingTests.test_something',
    },
    'Thread#pending_interrupt?': {
        'returns whether the given threads has pending interrupts':
            'PendingTests.test_only_of_the_current_thread',
    },

    # ruby/spec: core/thread/handle_interrupt_spec.rb
    'Thread.handle_interrupt': {
        'with :never defers interrupts until exiting the handle_interrupt '
        'block': 'HandleTests.test_hard',
        'with :on_blocking defers interrupts until the next blocking call':
            ('HandleTests.test_soft_and_blocked',
             'HandleTests.test_soft_and_not_blocked'),
        'with :immediate handles interrupts immediately':
            'HandleTests.test_open',
        'with :immediate immediately runs pending interrupts, before the '
        'block': 'HandleTests.test_opened_before_the_block',
        'also works with suspended Fibers and does not duplicate interrupts':
            'HandleTests.test_suspended_generator',
        'runs pending interrupts at the end of the block, even if there was '
        'an exception raised in the block':
            'HandleTests.test_block_that_raises',
        'supports multiple pairs in the Hash': NO_CLASSES,
    },

    # ruby/spec: core/thread/raise_spec.rb
    'Thread#raise': {
        'ignores dead threads and returns nil': 'RaiseTests.test_dead',
    },
    'Thread#raise on a sleeping thread': {
        'raises a RuntimeError if no exception class is given': NO_DEFAULT,
        'raises the given exception': 'RaiseTests.test_class',
        'raises the given exception with the given message':
            'RaiseTests.test_instance',
        'raises the given exception and the backtrace is the one of the '
        'interrupted thread': 'RaiseTests.test_traceback',
        'is captured and raised by Thread#value': 'RaiseTests.test_unhandled',
        'raises a RuntimeError when called with no arguments inside rescue':
            NO_DEFAULT,
        're-raises a previously rescued exception without overwriting the '
        'backtrace': 'RaiseTests.test_traceback_of_the_sender_is_kept',
    },
    'Thread#raise on a running thread': {
        'raises a RuntimeError if no exception class is given': NO_DEFAULT,
        'raises the given exception': 'RaiseTests.test_class',
        'raises the given exception with the given message':
            'RaiseTests.test_instance',
        'can go unhandled': 'RaiseTests.test_unhandled',
        'raises the given argument even when there is an active exception':
            'RaiseTests.test_while_another_is_handled',
        'raises a RuntimeError when called with no arguments inside rescue':
            NO_DEFAULT,
    },
    'Thread#raise on same thread': {
        'raises a RuntimeError when called with no arguments inside rescue':
            NO_DEFAULT,
        # ruby/spec: shared/kernel/raise.rb
        'aborts execution': 'RaiseTests.test_current_thread',
        'raises RuntimeError if no exception class is given': NO_DEFAULT,
        'raises a given Exception instance': 'RaiseTests.test_current_thread',
        'raises a RuntimeError if string given':
            'RaiseTests.test_bad_arguments',
        'raises a TypeError when passed a non-Exception object':
            'RaiseTests.test_bad_arguments',
        'raises a TypeError when passed true': 'RaiseTests.test_bad_arguments',
        'raises a TypeError when passed false':
            'RaiseTests.test_bad_arguments',
        'raises a TypeError when passed nil': 'RaiseTests.test_bad_arguments',
        're-raises the previously rescued exception if no exception is '
        'specified': NO_DEFAULT,
        're-raises a previously rescued exception without overwriting the '
        'backtrace': 'RaiseTests.test_traceback_of_the_sender_is_kept',
        'allows Exception, message, and backtrace parameters': NotHere(
            'an instance has them all; see RaiseTests.test_instance'),
    },

    # ruby/ruby: test/ruby/test_thread.rb; those that interrupt threads
    'TestThread': {
        'test_kill_main_thread': 'RaiseTests.test_terminate_main_thread',
        'test_kill_wrong_argument': NotHere('terminate() takes no argument'),
        'test_kill_thread_subclass': 'RaiseTests.test_terminate_subclass',
        'test_exit': 'RaiseTests.test_exit',
        'test_switch_while_busy_loop': 'RaiseTests.test_busy_loop',
        'test_select_wait': 'test_interrupt_blocking.BreakingTests.test_open',
        'test_mutex_interrupt': 'RaiseTests.test_lock_is_not_taken',
        'test_handle_interrupt': ('HandleTests.test_hard',
                                  'HandleTests.test_soft_and_blocked',
                                  'HandleTests.test_open'),
        'test_handle_interrupt_invalid_argument':
            'HandleTests.test_bad_arguments',
        'test_handle_interrupt_with_return':
            'HandleTests.test_left_by_return_or_break',
        'test_handle_interrupt_with_break':
            'HandleTests.test_left_by_return_or_break',
        'test_handle_interrupt_blocking':
            'HandleTests.test_own_interrupt_breaks_the_next_wait',
        'test_handle_interrupt_and_io':
            'HandleTests.test_write_that_blocks',
        'test_handle_interrupt_and_p':
            'HandleTests.test_write_that_does_not_block',
        'test_handle_interrupted?':
            'PendingTests.test_asked_before_it_is_let_in',
        'test_pending_interrupt?':
            'PendingTests.test_only_of_the_current_thread',
        'test_thread_timer_and_ensure': 'RaiseTests.test_computes_in_finally',
        'test_uninitialized': (
            'PendingTests.test_thread_that_is_made',
            'test_interrupt_blocking.ThreadInterruptTests.test_not_started'),
        'test_thread_timer_and_interrupt':
            'RaiseTests.test_process_with_threads',
        'test_thread_join_in_trap': 'RaiseTests.test_wait_in_a_handler',
        'test_thread_value_in_trap': 'RaiseTests.test_wait_in_a_handler',
        'test_main_thread_status_at_exit': NO_STATUS,
        'test_thread_status_in_trap': NO_STATUS,
        'test_thread_status_raise_after_kill':
            'RaiseTests.test_interrupted_in_its_cleanup',
        'test_thread_interrupt_for_killed_thread':
            'RaiseTests.test_while_it_ends',
        'test_signal_at_join': 'RaiseTests.test_signals_while_it_joins',
    },

    # ghc/ghc: testsuite/tests/concurrent/should_run
    'GHC': {
        'throwto001': 'ThrowTests.test_last_one_standing',
        'throwto002': 'ThrowTests.test_two_interrupt_each_other',
        'throwto003': 'ThrowTests.test_lock_under_fire',
        'mask001': 'MaskTests.test_nested_scopes',
        'mask002': ('MaskTests.test_threads_start_open',
                    'MaskTests.test_handler_is_in_the_scope',
                    'MaskTests.test_thread_that_opens_itself'),
        'conc015': ('MaskTests.test_one_let_in_and_one_later',
                    'MaskTests.test_both_at_once'),
        'conc015a': ('MaskTests.test_one_let_in_and_one_later',
                     'MaskTests.test_both_at_once'),
        'conc017': 'MaskTests.test_masked_again_after_one_was_handled',
        'conc065': 'ThrowTests.test_thread_that_is_almost_always_masked',
        'conc068': 'ThrowTests.test_thread_that_masks_itself_does_its_work',
        'T27113': (
            'test_interrupt_blocking.BreakingTests.test_open',
            'test_interrupt_blocking.BreakingTests.'
            'test_compute_in_c_then_block',
            'ThrowTests.test_timeout_while_it_computes_then_blocks'),
        'T27113b': (
            'test_interrupt_blocking.BreakingTests.test_what_came_before',
            'ThrowTests.test_timeout_while_it_computes_then_blocks'),
        'T27113c': (
            'ThrowTests.test_nothing_is_woken_for_what_was_withdrawn',
            'test_interrupt_blocking.HoldingTests.'
            'test_no_kicks_for_hard_regions',
            'test_interrupt_blocking.ThreadInterruptTests.'
            'test_few_kicks_while_it_waits_for_its_turn'),
    },

    # python-trio/trio: src/trio/_core/_tests/test_ki.py
    'Trio': {
        'test_ki_self': 'CtrlCTests.test_open',
        'test_ki_enabled': ('ProtectionTests.test_functions',
                            'ProtectionTests.test_coroutines',
                            'ProtectionTests.test_generators',
                            'ProtectionTests.test_callbacks'),
        'test_ki_enabled_after_yield_briefly':
            'ProtectionTests.test_suspended_and_resumed',
        'test_generator_based_context_manager_throw':
            'ProtectionTests.test_contextmanager',
        'test_async_generator_agen_protection': NotHere(
            'of a package for Pythons without async generators'),
        'test_native_agen_protection':
            ('ProtectionTests.test_async_generators',
             'ProtectionTests.test_asynccontextmanager'),
        'test_ki_disabled_out_of_context':
            'ProtectionTests.test_open_by_default',
        'test_ki_disabled_in_del': ('ProtectionTests.test_del',
                                    'ProtectionTests.test_del_that_is_called'),
        'test_ki_protection_works, check 1': 'CtrlCTests.test_open',
        'test_ki_protection_works, check 2': 'CtrlCTests.test_masked',
        'test_ki_protection_works, check 3': 'CtrlCTests.test_last_step',
        'test_ki_protection_works, check 4':
            ('CtrlCTests.test_first_step',
             'test_interrupt_life.StartUp.test_start'),
        'test_ki_protection_works, check 5': 'CtrlCTests.test_let_in',
        'test_ki_protection_works, check 6':
            'CtrlCTests.test_goes_on_until_it_is_open',
        'test_ki_protection_works, check 7':
            'CtrlCTests.test_wait_that_is_not_broken',
        'test_ki_protection_works, check 8':
            'CtrlCTests.test_wait_that_is_broken',
        'test_ki_protection_works, check 9': 'CtrlCTests.test_last_step',
        'test_ki_protection_works, check 10':
            'CtrlCTests.test_only_where_it_blocks',
        'test_ki_protection_works, check 11':
            'CtrlCTests.test_comes_before_what_was_sent',
        'test_ki_is_good_neighbor': 'CtrlCTests.test_handlers_are_left_alone',
        'test_ki_with_broken_threads':
            'CtrlCTests.test_main_thread_that_is_not_known',
        'test_ki_does_not_leak_across_different_calls_to_inner_functions':
            'ProtectionTests.test_calls_of_one_function',
        'test_ki_protection_check_does_not_freeze_locals':
            'ProtectionTests.test_asking_keeps_nothing_alive',
        'test_identity_weakref_internals': WEAK_KEYS,
        'test_weak_key_identity_dict_remove_callback_keyerror': WEAK_KEYS,
        'test_weak_key_identity_dict_remove_callback_selfref_expired':
            WEAK_KEYS,
    },
}


class A(Exception):
    """What is sent."""


class B(Exception):
    """Another one."""


class Failure(Exception):
    """One that the program raises by itself."""


def interrupt_self(exc):
    threading.current_thread().interrupt(exc)


@unittest.skipUnless(_interrupts.kick_signal(), 'nobody can be woken')
@threading_helper.requires_working_threading()
class FieldTestCase(unittest.TestCase):

    def setUp(self):
        self.assertFalse(interrupts_masked(), 'an earlier test masks this one')
        self.log = []
        # Nobody gives this away.
        self.never = threading.Lock()
        self.never.acquire()
        # Threads that die are looked at by wait(), maybe later.
        self.enterContext(support.swap_attr(threading, 'excepthook',
                                            lambda args: None))

    def tearDown(self):
        self.assertFalse(interrupts_masked())
        self.assertFalse(interrupts_pending())

    def install(self, signum, handler):
        self.addCleanup(signal.signal, signum, signal.signal(signum, handler))

    def start(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self.addCleanup(self.end, thread)
        return thread

    def end(self, thread):
        thread.terminate()
        thread.join(support.SHORT_TIMEOUT)
        self.assertFalse(thread.is_alive())

    def result(self, thread):
        return thread.wait(support.SHORT_TIMEOUT)

    def elsewhere(self, function, *args):
        """Call in a thread of its own, and wait for that."""
        thread = threading.Thread(target=function, args=args)
        # Whoever calls this may be interrupted by what that does.
        with nointerrupts:
            thread.start()
            return self.result(thread)

    # What threads do while they are interrupted.

    def sleep(self, ready):
        ready.set()
        self.never.acquire()

    def compute(self, ready):
        ready.set()
        while True:
            check_point()

    def caught_by(self, body, exc):
        """What a thread in body(ready) catches, to which this is sent."""
        def run():
            try:
                body(ready)
            except BaseException as exc:
                return exc
        ready = threading.Event()
        thread = self.start(run)
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        self.assertIs(thread.interrupt(exc), True)
        return self.result(thread)

    def state(self):
        """How the code that calls this is masked, by what can be seen."""
        masked = interrupts_masked()
        try:
            interrupt_self(A)
            check_point()
        except A:
            self.assertFalse(masked)
            return 'open'
        self.assertTrue(masked)
        try:
            self.never.acquire(timeout=0.001)
        except A:
            return 'soft'
        # None of this is in a region of the compiler.
        try:
            with interrupts:
                check_point()
        except A:
            return 'hard'
        self.fail('it is lost')


class RaiseTests(FieldTestCase):
    """Thread#raise of Ruby."""

    def test_dead(self):
        thread = threading.Thread(target=lambda: 'dead')
        thread.start()
        self.assertEqual(self.result(thread), 'dead')
        self.assertIs(thread.interrupt(A), False)
        self.assertIs(thread.terminate(), False)
        self.assertEqual(self.result(thread), 'dead')

    def test_class(self):
        for body in self.sleep, self.compute:
            for exc in A, KeyboardInterrupt, BaseException:
                with self.subTest(body=body.__name__, exc=exc):
                    caught = self.caught_by(body, exc)
                    self.assertIs(type(caught), exc)
                    self.assertEqual(caught.args, ())

    def test_instance(self):
        for body in self.sleep, self.compute:
            with self.subTest(body=body.__name__):
                exc = A('get', 'up')
                exc.__cause__ = Failure()
                self.assertIs(self.caught_by(body, exc), exc)
                self.assertEqual(exc.args, ('get', 'up'))
                self.assertIs(type(exc.__cause__), Failure)

    def test_bad_arguments(self):
        thread = threading.current_thread()
        for exc in 'A', object(), object, True, False, None, 1, [A], (A, 'A'):
            with self.subTest(exc=exc):
                with self.assertRaisesRegex(TypeError, 'BaseException'):
                    thread.interrupt(exc)
        for args in (), (A, 'A'), (A, 'A', None):
            with self.subTest(args=args):
                with self.assertRaises(TypeError):
                    thread.interrupt(*args)

    def names(self, exc):
        frames = traceback.extract_tb(exc.__traceback__)
        return [frame.name for frame in frames]

    def test_traceback(self):
        for body in self.sleep, self.compute:
            with self.subTest(body=body.__name__):
                names = self.names(self.caught_by(body, A))
                self.assertEqual(names[:2], ['run', body.__name__])
                # It can be raised in what body() calls.
                self.assertNotIn('interrupt', names)
                self.assertNotIn('caught_by', names)

    def test_traceback_of_the_sender_is_kept(self):
        def fail():
            raise Failure
        for body in self.sleep, self.compute:
            with self.subTest(body=body.__name__):
                try:
                    fail()
                except Failure as exc:
                    failure = exc
                caught = self.caught_by(body, failure)
                self.assertIs(caught, failure)
                names = self.names(caught)
                self.assertEqual(names[:2], ['run', body.__name__])
                # The steps where it was raised first are the innermost.
                self.assertEqual(names[-2:], [self._testMethodName, 'fail'])

    def test_unhandled(self):
        for body in self.sleep, self.compute:
            with self.subTest(body=body.__name__):
                ready = threading.Event()
                exc = A()
                thread = self.start(body, ready)
                self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
                thread.interrupt(exc)
                for _ in range(2):
                    # assertRaises() would drop the traceback.
                    try:
                        self.result(thread)
                    except A as caught:
                        self.assertIs(caught, exc)
                        self.assertIn(body.__name__, self.names(caught))
                    else:
                        self.fail('it is lost')

    def test_while_another_is_handled(self):
        for body in self.sleep, self.compute:
            def handler(ready):
                try:
                    raise Failure
                except Failure:
                    body(ready)
            with self.subTest(body=body.__name__):
                try:
                    # The sender, too, handles one.
                    raise B
                except B:
                    caught = self.caught_by(handler, A)
                self.assertIs(type(caught), A)
                self.assertIs(type(caught.__context__), Failure)
                self.assertIsNone(caught.__context__.__context__)

    def test_current_thread(self):
        for exc in A, A('data'):
            with self.subTest(exc=exc):
                with self.assertRaises(A) as caught:
                    interrupt_self(exc)
                    self.log.append('missed')
                if exc is not A:
                    self.assertIs(caught.exception, exc)
        self.assertEqual(self.log, [])

    def test_terminate_main_thread(self):
        result = script_helper.assert_python_ok('-c', '''if True:
            import threading
            print('before')
            threading.current_thread().terminate()
            print('after')
        ''')
        self.assertEqual(result.out.split(), [b'before'])
        self.assertEqual(result.err, b'')

    def test_terminate_subclass(self):
        class Sleeper(threading.Thread):
            def run(thread):
                self.sleep(ready)

        ready = threading.Event()
        thread = Sleeper(daemon=True)
        thread.start()
        self.addCleanup(self.end, thread)
        self.assertIs(thread.terminate(), True)
        self.assertIsNone(self.result(thread))

    def test_exit(self):
        def run():
            self.log.append('before')
            sys.exit('message')
            self.log.append('after')
        self.assertIsNone(self.elsewhere(run))
        self.assertEqual(self.log, ['before'])

    def test_busy_loop(self):
        main = threading.current_thread()

        def run():
            nonlocal flag
            flag = False
            switched.wait(support.SHORT_TIMEOUT)
            main.interrupt(A)
        flag = True
        switched = threading.Event()
        thread = self.start(run)
        while flag:
            pass
        with self.assertRaises(A):
            switched.set()
            while True:
                pass
        self.result(thread)

    def test_lock_is_not_taken(self):
        for blocked in False, True:
            with self.subTest(blocked=blocked):
                lock = threading.Lock()
                ready = threading.Event()

                def run():
                    ready.set()
                    lock.acquire()
                    self.log.append('missed')
                lock.acquire()
                thread = self.start(run)
                if blocked:
                    self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
                thread.terminate()
                self.assertIsNone(self.result(thread))
                lock.release()
                self.assertTrue(lock.acquire(blocking=False))
        self.assertEqual(self.log, [])

    @needs_masks
    def test_computes_in_finally(self):
        def run():
            try:
                self.sleep(ready)
            finally:
                in_finally.set()
                while not over:
                    check_point()
                self.log.append(interrupts_pending())

        over = False
        ready = threading.Event()
        in_finally = threading.Event()
        thread = self.start(run)
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        thread.terminate()
        self.assertTrue(in_finally.wait(support.SHORT_TIMEOUT))
        # It runs, and others do.
        thread.interrupt(A)
        self.assertTrue(thread.is_alive())
        over = True
        with self.assertRaises(A):
            self.result(thread)
        self.assertEqual(self.log, [True])

    def test_process_with_threads(self):
        # The main thread waits, the other one needs the GIL.
        child = script_helper.spawn_python('-c', '''if True:
            import os, signal, threading
            signal.signal(signal.SIGINT, signal.default_int_handler)
            def run():
                print('ready', flush=True)
                while True:
                    pass
            read, write = os.pipe()
            threading.Thread(target=run, daemon=True).start()
            os.read(read, 1)
        ''', stderr=subprocess.PIPE)
        with child:
            self.assertEqual(child.stdout.readline().strip(), b'ready')
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=support.SHORT_TIMEOUT)
        self.assertEqual(child.returncode, -signal.SIGINT)
        self.assertIn(b'KeyboardInterrupt', err)

    def test_wait_in_a_handler(self):
        main = threading.get_ident()

        def handler(signum, frame):
            self.log.append(self.result(thread))

        def run():
            ready.wait(support.SHORT_TIMEOUT)
            signal.pthread_kill(main, signal.SIGUSR1)
            return 'result'
        for wait in self.result, lambda thread: thread.join() or 'result':
            with self.subTest(wait=wait):
                self.log.clear()
                self.install(signal.SIGUSR1, handler)
                ready = threading.Event()
                thread = self.start(run)
                ready.set()
                self.assertEqual(wait(thread), 'result')
                check_point()
                self.assertEqual(self.log, ['result'])

    @needs_masks
    def test_interrupted_in_its_cleanup(self):
        # What is sent during the cleanup ends no wait of it, unless that is
        # opened; and then the rest of it still runs.
        def run():
            try:
                self.sleep(asleep)
            finally:
                try:
                    in_finally.set()
                    self.log.append(let_go.wait(support.SHORT_TIMEOUT))
                    self.log.append(interrupts_pending())
                    with interrupts:
                        self.never.acquire()
                finally:
                    self.log.append('cleaned up')

        asleep = threading.Event()
        in_finally = threading.Event()
        let_go = threading.Event()
        thread = self.start(run)
        self.assertTrue(asleep.wait(support.SHORT_TIMEOUT))
        thread.terminate()
        self.assertTrue(in_finally.wait(support.SHORT_TIMEOUT))
        thread.interrupt(A)
        let_go.set()
        with self.assertRaises(A) as caught:
            self.result(thread)
        self.assertIs(type(caught.exception.__context__), SystemExit)
        self.assertEqual(self.log, [True, True, 'cleaned up'])

    def test_while_it_ends(self):
        for i in range(300):
            thread = threading.Thread(target=check_point)
            thread.start()
            if i % 3:
                time.sleep(0)
            sent = thread.interrupt(A)
            self.assertIs(type(sent), bool)
            try:
                self.result(thread)
            except A:
                self.assertTrue(sent)
            self.assertIs(thread.interrupt(A), False)

    def test_signals_while_it_joins(self):
        main = threading.get_ident()
        handled = []

        def run():
            for _ in range(1000):
                signal.pthread_kill(main, signal.SIGUSR1)
            self.log.append('ended')
        self.install(signal.SIGUSR1, lambda *args: handled.append(args))
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(self.log, ['ended'])
        check_point()
        self.assertTrue(handled)


class HandleTests(FieldTestCase):
    """Thread.handle_interrupt of Ruby."""

    def where(self, scope, *, blocking, let_go):
        """Whether a thread catches it inside of the scope or outside."""
        lock = threading.Lock()
        lock.acquire()
        ready = threading.Event()

        def run():
            try:
                with scope:
                    try:
                        ready.set()
                        if blocking:
                            lock.acquire()
                        else:
                            while not lock.acquire(blocking=False):
                                check_point()
                        self.log.append(interrupts_pending())
                    except A:
                        return 'inside'
            except A:
                return 'outside'
            return 'nowhere'
        thread = self.start(run)
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        self.assertTrue(thread.interrupt(A))
        if let_go:
            lock.release()
        return self.result(thread)

    @needs_masks
    def test_hard(self):
        for blocking in False, True:
            with self.subTest(blocking=blocking):
                self.log.clear()
                self.assertEqual(
                    self.where(nointerrupts, blocking=blocking, let_go=True),
                    'outside')
                self.assertEqual(self.log, [True])

    def test_soft_and_blocked(self):
        # Nobody lets it go.
        self.assertEqual(self.where(soft, blocking=True, let_go=False),
                         'inside')

    @needs_masks
    def test_soft_and_not_blocked(self):
        self.assertEqual(self.where(soft, blocking=False, let_go=True),
                         'outside')
        self.assertEqual(self.log, [True])

    def test_open(self):
        for blocking in False, True:
            with self.subTest(blocking=blocking):
                self.assertEqual(
                    self.where(interrupts, blocking=blocking, let_go=False),
                    'inside')

    @needs_masks
    def test_opened_before_the_block(self):
        main = threading.current_thread()
        with nointerrupts:
            self.elsewhere(main.interrupt, A('data'))
            self.assertTrue(interrupts_pending())
            try:
                with interrupts:
                    self.log.append('missed')
            except A as exc:
                self.log.append(exc.args)
            self.assertFalse(interrupts_pending())
        self.assertEqual(self.log, [('data',)])

    @needs_masks
    def test_suspended_generator(self):
        def generator():
            yield
            self.log.append('resumed')

        def masked_generator():
            with nointerrupts:
                yield
                self.log.append('resumed')

        main = threading.current_thread()
        for make in generator, masked_generator:
            with self.subTest(make=make.__name__):
                self.log.clear()
                suspended = make()
                next(suspended)
                with nointerrupts:
                    self.elsewhere(main.interrupt, A)
                    self.assertTrue(interrupts_pending())
                    try:
                        with interrupts:
                            self.log.append('missed')
                    except A:
                        self.log.append('caught')
                    self.assertFalse(interrupts_pending())
                # There is none left.
                self.assertIsNone(next(suspended, None))
                check_point()
                self.assertEqual(self.log, ['caught', 'resumed'])

    @needs_masks
    def test_block_that_raises(self):
        main = threading.current_thread()
        with self.assertRaises(A) as caught:
            with nointerrupts:
                self.elsewhere(main.interrupt, A)
                self.log.append(interrupts_pending())
                raise Failure
        self.assertEqual(self.log, [True])
        self.assertIs(type(caught.exception.__context__), Failure)

    def test_bad_arguments(self):
        for call in (lambda: interrupts(A),
                     lambda: interrupts(interruptible_waits=True),
                     lambda: nointerrupts(A),
                     lambda: nointerrupts('never'),
                     lambda: nointerrupts({A: 'never'}),
                     lambda: nointerrupts(never=[A])):
            with self.subTest(inspect.getsource(call).strip()):
                with self.assertRaises(TypeError):
                    call()
        self.assertEqual(self.state(), 'open')

    @needs_masks
    def test_left_by_return_or_break(self):
        def by_return():
            try:
                with nointerrupts:
                    interrupt_self(A)
                    self.log.append('masked')
                    return
            except A:
                self.log.append('caught')

        def by_break():
            while True:
                try:
                    with nointerrupts:
                        interrupt_self(A)
                        self.log.append('masked')
                        break
                except A:
                    self.log.append('caught')
                    break
            check_point()

        def by_continue():
            for _ in range(1):
                try:
                    with nointerrupts:
                        interrupt_self(A)
                        self.log.append('masked')
                        continue
                except A:
                    self.log.append('caught')

        for function in by_return, by_break, by_continue:
            with self.subTest(function=function.__name__):
                self.log.clear()
                function()
                self.assertEqual(self.log, ['masked', 'caught'])
                self.assertFalse(interrupts_masked())

    @needs_masks
    def test_own_interrupt_breaks_the_next_wait(self):
        main = threading.current_thread()

        def run():
            ready.wait(support.SHORT_TIMEOUT)
            with soft:
                try:
                    interrupt_self(A)
                    self.log.append('goes on')
                    self.never.acquire()
                finally:
                    main.interrupt(B)
                    self.log.append('cleaned up')
        ready = threading.Event()
        thread = self.start(run)
        with self.assertRaises(B):
            ready.set()
            self.never.acquire()
        with self.assertRaises(A):
            self.result(thread)
        self.assertEqual(self.log, ['goes on', 'cleaned up'])

    def pipe(self):
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        return read, write

    @needs_masks
    def test_write_that_blocks(self):
        # What has waited breaks it before anything is written.
        read, write = self.pipe()
        size = 0
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                size += os.write(write, b'x' * 4096)
        os.set_blocking(write, True)
        with threading.timeout(support.SHORT_TIMEOUT), soft:
            interrupt_self(A)
            self.log.append('goes on')
            try:
                os.write(write, b'y')
            except A:
                self.log.append('broken')
        os.set_blocking(read, False)
        self.assertEqual(os.read(read, 2 * size), b'x' * size)
        with self.assertRaises(BlockingIOError):
            os.read(read, 1)
        self.assertEqual(self.log, ['goes on', 'broken'])

    @needs_masks
    def test_write_that_does_not_block(self):
        read, write = self.pipe()
        output = io.StringIO()
        with self.assertRaises(A):
            with soft:
                interrupt_self(A)
                print('first', file=output)
                os.write(write, b'second')
                with open(write, 'w', closefd=False) as file:
                    print('third', file=file)
        self.assertEqual(output.getvalue(), 'first\n')
        self.assertEqual(os.read(read, 100), b'secondthird\n')


class PendingTests(FieldTestCase):
    """pending_interrupt? of Ruby."""

    def test_nothing(self):
        self.assertIs(interrupts_pending(), False)
        for scope in nointerrupts, soft, interrupts:
            with scope:
                self.assertIs(interrupts_pending(), False)
        self.assertIs(self.elsewhere(interrupts_pending), False)

    @needs_masks
    def test_something(self):
        main = threading.current_thread()
        for scope in nointerrupts, soft:
            with self.subTest(scope=scope):
                self.log.clear()
                with self.assertRaises(A):
                    with scope:
                        self.log.append(interrupts_pending())
                        self.elsewhere(main.interrupt, A)
                        self.log.append(interrupts_pending())
                self.assertEqual(self.log, [False, True])
                self.assertIs(interrupts_pending(), False)

    @needs_masks
    def test_only_of_the_current_thread(self):
        def run():
            try:
                with nointerrupts:
                    ready.set()
                    sent.wait(support.SHORT_TIMEOUT)
                    self.log.append(interrupts_pending())
                    asked.wait(support.SHORT_TIMEOUT)
            except A:
                return interrupts_pending()
        ready, sent, asked = [threading.Event() for _ in range(3)]
        thread = self.start(run)
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        thread.interrupt(A)
        self.assertIs(interrupts_pending(), False)
        sent.set()
        self.assertIs(interrupts_pending(), False)
        asked.set()
        self.assertIs(self.result(thread), False)
        self.assertEqual(self.log, [True])
        with self.assertRaises(TypeError):
            interrupts_pending(thread)

    @needs_masks
    def test_asked_before_it_is_let_in(self):
        def run():
            with nointerrupts:
                try:
                    ready.set()
                    sent.wait(support.SHORT_TIMEOUT)
                except A:
                    return 'too early'
                if interrupts_pending():
                    try:
                        with interrupts:
                            pass
                    except A:
                        return 'let in'
            return 'never'
        ready, sent = threading.Event(), threading.Event()
        thread = self.start(run)
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        thread.interrupt(A)
        sent.set()
        self.assertEqual(self.result(thread), 'let in')

    @needs_masks
    def test_thread_that_is_made(self):
        # What waits in its creator does not wait in it.
        class Thread(threading.Thread):
            def __init__(thread):
                self.log.append(interrupts_pending())
                super().__init__()

            def run(thread):
                self.log.append(interrupts_pending())

        thread = Thread()
        thread.start()
        self.result(thread)
        self.assertEqual(self.log, [False, False])
        self.log.clear()
        with self.assertRaises(A):
            with nointerrupts:
                interrupt_self(A)
                thread = Thread()
                thread.start()
                self.result(thread)
        self.assertEqual(self.log, [True, False])


class Guard:
    """A lock that Python code takes and gives back."""

    def __init__(self):
        self.lock = threading.Lock()
        self.inside = 0

    def __enter__(self):
        self.lock.acquire()
        self.inside += 1

    def __exit__(self, *args):
        self.inside -= 1
        self.lock.release()


class ThrowTests(FieldTestCase):
    """Threads that interrupt each other: throwTo of GHC."""

    def test_last_one_standing(self):
        # Each terminates whoever was at a random place before.  throwTo waits
        # until its victim is dead, so one is left there.  Here the last two
        # can have sent at the same time.
        places = [(threading.Lock(), []) for _ in range(5)]

        def run():
            me = threading.current_thread()
            go.wait(support.SHORT_TIMEOUT)
            while True:
                lock, previous = random.choice(places)
                with lock:
                    for thread in previous:
                        if thread is not me:
                            thread.terminate()
                    previous[:] = [me]

        def alive():
            return [thread for thread in threads if thread.is_alive()]
        go = threading.Event()
        threads = [self.start(run) for _ in range(30)]
        go.set()
        for _ in support.sleeping_retry(support.SHORT_TIMEOUT):
            if len(alive()) <= 1:
                break
        for thread in alive():
            thread.terminate()
        for thread in threads:
            self.assertIsNone(self.result(thread))
        for lock, previous in places:
            self.assertTrue(lock.acquire(blocking=False))

    @needs_masks
    def test_two_interrupt_each_other(self):
        def enough():
            return min(counts) >= 200 and min(map(len, caught)) >= 20

        def run(me):
            other = threads[1 - me]
            with nointerrupts:
                go.wait(support.SHORT_TIMEOUT)
                while not enough():
                    try:
                        with interrupts:
                            while not enough():
                                if not other.interrupt(A):
                                    return
                                counts[me] += 1
                    except A:
                        caught[me].append(interrupts_masked())
        counts = [0, 0]
        caught = [], []
        go = threading.Event()
        threads = [threading.Thread(target=run, args=(me,), daemon=True)
                   for me in range(2)]
        for thread in threads:
            thread.start()
            self.addCleanup(self.end, thread)
        go.set()
        for thread in threads:
            # The last one can come when it has left everything.
            with contextlib.suppress(A):
                self.result(thread)
        self.assertTrue(enough())
        for masked in caught:
            self.assertEqual(set(masked), {True})

    @needs_masks
    def test_lock_under_fire(self):
        guard = Guard()
        value = 1
        caught = 0
        over = False

        def run():
            nonlocal value, caught
            with nointerrupts:
                ready.set()
                while not over:
                    try:
                        with interrupts:
                            while not over:
                                with guard:
                                    value = value * 2 if value == 1 else 1
                    except A:
                        caught += 1
        ready = threading.Event()
        thread = self.start(run)
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        while caught < 100 and thread.is_alive():
            thread.interrupt(A)
            time.sleep(0)
        over = True
        # One more, lest it waits for a lock that is never given back.
        thread.interrupt(A)
        with contextlib.suppress(A):
            self.result(thread)
        self.assertGreaterEqual(caught, 100)
        self.assertTrue(guard.lock.acquire(blocking=False))
        self.assertEqual(guard.inside, 0)
        self.assertIn(value, (1, 2))

    @needs_masks
    def test_thread_that_is_almost_always_masked(self):
        def run():
            while True:
                with nointerrupts:
                    self.log.append('begun')
                    ready.set()
                    sent.wait(support.SHORT_TIMEOUT)
                    self.log.append('done')
        ready, sent = threading.Event(), threading.Event()
        thread = self.start(run)
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        thread.terminate()
        sent.set()
        self.assertIsNone(self.result(thread))
        self.assertEqual(self.log, ['begun', 'done'])

    @needs_masks
    def test_thread_that_masks_itself_does_its_work(self):
        # Here a thread does not start in the mask of its creator.
        main = threading.current_thread()

        def run():
            with nointerrupts:
                ready.set()
                sent.wait(support.SHORT_TIMEOUT)
                main.interrupt(A)
        ready, sent = threading.Event(), threading.Event()
        thread = self.start(run)
        self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
        thread.terminate()
        with self.assertRaises(A):
            sent.set()
            self.result(thread)
            self.log.append('missed')
        self.assertIsNone(self.result(thread))
        self.assertEqual(self.log, [])

    def test_timeout_while_it_computes_then_blocks(self):
        def use(scope):
            with threading.timeout(0.02):
                with scope:
                    # Takes longer, and lets others run.
                    hashlib.pbkdf2_hmac('sha256', b'p', b's', 200_000)
                    self.never.acquire(timeout=support.SHORT_TIMEOUT)
                    self.log.append('missed')
        for scope in interrupts, soft:
            for call in self.elsewhere, lambda function, arg: function(arg):
                with self.subTest(scope=scope, call=call):
                    with self.assertRaises(TimeoutError) as caught:
                        call(use, scope)
                    self.assertNotIsInstance(caught.exception,
                                             threading.WaitTimeoutError)
        self.assertEqual(self.log, [])

    @needs_masks
    def test_nothing_is_woken_for_what_was_withdrawn(self):
        ctypes = import_helper.import_module('ctypes')
        set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc

        def run():
            ident = ctypes.c_ulong(threading.get_ident())
            with nointerrupts:
                set_async_exc(ident, ctypes.py_object(A))
                self.log.append(interrupts_pending())
                set_async_exc(ident, None)
                self.log.append(interrupts_pending())
            before = _interrupts.kicks()
            # Long enough for some, if they came.
            self.log.append(self.never.acquire(timeout=0.1))
            return _interrupts.kicks() - before
        self.assertEqual(self.elsewhere(run), 0)
        self.assertEqual(self.log, [True, False, False])


class MaskTests(FieldTestCase):
    """mask and uninterruptibleMask of GHC, and what restores."""

    SCOPES = {'hard': nointerrupts, 'soft': soft, 'open': interrupts}

    @needs_masks
    def test_nested_scopes(self):
        # To GHC's `restore` it matters which mask it belongs to; `interrupts`
        # opens all of them.
        def expected(path):
            *_, since_opened = ' '.join(path).split('open')
            if 'hard' in since_opened:
                return 'hard'
            return 'soft' if 'soft' in since_opened else 'open'

        def check(path):
            nonlocal count
            with self.subTest(path=path):
                self.assertEqual(self.state(), expected(path))
                count += 1

        def nest(path):
            check(path)
            if len(path) == 3:
                return
            for name, scope in self.SCOPES.items():
                with scope:
                    nest([*path, name])
                check(path)
        count = 0
        nest([])
        self.assertEqual(count, 1 + 3 + 9 + 27 + 3 * (1 + 3 + 9))
    test_nested_scopes.some_subtests_pass = True

    def test_threads_start_open(self):
        for scope in nointerrupts, soft:
            with self.subTest(scope=scope):
                with scope:
                    state = self.elsewhere(self.state)
                self.assertEqual(state, 'open')

    @needs_masks
    def test_handler_is_in_the_scope(self):
        def run(scope):
            with scope:
                try:
                    if scope is soft:
                        self.sleep(ready)
                    else:
                        with interrupts:
                            self.sleep(ready)
                except B:
                    self.log.append(self.state())
                    raise
        for name, scope in self.SCOPES.items():
            with self.subTest(name):
                self.log.clear()
                ready = threading.Event()
                thread = self.start(run, scope)
                self.assertTrue(ready.wait(support.SHORT_TIMEOUT))
                thread.interrupt(B)
                with self.assertRaises(B):
                    self.result(thread)
                self.assertEqual(self.log, [name])
    test_handler_is_in_the_scope.some_subtests_pass = True

    @needs_masks
    def test_thread_that_opens_itself(self):
        def run(scope):
            with scope:
                self.log.append(self.state())
                with interrupts:
                    self.log.append(self.state())
                self.log.append(self.state())
            return self.state()
        for name, scope in self.SCOPES.items():
            if name == 'open':
                continue
            with self.subTest(name):
                self.log.clear()
                self.assertEqual(self.elsewhere(run, scope), 'open')
                self.assertEqual(self.log, [name, 'open', name])

    def send(self, *sent):
        """Let another thread send these to this one."""
        main = threading.current_thread()

        def run():
            for exc in sent:
                main.interrupt(exc)
        self.elsewhere(run)

    @needs_masks
    def test_one_let_in_and_one_later(self):
        try:
            with nointerrupts:
                self.send(A)
                self.log.append('masked')
                try:
                    with interrupts:
                        self.log.append('missed')
                except A:
                    self.log.append('let in')
                    self.send(B)
                    self.log.append(interrupts_pending())
            self.log.append('missed')
        except B:
            self.log.append('later')
        self.assertEqual(self.log, ['masked', 'let in', True, 'later'])
        self.assertEqual(self.state(), 'open')

    @needs_masks
    def test_both_at_once(self):
        # throwTo waits for its target.  Here both can wait, and then they
        # arrive together, at the first place that is open.
        try:
            with nointerrupts:
                self.send(A, B)
                try:
                    with interrupts:
                        self.log.append('missed')
                except ExceptionGroup as group:
                    self.log += map(type, group.exceptions)
                self.log.append(interrupts_pending())
        except Exception as exc:
            self.log.append(exc)
        self.assertEqual(self.log, [A, B, False])

    @needs_masks
    def test_masked_again_after_one_was_handled(self):
        try:
            with nointerrupts:
                try:
                    with interrupts:
                        self.send(A)
                        check_point()
                        self.log.append('missed')
                except A:
                    self.log.append('first')
                try:
                    self.send(B)
                    sum(range(1000))
                    check_point()
                    self.log.append('masked')
                except B:
                    self.log.append('too early')
            self.log.append('missed')
        except B:
            self.log.append('second')
        self.assertEqual(self.log, ['first', 'masked', 'second'])


class CtrlC(BaseException):
    """What SIGINT raises.  A KeyboardInterrupt would end unittest."""


def ctrl_c():
    signal.raise_signal(signal.SIGINT)
    check_point()


class CtrlCTests(FieldTestCase):
    """When Trio raises KeyboardInterrupt."""

    def setUp(self):
        super().setUp()
        self.install(signal.SIGINT, self.raise_ctrl_c)

    def raise_ctrl_c(self, signum, frame):
        raise CtrlC

    def test_open(self):
        with self.assertRaises(CtrlC):
            ctrl_c()
            self.log.append('missed')
        self.assertEqual(self.log, [])

    @needs_masks
    def test_masked(self):
        # It comes to who has called the masked function.
        def masked():
            with nointerrupts:
                ctrl_c()
                self.log.append('masked')

        with self.assertRaises(CtrlC):
            masked()
            self.log.append('missed')
        self.assertEqual(self.log, ['masked'])

    @needs_masks
    def test_first_step(self):
        class Manager:
            def __enter__(manager):
                ctrl_c()
                self.log.append('entered')

            def __exit__(manager, *args):
                self.log.append('left')

        with self.assertRaises(CtrlC):
            with Manager():
                self.log.append('missed')
        self.assertEqual(self.log, ['entered', 'left'])

    @needs_masks
    def test_last_step(self):
        def in_scope():
            with nointerrupts:
                self.log.append('masked')
                return ctrl_c(), self.log.append('done')

        def in_finally():
            try:
                pass
            finally:
                self.log.append('masked')
                self.log.append(('done', ctrl_c())[0])

        class Manager:
            def __enter__(manager):
                pass

            def __exit__(manager, *args):
                self.log.append('masked')
                return ctrl_c(), self.log.append('done')

        def in_exit():
            with Manager():
                pass

        def in_generator():
            def generator():
                with nointerrupts:
                    self.log.append('masked')
                    yield ctrl_c(), self.log.append('done')
            for _ in generator():
                check_point()
                self.log.append('missed')

        def in_generator_that_ends():
            def generator():
                with nointerrupts:
                    yield
                    self.log.append('masked')
                    ctrl_c()
                    self.log.append('done')
            for _ in generator():
                pass
            self.log.append('missed')

        for function in (in_scope, in_finally, in_exit, in_generator,
                         in_generator_that_ends):
            with self.subTest(function=function.__name__):
                self.log.clear()
                with self.assertRaises(CtrlC):
                    function()
                self.assertEqual(self.log, ['masked', 'done'])

    @needs_masks
    def test_let_in(self):
        with nointerrupts:
            ctrl_c()
            self.log.append('masked')
            with self.assertRaises(CtrlC):
                with interrupts:
                    self.log.append('missed')
            check_point()
        self.assertEqual(self.log, ['masked'])

    @needs_masks
    def test_goes_on_until_it_is_open(self):
        with self.assertRaises(CtrlC):
            with nointerrupts:
                ctrl_c()
                for i in range(3):
                    check_point()
                    self.log.append(self.never.acquire(timeout=0.001))
            self.log.append('missed')
        self.assertEqual(self.log, [False] * 3)

    def ctrl_c_while_it_waits(self, *, let_go):
        """Send it to the main thread, and then hand a lock over."""
        main = threading.get_ident()

        def run():
            signal.pthread_kill(main, signal.SIGINT)
            if let_go:
                self.lock.release()
        self.lock = threading.Lock()
        self.lock.acquire()
        self.start(run)
        return self.lock.acquire(timeout=support.SHORT_TIMEOUT)

    @needs_masks
    def test_wait_that_is_not_broken(self):
        with self.assertRaises(CtrlC):
            with nointerrupts:
                self.log.append(self.ctrl_c_while_it_waits(let_go=True))
        self.assertEqual(self.log, [True])

    @needs_masks
    def test_wait_that_is_broken(self):
        with soft:
            try:
                self.log.append('masked')
                ctrl_c()
                self.log.append('still masked')
                self.never.acquire()
            except CtrlC:
                self.log.append('broken')
        self.assertEqual(self.log, ['masked', 'still masked', 'broken'])
        with soft:
            with self.assertRaises(CtrlC):
                self.ctrl_c_while_it_waits(let_go=False)

    @needs_masks
    def test_only_where_it_blocks(self):
        def program():
            ctrl_c()
            self.log.append('goes on')
            with self.assertRaises(CtrlC):
                time.sleep(support.SHORT_TIMEOUT)
        with soft:
            program()
        self.assertEqual(self.log, ['goes on'])
        # The same program without the scope.
        self.log.clear()
        with self.assertRaises(CtrlC):
            program()
        self.assertEqual(self.log, [])

    @needs_masks
    def test_comes_before_what_was_sent(self):
        caught = []
        try:
            try:
                with nointerrupts:
                    interrupt_self(A)
                    ctrl_c()
            except BaseException as exc:
                caught.append(exc)
            check_point()
        except BaseException as exc:
            caught.append(exc)
        self.assertEqual([type(exc) for exc in caught], [CtrlC, A])

    @needs_masks
    def test_handlers_are_left_alone(self):
        def handler(signum, frame):
            self.log.append('handled')

        default = signal.getsignal(signal.SIGINT)
        for scope in nointerrupts, soft, interrupts:
            with self.subTest(scope=scope):
                signal.signal(signal.SIGINT, default)
                with scope:
                    self.assertIs(signal.getsignal(signal.SIGINT), default)
                    signal.signal(signal.SIGINT, handler)
                self.assertIs(signal.getsignal(signal.SIGINT), handler)
                # What it does not raise waits for nothing.
                with scope:
                    self.log.clear()
                    ctrl_c()
                    self.assertEqual(self.log, ['handled'])
        signal.signal(signal.SIGINT, default)
        with self.assertRaises(CtrlC):
            with nointerrupts:
                ctrl_c()
                self.log.append('masked')
        self.assertEqual(self.log, ['handled', 'masked'])
    test_handlers_are_left_alone.some_subtests_pass = True

    @needs_masks
    def test_main_thread_that_is_not_known(self):
        ident = threading.get_ident()
        known = threading._active
        with support.swap_item(known, ident, known[ident]):
            del known[ident]
            with self.assertRaises(CtrlC):
                with nointerrupts:
                    ctrl_c()
                    self.log.append(interrupts_pending())
            with self.assertRaises(CtrlC):
                with interrupts:
                    ctrl_c()
                    self.log.append('missed')
            self.assertNotIn(ident, known)
        self.assertEqual(self.log, [True])


class ProtectionTests(FieldTestCase):
    """Who is masked: what is KI-protected in Trio."""

    def test_open_by_default(self):
        self.assertEqual(self.state(), 'open')
        self.assertEqual(self.elsewhere(self.state), 'open')
        self.assertIs(interrupts_masked(), False)
        self.assertIs(self.elsewhere(interrupts_masked), False)

    @needs_masks
    def test_functions(self):
        def masked():
            with nointerrupts:
                return [interrupts_masked(), opened(), interrupts_masked()]

        def opened():
            with interrupts:
                return interrupts_masked()

        self.assertEqual(masked(), [True, False, True])
        self.assertFalse(interrupts_masked())
        with nointerrupts:
            self.assertFalse(opened())
            self.assertTrue(interrupts_masked())

    @needs_masks
    def test_coroutines(self):
        async def masked():
            with nointerrupts:
                self.log.append(interrupts_masked())
                await suspend()
                self.log.append(interrupts_masked())
                await opened()
                self.log.append(interrupts_masked())

        async def opened():
            with interrupts:
                self.log.append(interrupts_masked())
                await suspend()
                self.log.append(interrupts_masked())

        drive(masked())
        self.assertEqual(self.log, [True, True, False, False, True])

        async def masked_task():
            with nointerrupts:
                for _ in range(3):
                    await asyncio.sleep(0)
                    masked_steps.append(interrupts_masked())

        async def open_task():
            for _ in range(3):
                await asyncio.sleep(0)
                open_steps.append(interrupts_masked())

        async def take_turns():
            async with asyncio.TaskGroup() as group:
                for task in masked_task, open_task, masked_task:
                    group.create_task(task())
            return interrupts_masked()

        masked_steps = []
        open_steps = []
        self.assertFalse(asyncio.run(take_turns(),
                                     loop_factory=asyncio.EventLoop))
        self.assertEqual(masked_steps, [True] * 6)
        self.assertEqual(open_steps, [False] * 3)

    @needs_masks
    def test_generators(self):
        def masked():
            with nointerrupts:
                yield interrupts_masked()
                yield interrupts_masked()

        def opened():
            with interrupts:
                yield interrupts_masked()
                yield interrupts_masked()

        for inside in masked():
            self.assertTrue(inside)
            self.assertFalse(interrupts_masked())
        with nointerrupts:
            for inside in opened():
                self.assertFalse(inside)
                self.assertTrue(interrupts_masked())

    @needs_masks
    def test_callbacks(self):
        # Signal handlers and what has been attached.
        def callback(*args):
            self.log.append(interrupts_masked())
            interrupt_self(B)
            self.log.append('goes on')

        self.install(signal.SIGUSR1, callback)
        thread = threading.current_thread()
        thread.attach(A, callback)
        self.addCleanup(thread.detach, A)
        for send in (lambda: signal.raise_signal(signal.SIGUSR1),
                     lambda: interrupt_self(A())):
            self.log.clear()
            with self.assertRaises(B):
                send()
                check_point()
                self.log.append('missed')
            self.assertEqual(self.log, [True, 'goes on'])

    @needs_masks
    def test_suspended_and_resumed(self):
        async def masked():
            with nointerrupts:
                await child(True)

        async def opened():
            with interrupts:
                await child(False)

        async def child(expected):
            for step in range(3):
                self.log.append(interrupts_masked() is expected)
                try:
                    await suspend()
                except Failure:
                    self.log.append('thrown')

        for make in masked, opened:
            for outer in interrupts, nointerrupts:
                with self.subTest(make=make.__name__, outer=outer), outer:
                    self.log.clear()
                    around = interrupts_masked()
                    coroutine = make()
                    coroutine.send(None)
                    self.assertIs(interrupts_masked(), around)
                    coroutine.throw(Failure)
                    self.assertIs(interrupts_masked(), around)
                    coroutine.send(None)
                    self.assertIs(interrupts_masked(), around)
                    with self.assertRaises(StopIteration):
                        coroutine.throw(Failure)
                    self.assertIs(interrupts_masked(), around)
                    self.assertEqual(
                        self.log,
                        [True, 'thrown', True, True, 'thrown'])
    test_suspended_and_resumed.some_subtests_pass = True

    @needs_masks
    def test_contextmanager(self):
        @contextlib.contextmanager
        def manager():
            with nointerrupts:
                self.log.append(interrupts_masked())
            try:
                yield
            finally:
                # Also when the exception was thrown in.
                self.log.append(interrupts_masked())

        @contextlib.contextmanager
        def masking():
            with nointerrupts:
                yield

        with manager():
            self.log.append(interrupts_masked())
        with self.assertRaises(Failure):
            with manager():
                self.log.append(interrupts_masked())
                raise Failure
        self.assertEqual(self.log, [True, False, True] * 2)
        self.assertFalse(interrupts_masked())

        # A scope that is left to the caller masks the caller.
        with masking():
            self.assertTrue(interrupts_masked())
        self.assertFalse(interrupts_masked())
        with self.assertRaises(Failure):
            with masking():
                raise Failure
        self.assertFalse(interrupts_masked())

    @needs_masks
    def test_async_generators(self):
        async def masked():
            with nointerrupts:
                self.log.append(interrupts_masked())
                try:
                    await suspend()
                    yield
                finally:
                    self.log.append(interrupts_masked())

        async def opened():
            with interrupts:
                self.log.append(interrupts_masked())
                try:
                    await suspend()
                    yield
                except Failure:
                    self.log.append(interrupts_masked())
                    raise
                else:
                    self.log.append(interrupts_masked())

        async def use(make):
            async for _ in make():
                seen.append(interrupts_masked())
            generator = make()
            await anext(generator)
            seen.append(interrupts_masked())
            with self.assertRaises(Failure):
                await generator.athrow(Failure)
            seen.append(interrupts_masked())

        seen = []
        drive(use(masked))
        self.assertEqual((self.log, seen), ([True] * 4, [False] * 3))
        seen.clear()
        self.log.clear()
        with nointerrupts:
            drive(use(opened))
        self.assertEqual((self.log, seen), ([False] * 4, [True] * 3))

    @needs_masks
    def test_asynccontextmanager(self):
        @contextlib.asynccontextmanager
        async def manager():
            with nointerrupts:
                await suspend()
                self.log.append(interrupts_masked())
            try:
                yield
            finally:
                await suspend()
                self.log.append(interrupts_masked())

        async def use(exc):
            async with manager():
                self.log.append(interrupts_masked())
                await suspend()
                if exc is not None:
                    raise exc
        drive(use(None))
        with self.assertRaises(Failure):
            drive(use(Failure))
        self.assertEqual(self.log, [True, False, True] * 2)

    @needs_masks
    def test_del(self):
        class Object:
            def __del__(this):
                self.log.append(interrupts_masked())
                with interrupts:
                    # Nothing opens this.
                    self.log.append(nested())
                interrupt_self(A)
                self.log.append('goes on')

        def nested():
            return interrupts_masked()

        def drop():
            thing = Object()
            del thing
            check_point()
            self.log.append('missed')

        for outer in interrupts, contextlib.nullcontext():
            with self.subTest(outer=outer):
                self.log.clear()
                with self.assertRaises(A):
                    with outer:
                        drop()
                self.assertEqual(self.log, [True, True, 'goes on'])
                self.assertFalse(nested())

    def test_del_that_is_called(self):
        # A name alone masks nothing.
        class Object:
            def __del__(this):
                masked.append(interrupts_masked())
        masked = []
        thing = Object()
        thing.__del__()
        Object.__del__(None)
        self.assertEqual(masked, [False, False])

    @needs_masks
    def test_calls_of_one_function(self):
        def make(masks):
            def function():
                with scope:
                    return interrupts_masked()
            scope = nointerrupts if masks else contextlib.nullcontext()
            return function
        masked, opened = make(True), make(False)
        self.assertTrue(masked())
        self.assertFalse(opened())
        self.assertTrue(masked())
        self.assertFalse(opened())

    def test_asking_keeps_nothing_alive(self):
        for scope in nointerrupts, interrupts:
            with scope:
                local = A()
                ref = weakref.ref(local)
                interrupts_masked()
                interrupts_pending()
                del local
                self.assertIsNone(ref())


class TableTests(unittest.TestCase):

    def ours(self):
        """The tests of the table, and our tests."""
        named = set()
        for theirs in TABLE.values():
            for ours in theirs.values():
                if isinstance(ours, NotHere):
                    self.assertTrue(ours)
                else:
                    named.update([ours] if isinstance(ours, str) else ours)
        here = {f'{name}.{test}' for name, value in globals().items()
                if isinstance(value, type) and issubclass(value, FieldTestCase)
                for test in unittest.defaultTestLoader.getTestCaseNames(value)}
        return named, here

    def test_tests_of_the_table_exist(self):
        named, here = self.ours()
        for name in sorted(named - here):
            with self.subTest(name):
                module, class_name, test = name.split('.')
                self.assertRegex(test, '^test_')
                module = importlib.import_module(f'test.{module}')
                self.assertTrue(callable(
                    getattr(getattr(module, class_name), test)))

    def test_each_test_is_in_the_table(self):
        named, here = self.ours()
        self.assertEqual(here - named, set())
        self.assertGreater(len(here), 50)


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=40, others=20)


if __name__ == '__main__':
    interrupt_masks.main(FieldTestCase)
