"""Interrupts where several interpreters live in one process.

Masks, scopes, timeouts and what is sent belong to one interpreter, whether it shares
the GIL or has its own: everything works in each, and nothing crosses.  Signals are
handled in the main interpreter.  The promises are written down in section 23 of
InternalDocs/interrupt_masking.md.
"""

import os
import signal
import sys
import textwrap
import threading
import time
import unittest

from test import support
from test.support import (import_helper, interrupt_masks, os_helper,
                          script_helper, threading_helper)
from test.support.interrupt_masks import check_marks, may_need_masks, needs_masks

import _interrupts

_interpreters = import_helper.import_module('_interpreters')
threading_helper.requires_working_threading(module=True)
if not _interrupts.kick_signal():
    raise unittest.SkipTest('needs a signal that wakes threads')

# The first shares the GIL with the main interpreter, the other one has its own.
KINDS = 'legacy', 'isolated'

# Blocks that are to be broken would take so long.
LONG = support.LONG_TIMEOUT
SHORT = 0.02

# What the scripts below begin with.
PRELUDE = f'''\
import threading, time, _interrupts
from threading import (current_thread, interrupts, interrupts_masked,
                       interrupts_pending, nointerrupts, timeout)
LONG = {LONG}
SHORT = {SHORT}

class Sent(Exception):
    pass

def check(condition, *what):
    if not condition:
        raise AssertionError(*what)

def check_raises(type, function, *args):
    try:
        function(*args)
    except type as exc:
        return exc
    raise AssertionError(f'{{type}} not raised')

def start(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread
'''


def count_timers():
    """How many timers of the system this process has; 0 if that is not known."""
    try:
        with open('/proc/self/timers') as file:
            return sum(line.startswith('ID:') for line in file)
    except OSError:
        return 0


def counts():
    """What must be as before when an interpreter is gone."""
    return {'wakeable threads': _interrupts.kick_records(),
            'timers': count_timers(),
            'files': os_helper.fd_count(),
            'threads': len(sys._current_frames()),
            'interpreters': len(_interpreters.list_all())}


class InterruptTestCase(unittest.TestCase):
    """Those that are also run without masks."""


class InterpreterTestCase(InterruptTestCase):

    def setUp(self):
        # The main thread keeps what it has got once.
        with threading.timeout(LONG):
            pass
        self.counts = counts()
        self.addCleanup(self.check_counts)

    def check_counts(self):
        support.gc_collect()
        for _ in support.sleeping_retry(1.0, error=False):
            # The system's part of a thread ends a little later.
            if counts() == self.counts:
                break
        self.assertEqual(counts(), self.counts)
        self.assertFalse(threading.interrupts_pending())

    def create(self, kind):
        interpreter = _interpreters.create(kind)
        self.addCleanup(self.destroy, interpreter)
        self.execute(interpreter, PRELUDE)
        return interpreter

    def destroy(self, interpreter):
        if interpreter in [id for id, *_ in _interpreters.list_all()]:
            _interpreters.destroy(interpreter)

    def execute(self, interpreter, script):
        error = _interpreters.exec(interpreter, textwrap.dedent(script))
        if error is not None:
            self.fail(getattr(error, 'errdisplay', error.formatted))

    def run_in_each(self, script, times=1):
        """Run the script in each kind of interpreter, and in one after the other."""
        for kind in KINDS:
            with self.subTest(kind):
                interpreter = self.create(kind)
                for _ in range(times):
                    self.execute(interpreter, script)
                _interpreters.destroy(interpreter)

    def start(self, function, *args):
        """A thread the exception of which is raised when the test ends."""
        thread = threading.Thread(target=function, args=args)
        thread.start()
        self.addCleanup(thread.wait, LONG)
        return thread


