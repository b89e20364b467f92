"""Tables of constructs that an interrupt must not leave broken.

A construct is a class: an instance is the state, run() is interrupted at one
check point after the other (test.support.interrupt_sweep), is_broken() looks at
what is left.  A test module has a Table of them, and a class of tests that is
derived from TableTests.  With masks on, none of the constructs may leave
anything broken; with masks off, those that are marked `breaks` have to, or the
table would show nothing.

scripts/soak interrupts the same constructs by a timer instead.
"""

import collections
import contextlib
import functools
import json
import os
import sys
import threading
import types
import warnings

from test import support
from test.support import os_helper, script_helper
from test.support.interrupt_sweep import Interrupt, sweep

__all__ = ['Account', 'AsyncResource', 'Construct', 'Failure', 'LockClass',
           'Resource', 'Table', 'TableTests', 'exhaust', 'step', 'suspend',
           'work']


class Failure(Exception):
    """What the code under test raises by itself."""


def step():
    """A step of setting up or cleaning up; the call is a check point."""


def work():
    """The body of a construct: a call, so that it can be interrupted."""


# Runs an iterator to its end without a check point of its own.  A loop that
# drives a coroutine can itself be interrupted, and then has to close it.
exhaust = functools.partial(collections.deque, maxlen=0)


class LockClass:
    """A lock that knows its owner, as many libraries write it."""

    def __init__(self):
        self.inner = threading.Lock()
        self.owner = None

    def __enter__(self):
        self.inner.acquire()
        self.owner = threading.get_ident()
        return self

    def __exit__(self, *exc_info):
        self.owner = None
        self.inner.release()

    def is_held(self):
        return self.inner.locked() or self.owner is not None


class Resource:
    """A context manager; broken if it is anything but open or closed."""

    def __init__(self, *, error_in_enter=None, error_in_exit=None,
                 suppress=False):
        self.state = 'closed'
        self.error_in_enter = error_in_enter
        self.error_in_exit = error_in_exit
        self.suppress = suppress

    def __enter__(self):
        self.open()
        if self.error_in_enter is not None:
            self.close()
            raise self.error_in_enter
        return self

    def __exit__(self, *exc_info):
        self.close()
        if self.error_in_exit is not None:
            raise self.error_in_exit
        return self.suppress

    def open(self):
        self.state = 'opening'
        step()
        self.state = 'open'

    def close(self):
        self.state = 'closing'
        step()
        self.state = 'closed'


class AsyncResource(Resource):

    async def __aenter__(self):
        self.state = 'entering'
        await suspend()
        self.open()
        return self

    async def __aexit__(self, *exc_info):
        self.state = 'leaving'
        await suspend()
        self.close()
        return self.suppress


@types.coroutine
def suspend():
    yield


class Construct:
    """A construct: its state, what is interrupted, what must not be left."""

    name = None
    # Is something left broken with masks off?
    breaks = True
    # Its work() can be interrupted; False if it has none, or masks it.
    is_open = True
    # What run() may raise by itself.
    errors = ()
    # What it is interrupted with: some code asks whether it is Ctrl-C.
    interrupt = Interrupt
    # Does each call pass the same check points?  Not if other threads take part.
    exact = True

    def run(self):
        raise NotImplementedError

    def is_broken(self):
        raise NotImplementedError

    def is_broken_by(self, run):
        return self.is_broken()

    def close(self):
        pass


class Table(dict):
    """Constructs by name.

    setups   context managers, called with the path of an empty folder, which
             is the working directory while the table is in use
    share    how many rounds of scripts/soak a construct gets, compared to one
             of the other tables; less than 1 if they are slow
    """

    def __init__(self, *, setups=(), share=1):
        self.setups = setups
        self.share = share

    def construct(self, name, **attributes):
        """Put a class into the table."""
        def register(cls):
            assert name not in self, name
            cls.name = name
            for key, value in attributes.items():
                assert hasattr(cls, key), key
                setattr(cls, key, value)
            self[name] = cls
            return cls
        return register

    @contextlib.contextmanager
    def in_use(self):
        """What the constructs need."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(os_helper.temp_dir())
            stack.enter_context(os_helper.change_cwd(folder))
            stack.enter_context(warnings.catch_warnings())
            # What is dropped because of an interrupt says so.
            warnings.simplefilter('ignore', ResourceWarning)
            for setup in self.setups:
                # A real path: some compare it with os.getcwd().
                stack.enter_context(setup(os.getcwd()))
            yield


class Account:
    """What a sweep over a construct has found."""

    def __init__(self, cls, **options):
        self.points = 0
        self.broken = []
        self.in_work = 0
        for run in sweep(cls.run, cls, teardown=cls.close, strict=False,
                         **{'errors': cls.errors, 'exact': cls.exact,
                            'interrupt': cls.interrupt} | options):
            self.points += 1
            if run.places and run.places[0][2] == 'work':
                self.in_work += 1
            # Generators and the like end with the frames that hold them.
            with support.catch_unraisable_exception() as caught:
                run.forget()
                unraisable = caught.unraisable is not None
            # After the end of the function, only if no TIT was reached.
            late = run.late and run.error is None
            if (run.problem is not None or late or unraisable
                    or run.state.is_broken_by(run)):
                self.broken.append(repr(run))


def report(table, names):
    """Print how often each construct was left broken, as JSON."""
    with table.in_use():
        # Where `async with` is cut, what it would have awaited is left over.
        warnings.simplefilter('ignore', RuntimeWarning)
        json.dump({name: len(Account(table[name], errors=Exception).broken)
                   for name in names or table}, sys.stdout)


class TableTests:
    """Tests of a table: to be derived from, before unittest.TestCase."""

    table = None
    # Of the test module; run as a script with 'report' it calls report().
    file = None

    def test_masks_on(self):
        with self.table.in_use():
            for name, cls in self.table.items():
                with self.subTest(construct=name):
                    account = Account(cls)
                    self.assertGreater(account.points, 0)
                    if cls.is_open:
                        self.assertGreater(account.in_work, 0)
                    else:
                        self.assertEqual(account.in_work, 0)
                    self.assertEqual(account.broken, [])

    @support.requires_subprocess()
    def test_masks_off(self):
        result = script_helper.assert_python_ok(
            '-X', 'interrupt_masks=0', self.file, 'report')
        found = json.loads(result.out)
        self.assertEqual(list(found), list(self.table))
        self.assertEqual(
            [name for name, broken in found.items() if broken],
            [name for name, cls in self.table.items() if cls.breaks])
