"""Tests of interruptible.h, one call at a time, by the module kit_test_c.

    PYTHON extension-kit/tests/test_c.py --path DIR

DIR is what build.py --out has filled.  --fake-native as for test_samples.py.
Other arguments go to unittest.
"""

import argparse
import faulthandler
import os
import random
import signal
import statistics
import sys
import threading
import time
import unittest

import signals

kit = None                      # kit_test_c, imported in main()

# Of the fallback, in nanoseconds; and how many checks it may leave out.
INTERVAL = 10_000_000
LARGEST_BATCH = 128


def native():
    return kit.backend() == 'native'


def really_native():
    return native() and signals.fake is None


class Case(unittest.TestCase):

    def setUp(self):
        faulthandler.dump_traceback_later(120, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        self.handled = []
        self.on_signal(signal.SIGINT, self.interrupt)
        self.on_signal(signal.SIGUSR1,
                       lambda signum, frame: self.handled.append(signum))

    def on_signal(self, signum, handler):
        old = signals.set_handler(signum, handler)
        self.addCleanup(signal.signal, signum, old)

    def interrupt(self, signum, frame):
        self.handled.append(signum)
        raise KeyboardInterrupt

    def in_thread(self, call):
        """What the call has returned, or raised, in another thread."""
        outcome = []

        def target():
            try:
                outcome.append(call())
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        return outcome[0]


class Backend(Case):

    def test_which(self):
        self.assertIn(kit.backend(), ('native', 'fallback'))
        self.assertEqual(kit.import_kit(), kit.backend())
        self.assertIn('has _interrupts.C_API' if native() else 'every few',
                      kit.reason())

    def test_native_required(self):
        if native():
            self.assertEqual(kit.import_kit(True), 'native')
            return
        with self.assertRaisesRegex(ImportError, 'needs an interpreter'):
            kit.import_kit(True)
        # And nothing has changed.
        self.assertEqual(kit.backend(), 'fallback')

    def test_not_imported(self):
        said = signals.in_child('''
import kit_test_c as kit
print(kit.backend(), kit.reason())
for call in kit.region_begin, lambda: kit.token_mask(kit.token_new()):
    try:
        call()
    except RuntimeError as error:
        print(error)
''')
        first, second, third = said.splitlines()
        self.assertRegex(first, '^None .*has not been called')
        self.assertRegex(second, r'begin\(\): call interruptible_import\(\)')
        self.assertRegex(third, r'mask\(\): call interruptible_import\(\)')

    def test_bad_table_changes_nothing(self):
        said = signals.in_child('''
import signals, kit_test_c as kit
signals.use_fake('version0')
try:
    kit.import_kit()
except ImportError as error:
    print(error)
print(kit.backend())
''')
        self.assertRegex(said, '(?s)^_interrupts.C_API has version 0.*None$')


class Check(Case):

    def test_nothing(self):
        for how in 'gil', 'nogil', 'worker', 'blocked':
            with self.subTest(how):
                region = kit.region_begin()
                for _ in range(1000):
                    kit.region_check(region, how)
                kit.region_end(region)

    def test_stop_is_final(self):
        # run() returns at the first stop; here the region lives on.
        for how in 'gil', 'nogil':
            with self.subTest(how):
                region = kit.region_begin()
                self.handled.clear()
                stopped = 0
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                    while True:
                        kit.region_check(region, how)
                except KeyboardInterrupt:
                    stopped += 1
                self.assertEqual((stopped, len(self.handled)), (1, 1))

    def test_error_is_set(self):
        for nogil in False, True:
            with self.subTest(nogil=nogil):
                # The error that was there stays; the handler can wait.
                with self.assertRaisesRegex(ValueError, '^first$') as caught:
                    kit.check_with_error(signal.SIGUSR1, nogil)
                self.assertIsNone(caught.exception.__context__)

    def check_error_then_signal(self, nogil):
        # What the signal's handler raises comes afterwards, it is not lost.
        errors = []
        try:
            try:
                kit.check_with_error(signal.SIGINT, nogil)
            except ValueError as error:
                errors.append(type(error))
            for _ in range(1000):
                pass
        except KeyboardInterrupt as error:
            errors.append(type(error))
            if isinstance(error.__context__, ValueError):
                errors.insert(0, ValueError)
        self.assertEqual(errors[-1], KeyboardInterrupt)
        self.assertEqual(len(self.handled), 1)

    def test_error_then_signal_gil(self):
        self.check_error_then_signal(False)

    def test_error_then_signal_nogil(self):
        self.check_error_then_signal(True)

    def test_begin_with_error(self):
        with self.assertRaisesRegex(ValueError, '^first$'):
            kit.begin_with_error()

    def test_exception_cleared(self):
        with self.assertRaisesRegex(RuntimeError, 'has cleared the exception'):
            kit.end_without_error(signal.SIGINT)

    def test_someone_elses_region(self):
        region = kit.region_begin()

        def check():
            for _ in range(1000):
                kit.region_check(region, 'gil')

        # Natively only the slow path looks who it is.
        error = self.in_thread(check)
        if not native():
            self.assertIsInstance(error, RuntimeError)
            self.assertIn('another thread', str(error))
        kit.region_end(region)

    def test_interrupted(self):
        for nogil in False, True:
            with self.subTest(nogil=nogil):
                sender = signals.Sender()
                self.addCleanup(sender.close)
                self.handled.clear()
                with self.assertRaises(KeyboardInterrupt):
                    sender.send(signal.SIGINT, 0.02)
                    kit.run(60, nogil)
                self.assertLess(time.monotonic() - sender.wait(), 1)
                self.assertEqual(len(self.handled), 1)

    def test_slow_path_is_rare(self):
        for nogil in False, True:
            with self.subTest(nogil=nogil):
                checks, decisions = kit.run(0.2, nogil)
                self.assertGreater(checks, 100_000)
                self.assertEqual(decisions, 0)

    def test_handler_returns(self):
        sender = signals.Sender()
        self.addCleanup(sender.close)
        for nogil in False, True:
            with self.subTest(nogil=nogil):
                self.handled.clear()
                sender.send(signal.SIGUSR1, 0.05, 5, 0.03)
                checks, decisions = kit.run(0.5, nogil)
                sender.wait()
                # On a busy machine two can come so close that they are one.
                self.assertIn(len(self.handled), range(2, 6))
                if native():
                    # One for each signal, not one for each check.
                    self.assertIn(decisions, range(1, 11))

    def test_in_a_finally(self):
        if not really_native():
            self.skipTest('only an interpreter with _interrupts masks cleanup')
        sender = signals.Sender()
        self.addCleanup(sender.close)
        for nogil in False, True:
            with self.subTest(nogil=nogil):
                self.handled.clear()
                finished = False
                with self.assertRaises(KeyboardInterrupt):
                    try:
                        pass
                    finally:
                        sender.send(signal.SIGINT, 0.05)
                        checks, decisions = kit.run(0.5, nogil)
                        sender.wait()
                        finished = True
                self.assertTrue(finished)
                self.assertEqual(len(self.handled), 1)
                self.assertGreater(checks, 100_000)
                self.assertIn(decisions, range(1, 4))

    def test_cost(self):
        # Of all orders of magnitude only the right one: no call, no clock.
        for how in 'gil', 'nogil', 'worker':
            best = min(kit.cost(5_000_000, how) for _ in range(5))
            print(f'{kit.backend()}: {best:.2f} ns per check, {how}',
                  file=sys.stderr)
            self.assertLess(best, 5)


class Pace(Case):
    """How often the fallback reads the clock; with a clock of the test's."""

    def setUp(self):
        super().setUp()
        if native():
            self.skipTest('the native side has no clock')

    def test_fast_steps(self):
        # 1 ns each: one read in LARGEST_BATCH checks, once it has got going.
        (reads,), _ = kit.clock_plan([(1_000_000, 1)], 0, False)
        self.assertLessEqual(reads, 1_000_000 // LARGEST_BATCH + 8)

    def test_medium_steps(self):
        # About a read per quarter of the interval, also right after steps
        # that were fast.
        for pace in 100_000, 170_000, 300_000, 1_000_000:
            for before in [], [(1_000_000, 1)]:
                with self.subTest(pace=pace, before=before):
                    (*_, reads), _ = kit.clock_plan(
                        [*before, (10_000, pace)], 0, False)
                    quarters = 10_000 * pace / (INTERVAL / 4)
                    self.assertGreaterEqual(reads, quarters * 0.9)
                    self.assertLessEqual(reads, quarters * 2.2)

    def test_slow_steps(self):
        # Slower than the quarter: each check reads.
        (reads,), _ = kit.clock_plan([(100, INTERVAL)], 0, False)
        self.assertGreaterEqual(reads, 98)

    def test_fast_again(self):
        (_, reads), _ = kit.clock_plan([(100, INTERVAL), (1_000_000, 1)], 0,
                                       False)
        self.assertLessEqual(reads, 1_000_000 // LARGEST_BATCH + 8)

    def test_seen_in_time(self):
        for pace in 1, 100, 10_000, 1_000_000, 10_000_000:
            for nogil in False, True:
                with self.subTest(pace=pace, nogil=nogil):
                    steps = max(1000, 2 * INTERVAL // pace)
                    _, stopped = kit.clock_plan(
                        [(steps, pace), (20 * steps, pace)], signal.SIGINT,
                        nogil)
                    self.assertIsNotNone(stopped)
                    # An interval, and the quarter until the clock is read.
                    self.assertLessEqual(stopped * pace,
                                         max(INTERVAL * 1.5, 3 * pace))

    def test_not_more_often(self):
        # A signal that comes at the beginning is seen after an interval.
        for pace in 1, 1000, 100_000:
            for nogil in False, True:
                with self.subTest(pace=pace, nogil=nogil):
                    _, stopped = kit.clock_plan(
                        [(1, 1), (2 * INTERVAL // pace, pace)], signal.SIGINT,
                        nogil)
                    self.assertIsNotNone(stopped)
                    self.assertGreaterEqual(stopped * pace, INTERVAL * 0.99)

    def test_waiting_for_the_gil(self):
        # Another thread keeps the GIL for 50 ms each time.  Asking every 10 ms
        # would leave a sixth of the time for the work.
        alone, _ = kit.run(0.5, True)
        done = threading.Event()

        def busy():
            while not done.is_set():
                pass

        before = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, before)
        sys.setswitchinterval(0.05)
        thread = threading.Thread(target=busy)
        thread.start()
        try:
            together, _ = kit.run(1, True)
        finally:
            done.set()
            thread.join()
        self.assertGreater(together / 2, alone * 0.25)

    def test_suddenly_slow(self):
        # From 1 ns to 5 ms per step, just after the clock has been read.
        for more in range(0, LARGEST_BATCH, 17):
            _, stopped = kit.clock_plan(
                [(1_000_000 + more, 1), (10_000, 5_000_000)], signal.SIGINT,
                True)
            self.assertIsNotNone(stopped)
            self.assertLessEqual(stopped, LARGEST_BATCH + 3)


class Team(Case):

    def test_parked_worker_goes_on(self):
        # The handler returns: its check waits for that and passes.
        waited = []
        for _ in range(50):
            self.handled.clear()
            result, took, joined = kit.lonely_worker(signal.SIGUSR1, True)
            waited.append(took)
            for _ in range(1000):
                pass
            self.assertEqual((result, joined), (0, 0))
            self.assertEqual(len(self.handled), 1)
            self.assertLess(took, 0.09)
        # It wakes the owner, which would look by itself after an interval.
        self.assertLess(statistics.median(waited), INTERVAL * 1e-9 / 4)

    def test_parked_worker_stops(self):
        if not native():
            self.skipTest('the fallback has no flag that a worker could see')
        for _ in range(50):
            self.handled.clear()
            with self.assertRaises(KeyboardInterrupt):
                kit.lonely_worker(signal.SIGINT, True)
            self.assertEqual(len(self.handled), 1)

    def test_forgotten_join(self):
        if not native():
            self.skipTest('the fallback has no flag that a worker could see')
        result, took, _ = kit.lonely_worker(signal.SIGUSR1, False)
        self.assertEqual(result, 0)
        # It has waited its time, not for ever.
        self.assertGreater(took, 0.09)
        self.assertLess(took, 2)

    def test_join_waits_for_all(self):
        region = kit.region_begin()
        done = []

        def worker():
            time.sleep(0.02)
            done.append(True)
            kit.region_done(region)

        threads = [threading.Thread(target=worker) for _ in range(3)]
        for thread in threads:
            thread.start()
        self.assertEqual(kit.region_join(region, 3), 0)
        self.assertEqual(len(done), 3)
        for thread in threads:
            thread.join()
        kit.region_end(region)

    def test_join_is_interrupted(self):
        # The worker does not check; its owner learns of the signal all the
        # same, and waits until the worker is done.
        sender = signals.Sender()
        self.addCleanup(sender.close)
        region = kit.region_begin()
        handled_before_end = []

        def worker():
            time.sleep(0.3)
            handled_before_end.extend(self.handled)
            kit.region_done(region)

        thread = threading.Thread(target=worker)
        with self.assertRaises(KeyboardInterrupt):
            thread.start()
            sender.send(signal.SIGINT, 0.05)
            kit.region_join(region, 1)
        self.assertEqual(handled_before_end, [signal.SIGINT])
        thread.join()
        sender.wait()
        # Stopped for good, for everybody.
        self.assertTrue(kit.region_pending(region))
        self.assertEqual(
            self.in_thread(lambda: kit.region_check(region, 'worker')), 'stop')

    def test_owner_may_use_the_workers_check(self):
        # It must not wait for itself.
        if not native():
            self.skipTest('the fallback has no flag that a worker could see')
        sender = signals.Sender()
        self.addCleanup(sender.close)
        with self.assertRaises(KeyboardInterrupt):
            region = kit.region_begin()
            sender.send(signal.SIGINT, 0.02)
            while True:
                kit.region_check(region, 'worker')


class Frameworks(Case):
    """Two that have handlers of their own and raise KeyboardInterrupt."""

    def setUp(self):
        super().setUp()
        if not really_native():
            self.skipTest('only an interpreter with _interrupts has pollers')
        kit.frameworks_start()
        self.running = True
        self.addCleanup(self.stop)

    def stop(self):
        if self.running:
            self.running = False
            return kit.frameworks_stop()

    def test_claim(self):
        self.assertEqual(kit.claim_in_turn(), (1, 0))
        # Here Python would raise it.
        for _ in range(100):
            pass
        self.assertEqual(self.handled, [])
        raised, told = self.stop()
        self.assertEqual(told, (0, 1))

    def interrupt_often(self, times, ask):
        """How many exceptions each of so many signals has raised."""
        from threading import interrupts, nointerrupts

        def poll():
            try:
                with interrupts:
                    while True:
                        kit.frameworks_work(random.choice([1, 300]), ask)
                        if sent.is_set():
                            # All who would raise one more have had their turn.
                            kit.frameworks_work(1, ask)
                            return False
            except KeyboardInterrupt:
                return True

        counts = []
        sender = signals.Sender()
        self.addCleanup(sender.close)
        with nointerrupts:
            for _ in range(times):
                sent = threading.Event()
                sender.send(signal.SIGINT, random.uniform(0, 0.002))
                count = int(poll())
                sender.wait()
                sent.set()
                while poll():
                    count += 1
                counts.append(count)
        return counts

    def test_one_exception(self):
        counts = self.interrupt_often(200, ask=True)
        self.assertEqual(counts, [1] * 200)
        raised, told = self.stop()
        self.assertEqual(sum(raised) + len(self.handled), 200)
        # Python and at least one of the two have had their turn.
        self.assertGreater(min(sum(raised), len(self.handled)), 0)

    def test_without_claim(self):
        # What the test above would find.
        self.assertGreater(max(self.interrupt_often(20, ask=False)), 1)


class Masks(Case):

    def test_nested(self):
        outer, inner = kit.token_new(), kit.token_new()
        for soft in False, True:
            kit.token_mask(outer)
            kit.token_mask(inner, soft)
            kit.token_unmask(inner)
            kit.token_unmask(outer)

    def test_holds_back(self):
        for nogil in False, True:
            with self.subTest(nogil=nogil):
                self.handled.clear()
                started = time.monotonic()
                with self.assertRaises(KeyboardInterrupt):
                    kit.masked_run(signal.SIGINT, 0.1, nogil)
                self.assertGreaterEqual(time.monotonic() - started, 0.1)
                self.assertEqual(len(self.handled), 1)

    def test_does_not_spin(self):
        for nogil in False, True:
            with self.subTest(nogil=nogil):
                self.assertLessEqual(
                    kit.masked_run(signal.SIGUSR1, 0.1, nogil), 3)

    def test_unmask_without_mask(self):
        with self.assertRaisesRegex(RuntimeError, 'masks nothing'):
            kit.token_unmask(kit.token_new())

    def test_unmask_twice(self):
        token = kit.token_new()
        kit.token_mask(token)
        kit.token_unmask(token)
        with self.assertRaisesRegex(RuntimeError, 'masks nothing'):
            kit.token_unmask(token)

    def test_mask_twice(self):
        token = kit.token_new()
        kit.token_mask(token)
        with self.assertRaisesRegex(RuntimeError, 'is in use'):
            kit.token_mask(token)
        kit.token_unmask(token)

    def test_other_thread(self):
        token = kit.token_new()
        kit.token_mask(token)
        error = self.in_thread(lambda: kit.token_unmask(token))
        self.assertIsInstance(error, RuntimeError)
        self.assertIn('another thread', str(error))
        # It has damaged nothing: here it still works, once.
        kit.token_unmask(token)
        with self.assertRaises(RuntimeError):
            kit.token_unmask(token)

    def test_misuse_keeps_the_error(self):
        with self.assertRaisesRegex(RuntimeError, 'masks nothing') as caught:
            kit.unmask_with_error()
        context = caught.exception.__context__
        self.assertIsInstance(context, ValueError)
        self.assertEqual(context.args, ('first',))

    def test_other_threads_are_not_masked(self):
        token = kit.token_new()

        def mask():
            kit.token_mask(token)
            masked.set()
            over.wait()
            kit.token_unmask(token)

        masked, over = threading.Event(), threading.Event()
        thread = threading.Thread(target=mask)
        thread.start()
        masked.wait()
        try:
            sender = signals.Sender()
            self.addCleanup(sender.close)
            with self.assertRaises(KeyboardInterrupt):
                sender.send(signal.SIGINT, 0.02)
                kit.run(60, True)
        finally:
            over.set()
            thread.join()


class Import(unittest.TestCase):

    def test_needs_no_gil(self):
        signals.check_no_gil(self, 'kit_test_c', 'fake_interrupts')


def main():
    global kit
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--path', required=True)
    parser.add_argument('--fake-native', action='store_true')
    options, rest = parser.parse_known_args()
    sys.path.insert(0, os.path.abspath(options.path))
    if options.fake_native:
        if signals.interpreter_is_native():
            parser.error('--fake-native: this interpreter is native already')
        signals.use_fake()
    import kit_test_c as kit
    kit.import_kit()
    print(f'{kit.__file__}: {kit.backend()}, Python '
          f'{sys.version.split()[0]}', file=sys.stderr)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == '__main__':
    main()
