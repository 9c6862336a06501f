# SPDX-License-Identifier: MPL-2.0
"""Tasks on a real node: restarts, kills, bad tasks, and what happens to them when clientd dies."""

import ctypes
import json
import os
import pwd
import random
import re
import signal
import sys
import time
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from steppe import Cluster, TestCase, alive, wait_for  # noqa: E402

LONG = 60
RAW_EXEC = 'plugin "raw_exec" { config { enabled = true } }'
RESERVED = '\n reserved { cpu = 10 memory = 64 reserved_ports = "22,8000-8100" }'
OPTIONS = 'options { "driver.mock_driver.enable" = "1" }'
ROOT = os.geteuid() == 0


def task(name, script=None, driver='raw_exec', config=None, **kw):
    t = {'Name': name, 'Driver': driver, 'Resources': {'CPU': 20, 'MemoryMB': 32},
         'Config': config if config is not None else {'command': '/bin/sh', 'args': ['-c', script]}}
    t.update(kw)
    return t


def policy(attempts=0, delay=1, interval=3600, mode='fail'):
    return {'Attempts': attempts, 'Delay': int(delay * 1e9), 'Interval': int(interval * 1e9), 'Mode': mode}


def types(state):
    return [e['Type'] for e in state['Events']]


class TasksCase(TestCase):
    """One server, one client; each test has jobs of its own."""

    client = {'extra': RAW_EXEC, 'client_extra': OPTIONS + RESERVED}

    @classmethod
    def setUpClass(cls):
        cls.shared = cls.new_cluster()
        cls.region = cls.shared.region('west', clients=1, client_args=dict(cls.client))
        cls.server, cls.node = cls.region.server, cls.region.clients[0]

    def run_job(self, *tasks, kind='service', count=1, restart=None, **group):
        job_id = 'j-' + uuid.uuid4().hex[:8]
        g = {'Name': 'g', 'Count': count, 'Tasks': list(tasks), 'RestartPolicy': restart or policy(),
             'ReschedulePolicy': {'Attempts': 0, 'Unlimited': False},
             'EphemeralDisk': {'SizeMB': 150}}
        g.update(group)
        for t in tasks:
            t.setdefault('LogConfig', {'MaxFiles': 3, 'MaxFileSizeMB': 1})
        self.put_job({'ID': job_id, 'Name': job_id, 'Type': kind, 'Datacenters': ['dc1'], 'TaskGroups': [g]})
        self.addCleanup(self.stop_job, job_id)
        return job_id

    def put_job(self, job):
        r = self.server.put('/v1/jobs', {'Job': job})
        self.assertEqual(r.status, 200, r)

    def stop_job(self, job_id):
        self.server.delete('/v1/job/' + job_id)

    def allocs(self, job_id):
        return self.server.get('/v1/job/%s/allocations' % job_id).json()

    def alloc(self, job_id, status='running', timeout=LONG):
        """The job's only allocation, when it has the status."""
        def there():
            a = self.allocs(job_id)
            return len(a) == 1 and a[0]['ClientStatus'] in status.split('|') and a[0]
        return wait_for('%s to be %s' % (job_id, status), there, timeout)

    def state(self, alloc, name='t'):
        return self.server.get('/v1/allocation/' + alloc['ID']).json()['TaskStates'][name]

    def dir(self, alloc, *path, node=None):
        return os.path.join((node or self.node).data_dir, 'alloc', alloc['ID'], *path)

    def read(self, alloc, *path):
        with open(self.dir(alloc, *path), encoding='utf-8', errors='replace') as f:
            return f.read()

    def log(self, alloc, name='t', stream='stdout'):
        """All of it, in order."""
        folder = self.dir(alloc, 'alloc', 'logs')
        files = [n for n in os.listdir(folder) if n.startswith('%s.%s.' % (name, stream))]
        return ''.join(self.read(alloc, 'alloc', 'logs', n) for n in sorted(files, key=lambda n: int(n.split('.')[2])))

    def pid_in(self, alloc, *path):
        return int(wait_for('a pid in %s' % '/'.join(path), lambda: self.read(alloc, *path).strip(), LONG))

    def counting(self):
        """A task that writes a number each 50 ms."""
        return task('t', 'echo $$ > pid; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done')

    def send(self, a, name):
        """The way to the node has to be found again first."""
        said = []

        def taken():
            said.append(self.server.put('/v1/client/allocation/%s/signal' % a['ID'], {'Task': 't', 'Signal': name}))
            return said[-1].status == 200
        try:
            wait_for('a signal to be taken', taken, LONG, 0.2)
        except AssertionError:
            self.fail('a signal was not taken: %r' % said[-1])

    def running_again(self, a, restarts=1):
        s = self.state(a)
        return s['State'] == 'running' and s['Restarts'] == restarts and s

    def kill_clientd(self, sig=signal.SIGKILL):
        pid = self.node.service_pids()['clientd']
        os.kill(pid, sig)
        wait_for('clientd to be started again',
                 lambda: self.node.service_pids().get('clientd', pid) not in (pid, 0), LONG)


