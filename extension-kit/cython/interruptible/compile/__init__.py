"""Checks for loops whose author wrote none.

    python -m interruptible.compile [options] FILE.pyx ...      (see --help)

or in a setup.py, with the arguments of Cython.Build.cythonize:

    from interruptible.compile import cythonize
    setup(ext_modules=cythonize(['fast.pyx']))

A stage is added to Cython's own pipeline; no text is edited.  Cython has no interface for
such stages, so two inner functions are used and the version is checked: with one that
was not tried there is an error and not a guess.  To do this without inner functions,
Cython would have to offer: a list of additional stages in CompilationOptions, a node
for "run this C expression, on a negative result go to the error label" that a stage
may insert after analysis, and the two places in prange where a thread leaves the team.

The result needs nothing at run time: the C file contains the kit's header.
"""

import contextlib
import re
from pathlib import Path

from Cython import __version__ as cython_version

__all__ = ['UnknownCython', 'cythonize', 'header_text', 'inserting', 'supported',
           'summary']

# Tried with these; the tree changes with every minor version (that of 3.1 and 3.2 knows no
# prange that holds the GIL, and fails).
supported = ('3.3',)


class UnknownCython(RuntimeError):
    """This version of Cython was not tried, or is not built as expected."""


def _check_version():
    minor = '.'.join(cython_version.split('.')[:2])
    if minor not in supported:
        raise UnknownCython(
            f'interruptible.compile cannot add checks with Cython {cython_version}: it was '
            f'tried with {", ".join(supported)} only, and depends on how the compiler is '
            f'built inside. Install one of those, or write the checks yourself '
            f'(from interruptible cimport check).')


def _check_inside():
    from Cython.Compiler import Nodes, ParseTreeTransforms, Pipeline
    wanted = [
        (Pipeline, 'create_pyx_pipeline'),
        (ParseTreeTransforms, 'GilCheck'),
        (Nodes, 'LoopNode'),
        (Nodes.ParallelStatNode, 'setup_parallel_control_flow_block'),
        (Nodes.ParallelStatNode, 'end_parallel_block'),
        (Nodes.ParallelStatNode, 'restore_labels'),
        (Nodes.ParallelRangeNode, 'acquire_gil'),
        (Nodes.CFuncDefNode, 'caller_will_check_exceptions'),
        (Nodes.DefNode, 'caller_will_check_exceptions'),
    ]
    missing = [f'{owner.__name__}.{name}' for owner, name in wanted
               if not hasattr(owner, name)]
    if missing:
        raise UnknownCython(
            f'interruptible.compile cannot add checks: Cython {cython_version} has no '
            f'{", ".join(missing)}.')


def header_text():
    """What is put into the generated C file: the kit's header and Cython's part."""
    include = Path(__file__).parent.parent / 'include'
    parts = []
    for name in ('interruptible.h', 'interruptible_cython.h'):
        try:
            text = (include / name).read_text(encoding='utf-8')
        except FileNotFoundError:
            raise FileNotFoundError(
                f'{include / name} is missing: use an installed (or built) interruptible, '
                f'not its source folder') from None
        # The second would look for the first on the include path.
        parts.append(re.sub(r'(?m)^#\s*include "interruptible\.h"\n', '', text))
    return '\n'.join(parts)


@contextlib.contextmanager
def inserting(exclude=()):
    """While this lasts, whatever Cython compiles in this process gets checks.

    Gives a list that is filled with one Loop per loop.  `exclude` names functions, with
    or without their module, whose loops are left alone.
    """
    _check_version()
    _check_inside()
    header_text()       # missing files are an error now, not in the middle of the work
    from Cython.Compiler import ParseTreeTransforms, Pipeline
    from ._insert import InsertLoopChecks

    loops = []
    original = Pipeline.create_pyx_pipeline

    def create_pyx_pipeline(context, *args, **kwargs):
        stages = original(context, *args, **kwargs)
        if kwargs.get('exclude_classes'):
            return stages           # reads declarations only, generates nothing
        at = [i for i, stage in enumerate(stages)
              if isinstance(stage, ParseTreeTransforms.GilCheck)]
        if len(at) != 1:
            raise UnknownCython(
                f'Cython {cython_version} runs GilCheck {len(at)} times; the place for '
                f'the checks is not known')

        def insert_interrupt_checks(tree):
            stage = InsertLoopChecks(exclude)
            tree = stage(tree)
            loops.extend(stage.loops)
            return tree

        stages.insert(at[0] + 1, insert_interrupt_checks)
        return stages

    Pipeline.create_pyx_pipeline = create_pyx_pipeline
    try:
        yield loops
    finally:
        Pipeline.create_pyx_pipeline = original


def summary(loops):
    """(loops with a check, {reason: loops without one})."""
    reasons = {}
    for loop in loops:
        if loop.reason:
            reasons[loop.reason] = reasons.get(loop.reason, 0) + 1
    return len(loops) - sum(reasons.values()), reasons


def print_report(loops, verbose=False, file=None):
    for loop in sorted(loops):
        if loop.reason or verbose:
            print(loop, file=file)
    checked, reasons = summary(loops)
    print(f'{checked} of {len(loops)} loops have a check', file=file)
    for reason, count in sorted(reasons.items()):
        print(f'{count} without: {reason}', file=file)


def cythonize(modules, *, exclude=(), report=print_report, **options):
    """Cython.Build.cythonize, with checks.

    `report` is called with the list of all loops at the end (None: not).  Files are
    always compiled anew: one from before may have no checks.
    """
    import setuptools   # noqa: F401  has the distutils that Cython wants
    from Cython.Build import cythonize as plain
    if options.get('nthreads'):
        raise ValueError('nthreads: the checks are added in this process only; leave it out')
    options.update(nthreads=0, force=True, cache=False)
    with inserting(exclude) as loops:
        extensions = plain(modules, **options)
    if report is not None:
        report(loops)
    return extensions
