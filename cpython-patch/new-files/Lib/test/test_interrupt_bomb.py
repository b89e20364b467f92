"""A thousand SIGINT, ten microseconds apart, into programs that must not notice.

Each program does something again and again that has to be done as a whole or not at
all, and says afterwards whether it was.  What is promised is written down in
InternalDocs/interrupt_masking.md.
"""

import os
import signal
import subprocess
import sys
import textwrap
import unittest

from test import support

# Runs step() until the bomb is over, and checks after each.  Nothing of this is
# interrupted but step().
HARNESS = '''
import _interrupts, os, signal, sys, threading
from threading import interrupts, nointerrupts

{program}

with nointerrupts:
    print('ready', flush=True)
    caught = steps = 0
    os.set_blocking(0, False)
    while True:
        try:
            with interrupts:
                step()
        except KeyboardInterrupt:
            caught += 1
        steps += 1
        check()
        if steps % 20 == 0:
            try:
                # At its end the sender closes the pipe.
                if not os.read(0, 1):
                    break
            except BlockingIOError:
                pass
    # What has come last.
    try:
        with interrupts:
            pass
    except KeyboardInterrupt:
        caught += 1
    check()
    assert not threading.interrupts_pending()
    print(caught, steps)
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
'''

# Sends them, then closes its end of the pipe.
BOMB = '''
import os, signal, sys, time
pid, count = int(sys.argv[1]), int(sys.argv[2])
for i in range(count):
    end = time.perf_counter_ns() + 10_000
    os.kill(pid, signal.SIGINT)
    while time.perf_counter_ns() < end:
        pass
'''

