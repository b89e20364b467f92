"""Runs the fixtures of bytecode-tests under one tool and prints what it sees.

Usage: PYTHON events.py TOOL FIXTURES [COVERAGE]

Run by scripts/tests/events, once by each interpreter.  Each line of the output is
an event, but those that begin with "# " say which fixture comes, and in which
scenario: with which arguments, which of its calls raises what, and where a
generator is thrown into or closed.
"""

import dis
import inspect
import io
import itertools
import os
import pathlib
import re
import sys
import types

# Calls that a fixture may make; some never end by themselves.
MAX_STEPS = 12


class Error(Exception):
    pass


class OtherError(Exception):
    pass


class Unexpected(Exception):
    pass


class Endless(BaseException):
    """Ends a fixture that does not end by itself."""


# None on stock.
MASKING = {dis.opmap[name] for name in ('NIT', 'TIT') if name in dis.opmap}


class World:
    """What the fixtures use, and how it behaves."""

    def __init__(self, truth, fails_at=0, error=None):
        self.truth = truth
        self.fails_at = fails_at
        self.error = error
        self.steps = 0
        self.conditions = 0

    def step(self):
        self.steps += 1
        if self.steps == self.fails_at:
            raise self.error
        if self.steps > MAX_STEPS:
            raise Endless

    def condition(self):
        self.conditions += 1
        return self.conditions <= 2

    def call(self, *args):
        self.step()
        for arg in args:
            if isinstance(arg, types.FunctionType):
                arg()
        return Value(self.truth)

    def namespace(self):
        names = dict.fromkeys(FUNCTIONS, self.call)
        names |= {name: Manager(self) for name in MANAGERS}
        return names | {
            '__name__': 'fixture', 'condition': self.condition,
            'suppressing': Manager(self, suppresses=True), 'lock': Lock(self),
            'error': Error(), 'Error': Error, 'OtherError': OtherError}


FUNCTIONS = '''work clean_up clean_up_more clean_up_inner clean_up_outer before
    after handle handle_other report register'''.split()
MANAGERS = '''manager outer middle inner first second other owner nointerrupts
    interrupts'''.split()


class Value(int):
    """The result of a call, also if it is awaited."""

    def __await__(self):
        yield self
        return self


class Manager:
    """A context manager of both kinds; also what returns one, or awaits it."""

    def __init__(self, world, suppresses=False):
        self.world = world
        self.suppresses = suppresses
        self.child = self

    def __call__(self, *args):
        self.world.call(*args)
        return self

    def __await__(self):
        yield
        return self

    def __bool__(self):
        return self.world.truth

    def __repr__(self):
        return 'Manager'

    def __iter__(self):
        return iter((1, 2, 3))

    def __enter__(self):
        self.world.step()
        return self

    def __exit__(self, *exc_info):
        self.world.step()
        return self.suppresses

    async def __aenter__(self):
        self.world.step()
        await Value()
        return self

    async def __aexit__(self, *exc_info):
        await Value()
        self.world.step()
        return self.suppresses


class Lock:

    def __init__(self, world):
        self.acquire = self.release = world.call


class Items(list):
    """Something to loop over, with `for` or `async for`."""

    async def __aiter__(self):
        for item in self:
            await Value()
            yield item


# What the functions are called with, by the name of the parameter.
ARGUMENTS = {
    'condition': [True, False],
    'items': [Items(), Items([0, 1, 2]), Items([1, 0])],
    'key': [1],
    'owner': [types.SimpleNamespace()],
    'self': [None],
    'value': [1, 5, [1], {'key': 2}],
    'values': [{}],
}


class Drive:
    """What is done with a generator: what is sent, and at which suspension it is
    thrown into or closed."""

    def __init__(self, sent, action='send', at=None):
        self.sent = sent
        self.action = action
        self.at = at
        self.suspensions = 0

    def next(self, generator):
        """Resume; return whether there is more to come."""
        self.suspensions += 1
        if self.suspensions == self.at:
            if self.action == 'close':
                generator.close()
                return False
            generator.throw(Error())
        else:
            generator.send(self.sent if self.suspensions else None)
        return True

    def run(self, generator):
        self.suspensions = -1
        try:
            while self.next(generator):
                pass
        except StopIteration:
            pass
        finally:
            generator.close()

    async def run_async(self, generator):
        suspensions = -1
        try:
            while True:
                suspensions += 1
                if suspensions != self.at:
                    await generator.asend(self.sent if suspensions else None)
                elif self.action == 'close':
                    break
                else:
                    await generator.athrow(Error())
        except StopAsyncIteration:
            pass
        finally:
            await generator.aclose()


