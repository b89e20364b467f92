"""Print the disassembly of each given source file as one JSON object.

The keys are the file names without their extension.  A file is compiled
under its bare name, so that no path of this machine gets into the listing.
"""

import dis
import io
import json
import pathlib
import sys


def disassemble(path):
    code = compile(path.read_bytes(), path.name, "exec", dont_inherit=True, optimize=0)
    listing = io.StringIO()
    dis.dis(code, file=listing, show_caches=False, adaptive=False)
    return listing.getvalue()


def main():
    paths = [pathlib.Path(arg) for arg in sys.argv[1:]]
    json.dump({path.stem: disassemble(path) for path in paths}, sys.stdout)


if __name__ == "__main__":
    main()
