"""What looking for Ctrl-C costs, and how soon it is seen.

Started by scripts/kit-benchmark, which also has the help text.

Everything is measured in children of this process, which run this file, too:
`run.py --child PART ARGUMENTS` prints its results as JSON.  So both
interpreters run the same source, and the modules of this folder are the same
binaries in both.
"""

import argparse
import array
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
KIT = HERE.parent

# The versions with which the results were written.
PACKAGES = ['cython==3.3.1', 'cysignals==1.13.1', 'setuptools==80.9.0',
            'matplotlib==3.11.2']

# --- What is measured -------------------------------------------------------

# Fits into the first cache: a sum from there waits for additions only, and
# nothing hides what a check costs but them.
COUNT = 2048
LAPS = {'default': 5000, 'slow': 100}
ROUNDS = 15

# (module, way, what the table calls it, is it dear)
WAYS = [
    ('bench_c', 'none', 'C: no check', False),
    ('bench_c', 'kit', 'C: kit, GIL held', False),
    ('bench_c', 'kit_nogil', 'C: kit, GIL released', False),
    ('bench_c', 'kit_worker', 'C: kit, worker', False),
    ('bench_c', 'signals', 'C: PyErr_CheckSignals(), GIL held', False),
    ('bench_c', 'every_1000', 'C: PyErr_CheckSignals() each 1,000 turns, '
     'GIL held', False),
    ('bench_c', 'ensure', 'C: PyGILState_Ensure() and '
     'PyErr_CheckSignals()', True),
    ('bench_cython', 'cysignals', 'Cython: cysignals sig_check()', False),
    ('bench_cython', 'kit', 'Cython: kit, check(), which finds its flag '
     'each time', False),
    ('bench_cython', 'kit_region', 'Cython: kit, check_region()', False),
    ('interruptible_test', 'none', 'Rust: no check', False),
    ('interruptible_test', 'attached', 'Rust: kit, GIL held', False),
    ('interruptible_test', 'detached', 'Rust: kit, GIL released', False),
    ('interruptible_test', 'worker', 'Rust: kit, worker', False),
]

# What is one look at a flag whose address the loop has.
FLAG_CHECKS = [(module, way) for module, way, *_ in WAYS
               if way in ('kit_nogil', 'kit_worker', 'kit_region', 'attached',
                          'detached', 'worker')
               or (module, way) == ('bench_c', 'kit')]
MOST_NANOSECONDS = 0.5

LARGE = 1 << 27                 # float64 values in 1 GiB
MOST_LARGE = 1.01

MOST_INSTRUCTIONS = 0.5         # ours / stock

LANGUAGES = {'sample_c': 'C', 'sample_rust': 'Rust', 'sample_cython': 'Cython'}
FUNCTIONS = {'sum_array': 'array', 'queens': 'recursion',
             'parallel_sum': 'threads'}
# Seconds, median, beyond the time between two checks, which is below 1 us in
# all of them.
MOST_LATE = {'ours': 0.005, 'stock': 0.050}
MOST_LAST_STOP = 0.001          # seconds, the 95th percentile


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def child_sums():
    """Seconds per turn, each way: the least of ROUNDS, in turns."""
    import bench_c
    import bench_cython
    import interruptible_test
    interruptible_test.import_(False)
    modules = {'bench_c': bench_c, 'bench_cython': bench_cython,
               'interruptible_test': interruptible_test}
    values = array.array('d', range(COUNT))
    best = {}
    for _ in range(ROUNDS):
        for module, way, _, dear in WAYS:
            laps = LAPS['slow' if dear else 'default']
            took, total = modules[module].time_sum(way, values, laps)
            if total != sum(values) * laps:
                raise AssertionError(f'{module} {way}: wrong sum {total}')
            key = f'{module} {way}'
            best[key] = min(took / laps / COUNT, best.get(key, 1e9))
    return best


def child_large():
    """Seconds of a sum over 1 GiB: pairs without and with a check per 4 KiB."""
    import bench_c
    values = array.array('d', bytes(8)) * LARGE
    pairs = []
    for number in range(ROUNDS):
        # Neither is always the first.
        ways = ['none', 'kit_4k'][::1 if number % 2 else -1]
        took = {way: bench_c.time_sum(way, values, 1)[0] for way in ways}
        pairs.append([took['none'], took['kit_4k']])
    return pairs


