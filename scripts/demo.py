"""Show what interrupt masking is for.

A timer signal is aimed at a random moment of a small loop, its handler
raises, the exception is caught outside the loop, and then the loop's object is
inspected: is the lock still held, is sys.stdout still redirected?  This is
done many thousand times on one interpreter, once with masks off (as every
other CPython behaves) and once with masks on.

What is measured is the promise of the constructs, so the harness must not
have windows of its own:

- A shot is one timer that fires once.  It is armed inside the `try` that
  catches it, so its exception can only come up there.
- A shot counts only if its traceback goes through the construct's loop.  One
  that lands between arming and the loop is discarded and shot again.
- The loop is bounded, and after it the harness waits for the handler.  So a
  shot whose handler ran but whose exception never came up is seen as lost
  instead of hanging the program.
- Nothing is armed while a state is inspected, repaired or reported.  An
  exception that comes up there was raised twice and fails the run.

Each mode runs in a worker process of its own, because masking is switched on
the command line.  Workers tell their progress as JSON lines.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import opcode
import os
import random
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# The real path: it is compared with os.getcwd().
HERE = os.path.dirname(os.path.realpath(__file__))
DEFAULT_INTERRUPTS = 24_000
# A worker prints a line at least every REPORT_EVERY seconds while all is
# well.  One that is silent for so much longer hangs.
REPORT_EVERY = 0.2
HANG_AFTER = 60.0


class DemoError(Exception):
    """Something the user has to know; printed without a traceback."""


# The constructs.  run() is the loop the interrupts are aimed at, is_broken()
# inspects what an interrupt left behind, reset() makes all good again.

def work():
    """The body of every construct: a call, so that it can be interrupted."""


class LockClass:
    title = "lock class in Python"

    class Lock:
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

    def reset(self):
        self.lock = self.Lock()

    def run(self, rounds):
        lock = self.lock
        for _ in range(rounds):
            with lock:
                work()

    def is_broken(self):
        return self.lock.inner.locked() or self.lock.owner is not None


class Semaphore:
    title = "threading.Semaphore"

    def reset(self):
        self.semaphore = threading.Semaphore(1)

    def run(self, rounds):
        semaphore = self.semaphore
        for _ in range(rounds):
            with semaphore:
                work()

    def is_broken(self):
        # Private names: a broken semaphore may hold its inner lock for ever,
        # and every public method would then block.
        return (self.semaphore._value != 1
                or self.semaphore._cond._lock.locked())


class Condition:
    title = "threading.Condition"

    def reset(self):
        self.condition = threading.Condition()

    def run(self, rounds):
        condition = self.condition
        for _ in range(rounds):
            with condition:
                condition.notify()

    def is_broken(self):
        try:
            self.condition.notify()
        except RuntimeError:  # not held by this thread, as it should be
            return False
        return True


class RedirectStdout:
    title = "redirect_stdout"

    def __init__(self):
        self.stdout = sys.stdout
        self.target = io.StringIO()

    def reset(self):
        sys.stdout = self.stdout

    def run(self, rounds):
        target = self.target
        for _ in range(rounds):
            with contextlib.redirect_stdout(target):
                work()

    def is_broken(self):
        return sys.stdout is not self.stdout


class Chdir:
    title = "contextlib.chdir"

    def __init__(self):
        self.home = HERE
        self.target = os.path.dirname(HERE)

    def reset(self):
        os.chdir(self.home)

    def run(self, rounds):
        target = self.target
        for _ in range(rounds):
            with contextlib.chdir(target):
                work()

    def is_broken(self):
        return os.getcwd() != self.home


class Finally:
    title = "finally with a call"

    class Resource:
        def __init__(self):
            self.opened = False

        def flush(self):
            pass

        def close(self):
            self.flush()
            self.opened = False

    def reset(self):
        self.resource = self.Resource()

    def run(self, rounds):
        resource = self.resource
        for _ in range(rounds):
            try:
                # The first step of the body, and nothing before it can be
                # interrupted: opened means that the try was entered and that
                # its finally has to run.
                resource.opened = True
                work()
            finally:
                resource.close()

    def is_broken(self):
        return self.resource.opened


# scripts/demo checks --construct against the same names.
CONSTRUCTS = {
    "lock": LockClass,
    "semaphore": Semaphore,
    "condition": Condition,
    "redirect_stdout": RedirectStdout,
    "chdir": Chdir,
    "finally": Finally,
}


# The worker: one mode, one construct after the other.

RAISED_TWICE = "an interrupt was raised a second time"


class Interrupt(KeyboardInterrupt):
    """What the timer's handler raises."""


