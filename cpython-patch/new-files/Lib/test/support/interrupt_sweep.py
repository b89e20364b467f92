"""Interrupt a function at each of its check points, one after the other.

A timer that fires now and then finds a window only if it happens to hit it.
Here nothing is left to luck: the function is called again and again, and its
N-th call gets an interrupt at its N-th check point, until a call ends before
there was an N-th.  So every place where an interrupt can be raised has been
tried, and what one of them breaks can be repeated with the same N.

    for run in sweep(use, setup=threading.Lock):
        self.assertFalse(run.state.locked(), run)

There are two kinds of check points, counted apart: those of the eval loop
('eval') and the calls of PyErr_CheckSignals() ('signals').

The sweep itself watches that no interrupt is lost, forgotten, raised twice,
reported as unraisable, or leaves a mask behind, and raises SweepError if so.

Whether a sweep would find a mistake in the masks is shown by making one:
`suppressing` takes a kind of NIT or TIT out of given functions.

InternalDocs/interrupt_masking.md says what check points and masks are.
"""

import contextlib
import dis
import functools
import gc
import operator
import sys
import threading
import types

import _interrupts

__all__ = ['Interrupt', 'KINDS', 'Run', 'SweepError', 'drain',
           'masking_instructions', 'suppressing', 'sweep']


class Interrupt(BaseException):
    """What a sweep raises in the code under test."""


class SweepError(AssertionError):
    """What a sweep found out by itself; also: it cannot be done."""


# The calls before the first cut: specialization, imports and lazy caches
# change the number of check points until it settles.
STABLE_CALLS = 6
MAX_WARM_UP_CALLS = 60


class Run:
    """One call of the function, cut at one check point.

    n, where   the n-th check point of this kind
    state      what setup() returned
    exc        the interrupt
    raised     was it raised at all?  The function may have caught it
    escaped    did it come out of the function?
    late       was it raised only after the function had ended?
    result     what the function returned, or None
    error      another exception that came out of the function, or None
    problem    what is wrong by the sweep's own rules, in words, or None
    places     where the interrupt was raised, innermost first: tuples of
               file name, line and function
    """

    state = result = error = problem = None

    def __init__(self, n, where, exc):
        self.n = n
        self.where = where
        self.exc = exc
        self.raised = self.escaped = self.late = False
        self.places = []

    def forget(self):
        """Let go of the frames, and of what their variables hold."""
        for exc in (self.exc, self.error):
            _drop_tracebacks(exc)

    def __repr__(self):
        text = f'interrupt at {self.where!r} check point {self.n}'
        if self.places:
            text += ', raised ' + ', called from '.join(
                f'in {name} ({file}:{line})'
                for file, line, name in self.places)
        elif self.raised:
            text += ', raised after the call'
        else:
            text += ', not raised'
        if self.error is not None:
            text += f'; the function raised {self.error!r}'
        if self.problem is not None:
            text += f'; {self.problem}'
        return f'<{text}>'


def _drop_tracebacks(exc):
    seen = set()
    waiting = [exc]
    while waiting:
        exc = waiting.pop()
        if exc is None or id(exc) in seen:
            continue
        seen.add(id(exc))
        exc.__traceback__ = None
        waiting += [exc.__context__, exc.__cause__]
        if isinstance(exc, BaseExceptionGroup):
            waiting += exc.exceptions


def _places(exc):
    places = []
    tb = exc.__traceback__
    while tb is not None:
        code = tb.tb_frame.f_code
        if code not in _HARNESS:
            places.insert(0, (code.co_filename, tb.tb_lineno,
                              code.co_qualname))
        tb = tb.tb_next
    return places


def _check_point():
    """A call of a Python function is one."""


class _Question(BaseException):
    """Makes the eval loop look at what waits; of a type of its own, so that it
    is raised by itself, and last."""


def _raise_question():
    _interrupts.sweep_start(1, 'eval', _Question())


def _send_question():
    _interrupts.send(threading.get_ident(), _Question)


