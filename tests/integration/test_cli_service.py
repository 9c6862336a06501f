# SPDX-License-Identifier: MPL-2.0
"""`steppe service ...` on a real node: what it shows and does, and that the other services do not notice."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'lib'))
import steppe  # noqa: E402

SERVICES = ['serfd', 'raftd', 'routerd', 'apid', 'schedd']


@unittest.skipIf(steppe.is_nomad(), 'a Nomad has no services')
class CliService(steppe.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.new_cluster()
        cls.node = cls.shared.region('west').server

    def service(self, *args, **kw):
        return self.node.cli('service', *args, **kw)

    def pids(self):
        r = self.service('list', '-json', '-run-dir=' + self.node.run_dir)
        self.assertEqual((r.rc, r.err), (0, ''), r)
        return {s['name']: s['pid'] for s in json.loads(r.out)}

    def test_list(self):
        r = self.service('list', env={'STEPPE_RUN_DIR': self.node.run_dir})
        rows = [line.split() for line in r.out.splitlines()]
        self.assertEqual(rows[0][:4], ['Name', 'PID', 'State', 'Uptime'])
        self.assertEqual([x[0] for x in rows[1:]], SERVICES)
        self.assertEqual({x[2] for x in rows[1:]}, {'running'})
        r = self.service('list', '-t', '{{range .}}{{.name}} {{end}}', '-run-dir', self.node.run_dir)
        self.assertEqual(r.out.split(), SERVICES)

    def test_restart_one(self):
        before = self.pids()
        r = self.service('restart', '-run-dir=' + self.node.run_dir, 'apid')
        self.assertEqual((r.rc, r.out, r.err), (0, 'Service "apid": restart done\n', ''))
        after = self.pids()
        self.assertEqual([n for n in SERVICES if before[n] != after[n]], ['apid'])
        self.assertEqual(self.node.get('/v1/status/leader').status, 200)

    def test_stop_and_start(self):
        where = '-run-dir=' + self.node.run_dir
        self.assertEqual(self.service('stop', where, 'apid').rc, 0)
        r = self.node.cli('status')
        self.assertEqual(r.rc, 1)
        self.assertIn('connection refused', r.err)
        self.assertEqual(self.pids()['apid'], 0)
        self.assertEqual(self.service('start', where, 'apid').rc, 0)
        self.node.wait_http()
        self.assertEqual(self.node.cli('status').out, 'No running jobs\n')

    def test_logs(self):
        r = self.service('logs', '-run-dir=' + self.node.run_dir, 'serfd')
        self.assertEqual((r.rc, r.err), (0, ''))
        self.assertRegex(r.out, r'(?m)^\S+ INFO +serfd: ')

    def test_unknown(self):
        for verb in ('start', 'stop', 'restart', 'logs'):
            r = self.service(verb, '-run-dir=' + self.node.run_dir, 'nosuch')
            self.assertEqual((r.rc, r.out), (1, ''))
            self.assertIn('no service "nosuch" on this node', r.err)
            r = self.service(verb, '-run-dir=' + self.node.run_dir, 'two\nlines')
            self.assertEqual(r.rc, 1)


if __name__ == '__main__':
    unittest.main()
