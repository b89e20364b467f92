"""Tests of a sample module: all three have the same functions.

    PYTHON extension-kit/tests/test_samples.py --module sample_c --path DIR

DIR is what build.py --out has filled.  --fake-native lets an interpreter that
has no _interrupts.C_API pretend; what only the real one can do is skipped.
--short leaves out the test for leaks, which takes longer than all others.
Other arguments go to unittest.
"""

import argparse
import array
import ctypes
import faulthandler
import functools
import importlib
import os
import random
import resource
import shutil
import signal
import statistics
import sys
import sysconfig
import tempfile
import threading
import time
import unittest

import signals

sample = None                   # the module under test
short = False

# Longer than any test waits.
FOREVER = 2**31 - 1

VALUES = array.array('d', range(65536))

# A call of each function that does not end by itself.
ENDLESS = {
    'sum_array': lambda folder: sample.sum_array(VALUES, FOREVER, folder),
    'queens': lambda folder: sample.queens(20, folder),
    'parallel_sum':
        lambda folder: sample.parallel_sum(VALUES, FOREVER, 3, folder),
    'Values.sum': lambda folder: sample.Values(VALUES).sum(FOREVER),
}


# For a child: what a subinterpreter breaks shall not break the rest.  From 3.12
# on each has a GIL of its own.
INTERPRETERS = '''
import sys
try:
    import _interpreters as interpreters
except ImportError:
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        print("there is no module for subinterpreters")
        raise SystemExit

def create():
    if sys.version_info < (3, 13):
        interpreter = interpreters.create()
    else:
        interpreter = interpreters.create("isolated")
        assert interpreters.get_config(interpreter).gil == "own"
    assert run(interpreter, f"import sys; sys.path[:] = {sys.path!r}") is None
    return interpreter

def run(interpreter, code):
    "None, or what it has raised."
    try:
        return interpreters.run_string(interpreter, code)
    except Exception as error:      # before 3.13
        return error
'''

# For a child, and for an interpreter in it: the same.
TRY_VALUES = '''
import array
numbers, wrong = array.array("d", range(1000)), array.array("d", [float("nan")])

def try_values(module):
    "Every way that leads to what the module knows."
    class Own(module.Values):
        pass
    for cls in module.Values, Own:
        assert (cls(numbers) + cls(numbers)).sum(2) == 1998000.0
        assert type(cls(numbers) + cls(numbers)) is module.Values
        large = cls(array.array("d", [1e308]))
        for call in lambda: cls(wrong), lambda: large.sum(2), \
                lambda: (large + large).sum():
            try:
                call()
            except module.Error as error:
                assert type(error) is module.Error
            else:
                raise AssertionError("no error")
'''

# That of signal looks for signals when it has sent one.
raise_signal = ctypes.CDLL(None)['raise']


def repeat_for(call, seconds):
    """So often that call(repeat) takes about that long."""
    repeat = 1
    while True:
        best = None
        for _ in range(3):      # the machine may have been busy
            before = time.monotonic()
            call(repeat)
            took = time.monotonic() - before
            best = took if best is None else min(best, took)
        if best > 0.05:
            return max(2, int(repeat * seconds / best))
        repeat *= 4


def queens_for(seconds):
    """The first n that takes at least that long."""
    size = 8
    with tempfile.TemporaryDirectory() as folder:
        while True:
            best = None
            for _ in range(3):
                before = time.monotonic()
                sample.queens(size, folder)
                took = time.monotonic() - before
                best = took if best is None else min(best, took)
            if best > seconds:
                return size
            size += 1


def native():
    return sample.backend() == 'native'


def really_native():
    return native() and signals.fake is None


