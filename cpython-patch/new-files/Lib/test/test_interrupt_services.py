"""Interrupted at each check point, modules that talk to others leave nothing.

A table of what programs do with processes, event loops, executors, sockets
and selectors; the rest of the library is in test_interrupt_library.

What a program has not guarded yet may be lost, if it is freed with that:
sockets and files close themselves when they are dropped.
"""

import asyncio
import collections
import concurrent.futures
import concurrent.futures.thread
import contextlib
import functools
import gc
import glob
import http.client
import http.server
import itertools
import json
import logging
import math
import mimetypes
import multiprocessing
import multiprocessing.connection
import multiprocessing.dummy
import multiprocessing.forkserver
import multiprocessing.heap
import multiprocessing.managers
import multiprocessing.pool
import multiprocessing.resource_tracker
import multiprocessing.shared_memory
import multiprocessing.spawn
import multiprocessing.util
import os
import select
import selectors
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import unittest
import urllib.request
import warnings

import _interrupts

from test import support
from test.support import import_helper
from test.support.interrupt_constructs import (
    Construct, Failure, Table, TableTests, exhaust, step, work)
from test.support.interrupt_sweep import drain, sweep

try:
    import ssl
except ImportError:
    ssl = None

if not (hasattr(signal, 'SIGUSR1') and hasattr(os, 'fork')
        and hasattr(socket, 'AF_UNIX')):
    raise unittest.SkipTest('needs POSIX')

support.requires_working_socket(module=True)


TRUE = '/bin/true'
SHELL = '/bin/sh'

if not all(map(os.path.exists, [TRUE, SHELL, '/proc/self/fd'])):
    raise unittest.SkipTest(f'needs {TRUE}, {SHELL} and /proc')


def tearDownModule():
    asyncio.set_event_loop_policy(None)


@contextlib.contextmanager
def default_signals(folder):
    """asyncio.run() looks whether the handler of SIGINT is the default one."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def quiet_loggers(folder):
    """asyncio reports what it could not tell anybody; so do futures."""
    loggers = [logging.getLogger(name)
               for name in ('asyncio', 'concurrent.futures')]
    with contextlib.ExitStack() as stack:
        for logger in loggers:
            stack.enter_context(support.swap_attr(logger, 'disabled', True))
        yield


@contextlib.contextmanager
def data_file(folder):
    with open('data', 'wb') as file:
        file.write(b'data')
    yield


@contextlib.contextmanager
def own_names(folder):
    """Other processes make semaphores and shared memory, too."""
    mark = f'test-{os.getpid()}-'
    numbers = itertools.count()
    config = multiprocessing.current_process()._config
    with (support.swap_item(config, 'semprefix', f'/mp-{mark}'),
          support.swap_attr(multiprocessing.shared_memory, '_make_filename',
                            lambda: f'/psm-{mark}{next(numbers)}')):
        yield


def shared_names():
    """What there is of that, of this test."""
    try:
        names = os.listdir('/dev/shm')
    except FileNotFoundError:
        return set()
    prefix = multiprocessing.current_process()._config['semprefix']
    mark = prefix.removeprefix('/mp')
    return {name for name in names if mark in name}


TABLE = Table(setups=[default_signals, quiet_loggers, data_file, own_names],
              share=0.01)
construct = TABLE.construct


def work_for_long():
    """Is hit although the number of check points before it differs."""
    for _ in range(50):
        work()


def descriptors():
    """The open ones; what they refer to tells if one was used again."""
    found = {}
    for name in os.listdir('/proc/self/fd'):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f'/proc/self/fd/{name}')
    return found


def children():
    """The process ids of all children, whoever knows of them."""
    found = set()
    for name in os.listdir('/proc'):
        with contextlib.suppress(ValueError, OSError):
            with open(f'/proc/{int(name)}/stat', 'rb') as file:
                # What stands before is a name in parentheses.
                fields = file.read().rpartition(b')')[2].split()
            if int(fields[1]) == os.getpid():
                found.add(int(name))
    return found


class DescriptorConstruct(Construct):
    """One that opens descriptors, and closes no others."""

    last_class = None

    def __init__(self):
        if DescriptorConstruct.last_class is not type(self):
            DescriptorConstruct.last_class = type(self)
            # What constructs before have left is not closed in the middle.
            gc.collect()
        self.descriptors = descriptors()

    def is_broken(self):
        return descriptors() != self.descriptors

    def close(self):
        for descriptor in descriptors().keys() - self.descriptors.keys():
            os.close(descriptor)


# subprocess

class ChildConstruct(DescriptorConstruct):
    """One that starts a child; all end by themselves."""

    def __init__(self):
        super().__init__()
        self.children = children()

    def is_broken(self):
        return super().is_broken() or self.has_children()

    def has_children(self):
        """Are there any but those that subprocess itself will reap?"""
        for popen in subprocess._active[:]:
            popen.wait()
        subprocess._cleanup()
        left = children() - self.children
        for pid in left:
            os.waitpid(pid, 0)
        return bool(left)

    def close(self):
        # A child can wait for the end of a pipe that was lost.
        super().close()
        self.has_children()


@construct('subprocess.Popen')
class _(ChildConstruct):
    def run(self):
        with subprocess.Popen([TRUE]):
            work()


@construct('subprocess.Popen by fork_exec()')
class _(ChildConstruct):
    def run(self):
        with subprocess.Popen([TRUE], start_new_session=True):
            work()


@construct('subprocess.Popen with pipes')
class _(ChildConstruct):
    def run(self):
        with subprocess.Popen([TRUE], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE):
            work()


@construct('subprocess.Popen with pipes, by fork_exec()')
class _(ChildConstruct):
    def run(self):
        with subprocess.Popen([TRUE], start_new_session=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True):
            work()


@construct('subprocess.Popen with DEVNULL')
class _(ChildConstruct):
    def run(self):
        with subprocess.Popen([TRUE], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE):
            work()


@construct('subprocess.Popen of what does not exist', is_open=False)
class _(ChildConstruct):
    errors = FileNotFoundError

    def run(self):
        with subprocess.Popen(['./missing'], start_new_session=True,
                              stdout=subprocess.PIPE):
            raise AssertionError('it exists')


class StatusConstruct(ChildConstruct):
    """A child whose exit status must not be lost."""

    STATUS = 3
    is_open = False

    def __init__(self):
        super().__init__()
        self.popen = subprocess.Popen([SHELL, '-c', f'exit {self.STATUS}'])

    def has_ended(self):
        os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOWAIT)

    def is_broken(self):
        # Who locks for ever would block in wait().
        return (self.popen._waitpid_lock.locked()
                or self.popen.wait() != self.STATUS
                or super().is_broken())

    def close(self):
        if self.popen._waitpid_lock.locked():
            self.popen._waitpid_lock.release()
        super().close()


@construct('subprocess.Popen.wait')
class _(StatusConstruct):
    def run(self):
        self.popen.wait()


@construct('subprocess.Popen.wait with timeout')
class _(StatusConstruct):
    def __init__(self):
        super().__init__()
        self.has_ended()

    def run(self):
        self.popen.wait(support.LONG_TIMEOUT)


@construct('subprocess.Popen.poll')
class _(StatusConstruct):
    def __init__(self):
        super().__init__()
        self.has_ended()

    def run(self):
        self.popen.poll()


@construct('subprocess.Popen.communicate', exact=False)
class _(ChildConstruct):
    def run(self):
        with subprocess.Popen([SHELL, '-c', 'read line; echo "$line"'],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as popen:
            try:
                popen.communicate(b'line\n')
                work_for_long()
            except:
                popen.kill()
                raise
        # What comes while it is finalized is raised here.
        popen = None
        step()


@construct('subprocess.run', exact=False)
class _(ChildConstruct):
    def run(self):
        subprocess.run([TRUE], input=b'', capture_output=True)
        work_for_long()


@construct('subprocess.check_output', exact=False)
class _(ChildConstruct):
    def run(self):
        subprocess.check_output([TRUE])
        work_for_long()


@construct('subprocess.call')
class _(ChildConstruct):
    def run(self):
        subprocess.call([TRUE])
        work()


@construct('subprocess.getoutput', exact=False)
class _(ChildConstruct):
    def run(self):
        subprocess.getoutput('exit 0')
        work_for_long()


# asyncio

async def worker():
    await asyncio.sleep(0)
    work_for_long()


class LoopConstruct(DescriptorConstruct):
    """One that uses a loop of its own."""

    exact = False       # there are tasks of earlier ones, until a collection

    def __init__(self):
        super().__init__()
        self.hooks = sys.get_asyncgen_hooks()
        self.handlers = self.signal_handlers()

    @staticmethod
    def signal_handlers():
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        return (wakeup, signal.getsignal(signal.SIGINT),
                signal.getsignal(signal.SIGUSR1))

    def is_broken(self):
        return (super().is_broken()
                or asyncio._get_running_loop() is not None
                or asyncio.get_event_loop_policy()._local._loop is not None
                or sys.get_asyncgen_hooks() != self.hooks
                or self.signal_handlers() != self.handlers)

    def close(self):
        asyncio._set_running_loop(None)
        asyncio.get_event_loop_policy()._local._loop = None
        sys.set_asyncgen_hooks(*self.hooks)
        wakeup, interrupt, user = self.handlers
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGUSR1, user)
        if descriptors() != self.descriptors:
            gc.collect()    # loops that were lost
        else:
            gc.collect(0)   # tasks
        super().close()


@construct('asyncio.run')
class _(LoopConstruct):
    def run(self):
        asyncio.run(worker())


@construct('asyncio.Runner')
class _(LoopConstruct):
    def run(self):
        with asyncio.Runner() as runner:
            runner.run(worker())


@construct('asyncio.Runner.close')
class _(LoopConstruct):
    def run(self):
        runner = asyncio.Runner()
        try:
            runner.run(worker())
        finally:
            runner.close()


@construct('asyncio.Runner.get_loop', is_open=False)
class _(LoopConstruct):
    def run(self):
        runner = asyncio.Runner(debug=True)
        try:
            runner.get_loop()
        finally:
            runner.close()


@construct('asyncio loop.run_until_complete')
class _(LoopConstruct):
    def run(self):
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(worker())
        finally:
            loop.close()
        # What comes while it is finalized is raised here.
        loop = None
        step()


@construct('asyncio loop.run_forever')
class _(LoopConstruct):
    def run(self):
        loop = asyncio.new_event_loop()
        try:
            loop.call_soon(work)
            loop.call_soon(loop.stop)
            loop.run_forever()
        finally:
            loop.close()
        loop = None
        step()


class GivenLoopConstruct(LoopConstruct):
    """A loop that is there before and goes on being used afterwards."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()

    def is_broken(self):
        loop = self.loop
        if not loop.is_closed():
            if loop.is_running():
                return True
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()
        return super().is_broken()

    def is_broken_by(self, run):
        try:
            return self.is_broken()
        except (OSError, RuntimeError):     # it cannot be used any more
            return True

    def close(self):
        self.loop._thread_id = None
        asyncio._set_running_loop(None)
        self.loop.close()
        super().close()


@construct('asyncio loop.run_forever, then again')
class _(GivenLoopConstruct):
    def run(self):
        self.loop.call_soon(work)
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def is_broken(self):
        if not self.loop.is_running():
            # What it was to call is still there, and stops it.
            self.run()
        return super().is_broken()


@construct('asyncio loop.run_until_complete, then again')
class _(GivenLoopConstruct):
    def run(self):
        self.loop.run_until_complete(worker())
        step()


@construct('asyncio loop.add_signal_handler')
class _(GivenLoopConstruct):
    def run(self):
        self.loop.add_signal_handler(signal.SIGUSR1, step)
        try:
            work()
        finally:
            self.loop.remove_signal_handler(signal.SIGUSR1)


@construct('asyncio loop.remove_signal_handler', is_open=False)
class _(GivenLoopConstruct):
    def __init__(self):
        super().__init__()
        self.loop.add_signal_handler(signal.SIGUSR1, step)

    def run(self):
        self.loop.remove_signal_handler(signal.SIGUSR1)


@construct('asyncio loop.add_reader')
class _(GivenLoopConstruct):
    def __init__(self):
        super().__init__()
        self.sockets = socket.socketpair()

    def run(self):
        self.loop.add_reader(self.sockets[0], step)
        try:
            self.loop.add_writer(self.sockets[0], step)
            try:
                work()
            finally:
                self.loop.remove_writer(self.sockets[0])
        finally:
            self.loop.remove_reader(self.sockets[0])

    def is_broken(self):
        selector = self.loop._selector
        descriptor = self.sockets[0].fileno()
        # An error, unless the system knows what the map says.
        if descriptor in selector._fd_to_key:
            selector._selector.modify(descriptor, 0)
        else:
            selector._selector.register(descriptor, 0)
        for sock in self.sockets:
            sock.close()
        return super().is_broken()


