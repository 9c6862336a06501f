#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""PUT /v1/jobs, another job each time, 32 connections, one server; memory of the node after 10,000 jobs."""

import concurrent.futures
import http.client
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import steppe  # noqa: E402

JOBS = 10000
THREADS = 8


def register_many(node):
    """Exactly JOBS registrations over THREADS connections."""
    body = bench.job_body()

    def work(no):
        conn = http.client.HTTPConnection(node.addr, steppe.HTTP, timeout=60)
        for i in range(no, JOBS, THREADS):
            conn.request('PUT', '/v1/jobs', body.replace('%s', 'mem-%05d' % i))
            r = conn.getresponse()
            text = r.read()
            assert r.status == 200, text
        conn.close()
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def measure():
    with steppe.Cluster() as c:
        s = c.region('west').server
        run = bench.Wrk('http://%s:4646/v1/jobs' % s.addr, script=bench.register_script(c.dir))
        stored = len(json.loads(s.get('/v1/jobs?stale', timeout=60).body))
    with steppe.Cluster() as c:
        s = c.region('west').server
        register_many(s)
        assert len(s.job_ids()) == JOBS
        bench.wait_idle(s)
        total, each = bench.node_memory(s)
    return run, stored, total, each


def report(ours, theirs):
    run, stored, total, each = ours
    note = 'p50 %.2f p90 %.2f p99 %.2f ms' % (run.p50, run.p90, run.p99)
    if theirs:
        note += '; ' + bench.versus(run.rps, theirs[0].rps)
    bench.row('PUT /v1/jobs, 32 connections, 1 server', '%.0f' % run.rps, '/s', 'aim: > 10,000', run.rps > 10000, note)
    bench.row('  refused or broken', run.bad, '', '0', run.bad == 0, '%d jobs stored' % stored)
    note = ', '.join('%s %.1f' % (k, v / 1024) for k, v in sorted(each.items()))
    if theirs:
        note += '; nomad: %.0f MiB' % (theirs[2] / 1024)
    bench.row('memory of the node after %d jobs' % JOBS, '%.1f' % (total / 1024), 'MiB', '< 60', total < 60 * 1024, note)


if __name__ == '__main__':
    bench.compare(measure, report)
