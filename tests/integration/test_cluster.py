# SPDX-License-Identifier: MPL-2.0
"""Groups of 3 and 5 servers: founding, elections, forwarding, snapshots, members that come and go, faults.

Each fault test ends with the cross-check: every server shows the same jobs with the same indexes, every
acknowledged write is among them, none was carried out twice.
"""

import contextlib
import http.client
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import RPC, SERF, job, wait_for  # noqa: E402

# What a caller may see while servers come and go, and may try again.
RETRYABLE = re.compile(r'No cluster leader|No path to region|Not ready|rpc error|connect|timed out|leadership|restart|busy|stopping|'
                       r'no answer|uncommitted|not the leader', re.I)
TERMS = re.compile(r'role=leader term=(\d+)')


def raft_servers(node, query='?stale'):
    return node.get('/v1/operator/raft/configuration' + query).json()['Servers'] or []


def voters(node, query='?stale'):
    return sorted(s['Node'] for s in raft_servers(node, query) if s['Voter'])


def wait_voters(node, nodes, timeout=30):
    names = sorted('%s.%s' % (n.name, n.region) for n in nodes)
    return wait_for('%s to be the voters on %s' % (names, node.name), lambda: voters(node) == names, timeout)


def wait_one_leader(nodes, timeout=30):
    """Every node names the same leader; -> that node."""
    def agree():
        seen = {n.get('/v1/status/leader?stale').json() for n in nodes}
        addr = seen.pop() if len(seen) == 1 else ''
        return next((n for n in nodes if addr == '%s:%d' % (n.addr, RPC)), None)
    return wait_for('one leader for all of %s' % [n.name for n in nodes], agree, timeout)


def elections(nodes):
    """(term, node) of each leadership since the nodes' last start."""
    return sorted((int(t), n.name) for n in nodes for t in TERMS.findall(n.log()))


class Writers:
    """Threads that write through all the nodes: new jobs, and each thread its own job again and again."""

    def __init__(self, nodes, threads=4, prefix='w', bulk=0, query=''):
        self.nodes, self.prefix, self.query = list(nodes), prefix, query
        self.bulk = 'x' * bulk     # makes each job larger
        self.acked = {}            # new job -> JobModifyIndex of its acknowledgement
        self.updates = {}          # own job of a thread -> [acknowledged, failed]
        self.errors, self.bad = [], []
        self.times = []            # (when the request was made, when it was acknowledged)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]

    def __enter__(self):
        for t in self._threads:
            t.start()
        self.wait_acks(len(self._threads))
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for t in self._threads:
            t.join(60)

    def _put(self, node, body):
        """-> (JobModifyIndex or None, error text)."""
        began = time.monotonic()
        try:
            r = node.register(body, self.query)
        except (OSError, http.client.HTTPException) as e:
            self._stop.wait(0.02)  # a refused connection costs nothing: do not spin
            return None, '%s: %r' % (node.name, e)
        if r.status == 200:
            with self._lock:
                self.times.append((began, time.monotonic()))
            return r.json()['JobModifyIndex'], ''
        text = '%s: %d %s after %.2f s' % (node.name, r.status, r.text, time.monotonic() - began)
        if not (r.status == 429 or (r.status >= 500 and RETRYABLE.search(r.text))):
            self.bad.append(text)
        return None, text

    def _run(self, no):
        own = '%s-own%d' % (self.prefix, no)
        self.updates[own] = [0, 0]
        for i in itertools.count():
            if self._stop.is_set():
                return
            node = self.nodes[(no + i) % len(self.nodes)]
            name = '%s-%d-%05d' % (self.prefix, no, i)
            if i % 3 == 2:
                index, error = self._put(node, job(own, Meta={'i': str(i), 'bulk': self.bulk}))
                self.updates[own][0 if index else 1] += 1
            else:
                index, error = self._put(node, job(name, Meta={'bulk': self.bulk}))
                if index:
                    self.acked[name] = index
            if error:
                self.errors.append(error)

    def count(self):
        return len(self.times)

    def wait_acks(self, more, timeout=30):
        n = self.count()
        wait_for('%d more acknowledged writes (errors: %r)' % (more, self.errors[-3:]),
                 lambda: self.count() >= n + more, timeout)

    def longest_gap(self, since):
        """The longest time without any acknowledgement from `since` on, s."""
        acks = sorted(t for _, t in list(self.times))
        return max(b - a for a, b in zip(acks, acks[1:]) if b >= since)