class DrivenConstruct(Construct):
    """A coroutine that needs no loop, as nobody else holds what it wants."""

    def __init__(self):
        self.coroutine = self.use()
        self.iterator = self.coroutine.__await__()

    async def use(self):
        raise NotImplementedError

    def run(self):
        exhaust(self.iterator)

    def close(self):
        self.coroutine.close()


@construct('asyncio.Semaphore')
class _(DrivenConstruct):
    def __init__(self):
        super().__init__()
        self.semaphore = asyncio.BoundedSemaphore(1)

    async def use(self):
        async with self.semaphore:
            work()

    def is_broken(self):
        return self.semaphore._value != 1


@construct('asyncio.Condition')
class _(DrivenConstruct):
    def __init__(self):
        super().__init__()
        self.condition = asyncio.Condition()

    async def use(self):
        async with self.condition:
            work()
            self.condition.notify_all()

    def is_broken(self):
        return self.condition.locked()


class AsyncioConstruct(GivenLoopConstruct):
    """A coroutine in a loop."""

    errors = BaseExceptionGroup     # of an interrupted task, by its TaskGroup

    def run(self):
        self.loop.run_until_complete(self.use())
        step()

    async def use(self):
        raise NotImplementedError

    def is_broken(self):
        self.cancel_tasks()
        return super().is_broken()

    def cancel_tasks(self):
        if self.loop.is_running():
            return
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(self.wait_for(tasks))

    async def wait_for(self, tasks):
        if tasks:
            await asyncio.wait(tasks)


@construct('asyncio.Lock that others wait for')
class _(AsyncioConstruct):
    def __init__(self):
        super().__init__()
        self.lock = asyncio.Lock()

    async def use(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.wait())
            group.create_task(self.wait())

    async def wait(self):
        async with self.lock:
            await asyncio.sleep(0)
            work()

    def is_broken(self):
        return super().is_broken() or self.lock.locked()


@construct('asyncio.Semaphore that others wait for')
class _(TABLE['asyncio.Lock that others wait for']):
    def __init__(self):
        super().__init__()
        self.lock = asyncio.BoundedSemaphore(1)


@construct('asyncio.Condition.wait')
class _(AsyncioConstruct):
    def __init__(self):
        super().__init__()
        self.condition = asyncio.Condition()

    async def use(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.wait())
            await asyncio.sleep(0)
            async with self.condition:
                self.condition.notify()

    async def wait(self):
        async with self.condition:
            await self.condition.wait()
            work()

    def is_broken(self):
        return (super().is_broken() or self.condition.locked()
                or len(self.condition._waiters) > 0)


@construct('asyncio.Queue')
class _(AsyncioConstruct):
    def __init__(self):
        super().__init__()
        self.queue = asyncio.Queue(1)

    async def use(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.get())
            await self.queue.put('first')
            await self.queue.put('second')

    async def get(self):
        for _ in range(2):
            item = await self.queue.get()
            try:
                work()
            finally:
                self.queue.task_done()

    def is_broken(self):
        return (super().is_broken()
                or self.queue._unfinished_tasks < self.queue.qsize()
                or self.queue._finished.is_set()
                is not (self.queue._unfinished_tasks == 0)
                or any(not waiter.done() for waiter in
                       (*self.queue._getters, *self.queue._putters)))


@construct('asyncio.Queue.put_nowait', is_open=False)
class _(Construct):
    def __init__(self):
        self.queue = asyncio.Queue()

    def run(self):
        self.queue.put_nowait('item')

    def is_broken(self):
        return (self.queue.qsize() != self.queue._unfinished_tasks
                or self.queue._finished.is_set() is (self.queue.qsize() > 0))


@construct('asyncio.TaskGroup')
class _(AsyncioConstruct):
    pending = False

    async def use(self):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(worker(), name='worker')
                group.create_task(worker(), name='worker')
                await asyncio.sleep(0)
        finally:
            self.pending = any(task.get_name() == 'worker'
                               for task in asyncio.all_tasks())

    def is_broken(self):
        return super().is_broken() or self.pending


@construct('asyncio.timeout')
class _(AsyncioConstruct):
    async def use(self):
        async with asyncio.timeout(support.LONG_TIMEOUT):
            await worker()

    def is_broken(self):
        self.cancel_tasks()
        # None is still to come.
        return (any(not handle.cancelled() for handle in self.loop._scheduled)
                or super().is_broken())


@construct('asyncio.wait_for')
class _(TABLE['asyncio.timeout']):
    async def use(self):
        await asyncio.wait_for(worker(), support.LONG_TIMEOUT)


@construct('asyncio.timeout that expires', is_open=False)
class _(AsyncioConstruct):
    async def use(self):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.0001):
                await self.loop.create_future()


class CompletionConstruct(AsyncioConstruct):
    """One that would wait for ever if what has completed did not tell."""

    errors = (BaseExceptionGroup, TimeoutError)
    timed_out = False

    async def use(self):
        try:
            async with asyncio.timeout(support.SHORT_TIMEOUT):
                await self.wait()
        except TimeoutError:
            self.timed_out = True
            raise

    async def wait(self):
        raise NotImplementedError

    def is_broken(self):
        return super().is_broken() or self.timed_out

    def cancel_tasks(self):
        # They end by themselves.
        if self.loop.is_running():
            return
        tasks = asyncio.all_tasks(self.loop)
        if tasks:
            self.loop.run_until_complete(
                asyncio.wait(tasks, timeout=support.SHORT_TIMEOUT))
            if not all(task.done() for task in tasks):
                self.timed_out = True
        super().cancel_tasks()


@construct('asyncio.gather')
class _(CompletionConstruct):
    async def wait(self):
        await asyncio.gather(worker(), asyncio.sleep(0.0001))


@construct('asyncio.wait')
class _(CompletionConstruct):
    async def wait(self):
        await asyncio.wait([self.loop.create_task(worker()),
                            self.loop.create_task(asyncio.sleep(0.0001))])


@construct('asyncio.wait_for without time', is_open=False)
class _(CompletionConstruct):
    async def wait(self):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(0), 0)


@construct('asyncio.shield')
class _(CompletionConstruct):
    async def wait(self):
        task = self.loop.create_task(worker())
        await asyncio.shield(task)


@construct('asyncio.shield, cancelled', is_open=False)
class _(CompletionConstruct):
    outer = None

    def __init__(self):
        super().__init__()
        self.inner = self.loop.create_future()

    async def wait(self):
        self.outer = asyncio.shield(self.inner)
        self.outer.cancel()
        await asyncio.sleep(0)

    def is_broken(self):
        return (super().is_broken()
                or self.outer is not None and self.outer.cancelled()
                and bool(self.inner._callbacks))


@construct('asyncio.as_completed')
class _(CompletionConstruct):
    async def wait(self):
        for result in asyncio.as_completed([worker(), asyncio.sleep(0.0001)]):
            await result


@construct('asyncio.as_completed, async for')
class _(CompletionConstruct):
    async def wait(self):
        async for task in asyncio.as_completed(
                [worker(), asyncio.sleep(0.0001)],
                timeout=support.LONG_TIMEOUT):
            await task


@construct('asyncio.as_completed that expires', is_open=False)
class _(CompletionConstruct):
    async def wait(self):
        for result in asyncio.as_completed(
                [self.loop.create_future(), self.loop.create_future()],
                timeout=0.0001):
            with contextlib.suppress(TimeoutError):
                await result


class PassingConstruct(AsyncioConstruct):
    """Several wait for one thing; one that is interrupted passes it on."""

    TURNS = 20
    is_stuck = False

    async def use(self):
        for _ in range(3):
            self.loop.create_task(self.wait_in_line())
        await asyncio.sleep(0)
        await self.serve()
        await self.give_turns()

    async def wait_in_line(self):
        raise NotImplementedError

    async def serve(self):
        pass

    async def give_turns(self):
        for _ in range(self.TURNS):
            await asyncio.sleep(0)

    def somebody_waits(self):
        """For what is there?"""
        raise NotImplementedError

    def cancel_tasks(self):
        if not self.loop.is_running():
            self.loop.run_until_complete(self.give_turns())
            self.is_stuck = self.somebody_waits()
        super().cancel_tasks()

    def is_broken(self):
        return super().is_broken() or self.is_stuck

    def close(self):
        if not self.loop.is_closed():
            self.cancel_tasks()
        super().close()


def any_waits(waiters):
    return any(not waiter.done() for waiter in waiters or ())


@construct('asyncio.Lock, passed on')
class _(PassingConstruct):
    def __init__(self):
        super().__init__()
        self.lock = asyncio.Lock()

    async def wait_in_line(self):
        await self.lock.acquire()
        try:
            await asyncio.sleep(0)
            work()
        finally:
            self.lock.release()

    def somebody_waits(self):
        return self.lock.locked() or any_waits(self.lock._waiters)


@construct('asyncio.Semaphore, passed on')
class _(TABLE['asyncio.Lock, passed on']):
    def __init__(self):
        super().__init__()
        self.lock = asyncio.BoundedSemaphore(1)


@construct('asyncio.Lock.release, then again')
class _(TABLE['asyncio.Lock, passed on']):
    async def wait_in_line(self):
        await self.lock.acquire()
        try:
            await asyncio.sleep(0)
            work()
        except:
            self.lock.release()
            raise
        try:
            self.lock.release()
            step()
        except:
            if self.is_held():
                self.lock.release()
            raise

    def is_held(self):
        # The next one does not run before this one is suspended.
        return self.lock.locked()


@construct('asyncio.Semaphore.release, then again')
class _(TABLE['asyncio.Lock.release, then again']):
    def __init__(self):
        super().__init__()
        self.lock = asyncio.Semaphore(1)

    def is_held(self):
        # Nobody has been told.
        return self.lock._value == 0 and not any(
            waiter.done() for waiter in self.lock._waiters or ())


@construct('asyncio.Event.set, then again')
class _(PassingConstruct):
    def __init__(self):
        super().__init__()
        self.event = asyncio.Event()

    async def wait_in_line(self):
        await self.event.wait()

    async def serve(self):
        try:
            work()
            self.event.set()
        finally:
            self.event.set()

    def somebody_waits(self):
        return self.event.is_set() and any_waits(self.event._waiters)


@construct('asyncio.Queue.get, passed on')
class _(PassingConstruct):
    def __init__(self):
        super().__init__()
        self.queue = asyncio.Queue()
        self.taken = []

    async def wait_in_line(self):
        item = await self.queue.get()
        try:
            work()
        finally:
            self.taken.append(item)

    async def serve(self):
        # Less than there are who wait for them.
        for item in range(2):
            self.queue.put_nowait(item)

    def somebody_waits(self):
        return self.queue.qsize() > 0 and any_waits(self.queue._getters)

    def is_broken(self):
        return (super().is_broken()
                or self.queue.qsize() + len(self.taken)
                != self.queue._unfinished_tasks)


@construct('asyncio.Queue.put, passed on')
class _(PassingConstruct):
    def __init__(self):
        super().__init__()
        self.queue = asyncio.Queue(1)

    async def wait_in_line(self):
        await self.queue.put('item')
        work()

    async def serve(self):
        for _ in range(3):
            if not self.queue.empty():
                self.queue.get_nowait()
            await asyncio.sleep(0)

    def somebody_waits(self):
        return not self.queue.full() and any_waits(self.queue._putters)


@construct('asyncio.Queue.shutdown, then again')
class _(PassingConstruct):
    def __init__(self):
        super().__init__()
        self.queue = asyncio.Queue()

    async def wait_in_line(self):
        with contextlib.suppress(asyncio.QueueShutDown):
            await self.queue.get()

    async def serve(self):
        try:
            work()
            self.queue.shutdown()
        finally:
            self.queue.shutdown()

    def somebody_waits(self):
        # The queue may not know them any more.
        return self.queue._is_shutdown and bool(asyncio.all_tasks(self.loop))


class PipeProtocol(asyncio.Protocol):
    """Without check points."""

    data_received = staticmethod(len)
    eof_received = pause_writing = resume_writing = staticmethod(list)


