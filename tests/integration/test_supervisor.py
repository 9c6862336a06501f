# SPDX-License-Identifier: MPL-2.0
"""The supervisor with shell scripts as services: start, restart, back-off, logs, stop, reload.

A fake service does what the file NAME.mode in its folder says, and leaves traces there: a line in
NAME.starts for each start (pid and arguments), a line in NAME.got for each signal.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import SCALE, alive, wait_for  # noqa: E402

SERVER = ('serfd', 'raftd', 'routerd', 'apid', 'schedd')
FAKE = r'''#!/bin/sh
n=${0##*/}
d=${0%/*}
mode=$(cat "$d/$n.mode" 2>/dev/null)
echo "$$ $*" >> "$d/$n.starts"
for s in TERM USR2 HUP INT; do
    case $mode-$s in
    stubborn-*) trap "echo $s >> $d/$n.got" $s ;;
    *-HUP) trap "echo $s >> $d/$n.got; echo got $s" $s ;;
    *) trap "echo $s >> $d/$n.got; exit 0" $s ;;
    esac
done
case $mode in
fail) echo "$n cannot open its port"; exit 3 ;;
mute) ;;
*) echo READY >&3; exec 3>&- ;;
esac
echo "$n is up"
[ "$mode" = flood ] && { while [ ! -e "$d/$n.enough" ]; do echo "flood flood flood flood"; done; }
[ "$mode" = long ] && { head -c 20000 /dev/zero | tr '\0' x; echo; printf 'a\001b\n'; }
while :; do sleep 0.05 & wait $!; done
'''


def program():
    if os.environ.get('STEPPE_BUILD'):
        return os.path.join(os.environ['STEPPE_BUILD'], 'supervisor')
    if os.environ.get('STEPPE_PREFIX'):
        return os.path.join(os.environ['STEPPE_PREFIX'], 'libexec', 'steppe', 'supervisor')
    raise RuntimeError('set STEPPE_PREFIX (after meson install) or STEPPE_BUILD')


class Node:
    """One supervisor over fake services."""

    def __init__(self, case, config='', args=()):
        self.dir = tempfile.mkdtemp(prefix='steppe-sup-')
        case.addCleanup(self.close)
        self.bin = os.path.join(self.dir, 'bin')
        self.data = os.path.join(self.dir, 'd')
        os.mkdir(self.bin)
        for name in SERVER + ('clientd',):
            path = os.path.join(self.bin, name)
            with open(path, 'w') as f:
                f.write(FAKE)
            os.chmod(path, 0o755)
        self.file = os.path.join(self.dir, 'a.hcl')
        self.args = ['-config', self.file] + list(args)
        self.configure(config)
        self.procs = []

    def configure(self, text, role='server { enabled = true }'):
        with open(self.file, 'w') as f:
            f.write('data_dir = "%s" bind_addr = "127.0.0.1"\n%s\n%s\n' % (self.data, role, text))

    def mode(self, name, mode):
        with open(os.path.join(self.bin, name + '.mode'), 'w') as f:
            f.write(mode)

    def traces(self, name, kind):
        try:
            with open(os.path.join(self.bin, '%s.%s' % (name, kind))) as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def starts(self, name):
        return self.traces(name, 'starts')

    def start(self, wait=True, env=(), **kw):
        out = open(os.path.join(self.dir, 'out'), 'ab')
        err = open(os.path.join(self.dir, 'err'), 'ab')
        with out, err:
            p = subprocess.Popen([program()] + self.args, stdin=subprocess.DEVNULL,
                                 **{'stdout': out, 'stderr': err, **kw},
                                 env=dict(os.environ, STEPPE_LIBEXEC=self.bin, **dict(env)))
        self.procs.append(p)
        if wait:
            wait_for('the start', lambda: 'agent started!' in self.out())
        return p

    def read(self, name):
        try:
            with open(os.path.join(self.dir, name), errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def out(self):
        return self.read('out')

    def err(self):
        return self.read('err')

    @property
    def socket(self):
        return os.path.join(self.data, 'run', 'supervisor.sock')

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20 * SCALE)
        s.connect(self.socket)
        return s

    def ask(self, line):
        if isinstance(line, str):
            line = line.encode() + b'\n'
        with self.connect() as s:
            s.sendall(line)
            data = b''
            while True:
                more = s.recv(65536)
                if not more:
                    return data.decode()
                data += more

    def call(self, line):
        return json.loads(self.ask(line).splitlines()[0])

    def service(self, name):
        return next(s for s in self.call('list')['services'] if s['name'] == name)

    def pid(self, name):
        return self.service(name)['pid']

    def run(self, *args):
        return subprocess.run([program()] + list(args), stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30 * SCALE,
                              env=dict(os.environ, STEPPE_LIBEXEC=self.bin))

    def close(self):
        for p in self.procs:
            if p.poll() is None:
                p.kill()
            p.wait()
        for name in SERVER + ('clientd',):  # theirs die with the supervisor; wait for it
            for line in self.starts(name):
                pid = int(line.split()[0])
                try:
                    wait_for('the end of ' + name, lambda: not alive(pid), 2)
                except AssertionError:
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)


class StartTest(unittest.TestCase):
    def test_banner_and_order(self):
        n = Node(self, 'region = "west" datacenter = "d7" name = "n1" acl { enabled = true }')
        n.start()
        self.assertEqual(n.out(), '''==> Loaded configuration from %s
==> Starting Steppe agent...
==> Steppe agent configuration:

       Advertise Addrs: HTTP: 127.0.0.1:4646; RPC: 127.0.0.1:4647; Serf: 127.0.0.1:4648
            Bind Addrs: HTTP: 127.0.0.1:4646; RPC: 127.0.0.1:4647; Serf: 127.0.0.1:4648
                Client: false
             Log Level: INFO
                Region: west (DC: d7)
                Server: true
               Version: %s

==> Steppe agent started! Log data will stream in below:

''' % (n.file, n.call('status')['version']))
        for name in SERVER:
            self.assertEqual(len(n.starts(name)), 1)
            self.assertEqual(n.starts(name)[0].split()[1:], n.args)
        self.assertEqual(n.starts('clientd'), [])
        self.assertRegex(n.err(), r'(?m)^\S+Z INFO  supervisor: configuration keys accepted, '
                                  r'without effect yet keys=acl.enabled$')
        wait_for('the log', lambda: re.search(r'(?m)^\d{4}-\S+Z INFO  apid: apid is up$', n.err()))
        self.assertEqual(os.stat(n.socket).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(n.data).st_mode & 0o777, 0o700)

    def test_roles(self):
        n = Node(self)
        n.configure('', role='client { enabled = true }')
        n.start()
        self.assertEqual([s['name'] for s in n.call('list')['services']],
                         ['routerd', 'apid', 'clientd'])
        self.assertIn('Server: false', n.out())

    def test_dev(self):
        n = Node(self)
        n.args = ['-dev']
        p = n.start(env={'TMPDIR': n.dir})
        self.assertIn('No configuration files loaded', n.out())
        data = [d for d in os.listdir(n.dir) if d.startswith('steppe-dev-')]
        self.assertEqual(len(data), 1)
        for name in SERVER + ('clientd',):
            self.assertIn('-data-dir=%s/%s' % (n.dir, data[0]), n.starts(name)[0])
        p.terminate()
        self.assertEqual(p.wait(10 * SCALE), 1)
        self.assertFalse(os.path.exists(os.path.join(n.dir, data[0])))

    def test_start_errors(self):
        n = Node(self)
        for args, text in (
                (['-config=/nope'], '==> Error loading configuration from /nope: stat /nope: no such '
                                    'file or directory\n'),
                ([], '==> Must specify either server, client or dev mode for the agent.\n'),
                (['-server'], '==> Must specify data directory\n'),
                (['-server', '-data-dir=rel'], '==> data-dir must be given as an absolute path: got rel\n'),
                (['-server', '-data-dir=%s/x' % n.file],
                 '==> data_dir %s/x is not writable: Not a directory\n' % n.file),
        ):
            with self.subTest(args=args):
                r = n.run(*args)
                self.assertEqual((r.returncode, r.stderr.split('\n', 1)[0] + '\n'), (1, text))
        r = n.run('-bogus')
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, r'\Aflag provided but not defined: -bogus\nUsage: steppe agent')
        r = n.run('-help')
        self.assertEqual((r.returncode, r.stderr), (0, ''))
        self.assertIn('-bootstrap-expect=<num>', r.stdout)

    def test_check(self):
        n = Node(self, 'region = "east"')
        r = n.run('-check', *n.args)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn('region = "east"\n', r.stdout)
        self.assertFalse(os.path.exists(n.data))
        n.configure('server { bogus_key = 1 }')
        r = n.run('-check', *n.args)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(r.stderr, '==> Error loading configuration from %s:3: unknown key '
                                   '"bogus_key" in block "server"\n' % n.file)

    def test_second_agent_is_refused(self):
        n = Node(self)
        p = n.start()
        r = n.run(*n.args)
        self.assertEqual(r.returncode, 1)
        self.assertIn('==> data_dir %s is in use by another agent (pid %d)\n' % (n.data, p.pid),
                      r.stderr)
        self.assertTrue(n.call('status')['ready'])
        for name in SERVER:
            self.assertEqual(len(n.starts(name)), 1)

    def test_a_missing_program(self):
        n = Node(self)
        os.unlink(os.path.join(n.bin, 'raftd'))
        n.start(wait=False)
        wait_for('the message', lambda: 'raftd: cannot start %s/raftd: No such file' % n.bin in n.err())
        wait_for('the rest', lambda: n.service('apid')['state'] == 'running')
        self.assertNotIn('agent started!', n.out())


class SupervisionTest(unittest.TestCase):
    def test_restart_of_the_dead_one_only(self):
        n = Node(self)
        n.start()
        before = {s: n.pid(s) for s in SERVER}
        os.kill(before['raftd'], signal.SIGKILL)
        wait_for('the restart', lambda: n.service('raftd')['state'] == 'running'
                 and n.pid('raftd') != before['raftd'], 5)
        s = n.service('raftd')
        self.assertEqual((s['restarts'], s['last_exit']), (1, 'signal 9 (Killed)'))
        for name in ('serfd', 'routerd', 'apid'):
            self.assertEqual(n.pid(name), before[name])
        self.assertRegex(n.err(), r'WARN  supervisor: service died service=raftd '
                                  r'last="signal 9 \(Killed\)" failures=1 next_try=100ms')

    def test_backoff_grows_and_complains(self):
        n = Node(self)
        n.mode('apid', 'fail')
        n.start(wait=False)
        wait_for('five failures', lambda: re.search(
            r'ERROR supervisor: service failed to start, again and again service=apid '
            r'last="exit 3" failures=5 next_try=1.6s', n.err()), 15)
        delays = re.findall(r'service=apid .* next_try=(\S+)', n.err())
        self.assertEqual(delays[:5], ['100ms', '200ms', '400ms', '800ms', '1.6s'])
        self.assertIn('INFO  apid: apid cannot open its port', n.err())
        self.assertEqual(n.service('apid')['state'], 'backoff')
        n.mode('apid', 'ok')
        self.assertTrue(n.call('start apid')['ok'])  # an operator need not wait for it
        wait_for('the announcement', lambda: 'agent started!' in n.out())

    def test_waits_for_readiness(self):
        n = Node(self)
        n.mode('routerd', 'mute')
        n.start(wait=False)
        wait_for('the others', lambda: os.path.exists(n.socket) and n.service('serfd')['state'] == 'running'
                 and n.service('raftd')['state'] == 'running')
        self.assertEqual(n.service('routerd')['state'], 'starting')
        self.assertIn(n.service('apid')['state'], ('waiting', 'running'))
        self.assertFalse(n.call('status')['ready'])

    def test_flood_does_not_block(self):
        n = Node(self)
        n.mode('serfd', 'flood')
        n.start()
        pid = n.pid('raftd')
        os.kill(pid, signal.SIGKILL)
        wait_for('the restart in the flood', lambda: n.service('raftd')['state'] == 'running'
                 and n.pid('raftd') != pid, 5)
        lines = n.ask('logs serfd').splitlines()
        self.assertLessEqual(len(lines), 257)
        self.assertLessEqual(sum(map(len, lines)), 66000)
        open(os.path.join(n.bin, 'serfd.enough'), 'w').close()

    def test_stderr_that_nobody_reads(self):
        n = Node(self)
        r, w = os.pipe()
        self.addCleanup(os.close, r)
        n.mode('serfd', 'flood')
        p = n.start(wait=False, stderr=w)
        os.close(w)
        wait_for('the start', lambda: 'agent started!' in n.out())
        wait_for('a full pipe', lambda: len(n.ask('logs serfd').splitlines()) > 200)
        self.assertTrue(n.call('restart apid')['ok'])
        open(os.path.join(n.bin, 'serfd.enough'), 'w').close()
        p.terminate()
        self.assertEqual(p.wait(15 * SCALE), 1)

    def test_long_lines_are_cut(self):
        n = Node(self)
        n.mode('serfd', 'long')
        n.start()
        wait_for('the lines', lambda: 'serfd: a?b' in n.err())
        cut = next(l for l in n.err().splitlines() if 'xxxx' in l)
        self.assertLess(len(cut), 4096)
        self.assertTrue(cut.endswith('x ...'))

    def test_kill_of_the_supervisor(self):
        n = Node(self)
        p = n.start()
        old = [n.pid(s) for s in SERVER]
        # As common/svc does: a lock that goes away with the service.
        lock = open(os.path.join(n.data, 'run', 'raftd.pid'), 'w')
        fcntl.flock(lock, fcntl.LOCK_EX)
        p.kill()
        p.wait()
        wait_for('the end of the services', lambda: not any(map(alive, old)), 5)
        for name in SERVER:
            self.assertEqual(n.traces(name, 'got'), ['TERM'])
        os.truncate(os.path.join(n.dir, 'out'), 0)
        n.start(wait=False)
        wait_for('the wait for the lock', lambda: 'Steppe agent configuration' in n.out())
        self.assertEqual(len(n.starts('raftd')), 1)
        lock.close()
        wait_for('the new start', lambda: 'agent started!' in n.out())
        self.assertEqual(len(n.starts('raftd')), 2)


class StopTest(unittest.TestCase):
    def stop(self, sig, config, code, got):
        n = Node(self, config)
        p = n.start()
        p.send_signal(sig)
        self.assertEqual(p.wait(10 * SCALE), code)
        for name in SERVER:
            self.assertEqual(n.traces(name, 'got'), [got])
        self.assertFalse(os.path.exists(n.socket))
        return n

    def test_term(self):
        n = self.stop(signal.SIGTERM, '', 1, 'TERM')
        self.assertTrue(n.out().endswith('==> Caught signal: terminated\n'))

    def test_int_with_the_other_option(self):
        self.stop(signal.SIGINT, 'leave_on_terminate = true', 1, 'TERM')

    def test_leave_on_terminate(self):
        n = self.stop(signal.SIGTERM, 'leave_on_terminate = true', 0, 'USR2')
        self.assertTrue(n.out().endswith('==> Gracefully shutting down agent...\n'))

    def test_leave_on_interrupt(self):
        self.stop(signal.SIGINT, 'leave_on_interrupt = true', 0, 'USR2')

    def test_order_and_the_hammer(self):
        n = Node(self, 'log_level = "DEBUG"')
        n.mode('routerd', 'stubborn')
        p = n.start()
        p.terminate()
        self.assertEqual(p.wait(15 * SCALE), 1)
        self.assertEqual(re.findall(r'supervisor: ended service=(\w+)', n.err()),
                         ['schedd', 'apid', 'routerd', 'raftd', 'serfd'])
        self.assertIn('ERROR supervisor: killing service=routerd reason="did not stop in time"', n.err())

    def test_second_signal_ends_at_once(self):
        n = Node(self)
        for name in SERVER:
            n.mode(name, 'stubborn')
        p = n.start()
        p.terminate()
        wait_for('the first stop', lambda: n.traces('apid', 'got'))
        p.terminate()
        self.assertEqual(p.wait(3 * SCALE), 1)


class ReloadTest(unittest.TestCase):
    def test_started_with_ignored_signals(self):
        """nohup ignores SIGHUP: services get it all the same."""
        n = Node(self)
        p = n.start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        p.send_signal(signal.SIGHUP)
        wait_for('the reload', lambda: n.traces('apid', 'got') == ['HUP'])

    def test_good_and_bad(self):
        n = Node(self)
        p = n.start()
        n.configure('log_level = "DEBUG" leave_on_terminate = true region = "moved"')
        p.send_signal(signal.SIGHUP)
        for name in SERVER:
            wait_for('the reload of ' + name, lambda: n.traces(name, 'got') == ['HUP'])
        self.assertIn('==> Reloading configuration...\n', n.out())
        self.assertIn('INFO  supervisor: configuration reloaded changed="log_level,leave_on_terminate"',
                      n.err())
        self.assertIn('WARN  supervisor: these changes need a restart keys="region"', n.err())
        n.configure('log_level = "LOUD"')
        p.send_signal(signal.SIGHUP)
        wait_for('the refusal', lambda: 'ERROR supervisor: configuration not reloaded, the running one '
                                        'stays: ' in n.err())
        self.assertIn('%s:3: Invalid log level: LOUD.' % n.file, n.err())
        self.assertTrue(n.call('status')['ready'])
        for name in SERVER:
            self.assertEqual(n.traces(name, 'got'), ['HUP'])
        p.terminate()
        self.assertEqual(p.wait(10 * SCALE), 0)  # leave_on_terminate of the good reload


class ControlTest(unittest.TestCase):
    def test_change(self):
        n = Node(self)
        n.start()
        old = n.pid('raftd')
        self.assertEqual(n.call('restart raftd'), {'ok': True})
        self.assertNotEqual(n.pid('raftd'), old)
        self.assertEqual(n.service('raftd')['last_exit'], 'exit 0')
        self.assertEqual(n.call('stop raftd'), {'ok': True})
        s = n.service('raftd')
        self.assertEqual((s['state'], s['pid'], s['uptime_ms']), ('stopped', 0, 0))
        self.assertEqual(n.call('stop raftd'), {'ok': True})
        n.mode('raftd', 'fail')
        self.assertEqual(n.call('start raftd'),
                         {'ok': False, 'error': 'raftd does not stay up: exit 3'})
        self.assertEqual(n.call('stop raftd'), {'ok': True})
        n.mode('raftd', 'ok')
        self.assertEqual(n.call('start raftd'), {'ok': True})

    def test_refusals(self):
        n = Node(self)
        n.start()
        for line, text in (
                ('start clientd', 'no service "clientd" on this node'),
                ('start', 'no service "" on this node'),
                ('list x', '"list" takes no name'),
                ('', 'unknown request ""'),
                ('frob apid', 'unknown request "frob"'),
                ('follow supervisor', 'no service "supervisor" on this node'),
                (b'\xff\xfe"\x01\n', 'unknown request "??"?"'),
                (b'li\0st\n', 'the request is no line of at most 255 bytes'),
                (b'x' * 300, 'the request is no line of at most 255 bytes'),
        ):
            with self.subTest(line=line):
                self.assertEqual(n.call(line), {'ok': False, 'error': text})
        self.assertTrue(n.call('status')['ready'])

    def test_many_and_silent_connections(self):
        n = Node(self)
        n.start()
        held = [n.connect() for _ in range(16)]
        for s in held:
            self.addCleanup(s.close)
        with n.connect() as s:
            self.assertEqual(s.recv(4096), b'{"ok":false,"error":"too many control connections"}\n')
        for s in held:
            s.close()
        wait_for('room again', lambda: n.call('list')['ok'])

    def test_logs(self):
        n = Node(self)
        n.start()
        wait_for('a line', lambda: 'apid is up' in n.ask('logs apid'))
        lines = n.ask('logs apid').splitlines()
        self.assertEqual(json.loads(lines[0]), {'ok': True})
        self.assertRegex(lines[1], r'^\d{4}-\S+Z INFO  apid: apid is up$')
        self.assertIn('gossip is not encrypted', n.ask('logs supervisor'))

    def test_follow(self):
        n = Node(self)
        n.start()
        with n.connect() as s, s.makefile('r') as f:
            s.sendall(b'follow apid\n')
            self.assertEqual(json.loads(f.readline()), {'ok': True})
            self.assertIn('apid is up', f.readline())
            os.kill(n.pid('apid'), signal.SIGHUP)
            self.assertIn('got HUP', f.readline())
            n.procs[0].terminate()
            self.assertEqual(f.readline(), '')


class CommandTest(unittest.TestCase):
    """`steppe service ...`: the client side of the socket."""

    def cli(self, n, *args):
        argv = [steppe.agent_binary()[0], *args[:2], '-data-dir=' + n.data, *args[2:]]
        return subprocess.run(argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30 * SCALE)

    def test_commands(self):
        n = Node(self)
        n.start()
        r = self.cli(n, 'service', 'list')
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(r.stdout.splitlines()[0].split(),
                         'Name PID State Uptime Restarts Failures Last Exit'.split())
        self.assertRegex(r.stdout, r'(?m)^raftd +%d +running +\S+ +0 +0' % n.pid('raftd'))
        for verb in ('stop', 'start', 'restart'):
            r = self.cli(n, 'service', verb, 'raftd')
            self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(n.service('raftd')['restarts'], 1)
        r = self.cli(n, 'service', 'stop', 'clientd')
        self.assertEqual(r.returncode, 1)
        self.assertIn('no service "clientd" on this node', r.stderr)
        r = self.cli(n, 'service', 'logs', 'apid')
        self.assertRegex(r.stdout, r'\A\S+Z INFO  apid: apid is up\n')
        r = self.cli(n, 'service', 'list', '-json')
        self.assertEqual([s['name'] for s in json.loads(r.stdout)], list(SERVER))

    def test_no_agent(self):
        n = Node(self)
        r = self.cli(n, 'service', 'list')
        self.assertEqual(r.returncode, 1)
        self.assertIn('no agent answers at %s/run/supervisor.sock: No such file' % n.data, r.stderr)


if __name__ == '__main__':
    unittest.main()
