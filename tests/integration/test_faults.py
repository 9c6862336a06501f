# SPDX-License-Identifier: MPL-2.0
"""Things that break: killed services and servers, frozen leaders, full disks, torn files."""

import glob
import http.client
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import faults  # noqa: E402
import steppe  # noqa: E402
from steppe import job, wait_for  # noqa: E402

# What a caller may see while something is down, and may try again.
RETRYABLE = re.compile(r'No cluster leader|No path to region|Not ready|rpc error|connect|tim(ed )?[ -]?out|deadline|'
                       r'unavailable|try again|retry|leadership|restart|busy|overload|not reachable|unreachable|no space|not the leader|stopping', re.I)
SERVICES = ('apid', 'routerd', 'raftd', 'serfd')


class Loader:
    """Registers one job after the other at the nodes given; keeps what was acknowledged."""

    def __init__(self, nodes, query='', prefix='load', meta=None):
        self.nodes, self.query, self.prefix, self.meta = nodes, query, prefix, meta
        self.acked, self.errors, self.bad = [], [], []
        self.times = []  # of each acknowledgement
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        self.wait_acks(5)
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join(60)

    def _run(self):
        ids = ('%s-%05d' % (self.prefix, i) for i in itertools.count())
        for i, name in enumerate(ids):
            if self._stop.is_set():
                return
            node = self.nodes[i % len(self.nodes)]
            try:
                r = node.register(job(name, **({'Meta': self.meta} if self.meta else {})), self.query)
            except (OSError, http.client.HTTPException) as e:
                self.errors.append('%s: %r' % (name, e))
                self._stop.wait(0.02)  # a refused connection costs nothing: do not spin
                continue
            if r.status == 200:
                self.acked.append(name)
                self.times.append(time.monotonic())
            else:
                text = '%s: %d %s' % (name, r.status, r.text)
                self.errors.append(text)
                if not (r.status == 429 or (r.status >= 500 and RETRYABLE.search(r.text))):
                    self.bad.append(text)

    def wait_acks(self, more, timeout=30):
        n = len(self.acked)
        wait_for('%d more acknowledged jobs (errors: %r)' % (more, self.errors[-3:]),
                 lambda: len(self.acked) >= n + more, timeout)


class FaultCase(steppe.TestCase):
    def assertNothingLost(self, node, loader, query='', timeout=20):
        """Every acknowledged job is there (a follower may need a moment)."""
        acked = set(loader.acked)
        wait_for('all %d acknowledged jobs on %s' % (len(acked), node.name),
                 lambda: not acked - set(node.job_ids(query)), timeout)
        self.assertEqual(loader.bad, [], 'errors that are not retryable')

    def kill_and_check(self, node, service, loader, rest=()):
        """kill -9 of one service: it comes back, the others stay, registrations go on."""
        before = node.services()
        others = [(n, n.services()) for n in rest]
        self.assertIn(service, before)
        node.kill_service(service)
        node.wait_service(service, before[service])
        loader.wait_acks(20)
        after = node.services()
        self.assertEqual({k: v for k, v in after.items() if k != service},
                         {k: v for k, v in before.items() if k != service}, 'another service restarted')
        self.assertTrue(node.running(), 'the supervisor ended')
        for n, pids in others:
            self.assertEqual(n.services(), pids, 'a service of %s restarted' % n.name)


