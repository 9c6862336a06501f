# SPDX-License-Identifier: MPL-2.0
"""A real Serf agent joins our gossip pool, and a real Nomad server too, when they are there."""

import json
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import job, wait_for  # noqa: E402


@unittest.skipUnless(shutil.which('serf'), 'no serf on this machine')
class RealSerf(steppe.TestCase):
    """As Nomad's, our pool takes only members that say they are servers: so it wears their tags."""

    TAGS = ['role=nomad', 'region=serf', 'dc=dc1', 'port=4647', 'build=1.1.0', 'vsn=1', 'mvn=1', 'raft_vsn=2',
            'id=7d0bbdd0-5c2c-4f4e-9d4b-8f2f5cf0a001']

    def test_one_without_tags_is_refused(self):
        s = self.cluster.region('west').server
        addr = self.cluster.addr(3, 2)
        self.TAGS, before = ['role=other'], self.TAGS
        self.agent(addr)
        self.TAGS = before
        wait_for('serf to be up', lambda: self.seen_by_serf(addr), 20)
        r = s.cli('server', 'join', addr + ':4648')
        self.assertCli(r, 1)
        self.assertIn('is not a server', r.err)
        self.assertEqual(s.members(), ['west-s1.west'])

    def agent(self, addr, *args):
        """A serf agent; it ends before the cluster does."""
        log = open(os.path.join(self.cluster.dir, 'serf-%s.log' % addr), 'wb')
        p = subprocess.Popen(['serf', 'agent', '-bind=%s:4648' % addr, '-rpc-addr=%s:7373' % addr, '-profile=wan',
                              '-node=plain.serf'] + [x for t in self.TAGS for x in ('-tag', t)] + list(args), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

        def end():
            p.kill()
            p.wait()
        self.addCleanup(end)
        return p

    def seen_by_serf(self, addr):
        r = steppe.run(['serf', 'members', '-rpc-addr=%s:7373' % addr, '-format=json'])
        return {m['name']: m for m in json.loads(r.out)['members']} if r.rc == 0 else {}

    def test_joins_us_and_leaves(self):
        s = self.cluster.region('west').server
        addr = self.cluster.addr(3, 1)
        p = self.agent(addr, '-join=%s:4648' % s.addr)
        m = wait_for('serf to see us', lambda: self.seen_by_serf(addr).get('west-s1.west'), 20)
        self.assertEqual((m['status'], m['tags']['role'], m['tags']['region']), ('alive', 'nomad', 'west'))
        wait_for('us to see it', lambda: 'plain.serf' in s.members())
        # A region of its own, by its tags, that nobody answers for; no raft peer of ours.
        wait_for('its region', lambda: s.get('/v1/regions').json() == ['serf', 'west'])
        self.assertGreaterEqual(s.get('/v1/jobs?region=serf').status, 500)
        self.assertEqual(s.get('/v1/status/peers').json(), [s.addr + ':4647'])
        self.assertStatus(s.register(job('x')), 200)
        steppe.run(['serf', 'leave', '-rpc-addr=%s:7373' % addr])
        p.wait(20)
        wait_for('us to see it leave', lambda: 'plain.serf' in s.members('left'), 20)

    def test_we_join_it_and_die(self):
        s = self.cluster.region('west').server
        addr = self.cluster.addr(3, 1)
        self.agent(addr)
        wait_for('serf to be up', lambda: self.seen_by_serf(addr), 20)
        self.assertCli(s.cli('server', 'join', addr + ':4648'), 0, 'Joined 1 servers successfully\n')
        wait_for('serf to see us', lambda: self.seen_by_serf(addr).get('west-s1.west', {}).get('status') == 'alive', 20)
        s.kill()
        wait_for('serf to find us failed', lambda: self.seen_by_serf(addr)['west-s1.west']['status'] == 'failed', 60)
        s.start()
        wait_for('serf to see us again', lambda: self.seen_by_serf(addr)['west-s1.west']['status'] == 'alive', 60)

    def test_it_dies(self):
        s = self.cluster.region('west').server
        addr = self.cluster.addr(3, 1)
        p = self.agent(addr, '-join=%s:4648' % s.addr)
        wait_for('us to see it', lambda: 'plain.serf' in s.members(), 20)
        p.kill()
        p.wait()
        wait_for('us to find it failed', lambda: 'plain.serf' in s.members('failed'), 60)
        self.assertCli(s.cli('server', 'force-leave', 'plain.serf'), 0)
        wait_for('it to be left', lambda: 'plain.serf' in s.members('left'))

    def test_garbage_of_a_friend(self):
        """Serf's user events and queries, which we may not know yet, do no harm."""
        s = self.cluster.region('west').server
        addr = self.cluster.addr(3, 1)
        self.agent(addr, '-join=%s:4648' % s.addr)
        wait_for('us to see it', lambda: 'plain.serf' in s.members(), 20)
        pids = s.service_pids()
        for i in range(5):
            steppe.run(['serf', 'event', '-rpc-addr=%s:7373' % addr, 'deploy', 'x' * 100 * i])
            steppe.run(['serf', 'query', '-rpc-addr=%s:7373' % addr, '-timeout=300ms', 'load', 'y'])
        self.assertStatus(s.register(job('x')), 200)
        self.assertEqual(s.service_pids(), pids)


@unittest.skipUnless(os.environ.get('NOMAD_BIN') and not steppe.is_nomad(), 'NOMAD_BIN names no real nomad')
class RealNomad(steppe.TestCase):
    def test_a_nomad_server_in_our_pool(self):
        """It is a member and a region; that our planes do not speak to each other is told, not hung upon."""
        s = self.cluster.region('west').server
        n = self.cluster.node('real', 'east', self.cluster.addr(3, 1))
        os.environ['STEPPE_TEST_AGENT'] = os.environ['NOMAD_BIN']
        try:
            n.start()
            n.wait_leader()
        finally:
            del os.environ['STEPPE_TEST_AGENT']
        self.assertCli(s.cli('server', 'join', n.addr + ':4648'), 0, 'Joined 1 servers successfully\n')
        for x in (s, n):
            x.wait_members(['real.east', 'west-s1.west'])
        self.assertEqual(n.get('/v1/regions').json(), ['east', 'west'])
        r = s.get('/v1/jobs?region=east', timeout=30)
        self.assertGreaterEqual(r.status, 500)
        self.assertTrue(r.text)
        self.assertStatus(s.register(job('x')), 200)
        self.assertStatus(n.register(job('y')), 200)
        n.kill()
        s.wait_members(['real.east'], status='failed', timeout=60)


if __name__ == '__main__':
    unittest.main()
