"""New processes, made where interrupts are masked and something waits.

What a child of os.fork() has of scopes and regions is tested in
test_interrupt_scopes, how it is woken in test_interrupt_blocking.
"""

import _interrupts
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

from test import support
from test.support import import_helper, interrupt_masks, script_helper
from test.support.interrupt_masks import may_need_masks, needs_masks
from threading import interrupts, interrupts_masked, interrupts_pending, nointerrupts

if not (hasattr(os, 'fork') and support.has_fork_support):
    raise unittest.SkipTest('needs os.fork()')

needs_kicks = unittest.skipUnless(_interrupts.kick_signal(),
                                  'nobody can be woken')


class Interrupt(Exception):
    pass


def state():
    """What a child finds, as an exit code: 40 if nothing masks or waits."""
    return 40 + interrupts_masked() + 2 * interrupts_pending()


def exit_with_state():
    # What is raised here must not go on in what the parent runs.
    try:
        code = state()
    except BaseException:
        code = 39
    os._exit(code)


CLEAN, MASKED = 40, 41

PROGRAM = 'from test import test_interrupt_fork as t; t.new_program()'


def new_program():
    """Exit with 40 if there is nothing left of who has started this program."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    kick = _interrupts.kick_signal()
    urgent = not kick or signal.getsignal(kick) == signal.SIG_DFL
    ready = signal.getsignal(signal.SIGINT) == signal.default_int_handler
    os._exit(state() if ready and urgent and not blocked else 39)


def exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class ForkTestCase(unittest.TestCase):
    def run_program(self, source, *args):
        """Run it in a process of its own, which can do what it likes."""
        return script_helper.assert_python_ok('-W', 'ignore', '-c', source, *args)


class ProcessTests(ForkTestCase):
    """A process is made in masked code; then all is as before."""

    def masked_by_scope(self, function):
        with nointerrupts:
            function()

    def masked_by_finally(self, function):
        try:
            pass
        finally:
            function()

    def check(self, make, expected):
        """Call `make`, which makes a process and returns its exit code."""
        def function():
            thread.interrupt(Interrupt(1))
            thread.interrupt(Interrupt)
            signal.raise_signal(signal.SIGUSR1)
            self.assertTrue(interrupts_pending())
            found.append(make())
            # The parent has what waited.
            self.assertTrue(interrupts_pending())
            self.assertTrue(interrupts_masked())

        def handler(signum, frame):
            raise ZeroDivisionError

        thread = threading.current_thread()
        old = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        for masked in self.masked_by_scope, self.masked_by_finally:
            with self.subTest(masked.__name__):
                found = []
                caught = []
                try:
                    try:
                        masked(function)
                        self.fail('nothing was raised')
                    except ZeroDivisionError:
                        caught.append(ZeroDivisionError)
                    for i in range(10):
                        pass
                    self.fail('nothing else was raised')
                except ExceptionGroup as group:
                    caught.extend(map(type, group.exceptions))
                self.assertEqual(caught,
                                 [ZeroDivisionError, Interrupt, Interrupt])
                self.assertEqual(found, [expected])
                self.assertFalse(interrupts_pending())
                self.assertFalse(interrupts_masked())

    @needs_masks
    def test_fork(self):
        def make():
            pid = os.fork()
            if not pid:
                exit_with_state()
            return exit_code(pid)
        self.check(make, MASKED)

    @needs_masks
    def test_fork_in_another_thread(self):
        # That is open.
        def run():
            pid = os.fork()
            if not pid:
                exit_with_state()
            codes.append(exit_code(pid))

        def make():
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            return codes.pop()

        codes = []
        self.check(make, CLEAN)

    @needs_masks
    def test_forkpty(self):
        def make():
            pid, fd = os.forkpty()
            if not pid:
                exit_with_state()
            code = exit_code(pid)
            os.close(fd)
            return code
        self.check(make, MASKED)

    @needs_masks
    def test_preexec_fn(self):
        # It is open, though fork() is called in masked code.
        def make():
            return subprocess.run([sys.executable, '-c', ''],
                                  preexec_fn=exit_with_state).returncode
        self.check(make, CLEAN)

    @needs_masks
    def test_subprocess(self):
        for options in {}, {'close_fds': False}, {'preexec_fn': int}:
            with self.subTest(options):
                def make():
                    return subprocess.run([sys.executable, '-c', PROGRAM],
                                          **options).returncode
                self.check(make, CLEAN)

    @needs_masks
    def test_posix_spawn(self):
        def make():
            return exit_code(os.posix_spawn(
                sys.executable, [sys.executable, '-c', PROGRAM], os.environ))
        self.check(make, CLEAN)

    @needs_masks
    def test_exec(self):
        # Nothing is left of timers, either.
        def make():
            pid = os.fork()
            if not pid:
                limit = threading.timeout(0.001)
                limit.__enter__()
                # It may be over before: there are audit hooks.
                nointerrupts.__enter__()
                threading.current_thread().interrupt(Interrupt)
                os.execv(sys.executable, [sys.executable, '-c', PROGRAM])
            return exit_code(pid)
        self.check(make, CLEAN)

    def check_multiprocessing(self, method):
        context = multiprocessing.get_context(method)

        def make():
            process = context.Process(target=exit_with_state)
            process.start()
            process.join()
            code = process.exitcode
            process.close()
            return code

        self.check(make, CLEAN)

    @needs_masks
    def test_multiprocessing_fork(self):
        self.check_multiprocessing('fork')

    @needs_masks
    def test_multiprocessing_spawn(self):
        self.check_multiprocessing('spawn')

    @needs_masks
    def test_multiprocessing_forkserver(self):
        from multiprocessing import forkserver
        # It is started in masked code, too.
        forkserver._forkserver._stop()
        self.addCleanup(forkserver._forkserver._stop)
        self.check_multiprocessing('forkserver')


class HookTests(ForkTestCase):
    """Nobody could be told what a function of os.register_at_fork() raises."""

    PROGRAM = '''if True:
        import os, signal, subprocess, sys, threading
        way, when = sys.argv[1:]
        out = os.dup(1)         # not that of a child with a terminal of its own
        log = []
        pid = None

        def hook(name):
            log.append(name)
            if name == when:
                signal.raise_signal(signal.SIGINT)
                log.append('went on')
                threading.current_thread().interrupt(ValueError)
                log.append('went on')
                threading.current_thread().interrupt(LookupError)
            log.append('end')

        def fork():
            global pid
            pid = os.fork() if way == 'fork' else os.forkpty()[0]
            # The number is not lost.
            try:
                for i in range(3): pass
            finally:
                log.append('known' if pid is not None else 'lost')

        def popen():
            def leave():
                # Popen() masks.
                os.write(out, f'child {log}\\n'.encode())
                os._exit(0)
            process = subprocess.Popen([sys.executable, '-c', ''],
                                       preexec_fn=leave)
            try:
                for i in range(3): pass
            finally:
                log.append('known')
                process.wait()

        for name in 'before', 'after_in_child', 'after_in_parent':
            os.register_at_fork(**{name: lambda name=name: hook(name)})
        try:
            popen() if way == 'preexec_fn' else fork()
        except BaseException as exc:
            while exc is not None:
                log.append(type(exc).__name__)
                exc = exc.__context__
        if pid == 0:
            os.write(out, f'child {log}\\n'.encode())
            os._exit(0)
        if pid:
            os.waitpid(pid, 0)
        os.write(out, f'parent {log}\\n'.encode())
        os._exit(0)
        '''

    def check(self, way, when, child, parent):
        with self.subTest(way, when=when):
            result = self.run_program(self.PROGRAM, way, when)
            self.assertEqual(result.err, b'')
            lines = sorted(result.out.decode().splitlines())
            expected = [f'parent {parent}']
            if child is not None:
                expected.insert(0, f'child {child}')
            self.assertEqual(lines, expected)

    FIRST = ['before', 'end']
    CUT = ['went on', 'went on', 'end']
    # At the end of the finally clause comes what was sent.
    RAISED = ['ExceptionGroup', 'KeyboardInterrupt']

    def test_before(self):
        for way in 'fork', 'forkpty', 'preexec_fn':
            before = ['before', *self.CUT]
            # Popen() itself is told, and has ended the child.
            known = [] if way == 'preexec_fn' else ['known']
            self.check(way, 'before',
                       [*before, 'after_in_child', 'end', *known],
                       [*before, 'after_in_parent', 'end', *known,
                        *self.RAISED])

    def test_after_in_parent(self):
        for way in 'fork', 'forkpty', 'preexec_fn':
            known = [] if way == 'preexec_fn' else ['known']
            self.check(way, 'after_in_parent',
                       [*self.FIRST, 'after_in_child', 'end', *known],
                       [*self.FIRST, 'after_in_parent', *self.CUT, *known,
                        *self.RAISED])

    def test_after_in_child(self):
        for way in 'fork', 'forkpty', 'preexec_fn':
            child = [*self.FIRST, 'after_in_child', *self.CUT]
            parent = [*self.FIRST, 'after_in_parent', 'end']
            if way == 'preexec_fn':
                # That has not been called, and the parent is told.
                child = None
                parent.append('SubprocessError')
            else:
                child += ['known', *self.RAISED]
                parent.append('known')
            self.check(way, 'after_in_child', child, parent)


class ThreadTests(ForkTestCase):
    """Other threads than the main one fork; others hold what the child needs."""

    @needs_kicks
    def test_signals_wake_who_has_forked(self):
        # Nothing has been sent to that thread, and no handler is installed in the
        # child.  Another one takes the signal.
        self.run_program('''if True:
            import os, signal, sys, threading, time
            limit = float(sys.argv[1])

            class Taken(Exception):
                pass

            def handler(signum, frame):
                raise Taken

            def take():
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
                over.wait()

            def fork():
                pid = os.fork()
                if pid == 0:
                    threading.Thread(target=take, daemon=True).start()
                    start = time.monotonic()
                    signal.setitimer(signal.ITIMER_REAL, 0.1)
                    try:
                        time.sleep(limit)
                    except Taken:
                        os._exit(7 if time.monotonic() - start < limit else 1)
                    os._exit(2)
                codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

            codes = []
            over = threading.Event()
            signal.signal(signal.SIGALRM, handler)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
            assert codes == [7], codes
            ''', '5')

    @needs_kicks
    def test_timeouts(self):
        # Those of the thread that forks go on, those of others are not the child's.
        self.run_program('''if True:
            import os, sys, threading, time
            limit = float(sys.argv[1])

            def count_timers():
                try:
                    with open('/proc/self/timers') as file:
                        return sum(line.startswith('ID:') for line in file)
                except FileNotFoundError:
                    return 0

            def other():
                try:
                    with threading.timeout(0.3):
                        started.release()
                        time.sleep(limit)
                except TimeoutError:
                    ended.append('other')

            def fork():
                start = time.monotonic()
                try:
                    with threading.timeout(0.2):
                        global pid
                        pid = os.fork()
                        if pid == 0 and count_timers() > 1:
                            os._exit(2)
                        time.sleep(limit)
                except TimeoutError:
                    ended.append(time.monotonic() - start < limit / 2)
                if pid == 0:
                    # The time of those that others have is over.
                    time.sleep(0.3)
                    try:
                        with threading.timeout(0.01):
                            time.sleep(limit)
                    except TimeoutError:
                        ended.append('again')
                    os._exit(7 if ended == [True, 'again'] else 1)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                assert code == 7, code
                ended.append('child')

            ended = []
            started = threading.Semaphore(0)
            others = [threading.Thread(target=other) for i in range(3)]
            for thread in others:
                thread.start()
            for thread in others:
                started.acquire()
            thread = threading.Thread(target=fork)
            thread.start()
            for thread in *others, thread:
                thread.join()
            assert sorted(map(str, ended)) == sorted(
                ['True', 'other', 'other', 'other', 'child']), ended
            ''', str(support.SHORT_TIMEOUT))

    @needs_kicks
    def test_who_waits_does_so_in_the_parent(self):
        self.run_program("""if True:
            import os, threading, time

            go = threading.Event()
            thread = threading.Thread(target=go.wait)
            thread.start()
            waiters = [threading.Thread(target=thread.wait) for _ in range(2)]
            for waiter in waiters:
                waiter.start()
            while thread._wait_count < 2:
                time.sleep(0.001)
            pid = os.fork()
            if not pid:
                thread.wait()
                os._exit(40 + thread._wait_count)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 40
            assert thread._wait_count == 2
            go.set()
            for waiter in waiters:
                waiter.join()
            """)

    # The threads that are started may end with one of the library's locks.
    @may_need_masks
    @support.skip_if_sanitizer('no thread can be started in the child',
                               thread=True)
    def test_fork_while_all_is_in_use(self):
        # Records, queues, timers, the list of pollers: none of their locks is held by a
        # thread that the child does not have.
        import_helper.import_module('ctypes')
        self.run_program('''if True:
        import ctypes, os, signal, sys, threading, time

        class Interrupt(Exception):
            pass

        class Poller(ctypes.Structure):
            _fields_ = [('name', ctypes.c_char_p), ('taken', ctypes.c_void_p),
                        ('arg', ctypes.c_void_p)]

        # A function of C that takes an int, and does nothing.
        nothing = ctypes.cast(ctypes.CDLL(None).abs, ctypes.c_void_p)
        api = ctypes.pythonapi

        def add_poller():
            poller = Poller(b'poller', nothing, None)
            assert api.PyInterrupt_AddPoller(ctypes.byref(poller)) == 0
            return poller

        def remove_poller(poller):
            assert api.PyInterrupt_RemovePoller(ctypes.byref(poller)) == 0

        def watch(pid):
            # A child that hangs is ended.
            end = time.monotonic() + float(sys.argv[1])
            while not (found := os.waitpid(pid, os.WNOHANG))[0]:
                if time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    return 'hangs'
                time.sleep(0.001)
            return os.waitstatus_to_exitcode(found[1])

        def ignore_interrupts():
            while True:
                try:
                    while not over:
                        time.sleep(10)
                    return
                except Interrupt:
                    pass

        def send():
            while not over:
                for thread in blocked:
                    thread.interrupt(Interrupt)
                    thread.interrupt(Interrupt())
                time.sleep(0)

        def limit():
            while not over:
                try:
                    with threading.timeout(0.001):
                        time.sleep(0.001)
                except TimeoutError:
                    pass

        def start():
            while not over:
                thread = threading.Thread(target=time.sleep, args=(0.001,))
                thread.start()
                thread.interrupt(SystemExit)
                thread.join()

        def poll():
            while not over:
                remove_poller(add_poller())
                time.sleep(0)

        def work_as_child():
            me = threading.current_thread()
            for i in range(3):
                try:
                    with threading.timeout(0.002):
                        time.sleep(10)
                except TimeoutError:
                    pass
                sender = threading.Thread(target=me.interrupt, args=(Interrupt,))
                try:
                    sender.start()
                    time.sleep(10)
                except Interrupt:
                    pass
                sender.join()
            signal.raise_signal(signal.SIGUSR1)
            remove_poller(add_poller())

        def fork():
            global over
            for i in range(60):
                pid = os.fork()
                if pid == 0:
                    try:
                        work_as_child()
                    finally:
                        os._exit(7 if sys.exception() is None else 1)
                codes.append(watch(pid))
            over = True

        codes = []
        over = False
        sys.setswitchinterval(1e-4)
        signal.signal(signal.SIGUSR1, lambda *args: None)
        poller = add_poller()
        blocked = [threading.Thread(target=ignore_interrupts) for i in range(2)]
        threads = [threading.Thread(target=function)
                   for function in (send, limit, start, poll, fork)]
        for thread in *blocked, *threads:
            thread.start()
        while not over:
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(0.0001)
        for thread in threads:
            thread.join()
        for thread in blocked:
            while thread.is_alive():
                thread.interrupt(Interrupt)
                time.sleep(0.001)
        assert codes == [7] * 60, codes
        ''', str(support.SHORT_TIMEOUT))

    # Without masks an interrupt can end the thread that starts programs.
    @may_need_masks
    @needs_kicks
    def test_interrupts_do_not_come_to_new_programs(self):
        # Threads that start programs, some of them sharing memory with them until
        # they run, are interrupted all the time.
        self.run_program('''if True:
            import os, subprocess, sys, threading, time
            class Interrupt(Exception):
                pass

            def start_programs(**options):
                codes = []
                try:
                    with threading.nointerrupts:
                        ready.release()
                        while len(codes) < 25:
                            try:
                                codes.append(subprocess.run(['true'],
                                                            **options).returncode)
                                with threading.interrupts:
                                    for i in range(3): pass
                            except* Interrupt:
                                pass
                        if codes == [0] * 25:
                            good.append(options)
                except* Interrupt:
                    pass

            good = []
            ready = threading.Semaphore(0)
            threads = [threading.Thread(target=start_programs, kwargs=options)
                       for options in ({}, {'preexec_fn': int}, {'umask': 0o77})]
            for thread in threads:
                thread.start()
            for thread in threads:
                ready.acquire()
            while any([thread.interrupt(Interrupt) for thread in threads]):
                time.sleep(0.0002)
            for thread in threads:
                thread.join()
            assert len(good) == 3, good
            ''')


class WithoutMasksTests(unittest.TestCase):
    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=9, others=5)


if __name__ == '__main__':
    interrupt_masks.main(ForkTestCase)