def child_call(thread, checks, empty):
    """For callgrind: does so much, in that thread."""
    import bench_c
    if thread == 'main':
        bench_c.call(int(checks), int(empty))
    else:
        # Not the thread that looks for signals on stock.
        worker = threading.Thread(target=bench_c.call,
                                  args=(int(checks), int(empty)))
        worker.start()
        worker.join()


def child_latency(module, function, times):
    """Seconds from each signal to `except KeyboardInterrupt`, and of the
    workers: how many checks passed, seconds until the last one stopped."""
    sys.path.insert(0, str(KIT / 'tests'))
    import signals
    sample = __import__(module)
    values = array.array('d', range(65536))
    threads = max(2, os.cpu_count())
    calls = {
        'sum_array': lambda: sample.sum_array(values, 2**31 - 1, folder),
        'queens': lambda: sample.queens(20, folder),
        'parallel_sum': lambda: sample.parallel_sum(values, 2**31 - 1,
                                                    threads, folder),
    }
    sender = signals.Sender()
    late, passed, spread = [], [], []
    # A Ctrl-C that comes twice or beside the call would end this process.
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(int(times)):
            try:
                sender.send(signal.SIGINT, random.uniform(0.010, 0.030))
                calls[function]()
                raise AssertionError('it came to an end')
            except KeyboardInterrupt:
                ended = time.monotonic()
            late.append(ended - sender.wait())
            if function == 'parallel_sum':
                stop = sample.last_stop()
                passed.append(stop['passed_after'])
                spread.append(stop['spread'])
    sender.close()
    return {'backend': sample.backend(), 'late': late, 'passed': passed,
            'spread': spread, 'threads': threads}


# --- Building ---------------------------------------------------------------

class Failed(Exception):
    pass


def progress(text):
    print(f'kit-benchmark: {text}', file=sys.stderr, flush=True)


def run(command, **arguments):
    """Its output; Failed with the end of it if it fails."""
    result = subprocess.run(command, text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            **arguments)
    if result.returncode:
        lines = result.stdout.strip().splitlines()[-15:]
        raise Failed(f'{shlex.join(map(str, command))} ended with '
                     f'{result.returncode}:\n  ' + '\n  '.join(lines))
    return result.stdout


def install(python, out):
    """Packages of PyPI, beside the interpreters.  The twin installs: its venv
    has pip, and the wheels are the same for both."""
    packages = out / 'packages'
    stamp = packages / 'installed'
    wanted = ' '.join(PACKAGES)
    if stamp.exists() and stamp.read_text() == wanted:
        return packages
    progress('install ' + wanted)
    shutil.rmtree(packages, ignore_errors=True)
    environment = out / 'venv'
    run([python, '-m', 'venv', '--clear', environment])
    run([environment / 'bin' / 'python', '-m', 'pip', 'install', '--quiet',
         '--disable-pip-version-check', '--target', packages, *PACKAGES])
    stamp.write_text(wanted)
    return packages


def build(interpreters, out):
    """Samples for each interpreter; the modules of this folder once."""
    packages = install(interpreters['stock'], out)
    environment = {**os.environ, 'PYTHONPATH': str(packages)}
    for name, python in interpreters.items():
        progress(f'build the samples, {name}')
        run([python, KIT / 'tests' / 'build.py', '--out', out / name],
            env=environment)
    progress('build the loops')
    python = interpreters['stock']
    run([python, '-c', BUILD_HERE, KIT / 'tests', HERE, out, packages],
        env=environment)
    return packages


# With the functions of tests/build.py, in the interpreter that is built for.
BUILD_HERE = '''
import pathlib, subprocess, sys
sys.path.insert(0, sys.argv[1])
import build
here, out, packages = map(pathlib.Path, sys.argv[2:])
loops = out / 'loops'
build.compile_c(here / 'bench_c.c', 'bench_c', loops)
generated = out / 'bench_cython.c'
build.run([sys.executable, '-m', 'cython', '-3',
           '-X', 'boundscheck=False', '-X', 'wraparound=False',
           '-I', build.KIT / 'cython', '-I', packages,
           here / 'bench_cython.pyx', '-o', generated])
build.compile_c(generated, 'bench_cython', loops, strict=False,
                includes=[build.KIT / 'cython' / 'interruptible' / 'include',
                          packages / 'cysignals'])
manifest = build.KIT / 'rust' / 'Cargo.toml'
build.run(['cargo', 'build', '--release', '--locked', '--manifest-path',
           manifest, '--target-dir', out / 'cargo', '-p',
           'interruptible-test'])
build.shutil.copy2(out / 'cargo' / 'release' / 'libinterruptible_test.so',
                   loops / 'interruptible_test.abi3.so')
'''


