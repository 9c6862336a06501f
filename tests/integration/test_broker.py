# SPDX-License-Identifier: MPL-2.0
"""The leader's broker, seen by a scheduler: deliveries, acknowledgements, what is lost on the way, leaders that die."""

import os
import random
import sys
import threading
import time
import types
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rpc  # noqa: E402
import steppe  # noqa: E402
from rpc import pb  # noqa: E402
from steppe import job, wait_for  # noqa: E402

DEQUEUE, NACK, PLAN, FINISH = 33, 35, 38, 39
NODE_REGISTER, NODE_STATUS = 40, 41


class Worker:
    """A scheduler that decides nothing; schedd's own are off in these regions."""

    def __init__(self, node, name='', types=('service',)):
        self.name, self.types = name, list(types)
        self.c = rpc.Client(node.addr, timeout=40)

    def dequeue(self, wait_ms=0, most=1, holding=()):
        """-> [(evaluation, token, wait index)]"""
        r = self.c.call(DEQUEUE, pb.EvalDequeueRequest(types=self.types, worker=self.name, max=most, holding=holding),
                        pb.EvalDequeueResponse, wait_ms=wait_ms)
        return [(d.eval, d.token, d.wait_index) for d in r.deliveries]

    def one(self, wait_ms=20000):
        got = self.dequeue(wait_ms)
        assert len(got) == 1, got
        return got[0]

    def nack(self, ev, token):
        self.c.call(NACK, pb.EvalNackRequest(eval_id=ev.id, token=token))

    @staticmethod
    def end(ev, token, *more, **change):
        """The evaluation with these fields changed, and others."""
        new = pb.Evaluation()
        new.CopyFrom(ev)
        for k, v in change.items():
            setattr(new, k, v)
        return pb.EvalEnd(eval_id=ev.id, token=token, evals=[new] + list(more))

    def ends(self, *ends):
        """-> how many of them were taken."""
        return self.c.call(FINISH, pb.EvalFinishRequest(ends=ends), pb.EvalFinishResponse).done

    def plan(self, ev, token, place=(), stop=(), **kw):
        return self.c.call(PLAN, plan_of(ev, token, place, stop, **kw), pb.PlanResult)

    def finish(self, ev, token, *more, **change):
        done = self.ends(self.end(ev, token, *more, **{'status': 'complete', **change}))
        assert done == 1, 'not outstanding'

    def close(self):
        self.c.close()


class FakeNode:
    """A client node that only registers."""

    def __init__(self, server, cpu=1000, memory=1000):
        self.id, self.secret = str(uuid.uuid4()), str(uuid.uuid4())
        self.cpu, self.memory = cpu, memory
        with rpc.Client(server.addr) as c:
            c.call(NODE_REGISTER, pb.NodeRegisterRequest(node=self.node()))

    def node(self):
        n = pb.Node(id=self.id, secret_id=self.secret, datacenter='dc1', name='fake', computed_class='v1:1',
                    status='ready')
        n.node_resources.cpu.cpu_shares = self.cpu
        n.node_resources.memory.memory_mb = self.memory
        n.node_resources.disk.disk_mb = 1000000
        return n


def placement(ev, node, n, cpu):
    a = pb.Allocation(id=str(uuid.uuid4()), namespace='default', eval_id=ev.id, job_id=ev.job_id, task_group='g',
                      name='%s.g[%d]' % (ev.job_id, n), node_id=node.id, desired_status='run', client_status='pending')
    a.allocated_resources.tasks['t'].cpu.cpu_shares = cpu
    a.allocated_resources.tasks['t'].memory.memory_mb = 10
    return a


def plan_of(ev, token, place=(), stop=(), **kw):
    return pb.Plan(eval_id=ev.id, eval_token=token, priority=ev.priority, namespace='default', job_id=ev.job_id,
                   place=place, stop=[pb.PlanStop(alloc_id=a.id, node_id=a.node_id, desired_status='stop')
                                      for a in stop], **kw)


def statuses(node, job_id):
    return [e['Status'] for e in node.get('/v1/job/%s/evaluations' % job_id).json()]


