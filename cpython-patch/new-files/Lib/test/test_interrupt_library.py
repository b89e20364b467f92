"""Interrupted at each check point, the library leaves nothing broken.

A table of what programs do with the library's modules; the language itself is
in test_interrupt_sweep.
"""

import _imp
import asyncio
import bz2
import cProfile
import concurrent.futures
import contextlib
import decimal
import gzip
import importlib
import importlib.resources
import io
import logging
import logging.handlers
import lzma
import os
import py_compile
import queue
import runpy
import shelve
import shutil
import signal
import socket
import sqlite3
import sys
import tarfile
import tempfile
import threading
import unittest
import unittest.mock
import warnings
import weakref
import zipfile

from test import support
from test.support.interrupt_constructs import (
    Construct, Failure, Resource, Table, TableTests, exhaust, report, step,
    work)

if not hasattr(signal, 'SIGUSR1'):
    raise unittest.SkipTest('needs SIGUSR1')


# Modules whose import can be interrupted.  Each ends by setting `finished`.
MODULES = {
    'sweep_module': 'import sweep_imported\nfrom sweep_package import inner\n',
    'sweep_imported': 'class Class:\n    def method(self): pass\n',
    'sweep_package': '',
    'sweep_package.inner': 'value = [str(i) for i in range(2)]\n',
}


@contextlib.contextmanager
def importable_modules(folder):
    for name, source in MODULES.items():
        path = os.path.join(folder, *name.split('.'))
        if name == 'sweep_package':
            os.mkdir(path)
            path = os.path.join(path, '__init__')
        with open(path + '.py', 'w') as file:
            file.write(source + 'finished = True\n')
        py_compile.compile(path + '.py', doraise=True)
    with support.swap_attr(sys, 'path', [folder, *sys.path]):
        yield


TABLE = Table(setups=[importable_modules])
construct = TABLE.construct


# threading

@construct('threading._PyRLock')
class _(Construct):
    def __init__(self):
        self.lock = threading._PyRLock()

    def run(self):
        with self.lock:
            with self.lock:
                work()

    def is_broken(self):
        return self.lock._count != 0 or self.lock._block.locked()


# Private names in the next ones: what holds its inner lock for ever would
# block in every public method.

@construct('threading.Semaphore')
class _(Construct):
    def __init__(self):
        self.semaphore = threading.Semaphore(1)

    def run(self):
        with self.semaphore:
            work()

    def is_broken(self):
        return (self.semaphore._value != 1
                or self.semaphore._cond._lock.locked())


@construct('threading.BoundedSemaphore')
class _(Construct):
    def __init__(self):
        self.semaphore = threading.BoundedSemaphore(1)

    def run(self):
        with self.semaphore:
            work()

    def is_broken(self):
        return (self.semaphore._value != 1
                or self.semaphore._cond._lock.locked())


@construct('threading.Condition', is_open=False)
class _(Construct):
    def __init__(self):
        self.condition = threading.Condition()

    def run(self):
        with self.condition:
            self.condition.notify()

    def is_broken(self):
        return self.condition._lock._is_owned()


@construct('threading.Condition.wait', is_open=False)
class _(Construct):
    def __init__(self):
        self.condition = threading.Condition()

    def run(self):
        with self.condition:
            self.condition.wait(0)

    def is_broken(self):
        return (self.condition._lock._is_owned()
                or len(self.condition._waiters) > 0)

    def is_broken_by(self, run):
        # If wait() ends without the lock, leaving `with` raises.
        return self.is_broken() or isinstance(run.error, RuntimeError)

    errors = RuntimeError


@construct('threading.Event', is_open=False)
class _(Construct):
    def __init__(self):
        self.event = threading.Event()

    def run(self):
        self.event.set()
        self.event.wait()
        self.event.clear()

    def is_broken(self):
        return self.event._cond._lock.locked()


@construct('threading.Barrier', is_open=False)
class _(Construct):
    def __init__(self):
        self.barrier = threading.Barrier(1)

    def run(self):
        self.barrier.wait()

    def is_broken(self):
        return self.barrier._count != 0 or self.barrier._cond._lock.locked()


@construct('asyncio.Lock')
class _(Construct):
    def __init__(self):
        self.lock = asyncio.Lock()
        self.coroutine = self.use()
        self.iterator = self.coroutine.__await__()

    async def use(self):
        async with self.lock:
            work()

    def run(self):
        exhaust(self.iterator)

    def is_broken(self):
        return self.lock.locked()

    def close(self):
        self.coroutine.close()


class QueueConstruct(Construct):
    is_open = False

    def __init__(self):
        self.queue = queue.Queue()
        self.queue.put('first')

    def lock_is_held(self):
        return self.queue.mutex.locked()


@construct('queue.Queue, its lock')
class _(QueueConstruct):
    def run(self):
        self.queue.put('second')
        self.queue.get()
        self.queue.task_done()

    def is_broken(self):
        return self.lock_is_held()


@construct('queue.Queue.put')
class _(QueueConstruct):
    def run(self):
        self.queue.put('second')

    def is_broken(self):
        return (self.lock_is_held()
                or len(self.queue.queue) != self.queue.unfinished_tasks)


