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

    version: str
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
        # All its files; not run by pytest, but by compatibility_gevent.py.
        "26.9.0", ["psutil"],
        extra="[test]",
        tests=[],
        environment={"GEVENTTEST_USE_RESOURCES": "-network"},
    ),
    "pytest": Project(
        "9.2.0",
        ["argcomplete", "attrs", "hypothesis", "mock", "pexpect",
         "pytest-xdist", "pyyaml", "requests", "setuptools", "xmlschema"],
        tests=["testing"],
        from_source=("testing", "pyproject.toml", "README.rst"),
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
}


# Written in Python, and there is no wheel of it.
NO_WHEEL = "forbiddenfruit"


class CouldNotRun(Exception):
    pass


def clean_environment(**more):
    # PYTHON* variables would change what is tested. The scripts themselves
    # speak the C locale; the packages expect UTF-8. With CI set, some suites
    # print and skip other things.
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("PYTHON", "PYTEST", "COVERAGE"))
           and key not in {"LC_ALL", "CI"}}
    return env | {"LANG": "C.UTF-8"} | more


# -- installing ---------------------------------------------------------------

class Environment:
    """A virtual environment for a project on one side, and its tests."""

    def __init__(self, name, side, base_python):
        self.name = name
        self.project = PROJECTS[name]
        self.base_python = base_python
        self.path = f"{WORK_DIR}/{name}/{side}"
        self.python = f"{self.path}/bin/python"
        self.site = f"{self.path}/lib/python3.13/site-packages"
        self.source = f"{self.path}/source"
        self.log = f"{WORK_DIR}/{name}/{side}.log"
        self.record = f"{WORK_DIR}/{name}/{side}.outcomes"

    def is_made_from(self, requirements):
        try:
            with open(f"{self.path}/made-from") as file:
                return json.load(file) == self.origin(requirements)
        except FileNotFoundError:
            return False

    def origin(self, requirements):
        return [os.path.realpath(self.base_python), requirements,
                *self.project.from_source, *self.project.prepare]

    def make(self, pip, requirements):
        run_step([self.base_python, "-m", "venv", "--clear", "--without-pip",
                  self.path], self.log)
        run_step([*pip, "--python", self.python, "install",
                  "--only-binary", ":all:", "--no-binary", NO_WHEEL,
                  *requirements], self.log)
        if self.project.from_source:
            self.unpack_source(pip)
        if self.project.prepare:
            run_step([self.python, *self.project.prepare], self.log,
                     cwd=self.source)
        with open(f"{self.path}/made-from", "w") as file:
            json.dump(self.origin(requirements), file)

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
        if self.name == "gevent":
            return [self.python, f"{SCRIPTS}/compatibility_gevent.py", record,
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
    """{(project, side): environment}, made where they are not up to date."""
    pip = []
    environments = {}
    for name in names:
        os.makedirs(f"{WORK_DIR}/{name}", exist_ok=True)
        project = PROJECTS[name]
        requirements = [f"{name}{project.extra}=={project.version}",
                        *project.needs]
        for side in SIDES:
            environment = Environment(name, side, pythons[side])
            environments[name, side] = environment
            if not environment.is_made_from(requirements):
                start = time.monotonic()
                print(f"{name}: install on {side} ...", end=" ",
                      file=sys.stderr, flush=True)
                pip = pip or make_pip(pythons["stock"])
                environment.make(pip, requirements)
                print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
            if project.tests:
                shutil.copy(f"{SCRIPTS}/compatibility_pytest.py",
                            environment.site)
            # Ours gets what stock has got, to the version.
            requirements = environment.installed()
    return environments


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
                    TMPDIR=self.scratch, **environment.project.environment))

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
                # Addresses in the names of parametrised tests differ between
                # runs.
                name = re.sub(r"0x[0-9a-fA-F]+", "0x...", test)
                old = result.get(name, (outcome,))[0]
                if old == "started":
                    old = outcome
                result[name] = max(old, outcome, key=WORST_LAST.index), test
        return result


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


def judge(environments, results):
    """What is worse on ours, run again alone: {test: verdict}."""
    worse = [name for name in results["stock"] | results["ours"]
             if is_worse(*(state(results[side], name) for side in SIDES))]
    verdicts = dict.fromkeys(worse, "REGRESSION")
    if len(worse) > MAX_RERUN:
        print(f"{len(worse)} tests came out worse: too many to run again",
              file=sys.stderr)
        return verdicts
    for name in worse:
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
        environments = make_environments(
            names, {"ours": options.ours, "stock": options.stock})
        if options.install:
            return 0
        with open(details_path, "w") as details:
            for name in names:
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
