# SPDX-License-Identifier: MPL-2.0
"""Bad configurations, bad job files, garbage on every port: one clear error, and nothing breaks."""

import contextlib
import os
import random
import re
import select
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import rawwire  # noqa: E402
import steppe  # noqa: E402
from steppe import job, wait_for  # noqa: E402


class Configuration(steppe.TestCase):
    """`steppe agent` with something wrong: ends at once, says what and where."""

    def agent(self, text, args=(), timeout=15):
        """Runs an agent that must fail; returns its output."""
        n = self.cluster.node('bad', 'west', self.cluster.addr(1, 1))
        n.write_conf(n.conf_text() + text if text is not None else None)
        return self.run_agent(['-config=' + n.conf_file] + list(args), timeout)

    def run_agent(self, args, timeout=15):
        binary, env = steppe.agent_binary()
        try:
            r = steppe.run([binary, 'agent'] + args, env=dict(os.environ, **env), timeout=timeout)
        except subprocess.TimeoutExpired as e:
            self.fail('the agent went on: %.500r %.1000r' % (e.stdout, e.stderr))
        self.assertNotEqual(r.rc, 0, r)
        self.assertGreaterEqual(r.rc, 0, 'ended by a signal: %r' % r)
        text = r.out + r.err
        self.assertNotRegex(text, steppe.CRASH)
        return text

    def own(self, text):
        """A configuration of only this text; -> (output, file)."""
        path = os.path.join(self.cluster.dir, 'only.hcl')
        with open(path, 'w') as f:
            f.write(text)
        return self.run_agent(['-config=' + path])

    def test_unknown_key(self):
        out = self.agent('\nbogus_key = 5\n')
        self.assertIn('node.hcl', out)
        self.assertIn('bogus_key', out)

    def test_unknown_key_in_a_block(self):
        out = self.agent('\nports {\n  htpp = 4646\n}\n')
        self.assertIn('node.hcl', out)
        self.assertIn('htpp', out)

    @unittest.skipIf(steppe.is_nomad(), 'nomad names no line')
    def test_line_of_the_error(self):
        out = self.own('region = "west"\ndata_dir = "/tmp/x"\nserver {\n  enabled = true\n  bootstrap_expectt = 1\n}\n')
        self.assertRegex(out, r'only\.hcl:5\b')
        self.assertIn('bootstrap_expectt', out)

    def test_wrong_type(self):
        for text, key in (('ports { http = "many" }', 'http'), ('leave_on_terminate = "perhaps"', 'leave_on_terminate'),
                          ('server { heartbeat_grace = "soon" }', 'heartbeat_grace')):
            out = self.agent('\n%s\n' % text)
            if not steppe.is_nomad():
                self.assertIn(key, out)
                self.assertIn('node.hcl', out)

    @unittest.skipIf(steppe.is_nomad(), 'nomad takes any number')
    def test_value_out_of_range(self):
        for text, key in (('ports { http = 70000 }', 'http'), ('ports { rpc = -1 }', 'rpc'),
                          ('server { raft_multiplier = 99 }', 'raft_multiplier'),
                          ('server { bootstrap_expect = -3 }', 'bootstrap_expect')):
            out = self.agent('\n%s\n' % text)
            self.assertIn(key, out)

    def test_syntax(self):
        for text in ('server {\n  enabled = true\n', 'region = "west\n', 'region = = "x"\n', 'server ]\n', '\x00\x01\x02',
                     '/* no end'):
            out = self.own(text)
            self.assertIn('only.hcl', out, repr(text))

    def test_bad_addresses(self):
        for addr in ('not-an-ip', '300.1.2.3', '127.0.0.1:80'):
            n = self.cluster.node('addr-%d' % len(addr), 'west', self.cluster.addr(1, 1))
            n.write_conf(n.conf_text().replace('bind_addr = "%s"' % n.addr, 'bind_addr = "%s"' % addr))
            out = self.run_agent(['-config=' + n.conf_file])
            self.assertIn(addr.split(':')[0], out)

    def test_address_of_another_machine(self):
        n = self.cluster.node('far', 'west', self.cluster.addr(1, 1))
        n.write_conf(n.conf_text().replace('bind_addr = "%s"' % n.addr, 'bind_addr = "203.0.113.7"'))
        n.start(wait=False)
        wait_for('an error that names the address', lambda: '203.0.113.7:464' in n.log() and re.search(
            'cannot assign requested address', n.log(), re.I))

    def test_missing_file(self):
        out = self.run_agent(['-config=/nonexistent/x.hcl'])
        self.assertIn('/nonexistent/x.hcl', out)
        self.assertIn('no such file', out.lower())

    def test_no_role(self):
        out = self.own('region = "west"\ndata_dir = "%s/d"\n' % self.cluster.dir)
        self.assertIn('Must specify either server, client or dev mode for the agent.', out)

    def test_no_data_dir(self):
        out = self.own('server {\n  enabled = true\n}\n')
        self.assertIn('Must specify data directory', out)

    def test_relative_data_dir(self):
        out = self.own('data_dir = "rel"\nserver {\n  enabled = true\n}\n')
        self.assertIn('rel', out)
        self.assertIn('absolute', out)

    def test_bad_region(self):
        self.agent('\nregion = "a b/c"\n')

    def test_bad_key(self):
        out = self.agent('\nserver {\n  encrypt = "short"\n}\n')
        self.assertIn('encrypt', out.lower())
        self.assertNotIn('"short"', out, 'a secret in the output')

    def test_data_dir_that_cannot_be_made(self):
        path = os.path.join(self.cluster.dir, 'file')
        with open(path, 'w') as f:
            f.write('x')
        for where in (path + '/data', '/proc/nope/data'):
            n = self.cluster.node('dd%d' % len(where), 'west', self.cluster.addr(1, 1))
            n.data_dir = where
            n.write_conf()
            out = self.run_agent(['-config=' + n.conf_file])
            self.assertIn(where.rsplit('/', 1)[0], out)

    @unittest.skipIf(os.geteuid() == 0, 'root may write everywhere')
    def test_data_dir_not_writable(self):
        n = self.cluster.node('ro', 'west', self.cluster.addr(1, 1))
        os.makedirs(n.data_dir)
        os.chmod(n.data_dir, 0o500)
        n.write_conf()
        out = self.run_agent(['-config=' + n.conf_file])
        self.assertIn(n.data_dir, out)

    def test_unknown_flag(self):
        out = self.run_agent(['-bogus-flag'])
        self.assertIn('bogus-flag', out)

    @unittest.skipIf(steppe.is_nomad(), 'ours')
    def test_run_dir_too_long(self):
        n = self.cluster.node('long', 'west', self.cluster.addr(1, 1))
        n.run_dir = os.path.join(self.cluster.dir, 'x' * 90)
        n.write_conf()
        self.assertIn('run_dir', self.run_agent(['-config=' + n.conf_file]))


