#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""serfd and real Nomad servers in one pool: keys, crashes, refutations, ways in and out.

By hand: NOMAD_BIN names the real program (0.10 and 1.1 are what this was written against); skipped without."""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'lib')]
import steppe
from rawwire import field
from steppe import wait_for
from test_serf_agent import FORCE_LEAVE, PORT, REGION_LEAVE, Case
from test_serf_ops import KEYRING_INSTALL, KEYRING_LIST, KEYRING_REMOVE, KEYRING_USE, counts, encrypt

NOMAD = os.environ.get('NOMAD_BIN')
K16, K32 = (base64.b64encode(bytes([n]) * size).decode() for n, size in ((1, 16), (3, 32)))
SLOW = 120  # Nomad's pool has the timers of a WAN: a death takes it up to a minute


class Nomad:
    """A real server, a region of its own."""

    def __init__(self, pool, name, addr, key=None):
        self.name, self.addr, self.proc = '%s.%s' % (name, name), addr, None
        self.dir = os.path.join(pool.dir, name)
        self.log_file = os.path.join(self.dir, 'log')
        os.makedirs(self.dir)
        with open(os.path.join(self.dir, 'node.hcl'), 'w') as f:
            f.write('''region = "%s"
name = "%s"
data_dir = "%s/data"
bind_addr = "%s"
log_level = "DEBUG"
disable_update_check = true
leave_on_interrupt = true
advertise { http = "%s" rpc = "%s" serf = "%s" }
server { enabled = true bootstrap_expect = 1 %s }
''' % (name, name, self.dir, addr, addr, addr, addr, encrypt(key) if key else ''))

    def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith('NOMAD_')}
        with open(self.log_file, 'ab') as log:
            self.proc = subprocess.Popen([NOMAD, 'agent', '-config=' + os.path.join(self.dir, 'node.hcl')],
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=self.dir)
        wait_for('nomad %s' % self.name, self.statuses, 60)
        return self

    def cli(self, *args):
        return steppe.run([NOMAD] + list(args) + ['-address=http://%s:4646' % self.addr], timeout=60)

    def order(self, *args):
        r = steppe.run([NOMAD] + list(args[:-1]) + ['-address=http://%s:4646' % self.addr, args[-1]], timeout=60)
        assert r.rc == 0, r
        return r

    def statuses(self):
        c = http.client.HTTPConnection(self.addr, 4646, timeout=10)
        try:
            c.request('GET', '/v1/agent/members')
            return {m['Name']: m['Status'] for m in json.loads(c.getresponse().read())['Members']}
        finally:
            c.close()

    def status(self, name):
        return self.statuses().get(name)

    def wait_status(self, name, status, timeout=SLOW):
        wait_for('%s to show %s as %s' % (self.name, name, status), lambda: self.status(name) == status, timeout)

    def log(self):
        with open(self.log_file, errors='replace') as f:
            return f.read()

    def stop(self, sig=signal.SIGKILL):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(sig)
            self.proc.wait(60)


@unittest.skipUnless(NOMAD, 'NOMAD_BIN names no real nomad')
class Pool(Case):
    def nomad(self, name, host, key=None):
        n = Nomad(self.pool, name, self.pool.addr(3, host), key)
        self.procs.append(n)
        return n.start()

    def pool_of_four(self, key=None, **kw):
        """Two of ours in west, two of theirs, alive at all."""
        if key:
            kw['server'] = encrypt(key)
        s = [self.serfd('srv%d' % i, 'west', i, **kw).start() for i in (1, 2)]
        n = [self.nomad('n%d' % i, i, key) for i in (1, 2)]
        self.assertEqual(s[1].join(s[0].addr), (1, ''))
        self.assertEqual(s[0].join(n[0].addr), (1, ''))  # we join them, and they us
        n[1].order('server', 'join', '%s:%d' % (s[1].addr, PORT))
        self.names = [x.full for x in s] + [x.name for x in n]
        self.wait_all_alive(s + n)
        return s, n

    def wait_all_alive(self, nodes):
        for x in nodes:
            for name in self.names:
                x.wait_status(name, 'alive', SLOW)

    def order(self, node, method, key=None):
        r = node.call(method, field(1, key) if key else b'', 40)
        self.assertEqual(r[0], 0, r)
        return r[2]

    def test_keys_by_us(self):
        s, n = self.pool_of_four(K16)
        for method, key in ((KEYRING_INSTALL, K32), (KEYRING_USE, K32), (KEYRING_REMOVE, K16)):
            self.order(s[1], method, key)
        self.assertEqual(counts(self.order(s[0], KEYRING_LIST), 2), {K32: 4})
        out = n[1].cli('operator', 'keyring', '-list').out
        self.assertIn(K32, out)
        self.assertNotIn(K16, out)
        self.go_on(s, n)

    def test_keys_by_them(self):
        s, n = self.pool_of_four(K32)
        for op, key in (('-install', K16), ('-use', K16), ('-remove', K32)):
            r = n[0].cli('operator', 'keyring', '%s=%s' % (op, key))
            self.assertEqual(r.rc, 0, r)
        self.assertEqual(counts(self.order(s[0], KEYRING_LIST), 2), {K16: 4})
        self.go_on(s, n)

    def go_on(self, s, n):
        """With the new key alone they still find out who dies, and who is back."""
        n[1].stop()
        for x in s:
            x.wait_status(n[1].name, 'failed', SLOW)
        n[1].start()
        n[1].order('server', 'join', '%s:%d' % (s[0].addr, PORT))
        self.wait_all_alive(s + n)
        for x in s + n:
            self.assertNotIn('panic', x.log())

    def crash_and_back(self, s, n):
        n[0].stop()
        s[1].wait_snapshot(n[1].name)
        s[1].kill()
        for x, name in ((s[0], n[0].name), (s[0], s[1].full), (n[1], n[0].name), (n[1], s[1].full)):
            x.wait_status(name, 'failed', SLOW)
        s[1].start()  # by its snapshot
        n[0].start()
        n[0].order('server', 'join', '%s:%d' % (s[0].addr, PORT))
        self.wait_all_alive(s + n)

    def test_crashes(self):
        self.crash_and_back(*self.pool_of_four())

    def test_crashes_encrypted_and_not_compressed(self):
        self.crash_and_back(*self.pool_of_four(K16, extra='gossip { compression = false }'))

    def test_stopped_and_refuted(self):
        s, n = self.pool_of_four(K32)
        for stopped, watchers in ((n[0], s), (s[1], [s[0], n[1]])):
            stopped.proc.send_signal(signal.SIGSTOP)
            try:
                for x in watchers:
                    x.wait_status(stopped.name if stopped in n else stopped.full, 'failed', SLOW)
            finally:
                stopped.proc.send_signal(signal.SIGCONT)
            self.wait_all_alive(s + n)

    def test_leaves(self):
        s, n = self.pool_of_four()
        n[0].stop(signal.SIGINT)  # leave_on_interrupt
        self.assertEqual(s[1].stop(signal.SIGUSR2), 0)
        for x in (s[0], n[1]):
            x.wait_status(n[0].name, 'left')
            x.wait_status(s[1].full, 'left')
        self.assertNotIn('member failed', s[0].log())
        n[1].stop()
        s[0].wait_status(n[1].name, 'failed', SLOW)
        self.order(s[0], FORCE_LEAVE, n[1].name)
        s[0].wait_status(n[1].name, 'left')
        n[1].start()  # and comes back from that
        n[1].order('server', 'join', '%s:%d' % (s[0].addr, PORT))
        s[0].wait_status(n[1].name, 'alive', SLOW)
        n[1].wait_status(s[0].full, 'alive')

    def test_force_leave_by_them(self):
        s, n = self.pool_of_four()
        n[0].order('server', 'force-leave', s[1].full)  # alive: refuted
        self.wait_all_alive(s + n)
        s[1].kill()
        for x in [s[0]] + n:
            x.wait_status(s[1].full, 'failed', SLOW)
        n[1].order('server', 'force-leave', s[1].full)
        for x in [s[0]] + n:
            x.wait_status(s[1].full, 'left')

    def test_our_region_leaves_and_comes_back(self):
        s, n = self.pool_of_four()
        self.order(s[0], REGION_LEAVE)
        theirs, ours = [x.name for x in n], [x.full for x in s]
        for x in n:  # the generation of 0.10 knows no pruning and keeps those who have left for a day
            wait_for('%s without west' % x.name, lambda x=x: sorted(
                k for k, v in x.statuses().items() if v != 'left') == theirs, SLOW)
            self.assertNotIn('failed', x.statuses().values())
        for x in s:
            wait_for('%s alone' % x.name, lambda x=x: sorted(x.members()) == ours, SLOW)
            self.assertNotIn('member failed', x.log())
        self.assertEqual(s[1].join(n[0].addr), (1, ''))
        self.wait_all_alive(s + n)


if __name__ == '__main__':
    unittest.main(verbosity=2)
