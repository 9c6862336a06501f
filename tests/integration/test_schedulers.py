# SPDX-License-Identifier: MPL-2.0
"""Schedulers on real servers, over client nodes that only speak: what is placed, moved, stopped and blocked, and that
nothing is placed twice or beyond a node's size while schedulers, routers and leaders are killed."""

import collections
import json
import os
import random
import signal
import sys
import threading
import time
import unittest

for folder in ('lib', 'tools'):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', folder))
import record_schedule  # noqa: E402
import sim  # noqa: E402
import steppe  # noqa: E402
from steppe import wait_for  # noqa: E402

# Nodes that fall silent are seen soon, but not so soon that a slow machine's are taken for silent.
FAST = '\n'.join(['  min_heartbeat_ttl = "4s"', '  heartbeat_grace = "6s"', '  max_heartbeats_per_second = 1000',
                  '  failover_heartbeat_ttl = "20s"'])
SETTLED = 60  # s: until what has to happen has happened
CPU = 1000    # of each node; memory, too


@unittest.skipIf(steppe.is_nomad(), 'simulated nodes speak to our servers only')
class Schedulers(steppe.TestCase):
    servers = 1
    count = 8

    @classmethod
    def setUpClass(cls):
        cls.region = cls.new_cluster().region('global', servers=cls.servers, server_extra=FAST)
        cls.s = cls.region.server

    def setUp(self):
        super().setUp()
        self.sims = []
        if self.count:
            self.more(self.count)

    def tearDown(self):
        for j in self.s.get('/v1/jobs').json():
            self.s.delete('/v1/job/%s?purge=true' % j['ID'])
        self.no_nodes()
        super().tearDown()

    def no_nodes(self):
        while self.sims:
            self.sims.pop().stop()
        for n in self.s.get('/v1/nodes').json():
            self.s.put('/v1/node/%s/purge' % n['ID'])

    def more(self, count, **kw):
        """Further nodes; each test has its own."""
        x = sim.Nodes(self.region.servers, count, seed=random.randrange(1 << 30), cpu=CPU, memory=CPU, disk=1000, **kw)
        self.sims.append(x)
        return x

    def run_job(self, j):
        r = self.s.register(j)
        self.assertStatus(r, 200)
        return r.json()['EvalID']

    def evaluation(self, ev):
        """As it ended."""
        def ended():
            e = self.s.get('/v1/evaluation/' + ev).json()
            return e if e['Status'] in ('complete', 'failed', 'canceled') else None
        return wait_for('evaluation ' + ev, ended, SETTLED)

    def allocs(self, job):
        return self.s.get('/v1/job/%s/allocations' % job).json()

    def running(self, job, count):
        """Waits until so many allocations run and no other is left; returns them."""
        def look():
            live = sim.live(self.allocs(job))
            return (live,) if len(live) == count and all(a['ClientStatus'] == 'running' for a in live) else None
        return wait_for('%d allocations of %s to run' % (count, job), look, SETTLED)[0]

    def summary(self, job):
        return self.s.get('/v1/job/%s/summary' % job).json()['Summary']['g']


