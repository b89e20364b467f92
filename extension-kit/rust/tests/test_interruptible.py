"""The crate interruptible, driven from Python.

    cargo build --release -p interruptible-test
    cp TARGET/release/libinterruptible_test.so DIRECTORY/interruptible_test.abi3.so
    PYTHONPATH=DIRECTORY python tests/test_interruptible.py

Any CPython from 3.10 on, and the same binary for all. Where the interpreter has no table
of its own, everything is run twice: with the fall-back, and with a table that the test
module makes.
"""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import types
import unittest

import interruptible_test as t

FAKE = 'INTERRUPTIBLE_TEST_FAKE' in os.environ
if FAKE:
    fake_module = types.ModuleType('_interrupts')
    fake_module.C_API = t.fake_capsule()
    sys.modules['_interrupts'] = fake_module

t.import_(False)
NATIVE = t.backend()[0] == 'native'
# A table of the interpreter's own: it has a flag for each thread.
REAL = NATIVE and not FAKE

# A function that is not interrupted returns after so many seconds, and the test fails.
LONG = 5.0

SPINS = [t.spin_check, t.spin_attached, t.spin_detached, t.spin_slowly,
         t.spin_recursively, t.spin_iterator, t.spin_iterator_attached, t.spin_macro,
         t.spin_macro_detached, t.spin_own_error]
TEAMS = [lambda seconds: t.spin_workers(seconds, 4),
         lambda seconds: t.spin_workers_and_owner(seconds, 3),
         lambda seconds: t.spin_workers_nested(seconds, 3),
         t.spin_rayon,
         lambda seconds: t.spin_rayon_pool(seconds, 3)]


class Case(unittest.TestCase):

    def setUp(self):
        self.handled = []
        if FAKE:
            t.fake_clear()

        def handler(signum, frame):
            self.handled.append(signum)
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def interrupt(self, function, *args, after=0.05):
        """Interrupts the call. Returns the exception and how late it was."""
        t.send_signals(after, signal.SIGINT, 1, FAKE)
        try:
            result = function(*args)
        except KeyboardInterrupt as e:
            late = time.monotonic()
            exception = e
        else:
            # It may still come, and is not to hit the next test.
            try:
                time.sleep(after * 2)
            except KeyboardInterrupt:
                pass
            self.fail(f'not interrupted, but returned {result!r}')
        # Exactly once.
        for _ in range(10_000):
            pass
        time.sleep(0.001)
        self.assertEqual(self.handled, [signal.SIGINT])
        self.handled.clear()
        sent, = t.sent()
        return exception, late - sent


    def assert_prompt(self, measure, native, fallback):
        """The median of nine must be less. On a machine that is busy with other things,
        that may need some tries; what is too slow by itself fails all of them."""
        limit = native if NATIVE else fallback
        medians = []
        while not medians or medians[-1] >= limit:
            self.assertLess(len(medians), 8, f'limit {limit}, medians {medians}')
            medians.append(statistics.median(measure() for _ in range(9)))