def run(code, names, arguments, drive, inner):
    """Run a fixture once: what a module does, or its function `f`, or the method
    of its class.

    Of what it returns, `drive` counts the suspensions, `inner` what an
    asynchronous generator yields.
    """
    exec(code, names)
    function = names.get('f')
    if 'C' in names:
        function = getattr(names['C'], 'f', None)
    if function is None:
        return
    result = function(*arguments)
    if isinstance(result, types.AsyncGeneratorType):
        result = inner.run_async(result)
    if isinstance(result, (types.GeneratorType, types.CoroutineType)):
        drive.run(result)


def functions_in(code):
    """The code objects named `f` in a module and its classes."""
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            if const.co_name == 'f':
                yield const
            yield from functions_in(const)


def scenarios(code, cuts, errors):
    """Yield a description, a World and the arguments of run() after the names."""
    parameters = ()
    suspends = False
    for function in functions_in(code):
        parameters = function.co_varnames[:function.co_argcount]
        suspends |= bool(function.co_flags & (
            inspect.CO_GENERATOR | inspect.CO_COROUTINE
            | inspect.CO_ASYNC_GENERATOR))
    plain = [(0, None)]
    raising = [*itertools.product(range(1, cuts + 1), errors)]
    driven = [*itertools.product(('throw', 'close'), range(1, cuts + 1))]
    for choice, truth in itertools.product(
            itertools.product(*map(ARGUMENTS.get, parameters)), (True, False)):
        for at, error in plain + raising:
            world = World(truth, at, error and error())
            sent = Manager(world) if truth else None
            raises = f', call {at} raises {error.__name__}' if error else ''
            yield (f'{choice} {truth}{raises}', world, choice, Drive(sent),
                   Drive(sent))
        for action, at in driven if suspends else ():
            for where in 'inside', 'outside':
                world = World(truth)
                sent = Manager(world) if truth else None
                drives = [Drive(sent, action, at), Drive(sent)]
                if where == 'inside':
                    drives.reverse()
                yield (f'{choice} {truth}, {action} {at} {where}', world, choice,
                       *drives)


# --- The tools -------------------------------------------------------------

HERE = __file__


def describe(value):
    """Like repr(), but without what differs from run to run."""
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, BaseException):
        return f'{type(value).__name__}({value})'
    name = getattr(value, '__qualname__', None)
    return name or type(value).__name__


class Tool:
    """Collects the events of one scenario after the other."""

    # The calls, and the suspensions, that something is raised at; and what.
    cuts = 4
    errors = (Error, OtherError, Unexpected)

    def __init__(self, fixtures):
        self.files = {HERE, *fixtures}
        self.events = []

    def is_ours(self, code):
        """The libraries of the two interpreters differ."""
        return code.co_filename in self.files

    def note(self, code, *what):
        if self.is_ours(code):
            name = os.path.basename(code.co_filename)
            self.events.append(' '.join([name, code.co_qualname,
                                         *map(str, what)]))

    def call(self, function, *args):
        """Call the function with the tool at work."""
        self.start()
        outcome = 'returned'
        try:
            function(*args)
        except BaseException as exc:
            outcome = describe(exc)
        finally:
            self.stop()
        self.events.append(f'outcome: {outcome}')

class SetTrace(Tool):

    def trace(self, frame, event, arg):
        if not self.is_ours(frame.f_code):
            return None
        if event == 'exception':
            arg = arg[1]
        self.note(frame.f_code, event, frame.f_lineno, describe(arg))
        return self.trace

    def start(self):
        sys.settrace(self.trace)

    def stop(self):
        sys.settrace(None)


class SetProfile(Tool):

    def profile(self, frame, event, arg):
        self.note(frame.f_code, event, frame.f_lineno, describe(arg))

    def start(self):
        sys.setprofile(self.profile)

    def stop(self):
        sys.setprofile(None)


