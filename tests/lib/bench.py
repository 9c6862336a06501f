# SPDX-License-Identifier: MPL-2.0
"""What the benchmarks share: wrk, rows of the table, peers."""

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

import steppe

SECONDS = float(os.environ.get('BENCH_SECONDS', '5'))
os.environ.setdefault('STEPPE_TEST_LOG', 'INFO')  # as in production
UNITS = {'us': 1e-3, 'ms': 1.0, 's': 1e3, 'm': 6e4}


def row(name, value, unit, target='', ok=None, note=''):
    """Prints one figure, and keeps it for the table of run.sh (BENCH_ROWS)."""
    mark = '' if ok is None else ('reached' if ok else 'MISSED')
    print('%-58s %12s %-8s %-22s %-8s %s' % (name, value, unit, target, mark, note), flush=True)
    if os.environ.get('BENCH_ROWS'):
        with open(os.environ['BENCH_ROWS'], 'a') as f:
            f.write(json.dumps([name, str(value), unit, target, mark, note]) + '\n')


def ms(text):
    number, unit = re.fullmatch(r'([\d.]+)(us|ms|s|m)', text).groups()
    return float(number) * UNITS[unit]


class Wrk:
    """One run of wrk: rps, p50, p90, p99 (ms), bad (answers that are not 2xx, and broken connections)."""

    def __init__(self, url, connections=32, seconds=None, script=None):
        if not shutil.which('wrk'):
            sys.exit('wrk is missing: see deploy/packages.txt')
        argv = ['wrk', '-t2', '-c%d' % connections, '-d%ds' % max(1, round(seconds or SECONDS)), '--latency']
        if script:
            argv += ['-s', script]
        out = subprocess.run(argv + [url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        m = re.search(r'Requests/sec:\s+([\d.]+)', out)
        if not m:
            sys.exit('wrk failed on %s:\n%s' % (url, out))
        self.rps = float(m.group(1))
        self.p50, self.p90, self.p99 = (
            ms(re.search(r'(?m)^\s+%d%%\s+(\S+)' % p, out).group(1)) for p in (50, 90, 99))
        m = re.search(r'Non-2xx or 3xx responses: (\d+)', out)
        self.bad = int(m.group(1)) if m else 0
        m = re.search(r'Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)', out)
        self.bad += sum(map(int, m.groups())) if m else 0

    def __str__(self):
        return '%.0f/s p50 %.2f p90 %.2f p99 %.2f ms bad %d' % (self.rps, self.p50, self.p90, self.p99, self.bad)


def median_run(runs):
    return sorted(runs, key=lambda r: r.rps)[len(runs) // 2]


def job_body(region=None):
    """The job of the benchmarks as text of JSON with %s for its id."""
    j = steppe.job('%s', region)
    return json.dumps({'Job': j}, separators=(',', ':'))


def register_script(folder):
    """A script of wrk that registers another job with each request."""
    path = os.path.join(folder, 'register.lua')
    with open(path, 'w') as f:
        f.write('''local threads = 0
function setup(thread)
    thread:set("no", threads)
    threads = threads + 1
end
local n = 0
local body = [==[%s]==]
function request()
    n = n + 1
    local id = string.format("bench-%%d-%%07d", no, n)
    return wrk.format("PUT", "/v1/jobs", nil, (string.gsub(body, "%%%%s", id)))
end
''' % job_body())
    return path


def node_memory(node):
    """-> (KiB in all, {process: KiB}) of the private memory of a node."""
    each = {}
    for pid in node.pids():
        with contextlib.suppress(OSError):
            name = steppe.proc_name(pid)
            each[name] = each.get(name, 0) + steppe.proc_private_kib(pid)
    return sum(each.values()), each


def cpu_ticks(node):
    total = 0
    for pid in node.pids():
        with contextlib.suppress(OSError):
            with open('/proc/%d/stat' % pid) as f:
                fields = f.read().rsplit(')', 1)[1].split()
                total += int(fields[11]) + int(fields[12])
    return total


def wait_idle(node, quiet=2.0, timeout=20):
    """Waits until the node uses less than a twentieth of a processor. -> per cent of one that it used in the
    `quiet` seconds that told so, or in the last ones of the timeout."""
    end = time.monotonic() + timeout
    while True:
        before, begin = cpu_ticks(node), time.monotonic()
        time.sleep(quiet)  # the span that is measured
        used = 100.0 * (cpu_ticks(node) - before) / os.sysconf('SC_CLK_TCK') / (time.monotonic() - begin)
        if used < 5 or time.monotonic() > end:
            return used


def peer():
    """The program of a real nomad to measure beside, or None."""
    return os.environ.get('NOMAD_BIN')


@contextlib.contextmanager
def as_nomad():
    """Nodes that are started inside are real nomad agents."""
    before = os.environ.get('STEPPE_TEST_AGENT')
    os.environ['STEPPE_TEST_AGENT'] = peer()
    try:
        yield
    finally:
        if before is None:
            del os.environ['STEPPE_TEST_AGENT']
        else:
            os.environ['STEPPE_TEST_AGENT'] = before


def compare(measure, report):
    """measure() for Steppe and, with NOMAD_BIN, for nomad; report(ours, theirs or None)."""
    ours = measure()
    theirs = None
    if peer():
        with as_nomad():
            theirs = measure()
    report(ours, theirs)


def spread(values):
    return '%.0f/%.0f/%.0f' % (min(values), statistics.median(values), max(values))


def versus(ours, theirs, unit='/s'):
    return '' if theirs is None else 'nomad: %.0f%s, %.1fx' % (theirs, unit, ours / theirs if theirs else 0)
