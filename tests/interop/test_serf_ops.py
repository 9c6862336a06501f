#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""serfd and the real `serf agent`: keys, compression, events, queries, round trips, bad days, a crowd."""

import base64
import json
import os
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'lib')]
import crowd as crowds
from rawwire import field, pb
from steppe import wait_for
from test_serf_agent import FORCE_LEAVE, NOMAD_TAGS, PORT, Case

KEYRING_LIST, KEYRING_INSTALL, KEYRING_USE, KEYRING_REMOVE, EVENT, QUERY = range(120, 126)
K16, K24, K32, K32B = (base64.b64encode(bytes([n]) * size).decode()
                       for n, size in ((1, 16), (2, 24), (3, 32), (4, 32)))


def encrypt(key):
    return 'encrypt = "%s"' % key


def entries(body, number):
    """A map<string, uint32> or the texts of a list."""
    return [v for no, v in pb(body) if no == number]


def counts(body, number):
    return {dict(pb(v))[1].decode(): dict(pb(v)).get(2, 0) for v in entries(body, number)}


class OpsCase(Case):
    def pool_of(self, ours, theirs, key=None, agent_args=(), **kw):
        """That many of both, all alive everywhere."""
        if key:
            kw['server'] = encrypt(key)
            agent_args = list(agent_args) + ['-encrypt=' + key]
        s = [self.serfd('srv%d' % i, 'west', i, **kw).start() for i in range(1, ours + 1)]
        a = [self.agent('ag%d.ext' % i, i, args=agent_args).start('-join=%s:%d' % (s[0].addr, PORT))
             for i in range(1, theirs + 1)]
        for x in s[1:]:
            self.assertEqual(x.join(s[0].addr), (1, ''))
        self.names = [x.full for x in s] + [x.name for x in a]
        for x in s + a:
            for n in self.names:
                x.wait_status(n, 'alive', 30)
        return s, a

    def handler(self, name):
        """An event handler for agents that writes down what it is told, and the file."""
        path = os.path.join(self.pool.dir, name)
        return '%s >> %s' % ('echo $SERF_EVENT $SERF_USER_EVENT $SERF_QUERY_NAME $(cat)', path), path

    def written(self, path):
        if not os.path.exists(path):
            return ''
        with open(path) as f:
            return f.read()


class Keys(OpsCase):
    def join_both_ways(self, key):
        s, a = self.pool_of(1, 1, key)
        b = self.agent('ag2.ext', 2, args=['-encrypt=' + key]).start()
        self.assertEqual(s[0].join(b.addr), (1, ''))
        for x in s + a + [b]:
            x.wait_status('ag2.ext', 'alive')
        self.assertEqual(a[0].cli('event', 'deploy', 'x' * 400).rc, 0)
        wait_for('the event', lambda: 'user event name=deploy' in s[0].log(), 30)
        wait_for('a round trip', lambda: a[0].cli('rtt', 'srv1.west').rc == 0, 30)

    def test_16_bytes(self):
        self.join_both_ways(K16)

    def test_24_bytes(self):
        self.join_both_ways(K24)

    def test_32_bytes(self):
        self.join_both_ways(K32)

    def order(self, node, method, key, code=0):
        r = node.call(method, field(1, key) if key else b'', 40)
        self.assertEqual(r[0], code, r)
        return r

    def test_rotation_by_the_agent(self):
        s, a = self.pool_of(2, 2, K16)
        for args, text in ((('-install=' + K32,), 'Successfully installed'), (('-use=' + K32,), 'Successfully changed'),
                           (('-remove=' + K16,), 'Successfully removed')):
            r = a[0].cli('keys', *args)
            self.assertEqual(r.rc, 0, r)
            self.assertIn(text, r.out)
        out = a[1].cli('keys', '-list').out
        self.assertIn('%s [4/4]' % K32, ' '.join(out.split()))
        self.assertNotIn(K16, out)
        for x in s:
            with open(os.path.join(x.dir, 'data/server/serf/keyring')) as f:
                self.assertEqual(json.load(f), [K32])
        self.assertEqual(counts(self.order(s[0], KEYRING_LIST, None)[2], 2), {K32: 4})
        # What cannot be done fails on both sides, with the reason of each.
        r = a[0].cli('keys', '-remove=' + K32)
        self.assertEqual(r.rc, 1)
        for n in self.names:
            self.assertRegex(r.out + r.err, n.replace('.', r'\.') + r'.*Removing the primary key is not allowed')
        for x in s + a:
            for n in self.names:
                self.assertEqual(x.status(n), 'alive')

    def test_rotation_by_us(self):
        s, a = self.pool_of(2, 2, K24)
        for method, key in ((KEYRING_INSTALL, K32), (KEYRING_USE, K32), (KEYRING_REMOVE, K24)):
            self.order(s[1], method, key)
        self.assertEqual(counts(self.order(s[0], KEYRING_LIST, None)[2], 2), {K32: 4})
        self.assertIn('%s [4/4]' % K32, ' '.join(a[0].cli('keys', '-list').out.split()))
        self.assertIn('4/4 nodes reported failure', self.order(s[0], KEYRING_USE, K32B, 500)[1])
        self.assertIn('member=ag1.ext message="Requested key is not in the keyring"', s[0].log())
        # All still hear each other: with the new key only.
        a[0].cli('event', 'after', 'x')
        wait_for('the event', lambda: all('user event name=after' in x.log() for x in s), 30)

    def test_silent_member(self):
        s, a = self.pool_of(1, 2, K16)
        a[1].proc.send_signal(signal.SIGSTOP)
        try:
            r = s[0].call(KEYRING_INSTALL, field(1, K32), 20)
            self.assertEqual(r[0], 500, r)
            self.assertRegex(r[1], '2/3 nodes reported success')
            self.assertIn('silent=ag2.ext', s[0].log())
        finally:
            a[1].proc.send_signal(signal.SIGCONT)
        for x in s + a:
            x.wait_status('ag2.ext', 'alive', 60)
        self.order(s[0], KEYRING_INSTALL, K32)  # once more, now all do it
        self.assertEqual(counts(self.order(s[0], KEYRING_LIST, None)[2], 2), {K16: 3, K32: 3})

    def test_no_encryption(self):
        s, a = self.pool_of(1, 1)
        r = a[0].cli('keys', '-list')
        self.assertEqual(r.rc, 1)
        self.assertIn('Keyring is empty (encryption not enabled)', r.out + r.err)
        self.assertIn('2/2 nodes reported failure', self.order(s[0], KEYRING_LIST, None, 500)[1])


