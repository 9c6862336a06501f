# SPDX-License-Identifier: MPL-2.0
"""What keeps pools apart that must not mix: federation ids, raft groups, allow-lists; ways out."""

import json
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import SERF, job, wait_for  # noqa: E402

WAIT = 60


def names(node):
    return sorted(m['Name'] for m in node.get('/v1/agent/members').json()['Members'])


def member_tag(node, name, tag):
    for m in node.get('/v1/agent/members').json()['Members']:
        if m['Name'] == name:
            return m['Tags'].get(tag)
    return None


def join(node, other):
    return node.cli('server', 'join', '%s:%d' % (other.addr, SERF))


def group_of(node):
    """The raft group as the node's own gossip tag shows it."""
    name = '%s.%s' % (node.name, node.region)
    return wait_for('the raft group of ' + name, lambda: member_tag(node, name, 'raft_group'), WAIT)


@unittest.skipIf(steppe.is_nomad(), 'ours')
class Federation(steppe.TestCase):
    def pair(self, west, east):
        text = '  federation_id = "%s"'
        return (self.cluster.region('west', server_extra=text % west if west else '').server,
                self.cluster.region('east', server_extra=text % east if east else '').server)

    def assertApart(self, a, b):
        self.assertEqual(names(a), ['%s.%s' % (a.name, a.region)])
        self.assertEqual(names(b), ['%s.%s' % (b.name, b.region)])

    def test_equal_ids_meet(self):
        w, e = self.pair('blue', 'blue')
        self.assertCli(join(w, e), 0, 'Joined 1 servers successfully\n')
        wait_for('both', lambda: names(w) == names(e) == ['east-s1.east', 'west-s1.west'], WAIT)
        self.assertEqual(member_tag(w, 'east-s1.east', 'federation'), 'blue')

    def test_other_ids_are_refused_by_both(self):
        w, e = self.pair('blue', 'green')
        for a, b in ((w, e), (e, w)):
            r = join(a, b)
            self.assertEqual(r.rc, 1)
            self.assertIn('"blue"', r.err)
            self.assertIn('"green"', r.err)
        for n in (w, e):
            n.wait_log('"blue"', '"green"')
        self.assertApart(w, e)

    def test_without_an_id_is_refused_too(self):
        w, e = self.pair('blue', '')
        for a, b in ((e, w), (w, e)):
            r = join(a, b)
            self.assertEqual(r.rc, 1)
            self.assertIn('is of no federation', r.err)
            self.assertIn('"blue"', r.err)
        for n in (w, e):
            n.wait_log('is of no federation', '"blue"')
        self.assertApart(w, e)

    def test_the_data_remember(self):
        s = self.cluster.region('west', server_extra='  federation_id = "blue"').server
        self.assertStatus(s.register(job('kept')), 200)
        s.stop()
        s.server_extra = '  federation_id = "green"'
        s.write_conf()
        s.start(wait=False)
        s.wait_log('"blue"', '"green"', 'federation-id')
        s.stop()
        s.server_extra = ''  # forgotten in the file: the data still know
        s.write_conf()
        s.start()
        s.wait_leader()
        self.assertEqual(member_tag(s, 'west-s1.west', 'federation'), 'blue')
        self.assertEqual([j['ID'] for j in s.get('/v1/jobs').json()], ['kept'])

    def test_an_id_is_introduced_server_by_server(self):
        w, e = self.pair('', '')
        self.assertCli(join(w, e), 0)
        both = ['east-s1.east', 'west-s1.west']
        for n in (w, e):
            n.server_extra = '  federation_id = "blue"\n  federation_accept = ["none"]'
            n.write_conf()
            n.restart()
            wait_for('both after a restart', lambda: all(names(x) == both for x in (w, e)), WAIT)
        for n in (w, e):
            for x in both:
                wait_for('the id of ' + x, lambda: member_tag(n, x, 'federation') == 'blue', WAIT)


@unittest.skipIf(steppe.is_nomad(), 'ours')
class AllowList(steppe.TestCase):
    def test_others_are_refused(self):
        w = self.cluster.region('west').server
        near, far = self.cluster.region('near').server, self.cluster.region('far').server
        w.stop()
        w.server_extra = '  join_allow = ["%s", "%s/32"]' % (w.addr, near.addr)
        w.write_conf()
        w.start()
        self.assertCli(join(near, w), 0)
        r = join(far, w)
        self.assertEqual(r.rc, 1)
        self.assertIn("join_allow of 'west-s1.west'", r.err)
        self.assertIn(far.addr, r.err)
        w.wait_log('join_allow', far.addr)
        far.wait_log('join_allow', far.addr)
        r = join(w, far)
        self.assertEqual(r.rc, 1)
        self.assertIn('it is not in join_allow of this server', r.err)
        # Who came by another door is refused as well.
        self.assertCli(join(near, far), 0)
        w.wait_log('member refused', 'far-s1.far', 'join_allow')
        self.assertEqual(names(w), ['near-s1.near', 'west-s1.west'])


