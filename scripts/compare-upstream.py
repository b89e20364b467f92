"""Compare upstream's test results, ours against stock.

Started by scripts/compare-upstream, which also has the help text.

Results are compared at two levels. A test *file* has the state that CPython's
runner prints for it (passed, failed, skipped, ...). A test *method* has the
state that the runner's JUnit file gives it; this level finds a test that newly
fails in a file that fails on stock as well, and a test that silently stopped
being run.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

RESULTS_DIR = "build/upstream-tests"

# Seconds for one test file. The slowest take a minute; one that hangs must not
# take the whole run along.
FILE_TIMEOUT = 600

# More files than this coming out worse is no matter of flakiness, and running
# them all again alone would take longer than the suite.
MAX_RERUN_FILES = 20

# The part of the suite that runs by default: what exercises the things we
# change or that could notice. Chosen to take about three minutes an
# interpreter on two cores, which is why the long ones that only use these
# parts (test_multiprocessing_*, test_tools, test_io, test_socket, ...) are
# left to --all.
SELECTED = """
    test_compile test_code test_dis test_peepholer test_compiler_codegen
    test_compiler_assemble test_opcodes test__opcode test_ast test_marshal
    test_frozen test_py_compile test_importlib test_import test_zipimport
    test_codeop test_code_module test_type_params test_patma test_listcomps

    test_frame test_generators test_generator_stop test_genexps
    test_coroutines test_asyncgen test_with test_contextlib
    test_contextlib_async test_exceptions test_baseexception test_except_star
    test_exception_group test_exception_hierarchy test_exception_variations
    test_raise test_traceback test_scope test_call test_extcall test_yield_from
    test_optimizer test_capi test_embed test_interpreters test__interpreters

    test_signal test_threadsignals test_eintr test_faulthandler test_selectors
    test_select test_poll test_epoll test_time test_subprocess
    test_wait4 test_fork1 test_cmd_line test_sys test_sysconfig test_gc
    test_weakref test_finalization test_atexit

    test_thread test_threading test_threading_local test_threadedtempfile
    test_queue test_sched test_context test_asyncio
    test_concurrent_futures

    test_sys_settrace test_sys_setprofile test_monitoring test_bdb test_pdb
    test_trace test_profile test_cprofile test_inspect test_doctest
    test_unittest test_perf_profiler test_gdb test_tracemalloc test_runpy
