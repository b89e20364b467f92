"""Interrupts in an application that embeds Python: one life of the interpreter after
another, threads that Python has not made, thread states that go from one thread to
another.

The application is interrupt_embedding.c, which is compiled here and linked with the
library in the directory that this interpreter was built in.
"""

import _interrupts
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest

from test import support

SOURCE = os.path.join(os.path.dirname(__file__), 'interrupt_embedding.c')
NOT_POSSIBLE = 77

application = None


def words(*names):
    """What these variables of the Makefile hold."""
    return [word for name in names
            for word in shlex.split(sysconfig.get_config_var(name) or '')]


def setUpModule():
    global application
    if sys.platform != 'linux' or not _interrupts.kick_signal():
        raise unittest.SkipTest('threads cannot be woken')
    if not sysconfig.is_python_build():
        raise unittest.SkipTest('needs the directory that Python was built in')
    build = sysconfig.get_config_var('abs_builddir')
    library = os.path.join(build, sysconfig.get_config_var('LIBRARY') or '')
    if not os.path.isfile(library):
        raise unittest.SkipTest(f'needs a static library, {library}')
    linker = words('LINKCC')
    if not linker or not shutil.which(linker[0]):
        raise unittest.SkipTest('needs a C compiler')
    directory = tempfile.mkdtemp()
    unittest.addModuleCleanup(shutil.rmtree, directory)
    application = os.path.join(directory, 'application')
    include = os.path.join(sysconfig.get_config_var('abs_srcdir'), 'Include')
    # As Programs/_testembed is made, but with all of the library: extension modules
    # need more of it than the application.
    command = [*linker, '-g', '-Wall', '-pthread', f'-I{build}', f'-I{include}',
               *words('PY_CORE_LDFLAGS', 'LINKFORSHARED'), '-o', application,
               SOURCE, '-Wl,--whole-archive', library, '-Wl,--no-whole-archive',
               *words('LIBS', 'MODLIBS', 'SYSLIBS')]
    process = subprocess.run(command, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, cwd=build)
    if process.returncode != 0:
        raise AssertionError(f'{shlex.join(command)}:\n{process.stdout}')


class EmbeddingTestCase(unittest.TestCase):
    def run_application(self, *args, stderr=''):
        process = subprocess.run(
            [application, sys.executable, *args], capture_output=True, text=True,
            timeout=support.LONG_TIMEOUT,
            # What it keeps for each thread is not counted as free.
            env={**os.environ, 'GLIBC_TUNABLES': 'glibc.malloc.tcache_count=0'})
        if process.returncode == NOT_POSSIBLE:
            self.skipTest('not possible here')
        self.assertEqual((process.returncode, process.stderr), (0, stderr))
        return process.stdout


class StateTests(EmbeddingTestCase):
    """A thread and a thread state find each other."""

    def test_main_thread_with_another_state(self):
        self.run_application('main_with_another_state')

    def test_state_of_another_thread(self):
        self.run_application('state_of_another_thread')

    def test_state_that_moves(self):
        self.run_application('state_that_moves')

    def test_number_is_used_again(self):
        self.run_application('number_is_used_again')

    def test_identifier_is_used_again(self):
        self.run_application('identifier_is_used_again')


class ForeignThreadTests(EmbeddingTestCase):
    def test_ends_with_something_waiting(self):
        self.run_application('foreign_thread_ends')

    def test_masks_and_enters_again(self):
        self.run_application('foreign_thread_masks')


class StackTests(EmbeddingTestCase):
    """A library switches between stacks of frames."""

    def test_stack_at_the_same_address(self):
        self.run_application('stack_at_the_same_address')

    def test_scope_before_any_frame(self):
        self.run_application('scope_before_any_frame')


