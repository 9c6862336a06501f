#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""serfd against the real `serf agent` (Debian package serf): one pool, every way in and out.

Environment: STEPPE_BUILD (or STEPPE_PREFIX), see tests/lib/steppe.py. Skipped without `serf`."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rawwire
import steppe
from rawwire import field, pb
from steppe import wait_for

PORT = 4648
MEMBERS, JOIN, FORCE_LEAVE, LEAVE, STATS, JOIN_CHECK, REGION_LEAVE = 60, 61, 62, 63, 64, 126, 127
KEY = 'AAECAwQFBgcICQoLDA0ODw=='
OTHER_KEY = 'HBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw='
NOMAD_TAGS = dict(role='nomad', region='ext', dc='dc1', vsn='1', build='1.1.0', port='4647')


def serfd_binary():
    if os.environ.get('STEPPE_BUILD'):
        return os.path.join(os.environ['STEPPE_BUILD'], 'serfd')
    return os.path.join(os.environ['STEPPE_PREFIX'], 'libexec', 'steppe', 'serfd')


class Member:
    def __init__(self, data):
        self.tags = {}
        for no, v in pb(data):
            if no == 1:
                self.name = v.decode()
            elif no == 2:
                self.addr = v.decode()
            elif no == 3:
                self.port = v
            elif no == 4:
                kv = dict(pb(v))
                self.tags[kv[1].decode()] = kv.get(2, b'').decode()
            elif no == 5:
                self.status = v.decode()


