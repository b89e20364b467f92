"""The calls that block, and two ways to interrupt them.

Each entry of WAITS makes a Wait: something that blocks until something else is
done. tests and benchmarks go through all of them.
"""

import contextlib
import multiprocessing
import os
import queue
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

from test import support

try:
    import fcntl
except ImportError:
    fcntl = None
try:
    import pty
except ImportError:
    pty = None
try:
    import sqlite3
except ImportError:
    sqlite3 = None
try:
    import ssl
except ImportError:
    ssl = None


class Interrupt(Exception):
    """What arrives."""


class Wait:
    """A call that blocks.

    *wait* blocks until *let_go* has been called, and then returns what
    *expected* says; let_go is None if nothing ends it.  *timed(seconds)*
    returns *timed_out* when the time is over; None if there is no such call.
    """

    def __init__(self, wait, let_go=None, expected=None, *,
                 timed=None, timed_out=None):
        self.wait = wait
        self.let_go = let_go
        self.expected = expected
        self.timed = timed
        self.timed_out = timed_out


WAITS = {}


def case(make):
    """Make an entry of WAITS of a generator function that yields a Wait."""
    WAITS[make.__name__] = contextlib.contextmanager(make)
    return make


# -- time

@case
def sleep():
    # Nothing ends it but the time.
    yield Wait(lambda: time.sleep(3600), timed=time.sleep)


# -- threads

def _held(lock):
    yield Wait(lock.acquire, lock.release, True,
               timed=lambda seconds: lock.acquire(timeout=seconds),
               timed_out=False)


@case
def lock():
    lock = threading.Lock()
    lock.acquire()
    yield from _held(lock)


@case
def with_lock():
    lock = threading.Lock()
    lock.acquire()

    def wait():
        with lock:
            return 'entered'
    yield Wait(wait, lock.release, 'entered')


@case
def rlock():
    lock = threading.RLock()
    held = threading.Event()
    let_go = threading.Event()

    def hold():
        with lock:
            held.set()
            let_go.wait()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        yield Wait(lock.acquire, let_go.set, True,
                   timed=lambda seconds: lock.acquire(timeout=seconds),
                   timed_out=False)
    finally:
        let_go.set()
        holder.join()


@case
def condition():
    condition = threading.Condition()

    def wait(timeout=None):
        with condition:
            return condition.wait(timeout)

    def let_go():
        with condition:
            condition.notify()
    yield Wait(wait, let_go, True, timed=wait, timed_out=False)


@case
def event():
    event = threading.Event()
    yield Wait(event.wait, event.set, True, timed=event.wait, timed_out=False)


@case
def semaphore():
    semaphore = threading.Semaphore(0)
    yield Wait(semaphore.acquire, semaphore.release, True,
               timed=lambda seconds: semaphore.acquire(timeout=seconds),
               timed_out=False)


@case
def barrier():
    barrier = threading.Barrier(2)

    def wait():
        if barrier.broken:
            barrier.reset()
        return barrier.wait() in (0, 1)
    yield Wait(wait, lambda: barrier.wait(5), True)


@case
def join():
    let_go = threading.Event()
    thread = threading.Thread(target=let_go.wait)
    thread.start()
    try:
        yield Wait(thread.join, let_go.set, None,
                   timed=thread.join, timed_out=None)
    finally:
        let_go.set()
        thread.join()


# -- queues

def _empty(get):
    """The call, and the same with a timeout that returns 'empty' at its end."""
    def timed(seconds):
        try:
            get(timeout=seconds)
        except queue.Empty:
            return 'empty'
    return dict(wait=get, timed=timed, timed_out='empty')


@case
def queue_get():
    items = queue.Queue()
    yield Wait(let_go=lambda: items.put('item'), expected='item',
               **_empty(items.get))


@case
def simple_queue_get():
    items = queue.SimpleQueue()
    yield Wait(let_go=lambda: items.put('item'), expected='item',
               **_empty(items.get))


@case
def queue_put():
    items = queue.Queue(1)
    items.put('first')

    def timed(seconds):
        try:
            items.put('second', timeout=seconds)
        except queue.Full:
            return 'full'
    yield Wait(lambda: items.put('second'), items.get, None,
               timed=timed, timed_out='full')


# -- files and sockets

@contextlib.contextmanager
def _pipe():
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


@contextlib.contextmanager
def _sockets():
    a, b = socket.socketpair()
    with a, b:
        yield a, b


