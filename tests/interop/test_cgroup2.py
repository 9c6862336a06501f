#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""taskd on a machine with control groups version 2: a virtual one, since most that run tests have version 1.

Environment: STEPPE_BUILD; STEPPE_TEST_KERNEL, a kernel of Debian's package linux-image-cloud-amd64 (the file
boot/vmlinuz-* in it); STEPPE_TEST_BUSYBOX, a static busybox (package busybox-static). Skipped without them."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe

KERNEL, BUSYBOX = os.environ.get('STEPPE_TEST_KERNEL', ''), os.environ.get('STEPPE_TEST_BUSYBOX', '')
BUILD = os.environ.get('STEPPE_BUILD', '')
INIT = os.path.join(BUILD, 'tests', 'vm_init')
LIMITS = ['limits 1', 'memory_max 33554432', 'cpu_shares 500', 'pids_max 40']
ISOLATED = ['isolate 1', 'root /cases/isolated/root', 'cwd /', 'binds ro /bin\tbin', 'set_user 1', 'uid 65534', 'gid 65534']
CASES = {
    'plain': ('echo hello; exit 3', []),
    'deaf': ("trap '' TERM; setsid sleep 100 & while :; do sleep 1; done", []),
    'limited': ('exec sleep 100', LIMITS),
    'oom': ('x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done', LIMITS),
    'bomb': ('b() { b & b & while :; do :; done; }; b', LIMITS),
    'isolated': ('echo $(id -u) $$ $(ls /); touch /bin/x; exec sleep 100', LIMITS + ISOLATED),
}


@unittest.skipUnless(os.path.exists(KERNEL) and os.path.exists(BUSYBOX) and os.path.exists(INIT) and
                     shutil.which('qemu-system-x86_64'), 'needs qemu, STEPPE_TEST_KERNEL, STEPPE_TEST_BUSYBOX')
class Cgroup2(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix='steppe-vm-')
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        root = os.path.join(cls.dir, 'root')
        os.makedirs(os.path.join(root, 'bin'))
        shutil.copy(INIT, os.path.join(root, 'init'))
        shutil.copy(os.path.join(BUILD, 'taskd'), os.path.join(root, 'taskd'))
        shutil.copy(BUSYBOX, os.path.join(root, 'bin', 'busybox'))
        for name in ('sh', 'sleep', 'setsid', 'id', 'ls', 'touch', 'cp'):
            os.symlink('busybox', os.path.join(root, 'bin', name))
        for name, (script, extra) in CASES.items():
            d = os.path.join(root, 'cases', name)
            os.makedirs(os.path.join(d, 'logs'))
            os.makedirs(os.path.join(d, 'root'))
            with open(os.path.join(d, 'spec'), 'w', encoding='ascii') as f:
                f.write('\n'.join(['id ' + name, 'command /bin/sh', 'args -c', 'args ' + script, 'env PATH=/bin',
                                   'log_dir /cases/%s/logs' % name, 'log_name t', 'log_max_files 2',
                                   'log_max_bytes 1000000', 'cgroup /test/' + name] + extra) + '\n')
        files = subprocess.run(['find', '.'], cwd=root, stdout=subprocess.PIPE, check=True).stdout
        with open(os.path.join(cls.dir, 'initrd'), 'wb') as f:
            subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet'], cwd=root, input=files, stdout=f, check=True)
        out = subprocess.run(
            ['qemu-system-x86_64', '-accel', 'tcg', '-m', '512', '-nographic', '-no-reboot', '-kernel', KERNEL,
             '-initrd', os.path.join(cls.dir, 'initrd'), '-append', 'console=ttyS0 quiet panic=-1 cgroup_no_v1=all'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=300 * steppe.SCALE).stdout.decode('utf-8', 'replace')
        cls.cases, name = {}, None
        for line in out.replace('\r', '').split('\n'):
            head, _, rest = line.partition(' ')
            if head.endswith('CASE'): # behind what the firmware wrote
                name = rest
                cls.cases[name] = {'said': [], 'file': {}}
            elif name and head == 'SAID':
                cls.cases[name]['said'].append(dict(w.split('=', 1) for w in rest.split(' error=')[0].split(' ')))
            elif name and head == 'FILE':
                key, _, value = rest.partition(' ')
                cls.cases[name]['file'][key] = value
            elif name and head in ('OUT', 'ERR', 'LEFT'):
                cls.cases[name][head.lower()] = rest
        if set(cls.cases) != set(CASES):
            raise AssertionError('the machine said: ' + out[-3000:])

    def end(self, name):
        c = self.cases[name]
        self.assertEqual(c['left'], 'no')
        last = c['said'][-1]
        self.assertEqual(last['state'], 'exited')
        return c, (last['code'], last['signal'], last['oom'])

    def test_plain(self):
        c, end = self.end('plain')
        self.assertEqual((c['out'], end), ('hello', ('3', '0', '0')))

    def test_deaf(self):
        self.assertEqual(self.end('deaf')[1], ('0', '9', '0'))

    def test_limits(self):
        c, end = self.end('limited')
        self.assertEqual(end, ('0', '15', '0'))
        self.assertEqual(c['file'], {'pids.current': '1', 'pids.max': '40', 'memory.max': '33554432', 'cpu.weight': '19'})

    def test_oom(self):
        self.assertEqual(self.end('oom')[1], ('0', '9', '1'))

    def test_bomb(self):
        c, end = self.end('bomb')
        self.assertIn(end[1], ('9', '15'))
        self.assertLessEqual(int(c['file']['pids.current']), 40)

    def test_isolated(self):
        c, end = self.end('isolated')
        self.assertEqual((c['out'], end), ('65534 2 bin dev proc', ('0', '15', '0')))
        self.assertIn('Read-only', c['err'])


if __name__ == '__main__':
    unittest.main()
