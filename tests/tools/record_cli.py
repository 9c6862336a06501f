#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Records what a CLI prints in the federation tutorial, step by step, as transcripts.

    record_cli.py --agent /opt/nomad-1.1.0 --cli /opt/nomad-1.1.0 OUTDIR

Starts two regions (one server, two clients each) on 127.0.1.x and 127.0.2.x with --agent, runs each
step with --cli and writes OUTDIR/NN-name.txt. The agents run no scheduler (num_schedulers = 0), so
jobs stay pending, as they do on a Steppe that cannot place yet.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
import transcript  # noqa: E402

# Of net 0; another one is put in when the steps are played.
WEST, EAST = '127.0.1.1', '127.0.2.1'

# name, address asked, arguments; {job} and {batch} are job files, {node} the name of east's server.
STEPS = [
    ('members-alone', WEST, 'server members'),
    ('regions-before', WEST, 'status -region=east'),
    ('run-before', WEST, 'job run -detach {job}'),
    ('members-detailed-alone', WEST, 'server members -detailed'),
    ('join', WEST, 'server join 127.0.2.1:4648'),
    ('join-unreachable', WEST, 'server join 127.0.9.9:4648'),
    ('members-west', WEST, 'server members'),
    ('members-east', EAST, 'server members'),
    ('status-empty', WEST, 'status -region=east'),
    ('job-validate', WEST, 'job validate {job}'),
    ('job-run', WEST, 'job run -detach {job}'),
    ('job-run-check-index', WEST, 'job run -detach -check-index 0 {job}'),
    ('status-one', WEST, 'status -region=east'),
    ('status-one-local', EAST, 'status'),
    ('status-own-region', WEST, 'status'),
    ('job-status', WEST, 'job status -region=east demo'),
    ('job-status-short', WEST, 'job status -region=east -short demo'),
    ('status-id', WEST, 'status -region=east demo'),
    ('job-status-unknown', WEST, 'job status -region=east nosuch'),
    ('job-inspect', WEST, 'job inspect -region=east demo'),
    ('job-history', WEST, 'job history -region=east demo'),
    ('job-stop', WEST, 'job stop -region=east -detach demo'),
    ('status-stopped', WEST, 'status -region=east'),
    ('job-stop-purge', WEST, 'job stop -region=east -detach -purge demo'),
    ('status-purged', WEST, 'status -region=east'),
    ('job-stop-unknown', WEST, 'job stop -region=east -detach nosuch'),
    ('node-status', WEST, 'node status'),
    ('node-status-east', WEST, 'node status -region=east'),
    ('node-status-unknown', WEST, 'node status deadbeef'),
    ('raft-list-peers', WEST, 'operator raft list-peers'),
    ('raft-list-peers-east', WEST, 'operator raft list-peers -region=east'),
    ('agent-info', WEST, 'agent-info'),
    ('status-unknown-region', WEST, 'status -region=nowhere'),
    ('run-missing-file', WEST, 'job run /nonexistent.nomad'),
    ('run-broken', WEST, 'job run {broken}'),
    ('run-output', WEST, 'job run -output {job}'),
    ('missing-argument', WEST, 'job stop'),
    ('refused', '127.0.9.9', 'status'),
    ('members-refused', '127.0.9.9', 'server members'),
    ('version', WEST, 'version'),
    # After east's server was killed with -9 and found failed:
    ('members-failed', WEST, 'server members'),
    ('status-failed', WEST, 'status -region=east'),
    ('force-leave', WEST, 'server force-leave {node}'),
    ('members-left', WEST, 'server members'),
    ('force-leave-unknown', WEST, 'server force-leave nobody.nowhere'),
]


def files(folder):
    """The job files of the steps."""
    out = {}
    for name, text in (('job', steppe.job_hcl('demo', 'east')),
                       ('broken', 'job "demo" {\n  datacenters = ["dc1"\n  type = \n')):
        out[name] = os.path.join(folder, '%s.nomad' % {'job': 'demo'}.get(name, name))
        with open(out[name], 'w') as f:
            f.write(text)
    return out


def start(cluster, net=0):
    """Two regions of one server and two clients on 127.NET.1.x and 127.NET.2.x."""
    extra = '  num_schedulers = 0'
    for no, region in ((1, 'west'), (2, 'east')):
        s = cluster.node(region + '-s1', region, '127.%d.%d.1' % (net, no), server_extra=extra)
        s.start()
        s.wait_leader()
        for i in (1, 2):
            cluster.node('%s-c%d' % (region, i), region, '127.%d.%d.%d' % (net, no, 10 + i), server=False,
                         client=True, servers=[s.addr]).start()
        s.wait_nodes(2)


def play(cluster, cli, steps=STEPS):
    """Runs the steps; yields (name, argv as shown, Result)."""
    by_name = {n.name: n for n in cluster.nodes}
    west, east = by_name['west-s1'], by_name['east-s1']
    subst = files(cluster.dir)
    shown = {k: os.path.basename(v) for k, v in subst.items()}
    subst['node'] = shown['node'] = 'east-s1.east'
    net = west.addr.split('.')[1]
    for name, addr, args in steps:
        addr, args = (x.replace('127.0.', '127.%s.' % net) for x in (addr, args))
        if name == 'members-failed':
            east.kill()
            west.wait_members(['east-s1.east'], status='failed', timeout=60)
        r = steppe.run([cli] + args.format(**subst).split(), env=steppe.cli_env(addr), timeout=60)
        if name == 'join':
            for n in (west, east):
                n.wait_members(['east-s1.east', 'west-s1.west'])
            steppe.wait_for('regions', lambda: west.get('/v1/regions').json() == ['east', 'west'])
            steppe.wait_for('east by west', lambda: west.leader('east'))
            steppe.wait_for('west by east', lambda: east.leader('west'))
        if name == 'force-leave':
            west.wait_members(['east-s1.east'], status='left')
        r = steppe.Result(r.rc, r.out.replace(cluster.dir + '/', ''), r.err.replace(cluster.dir + '/', ''))
        yield name, ['nomad'] + args.format(**shown).split(), r


def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--agent', required=True)
    ap.add_argument('--cli', required=True)
    ap.add_argument('out')
    a = ap.parse_args()
    os.environ['STEPPE_TEST_AGENT'] = a.agent
    os.makedirs(a.out, exist_ok=True)
    with steppe.Cluster() as c:
        start(c)
        for i, (name, argv, result) in enumerate(play(c, a.cli)):
            text = transcript.normalise(transcript.format_result(argv, result))
            with open(os.path.join(a.out, '%02d-%s.txt' % (i + 1, name)), 'w') as f:
                f.write(text)
            print('%02d %-24s exit %d' % (i + 1, name, result.rc), flush=True)


if __name__ == '__main__':
    main()