class Running(TasksCase):
    @unittest.skipUnless(ROOT, 'needs root')
    def test_other_user_without_isolation(self):
        os.chmod(self.shared.dir, 0o711)  # the cluster's, made for the tests' own user
        job = self.run_job(task('t', 'id -u > local/who; cat local/who', User='nobody'), kind='batch')
        self.assertEqual(self.log(self.alloc(job, 'complete|failed')), '%d\n' % pwd.getpwnam('nobody').pw_uid)

    def test_environment_and_folders(self):
        job = self.run_job(task('t', 'env > local/env; pwd > local/pwd; id -u; exec sleep 1000',
                                Env={'MINE': '${NOMAD_TASK_NAME}-${attr.kernel.name}-${node.datacenter}'},
                                Meta={'a-key': 'v'}),
                           Networks=[{'DynamicPorts': [{'Label': 'web'}]}])
        a = self.alloc(job)
        wait_for('its environment', lambda: 'MINE' in self.read(a, 't', 'local', 'env'), LONG)
        env = dict(line.split('=', 1) for line in self.read(a, 't', 'local', 'env').split('\n') if '=' in line)
        full = self.server.get('/v1/allocation/' + a['ID']).json()
        port = full['AllocatedResources']['Shared']['Ports'][0]
        want = {'NOMAD_ALLOC_ID': a['ID'], 'NOMAD_ALLOC_NAME': job + '.g[0]', 'NOMAD_ALLOC_INDEX': '0',
                'NOMAD_TASK_NAME': 't', 'NOMAD_GROUP_NAME': 'g', 'NOMAD_JOB_ID': job, 'NOMAD_JOB_NAME': job,
                'NOMAD_DC': 'dc1', 'NOMAD_REGION': 'west', 'NOMAD_NAMESPACE': 'default',
                'NOMAD_CPU_LIMIT': '20', 'NOMAD_MEMORY_LIMIT': '32', 'NOMAD_META_a_key': 'v', 'NOMAD_META_A_KEY': 'v',
                'NOMAD_ALLOC_DIR': self.dir(a, 'alloc'), 'NOMAD_TASK_DIR': self.dir(a, 't', 'local'),
                'NOMAD_SECRETS_DIR': self.dir(a, 't', 'secrets'), 'MINE': 't-linux-dc1',
                'NOMAD_PORT_web': str(port['Value']), 'NOMAD_HOST_PORT_web': str(port['Value']),
                'NOMAD_IP_web': port['HostIP'], 'NOMAD_ADDR_web': '%s:%d' % (port['HostIP'], port['Value'])}
        self.assertEqual({k: env.get(k) for k in want}, want)
        self.assertNotIn('STEPPE_READY_FD', env)
        self.assertEqual(self.read(a, 't', 'local', 'pwd').strip(), self.dir(a, 't'))
        for path in ('alloc/data', 'alloc/logs', 'alloc/tmp', 't/local', 't/secrets', 't/tmp'):
            self.assertTrue(os.path.isdir(self.dir(a, path)), path)

    def test_batch_job_ends(self):
        a = self.alloc(self.run_job(task('t', 'echo done'), kind='batch'), 'complete')
        s = self.state(a)
        self.assertEqual(types(s), ['Received', 'Task Setup', 'Started', 'Terminated'])
        self.assertEqual((s['State'], s['Failed']), ('dead', False))
        self.assertEqual([e['DisplayMessage'] for e in s['Events']],
                         ['Task received by client', 'Building Task Directory', 'Task started by client',
                          'Exit Code: 0'])
        self.assertEqual(s['Events'][3]['Details'], {'exit_code': '0', 'oom_killed': 'false', 'signal': '0'})
        self.assertEqual(self.log(a), 'done\n')

    def test_restart_policy(self):
        a = self.alloc(self.run_job(task('t', 'echo x; exit 3'), restart=policy(2, delay=1)), 'failed')
        s = self.state(a)
        self.assertEqual((s['Restarts'], s['Failed'], s['State']), (2, True, 'dead'))
        self.assertEqual(s['Events'][-1]['DisplayMessage'],
                         'Exceeded allowed attempts 2 in interval 1h0m0s and mode is "fail"')
        self.assertEqual(self.log(a), 'x\n' * 3)

    def test_cannot_start(self):
        a = self.alloc(self.run_job(task('t', config={'command': '/nowhere/x'})), 'failed')
        s = self.state(a)
        self.assertEqual(types(s), ['Received', 'Task Setup', 'Driver Failure', 'Not Restarting'])
        self.assertIn('stat /nowhere/x: no such file or directory', s['Events'][2]['DisplayMessage'])
        self.assertEqual(s['Events'][3]['DisplayMessage'], 'Policy allows no restarts')

    def test_artifacts_are_refused(self):
        t = task('t', 'true', Artifacts=[{'GetterSource': 'http://127.0.0.1/x', 'RelativeDest': 'local/'}])
        s = self.state(self.alloc(self.run_job(t), 'failed'))
        self.assertEqual([e['DisplayMessage'] for e in s['Events'][-2:]],
                         ['artifacts are not supported yet', 'Policy allows no restarts'])

    def test_root_is_refused(self):
        s = self.state(self.alloc(self.run_job(task('t', 'true', driver='exec', User='root')), 'failed'))
        self.assertEqual([e['Type'] for e in s['Events'][-2:]], ['Failed Validation', 'Not Restarting'])
        self.assertEqual(s['Events'][-2]['DisplayMessage'], 'running as user "root" is disallowed')

    def test_mock_driver(self):
        job = self.run_job(task('t', driver='mock_driver', config={'run_for': '100ms', 'exit_code': 5}), kind='batch')
        s = self.state(self.alloc(job, 'failed'))
        self.assertIn('Exit Code: 5', [e['DisplayMessage'] for e in s['Events']])

    def test_lifecycle_and_leader(self):
        note = 'echo %s >> ${NOMAD_ALLOC_DIR}/order; '
        job = self.run_job(
            task('init', note % 'init', Lifecycle={'Hook': 'prestart', 'Sidecar': False}),
            task('side', (note % 'side') + 'exec sleep 1000', Lifecycle={'Hook': 'prestart', 'Sidecar': True}),
            task('lead', (note % 'lead') + 'while [ ! -e ../alloc/go ]; do sleep 0.1; done', Leader=True),
            task('post', note % 'post', Lifecycle={'Hook': 'poststart', 'Sidecar': False}),
            task('last', note % 'last', Lifecycle={'Hook': 'poststop', 'Sidecar': False}), kind='batch')
        a = self.alloc(job)
        wait_for('post', lambda: 'post' in self.read(a, 'alloc', 'order'), LONG)
        with open(self.dir(a, 'alloc', 'go'), 'w', encoding='ascii'):
            pass
        a = self.alloc(job, 'complete')
        order = self.read(a, 'alloc', 'order').split()
        self.assertEqual(sorted(order[:2]), ['init', 'side'])
        self.assertEqual(order[2:], ['lead', 'post', 'last'])
        self.assertIn('Leader Task Dead', types(self.state(a, 'side')))

    def test_failed_sibling(self):
        job = self.run_job(task('bad', 'sleep 0.2; exit 1'), task('good', 'exec sleep 1000'))
        a = self.alloc(job, 'failed')
        wait_for('good to be dead', lambda: self.state(a, 'good')['State'] == 'dead', LONG)
        s = self.state(a, 'good')
        self.assertEqual(types(s)[-4:], ['Sibling Task Failed', 'Killing', 'Terminated', 'Killed'])
        self.assertFalse(s['Failed'])

    def test_restart_and_signal(self):
        a = self.alloc(self.run_job(task('t', 'trap "echo hup" HUP; echo up; while :; do sleep 0.1; done')))
        wait_for('the trap', lambda: 'up' in self.log(a), LONG)
        self.send(a, 'SIGHUP')
        wait_for('the signal', lambda: 'hup' in self.log(a), LONG)
        r = self.server.put('/v1/client/allocation/%s/restart' % a['ID'], {'TaskName': 't'})
        self.assertEqual(r.status, 200, r)
        wait_for('the second run', lambda: self.log(a).count('up') == 2, LONG)
        s = wait_for('its state', lambda: self.running_again(a), LONG)
        self.assertIn('User requested restart', [e['DisplayMessage'] for e in s['Events']])

    def test_health(self):
        job = 'j-' + uuid.uuid4().hex[:8]
        self.addCleanup(self.stop_job, job)
        self.put_job({'ID': job, 'Name': job, 'Type': 'service', 'Datacenters': ['dc1'], 'TaskGroups': [
            {'Name': 'g', 'Count': 1, 'Tasks': [task('t', 'exec sleep 1000')],
             'Migrate': {'MaxParallel': 1, 'HealthCheck': 'task_states', 'MinHealthyTime': int(1e8),
                         'HealthyDeadline': int(60e9)}}]})
        a = self.alloc(job)
        wait_for('health', lambda: (self.server.get('/v1/allocation/' + a['ID']).json().get('DeploymentStatus')
                                    or {}).get('Healthy'), LONG)


    def test_update_in_place(self):
        job = self.run_job(task('t', 'echo $$ > pid; exec sleep 1000'))
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        spec = self.server.get('/v1/job/' + job).json()
        spec['Priority'] = 60
        self.put_job(spec)
        wait_for('the allocation to be of the new version', lambda: self.allocs(job)[0]['JobVersion'] == 1, LONG)
        self.assertEqual([x['ID'] for x in self.allocs(job)], [a['ID']])
        self.assertTrue(alive(pid))
        self.assertEqual(self.state(a)['Restarts'], 0)

    def test_reserved(self):
        node = self.server.get('/v1/nodes').json()[0]['ID']
        r = self.server.get('/v1/node/' + node).json()
        self.assertEqual(r['ReservedResources']['Memory']['MemoryMB'], 64)
        self.assertEqual(r['ReservedResources']['Networks']['ReservedHostPorts'], '22,8000-8100')
        self.assertEqual(r['Reserved']['CPU'], 10)
        self.assertEqual(r['Attributes']['driver.raw_exec'], '1')
        self.assertTrue(r['Drivers']['raw_exec']['Healthy'])


