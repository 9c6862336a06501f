# SPDX-License-Identifier: MPL-2.0
"""Where nodes meet: addresses for the own region and for others, IPv6, names, commands, tries."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import SERF, job, wait_for  # noqa: E402

WAIT = 60


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.bind(('::1', 0))
        return True
    except OSError:
        return False


def can_mount():
    """Names of our own need a mount namespace."""
    try:
        return subprocess.run(['unshare', '-m', 'true'], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def members(node):
    return {m['Name']: m for m in node.get('/v1/agent/members').json()['Members']}


def alive(node):
    return sorted(m['Name'] for m in members(node).values() if m['Status'] == 'alive')


def wait_alive(nodes, names):
    for n in nodes:
        wait_for('%s to see %s' % (n.name, names), lambda: alive(n) == sorted(names), WAIT)  # noqa: B023


def connected_to(pids, ip, port):
    """Does one of these processes hold a TCP connection to this address?"""
    want = '%08X:%04X' % (struct.unpack('=I', socket.inet_aton(ip))[0], port)
    inodes = set()
    with open('/proc/net/tcp') as f:
        for line in f:
            w = line.split()
            if w[2] == want and w[3] == '01':
                inodes.add('socket:[%s]' % w[9])
    for pid in pids:
        for fd in os.listdir('/proc/%d/fd' % pid):
            try:
                if os.readlink('/proc/%d/fd/%s' % (pid, fd)) in inodes:
                    return True
            except OSError:
                pass
    return False


@unittest.skipIf(steppe.is_nomad(), 'ours')
class LanAndWan(steppe.TestCase):
    def server(self, no, region, host, others=(), wan=True):
        """A server that listens everywhere, with ports of its own, and is told by two addresses."""
        serf, rpc = 20000 + 10 * no, 20001 + 10 * no
        lan, far = self.cluster.addr(no, 1), self.cluster.addr(no + 100, 1)
        n = self.cluster.node('%s-s%d' % (region, host), region, lan, expect=2 if region == 'west' else 1)
        n.lan, n.far, n.serf, n.rpc = lan, far, serf, rpc
        wan_text = '  serf_wan = "%s:%d"\n  rpc_wan = "%s:%d"\n' % (far, serf, far, rpc) if wan else ''
        n.extra = ('ports {\n  serf = %d\n  rpc = %d\n}\naddresses {\n  serf = "0.0.0.0"\n  rpc = "0.0.0.0"\n}\n'
                   'advertise {\n  serf = "%s:%d"\n  rpc = "%s:%d"\n  http = "%s"\n%s}\n'
                   % (serf, rpc, lan, serf, lan, rpc, lan, wan_text))
        if others:
            n.server_extra = '  retry_join = [%s]\n  retry_interval = "1s"' % ', '.join(
                '"%s:%d"' % (o.lan, o.serf) for o in others)
        return n

    def test_each_region_uses_its_own(self):
        a = self.server(1, 'west', 1)
        b = self.server(2, 'west', 2, [a])
        e = self.server(3, 'east', 1)
        for n in (a, b, e):
            n.start(wait=False)
        for n in (a, b, e):
            n.wait_http(30)
            n.wait_leader(WAIT)
        self.assertCli(e.cli('server', 'join', '%s:%d' % (a.far, a.serf)), 0)
        names = ['west-s1.west', 'west-s2.west', 'east-s1.east']
        wait_alive((a, b, e), names)
        self.assertEqual(members(b)['west-s1.west']['Addr'], a.lan)
        self.assertEqual(members(e)['west-s1.west']['Addr'], a.far)
        self.assertEqual(members(a)['east-s1.east']['Addr'], e.far)
        self.assertEqual(members(e)['east-s1.east']['Addr'], e.lan)
        # Requests go the same ways.
        self.assertStatus(e.register(job('x', region='west'), '?region=west'), 200)
        self.assertEqual(e.job_ids('?region=west'), ['x'])
        router = [e.service_pids()['routerd']]
        self.assertTrue(any(connected_to(router, w.far, w.rpc) for w in (a, b)))
        self.assertFalse(any(connected_to(router, w.lan, w.rpc) for w in (a, b)))
        raft = [a.service_pids()['raftd']]
        wait_for('raft in the own network', lambda: connected_to(raft, b.lan, b.rpc), WAIT)
        self.assertFalse(connected_to(raft, b.far, b.rpc))
        # Leaders are found by either address.
        for n in (a, e):
            r = n.cli('server', 'members')
            self.assertCli(r, 0)
            self.assertEqual(sorted(row[4] for row in steppe.table(r.out)[1:]), ['false', 'true', 'true'], r.out)


@unittest.skipIf(steppe.is_nomad(), 'ours')
@unittest.skipUnless(has_ipv6(), 'no IPv6 on this machine')
class IPv6(steppe.TestCase):
    def server(self, no, region, bind='::1', advertise='[::1]', server_extra='', **kw):
        """HTTP on IPv4, where the test library looks; all else on IPv6."""
        n = self.cluster.node('%s-%d' % (region, no), region, self.cluster.addr(no, 1), server_extra=server_extra, **kw)
        n.serf, n.rpc = free_port(), free_port()
        n.extra = ('ports {\n  serf = %d\n  rpc = %d\n}\naddresses {\n  serf = "%s"\n  rpc = "%s"\n}\n'
                   'advertise {\n  serf = "%s:%d"\n  rpc = "%s:%d"\n}\n'
                   % (n.serf, n.rpc, bind, bind, advertise, n.serf, advertise, n.rpc))
        return n

    def test_two_regions(self):
        w, e = self.server(1, 'west'), self.server(2, 'east')
        for n in (w, e):
            n.start()
            n.wait_leader()
        self.assertCli(w.cli('server', 'join', '[::1]:%d' % e.serf), 0, 'Joined 1 servers successfully\n')
        wait_alive((w, e), ['west-1.west', 'east-2.east'])
        m = members(w)['east-2.east']
        self.assertEqual((m['Addr'], m['Port'], m['Tags']['rpc_addr']), ('::1', e.serf, '::1'))
        self.assertStatus(w.register(job('x', region='east'), '?region=east'), 200)
        self.assertEqual(e.job_ids(), ['x'])
        r = w.cli('server', 'members')
        self.assertCli(r, 0)
        self.assertEqual([row[4] for row in steppe.table(r.out)[1:]], ['true', 'true'], r.out)
        # Probes by UDP, and a death is seen.
        e.kill()
        wait_for('east failed', lambda: members(w)['east-2.east']['Status'] == 'failed', WAIT)
        # Back with what the snapshot knows.
        e.start()
        wait_alive((w, e), ['west-1.west', 'east-2.east'])

    def test_a_client_node(self):
        s = self.server(1, 'west')
        s.start()
        s.wait_leader()
        c = self.cluster.node('west-c1', 'west', self.cluster.addr(2, 1), server=False, client=True)
        c.client_extra = '  servers = ["[::1]:%d"]' % s.rpc
        c.start()
        self.assertEqual([x['Name'] for x in s.wait_nodes(1)], ['west-c1'])
        self.assertStatus(c.register(job('x')), 200)

    def test_http_says_what_it_cannot(self):
        """Debian's HTTP library knows IPv4 only: one line says so, and what to set."""
        n = self.cluster.node('six', 'west', '::1')
        n.start(wait=False)
        line = wait_for('an answer or the reason', lambda: next(
            (x for x in n.log().split('\n') if 'apid: ready' in x or 'built without IPv6' in x), None), WAIT)
        if 'built without IPv6' in line:
            self.assertIn('addresses.http is ::1', line)

    def test_a_region_of_three(self):
        s = [self.server(i + 1, 'west', expect=3) for i in range(3)]
        for n in s:
            n.server_extra = '  retry_join = [%s]\n  retry_interval = "1s"' % ', '.join(
                '"[::1]:%d"' % o.serf for o in s if o is not n)
            n.start(wait=False)
        for n in s:
            n.wait_http(30)
            n.wait_leader(WAIT)
        self.assertStatus(s[0].register(job('x')), 200)

    def test_one_socket_for_both(self):
        """Who listens on :: meets members of IPv4, by UDP too."""
        w = self.server(50, 'west', bind='::', advertise=self.cluster.addr(50, 1))
        e = self.cluster.region('east').server
        w.start()
        w.wait_leader()
        self.assertCli(w.cli('server', 'join', '%s:%d' % (e.addr, SERF)), 0)
        wait_alive((w, e), ['west-50.west', 'east-s1.east'])
        w.kill_service('serfd')
        wait_for('west failed or back', lambda: 'west-50.west' in members(e), WAIT)
        wait_alive((w, e), ['west-50.west', 'east-s1.east'])
        self.assertNotIn('UDP', ''.join(x for x in w.log().split('\n') if 'error' in x and 'serfd' in x))


