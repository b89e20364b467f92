"""Count instructions and time per iteration, ours against stock.

Started by scripts/overhead, which also has the help text.

The loops live in this file, too: `overhead.py --loop NAME COUNT` runs one of
them and prints the seconds it took. Both interpreters therefore run the very
same source, once under callgrind and several times on the bare machine.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

# Both run lengths are far beyond the point where the adaptive interpreter has
# specialised the loop; their difference is then the steady state alone.
SHORT_RUN = 5_000
LONG_RUN = 45_000

# About a quarter of a second each: long against the timer, short against the
# machine's changes of speed. The minimum of several runs is the one that was
# disturbed least; the two interpreters take turns, so that a slow phase of the
# machine hits both.
TIMED_RUN = 2_000_000
TIMED_REPEATS = 7


class Guard:
    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        return None


def callee():
    return None


def nointerrupts_block(count):
    try:
        from threading import nointerrupts
    except ImportError:
        # Stock has none; what it is compared with there is a lock.
        nointerrupts = threading.Lock()
    for _ in range(count):
        with nointerrupts:
            pass


def with_lock(count):
    lock = threading.Lock()
    for _ in range(count):
        with lock:
            pass


def with_class(count):
    guard = Guard()
    for _ in range(count):
        with guard:
            pass


def try_finally(count):
    for _ in range(count):
        try:
            callee()
        finally:
            pass


def plain_call(count):
    for _ in range(count):
        callee()


LOOPS = {
    # name: (what the table calls it, function, highest ours / stock)
    "with_lock": ("with a C lock", with_lock, 1.03),
    "with_class": ("with a Python class", with_class, 1.03),
    "try_finally": ("try/finally round a call", try_finally, 1.05),
    "plain_call": ("plain call", plain_call, 1.01),
    "nointerrupts": ("with nointerrupts (stock: a C lock)", nointerrupts_block,
                     1.20),
}


class MeasurementFailed(Exception):
    pass


def run_loop(name, count):
    function = LOOPS[name][1]
    start = time.perf_counter()
    function(count)
    print(time.perf_counter() - start)


def loop_command(python, name, count):
    # -S and -s: no site packages, whose start-up differs between machines.
    # Not -I, because it would ignore PYTHONHASHSEED.
    return [python, "-S", "-s", "-B", os.path.abspath(__file__),
            "--loop", name, str(count)]


def loop_environment():
    # Nothing of the caller's: the environment's size moves the stack, and
    # functions of the C library count differently at other alignments.
    return {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"}


def run(command):
    result = subprocess.run(command, env=loop_environment(), text=True,
                            stdin=subprocess.DEVNULL, capture_output=True)
    if result.returncode != 0:
        lines = (result.stdout + result.stderr).strip().splitlines()[-10:]
        raise MeasurementFailed(
            f"'{' '.join(command)}' ended with {result.returncode}:\n  "
            + "\n  ".join(lines))
    return result


def count_instructions(python, name, count):
    with tempfile.TemporaryDirectory() as scratch:
        out_file = os.path.join(scratch, "callgrind.out")
        run(["valgrind", "--tool=callgrind",
             f"--callgrind-out-file={out_file}",
             *loop_command(python, name, count)])
        with open(out_file) as lines:
            for line in lines:
                if match := re.match(r"(?:totals|summary): (\d+)", line):
                    return int(match[1])
    raise MeasurementFailed(f"callgrind wrote no total for {python}, {name}")


def time_loop(python, name):
    output = run(loop_command(python, name, TIMED_RUN)).stdout
    try:
        return float(output)
    except ValueError:
        raise MeasurementFailed(
            f"{python} is no Python: asked for seconds, it printed {output!r}"
        ) from None


def instructions_per_iteration(pythons, progress):
    """{(python, loop): instructions}, all runs spread over the CPUs."""
    jobs = [(python, name, count) for name in LOOPS for python in pythons
            for count in (SHORT_RUN, LONG_RUN)]
    totals = {}

    def work(job):
        totals[job] = count_instructions(*job)
        progress()

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(work, jobs))
    return {
        (python, name): (totals[python, name, LONG_RUN]
                         - totals[python, name, SHORT_RUN])
                        / (LONG_RUN - SHORT_RUN)
        for python in pythons for name in LOOPS
    }


def nanoseconds_per_iteration(pythons, progress):
    best = {}
    for name in LOOPS:
        for repeat in range(TIMED_REPEATS):
            # Who goes first changes, so that neither profits from its place.
            for python in pythons[::-1 if repeat % 2 else 1]:
                nanoseconds = time_loop(python, name) / TIMED_RUN * 1e9
                key = python, name
                best[key] = min(best.get(key, nanoseconds), nanoseconds)
                progress()
    return best


class Progress:
    """A counter on stderr: one line rewritten on a terminal, else a few."""

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.start = time.monotonic()
        self.lock = threading.Lock()

    def __call__(self):
        with self.lock:
            self.done += 1
            elapsed = int(time.monotonic() - self.start)
            text = f"measuring: {self.done} of {self.total} runs, {elapsed} s"
            if sys.stderr.isatty():
                end = "\n" if self.done == self.total else ""
                print(f"\r{text}", end=end, file=sys.stderr, flush=True)
            elif self.done % 12 == 0 or self.done == self.total:
                print(text, file=sys.stderr, flush=True)


def report(ours, stock, check):
    pythons = [stock, ours]
    progress = Progress(2 * len(pythons) * len(LOOPS)
                        + TIMED_REPEATS * len(pythons) * len(LOOPS))
    instructions = instructions_per_iteration(pythons, progress)
    nanoseconds = nanoseconds_per_iteration(pythons, progress)

    over = []
    print(f"{'':36}  {'instructions per iteration':^33}"
          f"  {'ns per iteration':^25}")
    print(f"{'':36}  {'stock':>8}{'ours':>8}{'ratio':>8}{'limit':>8} "
          f"  {'stock':>8}{'ours':>8}{'ratio':>8}")
    for name, (title, _, limit) in LOOPS.items():
        counts = [instructions[python, name] for python in pythons]
        times = [nanoseconds[python, name] for python in pythons]
        ratio = counts[1] / counts[0]
        verdict = "ok" if ratio <= limit else "OVER"
        if ratio > limit:
            over.append(title)
        print(f"{title:36}  {counts[0]:8.1f}{counts[1]:8.1f}{ratio:8.3f}"
              f"{limit:8.2f}   {times[0]:8.1f}{times[1]:8.1f}"
              f"{times[1] / times[0]:8.3f}  {verdict}")
    print()
    if over:
        print("Over the limit in instructions: " + ", ".join(over))
    else:
        print("Every loop is within its limit in instructions.")
    print("Times are the fastest of "
          f"{TIMED_REPEATS} alternating runs; they are not judged.")
    return 1 if check and over else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours")
    parser.add_argument("--stock")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--loop", nargs=2, metavar=("NAME", "COUNT"))
    options = parser.parse_args()
    if options.loop:
        run_loop(options.loop[0], int(options.loop[1]))
        return 0
    try:
        return report(options.ours, options.stock, options.check)
    except MeasurementFailed as error:
        print(f"scripts/overhead: could not measure: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