@construct('queue.Queue.task_done')
class _(QueueConstruct):
    def run(self):
        self.queue.task_done()

    def is_broken(self):
        # Whoever joins is told that all is done if and only if it is.
        return (self.lock_is_held()
                or (self.told and self.queue.unfinished_tasks > 0))

    def __init__(self):
        super().__init__()
        self.told = False
        notify_all = self.queue.all_tasks_done.notify_all

        def tell():
            notify_all()
            self.told = True
        self.queue.all_tasks_done.notify_all = tell


@construct('queue.Queue.get, then try', is_open=True)
class _(QueueConstruct):
    def run(self):
        item = self.queue.get()
        try:
            work()
        finally:
            self.queue.put(item)

    def is_broken(self):
        return (self.lock_is_held() or len(self.queue.queue) != 1
                or self.queue.unfinished_tasks not in (1, 2))


class GuardedQueueConstruct(Construct):
    """A queue that gets an item, and a program that gives it back."""

    def make(self):
        raise NotImplementedError

    def __init__(self):
        self.queue = self.make()
        self.queue.put('first')

    def run(self):
        item = self.queue.get()
        try:
            work()
        finally:
            self.queue.put(item)

    def is_broken(self):
        # Some have a lock, and take it to count.
        mutex = getattr(self.queue, 'mutex', None)
        return (mutex is not None and mutex.locked()
                or self.queue.qsize() != 1)


@construct('queue.SimpleQueue')
class _(GuardedQueueConstruct):
    make = queue.SimpleQueue


@construct('queue._PySimpleQueue')
class _(GuardedQueueConstruct):
    make = queue._PySimpleQueue


@construct('queue.LifoQueue')
class _(GuardedQueueConstruct):
    make = queue.LifoQueue


@construct('queue.PriorityQueue')
class _(GuardedQueueConstruct):
    make = queue.PriorityQueue


@construct('queue.Queue.shutdown')
class _(QueueConstruct):
    def run(self):
        self.queue.shutdown(immediate=True)

    def is_broken(self):
        # Who waits for an item or for all to be done would wait for ever.
        return self.lock_is_held() or (
            self.queue.is_shutdown
            and (len(self.queue.queue) > 0 or self.queue.unfinished_tasks > 0
                 or not self.told))

    def __init__(self):
        super().__init__()
        self.told = False
        notify_all = self.queue.not_full.notify_all

        def tell():
            notify_all()
            self.told = True
        self.queue.not_full.notify_all = tell


@construct('threading.Semaphore.acquire, then try')
class _(TABLE['threading.Semaphore']):
    def run(self):
        self.semaphore.acquire()
        try:
            work()
        finally:
            self.semaphore.release()


@construct('threading.Semaphore.release of two')
class _(Construct):
    is_open = False

    def __init__(self):
        self.semaphore = threading.Semaphore(0)

    def run(self):
        self.semaphore.release(2)

    def is_broken(self):
        return (self.semaphore._value not in (0, 2)
                or self.semaphore._cond._lock.locked())


@construct('threading.Condition.wait_for', is_open=False)
class _(TABLE['threading.Condition.wait']):
    def run(self):
        with self.condition:
            self.condition.wait_for(lambda: False, 0)


@construct('threading.Condition.notify', is_open=False)
class _(Construct):
    def __init__(self):
        self.condition = threading.Condition()
        self.waiter = threading.Lock()
        self.waiter.acquire()
        self.condition._waiters.append(self.waiter)

    def run(self):
        with self.condition:
            self.condition.notify()

    def is_broken(self):
        # Who is no longer in the list has been woken.
        return (self.condition._lock._is_owned()
                or (not self.condition._waiters and self.waiter.locked()))


@construct('threading.Event.set', is_open=False)
class _(Construct):
    def __init__(self):
        self.event = threading.Event()
        self.waiter = threading.Lock()
        self.waiter.acquire()
        self.event._cond._waiters.append(self.waiter)

    def run(self):
        self.event.set()

    def is_broken(self):
        # Who waits is woken, or the event is not set and can be set again.
        return (self.event._cond._lock.locked()
                or (self.event.is_set() and self.waiter.locked()))


@construct('threading.Thread.start and join')
class _(Construct):
    exact = False

    def __init__(self):
        self.has_run = False
        self.thread = threading.Thread(target=self.target)

    def target(self):
        self.has_run = True

    def run(self):
        self.thread.start()
        try:
            work()
        finally:
            self.thread.join()

    def is_broken(self):
        # If start() says that it failed, it has not been started.
        return (self.thread in threading._limbo
                or threading._active_limbo_lock._is_owned()
                or self.thread.is_alive())

    def close(self):
        while threading._active_limbo_lock._is_owned():
            threading._active_limbo_lock.release()
        handle = self.thread._handle
        lock = self.thread._started._cond._lock
        while handle.ident and not handle.is_done():
            # The thread waits for ever if start() was cut with its lock held.
            handle.join(0.1)
            if not handle.is_done() and lock.locked():
                lock.release()
        threading._limbo.pop(self.thread, None)


@construct('threading.local', breaks=False)
class _(Construct):
    def __init__(self):
        self.local = threading.local()

    def run(self):
        self.local.value = []
        try:
            work()
        finally:
            del self.local.value

    def is_broken(self):
        return hasattr(self.local, 'value')


