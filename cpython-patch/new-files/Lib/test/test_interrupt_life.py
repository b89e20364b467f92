"""Ctrl-C at each check point of a process's life, from the first to the last.

Programs/_testembed runs `python` with SIGINT raised at its N-th check point,
counted from the moment at which the handler is installed.  It is a real signal
with a real handler, so what is judged is what a user would see: how the
process ends, and what it writes.  Where nothing checks, because a call blocks,
SIGINT is sent from outside.

InternalDocs/interrupt_masking.md says what is promised.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from concurrent.futures import ThreadPoolExecutor

from test import support

EXE = os.path.join(os.path.dirname(sys.executable), 'Programs', '_testembed')

# Nobody else's files, and no site module: the same check points everywhere.
BARE = ('-I', '-S')

# What must not be seen, whenever Ctrl-C comes.
NOISE = ('Exception ignored', 'Fatal Python error', 'SystemError', 'Error in ',
         'Traceback (most recent call last):\n\n', 'not import', 'failed')


class Life:
    """What became of a process that was interrupted at one check point.

    n        the number of that check point
    reached  was there an n-th?
    status   its exit status, negative for a signal
    out, err what it has written
    """

    def __init__(self, n, reached, status, out, err):
        self.n = n
        self.reached = reached
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self):
        return (f'<interrupt at check point {self.n}: exit status '
                f'{self.status}, stdout {self.out!r}, stderr:\n{self.err}>')


@unittest.skipUnless(os.path.exists(EXE), f'there is no {EXE}')
@unittest.skipUnless(hasattr(signal, 'SIGUSR1'), 'needs SIGUSR1')
@support.requires_subprocess()
class LifeTestCase(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith('PYTHON')}

    def write(self, name, code):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write(textwrap.dedent(code))
        return path

    def live(self, n, args, *, input=''):
        """Run python with these arguments, cut at the n-th check point.

        {n} in an argument is that number.
        """
        read_end, write_end = os.pipe()
        with open(read_end, 'rb') as reached:
            try:
                process = subprocess.Popen(
                    [EXE, 'test_interrupt_at', str(n), str(write_end),
                     sys.executable,
                     *(arg.replace('{n}', str(n)) for arg in args)],
                    pass_fds=[write_end], env=self.env, cwd=self.directory,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, text=True)
            finally:
                os.close(write_end)
            with process:
                try:
                    out, err = process.communicate(
                        input, timeout=support.SHORT_TIMEOUT)
                except subprocess.TimeoutExpired:
                    process.kill()
                    out, err = process.communicate()
                    self.fail(f'hangs: check point {n}, {out!r}, {err}')
            return Life(n, reached.read() == b'!', process.returncode,
                        out, err)

    def last(self, holds, start=1):
        """The last n for which holds(n), which holds for none after that."""
        low, high = start, start + 1
        while holds(high):
            self.assertLess(high, 1_000_000, 'has no end')
            low, high = high, high + 2 * (high - start)
        while high - low > 1:
            middle = (low + high) // 2
            if holds(middle):
                low = middle
            else:
                high = middle
        return low

    def sweep(self, *args, step=1, after=None, **kwargs):
        """Yield a Life for each step-th check point and the last ones.

        With *after*, only for those that come when that has been written.
        """
        first = 1
        if after is not None:
            first = 1 + self.last(
                lambda n: after not in self.live(n, args, **kwargs).out)
        last = self.last(lambda n: self.live(n, args, **kwargs).reached, first)
        points = sorted({*range(first, last, step),
                         *range(max(first, last - 10), last + 1)})
        if support.verbose:
            print(f'{last - first + 1} check points, {len(points)} tried: '
                  f'{self.id()}')
        with ThreadPoolExecutor(os.process_cpu_count()) as executor:
            yield from executor.map(
                lambda n: self.live(n, args, **kwargs), points)

    def problem(self, life, *, status=0, out='', error=''):
        """Say what is wrong, or None.

        *status*, *out* and *error* are the exit status, the output and the
        last line of stderr without an interrupt.
        """
        for noise in NOISE:
            if noise in life.err:
                return f'{noise!r} is written'
        lines = life.err.splitlines()
        interrupts = lines.count('KeyboardInterrupt')
        if life.status == -signal.SIGINT:
            if interrupts > 1:
                return 'two KeyboardInterrupts for one'
            if interrupts and lines[-1] != 'KeyboardInterrupt':
                return 'something follows KeyboardInterrupt'
            if not interrupts and lines and lines[-1] != error:
                return 'this is no normal end'
        elif life.status != status:
            return f'exit status {life.status}'
        elif life.reached:
            return 'the interrupt is lost'
        elif interrupts or lines[-1:] != ([error] if error else []):
            return 'KeyboardInterrupt, but the exit status says nothing'
        elif life.out != out:
            return 'something is missing, but the exit status says nothing'

    def check(self, *args, also=lambda life: None, after=None, step=1,
              input='', **normal):
        """Sweep; *also* says what else is wrong."""
        ended = set()
        for life in self.sweep(*args, after=after, step=step, input=input):
            problem = self.problem(life, **normal) or also(life)
            if problem is not None:
                self.fail(f'{problem}: {life!r}')
            ended.add(life.status)
        # Otherwise nothing was seen at all.
        self.assertIn(-signal.SIGINT, ended)

    def find_problem(self, *args, also=lambda life: None, after=None, step=1,
                     **normal):
        """The same where something has to be wrong."""
        for life in self.sweep('-X', 'interrupt_masks=0', *args,
                               after=after, step=step):
            if (self.problem(life, **normal) or also(life)) is not None:
                return life
        self.fail('nothing is wrong though nothing is masked')


class StartUp(LifeTestCase):

    def test_start(self):
        self.check(*BARE, '-c', 'print(1)', out='1\n', step=7)

    def test_site(self):
        # It is 10 times as much.
        self.check('-c', 'print(1)', out='1\n', step=53)

    def test_without_masks(self):
        life = self.find_problem(*BARE, '-c', 'print(1)', out='1\n', step=97)
        self.assertIn('Fatal Python error', life.err)

    def test_file(self):
        name = self.write('program.py', 'print(1)')
        self.check(*BARE, name, out='1\n', step=17)

    def test_coding(self):
        # Reading the program imports the codec.
        name = self.write('program.py', '# coding: iso-8859-15\nprint(1)')
        self.check(*BARE, name, out='1\n', step=29)

    def test_directory(self):
        self.write('program/__main__.py', 'print(1)')
        self.check(*BARE, os.path.join(self.directory, 'program'), out='1\n',
                   step=59)

    def test_module(self):
        self.write('program.py', 'print(1)')
        self.check('-S', '-m', 'program', out='1\n', step=59)

    def test_stdin(self):
        self.check(*BARE, '-', input='print(1)', out='1\n', step=17)

    def test_sitecustomize(self):
        # What it has registered runs, and it is no fatal error.
        self.write('sitecustomize.py', """
            import atexit
            atexit.register(print, 'end')
            print('begin', flush=True)
            for i in range(5):
                len('')
            """)
        self.env['PYTHONPATH'] = self.directory

        def also(life):
            if life.out.endswith('end\n'):
                return None
            return 'what has been registered has not run'

        self.check('-c', 'print(1)', out='begin\n1\nend\n', after='begin\n',
                   step=7, also=also)

    def test_blocked_in_sitecustomize(self):
        self.write('sitecustomize.py', """
            import atexit, time
            atexit.register(print, 'end')
            print('begin', flush=True)
            time.sleep(1000)
            """)
        self.env['PYTHONPATH'] = self.directory
        life = interrupt(self, '-c', 'print(1)', when='begin\n')
        self.assertIsNone(self.problem(life), life)
        self.assertEqual((life.status, life.out), (-signal.SIGINT, 'end\n'))
        self.assertIn('time.sleep(1000)', life.err)


class Import(LifeTestCase):

    PROGRAM = """
        import sys
        sys.path.insert(0, {directory!r})
        print('begin', flush=True)

        def check(when):
            for name, module in list(sys.modules.items()):
                if name.startswith('package') and not hasattr(module, 'last'):
                    print(when, name, 'is half there')

        try:
            import package.sub.deep
            print('imported')
        except KeyboardInterrupt:
            check('at once')
            raise
        finally:
            check('at the end')
        """

    def setUp(self):
        super().setUp()
        self.write('lib/package/__init__.py', 'first = 1\nlen("")\nlast = 1\n')
        self.write('lib/package/sub/__init__.py',
                   'from . import other\nlast = other.last\n')
        self.write('lib/package/sub/other.py',
                   'first = 1\nlen("")\nlast = 1\n')
        self.write('lib/package/sub/deep.py', 'first = 1\nlen("")\nlast = 1\n')
        self.lib = os.path.join(self.directory, 'lib')
        self.name = self.write('program.py',
                               self.PROGRAM.format(directory=self.lib))

    def also(self, life):
        if 'half' in life.out:
            return 'half a module'

    def test_without_pyc(self):
        self.check(*BARE, '-B', self.name, after='begin\n', step=17,
                   out='begin\nimported\n', also=self.also)

    def test_with_pyc(self):
        subprocess.run([sys.executable, *BARE, self.name], check=True,
                       env=self.env, stdout=subprocess.DEVNULL)
        self.check(*BARE, self.name, after='begin\n', step=17,
                   out='begin\nimported\n', also=self.also)

    def test_writing_pyc(self):
        # Nothing half written is left.  Only the writing, so that each check
        # point can be tried.
        cache = os.path.join(self.directory, 'cache')

        def also(life):
            for directory, _, files in os.walk(cache + str(life.n)):
                for file in files:
                    if not file.endswith('.pyc'):
                        return f'{file} is left in {directory}'

        self.check(*BARE, self.write('writing.py', """
            import sys
            from importlib._bootstrap_external import SourceFileLoader
            loader = SourceFileLoader('module', __file__)
            path = sys.argv[1] + '/module.pyc'
            print('begin', flush=True)
            loader._cache_bytecode(__file__, path, bytes(1000))
            print('written')
            """), cache + '{n}', after='begin\n', out='begin\nwritten\n',
            also=also)


class Exit(LifeTestCase):

    # Some Python code with check points of its own.
    WORK = """
        def work(name):
            print(name, 'begins')
            for i in range(3):
                len(name)
            print(name, 'ends')
        """

    def program(self, *parts):
        return self.write('program.py', '\n'.join(
            textwrap.dedent(part) for part in (self.WORK, *parts)))

    def complete(self, expected):
        def also(life):
            if life.out != expected:
                return 'something has not been done'
        return also

    ATEXIT = """
        import atexit
        for name in 'abc':
            atexit.register(work, name)
        print('ready', flush=True)
        """
    ATEXIT_OUT = 'ready\n' + ''.join(
        f'{name} begins\n{name} ends\n' for name in 'cba')

    def test_atexit(self):
        self.check(*BARE, self.program(self.ATEXIT), after='ready\n',
                   out=self.ATEXIT_OUT, also=self.complete(self.ATEXIT_OUT))

    def test_atexit_without_masks(self):
        self.find_problem(*BARE, self.program(self.ATEXIT), after='ready\n',
                          out=self.ATEXIT_OUT,
                          also=self.complete(self.ATEXIT_OUT))

    def test_sys_exit(self):
        name = self.program(self.ATEXIT, 'import sys; sys.exit(3)')
        self.check(*BARE, name, after='ready\n', status=3, out=self.ATEXIT_OUT,
                   also=self.complete(self.ATEXIT_OUT))

    def test_uncaught_exception(self):
        name = self.program(self.ATEXIT, '1 / 0')

        def also(life):
            if 'Error' in life.err and (
                    '    1 / 0\n' not in life.err
                    or 'Error: division by zero\n' not in life.err):
                return 'half a traceback'
            return self.complete(self.ATEXIT_OUT)(life)

        self.check(*BARE, name, after='ready\n', status=1, out=self.ATEXIT_OUT,
                   error='ZeroDivisionError: division by zero', also=also,
                   step=293)

    def test_threads(self):
        # The thread is waited for, or the exit status says otherwise.
        self.check(*BARE, self.program("""
            import threading, time
            def run():
                time.sleep(0.05)
                print('thread ends')
            thread = threading.Thread(target=run)
            # How many check points a start has differs; none of them is tried.
            with threading.nointerrupts:
                thread.start()
                print('ready', flush=True)
            """), after='ready\n', step=5, out='ready\nthread ends\n')

    def test_executor(self):
        self.check(*BARE, self.program("""
            import threading
            from concurrent.futures import ThreadPoolExecutor
            executor = ThreadPoolExecutor(2)
            with threading.nointerrupts:
                for name in 'ab':
                    executor.submit(len, name)
                print('ready', flush=True)
            """), after='ready\n', step=5, out='ready\n')

    def test_executor_starts_worker(self):
        # There is no worker that is waited for and never told to end.
        self.check(*BARE, self.program("""
            from concurrent.futures import ThreadPoolExecutor
            executor = ThreadPoolExecutor(2)
            print('ready', flush=True)
            executor.submit(len, 'a')
            """), after='ready\n', step=3, out='ready\n')

    def test_logging(self):
        def also(life):
            if 'one' in life.out and ('flushed' in life.out) != (
                    'closed' in life.out):
                return 'not all handlers were flushed and closed'
            if life.out.count('flushed') not in (0, 3):
                return 'not all handlers were flushed'

        self.check(*BARE, self.program("""
            import logging
            class Handler(logging.Handler):
                def flush(self):
                    print('flushed')
                def close(self):
                    print('closed')
            handlers = [Handler(), Handler(), Handler()]
            print('ready', flush=True)
            """), after='ready\n', step=2, also=also,
            out='ready\n' + 3 * 'flushed\nclosed\n')

    def test_finalization(self):
        def also(life):
            if ('del begins' in life.out) != ('del ends' in life.out):
                return '__del__ was cut'

        self.check(*BARE, self.program("""
            import sys, weakref
            class Object:
                def __del__(self, work=work):
                    work('del')
            one = Object()
            one.cycle = one
            weakref.finalize(one, work, 'finalize')
            print('ready', flush=True)
            """), after='ready\n', also=also,
            out='ready\nfinalize begins\nfinalize ends\n'
                'del begins\ndel ends\n')


def interrupt(test, *args, when, times=1, pause=0.3):
    """Run python; send SIGINT after this output and after each pause."""
    process = subprocess.Popen(
        [sys.executable, *args], env=test.env, cwd=test.directory,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True)
    with process:
        try:
            line = None
            while line != when:
                line = process.stdout.readline()
                test.assertTrue(line, f'ends before {when!r}')
            for _ in range(times):
                # It may be about to block; then it is woken.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(pause)
                    break
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=support.SHORT_TIMEOUT)
        except BaseException:
            process.kill()
            raise
    return Life(None, True, process.returncode, out, err)


class Blocked(LifeTestCase):
    """What waits while the interpreter exits: Ctrl-C ends the wait."""

    def blocked(self, code, *, when='wait\n', out, times=1):
        name = self.write('program.py', code)
        life = interrupt(self, *BARE, name, when=when, times=times)
        for noise in NOISE:
            self.assertNotIn(noise, life.err)
        self.assertEqual(life.status, -signal.SIGINT, life)
        self.assertEqual(life.out, out, life)
        self.assertEqual(life.err.splitlines()[-1], 'KeyboardInterrupt', life)
        return life

    def test_atexit(self):
        for end in ('', 'sys.exit(0)', 'sys.exit(3)'):
            with self.subTest(end=end):
                self.blocked(f"""
                    import atexit, sys, time
                    def wait():
                        print('wait', flush=True)
                        time.sleep(1000)
                        print('not interrupted')
                    atexit.register(print, 'last')
                    atexit.register(wait)
                    {end}
                    """, out='last\n')

    def test_atexit_that_does_not_block(self):
        # The third one is forced.
        self.blocked("""
            import atexit
            def wait():
                print('wait', flush=True)
                while True:
                    pass
            atexit.register(print, 'last')
            atexit.register(wait)
            """, out='last\n', times=3)

    THREAD = """
        import atexit, sys, threading, time
        def wait():
            threading.main_thread().join()
            print('wait', flush=True)
            time.sleep(1000)
        atexit.register(print, 'last')
        thread = threading.Thread(target=wait)
        thread.start()
        """

    def test_thread(self):
        for end in ('', 'sys.exit(0)', 'sys.exit(3)'):
            with self.subTest(end=end):
                self.blocked(textwrap.dedent(self.THREAD) + end, out='last\n')

    def test_excepthook(self):
        # A program that shows KeyboardInterrupt in its own way does so here.
        name = self.write('program.py', textwrap.dedent(self.THREAD) + """
