"""Builds the kit's wheels, installs them, and tests what is installed.

    PYTHON extension-kit/tests/wheels.py --out DIR [--python PATH ...]
                                         [--only c,cython,rust] [--full]

For each interpreter: the package interruptible and the three samples as
wheels, the samples' tests and the Rust crate's in a fresh environment, and the
tests of interruptible.h, compiled for it.  Rust makes one wheel for several
versions; it is built once.  Where one interpreter has masks and another of its
version has not, each also gets the wheels that the other has built: one binary
is for both.

An interpreter without a GIL (3.13t) counts as a version of its own: there is no
limited API, so its wheels are for no other, in Rust, too.  None of the modules
may switch the GIL on.

Needs a C compiler, cargo for Rust, and the package index that pip is
configured for; what was installed is used again.  Exits with 1 if anything has
failed, and with 2 if it could not find out.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

TESTS = pathlib.Path(__file__).resolve().parent
KIT = TESTS.parent

# What the wheels are built with.  Cython: the version that the compile step
# has been tried with.
TOOLS = {'c': ['pip', 'setuptools>=70'],
         'cython': ['pip', 'setuptools>=70', 'cython==3.3.1'],
         'rust': ['pip', 'maturin>=1.7,<2']}

SOURCES = {'sample_c': KIT / 'samples' / 'c',
           'interruptible': KIT / 'cython',
           'sample_cython': KIT / 'samples' / 'cython',
           'sample_rust': KIT / 'samples' / 'rust',
           'interruptible_test': KIT / 'rust' / 'test-module'}

MODULES = {'c': ['sample_c'], 'cython': ['interruptible', 'sample_cython'],
           'rust': ['sample_rust', 'interruptible_test']}

# From which version on one wheel is for all that have a GIL.
ABI3 = {'sample_rust': (3, 11), 'interruptible_test': (3, 10)}

# So many interpreters are built for, or tested, at a time.  The tests allow
# for a machine that is busy.
LANES = 2

# Seconds for a step; one that hangs must not do so for ever.
TIMEOUT = 900

# In an interpreter: what it is, and whether modules can be built for it.
PROBE = '''
import json, os, sys, sysconfig
if sys.implementation.name != 'cpython' or sys.version_info < (3, 10):
    sys.exit('not CPython 3.10 or newer, but '
             f'{sys.implementation.name} {sys.version.split()[0]}')
sys.path.insert(0, sys.argv[1])
import build
folders = [flag[2:] for flag in build.include_flags()]
missing = [name for name in ('Python.h', 'pyconfig.h') if not any(
    os.path.isfile(os.path.join(folder, name)) for folder in folders)]
if missing:
    sys.exit(f'it has no {missing[0]} in {", ".join(folders)}')
try:
    from _interrupts import C_API
except ImportError:
    native = False
else:
    native = True
print(json.dumps({
    'executable': sys.executable, 'version': sys.version_info[:3],
    'native': native, 'pyo3_config': build.pyo3_config(),
    'free_threaded': bool(sysconfig.get_config_var('Py_GIL_DISABLED'))}))
'''

# In an environment: is it the installed module that is imported, and can it do
# without a GIL?  Its backend.
LOADS = '''
import importlib, os, sys, sysconfig
name, prefix = sys.argv[1:]
module = importlib.import_module(name)
if sysconfig.get_config_var('Py_GIL_DISABLED') and sys._is_gil_enabled():
    sys.exit(f'{name} switches the GIL on')
if not os.path.realpath(module.__file__).startswith(prefix + os.sep):
    sys.exit(f'{module.__file__} is not in {prefix}')
if name == 'interruptible_test':
    module.import_(False)
    print(module.backend()[0])
else:
    print(module.backend())
'''

# In an environment: what the package has besides its backend.
PACKAGE = '''
import os, interruptible
include = interruptible.get_include()
for name in 'interruptible.h', 'interruptible_cython.h':
    assert os.path.isfile(os.path.join(include, name)), name
assert interruptible.reason()
with interruptible.masked(), interruptible.masked(soft=True):
    interruptible.check()
try:
    interruptible.masked().__exit__(None, None, None)
except RuntimeError:
    pass
else:
    raise AssertionError('a mask was left that was not entered')
try:
    interruptible.require_native()
except ImportError:
    assert interruptible.backend() == 'fallback'
else:
    assert interruptible.backend() == 'native'
'''

# The compile step of the installed package: a loop whose author did nothing...
LOOP = '''# cython: language_level=3
def endless():
    cdef unsigned long i = 0
    while True:
        i += 1
'''

# ...is interrupted.
INTERRUPT_LOOP = '''
import signal, sys
class Stop(Exception):
    pass
def stop(signum, frame):
    raise Stop
signal.signal(signal.SIGALRM, stop)
sys.path.insert(0, sys.argv[1])
import loop
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    loop.endless()
except Stop:
    pass
else:
    sys.exit('the loop came to an end')
'''


class Failed(Exception):
    """Something that was tested does not hold."""


class CouldNot(Exception):
    """It is not known whether it does."""


out = None                      # where everything goes
started = time.monotonic()
running = set()                 # processes, to be ended with us
running_lock = threading.Lock()
ending = threading.Event()      # no more are to be started


def progress(message):
    print(f'[{time.monotonic() - started:4.0f} s] {message}', flush=True)


def environment(**more):
    # What is tested must not depend on how the caller's own Python or cargo
    # are set up; where packages come from does.
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(('PYTHON', 'PYO3_', 'CARGO_TARGET',
                                  'MATURIN_', 'INTERRUPTIBLE_', 'SAMPLE_'))
           and key not in {'LC_ALL', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_USER',
                           'PIP_REQUIRE_VIRTUALENV', 'VIRTUAL_ENV'}}
    env.update(LANG='C.UTF-8', PYTHONNOUSERSITE='1',
               PYTHONDONTWRITEBYTECODE='1', TMPDIR=str(out / 'tmp'),
               PIP_DISABLE_PIP_VERSION_CHECK='1',
               PIP_ROOT_USER_ACTION='ignore')
    env.update((key, str(value)) for key, value in more.items())
    return env


def joined(*paths):
    return os.pathsep.join(map(str, paths))


def run(command, log, *, env=None, timeout=TIMEOUT):
    """What the command has printed; all of it also goes to a log."""
    command = [str(word) for word in command]
    process = subprocess.Popen(
        command, env=env or environment(), cwd=out, encoding='utf-8',
        errors='backslashreplace', stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True)
    with running_lock:
        running.add(process)
    if ending.is_set():
        kill(process)
    status = None
    try:
        said, _ = process.communicate(timeout=timeout)
        status = process.returncode
    except subprocess.TimeoutExpired:
        kill(process)
        said, _ = process.communicate()
    finally:
        with running_lock:
            running.discard(process)
    if ending.is_set():
        raise CouldNot('it was told to end')
    log = out / 'logs' / f'{log}.log'
    with open(log, 'a', encoding='utf-8') as file:
        file.write(f'+ {shlex.join(command)}\n{said}\n')
    if status == 0:
        return said
    reason = (f'hangs: ended after {timeout} s' if status is None
              else f'status {status}')
    tail = '\n'.join(f'    {line}' for line in said.splitlines()[-15:])
    shown = shlex.join(command).splitlines()[0][:160]
    progress(f'{shown}: {reason}\n{tail}')
    raise Failed(f'{reason}, see {log}')


def kill(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


# --- The interpreters ---

class Python:

    def __init__(self, path):
        found = shutil.which(path)
        if found is None:
            raise CouldNot(f'there is no program {path}')
        try:
            done = subprocess.run(
                [os.path.abspath(found), '-B', '-c', PROBE, TESTS],
                env=environment(), capture_output=True, text=True,
                stdin=subprocess.DEVNULL, timeout=60)
            told = json.loads(done.stdout) if done.returncode == 0 else None
        except (OSError, ValueError, subprocess.TimeoutExpired):
            raise CouldNot(f'{path} is not a Python that works') from None
        if told is None:
            last = (done.stderr.strip().splitlines() or ['it fails'])[-1]
            raise CouldNot(f'{path} cannot be used: {last}')
        self.executable = told['executable']
        self.version = tuple(told['version'])
        self.native = told['native']
        self.pyo3_config = told['pyo3_config']
        self.free_threaded = told['free_threaded']
        abi = 't' if self.free_threaded else ''
        # As in the names of its folders.
        self.minor = '{}.{}'.format(*self.version) + abi
        self.name = '.'.join(map(str, self.version)) + abi
        if self.native:
            self.name += '-native'
        self.backend = 'native' if self.native else 'fallback'
        self.tools = out / 'tools' / self.minor

    def takes_abi3(self, module):
        return not self.free_threaded and self.version >= ABI3[module]

    @property
    def helpers(self):
        return out / 'helpers' / self.name

    def build_environment(self, *paths, **more):
        """With the tools of this version, which are not installed in it."""
        return environment(
            PYTHONPATH=joined(*paths, self.tools),
            PATH=joined(self.tools / 'bin', os.environ.get('PATH', '')),
            **more)


class Environment:
    """A fresh one, made by this interpreter: only wheels get into it."""

    def __init__(self, python, name):
        self.python = python
        self.folder = out / 'environments' / name
        self.log = f'test-{name}'
        run([python.executable, '-m', 'venv', '--clear', '--without-pip',
             self.folder], self.log)
        self.executable = self.folder / 'bin' / 'python'
        self.site = (self.folder / 'lib' / f'python{python.minor}' /
                     'site-packages')

    def install(self, wheel):
        # An interpreter that runs where it was built has no pip: that of the
        # tools does it.
        run([self.python.executable, '-m', 'pip', '--python', self.executable,
             'install', '--no-index', '--no-deps', wheel], self.log,
            env=self.python.build_environment())

    def code(self, code, *arguments):
        return run([self.executable, '-I', '-B', '-c', code, *arguments],
                   self.log, timeout=60).strip()

    def check_backend(self, module):
        backend = self.code(LOADS, module, self.folder)
        if backend != self.python.backend:
            raise Failed(f'{module} is {backend}, and should be '
                         f'{self.python.backend}')

    def check_package(self):
        """The package interruptible: how many things were looked at."""
        self.check_backend('interruptible')
        self.code(PACKAGE)
        folder = self.folder / 'loop'
        folder.mkdir()
        source = folder / 'loop.pyx'
        source.write_text(LOOP)
        # By the interpreter itself, which knows where its headers are.
        run([self.python.executable, '-m', 'interruptible.compile', '--all',
             '--build', '-o', folder, source], self.log,
            env=self.python.build_environment(self.site))
        self.code(INTERRUPT_LOOP, folder)
        return 'import, headers, masks, compile step'

    def test(self, file, *arguments):
        before = time.monotonic()
        said = run([self.executable, KIT / file, *arguments], self.log,
                   env=environment(PYTHONPATH=self.python.helpers))
        took = time.monotonic() - before
        ran = re.search(r'^Ran (\d+) tests? in ', said, re.MULTILINE)
        skipped = re.search(r'^OK \(.*?skipped=(\d+)', said, re.MULTILINE)
        count = int(ran[1]) if ran else 0
        without = int(skipped[1]) if skipped else 0
        if count <= without:
            raise Failed(f'{file}: no test has run')
        return (f'{count - without} tests' +
                (f', {without} skipped' if without else '') +
                f', {took:.0f} s')


def find_pythons(paths):
    pythons = []
    for path in paths:
        python = Python(path)
        if any(python.executable == other.executable for other in pythons):
            continue
        name, number = python.name, 2
        while any(python.name == other.name for other in pythons):
            python.name = f'{name}-{number}'
            number += 1
        pythons.append(python)
        progress(f'{python.name}: {python.executable}')
    return pythons


# --- What they are built with ---

def install_tools(python, requirements):
    """For all interpreters of a version, beside them: none is changed."""
    stamp = python.tools / 'requirements'
    if stamp.exists() and \
            set(requirements) <= set(stamp.read_text().split()):
        return
    log = f'tools-{python.minor}'
    shutil.rmtree(python.tools, ignore_errors=True)
    venv = out / 'tmp' / f'pip-{python.minor}'
    pip = [venv / 'bin' / 'python', '-m', 'pip']
    try:
        run([python.executable, '-m', 'venv', '--clear', venv], log)
    except Failed:
        # Some systems take ensurepip out of it.
        pip = [python.executable, '-m', 'pip']
    try:
        run([*pip, 'install', '--retries', '1', '--target', python.tools,
             *requirements], log)
    except Failed as error:
        raise CouldNot(
            f'{" ".join(requirements)} cannot be installed for Python '
            f'{python.minor}; is the package index reachable? '
            f'{error}') from None
    finally:
        shutil.rmtree(venv, ignore_errors=True)
    stamp.write_text('\n'.join(requirements) + '\n')
    progress(f'{python.minor}: {", ".join(requirements)} installed')


def fetch_crates():
    if shutil.which('cargo') is None:
        raise CouldNot('cargo is missing; leave Rust out with --only c,cython')
    for folder in SOURCES['sample_rust'], KIT / 'rust':
        try:
            run(['cargo', 'fetch', '--locked', '--manifest-path',
                 folder / 'Cargo.toml'], 'cargo-fetch')
        except Failed as error:
            raise CouldNot('the crates cannot be fetched; is their registry '
                           f'reachable? {error}') from None


# --- The wheels ---

class Wheel:

    def __init__(self, path, made_by, seconds):
        self.path = path
        self.made_by = made_by
        self.seconds = seconds


def build_wheel(python, module, *paths, config=(), **variables):
    folder = out / 'wheels' / python.name / module
    shutil.rmtree(folder, ignore_errors=True)
    before = time.monotonic()
    run([python.executable, '-m', 'pip', 'wheel', '-v', '--no-build-isolation',
         '--no-deps', '--no-index', '--wheel-dir', folder, *config,
         SOURCES[module]], f'build-{python.name}',
        env=python.build_environment(*paths, **variables))
    seconds = time.monotonic() - before
    wheel, = folder.glob('*.whl')
    progress(f'{python.name}: {wheel.name} built in {seconds:.0f} s')
    return Wheel(wheel, python.name, seconds)


def build_rust_wheel(python, module):
    # One file for each kind of build, so that cargo has no reason to compile
    # everything again the next time.
    abi3 = python.takes_abi3(module)
    name = 'abi3' if abi3 else python.minor
    config = out / f'pyo3-config-{name}.txt'
    if not config.exists() or config.read_text() != python.pyo3_config:
        config.write_text(python.pyo3_config)
    return build_wheel(
        python, module,
        config=[] if abi3 else ['-C', 'build-args=--no-default-features'],
        PYO3_CONFIG_FILE=config, PYO3_BUILD_EXTENSION_MODULE='1',
        CARGO_TARGET_DIR=out / 'cargo')


def rust_builders(pythons, module):
    """{interpreter: the one that builds its wheel}."""
    # Those without masks first: of the others only one version is known.
    for_all = sorted((python for python in pythons
                      if python.takes_abi3(module)),
                     key=lambda python: python.native)
    builders = {python: for_all[0] for python in for_all}
    for python in pythons:
        if python not in builders:
            same = [other for other in builders
                    if other.minor == python.minor]
            builders[python] = builders[same[0]] if same else python
    return builders


def found(thing):
    """The thing, or what had failed when it was made."""
    if isinstance(thing, Failed):
        raise thing
    return thing


class Run:

    def __init__(self, pythons, parts, full):
        self.pythons = pythons
        self.parts = parts
        self.short = [] if full else ['--short']
        self.wheels = {}        # (interpreter, module): a Wheel, or an error
        self.environments = {}
        self.rows = []

    def in_lanes(self, jobs):
        """Does the jobs, some at a time; what they have returned, in order."""
        with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
            try:
                return [future.result() for future in
                        [pool.submit(job) for job in jobs]]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                stop_all()
                raise

    def prepare(self):
        builders = set()
        if 'rust' in self.parts:
            fetch_crates()
            for module in MODULES['rust']:
                builders |= set(rust_builders(self.pythons, module).values())
        rust = {python.minor for python in builders}
        first = {}
        for python in self.pythons:
            first.setdefault(python.minor, python)
        for minor, python in first.items():
            wanted = dict.fromkeys(TOOLS['c'])
            for part in self.parts:
                if part != 'rust' or minor in rust:
                    wanted.update(dict.fromkeys(TOOLS[part]))
            install_tools(python, list(wanted))

    def build(self):
        jobs = [lambda python=python: self.build_for(python)
                for python in self.pythons]
        if 'rust' in self.parts:
            jobs.insert(0, self.build_rust)
        self.in_lanes(jobs)

    def build_for(self, python):
        try:
            self.environments[python] = Environment(python, python.name)
        except Failed as error:
            self.environments[python] = error
        self.attempt(python, 'helpers', self.build_helpers)
        if 'c' in self.parts:
            self.attempt(python, 'sample_c', build_wheel)
        if 'cython' in self.parts:
            self.attempt(python, 'interruptible', self.build_package)
            package = self.wheels[python, 'interruptible']
            if isinstance(package, Failed):
                self.wheels[python, 'sample_cython'] = Failed(
                    'needs the wheel interruptible')
                return
            # Against what is installed, as others would build theirs.
            self.attempt(python, 'sample_cython', build_wheel,
                         self.environments[python].site)

    def build_helpers(self, python, module):
        run([python.executable, TESTS / 'build.py', '--only', 'tests', '--out',
             python.helpers], f'build-{python.name}')

    def build_package(self, python, module):
        wheel = build_wheel(python, module)
        found(self.environments[python]).install(wheel.path)
        return wheel

    def attempt(self, python, module, build, *arguments):
        try:
            self.wheels[python, module] = build(python, module, *arguments)
        except Failed as error:
            self.wheels[python, module] = error

    def build_rust(self):
        for module in MODULES['rust']:
            builders = rust_builders(self.pythons, module)
            for builder in dict.fromkeys(builders.values()):
                self.attempt(builder, module, build_rust_wheel)
            for python, builder in builders.items():
                self.wheels[python, module] = self.wheels[builder, module]

    def test(self):
        jobs = [lambda python=python: list(self.test_on(python))
                for python in self.pythons]
        pairs = [(taker, maker)
                 for taker in self.pythons for maker in self.pythons
                 if taker.minor == maker.minor
                 and taker.native != maker.native]
        jobs += [lambda pair=pair: list(self.exchange(*pair))
                 for pair in pairs]
        for rows in self.in_lanes(jobs):
            self.rows += rows
        if not pairs:
            progress('no two interpreters of one version, with and without '
                     'masks: no wheels exchanged')

    def test_on(self, python):
        for part in self.parts:
            for module in MODULES[part]:
                yield self.row(python, module, self.test_wheel,
                               self.wheels[python, module])
        if 'c' in self.parts:
            yield self.row(python, 'interruptible.h', self.test_header,
                           self.wheels[python, 'helpers'])

    def test_wheel(self, python, module, wheel):
        environment = found(self.environments[python])
        # Without them tests would be skipped.
        found(self.wheels[python, 'helpers'])
        if module != 'interruptible':           # needed to build others
            environment.install(wheel.path)
        if module == 'interruptible':
            return environment.check_package()
        environment.check_backend(module)
        if module == 'interruptible_test':
            return environment.test('rust/tests/test_interruptible.py')
        return environment.test(
            'tests/test_samples.py', '--module', module,
            '--path', environment.site, *self.short)

    def test_header(self, python, module, nothing):
        return found(self.environments[python]).test(
            'tests/test_c.py', '--path', python.helpers)

    def exchange(self, taker, maker):
        """The wheels that the other one has built."""
        try:
            environment = Environment(taker, f'{taker.name}-from-{maker.name}')
        except Failed as error:
            environment = error
        for part in self.parts:
            if part == 'rust':
                continue        # one wheel for both already
            for module in MODULES[part]:
                yield self.row(taker, module, self.test_exchanged,
                               self.wheels[maker, module], environment)

    def test_exchanged(self, python, module, wheel, environment):
        found(environment).install(wheel.path)
        if module == 'interruptible':
            return environment.check_package()
        environment.check_backend(module)
        # Those that are quick, and depend on the backend.
        return environment.test(
            'tests/test_samples.py', '--module', module,
            '--path', environment.site, 'Results', 'Workers', 'OtherThreads')

    def row(self, python, module, test, wheel, *arguments):
        """One test of one wheel, one row of the table."""
        tag = by = seconds = ''
        if isinstance(wheel, Wheel):
            tag = '-'.join(wheel.path.stem.split('-')[2:])
            by, seconds = wheel.made_by, f'{wheel.seconds:.0f} s'
        try:
            if isinstance(wheel, Failed):
                raise Failed(f'not built: {wheel}')
            said, verdict = test(python, module, wheel, *arguments), 'passed'
        except Failed as error:
            said, verdict = str(error), 'FAILED'
        progress(f'{python.name}: {module}'
                 f'{f" built by {by}" if by else ""}: {verdict}: {said}')
        return (python.name, python.backend, module, tag, by, seconds, verdict,
                said)

    def failed(self):
        return sum(row[6] == 'FAILED' for row in self.rows)

    def table(self):
        rows = [('python', 'backend', 'module', 'wheel', 'built by', 'in',
                 '', 'tests'), *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows)]
        print()
        for row in rows:
            print('  '.join(map(str.ljust, row, widths)).rstrip())
        failed = self.failed()
        print(f'\n{len(self.rows) - failed} passed, {failed} failed, in '
              f'{time.monotonic() - started:.0f} s; logs: {out / "logs"}')


def stop_all():
    ending.set()
    with running_lock:
        for process in running:
            kill(process)


def main():
    global out
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', required=True, type=pathlib.Path,
                        metavar='DIR', help='where everything goes')
    parser.add_argument('--python', action='append', metavar='PATH',
                        help='an interpreter, CPython 3.10 or newer with '
                             'headers (default: the one that runs this)')
    parser.add_argument('--only', default=','.join(MODULES), metavar='PARTS',
                        help='some of c,cython,rust (default: all)')
    parser.add_argument('--full', action='store_true',
                        help='also the samples\' tests for leaks: a minute '
                             'more for each')
    options = parser.parse_args()
    parts = list(dict.fromkeys(options.only.split(',')))
    for part in parts:
        if part not in MODULES:
            parser.error(f'there is no part {part!r}; the parts are '
                         f'{", ".join(MODULES)}')
    # cargo's and maturin's words are not for every terminal.
    sys.stdout.reconfigure(errors='backslashreplace')
    # A shell lets what it starts in the background ignore it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(143))
    out = options.out.resolve()
    for folder in 'logs', 'tmp':
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir(parents=True)
    try:
        pythons = find_pythons(options.python or [sys.executable])
        work = Run(pythons, parts, options.full)
        work.prepare()
        work.build()
        work.test()
    except CouldNot as error:
        print(f'wheels.py: error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('wheels.py: interrupted', file=sys.stderr)
        sys.exit(130)
    finally:
        stop_all()
    work.table()
    sys.exit(1 if work.failed() else 0)


if __name__ == '__main__':
    main()