class Bad(TasksCase):
    """Tasks that do not want to end, and too much of everything."""

    def stop_and_wait(self, job):
        self.stop_job(job)
        return self.alloc(job, 'complete', LONG)

    def test_ignores_sigterm(self):
        job = self.run_job(task('t', 'trap "" INT TERM HUP; echo up; while :; do sleep 0.1; done',
                                KillTimeout=int(5e8), KillSignal='SIGTERM'))
        a = self.alloc(job)
        wait_for('the trap', lambda: 'up' in self.log(a), LONG)
        a = self.stop_and_wait(job)
        s = self.state(a)
        self.assertEqual(types(s)[-3:], ['Killing', 'Terminated', 'Killed'])
        self.assertEqual(s['Events'][-2]['DisplayMessage'], 'Exit Code: 137, Signal: 9')

    def test_double_fork(self):
        job = self.run_job(task('t', "setsid sh -c 'setsid sh -c \"trap : INT TERM; echo \\$\\$ > deep; exec sleep 1000\"' & "
                                'exec sleep 1000', KillTimeout=int(5e8)))
        deep = self.pid_in(self.alloc(job), 't', 'deep')
        self.assertTrue(alive(deep))
        self.stop_and_wait(job)
        self.assertFalse(alive(deep))

    def test_log_flood(self):
        job = self.run_job(task('t', 'exec yes 0123456789', LogConfig={'MaxFiles': 2, 'MaxFileSizeMB': 1}))
        a = self.alloc(job)
        folder = self.dir(a, 'alloc', 'logs')
        wait_for('many files', lambda: any(int(n.split('.')[2]) > 5 for n in os.listdir(folder)), LONG)
        self.stop_and_wait(job)
        names = [n for n in os.listdir(folder) if 'stdout' in n]
        self.assertLessEqual(len(names), 2)
        for n in names:
            self.assertLessEqual(os.path.getsize(os.path.join(folder, n)), 1 << 20)

    def test_closed_outputs(self):
        job = self.run_job(task('t', 'exec >&- 2>&-; exec sleep 1000'))
        self.alloc(job)
        self.stop_and_wait(job)

    @unittest.skipUnless(ROOT, 'needs root')
    def test_fork_bomb(self):
        bomb = 'echo $$; bomb() { bomb & bomb & while :; do :; done; }; bomb'
        job = self.run_job(task('t', bomb, driver='exec', KillTimeout=int(5e8)))
        a = self.alloc(job, 'running|complete')
        neighbour = self.run_job(task('t', 'exec sleep 1000'))
        self.alloc(neighbour)
        self.stop_and_wait(job)
        left = [p for p in os.listdir('/proc') if p.isdigit() and in_alloc(p, a['ID'])]
        self.assertEqual(left, [])

    @unittest.skipUnless(ROOT, 'needs root')
    def test_exec_is_fenced(self):
        job = self.run_job(task('t', 'id -un; pwd; echo $NOMAD_TASK_DIR; ls /home; touch local/a /alloc/b; echo end; exec sleep 1000',
                                driver='exec'))
        a = self.alloc(job)
        wait_for('its end', lambda: 'end' in self.log(a), LONG)
        self.assertEqual(self.log(a), 'nobody\n/\n/local\nend\n')
        self.assertIn('/home', self.log(a, stream='stderr'))
        self.assertTrue(os.path.exists(self.dir(a, 't', 'local', 'a')) and os.path.exists(self.dir(a, 'alloc', 'b')))
        self.stop_and_wait(job)

    @unittest.skipUnless(ROOT, 'needs root')
    def test_memory_limit(self):
        job = self.run_job(task('t', config={'command': '/usr/bin/python3', 'args': ['-c', 'x = bytearray(1 << 30)']},
                                driver='exec'))
        s = self.state(self.alloc(job, 'failed'))
        end = [e for e in s['Events'] if e['Type'] == 'Terminated'][0]
        self.assertEqual(end['Details']['oom_killed'], 'true')