class LivesTests(EmbeddingTestCase):
    """The interpreter ends and starts again."""

    def test_handler_is_given_back(self):
        self.run_application('handler_is_given_back')

    @unittest.skipIf(support.Py_GIL_DISABLED, 'needs other allocators')
    def test_pollers_stay(self):
        self.run_application('pollers_stay')

    def test_thread_outlives_the_interpreter(self):
        self.run_application('thread_outlives_the_interpreter')

    # What is done in each life: at first, in a foreign thread, at last.  The rest is
    # the same whether it is done or not: each life loses what it has compiled.

    START = r'''if True:
        import signal, sys, threading, time
        from threading import interrupts, nointerrupts, timeout

        class Interrupt(Exception):
            pass

        def block(data):
            with nointerrupts:
                with interrupts:
                    try:
                        started.set()
                        time.sleep(10)
                    except Interrupt as exc:
                        caught.append(exc)

        def send(thread, force=False):
            thread.interrupt(Interrupt)
            thread.interrupt(Interrupt('data'))
            thread.interrupt(Interrupt, force=force)

        def end_masked():
            nointerrupts.__enter__()
            timeout(1000).__enter__()
            send(threading.current_thread())

        def generate():
            with nointerrupts, timeout(1000):
                yield

        main = threading.current_thread()
        signal.signal(signal.SIGUSR1, lambda *args: 1 / 0)
        suspended = []
        for i in range(rounds):
            main.attach(ConnectionError, print)
            started, caught = threading.Event(), []
            thread = threading.Thread(target=block, args=[i])
            thread.start()
            started.wait()
            thread.interrupt(Interrupt(i))
            thread.wait()
            assert len(caught) == 1
            thread = threading.Thread(target=end_masked)
            thread.start()
            thread.join()
            try:
                with nointerrupts:
                    signal.raise_signal(signal.SIGUSR1)
            except ZeroDivisionError:
                pass
            try:
                with timeout(0.0001):
                    time.sleep(10)
            except TimeoutError:
                pass
            try:
                with timeout(1000), nointerrupts:
                    send(main)
            except ExceptionGroup:
                pass
            # Never resumed.
            suspended.append(generate())
            next(suspended[-1])
        '''
    FOREIGN = '''if True:
        thread = threading.current_thread()
        for i in range(rounds):
            end_masked()
        '''
    END = '''if True:
        # The interpreter ends while all this is in force.
        for i in range(rounds):
            suspended.append(generate())
            next(suspended[-1])
            timeout(1000).__enter__()
            nointerrupts.__enter__()
            send(main)
            signal.raise_signal(signal.SIGUSR1)
            main.interrupt(Interrupt(main))
        '''

    def measure(self, lives, *what, stderr=''):
        out = self.run_application('lives', str(lives), *what, stderr=stderr)
        return [list(map(int, line.split())) for line in out.splitlines()]

    def check_growth(self, runs, first):
        # A sanitizer's allocator does not say what it has given.
        if not support.check_sanitizer(address=True, thread=True):
            self.assertAlmostEqual(runs[-1][1], runs[first][1], delta=100)

    def test_nothing_is_left(self):
        lives, first = 50, 5
        growth = []
        for rounds in 0, 20:
            runs = self.measure(lives, f'rounds = {rounds}\n{self.START}', self.FOREIGN,
                                self.END)
            # Threads, files, timers.
            self.assertEqual(runs[-1][2:], runs[first][2:])
            growth.append((runs[-1][0] - runs[first][0]) / (lives - 1 - first))
            self.check_growth(runs, first)
        # In bytes, each time: the smallest object is larger.
        self.assertLess((growth[1] - growth[0]) / rounds, 30)

    def test_finalizer_uses_the_state_again(self):
        # An error handler is finalized after the states of all threads are cleared.
        lives, first = 12, 4
        runs = self.measure(lives, 'pass', 'pass', '''if True:
            import codecs, os, threading

            class Handler:
                def __call__(self, exc): pass
                def __del__(self, scope=threading.nointerrupts(), write=os.write):
                    with scope:
                        write(2, b'.')

            codecs.register_error('mine', Handler())
            ''', stderr='.' * lives)
        self.check_growth(runs, first)

    def run_daemon_threads(self, lives, timeout):
        # They are masked, and something waits, when the interpreter ends.
        self.run_application('lives', str(lives), f'timeout = {timeout}\n' r'''if True:
            import threading, time

            class Interrupt(Exception):
                pass

            def stay():
                with threading.timeout(timeout):
                    with threading.nointerrupts:
                        started.release()
                        # For ever: one that attaches again when the next life has
                        # begun crashes, masks or none.
                        time.sleep(100_000)

            threads = [threading.Thread(target=stay, daemon=True)
                       for i in range(5)]
            started = threading.Semaphore(0)
            for thread in threads:
                thread.start()
            for thread in threads:
                started.acquire()
            ''', '''if True:
            for thread in threads:
                thread.interrupt(Interrupt)
                thread.interrupt(Interrupt(thread))
            ''', '''if True:
            class Last:
                # Called while they are ended.
                def __del__(self):
                    for thread in threads:
                        thread.interrupt(Interrupt)
            last = Last()
            last.me = last
            del last
            ''')

    def test_daemon_threads(self):
        self.run_daemon_threads(5, 100_000)

    def test_alarms_of_daemon_threads(self):
        # They ring at any moment of the end.  An alarm wakes the thread for a moment,
        # which must not be in another life.
        for i in range(20):
            self.run_daemon_threads(1, i / 1000)

    def test_subinterpreters(self):
        self.run_application('lives', '5', r'''if True:
            import _interpreters
            for i in range(3):
                other = _interpreters.create()
                error = _interpreters.exec(other, """if True:
                    import threading
                    me = threading.current_thread()
                    try:
                        with threading.nointerrupts:
                            me.interrupt(KeyError)
                        raise SystemError
                    except KeyError:
                        pass
                    threading.nointerrupts.__enter__()
                    threading.timeout(1000).__enter__()
                    me.interrupt(KeyError)
                    me.interrupt(KeyError())
                """)
                assert error is None, error
                if i:
                    _interpreters.destroy(other)
            ''', '', '')


if __name__ == '__main__':
    unittest.main()
