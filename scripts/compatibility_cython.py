"""Run tests of Cython and write what became of each as lines of JSON.

Usage: python compatibility_cython.py RECORD [MODULE...]

Run by scripts/compatibility.py beside Cython's own runner, runtests.py, which
does the work: it compiles each module, with reference counts checked, and runs
what is in it. A MODULE is one of its names, like run.withstat; default: those
that have to do with the layout of the interpreter's structures, with frames,
exceptions, generators, threads, or calls back into Python.
"""

import json
import os
import runpy
import sys
import tempfile
import unittest

MODULES = """
    args_unpacking_in_closure_T658 async_def async_globals async_iter_pep492
    asyncgen_aclose_throw broken_exception
    builtin_exceptions callargs cdef_class_dataclass class_scope_del_T684
    closure_class_T596 closure_decorators_T478 closure_leak_1 closure_names
    closure_tests_1 closures_T82 code_object_cache control_flow_except_T725
    coroutines cpdef_nogil cpython_capi cpython_capi_py35 critical_sections
    cyclic_gc cyfunction cyfunction_defaults
    decorators double_dealloc_T796 exception_propagation_pure
    exception_subtypes exceptionpropagation exceptionrefcount exceptions_nogil
    exttype_dealloc exttype_freelist exttype_gc fastcall for_in_iter
    freethreaded_dealloc_resurrect_T7769 funcexc_iter_T228 funcexcept
    funcexceptchained funcexceptcypy funcexceptraise funcexceptraisefrom
    funcexceptreplace funcexceptreraise funcexceptreturn generator_expressions
    generator_expressions_nested generator_frame_cycle generator_thread_safety
    generators generators_GH1731 generators_in_refcycles generators_pep479
    generators_py generators_py35 inlined_context_manager iteratorexception
    lambda_tests libc_threads line_trace moduletryexcept new_style_exceptions
    nogil nogil_conditional parallel_with_gil pep442_tp_finalize pstats_profile_test
    py35_pep492_interop pycapsule pycontextvar pymutex
    pyparam_nogil r_pythonapi raise_memory_error_T650 refcount_in_meth reraise
    reraise_3args special_methods_T561 subinterpreters sys_monitoring
    test_asyncgen test_coroutines_pep492 test_except_star
    test_except_star_misc test_exceptions test_raisefrom threading_stress_tests
    threadsafe_generated tp_new trace_nogil_compilation tracebacks trashcan
    trybreak tryexcept tryfinally tryfinallychaining tss unbound_special_methods
    weakfail with_gil with_gil_automatic with_statement_module_level_T536
    withnogil withstat withstat_py withstat_py27 yield_from_pep380
    yield_from_py33 yield_inside_lambda
""".split()

record = None


class Result(unittest.TextTestResult):
    """Writes down what it is told."""

    # The module that is being run, and the test of runtests.py that does so:
    # around the tests that are in the module, and silent if all is well.
    module = around = None

    def name(self, test):
        if type(test).__module__ == "__main__":  # one of runtests.py
            # "[-1] compiling (c/cy2/pyx) and running withstat"
            what = test.shortDescription().partition("] ")[2]
        else:
            what = test.id()
        return f"{Result.module}::{what}"

    def write(self, test, outcome):
        print(json.dumps([self.name(test), outcome]), file=record, flush=True)

    def end_around(self):
        if Result.around is not None:
            self.write(Result.around, "passed")
            Result.around = None

    def startTest(self, test):
        super().startTest(test)
        if type(test).__module__ == "__main__":
            self.end_around()
            module = getattr(test, "module", None) or test.name
            Result.module = f"run.{module}"
            Result.around = test
        self.write(test, "started")

    def stopTestRun(self):
        super().stopTestRun()
        self.end_around()

    def addSuccess(self, test):
        super().addSuccess(test)
        self.write(test, "passed")

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.write(test, "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.write(test, "failed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.write(test, "skipped")
        if test is Result.around:
            Result.around = None

    def addError(self, test, error):
        super().addError(test, error)
        self.write(test, "failed")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.write(test, "failed")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.write(test, "failed")


def main():
    global record
    path, *modules = sys.argv[1:]
    modules = modules or [f"run.{name}" for name in MODULES]
    pattern = "|".join(name.replace(".", r"\.") for name in modules)
    unittest.TextTestRunner.resultclass = Result
    with open(path, "w", encoding="utf-8") as record:
        sys.argv = [
            "runtests.py", "-vv", "--backends=c", "--no-unit", "--no-examples",
            "--no-code-style", "--no-pyregr", "--no-annotate",
            "--work-dir", os.path.join(tempfile.gettempdir(), "work"),
            rf"^({pattern})$"]
        # It looks for Cython/Runtime and its own files from here.
        sys.path.insert(0, os.getcwd())
        runpy.run_path("runtests.py", run_name="__main__")


if __name__ == "__main__":
    main()
