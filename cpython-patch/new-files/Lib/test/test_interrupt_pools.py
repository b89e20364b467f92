"""Interrupting a job of a pool: that one, and never the next.

Future.interrupt() of concurrent.futures, and asyncio.interruptible(), with which
the cancellation of a task interrupts what it awaits in a thread.  The promises are
written down in InternalDocs/interrupt_masking.md.
"""

import asyncio
import concurrent.futures
import random
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from threading import interrupts_masked, nointerrupts

import _interrupts
from test import support
from test.support import threading_helper

threading_helper.requires_working_threading(module=True)

if not _interrupts.kick_signal():
    raise unittest.SkipTest('needs a signal that wakes threads')


class Stop(BaseException):
    """What is sent to a job."""


class PoolTestCase(unittest.TestCase):

    def setUp(self):
        self.enterContext(threading_helper.wait_threads_exit())
        # It has one worker: what comes too late would come to the next job.
        self.executor = self.enterContext(ThreadPoolExecutor(1))
        self.starts = threading.Event()
        self.steps = []

    def block(self):
        self.starts.set()
        time.sleep(support.LONG_TIMEOUT)

    def submit(self, function, *args):
        """Submit it, and wait until it says that it has started."""
        self.starts.clear()
        future = self.executor.submit(function, *args)
        self.assertTrue(self.starts.wait(support.SHORT_TIMEOUT))
        return future

    def check_next_job(self):
        self.assertEqual(self.executor.submit(pow, 2, 3).result(), 8)
        self.assertIs(self.executor.submit(interrupts_masked).result(), False)