def in_alloc(pid, alloc_id):
    try:
        with open('/proc/%s/cgroup' % pid, encoding='ascii') as f:
            return alloc_id in f.read()
    except OSError:
        return False


class Survival(TasksCase):
    """clientd dies; its tasks do not. (Its supervisor waits longer after each death, until the servers give the node up:
    a class with a node of its own for each few of them.)"""

    def test_kill_9(self):
        a = self.alloc(self.run_job(self.counting()))
        pid = self.pid_in(a, 't', 'pid')
        for _ in range(3):
            before = len(self.log(a).split('\n'))
            self.kill_clientd()
            wait_for('more output', lambda n=before: len(self.log(a).split('\n')) > n + 5, LONG)
        wait_for('the log to say so', lambda: 'allocations restored: 1' in self.node.log_text(), LONG)
        self.assertTrue(alive(pid))
        s = self.state(a)
        self.assertEqual((s['State'], s['Restarts']), ('running', 0))
        lines = self.log(a).split('\n')[:-1]
        self.assertEqual(lines, [str(i + 1) for i in range(len(lines))]) # nothing lost, nothing twice
        self.send(a, 'SIGKILL')
        self.alloc(a['JobID'], 'failed')

    def test_ends_while_clientd_is_away(self):
        job = self.run_job(task('t', 'echo $$ > pid; while [ ! -e ../alloc/go ]; do sleep 0.05; done; exit 4'), kind='batch')
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        os.kill(self.node.proc.pid, signal.SIGSTOP) # nobody starts clientd again
        try:
            os.kill(self.node.service_pids()['clientd'], signal.SIGKILL)
            with open(self.dir(a, 'alloc', 'go'), 'w', encoding='ascii'):
                pass
            wait_for('the task to end', lambda: not alive(pid), LONG)
        finally:
            os.kill(self.node.proc.pid, signal.SIGCONT)
        s = self.state(self.alloc(job, 'failed'))
        self.assertIn('Exit Code: 4', [e['DisplayMessage'] for e in s['Events']])

    def test_kill_timeout_goes_on(self):
        job = self.run_job(task('t', 'trap "" INT; echo $$ > pid; while :; do sleep 0.1; done', KillTimeout=int(2e9)))
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        self.stop_job(job)
        wait_for('the kill', lambda: 'Killing' in types(self.state(a)), LONG)
        self.kill_clientd()
        self.alloc(job, 'complete')
        self.assertFalse(alive(pid))

    def test_killed_taskd(self):
        job = self.run_job(self.counting(), restart=policy(1, delay=1))
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        with open('/proc/%d/stat' % pid, encoding='ascii') as f:
            os.kill(int(f.read().rsplit(')', 1)[1].split()[1]), signal.SIGKILL)
        wait_for('another run', lambda: self.pid_in(a, 't', 'pid') != pid, LONG)
        self.assertFalse(alive(pid))
        wait_for('its state', lambda: self.running_again(a), LONG)


