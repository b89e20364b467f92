"""Interrupt the constructs of our tests by a timer at random moments.

Started by scripts/soak, which also has the help text.

The parent chooses nothing and interrupts nothing: it starts workers, which do
the rounds, and watches them.  A worker that says nothing for long hangs; its
parent knows the round from memory that both share, lets faulthandler print where
it is, and goes on with the next round in a new one.
"""

import argparse
import collections
import contextlib
import functools
import gc
import hashlib
import importlib
import itertools
import json
import mmap
import operator
import os
import runpy
import secrets
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unittest
import warnings

try:
    import _interrupts
except ImportError:
    sys.exit(f"soak: {sys.executable} is not the patched interpreter")
import test
from test.support.interrupt_constructs import Account, Construct, Table
from test.support.interrupt_sweep import Run, drain

ROUNDS = 10_000_000
# What can be found; the order is that of the columns.
KINDS = ("broken", "swallowed", "double", "hangs")
# A worker is given up if a round takes longer.
HANG_AFTER = 60
HANG_AFTER_MASKS_OFF = 5
# Then the next one goes on, but not for ever.
MAX_RESTARTS = 100
# How many findings of one construct are printed.
SHOWN = 3
# What a worker tells of where it is, in memory.
POSITION = struct.Struct("Q")


# The constructs.

# A file with a table, instead of the test modules.
table_file = None


def tables():
    """The tables of all test modules that have one."""
    if table_file is not None:
        module = runpy.run_path(table_file, run_name="soak_table")
        yield os.path.basename(table_file).removesuffix(".py"), module["TABLE"]
        return
    folder = os.path.dirname(test.__file__)
    for file in sorted(os.listdir(folder)):
        if not (file.startswith("test_interrupt_") and file.endswith(".py")):
            continue
        with open(os.path.join(folder, file), encoding="utf-8") as source:
            if "interrupt_constructs import" not in source.read():
                continue
        try:
            module = importlib.import_module("test." + file.removesuffix(".py"))
        except unittest.SkipTest as exc:
            print(f"soak: without {file}: {exc}", file=sys.stderr)
            continue
        table = getattr(module, "TABLE", None)
        if isinstance(table, Table):
            yield module.__name__.removeprefix("test."), table


class Entry:
    """A construct, and where it comes from."""

    def __init__(self, name, cls, table, module):
        self.name = name
        self.module = module
        self.cls = cls
        self.table = table
        # Those which take part in something slow are chosen less often.
        self.tickets = max(1, round(100 * table.share * (1 if cls.exact
                                                         else 0.5)))


def all_entries():
    entries = {}
    for module, table in tables():
        for name, cls in table.items():
            while name in entries:
                name += "'"
            entries[name] = Entry(name, cls, table, module)
    return entries


def choose_entries(names, modules):
    entries = all_entries()
    if names:
        return [entries[name] for name in names]
    return [entry for entry in entries.values()
            if not modules or entry.module in modules]


class Choice:
    """What is done in a round; it follows from seed and number only."""

    def __init__(self, seed, entries):
        self.key = str(seed).encode()
        self.tickets = [entry for entry in entries
                        for _ in range(entry.tickets)]

    def __call__(self, number):
        """Return an entry and a number from 0 up to 1, the moment."""
        digest = hashlib.blake2b(b"%d" % number, digest_size=16,
                                 key=self.key).digest()
        ticket, moment = struct.unpack("QQ", digest)
        return self.tickets[ticket % len(self.tickets)], moment / 2**64


# A round.

exhaust = functools.partial(collections.deque, maxlen=0)


def lead(count):
    """Return a C function that takes a while, and has no check point."""
    return functools.partial(exhaust, itertools.repeat(None, count))


def check_point():
    """A call of a Python function is one."""