class One(steppe.TestCase):
    """One server, without its own scheduler."""

    @classmethod
    def setUpClass(cls):
        cls.c = cls.new_cluster()
        cls.s = cls.c.region('global', servers=1, server_extra='  num_schedulers = 0').server
        cls.s.wait_leader()

    def worker(self, *args, **kw):
        w = Worker(self.s, *args, **kw)
        self.addCleanup(w.close)
        return w

    def gauge(self, name):
        return {g['Name']: g['Value'] for g in self.s.get('/v1/metrics').json()['Gauges']}.get(name)

    def test_order_and_acknowledgement(self):
        self.s.register(job('low', priority=20))
        self.s.register(job('high', priority=80))
        w = self.worker()
        (a, ta, _), (b, tb, index) = w.dequeue(20000, most=8)
        self.assertEqual([a.job_id, b.job_id], ['high', 'low'])
        wait_for('the gauges', lambda: self.gauge('nomad.nomad.broker.total_unacked') == 2)
        self.assertGreaterEqual(index, b.modify_index)
        w.finish(a, ta)
        self.assertEqual(statuses(self.s, 'high'), ['complete'])
        self.assertEqual(w.ends(w.end(a, ta), w.end(b, ta, status='complete')), 0)
        self.assertEqual(statuses(self.s, 'low'), ['pending'])
        w.finish(b, tb)
        self.assertEqual(w.dequeue(), [])

    def test_several_end_together(self):
        """Each for itself: a broken, a strange and a twice named one keep no other from being written."""
        for n in range(6):
            self.s.register(job('together-%d' % n))
        w = self.worker('together/0')
        held, got = [], []
        while len(got) < 6:
            held += w.dequeue(20000, most=8, holding=[e.id for e, _, _ in held])
            got = [h for h in held if h[0].job_id.startswith('together-')]
        (a, ta, _), (b, tb, _), (c, tc, _), (d, td, _), (e, te, _), (f, tf, _) = got
        done = w.ends(w.end(a, ta, status='complete'), w.end(b, ta, status='complete'),
                      w.end(c, tc, status='nonsense'), w.end(d, td, status='complete'),
                      w.end(d, td, status='complete'), pb.EvalEnd(eval_id=e.id, token=te))
        self.assertEqual(done, 3)
        self.assertEqual([statuses(self.s, x.job_id) for x, _, _ in got],
                         [['complete'], ['pending'], ['pending'], ['complete'], ['pending'], ['pending']])
        again = {x.id: t for x, t, _ in w.dequeue(20000, most=64, holding=[b.id, f.id])}
        self.assertEqual(again.keys() & {x.id for x, _, _ in got}, {c.id},
                         'what was not written goes again, what was acknowledged does not')
        self.assertEqual(w.ends(w.end(b, tb, status='complete'), w.end(c, again[c.id], status='complete'),
                                w.end(f, tf, status='complete')), 3)

    def test_one_of_a_job_at_a_time(self):
        self.s.register(job('twice'))
        w = self.worker()
        a, ta, _ = w.one()
        self.s.register(job('twice', count=2))
        self.assertEqual(w.dequeue(100, holding=[a.id]), [])
        w.finish(a, ta)
        b, tb, index = w.one()
        self.assertEqual(b.job_id, 'twice')
        self.assertGreaterEqual(index, self.s.get('/v1/evaluation/' + a.id).json()['ModifyIndex'])
        w.finish(b, tb)

    def test_a_dequeue_waits(self):
        w = self.worker()
        got = []
        t = threading.Thread(target=lambda: got.append(w.one(30000)))
        t.start()
        self.s.register(job('later'))
        t.join(40)
        self.assertEqual(got[0][0].job_id, 'later')
        w.finish(*got[0][:2])

    def test_nack_comes_again(self):
        self.s.register(job('nacked'))
        w = self.worker()
        a, ta, _ = w.one()
        w.nack(a, ta)
        b, tb, _ = w.one()
        self.assertEqual(a.id, b.id)
        self.assertNotEqual(ta, tb)
        w.finish(b, tb)

    def test_broken_requests(self):
        """Whatever the body is: an answer, and the server goes on."""
        rnd = random.Random(7)
        w = self.worker()
        for method in (DEQUEUE, NACK, PLAN, FINISH, 51, 52, 53):
            for n in range(30):
                body = types.SimpleNamespace(SerializeToString=lambda: rnd.randbytes(rnd.randrange(0, 60)))
                try:
                    w.c.call(method, body, wait_ms=1)
                except rpc.Error as e:
                    self.assertIn(e.code, (400, 409, 413, 429, 500), e)
        # Of random bytes some are evaluations' settings: back to what the others expect.
        self.assertStatus(self.s.put(Settings.PATH, {'SchedulerAlgorithm': 'binpack'}), 200)
        self.assertEqual(w.dequeue(), [])

    def test_what_was_lost_on_the_way_comes_at_once(self):
        self.s.register(job('lost'))
        w = self.worker('n1/0')
        a, _, _ = w.one()
        w.close()               # the worker died, or never got it
        again = self.worker('n1/0')
        began = time.monotonic()
        b, tb, _ = again.one()
        self.assertEqual(a.id, b.id)
        self.assertLess(time.monotonic() - began, 30, 'not before the lease was over')
        again.finish(b, tb)

    def test_plans(self):
        n = FakeNode(self.s)
        self.s.register(job('planned', count=3))
        w = self.worker()
        ev, token, _ = w.one()
        first = [placement(ev, n, i, 400) for i in range(2)]
        r = w.plan(ev, token, first)
        self.assertEqual((r.placed, r.refresh_index, list(r.rejected_nodes)), (2, 0, []))
        self.assertEqual(self.s.get('/v1/job/planned').json()['Status'], 'running')
        r = w.plan(ev, token, [placement(ev, n, 2, 400)])
        self.assertEqual((r.placed, r.index, list(r.rejected_nodes)), (0, 0, [n.id]))
        self.assertGreater(r.refresh_index, 0)
        r = w.plan(ev, token, [placement(ev, n, 2, 400)], stop=first[:1])
        self.assertEqual((r.placed, r.stopped, r.refresh_index), (1, 1, 0))
        with self.assertRaisesRegex(rpc.Error, 'not outstanding'):
            w.plan(ev, 'no token', [placement(ev, n, 2, 1)])
        w.finish(ev, token)

    def test_plans_that_race(self):
        """Ten schedulers place on one node without seeing one another; all plans are under way at once."""
        n = FakeNode(self.s, cpu=1000)
        workers, hops, answers = [], [], []
        for i in range(10):
            self.s.register(job('race%d' % i))
            w = self.worker()
            workers.append((w,) + w.one())
        for w, ev, token, _ in workers:
            hops.append(w.c.send(PLAN, plan_of(ev, token, [placement(ev, n, 0, 300)])))
        for (w, ev, token, _), hop in zip(workers, hops):
            answers.append(w.c.answer(hop, pb.PlanResult))
        self.assertEqual(sum(r.placed for r in answers), 3)
        for (w, ev, token, _), r in zip(workers, answers):
            if not r.placed:
                self.assertEqual(list(r.rejected_nodes), [n.id])
                self.assertGreaterEqual(r.refresh_index, max(a.index for a in answers))
            w.finish(ev, token)

    def test_blocked_ones_are_kept_once_per_job_and_wake(self):
        w = self.worker()
        ids = []
        for n in range(2):
            self.s.register(job('full', count=1 + n))
            a, ta, index = w.one()
            blocked = pb.Evaluation(id='%08x-0000-4000-8000-00000000b10c' % n, namespace='default', type='service',
                                    job_id='full', priority=50, triggered_by='queued-allocs', status='blocked',
                                    status_description='created to place remaining allocations', previous_eval=a.id,
                                    class_eligibility={'v1:small': False}, snapshot_index=index)
            ids.append(blocked.id)
            w.finish(a, ta, blocked, blocked_eval=blocked.id)
        first = wait_for('the older one to be canceled', lambda: [
            e for e in [self.s.get('/v1/evaluation/' + ids[0]).json()] if e['Status'] == 'canceled'])[0]
        self.assertEqual(first['StatusDescription'], 'existing blocked evaluation exists for job "full"')
        self.assertEqual(w.dequeue(), [])
        client = self.c.node('client', 'global', self.c.addr(1, 11), server=False, client=True, servers=[self.s.addr])
        client.start()
        b, tb, _ = w.one(60000)
        self.assertEqual(b.id, ids[1])
        w.finish(b, tb)
        client.stop()


