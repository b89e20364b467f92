"""A pytest plugin: write what became of each test as lines of JSON.

scripts/compatibility.py puts it into the environments that it makes. A JUnit
file has neither the names by which pytest can be told to run a test again, nor
anything at all after a crash.
"""

import doctest
import json
import pathlib
import tempfile

recording = None


def pytest_addoption(parser):
    parser.addoption("--record-outcomes", metavar="FILE")
    parser.addoption("--polars-doctests", action="store_true")


def pytest_configure(config):
    global recording
    if config.getoption("--polars-doctests"):
        add_ignore_result()
        config.pluginmanager.register(PolarsExamples())
    if path := config.getoption("--record-outcomes"):
        recording = open(path, "w", encoding="utf-8")


def record(test, outcome):
    json.dump([test, outcome], recording)
    recording.write("\n")
    recording.flush()


def pytest_runtest_logstart(nodeid):
    if recording:
        record(nodeid, "started")


def pytest_runtest_logreport(report):
    # Set-up and tear-down say something only if they do not pass.
    if recording and (report.when == "call" or report.outcome != "passed"):
        record(report.nodeid, report.outcome)


def pytest_collectreport(report):
    if recording and report.failed:
        record(report.nodeid or "(collecting)", "failed")


class PolarsExamples:
    """What the examples of Polars expect to be there."""

    @staticmethod
    def pytest_runtest_setup(item):
        import polars
        polars.Config.restore_defaults()
        item.dtest.globs.update(
            pl=polars, dirpath=pathlib.Path(tempfile.gettempdir()))


def add_ignore_result():
    """Let doctests have the flag that Polars' own runner has.

    An example with it is only run: its result is not always the same.
    """
    flag = doctest.register_optionflag("IGNORE_RESULT")
    check_output = doctest.OutputChecker.check_output

    def check(self, want, got, flags):
        return bool(flags & flag) or check_output(self, want, got, flags)

    doctest.OutputChecker.check_output = check