class FeatureTests(InterpreterTestCase):

    @needs_masks
    def test_masks(self):
        self.run_in_each('''
            log = []
            class Manager:
                def __enter__(self):
                    current_thread().interrupt(Sent('enter'))
                    log.append(interrupts_masked())
                def __exit__(self, *exc_info):
                    log.append(exc_info[1].args[0])
                    current_thread().interrupt(Sent('exit'))
                    log.append(interrupts_masked())
            def use():
                try:
                    with Manager():
                        log.append('body')
                finally:
                    log.append(interrupts_masked())
            exc = check_raises(Sent, use)
            check(exc.args == ('exit',) and exc.__context__.args == ('enter',), exc)
            check(log == [True, 'enter', True, True], log)
            check(not interrupts_masked() and not interrupts_pending())
        ''', times=2)

    @needs_masks
    def test_scopes(self):
        self.run_in_each('''
            log = []
            def use():
                with nointerrupts:
                    current_thread().interrupt(Sent(1))
                    log.append('masked')
                    try:
                        with interrupts:
                            log.append('not reached')
                    finally:
                        current_thread().interrupt(Sent(2))
                        log.append('cleaned up')
                    log.append('not reached')
            exc = check_raises(Sent, use)
            check(exc.args == (2,) and exc.__context__.args == (1,), exc)
            check(log == ['masked', 'cleaned up'], log)

            def generator():
                with nointerrupts:
                    yield interrupts_masked()
            suspended = generator()
            check(next(suspended))
            check(not interrupts_masked())
            check_raises(RuntimeError, nointerrupts.__exit__)
            suspended.close()
        ''', times=2)

    @needs_masks
    def test_queue(self):
        self.run_in_each('''
            def use():
                with nointerrupts:
                    for exc in Sent(1), KeyError, Sent(2), KeyError, ValueError(3):
                        check(thread.interrupt(exc))
                    check(interrupts_pending())
            thread = current_thread()
            group = check_raises(ExceptionGroup, use)
            found = [(type(exc), exc.args) for exc in group.exceptions]
            check(found == [(Sent, (1,)), (KeyError, ()), (Sent, (2,)),
                            (ValueError, (3,))], found)
            check_raises(TypeError, thread.interrupt, 'x')
        ''', times=2)

    def test_blocked_threads_are_woken(self):
        self.run_in_each('''
            import os, queue, select, socket
            lock = threading.Lock()
            lock.acquire()
            reader, writer = os.pipe()
            ours, theirs = socket.socketpair()
            event = threading.Event()
            sleeper = start(event.wait)
            for wait in [lambda: time.sleep(LONG), lock.acquire, event.wait,
                         queue.Queue().get, queue.SimpleQueue().get,
                         lambda: os.read(reader, 1), lambda: ours.recv(1),
                         lambda: select.select([reader], [], []), sleeper.join]:
                begun = threading.Event()
                def block():
                    begun.set()
                    wait()
                thread = start(block)
                begun.wait()
                time.sleep(SHORT)
                check(thread.interrupt(Sent))
                check_raises(Sent, thread.wait, LONG)
                check(thread.interrupt(Sent) is False)
            event.set()
            sleeper.join()
            os.close(reader)
            os.close(writer)
            ours.close()
            theirs.close()
        ''')

    @needs_masks
    def test_timeouts(self):
        self.run_in_each('''
            lock = threading.Lock()
            log = []
            def use():
                with timeout(SHORT):
                    with lock, lock:
                        log.append('not reached')
            check_raises(TimeoutError, use)
            check(not lock.locked())

            def clean_up():
                try:
                    pass
                finally:
                    current_thread().interrupt(Sent)
                    check_raises(TimeoutError, use)
                    log.append('cleaned up')
            check_raises(Sent, clean_up)
            check(log == ['cleaned up'], log)

            def nested():
                with timeout(SHORT) as outer:
                    with timeout(LONG):
                        time.sleep(LONG)
            check_raises(TimeoutError, nested)
            start(check_raises, TimeoutError, use).wait(LONG)
            check(not interrupts_pending())
        ''', times=2)

    def test_attach_and_wait(self):
        self.run_in_each('''
            attached = threading.Event()
            log = []
            def job():
                def callback(exc):
                    # Takes no lock: the thread may have any.
                    log.append((exc, current_thread()))
                check(current_thread().attach(Sent, callback) is None)
                attached.set()
                while not log:
                    time.sleep(0.001)
                check(current_thread().detach(Sent) is callback)
                attached.clear()
                time.sleep(LONG)
            thread = start(job)
            attached.wait()
            exc = Sent('attached')
            check(thread.interrupt(exc))
            while attached.is_set():
                time.sleep(0.001)
            check(thread.interrupt(Sent('not attached')))
            check(check_raises(Sent, thread.wait).args == ('not attached',))
            check(log == [(exc, thread)], log)
            check(start(lambda: 42).wait() == 42)
            terminated = start(time.sleep, LONG)
            check(terminated.terminate())
            check(terminated.wait() is None)
        ''', times=2)

    def test_jobs(self):
        self.run_in_each('''
            import asyncio
            from concurrent.futures import ThreadPoolExecutor
            begun = threading.Event()
            def job():
                begun.set()
                time.sleep(LONG)
            with ThreadPoolExecutor(1) as executor:
                future = executor.submit(job)
                begun.wait()
                check(future.interrupt(Sent('job')))
                check(future.exception().args == ('job',))
                check(executor.submit(int).result() == 0)

            async def main():
                async with asyncio.timeout(SHORT):
                    await asyncio.to_thread(asyncio.interruptible(job))
            check_raises(TimeoutError, asyncio.run, main())
        ''')

    def test_futures_do_not_keep_their_module(self):
        self.run_in_each('''
            import asyncio, gc, sys, weakref
            try:
                del sys.modules['_asyncio']
                import _asyncio
            except (ImportError, KeyError):
                pass        # all is in Python
            else:
                loop = asyncio.new_event_loop()
                futures = [_asyncio.Future(loop=loop) for _ in range(3)]
                waits = [iter(future) for future in futures]
                for wait in waits:
                    next(wait)
                module = weakref.ref(_asyncio)
                del sys.modules['_asyncio'], _asyncio, futures, waits, wait
                loop.close()
                gc.collect()
                check(module() is None)
        ''')

    def test_futures_leave_nothing_behind(self):
        # A life is that of a module; its types take some hundred blocks.
        import_helper.import_module('_asyncio')
        script_helper.assert_python_ok('-c', textwrap.dedent('''
            import asyncio, gc, sys

            def live(times):
                for _ in range(times):
                    sys.modules.pop('_asyncio', None)
                    import _asyncio
                    loop = asyncio.new_event_loop()
                    wait = iter(_asyncio.Future(loop=loop))
                    next(wait)
                    del wait
                    loop.close()
                    del _asyncio, loop
                    gc.collect()

            live(50)
            before = sys.getallocatedblocks()
            live(100)
            more = (sys.getallocatedblocks() - before) / 100
            # Caches settle; a type that is left behind is ten blocks.
            assert more < 5, more
        '''))

    def test_c_code_that_polls(self):
        self.run_in_each('''
            import re
            def parse():
                # Takes for ever, with the GIL, and calls PyErr_CheckSignals().
                with timeout(SHORT):
                    re.match('(a*)*b', 'a' * 100)
            check_raises(TimeoutError, parse)
            check_raises(TimeoutError, start(parse).wait)
        ''')

    def test_main_thread(self):
        # It has a thread state for each run.
        self.run_in_each('''
            main = threading.main_thread()
            check(main is current_thread())
            def use():
                threading.Timer(SHORT, main.interrupt, [Sent]).start()
                time.sleep(LONG)
            check_raises(Sent, use)
        ''', times=3)

    def test_foreign_thread(self):
        # A thread of one interpreter runs another one.
        for kind in KINDS:
            with self.subTest(kind):
                interpreter = self.create(kind)
                for _ in range(3):
                    self.start(self.execute, interpreter, '''
                        here = current_thread()
                        check(not here is threading.main_thread())
                        def use():
                            timer = threading.Timer(SHORT, here.interrupt, [Sent])
                            timer.start()
                            time.sleep(LONG)
                        check_raises(Sent, use)
                        # That one does not run here.
                        check(not threading.main_thread().interrupt(Sent))
                        before = globals().get('before', [])
                        check(not any(old.interrupt(Sent) for old in before))
                        before.append(here)
                    ''').join()

    def test_module(self):
        self.run_in_each('''
            import gc, sys, weakref
            old = sys.modules.pop('_interrupts')
            import _interrupts as new
            check(new is not old)
            for name in 'nointerrupts', 'interrupts':
                check(getattr(new, name) is not getattr(old, name))
                check(type(getattr(new, name)) is not type(getattr(old, name)))
            with new.nointerrupts:
                check_raises(RuntimeError, old.nointerrupts.__exit__)
            kinds = [weakref.ref(type(new.nointerrupts)),
                     weakref.ref(type(new.interrupts))]
            sys.modules['_interrupts'] = old
            del new
            gc.collect()
            check([kind() for kind in kinds] == [None, None])
        ''', times=2)

    def test_settings_of_the_process(self):
        before = signal.get_interrupt_limits()
        self.run_in_each(f'''
            import signal
            check(signal.get_interrupt_limits() == {before})
            check_raises(ValueError, lambda: signal.set_interrupt_limits(limit=9))
            check_raises(ValueError, _interrupts.suppress_rearm, 'leave')
            check(signal.get_interrupt_limits() == {before})
            check(_interrupts.kick_signal() == {_interrupts.kick_signal()})
        ''')
        self.assertEqual(signal.get_interrupt_limits(), before)


