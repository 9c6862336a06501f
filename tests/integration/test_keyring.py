# SPDX-License-Identifier: MPL-2.0
"""Gossip keys: their file, their change by gossip over two regions under traffic, who is refused."""

import base64
import json
import os
import stat
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'lib'))
import rawwire  # noqa: E402
import steppe  # noqa: E402
from rawwire import field  # noqa: E402
from steppe import wait_for  # noqa: E402

EVENT = 124
A, B, C, D = (base64.b64encode(bytes([n]) * size).decode() for n, size in ((1, 16), (2, 24), (3, 32), (4, 32)))
KEYRING = '/v1/agent/keyring/'


def encrypt(key):
    return '  encrypt = "%s"' % key


def key_file(node):
    return os.path.join(node.data_dir, 'server', 'serf', 'keyring')


def file_keys(node):
    with open(key_file(node)) as f:
        return json.load(f)


def order(node, op, key=None):
    body = None if key is None else {'Key': key}
    return node.request('GET' if op == 'list' else 'PUT', KEYRING + op, body, timeout=40)


def event(node, name):
    """A user event of the node's serfd: (code, error)."""
    with rawwire.Ipc(os.path.join(node.run_dir, 'serfd.sock'), 20 * steppe.SCALE) as bus:
        return bus.call(EVENT, field(1, name) + field(2, b'payload'))[:2]


class Rotation(steppe.TestCase):
    def federation(self, key):
        west = self.cluster.region('west', servers=2, start=False, server_extra=encrypt(key))
        east = self.cluster.region('east', servers=2, start=False, server_extra=encrypt(key))
        servers = west.servers + east.servers
        for s in servers:
            s.start(wait=False)
        for s in servers:
            s.wait_http(40)
        for s in servers:
            s.wait_leader(60)
        west.server.join(east.server)
        names = ['%s.%s' % (s.name, s.region) for s in servers]
        for s in servers:
            s.wait_members(names, 60)
        return servers, names

    def test_rotation_under_traffic(self):
        servers, names = self.federation(A)
        stop, sent, errors = threading.Event(), [], []

        def traffic():
            while not stop.is_set():
                i = len(sent)
                code, error = event(servers[i % 4], 'traffic-%d' % i)
                if code:
                    errors.append(error)
                sent.append('traffic-%d' % i)
                stop.wait(0.02)

        t = threading.Thread(target=traffic)
        t.start()
        try:
            old = A
            for new, by in ((B, servers[0]), (C, servers[3]), (D, servers[2])):
                for op, key in (('install', new), ('use', new), ('remove', old)):
                    r = by.cli('operator', 'gossip', 'keyring', op, key, timeout=60)
                    self.assertCli(r, 0)
                    target = len(sent) + 3
                    wait_for('traffic under this keyring', lambda: len(sent) >= target, 60)
                old = new
        finally:
            stop.set()
            t.join()
        self.assertEqual(errors, [])
        self.assertStatus(order(servers[1], 'list'), 200, json.dumps(
            {'Messages': {}, 'Keys': {D: 4}, 'NumNodes': 4}, separators=(',', ':')))
        for s in servers:
            self.assertEqual(file_keys(s), [D])
            wait_for('every event at %s' % s.name, lambda: not [
                n for n in sent if 'user event name=%s ' % n not in s.log()], 60)
            for n in sent:
                self.assertEqual(s.log().count('user event name=%s ' % n), 1)
            s.wait_members(names, 30)
            self.assertNotIn('packet dropped: gossip keys do not match', s.log())
        self.assertGreater(len(sent), 20)

    def test_a_new_server_needs_the_new_key(self):
        servers, names = self.federation(A)
        for op, key in (('install', C), ('use', C), ('remove', A)):
            self.assertStatus(order(servers[0], op, key), 200)
        # A restart finds the key of the file, though the configuration says the old one.
        servers[1].restart()
        servers[1].wait_members(names, 60)
        servers[1].wait_log("the keyring's file wins")
        late = self.cluster.node('late', 'north', self.cluster.addr(3, 1), server_extra=encrypt(A))
        late.start()
        r = late.put('/v1/agent/join?address=%s' % servers[0].addr)
        self.assertEqual(r.json()['num_joined'], 0)
        self.assertIn('the gossip keys of both sides do not match', r.json()['error'])
        late.stop()
        os.unlink(key_file(late))
        late.server_extra = encrypt(C)
        late.write_conf()
        late.start().join(servers[0])
        for s in servers + [late]:
            s.wait_members(names + ['late.north'], 60)


