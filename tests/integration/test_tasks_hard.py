# SPDX-License-Identifier: MPL-2.0
"""Tasks and bad moments that test_tasks.py leaves out: deaths between two steps, no control groups, odd names and sizes."""

import os
import shutil
import signal
import sys
import time
import unittest
from urllib.parse import quote

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from steppe import alive, wait_for  # noqa: E402
from test_tasks import LONG, OPTIONS, ROOT, TasksCase, policy, rewrite_state, task, types  # noqa: E402

DAEMON = ("setsid sh -c 'setsid sh -c \"trap : INT TERM HUP; echo \\$\\$ > deep; exec >&- 2>&-; exec sleep 1000\" &' & "
          'exec sleep 1000')


def parent(pid):
    with open('/proc/%d/stat' % pid, encoding='ascii', errors='replace') as f:
        return int(f.read().rsplit(')', 1)[1].split()[1])


def children(pid):
    """All below pid."""
    out = []
    for p in filter(str.isdigit, os.listdir('/proc')):
        try:
            if parent(int(p)) == pid:
                out += [int(p)] + children(int(p))
        except OSError:
            pass
    return out


class NoGroups(TasksCase):
    """Where control groups are not ours to use: everything is found by descent, or by its environment."""

    client = {'extra': 'plugin "raw_exec" { config { enabled = true no_cgroups = true } }', 'client_extra': OPTIONS}

    def test_daemon_ends_with_its_task(self):
        job = self.run_job(task('t', DAEMON, KillTimeout=int(5e8)))
        deep = self.pid_in(self.alloc(job), 't', 'deep')
        self.assertTrue(alive(deep))
        with open('/proc/%d/cgroup' % deep, encoding='ascii') as f:
            self.assertNotIn('nomad', f.read())
        self.stop_job(job)
        self.alloc(job, 'complete')
        self.assertFalse(alive(deep))

    def test_daemon_of_a_killed_holder(self):
        job = self.run_job(task('t', 'echo $$ > pid; rm -f deep; ' + DAEMON), restart=policy(1, delay=1))
        a = self.alloc(job)
        deep, pid = self.pid_in(a, 't', 'deep'), self.pid_in(a, 't', 'pid')
        os.kill(parent(pid), signal.SIGKILL)
        wait_for('another run', lambda: self.pid_in(a, 't', 'pid') != pid, LONG)
        self.assertFalse(alive(deep) or alive(pid)) # before the next one began
        wait_for('its state', lambda: self.running_again(a), LONG)

    def test_fork_bomb(self):
        # Not an endless one: nothing limits it here.
        bomb = 'echo up; i=0; while [ $i -lt 300 ]; do setsid sleep 1000 & i=$((i+1)); done; wait'
        job = self.run_job(task('t', bomb, KillTimeout=int(5e8)))
        a = self.alloc(job)
        wait_for('the bomb', lambda: 'up' in self.log(a), LONG)
        self.stop_job(job)
        self.alloc(job, 'complete')
        left = [p for p in filter(str.isdigit, os.listdir('/proc')) if has_alloc(p, a['ID'])]
        self.assertEqual(left, [])


def has_alloc(pid, alloc_id):
    try:
        with open('/proc/%s/environ' % pid, 'rb') as f:
            return b'NOMAD_ALLOC_ID=' + alloc_id.encode() in f.read()
    except OSError:
        return False


def with_kill_sent(body):
    """ClientTaskRecord of task "t": `killed` and `kill_sent` behind `run`; the message is 4 bytes longer then."""
    at = body.index(b'\x0a\x01t\x10\x02')
    first = at - 1 # of the length
    while body[first - 1] & 0x80:
        first -= 1
    length = sum((b & 0x7f) << 7 * i for i, b in enumerate(body[first:at])) + 4
    size = b''
    while length > 0x7f:
        size, length = size + bytes([length & 0x7f | 0x80]), length >> 7
    return body[:first] + size + bytes([length]) + body[at:at + 5] + b'\x40\x01\x50\x01' + body[at + 5:]


