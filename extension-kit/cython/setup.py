"""Everything that is built goes to $INTERRUPTIBLE_BUILD, or to a temporary folder."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent / 'c' / 'interruptible.h'

build = os.environ.get('INTERRUPTIBLE_BUILD')
if not build:
    build = tempfile.mkdtemp(prefix='interruptible-')
    atexit.register(shutil.rmtree, build, ignore_errors=True)
Path(build).mkdir(parents=True, exist_ok=True)
if not HEADER.exists():
    raise SystemExit(f'{HEADER} is missing: build from a complete extension-kit folder')


class build_py_with_header(build_py):
    """The C header has one home, extension-kit/c; the wheel gets a copy."""

    def run(self):
        super().run()
        target = Path(self.build_lib) / 'interruptible' / 'include'
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(HEADER, target)


os.chdir(HERE)
setup(
    packages=['interruptible', 'interruptible.compile', 'interruptible.include'],
    package_data={'interruptible': ['__init__.pxd'], 'interruptible.include': ['*.h']},
    ext_modules=cythonize(
        [Extension('interruptible._interruptible', ['interruptible/_interruptible.pyx'],
                   include_dirs=[str(HEADER.parent), 'interruptible/include'],
                   define_macros=[('INTERRUPTIBLE_CY_IS_PACKAGE', '1')])],
        build_dir=os.path.join(build, 'c'), force=True, quiet=True),
    cmdclass={'build_py': build_py_with_header},
    options={'build': {'build_base': build}, 'egg_info': {'egg_base': build},
             'bdist_wheel': {'bdist_dir': os.path.join(build, 'wheel')}},
)