@unittest.skipIf(steppe.is_nomad(), 'ours')
class Check(steppe.TestCase):
    """`server join -check`: says what a join would meet, and joins nobody."""

    KEYS = ('cg8StVXbQJ0gPvMd9o7yrg==', 'pUqJrVyVRj5jsiYEkM/tFQ==')

    def check(self, node, *addrs):
        """{check: (result, detail)} of one address."""
        r = node.cli('server', 'join', '-check', *addrs)
        rows = steppe.table(r.out)
        self.assertEqual(rows[0], ['Address', 'Check', 'Result', 'Detail'], r)
        found = {row[1]: (row[2], row[3]) for row in rows[1:]}
        self.assertEqual(r.rc, int(any(x == 'fail' for x, _ in found.values())), r)
        return found

    def assertFound(self, found, **want):
        for name, (result, text) in want.items():
            self.assertEqual(found[name][0], result, found)
            self.assertIn(text, found[name][1], found)

    def test_a_good_one(self):
        w, e = self.cluster.region('west').server, self.cluster.region('east').server
        found = self.check(w, '%s:%d' % (e.addr, SERF))
        self.assertEqual(set(found), {'udp', 'tcp', 'key', 'clock', 'version', 'region', 'name', 'federation', 'raft group'})
        self.assertFound(found, udp=('ok', ''), tcp=('ok', ''), key=('ok', 'not encrypted'), clock=('ok', 'ms'),
                         version=('ok', 'build'), region=('ok', 'east (1)'), name=('ok', 'west-s1.west'))
        for n in (w, e):
            self.assertEqual(len(names(n)), 1)
        doc = w.cli('server', 'join', '-check', '-json', e.addr)
        self.assertEqual(doc.rc, 0)
        self.assertTrue(json.loads(doc.out)['OK'])
        self.assertEqual(json.loads(doc.out)['Findings'][0]['Check'], 'udp')
        self.assertStatus(w.get('/v1/agent/join/check'), 400, 'missing address to join')

    def test_nobody_there(self):
        w = self.cluster.region('west').server
        self.assertFound(self.check(w, self.cluster.addr(99, 1)), udp=('fail', 'no answer'), tcp=('fail', 'refused'))
        self.assertFound(self.check(w, 'nobody.invalid'), address=('fail', ''))

    def test_itself(self):
        """A list of all servers of a region names the asking one, too: no finding."""
        w = self.cluster.region('west').server
        self.assertFound(self.check(w, w.addr), address=('skip', 'this is the server that asks'), udp=('ok', ''))

    def test_links_cut(self):
        """Datagrams or streams to it vanish in silence: each is said of by its own line, in time."""
        if os.geteuid() != 0 or not shutil.which('nft'):
            self.skipTest('needs root and nft')
        w, e = self.cluster.region('west').server, self.cluster.region('east').server
        for proto, want in (('udp', {'udp': ('fail', 'no answer'), 'tcp': ('ok', ''), 'region': ('ok', 'east (1)')}),
                            ('tcp', {'udp': ('ok', ''), 'tcp': ('fail', 'timed out'), 'key': ('skip', ''),
                                     'region': ('skip', ''), 'name': ('skip', '')})):
            table = 'steppe_check_%d' % self.cluster.net
            p = subprocess.run(['nft', 'table inet %s { chain c { type filter hook input priority 0; ip daddr %s %s dport %d '
                                'drop; }; }' % (table, e.addr, proto, SERF)], stderr=subprocess.PIPE, text=True)
            if p.returncode:
                self.skipTest('nft does not work here: ' + p.stderr)
            try:
                self.assertFound(self.check(w, e.addr), **want)
            finally:
                subprocess.run(['nft', 'delete table inet ' + table], check=True)

    def test_keys(self):
        a, b, c = (self.cluster.region(n, server_extra='  encrypt = "%s"' % k if k else '').server
                   for n, k in (('a', self.KEYS[0]), ('b', self.KEYS[1]), ('c', '')))
        d = self.cluster.region('d', server_extra='  encrypt = "%s"' % self.KEYS[0]).server
        for x, y in ((a, b), (a, c), (c, a)):
            self.assertFound(self.check(x, y.addr), udp=('fail', ''), tcp=('ok', ''), key=('fail', ''))
        self.assertFound(self.check(a, d.addr), udp=('ok', ''), key=('ok', 'one of ours'))

    def test_guards(self):
        w = self.cluster.region('west', server_extra='  federation_id = "blue"').server
        e = self.cluster.region('east', server_extra='  federation_id = "green"').server
        self.assertFound(self.check(w, e.addr), federation=('fail', '"green"'))
        twin = self.cluster.node('west-s1', 'west', self.cluster.addr(60, 1), server_extra='  federation_id = "blue"')
        twin.dir = twin.dir + '-twin'
        twin.data_dir, twin.run_dir = twin.dir + '/data', twin.dir + '/run'
        twin.conf_file, twin.log_file = twin.dir + '/node.hcl', twin.dir + '/log'
        os.makedirs(twin.dir)
        twin.start()
        twin.wait_leader()
        group_of(twin)
        group_of(w)
        found = self.check(twin, w.addr)
        self.assertFound(found, name=('fail', "'west-s1.west' is in use there by %s:%d" % (w.addr, SERF)))