class Shot:
    """One timer, and what came up because of it.

    The timer starts first; then all states are run, one after the other.
    """

    TIMER_LIMIT = 10

    def __init__(self, exc, runs, errors, first, delay):
        self.exc = exc
        self.errors = errors
        # One C function goes through all of it, so that no check point of ours
        # lies between.
        self.steps = map(operator.call, (
            functools.partial(signal.setitimer, signal.ITIMER_REAL, delay),
            first, *runs))
        self.results = []       # of the steps that have ended
        self.calls = 0          # of the handler
        self.hit = None         # how many steps had ended then
        self.came_out = self.after = self.again = None

    # Those of the timer and the lead.
    OWN_STEPS = 2

    def handler(self, signum, frame):
        self.calls += 1
        self.hit = len(self.results)
        raise self.exc

    def fire(self):
        # No check point may lie outside of the `try` bodies: what the handler
        # raises can come up at any of them.
        results = self.results
        extend = results.extend
        append = results.append
        steps = self.steps
        errors = self.errors
        monotonic = time.monotonic
        deadline = monotonic() + self.TIMER_LIMIT
        try:
            while True:
                try:
                    extend(steps)
                    break
                except errors as exc:
                    append(exc)
        except BaseException as exc:
            self.came_out = exc
        try:
            # An interrupt that has not come yet does so here.
            while not self.calls and monotonic() <= deadline:
                pass
            check_point()
        except BaseException as exc:
            self.after = exc
        try:
            check_point()
            check_point()
        except BaseException as exc:
            self.again = exc

    def places(self):
        """Where the interrupt was raised, innermost first, without our frames.
        """
        places = []
        tb = self.exc.__traceback__
        while tb is not None:
            code = tb.tb_frame.f_code
            if code not in HARNESS:
                places.append((code.co_filename, tb.tb_lineno,
                               code.co_qualname))
            tb = tb.tb_next
        places.reverse()
        return places

    def was_raised(self):
        """Did it come up after the handler had ended?"""
        tb = self.exc.__traceback__
        return (tb is not None
                and tb.tb_frame.f_code is not Shot.handler.__code__)


HARNESS = {Shot.fire.__code__, Shot.handler.__code__, check_point.__code__}


class Finding(Exception):
    """What is wrong after a round: one of KINDS, and in words."""

    def __init__(self, kind, text):
        super().__init__(kind, text)
        self.kind = kind
        self.text = text


