# SPDX-License-Identifier: MPL-2.0
"""Allocations in the state of a region, as schedulers, node clients and people see them over RPC."""

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

    def setUp(self):
        super().setUp()
        self.rpc = rpc.Client(self.s.addr)
        self.addCleanup(self.rpc.close)
        self.w = Worker(self.s, types=('service', 'batch', 'system'))
        self.addCleanup(self.w.close)

    def place(self, job_id, node, n, **kw):
        """Registers a job and places n allocations of it on a node; returns the placements."""
        self.s.register(job(job_id, count=n, **kw))
        ev, token, _ = self.w.one()
        self.assertEqual(ev.job_id, job_id)
        place = [placement(ev, node, i, 1) for i in range(n)]
        version = self.rpc.call(JOB_GET, pb.JobSpecificRequest(job_id=job_id), pb.Job)
        for a in place:
            a.job_create_index = version.create_index
        result = self.w.plan(ev, token, place)
        self.assertEqual(result.placed, n)
        self.w.finish(ev, token)
        return place

    def drain(self):
        """Finishes the evaluations that wait; returns (trigger, job) of each."""
        got = []
        while True:
            one = self.w.dequeue(200)
            if not one:
                return sorted(got)
            for ev, token, _ in one:
                got.append((ev.triggered_by, ev.job_id))
                self.w.finish(ev, token)

    def update(self, node, allocs, status):
        self.rpc.call(UPDATE_ALLOC, pb.NodeUpdateAllocRequest(
            node_id=node.id, secret_id=node.secret,
            allocs=[pb.Allocation(id=a.id, client_status=status, client_description='said') for a in allocs]))

    def client_allocs(self, node, c=None, **kw):
        return (c or self.rpc).call(CLIENT_ALLOCS, pb.ClientAllocsRequest(node_id=node.id, secret_id=node.secret),
                                    pb.ClientAllocsResponse, **kw)

    def summary(self, job_id):
        s = self.rpc.call(JOB_SUMMARY, pb.JobSpecificRequest(job_id=job_id), pb.JobSummary)
        return {k: v for k, v in ((n, getattr(s.summary['g'], n)) for n in
                                  ('queued', 'starting', 'running', 'complete', 'failed', 'lost')) if v}

    def status(self, job_id):
        return self.rpc.call(JOB_GET, pb.JobSpecificRequest(job_id=job_id), pb.Job).status

    def test_life_of_an_allocation(self):
        node = FakeNode(self.s)
        a, b = self.place('life', node, 2)
        self.assertEqual(self.summary('life'), {'starting': 2})
        self.assertEqual(self.status('life'), 'running')
        whole = self.rpc.call(ALLOC_GET, pb.AllocSpecificRequest(alloc_id=a.id), pb.Allocation)
        self.assertEqual((whole.job.id, whole.resources.cpu, whole.client_status), ('life', 1, 'pending'))
        mine = self.client_allocs(node)
        self.assertEqual({x.alloc_id for x in mine.allocs}, {a.id, b.id})
        got = self.rpc.call(ALLOCS_GET, pb.AllocsGetRequest(alloc_ids=[a.id, b.id]), pb.AllocsResponse)
        self.assertEqual([x.job.id for x in got.allocs], ['life', 'life'])
        self.update(node, [a, b], 'running')
        self.assertEqual(self.summary('life'), {'running': 2})
        self.update(node, [b], 'failed')
        self.assertEqual(self.summary('life'), {'running': 1, 'failed': 1})
        self.assertEqual(self.drain(), [('alloc-failure', 'life')])
        stop = self.rpc.call(ALLOC_STOP, pb.AllocSpecificRequest(alloc_id=a.id), pb.AllocStopResponse)
        self.assertEqual(self.drain(), [('alloc-stop', 'life')])
        self.assertTrue(stop.eval_id)
        self.assertTrue(self.rpc.call(ALLOC_GET, pb.AllocSpecificRequest(alloc_id=a.id),
                                      pb.Allocation).desired_transition.migrate)
        with self.assertRaisesRegex(rpc.Error, '404'):
            self.rpc.call(ALLOC_STOP, pb.AllocSpecificRequest(alloc_id=node.id))
        with self.assertRaisesRegex(rpc.Error, '403'):
            self.rpc.call(UPDATE_ALLOC, pb.NodeUpdateAllocRequest(node_id=node.id, secret_id='no', allocs=[a]))
        forced = self.rpc.call(JOB_EVALUATE, pb.JobEvaluateRequest(
            job_id='life', eval_options=pb.EvalOptions(force_reschedule=True)), pb.JobRegisterResponse)
        self.assertTrue(forced.eval_id)
        self.assertEqual(self.drain(), [('job-register', 'life')])
        self.assertTrue(self.rpc.call(ALLOC_GET, pb.AllocSpecificRequest(alloc_id=b.id),
                                      pb.Allocation).desired_transition.force_reschedule)

    def test_a_client_waits_for_servers_only(self):
        node = FakeNode(self.s)
        a, = self.place('waits', node, 1)
        self.client_allocs(node)
        index = self.rpc.reply.index
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

    def test_evaluations_of_a_node(self):
        node = FakeNode(self.s)
        self.place('noded', node, 1)

        def turn(status):
            return self.rpc.call(NODE_STATUS, pb.NodeUpdateStatusRequest(
                node_id=node.id, secret_id=node.secret, status=status), pb.NodeUpdateResponse)
        self.assertEqual(len(turn('down').eval_ids), 1)
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        self.assertEqual(len(turn('ready').eval_ids), 1)
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        r = self.rpc.call(NODE_EVALUATE, pb.NodeSpecificRequest(node_id=node.id), pb.NodeEvaluateResponse)
        self.assertEqual(len(r.eval_ids), 1)
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        for eligibility, n in ('ineligible', 0), ('eligible', 1):
            r = self.rpc.call(NODE_ELIGIBILITY, pb.NodeEligibilityRequest(node_id=node.id, eligibility=eligibility),
                              pb.NodeEligibilityResponse)
            self.assertEqual(len(r.eval_ids), n)
        self.assertEqual(self.drain(), [('node-update', 'noded')])
        self.rpc.call(NODE_DEREGISTER, pb.NodeSpecificRequest(node_id=node.id))
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
            got = self.rpc.call(ALLOC_LIST, pb.AllocListRequest(), pb.AllocListResponse, stale=stale)
            self.assertLessEqual(set(ids), {a.id for a in got.allocs})
            self.assertEqual(len(got.allocs), len({a.id for a in got.allocs}))
        got = self.rpc.call(JOB_ALLOCATIONS, pb.JobAllocationsRequest(job_id='long-1'), pb.AllocListResponse)
        self.assertEqual(sorted(a.id for a in got.allocs), sorted(ids[1000:2000]))
        got = self.rpc.call(NODE_ALLOCS, pb.NodeSpecificRequest(node_id=node.id), pb.AllocsResponse)
        self.assertEqual(len(got.allocs), 3000)
        ev = self.rpc.call(JOB_EVALUATIONS, pb.JobSpecificRequest(job_id='long-2'), pb.EvalListResponse).evaluations[0]
        got = self.rpc.call(EVAL_ALLOCATIONS, pb.EvalSpecificRequest(eval_id=ev.id), pb.AllocListResponse)
        self.assertEqual(sorted(a.id for a in got.allocs), sorted(ids[2000:]))
        self.assertEqual(self.summary('long-2'), {'starting': 1000})

    def test_no_deployments(self):
        got = self.rpc.call(DEPLOYMENT_LIST, None, pb.DeploymentListResponse)
        self.assertEqual(len(got.deployments), 0)
        got = self.rpc.call(LATEST_DEPLOYMENT, pb.JobSpecificRequest(job_id='none'), pb.Deployment)
        self.assertEqual(got.id, '')


if __name__ == '__main__':
    unittest.main()
