"""Run third-party test suites on ours and on stock, and compare test by test.

Started by scripts/compatibility, which also has the help text.
"""

import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

WORK_DIR = os.path.abspath("build/compatibility")

# For each package: what to install, and what pytest is to run. Everything
# comes as wheels: they were compiled against stock, which is the point, and a
# build tree has no headers to compile others with.
PACKAGES = {
    "trio": (
        ["trio", "trustme", "pyopenssl", "astor", "async_generator"],
        # As Trio's documentation for redistributors says, and its slow tests.
        ["--pyargs", "trio", "-p", "trio._tests.pytest_plugin",
         "--skip-optional-imports", "--run-slow"],
    ),
    "numpy": (
        ["numpy", "hypothesis"],
        # All of numpy takes half an hour; these call back into Python, raise,
        # use threads and hold references across calls.
        ["--pyargs", *(f"numpy._core.tests.test_{name}" for name in (
            "multiarray", "ufunc", "errstate", "multithreading", "nditer",
            "overrides", "regression"))],
    ),
    "greenlet": (
        ["greenlet", "objgraph", "psutil"],
        ["--pyargs", "greenlet"],
    ),
}

OUTCOMES = ("passed", "failed", "skipped")


class CouldNotRun(Exception):
    pass


def clean_environment():
    # The scripts themselves speak the C locale; the packages expect UTF-8.
    env = {key: value for key, value in os.environ.items()
           if not key.startswith("PYTHON") and key != "LC_ALL"}
    env["LANG"] = "C.UTF-8"
    return env


def run(title, command, log_path, *, ok=(0,), **kwargs):
    """Run a step with its output in a log, showing that it is under way."""
    start = time.monotonic()
    print(f"{title} ...", end=" ", file=sys.stderr, flush=True)
    with open(log_path, "w") as log:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, env=clean_environment(),
            **kwargs).returncode
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    if status not in ok:
        with open(log_path, errors="replace") as log:
            tail = "".join(log.readlines()[-15:])
        raise CouldNotRun(f"{title} ended with {status}:\n{tail}\n"
                          f"The whole output is in {log_path}")
    return status


def make_venv(side, base_python, requirements):
    """A fresh environment with `requirements`; its interpreter's path."""
    venv = f"{WORK_DIR}/{side}"
    log = f"{WORK_DIR}/{side}-install.log"
    run(f"{side}: make an environment",
        [base_python, "-m", "venv", "--clear", venv], log)
    python = f"{venv}/bin/python"
    run(f"{side}: install {len(requirements)} packages",
        [python, "-m", "pip", "install", "--only-binary", ":all:",
         "--disable-pip-version-check", *requirements], log)
    return python


def installed(python):
    """What is installed, as exact requirements: both sides must be alike."""
    result = subprocess.run([python, "-m", "pip", "freeze"], text=True,
                            capture_output=True, env=clean_environment())
    if result.returncode != 0:
        raise CouldNotRun(f"pip freeze failed:\n{result.stderr}")
    return result.stdout.split()


def run_package(side, python, package):
    """{test: outcome} of the package's tests."""
    xml_path = f"{WORK_DIR}/{side}-{package}.xml"
    log_path = f"{WORK_DIR}/{side}-{package}.log"
    if os.path.exists(xml_path):
        os.remove(xml_path)
    # An empty directory, so that nothing of this repository is imported.
    empty = f"{WORK_DIR}/empty"
    os.makedirs(empty, exist_ok=True)
    # 0: all passed, 1: some failed. -rf names these in the log.
    run(f"{side}: test {package}",
        [python, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider",
         "--junit-xml", xml_path, *PACKAGES[package][1]],
        log_path, ok=(0, 1), cwd=empty)
    outcomes = {}
    for case in ElementTree.parse(xml_path).iter("testcase"):
        # Addresses in the names of parametrised tests differ between runs.
        name = re.sub(r"0x[0-9a-fA-F]+", "0x...",
                      f"{case.get('classname')}::{case.get('name')}")
        children = {child.tag for child in case}
        if children & {"failure", "error"}:
            outcome = "failed"
        elif "skipped" in children:
            outcome = "skipped"
        else:
            outcome = "passed"
        # Several tests of one name: the worst counts.
        if outcomes.get(name, "passed") == "passed":
            outcomes[name] = outcome
    if not outcomes:
        raise CouldNotRun(f"{package} ran no tests; see {log_path}")
    return outcomes


def differences(stock, ours):
    return [(name, stock.get(name, "not run"), ours.get(name, "not run"))
            for name in sorted(stock.keys() | ours.keys())
            if stock.get(name) != ours.get(name)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours", required=True)
    parser.add_argument("--stock", required=True)
    parser.add_argument("packages", nargs="*")
    options = parser.parse_args()
    packages = options.packages or list(PACKAGES)
    os.makedirs(WORK_DIR, exist_ok=True)
    try:
        wanted = ["pytest"]
        for package in packages:
            wanted += PACKAGES[package][0]
        stock_python = make_venv("stock", options.stock, wanted)
        ours_python = make_venv("ours", options.ours, installed(stock_python))
        results = {
            package: (run_package("stock", stock_python, package),
                      run_package("ours", ours_python, package))
            for package in packages
        }
        versions = dict(line.lower().split("==") for line in
                        installed(ours_python) if "==" in line)
    except CouldNotRun as error:
        print(f"scripts/compatibility: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nscripts/compatibility: interrupted", file=sys.stderr)
        return 130

    print(f"{'':20}  {'stock':^26}  {'ours':^26}")
    header = "".join(f"{outcome:>8}" for outcome in OUTCOMES)
    print(f"{'':20}  {header:26}  {header:26}")
    total = 0
    for package, (stock, ours) in results.items():
        columns = ["".join(f"{list(side.values()).count(outcome):8}"
                           for outcome in OUTCOMES) for side in (stock, ours)]
        different = differences(stock, ours)
        total += len(different)
        verdict = f"{len(different)} differ" if different else "same"
        print(f"{package + ' ' + versions[package]:20}  {columns[0]:26}  "
              f"{columns[1]:26}  {verdict}")
    for package, (stock, ours) in results.items():
        for name, on_stock, on_ours in differences(stock, ours):
            print(f"  {name}: stock {on_stock}, ours {on_ours}")
    print(f"\n{total} tests differ; what they printed is in {WORK_DIR}/*.log")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