class PortInUse(steppe.TestCase):
    def holds(self, port, udp=False):
        """Another program has the port: the agent says so (and does not pretend to serve)."""
        n = self.cluster.node('used', 'west', self.cluster.addr(1, 1))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((n.addr, port))
            if not udp:
                s.listen()
            n.start(wait=False)

            def told():
                self.assertNotRegex(n.log(), steppe.CRASH)
                text = n.log().lower()
                return str(port) in text and ('in use' in text or 'eaddrinuse' in text)
            wait_for('an error that names the port', told, 15)
        n.kill()

    def test_http(self):
        self.holds(steppe.HTTP)

    def test_rpc(self):
        self.holds(steppe.RPC)

    def test_serf_tcp(self):
        self.holds(steppe.SERF)

    def test_serf_udp(self):
        self.holds(steppe.SERF, udp=True)

    @unittest.skipIf(steppe.is_nomad(), 'ours')
    def test_second_agent_of_the_same_node(self):
        s = self.cluster.region('west').server
        pids = s.service_pids()
        binary, env = steppe.agent_binary()
        r = steppe.run([binary, 'agent', '-config=' + s.conf_file], env=dict(os.environ, **env), timeout=20)
        self.assertNotEqual(r.rc, 0)
        self.assertIn(s.data_dir, r.out + r.err)
        self.assertEqual(s.service_pids(), pids)
        self.assertStatus(s.register(job('still-works')), 200)

    @unittest.skipIf(steppe.is_nomad(), 'ours')
    def test_left_over_files(self):
        """Sockets and pid files of a node that was killed are no obstacle."""
        s = self.cluster.region('west').server
        s.kill()
        with open(os.path.join(s.run_dir, 'apid.pid'), 'w') as f:
            f.write('garbage\n')
        s.start()
        s.wait_leader()
        self.assertStatus(s.register(job('x')), 200)