class Limit(steppe.TestCase):
    def test_delivery_limit(self):
        """Given back three times, it has failed, and another one follows it after a while."""
        s = self.cluster.region('global', server_extra='  num_schedulers = 0').server
        s.wait_leader()
        s.register(job('poison'))
        w = Worker(s)
        self.addCleanup(w.close)
        for _ in range(3):      # after 1 s, after 20 s
            ev, token, _ = w.one(35000)
            w.nack(ev, token)
        failed = wait_for('it to fail', lambda: [e for e in [s.get('/v1/evaluation/' + ev.id).json()]
                                                 if e['Status'] == 'failed'], 30)[0]
        self.assertEqual(failed['StatusDescription'], 'evaluation reached delivery limit (3)')
        follow_up = s.get('/v1/evaluation/' + failed['NextEval']).json()
        self.assertEqual((follow_up['Status'], follow_up['TriggeredBy'], follow_up['PreviousEval']),
                         ('pending', 'failed-follow-up', ev.id))
        self.assertGreaterEqual(follow_up['Wait'], 60 * 10**9)


class Settings(steppe.TestCase):
    """The schedulers' settings, by the API and from the configuration."""

    PATH = '/v1/operator/scheduler/configuration'

    def test_get_and_put(self):
        s = self.cluster.region('global').server
        s.wait_leader()
        r = s.get(self.PATH)
        config = r.json()['SchedulerConfig']
        self.assertEqual(list(r.json()), ['SchedulerConfig', 'Index', 'LastContact', 'KnownLeader'])
        self.assertEqual(config['SchedulerAlgorithm'], 'binpack')
        self.assertEqual(config['PreemptionConfig'], {'SystemSchedulerEnabled': True, 'BatchSchedulerEnabled': False,
                                                      'ServiceSchedulerEnabled': False})
        r = s.put(self.PATH, {'SchedulerAlgorithm': 'spread', 'PreemptionConfig': {'ServiceSchedulerEnabled': True}})
        self.assertStatus(r, 200)
        self.assertTrue(r.json()['Updated'])
        config = s.get(self.PATH).json()['SchedulerConfig']
        self.assertEqual(config['SchedulerAlgorithm'], 'spread')
        self.assertTrue(config['PreemptionConfig']['ServiceSchedulerEnabled'])
        index = config['ModifyIndex']
        self.assertFalse(s.put(self.PATH + '?cas=%d' % (index + 1), {'SchedulerAlgorithm': 'binpack'}).json()['Updated'])
        self.assertTrue(s.put(self.PATH + '?cas=%d' % index, {'SchedulerAlgorithm': 'binpack'}).json()['Updated'])
        self.assertGreater(s.get(self.PATH).json()['SchedulerConfig']['ModifyIndex'], index)
        self.assertStatus(s.put(self.PATH, {'SchedulerAlgorithm': 'best'}), 400, 'invalid scheduler algorithm: best')
        self.assertStatus(s.put(self.PATH + '?cas=x', {}), 400,
                          'Error parsing cas value: strconv.ParseUint: parsing "x": invalid syntax')
        self.assertStatus(s.delete(self.PATH), 405)

    def test_memory_oversubscription(self):
        """Registering tells whether memory_max will be ignored."""
        s = self.cluster.region('global').server
        s.wait_leader()
        greedy = job('greedy')
        greedy['TaskGroups'][0]['Tasks'][0]['Resources']['MemoryMaxMB'] = 50
        self.assertIn('oversubscription is not enabled', s.register(greedy).json()['Warnings'])
        self.assertStatus(s.put(self.PATH, {'MemoryOversubscriptionEnabled': True}), 200)
        self.assertNotIn('oversubscription', s.register(greedy).json()['Warnings'])

    def test_from_the_configuration(self):
        s = self.cluster.region('global', server_extra='  default_scheduler_config {\n'
                                '    scheduler_algorithm = "spread"\n  }').server
        s.wait_leader()
        wait_for('the configured algorithm', lambda: s.get(self.PATH).json()['SchedulerConfig']
                 ['SchedulerAlgorithm'] == 'spread', 30)


