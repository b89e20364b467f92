"""Measure how fast blocked threads are interrupted.

Started by scripts/latency, which also has the help text.

The calls are those of test.support.interrupt_waits, which the tests go through, too.
"""

import argparse
import multiprocessing
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from threading import nointerrupts

import _interrupts
from test.support.interrupt_waits import (
    WAITS, ByThread, BySignal, Interrupt, interrupt_one_at_a_time)

# Longer than this is taken for lost.
LOST = 10


class Lost(Exception):
    """An interrupt that was not raised, or was raised twice."""


def spin():
    while True:
        pass


class Busy:
    """All cores compute, in processes of their own."""

    def __enter__(self):
        context = multiprocessing.get_context("spawn")
        self.processes = [context.Process(target=spin, daemon=True)
                          for _ in range(os.cpu_count())]
        for process in self.processes:
            process.start()
        time.sleep(0.5)

    def __exit__(self, *exc_info):
        for process in self.processes:
            process.kill()
            process.join()


def latencies(make, way, rounds):
    """Seconds from sending to raising, of each round, sorted."""
    ready = queue.SimpleQueue()
    raised = queue.SimpleQueue()
    with make() as wait:
        def body():
            for _ in range(rounds):
                try:
                    ready.put(None)
                    wait.wait()
                except Interrupt:
                    raised.put(time.perf_counter())
            time.sleep(0.001)

        def driver(fire):
            for _ in range(rounds):
                ready.get(timeout=LOST)
                # Some while it is on its way into the call, most when it blocks.
                time.sleep(random.choice([0, 0.0002, 0.001]))
                sent = time.perf_counter()
                fire()
                try:
                    results.append(raised.get(timeout=LOST) - sent)
                except queue.Empty:
                    raise Lost(f"after {len(results)}") from None
        results = []
        way.run(body, driver)
    if not raised.empty():
        raise Lost("one was raised twice")
    return sorted(results)