class Connections(steppe.TestCase):
    @unittest.skipIf(steppe.is_nomad(), 'our limits')
    def test_more_than_files(self):
        """Connections that say nothing cannot take the files that raftd needs."""
        s = self.cluster.region('west', start=False, server_extra='  raft_snapshot_threshold = 30\n  raft_trailing_logs = 10').server
        s.start(wrapper=['sh', '-c', 'ulimit -n 256; exec "$@"', 'sh'])
        s.wait_leader()
        raftd = s.wait_service('raftd')
        with contextlib.ExitStack() as idle:
            for i in range(120):
                for _ in range(10):
                    with contextlib.suppress(OSError):
                        idle.enter_context(socket.create_connection((s.addr, steppe.RPC), timeout=0.2)).sendall(rawwire.GREETING)
                self.assertStatus(s.register(job('j%d' % i)), 200)
            s.wait_log('connections refused: too many are open')
            self.assertEqual(len(s.job_ids()), 120)
        self.assertIsNone(s.log_line('service died'))
        self.assertEqual(s.wait_service('raftd'), raftd)


    @unittest.skipIf(steppe.is_nomad(), 'our limits')
    def test_large_bodies(self):
        """Sixty that come at once, and never whole, do not take the machine's memory, nor keep others out."""
        s = self.cluster.region('west').server
        apid = s.service_pids()['apid']
        before = steppe.proc_private_kib(apid)
        head = b'PUT /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n{"Job":{"ID":"'
        with contextlib.ExitStack() as all_of_them:
            conns = [all_of_them.enter_context(socket.create_connection((s.addr, steppe.HTTP), timeout=30)) for _ in range(60)]
            for c in conns:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    c.sendall(head)
                    for _ in range(12):
                        c.sendall(b'x' * 1000000)
            refused = len(select.select(conns, [], [], 0)[0])
            self.assertGreater(refused, 30)
            self.assertLess(steppe.proc_private_kib(apid) - before, 450 << 10)
            self.assertStatus(s.register(job('small')), 200)
        self.assertEqual(s.service_pids()['apid'], apid)
        wait_for('large ones to be taken again', lambda: s.register(
            job('large', Meta={'a': 'x' * 2000000})).status == 200, 60)