# --- Measuring --------------------------------------------------------------

def child_environment(out, name):
    return {'PATH': os.environ['PATH'], 'PYTHONHASHSEED': '0',
            'PYTHONPATH': os.pathsep.join(
                map(str, [out / 'loops', out / name, out / 'packages']))}


def child(python, out, name, part, *arguments):
    result = subprocess.run(
        [python, '-S', '-s', '-B', __file__, '--child', part,
         *map(str, arguments)],
        env=child_environment(out, name), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Ctrl-C at the terminal is for the parent, and a background job must
        # not hand down an ignored SIGINT.
        start_new_session=True, preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL))
    if result.returncode:
        raise Failed(f'{name}: {part} {" ".join(map(str, arguments))} ended '
                     f'with {result.returncode}:\n{result.stderr[-2000:]}')
    return json.loads(result.stdout.splitlines()[-1])


def instructions(python, out, name, thread, checks, empty):
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch, 'callgrind.out')
        run(['valgrind', '--tool=callgrind', f'--callgrind-out-file={file}',
             python, '-S', '-s', '-B', __file__, '--child', 'call', thread,
             str(checks), str(empty)], env=child_environment(out, name))
        match = re.search(r'^(?:totals|summary): (\d+)', file.read_text(),
                          re.MULTILINE)
    if match is None:
        raise Failed('callgrind wrote no total')
    return int(match[1])


def instructions_per_call(python, out, name, thread):
    """What one call costs; starting up and the loop around it are subtracted."""
    few, many = 20_000, 120_000
    total = {}
    for checks, empty in ((few, few), (many, few), (few, many)):
        total[checks, empty] = instructions(python, out, name, thread, checks,
                                            empty)
    call = (total[many, few] - total[few, few]) / (many - few)
    loop = (total[few, many] - total[few, few]) / (many - few)
    return call - loop


def measure(interpreters, out, times):
    results = {'sums': {}, 'large': {}, 'instructions': {}, 'latency': {}}
    for name, python in interpreters.items():
        progress(f'a sum with each way to check, {name}')
        results['sums'][name] = child(python, out, name, 'sums')
        progress(f'1 GiB with a check per 4 KiB, {name}')
        results['large'][name] = child(python, out, name, 'large')
        results['latency'][name] = {}
        for module in LANGUAGES:
            for function in FUNCTIONS:
                progress(f'Ctrl-C to exception: {module}.{function}, {name}')
                results['latency'][name][f'{module}.{function}'] = child(
                    python, out, name, 'latency', module, function, times)
        results['instructions'][name] = {}
        for thread in 'main', 'other':
            progress(f'instructions of PyErr_CheckSignals(), {thread} '
                     f'thread, {name}')
            results['instructions'][name][thread] = instructions_per_call(
                python, out, name, thread)
    return results


# --- Saying it --------------------------------------------------------------

class Report:
    """Tables in Markdown; remembers what does not hold."""

    def __init__(self):
        self.lines = []
        self.broken = []

    def text(self, *lines):
        self.lines += [*lines, '']

    def table(self, head, rows):
        rows = [list(map(str, row)) for row in rows]
        widths = [max(map(len, column)) for column in zip(head, *rows)]

        def line(cells):
            return '| ' + ' | '.join(
                cell.ljust(width) if not number else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(cells, widths))
            ) + ' |'

        self.text(line(head), '|' + '|'.join(
            ('-' * (width + 1) + ':') if number else '-' * (width + 2)
            for number, width in enumerate(widths)) + '|', *map(line, rows))

    def judge(self, what, value, most, unit=''):
        holds = value <= most
        if not holds:
            self.broken.append(f'{what}: {value:.3f}{unit}, at most {most}')
        return 'yes' if holds else 'NO'


def nanoseconds(seconds):
    return f'{seconds * 1e9:.2f}'


def milliseconds(seconds):
    return f'{seconds * 1e3:.3f}'


def cost(sums, module, way):
    """Seconds that the check adds to a turn of the loop without it."""
    # The loops without are the same machine code, whatever the language.
    return sums[f'{module} {way}'] - min(sums['bench_c none'],
                                         sums['interruptible_test none'])


