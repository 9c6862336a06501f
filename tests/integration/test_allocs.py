# SPDX-License-Identifier: MPL-2.0
"""Allocations in the state of a region, as schedulers, node clients and people see them over RPC."""

import contextlib
import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rpc  # noqa: E402
import steppe  # noqa: E402
from rpc import pb  # noqa: E402
from steppe import job  # noqa: E402
from test_broker import FakeNode, Worker, placement  # noqa: E402

JOB_EVALUATIONS, JOB_ALLOCATIONS, JOB_EVALUATE, JOB_SUMMARY, JOB_GET = 26, 27, 28, 25, 22
EVAL_ALLOCATIONS = 32
NODE_STATUS, NODE_ELIGIBILITY, NODE_DEREGISTER = 41, 45, 44
NODE_ALLOCS, CLIENT_ALLOCS, UPDATE_ALLOC, NODE_EVALUATE = 46, 47, 48, 49
ALLOC_LIST, ALLOC_GET, ALLOC_STOP, ALLOCS_GET = 80, 81, 82, 83
DEPLOYMENT_LIST, LATEST_DEPLOYMENT = 90, 92


class Allocs(steppe.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = cls.new_cluster()
        cls.s = cls.c.region('global', servers=1, server_extra='  num_schedulers = 0').server
        cls.s.wait_leader()

    def call(self, *args, **kw):
        """On a connection of its own: one that nobody reads for seconds is closed by the server."""
        with rpc.Client(self.s.addr) as c:
            answer = c.call(*args, **kw)
            self.index = c.reply.index
            return answer

    def worker(self):
        return contextlib.closing(Worker(self.s, types=('service', 'batch', 'system')))

    def place(self, job_id, node, n, **kw):
        """Registers a job and places n allocations of it on a node; returns the placements."""
        self.s.register(job(job_id, count=n, **kw))
        version = self.call(JOB_GET, pb.JobSpecificRequest(job_id=job_id), pb.Job)
        with self.worker() as w:
            ev, token, _ = w.one()
            self.assertEqual(ev.job_id, job_id)
            place = [placement(ev, node, i, 1) for i in range(n)]
            for a in place:
                a.job_create_index = version.create_index
            self.assertEqual(w.plan(ev, token, place).placed, n)
            w.finish(ev, token)
        return place

    def drain(self):
        """Finishes the evaluations that wait; returns (trigger, job) of each."""
        got = []
        with self.worker() as w:
            while True:
                one = w.dequeue()
                if not one:
                    return sorted(got)
                for ev, token, _ in one:
                    got.append((ev.triggered_by, ev.job_id))
                    w.finish(ev, token)

    def update(self, node, allocs, status):
        self.call(UPDATE_ALLOC, pb.NodeUpdateAllocRequest(
            node_id=node.id, secret_id=node.secret,
            allocs=[pb.Allocation(id=a.id, client_status=status, client_description='said') for a in allocs]))

    def client_allocs(self, node, c=None, **kw):
        return (c.call if c else self.call)(
            CLIENT_ALLOCS, pb.ClientAllocsRequest(node_id=node.id, secret_id=node.secret), pb.ClientAllocsResponse, **kw)

    def summary(self, job_id):
        s = self.call(JOB_SUMMARY, pb.JobSpecificRequest(job_id=job_id), pb.JobSummary)
        return {k: v for k, v in ((n, getattr(s.summary['g'], n)) for n in
                                  ('queued', 'starting', 'running', 'complete', 'failed', 'lost')) if v}

    def status(self, job_id):
        return self.call(JOB_GET, pb.JobSpecificRequest(job_id=job_id), pb.Job).status

    def test_life_of_an_allocation(self):
        node = FakeNode(self.s)
        a, b = self.place('life', node, 2)
        self.assertEqual(self.summary('life'), {'starting': 2})
        self.assertEqual(self.status('life'), 'running')
        whole = self.call(ALLOC_GET, pb.AllocSpecificRequest(alloc_id=a.id), pb.Allocation)
        self.assertEqual((whole.job.id, whole.resources.cpu, whole.client_status), ('life', 1, 'pending'))
        mine = self.client_allocs(node)
        self.assertEqual({x.alloc_id for x in mine.allocs}, {a.id, b.id})
        got = self.call(ALLOCS_GET, pb.AllocsGetRequest(alloc_ids=[a.id, b.id]), pb.AllocsResponse)
        self.assertEqual([x.job.id for x in got.allocs], ['life', 'life'])
        self.update(node, [a, b], 'running')
        self.assertEqual(self.summary('life'), {'running': 2})
        self.update(node, [b], 'failed')
        self.assertEqual(self.summary('life'), {'running': 1, 'failed': 1})
        self.assertEqual(self.drain(), [('alloc-failure', 'life')])
        stop = self.call(ALLOC_STOP, pb.AllocSpecificRequest(alloc_id=a.id), pb.AllocStopResponse)
        self.assertEqual(self.drain(), [('alloc-stop', 'life')])
        self.assertTrue(stop.eval_id)
        self.assertTrue(self.call(ALLOC_GET, pb.AllocSpecificRequest(alloc_id=a.id),
                                      pb.Allocation).desired_transition.migrate)
        with self.assertRaisesRegex(rpc.Error, '404'):
            self.call(ALLOC_STOP, pb.AllocSpecificRequest(alloc_id=node.id))
        with self.assertRaisesRegex(rpc.Error, '403'):
            self.call(UPDATE_ALLOC, pb.NodeUpdateAllocRequest(node_id=node.id, secret_id='no', allocs=[a]))
        forced = self.call(JOB_EVALUATE, pb.JobEvaluateRequest(
            job_id='life', eval_options=pb.EvalOptions(force_reschedule=True)), pb.JobRegisterResponse)
        self.assertTrue(forced.eval_id)
        self.assertEqual(self.drain(), [('job-register', 'life')])
        self.assertTrue(self.call(ALLOC_GET, pb.AllocSpecificRequest(alloc_id=b.id),
                                      pb.Allocation).desired_transition.force_reschedule)

    def test_a_client_waits_for_servers_only(self):
        node = FakeNode(self.s)
        a, = self.place('waits', node, 1)
        self.client_allocs(node)
        index = self.index
        got = []
        with rpc.Client(self.s.addr, timeout=60) as c:
            t = threading.Thread(target=lambda: got.append(self.client_allocs(node, c, wait_ms=50000,
                                                                              min_index=index)))
            t.start()
            self.update(node, [a], 'running')          # its own word does not wake it
            b, = self.place('waits-more', node, 1)
            t.join(70)
        self.assertEqual({x.alloc_id for x in got[0].allocs}, {a.id, b.id})
        self.assertGreater(c.reply.index, index)

    def test_a_crowd_of_clients(self):
        """More of them than are served at once: each hears of all that is new, if a little later."""
        nodes = [FakeNode(self.s) for _ in range(100)]
        plans, seen, failed = 5, {}, []

        def client(n):
            try:
                with rpc.Client(self.s.addr, timeout=90) as c:
                    index, got = 1, []
                    while len(got) < plans:
                        got = self.client_allocs(n, c, wait_ms=60000, min_index=index).allocs
                        index = c.reply.index
                    seen[n.id] = {a.alloc_id for a in got}
            except Exception as e:  # shown by the test
                failed.append(e)
        threads = [threading.Thread(target=client, args=(n,)) for n in nodes]
        for t in threads:
            t.start()
        want = {n.id: set() for n in nodes}
        for i in range(plans):
            self.s.register(job('crowd-%d' % i, count=len(nodes)))
            with self.worker() as w:
                ev, token, _ = w.one()
                place = [placement(ev, n, k, 1) for k, n in enumerate(nodes)]
                self.assertEqual(w.plan(ev, token, place).placed, len(nodes))
                w.finish(ev, token)
            for a in place:
                want[a.node_id].add(a.id)
        for t in threads:
            t.join(100)
        self.assertEqual(failed, [])
        self.assertEqual(seen, want)

    def test_evaluations_of_a_node(self):
        node = FakeNode(self.s)
        self.place('noded', node, 1)

        def turn(status):
            return self.call(NODE_STATUS, pb.NodeUpdateStatusRequest(
                node_id=node.id, secret_id=node.secret, status=status), pb.NodeUpdateResponse)
        self.assertEqual(len(turn('down').eval_ids), 1)
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        self.assertEqual(len(turn('ready').eval_ids), 1)
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        r = self.call(NODE_EVALUATE, pb.NodeSpecificRequest(node_id=node.id), pb.NodeEvaluateResponse)
        self.assertEqual(len(r.eval_ids), 1)
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        for eligibility, n in ('ineligible', 0), ('eligible', 1):
            r = self.call(NODE_ELIGIBILITY, pb.NodeEligibilityRequest(node_id=node.id, eligibility=eligibility),
                              pb.NodeEligibilityResponse)
            self.assertEqual(len(r.eval_ids), n)
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        self.call(NODE_DEREGISTER, pb.NodeSpecificRequest(node_id=node.id))
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        with self.assertRaisesRegex(rpc.Error, 'node not found'):
            self.client_allocs(node)

    def test_long_lists(self):
        """More than one part of a list, for the leader and for stale reads."""
        node = FakeNode(self.s, cpu=100000, memory=100000)
        ids = []
        for i in range(3):
            ids += [a.id for a in self.place('long-%d' % i, node, 1000)]
        for stale in False, True:
            got = self.call(ALLOC_LIST, pb.AllocListRequest(), pb.AllocListResponse, stale=stale)
            self.assertLessEqual(set(ids), {a.id for a in got.allocs})
            self.assertEqual(len(got.allocs), len({a.id for a in got.allocs}))
        got = self.call(JOB_ALLOCATIONS, pb.JobAllocationsRequest(job_id='long-1'), pb.AllocListResponse)
        self.assertEqual(sorted(a.id for a in got.allocs), sorted(ids[1000:2000]))
        got = self.call(NODE_ALLOCS, pb.NodeSpecificRequest(node_id=node.id), pb.AllocsResponse)
        self.assertEqual(len(got.allocs), 3000)
        ev = self.call(JOB_EVALUATIONS, pb.JobSpecificRequest(job_id='long-2'), pb.EvalListResponse).evaluations[0]
        got = self.call(EVAL_ALLOCATIONS, pb.EvalSpecificRequest(eval_id=ev.id), pb.AllocListResponse)
        self.assertEqual(sorted(a.id for a in got.allocs), sorted(ids[2000:]))
        self.assertEqual(self.summary('long-2'), {'starting': 1000})

    def test_no_deployments(self):
        got = self.call(DEPLOYMENT_LIST, None, pb.DeploymentListResponse)
        self.assertEqual(len(got.deployments), 0)
        got = self.call(LATEST_DEPLOYMENT, pb.JobSpecificRequest(job_id='none'), pb.Deployment)
        self.assertEqual(got.id, '')


if __name__ == '__main__':
    unittest.main()