@construct('Future.set_result', is_open=False)
class _(Construct):
    def __init__(self):
        self.future = concurrent.futures.Future()
        self.future.set_running_or_notify_cancel()

    def run(self):
        self.future.set_result('result')

    def is_broken(self):
        return self.future._condition._lock._is_owned()


@construct('logging.Handler.handle', is_open=False, breaks=False)
class _(Construct):
    def __init__(self):
        self.handler = logging.StreamHandler(io.StringIO())
        self.record = logging.makeLogRecord({'msg': 'message'})

    def run(self):
        self.handler.handle(self.record)

    def is_broken(self):
        return self.handler.lock._is_owned()

    def close(self):
        # Not forgotten, or logging.shutdown() would wait for it.
        logging._handlerList[:] = [ref for ref in logging._handlerList
                                   if ref() is not self.handler]


class LoggerConstruct(Construct):
    """A logger of its own, and handlers that the module forgets."""

    is_open = False

    def __init__(self):
        self.logger = logging.Logger('sweep')
        self.handlers = logging._handlerList[:]
        self.stream = io.StringIO()

    def is_broken(self):
        return logging._lock._is_owned()

    def close(self):
        while logging._lock._is_owned():
            logging._lock.release()
        logging._handlerList[:] = self.handlers


@construct('logging.Logger.info', breaks=False)
class _(LoggerConstruct):
    def __init__(self):
        super().__init__()
        self.handler = logging.StreamHandler(self.stream)
        self.logger.addHandler(self.handler)

    def run(self):
        self.logger.info('message')

    def is_broken(self):
        return (super().is_broken() or self.handler.lock._is_owned()
                or self.stream.getvalue() not in ('', 'message\n'))


@construct('logging.Logger.addHandler', breaks=False)
class _(LoggerConstruct):
    def run(self):
        self.logger.addHandler(logging.NullHandler())


@construct('logging.StreamHandler.setStream', breaks=False)
class _(LoggerConstruct):
    def __init__(self):
        super().__init__()
        self.first = io.StringIO()
        self.handler = logging.StreamHandler(self.first)

    def run(self):
        self.handler.setStream(self.stream)

    def is_broken(self):
        return super().is_broken() or self.handler.lock._is_owned()


@construct('logging.basicConfig', breaks=False)
class _(LoggerConstruct):
    def run(self):
        with support.swap_attr(logging, 'root', self.logger):
            logging.basicConfig(stream=self.stream)

    def is_broken(self):
        # It does nothing if there is a handler, so that one has to be whole.
        return super().is_broken() or any(
            handler.formatter is None for handler in self.logger.handlers)


@construct('logging.handlers.MemoryHandler', breaks=False)
class _(LoggerConstruct):
    def __init__(self):
        super().__init__()
        self.target = logging.StreamHandler(self.stream)
        self.handler = logging.handlers.MemoryHandler(2, target=self.target)
        self.first, self.second = (
            logging.makeLogRecord({'msg': msg, 'levelno': logging.INFO})
            for msg in ('first', 'second'))
        self.handler.handle(self.first)

    def run(self):
        self.handler.handle(self.second)

    def is_broken(self):
        kept = [record.msg for record in self.handler.buffer]
        written = self.stream.getvalue().split()
        return (super().is_broken() or self.handler.lock._is_owned()
                # Nothing is lost.
                or 'first' not in written + kept)

    def close(self):
        self.handler.buffer.clear()
        super().close()


@construct('logging.handlers.RotatingFileHandler')
class _(LoggerConstruct):
    NAMES = 'rotated.3', 'rotated.2', 'rotated.1', 'rotated'

    def __init__(self):
        super().__init__()
        # As many as there will be: none is old enough to be dropped.
        self.handler = logging.handlers.RotatingFileHandler(
            'rotated', maxBytes=1, backupCount=3)
        self.log('first', 'second')

    def log(self, *messages):
        for message in messages:
            self.handler.handle(logging.makeLogRecord({'msg': message}))

    def run(self):
        self.log('third')

    def is_broken(self):
        return self.handler.lock._is_owned() or super().is_broken()

    def is_broken_by(self, run):
        if self.is_broken():
            return True
        # It works on, and nothing that was written has gone or is in a file
        # with something else.
        self.log('fourth')
        found = []
        for name in self.NAMES:
            with contextlib.suppress(FileNotFoundError), open(name) as file:
                found.append(file.read())
        # There is no third one if the interrupt came before it was written.
        return list(filter(None, found)) not in (
            ['first\n', 'second\n', 'third\n', 'fourth\n'],
            ['first\n', 'second\n', 'fourth\n'])

    def close(self):
        with contextlib.suppress(ValueError):
            self.handler.close()
        for name in self.NAMES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        super().close()


@construct('unittest.TestCase.assertLogs')
class _(LoggerConstruct):
    is_open = True

    class Case(unittest.TestCase):
        def runTest(self):
            pass

    def __init__(self):
        super().__init__()
        self.case = self.Case()
        self.handler = logging.NullHandler()
        self.logger.addHandler(self.handler)

    def run(self):
        with self.case.assertLogs(self.logger):
            self.logger.info('message')
            work()

    def is_broken(self):
        return (super().is_broken() or not self.logger.propagate
                or self.logger.handlers != [self.handler])


