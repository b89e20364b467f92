"""All state of interrupts is in section 24 of interrupt_masking.md.

The first table there (InternalDocs) is compared with the object files and the
headers of the build that runs: a static variable, a thread-local or a field
that is not listed fails, and so does one that is listed and not there.  What
the table says of each is for readers.

The functions that read tables, C and symbols are also used by a check that has
the unpatched interpreter to compare with, and so can find what was added to
CPython's own files.
"""

import fnmatch
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import unittest

from test import support


# What a table says of the level, outermost first.
LEVELS = 'process', 'runtime', 'interpreter', 'thread', 'context', 'module'

# Crates of ours; statics of others are Rust's own libraries'.
CRATES = 'interrupt_core', 'interrupts_module'

# Built for one system only.
PLATFORM = 'interrupt_core::kick::platform::'

# Structs that Python.h knows by another name.
STRUCT_NAMES = {'_is': 'PyInterpreterState', '_ts': 'PyThreadState',
                'pyruntimestate': '_PyRuntimeState'}


# --- The page ---------------------------------------------------------------

class Page:
    """Section 24: its tables, and what it says is no state."""

    def __init__(self, text):
        section = re.search(r'^## 24\. All state\n(.*?)(?=^## |\Z)', text,
                            re.MULTILINE | re.DOTALL)
        if section is None:
            raise ValueError('the page has no section "24. All state"')
        self.tables = []
        table = None
        for line in section[1].splitlines():
            if not line.startswith('|'):
                table = None
                continue
            cells = [cell.strip() for cell in line.strip('| ').split(' | ')]
            if table is None:
                table = []
                self.tables.append(table)
            table.append(cells)
        no_state = re.search(r'No state:(.*?)(?=^- |^$)', section[1],
                             re.MULTILINE | re.DOTALL)
        self.no_state = names_in(no_state[1]) if no_state else []

    def rows(self, table):
        """Return the rows below the header and the ruler."""
        return self.tables[table][2:]

    def names(self, table):
        """Return everything that the first cells of this table name."""
        return [name for row in self.rows(table) for name in names_in(row[0])]


def names_in(cell):
    return re.findall(r'`([^`]+)`', cell)


def read_page(source):
    path = pathlib.Path(source, 'InternalDocs', 'interrupt_masking.md')
    return Page(path.read_text(encoding='utf-8'))


def compare(listed, found):
    """Return what is found and not listed, and what is listed and not found.

    A listed name may have a star, or be that of all that has a field."""
    patterns = [re.compile(fnmatch.translate(name) + r'|'
                           + re.escape(name) + r'\.\w+') for name in listed]
    missing = [name for name in sorted(found)
               if not any(pattern.match(name) for pattern in patterns)]
    gone = [name for name, pattern in zip(listed, patterns)
            if not any(pattern.match(one) for one in found)]
    return missing, gone


# --- Object files -----------------------------------------------------------

# Initialized, not initialized, common; small ones, and unique ones.  Those in
# .rodata are never written.
VARIABLES = set('dDbBcCgGsSu')


def variables(objects):
    """Return pairs of an object file and a static or thread-local in it."""
    command = ['nm', '-C', '--defined-only', '--print-file-name']
    nm = subprocess.run(command + list(map(str, objects)), capture_output=True,
                        text=True, encoding='utf-8', errors='replace',
                        check=True)
    found = []
    for line in nm.stdout.splitlines():
        match = re.fullmatch(r'(.*):([0-9a-fA-F]*) +(\S) (.*)', line)
        if match and match[3] in VARIABLES:
            found.append((match[1], plain_name(match[4])))
    return found


def plain_name(symbol):
    """Drop what a compiler adds to a name."""
    symbol = re.sub(r'\.(\d+|isra|part|constprop|lto_priv|cold)\b.*', '',
                    symbol)
    # A thread-local of Rust.
    return re.sub(r'::\{.*|::h[0-9a-f]{16}$', '', symbol).lstrip('<')


def links_later():
    """Whether object files of C hold no symbols, as the linker makes code."""
    return '-flto' in (sysconfig.get_config_var('PY_CORE_CFLAGS') or '')


def crate_of(name):
    return name.partition('::')[0]


# --- C ----------------------------------------------------------------------

def tokens_of(text):
    text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', text, flags=re.DOTALL)
    text = re.sub(r'\\\n', ' ', text)
    text = re.sub(r'^[ \t]*#.*$', '', text, flags=re.MULTILINE)
    text = re.sub(r'"(\\.|[^"\\\n])*"|\'(\\.|[^\'\\\n])+\'', '0', text)
    return re.findall(r'\w+|[^\w\s]', text)


