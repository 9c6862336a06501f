# SPDX-License-Identifier: MPL-2.0
"""Wishes, state and processes: jobs are changed all the time while services, leaders and whole nodes die, links are
cut and clocks stand still; then, after some calm, what the last acknowledged writes wanted is what the state says and what
really runs: no task too many, none forgotten, none of an old version.

STEPPE_TEST_SEED plays one seed again; STEPPE_TEST_CHAOS is the length of the faults in seconds (default 15),
STEPPE_TEST_SEEDS how many seeds one after the other.
"""

import collections
import contextlib
import http.client
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import wait_for  # noqa: E402

SERVER = '\n'.join(['  min_heartbeat_ttl = "1s"', '  heartbeat_grace = "2s"', '  max_heartbeats_per_second = 1000',
                    '  failover_heartbeat_ttl = "6s"'])
CLIENT = 'plugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}'
SECONDS = float(os.environ.get('STEPPE_TEST_CHAOS', '15'))
SEEDS = int(os.environ.get('STEPPE_TEST_SEEDS', '1'))
CALM = 80  # s: until everything is as wanted
MARK = 'steppe-checked'


def spec(name, kind, count, tag, folder):
    """A job whose tasks can be told from their command lines."""
    script = 'trap "" INT; while :; do sleep 1; done # %s %s %d %s' % (MARK, name, tag, folder)
    j = steppe.job(name, command='/bin/sh', args=('-c', script), count=count, Type=kind)
    group = j['TaskGroups'][0]
    group['RestartPolicy'] = {'Attempts': 100, 'Interval': 3600 * 10**9, 'Delay': 10**8, 'Mode': 'delay'}
    group['Tasks'][0]['KillTimeout'] = 10**9
    return j


class Wish:
    """What one job shall be; only its own thread changes it."""

    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.count, self.tag = 0, 0  # count 0: stopped or not there


class Changer(threading.Thread):
    """Changes its job again and again: a change is tried with the same content until it is acknowledged."""

    def __init__(self, test, wish, seed):
        super().__init__(daemon=True)
        self.test, self.wish, self.rnd = test, wish, random.Random(seed)
        self.over = threading.Event()
        self.changes = 0
        self.bad = []

    def ask(self, node):
        w = self.wish
        if w.count == 0:
            return node.delete('/v1/job/' + w.name)
        return node.register(spec(w.name, w.kind, w.count, w.tag, self.test.cluster.dir))

    def acknowledged(self):
        for _ in range(2000):
            node = self.rnd.choice(self.test.region.servers)
            with contextlib.suppress(OSError, http.client.HTTPException):
                r = self.ask(node)
                if r.status == 200:
                    return
                if r.status < 500 and r.status != 429:
                    self.bad.append('%s: %r' % (self.wish.name, r))
            time.sleep(0.05)
        self.bad.append('%s: never acknowledged' % self.wish.name)

    def run(self):
        while not self.over.is_set():
            w = self.wish
            kind = self.rnd.random()
            if kind < 0.15:
                w.count = 0
            else:
                w.count = self.rnd.randrange(1, 5) if w.kind != 'system' else 1
                w.tag += kind < 0.5 or w.tag == 0  # else only another count
            self.acknowledged()
            self.changes += 1
            self.over.wait(self.rnd.random() * 2)


