# SPDX-License-Identifier: MPL-2.0
"""The tutorial with tasks that run: two regions of a server and two clients, everything typed in west for east.

Played with our command line, and with the official one when NOMAD_BIN names it.
"""

import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import table, wait_for  # noqa: E402

RAW_EXEC = 'plugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}'
SCRIPT = ('trap "echo got usr1" USR1; echo hello $NOMAD_ALLOC_INDEX in $NOMAD_REGION; echo oops >&2; '
          'while true; do sleep 0.1; done')


def live_hcl(count=4, script=SCRIPT, memory=32, name='live', meta=''):
    return '''job "%s" {
  region      = "east"
  datacenters = ["dc1"]

  group "g" {
    count = %d

    task "t" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", %s]
      }

      kill_timeout = "2s"
%s
      resources {
        cpu    = 20
        memory = %d
      }
    }
  }
}
''' % (name, count, '"%s"' % script.replace('\\', '\\\\').replace('"', '\\"'), meta, memory)


class Live(steppe.TestCase):
    def setUp(self):
        self.west = self.cluster.region('west', clients=2, client_args={'extra': RAW_EXEC})
        self.east = self.cluster.region('east', clients=2, client_args={'extra': RAW_EXEC})
        self.w, self.e = self.west.server, self.east.server
        self.w.join(self.e)
        for n in (self.w, self.e):
            n.wait_members(['east-s1.east', 'west-s1.west'])
            wait_for('both regions', lambda: n.get('/v1/regions').json() == ['east', 'west'])

    # -- helpers

    def cli(self, *args, node=None, timeout=90):
        return steppe.run([self.program] + list(args), env=steppe.cli_env((node or self.w).addr), timeout=timeout)

    def ok(self, *args, **kw):
        r = self.cli(*args, **kw)
        self.assertEqual((r.rc, r.err), (0, ''), '%s: %r' % (args, r))
        return r.out

    def file(self, text):
        path = os.path.join(self.cluster.dir, 'live.nomad')
        with open(path, 'w') as f:
            f.write(text)
        return path

    def run_job(self, text, rc=0):
        argv = ['job', 'run', self.file(text)]
        if os.path.basename(self.program) == 'nomad' and 'HCL2' in os.environ.get('NOMAD_FLAGS', ''):
            argv.insert(2, '-hcl1')
        r = self.cli(*argv)
        self.assertEqual((r.rc, r.err), (rc, ''), r)
        self.assertRegex(r.out, r'\A==> (\S+: )?Monitoring evaluation "[0-9a-f]{8}"\n')
        self.assertIn('Evaluation triggered by job "', r.out)
        self.assertRegex(r.out, r'Evaluation "[0-9a-f]{8}" finished with status "complete"')
        return r.out

    def allocs(self, job='live'):
        return self.w.get('/v1/job/%s/allocations?region=east' % job).json()

    def running(self, count, version=None, job='live'):
        def look():
            found = [a for a in self.allocs(job) if a['DesiredStatus'] == 'run' and a['ClientStatus'] == 'running' and
                     version in (None, a['JobVersion'])]
            return found if len(found) == count else None
        return wait_for('%d allocations of %s running' % (count, job), look, 60)

    def logs(self, alloc, *args):
        return self.ok('alloc', 'logs', '-region=east', *args, alloc['ID'])

    # -- the story

    def story(self):
        out = self.run_job(live_hcl())
        self.assertEqual(out.count(' created: node "'), 4, out)
        allocs = sorted(self.running(4), key=lambda a: a['Name'])
        self.assertEqual([a['Name'] for a in allocs], ['live.g[%d]' % i for i in range(4)])
        self.read(allocs[0])
        self.act(allocs[0])
        self.change()
        self.nodes()
        self.end()

    def read(self, one):
        wait_for('the first line', lambda: 'hello 0 in east\n' == self.logs(one))
        self.assertEqual(self.logs(one, '-stderr'), 'oops\n')
        self.assertEqual(self.logs(one, '-tail', '-n', '1'), 'hello 0 in east\n')
        for node in (self.w, self.e):
            out = self.ok('job', 'status', '-region=east', 'live', node=node)
            self.assertRegex(out, r'(?m)^Status +=.*running$')
            self.assertRegex(out, r'(?m)^g +0 +0 +4 +0 +0 +0$')
            self.assertEqual(len(re.findall(r'(?m)^[0-9a-f]{8} .* run +running ', out)), 4, out)
        out = self.ok('alloc', 'status', '-region=east', one['ID'][:8])
        self.assertRegex(out, r'(?m)^Client Status +=.*running$')
        self.assertIn('Task "t" is "running"', out)
        self.assertRegex(out, r'(?m)^\d+/20 MHz +\S+ \S+/32 MiB +300 MiB')
        for event in ('Started +Task started by client', 'Task Setup +Building Task Directory',
                      'Received +Task received by client'):
            self.assertRegex(out, event)
        rows = [x[-1] for x in table(self.ok('alloc', 'fs', '-region=east', one['ID']))[1:]]
        self.assertEqual(sorted(rows), ['alloc/', 't/'])
        rows = [x[-1] for x in table(self.ok('alloc', 'fs', '-region=east', one['ID'], 'alloc/logs'))[1:]]
        self.assertIn('t.stdout.0', rows)
        self.assertEqual(self.ok('alloc', 'fs', '-region=east', one['ID'], 'alloc/logs/t.stdout.0'), 'hello 0 in east\n')
        r = self.cli('alloc', 'fs', '-region=east', one['ID'], '../../..')
        self.assertEqual(r.rc, 1, r)
        out = self.ok('eval', 'status', '-region=east', one['EvalID'][:8])
        self.assertRegex(out, r'(?m)^Status +=.*complete$')

    def act(self, one):
        p = subprocess.Popen([self.program, 'alloc', 'logs', '-region=east', '-f', one['ID']],
                             env=steppe.cli_env(self.w.addr), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            self.assertEqual(p.stdout.readline(), 'hello 0 in east\n')
            self.assertEqual(self.ok('alloc', 'signal', '-region=east', '-s', 'SIGUSR1', one['ID']), '')
            self.assertEqual(p.stdout.readline(), 'got usr1\n')
        finally:
            p.terminate()
            p.communicate(timeout=30)
        self.assertEqual(self.ok('alloc', 'restart', '-region=east', one['ID']), '')
        wait_for('its second start', lambda: self.logs(one).count('hello 0 in east\n') == 2, 60)
        state = wait_for('the restarted task', lambda: (lambda s: s if s['State'] == 'running' and any(
            e['Type'] == 'Restart Signaled' for e in s['Events']) else None)(
                self.w.get('/v1/allocation/%s?region=east' % one['ID']).json()['TaskStates']['t']), 60)
        self.assertFalse(state['Failed'])
        out = self.ok('alloc', 'stop', '-region=east', one['ID'])
        self.assertRegex(out, r'finished with status "complete"')
        wait_for('its end', lambda: self.w.get('/v1/allocation/%s?region=east' % one['ID']).json()['ClientStatus'] ==
                 'complete', 60)
        self.assertNotIn(one['ID'], [a['ID'] for a in self.running(4)])

    def change(self):
        before = {a['ID'] for a in self.running(4)}
        self.run_job(live_hcl(count=5))  # in place, and one more
        after = {a['ID'] for a in self.running(5, version=1)}
        self.assertLess(before, after)
        self.run_job(live_hcl(count=2, script='echo second; sleep 3600'))  # destructive
        last = self.running(2, version=2)
        self.assertEqual({a['ID'] for a in last} & after, set())
        wait_for('its output', lambda: self.logs(last[0]) == 'second\n')
        r = self.cli('job', 'run', self.file(live_hcl(name='huge', memory=10000000)))
        self.assertEqual((r.rc, r.err), (2, ''), r)
        self.assertIn('finished with status "complete" but failed to place all allocations:', r.out)
        self.assertIn('Resources exhausted on 2 nodes', r.out)
        self.assertIn('Dimension "memory" exhausted on 2 nodes', r.out)
        self.assertIn('waiting for additional capacity to place remainder', r.out)
        self.assertRegex(self.ok('job', 'status', '-region=east', 'huge'), r'(?m)^Status +=.*pending$')
        self.ok('job', 'stop', '-region=east', '-purge', 'huge')

    def nodes(self):
        rows = table(self.ok('node', 'status', '-region=east', '-allocs'))
        self.assertEqual(sorted(int(r[-1]) for r in rows[1:]), [1, 1], rows)
        ids = {r[2]: r[0] for r in rows[1:]}
        self.ok('node', 'eligibility', '-region=east', '-disable', ids['east-c1'])
        self.run_job(live_hcl(name='other', count=4))
        self.assertEqual({a['NodeName'] for a in self.running(4, job='other')}, {'east-c2'})
        self.ok('node', 'eligibility', '-region=east', '-enable', ids['east-c1'])
        for args in (('-verbose', '-stats'), ('-stats',), ('-verbose',)):
            out = self.ok('node', 'status', '-region=east', *args, ids['east-c2'])
            self.assertRegex(out, r'(?m)^Status +=.*ready$')
            self.assertIn('raw_exec', out)

    def end(self):
        ids = [a['ID'] for a in self.running(2)]
        self.ok('job', 'stop', '-region=east', 'live')
        wait_for('all to end', lambda: {a['ClientStatus'] for a in self.allocs() if a['ID'] in ids} == {'complete'}, 60)
        self.assertRegex(self.ok('status', '-region=east'), r'(?m)^live .*dead \(stopped\)')
        self.run_job(live_hcl(count=1))
        self.running(1)
        for name in ('live', 'other'):
            self.ok('job', 'stop', '-region=east', '-purge', name)
        self.assertEqual(self.ok('status', '-region=east'), 'No running jobs\n')

        def tasks():
            return [p for p in map(int, filter(str.isdigit, os.listdir('/proc')))
                    if self.cluster.dir in steppe.proc_cmdline(p) and steppe.proc_name(p) == 'taskd']
        wait_for('no task to be left', lambda: not tasks(), 60)


class OurCommand(Live):
    def test_live(self):
        self.program = steppe.agent_binary()[0]
        self.story()


@unittest.skipUnless(os.environ.get('NOMAD_BIN'), 'NOMAD_BIN names no official CLI')
class OfficialCommand(Live):
    def test_live(self):
        self.program = os.environ['NOMAD_BIN']
        self.story()


if __name__ == '__main__':
    unittest.main()