# Context managers.

@construct('contextlib.contextmanager')
class _(Construct):
    def __init__(self):
        self.resource = Resource()

    @contextlib.contextmanager
    def manager(self):
        self.resource.open()
        try:
            yield
        finally:
            self.resource.close()

    def run(self):
        with self.manager():
            work()

    def is_broken(self):
        return self.resource.state != 'closed'


@construct('contextlib.contextmanager with exception')
class _(TABLE['contextlib.contextmanager']):
    errors = Failure

    def run(self):
        with self.manager():
            work()
            raise Failure


@construct('contextlib.ContextDecorator')
class _(Construct):
    class Decorator(Resource, contextlib.ContextDecorator):
        pass

    def __init__(self):
        self.resource = self.Decorator()
        self.function = self.resource(work)

    def run(self):
        self.function()

    def is_broken(self):
        return self.resource.state != 'closed'


@construct('contextlib.closing')
class _(Construct):
    used = False

    def __init__(self):
        self.resource = Resource()
        self.resource.open()

    def run(self):
        with contextlib.closing(self.resource):
            self.used = True
            work()

    def is_broken(self):
        return self.used and self.resource.state != 'closed'


@construct('contextlib.suppress', breaks=False)
class _(Construct):
    errors = Failure

    def run(self):
        with contextlib.suppress(Failure):
            work()
            raise Failure

    def is_broken(self):
        return False

    def is_broken_by(self, run):
        return run.error is not None


@construct('contextlib.nullcontext', breaks=False)
class _(Construct):
    def __init__(self):
        self.resource = Resource()

    def run(self):
        with contextlib.nullcontext(self.resource):
            work()

    def is_broken(self):
        return self.resource.state != 'closed'


@construct('contextlib.redirect_stdout')
class _(Construct):
    def __init__(self):
        self.stdout = sys.stdout
        self.target = io.StringIO()

    def run(self):
        with contextlib.redirect_stdout(self.target):
            work()

    def is_broken(self):
        return sys.stdout is not self.stdout

    def close(self):
        sys.stdout = self.stdout


@construct('contextlib.chdir')
class _(Construct):
    def __init__(self):
        self.home = os.getcwd()
        self.target = os.path.dirname(self.home)

    def run(self):
        with contextlib.chdir(self.target):
            work()

    def is_broken(self):
        return os.getcwd() != self.home

    def close(self):
        os.chdir(self.home)


class ExitStackConstruct(Construct):
    def __init__(self):
        self.resource = Resource()

    def is_broken(self):
        return self.resource.state != 'closed'


@construct('contextlib.ExitStack.enter_context')
class _(ExitStackConstruct):
    def run(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.resource)
            work()


@construct('contextlib.ExitStack.callback')
class _(ExitStackConstruct):
    def run(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self.resource.close)
            self.resource.state = 'open'
            stack.callback(step)
            work()


@construct('contextlib.ExitStack.close')
class _(ExitStackConstruct):
    def run(self):
        stack = contextlib.ExitStack()
        try:
            stack.callback(self.resource.close)
            self.resource.state = 'open'
            work()
        finally:
            stack.close()


@construct('contextlib.ExitStack.push')
class _(ExitStackConstruct):
    def run(self):
        with contextlib.ExitStack() as stack:
            stack.push(self.resource)
            self.resource.open()
            work()


@construct('contextlib.ExitStack.pop_all')
class _(ExitStackConstruct):
    def run(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.resource)
            with stack.pop_all():
                work()


@construct('contextlib.ExitStack with exception')
class _(ExitStackConstruct):
    errors = Failure

    def run(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.resource)
            stack.enter_context(Resource(error_in_exit=Failure))
            work()


@construct('contextlib.redirect_stderr')
class _(Construct):
    def __init__(self):
        self.stderr = sys.stderr
        self.target = io.StringIO()

    def run(self):
        with contextlib.redirect_stderr(self.target):
            work()

    def is_broken(self):
        return sys.stderr is not self.stderr

    def close(self):
        sys.stderr = self.stderr


@construct('warnings.catch_warnings')
class _(Construct):
    def __init__(self):
        self.filters = warnings.filters
        self.showwarning = warnings.showwarning

    def run(self):
        with warnings.catch_warnings(record=True):
            work()

    def is_broken(self):
        return (warnings.filters is not self.filters
                or warnings.showwarning is not self.showwarning)

    def close(self):
        warnings.filters = self.filters
        warnings.showwarning = self.showwarning
        warnings._filters_mutated()


@construct('unittest.mock.patch.object')
class _(Construct):
    attribute = 'original'

    def run(self):
        with unittest.mock.patch.object(self, 'attribute', 'patched'):
            work()

    def is_broken(self):
        return self.attribute != 'original' or 'attribute' in vars(self)


@construct('unittest.mock.patch.dict')
class _(Construct):
    def __init__(self):
        self.dict = {'key': 'original'}

    def run(self):
        with unittest.mock.patch.dict(self.dict, key='patched', other=1):
            work()

    def is_broken(self):
        return self.dict != {'key': 'original'}


