"""Interrupted at each check point, the library leaves nothing broken.

A table of what programs do with the library's modules; the language itself is
in test_interrupt_sweep.
"""

import _imp
import asyncio
import concurrent.futures
import contextlib
import decimal
import io
import logging
import os
import py_compile
import queue
import shutil
import signal
import sys
import tempfile
import threading
import unittest
import unittest.mock
import warnings

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


TABLE = Table(
    known_open={
        'queue.Queue.get':
            'the caller does not guard what it gets, so it is lost if the '
            'interrupt comes when get() returns',
    },
    setups=[importable_modules],
)
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


@construct('queue.Queue.get')
class _(QueueConstruct):
    item = None

    def run(self):
        self.item = self.queue.get()

    def is_broken(self):
        return (self.lock_is_held()
                or (self.item is None and len(self.queue.queue) != 1))


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


@construct('tempfile.NamedTemporaryFile')
class _(FolderConstruct):
    def __init__(self):
        super().__init__()
        self.descriptor = self.next_descriptor()

    @staticmethod
    def next_descriptor():
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    def run(self):
        with tempfile.NamedTemporaryFile(dir=self.folder):
            work()

    def is_broken(self):
        return (super().is_broken()
                or self.next_descriptor() != self.descriptor)

    def close(self):
        if self.next_descriptor() != self.descriptor:
            os.close(self.descriptor)
        super().close()


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


class ConstructTests(TableTests, unittest.TestCase):
    table = TABLE
    file = __file__


if __name__ == '__main__':
    if sys.argv[1:2] == ['report']:
        report(TABLE, sys.argv[2:])
    else:
        unittest.main()
