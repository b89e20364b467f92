"""Interrupted at each check point, constructs leave nothing broken.

test.support.interrupt_sweep cuts a function at one check point after the
other.  Here this is done to a table of what the language is made of;
test_interrupt_library has one of the library.

That mistakes in the masks are found is shown by making them: every kind of NIT
and TIT is taken out of the bytecode of a function in turn, and every place
where the interpreter asks again about what waits is switched off in turn.

The promises are written down in InternalDocs/interrupt_masking.md.
"""

import _interrupts
import _thread
import asyncio
import collections
import contextlib
import dis
import functools
import gc
import io
import itertools
import operator
import os
import signal
import sys
import tempfile
import threading
import types
import unittest
import unittest.mock
import warnings
import weakref

try:
    import ctypes
except ImportError:
    ctypes = None

from test import support
from test.support import (
    interrupt_sweep, os_helper, threading_helper)
from test.support.interrupt_constructs import (
    AsyncResource, Construct, Failure, LockClass, Resource, Table, TableTests,
    exhaust, report, step, suspend, work)
from test.support.interrupt_sweep import (
    KINDS, Interrupt, SweepError, drain, masking_instructions, suppressing,
    sweep)

if not hasattr(signal, 'SIGUSR1'):
    raise unittest.SkipTest('needs SIGUSR1')


TABLE = Table()
construct = TABLE.construct


# Locks.

@construct('lock class in Python')
class _(Construct):
    def __init__(self):
        self.lock = LockClass()

    def run(self):
        with self.lock:
            work()

    def is_broken(self):
        return self.lock.is_held()


@construct('_thread.lock', breaks=False)
class _(Construct):
    def __init__(self):
        self.lock = threading.Lock()

    def run(self):
        with self.lock:
            work()

    def is_broken(self):
        return self.lock.locked()


@construct('_thread.RLock', breaks=False)
class _(Construct):
    def __init__(self):
        self.lock = threading.RLock()

    def run(self):
        with self.lock:
            with self.lock:
                work()

    def is_broken(self):
        return self.lock._is_owned()


# Each way to leave the body of `with`.


def with_fall_through(resource):
    with resource:
        work()


def with_as(resource):
    with resource as target:
        work()
    return target


def with_return_constant(resource):
    with resource:
        work()
        return 'value'


def with_return_value(resource):
    with resource:
        return work()


def with_break(resource):
    for _ in range(2):
        with resource:
            work()
            break


def with_continue(resource):
    for _ in range(2):
        with resource:
            work()
            continue


def with_exception(resource):
    with resource:
        work()
        raise Failure


def with_exception_suppressed(resource):
    resource.suppress = True
    with resource:
        work()
        raise Failure


def with_enter_raises(resource):
    resource.error_in_enter = Failure
    with resource:
        assert False, 'not reached'


with_enter_raises.is_open = False


def with_exit_raises(resource):
    resource.error_in_exit = Failure
    with resource:
        work()


def with_exit_raises_handled(resource):
    resource.error_in_exit = Failure
    try:
        with resource:
            step()
    except Failure:
        work()


def with_in_handler(resource):
    try:
        raise Failure
    except Failure:
        with resource:
            work()


def with_in_finally(resource):
    try:
        work()
    finally:
        with resource:
            step()


def with_nested(resource):
    with resource:
        step()
        with Resource():
            work()


def with_inner(resource):
    with Resource():
        step()
        with resource:
            work()


def with_first_item(resource):
    with resource, Resource():
        work()


def with_second_item(resource):
    with Resource(), resource:
        work()


def with_parenthesised_items(resource):
    with (
        Resource() as a,
        resource as b,
        Resource() as c,
    ):
        work()
    return a, b, c


def open_within(resource):
    with resource:
        work()
    return Resource()


def with_in_item(resource):
    with open_within(resource):
        work()


def with_while(resource):
    left = 3
    with resource:
        while left:
            work()
            left -= 1


def with_for_and_if(resource):
    with resource:
        work()
        # No calls: the jump back is the check point.
        for number in 1, 2, 3:
            if number < 0:
                step()


def with_comprehension_and_if(resource):
    with resource:
        work()
        return [number for number in (1, 2, 3) if number > 1]


def with_while_and_if(resource):
    left = 3
    with resource:
        work()
        while left:
            left -= 1
            if left < 0:
                step()


def with_recursion(resource, depth=3):
    if depth:
        with Resource():
            with_recursion(resource, depth - 1)
    else:
        with resource:
            work()


def with_in_class_body(resource):
    class Namespace:
        with resource:
            work()


MODULE_CODE = compile('with resource:\n  work()', __file__, 'exec')


class WithConstruct(Construct):
    errors = Failure
    function = None

    def __init__(self):
        self.resource = Resource()

    def run(self):
        self.function(self.resource)

    def is_broken(self):
        return self.resource.state != 'closed'


def register_paths(base, prefix):
    for name, function in list(globals().items()):
        if name.startswith(prefix):
            construct(name.replace('_', ' '))(type(base.__name__, (base,), {
                'function': staticmethod(function),
                'is_open': getattr(function, 'is_open', True),
            }))


@construct('with at module level')
class _(WithConstruct):
    def run(self):
        exec(MODULE_CODE, {'resource': self.resource, 'work': work})


register_paths(WithConstruct, 'with_')


# Each way to run a `finally` body.


class Steps:
    """Something that is cleaned up in several steps: all of them, or none."""

    COUNT = 3

    def __init__(self):
        self.opened = False
        self.done = 0

    def first(self):
        step()
        self.done += 1

    second = third = first

    def is_broken(self):
        return self.opened and (self.done == 0 or self.done % self.COUNT != 0)


# `opened` is set first in the `try` body, and nothing before it can be
# interrupted: if it is set, the `finally` body has to run.


def finally_fall_through(steps):
    try:
        steps.opened = True
        work()
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_return_constant(steps):
    try:
        steps.opened = True
        work()
        return 'value'
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_return_value(steps):
    try:
        steps.opened = True
        return work()
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_return_early(steps):
    try:
        steps.opened = True
        if work() is None:
            return 'early'
        return 'late'
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_break(steps):
    for _ in range(2):
        try:
            steps.opened = True
            work()
            break
        finally:
            steps.first()
            steps.second()
            steps.third()


def finally_continue(steps):
    for _ in range(2):
        try:
            steps.opened = True
            work()
            continue
        finally:
            steps.first()
            steps.second()
            steps.third()


def finally_exception(steps):
    try:
        steps.opened = True
        work()
        raise Failure
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_handled(steps):
    try:
        steps.opened = True
        raise Failure
    except Failure:
        work()
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_return_in_handler(steps):
    try:
        steps.opened = True
        raise Failure
    except Failure:
        work()
        return 'value'
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_handler_raises(steps):
    try:
        steps.opened = True
        raise Failure
    except Failure:
        work()
        raise
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_handled_group(steps):
    try:
        steps.opened = True
        raise ExceptionGroup('', [Failure()])
    except* Failure:
        work()
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_else(steps):
    try:
        steps.opened = True
    except Failure:
        pass
    else:
        work()
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_returns(steps):
    try:
        steps.opened = True
        raise Failure
    finally:
        steps.first()
        steps.second()
        steps.third()
        return 'value'


def finally_breaks(steps):
    while True:
        try:
            steps.opened = True
            raise Failure
        finally:
            steps.first()
            steps.second()
            steps.third()
            break


# The two drop an interrupt in the `try` body, so they do no work there.
finally_returns.is_open = finally_breaks.is_open = False


def finally_after_while(steps):
    left = 3
    try:
        steps.opened = True
        while left:
            work()
            left -= 1
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_after_for_and_if(steps):
    try:
        steps.opened = True
        work()
        for number in 1, 2, 3:
            if number < 0:
                work()
    finally:
        steps.first()
        steps.second()
        steps.third()


def finally_with_loop(steps):
    try:
        steps.opened = True
        work()
    finally:
        for _ in range(steps.COUNT):
            steps.first()


