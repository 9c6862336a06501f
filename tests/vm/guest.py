# SPDX-License-Identifier: MPL-2.0
"""Runs inside the virtual machine of cgroup_v2.sh: what tasks get from control groups of version 2."""

import os
import re
import subprocess
import sys
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = dict(w.split('=', 1) for w in open('/proc/cmdline', encoding='ascii').read().split() if '=' in w)
os.environ['STEPPE_PREFIX'] = '/usr/local'
os.environ['STEPPE_LIBEXEC'] = '/usr/local/libexec/steppe' # built for another prefix
os.environ.setdefault('STEPPE_TEST_SCALE', '3')
os.environ.setdefault('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'lib'), os.path.join(HERE, '..', 'integration')]

from steppe import http_request, wait_for  # noqa: E402
import test_taskd  # noqa: E402
import test_tasks  # noqa: E402
from test_tasks import LONG, task  # noqa: E402

MOUNT = '/sys/fs/cgroup'
PIDS_MAX = 40
CHOICE = {'plain': ['guest.Limits', 'guest.Taskd', 'test_taskd'] + ['test_tasks.Bad.test_' + n for n in (
              'exec_is_fenced', 'fork_bomb', 'memory_limit', 'double_fork')],
          'systemd': ['guest.Systemd'] + ['guest.Limits.test_' + n for n in (
              'out_of_memory', 'fork_bomb', 'cpu_weight')]}


def figure(text):
    print('      ' + text, flush=True)


def group_file(group, name):
    with open(MOUNT + group + '/' + name, encoding='ascii') as f:
        return f.read().strip()


def group_field(group, name, word):
    return int(re.search(r'^%s (\d+)$' % word, group_file(group, name), re.M).group(1))


def group_of(pid):
    with open('/proc/%d/cgroup' % pid, encoding='ascii') as f:
        return re.search(r'^0::(.*)$', f.read(), re.M).group(1)


def groups_of(alloc_id):
    """Groups of the allocation's tasks."""
    return sorted(p[len(MOUNT):] for p, _, _ in os.walk(MOUNT + '/nomad') if '/' + alloc_id in p)


def weight(shares):
    return 1 + (shares - 2) * 9999 // 262142


class Limits(test_tasks.TasksCase):
    """A node with tasks, as its users have it."""

    client = {'extra': test_tasks.RAW_EXEC + '\nplugin "exec" { config { pids_max = %d } }' % PIDS_MAX,
              'client_extra': test_tasks.OPTIONS}

    def group(self, a):
        """The group of the allocation's only task, once it is there."""
        return wait_for('a control group', lambda: groups_of(a['ID']), LONG)[0]

    def gone(self, a):
        wait_for('the groups of %s to be removed' % a['ID'], lambda: not groups_of(a['ID']), LONG)

    def end(self, job):
        self.stop_job(job)
        a = self.alloc(job, 'complete')
        self.gone(a)
        return a

    def test_fingerprint(self):
        node = self.server.get('/v1/node/' + self.server.get('/v1/nodes').json()[0]['ID']).json()
        got = {k: v for k, v in node['Attributes'].items() if 'cgroup' in k}
        self.assertEqual(got, {'os.cgroups.version': '2', 'unique.cgroup.version': 'v2',
                               'unique.cgroup.mountpoint': MOUNT})
        self.assertTrue(node['Drivers']['exec']['Healthy'])
        figure('%s, kernel %s' % (got, node['Attributes']['kernel.version']))

    def test_limits_are_written(self):
        job = self.run_job(task('t', 'exec sleep 1000', driver='exec', Resources={'CPU': 100, 'MemoryMB': 48}))
        a = self.alloc(job)
        group = self.group(a)
        self.assertRegex(group, '^/nomad/[0-9a-f-]{36}/%s[.]t[.]' % a['ID'])
        got = {n: group_file(group, n) for n in ('memory.max', 'memory.low', 'cpu.weight', 'cpu.max', 'pids.max')}
        figure(str(got))
        self.assertEqual(got, {'memory.max': str(48 << 20), 'memory.low': '0', 'cpu.weight': str(weight(100)),
                               'cpu.max': 'max 100000', 'pids.max': str(PIDS_MAX)})
        if os.path.exists(MOUNT + group + '/memory.swap.max'):
            self.assertEqual(group_file(group, 'memory.swap.max'), '0')
        for pid in group_file(group, 'cgroup.procs').split():
            self.assertEqual(group_of(int(pid)), group)
        self.assertEqual(len(group_file(group, 'cgroup.procs').split()), 2) # sleep and its namespace's first
        self.end(job)

    def test_raw_exec_has_no_limits(self):
        job = self.run_job(task('t', 'exec sleep 1000'))
        group = self.group(self.alloc(job))
        self.assertEqual([group_file(group, n) for n in ('memory.max', 'pids.max', 'cpu.weight')],
                         ['max', 'max', '100'])
        self.end(job)

    def test_out_of_memory(self):
        job = self.run_job(task('t', config={'command': '/usr/bin/python3', 'args': ['-c', 'x = bytearray(1 << 28)']},
                                driver='exec'))
        a = self.alloc(job, 'failed')
        end = [e for e in self.state(a)['Events'] if e['Type'] == 'Terminated'][0]
        figure('%s %s' % (end['DisplayMessage'], end['Details']))
        self.assertEqual((end['Details']['oom_killed'], end['Details']['signal']), ('true', '9'))
        self.assertIn('OOM Killed', end['DisplayMessage'])
        self.gone(a)

    def test_only_a_child_is_out_of_memory(self):
        """The kernel kills the child that eats; the task lives on, and its own end later is no OOM."""
        job = self.run_job(task('t', 'python3 -c "x = bytearray(1 << 28)"; echo child $?; exec sleep 1000',
                                driver='exec'))
        a = self.alloc(job)
        wait_for('the child to die', lambda: 'child 137' in self.log(a), LONG)
        self.assertEqual(group_field(self.group(a), 'memory.events', 'oom_kill'), 1)
        self.assertEqual(self.state(a)['State'], 'running')
        self.end(job)

    def test_fork_bomb(self):
        job = self.run_job(task('t', 'bomb() { bomb & bomb & while :; do :; done; }; bomb; exec sleep 1000',
                                driver='exec', KillTimeout=int(5e8)))
        a = self.alloc(job)
        group = self.group(a)
        wait_for('the limit to be hit', lambda: group_field(group, 'pids.events', 'max') > 0, LONG)
        seen = int(group_file(group, 'pids.current'))
        self.assertLessEqual(seen, PIDS_MAX)
        neighbour = self.run_job(task('t', 'echo up; exec sleep 1000', driver='exec'))
        b = self.alloc(neighbour)
        wait_for('the neighbour', lambda: 'up' in self.log(b), LONG)
        refused = group_field(group, 'pids.events', 'max')
        begin = time.monotonic()
        self.end(job)
        figure('%d processes of at most %d, %d forks refused; stopped and gone in %.1f s'
               % (seen, PIDS_MAX, refused, time.monotonic() - begin))
        self.assertEqual([p for p in os.listdir('/proc') if p.isdigit() and test_tasks.in_alloc(p, a['ID'])], [])
        self.assertEqual(self.state(b)['State'], 'running')
        self.end(neighbour)

    def test_cpu_weight(self):
        """Two tasks on one processor: the one with more shares gets far more of it."""
        spin = 'import os\nos.sched_setaffinity(0, [0])\nprint("up", flush=True)\nwhile True: pass'
        jobs = [self.run_job(task('t', config={'command': '/usr/bin/python3', 'args': ['-c', spin]}, driver='exec',
                                  Resources={'CPU': cpu, 'MemoryMB': 32})) for cpu in (50, 2000)]
        allocs = [self.alloc(j) for j in jobs]
        groups = [self.group(a) for a in allocs]
        self.assertEqual([group_file(g, 'cpu.weight') for g in groups], [str(weight(50)), str(weight(2000))])
        for a in allocs:
            wait_for('it to spin', lambda a=a: 'up' in self.log(a), LONG)

        def used():
            return [group_field(g, 'cpu.stat', 'usage_usec') for g in groups]
        before = used()
        wait_for('three seconds of the processor', lambda: sum(used()) - sum(before) > 3000000, LONG)
        got = [n - b for n, b in zip(used(), before)]
        figure('weights %d and %d: %.2f s and %.2f s of one processor'
               % (weight(50), weight(2000), got[0] / 1e6, got[1] / 1e6))
        self.assertGreater(got[1], 3 * got[0]) # 77 to 2, but this machine's processors are often away
        for j in jobs:
            self.end(j)

    def test_statistics(self):
        script = 'x = bytearray(20 << 20)\nn = 0\nprint("up", flush=True)\nwhile True: n += 1'
        for driver in ('exec', 'raw_exec'):
            job = self.run_job(task('t', config={'command': '/usr/bin/python3', 'args': ['-c', script]}, driver=driver,
                                    Resources={'CPU': 100, 'MemoryMB': 64}))
            a = self.alloc(job)
            group = self.group(a)
            wait_for('its memory', lambda a=a: 'up' in self.log(a), LONG)

            def stats(a=a):
                r = self.server.get('/v1/client/allocation/%s/stats' % a['ID'])
                u = r.status == 200 and r.json()['Tasks']['t']['ResourceUsage']
                return u and u['MemoryStats']['Usage'] > 20 << 20 and u['CpuStats']['Percent'] > 0 and u
            u = wait_for('statistics', stats, LONG, 0.2)
            m = u['MemoryStats']
            now = int(group_file(group, 'memory.current'))
            figure('%s: %s %s; memory.current %d' % (driver, {k: v for k, v in m.items() if k != 'Measured'},
                                                    {k: v for k, v in u['CpuStats'].items() if k != 'Measured'}, now))
            self.assertLess(abs(m['Usage'] - now), 8 << 20)
            self.assertLess(abs(m['RSS'] - group_field(group, 'memory.stat', 'anon')), 8 << 20)
            self.assertGreaterEqual(m['MaxUsage'], m['Usage'])
            self.assertIn('Throttled Time', u['CpuStats']['Measured'])
            self.end(job)

    def test_frozen_task_ends(self):
        """A frozen group takes no signal but the last one."""
        job = self.run_job(task('t', 'exec sleep 1000', driver='exec', KillTimeout=int(5e8)))
        group = self.group(self.alloc(job))
        with open(MOUNT + group + '/cgroup.freeze', 'w', encoding='ascii') as f:
            f.write('1')
        wait_for('it to be frozen', lambda: group_field(group, 'cgroup.events', 'frozen') == 1, LONG)
        self.end(job)

    def test_groups_of_its_own(self):
        """A root task makes groups below its own, moves its children there, and leaves them behind."""
        script = ('g=%s$(sed -n "s/^0:://p" /proc/self/cgroup); mkdir -p $g/a/b $g/c; '
                  'setsid sh -c "echo 0 > $g/a/b/cgroup.procs; exec sleep 1000" & '
                  'setsid sh -c "echo 0 > $g/c/cgroup.procs; exec sleep 1000" & echo up; exec sleep 1000' % MOUNT)
        job = self.run_job(task('t', script, KillTimeout=int(5e8)))
        a = self.alloc(job)
        group = self.group(a)
        wait_for('its groups', lambda: group_file(group + '/a/b', 'cgroup.procs'), LONG)
        deep = int(group_file(group + '/a/b', 'cgroup.procs').split()[0])
        self.end(job)
        self.assertFalse(test_tasks.alive(deep))

    def test_killed_clientd(self):
        """A task that ran out of memory while nobody was looking is told as such."""
        job = self.run_job(task('t', 'echo up; while [ ! -e /alloc/go ]; do sleep 0.1; done; '
                                'exec python3 -c "x = bytearray(1 << 28)"', driver='exec'), kind='batch')
        a = self.alloc(job)
        wait_for('its start', lambda: 'up' in self.log(a), LONG)
        self.kill_clientd()
        with open(self.dir(a, 'alloc', 'go'), 'w', encoding='ascii'):
            pass
        a = self.alloc(job, 'failed')
        end = [e for e in self.state(a)['Events'] if e['Type'] == 'Terminated'][0]
        self.assertEqual(end['Details']['oom_killed'], 'true')
        self.gone(a)


class Taskd(test_taskd.TaskdCase):
    """What clientd does not ask for, but taskd can."""

    def test_reservation(self):
        t = self.task('/bin/sleep', '1000', cgroup=True, limits=1, memory_max=64 << 20, memory_soft=16 << 20,
                      cpu_shares=2, pids_max=7)
        t.until('running')
        got = [group_file(t.spec['cgroup'], n) for n in ('memory.max', 'memory.low', 'cpu.weight', 'pids.max')]
        self.assertEqual(got, [str(64 << 20), str(16 << 20), '1', '7'])

    def test_missing_controller_is_named(self):
        """As in a container that was given no such controller. Inner groups with processes pass nothing on."""
        outer = '/full-%d' % os.getpid()
        os.mkdir(MOUNT + outer)
        holder = subprocess.Popen(['/bin/sh', '-c', 'echo $$ > %s%s/cgroup.procs; exec sleep 1000' % (MOUNT, outer)])
        try:
            wait_for('a process in it', lambda: group_file(outer, 'cgroup.procs'), LONG)
            t = self.task('/bin/sleep', '1000', cgroup=outer + '/t', limits=1, memory_max=64 << 20)
            said = t.until('failed')
            figure(said['error'])
            self.assertIn('memory.max', said['error'])
            self.assertFalse(os.path.exists(MOUNT + outer + '/t'))
        finally:
            holder.kill()
            holder.wait()
            wait_for('it to be empty', lambda: not group_file(outer, 'cgroup.procs'), LONG)
            os.rmdir(MOUNT + outer)


class Systemd(unittest.TestCase):
    """The unit that we ship, beside a systemd that believes all control groups to be its own."""

    def ctl(self, *args):
        r = subprocess.run(['systemctl', *args], capture_output=True, text=True, timeout=240, check=False)
        if r.returncode:
            log = subprocess.run(['journalctl', '-u', 'steppe', '-n', '30', '--no-pager'], capture_output=True, text=True, check=False)
            self.fail('systemctl %s: %s\n%s' % (' '.join(args), r.stderr, log.stdout))
        return r.stdout.strip()

    def get(self, path):
        return http_request('127.0.0.1', 'GET', path).json()

    def allocs(self, status):
        def look():
            a = [x for x in self.get('/v1/job/j/allocations') if x['ClientStatus'] == status]
            return a[0] if a else None
        return wait_for('job j to be ' + status, look, LONG)

    def test_unit(self):
        os.makedirs('/etc/steppe', exist_ok=True)
        with open('/etc/steppe/node.hcl', 'w', encoding='ascii') as f:
            f.write('bind_addr = "127.0.0.1"\nadvertise { http = "127.0.0.1" rpc = "127.0.0.1" serf = "127.0.0.1" }\n'
                    'server { enabled = true bootstrap_expect = 1 }\n'
                    'client { enabled = true network_interface = "lo" servers = ["127.0.0.1:4647"] }\n')
        begin = time.monotonic()
        self.ctl('start', 'steppe')
        figure('systemctl start: %.1f s; its group: %s' % (time.monotonic() - begin,
                                                         self.ctl('show', '-P', 'ControlGroup', 'steppe')))
        wait_for('a node', lambda: self.get('/v1/nodes')[0]['Status'] == 'ready', LONG)
        t = task('t', 'echo $$ > /alloc/up; exec sleep 1000', driver='exec', Resources={'CPU': 100, 'MemoryMB': 48})
        r = http_request('127.0.0.1', 'PUT', '/v1/jobs', {'Job': {
            'ID': 'j', 'Name': 'j', 'Type': 'service', 'Datacenters': ['dc1'], 'TaskGroups': [
                {'Name': 'g', 'Count': 1, 'EphemeralDisk': {'SizeMB': 50}, 'Tasks': [
                    dict(t, LogConfig={'MaxFiles': 1, 'MaxFileSizeMB': 1})]}]}})
        self.assertEqual(r.status, 200, r)
        a = self.allocs('running')
        group = wait_for('a group', lambda: groups_of(a['ID']), LONG)[0]
        pids = group_file(group, 'cgroup.procs')

        def limits():
            return [group_file(group, n) for n in ('memory.max', 'cpu.weight', 'pids.max', 'cgroup.procs')]
        want = [str(48 << 20), str(weight(100)), '4096', pids]
        self.assertEqual(limits(), want)
        # Everything that makes systemd look at its controllers again.
        with open('/etc/systemd/system/other.service', 'w', encoding='ascii') as f:
            f.write('[Service]\nType=oneshot\nCPUWeight=50\nMemoryMax=50M\nExecStart=/bin/true\n')
        self.ctl('daemon-reload')
        self.ctl('start', 'other')
        self.ctl('daemon-reexec')
        self.ctl('restart', 'steppe')
        wait_for('the agent', lambda: self.get('/v1/nodes')[0]['Status'] == 'ready', LONG)
        self.assertEqual(self.allocs('running')['ID'], a['ID'])
        self.assertEqual(limits(), want)
        self.ctl('stop', 'steppe')
        self.assertEqual(limits(), want) # tasks outlive the agent
        self.ctl('start', 'steppe')
        self.assertEqual(self.allocs('running')['ID'], a['ID'])
        figure('over daemon-reload, daemon-reexec, restart, stop and start: %s' % limits()[:3])
        http_request('127.0.0.1', 'DELETE', '/v1/job/j')
        self.allocs('complete')
        wait_for('the group to be removed', lambda: not groups_of(a['ID']), LONG)
        self.ctl('stop', 'steppe')


class Result(unittest.TextTestResult):
    """One line a test, with its time; figures come above it."""

    def startTest(self, test):
        self.began = time.monotonic()
        unittest.TestResult.startTest(self, test)

    def line(self, test, word, err=None):
        print('%-6s %5.1f s  %s' % (word, time.monotonic() - getattr(self, 'began', time.monotonic()), test.id()), flush=True)
        if err:
            print(''.join(traceback.format_exception(*err)), flush=True)
            print(getattr(test, 'log_tails', str)(), flush=True)

    def addSuccess(self, test):
        self.line(test, 'ok')

    def addFailure(self, test, err):
        unittest.TestResult.addFailure(self, test, err)
        self.line(test, 'FAIL', err)

    addError = addFailure

    def addSkip(self, test, reason):
        unittest.TestResult.addSkip(self, test, reason)
        self.line(test, 'skip: ' + reason)


def main():
    mode = WORDS.get('steppe.mode', 'plain')
    names = [n for n in WORDS.get('steppe.tests', '').split(',') if n] or CHOICE[mode]
    print('STEPPE-VM: %s, %s, first process %s, controllers: %s'
          % (mode, os.uname().release, open('/proc/1/comm', encoding='ascii').read().strip(),
             group_file('', 'cgroup.controllers')), flush=True)
    result = unittest.TextTestRunner(resultclass=Result, stream=open(os.devnull, 'w', encoding='ascii')).run(
        unittest.defaultTestLoader.loadTestsFromNames(names))
    bad = len(result.failures) + len(result.errors) + len(result.skipped)
    word = 'all passed' if bad == 0 and result.testsRun > 0 else 'FAILED'
    print('STEPPE-VM: %s: %d tests, %d failed, %d skipped, %.0f s since the start of the machine'
          % (word, result.testsRun, len(result.failures) + len(result.errors), len(result.skipped), time.monotonic()),
          flush=True)
    return word == 'FAILED'


if __name__ == '__main__':
    sys.modules['guest'] = sys.modules['__main__']
    sys.exit(main())
