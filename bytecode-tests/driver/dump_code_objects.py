"""Print every code object of Python source files, one JSON record a line.

Usage: dump_code_objects.py OPTIMIZE [FILE...]

Without files: the whole standard library with its tests, progress on stderr.
The last record is a summary; its absence tells the reader that we died.
"""

import dis
import json
import os
import pathlib
import sys
import types


def standard_library():
    # Not sysconfig: from a build directory it names the place of the future
    # installation, which may hold another interpreter's files.
    root = pathlib.Path(os.__file__).parent
    return sorted(
        path
        for path in root.rglob("*.py")
        if "site-packages" not in path.relative_to(root).parts
    )


def code_objects(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from code_objects(constant)


def describe(code):
    # The helpers behind dis.get_instructions(): that also resolves and formats
    # every operand, which takes four times as long over a few million of them.
    return {
        "file": code.co_filename,
        "line": code.co_firstlineno,
        "name": code.co_qualname,
        # The start is where an EXTENDED_ARG prefix begins: what jumps and
        # protected ranges name.
        "instructions": [
            (
                start,
                dis.opname[opcode],
                arg,
                None if arg is None else dis._get_jump_target(opcode, arg, offset),
            )
            for offset, start, opcode, arg in dis._unpack_opargs(code.co_code)
            if opcode != dis.EXTENDED_ARG
        ],
        "protected": [
            (entry.start, entry.end, entry.target)
            for entry in dis._parse_exception_table(code)
        ],
    }


def write(kind, record):
    json.dump({kind: record}, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


def main():
    optimize = int(sys.argv[1])
    paths = [pathlib.Path(arg) for arg in sys.argv[2:]]
    show_progress = not paths
    if not paths:
        paths = standard_library()
    step = max(1, len(paths) // 10)
    not_compiled = []
    for number, path in enumerate(paths, start=1):
        try:
            module = compile(
                path.read_bytes(), str(path), "exec",
                dont_inherit=True, optimize=optimize,
            )
        except SyntaxError:
            # Test data that is broken on purpose.  Nothing wider is caught:
            # the compiler says ValueError when it finds inconsistent levels.
            not_compiled.append(str(path))
        else:
            for code in code_objects(module):
                write("code", describe(code))
        if show_progress and (number % step == 0 or number == len(paths)):
            print(
                f"code objects, optimize={optimize}: "
                f"{number} of {len(paths)} files",
                file=sys.stderr, flush=True,
            )
    write("summary", {"files": len(paths), "not_compiled": not_compiled})


if __name__ == "__main__":
    main()