class OneServer(Schedulers):
    def test_life_of_a_service(self):
        ev = self.evaluation(self.run_job(sim.job('web', 4)))
        self.assertEqual(ev['QueuedAllocations'], {'g': 0})
        self.assertNotIn('FailedTGAllocs', ev)
        first = self.running('web', 4)
        self.assertEqual(sorted(a['Name'] for a in first), ['web.g[%d]' % i for i in range(4)])
        self.assertEqual(len({a['NodeID'] for a in first}), 4)  # spread by anti-affinity
        self.assertEqual(self.s.get('/v1/job/web').json()['Status'], 'running')

        self.run_job(sim.job('web', 7))  # the four stay as they are
        grown = self.running('web', 7)
        self.assertLessEqual({a['ID'] for a in first}, {a['ID'] for a in grown})
        self.run_job(sim.job('web', 2))
        self.assertEqual(sorted(a['Name'] for a in self.running('web', 2)), ['web.g[0]', 'web.g[1]'])

        kept = {a['ID'] for a in self.running('web', 2)}
        self.run_job(sim.job('web', 2, task={'KillTimeout': 7000000000}))
        wait_for('an update in place', lambda: all(a['JobVersion'] == 3 for a in self.running('web', 2)), SETTLED)
        self.assertEqual({a['ID'] for a in self.running('web', 2)}, kept)
        self.run_job(sim.job('web', 2, task={'Env': {'A': 'b'}}))
        wait_for('new allocations', lambda: not kept & {a['ID'] for a in self.running('web', 2)}, SETTLED)
        old = [a for a in self.allocs('web') if a['ID'] in kept]
        self.assertEqual({a['DesiredDescription'] for a in old}, {'alloc is being updated due to job update'})

        self.assertStatus(self.s.delete('/v1/job/web'), 200)
        self.running('web', 0)
        wait_for('a dead job', lambda: self.s.get('/v1/job/web').json()['Status'] == 'dead', SETTLED)
        wait_for('its summary', lambda: self.summary('web')['Running'] == 0, SETTLED)

    def test_blocked_until_there_is_room(self):
        ev = self.evaluation(self.run_job(sim.job('big', 12, cpu=600)))
        self.assertEqual(ev['Status'], 'complete')
        self.assertEqual(ev['QueuedAllocations'], {'g': 4})
        failed = ev['FailedTGAllocs']['g']
        self.assertEqual(failed['NodesEvaluated'], 8)
        self.assertEqual(failed['NodesExhausted'], 8)
        self.assertEqual(failed['DimensionExhausted'], {'cpu': 8})
        self.assertEqual(failed['CoalescedFailures'], 3)
        blocked = self.s.get('/v1/evaluation/' + ev['BlockedEval']).json()
        self.assertEqual((blocked['Status'], blocked['TriggeredBy']), ('blocked', 'queued-allocs'))
        self.running('big', 8)
        wait_for('what is queued', lambda: self.summary('big')['Queued'] == 4, SETTLED)
        self.more(2)  # room for two: the rest waits on
        self.running('big', 10)
        wait_for('what is queued', lambda: self.summary('big')['Queued'] == 2, SETTLED)
        self.more(2)
        self.running('big', 12)
        wait_for('its end', lambda: self.s.get('/v1/evaluation/' + blocked['ID']).json()['Status'] == 'complete', SETTLED)
        self.assertEqual(self.summary('big')['Queued'], 0)

    def test_blocked_until_others_stop(self):
        self.run_job(sim.job('old', 8, cpu=900))
        self.running('old', 8)
        ev = self.evaluation(self.run_job(sim.job('new', 8, cpu=900)))
        self.assertEqual(ev['QueuedAllocations'], {'g': 8})
        self.s.delete('/v1/job/old')
        self.running('new', 8)

    def test_filtered(self):
        j = sim.job('nowhere', 1, Constraints=[{'LTarget': '${attr.kernel.name}', 'RTarget': 'plan9', 'Operand': '='}])
        ev = self.evaluation(self.run_job(j))
        m = ev['FailedTGAllocs']['g']
        self.assertEqual(m['NodesFiltered'], 8)
        self.assertEqual(m['ConstraintFiltered'], {'${attr.kernel.name} = plan9': 1, 'computed class ineligible': 7})
        self.assertEqual(m['NodesAvailable'], {'dc1': 8})

    def test_lost_nodes(self):
        few = self.more(3)
        self.run_job(sim.job('web', 22, cpu=490))  # two on each node
        before = self.running('web', 22)
        few.stop()
        lost = wait_for('lost allocations', lambda: [a for a in self.allocs('web') if a['ClientStatus'] == 'lost'], SETTLED)
        self.assertEqual({a['DesiredDescription'] for a in lost}, {'alloc is lost since its node is down'})
        self.running('web', 16)  # no room for the others
        self.assertEqual(len([a for a in self.allocs('web') if a['ClientStatus'] == 'lost']), 6)
        self.more(3)
        after = self.running('web', 22)
        self.assertEqual(sorted(a['Name'] for a in after), sorted(a['Name'] for a in before))

    def test_alloc_stop(self):
        self.run_job(sim.job('web', 2))
        a = self.running('web', 2)[0]
        self.assertStatus(self.s.put('/v1/allocation/%s/stop' % a['ID']), 200)
        new = wait_for('another one', lambda: [x for x in self.running('web', 2) if x['Name'] == a['Name']
                                               and x['ID'] != a['ID']], SETTLED)
        old = self.s.get('/v1/allocation/' + a['ID']).json()
        self.assertEqual(old['DesiredDescription'], 'alloc is being migrated')
        self.assertEqual(old['NextAllocation'], new[0]['ID'])
        self.assertEqual(self.s.get('/v1/allocation/' + new[0]['ID']).json()['PreviousAllocation'], a['ID'])

    def test_system(self):
        self.run_job(sim.job('sys', 1, kind='system'))
        self.assertEqual(len({a['NodeID'] for a in self.running('sys', 8)}), 8)
        self.more(2)
        self.running('sys', 10)
        self.s.delete('/v1/job/sys')
        self.running('sys', 0)

    def test_system_job_makes_room(self):
        self.run_job(sim.job('low', 8, cpu=900, Priority=20))
        self.running('low', 8)
        self.run_job(sim.job('sys', 1, cpu=500, kind='system', Priority=80))
        self.running('sys', 8)
        gone = wait_for('evicted ones', lambda: [a for a in self.allocs('low') if a['DesiredStatus'] == 'evict'], SETTLED)
        self.assertEqual(len(gone), 8)
        self.assertRegex(gone[0]['DesiredDescription'], '^Preempted by alloc ID ')
        wait_for('its own evaluation', lambda: self.summary('low')['Queued'] == 8, SETTLED)
        self.more(8)  # sys takes 500 of each
        self.running('sys', 16)
        self.s.delete('/v1/job/sys')
        self.running('low', 8)

    def test_services_make_room_when_configured(self):
        self.run_job(sim.job('low', 8, cpu=900, Priority=20))
        self.running('low', 8)
        ev = self.evaluation(self.run_job(sim.job('high', 2, cpu=500, Priority=80)))
        self.assertEqual(ev['QueuedAllocations'], {'g': 2})
        conf = {'PreemptionConfig': {'SystemSchedulerEnabled': True, 'ServiceSchedulerEnabled': True}}
        self.assertStatus(self.s.put('/v1/operator/scheduler/configuration', conf), 200)
        try:
            self.run_job(sim.job('high', 2, cpu=501, Priority=80))
            self.running('high', 2)
            self.running('low', 6)
        finally:
            conf['PreemptionConfig']['ServiceSchedulerEnabled'] = False
            self.s.put('/v1/operator/scheduler/configuration', conf)

    def test_many_at_once(self):
        for i in range(40):
            self.run_job(sim.job('j%d' % i, 1 + i % 3, cpu=20, memory=20))
        for i in range(40):
            self.running('j%d' % i, 1 + i % 3)

    def test_more_than_one_plan(self):
        self.more(4)
        self.run_job(sim.job('wide', 6000, cpu=1, memory=10, group={'EphemeralDisk': {'SizeMB': 10}}))
        # Memory and disk end at 100 a node.
        wait_for('all that fits', lambda: self.summary('wide')['Starting'] + self.summary('wide')['Running'] == 1200, SETTLED)
        wait_for('the rest', lambda: self.summary('wide')['Queued'] == 4800, SETTLED)

    def test_failing_ones(self):
        self.no_nodes()
        self.more(4, fail=100)  # every task fails as soon as it starts
        policy = {'Attempts': 0, 'Unlimited': True, 'Delay': 5000000000, 'DelayFunction': 'constant',
                  'MaxDelay': 3600000000000}
        self.run_job(sim.job('bad', 1, group={'ReschedulePolicy': policy}))
        # Failed, waited for its delay, was placed anew: at least twice.
        chain = wait_for('a chain of replacements', lambda: [
            a for a in self.allocs('bad') if len(((a['RescheduleTracker'] or {}).get('Events')) or []) >= 2], SETTLED)
        self.assertEqual({e['Delay'] for e in chain[0]['RescheduleTracker']['Events']}, {5000000000})
        self.assertEqual({a['Name'] for a in self.allocs('bad')}, {'bad.g[0]'})
        waits = [e for e in self.s.get('/v1/job/bad/evaluations').json() if e['TriggeredBy'] == 'alloc-failure'
                 and e.get('WaitUntil')]
        self.assertTrue(waits)

    def test_batch_runs_once(self):
        self.no_nodes()
        self.more(2, fail=100)
        policy = {'Attempts': 1, 'Interval': 86400000000000, 'Delay': 5000000000, 'DelayFunction': 'constant',
                  'Unlimited': False}
        self.run_job(sim.job('once', 1, kind='batch', group={'ReschedulePolicy': policy}))
        wait_for('both attempts', lambda: [a['ClientStatus'] for a in self.allocs('once')] == ['failed'] * 2, SETTLED)
        wait_for('a dead job', lambda: self.s.get('/v1/job/once').json()['Status'] == 'dead', SETTLED)

    def test_schedd_is_killed(self):
        for i in range(5):
            pid = self.s.kill_service('schedd')
            self.run_job(sim.job('k%d' % i, 3))
            self.running('k%d' % i, 3)
            self.s.wait_service('schedd', pid)


