"""What extension modules see of interrupts: the flag, the count, masks, pollers.

The functions are called by ctypes.  What goes on while C code polls, and no check
point of the eval loop is passed, is tested with modules that poll.
"""

import _interrupts
import functools
import operator
import os
import signal
import sys
import threading
import unittest
from test import support
from test.support import import_helper, os_helper, threading_helper

ctypes = import_helper.import_module('ctypes')

api = ctypes.pythonapi


class Mask(ctypes.Structure):
    _fields_ = [('thread', ctypes.c_uint64), ('region', ctypes.c_size_t),
                ('check', ctypes.c_size_t)]


class Poller(ctypes.Structure):
    TAKEN = ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)
    _fields_ = [('name', ctypes.c_char_p), ('taken', TAKEN),
                ('arg', ctypes.c_void_p)]


SOFT, HARD = 0, 1


def function(name, restype, *argtypes):
    result = api[name]
    result.restype = restype
    result.argtypes = argtypes
    return result


flag_of_thread = function('PyInterrupt_Flag', ctypes.POINTER(ctypes.c_uint32))
counter = function('PyInterrupt_Count', ctypes.POINTER(ctypes.c_uint32))
check = function('PyErr_CheckSignals', ctypes.c_int)
check_blocked = function('PyInterrupt_CheckBlocked', ctypes.c_int)
is_masked = function('PyInterrupt_IsMasked', ctypes.c_int)
mask = function('PyInterrupt_Mask', ctypes.c_int,
                ctypes.POINTER(Mask), ctypes.c_int)
unmask = function('PyInterrupt_Unmask', ctypes.c_int, ctypes.POINTER(Mask))
add_poller = function('PyInterrupt_AddPoller', ctypes.c_int,
                      ctypes.POINTER(Poller))
remove_poller = function('PyInterrupt_RemovePoller', ctypes.c_int,
                         ctypes.POINTER(Poller))
claim = function('PyInterrupt_Claim', ctypes.c_int,
                 ctypes.POINTER(Poller), ctypes.c_int)


class Stop(BaseException):
    pass


class Other(BaseException):
    pass


def in_thread(function):
    """Call it in a thread; return what it returned, or raise what it raised."""
    results = []

    def run():
        try:
            results.append((function(), None))
        except BaseException as exc:
            results.append((None, exc))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (result, error), = results
    if error is not None:
        raise error
    return result


class FlagTests(unittest.TestCase):
    def test_of_each_thread(self):
        addresses = [ctypes.addressof(flag_of_thread().contents)
                     for _ in range(2)]
        self.assertEqual(addresses[0], addresses[1])
        barrier = threading.Barrier(2)

        def other():
            address = ctypes.addressof(flag_of_thread().contents)
            barrier.wait()
            return address

        def same_time():
            barrier.wait()

        thread = threading.Thread(target=same_time)
        thread.start()
        self.assertNotEqual(in_thread(other), addresses[0])
        thread.join()

    def test_masked(self):
        # check() takes it down, so code that polls does not spin.
        flag = flag_of_thread()
        check()
        self.assertEqual(flag[0], 0)
        before = counter()[0]
        with self.assertRaises(KeyboardInterrupt):
            with threading.nointerrupts:
                signal.raise_signal(signal.SIGINT)
                up = flag[0]
                changed = counter()[0] != before
                checked = check()
                after = flag[0]
        self.assertEqual((up, changed, checked, after), (0, True, 0, 0))
        self.assertEqual(check(), 0)
        self.assertEqual(flag[0], 0)

    def test_sent(self):
        # It is up as long as the thread does not look.
        flags = []
        lock = threading.Lock()
        started = threading.Event()

        def run():
            flags.append(flag_of_thread())
            with self.assertRaises(Stop):
                with threading.nointerrupts:
                    started.set()
                    lock.acquire()
                    checked = check()
                    flags.append(flags[0][0])
            flags.append(checked)

        # We go on only when it is blocked.
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(100)
        lock.acquire()
        thread = threading.Thread(target=run)
        thread.start()
        started.wait()
        before = counter()[0]
        thread.interrupt(Stop)
        up = flags[0][0]
        changed = counter()[0] != before
        lock.release()
        thread.join()
        self.assertEqual((up, changed, flags[1:]), (1, True, [0, 0]))

    def test_readable_when_its_thread_has_ended(self):
        flag = in_thread(flag_of_thread)
        self.assertEqual(flag[0], 0)

    @support.requires_fork()
    def test_after_fork(self):
        # The only thread of the child has the same flag, and nothing waits.
        flag = flag_of_thread()
        with threading.nointerrupts:
            threading.current_thread().interrupt(Stop)
            pid = os.fork()
            if pid == 0:
                try:
                    with threading.interrupts:
                        check()         # nothing waits
                    same = (ctypes.addressof(flag_of_thread().contents)
                            == ctypes.addressof(flag.contents))
                    os._exit(0 if same and flag[0] == 0 else 1)
                finally:
                    os._exit(2)
            support.wait_process(pid, exitcode=0)
            with self.assertRaises(Stop):
                with threading.interrupts:
                    pass


