# SPDX-License-Identifier: MPL-2.0
"""Wishes, state and processes: jobs are changed all the time while services, leaders and whole nodes die, stand still
and are upgraded, disks are full, files torn, wires cut and clocks jump; then, after some calm, what the last acknowledged
writes wanted is what every server's state says and what really runs: no task too many, none forgotten, none of an old
version, no line of a log torn, no process of ours crashed.

STEPPE_TEST_SEED plays one seed again; STEPPE_TEST_CHAOS is the length of the faults in seconds (default 15),
STEPPE_TEST_SEEDS how many seeds one after the other.
"""

import collections
import contextlib
import http.client
import os
import random
import re
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import faults  # noqa: E402
import nets  # noqa: E402
import steppe  # noqa: E402
from steppe import wait_for  # noqa: E402

SERVER = '\n'.join(['  min_heartbeat_ttl = "1s"', '  heartbeat_grace = "2s"', '  max_heartbeats_per_second = 1000',
                    '  failover_heartbeat_ttl = "6s"'])
SMALL = '\n  raft_snapshot_threshold = 200\n  raft_trailing_logs = 50'  # many snapshots
CLIENT = 'plugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}'
SECONDS = float(os.environ.get('STEPPE_TEST_CHAOS', '15'))
SEEDS = int(os.environ.get('STEPPE_TEST_SEEDS', '1'))
CALM = 80  # s: until everything is as wanted
MARK = 'steppe-checked'
DIED = re.compile(r'service died service=(\w+) last="([^"]*)"')
LISTS = ('/v1/jobs', '/v1/allocations', '/v1/evaluations', '/v1/nodes', '/v1/deployments')


def spec(w, folder):
    """A job whose tasks can be told from their command lines, and write numbered lines."""
    script = ('n=0; trap "" INT; while :; do n=$((n+1)); echo "<$$ $n whole>"; sleep 1; done # %s %s %d %s'
              % (MARK, w.name, w.tag, folder))
    j = steppe.job(w.name, command='/bin/sh', args=('-c', script), count=w.count, Type=w.kind)
    group = j['TaskGroups'][0]
    group['RestartPolicy'] = {'Attempts': 100 + w.place, 'Interval': 3600 * 10**9, 'Delay': 10**8, 'Mode': 'delay'}
    group['EphemeralDisk'] = {'SizeMB': 10}
    group['Tasks'][0].update(KillTimeout=10**9, LogConfig={'MaxFiles': 1, 'MaxFileSizeMB': 1})
    return j


class Wish:
    """What one job shall be; only its own thread changes it."""

    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.count, self.tag = 0, 0  # count 0: stopped or not there
        self.place = 0               # another one: a change that needs no new task
        self.purge = False
        self.doubt = False           # a stop that was not answered may still come


class Asker(threading.Thread):
    """Asks the region's servers again and again until its time is over."""

    def __init__(self, test, seed):
        super().__init__(daemon=True)
        self.test, self.rnd = test, random.Random(seed)
        self.over = threading.Event()
        self.changes, self.bad = 0, []

    def server(self):
        return self.rnd.choice(self.test.region.servers)

    def run(self):
        while not self.over.is_set():
            self.change()
            self.changes += 1
            self.over.wait(self.rnd.random() * 2)


class Changer(Asker):
    """Changes its job: a change is tried with the same content until it is acknowledged, and never undoes a later one."""

    def __init__(self, test, wish, seed):
        super().__init__(test, seed)
        self.wish, self.last = wish, None

    def matches(self, job):
        want = spec(self.wish, self.test.cluster.dir)['TaskGroups'][0]
        have = job['TaskGroups'][0]
        return (not job['Stop'] and have['Count'] == want['Count']
                and have['RestartPolicy']['Attempts'] == want['RestartPolicy']['Attempts']
                and have['Tasks'][0]['Config'] == want['Tasks'][0]['Config'])

    def ask(self, node):
        """-> is the job as wanted."""
        w = self.wish
        if w.count == 0:
            w.doubt = True
            r = node.delete('/v1/job/%s%s' % (w.name, '?purge=true' if w.purge else ''))
        else:
            r = node.get('/v1/job/' + w.name)
            if r.status == 200 and self.matches(r.json()):
                return True
            if r.status not in (200, 404):
                return False
            index = r.json()['JobModifyIndex'] if r.status == 200 else 0
            r = node.put('/v1/jobs', {'Job': spec(w, self.test.cluster.dir), 'EnforceIndex': True, 'JobModifyIndex': index})
        self.last = r
        if r.status < 500 and r.status not in (200, 404, 429):
            self.bad.append('%s: %r' % (w.name, r))
        return r.status == 200 or (r.status == 404 and w.count == 0)

    def acknowledged(self):
        for i in range(2000):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask(self.server()):
                    if self.wish.count == 0 and i == 0:
                        self.wish.doubt = False
                    return
            time.sleep(0.05)
        self.bad.append('%s: never acknowledged: %r' % (self.wish.name, self.last))

    def change(self):
        w = self.wish
        kind = self.rnd.random()
        if kind < 0.15:
            w.count, w.purge = 0, kind < 0.05
        else:
            w.count = self.rnd.randrange(1, 5) if w.kind != 'system' else 1
            w.tag += kind < 0.45 or w.tag == 0  # else only another count,
            w.place += kind > 0.75              # or only what changes in place
        self.acknowledged()


