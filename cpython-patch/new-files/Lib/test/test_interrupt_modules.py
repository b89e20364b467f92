"""What modules of the library do with an interrupt, and when something fails.

test_interrupt_library interrupts what programs do with the library at each check
point.  Here is what a sweep does not see: errors that are none of an interrupt's,
interrupts that are an Exception, what is reported to whom, what SQLite has stored.

The promises are written down in InternalDocs/interrupt_masking.md, section 20.
"""

import asyncio
import contextlib
import errno
import io
import os
import shelve
import signal
import sys
import tempfile
import threading
import types
import unittest

from test import support
from test.support import interrupt_masks
from test.support.interrupt_constructs import step
from test.support.interrupt_masks import needs_masks
from test.support.interrupt_sweep import Interrupt, sweep

try:
    import sqlite3
except ImportError:
    sqlite3 = None

if not hasattr(signal, 'SIGUSR1'):
    raise unittest.SkipTest('needs SIGUSR1')


def tearDownModule():
    asyncio.set_event_loop_policy(None)


class ModulesTestCase(unittest.TestCase):

    # What an interrupt raises.
    interrupt = Interrupt

    def setUp(self):
        def handler(*args):
            raise self.interrupt
        self.addCleanup(signal.signal, signal.SIGUSR1,
                        signal.signal(signal.SIGUSR1, handler))

    @staticmethod
    def be_interrupted():
        signal.raise_signal(signal.SIGUSR1)
        # Here at the latest, unless something masks.
        step()


class SQLiteTestCase(ModulesTestCase):

    def setUp(self):
        super().setUp()
        self.connection = self.connect()

    def connect(self):
        connection = sqlite3.connect(':memory:', isolation_level=None)
        self.addCleanup(connection.close)
        return connection

    def fetch(self, sql):
        return self.connection.execute(sql).fetchall()

    def insert(self, values, connection=None):
        (connection or self.connection).executemany(
            'insert into words values (?)', [(value,) for value in values])

    def check_usable(self):
        self.assertEqual(self.fetch('select 1'), [(1,)])
        # Nothing is left that would be raised now.
        step()
        with self.assertRaisesRegex(sqlite3.OperationalError, 'no such table'):
            self.fetch('select * from missing')
        step()