@unittest.skipIf(steppe.is_nomad(), 'ours')
class RaftGroup(steppe.TestCase):
    def rename(self, node, region, **kw):
        node.stop()
        node.region = region
        node.write_conf()
        node.start(**kw)
        node.wait_leader()

    def test_a_renamed_region_keeps_its_state(self):
        w = self.cluster.region('west').server
        self.assertStatus(w.register(job('kept')), 200)
        group = group_of(w)
        self.rename(w, 'north')
        self.assertEqual([j['ID'] for j in w.get('/v1/jobs?region=north').json()], ['kept'])
        self.assertEqual(group_of(w), group)

    def test_two_groups_do_not_mix(self):
        w, e = self.cluster.region('west').server, self.cluster.region('east').server
        self.assertStatus(w.register(job('of-west')), 200)
        self.assertStatus(e.register(job('of-east')), 200)
        ours, theirs = group_of(w), group_of(e)
        self.assertNotEqual(ours, theirs)
        self.rename(w, 'east')
        self.assertStatus(w.get('/v1/agent/health'), 200)  # nobody has been met yet
        r = join(w, e)
        self.assertEqual(r.rc, 1)
        for text in (r.err, w.wait_log('two raft groups'), e.wait_log('two raft groups')):
            self.assertIn(ours, text)
            self.assertIn(theirs, text)
        # Whoever joined says so until it is mended, and both go on with their own data.
        health = w.get('/v1/agent/health')
        self.assertEqual(health.status, 500)
        self.assertIn(ours, health.text)
        self.assertIn(theirs, health.text)
        self.assertFalse(health.json()['server']['ok'])
        self.assertStatus(e.get('/v1/agent/health'), 200)
        self.assertCli(w.cli('server', 'members'), 0)
        self.assertEqual(names(w), ['west-s1.east'])
        self.assertEqual(names(e), ['east-s1.east'])
        self.assertEqual([j['ID'] for j in w.get('/v1/jobs').json()], ['of-west'])
        self.assertEqual([j['ID'] for j in e.get('/v1/jobs').json()], ['of-east'])
        # A third region cannot be the way in either.
        n = self.cluster.region('north').server
        self.assertCli(join(n, e), 0)
        wait_for('east in north', lambda: member_tag(n, 'east-s1.east', 'raft_group') == theirs, WAIT)
        r = join(w, n)
        self.assertEqual(r.rc, 1)
        self.assertIn(ours, r.err)
        self.assertIn(theirs, r.err)
        # Mended.
        self.rename(w, 'west')
        self.assertCli(join(w, e), 0)
        self.assertStatus(w.get('/v1/agent/health'), 200)
        wait_for('all regions', lambda: e.get('/v1/regions').json() == ['east', 'north', 'west'], WAIT)
        self.assertEqual([j['ID'] for j in e.get('/v1/jobs?region=west').json()], ['of-west'])


def statuses(node):
    return {m['Name']: m['Status'] for m in node.get('/v1/agent/members').json()['Members']}


