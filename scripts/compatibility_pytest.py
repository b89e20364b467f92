"""A pytest plugin: write what became of each test as lines of JSON.

scripts/compatibility.py puts it into the environments that it makes. A JUnit
file has neither the names by which pytest can be told to run a test again, nor
anything at all after a crash.
"""

import json

recording = None


def pytest_addoption(parser):
    parser.addoption("--record-outcomes", metavar="FILE")


def pytest_configure(config):
    global recording
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