class Shooter:
    """Aims timer signals at one construct and keeps the account."""

    # Timers are late by about this, so shorter delays would not aim earlier.
    MIN_SPREAD = 50e-6
    # Delays spread over this many rounds of the loop: every moment of a round
    # is hit, and not only those of a first, cold round.
    SPREAD_ROUNDS = 20
    # The loop runs this long before a shot is taken as having missed it.
    LOOP_TIME = 10e-3
    # More timers than this per interrupt wanted: aiming does not work here.
    MAX_TIMERS_PER_INTERRUPT = 3
    TIMER_LIMIT = 10.0

    def __init__(self, construct, rng):
        self.construct = construct
        self.rng = rng
        self.loop_code = construct.run.__func__.__code__
        self.timers = 0         # armed, each fires once
        self.handler_calls = 0
        self.interrupts = 0     # exceptions that came out of the loop
        self.discarded = 0      # exceptions that came up beside it
        self.broken = 0
        construct.reset()
        self.calibrate()
        signal.signal(signal.SIGALRM, self.on_alarm)

    def calibrate(self):
        rounds = 2000
        self.construct.run(rounds)  # warm up: caches, specialized bytecode
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            self.construct.run(rounds)
            best = min(best, (time.perf_counter() - start) / rounds)
        self.spread = max(self.MIN_SPREAD, best * self.SPREAD_ROUNDS)
        self.rounds = max(self.SPREAD_ROUNDS * 10, int(self.LOOP_TIME / best))

    def on_alarm(self, signum, frame):
        self.handler_calls += 1
        raise Interrupt

    def shoot(self):
        """Fire one timer and inspect what its interrupt left behind."""
        # Never 0, which would disarm the timer.
        delay = 1e-6 + self.rng.random() * self.spread
        calls_before = self.handler_calls
        self.timers += 1
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            self.construct.run(self.rounds)
            self.wait_for_handler(calls_before)
        except Interrupt as exc:
            if self.handler_calls == calls_before:
                # Not this timer's, which is still to come.
                signal.setitimer(signal.ITIMER_REAL, 0)
                raise DemoError(RAISED_TWICE) from exc
            if self.came_from_loop(exc):
                self.interrupts += 1
                self.broken += self.construct.is_broken()
            else:
                self.discarded += 1
        # Without an exception the handler ran, but what it raised never came
        # up: it is missing in the account.
        self.construct.reset()

    def wait_for_handler(self, calls_before):
        deadline = time.monotonic() + self.TIMER_LIMIT
        while self.handler_calls == calls_before:
            if time.monotonic() > deadline:
                raise DemoError("a timer that was set to microseconds did not "
                                f"fire within {self.TIMER_LIMIT:.0f} s")

    def came_from_loop(self, exc):
        traceback = exc.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code is self.loop_code:
                return True
            traceback = traceback.tb_next
        return False

    def shoot_until(self, wanted, report):
        """Shoot until `wanted` interrupts have hit; return the account."""
        start = next_report = time.monotonic()
        while self.interrupts < wanted:
            self.shoot()
            now = time.monotonic()
            if now >= next_report:
                report({"done": self.interrupts})
                next_report = now + REPORT_EVERY
            if self.timers > wanted * self.MAX_TIMERS_PER_INTERRUPT + 100:
                raise DemoError(
                    f"aiming failed: {self.timers:,} timers made "
                    f"{self.interrupts:,} exceptions in the loop and "
                    f"{self.discarded:,} beside it")
        return {
            "interrupts": self.interrupts,
            "broken": self.broken,
            "timers": self.timers,
            "handler_calls": self.handler_calls,
            "discarded": self.discarded,
            "seconds": round(time.monotonic() - start, 3),
        }


def run_worker(plan, seed):
    """Shoot at each construct of the plan, {name: interrupts}, in turn."""
    # A copy: sys.stdout is one of the things shot at.
    with open(os.dup(sys.stdout.fileno()), "w") as channel:

        def report(message):
            faulthandler.dump_traceback_later(HANG_AFTER, exit=True)
            print(json.dumps(message), file=channel, flush=True)

        for name, wanted in plan.items():
            report({"construct": name})
            # A seed per construct: it gets the same delays, whether shot at
            # alone or among others.
            rng = random.Random(f"{seed}:{name}")
            shooter = Shooter(CONSTRUCTS[name](), rng)
            report(shooter.shoot_until(wanted, report))


# The front: runs the workers, shows progress, judges.

class Mode:
    """One arm of the comparison: an interpreter and its options."""

    def __init__(self, name, python, options):
        self.name = name
        self.python = python
        self.options = options
        self.accounts = {}

    def total(self, key):
        return sum(account[key] for account in self.accounts.values())