class CheckTests(unittest.TestCase):
    def test_in_every_thread(self):
        # No check point of the eval loop comes between: the callback is C's.
        def run():
            with threading.nointerrupts:
                threading.current_thread().interrupt(Stop('data'))
                with self.assertRaisesRegex(Stop, 'data'):
                    with threading.interrupts:
                        check()
                return check()

        self.assertEqual(in_thread(run), 0)

    def test_soft(self):
        # A call that polls cannot know that it is blocked; one that was
        # blocked says so.
        soft = threading.nointerrupts(interruptible_waits=True)

        def run():
            with soft:
                threading.current_thread().interrupt(Stop)
                self.assertEqual(check(), 0)
                with self.assertRaises(Stop):
                    check_blocked()
                self.assertEqual(check_blocked(), 0)

        in_thread(run)

    def test_hard(self):
        def run():
            with self.assertRaises(Stop):
                with threading.nointerrupts:
                    threading.current_thread().interrupt(Stop)
                    results.append(check_blocked())

        results = []
        in_thread(run)
        self.assertEqual(results, [0])

    def test_is_masked(self):
        found = [is_masked()]
        try:
            found.append(is_masked())
        finally:
            found.append(is_masked())
        with threading.nointerrupts(interruptible_waits=True):
            found.append(is_masked())
            with threading.interrupts:
                found.append(is_masked())
        self.assertEqual(found, [0, 0, 1, 1, 0])


