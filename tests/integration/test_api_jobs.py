# SPDX-License-Identifier: MPL-2.0
"""What belongs to jobs that run: allocations, evaluations, nodes' and jobs' lists, held against a real
Nomad's answers. The nodes are simulated: they say that tasks run, and start none."""

import json
import os
import re
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import shape  # noqa: E402
import sim  # noqa: E402
import steppe  # noqa: E402
from steppe import job, wait_for  # noqa: E402

NO_UUID = '12345678-1234-1234-1234-123456789abc'
META = ('X-Nomad-Index', 'X-Nomad-KnownLeader', 'X-Nomad-LastContact')
# What simulated nodes do not say, deployments where they are not made, and the golden's own job.
IGNORE = [r'.*\.Events', r'.*\.DeploymentID', r'.*\.DeploymentStatus', r'.*\.ClientDescription', r'.*\.Config\..*',
          r'.*\.TaskGroups\[\].*\.Networks', r'.*\.TaskGroups\[\]\.Tasks\[\]\.Services']


def running(server, job_id, count):
    def look():
        found = server.get('/v1/job/%s/allocations' % job_id).json()
        states = [a['ClientStatus'] for a in found if a['DesiredStatus'] == 'run']
        return found if states == ['running'] * count else None
    return wait_for('%d allocations of %s' % (count, job_id), look, 40)