@unittest.skipIf(steppe.is_nomad(), 'a nomad has no services')
class KilledServices(FaultCase):
    def local(self, service):
        s = self.cluster.region('west').server
        with Loader([s]) as load:
            self.kill_and_check(s, service, load)
        self.assertNothingLost(s, load)
        s.wait_members([s.name + '.west'])

    def test_apid(self):
        self.local('apid')

    def test_routerd(self):
        self.local('routerd')

    def test_raftd(self):
        self.local('raftd')

    def test_serfd(self):
        self.local('serfd')

    def test_each_on_the_way_to_another_region(self):
        w = self.cluster.region('west').server
        e = self.cluster.region('east').server
        w.join(e)
        for n in (w, e):
            wait_for('both regions', lambda: n.get('/v1/regions').json() == ['east', 'west'])
        with Loader([w], '?region=east') as load:
            for service in SERVICES:
                self.kill_and_check(w, service, load, [e])
                self.kill_and_check(e, service, load, [w])
        self.assertNothingLost(e, load)
        self.assertNothingLost(w, load, '?region=east')
        for n in (w, e):
            n.wait_members(['east-s1.east', 'west-s1.west'])

    def test_raftd_again_and_again(self):
        s = self.cluster.region('west').server
        with Loader([s]) as load:
            for _ in range(5):
                pid = s.kill_service('raftd')
                s.wait_service('raftd', pid, timeout=30)
                load.wait_acks(3, timeout=40)
        self.assertNothingLost(s, load)

    def test_raftd_of_each_of_three(self):
        r = self.cluster.region('west', servers=3)
        with Loader(r.servers) as load:
            for n in r.servers:
                self.kill_and_check(n, 'raftd', load, [o for o in r.servers if o is not n])
        for n in r.servers:
            self.assertNothingLost(n, load)

    def test_clientd(self):
        r = self.cluster.region('west', clients=1)
        s, c = r.server, r.clients[0]
        (node,) = s.wait_nodes(1)
        for service in sorted(c.services()):
            before = c.services()
            c.kill_service(service)
            c.wait_service(service, before[service])
            wait_for('HTTP of the client', lambda: c.job_ids() == [])
            self.assertEqual({k: v for k, v in c.services().items() if k != service},
                             {k: v for k, v in before.items() if k != service})
        (again,) = s.wait_nodes(1)
        self.assertEqual(again['ID'], node['ID'])
        self.assertEqual(len(s.get('/v1/nodes').json()), 1)

    def test_supervisor(self):
        """Without its supervisor a node stops in order; the next start finds everything."""
        s = self.cluster.region('west').server
        with Loader([s]) as load:
            load.wait_acks(20)
            pids = s.pids()
            os.kill(s.proc.pid, signal.SIGKILL)
            s.proc.wait()
            wait_for('the services to end', lambda: not any(
                s.conf_file in steppe.proc_cmdline(p) for p in pids))
            s.start()
            s.wait_leader()
            load.wait_acks(5)
        self.assertNothingLost(s, load)


class KilledServers(FaultCase):
    def test_leader_of_three(self):
        r = self.cluster.region('west', servers=3)
        leader = r.leader_node()
        rest = [n for n in r.servers if n is not leader]
        with Loader(rest) as load:
            load.wait_acks(20)
            killed = time.monotonic()
            leader.kill()
            wait_for('an acknowledgement after the leader died',
                     lambda: load.times and load.times[-1] > killed, 15)
            load.wait_acks(20)
        for n in rest:
            self.assertNothingLost(n, load)
        leader.start()
        leader.wait_leader()
        self.assertNothingLost(leader, load, '?stale')

    def test_restarts_one_after_the_other(self):
        r = self.cluster.region('west', servers=3)
        with Loader(r.servers) as load:
            for n in r.servers:
                n.stop()
                load.wait_acks(10)
                n.start()
                n.wait_leader()
                # It must have caught up before the next one goes, or there is no majority of it.
                wait_for('%s to catch up' % n.name, lambda: len(n.job_ids('?stale')) >= len(load.acked) - 50)
        for n in r.servers:
            self.assertNothingLost(n, load)

    def test_all_three_at_once(self):
        r = self.cluster.region('west', servers=3)
        with Loader(r.servers) as load:
            load.wait_acks(30)
            for n in r.servers:
                n.kill()
        for n in r.servers:
            n.start(wait=False)
        for n in r.servers:
            n.wait_leader(40)
            self.assertNothingLost(n, load)

    def test_frozen_leader(self):
        """A leader that stands still loses its office, and what it missed does not come back wrong."""
        r = self.cluster.region('west', servers=3)
        leader = r.leader_node()
        rest = [n for n in r.servers if n is not leader]
        with Loader(rest) as load:
            pids = leader.pids()
            for p in pids:
                os.kill(p, signal.SIGSTOP)
            try:
                wait_for('another leader', lambda: rest[0].leader() not in ('', leader.addr + ':4647')
                         and rest[0].leader(), 30)
                load.wait_acks(20)
            finally:
                for p in pids:
                    os.kill(p, signal.SIGCONT)
            wait_for('one leader for all', lambda: len({n.leader() for n in r.servers}) == 1
                     and leader.leader())
            load.wait_acks(10)
        for n in r.servers:
            self.assertNothingLost(n, load)

    def test_servers_of_the_region_asked(self):
        """The request goes to another server of the region when one dies, its leader included."""
        w = self.cluster.region('west').server
        e = self.cluster.region('east', servers=3)
        w.join(e.server)
        names = ['east-s1.east', 'east-s2.east', 'east-s3.east', 'west-s1.west']
        for n in [w] + e.servers:
            n.wait_members(names)
        wait_for('both regions', lambda: w.get('/v1/regions').json() == ['east', 'west'])
        with Loader([w], '?region=east') as load:
            for victim in (next(n for n in e.servers if n is not e.leader_node()), e.leader_node()):
                victim.kill()
                load.wait_acks(20)
                victim.start()
                victim.wait_leader()
                load.wait_acks(5)
        self.assertNothingLost(w, load, '?region=east')
        for n in e.servers:
            self.assertNothingLost(n, load)

    def test_client_finds_its_server_again(self):
        r = self.cluster.region('west', clients=1, server_extra='  heartbeat_grace = "1s"\n  min_heartbeat_ttl = "1s"')
        s = r.server
        (node,) = s.wait_nodes(1)
        s.kill()
        s.start()
        s.wait_leader()
        index = int(s.get('/v1/nodes').headers['X-Nomad-Index'])
        (again,) = s.wait_nodes(1)
        self.assertEqual(again['ID'], node['ID'])
        self.assertGreater(index, 0)


