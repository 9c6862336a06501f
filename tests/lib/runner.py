#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Runs meson's tests and the integration tests, shows progress, and ends with one line of totals.

Every class of tests in tests/integration is a process of its own, two at a time; every test has a
time limit. Logs of what failed are printed, all logs stay in --logs.

A class of real processes that failed runs once more at the end, alone: what passes then is counted
as passed and named as UNSTABLE, to be mended. Not so where a process crashed or a sanitizer spoke,
nor when more than SECOND_CHANCES classes failed.
"""

import argparse
import concurrent.futures
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
INTEGRATION = os.path.join(ROOT, 'tests', 'integration')
TEST_LIMIT = 120  # seconds of one test method, times STEPPE_TEST_SCALE
# These run once more with the sanitizer build: they feed it what nobody should send.
SANITIZED = ('test_bad_input',)
SECOND_CHANCES = 6
CRASHES = ('Sanitizer', 'runtime error:', 'Segmentation fault', 'signal 6 (Aborted', 'Assertion `')

print_lock = threading.Lock()


def say(text):
    with print_lock:
        print(text, flush=True)


# -- in the child: one class of tests


class LimitResult(unittest.TextTestResult):
    """Reports each test as a line of JSON on a pipe and limits its time."""

    def __init__(self, *args, pipe=None, **kw):
        super().__init__(*args, **kw)
        self.pipe = pipe
        self.bad = set()

    def emit(self, kind, test, text=''):
        self.pipe.write(json.dumps({'kind': kind, 'test': test.id(), 'text': text,
                                    's': time.monotonic() - getattr(self, 't0', time.monotonic())}) + '\n')
        self.pipe.flush()

    def startTest(self, test):
        super().startTest(test)
        self.t0 = time.monotonic()
        signal.alarm(int(TEST_LIMIT * float(os.environ.get('STEPPE_TEST_SCALE', '1'))))

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.emit('ok', test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.fail(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.fail(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.fail(test, err, str(subtest))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.emit('skip', test, reason)

    def fail(self, test, err, text=''):
        if test.id() not in self.bad:  # several broken subtests or cleanups are one failed test
            self.bad.add(test.id())
            if hasattr(test, 'log_tails'):
                self.stream.writeln('\n' + test.log_tails())
            self.emit('fail', test, text + ''.join(traceback.format_exception(*err)))


def too_long(signum, frame):
    raise AssertionError('the test took longer than its limit')


def child(name, fd):
    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, lambda s, f: sys.exit(1))
    module, cls = name.split('.')
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(getattr(importlib.import_module(module), cls))
    with os.fdopen(fd, 'w') as pipe:
        r = unittest.TextTestRunner(verbosity=2, resultclass=lambda *a, **k: LimitResult(*a, pipe=pipe, **k))
        return 0 if r.run(tests).wasSuccessful() else 1


# -- in the parent


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.names = []  # of the failed
        self.unstable = []  # failed, then passed alone
        self.again = []  # classes that may have a second chance, with their counts of passed, failed, skipped and names

    def add(self, kind, name):
        if kind == 'ok':
            self.passed += 1
        elif kind == 'skip':
            self.skipped += 1
        else:
            self.failed += 1
            self.names.append(name)

    def merge(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.names += other.names
        self.unstable += other.unstable


def wanted(name, names):
    return not names or any(n in name for n in names)


def run_meson(build, suites, names, label, total):
    """Runs meson's tests of a build and adds each to the totals."""
    out = subprocess.run(['meson', 'introspect', '--tests', build], check=True, stdout=subprocess.PIPE)
    tests = [t for t in json.loads(out.stdout)
             if wanted(t['name'], names) and (not suites or set(s.split(':')[-1] for s in t['suite']) & set(suites))]
    if not tests:
        return
    log = os.path.join(build, 'meson-logs', 'testlog.json')
    if os.path.exists(log):
        os.remove(log)
    say('== %d tests of meson (%s)' % (len(tests), label))
    results = meson_results(build, sorted(set(t['name'] for t in tests)), log)
    bad = sorted(n for n, r in results.items() if r in ('FAIL', 'TIMEOUT'))
    second = {}
    if label == 'gcc' and 0 < len(bad) <= SECOND_CHANCES:
        say('== once more, one by one: %s' % ' '.join(bad))
        second = meson_results(build, bad, log, '1')
    for name, result in results.items():
        if result != 'OK' and second.get(name) == 'OK':
            total.unstable.append('%s (%s, %s)' % (name, label, result))
            result = 'OK'
        kind = {'OK': 'ok', 'EXPECTEDFAIL': 'ok', 'SKIP': 'skip'}.get(result, 'fail')
        total.add(kind, '%s (%s, %s)' % (name, label, result))
    for _ in range(len(set(t['name'] for t in tests)) - len(results)):
        total.add('fail', 'a test of meson that left no result (%s)' % label)


def meson_results(build, names, log, jobs='2'):
    """Runs meson's tests of these names -> {name: result}."""
    cmd = ['meson', 'test', '-C', build, '--no-rebuild', '--num-processes', jobs, '--print-errorlogs']
    subprocess.run(cmd + names, stdin=subprocess.DEVNULL)
    try:
        with open(log) as f:
            return {t['name'].split(' / ')[-1]: t['result'] for t in map(json.loads, f)}
    except OSError as e:
        say('error: %s' % e)
        return {}