class IsolationTests(InterpreterTestCase):

    def test_threads_of_others(self):
        # Neither by a number that the system gives, nor by one of ours: each interpreter
        # counts its states for itself.
        end = threading.Event()
        thread = self.start(end.wait)
        self.addCleanup(end.set)
        ended = threading.Thread(target=int)
        ended.start()
        ended.join()
        script = f'''
            with nointerrupts:
                for ident in {thread.ident}, {ended.ident}:
                    check(not _interrupts.send(ident, Sent))
                for state in range(200):
                    if state != _interrupts.current_state():
                        check(not _interrupts.send_to_state(state, Sent), state)
                check(not interrupts_pending())
        '''
        self.run_in_each(script)
        time.sleep(SHORT)
        self.assertTrue(thread.is_alive())
        self.assertFalse(end.is_set())

    # Without masks all may end before they have caught any.
    @may_need_masks
    def test_exceptions_stay(self):
        # Threads with the same numbers, in several interpreters at the same time.
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        script = '''
            import os
            class Own(Exception):
                pass
            wrong = []
            caught = []
            sending = True
            threading.excepthook = lambda *args: None
            def catch():
                with nointerrupts:
                    while sending:
                        try:
                            with interrupts:
                                time.sleep(0.001)
                        except BaseException as outer:
                            # Several that have waited come together.
                            for exc in getattr(outer, 'exceptions', [outer]):
                                (caught if type(exc) is Own else wrong).append(exc)
            threads = [start(catch) for _ in range(3)]
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                for thread in threads:
                    thread.interrupt(Own())
                time.sleep(0.001)
            sending = False
            for thread in threads:
                try:
                    thread.wait()
                except* Own:
                    # It came before, or after.
                    pass
            check(not wrong, wrong)
            check(caught, 'nothing was caught')
            check(not interrupts_pending())
        '''
        for kind in KINDS:
            with self.subTest(kind):
                threads = [self.start(self.execute, self.create(kind), script)
                           for _ in range(3)]
                for thread in threads:
                    thread.join()
                self.doCleanups()
                self.setUp()

    @needs_masks
    def test_masks_do_not_cross(self):
        script = '''
            check(not interrupts_masked())
            check(not interrupts_pending())
            check_raises(Sent, lambda: current_thread().interrupt(Sent))
            scope = nointerrupts()
            scope.__enter__()
            _interrupts.send(threading.get_ident(), Sent('waits to the end'))
        '''
        for kind in KINDS:
            with self.subTest(kind):
                interpreter = self.create(kind)
                with threading.nointerrupts:
                    self.execute(interpreter, script)
                    self.assertTrue(threading.interrupts_masked())
                    self.assertFalse(threading.interrupts_pending())
                try:
                    pass
                finally:
                    self.execute(interpreter, script)
                    masked = threading.interrupts_masked()
                self.assertTrue(masked)
                self.assertFalse(threading.interrupts_masked())

    @needs_masks
    def test_what_comes_meanwhile(self):
        # It is raised when the thread is back in its interpreter, by the masks there.
        class Sent(Exception):
            pass
        for kind in KINDS:
            with self.subTest(kind):
                interpreter = self.create(kind)
                begun = threading.Event()
                log = []

                def job():
                    try:
                        try:
                            begun.set()
                        finally:
                            self.execute(interpreter, '''
                                before = time.monotonic()
                                time.sleep(0.3)
                                check(time.monotonic() - before >= 0.3)
                            ''')
                            log.append('cleaned up')
                        log.append('not reached')
                    except Sent:
                        log.append('sent')

                thread = self.start(job)
                begun.wait()
                time.sleep(0.1)
                self.assertTrue(thread.interrupt(Sent))
                thread.join()
                self.assertEqual(log, ['cleaned up', 'sent'])

    def test_a_timeout_of_the_caller(self):
        # It is due when the thread is back, and asks nothing before.
        for kind in KINDS:
            with self.subTest(kind):
                interpreter = self.create(kind)
                kicks = _interrupts.kicks()
                with self.assertRaises(TimeoutError):
                    with threading.timeout(SHORT):
                        self.execute(interpreter, 'time.sleep(0.5)')
                        int()
                self.assertLess(_interrupts.kicks() - kicks, 10)

    @unittest.skipIf(support.Py_GIL_DISABLED, 'needs a GIL')
    def test_a_gil_that_is_held(self):
        # Nothing is asked of an interpreter that has a GIL of its own.
        import_helper.import_module('ctypes')
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        holder, other = self.create('isolated'), self.create('isolated')
        self.start(self.execute, holder, f'''
            import ctypes
            read = ctypes.PyDLL(None).read         # does not release it
            sleeper = start(check_raises, Sent, time.sleep, LONG)
            sleeper.interrupt(Sent)
            # A signal may break it.
            while read({reader}, ctypes.create_string_buffer(1), 1) != 1:
                pass
            sleeper.wait()
        ''')
        # Cleanups come in reverse order.
        self.addCleanup(os.write, writer, b'.')
        time.sleep(0.1)
        self.execute(other, '''
            check_raises(Sent, current_thread().interrupt, Sent)
            for _ in range(20):
                thread = start(time.sleep, LONG)
                thread.interrupt(Sent)
                check_raises(Sent, thread.wait)
            def use():
                with timeout(SHORT):
                    time.sleep(LONG)
            check_raises(TimeoutError, use)
        ''')