class NewLife(TasksCase):
    """A clientd that finds things changed."""

    def test_stray(self):
        """The state of an allocation is lost: its task is ended, and started again as the servers wish."""
        job = self.run_job(self.counting())
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        with open(os.path.join(self.node.data_dir, 'client', 'allocs', a['ID'], 'state'), 'w', encoding='ascii') as f:
            f.write('nonsense')
        self.kill_clientd()
        wait_for('the stray to be ended', lambda: not alive(pid), LONG)
        wait_for('a new run', lambda: self.pid_in(a, 't', 'pid') != pid, LONG)

    def test_other_boot(self):
        """After a reboot tasks start again, when the servers still want them."""
        job = self.run_job(self.counting())
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        os.kill(self.node.proc.pid, signal.SIGSTOP)
        try:
            os.kill(self.node.service_pids()['clientd'], signal.SIGKILL)
            change_boot_id(os.path.join(self.node.data_dir, 'client', 'allocs', a['ID'], 'state'))
        finally:
            os.kill(self.node.proc.pid, signal.SIGCONT)
        wait_for('a new run', lambda: self.pid_in(a, 't', 'pid') != pid, LONG)
        wait_for('its state', lambda: types(self.state(a)).count('Started') == 2, LONG)

    def test_no_server(self):
        job = self.run_job(self.counting())
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        self.server.kill()
        self.kill_clientd()
        before = len(self.log(a))
        wait_for('more output', lambda: len(self.log(a)) > before, LONG)
        self.server.start()
        self.server.wait_leader()
        wait_for('the state to be told', lambda: self.state(a)['State'] == 'running', LONG)
        self.assertTrue(alive(pid))
        self.stop_job(job)
        self.alloc(job, 'complete', 2 * LONG)
        self.assertFalse(alive(pid))


