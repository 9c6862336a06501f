# SPDX-License-Identifier: MPL-2.0
"""Real agents on loopback addresses, for the integration tests and the benchmarks.

    with Cluster() as c:
        west, east = c.region('west'), c.region('east', clients=2)
        west.server.join(east.server)
        print(west.server.cli('server', 'members').out)

Every cluster owns a block 127.N.0.0/16 of addresses (held by a lock file, so test processes may run
side by side), a short temporary folder and the processes that it started; close() ends exactly
those. Nothing here sleeps for a fixed time: wait_for() polls with a deadline.

Environment:
    STEPPE_PREFIX      where `meson install` put the programs (bin/steppe)
    STEPPE_BUILD       or: a build folder, its programs are started in place
    STEPPE_TEST_AGENT  another agent program (a real nomad): the tests' own test
    STEPPE_TEST_SCALE  multiplies every deadline (default 1), for slow machines and sanitizers
    STEPPE_TEST_KEEP   keep the temporary folders
    STEPPE_TEST_LOG    level of the agents' logs (default DEBUG)
"""

import contextlib
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

SCALE = float(os.environ.get('STEPPE_TEST_SCALE', '1'))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(ROOT, 'tests', 'golden')
HTTP, RPC, SERF = 4646, 4647, 4648

# What no log of ours may contain, whatever a test did to the process.
CRASH = re.compile(r'ERROR: \w+Sanitizer|runtime error: |Assertion .* failed|assertion failed'
                   r'|Segmentation fault|stack smashing|double free|\babort\(\)', re.I)


class Timeout(AssertionError):
    """A deadline passed; the text says what was waited for and what was seen last."""


def wait_for(what, fn, timeout=10.0, step=0.02):
    """Polls fn() until it returns something true, and returns that."""
    end = time.monotonic() + timeout * SCALE
    last = None
    while True:
        try:
            last = fn()
            if last:
                return last
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as e:
            last = e
        if time.monotonic() > end:
            raise Timeout('waited %.1f s for %s; last seen: %.400r' % (timeout * SCALE, what, last))
        time.sleep(step)


def agent_binary():
    """The program under test and the environment that it needs."""
    env = {}
    if os.environ.get('STEPPE_TEST_AGENT'):
        path = os.environ['STEPPE_TEST_AGENT']
    elif os.environ.get('STEPPE_PREFIX'):
        path = os.path.join(os.environ['STEPPE_PREFIX'], 'bin', 'steppe')
    elif os.environ.get('STEPPE_BUILD'):
        build = os.environ['STEPPE_BUILD']
        paths = [os.path.join(build, p) for p in ('steppe', 'cli/steppe')]
        path = next((p for p in paths if os.access(p, os.X_OK)), paths[-1])
        env['STEPPE_LIBEXEC'] = build
    else:
        raise RuntimeError('set STEPPE_PREFIX (after meson install) or STEPPE_BUILD')
    if not os.access(path, os.X_OK):
        raise RuntimeError('no program at ' + path)
    return path, env


def is_nomad():
    """True when the tests run against a real nomad (to test the tests)."""
    return bool(os.environ.get('STEPPE_TEST_AGENT'))


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode('utf-8', 'replace')

    def json(self):
        return json.loads(self.body)

    def index(self):
        return int(self.headers['X-Nomad-Index'])

    def __repr__(self):
        return 'Response(%d, %.300r)' % (self.status, self.text)


class Result:
    def __init__(self, rc, out, err):
        self.rc, self.out, self.err = rc, out, err

    def __repr__(self):
        return 'Result(rc=%d, out=%r, err=%r)' % (self.rc, self.out, self.err)


def http_request(addr, method, path, body=None, headers=None, timeout=15.0, port=HTTP):
    """One request on a connection of its own. body: None, str, bytes or something for json."""
    if body is not None and not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    conn = http.client.HTTPConnection(addr, port, timeout=timeout * SCALE)
    try:
        conn.request(method, path, body, headers or {})
        r = conn.getresponse()
        return Response(r.status, r.headers, r.read())
    finally:
        conn.close()