def report(results):
    page = Report()
    page.text('## What a check costs', '',
              f'Nanoseconds that a check adds to each turn of a sum of '
              f'float64 (without -ffast-math; {COUNT} values, the least of '
              f'{ROUNDS}), on this interpreter and on its unpatched twin. '
              'The sum itself takes '
              f'{nanoseconds(results["sums"]["ours"]["bench_c none"])} ns a '
              'turn.')
    rows = []
    for module, way, title, _ in WAYS:
        if way == 'none':
            continue
        here, there = (cost(results['sums'][name], module, way)
                       for name in ('ours', 'stock'))
        limit = ''
        if (module, way) in FLAG_CHECKS:
            limit = page.judge(title, here * 1e9, MOST_NANOSECONDS, ' ns')
        rows.append([title, nanoseconds(here), nanoseconds(there), limit])
    page.table(['way', 'here, ns', 'stock, ns',
                f'at most {MOST_NANOSECONDS} here'], rows)

    page.text('A sum over 1 GiB, a check per 4 KiB, against the sum without:')
    rows = []
    for name, pairs in results['large'].items():
        plain, checked = (min(times) for times in zip(*pairs))
        middle = statistics.median(b / a for a, b in pairs)
        rows.append([name, f'{plain:.4f}', f'{checked:.4f}',
                     f'{checked / plain:.4f}', f'{middle:.4f}',
                     page.judge(f'1 GiB, {name}', checked / plain, MOST_LARGE)
                     if name == 'ours' else ''])
    page.table(['interpreter', 'without, s', 'with, s', 'ratio of the least',
                'median of the ratios', f'at most {MOST_LARGE}'], rows)

    page.text('Instructions of `PyErr_CheckSignals()` with nothing pending '
              '(callgrind):')
    rows = []
    for thread in 'main', 'other':
        here, there = (results['instructions'][name][thread]
                       for name in ('ours', 'stock'))
        rows.append([f'{thread} thread', f'{here:.1f}', f'{there:.1f}',
                     f'{here / there:.2f}',
                     page.judge(f'PyErr_CheckSignals, {thread} thread',
                                here / there, MOST_INSTRUCTIONS)])
    page.table(['thread', 'here', 'stock', 'ratio',
                f'at most {MOST_INSTRUCTIONS}'], rows)

    page.text('## From Ctrl-C to the exception', '',
              'Milliseconds from the signal, sent by another process, to '
              '`except KeyboardInterrupt`; the samples have cleaned up by '
              'then. Less than a microsecond of work lies between two '
              'checks. On stock the kit asks every 10 ms.')
    rows = []
    for key in results['latency']['ours']:
        module, function = key.split('.')
        row = [f'{LANGUAGES[module]}, {FUNCTIONS[function]}']
        for name in 'ours', 'stock':
            late = results['latency'][name][key]['late']
            row += [milliseconds(statistics.median(late)),
                    milliseconds(percentile(late, 0.95)),
                    milliseconds(max(late)),
                    page.judge(f'{key}, {name}', statistics.median(late),
                               MOST_LATE[name], ' s')]
        rows.append(row)
    page.table(['sample', 'here, median', 'p95', 'longest', 'at most '
                f'{MOST_LATE["ours"] * 1e3:.0f}', 'stock, median', 'p95',
                'longest', f'at most {MOST_LATE["stock"] * 1e3:.0f}'], rows)

    first = results['latency']['ours']['sample_c.parallel_sum']
    page.text(f'{first["threads"]} workers on {os.cpu_count()} cores: how '
              'many checks passed after the flag was up, and milliseconds '
              'from the first worker that stops to the last one:')
    rows = []
    for module, language in LANGUAGES.items():
        result = results['latency']['ours'][f'{module}.parallel_sum']
        worst = percentile(result['spread'], 0.95)
        page.judge(f'{language}, checks passed', sum(result['passed']), 0)
        rows.append([language, len(result['spread']), sum(result['passed']),
                     milliseconds(statistics.median(result['spread'])),
                     milliseconds(worst),
                     page.judge(f'{language}, last worker', worst,
                                MOST_LAST_STOP, ' s')])
    page.table(['sample', 'interrupts', 'checks passed', 'last stop, median',
                'p95', f'p95 at most {MOST_LAST_STOP * 1e3:.0f}'], rows)
    return page