class Case(unittest.TestCase):

    def setUp(self):
        # What is not interrupted would hang: say where, and end.
        faulthandler.dump_traceback_later(240, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        self.folder = tempfile.mkdtemp(prefix='sample-test-')
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assert_clean(self):
        self.assertEqual(sample.live(), (0, 0))
        self.assertEqual(os.listdir(self.folder), [])


class Results(Case):

    LENGTHS = 0, 1, 2, 3, 511, 512, 513, 1024, 5000

    def test_sum_array(self):
        for length in self.LENGTHS:
            values = array.array('d', range(1, length + 1))
            for repeat in 0, 1, 3:
                with self.subTest(length=length, repeat=repeat):
                    self.assertEqual(
                        sample.sum_array(values, repeat, self.folder),
                        float(sum(values) * repeat))
        self.assert_clean()

    def test_parallel_sum(self):
        for length in self.LENGTHS:
            values = array.array('d', range(1, length + 1))
            for repeat in 0, 1, 3:
                for threads in 1, 2, 3, 8:
                    with self.subTest(length=length, repeat=repeat,
                                      threads=threads):
                        self.assertEqual(
                            sample.parallel_sum(values, repeat, threads,
                                                self.folder),
                            float(sum(values) * repeat))
        self.assert_clean()

    def test_queens(self):
        found = [sample.queens(n, self.folder) for n in range(1, 11)]
        self.assertEqual(found, [1, 0, 0, 2, 10, 4, 40, 92, 352, 724])
        self.assert_clean()

    def test_values(self):
        for length in self.LENGTHS:
            numbers = array.array('d', range(1, length + 1))
            values = sample.Values(numbers)
            total = float(sum(numbers))
            with self.subTest(length=length):
                self.assertEqual(len(values), length)
                self.assertEqual(values.sum(), total)
                self.assertEqual(values.sum(0), 0.0)
                self.assertEqual(values.sum(3), total * 3)
                both = values + sample.Values(array.array('d', [0.5]))
                self.assertIs(type(both), sample.Values)
                self.assertEqual(len(both), length + 1)
                self.assertEqual(both.sum(2), total * 2 + 1)
        # It has a copy.
        numbers[0] = 1000.0
        self.assertEqual(values.sum(), total)

    def test_bad_values(self):
        self.assertTrue(issubclass(sample.Error, ValueError))
        self.assertEqual(sample.Error.__module__, sample.__name__)
        for bad in 'nan', 'inf', '-inf':
            for length, index in (1, 0), (1000, 0), (1000, 511), (1000, 999):
                numbers = array.array('d', bytes(8 * length))
                numbers[index] = float(bad)
                with self.assertRaisesRegex(sample.Error,
                                            f'^value {index} is not finite$'):
                    sample.Values(numbers)
        large = sample.Values(array.array('d', [1e308]))
        self.assertEqual(large.sum(), 1e308)
        with self.assertRaisesRegex(sample.Error, 'too large for a float'):
            large.sum(2)
        with self.assertRaises(sample.Error):
            (large + large).sum()

    def test_values_wrong_arguments(self):
        values = sample.Values(array.array('d', [1.0]))
        for wrong in ((), (1, 2), (None,), (1.5,)):
            with self.subTest(wrong), \
                    self.assertRaises((TypeError, BufferError)):
                sample.Values(*wrong)
        for wrong in ((1, 2), (None,), (1.5,)):
            with self.subTest(wrong), self.assertRaises(TypeError):
                values.sum(*wrong)
        with self.assertRaises(TypeError):
            values.sum(repeat=1)
        for call in (lambda: values + [1.0], lambda: [1.0] + values,
                     lambda: values + 1, lambda: 1 + values):
            with self.assertRaises(TypeError):
                call()
        with self.assertRaises((TypeError, ValueError, BufferError)) as caught:
            sample.Values(array.array('i', [1]))
        self.assertNotIsInstance(caught.exception, sample.Error)

    def test_values_in_threads(self):
        # Without a GIL: all at once.
        values = sample.Values(VALUES)
        wrong = array.array('d', [float('nan')])
        found = []

        def target():
            for _ in range(50):
                found.append((values + values).sum(2))
                try:
                    sample.Values(wrong)
                except sample.Error as error:
                    found.append(type(error))

        threads = [threading.Thread(target=target) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(found), 400)
        self.assertEqual(set(found), {sum(VALUES) * 4, sample.Error})

    def test_wrong_arguments(self):
        nowhere = os.path.join(self.folder, 'nowhere')
        for call in (lambda: sample.sum_array(VALUES, 1, nowhere),
                     lambda: sample.queens(5, nowhere),
                     lambda: sample.parallel_sum(VALUES, 1, 2, nowhere)):
            with self.assertRaises(OSError):
                call()
            self.assert_clean()
        integers = array.array('i', [1, 2, 3])
        for call in (lambda: sample.sum_array(integers, 1, self.folder),
                     lambda: sample.parallel_sum(integers, 1, 2, self.folder)):
            with self.assertRaises((TypeError, ValueError, BufferError)):
                call()
            self.assert_clean()
        for call in (lambda: sample.queens(0, self.folder),
                     lambda: sample.parallel_sum(VALUES, 1, 0, self.folder)):
            with self.assertRaises(ValueError):
                call()
            self.assert_clean()

    def test_in_a_subinterpreter(self):
        code = f'''
import array, {sample.__name__} as sample, sys
values = array.array('d', range(1000))
assert sample.sum_array(values, 2, {self.folder!r}) == 999000.0
assert sample.queens(8, {self.folder!r}) == 92
assert sample.parallel_sum(values, 2, 3, {self.folder!r}) == 999000.0
assert sample.live() == (0, 0)
print("right")
'''
        child = '''
interpreter = create()
error = run(interpreter, sys.argv[1])
if error is not None:
    print(error)
interpreters.destroy(interpreter)
'''
        said = signals.in_child(INTERPRETERS + child, code).strip()
        if 'there is no module' in said:
            self.skipTest(said)
        if sys.version_info >= (3, 12) and sample.__name__ != 'sample_c':
            # What Cython and pyo3 make is declared to be for one interpreter,
            # and 3.12 is the first that asks.
            self.assertRegex(said, rf'ImportError.*\bmodule \S*{sample.__name__}'
                                   ' does not support loading in subinterpr')
        else:
            self.assertEqual(said, 'right')
        self.assert_clean()


class SignalCase(Case):

    def setUp(self):
        super().setUp()
        self.sender = signals.Sender()
        self.addCleanup(self.sender.close)
        self.handled = []
        self.on_signal(signal.SIGINT, self.interrupt)

    def on_signal(self, signum, handler):
        old = signals.set_handler(signum, handler)
        self.addCleanup(signal.signal, signum, old)

    def interrupt(self, signum, frame):
        self.handled.append(signum)
        raise KeyboardInterrupt

    def call_interrupted(self, call, delay):
        """Interrupts an endless call; how long after the signal it ended."""
        self.handled.clear()
        raised = 0
        try:
            self.sender.send(signal.SIGINT, delay)
            call(self.folder)
            self.fail('it came to an end')
        except KeyboardInterrupt:
            ended = time.monotonic()
            raised += 1
        try:
            sent = self.sender.wait()
            # Each turn is a check point: a second one would come here.
            for _ in range(100):
                pass
        except KeyboardInterrupt:
            raised += 1
        self.assertEqual((raised, len(self.handled)), (1, 1))
        self.assert_clean()
        return ended - sent


class Interrupted(SignalCase):

    TIMES = 60

    def check(self, name):
        late = []
        for number in range(self.TIMES):
            # Half of them early, where it begins and where it gets going.
            most = 0.002 if number % 2 else 0.030
            late.append(self.call_interrupted(ENDLESS[name],
                                              random.uniform(0, most)))
        median = statistics.median(late)
        print(f'{name}: {self.TIMES} times interrupted, after '
              f'{median * 1e3:.3f} ms (median), {max(late) * 1e3:.3f} ms '
              f'(longest)', file=sys.stderr)
        # Without the kit: never.  A machine that is busy may be late.
        self.assertLess(median, 0.050 if native() else 0.150)
        self.assertLess(max(late), 2)

    def test_sum_array(self):
        self.check('sum_array')

    def test_queens(self):
        self.check('queens')

    def test_parallel_sum(self):
        self.check('parallel_sum')

    def test_values_sum(self):
        self.check('Values.sum')

    def test_at_once(self):
        # The signal has come before the function begins, as often as not.
        for name, call in ENDLESS.items():
            with self.subTest(name):
                for _ in range(20):
                    self.call_interrupted(call, 0)

    def test_another_thread_is_busy(self):
        # The owner has to wait for the GIL before it can ask.
        done = threading.Event()

        def busy():
            while not done.is_set():
                pass

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for name in 'sum_array', 'parallel_sum':
                with self.subTest(name):
                    for _ in range(5):
                        late = self.call_interrupted(ENDLESS[name], 0.03)
                        self.assertLess(late, 2)
        finally:
            done.set()
            thread.join()


class HandlerReturns(SignalCase):

    def setUp(self):
        super().setUp()
        self.seen = []
        self.on_signal(signal.SIGUSR1, self.look)

    def look(self, signum, frame):
        memory, files = sample.live()
        self.seen.append((memory > 0, files, len(os.listdir(self.folder))))

    def check(self, call):
        """20 signals while it runs: it is not disturbed, and they are seen."""
        repeat = repeat_for(call, 0.6)
        expected = float(sum(VALUES) * repeat)
        self.sender.send(signal.SIGUSR1, 0.02, 20, 0.02)
        result = call(repeat)
        self.sender.wait()
        self.assertEqual(result, expected)
        # Those that came while it ran found memory and a file, and live()
        # and the folder agreed.
        within = [seen for seen in self.seen if seen == (True, 1, 1)]
        others = [seen for seen in self.seen if seen != (True, 1, 1)]
        self.assertGreaterEqual(len(within), 2, self.seen)
        self.assertEqual(set(others) - {(False, 0, 0)}, set())
        self.assert_clean()

    def test_sum_array(self):
        self.check(lambda repeat:
                   sample.sum_array(VALUES, repeat, self.folder))

    def test_parallel_sum(self):
        self.check(lambda repeat:
                   sample.parallel_sum(VALUES, repeat, 3, self.folder))

    def test_queens(self):
        size = queens_for(0.3)
        expected = sample.queens(size, self.folder)
        self.sender.send(signal.SIGUSR1, 0.02, 20, 0.01)
        self.assertEqual(sample.queens(size, self.folder), expected)
        self.sender.wait()
        self.assertGreaterEqual(self.seen.count((True, 1, 1)), 2, self.seen)
        self.assertEqual(set(self.seen) - {(True, 1, 1), (False, 0, 0)}, set())
        self.assert_clean()

    def test_many_signals(self):
        # The owner decides all the time; no work may get lost.
        repeat = 200
        expected = float(sum(VALUES) * repeat)
        for _ in range(5):
            self.sender.send(signal.SIGUSR1, 0, 500, 0.0001)
            self.assertEqual(
                sample.parallel_sum(VALUES, repeat, 4, self.folder), expected)
            self.assertEqual(
                sample.sum_array(VALUES, repeat, self.folder), expected)
            self.sender.wait()
        self.assert_clean()


class Workers(SignalCase):

    def test_no_check_passes(self):
        if not native():
            self.skipTest('the fallback has no flag that a worker could see')
        for threads in 1, 2, 4, 8:
            spread = []
            for _ in range(20):
                self.call_interrupted(
                    lambda folder: sample.parallel_sum(VALUES, FOREVER,
                                                       threads, folder),
                    random.uniform(0.002, 0.010))
                stop = sample.last_stop()
                self.assertEqual(stop['passed_after'], 0)
                self.assertGreaterEqual(stop['spread'], 0)
                spread.append(stop['spread'])
            print(f'parallel_sum: {threads} workers stopped within '
                  f'{statistics.median(spread) * 1e6:.0f} us (median)',
                  file=sys.stderr)
            self.assertLess(statistics.median(spread), 0.1)

    def test_no_check_passes_while_the_handler_runs(self):
        # The flag is cleared already, and it is not yet known what the
        # handler will raise: the workers have to wait for that.
        if not native():
            self.skipTest('the fallback has no flag that a worker could see')

        def slow(signum, frame):
            self.handled.append(signum)
            time.sleep(0.02)
            raise KeyboardInterrupt

        self.on_signal(signal.SIGINT, slow)
        for _ in range(10):
            self.call_interrupted(ENDLESS['parallel_sum'], 0.005)
            self.assertEqual(sample.last_stop()['passed_after'], 0)

    def test_last_stop(self):
        self.call_interrupted(ENDLESS['parallel_sum'], 0.01)
        stop = sample.last_stop()
        self.assertEqual(sorted(stop), ['passed_after', 'spread'])
        self.assertIsInstance(stop['passed_after'], int)
        self.assertIsInstance(stop['spread'], float)


class InCleanup(SignalCase):
    """Called where the interpreter masks interrupts."""

    def setUp(self):
        super().setUp()
        if not really_native():
            self.skipTest('only an interpreter with _interrupts masks cleanup')

    def check(self, call):
        def timed():
            wall, cpu = time.monotonic(), time.process_time()
            result = call()
            return (result, time.monotonic() - wall,
                    time.process_time() - cpu)

        # On its own: the best of three.
        expected = call()
        alone = min(timed()[2] for _ in range(3))
        pressed = result = None
        cpu = []
        for _ in range(3):
            self.handled.clear()
            finished = False
            try:
                try:
                    pass
                finally:
                    self.sender.send(signal.SIGINT, 0.05)
                    result, wall, used = timed()
                    self.sender.wait()
                    finished = True
                    cpu.append(used)
            except KeyboardInterrupt:
                pass
            else:
                self.fail('nothing was raised after the cleanup')
            self.assertTrue(finished, 'cut short in a finally')
            self.assertEqual(result, expected)
            self.assertGreater(wall, 0.05, 'over before the signal came')
            self.assertEqual(len(self.handled), 1)
            self.assert_clean()
        # Going into the slow path each time would cost several times more.
        self.assertLess(min(cpu), alone * 2 + 0.05)

    def test_sum_array(self):
        def call(repeat):
            return sample.sum_array(VALUES, repeat, self.folder)
        repeat = repeat_for(call, 0.4)
        self.check(lambda: call(repeat))

    def test_parallel_sum(self):
        def call(repeat):
            return sample.parallel_sum(VALUES, repeat, 2, self.folder)
        repeat = repeat_for(call, 0.4)
        self.check(lambda: call(repeat))

    def test_queens(self):
        size = queens_for(0.15)
        self.check(lambda: sample.queens(size, self.folder))


class Pending(SignalCase):
    """Something has come already when the work begins, and waits to be raised."""

    def setUp(self):
        super().setUp()
        if not really_native():
            self.skipTest('only an interpreter with _interrupts lets it wait')
        def call(repeat):
            return sample.sum_array(VALUES, repeat, self.folder)
        # A function in Python would be a check point.
        self.sum = functools.partial(sample.sum_array, VALUES,
                                     repeat_for(call, 0.5), self.folder)

    def check(self, call):
        start = time.process_time()
        with self.assertRaises(KeyboardInterrupt):
            call()
        self.assertLess(time.process_time() - start, 0.25)
        self.assert_clean()

    def test_on_its_way_to_a_try(self):
        def call():
            raise_signal(signal.SIGINT)
            try:
                self.sum()
            finally:
                pass

        self.check(call)

    def test_generator_that_masks(self):
        def masks():
            with threading.nointerrupts:
                raise_signal(signal.SIGINT)
                yield

        def call():
            for _ in masks():
                self.sum()

        self.check(call)

    def test_second_of_two(self):
        class First(Exception):
            pass

        def raise_first(signum, frame):
            raise First

        before = signal.signal(signal.SIGUSR1, raise_first)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

        def call():
            try:
                with threading.nointerrupts:
                    raise_signal(signal.SIGUSR1)
                    threading.current_thread().interrupt(KeyboardInterrupt)
            except First:
                self.sum()

        self.check(call)


class OtherThreads(Case):

    def setUp(self):
        super().setUp()
        if not really_native():
            self.skipTest('only an interpreter with _interrupts reaches '
                          'threads other than the main one')

    def check(self, name):
        class Stop(Exception):
            pass

        for _ in range(20):
            caught = []

            def target():
                try:
                    ENDLESS[name](self.folder)
                except BaseException as error:
                    caught.append(error)

            thread = threading.Thread(target=target)
            thread.start()
            while sample.live()[1] == 0:
                time.sleep(0)
            time.sleep(random.uniform(0, 0.01))
            sent = Stop(1, 2, 3)
            before = time.monotonic()
            self.assertTrue(thread.interrupt(sent))
            thread.join(30)
            self.assertFalse(thread.is_alive())
            self.assertEqual(caught, [sent])
            self.assertLess(time.monotonic() - before, 2)
            self.assert_clean()

    def test_sum_array(self):
        self.check('sum_array')

    def test_parallel_sum(self):
        self.check('parallel_sum')

    def test_only_that_thread(self):
        # Two at work: the other one goes on.
        results = {}

        def target(name, repeat):
            try:
                results[name] = sample.sum_array(VALUES, repeat, self.folder)
            except KeyboardInterrupt:
                results[name] = 'interrupted'

        short = threading.Thread(target=target, args=('short', 3000))
        endless = threading.Thread(target=target, args=('endless', FOREVER))
        short.start()
        endless.start()
        while sample.live()[1] == 0:
            time.sleep(0)
        endless.interrupt(KeyboardInterrupt)
        endless.join(30)
        short.join(60)
        self.assertEqual(results, {'short': float(sum(VALUES) * 3000),
                                   'endless': 'interrupted'})
        self.assert_clean()


class Isolation(SignalCase):

    def again(self):
        """The module, imported once more; sys.modules has only that one."""
        # maturin makes a package around the module.
        for name in list(sys.modules):
            if name.partition('.')[0] == sample.__name__:
                self.addCleanup(sys.modules.__setitem__, name,
                                sys.modules.pop(name))
        return importlib.import_module(sample.__name__)

    def need_state(self):
        if sample.__name__ != 'sample_c':
            self.skipTest('pyo3 and Cython keep it for the process')

    def run_child(self, code, **environment):
        said = signals.in_child(f'name = {sample.__name__!r}\n{code}',
                                **environment).strip()
        if 'there is no module' in said:
            self.skipTest(said)
        self.assertEqual(said, 'right')

    def test_imported_again(self):
        self.need_state()
        again = self.again()
        self.assertIsNot(again, sample)
        self.assertIsNot(again.parallel_sum, sample.parallel_sum)
        # What one of them knows the other one does not.
        self.call_interrupted(
            lambda folder: again.parallel_sum(VALUES, FOREVER, 2, folder), 0.01)
        self.assertEqual(again.live(), (0, 0))
        sample_stop = sample.last_stop()
        self.assertNotEqual(again.last_stop(), {})
        third = self.again()
        self.assertEqual(third.last_stop(), {})
        self.assertEqual(sample.last_stop(), sample_stop)

    def test_type_and_exception_of_its_own(self):
        self.need_state()
        again = self.again()
        self.assertIsNot(again.Values, sample.Values)
        self.assertIsNot(again.Error, sample.Error)
        scope = {}
        exec(TRY_VALUES, scope)
        # In turns: nothing goes by who was there first, or last.
        for module, other in ((sample, again), (again, sample)) * 2:
            scope['try_values'](module)

            class Own(module.Values):
                pass

            large = array.array('d', [1e308])
            for cls in module.Values, Own:
                for call in (lambda: cls(scope['wrong']),
                             lambda: cls(large).sum(2)):
                    try:
                        try:
                            call()
                        except other.Error:
                            self.fail('caught as an error of the other one')
                    except module.Error:
                        pass
                    else:
                        self.fail('no error')
                # Neither is the other one's type.
                values = cls(VALUES)
                self.assertNotIsInstance(values, other.Values)
                for call in (lambda: values + other.Values(VALUES),
                             lambda: other.Values(VALUES) + values,
                             lambda: other.Values.sum(values)):
                    with self.assertRaises(TypeError):
                        call()

    def test_type_and_exception_of_the_process(self):
        if sample.__name__ == 'sample_c':
            self.skipTest('it has new ones')
        # The README says so.
        again = self.again()
        if sample.__name__ == 'sample_cython':
            self.assertIs(again, sample)
        else:
            self.assertIsNot(again.queens, sample.queens)
        self.assertIs(again.Values, sample.Values)
        self.assertIs(again.Error, sample.Error)
        wrong = array.array('d', [float('nan')])
        with self.assertRaises(sample.Error):
            again.Values(wrong)
        with self.assertRaises(again.Error):
            sample.Values(wrong)

    def test_type_cannot_be_changed(self):
        if sample.__name__ == 'sample_rust':
            self.skipTest('pyo3 wants the limited API of 3.14 for it')
        # Nothing that would disturb other tests.
        with self.assertRaises(TypeError):
            sample.Values.sum = sample.Values.sum
        with self.assertRaises(TypeError):
            sample.Values.more = 1

    # Without a GIL classes live for ever as soon as there was a second thread:
    # the children have one only.

    def test_freed(self):
        self.need_state()
        self.run_child(TRY_VALUES + '''
import gc, importlib, sys, weakref

def load():
    sys.modules.pop(name, None)
    return importlib.import_module(name)

def use():
    module = load()
    try_values(module)
    # Each reaches the others, so that only a collection can end it.
    cycle = [module, module.Values(numbers), module.Error("kept")]
    cycle[2].cycle = cycle
    return [weakref.ref(thing)
            for thing in (module, module.Values, module.Error)]

def used(times):
    for _ in range(times):
        refs = use()
        sys.modules.pop(name)
        gc.collect()
        assert [ref() for ref in refs] == [None] * 3, refs
    return sys.getallocatedblocks()

first = load()
# Were one block left of each, it would be 100 each time.  At first the
# interpreter's own caches grow, too.
before = used(1)
for _ in range(6):
    after = used(100)
    grown = after - before
    if grown < 50:
        break
    before = after
else:
    raise AssertionError(f"{grown} blocks more after 100 imports")
assert not [thing for thing in gc.get_objects() if isinstance(thing, type)
            and thing.__module__ == name
            and thing not in (first.Values, first.Error)]
try_values(first)
print("right")
''')

    def test_outlives_the_module(self):
        # Who has only an object or a class has all that they need.
        self.need_state()
        self.run_child(TRY_VALUES + '''
import gc, importlib, sys, weakref
module = importlib.import_module(name)
values, cls, Error = (module.Values(array.array("d", [1e308])), module.Values,
                      module.Error)
refs = [weakref.ref(thing) for thing in (module, cls, Error)]
del module, sys.modules[name]
gc.collect()
for call in lambda: values.sum(2), lambda: cls(wrong), \
        lambda: type(values)(wrong), lambda: (values + values).sum():
    try:
        call()
    except Error:
        pass
    else:
        raise AssertionError("no error")
del call, cls, Error
gc.collect()
assert None not in [ref() for ref in refs]
del values
gc.collect()
assert [ref() for ref in refs] == [None] * 3
print("right")
''')

    def test_signals_taken(self):
        self.need_state()
        if not really_native():
            if not native():
                self.assertIsNone(sample.signals_taken())
            self.skipTest('only an interpreter with _interrupts tells')
        # What is freed is overwritten: a call that goes there does not return.
        self.run_child('''
import gc, importlib, signal, sys
signal.signal(signal.SIGUSR1, lambda signum, frame: None)

def load():
    sys.modules.pop(name, None)
    return importlib.import_module(name)

one = load()
signal.raise_signal(signal.SIGUSR1)
other = load()
assert (one.signals_taken(), other.signals_taken()) == (1, 0)
signal.raise_signal(signal.SIGUSR1)
assert (one.signals_taken(), other.signals_taken()) == (2, 1)
del one
for _ in range(100):
    load()
gc.collect()
signal.raise_signal(signal.SIGUSR1)
assert other.signals_taken() == 2
print("right")
''', PYTHONMALLOC='debug')

    def test_interpreter_of_its_own(self):
        self.need_state()
        self.run_child(INTERPRETERS + TRY_VALUES + '''
import importlib, signal
module = importlib.import_module(name)
handled = []
signal.signal(signal.SIGUSR1, lambda signum, frame: handled.append(signum))
values = module.Values(numbers)
one, two = create(), create()
ids = [id(module.Values), id(module.Error)]
code = TRY_VALUES + f"""
import {name} as module
assert not {{id(module.Values), id(module.Error)}} & {{*ids}}
try_values(module)
"""
for number, interpreter in enumerate((one, two)):
    error = run(interpreter, f"ids = {ids!r}\\n" + code)
    assert error is None, error
    try_values(module)
# Signals are the main interpreter's; the other modules hear of them, too.
told = module.signals_taken()
signal.raise_signal(signal.SIGUSR1)
for interpreter in one, two:
    error = run(interpreter, "try_values(module)\\n"
                "assert module.signals_taken() == "
                f"{None if told is None else 1}")
    assert error is None, error
interpreters.destroy(one)
error = run(two, "try_values(module)")
assert error is None, error
interpreters.destroy(two)
# Nobody calls those who are gone.
signal.raise_signal(signal.SIGUSR1)
assert len(handled) == 2
assert module.signals_taken() == (None if told is None else told + 2)
try_values(module)
assert values.sum() == 499500.0
print("right")
'''.replace('TRY_VALUES +', f'{TRY_VALUES!r} +'), PYTHONMALLOC='debug')

    def test_needs_no_gil(self):
        names = [sample.__name__]
        if sample.__name__ == 'sample_cython':
            names += ['interruptible._interruptible', 'prange_example']
        signals.check_no_gil(self, *names)


class Imports(Case):

    ENTRIES = ('flag', 'count', 'check', 'check_blocked', 'is_masked', 'mask',
               'unmask', 'add_poller', 'remove_poller', 'claim')

    def setUp(self):
        super().setUp()
        try:
            import fake_interrupts
        except ImportError:
            self.skipTest('fake_interrupts is not there: build.py --only c')

    def import_with(self, prepare):
        """What the import has said, or the backend."""
        return signals.in_child(f'''
import signals, threading
{prepare}
try:
    import {sample.__name__} as sample
except BaseException as error:
    print(type(error).__name__, error)
else:
    print(sample.backend())
''').strip()

    def import_bad(self, kind):
        return self.import_with(f'signals.use_fake({kind!r})')

    def test_good(self):
        self.assertEqual(self.import_bad('good'), 'native')

    def test_newer_and_longer(self):
        self.assertEqual(self.import_bad('newer'), 'native')

    def test_none(self):
        self.assertEqual(
            self.import_with("sys.modules['_interrupts'] = None"), 'fallback')

    def test_too_short(self):
        said = self.import_bad('short')
        self.assertRegex(said, r'^ImportError ')
        # What was found, in bytes.
        self.assertRegex(said, r'\b48\b.*\b88\b')

    def test_version_0(self):
        said = self.import_bad('version0')
        self.assertRegex(said, r'^ImportError ')
        self.assertRegex(said, r'\b0\b.*\b1\b')

    def test_null(self):
        for entry in self.ENTRIES:
            with self.subTest(entry):
                said = self.import_bad(entry)
                self.assertRegex(said, rf'^ImportError .*\b{entry}\b')

    def test_not_the_capsule(self):
        self.assertRegex(self.import_bad('renamed'), r'^ImportError ')
        self.assertRegex(self.import_with('''
import types
sys.modules['_interrupts'] = types.ModuleType('_interrupts')
sys.modules['_interrupts'].C_API = 42
'''), r'^ImportError ')

    def test_interrupted_import(self):
        # Must not look like an interpreter that has no such module.
        self.assertRegex(self.import_with('''
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == '_interrupts':
            raise KeyboardInterrupt('pressed')
sys.modules.pop('_interrupts', None)
sys.meta_path.insert(0, Finder)
'''), r'^KeyboardInterrupt pressed')


class Leaks(SignalCase):

    CALLS = 2000

    def test_memory(self):
        if short:
            self.skipTest('--short')

        def resident():
            try:
                with open('/proc/self/statm') as file:
                    return int(file.read().split()[1]) * resource.getpagesize()
            except FileNotFoundError:
                self.skipTest('the size of this process cannot be read')

        values = array.array('d', range(8192))
        calls = [
            lambda folder: sample.sum_array(values, FOREVER, folder),
            lambda folder: sample.queens(20, folder),
            lambda folder: sample.parallel_sum(values, FOREVER, 8, folder),
            lambda folder: sample.Values(values).sum(FOREVER),
        ]
        descriptors = len(os.listdir('/proc/self/fd'))
        warm = None
        for number in range(self.CALLS):
            if number % 50 == 0:
                faulthandler.dump_traceback_later(120, exit=True)
            if number == self.CALLS // 10:
                warm = resident()
            self.call_interrupted(calls[number % len(calls)],
                                  random.uniform(0, 0.002))
        # What is left of each call, be it 320 bytes for 8 workers, makes
        # 140 KiB; the values would be 100 MiB.
        grown = resident() - warm
        print(f'{self.CALLS} interrupted calls: {grown // 1024} KiB more',
              file=sys.stderr)
        self.assertLess(grown, 128 * 1024)
        self.assertEqual(len(os.listdir('/proc/self/fd')), descriptors)


def main():
    global sample, short
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--module', required=True)
    parser.add_argument('--path', required=True)
    parser.add_argument('--fake-native', action='store_true')
    parser.add_argument('--short', action='store_true')
    options, rest = parser.parse_known_args()
    short = options.short
    path = os.path.abspath(options.path)
    # The tests' own modules are beside the sample, or one folder up.
    sys.path[:0] = [path, os.path.dirname(path)]
    if options.fake_native:
        if signals.interpreter_is_native():
            parser.error('--fake-native: this interpreter is native already')
        signals.use_fake()
    sample = importlib.import_module(options.module)
    print(f'{sample.__file__}: {sample.backend()}, Python '
          f'{sys.version.split()[0]}', file=sys.stderr)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == '__main__':
    main()