def classes(names):
    """-> [(module.Class, number of tests)] of the integration tests."""
    sys.path[:0] = [INTEGRATION, HERE]
    out = []
    for f in sorted(os.listdir(INTEGRATION)):
        if not (f.startswith('test_') and f.endswith('.py')):
            continue
        module = importlib.import_module(f[:-3])
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, unittest.TestCase) and cls.__module__ == f[:-3]:
                count = unittest.defaultTestLoader.loadTestsFromTestCase(cls).countTestCases()
                name = '%s.%s' % (f[:-3], cls.__name__)
                if count and wanted(name, names):
                    out.append((name, count))
    return out


def run_class(name, count, prefix, label, logs, total):
    """One class of tests in a process of its own."""
    env = dict(os.environ, PYTHONPATH=INTEGRATION + ':' + HERE, PYTHONDONTWRITEBYTECODE='1')
    if prefix:
        env['STEPPE_PREFIX'] = prefix
    if label != 'gcc':
        env['STEPPE_TEST_SCALE'] = str(3 * float(env.get('STEPPE_TEST_SCALE', '1')))
    path = os.path.join(logs, '%s-%s.log' % (name, label))
    r, w = os.pipe()
    with open(path, 'wb') as log:
        p = subprocess.Popen(['/usr/bin/python3', os.path.join(HERE, 'runner.py'), '--child', name, str(w)],
                             env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[w])
    os.close(w)
    results, failed = {}, False
    with os.fdopen(r) as pipe:
        for line in pipe:
            m = json.loads(line)
            short = m['test'] if 'setUpClass' in m['test'] else '.'.join(m['test'].split('.')[-3:])
            results[m['test']] = m['kind']
            say('%-4s %s%s %.1f s%s' % (m['kind'], short, '' if label == 'gcc' else ' [%s]' % label, m['s'],
                                        ': ' + m['text'].split('\n')[0] if m['kind'] == 'skip' else ''))
            failed = failed or m['kind'] == 'fail'
    p.wait()
    one = Totals()
    with print_lock:
        for test, kind in results.items():
            one.add(kind, '%s (%s)' % (test, label))
        # A class whose process died, or whose set-up failed, loses the tests that did not run.
        for _ in range(count - len([t for t in results if 'setUpClass' not in t])):
            one.add('fail', 'a test of %s that did not run (%s)' % (name, label))
        text = ''
        if failed or p.returncode:
            with open(path, errors='replace') as f:
                text = f.read()
            print('---- %s (%s) ended with status %d' % (name, label, p.returncode))
            sys.stdout.writelines(text.splitlines(True)[-400:])
            print('----', flush=True)
        if one.failed and not any(c in text for c in CRASHES):
            total.again.append(((name, count, prefix, label, logs), one))
        else:
            total.merge(one)


def second_chances(total):
    """Runs the classes that failed once more, one by one."""
    again, total.again = total.again, []
    if len(again) > SECOND_CHANCES:
        for _, first in again:
            total.merge(first)
        return
    for args, first in again:
        say('== once more, alone: %s' % args[0])
        second = Totals()
        run_class(*args, second)
        for _, one in second.again:
            second.merge(one)
        second.unstable = [] if second.failed else first.names
        total.merge(second)


def main():
    if len(sys.argv) == 4 and sys.argv[1] == '--child':
        return child(sys.argv[2], int(sys.argv[3]))
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--build', help='build folder, for the tests of meson')
    ap.add_argument('--prefix', help='where it is installed, for the integration tests')
    ap.add_argument('--asan-build')
    ap.add_argument('--asan-prefix')
    ap.add_argument('--tsan-build', help='built with the thread sanitizer: its tests of suite threads')
    ap.add_argument('--logs', default='.')
    ap.add_argument('--jobs', type=int, default=2)
    ap.add_argument('names', nargs='*', help='only tests whose name contains one of these')
    a = ap.parse_args()
    os.makedirs(a.logs, exist_ok=True)
    total, start = Totals(), time.monotonic()
    if a.build:
        os.environ['STEPPE_TOOLS'] = os.path.join(a.build, 'tests')
        run_meson(a.build, (), a.names, 'gcc', total)
    if a.asan_build:
        run_meson(a.asan_build, ('unit', 'fuzz'), a.names, 'sanitizers', total)
    if a.tsan_build:
        run_meson(a.tsan_build, ('threads',), a.names, 'threads', total)
    if a.prefix or os.environ.get('STEPPE_TEST_AGENT') or os.environ.get('STEPPE_BUILD'):
        work = [(n, c, a.prefix, 'gcc') for n, c in classes(a.names)]
        if a.asan_prefix:
            work += [(n, c, a.asan_prefix, 'sanitizers') for n, c in classes(a.names)
                     if n.split('.')[0] in SANITIZED]
        say('== %d classes of integration tests' % len(work))
        with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
            for f in [pool.submit(run_class, n, c, p, label, a.logs, total) for n, c, p, label in work]:
                f.result()
        second_chances(total)
    for name in total.unstable:
        print('UNSTABLE: %s failed, and passed when it ran alone' % name)
    for name in total.names:
        print('FAILED: ' + name)
    print('%d skipped, %.0f s' % (total.skipped, time.monotonic() - start))
    print('%d passed, %d failed' % (total.passed, total.failed), flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main())