class ClusterCase(steppe.TestCase):
    def three(self, **kw):
        r = self.cluster.region('west', servers=3, **kw)
        wait_voters(r.server, r.servers)
        return r

    def assertSame(self, nodes, writers=None, timeout=30):
        """All nodes show the same jobs and indexes, and nothing that was acknowledged is missing."""
        def lists():
            seen = [n.get('/v1/jobs?stale').json() for n in nodes]
            first = seen[0]
            return first if first and all(s == first for s in seen) else None
        jobs = wait_for('the same job list on %s' % [n.name for n in nodes], lists, timeout)
        if not writers:
            return jobs
        by_id = {j['ID']: j for j in jobs}
        self.assertEqual(writers.bad, [], 'errors that are not retryable')
        self.assertEqual(set(writers.acked) - set(by_id), set(), 'acknowledged jobs are lost')
        for name, index in writers.acked.items():
            self.assertEqual(by_id[name]['JobModifyIndex'], index, name)
        for own, (good, failed) in writers.updates.items():
            for n in nodes:
                version = n.get('/v1/job/%s?stale' % own).json()['Version']
                self.assertGreaterEqual(version, good - 1, '%s on %s: a write is lost' % (own, n.name))
                self.assertLessEqual(version, good + failed - 1, '%s on %s: a write was done twice' % (own, n.name))
        return jobs

    def assertOneLeaderATerm(self, nodes):
        terms = [t for t, _ in elections(nodes)]
        self.assertEqual(len(terms), len(set(terms)), 'two leaders in a term: %r' % elections(nodes))


AUTOPILOT = '''autopilot {
  server_stabilization_time = "200ms"
}'''


class Founding(ClusterCase):
    def check(self, nodes):
        wait_one_leader(nodes)
        configs = []
        for n in nodes:
            wait_voters(n, nodes)
            configs.append(sorted((s['ID'], s['Address'], s['Voter'], s['Leader']) for s in raft_servers(n)))
        self.assertTrue(all(c == configs[0] for c in configs), configs)
        groups = set()
        for n in nodes:
            with open(os.path.join(n.data_dir, 'server', 'group-id')) as f:
                groups.add(f.read())
        self.assertEqual(len(groups), 1, 'more than one raft group')
        self.assertEqual(sum('founding the raft group' in n.log() for n in nodes), 1)
        self.assertStatus(nodes[-1].register(job('first')), 200)
        self.assertSame(nodes)

    def test_three_at_once(self):
        r = self.cluster.region('west', servers=3)
        self.check(r.servers)
        self.assertEqual(sorted(r.server.get('/v1/status/peers').json()),
                         sorted('%s:%d' % (n.addr, RPC) for n in r.servers))

    def test_three_one_after_the_other(self):
        r = self.cluster.region('west', servers=3, start=False)
        for i, n in enumerate(r.servers):
            n.start()
            n.wait_members(['%s.west' % x.name for x in r.servers[:i + 1]])
            if i < 2:
                self.assertEqual(n.leader('west') or '', '')
        self.check(r.servers)

    def test_one_is_late(self):
        r = self.cluster.region('west', servers=3, start=False)
        for n in r.servers[:2]:
            n.start(wait=False)
        for n in r.servers[:2]:
            n.wait_members(['%s.west' % x.name for x in r.servers[:2]])
            x = n.get('/v1/jobs?stale')
            self.assertStatus(x, 200, '[]')
            self.assertEqual(x.headers['X-Nomad-KnownLeader'], 'false')
        x = r.server.register(job('too-early'), timeout=20)
        self.assertStatus(x, 500)
        self.assertIn('No cluster leader', x.text)
        r.servers[2].start()
        self.check(r.servers)

    def test_five(self):
        r = self.cluster.region('west', servers=5)
        self.check(r.servers)
        leader = wait_one_leader(r.servers)
        rest = [n for n in r.servers if n is not leader]
        leader.kill()
        second = wait_one_leader(rest)
        second.kill()
        rest.remove(second)
        wait_one_leader(rest)
        self.assertStatus(rest[0].register(job('with-three-of-five')), 200)
        self.assertSame(rest)

    def test_more_than_expected(self):
        """Five servers of which each expects three: one group, which the others join."""
        nodes = [self.cluster.node('west-s%d' % i, 'west', self.cluster.addr(1, i), expect=3, extra=AUTOPILOT)
                 for i in range(1, 6)]
        for n in nodes:
            n.server_extra = '  retry_join = [%s]\n  retry_interval = "1s"' % ', '.join(
                '"%s:%d"' % (o.addr, SERF) for o in nodes if o is not n)
            n.start(wait=False)
        for n in nodes:
            n.wait_http()
        self.check(nodes)

    def test_restart_of_all_at_once(self):
        r = self.three()
        with Writers(r.servers, 2) as w:
            w.wait_acks(20)
            for n in r.servers:
                n.kill()
        for n in r.servers:
            n.start(wait=False)
        wait_one_leader(r.servers)
        self.assertStatus(r.server.register(job('again')), 200)
        self.assertSame(r.servers, w)
        wait_voters(r.server, r.servers)


