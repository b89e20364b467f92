"""What the tests of the kit share: signals from outside, and a fake table.

Signals come from a helper process: a function that holds the GIL would not let
a thread of this process send any.
"""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import types

# Reads orders, a line each; answers with the time at which the (last) signal
# was sent.  CLOCK_MONOTONIC is the same in all processes.
SENDER = '''
import json, os, sys, time
target = int(sys.argv[1])
for line in sys.stdin:
    order = json.loads(line)
    time.sleep(order["delay"])
    for number in range(order["count"]):
        if number:
            time.sleep(order["gap"])
        sent = time.monotonic()
        os.kill(target, order["signum"])
    print(sent, flush=True)
'''


class Sender:

    def __init__(self):
        # A session of its own: a Ctrl-C at the terminal is not for it.
        self.process = subprocess.Popen(
            [sys.executable, '-c', SENDER, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1, start_new_session=True)
        self.send(0, 0)         # signal 0 only asks: wait until it has started
        self.wait()

    def send(self, signum, delay, count=1, gap=0):
        self.process.stdin.write(json.dumps(
            {'signum': int(signum), 'delay': delay, 'count': count,
             'gap': gap}) + '\n')

    def wait(self):
        """Until what was ordered has been sent: when that was."""
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


fake = None


def use_fake(kind='good'):
    """From now on there is a module _interrupts with a table of that kind."""
    global fake
    import fake_interrupts
    module = types.ModuleType('_interrupts')
    module.C_API = fake_interrupts.capsule(kind)
    sys.modules['_interrupts'] = module
    fake = fake_interrupts


def set_handler(signum, handler):
    """signal.signal(), and the fake learns of it."""
    old = signal.signal(signum, handler)
    if fake is not None and callable(handler):
        fake.hook(signum)
    return old


def interpreter_is_native():
    try:
        from _interrupts import C_API
    except ImportError:
        return False
    return True


def in_child(code, *arguments, **environment):
    """Runs code in a new interpreter that imports from where this one does:
    what it has printed."""
    start = f'import sys; sys.path[:] = {sys.path!r}\n'
    done = subprocess.run([sys.executable, '-c', start + code, *arguments],
                          env={**os.environ, **environment},
                          capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise AssertionError(f'the child ended with {done.returncode}:\n'
                             f'{done.stdout}{done.stderr}')
    return done.stdout


def check_no_gil(case, *names):
    """Fails the case if the import of one of these modules needs the GIL."""
    if not sysconfig.get_config_var('Py_GIL_DISABLED'):
        case.skipTest('this interpreter has a GIL')
    # One that the user has asked for would say nothing.
    said = in_child("""
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if sys._is_gil_enabled():
        print(name, 'switches the GIL on')
        break
""", *names, PYTHON_GIL='')
    case.assertEqual(said, '')