class Moments(TasksCase):
    """clientd dies between two steps of its own."""

    def state_dir(self, a, *path):
        return os.path.join(self.node.data_dir, 'client', 'allocs', a['ID'], *path)

    def without_clientd(self, fn):
        """Calls fn while there is none, and none is started."""
        os.kill(self.node.proc.pid, signal.SIGSTOP)
        try:
            pid = self.node.service_pids()['clientd']
            os.kill(pid, signal.SIGKILL)
            wait_for('clientd to be gone', lambda: not alive(pid), LONG)
            fn()
        finally:
            os.kill(self.node.proc.pid, signal.SIGCONT)

    def test_shutdown_delay_ends_meanwhile(self):
        """The kill is due before the task is found again."""
        job = self.run_job(task('t', 'trap "echo asked; exit 0" INT; echo up; while :; do sleep 0.05; done',
                                ShutdownDelay=int(1e9), KillTimeout=int(20e9)))
        a = self.alloc(job)
        wait_for('the trap', lambda: 'up' in self.log(a), LONG)
        self.stop_job(job)
        begun = wait_for('the delay', lambda: [e['Time'] for e in self.state(a)['Events']
                                               if e['Type'] in ('Waiting for Task to Shut Down', 'Killing')], LONG)[0]
        # It may be over before clientd is gone: then nothing is tested.
        self.without_clientd(lambda: wait_for('its end', lambda: time.time_ns() > begun + int(1.2e9), LONG))
        self.alloc(job, 'complete')
        self.assertIn('asked', self.log(a))
        self.assertNotIn('taskd', ''.join(e['DisplayMessage'] for e in self.state(a)['Events']))

    def test_kill_written_down_but_not_sent(self):
        job = self.run_job(task('t', 'trap "echo asked" INT; echo up; while :; do sleep 0.05; done', KillTimeout=int(2e9)))
        a = self.alloc(job)
        wait_for('the trap', lambda: 'up' in self.log(a), LONG)

        def as_if():
            rewrite_state(self.state_dir(a, 'state'), with_kill_sent)
        self.without_clientd(as_if)
        self.alloc(job, 'complete')
        self.assertEqual(self.log(a).count('asked'), 1)
        self.assertEqual([e['DisplayMessage'] for e in self.state(a)['Events'] if e['Type'] == 'Terminated'],
                         ['Exit Code: 137, Signal: 9'])

    def test_dies_before_the_start(self):
        """It is written down that the task starts, and nothing is there of it: no failure of the task."""
        job = self.run_job(self.counting()) # with a policy that allows no restarts
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')

        def as_if():
            os.kill(parent(pid), signal.SIGKILL)
            wait_for('the task to be gone', lambda: not alive(pid), LONG)
            shutil.rmtree(self.state_dir(a, 'tasks'))
            rewrite_state(self.state_dir(a, 'state'), lambda b: b.replace(b'\x0a\x01t\x10\x02', b'\x0a\x01t\x10\x01'))
        self.without_clientd(as_if)
        wait_for('a new run', lambda: self.pid_in(a, 't', 'pid') != pid, LONG)
        s = wait_for('its state', lambda: self.running_again(a, restarts=0), LONG)
        self.assertFalse(s['Failed'])

    def test_dies_while_collecting(self):
        job = self.run_job(task('t', 'true'), kind='batch')
        a = self.alloc(job, 'complete')

        def as_if():
            os.rename(self.state_dir(a), self.state_dir(a) + '.gone')
            os.remove(os.path.join(self.state_dir(a) + '.gone', 'state'))
        self.without_clientd(as_if)
        wait_for('the folders to be gone', lambda: not os.path.exists(self.dir(a))
                 and not os.path.exists(self.state_dir(a) + '.gone'), LONG)

    def test_holder_dies_while_clientd_is_away(self):
        """Its task is gone before the next run begins, what forked away too."""
        job = self.run_job(task('t', 'echo $$ > pid; rm -f deep; ' + DAEMON), restart=policy(1, delay=1))
        a = self.alloc(job)
        deep, pid = self.pid_in(a, 't', 'deep'), self.pid_in(a, 't', 'pid')
        self.without_clientd(lambda: os.kill(parent(pid), signal.SIGKILL))
        wait_for('another run', lambda: self.pid_in(a, 't', 'pid') != pid, LONG)
        self.assertFalse(alive(deep) or alive(pid))
        wait_for('its state', lambda: self.running_again(a), LONG)


