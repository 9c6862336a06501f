# SPDX-License-Identifier: MPL-2.0
"""The /v1 HTTP API: shapes held against answers of a real Nomad, headers, queries, errors."""

import concurrent.futures
import gzip
import http.client
import json
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import shape  # noqa: E402
import steppe  # noqa: E402
from steppe import job, wait_for  # noqa: E402

GOLDEN = os.environ.get('STEPPE_GOLDEN_API', os.path.join(steppe.GOLDEN, 'api'))
NO_UUID = '12345678-1234-1234-1234-123456789abc'
META = ('X-Nomad-Index', 'X-Nomad-KnownLeader', 'X-Nomad-LastContact')

# golden file -> path; {node} is the id of east's client.
ENDPOINTS = {
    'v1_agent_health': '/v1/agent/health',
    'v1_agent_members': '/v1/agent/members',
    'v1_agent_self': '/v1/agent/self',
    'v1_job_sleeper': '/v1/job/sleeper',
    'v1_job_sleeper_summary': '/v1/job/sleeper/summary',
    'v1_job_sleeper_versions': '/v1/job/sleeper/versions',
    'v1_jobs': '/v1/jobs',
    'v1_metrics': '/v1/metrics',
    'v1_node_ID': '/v1/node/{node}',
    'v1_nodes': '/v1/nodes',
    'v1_operator_raft_configuration': '/v1/operator/raft/configuration',
    'v1_regions': '/v1/regions',
    'v1_status_leader': '/v1/status/leader',
    'v1_status_peers': '/v1/status/peers',
}
# Parts of the goldens that are not asked for: what later versions dropped, integrations and
# telemetry that a Steppe does not have, and what depends on the machine.
IGNORE = [
    r'\.config\.(Consul|Vault|Sentinel|Telemetry|Plugins|TLSConfig|ACL|PluginDir)',
    r'\.config\.(DisableAnonymousSignature|EnableSyslog|LogJson|SyslogFacility|DisableUpdateCheck)',
    r'\.config\.Autopilot\..*',
    r'\.config\.Client\.(TemplateConfig.*|Reserved.*|BridgeNetwork.*|CNIPath|GC.*|MaxKillTimeout|Chroot.*)',
    r'\.config\.Client\.(ClientM..Port|DisableRemoteExec|NoHostUUID|NetworkSpeed|HostVolumes|ServerJoin.*)',
    r'\.config\.Server\.(.*GC.*|EnabledSchedulers|ServerJoin.*|ProtocolVersion|RedundancyZone|UpgradeVersion)',
    r'\.config\.Server\.(AuthoritativeRegion|NumSchedulers|RaftProtocol|MaxHeartbeatsPerSecond|Retry.*|StartJoin)',
    r'\.stats\.raft\.(protocol|snapshot)_version_(min|max)',
    r'\.stats\.vault.*', r'\.stats\.runtime\.goroutines', r'\.member\.Tags.*',
    r'\.NodeResources\.Networks.*', r'\.Resources\.Networks.*', r'\.ReservedResources\.Networks.*',
    r'\.Reserved.*', r'.*\.Drivers\..*\.Attributes', r'\.Resources\..*', r'\.(Counters|Samples|Points).*',
    # Spec of the job in the golden, which another client wrote.
    r'.*\.TaskGroups\[\].*\.Networks', r'.*\.TaskGroups\[\]\.Tasks\[\]\.Services', r'.*\.Resources\.IOPS',
    r'.*\.Config\..*',
]


def two_regions(cls):
    c = cls.new_cluster()
    cls.west, cls.east = c.region('west', clients=1), c.region('east', clients=1)
    cls.w, cls.e = cls.west.server, cls.east.server
    cls.w.join(cls.e)
    for n in (cls.w, cls.e):
        n.wait_members(['east-s1.east', 'west-s1.west'])
        steppe.wait_for('both regions', lambda: n.get('/v1/regions').json() == ['east', 'west'])
    cls.node_id = cls.e.wait_nodes(1)[0]['ID']


