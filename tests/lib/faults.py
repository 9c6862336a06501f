# SPDX-License-Identifier: MPL-2.0
"""Faults of a region's nodes, drawn from a seed, several at once, each with its end.

    faults = Faults(cluster, region, rnd, net)
    while ...:
        faults.one()       # starts another fault
        faults.pause(1)    # meanwhile faults end when their time comes
    faults.end()           # all of them are over, every node has been started

What cannot be done here (no root, no libfaketime) is left out.
"""

import contextlib
import glob
import heapq
import http.client
import itertools
import os
import shutil
import signal
import struct
import subprocess
import time
import zlib

import faketime
import steppe

MIB = 1 << 20


# -- disks


def small_disk(node, mib, cleanup):
    """A small file system under data_dir and run_dir of a node that was never started; -> whether."""
    os.makedirs(node.data_dir)
    if os.geteuid() != 0 or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%dm,mode=0700' % mib, 'tmpfs', node.data_dir],
                                           stderr=subprocess.DEVNULL, check=False).returncode:
        return False
    node.run_dir = os.path.join(node.data_dir, 'run')
    cleanup(subprocess.run, ['umount', '-l', node.data_dir], check=False)
    return True


def fill(path):
    """The disk, up to its last page."""
    with open(path, 'wb', buffering=0) as f:
        for size in (MIB, 4096):
            with contextlib.suppress(OSError):
                while f.write(bytes(size)) == size:
                    pass


# -- torn files


def wal_end(data):
    """Where the last whole record of a raft log's segment ends: crc32 of what follows, length of the body, type, body."""
    at = 0
    while at + 9 <= len(data):
        crc, body = struct.unpack_from('<II', data, at)
        if at + 9 + body > len(data) or zlib.crc32(data[at + 4:at + 9 + body]) != crc:
            break
        at += 9 + body
    return at


def tear_log(node, rnd):
    """What a power cut leaves behind the last record that was synced; the node is down. -> whether."""
    files = sorted(glob.glob(os.path.join(node.data_dir, 'server', 'raft', 'wal-*')))
    if not files:
        return False
    with open(files[-1], 'r+b') as f:
        data = f.read()
        end = wal_end(data)
        whole = data[:min(end, 5000)]
        # Half a record that once was whole, rubbish, or what file systems show of blocks never written.
        kind = rnd.randrange(3)
        with contextlib.suppress(OSError):  # a full disk
            f.seek(end)
            f.truncate()
            f.write(whole[rnd.randrange(len(whole) + 1):][:-1] if kind == 0 else
                    rnd.randbytes(rnd.randrange(1, 300)) if kind == 1 else bytes(4096))
    return True


def tear_state(node, rnd):
    """Cuts or changes a file of what clientd knows of its allocations; its folder's tasks are ended. -> whether."""
    files = sorted(glob.glob(os.path.join(node.data_dir, 'client', 'allocs', '*', '*')))
    files = [f for f in files if os.path.isfile(f) and os.path.getsize(f)]
    if not files:
        return False
    with open(rnd.choice(files), 'r+b') as f:
        data = f.read()
        if rnd.random() < 0.5:
            f.truncate(rnd.randrange(len(data)))
        else:
            f.seek(max(0, len(data) - rnd.randrange(1, 40)))
            f.write(rnd.randbytes(8))
    return True