def _ask(question):
    """Raise what waits although nobody has asked about it.

    Return what has been raised.  To be called under `nointerrupts`: then it
    can be raised here in the `try` body only.
    """
    caught = []
    for _ in range(100):
        try:
            with threading.interrupts:
                question()
                _check_point()
        except _Question:
            break
        except BaseException as exc:
            caught.append(exc)
        else:
            break
    _interrupts.sweep_stop()
    return caught


class _Call:
    """A call of the function under test, and what came up around it."""

    def __init__(self, function, n, where, exc):
        self.steps = map(operator.call, (
            functools.partial(_interrupts.sweep_start, n, where, exc),
            function,
            _interrupts.sweep_stop,
        ))
        self.results = []       # of those steps that have returned
        self.came_out = self.after = self.again = None
        self.forgotten = []     # what was raised only because we asked
        self.unraisable = []

    def make(self):
        gc_was_enabled = gc.isenabled()
        hook = sys.unraisablehook
        tracer = sys.gettrace()
        # A collection could come at any check point and bring its own, and so
        # could a tracer.
        gc.disable()
        sys.settrace(None)
        sys.unraisablehook = self.note_unraisable
        try:
            self.make_steps()
        finally:
            sys.unraisablehook = hook
            sys.settrace(tracer)
            if gc_was_enabled:
                gc.enable()

    def note_unraisable(self, unraisable):
        self.unraisable.append(unraisable.exc_value)

    def make_steps(self):
        extend = self.results.extend
        steps = self.steps
        # One C function makes all steps, so that no check point of this frame
        # is counted, and none lies between the end of the function and the end
        # of counting.  There is none outside of the `try` bodies either:
        # something may be raised at any of them.
        try:
            extend(steps)
        except BaseException as exc:
            self.came_out = exc
        try:
            # After an exception this is sweep_stop(), otherwise nothing.
            extend(steps)
            _check_point()
        except BaseException as exc:
            self.after = exc
        try:
            _check_point()
            _check_point()
        except BaseException as exc:
            self.again = exc
        # By now whatever waited should have come.  What has been forgotten
        # would be raised in the middle of this module, or in the next call.
        with threading.nointerrupts:
            self.forgotten = _ask(_raise_question)


_HARNESS = {function.__code__ for function in (
    _Call.make_steps, _check_point, _ask, _raise_question)}


class _Function:
    """The function under test, with fresh state for each call."""

    def __init__(self, function, setup, teardown, interrupt, errors):
        self.function = function
        self.setup = setup
        self.teardown = teardown
        self.interrupt = interrupt
        self.errors = errors

    def warm_up(self, where, exact, max_points):
        """Call until the number of check points has settled; return it."""
        counts = []
        while len(counts) < MAX_WARM_UP_CALLS:
            run, count, delivered = self.cut(max_points + 1, where)
            self.end(run)
            if run.problem is not None:
                drain()
                raise SweepError(f'{self.function!r}, not interrupted: '
                                 f'{run.problem}')
            if delivered:
                raise SweepError(
                    f'{self.function!r} was stopped after {max_points:,} '
                    f'check points of kind {where!r}: too many for a sweep, '
                    'or does it never end?')
            counts.append(count)
            if len(counts) >= STABLE_CALLS and (
                    not exact or len(set(counts[-STABLE_CALLS:])) == 1):
                return count
        raise SweepError(f'{self.function!r} is not deterministic: calls had '
                         f'{counts} check points of kind {where!r}')

    # Not a context manager: what runs in __enter__ is masked.

    def cut(self, n, where):
        """Call the function, interrupted at the n-th check point.

        Return the run, the number of check points, and if there was an n-th.
        """
        if threading.interrupts_masked():
            raise SweepError('a sweep in masked code would see nothing')
        function = self.function
        run = Run(n, where, self.interrupt(where, n))
        if self.setup is not None:
            run.state = self.setup()
            function = functools.partial(function, run.state)
        call = _Call(function, n, where, run.exc)
        try:
            call.make()
            if not call.results:
                raise call.came_out
            count, delivered = call.results[-1]
            self.judge(run, call, delivered)
        except BaseException:
            self.end(run)
            raise
        return run, count, delivered

    def end(self, run):
        if self.teardown is not None:
            if self.setup is not None:
                self.teardown(run.state)
            else:
                self.teardown()

    def judge(self, run, call, delivered):
        """Fill in the run; raise what is neither interrupt nor expected."""
        exc = run.exc
        caught = [call.came_out, call.after, call.again, *call.forgotten]
        times = sum(other is exc for other in caught)
        has_returned = len(call.results) == 3
        if has_returned:
            run.result = call.results[1]
        # The end of the C function that made the call is a check point, too.
        run.escaped = call.came_out is exc and not has_returned
        run.late = times > 0 and not run.escaped
        # Whatever passes a Python frame has a traceback, so this is also seen
        # if the function has caught it.
        run.raised = exc.__traceback__ is not None
        run.places = _places(exc)

        for other in caught:
            if other is None or other is exc:
                continue
            if other is call.came_out and isinstance(other, self.errors):
                run.error = other
            else:
                other.add_note(f'During {run!r}')
                raise other

        if any(other is exc for other in call.unraisable):
            run.problem = 'reported as unraisable'
        elif times > 1:
            run.problem = 'raised twice'
        elif run.raised and not delivered:
            run.problem = 'raised before it arrived'
        elif delivered and not run.raised:
            run.problem = 'lost'
        elif threading.interrupts_masked():
            run.problem = 'the code after the call is masked'
        elif any(other is exc for other in call.forgotten):
            run.problem = 'forgotten until the sweep asked about it'
        elif threading.interrupts_pending():
            run.problem = 'something still waits after the call'