class Odd(TasksCase):
    """Names, sizes and places that nobody expects."""

    def text(self, a, name='t'):
        return '\n'.join(e['DisplayMessage'] for e in self.state(a, name)['Events'])

    def test_names(self):
        names = ['a b', '%41', 'new\nline', 'ünïcødé 漢字', '-rf', '.hidden', '$HOME;`id`', 'x' * 200, 'tmp', 'secrets']
        job = self.run_job(*[task(n, 'echo "$NOMAD_TASK_NAME"; exec sleep 1000') for n in names])
        a = self.alloc(job)
        for n in names:
            wait_for('the output of %r' % n, lambda n=n: self.log_of(a, n) == n + '\n', LONG)
        self.stop_job(job)
        self.alloc(job, 'complete')

    def log_of(self, a, name):
        return self.server.get('/v1/client/fs/logs/%s?task=%s&type=stdout&plain=true' % (a['ID'], quote(name))).text

    def test_names_that_cannot_be(self):
        for n in ('alloc', '..', '.', 'x' * 201):
            a = self.alloc(self.run_job(task(n, 'exec sleep 1000')), 'failed')
            self.assertIn('cannot be the name of a task', a['ClientDescription'])

    def test_many_tasks(self):
        job = self.run_job(*[task('t%d' % i, 'trap "exit 0" INT; echo up; while :; do sleep 0.5; done',
                                  Resources={'CPU': 1, 'MemoryMB': 10}, KillTimeout=int(20e9)) for i in range(50)])
        a = self.alloc(job)
        for i in range(50):
            wait_for('the output of %d' % i, lambda i=i: 'up' in self.log(a, 't%d' % i), LONG)
        self.stop_job(job)
        self.alloc(job, 'complete')
        states = self.server.get('/v1/allocation/' + a['ID']).json()['TaskStates']
        self.assertEqual({s['State'] for s in states.values()}, {'dead'})
        self.assertEqual({s['Failed'] for s in states.values()}, {False})

    def test_too_much(self):
        env = {'V%d' % i: 'x' * 10000 for i in range(100)}
        a = self.alloc(self.run_job(task('t', config={'command': '/bin/sh', 'args': ['-c', 'env | wc -c; echo $#']
                                                      + ['a%d' % i for i in range(2001)]}, Env=env), kind='batch'), 'complete')
        size, n = self.log(a).split()
        self.assertGreater(int(size), 1000000)
        self.assertEqual(n, '2000')
        a = self.alloc(self.run_job(task('t', 'true', Env={'V': 'x' * 200000}), kind='batch'), 'failed')
        self.assertIn('rgument list too long', self.text(a))
        a = self.alloc(self.run_job(task('t', config={'command': '/bin/true', 'args': ['x' * 1000] * 6000}), kind='batch'), 'failed')
        self.assertIn('spec', self.text(a))

    def test_commands_that_are_none(self):
        for driver in ('raw_exec', 'exec') if ROOT else ('raw_exec',):
            for command, said in (('/no/such', 'no such file or directory'), ('/usr', 'permission denied'), ('/etc/passwd', 'permission denied'),
                                  ('nosuch', 'executable file not found in $PATH')):
                a = self.alloc(self.run_job(task('t', config={'command': command}, driver=driver), kind='batch'), 'failed')
                self.assertIn(said, self.text(a), (driver, command))
            a = self.alloc(self.run_job(task('t', 'true', driver=driver, User='no such user'), kind='batch'), 'failed')
            self.assertIn('user: unknown user no such user', self.text(a))

    def test_unknown_signal(self):
        job = self.run_job(task('t', 'trap "echo interrupted" INT; echo up; while :; do sleep 0.05; done', KillTimeout=int(5e8)))
        a = self.alloc(job)
        wait_for('the trap', lambda: 'up' in self.log(a), LONG)
        self.send(a, 'SIGNONE')
        wait_for('an interrupt', lambda: 'interrupted' in self.log(a), LONG)

    def test_log_folder_is_removed(self):
        job = self.run_job(task('t', 'echo $$ > pid; while :; do echo line; sleep 0.05; done'))
        a = self.alloc(job)
        pid = self.pid_in(a, 't', 'pid')
        shutil.rmtree(self.dir(a, 'alloc', 'logs'))
        r = self.server.get('/v1/client/fs/logs/%s?task=t&type=stdout&plain=true' % a['ID'])
        self.assertIn(r.status, (404, 500), r)
        self.assertEqual(self.server.put('/v1/client/allocation/%s/restart' % a['ID'], {'TaskName': 't'}).status, 200)
        wait_for('another run', lambda: self.pid_in(a, 't', 'pid') != pid, LONG)
        wait_for('logs again', lambda: 'line' in self.log(a), LONG)

    def test_short_lived(self):
        """Many runs leave nothing behind but what the policy counts."""
        job = self.run_job(task('t', 'echo run >> runs; [ $(wc -l < runs) -lt 100 ]'), restart={
            'Attempts': 1000, 'Delay': 0, 'Interval': int(3600e9), 'Mode': 'fail'})
        a = self.alloc(job, 'pending|running|failed')
        wait_for('a hundred runs', lambda: self.read(a, 't', 'runs').count('run') >= 100, 2 * LONG)
        self.stop_job(job)
        self.alloc(job, 'complete|failed')
        left = wait_for('no more than the last run',
                        lambda: len(os.listdir(os.path.join(self.node.data_dir, 'client', 'allocs', a['ID'], 'tasks', 't'))) <= 1, LONG)
        self.assertTrue(left)
        self.assertEqual(groups_of(a['ID']), [])


def groups_of(alloc_id):
    """Control groups of an allocation that are still there."""
    out = []
    for top in ('/sys/fs/cgroup', '/sys/fs/cgroup/freezer', '/sys/fs/cgroup/memory'):
        for path, dirs, _ in os.walk(os.path.join(top, 'nomad')):
            out += [os.path.join(path, d) for d in dirs if d.startswith(alloc_id)]
    return out


if __name__ == '__main__':
    unittest.main()
