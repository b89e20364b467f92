"""Run gevent's tests and write what became of each as lines of JSON.

Usage: python compatibility_gevent.py RECORD [FILE...]

Run by scripts/compatibility.py in the environments that it makes. gevent has a
runner of its own, because most of its test files patch the standard library and
so need a process each; it tells what became of a file, and not of a test. This
runs what that one would run, in the same environment, but verbosely.

A FILE is one of gevent's own names, like test__queue.py; default: all.
"""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys

from gevent.testing import testrunner

# "test_put (__main__.TestQueue.test_put)", and what comes at last.
STARTED = re.compile(r"^(\w+ \([\w.]+\))", re.MULTILINE)
SKIPPED = re.compile(r"^(\w+ \([\w.]+\))(?:\n.*)? \.\.\. skipped", re.MULTILINE)
FAILED = re.compile(r"^(?:ERROR|FAIL): (\w+ \([\w.]+\))", re.MULTILINE)
PASSED = re.compile(r"^(?:OK|NO TESTS RAN)\b", re.MULTILINE)

# They take arguments of their own, or ask whether there are any.
NOT_VERBOSE = {"test__doctests.py", "test__environ.py", "test__execmodules.py",
               "test__issue6.py"}

# It asks for the address of gevent's web site, whatever it is told.
USES_NETWORK = {"test__getaddrinfo_import.py"}

# unittest's status if all tests of a file were skipped.
NO_TESTS_RAN = 5

# Seconds for a file, if gevent says nothing else.
TIMEOUT = 100


def discover(files):
    """[(command, options)] of the test files, as gevent's runner has them."""
    directory = os.path.dirname(testrunner.importlib.import_module(
        "gevent.tests").__file__)
    config = {}
    with open(os.path.join(directory, "known_failures.py")) as source:
        exec(source.read(), config)
    # It prints the variables that it sets.
    with contextlib.redirect_stderr(io.StringIO()):
        testrunner._setup_environ()
    # As the runner does, for the tests that import each other.
    os.environ["PYTHONPATH"] = directory
    return list(testrunner.Discovery(
        files, ignored={*config["IGNORED_TESTS"], *USES_NETWORK},
        package="gevent.tests", config=config, allow_combine=False))


def run_file(command, options):
    """Run a test file verbosely: (exit status or None, what it printed)."""
    options = dict(options)
    environment = options.pop("env", None) or os.environ.copy()
    environment.update(options.pop("setenv", None) or {})
    timeout = options.pop("timeout", TIMEOUT)
    process = subprocess.Popen(command, env=environment, text=True,
                               errors="replace", stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               process_group=0, **options)
    try:
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, f"{output}\nended by force after {timeout} s"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def outcomes(name, status, output):
    """{test: outcome} of a file; the file itself counts as a test, too."""
    result = dict.fromkeys(STARTED.findall(output), "passed")
    if not PASSED.search(output) and "FAILED (" not in output:
        # Cut short. The last one that was started is to blame.
        if result:
            result[list(result)[-1]] = "failed"
    for test in SKIPPED.findall(output):
        result[test] = "skipped"
    for test in FAILED.findall(output):
        result[test] = "failed"
    good = status in (0, NO_TESTS_RAN)
    result["(the file)"] = "passed" if good else "failed"
    return {f"{name}::{test}": outcome for test, outcome in result.items()}


def main():
    record_path, *files = sys.argv[1:]
    with open(record_path, "w", encoding="utf-8") as record:
        for command, options in discover(files):
            name = command[-1].removeprefix("-mgevent.tests.") + ".py"
            if name not in NOT_VERBOSE:
                command.append("-v")
            status, output = run_file(command, options)
            print(f"=== {' '.join(command)}: {status}\n{output}", flush=True)
            for pair in outcomes(name, status, output).items():
                print(json.dumps(pair), file=record, flush=True)


if __name__ == "__main__":
    main()
