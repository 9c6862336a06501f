# SPDX-License-Identifier: MPL-2.0
"""A full disk under a client's folders: what runs goes on, what cannot start says why and starts when there is room."""

import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import alive, job, wait_for  # noqa: E402

CLIENT = 'plugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}'
SEC = 10**9
WAIT = 60
MIB = 1 << 20


@unittest.skipIf(os.geteuid() != 0, 'needs root to mount a small file system')
@unittest.skipIf(steppe.is_nomad(), 'our folders')
class FullDisk(steppe.TestCase):
    def small(self, size, client_extra='', interval='1s'):
        """A region whose client has a small disk for its data."""
        r = self.cluster.region('west', clients=1, start=False,
                                client_args={'extra': CLIENT, 'client_extra': 'gc_interval = "%s"\n%s' % (interval, client_extra)})
        self.server, (self.client,) = r.server, r.clients
        folder = self.client.data_dir
        os.makedirs(folder)
        m = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%dm' % size, 'tmpfs', folder],
                           stderr=subprocess.PIPE, check=False)
        if m.returncode:
            self.skipTest('cannot mount: %r' % m.stderr)
        self.addCleanup(subprocess.run, ['umount', '-l', folder], check=True)
        self.addCleanup(steppe.end_tasks, self.cluster.dir)
        self.addCleanup(self.client.kill)
        for n in r.nodes:
            n.start(wait=False)
        for n in r.nodes:
            n.wait_http(WAIT)
        self.server.wait_leader(WAIT)
        self.server.wait_nodes(1, timeout=WAIT)
        self.ballast = os.path.join(folder, 'ballast')

    def fill(self):
        """Up to the last page."""
        with open(self.ballast, 'wb', buffering=0) as f:
            for size in (MIB, 4096):
                try:
                    while f.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass

    def run_job(self, name, script, kind='service', **kw):
        j = job(name, command='/bin/sh', args=('-c', script), Type=kind)
        group = j['TaskGroups'][0]
        group['EphemeralDisk'] = {'SizeMB': 10}
        group['RestartPolicy'] = {'Attempts': 1000, 'Interval': 86400 * SEC, 'Delay': SEC // 2, 'Mode': 'delay'}
        group['ReschedulePolicy'] = {'Attempts': 0, 'Unlimited': False}
        group['Tasks'][0]['LogConfig'] = {'MaxFiles': 2, 'MaxFileSizeMB': 1}
        group['Tasks'][0].update(kw)
        self.assertStatus(self.server.register(j), 200)

    def alloc(self, name):
        (a,) = self.server.get('/v1/job/%s/allocations' % name).json()
        return a

    def task(self, name):
        return (self.alloc(name)['TaskStates'] or {'t': {'Events': [], 'Restarts': 0}})['t']

    def reach(self, name, status):
        return wait_for('%s to be %s' % (name, status),
                        lambda: (lambda a: a['ClientStatus'] == status and a)(self.alloc(name)), WAIT)

    def counting(self, name):
        """A task that counts in a file that is not on the small disk, and says so. -> its script, read count and pid"""
        path = os.path.join(self.cluster.dir, name)
        script = ('n=0; while :; do n=$((n+1)); echo "$$ $n" > %s.new; mv %s.new %s; echo "line $n of many"; '
                  'sleep 0.05; done' % (path, path, path))

        def look():
            with open(path, encoding='ascii') as f:
                pid, n = f.read().split()
            return int(pid), int(n)
        return script, look

    def goes_on(self, look, pid):
        n = look()[1]
        wait_for('the task to go on', lambda: look()[1] > n + 3, WAIT)
        self.assertEqual(look()[0], pid)
        self.assertTrue(alive(pid))

    def logs(self, alloc):
        return self.server.get('/v1/client/fs/logs/%s?task=t&type=stdout&plain=true' % alloc['ID']).text

    @staticmethod
    def cpu_seconds(pid):
        with open('/proc/%d/stat' % pid, encoding='ascii', errors='replace') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def test_tasks_go_on(self):
        self.small(48)
        script, look = self.counting('steady')
        self.run_job('steady', script)
        steady = self.reach('steady', 'running')
        self.run_job('ending', 'while :; do sleep 1; done')
        self.reach('ending', 'running')
        wait_for('a count', lambda: look()[1] > 1, WAIT)
        pid = look()[0]
        clientd = self.client.service_pids()['clientd']
        self.fill()
        began, used = time.monotonic(), self.cpu_seconds(clientd)
        self.goes_on(look, pid)

        # What cannot start says why, again and again.
        self.run_job('new', 'while :; do sleep 1; done')
        wait_for('a clear event', lambda: any(
            'No space left' in e['DisplayMessage'] or 'cannot be written' in e['DisplayMessage']
            for e in self.task('new')['Events']), WAIT)
        wait_for('another try', lambda: self.task('new')['Restarts'] >= 2, WAIT)
        # What is stopped ends.
        self.assertStatus(self.server.delete('/v1/job/ending'), 200)
        self.reach('ending', 'complete')
        self.assertEqual(self.client.service_pids()['clientd'], clientd)
        self.assertLess(self.cpu_seconds(clientd) - used, 1 + (time.monotonic() - began) / 2)

        # A clientd that dies now finds its tasks again.
        self.client.kill_service('clientd')
        again = self.client.wait_service('clientd', clientd, WAIT)
        self.goes_on(look, pid)
        self.assertEqual(self.reach('steady', 'running')['ID'], steady['ID'])

        os.remove(self.ballast)
        self.reach('new', 'running')
        self.goes_on(look, pid)
        n = look()[1]
        wait_for('the log to go on', lambda: any(
            int(x.split()[1]) > n for x in self.logs(steady).split('\n') if x.endswith('of many')), WAIT)
        self.assertEqual(self.client.service_pids()['clientd'], again)
        self.assertEqual(self.task('steady')['Restarts'], 0)
        self.assertEqual([n['Status'] for n in self.server.get('/v1/nodes').json()], ['ready'])

    def test_a_node_that_started_full(self):
        """It has no room for anything; when there is some it takes work, without a restart."""
        self.small(48)
        self.fill()
        pid = self.client.kill_service('clientd')
        pid = self.client.wait_service('clientd', pid, WAIT)

        def disk():
            (n,) = self.server.get('/v1/nodes').json()
            return self.server.get('/v1/node/' + n['ID']).json()['NodeResources']['Disk']['DiskMB']
        wait_for('the node to have no disk', lambda: disk() == 0, WAIT)
        self.run_job('late', 'while :; do sleep 1; done')
        wait_for('it to be blocked', lambda: [e for e in self.server.get('/v1/job/late/evaluations').json()
                                              if e['Status'] == 'blocked'], WAIT)
        os.remove(self.ballast)
        wait_for('the allocation', lambda: self.server.get('/v1/job/late/allocations').json(), WAIT)
        self.reach('late', 'running')
        self.assertGreater(disk(), 30)
        self.assertEqual(self.client.service_pids()['clientd'], pid)

    def test_collected_by_usage(self):
        """Ended allocations go when the disk is fuller than the threshold, the living stay."""
        self.small(64, 'gc_disk_usage_threshold = 50\ngc_inode_usage_threshold = 99')
        self.run_job('living', 'while :; do sleep 1; done')
        living = self.reach('living', 'running')
        self.run_job('small', 'echo > $NOMAD_ALLOC_DIR/data/x', kind='batch')
        small = self.reach('small', 'complete')
        self.run_job('big', 'head -c 30000000 /dev/zero > $NOMAD_ALLOC_DIR/data/x; while [ ! -e %s/go ]; do sleep 0.1; '
                     'done; head -c 10000000 /dev/zero > $NOMAD_ALLOC_DIR/data/y' % self.cluster.dir, kind='batch')
        big = self.reach('big', 'running')

        def folder(a):
            return os.path.join(self.client.data_dir, 'alloc', a['ID'])
        self.assertTrue(os.path.isdir(folder(small)))
        with open(os.path.join(self.cluster.dir, 'go'), 'w', encoding='ascii'):
            pass
        self.reach('big', 'complete')
        wait_for('the ended ones to be collected',
                 lambda: not os.path.exists(folder(small)) and not os.path.exists(folder(big)), WAIT)
        self.assertTrue(os.path.isdir(folder(living)))
        self.assertEqual(self.alloc('living')['ClientStatus'], 'running')
        self.run_job('later', 'while :; do sleep 1; done')
        self.reach('later', 'running')

    def test_all_that_is_needed_goes_at_once(self):
        """A look comes seldom; then as many go as the threshold wants."""
        self.small(64, 'gc_disk_usage_threshold = 70\ngc_inode_usage_threshold = 99', interval='10s')
        self.run_job('living', 'while :; do sleep 1; done')
        living = self.reach('living', 'running')
        for i in range(12):
            self.run_job('b%d' % i, 'head -c 1000000 /dev/zero > $NOMAD_ALLOC_DIR/data/x', kind='batch')
        for i in range(12):
            self.reach('b%d' % i, 'complete')
        folder = os.path.join(self.client.data_dir, 'alloc')
        self.assertEqual(len(os.listdir(folder)), 13)
        self.fill()
        wait_for('all but the living to be collected', lambda: os.listdir(folder) == [living['ID']], WAIT)
        self.assertEqual(self.alloc('living')['ClientStatus'], 'running')


if __name__ == '__main__':
    unittest.main()
