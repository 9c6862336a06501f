# SPDX-License-Identifier: MPL-2.0
"""Pools of real serfd processes (and nothing else of a node), for test_gossip.py and bench_gossip.py."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'interop'))
import test_serf_agent as interop  # noqa: E402
from steppe import wait_for  # noqa: E402

PORT = interop.PORT
REGIONS = ('west', 'east', 'north')


class Serfd(interop.Serfd):
    """One serfd; wrapper: a command in front of it, such as one that enters a network namespace."""

    wrapper = ()

    def start(self, *args, wait=True):
        with open(self.log_file, 'ab') as log:
            self.proc = subprocess.Popen(
                list(self.wrapper) + [interop.serfd_binary(), '-config=' + self.conf_file] + list(args),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            wait_for('serfd %s' % self.name, self.members, 30)
        return self

    @property
    def pid(self):
        """Of serfd itself (a wrapper ends in exec)."""
        return self.proc.pid

    def send(self, sig):
        os.kill(self.pid, sig)

    def statuses(self):
        return {n: m.status for n, m in self.members().items()}

    def failed_calls(self):
        """The names that it has called failed, in order."""
        return re.findall(r'member failed member=(\S+)', self.log())


class Pool:
    """serfd processes of several regions; close() ends them."""

    def __init__(self, cluster, extra=''):
        self.cluster, self.extra, self.all = cluster, extra, []

    def server(self, region, no, addr=None, wrapper=()):
        where = REGIONS.index(region) + 1 if region in REGIONS else 1
        s = Serfd(self.cluster, '%s%d' % (region[0], no), region, addr or self.cluster.addr(where, no),
                  extra=self.extra)
        s.wrapper = wrapper
        self.all.append(s)
        return s

    def regions(self, per_region=3, regions=REGIONS):
        """Starts them, each region a pool of its own; -> [[servers of a region]]."""
        out = [[self.server(r, i + 1) for i in range(per_region)] for r in regions]
        for servers in out:
            for s in servers:
                s.start(wait=False)
        for servers in out:
            for s in servers:
                wait_for('serfd %s' % s.name, s.members, 30)
            for s in servers[1:]:
                assert s.join(servers[0].addr) == (1, ''), s.name
        for servers in out:
            for s in servers:
                self.wait_view(s, servers)
        return out

    def nine(self):
        """Three regions of three in one pool."""
        out = self.regions()
        n, error = out[0][0].join(out[1][0].addr, out[2][0].addr)
        assert n == 2, error
        self.wait_whole(self.all)
        return out

    @staticmethod
    def wait_view(server, alive, timeout=60):
        names = sorted(s.full for s in alive)
        wait_for('%s to see %s alive' % (server.full, names),
                 lambda: sorted(n for n, st in server.statuses().items() if st == 'alive') == names, timeout)

    def wait_whole(self, servers, timeout=60):
        for s in servers:
            self.wait_view(s, servers, timeout)

    def wait_status(self, watchers, name, status, timeout=60):
        for w in watchers:
            w.wait_status(name, status, timeout)

    def others(self, server):
        return [s for s in self.all if s is not server]

    def close(self):
        for s in self.all:
            with contextlib.suppress(ProcessLookupError, AttributeError):
                s.send(signal.SIGCONT)
            s.kill()


class Stillness:
    """Measures how late this machine wakes a thread: what others were late, too, proves nothing."""

    def __enter__(self):
        self.worst, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()

    def _run(self):
        last = time.monotonic()
        while not self._stop.wait(0.01):
            now = time.monotonic()
            self.worst = max(self.worst, now - last - 0.01)
            last = now


class Wire:
    """Two network namespaces with a wire between them that can be cut. Needs root and ip(8)."""

    NET = '10.199.%d.%d'

    def __init__(self, no):
        self.no = no
        self.names = ['stw%da' % no, 'stw%db' % no]

    @staticmethod
    def why_not():
        """Why this machine cannot do it, or None."""
        if os.geteuid() != 0 or not shutil.which('ip'):
            return 'needs root and ip'
        name = 'stw%dx' % os.getpid()
        p = subprocess.run(['ip', 'netns', 'add', name], stderr=subprocess.PIPE, text=True)
        if p.returncode:
            return 'network namespaces do not work here: ' + p.stderr.strip()
        p = subprocess.run(['ip', 'link', 'add', 'stwx0', 'netns', name, 'type', 'veth', 'peer', 'name', 'stwx1', 'netns',
                            name], stderr=subprocess.PIPE, text=True)
        subprocess.run(['ip', 'netns', 'del', name], stderr=subprocess.DEVNULL)
        return 'veth does not work here: ' + p.stderr.strip() if p.returncode else None

    def ip(self, *args):
        subprocess.run(('ip',) + args, check=True)

    def __enter__(self):
        a, b = self.names
        for n in self.names:
            subprocess.run(['ip', 'netns', 'del', n], stderr=subprocess.DEVNULL)
            self.ip('netns', 'add', n)
            self.ip('-n', n, 'link', 'set', 'lo', 'up')
        self.ip('link', 'add', 'w0', 'netns', a, 'type', 'veth', 'peer', 'name', 'w1', 'netns', b)
        for i in range(1, 9):
            self.ip('-n', a, 'addr', 'add', (self.NET + '/24') % (self.no, i), 'dev', 'w0')
        self.ip('-n', b, 'addr', 'add', (self.NET + '/24') % (self.no, 100), 'dev', 'w1')
        self.mend()
        return self

    def __exit__(self, *exc):
        for n in self.names:
            subprocess.run(['ip', 'netns', 'del', n], stderr=subprocess.DEVNULL)

    def addr(self, host):
        return self.NET % (self.no, host)

    def wrapper(self, side):
        return ('ip', 'netns', 'exec', self.names[side])

    def cut(self):
        """Nothing passes any more, in silence: packets vanish, nothing is refused."""
        self.ip('-n', self.names[0], 'neigh', 'flush', 'dev', 'w0')
        self.ip('-n', self.names[1], 'link', 'set', 'w1', 'down')

    def mend(self):
        self.ip('-n', self.names[0], 'link', 'set', 'w0', 'up')
        self.ip('-n', self.names[1], 'link', 'set', 'w1', 'up')