class Registrar(Asker):
    """Registers jobs that no node can run, and one of them again and again; keeps what was acknowledged."""

    def __init__(self, test, seed):
        super().__init__(test, seed)
        self.jobs, self.good, self.failed = [], 0, 0
        self.own = 'own-%d' % seed

    def put(self, name, **kw):
        with contextlib.suppress(OSError, http.client.HTTPException):
            r = self.server().register(steppe.job(name, Datacenters=['nowhere'], **kw))
            if r.status < 500 and r.status not in (200, 429):
                self.bad.append('%s: %r' % (name, r))
            return r.status == 200
        return False

    def change(self):
        name = '%s-%d' % (self.own, self.changes)
        if self.put(name):
            self.jobs.append(name)
        if self.put(self.own, Meta={'i': str(self.changes)}):
            self.good += 1
        else:
            self.failed += 1


class Meddler(Asker):
    """What operators do beside changing jobs. Errors are no matter, wishes stay the same."""

    def change(self):
        s = self.server()
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, IndexError, KeyError):
            kind = self.rnd.choice(['stop', 'stop', 'restart', 'signal', 'eligibility', 'gc', 'evaluate', 'job', 'summaries'])
            if kind in ('stop', 'restart', 'signal'):
                a = self.rnd.choice([x for x in s.get('/v1/allocations').json() if x['ClientStatus'] == 'running'])
                if kind == 'stop' and a['JobType'] == 'system':
                    return  # not placed again before something else happens, as in Nomad
                if kind == 'stop':
                    s.put('/v1/allocation/%s/stop' % a['ID'])
                else:
                    s.put('/v1/client/allocation/%s/%s' % (a['ID'], kind), {'TaskName': 't', 'Signal': 'SIGINT'})
            elif kind in ('eligibility', 'evaluate'):
                n = self.rnd.choice(s.get('/v1/nodes').json())
                s.put('/v1/node/%s/%s' % (n['ID'], kind), {
                    'NodeID': n['ID'], 'Eligibility': self.rnd.choice(['eligible', 'ineligible'])})
            elif kind == 'job':
                s.put('/v1/job/%s/evaluate' % self.rnd.choice(self.test.wishes).name, {})
            else:
                s.put('/v1/system/gc' if kind == 'gc' else '/v1/system/reconcile/summaries')

    def leave(self):
        """All nodes take tasks again."""
        s = self.test.region.server

        def eligible():
            nodes = s.get('/v1/nodes').json()
            for n in nodes:
                if n['SchedulingEligibility'] != 'eligible':
                    s.put('/v1/node/%s/eligibility' % n['ID'], {'NodeID': n['ID'], 'Eligibility': 'eligible'})
            return nodes and all(n['SchedulingEligibility'] == 'eligible' for n in nodes)
        wait_for('all nodes to be eligible', eligible, 60)