def finally_with_comprehension(steps):
    try:
        steps.opened = True
        work()
    finally:
        [close() for close in (steps.first, steps.second, steps.third)]


def finally_nested(steps):
    try:
        steps.opened = True
        try:
            work()
        finally:
            steps.first()
            steps.second()
    finally:
        steps.third()


def finally_in_finally(steps):
    try:
        steps.opened = True
        work()
    finally:
        try:
            steps.first()
        finally:
            steps.second()
            steps.third()


def finally_return_through_two(steps):
    try:
        steps.opened = True
        try:
            return work()
        finally:
            steps.first()
    finally:
        steps.second()
        steps.third()


def finally_in_callee(steps):
    try:
        steps.opened = True
        work()
    finally:
        finally_fall_through(Steps())
        steps.first()
        steps.second()
        steps.third()


class FinallyConstruct(Construct):
    errors = Failure
    function = None

    def __init__(self):
        self.steps = Steps()

    def run(self):
        self.function(self.steps)

    def is_broken(self):
        return self.steps.is_broken()


register_paths(FinallyConstruct, 'finally_')


@construct('finally with a call')
class _(Construct):
    class Resource:
        def __init__(self):
            self.opened = False

        def flush(self):
            pass

        def close(self):
            self.flush()
            self.opened = False

    def __init__(self):
        self.resource = self.Resource()

    def run(self):
        try:
            self.resource.opened = True
            work()
        finally:
            self.resource.close()

    def is_broken(self):
        return self.resource.opened


# Values in flight: what a call has acquired, on its way to what guards it.

class LockConstruct(Construct):
    def __init__(self):
        self.lock = threading.Lock()

    def is_broken(self):
        return self.lock.locked()


@construct('acquire, then try')
class _(LockConstruct):
    def run(self):
        work()
        self.lock.acquire()
        try:
            work()
        finally:
            self.lock.release()


@construct('if acquire with a timeout, then try')
class _(LockConstruct):
    def run(self):
        if self.lock.acquire(timeout=5):
            try:
                work()
            finally:
                self.lock.release()


@construct('while not acquire, then try')
class _(LockConstruct):
    def run(self):
        while not self.lock.acquire(False):
            work()
        try:
            work()
        finally:
            self.lock.release()


@construct('acquire into an attribute, then try')
class _(LockConstruct):
    def run(self):
        self.taken = self.lock.acquire()
        try:
            work()
        finally:
            self.lock.release()


@construct('acquire into a subscript, then try')
class _(LockConstruct):
    def run(self):
        taken = {}
        taken['lock'] = self.lock.acquire()
        try:
            work()
        finally:
            self.lock.release()


@construct('acquire with a walrus, then try')
class _(LockConstruct):
    def run(self):
        if (taken := self.lock.acquire()) is not None:
            try:
                work()
            finally:
                self.lock.release()


@construct('functions that return what they acquired, then try')
class _(LockConstruct):
    def acquire(self):
        return self.lock.acquire()

    def deep(self):
        return self.acquire()

    def run(self):
        self.deep()
        try:
            work()
        finally:
            self.lock.release()


@construct('a function called from C that returns what it acquired, then try')
class _(LockConstruct):
    def acquire(self, *args):
        return self.lock.acquire()

    def run(self):
        functools.partial(self.acquire, 1)()
        try:
            work()
        finally:
            self.lock.release()


@construct('a function that acquires, then with')
class _(LockConstruct):
    def make(self):
        self.lock.acquire()
        return self

    def __enter__(self):
        work()

    def __exit__(self, *exc_info):
        self.lock.release()

    def run(self):
        with self.make():
            work()


class DescriptorConstruct(Construct):
    """Broken if a file descriptor is left."""

    def __init__(self):
        self.before = os_helper.fd_count()

    def is_broken(self):
        return os_helper.fd_count() != self.before


@construct('os.open, then try')
class _(DescriptorConstruct):
    def run(self):
        fd = os.open(os.devnull, os.O_RDONLY)
        try:
            work()
        finally:
            os.close(fd)


@construct('os.pipe into two names, then try')
class _(DescriptorConstruct):
    def run(self):
        work()
        r, w = os.pipe()
        try:
            work()
        finally:
            os.close(r)
            os.close(w)


@construct('os.open in __init__, then try')
class _(DescriptorConstruct):
    class File:
        def __init__(self):
            self.fd = os.open(os.devnull, os.O_RDONLY)

    def run(self):
        file = self.File()
        try:
            work()
        finally:
            os.close(file.fd)


@construct('os.open in __enter__')
class _(DescriptorConstruct):
    class File:
        def __enter__(self):
            self.fd = os.open(os.devnull, os.O_RDONLY)

        def __exit__(self, *exc_info):
            os.close(self.fd)

    def run(self):
        with self.File():
            work()


@construct('return of what was taken in with')
class _(Construct):
    def __init__(self):
        self.lock = threading.Lock()
        self.items = ['item']

    def take(self):
        with self.lock:
            return self.items.pop()

    def run(self):
        item = self.take()
        try:
            work()
        finally:
            self.items.append(item)

    def is_broken(self):
        return self.items != ['item'] or self.lock.locked()


# What the interpreter calls by itself.  With masks off, what an interrupt raises in
# there is reported as unraisable.

class Target:
    """What is dropped."""


class CalledByItself(Construct):
    """clean_up() is called when the target is gone, by somebody who could not
    catch anything.
    """

    def __init__(self):
        self.resource = Resource()
        self.resource.state = 'open'
        self.target = self.make()
        self.alive = weakref.ref(self.target)

    def make(self):
        return Target()

    def clean_up(self, *args):
        step()
        self.resource.close()
        step()

    def run(self):
        work()
        del self.target
        work()

    def is_broken(self):
        # The traceback of an interrupt can keep the target alive.
        return self.resource.state != ('open' if self.alive() else 'closed')


@construct('__del__')
class WithDel(CalledByItself):
    def make(self):
        class Owner:
            def __del__(owner):
                self.clean_up()
        return Owner()


@construct('__del__ of what a function leaves behind')
class _(WithDel):
    def use(self, target):
        work()

    def run(self):
        self.use(self.__dict__.pop('target'))
        work()


@construct('__del__ of what C code drops')
class _(WithDel):
    def make(self):
        target = super().make()
        self.list = [target]
        return target

    def run(self):
        del self.target
        work()
        self.list.clear()
        work()


@construct('__del__ of what is collected')
class _(WithDel):
    def run(self):
        self.target.cycle = self.target
        work()
        del self.target
        gc.collect()
        work()


@construct('__del__ that opens its scopes')
class _(WithDel):
    # `interrupts` opens no region of the interpreter's own.
    def clean_up(self):
        with threading.interrupts():
            step()
        self.resource.close()


@construct('weakref callback')
class _(CalledByItself):
    def make(self):
        target = Target()
        self.reference = weakref.ref(target, self.clean_up)
        return target


@construct('weakref callback of what is collected')
class _(TABLE['weakref callback']):
    def run(self):
        self.target.cycle = self.target
        work()
        del self.target
        gc.collect()
        work()


@construct('weakref.finalize')
class _(CalledByItself):
    def make(self):
        target = Target()
        self.finalizer = weakref.finalize(target, self.clean_up)
        return target

    def close(self):
        self.finalizer.detach()


@construct('weakref.WeakValueDictionary')
class _(CalledByItself):
    def make(self):
        self.values = weakref.WeakValueDictionary()
        self.values['key'] = target = Target()
        return target

    def is_broken(self):
        # Not len(), which takes out what is dead.
        return bool(self.values.data) != (self.alive() is not None)


@construct('close() of a file that is dropped')
class _(CalledByItself):
    def make(self):
        class File(io.RawIOBase):
            def close(file):
                if not file.closed:
                    self.clean_up()
                    super().close()
        return File()