class Compression(OpsCase):
    def both(self, extra, agent_args, key=None):
        s, a = self.pool_of(2, 2, key, agent_args, extra=extra)
        big = 'x' * 300
        self.assertEqual(a[0].cli('event', 'theirs', big).rc, 0)
        self.assertEqual(s[1].call(EVENT, field(1, 'ours') + field(2, big))[0], 0)
        for x in s:
            wait_for('both events', lambda: 'name=theirs bytes=300' in x.log() and 'name=ours bytes=300' in x.log(), 30)
        wait_for('our event at the agent', lambda: 'Event: user-event: ours' in a[1].log() or ' ours' in a[1].log(), 30)
        for x in s + a:
            self.assertNotIn('dropped', '\n'.join(t for t in x.log().splitlines() if 'WARN' in t))
        r = a[0].cli('reachability')
        self.assertIn('Successfully contacted all live nodes', r.out + r.err)

    def test_both_compress(self):
        self.both('', ())

    def test_only_we(self):
        self.both('', ('-disable-compression',))

    def test_only_they(self):
        self.both('gossip { compression = false }', ())

    def test_nobody(self):
        self.both('gossip { compression = false }', ('-disable-compression',))

    def test_with_a_key(self):
        self.both('', (), K32)


class Events(OpsCase):
    def test_events_both_ways(self):
        script, path = self.handler('events')
        s, a = self.pool_of(2, 1, agent_args=['-event-handler=user=' + script])
        for i in range(5):
            self.assertEqual(s[i % 2].call(EVENT, field(1, 'ours-%d' % i) + field(2, 'p%d' % i))[0], 0)
            self.assertEqual(a[0].cli('event', '-coalesce=false', 'theirs-%d' % i, 'p').rc, 0)
        for x in s:
            for who in ('ours', 'theirs'):
                for i in range(5):
                    wait_for('%s-%d' % (who, i), lambda: x.log().count('user event name=%s-%d ' % (who, i)) == 1, 30)
        for i in range(5):
            wait_for('the handler of ours-%d' % i,
                     lambda: 'user ours-%d p%d' % (i, i) in ' '.join(self.written(path).split()), 30)
        # Once each, however often it was gossiped.
        for i in range(5):
            self.assertEqual(self.written(path).count('ours-%d ' % i), 1)
        # Who comes later is told of old events by the exchange, but does not take them for new ones.
        t = self.serfd('srv9', host=9).start()
        self.assertEqual(t.join(a[0].addr), (1, ''))
        t.wait_status('srv1.west', 'alive')
        self.assertNotIn('user event', t.log())
        self.assertEqual(a[0].cli('event', 'new', '').rc, 0)
        wait_for('a new event', lambda: 'user event name=new' in t.log(), 30)

    def test_bounds(self):
        s, _ = self.pool_of(1, 1)
        self.assertEqual(s[0].call(EVENT, field(1, 'big') + field(2, 'x' * 600))[:2],
                         (400, 'user event exceeds limit of 512 bytes'))
        self.assertEqual(s[0].call(EVENT, field(2, 'x'))[0], 400)
        self.assertEqual(s[0].call(QUERY, field(1, 'big') + field(2, 'x' * 2000))[:2],
                         (500, 'query exceeds limit of 1024 bytes'))
        self.assertEqual(s[0].call(QUERY, field(1, '_serf_remove-key'))[0], 400)


