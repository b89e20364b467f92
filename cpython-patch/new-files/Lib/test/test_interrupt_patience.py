"""Repeated Ctrl-C, and interrupts that wait for too long.

An interrupt that a mask holds back for a second is announced on the terminal;
pressing Ctrl-C again after that, or for the third time before it, forces it.
signal.set_interrupt_limits() changes all figures.  The promises are written down
in InternalDocs/interrupt_masking.md.

Most tests run a program in a terminal of its own and press the key there.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
from threading import nointerrupts

import _interrupts
from test import support
from test.support import import_helper, script_helper, threading_helper

pty = import_helper.import_module('pty')

CTRL_C = b'\x03'
NOTICE = b'Ctrl-C waits for code that must not be interrupted'
AGAIN = b'Press Ctrl-C again to interrupt it all the same.'
# As by default, only faster.
FAST = 'notice_after=0.3,press_gap=0.02,dead_time=0.3'


class Terminal:
    """A terminal in which a program runs."""

    def __init__(self, *command, env=None):
        self.output = b''
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, env or os.environ)
        self.status = None

    def read(self, seconds):
        """Read what there is. False if there is no more."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            # That is what the end of a terminal looks like.
            return False
        self.output += data
        return bool(data)

    def expect(self, text, seconds=support.SHORT_TIMEOUT):
        """Wait until the program has written this."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if not self.read(0.05) or time.monotonic() > deadline:
                raise AssertionError(
                    f'{text!r} is missing in:\n{self.output.decode()}')

    def press(self):
        os.write(self.fd, CTRL_C)

    def type(self, text):
        os.write(self.fd, text)

    def wait(self, seconds=support.SHORT_TIMEOUT):
        """Wait until it has ended; its exit status, negative for a signal."""
        deadline = time.monotonic() + seconds
        while self.read(0.05):
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f'does not end:\n{self.output.decode()}')
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def kill(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self):
        self.kill()
        os.close(self.fd)


@unittest.skipUnless(_interrupts.kick_signal(), 'there are no timers')
@support.requires_subprocess()
class TerminalTestCase(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)

    def program(self, code):
        """The name of a file with this program; it says when it is ready."""
        name = os.path.join(self.directory, 'program.py')
        with open(name, 'w') as file:
            file.write(textwrap.dedent(code))
        return name

    def run_in_terminal(self, code, *, limits=FAST, options=()):
        if limits:
            options = ['-X', f'interrupt_limits={limits}', *options]
        terminal = Terminal(sys.executable, *options, self.program(code),
                            env={**os.environ, 'PYTHON_COLORS': '0'})
        self.addCleanup(terminal.close)
        terminal.expect(b'ready')
        return terminal

    FINALLY = '''
        import time
        def clean_up():
            try:
                pass
            finally:
                print('ready', flush=True)
                time.sleep(60)
        clean_up()
        '''


class NoticeTests(TerminalTestCase):

    def test_what_it_says(self):
        terminal = self.run_in_terminal(self.FINALLY)
        terminal.press()
        terminal.expect(AGAIN)
        lines = terminal.output.decode().splitlines()
        start = lines.index(NOTICE.decode() + ':')
        where = f'  File "{self.program(self.FINALLY)}", line 8 in clean_up'
        self.assertEqual(lines[start + 1:start + 4],
                         [where, 'Stack (most recent call first):', where])
        self.assertIn(', line 9 in <module>', lines[start + 4])
        self.assertEqual(lines[start + 5], AGAIN.decode())

    def test_only_once(self):
        terminal = self.run_in_terminal(self.FINALLY.replace('60', '2'))
        terminal.press()
        self.assertEqual(terminal.wait(), -signal.SIGINT)
        self.assertEqual(terminal.output.count(NOTICE), 1)

    def test_not_before_its_time(self):
        terminal = self.run_in_terminal(
            self.FINALLY.replace('60', '0.5'), limits='notice_after=30')
        terminal.press()
        self.assertEqual(terminal.wait(), -signal.SIGINT)
        self.assertNotIn(NOTICE, terminal.output)

    def test_not_in_open_code(self):
        terminal = self.run_in_terminal('''
            import time
            try:
                print('ready', flush=True)
                time.sleep(60)
            except KeyboardInterrupt:
                # Longer than the notice takes.
                time.sleep(1)
            ''')
        terminal.press()
        self.assertEqual(terminal.wait(), 0)
        self.assertNotIn(NOTICE, terminal.output)

    def test_in_c_code_that_computes(self):
        # The handler runs when it gets to it; what it raises then waits.
        terminal = self.run_in_terminal('''
            import time
            try:
                pass
            finally:
                print('ready', flush=True)
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    sum(range(10_000))
            ''')
        terminal.press()
        terminal.expect(AGAIN)
        terminal.press()
        self.assertEqual(terminal.wait(), -signal.SIGINT)

    def test_although_something_was_sent(self):
        terminal = self.run_in_terminal('''
            import threading, time
            class Interrupt(Exception):
                pass
            with threading.nointerrupts:
                threading.current_thread().interrupt(Interrupt)
                print('ready', flush=True)
                for i in range(2):
                    try:
                        time.sleep(30)
                    except KeyboardInterrupt:
                        print('forced', flush=True)
            ''', limits=FAST + ',limit=60')
        for i in 1, 2:
            terminal.press()
            deadline = time.monotonic() + support.SHORT_TIMEOUT
            while terminal.output.count(AGAIN) < i:
                self.assertLess(time.monotonic(), deadline, terminal.output)
                terminal.read(0.05)
            time.sleep(0.1)
            terminal.press()
            while terminal.output.count(b'forced') < i:
                self.assertLess(time.monotonic(), deadline, terminal.output)
                terminal.read(0.05)
            time.sleep(0.4)
        terminal.wait()
        self.assertIn(b'Interrupt', terminal.output)

    def test_nobody_reads(self):
        # Writing the notice blocks nobody.
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write, b'x' * 4096)
        os.set_blocking(write, True)
        process = subprocess.Popen(
            [sys.executable, '-X', f'interrupt_limits={FAST},notice=always',
             self.program(self.FINALLY.replace('60', '1'))],
            stdout=subprocess.PIPE, stderr=write)
        os.close(write)
        with process:
            self.assertEqual(process.stdout.readline(), b'ready\n')
            process.send_signal(signal.SIGINT)
            time.sleep(0.6)
            # The traceback at the end has to wait, the program has not.
            os.read(read, 65536)
            os.read(read, 65536)
        self.assertEqual(process.returncode, -signal.SIGINT)

    def run_in_pipe(self, limits):
        process = subprocess.Popen(
            [sys.executable, '-X', f'interrupt_limits={limits}',
             self.program(self.FINALLY.replace('60', '1'))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            self.assertEqual(process.stdout.readline(), b'ready\n')
            process.send_signal(signal.SIGINT)
            stderr = process.stderr.read()
        self.assertEqual(process.returncode, -signal.SIGINT)
        return stderr

    def test_without_terminal(self):
        self.assertNotIn(NOTICE, self.run_in_pipe(FAST))
        self.assertIn(NOTICE, self.run_in_pipe(FAST + ',notice=always'))

    def test_never(self):
        terminal = self.run_in_terminal(self.FINALLY.replace('60', '1'),
                                        limits=FAST + ',notice=never')
        terminal.press()
        self.assertEqual(terminal.wait(), -signal.SIGINT)
        self.assertNotIn(NOTICE, terminal.output)

    def test_without_force(self):
        terminal = self.run_in_terminal(self.FINALLY.replace('60', '2'),
                                        limits=FAST + ',force=0')
        for i in range(5):
            terminal.press()
            time.sleep(0.1)
        terminal.expect(b'It is interrupted when that has ended.')
        start = time.monotonic()
        terminal.press()
        self.assertEqual(terminal.wait(), -signal.SIGINT)
        self.assertGreater(time.monotonic() - start, 0.5)


class ForceTests(TerminalTestCase):

    def after_the_notice(self, code, *, status=-signal.SIGINT, **kwargs):
        terminal = self.run_in_terminal(code, **kwargs)
        terminal.press()
        terminal.expect(AGAIN)
        time.sleep(0.1)
        start = time.monotonic()
        terminal.press()
        self.assertEqual(terminal.wait(), status, terminal.output.decode())
        self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(terminal.output.count(NOTICE), 1)
        return terminal.output

    def test_sleep_in_finally(self):
        output = self.after_the_notice(self.FINALLY)
        self.assertIn(b'time.sleep(60)', output)
        self.assertTrue(output.rstrip().endswith(b'KeyboardInterrupt'))

    def test_third_press(self):
        terminal = self.run_in_terminal(self.FINALLY, limits='')
        for i in range(2):
            terminal.press()
            time.sleep(0.2)
        terminal.press()
        self.assertEqual(terminal.wait(), -signal.SIGINT)
        self.assertNotIn(NOTICE, terminal.output)

    def test_key_held_down(self):
        # It is one press, however often the terminal repeats it.
        terminal = self.run_in_terminal(self.FINALLY.replace('60', '1'),
                                        limits='notice=never')
        start = time.monotonic()
        for i in range(16):
            terminal.press()
            time.sleep(0.03)
        self.assertEqual(terminal.wait(), -signal.SIGINT)
        self.assertGreater(time.monotonic() - start, 0.9)

    def test_executor_in_finally(self):
        # Its workers hang, and it is not left by Ctrl-C alone.
        self.after_the_notice('''
            import os, threading
            from concurrent.futures import ThreadPoolExecutor
            try:
                try:
                    pass
                finally:
                    with ThreadPoolExecutor(1) as executor:
                        executor.submit(threading.Event().wait)
                        print('ready', flush=True)
            except KeyboardInterrupt:
                # Its threads would be waited for at exit.
                import signal
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
            ''')

    def test_executor(self):
        # Here the first Ctrl-C ends the wait, and a second one that at exit.
        terminal = self.run_in_terminal('''
            import threading
            from concurrent.futures import ThreadPoolExecutor
            try:
                with ThreadPoolExecutor(1) as executor:
                    executor.submit(threading.Event().wait)
                    print('ready', flush=True)
            finally:
                print('broken', flush=True)
            ''')
        time.sleep(0.2)
        terminal.press()
        terminal.expect(b'broken')
        terminal.expect(b'KeyboardInterrupt')
        self.assertNotIn(NOTICE, terminal.output)
        time.sleep(0.2)
        terminal.press()
        time.sleep(0.2)
        terminal.press()
        terminal.wait()

    def test_process_that_ignores_the_key(self):
        # Popen waits for a quarter of a second, as ever.
        terminal = self.run_in_terminal('''
            import subprocess, sys
            code = ('import signal, time;'
                    'signal.signal(signal.SIGINT, signal.SIG_IGN);'
                    'print("ready", flush=True); time.sleep(60)')
            with subprocess.Popen([sys.executable, '-c', code]) as child:
                import atexit
                atexit.register(child.kill)
            ''')
        time.sleep(0.2)
        start = time.monotonic()
        terminal.press()
        self.assertEqual(terminal.wait(), -signal.SIGINT)
        self.assertLess(time.monotonic() - start, 20)

    def test_asyncio_task_that_does_not_end(self):
        output = self.after_the_notice('''
            import asyncio
            async def stubborn():
                while True:
                    try:
                        await asyncio.sleep(60)
                    except asyncio.CancelledError:
                        print('ready', flush=True)
            async def main():
                task = asyncio.create_task(stubborn())
                await asyncio.sleep(0)
            asyncio.run(main())
            ''')
        self.assertIn(b'_cancel_all_tasks', output)

    def test_enter_that_computes(self):
        self.after_the_notice('''
            class Manager:
                def __enter__(self):
                    print('ready', flush=True)
                    while True:
                        pass
                def __exit__(self, *exc_info):
                    pass
            with Manager():
                pass
            ''')

    def test_nointerrupts(self):
        self.after_the_notice('''
            import threading, time
            with threading.nointerrupts:
                print('ready', flush=True)
                while True:
                    time.sleep(0.01)
            ''')

    def test_custom_handler(self):
        output = self.after_the_notice('''
            import signal, sys, time
            class Stop(BaseException):
                pass
            def handler(signum, frame):
                raise Stop
            signal.signal(signal.SIGINT, handler)
            try:
                try:
                    pass
                finally:
                    print('ready', flush=True)
                    time.sleep(60)
            except Stop:
                print('stopped')
                sys.exit(3)
            ''', status=3)
        self.assertIn(b'stopped', output)

    def test_handler_that_raises_nothing(self):
        # It runs as ever, and nothing waits.
        terminal = self.run_in_terminal('''
            import signal, sys, time
            seen = []
            signal.signal(signal.SIGINT, lambda *args: seen.append(args))
            try:
                pass
            finally:
                print('ready', flush=True)
                while len(seen) < 5:
                    time.sleep(0.01)
            print('seen')
            ''')
        for i in range(5):
            terminal.press()
            time.sleep(0.1)
        self.assertEqual(terminal.wait(), 0)
        self.assertNotIn(NOTICE, terminal.output)
        self.assertIn(b'seen', terminal.output)

    def test_dead_time(self):
        # What handles the forced one is not cut by the presses that follow.
        terminal = self.run_in_terminal('''
            import time
            try:
                try:
                    pass
                finally:
                    print('ready', flush=True)
                    time.sleep(60)
            except KeyboardInterrupt:
                pass
            finally:
                print('handling', flush=True)
                time.sleep(1)
                print('handled', flush=True)
            ''', limits='press_gap=0.02,dead_time=30,notice=never')
        for i in range(3):
            terminal.press()
            time.sleep(0.1)
        terminal.expect(b'handling')
        for i in range(5):
            terminal.press()
            time.sleep(0.05)
        terminal.expect(b'handled')
        terminal.wait()

    def test_finalizer(self):
        # A blocked call is broken, and the interrupt raised where it can be
        # caught.
        terminal = self.run_in_terminal('''
            import time
            def generator():
                try:
                    yield
                finally:
                    try:
                        print('ready', flush=True)
                        time.sleep(60)
                    except InterruptedError:
                        print('broken', flush=True)
            g = generator()
            next(g)
            try:
                g = None
                print('too late', flush=True)
            except KeyboardInterrupt:
                print('caught', flush=True)
            ''')
        terminal.press()
        terminal.expect(AGAIN)
        time.sleep(0.1)
        terminal.press()
        self.assertEqual(terminal.wait(), 0, terminal.output.decode())
        self.assertIn(b'broken\r\n', terminal.output)
        self.assertIn(b'caught\r\n', terminal.output)
        self.assertNotIn(b'too late', terminal.output)
        self.assertNotIn(b'ignored', terminal.output)

    @unittest.skipUnless(shutil.which('sh'), 'needs a shell')
    def test_shell(self):
        # A shell sees that the program has died of the signal.
        terminal = Terminal('sh', '-i', env={
            **os.environ, 'PS1': '$ ', 'ENV': '', 'PYTHON_COLORS': '0'})
        self.addCleanup(terminal.close)
        terminal.expect(b'$ ')
        program = self.program(self.FINALLY)
        terminal.type(f'{sys.executable} -X interrupt_limits={FAST} '
                      f'{program}\n'.encode())
        terminal.expect(b'ready\r\n')
        terminal.press()
        terminal.expect(AGAIN)
        time.sleep(0.1)
        terminal.press()
        terminal.expect(b'KeyboardInterrupt')
        terminal.type(b'echo "status $?."\n')
        terminal.expect(b'status 130.')

    def prompt(self, code):
        terminal = self.run_in_terminal(code)
        terminal.expect(b'> ')
        time.sleep(0.2)
        terminal.press()
        terminal.expect(b'aborted')
        self.assertEqual(terminal.wait(), 0)
        self.assertNotIn(NOTICE, terminal.output)

    def test_prompt(self):
        # One press, in open code and in what a with statement enters.
        self.prompt('''
            print('ready', flush=True)
            try:
                input('> ')
            except KeyboardInterrupt:
                print('aborted')
            ''')
        self.prompt('''
            print('ready', flush=True)
            class Manager:
                def __enter__(self):
                    input('> ')
                def __exit__(self, *exc_info):
                    pass
            try:
                with Manager():
                    pass
            except KeyboardInterrupt:
                print('aborted')
            ''')

    def test_click(self):
        import_helper.import_module('click')
        self.prompt('''
            import click
            print('ready', flush=True)
            try:
                click.prompt('name', prompt_suffix='> ')
            except click.Abort:
                print('aborted')
            ''')


@threading_helper.requires_working_threading()
class LimitTests(unittest.TestCase):

    def setUp(self):
        self.addCleanup(signal.set_interrupt_limits,
                        **signal.get_interrupt_limits())

    def test_defaults(self):
        result = script_helper.assert_python_ok(
            '-c', 'import signal; print(signal.get_interrupt_limits())')
        self.assertEqual(eval(result.out), {
            'notice': 'terminal', 'notice_after': 1.0, 'presses': 3,
            'press_gap': 0.1, 'dead_time': 1.0, 'force': True, 'limit': 0.0})

    def test_set(self):
        old = signal.get_interrupt_limits()
        self.assertEqual(signal.set_interrupt_limits(presses=5, limit=2.5),
                         old)
        new = {**old, 'presses': 5, 'limit': 2.5}
        self.assertEqual(signal.get_interrupt_limits(), new)
        self.assertEqual(signal.set_interrupt_limits(), new)
        signal.set_interrupt_limits(notice='always', notice_after=0.25,
                                    press_gap=0, dead_time=7, force=False,
                                    limit=0)
        self.assertEqual(signal.get_interrupt_limits(), {
            'notice': 'always', 'notice_after': 0.25, 'presses': 5,
            'press_gap': 0.0, 'dead_time': 7.0, 'force': False, 'limit': 0.0})
        signal.set_interrupt_limits(**old)
        self.assertEqual(signal.get_interrupt_limits(), old)

    def test_bad_values(self):
        old = signal.get_interrupt_limits()
        for bad in (dict(presses=-1), dict(limit=-1),
                    dict(notice='sometimes'), dict(notice='never,presses=5'),
                    dict(notice_after='x'), dict(dead_time=float('nan')),
                    dict(press_gap=1e9), dict(presses=5, limit='x')):
            with self.subTest(bad), self.assertRaises(ValueError):
                signal.set_interrupt_limits(**bad)
        for bad in dict(presses=1.5), dict(presses='5'), dict(limit=[]):
            with self.subTest(bad), self.assertRaises(TypeError):
                signal.set_interrupt_limits(**bad)
        with self.assertRaises(TypeError):
            signal.set_interrupt_limits(no_such_limit=1)
        with self.assertRaises(TypeError):
            signal.set_interrupt_limits(5)
        self.assertEqual(signal.get_interrupt_limits(), old)

    def test_option_and_variable(self):
        code = ('import signal; limits = signal.get_interrupt_limits();'
                'print(limits["presses"], limits["limit"])')

        def limits(*args, **env):
            return script_helper.assert_python_ok(
                *args, '-c', code, **env).out.decode().split()
        option = ['-X', 'interrupt_limits=presses=4,limit=2']
        self.assertEqual(limits(*option), ['4', '2.0'])
        variable = dict(PYTHONINTERRUPTLIMITS='presses=7')
        self.assertEqual(limits(**variable), ['7', '0.0'])
        self.assertEqual(limits(*option, **variable), ['4', '2.0'])
        for bad in '', '=presses', '=presses=x', '=nothing=1', '=limit=-1':
            with self.subTest(bad):
                result = script_helper.assert_python_failure(
                    '-X', 'interrupt_limits' + bad, '-c', '')
                self.assertIn(b'interrupt_limits must be', result.err)

    @unittest.skipUnless(_interrupts.kick_signal(), 'there are no timers')
    def test_limit(self):
        # Whatever waits is forced, in any thread, blocked or not.
        class Interrupt(Exception):
            pass

        def block():
            time.sleep(support.LONG_TIMEOUT)

        def compute():
            end = time.monotonic() + support.LONG_TIMEOUT
            while time.monotonic() < end:
                pass

        signal.set_interrupt_limits(limit=0.1)
        for work in block, compute:
            with self.subTest(work.__name__):
                caught = []
                ready = threading.Event()

                def run():
                    try:
                        with nointerrupts:
                            ready.set()
                            work()
                    except Interrupt:
                        caught.append(time.monotonic())
                thread = threading.Thread(target=run, daemon=True)
                thread.start()
                ready.wait()
                sent = time.monotonic()
                thread.interrupt(Interrupt)
                thread.join(support.SHORT_TIMEOUT)
                self.assertFalse(thread.is_alive())
                self.assertGreaterEqual(caught[0] - sent, 0.09)

                with self.assertRaises(Interrupt), nointerrupts:
                    start = time.monotonic()
                    threading.current_thread().interrupt(Interrupt)
                    work()
                self.assertGreaterEqual(time.monotonic() - start, 0.09)

    @unittest.skipUnless(_interrupts.kick_signal(), 'there are no timers')
    def test_limit_of_one_that_is_withdrawn(self):
        # It is not that of the next one.
        set_async_exc = import_helper.import_module(
            'ctypes').pythonapi.PyThreadState_SetAsyncExc
        import ctypes
        ident = ctypes.c_ulong(threading.get_ident())
        signal.set_interrupt_limits(limit=0.1)
        with self.assertRaises(ZeroDivisionError):
            with nointerrupts:
                set_async_exc(ident, ctypes.py_object(KeyError))
                sum(range(10))
                set_async_exc(ident, None)
                time.sleep(0.2)
                _interrupts.send(threading.get_ident(), ZeroDivisionError)
                time.sleep(0.05)
                went_on = True
        self.assertTrue(went_on)

    @support.requires_fork()
    def test_presses_are_not_the_childs(self):
        script_helper.assert_python_ok(
            '-X', 'interrupt_limits=press_gap=0', '-c', '''if True:
            import os, signal, threading
            def interrupt():
                os.kill(os.getpid(), signal.SIGINT)
                sum(range(10))
            try:
                with threading.nointerrupts:
                    interrupt()
                    interrupt()
                    pid = os.fork()
                    if pid == 0:
                        try:
                            interrupt()
                        except KeyboardInterrupt:
                            os._exit(1)
                        os._exit(0)
            except KeyboardInterrupt:
                pass
            assert os.waitpid(pid, 0)[1] == 0
            ''')

    def test_no_limit_in_open_code(self):
        # What is not held back is not counted.
        signal.set_interrupt_limits(limit=0.01)
        kicks = _interrupts.kicks()
        time.sleep(0.05)
        self.assertEqual(_interrupts.kicks(), kicks)


if __name__ == '__main__':
    unittest.main()