TAKEN = set()


def free_port():
    """Free for TCP and UDP on ::1, and not given before."""
    while True:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as u:
            s.bind(('::1', 0))
            port = s.getsockname()[1]
            with contextlib.suppress(OSError):
                u.bind(('::1', port))
                if port not in TAKEN:
                    TAKEN.add(port)
                    return port


@unittest.skipIf(steppe.is_nomad(), 'ours')
class Names(steppe.TestCase):
    @unittest.skipUnless(can_mount(), 'no mount namespaces here')
    def test_all_addresses_of_a_name(self):
        """Two of the three behind the name are nobody; the third is the pool."""
        e = self.cluster.region('east').server
        hosts = os.path.join(self.cluster.dir, 'hosts')
        with open(hosts, 'w') as f:
            f.write('127.0.0.1 localhost\n')
            for ip in (self.cluster.addr(90, 1), e.addr, self.cluster.addr(91, 1)):
                f.write('%s pool.steppe.test\n' % ip)
        w = self.cluster.node('west-s1', 'west', self.cluster.addr(50, 1))
        w.server_extra = '  retry_join = ["pool.steppe.test"]'
        w.start(wrapper=['unshare', '-m', 'sh', '-c', 'mount --bind %s /etc/hosts && exec "$0" "$@"' % hosts])
        wait_alive((w, e), ['west-s1.west', 'east-s1.east'])

    def test_a_name_that_nobody_knows(self):
        w = self.cluster.region('west').server
        r = w.cli('server', 'join', 'nobody.invalid')
        self.assertEqual(r.rc, 1)
        self.assertIn('Failed to join nobody.invalid', r.err)


