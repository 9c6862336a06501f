#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Memory that one running task adds to its node: taskd (and what else is ours), and what clientd grew by. Private
memory of each process; the task itself (/bin/sleep) is not counted."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import steppe  # noqa: E402

TASKS = 40


def ours(node, folder):
    """pid -> private KiB of the processes that hold tasks."""
    out = {}
    for pid in steppe.proc_descendants(node.proc.pid):
        if steppe.proc_name(pid) in ('taskd', 'taskd-init') and folder in steppe.proc_cmdline(pid):
            out[pid] = steppe.proc_private_kib(pid)
    return out


def measure(server, node, driver):
    clientd = node.service_pids()['clientd']
    before = steppe.proc_private_kib(clientd)
    job = {'ID': driver, 'Name': driver, 'Type': 'service', 'Datacenters': ['dc1'], 'TaskGroups': [
        {'Name': 'g', 'Count': TASKS, 'EphemeralDisk': {'SizeMB': 10}, 'Tasks': [
            {'Name': 't', 'Driver': driver, 'Resources': {'CPU': 1, 'MemoryMB': 10},
             'LogConfig': {'MaxFiles': 1, 'MaxFileSizeMB': 1},
             'Config': {'command': '/bin/sleep', 'args': ['3600']}}]}]}
    server.put('/v1/jobs', {'Job': job})

    def running():
        return sum(a['ClientStatus'] == 'running' for a in server.get('/v1/job/%s/allocations' % driver).json())
    steppe.wait_for('%d tasks' % TASKS, lambda: running() == TASKS, 120)
    held = ours(node, node.data_dir)
    grown = steppe.proc_private_kib(clientd) - before
    each = sum(held.values()) / TASKS
    bench.row('private memory that one %s task adds' % driver, '%.0f' % (each + max(grown, 0) / TASKS), 'KiB', '< 1024',
              each + grown / TASKS < 1024, 'its holder %.0f, clientd %.0f, of %d tasks' % (each, grown / TASKS, TASKS))
    server.delete('/v1/job/' + driver)
    steppe.wait_for('their end', lambda: running() == 0, 120)


if __name__ == '__main__':
    with steppe.Cluster() as c:
        region = c.region('west', clients=1,
                          client_args={'extra': 'plugin "raw_exec" { config { enabled = true } }'})
        for name in ('raw_exec', 'exec') if os.geteuid() == 0 else ('raw_exec',):
            measure(region.server, region.clients[0], name)
