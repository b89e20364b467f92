"""Measure our timeouts beside the packages that people use for them.

Started by scripts/compare-timeouts, which also has the help text.

Each measurement is a *probe*: a child process that uses one tool once, or some
times in a row, and writes down what happens and when, one JSON object a line.
Nothing is judged in there.  The parent ends a child that takes too long, and
judges what is written, together with how the child has ended.  All times are
of the monotonic clock, in seconds, which is the same for all processes.

The calls that block are those of test.support.interrupt_waits, and what a
timeout can leave broken is taken from scripts/demo.py.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings

from compatibility import CouldNotRun, Progress, clean_environment, run_step
from demo import Finally, LockClass, Semaphore, work

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK_DIR = f"{ROOT}/build/timeouts"
WAITS_FILE = (f"{ROOT}/cpython-patch/new-files/Lib/test/support/"
              "interrupt_waits.py")
PAGE = f"{ROOT}/cpython-patch/new-files/Doc/howto/interrupts-comparison.rst"
PAGE_BEGIN = ".. What scripts/compare-timeouts has printed begins here.\n"
PAGE_END = ".. What scripts/compare-timeouts has printed ends here.\n"
SIDES = ("ours", "stock")

# What is compared, and what it needs: stopit imports pkg_resources, which
# newer versions of setuptools no longer have.
REQUIREMENTS = ["interruptible-threading==0.0.1", "func-timeout==4.3.5",
                "stopit==1.1.2", "wrapt-timeout-decorator==1.5.1",
                "pytest-timeout==2.4.0", "pytest==9.2.0", "setuptools==80.10.2"]
# There are no wheels of these.  They are written in Python.
NO_WHEEL = "func-timeout,stopit"

# Seconds: what a block may take, if the tool has no coarser clock.
LIMIT = 0.3
# Later than this after the deadline is not prompt.
PROMPT = 0.5
# After the deadline a call is let go, so that it returns by itself.
PATIENCE = 1.0
# After the caller has been told, the block may take so long to end.
GRACE = 0.7
# A child that takes longer is ended.
PROBE_LIMIT = 20
# Of a cleanup, and of one step of it.
CLEANUP, CLEANUP_STEP = 3.0, 0.1
# What is to be left broken is used in a loop from so long before the deadline,
# until so long after it.
AIM, AIM_END = 0.004, 0.3

# Probes that mostly sleep and those that must not be disturbed.
AT_ONCE = 6
SLEEPERS_AT_ONCE = 16


# == in the child =============================================================

# One of the packages replaces it; threading.Timer does not work then.
Thread = threading.Thread


class Expired(BaseException):
    """What a tool raises in the caller, whatever it is, as its cause."""


class Log:
    """Where a probe writes down what happens; processes may share it."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, what, **more):
        event = {"what": what, "at": time.monotonic(), "pid": os.getpid(),
                 "thread": threading.get_ident(), **more}
        os.write(self.fd, json.dumps(event).encode() + b"\n")


def describe(exc):
    """An exception as JSON."""
    return [cls.__name__ for cls in type(exc).__mro__]


# -- the tools ----------------------------------------------------------------

class Tool:
    """Something that limits the time that a function may take."""

    title = ()          # two short lines
    package = ""        # what is installed
    ours = False        # only our interpreter has it
    least = LIMIT       # seconds, the shortest limit to be used
    most = 10 ** 6      # rounds, where one takes long
    has_block = True    # it is about a block, not about a thread
    nests = True
    exits = False       # if it is too late, nothing is left of the program
    thread_class = threading.Thread

    def set_up(self, log):
        self.log = log

    def limit(self, seconds, function):
        """Return function(); raise Expired if that takes longer."""
        raise NotImplementedError

    def start(self):
        """Tell when the time begins to count."""
        self.log("start")

    def waits(self):
        """{name: context manager}, calls to be made in the tool's own way."""
        return {}


class OurTimeout(Tool):
    title = "threading.", "timeout"
    ours = True

    def limit(self, seconds, function):
        self.start()
        try:
            with threading.timeout(seconds):
                return function()
        except TimeoutError as exc:
            raise Expired from exc


class Watched(Tool):
    """Another thread sends an exception when the time is over."""

    has_block = False

    def send(self, target):
        raise NotImplementedError

    def forget(self):
        pass

    def limit(self, seconds, function):
        target = threading.current_thread()

        in_time = threading.Event()

        def watch():
            if in_time.wait(seconds):
                return
            try:
                self.send(target)
            except Exception as exc:
                self.log("refused", exc=describe(exc))
        self.start()
        Thread(target=watch, daemon=True).start()
        try:
            return function()
        except self.exception as exc:
            self.forget()
            raise Expired from exc
        finally:
            in_time.set()


class Interrupted(BaseException):
    """What is sent by Thread.interrupt()."""


class OurInterrupt(Watched):
    title = "Thread.", "interrupt"
    ours = True
    exception = Interrupted

    def send(self, target):
        target.interrupt(Interrupted)


class InterruptibleThreading(Watched):
    title = "interruptible-", "threading"
    package = "interruptible-threading"

    def set_up(self, log):
        super().set_up(log)
        import interruptible_threading
        self.module = interruptible_threading
        self.exception = interruptible_threading.ThreadInterrupted
        self.thread_class = interruptible_threading.InterruptibleThread
        self.thread_class.install_patches()

    def send(self, target):
        self.thread_class.interrupt(target)

    def forget(self):
        # As its documentation says.
        self.module.clear_interrupt()

    def waits(self):
        from test.support import socket_helper
        import socket

        # It has functions of its own to be called in place of these methods.
        @contextlib.contextmanager
        def recv():
            a, b = socket.socketpair()
            with a, b:
                yield Wait(lambda: self.module.interruptible_recv(a, 1),
                           lambda: b.send(b"x"))

        @contextlib.contextmanager
        def accept():
            with (socket.create_server((socket_helper.HOSTv4, 0)) as server,
                  contextlib.ExitStack() as clients):
                yield Wait(
                    lambda: self.module.interruptible_accept(server)[0]
                    .close(),
                    lambda: clients.enter_context(
                        socket.create_connection(server.getsockname())))
        return {"recv": recv, "accept": accept}


class FuncTimeout(Tool):
    title = "func-", "timeout"
    package = "func-timeout"

    def set_up(self, log):
        super().set_up(log)
        import func_timeout
        self.module = func_timeout

    def limit(self, seconds, function):
        self.start()
        try:
            return self.module.func_timeout(seconds, function)
        except self.module.FunctionTimedOut as exc:
            raise Expired from exc