class SignalTests(InterruptTestCase):
    """The main thread runs another interpreter when Ctrl-C is pressed."""

    prelude = textwrap.dedent("""
        import _interpreters, os, signal, sys, textwrap, threading, time

        log = []
        interpreter = _interpreters.create(KIND)

        def handler(signum, frame):
            # In the main thread of the main interpreter, of which it sees the frames.
            assert threading.current_thread() is threading.main_thread()
            while frame.f_back is not None:
                frame = frame.f_back
            log.append(frame.f_code.co_filename == __file__)
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, handler)

        def execute(script):
            error = _interpreters.exec(interpreter, textwrap.dedent(script))
            assert error is None, error.formatted

        def press(after=0.1):
            threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()

        execute("import os, signal, threading, time")
    """)

    def run_in_each(self, script):
        results = []
        for kind in KINDS:
            with self.subTest(kind), os_helper.temp_dir() as directory:
                source = (f'KIND = {kind!r}\n{self.prelude}'
                          f'{textwrap.dedent(script)}')
                name = script_helper.make_script(directory, 'script', source)
                result = script_helper.assert_python_ok(
                    *support.args_from_interpreter_flags(), name)
                self.assertEqual(result.out, b'')
                results.append(result.err.decode())
        return results

    def check_meanwhile(self, inner):
        self.run_in_each(f"""
            try:
                execute({textwrap.dedent(inner)!r})
                log.append('not reached')
            except KeyboardInterrupt:
                log.append('interrupted')
            assert log == [True, 'interrupted'], log
        """)

    def test_running(self):
        self.check_meanwhile("""
            os.kill(os.getpid(), signal.SIGINT)
            for n in range(1000):
                len('x')
            seen = n
        """)

    def test_in_finally(self):
        self.check_meanwhile("""
            try:
                pass
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                for n in range(1000):
                    len('x')
            if n != 999 or threading.interrupts_pending():
                raise AssertionError
        """)

    def test_blocked(self):
        # The wait goes on: the signal is not for this interpreter.
        for wait in ('time.sleep(0.3)', 'lock.acquire(timeout=0.3)',
                     'threading.Event().wait(0.3)',
                     'select.select([], [], [], 0.3)'):
            with self.subTest(wait):
                self.check_meanwhile(f"""
                    import select
                    lock = threading.Lock()
                    lock.acquire()
                    threading.Timer(
                        0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
                    before = time.monotonic()
                    {wait}
                    if time.monotonic() - before < 0.3:
                        raise AssertionError
                """)

    def test_simulated(self):
        # They stand for a signal, which is the process's.
        for call in '_thread.interrupt_main()', 'signal.raise_signal(signal.SIGINT)':
            with self.subTest(call):
                self.check_meanwhile(f"""
                    import _thread
                    {call}
                    for n in range(1000):
                        len('x')
                    seen = n
                """)

    def test_handlers_of_others(self):
        self.run_in_each("""
            execute('''
                try:
                    signal.signal(signal.SIGINT, lambda *args: None)
                    raise AssertionError
                except ValueError:
                    pass
            ''')
        """)

    def test_many(self):
        # They are one when the main thread is back.
        self.run_in_each("""
            try:
                execute('''
                    for _ in range(20):
                        os.kill(os.getpid(), signal.SIGINT)
                        time.sleep(0.001)
                ''')
            except KeyboardInterrupt:
                log.append('interrupted')
            for _ in range(1000):
                len('x')
            assert log == [True, 'interrupted'], log
        """)

    @needs_masks
    def test_masked_main_interpreter(self):
        # The handler runs when the main thread is back, masked; what it raises waits.
        self.run_in_each("""
            press()
            try:
                try:
                    pass
                finally:
                    execute('time.sleep(0.3)')
                    len('x')
                    log.append(threading.interrupts_pending())
                log.append('not reached')
            except KeyboardInterrupt:
                log.append('interrupted')
            assert log == [True, True, 'interrupted'], log
        """)

    def test_run_in_subinterp(self):
        import_helper.import_module('_testcapi')
        self.run_in_each("""
            import _testcapi, _testinternalcapi
            press()
            script = 'import time; time.sleep(0.3)'
            try:
                if KIND == 'legacy':
                    _testcapi.run_in_subinterp(script)
                else:
                    _testinternalcapi.run_in_subinterp_with_config(
                        script, _interpreters.new_config('isolated'))
                log.append('not reached')
            except KeyboardInterrupt:
                log.append('interrupted')
            assert log == [True, 'interrupted'], log
        """)

    def test_other_threads_of_the_process(self):
        # The main thread is in its interpreter; those of others are left alone.
        self.run_in_each("""
            def run():
                execute('''
                    before = time.monotonic()
                    time.sleep(0.5)
                    if time.monotonic() - before < 0.5:
                        raise AssertionError
                ''')
                log.append('slept')
            thread = threading.Thread(target=run)
            thread.start()
            press()
            try:
                thread.join()
            except KeyboardInterrupt:
                log.append('interrupted')
            thread.wait()
            assert log == [True, 'interrupted', 'slept'], log
        """)

    @needs_masks
    def test_notice(self):
        # It is written when the thread is back: what it shows is there.
        for error in self.run_in_each("""
            signal.set_interrupt_limits(notice='always', notice_after=0.1)
            def clean_up():
                os.kill(os.getpid(), signal.SIGINT)
                len('x')
                execute('time.sleep(0.3)')
                print('back', file=sys.stderr, flush=True)
                end = time.monotonic() + 0.2
                while time.monotonic() < end:
                    pass
                log.append('cleaned up')
            try:
                try:
                    pass
                finally:
                    clean_up()
            except KeyboardInterrupt:
                log.append('interrupted')
            assert log == [True, 'cleaned up', 'interrupted'], log
        """):
            self.assertEqual(error.count('Ctrl-C waits for code'), 1, error)
            self.assertIn('in clean_up', error)