def _fill(write):
    """Write until nothing more can be written without blocking."""
    with contextlib.suppress(BlockingIOError):
        while True:
            write(b'x' * 65536)


@case
def read_pipe():
    with _pipe() as (read, write):
        yield Wait(lambda: os.read(read, 1), lambda: os.write(write, b'x'), b'x')


@case
def read_file():
    with _pipe() as (read, write), open(read, 'rb', closefd=False) as file:
        yield Wait(lambda: file.read(2), lambda: os.write(write, b'xy'), b'xy')


@case
def read_line():
    with _pipe() as (read, write), open(read, closefd=False) as file:
        yield Wait(file.readline, lambda: os.write(write, b'line\n'), 'line\n')


@case
def write_pipe():
    with _pipe() as (read, write):
        os.set_blocking(write, False)
        _fill(lambda data: os.write(write, data))
        os.set_blocking(write, True)
        yield Wait(lambda: os.write(write, b'x'), lambda: os.read(read, 65536),
                   1)


if pty is not None:
    @case
    def read_terminal():
        parent, child = pty.openpty()
        try:
            yield Wait(lambda: os.read(child, 10),
                       lambda: os.write(parent, b'line\n'), b'line\n')
        finally:
            os.close(parent)
            os.close(child)


def _ready(poll, ready, write):
    """*poll* is given seconds or None; *ready* is what it then returns."""
    return Wait(lambda: poll(None), lambda: os.write(write, b'x'), ready,
                timed=poll, timed_out=[])


@case
def select_select():
    with _pipe() as (read, write):
        yield _ready(lambda seconds: select.select([read], [], [], seconds)[0],
                     [read], write)


if hasattr(select, 'poll'):
    @case
    def select_poll():
        with _pipe() as (read, write):
            poll = select.poll()
            poll.register(read, select.POLLIN)
            yield _ready(lambda seconds: poll.poll(seconds and seconds * 1000),
                         [(read, select.POLLIN)], write)


if hasattr(select, 'epoll'):
    @case
    def select_epoll():
        with _pipe() as (read, write), select.epoll() as epoll:
            epoll.register(read, select.EPOLLIN)
            yield _ready(epoll.poll, [(read, select.EPOLLIN)], write)


@case
def selector():
    with _pipe() as (read, write), selectors.DefaultSelector() as selector:
        key = selector.register(read, selectors.EVENT_READ)
        # Returns early, with nothing, when it is interrupted and goes on.
        yield Wait(lambda: selector.select(),
                   lambda: os.write(write, b'x'), [(key, selectors.EVENT_READ)])


def _with_timeout(sock, call):
    def timed(seconds):
        sock.settimeout(seconds)
        try:
            return call()
        except TimeoutError:
            return 'timed out'
        finally:
            sock.settimeout(None)
    return dict(wait=call, timed=timed, timed_out='timed out')


@case
def recv():
    with _sockets() as (a, b):
        yield Wait(let_go=lambda: b.send(b'x'), expected=b'x',
                   **_with_timeout(a, lambda: a.recv(1)))


@case
def send():
    with _sockets() as (a, b):
        a.setblocking(False)
        _fill(a.send)
        a.setblocking(True)

        def let_go():
            b.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    b.recv(65536)
        yield Wait(let_go=let_go, expected=1,
                   **_with_timeout(a, lambda: a.send(b'x')))


@case
def accept():
    with socket.create_server(('127.0.0.1', 0)) as server:
        clients = contextlib.ExitStack()

        def wait():
            connection, address = server.accept()
            connection.close()
            return 'accepted'

        def let_go():
            address = server.getsockname()
            clients.enter_context(socket.create_connection(address))
        with clients:
            yield Wait(let_go=let_go, expected='accepted',
                       **_with_timeout(server, wait))


@case
def connect():
    # A server whose queue is full makes a connection wait.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind('')
        server.listen(0)
        address = server.getsockname()
        with contextlib.ExitStack() as clients:
            first = clients.enter_context(socket.socket(socket.AF_UNIX))
            first.connect(address)

            def wait():
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(address)
                return 'connected'

            def let_go():
                connection, address = server.accept()
                connection.close()
            yield Wait(wait, let_go, 'connected')


