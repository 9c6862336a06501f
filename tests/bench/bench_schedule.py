#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Placements a second: simulated client nodes on one server, jobs of many small tasks all at once.

SCHEDULE_NODES (1000), SCHEDULE_JOBS (100), SCHEDULE_COUNT (1000): other sizes."""

import contextlib
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import sim  # noqa: E402
import steppe  # noqa: E402

NODES = int(os.environ.get('SCHEDULE_NODES', '1000'))
JOBS = int(os.environ.get('SCHEDULE_JOBS', '100'))
COUNT = int(os.environ.get('SCHEDULE_COUNT', '1000'))
LIMIT = float(os.environ.get('SCHEDULE_SECONDS', '55'))


def body(no):
    return json.dumps({'Job': {
        'ID': 'sched-%d' % no, 'Type': 'service', 'Datacenters': ['dc1'],
        'TaskGroups': [{'Name': 'g', 'Count': COUNT, 'EphemeralDisk': {'SizeMB': 20},
                        'Tasks': [{'Name': 't', 'Driver': 'mock_driver', 'Config': {'run_for': '1h'},
                                   'LogConfig': {'MaxFiles': 1, 'MaxFileSizeMB': 10},
                                   'Resources': {'CPU': 10, 'MemoryMB': 10}}]}]}})


def cpu_by_name(server):
    """Seconds of processor by process."""
    out = {}
    for pid in server.pids():
        try:
            with open('/proc/%d/stat' % pid) as f:
                fields = f.read().rsplit(')', 1)[1].split()
        except OSError:
            continue
        name = steppe.proc_name(pid)
        out[name] = out.get(name, 0) + (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    return out


def placed_by_job(server):
    out = {}
    for j in server.get('/v1/jobs?stale', timeout=60).json():
        g = j['JobSummary']['Summary']['g']
        out[j['ID']] = g['Starting'] + g['Running']
    return out


def measure():
    with steppe.Cluster() as c:
        s = c.region('west').server
        nodes = sim.Nodes([s], NODES, region='west', cpu=4000, memory=16384, disk=100000)
        try:
            before = bench.node_memory(s)[0]
            idle = cpu_by_name(s)
            start = time.monotonic()
            born, done = {}, {}
            for i in range(JOBS):
                r = s.put('/v1/jobs', body(i))
                assert r.status == 200, r.text
                born['sched-%d' % i] = time.monotonic()

            def all_placed():
                now = time.monotonic()
                for job, n in placed_by_job(s).items():
                    if n == COUNT and job not in done:
                        done[job] = now
                return len(done) == JOBS
            with contextlib.suppress(steppe.Timeout):
                steppe.wait_for('all placements', all_placed, LIMIT, 0.05)
            took = max(done.values()) - start if done else LIMIT
            total = sum(placed_by_job(s).values())
            used = cpu_by_name(s)
            bench.wait_idle(s, timeout=20)
            after = bench.node_memory(s)[0]
        finally:
            nodes.stop()
    waits = sorted(done[j] - born[j] for j in done)
    return total, took, waits, (after - before), {k: v - idle.get(k, 0) for k, v in used.items()}


def main():
    total, took, waits, grown, cpu = measure()
    rate = total / took
    bench.row('placements, %d nodes, %d x %d' % (NODES, JOBS, COUNT), '%.0f' % rate, '/s', 'aim: > 10,000', rate > 10000,
              '%d of %d placed in %.1f s; Nomad: 23 a second and core' % (total, JOBS * COUNT, took))
    bench.row('  processor time a placement', '%.0f' % (sum(cpu.values()) / max(total, 1) * 1e6), 'us', '', None,
              ', '.join('%s %.1f s' % x for x in sorted(cpu.items()) if x[1] >= 0.1))
    if waits:
        bench.row('  registered to all placed, p50', '%.1f' % waits[len(waits) // 2], 's', '', None,
                  'p99 %.1f s' % waits[int(len(waits) * 0.99)])
    if total:
        bench.row('  memory an allocation, server', '%.2f' % (grown / total), 'KiB', '', None, '')


if __name__ == '__main__':
    main()