class Stopit(Tool):
    package = "stopit"

    def set_up(self, log):
        super().set_up(log)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import stopit
        self.module = stopit

    def limit(self, seconds, function):
        self.start()
        try:
            with self.context()(seconds, swallow_exc=False):
                return function()
        except self.module.TimeoutException as exc:
            raise Expired from exc


class StopitThreading(Stopit):
    title = "stopit", "Threading"

    def context(self):
        return self.module.ThreadingTimeout


class StopitSignal(Stopit):
    title = "stopit", "Signal"
    least = 1.0         # its clock has whole seconds
    most = 60

    def context(self):
        return self.module.SignalTimeout


class Wrapt(Tool):
    package = "wrapt-timeout-decorator"
    use_signals = None

    def set_up(self, log):
        super().set_up(log)
        # That this process has threads, and is forked.
        warnings.simplefilter("ignore", DeprecationWarning)
        import wrapt_timeout_decorator
        self.timeout = wrapt_timeout_decorator.timeout

    def limit(self, seconds, function):
        self.start()
        try:
            return self.timeout(seconds, use_signals=self.use_signals)(
                function)()
        except TimeoutError as exc:
            raise Expired from exc


class WraptSignal(Wrapt):
    title = "wrapt_t_d.", "signals"
    use_signals = True


class WraptProcess(Wrapt):
    title = "wrapt_t_d.", "process"
    use_signals = False


class PytestTimeout(Tool):
    package = "pytest-timeout"
    most = 100          # each is a run of pytest
    nests = False       # tests do not
    method = None

    def set_up(self, log):
        super().set_up(log)
        import pytest
        self.pytest = pytest
        with open("test_block.py", "w") as file:
            file.write("import __main__\n\n\n"
                       "def test_block():\n"
                       "    __main__.pytest_block()\n")

    def limit(self, seconds, function):
        tool = self
        failures = []

        class Recorder:
            @self.pytest.hookimpl(tryfirst=True)
            def pytest_timeout_set_timer(self, item, settings):
                tool.start()

            def pytest_runtest_makereport(self, item, call):
                # Making the report takes longer than all that is measured.
                if call.excinfo is not None:
                    failures.append(call.excinfo.value)
                    if isinstance(failures[0], tool.pytest.fail.Exception):
                        tool.log("told", exc=describe(failures[0]))
        sys.modules["__main__"].pytest_block = function
        status = self.pytest.main(
            ["-q", "-s", "-p", "no:cacheprovider", "-c", os.devnull,
             "--rootdir", ".", "--import-mode", "importlib", "--timeout",
             str(seconds), "--timeout-method", self.method, "test_block.py"],
            plugins=[Recorder()])
        for exc in failures:
            if isinstance(exc, self.pytest.fail.Exception):
                raise Expired from exc
            raise exc
        if status != 0:
            raise RuntimeError(f"pytest has ended with {status}")


class PytestSignal(PytestTimeout):
    title = "pytest-t.", "signal"
    method = "signal"


class PytestThread(PytestTimeout):
    title = "pytest-t.", "thread"
    method = "thread"
    most = 20
    exits = True


TOOLS = {cls.__name__: cls for cls in (
    OurTimeout, OurInterrupt, InterruptibleThreading, FuncTimeout,
    StopitThreading, StopitSignal, WraptSignal, WraptProcess, PytestSignal,
    PytestThread)}


# -- tools that are known to be bad, for the test of the probes themselves ----

class Fake(Tool):
    title = "fake", ""


class FakeNever(Fake):
    """Never interrupts."""

    def limit(self, seconds, function):
        self.start()
        return function()


class FakeLate(Fake):
    """Says that it was too late, when the block has ended by itself."""

    def limit(self, seconds, function):
        self.start()
        end = time.monotonic() + seconds
        function()
        if time.monotonic() > end:
            raise Expired from TimeoutError()


class FakeAbandons(Fake):
    """Tells the caller, and leaves the block alone."""

    def limit(self, seconds, function):
        self.start()
        thread = threading.Thread(target=function, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            raise Expired from TimeoutError()


class FakeForks(Fake):
    """Leaves the block to another process, which goes on."""

    def give_up(self, pid):
        pass

    def limit(self, seconds, function):
        self.start()
        pid = os.fork()
        if not pid:
            function()
            os._exit(0)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                return
            time.sleep(0.01)
        self.give_up(pid)
        raise Expired from TimeoutError()


class FakeKills(FakeForks):
    """The same, but that is killed."""

    def give_up(self, pid):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class FakeRefuses(Fake):
    """Does not want to."""

    def limit(self, seconds, function):
        self.start()
        raise ValueError("no")


class FakeExits(Fake):
    """Ends the program."""

    exits = True

    def limit(self, seconds, function):
        timer = threading.Timer(seconds, os._exit, [1])
        timer.daemon = True
        self.start()
        timer.start()
        try:
            return function()
        finally:
            timer.cancel()


class FakeAlarm(Fake):
    """Interrupts as it should, the main thread, and with the only alarm."""

    def interrupted(self):
        pass

    def limit(self, seconds, function):
        def ring(signum, frame):
            raise TimeoutError
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        self.start()
        try:
            return function()
        except TimeoutError as exc:
            self.interrupted()
            raise Expired from exc
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


class FakeHolds(FakeAlarm):
    """Leaves a lock held, or whatever the construct is, broken."""

    def interrupted(self):
        construct = Shots.construct
        if isinstance(construct, Directory):
            os.makedirs(construct.path, exist_ok=True)
        elif isinstance(construct, LockClass):
            # It is held already where the interpreter does not help.
            construct.lock.inner.acquire(blocking=False)
        elif isinstance(construct, Semaphore):
            construct.semaphore._value = 0
        else:
            construct.resource.opened = True


class FakeTooLong(FakeAlarm):
    """Comes once more, when the block has ended."""

    def limit(self, seconds, function):
        try:
            return super().limit(seconds, function)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.005)


FAKES = {cls.__name__: cls for cls in (
    FakeNever, FakeLate, FakeAbandons, FakeForks, FakeKills, FakeRefuses,
    FakeExits, FakeAlarm, FakeHolds, FakeTooLong)}


# -- the calls ----------------------------------------------------------------

class Wait:
    """As in interrupt_waits: a call that blocks, and what ends it, or None."""

    def __init__(self, wait, let_go):
        self.wait = wait
        self.let_go = let_go


@contextlib.contextmanager
def python_loop():
    over = []

    def loop():
        while not over:
            work()
    yield Wait(loop, lambda: over.append(True))


