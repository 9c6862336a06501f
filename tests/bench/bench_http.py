#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Stale GET /v1/jobs (10 jobs, 32 connections): local, forwarded to another region, and a bare civetweb
handler that returns the same bytes, in turns in the same run.

Equal reads that come together share one request to the other region. "All different" is what is left
of the rate when none can: each request has a token of its own."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import steppe  # noqa: E402

ROUNDS = 3
TOKENS = '''local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", nil, {["X-Nomad-Token"] = tostring(n) .. tostring(request)})
end
'''


def measure():
    with steppe.Cluster() as c:
        w, e = c.region('west').server, c.region('east').server
        w.join(e)
        for n in (w, e):
            steppe.wait_for('both regions', lambda: n.get('/v1/regions').json() == ['east', 'west'])
            for i in range(10):
                assert n.register(steppe.job('job-%02d' % i)).status == 200
        urls = {'local': 'http://%s:4646/v1/jobs?stale' % w.addr,
                'forwarded': 'http://%s:4646/v1/jobs?stale&region=east' % w.addr}
        assert len(w.job_ids('?stale')) == len(w.job_ids('?stale&region=east')) == 10
        different = os.path.join(c.dir, 'tokens.lua')
        with open(different, 'w') as f:
            f.write(TOKENS)
        urls['different'] = urls['forwarded']
        bare = None
        build = os.environ.get('BENCH_BUILD')
        if build and not steppe.is_nomad():
            body = os.path.join(c.dir, 'body')
            with open(body, 'wb') as f:
                f.write(w.get('/v1/jobs?stale').body)
            addr = c.addr(99, 1)
            bare = subprocess.Popen([os.path.join(build, 'tests', 'bare_civetweb'), addr + ':4646', body])
            urls['bare'] = 'http://%s:4646/' % addr
            steppe.wait_for('bare_civetweb', lambda: steppe.http_request(addr, 'GET', '/').status == 200)
        try:
            runs = {k: [] for k in urls}
            for k, url in urls.items():
                bench.Wrk(url, seconds=1, script=different if k == 'different' else None)
            for _ in range(ROUNDS):
                for k, url in urls.items():
                    runs[k].append(bench.Wrk(url, seconds=max(2, bench.SECONDS * 0.6),
                                             script=different if k == 'different' else None))
        finally:
            if bare:
                bare.kill()
                bare.wait()
        return {k: bench.median_run(v) for k, v in runs.items()}


def report(ours, theirs):
    local, forwarded, bare = ours['local'], ours['forwarded'], ours.get('bare')
    lat = 'p50 %.2f p90 %.2f p99 %.2f ms'
    if bare:
        row = (bare.p50, bare.p90, bare.p99)
        bench.row('bare civetweb handler, same bytes', '%.0f' % bare.rps, '/s', note=lat % row)
    rows = (('local', local), ('forwarded', forwarded), ('different', ours['different']))
    for name, r in rows:
        note = lat % (r.p50, r.p90, r.p99)
        if theirs:
            note += '; ' + bench.versus(r.rps, theirs[name].rps)
        bench.row('stale GET /v1/jobs, 10 jobs, 32 connections, %s' % (
            'forwarded, all different' if name == 'different' else name), '%.0f' % r.rps, '/s', note=note,
                  target='no errors', ok=r.bad == 0)
    if bare:
        ratio = local.rps / bare.rps
        bench.row('  local / bare', '%.2f' % ratio, '', '>= 0.50', ratio >= 0.5)
    ratio = forwarded.rps / local.rps
    bench.row('  forwarded / local', '%.2f' % ratio, '', '>= 0.40', ratio >= 0.4)
    bench.row('  forwarded, all different / local', '%.2f' % (ours['different'].rps / local.rps), '')


if __name__ == '__main__':
    bench.compare(measure, report)