class Shapes(steppe.TestCase):
    @classmethod
    def setUpClass(cls):
        two_regions(cls)
        for _ in range(2):
            assert cls.e.register(job('sleeper', Meta={'k': 'v'})).status == 200
        assert cls.e.register(job('sleeper', Priority=60)).status == 200

    def check(self, name):
        with open(os.path.join(GOLDEN, name + '.json')) as f:
            want = json.load(f)
        path = ENDPOINTS[name].format(node=self.node_id)
        r = self.e.get(path)
        self.assertStatus(r, 200)
        self.assertEqual(r.headers['Content-Type'].split(';')[0], 'application/json')
        self.assertEqual(shape.diff(want, r.json(), ignore=IGNORE), [])
        # The same through the other region, where the answer is not of the agent itself.
        if not path.startswith(('/v1/agent', '/v1/metrics', '/v1/regions')):
            r = self.w.get(path + '?region=east')
            self.assertStatus(r, 200)
            self.assertEqual(shape.diff(want, r.json(), ignore=IGNORE), [])

    def test_tags(self):
        m = self.e.get('/v1/agent/members').json()
        self.assertEqual((m['ServerName'], m['ServerRegion'], m['ServerDC']), ('east-s1', 'east', 'dc1'))
        for x in m['Members']:
            self.assertEqual({k: x[k] for k in ('ProtocolMin', 'ProtocolMax', 'ProtocolCur')},
                             {'ProtocolMin': 1, 'ProtocolMax': 5, 'ProtocolCur': 2})
            tags = x['Tags']
            self.assertEqual(tags['role'], 'nomad')
            self.assertEqual(tags['region'], x['Name'].split('.')[1])
            self.assertEqual(tags['dc'], 'dc1')
            self.assertEqual(tags['port'], '4647')
            self.assertEqual(tags['rpc_addr'], x['Addr'])
            self.assertRegex(tags['id'], r'^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$')
            for k in ('build', 'vsn', 'mvn', 'raft_vsn', 'bootstrap'):
                self.assertIn(k, tags)

    def test_leader_is_the_members_rpc_address(self):
        for region, addr in (('east', self.e.addr), ('west', self.w.addr)):
            for n in (self.w, self.e):
                self.assertEqual(n.get('/v1/status/leader?region=' + region).json(), addr + ':4647')
                self.assertEqual(n.get('/v1/status/peers?region=' + region).json(), [addr + ':4647'])

    def test_what_the_cli_asks_of_a_job(self):
        for sub in ('allocations', 'evaluations', 'deployments'):
            r = self.e.get('/v1/job/sleeper/' + sub)
            self.assertStatus(r, 200)
            self.assertIsInstance(r.json(), list)
        self.assertStatus(self.e.get('/v1/job/sleeper/deployment'), 200)
        r = self.e.put('/v1/search', {'Prefix': 'slee', 'Context': 'jobs'})
        self.assertStatus(r, 200)
        self.assertEqual(r.json()['Matches']['jobs'], ['sleeper'])

    def test_versions_newest_first(self):
        v = self.e.get('/v1/job/sleeper/versions').json()['Versions']
        self.assertEqual([x['Version'] for x in v], [1, 0])
        self.assertEqual([x['Priority'] for x in v], [60, 50])

    def test_client_agent(self):
        c = self.east.clients[0]
        self.assertEqual(c.get('/v1/agent/servers').json(), [self.e.addr + ':4647'])
        s = c.get('/v1/agent/self').json()
        self.assertEqual(s['stats']['client']['node_id'], self.node_id)
        self.assertEqual(s['config']['Region'], 'east')
        h = c.get('/v1/agent/health')
        self.assertStatus(h, 200)
        self.assertEqual(h.json()['client'], {'message': 'ok', 'ok': True})
        self.assertEqual(c.job_ids(), ['sleeper'])
        self.assertEqual(c.job_ids('?region=west'), [])
        for method, path in (('PUT', '/v1/agent/join?address=127.0.0.1'), ('PUT', '/v1/agent/force-leave?node=x')):
            self.assertStatus(c.request(method, path), 501, 'Invalid method')
        self.assertStatus(self.e.get('/v1/agent/servers'), 501, 'Invalid method')