def c_loop_for(seconds):
    """About so long."""
    @contextlib.contextmanager
    def loop():
        # Never asks whether anything is to be done, and keeps the GIL.
        start = time.perf_counter()
        sum(itertools.repeat(0, 10 ** 6))
        count = int(seconds / (time.perf_counter() - start) * 10 ** 6)
        yield Wait(lambda: sum(itertools.repeat(0, count)), None)
    return loop


def sleep_for(seconds):
    """The call sleep, which nothing ends but the time."""
    @contextlib.contextmanager
    def sleep():
        yield Wait(lambda: time.sleep(seconds), None)
    return sleep


# As the table names them, and as WAITS does.
CALLS = {
    "loop in Python": "loop",
    "time.sleep()": "sleep",
    "Lock.acquire()": "lock",
    "Condition.wait()": "condition",
    "Queue.get()": "queue_get",
    "Thread.join()": "join",
    "select.select()": "select_select",
    "selectors": "selector",
    "socket.recv()": "recv",
    "socket.accept()": "accept",
    "ssl handshake": "ssl_read",
    "read from a pipe": "read_pipe",
    "read from a terminal": "read_terminal",
    "Popen.wait()": "popen_wait",
    "fcntl.flock()": "flock",
    "open() of a FIFO": "open_fifo",
    "sqlite3, locked": "sqlite_busy",
    "loop in C": "c_loop",
}
LATENCY_CALLS = ["loop", "sleep", "lock"]


def load_waits():
    """WAITS of our tree, also on an interpreter that does not have it."""
    spec = importlib.util.spec_from_file_location("interrupt_waits",
                                                  WAITS_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WAITS


def make_call(tool, name, seconds):
    """The context manager that makes a Wait."""
    by_itself = seconds + PATIENCE + 0.2
    mine = {"loop": python_loop, "c_loop": c_loop_for(by_itself),
            "sleep": sleep_for(by_itself)} | tool.waits()
    return mine[name] if name in mine else load_waits()[name]


# -- the probes ---------------------------------------------------------------

def call_limited(log, tool, seconds, body, **more):
    """Call body() with a limit, and write down what the caller sees."""
    log("call", **more)
    try:
        tool.limit(seconds, body)
    except Expired as exc:
        log("told", exc=describe(exc.__cause__), **more)
    except BaseException as exc:
        log("raised", exc=describe(exc), text=str(exc), **more)
    else:
        log("returned", **more)


def in_place(tool, where, caller, controller):
    """Run caller() in the main thread, or in another one of the tool's class.

    controller(ended) runs in yet another thread; the process ends with it.
    """
    ended = threading.Event()

    def call():
        try:
            caller()
        finally:
            ended.set()

    def control():
        try:
            controller(ended)
        finally:
            # What may still run must not delay that.
            os._exit(0)
    if where == "main":
        threading.Thread(target=control, daemon=True).start()
        call()
        time.sleep(PROBE_LIMIT)
    else:
        tool.thread_class(target=call, daemon=True).start()
        control()


def spin(end):
    """Compute, in a function of its own.

    The jump back of a loop that ends a try statement is not in it, on stock;
    so it would be luck whether the statement sees what is raised in its loop.
    """
    while time.monotonic() < end:
        work()


def until_over(log, left):
    """A body's part around its call: when it began and how it ended."""
    @contextlib.contextmanager
    def manager():
        log("enter")
        try:
            yield
        except BaseException as exc:
            log("left", exc=describe(exc))
            left.set()
            raise
        else:
            log("left", exc=None)
            left.set()
    return manager()


def probe_call(log, tool, where, call, seconds):
    """One blocked call, with a limit that it exceeds."""
    made = []
    left = threading.Event()
    make = make_call(tool, call, seconds)

    def body():
        with make() as wait:
            made.append(wait)
            with until_over(log, left):
                wait.wait()

    def controller(ended):
        if not ended.wait(seconds + PATIENCE):
            if made and made[0].let_go is not None:
                log("let go")
                made[0].let_go()
            ended.wait(PROBE_LIMIT)
        left.wait(GRACE)
        log("end")
    in_place(tool, where, lambda: call_limited(log, tool, seconds, body),
             controller)


def probe_latency(log, tool, where, call, seconds, rounds):
    """Many limits in a row."""
    make = make_call(tool, call, seconds)

    def caller():
        for _ in range(rounds):
            def body():
                if call == "loop" and seconds > LIMIT:
                    time.sleep(seconds - 0.05)      # several at the same time
                with make() as wait:
                    wait.wait()
            call_limited(log, tool, seconds, body)

    def controller(ended):
        ended.wait()
        log("end")
    in_place(tool, where, caller, controller)


class Directory:
    """A directory that is there as long as a with statement lasts."""

    def __init__(self):
        self.path = tempfile.mkdtemp() + "/made"

    def __enter__(self):
        os.mkdir(self.path)

    def __exit__(self, *exc_info):
        os.rmdir(self.path)

    def reset(self):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self.path)

    def run(self, rounds):
        for _ in range(rounds):
            with self:
                work()

    def is_broken(self):
        return os.path.exists(self.path)


# A lock in a process that has been killed is nobody's problem; a directory is.
CONSTRUCTS = {
    "lock class in Python": LockClass,
    "threading.Semaphore": Semaphore,
    "finally with a call": Finally,
    "with: a directory": Directory,
}


class Shots:
    """Limits that end where something is used all the time."""

    construct = None

    def __init__(self, log, tool, construct, seconds):
        self.log = log
        self.tool = tool
        self.construct = Shots.construct = CONSTRUCTS[construct]()
        self.seconds = seconds
        self.left = threading.Event()
        self.rng = random.Random()

    def body(self):
        construct = self.construct
        end = self.deadline + AIM_END
        try:
            # To be hit anywhere, and not always so long after the start.
            time.sleep(max(0, self.deadline - AIM - time.monotonic())
                       + self.rng.random() * 0.0005)
            self.entered = True
            self.log("enter")
            while time.monotonic() < end:
                construct.run(50)
        finally:
            self.left.set()

    def shoot(self):
        self.construct.reset()
        self.left.clear()
        self.entered = False
        self.deadline = time.monotonic() + self.seconds
        self.log("shot", path=getattr(self.construct, "path", None))
        call_limited(self.log, self.tool, self.seconds, self.body)
        # In a thread that the tool has made it may take a moment.  Of another
        # process nothing is seen here.
        ended = not self.entered or self.left.wait(GRACE)
        time.sleep(0.0005)
        self.log("inspected", broken=self.construct.is_broken(), ended=ended)


