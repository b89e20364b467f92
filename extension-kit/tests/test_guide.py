"""The code blocks of the guide: compiled, run, interrupted.

    PYTHON extension-kit/tests/test_guide.py --guide FILE.rst --out DIR [--language c]

The blocks of one language, one after the other, are one module.  C needs a compiler, Rust
needs cargo; Cython has to be installed for PYTHON.
"""

import argparse
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import textwrap
import unittest

from build import pyo3_config
from signals import Sender

KIT = pathlib.Path(__file__).resolve().parent.parent
SUFFIX = sysconfig.get_config_var('EXT_SUFFIX')

options = None
modules = {}

# What they are called with: a result that is known, and a call that takes minutes.
CALLS = {
    'count_primes': (1000, 168, 10**9),
    'harmonic': (1, 1.0, 10**12),
    'harmonic_by_hand': (1, 1.0, 10**12),
    'harmonic_by_two': (2, 1.5, 10**12),
    'queens': (6, 4, 20),
    'squares_in_list': (3, [0, 1, 4], 10**12),
}
EXPECTED = {
    'c': set(CALLS),
    'rust': {'harmonic', 'harmonic_by_two'},
    'cython': {'harmonic'},
}

C_END = '''
static PyMethodDef methods[] = {
%s
    {NULL, NULL, 0, NULL},
};

static int
guide_exec(PyObject *module)
{
    (void)module;
    return interruptible_import(0);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)guide_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef guide_c = {
    PyModuleDef_HEAD_INIT, "guide_c", NULL, 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_guide_c(void)
{
    return PyModuleDef_Init(&guide_c);
}
'''

CARGO = '''
[package]
name = "guide_rust"
version = "0.1.0"
edition = "2024"

[workspace]

[lib]
crate-type = ["cdylib"]

[dependencies]
interruptible = {{ path = '{kit}/rust/interruptible' }}
pyo3 = {{ version = "0.28", default-features = false, features = {features} }}
'''


def blocks(language):
    text = options.guide.read_text(encoding='utf-8')
    found = re.findall(rf'^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)',
                       text, re.MULTILINE)
    return '\n'.join(textwrap.dedent(block) for block in found)


def run(command, **arguments):
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, **arguments)
    if done.returncode:
        raise AssertionError(f'{shlex.join(command)}:\n{done.stdout}{done.stderr}')


def compile_c(source, target, *more):
    words = [word for name in ('CC', 'CFLAGS', 'CCSHARED')
             for word in shlex.split(sysconfig.get_config_var(name) or '')]
    paths = sysconfig.get_paths()
    include = {paths['include'], paths['platinclude'],
               pathlib.Path(sysconfig.get_config_h_filename()).parent}
    run([*words, *(f'-I{folder}' for folder in include), f'-I{KIT / "c"}', *more,
         '-shared', source, '-o', target, '-pthread'])


def build_c():
    code = blocks('c')
    names = re.findall(r'^(\w+)\(PyObject \*self, PyObject \*arg\)', code, re.MULTILINE)
    table = '\n'.join(f'    {{"{name}", {name}, METH_O, NULL}},' for name in names)
    source = options.out / 'guide_c.c'
    source.write_text(code + C_END % table)
    compile_c(source, options.out / f'guide_c{SUFFIX}', '-Wall', '-Werror')


def build_rust():
    folder = options.out / 'guide_rust'
    (folder / 'src').mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    features = '["macros", "abi3-py310"]'
    if sysconfig.get_config_var('Py_GIL_DISABLED'):
        # No limited API: pyo3 has to know for which interpreter it is.
        features = '["macros"]'
        config = options.out / 'pyo3-config.txt'
        config.write_text(pyo3_config())
        environment.update(PYO3_CONFIG_FILE=str(config),
                           PYO3_BUILD_EXTENSION_MODULE='1')
    (folder / 'Cargo.toml').write_text(CARGO.format(kit=KIT, features=features))
    (folder / 'src' / 'lib.rs').write_text(blocks('rust'))
    # The versions that the kit's own crates have.
    (folder / 'Cargo.lock').write_bytes((KIT / 'rust' / 'Cargo.lock').read_bytes())
    run(['cargo', 'build', '--release', '--target-dir', options.out / 'cargo'], cwd=folder,
        env=environment)
    library = options.out / 'cargo' / 'release' / 'libguide_rust.so'
    (options.out / f'guide_rust{SUFFIX}').write_bytes(library.read_bytes())


def build_cython():
    source = options.out / 'guide_cython.pyx'
    source.write_text('# cython: language_level=3, cdivision=True\n'
                      '# cython: freethreading_compatible=True\n' + blocks('cython'))
    package = KIT / 'cython'
    run([sys.executable, '-m', 'cython', '-I', package, source])
    compile_c(source.with_suffix('.c'), options.out / f'guide_cython{SUFFIX}',
              f'-I{package / "interruptible" / "include"}')


BUILD = {'c': build_c, 'rust': build_rust, 'cython': build_cython}


class GuideTests(unittest.TestCase):

    def test_all_are_there(self):
        for language, module in modules.items():
            with self.subTest(language):
                names = {name for name in dir(module) if name in CALLS}
                self.assertEqual(names, EXPECTED[language])

    def functions(self):
        for language, module in modules.items():
            for name in sorted(EXPECTED[language]):
                with self.subTest(language=language, function=name):
                    yield getattr(module, name), CALLS[name]

    def test_results(self):
        for function, (argument, result, _) in self.functions():
            self.assertEqual(function(argument), result)

    def test_interrupted(self):
        sender = Sender()
        self.addCleanup(sender.close)
        for function, (_, _, endless) in self.functions():
            sender.send(signal.SIGINT, 0.05)
            with self.assertRaises(KeyboardInterrupt):
                function(endless)
            sender.wait()

    def test_needs_no_gil(self):
        if not sysconfig.get_config_var('Py_GIL_DISABLED'):
            self.skipTest('this interpreter has a GIL')
        self.assertFalse(sys._is_gil_enabled())

    def test_wrong_argument(self):
        for function, _ in self.functions():
            with self.assertRaises(TypeError):
                function('many')


def main():
    global options
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--guide', required=True, type=pathlib.Path, help='the page')
    parser.add_argument('--out', required=True, type=pathlib.Path,
                        help='where everything goes')
    parser.add_argument('--language', action='append', choices=list(BUILD),
                        help='only this one (can be repeated)')
    options, rest = parser.parse_known_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(options.out))
    for language in options.language or BUILD:
        BUILD[language]()
        modules[language] = __import__(f'guide_{language}')
    signal.signal(signal.SIGINT, signal.default_int_handler)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == '__main__':
    main()
