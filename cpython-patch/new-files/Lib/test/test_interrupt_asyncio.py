"""asyncio: what is masked, what is called again, and what must not be.

Where interrupts may land is tried by the tables in test_interrupt_services.
"""

import array
import asyncio
import functools
import os
import signal
import socket
import sys
import threading
import unittest
from asyncio import subprocess, tasks
from unittest import mock

from test import support
from test.support import interrupt_masks
from test.support.interrupt_masks import needs_masks

support.requires_working_socket(module=True)

if not hasattr(signal, 'raise_signal'):
    raise unittest.SkipTest('needs signal.raise_signal()')


class Interrupt(BaseException):
    """What the handler of a signal raises."""


def interrupt(signum, frame):
    raise Interrupt


def step():
    """The call is a check point."""


class LoopTestCase(unittest.TestCase):

    def setUp(self):
        self.loop = asyncio.SelectorEventLoop()     # needs no policy
        self.addCleanup(self.loop.close)
        self.contexts = []      # what has been reported
        self.loop.set_exception_handler(
            lambda loop, context: self.contexts.append(context))
        handler = signal.signal(signal.SIGINT, interrupt)
        self.addCleanup(signal.signal, signal.SIGINT, handler)

    async def give_turns(self):
        for _ in range(5):
            await asyncio.sleep(0)

    def run_turns(self):
        self.loop.run_until_complete(self.give_turns())


class EagerTests(LoopTestCase):
    """A coroutine that is started at once is as open as any other."""

    def setUp(self):
        super().setUp()
        self.masked = []

    async def body(self):
        self.masked.append(threading.interrupts_masked())
        try:
            signal.raise_signal(signal.SIGINT)
            step()
        except Interrupt:
            return 'interrupted'
        return 'not interrupted'

    def check(self, coroutine):
        result = self.loop.run_until_complete(coroutine)
        self.assertEqual(self.masked, [False])
        self.assertEqual(result, 'interrupted')

    def test_task_group(self):
        async def main():
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self.body())
                self.assertTrue(task.done())
            return task.result()
        self.loop.set_task_factory(asyncio.eager_task_factory)
        self.check(main())

    def test_factory(self):
        async def main():
            task = asyncio.create_task(self.body())
            self.assertTrue(task.done())
            return task.result()
        self.loop.set_task_factory(asyncio.eager_task_factory)
        self.check(main())

    def test_eager_start(self):
        async def main():
            task = self.loop.create_task(self.body(), eager_start=True)
            self.assertTrue(task.done())
            return task.result()
        self.check(main())

    def test_loop(self):
        # The loop starts all tasks eagerly, without a factory.
        class Loop(asyncio.SelectorEventLoop):
            def create_task(self, coro, **kwargs):
                return asyncio.Task(coro, loop=self, eager_start=True, **kwargs)

        async def main():
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self.body())
                self.assertTrue(task.done())
            return task.result()

        self.loop = Loop()
        self.addCleanup(self.loop.close)
        self.check(main())


class TaskGroupTests(LoopTestCase):

    def test_same_exception(self):
        # Each task counts, whatever it has raised.
        async def main():
            future = self.loop.create_future()

            async def wait():
                await future

            with self.assertRaises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    for _ in range(3):
                        group.create_task(wait())
                    await asyncio.sleep(0)
                    future.set_exception(error)
            return caught.exception.exceptions

        error = ValueError()
        exceptions = self.loop.run_until_complete(main())
        self.assertEqual(len(exceptions), 3)
        for exception in exceptions:
            self.assertIs(exception, error)