class Disk(FaultCase):
    def test_full_disk(self):
        if os.geteuid() != 0:
            self.skipTest('needs root to mount a small file system')
        s = self.cluster.node('west-s1', 'west', self.cluster.addr(1, 1))
        os.makedirs(s.data_dir)
        m = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=192m', 'tmpfs', s.data_dir], stderr=subprocess.PIPE)
        if m.returncode:
            self.skipTest('cannot mount: %r' % m.stderr)
        self.addCleanup(subprocess.run, ['umount', '-l', s.data_dir])
        self.addCleanup(s.kill)
        s.start()
        s.wait_leader()
        ballast = os.path.join(s.data_dir, 'ballast')
        with Loader([s], meta={'bulk': 'x' * 60000}) as load:
            with open(ballast, 'wb', buffering=0) as f:
                try:
                    while f.write(bytes(1 << 20)):
                        pass
                except OSError:
                    pass
            n = len(load.errors)
            wait_for('an error for want of space', lambda: len(load.errors) > n, 45)
            os.remove(ballast)
            load.wait_acks(5, timeout=45)
        self.assertNothingLost(s, load)
        s.kill()
        s.start()
        s.wait_leader()
        self.assertNothingLost(s, load)

    @unittest.skipIf(steppe.is_nomad(), 'our services')
    def test_every_service_on_a_full_disk(self):
        """Each ends with a clear error and is there again when there is room; raftd also without its state."""
        r = self.cluster.region('west', clients=1, start=False)
        for n in r.nodes:
            if not faults.small_disk(n, 96, self.addCleanup):
                self.skipTest('cannot mount a small file system')
            self.addCleanup(n.kill)
            n.start(wait=False)
        for n in r.nodes:
            n.wait_http(30)
        s = r.server
        s.wait_leader()
        s.wait_nodes(1)
        with Loader([s]) as load:
            load.wait_acks(5)
        ballast = {n: os.path.join(n.data_dir, 'ballast') for n in r.nodes}
        for lost in (False, True):
            before = {n: n.services() for n in r.nodes}
            for n in r.nodes:
                os.kill(n.proc.pid, signal.SIGSTOP)
                for name in before[n]:
                    n.kill_service(name)
            if lost:
                shutil.rmtree(os.path.join(s.data_dir, 'server', 'state'))
            for n in r.nodes:
                faults.fill(ballast[n])
                os.kill(n.proc.pid, signal.SIGCONT)
            s.wait_log('ERROR raftd', 'No space left')
            wait_for('the second try', lambda: s.log().count('ERROR raftd: ') >= 2, 60)
            for n in r.nodes:
                os.remove(ballast[n])
            with Loader([s], prefix='again-%d' % lost) as again:
                again.wait_acks(5, 60)
            for x in (load, again):
                self.assertNothingLost(s, x)
            for n in r.nodes:
                for name, pid in before[n].items():
                    n.wait_service(name, pid, 60)
                self.assertNotRegex(n.log(), r'signal (?!9 )')
            wait_for('the client', lambda: [n['Status'] for n in s.get('/v1/nodes').json()] == ['ready'], 60)

    @staticmethod
    def wal_files(node):
        """The files of the raft log, the newest last."""
        files = [f for f in glob.glob(os.path.join(node.data_dir, 'server', '**', '*'), recursive=True)
                 if os.path.isfile(f) and re.search(r'wal|seg|\.log$', os.path.relpath(f, node.data_dir))
                 and not f.endswith(('.mdb', '.tmp', 'raft.db'))]
        return sorted(files, key=lambda f: (os.path.getmtime(f), f))

    @unittest.skipIf(steppe.is_nomad(), 'our log')
    def test_torn_tail(self):
        """Half a record at the end of the log is what a power cut leaves: it is cut off."""
        s = self.cluster.region('west').server
        with Loader([s]) as load:
            load.wait_acks(30)
        for garbage in (b'\xff' * 5, os.urandom(37), b'\x01\x00\x00\x00' + bytes(4000) + b'\x01'):
            s.kill()
            files = self.wal_files(s)
            self.assertTrue(files, 'found no log under ' + s.data_dir)
            with open(files[-1], 'r+b') as f:
                f.seek(faults.wal_end(f.read()))
                f.write(garbage)
            s.start()
            s.wait_leader()
            self.assertNothingLost(s, load)
            self.assertStatus(s.register(job('after-%d' % len(garbage))), 200)

    @unittest.skipIf(steppe.is_nomad(), 'our log')
    def test_rotten_middle(self):
        """A flipped bit before the end is no torn tail: nothing acknowledged may vanish silently."""
        s = self.cluster.region('west').server
        with Loader([s]) as load:
            load.wait_acks(30)
        s.kill()
        files = self.wal_files(s)
        self.assertTrue(files)
        with open(files[-1], 'r+b') as f:
            middle = faults.wal_end(f.read()) // 2
            self.assertGreater(middle, 1000)
            f.seek(middle)
            b = f.read(1)
            f.seek(middle)
            f.write(bytes([b[0] ^ 0x40]))
        s.start(wait=False)

        def refuses_or_has_all():
            if s.proc.poll() is not None or os.path.basename(files[-1]) in s.log():
                return 'refused'
            r = s.get('/v1/jobs?stale')
            if r.status == 200 and r.headers['X-Nomad-KnownLeader'] == 'true':
                missing = set(load.acked) - {j['ID'] for j in r.json()}
                self.assertEqual(missing, set(), 'acknowledged jobs vanished without a word')
                return 'served'
            return None
        wait_for('all jobs, or a refusal that names the file', refuses_or_has_all, 30)

    @unittest.skipIf(steppe.is_nomad(), 'our files')
    def test_lost_state_is_rebuilt_from_the_log(self):
        """The LMDB state is a cache of snapshot and log."""
        s = self.cluster.region('west').server
        with Loader([s]) as load:
            load.wait_acks(30)
        s.kill()
        files = [f for f in glob.glob(os.path.join(s.data_dir, 'server', '**', '*'), recursive=True)
                 if f.endswith('.mdb')]
        self.assertTrue(files)
        for f in files:
            os.remove(f)
        s.start()
        s.wait_leader()
        self.assertNothingLost(s, load)


class Snapshots(FaultCase):
    @unittest.skipIf(steppe.is_nomad(), 'the thresholds are ours')
    def test_a_late_server_gets_a_snapshot(self):
        r = self.cluster.region('west', servers=3, server_extra='  raft_snapshot_threshold = 100\n'
                                '  raft_trailing_logs = 50')
        late = next(n for n in r.servers if n is not r.leader_node())
        rest = [n for n in r.servers if n is not late]
        late.kill()
        with Loader(rest) as load:
            load.wait_acks(600, timeout=60)
        late.start()
        self.assertNothingLost(late, load, '?stale', 30)
        for n in r.servers:
            n.kill()
        for n in r.servers:
            n.start(wait=False)
        for n in r.servers:
            n.wait_leader()
            self.assertNothingLost(n, load)


if __name__ == '__main__':
    unittest.main()