class LeaderGone(ClusterCase):
    # bench: below 1 s. Here with room for a machine that does other things at the same time.
    GAP_MAX = 4.0 * steppe.SCALE

    def kill_leader(self, how, gap_max):
        r = self.three()
        leader = wait_one_leader(r.servers)
        rest = [n for n in r.servers if n is not leader]
        with Writers(r.servers) as w:
            w.wait_acks(30)
            killed = time.monotonic()
            how(leader)
            wait_for('a write after the leader died',
                     lambda: any(b >= killed for b, _ in list(w.times)), 20)
            w.wait_acks(30)
        gap = w.longest_gap(killed)
        print('%s: %.0f ms without an acknowledged write after kill -9' % (self.id(), gap * 1000),
              file=sys.stderr)
        self.assertLess(gap, gap_max)
        return r, leader, rest, w

    def test_all_services_killed(self):
        r, leader, rest, w = self.kill_leader(lambda n: n.kill(), self.GAP_MAX)
        self.assertSame(rest, w)
        leader.start()
        wait_one_leader(r.servers)
        self.assertSame(r.servers, w)
        self.assertOneLeaderATerm(rest)

    def test_raftd_killed(self):
        r, leader, rest, w = self.kill_leader(lambda n: n.kill_service('raftd'), self.GAP_MAX)
        wait_one_leader(r.servers)
        self.assertSame(r.servers, w)
        self.assertOneLeaderATerm(r.servers)

    def test_raftd_killed_again_and_again(self):
        r = self.three()
        with Writers(r.servers) as w:
            for _ in range(5):
                leader = wait_one_leader(r.servers)
                pid = leader.kill_service('raftd')
                w.wait_acks(20)
                leader.wait_service('raftd', pid)
        wait_one_leader(r.servers)
        self.assertSame(r.servers, w)
        self.assertOneLeaderATerm(r.servers)

    def test_frozen_leader(self):
        """SIGSTOP for 2 s, then SIGCONT: it steps down, there never are two, nothing is lost."""
        r = self.three()
        leader = wait_one_leader(r.servers)
        rest = [n for n in r.servers if n is not leader]
        pid = leader.service_pids()['raftd']
        with Writers(r.servers) as w:
            w.wait_acks(20)
            os.kill(pid, signal.SIGSTOP)
            try:
                frozen = time.monotonic()
                wait_for('another leader', lambda: wait_one_leader(rest) is not leader, 20)
                wait_for('a write beside the frozen leader', lambda: any(
                    b >= frozen for b, _ in list(w.times)), 20)
                wait_for('two seconds', lambda: time.monotonic() >= frozen + 2)
            finally:
                os.kill(pid, signal.SIGCONT)
            # It still believes to lead when it wakes: what it answers now must be the newest state.
            n = len(w.acked)
            seen = leader.get('/v1/jobs')
            if seen.status == 200:
                have = {j['ID'] for j in seen.json()}
                self.assertEqual({k for k in list(w.acked)[:n]} - have, set(), 'a stale answer to a consistent read')
            w.wait_acks(20)
            wait_one_leader(r.servers)
        self.assertSame(r.servers, w)
        self.assertOneLeaderATerm(r.servers)
        self.assertEqual(leader.service_pids()['raftd'], pid)

    def test_blocking_queries_outlive_the_leader(self):
        r = self.three()
        leader = wait_one_leader(r.servers)
        rest = [n for n in r.servers if n is not leader]
        self.assertStatus(rest[0].register(job('seed')), 200)
        self.assertSame(r.servers)
        index = rest[0].get('/v1/jobs').index()
        answers = {}

        def ask(node, query):
            answers[node.name, query] = node.get('/v1/jobs?index=%d&wait=60s%s' % (index, query), timeout=70)
        threads = [threading.Thread(target=ask, args=(n, q), daemon=True) for n in rest for q in ('', '&stale')]
        for t in threads:
            t.start()
        # They hang: nothing says when a request has reached the leader, but these come behind them.
        for n in rest:
            for _ in range(3):
                self.assertStatus(n.get('/v1/jobs'), 200)
        self.assertEqual(answers, {})
        leader.kill()
        wait_one_leader(rest)
        self.assertEqual({k: (v.status, v.text) for k, v in answers.items()}, {}, 'a blocking query ended early')
        self.assertStatus(rest[1].register(job('news')), 200)
        for t in threads:
            t.join(20 * steppe.SCALE)
        self.assertEqual(len(answers), 4)
        for k, v in answers.items():
            self.assertStatus(v, 200)
            self.assertIn('news', v.text, k)
            self.assertGreater(v.index(), index)


    def test_heartbeats_of_clients_go_on(self):
        """A new leader does not take nodes for dead; one that dies then is found out by it."""
        r = self.cluster.region('west', servers=3, clients=2, server_extra='  failover_heartbeat_ttl = "4s"\n'
                                '  heartbeat_grace = "1s"\n  min_heartbeat_ttl = "1s"')
        wait_voters(r.server, r.servers)
        leader = wait_one_leader(r.servers)
        rest = [n for n in r.servers if n is not leader]
        rest[0].wait_nodes(2)
        leader.kill()
        wait_one_leader(rest)
        end = time.monotonic() + 8
        while time.monotonic() < end:  # beyond the new leader's first deadlines
            self.assertEqual([n['Status'] for n in rest[0].get('/v1/nodes').json()], ['ready', 'ready'])
            rest[0].get('/v1/nodes?index=%d&wait=500ms' % rest[0].get('/v1/nodes').index())
        r.clients[1].kill()
        (down,) = rest[1].wait_nodes(1, 'down', 20)
        self.assertEqual(down['Name'], r.clients[1].name)