class Faults:
    def __init__(self, cluster, region, rnd, net=None):
        self.cluster, self.region, self.rnd, self.net = cluster, region, rnd, net
        self.told, self.bad = [], []
        self.full, self.down = set(), set()  # nodes whose disk was once full; that shall not run now
        self.undos, self.count = [], itertools.count()
        self.small, self.clocks, self.copy = set(), False, None
        self.kinds = [(8, self.kill_service), (2, self.kill_leader), (3, self.freeze), (2, self.power_cut),
                      (2, self.restart), (1, self.upgrade), (1, self.blackout), (2, self.full_disk),
                      (2, self.cut_off), (2, self.cut_one_way), (1, self.lose_packets), (2, self.clock)]

    # -- before the nodes start

    def prepare(self, cleanup):
        """Options of this region by the seed: small disks, clocks of the nodes' own. Root and a network give more."""
        if self.rnd.random() < 0.5:
            for n in self.region.nodes:
                # All tasks of the checker may come to one client: each asks for 10 MiB.
                if small_disk(n, 96 if n.is_server else 256, cleanup):
                    self.small.add(n.name)
        self.clocks = not faketime.why_not() and self.rnd.random() < 0.3
        if self.clocks:
            for n in self.region.nodes:
                n.wrapper = n.wrapper + faketime.wrapper(n)
        prefix = os.environ.get('STEPPE_PREFIX')
        if prefix:
            self.copy = os.path.join(self.cluster.dir, 'other')
            for folder in ('bin', 'libexec'):
                shutil.copytree(os.path.join(prefix, folder), os.path.join(self.copy, folder))

    def options(self):
        return 'network %s, small disks %s, own clocks %s' % tuple(
            'yes' if x else 'no' for x in (self.net, self.small, self.clocks))

    # -- time

    def after(self, seconds, fn, *key):
        heapq.heappush(self.undos, (time.monotonic() + seconds, next(self.count), key, fn))

    def tick(self):
        while self.undos and self.undos[0][0] <= time.monotonic():
            heapq.heappop(self.undos)[3]()
        for n in self.region.nodes:
            if n.name not in self.down and not n.running():
                self.ended(n)

    def pause(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.tick()
            time.sleep(0.02)

    def settle(self, *key):
        """Ends what goes on with this key, now."""
        now = [u for u in self.undos if u[2] == key]
        self.undos = [u for u in self.undos if u[2] != key]
        heapq.heapify(self.undos)
        for u in now:
            u[3]()

    def end(self):
        while self.undos:
            heapq.heappop(self.undos)[3]()
        self.tick()

    def one(self):
        up = [n for n in self.region.nodes if n.running()]
        if up:
            n = self.rnd.choice(up)
            (kind,) = self.rnd.choices([k for _, k in self.kinds], [w for w, _ in self.kinds])
            text = kind(n)
            if text:
                self.told.append('%s: %s' % (n.name, text))

    def start(self, n):
        self.down.discard(n.name)
        if not n.running():
            n.start(wait=False)

    def ended(self, n):
        """An agent that ended by itself: only where its disk was full, and with a word about it."""
        last = ([x for x in n.log().split('\n') if x.startswith('==> ')] or [''])[-1]
        if n.name not in self.full or n.proc.returncode != 1 or 'space' not in last:
            self.bad.append('the agent of %s ended with %d: %s' % (n.name, n.proc.returncode, n.log_tail(5)))
        n.sweep()
        self.down.add(n.name)
        self.after(0.5, lambda: self.start(n))

    # -- faults of processes

    def kill_service(self, n):
        names = ['raftd', 'schedd', 'routerd', 'apid', 'serfd'] if n.is_server else ['clientd', 'clientd', 'routerd', 'apid']
        name = self.rnd.choice(names)
        with contextlib.suppress(KeyError, ProcessLookupError):
            n.kill_service(name)
        return 'kill -9 ' + name

    def kill_leader(self, _):
        for n in self.region.servers:
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError, ProcessLookupError, ValueError):
                if n.get('/v1/agent/self', 2).json()['stats']['raft']['state'] == 'Leader':
                    n.kill_service('raftd')
                    return '%s led: kill -9 raftd' % n.name
        return 'no leader to kill'

    def freeze(self, n):
        pids = n.service_pids()
        name = self.rnd.choice(sorted(pids) or ['agent'])
        pid = pids.get(name) or n.proc.pid
        seconds = self.rnd.choice([0.2, 1, 4])

        def thaw():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        self.after(seconds, thaw, 'frozen', n.name)
        return '%s stands still for %g s' % (name, seconds)

    def fall(self, n):
        """A power cut, and what it does to files."""
        n.kill()
        self.down.add(n.name)
        text = ''
        if n.is_client:
            end_tasks(n)
        if self.rnd.random() < 0.5:
            if n.is_server and tear_log(n, self.rnd):
                text = ', torn log'
            if n.is_client and tear_state(n, self.rnd):
                text = ', torn state'
        elif n.is_server and self.rnd.random() < 0.3:
            shutil.rmtree(os.path.join(n.data_dir, 'server', 'state'), ignore_errors=True)
            text = ', state lost'
        return text

    def power_cut(self, n):
        text = self.fall(n)
        self.after(self.rnd.choice([0, 0, 3, 6]), lambda: self.start(n))
        return 'power cut' + text

    def blackout(self, _):
        """Most of the region at once."""
        nodes = [x for x in self.region.nodes if x.running() and self.rnd.random() < 0.8]
        for x in nodes:
            self.told.append('%s: blackout%s' % (x.name, self.fall(x)))
        for x in nodes:
            self.after(self.rnd.choice([0, 0, 2]), lambda n=x: self.start(n))

    def restart(self, n):
        self.settle('frozen', n.name)
        self.down.add(n.name)
        n.stop(timeout=60)
        self.start(n)
        return 'restart'

    def upgrade(self, n):
        if not self.copy:
            return None
        n.prefix = None if n.prefix else self.copy
        self.restart(n)
        return 'restart with other programs'

    # -- faults of disks, wires and clocks

    def full_disk(self, n):
        if n.name not in self.small:
            return None
        ballast = os.path.join(n.data_dir, 'ballast')
        if os.path.exists(ballast):
            return None
        fill(ballast)
        self.full.add(n.name)
        seconds = self.rnd.choice([1, 3, 6])
        self.after(seconds, lambda: os.remove(ballast))
        return 'disk full for %g s' % seconds

    def cut(self, seconds, *rules):
        self.after(seconds, self.net.drop(*rules))
        return '%g s' % seconds

    def cut_off(self, n):
        if not self.net:
            return None
        only = self.rnd.choice(['', 'tcp dport 4647 ', 'tcp sport 4647 '])
        return 'cut off %sfor %s' % (only, self.cut(
            self.rnd.choice([1, 5, 8]), 'ip saddr %s %s' % (n.addr, only), 'ip daddr %s %s' % (n.addr, only)))

    def cut_one_way(self, n):
        """Packets from here to there are lost, those back are not."""
        if not self.net:
            return None
        other = self.rnd.choice([x for x in self.region.nodes if x is not n])
        return 'nothing comes to %s for %s' % (other.name, self.cut(
            self.rnd.choice([1, 4, 10]), 'ip saddr %s ip daddr %s' % (n.addr, other.addr)))

    def lose_packets(self, _):
        if not self.net:
            return None
        percent = self.rnd.choice([2, 10, 30])
        return '%d of 100 packets are lost for %s' % (percent, self.cut(
            self.rnd.choice([2, 6]), 'numgen random mod 100 < %d' % percent))

    def clock(self, n):
        if not self.clocks:
            return None
        offset = self.rnd.choice([86400, 3600, -3600, 0])
        faketime.set_clock(n, offset)
        return 'its clock is %+d s off' % offset


def end_tasks(node):
    """kill -9 of all that the node's tasks are: a power cut takes them, too."""
    for _ in range(3):
        for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
            argv = steppe.proc_cmdline(pid).split()
            if len(argv) == 2 and os.path.basename(argv[0]) == 'taskd' and argv[1].startswith(node.data_dir + '/'):
                for p in reversed(steppe.proc_descendants(pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(p, signal.SIGKILL)