class Import(Case):

    def run_code(self, code):
        return subprocess.run([sys.executable, '-c', code], capture_output=True,
                              text=True, timeout=60)

    def check(self, capsule, *texts, require=False):
        result = self.run_code(f'''if True:
            import sys, types, interruptible_test as t
            module = sys.modules['_interrupts'] = types.ModuleType('_interrupts')
            {capsule}
            try:
                t.import_({require})
            except ImportError as e:
                print('ImportError:', e)
            print(*t.backend(), sep=': ')
        ''')
        self.assertEqual(result.stderr, '')
        for text in texts:
            self.assertIn(text, result.stdout)
        return result.stdout

    def test_native(self):
        out = self.check('module.C_API = t.fake_capsule()', 'native: ', 'version 1',
                         require=True)
        self.assertNotIn('Error', out)

    def test_larger_is_compatible(self):
        self.check('module.C_API = t.fake_capsule(size=1000, version=7)',
                   'native: ', 'version 7')

    def test_too_short(self):
        self.check('module.C_API = t.fake_capsule(size=80)', 'ImportError: ',
                   'a table of 80 bytes', 'at least 88', 'use a newer interpreter',
                   'fallback: nothing has been imported')

    def test_version(self):
        self.check('module.C_API = t.fake_capsule(version=0)', 'ImportError: ',
                   'has version 0', 'needs version 1 or later')

    def test_missing_functions(self):
        names = ['flag', 'count', 'check', 'check_blocked', 'is_masked', 'mask', 'unmask',
                 'add_poller', 'remove_poller', 'claim']
        for index, name in enumerate(names):
            with self.subTest(name):
                self.check(f'module.C_API = t.fake_capsule(missing={index})',
                           'ImportError: ', f'has no {name}()')

    def test_other_capsule(self):
        self.check('module.C_API = t.fake_capsule(name="other")', 'ImportError: ',
                   'is no capsule of that name')

    def test_no_capsule(self):
        self.check('module.C_API = 3', 'ImportError: ', 'is no capsule of that name')

    def test_no_attribute(self):
        self.check('pass', 'fallback: its module _interrupts has no C_API')
        self.check('pass', 'ImportError: ', 'needs an interpreter that offers',
                   'has no C_API', 'accepts the fall-back', require=True)

    def test_no_module(self):
        # None: as if it were not there.
        self.check('sys.modules["_interrupts"] = None',
                   'fallback: it has no module _interrupts')
        self.check('sys.modules["_interrupts"] = None', 'ImportError: ',
                   'has no module _interrupts', require=True)

    def test_error_is_not_hidden(self):
        result = self.run_code('''if True:
            import sys, interruptible_test as t
            class Finder:
                def find_spec(self, name, *args):
                    if name == '_interrupts':
                        raise ZeroDivisionError
            sys.modules.pop('_interrupts', None)
            sys.meta_path.insert(0, Finder())
            t.import_(False)
        ''')
        self.assertIn('ZeroDivisionError', result.stderr)

    def test_begun_without_import(self):
        self.check('module.C_API = t.fake_capsule(); t.spin_detached(0)', 'native: ')


class Check(Case):

    def test_interrupted(self):
        for spin in SPINS:
            with self.subTest(spin.__name__):
                _, late = self.interrupt(spin, LONG)
                self.assertLess(late, 1)
                self.assertEqual(t.alive(), 0)
                self.assertGreater(t.passed(), 0)

    def test_not_interrupted(self):
        for spin in SPINS:
            with self.subTest(spin.__name__):
                spin(0.03)

    def test_promptness(self):
        for spin in t.spin_check, t.spin_attached, t.spin_detached:
            with self.subTest(spin.__name__):
                self.assert_prompt(lambda: self.interrupt(spin, LONG)[1], 0.002, 0.02)

    def test_says_stop_at_each_depth(self):
        e, _ = self.interrupt(t.spin_recursively, LONG)
        levels, stops = e.counts
        self.assertEqual(levels, 101)
        self.assertEqual(stops, levels)

    def test_no_item_is_taken_in_vain(self):
        e, _ = self.interrupt(t.spin_iterator, LONG)
        taken, done = e.items
        self.assertEqual(taken, done)
        self.assertGreater(done, 0)

    def test_handler_returns(self):
        seen = []
        before = signal.signal(signal.SIGUSR1, lambda *args: seen.append(time.monotonic()))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        for spin in SPINS:
            with self.subTest(spin.__name__):
                seen.clear()
                t.send_signals(0.05, signal.SIGUSR1, 1, FAKE)
                start = time.monotonic()
                spin(0.3)
                end = time.monotonic()
                # While it worked, and it went on.
                self.assertEqual(len(seen), 1)
                self.assertLess(seen[0], end)
                self.assertGreaterEqual(end - start, 0.3)

    def test_fails_after_stop(self):
        e, _ = self.interrupt(t.fail_after_stop, LONG)
        self.assertIsInstance(e.__context__, ValueError)

    def test_forgotten_region(self):
        # The exception comes although nobody has finished the region.
        self.interrupt(t.forget_region, LONG)

    def test_mixed_up_regions(self):
        t.send_signals(0.05, signal.SIGINT, 1, FAKE)
        with self.assertRaisesRegex(RuntimeError, 'a check of another region'):
            t.mix_up_regions(LONG)

    def test_wrong_thread(self):
        # It is found out when something is pending.
        seen = []
        before = signal.signal(signal.SIGUSR1, lambda *args: seen.append(1))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        t.send_signals(0.05, signal.SIGUSR1, 1, FAKE)
        with self.assertRaisesRegex(RuntimeError, 'belongs to another thread'):
            t.wrong_thread(LONG)
        while not seen:
            time.sleep(0.01)

    def test_panic(self):
        with self.assertRaises(BaseException) as caught:
            t.panic_in_region()
        self.assertEqual(type(caught.exception).__name__, 'PanicException')

    @unittest.skipIf(NATIVE, 'of the fall-back')
    def test_interval(self):
        before = t.set_interval(0.3)
        self.addCleanup(t.set_interval, before)
        late = [self.interrupt(t.spin_detached, LONG)[1] for _ in range(3)]
        self.assertGreater(max(late), 0.1)
        t.set_interval(0)
        self.assert_prompt(lambda: self.interrupt(t.spin_detached, LONG)[1], 0, 0.002)

    @unittest.skipUnless(FAKE, 'counts calls')
    def test_asks_only_if_flagged(self):
        before = t.fake_checks()
        t.spin_detached(0.1)
        t.spin_check(0.1)
        self.assertEqual(t.fake_checks(), before)
        self.interrupt(t.spin_detached, LONG)
        self.assertEqual(t.fake_checks(), before + 1)

    @unittest.skipUnless(REAL, 'needs a flag for each thread')
    def test_other_threads(self):
        class Enough(Exception):
            pass

        for spin in SPINS + TEAMS + [t.block_yield]:
            with self.subTest(spin):
                caught = []

                def run():
                    try:
                        spin(LONG)
                    except Enough as e:
                        caught.append(e)

                # Without the GIL it can be reached while it works.
                if spin in (t.spin_check, t.spin_attached, t.spin_iterator_attached,
                            t.spin_macro):
                    continue
                thread = threading.Thread(target=run)
                thread.start()
                time.sleep(0.05)
                start = time.monotonic()
                thread.interrupt(Enough('this one'))
                thread.join()
                self.assertLess(time.monotonic() - start, 1)
                self.assertEqual([str(e) for e in caught], ['this one'])
                self.assertEqual(t.alive(), 0)