class Progress:
    """A bar on a terminal, else a plain line now and then; on stderr."""

    PLAIN_EVERY = 10.0
    BAR_WIDTH = 30

    def __init__(self, of):
        self.of = of
        self.done = 0           # in the constructs that are finished
        self.start = self.last_plain = time.monotonic()
        self.is_terminal = sys.stderr.isatty()

    def show(self, what, done_here, finished=False):
        now = time.monotonic()
        done = self.done + done_here
        if finished:
            self.done = done
        rate = done / max(now - self.start, 1e-9)
        if self.is_terminal:
            filled = self.BAR_WIDTH * done // self.of
            bar = "#" * filled + "." * (self.BAR_WIDTH - filled)
            line = f"[{bar}] {done / self.of:4.0%} {rate:,.0f}/s  {what}"
            columns = shutil.get_terminal_size().columns
            print(f"\r{line[:columns - 1]}\x1b[K", end="", file=sys.stderr,
                  flush=True)
        elif finished or now - self.last_plain >= self.PLAIN_EVERY:
            self.last_plain = now
            print(f"{done:,} of {self.of:,} interrupts, {rate:,.0f}/s: {what}",
                  file=sys.stderr, flush=True)

    def close(self):
        if self.is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def run_mode(mode, plan, seed, progress):
    """Run the worker of one mode and fill in mode.accounts."""
    command = [mode.python, *mode.options, os.path.join(HERE, "demo.py"),
               "--worker", json.dumps(plan), "--seed", str(seed)]
    # The mode is set by the options alone.
    environment = {key: value for key, value in os.environ.items()
                   if key != "PYTHONINTERRUPTMASKS"}
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        # In a process group of its own: Ctrl-C is for the front, which then
        # stops the worker.
        worker = subprocess.Popen(command, env=environment, text=True,
                                  stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=errors,
                                  process_group=0)
        what = mode.name
        try:
            for line in worker.stdout:
                message = json.loads(line)
                if "construct" in message:
                    name = message["construct"]
                    what = f"{mode.name}, {CONSTRUCTS[name].title}"
                elif "done" in message:
                    progress.show(what, message["done"])
                else:
                    mode.accounts[name] = message
                    progress.show(what, message["interrupts"], finished=True)
            status = worker.wait()
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
        if status != 0:
            how = (f"was killed by {signal.Signals(-status).name}"
                   if status < 0 else f"ended with status {status}")
            errors.seek(0)
            raise DemoError(f"{what}: the worker process {how}\n"
                            + errors.read().rstrip())


def table(modes, names):
    """The result as lines of text."""
    rows = [[CONSTRUCTS[name].title,
             *(mode.accounts[name] for mode in modes)] for name in names]
    rows.append(["total", *({"interrupts": mode.total("interrupts"),
                             "broken": mode.total("broken")}
                            for mode in modes)])
    width = max(len(row[0]) for row in rows)
    lines = [" " * width + "".join(f"  {mode.name:>27}" for mode in modes),
             " " * width + f"  {'interrupts':>10}  {'left broken':>15}"
             * len(modes)]
    for title, *accounts in rows:
        line = f"{title:<{width}}"
        for account in accounts:
            share = account["broken"] / account["interrupts"]
            line += (f"  {account['interrupts']:>10,}  "
                     f"{account['broken']:>8,} {share:>6.1%}")
        lines.append(line)
    lines.insert(-1, "-" * len(lines[-1]))
    return lines


def judge(masked, unmasked, modes):
    """What is wrong with the result, as a list of sentences."""
    problems = []
    for mode in modes:
        for name, account in mode.accounts.items():
            caught = account["interrupts"] + account["discarded"]
            if not account["timers"] == account["handler_calls"] == caught:
                problems.append(
                    f"{mode.name}, {CONSTRUCTS[name].title}: "
                    f"{account['timers']:,} timers, "
                    f"{account['handler_calls']:,} calls of the handler and "
                    f"{caught:,} exceptions; each should be the same")
    if masked.total("broken"):
        problems.append(
            f"masks on left {masked.total('broken'):,} broken; it should be 0")
    if not unmasked.total("broken"):
        problems.append(
            "masks off broke nothing, so this run shows nothing: either there "
            "were too few interrupts (see --interrupts) or -X "
            "interrupt_masks=0 does not switch masking off")
    return problems


def write_json(path, seed, modes, problems):
    document = {
        "seed": seed,
        "problems": problems,
        "modes": {
            mode.name: {
                "total": {key: mode.total(key)
                          for key in ("interrupts", "broken")},
                "constructs": mode.accounts,
            } for mode in modes
        },
    }
    try:
        with open(path, "w") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
    except OSError as exc:
        raise DemoError(f"cannot write --json {path}: {exc.strerror}") from exc