class Queries(OpsCase):
    def ask(self, node, name, *more, timeout=20):
        """-> (acks, replies by name, members)."""
        code, error, body = node.call(QUERY, field(1, name) + b''.join(more), timeout)
        self.assertEqual(code, 0, error)
        replies = [dict(pb(v)) for v in entries(body, 2)]
        names = [r[1].decode() for r in replies]
        self.assertEqual(len(names), len(set(names)), 'a reply came twice')
        return (sorted(v.decode() for v in entries(body, 1)), {r[1].decode(): r.get(2, b'').decode() for r in replies},
                dict(pb(body)).get(3, 0))

    def test_queries_both_ways(self):
        s, a = self.pool_of(2, 2, agent_args=['-event-handler=query:ver=echo 1.0 $SERF_SELF_NAME $(cat)'])
        acks, replies, n = self.ask(s[0], 'ver', field(2, 'hi'), field(7, 1))
        self.assertEqual((acks, n), (sorted(self.names), 4))
        self.assertEqual(replies, {x.name: '1.0 %s hi\n' % x.name for x in a})
        # Filters: names, tags; and relays, which must not make an answer count twice.
        acks, replies, _ = self.ask(s[0], 'ver', field(3, 'ag2.ext'), field(3, 'srv2.west'), field(7, 1), field(6, 2))
        self.assertEqual((acks, list(replies)), (['ag2.ext', 'srv2.west'], ['ag2.ext']))
        acks, replies, _ = self.ask(s[1], 'ver', field(4, field(1, 'region') + field(2, '^e.t$')), field(7, 1))
        self.assertEqual((acks, sorted(replies)), (['ag1.ext', 'ag2.ext'], ['ag1.ext', 'ag2.ext']))
        self.assertEqual(self.ask(s[1], 'nothing')[:2], ([], {}))
        # Theirs: we say that we have heard it, with relays and filters too.
        for args, who in (((), self.names), (('-relay-factor=2',), self.names), (('-node=srv1.west',), ['srv1.west']),
                          (('-tag', 'region=w.*'), ['srv1.west', 'srv2.west'])):
            r = a[0].cli('query', '-timeout=4s', *args, 'load', 'x')
            self.assertEqual(r.rc, 0, r)
            for n in self.names:
                self.assertEqual("Ack from '%s'" % n in r.out, n in who, '%s of %r: %s' % (n, args, r.out))
            self.assertIn('Total Acks: %d' % len(who), r.out)
        self.assertIn('query name=load from=ag1.ext', s[0].log())
        self.assertNotIn('Ack', a[0].cli('query', '-timeout=2s', '-no-ack', 'load').out.replace('Total Acks', ''))

    def test_round_trips(self):
        s, a = self.pool_of(2, 2)
        for pair in (('srv1.west',), ('srv1.west', 'srv2.west'), ('ag2.ext', 'srv2.west')):
            wait_for('the round trip of %r' % (pair,), lambda: a[0].cli('rtt', *pair).rc == 0, 60)
        # And we have measured theirs.
        wait_for('our coordinates', lambda: b'rtt' and self.rtt(s[0], 'ag1.ext') > 0, 60)

    def rtt(self, node, name):
        import struct
        code, error, body = node.call(60)
        for no, v in pb(body):
            m = dict(pb(v)) if no == 1 else {}
            if m.get(1) == name.encode():
                return struct.unpack('<d', m[12])[0] if 12 in m else 0
        return 0