@unittest.skipIf(steppe.is_nomad(), 'ours')
class Commands(steppe.TestCase):
    def script(self, name, text):
        path = os.path.join(self.cluster.dir, name)
        with open(path, 'w') as f:
            f.write('#!/bin/sh\n' + text)
        os.chmod(path, 0o755)
        return path

    def node(self, source, **kw):
        n = self.cluster.node('west-s1', 'west', self.cluster.addr(50, 1), **kw)
        n.server_extra = '  retry_join = ["exec=%s"]\n  retry_interval = "1s"' % source
        return n

    def test_joins_what_it_prints(self):
        e = self.cluster.region('east').server
        w = self.node(self.script('list', 'echo "# servers"\necho %s\necho "%s:%d"\n' % (self.cluster.addr(90, 1), e.addr, SERF)))
        w.start()
        wait_alive((w, e), ['west-s1.west', 'east-s1.east'])

    def test_tries_again_until_it_works(self):
        e = self.cluster.region('east').server
        flag = os.path.join(self.cluster.dir, 'flag')
        w = self.node(self.script('list', '[ -e %s ] || exit 3\necho %s\n' % (flag, e.addr)))
        w.start()
        w.wait_log('it ended with status 3')
        open(flag, 'w').close()
        wait_alive((w, e), ['west-s1.west', 'east-s1.east'])

    def test_bad_commands_hurt_nobody(self):
        """Too much, nothing, what is no address, no end: said, tried again, and the node works."""
        w = self.node(self.script('list', 'case $(cat %s/mode) in\n'
                                  'much) yes 10.0.0.1 ;;\nnothing) ;;\nbytes) printf "\\001\\n" ;;\nmany) seq 1 200 ;;\n'
                                  'self) echo exec=true ;;\nhang) sleep 1000 ;;\nesac\n' % self.cluster.dir))
        mode = os.path.join(self.cluster.dir, 'mode')
        for name, text in (('much', 'it prints too much'), ('nothing', 'it prints no address'),
                           ('bytes', 'something else than addresses'), ('many', 'more than 64 addresses'),
                           ('self', 'it prints another command'), ('hang', 'it did not end in time')):
            with open(mode + '.new', 'w') as f:
                f.write(name)
            os.rename(mode + '.new', mode)
            if not w.running():
                w.start()
            w.wait_log(text)
        w.wait_leader()
        self.assertStatus(w.register(job('x')), 200)
        w.stop()
        left = [p for p in os.listdir('/proc') if p.isdigit() and self.cluster.dir + '/list' in steppe.proc_cmdline(int(p))]
        self.assertEqual(left, [])

    def test_not_by_the_api(self):
        w = self.cluster.region('west').server
        proof = os.path.join(self.cluster.dir, 'proof')
        r = w.cli('server', 'join', 'exec=touch %s' % proof)
        self.assertEqual(r.rc, 1)
        self.assertIn("a command can only stand in a server's own configuration", r.err)
        self.assertFalse(os.path.exists(proof))


@unittest.skipIf(steppe.is_nomad(), 'ours')
class Retries(steppe.TestCase):
    def test_for_ever(self):
        """The pool comes long after the node that looks for it."""
        e = self.cluster.node('east-s1', 'east', self.cluster.addr(51, 1))
        w = self.cluster.node('west-s1', 'west', self.cluster.addr(50, 1))
        w.server_extra = '  retry_join = ["%s"]\n  retry_interval = "400ms"' % e.addr
        w.start()
        wait_for('five tries', lambda: w.log().count('retry_join: no server joined yet') >= 5, WAIT)
        e.start()
        wait_alive((w, e), ['west-s1.west', 'east-s1.east'])

    def test_an_end(self):
        w = self.cluster.node('west-s1', 'west', self.cluster.addr(50, 1))
        w.server_extra = '  retry_join = ["%s"]\n  retry_interval = "200ms"\n  retry_max = 3' % self.cluster.addr(51, 1)
        w.start(wait=False)
        w.wait_log('retry_join: no server joined after 3 attempts')


if __name__ == '__main__':
    unittest.main()