class File(steppe.TestCase):
    def setUp(self):
        super().setUp()
        self.node = self.cluster.region('west', start=False, server_extra=encrypt(A)).server

    def test_mode_content_restart(self):
        n = self.node.start()
        self.assertEqual(file_keys(n), [A])
        self.assertEqual(stat.S_IMODE(os.stat(key_file(n)).st_mode), 0o600)
        self.assertStatus(order(n, 'install', B), 200, '{"Messages":{},"Keys":{},"NumNodes":1}')
        self.assertEqual(file_keys(n), [A, B])
        self.assertStatus(order(n, 'use', B), 200)
        self.assertEqual(file_keys(n), [B, A])
        self.assertEqual(stat.S_IMODE(os.stat(key_file(n)).st_mode), 0o600)
        n.kill()
        os.chmod(key_file(n), 0o644)
        n.start()
        n.wait_log('others may read the gossip keys', 'mode=0644')
        self.assertEqual(order(n, 'list').json()['Keys'], {A: 1, B: 1})
        self.assertEqual(file_keys(n), [B, A])
        # Without the key in the configuration the file is enough, as in Nomad.
        n.stop()
        n.server_extra = ''
        n.write_conf()
        n.start()
        self.assertEqual(order(n, 'list').json()['Keys'], {A: 1, B: 1})
        self.assertEqual(n.get('/v1/agent/self').json()['stats']['serf']['encrypted'], 'true')

    def test_a_bad_file_stops_the_start(self):
        n = self.node.start()
        n.stop()
        with open(key_file(n), 'w') as f:
            f.write('["%s", "short"]' % A)
        n.start(wait=False)
        wait_for('the reason in the log', lambda: '%s: key 2: illegal base64 data at input byte 4' % key_file(n)
                 in n.log(), 40)
        with open(key_file(n), 'w') as f:
            json.dump([A], f)
        n.wait_http(60)

    def test_refused_orders(self):
        n = self.node.start()
        for op, body, status, text in (
                ('install', '{"Key":"!"}', 500, 'illegal base64 data at input byte 0'),
                ('install', '{"Key":"c2hvcnQ="}', 500, '1/1 nodes reported failure'),
                ('install', '{"Key":""}', 500, '1/1 nodes reported failure'),
                ('install', '{"Key":"%s"}' % base64.b64encode(bytes(900)).decode(), 500, None),
                ('install', None, 500, 'Request body is empty'),
                ('install', '{', 500, None),
                ('use', '{"Key":"%s"}' % B, 500, '1/1 nodes reported failure'),
                ('remove', '{"Key":"%s"}' % A, 500, '1/1 nodes reported failure'),
                ('rotate', None, 404, 'resource not found')):
            self.assertStatus(n.put(KEYRING + op, body, 40), status, text)
        n.wait_log('Requested key is not in the keyring')
        n.wait_log('Removing the primary key is not allowed')
        n.wait_log('key size must be 16, 24 or 32 bytes')
        self.assertNotIn(A, n.log())
        self.assertEqual(file_keys(n), [A])
        self.assertStatus(order(n, 'remove', B), 200)  # not there: nothing to do, as in Serf

    def test_the_command(self):
        n = self.node.start()
        k = 'operator', 'gossip', 'keyring'
        self.assertCli(n.cli(*k, 'install', B), 0, 'Installing new gossip encryption key...\n', '')
        self.assertCli(n.cli(*k, 'list'), 0,
                       'Gathering installed encryption keys...\nKey\n%s\n%s\n' % (A, B), '')
        self.assertCli(n.cli(*k, 'use', B), 0, 'Changing primary gossip encryption key...\n', '')
        self.assertCli(n.cli(*k, 'remove', B), 1, 'Removing gossip encryption key...\n',
                       'error: Unexpected response code: 500 (1/1 nodes reported failure)\n')
        self.assertCli(n.cli(*k, 'remove', A), 0, 'Removing gossip encryption key...\n', '')
        self.assertCli(n.cli(*k, 'use'), 1, '', "This command requires one argument: <key>\n"
                       "For additional help try 'steppe operator gossip keyring use -help'\n")
        o = 'operator', 'keyring'
        self.assertCli(n.cli(*o, '-list'), 0, 'Gathering installed encryption keys...\nKey\n%s\n' % B, '')
        self.assertCli(n.cli(*o, '-install=' + C), 0, 'Installing new gossip encryption key...\n', '')
        self.assertCli(n.cli(*o, '-use', C), 0, 'Changing primary gossip encryption key...\n', '')
        self.assertCli(n.cli(*o, '-remove', B), 0, 'Removing gossip encryption key...\n', '')
        self.assertCli(n.cli(*o, '-list', '-use', B), 1, '', 'Only a single action is allowed\n'
                       "For additional help try 'steppe operator keyring -help'\n")
        self.assertEqual(file_keys(n), [C])
        key = n.cli('operator', 'keygen').out.strip()
        self.assertEqual(len(base64.b64decode(key)), 32)

    def test_disk_full(self):
        n = self.node.start()
        folder = os.path.dirname(key_file(n))
        os.mkdir(key_file(n) + '.tmp')  # the new file cannot be made
        self.assertStatus(order(n, 'install', B), 500, '1/1 nodes reported failure')
        n.wait_log("the keyring's file cannot be written")
        os.rmdir(key_file(n) + '.tmp')
        self.assertEqual(order(n, 'list').json()['Keys'], {A: 1})
        self.assertStatus(order(n, 'install', B), 200)
        self.assertEqual(sorted(x for x in os.listdir(folder) if 'keyring' in x), ['keyring'])