class Followers(ClusterCase):
    def test_forwarding_and_stale_reads(self):
        r = self.three()
        leader = wait_one_leader(r.servers)
        for i, n in enumerate(r.servers):
            x = n.register(job('job-%d' % i))
            self.assertStatus(x, 200)
            for m in r.servers:  # a default read is never older than an acknowledged write
                y = m.get('/v1/job/job-%d' % i)
                self.assertStatus(y, 200)
                self.assertEqual(y.headers['X-Nomad-KnownLeader'], 'true')
                self.assertGreaterEqual(y.index(), x.json()['JobModifyIndex'])
        self.assertSame(r.servers)
        for n in r.servers:
            def fresh():
                x = n.get('/v1/jobs?stale')
                contact = int(x.headers['X-Nomad-LastContact'])
                return x.headers['X-Nomad-KnownLeader'] == 'true' and (
                    contact == 0 if n is leader else contact < 1000)
            wait_for('a word from the leader on ' + n.name, fresh)
            x = n.delete('/v1/job/job-0?purge=true' if n is leader else '/v1/job/job-%d' % r.servers.index(n))
            self.assertStatus(x, 200)
        # An error of the leader comes back as one hop's error.
        follower = next(n for n in r.servers if n is not leader)
        self.assertStatus(follower.get('/v1/job/nothing'), 404, 'job not found')
        self.assertSame(r.servers)

    def test_no_quorum(self):
        r = self.three()
        self.assertStatus(r.server.register(job('before')), 200)
        self.assertSame(r.servers)
        leader = wait_one_leader(r.servers)
        last = next(n for n in r.servers if n is not leader)
        for n in r.servers:
            if n is not last:
                n.kill()
        wait_for('no leader', lambda: last.get('/v1/jobs?stale').headers['X-Nomad-KnownLeader'] == 'false')
        for ask in (lambda: last.register(job('during')), lambda: last.get('/v1/jobs')):
            began = time.monotonic()
            x = ask()
            took = time.monotonic() - began
            self.assertStatus(x, 500)
            self.assertIn('No cluster leader', x.text)
            self.assertGreater(took, 4)
            self.assertLess(took, 8 * steppe.SCALE)
        x = last.get('/v1/jobs?stale')
        self.assertStatus(x, 200)
        self.assertEqual([j['ID'] for j in x.json()], ['before'])
        contact = int(x.headers['X-Nomad-LastContact'])
        self.assertGreater(contact, 4000)
        self.assertEqual(last.get('/v1/status/leader?stale').json(), '')
        for n in r.servers:
            if n is not last:
                n.start(wait=False)
        wait_one_leader(r.servers)
        self.assertStatus(last.register(job('after')), 200)
        ids = {j['ID'] for j in self.assertSame(r.servers)}
        self.assertLessEqual({'before', 'after'}, ids)

    def test_a_leader_without_followers_stops_leading(self):
        """Check-quorum: alone it acknowledges nothing, and says so."""
        r = self.three()
        leader = wait_one_leader(r.servers)
        rest = [n for n in r.servers if n is not leader]
        pids = [n.service_pids()['raftd'] for n in rest]
        for p in pids:
            os.kill(p, signal.SIGSTOP)
        try:
            wait_for('it to step down', lambda: leader.get(
                '/v1/jobs?stale').headers['X-Nomad-KnownLeader'] == 'false')
            x = leader.register(job('lonely'))
            self.assertStatus(x, 500)
        finally:
            for p in pids:
                os.kill(p, signal.SIGCONT)
        wait_one_leader(r.servers)
        self.assertStatus(leader.register(job('together')), 200)
        self.assertSame(r.servers)


    def test_catching_up_under_load(self):
        """A follower whose entries have left the leader's memory gets them from its disk, while others write."""
        r = self.three()
        late = next(n for n in r.servers if n is not wait_one_leader(r.servers))
        rest = [n for n in r.servers if n is not late]
        late.kill()
        with Writers(rest, bulk=40000) as w:
            w.wait_acks(300, 40)  # 12 MB; 4 MiB stay in memory
            late.start()
            goal = rest[0].get('/v1/jobs?stale').index()
            wait_for('it to catch up', lambda: late.get('/v1/jobs?stale').index() >= goal, 30)
            w.wait_acks(10)
        self.assertNotIn('snapshot installed', late.log())
        self.assertSame(r.servers, w)