@construct('unittest.mock.patch')
class _(Construct):
    def __init__(self):
        self.original = contextlib.nullcontext

    def run(self):
        with unittest.mock.patch('contextlib.nullcontext') as patched:
            patched()
            work()

    def is_broken(self):
        return contextlib.nullcontext is not self.original

    def close(self):
        contextlib.nullcontext = self.original


@construct('unittest.mock.patch.multiple')
class _(Construct):
    first = 'first'
    second = 'second'

    def run(self):
        with unittest.mock.patch.multiple(self, first=1, second=2):
            work()

    def is_broken(self):
        return (self.first, self.second) != ('first', 'second')


@construct('unittest.mock.patch.object as a decorator')
class _(TABLE['unittest.mock.patch.object']):
    def run(self):
        @unittest.mock.patch.object(self, 'attribute', 'patched')
        def patched():
            work()
        patched()


@construct('unittest.mock.patch.object, start and stop')
class _(TABLE['unittest.mock.patch.object']):
    def run(self):
        patcher = unittest.mock.patch.object(self, 'attribute', 'patched')
        patcher.start()
        try:
            work()
        finally:
            patcher.stop()

    def is_broken(self):
        return super().is_broken() or unittest.mock._patch._active_patches

    def close(self):
        unittest.mock._patch._active_patches.clear()


class CaseConstruct(Construct):
    """A test that is run and cleaned up."""

    class Case(unittest.TestCase):
        def setUp(self):
            self.addCleanup(self.resource.close)
            self.resource.open()

        def runTest(self):
            work()

    def __init__(self):
        self.case = self.Case()
        self.case.resource = self.resource = Resource()

    def run(self):
        # As debug() does; run() notes some exceptions as results.
        try:
            self.case.setUp()
            self.case.runTest()
        finally:
            self.case.doCleanups()

    def is_broken(self):
        return self.resource.state != 'closed'


@construct('unittest.TestCase.addCleanup')
class _(CaseConstruct):
    pass


@construct('unittest.TestCase.enterContext')
class _(CaseConstruct):
    class Case(unittest.TestCase):
        def setUp(self):
            self.enterContext(self.resource)

        def runTest(self):
            work()


@construct('unittest.TestCase.run, then clean up')
class _(CaseConstruct):
    is_open = True

    class Case(CaseConstruct.Case):
        def setUp(self):
            self.addCleanup(self.resource.close)
            self.resource.open()

        def tearDown(self):
            self.torn_down = True

    def run(self):
        try:
            self.case.run()
        finally:
            self.case.doCleanups()


@construct('unittest.TestCase.doClassCleanups', is_open=False)
class _(CaseConstruct):
    def __init__(self):
        super().__init__()
        self.resource.open()
        self.add(self.resource.close)
        self.add(step)

    def add(self, function):
        self.Case.addClassCleanup(function)

    def do(self):
        self.Case.doClassCleanups()

    def run(self):
        self.do()

    def is_broken(self):
        # What has not been called is still there.
        self.do()
        return super().is_broken()


@construct('unittest.doModuleCleanups')
class _(TABLE['unittest.TestCase.doClassCleanups']):
    def add(self, function):
        unittest.addModuleCleanup(function)

    def do(self):
        unittest.doModuleCleanups()


@construct('unittest.TestCase.assertWarns')
class _(TABLE['warnings.catch_warnings']):
    Case = CaseConstruct.Case

    def run(self):
        with self.Case().assertWarns(UserWarning):
            warnings.warn('warning')
            work()


@construct('test.support.swap_attr')
class _(Construct):
    attribute = 'original'

    def run(self):
        with support.swap_attr(self, 'attribute', 'swapped'):
            work()

    def is_broken(self):
        return self.attribute != 'original'


@construct('decimal.localcontext', breaks=False)
class _(Construct):
    def __init__(self):
        self.precision = decimal.getcontext().prec

    def run(self):
        with decimal.localcontext(prec=3):
            work()

    def is_broken(self):
        return decimal.getcontext().prec != self.precision

    def close(self):
        decimal.getcontext().prec = self.precision


# Files and folders.

class FolderConstruct(Construct):
    """One that leaves files."""

    def __init__(self):
        self.folder = os.path.abspath('empty')
        os.mkdir(self.folder)

    def is_broken(self):
        return os.listdir(self.folder) != []

    def close(self):
        shutil.rmtree(self.folder)


@construct('tempfile.TemporaryDirectory')
class _(FolderConstruct):
    def run(self):
        with tempfile.TemporaryDirectory(dir=self.folder):
            work()


@construct('tempfile.TemporaryDirectory, leaving')
class _(FolderConstruct):
    def __init__(self):
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory(dir=self.folder)
        self.entered = False

    def run(self):
        with self.temporary:
            self.entered = True
            work()

    def is_broken(self):
        return self.entered and super().is_broken()

    def close(self):
        self.temporary.cleanup()
        super().close()