def drain():
    """Raise and drop whatever waits, so that nobody else is hit by it."""
    with threading.nointerrupts:
        for _ in range(100):
            # Each makes the eval loop look at one of the queues.
            _ask(_raise_question)
            _ask(_send_question)
            if not threading.interrupts_pending():
                break


def sweep(function, setup=None, *, teardown=None, where=('eval', 'signals'),
          interrupt=Interrupt, errors=(), strict=True, exact=True,
          max_points=5_000):
    """Call `function` once for each of its check points, cut there.

    This is a generator of Run objects.  With `setup`, each call gets what a
    call of setup() returned, and so does teardown() after the loop's body.
    Without interrupts each call has to take the same way through the function.

    interrupt   a class, called with the kind and number of the check point
    errors      exceptions that the function may raise by itself; any other is
                passed on to the caller
    strict      raise SweepError for each Run with a `problem`
    exact       raise SweepError unless all calls have the same number of check
                points; False is for code that depends on other threads
    max_points  where to give up
    """
    target = _Function(function, setup, teardown, interrupt, errors)
    if isinstance(where, str):
        where = (where,)
    for kind in where:
        expected = target.warm_up(kind, exact, max_points)
        n = 1
        while True:
            if n > max_points:
                raise SweepError(
                    f'{function!r} has reached {max_points:,} check points of '
                    f'kind {kind!r}, and {expected:,} without an interrupt')
            run, count, delivered = target.cut(n, kind)
            wrong = run.problem is not None
            try:
                if delivered and not (wrong and strict):
                    yield run
            finally:
                target.end(run)
            if wrong:
                drain()
                if strict:
                    raise SweepError(repr(run)) from run.exc
            if not delivered:
                break
            n += 1
        if exact and n - 1 != expected:
            raise SweepError(
                f'{function!r} is not deterministic: {expected} check points '
                f'of kind {kind!r} at first, now {count}')


# Taking NITs and TITs out of bytecode.

_NIT = dis.opmap['NIT']
_TIT = dis.opmap['TIT']
_NOP = dis.opmap['NOP']

_DEPTH = 0x1f
_SUSPENDING = 0x40

# All kinds of emitted NIT and TIT, by what they are there for.
KINDS = (
    'enter NIT',                    # before __enter__
    'enter TIT',                    # first in the protected range
    'exit NIT',                     # before __exit__, without an exception
    'exit TIT',
    'exit NIT of exception',        # before __exit__, with an exception
    'exit TIT before reraise',      # __exit__ returned false
    'exit TIT when suppressed',     # __exit__ returned true
    'finally NIT',                  # a copy of the body, without an exception
    'finally TIT',                  # any end of a body but the next
    'finally NIT of exception',     # the copy for exceptions
    'finally TIT before reraise',
    'handler NIT',                  # of a handler that restores its own level
    'suspending TIT',               # before YIELD_VALUE
)