@unittest.skipIf(sqlite3 is None, 'needs sqlite3')
class KeptTests(SQLiteTestCase):
    """What a callback has raised is raised where SQL is executed, once."""

    def trace_statement(self, statement, raises):
        """Let `raises` be called while a statement that starts so is executed.
        """
        def trace(text):
            if text.startswith(statement):
                raises()
        self.connection.set_trace_callback(trace)

    def exit(self):
        raise SystemExit

    def check_method(self, statement, method):
        for raises, exc in [(self.be_interrupted, Interrupt),
                            (self.exit, SystemExit)]:
            with self.subTest(exc=exc):
                self.connection.execute('begin')
                self.trace_statement(statement, raises)
                with self.assertRaises(exc):
                    method()
                    step()
                self.connection.set_trace_callback(None)
                # The statement has been executed all the same.
                self.assertFalse(self.connection.in_transaction)
                self.check_usable()

    def test_commit(self):
        self.check_method('COMMIT', self.connection.commit)

    def test_rollback(self):
        self.check_method('ROLLBACK', self.connection.rollback)

    def test_context_manager(self):
        def use():
            with self.connection:
                pass
        self.check_method('COMMIT', use)

    def test_commit_by_executescript(self):
        self.connection.isolation_level = ''
        self.check_method('COMMIT', lambda: self.connection.executescript(''))

    def test_commit_that_fails(self):
        # In place of the error; the transaction goes on.
        self.connection.executescript('''
            pragma foreign_keys = on;
            create table parents (id primary key);
            create table children (
                parent references parents deferrable initially deferred);
            begin;
            insert into children values (1);
            ''')
        self.trace_statement('COMMIT', self.be_interrupted)
        with self.assertRaises(Interrupt) as caught:
            self.connection.commit()
        self.assertIsNone(caught.exception.__context__)
        self.connection.set_trace_callback(None)
        self.assertTrue(self.connection.in_transaction)
        with self.assertRaises(sqlite3.IntegrityError):
            self.connection.commit()
        self.connection.rollback()
        self.check_usable()

    def test_first_row(self):
        # Not only at the end of the statement.
        self.trace_statement('values', self.be_interrupted)
        with self.assertRaises(Interrupt):
            cursor = self.connection.execute('values (1), (2)')
            step()
        self.connection.set_trace_callback(None)
        self.check_usable()

    def open_window(self, finalize):
        """A cursor; to close it calls `finalize`."""
        class Window:
            def step(self, value):
                pass
            inverse = step
            def value(self):
                return 0
        Window.finalize = finalize
        self.connection.create_window_function('window', 1, Window)
        cursor = self.connection.execute('''
            select window(column1) over (order by column1)
            from (values (1), (2), (3))''')
        self.assertEqual(cursor.fetchone(), (0,))
        return cursor

    def test_close_cursor(self):
        for raises, exc in [(self.be_interrupted, Interrupt),
                            (self.exit, SystemExit)]:
            with self.subTest(exc=exc):
                cursor = self.open_window(lambda self: raises())
                with self.assertRaises(exc):
                    cursor.close()
                    step()
                with self.assertRaises(sqlite3.ProgrammingError):
                    cursor.fetchone()
                self.check_usable()

    def test_execute_again(self):
        # A cursor ends its statement before it executes the next one.
        cursor = self.open_window(lambda window: self.be_interrupted())
        with self.assertRaises(Interrupt):
            cursor.execute('select 1')
            step()
        self.check_usable()

    def test_drop_cursor(self):
        cursor = self.open_window(lambda window: self.be_interrupted())
        with self.assertRaises(Interrupt):
            del cursor
            step()
        self.check_usable()

    @needs_masks
    def test_success_in_masked_code(self):
        # It waits as any interrupt does.
        self.connection.execute('begin')
        self.trace_statement('COMMIT', self.exit)
        committed = False
        with self.assertRaises(SystemExit):
            with threading.nointerrupts:
                self.connection.commit()
                step()
                committed = True
        self.assertTrue(committed)

    def test_executescript_stops(self):
        self.trace_statement('create table first (value)',
                             self.be_interrupted)
        with self.assertRaises(Interrupt):
            self.connection.executescript('create table first (value);'
                                          'create table second (value)')
        self.assertEqual(self.fetch('select name from sqlite_master'),
                         [('first',)])
        self.check_usable()

    @needs_masks
    def test_executescript_in_masked_code(self):
        self.trace_statement('create table first (value)', self.exit)
        with self.assertRaises(SystemExit):
            with threading.nointerrupts:
                self.connection.executescript('create table first (value);'
                                              'create table second (value)')
        self.assertEqual(self.fetch('select name from sqlite_master'),
                         [('first',), ('second',)])

    def test_failure_in_masked_code(self):
        # The function was called in there, so it is raised at once.
        self.connection.create_function('function', 0, self.exit)
        events = []

        def fail():
            try:
                pass
            finally:
                try:
                    self.fetch('select function()')
                except sqlite3.Error:
                    events.append('error')
                except SystemExit:
                    events.append('exit')
                step()
                events.append('end')
        fail()
        self.assertEqual(events, ['exit', 'end'])
        self.check_usable()

        with threading.nointerrupts:
            with self.assertRaises(SystemExit):
                self.fetch('select function()')
            step()
        self.check_usable()

    @needs_masks
    def test_error_while_an_interrupt_waits(self):
        # A statement that fails raises its error, not what the mask holds back.
        events = []

        class Manager:
            def __enter__(manager):
                self.be_interrupted()
                try:
                    self.fetch('select * from missing')
                except sqlite3.OperationalError:
                    events.append('error')
                step()
                events.append('entered')

            def __exit__(manager, *exc_info):
                events.append('left')

        with self.assertRaises(Interrupt):
            with Manager():
                pass
        self.assertEqual(events, ['error', 'entered', 'left'])
        self.check_usable()