if ssl is not None:
    @case
    def ssl_read():
        # There is no other end: the handshake waits for it.
        with _sockets() as (a, b):
            context = ssl.create_default_context()
            client = context.wrap_socket(a, server_hostname='localhost',
                                         do_handshake_on_connect=False)

            def let_go():
                b.sendall(b'nonsense\n')
                b.shutdown(socket.SHUT_WR)

            def wait():
                try:
                    client.do_handshake()
                except ssl.SSLError:
                    return 'refused'
            with client:
                yield Wait(wait, let_go, 'refused')


if fcntl is not None:
    def _locked_file(lock, unlock):
        from test.support import os_helper
        name = os_helper.TESTFN + '.lock'
        with open(name, 'w') as first, open(name, 'w') as second:
            try:
                lock(first)
                yield Wait(lambda: lock(second), lambda: unlock(first), None)
            finally:
                os.unlink(name)

    @case
    def flock():
        yield from _locked_file(lambda file: fcntl.flock(file, fcntl.LOCK_EX),
                                lambda file: fcntl.flock(file, fcntl.LOCK_UN))


if hasattr(os, 'mkfifo'):
    @case
    def open_fifo():
        from test.support import os_helper
        name = os_helper.TESTFN + '.fifo'
        os.mkfifo(name)
        writers = contextlib.ExitStack()

        def wait():
            with open(name, 'rb', buffering=0):
                return 'opened'

        def let_go():
            # Fails as long as nobody waits to read.
            for _ in support.sleeping_retry(support.SHORT_TIMEOUT):
                with contextlib.suppress(OSError):
                    fd = os.open(name, os.O_WRONLY | os.O_NONBLOCK)
                    writers.callback(os.close, fd)
                    break
        try:
            with writers:
                yield Wait(wait, let_go, 'opened')
        finally:
            os.unlink(name)


if sqlite3 is not None:
    @case
    def sqlite_busy():
        from test.support import os_helper
        name = os_helper.TESTFN + '.db'

        def open_database(timeout):
            return sqlite3.connect(name, timeout=timeout, isolation_level=None,
                                   check_same_thread=False)

        def begin(timeout):
            with contextlib.closing(open_database(timeout)) as database:
                try:
                    database.execute('BEGIN EXCLUSIVE')
                except sqlite3.OperationalError as exc:
                    return str(exc)
                return 'begun'
        with contextlib.closing(open_database(0)) as first:
            first.execute('BEGIN EXCLUSIVE')
            try:
                yield Wait(lambda: begin(30), first.rollback, 'begun',
                           timed=begin, timed_out='database is locked')
            finally:
                os_helper.unlink(name)


# -- processes

