# SPDX-License-Identifier: MPL-2.0
"""taskd with real processes and without the rest: its socket, its logs, and how it ends what it holds."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from steppe import SCALE, alive, taskd_binary, wait_for  # noqa: E402

LONG = 60


def have_cgroups():
    return os.geteuid() == 0 and any(
        os.access(p, os.W_OK) for p in ('/sys/fs/cgroup/freezer', '/sys/fs/cgroup/cgroup.procs'))


def under_sanitizer():
    with open(taskd_binary(), 'rb') as f:
        return b'__asan' in f.read()


class Task:
    """A taskd of our own, with its folder."""

    number = 0

    def __init__(self, command, *args, **spec):
        Task.number += 1
        self.dir = tempfile.mkdtemp(prefix='steppe-taskd-')
        self.logs = os.path.join(self.dir, 'logs')
        os.mkdir(self.logs)
        os.chmod(self.dir, 0o755)
        os.chmod(self.logs, 0o777)
        self.spec = {'id': 'test', 'command': command, 'args': list(args), 'cwd': self.dir,
                     'env': ['PATH=/usr/bin:/bin'], 'log_dir': self.logs, 'log_name': 't',
                     'log_max_files': 3, 'log_max_bytes': 1000000}
        self.spec.update(spec)
        if self.spec.get('cgroup') is True:
            self.spec['cgroup'] = '/steppe-test/%d-%d' % (os.getpid(), Task.number)
        self.proc = self.sock = None

    def start(self):
        with open(os.path.join(self.dir, 'spec'), 'w', encoding='utf-8') as f:
            for key, value in self.spec.items():
                for v in value if isinstance(value, list) else [value]:
                    f.write('%s %s\n' % (key, str(v).replace('%', '%25').replace('\n', '%0A')))
        self.proc = subprocess.Popen([taskd_binary(), self.dir], stdin=subprocess.DEVNULL, start_new_session=True)
        self.attach()
        return self

    def attach(self):
        def connect():
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                s.connect(os.path.join(self.dir, 'taskd.sock'))
            except OSError:
                s.close()
                raise
            return s
        if self.sock:
            self.sock.close()
        self.sock = wait_for('taskd to listen', connect, LONG)
        self.sock.settimeout(LONG * SCALE)
        self.said = {}
        self.hear()

    def hear(self):
        text = self.sock.recv(4096).decode()
        if not text:
            raise AssertionError('taskd hung up; before it said %r' % self.said)
        head, _, error = text.partition(' error=')
        self.said = dict(word.split('=', 1) for word in head.split(' '))
        self.said['error'] = error
        return self.said

    def until(self, *states):
        while self.said.get('state') not in states:
            self.hear()
        return self.said

    def say(self, text):
        self.sock.send(text.encode())

    def file(self, name):
        with open(os.path.join(self.dir, name), encoding='utf-8', errors='replace') as f:
            return f.read()

    def log(self, name='t.stdout.0'):
        return self.file(os.path.join('logs', name))

    def pids(self):
        """All that is left of it, in its control group."""
        out = []
        for root in ('/sys/fs/cgroup/freezer', '/sys/fs/cgroup'):
            try:
                with open(root + self.spec['cgroup'] + '/cgroup.procs', encoding='ascii') as f:
                    out += f.read().split()
            except OSError:
                pass
        return out

    def close(self):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(LONG * SCALE)
            except subprocess.TimeoutExpired:
                self.proc.kill()
        if self.sock:
            self.sock.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class TaskdCase(unittest.TestCase):
    def task(self, command, *args, **spec):
        t = Task(command, *args, **spec)
        self.addCleanup(t.close)
        return t.start()

    def shell(self, script, **spec):
        return self.task('/bin/sh', '-c', script, **spec)


class Life(TaskdCase):
    def test_exit_code_and_output(self):
        t = self.shell('echo out; echo err >&2; exit 7')
        said = t.until('exited')
        self.assertEqual((said['code'], said['signal']), ('7', '0'))
        self.assertEqual((t.log(), t.log('t.stderr.0')), ('out\n', 'err\n'))
        self.assertGreater(int(said['started']), 0)
        self.assertGreaterEqual(int(said['ended']), int(said['started']))
        t.say('bye')
        self.assertEqual(t.proc.wait(LONG * SCALE), 0)
        self.assertIn('state=exited', t.file('state'))

    def test_cannot_start(self):
        for command, text in (('/nowhere/x', 'exec: "/nowhere/x": stat /nowhere/x: no such file or directory'),
                              ('nowhere-x', 'exec: "nowhere-x": executable file not found in $PATH'),
                              ('/etc/passwd', 'exec: "/etc/passwd": permission denied')):
            said = self.task(command).until('failed')
            self.assertEqual(said['error'], text)

    def test_signal_reaches_the_task(self):
        t = self.shell('trap "echo hup" HUP; echo up; while :; do sleep 0.05; done')
        wait_for('the trap to be set', lambda: 'up' in t.log(), LONG)
        t.say('signal 1')
        wait_for('the signal to be heard', lambda: 'hup' in t.log(), LONG)
        t.say('kill 15 60000')
        self.assertEqual(t.until('exited')['signal'], '15')

    def test_attach_again(self):
        t = self.shell('echo one; read line < /proc/self/fd/0; exec sleep 1000')
        pid = t.until('running')['pid']
        t.attach()
        self.assertEqual((t.said['state'], t.said['pid']), ('running', pid))
        with open(os.path.join(t.dir, 'lock'), 'a', encoding='ascii') as f:
            with self.assertRaises(OSError):
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_garbage_is_ignored(self):
        t = self.task('/bin/sleep', '1000')
        t.until('running')
        for text in ('kill', 'kill x y', 'signal 0', 'signal 99999', 'kill -1 1', 'x' * 5000, 'bye'):
            t.say(text)
        t.say('signal 9')
        self.assertEqual(t.until('exited')['signal'], '9')

    def test_sigterm_ends_the_task_too(self):
        t = self.task('/bin/sleep', '1000')
        pid = int(t.until('running')['pid'])
        t.proc.send_signal(signal.SIGTERM)
        t.proc.wait(LONG * SCALE)
        self.assertFalse(alive(pid))

    def test_killed_taskd_takes_the_task_along(self):
        t = self.task('/bin/sleep', '1000')
        pid = int(t.until('running')['pid'])
        t.proc.kill()
        t.proc.wait(LONG * SCALE)
        wait_for('the task to be gone', lambda: not alive(pid), LONG)

    def test_private_memory(self):
        t = self.task('/bin/sleep', '1000')
        t.until('running')
        # Its program is shared by all taskd of the machine: what one more costs is anonymous.
        with open('/proc/%d/smaps_rollup' % t.proc.pid, encoding='ascii') as f:
            kib = sum(int(line.split()[1]) for line in f if line.startswith('Anonymous:'))
        self.assertTrue(under_sanitizer() or kib < 200, 'taskd has %d KiB for itself' % kib)


class Hard(TaskdCase):
    """Tasks that do not want to end."""

    def cgroups(self):
        return [False] + ([True] if have_cgroups() else [])

    def test_ignores_sigterm(self):
        for group in self.cgroups():
            t = self.shell('trap "" TERM INT; echo up; while :; do sleep 0.05; done', cgroup=group or '')
            wait_for('the traps to be set', lambda t=t: 'up' in t.log(), LONG)
            t.say('kill 15 300')
            self.assertEqual(t.until('exited')['signal'], '9')

    def test_double_fork_and_setsid(self):
        script = ('setsid sh -c "setsid sh -c \'trap : TERM INT HUP; echo \\$\\$ > deep; exec sleep 1000\' & exit" & '
                  'wait; exec sleep 1000')
        for group in self.cgroups():
            t = self.shell(script, cgroup=group or '')
            deep = int(wait_for('the grandchild', lambda t=t: t.file('deep').strip(), LONG))
            self.assertTrue(alive(deep))
            t.say('kill 15 100')
            t.until('exited')
            self.assertFalse(alive(deep))

    def test_what_is_left_behind_is_killed(self):
        t = self.shell('sleep 1000 & echo $! > left; exit 0')
        t.until('exited')
        self.assertFalse(alive(int(t.file('left'))))

    def test_closes_its_outputs(self):
        t = self.shell('exec >&- 2>&-; exec sleep 1000')
        t.until('running')
        t.say('kill 15 5000')
        self.assertEqual(t.until('exited')['signal'], '15')

    def test_flood(self):
        t = self.shell('exec yes 0123456789abcdef', log_max_bytes=200000)
        wait_for('ten files', lambda: any(int(n.split('.')[2]) > 9 for n in os.listdir(t.logs)), LONG)
        t.say('kill 15 1000')
        t.until('exited')
        sizes = {n: os.path.getsize(os.path.join(t.logs, n)) for n in os.listdir(t.logs) if 'stdout' in n}
        self.assertLessEqual(len(sizes), 3)
        self.assertLessEqual(max(sizes.values()), 200000)
        for name in sizes: # lines are whole
            self.assertEqual(set(t.log(name).split('\n')) - {'0123456789abcdef', ''}, set())

    @unittest.skipUnless(have_cgroups(), 'needs control groups')
    def test_fork_bomb(self):
        t = self.shell('bomb() { bomb & bomb & while :; do :; done; }; bomb', cgroup=True, limits=1, pids_max=50)
        wait_for('many processes', lambda: len(t.pids()) > 30, LONG)
        t.say('kill 15 100')
        t.until('exited')
        self.assertEqual(t.pids(), [])

    @unittest.skipUnless(have_cgroups(), 'needs control groups')
    def test_groups_of_its_own(self):
        """A root task makes groups below its own, and moves its children there."""
        t = Task('/bin/sh', '-c', 'mkdir -p $G/a/b $G/c; '
                 'setsid sh -c "echo 0 > $G/a/b/cgroup.procs; echo \\$\\$ > deep; exec sleep 1000" & '
                 'setsid sh -c "echo 0 > $G/c/cgroup.procs; echo \\$\\$ > other; exec sleep 1000" & exec sleep 1000',
                 cgroup=True)
        self.addCleanup(t.close)
        root = next(p for p in ('/sys/fs/cgroup/freezer', '/sys/fs/cgroup') if os.path.exists(p + '/cgroup.procs'))
        group = root + t.spec['cgroup']
        t.spec['env'].append('G=' + group)
        t.start()
        pids = [int(wait_for('a child', lambda n=n: t.file(n).strip(), LONG)) for n in ('deep', 'other')]
        self.assertEqual([alive(p) for p in pids], [True, True])
        t.say('kill 15 100')
        t.until('exited')
        self.assertEqual([alive(p) for p in pids], [False, False])
        self.assertFalse(os.path.exists(group))

    @unittest.skipUnless(have_cgroups(), 'needs control groups')
    def test_out_of_memory(self):
        t = self.task('/usr/bin/python3', '-c', 'x = []\nwhile True: x.append(bytearray(1 << 20))', cgroup=True,
                      limits=1, memory_max=64 << 20)
        said = t.until('exited')
        self.assertEqual((said['signal'], said['oom']), ('9', '1'))


@unittest.skipUnless(os.geteuid() == 0, 'needs root')
class Isolated(TaskdCase):
    def folder(self):
        root = tempfile.mkdtemp(prefix='steppe-root-')
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        os.chmod(root, 0o755)
        return root

    def isolated(self, script, root=None, uid=65534, **spec):
        root = root or self.folder()
        binds = ['ro %s\t%s' % (p, p[1:]) for p in ('/bin', '/usr', '/lib', '/lib64', '/etc') if os.path.exists(p)]
        t = Task('/bin/sh', '-c', script, root=root, cwd='/', isolate=1, binds=binds, set_user=1, uid=uid, gid=65534,
                 **spec)
        self.addCleanup(t.close)
        return t.start()

    def test_its_world(self):
        t = self.isolated('id -u; echo $$; ls /; ls /home; cat /proc/self/status | grep NoNewPrivs; '
                          'touch /etc/x; echo x > /dev/null && echo ok; ps ax | wc -l')
        t.until('exited')
        lines = t.log().split('\n')
        self.assertEqual(lines[:2], ['65534', '2'])
        self.assertNotIn('home', lines)
        self.assertIn('NoNewPrivs:\t1', lines)
        self.assertIn('ok', lines)
        self.assertLess(int(lines[-2]), 10)
        self.assertIn('Read-only', t.log('t.stderr.0'))

    def test_root_cannot_write_the_machines_settings(self):
        t = self.isolated('cd /proc; for f in sys/kernel/panic sysrq-trigger; do '
                          '[ ! -e $f ] || { (echo 0 > $f) && echo wrote $f; }; done; head -c 1 kcore | wc -c', uid=0)
        t.until('exited')
        self.assertEqual(t.log(), '0\n')
        self.assertIn('Read-only file system', t.log('t.stderr.0'))

    def test_links_of_an_earlier_life(self):
        for name in ('etc', 'dev', 'proc'):
            root, elsewhere = self.folder(), self.folder()
            os.symlink(elsewhere, os.path.join(root, name))
            t = self.isolated('echo started', root=root)
            self.assertIn('%s/%s is a link that the task made' % (root, name), str(t.until('failed')))
            self.assertEqual(os.listdir(elsewhere), [])

    def test_ends_with_its_namespace(self):
        for group in ([True] if have_cgroups() else []) + ['']:
            t = self.isolated('setsid sleep 1000 & trap "" INT; echo up; while :; do sleep 0.05; done', cgroup=group)
            wait_for('the trap', lambda t=t: 'up' in t.log(), LONG)
            t.say('kill 2 200')
            self.assertEqual(t.until('exited')['signal'], '9')
            t.say('bye')
            self.assertEqual(t.proc.wait(LONG * SCALE), 0)

    def test_signals_reach_it(self):
        t = self.isolated('trap "echo got; exit 3" INT; echo up; while :; do sleep 0.05; done')
        wait_for('the trap', lambda: 'up' in t.log(), LONG)
        t.say('kill 2 60000')
        self.assertEqual(t.until('exited')['code'], '3')


if __name__ == '__main__':
    unittest.main()