class Garbage(steppe.TestCase):
    """Two joined regions take everything that comes, with no service restarting."""

    @classmethod
    def setUpClass(cls):
        c = cls.new_cluster()
        cls.w, cls.e = c.region('west').server, c.region('east').server
        cls.w.join(cls.e)
        for n in (cls.w, cls.e):
            wait_for('both regions', lambda: n.get('/v1/regions').json() == ['east', 'west'])
        assert cls.w.register(job('kept')).status == 200
        cls.pids = {n: n.service_pids() for n in (cls.w, cls.e)}

    def setUp(self):
        super().setUp()
        self.rnd = random.Random(rawwire.seed())

    def assertUnharmed(self, what=''):
        for n in (self.w, self.e):
            self.assertEqual(n.service_pids(), self.pids[n], 'a service restarted after ' + what)
        self.assertIn('kept', self.w.job_ids(), what)
        self.assertIn('kept', self.e.job_ids('?region=west'), what)
        self.assertEqual(self.e.get('/v1/regions').json(), ['east', 'west'], what)
        self.assertStatus(self.w.register(job('kept')), 200)

    def test_http(self):
        for name, data in rawwire.http_garbage(self.rnd):
            with self.subTest(name):
                out = steppe.tcp_send(self.w.addr, steppe.HTTP, data, timeout=0.5)
                if out:
                    self.assertRegex(out.split(b'\r\n')[0].decode('latin-1'), r'^HTTP/1\.[01] \d\d\d')
                    self.assertNotIn(b'root:', out)
        self.assertUnharmed('garbage on HTTP')

    def test_http_idle_connections(self):
        """Connections that say nothing do not keep the others out."""
        idle = []
        try:
            for _ in range(80):
                idle.append(socket.create_connection((self.w.addr, steppe.HTTP), timeout=5))
            self.assertEqual(self.w.get('/v1/regions', timeout=5).status, 200)
        finally:
            for s in idle:
                s.close()
        self.assertUnharmed('idle connections')

    def test_json(self):
        deep = '[' * 100000
        cases = [deep, '{"Job":' + '{"TaskGroups":[' * 50000, '{"Job":{"Meta":' + '{"a":' * 20000, '{"Job":{"ID":"\\ud800"}}',
                 '{"Job":{"ID":"x\\u0000y"}}', b'{"Job":{"ID":"\xff\xfe"}}', '{"Job":{"Priority":1e999,"ID":"n"}}',
                 '{"Job":{"Priority":99999999999999999999999,"ID":"n"}}', '{"Job":{"ID":"n","ID":' + '"m"}',
                 '{"Job":{"ID":"' + 'x' * 1000000 + '"}}', '{"Job":{"ID":"a b"}}', '{"Job":{"ID":"n","TaskGroups":[null]}}',
                 '{"Job":{"ID":"n","Meta":{"a":5}}}', 'NaN', '{"Job":' + '[' * 10 + ']' * 10 + '}']
        before = self.w.job_ids()
        for i, body in enumerate(cases):
            with self.subTest(i):
                r = self.w.put('/v1/jobs', body)
                self.assertIn(r.status, (400, 413, 500), r)
                self.assertTrue(r.text)
        self.assertEqual(self.w.job_ids(), before)
        self.assertUnharmed('bad JSON')

    @unittest.skipIf(steppe.is_nomad(), 'nomad has no such limit')
    def test_json_too_large(self):
        body = b'{"Job":{"ID":"big","Meta":{"a":"' + b'x' * (40 << 20) + b'"}}}'
        try:
            r = self.w.put('/v1/jobs', body, timeout=30)
            self.assertIn(r.status, (400, 413), r)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered and closed before it had all of it
        self.assertUnharmed('a large body')

    def test_job_with_many_groups(self):
        """Large, but right: taken, or refused with a reason."""
        j = job('wide')
        j['TaskGroups'] = [dict(j['TaskGroups'][0], Name='g%d' % i) for i in range(500)]
        r = self.w.register(j)
        self.assertIn(r.status, (200, 400, 413, 500))
        if r.status == 200:
            self.assertEqual(len(self.w.get('/v1/job/wide').json()['TaskGroups']), 500)
        self.assertUnharmed('500 groups')

    def test_rpc_bytes(self):
        for name, data in rawwire.zmtp_garbage(self.rnd):
            steppe.tcp_send(self.w.addr, steppe.RPC, data, timeout=0.2)
        self.assertUnharmed('bytes on the RPC port')

    @unittest.skipIf(steppe.is_nomad(), 'our protocol')
    def test_rpc_messages(self):
        for name, parts in rawwire.bus_garbage(self.rnd):
            with self.subTest(name):
                with rawwire.Dealer(self.w.addr, steppe.RPC) as d:
                    d.send(*parts)
                    d.s.settimeout(0.05)
                    try:
                        d.read_message()
                    except (TimeoutError, ConnectionResetError):
                        pass
        self.assertUnharmed('messages on the RPC port')

    def test_gossip_datagrams(self):
        for name, data in rawwire.gossip_garbage(self.rnd):
            rawwire.udp_send(self.w.addr, steppe.SERF, data)
        wait_for('an answer', lambda: self.w.get('/v1/agent/members').status == 200)
        self.assertUnharmed('datagrams')

    def test_gossip_streams(self):
        for name, data in rawwire.stream_garbage(self.rnd):
            steppe.tcp_send(self.w.addr, steppe.SERF, data, timeout=0.3)
        self.assertUnharmed('streams on the gossip port')

    def test_tags_of_garbage(self):
        """Members whose tags make no sense are no servers of ours, and do no harm."""
        nomad = {'role': 'nomad', 'region': 'north', 'dc': 'dc1', 'build': '1.1.0', 'port': '4647', 'id': 'x', 'vsn': '1'}
        metas = [b'', b'\xff', b'\xff\xff', b'\xff\x81\xa4role', b'garbage' * 70, rawwire.serf_meta({'role': 'nomad'}),
                 rawwire.serf_meta(dict(nomad, port='99999999999')), rawwire.serf_meta(dict(nomad, port='-1')),
                 rawwire.serf_meta(dict(nomad, port='x' * 300)), rawwire.serf_meta(dict(nomad, rpc_addr='not an address')),
                 rawwire.serf_meta(dict(nomad, region='')), rawwire.serf_meta(dict(nomad, region='a/b\n\x01')),
                 rawwire.serf_meta(dict(nomad, vsn='clock', expect='many', raft_vsn='\xff')),
                 rawwire.serf_meta(dict(nomad, region='west', expect='999')), rawwire.serf_meta(dict(nomad, region='west', id=''))]
        for i, meta in enumerate(metas):
            name = 'ghost%d.north' % i
            packet = rawwire.alive(name, '127.%d.200.%d' % (self.cluster.net, i + 1), 4648, meta)
            rawwire.udp_send(self.w.addr, steppe.SERF, packet)
        wait_for('an answer', lambda: self.w.get('/v1/agent/members').status == 200)
        for n in (self.w, self.e):
            self.assertEqual(n.get('/v1/jobs').status, 200)
            self.assertEqual(n.service_pids(), self.pids[n])
        self.assertStatus(self.w.register(job('kept')), 200)
        self.assertEqual(self.w.get('/v1/status/peers').json(), [self.w.addr + ':4647'])