class Monitoring(Tool):
    """All events but those of instructions.

    An instruction is told by its place in the source.
    """

    disables = False
    ID = 3

    def __init__(self, fixtures):
        super().__init__(fixtures)
        self.places = {}

    def start(self):
        monitoring = sys.monitoring
        monitoring.use_tool_id(self.ID, 'events')
        mask = 0
        for name, event in vars(monitoring.events).items():
            if name in ('INSTRUCTION', 'NO_EVENTS') or name.startswith('_'):
                continue
            monitoring.register_callback(self.ID, event, self.callback(name))
            mask |= event
        # Those that have been disabled are seen again.
        monitoring.restart_events()
        monitoring.set_events(self.ID, mask)

    def stop(self):
        monitoring = sys.monitoring
        monitoring.set_events(self.ID, 0)
        for name, event in vars(monitoring.events).items():
            if name != 'NO_EVENTS' and not name.startswith('_'):
                monitoring.register_callback(self.ID, event, None)
        monitoring.free_tool_id(self.ID)

    def callback(self, name):
        can_disable = self.disables and name in (
            'LINE', 'CALL', 'JUMP', 'BRANCH', 'PY_START', 'PY_RETURN',
            'PY_RESUME', 'PY_YIELD')
        result = sys.monitoring.DISABLE if can_disable else None
        jumps = name in ('JUMP', 'BRANCH')

        def note(code, where, *args):
            if self.is_ours(code):
                if name != 'LINE':
                    where = self.position(code, where)
                if jumps:
                    args = [self.position(code, args[0])]
                self.note(code, name, where, *map(describe, args))
            return result
        return note

    def position(self, code, offset):
        if code not in self.places:
            self.places[code] = list(code.co_positions())
        # Jumps also lead to what has no place.  A NIT has none, or that of a NOP
        # which would be there, or that of the instruction before it: then what
        # comes next counts.
        places = self.places[code]
        for i in range(offset // 2, len(places)):
            moved = (code.co_code[2 * i] in MASKING
                     and places[i] == places[i - 1])
            if places[i][0] is not None and not moved:
                return ':'.join(map(str, places[i]))


class MonitoringOnce(Monitoring):
    """The same where each place is seen once: the callbacks return DISABLE."""

    disables = True


class SlowTool(Tool):

    cuts = 3
    errors = (Error,)


class Trace(SlowTool):
    """The module trace: how often each line has run, or which functions."""

    functions = 0

    def __init__(self, fixtures):
        super().__init__(fixtures)
        import trace
        self.trace = trace

    def start(self):
        self.tracer = self.trace.Trace(trace=0, countfuncs=self.functions)
        sys.settrace(self.tracer.globaltrace)

    def stop(self):
        sys.settrace(None)
        results = self.tracer.results()
        for counts in results.counts, results.calledfuncs:
            self.events += sorted(f'{key}: {count}'
                                  for key, count in counts.items()
                                  if key[0] in self.files)


class TraceFunctions(Trace):

    functions = 1
    # It looks through all objects for the class of each function.
    cuts = 0


class Pdb(SlowTool):
    """pdb, stepping from line to line."""

    class Steps:
        """A file of commands that never ends."""

        def readline(self):
            return 'step\n'

    def __init__(self, fixtures):
        super().__init__(fixtures)
        import pdb
        self.pdb = pdb

    def call(self, function, *args):
        output = io.StringIO()
        debugger = self.pdb.Pdb(stdin=self.Steps(), stdout=output,
                                skip=[__name__], nosigint=True, readrc=False)
        try:
            debugger.runcall(function, *args)
        except BaseException as exc:
            self.events.append(f'outcome: {describe(exc)}')
        # What is returned, unless it has an address.
        text = re.sub('->.*<.*', '->', output.getvalue())
        self.events += text.splitlines()


class Coverage(SlowTool):
    """coverage.py: lines and arcs; CORE is its own name for the tracer it uses."""

    CORE = None
    # It takes long to start.
    cuts = 1

    def __init__(self, fixtures):
        super().__init__(fixtures)
        os.environ['COVERAGE_CORE'] = self.CORE
        import coverage
        self.coverage = coverage.Coverage(
            data_file=None, branch=self.CORE != 'sysmon', config_file=False,
            include=list(self.files), messages=False)

    def start(self):
        self.coverage.erase()
        self.coverage.start()

    def stop(self):
        self.coverage.stop()
        data = self.coverage.get_data()
        for file in sorted(data.measured_files()):
            found = (data.arcs(file) if data.has_arcs() else data.lines(file))
            self.events.append(f'{os.path.basename(file)} {sorted(found)}')


class CoverageC(Coverage):
    CORE = 'ctrace'


class CoveragePython(Coverage):
    CORE = 'pytrace'


class CoverageMonitoring(Coverage):
    CORE = 'sysmon'


TOOLS = {
    'settrace': SetTrace,
    'setprofile': SetProfile,
    'monitoring': Monitoring,
    'monitoring-once': MonitoringOnce,
    'trace': Trace,
    'trace-functions': TraceFunctions,
    'pdb': Pdb,
    'coverage-c': CoverageC,
    'coverage-python': CoveragePython,
    'coverage-monitoring': CoverageMonitoring,
}


def main():
    tool_name, folder, *packages = sys.argv[1:]
    sys.path[:0] = packages
    fixtures = {str(path): path.read_text()
                for path in sorted(pathlib.Path(folder).glob('*.py'))}
    tool = TOOLS[tool_name](fixtures)
    for path, source in fixtures.items():
        code = compile(source, path, 'exec', dont_inherit=True)
        for text, world, *arguments in scenarios(code, tool.cuts, tool.errors):
            print(f'# {os.path.basename(path)} {text}')
            tool.call(run, code, world.namespace(), *arguments)
            for event in tool.events:
                print(event)
            tool.events.clear()


if __name__ == '__main__':
    main()