class Checker(steppe.TestCase):
    def setUp(self):
        self.seed = int(os.environ.get('STEPPE_TEST_SEED', random.SystemRandom().randrange(1 << 32)))

    # -- faults

    def kill_service(self, n):
        names = ['raftd', 'schedd', 'routerd', 'apid', 'serfd'] if n.is_server else ['clientd', 'clientd', 'routerd', 'apid']
        name = self.rnd.choice(names)
        with contextlib.suppress(KeyError, ProcessLookupError):
            n.kill_service(name)
        return 'kill -9 ' + name

    def kill_leader(self, _):
        for n in self.region.servers:
            with contextlib.suppress(OSError, http.client.HTTPException, KeyError, ProcessLookupError):
                if n.get('/v1/agent/self', 2).json()['stats']['raft']['state'] == 'Leader':
                    n.kill_service('raftd')
                    return '%s led: kill -9 raftd' % n.name
        return 'no leader to kill'

    def freeze(self, n):
        pids = n.service_pids()
        pid = pids.get(self.rnd.choice(sorted(pids) or [''])) or 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or n.proc.pid, signal.SIGSTOP)
            self.pause(self.rnd.choice([0.2, 1, 4]))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or n.proc.pid, signal.SIGCONT)
        return 'a service stood still'

    def power_cut(self, n):
        n.kill()
        if n.is_client:
            self.end_tasks(n)
        self.pause(self.rnd.choice([0, 0, 3, 6]))
        n.start(wait=False)
        return 'power cut'

    def restart(self, n):
        n.stop()
        n.start(wait=False)
        return 'restart'

    def cut_off(self, n):
        """Nothing from or to the node's RPC port and its connections."""
        table = 'steppe_checker_%d' % self.cluster.net
        rules = ('table inet %s { chain c { type filter hook input priority 0; '
                 'ip daddr %s tcp dport 4647 ip saddr != %s drop; ip saddr %s tcp dport 4647 ip daddr != %s drop; }; }'
                 % (table, n.addr, n.addr, n.addr, n.addr))
        if os.geteuid() != 0 or not shutil.which('nft') or subprocess.run(
                ['nft', rules], stderr=subprocess.DEVNULL).returncode:
            return 'no nft'
        try:
            self.pause(self.rnd.choice([1, 5, 8]))
        finally:
            subprocess.run(['nft', 'delete table inet ' + table], check=True)
        return 'cut off'

    def pause(self, s):
        end = time.monotonic() + s
        while time.monotonic() < end:
            time.sleep(0.02)

    # -- what is really there

    def processes(self):
        """(job, tag) -> pids of its tasks, by the command lines of the machine's processes."""
        found = collections.defaultdict(list)
        for pid in filter(str.isdigit, os.listdir('/proc')):
            line = steppe.proc_cmdline(int(pid))
            if MARK in line and self.cluster.dir in line and line.startswith('/bin/sh -c'):
                words = line[line.index(MARK):].split()
                found[words[1], int(words[2])].append(int(pid))
        return found

    def end_tasks(self, n):
        """kill -9 of all that the node's tasks are: a power cut takes them, too."""
        for _ in range(3):
            for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
                argv = steppe.proc_cmdline(pid).split()
                if len(argv) == 2 and os.path.basename(argv[0]) == 'taskd' and argv[1].startswith(n.data_dir + '/'):
                    for p in reversed(steppe.proc_descendants(pid)):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(p, signal.SIGKILL)

    def differences(self):
        """What is not as wanted, as texts; empty when all is well."""
        out, real = [], self.processes()
        for w in self.wishes:
            r = self.region.server.get('/v1/job/%s/allocations?all=true' % w.name)
            allocs = r.json() if r.status == 200 else []
            live = [a for a in allocs if a['DesiredStatus'] == 'run' and a['ClientStatus'] in ('pending', 'running')]
            count = len(self.region.clients) if w.kind == 'system' and w.count else w.count
            running = [a for a in live if a['ClientStatus'] == 'running']
            if len(running) != count or len(live) != count:
                out.append('%s: %d allocations shall run, %d do, %d shall by the state' % (
                    w.name, count, len(running), len(live)))
            if len({a['Name'] for a in live}) != len(live) and w.kind != 'system':
                out.append('%s: a name twice: %s' % (w.name, sorted(a['Name'] for a in live)))
            for (name, tag), pids in real.items():
                if name == w.name and tag != w.tag:
                    out.append('%s: %d processes of version %d run, wanted is %d' % (name, len(pids), tag, w.tag))
            here = len(real.get((w.name, w.tag), []))
            if here != count:
                out.append('%s: %d processes run, wanted are %d' % (w.name, here, count))
        return out

    def story(self):
        """For people: what the state says of what is not right."""
        lines = []
        for a in self.region.server.get('/v1/allocations').json():
            if a['DesiredStatus'] == 'run' or a['ClientStatus'] in ('pending', 'running'):
                lines.append('%s %s v%d %s: %s %s %s' % (a['ID'][:8], a['Name'], a['JobVersion'], a['NodeName'],
                                                         a['DesiredStatus'], a['ClientStatus'], a['ClientDescription']))
        for e in self.region.server.get('/v1/evaluations').json():
            if e['Status'] not in ('complete', 'canceled'):
                lines.append('eval %s %s %s %s' % (e['ID'][:8], e['JobID'], e['Status'], e['TriggeredBy']))
        for n in self.region.server.get('/v1/nodes').json():
            lines.append('node %s %s %s' % (n['Name'], n['Status'], n['SchedulingEligibility']))
        return '\n'.join(lines)

    # -- the test

    def one_seed(self, seed):
        print('%s: STEPPE_TEST_SEED=%d' % (self.id(), seed), file=sys.stderr, flush=True)
        self.rnd = random.Random(seed)
        self.wishes = [Wish('svc%d' % i, 'service') for i in range(3)] + [Wish('sys', 'system'), Wish('bat', 'batch')]
        changers = [Changer(self, w, self.rnd.randrange(1 << 30)) for w in self.wishes]
        kinds = [self.kill_service] * 4 + [self.kill_leader, self.freeze, self.power_cut, self.restart, self.cut_off]
        faults = []
        for c in changers:
            c.start()
        end = time.monotonic() + SECONDS * steppe.SCALE
        try:
            while time.monotonic() < end:
                n = self.rnd.choice(self.region.nodes)
                if n.running():
                    faults.append('%s: %s' % (n.name, self.rnd.choice(kinds)(n)))
                self.pause(self.rnd.random() * 1.5)
        finally:
            for c in changers:
                c.over.set()
        for n in self.region.nodes:
            n.wait_http(30)
        for c in changers:
            c.join(120)
        print('%s: %d changes; %s' % (self.id(), sum(c.changes for c in changers), '; '.join(faults)), file=sys.stderr)
        self.assertEqual([c.bad for c in changers if c.bad], [])
        try:
            wait_for('wishes, state and processes to agree', lambda: not self.differences(), CALM, 0.3)
        except steppe.Timeout:
            self.fail('seed %d: %s\n%s' % (seed, '; '.join(self.differences()), self.story()))
        for n in self.region.clients:
            self.assertFits(n)
        for w in self.wishes:
            w.count = 0
            self.assertStatus(self.region.server.delete('/v1/job/%s?purge=true' % w.name), 200)
        wait_for('all tasks to end', lambda: not self.processes(), CALM, 0.3)

    def assertFits(self, n):
        """No node has more than it can hold."""
        node = next(x for x in self.region.server.get('/v1/nodes').json() if x['Name'] == n.name)
        whole = self.region.server.get('/v1/node/' + node['ID']).json()['NodeResources']
        live = [a for a in self.region.server.get('/v1/node/%s/allocations' % node['ID']).json()
                if a['DesiredStatus'] == 'run' and a['ClientStatus'] in ('pending', 'running')]
        self.assertLessEqual(sum(a['Resources']['CPU'] for a in live), whole['Cpu']['CpuShares'])
        self.assertLessEqual(sum(a['Resources']['MemoryMB'] for a in live), whole['Memory']['MemoryMB'])

    def test_chaos(self):
        self.region = self.cluster.region('west', servers=3, clients=3, server_extra=SERVER, client_args={'extra': CLIENT})
        self.addCleanup(self.last_tasks)
        for i in range(SEEDS):
            self.one_seed(self.seed + i)
            # Asked once: it tells what is new.
            self.assertEqual(self.cluster.problems(), [], 'crash texts in a log')

    def last_tasks(self):
        for n in self.region.clients:
            self.end_tasks(n)


if __name__ == '__main__':
    unittest.main()