class PipeConstruct(CompletionConstruct):
    """A pipe transport that has called connection_made() ends."""

    def __init__(self):
        super().__init__()
        reader, writer = os.pipe()
        self.reader = open(reader, 'rb', 0)
        self.writer = open(writer, 'wb', 0)
        self.made = []
        self.lost = self.loop.create_future()

    def factory(self):
        protocol = PipeProtocol()
        protocol.connection_made = self.made.append
        protocol.connection_lost = self.lost.set_result
        return protocol

    def cancel_tasks(self):
        super().cancel_tasks()
        if self.made and not self.loop.is_running():
            self.loop.run_until_complete(
                asyncio.wait([self.lost], timeout=support.SHORT_TIMEOUT))
            if not self.lost.done():
                self.timed_out = True
        # Only what the loop itself reads from is left.
        if len(self.loop._selector.get_map()) > 1:
            self.timed_out = True
        self.close_pipe()

    def close_pipe(self):
        self.reader.close()
        self.writer.close()

    def close(self):
        self.close_pipe()
        super().close()


@construct('asyncio loop.connect_read_pipe')
class _(PipeConstruct):
    async def wait(self):
        transport, protocol = await self.loop.connect_read_pipe(
            self.factory, self.reader)
        try:
            work()
        finally:
            transport.close()


@construct('asyncio loop.connect_read_pipe, the other end is closed')
class _(PipeConstruct):
    async def wait(self):
        await self.loop.connect_read_pipe(self.factory, self.reader)
        try:
            work()
        finally:
            self.writer.close()
        await asyncio.wait([self.lost])


@construct('asyncio loop.connect_write_pipe')
class _(PipeConstruct):
    async def wait(self):
        transport, protocol = await self.loop.connect_write_pipe(
            self.factory, self.writer)
        try:
            transport.write(b'data')
            work()
        finally:
            transport.close()


@construct('asyncio loop.connect_write_pipe, the other end is closed')
class _(PipeConstruct):
    async def wait(self):
        await self.loop.connect_write_pipe(self.factory, self.writer)
        try:
            work()
        finally:
            self.reader.close()
        await asyncio.wait([self.lost])


@construct('asyncio loop.connect_write_pipe, more than fits')
class _(PipeConstruct):
    SIZE = 100_000
    received = 0

    def __init__(self):
        super().__init__()
        os.set_blocking(self.reader.fileno(), False)

    async def wait(self):
        transport, protocol = await self.loop.connect_write_pipe(
            self.factory, self.writer)
        try:
            work()
            transport.write(bytes(self.SIZE))
        finally:
            transport.close()
            self.loop.add_reader(self.reader.fileno(), self.receive)
        await asyncio.wait([self.lost])

    def receive(self):
        with threading.nointerrupts:
            data = self.reader.read(1_000_000)
            self.received += len(data)
            if not data:
                self.loop.remove_reader(self.reader.fileno())


@construct('asyncio pipe transport.close, then again')
class _(PipeConstruct):
    async def wait(self):
        transport, protocol = await self.loop.connect_write_pipe(
            self.factory, self.writer)
        try:
            work()
            transport.close()
        finally:
            transport.close()
        await asyncio.wait([self.lost])


@construct('asyncio loop.call_soon, then again')
class _(GivenLoopConstruct):
    """What has not begun is called by the next run, and only that."""

    interrupt = KeyboardInterrupt

    def __init__(self):
        super().__init__()
        self.called = []
        for number in range(3):
            self.loop.call_soon(self.note, number)

    def note(self, number):
        with threading.nointerrupts:
            self.called.append(number)

    def run(self):
        self.loop.run_until_complete(worker())
        step()

    def is_broken(self):
        return super().is_broken() or self.called != [0, 1, 2]


@construct('asyncio loop.add_reader, then again', is_open=False)
class _(GivenLoopConstruct):
    """What is ready is handled once, even if it was found before."""

    interrupt = KeyboardInterrupt

    def __init__(self):
        super().__init__()
        self.sockets = socket.socketpair()
        for sock in self.sockets:
            sock.setblocking(False)
        self.loop.add_reader(self.sockets[0], self.receive)
        self.sockets[1].send(b'data')
        self.received = []

    def receive(self):
        with threading.nointerrupts:
            try:
                self.received.append(self.sockets[0].recv(4))
            except BlockingIOError:
                self.received.append(None)

    def run(self):
        self.loop.run_until_complete(asyncio.sleep(0))
        step()

    def is_broken(self):
        if not self.loop.is_running():
            self.run()
            self.loop.remove_reader(self.sockets[0])
        for sock in self.sockets:
            sock.close()
        return super().is_broken() or self.received != [b'data']


class Receiver(asyncio.Protocol):
    """Keeps what it is given; a method that has begun is not interrupted."""

    def __init__(self):
        self.received = bytearray()

    def data_received(self, data):
        with threading.nointerrupts:
            self.received += data


class BufferedReceiver(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer = memoryview(bytearray(1000))
        self.received = bytearray()

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        with threading.nointerrupts:
            self.received += self.buffer[:nbytes]


class DatagramReceiver(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = bytearray()

    def datagram_received(self, data, address):
        with threading.nointerrupts:
            self.received += data


class KeepsTransport(asyncio.Protocol):
    def __init__(self, transports):
        self.transports = transports

    def connection_made(self, transport):
        with threading.nointerrupts:
            self.transports.append(transport)


class TransportConstruct(AsyncioConstruct):
    """A loop that goes on after Ctrl-C: all arrives, once and in order."""

    interrupt = KeyboardInterrupt
    receiver_class = Receiver
    # Of a line, and of what fits into the socket and into the transport.
    size = 6
    limit = None
    # Of the loop; nothing is on its way any more.
    PATIENCE = 200
    END = b'end'

    def __init__(self):
        super().__init__()
        self.begun = []
        self.loop.run_until_complete(self.connect())

    async def connect(self):
        self.files = self.make_pair()
        if self.limit is not None:
            self.files[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF,
                                     self.limit)
        await self.make_transports()
        self.limit_buffer()

    def make_pair(self):
        return socket.socketpair()

    async def make_transports(self):
        self.reading, self.receiver = await self.loop.create_connection(
            self.receiver_class, sock=self.files[0])
        self.writing, _ = await self.loop.create_connection(
            asyncio.Protocol, sock=self.files[1])

    def limit_buffer(self):
        if self.limit is not None:
            self.writing.set_write_buffer_limits(self.limit)

    async def use(self):
        for number in range(3):
            work()
            line = b'%0*d\n' % (self.size, number)
            with threading.nointerrupts:
                self.begun.append(line)
            await self.write(line)
        await self.until(lambda: len(self.received()) >= 3 * (self.size + 1))

    async def write(self, line):
        self.writing.write(line)

    def received(self):
        return self.receiver.received

    async def until(self, condition):
        for _ in range(self.PATIENCE):
            if condition():
                break
            await asyncio.sleep(0)

    async def finish(self):
        # Some are sent before they are read, so that there is an order.
        task = self.loop.create_task(self.write(self.END))
        await self.until(lambda: (task.done()
                                  and self.received().endswith(self.END)))
        self.is_stuck = not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self.reading.abort()
        self.writing.abort()
        await asyncio.sleep(0)
        for file in self.files:
            file.close()

    def is_broken(self):
        self.cancel_tasks()
        if self.loop.is_running():
            return True
        self.loop.run_until_complete(self.finish())
        return (super().is_broken() or self.is_stuck
                or self.received() not in [b''.join([*lines, self.END])
                                           for lines in self.possible()])

    def possible(self):
        # The last line was not sent if write() was interrupted at once.
        return self.begun, self.begun[:-1]

    def close(self):
        for file in self.files:
            file.close()
        super().close()


class LargeTransportConstruct(TransportConstruct):
    size = 8_000
    limit = 2_000


construct('asyncio socket transport')(TransportConstruct)
construct('asyncio socket transport, more than fits')(LargeTransportConstruct)


@construct('asyncio socket transport, more than fits, no sendmsg()')
class _(LargeTransportConstruct):
    async def connect(self):
        await super().connect()
        self.writing._write_ready = self.writing._write_send


@construct('asyncio socket transport, writelines()')
class _(LargeTransportConstruct):
    async def write(self, line):
        self.writing.writelines([line[:self.limit], line[self.limit:]])


@construct('asyncio socket transport, buffered')
class _(TransportConstruct):
    receiver_class = BufferedReceiver


class SmallBufferedReceiver(BufferedReceiver):
    def __init__(self):
        super().__init__()
        self.buffer = self.buffer[:4]


@construct('asyncio socket transport, small buffer')
class _(TransportConstruct):
    receiver_class = SmallBufferedReceiver


@construct('asyncio socket transport, datagrams')
class _(TransportConstruct):
    receiver_class = DatagramReceiver

    def make_pair(self):
        # With names; and no datagram is lost.
        ends = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                for _ in range(2)]
        for sock, name in zip(ends, ['reading', 'writing']):
            sock.bind(name)
        ends[1].connect('reading')
        return ends

    async def make_transports(self):
        self.reading, self.receiver = await self.loop.create_datagram_endpoint(
            self.receiver_class, sock=self.files[0])
        self.writing, _ = await self.loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, sock=self.files[1])

    def close(self):
        super().close()
        for name in 'reading', 'writing':
            os.unlink(name)

    async def write(self, line):
        self.writing.sendto(line)


@construct('asyncio socket transport, datagrams, more than fits')
class _(TABLE['asyncio socket transport, datagrams']):
    size = 1_000
    limit = 2_000

    async def use(self):
        self.reading.pause_reading()
        try:
            for number in range(4):
                with threading.nointerrupts:
                    self.begun.append(b'%0*d\n' % (self.size, number))
                self.writing.sendto(self.begun[-1])
        finally:
            self.reading.resume_reading()
        await self.until(lambda: len(self.received()) >= 4 * (self.size + 1))
        work()


