# SPDX-License-Identifier: MPL-2.0
"""Wall clocks that jump, a day forward and an hour back, while jobs run: on a server, on a client, on both.

The nodes run under libfaketime, which changes what the wall clock says and leaves the monotonic one alone, as
settimeofday() does. Nodes stay ready, no task ends, new jobs run, what failed is placed again neither early nor a
day late, and nothing young is deleted.
"""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import faketime  # noqa: E402
import steppe  # noqa: E402
from steppe import job, wait_for  # noqa: E402

DAY, HOUR, SEC = 86400, 3600, 10**9
SERVER = '\n'.join(['  min_heartbeat_ttl = "2s"', '  heartbeat_grace = "20s"', '  max_heartbeats_per_second = 1000',
                    '  job_gc_interval = "500ms"', '  job_gc_threshold = "1h"', '  eval_gc_threshold = "1h"',
                    '  deployment_gc_threshold = "1h"', '  node_gc_threshold = "1h"'])
CLIENT = 'plugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}'
DELAY = 8  # s, of rescheduling: longer than the 5 s that schedulers take for "now"
WAIT = 60


@unittest.skipIf(steppe.is_nomad(), 'our log')
class Jumps(steppe.TestCase):
    def setUp(self):
        super().setUp()
        why = faketime.why_not()
        if why:
            self.skipTest(why)

    # -- clocks

    def start(self, node):
        node.start(wait=False, wrapper=faketime.wrapper(node))

    def real(self, node, ns, offset):
        return ns - offset * SEC if node in self.jumping else ns

    def assertShows(self, ns, offset):
        self.assertLess(abs(ns / SEC - time.time() - offset), HOUR / 4)

    # -- what is there

    def allocs(self, name):
        return self.server.get('/v1/job/%s/allocations?all=true' % name).json()

    def running(self, name):
        def look():
            (a,) = self.allocs(name)
            return a['ClientStatus'] == 'running' and a
        return wait_for('%s to run' % name, look, WAIT)

    def steady_pids(self):
        mark = 'steady-' + self.cluster.dir
        return [int(p) for p in filter(str.isdigit, os.listdir('/proc'))
                if mark in steppe.proc_cmdline(int(p)) and steppe.proc_cmdline(int(p)).startswith('/bin/sh')]

    def node(self):
        (n,) = self.server.get('/v1/nodes').json()
        return self.server.get('/v1/node/' + n['ID']).json()

    def seen(self, node, text, more):
        """Waits until the node's log has `more` further lines with the text."""
        n = node.log().count(text)
        wait_for('%d times "%s"' % (more, text), lambda: node.log().count(text) >= n + more, WAIT)

    def everything(self):
        """What must not change: the node, the steady job's allocation and process, the old job and its rows."""
        n = self.node()
        (steady,) = self.allocs('steady')
        return {'node': (n['ID'], n['Status'], n['StatusUpdatedAt'], [e['Message'] for e in n['Events']]),
                'steady': (steady['ID'], steady['ClientStatus'], steady['TaskStates']['t']['Restarts'],
                           [e['Type'] for e in steady['TaskStates']['t']['Events']]),
                'pids': self.steady_pids(), 'old': [a['ID'] for a in self.allocs('old')],
                'old evals': {e['ID'] for e in self.server.get('/v1/job/old/evaluations').json()}}

    # -- what is done after each jump

    def new_job(self, name, offset):
        self.assertStatus(self.server.register(job(name)), 200)
        a = self.running(name)
        self.assertShows(a['CreateTime'], offset if self.server in self.jumping else 0)
        events = a['TaskStates']['t']['Events']
        self.assertShows(events[-1]['Time'], offset if self.client in self.jumping else 0)

    def failing_job(self, name):
        j = job(name, command='/bin/false', args=())
        j['TaskGroups'][0].update(
            RestartPolicy={'Attempts': 0, 'Interval': 60 * SEC, 'Delay': SEC, 'Mode': 'fail'},
            ReschedulePolicy={'Delay': DELAY * SEC, 'DelayFunction': 'constant', 'Unlimited': True})
        self.assertStatus(self.server.register(j), 200)

    def placed_again(self, name, offset):
        """Not before its time, and not a day late."""
        two = wait_for('%s to be placed again' % name, lambda: (lambda a: len(a) >= 2 and a)(self.allocs(name)), WAIT)
        first, second = sorted(two, key=lambda a: a['CreateIndex'])[:2]
        self.assertEqual(self.server.get('/v1/allocation/' + first['ID']).json()['NextAllocation'], second['ID'])
        (ended,) = [e['Time'] for e in first['TaskStates']['t']['Events'] if e['Type'] == 'Terminated']
        pause = self.real(self.server, second['CreateTime'], offset) - self.real(self.client, ended, offset)
        self.assertGreaterEqual(pause, (DELAY - 5) * SEC)
        self.assertStatus(self.server.delete('/v1/job/' + name), 200)

    def jumps(self, server, client):
        r = self.cluster.region('west', clients=1, start=False, server_extra=SERVER, client_args={'extra': CLIENT})
        self.server, (self.client,) = r.server, r.clients
        self.jumping = [n for n, yes in ((self.server, server), (self.client, client)) if yes]
        for n in r.nodes:
            self.start(n)
        for n in r.nodes:
            n.wait_http(WAIT)
        self.server.wait_leader(WAIT)
        self.server.wait_nodes(1, timeout=WAIT)
        script = 'while :; do sleep 1; done # steady-' + self.cluster.dir
        self.server.register(job('steady', command='/bin/sh', args=('-c', script)))
        self.server.register(job('old'))
        self.running('steady')
        self.running('old')
        self.server.delete('/v1/job/old')
        wait_for('the old job to end', lambda: self.allocs('old')[0]['ClientStatus'] == 'complete', WAIT)
        wait_for('its evaluations to end', lambda: all(
            e['Status'] == 'complete' for e in self.server.get('/v1/job/old/evaluations').json()), WAIT)
        before = self.everything()
        self.assertEqual(len(before['pids']), 1)
        for i, offset in enumerate((DAY, -HOUR)):
            for n in self.jumping:
                faketime.set_clock(n, offset)
            self.failing_job('failing%d' % i)
            self.new_job('new%d' % i, offset)
            self.seen(self.server, 'nothing is of no use', 2)
            self.seen(self.client, 'the servers heard this node', 2)
            self.placed_again('failing%d' % i, offset)
            self.assertEqual(self.everything(), before)
        self.assertEqual(self.server.leader(), '%s:%d' % (self.server.addr, steppe.RPC))

    def test_server(self):
        self.jumps(True, False)

    def test_client(self):
        self.jumps(False, True)

    def test_both(self):
        self.jumps(True, True)


if __name__ == '__main__':
    unittest.main()
