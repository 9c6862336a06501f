#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""From the registration of a job to its task running, as the servers tell it: one server, one client."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import steppe  # noqa: E402

JOBS = 40


def measure(server, n):
    job_id = 'run%d' % n
    job = {'ID': job_id, 'Name': job_id, 'Type': 'service', 'Datacenters': ['dc1'], 'TaskGroups': [
        {'Name': 'g', 'Count': 1, 'EphemeralDisk': {'SizeMB': 10}, 'Tasks': [
            {'Name': 't', 'Driver': 'raw_exec', 'Resources': {'CPU': 1, 'MemoryMB': 10},
             'LogConfig': {'MaxFiles': 1, 'MaxFileSizeMB': 1},
             'Config': {'command': '/bin/sleep', 'args': ['3600']}}]}]}
    start = time.monotonic()
    server.put('/v1/jobs', {'Job': job})
    index = 0
    while True: # a blocking query, so that nobody polls
        r = server.get('/v1/job/%s/allocations?index=%d&wait=5s' % (job_id, index))
        if any(a['ClientStatus'] == 'running' for a in r.json()):
            return 1000 * (time.monotonic() - start)
        index = r.index()


if __name__ == '__main__':
    with steppe.Cluster() as c:
        region = c.region('west', clients=1,
                          client_args={'extra': 'plugin "raw_exec" { config { enabled = true } }'})
        times = sorted(measure(region.server, n) for n in range(JOBS))
        p50, p90 = times[len(times) // 2], times[len(times) * 9 // 10]
        bench.row('job registered -> its task runs, p50', '%.0f' % p50, 'ms', '< 100', p50 < 100,
                  'p90 %.0f, of %d jobs' % (p90, JOBS))
