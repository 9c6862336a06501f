#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Durable writes, three servers, 32 connections at the leader: registrations of Steppe beside puts of etcd
(Debian's etcd-server, three members, the same disk, values of the same size), in turns in the same run.
etcd is driven through its own HTTP/JSON gateway (/v3/kv/put), so that wrk drives both; its gRPC is faster."""

import base64
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import steppe  # noqa: E402

ROUNDS = 3


class Etcd:
    def __init__(self, cluster):
        self.dir = os.path.join(cluster.dir, 'etcd')
        os.makedirs(self.dir)
        self.addrs = [cluster.addr(50, i + 1) for i in range(3)]
        names = ','.join('e%d=http://%s:2380' % (i, a) for i, a in enumerate(self.addrs))
        self.procs = []
        for i, a in enumerate(self.addrs):
            with open(os.path.join(self.dir, 'e%d.log' % i), 'wb') as log:
                self.procs.append(subprocess.Popen(
                    ['etcd', '--name', 'e%d' % i, '--data-dir', os.path.join(self.dir, 'e%d' % i),
                     '--listen-client-urls', 'http://%s:2379' % a, '--advertise-client-urls', 'http://%s:2379' % a,
                     '--listen-peer-urls', 'http://%s:2380' % a, '--initial-advertise-peer-urls', 'http://%s:2380' % a,
                     '--initial-cluster', names, '--initial-cluster-state', 'new'],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir))

    def leader(self):
        def find():
            for a in self.addrs:
                r = steppe.http_request(a, 'POST', '/v3/maintenance/status', {}, port=2379).json()
                if r.get('leader') and r['leader'] == r['header']['member_id']:
                    return a
            return None
        return steppe.wait_for('a leader of etcd', find, 20)

    def script(self, size):
        value = base64.b64encode(b'x' * size).decode()
        path = os.path.join(self.dir, 'put.lua')
        with open(path, 'w') as f:
            # The key is base64 of text, so it is made of letters that need no padding: 3 bytes -> 4.
            f.write('''local threads = 0
function setup(thread)
    thread:set("no", threads)
    threads = threads + 1
end
local n = 0
function request()
    n = n + 1
    local key = string.format("bench%%d%%010d", no, n)
    return wrk.format("POST", "/v3/kv/put", nil, '{"key":"' .. key .. '","value":"%s"}')
end
''' % value)
        return path

    def close(self):
        for p in self.procs:
            p.kill()
            p.wait()


def main():
    if not shutil.which('etcd'):
        sys.exit('etcd is missing: see deploy/packages.txt')
    with steppe.Cluster() as c:
        etcd = Etcd(c)
        try:
            r = c.region('west', servers=3)
            for n in r.servers:
                steppe.wait_for('three peers', lambda: len(n.get('/v1/status/peers').json()) == 3)
            ours_url = 'http://%s:4646/v1/jobs' % r.leader_node().addr
            theirs_url = 'http://%s:2379' % etcd.leader()
            size = len(bench.job_body()) + 12
            ours_script, theirs_script = bench.register_script(c.dir), etcd.script(size)
            bench.Wrk(theirs_url, seconds=1, script=theirs_script)
            runs = {'steppe': [], 'etcd': []}
            for _ in range(ROUNDS):
                runs['steppe'].append(bench.Wrk(ours_url, script=ours_script, seconds=max(2, bench.SECONDS * 0.6)))
                runs['etcd'].append(bench.Wrk(theirs_url, script=theirs_script, seconds=max(2, bench.SECONDS * 0.6)))
        finally:
            etcd.close()
    best = {k: bench.median_run(v) for k, v in runs.items()}
    for k, what in (('steppe', 'durable registrations, 3 servers, 32 clients'),
                    ('etcd', "etcd's puts, 3 members, 32 clients, %d bytes" % size)):
        x = best[k]
        bench.row(what, '%.0f' % x.rps, '/s', 'no errors', x.bad == 0,
                  'p50 %.2f p90 %.2f p99 %.2f ms' % (x.p50, x.p90, x.p99))
    ratio = best['steppe'].rps / best['etcd'].rps
    bench.row('  registrations / puts', '%.2f' % ratio, '', 'aim: > 1', ratio > 1, json.dumps(
        {k: [round(x.rps) for x in v] for k, v in runs.items()}))


if __name__ == '__main__':
    main()
