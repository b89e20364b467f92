"""See what a Ctrl-C does to extension modules, and write it as lines of JSON.

Usage: python compatibility_signals.py RECORD [CASE...]
       python compatibility_signals.py --self-test

Run by scripts/compatibility.py in the environments that it makes. A child does
something that takes a while: a call of numpy, a query of Polars, a validation by
pydantic. At a random moment it gets one SIGINT. Exactly one KeyboardInterrupt
must come of that, the child must live and go on working; and where the exception
came from is written down as the name of a test, so that scripts/compatibility.py
finds what only one side does. In other children nobody catches it, and how these
end is compared.

Polars has a handler for SIGINT of its own, which takes it while a query runs;
watchfiles polls, with PyErr_CheckSignals(); the others leave it to the eval loop.

--self-test does the same to cases that are broken; each must be found to be.
"""

import collections
import dataclasses
import json
import os
import random
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback

# In one child, one after the other; and each in a child of its own.
SHOTS = 12
SHOTS_UNCAUGHT = 3

# Seconds in which a child must say something.
TIMEOUT = 120

# How long one waits for an interrupt that does not come, and for a second one.
PATIENCE = 10
SETTLE = 0.1


# -- what the children do -----------------------------------------------------

@dataclasses.dataclass
class Case:
    """What a child does."""

    # Returns what takes a while, and what says if all works still.
    prepare: collections.abc.Callable
    # Whether the same places must be seen on both sides. Not where it is a
    # matter of luck which of several is met.
    places: bool = True
    # How many exceptions may come of one SIGINT. Polars raises one by itself
    # and passes the signal on to the interpreter, which raises another.
    most: int = 1


CASES = {}
BROKEN = {}


def case(name, cases=CASES, **options):
    def add(prepare):
        cases[name] = Case(prepare, **options)
        return prepare
    return add


def callback(value):
    """Called by extension modules, very often."""
    return value + 1


def random_array(size):
    import numpy
    return numpy.random.default_rng(1).random(size)


@case("numpy.sort")
def numpy_sort():
    array = random_array(5_000_000)
    return (lambda: array.copy().sort(kind="stable"),
            lambda: array.sum() > 0)


@case("numpy.dot")
def numpy_dot():
    matrix = random_array((1800, 1800))
    return (lambda: matrix @ matrix,
            lambda: (matrix[:2, :2] @ matrix[:2, :2]).shape == (2, 2))


# Nearly always out of the callback, rarely out of its caller.
@case("numpy, calling Python", places=False)
def numpy_callback():
    import numpy
    function = numpy.frompyfunc(callback, 1, 1)
    array = numpy.ones(2_500_000, int)
    return (lambda: function(array),
            lambda: function(array[:3]).tolist() == [2, 2, 2])


@case("numpy in a finally")
def numpy_finally():
    matrix = random_array((1800, 1800))

    def run():
        try:
            pass
        finally:
            # No frame is left by this, so on stock it comes here, and on ours
            # after the last line: out of the same function.
            matrix @ matrix
    return run, lambda: matrix.sum() > 0


def polars_query(rows=700_000):
    import polars
    frame = polars.DataFrame({"a": random_array(rows)}).lazy()
    for step in range(8):
        frame = frame.with_columns(
            polars.col("a").rank().over(polars.col("a") > 0.5)
            .alias(f"b{step}")).sort("a")
    return frame


def polars_check():
    import polars
    return polars.DataFrame({"a": [2, 1]}).lazy().sort("a").collect()[
        "a"].to_list() == [1, 2]


@case("polars.collect", most=2)
def polars_collect():
    return polars_query().collect, polars_check


@case("polars.collect, streaming", most=2)
def polars_streaming():
    import polars
    frame = polars.LazyFrame({"a": random_array(6_000_000)})
    query = frame.group_by((polars.col("a") * 1e6).cast(int)).len().sort("len")
    return lambda: query.collect(engine="streaming"), polars_check


@case("polars, calling Python", places=False, most=2)
def polars_callback():
    import polars
    frame = polars.DataFrame({"a": random_array(2_500_000)})
    function = polars.col("a").map_elements(
        callback, return_dtype=polars.Float64)
    return lambda: frame.select(function), polars_check


@case("polars in a finally", most=2)
def polars_finally():
    query = polars_query()

    def run():
        try:
            pass
        finally:
            query.collect()
    return run, polars_check


@case("polars in a thread beside numpy", places=False,
      most=2)
def polars_thread():
    import numpy
    array = random_array(200_000)
    query = polars_query()

    def run():
        thread = threading.Thread(target=query.collect)
        thread.start()
        while thread.is_alive():
            numpy.sort(array)
    return run, polars_check


@case("pydantic, JSON")
def pydantic_json():
    import pydantic
    # Not by the adapter's method, which would be left while a signal comes.
    validate = pydantic.TypeAdapter(list[int]).validator.validate_json
    text = json.dumps([1] * 5_000_000)
    return lambda: validate(text), lambda: validate("[1]") == [1]