def masking_instructions(code):
    """Return {offset: kind} for the NITs and TITs of one code object."""
    instructions = list(dis.get_instructions(code, adaptive=False))
    names = [instruction.opname for instruction in instructions]
    index_at = {instruction.offset: index
                for index, instruction in enumerate(instructions)}
    table = dis._parse_exception_table(code)
    handlers = {entry.target for entry in table}

    def handler_of(offset):
        for entry in table:
            if entry.start <= offset < entry.end:
                return instructions[index_at[entry.target]]

    def kind_of_nit(index):
        instruction = instructions[index]
        following = names[index + 1:index + 5]
        if following[0] in ('BEFORE_WITH', 'BEFORE_ASYNC_WITH'):
            return 'enter NIT'
        if instruction.offset not in handlers:
            if following == ['LOAD_CONST'] * 3 + ['CALL']:
                return 'exit NIT'
            return 'finally NIT'
        if following[:2] == ['PUSH_EXC_INFO', 'WITH_EXCEPT_START']:
            return 'exit NIT of exception'
        if following[0] == 'PUSH_EXC_INFO':
            # That of `finally` opens a region.  What cleans up after it has
            # the level outside of it.
            cleanup = handler_of(instructions[index + 1].offset)
            if (cleanup is not None and cleanup.opname == 'NIT'
                    and cleanup.arg & _DEPTH < instruction.arg & _DEPTH):
                return 'finally NIT of exception'
        return 'handler NIT'

    kinds = {}
    # TITs that end something which can be awaited are the next in the listing
    # that do not suspend.
    expected_tit = None
    for index, instruction in enumerate(instructions):
        before = names[max(index - 4, 0):index]
        following = names[index + 1] if index + 1 < len(names) else None
        if instruction.opcode == _NIT:
            kind = kind_of_nit(index)
            expected_tit = {'enter NIT': 'enter TIT',
                            'exit NIT': 'exit TIT'}.get(kind)
        elif instruction.opcode != _TIT:
            continue
        elif instruction.arg & _SUSPENDING:
            kind = 'suspending TIT'
        elif expected_tit is not None:
            kind = expected_tit
            expected_tit = None
        elif before == ['POP_TOP', 'POP_EXCEPT', 'POP_TOP', 'POP_TOP']:
            kind = 'exit TIT when suppressed'
        elif following == 'RERAISE':
            kind = {0: 'finally TIT before reraise',
                    2: 'exit TIT before reraise'}[instructions[index + 1].arg]
        else:
            kind = 'finally TIT'
        kinds[instruction.offset] = kind
    return kinds


def _without(code, kind):
    """Return the code without the kind, nested code too, and how many it had.
    """
    count = 0
    raw = bytearray(code.co_code)
    for offset, found in masking_instructions(code).items():
        if found == kind:
            raw[offset:offset + 2] = bytes([_NOP, 0])
            count += 1
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            constant, nested_count = _without(constant, kind)
            count += nested_count
        constants.append(constant)
    if count:
        code = code.replace(co_code=bytes(raw), co_consts=tuple(constants))
    return code, count


@contextlib.contextmanager
def suppressing(kind, functions):
    """Take one kind of NIT or TIT out of the functions while the body runs.

    The functions, and those defined in them, then have a hole that no compiler
    leaves.  Only for showing that a test finds it.
    """
    if kind not in KINDS:
        raise ValueError(f'{kind!r} is none of {KINDS}')
    originals = []
    total = 0
    try:
        for function in functions:
            function = getattr(function, '__func__', function)
            code, count = _without(function.__code__, kind)
            originals.append((function, function.__code__))
            function.__code__ = code
            total += count
        if not total:
            raise ValueError(f'there is no {kind!r} in these functions')
        yield total
    finally:
        for function, code in originals:
            function.__code__ = code