def probe_shots(log, tool, where, construct, seconds, rounds):
    shots = Shots(log, tool, construct, seconds)
    if isinstance(tool, PytestTimeout):
        # The deadline is that of the tool.
        start = tool.start

        def restart():
            shots.deadline = time.monotonic() + seconds
            start()
        tool.start = restart

    def caller():
        for _ in range(rounds):
            shots.shoot()

    def controller(ended):
        ended.wait()
        log("end")
    in_place(tool, where, caller, controller)


def probe_after(log, tool, where, seconds, rounds):
    """Blocks that end just when their time is over; what comes afterwards?"""
    def shoot(i):
        # From clearly too early to clearly too late, in small steps; a thread
        # that waits for the GIL gets it after 5 ms.
        shift = (i + 0.5) / rounds * 0.008 - 0.001

        def body():
            now = time.monotonic()
            until = started[0] + seconds + shift
            if until - now > 0.02:
                time.sleep(until - now - 0.02)
            spin(until)
        log("shot")
        started = [time.monotonic()]
        tool.start = lambda: started.__setitem__(0, time.monotonic())
        block = "in"
        try:
            try:
                tool.limit(seconds, body)
            except Expired:
                log("told", exc=[])
            block = "after"
            spin(time.monotonic() + 0.01)
        except BaseException as exc:
            log("stray", exc=describe(exc), block=block)

    def caller():
        for i in range(rounds):
            try:
                shoot(i)
            except BaseException as exc:
                log("stray", exc=describe(exc), block="after")
        log("end")

    def controller(ended):
        ended.wait()
    in_place(tool, where, caller, controller)


def probe_handlers(log, tool, where, catch, seconds):
    """A block that handles all its errors and goes on."""
    left = threading.Event()
    class_ = {"Exception": Exception, "BaseException": BaseException}[catch]

    def body():
        with until_over(log, left):
            end = time.monotonic() + seconds + PROMPT + PATIENCE
            while time.monotonic() < end:
                try:
                    spin(end)
                except class_:
                    pass

    def controller(ended):
        ended.wait()
        left.wait(GRACE)
        log("end")
    in_place(tool, where, lambda: call_limited(log, tool, seconds, body),
             controller)


def probe_cleanup(log, tool, where, seconds):
    """A block with a slow cleanup."""
    left = threading.Event()

    def body():
        with until_over(log, left):
            try:
                spin(time.monotonic() + seconds + PATIENCE)
            finally:
                log("cleanup")
                for _ in range(round(CLEANUP / CLEANUP_STEP)):
                    time.sleep(CLEANUP_STEP)
                log("cleaned up")

    def controller(ended):
        ended.wait()
        left.wait(PATIENCE + CLEANUP + GRACE)
        log("end")
    in_place(tool, where, lambda: call_limited(log, tool, seconds, body),
             controller)


def probe_child(log, tool, where, seconds):
    """A block with a child process that it ends in its cleanup."""
    def body():
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
        try:
            log("child", child=child.pid)
            child.wait()
        finally:
            child.kill()
            child.wait()

    def controller(ended):
        ended.wait(seconds + PATIENCE)
        time.sleep(GRACE)
        log("end")
    in_place(tool, where, lambda: call_limited(log, tool, seconds, body),
             controller)


def probe_nested(log, tool, where, scenario, unit):
    """A limit in a limit; the events of each have its level."""
    left = threading.Event()

    def loop(units):
        spin(time.monotonic() + units * unit)

    def inner_in_time():
        call_limited(log, tool, 5 * unit, lambda: None, level="inner")
        loop(4)

    def inner_late():
        call_limited(log, tool, unit, lambda: loop(4), level="inner")
        loop(0.5)

    def outer_late():
        call_limited(log, tool, 5 * unit, lambda: loop(4), level="inner")
        loop(0.5)

    body, seconds = {"inner in time": (inner_in_time, 2 * unit),
                     "inner late": (inner_late, 8 * unit),
                     "outer late": (outer_late, unit)}[scenario]

    def outer():
        with until_over(log, left):
            body()

    def controller(ended):
        ended.wait()
        left.wait(GRACE)
        log("end")
    in_place(tool, where,
             lambda: call_limited(log, tool, seconds, outer, level="outer"),
             controller)


def probe_alarm(log, tool, where, late, seconds):
    """A program that has an alarm of its own."""
    def program(signum, frame):
        pass
    signal.signal(signal.SIGALRM, program)
    signal.setitimer(signal.ITIMER_REAL, 60)

    def body():
        if late:
            spin(time.monotonic() + seconds + PATIENCE)

    def caller():
        call_limited(log, tool, seconds, body)
        log("alarm", handler=signal.getsignal(signal.SIGALRM) is program,
            timer=signal.getitimer(signal.ITIMER_REAL)[0] > 10)

    def controller(ended):
        ended.wait()
        log("end")
    in_place(tool, where, caller, controller)


PROBES = {"call": probe_call, "latency": probe_latency, "shots": probe_shots,
          "after": probe_after, "handlers": probe_handlers,
          "cleanup": probe_cleanup, "child": probe_child,
          "nested": probe_nested, "alarm": probe_alarm}