""".split()


class RunnerFailed(Exception):
    pass


class Results:
    """What one run said: {file: state} and {file: {method: state}}."""

    def __init__(self, files, methods):
        self.files = files
        self.methods = methods

    def file(self, name):
        return self.files.get(name, "not run")

    def method(self, file_name, name):
        return self.methods.get(file_name, {}).get(name, "not run")

    def save(self, path):
        # Renamed into place, so that a run cut short leaves no half a file.
        with open(path + ".new", "w") as file:
            json.dump({"files": self.files, "methods": self.methods}, file)
        os.replace(path + ".new", path)

    @classmethod
    def load(cls, path):
        with open(path) as file:
            return cls(**json.load(file))


FAILING = {"failed", "crashed", "timed out", "not run"}


def is_worse(stock, ours):
    """Something that worked on stock does not work, or is not run, on ours."""
    if stock == "passed":
        return ours != "passed"
    return ours in FAILING and stock not in FAILING


# -- running CPython's runner -------------------------------------------------

# "0:01:02 load avg: 2.19 [ 31/480/2] test_tasks failed (1 failure) (40 sec)"
PROGRESS_LINE = re.compile(
    r"^\d+:\d\d:\d\d .*\[ *(\d+)/(\d+)(?:/\d+)?\] (?:test\.)?(\S+) (.+)")

STATES = [
    # What the runner's line starts with, and what we call it.
    ("passed", "passed"),
    ("failed (env changed)", "left traces"),
    ("failed", "failed"),
    ("worker non-zero exit code", "crashed"),
    ("worker bug", "crashed"),
    ("timed out", "timed out"),
    ("skipped", "skipped"),
    ("ran no tests", "no tests"),
]


def clean_environment():
    # PYTHON* variables would change what is tested. The scripts themselves
    # speak the C locale; the suite is written for UTF-8.
    env = {key: value for key, value in os.environ.items()
           if not key.startswith("PYTHON") and key != "LC_ALL"}
    env["LANG"] = "C.UTF-8"
    return env


def list_files(python):
    result = subprocess.run([python, "-m", "test", "--list-tests"],
                            env=clean_environment(), text=True,
                            stdin=subprocess.DEVNULL, capture_output=True)
    if result.returncode != 0:
        raise RunnerFailed(f"'{python} -m test --list-tests' ended with "
                           f"{result.returncode}:\n{result.stderr.strip()}")
    return [line.removeprefix("test.") for line in result.stdout.split()]


def select_files(wanted, known):
    """The files that `wanted` names; a package stands for all its files."""
    selected = []
    unknown = []
    for name in wanted:
        name = name.removeprefix("test.")
        found = [file for file in known
                 if file == name or file.startswith(name + ".")]
        selected += found
        if not found:
            unknown.append(name)
    return sorted(set(selected)), unknown


def run_suite(title, python, files, log_path, *, processes, verbose=False):
    """Run `files` on `python` and return the Results."""
    with tempfile.TemporaryDirectory(prefix="nit-", ignore_cleanup_errors=True
                                     ) as scratch:
        xml_path = os.path.join(scratch, "results.xml")
        command = [os.path.abspath(python), "-m", "test",
                   f"-j{processes}", "--timeout", str(FILE_TIMEOUT),
                   "--junit-xml", xml_path, "--tempdir", scratch,
                   *(["-v"] if verbose else []), *files]
        states = {}
        progress = Progress(title, len(files))
        # A session of its own: the suite is ended as a whole when we are, and
        # its tests have no controlling terminal whether we have one or not.
        process = subprocess.Popen(
            command, cwd=scratch, env=clean_environment(), text=True,
            errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        try:
            with open(log_path, "w") as log:
                for line in process.stdout:
                    log.write(line)
                    if match := PROGRESS_LINE.match(line):
                        record_state(states, set(files), match, progress)
            status = process.wait()
        except BaseException:
            # Ctrl-C, mostly. The runner cleans up after itself if asked.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        progress.finish()
        # 0: all well, 2: failures, 3: a test left traces, 4: no tests.
        if status not in (0, 2, 3, 4) or not os.path.exists(xml_path):
            raise RunnerFailed(
                f"CPython's test runner itself ended with {status} on "
                f"{python}; see {log_path}")
        return Results(states, read_methods(xml_path, files))


def record_state(states, files, match, progress):
    done, _, name, text = match.groups()
    if name not in files:
        # Printed by a test of the runner itself.
        return
    for start, state in STATES:
        if text.startswith(start):
            states[name] = state
            progress.show(len(states), name, state)
            return


def read_methods(xml_path, files):
    """{file: {method: state}} from the runner's JUnit file."""
    methods = {}
    for suite in ElementTree.parse(xml_path).getroot():
        cases = [(case.get("name"), method_state(case)) for case in suite]
        # A test with a failed subtest has no name here. It then counts as not
        # run, which is what it should: not passed.
        cases = [(name, state) for name, state in cases if name]
        file_name = suite_file([name for name, _ in cases], files)
        if file_name is None:
            if cases:
                print(f"compared only as a file, not by method: {cases[0][0]} "
                      f"and {len(cases) - 1} more", file=sys.stderr)
            continue
        found = methods.setdefault(file_name, {})
        for name, state in cases:
            # Addresses in names differ from run to run.
            name = re.sub(r"0x[0-9a-fA-F]+", "0x...", name)
            # Several of one name (doctests): the worst counts.
            if found.get(name, "passed") == "passed":
                found[name] = state
    return methods


def method_state(case):
    children = {child.tag for child in case}
    if children & {"error", "failure", "outcome"}:
        return "failed"
    if "skipped" in children:
        return "skipped"
    return "passed"