class CutLinks(ClusterCase):
    """Nothing reaches a server any more, while what it sends arrives: the nastiest of partitions."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0 or not shutil.which('nft'):
            self.skipTest('needs root and nft')

    @contextlib.contextmanager
    def deaf(self, node):
        table = 'steppe_test_%d' % self.cluster.net
        rules = ('table inet %s { chain c { type filter hook input priority 0; '
                 'ip daddr %s tcp dport %d drop; }; }' % (table, node.addr, RPC))
        p = subprocess.run(['nft', rules], stderr=subprocess.PIPE, text=True)
        if p.returncode:
            self.skipTest('nft does not work here: ' + p.stderr)
        try:
            yield
        finally:
            subprocess.run(['nft', 'delete table inet ' + table], check=True)

    def cut(self, pick):
        r = self.three()
        leader = wait_one_leader(r.servers)
        node = leader if pick == 'leader' else next(n for n in r.servers if n is not leader)
        rest = [n for n in r.servers if n is not node]
        with Writers(r.servers) as w:
            w.wait_acks(20)
            with self.deaf(node):
                cut = time.monotonic()
                if pick == 'leader':
                    wait_for('another leader', lambda: wait_one_leader(rest) is not node, 20)
                for n in rest:
                    self.assertStatus(n.register(job('beside-%s' % n.name)), 200)
                wait_for('some seconds of it', lambda: time.monotonic() > cut + 4)
                w.wait_acks(20)
            wait_one_leader(r.servers)
            w.wait_acks(20)
        self.assertSame(r.servers, w)
        self.assertOneLeaderATerm(r.servers)
        if pick == 'follower':  # it asked for votes every 0.2 s: that moves nobody
            self.assertLess(len(elections(r.servers)), 5, elections(r.servers))

    def test_leader(self):
        self.cut('leader')

    def test_follower(self):
        self.cut('follower')


class Snapshots(ClusterCase):
    SMALL = '  raft_snapshot_threshold = 64\n  raft_trailing_logs = 16'

    @staticmethod
    def snapshots(node):
        return node.log().count('snapshot taken')

    def test_a_server_that_was_away_gets_a_snapshot(self):
        r = self.three(server_extra=self.SMALL)
        late = next(n for n in r.servers if n is not wait_one_leader(r.servers))
        rest = [n for n in r.servers if n is not late]
        late.kill()
        with Writers(rest) as w:
            wait_for('snapshots and a shorter log on the others', lambda: all(
                self.snapshots(n) >= 4 for n in rest), 40)
            w.wait_acks(10)
            late.start()
            wait_for('it to install a snapshot', lambda: 'snapshot installed' in late.log(), 30)
            w.wait_acks(10)
        self.assertSame(r.servers, w)
        # From snapshot and log, state kept.
        late.restart()
        wait_one_leader(r.servers)
        self.assertSame(r.servers, w)
        # The same with the state gone: what another boot of the machine does.
        for n in r.servers:
            n.kill()
            shutil.rmtree(os.path.join(n.data_dir, 'server', 'state'))
        for n in r.servers:
            n.start(wait=False)
        wait_one_leader(r.servers)
        self.assertStatus(r.server.register(job('again')), 200)
        self.assertSame(r.servers, w)

    def test_log_is_compacted(self):
        s = self.cluster.region('west', server_extra=self.SMALL).server
        folder = os.path.join(s.data_dir, 'server', 'raft')
        with Writers([s], 2) as w:
            wait_for('snapshots', lambda: self.snapshots(s) >= 3, 40)
            wait_for('the first segment to go', lambda: not os.path.exists(
                os.path.join(folder, 'wal-%016x' % 1)), 40)
        files = os.listdir(folder)
        self.assertLessEqual(len([f for f in files if f.startswith('snap')]), 3, files)
        s.kill()
        s.start()
        s.wait_leader()
        self.assertSame([s], w)
        shutil.rmtree(os.path.join(s.kill() or s.data_dir, 'server', 'state'))
        s.start()
        s.wait_leader()
        self.assertSame([s], w)


    def test_stop_while_a_snapshot_is_taken(self):
        """The process ends in order, not with a crash: its loop turns on while it waits for the snapshot."""
        s = self.cluster.region('west', server_extra='  raft_snapshot_threshold = 80\n  raft_trailing_logs = 16').server
        partial = os.path.join(s.data_dir, 'server', 'raft', 'snap.tmp.own')
        pid = s.service_pids()['raftd']
        jobs = []
        for i in range(200):
            jobs.append('big%d' % i)
            self.assertStatus(s.register(job(jobs[-1], Meta={'x': 'y' * 900000})), 200)
            if os.path.exists(partial):
                break
        os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError):  # a second one, and a reload, while it ends
            os.kill(pid, signal.SIGHUP)
            os.kill(pid, signal.SIGTERM)
        s.wait_service('raftd', pid)
        s.wait_leader()
        self.assertNotIn('Segmentation fault', s.log())
        self.assertNotRegex(s.log(), r'service=raftd .*signal \d')
        self.assertEqual(sorted(s.job_ids()), sorted(jobs))


class Members(ClusterCase):
    def add_fourth(self, r, **kw):
        n = self.cluster.node('west-s4', 'west', self.cluster.addr(1, 4), expect=0, extra=AUTOPILOT, **kw)
        n.server_extra = '  retry_join = ["%s:%d"]\n  retry_interval = "1s"' % (r.server.addr, SERF)
        return n.start()

    def test_a_fourth_server(self):
        r = self.three(extra=AUTOPILOT)
        with Writers(r.servers, 2) as w:
            w.wait_acks(20)
            fourth = self.add_fourth(r)
            nodes = r.servers + [fourth]
            wait_voters(r.server, nodes)
            wait_voters(fourth, nodes)
            leader = wait_one_leader(nodes)
            self.assertRegex(leader.log(), r'change="add learner"')
            self.assertRegex(leader.log(), r'change="promote"')
            w.wait_acks(10)
        self.assertSame(nodes, w)
        # Four voters: three are a majority, so one may go.
        leader.kill()
        rest = [n for n in nodes if n is not leader]
        wait_one_leader(rest)
        self.assertStatus(fourth.register(job('still')), 200)
        self.assertSame(rest, w)

    def test_force_leave_takes_a_dead_server_out(self):
        r = self.three(extra=AUTOPILOT)
        dead = next(n for n in r.servers if n is not wait_one_leader(r.servers))
        rest = [n for n in r.servers if n is not dead]
        dead.kill()
        wait_for('it to be seen failed', lambda: rest[0].members('failed') == ['%s.west' % dead.name], 40)
        self.assertEqual(len(voters(rest[0])), 3)
        self.assertCli(rest[0].cli('server', 'force-leave', '%s.west' % dead.name))
        wait_voters(rest[0], rest)
        self.assertStatus(rest[0].register(job('two-left')), 200)
        self.assertSame(rest)
        dead.start()  # it comes back: a learner, then a voter again
        wait_voters(dead, r.servers, 40)
        self.assertSame(r.servers)

    def test_a_learner_that_does_not_learn(self):
        """It gets no vote, and does not keep the group from following others."""
        r = self.three(extra=AUTOPILOT)
        leader = wait_one_leader(r.servers)
        stuck = self.cluster.node('west-a0', 'west', self.cluster.addr(1, 4), expect=0, extra=AUTOPILOT)
        stuck.start()
        os.kill(stuck.service_pids()['raftd'], signal.SIGSTOP)
        leader.join(stuck)
        wait_for('it to be a learner', lambda: [
            s for s in raft_servers(leader) if s['Address'].startswith(stuck.addr + ':') and not s['Voter']])
        dead = next(n for n in r.servers if n is not leader)
        rest = [n for n in r.servers if n is not dead]
        dead.kill()
        wait_for('it to be seen failed', lambda: leader.members('failed') == ['%s.west' % dead.name], 40)
        self.assertCli(leader.cli('server', 'force-leave', '%s.west' % dead.name))
        wait_voters(rest[0], rest)
        os.kill(stuck.service_pids()['raftd'], signal.SIGCONT)
        wait_voters(rest[0], rest + [stuck])
        self.assertStatus(stuck.register(job('after')), 200)
        self.assertSame(rest + [stuck])

    def test_replaced_disk(self):
        """A server that comes back without its data is a new one; the old one goes."""
        r = self.three(extra=AUTOPILOT)
        self.assertStatus(r.server.register(job('before')), 200)
        new = next(n for n in r.servers if n is not wait_one_leader(r.servers))
        address = '%s:%d' % (new.addr, RPC)
        old = next(s['ID'] for s in raft_servers(r.server) if s['Address'] == address)
        new.kill()
        shutil.rmtree(new.data_dir)
        new.start()

        def replaced():
            ids = [s['ID'] for s in raft_servers(new) if s['Voter']]
            return len(ids) == 3 and old not in ids and len(raft_servers(new)) == 3
        wait_for('the new server to take the place of the old', replaced, 30)
        self.assertEqual([j['ID'] for j in self.assertSame(r.servers)], ['before'])
        self.assertStatus(new.register(job('after')), 200)

    def leave(self, pick):
        r = self.three(extra=AUTOPILOT + '\nleave_on_terminate = true')
        leader = wait_one_leader(r.servers)
        goes = leader if pick == 'leader' else next(n for n in r.servers if n is not leader)
        rest = [n for n in r.servers if n is not goes]
        with Writers(rest) as w:
            w.wait_acks(20)
            began = time.monotonic()
            goes.stop()
            w.wait_acks(20)
            wait_voters(rest[0], rest)
        slowest = max(t - b for b, t in w.times if t >= began)
        print('%s: the slowest write while the %s left took %.0f ms' % (self.id(), pick, slowest * 1000),
              file=sys.stderr)
        self.assertSame(rest, w)
        self.assertEqual(w.errors, [], 'a server that leaves in order costs nobody an error')
        return r, goes, rest

    def test_follower_leaves(self):
        r, goes, rest = self.leave('follower')
        self.assertLess(len(elections(rest)), 4, elections(rest))
        goes.start()
        wait_voters(goes, r.servers, 40)
        self.assertSame(r.servers)

    def test_leader_leaves(self):
        _, _, rest = self.leave('leader')
        heir = next(n for n in rest if n is wait_one_leader(rest))
        roles = re.findall(r'role=(\S+)', heir.log())
        last = max(i for i, x in enumerate(roles) if x == 'candidate')
        self.assertNotEqual(roles[last - 1], 'pre-candidate', 'an election, not a handover: %r' % roles)

    def test_remove_peer(self):
        r = self.three(extra=AUTOPILOT)
        dead = next(n for n in r.servers if n is not wait_one_leader(r.servers))
        rest = [n for n in r.servers if n is not dead]
        ident = next(s['ID'] for s in raft_servers(r.server) if s['Address'] == '%s:%d' % (dead.addr, RPC))
        dead.kill()
        x = rest[1].delete('/v1/operator/raft/peer?id=' + ident)
        if x.status == 404:
            x = rest[1].cli('operator', 'raft', 'remove-peer', '-peer-id=' + ident)
            self.assertCli(x)
        else:
            self.assertStatus(x, 200)
        wait_voters(rest[0], rest)
        self.assertStatus(rest[0].register(job('two-left')), 200)
        self.assertSame(rest)


    def test_remove_the_leader(self):
        """It hands over and goes; as gossip shows it alive it is taken in again."""
        r = self.three(extra=AUTOPILOT)
        leader = wait_one_leader(r.servers)
        ident = next(s['ID'] for s in raft_servers(leader) if s['Leader'])
        with Writers(r.servers) as w:
            w.wait_acks(20)
            self.assertCli(r.servers[0].cli('operator', 'raft', 'remove-peer', '-peer-id=' + ident))
            wait_for('another leader', lambda: wait_one_leader(r.servers) is not leader, 20)
            wait_voters(r.server, r.servers)
            w.wait_acks(20)
        self.assertSame(r.servers, w)
        self.assertOneLeaderATerm(r.servers)


class Across(ClusterCase):
    """Writes from west for east, whose servers die one by one, and all together."""

    def test_servers_of_the_other_region_die(self):
        w, e = self.cluster.region('west', servers=2, start=False), self.cluster.region('east', servers=3)
        for n in w.servers:
            n.expect = 0  # nothing of west leads: only its routers are asked
            n.start(wait=False)
        for n in w.servers:
            n.wait_http(30)
            n.join(e.server)
        names = ['%s.%s' % (n.name, n.region) for n in w.servers + e.servers]
        for n in w.servers + e.servers:
            n.wait_members(names, 40)
        wait_voters(e.server, e.servers)
        with Writers(w.servers, query='?region=east') as writers:
            for victim in (wait_one_leader(e.servers), *e.servers):
                writers.wait_acks(20)
                rest = [n for n in e.servers if n is not victim]
                victim.kill()
                writers.wait_acks(40, timeout=60)
                victim.start()
                wait_one_leader(e.servers, 60)
                wait_for('%s to catch up' % victim.name, lambda: victim.get('/v1/jobs?stale').index()
                         >= rest[0].get('/v1/jobs?stale').index() - 100, 60)
            for n in w.servers:  # and who forwards
                for service in ('routerd', 'raftd', 'apid', 'serfd'):
                    pid = n.kill_service(service)
                    n.wait_service(service, pid, 60)
            writers.wait_acks(20, timeout=60)
            for n in e.servers:
                n.kill()
            self.assertEqual([x for x in writers.errors if 'No path' in x], [], 'east was always there')
            failed = len(writers.errors)
            wait_for('errors of writes for a region that is gone', lambda: len(writers.errors) >= failed + 4, 60)
            for n in e.servers:
                n.start(wait=False)
            writers.wait_acks(40, timeout=60)
        wait_one_leader(e.servers, 60)
        self.assertSame(e.servers, writers, 60)


class Disks(ClusterCase):
    CLEAR = re.compile(r'ERROR raftd: cannot (write the raft log|apply entry \d+): (File too large|No space left)')

    def limited(self, node, limit):
        """Starts the node with a limit for the size of each file: a write beyond it fails as on a full disk."""
        node.start(wrapper=['/usr/bin/python3', '-c', 'import os, resource, sys\n'
                            'resource.setrlimit(resource.RLIMIT_FSIZE, (%d, %d))\n'
                            'os.execv(sys.argv[1], sys.argv[1:])' % (limit, limit)], wait=False)

    def test_files_that_cannot_grow(self):
        r = self.three()
        full = next(n for n in r.servers if n is not wait_one_leader(r.servers))
        rest = [n for n in r.servers if n is not full]
        full.stop()
        folder = os.path.join(full.data_dir, 'server', 'raft')
        size = max(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
        self.limited(full, size + 20000)
        full.wait_http()
        with Writers(r.servers, 3) as w:
            wait_for('a clear error', lambda: self.CLEAR.search(full.log()), 30)
            w.wait_acks(20)
        self.assertSame(rest, w)
        full.stop()
        full.start()
        wait_one_leader(r.servers)
        self.assertSame(r.servers, w)

    def test_full_disk(self):
        """Under the log of the leader: the others go on, and it comes back when there is room."""
        if os.geteuid() != 0:
            self.skipTest('needs root to mount a small file system')
        for servers in (1, 3):
            with self.subTest(servers=servers):
                self.full_disk(servers)

    def full_disk(self, servers):
        r = self.cluster.region('west%d' % servers, servers=servers, start=False)
        for s in r.servers:
            folder = os.path.join(s.data_dir, 'server', 'raft')
            os.makedirs(folder, 0o700)
            m = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', folder], stderr=subprocess.PIPE)
            if m.returncode:
                self.skipTest('cannot mount: %r' % m.stderr)
            self.addCleanup(subprocess.run, ['umount', '-l', folder])
            self.addCleanup(s.kill)
            s.start(wait=False)
        leader = wait_one_leader(r.servers)
        ballast = os.path.join(leader.data_dir, 'server', 'raft', 'ballast')
        with Writers(r.servers, 2) as w:
            with open(ballast, 'wb', buffering=0) as f, contextlib.suppress(OSError):
                while f.write(bytes(1 << 14)):
                    pass
            wait_for('a clear error', lambda: 'cannot write the raft log: No space left' in leader.log(), 30)
            if servers > 1:
                w.wait_acks(20)
            os.remove(ballast)
            w.wait_acks(20, timeout=45)
        wait_one_leader(r.servers)
        self.assertSame(r.servers, w)
        for s in r.servers:
            s.kill()
        for s in r.servers:
            s.start(wait=False)
        wait_one_leader(r.servers)
        self.assertSame(r.servers, w)


class Chaos(ClusterCase):
    """One fault after the other, drawn from a seed (STEPPE_TEST_SEED), while clients write."""

    SECONDS = float(os.environ.get('STEPPE_TEST_CHAOS', '20'))

    def kill_service(self, rnd, n):
        name = rnd.choice(['raftd', 'raftd', 'raftd', 'routerd', 'apid', 'serfd'])
        pid = n.kill_service(name)
        n.wait_service(name, pid, 40)
        return 'kill -9 ' + name

    def freeze(self, rnd, n):
        pid = n.service_pids()['raftd']
        until = time.monotonic() + rnd.choice([0.05, 0.2, 0.5, 1.5])
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_for('the end of a pause', lambda: time.monotonic() >= until)
        finally:
            os.kill(pid, signal.SIGCONT)
        return 'stopped raftd for a while'

    def power_cut(self, rnd, n):
        n.kill()
        lost = rnd.random() < 0.5
        if lost:
            shutil.rmtree(os.path.join(n.data_dir, 'server', 'state'))
        n.start()
        return 'power cut%s' % (', state lost' if lost else '')

    def stop(self, rnd, n):
        n.restart()
        return 'restart'

    def blackout(self, rnd, n):
        nodes = [x for x in self.cluster.nodes if x is n or rnd.random() < 0.7]
        for x in nodes:
            x.kill()
        for x in nodes:
            x.start(wait=False)
        for x in nodes:
            x.wait_http(20)
        return 'power cut of %s' % [x.name for x in nodes]

    def chaos(self, servers):
        seed = int(os.environ.get('STEPPE_TEST_SEED', random.SystemRandom().randrange(1 << 32)))
        print('%s: STEPPE_TEST_SEED=%d' % (self.id(), seed), file=sys.stderr)
        rnd = random.Random(seed)
        r = self.cluster.region('west', servers=servers, server_extra=Snapshots.SMALL)
        wait_voters(r.server, r.servers)
        faults = []
        with Writers(r.servers) as w:
            end = time.monotonic() + self.SECONDS
            while time.monotonic() < end:
                n = rnd.choice(r.servers)
                fault = rnd.choice([self.kill_service, self.kill_service, self.freeze, self.power_cut, self.blackout,
                                    self.stop])
                faults.append('%s: %s' % (n.name, fault(rnd, n)))
                if rnd.random() < 0.5:
                    w.wait_acks(rnd.randrange(1, 60))
            wait_one_leader(r.servers)
            w.wait_acks(20)
        print('%s: %d writes, %d errors, faults: %s' % (self.id(), w.count(), len(w.errors), '; '.join(faults)),
              file=sys.stderr)
        self.assertSame(r.servers, w)
        self.assertEqual(len(voters(r.server)), servers)

    def test_three(self):
        self.chaos(3)

    def test_five(self):
        self.chaos(5)


class Calm(ClusterCase):
    def test_no_elections_on_a_busy_machine(self):
        """Default timings beside two busy loops: a leader that works is not deposed."""
        r = self.three()
        loops = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(2)]
        try:
            with Writers(r.servers) as w:
                began = time.monotonic()
                wait_for('10 s of work', lambda: time.monotonic() > began + 10, 20)
        finally:
            for p in loops:
                p.kill()
                p.wait()
        held = elections(r.servers)
        print('%s: %d writes, leaderships %r' % (self.id(), w.count(), held), file=sys.stderr)
        self.assertSame(r.servers, w)
        self.assertLess(len(held), 5, 'elections without a reason')


if __name__ == '__main__':
    unittest.main()
