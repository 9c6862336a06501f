# SPDX-License-Identifier: MPL-2.0
"""The federation tutorial from one end to the other: two regions of a server and two clients."""

import glob
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tools'))
import record_cli  # noqa: E402
import steppe  # noqa: E402
import transcript  # noqa: E402
from steppe import job, job_hcl, table  # noqa: E402

HEADS = ['Name', 'Address', 'Port', 'Status', 'Leader', 'Protocol', 'Build', 'Datacenter', 'Region']
NO_PATH = 'Error querying jobs: Unexpected response code: 500 (No path to region)\n'


class LoneRegion(steppe.TestCase):
    def test_members_of_a_lone_region(self):
        s = self.cluster.region('west').server
        r = s.cli('server', 'members')
        self.assertCli(r, 0, err='')
        rows = table(r.out)
        self.assertEqual(rows[0], HEADS)
        self.assertEqual(len(rows), 2)
        row = dict(zip(HEADS, rows[1]))
        self.assertEqual(row['Name'], 'west-s1.west')
        self.assertEqual(row['Address'], s.addr)
        self.assertEqual(row['Port'], '4648')
        self.assertEqual(row['Status'], 'alive')
        self.assertEqual(row['Leader'], 'true')
        self.assertEqual(row['Protocol'], '2')
        self.assertEqual(row['Datacenter'], 'dc1')
        self.assertEqual(row['Region'], 'west')

    def test_region_by_configuration_keeps_jobs(self):
        """The default region is global; another one in the file and a restart keep its jobs."""
        s = self.cluster.region(None).server
        self.assertEqual(s.get('/v1/regions').json(), ['global'])
        self.assertStatus(s.register(job('before')), 200)
        s.stop()
        s.region = 'west'
        s.write_conf()
        s.start()
        s.wait_leader()
        self.assertEqual(s.get('/v1/regions').json(), ['west'])
        r = s.cli('server', 'members')
        self.assertCli(r, 0)
        self.assertEqual([row[0] for row in table(r.out)[1:]], ['global-s1.west'])
        self.assertEqual(s.job_ids(), ['before'])
        self.assertStatus(s.register(job('after')), 200)
        self.assertEqual(s.job_ids(), ['after', 'before'])

    def test_jobs_survive_a_restart(self):
        s = self.cluster.region('west').server
        for i in range(5):
            self.assertStatus(s.register(job('j%d' % i)), 200)
        s.restart()
        s.wait_leader()
        self.assertEqual(s.job_ids(), ['j%d' % i for i in range(5)])

    def test_jobs_survive_a_power_cut(self):
        s = self.cluster.region('west').server
        for i in range(5):
            self.assertStatus(s.register(job('j%d' % i)), 200)
        s.kill()
        s.start()
        s.wait_leader()
        self.assertEqual(s.job_ids(), ['j%d' % i for i in range(5)])


class TwoRegions(steppe.TestCase):
    """Steps 3 to 6 of the tutorial, with clients in both regions."""

    def test_tutorial(self):
        west = self.cluster.region('west', clients=2)
        east = self.cluster.region('east', clients=2)
        w, e = west.server, east.server

        self.assertCli(w.cli('status', '-region=east'), 1, '', NO_PATH)
        self.assertCli(w.cli('server', 'join', e.addr + ':4648'), 0, 'Joined 1 servers successfully\n', '')
        for n in (w, e):
            n.wait_members(['east-s1.east', 'west-s1.west'])
            steppe.wait_for('both regions', lambda: n.get('/v1/regions').json() == ['east', 'west'])
            r = n.cli('server', 'members')
            self.assertCli(r, 0, err='')
            rows = [dict(zip(HEADS, x)) for x in table(r.out)[1:]]
            self.assertEqual([x['Name'] for x in rows], ['east-s1.east', 'west-s1.west'])
            self.assertEqual([x['Leader'] for x in rows], ['true', 'true'])
            self.assertEqual([x['Address'] for x in rows], [e.addr, w.addr])
            self.assertEqual([x['Region'] for x in rows], ['east', 'west'])

        self.assertCli(w.cli('status', '-region=east'), 0, 'No running jobs\n', '')
        path = os.path.join(self.cluster.dir, 'demo.nomad')
        with open(path, 'w') as f:
            f.write(job_hcl('demo', 'east'))
        self.assertCli(w.cli('job', 'run', '-detach', path), 0, err='')
        r = w.cli('status', '-region=east')
        self.assertCli(r, 0, err='')
        rows = table(r.out)
        self.assertEqual(rows[0], ['ID', 'Type', 'Priority', 'Status', 'Submit Date'])
        self.assertEqual(rows[1][:3], ['demo', 'service', '50'])
        self.assertEqual(len(rows), 2)
        if not steppe.is_nomad():
            self.assertEqual(rows[1][3], 'pending')
        self.assertEqual(e.job_ids(), ['demo'])
        self.assertEqual(w.job_ids(), [])
        r = w.cli('job', 'status', '-region=east', 'demo')
        self.assertCli(r, 0, err='')
        self.assertRegex(r.out, r'(?m)^ID +=.*\bdemo$')
        self.assertCli(w.cli('job', 'stop', '-region=east', '-detach', 'demo'), 0, err='')
        r = w.cli('status', '-region=east')
        self.assertCli(r, 0)
        self.assertIn('(stopped)', r.out)
        self.assertTrue(e.get('/v1/job/demo').json()['Stop'])

        r = w.cli('node', 'status', '-region=east')
        self.assertCli(r, 0, err='')
        self.assertEqual(sorted(x[2] for x in table(r.out)[1:]), ['east-c1', 'east-c2'])
        self.assertEqual({x[-1] for x in table(r.out)[1:]}, {'ready'})


