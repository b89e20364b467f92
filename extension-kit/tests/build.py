"""Builds the samples and the tests' modules for the Python that runs this.

    PYTHON extension-kit/tests/build.py --out DIR [--only c,cython,rust]

In DIR then: sample_c, kit_test_c, fake_interrupts, sample_cython, sample_rust;
in DIR/pthreads: the sample_c that uses threads of its own where the one in DIR
uses OpenMP.  Nothing is written anywhere else.  --only tests: kit_test_c and
fake_interrupts.
"""

import argparse
import os
import pathlib
import shlex
import shutil
import struct
import subprocess
import sys
import sysconfig

KIT = pathlib.Path(__file__).resolve().parent.parent
HEADER = KIT / 'c'
SAMPLES = KIT / 'samples'
TESTS = KIT / 'tests'

SUFFIX = sysconfig.get_config_var('EXT_SUFFIX')

# What we compile ourselves has to be free of warnings.
STRICT = ['-std=c99', '-Wall', '-Wextra', '-Werror']


def fail(message):
    sys.exit(f'build.py: {message}')


def run(command, **arguments):
    print('+', shlex.join(map(str, command)), flush=True)
    try:
        subprocess.run(command, check=True, **arguments)
    except FileNotFoundError:
        fail(f'there is no program {command[0]}')
    except subprocess.CalledProcessError as error:
        fail(f'{command[0]} has failed with status {error.returncode}')


def words(name):
    return shlex.split(sysconfig.get_config_var(name) or '')


def compiler():
    """The command that compiles for this Python, CC=... has the last word."""
    return shlex.split(os.environ.get('CC', '')) or words('CC')


def include_flags(*folders):
    # An interpreter that runs where it was built has pyconfig.h elsewhere.
    config = pathlib.Path(sysconfig.get_config_h_filename()).parent
    paths = dict.fromkeys([*folders, sysconfig.get_path('include'),
                           sysconfig.get_path('platinclude'), config])
    return [f'-I{path}' for path in paths]


def compile_c(source, module, out, *flags, includes=(), strict=True):
    """One source, one extension module, put into the folder out."""
    out.mkdir(parents=True, exist_ok=True)
    run([*compiler(), *words('CFLAGS'), *words('CCSHARED'),
         *(STRICT if strict else []), *include_flags(HEADER, *includes),
         *flags, '-shared', source, '-o', out / (module + SUFFIX),
         '-pthread'])


def has_openmp():
    probe = (b'#include <omp.h>\n'
             b'int f(void) { return omp_get_max_threads(); }\n')
    command = [*compiler(), '-fopenmp', '-fPIC', '-shared', '-x', 'c', '-',
               '-o', os.devnull]
    return subprocess.run(command, input=probe,
                          capture_output=True).returncode == 0


def build_c(out, options):
    sample = SAMPLES / 'c' / 'sample_c.c'
    if has_openmp():
        compile_c(sample, 'sample_c', out, '-fopenmp')
    else:
        print('no OpenMP: both sample_c use threads of their own')
        compile_c(sample, 'sample_c', out)
    compile_c(sample, 'sample_c', out / 'pthreads')
    build_tests(out, options)


def build_tests(out, options):
    compile_c(TESTS / 'kit_test_c.c', 'kit_test_c', out)
    compile_c(TESTS / 'fake_interrupts.c', 'fake_interrupts', out)


def build_cython(out, options):
    """The package interruptible and samples/cython, by the venv's Cython."""
    cython = shlex.split(options.cython)
    package = KIT / 'cython' / 'interruptible'
    sources = [(source, 'interruptible') for source in package.glob('*.pyx')]
    sources += [(source, None)
                for source in (SAMPLES / 'cython').glob('*.pyx')]
    if not sources:
        fail(f'there is no .pyx in {package} or {SAMPLES / "cython"}')
    scratch = out / 'cython'
    scratch.mkdir(parents=True, exist_ok=True)
    openmp = ['-fopenmp'] if has_openmp() else []
    if package.is_dir():
        # Its Python and .pxd files belong beside what is compiled.
        shutil.copytree(package, out / 'interruptible', dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns('__pycache__'))
    for source, parent in sources:
        name = source.stem if parent is None else f'{parent}.{source.stem}'
        generated = scratch / f'{name}.c'
        run([*cython, '-3', '-I', KIT / 'cython', '--module-name', name,
             source, '-o', generated])
        compile_c(generated, source.stem,
                  out if parent is None else out / parent, *openmp,
                  includes=[package / 'include', source.parent],
                  strict=False)


def pyo3_config():
    """What pyo3 is to know of this Python.

    It would ask by itself, but above the kit may be a .cargo/config.toml that
    answers for another interpreter: in this repository there is.
    """
    flags = [flag for flag in ('Py_DEBUG', 'Py_REF_DEBUG', 'Py_TRACE_REFS',
                               'Py_GIL_DISABLED')
             if sysconfig.get_config_var(flag)]
    return (f'implementation=CPython\n'
            f'version={sys.version_info[0]}.{sys.version_info[1]}\n'
            f'shared=false\n'
            f'abi3=false\n'
            f'pointer_width={8 * struct.calcsize("P")}\n'
            f'build_flags={",".join(flags)}\n')


def build_rust(out, options):
    """samples/rust, a cargo package that makes libsample_rust.so."""
    manifest = SAMPLES / 'rust' / 'Cargo.toml'
    if not manifest.exists():
        fail(f'there is no {manifest}')
    target = out / 'cargo'
    config = out / 'pyo3-config.txt'
    if not config.exists() or config.read_text() != pyo3_config():
        config.write_text(pyo3_config())    # everything is compiled again
    # The limited API of 3.10 has no buffers; builds without a GIL have none.
    limited = (sys.version_info >= (3, 11)
               and not sysconfig.get_config_var('Py_GIL_DISABLED'))
    features = [] if limited else ['--no-default-features']
    run(['cargo', 'build', '--release', '--locked', '--manifest-path', manifest,
         '--target-dir', target, *features],
        env={**os.environ, 'PYO3_CONFIG_FILE': str(config),
             'PYO3_BUILD_EXTENSION_MODULE': '1'})
    suffix = '.dylib' if sys.platform == 'darwin' else '.so'
    shutil.copy2(target / 'release' / f'libsample_rust{suffix}',
                 out / f'sample_rust{SUFFIX}')


SAMPLE_PARTS = {'c': build_c, 'cython': build_cython, 'rust': build_rust}
PARTS = {**SAMPLE_PARTS, 'tests': build_tests}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', required=True, type=pathlib.Path,
                        metavar='DIR', help='where everything goes')
    parser.add_argument('--only', default=','.join(SAMPLE_PARTS), metavar='PARTS',
                        help='some of c,cython,rust,tests '
                             '(default: c,cython,rust)')
    parser.add_argument('--cython', metavar='COMMAND',
                        default=f'{shlex.quote(sys.executable)} -m cython',
                        help='how to call Cython 3 (default: this Python\'s)')
    options = parser.parse_args()
    parts = options.only.split(',')
    for part in parts:
        if part not in PARTS:
            parser.error(f'there is no part {part!r}; the parts are '
                         f'{", ".join(PARTS)}')
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        PARTS[part](out, options)


if __name__ == '__main__':
    main()