# Modules that hold the methods of a test file with another name.
FILE_OF_MODULE = {"datetimetester": "test_datetime", "idlelib": "test_idle"}


def suite_file(names, files):
    """The file of a suite, from its methods' names; doctests carry the name of
    what they document, so the suite's other methods must tell."""
    for name in names:
        parts = name.removeprefix("test.").split(".")
        parts[0] = FILE_OF_MODULE.get(parts[0], parts[0])
        for length in range(len(parts), 0, -1):
            candidate = ".".join(parts[:length])
            if candidate in files:
                return candidate
    return None


class Progress:
    """One line rewritten on a terminal; else a line every half a minute."""

    def __init__(self, title, total):
        self.title = title
        self.total = total
        self.start = time.monotonic()
        self.last_line = self.start
        self.done = 0
        self.bad = 0
        self.tty = sys.stderr.isatty()

    def text(self):
        elapsed = int(time.monotonic() - self.start)
        bad = f", {self.bad} not passed" if self.bad else ""
        return (f"{self.title}: {self.done} of {self.total} files{bad}, "
                f"{elapsed // 60}:{elapsed % 60:02}")

    def show(self, done, name, state):
        self.done = done
        self.bad += state in FAILING
        if self.tty:
            line = f"{self.text()}  {name}"
            print(f"\r\x1b[K{line[:78]}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.last_line >= 30:
            self.last_line = time.monotonic()
            print(self.text(), file=sys.stderr, flush=True)

    def finish(self):
        if self.tty:
            print("\r\x1b[K", end="", file=sys.stderr)
        print(self.text(), file=sys.stderr, flush=True)


def run_stock(python, files, fresh, processes):
    """Stock's results, read back if this very binary has run these files."""
    with open(python, "rb") as binary:
        key = hashlib.file_digest(binary, "sha256")
    # Two versions of this script may read the runner's output differently.
    with open(__file__, "rb") as script:
        key.update(script.read())
    key.update(" ".join(files).encode())
    cache_path = f"{RESULTS_DIR}/stock-{key.hexdigest()[:16]}.json"
    if not fresh and os.path.exists(cache_path):
        print("stock: results of an earlier run (--fresh runs it again)",
              file=sys.stderr)
        return Results.load(cache_path)
    results = run_suite("stock", python, files, f"{RESULTS_DIR}/stock.log",
                        processes=processes)
    results.save(cache_path)
    return results


# -- comparing ----------------------------------------------------------------

# The file as a whole, among the names of its methods.
WHOLE_FILE = "(the file)"


def find_worse(name, stock, ours):
    """The methods of file `name` that are worse on ours, or WHOLE_FILE."""
    if ours.file(name) in {"crashed", "timed out", "skipped", "no tests",
                           "not run"}:
        # Then no method has a result, and naming them all tells nothing.
        if is_worse(stock.file(name), ours.file(name)):
            return [WHOLE_FILE]
        return []
    worse = [method for method, state in stock.methods.get(name, {}).items()
             if is_worse(state, ours.method(name, method))]
    worse += [method for method, state in ours.methods.get(name, {}).items()
              if state == "failed"
              and method not in stock.methods.get(name, {})]
    if not worse and is_worse(stock.file(name), ours.file(name)):
        worse = [WHOLE_FILE]
    return worse


def still_bad(name, methods, results):
    """Those of `methods` that did not pass this time."""
    return {method for method in methods
            if (results.file(name) if method == WHOLE_FILE
                else results.method(name, method)) != "passed"}


def judge(ours_python, stock_python, worse):
    """Run the files again, alone: {file: (verdict, methods)}.

    Flaky is only what works on ours in both reruns. A test that fails on ours
    once more, alone on the machine, while stock passes every time, is a race
    of ours until shown otherwise.
    """
    if len(worse) > MAX_RERUN_FILES:
        print(f"{len(worse)} files came out worse: too many to run again",
              file=sys.stderr)
        return {name: ("REGRESSION", methods)
                for name, methods in worse.items()}
    bad_on_ours = {name: set() for name in worse}
    bad_on_stock = {name: set() for name in worse}
    for attempt in (1, 2):
        for title, python, bad in (("ours", ours_python, bad_on_ours),
                                   ("stock", stock_python, bad_on_stock)):
            results = run_suite(
                f"again, alone ({attempt} of 2), {title}", python,
                sorted(worse), f"{RESULTS_DIR}/{title}-rerun-{attempt}.log",
                processes=1, verbose=True)
            for name, methods in worse.items():
                bad[name] |= still_bad(name, methods, results)
    verdicts = {}
    for name, methods in worse.items():
        regressions = bad_on_ours[name] - bad_on_stock[name]
        if regressions:
            verdicts[name] = "REGRESSION", sorted(regressions)
        elif bad_on_ours[name]:
            verdicts[name] = "fails on both, at times", sorted(methods)
        else:
            verdicts[name] = "flaky", sorted(methods)
    return verdicts


def plain_verdict(stock, ours):
    if ours == "passed":
        return "ok" if stock == "passed" else "better"
    if ours in FAILING:
        return "fails on both"
    return "same" if stock == ours else "ok"


def compare(files, stock, ours, verdicts):
    """Print the table and the summary; return whether all is well."""
    lines = []
    width = max(map(len, files))
    lines.append(f"{'file':{width}}  {'stock':11}  {'ours':11}  verdict")
    for name in files:
        verdict, methods = verdicts.get(
            name, (plain_verdict(stock.file(name), ours.file(name)), []))
        lines.append(f"{name:{width}}  {stock.file(name):11}  "
                     f"{ours.file(name):11}  {verdict}")
        for method in methods:
            if method == WHOLE_FILE:
                continue
            lines.append(f"    {method}: stock {stock.method(name, method)}, "
                         f"ours {ours.method(name, method)}")
    counts = {}
    for title, results in (("stock", stock), ("ours", ours)):
        states = [state for methods in results.methods.values()
                  for state in methods.values()]
        counts[title] = states.count("passed")
    by_verdict = {}
    for name, (verdict, _) in verdicts.items():
        by_verdict.setdefault(verdict, []).append(name)
    lines.append("")
    lines.append(f"{len(files)} files; tests that passed: "
                 f"{counts['stock']} on stock, {counts['ours']} on ours")
    for verdict, names in sorted(by_verdict.items()):
        lines.append(f"{verdict}: {' '.join(names)}")
    regressions = by_verdict.get("REGRESSION", [])
    lines.append(f"files with regressions: {len(regressions)}")
    table = "\n".join(lines)
    print(table)
    with open(f"{RESULTS_DIR}/comparison.txt", "w") as file:
        file.write(table + "\n")
    if regressions:
        print(f"What they printed: {RESULTS_DIR}/ours.log and "
              f"{RESULTS_DIR}/ours-rerun-*.log", file=sys.stderr)
    return not regressions


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours", required=True)
    parser.add_argument("--stock", required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()

    # A shell's background jobs start with SIGINT ignored. The suite would
    # inherit that, and its tests of Ctrl-C fail.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # And one that is told to end must not leave the suite running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    os.makedirs(RESULTS_DIR, exist_ok=True)
    processes = len(os.sched_getaffinity(0))
    try:
        known = list_files(options.stock)
        wanted = known if options.all else options.tests or SELECTED
        files, unknown = select_files(wanted, known)
        if unknown:
            print("scripts/compare-upstream: stock CPython has no test file "
                  + ", ".join(unknown), file=sys.stderr)
            return 2
        stock = run_stock(options.stock, files, options.fresh, processes)
        ours = run_suite("ours", options.ours, files,
                         f"{RESULTS_DIR}/ours.log", processes=processes)
        worse = {name: methods for name in files
                 if (methods := find_worse(name, stock, ours))}
        verdicts = (judge(options.ours, options.stock, worse) if worse else {})
    except RunnerFailed as error:
        print(f"scripts/compare-upstream: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nscripts/compare-upstream: interrupted", file=sys.stderr)
        return 130
    return 0 if compare(files, stock, ours, verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