class Upgrade(TasksCase):
    def test_upgrade_and_restart_of_the_agent(self):
        a = self.alloc(self.run_job(self.counting()))
        pid = self.pid_in(a, 't', 'pid')
        self.kill_clientd(signal.SIGTERM) # as an upgrade of the program does
        self.node.stop()
        before = len(self.log(a))
        wait_for('more output without an agent', lambda: len(self.log(a)) > before, LONG)
        self.node.start()
        wait_for('the log to say so', lambda: 'allocations restored' in self.node.log_text(), LONG)
        self.send(a, 'SIGCONT')
        self.assertTrue(alive(pid))
        lines = self.log(a).split('\n')[:-1]
        self.assertEqual(lines, [str(i + 1) for i in range(len(lines))])
        self.assertEqual(self.state(a)['Restarts'], 0)

    def test_purged_job(self):
        job = self.run_job(self.counting())
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        self.server.delete('/v1/job/%s?purge=true' % job)
        wait_for('the task to be gone', lambda: not alive(pid), LONG)

        def collected():
            self.server.put('/v1/system/gc')
            return not os.path.exists(self.dir(a))
        wait_for('its folder to be removed', collected, LONG, 0.5)


def rewrite_state(path, change):
    """Another body in a record of clientd's, and its hash (see client_store.c)."""
    with open(path, 'rb') as f:
        data = f.read()
    body = change(data[16:])
    assert body != data[16:], 'nothing to change in ' + path
    xxh = ctypes.CDLL('libxxhash.so.0')
    xxh.XXH3_64bits.restype = ctypes.c_uint64
    xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    with open(path, 'wb') as f:
        f.write(data[:8] + xxh.XXH3_64bits(body, len(body)).to_bytes(8, 'little') + body)


def change_boot_id(path):
    """As if the machine had been booted since."""
    rewrite_state(path, lambda body: re.sub(rb'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}',
                                            str(uuid.uuid4()).encode(), body, count=1))