class StreamConstruct(TransportConstruct):
    async def connect(self):
        await super().connect()
        self.receiver = asyncio.StreamReader(1_000_000, self.loop)
        protocol = asyncio.StreamReaderProtocol(self.receiver, loop=self.loop)
        protocol.connection_made(self.reading)
        self.reading.set_protocol(protocol)
        reader = asyncio.StreamReader(loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        protocol.connection_made(self.writing)
        self.writing.set_protocol(protocol)
        self.writer = asyncio.StreamWriter(self.writing, protocol, reader,
                                           self.loop)

    def received(self):
        return self.receiver._buffer

    async def write(self, line):
        self.writer.write(line)
        await self.writer.drain()


construct('asyncio.StreamWriter')(StreamConstruct)


@construct('asyncio.StreamWriter, more than fits')
class _(StreamConstruct):
    size = LargeTransportConstruct.size
    limit = LargeTransportConstruct.limit


class ReadStreamConstruct(StreamConstruct):
    """A task that reads."""

    def __init__(self):
        self.read = bytearray()
        super().__init__()
        self.begun.append(b'first\n')
        self.loop.run_until_complete(self.write(b'first\n'))

    def possible(self):
        return [self.begun]

    async def use(self):
        line = await self.get()
        try:
            work()
        finally:
            self.read += line

    def received(self):
        return self.read + self.receiver._buffer


@construct('asyncio.StreamReader.read')
class _(ReadStreamConstruct):
    async def get(self):
        return await self.receiver.read(6)


@construct('asyncio.StreamReader.readexactly')
class _(ReadStreamConstruct):
    async def get(self):
        return await self.receiver.readexactly(6)


@construct('asyncio.StreamReader.readline')
class _(ReadStreamConstruct):
    async def get(self):
        return await self.receiver.readline()


class PipePairConstruct(TransportConstruct):
    async def connect(self):
        reader, writer = os.pipe()
        self.files = open(reader, 'rb', 0), open(writer, 'wb', 0)
        self.reading, self.receiver = await self.loop.connect_read_pipe(
            self.receiver_class, self.files[0])
        self.reading.abort = self.reading.close
        self.writing, _ = await self.loop.connect_write_pipe(
            asyncio.Protocol, self.files[1])
        self.limit_buffer()


construct('asyncio pipe transports')(PipePairConstruct)


@construct('asyncio pipe transports, more than fits')
class _(PipePairConstruct):
    size = 80_000
    limit = 2_000


class SocketMethodConstruct(TransportConstruct):
    """Tasks that read and write are masked, the loop is not."""

    async def connect(self):
        self.files = self.make_pair()
        for sock in self.files:
            sock.setblocking(False)
        if self.limit is not None:
            self.files[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF,
                                     self.limit)
        self.reading = self.writing = self
        self.receiver = Receiver()
        self.task = self.loop.create_task(self.receive())

    async def receive(self):
        with threading.nointerrupts:
            while data := await self.get():
                self.receiver.data_received(data)

    async def get(self):
        return await self.loop.sock_recv(self.files[0], 1_000)

    async def write(self, line):
        with threading.nointerrupts:
            await self.loop.sock_sendall(self.files[1], line)

    def cancel_tasks(self):
        # But for one they end.
        if not self.loop.is_running():
            self.loop.run_until_complete(self.until(
                lambda: len(asyncio.all_tasks(self.loop)) <= 2))

    def abort(self):
        self.task.cancel()


@construct('asyncio loop.sock_recv')
class _(SocketMethodConstruct):
    pass


@construct('asyncio loop.sock_recv_into')
class _(SocketMethodConstruct):
    async def get(self):
        buffer = bytearray(1000)
        return buffer[:await self.loop.sock_recv_into(self.files[0], buffer)]


@construct('asyncio loop.sock_recvfrom')
class _(SocketMethodConstruct):
    async def get(self):
        return (await self.loop.sock_recvfrom(self.files[0], 1000))[0]


@construct('asyncio loop.sock_recvfrom_into')
class _(SocketMethodConstruct):
    async def get(self):
        buffer = bytearray(1000)
        nbytes, _ = await self.loop.sock_recvfrom_into(self.files[0], buffer)
        return buffer[:nbytes]


@construct('asyncio loop.sock_sendall')
class _(SocketMethodConstruct):
    size = LargeTransportConstruct.size
    limit = LargeTransportConstruct.limit


class AsyncioChildConstruct(CompletionConstruct, ChildConstruct):
    """A child of asyncio that ends when its input does."""

    options = dict.fromkeys(['stdin', 'stdout'], subprocess.PIPE)

    def cancel_tasks(self):
        super().cancel_tasks()
        if not self.loop.is_running():
            self.loop.run_until_complete(self.wait_for_end())

    async def wait_for_end(self):
        # Of children that nobody knows but the loop.
        for _ in support.sleeping_retry(support.SHORT_TIMEOUT, error=False):
            if len(self.loop._selector.get_map()) <= 1:
                break
            await asyncio.sleep(0)

    async def wait(self):
        process = await asyncio.create_subprocess_exec(
            SHELL, '-c', 'read line; echo "$line"', **self.options)
        try:
            await process.communicate(b'line\n')
            work_for_long()
        except:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        finally:
            await process.wait()


@construct('asyncio.create_subprocess_exec')
class _(AsyncioChildConstruct):
    pass


@construct('asyncio.create_subprocess_exec, ThreadedChildWatcher')
class _(AsyncioChildConstruct):
    options = dict.fromkeys(['stdin', 'stdout'], subprocess.DEVNULL)

    async def wait_for_end(self):
        # The loop does not know of those that the watcher's threads wait for.
        watcher = asyncio.get_event_loop_policy()._watcher
        for thread in list(watcher._threads.values()):
            thread.join(support.SHORT_TIMEOUT)
        await super().wait_for_end()

    def __init__(self):
        super().__init__()
        self.patch = support.swap_attr(
            asyncio.get_event_loop_policy(), '_watcher',
            asyncio.unix_events.ThreadedChildWatcher())
        self.patch.__enter__()

    async def wait(self):
        process = await asyncio.create_subprocess_exec(TRUE, **self.options)
        try:
            await process.wait()
            work_for_long()
        finally:
            await process.wait()

    def close(self):
        super().close()
        self.patch.__exit__(None, None, None)


@construct('asyncio.Future in Python, set_result', is_open=False)
class _(GivenLoopConstruct):
    """Whoever has been added is told once it is done."""

    def __init__(self):
        super().__init__()
        self.future = asyncio.futures._PyFuture(loop=self.loop)
        self.told = []
        self.future.add_done_callback(self.told.append)

    def run(self):
        self.future.set_result(None)

    def is_broken(self):
        self.loop.run_until_complete(asyncio.sleep(0))
        return (super().is_broken()
                or self.future.done() is not (len(self.told) == 1))


@construct('asyncio.Future in Python, set_exception', is_open=False)
class _(TABLE['asyncio.Future in Python, set_result']):
    def run(self):
        self.future.set_exception(Failure())

    def close(self):
        if self.future.done():
            self.future.exception()
        super().close()


@construct('asyncio.Future in Python, cancel', is_open=False)
class _(TABLE['asyncio.Future in Python, set_result']):
    def run(self):
        self.future.cancel()


@construct('asyncio.Task in Python')
class _(CompletionConstruct):
    """Its step is a function that can be interrupted at its first check point."""

    def __init__(self):
        super().__init__()
        self.loop.set_task_factory(self.make_task)

    @staticmethod
    def make_task(loop, coroutine, **options):
        return asyncio.tasks._PyTask(coroutine, loop=loop, **options)

    async def wait(self):
        async def job():
            await asyncio.sleep(0)
            future = self.loop.create_future()
            self.loop.call_soon(future.set_result, None)
            await future
            work()

        await asyncio.wait([self.loop.create_task(job())])


@construct('asyncio.Lock, passed on by futures in Python')
class _(TABLE['asyncio.Lock, passed on']):
    def __init__(self):
        super().__init__()
        self.loop.create_future = functools.partial(
            asyncio.futures._PyFuture, loop=self.loop)


@construct('asyncio.Semaphore, passed on by futures in Python')
class _(TABLE['asyncio.Lock, passed on by futures in Python']):
    def __init__(self):
        super().__init__()
        self.lock = asyncio.BoundedSemaphore(1)


@construct('asyncio.to_thread', exact=False)
class _(LoopConstruct):
    def __init__(self):
        super().__init__()
        self.threads = set(threading.enumerate())

    async def use(self):
        await asyncio.to_thread(step)
        work_for_long()

    def run(self):
        asyncio.run(self.use())

    def is_broken(self):
        return super().is_broken() or threads_go_on(self.threads)


@construct('asyncio streams')
class _(AsyncioConstruct):
    def __init__(self):
        super().__init__()
        self.sockets = socket.socketpair()
        for sock in self.sockets:
            sock.setblocking(False)

    async def use(self):
        reader, writer = await asyncio.open_unix_connection(
            sock=self.sockets[0])
        try:
            writer.write(b'data')
            await writer.drain()
            work()
        finally:
            writer.close()
            await writer.wait_closed()

    def is_broken(self):
        for sock in self.sockets:
            sock.close()
        return super().is_broken()


@construct('asyncio.start_server')
class _(AsyncioConstruct):
    async def serve(self, reader, writer):
        writer.close()

    async def use(self):
        server = await asyncio.start_unix_server(self.serve, 'socket')
        async with server:
            work()

    def is_broken(self):
        self.cancel_tasks()
        self.loop.close()
        # The socket is in a cycle with the loop.
        if descriptors() != self.descriptors:
            gc.collect()
        return GivenLoopConstruct.is_broken(self)

    def close(self):
        super().close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink('socket')


class ConnectionConstruct(CompletionConstruct):
    """A transport of a socket that has called connection_made() ends."""

    def __init__(self):
        super().__init__()
        self.sockets = socket.socketpair()
        self.made = []
        self.lost = self.loop.create_future()

    def factory(self):
        protocol = PipeProtocol()
        protocol.connection_made = self.made.append
        protocol.connection_lost = self.lost.set_result
        return protocol

    def cancel_tasks(self):
        super().cancel_tasks()
        if self.made and not self.loop.is_running():
            self.loop.run_until_complete(
                asyncio.wait([self.lost], timeout=support.SHORT_TIMEOUT))
            if not self.lost.done():
                self.timed_out = True
        if len(self.loop._selector.get_map()) > 1:
            self.timed_out = True
        self.close_sockets()

    def close_sockets(self):
        for sock in self.sockets:
            sock.close()

    def close(self):
        self.close_sockets()
        super().close()


@construct('asyncio loop.create_connection')
class _(ConnectionConstruct):
    async def wait(self):
        transport, protocol = await self.loop.create_connection(
            self.factory, sock=self.sockets[0])
        try:
            work()
        finally:
            transport.close()


@construct('asyncio loop.create_connection, close, then again')
class _(ConnectionConstruct):
    async def wait(self):
        transport, protocol = await self.loop.create_connection(
            self.factory, sock=self.sockets[0])
        try:
            work()
            transport.close()
        finally:
            transport.close()
        await asyncio.wait([self.lost])


@construct('asyncio loop.connect_accepted_socket, the other end is closed')
class _(ConnectionConstruct):
    async def wait(self):
        transport, protocol = await self.loop.connect_accepted_socket(
            self.factory, self.sockets[0])
        try:
            work()
        finally:
            self.sockets[1].close()
        await asyncio.wait([self.lost])


@construct('asyncio server, accepting', is_open=False)
class _(ConnectionConstruct):
    async def wait(self):
        await self.loop._accept_connection2(
            self.factory, self.sockets[0], {})
        self.sockets[1].close()

    def cancel_tasks(self):
        self.sockets[1].close()
        super().cancel_tasks()


# concurrent.futures

@construct('Future.set_result, others wait', is_open=False)
class _(Construct):
    def __init__(self):
        self.future = concurrent.futures.Future()
        self.future.set_running_or_notify_cancel()
        self.called = 0
        for _ in range(2):
            self.future.add_done_callback(self.callback)
        self.waiter = threading.Lock()
        self.waiter.acquire()
        self.future._condition._waiters.append(self.waiter)
        self.finished = concurrent.futures._base._create_and_install_waiters(
            [self.future], concurrent.futures.ALL_COMPLETED).event

    def callback(self, future):
        self.called += 1

    def run(self):
        self.future.set_result('result')

    def is_broken(self):
        # All are told, or it is not done and can be set again.
        return (self.future._condition._lock._is_owned()
                or self.future.done() and (
                    self.waiter.locked() or not self.finished.is_set()
                    or self.called != 2))


@construct('Future.set_exception, others wait', is_open=False)
class _(TABLE['Future.set_result, others wait']):
    def run(self):
        self.future.set_exception(ValueError())


@construct('Future.cancel, others wait', is_open=False)
class _(TABLE['Future.set_result, others wait']):
    def __init__(self):
        super().__init__()
        self.future._state = concurrent.futures._base.PENDING

    def run(self):
        self.future.cancel()

    def is_broken(self):
        self.finished.set()     # only told when somebody tries to run it
        return super().is_broken()


@construct('Future.set_running_or_notify_cancel', is_open=False)
class _(Construct):
    def __init__(self):
        self.future = concurrent.futures.Future()
        self.finished = concurrent.futures._base._create_and_install_waiters(
            [self.future], concurrent.futures.ALL_COMPLETED).event
        self.future.cancel()

    def run(self):
        self.future.set_running_or_notify_cancel()

    def is_broken(self):
        notified = concurrent.futures._base.CANCELLED_AND_NOTIFIED
        return (self.future._condition._lock._is_owned()
                or self.future._state == notified
                and not self.finished.is_set())


@construct('Future.add_done_callback', is_open=False)
class _(Construct):
    def __init__(self):
        self.future = concurrent.futures.Future()
        self.called = 0

    def callback(self, future):
        self.called += 1

    def run(self):
        self.future.add_done_callback(self.callback)
        self.future.add_done_callback(self.callback)

    def is_broken(self):
        return self.future._condition._lock._is_owned()


@construct('Future.result', is_open=False)
class _(Construct):
    def __init__(self):
        self.future = concurrent.futures.Future()

    def run(self):
        with contextlib.suppress(TimeoutError):
            self.future.result(0)

    def is_broken(self):
        return (self.future._condition._lock._is_owned()
                or len(self.future._condition._waiters) > 0)


class FuturesConstruct(Construct):
    is_open = False

    def __init__(self):
        self.futures = [concurrent.futures.Future() for _ in range(2)]
        self.futures[0].set_result('result')

    def is_broken(self):
        return any(future._condition._lock._is_owned() or future._waiters
                   for future in self.futures)


@construct('concurrent.futures, all futures of a call', is_open=True)
class _(FuturesConstruct):
    def run(self):
        with concurrent.futures._base._AcquireFutures(self.futures):
            work()


@construct('concurrent.futures.wait')
class _(FuturesConstruct):
    def run(self):
        concurrent.futures.wait(self.futures, 0)


@construct('concurrent.futures.as_completed')
class _(FuturesConstruct):
    def run(self):
        with contextlib.suppress(TimeoutError):
            for future in concurrent.futures.as_completed(self.futures, 0):
                step()


def threads_go_on(before):
    """Are there threads that have not been told to end?"""
    for thread in set(threading.enumerate()) - before:
        if thread.ident is not None:
            # Waiting for it may have been interrupted.
            thread.join(support.LOOPBACK_TIMEOUT)
    return bool(set(threading.enumerate()) - before)


class ThreadsConstruct(Construct):
    """One that starts threads, which have ended afterwards."""

    exact = False

    def __init__(self):
        self.threads = set(threading.enumerate())

    def is_broken(self):
        return threads_go_on(self.threads)


@construct('ThreadPoolExecutor.submit')
class _(ThreadsConstruct):
    def run(self):
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            executor.submit(step).result()
            work_for_long()
        # What comes while it is finalized is raised here.
        executor = None
        step()


@construct('ThreadPoolExecutor.map')
class _(ThreadsConstruct):
    def run(self):
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            for _ in executor.map(str, [1, 2]):
                work_for_long()
        executor = None
        step()


@construct('ThreadPoolExecutor.shutdown')
class _(ThreadsConstruct):
    def run(self):
        executor = concurrent.futures.ThreadPoolExecutor(1)
        try:
            executor.submit(step)
            work_for_long()
        finally:
            executor.shutdown(cancel_futures=True)
        executor = None
        step()


@construct('ProcessPoolExecutor.submit', exact=False, is_open=False)
class _(ThreadsConstruct):
    def __init__(self):
        super().__init__()
        self.children = children()
        self.executor = concurrent.futures.ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context('fork'))
        self.future = None

    def run(self):
        self.future = self.executor.submit(int)

    def is_broken(self):
        # Also what is submitted now has a worker, and all of them end.
        try:
            self.executor.submit(int).result()
            if self.future is not None:
                self.future.result()
        except concurrent.futures.BrokenExecutor:
            return True
        self.executor.shutdown()
        return super().is_broken() or children() != self.children

    def close(self):
        self.executor.shutdown()