def draw(results, path):
    """The same as a picture, SVG or PNG by its name."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    matplotlib.rcParams.update({'svg.fonttype': 'none', 'font.size': 9,
                                'svg.hashsalt': 'kit'})
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(12, 5), layout='constrained')
    colors = {'ours': '#1f6fb4', 'stock': '#b0b0b0'}
    labels = {'ours': 'this interpreter', 'stock': 'stock CPython 3.13'}

    ways = [way for way in WAYS if way[1] != 'none'][::-1]
    for shift, name in ((0.2, 'ours'), (-0.2, 'stock')):
        left.barh([place + shift for place in range(len(ways))],
                  # What cannot be told from nothing is drawn as that.
                  [max(cost(results['sums'][name], module, way) * 1e9, 0.02)
                   for module, way, *_ in ways],
                  height=0.4, color=colors[name], label=labels[name])
    left.set_yticks(range(len(ways)), [title for _, _, title, _ in ways])
    left.set_xscale('log')
    left.axvline(MOST_NANOSECONDS, color='black', linewidth=0.8,
                 linestyle=':')
    left.set_xlabel('ns that a check adds to a turn of the loop (log)')
    left.set_title('What a check costs')

    keys = list(results['latency']['ours'])[::-1]
    for shift, name in ((0.15, 'ours'), (-0.15, 'stock')):
        for place, key in enumerate(keys):
            late = [seconds * 1e3
                    for seconds in results['latency'][name][key]['late']]
            right.plot([percentile(late, 0.05), percentile(late, 0.95)],
                       [place + shift] * 2, color=colors[name], linewidth=3,
                       solid_capstyle='butt')
            right.plot([statistics.median(late)], [place + shift], 'o',
                       color=colors[name], markeredgecolor='black',
                       markersize=5, label=None if place else labels[name])
    right.set_yticks(range(len(keys)), [
        f'{LANGUAGES[module]}, {FUNCTIONS[function]}'
        for module, function in (key.split('.') for key in keys)])
    right.set_xscale('log')
    right.set_xlabel('ms from Ctrl-C; median, 5th to 95th percentile (log)')
    right.set_title('How soon it is seen')
    right.legend(loc='upper center', ncols=2, frameon=False,
                 bbox_to_anchor=(0.5, -0.12))
    figure.savefig(path, metadata={'Date': None, 'Creator': None}
                   if path.suffix == '.svg' else None)


INTRODUCTION = '''# Measurements

Written by `scripts/kit-benchmark --write`: one run on one machine, {cores} cores,
{compiler}. Your figures will differ; the ratios should not, by much.

![What a check costs, and how soon Ctrl-C is seen](results.svg)

'''


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--child', nargs='+')
    parser.add_argument('--ours')
    parser.add_argument('--stock')
    parser.add_argument('--out', type=pathlib.Path)
    parser.add_argument('--times', type=int, default=200)
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--install', action='store_true')
    parser.add_argument('--draw-again', action='store_true')
    options = parser.parse_args()
    if options.child:
        part, *arguments = options.child
        print(json.dumps(globals()[f'child_{part}'](*arguments)))
        return 0
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    interpreters = {'ours': options.ours, 'stock': options.stock}
    raw = out / 'results.json'
    try:
        if options.install:
            install(options.stock, out)
            return 0
        if options.draw_again:
            packages = install(options.stock, out)
        else:
            packages = build(interpreters, out)
            raw.write_text(json.dumps(measure(interpreters, out,
                                              options.times)))
    except Failed as error:
        print(f'kit-benchmark: {error}', file=sys.stderr)
        return 2
    results = json.loads(raw.read_text())
    page = report(results)
    print('\n'.join(page.lines))
    sys.path.insert(0, str(packages))
    if options.write:
        import platform
        introduction = INTRODUCTION.format(
            cores=os.cpu_count(), compiler=platform.python_compiler())
        (HERE / 'README.md').write_text(
            introduction + '\n'.join(page.lines).rstrip() + '\n')
        draw(results, HERE / 'results.svg')
        progress(f'written: {HERE / "README.md"}, {HERE / "results.svg"}')
    draw(results, out / 'results.png')
    progress(f'picture: {out / "results.png"}')
    for line in page.broken:
        print(f'over its limit: {line}')
    return 1 if page.broken else 0


if __name__ == '__main__':
    sys.exit(main())
