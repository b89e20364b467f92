"""Tracers, profilers, monitors and debuggers, where interrupts are masked.

Their callbacks run softly masked, so that a tool opens no window in the code it
watches; and prompts in masked code can be interrupted.

That tools see the same events as in an interpreter that masks nothing needs such
an interpreter, and is not tested here.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
from threading import interrupts, interrupts_masked, nointerrupts

import _interrupts
from test import support, test_interrupts
from test.support import import_helper, interrupt_masks
from test.support.interrupt_constructs import (
    Construct, Resource, Table, TableTests, exhaust, report, step, work)
from test.support.interrupt_masks import needs_masks
from test.support.script_helper import assert_python_ok
from test.test_interrupts import (
    Failure, Interrupt, InterruptTestCase, Manager, check_point, collect,
    interrupt)

if not hasattr(signal, 'SIGUSR1'):
    raise unittest.SkipTest('needs POSIX')


# -- A callback is called for each event; start() and stop() may be repeated.

class Tracer:

    def __init__(self, callback):
        self.callback = callback

    def start(self):
        sys.settrace(self.trace)

    def stop(self):
        sys.settrace(None)

    def trace(self, frame, event, arg):
        frame.f_trace_opcodes = self.sees_opcodes
        self.callback(event, frame.f_code)
        return self.trace

    sees_opcodes = False

    def close(self):
        self.stop()


class OpcodeTracer(Tracer):

    sees_opcodes = True


class Profiler(Tracer):

    def start(self):
        sys.setprofile(self.profile)

    def stop(self):
        sys.setprofile(None)

    def profile(self, frame, event, arg):
        self.callback(event, frame.f_code)


class Monitor(Tracer):

    ID = sys.monitoring.PROFILER_ID
    EVENTS = [name for name in vars(sys.monitoring.events)
              if name.isupper() and name not in ('NO_EVENTS', 'INSTRUCTION')]

    def __init__(self, callback):
        super().__init__(callback)
        sys.monitoring.use_tool_id(self.ID, __name__)
        self.mask = 0
        for name in self.EVENTS:
            event = getattr(sys.monitoring.events, name)
            sys.monitoring.register_callback(self.ID, event,
                                             self.callback_for(name))
            self.mask |= event

    def callback_for(self, event):
        return lambda code, *args: self.callback(event, code)

    def start(self):
        sys.monitoring.set_events(self.ID, self.mask)

    def stop(self):
        sys.monitoring.set_events(self.ID, 0)

    def close(self):
        self.stop()
        for name in self.EVENTS:
            event = getattr(sys.monitoring.events, name)
            sys.monitoring.register_callback(self.ID, event, None)
        sys.monitoring.free_tool_id(self.ID)


class InstructionMonitor(Monitor):

    EVENTS = ['INSTRUCTION']


TOOLS = [Tracer, OpcodeTracer, Profiler, Monitor, InstructionMonitor]


# -- An interrupt at each check point, also those of the callback.

class Watched(Construct):
    """Something that a tool watches, whose callback takes more than a step."""

    tool = None

    def __init__(self):
        self.callback_runs = False
        self.watcher = self.tool(self.callback)

    def callback(self, event, code):
        self.callback_runs = True
        step()
        self.callback_runs = False

    def run(self):
        try:
            self.watcher.start()
            self.use()
        finally:
            self.watcher.stop()

    def use(self):
        raise NotImplementedError

    def is_broken(self):
        return self.callback_runs or self.is_left()

    def is_left(self):
        raise NotImplementedError

    def close(self):
        self.watcher.close()


class With(Watched):

    def __init__(self):
        super().__init__()
        self.resource = Resource()

    def use(self):
        with self.resource:
            work()

    def is_left(self):
        return self.resource.state != 'closed'


class WithInGenerator(With):

    def generate(self):
        with self.resource:
            yield work()

    def use(self):
        exhaust(self.generate())


class Finally(Watched):

    state = 'closed'

    def use(self):
        try:
            self.state = 'open'
            work()
        finally:
            self.state = 'closing'
            step()
            self.state = 'closed'

    def is_left(self):
        return self.state != 'closed'


class AcquireThenTry(Watched):

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def use(self):
        self.lock.acquire()
        try:
            work()
        finally:
            self.lock.release()

    def is_left(self):
        return self.lock.locked()


TABLE = Table()
for tool in TOOLS:
    for base in With, WithInGenerator, Finally, AcquireThenTry:
        name = f'{tool.__name__}: {base.__name__}'
        TABLE.construct(name)(type(name, (base,), {'tool': tool}))


class SweepTests(TableTests, unittest.TestCase):

    table = TABLE
    file = __file__


# -- Callbacks

def fails():
    raise KeyError


def generates():
    try:
        yield
    except Failure:
        yield


def delegates():
    return (yield from generates())


def sample():
    """Has an event of each kind."""
    for item in [1, 2]:
        len([item])
    try:
        divmod(1, 0)
    except ZeroDivisionError:
        pass
    try:
        try:
            fails()
        finally:
            check_point()
    except KeyError:
        pass
    generator = generates()
    next(generator)
    generator.throw(Failure)
    list(delegates())


SAMPLES = {function.__code__
           for function in (sample, fails, generates, delegates)}

EVENTS = {
    Tracer: ['call', 'line', 'return', 'exception'],
    OpcodeTracer: ['opcode'],
    Profiler: ['call', 'return', 'c_call', 'c_return', 'c_exception'],
    Monitor: Monitor.EVENTS,
    InstructionMonitor: InstructionMonitor.EVENTS,
}


class CallbackTests(InterruptTestCase):

    def watch(self, tool, callback, function, *args):
        """Call with the tool at work; return what was raised."""
        watcher = tool(callback)
        try:
            watcher.start()
            return collect(function, *args)
        finally:
            watcher.close()

    def at_line(self, function, line, action):
        """A callback that does this when the function comes to the line first.

        Lines are counted from the `def`.
        """
        done = False
        code = function.__code__

        def callback(event, seen):
            nonlocal done
            if (seen is code and event in ('line', 'LINE') and not done
                    and sys._getframe(2).f_lineno == code.co_firstlineno + line):
                done = True
                action()
        return callback

    @needs_masks
    def test_each_event(self):
        for tool, events in EVENTS.items():
            for event in events:
                with self.subTest(tool=tool.__name__, event=event):
                    self.check_event(tool, event)

    def check_event(self, tool, wanted):
        self.sent = 0
        log = []

        def callback(event, code):
            if code in SAMPLES and event == wanted and not log:
                log.append(interrupts_masked())
                interrupt()
                # No scope opens it.
                with interrupts:
                    check_point()
                log.append('goes on')

        watcher = tool(callback)
        try:
            watcher.start()
            caught = collect(sample)
        finally:
            watcher.close()
        self.assertEqual(log, [True, 'goes on'])
        self.assertInterrupts(caught, 1)
        tb = caught[0].__traceback__
        while tb is not None:
            self.assertIsNot(tb.tb_frame.f_code, callback.__code__)
            tb = tb.tb_next
        self.assertOpen()

    @needs_masks
    def test_value_on_its_way(self):
        lock = threading.Lock()

        def function():
            lock.acquire()
            try:
                self.log.append('try')
                check_point()
                self.log.append('missed')
            finally:
                lock.release()

        # Between acquire() and the body.
        callback = self.at_line(function, 2, interrupt)
        self.assertInterrupts(self.watch(Tracer, callback, function), 1)
        self.assertEqual(self.log, ['try'])
        self.assertFalse(lock.locked())

    @needs_masks
    def test_what_was_sent(self):
        exc = Failure()

        def send():
            threading.current_thread().interrupt(exc)
            self.log.append('sent')

        def function():
            with Manager(self.log):
                self.log.append('body')
                check_point()
                self.log.append('missed')

        callback = self.at_line(function, 2, send)
        caught = self.watch(Tracer, callback, function)
        self.assertEqual(caught, [exc])
        self.assertEqual(self.log, ['enter', 'entered', 'sent', 'body',
                                    'exit Failure', 'exited'])

    # Soft: a call that blocks is broken.  It looks before it blocks.

    def test_blocked_callback(self):
        lock = threading.Lock()
        lock.acquire()

        def block():
            with contextlib.suppress(Interrupt):
                interrupt()
                lock.acquire(timeout=support.LONG_TIMEOUT)
            self.log.append('broken')

        def function():
            check_point()
            self.log.append('goes on')

        for tool in Tracer, Monitor:
            with self.subTest(tool=tool.__name__):
                self.log.clear()
                callback = self.at_line(function, 1, block)
                self.assertEqual(self.watch(tool, callback, function), [])
                self.assertEqual(self.log, ['broken', 'goes on'])

    @needs_masks
    def test_blocked_callback_in_finally(self):
        lock = threading.Lock()
        lock.acquire()

        def block():
            interrupt()
            self.log.append(lock.acquire(timeout=0.01))

        def function():
            try:
                pass
            finally:
                check_point()
                self.log.append('cleaned up')
            self.log.append('missed')

        callback = self.at_line(function, 4, block)
        self.assertInterrupts(self.watch(Tracer, callback, function), 1)
        self.assertEqual(self.log, [False, 'cleaned up'])

    # What a callback raises is no interrupt.

    def check_failure(self, tool, line, log, *, also=()):
        def action():
            for do in also:
                do()
            raise Failure

        def function():
            with Manager(self.log):
                self.log.append('body')
            try:
                self.log.append('try')
            finally:
                check_point()
                self.log.append('cleaned up')

        self.log.clear()
        self.sent = 0
        callback = self.at_line(function, line, action)
        watcher = tool(callback)
        try:
            watcher.start()
            caught = collect(function)
            tracer = sys.gettrace()
        finally:
            watcher.close()
        self.assertEqual(self.log, log)
        return caught, tracer

    def test_exceptions_of_callbacks_are_ordinary(self):
        before = ['enter', 'entered', 'body', 'exit None', 'exited', 'try']
        for line, log in [
                (2, ['enter', 'entered', 'exit Failure', 'exited']),
                (4, [*before[:-1], 'cleaned up']),
                (6, before)]:
            for tool in Tracer, Monitor:
                with self.subTest(line=line, tool=tool.__name__):
                    caught, tracer = self.check_failure(tool, line, log)
                    self.assertTypes(caught, Failure)
                    # A tracer that fails is removed.
                    self.assertIsNone(tracer)
                    self.assertOpen()

    @needs_masks
    def test_exception_of_a_callback_comes_before_what_waits(self):
        log = ['enter', 'entered', 'exit Failure', 'exited']
        caught, _ = self.check_failure(Tracer, 2, log, also=[interrupt])
        # The exit has a TIT, which does not replace the exception.
        self.assertInterrupts(caught, 1)
        self.assertIsInstance(caught[0].__context__, Failure)

    def test_failing_profiler_is_removed(self):
        def profile(frame, event, arg):
            if event == 'c_call':
                raise Failure

        def function():
            try:
                pass
            finally:
                sys.setprofile(profile)
                len(())

        self.addCleanup(sys.setprofile, None)
        self.assertTypes(collect(function), Failure)
        self.assertIsNone(sys.getprofile())
        self.assertOpen()


# -- Jumps.  Those in and out of `finally` and `with` are in test_interrupts.

class JumpTests(InterruptTestCase):

    jump = test_interrupts.JumpTests.jump

    def tearDown(self):
        # A scope that was jumped out of counts again in a frame that gets the
        # same place in memory.
        _interrupts.drop_scopes()
        super().tearDown()

    @needs_masks
    def test_out_of_nointerrupts(self):
        def function(log):
            for _ in range(1):
                with nointerrupts:
                    log.append('body')
                    log.append('skipped')
            # Nobody has left it.
            log.append(interrupts_masked())

        caught = self.jump(function, 4, 6, self.log)
        self.assertEqual(caught, [])
        self.assertEqual(self.log, ['body', True])
        self.assertFalse(interrupts_masked())
        self.assertOpen()

    @needs_masks
    def test_out_of_interrupts(self):
        def function(log):
            for _ in range(1):
                with interrupts:
                    log.append(interrupts_masked())
                    log.append('skipped')
            log.append(interrupts_masked())

        def masked(log):
            with nointerrupts:
                function(log)
                log.append(interrupts_masked())

        code = function.__code__
        self.assertEqual(
            self.jump(function, 4, 5, self.log), [])
        self.assertEqual(self.log, [False, False])
        self.log.clear()

        def trace(frame, event, arg):
            if frame.f_code is code:
                line = frame.f_lineno - code.co_firstlineno
                if event == 'line' and line == 4:
                    frame.f_lineno += 1
                return trace

        self.addCleanup(sys.settrace, sys.gettrace())
        sys.settrace(trace)
        masked(self.log)
        sys.settrace(None)
        self.assertEqual(self.log, [False, False, True])
        self.assertOpen()

    def test_into_with(self):
        def function(manager, log):
            log.append('start')
            log.append('not skipped')
            with manager:
                log.append('body')
            log.append('end')

        caught = self.jump(function, 2, 4, Manager(self.log), self.log)
        self.assertTypes(caught, ValueError)
        self.assertEqual(self.log, ['start'])
        self.assertOpen()


class AuditTests(unittest.TestCase):
    """Hooks can be interrupted, and raise what they like."""

    def test_getaddrinfo_leaves_nothing_behind(self):
        # In a process of its own: a hook cannot be removed.
        assert_python_ok('-c', textwrap.dedent('''
            import gc, socket, sys

            class Raised(Exception):
                pass

            def hook(event, arguments):
                if event == 'socket.getaddrinfo':
                    raise Raised

            def use(ports):
                for port in ports:
                    try:
                        socket.getaddrinfo('localhost', port)
                    except Raised:
                        pass
                    else:
                        raise AssertionError('the hook was not called')
                gc.collect()

            sys.addaudithook(hook)
            use(range(10_000, 10_010))
            before = sys.getallocatedblocks()
            use(range(20_000, 20_500))
            more = sys.getallocatedblocks() - before
            assert more < 100, more
        '''))


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=6, others=3)


# -- Prompts

# Where a prompt appears: in code that masks.
PLACES = {
    'finally': '''
        try:
            pass
        finally:
            stop()
            print('cleaned up')
        ''',
    'exit': '''
        class Manager:
            def __enter__(self):
                pass
            def __exit__(self, *exc_info):
                stop()
                print('cleaned up')
        with Manager():
            pass
        ''',
    'enter': '''
        class Manager:
            def __enter__(self):
                stop()
                print('cleaned up')
            def __exit__(self, *exc_info):
                pass
        with Manager():
            pass
        ''',
    'nointerrupts': '''
        with threading.nointerrupts:
            stop()
            print('cleaned up')
        ''',
    'finalizer': '''
        class Finalized:
            def __del__(self):
                stop()
                print('cleaned up')
        Finalized()
        ''',
    'handler': '''
        def handler(signum, frame):
            stop()
            print('cleaned up')
        signal.signal(signal.SIGUSR1, handler)
        signal.raise_signal(signal.SIGUSR1)
        ''',
    'tracer': '''
        def trace(frame, event, arg):
            sys.settrace(None)
            stop()
            print('cleaned up')
        def traced():
            pass
        sys.settrace(trace)
        traced()
        ''',
}

PROGRAM = '''
import code, os, pdb, signal, sys, threading
def stop():
    {stop}
def places():
{place}
places()
print('masked at the end:', threading.interrupts_masked())
'''

# What shows a prompt: the prompt, what the prompt says when it is interrupted, what
# ends it.
PDB = (b'(Pdb) ', b'--KeyboardInterrupt--', b'continue\n')
CONSOLE = (b'>>> ', b'\nKeyboardInterrupt', b'raise SystemExit\n')
PROMPTS = {
    'breakpoint()': PDB,
    'pdb.set_trace()': PDB,
    'code.interact(local_exit=True)': CONSOLE,
}
# Entered at a prompt.  The echo does not look like what is printed.
BUSY = b'print("bu" "sy") or all(not x for x in iter(int, 1))\n'


class Child:
    """A program, and pipes or a terminal to talk to it."""

    def __init__(self, command, use_terminal):
        env = os.environ | {'TERM': 'dumb', 'PYTHON_COLORS': '0'}
        if use_terminal:
            pty = import_helper.import_module('pty')
            self.fd, other = pty.openpty()
            self.ours = [self.fd]
        else:
            reader, other = os.pipe()
            stdin, self.fd = os.pipe()
            self.ours = [reader, self.fd]
        self.reader = self.ours[0]
        self.process = subprocess.Popen(
            command, stdin=other if use_terminal else stdin, stdout=other,
            stderr=other, env=env, start_new_session=True)
        os.close(other)
        if not use_terminal:
            os.close(stdin)
        self.output = b''

    def expect(self, text):
        """Read on until the program has written this, and forget it."""
        timer = threading.Timer(support.SHORT_TIMEOUT, self.process.kill)
        timer.start()
        try:
            while text not in self.output:
                data = os.read(self.reader, 4096)
                if not data:
                    raise EOFError
                self.output += data
        except (OSError, EOFError):
            # That of a terminal looks like an error.
            raise AssertionError(f'no {text!r} but {self.output!r}') from None
        finally:
            timer.cancel()
            timer.join()
        before, _, self.output = self.output.partition(text)
        return before

    def type(self, text):
        os.write(self.fd, text)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def close(self):
        self.process.kill()
        self.process.wait()
        for fd in self.ours:
            os.close(fd)


@support.requires_subprocess()
class PromptTests(unittest.TestCase):

    def start(self, stop, place, use_terminal=False, options=()):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        name = os.path.join(folder.name, 'program.py')
        place = textwrap.indent(textwrap.dedent(PLACES[place]), '    ')
        with open(name, 'w') as file:
            file.write(PROGRAM.format(stop=stop, place=place))
        child = Child([sys.executable, '-Iu', *options, name], use_terminal)
        self.addCleanup(child.close)
        return child

    def check(self, stop, place, use_terminal):
        prompt, interrupted, end = PROMPTS[stop]
        child = self.start(stop, place, use_terminal)
        child.expect(prompt)
        # The prompt itself, then what is executed there, then that again.
        child.interrupt()
        child.expect(interrupted)
        child.expect(prompt)
        child.type(BUSY)
        child.expect(b'busy')
        child.interrupt()
        child.expect(b'KeyboardInterrupt')
        child.expect(prompt)
        child.interrupt()
        child.expect(interrupted)
        child.expect(prompt)
        child.type(end)
        child.expect(b'cleaned up')
        child.expect(b'masked at the end: False')
        self.assertEqual(child.process.wait(), 0)

    def test_pipe(self):
        for stop in PROMPTS:
            for place in PLACES:
                if place == 'tracer' and PROMPTS[stop] is PDB:
                    # It would stop after the trace function.
                    continue
                with self.subTest(stop=stop, place=place):
                    self.check(stop, place, False)

    def test_terminal(self):
        for stop in PROMPTS:
            for place in 'finally', 'nointerrupts':
                with self.subTest(stop=stop, place=place):
                    self.check(stop, place, True)

    def test_what_has_waited(self):
        # It is raised at the prompt, once.
        for stop in PROMPTS:
            prompt, interrupted, end = PROMPTS[stop]
            with self.subTest(stop=stop):
                child = self.start(
                    f'signal.raise_signal(signal.SIGINT); print("waits"); {stop}',
                    'finally')
                child.expect(b'waits')
                child.expect(interrupted)
                child.expect(prompt)
                child.type(end)
                rest = child.expect(b'cleaned up')
                rest += child.expect(b'masked at the end: False')
                self.assertNotIn(b'KeyboardInterrupt', rest)
                self.assertEqual(child.process.wait(), 0)

    def test_code_is_masked_again(self):
        for stop, (prompt, _, end) in PROMPTS.items():
            with self.subTest(stop=stop):
                child = self.start(f'{stop}; '
                                   'print(threading.interrupts_masked())',
                                   'finally')
                child.expect(prompt)
                child.type(b'import threading; '
                           b'print(threading.interrupts_masked())\n')
                child.expect(b'False\n')
                child.expect(prompt)
                child.type(end)
                child.expect(b'True\n')
                self.assertEqual(child.process.wait(), 0)


if __name__ == '__main__':
    if sys.argv[1:2] == ['report']:
        report(TABLE, sys.argv[2:])
    else:
        interrupt_masks.main(InterruptTestCase)
