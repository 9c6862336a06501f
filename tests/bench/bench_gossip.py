#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Gossip beside the real `serf agent`, in the same run: how long joins take until all see them, how long a
killed, a frozen and a cut off member goes unnoticed, who is called failed beside busy processes, what it
costs in bytes and memory.

At the end one large pool in the simulator: detection and cost beside the formulas of memberlist.

BENCH_GOSSIP_SIZES: members (10,50). BENCH_GOSSIP_JOINS: runs of the join of three regions (10; 50 to hold it
against the promise). BENCH_GOSSIP_HOG: seconds beside two busy processes (20; 600 for the promise).
BENCH_GOSSIP_MEMBERS: of the large pool (3000: 1.4 GiB; 10000: 15 GiB and minutes; 0: none)."""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import gossip  # noqa: E402
import steppe  # noqa: E402

SIZES = [int(x) for x in os.environ.get('BENCH_GOSSIP_SIZES', '10,50').split(',')]
JOINS = int(os.environ.get('BENCH_GOSSIP_JOINS', '10'))
HOG = float(os.environ.get('BENCH_GOSSIP_HOG', '20'))
MEMBERS = os.environ.get('BENCH_GOSSIP_MEMBERS', '3000')
KILLS = 3
TRAFFIC = float(os.environ.get('BENCH_GOSSIP_TRAFFIC', '30'))  # seconds: the interval of push/pull
STEP = 0.01
GIVE_UP = 120
QUEUES = ('intent_queue', 'event_queue', 'query_queue')


# -- serf's RPC port: its command line is far too slow to time anything


def pack(v):
    if isinstance(v, bool):
        return b'\xc3' if v else b'\xc2'
    if isinstance(v, int):
        return struct.pack('>Bi', 0xd2, v)
    if isinstance(v, str):
        return struct.pack('>BH', 0xda, len(v)) + v.encode()
    if isinstance(v, list):
        return struct.pack('>BH', 0xdc, len(v)) + b''.join(map(pack, v))
    return struct.pack('>BH', 0xde, len(v)) + b''.join(pack(k) + pack(x) for k, x in v.items())


class Unpacker:
    def __init__(self, f):
        self.f = f

    def take(self, n):
        data = self.f.read(n)
        if len(data) < n:
            raise OSError('the connection ended')
        return data

    def number(self, fmt):
        return struct.unpack('>' + fmt, self.take(struct.calcsize('>' + fmt)))[0]

    def value(self):
        b = self.take(1)[0]
        simple = {0xc0: None, 0xc2: False, 0xc3: True}
        numbers = {0xca: 'f', 0xcb: 'd', 0xcc: 'B', 0xcd: 'H', 0xce: 'I', 0xcf: 'Q', 0xd0: 'b', 0xd1: 'h', 0xd2: 'i',
                   0xd3: 'q'}
        if b < 0x80 or b >= 0xe0:
            return b if b < 0x80 else b - 256
        if b in simple:
            return simple[b]
        if b in numbers:
            return self.number(numbers[b])
        if 0x80 <= b < 0x90 or b in (0xde, 0xdf):
            n = b & 15 if b < 0x90 else self.number('H' if b == 0xde else 'I')
            return {self.value(): self.value() for _ in range(n)}
        if 0x90 <= b < 0xa0 or b in (0xdc, 0xdd):
            n = b & 15 if b < 0xa0 else self.number('H' if b == 0xdc else 'I')
            return [self.value() for _ in range(n)]
        n = b & 31 if b < 0xc0 else self.number({0xd9: 'B', 0xc4: 'B', 0xda: 'H', 0xc5: 'H', 0xdb: 'I', 0xc6: 'I'}[b])
        return self.take(n).decode('latin-1')


class SerfRpc:
    def __init__(self, addr):
        host, port = addr.split(':')
        self.s = socket.create_connection((host, int(port)), timeout=10)
        self.f = self.s.makefile('rb')
        self.seq = 0
        self.call('handshake', {'Version': 1})

    def call(self, command, body=None, answer=False):
        self.seq += 1
        self.s.sendall(pack({'Command': command, 'Seq': self.seq}) + (pack(body) if body is not None else b''))
        u = Unpacker(self.f)
        head = u.value()
        if head.get('Error'):
            raise OSError(head['Error'])
        return u.value() if answer else None

    def close(self):
        self.f.close()
        self.s.close()


# -- the two kinds of pool, alike


def quiet_wait(members, stats, names):
    def quiet():
        return all(int(stats(m)[k]) == 0 for m in members for k in names)
    steppe.wait_for('the pool to be quiet', quiet, GIVE_UP)


class Ours(gossip.Pool):
    label = 'serfd'

    def __init__(self, cluster):
        super().__init__(cluster)
        self.views = 0

    def make(self, n):
        for i in range(n):
            s = gossip.Serfd(self.cluster, 's%03d' % i, 'r%d' % (i % 3), self.cluster.addr(1 + i // 200, 1 + i % 200))
            self.all.append(s)
            s.start(wait=False)
        for s in self.all:
            steppe.wait_for('serfd %s' % s.name, s.members, 30)
        return self.all

    def join(self, member, *others):
        n, error = member.join(*[o.addr for o in others])
        assert n == len(others), error

    @staticmethod
    def failed(member):
        return member.failed_calls()

    def settle(self, seconds):
        """Until nobody has anything to tell or to compare, or suspects anybody; serfd shows it, so nothing is waited for in vain."""
        quiet_wait(self.all, lambda m: m.stats(), QUEUES + ('member_queue', 'suspects', 'exchanges'))


class Agents:
    label = 'serf agent'

    def __init__(self, cluster):
        self.cluster, self.all = cluster, []

    def make(self, n):
        for i in range(n):
            a = gossip.interop.Agent(self.cluster, 's%03d' % i, self.cluster.addr(5 + i // 200, 1 + i % 200))
            a.argv = [x for x in a.argv if not x.startswith('-log-level')] + ['-log-level=info']
            a.full = a.name
            self.all.append(a)
            with open(a.log_file, 'ab') as log:
                a.proc = subprocess.Popen(a.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for a in self.all:
            a.conn = steppe.wait_for('agent %s' % a.name, lambda a=a: SerfRpc(a.rpc), 60)
            a.statuses = lambda a=a: {m['Name']: m['Status'] for m in
                                      a.conn.call('members', answer=True)['Members']}
            a.kill = a.stop
        return self.all

    def join(self, member, *others):
        member.conn.call('join', {'Existing': ['%s:%d' % (o.addr, gossip.PORT) for o in others], 'Replay': False},
                         answer=True)

    @staticmethod
    def failed(member):
        return [x.split('EventMemberFailed: ')[1].split()[0] for x in member.log().splitlines()
                if 'EventMemberFailed: ' in x]

    def settle(self, seconds):
        """As far as it shows it; its members' queue and its suspects are not to be seen, for them there is time."""
        quiet_wait(self.all, lambda m: m.conn.call('stats', answer=True)['serf'], QUEUES)
        time.sleep(seconds)

    def close(self):
        for a in self.all:
            with contextlib.suppress(OSError, AttributeError):
                a.conn.close()
            with contextlib.suppress(ProcessLookupError, AttributeError):
                os.kill(a.proc.pid, signal.SIGCONT)
            a.stop()