class BadDays(OpsCase):
    def test_stopped_agent_refutes(self):
        s, a = self.pool_of(2, 2)
        a[1].proc.send_signal(signal.SIGSTOP)
        try:
            s[0].wait_status('ag2.ext', 'failed', 60)
            a[0].wait_status('ag2.ext', 'failed', 60)
        finally:
            a[1].proc.send_signal(signal.SIGCONT)
        for x in s + a:
            x.wait_status('ag2.ext', 'alive', 90)

    def test_we_are_stopped_and_refute(self):
        s, a = self.pool_of(2, 2)
        s[1].proc.send_signal(signal.SIGSTOP)
        try:
            for x in (s[0], a[0], a[1]):
                x.wait_status('srv2.west', 'failed', 60)
        finally:
            s[1].proc.send_signal(signal.SIGCONT)
        for x in s + a:
            for n in self.names:
                x.wait_status(n, 'alive', 90)

    def test_crash_and_rejoin_of_both(self):
        s, a = self.pool_of(2, 2)
        s[1].wait_snapshot('ag1.ext')
        s[1].kill()
        a[1].stop(signal.SIGKILL)
        for x in (s[0], a[0]):
            x.wait_status('srv2.west', 'failed', 60)
            x.wait_status('ag2.ext', 'failed', 60)
        s[1].start()
        a[1].start('-join=%s:%d' % (s[1].addr, PORT))
        for x in s + a:
            for n in self.names:
                x.wait_status(n, 'alive', 60)

    def test_name_conflict(self):
        s, a = self.pool_of(2, 1)
        b = self.agent('srv2.west', 2)
        b.start()
        b.cli('join', '%s:%d' % (s[0].addr, PORT))
        # The name stays where it was; the agent asks the pool and gives up.
        wait_for('the second srv2.west to go', lambda: b.proc.poll() is not None, 60)
        for x in (s[0], s[1]):
            x.wait_status('srv2.west', 'alive', 60)
            self.assertEqual(x.members()['srv2.west'].addr, s[1].addr)
        wait_for('the agent to show ours', lambda: a[0].members()['srv2.west'][:2] ==
                 ('%s:%d' % (s[1].addr, PORT), 'alive'), 60)
        wait_for('both addresses in a log', lambda: any(s[1].addr in t and b.addr in t for x in s
                                                        for t in x.log().splitlines() if 'WARN' in t), 30)

    def test_name_conflict_of_ours(self):
        """The agent was there first: it stays, all know it, and our log says which of the two must change."""
        s, a = self.pool_of(2, 1)
        b = self.agent('srv9.west', 2).start('-join=%s:%d' % (s[0].addr, PORT))
        for x in s + a:
            x.wait_status('srv9.west', 'alive', 60)
        t = self.serfd('srv9', host=9).start()
        t.join(s[0].addr)
        wait_for('the vote', lambda: 'give one of the two another name' in t.log(), 90)
        self.assertIsNone(b.proc.poll())
        self.assertIsNone(t.proc.poll())  # nobody ends because somebody took its name
        for x in s + a:
            x.wait_status('srv9.west', 'alive', 60)
        for x in s:
            self.assertEqual(x.members()['srv9.west'].addr, b.addr)

    def test_leave_of_each(self):
        s, a = self.pool_of(2, 2)
        self.assertEqual(s[1].stop(signal.SIGUSR2), 0)
        self.assertEqual(a[1].cli('leave').rc, 0)
        for x in (s[0], a[0]):
            x.wait_status('srv2.west', 'left', 30)
            x.wait_status('ag2.ext', 'left', 30)
        self.assertNotIn('member failed', s[0].log())
        self.assertEqual(s[0].call(FORCE_LEAVE, field(1, 'ag2.ext') + field(2, 1))[0], 0)
        a[0].wait_status('ag2.ext', None, 30)


class Crowd(OpsCase):
    def test_300_members(self):
        names = ['m%03d.ext' % i for i in range(300)]
        s = self.serfd().start()
        crowd = crowds.Crowd(self.pool.addr(3, 1), PORT, names, NOMAD_TAGS)
        self.addCleanup(crowd.close)
        crowd.join(s.addr, PORT)
        wait_for('all at srv1', lambda: self.known(s) == 301, 60)
        t0 = time.monotonic()
        a = self.agent().start('-join=%s:%d' % (s.addr, PORT))
        wait_for('all at the agent', lambda: self.known(a) == 302, 60)
        t = self.serfd('srv2', host=2).start()
        self.assertEqual(t.join(a.addr), (1, ''))
        wait_for('all at srv2', lambda: self.known(t) == 303, 60)
        print('302 and 303 members by push/pull after %.2f s' % (time.monotonic() - t0), file=sys.stderr)
        self.assertEqual(t.join(s.addr), (1, ''))  # the crowd passes nothing on
        for x in (s, t, a):
            wait_for('all at ' + x.name, lambda: self.known(x) == 303, 60)
        wait_for('the crowd to be looked at', lambda: crowd.pings > 100, 60)
        self.assertEqual(s.members()['m007.ext'].tags, NOMAD_TAGS)
        self.assertEqual(a.members()['m299.ext'][2], NOMAD_TAGS)

    def known(self, x):
        """Members, nearly all of them alive (the crowd is one slow thread, and does not refute)."""
        status = [m[1] if isinstance(m, tuple) else m.status for m in x.members().values()]
        return len(status) if status.count('alive') > len(status) - 10 else 0


if __name__ == '__main__':
    unittest.main(verbosity=2)
