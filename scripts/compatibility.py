"""Run third-party test suites on ours and on stock, and compare test by test.

Started by scripts/compatibility, which also has the help text.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

WORK_DIR = os.path.abspath("build/compatibility")
SCRIPTS = os.path.dirname(os.path.abspath(__file__))
SIDES = ("stock", "ours")

# Seconds for a suite; one that hangs must not do so for ever.
TIMEOUT = 3600

# More than this is no matter of flakiness.
MAX_RERUN = 40
RERUNS = 3


@dataclasses.dataclass
class Project:
    """What to install and what to run."""

    version: str  # "": it is no package, but a script of ours
    # What its own configuration names for its tests, without linters and the
    # like. All come as wheels: they were compiled against stock, which is the
    # point, and a build tree has no headers to compile others with.
    needs: list
    # Files and directories, relative to what the wheel installs or, if
    # anything is taken from there, to the source archive.
    tests: list
    from_source: tuple = ()
    # A script to be run there first.
    prepare: tuple = ()
    extra: str = ""
    options: tuple = ()
    # Not pytest, but this script of ours runs the tests.
    runner: str = ""
    # By the interpreter itself, as an environment made by one that was not
    # installed does not know where the headers are.
    beside: bool = False
    # Of what it needs, what has no wheel for free-threaded interpreters; the tests
    # that use it are skipped there.
    not_free_threaded: tuple = ()
    # Both sides must have the same tests: their names say what was seen.
    exact: bool = False
    environment: dict = dataclasses.field(default_factory=dict)


# Nothing here may use the network; tests that would are deselected.
PROJECTS = {
    "trio": Project(
        "0.35.0",
        ["pytest", "trustme", "pyopenssl", "astor", "async_generator"],
        tests=["trio"],
        # As Trio's documentation for redistributors says, and its slow tests.
        options=("-p", "trio._tests.pytest_plugin",
                 "--skip-optional-imports", "--run-slow"),
        not_free_threaded=("trustme", "pyopenssl"),
    ),
    "anyio": Project(
        "4.16.0",
        ["trio", "blockbuster", "coverage", "hypothesis", "psutil", "pytest",
         "pytest-mock", "pytest-timeout", "trustme", "truststore", "uvloop"],
        tests=["tests"],
        from_source=("tests", "pyproject.toml"),
        options=("-m", "not network"),
        environment={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    ),
    "greenlet": Project(
        "3.5.6", ["pytest", "objgraph", "psutil"],
        tests=["greenlet"],
    ),
    "gevent": Project(
        # All its files.
        "26.9.0", ["psutil"],
        extra="[test]",
        tests=[],
        runner="compatibility_gevent.py",
        environment={"GEVENTTEST_USE_RESOURCES": "-network"},
    ),
    "pytest": Project(
        "9.2.0",
        ["argcomplete", "attrs", "hypothesis", "mock", "pexpect",
         "pytest-xdist", "pyyaml", "requests", "setuptools", "xmlschema"],
        tests=["testing"],
        from_source=("testing", "pyproject.toml", "README.rst"),
        not_free_threaded=("pyyaml",),
        environment={"PYTHONWARNDEFAULTENCODING": "1"},
    ),
    "pytest-timeout": Project(
        "2.4.0", ["pytest", "pexpect", "pytest-cov"],
        tests=["test_pytest_timeout.py"],
        from_source=("test_pytest_timeout.py", "tox.ini"),
    ),
    "coverage": Project(
        # It does not run on a newer pytest.
        "7.17.3", ["pytest==9.1.1", "pytest-xdist", "hypothesis", "flaky"],
        tests=["tests"],
        from_source=("tests", "tools", "pyproject.toml", "tox.ini",
                     "coverage/__main__.py"),
        prepare=("tools/igor.py", "zip_mods"),
        # Those build and install the project from all of its source.
        options=("-n", "0", "--ignore-glob", "*/test_venv.py",
                 "--ignore-glob", "*/test_setup.py"),
    ),
    "numpy": Project(
        "2.4.6", ["pytest", "hypothesis"],
        # All of numpy takes half an hour; these call back into Python, raise,
        # use threads and hold references across calls.
        tests=[f"numpy/_core/tests/test_{name}.py" for name in (
            "multiarray", "ufunc", "errstate", "multithreading", "nditer",
            "overrides", "regression")],
        # A test that needs more is skipped. The two sides share the memory.
        environment={"NPY_AVAILABLE_MEM": "2 GB"},
    ),
    "cython": Project(
        # The compiler from the wheel; what it generates is compiled here,
        # against the headers of each side.
        "3.3.1", ["setuptools"],
        tests=[],
        from_source=("runtests.py", "tests", "Cython/Runtime"),
        runner="compatibility_cython.py",
        beside=True,
        environment={"CFLAGS": "-O0 -w", "PYTHONDONTWRITEBYTECODE": "1"},
    ),
    "polars": Project(
        # Its tests are published nowhere on the index. These are the examples
        # in its documentation, which its own tests run, too.
        "2.1.0", ["pytest", "numpy", "pandas", "pyarrow", "pydantic", "tzdata"],
        tests=["polars"],
        options=("--doctest-modules", "--doctest-continue-on-failure",
                 "--doctest-ignore-import-errors", "--polars-doctests", "-o",
                 "doctest_optionflags=NORMALIZE_WHITESPACE ELLIPSIS"),
        environment={"POLARS_MAX_THREADS": "2"},
    ),
    "narwhals": Project(
        # Written in Python, above Polars: of each of its tests that takes a
        # data frame, the variants with one of Polars.
        "2.29.0", ["polars==2.1.0", "pandas", "pyarrow", "duckdb", "sqlframe",
                   "sqlparse", "pytest", "pytest-env", "hypothesis",
                   "packaging", "tzdata"],
        tests=["tests"],
        from_source=("tests", "pyproject.toml"),
        options=("--constructors", "polars[eager],polars[lazy]"),
        environment={"POLARS_MAX_THREADS": "2"},
    ),
    "pydantic-core": Project(
        # Written in Rust, with PyO3.
        "2.50.5",
        ["pytest", "coverage", "dirty-equals", "hypothesis", "inline-snapshot",
         "pytest-benchmark", "pytest-mock", "pytest-run-parallel",
         "pytest-timeout", "python-dateutil", "typing-inspection", "tzdata"],
        tests=["tests"],
        from_source=("tests", "pyproject.toml"),
        # The first needs linters; the other has paths in its name.
        options=("--ignore-glob", "*/test_docstrings.py",
                 "-k", "not site-packages"),
        # Some names have the elements of a set in them.
        environment={"PYTHONHASHSEED": "0"},
    ),
    "signals": Project(
        # No suite: what a Ctrl-C does to these when it comes in the middle.
        "", ["numpy==2.4.6", "polars==2.1.0", "pydantic==2.14.4",
             "watchfiles==1.3.0"],
        tests=[],
        runner="compatibility_signals.py",
        exact=True,
    ),
}


# Written in Python, and there is no wheel of it.
NO_WHEEL = "forbiddenfruit"


class CouldNotRun(Exception):
    pass


class NotSupported(Exception):
    """There is no wheel for this kind of interpreter."""


def clean_environment(**more):
    # PYTHON* variables would change what is tested. The scripts themselves
    # speak the C locale; the packages expect UTF-8. With CI set, some suites
    # print and skip other things.
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("PYTHON", "PYTEST", "COVERAGE"))
           and key not in {"LC_ALL", "CI"}}
    return env | {"LANG": "C.UTF-8"} | more


# -- installing ---------------------------------------------------------------

@dataclasses.dataclass
class Python:
    """An interpreter, and what kind it is of."""

    path: str
    # Names the kind: "cpython-313-x86_64-linux-gnu", "cpython-313t-...".
    abi: str
    # "t" if it is free-threaded.
    flags: str
    # Where its environments have their packages, below their directory.
    purelib: str

    @classmethod
    def ask(cls, path):
        program = ("import json, sys, sysconfig\n"
                   "print(json.dumps([\n"
                   "    sysconfig.get_config_var('EXT_SUFFIX').split('.')[1],\n"
                   "    sys.abiflags,\n"
                   "    sysconfig.get_path('purelib', 'venv', {'base': ''})]))")
        try:
            output = subprocess.check_output([path, "-I", "-c", program],
                                             env=clean_environment())
        except (OSError, subprocess.CalledProcessError) as error:
            raise CouldNotRun(f"this interpreter does not work: {error}")
        return cls(path, *json.loads(output))


class Environment:
    """A virtual environment for a project on one side, and its tests."""

    def __init__(self, name, side, base):
        self.name = name
        self.project = PROJECTS[name]
        self.base = base
        # Wheels for one kind of interpreter are none for another.
        self.path = f"{WORK_DIR}/{name}/{side}"
        if base.flags:
            self.path += f"-{base.abi}"
        self.python = f"{self.path}/bin/python"
        self.site = f"{self.path}{base.purelib}"
        self.source = f"{self.path}/source"
        self.log = f"{self.path}.log"
        self.record = f"{self.path}.outcomes"

    def is_made_from(self, requirements):
        try:
            with open(f"{self.path}/made-from") as file:
                return json.load(file) == self.origin(requirements)
        except FileNotFoundError:
            return False

    def origin(self, requirements):
        return [os.path.realpath(self.base.path), requirements,
                *self.project.from_source, *self.project.prepare]

    def make(self, pip, requirements):
        run_step([self.base.path, "-m", "venv", "--clear", "--without-pip",
                  self.path], self.log)
        try:
            run_step([*pip, "--python", self.python, "install",
                      "--only-binary", ":all:", "--no-binary", NO_WHEEL,
                      *requirements], self.log)
        except CouldNotRun:
            if self.base.flags and (package := self.has_no_wheel()):
                raise NotSupported(f"no wheel of {package} for {self.base.abi}")
            raise
        if self.project.from_source:
            self.unpack_source(pip)
        if self.project.prepare:
            run_step([self.python, *self.project.prepare], self.log,
                     cwd=self.source)
        with open(f"{self.path}/made-from", "w") as file:
            json.dump(self.origin(requirements), file)

    def has_no_wheel(self):
        """What pip has not found though it could reach the index, or None."""
        with open(self.log, errors="replace") as log:
            text = log.read()
        match = (re.search(r"No matching distribution found for (\S+)", text)
                 or re.search(r"^ +\S+ \S+ depends on (\S+)\n(?s:.*)"
                              r"ResolutionImpossible", text, re.M))
        return match and "Retrying (" not in text and match[1]

    def unpack_source(self, pip):
        top = f"{self.name.replace('-', '_')}-{self.project.version}"
        downloads = f"{WORK_DIR}/{self.name}"
        archive = f"{downloads}/{top}.tar.gz"
        if not os.path.exists(archive):
            # pip also fetches the build system and asks it for the archive's
            # metadata. Nothing is built.
            run_step([*pip, "download", "--no-deps", "--no-binary", self.name,
                      "--dest", downloads,
                      f"{self.name}=={self.project.version}"], self.log)
        wanted = tuple(f"{name}/" for name in self.project.from_source)
        with tarfile.open(archive) as tar:
            members = []
            for member in tar.getmembers():
                _, _, member.name = member.name.partition("/")
                if f"{member.name}/".startswith(wanted):
                    members.append(member)
            tar.extractall(self.source, members, filter="data")

    def installed(self):
        """What is installed, as exact requirements."""
        program = ("from importlib.metadata import distributions\n"
                   "for one in distributions():\n"
                   "    print(f'{one.name}=={one.version}')")
        return sorted(subprocess.check_output(
            [self.python, "-I", "-c", program], text=True,
            env=clean_environment()).split())

    def command(self, record, tests=()):
        """What runs all tests, or these, and writes the outcomes."""
        if self.project.runner:
            python = self.base.path if self.project.beside else self.python
            return [python, f"{SCRIPTS}/{self.project.runner}", record,
                    *{test.partition("::")[0]: None for test in tests}]
        command = [self.python, "-P", "-m", "pytest", "-rf",
                   "-p", "compatibility_pytest", "--record-outcomes", record,
                   "--rootdir", self.directory, *self.project.options]
        if not self.project.from_source:
            # Not the configuration of a directory above.
            command += ["-c", os.devnull]
        return command + [f"{self.directory}/{test}"
                          for test in tests or self.project.tests]

    @property
    def variables(self):
        result = dict(self.project.environment)
        if self.project.beside:
            result["PYTHONPATH"] = self.site
        return result

    @property
    def directory(self):
        """Where the tests are, and are run."""
        return self.source if self.project.from_source else self.site


def run_step(command, log_path, cwd=None):
    """Run a step of the installation with its output in a log."""
    with open(log_path, "w") as log:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log,
                                stderr=subprocess.STDOUT, cwd=cwd,
                                env=clean_environment()).returncode
    if status != 0:
        with open(log_path, errors="replace") as log:
            tail = "".join(log.readlines()[-15:])
        raise CouldNotRun(
            f"this ended with {status}:\n  {' '.join(command)}\n{tail}\n"
            "If that is because the package index cannot be reached, see "
            "'pip config list', and run this again: what has been installed "
            "is kept.")


def make_environments(names, pythons):
    """{(project, side): environment}, made where they are not up to date.

    And {project: reason} of those that cannot be installed there.
    """
    pip = []
    environments = {}
    not_supported = {}
    for name in names:
        os.makedirs(f"{WORK_DIR}/{name}", exist_ok=True)
        project = PROJECTS[name]
        requirements = [*project.needs]
        if pythons["stock"].flags:
            requirements = [package for package in requirements
                            if package not in project.not_free_threaded]
        if project.version:
            requirements.insert(0, f"{name}{project.extra}=={project.version}")
        for side in SIDES:
            environment = Environment(name, side, pythons[side])
            environments[name, side] = environment
            if not environment.is_made_from(requirements):
                start = time.monotonic()
                print(f"{name}: install on {side} ...", end=" ",
                      file=sys.stderr, flush=True)
                pip = pip or make_pip(pythons["stock"].path)
                try:
                    environment.make(pip, requirements)
                except NotSupported as reason:
                    print(reason, file=sys.stderr)
                    not_supported[name] = str(reason)
                    break
                print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
            if project.tests:
                shutil.copy(f"{SCRIPTS}/compatibility_pytest.py",
                            environment.site)
            # Ours gets what stock has got, to the version.
            requirements = environment.installed()
    return environments, not_supported


def make_pip(base_python):
    """A pip that installs into other environments, which need none then."""
    run_step([base_python, "-m", "venv", "--clear", f"{WORK_DIR}/pip"],
             f"{WORK_DIR}/pip.log")
    return [f"{WORK_DIR}/pip/bin/python", "-m", "pip",
            "--disable-pip-version-check"]


# -- running ------------------------------------------------------------------

# Of the phases of a test, and of tests of one name, the worst counts.
WORST_LAST = ["passed", "skipped", "started", "failed"]

# Stands for the suite as a whole: that its runner ended as it should.
WHOLE = "(the whole suite)"


class Run:
    """A suite, or some tests of it, on its way."""

    def __init__(self, environment, tests=(), suffix=""):
        self.record = f"{environment.record}{suffix}"
        self.log_path = f"{environment.log}{suffix}"
        # The file of an earlier run must not pass for ours.
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.record)
        # Short, because names of sockets are; of its own, because both sides
        # run at the same time.
        self.scratch = tempfile.mkdtemp(prefix="nit-")
        self.start = time.monotonic()
        with open(self.log_path, "w") as log:
            # A session of its own has no terminal, and is ended as a whole.
            self.process = subprocess.Popen(
                environment.command(self.record, tests), stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                cwd=environment.directory, start_new_session=True,
                env=clean_environment(
                    # As if activated: coverage's tests run "python".
                    PATH=f"{environment.path}/bin:{os.environ['PATH']}",
                    TMPDIR=self.scratch, **environment.variables))

    def wait(self, timeout):
        """Return whether it has ended."""
        if time.monotonic() - self.start > TIMEOUT:
            self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        return self.process.returncode is not None

    def kill(self):
        # Asked first: gevent's tests are in process groups of their own.
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def outcomes(self):
        """{test: (outcome, the name to run it by)} until now."""
        result = {}
        with contextlib.suppress(FileNotFoundError), open(self.record) as file:
            for line in file:
                if not line.endswith("\n"):
                    break
                test, outcome = json.loads(line)
                name = same_name(test)
                old = result.get(name, (outcome,))[0]
                if old == "started":
                    old = outcome
                result[name] = max(old, outcome, key=WORST_LAST.index), test
        return result


def same_name(test):
    """The name of a test without what differs between two runs of a suite.

    It may show the value of a parameter: addresses and UUIDs, and the table of
    a Rust program, with one entry per line, in no order.
    """
    name = re.sub(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8}(?:-[0-9a-f]+){4}", "0x...",
                  test)
    return re.sub(r"(?<=\{)(?:\\n *\"\w+\": \d+,)+",
                  lambda table: "".join(sorted(
                      re.findall(r"\\n[^,]*,", table[0]))), name)


def run_sides(title, environments, tests=(), suffix=""):
    """{side: outcomes} of a suite, or of `tests`.

    Several sides run at the same time: they have the same load beside them
    then, and it takes half as long.
    """
    progress = Progress(title)
    runs = {}
    try:
        for side, environment in environments.items():
            runs[side] = Run(environment, tests, suffix)
        while True:
            done = [run.wait(1) for run in runs.values()]
            progress.show(", ".join(f"{side} {len(run.outcomes())}"
                                    for side, run in runs.items()))
            if all(done):
                break
    finally:
        for run in runs.values():
            run.close()
        progress.finish()
    results = {}
    for side, run in runs.items():
        outcomes = run.outcomes()
        if not outcomes and side == "stock":
            raise CouldNotRun(f"{title} on stock ran no test; what it said is "
                              f"in {run.log_path}")
        # A test that did not end is what ended the suite.
        outcomes = {name: ("failed" if outcome == "started" else outcome, test)
                    for name, (outcome, test) in outcomes.items()}
        # Of pytest: all passed, or some failed.
        good = run.process.returncode in (0, 1)
        outcomes[WHOLE] = ("passed" if good else "failed", WHOLE)
        results[side] = outcomes
    return results


class Progress:
    """One line rewritten on a terminal; else a line every half a minute."""

    def __init__(self, title):
        self.title = title
        self.text = ""
        self.start = self.last_line = time.monotonic()
        self.tty = sys.stderr.isatty()

    def line(self):
        seconds = int(time.monotonic() - self.start)
        return f"{self.title}: {self.text}, {seconds // 60}:{seconds % 60:02}"

    def show(self, text):
        self.text = text
        if self.tty:
            print(f"\r\x1b[K{self.line()[:78]}", end="", file=sys.stderr,
                  flush=True)
        elif time.monotonic() - self.last_line >= 30:
            self.last_line = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def finish(self):
        print(("\r\x1b[K" if self.tty else "") + self.line(), file=sys.stderr,
              flush=True)


# -- comparing ----------------------------------------------------------------

def state(outcomes, name):
    return outcomes.get(name, ("not run", name))[0]


def is_worse(stock, ours):
    return ours != "passed" if stock == "passed" else (
        ours == "failed" and stock != "failed")


def differs(stock, ours, exact):
    return is_worse(stock, ours) or exact and stock == "not run"


def judge(environments, results):
    """What is worse on ours, run again alone: {test: verdict}."""
    exact = environments["ours"].project.exact
    worse = [name for name in results["stock"] | results["ours"]
             if differs(*(state(results[side], name) for side in SIDES),
                        exact)]
    verdicts = dict.fromkeys(worse, "REGRESSION")
    if len(worse) > MAX_RERUN:
        print(f"{len(worse)} tests came out worse: too many to run again",
              file=sys.stderr)
        return verdicts
    for name in worse:
        if exact:
            verdicts[name] = judge_again(environments, results, name)
            continue
        if name == WHOLE or any(name not in results[side] for side in SIDES):
            continue  # there is no test to run again
        bad = dict.fromkeys(SIDES, 0)
        for attempt in range(RERUNS):
            for side in SIDES:
                again = run_sides(
                    f"again, alone: {name}", {side: environments[side]},
                    [results[side][name][1]], f".again-{attempt + 1}")
                bad[side] += state(again[side], name) != "passed"
        counts = f"failed {bad['stock']} and {bad['ours']} times of {RERUNS}"
        if bad["ours"] and not bad["stock"]:
            verdicts[name] = f"REGRESSION, alone {counts}"
        else:
            verdicts[name] = f"flaky, alone {counts}"
    return verdicts


def judge_again(environments, results, name):
    """Whether something is seen on one side only, however often one looks."""
    if state(results["ours"], name) == "failed":
        return "REGRESSION"  # one lost in a thousand is one too many
    for attempt in range(RERUNS):
        again = run_sides(f"again, alone: {name}", environments, [name],
                          f".again-{attempt + 1}")
        states = [state(again[side], name) for side in SIDES]
        if not differs(*states, exact=True):
            return f"flaky, alike when run again {attempt + 1} times"
    return f"REGRESSION, alone {RERUNS} times of {RERUNS}"


COLUMNS = ("tests", "passed on both", "failed on both", "skipped on both",
           "flaky", "regressions", "other")


def summarize(results, verdicts):
    """The figures of a row of the table."""
    names = results["stock"] | results["ours"]
    pairs = [tuple(state(results[side], name) for side in SIDES)
             for name in names if name not in verdicts]
    alike = [pairs.count((outcome, outcome))
             for outcome in ("passed", "failed", "skipped")]
    regressions = sum("REGRESSION" in verdict for verdict in verdicts.values())
    return [len(names), *alike, len(verdicts) - regressions, regressions,
            len(pairs) - sum(alike)]


def print_table(rows):
    """rows: [(project, version, figures)]"""
    print(f"{'project':15} {'version':8}", *COLUMNS, sep="  ")
    for name, version, figures in rows:
        if isinstance(figures, str):
            print(f"{name:15} {version:8}  not supported: {figures}")
            continue
        print(f"{name:15} {version:8}",
              *(f"{figure:{len(column)}}"
                for column, figure in zip(COLUMNS, figures)), sep="  ")


def print_details(name, results, verdicts, file):
    """Each test that did not pass on both, or was not skipped on both."""
    for test in results["stock"] | results["ours"]:
        states = [state(results[side], test) for side in SIDES]
        if test in verdicts or states not in (["passed"] * 2, ["skipped"] * 2):
            print(f"{name}: {test}: stock {states[0]}, ours {states[1]}",
                  verdicts.get(test, ""), file=file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours", required=True)
    parser.add_argument("--stock", required=True)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("projects", nargs="*")
    options = parser.parse_args()
    names = options.projects or list(PROJECTS)
    if unknown := set(names) - PROJECTS.keys():
        print(f"scripts/compatibility: no such project: {', '.join(unknown)}; "
              f"there are {', '.join(PROJECTS)}", file=sys.stderr)
        return 2

    # A shell's background jobs start with SIGINT ignored. The suites would
    # inherit that, and their tests of Ctrl-C fail.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # And one that is told to end must not leave a suite running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    rows = []
    verdicts = {}
    os.makedirs(WORK_DIR, exist_ok=True)
    details_path = f"{WORK_DIR}/comparison.txt"
    try:
        pythons = {"ours": Python.ask(options.ours),
                   "stock": Python.ask(options.stock)}
        if pythons["ours"].abi != pythons["stock"].abi:
            raise CouldNotRun("these are of different kinds: "
                              f"{pythons['ours'].abi}, {pythons['stock'].abi}")
        environments, not_supported = make_environments(names, pythons)
        if options.install:
            return 0
        with open(details_path, "w") as details:
            for name in names:
                if name in not_supported:
                    rows.append((name, PROJECTS[name].version,
                                 not_supported[name]))
                    verdicts[name] = {}
                    continue
                sides = {side: environments[name, side] for side in SIDES}
                results = run_sides(name, sides)
                verdicts[name] = judge(sides, results)
                rows.append((name, PROJECTS[name].version,
                             summarize(results, verdicts[name])))
                print_details(name, results, verdicts[name], details)
                details.flush()
    except CouldNotRun as error:
        print(f"\nscripts/compatibility: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nscripts/compatibility: interrupted", file=sys.stderr)
        return 130
    finally:
        # What is known is worth having, however it ended.
        if rows:
            print_table(rows)

    for name in names:
        for test, verdict in verdicts[name].items():
            print(f"  {name}: {test}: {verdict}")
    print(f"\nEach test that did not pass is named in {details_path};\n"
          f"what the suites printed is in {WORK_DIR}/*/*.log")
    failed = any("REGRESSION" in verdict for one in verdicts.values()
                 for verdict in one.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
