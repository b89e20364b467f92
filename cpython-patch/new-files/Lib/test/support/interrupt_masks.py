"""Tests that need interrupts to be masked, and the proof that they do.

A test that says "this is masked" proves nothing if it also passes where
nothing is masked.  Mark such tests with @needs_masks, give the file a test that
calls check_marks(), and end the file with main(): each marked test has to fail
with masks switched off, and each other test has to pass.
"""

import json
import sys
import unittest

from test.support import script_helper

REPORT = '--report-results-without-masks'


def needs_masks(test):
    """Mark a test that has to fail where interrupts are not masked."""
    test.needs_masks = True
    return test


def may_need_masks(test):
    """Mark a test that can fail where interrupts are not masked, but need not: it
    depends on which thread is faster.
    """
    test.needs_masks = None
    return test


class Report(unittest.TestResult):
    """Notes which marked tests pass, subtests included, and which others fail.
    """

    def __init__(self):
        super().__init__()
        self.counts = {'marked': 0, 'others': 0}
        self.marked_passed = []
        self.others_failed = []

    def method(self, test):
        return getattr(test, test._testMethodName)

    def is_marked(self, test):
        return getattr(self.method(test), 'needs_masks', False)

    def startTest(self, test):
        super().startTest(test)
        self.counts['marked' if self.is_marked(test) else 'others'] += 1

    def addSuccess(self, test):
        super().addSuccess(test)
        if self.is_marked(test):
            self.marked_passed.append(test.id())

    def addFailure(self, test, err):
        super().addFailure(test, err)
        # The name of a failed setUpClass() is no test.
        if (not isinstance(test, unittest.TestCase)
                or self.is_marked(test) is False):
            self.others_failed.append(test.id())

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            if self.is_marked(test) is False:
                self.others_failed.append(subtest.id())
        elif (self.is_marked(test)
              and not getattr(self.method(test), 'some_subtests_pass', False)):
            self.marked_passed.append(subtest.id())

    def _exc_info_to_string(self, err, test):
        # Nobody reads them, and thousands of them take long.
        return ''


def check_marks(test, file, *, marked, others):
    """Run the file with masks off: all marked tests fail there, no others do.

    There have to be more than *marked* and *others* of them.
    """
    result = script_helper.assert_python_ok(
        '-X', 'interrupt_masks=0', file, REPORT)
    report = json.loads(result.out)
    test.assertGreater(report['marked'], marked)
    test.assertGreater(report['others'], others)
    test.assertEqual(report['marked passed'], [],
                     'these pass whether anything is masked or not')
    test.assertEqual(report['others failed'], [],
                     'these need @needs_masks')


def main(base):
    """Run this file's tests; or those of *base*, for check_marks()."""
    if sys.argv[1:] != [REPORT]:
        unittest.main()
    suite = unittest.TestSuite()
    for value in list(vars(sys.modules['__main__']).values()):
        if isinstance(value, type) and issubclass(value, base):
            suite.addTests(
                unittest.defaultTestLoader.loadTestsFromTestCase(value))
    result = Report()
    suite.run(result)
    json.dump({**result.counts,
               'marked passed': result.marked_passed,
               'others failed': result.others_failed}, sys.stdout)