class Checker(steppe.TestCase):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get('STEPPE_TEST_SEED', random.SystemRandom().randrange(1 << 32)))

    # -- what is really there

    def processes(self):
        """(job, tag) -> pids of its tasks, by the command lines of the machine's processes."""
        found = collections.defaultdict(list)
        for pid in filter(str.isdigit, os.listdir('/proc')):
            line = steppe.proc_cmdline(int(pid))
            if MARK in line and self.cluster.dir in line and line.startswith('/bin/sh -c'):
                words = line[line.index(MARK):].split()
                found[words[1], int(words[2])].append(int(pid))
        return found

    def holders(self):
        return [pid for pid in filter(str.isdigit, os.listdir('/proc'))
                if re.match(r'\S*/taskd %s/' % re.escape(self.cluster.dir), steppe.proc_cmdline(int(pid)))]

    def live(self, w):
        r = self.region.server.get('/v1/job/%s/allocations?all=true' % w.name)
        allocs = r.json() if r.status == 200 else []
        return [a for a in allocs if a['DesiredStatus'] == 'run' and a['ClientStatus'] in ('pending', 'running')]

    def differences(self):
        """What is not as wanted, as texts; empty when all is well."""
        out, real = [], self.processes()
        for w in self.wishes:
            live = self.live(w)
            count = len(self.region.clients) if w.kind == 'system' and w.count else w.count
            running = [a for a in live if a['ClientStatus'] == 'running']
            if len(running) != count or len(live) != count:
                out.append('%s: %d allocations shall run, %d do, %d shall by the state' % (
                    w.name, count, len(running), len(live)))
            if len({a['Name'] for a in live}) != len(live) and w.kind != 'system':
                out.append('%s: a name twice: %s' % (w.name, sorted(a['Name'] for a in live)))
            if count:
                version = self.region.server.get('/v1/job/' + w.name).json()['Version']
                if any(a['JobVersion'] != version for a in live):
                    out.append('%s: version is %d, of allocations %s' % (w.name, version, [a['JobVersion'] for a in live]))
            for (name, tag), pids in real.items():
                if name == w.name and tag != w.tag:
                    out.append('%s: %d processes of version %d run, wanted is %d' % (name, len(pids), tag, w.tag))
            here = len(real.get((w.name, w.tag), []))
            if here != count:
                out.append('%s: %d processes run, wanted are %d' % (w.name, here, count))
        return out

    def unequal(self):
        """What the servers do not agree on."""
        out = []
        for path in LISTS:
            seen = [s.get(path + '?stale').json() for s in self.region.servers]
            for s, x in zip(self.region.servers[1:], seen[1:]):
                if x != seen[0]:
                    out.append('%s of %s and %s: %s' % (path, self.region.server.name, s.name, [
                        (a, b) for a, b in zip(seen[0], x) if a != b][:2] or (len(seen[0]), len(x))))
        return out

    def story(self):
        """For people: what the state says of what is not right."""
        lines = []
        for a in self.region.server.get('/v1/allocations').json():
            if a['DesiredStatus'] == 'run' or a['ClientStatus'] in ('pending', 'running'):
                lines.append('%s %s v%d %s: %s %s %s' % (a['ID'][:8], a['Name'], a['JobVersion'], a['NodeName'],
                                                         a['DesiredStatus'], a['ClientStatus'], a['ClientDescription']))
        for e in self.region.server.get('/v1/evaluations').json():
            if e['Status'] not in ('complete', 'canceled') and not e['JobID'].startswith('own-'):
                lines.append('eval %s %s %s %s' % (e['ID'][:8], e['JobID'], e['Status'], e['TriggeredBy']))
        for n in self.region.server.get('/v1/nodes').json():
            lines.append('node %s %s %s' % (n['Name'], n['Status'], n['SchedulingEligibility']))
        return '\n'.join(lines)

    # -- the test

    def one_seed(self, seed):
        print('%s: STEPPE_TEST_SEED=%d' % (self.id(), seed), file=sys.stderr, flush=True)
        self.rnd = self.faults.rnd = random.Random(seed)
        self.wishes = [Wish('svc%d' % i, 'service') for i in range(3)] + [Wish('sys', 'system'), Wish('bat', 'batch')]
        changers = [Changer(self, w, self.rnd.randrange(1 << 30)) for w in self.wishes]
        meddler, registrar = Meddler(self, self.rnd.randrange(1 << 30)), Registrar(self, self.rnd.randrange(1 << 30))
        askers = changers + [meddler, registrar]
        for c in askers:
            c.start()
        end = time.monotonic() + SECONDS * steppe.SCALE
        try:
            while time.monotonic() < end:
                self.faults.one()
                self.faults.pause(self.rnd.random() * 1.5)
        finally:
            for c in askers:
                c.over.set()
        self.faults.end()
        for n in self.region.nodes:
            n.wait_http(60)
        for c in askers:
            c.join(120)
        print('%s: %d changes; %s' % (self.id(), sum(c.changes for c in changers), '; '.join(self.faults.told)), file=sys.stderr)
        self.faults.told.clear()
        self.assertEqual([c.bad for c in askers if c.bad], [])
        for c in changers:
            if c.wish.doubt and c.wish.count:
                c.acknowledged()
        meddler.leave()
        try:
            wait_for('wishes, state and processes to agree', lambda: not self.differences(), CALM, 0.3)
        except steppe.Timeout:
            self.fail('seed %d: %s\n%s' % (seed, '; '.join(self.differences()), self.story()))
        self.assertEverything(registrar)
        self.over()

    def assertEverything(self, registrar):
        try:
            wait_for('equal servers', lambda: not self.unequal(), CALM, 0.3)
        except steppe.Timeout:
            self.fail('; '.join(self.unequal()))
        self.assertEqual(set(registrar.jobs) - set(self.region.server.job_ids()), set(), 'acknowledged jobs are lost')
        if registrar.good:
            version = self.region.server.get('/v1/job/' + registrar.own).json()['Version']
            self.assertGreaterEqual(version, registrar.good - 1, 'a write is lost')
            self.assertLessEqual(version, registrar.good + registrar.failed - 1, 'a write was done twice')
        for n in self.region.clients:
            self.assertFits(n)
        for w in self.wishes:
            for a in self.live(w):
                self.assertWhole(a)
        self.assertEqual(self.faults.bad, [])
        self.assertNoCrash()

    def over(self):
        for w in self.wishes:
            w.count = 0
            self.assertStatus(self.region.server.delete('/v1/job/%s?purge=true' % w.name), 200)
        wait_for('all tasks to end', lambda: not self.processes(), CALM, 0.3)
        wait_for('all that hold tasks to end', lambda: not self.holders(), CALM, 0.3)

    def assertFits(self, n):
        """No node has more than it can hold."""
        node = next(x for x in self.region.server.get('/v1/nodes').json() if x['Name'] == n.name)
        whole = self.region.server.get('/v1/node/' + node['ID']).json()['NodeResources']
        live = [a for a in self.region.server.get('/v1/node/%s/allocations' % node['ID']).json()
                if a['DesiredStatus'] == 'run' and a['ClientStatus'] in ('pending', 'running')]
        self.assertLessEqual(sum(a['Resources']['CPU'] for a in live), whole['Cpu']['CpuShares'])
        self.assertLessEqual(sum(a['Resources']['MemoryMB'] for a in live), whole['Memory']['MemoryMB'])

    def assertWhole(self, a):
        """Each line of the log is whole, and of each process none is missing; but for a disk that was full."""
        if a['NodeName'] in self.faults.full:
            return
        r = self.region.server.get('/v1/client/fs/logs/%s?task=t&type=stdout&plain=true' % a['ID'])
        self.assertStatus(r, 200)
        last = collections.Counter()
        for line in r.text.split('\n')[:-1]:
            m = re.fullmatch(r'<(\d+) (\d+) whole>', line)
            self.assertTrue(m, 'a torn line of %s: %r' % (a['ID'], line))
            last[m[1]] += 1
            self.assertEqual(last[m[1]], int(m[2]), 'a line of %s is missing' % a['ID'])

    def assertNoCrash(self):
        """Services of ours end by our hand, or with a word about a full disk."""
        bad = []
        for n in self.region.nodes:
            text = n.log_text()
            for name, last in set(DIED.findall(text)):
                if last != 'signal 9 (Killed)' and not (last == 'exit 1' and n.name in self.faults.full):
                    bad.append('%s of %s died: %s' % (name, n.name, last))
        self.assertEqual(bad, [])

    def test_chaos(self):
        rnd = random.Random(self.seed)
        net = nets.private()
        self.cluster.first = 10 if net else 127
        self.region = self.cluster.region('west', servers=3, clients=3, start=False, client_args={'extra': CLIENT},
                                          server_extra=SERVER + rnd.choice(['', SMALL]))
        if net:
            self.addCleanup(net.close)
            for n in self.region.nodes:
                n.wrapper = net.attach(n.addr)
        self.faults = faults.Faults(self.cluster, self.region, rnd, net)
        self.faults.prepare(self.addCleanup)
        print('%s: %s' % (self.id(), self.faults.options()), file=sys.stderr)
        self.addCleanup(self.last_tasks)
        for n in self.region.nodes:
            n.start(wait=False)
        for n in self.region.nodes:
            n.wait_http(60)
        self.region.server.wait_nodes(3, timeout=60)
        for i in range(SEEDS):
            self.one_seed(self.seed + i)
            # Asked once: it tells what is new.
            self.assertEqual(self.cluster.problems(), [], 'crash texts in a log')

    def last_tasks(self):
        for n in self.region.nodes:
            n.kill()
            faults.end_tasks(n)


if __name__ == '__main__':
    unittest.main()