class FutureTests(PoolTestCase):

    def test_instance(self):
        exception = Stop('data')
        future = self.submit(self.block)
        self.assertIs(future.interrupt(exception), True)
        self.assertIs(future.exception(support.SHORT_TIMEOUT), exception)
        self.check_next_job()

    def test_class(self):
        future = self.submit(self.block)
        self.assertIs(future.interrupt(Stop), True)
        with self.assertRaises(Stop):
            future.result(support.SHORT_TIMEOUT)
        self.check_next_job()

    def test_spinning(self):
        def spin():
            self.starts.set()
            while True:
                pass

        future = self.submit(spin)
        future.interrupt(Stop)
        with self.assertRaises(Stop):
            future.result(support.SHORT_TIMEOUT)
        self.check_next_job()

    def test_cleanup_is_whole(self):
        def job():
            try:
                self.block()
            finally:
                for step in range(100):
                    self.steps.append(step)

        future = self.submit(job)
        future.interrupt(Stop)
        with self.assertRaises(Stop):
            future.result(support.SHORT_TIMEOUT)
        self.assertEqual(self.steps, list(range(100)))

    def test_job_deals_with_it(self):
        def job():
            try:
                self.block()
            except Stop:
                return 'stopped'

        future = self.submit(job)
        future.interrupt(Stop)
        self.assertEqual(future.result(support.SHORT_TIMEOUT), 'stopped')

    def test_not_running(self):
        running = self.submit(self.block)
        pending = self.executor.submit(pow, 2, 3)
        cancelled = self.executor.submit(pow, 2, 3)
        cancelled.cancel()
        for future in pending, cancelled:
            self.assertIs(future.interrupt(Stop), False)
        running.interrupt(Stop)
        self.assertEqual(pending.result(), 8)
        for future in running, pending, cancelled:
            self.assertIs(future.interrupt(Stop), False)
        self.check_next_job()

    def test_no_exception(self):
        running = self.submit(self.block)
        pending = self.executor.submit(pow, 2, 3)
        for future in running, pending, concurrent.futures.Future():
            for value in None, 'Stop', int, 1, Stop.__init__:
                with (self.subTest(value),
                      self.assertRaisesRegex(TypeError, 'BaseException')):
                    future.interrupt(value)
        running.interrupt(Stop)
        self.check_next_job()

    def test_somewhere_else(self):
        # As it is for those of a ProcessPoolExecutor.
        future = concurrent.futures.Future()
        self.assertIs(future.interrupt(Stop), False)
        future.set_running_or_notify_cancel()
        with self.assertRaisesRegex(RuntimeError, 'ThreadPoolExecutor'):
            future.interrupt(Stop)
        future.set_result(None)
        self.assertIs(future.interrupt(Stop), False)

    def test_constructor_raises(self):
        class Picky(BaseException):
            def __init__(self):
                raise KeyError('from the constructor')

        future = self.submit(self.block)
        future.interrupt(Picky)
        with self.assertRaisesRegex(KeyError, 'from the constructor'):
            future.result(support.SHORT_TIMEOUT)
        self.check_next_job()

    def test_several(self):
        def job():
            with nointerrupts:
                self.starts.set()
                self.goes_on.wait()

        self.goes_on = threading.Event()
        future = self.submit(job)
        for number in range(3):
            future.interrupt(Stop(number))
        self.goes_on.set()
        with self.assertRaises(BaseExceptionGroup) as caught:
            future.result(support.SHORT_TIMEOUT)
        self.assertEqual([exc.args for exc in caught.exception.exceptions],
                         [(0,), (1,), (2,)])
        self.check_next_job()

    def test_too_late(self):
        # It waits when the job ends, and goes with it.
        def job():
            self.scope = nointerrupts()
            self.scope.__enter__()
            self.starts.set()
            self.goes_on.wait()
            return 'whole'

        self.goes_on = threading.Event()
        future = self.submit(job)
        self.assertIs(future.interrupt(Stop), True)
        self.goes_on.set()
        self.assertEqual(future.result(support.SHORT_TIMEOUT), 'whole')
        self.check_next_job()

    def test_attached(self):
        # What is attached gets the exception that was sent.
        def job():
            worker = threading.current_thread()
            worker.attach(Stop, self.steps.append)
            try:
                self.starts.set()
                while not self.steps:
                    time.sleep(0.001)
            finally:
                worker.detach(Stop)

        exception = Stop()
        future = self.submit(job)
        future.interrupt(exception)
        future.result(support.SHORT_TIMEOUT)
        self.assertEqual(self.steps, [exception])

    def test_job_that_waits_for_another(self):
        with ThreadPoolExecutor(1) as other:
            inner = other.submit(time.sleep, 0.1)

            def job():
                self.starts.set()
                inner.result()
                time.sleep(support.LONG_TIMEOUT)

            future = self.submit(job)
            future.interrupt(Stop)
            with self.assertRaises(Stop):
                future.result(support.SHORT_TIMEOUT)
            # It was not for that one.
            self.assertIsNone(inner.result())

    def test_never_the_next(self):
        """Jobs are interrupted just when they end."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        support.setswitchinterval(1e-6)
        rng = random.Random(1)
        stopped = whole = 0

        def job(seconds):
            self.starts.set()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass
            return 'whole'

        def innocent():
            for _ in range(20):
                pass
            return 'next'

        # How long they take follows from how fast this thread is.
        longest = 100e-6
        enough = time.perf_counter() + 5
        for _ in range(2_000):
            future = self.executor.submit(job, rng.uniform(0, longest))
            after = self.executor.submit(innocent)
            self.starts.wait()
            self.starts.clear()
            sent = future.interrupt(Stop)
            try:
                result = future.result(support.SHORT_TIMEOUT)
            except Stop:
                self.assertTrue(sent)
                stopped += 1
                longest *= 0.98
            else:
                self.assertEqual(result, 'whole')
                whole += 1
                longest *= 1.02
            self.assertEqual(after.result(support.SHORT_TIMEOUT), 'next')
            if min(stopped, whole) > 20 and time.perf_counter() > enough:
                break
        self.assertGreater(stopped, 20)
        self.assertGreater(whole, 20)


class AsyncioTests(PoolTestCase):

    def job(self):
        try:
            self.block()
        except BaseException as exc:
            self.steps.append(type(exc))
            raise
        finally:
            self.ended.set()

    def setUp(self):
        super().setUp()
        self.ended = threading.Event()

    async def cancel(self, awaitable):
        """Cancel a task that awaits this, when the job has started."""
        task = asyncio.ensure_future(awaitable)
        while not self.starts.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task

    def test_to_thread(self):
        async def main():
            await self.cancel(asyncio.to_thread(
                asyncio.interruptible(self.job)))

        asyncio.run(main())
        self.assertTrue(self.ended.is_set())
        self.assertEqual(self.steps, [asyncio.CancelledError])

    def test_run_in_executor(self):
        async def main():
            loop = asyncio.get_running_loop()
            await self.cancel(loop.run_in_executor(
                self.executor, asyncio.interruptible(self.job, Stop)))

        asyncio.run(main())
        self.assertTrue(self.ended.wait(support.SHORT_TIMEOUT))
        self.assertEqual(self.steps, [Stop])
        self.check_next_job()

    def test_not_by_default(self):
        goes_on = threading.Event()

        def job():
            self.starts.set()
            goes_on.wait()
            self.steps.append('whole')

        async def main():
            loop = asyncio.get_running_loop()
            for make in (lambda: asyncio.to_thread(job),
                         lambda: loop.run_in_executor(self.executor, job)):
                self.starts.clear()
                await self.cancel(make())
            goes_on.set()

        asyncio.run(main())
        self.executor.shutdown()
        self.assertEqual(self.steps, ['whole', 'whole'])

    def test_timeout(self):
        async def main():
            async with asyncio.timeout(0.05):
                await asyncio.to_thread(asyncio.interruptible(self.job))

        with self.assertRaises(TimeoutError):
            asyncio.run(main())
        self.assertEqual(self.steps, [asyncio.CancelledError])

    def test_arguments_and_result(self):
        @asyncio.interruptible
        def function(*args, **kwargs):
            return args, kwargs

        async def main():
            loop = asyncio.get_running_loop()
            self.assertEqual(await asyncio.to_thread(function, 1, two=2),
                             ((1,), {'two': 2}))
            self.assertEqual(await loop.run_in_executor(None, function, 1),
                             ((1,), {}))

        asyncio.run(main())
        self.assertEqual(function(1, two=2), ((1,), {'two': 2}))
        self.assertIn('function', repr(function))

    def test_exception_of_the_job(self):
        @asyncio.interruptible
        def fails():
            raise ValueError

        async def main():
            with self.assertRaises(ValueError):
                await asyncio.to_thread(fails)

        asyncio.run(main())

    def test_bad_arguments(self):
        with self.assertRaisesRegex(TypeError, 'callable'):
            asyncio.interruptible(None)
        with self.assertRaisesRegex(TypeError, 'BaseException'):
            asyncio.interruptible(print, int)
        with self.assertRaises(TypeError):
            asyncio.interruptible()

    def test_other_executors(self):
        class Other(concurrent.futures.Executor):
            def submit(self, function, /, *args, **kwargs):
                raise AssertionError('too late')

        async def main():
            loop = asyncio.get_running_loop()
            with self.assertRaisesRegex(TypeError, 'ThreadPoolExecutor'):
                loop.run_in_executor(Other(), asyncio.interruptible(print))

        asyncio.run(main())


if __name__ == '__main__':
    unittest.main()