class Collector(steppe.TestCase):
    """What is of no use any more is deleted."""

    def region(self, **kw):
        s = self.cluster.region('global', server_extra='  num_schedulers = 0\n' + kw.pop('extra', '')).server
        s.wait_leader()
        return s

    def fill(self, s):
        """A stopped job with an ended allocation, a living one with one that goes on. -> the living one's ids"""
        n = FakeNode(s)
        w = Worker(s)
        self.addCleanup(w.close)
        for name in ('ended', 'living'):
            s.register(job(name))
            ev, token, _ = w.one()
            a = placement(ev, n, 0, 100)
            w.plan(ev, token, [a])
            w.finish(ev, token)
            if name == 'ended':
                s.delete('/v1/job/ended')
                ev, token, _ = w.one()
                w.plan(ev, token, stop=[a])
                w.finish(ev, token)
        return a.id

    def gone(self, s):
        return s.get('/v1/job/ended').status == 404 and not s.get('/v1/job/ended/evaluations').json() and \
            {a['JobID'] for a in s.get('/v1/allocations').json()} == {'living'}

    def test_when_asked(self):
        s = self.region()
        alloc = self.fill(s)
        self.assertEqual(s.get('/v1/job/ended').json()['Status'], 'dead')
        self.assertFalse(self.gone(s))
        self.assertStatus(s.put('/v1/system/gc'), 200)
        wait_for('the dead job and all of it to be gone', lambda: self.gone(s), 60)
        self.assertEqual([a['ID'] for a in s.get('/v1/allocations').json()], [alloc])
        self.assertEqual(s.get('/v1/job/living').json()['Status'], 'running')

    def test_by_age(self):
        s = self.region(extra='  job_gc_interval = "200ms"\n  job_gc_threshold = "0s"\n  eval_gc_threshold = "0s"\n')
        self.fill(s)
        wait_for('the dead job and all of it to be gone', lambda: self.gone(s), 60)
        self.assertEqual(s.get('/v1/job/living').json()['Status'], 'running')

    def test_nodes(self):
        """One that is down goes, unless there are allocations for it."""
        s = self.region(extra='  job_gc_interval = "200ms"\n  node_gc_threshold = "0s"\n')
        idle, busy, up = FakeNode(s), FakeNode(s), FakeNode(s)
        s.register(job('here'))
        w = Worker(s)
        self.addCleanup(w.close)
        ev, token, _ = w.one()
        w.plan(ev, token, [placement(ev, busy, 0, 100)])
        with rpc.Client(s.addr) as c:
            for n in (idle, busy):
                c.call(NODE_STATUS, pb.NodeUpdateStatusRequest(node_id=n.id, secret_id=n.secret, status='down'))
        wait_for('the idle one to be gone', lambda: {n['ID'] for n in s.get('/v1/nodes').json()} == {busy.id, up.id}, 60)
        self.assertStatus(s.put('/v1/system/gc'), 200)
        wait_for('the other one to stay', lambda: {n['ID'] for n in s.get('/v1/nodes').json()} == {busy.id, up.id}, 10)