@case("pydantic, calling Python", places=False)
def pydantic_callback():
    import pydantic
    from typing import Annotated
    validate = pydantic.TypeAdapter(list[Annotated[
        int, pydantic.AfterValidator(callback)]]).validator.validate_python
    values = [1] * 2_500_000
    return lambda: validate(values), lambda: validate([1]) == [2]


@case("watchfiles")
def watch():
    import watchfiles
    directory = tempfile.mkdtemp()

    def run(milliseconds=600):
        for changes in watchfiles.watch(directory, rust_timeout=milliseconds,
                                        yield_on_timeout=True):
            return changes
    return run, lambda: run(10) == set()


@case("all in turn", places=False, most=2)
def in_turn():
    import numpy
    import pydantic
    from typing import Annotated
    array = random_array(200_000)
    query = polars_query(50_000)
    adapter = pydantic.TypeAdapter(
        list[Annotated[int, pydantic.AfterValidator(callback)]])
    values = list(range(100_000))
    run_watch, check_watch = watch()

    def run():
        for _ in range(6):
            numpy.sort(array)
            query.collect()
            adapter.validate_python(values)
            run_watch(20)
    return run, lambda: polars_check() and check_watch()


@case("polars in a thread beside watchfiles", places=False,
      most=2)
def both_poll():
    query = polars_query(200_000)
    run_watch, check_watch = watch()

    def run():
        thread = threading.Thread(target=query.collect)
        thread.start()
        run_watch()
        thread.join()
    return run, lambda: polars_check() and check_watch()


# -- a child ------------------------------------------------------------------

def say(**what):
    # One call: what an interrupt could cut in half would not be understood.
    os.write(1, json.dumps(what).encode() + b"\n")


def place_of(error):
    """Where an exception came from, as far as it is the same each time."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        place = "nowhere"
    elif "site-packages/" in frames[-1].filename:
        path = frames[-1].filename.rpartition("site-packages/")[2]
        place = path.partition("/")[0]
    elif frames[-1].name == "callback":
        place = "what it calls"
    else:
        place = "the caller"
    cause = error.__context__ or error.__cause__
    after = "" if cause is None else f", after {type(cause).__name__}"
    return f"{type(error).__name__} out of {place}{after}"


class Shot:
    """What becomes of one SIGINT."""

    def __init__(self, run, check, elsewhere):
        self.run = run
        self.check = check
        self.elsewhere = elsewhere
        self.start = self.late = 0
        self.usable = None
        self.errors = []

    def go_on(self):
        """Do what has not been done yet."""
        if not self.start:
            self.start = time.monotonic()
            say(started=True)
            while (not self.elsewhere
                    and time.monotonic() < self.start + PATIENCE):
                self.run()
        if not self.late:
            self.late = time.monotonic() - self.start
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()
        # Is there another one?
        end = time.monotonic() + SETTLE
        while time.monotonic() < end:
            pass
        if self.usable is None:
            self.usable = False
            self.usable = bool(self.check())

    def finish(self):
        """Go on until all is done, and keep what comes out.

        Another exception can come wherever this one is being handled, so what
        follows is done in there. A third one is one too many.
        """
        try:
            try:
                try:
                    self.go_on()
                except BaseException as error:
                    self.errors.append(error)
                    self.go_on()
            except BaseException as error:
                self.errors.append(error)
                self.go_on()
        except BaseException as error:
            self.errors.append(error)
            self.go_on()


def child(name):
    """Do it as often as standard input says."""
    run, check = (CASES | BROKEN)[name].prepare()
    elsewhere = []
    threading.excepthook = lambda args: elsewhere.append(args.exc_value)
    say(seconds=min(timed(run) for _ in range(3)))
    while sys.stdin.buffer.readline():
        elsewhere.clear()
        shot = Shot(run, check, elsewhere)
        shot.finish()
        seen = [*map(place_of, shot.errors),
                *(f"{place_of(error)}, in a thread" for error in elsewhere)]
        say(seen=seen, usable=shot.usable, seconds=shot.late)


def child_uncaught(name):
    """Do it once, and catch nothing."""
    run, check = (CASES | BROKEN)[name].prepare()
    say(seconds=min(timed(run) for _ in range(2)))
    sys.stdin.buffer.readline()
    say(started=True)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        run()


def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


# -- its parent ---------------------------------------------------------------

class Ended(Exception):
    """A child has ended, or says nothing."""


class Child:
    def __init__(self, option, name):
        environment = os.environ | {
            # Not one for each processor: both sides run at the same time.
            "POLARS_MAX_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, option, name], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            stderr=self.errors)
        self.rest = b""

    def read(self):
        """What it says next."""
        while b"\n" not in self.rest:
            readable, _, _ = select.select([self.process.stdout], [], [],
                                           TIMEOUT)
            if not readable:
                raise Ended(f"said nothing for {TIMEOUT} s")
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise Ended(f"ended with {self.process.wait()}")
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def shoot(self, seconds):
        """Let it start, and send the signal while it is at it."""
        self.process.stdin.write(b"\n")
        self.read()
        time.sleep(random.uniform(0.05, 0.8) * seconds)
        self.process.send_signal(signal.SIGINT)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def said(self):
        """What it wrote to its standard error."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")