class Goldens(Schedulers):
    """Some eighty jobs on two nodes, against what a real Nomad 1.1.0's scheduler did (tests/tools/record_schedule.py): scores to
    nine digits, counters and texts of filters, what is queued and blocked."""
    count = 0

    def setUp(self):
        super().setUp()
        for i, (name, cls, meta) in enumerate(record_schedule.NODES):
            kw = {'meta.' + k: v for k, v in meta.items()}
            self.sims.append(sim.Nodes([self.s], 1, seed=i + 1, name=name, cpu=record_schedule.CPU, disk=70000,
                                       memory=record_schedule.MEMORY, **{'class': cls}, **kw))

    def test_as_nomad(self):
        with open(os.path.join(steppe.GOLDEN, 'schedule.json')) as f:
            want = json.load(f)
        self.assertEqual(sorted(want), sorted(record_schedule.JOBS))
        for name in record_schedule.JOBS:
            with self.subTest(name):
                got = record_schedule.play(self.s, name)
                self.assertEqual(got, want[name])


class Chaos(Schedulers):
    """Jobs change while what runs the region is killed, in an order that SCHED_SEED repeats."""
    servers = 3
    count = 24
    jobs = 6
    seconds = float(os.environ.get('SCHED_SECONDS', '15'))

    def setUp(self):
        super().setUp()
        self.stop, self.wrong, self.counts = threading.Event(), [], {}
        self.seed = int(os.environ.get('SCHED_SEED') or random.randrange(1 << 30))

    def request(self, rnd, fn):
        """At any server; whoever is down is passed over."""
        for s in rnd.sample(self.region.servers, 3):
            try:
                r = fn(s)
                if r.status == 200:
                    return r
            except OSError:
                pass
        return None

    def change_jobs(self):
        rnd = random.Random(self.seed + 1)
        while not self.stop.is_set():
            name = 'c%d' % rnd.randrange(self.jobs)
            j = sim.job(name, rnd.randrange(0, 60), task={'Env': {'V': str(rnd.randrange(3))}})
            self.request(rnd, lambda s, j=j: s.put('/v1/jobs', {'Job': j}, timeout=20))
            self.stop.wait(rnd.random() * 0.3)

    def beyond(self, allocs):
        """Nodes that have more than they can, with the allocations there."""
        nodes = collections.defaultdict(set)
        for a in sim.live(allocs):
            nodes[a['NodeID']].add(a['ID'])
        return {(k, frozenset(v)) for k, v in nodes.items() if 100 * len(v) > CPU}

    def watch(self):
        """No node may have more than it can at any moment. A long list may come in parts of different moments, so
        what is wrong has to be seen twice, of the same allocations."""
        rnd, before = random.Random(self.seed + 2), set()
        while not self.stop.is_set():
            r = self.request(rnd, lambda s: s.get('/v1/allocations?stale', timeout=20))
            if r:
                now = self.beyond(r.json())
                self.wrong += now & before
                before = now
            self.stop.wait(0 if before else 0.1)

    def kill_something(self, rnd):
        what = rnd.choice(['schedd', 'schedd', 'raftd', 'routerd'])
        node = rnd.choice(self.region.servers)
        try:
            if what == 'raftd' and rnd.random() < 0.7:
                node = self.region.leader_node(2)
            node.kill_service(what)
        except (KeyError, ProcessLookupError, steppe.Timeout):
            pass  # not up again yet, or nobody leads

    def settled(self):
        """Of each job as many as it wants, each name once, of the newest version, running, and nothing else."""
        jobs = self.s.get('/v1/jobs').json()
        versions = {j['ID']: self.s.get('/v1/job/' + j['ID']).json()['Version'] for j in jobs}
        groups = {j['ID']: j['JobSummary']['Summary']['g'] for j in jobs}
        if any((x['Running'], x['Starting'], x['Queued']) != (40, 0, 0) for x in groups.values()):
            return None
        live = sim.live(self.s.get('/v1/allocations').json())
        got = collections.Counter((a['JobID'], a['JobVersion']) for a in live)
        # A name may be higher than the count: it is not replaced while nothing else is to be done, as in Nomad.
        return len({a['Name'] for a in live}) == len(live) and got == {(j, v): 40 for j, v in versions.items()} or None

    def describe(self):
        """What is not as it should be."""
        allocs = self.s.get('/v1/allocations').json()
        names = collections.Counter(a['Name'] for a in sim.live(allocs))
        out = {'summaries': {j['ID']: j['JobSummary']['Summary']['g'] for j in self.s.get('/v1/jobs').json()},
               'open': [(e['JobID'], e['TriggeredBy'], e['Status']) for e in self.s.get('/v1/evaluations').json()
                        if e['Status'] in ('pending', 'blocked')],
               'twice': [k for k, v in names.items() if v > 1], 'live': len(sim.live(allocs)),
               'nodes': collections.Counter(n['Status'] for n in self.s.get('/v1/nodes').json()),
               'odd': [(a['ID'], a['NodeName'], a['Name'], a['DesiredStatus'], a['ClientStatus'], a['CreateIndex'],
                        a['ModifyIndex']) for a in allocs
                       if (a['DesiredStatus'] == 'run') != (a['ClientStatus'] == 'running')
                       and a['ClientStatus'] in ('pending', 'running')][:20]}
        return json.dumps(out, indent=1)

    def test_nothing_twice_nothing_beyond(self):
        rnd = random.Random(self.seed)
        threads = [threading.Thread(target=f) for f in (self.change_jobs, self.watch)]
        for t in threads:
            t.start()
        end = time.monotonic() + self.seconds
        try:
            while time.monotonic() < end:
                self.kill_something(rnd)
                time.sleep(rnd.random() * 1.5)
        finally:
            self.stop.set()
            for t in threads:
                t.join()
        for s in self.region.servers:
            wait_for('services', lambda s=s: {'schedd', 'raftd', 'routerd', 'apid'} <= set(s.services()), SETTLED)
        self.s.wait_leader(SETTLED)
        for i in range(self.jobs):  # 240 of 100: all there is
            wait_for('a registration', lambda i=i: self.s.register(sim.job('c%d' % i, 40, task={'Env': {'V': 'end'}}))
                     .status == 200, SETTLED)
        try:
            wait_for('the desired state', self.settled, int(os.environ.get('SCHED_WAIT', '120')))
        except steppe.Timeout as e:
            raise AssertionError('seed %d: %s\n%s' % (self.seed, e, self.describe()))
        allocs = self.s.get('/v1/allocations').json()
        self.assertEqual((self.wrong, self.beyond(allocs)), ([], set()), 'seed %d' % self.seed)
        pids = [s.service_pids()['schedd'] for s in self.region.servers]
        self.assertEqual(len(pids), 3)
        for p in pids:
            os.kill(p, signal.SIGTERM)  # an orderly stop, too
        for s, p in zip(self.region.servers, pids):
            s.wait_service('schedd', p, SETTLED)


if __name__ == '__main__':
    unittest.main()