class Three(steppe.TestCase):
    """Three servers: whatever dies, each evaluation is done once in the end."""

    @classmethod
    def setUpClass(cls):
        cls.c = cls.new_cluster()
        cls.r = cls.c.region('global', servers=3, server_extra='  num_schedulers = 0')

    def drain(self, node, done, stop, errors):
        """A worker that goes on until it is told to stop, whatever it is answered."""
        w, name = None, '%s/0' % node.name
        while not stop.is_set():
            try:
                w = w or Worker(node, name)
                for ev, token, _ in w.dequeue(2000, most=4):
                    w.finish(ev, token)
                    done.append(ev.job_id)
            except (OSError, rpc.Error, TimeoutError) as e:
                errors.append(repr(e))
                if w:
                    w.close()
                w = None
                stop.wait(0.2)
        if w:
            w.close()

    def test_leaders_die(self):
        nodes = self.r.nodes
        done, errors, stop = [], [], threading.Event()
        threads = [threading.Thread(target=self.drain, args=(n, done, stop, errors), daemon=True) for n in nodes]
        for t in threads:
            t.start()
        names = []
        try:
            for n in range(3):
                leader = self.r.leader_node(30)
                for i in range(10):
                    names.append('j%d-%d' % (n, i))
                    self.register(names[-1])
                leader.kill_service('raftd')
            for name in names:
                wait_for('%s to be done (%s)' % (name, errors[-3:]),
                         lambda name=name: set(self.statuses(name)) == {'complete'}, 120)
        finally:
            stop.set()
            for t in threads:
                t.join(60)

    def register(self, name):
        """Through whichever server takes it."""
        def try_it():
            for n in self.r.nodes:
                try:
                    r = n.register(job(name))
                except OSError:
                    continue
                if r.status == 200:
                    return True
            return False
        wait_for('%s to be registered' % name, try_it, 60)

    def statuses(self, name):
        for n in self.r.nodes:
            try:
                r = n.get('/v1/job/%s/evaluations' % name)
            except OSError:
                continue
            if r.status == 200:
                return [e['Status'] for e in r.json()] or ['none']
        return ['no answer']


if __name__ == '__main__':
    unittest.main()