class HandleTests(LoopTestCase):
    """Nothing is called twice but what says that it can be repeated."""

    def test_mock(self):
        callback = mock.Mock(side_effect=ValueError)
        self.loop.call_soon(callback)
        self.run_turns()
        callback.assert_called_once_with()
        self.assertEqual(len(self.contexts), 1)

    def test_any_attribute(self):
        class Proxy:
            calls = 0

            def __getattr__(self, name):
                return name

            def __call__(self):
                Proxy.calls += 1
                raise ValueError

        self.loop.call_soon(Proxy())
        self.run_turns()
        self.assertEqual(Proxy.calls, 1)
        self.assertEqual(len(self.contexts), 1)

    def test_wrapped(self):
        # A wrapper has got what its function is marked with.
        def wrap(function):
            @functools.wraps(function)
            def wrapper(*args):
                calls.append(function.__name__)
                raise ValueError
            return wrapper

        class Loop(asyncio.SelectorEventLoop):
            stop = wrap(asyncio.SelectorEventLoop.stop)

        loop = Loop()
        self.addCleanup(loop.close)
        calls = []
        self.assertIs(loop.stop._can_be_repeated, True)
        self.loop.call_soon(loop.stop)
        self.loop.call_soon(wrap(self.loop.stop))
        self.run_turns()
        self.assertEqual(calls, ['stop', 'stop'])
        self.assertEqual(len(self.contexts), 2)

    def test_refused_step(self):
        # The loop is run by a task, so that no other one can be entered.
        async def main():
            task = tasks._PyTask(coroutine, loop=self.loop)
            for _ in range(3):
                self.loop.call_soon(step)       # there is no need to wait
                self.loop._run_once()
            task._log_destroy_pending = False

        coroutine = self.give_turns()
        self.addCleanup(coroutine.close)
        self.loop.run_until_complete(main())
        self.assertEqual(len(self.contexts), 1)

    @needs_masks
    def test_repeated(self):
        def callback():
            masked.append(threading.interrupts_masked())
            raise ValueError

        masked = []
        callback._can_be_repeated = True
        self.loop.call_soon(callback)
        self.run_turns()
        self.assertEqual(masked, [False, True])
        self.assertEqual(len(self.contexts), 1)     # reported once

    @needs_masks
    def test_repeated_waits(self):
        # It is not cut again, but what it waits for is.
        def callback():
            steps.append('called')
            if len(steps) == 1:
                raise ValueError
            signal.raise_signal(signal.SIGINT)
            step()
            steps.append('running')
            blocked.wait(support.SHORT_TIMEOUT)
            steps.append('has waited')

        steps = []
        blocked = threading.Event()
        callback._can_be_repeated = True
        self.loop.call_soon(callback)
        with self.assertRaises(Interrupt):
            self.run_turns()
        self.run_turns()
        self.assertEqual(steps, ['called', 'called', 'running'])

    exits = 0

    def exit(self):
        self.exits += 1
        raise SystemExit

    def run_with_exit(self, handle):
        # What ends the loop is not put back.
        self.loop._ready.append(handle)
        with self.assertRaises(SystemExit):
            self.run_turns()
        self.run_turns()
        self.assertEqual(self.exits, 1)

    def test_handle(self):
        self.run_with_exit(asyncio.Handle(self.exit, (), self.loop))

    def test_handle_with_its_own_run(self):
        class Handle(asyncio.Handle):
            def _run(self):
                self._context.run(self._callback, *self._args)

        self.run_with_exit(Handle(self.exit, (), self.loop))

    def test_no_handle(self):
        class Handle:
            __slots__ = ('_run',)
            _cancelled = False

        handle = Handle()
        handle._run = self.exit
        self.run_with_exit(handle)


class ReadyTests(LoopTestCase):

    def test_appended_while_files_are_forgotten(self):
        # Other threads call call_soon_threadsafe() while a loop that was interrupted
        # looks at its handles.
        ready = self.loop._ready
        late = asyncio.Handle(step, (), self.loop)

        class LookedAt:
            def __getattr__(self, name):
                ready.append(late)
                raise AttributeError(name)

        class File:
            _is_called_when_ready = True

        handles = LookedAt(), LookedAt()
        ready.extend([handles[0], File(), handles[1]])
        self.loop._forget_ready_files()
        self.assertEqual(list(ready), [*handles, late, late])
        ready.clear()


class DroppedWaiterTests(LoopTestCase):
    """What is dropped wakes up nobody: the loop may be closed."""

    def check(self, lock):
        async def main():
            await lock.acquire()
            first.send(None)
            second.send(None).add_done_callback(step)
            lock.release()

        first, second = lock.acquire(), lock.acquire()
        self.loop.run_until_complete(main())
        self.loop.close()
        self.addCleanup(second.close)
        first.close()

    def test_lock(self):
        self.check(asyncio.Lock())

    def test_semaphore(self):
        self.check(asyncio.Semaphore(1))


class SubprocessProtocolTests(LoopTestCase):

    def test_transport_is_set(self):
        class Protocol(subprocess.SubprocessStreamProtocol):
            def connection_made(self, transport):
                self._transport = transport
                super().connection_made(transport)

        protocol = Protocol(limit=2**16, loop=self.loop)
        transport = mock.Mock()
        protocol.connection_made(transport)
        stdout = protocol.stdout
        self.assertIsInstance(stdout, asyncio.StreamReader)
        protocol.connection_made(transport)     # repeated
        self.assertIs(protocol.stdout, stdout)


class ConnectionLostTests(LoopTestCase):

    @needs_masks
    def test_mask(self):
        # It is not cut, but what it waits for is.
        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc):
                signal.raise_signal(signal.SIGINT)
                step()
                steps.append('running')
                blocked.wait(support.SHORT_TIMEOUT)
                steps.append('has waited')

        async def main():
            transport, protocol = await self.loop.create_connection(
                Protocol, sock=ours)
            theirs.close()
            while not transport.is_closing():
                await asyncio.sleep(0)
            await self.give_turns()

        steps = []
        blocked = threading.Event()
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.loop.run_until_complete(main())
        self.assertEqual(steps, ['running'])
        self.assertEqual(ours.fileno(), -1)
        self.assertIsInstance(self.contexts[0]['exception'], Interrupt)


class QueueTests(LoopTestCase):

    @needs_masks
    def test_mask(self):
        # A step is not cut, whatever it is made of.
        class Queue(asyncio.Queue):
            def _put(self, item):
                signal.raise_signal(signal.SIGINT)
                step()
                super()._put(item)

        async def main():
            queue = Queue()
            with self.assertRaises(Interrupt):
                queue.put_nowait('item')
            return queue.get_nowait()

        self.assertEqual(self.loop.run_until_complete(main()), 'item')