class Workers(Case):

    def test_interrupted(self):
        for number, team in enumerate(TEAMS):
            with self.subTest(number):
                e, late = self.interrupt(team, LONG)
                passed_after, spread, stops = e.report
                self.assertEqual(passed_after, 0)
                self.assertLess(spread, 1)
                self.assertGreaterEqual(stops, 1)
                self.assertLess(late, 1)
                self.assertEqual(t.alive(), 0)

    def test_all_stop(self):
        for _ in range(20):
            e, _ = self.interrupt(t.spin_workers, LONG, 8, after=0.01)
            passed_after, _, stops = e.report
            self.assertEqual((passed_after, stops), (0, 8))

    def test_not_interrupted(self):
        for team in TEAMS:
            team(0.03)
        self.assertEqual(t.work(3, 1000), 3000)

    def test_handler_returns(self):
        seen = []
        before = signal.signal(signal.SIGUSR1, lambda *args: seen.append(1))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        t.send_signals(0.001, signal.SIGUSR1, 50, FAKE)
        # Takes longer than the fall-back's interval.
        steps = 1_000_000
        try:
            # No work is lost, and the signals are handled while it is done.
            self.assertEqual(t.work(4, steps), 4 * steps)
            self.assertGreater(len(seen), 0)
        finally:
            # Without a handler they would end the process.
            while len(t.sent()) < 50:
                time.sleep(0.01)

    def test_masked_owner(self):
        t.send_signals(0.005, signal.SIGINT, 1, FAKE)
        done = []
        with self.assertRaises(KeyboardInterrupt):
            # In one call, after which nothing comes in between.
            done.extend(map(t.work_masked, [2], [200_000]))
            time.sleep(1)
        if NATIVE:
            self.assertEqual(done, [400_000])

    def test_panic(self):
        for function, args in [(t.panic_in_worker, (LONG, True)),
                               (t.panic_in_worker, (LONG, False)),
                               (t.panic_in_owner, (LONG,)),
                               (t.panic_in_rayon, ())]:
            with self.subTest(function.__name__, args=args):
                start = time.monotonic()
                with self.assertRaises(BaseException) as caught:
                    function(*args)
                self.assertEqual(type(caught.exception).__name__, 'PanicException')
                self.assertEqual(str(caught.exception), 'on purpose')
                # The others were stopped.
                self.assertLess(time.monotonic() - start, LONG / 2)
                self.assertEqual(t.alive(), 0)

    def test_error(self):
        with self.assertRaisesRegex(ValueError, 'by itself'):
            t.fail_in_worker()

    def test_owner_in_the_pool(self):
        self.assertEqual(t.rayon_inside(1000), 1000)