@contextlib.contextmanager
def pool_of(kind, n):
    with steppe.Cluster() as c:
        p = kind(c)
        try:
            p.make(n)
            yield p
        finally:
            p.close()


# -- figures


def until(members, name_ok):
    """Seconds until every member's view passes; asks one after the other, so each is asked until it agrees."""
    begin = time.monotonic()
    for m in members:
        while not name_ok(m.statuses()):
            if time.monotonic() - begin > GIVE_UP:
                return float('inf')
            time.sleep(STEP)
    return time.monotonic() - begin


def all_alive(n):
    return lambda st: sum(x == 'alive' for x in st.values()) == n


def join_regions(kind, n):
    """Three pools, one join between them; -> seconds until all see all."""
    with pool_of(kind, n) as p:
        thirds = [p.all[i::3] for i in range(3)]
        for t in thirds:
            for m in t[1:]:
                p.join(m, t[0])
            until(t, all_alive(len(t)))
        begin = time.monotonic()
        p.join(thirds[0][0], thirds[1][0], thirds[2][0])
        until(p.all, all_alive(n))
        return time.monotonic() - begin


def one_pool(p, n):
    for m in p.all[1:]:
        p.join(m, p.all[0])
    assert until(p.all, all_alive(n)) < GIVE_UP
    p.settle(3)