class Jobs(steppe.TestCase):
    @classmethod
    def setUpClass(cls):
        c = cls.new_cluster()
        cls.west, cls.east = c.region('west'), c.region('east')
        cls.w, cls.e = cls.west.server, cls.east.server
        cls.w.join(cls.e)
        for n in (cls.w, cls.e):
            n.wait_members(['east-s1.east', 'west-s1.west'])
        cls.nodes = sim.Nodes([cls.e], 3, region='east')
        cls.addClassCleanup(cls.nodes.stop)
        assert cls.w.register(job('sleeper', region='east', count=4)).status == 200
        cls.allocs = running(cls.e, 'sleeper', 4)
        cls.alloc = cls.allocs[0]

    def check(self, golden, path):
        """Directly and through the other region, whole and stale."""
        with open(os.path.join(steppe.GOLDEN, 'api', golden + '.json')) as f:
            want = json.load(f)
        query = '&' if '?' in path else '?'
        for n, q in ((self.e, ''), (self.w, query + 'region=east'), (self.e, query + 'stale')):
            r = n.get(path + q)
            self.assertStatus(r, 200)
            got = r.json()
            if isinstance(got, list):  # other tests' jobs are of other types
                got = [x for x in got if x.get('JobID', x['ID']) == 'sleeper']
            self.assertEqual(shape.diff(want, got, ignore=IGNORE), [], path + q)
            for h in META:
                self.assertIn(h, r.headers)

    def test_shapes(self):
        a = self.alloc
        for golden, path in (
                ('v1_allocations', '/v1/allocations'),
                ('v1_allocation_ID', '/v1/allocation/' + a['ID']),
                ('v1_evaluations', '/v1/evaluations'),
                ('v1_evaluation_ID', '/v1/evaluation/' + a['EvalID']),
                ('v1_evaluation_ID_allocations', '/v1/evaluation/%s/allocations' % a['EvalID']),
                ('v1_job_sleeper_allocations', '/v1/job/sleeper/allocations'),
                ('v1_job_sleeper_evaluations', '/v1/job/sleeper/evaluations'),
                ('v1_node_ID_allocations', '/v1/node/%s/allocations' % a['NodeID']),
                ('v1_job_sleeper_summary', '/v1/job/sleeper/summary'),
                ('v1_jobs', '/v1/jobs')):
            with self.subTest(path):
                self.check(golden, path)

    def test_one_allocation_in_all_lists(self):
        a = self.alloc
        whole = self.e.get('/v1/allocation/' + a['ID']).json()
        self.assertEqual(whole['Job']['ID'], 'sleeper')
        self.assertEqual(whole['Job']['Version'], a['JobVersion'])
        for k in ('Name', 'EvalID', 'NodeID', 'NodeName', 'TaskGroup', 'CreateIndex', 'ModifyIndex'):
            self.assertEqual(whole[k], a[k])
        self.assertEqual(whole['Resources']['CPU'], 20)
        for path in ('/v1/allocations', '/v1/allocations?prefix=' + a['ID'][:8], '/v1/job/sleeper/allocations',
                     '/v1/job/sleeper/allocations?all=true', '/v1/evaluation/%s/allocations' % a['EvalID'],
                     '/v1/node/%s/allocations' % a['NodeID']):
            self.assertIn(a['ID'], [x['ID'] for x in self.e.get(path).json()], path)
        ids = [x['ID'] for x in self.e.get('/v1/allocations').json()]
        self.assertEqual(ids, sorted(ids))
        r = self.e.put('/v1/search', {'Prefix': a['ID'][:8], 'Context': 'allocs'}).json()
        self.assertEqual(r['Matches']['allocs'], [a['ID']])

    def test_list_options(self):
        bare = self.e.get('/v1/allocations').json()[0]
        self.assertNotIn('AllocatedResources', bare)
        self.assertIsNotNone(bare['TaskStates'])
        full = self.e.get('/v1/allocations?resources=true&task_states=false').json()[0]
        self.assertEqual(full['AllocatedResources']['Tasks']['t']['Cpu']['CpuShares'], 20)
        self.assertIsNone(full['TaskStates'])
        for path in ('/v1/allocations?resources=x', '/v1/allocations?task_states=x', '/v1/nodes?resources=x'):
            r = self.e.get(path)
            self.assertStatus(r, 500)
            self.assertIn('strconv.ParseBool: parsing "x": invalid syntax', r.text)
        self.assertStatus(self.e.get('/v1/job/sleeper/allocations?all=x'), 200)  # as Nomad
        node = self.e.get('/v1/nodes').json()[0]
        self.assertNotIn('NodeResources', node)
        node = self.e.get('/v1/nodes?resources=true').json()[0]
        self.assertEqual(node['NodeResources']['Cpu']['CpuShares'], 4000)

    def test_errors(self):
        for method, path, body, status, text in (
                ('GET', '/v1/allocation/' + NO_UUID, None, 404, 'alloc not found'),
                ('GET', '/v1/allocation/x', None, 500, 'alloc lookup failed: index error: UUID must be 36 characters'),
                ('PUT', '/v1/allocation/' + NO_UUID, None, 405, 'Invalid method'),
                ('GET', '/v1/allocation/%s/stop' % NO_UUID, None, 405, 'Invalid method'),
                ('PUT', '/v1/allocation/%s/stop' % NO_UUID, None, 404, 'allocation not found'),
                ('GET', '/v1/allocation/%s/more' % NO_UUID, None, 404, 'resource not found'),
                ('GET', '/v1/allocations?prefix=zz', None, 500,
                 "alloc lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+007A 'z'"),
                ('GET', '/v1/evaluation/' + NO_UUID, None, 404, 'eval not found'),
                ('GET', '/v1/deployment/' + NO_UUID, None, 404, 'deployment not found'),
                ('GET', '/v1/deployment/x', None, 500,
                 'deployment lookup failed: index error: UUID must be 36 characters'),
                ('PUT', '/v1/deployment/' + NO_UUID, None, 405, 'Invalid method'),
                ('PUT', '/v1/job/nope/evaluate', None, 500, 'job not found'),
                ('GET', '/v1/job/sleeper/evaluate', None, 405, 'Invalid method'),
                ('PUT', '/v1/job/sleeper/evaluate', {}, 400, 'Job ID must be specified'),
                ('PUT', '/v1/job/sleeper/evaluate', {'JobID': 'other'}, 400, 'JobID not same as job name'),
                ('PUT', '/v1/node/%s/evaluate' % NO_UUID, None, 500, 'node not found'),
                ('PUT', '/v1/node/%s/purge' % NO_UUID, None, 500, 'node not found'),
                ('PUT', '/v1/node/%s/eligibility' % NO_UUID, {'Eligibility': 'x'}, 500,
                 'invalid scheduling eligibility "x"'),
                ('PUT', '/v1/deployment/fail/' + NO_UUID, None, 500, 'deployment not found'),
                ('GET', '/v1/deployments?prefix=zz', None, 500,
                 "index error: Invalid UUID: encoding/hex: invalid byte: U+007A 'z'"),
                ('PUT', '/v1/search', {'Prefix': 'a'}, 500,
                 'context must be one of [allocs jobs nodes evals deployment plugins volumes scaling_policy '
                 'namespaces] or \'all\' for all contexts; got ""'),
                ('GET', '/v1/node/%s/evaluate' % NO_UUID, None, 405, 'Invalid method'),
                ('POST', '/v1/system/gc', None, 405, 'Invalid method'),
                ('GET', '/v1/system/gc', None, 405, 'Invalid method')):
            r = self.e.request(method, path, body)
            self.assertStatus(r, status, text)
            if status == 500:  # found by another server: Nomad's mark
                text = 'rpc error: ' + text
            r = self.w.request(method, path + ('&' if '?' in path else '?') + 'region=east', body)
            self.assertStatus(r, status, text)

    def test_evaluate(self):
        body = {'JobID': 'sleeper', 'EvalOptions': {'ForceReschedule': True}}
        r = self.w.put('/v1/job/sleeper/evaluate?region=east', body)
        self.assertStatus(r, 200)
        self.assertEqual(r.index(), r.json()['Index'])
        e = wait_for('the evaluation to end', lambda: (lambda e: e if e['Status'] == 'complete' else None)(
            self.e.get('/v1/evaluation/' + r.json()['EvalID']).json()), 30)
        self.assertEqual(e['JobID'], 'sleeper')
        r = self.w.put('/v1/node/%s/evaluate?region=east' % self.alloc['NodeID'])
        self.assertStatus(r, 200)
        self.assertGreater(len(r.json()['EvalIDs']), 0)
        self.assertEqual(r.json()['EvalCreateIndex'], r.json()['Index'])

    def test_stop_is_seen_by_who_waits(self):
        self.assertStatus(self.w.register(job('stopped', region='east')), 200)
        a = running(self.e, 'stopped', 1)[0]
        seen = []
        path = '/v1/allocation/%s?region=east&index=%d&wait=60s'
        index = self.e.get('/v1/allocation/' + a['ID']).index()
        t = threading.Thread(target=lambda: seen.append(self.w.get(path % (a['ID'], index), timeout=70)))
        t.start()
        r = self.w.put('/v1/allocation/%s/stop?region=east' % a['ID'])
        self.assertStatus(r, 200)
        self.assertEqual(r.index(), r.json()['Index'])
        t.join(70 * steppe.SCALE)
        self.assertEqual(len(seen), 1)
        self.assertGreater(seen[0].index(), index)

        def replaced():
            found = self.e.get('/v1/job/stopped/allocations').json()
            return [x for x in found if x['ID'] != a['ID'] and x['ClientStatus'] == 'running']
        wait_for('another in its place', replaced, 40)
        old = wait_for('the end of the old one', lambda: (lambda x: x if x['ClientStatus'] == 'complete' else None)(
            self.e.get('/v1/allocation/' + a['ID']).json()), 40)
        self.assertEqual(old['DesiredStatus'], 'stop')

    def test_deployments_of_none(self):
        self.assertStatus(self.e.register(job('batch', Type='batch')), 200)
        running(self.e, 'batch', 1)
        self.assertStatus(self.w.get('/v1/job/batch/deployments?region=east'), 200, '[]')
        r = self.w.get('/v1/job/batch/deployment?region=east')
        self.assertStatus(r, 200, 'null')
        for h in META:
            self.assertIn(h, r.headers)
        self.assertIsInstance(self.e.get('/v1/deployments').json(), list)

    def test_collect(self):
        self.assertStatus(self.e.put('/v1/system/gc', {}), 200, '')
        self.assertStatus(self.e.put('/v1/system/reconcile/summaries'), 200, '')