PROGRAMS = {
    'lock': '''
lock = threading.Lock()
def step():
    for i in range(20):
        with lock:
            pass
def check():
    assert not lock.locked()
''',
    'rlock': '''
lock = threading.RLock()
def step():
    for i in range(20):
        with lock:
            with lock:
                pass
def check():
    assert not lock._is_owned()
''',
    'finally': '''
begun = done = 0
def step():
    global begun, done
    for i in range(20):
        with nointerrupts:
            begun += 1
            try:
                with interrupts:
                    sum(range(20))
            finally:
                done += 1
def check():
    assert begun == done, (begun, done)
''',
    'nested finally': '''
steps_done = []
def step():
    del steps_done[:]
    try:
        pass
    finally:
        try:
            steps_done.append(1)
        finally:
            for i in range(5):
                steps_done.append(i)
            steps_done.append('end')
def check():
    assert not steps_done or steps_done[-1] == 'end', steps_done
''',
    'return from finally': '''
depth = 0
def inner():
    global depth
    with nointerrupts:
        depth += 1
        try:
            with interrupts:
                return [i for i in range(5)]
        finally:
            depth -= 1
def step():
    for i in range(20):
        inner()
def check():
    assert depth == 0
''',
    'class': '''
inside = 0
class Manager:
    def __enter__(self):
        global inside
        inside += 1
    def __exit__(self, *exc_info):
        global inside
        for i in range(3):
            pass
        inside -= 1
def step():
    for i in range(20):
        with Manager():
            pass
def check():
    assert inside == 0
''',
    'exit stack': '''
import contextlib
lock = threading.Lock()
def step():
    for i in range(5):
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock)
def check():
    assert not lock.locked()
''',
    'context manager': '''
import contextlib
inside = 0
@contextlib.contextmanager
def manager():
    global inside
    with nointerrupts:
        inside += 1
        try:
            with interrupts:
                yield
        finally:
            inside -= 1
def step():
    for i in range(5):
        with manager():
            pass
def check():
    assert inside == 0
''',
    'generator': '''
lock = threading.Lock()
def generate():
    with lock:
        yield from range(5)
def step():
    for i in range(5):
        for j in generate():
            pass
def check():
    assert not lock.locked()
''',
    'coroutine': '''
lock = threading.Lock()
class Awaitable:
    def __await__(self):
        yield
async def work():
    with lock:
        await Awaitable()
def step():
    for i in range(5):
        coroutine = work()
        try:
            coroutine.send(None)
            coroutine.send(None)
        except StopIteration:
            pass
        finally:
            coroutine.close()
def check():
    assert not lock.locked()
''',
    'condition': '''
condition = threading.Condition()
def step():
    for i in range(10):
        with condition:
            condition.notify_all()
def check():
    assert not condition._is_owned()
''',
    'semaphore': '''
semaphore = threading.Semaphore(1)
def step():
    for i in range(10):
        with nointerrupts:
            with semaphore:
                with interrupts:
                    pass
def check():
    assert semaphore._value == 1, semaphore._value
''',
    'wait': '''
import time
lock = threading.Lock()
def step():
    with lock:
        time.sleep(0.0001)
def check():
    assert not lock.locked()
''',
    'sleep in finally': '''
import time
times = []
def step():
    try:
        pass
    finally:
        start = time.perf_counter()
        time.sleep(0.0005)
        times.append(time.perf_counter() - start)
def check():
    assert all(t >= 0.0005 for t in times), times
    del times[:]
''',
    'lock that is held': '''
import time
lock = threading.Lock()
held = threading.Lock()
held.acquire()
got = False
def step():
    global got
    with lock:
        got = held.acquire(timeout=0.0005)
def check():
    assert not lock.locked()
    assert not got
''',
    'pipe': '''
read, write = os.pipe()
balance = 0
def step():
    global balance
    with nointerrupts:
        balance += os.write(write, b'x' * 10)
        with interrupts:
            sum(range(10))
        balance -= len(os.read(read, 10))
def check():
    global balance
    with nointerrupts:
        if balance:
            balance -= len(os.read(read, 100))
    assert balance == 0, balance
''',
    'threads': '''
lock = threading.Lock()
stop = False
def run():
    while not stop:
        with lock:
            pass
other = threading.Thread(target=run, daemon=True)
other.start()
mine = False
def step():
    global mine
    for i in range(10):
        with lock:
            mine = True
            mine = False
def check():
    global mine
    mine = False
    # Whoever has it gives it back.
    assert lock.acquire(timeout=60)
    lock.release()
''',
    'sort, regex, numbers': '''
import re
lock = threading.Lock()
text = 'ab' * 50
def step():
    with lock:
        sorted(range(50), key=lambda i: -i)
        re.sub('a(b)', lambda match: match[1], text)
        3 ** 500
def check():
    assert not lock.locked()
''',
    'recursion': '''
inside = 0
class Manager:
    def __enter__(self):
        global inside
        inside += 1
    def __exit__(self, *exc_info):
        global inside
        inside -= 1
def recurse(n):
    with Manager():
        if n:
            recurse(n - 1)
def step():
    recurse(20)
def check():
    assert inside == 0, inside
''',
    'asyncio': '''
import asyncio
lock = threading.Lock()
loop = asyncio.new_event_loop()
def callback():
    with interrupts:
        with lock:
            sum(range(20))
def step():
    # Some of asyncio's own code is not masked.
    with nointerrupts:
        for i in range(5):
            loop.call_soon(callback)
        loop.call_soon(loop.stop)
        loop.run_forever()
def check():
    assert not lock.locked()
    assert not loop.is_running()
''',
}


@support.requires_subprocess()
class BombTests(unittest.TestCase):

    COUNT = 1000

    def explode(self, program, *options):
        """Bomb this program; its exit status, what it has written, and errors."""
        code = HARNESS.format(program=textwrap.dedent(program))
        read, write = os.pipe()
        with open(write, 'wb') as end:
            child = subprocess.Popen(
                [sys.executable, '-W', 'ignore::ResourceWarning', *options,
                 '-c', code], stdin=read,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            os.close(read)
            with child:
                try:
                    self.assertEqual(child.stdout.readline(), 'ready\n')
                    subprocess.run([sys.executable, '-I', '-S', '-c', BOMB,
                                    str(child.pid), str(self.COUNT)],
                                   check=True)
                    end.close()
                    out, err = child.communicate(timeout=support.LONG_TIMEOUT)
                finally:
                    child.kill()
        return child.returncode, out, err

    def test_programs(self):
        self.assertGreaterEqual(len(PROGRAMS), 20)
        for name, program in PROGRAMS.items():
            with self.subTest(name):
                status, out, err = self.explode(program)
                self.assertEqual((status, err), (0, ''))
                caught, steps = map(int, out.split())
                self.assertGreater(caught, 0)
                self.assertGreater(steps, 0)

    def test_without_masks(self):
        # The bomb is one.
        for attempt in range(10):
            status, out, err = self.explode(PROGRAMS['class'],
                                            '-X', 'interrupt_masks=0')
            if status != 0:
                break
        else:
            self.fail('it has hit nothing that masks protect')


if __name__ == '__main__':
    unittest.main()