@contextlib.contextmanager
def _child():
    child = subprocess.Popen(
        [sys.executable, '-I', '-S', '-c',
         'import sys; sys.stdin.read(); print("bye")'],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


@case
def waitpid():
    with _child() as child:
        def wait():
            pid, status = os.waitpid(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode
        yield Wait(wait, child.stdin.close, 0)


@case
def popen_wait():
    with _child() as child:
        def timed(seconds):
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                return 'expired'
        yield Wait(child.wait, child.stdin.close, 0,
                   timed=timed, timed_out='expired')


@case
def popen_communicate():
    with _child() as child:
        # Otherwise it would close it, and there were nothing to wait for.
        stdin, child.stdin = child.stdin, None
        try:
            yield Wait(child.communicate, stdin.close, ('bye\n', None))
        finally:
            child.stdin = stdin


@case
def mp_semaphore():
    semaphore = multiprocessing.get_context('spawn').Semaphore(0)
    yield Wait(semaphore.acquire, semaphore.release, True,
               timed=lambda seconds: semaphore.acquire(timeout=seconds),
               timed_out=False)


@case
def mp_connection():
    a, b = multiprocessing.Pipe()
    with a, b:
        yield Wait(a.recv, lambda: b.send('sent'), 'sent',
                   timed=a.poll, timed_out=False)


# -- signals

if hasattr(signal, 'sigwait'):
    def _in_waiter(wait):
        """A signal has to be blocked by whoever waits for it."""
        def blocked(*args):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
            blocked.thread = threading.get_ident()
            return wait(*args)
        blocked.thread = threading.get_ident()
        return blocked

    def _for_signal(wait, expected, timed=None):
        wait = _in_waiter(wait)
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            yield Wait(
                wait,
                lambda: signal.pthread_kill(wait.thread, signal.SIGUSR2),
                expected, timed=timed, timed_out=None)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    @case
    def sigwait():
        yield from _for_signal(lambda: signal.sigwait({signal.SIGUSR2}),
                               signal.SIGUSR2)

    @case
    def sigwaitinfo():
        yield from _for_signal(
            lambda: signal.sigwaitinfo({signal.SIGUSR2}).si_signo,
            signal.SIGUSR2)

    @case
    def sigtimedwait():
        yield from _for_signal(
            lambda: signal.sigtimedwait({signal.SIGUSR2}, 3600).si_signo,
            signal.SIGUSR2,
            timed=lambda seconds: signal.sigtimedwait({signal.SIGUSR2},
                                                      seconds))

    @case
    def pause():
        # Returns whatever the signal is, so nothing goes on waiting.
        yield Wait(signal.pause)


# -- two ways to interrupt

class Way:
    """Somebody that is interrupted, and somebody who does it."""

    over = False

    def run(self, body, driver):
        """Run body() in the target while driver(fire) runs; fire() interrupts it.

        Returns what body() has returned.
        """
        raise NotImplementedError

    def fire_at_self(self):
        """Interrupt the target, from within it."""
        raise NotImplementedError

    def get(self, messages):
        """In the driver: the next item of a queue that body() puts into."""
        deadline = time.monotonic() + support.SHORT_TIMEOUT
        while True:
            try:
                return messages.get(timeout=0.01)
            except queue.Empty:
                if self.over:
                    raise AssertionError('the target has ended') from None
                if time.monotonic() > deadline:
                    raise AssertionError('the target hangs') from None


class ByThread(Way):
    """The target is another thread, and is interrupted by this one."""

    def run(self, body, driver):
        result = []
        errors = []

        def target():
            try:
                result.append(body())
            except BaseException as exc:
                errors.append(exc)
            finally:
                self.over = True
        self.over = False
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        try:
            driver(lambda: thread.interrupt(Interrupt))
        finally:
            thread.join(support.SHORT_TIMEOUT)
        if thread.is_alive():
            raise AssertionError('the thread hangs')
        if errors:
            raise errors[0]
        return result[0]

    def fire_at_self(self):
        threading.current_thread().interrupt(Interrupt)


class BySignal(Way):
    """The target is the main thread, and a signal interrupts it."""

    signum = getattr(signal, 'SIGUSR1', None)

    def run(self, body, driver):
        main = threading.get_ident()
        errors = []

        def handler(signum, frame):
            if not self.over:
                raise Interrupt

        def drive():
            try:
                driver(lambda: signal.pthread_kill(main, self.signum))
            except BaseException as exc:
                errors.append(exc)
                # The target may now wait for ever.
                traceback.print_exc()
        self.over = False
        old = signal.signal(self.signum, handler)
        try:
            thread = threading.Thread(target=drive, daemon=True)
            thread.start()
            try:
                result = body()
            finally:
                self.over = True
                thread.join()
        finally:
            signal.signal(self.signum, old)
        if errors:
            raise errors[0]
        return result

    def fire_at_self(self):
        signal.raise_signal(self.signum)


# -- something that is interrupted at any point

def interrupt_one_at_a_time(count, progress=lambda i: None):
    """Interrupt a thread that blocks and computes *count* times, and wait each time.

    AssertionError: one is raised never, or twice.  progress(i) is called before
    each.
    """
    caught = 0
    # What `caught` was when the thread came to where it catches the next one.
    ready = -1
    read, write = os.pipe()
    lock = threading.Lock()
    lock.acquire()

    def run():
        nonlocal caught, ready
        step = 0
        while True:
            try:
                ready = caught
                while True:
                    step += 1
                    match step % 3:
                        case 0: os.read(read, 1)
                        case 1: lock.acquire()
                        case 2: sum(range(50))
            except Interrupt:
                caught += 1
            except SystemExit:
                return

    def wait_until(number):
        deadline = time.monotonic() + support.SHORT_TIMEOUT
        while ready < number:
            if time.monotonic() > deadline:
                raise AssertionError(f'number {number - 1} was lost')
            time.sleep(0)
        if ready != number:
            raise AssertionError(f'number {number - 1} was raised twice')

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        wait_until(0)
        for i in range(count):
            progress(i)
            thread.interrupt(Interrupt)
            wait_until(i + 1)
    finally:
        thread.terminate()
        thread.join(support.SHORT_TIMEOUT)
        os.close(read)
        os.close(write)
