"""The answers of Doc/howto/interrupts.rst are true.

Each code block on that page has a caption, which is a claim about it.  Here the
blocks are read from the page, and each claim is checked.  A block without one, or
with a claim that nobody knows, is an error.
"""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
import unittest

from test import support
from test.support import interrupt_masks
from test.support.interrupt_masks import needs_masks
from test.support.interrupt_sweep import sweep

PAGE = os.path.join(sysconfig.get_config_var('srcdir') or '', 'Doc', 'howto',
                    'interrupts.rst')
if not os.path.exists(PAGE):
    raise unittest.SkipTest('needs the documentation of the source tree')

support.requires_subprocess()

HOLDS = 'Holds at each check point, with masks only'
BREAKS = 'Breaks at a check point, even with masks'
FAILS_UNMASKED = 'A program that fails without masks'
RUNS = 'A program that runs with masks and without'
CLAIMS = (HOLDS, BREAKS, FAILS_UNMASKED, RUNS)

RUN_BLOCK = '--run-block'

# Directives of the page that hold no code.
WITHOUT_CODE = {'impl-detail', 'note', 'seealso'}


class Block:

    def __init__(self, name, claim, source, line):
        self.name = name
        self.claim = claim
        self.source = source
        self.line = line        # of the page, where the source starts

    def compile(self):
        # Tracebacks tell the line of the page.
        return compile('\n' * (self.line - 1) + self.source, PAGE, 'exec')

    def run(self):
        namespace = {'__name__': self.name}
        exec(self.compile(), namespace)
        return namespace


def is_indented(line):
    return not line.strip() or line.startswith(' ')


def parse(text):
    """Return the blocks, and the numbers of the lines with any other code."""
    lines = text.splitlines()
    blocks = []
    wrong = []
    i = 0
    while i < len(lines):
        line = lines[i]
        i += 1
        directive = re.match(r'\s*\.\. ([\w:-]+?)::', line)
        if directive is None:
            if line.rstrip().endswith('::') or line.lstrip().startswith('>>>'):
                wrong.append(i)
            continue
        if line != '.. code-block:: python':
            if directive[1] not in WITHOUT_CODE:
                wrong.append(i)
            continue
        start = i
        options = {}
        while i < len(lines) and (option := re.match(r'   :(\w+): (.+)', lines[i])):
            options[option[1]] = option[2]
            i += 1
        first = i
        while i < len(lines) and is_indented(lines[i]):
            i += 1
        if options.get('caption') not in CLAIMS or 'name' not in options:
            wrong.append(start)
            continue
        source = textwrap.dedent('\n'.join(lines[first:i])).rstrip() + '\n'
        blocks.append(Block(options['name'], options['caption'], source,
                            first + 1))
    return blocks, wrong


def cut(block):
    """Interrupt the example at each of its check points.

    Return all runs, those after which the block's check() fails, and those in which
    something is wrong by the rules of sweeps.
    """
    namespace = block.run()
    setup = namespace['setup']
    example = namespace['example']
    check = namespace['check']
    state = setup()
    example(state)
    check(state)

    runs = []
    failed = []
    wrong = []
    for run in sweep(example, setup, interrupt=KeyboardInterrupt,
                     errors=Exception, strict=False):
        runs.append(run)
        try:
            check(run.state)
        except AssertionError:
            failed.append(run)
        if run.problem is not None or run.error is not None:
            wrong.append(run)
        run.forget()
    return runs, failed, wrong


def masks_are_on():
    with threading.nointerrupts:
        return threading.interrupts_masked()


def run_as_program(block):
    return subprocess.run(
        [sys.executable, *support.args_from_interpreter_flags(), '-I', __file__,
         RUN_BLOCK, block.name],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=support.SHORT_TIMEOUT)


def run_block(name):
    # Whoever has started us may have ignored it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for block in BLOCKS:
        if block.name == name:
            block.run()


def test_of(block):
    """Make the test for one block."""

    def holds(self):
        runs, failed, wrong = cut(block)
        self.assertGreater(len(runs), 0)
        self.assertEqual(failed, [])
        # Without masks, it is the check that has to fail.
        if masks_are_on():
            self.assertEqual(wrong, [])

    def breaks(self):
        runs, failed, wrong = cut(block)
        self.assertGreater(len(failed), 0)
        self.assertLess(len(failed), len(runs))
        self.assertEqual(wrong, [])

    def succeeds(self):
        result = run_as_program(block)
        self.assertEqual(result.stderr, '')
        self.assertEqual(result.returncode, 0)

    test = {HOLDS: holds, BREAKS: breaks, FAILS_UNMASKED: succeeds,
            RUNS: succeeds}[block.claim]
    if block.claim in (HOLDS, FAILS_UNMASKED):
        needs_masks(test)
    return test


with open(PAGE, encoding='utf-8') as page:
    TEXT = page.read()
BLOCKS, WRONG = parse(TEXT)


class AnswerTests(unittest.TestCase):
    """One test for each block, named like it."""


for block in BLOCKS:
    setattr(AnswerTests, 'test_' + block.name.replace('-', '_'), test_of(block))


class PageTests(unittest.TestCase):

    def test_no_code_is_left_out(self):
        self.assertEqual(WRONG, [])
        names = [block.name for block in BLOCKS]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual({block.claim for block in BLOCKS}, set(CLAIMS))
        self.assertEqual(TEXT.count('code-block'), len(BLOCKS))

    def test_what_is_left_out_is_found(self):
        block = ('.. code-block:: python\n   :name: a\n'
                 f'   :caption: {HOLDS}\n\n   pass\n')
        self.assertEqual(parse(block)[1], [])
        for text in (
            block.replace('   :name: a\n', ''),
            block.replace('   :caption: ' + HOLDS, ''),
            block.replace(HOLDS, 'Holds'),
            block.replace('python', 'pycon'),
            block.replace('code-block', 'testcode'),
            textwrap.indent(block, '   '),
            'For example::\n\n   pass\n',
            '>>> pass\n',
        ):
            with self.subTest(text):
                self.assertNotEqual(parse(text)[1], [])

    def test_claims_without_masks(self):
        interrupt_masks.check_marks(self, __file__, marked=25, others=4)


if __name__ == '__main__':
    if sys.argv[1:2] == [RUN_BLOCK]:
        run_block(sys.argv[2])
    else:
        interrupt_masks.main(AnswerTests)
