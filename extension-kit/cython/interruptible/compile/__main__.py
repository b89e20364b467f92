"""python -m interruptible.compile: see interruptible.compile."""

import argparse
import sys
from pathlib import Path

from . import UnknownCython, cythonize, print_report


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog='python -m interruptible.compile',
        description='Compile Cython files so that every loop can be interrupted. '
                    'Loops that cannot be are listed, with the reason.')
    parser.add_argument('files', nargs='+', metavar='FILE.pyx')
    parser.add_argument('-o', '--output', default='build/interruptible', metavar='DIR',
                        help='where everything is written (default: %(default)s)')
    parser.add_argument('--build', action='store_true',
                        help='compile the C files, too: extension modules in DIR')
    parser.add_argument('--exclude', action='append', default=[], metavar='FUNCTION',
                        help='leave the loops of this function alone')
    parser.add_argument('--all', action='store_true',
                        help='fail if any loop has no check')
    parser.add_argument('-X', '--directive', action='append', default=[],
                        metavar='NAME=VALUE', help='a directive of Cython')
    parser.add_argument('-v', '--verbose', action='store_true',
                        help='list the loops that have a check, too')
    options = parser.parse_args(argv)

    from Cython.Compiler.Errors import CompileError
    from Cython.Compiler.Options import parse_directive_list
    directives = {}
    for text in options.directive:
        directives.update(parse_directive_list(text))
    found = []
    output = Path(options.output)
    try:
        extensions = cythonize(
            options.files, exclude=options.exclude, report=found.extend, quiet=True,
            build_dir=str(output / 'c'), compiler_directives=directives)
    except (UnknownCython, FileNotFoundError, ValueError) as error:
        print(f'interruptible.compile: {error}', file=sys.stderr)
        return 2
    except CompileError:
        return 1                # Cython has printed what is wrong
    print_report(found, options.verbose, file=sys.stderr)
    if options.all and any(loop.reason for loop in found):
        return 3
    if options.build:
        from setuptools import Distribution
        distribution = Distribution({'name': 'compiled', 'ext_modules': extensions})
        command = distribution.get_command_obj('build_ext')
        command.build_lib = str(output)
        command.build_temp = str(output / 'objects')
        command.ensure_finalized()
        command.run()
    return 0


if __name__ == '__main__':
    sys.exit(main())