class DescriptorConstruct(FolderConstruct):
    """One that leaves neither files nor descriptors."""

    def __init__(self):
        super().__init__()
        self.descriptor = self.next_descriptor()

    @staticmethod
    def next_descriptor():
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    def has_open_file(self):
        if self.next_descriptor() == self.descriptor:
            return False
        # It may be part of a cycle.
        support.gc_collect()
        return self.next_descriptor() != self.descriptor

    def is_broken(self):
        return self.has_open_file() or super().is_broken()

    def close(self):
        while self.next_descriptor() != self.descriptor:
            os.close(self.descriptor)
        super().close()


@construct('tempfile.NamedTemporaryFile')
class _(DescriptorConstruct):
    def run(self):
        with tempfile.NamedTemporaryFile(dir=self.folder):
            work()


@construct('tempfile.TemporaryFile')
class _(DescriptorConstruct):
    def run(self):
        with tempfile.TemporaryFile(dir=self.folder):
            work()


@construct('tempfile.SpooledTemporaryFile')
class _(DescriptorConstruct):
    def run(self):
        with tempfile.SpooledTemporaryFile(1, dir=self.folder) as self.file:
            self.file.write(b'data')
            work()


@construct('tempfile.SpooledTemporaryFile, what it holds', breaks=False)
class _(DescriptorConstruct):
    def __init__(self):
        super().__init__()
        self.file = tempfile.SpooledTemporaryFile(4, dir=self.folder)
        self.file.write(b'data')

    is_open = False

    def run(self):
        self.file.rollover()

    def is_broken(self):
        self.file.seek(0)
        return self.file.read() != b'data'

    def close(self):
        self.file.close()
        super().close()


@construct('tempfile.mkstemp, then try')
class _(DescriptorConstruct):
    def run(self):
        descriptor, name = tempfile.mkstemp(dir=self.folder)
        try:
            work()
        finally:
            os.close(descriptor)
            os.unlink(name)


@construct('tempfile.mkdtemp, then try')
class _(DescriptorConstruct):
    def run(self):
        name = tempfile.mkdtemp(dir=self.folder)
        try:
            work()
        finally:
            shutil.rmtree(name)


# Of these, what they were given has to be there afterwards, and what they
# have made is whole or not there.

class FileConstruct(DescriptorConstruct):
    """One that changes a file."""

    def __init__(self):
        super().__init__()
        self.name = os.path.join(self.folder, 'file')
        self.make_file()
        self.descriptor = self.next_descriptor()

    def make_file(self):
        """Write what is there before."""

    # What has_lost() raises if the file is no such file any more.
    unreadable = ()

    def has_lost(self):
        """Whether something of that cannot be read any more."""
        raise NotImplementedError

    def is_broken(self):
        try:
            return self.has_open_file() or self.has_lost()
        except self.unreadable:
            return True


class ZipConstruct(FileConstruct):
    unreadable = zipfile.BadZipFile

    def make_file(self):
        with zipfile.ZipFile(self.name, 'w') as archive:
            archive.writestr('first', 'data')

    def has_lost(self):
        with zipfile.ZipFile(self.name) as archive:
            return (archive.testzip() is not None
                    or archive.read('first') != b'data')


@construct('zipfile.ZipFile')
class _(ZipConstruct):
    def run(self):
        with zipfile.ZipFile(self.name) as self.archive:
            self.archive.read('first')
            work()


@construct('zipfile.ZipFile.open')
class _(ZipConstruct):
    def run(self):
        with zipfile.ZipFile(self.name) as self.archive:
            with self.archive.open('first') as self.member:
                self.member.read()
                work()


@construct('zipfile.ZipFile.writestr')
class _(ZipConstruct):
    def run(self):
        with zipfile.ZipFile(self.name, 'a') as self.archive:
            self.archive.writestr('second', 'data')
            work()


@construct('zipfile.ZipFile.open to write')
class _(ZipConstruct):
    def run(self):
        with zipfile.ZipFile(self.name, 'a') as self.archive:
            with self.archive.open('second', 'w') as self.member:
                self.member.write(b'data')
                work()


@construct('zipfile.ZipFile.mkdir')
class _(ZipConstruct):
    def run(self):
        with zipfile.ZipFile(self.name, 'a') as self.archive:
            self.archive.mkdir('folder')
            work()


class TarConstruct(FileConstruct):
    unreadable = tarfile.ReadError
    kind = ''

    def add(self, archive, name):
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b'data'))

    def make_file(self):
        with tarfile.open(self.name, f'w:{self.kind}') as archive:
            self.add(archive, 'first')

    def has_lost(self):
        with tarfile.open(self.name) as archive:
            return archive.extractfile('first').read() != b'data'


@construct('tarfile.open')
class _(TarConstruct):
    def run(self):
        with tarfile.open(self.name) as self.archive:
            self.archive.getmembers()
            work()


@construct('tarfile.open of a compressed file')
class _(TarConstruct):
    kind = 'gz'

    def run(self):
        with tarfile.open(self.name) as self.archive:
            self.archive.getmembers()
            work()


@construct('tarfile.TarFile.addfile')
class _(TarConstruct):
    def run(self):
        with tarfile.open(self.name, 'a') as self.archive:
            self.add(self.archive, 'second')
            work()


@construct('tarfile.TarFile.extractall')
class _(TarConstruct):
    def run(self):
        with tarfile.open(self.name) as self.archive:
            self.archive.extractall(self.folder, filter='data')
            work()