def add_shape_tests():
    for name in ENDPOINTS:
        def test(self, name=name):
            self.check(name)
        setattr(Shapes, 'test_shape_of_' + name, test)


add_shape_tests()


class Headers(steppe.TestCase):
    @classmethod
    def setUpClass(cls):
        two_regions(cls)
        for n in (cls.w, cls.e):
            assert n.register(job('web')).status == 200

    def test_meta_headers(self):
        for path in ('/v1/jobs', '/v1/job/web', '/v1/job/web/versions', '/v1/job/web/summary', '/v1/nodes',
                     '/v1/node/' + self.node_id, '/v1/jobs?stale'):
            for n in (self.e, self.w):
                r = n.get(path + ('&' if '?' in path else '?') + 'region=east')
                self.assertStatus(r, 200)
                self.assertGreater(int(r.headers['X-Nomad-Index']), 0, path)
                self.assertEqual(r.headers['X-Nomad-KnownLeader'], 'true', path)
                self.assertGreaterEqual(int(r.headers['X-Nomad-LastContact']), 0, path)
                self.assertEqual(r.headers['Vary'], 'Accept-Encoding')

    def test_no_meta_headers(self):
        for path in ('/v1/agent/self', '/v1/agent/members', '/v1/regions', '/v1/status/leader', '/v1/status/peers',
                     '/v1/operator/raft/configuration', '/v1/metrics', '/v1/agent/health'):
            r = self.e.get(path)
            self.assertStatus(r, 200)
            self.assertEqual([h for h in META if h in r.headers], [], path)

    def test_index_of_a_write(self):
        r = self.e.register(job('w2'))
        self.assertStatus(r, 200)
        self.assertEqual(int(r.headers['X-Nomad-Index']), r.json()['Index'])
        self.assertGreaterEqual(self.e.get('/v1/jobs').index(), r.json()['JobModifyIndex'])

    def test_gzip(self):
        plain = self.e.get('/v1/job/web')
        self.assertIsNone(plain.headers['Content-Encoding'])
        r = self.e.request('GET', '/v1/job/web', None, {'Accept-Encoding': 'gzip'})
        self.assertStatus(r, 200)
        self.assertEqual(r.headers['Content-Encoding'], 'gzip')
        self.assertEqual(json.loads(gzip.decompress(r.body)), plain.json())

    def test_gzip_only_where_it_is_taken(self):
        for value, packed in (('gzip', True), ('br, GZIP ; q=0.5', True), ('gzip;q=1', True), ('gzip;q=0.001,br', True),
                              ('gzip;q=0', False), ('gzip; q=0.000, br', False), ('br, gzip;q=0.0,identity;q=1', False),
                              ('xgzip', False), ('gzipx', False), (',', False), ('', False)):
            r = self.e.request('GET', '/v1/agent/self', None, {'Accept-Encoding': value})
            self.assertEqual(r.headers.get('Content-Encoding') == 'gzip', packed, value)

    def test_pretty(self):
        r = self.e.get('/v1/regions?pretty')
        self.assertEqual(r.text, '[\n    "east",\n    "west"\n]\n')
        self.assertEqual(self.e.get('/v1/regions').text, '["east","west"]')
        self.assertEqual(self.e.get('/v1/regions?pretty=0').text, '["east","west"]')
        self.assertEqual(self.e.get('/v1/job/web?pretty').json()['ID'], 'web')
        for path in ('/v1/job/web/versions?diffs=true&pretty', '/v1/agent/members?pretty', '/v1/agent/self?pretty',
                     '/v1/agent/health?pretty'):
            wide, line = self.e.get(path), self.e.get(path.replace('pretty', 'pretty=0'))
            self.assertTrue(wide.text.startswith('{\n    "') and wide.text.endswith('\n}\n'), wide.text)
            self.assertEqual(list(wide.json()), sorted(line.json()))

    def test_keep_alive(self):
        conn = http.client.HTTPConnection(self.e.addr, steppe.HTTP, timeout=10)
        self.addCleanup(conn.close)
        for _ in range(20):
            conn.request('GET', '/v1/jobs')
            r = conn.getresponse()
            self.assertEqual(r.status, 200)
            r.read()
            self.assertIsNotNone(conn.sock, 'the connection was closed')

    def test_response_headers_of_the_configuration(self):
        n = self.cluster.node('hdr', 'other', self.cluster.addr(9, 1), extra=
                              'http_api_response_headers {\n  Access-Control-Allow-Origin = "*"\n}').start()
        self.assertEqual(n.get('/v1/regions').headers['Access-Control-Allow-Origin'], '*')