@construct('gc.callbacks')
class _(Construct):
    def __init__(self):
        self.resource = Resource()

    def callback(self, phase, info):
        if phase == 'start':
            self.resource.open()
        else:
            self.resource.close()

    def run(self):
        gc.callbacks.append(self.callback)
        try:
            work()
            gc.collect()
        finally:
            gc.callbacks.remove(self.callback)

    def is_broken(self):
        return self.resource.state != 'closed'

    def close(self):
        # An interrupt can come before the `try`.
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self.callback)


if ctypes is not None:
    @construct('callback of ctypes')
    class _(Construct):
        result = 7

        def __init__(self):
            self.resource = Resource()
            self.function = ctypes.CFUNCTYPE(ctypes.c_int)(self.callback)

        def callback(self):
            with self.resource:
                step()
            return 7

        def run(self):
            work()
            self.result = self.function()
            work()

        def is_broken(self):
            return self.result != 7 or self.resource.state != 'closed'


# Generators and coroutines.


class GeneratorConstruct(Construct):
    def __init__(self):
        self.resource = Resource()

    def generator(self):
        with self.resource:
            yield 1
            step()
            yield 2

    def is_broken(self):
        return self.resource.state != 'closed'


@construct('generator that ends')
class _(GeneratorConstruct):
    def run(self):
        for _ in self.generator():
            work()


@construct('generator that is closed')
class _(GeneratorConstruct):
    def run(self):
        with contextlib.closing(self.generator()) as generator:
            next(generator)
            work()


@construct('generator that is thrown into')
class _(GeneratorConstruct):
    errors = Failure

    def run(self):
        with contextlib.closing(self.generator()) as generator:
            next(generator)
            work()
            generator.throw(Failure)


@construct('generator that is dropped')
class _(GeneratorConstruct):
    # With masks off, the interrupt that is raised in the generator while it is
    # finalized is reported as unraisable.
    def run(self):
        generator = self.generator()
        next(generator)
        work()
        del generator
        work()


@construct('generator that is dropped by a function that C code calls')
class _(GeneratorConstruct):
    def drop(self, _):
        generator = self.generator()
        next(generator)

    def run(self):
        list(map(self.drop, [None]))
        work()


@construct('generator that is collected')
class _(GeneratorConstruct):
    def run(self):
        generator = self.generator()
        next(generator)
        work()
        # Not append(), which is a check point where nothing is specialized.
        cycle = [generator]
        cycle += [cycle]
        del generator, cycle
        gc.collect()
        work()


@construct('generator that is dropped while it waits for another')
class _(TABLE['generator that is dropped']):
    def generator(self):
        yield from super().generator()


@construct('generator that opens its scopes while it is finalized')
class _(TABLE['generator that is dropped']):
    # `interrupts` opens no region of the interpreter's own.
    def generator(self):
        try:
            self.resource.open()
            yield 1
        finally:
            with threading.interrupts():
                step()
            self.resource.close()


@construct('generator with yield from')
class _(GeneratorConstruct):
    def outer(self):
        yield from self.generator()

    def run(self):
        for _ in self.outer():
            work()


@construct('generator with finally')
class _(GeneratorConstruct):
    def __init__(self):
        self.steps = Steps()

    def generator(self):
        try:
            self.steps.opened = True
            yield 1
        finally:
            self.steps.first()
            self.steps.second()
            self.steps.third()

    def run(self):
        for _ in self.generator():
            work()

    def is_broken(self):
        return self.steps.is_broken()


@construct('generator expression in with')
class _(GeneratorConstruct):
    def run(self):
        with self.resource:
            exhaust(work() for _ in range(2))


class CoroutineConstruct(Construct):
    def __init__(self):
        self.resource = AsyncResource()
        # Made here: a coroutine that never ran gives a warning.
        self.coroutine = self.function()
        self.iterator = self.coroutine.__await__()

    def run(self):
        exhaust(self.iterator)

    def is_broken(self):
        return self.resource.state != 'closed'

    def close(self):
        self.coroutine.close()


@construct('async with')
class _(CoroutineConstruct):
    async def function(self):
        async with self.resource:
            work()


@construct('async with while')
class _(CoroutineConstruct):
    async def function(self):
        left = 3
        async with self.resource:
            while left:
                work()
                left -= 1


@construct('async with for and if')
class _(CoroutineConstruct):
    async def function(self):
        async with self.resource:
            work()
            for number in 1, 2, 3:
                if number < 0:
                    step()


@construct('async with return')
class _(CoroutineConstruct):
    async def function(self):
        async with self.resource:
            return work()


@construct('async with exception')
class _(CoroutineConstruct):
    errors = Failure

    async def function(self):
        async with self.resource:
            work()
            raise Failure


@construct('async with exception suppressed')
class _(CoroutineConstruct):
    async def function(self):
        self.resource.suppress = True
        async with self.resource:
            work()
            raise Failure


@construct('async with two items')
class _(CoroutineConstruct):
    async def function(self):
        async with AsyncResource(), self.resource:
            work()


@construct('async with await in body')
class _(CoroutineConstruct):
    async def function(self):
        async with self.resource:
            await suspend()
            work()


@construct('coroutine that is dropped')
class _(GeneratorConstruct):
    async def function(self):
        with self.resource:
            await suspend()

    def run(self):
        coroutine = self.function()
        coroutine.send(None)
        work()
        del coroutine
        work()


@construct('async generator that is dropped')
class _(GeneratorConstruct):
    # An event loop learns of it by a hook, which has to finish its work.
    def __init__(self):
        super().__init__()
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self.finalizer)
        self.generator = self.function()
        exhaust(self.generator.__anext__().__await__())
        sys.set_asyncgen_hooks(*hooks)

    async def function(self):
        yield 1

    def finalizer(self, generator):
        self.resource.open()
        self.resource.close()

    def run(self):
        work()
        self.generator = None
        work()

    def is_broken(self):
        return self.generator is None and super().is_broken()


@construct('await of a coroutine with async with')
class _(CoroutineConstruct):
    async def inner(self):
        async with self.resource:
            work()

    async def function(self):
        await self.inner()


@construct('finally with await')
class _(CoroutineConstruct):
    async def function(self):
        try:
            self.resource.state = 'open'
            work()
        finally:
            await self.resource.__aexit__()


@construct('asynchronous generator')
class _(CoroutineConstruct):
    async def generator(self):
        async with self.resource:
            yield 1
            step()
            yield 2

    async def function(self):
        async with contextlib.aclosing(self.generator()) as generator:
            async for _ in generator:
                work()


@construct('asynchronous generator that is closed')
class _(CoroutineConstruct):
    async def generator(self):
        try:
            self.resource.state = 'open'
            yield 1
        finally:
            await self.resource.__aexit__()

    async def function(self):
        async with contextlib.aclosing(self.generator()) as generator:
            async for _ in generator:
                work()
                break


@construct('contextlib.asynccontextmanager')
class _(CoroutineConstruct):
    @contextlib.asynccontextmanager
    async def manager(self):
        self.resource.open()
        try:
            yield
        finally:
            await self.resource.__aexit__()

    async def function(self):
        async with self.manager():
            work()


@construct('contextlib.AsyncExitStack')
class _(CoroutineConstruct):
    async def function(self):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.resource)
            work()


# Scopes that a program opens itself.


class ScopeConstruct(Construct):
    def __init__(self):
        self.lock = threading.Lock()

    def acquire(self):
        self.lock.acquire()
        step()

    def release(self):
        step()
        self.lock.release()

    def is_broken(self):
        return self.lock.locked()


@construct('nointerrupts', is_open=False)
class _(ScopeConstruct):
    def run(self):
        with threading.nointerrupts:
            self.acquire()
            work()
            self.release()


@construct('nointerrupts that is called', is_open=False)
class _(ScopeConstruct):
    def run(self):
        with threading.nointerrupts(interruptible_waits=True):
            self.acquire()
            work()
            self.release()


@construct('scopes to set up, work and clean up')
class _(ScopeConstruct):
    def run(self):
        with threading.nointerrupts:
            self.acquire()
            try:
                with threading.interrupts:
                    work()
            finally:
                self.release()
                with threading.interrupts:
                    step()