class EndTests(InterpreterTestCase):
    """An interpreter is destroyed."""

    def check_dropped(self, count, script):
        """So many `Dropped` are gone when the interpreter is: each writes a byte."""
        for kind in KINDS:
            with self.subTest(kind):
                reader, writer = os.pipe()
                interpreter = self.create(kind)
                self.execute(interpreter, f'''
                    import os
                    class Dropped(Exception):
                        def __del__(self, write=os.write):
                            write({writer}, b'.')
                ''')
                try:
                    self.execute(interpreter, script)
                finally:
                    _interpreters.destroy(interpreter)
                    os.close(writer)
                    with open(reader, 'rb') as file:
                        dropped = file.read()
                self.assertEqual(dropped, b'.' * count)

    @needs_masks
    def test_something_waits(self):
        self.check_dropped(8, """
            nointerrupts.__enter__()
            for _ in range(5):
                current_thread().interrupt(Dropped())
            def die():
                nointerrupts.__enter__()
                for _ in range(3):
                    current_thread().interrupt(Dropped())
            check(start(die).wait() is None)
        """)

    def test_timeouts_are_armed(self):
        self.check_dropped(4, """
            def enter(seconds):
                exc = Dropped()
                _interrupts.enter_timeout(exc, seconds)
            for seconds in 3600, 3600.5:
                enter(seconds)
                start(enter, seconds).join()
        """)

    @needs_masks
    def test_timeouts_are_due(self):
        self.check_dropped(2, """
            nointerrupts.__enter__()
            def enter():
                exc = Dropped()
                _interrupts.enter_timeout(exc, 0.001)
                nointerrupts.__enter__()
                time.sleep(SHORT)
            start(enter).join()
            enter()
        """)

    def test_generators_carry_scopes(self):
        self.check_dropped(4, """
            def generator(exc):
                with timeout(3600), nointerrupts:
                    yield exc
            suspended = [generator(Dropped()) for _ in range(3)]
            for one in suspended:
                next(one)
            start(next, generator(Dropped())).join()
        """)

    def test_something_is_attached(self):
        self.check_dropped(2, """
            exc = Dropped()
            current_thread().attach(Dropped, lambda found, exc=exc: None)
            current_thread().interrupt(exc)
            check(not interrupts_pending())
            # This is all that knows it.
            _interrupts.set_dispatch(lambda found, kept=Dropped(): found)
        """)

    def test_threads_are_masked_at_the_end(self):
        # They are waited for.
        self.check_dropped(1, """
            def finish(exc):
                nointerrupts.__enter__()
                begun.set()
                current_thread().interrupt(exc)
                time.sleep(0.1)
            begun = threading.Event()
            start(finish, Dropped())
            begun.wait()
        """)

    def interrupt_the_end(self, force):
        # Ending without waiting for all threads would be fatal.
        for kind in KINDS:
            with self.subTest(kind):
                reader, writer = os.pipe()
                interpreter = self.create(kind)
                self.execute(interpreter, f'''
                    import atexit, io, os, sys
                    from concurrent.futures import ThreadPoolExecutor
                    told = []
                    sys.stderr = io.StringIO()
                    sys.unraisablehook = lambda info: told.append(info.exc_type)
                    def work():
                        time.sleep(0.1)
                        for _ in range(3):
                            main.interrupt(Sent(), force={force})
                            time.sleep(0.05)
                        os.write({writer}, b'e')
                    main = threading.main_thread()
                    start(work)
                    ThreadPoolExecutor(1).submit(work)
                    atexit.register(lambda: os.write({writer}, b'%d' % len(told)))
                ''')
                _interpreters.destroy(interpreter)
                os.close(writer)
                with open(reader, 'rb') as file:
                    ended = file.read()
                self.assertEqual(ended[:2], b'ee')
                self.assertGreater(int(ended[2:]), 0)

    def test_the_end_is_interrupted(self):
        self.interrupt_the_end(force=False)

    def test_the_end_is_interrupted_by_force(self):
        self.interrupt_the_end(force=True)

    @needs_masks
    def test_an_uncaught_exception(self):
        # It is described after the code has ended, by Python code.
        for kind in KINDS:
            with self.subTest(kind):
                interpreter = self.create(kind)
                self.execute(interpreter, 'import traceback')
                raised = 0
                for n in range(1, 150):
                    error = _interpreters.exec(interpreter, textwrap.dedent(f'''
                        _interrupts.sweep_start({n}, 'eval', Sent())
                        raise ValueError('of the code')
                    '''))
                    if error.type.__name__ != 'Sent':
                        raised += 1
                        self.assertEqual(error.msg, 'of the code')
                        self.assertIn('ValueError: of the code', error.errdisplay)
                self.assertGreater(raised, 100)

    def test_a_description_that_fails(self):
        # By force, say: what is called for it is dropped once, not twice.
        for kind in KINDS:
            with self.subTest(kind):
                interpreter = self.create(kind)
                self.execute(interpreter, '''if True:
                    import sys, traceback
                    class TracebackException:
                        def from_exception(*args, **kwargs):
                            raise MemoryError
                    traceback.TracebackException = TracebackException
                    kept = [TracebackException.from_exception] * 100
                    count = sys.getrefcount(kept[0])
                    ''')
                for i in range(10):
                    error = _interpreters.exec(interpreter,
                                               "raise ValueError('of the code')")
                    self.assertEqual(error.msg, 'of the code')
                    self.assertFalse(hasattr(error, 'errdisplay'))
                self.execute(interpreter,
                             'assert sys.getrefcount(kept[0]) == count')