class CompletedTests(unittest.TestCase):
    """A call that has done its work does not look, and loses nothing."""

    def write(self, interrupt):
        """Interrupt a write when what was accepted before is on its way."""
        self.addCleanup(os_helper.unlink, os_helper.TESTFN)
        with open(os_helper.TESTFN, 'w', encoding='ascii') as file:
            file.buffer.write(b'a' * 5000)
            file.write('b' * 4000)
            with self.assertRaises(Stop):
                # No check point comes in between.
                list(map(operator.call, [
                    interrupt, functools.partial(file.write, 'c' * 5000)]))
        with open(os_helper.TESTFN, encoding='ascii') as file:
            text = file.read()
        self.assertEqual([text.count(char) for char in 'abc'],
                         [5000, 4000, 5000])

    def test_write_in_thread(self):
        in_thread(lambda: self.write(functools.partial(
            _interrupts.send, threading.get_ident(), Stop)))

    def test_write(self):
        def handler(signum, frame):
            raise Stop

        before = signal.signal(signal.SIGINT, handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        # That of the signal module looks for it.
        send = ctypes.CDLL(None)['raise']
        self.write(functools.partial(send, int(signal.SIGINT)))


class MaskTests(unittest.TestCase):
    def masked(self, kind, function):
        """Call it masked; return what was raised at the end, or None."""
        saved = Mask()
        mask(saved, kind)
        try:
            function()
        except BaseException:
            unmask(saved)
            raise
        try:
            unmask(saved)
        except Stop as exc:
            return exc

    def test_waits_until_the_end(self):
        def run():
            reached = False
            saved = Mask()
            with self.assertRaises(Stop):
                mask(saved, HARD)
                threading.current_thread().interrupt(Stop)
                self.assertEqual(check(), 0)
                self.assertEqual(check_blocked(), 0)
                self.assertEqual(is_masked(), 1)
                reached = True
                unmask(saved)
                reached = False
            return reached

        self.assertTrue(in_thread(run))

    def test_soft(self):
        def run():
            saved = Mask()
            mask(saved, SOFT)
            threading.current_thread().interrupt(Stop)
            self.assertEqual(check(), 0)
            with self.assertRaises(Stop):
                check_blocked()
            unmask(saved)

        in_thread(run)

    def test_nested_in_any_order(self):
        for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2),
                      (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
            with self.subTest(order=order):
                saved = [Mask() for _ in order]
                for one in saved:
                    mask(one, HARD)
                found = []
                for number in order:
                    found.append(is_masked())
                    unmask(saved[number])
                found.append(is_masked())
                self.assertEqual(found, [1, 1, 1, 0])

    def test_interrupts_does_not_open_it(self):
        saved = Mask()
        mask(saved, HARD)
        with threading.interrupts:
            inside = is_masked()
        unmask(saved)
        self.assertEqual(inside, 1)

    def test_forced(self):
        # As in every other region that masks: twice is more than the user can be
        # asked for.
        limits = signal.get_interrupt_limits()
        self.addCleanup(signal.set_interrupt_limits, **limits)
        signal.set_interrupt_limits(presses=2, press_gap=0, dead_time=0)
        saved = Mask()
        mask(saved, HARD)
        raised = False
        try:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raised = True
        unmask(saved)
        self.assertTrue(raised)

    def check_wrong(self, message, saved):
        before = is_masked()
        with self.assertRaisesRegex(RuntimeError, message):
            unmask(saved)
        self.assertEqual(is_masked(), before)

    @unittest.skipIf(support.Py_DEBUG, 'a fatal error then')
    def test_wrong(self):
        self.check_wrong('without', Mask())
        for junk in 1, sys.maxsize, 0x0101010101010101:
            self.check_wrong('in force|another thread', Mask(junk, junk, junk))
        saved = Mask()
        mask(saved, HARD)
        copy = Mask(saved.thread, saved.region, saved.check)
        # Wrong ones damage nothing.
        self.check_wrong('in force', Mask(saved.thread, saved.region + 1,
                                          saved.check))
        self.check_wrong('in force', Mask(saved.thread, saved.region,
                                          saved.check + 1))
        with self.assertRaisesRegex(RuntimeError, 'another thread'):
            in_thread(lambda: unmask(saved))
        self.assertEqual(is_masked(), 1)
        unmask(saved)
        self.assertEqual(is_masked(), 0)
        self.check_wrong('without', saved)
        self.check_wrong('in force', copy)
        # The place is used again, the copy is not good for it.
        mask(saved, HARD)
        self.check_wrong('in force', copy)
        unmask(saved)

    @unittest.skipUnless(support.Py_DEBUG, 'an error otherwise')
    def test_fatal(self):
        code = f"""if True:
            import ctypes
            token = (ctypes.c_uint64 * 3)()
            ctypes.pythonapi.PyInterrupt_Unmask(token)
            """
        from test.support import script_helper
        with support.SuppressCrashReport():
            result = script_helper.assert_python_failure('-c', code)
        self.assertIn(b'PyInterrupt_Unmask() without', result.err)

    def test_kind(self):
        with self.assertRaisesRegex(ValueError, 'not 2'):
            mask(Mask(), 2)
        self.assertEqual(is_masked(), 0)


class PollerTests(unittest.TestCase):
    def setUp(self):
        self.taken = []
        self.pollers = []
        for name in b'one', b'other':
            poller = Poller(name, Poller.TAKEN(
                lambda signum, _, name=name: self.taken.append((name, signum))))
            add_poller(poller)
            self.addCleanup(remove_poller, poller)
            self.pollers.append(poller)

    def test_told_of_what_is_raised(self):
        with self.assertRaises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        self.assertEqual(sorted(self.taken),
                         [(b'one', signal.SIGINT), (b'other', signal.SIGINT)])
        for poller in self.pollers:
            self.assertEqual(claim(poller, signal.SIGINT), 0)

    def test_claim_nothing(self):
        self.assertEqual(claim(self.pollers[0], signal.SIGINT), 0)
        self.assertEqual(self.taken, [])

    def test_added_twice(self):
        # By a module that two interpreters have: told once, while one of them is left.
        one = self.pollers[0]
        add_poller(one)
        for _ in range(2):
            self.taken.clear()
            with self.assertRaises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            self.assertEqual(self.taken.count((b'one', signal.SIGINT)), 1)
            remove_poller(one)
        self.taken.clear()
        with self.assertRaises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        self.assertEqual(self.taken, [(b'other', signal.SIGINT)])
        add_poller(one)

    def test_errors(self):
        with self.assertRaisesRegex(RuntimeError, 'not been added'):
            remove_poller(Poller(b'new', Poller.TAKEN(print)))
        with self.assertRaisesRegex(RuntimeError, 'not been added'):
            claim(Poller(b'new', Poller.TAKEN(print)), signal.SIGINT)
        for signum in 0, -1, 10_000:
            with self.assertRaisesRegex(ValueError, 'out of range'):
                claim(self.pollers[0], signum)
        with self.assertRaisesRegex(ValueError, 'needs a name'):
            add_poller(Poller(None, Poller.TAKEN(print)))


class TableTests(unittest.TestCase):
    """What modules take from the capsule."""

    def table(self):
        get = function('PyCapsule_GetPointer', ctypes.c_void_p,
                       ctypes.py_object, ctypes.c_char_p)
        return get(_interrupts.C_API, b'_interrupts.C_API')

    def test_layout(self):
        names = ['Flag', 'Count', None, 'CheckBlocked', 'IsMasked', 'Mask',
                 'Unmask', 'AddPoller', 'RemovePoller', 'Claim']
        size, version = (ctypes.c_uint32 * 2).from_address(self.table())
        pointer = ctypes.sizeof(ctypes.c_void_p)
        self.assertEqual(version, 1)
        self.assertEqual(size, 8 + len(names) * pointer)
        functions = (ctypes.c_void_p * len(names)).from_address(
            self.table() + 8)
        for name, address in zip(names, functions):
            symbol = api['PyErr_CheckSignals' if name is None
                         else f'PyInterrupt_{name}']
            self.assertEqual(address,
                             ctypes.cast(symbol, ctypes.c_void_p).value)

    def test_imported_again(self):
        old = sys.modules.pop('_interrupts')
        try:
            import _interrupts as new
        finally:
            sys.modules['_interrupts'] = old
        self.assertIsNot(new.C_API, old.C_API)


def setUpModule():
    unittest.addModuleCleanup(threading_helper.threading_cleanup,
                              *threading_helper.threading_setup())


if __name__ == '__main__':
    unittest.main()