@unittest.skipIf(steppe.is_nomad(), 'ours')
class RegionLeave(steppe.TestCase):
    WEST = ['west-s1.west', 'west-s2.west', 'west-s3.west']

    def wait_statuses(self, nodes, want):
        for n in nodes:
            wait_for('%s to see %s' % (n.name, want), lambda: statuses(n) == want, WAIT)  # noqa: B023

    def test_out_and_back(self):
        c = self.cluster
        east = c.region('east').server
        west = c.region('west', servers=3)
        s1, s2, s3 = west.servers
        s1.server_extra = s1.server_extra.replace('retry_join = [', 'retry_join = ["%s", ' % east.addr)
        s1.write_conf()
        self.assertCli(join(s1, east), 0)
        every = {n: 'alive' for n in self.WEST + ['east-s1.east']}
        mine = {n: 'alive' for n in self.WEST}
        self.wait_statuses((east, s1, s2, s3), every)
        self.assertStatus(east.register(job('x', region='west'), '?region=west'), 200)
        peers = s1.get('/v1/status/peers').json()

        r = s2.cli('server', 'region', 'leave')
        self.assertCli(r, 0, 'Region west has left the federation: %s\n' % ', '.join(self.WEST), '')
        self.wait_statuses((s1, s2, s3), mine)
        self.wait_statuses((east,), {'east-s1.east': 'alive'})
        wait_for('one region in east', lambda: east.get('/v1/regions').json() == ['east'], WAIT)
        wait_for('one region in west', lambda: s3.get('/v1/regions').json() == ['west'], WAIT)
        self.assertNotIn('member failed', ''.join(n.log() for n in (east, s1, s2, s3)))
        # The region itself goes on as if nothing had been.
        self.assertEqual(s1.get('/v1/status/peers').json(), peers)
        self.assertEqual(s1.job_ids(), ['x'])
        self.assertStatus(s2.register(job('y')), 200)
        self.assertCli(s2.cli('server', 'region', 'leave'), 0)  # once more is no harm

        # The other side cannot fetch it back, and a look says why.
        r = join(east, s1)
        self.assertEqual(r.rc, 1)
        self.assertIn('region west has left the federation', r.err)
        r = east.cli('server', 'join', '-check', s1.addr)
        self.assertEqual(r.rc, 1)
        self.assertIn('region west has left the federation', r.out)

        # Nor does a restart, with a configuration that names the others.
        s1.restart()
        s1.wait_log('retry_join')
        self.wait_statuses((s1, s2, s3), mine)
        s1.wait_log('this region has left the federation')
        self.assertEqual(statuses(east), {'east-s1.east': 'alive'})

        self.assertCli(join(s3, east), 0)
        self.wait_statuses((east, s1, s2, s3), every)
        for n in (east, s1, s2, s3):
            wait_for('both regions', lambda: n.get('/v1/regions').json() == ['east', 'west'], WAIT)  # noqa: B023
        wait_for('jobs of west in east', lambda: sorted(east.job_ids('?region=west')) == ['x', 'y'], WAIT)
        self.assertEqual(s1.get('/v1/status/peers').json(), peers)
        s2.restart()  # the way back is remembered, too
        self.wait_statuses((east, s1, s2, s3), every)

    def test_one_that_slept(self):
        """A server that was down when its region left follows when it is back."""
        east = self.cluster.region('east').server
        west = self.cluster.region('west', servers=3)
        s1, s2, s3 = west.servers
        self.assertCli(join(s1, east), 0)
        self.wait_statuses((east, s1, s2, s3), {n: 'alive' for n in self.WEST + ['east-s1.east']})
        s3.kill()
        wait_for('s3 failed', lambda: statuses(s1)['west-s3.west'] == 'failed', WAIT)
        self.assertCli(s1.cli('server', 'region', 'leave'), 0)
        s3.start()
        wait_for('all of west at s3', lambda: statuses(s3) == {n: 'alive' for n in self.WEST}, WAIT)
        wait_for('no west in east', lambda: not any(n.endswith('.west') and s == 'alive' for n, s in statuses(east).items()), WAIT)


@unittest.skipIf(steppe.is_nomad(), 'ours')
class Gone(steppe.TestCase):
    def test_remove_a_region_and_prune_a_server(self):
        c = self.cluster
        west = c.region('west').server
        east = c.region('east', servers=3)
        north = c.region('north').server
        self.assertCli(join(west, east.server), 0)
        self.assertCli(join(north, west), 0)
        for n in (west, north):
            wait_for('all five', lambda: len(statuses(n)) == 5, WAIT)  # noqa: B023
        r = west.cli('server', 'region', 'remove', 'east')
        self.assertEqual(r.rc, 1)
        self.assertIn('Error removing region east', r.err)
        self.assertIn('is alive', r.err)
        self.assertEqual(west.cli('server', 'region', 'remove', 'nowhere').rc, 1)
        self.assertEqual(west.cli('server', 'region', 'remove').rc, 1)
        for n in east.servers:
            n.kill()
        for n in (west, north):
            wait_for('east failed', lambda: [statuses(n).get('east-s%d.east' % i) for i in (1, 2, 3)] == ['failed'] * 3, WAIT)  # noqa: B023
        self.assertCli(west.cli('server', 'region', 'remove', 'east'), 0,
                       'Region east is removed: east-s1.east, east-s2.east, east-s3.east\n')
        for n in (west, north):
            wait_for('east forgotten', lambda: sorted(statuses(n)) == ['north-s1.north', 'west-s1.west'], WAIT)  # noqa: B023
        north.kill()
        wait_for('north failed', lambda: statuses(west).get('north-s1.north') == 'failed', WAIT)
        self.assertCli(west.cli('server', 'force-leave', '-prune', 'north-s1.north'), 0)
        wait_for('north pruned', lambda: sorted(statuses(west)) == ['west-s1.west'], WAIT)


if __name__ == '__main__':
    unittest.main()