class Serfd:
    def __init__(self, pool, name, region, addr, server='', extra=''):
        self.name, self.region, self.addr = name, region, addr
        self.full = '%s.%s' % (name, region)
        self.dir = os.path.join(pool.dir, name)
        self.run_dir = os.path.join(self.dir, 'run')
        self.conf_file = os.path.join(self.dir, 'node.hcl')
        self.log_file = os.path.join(self.dir, 'log')
        self.proc = None
        os.makedirs(self.dir, exist_ok=True)
        with open(self.conf_file, 'w') as f:
            f.write('''region = "%s"
name = "%s"
data_dir = "%s/data"
run_dir = "%s"
bind_addr = "%s"
log_level = "DEBUG"
advertise { http = "%s" rpc = "%s" serf = "%s" }
server { enabled = true bootstrap_expect = 1 %s }
%s
''' % (region, name, self.dir, self.run_dir, addr, addr, addr, addr, server, extra))

    def start(self, *args, wait=True):
        with open(self.log_file, 'ab') as log:
            self.proc = subprocess.Popen([serfd_binary(), '-config=' + self.conf_file] + list(args),
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            wait_for('serfd %s' % self.name, self.members)
        return self

    def log(self):
        with open(self.log_file, errors='replace') as f:
            return f.read()

    def call(self, method, body=b'', timeout=12.0):
        """-> (code, error text, body of the reply)."""
        with rawwire.Ipc(os.path.join(self.run_dir, 'serfd.sock'), timeout) as bus:
            return bus.call(method, body)

    def members(self):
        code, error, body = self.call(MEMBERS)
        assert code == 0, error
        return {m.name: m for m in (Member(v) for no, v in pb(body) if no == 1)}

    def stats(self):
        """Counters, as texts."""
        code, error, body = self.call(STATS)
        assert code == 0, error
        entries = (dict(pb(v)) for no, v in pb(body) if no == 1)
        return {e[1].decode(): e.get(2, b'').decode() for e in entries}

    def status(self, name):
        m = self.members().get(name)
        return m.status if m else None

    def wait_status(self, name, status, timeout=15):
        return wait_for('%s to show %s as %s' % (self.full, name, status),
                        lambda: self.status(name) == status, timeout)

    def wait_snapshot(self, name):
        def written():
            with open(os.path.join(self.dir, 'data/server/serf/snapshot')) as f:
                return name in f.read()
        wait_for('the snapshot', written)

    def join(self, *addrs):
        """-> (number joined, error text)."""
        code, error, body = self.call(JOIN, b''.join(field(1, a) for a in addrs))
        assert code == 0, error
        d = dict(pb(body))
        return d.get(1, 0), d.get(2, b'').decode()

    def stop(self, sig=signal.SIGTERM):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(sig)
            self.proc.wait(15 * steppe.SCALE)
        return self.proc.returncode if self.proc else None

    def kill(self):
        self.stop(signal.SIGKILL)


class Agent:
    def __init__(self, pool, name, addr, tags=NOMAD_TAGS, args=()):
        self.name, self.addr = name, addr
        self.rpc = '%s:7373' % addr
        self.log_file = os.path.join(pool.dir, name + '.log')
        self.argv = ['serf', 'agent', '-node=' + name, '-bind=%s:%d' % (addr, PORT),
                     '-rpc-addr=' + self.rpc, '-log-level=debug'] + list(args)
        self.argv += ['-tag=%s=%s' % kv for kv in tags.items()]
        self.proc = None

    def start(self, *args):
        with open(self.log_file, 'ab') as log:
            self.proc = subprocess.Popen(self.argv + list(args), stdin=subprocess.DEVNULL,
                                         stdout=log, stderr=log)
        wait_for('the agent %s' % self.name, lambda: self.cli('members').rc == 0)
        return self

    def cli(self, command, *args, timeout=30):
        return steppe.run(['serf', command, '-rpc-addr=' + self.rpc] + list(args), timeout=timeout)

    def members(self):
        out = {}
        for line in self.cli('members').out.splitlines():
            f = line.split()
            out[f[0]] = (f[1], f[2], dict(t.split('=', 1) for t in f[3].split(',')) if len(f) > 3 else {})
        return out

    def status(self, name):
        m = self.members().get(name)
        return m[1] if m else None

    def wait_status(self, name, status, timeout=15):
        return wait_for('the agent %s to show %s as %s' % (self.name, name, status),
                        lambda: self.status(name) == status, timeout)

    def log(self):
        with open(self.log_file, errors='replace') as f:
            return f.read()

    def stop(self, sig=signal.SIGKILL):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(sig)
            self.proc.wait(15 * steppe.SCALE)


@unittest.skipUnless(shutil.which('serf'), 'the Debian package serf is not installed')
class Case(unittest.TestCase):
    def setUp(self):
        self.pool = steppe.Cluster()  # its block of addresses and its folder
        self.procs = []

    def tearDown(self):
        result = self._outcome.result
        failed = any(t is self for t, _ in result.failures + result.errors)
        for p in self.procs:
            if failed and os.path.exists(p.log_file):
                print('--- %s\n%s' % (p.name, '\n'.join(p.log().splitlines()[-40:])), file=sys.stderr)
            p.stop(signal.SIGKILL)
        for p in self.procs:
            if isinstance(p, Serfd) and p.proc:
                self.assertIsNone(steppe.CRASH.search(p.log()), p.log()[-3000:])
        self.pool.close()

    def serfd(self, name='srv1', region='west', host=1, **kw):
        s = Serfd(self.pool, name, region, self.pool.addr(1, host), **kw)
        self.procs.append(s)
        return s

    def agent(self, name='ag1.ext', host=1, **kw):
        a = Agent(self.pool, name, self.pool.addr(2, host), **kw)
        self.procs.append(a)
        return a


class Membership(Case):
    def test_agent_joins_us_and_leaves(self):
        s = self.serfd().start()
        a = self.agent().start('-join=%s:%d' % (s.addr, PORT))
        s.wait_status('ag1.ext', 'alive')
        a.wait_status('srv1.west', 'alive')
        addr, _, tags = a.members()['srv1.west']
        self.assertEqual(addr, '%s:%d' % (s.addr, PORT))
        for k, v in dict(role='nomad', region='west', dc='dc1', vsn='1', mvn='1', raft_vsn='3', port='4647',
                         rpc_addr=s.addr, bootstrap='1', expect='1').items():
            self.assertEqual(tags.get(k), v, k)
        self.assertEqual(len(tags['id']), 36)
        self.assertEqual(s.members()['ag1.ext'].tags, NOMAD_TAGS)
        self.assertEqual(a.cli('leave').rc, 0)
        s.wait_status('ag1.ext', 'left')

    def test_we_join_the_agent_and_leave(self):
        a = self.agent().start()
        s = self.serfd().start()
        self.assertEqual(s.join(a.addr), (1, ''))
        a.wait_status('srv1.west', 'alive')
        self.assertEqual(s.stop(signal.SIGUSR2), 0)
        a.wait_status('srv1.west', 'left', 5)
        self.assertNotIn('EventMemberFailed', a.log())

    def test_leave_method(self):
        a = self.agent().start()
        s = self.serfd(server='start_join = ["%s"]' % a.addr).start()
        t0 = time.monotonic()
        self.assertEqual(s.call(LEAVE)[0], 0)
        self.assertLess(time.monotonic() - t0, 4 * steppe.SCALE)
        a.wait_status('srv1.west', 'left', 5)

    def test_our_region_leaves_and_comes_back(self):
        """The agent forgets all of us, without a failure, and takes us in again."""
        a = self.agent().start()
        s = [self.serfd(name='srv%d' % i, host=i, server='start_join = ["%s"]' % a.addr).start() for i in (1, 2)]
        for x in s:
            wait_for('all three', lambda: len(x.members()) == len(a.members()) == 3)  # noqa: B023
        code, error, body = s[0].call(REGION_LEAVE)
        self.assertEqual((code, error), (0, ''))
        self.assertEqual([v for no, v in pb(body) if no == 2], [b'srv1.west', b'srv2.west'])
        wait_for('the agent to forget us', lambda: list(a.members()) == ['ag1.ext'], 30)
        for x in s:
            wait_for('us alone', lambda: sorted(x.members()) == ['srv1.west', 'srv2.west'])  # noqa: B023
            x.wait_status('srv1.west', 'alive')
        self.assertNotIn('EventMemberFailed', a.log())
        self.assertEqual(s[1].join(a.addr), (1, ''))
        for n in ('srv1.west', 'srv2.west'):
            a.wait_status(n, 'alive', 60)
        s[0].wait_status('ag1.ext', 'alive', 60)

    def test_federation(self):
        """An agent that knows nothing of federations is left alone, and does not get to know us."""
        a = self.agent().start()
        s = self.serfd(server='federation_id = "blue"').start()
        joined, error = s.join(a.addr)
        self.assertEqual(joined, 0)
        self.assertIn("member 'ag1.ext' is of no federation, 'srv1.west' is of \"blue\"", error)
        self.assertEqual(list(a.members()), ['ag1.ext'])
        self.assertEqual(list(s.members()), ['srv1.west'])
        code, _, body = s.call(JOIN_CHECK, field(1, a.addr))
        self.assertEqual(code, 0)
        found = {f[2]: f[3] for f in (dict(pb(v)) for no, v in pb(body) if no == 2)}
        self.assertEqual(found, {b'udp': b'ok', b'tcp': b'ok', b'key': b'ok', b'clock': b'skip', b'version': b'ok',
                                 b'region': b'ok', b'name': b'ok', b'federation': b'fail', b'raft group': b'ok'})
        self.assertEqual(self.agent_joins(a, s), 1)
        self.assertEqual(list(a.members()), ['ag1.ext'])

    def agent_joins(self, a, s):
        return a.cli('join', '%s:%d' % (s.addr, PORT)).rc

    def test_killed_agent_fails_and_comes_back(self):
        s = self.serfd().start()
        a = self.agent().start('-join=%s:%d' % (s.addr, PORT))
        s.wait_status('ag1.ext', 'alive')
        a.stop(signal.SIGKILL)
        s.wait_status('ag1.ext', 'failed', 15)
        a.start('-join=%s:%d' % (s.addr, PORT))
        s.wait_status('ag1.ext', 'alive')

    def test_killed_serfd_fails_and_rejoins_by_itself(self):
        a = self.agent().start()
        s = self.serfd().start()
        s.join(a.addr)
        a.wait_status('srv1.west', 'alive')
        s.wait_snapshot('ag1.ext')
        s.kill()
        a.wait_status('srv1.west', 'failed', 45)
        s.start()  # nobody tells it whom to join: its snapshot does
        a.wait_status('srv1.west', 'alive')
        s.wait_status('ag1.ext', 'alive')

    def test_quick_restart_is_no_failure(self):
        a = self.agent().start()
        s = self.serfd().start()
        s.join(a.addr)
        a.wait_status('srv1.west', 'alive')
        s.wait_snapshot('ag1.ext')
        for end, args in (s.stop, ()), (s.kill, ('-join=' + a.addr,)):
            end()
            s.start(*args, wait=False)
            # The first answer after the restart already shows the pool: no gap for the router.
            self.assertEqual(wait_for('members', s.members)['ag1.ext'].status, 'alive')
            self.assertEqual(a.status('srv1.west'), 'alive')

    def test_left_stays_away_unless_told(self):
        a = self.agent().start()
        s = self.serfd().start()
        s.join(a.addr)
        a.wait_status('srv1.west', 'alive')
        s.stop(signal.SIGUSR2)
        a.wait_status('srv1.west', 'left')
        s.start()
        self.assertEqual(list(s.members()), ['srv1.west'])
        s.stop()
        s.start('-rejoin=true')
        self.assertEqual(list(s.members()), ['srv1.west'])  # the first start forgot who they were
        s.join(a.addr)
        a.wait_status('srv1.west', 'alive')  # no stale "leaving" either
        s.wait_snapshot('ag1.ext')
        s.stop(signal.SIGUSR2)
        a.wait_status('srv1.west', 'left')
        s.start('-rejoin=true')
        a.wait_status('srv1.west', 'alive')

    def test_force_leave_both_ways(self):
        s = self.serfd().start()
        a = self.agent().start('-join=%s:%d' % (s.addr, PORT))
        b = self.agent('ag2.ext', 2).start('-join=%s:%d' % (s.addr, PORT))
        a.wait_status('ag2.ext', 'alive')
        b.stop(signal.SIGKILL)
        s.wait_status('ag2.ext', 'failed', 15)
        a.wait_status('ag2.ext', 'failed', 45)
        self.assertEqual(s.call(FORCE_LEAVE, field(1, 'ag2.ext'))[0], 0)
        s.wait_status('ag2.ext', 'left')
        a.wait_status('ag2.ext', 'left')
        self.assertEqual(s.call(FORCE_LEAVE, field(1, 'ag2.ext') + field(2, 1))[0], 0)
        s.wait_status('ag2.ext', None)
        a.wait_status('ag2.ext', None)
        t = self.serfd('srv2', host=2).start('-join=%s' % s.addr)
        a.wait_status('srv2.west', 'alive')
        t.kill()
        s.wait_status('srv2.west', 'failed', 15)
        self.assertEqual(a.cli('force-leave', 'srv2.west').rc, 0)
        s.wait_status('srv2.west', 'left')
        self.assertEqual(a.cli('force-leave', '-prune', 'srv2.west').rc, 0)
        s.wait_status('srv2.west', None)
        a.wait_status('srv2.west', None, 30)
        self.assertEqual(s.call(FORCE_LEAVE, field(1, 'nobody.nowhere'))[0], 0)  # as Nomad: in silence
        self.assertEqual(s.call(FORCE_LEAVE, field(1, 'srv2.west') + field(2, 1))[0], 0)  # already forgotten

    def test_force_leave_of_the_living_does_nothing(self):
        s = self.serfd().start()
        a = self.agent().start('-join=%s:%d' % (s.addr, PORT))
        a.wait_status('srv1.west', 'alive')
        self.assertEqual(a.cli('force-leave', 'srv1.west').rc, 0)
        a.wait_status('srv1.west', 'alive')
        s.call(FORCE_LEAVE, field(1, 'ag1.ext'))
        s.wait_status('ag1.ext', 'alive', 45)  # at once, unless both clocks were equal
        a.wait_status('srv1.west', 'alive')

    def test_tags_change(self):
        s = self.serfd().start()
        a = self.agent().start('-join=%s:%d' % (s.addr, PORT))
        s.wait_status('ag1.ext', 'alive')
        self.assertEqual(a.cli('tags', '-set', 'build=1.2.0').rc, 0)
        wait_for('the new tag', lambda: s.members()['ag1.ext'].tags['build'] == '1.2.0')

    def test_plain_agent_is_refused(self):
        s = self.serfd().start()
        a = self.agent('web1', tags=dict(role='web')).start()
        n, error = s.join(a.addr)
        self.assertEqual(n, 0)
        self.assertIn("member 'web1' is not a server", error)
        self.assertIsNone(s.status('web1'))
        b = self.agent('bad.ext', 2, tags=dict(NOMAD_TAGS, port='not-a-port')).start('-join=%s:%d' % (s.addr, PORT))
        wait_for('the refusal in the log', lambda: "member 'bad.ext' is not a server: tag port" in s.log())
        self.assertIsNone(s.status('bad.ext'))

    def test_mixed_pool(self):
        s = [self.serfd('srv%d' % i, 'r%d' % i, i).start() for i in (1, 2, 3)]
        a = [self.agent('ag%d.ext' % i, i).start('-join=%s:%d' % (s[0].addr, PORT)) for i in (1, 2)]
        t0 = time.monotonic()
        self.assertEqual(s[1].join(a[0].addr)[0], 1)
        self.assertEqual(s[2].join(s[0].addr, 'nobody.invalid', '%s:1' % s[0].addr)[0], 1)
        names = [x.full for x in s] + [x.name for x in a]
        for x in s + a:
            for n in names:
                x.wait_status(n, 'alive')
        print('pool of five complete after %.2f s' % (time.monotonic() - t0), file=sys.stderr)
        # Serf's own checks of such a pool: an event, acks of a query from all five, a round trip.
        self.assertEqual(a[0].cli('event', 'deploy', 'rev1').rc, 0)
        wait_for('the event at all', lambda: all('user event name=deploy' in x.log() for x in s))
        r = a[0].cli('reachability')
        self.assertIn('Successfully contacted all live nodes', r.out + r.err)
        wait_for('a round trip', lambda: a[0].cli('rtt', 'srv1.r1').rc == 0, 30)


class Encryption(Case):
    def test_same_key(self):
        s = self.serfd(server='encrypt = "%s"' % KEY).start()
        a = self.agent(args=['-encrypt=' + KEY]).start('-join=%s:%d' % (s.addr, PORT))
        s.wait_status('ag1.ext', 'alive')
        a.wait_status('srv1.west', 'alive')
        t = self.serfd('srv2', host=2, server='encrypt = "%s"' % KEY).start()
        self.assertEqual(t.join(a.addr), (1, ''))
        for x in (s, a):
            x.wait_status('srv2.west', 'alive')
        a.stop(signal.SIGKILL)
        s.wait_status('ag1.ext', 'failed', 20)
        self.assertEqual(t.status('srv1.west'), 'alive')

    def test_wrong_or_missing_key(self):
        s = self.serfd(server='encrypt = "%s"' % KEY).start()
        a = self.agent(args=['-encrypt=' + OTHER_KEY]).start()
        b = self.agent('ag2.ext', 2).start()
        for x in (a, b):
            n, error = s.join(x.addr)
            self.assertEqual(n, 0, error)
            self.assertIn('1 error occurred', error)
            self.assertNotEqual(x.cli('join', '%s:%d' % (s.addr, PORT)).rc, 0)
        plain = self.serfd('srv2', host=2).start()
        n, error = plain.join(s.addr)
        self.assertEqual(n, 0)
        self.assertEqual(list(s.members()), ['srv1.west'])
        self.assertNotIn('srv1.west', plain.members())


class Bad(Case):
    def test_port_in_use(self):
        s = self.serfd().start()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            addr = self.pool.addr(1, 2)
            tcp.bind((addr, PORT))
            tcp.listen()
            t = self.serfd('srv2', host=2).start(wait=False)
            self.assertEqual(t.proc.wait(10), 1)
            self.assertIn('cannot listen on TCP %s:%d: Address already in use' % (addr, PORT), t.log())
        u = self.serfd('srv3', host=1).start(wait=False)
        self.assertEqual(u.proc.wait(10), 1)
        self.assertIn('cannot listen on UDP %s:%d: Address already in use' % (s.addr, PORT), u.log())

    def test_start_join_fails(self):
        nobody = self.pool.addr(9, 9)
        t = self.serfd(server='start_join = ["%s"]' % nobody).start(wait=False)
        self.assertEqual(t.proc.wait(10), 1)
        self.assertIn('start_join: no server joined: 1 error occurred:', t.log())
        self.assertIn('Failed to join %s' % nobody, t.log())

    def test_retry_join(self):
        t = self.serfd(server='retry_join = ["%s"] retry_interval = "100ms"' % self.pool.addr(2, 1)).start()
        wait_for('two attempts', lambda: t.log().count('retry_join: no server joined yet') >= 2)
        a = self.agent().start()
        t.wait_status('ag1.ext', 'alive')
        u = self.serfd('srv2', host=2, server='retry_join = ["%s"] retry_interval = "50ms" retry_max = 3'
                       % self.pool.addr(9, 9)).start(wait=False)
        self.assertEqual(u.proc.wait(10), 1)
        self.assertIn('retry_join: no server joined after 3 attempts', u.log())

    def test_garbage(self):
        rnd = random.Random(rawwire.seed())
        s = self.serfd().start()
        a = self.agent().start('-join=%s:%d' % (s.addr, PORT))
        s.wait_status('ag1.ext', 'alive')
        for _, data in rawwire.gossip_garbage(rnd):
            rawwire.udp_send(s.addr, PORT, data)
        for _, data in rawwire.stream_garbage(rnd):
            with contextlib.suppress(OSError), socket.create_connection((s.addr, PORT), 5) as c:
                c.sendall(data)
                c.shutdown(socket.SHUT_WR)
                c.settimeout(5)
                while c.recv(65536):
                    pass
        self.assertEqual(sorted(s.members()), ['ag1.ext', 'srv1.west'])
        self.assertEqual(s.status('ag1.ext'), 'alive')
        self.assertEqual(a.status('srv1.west'), 'alive')
        self.assertLess(s.log().count('\n'), 2000)  # the log's limit

    def test_many_idle_streams(self):
        s = self.serfd().start()
        conns = [socket.create_connection((s.addr, PORT), 5) for _ in range(200)]
        try:
            wait_for('the surplus to be closed', lambda: 'stream dropped: too many at a time' in s.log())
            self.assertEqual(s.status('srv1.west'), 'alive')
            wait_for('slow peers to be dropped', lambda: 'stream dropped: it took too long' in s.log(), 20)
        finally:
            for c in conns:
                c.close()
        a = self.agent().start('-join=%s:%d' % (s.addr, PORT))
        s.wait_status('ag1.ext', 'alive')


if __name__ == '__main__':
    unittest.main(verbosity=2)
