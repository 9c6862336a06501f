# SPDX-License-Identifier: MPL-2.0
"""Client nodes that only speak (tests/bench/sim_nodes.c), and jobs for them.

STEPPE_TOOLS, or BENCH_BUILD/tests, or STEPPE_BUILD/tests: where the program is."""

import os
import subprocess

import steppe


def binary():
    build = os.environ.get('BENCH_BUILD') or os.environ.get('STEPPE_BUILD', '.')
    path = os.path.join(os.environ.get('STEPPE_TOOLS') or os.path.join(build, 'tests'), 'sim_nodes')
    if not os.access(path, os.X_OK):
        raise RuntimeError('no program at %s: set STEPPE_TOOLS or STEPPE_BUILD' % path)
    return path


class Nodes:
    """One process that is many client nodes: of the same seed and numbers, the same nodes."""

    def __init__(self, servers, count, region='global', wait=True, **kw):
        argv = [binary(), 'region=' + region, 'count=%d' % count]
        argv += ['server=%s:%d' % (s.addr, steppe.RPC) for s in servers]
        argv += ['%s=%s' % x for x in kw.items()]
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if wait and self.proc.stdout.readline() != 'ready\n':
            raise AssertionError('sim_nodes did not start: %r' % argv)

    def stop(self):
        """Like a power cut: they are not heard of any more."""
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()


def job(job_id, count=1, cpu=100, memory=100, kind='service', group=None, task=None, **kw):
    """A job of one group g with one task t; group, task: further keys of theirs."""
    t = {'Name': 't', 'Driver': 'mock_driver', 'Config': {'run_for': '1h'},
         'LogConfig': {'MaxFiles': 1, 'MaxFileSizeMB': 1}, 'Resources': {'CPU': cpu, 'MemoryMB': memory}}
    t.update(task or {})
    g = {'Name': 'g', 'Count': count, 'EphemeralDisk': {'SizeMB': 10}, 'Tasks': [t]}
    g.update(group or {})
    j = {'ID': job_id, 'Name': job_id, 'Type': kind, 'Priority': 50, 'Datacenters': ['dc1'], 'TaskGroups': [g]}
    j.update(kw)
    return j


def live(allocs):
    return [a for a in allocs if a['DesiredStatus'] == 'run' and a['ClientStatus'] in ('pending', 'running')]
