"""Builds sample_cython and prange_example; the package interruptible is installed:

    pip wheel --no-build-isolation extension-kit/samples/cython -w DIR

Everything that is built goes to $SAMPLE_BUILD, or to a temporary folder.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import interruptible
from Cython.Build import cythonize
from setuptools import Extension, setup

build = os.environ.get('SAMPLE_BUILD')
if not build:
    build = tempfile.mkdtemp(prefix='sample_cython-')
    atexit.register(shutil.rmtree, build, ignore_errors=True)
Path(build).mkdir(parents=True, exist_ok=True)

os.chdir(Path(__file__).resolve().parent)
setup(
    ext_modules=cythonize(
        [Extension(name, [f'{name}.pyx'], include_dirs=[interruptible.get_include()])
         for name in ('sample_cython', 'prange_example')],
        build_dir=os.path.join(build, 'c'), force=True, quiet=True),
    options={'build': {'build_base': build}, 'egg_info': {'egg_base': build}},
)