# multiprocessing

def spare_child():
    """In a child there is no sweep, and what it has brought is dropped."""
    _interrupts.sweep_stop()
    _interrupts.run_open(drain)


os.register_at_fork(after_in_child=spare_child)


class ProcessConstruct(DescriptorConstruct):
    """One that starts a process, which ends by itself."""

    exact = False
    method = 'fork'

    def __init__(self):
        # Not now, and not by something else instead of Python.
        multiprocessing.resource_tracker.ensure_running()
        self.context = multiprocessing.get_context(self.method)
        self.process = self.context.Process(target=int)
        super().__init__()
        self.children = children()

    def run(self):
        self.process.start()
        try:
            work_for_long()
        finally:
            self.process.join()

    def finish(self):
        # As at exit, those that are known are waited for.
        for process in multiprocessing.active_children():
            process.join()
        if self.process is not None and self.process.pid is not None:
            self.process.close()
        self.process = None

    def is_broken(self):
        self.finish()
        return children() != self.children or super().is_broken()

    def close(self):
        self.finish()
        super().close()
        for pid in children() - self.children:
            os.waitpid(pid, 0)


@construct('multiprocessing.Process by fork')
class _(ProcessConstruct):
    pass


@construct('multiprocessing.Process by spawn')
class _(ProcessConstruct):
    method = 'spawn'

    def __init__(self):
        super().__init__()
        # An interpreter would take long to start.
        self.executable = multiprocessing.spawn.get_executable()
        multiprocessing.spawn.set_executable(TRUE)

    def close(self):
        multiprocessing.spawn.set_executable(self.executable)
        super().close()


@construct('multiprocessing.Process by forkserver')
class _(ProcessConstruct):
    """There is no server, only what it would send and get."""

    method = 'forkserver'

    def __init__(self):
        super().__init__()
        open('job', 'w').close()
        self.connect = multiprocessing.forkserver.connect_to_new_process
        multiprocessing.forkserver.connect_to_new_process = self.fake

    def fake(self, fds):
        with threading.nointerrupts:
            reader, writer = os.pipe()
            multiprocessing.forkserver.write_signed(writer, os.getpid())
            multiprocessing.forkserver.write_signed(writer, 0)
            os.close(writer)
            return reader, os.open('job', os.O_WRONLY)

    def is_broken(self):
        # A process that nobody knows of has nothing to do.
        return (self.process.pid is None and os.path.getsize('job') > 0
                or super().is_broken())

    def close(self):
        multiprocessing.forkserver.connect_to_new_process = self.connect
        super().close()


class ServerConstruct(ProcessConstruct):
    """One that starts a process which serves this one; TRUE does not."""

    is_open = False
    make = None

    def __init__(self):
        super().__init__()
        self.executable = multiprocessing.spawn.get_executable()
        multiprocessing.spawn.set_executable(TRUE)
        self.server = self.make()

    def run(self):
        self.server.ensure_running()

    def known(self):
        """The process id and descriptor that the server will be stopped by."""
        return self.server._pid, self.server._fd

    def is_broken(self):
        pid, fd = self.known()
        if pid is not None:
            os.waitpid(pid, 0)
            os.close(fd)
        return super().is_broken()

    def close(self):
        multiprocessing.spawn.set_executable(self.executable)
        super().close()


@construct('multiprocessing.resource_tracker')
class _(ServerConstruct):
    class make(multiprocessing.resource_tracker.ResourceTracker):
        def __del__(self):
            pass


@construct('multiprocessing.forkserver')
class _(ServerConstruct):
    make = multiprocessing.forkserver.ForkServer

    def __init__(self):
        # Its socket is made where everything is removed.
        self.config = multiprocessing.current_process()._config
        self.before = self.config.get('tempdir')
        self.config['tempdir'] = os.getcwd()
        super().__init__()

    def close(self):
        self.config['tempdir'] = self.before
        super().close()

    def known(self):
        return (self.server._forkserver_pid,
                self.server._forkserver_alive_fd)


@construct('multiprocessing.forkserver that has ended')
class _(TABLE['multiprocessing.forkserver']):
    def __init__(self):
        super().__init__()
        self.server.ensure_running()
        os.waitid(os.P_PID, self.server._forkserver_pid,
                  os.WEXITED | os.WNOWAIT)

    def is_broken(self):
        try:
            self.server.ensure_running()
        except ChildProcessError:
            return True
        return super().is_broken()


@construct('multiprocessing.Process.join', is_open=False)
class _(ProcessConstruct):
    STATUS = 3

    def __init__(self):
        super().__init__()
        self.process = self.context.Process(target=os._exit,
                                            args=(self.STATUS,))
        self.process.start()

    def run(self):
        self.process.join()

    def is_broken(self):
        # Alive for ever if the status was lost.
        self.process.join()
        return self.process.exitcode != self.STATUS

    def close(self):
        multiprocessing.process._children.discard(self.process)
        self.process = None
        super().close()


class PoolConstruct(ThreadsConstruct):
    is_open = False

    def __init__(self):
        super().__init__()
        self.pool = self.make()
        # As in the first calls: there is a check point when an object has been
        # made, which code that is specialized does not have.
        for function in (multiprocessing.pool.Pool.apply_async,
                         multiprocessing.pool.Pool._map_async,
                         multiprocessing.pool.Pool.imap,
                         multiprocessing.pool.Pool.imap_unordered):
            function.__code__ = function.__code__.replace()

    def make(self):
        return multiprocessing.pool.ThreadPool(1)

    def is_broken(self):
        # It is waited for as long as a job is thought to be in the queue.
        self.pool.close()
        self.pool._worker_handler.join(support.LOOPBACK_TIMEOUT)
        return self.pool._worker_handler.is_alive()

    def close(self):
        self.pool.terminate()
        self.pool.join()


@construct('multiprocessing.pool.ThreadPool.apply_async')
class _(PoolConstruct):
    def run(self):
        self.pool.apply_async(step)


@construct('multiprocessing.pool.ThreadPool.map_async')
class _(PoolConstruct):
    def run(self):
        self.pool.map_async(str, [1, 2])


@construct('multiprocessing.pool.ThreadPool.imap')
class _(PoolConstruct):
    def run(self):
        self.pool.imap(str, [1, 2])
        self.pool.imap(str, [1, 2], 2)


@construct('multiprocessing.pool.ThreadPool.imap_unordered')
class _(PoolConstruct):
    def run(self):
        self.pool.imap_unordered(str, [1, 2])
        self.pool.imap_unordered(str, [1, 2], 2)


@construct('multiprocessing.pool.ThreadPool.close')
class _(PoolConstruct):
    def run(self):
        self.pool.close()


@construct('multiprocessing.pool.ThreadPool.terminate')
class _(PoolConstruct):
    """One that is interrupted can be called again, and comes to its end."""

    def run(self):
        self.pool.terminate()

    def is_broken(self):
        self.pool.terminate()
        if threads_go_on(self.threads):
            self.pool = None        # nothing ends it
            return True
        return False

    def close(self):
        if self.pool is not None:
            super().close()


@construct('multiprocessing.pool.Pool.terminate')
class _(TABLE['multiprocessing.pool.ThreadPool.terminate']):
    def __init__(self):
        super().__init__()
        self.worker, = self.pool._pool

    def make(self):
        return multiprocessing.get_context('fork').Pool(1)

    def is_broken(self):
        if super().is_broken():
            return True
        # It has been told to end, and may have to be waited for.
        self.worker.join(support.LOOPBACK_TIMEOUT)
        return self.worker.exitcode is None

    def close(self):
        if self.pool is None:
            self.worker.kill()
        super().close()


@construct('multiprocessing.pool.ThreadPool')
class _(ThreadsConstruct):
    def run(self):
        with multiprocessing.pool.ThreadPool(1) as pool:
            pool.apply(step)
            work_for_long()
        pool = None
        step()


def be_quiet():
    """A server prints that it could not tell anybody that it ends."""
    with open(os.devnull, 'wb') as file:
        os.dup2(file.fileno(), 2)


@construct('multiprocessing.managers.BaseManager.shutdown', is_open=False)
class _(ProcessConstruct):
    def __init__(self):
        super().__init__()
        self.manager = multiprocessing.managers.BaseManager(ctx=self.context)
        self.manager.start(initializer=be_quiet)
        self.process = self.manager._process

    def run(self):
        self.manager.shutdown()

    def is_broken(self):
        self.manager.shutdown()
        return self.process.is_alive() or super().is_broken()

    def close(self):
        if self.process is not None:
            self.process.kill()
        super().close()


class CountingServer(multiprocessing.managers.Server):
    public = [*multiprocessing.managers.Server.public, 'count']

    def count(self, connection):
        """The number of references, when those who have asked have gone."""
        for thread in threading.enumerate():
            if (thread is not threading.current_thread()
                and getattr(thread, '_target', None) == self.handle_request):
                thread.join()
        return sum(self.id_to_refcount.values())


class CountingManager(multiprocessing.managers.SyncManager):
    _Server = CountingServer

    def count(self):
        with self._Client(self._address, authkey=self._authkey) as connection:
            return multiprocessing.managers.dispatch(connection, None, 'count')


@construct('multiprocessing.managers, an object')
class _(ProcessConstruct):
    """The server drops it when it is not used."""

    def __init__(self):
        super().__init__()
        self.manager = CountingManager(ctx=self.context)
        self.manager.start(initializer=be_quiet)
        self.process = self.manager._process

    def run(self):
        proxy = self.manager.list()
        work_for_long()
        # What comes while it is finalized is raised here.
        proxy = None
        step()

    def is_broken(self):
        return self.manager.count() != 0

    def close(self):
        self.manager.shutdown()
        self.manager = None
        super().close()


@construct('multiprocessing.managers, an object that a method returns')
class _(TABLE['multiprocessing.managers, an object']):
    def __init__(self):
        super().__init__()
        self.proxy = self.manager.dict()

    def run(self):
        iterator = iter(self.proxy)
        work_for_long()
        iterator = None
        step()

    def is_broken(self):
        self.proxy = None       # and its connection
        return super().is_broken()

    def close(self):
        self.proxy = None
        super().close()


@construct('multiprocessing.managers.SharedMemoryManager')
class _(ProcessConstruct):
    """It removes all that it knows, also if some has been removed before."""

    def __init__(self):
        super().__init__()
        self.names = shared_names()
        self.manager = multiprocessing.managers.SharedMemoryManager(
            ctx=self.context)
        self.manager.start(initializer=be_quiet)
        self.process = self.manager._process

    def make(self):
        return self.manager.SharedMemory(1)

    def run(self):
        memory = self.make()
        work_for_long()
        memory = None
        step()

    def is_broken(self):
        self.manager.SharedMemory(1)
        # It ends only if it could remove them.
        with self.manager._Client(self.manager.address,
                                  authkey=self.manager._authkey) as connection:
            try:
                multiprocessing.managers.dispatch(connection, None, 'shutdown')
            except multiprocessing.managers.RemoteError:
                return True
        return shared_names() != self.names

    def close(self):
        self.manager.shutdown()
        self.manager = None
        super().close()
        for name in shared_names() - self.names:
            os.unlink(os.path.join('/dev/shm', name))