def run(argv, env=None, timeout=30.0, stdin=None, cwd=None):
    p = subprocess.run(argv, env=env, timeout=timeout * SCALE, input=stdin, text=True, cwd=cwd,
                       stdin=None if stdin is not None else subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return Result(p.returncode, p.stdout, p.stderr)


def cli_env(addr):
    env = {k: v for k, v in os.environ.items() if not k.startswith(('NOMAD_', 'STEPPE_'))}
    env['NOMAD_ADDR'] = env['STEPPE_ADDR'] = 'http://%s:%d' % (addr, HTTP)
    env['TZ'] = 'UTC'
    env['LC_ALL'] = 'C.UTF-8'
    for k in ('ASAN_OPTIONS', 'UBSAN_OPTIONS'):
        if k in os.environ:
            env[k] = os.environ[k]
    env.update(agent_binary()[1])
    return env


def proc_children():
    """ppid -> [pid] of the whole machine."""
    tree = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open('/proc/%s/stat' % name) as f:
                    tree.setdefault(int(f.read().rsplit(')', 1)[1].split()[1]), []).append(int(name))
            except OSError:
                pass
    return tree


def proc_descendants(pid):
    tree, out, todo = proc_children(), [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += tree.get(p, [])
    return out


def proc_name(pid):
    try:
        with open('/proc/%d/comm' % pid) as f:
            return f.read().strip()
    except OSError:
        return ''


def proc_cmdline(pid):
    try:
        with open('/proc/%d/cmdline' % pid, 'rb') as f:
            return f.read().replace(b'\0', b' ').decode('utf-8', 'replace')
    except OSError:
        return ''


def alive(pid):
    """The process is there and no zombie."""
    try:
        with open('/proc/%d/stat' % pid, encoding='utf-8', errors='replace') as f:
            return f.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except (OSError, IndexError):
        return False


def taskd_binary():
    """The program that holds a task; the services lie beside each other."""
    if os.environ.get('STEPPE_PREFIX'):
        return os.path.join(os.environ['STEPPE_PREFIX'], 'libexec', 'steppe', 'taskd')
    return os.path.join(os.environ['STEPPE_BUILD'], 'taskd')


def end_tasks(folder):
    """Tasks outlive their agents: ends those whose state lies in the folder."""
    for name in os.listdir('/proc'):
        if name.isdigit():
            argv = proc_cmdline(int(name)).split()
            if len(argv) == 2 and os.path.basename(argv[0]) == 'taskd' and argv[1].startswith(folder + '/'):
                with contextlib.suppress(OSError):
                    os.kill(int(name), signal.SIGTERM)
                with contextlib.suppress(AssertionError):
                    wait_for('a task to end', lambda p=int(name): not alive(p), 60)


def remove_groups(node):
    """A killed node leaves its (empty) control group behind."""
    with contextlib.suppress(OSError):
        with open(os.path.join(node.data_dir, 'client', 'client-id'), encoding='ascii') as f:
            node_id = f.read().strip()
        for kind in [''] + os.listdir('/sys/fs/cgroup'):
            for path in [os.path.join('/sys/fs/cgroup', kind, 'nomad', node_id)] if node_id else []:
                if os.path.isdir(path):
                    with contextlib.suppress(OSError):
                        os.rmdir(path)


def proc_private_kib(pid):
    """Private memory of one process in KiB: what its end would give back."""
    total = 0
    with open('/proc/%d/smaps_rollup' % pid) as f:
        for line in f:
            if line.startswith(('Private_Clean:', 'Private_Dirty:')):
                total += int(line.split()[1])
    return total


class Node:
    """One agent: its address, folder, configuration file, process."""

    def __init__(self, cluster, name, region, addr, server=True, client=False, expect=1, servers=(),
                 extra='', server_extra='', client_extra=''):
        self.cluster, self.name, self.region, self.addr = cluster, name, region, addr
        self.is_server, self.is_client = server, client
        self.expect, self.servers = expect, list(servers)
        self.extra, self.server_extra, self.client_extra = extra, server_extra, client_extra
        self.dir = os.path.join(cluster.dir, name)
        self.data_dir = os.path.join(self.dir, 'data')
        self.run_dir = os.path.join(self.dir, 'run')
        self.conf_file = os.path.join(self.dir, 'node.hcl')
        self.log_file = os.path.join(self.dir, 'log')
        self.proc = None
        self.wrapper, self.prefix = [], None  # what the agent is started with, and from, unless told
        self.log_start = self.log_checked = 0
        os.makedirs(self.dir, exist_ok=True)

    # -- configuration

    def conf_text(self):
        lines = []
        if self.region:
            lines.append('region = "%s"' % self.region)
        lines += ['name = "%s"' % self.name, 'data_dir = "%s"' % self.data_dir,
                  'bind_addr = "%s"' % self.addr, 'log_level = "%s"' % os.environ.get('STEPPE_TEST_LOG', 'DEBUG'),
                  'disable_update_check = true']
        if not is_nomad():
            lines.append('run_dir = "%s"' % self.run_dir)
        lines += ['advertise {'] + ['  %s = "%s"' % (k, self.addr) for k in ('http', 'rpc', 'serf')] + ['}']
        if self.is_server:
            lines += ['server {', '  enabled = true']
            if self.expect:
                lines.append('  bootstrap_expect = %d' % self.expect)
            lines += [self.server_extra, '}']
        if self.is_client:
            lines += ['client {', '  enabled = true', '  network_interface = "lo"']
            if self.servers:
                lines.append('  servers = [%s]' % ', '.join('"%s:%d"' % (s, RPC) for s in self.servers))
            lines += [self.client_extra, '}']
        lines.append(self.extra)
        return '\n'.join(x for x in lines if x) + '\n'

    def write_conf(self, text=None):
        with open(self.conf_file, 'w') as f:
            f.write(self.conf_text() if text is None else text)

    # -- process

    def start(self, wait=True, wrapper=(), args=()):
        """Starts the agent; with wait, returns when it answers HTTP."""
        assert self.proc is None or self.proc.poll() is not None, self.name + ' runs already'
        if not os.path.exists(self.conf_file):
            self.write_conf()
        binary, extra_env = agent_binary()
        if self.prefix:
            binary, extra_env = os.path.join(self.prefix, 'bin', 'steppe'), {}
        env = dict(os.environ, **extra_env)
        for k in list(env):
            if k.startswith('NOMAD_') or k in ('STEPPE_ADDR', 'STEPPE_REGION'):
                del env[k]
        self.log_start = os.path.getsize(self.log_file) if os.path.exists(self.log_file) else 0
        with open(self.log_file, 'ab') as log:
            self.proc = subprocess.Popen(
                list(wrapper or self.wrapper) + [binary, 'agent', '-config=' + self.conf_file] + list(args),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True,
                cwd=self.dir)
        if wait:
            self.wait_http()
        return self

    def wait_http(self, timeout=10):
        def up():
            if self.proc.poll() is not None:
                raise AssertionError('%s ended with status %d:\n%s'
                                     % (self.name, self.proc.returncode, self.log_tail()))
            return self.get('/v1/agent/self').status == 200
        return wait_for('HTTP on %s (%s)' % (self.addr, self.name), up, timeout)

    def running(self):
        return self.proc is not None and self.proc.poll() is None

    def pids(self):
        """Every process of the node, the agent's own first."""
        return proc_descendants(self.proc.pid) if self.running() else []

    def service_pids(self):
        """service name -> pid, from the files in run_dir, for those that live."""
        out = {}
        if is_nomad():
            return {'nomad': self.proc.pid} if self.running() else {}
        mine = set(self.pids())
        try:
            names = os.listdir(self.run_dir)
        except OSError:
            return out
        for name in names:
            if not name.endswith('.pid'):
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(os.path.join(self.run_dir, name)) as f:
                    pid = int(f.read().split()[0])
                if pid in mine:
                    out[name[:-4]] = pid
        return out

    def services(self):
        """The services beside the supervisor."""
        return {k: v for k, v in self.service_pids().items() if k not in ('supervisor', 'agent')}

    def kill_service(self, name, sig=signal.SIGKILL):
        pid = self.service_pids()[name]
        os.kill(pid, sig)
        return pid

    def wait_service(self, name, not_pid=0, timeout=15):
        """Waits until the service runs, as another process than not_pid."""
        return wait_for('%s on %s' % (name, self.name),
                        lambda: (lambda p: p if p and p != not_pid else None)(
                            self.service_pids().get(name)), timeout)

    def stop(self, sig=signal.SIGTERM, timeout=20):
        """Asks the agent to end and waits; returns its exit status."""
        if self.proc is None:
            return None
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
            try:
                self.proc.wait(timeout * SCALE)
            except subprocess.TimeoutExpired:
                text = self.log_tail()
                self.kill()
                raise AssertionError('%s did not stop within %d s:\n%s' % (self.name, timeout, text))
        self.sweep()
        return self.proc.returncode

    def kill(self):
        """kill -9 of every process of the node at once, as a power cut would."""
        if self.proc is None:
            return
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.proc.wait()
        self.sweep()

    def sweep(self):
        """Ends what the agent left behind: its process group, and holders of its pid files."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.proc.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            for name in os.listdir(self.run_dir):
                if name.endswith('.pid'):
                    with contextlib.suppress(OSError, ValueError, IndexError):
                        with open(os.path.join(self.run_dir, name)) as f:
                            pid = int(f.read().split()[0])
                        if self.conf_file in proc_cmdline(pid):
                            os.kill(pid, signal.SIGKILL)
        return self

    def restart(self, **kw):
        self.stop()
        return self.start(**kw)

    def log(self):
        """The log since the last start."""
        try:
            with open(self.log_file, errors='replace') as f:
                f.seek(self.log_start)
                return f.read()
        except OSError:
            return ''

    def log_line(self, *words):
        """A line of the log since the last start that holds all of the words, or None."""
        return next((x for x in self.log().split('\n') if all(w in x for w in words)), None)

    def wait_log(self, *words, timeout=60):
        """The same; a line takes its way through the supervisor."""
        return wait_for('%r in the log of %s' % (words, self.name), lambda: self.log_line(*words), timeout)

    def log_text(self):
        with open(self.log_file, encoding='utf-8', errors='replace') as f:
            return f.read()

    def log_tail(self, lines=25):
        try:
            with open(self.log_file, errors='replace') as f:
                # A request a line would hide what happened.
                return ''.join([x for x in f if ' request method=' not in x][-lines:])
        except OSError:
            return ''

    # -- talking to it

    def request(self, method, path, body=None, headers=None, timeout=15.0):
        return http_request(self.addr, method, path, body, headers, timeout)

    def get(self, path, timeout=15.0, **headers):
        return self.request('GET', path, None, headers, timeout)

    def put(self, path, body=None, timeout=15.0):
        return self.request('PUT', path, body, None, timeout)

    def delete(self, path, timeout=15.0):
        return self.request('DELETE', path, None, None, timeout)

    def cli(self, *args, timeout=30.0, stdin=None, env=None):
        """The CLI under test, talking to this node."""
        e = cli_env(self.addr)
        e.update(env or {})
        return run([agent_binary()[0]] + list(args), env=e, timeout=timeout, stdin=stdin)

    def join(self, other):
        r = self.put('/v1/agent/join?address=%s' % urllib.parse.quote('%s:%d' % (other.addr, SERF)))
        assert r.status == 200 and r.json()['num_joined'] == 1, r
        return r

    def leader(self, region=None):
        r = self.get('/v1/status/leader' + ('?region=' + region if region else ''))
        return r.json() if r.status == 200 else ''

    def wait_leader(self, timeout=20):
        return wait_for('a leader of %s seen by %s' % (self.region or 'global', self.name),
                        self.leader, timeout)

    def members(self, status='alive'):
        m = self.get('/v1/agent/members').json()['Members']
        return sorted(x['Name'] for x in m if status is None or x['Status'] == status)

    def wait_members(self, names, timeout=20, status='alive'):
        names = sorted(names)
        return wait_for('%s to see %s' % (self.name, names),
                        lambda: self.members(status) == names, timeout)

    def wait_nodes(self, count, status='ready', timeout=30):
        def look():
            found = [n for n in self.get('/v1/nodes').json() if n['Status'] == status]
            return found if len(found) >= count else None
        return wait_for('%d nodes %s on %s' % (count, status, self.name), look, timeout)

    def register(self, job, query='', timeout=15.0):
        """PUT /v1/jobs; returns the Response."""
        return self.put('/v1/jobs' + query, {'Job': job}, timeout)

    def job_ids(self, query=''):
        return [j['ID'] for j in self.get('/v1/jobs' + query).json()]


class Region:
    """The nodes of one region."""

    def __init__(self, name, servers, clients):
        self.name, self.servers, self.clients = name, servers, clients

    @property
    def server(self):
        return self.servers[0]

    @property
    def nodes(self):
        return self.servers + self.clients

    def leader_node(self, timeout=20):
        """The server that leads, as its living fellows say."""
        def find():
            for s in self.servers:
                if s.running():
                    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                        addr = s.leader()
                        for n in self.servers:
                            if n.running() and addr == '%s:%d' % (n.addr, RPC):
                                return n
            return None
        return wait_for('a leader in ' + self.name, find, timeout)


class Cluster:
    """Everything one test started."""

    def __init__(self):
        self.nodes = []
        self.net, self._lock = Cluster._take_net()
        self.first = 127  # of the addresses
        # Short: a path of an ipc socket ends at 107 bytes.
        self.dir = tempfile.mkdtemp(prefix='st-', dir='/tmp')
        self._regions = 0

    @staticmethod
    def _take_net():
        base = os.getpid() % 200
        for i in range(200):
            n = 20 + (base + i) % 200
            fd = os.open('/tmp/.steppe-test-net-%d' % n, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return n, fd
            except OSError:
                os.close(fd)
        raise RuntimeError('no free block of loopback addresses')

    def addr(self, region_no, host):
        return '%d.%d.%d.%d' % (self.first, self.net, region_no, host)

    def region(self, name, servers=1, clients=0, start=True, wait=True, client_args=None, **kw):
        """A region of servers and clients, all started (clients joined to the servers)."""
        self._regions += 1
        no = self._regions
        label = name or 'global'
        if any(n.region == name for n in self.nodes):
            label += str(no)
        s = [self.node('%s-s%d' % (label, i + 1), name, self.addr(no, 1 + i), expect=servers, **kw)
             for i in range(servers)]
        for x in s:
            others = ['"%s:%d"' % (o.addr, SERF) for o in s if o is not x]
            if others:
                x.server_extra += '\n  retry_join = [%s]\n  retry_interval = "1s"' % ', '.join(others)
        c = [self.node('%s-c%d' % (label, i + 1), name, self.addr(no, 11 + i), server=False,
                       client=True, servers=[x.addr for x in s], **(client_args or {})) for i in range(clients)]
        r = Region(name or 'global', s, c)
        if start:
            for n in r.nodes:
                n.start(wait=False)
            if wait:
                for n in r.nodes:
                    n.wait_http(20)
                for n in s:
                    n.wait_leader()
                if clients:
                    s[0].wait_nodes(clients)
        return r

    def node(self, name, region, addr, **kw):
        n = Node(self, name, region, addr, **kw)
        self.nodes.append(n)
        return n

    def problems(self):
        """New lines of any log that no process of ours may write."""
        out = []
        for n in self.nodes:
            with contextlib.suppress(OSError):
                with open(n.log_file, errors='replace') as f:
                    f.seek(n.log_checked)
                    out += ['%s: %s' % (n.name, x.rstrip()) for x in f if CRASH.search(x)]
                    n.log_checked = os.path.getsize(n.log_file)
        return out[:5]

    def tails(self, lines=25):
        return '\n'.join('--- %s: last lines of its log\n%s' % (n.name, n.log_tail(lines))
                         for n in self.nodes if os.path.exists(n.log_file))

    def close(self):
        for n in self.nodes:
            if n.proc is not None:
                n.kill()
                n.sweep()
        end_tasks(self.dir)
        for n in self.nodes:
            remove_groups(n)
        if os.environ.get('STEPPE_TEST_KEEP'):
            print('kept: ' + self.dir, file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        os.close(self._lock)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class TestCase(unittest.TestCase):
    """With a cluster of its own per test (self.cluster), or per class (setUpClass: new_cluster())."""

    maxDiff = None
    shared = None  # the class's cluster

    @classmethod
    def new_cluster(cls):
        cls.shared = Cluster()
        cls.addClassCleanup(cls._close_shared)
        return cls.shared

    @classmethod
    def _close_shared(cls):
        c, cls.shared = cls.shared, None
        c.close()

    @property
    def cluster(self):
        if self.shared is not None:
            return self.shared
        if getattr(self, '_own', None) is None:
            self._own = Cluster()
            self.addCleanup(self._own.close)
        return self._own

    def setUp(self):
        self._own = None

    def tearDown(self):
        c = self.shared or self._own
        if c is not None:
            self.assertEqual(c.problems(), [], 'crash texts in a log')

    def log_tails(self):
        """For the runner, when the test failed."""
        c = self.shared or self._own
        return c.tails() if c is not None else ''

    def assertStatus(self, r, status, body=None):
        self.assertEqual(r.status, status, '%r' % r)
        if body is not None:
            self.assertEqual(r.text, body)

    def assertCli(self, r, rc=0, out=None, err=None):
        self.assertEqual(r.rc, rc, '%r' % r)
        if out is not None:
            self.assertEqual(r.out, out)
        if err is not None:
            self.assertEqual(r.err, err)


def job(job_id, region=None, command='/bin/sleep', args=('3600',), count=1, **kw):
    """A small valid service job in the API's JSON."""
    j = {'ID': job_id, 'Name': job_id, 'Type': 'service', 'Priority': 50, 'Datacenters': ['dc1'],
         'TaskGroups': [{'Name': 'g', 'Count': count, 'Tasks': [
             {'Name': 't', 'Driver': 'raw_exec', 'Config': {'command': command, 'args': list(args)},
              'Resources': {'CPU': 20, 'MemoryMB': 10}}]}]}
    if region:
        j['Region'] = region
    j.update(kw)
    return j


def job_hcl(job_id, region=None):
    return '''job "%s" {
%s  datacenters = ["dc1"]
  type        = "service"

  group "g" {
    count = 1

    task "t" {
      driver = "raw_exec"

      config {
        command = "/bin/sleep"
        args    = ["3600"]
      }

      resources {
        cpu    = 20
        memory = 10
      }
    }
  }
}
''' % (job_id, '  region      = "%s"\n' % region if region else '')


def table(text):
    """Splits the CLI's table into rows of cells (columns are two or more blanks apart)."""
    return [re.split(r' {2,}', line.rstrip()) for line in text.rstrip('\n').split('\n') if line]


def tcp_send(addr, port, data, timeout=3.0, half_close=True):
    """Sends bytes and reads until the peer closes or the time is over; returns what came."""
    out = b''
    with contextlib.suppress(OSError):
        with socket.create_connection((addr, port), timeout=timeout) as s:
            s.settimeout(timeout)
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            while True:
                chunk = s.recv(65536)
                if not chunk:
                    break
                out += chunk
    return out
