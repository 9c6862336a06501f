#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Start of a lone server to its first answered write; kill -9 of the leader of three to the next
acknowledged write of a request that was sent after it."""

import contextlib
import itertools
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import steppe  # noqa: E402

STARTS = 7
KILLS = 7
ASK_S = 0.002  # between two attempts


def first_write(node, begin, timeout=20):
    """Milliseconds from begin to the first acknowledged registration."""
    steppe.wait_for('the first write', lambda: node.register(steppe.job('first'), timeout=2).status == 200, timeout, ASK_S)
    return (time.monotonic() - begin) * 1000


def starts():
    fresh, again = [], []
    for _ in range(STARTS):
        with steppe.Cluster() as c:
            s = c.node('s', 'west', c.addr(1, 1))
            begin = time.monotonic()
            s.start(wait=False)
            fresh.append(first_write(s, begin))
            s.stop()
            begin = time.monotonic()
            s.start(wait=False)
            again.append(first_write(s, begin))
    return fresh, again


def next_write(nodes, killed):
    """Milliseconds from the kill to the first acknowledgement of a request sent after it, at any node."""
    done, tries = [], itertools.count()

    def work(node, no):
        def acknowledged():
            r = node.register(steppe.job('after-%d-%d-%f' % (no, next(tries), killed)), timeout=10)
            if r.status == 200:
                done.append((time.monotonic() - killed) * 1000)
            return done  # by whichever node
        with contextlib.suppress(steppe.Timeout):
            steppe.wait_for('a write after the kill', acknowledged, 30, ASK_S)
    threads = [threading.Thread(target=work, args=(n, i)) for i, n in enumerate(nodes)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done, 'no write within 30 s'
    return min(done)


def kills():
    out = []
    with steppe.Cluster() as c:
        r = c.region('west', servers=3)
        for n in r.servers:
            steppe.wait_for('three peers', lambda: len(n.get('/v1/status/peers').json()) == 3)
        for i in range(KILLS):
            leader = r.leader_node()
            rest = [n for n in r.servers if n is not leader]
            assert rest[0].register(steppe.job('before-%d' % i)).status == 200
            killed = time.monotonic()
            leader.kill()
            out.append(next_write(rest, killed))
            leader.start()
            leader.wait_leader()
            steppe.wait_for('%s to catch up' % leader.name, lambda: 'before-%d' % i in leader.job_ids('?stale'))
            names = [n.name + '.west' for n in r.servers]
            for n in r.servers:
                n.wait_members(names, timeout=60)
    return out


def measure():
    return (*starts(), kills())


def report(ours, theirs):
    fresh, again, kill = (sorted(x) for x in ours)
    t = [sorted(x) for x in theirs] if theirs else None

    def note(i):
        return 'min/median/max' + ('; nomad: ' + bench.spread(t[i]) if t else '')
    bench.row('start of a lone server to the first write, fresh', bench.spread(fresh), 'ms', '< 500', fresh[len(fresh) // 2] < 500, note(0))
    bench.row('start of a lone server to the first write, again', bench.spread(again), 'ms', '< 500', again[len(again) // 2] < 500, note(1))
    bench.row('kill -9 of the leader of 3 to the next write', bench.spread(kill), 'ms', '< 1000', max(kill) < 1000, note(2))


if __name__ == '__main__':
    bench.compare(measure, report)