def row(name, seconds):
    middle = seconds[len(seconds) // 2]
    high = seconds[len(seconds) * 99 // 100]
    figures = "".join(f"{value * 1e6:10.0f}"
                      for value in (middle, high, seconds[-1]))
    print(f"{name:36}{figures}", flush=True)


def table(names, rounds):
    for load in "idle", "busy":
        print(f"\n{load:36}    median       p99       max  (us, of {rounds})")
        for name in names:
            for way in ByThread(), BySignal():
                if load == "busy":
                    with Busy():
                        seconds = latencies(WAITS[name], way, rounds)
                else:
                    seconds = latencies(WAITS[name], way, rounds)
                row(f"{name}, {type(way).__name__}", seconds)


def alternating(count):
    """One in flight at a time, against a thread that blocks and computes."""
    def progress(i):
        if i % 10_000 == 0 and sys.stderr.isatty():
            print(f"\r{i} of {count}", end="\r", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        interrupt_one_at_a_time(count, progress)
    except AssertionError as exc:
        raise Lost(exc) from None
    seconds = time.monotonic() - start
    kicks = _interrupts.kicks()
    time.sleep(1)
    later = _interrupts.kicks() - kicks
    print(f"{count} interrupts, one at a time: {seconds:.0f} s, none lost, none "
          f"double; kicks in the second after: {later}")
    if later:
        raise Lost("kicks go on")


def hand_overs(count, name, wait, give, nothing, left):
    """Something is handed over to a thread that is interrupted at the same time.

    What wait() has returned, or *nothing* if it was interrupted, and what is
    left() together are what give(i) has returned. Return how often wait()
    returned.
    """
    start, ready, done = (queue.SimpleQueue() for _ in range(3))

    def run():
        while start.get() is None:
            got = nothing
            try:
                with nointerrupts(interruptible_waits=True):
                    ready.put(None)
                    got = wait()
                while True:
                    time.sleep(1)
            except Interrupt:
                done.put(got)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    taken = 0
    for i in range(count):
        start.put(None)
        ready.get(timeout=LOST)
        if i % 2:
            given = give(i)
        if i % 5 == 0:
            time.sleep(0)
        thread.interrupt(Interrupt)
        if i % 3 == 0:
            time.sleep(0)
        if i % 2 == 0:
            given = give(i)
        got = done.get(timeout=LOST)
        taken += got != nothing
        if got + left() != given:
            raise Lost(f"{name}: {got!r} instead of {given!r} in round {i}")
    start.put("stop")
    thread.join()
    print(f"{count} rounds over a {name}, taken {taken}, interrupted "
          f"{count - taken}: never both, never neither")


def over_lock(count):
    lock = threading.Lock()
    lock.acquire()

    def give(i):
        lock.release()
        return True
    hand_overs(count, "lock", lock.acquire, give, False,
               lambda: lock.acquire(blocking=False))


def over_pipe(count):
    read, write = os.pipe()

    def give(i):
        byte = bytes([i % 256])
        os.write(write, byte)
        return byte

    def left():
        os.set_blocking(read, False)
        try:
            return os.read(read, 10)
        except BlockingIOError:
            return b""
        finally:
            os.set_blocking(read, True)
    hand_overs(count, "pipe", lambda: os.read(read, 10), give, b"", left)


def over_sockets(count):
    a, b = socket.socketpair()

    def give(i):
        byte = bytes([i % 256])
        b.send(byte)
        return byte

    def left():
        try:
            return a.recv(10, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""
    hand_overs(count, "socketpair", lambda: a.recv(10), give, b"", left)


def many_threads(count):
    lock = threading.Lock()
    lock.acquire()
    threads = [threading.Thread(target=lock.acquire, daemon=True)
               for _ in range(count)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    start = time.monotonic()
    for thread in threads:
        thread.terminate()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    print(f"{count} blocked threads terminated and joined: {seconds:.3f} s")


def sleep_under_fire():
    for way in ByThread(), BySignal():
        ready = queue.SimpleQueue()

        def body():
            try:
                try:
                    pass
                finally:
                    start, cpu = time.monotonic(), time.thread_time()
                    ready.put(None)
                    time.sleep(0.5)
                    took = time.monotonic() - start
                    cpu = time.thread_time() - cpu
            except Interrupt:
                return took, cpu

        def driver(fire):
            ready.get()
            for _ in range(1000):
                fire()
                time.sleep(0.0002)
        took, cpu = way.run(body, driver)
        print(f"sleep(0.5) in a finally under 1000 interrupts, "
              f"{type(way).__name__}: {took:.3f} s, {cpu / took:.1%} CPU")


# What Ctrl-C has to stop, endless or so long that it is for this purpose.
STOPS = {
    "while True: pass": """
def work():
    while True:
        pass
""",
    "comprehension": """
def work():
    [i for i in range(10 ** 9)]
""",
    "C iterators": """
import itertools
def work():
    numbers = itertools.count()
    for i in zip(numbers, map(abs, itertools.chain(numbers))):
        pass
""",
    "calls of C functions": """
def work():
    a = list(range(1000))
    while True:
        sum(a); sum(a); sum(a); sum(a); sum(a)
""",
    "regex": """
import re
def work():
    re.match("(a+)+b", "a" * 60)
""",
    "int power": """
def work():
    3 ** (10 ** 8)
""",
    "sort with key": """
import itertools
def work():
    list_ = list(range(3_000_000))
    list_.sort(key=lambda i: -i)
    list_.sort(key=str)
""",
    "recursion": """
def work(n=36):
    return n if n < 2 else work(n - 1) + work(n - 2)
""",
    "generator chain": """
def work():
    chain = iter(int, 1)
    for i in range(20):
        chain = (x for x in chain)
    for x in chain:
        pass
""",
    "sleep": """
import time
def work():
    time.sleep(3600)
""",
    "lock": """
import threading
lock = threading.Lock()
lock.acquire()
def work():
    lock.acquire()
""",
    "with lock": """
import threading
lock = threading.Lock()
lock.acquire()
def work():
    with lock:
        pass
""",
}

STOPPED = """
import sys, time
print("ready", flush=True)
for line in sys.stdin:
    try:
        print("started", flush=True)
        work()
    except KeyboardInterrupt:
        now = time.monotonic_ns()
    print(now, flush=True)
"""


class Stopped:
    """A child that works until it is interrupted, again and again."""

    def __init__(self, python, code):
        self.child = subprocess.Popen(
            [python, "-c", code + STOPPED], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self.expect("ready")
        self.seconds = []

    def expect(self, text):
        line = self.child.stdout.readline().strip()
        if line != text:
            raise Lost(f"{line!r} instead of {text!r}")

    def round(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        self.expect("started")
        time.sleep(random.uniform(0.01, 0.04))
        sent = time.monotonic_ns()
        self.child.send_signal(signal.SIGINT)
        stopped = int(self.child.stdout.readline())
        self.seconds.append((stopped - sent) / 1e9)

    def close(self):
        self.child.kill()
        self.child.communicate()


def stops(ours, stock, rounds):
    """How long Ctrl-C takes to stop what computes, ours against stock."""
    print(f"{'from SIGINT to KeyboardInterrupt':26}{'ours: median':>14}{'max':>10}"
          f"{'stock: median':>16}{'max':>10}  (us, of {rounds})")
    for name, code in STOPS.items():
        children = [Stopped(python, code) for python in (ours, stock)]
        try:
            # In turns, so that what slows the machine slows both.
            for _ in range(rounds):
                for child in children:
                    child.round()
        finally:
            for child in children:
                child.close()
        first, second = (sorted(child.seconds) for child in children)
        print(f"{name:26}{first[rounds // 2] * 1e6:14.0f}{first[-1] * 1e6:10.0f}"
              f"{second[rounds // 2] * 1e6:16.0f}{second[-1] * 1e6:10.0f}",
              flush=True)


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--only", action="append", choices=sorted(WAITS))
    parser.add_argument("--stops", metavar="STOCK")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be positive")
    if not _interrupts.kick_signal():
        parser.error("this interpreter cannot wake threads")
    # Ctrl-C is not for what is measured.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.excepthook = threading.__excepthook__
    try:
        if options.stops:
            stops(sys.executable, options.stops, min(options.rounds, 100))
            return
        table(options.only or WAITS, options.rounds)
        if not options.only:
            print()
            alternating(options.rounds * 1000)
            over_lock(options.rounds * 100)
            over_pipe(options.rounds * 100)
            over_sockets(options.rounds * 100)
            sleep_under_fire()
            many_threads(options.rounds)
    except Lost as exc:
        sys.exit(f"LOST: {exc}")


if __name__ == "__main__":
    main()