def declared(tokens):
    """Return the name that is declared by what stands before a comma."""
    text = ' '.join(tokens)
    pointer = re.search(r'\( \* (?:\w+ )*?(\w+) (?:\[[^\]]*\] )*\)', text)
    if pointer:
        return pointer[1]
    text = re.sub(r'\[.*|:.*|=.*', '', text)
    names = re.findall(r'[A-Za-z_]\w*', text)
    return names[-1] if names else None


def is_record(tokens):
    """Is this the start of a struct or union, up to the brace?"""
    return any(token in ('struct', 'union') for token in tokens[-3:])


def fields_of(tokens, i):
    """Return the names of the fields of a body, and where it ends."""
    fields, declaration, inner, depth = [], [], None, 0
    while tokens[i] != '}' or depth:
        token = tokens[i]
        i += 1
        if token == '{':
            record = is_record(declaration)
            names, i = fields_of(tokens, i)
            inner = names if record else None
            declaration = []
            continue
        depth += (token in '([') - (token in ')]')
        if token not in ';,' or depth:
            declaration.append(token)
            continue
        name = declared(declaration)
        if inner is not None:
            fields += [f'{name}.{field}' for field in inner] if name else inner
        elif name:
            fields.append(name)
        if token == ';':
            declaration, inner = [], None
        # Otherwise what follows the comma is of the same type.
    return fields, i + 1


def structs(text):
    """Return the fields of all structs and unions of a C file, by name.

    One without a name has that of the type that it defines."""
    tokens = tokens_of(text)
    result = {}
    i = 0
    while i < len(tokens):
        if tokens[i] not in ('struct', 'union'):
            i += 1
            continue
        start = i
        i += 1
        while i < len(tokens) and re.fullmatch(r'\w+', tokens[i]):
            i += 1
        if i >= len(tokens) or tokens[i] != '{':
            continue
        name = tokens[i - 1] if i - 1 > start else ''
        try:
            fields, i = fields_of(tokens, i + 1)
        except IndexError:
            break       # braces of a macro
        if not name and start and tokens[start - 1] == 'typedef':
            name = tokens[i]
        result.setdefault(STRUCT_NAMES.get(name, name), []).extend(fields)
    return result


def fields(*paths):
    """Return names like `struct.field` of all structs in these files."""
    result = set()
    for path in paths:
        for name, names in structs(path.read_text(encoding='utf-8')).items():
            result |= {f'{name}.{field}' for field in names}
    return result


# --- The test ---------------------------------------------------------------

if not sysconfig.is_python_build():
    raise unittest.SkipTest('compares object files: needs the build directory')

SOURCE = sysconfig.get_config_var('abs_srcdir')
BUILD = sysconfig.get_config_var('abs_builddir')
if not SOURCE or not pathlib.Path(SOURCE, 'InternalDocs').is_dir():
    raise unittest.SkipTest('compares sources: they are not there')


class TableTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.page = read_page(SOURCE)

    def test_form(self):
        self.assertEqual(len(self.page.tables), 2)
        for table in self.page.tables:
            header, ruler, *rows = table
            self.assertEqual(header[:2], ['state', 'level'])
            for row in rows:
                with self.subTest(row=row[0]):
                    self.assertEqual(len(row), len(header))
                    self.assertTrue(all(row), 'a cell is empty')
                    self.assertIn(row[1], LEVELS)
                    self.assertTrue(names_in(row[0]))

    def test_order(self):
        # From the whole process to the objects of a module.
        for table in range(2):
            levels = [LEVELS.index(row[1]) for row in self.page.rows(table)]
            self.assertEqual(levels, sorted(levels))

    def test_each_once(self):
        names = self.page.names(0) + self.page.names(1) + self.page.no_state
        self.assertEqual([name for name in names if names.count(name) > 1], [])


@unittest.skipUnless(shutil.which('nm'), 'needs nm')
class SymbolTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.page = read_page(SOURCE)

    def check(self, listed, found):
        missing, gone = compare(listed, found)
        self.assertEqual(missing, [], 'not listed')
        self.assertEqual(gone, [], 'listed, and not there')

    def test_core(self):
        core = sysconfig.get_config_var('INTERRUPT_CORE_OBJ')
        if not core or not pathlib.Path(core).is_file():
            self.skipTest('the object file of the core is not there')
        if support.check_sanitizer(address=True):
            self.skipTest('the sanitizer has variables of its own')
        found = {name for _, name in variables([core])}
        if any(name.startswith(('_R', '_ZN')) for name in found):
            self.skipTest('nm does not know the names of Rust')
        self.assertEqual({crate_of(name) for name in found} & set(CRATES),
                         set(CRATES))
        if sys.platform != 'linux':
            found = {name for name in found if not name.startswith(PLATFORM)}
        self.check([name for name in self.page.names(0)
                    if self.is_rust_static(name)], found)

    @staticmethod
    def is_rust_static(name):
        if sys.platform != 'linux' and name.startswith(PLATFORM):
            return False
        # Statics are in capitals; a pattern stands for those of a library.
        last = name.rpartition('::')[2]
        return ('::' in name and '.' not in last
                and (last.isupper() or last == '*') or name.startswith('DW.'))

    def test_c(self):
        if links_later():
            self.skipTest('objects for the optimizing linker')
        objects = sorted(pathlib.Path(BUILD, 'Python').glob('interrupt*.o'))
        sources = sorted(pathlib.Path(SOURCE, 'Python').glob('interrupt*.c'))
        self.assertEqual([path.stem for path in objects],
                         [path.stem for path in sources])
        found = {f'Python/{pathlib.Path(path).stem}.c: {name}'
                 for path, name in variables(objects)}
        self.assertTrue(found)
        self.check([name for name in self.page.names(0)
                    if name.startswith('Python/interrupt')], found)