class Queries(steppe.TestCase):
    @classmethod
    def setUpClass(cls):
        two_regions(cls)
        for name in ('alpha', 'alps', 'beta', 'x/periodic-1'):
            assert cls.e.register(job(name)).status == 200

    def test_prefix(self):
        for n in (self.e, self.w):
            self.assertEqual(n.job_ids('?region=east&prefix=al'), ['alpha', 'alps'])
            self.assertEqual(n.job_ids('?region=east&prefix=zzz'), [])
            self.assertEqual(n.get('/v1/jobs?region=east&prefix=zzz').text, '[]')
            self.assertEqual(n.job_ids('?region=east&prefix=x%2Fperiodic-'), ['x/periodic-1'])
            r = n.get('/v1/nodes?region=east&prefix=' + self.node_id[:4])
            self.assertEqual([x['ID'] for x in r.json()], [self.node_id])
        other = 'ffff' if self.node_id[:4] != 'ffff' else '0000'
        self.assertEqual(self.e.get('/v1/nodes?prefix=' + other).json(), [])

    def test_slash_in_a_job_id(self):
        self.assertEqual(self.e.get('/v1/job/x%2Fperiodic-1').json()['ID'], 'x/periodic-1')
        self.assertEqual(self.e.get('/v1/job/x/periodic-1/summary').json()['JobID'], 'x/periodic-1')

    def test_blocking_returns_at_its_time(self):
        for path in ('/v1/jobs', '/v1/nodes', '/v1/job/alpha', '/v1/jobs?region=east', '/v1/node/' + self.node_id):
            n = self.w if 'region' in path else self.e
            sep = '&' if '?' in path else '?'

            def waits(n=n, path=path, sep=sep):
                first = n.get(path)
                start = time.monotonic()
                r = n.get('%s%sindex=%d&wait=300ms' % (path, sep, first.index()))
                took = time.monotonic() - start
                self.assertStatus(r, 200)
                if r.index() > first.index():   # the jobs are still being placed: in a moment
                    return False
                self.assertGreaterEqual(took, 0.3, path)
                self.assertEqual(r.index(), first.index(), path)
                return True
            wait_for('a quiet time of ' + path, waits, 60)

    def test_blocking_with_an_old_index_returns_at_once(self):
        index = self.e.get('/v1/jobs').index()
        start = time.monotonic()
        r = self.e.get('/v1/jobs?index=1&wait=60s')
        self.assertLess(time.monotonic() - start, 10)
        self.assertGreaterEqual(r.index(), index)

    def blocked(self, node, path, change, count=1):
        """Blocks `count` queries, makes the change, returns their answers."""
        first = node.get(path)
        sep = '&' if '?' in path else '?'
        ready = threading.Barrier(count + 1)

        def query():
            ready.wait()
            return node.get('%s%sindex=%d&wait=50s' % (path, sep, first.index()), timeout=60)
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            waits = [pool.submit(query) for _ in range(count)]
            ready.wait()
            # One that is not blocked yet when the change comes would return too: so nothing to wait for.
            start = time.monotonic()
            change()
            answers = [f.result() for f in waits]
        self.assertLess(time.monotonic() - start, 30, 'a blocked query slept through the change')
        for r in answers:
            self.assertGreater(r.index(), first.index())
        return answers

    def test_blocking_wakes_on_a_change(self):
        for n, path in ((self.e, '/v1/jobs'), (self.w, '/v1/jobs?region=east')):
            name = 'wake-%s' % n.name
            (r,) = self.blocked(n, path, lambda: self.assertStatus(self.e.register(job(name)), 200))
            # A late effect of an earlier change may have woken it: then it asks again, as clients do.
            end = time.monotonic() + 20
            while name not in [x['ID'] for x in r.json()]:
                self.assertLess(time.monotonic(), end)
                r = n.get('/v1/jobs?region=east&index=%d&wait=20s' % r.index(), timeout=30)

    def test_blocking_on_an_absent_job(self):
        r = self.e.get('/v1/job/later')
        self.assertStatus(r, 404)
        self.assertGreater(r.index(), 0)
        (r,) = self.blocked(self.e, '/v1/job/later', lambda: self.assertStatus(self.e.register(job('later')), 200))
        self.assertStatus(r, 200)

    def test_many_blocked_queries(self):
        # 90: below the limit of connections of one client.
        self.blocked(self.e, '/v1/jobs', lambda: self.assertStatus(self.e.register(job('many')), 200), 90)

    def test_bad_index_and_wait(self):
        self.assertStatus(self.e.get('/v1/jobs?index=abc'), 400, 'Invalid index')
        self.assertStatus(self.e.get('/v1/jobs?index=1&wait=5'), 400, 'Invalid wait time')


