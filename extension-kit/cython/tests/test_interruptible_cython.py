"""Tests of the package interruptible.

    PYTHON extension-kit/cython/tests/test_interruptible_cython.py

PYTHON needs Cython and setuptools.  What is built goes to $INTERRUPTIBLE_TEST_DIR, or to a
temporary folder.  On an interpreter without _interrupts everything runs twice, the
second time with the table that extension-kit/tests/fake_interrupts.c pretends to have.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
KIT = HERE.parent.parent
SOURCES = sorted((HERE / 'nothing_done').glob('*.pyx'))

DIR = LIB = WITH = WITHOUT = None
REPORT = ''

# What a child runs first.
START = '''
import json, os, signal, sys, time
lib, tests, folder, backend = sys.argv[1:5]
sys.path[:0] = [folder, lib, tests]
if backend == 'fake':
    import signals
    signals.use_fake()
    signals.set_handler(signal.SIGINT, signal.default_int_handler)
else:
    signal.signal(signal.SIGINT, signal.default_int_handler)
'''

RESULTS = START + '''
module = __import__(sys.argv[5])
for name in sorted(vars(module)):
    function = getattr(module, name)
    if name[0] != '_' and type(function).__name__ == 'cython_function_or_method' \\
            and function.__module__ == module.__name__ \\
            and name not in ('Account', 'ticks', 'cleanup'):
        print(name, function(module.SMALL))
'''

INTERRUPTED = START + '''
module = __import__(sys.argv[5])
for name, size in module.ENDLESS:
    try:
        print('go', name, flush=True)
        getattr(module, name)(size)
        print('came to an end', name, flush=True)
    except KeyboardInterrupt:
        ended = time.monotonic()
        print(json.dumps([name, ended]), flush=True)
'''


def python(code, *arguments, **options):
    return [sys.executable, '-c', code, *map(str, arguments)]


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=900, **options)
    if done.returncode:
        raise AssertionError(f'{command} ended with {done.returncode}:\n'
                             f'{done.stdout}{done.stderr}')
    return done


def child_path(*folders):
    path = os.pathsep.join(map(str, folders))
    old = os.environ.get('PYTHONPATH')
    return {**os.environ, 'PYTHONPATH': path + (os.pathsep + old if old else '')}


def native():
    try:
        from _interrupts import C_API
    except ImportError:
        return False
    return True


def backends():
    # An interpreter that has the module needs its own, with or without the table.
    try:
        import _interrupts      # noqa: F401
    except ImportError:
        return ['own', 'fake']
    return ['own']


def setUpModule():
    global DIR, LIB, WITH, WITHOUT, REPORT
    DIR = os.environ.get('INTERRUPTIBLE_TEST_DIR')
    if DIR:
        os.makedirs(DIR, exist_ok=True)
    else:
        DIR = tempfile.mkdtemp(prefix='interruptible-test-')
        unittest.addModuleCleanup(shutil.rmtree, DIR, ignore_errors=True)
    DIR = Path(DIR).resolve()
    LIB, WITH, WITHOUT = DIR / 'lib', DIR / 'with', DIR / 'without'
    run([sys.executable, HERE.parent / 'setup.py', '-q', 'build', '--build-lib', LIB],
        env={**os.environ, 'INTERRUPTIBLE_BUILD': str(DIR / 'build')})
    # Nothing may be written beside the sources: compile copies.
    copies = DIR / 'sources'
    shutil.copytree(HERE / 'nothing_done', copies, dirs_exist_ok=True)
    files = [copies / source.name for source in SOURCES]
    REPORT = run([sys.executable, '-m', 'interruptible.compile', '-v', '--build',
                  '-o', WITH, *files], env=child_path(LIB)).stderr
    # The same without the step; and the module that uses the package.
    build = '''
import sys
from setuptools import Distribution, Extension
from Cython.Build import cythonize
lib, out, *files = sys.argv[1:]
extensions = [Extension(file.rpartition('/')[2][:-4], [file], include_dirs=[
    lib + '/interruptible/include']) for file in files]
command = Distribution({'name': 'plain', 'ext_modules': cythonize(
    extensions, build_dir=out + '/c', quiet=True, include_path=[lib],
    force=True)}).get_command_obj('build_ext')
command.build_lib, command.build_temp = out, out + '/objects'
command.ensure_finalized()
command.run()
'''
    run(python(build, LIB, WITHOUT, *files), env=child_path(LIB))
    run(python(build, LIB, LIB, shutil.copy(HERE / 'api.pyx', copies)), env=child_path(LIB))
    if not native():
        run([*sysconfig.get_config_var('CC').split(), '-shared', '-fPIC', '-pthread',
             '-I', sysconfig.get_paths()['include'],
             '-I', Path(sysconfig.get_config_h_filename()).parent,
             KIT / 'tests' / 'fake_interrupts.c', '-o',
             LIB / ('fake_interrupts' + sysconfig.get_config_var('EXT_SUFFIX'))])


def arguments(folder, backend):
    return LIB, KIT / 'tests', folder, backend


class Child:
    """Calls that do not end by themselves, each interrupted from outside."""

    def __init__(self, folder, backend, module, code=INTERRUPTED):
        self.process = subprocess.Popen(
            python(code, *arguments(folder, backend), module), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # Whatever this test was started with.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def line(self, seconds=60):
        watch = threading.Timer(seconds, self.process.kill)
        watch.start()
        try:
            return self.process.stdout.readline().strip()
        finally:
            watch.cancel()

    def interrupt(self):
        sent = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return sent

    def close(self):
        self.process.kill()
        self.process.communicate()


class Step(unittest.TestCase):
    """Code whose author did nothing."""

    def test_same_results(self):
        for source in SOURCES:
            for backend in backends():
                with self.subTest(source.stem, backend=backend):
                    got, expected = (
                        run(python(RESULTS, *arguments(folder, backend), source.stem)).stdout
                        for folder in (WITH, WITHOUT))
                    self.assertTrue(expected)
                    self.assertEqual(got, expected)

    def test_interrupted(self):
        for backend in backends():
            late = []
            for source in SOURCES:
                late += self.interrupt_all(WITH, backend, source.stem)
            print(f'{backend}: {len(late)} functions interrupted, after '
                  f'{statistics.median(late) * 1e3:.1f} ms (median), '
                  f'{max(late) * 1e3:.1f} ms (longest)', file=sys.stderr)
            self.assertLess(statistics.median(late), 0.1)

    def interrupt_all(self, folder, backend, module):
        late = []
        child = Child(folder, backend, module)
        try:
            while line := child.line():
                self.assertRegex(line, '^go ')
                time.sleep(0.1)         # not for a race: any moment is as good
                sent = child.interrupt()
                line = child.line()
                with self.subTest(module, backend=backend):
                    self.assertRegex(line, r'^\[', f'after {line}')
                    late.append(json.loads(line)[1] - sent)
                    # Walking over the rest of a long prange takes its time.
                    self.assertLess(late[-1], 10 if 'nested' in line else 2, line)
            self.assertEqual(child.process.wait(60), 0)
            self.assertEqual(child.process.stderr.read(), '')
        finally:
            child.close()
            child.process.stdout.close()
        return late

    def test_without_the_step(self):
        # What the others prove: without the step it goes on.
        child = Child(WITHOUT, 'own', 'without_gil')
        self.addCleanup(child.close)
        self.assertEqual(child.line(), 'go block')
        time.sleep(0.5)         # were it too short, the test would fail
        child.interrupt()
        self.assertEqual(child.line(seconds=2), '')
        self.assertEqual(child.process.wait(60), -signal.SIGKILL)

    def test_cleanup_comes_to_its_end(self):
        code = START + '''
import careful
print('go', flush=True)
try:
    if sys.argv[5] == 'work':
        careful.cleanup(10**15, 100_000_000)
    else:
        careful.cleanup(1, 1_000_000_000)
    for _ in range(100):
        pass                            # it has waited
except KeyboardInterrupt:
    print(careful.steps)
'''
        for backend in backends():
            for where in 'work', 'cleaning':
                with self.subTest(backend=backend, where=where):
                    child = Child(WITH, backend, where, code)
                    self.addCleanup(child.close)
                    self.assertEqual(child.line(), 'go')
                    time.sleep(0.05)
                    child.interrupt()
                    if where == 'work':
                        time.sleep(0.01)
                    self.assertEqual(child.line(), "['clean']")
                    self.assertEqual(child.process.stderr.read(), '')

    def test_report(self):
        self.assertRegex(REPORT, r'plain_loops\.pyx:\d+: loop in plain_loops\.for_range: '
                                 r'check \(gil\)')
        for reason in ('without_gil.silent: no check: the function is noexcept',
                       '__exit__: no check: __exit__ is cleanup',
                       '__dealloc__: no check: __dealloc__ is cleanup',
                       'caught: no check: in a finally clause'):
            self.assertIn(reason, REPORT)
        self.assertRegex(REPORT, r'\d+ of \d+ loops have a check')
        print(REPORT[REPORT.index('loops have') - 10:], file=sys.stderr)

    def compile(self, *words, start=''):
        code = start + 'import sys; from interruptible.compile.__main__ import main; ' \
                       'sys.exit(main(sys.argv[1:]))'
        return subprocess.run(
            python(code, '-o', DIR / 'other', *words), env=child_path(LIB),
            capture_output=True, text=True, timeout=300)

    def test_unknown_cython(self):
        done = self.compile(DIR / 'sources' / 'careful.pyx',
                            start="import Cython; Cython.__version__ = '9.1.2'\n")
        self.assertEqual(done.returncode, 2)
        self.assertIn('Cython 9.1.2', done.stderr)
        self.assertNotIn('Traceback', done.stderr)

    def test_cython_is_built_differently(self):
        done = self.compile(
            DIR / 'sources' / 'careful.pyx',
            start='import Cython.Compiler.Nodes as n; del n.ParallelStatNode.restore_labels\n')
        self.assertEqual(done.returncode, 2)
        self.assertIn('has no ParallelStatNode.restore_labels', done.stderr)

    def test_exclude_and_all(self):
        careful = DIR / 'sources' / 'careful.pyx'
        self.assertEqual(self.compile('--all', careful).returncode, 0)
        done = self.compile('--all', '--exclude', 'careful.work', careful)
        self.assertEqual(done.returncode, 3)
        self.assertIn('careful.work: no check: excluded by the caller', done.stderr)

    def test_nothing_stays(self):
        code = '''
from Cython.Compiler import Pipeline
from interruptible.compile import inserting
before = Pipeline.create_pyx_pipeline
with inserting():
    assert Pipeline.create_pyx_pipeline is not before
assert Pipeline.create_pyx_pipeline is before
'''
        run(python(code), env=child_path(LIB))


class Api(unittest.TestCase):
    """Code whose author uses the package."""

    def test_interrupted(self):
        for backend in backends():
            late = Step.interrupt_all(self, LIB, backend, 'api')
            self.assertEqual(len(late), 5)
            self.assertLess(statistics.median(late), 0.1)

    def child(self, code, backend):
        return run(python(START + code, *arguments(LIB, backend))).stdout.split('\n')[0]

    def test_masks(self):
        for call in 'pressed_in_masked(log)', 'pressed_in_masked(log, soft=True)', \
                'pressed_in_mask(log)':
            for backend in backends():
                with self.subTest(call, backend=backend):
                    self.assertEqual(self.child(f'''
import api
log = []
try:
    api.{call}
except KeyboardInterrupt:
    log.append('raised')
print(log)
''', backend), "['masked', 'raised']")

    def test_misuse(self):
        for backend in backends():
            self.assertEqual(self.child('''
import api, interruptible, threading
said = []
def wrong(call, *arguments):
    try:
        call(*arguments)
    except RuntimeError:
        said.append('right')
wrong(api.unmask_only)
mask = interruptible.masked()
wrong(mask.__exit__, None, None, None)
mask.__enter__()
thread = threading.Thread(target=wrong, args=(mask.__exit__, None, None, None))
thread.start()
thread.join()
mask.__exit__(None, None, None)
wrong(mask.__exit__, None, None, None)
with mask:
    with mask:
        pass
print(said)
''', backend), str(['right'] * 4))

    def test_backend(self):
        for backend in backends():
            expected = 'native' if backend == 'fake' or native() else 'fallback'
            self.assertEqual(self.child('''
import api, interruptible
assert interruptible.reason()
interruptible.check()
api.implicit(10)
try:
    interruptible.require_native()
    api.require_native()
    print(interruptible.backend(), api.backend(), 'is native')
except ImportError as error:
    print(interruptible.backend(), api.backend(), 'this one cannot' in str(error))
''', backend), f'{expected} {expected} ' + ('True' if expected == 'fallback'
                                            else 'is native'))

    def test_other_threads(self):
        # A check off the main thread must not raise what is the main thread's.
        for backend in backends():
            self.assertEqual(self.child('''
import api, threading
def target():
    api.implicit(100_000)
    said.append('through')
said = []
threads = [threading.Thread(target=target) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(said))
''', backend), '4')

    def test_package_is_not_needed_at_run_time(self):
        # What the step has compiled runs without the package.
        code = '''
import sys
sys.path.insert(0, sys.argv[1])
sys.modules['interruptible'] = None
import plain_loops
print(plain_loops.for_range(10))
'''
        self.assertEqual(run(python(code, WITH)).stdout.strip(), '33')


if __name__ == '__main__':
    unittest.main()