class Cases(steppe.TestCase):
    """tests/golden/api/jobs_cases.json: 184 requests and what a real 1.1.0 said, server and client in one agent."""

    IGNORE = [r'.*\.Events.*', r'.*\.DeploymentStatus', r'.*\.DeploymentID', r'.*\.NetworkStatus',
              r'.*\.Config\..*', r'.*\.Networks', r'.*\.NodeNetworks', r'.*\.Host(Volumes|Networks)',
              r'.*CSI\w+Plugins', r'.*\.TaskHandle',
              r'.*\.ReservableCpuCores', r'.*\.Matches.*', r'.*\.Servers', r'.*\.Attributes.*', r'.*\.Drivers.*',
              r'.*\.TaskGroups\[\]\.(Migrate|Update)']  # null for the batch job

    def setUp(self):
        super().setUp()
        c = self.cluster
        self.n = c.node('n1', 'west', c.addr(1, 1), client=True)
        self.n.servers = [self.n.addr]
        self.n.extra += '\nplugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}'
        self.n.start()
        self.n.wait_leader()
        self.n.wait_nodes(1)
        self.assertStatus(self.n.register(job('cmp', count=2)), 200)
        self.assertStatus(self.n.register(job('batch', Type='batch', command='/bin/true', args=[])), 200)
        a = running(self.n, 'cmp', 2)[0]
        wait_for('the batch job', lambda: [x['ClientStatus'] for x in self.n.get('/v1/job/batch/allocations').json()]
                 == ['complete'], 60)
        self.ids = {'A': a['ID'], 'E': a['EvalID'], 'N': a['NodeID'], 'D': NO_UUID, 'U': NO_UUID}

    def fill(self, text, before='(?<=[/=])'):
        """A E N D U stand for ids of an allocation ...; A1 for its first eight digits."""
        text = re.sub(before + r'([AEND])1(?=$|[&?x])', lambda m: self.ids[m[1]][:8], text)
        text = text.replace('=AP', '=' + self.ids['A'][:7])
        return re.sub(r'(?<=/)([AENDU])(?=$|[/?])', lambda m: self.ids[m[1]], text)

    def test_cases(self):
        with open(os.path.join(steppe.GOLDEN, 'api', 'jobs_cases.json')) as f:
            cases = json.load(f)
        for c in cases:
            body = c['body']
            if isinstance(body, dict) and 'Prefix' in body:
                body = dict(body, Prefix=self.fill(body['Prefix'], '^'))
            if isinstance(body, dict) and 'DeploymentID' in body:
                body = dict(body, DeploymentID=NO_UUID)
            r = self.n.request(c['method'], self.fill(c['path']), body)
            with self.subTest('%s %s %s' % (c['method'], c['path'], c['body'])):
                self.assertEqual(r.status, c['status'], r.text[:200])
                self.assertEqual(r.headers['Content-Type'] or '', c['type'])
                self.assertEqual('X-Nomad-Index' in r.headers, c['index'])
                self.assertEqual('X-Nomad-LastContact' in r.headers, c['meta'])
                self.same(r.text, c['text'])

    def same(self, got, want):
        try:
            got, want = json.loads(got), json.loads(want)
        except ValueError:
            self.assertEqual(*(re.sub('[0-9a-f]{8}-[0-9a-f-]{27}', 'ID', x) for x in (self.name(got), want)))
            return
        self.assertEqual(shape.diff(want, got, ignore=self.IGNORE), [])

    def name(self, text):
        for k in 'AEN':
            text = text.replace(self.ids[k], '<%s>' % k)
        return text


if __name__ == '__main__':
    unittest.main()