def run_probe(path, job):
    """The whole life of a child: write a probe's events to a file."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    tool = (TOOLS | FAKES)[job["tool"]]()
    log = Log(path)
    tool.set_up(log)
    PROBES[job["probe"]](log, tool, job["where"], **job["arguments"])


# == in the parent ============================================================

@dataclasses.dataclass(frozen=True)
class Job:
    side: str
    tool: str
    probe: str
    where: str              # "main", or "other" for another thread
    arguments: tuple        # of pairs
    limit: float = PROBE_LIMIT      # seconds

    @property
    def cls(self):
        return (TOOLS | FAKES)[self.tool]


def job(side, tool, probe, where, limit=PROBE_LIMIT, **arguments):
    return Job(side, tool, probe, where, tuple(arguments.items()), limit)


class Result:
    """What a child has written, and how it has ended."""

    def __init__(self, job, events, ended, status, running):
        self.job = job
        self.events = events
        self.ended = ended          # seconds, when
        self.status = status        # None if it had to be ended
        self.running = running      # the pids of processes that were left

    def all(self, what, **more):
        return [event for event in self.events if event["what"] == what
                and all(event.get(key) == value
                        for key, value in more.items())]

    def first(self, what, **more):
        return next(iter(self.all(what, **more)), None)

    @property
    def whole(self):
        """The child was neither ended by us, nor by the tool."""
        return self.first("end") is not None

    def complaint(self):
        """For what is not understood: a word, and what the child has said."""
        raised = self.first("raised")
        return f"?{raised['exc'][0] if raised else self.status}"


def run_job(job, pythons, children):
    """Run a child and return its Result; it is in *children* meanwhile."""
    with tempfile.TemporaryDirectory(prefix="nit-") as scratch:
        path = f"{scratch}/events"
        message = {"tool": job.tool, "probe": job.probe, "where": job.where,
                   "arguments": dict(job.arguments)}
        with open(f"{scratch}/output", "wb") as output:
            # A session of its own, to be ended as a whole.
            child = subprocess.Popen(
                [pythons[job.side], "-B", os.path.abspath(__file__),
                 "--probe", path, json.dumps(message)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=scratch, start_new_session=True,
                env=clean_environment(TMPDIR=scratch,
                                      PYTHONDONTWRITEBYTECODE="1"))
        children.add(child)
        try:
            try:
                status = child.wait(job.limit)
            except subprocess.TimeoutExpired:
                status = None
            ended = time.monotonic()
            events = []
            with contextlib.suppress(FileNotFoundError), open(path) as file:
                events = [json.loads(line) for line in file]
            running = {pid for event in events
                       for pid in (event["pid"], event.get("child"))
                       if pid and is_running(pid)}
            if job.probe == "shots" and status not in (0, None):
                # The program is gone: what it has left is looked at from here.
                for event in events:
                    if event["what"] == "shot" and event["path"]:
                        broken = os.path.exists(event["path"])
                events.append({"what": "inspected", "broken": broken,
                               "ended": True, "at": ended})
        finally:
            end(child)
            children.discard(child)
        if not events:
            with open(f"{scratch}/output", errors="replace") as file:
                raise CouldNotRun(f"{job} has measured nothing:\n"
                                  f"{file.read()[-2000:]}")
    return Result(job, events, ended, status, running)


def end(child):
    """End a child and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Runner:
    """Runs jobs, some at the same time, and keeps the results."""

    def __init__(self, pythons):
        self.pythons = pythons
        self.results = collections.defaultdict(list)
        self.children = set()

    def run(self, title, jobs, at_once):
        progress = Progress(title)
        done = 0
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            futures = [pool.submit(run_job, job, self.pythons, self.children)
                       for job in jobs]
            try:
                for future in concurrent.futures.as_completed(futures):
                    result = future.result()
                    self.results[result.job].append(result)
                    done += 1
                    progress.show(f"{done} of {len(jobs)}")
            except BaseException:
                for future in futures:
                    future.cancel()
                # The pool waits for those that run.
                for child in list(self.children):
                    end(child)
                raise
        progress.finish()


# -- judging ------------------------------------------------------------------
# Each function makes a word, or a few, of a result.

def has_exited(result):
    """Whether the tool has ended the whole program, of its own accord."""
    return not result.whole and (result.status or 0) > 0


def lateness(result):
    """Seconds from the deadline until the caller was told, or None."""
    arguments = dict(result.job.arguments)
    event = result.first("told")
    start = result.first("start")
    if start is None:
        return None
    if event is not None:
        return event["at"] - start["at"] - arguments["seconds"]
    if has_exited(result):
        return result.ended - start["at"] - arguments["seconds"]
    return None


def judge_call(result):
    """What has become of a call that takes too long.

    broken   it was, and the caller told, promptly
    killed   the same, by killing the process that it was in
    goes on  the caller is told promptly, the call goes on
    late     the caller is told when the call has returned by itself
    never    nobody is told anything
    exit     the whole program has ended, promptly
    refused  the tool does not work there, and says so
    """
    late = lateness(result)
    if result.first("refused"):
        return "refused"
    if has_exited(result):
        if late is None or late < -0.1:
            return result.complaint()
        return "exit" if late <= PROMPT else "late exit"
    if result.first("told") is None:
        raised = result.first("raised")
        if raised and not result.first("enter"):
            return "refused"
        return result.complaint() if raised else "never"
    if late < -0.1:
        return "early"
    if late > PROMPT:
        return "late"
    enter, left = result.first("enter"), result.first("left")
    if left is not None and left["at"] - result.first("told")["at"] <= GRACE:
        return "broken"
    if enter is not None and enter["pid"] != result.first("told")["pid"]:
        return "goes on" if enter["pid"] in result.running else "killed"
    return "goes on"


def judge_place(result):
    """Where the block runs."""
    start, enter = result.first("start"), result.first("enter")
    if enter is None:
        return None
    if enter["pid"] != start["pid"]:
        return "process"
    return "same" if enter["thread"] == start["thread"] else "thread"


def judge_class(result):
    """The exception that the caller gets."""
    event = result.first("told")
    return event["exc"] if event else []


def judge_handlers(result):
    """A block with handlers of its own: does it end, is the caller told?"""
    word = judge_call(result)
    if word == "late":
        return "at its end"
    return {"never": "swallowed", "broken": "passes", "killed": "passes",
            "exit": "passes"}.get(word, word)


def judge_cleanup(result):
    word = judge_call(result)
    if not result.first("cleanup"):
        return "skipped"
    if not result.first("cleaned up"):
        return "cut"
    if word == "goes on":
        return "unawaited"
    return "complete"


def judge_child(result):
    word = judge_call(result)
    if lateness(result) is None:
        return word
    child = result.first("child")["child"]
    return "left" if child in result.running else "ended"


def judge_nested(result):
    arguments = dict(result.job.arguments)
    unit = arguments["unit"]
    start = result.first("start")
    outer = result.first("told", level="outer")
    inner = result.first("told", level="inner")

    def is_at(event, units):
        return event and abs(event["at"] - start["at"] - units * unit) < PROMPT
    match arguments["scenario"]:
        case "inner in time":
            if is_at(outer, 2) and not inner:
                return "right"
            return "lost" if not outer else "late"
        case "inner late":
            if is_at(inner, 1):
                return "right" if not outer else "both"
            return "taken" if outer and not inner else "lost"
        case "outer late":
            if inner:
                return "mixed up"
            if is_at(outer, 1):
                left = result.first("left")
                return ("right" if not left or left["at"] < outer["at"] + GRACE
                        else "goes on")
            return "lost" if not outer else "late"


def judge_nested_end(result):
    """The same, with what goes on in a thread counted as wrong."""
    word = judge_nested(result)
    if word != "right" or result.first("left") or not result.whole:
        return word
    enter, start = result.first("enter"), result.first("start")
    if enter and enter["pid"] != start["pid"]:
        return word
    return "goes on"


def judge_alarm(result):
    event = result.first("alarm")
    if event is None:
        return "exit" if has_exited(result) else result.complaint()
    lost = [name for name in ("handler", "timer") if not event[name]]
    return {0: "kept", 1: "".join(lost), 2: "both"}[len(lost)] + (
        " lost" if lost else "")


