"""Constructs that go wrong, each in a way of its own, for scripts/tests/soak."""

import _thread
import threading

from test.support.interrupt_constructs import Construct, Table, work
from test.support.interrupt_sweep import Interrupt

TABLE = Table()
construct = TABLE.construct


class Long(Construct):
    """One in which a timer does not miss.

    What the others do besides takes a hundredth of this.  So nearly all that is
    raised in a construct is raised here.
    """

    def run(self):
        for _ in range(5000):
            work()

    def is_broken(self):
        return False


@construct('good')
class _(Long):
    pass


@construct('broken')
class _(Long):
    def __init__(self):
        self.lock = threading.Lock()

    def run(self):
        self.lock.acquire()
        super().run()
        self.lock.release()

    def is_broken(self):
        return self.lock.locked()


@construct('swallowed')
class _(Long):
    def run(self):
        # Reported as unraisable, and never seen by the caller.
        class Object:
            def __del__(self):
                raise exc

        try:
            super().run()
        except Interrupt as error:
            exc = error
            Object()


@construct('double')
class _(Long):
    def run(self):
        try:
            super().run()
        except Interrupt as exc:
            # Raised here, and again at the next check point outside.
            try:
                pass
            finally:
                threading.current_thread().interrupt(exc)
                raise


@construct('hangs')
class _(Long):
    def run(self):
        try:
            super().run()
        except Interrupt:
            lock = _thread.allocate_lock()
            lock.acquire()
            with lock:
                pass
