#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Private memory (Private_Clean + Private_Dirty of smaps_rollup) of an idle server node and of an idle
client node, process by process; what they use of a processor; size of what is installed."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import bench  # noqa: E402
import steppe  # noqa: E402


def measure():
    """The server is measured before the client starts: programs of both would count as shared, not private."""
    with steppe.Cluster() as c:
        out = []
        s = c.region('west').server
        for n in (s, c.node('client', 'west', c.addr(1, 11), server=False, client=True, servers=[s.addr])):
            if n is not s:
                n.start()
                s.wait_nodes(1)
            cpu = bench.wait_idle(n, quiet=5)
            out.append((*bench.node_memory(n), cpu))
        return out


def report(ours, theirs):
    for i, (name, limit) in enumerate((('server', 20), ('client', 0))):
        total, each, cpu = ours[i]
        note = ', '.join('%s %.1f' % (k, v / 1024) for k, v in sorted(each.items()))
        if theirs:
            note += '; nomad: %.1f MiB' % (theirs[i][0] / 1024)
        bench.row('private memory of an idle %s node' % name, '%.1f' % (total / 1024), 'MiB',
                  '< %d' % limit if limit else '', total < limit * 1024 if limit else None, note)
        bench.row('  its use of one processor', '%.1f' % cpu, '%', note='nomad: %.1f %%' % theirs[i][2] if theirs else '')
    prefix = os.environ.get('STEPPE_PREFIX')
    if prefix:
        size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(prefix) for f in fs)
        bench.row('installed size', '%.1f' % (size / 2**20), 'MiB', note='with debug information, unless stripped')


if __name__ == '__main__':
    bench.compare(measure, report)
