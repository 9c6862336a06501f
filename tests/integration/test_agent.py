# SPDX-License-Identifier: MPL-2.0
"""Ways to start, configure, reload and stop an agent."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import job, wait_for  # noqa: E402


class Start(steppe.TestCase):
    def node(self, name='n'):
        return self.cluster.node(name, 'west', self.cluster.addr(1, 1))

    def start_with(self, node, text_files):
        """Starts the node with these files ({name: text}) in a folder as its configuration."""
        folder = os.path.join(node.dir, 'conf.d')
        os.makedirs(folder)
        for name, text in text_files.items():
            with open(os.path.join(folder, name), 'w') as f:
                f.write(text)
        node.conf_file = folder
        return node.start()

    def test_folder_of_files_later_ones_win(self):
        n = self.node()
        self.start_with(n, {'10-base.hcl': n.conf_text() + 'datacenter = "first"\n', '20-more.hcl': 'datacenter = "second"\n',
                            'ignored.txt': 'this is no configuration'})
        self.assertEqual(n.get('/v1/agent/self').json()['config']['Datacenter'], 'second')

    def test_json_file(self):
        n = self.node()
        conf = {'region': 'west', 'name': 'n', 'data_dir': n.data_dir, 'bind_addr': n.addr,
                'advertise': {k: n.addr for k in ('http', 'rpc', 'serf')}, 'server': {'enabled': True, 'bootstrap_expect': 1}}
        self.start_with(n, {'node.json': json.dumps(conf)})
        n.wait_leader()
        self.assertStatus(n.register(job('x')), 200)

    def test_flags_win_over_files(self):
        n = self.node()
        n.start(args=['-dc=flagged', '-node', 'other', '--log-level=INFO'])
        config = n.get('/v1/agent/self').json()['config']
        self.assertEqual((config['Datacenter'], config['NodeName'], config['LogLevel']), ('flagged', 'other', 'INFO'))

    def test_dev(self):
        """One throw-away node that is server and client."""
        n = self.node()
        binary, env = steppe.agent_binary()
        with open(n.log_file, 'wb') as log:
            n.proc = subprocess.Popen([binary, 'agent', '-dev', '-bind=' + n.addr], env=dict(os.environ, **env), stdin=subprocess.DEVNULL,
                                      stdout=log, stderr=log, start_new_session=True, cwd=n.dir)
        n.wait_http(20)
        n.wait_leader()
        (ready,) = n.wait_nodes(1)
        self.assertEqual(ready['Status'], 'ready')
        self.assertEqual(n.get('/v1/regions').json(), ['global'])
        self.assertStatus(n.register(job('x')), 200)
        data = n.get('/v1/agent/self').json()['config']['DataDir']
        n.stop(signal.SIGINT)
        if data and not steppe.is_nomad():
            self.assertFalse(os.path.exists(data), data + ' was left behind')

    def test_custom_ports(self):
        n = self.node()
        n.extra = 'ports {\n  http = 14646\n  rpc = 14647\n  serf = 14648\n}\n'
        n.start(wait=False)
        get = lambda path: steppe.http_request(n.addr, 'GET', path, port=14646)  # noqa: E731
        wait_for('HTTP on 14646', lambda: get('/v1/status/leader').text == '"%s:14647"' % n.addr, 20)
        (m,) = get('/v1/agent/members').json()['Members']
        self.assertEqual((m['Port'], m['Tags']['port']), (14648, '14647'))


class Stop(steppe.TestCase):
    def test_nothing_is_left(self):
        s = self.cluster.region('west').server
        for sig in (signal.SIGTERM, signal.SIGINT):
            if not s.running():
                s.start()
                s.wait_leader()
            pids = s.pids()
            s.proc.send_signal(sig)
            s.proc.wait(20 * steppe.SCALE)
            self.assertGreaterEqual(s.proc.returncode, 0, 'ended by a signal')
            wait_for('all processes to end', lambda: not any(s.conf_file in steppe.proc_cmdline(p) for p in pids))

    def test_stop_is_quick(self):
        """Blocked queries and idle connections do not hold it up."""
        s = self.cluster.region('west').server
        t = threading.Thread(target=lambda: self.quiet(s.get, '/v1/jobs?index=%d&wait=60s' % s.get('/v1/jobs').index(), 70))
        t.start()
        s.stop(timeout=10)
        t.join(20)
        self.assertFalse(t.is_alive(), 'the blocked query hangs')

    @staticmethod
    def quiet(fn, *args):
        try:
            fn(*args)
        except (OSError, http.client.HTTPException):
            pass  # a server that goes may cut the line


@unittest.skipIf(steppe.is_nomad(), 'ours')
class Reload(steppe.TestCase):
    def test_log_level_by_sighup(self):
        s = self.cluster.region('west').server
        pids = s.service_pids()
        self.assertIn('DEBUG', s.log())
        s.write_conf(s.conf_text().replace('log_level = "DEBUG"', 'log_level = "WARN"'))
        s.proc.send_signal(signal.SIGHUP)

        def silent():
            before = len(s.log())
            self.assertEqual(s.get('/v1/regions').status, 200)
            return len(s.log()) == before
        wait_for('requests not to be logged any more', silent)
        self.assertEqual(s.service_pids(), pids)
        self.assertStatus(s.register(job('x')), 200)

    def test_broken_file_at_sighup(self):
        """It says so and goes on with what it had."""
        s = self.cluster.region('west').server
        pids = s.service_pids()
        good = s.conf_text()
        s.write_conf(good + '\nbogus_key = 1\n')
        s.proc.send_signal(signal.SIGHUP)
        wait_for('an error that names the key', lambda: 'bogus_key' in s.log())
        self.assertEqual(s.service_pids(), pids)
        self.assertStatus(s.register(job('x')), 200)


@unittest.skipIf(steppe.is_nomad(), 'ours')
class Alone(steppe.TestCase):
    """Each service also starts by hand, with the same configuration, without a supervisor."""

    def test_four_services_by_hand(self):
        n = self.cluster.node('n', 'west', self.cluster.addr(1, 1))
        n.write_conf()
        binary, env = steppe.agent_binary()
        folder = env.get('STEPPE_LIBEXEC') or os.path.join(os.path.dirname(os.path.dirname(binary)), 'libexec', 'steppe')
        procs = []
        try:
            for name in ('serfd', 'raftd', 'routerd', 'apid'):
                with open(n.log_file, 'ab') as log:
                    procs.append(subprocess.Popen([os.path.join(folder, name), '-config=' + n.conf_file], stdin=subprocess.DEVNULL,
                                                  stdout=log, stderr=log, cwd=n.dir))
            wait_for('HTTP', lambda: n.get('/v1/agent/self').status == 200, 20)
            n.wait_leader()
            wait_for('a registration', lambda: n.register(job('x')).status == 200)
            self.assertEqual(n.job_ids(), ['x'])
            procs[3].kill()
            procs[3].wait()
            with open(n.log_file, 'ab') as log:
                procs[3] = subprocess.Popen([os.path.join(folder, 'apid'), '-config=' + n.conf_file], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=n.dir)
            wait_for('HTTP again', lambda: n.job_ids() == ['x'], 20)
        finally:
            for p in reversed(procs):
                p.terminate()
            for p in procs:
                try:
                    p.wait(15)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
        self.assertEqual([p.returncode for p in procs], [0, 0, 0, 0], n.log_tail())


if __name__ == '__main__':
    unittest.main()