class ShelfConstruct(Construct):
    class Database(dict):
        closed = False

        def close(self):
            self.closed = True

    def __init__(self):
        self.database = self.Database()
        self.open()['first'] = ['data']

    def open(self, **options):
        # Kept, so that it is not closed once more at the end of run().
        self.shelf = shelve.Shelf(self.database, **options)
        return self.shelf

    def is_broken(self):
        closed = isinstance(self.shelf.dict, shelve._ClosedDict)
        return (closed and not self.database.closed
                or self.open()['first'] not in (['data'], ['data', 'more']))


@construct('shelve.Shelf')
class _(ShelfConstruct):
    def run(self):
        with self.open() as shelf:
            shelf['second'] = ['data']
            work()


@construct('shelve.Shelf that writes back')
class _(ShelfConstruct):
    def run(self):
        with self.open(writeback=True) as shelf:
            shelf['second'] = ['data']
            shelf['first'].append('more')
            work()


@construct('shelve.Shelf.sync', is_open=False, breaks=False)
class _(Construct):
    def __init__(self):
        self.database = {}
        self.shelf = shelve.Shelf(self.database, writeback=True)
        self.shelf['first'] = ['data']
        self.shelf['second'] = ['data']
        self.shelf['first'].append('more')
        self.shelf['second'].append('more')

    def run(self):
        self.shelf.sync()

    def is_broken(self):
        # What has been changed is or will be written.
        self.shelf.sync()
        reader = shelve.Shelf(self.database)
        return not self.shelf.writeback or any(
            reader[key] != ['data', 'more'] for key in ('first', 'second'))


class DatabaseConstruct(Construct):
    def __init__(self):
        self.connection = sqlite3.connect(':memory:')
        self.connection.execute('create table numbers (number)')
        self.connection.commit()

    def insert(self):
        for number in range(2):
            self.connection.execute('insert into numbers values (?)', [number])

    def is_broken(self):
        count, = self.connection.execute('select count(*) from numbers')
        return self.connection.in_transaction or count[0] not in (0, 2)

    def close(self):
        self.connection.close()


@construct('sqlite3.Connection')
class _(DatabaseConstruct):
    breaks = False

    def run(self):
        with self.connection:
            self.insert()
            work()


@construct('sqlite3.Connection with exception')
class _(DatabaseConstruct):
    breaks = False
    errors = Failure

    def run(self):
        with self.connection:
            self.insert()
            work()
            raise Failure


@construct('sqlite3.Connection, then try')
class _(DatabaseConstruct):
    def run(self):
        self.connection.execute('begin')
        try:
            self.insert()
            work()
        except BaseException:
            self.connection.rollback()
            raise
        else:
            self.connection.commit()


class CallbackConstruct(DatabaseConstruct):
    """Python code that SQLite calls: an interrupt is not its error."""

    # It must not get lost with masks off either.
    breaks = False

    def callback(self, *args):
        work()
        return 0

    def set_up(self):
        self.connection.create_function('callback', 0, self.callback)

    def __init__(self):
        super().__init__()
        self.set_up()

    def run(self):
        self.connection.execute('select callback()').fetchall()


@construct('sqlite3.Connection.create_function')
class _(CallbackConstruct):
    pass


@construct('sqlite3.Connection.create_aggregate')
class _(CallbackConstruct):
    class Aggregate:
        def step(self, value):
            work()

        def finalize(self):
            return 0

    def set_up(self):
        self.connection.create_aggregate('callback', 1, self.Aggregate)
        self.insert()
        self.connection.commit()

    def run(self):
        self.connection.execute(
            'select callback(number) from numbers').fetchall()


@construct('sqlite3.Connection.create_collation', is_open=False)
class _(CallbackConstruct):
    def set_up(self):
        self.connection.create_collation('callback', self.callback)
        self.insert()
        self.connection.commit()

    def run(self):
        self.connection.execute(
            'select * from numbers '
            'order by cast(number as text) collate callback').fetchall()


@construct('sqlite3.Connection.set_authorizer')
class _(CallbackConstruct):
    def set_up(self):
        self.connection.set_authorizer(self.callback)

    def run(self):
        self.connection.execute('select * from numbers').fetchall()

    def close(self):
        self.connection.set_authorizer(None)
        super().close()

    def is_broken(self):
        self.connection.set_authorizer(None)
        return super().is_broken()


@construct('sqlite3.Connection.set_progress_handler')
class _(CallbackConstruct):
    def set_up(self):
        self.connection.set_progress_handler(self.callback, 1)

    def run(self):
        self.connection.execute('select * from numbers').fetchall()

    def is_broken(self):
        self.connection.set_progress_handler(None, 1)
        return super().is_broken()


@construct('sqlite3.Connection.set_trace_callback')
class _(CallbackConstruct):
    def set_up(self):
        self.connection.set_trace_callback(self.callback)

    def run(self):
        self.connection.execute('select * from numbers').fetchall()

    def is_broken(self):
        self.connection.set_trace_callback(None)
        return super().is_broken()