class Refused(steppe.TestCase):
    def pair(self, ours, theirs):
        extra = [encrypt(k) if k else '' for k in (ours, theirs)]
        west = self.cluster.region('west', start=False, server_extra=extra[0])
        east = self.cluster.region('east', start=False, server_extra=extra[1])
        for r in (west, east):
            r.server.start(wait=False)
        for r in (west, east):
            r.server.wait_http(40)
        return west.server, east.server

    def check(self, ours, theirs, we_say, they_say):
        w, e = self.pair(ours, theirs)
        r = w.put('/v1/agent/join?address=%s' % e.addr)
        self.assertStatus(r, 200)
        self.assertEqual(r.json()['num_joined'], 0)
        # Each log names the other (the one who was asked sees only where the connection came from).
        wait_for('our log', lambda: 'gossip keys do not match: %s peer=%s:4648' % (we_say, e.addr) in w.log(), 30)
        wait_for('their log', lambda: 'gossip keys do not match: %s peer=127.' % they_say in e.log(), 30)
        self.assertIn('keys of both sides do not match', r.json()['error'])
        self.assertEqual(w.members(None), [w.name + '.west'])
        self.assertEqual(e.members(None), [e.name + '.east'])

    def test_wrong_key(self):
        text = 'No installed keys could decrypt the message'
        self.check(A, C, text, text)

    def test_we_have_none(self):
        self.check(None, A, 'Remote state is encrypted and encryption is not configured',
                   'Encryption is configured but remote state is not encrypted')

    def test_they_have_none(self):
        self.check(A, None, 'Encryption is configured but remote state is not encrypted',
                   'Remote state is encrypted and encryption is not configured')

    def test_a_member_with_an_old_key(self):
        # Away while the key was changed: it looks for the pool that it knows, and both logs say so.
        w, e = self.pair(A, A)
        w.join(e)
        for n in (w, e):
            n.wait_members([w.name + '.west', e.name + '.east'], 40)
        snapshot = os.path.join(e.data_dir, 'server', 'serf', 'snapshot')

        def written():
            with open(snapshot) as f:
                return w.name in f.read()
        wait_for('the snapshot', written, 40)
        for n in (w, e):
            n.stop()
        with open(key_file(w), 'w') as f:
            json.dump([C], f)
        for n in (w, e):
            n.start()
        for n in (w, e):
            wait_for('%s says so' % n.name, lambda: 'gossip keys do not match: No installed keys' in n.log(), 60)

    def test_without_encryption(self):
        n = self.cluster.region('west', start=False).server.start()
        for op, key in (('list', None), ('install', A), ('use', A), ('remove', A)):
            self.assertStatus(order(n, op, key), 500, '1/1 nodes reported failure')
        n.wait_log('Keyring is empty (encryption not enabled)')
        n.wait_log('No keyring to modify (encryption not enabled)')
        self.assertFalse(os.path.exists(key_file(n)))
        c = self.cluster.node('c1', 'west', self.cluster.addr(1, 11), server=False, client=True, servers=[n.addr])
        c.start()
        self.assertStatus(order(c, 'list'), 501, 'Invalid method')


if __name__ == '__main__':
    unittest.main(verbosity=2)