class Jobs(steppe.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = cls.new_cluster().region('east').server

    def test_put_post_and_path(self):
        self.assertStatus(self.s.put('/v1/jobs', {'Job': job('a')}), 200)
        self.assertStatus(self.s.request('POST', '/v1/jobs', {'Job': job('b')}), 200)
        self.assertStatus(self.s.put('/v1/job/c', {'Job': job('c')}), 200)
        self.assertTrue({'a', 'b', 'c'} <= set(self.s.job_ids()))

    def test_reply_of_register(self):
        r = self.s.register(job('reply')).json()
        for k in ('EvalID', 'EvalCreateIndex', 'JobModifyIndex', 'Warnings', 'Index', 'LastContact', 'KnownLeader'):
            self.assertIn(k, r)
        self.assertEqual(r['Warnings'], '')

    def test_names_in_any_case_and_unknown_fields(self):
        j = {k.lower(): v for k, v in job('lower').items()}
        j['nosuchfield'] = [1, {'x': None}]
        self.assertStatus(self.s.put('/v1/jobs', {'job': j, 'what': 1}), 200)
        self.assertEqual(self.s.get('/v1/job/lower').json()['Priority'], 50)

    def test_same_job_again_is_no_change(self):
        a = self.s.register(job('same')).json()
        b = self.s.register(job('same')).json()
        self.assertEqual(a['JobModifyIndex'], b['JobModifyIndex'])
        c = self.s.register(job('same', Priority=70)).json()
        self.assertGreater(c['JobModifyIndex'], a['JobModifyIndex'])
        j = self.s.get('/v1/job/same').json()
        self.assertEqual((j['Version'], j['Priority']), (1, 70))
        self.assertEqual(j['CreateIndex'], a['JobModifyIndex'])

    def test_enforce_index(self):
        put = lambda i: self.s.put('/v1/jobs', {'Job': job('cas'), 'EnforceIndex': True, 'JobModifyIndex': i})  # noqa: E731
        self.assertStatus(put(7), 500, 'Enforcing job modify index 7: job does not exist')
        r = put(0)
        self.assertStatus(r, 200)
        n = r.json()['JobModifyIndex']
        self.assertStatus(put(0), 500, 'Enforcing job modify index 0: job already exists')
        self.assertStatus(put(n + 1000), 500, 'Enforcing job modify index %d: job exists with conflicting '
                          'job modify index: %d' % (n + 1000, n))
        self.assertStatus(put(n), 200)

    def test_stop_and_purge(self):
        self.s.register(job('gone'))
        r = self.s.delete('/v1/job/gone')
        self.assertStatus(r, 200)
        for k in ('EvalID', 'EvalCreateIndex', 'JobModifyIndex', 'Index'):
            self.assertIn(k, r.json())
        self.assertTrue(self.s.get('/v1/job/gone').json()['Stop'])
        self.assertStatus(self.s.delete('/v1/job/gone?purge=true'), 200)
        self.assertStatus(self.s.get('/v1/job/gone'), 404, 'job not found')
        self.assertNotIn('gone', self.s.job_ids())
        self.assertStatus(self.s.delete('/v1/job/never-was'), 200)

    def test_texts_and_numbers_survive(self):
        meta = {'umlaut': 'äöü€𝄞', 'quote': '"\\\n\t\x01', 'html': '<a href="x">&</a>', 'empty': ''}
        self.assertStatus(self.s.register(job('texts', Meta=meta)), 200)
        r = self.s.get('/v1/job/texts')
        self.assertEqual(r.json()['Meta'], meta)

    def test_region_of_a_job_is_the_agents(self):
        for region in (None, 'global', 'east'):
            self.assertStatus(self.s.register(job('reg', region)), 200)
            self.assertEqual(self.s.get('/v1/job/reg').json()['Region'], 'east')

    def test_defaults(self):
        j = job('defaults')
        del j['Type'], j['Priority'], j['Name'], j['TaskGroups'][0]['Count'], j['TaskGroups'][0]['Tasks'][0]['Resources']
        self.assertStatus(self.s.register(j), 200)
        got = self.s.get('/v1/job/defaults').json()
        self.assertEqual((got['Type'], got['Priority'], got['Name'], got['Namespace']),
                         ('service', 50, 'defaults', 'default'))
        g = got['TaskGroups'][0]
        self.assertEqual(g['Count'], 1)
        self.assertEqual(g['Tasks'][0]['Resources']['CPU'], 100)
        self.assertEqual(g['Tasks'][0]['Resources']['MemoryMB'], 300)
        self.assertEqual(g['Tasks'][0]['KillTimeout'], 5000000000)
        self.assertEqual(g['RestartPolicy'], {'Attempts': 2, 'Delay': 15000000000, 'Interval': 1800000000000,
                                              'Mode': 'fail'})
        self.assertGreater(got['SubmitTime'], 1500000000 * 10**9)

    def test_parallel_registrations(self):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            rs = list(pool.map(lambda i: self.s.register(job('p%03d' % i)), range(200)))
        self.assertEqual({r.status for r in rs}, {200})
        self.assertEqual(len({r.json()['JobModifyIndex'] for r in rs}), 200)
        self.assertEqual(self.s.job_ids('?prefix=p'), ['p%03d' % i for i in range(200)])


class Errors(steppe.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = cls.new_cluster().region('east').server

    def test_unknown_region(self):
        for method, path, body in (('GET', '/v1/jobs', None), ('GET', '/v1/nodes', None), ('PUT', '/v1/jobs', {'Job': job('x')}),
                                   ('GET', '/v1/status/leader', None), ('DELETE', '/v1/job/x', None)):
            self.assertStatus(self.s.request(method, path + '?region=nowhere', body), 500, 'No path to region')
        self.assertStatus(self.s.register(job('x', 'nowhere')), 500, 'No path to region')

    def test_not_found(self):
        for path, text in (('/v1/job/none', 'job not found'), ('/v1/job/none/versions', 'job versions not found'),
                           ('/v1/node/' + NO_UUID, 'node not found')):
            r = self.s.get(path)
            self.assertStatus(r, 404, text)
            self.assertEqual(r.headers['Content-Type'], 'text/plain; charset=utf-8')

    def test_bad_uuid(self):
        self.assertStatus(self.s.get('/v1/node/xyz'), 500, 'node lookup failed: index error: UUID must be 36 characters')

    def test_bodies(self):
        self.assertStatus(self.s.put('/v1/jobs', b''), 400)
        for body in ('{', '{"Job":', '[1,2', 'nonsense', '"x"', '{"Job":{"ID":5}}', '{"Job":{"TaskGroups":{}}}'):
            r = self.s.put('/v1/jobs', body)
            self.assertStatus(r, 400)
            self.assertTrue(r.text)
        self.assertStatus(self.s.put('/v1/jobs', {'Job': None}), 400, 'Job must be specified')
        self.assertStatus(self.s.put('/v1/jobs', {}), 400, 'Job must be specified')
        self.assertStatus(self.s.put('/v1/jobs', {'Job': {'Name': 'x'}}), 400, "Job ID hasn't been provided")
        self.assertStatus(self.s.put('/v1/job/other', {'Job': job('x')}), 400, 'Job ID does not match name')

    def test_validation(self):
        j = job('bad')
        del j['Datacenters'], j['TaskGroups']
        r = self.s.register(j)
        self.assertStatus(r, 500)
        self.assertIn('Missing job datacenters', r.text)
        self.assertIn('Missing job task groups', r.text)
        self.assertStatus(self.s.get('/v1/job/bad'), 404)
        r = self.s.put('/v1/validate/job', {'Job': j})
        self.assertStatus(r, 200)
        self.assertEqual(len(r.json()['ValidationErrors']), 2)

    def test_methods(self):
        for method, path in (('DELETE', '/v1/jobs'), ('PUT', '/v1/nodes'), ('PUT', '/v1/regions'), ('DELETE', '/v1/agent/self'),
                             ('POST', '/v1/status/leader'), ('OPTIONS', '/v1/jobs')):
            self.assertStatus(self.s.request(method, path), 405, 'Invalid method')
        self.assertEqual(self.s.request('HEAD', '/v1/jobs').status, 405)

    def test_not_there_yet(self):
        for path in ('/v1/namespaces', '/v1/operator/autopilot/configuration', '/v1/operator/snapshot', '/v1/agent/monitor',
                     '/v1/acl/policies', '/v1/scaling/policies', '/v1/event/stream', '/v1/search/fuzzy'):
            self.assertStatus(self.s.get(path), 501, path + ' is not part of this release')
        r = self.s.get('/v1/client/allocation/12345678-1234-1234-1234-123456789abc/exec')
        self.assertStatus(r, 501, 'exec is not part of this release')

    def test_paths(self):
        for path in ('/v1/nonsense', '/v1/jobs/', '/v2/jobs', '/v1', '/v1/regions/'):
            self.assertStatus(self.s.get(path), 404)
        self.assertEqual(self.s.get('/v1/nonsense').text, '')
        for path, where in (('/v1/job', '/v1/job/'), ('/v1/node', '/v1/node/'), ('//v1//jobs', '/v1/jobs'),
                            ('/v1/../v1/jobs?stale', '/v1/jobs?stale'), ('/v1/./regions', '/v1/regions'),
                            ('//v1/a%0d%0aSet-Cookie:%20x', '/v1/a%0D%0ASet-Cookie:%20x')):
            r = self.s.get(path)
            self.assertStatus(r, 301)
            self.assertEqual(r.headers['Location'], where)
        r = self.s.get('/')
        self.assertStatus(r, 307)
        self.assertEqual(r.headers['Location'], '/ui/')

    def test_join_that_fails(self):
        r = self.s.put('/v1/agent/join?address=127.%d.99.99:4648' % self.cluster.net)
        self.assertStatus(r, 200)
        self.assertEqual(r.json()['num_joined'], 0)
        self.assertTrue(r.json()['error'])

    def test_force_leave_of_nobody(self):
        self.assertStatus(self.s.put('/v1/agent/force-leave?node=nobody.nowhere'), 200, '')


class StoredJobs(steppe.TestCase):
    """What a server stores of a job, field by field, and what the CLI makes of a job file."""

    CHANGING = {'CreateIndex', 'ModifyIndex', 'JobModifyIndex', 'SubmitTime', 'Version', 'Status'}

    @classmethod
    def setUpClass(cls):
        cls.s = cls.new_cluster().region('east').server

    @staticmethod
    def load(name):
        with open(os.path.join(steppe.GOLDEN, 'jobs', name)) as f:
            return json.load(f)

    def stored(self, name, change=None):
        j = self.load(name + '.json')['Job']
        if change:
            change(j)
        j['Region'] = 'east'
        self.assertStatus(self.s.put('/v1/jobs', {'Job': j}), 200)
        got, want = self.s.get('/v1/job/' + j['ID']).json(), self.load(name + '.server.json')
        want = want.get('Job', want)
        for k in self.CHANGING:
            got.pop(k), want.pop(k)
        for g in got['TaskGroups'] + want['TaskGroups']:
            for k in ('ID', 'CreateIndex', 'ModifyIndex'):
                (g['Scaling'] or {}).pop(k, None)
        self.assertEqual(shape.differences(want, got), [])

    def test_minimal(self):
        self.stored('1-minimal')

    def test_service(self):
        self.stored('2-service')

    def test_everything(self):
        def drop_vault(j):
            for g in j['TaskGroups']:
                for t in g['Tasks']:
                    t['Vault'] = None
        self.stored('3-everything', drop_vault)

    def test_run_output(self):
        for name in ('1-minimal', '2-service', '3-everything'):
            path = os.path.join(steppe.GOLDEN, 'jobs', name)
            with self.subTest(name):
                r = self.s.cli('job', 'run', '-output', '-hcl1', path + '.nomad')
                self.assertCli(r, 0, err='')
                self.assertEqual(shape.differences(self.load(name + '.json'), json.loads(r.out)), [])
                r = self.s.cli('job', 'run', '-output', path + '.nomad')
                self.assertCli(r, 0, err='')
                hcl2 = '.hcl2.json' if os.path.exists(path + '.hcl2.json') else '.json'
                self.assertEqual(shape.differences(self.load(name + hcl2), json.loads(r.out)), [])

    def test_run_and_inspect(self):
        path = os.path.join(steppe.GOLDEN, 'jobs', '2-service.nomad')
        self.assertCli(self.s.cli('job', 'validate', path), 0)
        self.assertCli(self.s.cli('job', 'run', '-detach', path, env={'NOMAD_REGION': 'east'}), 0)
        r = self.s.cli('job', 'inspect', self.load('2-service.json')['Job']['ID'])
        self.assertCli(r, 0, err='')
        self.assertEqual(set(json.loads(r.out)), {'Job'})


class NoLeader(steppe.TestCase):
    """Two of three servers are gone: stale reads go on, the rest says so."""

    @classmethod
    def setUpClass(cls):
        c = cls.new_cluster()
        cls.west, cls.east = c.region('west', servers=3), c.region('east')
        cls.e = cls.east.server
        cls.e.join(cls.west.server)
        names = ['east-s1.east'] + ['west-s%d.west' % i for i in (1, 2, 3)]
        for n in cls.west.servers + [cls.e]:
            n.wait_members(names)
        assert cls.west.server.register(job('kept')).status == 200
        leader = cls.west.leader_node()
        cls.left = next(n for n in cls.west.servers if n is not leader)
        steppe.wait_for('the job on the follower', lambda: cls.left.job_ids('?stale') == ['kept'])
        r = cls.left.get('/v1/jobs?stale')
        cls.contact_before = int(r.headers['X-Nomad-LastContact'])
        for n in cls.west.servers:
            if n is not cls.left:
                n.kill()
        steppe.wait_for('no leader', lambda: cls.left.get('/v1/jobs?stale').headers['X-Nomad-KnownLeader'] == 'false')

    def test_stale_read(self):
        r = self.left.get('/v1/jobs?stale')
        self.assertStatus(r, 200)
        self.assertEqual([x['ID'] for x in r.json()], ['kept'])
        self.assertEqual(r.headers['X-Nomad-KnownLeader'], 'false')
        first = int(r.headers['X-Nomad-LastContact'])
        steppe.wait_for('the last contact to grow', lambda: int(
            self.left.get('/v1/jobs?stale').headers['X-Nomad-LastContact']) > first)

    def test_consistent_read_and_write(self):
        self.assertStatus(self.left.get('/v1/jobs'), 500, 'No cluster leader')
        self.assertStatus(self.left.register(job('x')), 500, 'No cluster leader')

    def test_from_another_region(self):
        # The servers that were killed may still count as alive: asked in vain, the next one is tried.
        steppe.wait_for('the error of the last server', lambda: self.e.get(
            '/v1/jobs?region=west').text == 'rpc error: No cluster leader', timeout=30)


if __name__ == '__main__':
    unittest.main()