class FieldTests(unittest.TestCase):
    """Fields of structs: those of ours, and ours in CPython's."""

    @classmethod
    def setUpClass(cls):
        cls.page = read_page(SOURCE)
        cls.include = pathlib.Path(SOURCE, 'Include')
        cls.sources = [*cls.include.rglob('*interrupt*.h'),
                       *pathlib.Path(SOURCE, 'Python').glob('interrupt*.c')]

    def test_ours(self):
        found = fields(*self.sources)
        self.assertIn('_PyInterruptState.waiting', found)
        owners = {name.partition('.')[0] for name in found}
        listed = [name for name in self.page.names(0) + self.page.no_state
                  if name.partition('.')[0] in owners]
        missing, gone = compare(listed, found)
        self.assertEqual(missing, [], 'not listed')
        self.assertEqual(gone, [], 'listed, and not there')

    def test_in_structs_of_others(self):
        # By name: only a comparison with other sources finds the rest.
        others = fields(*(path for path in self.include.rglob('*.h')
                          if path not in self.sources))
        found = {name for name in others if 'interrupt' in name
                 and name.rpartition('.')[2] != 'unhandled_keyboard_interrupt'}
        self.assertIn('_PyInterpreterFrame.interrupt_level', found)
        missing = compare(self.page.names(0), found)[0]
        self.assertEqual(missing, [], 'not listed')
        owners = {name.partition('.')[0] for name in found}
        listed = [name for name in self.page.names(0)
                  if name.partition('.')[0] in owners]
        gone = compare(listed, others)[1]
        self.assertEqual(gone, [], 'listed, and not there')


class ToolTests(unittest.TestCase):
    """What this file reads by, tried on what it must see."""

    def test_structs(self):
        text = '''
        #define X struct { int no; }
        typedef struct one { int a, *b[3]; char c : 2; /* int d; */ } one_t;
        struct _is { struct { one_t carried;
        #ifdef Y
            PyMutex mutex;
        #endif
            void (*call)(int x, int y); union { int i; long j; }; } inner;
            enum { RED, GREEN } colour; };
        typedef struct { int only; } unnamed;
        static struct one variable = { 1, 2 };
        struct one function(struct one *argument) { return *argument; }
        '''
        self.assertEqual(structs(text), {
            'one': ['a', 'b', 'c'],
            'PyInterpreterState': [
                'inner.carried', 'inner.mutex', 'inner.call', 'inner.i',
                'inner.j', 'colour'],
            'unnamed': ['only'],
        })

    def test_symbols(self):
        for symbol, name in [
            ('capi', 'capi'),
            ('state.3', 'state'),
            ('crate::module::NAME', 'crate::module::NAME'),
            ('crate::module::NAME.0', 'crate::module::NAME'),
            ('crate::module::NAME::h0123456789abcdef', 'crate::module::NAME'),
            ('crate::TLS::{{constant}}::{{closure}}::VAL', 'crate::TLS'),
            ('<std::State>::new::KEYS::{K#0}', 'std::State>::new::KEYS'),
        ]:
            self.assertEqual(plain_name(symbol), name)

    def test_compare(self):
        found = {'a::B', 'a::C', 'f.c: s', 'S.x', 'S.y', 'T.z'}
        self.assertEqual(compare(['a::*', 'f.c: s', 'S', 'T.z'], found),
                         ([], []))
        listed = ['a::B', 'f.c: s', 'S.x', 'T', 'gone']
        self.assertEqual(compare(listed, found), (['S.y', 'a::C'], ['gone']))

    @unittest.skipUnless(shutil.which('nm'), 'needs nm')
    def test_variables(self):
        path = pathlib.Path(BUILD, 'Modules', 'signalmodule.o')
        if links_later() or not path.is_file():
            self.skipTest('no object file that has symbols')
        self.assertIn((str(path), 'signal_module'), variables([path]))


if __name__ == '__main__':
    unittest.main()