def three_lines():
    run = os.path.relpath(os.path.join(HERE, "run"))
    if os.sep not in run:
        run = os.path.join(os.curdir, run)
    run = shlex.quote(run)
    return f"""\
Three lines to try. Press Ctrl-C twice, in the work and in the cleanup:

{run} -c 'import time
try: print("work: press Ctrl-C"); time.sleep(60)
finally: print("cleanup: press Ctrl-C again"); time.sleep(3); print("cleaned up")'

The cleanup is finished first. With "-X interrupt_masks=0" before the -c, the
second Ctrl-C cuts it short."""


def plan_interrupts(interrupts, names):
    """Spread the interrupts evenly over the constructs."""
    share, rest = divmod(interrupts, len(names))
    return {name: share + (index < rest) for index, name in enumerate(names)}


def run_demo(args):
    names = [args.construct] if args.construct else list(CONSTRUCTS)
    plan = plan_interrupts(args.interrupts, names)
    unmasked = Mode("masks off", sys.executable, ["-X", "interrupt_masks=0"])
    masked = Mode("masks on", sys.executable, [])
    modes = [unmasked, masked]
    if args.stock:
        modes.insert(0, Mode("stock", args.stock, []))

    print(f"{args.interrupts:,} timer interrupts in each of {len(modes)} "
          f"modes, seed {args.seed}", flush=True)
    progress = Progress(args.interrupts * len(modes))
    start = time.monotonic()
    try:
        for mode in modes:
            run_mode(mode, plan, args.seed, progress)
    finally:
        progress.close()
    seconds = time.monotonic() - start

    print()
    print("\n".join(table(modes, names)))
    print(f"\n{progress.of:,} interrupts in {seconds:.1f} s, "
          f"{progress.of / seconds:,.0f} per second\n", flush=True)
    problems = judge(masked, unmasked, modes)
    if args.json:
        write_json(args.json, args.seed, modes, problems)
    if problems:
        raise DemoError("\ndemo: ".join(problems))
    print(three_lines())


def check_stock(path):
    """Fail unless path is an unpatched interpreter."""
    question = "import opcode; print('NIT' in opcode.opmap)"
    try:
        answer = subprocess.run([path, "-c", question], text=True,
                                stdin=subprocess.DEVNULL, capture_output=True)
    except OSError as exc:
        raise DemoError(f"--stock {path}: {exc.strerror}") from exc
    if answer.stdout == "True\n":
        raise DemoError(f"--stock {path} is a patched interpreter; give an "
                        "unpatched one")
    if answer.stdout != "False\n":
        raise DemoError(f"--stock {path} is not a Python interpreter that "
                        f"works: {answer.stderr.strip() or 'no answer'}")


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="demo", allow_abbrev=False,
        description="Aim timer signals at random moments of library "
        "constructs, masks off and masks on, and count what is left broken.")
    parser.add_argument(
        "--interrupts", type=int, default=DEFAULT_INTERRUPTS, metavar="N",
        help="interrupts in each mode (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, metavar="S",
        help="seed of the delays; the same seed gives the same delays, as far "
        "as timing can be repeated (default: random, printed)")
    parser.add_argument(
        "--construct", choices=CONSTRUCTS, metavar="NAME",
        help=f"this construct only, one of: {', '.join(CONSTRUCTS)}")
    parser.add_argument(
        "--stock", metavar="PYTHON",
        help="also run an unpatched interpreter as a third mode")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the table to FILE as JSON")
    # How the front starts its workers.
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()

    wanted = 1 if args.construct else len(CONSTRUCTS)
    if args.interrupts < wanted:
        parser.error(f"--interrupts {args.interrupts}: at least {wanted} "
                     "needed, one for each construct")
    if args.seed is None:
        args.seed = secrets.randbits(32)
    if args.json:
        folder = os.path.dirname(os.path.abspath(args.json))
        if not os.path.isdir(folder) or os.path.isdir(args.json):
            parser.error(f"--json {args.json}: not a file in an existing "
                         "folder")
    return args


def main():
    args = parse_arguments()
    try:
        if args.worker is not None:
            run_worker(args.worker, args.seed)
            return 0
        if "NIT" not in opcode.opmap:
            raise DemoError(f"{sys.executable} is not the patched "
                            "interpreter; start the demo with scripts/demo")
        if args.stock:
            check_stock(args.stock)
        run_demo(args)
    except DemoError as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 1
    except Interrupt:
        # In a worker, but not in the shot it belongs to.
        print(f"demo: {RAISED_TWICE}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped by Ctrl-C, no result", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