sys.excepthook = lambda *args: print('hook', args[0].__name__)
            """)
        life = interrupt(self, *BARE, name, when='wait\n')
        self.assertEqual((life.status, life.out, life.err),
                         (-signal.SIGINT, 'hook KeyboardInterrupt\nlast\n',
                          ''))

    def test_excepthook_at_the_end(self):
        # What ends no wait is shown while daemon threads still run: they may
        # hold locks.
        name = self.write('program.py', """
            import atexit, signal, sys, threading, time
            lock = threading.Lock()
            def hold():
                with lock:
                    held.set()
                    time.sleep(0.2)
            def hook(*args):
                print('hook', args[0].__name__, lock.acquire(timeout=5))
            sys.excepthook = hook
            held = threading.Event()
            atexit.register(print, 'last')
            atexit.register(signal.raise_signal, signal.SIGINT)
            threading.Thread(target=hold, daemon=True).start()
            held.wait()
            """)
        process = subprocess.run([sys.executable, *BARE, name], env=self.env,
                                 capture_output=True, text=True)
        self.assertEqual(
            (process.returncode, process.stdout, process.stderr),
            (-signal.SIGINT, 'last\nhook KeyboardInterrupt True\n', ''))

    def test_exec(self):
        # What callbacks run does not change how the process ends.
        self.blocked(textwrap.dedent(self.THREAD)
                     + "atexit.register(exec, 'pass', {})", out='last\n')

    def test_executor(self):
        # One is enough for two workers and for other executors.
        self.blocked("""
            import atexit, threading, time
            atexit.register(print, 'last')
            threading._register_atexit(print, 'others')
            from concurrent.futures import ThreadPoolExecutor
            executor = ThreadPoolExecutor(2)
            executor.submit(time.sleep, 1000)
            threading._register_atexit(print, 'wait', flush=True)
            """, out='others\nlast\n')

    def test_logging(self):
        self.blocked("""
            import logging, time
            class Handler(logging.Handler):
                def flush(self):
                    print('flush')
            class Waits(logging.Handler):
                def flush(self):
                    print('wait', flush=True)
                    time.sleep(1000)
            handlers = [Handler(), Waits()]
            """, out='flush\n')

    def test_finalize(self):
        self.blocked("""
            import time, weakref
            class Object:
                pass
            def wait():
                print('wait', flush=True)
                time.sleep(1000)
            objects = [Object(), Object()]
            weakref.finalize(objects[0], print, 'finalized')
            weakref.finalize(objects[1], wait)
            """, out='finalized\n')

    def test_handler_lock(self):
        # It was not taken, so it is not released.
        self.blocked("""
            import atexit, logging, threading, time
            handlers = [logging.Handler(), logging.Handler()]
            handlers[0].flush = lambda: print('flush')
            def hold():
                with handlers[1].lock:
                    held.set()
                    time.sleep(1000)
            held = threading.Event()
            threading.Thread(target=hold, daemon=True).start()
            held.wait()
            atexit.register(print, 'wait', flush=True)
            """, out='flush\n')

    def test_multiprocessing(self):
        self.blocked("""
            import multiprocessing, multiprocessing.util as util, time
            if __name__ == '__main__':
                util.Finalize(None, print, ['first'], exitpriority=1)
                util.Finalize(None, print, ['wait'], {'flush': True},
                              exitpriority=0)
                util.Finalize(None, print, ['last'], exitpriority=-1)
                context = multiprocessing.get_context('fork')
                child = context.Process(target=time.sleep, args=(1,))
                child.start()
            """, when='wait\n', out='last\n')

    def test_multiprocessing_finalizers(self):
        self.blocked("""
            import multiprocessing.util as util, time
            def wait():
                print('wait', flush=True)
                time.sleep(1000)
            for priority in 1, -2:
                util.Finalize(None, print, [priority], exitpriority=priority)
            util.Finalize(None, wait, exitpriority=2)
            """, out='1\n-2\n')

    def test_stdout(self):
        # Nobody reads what it writes at the end.
        read_end, write_end = os.pipe()
        with open(read_end, 'rb'), open(write_end, 'wb') as full:
            os.set_blocking(write_end, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(write_end, bytes(4096))
            os.set_blocking(write_end, True)
            name = self.write('program.py', """
                import atexit, sys
                sys.stderr.write('ready\\n')
                atexit.register(sys.stdout.write, 'text')
                """)
            process = subprocess.Popen([sys.executable, *BARE, name],
                                       stdout=full, stderr=subprocess.PIPE,
                                       text=True, env=self.env)
            with process:
                try:
                    self.assertEqual(process.stderr.readline(), 'ready\n')
                    with self.assertRaises(subprocess.TimeoutExpired):
                        process.wait(0.3)
                    process.send_signal(signal.SIGINT)
                    # There is a second attempt when modules have gone.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(0.3)
                    process.send_signal(signal.SIGINT)
                    err = process.communicate(timeout=support.SHORT_TIMEOUT)[1]
                except BaseException:
                    process.kill()
                    raise
            self.assertEqual(process.returncode, -signal.SIGINT)
            self.assertEqual(err, 'KeyboardInterrupt\n')

    def test_run_exitfuncs(self):
        # What was interrupted is raised when all have been called.
        self.blocked("""
            import atexit, time
            def wait():
                print('wait', flush=True)
                time.sleep(1000)
            atexit.register(print, 'last')
            atexit.register(wait)
            try:
                atexit._run_exitfuncs()
            except KeyboardInterrupt:
                print('raised')
                raise
            """, out='last\nraised\n')


class Children(LifeTestCase):
    """Processes that multiprocessing and subprocess start."""

    def run_program(self, code, *args):
        name = self.write('program.py', code)
        process = subprocess.run(
            [sys.executable, *BARE, name, *args], env=self.env,
            cwd=self.directory, capture_output=True, text=True,
            timeout=support.LONG_TIMEOUT)
        self.assertEqual(process.returncode, 0, process)
        return process

    ENDS = """
        import atexit, multiprocessing, os, signal, sys
        from multiprocessing import util

        def fail():
            raise KeyboardInterrupt

        def get_signal():
            signal.raise_signal(signal.SIGINT)

        def run(function, register):
            os.write(1, b'child runs\\n')
            function = globals()[function]
            if register == 'atexit':
                atexit.register(function)
            else:
                util.Finalize(None, function, exitpriority=1)

        if __name__ == '__main__':
            method, *args = sys.argv[1:]
            context = multiprocessing.get_context(method)
            process = context.Process(target=run, args=args)
            process.start()
            process.join()
            # Whoever runs on in this program writes it, too.
            os.write(1, b'exit code %d\\n' % process.exitcode)
        """

    def test_interrupt_at_exit(self):
        # It is shown, but does not run on in the code of the parent, which
        # is what stands after start(), or the loop of the fork server.
        for method in 'fork', 'forkserver':
            for function in 'fail', 'get_signal':
                for register in 'atexit', 'Finalize':
                    with self.subTest(method, function=function,
                                      register=register):
                        process = self.run_program(self.ENDS, method, function,
                                                   register)
                        self.assertEqual(process.stdout,
                                         'child runs\nexit code 0\n')
                        lines = process.stderr.splitlines()
                        self.assertEqual(lines.count('KeyboardInterrupt'), 1,
                                         process)

    # The child says in which function it is about to block.
    BLOCKS = """
        import atexit, multiprocessing, os, signal, sys, threading, time

        def in_thread(writer):
            threading.main_thread().join()
            writer.send('waits')
            time.sleep(1000)

        def in_atexit(writer):
            writer.send('waits')
            time.sleep(1000)

        def run(where, writer):
            atexit.register(os.write, 1, b'last\\n')
            if where == 'thread':
                threading.Thread(target=in_thread, args=[writer]).start()
            else:
                atexit.register(in_atexit, writer)

        if __name__ == '__main__':
            method, where, timeout = sys.argv[1:]
            context = multiprocessing.get_context(method)
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=run, args=[where, writer])
            process.start()
            reader.recv()
            os.kill(process.pid, signal.SIGINT)
            process.join(float(timeout))
            print('exit code', process.exitcode)
            process.kill()
        """

    def blocked(self, where, exitcode):
        for method in 'fork', 'forkserver':
            with self.subTest(method):
                process = self.run_program(self.BLOCKS, method, where,
                                           str(support.SHORT_TIMEOUT))
                self.assertEqual(process.stdout,
                                 f'last\nexit code {exitcode}\n', process)
                lines = process.stderr.splitlines()
                self.assertEqual(lines[-1], 'KeyboardInterrupt', process)
                self.assertIn('Traceback (most recent call last):', lines)

    def test_blocked_by_thread(self):
        # One SIGINT ends the wait for it.
        self.blocked('thread', 1)

    def test_blocked_in_atexit(self):
        self.blocked('atexit', 0)

    def test_preexec_fn(self):
        # It can be interrupted, whatever masks where the child is started.
        process = self.run_program("""
            import os, signal, subprocess, sys

            def preexec():
                signal.raise_signal(signal.SIGINT)
                os.write(1, b'is masked\\n')

            def start():
                try:
                    subprocess.run(['true'], preexec_fn=preexec)
                except subprocess.SubprocessError as exc:
                    print(exc)
            start()
            try:
                pass
            finally:
                start()
            """)
        self.assertEqual(process.stdout,
                         2 * 'Exception occurred in preexec_fn.\n')


class Dismantled(LifeTestCase):
    """What is called at the very end, when the globals of modules are None."""

    def check(self, setup, call, *args, result=None):
        name = self.write('program.py', f"""
            import multiprocessing, os, queue, subprocess, sys, threading
            {setup}
            class Keeper:
                def __del__(self, call={call}, write=os.write,
                            Exception=Exception, repr=repr):
                    names = call.__func__.__globals__
                    there = [name for name in names
                             if name[:2] != '__' and names[name] is not None]
                    try:
                        result = repr(call(*{args}))
                    except Exception as exc:
                        result = repr(exc)
                    write(1, f'{{there}} {{result}}'.encode())
            # It goes with the module sys, which is the last one but builtins.
            sys.keeper = Keeper()
            """)
        process = subprocess.run(
            [sys.executable, *BARE, name], env=self.env, cwd=self.directory,
            capture_output=True, text=True, timeout=support.LONG_TIMEOUT)
        self.assertEqual((process.returncode, process.stdout, process.stderr),
                         (0, f'[] {result}', ''))

    def test_event(self):
        self.check('event = threading.Event()', 'event.set')

    def test_queue(self):
        self.check('items = queue.Queue()', 'items.put', 'item')

    def test_popen(self):
        self.check("""
            child = subprocess.Popen(['sh', '-c', 'exit 3'])
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            """, 'child.poll', result=3)

    def test_connection(self):
        self.check('reader, writer = multiprocessing.Pipe()', 'reader.close')


if __name__ == '__main__':
    unittest.main()