def count_shots(results):
    """(broken, all) of the shots that have hit a construct in use."""
    broken = hit = 0
    for result in results:
        entered = outcome = None
        for event in result.events:
            match event["what"]:
                case "shot":
                    entered = outcome = None
                case "enter":
                    entered = event
                case "told":
                    outcome = event
                case "inspected":
                    told = outcome or not result.whole
                    if entered and told:
                        hit += 1
                        broken += event["broken"]
    return broken, hit


def count_after(results):
    """(strays, all): what was raised when the block had been left."""
    return (sum(len(result.all("stray", block="after")) for result in results),
            sum(len(result.all("shot")) for result in results))


def samples(results):
    """Seconds from the deadline until the caller knew, sorted."""
    seconds = []
    for result in results:
        start = None
        limit = dict(result.job.arguments)["seconds"]
        for event in result.events:
            if event["what"] == "start":
                start = event["at"]
            elif event["what"] == "told" and start is not None:
                seconds.append(event["at"] - start - limit)
                start = None
        if result.job.cls.exits and start is not None:
            seconds.append(result.ended - start - limit)
    return sorted(seconds)


# -- what is run --------------------------------------------------------------

NESTED = {"inner in time": "outer after an inner one in time",
          "inner late": "inner too late",
          "outer late": "outer too late"}


def tools_of(side):
    return [name for name, cls in TOOLS.items()
            if side == "ours" or not cls.ours]


def place_of(name):
    """Where a tool is tried if one place will do."""
    return "other" if name == "InterruptibleThreading" else "main"


def is_quiet(name):
    return not issubclass(TOOLS[name], WraptProcess | PytestTimeout)


def call_jobs(side, name):
    seconds = TOOLS[name].least
    for where in "main", "other":
        for call in CALLS.values():
            yield job(side, name, "call", where, call=call, seconds=seconds)


def habit_jobs(side, name):
    """What is not about a call: {row: jobs}"""
    cls = TOOLS[name]
    where = place_of(name)
    seconds = cls.least
    rows = {"a limit of 0.2 s": job(side, name, "call", where, call="loop",
                                    seconds=0.2)}
    for catch in "Exception", "BaseException":
        rows[f"except {catch}"] = job(side, name, "handlers", where,
                                      catch=catch, seconds=seconds)
    rows[f"a cleanup of {CLEANUP:.0f} s"] = job(side, name, "cleanup", where,
                                             seconds=seconds)
    rows["a child of the block"] = job(side, name, "child", where,
                                       seconds=max(seconds, 0.5))
    if cls.nests and cls.has_block:
        for scenario, title in NESTED.items():
            rows[title] = job(side, name, "nested", where, scenario=scenario,
                              unit=seconds)
    if where == "main":
        for late in False, True:
            rows[ALARM_ROWS[late]] = job(side, name, "alarm", where, late=late,
                                         seconds=seconds)
    return rows


ALARM_ROWS = {False: "SIGALRM, block in time", True: "SIGALRM, block too late"}
HABIT_ROWS = {
    "a limit of 0.2 s": judge_call,
    "except Exception": judge_handlers,
    "except BaseException": judge_handlers,
    f"a cleanup of {CLEANUP:.0f} s": judge_cleanup,
    "a child of the block": judge_child,
    NESTED["inner in time"]: judge_nested_end,
    NESTED["inner late"]: judge_nested,
    NESTED["outer late"]: judge_nested_end,
    ALARM_ROWS[False]: judge_alarm,
    ALARM_ROWS[True]: judge_alarm,
}