class Futures(Case):

    def test_results(self):
        self.assertEqual(t.block_sleep(0.001, 5), 5)
        self.assertEqual(t.block_timers(), [10, 20, 30])
        self.assertEqual(t.block_nested(0.01), 2)
        t.block_yield(0.01)

    def test_woken_at_once(self):
        # Earlier than the next look around.
        self.assert_prompt(lambda: t.block_woken(0.0215), 0.0005, 0.0005)

    def test_sleeps_long_enough(self):
        start = time.monotonic()
        t.block_sleep(0.05, 2)
        passed = time.monotonic() - start
        self.assertGreaterEqual(passed, 0.1)
        self.assertLess(passed, 1)

    def test_dropped_first(self):
        log = []
        try:
            t.send_signals(0.03, signal.SIGINT, 1, FAKE)
            t.block_pending(log)
        except KeyboardInterrupt:
            log.append('raised')
        self.assertEqual(log, ['inner', 'outer', 'raised'])
        self.assertEqual(t.alive(), 0)

    def test_pending(self):
        self.assert_prompt(lambda: self.interrupt(t.block_pending, [])[1], 0.005, 0.05)

    def test_busy(self):
        for function, args in [(t.block_yield, (LONG,)), (t.block_sleep, (0.0001, 50_000)),
                               (t.block_sleep, (0.003, 2000))]:
            with self.subTest(function.__name__, args=args):
                self.assert_prompt(lambda: self.interrupt(function, *args)[1],
                                   0.005, 0.05)
                self.assertEqual(t.alive(), 0)

    def test_ready_with_the_signal(self):
        for _ in range(20):
            result = None
            self.handled.clear()
            with self.assertRaises(KeyboardInterrupt):
                result = t.block_ready_with_signal(signal.SIGINT, FAKE)
                # The result is there; the interrupt comes after the call.
                for _ in range(10_000):
                    pass
                t.spin_check(1)
            self.assertEqual(self.handled, [signal.SIGINT])

    def test_ready_result_is_kept(self):
        # Its handler returns, so the value can be seen.
        seen = []
        before = signal.signal(signal.SIGUSR1, lambda *args: seen.append(1))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.assertEqual(t.block_ready_with_signal(signal.SIGUSR1, FAKE), 'ready')
        t.spin_check(0.02)
        self.assertEqual(seen, [1])

    def test_handler_returns(self):
        seen = []
        before = signal.signal(signal.SIGUSR1, lambda *args: seen.append(1))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        t.send_signals(0.02, signal.SIGUSR1, 3, FAKE)
        self.assertEqual(t.block_sleep(0.2, 1), 1)
        self.assertEqual(len(seen), 3)

    def test_panic(self):
        with self.assertRaises(BaseException) as caught:
            t.block_panic()
        self.assertEqual(type(caught.exception).__name__, 'PanicException')
        self.assertEqual(t.alive(), 0)


class Masks(Case):

    def test_held_back(self):
        for kind in 'soft', 'hard':
            with self.subTest(kind):
                # Sent while masked. All masked checks pass, then it is raised.
                e, late = self.interrupt(t.spin_masked, kind, 0.3, LONG)
                self.assertGreater(e.passed, 0)
                self.assertGreater(late, 0.2)

    def test_blocked(self):
        if not NATIVE:
            self.skipTest('stock has no masks')
        start = time.monotonic()
        _, late = self.interrupt(t.block_masked, 'soft', LONG)
        self.assertLess(late, 1)
        t.send_signals(0.03, signal.SIGINT, 1, FAKE)
        start = time.monotonic()
        with self.assertRaises(KeyboardInterrupt):
            t.block_masked('hard', 0.2)
            self.assertGreaterEqual(time.monotonic() - start, 0.2)
            t.spin_check(1)
        self.assertGreaterEqual(time.monotonic() - start, 0.2)

    @unittest.skipUnless(FAKE, 'breaks the table')
    def test_misuse(self):
        with self.assertRaisesRegex(RuntimeError, 'not masked by this'):
            t.unmask_wrongly()


class WithTable(unittest.TestCase):

    @unittest.skipIf(NATIVE, 'this is it')
    def test_all_again(self):
        result = subprocess.run([sys.executable, __file__],
                                env={**os.environ, 'INTERRUPTIBLE_TEST_FAKE': '1'},
                                capture_output=True, text=True, timeout=300)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('OK', result.stderr)


if __name__ == '__main__':
    print(sys.version.split()[0], *t.backend(), file=sys.stderr)
    unittest.main()