def detect(p, victim, sig):
    others = [m for m in p.all if m is not victim]
    begin = time.monotonic()
    os.kill(victim.proc.pid, sig)
    until(others, lambda st: st.get(victim.full) == 'failed')
    return time.monotonic() - begin


@contextlib.contextmanager
def counted(net):
    """Yields a function that says how many bytes went to and from this block of addresses so far, or None."""
    table = 'steppe_bench_%d' % net
    rules = ('table inet %s { counter n { } ; chain c { type filter hook input priority 0; '
             'ip daddr 127.%d.0.0/16 counter name "n"; '
             'ip saddr 127.%d.0.0/16 ip daddr != 127.%d.0.0/16 counter name "n"; }; }' % (table, net, net, net))
    if os.geteuid() != 0 or not shutil.which('nft') or subprocess.run(['nft', rules], stderr=subprocess.DEVNULL).returncode:
        yield None
        return

    def read():
        out = subprocess.run(['nft', 'list', 'counter', 'inet', table, 'n'], stdout=subprocess.PIPE, text=True).stdout
        return int(re.search(r'bytes (\d+)', out).group(1))
    try:
        yield read
    finally:
        subprocess.run(['nft', 'delete table inet ' + table])


def rate(p, n):
    """Bytes a second and member in calm, headers included; None without nft."""
    with counted(p.cluster.net) as read:
        if not read:
            return None
        before, begin = read(), time.monotonic()
        time.sleep(TRAFFIC)
        return (read() - before) / (time.monotonic() - begin) / n


def memory(p):
    each = sorted(steppe.proc_private_kib(m.proc.pid) for m in p.all)
    return each[len(each) // 2] / 1024


@contextlib.contextmanager
def hogs(n=2):
    procs = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(n)]
    try:
        yield
    finally:
        for h in procs:
            h.kill()
            h.wait()


def false_alarms(p):
    """Beside two busy processes, while one member after the other is stopped for up to 3 s."""
    end, turn, stopped = time.monotonic() + HOG, 0, []
    with hogs():
        while time.monotonic() < end:
            m = p.all[turn % len(p.all)]
            turn += 1
            os.kill(m.proc.pid, signal.SIGSTOP)
            begin = time.monotonic()
            time.sleep((1, 2, 3)[turn % 3])
            os.kill(m.proc.pid, signal.SIGCONT)
            stopped.append(time.monotonic() - begin)
            m.statuses()  # it goes on
            p.settle(1)
        p.settle(6)
    return sum(len(p.failed(m)) for m in p.all), max(stopped)


def cut_off():
    """A host whose network is cut: seconds until five others call it failed. Ours only, in namespaces."""
    why = gossip.Wire.why_not()
    if why:
        print('cut off: left out: ' + why)
        return None
    with steppe.Cluster() as c, gossip.Wire(c.net) as wire:
        p = Ours(c)
        try:
            near = [p.server('west', i, wire.addr(i), wire.wrapper(0)) for i in range(1, 9)]
            far = p.server('east', 1, wire.addr(100), wire.wrapper(1))
            for s in p.all:
                s.start()
            for s in p.all[1:]:
                assert s.join(near[0].addr)[0] == 1
            p.wait_whole(p.all)
            p.settle(0)
            begin = time.monotonic()
            wire.cut()
            until(near, lambda st: st.get(far.full) == 'failed')
            return time.monotonic() - begin
        finally:
            p.close()