class CutOff(TestCase):
    """A node that the servers lost, and that comes back."""

    def test_its_work_is_taken_over(self):
        c = self.cluster
        region = c.region('west', clients=2, client_args={'extra': RAW_EXEC},
                          server_extra='min_heartbeat_ttl = "1s"\n heartbeat_grace = "1s"')
        server = region.server
        job = {'ID': 'j', 'Name': 'j', 'Type': 'service', 'Datacenters': ['dc1'], 'TaskGroups': [
            {'Name': 'g', 'Count': 1, 'Tasks': [task('t', 'echo $$ > pid; exec sleep 1000')]}]}
        self.assertEqual(server.put('/v1/jobs', {'Job': job}).status, 200)

        def running():
            return [a for a in server.get('/v1/job/j/allocations').json() if a['ClientStatus'] == 'running']
        first = wait_for('the task to run', running, LONG)[0]
        node = next(n for n in region.clients if n.name == first['NodeName'])

        def pid_of(a):
            owner = next(n for n in region.clients if n.name == a['NodeName'])
            with open(os.path.join(owner.data_dir, 'alloc', a['ID'], 't', 'pid'), encoding='ascii') as f:
                return int(f.read())
        pid = wait_for('its pid', lambda: pid_of(first), LONG)
        clientd = node.service_pids()['clientd']
        os.kill(clientd, signal.SIGSTOP)
        try:
            second = wait_for('another one to run elsewhere', lambda: [a for a in running() if a['ID'] != first['ID']],
                              2 * LONG)[0]
            self.assertTrue(alive(pid)) # it cannot know
        finally:
            os.kill(clientd, signal.SIGCONT)
        wait_for('the first to be ended', lambda: not alive(pid), LONG)
        self.assertTrue(alive(pid_of(second)))
        wait_for('only the second to run', lambda: [a['ID'] for a in running()] == [second['ID']], LONG)
        wait_for('the node to be ready', lambda: [n['Status'] for n in server.get('/v1/nodes').json()] == ['ready'] * 2,
                 LONG)


class Collected(TasksCase):
    """Old allocations are removed."""

    client = {'extra': RAW_EXEC, 'client_extra': OPTIONS + '\n gc_max_allocs = 2\n gc_interval = "1s"'}

    def test_by_count(self):
        jobs = [self.run_job(task('t', 'true'), kind='batch') for _ in range(4)]
        for j in jobs:
            self.alloc(j, 'complete')
        folder = os.path.join(self.node.data_dir, 'alloc')
        wait_for('two of them to be gone', lambda: len(os.listdir(folder)) <= 2, LONG)
        state = os.path.join(self.node.data_dir, 'client', 'allocs')
        wait_for('their state, too', lambda: len(os.listdir(state)) <= 2, LONG)
        self.assertEqual(json.loads(self.server.get('/v1/job/%s/allocations' % jobs[0]).text)[0]['ClientStatus'],
                         'complete')


class Sticky(TasksCase):
    def test_disk_is_taken_over(self):
        job = 'j-' + uuid.uuid4().hex[:8]
        self.addCleanup(self.stop_job, job)
        script = 'cat local/seen ../alloc/data/seen; echo %s > local/seen; echo %s > ../alloc/data/seen; echo up; exec sleep 1000'

        def spec(word):
            return {'ID': job, 'Name': job, 'Type': 'service', 'Datacenters': ['dc1'], 'TaskGroups': [
                {'Name': 'g', 'Count': 1, 'EphemeralDisk': {'Sticky': True, 'Migrate': True, 'SizeMB': 150},
                 'Tasks': [task('t', script % (word, word))]}]}
        self.put_job(spec('one'))
        first = self.alloc(job)
        wait_for('the first', lambda: 'up' in self.log(first), LONG)
        self.put_job(spec('two'))

        def second():
            a = [x for x in self.allocs(job) if x['ID'] != first['ID'] and x['ClientStatus'] == 'running']
            return a and a[0]
        b = wait_for('the second allocation', second, LONG)
        wait_for('the second', lambda: 'up' in self.log(b), LONG)
        self.assertEqual(self.log(b), 'one\none\nup\n')


def task_processes():
    """mark -> pids of tasks' first processes that are really there: they say so in their environment."""
    out = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/environ' % pid, 'rb') as f:
                env = f.read()
        except OSError:
            continue
        m = re.search(rb'(?:^|\0)CHAOS=([0-9a-f-]+)', env)
        if m and alive(int(pid)):
            out.setdefault(m.group(1).decode(), []).append(int(pid))
    return out