class Target:
    """A construct in a worker: it is measured, and shot at."""

    # A timer comes some microseconds later than it should.  So what takes
    # about as long is run more than once for one timer, each time with a fresh
    # state.
    DURATION = 25e-6
    MAX_STATES = 60
    # The moments are spread over a bit more than the usual duration.  As that is
    # longer in a round than when it is measured, it is stretched until about
    # one timer in ten comes too late: only then is the end hit, too.
    SPREAD = 1.25
    STRETCH = 1.005
    SHRINK = 1 / STRETCH ** 9
    MEASURE_FOR = 0.01
    MEASURE_AT_LEAST = 4

    def __init__(self, entry, shooter):
        self.entry = entry
        self.cls = entry.cls
        self.shooter = shooter
        self.errors = Exception if shooter.masks_off else self.cls.errors
        self.asks_run = self.cls.is_broken_by is not Construct.is_broken_by
        self.rounds = self.inside = 0
        self.seconds = 0.0
        self.places = set()
        self.found = dict.fromkeys(KINDS, 0)
        self.states = 1
        self.duration = None

    def prepare(self):
        """Find out how many states a round has, and how long they take."""
        single = self.measure()
        states = min(self.MAX_STATES, int(self.DURATION / single) + 1)
        if states > 1 and self.allows_many():
            self.states = states
        self.duration = self.measure()

    def allows_many(self):
        """Can there be more than one state at a time?

        Not if they use the same file, or watch what is open.  Tried in a child:
        those would close what is not theirs.
        """
        pid = os.fork()
        if not pid:
            os._exit(self.try_two())
        return os.waitpid(pid, 0)[1] == 0

    def try_two(self):
        """Return 0 if two states do not disturb each other."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        states = []
        status = 0
        try:
            for _ in range(2):
                states.append(self.cls())
            for state in states:
                with contextlib.suppress(*self.suppressed):
                    state.run()
                # The others need not have been run.
                if not self.asks_run and state.is_broken():
                    status = 1
        except Exception:
            status = 1
        for state in states:
            try:
                state.close()
            except Exception:
                status = 1
        return status or bool(self.shooter.unraisable)

    @property
    def suppressed(self):
        """What it raises by itself, as a tuple."""
        return (self.errors if isinstance(self.errors, tuple)
                else (self.errors,))

    def measure(self):
        """Seconds that it takes to run all states, usually."""
        durations = []
        end = time.monotonic() + self.MEASURE_FOR
        while (len(durations) < self.MEASURE_AT_LEAST
               or time.monotonic() < end):
            states = [self.cls() for _ in range(self.states)]
            start = time.perf_counter()
            for state in states:
                try:
                    state.run()
                except self.errors:
                    pass
            durations.append(time.perf_counter() - start)
            for state in states:
                state.close()
            del state, states
            self.shooter.sweep_up(self.entry.table)
        durations.sort()
        return durations[len(durations) // 2]

    def shoot(self, number, moment):
        """Do a round; raise Finding if something is wrong."""
        shooter = self.shooter
        start = time.perf_counter()
        self.rounds += 1
        shooter.sweep_up(self.entry.table)
        shooter.change_table(self.entry.table)
        if self.duration is None:
            self.prepare()
        unraisable = shooter.unraisable
        states = [self.cls() for _ in range(self.states)]
        delay = max(moment * self.SPREAD * self.duration, shooter.SHORTEST)
        shot = Shot(self.cls.interrupt(number),
                    [state.run for state in states], self.errors,
                    lead(shooter.lead), delay)
        signal.signal(signal.SIGALRM, shot.handler)
        try:
            if threading.interrupts_masked():
                raise Finding("broken", "code is masked before the round")
            shot.fire()
            places = shot.places()
            if places:
                self.inside += 1
                self.places.add(places[0])
                self.duration *= self.STRETCH
            else:
                self.duration *= self.SHRINK
            try:
                self.judge(shot, states, places)
            except Finding as exc:
                exc.text += "; " + where_raised(places, delay)
                raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            # It would keep the states until the next round has made its own.
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            for state in states:
                state.close()
            unraisable.clear()
            self.seconds += time.perf_counter() - start

    def judge(self, shot, states, places):
        exc = shot.exc
        caught = shot.came_out, shot.after, shot.again
        others = [other for other in caught
                  if other is not None and other is not exc]
        times = sum(other is exc for other in caught)
        raised = shot.was_raised()
        masked = threading.interrupts_masked()
        pending = threading.interrupts_pending()
        ended = len(shot.results)
        ran = max(ended - Shot.OWN_STEPS, 0)
        if shot.came_out is not None and ran < len(states):
            ran += 1
        # What dropped frames hold ends with them.
        runs = self.runs(shot, states[:ran], places)
        shot.came_out = shot.after = shot.again = caught = None

        if shot.calls != 1:
            raise Finding("hangs" if not shot.calls else "double",
                          f"the timer's handler ran {shot.calls} times")
        if any(item.exc_value is exc for item in self.shooter.unraisable):
            raise Finding("swallowed", "reported as unraisable")
        if times > 1:
            raise Finding("double", "raised twice")
        if not raised:
            drain()
            raise Finding("swallowed", "never raised" if exc.__traceback__ is
                          None else "not raised until asked about")
        if others:
            raise Finding("broken", f"{others[0]!r} came out")
        if masked:
            raise Finding("broken", "the code after it is masked")
        if pending:
            drain()
            raise Finding("broken", "something still waits")
        hit = shot.hit
        if (times and Shot.OWN_STEPS <= hit < ended
                and not isinstance(shot.results[hit], BaseException)):
            raise Finding("broken", "raised only after the construct had ended")

        for run in runs:
            run.forget()
        if self.shooter.unraisable:
            raise Finding("broken", "unraisable: "
                          f"{self.shooter.unraisable[0].exc_value!r}")
        for state, run in zip(states, runs):
            if (state.is_broken_by(run) if self.asks_run
                    else state.is_broken()):
                raise Finding("broken", "left broken")

    def runs(self, shot, states, places):
        """What is told of each state; only one of them has been hit."""
        runs = []
        for i, state in enumerate(states, Shot.OWN_STEPS):
            result = shot.results[i] if i < len(shot.results) else None
            is_hit = i == shot.hit and bool(places)
            if not (self.asks_run or is_hit
                    or isinstance(result, BaseException)):
                # forget() has nothing to forget.
                runs.append(NOT_HIT)
                continue
            run = Run(shot.hit, "eval", shot.exc if is_hit else None)
            run.state = state
            if isinstance(result, BaseException):
                run.error = result
            else:
                run.result = result
            if is_hit:
                run.raised = True
                run.places = places
                run.escaped = i >= len(shot.results)
            runs.append(run)
        return runs

    def account(self):
        return {"rounds": self.rounds, "inside": self.inside,
                "seconds": self.seconds, "places": len(self.places),
                **self.found}


NOT_HIT = Run(0, "eval", None)


def where_raised(places, delay):
    text = f"{delay * 1e6:.0f} us after the start, raised "
    if not places:
        return text + "beside it"
    return text + ", called from ".join(
        f"in {name} ({os.path.basename(file)}:{line})"
        for file, line, name in places)


class Shooter:
    """What all targets of a worker share."""

    def __init__(self, masks_off):
        self.masks_off = masks_off
        self.unraisable = []
        self.stack = contextlib.ExitStack()
        self.folders = {}
        self.table = None
        self.may_be_dirty = False
        self.lead = self.measure_lead()

    def measure_lead(self):
        """Return how long to count until the earliest timer comes.

        Otherwise the first steps of what is run only once would never be hit.
        """
        came_before = None

        def end():
            nonlocal came_before
            came_before = calls > 0

        def handler(signum, frame):
            nonlocal calls
            calls += 1

        def share(count):
            """How often does the timer come before the counting ends?"""
            nonlocal calls
            earlier = 0
            for _ in range(100):
                calls = 0
                exhaust(map(operator.call, (
                    functools.partial(signal.setitimer, signal.ITIMER_REAL,
                                      self.SHORTEST),
                    lead(count), end)))
                while not calls:
                    pass
                earlier += came_before
            return earlier

        calls = 0
        signal.signal(signal.SIGALRM, handler)
        count = 100
        while share(count) < 5:
            count += count // 4
        return count

    SHORTEST = 1e-6     # a timer of 0 would not start

    def sweep_up(self, table):
        """Collect what sockets, loops and the like have left in cycles.

        They close themselves when they are collected: not in the middle of the
        next round, whose descriptors may have the same numbers.
        """
        if self.may_be_dirty:
            gc.collect()
            self.unraisable.clear()
        self.may_be_dirty = table.share < 1

    def change_table(self, table):
        """Enter what the constructs of this table need, and its folder."""
        if table is self.table:
            return
        if id(table) not in self.folders:
            self.stack.enter_context(table.in_use())
            # Where `async with` is cut, what it would have awaited is left.
            warnings.simplefilter("ignore", RuntimeWarning)
            self.folders[id(table)] = os.getcwd()
        os.chdir(self.folders[id(table)])
        self.table = table


def work_off(options, channel):
    """Do the rounds of a worker."""
    def report(**message):
        print(json.dumps(message), file=channel, flush=True)

    def tell():
        report(accounts={name: target.account()
                         for name, target in targets.items()})

    with open(options["shared"], "r+b") as file:
        shared = mmap.mmap(file.fileno(), POSITION.size)
    choose = Choice(options["seed"], choose_entries(options["construct"],
                                                       options["module"]))
    gc.disable()
    shooter = Shooter(options["masks_off"])
    sys.unraisablehook = shooter.unraisable.append
    targets = {}
    told = time.monotonic()
    gc.freeze()
    with shooter.stack:
        for position in range(options["first"], options["last"]):
            POSITION.pack_into(shared, 0, position)
            number = options["round"]
            if number is None:
                number = position
            entry, moment = choose(number)
            target = targets.get(entry.name)
            if target is None:
                target = targets[entry.name] = Target(entry, shooter)
            try:
                target.shoot(number, moment)
            except Exception as exc:
                if not isinstance(exc, Finding):
                    # What it is made of, or looked at with, does not work.
                    exc = Finding("broken", traceback.format_exc().rstrip())
                target.found[exc.kind] += 1
                report(kind=exc.kind, number=number, construct=entry.name,
                       text=exc.text)
            if position % 500 == 0:
                # Not by itself: it could come at any check point and bring its
                # own.
                gc.collect()
            now = time.monotonic()
            if now > told + 1:
                tell()
                told = now
        tell()


def sweep_over(name):
    """Print what the sweep finds; no luck is needed for that."""
    entry = all_entries()[name]
    with entry.table.in_use():
        warnings.simplefilter("ignore", RuntimeWarning)
        account = Account(entry.cls)
    if account.broken:
        print(f"the sweep finds it, too ({len(account.broken)} of "
              f"{account.points} check points): {account.broken[0]}")
    else:
        print(f"the sweep finds nothing at {account.points} check points")


# The parent.

class Worker:
    """A process that does a part of the rounds; another one if it dies."""

    def __init__(self, soak, job, first, last):
        self.soak = soak
        self.job = job
        self.first = first
        self.last = last
        self.path = os.path.join(soak.folder, f"shared{job}")
        self.errors = os.path.join(soak.folder, f"stderr{job}")
        with open(self.path, "wb") as file:
            file.write(POSITION.pack(first))
        with open(self.path, "rb") as file:
            self.shared = mmap.mmap(file.fileno(), POSITION.size,
                                    prot=mmap.PROT_READ)
        # Of the processes that ended early, and of this one.
        self.earlier = []
        self.accounts = {}
        self.start()

    def start(self):
        options = dict(vars(self.soak.options), first=self.first,
                       last=self.last, shared=self.path)
        self.seen = None
        self.changed = time.monotonic()
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                self.soak.command("--worker", json.dumps(options)),
                env=self.soak.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, process_group=0)
        self.soak.selector.register(self.process.stdout, selectors.EVENT_READ,
                                    self.read)
        self.text = b""
        self.is_running = True

    def position(self):
        return POSITION.unpack_from(self.shared)[0]

    def read(self):
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            self.end()
            return
        *lines, self.text = (self.text + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "accounts" in message:
                self.accounts = message["accounts"]
            else:
                self.soak.found(**message)

    def watch(self):
        """Stop it if it does not come on."""
        now = time.monotonic()
        position = self.position()
        if position != self.seen:
            self.seen = position
            self.changed = now
        elif now > self.changed + self.soak.hang_after:
            # faulthandler prints where it is.
            self.process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.kill()
            self.changed = now

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self):
        self.soak.selector.unregister(self.process.stdout)
        self.process.stdout.close()
        status = self.process.wait()
        # What the constructs have started ends with it.
        self.kill()
        self.is_running = False
        if status == 0:
            return
        position = self.position()
        number = self.soak.options.round
        if number is None:
            number = position
        with open(self.errors, errors="replace") as errors:
            said = errors.read()[-4000:].rstrip()
        how = ("it did not come to an end" if status == -signal.SIGABRT
               else f"the process ended with status {status}")
        self.soak.found("hangs", number, self.soak.choose(number)[0].name,
                        f"{how}\n{said}", counted=False)
        # It had not told of its last rounds yet.
        known = sum(account["rounds"] for account in self.accounts.values())
        self.soak.untold += max(position - self.first - known, 0)
        self.earlier.append(self.accounts)
        self.accounts = {}
        self.first = position + 1
        self.soak.restarts += 1
        if self.first < self.last and self.soak.restarts <= MAX_RESTARTS:
            self.start()

    def all_accounts(self):
        return [*self.earlier, self.accounts]


class Progress:
    """A line that is redrawn on a terminal, else one now and then."""

    def __init__(self, rounds):
        self.rounds = rounds
        self.is_terminal = sys.stderr.isatty()
        self.every = 1 if self.is_terminal else 10
        self.start = self.last = time.monotonic()

    def show(self, total):
        now = time.monotonic()
        done = total["rounds"]
        if now < self.last + self.every or not done:
            return
        self.last = now
        rate = done / (now - self.start)
        left = max(self.rounds - done, 0) / rate
        found = ", ".join(f"{total[kind]:,} {kind}" for kind in KINDS)
        self.write(f"{done:,} of {self.rounds:,} rounds, {total['inside']:,} "
                   f"raised inside, {done - total['inside']:,} beside; {found}; "
                   f"{rate:,.0f}/s, {left / 60:.0f} min left")

    def write(self, text):
        start, end = ("\r\x1b[K", "") if self.is_terminal else ("", "\n")
        print(start + text, end=end, file=sys.stderr, flush=True)

    def clear(self):
        if self.is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class Soak:
    """All workers, and what they have found."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.entries = choose_entries(options.construct, options.module)
        self.choose = Choice(options.seed, self.entries)
        self.hang_after = options.hang_after
        # The mode is set by the options alone.
        self.environment = {
            key: value for key, value in os.environ.items()
            if key != "PYTHONINTERRUPTMASKS"} | {"TMPDIR": folder}
        self.selector = selectors.DefaultSelector()
        self.progress = Progress(options.rounds)
        self.restarts = 0
        self.untold = 0         # rounds whose account has died with a worker
        self.shown = collections.Counter()
        self.uncounted = collections.Counter()  # hangs, by construct
        self.sweeps = {}
        self.workers = []

    def command(self, *arguments):
        masks = (["-X", "interrupt_masks=0"] if self.options.masks_off else [])
        table = ["--table", table_file] if table_file is not None else []
        return [sys.executable, "-B", "-X", "faulthandler", *masks, __file__,
                *table, *arguments]

    def found(self, kind, number, construct, text, counted=True):
        if not counted:
            self.uncounted[construct] += 1
        if self.options.masks_off and kind != "hangs":
            return
        self.shown[construct] += 1
        if self.shown[construct] > SHOWN:
            return
        self.progress.clear()
        again = [f"--seed {self.options.seed} --round {number}"]
        again += [f"--construct '{name}'"
                  for name in self.options.construct or ()]
        again += [f"--module {name}" for name in self.options.module or ()]
        if table_file is not None:
            again.append(f"--table {table_file}")
        if self.options.masks_off:
            again.append("--masks-off")
        print(f"{kind.upper()} in round {number}, {construct!r}: {text}\n"
              f"    again: scripts/soak {' '.join(again)}", flush=True)
        if not self.options.masks_off and construct not in self.sweeps:
            output = open(os.path.join(self.folder, f"sweep{len(self.sweeps)}"),
                          "w+")
            self.sweeps[construct] = output, subprocess.Popen(
                self.command("--sweep", construct), env=self.environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                process_group=0)

    def watch_sweeps(self, wait=False):
        for name, (output, process) in self.sweeps.items():
            if output.closed:
                continue
            if wait:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(2 * self.hang_after)
            if not wait and process.poll() is None:
                continue
            output.seek(0)
            said = output.read().rstrip()
            output.close()
            if process.returncode is None:
                said += "\nthe sweep does not end"
            self.progress.clear()
            print(f"{name!r}: {said}", flush=True)

    def totals(self):
        """What has been done and found, by construct."""
        totals = collections.defaultdict(collections.Counter)
        for worker in self.workers:
            for accounts in worker.all_accounts():
                for name, account in accounts.items():
                    places = max(totals[name]["places"], account["places"])
                    totals[name].update(account)
                    totals[name]["places"] = places
        for name, hangs in self.uncounted.items():
            totals[name].update(rounds=hangs, hangs=hangs)
        return totals

    def run(self):
        rounds = self.options.rounds
        jobs = min(self.options.jobs, rounds)
        bounds = [rounds * job // jobs for job in range(jobs + 1)]
        try:
            for job in range(jobs):
                self.workers.append(
                    Worker(self, job, bounds[job], bounds[job + 1]))
            while self.selector.get_map():
                for key, _ in self.selector.select(0.5):
                    key.data()
                for worker in self.workers:
                    if worker.is_running:
                        worker.watch()
                self.watch_sweeps()
                self.progress.show(sum(self.totals().values(),
                                       collections.Counter()))
            self.watch_sweeps(wait=True)
        finally:
            self.progress.clear()
            for worker in self.workers:
                if worker.is_running:
                    worker.kill()
            for _, process in self.sweeps.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def print_table(self):
        totals = self.totals()
        columns = ["rounds", "inside", *KINDS, "places", "ms/round"]
        width = max(map(len, totals), default=0) + 2
        print("\n" + "construct".ljust(width)
              + "".join(f"{column:>11}" for column in columns))
        everything = sum(totals.values(), collections.Counter())

        def row(title, total, places):
            figures = [f"{total[column]:,}" for column in columns[:-2]]
            milliseconds = total["seconds"] / max(total["rounds"], 1) * 1000
            print(title.ljust(width) + "".join(
                f"{figure:>11}"
                for figure in (*figures, places, f"{milliseconds:.3f}")))
        for entry in self.entries:
            if entry.name in totals:
                total = totals[entry.name]
                row(entry.name, total, total["places"])
        row("all", everything, "")
        return totals, everything

    def judge(self):
        """Print the result; return the exit status."""
        totals, everything = self.print_table()
        options = self.options
        rounds = everything["rounds"]
        found = ", ".join(f"{everything[kind]:,} {kind}" for kind in KINDS)
        print(f"\n{rounds:,} interrupts over {len(totals)} constructs, "
              f"{everything['inside']:,} raised inside of them: {found}; "
              f"seed {options.seed}")
        problems = []
        if self.untold:
            print(f"not counted: {self.untold:,} rounds before a worker ended")
        if rounds + self.untold != options.rounds:
            problems.append(f"{options.rounds:,} rounds were wanted")
        if not options.masks_off:
            if any(everything[kind] for kind in KINDS):
                problems.append("each of the figures above should be 0")
            # Otherwise it shows nothing.
            if everything["inside"] * 2 < rounds:
                problems.append("less than half were raised inside")
        else:
            needy = {entry.name for entry in self.entries if entry.cls.breaks}
            broken = {name for name in needy
                      if any(totals[name][kind] for kind in KINDS)}
            print(f"masks off: {len(broken)} of {len(needy)} constructs that "
                  f"need masks were found broken; not "
                  f"{sorted(needy - broken)}")
            if len(broken) * 2 < len(needy):
                problems.append("that is less than half")
        for problem in problems:
            print(f"soak: {problem}", file=sys.stderr)
        return bool(problems)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="soak", allow_abbrev=False,
                                     add_help=False)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--round", type=int)
    parser.add_argument("--construct", action="append")
    parser.add_argument("--module", action="append")
    parser.add_argument("--jobs", type=int,
                        default=len(os.sched_getaffinity(0)))
    parser.add_argument("--masks-off", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table")
    parser.add_argument("--hang-after", type=float)
    # How the parent starts its children.
    parser.add_argument("--worker", type=json.loads)
    parser.add_argument("--sweep")
    options = parser.parse_args()
    global table_file
    table_file = options.table
    if options.worker or options.sweep:
        return options
    if options.hang_after is None:
        options.hang_after = (HANG_AFTER_MASKS_OFF if options.masks_off
                              else HANG_AFTER)
    if options.rounds is None:
        options.rounds = ROUNDS if options.round is None else 1
    if options.seed is None:
        if options.round is not None:
            parser.error("--round needs --seed")
        options.seed = secrets.randbits(32)
    if options.rounds < 1 or options.jobs < 1 or not options.hang_after > 0:
        parser.error("--rounds, --jobs and --hang-after must be positive")
    if table_file is not None and not os.path.isfile(table_file):
        parser.error(f"there is no file {table_file!r}")
    if options.seed < 0 or (options.round or 0) < 0:
        parser.error("--seed and --round must not be negative")
    names = all_entries()
    for name in options.construct or ():
        if name not in names:
            parser.error(f"there is no construct {name!r}; see --list")
    modules = {entry.module for entry in names.values()}
    for name in options.module or ():
        if name not in modules:
            parser.error(f"{name!r} is none of {sorted(modules)}")
    return options


def main():
    options = parse_arguments()
    if options.worker:
        # Constructs may print; what is reported goes to where stdout was.
        with open(os.dup(1), "w") as channel:
            os.dup2(2, 1)
            work_off(options.worker, channel)
        return 0
    if options.sweep:
        sweep_over(options.sweep)
        return 0
    if options.list:
        for entry in all_entries().values():
            print(entry.name)
        return 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        soak = Soak(options, folder)
        print(f"{options.rounds:,} rounds over {len(soak.entries)} constructs "
              f"with {options.jobs} jobs, seed {options.seed}", flush=True)
        try:
            soak.run()
        except KeyboardInterrupt:
            print("soak: stopped by Ctrl-C; so far:", file=sys.stderr)
            soak.judge()
            return 130
        return soak.judge()


if __name__ == "__main__":
    sys.exit(main())