def split(rounds, parts):
    """So many rounds, for so many processes."""
    return [rounds // parts + (i < rounds % parts) for i in range(parts)
            if rounds // parts + (i < rounds % parts)]


def shot_jobs(side, name, construct, rounds):
    cls = TOOLS[name]
    where = place_of(name)
    if cls.exits:
        if construct != "with: a directory":
            return
        for _ in range(min(rounds, cls.most)):
            yield job(side, name, "shots", where, construct=construct,
                      seconds=0.05, rounds=1)
    elif issubclass(cls, WraptProcess) and construct != "with: a directory":
        return
    elif cls.least >= 1:
        for part in split(min(rounds, cls.most), 10):
            yield job(side, name, "shots", where, 60, construct=construct,
                      seconds=cls.least, rounds=part)
    else:
        yield job(side, name, "shots", where, 120, construct=construct,
                  seconds=0.02 if issubclass(cls, PytestTimeout) else 0.008,
                  rounds=min(rounds, cls.most))


def after_jobs(side, name, rounds):
    cls = TOOLS[name]
    if not cls.has_block or cls.exits:
        return
    if cls.least >= 1:
        for part in split(min(rounds, cls.most), 10):
            yield job(side, name, "after", place_of(name), 60,
                      seconds=cls.least, rounds=part)
    else:
        yield job(side, name, "after", place_of(name), 120,
                  seconds=0.05 if issubclass(cls, PytestTimeout | WraptProcess)
                  else 0.01, rounds=min(rounds, cls.most))


def latency_jobs(side, name, call, rounds):
    cls = TOOLS[name]
    where = place_of(name)
    if cls.exits:
        for _ in range(min(rounds, cls.most)):
            yield job(side, name, "call", where, call=call, seconds=0.0501)
    elif cls.least >= 1:
        for part in split(rounds, 5):
            yield job(side, name, "latency", where, 60, call=call,
                      seconds=cls.least, rounds=part)
    else:
        yield job(side, name, "latency", where, 60, call=call, seconds=0.05,
                  rounds=rounds)


def measure(runner, sides, options):
    """{side: what has been measured}"""
    data = {side: {"calls": {}, "habits": {}, "shots": {}, "after": {},
                   "latency": {}} for side in sides}
    results = runner.results
    for side in sides:
        tools = tools_of(side)
        runner.run(f"{side}: blocked calls",
                   [one for name in tools for one in call_jobs(side, name)],
                   AT_ONCE)
        for name in tools:
            for one in call_jobs(side, name):
                data[side]["calls"][name, one.where,
                                    dict(one.arguments)["call"]] = (
                    judge_call(results[one][-1]))
        habits = {name: habit_jobs(side, name) for name in tools}
        runner.run(f"{side}: nesting, handlers, alarms", [
            one for rows in habits.values() for one in rows.values()], AT_ONCE)
        for name, rows in habits.items():
            for row, one in rows.items():
                data[side]["habits"][row, name] = (
                    HABIT_ROWS[row](results[one][-1]))
            loop = job(side, name, "call", place_of(name), call="loop",
                       seconds=TOOLS[name].least)
            data[side]["habits"]["the block runs in", name] = (
                judge_place(results[loop][-1]))
            data[side]["habits"]["raises", name] = (
                judge_class(results[loop][-1]))
        shots = {(name, construct): list(shot_jobs(side, name, construct,
                                                   options.shots))
                 for name in tools for construct in CONSTRUCTS}
        after = {name: list(after_jobs(side, name, options.shots))
                 for name in tools}
        jobs = [one for many in [*shots.values(), *after.values()]
                for one in many]
        for wide in True, False:
            chosen = [one for one in jobs if (one.cls.least >= 1) == wide]
            runner.run(f"{side}: what is left broken"
                       + (", whole seconds" if wide else ""), chosen,
                       SLEEPERS_AT_ONCE if wide else 2)
        for key, many in shots.items():
            data[side]["shots"][key] = count_shots(
                [result for one in dict.fromkeys(many)
                 for result in results[one]]) if many else None
        for name, many in after.items():
            data[side]["after"][name] = count_after(
                [result for one in dict.fromkeys(many)
                 for result in results[one]]) if many else None
        latency = {}
        for name in tools:
            for call in LATENCY_CALLS:
                word = data[side]["calls"][name, place_of(name), call]
                if word in ("broken", "killed", "goes on", "exit"):
                    latency[name, call] = list(latency_jobs(
                        side, name, call, options.rounds))
        jobs = [one for many in latency.values() for one in many]
        for wide in True, False:
            runner.run(f"{side}: latency"
                       + (", whole seconds" if wide else ""),
                       [one for one in jobs if (one.cls.least >= 1) == wide],
                       15 if wide else 1)
        for key, many in latency.items():
            data[side]["latency"][key] = samples(
                [result for one in dict.fromkeys(many)
                 for result in results[one]])
    return data


# A dash would be an empty list.
NOT_TRIED = "n/a"


# -- showing ------------------------------------------------------------------

WHERE = {"main": "in the main thread", "other": "in another thread"}


def simple_table(rows, header_lines):
    """Rows of text as a table for a terminal, which is also one for Sphinx."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    line = "  ".join("=" * width for width in widths)
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)
                      ).rstrip() for row in rows]
    return "\n".join([line, *text[:header_lines], line, *text[header_lines:],
                      line]) + "\n"


def tool_table(first, rows, tools):
    """A column for each tool; rows: {title: {tool: cell}}"""
    # The second line, with an empty first cell, belongs to the row above.
    table = [[first] + [TOOLS[name].title[0] for name in tools],
             [""] + [TOOLS[name].title[1] for name in tools]]
    for title, cells in rows.items():
        table.append([title]
                     + [cells.get(name) or NOT_TRIED for name in tools])
    return simple_table(table, 2)


def as_share(counts):
    if counts is None:
        return None
    bad, all_ = counts
    return f"{bad}/{all_}"


def milliseconds(seconds):
    if not seconds:
        return None
    middle = seconds[len(seconds) // 2] * 1e3
    return f"{middle:.1f} {seconds[-1] * 1e3:.1f}"


def section(title, *paragraphs):
    return "\n\n".join([f"{title}\n{'-' * len(title)}",
                        *(one.strip("\n") for one in paragraphs)]) + "\n\n"


def call_rows(calls, where, tools):
    return {title: {name: calls[name, where, call] for name in tools}
            for title, call in CALLS.items()}


def render(data, versions, load):
    """All tables, as reStructuredText."""
    sides = list(data)
    parts = [f"Measured on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} "
             f"cores, {platform.machine()}, {platform.system()}, Python "
             f"{platform.python_version()}; load average before the start: "
             f"{load:.2f}.\n\n"]
    side = sides[0]
    tools = tools_of(side)
    habits = data[side]["habits"]
    table = [["column", "version", "the block runs in", "raises",
              "is an Exception"]]
    for name in tools:
        names = habits["raises", name]
        table.append([
            " ".join(TOOLS[name].title).replace(". ", ".").replace("- ", "-"),
            versions.get(TOOLS[name].package, NOT_TRIED),
            {"same": "the same thread", "thread": "a new thread",
             "process": "a new process", None: NOT_TRIED}[
                 habits["the block runs in", name]],
            names[0] if names else "(the program ends)",
            ("yes" if "Exception" in names else "no") if names else NOT_TRIED])
    parts.append(section("The columns", simple_table(table, 1)))
    for one in sides:
        tools = tools_of(one)
        on = {"ours": "on this interpreter", "stock": "on stock CPython"}[one]
        for where, title in WHERE.items():
            parts.append(section(
                f"Blocked calls, {title}, {on}",
                tool_table("call", call_rows(data[one]["calls"], where, tools),
                           tools)))
        rows = {construct: {name: as_share(data[one]["shots"][name, construct])
                            for name in tools} for construct in CONSTRUCTS}
        rows["raised after the block"] = {
            name: as_share(data[one]["after"][name]) for name in tools}
        parts.append(section(f"Left broken, {on}",
                             tool_table("what", rows, tools)))
        rows = {row: {name: data[one]["habits"].get((row, name))
                      for name in tools} for row in HABIT_ROWS}
        parts.append(section(f"Habits, {on}", tool_table("what", rows, tools)))
        rows = {}
        for call in LATENCY_CALLS:
            title = next(key for key, value in CALLS.items() if value == call)
            rows[title] = {name: milliseconds(
                data[one]["latency"].get((name, call))) for name in tools}
        parts.append(section(
            f"Latency, {on}",
            "Milliseconds from the deadline until the caller has the "
            "exception: median and maximum.", tool_table("what", rows, tools)))
    return "".join(parts)


def write_page(path, text):
    with open(path) as file:
        page = file.read()
    try:
        head, rest = page.split(PAGE_BEGIN)
        tail = rest.split(PAGE_END)[1]
    except (ValueError, IndexError):
        raise CouldNotRun(f"{path} does not have the two lines between which "
                          "the tables belong") from None
    with open(path, "w") as file:
        file.write(f"{head}{PAGE_BEGIN}\n{text.rstrip()}\n\n{PAGE_END}{tail}")


# -- installing ---------------------------------------------------------------

def make_environments(pythons, sides):
    """{side: the interpreter of an environment}, {package: version}"""
    os.makedirs(WORK_DIR, exist_ok=True)
    made = {}
    pip = []
    requirements = REQUIREMENTS
    # Ours gets what stock has got, to the version.
    for side in sorted(sides, reverse=True):
        path = f"{WORK_DIR}/{side}"
        python = made[side] = f"{path}/bin/python"
        origin = [os.path.realpath(pythons[side]), REQUIREMENTS]
        record = f"{path}/made-from"
        known = None
        with contextlib.suppress(FileNotFoundError), open(record) as file:
            known = json.load(file)
        if known != origin:
            start = time.monotonic()
            print(f"{side}: install ...", end=" ", file=sys.stderr, flush=True)
            log = f"{WORK_DIR}/{side}.log"
            if not pip:
                run_step([pythons[side], "-m", "venv", "--clear",
                          f"{WORK_DIR}/pip"], log)
                pip = [f"{WORK_DIR}/pip/bin/python", "-m", "pip",
                       "--disable-pip-version-check"]
            run_step([pythons[side], "-m", "venv", "--clear", "--without-pip",
                      path], log)
            run_step([*pip, "--python", python, "install", "--only-binary",
                      ":all:", "--no-binary", NO_WHEEL, *requirements], log)
            with open(record, "w") as file:
                json.dump(origin, file)
            print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
        requirements = installed(python)
    return made, dict(one.split("==") for one in requirements)


def installed(python):
    """What is installed, as exact requirements."""
    program = ("from importlib.metadata import distributions\n"
               "for one in distributions():\n"
               "    print(f'{one.name.replace(\"_\", \"-\")}=={one.version}')")
    return sorted(subprocess.check_output(
        [python, "-I", "-c", program], text=True,
        env=clean_environment()).split())


# -- the test of the probes ---------------------------------------------------

def self_test():
    """Whether tools that are known to be bad are found to be."""
    def call(name, call="lock", where="main", seconds=LIMIT):
        return job("here", name, "call", where, call=call, seconds=seconds)

    def shots(name, construct):
        return job("here", name, "shots", "main", construct=construct,
                   seconds=0.008, rounds=10)

    def nested(name, scenario):
        return job("here", name, "nested", "main", scenario=scenario,
                   unit=LIMIT)

    def all_broken(result):
        # Some may have missed.
        broken, hit = count_shots([result])
        return 0 < broken == hit

    def mostly_stray(result):
        # One may come before the probe knows that the block has ended.
        strays, rounds = count_after([result])
        return rounds == 10 and strays > 5

    expected = [
        (call("FakeNever"), judge_call, "never"),
        (call("FakeNever", where="other"), judge_call, "never"),
        (call("FakeLate"), judge_call, "late"),
        (call("FakeLate", "queue_get", "other"), judge_call, "late"),
        (call("FakeAbandons"), judge_call, "goes on"),
        (call("FakeForks"), judge_call, "goes on"),
        (call("FakeForks"), judge_place, "process"),
        (call("FakeKills"), judge_call, "killed"),
        (call("FakeAbandons"), judge_place, "thread"),
        (call("FakeNever"), judge_place, "same"),
        (call("FakeRefuses"), judge_call, "refused"),
        (call("FakeExits"), judge_call, "exit"),
        (call("FakeAlarm"), judge_call, "broken"),
        (call("FakeAlarm", "loop"), judge_call, "broken"),
        (call("FakeAlarm", where="other"), judge_call, "refused"),
        (job("here", "FakeAlarm", "alarm", "main", late=False, seconds=LIMIT),
         judge_alarm, "both lost"),
        (job("here", "FakeNever", "alarm", "main", late=False, seconds=LIMIT),
         judge_alarm, "kept"),
        (job("here", "FakeAlarm", "handlers", "main", catch="Exception",
             seconds=LIMIT), judge_handlers, "swallowed"),
        (job("here", "FakeAbandons", "cleanup", "main", seconds=LIMIT),
         judge_cleanup, "unawaited"),
        (job("here", "FakeExits", "cleanup", "main", seconds=LIMIT),
         judge_cleanup, "skipped"),
        (job("here", "FakeExits", "child", "main", seconds=LIMIT), judge_child,
         "left"),
        (job("here", "FakeKills", "child", "main", seconds=LIMIT), judge_child,
         "left"),
        (job("here", "FakeAlarm", "child", "main", seconds=LIMIT), judge_child,
         "ended"),
        (nested("FakeAlarm", "inner in time"), judge_nested_end, "lost"),
        (nested("FakeAlarm", "outer late"), judge_nested_end, "lost"),
        (nested("FakeAlarm", "inner late"), judge_nested, "right"),
        (nested("FakeAbandons", "outer late"), judge_nested_end, "goes on"),
        # Whatever the interpreter protects, this one breaks.
        *((shots("FakeHolds", construct), all_broken, True)
          for construct in CONSTRUCTS),
        (shots("FakeNever", "lock class in Python"),
         lambda one: count_shots([one]), (0, 0)),
        (job("here", "FakeTooLong", "after", "main", seconds=0.01, rounds=10),
         mostly_stray, True),
        (job("here", "FakeNever", "after", "main", seconds=0.01, rounds=10),
         lambda one: count_after([one]), (0, 10)),
        # A child that hangs is ended.
        (job("here", "FakeNever", "call", "main", limit=1.5, call="lock",
             seconds=30), judge_call, "never"),
    ]
    runner = Runner({"here": sys.executable})
    runner.run("self-test", list(dict.fromkeys(one for one, _, _ in expected)),
               AT_ONCE)
    failed = 0
    for one, judge, word in expected:
        result, = runner.results[one]
        found = judge(result)
        if found != word:
            failed += 1
            print(f"{one.tool}, {one.probe}, {one.where}, "
                  f"{dict(one.arguments)}: {found!r} instead of {word!r}")
    print(f"{len(expected) - failed} passed, {failed} failed")
    return 1 if failed else 0


# == both =====================================================================

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours")
    parser.add_argument("--stock")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--shots", type=int, default=200)
    parser.add_argument("--write-page", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--probe", nargs=2)
    options = parser.parse_args()
    if options.probe:
        path, message = options.probe
        run_probe(path, json.loads(message))
        return 0
    # Where a shell has started us in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sides = SIDES[:1] if options.only_ours else SIDES
    try:
        if options.self_test:
            return self_test()
        pythons, versions = make_environments(
            {"ours": options.ours, "stock": options.stock}, sides)
        if options.install:
            return 0
        start = time.monotonic()
        load = os.getloadavg()[0]
        text = render(measure(Runner(pythons), sides, options), versions, load)
        print(text.rstrip())
        print(f"all of it: {time.monotonic() - start:.0f} s", file=sys.stderr)
        if options.write_page:
            write_page(PAGE, text)
    except CouldNotRun as error:
        print(f"\nscripts/compare-timeouts: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nscripts/compare-timeouts: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
