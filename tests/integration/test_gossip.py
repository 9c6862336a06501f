# SPDX-License-Identifier: MPL-2.0
"""Pools of nine serfd processes, three regions of three: joins, kills, freezes, cut links.

How fast things are is the bench's business (tests/bench/bench_gossip.py): here only that they happen."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import faketime  # noqa: E402
import gossip  # noqa: E402
import steppe  # noqa: E402
from rawwire import field, pb  # noqa: E402
from steppe import wait_for  # noqa: E402

EVENT = 124
# Failed members are dialled often, so that a mended link is found out soon.
QUICK_RECONNECT = 'gossip { reconnect_interval = "1s" }'


class PoolCase(steppe.TestCase):
    extra = QUICK_RECONNECT

    def setUp(self):
        super().setUp()
        self.pool = gossip.Pool(self.cluster, self.extra)
        self.addCleanup(self.pool.close)
        self.machine = self.enterContext(gossip.Stillness())

    def tearDown(self):
        super().tearDown()
        for s in self.pool.all:
            self.assertIsNone(steppe.CRASH.search(s.log()), s.log()[-3000:])

    def log_tails(self):
        return '\n'.join('--- %s\n%s' % (s.full, '\n'.join(s.log().splitlines()[-40:])) for s in self.pool.all)

    def assertCalledFailed(self, servers, names):
        """They called these failed and nobody else - unless the machine stood still for that long."""
        for s in servers:
            if self.machine.worst < 0.5:
                self.assertEqual(s.failed_calls(), names, s.full)


class Nine(PoolCase):
    def test_one_join_is_seen_by_all(self):
        west, east, north = self.pool.regions()
        self.assertEqual(len(west[0].members()), 3)
        self.assertEqual(west[0].join(east[0].addr), (1, ''))
        self.pool.wait_whole(west + east)
        self.assertEqual(north[2].join(east[1].addr), (1, ''))  # any member of either side
        self.pool.wait_whole(self.pool.all)
        self.assertCalledFailed(self.pool.all, [])

    def test_killed_is_failed_at_all_and_comes_back(self):
        _, east, _ = self.pool.nine()
        dead = east[1]
        dead.wait_snapshot(east[0].full)
        dead.kill()
        self.pool.wait_status(self.pool.others(dead), dead.full, 'failed')
        self.assertCalledFailed(self.pool.others(dead), [dead.full])  # that one, once
        dead.start()  # its snapshot says where to go
        self.pool.wait_whole(self.pool.all)

    def test_frozen_is_failed_and_refutes_when_it_goes_on(self):
        _, _, north = self.pool.nine()
        cold = north[0]
        cold.send(signal.SIGSTOP)
        try:
            self.pool.wait_status(self.pool.others(cold), cold.full, 'failed')
        finally:
            cold.send(signal.SIGCONT)
        self.pool.wait_whole(self.pool.all)
        wait_for('it to say that it stood still', lambda: 'this process stood still' in cold.log())
        self.assertCalledFailed([cold], [])  # it does not blame the others for its own sleep

    def test_a_short_stop_is_no_failure(self):
        west, _, _ = self.pool.nine()
        calm = 0
        for _ in range(8):
            with gossip.Stillness() as machine:
                west[1].send(signal.SIGSTOP)
                begin = time.monotonic()
                time.sleep(2.5)  # what is tested: the members' patience
                west[1].send(signal.SIGCONT)
                stopped = time.monotonic() - begin
                self.pool.wait_whole(self.pool.all)
            if stopped > 2.7 or machine.worst > 0.15:
                continue  # whatever was seen, it says something about the machine
            self.assertCalledFailed(self.pool.all, [])
            calm += 1
            if calm == 2:
                return
        self.skipTest('this machine is too busy to tell a stop from a failure')

    def test_whole_region_dies(self):
        west, east, north = self.pool.nine()
        for s in north:
            s.kill()
        for s in north:
            self.pool.wait_status(west + east, s.full, 'failed')
        self.pool.wait_whole(west + east)

    def test_leave_is_no_failure(self):
        _, east, _ = self.pool.nine()
        self.assertEqual(east[2].stop(signal.SIGUSR2), 0)
        self.pool.wait_status(self.pool.others(east[2]), east[2].full, 'left')
        self.assertCalledFailed(self.pool.all, [])


class Snapshot(PoolCase):
    """The file by which a killed server finds its pool again."""

    def pair(self):
        a, b = (self.pool.server('west', i).start() for i in (1, 2))
        self.assertEqual(a.join(b.addr), (1, ''))
        self.pool.wait_whole([a, b])
        a.wait_snapshot(b.full)
        return a, b, os.path.join(a.dir, 'data/server/serf/snapshot')

    def test_torn_files(self):
        """kill -9 and a file that was not finished: what is whole of it counts, and the start always succeeds."""
        a, b, path = self.pair()
        with open(path, 'rb') as f:
            good = f.read()
        self.assertTrue(good.endswith(b'\n'))
        for data, finds in ((good[:-4], True),  # within the name, which is only for people
                            (b'alive: not-an-address x\nalive: \n\xff\xfe:\n' + good, True),
                            (good + b'clock: 99999999999999999999999\nevent-clock: -3\n', True),
                            (good[:good.index(b'alive')] + b'alive: %s:4' % b.addr.encode(), False),
                            (bytes(len(good)), False),  # as after a power failure
                            (os.urandom(4096), False),
                            (b'', False),
                            (b'alive: 127.0.0.1:1 x\n' * 500000, False)):  # longer than any real one
            a.kill()
            with open(path, 'wb') as f:
                f.write(data)
            a.start()
            if not finds:
                self.assertEqual(a.join(b.addr), (1, ''))
            self.pool.wait_whole([a, b])
            a.wait_snapshot(b.full)
        self.assertIn('membership snapshot not read error="%s: more than' % path, a.log())
        a.kill()
        os.unlink(path)
        os.mkdir(path)
        a.start()
        self.assertIn('membership snapshot not read', a.log())

    def test_written_when_it_can_be(self):
        """As on a full disk: nothing else suffers, and it is made up for without a further change."""
        a, b, path = self.pair()
        os.mkdir(path + '.tmp')
        c = self.pool.server('west', 3).start()
        self.assertEqual(c.join(b.addr), (1, ''))
        self.pool.wait_whole(self.pool.all)
        wait_for('the warning', lambda: 'membership snapshot not written' in a.log(), 60)
        os.rmdir(path + '.tmp')
        wait_for('the next try', lambda: 'membership snapshot written again' in a.log(), 60)
        a.wait_snapshot(c.full)

    def test_full_disk(self):
        """The old file stays whole, nothing half written is left, and the new one follows when there is room."""
        a = self.pool.server('west', 1)
        folder = os.path.join(a.dir, 'data/server/serf')
        path, filler = os.path.join(folder, 'snapshot'), os.path.join(folder, 'filler')
        os.makedirs(folder)
        m = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], stderr=subprocess.PIPE)
        if m.returncode:
            self.skipTest('cannot mount: %r' % m.stderr)
        self.addCleanup(subprocess.run, ['umount', '-l', folder], check=True)
        self.addCleanup(a.kill)
        a.start()
        b, c = (self.pool.server('west', i).start() for i in (2, 3))
        self.assertEqual(a.join(b.addr), (1, ''))
        a.wait_snapshot(b.full)
        with contextlib.suppress(OSError), open(filler, 'wb', buffering=0) as f:
            while True:
                f.write(bytes(4096))
        self.assertEqual(c.join(b.addr), (1, ''))
        self.pool.wait_whole(self.pool.all)
        wait_for('the warning', lambda: 'No space left on device' in a.log(), 60)
        self.assertEqual(sorted(os.listdir(folder)), ['filler', 'snapshot'])
        with open(path) as f:
            self.assertIn(b.full, f.read())
        os.unlink(filler)
        wait_for('the next try', lambda: 'membership snapshot written again' in a.log(), 60)
        a.wait_snapshot(c.full)

    def test_old_events_stay_old(self):
        """What was delivered before the kill is not delivered again, and the file knows without a change of members."""
        a, b, path = self.pair()

        def clock():
            with open(path) as f:
                return int(f.read().split('event-clock: ')[1].split()[0])
        before = clock()
        for i in range(3):
            self.assertEqual(b.call(EVENT, field(1, 'e%d' % i))[0], 0)
        wait_for('the event clock in the file', lambda: clock() == before + 3, 60)
        a.kill()
        a.start()
        self.pool.wait_whole([a, b])
        self.assertEqual(b.call(EVENT, field(1, 'e3'))[0], 0)
        wait_for('the new event', lambda: 'user event name=e3 ' in a.log(), 60)
        for i in range(4):
            self.assertEqual(a.log().count('user event name=e%d ' % i), 1)


class JoinCheck(PoolCase):
    def test_clocks_that_differ(self):
        """`server join -check` sees a wall clock that is a minute off, from either side."""
        if not faketime.LIBRARY:
            self.skipTest('needs libfaketime (package faketime)')
        a, b = self.pool.server('west', 1), self.pool.server('east', 1)
        b.wrapper = ('env', 'LD_PRELOAD=' + faketime.LIBRARY, 'FAKETIME=+60s', 'DONT_FAKE_MONOTONIC=1')
        for s in (a, b):
            s.start()
        for asker, other, text in ((a, b, 'ahead of ours'), (b, a, 'behind ours')):
            code, error, body = asker.call(gossip.interop.JOIN_CHECK, field(1, other.addr))
            self.assertEqual((code, error), (0, ''))
            lines = {f[2]: (f[3], f[4].decode()) for f in (dict(pb(v)) for no, v in pb(body) if no == 2)}
            self.assertEqual(lines[b'clock'][0], b'fail', lines)
            self.assertRegex(lines[b'clock'][1], r'^(59|6\d)\d{3} ms ' + text)
            self.assertEqual([k for k, (result, _) in lines.items() if result != b'ok'], [b'clock'])


class SilentNameServer(PoolCase):
    """Names in retry_join, and a name server that never answers: nothing but the join waits for it."""

    def test_it_holds_up_nobody(self):
        addr, conf = self.cluster.addr(9, 1), os.path.join(self.cluster.dir, 'resolv.conf')
        dns = self.enterContext(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with open(conf, 'w') as f:
            f.write('nameserver %s\n' % addr)
        if os.geteuid() != 0 or subprocess.run(['unshare', '-m', 'mount', '--bind', conf, '/etc/resolv.conf'],
                                               stderr=subprocess.DEVNULL).returncode:
            self.skipTest('needs root, unshare and mount')
        dns.bind((addr, 53))
        dns.settimeout(60)
        names = ', '.join('"n%d.example.com"' % i for i in range(200))
        s = gossip.Serfd(self.cluster, 'w1', 'west', self.cluster.addr(1, 1), extra=QUICK_RECONNECT,
                         server='retry_join = [%s] retry_interval = "100ms"' % names)
        s.wrapper = ('unshare', '-m', 'sh', '-c', 'mount --bind %s /etc/resolv.conf && exec "$@"' % conf, 'sh')
        self.pool.all.append(s)
        s.start()
        dns.recvfrom(512)  # it asks
        other = self.pool.server('west', 2).start()
        self.assertEqual(other.join(s.addr), (1, ''))
        self.pool.wait_whole(self.pool.all)
        wait_for('the bound', lambda: 'too many names are being looked up' in s.log(), 60)
        self.assertEqual(s.stop(), 0)  # a lookup alone takes 10 s, all of them 16 minutes
        self.assertIn('stopped', s.log())


class CutLinks(PoolCase):
    def test_deaf_to_datagrams(self):
        """UDP to one of them is lost: pings by TCP keep it alive, and the log says what is wrong."""
        if os.geteuid() != 0 or not shutil.which('nft'):
            self.skipTest('needs root and nft')
        _, east, _ = self.pool.nine()
        deaf = east[0]
        table = 'steppe_gossip_%d' % self.cluster.net
        rules = ('table inet %s { chain c { type filter hook input priority 0; ip daddr %s udp dport %d drop; }; }'
                 % (table, deaf.addr, gossip.PORT))
        p = subprocess.run(['nft', rules], stderr=subprocess.PIPE, text=True)
        if p.returncode:
            self.skipTest('nft does not work here: ' + p.stderr)
        try:
            for s in self.pool.others(deaf):
                wait_for('%s to reach it by TCP' % s.full,
                         lambda s=s: 'answers by TCP only: is UDP blocked? member=' + deaf.full in s.log(), 60)
        finally:
            subprocess.run(['nft', 'delete table inet ' + table], check=True)
        self.pool.wait_whole(self.pool.all)

    def test_cut_off_and_back(self):
        """A host vanishes in silence with its network, and comes back: the others see it, all heals by itself."""
        why = gossip.Wire.why_not()
        if why:
            self.skipTest(why)
        wire = self.enterContext(gossip.Wire(self.cluster.net))
        for i in range(1, 6):
            self.pool.server('west', i, wire.addr(i), wire.wrapper(0))
        far = self.pool.server('east', 1, wire.addr(100), wire.wrapper(1))
        near = self.pool.others(far)
        for s in self.pool.all:
            s.start()
        for s in self.pool.all[1:]:
            self.assertEqual(s.join(near[0].addr), (1, ''))
        self.pool.wait_whole(self.pool.all)
        wire.cut()
        self.pool.wait_status(near, far.full, 'failed')
        self.pool.wait_whole(near)
        wire.mend()
        self.pool.wait_whole(self.pool.all)

    def test_a_region_leaves_meanwhile(self):
        """East could not hear west's goodbye: it calls west failed, and forgets it once the link is mended."""
        why = gossip.Wire.why_not()
        if why:
            self.skipTest(why)
        wire = self.enterContext(gossip.Wire(self.cluster.net))
        west = [self.pool.server('west', i, wire.addr(i), wire.wrapper(0)) for i in (1, 2)]
        far = self.pool.server('east', 1, wire.addr(100), wire.wrapper(1))
        for s in self.pool.all:
            s.start()
        for s in self.pool.all[1:]:
            self.assertEqual(s.join(west[0].addr), (1, ''))
        self.pool.wait_whole(self.pool.all)
        wire.cut()
        for s in west:
            self.pool.wait_status([far], s.full, 'failed')
        code, error, _ = west[1].call(gossip.interop.REGION_LEAVE)
        self.assertEqual((code, error), (0, ''))
        for s in west:
            wait_for('west alone', lambda s=s: sorted(s.members()) == [x.full for x in west], 60)
        wire.mend()
        wait_for('east to forget west', lambda: list(far.members()) == [far.full], 120)
        for s in west:
            self.pool.wait_view(s, west)