class Chaos(TestCase):
    """Processes of ours die at random while jobs change; at the end what runs is what is wanted, and nothing else.
    CHAOS_SEEDS=3,7 tries others."""

    def test_seeds(self):
        for seed in os.environ.get('CHAOS_SEEDS', '1').split(','):
            with self.subTest(seed=seed):
                self.run_seed(int(seed))

    def run_seed(self, seed):
        rng = random.Random(seed)
        mark = str(uuid.uuid4())
        with Cluster() as c:
            region = c.region('west', clients=2, client_args={'extra': RAW_EXEC})
            wanted = {}
            for _ in range(40):
                what = rng.choice(['job', 'job', 'clientd', 'clientd', 'taskd', 'routerd', 'freeze', 'node', 'power'])
                getattr(self, 'do_' + what)(rng, region, wanted, mark)
                time.sleep(rng.random() * 0.5) # not for anything: so that it hits different moments
            bad = []

            def right():
                bad[:] = self.check(region.server, wanted, mark)
                return not bad
            try:
                wait_for('what is wanted', right, 4 * LONG, 0.5)
            except AssertionError:
                self.fail('seed %d: %s\n%s' % (seed, '; '.join(bad), c.log_tails() if hasattr(c, 'log_tails') else ''))

    def put(self, server, job_id, count, version, mark):
        job = {'ID': job_id, 'Name': job_id, 'Type': 'service', 'Datacenters': ['dc1'], 'TaskGroups': [
            {'Name': 'g', 'Count': count, 'RestartPolicy': policy(1000, delay=0.1),
             'ReschedulePolicy': {'Delay': int(5e9), 'DelayFunction': 'constant', 'Unlimited': True},
             'EphemeralDisk': {'SizeMB': 20}, 'Tasks': [
                 task('t', 'exec sleep 1000', Env={'CHAOS': mark, 'V': str(version)}, KillTimeout=int(1e9),
                      LogConfig={'MaxFiles': 1, 'MaxFileSizeMB': 1})]}]}
        r = server.put('/v1/jobs', {'Job': job})
        self.assertEqual(r.status, 200, r)

    def do_job(self, rng, region, wanted, mark):
        job_id = 'c%d' % rng.randrange(3)
        count = rng.choice([0, 1, 2, 3, 5])
        wanted[job_id] = count
        if count == 0 and rng.random() < 0.5:
            region.server.delete('/v1/job/' + job_id)
        else:
            self.put(region.server, job_id, count, rng.randrange(3), mark)

    def kill_service(self, rng, region, name, sig=signal.SIGKILL):
        pid = rng.choice(region.clients).service_pids().get(name)
        if pid:
            os.kill(pid, sig)
        return pid

    def do_clientd(self, rng, region, wanted, mark):
        self.kill_service(rng, region, 'clientd')

    def do_routerd(self, rng, region, wanted, mark):
        self.kill_service(rng, region, 'routerd')

    def do_taskd(self, rng, region, wanted, mark):
        pids = sorted(task_processes().get(mark, []))
        if pids:
            pid = rng.choice(pids)
            try:
                with open('/proc/%d/stat' % pid, encoding='ascii') as f:
                    os.kill(int(f.read().rsplit(')', 1)[1].split()[1]), signal.SIGKILL)
            except OSError:
                pass

    def do_freeze(self, rng, region, wanted, mark):
        pid = self.kill_service(rng, region, 'clientd', signal.SIGSTOP)
        self.do_job(rng, region, wanted, mark)
        if pid:
            try:
                os.kill(pid, signal.SIGCONT)
            except OSError:
                pass

    def do_node(self, rng, region, wanted, mark):
        """All processes of a node but its tasks' die at once, and it starts again."""
        node = rng.choice(region.clients)
        pids = [node.proc.pid] + list(node.service_pids().values())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        node.proc.wait()
        for pid in pids:
            wait_for('its end', lambda p=pid: not alive(p), LONG)
        node.start()

    def do_power(self, rng, region, wanted, mark):
        """All of a node dies, taskd and tasks too (those that its clientd started)."""
        node = rng.choice(region.clients)
        node.kill()
        node.start()

    def check(self, server, wanted, mark):
        """What is wrong."""
        there = task_processes().get(mark, [])
        bad = []
        running = 0
        for job_id, count in wanted.items():
            allocs = [a for a in server.get('/v1/job/%s/allocations' % job_id).json()
                      if a['ClientStatus'] == 'running']
            running += len(allocs)
            if len(allocs) != count or any(a['DesiredStatus'] != 'run' for a in allocs):
                bad.append('%s: %d run, %d are wanted' % (job_id, len(allocs), count))
        if len(there) != running:
            bad.append('%d processes of %d allocations' % (len(there), running))
        return bad


if __name__ == '__main__':
    unittest.main()