class Members(steppe.TestCase):
    def test_force_leave_of_a_killed_server(self):
        w = self.cluster.region('west').server
        e = self.cluster.region('east').server
        w.join(e)
        w.wait_members(['east-s1.east', 'west-s1.west'])
        e.kill()
        w.wait_members(['east-s1.east'], status='failed', timeout=40)
        r = w.cli('server', 'members')
        self.assertCli(r, 1)
        self.assertIn('Region "east": Unexpected response code: 500 (No path to region)', r.err)
        self.assertCli(w.cli('status', '-region=east'), 1, '', NO_PATH)
        self.assertEqual(w.get('/v1/regions').json(), ['west'])
        self.assertCli(w.cli('server', 'force-leave', 'east-s1.east'), 0, '', '')
        w.wait_members(['east-s1.east'], status='left')
        self.assertCli(w.cli('server', 'members'), 0, err='')
        self.assertCli(w.cli('server', 'force-leave', 'nobody.nowhere'), 0, '', '')

    def test_a_killed_server_comes_back(self):
        w = self.cluster.region('west').server
        e = self.cluster.region('east').server
        w.join(e)
        w.wait_members(['east-s1.east', 'west-s1.west'])
        self.assertStatus(w.register(job('demo', 'east')), 200)
        e.kill()
        w.wait_members(['east-s1.east'], status='failed', timeout=40)
        e.start()
        e.wait_leader()
        w.wait_members(['east-s1.east', 'west-s1.west'], timeout=40)
        steppe.wait_for('jobs of east seen from west', lambda: w.job_ids('?region=east') == ['demo'])

    def test_start_join_at_start(self):
        w = self.cluster.region('west').server
        e = self.cluster.region('east', server_extra='  start_join = ["%s:4648"]' % w.addr).server
        for n in (w, e):
            n.wait_members(['east-s1.east', 'west-s1.west'])

    def test_three_regions_in_a_chain(self):
        """Who joins anyone knows all; each region is asked through each."""
        regions = [self.cluster.region(r) for r in ('west', 'east', 'north')]
        w, e, n = (r.server for r in regions)
        w.join(e)
        n.join(w)
        names = ['east-s1.east', 'north-s1.north', 'west-s1.west']
        for s in (w, e, n):
            s.wait_members(names)
            steppe.wait_for('three regions', lambda: s.get('/v1/regions').json() == ['east', 'north', 'west'])
        self.assertStatus(e.register(job('far', 'north')), 200)
        for s in (w, e, n):
            self.assertEqual(s.job_ids('?region=north'), ['far'])
            self.assertEqual(s.get('/v1/job/far?region=north').json()['Region'], 'north')
        self.assertEqual((w.job_ids(), e.job_ids()), ([], []))

    def test_leave_on_terminate(self):
        w = self.cluster.region('west').server
        e = self.cluster.region('east', extra='leave_on_terminate = true').server
        w.join(e)
        w.wait_members(['east-s1.east', 'west-s1.west'])
        e.stop()
        w.wait_members(['east-s1.east'], status='left')
        self.assertCli(w.cli('server', 'members'), 0, err='')
        self.assertCli(w.cli('status', '-region=east'), 1, '', NO_PATH)

    def test_three_servers_a_region(self):
        w = self.cluster.region('west', servers=3)
        e = self.cluster.region('east', servers=3)
        names = ['%s-s%d.%s' % (r, i, r) for r in ('east', 'west') for i in (1, 2, 3)]
        w.servers[1].join(e.servers[2])
        for n in w.servers + e.servers:
            n.wait_members(names)
        for n in w.servers:
            r = n.cli('server', 'members')
            self.assertCli(r, 0)
            leaders = [x[8] for x in table(r.out)[1:] if x[4] == 'true']
            self.assertEqual(sorted(leaders), ['east', 'west'])
        # Registered at any server of west, listed by any server of either region.
        for i, n in enumerate(w.servers):
            self.assertStatus(n.register(job('j%d' % i, 'east')), 200)
        for n in w.servers + e.servers:
            self.assertEqual(n.job_ids('?region=east'), ['j0', 'j1', 'j2'])
        peers = steppe.wait_for('three peers', lambda: (lambda p: p if len(p) == 3 else None)(
            w.servers[0].get('/v1/status/peers?region=east').json()))
        self.assertEqual(sorted(peers), sorted('%s:4647' % n.addr for n in e.servers))