class KeptTests(LoopTestCase):
    """What a protocol did not get because of Ctrl-C."""

    class Protocol(asyncio.Protocol):
        def __init__(self):
            self.steps = []

        def connection_made(self, transport):
            self.transport = transport
            self.steps.append(threading.interrupts_masked())

        def data_received(self, data):
            self.steps.append(data)

    def setUp(self):
        super().setUp()
        self.ours, self.theirs = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def connect(self, cls):
        _, protocol = self.loop.run_until_complete(
            self.loop.create_connection(cls, sock=self.ours))
        self.addCleanup(protocol.transport.abort)
        return protocol

    def cut(self, function):
        """Run until the function is called, and interrupt it at once."""
        def trace(frame, event, arg):
            if frame.f_code is function.__code__:
                sys.settrace(None)
                raise KeyboardInterrupt

        tracer = sys.gettrace()
        sys.settrace(trace)
        try:
            with self.assertRaises(KeyboardInterrupt):
                self.run_turns()
        finally:
            sys.settrace(tracer)

    def test_reading_is_paused(self):
        protocol = self.connect(self.Protocol)
        self.theirs.send(b'one')
        self.cut(self.Protocol.data_received)
        protocol.transport.pause_reading()
        self.theirs.send(b'two')
        self.run_turns()
        self.assertEqual(protocol.steps, [False])
        protocol.transport.resume_reading()
        self.run_turns()
        self.assertEqual(protocol.steps, [False, b'one', b'two'])
        self.assertEqual(self.contexts, [])

    def test_protocol_pauses(self):
        class Protocol(self.Protocol):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()

        protocol = self.connect(Protocol)
        self.theirs.send(b'one')
        self.cut(Protocol.data_received)
        protocol.transport.pause_reading()
        protocol.transport.resume_reading()
        self.theirs.send(b'two')
        self.run_turns()
        self.assertEqual(protocol.steps, [False, b'one'])

    def test_protocol_closes(self):
        class Protocol(self.Protocol):
            def data_received(self, data):
                super().data_received(data)
                self.transport.close()

        protocol = self.connect(Protocol)
        self.theirs.send(b'one')
        self.cut(Protocol.data_received)
        protocol.transport.pause_reading()
        protocol.transport.resume_reading()
        self.run_turns()
        self.assertEqual(protocol.steps, [False, b'one'])
        self.assertEqual(self.contexts, [])

    def test_method_that_has_begun(self):
        class Protocol(self.Protocol):
            def data_received(self, data):
                self.steps.append(data)
                raise KeyboardInterrupt

        protocol = self.connect(Protocol)
        self.theirs.send(b'one')
        with self.assertRaises(KeyboardInterrupt):
            self.run_turns()
        self.run_turns()
        self.assertEqual(protocol.steps, [False, b'one'])

    def test_buffer_of_another_type(self):
        class Protocol(asyncio.BufferedProtocol):
            def connection_made(self, transport):
                self.transport = transport
                self.buffer = array.array('I', [0])
                self.received = b''

            def get_buffer(self, sizehint):
                return self.buffer

            def buffer_updated(self, nbytes):
                self.received += self.buffer.tobytes()[:nbytes]

        protocol = self.connect(Protocol)
        self.theirs.send(b'one')
        self.cut(Protocol.buffer_updated)
        self.run_turns()
        self.assertEqual(protocol.received, b'one')
        self.assertEqual(self.contexts, [])

    def test_lost_once(self):
        # Also if the descriptor cannot be closed, which is reported.
        class Protocol(self.Protocol):
            def connection_lost(self, exc):
                self.steps.append('lost')

        protocol = self.connect(Protocol)
        protocol.transport.close()
        os.close(self.ours.detach())
        with mock.patch.object(protocol.transport, '_sock') as sock:
            sock.close.side_effect = OSError
            self.run_turns()
        self.assertEqual(protocol.steps, [False, 'lost'])
        self.assertEqual(len(self.contexts), 1)

    def test_protocols_are_not_masked(self):
        try:
            import ssl
        except ImportError:
            self.skipTest('needs ssl')

        class Protocol(self.Protocol):
            def data_received(self, data):
                self.steps.append(threading.interrupts_masked())

        async def main():
            (writing, _), (reading, protocol) = await asyncio.gather(
                self.loop.create_connection(
                    self.Protocol, sock=self.theirs, ssl=client,
                    server_hostname='localhost'),
                self.loop.connect_accepted_socket(
                    Protocol, self.ours, ssl=server))
            writing.write(b'data')
            while len(protocol.steps) < 2:
                await asyncio.sleep(0)
            writing.abort()
            reading.abort()
            return protocol.steps

        def find(name):
            return support.findfile(name, subdir='certdata')

        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(find('keycert3.pem'))
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(find('pycacert.pem'))
        self.assertEqual(self.loop.run_until_complete(main()), [False, False])


class WithoutMasksTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marked_tests_and_only_they_fail(self):
        interrupt_masks.check_marks(self, __file__, marked=2, others=8)


if __name__ == '__main__':
    interrupt_masks.main(LoopTestCase)