@construct('multiprocessing.managers.SharedMemoryManager, a list')
class _(TABLE['multiprocessing.managers.SharedMemoryManager']):
    def make(self):
        return self.manager.ShareableList([1, 'two', None])


@construct('multiprocessing.dummy.Process')
class _(ThreadsConstruct):
    def run(self):
        process = multiprocessing.dummy.Process(target=step)
        process.start()
        try:
            work()
        finally:
            process.join()
        process = None
        step()


@construct('multiprocessing.Pipe')
class _(DescriptorConstruct):
    def run(self):
        one, other = multiprocessing.Pipe()
        with one, other:
            work()
        # What comes while they are finalized is raised here.
        one = other = None
        step()


@construct('multiprocessing.Pipe, one way')
class _(DescriptorConstruct):
    def run(self):
        reader, writer = multiprocessing.Pipe(duplex=False)
        with reader, writer:
            work()
        reader = writer = None
        step()


@construct('multiprocessing.connection.Listener')
class _(DescriptorConstruct):
    def run(self):
        with multiprocessing.connection.Listener('socket', 'AF_UNIX'):
            work()

    def is_broken(self):
        return super().is_broken() or os.path.exists('socket')

    def close(self):
        super().close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink('socket')


class ListenerConstruct(DescriptorConstruct):
    def __init__(self):
        self.listener = multiprocessing.connection.Listener('socket',
                                                            'AF_UNIX')
        super().__init__()

    def close(self):
        super().close()
        self.listener.close()


@construct('multiprocessing.connection.Client')
class _(ListenerConstruct):
    def run(self):
        with multiprocessing.connection.Client('socket', 'AF_UNIX'):
            work()


@construct('multiprocessing.connection.Listener.accept')
class _(ListenerConstruct):
    def __init__(self):
        super().__init__()
        self.client = multiprocessing.connection.Client('socket', 'AF_UNIX')
        self.descriptors = descriptors()

    def run(self):
        with self.listener.accept():
            work()

    def close(self):
        self.client.close()
        super().close()


@construct('multiprocessing.connection.wait', is_open=False)
class _(DescriptorConstruct):
    breaks = False

    def __init__(self):
        self.connections = multiprocessing.Pipe()
        super().__init__()

    def run(self):
        multiprocessing.connection.wait(self.connections, 0)

    def close(self):
        super().close()
        for connection in self.connections:
            connection.close()


class SemaphoreConstruct(Construct):
    """What multiprocessing makes of named semaphores; any value is told."""

    def __init__(self):
        self.context = multiprocessing.get_context('fork')


@construct('multiprocessing.Lock')
class _(SemaphoreConstruct):
    def __init__(self):
        super().__init__()
        self.lock = self.context.Lock()

    def run(self):
        with self.lock:
            work()

    def is_broken(self):
        return self.lock._semlock._get_value() != 1


@construct('multiprocessing.RLock')
class _(TABLE['multiprocessing.Lock']):
    def __init__(self):
        super().__init__()
        self.lock = self.context.RLock()

    def run(self):
        with self.lock, self.lock:
            work()


@construct('multiprocessing.Semaphore')
class _(TABLE['multiprocessing.Lock']):
    def __init__(self):
        super().__init__()
        self.lock = self.context.BoundedSemaphore(1)

    def run(self):
        self.lock.acquire()
        try:
            work()
        finally:
            self.lock.release()


@construct('multiprocessing.Lock, not by fork')
class _(SemaphoreConstruct):
    def __init__(self):
        multiprocessing.resource_tracker.ensure_running()
        self.context = multiprocessing.get_context('spawn')
        self.before = shared_names()

    def run(self):
        lock = self.context.Lock()
        with lock:
            work()
        lock = None
        step()

    def is_broken(self):
        return shared_names() != self.before

    def close(self):
        for name in shared_names() - self.before:
            os.unlink(os.path.join('/dev/shm', name))


def condition_is_broken(condition):
    """Is it held, or does it count waiters that there are not?"""
    return (condition._lock._semlock._count() != 0
            or condition._sleeping_count._semlock._get_value()
            != condition._woken_count._semlock._get_value()
            or condition._wait_semaphore._semlock._get_value() != 0)


@construct('multiprocessing.Condition.wait', is_open=False)
class _(SemaphoreConstruct):
    def __init__(self):
        super().__init__()
        self.condition = self.context.Condition()

    def run(self):
        with self.condition:
            self.condition.wait(0)

    def is_broken(self):
        return condition_is_broken(self.condition)

    # If wait() ends without the lock, leaving `with` raises.
    errors = AssertionError

    def is_broken_by(self, run):
        return run.error is not None or self.is_broken()


@construct('multiprocessing.Condition.notify', is_open=False)
class _(SemaphoreConstruct):
    def __init__(self):
        super().__init__()
        self.condition = self.context.Condition()
        # One waits, and wakes up before it is woken.
        self.condition._sleeping_count.release()
        self.condition._woken_count.release()

    def run(self):
        with self.condition:
            self.condition.notify()

    def is_broken(self):
        return condition_is_broken(self.condition)


@construct('multiprocessing.Event', is_open=False)
class _(SemaphoreConstruct):
    def __init__(self):
        super().__init__()
        self.event = self.context.Event()

    def run(self):
        self.event.wait(0)
        self.event.set()
        self.event.wait()
        self.event.clear()

    def is_broken(self):
        return condition_is_broken(self.event._cond)


@construct('multiprocessing.SimpleQueue', is_open=True)
class _(SemaphoreConstruct):
    def __init__(self):
        super().__init__()
        self.queue = self.context.SimpleQueue()
        self.queue.put('first')

    def run(self):
        item = self.queue.get()
        try:
            work()
        finally:
            self.queue.put(item)

    def is_broken(self):
        return (self.queue.empty()
                or self.queue._rlock._semlock._get_value() != 1
                or self.queue._wlock._semlock._get_value() != 1)

    def close(self):
        self.queue.close()


class QueueConstruct(SemaphoreConstruct):
    SIZE = 4
    is_open = False
    exact = False

    def make(self):
        return self.context.Queue(self.SIZE)

    def __init__(self):
        super().__init__()
        self.queue = self.make()
        self.queue.put('first')
        # The feeder has written it.
        self.queue._reader.poll(None)

    def free_places(self):
        return self.queue._sem._semlock._get_value()

    def close(self):
        self.queue.close()
        self.queue.join_thread()


@construct('multiprocessing.Queue.get, then try', is_open=True)
class _(QueueConstruct):
    def run(self):
        item = self.queue.get()
        try:
            work_for_long()
        finally:
            self.queue.put(item)

    def is_broken(self):
        return (self.free_places() != self.SIZE - 1
                or not self.queue._reader.poll(support.SHORT_TIMEOUT)
                or self.queue._rlock._semlock._get_value() != 1)


@construct('multiprocessing.Queue.get with timeout, then try', is_open=True)
class _(TABLE['multiprocessing.Queue.get, then try']):
    def run(self):
        item = self.queue.get(timeout=support.LONG_TIMEOUT)
        try:
            work()
        finally:
            self.queue.put(item)


@construct('multiprocessing.Queue.put')
class _(QueueConstruct):
    def run(self):
        self.queue.put('second')

    def is_broken(self):
        if self.queue._notempty._is_owned():
            return True
        taken = self.SIZE - self.free_places()
        while self.queue._reader.poll(0 if taken == 0
                                      else support.SHORT_TIMEOUT):
            self.queue.get()
            taken -= 1
            if taken == 0:
                break
        return taken != 0


@construct('multiprocessing.Queue.close', is_open=False)
class _(QueueConstruct):
    """One that is interrupted can be called again: its thread ends."""

    def run(self):
        self.queue.close()
        self.queue.join_thread()

    def is_broken(self):
        self.queue.close()
        self.queue._thread.join(support.LOOPBACK_TIMEOUT)
        if self.queue._thread.is_alive():
            self.queue.cancel_join_thread()
            return True
        return False


@construct('multiprocessing.JoinableQueue.put')
class _(TABLE['multiprocessing.Queue.put']):
    def make(self):
        return self.context.JoinableQueue(self.SIZE)

    def is_broken(self):
        taken = self.SIZE - self.free_places()
        unfinished = self.queue._unfinished_tasks._semlock._get_value()
        return (unfinished != taken
                or self.queue._cond._lock._semlock._count() != 0
                or super().is_broken())


@construct('multiprocessing.JoinableQueue.task_done')
class _(TABLE['multiprocessing.JoinableQueue.put']):
    def run(self):
        self.queue.task_done()

    def is_broken(self):
        return condition_is_broken(self.queue._cond)


@construct('multiprocessing.Value', exact=False)
class _(SemaphoreConstruct):
    breaks = False

    def run(self):
        value = self.context.Value('i', 0)
        with value.get_lock():
            work_for_long()
        value = None
        step()

    def is_broken(self):
        return multiprocessing.heap.BufferWrapper._heap._lock.locked()


@construct('multiprocessing.heap.Arena')
class _(DescriptorConstruct):
    is_open = False

    def run(self):
        multiprocessing.heap.Arena(4096, fd=-1)
        step()

    def is_broken(self):
        return (super().is_broken()
                or any('pym-' in name for name in os.listdir('.')))


@construct('multiprocessing.shared_memory.SharedMemory')
class _(DescriptorConstruct):
    memory = None

    def __init__(self):
        super().__init__()
        self.before = shared_names()

    def run(self):
        memory = multiprocessing.shared_memory.SharedMemory(
            create=True, size=16, track=False)
        try:
            work()
        finally:
            memory.close()
            memory.unlink()
        memory = None
        step()

    def is_broken(self):
        return super().is_broken() or shared_names() != self.before

    def close(self):
        super().close()
        for name in shared_names() - self.before:
            os.unlink(os.path.join('/dev/shm', name))


@construct('multiprocessing.util.get_temp_dir', is_open=False)
class _(Construct):
    def __init__(self):
        self.config = multiprocessing.current_process()._config
        self.before = self.config.pop('tempdir', None), tempfile.tempdir
        tempfile.tempdir = os.getcwd()

    def run(self):
        multiprocessing.util.get_temp_dir()

    def is_broken(self):
        # What is done at exit.
        for finalizer in [*multiprocessing.util._finalizer_registry.values()]:
            if finalizer._callback is multiprocessing.util._remove_temp_dir:
                if os.path.dirname(finalizer._args[1]) == os.getcwd():
                    finalizer()
        return any(name.startswith('pymp-') for name in os.listdir())

    def close(self):
        self.is_broken()
        self.config['tempdir'], tempfile.tempdir = self.before


@construct('multiprocessing.util.Finalize')
class _(Construct):
    def __init__(self):
        self.finalizer = None
        self.cleaned = 0

    def clean(self):
        self.cleaned += 1

    def run(self):
        self.finalizer = multiprocessing.util.Finalize(
            None, self.clean, exitpriority=10)
        try:
            work()
        finally:
            self.finalizer()

    def is_broken(self):
        if self.finalizer is None:
            return False
        return self.cleaned != 1 or self.finalizer.still_active()

    def close(self):
        for key, finalizer in [
                *multiprocessing.util._finalizer_registry.items()]:
            if finalizer._callback == self.clean:
                finalizer.cancel()


# selectors

class SelectorConstruct(DescriptorConstruct):
    selector_class = None

    def __init__(self):
        self.selector = self.selector_class()
        self.socket, self.other = socket.socketpair()
        super().__init__()

    def registered(self):
        """What the system knows: the events that can be found."""
        known = getattr(self.selector, '_selector', None)
        if isinstance(known, FakeKqueue):
            # Found would be only what is in the map.
            return known.events(self.socket.fileno())
        events = 0
        for _, found in self.selector.select(0):
            events |= found
        return events

    def is_broken(self):
        key = self.selector._fd_to_key.get(self.socket.fileno())
        expected = key.events if key is not None else 0
        # All are ready, so all are found if they are registered.
        self.other.send(b'data')
        if self.registered() != expected:
            return True
        if key is None:
            # It can be registered.
            self.selector.register(self.socket, selectors.EVENT_READ)
        self.selector.unregister(self.socket)
        return super().is_broken()

    def is_broken_by(self, run):
        try:
            return self.is_broken()
        except OSError:
            return True

    def close(self):
        super().close()
        self.selector.close()
        self.socket.close()
        self.other.close()