class Nodes(steppe.TestCase):
    def test_ready_then_down(self):
        """A client registers and heartbeats; its end is noticed when its heartbeat stays out."""
        s = self.cluster.region('west', server_extra='  heartbeat_grace = "1s"\n'
                                '  min_heartbeat_ttl = "1s"\n  max_heartbeats_per_second = 50.0').server
        c = self.cluster.node('west-c1', 'west', self.cluster.addr(1, 11), server=False, client=True,
                              servers=[s.addr]).start()
        (node,) = s.wait_nodes(1)
        self.assertEqual(node['Name'], 'west-c1')
        self.assertEqual(node['Address'], c.addr)
        c.kill()
        (down,) = s.wait_nodes(1, 'down', timeout=30)
        self.assertEqual(down['ID'], node['ID'])
        c.start()
        (again,) = s.wait_nodes(1, 'ready', timeout=30)
        self.assertEqual(again['ID'], node['ID'])


class Goldens(steppe.TestCase):
    """Each recorded step of the official CLI, played with ours (and with NOMAD_BIN, if set)."""

    # What a run prints differently each time: only the names before " = " are compared.
    KEYS_ONLY = {'agent-info'}
    # Texts of a parser or a usage of our own; the exit status and the stream must agree.
    OWN_TEXT = {'run-broken', 'run-missing-file', 'missing-argument', 'version', 'refused', 'members-refused',
                'join-unreachable'}
    # Of Nomad's libraries, and not of ours.
    NOT_OUR_KEYS = {'vault', '  token_ttl', '  tracked_for_revoked', '  token_expire_time =', '  goroutines',
                    '  protocol_version_min', '  protocol_version_max', '  snapshot_version_min',
                    '  snapshot_version_max'}
    # Lines in any order.
    SORTED = {'node-status', 'node-status-east'}
    # Not in our CLI yet, or JSON that test_api holds against its own goldens.
    NOT_OURS = {'members-detailed-alone', 'job-inspect', 'run-output'}

    @staticmethod
    def load(version):
        out = {}
        for path in sorted(glob.glob(os.path.join(steppe.GOLDEN, 'cli-nomad', version, '*.txt'))):
            with open(path) as f:
                out[os.path.basename(path)[3:-4]] = f.read()
        return out

    def compare(self, name, want, got):
        _, want_out, want_err, want_rc = transcript.parse(transcript.squeeze(want))
        _, out, err, rc = transcript.parse(transcript.squeeze(got))
        self.assertEqual(rc, want_rc, got)
        if name in self.OWN_TEXT:
            self.assertEqual((bool(out), bool(err)), (bool(want_out), bool(want_err)), got)
            return
        if name in self.KEYS_ONLY:
            have = {x.split(' = ')[0] for x in out.splitlines()}
            want = {x.split(' = ')[0] for x in want_out.splitlines()} - self.NOT_OUR_KEYS
            self.assertEqual(want - have, set(), got)
            return
        if name.startswith('raft-list-peers'):
            # Our servers' ids are UUIDs (raft_protocol 3), as Nomad's are from 1.3 on.
            want_out, out = (re.sub(r'(?m)^(\S+  )\S+(  127.*  )[23]$', r'\1<id>\2<protocol>', x) for x in (want_out, out))
        if name == 'status-stopped':
            # The recorded agents ran no scheduler, which is what makes a stopped job dead.
            want_out = want_out.replace('pending (stopped)', 'dead (stopped)')
        if name in self.SORTED:
            want_out, out = ('\n'.join(sorted(x.splitlines())) for x in (want_out, out))
        self.assertEqual(out, want_out, got)
        self.assertEqual(err, want_err, got)

    def play(self, cli, golden, skip=()):
        record_cli.start(self.cluster, self.cluster.net)
        played = 0
        for name, argv, result in record_cli.play(self.cluster, cli):
            if name in golden and name not in skip:
                got = transcript.format_result(argv, result)
                for addr in ('1.', '2.', '9.'):
                    got = got.replace('127.%d.%s' % (self.cluster.net, addr), '127.0.' + addr)
                with self.subTest(name):
                    self.compare(name, golden[name], got)
                played += 1
        self.assertGreater(played, 30)

    def test_our_cli(self):
        self.play(steppe.agent_binary()[0], self.load('1.1.0'), self.NOT_OURS)

    @unittest.skipUnless(os.environ.get('NOMAD_BIN'), 'NOMAD_BIN names no official CLI')
    def test_official_cli(self):
        cli = os.environ['NOMAD_BIN']
        version = steppe.run([cli, 'version']).out.split()[1].lstrip('v')
        golden = self.load(version)
        self.assertTrue(golden, 'no goldens of ' + version)
        self.play(cli, golden, {'members-detailed-alone', 'job-inspect', 'run-output'})


if __name__ == '__main__':
    unittest.main()