class StressTests(InterpreterTestCase):
    """Eight interpreters with four threads each, which interrupt each other.

    For a minute if the resource 'cpu' is enabled, or as long as the environment
    variable PYTHONTESTINTERRUPTSECONDS says, in seconds.
    """

    interpreters = 8
    threads = 4

    script = """
        import os, random, select, queue
        class Own(Exception):
            pass
        reader, writer = os.pipe()
        lock = threading.Lock()
        boxes = queue.Queue()
        problems = []
        sent = [[] for _ in range(COUNT)]
        caught = [[] for _ in range(COUNT)]
        timeouts = [0] * COUNT
        stop = time.monotonic() + SECONDS
        all_sent = threading.Barrier(COUNT)

        def step(rng, k):
            kind = rng.randrange(6)
            if kind == 0:
                time.sleep(0.002)
            elif kind == 1:
                with timeout(rng.random() * 0.002):
                    threading.Event().wait()
            elif kind == 2:
                with nointerrupts:
                    time.sleep(0.0005)
                    with interrupts:
                        time.sleep(0.001)
            elif kind == 3:
                with lock:
                    time.sleep(0.0002)
            elif kind == 4:
                select.select([reader], [], [], 0.002)
            else:
                try:
                    boxes.get(timeout=0.002)
                except queue.Empty:
                    pass

        def look_at(exc, k):
            # What was in flight is a context.
            while exc is not None:
                if isinstance(exc, BaseExceptionGroup):
                    for member in exc.exceptions:
                        look_at(member, k)
                elif type(exc) is Own:
                    caught[k].append(exc)
                elif type(exc) is TimeoutError:
                    timeouts[k] += 1
                elif type(exc).__name__ not in ('_TimeoutInterrupt', 'Empty'):
                    problems.append(exc)
                exc = exc.__context__

        def work(k):
            try:
                interrupt_others(k)
            except BaseException as exc:
                problems.append(exc)
                for barrier in ready, all_sent, all_caught:
                    barrier.abort()

        def interrupt_others(k):
            rng = random.Random(SEED + k)
            with nointerrupts:
                ready.wait()
                while time.monotonic() < stop:
                    exc = None
                    try:
                        with interrupts:
                            step(rng, k)
                    except BaseException as caught_exc:
                        exc = caught_exc
                    look_at(exc, k)
                    own = Own(k, len(sent[k]))
                    if threads[rng.randrange(COUNT)].interrupt(own):
                        sent[k].append(own)
                all_sent.wait()
                exc = None
                while interrupts_pending():
                    try:
                        with interrupts:
                            time.sleep(0)
                    except BaseException as caught_exc:
                        exc = caught_exc
                        look_at(exc, k)
                all_caught.wait()

        ready = threading.Barrier(COUNT)
        all_caught = threading.Barrier(COUNT)
        threads = [threading.Thread(target=work, args=(k,)) for k in range(COUNT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.wait()
        os.close(reader)
        os.close(writer)
        check(not problems, problems)
        check(not lock.locked())
        sent = [id(exc) for one in sent for exc in one]
        seen = [id(exc) for one in caught for exc in one]
        check(len(sent) > COUNT * 10, len(sent))
        check(len(seen) == len(set(seen)), 'raised twice')
        check(set(seen) == set(sent), len(seen), len(sent))
        check(sum(timeouts) > 0)
        del seen, sent, caught, problems
    """

    def seconds(self):
        try:
            return float(os.environ['PYTHONTESTINTERRUPTSECONDS'])
        except KeyError:
            return 60 if support.use_resources and 'cpu' in support.use_resources else 1

    def stress(self, kind):
        interpreters = [self.create(kind) for _ in range(self.interpreters)]
        threads = []
        for number, interpreter in enumerate(interpreters):
            script = textwrap.dedent(self.script)
            for name, value in (('COUNT', self.threads), ('SEED', number * 100),
                                ('SECONDS', self.seconds())):
                script = script.replace(name, str(value))
            threads.append(self.start(self.execute, interpreter, script))
        for thread in threads:
            thread.join()

    def setUp(self):
        super().setUp()
        with threading.nointerrupts:
            masked = threading.interrupts_masked()
        if not masked:
            # It would hang, and not fail.
            self.skipTest('without masks the locks of queues stay locked')

    def test_shared_gil(self):
        self.stress('legacy')

    def test_own_gil(self):
        self.stress('isolated')


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        check_marks(self, __file__, marked=10, others=20)


if __name__ == '__main__':
    interrupt_masks.main(InterruptTestCase)