def measure(kind, n, joins):
    out = {'join': sorted(join_regions(kind, n) for _ in range(joins))}
    with pool_of(kind, n) as p:
        one_pool(p, n)
        out['rate'], out['memory'] = rate(p, n), memory(p)
        out['alarms'], out['stop'] = false_alarms(p)
        out['frozen'] = detect(p, p.all[n // 2], signal.SIGSTOP)
    out['killed'] = []
    for _ in range(KILLS):
        with pool_of(kind, n) as p:
            one_pool(p, n)
            out['killed'].append(detect(p, p.all[n // 2], signal.SIGKILL))
    return out


def large():
    """The unchanged core in virtual time, MEMBERS of it."""
    build = os.environ.get('BENCH_BUILD') or os.environ.get('STEPPE_BUILD')
    if MEMBERS == '0' or not build:
        print('large pool: left out')
        return
    p = subprocess.run([os.path.join(build, 'sim_serfd')], stdout=subprocess.PIPE, text=True,
                       env=dict(os.environ, SIM_MEMBERS=MEMBERS))
    print(p.stdout, end='')

    def find(expr):
        m = re.search(expr, p.stdout)
        if p.returncode or not m:
            sys.exit('sim_serfd failed with status %d: no "%s"' % (p.returncode, expr))
        return m.groups()
    what = MEMBERS + ' members, simulated: '
    calm, per_probe = find(r'calm: ([\d.]+) datagrams .* for each probe are ([\d.]+)')
    bench.row(what + 'datagrams a second, in calm', calm, '', '', None, 'pings and acks alone: ' + per_probe)
    heard, cost, limit = find(r'within ([\d.]+) s; ([\d.]+) datagrams a member, at most (\d+) by the formula')
    bench.row(what + 'a user event heard by all', heard, 's')
    bench.row(what + 'datagrams a member for it', cost, '', '<= %s (formula)' % limit, float(cost) <= float(limit))
    known, formula = find(r'all \d+ after ([\d.]+) s; the suspicion alone is ([\d.]+) s')
    bench.row(what + 'a lost host known to all', known, 's', '', None, 'the suspicion alone, by the formula: %s s' % formula)
    wrong, = find(r'others called failed: (\d+)')
    bench.row(what + 'others called failed', wrong, '', '0', wrong == '0')


def ratio(ours, theirs):
    return '' if not theirs or not ours else '%s %.2f, ratio %.2f' % (Agents.label, theirs, ours / theirs)


def rows(n, ours, theirs):
    t = theirs or {}

    def line(name, value, unit, other, target='', ok=None):
        bench.row('%d members: %s' % (n, name), '%.2f' % value, unit, target, ok, ratio(value, other))
    j, tj = ours['join'], t.get('join')
    line('three regions join, p50', j[len(j) // 2], 's', tj and tj[len(tj) // 2])
    small = n <= 10
    line('three regions join, max of %d' % len(j), j[-1], 's', tj and tj[-1], '< 2 (of 9)', j[-1] < 2 if small else None)
    line('killed, known to all (max of %d)' % KILLS, max(ours['killed']), 's', t and max(t['killed']), '< 5 (of 9)',
         max(ours['killed']) < 5 if small else None)
    line('frozen, known to all', ours['frozen'], 's', t.get('frozen'), '< 5 (of 9)', ours['frozen'] < 5 if small else None)
    bench.row('%d members: called failed in %.0f s beside two hogs, stops to %.1f s' % (n, HOG, ours['stop']),
              ours['alarms'], '', '0', ours['alarms'] == 0, t and '%s %d' % (Agents.label, t['alarms']) or '')
    if ours['rate'] is not None:
        line('bytes a second and member', ours['rate'], 'B/s', t.get('rate'))
    line('private memory of a member', ours['memory'], 'MiB', t.get('memory'))


def main():
    real = shutil.which('serf')
    if not real:
        print('the Debian package serf is not installed: nothing to compare with')
    for n in SIZES:
        ours = measure(Ours, n, JOINS)
        rows(n, ours, measure(Agents, n, min(JOINS, 3)) if real else None)
    cut = cut_off()
    if cut is not None:
        bench.row('9 members: cut off, known to all', '%.2f' % cut, 's', '< 5', cut < 5)
    large()


if __name__ == '__main__':
    main()