def look_at(name):
    """{test: outcome} of a case."""
    places = (CASES | BROKEN)[name].places
    most = (CASES | BROKEN)[name].most
    one = f"{name}::a KeyboardInterrupt for each SIGINT, at most {most}"
    works = f"{name}::alive and usable afterwards"
    result = {one: "passed", works: "passed"}
    seconds = []
    seen = collections.Counter()
    with Child("--child", name) as running:
        try:
            duration = running.read()["seconds"]
            for _ in range(SHOTS):
                running.shoot(duration)
                report = running.read()
                seconds.append(report["seconds"])
                seen[" and ".join(report["seen"]) or "nothing"] += 1
                if (not 1 <= len(report["seen"]) <= most
                        or not all(place.startswith("KeyboardInterrupt")
                                   for place in report["seen"])):
                    print(f"{name}: {report}")
                    result[one] = "failed"
                if not report["usable"]:
                    result[works] = "failed"
        except Ended as error:
            print(f"{name}: {error}\n{running.said()}")
            result[works] = "failed"
    if seconds:
        print(f"{name}: takes {duration:.2f} s, ended after"
              f" {statistics.median(seconds):.2f} s; {dict(seen)}", flush=True)
    if places:
        result |= {f"{name}::seen: {place}": "passed" for place in seen}
    ends = {look_at_end(name) for _ in range(SHOTS_UNCAUGHT)}
    print(f"{name}: {ends}", flush=True)
    if places:
        result |= {f"{name}::uncaught: {end}": "passed" for end in ends}
    return result


def look_at_end(name):
    """How a child ends that does not catch it."""
    with Child("--child-uncaught", name) as running:
        try:
            running.shoot(running.read()["seconds"])
            status = running.process.wait(TIMEOUT)
        except (Ended, subprocess.TimeoutExpired) as error:
            return str(error)
        lines = running.said().splitlines()
    starts = [line for line in lines if line.startswith("Traceback")]
    files = [line.split('"')[1] for line in lines
             if line.startswith('  File "')]
    inside = [file.rpartition("site-packages/")[2].partition("/")[0]
              for file in files if "site-packages/" in file]
    return (f"status {status}, {len(starts)} traceback, "
            f"through {inside[-1] if inside else 'no package'}, "
            f"'{lines[-1] if lines else ''}'")


# -- the self-test ------------------------------------------------------------

def spin():
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        callback(1)


def with_handler(handler):
    signal.signal(signal.SIGINT, handler)
    return spin, lambda: True


@case("lost", BROKEN)
def broken_lost():
    return with_handler(lambda *args: None)


@case("twice", BROKEN)
def broken_twice():
    def handler(number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.02, os.kill, (os.getpid(), number)).start()
        raise KeyboardInterrupt
    return with_handler(handler)


@case("another", BROKEN)
def broken_another():
    def handler(number, frame):
        raise ValueError
    return with_handler(handler)


@case("dies", BROKEN)
def broken_dies():
    return with_handler(signal.SIG_DFL)


@case("spoilt", BROKEN)
def broken_spoilt():
    return spin, lambda: False


@case("works", BROKEN)
def broken_not():
    return spin, lambda: True


def self_test():
    global SHOTS, SHOTS_UNCAUGHT, PATIENCE
    SHOTS, SHOTS_UNCAUGHT = 2, 1
    expected = {"lost": {"a"}, "twice": {"a"}, "another": {"a"},
                "dies": {"alive"}, "spoilt": {"alive"}, "works": set()}
    wrong = 0
    for name, words in expected.items():
        failed = {test.partition("::")[2].split()[0]
                  for test, outcome in look_at(name).items()
                  if outcome == "failed"}
        print(f"{name}: found {failed or 'nothing'}, expected {words or 'nothing'}")
        wrong += failed != words
    print(f"{len(expected) - wrong} passed, {wrong} failed")
    return wrong != 0


def main():
    if sys.argv[1] == "--child":
        return child(sys.argv[2])
    if sys.argv[1] == "--child-uncaught":
        return child_uncaught(sys.argv[2])
    # The children would inherit that it is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.argv[1] == "--self-test":
        return self_test()
    record_path, *names = sys.argv[1:]
    with open(record_path, "w", encoding="utf-8") as record:
        for name in names or CASES:
            for pair in look_at(name).items():
                print(json.dumps(pair), file=record, flush=True)


if __name__ == "__main__":
    sys.exit(main())