@construct('scopes that are nested')
class _(ScopeConstruct):
    def run(self):
        with threading.nointerrupts:
            self.acquire()
            try:
                with threading.interrupts:
                    with threading.nointerrupts:
                        step()
                    work()
            finally:
                self.release()


@construct('nointerrupts in a generator')
class _(ScopeConstruct):
    def generator(self):
        with threading.nointerrupts:
            self.acquire()
            try:
                yield 1
                step()
                yield 2
            finally:
                self.release()

    def run(self):
        for _ in self.generator():
            work()


@construct('nointerrupts in a coroutine', is_open=False)
class _(ScopeConstruct):
    def __init__(self):
        super().__init__()
        self.coroutine = self.function()
        self.iterator = self.coroutine.__await__()

    async def function(self):
        with threading.nointerrupts:
            self.acquire()
            await suspend()
            work()
            self.release()

    def run(self):
        exhaust(self.iterator)

    def close(self):
        self.coroutine.close()


@construct('nointerrupts by contextmanager', is_open=False)
class _(ScopeConstruct):
    @contextlib.contextmanager
    def manager(self):
        with threading.nointerrupts:
            self.acquire()
            yield
            self.release()

    def run(self):
        with self.manager():
            work()


@construct('nointerrupts by ExitStack', is_open=False)
class _(ScopeConstruct):
    def run(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(threading.nointerrupts)
            self.acquire()
            stack.callback(self.release)
            work()


@construct('nointerrupts by a class', is_open=False)
class _(ScopeConstruct):
    class Manager:
        def __init__(self):
            self.scope = threading.nointerrupts()

        def __enter__(self):
            self.scope.__enter__()

        def __exit__(self, *exc_info):
            self.scope.__exit__(*exc_info)

    def run(self):
        with self.Manager():
            self.acquire()
            work()
            self.release()


@construct('scopes in functions')
class _(ScopeConstruct):
    def locked(self, function):
        with threading.nointerrupts:
            self.acquire()
            try:
                with threading.interrupts:
                    return function()
            finally:
                self.release()

    def run(self):
        with threading.nointerrupts:
            self.locked(work)


@construct('interrupts does not open a caller', is_open=False)
class _(Construct):
    def __init__(self):
        self.steps = Steps()

    def open(self):
        with threading.interrupts:
            work()

    def run(self):
        try:
            self.steps.opened = True
            step()
        finally:
            self.steps.first()
            self.open()
            self.steps.second()
            self.steps.third()

    def is_broken(self):
        return self.steps.is_broken()


class ConstructTests(TableTests, unittest.TestCase):
    table = TABLE
    file = __file__

    def test_size(self):
        self.assertGreaterEqual(len(TABLE), 40)



# Functions with which mistakes are found.


class Trace:
    """Notes the steps of a function; as a context manager, its own too.

    Each call of note() begins with a check point: interrupted there, it notes
    nothing.  So the log tells where the interrupt was raised.
    """

    suppress = False

    # The number of the step during which an interrupt arrives, if one does,
    # and the function that sends it.
    arrival = None
    send = None

    def __init__(self):
        self.log = []
        self.steps = 0

    def note(self, step):
        # Nothing is called here: whether the call of a builtin is a check point
        # depends on whether it is specialized.
        self.log += [step]
        self.steps += 1
        if self.steps == self.arrival:
            self.send()

    def __enter__(self):
        self.note('enter')
        self.note('entered')

    def __exit__(self, *exc_info):
        self.note('exit')
        self.note('exited')
        return self.suppress

    async def __aenter__(self):
        self.note('enter')
        await suspend()
        self.note('entered')

    async def __aexit__(self, *exc_info):
        self.note('exit')
        await suspend()
        self.note('exited')
        return self.suppress

    def prepare(self, function):
        pass

    def call(self, function):
        function(self)

    def close(self):
        pass


SCENARIOS = []


def scenario(*logs, arrivals, kinds=(), rearm=(), trace=Trace, changed=()):
    """Mark a function that is interrupted to find mistakes.

    logs       what the runs of a sweep note; the same for several in a row is
               said once
    arrivals   the same if one arrives in the first step, the second ...
    kinds      the kinds of NIT and TIT, and ...
    rearm      ... the kinds of asking again that the function depends on
    trace      the class of its argument
    changed    what the NITs and TITs are taken out of, if not of the function
    """
    def mark(function):
        function.logs = list(logs)
        function.arrivals = arrivals
        function.kinds = kinds
        function.rearm = rearm
        function.trace = trace
        function.changed = changed or [function]
        SCENARIOS.append(function)
        return function
    return mark


@scenario(
    '',
    'enter entered exit exited',
    'enter entered body exit exited',
    'enter entered body end exit exited',
    'enter entered body end exit exited after',
    arrivals=['enter entered exit exited',
              'enter entered body exit exited',
              'enter entered body end exit exited',
              'enter entered body end exit exited after',
              'enter entered body end exit exited after done'],
    kinds=('enter NIT', 'enter TIT', 'exit NIT', 'exit TIT'),
    rearm=('leave',))
def leave_normally(trace):
    with trace:
        trace.note('body')
        trace.note('end')
    trace.note('after')
    trace.note('done')


@scenario(
    '',
    'enter entered exit exited',
    'enter entered body exit exited',
    arrivals=['enter entered exit exited',
              'enter entered body exit exited'],
    kinds=('exit NIT of exception', 'exit TIT before reraise'))
def leave_by_exception(trace):
    with trace:
        trace.note('body')
        raise Failure


class SuppressingTrace(Trace):
    suppress = True


# An interrupt in the body is suppressed as well.
@scenario(
    '',
    'enter entered exit exited after done',
    'enter entered body exit exited',
    'enter entered body exit exited after',
    arrivals=['enter entered exit exited after done',
              'enter entered body exit exited after done',
              'enter entered body exit exited',
              'enter entered body exit exited after',
              'enter entered body exit exited after done'],
    kinds=('exit NIT of exception', 'exit TIT when suppressed'),
    trace=SuppressingTrace)
def leave_suppressed(trace):
    with trace:
        trace.note('body')
        raise Failure
    trace.note('after')
    trace.note('done')


class AsyncTrace(Trace):
    def prepare(self, function):
        self.coroutine = function(self)
        self.iterator = self.coroutine.__await__()

    def call(self, function):
        exhaust(self.iterator)

    def close(self):
        self.coroutine.close()


@scenario(
    '',
    'enter entered exit exited',
    'enter entered body exit exited',
    'enter entered body end exit exited',
    'enter entered body end exit exited after',
    'enter entered body end exit exited after done',
    arrivals=['enter entered exit exited',
              'enter entered body exit exited',
              'enter entered body end exit exited',
              'enter entered body end exit exited after',
              'enter entered body end exit exited after done'],
    kinds=('enter NIT', 'enter TIT', 'exit NIT', 'exit TIT'),
    trace=AsyncTrace)
async def leave_async(trace):
    async with trace:
        trace.note('body')
        trace.note('end')
    trace.note('after')
    trace.note('done')


@scenario(
    '',
    'enter entered exit exited',
    'enter entered body exit exited',
    arrivals=['enter entered exit exited',
              'enter entered body exit exited'],
    kinds=('exit NIT of exception', 'exit TIT before reraise'),
    trace=AsyncTrace)
async def leave_async_by_exception(trace):
    async with trace:
        trace.note('body')
        raise Failure


class SuppressingAsyncTrace(AsyncTrace):
    suppress = True


@scenario(
    '',
    'enter entered exit exited after done',
    'enter entered body exit exited',
    'enter entered body exit exited after',
    'enter entered body exit exited after done',
    arrivals=['enter entered exit exited after done',
              'enter entered body exit exited after done',
              'enter entered body exit exited',
              'enter entered body exit exited after',
              'enter entered body exit exited after done'],
    kinds=('exit NIT of exception', 'exit TIT when suppressed'),
    trace=SuppressingAsyncTrace)
async def leave_async_suppressed(trace):
    async with trace:
        trace.note('body')
        raise Failure
    trace.note('after')
    trace.note('done')


@scenario(
    '',
    'first second',
    'work first second',
    'work first second after',
    arrivals=['work first second',
              'work first second after',
              'work first second after done'],
    kinds=('finally NIT', 'finally TIT'),
    rearm=('leave',))
def clean_up(trace):
    try:
        trace.note('work')
    finally:
        trace.note('first')
        trace.note('second')
    trace.note('after')
    trace.note('done')


@scenario(
    '',
    'first second',
    'work first second',
    'work first second end',
    arrivals=['work first second',
              'work first second end',
              'work first second end done'],
    kinds=('finally NIT', 'finally TIT'))
def clean_up_and_return(trace):
    def inner():
        try:
            return trace.note('work')
        finally:
            trace.note('first')
            trace.note('second')
    inner()
    trace.note('end')
    trace.note('done')


@scenario(
    '',
    'first second',
    'work first second',
    arrivals=['work first second'],
    kinds=('finally NIT of exception', 'finally TIT before reraise'))
def clean_up_after_exception(trace):
    try:
        trace.note('work')
        raise Failure
    finally:
        trace.note('first')
        trace.note('second')


@scenario(
    '',
    # An interrupt in the work is replaced by the failure, as the program says.
    'first handler handled after',
    'work first',
    'work first handler',
    'work first handler handled',
    arrivals=['work first handler handled after',
              'work first',
              'work first handler',
              'work first handler handled',
              'work first handler handled after'],
    kinds=('handler NIT',))
def handle(trace):
    try:
        try:
            trace.note('work')
        finally:
            trace.note('first')
            raise Failure
    except Failure:
        trace.note('handler')
        trace.note('handled')
    trace.note('after')


class GeneratorTrace(Trace):
    """Has a generator that stays suspended."""

    def prepare(self, function):
        self.generator = suspended_in_finally(self)

    def close(self):
        self.generator.close()


def suspended_in_finally(trace):
    try:
        pass
    finally:
        trace.note('first')
        yield
        trace.note('second')


@scenario(
    '',
    'first',
    'first after',
    arrivals=['first', 'first after', 'first after done'],
    kinds=('suspending TIT',),
    trace=GeneratorTrace,
    changed=[suspended_in_finally])
def suspend_in_finally(trace):
    next(trace.generator)
    trace.note('after')
    trace.note('done')


# In the next ones an interrupt that arrives with the first step waits, and no
# TIT asks about it.


@scenario('', 'first', 'first after',
          arrivals=['first', 'first after', 'first after done'],
          rearm=('catch',))
def catch(trace):
    try:
        try:
            pass
        finally:
            trace.note('first')
            raise Failure
    except Failure:
        pass
    trace.note('after')
    trace.note('done')


class PropertyTrace(Trace):
    @property
    def attribute(self):
        try:
            pass
        finally:
            self.note('first')
            raise AttributeError


# No Python frame catches what ends the property.
@scenario('', 'first', 'first after',
          arrivals=['first', 'first after', 'first after done'],
          rearm=('unwind',), trace=PropertyTrace)
def unwind(trace):
    hasattr(trace, 'attribute')
    trace.note('after')
    trace.note('done')


class SignalTrace(Trace):
    def prepare(self, function):
        self.old_handler = signal.signal(signal.SIGUSR1, self.on_signal)

    def on_signal(self, signum, frame):
        self.note('first')

    def close(self):
        signal.signal(signal.SIGUSR1, self.old_handler)


@scenario('', 'first', 'first after',
          arrivals=['first', 'first after', 'first after done'],
          rearm=('region',), trace=SignalTrace)
def handle_signal(trace):
    signal.raise_signal(signal.SIGUSR1)
    trace.note('after')
    trace.note('done')


class DelegatingTrace(Trace):
    """Has a generator that waits for another one in a region."""

    def prepare(self, function):
        self.generator = self.outer()
        next(self.generator)

    def inner(self):
        while True:
            try:
                yield
            except Failure:
                self.note('first')

    def outer(self):
        try:
            pass
        finally:
            yield from self.inner()

    def close(self):
        self.generator.close()


@scenario('', 'first', 'first after',
          arrivals=['first', 'first after', 'first after done'],
          rearm=('throw',), trace=DelegatingTrace)
def throw(trace):
    trace.generator.throw(Failure)
    trace.note('after')
    trace.note('done')


class MonitoringTrace(Trace):
    TOOL = sys.monitoring.PROFILER_ID
    EVENT = sys.monitoring.events.EXCEPTION_HANDLED

    def prepare(self, function):
        self.code = function.__code__
        sys.monitoring.use_tool_id(self.TOOL, __name__)
        sys.monitoring.register_callback(self.TOOL, self.EVENT, self.tool)
        sys.monitoring.set_events(self.TOOL, self.EVENT)

    def tool(self, code, offset, exc):
        if code is self.code:
            # Once is enough; what is left over shall not be raised here when
            # others handle it.
            sys.monitoring.set_events(self.TOOL, 0)
            self.note('first')

    def close(self):
        sys.monitoring.set_events(self.TOOL, 0)
        sys.monitoring.free_tool_id(self.TOOL)


@scenario('', 'first', 'first after',
          arrivals=['first', 'first after', 'first after done'],
          rearm=('region',), trace=MonitoringTrace)
def handle_monitored(trace):
    try:
        try:
            pass
        finally:
            raise Failure
    except Failure:
        trace.note('after')
        trace.note('done')


@scenario('', 'first', 'first after',
          arrivals=['first', 'first after', 'first after done'],
          rearm=('scope-exit',))
def leave_scope(trace):
    with threading.nointerrupts:
        trace.note('first')
    trace.note('after')
    trace.note('done')


@scenario('', 'first', 'first after',
          arrivals=['first', 'first after', 'first after done'],
          rearm=('scope-exit',))
def leave_scope_by_call(trace):
    scope = threading.nointerrupts()
    scope.__enter__()
    trace.note('first')
    scope.__exit__(None, None, None)
    trace.note('after')
    trace.note('done')


@scenario('', 'first', 'first open', 'first open end',
          arrivals=['first', 'first open', 'first open end',
                    'first open end after'],
          rearm=('scope-enter',))
def enter_scope(trace):
    with threading.nointerrupts:
        trace.note('first')
        with threading.interrupts:
            trace.note('open')
            trace.note('end')
    trace.note('after')


@contextlib.contextmanager
def opening():
    with threading.interrupts:
        yield


# The scope opens this `finally` once it is handed over.  No `with` of this
# function ends its entering.
@scenario('', 'first', 'first open', 'first open end',
          arrivals=['first', 'first open', 'first open end',
                    'first open end after'],
          rearm=('hand-over',))
def be_given_scope(trace):
    try:
        pass
    finally:
        trace.note('first')
        manager = opening()
        try:
            manager.__enter__()
            trace.note('open')
            trace.note('end')
        finally:
            manager.__exit__(None, None, None)
    trace.note('after')


@scenario('', 'first', 'first open', 'first open end',
          arrivals=['first', 'first open', 'first open end',
                    'first open end after'])
def be_given_scope_by_stack(trace):
    try:
        pass
    finally:
        trace.note('first')
        with contextlib.ExitStack() as stack:
            stack.enter_context(threading.interrupts)
            trace.note('open')
            trace.note('end')
    trace.note('after')


@contextlib.asynccontextmanager
async def opening_async():
    with threading.interrupts:
        await suspend()
        yield


@scenario('', 'first', 'first open', 'first open end',
          'first open end after',
          arrivals=['first', 'first open', 'first open end',
                    'first open end after'],
          trace=AsyncTrace)
async def be_given_scope_by_async_stack(trace):
    try:
        pass
    finally:
        trace.note('first')
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(opening_async())
            trace.note('open')
            trace.note('end')
    trace.note('after')


async def give_scope(trace):
    threading.interrupts.__enter__()
    _interrupts.hand_over()
    trace.note('given')


# What waits is raised where the scope is handed over, and not only when the
# coroutine that does so ends.
@scenario('', 'first', 'first given', 'first given open',
          'first given open after',
          arrivals=['first', 'first given', 'first given open',
                    'first given open after'],
          rearm=('hand-over',), trace=AsyncTrace)
async def be_given_scope_by_coroutine(trace):
    try:
        pass
    finally:
        trace.note('first')
        try:
            await give_scope(trace)
            trace.note('open')
        finally:
            threading.interrupts.__exit__(None, None, None)
    trace.note('after')


def prepare(function):
    trace = function.trace()
    trace.prepare(function)
    return trace


def compare(logs, expected):
    """Return a list that is empty if the logs are as expected."""
    logs = [log for log, _ in itertools.groupby(logs)]
    return [] if logs == expected else [f'{logs} instead of {expected}']


def findings_of_sweep(function):
    """Sweep over a scenario; return what is wrong with the result, in words.
    """
    found = []
    logs = []
    for run in sweep(lambda trace: trace.call(function),
                     lambda: prepare(function),
                     teardown=function.trace.close, where='eval',
                     errors=Failure, strict=False):
        logs.append(' '.join(run.state.log))
        if run.problem is not None:
            found.append(repr(run))
        elif run.late:
            found.append(f'late: {run!r}')
    return found + compare(logs, function.logs)


def raise_interrupt(signum, frame):
    raise Interrupt


# Raised by a handler, or put into the thread's queue as other threads do.
WAYS_TO_SEND = (
    functools.partial(signal.raise_signal, signal.SIGUSR2),
    functools.partial(_interrupts.send, threading.get_ident(), Interrupt),
)


def findings_of_arrivals(function, send):
    """Let an interrupt arrive in each step; return what is wrong, in words.

    A sweep makes the eval loop look at every check point, so it may find what
    nobody has asked it to look for.  Here it looks only if it is asked.
    """
    found = []
    logs = []
    for arrival in itertools.count(1):
        trace = prepare(function)
        trace.arrival = arrival
        trace.send = send
        ended = False
        try:
            try:
                trace.call(function)
            except Failure:
                pass
            ended = True
            step()
            step()
        except Interrupt:
            if ended:
                found.append(f'late: {trace.log}')
        if threading.interrupts_pending():
            found.append(f'still waits: {trace.log}')
            drain()
        trace.close()
        if len(trace.log) < arrival:
            break
        logs.append(' '.join(trace.log))
    return found + compare(logs, function.arrivals)


def findings(function):
    found = findings_of_sweep(function)
    old = signal.signal(signal.SIGUSR2, raise_interrupt)
    try:
        for send in WAYS_TO_SEND:
            found += findings_of_arrivals(function, send)
    finally:
        signal.signal(signal.SIGUSR2, old)
    return found


class MistakeTests(unittest.TestCase):

    def setUp(self):
        # Where `async with` is cut, what it would have awaited is left over.
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter('ignore', RuntimeWarning)

    def test_no_mistake(self):
        for function in SCENARIOS:
            with self.subTest(function=function.__name__):
                self.assertEqual(findings(function), [])

    def test_missing_instruction(self):
        missed = set(KINDS)
        for function in SCENARIOS:
            for kind in function.kinds:
                with self.subTest(kind=kind, function=function.__name__):
                    with suppressing(kind, function.changed):
                        self.assertNotEqual(findings(function), [])
                    self.assertEqual(findings(function), [])
                    missed.discard(kind)
        self.assertEqual(missed, set())

    def test_not_asked_again(self):
        missed = set(REARMS)
        self.addCleanup(_interrupts.suppress_rearm, None)
        for function in SCENARIOS:
            for name in function.rearm:
                with self.subTest(name=name, function=function.__name__):
                    _interrupts.suppress_rearm(name)
                    try:
                        found = findings(function)
                    finally:
                        _interrupts.suppress_rearm(None)
                    self.assertNotEqual(found, [])
                    self.assertEqual(findings(function), [])
                    missed.discard(name)
        self.assertEqual(missed, set())

    def test_unknown_name(self):
        self.addCleanup(_interrupts.suppress_rearm, None)
        with self.assertRaises(ValueError):
            _interrupts.suppress_rearm('nonsense')


# All places where the interpreter asks again, by the names that it knows.
REARMS = ('leave', 'catch', 'unwind', 'region', 'throw', 'scope-exit',
          'scope-enter', 'hand-over')


class SweepTests(unittest.TestCase):
    """The sweep itself."""

    def points(self, function, **options):
        return len(list(sweep(function, **options)))

    def test_three_lines(self):
        def use(lock):
            with lock:
                work()

        for run in sweep(use, setup=threading.Lock):
            self.assertFalse(run.state.locked(), run)

    def test_finds_a_hole(self):
        def leaky(state):
            state += ['open']
            step()
            try:
                work()
            finally:
                state.clear()

        broken = [run for run in sweep(leaky, setup=list) if run.state]
        self.assertEqual([run.places[0][2] for run in broken], ['step'])
        self.assertEqual(broken[0].where, 'eval')

        # The same N finds it again.
        again = [run for run in sweep(leaky, setup=list) if run.state]
        self.assertEqual([run.n for run in again], [run.n for run in broken])

    def test_every_point_is_cut(self):
        def nothing():
            pass

        def steps():
            step()
            step()
            step()

        def loop(count):
            for _ in range(count):
                pass

        empty = self.points(nothing, where='eval')
        self.assertGreater(empty, 0)
        self.assertEqual(self.points(steps, where='eval'), empty + 3)
        loops = [self.points(loop, setup=lambda: count, where='eval')
                 for count in (5, 15)]
        self.assertEqual(loops[1] - loops[0], 10)
        runs = list(sweep(steps, where='eval'))
        self.assertEqual([run.n for run in runs],
                         list(range(1, len(runs) + 1)))

    def test_checks_of_signals(self):
        # repr() of each object is one.
        nested = [[[], []], [[]]]

        def function():
            return repr(nested)

        runs = list(sweep(function, where='signals'))
        self.assertEqual(len(runs), 6)
        for run in runs:
            self.assertEqual(run.where, 'signals')
            self.assertEqual(run.places[0][2], function.__qualname__)
        kinds = collections.Counter(run.where for run in sweep(function))
        self.assertEqual(kinds['signals'], 6)
        self.assertGreater(kinds['eval'], 0)

    def test_checks_of_signals_in_masked_code(self):
        def function(log):
            try:
                pass
            finally:
                repr([])
                log.append('done')
            step()
            log.append('after')

        runs = list(sweep(function, setup=list, where='signals'))
        self.assertEqual([run.state for run in runs], [['done']])
        self.assertTrue(runs[0].escaped)

    def test_other_thread(self):
        # The check points of one thread are counted, and only it is cut.
        def function(lock):
            with lock:
                work()

        def in_thread():
            results.append([
                (run.n, run.places)
                for run in sweep(function, setup=LockClass, where='eval')])

        results = []
        in_thread()
        thread = threading.Thread(target=in_thread)
        with threading_helper.start_threads([thread]):
            for _ in range(1000):
                step()
        self.assertEqual(len(results), 2)
        self.assertEqual(results[0], results[1])

    def test_unknown_kind(self):
        with self.assertRaises(ValueError):
            list(sweep(work, where='nonsense'))

    def test_what_a_run_tells(self):
        def function(value):
            try:
                step()
            except Interrupt:
                return 'caught'
            work()
            return value

        runs = list(sweep(function, setup=lambda: 'value', where='eval'))
        by_place = {run.places[0][2]: run for run in runs}
        run = by_place['step']
        self.assertTrue(run.raised)
        self.assertFalse(run.escaped)
        self.assertEqual(run.result, 'caught')
        run = by_place['work']
        self.assertTrue(run.raised)
        self.assertTrue(run.escaped)
        self.assertFalse(run.late)
        self.assertIsNone(run.result)
        self.assertIsNone(run.error)
        self.assertIsNone(run.problem)
        self.assertIsInstance(run.exc, Interrupt)
        self.assertEqual(run.exc.args, ('eval', run.n))
        self.assertEqual(run.state, 'value')
        self.assertEqual([place[2] for place in run.places],
                         ['work', function.__qualname__])
        line = function.__code__.co_firstlineno + 5
        self.assertRegex(
            repr(run),
            rf"^<interrupt at 'eval' check point {run.n}, raised in work "
            rf"\(.*\.py:\d+\), called from in .*function \(.*\.py:{line}\)>$")

    def test_late(self):
        # No check point comes after the cleanup that raises.
        def function():
            try:
                pass
            finally:
                step()
                raise Failure

        runs = list(sweep(function, where='eval', errors=Failure))
        self.assertEqual([run.late for run in runs], [False, True])
        self.assertIsNone(runs[0].error)
        self.assertIsInstance(runs[1].error, Failure)
        self.assertFalse(runs[1].escaped)
        self.assertTrue(runs[1].raised)
        self.assertIn('raised after the call', repr(runs[1]))

    def test_setup_and_teardown(self):
        log = []

        def setup():
            log.append('s')
            return log

        def function(state):
            state.append('c')

        def teardown(state):
            state.append('t')

        for run in sweep(function, setup, teardown=teardown):
            self.assertIs(run.state, log)
            log.append('b')
        self.assertRegex(''.join(log), r'^(sct)+(sc?bt)+(sct)+$')

        with self.assertRaises(Failure):
            for run in sweep(function, setup, teardown=teardown):
                log.append('b')
                raise Failure
        self.assertEqual(''.join(log[-2:]), 'bt')

        # Without setup() there is nothing to hand on.
        for run in sweep(work, teardown=functools.partial(log.append, 'T')):
            self.assertIsNone(run.state)
        self.assertEqual(log[-1], 'T')

    def test_other_interrupts(self):
        class Other(KeyboardInterrupt):
            pass

        for run in sweep(work, interrupt=Other):
            self.assertIs(type(run.exc), Other)

    def test_own_exceptions(self):
        def function():
            step()
            raise Failure

        with self.assertRaises(Failure):
            list(sweep(function))
        runs = list(sweep(function, errors=Failure))
        self.assertTrue(all(run.escaped for run in runs))
        with self.assertRaises(Failure):
            list(sweep(function, errors=ZeroDivisionError))

    def test_own_exception_of_a_cut_call(self):
        def function():
            try:
                work()
            except Interrupt:
                raise Failure

        with self.assertRaises(Failure) as caught:
            list(sweep(function))
        self.assertIsInstance(caught.exception.__context__, Interrupt)
        [note] = caught.exception.__notes__
        self.assertRegex(note, "^During <interrupt at 'eval' check point .*"
                               "raised in work")
        errors = [run.error for run in sweep(function, errors=Failure)
                  if not run.escaped]
        self.assertEqual([type(error) for error in errors], [Failure])

    def test_endless_function(self):
        def function():
            while True:
                step()

        with self.assertRaisesRegex(SweepError, 'never end'):
            list(sweep(function, max_points=100))
        with self.assertRaisesRegex(SweepError, 'too many'):
            list(sweep(lambda: [step() for _ in range(100)], max_points=100))

    def test_endless_sweep(self):
        # With each interrupt it takes one step more.
        count = 1

        def function():
            nonlocal count
            try:
                for _ in range(count):
                    step()
            except Interrupt:
                count += 1

        with self.assertRaisesRegex(SweepError, 'has reached 50 '):
            list(sweep(function, max_points=50))

    def test_not_deterministic(self):
        count = 0

        def function():
            nonlocal count
            count += 1
            for _ in range(count):
                step()

        with self.assertRaisesRegex(SweepError, 'not deterministic'):
            list(sweep(function))

        # It settles, and then changes its mind.
        def other():
            for _ in range(1 if interrupted else 2):
                step()

        interrupted = False
        with self.assertRaisesRegex(SweepError, 'not deterministic'):
            for run in sweep(other, where='eval'):
                interrupted = True
        interrupted = False
        for run in sweep(other, where='eval', exact=False):
            interrupted = True

        def random():
            nonlocal count
            count += 1
            for _ in range(count % 3):
                step()

        with self.assertRaisesRegex(SweepError, 'not deterministic'):
            list(sweep(random))
        self.assertNotEqual(list(sweep(random, exact=False)), [])

    def test_masked_code(self):
        try:
            pass
        finally:
            with self.assertRaisesRegex(SweepError, 'masked code'):
                list(sweep(work))

    def check_problem(self, problem, function, **options):
        with self.assertRaisesRegex(SweepError, problem):
            list(sweep(function, **options))
        runs = list(sweep(function, strict=False, **options))
        self.assertIn(problem, [run.problem for run in runs])
        # Nothing is left over for others.
        step()
        self.assertFalse(threading.interrupts_pending())
        self.assertFalse(threading.interrupts_masked())

    def test_lost(self):
        class Losing:
            """Says that it has delivered what it has not."""
            send = staticmethod(_interrupts.send)

            def sweep_start(self, n, where, exc):
                self.n = n

            def sweep_stop(self):
                return 1, self.n == 1

        with support.swap_attr(interrupt_sweep, '_interrupts', Losing()):
            self.check_problem('lost', work)

    def test_raised_twice(self):
        # The function raises what it is interrupted with, while a signal is on
        # its way whose handler does the same.
        exc = None

        def make(where, n):
            nonlocal exc
            exc = Interrupt(where, n)
            return exc

        def handler(signum, frame):
            raise exc

        def raises():
            yield

        def function():
            try:
                work()
            except Interrupt:
                pass
            else:
                return
            # In one call of a C function: no check point lies between.
            exhaust(map(operator.call, [
                functools.partial(_thread.interrupt_main, signal.SIGUSR1),
                functools.partial(raises().throw, exc)]))

        old = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        self.check_problem('raised twice', function, where='eval',
                           interrupt=make)

    def test_unraisable(self):
        def function():
            try:
                work()
            except Interrupt as exc:
                sys.unraisablehook(types.SimpleNamespace(exc_value=exc))

        self.check_problem('reported as unraisable', function)

    def test_forgotten(self):
        # Nobody asks about what comes while the handler runs.
        def handler(signum, frame):
            step()

        def function():
            signal.raise_signal(signal.SIGUSR1)

        old = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        self.addCleanup(_interrupts.suppress_rearm, None)
        _interrupts.suppress_rearm('region')
        self.check_problem('forgotten until the sweep asked about it',
                           function, where='eval')
        _interrupts.suppress_rearm(None)
        self.assertNotEqual(list(sweep(function, where='eval')), [])

    def test_mask_that_stays(self):
        scope = threading.nointerrupts()
        entered = False

        def function():
            nonlocal entered
            try:
                work()
            except Interrupt:
                scope.__enter__()
                entered = True

        def teardown():
            nonlocal entered
            if entered:
                scope.__exit__(None, None, None)
                entered = False

        self.check_problem('the code after the call is masked', function,
                           teardown=teardown)
        with self.assertRaisesRegex(SweepError, 'not interrupted'):
            list(sweep(scope.__enter__, teardown=functools.partial(
                scope.__exit__, None, None, None)))

    def test_nothing_comes_between(self):
        # Neither a collection nor a tracer brings check points of its own.
        def function():
            state.append((gc.isenabled(), sys.gettrace()))

        def tracer(frame, event, arg):
            pass

        state = []
        old = sys.gettrace()
        self.addCleanup(sys.settrace, old)
        self.addCleanup((gc.enable if gc.isenabled() else gc.disable))
        for enabled in False, True:
            (gc.enable if enabled else gc.disable)()
            sys.settrace(tracer)
            runs = list(sweep(function))
            found = gc.isenabled(), sys.gettrace()
            sys.settrace(old)
            self.assertEqual(found, (enabled, tracer))
            self.assertEqual(set(state), {(False, None)})
            self.assertNotEqual(runs, [])

    def test_forget(self):
        class Object:
            pass

        def function():
            local = Object()
            references.append(weakref.ref(local))
            step()

        references = []
        for run in sweep(function, where='eval'):
            if run.places[0][2] == 'step':
                self.assertIsNotNone(references[-1]())
                text = repr(run)
                run.forget()
                self.assertIsNone(references[-1]())
                self.assertEqual(repr(run), text)
                break
        else:
            self.fail('step() was not interrupted')


class ThreadTests(unittest.TestCase):
    """Only run() can be interrupted, not how a thread starts and ends."""

    def cut(self, n):
        """Run a thread with an interrupt at its n-th check point.

        Return whether there was one, and how often run() was left by it.
        """
        exc = Interrupt(n)
        noted = []
        handled = []
        unraisable = []

        class Thread(threading.Thread):
            def _set_ident(self):
                super()._set_ident()
                _interrupts.sweep_start(n, 'eval', exc)

            def run(self):
                noted.append('run')
                work()
                noted.append('ran')

            def _delete(self):
                super()._delete()
                noted.append('deleted')
                noted.append(_interrupts.sweep_stop()[1])

        def excepthook(args):
            step()
            handled.append(args.exc_value)
            step()

        with (support.swap_attr(threading, 'excepthook', excepthook),
              support.swap_attr(sys, 'unraisablehook', unraisable.append)):
            thread = Thread(daemon=True)
            thread.start()
            thread.join(support.SHORT_TIMEOUT)
            self.assertFalse(thread.is_alive(), n)
        self.assertNotIn(thread, threading.enumerate())
        self.assertEqual(unraisable, [])
        *noted, deleted, delivered = noted
        self.assertEqual(deleted, 'deleted')
        self.assertIn(handled, ([], [exc]))
        if not handled:
            # It came too late, and ended with the thread.
            self.assertEqual(noted, ['run', 'ran'])
        # Functions can be immortal, and so is what they refer to: not the thread.
        exc.__traceback__ = None
        return delivered, bool(handled)

    def test_every_point(self):
        count = raised = 0
        while True:
            delivered, handled = self.cut(count + 1)
            if not delivered:
                break
            count += 1
            raised += handled
        # Some before run(), some in it, some after.
        self.assertGreater(count, 10)
        self.assertGreater(raised, 4)
        self.assertLess(raised, count)

    def test_what_it_runs_is_open(self):
        masked = []

        def target():
            masked.append(threading.interrupts_masked())
        for thread in (threading.Thread(target=target),
                       threading.Timer(0, target)):
            thread.start()
            thread.join()
        _thread.start_joinable_thread(target).join()
        handle = _thread._ThreadHandle()
        _thread.start_joinable_thread(target, handle=handle).join()

        class Thread(threading.Thread):
            def _bootstrap_inner(self):
                self._set_ident()
                self._started.set()
                with threading._active_limbo_lock:
                    threading._active[self._ident] = self
                    del threading._limbo[self]
                self.run()
                self._delete()
        thread = Thread(target=target)
        thread.start()
        thread.join()
        self.assertEqual(masked, [False] * 5)

    def test_run_open_takes_functions(self):
        self.assertEqual(_interrupts.run_open(dict, [('a', 1)], b=2),
                         {'a': 1, 'b': 2})
        with self.assertRaises(ZeroDivisionError):
            _interrupts.run_open(divmod, 1, 0)
        with self.assertRaises(TypeError):
            _interrupts.run_open()

    def test_run_open_opens_what_is_outside(self):
        try:
            pass
        finally:
            self.assertTrue(threading.interrupts_masked())
            masked = _interrupts.run_open(threading.interrupts_masked)
        self.assertFalse(masked)


class SuppressingTests(unittest.TestCase):
    """Taking NITs and TITs out of bytecode."""

    def count(self, code):
        return collections.Counter(masking_instructions(code).values())

    def codes(self, code):
        yield code
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from self.codes(constant)

    def test_kinds(self):
        def everything(manager):
            try:
                with manager:
                    yield
            except Failure:
                pass
            finally:
                yield

        self.assertEqual(self.count(everything.__code__), {
            'enter NIT': 1, 'enter TIT': 1,
            'exit NIT': 1, 'exit TIT': 1,
            'exit NIT of exception': 1, 'exit TIT before reraise': 1,
            'exit TIT when suppressed': 1,
            'finally NIT': 1, 'finally TIT': 1,
            'finally NIT of exception': 1, 'finally TIT before reraise': 1,
            'suspending TIT': 2,
            'handler NIT': self.count(everything.__code__)['handler NIT'],
        })

    def test_every_instruction_has_a_kind(self):
        files = [__file__, contextlib.__file__, threading.__file__,
                 tempfile.__file__, asyncio.tasks.__file__,
                 asyncio.taskgroups.__file__]
        total = collections.Counter()
        for file in files:
            with open(file, 'rb') as source:
                module = compile(source.read(), file, 'exec')
            for code in self.codes(module):
                count = self.count(code)
                names = collections.Counter(
                    instruction.opname
                    for instruction in dis.get_instructions(code))
                with self.subTest(file=file, code=code.co_qualname):
                    self.assertEqual(count.total(),
                                     names['NIT'] + names['TIT'])
                    for name in 'NIT', 'TIT':
                        self.assertEqual(names[name], sum(
                            number for kind, number in count.items()
                            if name in kind.split()))
                    enters = (names['BEFORE_WITH']
                              + names['BEFORE_ASYNC_WITH'])
                    for kind in 'enter NIT', 'enter TIT':
                        self.assertEqual(count[kind], enters, kind)
                    for kind in ('exit NIT of exception',
                                 'exit TIT before reraise',
                                 'exit TIT when suppressed'):
                        self.assertEqual(count[kind],
                                         names['WITH_EXCEPT_START'], kind)
                    self.assertEqual(count['exit NIT'], count['exit TIT'])
                total += count
        self.assertEqual(total.keys(), set(KINDS))

    def test_code_is_changed_and_restored(self):
        def function(manager):
            def nested():
                with manager:
                    pass
            with manager:
                pass
            return nested

        def names(code):
            return [instruction.opname
                    for instruction in dis.get_instructions(code)]

        original = function.__code__
        names_before = names(original)
        with suppressing('exit NIT', [function]) as count:
            self.assertEqual(count, 2)
            names_now = names(function.__code__)
            self.assertEqual(
                [pair for pair in zip(names_before, names_now, strict=True)
                 if pair[0] != pair[1]],
                [('NIT', 'NOP')])
            nested = function(contextlib.nullcontext())
            self.assertNotIn('exit NIT', self.count(nested.__code__))
            self.assertIn('enter NIT', self.count(nested.__code__))
        self.assertIs(function.__code__, original)

    def test_restored_after_an_exception(self):
        original = clean_up.__code__
        with self.assertRaises(Failure):
            with suppressing('finally NIT', [clean_up]):
                self.assertIsNot(clean_up.__code__, original)
                raise Failure
        self.assertIs(clean_up.__code__, original)

    def test_methods(self):
        original = DelegatingTrace.outer.__code__
        for outer in DelegatingTrace.outer, DelegatingTrace().outer:
            with suppressing('suspending TIT', [outer]):
                self.assertIsNot(DelegatingTrace.outer.__code__, original)
            self.assertIs(DelegatingTrace.outer.__code__, original)

    def test_errors(self):
        original = clean_up.__code__
        with self.assertRaisesRegex(ValueError, 'none of'):
            with suppressing('nonsense', [clean_up]):
                self.fail()
        with self.assertRaisesRegex(ValueError, "no 'enter NIT'"):
            with suppressing('enter NIT', [clean_up, catch]):
                self.fail()
        self.assertIs(clean_up.__code__, original)


if __name__ == '__main__':
    if sys.argv[1:2] == ['report']:
        report(TABLE, sys.argv[2:])
    else:
        unittest.main()
