"""Builds a wheel: pip wheel extension-kit/samples/c -w DIR

SAMPLE_C_OPENMP=0 builds parallel_sum() with threads of its own, which is also
what a compiler without OpenMP gets.
"""

import atexit
import os
import shutil
import subprocess
import tempfile

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# setuptools would leave its folders here, among the sources.
SCRATCH = tempfile.mkdtemp(prefix='sample_c-')
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

# The header lies beside the samples; a project of your own has a copy in it.
os.chdir(os.path.dirname(os.path.abspath(__file__)))
KIT = os.path.join('..', '..', 'c')


class Build(build_ext):

    def build_extension(self, ext):
        if os.environ.get('SAMPLE_C_OPENMP') != '0' and self.has_openmp():
            ext.extra_compile_args.append('-fopenmp')
            ext.extra_link_args.append('-fopenmp')
        super().build_extension(ext)

    def has_openmp(self):
        """Can the compiler do it?  Asked by compiling, not by its name."""
        source = os.path.join(SCRATCH, 'probe.c')
        with open(source, 'w') as file:
            file.write('#include <omp.h>\n'
                       'int probe(void) { return omp_get_max_threads(); }\n')
        command = [*self.compiler.compiler_so, '-fopenmp', '-c', source,
                   '-o', os.path.join(SCRATCH, 'probe.o')]
        return subprocess.run(command, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0


setup(
    ext_modules=[Extension('sample_c', ['sample_c.c'], include_dirs=[KIT],
                           depends=[os.path.join(KIT, 'interruptible.h')],
                           extra_compile_args=['-std=c99'])],
    cmdclass={'build_ext': Build},
    options={'build': {'build_base': os.path.join(SCRATCH, 'build')},
             'egg_info': {'egg_base': SCRATCH}},
)