@unittest.skipIf(sqlite3 is None, 'needs sqlite3')
class CollationTests(SQLiteTestCase):
    """Nothing is sorted by half of the answers."""

    WORDS = 'mdtbkpz'

    def setUp(self):
        super().setUp()
        self.calls = 0
        # The number of the comparison that is interrupted, and how.
        self.cut = 0
        self.raises = self.be_interrupted
        self.make_tables(self.connection)

    def make_tables(self, connection):
        connection.create_collation('collation', self.compare)
        connection.execute('create table words (word text collate collation)')

    def compare(self, first, second):
        self.calls += 1
        if self.calls == self.cut:
            self.raises()
        return (first > second) - (first < second)

    def check_statement(self, statement, *, index=''):
        """Interrupt each of the comparisons that a statement makes."""
        cut = 1
        while True:
            connection = self.connect()
            self.make_tables(connection)
            if index:
                connection.execute(index)
            self.insert(self.WORDS, connection)
            self.cut = cut
            self.calls = 0
            try:
                connection.execute(statement)
                step()
            except Interrupt:
                interrupted = True
            else:
                interrupted = False
            calls = self.calls
            self.cut = 0
            self.assertEqual(interrupted, calls >= cut)
            self.assertEqual(
                connection.execute('pragma integrity_check').fetchall(),
                [('ok',)], (statement, index, cut))
            found = [word for word, in connection.execute(
                'select word from words order by word')]
            self.assertEqual(found, sorted(found))
            connection.execute("insert into words values ('x')")
            if not interrupted:
                self.assertGreater(cut, 1)
                break
            cut += 1

    INDEX = 'create index word_index on words (word)'
    UNIQUE_INDEX = 'create unique index word_index on words (word)'

    def test_create_index(self):
        self.check_statement(self.INDEX)
        self.check_statement(self.UNIQUE_INDEX)

    def test_reindex(self):
        self.check_statement('reindex', index=self.INDEX)

    @needs_masks
    def test_insert(self):
        # SQLite itself does not look whether it is interrupted in there.
        self.check_statement("insert into words values ('n')",
                             index=self.INDEX)
        self.check_statement("insert into words values ('n')",
                             index=self.UNIQUE_INDEX)
        self.check_statement("insert into words values ('n'), ('a'), ('w')",
                             index=self.INDEX)

    def test_update(self):
        self.check_statement("update words set word = 'c' where word = 'z'",
                             index=self.INDEX)

    def test_delete(self):
        self.check_statement("delete from words where word = 'p'",
                             index=self.INDEX)

    @needs_masks
    def test_executescript(self):
        self.connection.execute(self.INDEX)
        self.insert(self.WORDS)
        self.cut = self.calls + 1
        with self.assertRaises(Interrupt):
            self.connection.executescript("insert into words values ('n');"
                                          "insert into words values ('a')")
        self.check_index(len(self.WORDS) + 1)

    @needs_masks
    def test_executemany(self):
        self.connection.execute(self.INDEX)
        self.cut = 2
        with self.assertRaises(Interrupt):
            self.insert(self.WORDS)
            step()
        self.check_index(self.fetch('select count(*) from words')[0][0])

    def check_index(self, count):
        self.assertEqual(self.fetch('pragma integrity_check'), [('ok',)])
        self.assertEqual(len(self.fetch('select * from words')), count)

    @needs_masks
    def test_interrupted_again(self):
        # Each of its calls is.
        def raises():
            self.cut += 1
            self.be_interrupted()
        self.raises = raises
        self.connection.execute(self.INDEX)
        self.insert(self.WORDS)
        self.cut = self.calls + 1
        with self.assertRaises(Interrupt):
            self.connection.execute("insert into words values ('n')")
            step()
        self.cut = 0
        self.check_index(len(self.WORDS) + 1)

    def test_interrupted_before(self):
        # It was another callback that has raised something.
        self.connection.execute(self.INDEX)
        self.insert(self.WORDS)

        def trace(statement):
            self.be_interrupted()
        self.connection.set_trace_callback(trace)
        with self.assertRaises(Interrupt):
            self.connection.execute("insert into words values ('n')")
            step()
        self.connection.set_trace_callback(None)
        self.check_index(len(self.WORDS) + 1)

    def insert_many(self):
        self.connection.execute('begin')
        self.insert(str(i * 7919 % 10007) for i in range(5000))
        self.connection.execute('commit')

    def test_sorting_stops(self):
        self.insert_many()
        self.fetch('select * from words order by word')
        calls = self.calls
        self.calls = 0
        self.cut = 1
        with self.assertRaises(Interrupt):
            self.fetch('select * from words order by word')
        self.assertLess(self.calls, calls // 2)
        self.check_usable()

    def exit(self):
        # It goes on when it is called again.
        self.cut += 1
        raise SystemExit

    def check_exit(self):
        self.raises = self.exit
        self.calls = 0
        self.cut = 1
        with self.assertRaises(SystemExit) as caught:
            self.connection.execute(self.INDEX)
        self.assertIsNone(caught.exception.__context__)
        step()
        self.assertLessEqual(self.calls, 2)
        self.cut = 0

    def check_exit_has_failed(self):
        self.check_index(5000)
        self.assertEqual(self.fetch('select name from sqlite_master'),
                         [('words',)])
        self.check_usable()

    def test_exit(self):
        self.insert_many()
        self.check_exit()
        self.check_exit_has_failed()

    def test_exit_with_open_cursor(self):
        # There are no right answers, so all statements are stopped.
        self.insert_many()
        cursor = self.connection.execute('select word from words')
        cursor.fetchone()
        self.check_exit()
        with self.assertRaisesRegex(sqlite3.OperationalError, 'interrupted'):
            cursor.fetchone()
        self.check_exit_has_failed()

    @needs_masks
    def test_open_cursor(self):
        # The others can be read to their ends, and what has been begun can be
        # rolled back.
        self.insert(self.WORDS)
        cursor = self.connection.execute('select word from words')
        cursor.fetchone()
        self.cut = self.calls + 1
        with self.assertRaises(Interrupt) as caught:
            with self.connection:
                self.connection.execute('begin')
                self.insert('a')
                self.fetch('select word from words order by word')
                step()
        self.assertIsNone(caught.exception.__context__)
        self.assertFalse(self.connection.in_transaction)
        self.assertEqual(len(cursor.fetchall()), len(self.WORDS) - 1)
        self.check_index(len(self.WORDS))

    def test_order_with_open_cursor(self):
        self.insert(self.WORDS)
        cursor = self.connection.execute('select word from words')
        cursor.fetchone()
        self.cut = self.calls + 1
        with self.assertRaises(Interrupt):
            self.connection.execute(self.INDEX)
            step()
        cursor.close()
        self.check_index(len(self.WORDS))

    @needs_masks
    def test_masked(self):
        self.insert(self.WORDS)
        self.cut = self.calls + 1
        with self.assertRaises(Interrupt):
            with threading.nointerrupts:
                found = self.fetch('select word from words order by word')
        self.assertEqual(found, [(word,) for word in sorted(self.WORDS)])


class CleanupTests(ModulesTestCase):
    """An interrupt that is an Exception is an error of the test."""

    interrupt = TimeoutError

    ORDER = ['third begins', 'third ends', 'second begins', 'second ends',
             'first begins', 'first ends']

    def setUp(self):
        super().setUp()
        self.order = []

    def clean_up(self, name, interrupt=False):
        self.order.append(f'{name} begins')
        if interrupt:
            self.be_interrupted()
        step()
        self.order.append(f'{name} ends')

    async def clean_up_async(self, name, interrupt=False):
        self.order.append(f'{name} begins')
        await asyncio.sleep(0)
        if interrupt:
            self.be_interrupted()
        await asyncio.sleep(0)
        self.order.append(f'{name} ends')

    def add_cleanups(self, add, interrupted='second', clean_up=None):
        for name in 'first', 'second', 'third':
            add(clean_up or self.clean_up, name, name == interrupted)

    def run_case(self, register, base=unittest.TestCase):
        """Run a test that registers cleanups; return the result."""
        class Case(base):
            def test(case):
                register(case)
        return self.run_class(Case)

    def run_class(self, case):
        result = unittest.TestResult()
        with support.swap_attr(unittest.case, '_module_cleanups', []):
            unittest.TestSuite([case('test')]).run(result)
        return result

    def check(self, result, order=ORDER):
        """All have been called, each to its end, and one was interrupted."""
        self.assertEqual(self.order, order)
        self.assertEqual(result.testsRun, 1)
        self.assertEqual(result.failures, [])
        self.assertEqual(len(result.errors), 1)
        self.assertIn('TimeoutError', result.errors[0][1])

    @needs_masks
    def test_cleanups(self):
        for interrupted in 'first', 'second', 'third':
            with self.subTest(interrupted):
                self.order = []
                self.check(self.run_case(
                    lambda case: self.add_cleanups(case.addCleanup,
                                                   interrupted)))

    @needs_masks
    def test_async_cleanups(self):
        for interrupted in 'first', 'second', 'third':
            with self.subTest(interrupted):
                self.order = []
                self.check(self.run_case(
                    lambda case: self.add_cleanups(
                        case.addAsyncCleanup, interrupted,
                        self.clean_up_async),
                    unittest.IsolatedAsyncioTestCase))

    @needs_masks
    def test_cleanups_of_async_case(self):
        self.check(self.run_case(
            lambda case: self.add_cleanups(case.addCleanup),
            unittest.IsolatedAsyncioTestCase))

    @needs_masks
    def test_class_cleanups(self):
        for interrupted in 'first', 'second', 'third':
            with self.subTest(interrupted):
                self.order = []
                self.check(self.run_case(
                    lambda case: self.add_cleanups(case.addClassCleanup,
                                                   interrupted)))

    @needs_masks
    def test_module_cleanups(self):
        # They are called when the last test of a module has run.
        module = types.ModuleType('cleaned_up_module')
        for interrupted in 'first', 'second', 'third':
            with (self.subTest(interrupted),
                  support.swap_item(sys.modules, module.__name__, module)):
                self.order = []

                class Case(unittest.TestCase):
                    __module__ = module.__name__

                    def test(case):
                        self.add_cleanups(unittest.addModuleCleanup,
                                          interrupted)
                self.check(self.run_class(Case))

    def interrupt_each(self, do, make):
        """Interrupt do() at each check point, then call it once more."""
        def run(state):
            try:
                do(state)
            except TimeoutError:
                # do() itself reports what a cleanup has raised.
                pass
        for interrupted in sweep(run, make,
                                 interrupt=lambda *args: TimeoutError()):
            run(interrupted.state)
            self.assertEqual(self.order, self.ORDER, interrupted)

    def make_case(self, base=unittest.TestCase):
        class Case(base):
            def runTest(case):
                pass
        self.order = []
        return Case

    @needs_masks
    def test_cleanups_at_each_check_point(self):
        def make():
            case = self.make_case()()
            self.add_cleanups(case.addCleanup, None)
            return case
        self.interrupt_each(unittest.TestCase.doCleanups, make)

    @needs_masks
    def test_class_cleanups_at_each_check_point(self):
        def make():
            case = self.make_case()
            case._class_cleanups = []
            self.add_cleanups(case.addClassCleanup, None)
            return case
        self.interrupt_each(lambda case: case.doClassCleanups(), make)

    @needs_masks
    def test_module_cleanups_at_each_check_point(self):
        def make():
            self.order = []
            unittest.case._module_cleanups.clear()
            self.add_cleanups(unittest.addModuleCleanup, None)
        with support.swap_attr(unittest.case, '_module_cleanups', []):
            self.interrupt_each(lambda none: unittest.doModuleCleanups(), make)


class SpooledTests(unittest.TestCase):
    """What is spooled is there if the file cannot be written."""

    DATA = 'spooled \N{GREEK SMALL LETTER ALPHA}\n' * 3

    def data(self, mode):
        return self.DATA.encode() if 'b' in mode else self.DATA

    @contextlib.contextmanager
    def no_space(self, fails):
        """Let `fails` of the files that are made fail: a name, or none of it."""
        class Raw(io.FileIO):
            def fail(file, *args):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if fails:
                locals()[fails] = fail

        def make(mode, buffering, encoding, newline, errors, **options):
            if not fails:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raw = Raw(os.memfd_create('spooled'), 'w+')
            self.made.append(raw)
            file = io.BufferedRandom(raw, 1)
            if 'b' not in mode:
                file = io.TextIOWrapper(file, encoding, errors, newline)
            return file
        self.made = []
        with support.swap_attr(tempfile, 'TemporaryFile', make):
            yield

    def check(self, mode, fails):
        data = self.data(mode)
        with tempfile.SpooledTemporaryFile(
                10_000, mode, **{} if 'b' in mode else
                {'encoding': 'utf-8', 'newline': ''}) as file:
            file.write(data)
            position = file.tell()
            with (self.no_space(fails),
                  support.catch_unraisable_exception() as unraisable):
                for call in file.rollover, file.fileno:
                    with self.assertRaises(OSError) as caught:
                        call()
                    self.assertEqual(caught.exception.errno, errno.ENOSPC)
                # The files that have failed are closed, not dropped.
                self.assertTrue(all(raw.closed for raw in self.made))
                self.assertIsNone(unraisable.unraisable)

            self.assertFalse(file.closed)
            self.assertEqual(file.tell(), position)
            file.seek(0)
            self.assertEqual(file.read(), data)
            file.write(data)
            file.seek(0)
            self.assertEqual(file.read(), data * 2)

            # Where there is space again, it works.
            file.rollover()
            self.assertIsInstance(file.fileno(), int)
            self.assertEqual(file.read(), data[:0])
            file.write(data)
            file.seek(0)
            self.assertEqual(file.read(), data * 3)

    def test_no_file(self):
        for mode in 'w+b', 'w+':
            with self.subTest(mode):
                self.check(mode, None)

    @unittest.skipUnless(hasattr(os, 'memfd_create'), 'needs memfd_create()')
    def test_no_space(self):
        for mode in 'w+b', 'w+':
            with self.subTest(mode):
                self.check(mode, 'write')

    @unittest.skipUnless(hasattr(os, 'memfd_create'), 'needs memfd_create()')
    def test_no_seek(self):
        for mode in 'w+b', 'w+':
            with self.subTest(mode):
                self.check(mode, 'seek')

    @unittest.skipUnless(hasattr(os, 'memfd_create'), 'needs memfd_create()')
    def test_write_that_rolls_over(self):
        # What was written before the file should have been made is kept.
        for mode in 'w+b', 'w+':
            with self.subTest(mode), tempfile.SpooledTemporaryFile(
                    10, mode, **{} if 'b' in mode else
                    {'encoding': 'utf-8', 'newline': ''}) as file:
                data = self.data(mode)
                with self.no_space('write'), self.assertRaises(OSError):
                    file.write(data)
                file.seek(0)
                self.assertEqual(file.read(), data)


class Database(dict):
    closed = False

    def close(self):
        self.closed = True


class ShelfTests(ModulesTestCase):
    """A shelf whose entries cannot be written back."""

    def make_shelf(self):
        self.database = Database()
        with shelve.Shelf(self.database) as shelf:
            shelf['first'] = ['old']
            shelf['second'] = ['old']
            shelf['third'] = ['old']
        self.database.closed = False
        shelf = shelve.Shelf(self.database, writeback=True)
        for entry in shelf.values():
            entry[0] = 'new'
        return shelf

    def contents(self):
        return dict(shelve.Shelf(Database(self.database)))

    class Unpicklable:
        def __reduce__(self):
            raise ZeroDivisionError

    class Interrupted:
        def __reduce__(self):
            raise Interrupt

    def test_sync_fails(self):
        with support.catch_unraisable_exception() as caught:
            shelf = self.make_shelf()
            shelf['second'].append(self.Unpicklable())
            with self.assertRaises(ZeroDivisionError):
                shelf.sync()
            # Closing it does not try again, as ever.
            shelf.close()
            self.assertTrue(self.database.closed)
            del shelf
            self.assertIsNone(caught.unraisable)
        self.assertEqual(self.contents(), {
            'first': ['new'], 'second': ['old'], 'third': ['old']})

    def test_sync_fails_then_set(self):
        shelf = self.make_shelf()
        shelf['second'].append(self.Unpicklable())
        with self.assertRaises(ZeroDivisionError):
            shelf.sync()
        shelf['second'] = ['good']
        shelf['third'] = shelf['third']
        shelf.close()
        self.assertEqual(self.contents(), {
            'first': ['new'], 'second': ['good'], 'third': ['new']})

    def test_close_fails(self):
        for value, exc in [(self.Unpicklable(), ZeroDivisionError),
                           (self.Interrupted(), Interrupt)]:
            with (self.subTest(exc=exc),
                  support.catch_unraisable_exception() as caught):
                shelf = self.make_shelf()
                shelf['second'].append(value)
                with self.assertRaises(exc):
                    shelf.close()
                with self.assertRaisesRegex(ValueError, 'closed shelf'):
                    shelf['fourth'] = 'value'
                # What is dropped is not written to a closed database.
                shelf.close()
                del shelf
                self.assertIsNone(caught.unraisable)
                self.assertEqual(self.contents(), {
                    'first': ['new'], 'second': ['old'], 'third': ['old']})

    def test_sync_is_interrupted(self):
        shelf = self.make_shelf()
        shelf['second'].append(self.Interrupted())
        with self.assertRaises(Interrupt):
            shelf.sync()
        shelf['second'].pop()
        shelf['third'].append('newer')
        shelf.close()
        self.assertTrue(self.database.closed)
        self.assertEqual(self.contents(), {
            'first': ['new'], 'second': ['new'], 'third': ['new', 'newer']})


# With masks off, threads are left that wait for ever.
class ThreadStartTests(unittest.TestCase):

    class State:
        started = has_run = False

        def __init__(self):
            self.thread = threading.Thread(target=self.target)

        def target(self):
            self.has_run = True

        def start(self):
            self.thread.start()
            try:
                self.started = True
                step()
            finally:
                self.thread.join()

    def wait_for(self, state):
        # Also one that runs although start() has raised.
        if state.thread._handle.ident:
            state.thread._handle.join()

    def test_start(self):
        alive = threading.enumerate()
        counts = {True: 0, False: 0}
        for run in sweep(self.State.start, self.State, exact=False,
                         teardown=self.wait_for):
            state = run.state
            counts[state.started] += 1
            with self.subTest(run=run):
                self.wait_for(state)
                # It runs if and only if start() says so, and is known then.
                self.assertEqual(state.has_run, state.started)
                self.assertEqual(state.thread.ident is not None, state.started)
                self.assertNotIn(state.thread, threading._limbo)
                self.assertEqual(threading.enumerate(), alive)
                if not state.started:
                    # Nothing has happened.
                    state.start()
                    self.assertTrue(state.has_run)
        # Both have been tried.
        self.assertGreater(counts[True], 0)
        self.assertGreater(counts[False], 0)


class MarkTests(unittest.TestCase):

    @support.requires_subprocess()
    def test_marks(self):
        interrupt_masks.check_marks(self, __file__, marked=10, others=20)


if __name__ == '__main__':
    interrupt_masks.main((ModulesTestCase, SpooledTests))