class RegisterConstruct(SelectorConstruct):
    def run(self):
        self.selector.register(
            self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        try:
            work()
        finally:
            self.selector.unregister(self.socket)


class UnregisterConstruct(SelectorConstruct):
    is_open = False

    def __init__(self):
        super().__init__()
        self.selector.register(
            self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def run(self):
        self.selector.unregister(self.socket)


class ModifyConstruct(UnregisterConstruct):
    def run(self):
        self.selector.modify(self.socket, selectors.EVENT_READ, 'data')

    def is_broken(self):
        # It is registered for the one or the other.
        return (self.socket.fileno() not in self.selector._fd_to_key
                or super().is_broken())


class SelectConstruct(DescriptorConstruct):
    selector_class = None

    def run(self):
        with socket.socket() as sock, self.selector_class() as selector:
            selector.register(sock, selectors.EVENT_READ)
            work()


class FakeKqueue:
    """Knows what was registered, as a kqueue does; all of it is ready."""

    kevent = collections.namedtuple('kevent', 'ident filter flags',
                                    defaults=[0])

    def __init__(self):
        self.known = []

    def control(self, changes, max_events, timeout):
        for event in changes or ():
            known = event._replace(flags=0)
            if event.flags == FAKE_SELECT.KQ_EV_ADD:
                self.known.append(known)
            else:
                self.known.remove(known)
        return self.known[:max_events]

    def events(self, descriptor):
        return sum(event.filter == FAKE_SELECT.KQ_FILTER_READ
                   and selectors.EVENT_READ or selectors.EVENT_WRITE
                   for event in self.known if event.ident == descriptor)

    def close(self):
        pass


FAKE_SELECT = types.SimpleNamespace(
    select=select.select, kqueue=FakeKqueue, kevent=FakeKqueue.kevent,
    KQ_FILTER_READ=-1, KQ_FILTER_WRITE=-2, KQ_EV_ADD=1, KQ_EV_DELETE=2)


def selector_classes():
    """Those of this system, and that of BSD on system calls of ours."""
    for name in 'SelectSelector', 'PollSelector', 'EpollSelector':
        if hasattr(selectors, name):
            yield name, getattr(selectors, name)
    with support.swap_item(sys.modules, 'select', FAKE_SELECT):
        module = import_helper.import_fresh_module('selectors')
    yield 'KqueueSelector', module.KqueueSelector


for name, cls in selector_classes():
    for title, base in [('register', RegisterConstruct),
                        ('unregister', UnregisterConstruct),
                        ('modify', ModifyConstruct),
                        ('close', SelectConstruct)]:
        if name + title == 'KqueueSelectorclose':
            continue    # ours has no descriptor
        construct(f'selectors.{name}.{title}')(
            type(name, (base,),
                 {'selector_class': cls,
                  # Some have one step only.
                  'breaks': (name in ('EpollSelector', 'KqueueSelector')
                             or title == 'modify'
                             or name + title == 'SelectSelectorregister')}))


# socket

@construct('socket.socketpair')
class _(DescriptorConstruct):
    def run(self):
        one, other = socket.socketpair()
        with one, other:
            work()


@construct('socket.socket.dup')
class _(DescriptorConstruct):
    def __init__(self):
        self.socket = socket.socket()
        super().__init__()

    def run(self):
        with self.socket.dup():
            work()

    def close(self):
        super().close()
        self.socket.close()


@construct('socket.fromfd')
class _(TABLE['socket.socket.dup']):
    def run(self):
        with socket.fromfd(self.socket.fileno(), socket.AF_INET,
                           socket.SOCK_STREAM):
            work()


@construct('socket.socket.detach')
class _(DescriptorConstruct):
    def run(self):
        with socket.socket() as sock:
            descriptor = sock.detach()
            try:
                work()
            finally:
                os.close(descriptor)


@construct('socket.create_server', breaks=False)
class _(DescriptorConstruct):
    def run(self):
        with socket.create_server(('127.0.0.1', 0)):
            work()


class ServerConstruct(DescriptorConstruct):
    """A server to which one has connected."""

    def __init__(self):
        self.server = socket.create_server(('127.0.0.1', 0))
        self.client = socket.create_connection(self.server.getsockname())
        super().__init__()

    def close(self):
        super().close()
        self.client.close()
        self.server.close()


@construct('socket.create_connection', breaks=False)
class _(ServerConstruct):
    def run(self):
        with socket.create_connection(self.server.getsockname()):
            work()


@construct('socket.socket.accept')
class _(ServerConstruct):
    def run(self):
        connection, address = self.server.accept()
        with connection:
            work()


@construct('socket.socket.makefile')
class _(DescriptorConstruct):
    def __init__(self):
        super().__init__()
        self.socket = socket.socket()
        self.first = self.socket.makefile('rb')

    def run(self):
        with self.socket.makefile('rw'):
            work()

    def is_broken(self):
        # The descriptor is open as long as a file is, and no longer.
        self.socket.close()
        if self.socket.fileno() == -1:
            return True
        self.first.close()
        return super().is_broken()

    def close(self):
        self.first.close()
        self.socket.close()
        super().close()


@construct('socket.recv_fds')
class _(DescriptorConstruct):
    def __init__(self):
        self.socket, self.other = socket.socketpair()
        with open(os.devnull) as file:
            socket.send_fds(self.other, [b'data'], [file.fileno()] * 2)
        super().__init__()

    def run(self):
        data, received, flags, address = socket.recv_fds(self.socket, 9, 2)
        try:
            work()
        finally:
            for descriptor in received:
                os.close(descriptor)

    def close(self):
        super().close()
        self.socket.close()
        self.other.close()


# socketserver, http

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        work()


@construct('socketserver.TCPServer', breaks=False)
class _(DescriptorConstruct):
    def run(self):
        with socketserver.TCPServer(('127.0.0.1', 0), Handler):
            work()


class RequestConstruct(DescriptorConstruct):
    server_class = socketserver.TCPServer
    handler_class = Handler
    request = b''

    def __init__(self):
        self.server = self.server_class(('127.0.0.1', 0), self.handler_class)
        self.client = socket.create_connection(self.server.server_address)
        self.client.sendall(self.request)
        super().__init__()

    def run(self):
        self.server.handle_request()

    def close(self):
        super().close()
        self.client.close()
        self.server.server_close()


@construct('socketserver.TCPServer.handle_request')
class _(RequestConstruct):
    pass


@construct('socketserver.TCPServer.serve_forever')
class _(RequestConstruct):
    # The number of check points settles late if the whole table has been in use
    # before, as it is where leaks are looked for.
    exact = False

    def run(self):
        self.server.service_actions = self.stop
        # Not 0: a connection may take a moment on its way.
        self.server.serve_forever(support.LONG_TIMEOUT)

    def stop(self):
        self.server._BaseServer__shutdown_request = True

    def is_broken(self):
        # Whoever stops it would wait for ever.
        return (super().is_broken()
                or not self.server._BaseServer__is_shut_down.is_set())

    def __init__(self):
        super().__init__()
        self.server._BaseServer__is_shut_down.set()


@construct('socketserver.ThreadingTCPServer')
class _(RequestConstruct):
    exact = False
    is_open = False     # another thread works

    class server_class(socketserver.ThreadingTCPServer):
        def handle_error(self, request, client_address):
            """Of a request that was closed because of an interrupt."""

    def __init__(self):
        self.threads = set(threading.enumerate())
        super().__init__()

    def is_broken(self):
        # It waits for all that it has started.
        self.server.server_close()
        self.client.close()
        self.descriptors = {
            descriptor: name for descriptor, name in self.descriptors.items()
            if descriptor in descriptors()}
        return (super().is_broken()
                or threads_go_on(self.threads))

    def is_broken_by(self, run):
        try:
            return self.is_broken()
        except RuntimeError:
            return True

    def close(self):
        self.client.close()
        with contextlib.suppress(RuntimeError):
            self.server.server_close()
        super().close()


class HTTPHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        work_for_long()
        self.send_response(200)
        self.end_headers()

    def log_message(self, format, *args):
        pass


@construct('http.server.HTTPServer')
class _(RequestConstruct):
    exact = False       # the date
    server_class = http.server.HTTPServer
    handler_class = HTTPHandler
    request = b'GET / HTTP/1.0\r\n\r\n'


@construct('http.client.HTTPConnection')
class _(DescriptorConstruct):
    RESPONSE = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata'

    def __init__(self):
        super().__init__()
        sock, self.other = socket.socketpair()
        self.other.sendall(self.RESPONSE)
        self.connection = http.client.HTTPConnection('localhost')
        self.connection.sock = sock

    def run(self):
        try:
            self.connection.request('GET', '/')
            with self.connection.getresponse() as response:
                work()
                response.read()
        finally:
            self.connection.close()

    def is_broken(self):
        self.other.close()
        # Interrupted before `try`, nobody has.
        self.connection.close()
        return super().is_broken()

    def close(self):
        self.other.close()
        super().close()


@construct('urllib.request.urlopen of a file')
class _(DescriptorConstruct):
    def __init__(self):
        mimetypes.guess_type('data')    # the first time, it reads files
        super().__init__()

    def run(self):
        with urllib.request.urlopen('file:' + os.path.abspath('data')) as file:
            work()
            file.read()
        file = None     # what comes while it is finalized is raised here
        step()


# ssl

if ssl is not None:

    CERTIFICATE = support.findfile('keycert3.pem', subdir='certdata')
    AUTHORITY = support.findfile('pycacert.pem', subdir='certdata')

    @functools.cache
    def ssl_contexts():
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(CERTIFICATE)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(AUTHORITY)
        return client, server

    @construct('ssl.SSLContext.wrap_socket')
    class _(DescriptorConstruct):
        def __init__(self):
            super().__init__()
            self.context = ssl_contexts()[0]

        def run(self):
            sock, other = socket.socketpair()
            with sock, other:
                with self.context.wrap_socket(sock,
                                              server_hostname='localhost',
                                              do_handshake_on_connect=False):
                    work()

    @construct('ssl.SSLSocket.do_handshake')
    class _(DescriptorConstruct):
        def __init__(self):
            self.ends = socket.socketpair()
            super().__init__()
            for sock in self.ends:
                sock.setblocking(False)

        def run(self):
            client_context, server_context = ssl_contexts()
            with (client_context.wrap_socket(
                      self.ends[0], server_hostname='localhost',
                      do_handshake_on_connect=False) as client,
                  server_context.wrap_socket(
                      self.ends[1], server_side=True,
                      do_handshake_on_connect=False) as server):
                for end in client, server, client, server:
                    try:
                        end.do_handshake()
                    except ssl.SSLWantReadError:
                        work()

        def is_broken(self):
            # Each is closed once, by the one or by the other.
            for sock in self.ends:
                sock.close()
            return not (descriptors().items() < self.descriptors.items())

        def is_broken_by(self, run):
            try:
                return self.is_broken()
            except OSError:
                return True

    @construct('ssl.SSLSocket.accept')
    class _(ServerConstruct):
        def __init__(self):
            super().__init__()
            self.listener = ssl_contexts()[1].wrap_socket(
                self.server, server_side=True, do_handshake_on_connect=False)
            self.descriptors = descriptors()

        def run(self):
            connection, address = self.listener.accept()
            with connection:
                work()

        def close(self):
            self.listener.close()
            super().close()


    class TLSConstruct(TransportConstruct):
        async def make_transports(self):
            client, server = ssl_contexts()
            loop = self.loop
            (self.reading, self.receiver), (self.writing, _) = (
                await asyncio.gather(
                    loop.connect_accepted_socket(
                        self.receiver_class, self.files[0], ssl=server),
                    loop.create_connection(
                        asyncio.Protocol, sock=self.files[1],
                        ssl=client, server_hostname='localhost')))

    @construct('asyncio TLS connection')
    class _(CompletionConstruct):
        interrupt = KeyboardInterrupt
        errors = (*CompletionConstruct.errors, OSError)

        def __init__(self):
            super().__init__()
            self.transports = []
            self.server = self.loop.run_until_complete(
                self.loop.create_server(self.make_protocol, '127.0.0.1',
                                        ssl=ssl_contexts()[1]))

        def make_protocol(self):
            return KeepsTransport(self.transports)

        async def wait(self):
            await self.loop.create_connection(
                self.make_protocol, *self.server.sockets[0].getsockname(),
                ssl=ssl_contexts()[0], server_hostname='localhost')
            work()

        def cancel_tasks(self):
            gc.collect()    # a socket that was lost with its task
            super().cancel_tasks()
            if not self.loop.is_running():
                self.loop.run_until_complete(self.close_all())

        async def close_all(self):
            for transport in self.transports:
                transport.abort()
            self.server.close()
            self.server.abort_clients()
            await asyncio.sleep(0)

        def close(self):
            if not self.loop.is_closed():
                self.cancel_tasks()
            super().close()

    construct('asyncio TLS transport')(TLSConstruct)

    @construct('asyncio TLS transport, more than fits')
    class _(TLSConstruct):
        size = LargeTransportConstruct.size
        limit = LargeTransportConstruct.limit

    @construct('asyncio TLS transport, buffered')
    class _(TLSConstruct):
        receiver_class = BufferedReceiver

    @construct('asyncio TLS transport, small buffer')
    class _(TLSConstruct):
        receiver_class = SmallBufferedReceiver


class ConstructTests(TableTests, unittest.TestCase):
    table = TABLE
    file = __file__


class Stop(BaseException):
    """What is sent to a thread that waits."""


class WaitTests(unittest.TestCase):
    """What has waited for others and is interrupted has given back all."""

    def interrupt(self, function, *args, when):
        """Call it in a thread, which is interrupted when it blocks."""
        raised = []

        def run():
            try:
                function(*args)
            except BaseException as exc:
                raised.append(type(exc))

        thread = threading.Thread(target=run)
        thread.start()
        for _ in support.sleeping_retry(support.SHORT_TIMEOUT):
            if when():
                break
        thread.interrupt(Stop)
        thread.join(support.SHORT_TIMEOUT)
        self.assertFalse(thread.is_alive())
        self.assertEqual(raised, [Stop])

    def make_queue(self, name):
        queue = getattr(multiprocessing.get_context('fork'), name)(2)
        self.addCleanup(queue.join_thread)
        self.addCleanup(queue.close)
        return queue

    def check_put(self, queue, lock):
        places = queue._sem._semlock._get_value
        with lock:
            self.interrupt(queue.put, 'lost', when=lambda: places() == 1)
            self.assertEqual(places(), 2)
        # Nobody holds a lock, and what was interrupted is not there.
        queue.put('first')
        queue.put('second')
        self.assertEqual([queue.get(), queue.get()], ['first', 'second'])

    def test_proxy(self):
        # A call is answered by its own answer, not by that of the one before.
        with multiprocessing.get_context('fork').Manager() as manager:
            event = manager.Event()
            items = manager.list([1, 2])
            results = []

            def use():
                try:
                    event.wait()
                except Stop:
                    interrupted.set()
                    results.append(len(items))
                    results.append(items[1])

            def has_sent():
                frame = sys._current_frames()[thread.ident]
                return frame.f_code.co_name == '_recv'

            interrupted = threading.Event()
            thread = threading.Thread(target=use)
            thread.start()
            for _ in support.sleeping_retry(support.SHORT_TIMEOUT):
                if has_sent():
                    break
            thread.interrupt(Stop)
            interrupted.wait()
            # What was interrupted has to be answered first.
            event.set()
            thread.join(support.SHORT_TIMEOUT)
            self.assertFalse(thread.is_alive())
            self.assertEqual(results, [2, 2])

    def test_queue_put(self):
        queue = self.make_queue('Queue')
        self.check_put(queue, queue._notempty)

    def test_joinable_queue_put(self):
        for name in '_notempty', '_cond':
            with self.subTest(name):
                queue = self.make_queue('JoinableQueue')
                self.check_put(queue, getattr(queue, name))
                queue.task_done()
                queue.task_done()
                queue.join()

    def test_joinable_queue_task_done(self):
        queue = self.make_queue('JoinableQueue')
        queue.put('item')
        queue.get()
        # One waits in join(), and does not wake when it is told.
        queue._cond._sleeping_count.release()
        self.interrupt(queue.task_done, when=lambda:
                       queue._cond._wait_semaphore._semlock._get_value() == 1)
        # Now it does.
        self.assertTrue(queue._cond._wait_semaphore.acquire(False))
        queue._cond._woken_count.release()
        queue.put('item')
        queue.get()
        queue.task_done()
        queue.join()
        self.assertFalse(condition_is_broken(queue._cond))

    def test_condition_notify(self):
        condition = multiprocessing.get_context('fork').Condition()

        def notify():
            with condition:
                condition.notify_all()

        # Two wait; only one of them wakes when they are told.
        for _ in range(2):
            condition._sleeping_count.release()
        condition._woken_count.release()
        self.interrupt(notify, when=lambda:
                       condition._wait_semaphore._semlock._get_value() == 1)
        # The other one is told again, as often as it takes.
        self.interrupt(notify, when=lambda:
                       condition._wait_semaphore._semlock._get_value() == 1)
        self.assertTrue(condition._wait_semaphore.acquire(False))
        condition._woken_count.release()
        notify()
        self.assertFalse(condition_is_broken(condition))

    def test_futures(self):
        futures = [concurrent.futures.Future() for _ in range(2)]
        first, second = sorted(futures, key=id)

        def is_held():
            if first._condition.acquire(blocking=False):
                first._condition.release()
                return False
            return True

        with second._condition:
            self.interrupt(concurrent.futures.wait, futures, when=is_held)
            self.assertFalse(is_held())
            as_completed = concurrent.futures.as_completed(futures)
            self.interrupt(next, as_completed, when=is_held)
            self.assertFalse(is_held())
        self.assertEqual([future._waiters for future in futures], [[], []])

    def test_manager(self):
        # A server that nobody can shut down is not left.
        manager = multiprocessing.managers.BaseManager(
            ctx=multiprocessing.get_context('fork'))
        with warnings.catch_warnings():
            # It forks in a thread.
            warnings.simplefilter('ignore', DeprecationWarning)
            self.interrupt(manager.start, time.sleep, [1000], when=lambda:
                           hasattr(manager, '_process')
                           and manager._process.pid is not None)
        self.addCleanup(manager._process.kill)
        manager._process.join(support.SHORT_TIMEOUT)
        self.assertEqual(manager._process.exitcode, -signal.SIGTERM)

    def test_manager_object(self):
        # An object that was made for somebody who was interrupted is dropped.
        context = multiprocessing.get_context('fork')
        begun, end = context.Event(), context.Event()

        class Manager(CountingManager):
            pass

        def make():
            begun.set()
            end.wait()
            return []

        Manager.register('make', make)
        with Manager(ctx=context) as manager:
            self.interrupt(manager.make, when=begun.is_set)
            end.set()
            self.assertEqual(manager.count(), 0)
            proxy = manager.list()
            self.assertEqual(manager.count(), 1)
            proxy.append('item')

    def test_manager_object_of_a_method(self):
        # It is dropped if the answer that brings it is not waited for.
        context = multiprocessing.get_context('fork')
        begun, end = context.Event(), context.Event()

        class Maker:
            def make(self):
                begun.set()
                end.wait()
                return []

        class Manager(multiprocessing.managers.SyncManager):
            pass

        def use():
            try:
                maker.make()
            except Stop:
                end.set()
                objects.append(maker.make())
                raise

        def check(number):
            for _ in support.sleeping_retry(support.SHORT_TIMEOUT):
                if manager._number_of_objects() == number:
                    break

        Manager.register('Maker', Maker, exposed=['make'],
                         method_to_typeid={'make': 'list'})
        with Manager(ctx=context) as manager:
            objects = []
            maker = manager.Maker()
            self.interrupt(use, when=begun.is_set)
            check(2)
            self.assertEqual(len(objects[0]), 0)
            objects.clear()
            check(1)
            # The thread may end, too, without another call.
            begun.clear()
            end.clear()
            self.interrupt(maker.make, when=begun.is_set)
            end.set()
            check(1)

    def test_pool_terminate(self):
        # What was interrupted while it waited is done by the next call.
        pool = multiprocessing.get_context('fork').Pool(1)
        worker, = pool._pool
        self.addCleanup(worker.kill)
        pool.apply_async(time.sleep, [1000])
        # Free as soon as the worker has its job.
        with pool._inqueue._rlock:
            self.interrupt(pool.terminate, when=lambda:
                           pool._task_handler._state == 'TERMINATE')
            self.assertIsNone(worker.exitcode)
        pool.terminate()
        worker.join(support.SHORT_TIMEOUT)
        self.assertEqual(worker.exitcode, -signal.SIGTERM)
        pool.join()
        # And once more does nothing.
        pool.terminate()

    def test_pool(self):
        # If not all workers could be started, those that were have ended.
        started = []

        class Pool(multiprocessing.pool.Pool):
            @staticmethod
            def Process(context, *args, **kwargs):
                if started:
                    raise Stop
                started.append(context.Process(*args, **kwargs))
                return started[0]

        with self.assertRaises(Stop):
            Pool(2, context=multiprocessing.get_context('fork'))
        self.assertEqual(started[0].exitcode, -signal.SIGTERM)
        started[0].close()


class ExitingServer:
    """A call ends the server that has this."""

    def leave(self):
        multiprocessing.util._run_finalizers()      # removes its files
        os._exit(0)


class ReplacedPartsTests(unittest.TestCase):
    """Others have replaced parts of these modules, which still work."""

    context = multiprocessing.get_context('fork')

    def make_proxy(self, callable, proxytype):
        class Manager(multiprocessing.managers.BaseManager):
            pass

        Manager.register('make', callable, proxytype)
        manager = Manager(ctx=self.context)
        manager.start()
        self.addCleanup(manager.shutdown)
        return manager.make()

    def test_connect(self):
        class Proxy(multiprocessing.managers.ListProxy):
            def _connect(self):
                connection = self._Client(self._token.address,
                                          authkey=self._authkey)
                multiprocessing.managers.dispatch(
                    connection, None, 'accept_connection', ('name',))
                self._tls.connection = connection

        self.assertEqual(len(self.make_proxy(list, Proxy)), 0)

    def test_connection(self):
        class Connection:
            def __init__(self, connection):
                self.close = connection.close
                self.send = connection.send
                self.recv = connection.recv

        class Proxy(multiprocessing.managers.ListProxy):
            def _connect(self):
                super()._connect()
                self._tls.connection = Connection(self._tls.connection)

        self.assertEqual(len(self.make_proxy(list, Proxy)), 0)

    def test_pickler(self):
        class Pickler(multiprocessing.reduction.ForkingPickler):
            @classmethod
            def dumps(cls, obj, protocol=None):
                pickled.append(obj[1])
                return super().dumps(obj, protocol)

        pickled = []
        proxy = self.make_proxy(list, multiprocessing.managers.ListProxy)
        with support.swap_attr(multiprocessing.connection, '_ForkingPickler',
                               Pickler):
            proxy.append('item')
        self.assertIn('append', pickled)

    def test_server_that_has_ended(self):
        proxy = self.make_proxy(ExitingServer, None)
        with self.assertRaises((EOFError, OSError)):
            proxy.leave()
        # There is no answer to wait for.
        with self.assertRaises(OSError):
            proxy.leave()

    def test_executor(self):
        # It may have a submit() of its own.
        with concurrent.futures.ProcessPoolExecutor(
                2, mp_context=self.context) as executor:
            executor._start_executor_manager_thread()
            self.assertEqual(len(executor._processes), 2)

    def test_process(self):
        class Process:
            def _bootstrap(self, parent_sentinel=None):
                return 7

        popen = self.context.Process._Popen(Process())
        self.addCleanup(popen.close)
        self.assertEqual(popen.wait(), 7)


def leaves_broken(cls):
    """Is there a check point at which an interrupt leaves something broken?"""
    for run in sweep(cls.run, cls, teardown=cls.close, strict=False,
                     errors=Exception, exact=cls.exact):
        with support.catch_unraisable_exception() as caught:
            run.forget()
            unraisable = caught.unraisable is not None
        if (run.problem is not None or unraisable
                or run.state.is_broken_by(run)):
            return True
    return False


def report(names):
    """Print for each construct if it was left broken, as JSON.

    With masks off, locks stay locked and threads wait for them: each has a
    process of its own, which a signal ends if it hangs.
    """
    found = {}
    with TABLE.in_use():
        warnings.simplefilter('ignore')
        for name in names or TABLE:
            pid = os.fork()
            if pid == 0:
                cls = TABLE[name]
                os.setpgid(0, 0)
                # What a process leaves that is ended goes with the table's folder.
                tempfile.tempdir = os.getcwd()
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                # One that should be broken may just as well hang.
                signal.alarm(2 if cls.breaks
                             else math.ceil(support.SHORT_TIMEOUT))
                status = 2
                try:
                    status = int(leaves_broken(cls))
                except Exception:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            _, status = os.waitpid(pid, 0)
            status = os.waitstatus_to_exitcode(status)
            # What it has started and left would keep our stdout open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            for path in glob.glob(f'/dev/shm/pym-{pid}-*'):
                os.unlink(path)
            assert status in (0, 1, -signal.SIGALRM), (name, status)
            found[name] = status != 0
    json.dump(found, sys.stdout)


if __name__ == '__main__':
    if sys.argv[1:2] == ['report']:
        report(sys.argv[2:])
    else:
        unittest.main()