@construct('zipfile.ZipFile.close')
class _(ZipConstruct):
    is_open = False

    def __init__(self):
        super().__init__()
        self.archive = zipfile.ZipFile(self.name, 'a')
        self.archive.writestr('second', 'data')

    def run(self):
        self.archive.close()

    def is_broken(self):
        # If it was cut, it can be done again.
        self.archive.close()
        return super().is_broken()


class CompressedConstruct(FileConstruct):
    module = None

    def make_file(self):
        with self.module.open(self.name, 'wb') as file:
            file.write(b'data')

    def has_lost(self):
        with self.module.open(self.name) as file:
            return file.read() != b'data'

    def run(self):
        with self.module.open(self.name) as file:
            file.read()
            work()


@construct('gzip.open', module=gzip, breaks=False)
class _(CompressedConstruct):
    pass


@construct('bz2.open', module=bz2, breaks=False)
class _(CompressedConstruct):
    pass


@construct('lzma.open', module=lzma, breaks=False)
class _(CompressedConstruct):
    pass


@construct('open of a text file', breaks=False)
class _(FileConstruct):
    def make_file(self):
        with open(self.name, 'w') as file:
            file.write('data')

    def has_lost(self):
        with open(self.name) as file:
            return not file.read().startswith('data')

    def run(self):
        with open(self.name, 'a') as file:
            file.write('more')
            work()


# What is dropped while it is open warns, and closes itself.

class DroppedConstruct(DescriptorConstruct):
    def make(self):
        raise NotImplementedError

    def __init__(self):
        super().__init__()
        self.dropped = [self.make()]

    def run(self):
        self.dropped.clear()
        work()

    def is_broken(self):
        # Interrupted before it was dropped, it is still open.
        self.dropped.clear()
        return super().is_broken()


@construct('socket that is dropped')
class _(DroppedConstruct):
    make = socket.socket


@construct('os.scandir that is dropped')
class _(DroppedConstruct):
    make = os.scandir


@construct('sqlite3.Connection that is dropped', breaks=False)
class _(DroppedConstruct):
    def make(self):
        return sqlite3.connect(':memory:')


# What else is switched on and off.

@construct('cProfile.Profile')
class _(Construct):
    def __init__(self):
        self.profile = cProfile.Profile()

    def run(self):
        with self.profile:
            work()

    def is_broken(self):
        return sys.monitoring.get_tool(sys.monitoring.PROFILER_ID) is not None

    def close(self):
        self.profile.disable()


@construct('weakref.WeakSet')
class _(Construct):
    class Element:
        pass

    def __init__(self):
        self.elements = [self.Element(), self.Element()]
        self.set = weakref.WeakSet(self.elements)

    def run(self):
        for element in self.set:
            work()

    def is_broken(self):
        return len(self.set._iterating) > 0


# Imports.

class ImportConstruct(Construct):
    is_open = False

    def __init__(self):
        self.forget_modules()

    def forget_modules(self):
        for name in MODULES:
            sys.modules.pop(name, None)

    def is_broken(self):
        return _imp.lock_held() or any(
            name in sys.modules and not hasattr(sys.modules[name], 'finished')
            for name in MODULES)

    def close(self):
        while _imp.lock_held():
            _imp.release_lock()
        self.forget_modules()


@construct('import of a module')
class _(ImportConstruct):
    def run(self):
        import sweep_module


@construct('import of a submodule')
class _(ImportConstruct):
    def run(self):
        import sweep_package.inner

    def is_broken(self):
        # A submodule that is imported, but is no attribute of its package,
        # stays so.
        return super().is_broken() or (
            'sweep_package' in sys.modules
            and 'sweep_package.inner' in sys.modules
            and not hasattr(sys.modules['sweep_package'], 'inner'))


@construct('importlib.import_module')
class _(ImportConstruct):
    def run(self):
        importlib.import_module('sweep_package.inner')


@construct('importlib.reload')
class _(ImportConstruct):
    def __init__(self):
        super().__init__()
        self.module = importlib.import_module('sweep_imported')

    def run(self):
        importlib.reload(self.module)

    def is_broken(self):
        return (sys.modules.get('sweep_imported') is not self.module
                or 'sweep_imported' in importlib._RELOADING)

    def close(self):
        importlib._RELOADING.clear()
        super().close()


@construct('importlib.resources.as_file')
class _(DescriptorConstruct):
    def run(self):
        files = importlib.resources.files(unittest.mock)
        with importlib.resources.as_file(files):
            work()

    breaks = False


@construct('runpy.run_module')
class _(ImportConstruct):
    def __init__(self):
        super().__init__()
        self.argv = sys.argv[0]
        self.main = sys.modules['__main__']

    def run(self):
        runpy.run_module('sweep_imported', run_name='__main__',
                         alter_sys=True)

    def is_broken(self):
        return (super().is_broken() or sys.argv[0] != self.argv
                or sys.modules['__main__'] is not self.main)

    def close(self):
        sys.argv[0] = self.argv
        sys.modules['__main__'] = self.main
        super().close()


class ConstructTests(TableTests, unittest.TestCase):
    table = TABLE
    file = __file__


if __name__ == '__main__':
    if sys.argv[1:2] == ['report']:
        report(TABLE, sys.argv[2:])
    else:
        unittest.main()