class JobFiles(steppe.TestCase):
    """Broken job files and odd command lines: file, line and column, exit status 1, nothing registered."""

    @classmethod
    def setUpClass(cls):
        cls.s = cls.new_cluster().region('west').server

    def run_file(self, text, *command):
        path = os.path.join(self.cluster.dir, 'broken.nomad')
        with open(path, 'wb') as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return self.s.cli(*(command or ('job', 'run', '-detach')), path)

    def test_broken(self):
        cases = ['job "x" {', 'job "x" {\n  datacenters = ["dc1"\n}\n', 'job "x" {\n  type = \n}\n', 'job { }', 'job "x" "y" { }',
                 'job "x" {\n  bogus = 5\n}\n', 'job "x" {\n group "g" {\n  task "t" {\n   driver = "raw_exec\n', '', 'group "g" { }',
                 'job "x" { }\njob "y" { }', 'job "x" {\n  meta { a = <<EOF\nno end\n', b'\xff\xfe\x00', 'job "x" {' * 2000,
                 '[' * 5000, 'job "x" {\n  priority = "high"\n}', '/* ' * 100, 'job "x" {\n  group "g" { count = "a" }\n}']
        for text in cases:
            with self.subTest(text[:60]):
                for command in (('job', 'run', '-detach'), ('job', 'validate')):
                    r = self.run_file(text, *command)
                    self.assertEqual(r.rc, 1, r)
                    self.assertTrue(r.err or r.out)
                    self.assertNotRegex(r.err + r.out, steppe.CRASH)
        self.assertEqual(self.s.job_ids(), [])

    @unittest.skipIf(steppe.is_nomad(), 'our texts')
    def test_line_and_column(self):
        r = self.run_file('job "x" {\n  datacenters = ["dc1"]\n  type = ]\n}\n')
        self.assertCli(r, 1)
        self.assertRegex(r.err, r'broken\.nomad:3[:,]\d+|At 3:\d+')

    def test_what_is_no_file(self):
        for path in ('/nonexistent.nomad', self.cluster.dir, '/dev/null'):
            r = self.s.cli('job', 'run', path)
            self.assertEqual(r.rc, 1, r)
            self.assertTrue(r.err)

    def test_odd_command_lines(self):
        for args, rc in ((['bogus'], 127), (['server', 'bogus'], 1), (['server', 'members', '-bogus'], 1), (['job', 'stop'], 1),
                         (['job', 'run'], 1), (['server', 'join'], 1), (['job', 'status', 'nosuch'], 1), ([], 127)):
            with self.subTest(args):
                r = self.s.cli(*args)
                self.assertEqual(r.rc, rc, r)
                self.assertTrue(r.err + r.out)

    def test_bad_addresses(self):
        for addr in ('127.0.0.1:4646', 'http://', 'http://127.%d.9.9:4646' % self.cluster.net, 'ftp://x', 'http://[::1', 'x y'):
            with self.subTest(addr):
                r = self.s.cli('status', env={'NOMAD_ADDR': addr, 'STEPPE_ADDR': addr})
                self.assertEqual(r.rc, 1, r)
                self.assertTrue(r.err)

    def test_a_server_that_talks_nonsense(self):
        """The CLI's peer answers with something that is not JSON, or hangs up."""
        with socket.socket() as s:
            s.bind(('127.%d.77.1' % self.cluster.net, 0))
            s.listen()
            s.settimeout(5)
            env = {k: 'http://127.%d.77.1:%d' % (self.cluster.net, s.getsockname()[1]) for k in ('NOMAD_ADDR', 'STEPPE_ADDR')}
            for answer in (b'', b'nonsense\r\n\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{"x',
                           b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]', b'HTTP/1.1 200 OK\r\n\r\n' + b'[' * 100000,
                           b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}', b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n[null]',
                           b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[5]'):
                with self.subTest(answer[:50]):
                    p = subprocess.Popen([steppe.agent_binary()[0], 'status'], env=dict(steppe.cli_env(self.s.addr), **env),
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                    try:
                        c, _ = s.accept()
                        with c:
                            c.settimeout(5)
                            c.recv(65536)
                            c.sendall(answer)
                        out, err = p.communicate(timeout=20 * steppe.SCALE)
                    finally:
                        p.kill()
                        p.wait()
                    self.assertGreaterEqual(p.returncode, 0, 'ended by a signal')
                    self.assertNotRegex((out + err).decode('utf-8', 'replace'), steppe.CRASH)


if __name__ == '__main__':
    unittest.main()
