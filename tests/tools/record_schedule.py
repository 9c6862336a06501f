#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Records where a real Nomad's scheduler places jobs, and what it says about it, on two small nodes.

    STEPPE_TEST_AGENT=/opt/nomad-1.1.0 record_schedule.py tests/golden/schedule.json

tests/integration/test_schedulers.py plays the same jobs on simulated nodes of the same size and compares. What depends on
chance is left out: which of two equal nodes was taken, ports, ids, times.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import wait_for  # noqa: E402

CPU, MEMORY = 4000, 8192
# name, class, meta
NODES = [('n1', 'big', {'rack': 'r1', 'ver': '1.2.3', 'set': 'a,b,c', 'only1': 'yes', 'num': '10'}),
         ('n2', '', {'rack': 'r2', 'ver': '2.0.0-rc1', 'set': 'b', 'num': '95'})]


def task(name='t', cpu=100, memory=64, command='/bin/sleep', args=('3600',), **kw):
    t = {'Name': name, 'Driver': 'raw_exec', 'Config': {'command': command, 'args': list(args)}, 'KillTimeout': 1000000000,
         'Resources': {'CPU': cpu, 'MemoryMB': memory}, 'LogConfig': {'MaxFiles': 1, 'MaxFileSizeMB': 1}}
    t.update(kw)
    return t


def group(name='g', count=1, tasks=None, disk=20, **kw):
    g = {'Name': name, 'Count': count, 'EphemeralDisk': {'SizeMB': disk}, 'Tasks': tasks or [task()]}
    g.update(kw)
    return g


def job(*groups, **kw):
    j = {'Type': 'service', 'Datacenters': ['dc1'], 'TaskGroups': list(groups) or [group()]}
    j.update(kw)
    return j


def when(left, operand, right=''):
    return [{'LTarget': left, 'Operand': operand, 'RTarget': right}]


def weighted(left, right, weight):
    return [{'LTarget': left, 'Operand': '=', 'RTarget': right, 'Weight': weight}]


def spread(attribute, weight, **targets):
    return [{'Attribute': attribute, 'Weight': weight,
             'SpreadTarget': [{'Value': k, 'Percent': v} for k, v in targets.items()]}]


def net(fixed=(), dynamic=(), mode='host'):
    return [{'Mode': mode, 'ReservedPorts': [{'Label': k, 'Value': v} for k, v in fixed],
             'DynamicPorts': [dict(p, Label='p%d' % i) for i, p in enumerate(dynamic)]}]


def hook(name, cpu, memory, at, sidecar=False):
    return task(name, cpu, memory, '/bin/true', (), Lifecycle={'Hook': at, 'Sidecar': sidecar})


JOBS = {
    'two': job(group(count=2)),
    'three-on-one': job(group(count=3), Constraints=when('${meta.rack}', '=', 'r1')),
    'cpu': job(group(tasks=[task(cpu=5000)])),
    'cpu-in-part': job(group(count=5, tasks=[task(cpu=1500)])),
    'memory': job(group(tasks=[task(memory=9000)])),
    'disk': job(group(disk=90000000)),
    'filtered-job': job(Constraints=when('${meta.rack}', '=', 'nope')),
    'filtered-group': job(group(Constraints=when('${meta.rack}', 'regexp', '^r1$'))),
    'filtered-task': job(group(tasks=[task(Constraints=when('${meta.ver}', 'version', '> 1.5, < 3'))])),
    'semver': job(group(Constraints=when('${meta.ver}', 'semver', '>= 2.0.0-beta'))),
    'set-contains': job(group(Constraints=when('${meta.set}', 'set_contains', 'a,b'))),
    'set-contains-any': job(group(Constraints=when('${meta.set}', 'set_contains_any', 'x,b'))),
    'is-set': job(group(Constraints=when('${meta.only1}', 'is_set'))),
    'is-not-set': job(group(Constraints=when('${meta.only1}', 'is_not_set'))),
    'not-equal': job(group(Constraints=when('${meta.only1}', '!=', 'yes'))),
    'less': job(group(Constraints=when('${meta.num}', '<', '9'))),
    'unique': job(group(Constraints=when('${node.unique.name}', '=', 'nobody'))),
    'affinities': job(group(count=2, Affinities=weighted('${meta.rack}', 'r2', 70)),
                      Affinities=weighted('${node.class}', 'big', -30)),
    'spread-targets': job(group(count=4, Spreads=spread('${meta.rack}', 100, r1=75, r2=25))),
    'spread-implicit': job(group(count=4, Spreads=spread('${meta.rack}', 40, r1=50)),
                           Spreads=spread('${node.datacenter}', 60)),
    'spread-even': job(group(count=4, Spreads=spread('${meta.rack}', 50))),
    'port-fixed': job(group(count=3, Networks=net([('http', 28080)]))),
    'port-dynamic': job(group(count=2, Networks=net((), [{'To': 0}, {'To': -1}]))),
    'distinct-hosts': job(group(count=3, Constraints=when('', 'distinct_hosts', 'true'))),
    'distinct-hosts-job': job(group('a'), group('b', count=2), Constraints=when('', 'distinct_hosts', 'true')),
    'distinct-property': job(group(count=3, Constraints=when('${meta.rack}', 'distinct_property'))),
    'distinct-property-2': job(group(count=5, Constraints=when('${meta.rack}', 'distinct_property', '2'))),
    'system': job(group(), Type='system'),
    'system-filtered': job(group(Constraints=when('${meta.rack}', '=', 'r1')), Type='system'),
    'system-too-big': job(group(tasks=[task(cpu=4500)]), Type='system'),
    'batch': job(group(count=3), Type='batch'),
    'no-driver': job(group(tasks=[task(Driver='docker', Config={'image': 'x'})])),
    'no-volume': job(group(Volumes={'v': {'Name': 'v', 'Type': 'host', 'Source': 'data'}})),
    'no-device': job(group(tasks=[task(Resources={'CPU': 100, 'MemoryMB': 64, 'Devices': [{'Name': 'nvidia/gpu'}]})])),
    'no-network': job(group(Networks=net(mode='cni/foo'))),
    'no-host-network': job(group(Networks=net((), [{'HostNetwork': 'public'}]))),
    'no-datacenter': job(Datacenters=['dc9']),
    'datacenters': job(Datacenters=['dc1', 'dc9']),
    'two-groups': job(group('a', count=2), group('b', tasks=[task(cpu=300, memory=300)])),
    'two-tasks': job(group(tasks=[task('x', cpu=300), task('y', cpu=200, memory=500)])),
    'hooks': job(group(tasks=[task('main', 200, 100), hook('pre', 700, 50, 'prestart'),
                              task('side', 50, 30, Lifecycle={'Hook': 'prestart', 'Sidecar': True}),
                              hook('post', 900, 900, 'poststart'), hook('end', 20, 300, 'poststop')])),
    # operands over odd values: what is missing is an empty text for != only
    'equal-missing': job(Constraints=when('${meta.nope}', '=', 'x')),
    'not-equal-missing': job(Constraints=when('${meta.nope}', '!=', '${meta.nada}')),
    'not-equal-unknown': job(Constraints=when('${node.pool}', '!=', 'x')),
    'literals': job(Constraints=when('a', '=', 'a') + when('b', '<', 'a')),
    'target-on-the-right': job(Constraints=when('r1', '=', '${meta.rack}')),
    'datacenter': job(Constraints=when('${node.datacenter}', 'is', 'dc1')),
    'regexp-flags': job(Constraints=when('${meta.rack}', 'regexp', '(?i)^R[2-9]$')),
    'version-pre': job(Constraints=when('${meta.ver}', 'version', '>= 2.0.0-rc0')),
    'version-pessimistic': job(Constraints=when('${meta.ver}', 'version', '~> 1.2')),
    'version-missing': job(Constraints=when('${meta.nope}', 'version', '>= 0')),
    'version-of-a-word': job(Constraints=when('${meta.rack}', 'semver', '>= 0')),
    'set-contains-blanks': job(Constraints=when('${meta.set}', 'set_contains_all', ' c ,a ')),
    'greater': job(Constraints=when('${meta.num}', '>', '5')),
    'several': job(Constraints=when('${meta.num}', '>=', '10') + when('${meta.rack}', '!=', 'r1')),
    'group-against-task': job(group(Constraints=when('${meta.rack}', '=', 'r1'),
                                    tasks=[task(Constraints=when('${meta.only1}', 'is_not_set'))])),
    # scores
    'affinity-operands': job(group(count=3, Affinities=[
        dict(when('${meta.ver}', 'version', '< 2')[0], Weight=50), dict(when('${meta.set}', 'set_contains_any', 'b,x')[0], Weight=-20),
        dict(when('${meta.rack}', 'regexp', '2')[0], Weight=100)])),
    'affinity-against': job(group(count=3, Affinities=weighted('${meta.rack}', 'r1', -100))),
    'affinity-of-a-task': job(group(count=2, tasks=[task(Affinities=weighted('${meta.rack}', 'r2', 33))])),
    'affinity-to-nobody': job(group(count=2, Affinities=weighted('${meta.rack}', 'r9', 50))),
    'affinity-batch': job(group(count=3, Affinities=weighted('${meta.rack}', 'r2', 80)), Type='batch'),
    'spread-missing': job(group(count=4, Spreads=spread('${meta.only1}', 50))),
    'spread-to-nobody': job(group(count=3, Spreads=spread('${meta.rack}', 50, r9=100))),
    'spread-too-little': job(group(count=5, Spreads=spread('${meta.rack}', 50, r1=10, r2=10))),
    'spread-two': job(group(count=4, Spreads=spread('${meta.rack}', 70, r1=50)), Spreads=spread('${node.unique.name}', 30)),
    'spread-batch': job(group(count=4, Spreads=spread('${meta.rack}', 100, r1=25, r2=75)), Type='batch'),
    # who else is there
    'distinct-property-missing': job(group(count=2, Constraints=when('${meta.only1}', 'distinct_property', '3'))),
    'distinct-property-job': job(group('a', count=3), group('b', count=2),
                                 Constraints=when('${meta.rack}', 'distinct_property', '2')),
    'distinct-property-of-a-word': job(group(count=2, Constraints=when('rack', 'distinct_property'))),
    # counts
    'none': job(group(count=0)),
    'huge': job(group(count=100000, tasks=[task(cpu=1000)])),
    'all-at-once': job(group(count=10, tasks=[task(cpu=1000)]), AllAtOnce=True),
    'tasks-too-big-together': job(group(tasks=[task('x', cpu=2500), task('y', cpu=2500)])),
    'system-two-groups': job(group('a', Constraints=when('${meta.rack}', '=', 'r1')),
                             group('b', Constraints=when('${meta.rack}', '=', 'r2')), Type='system'),
    'system-datacenters': job(group(), Type='system', Datacenters=['dc1', 'dc9']),
    'system-distinct-property': job(group(Constraints=when('${node.datacenter}', 'distinct_property')), Type='system'),
    'system-nowhere': job(group(), Type='system', Datacenters=['dc9']),
}


def metric(m):
    """An AllocMetric without what depends on chance."""
    m = dict(m or {})
    m.pop('AllocationTime', None)
    m['ScoreMetaData'] = sorted(([[k, round(v, 9)] for k, v in sorted(s['Scores'].items())] + [round(s['NormScore'], 9)]
                                 for s in m.get('ScoreMetaData') or []), key=lambda x: (-x[-1], x[:-1]))
    if m.get('ResourcesExhausted'):
        m['ResourcesExhausted'] = {t: [r['CPU'], r['MemoryMB']] for t, r in m['ResourcesExhausted'].items()}
    if m.get('ClassExhausted') and m['NodesExhausted'] < len(NODES):
        m['ClassExhausted'] = {}  # of which one of two equal nodes
    distinct = [k for k in m.get('ConstraintFiltered') or {} if k.startswith('distinct_')]
    if distinct and m['NodesFiltered'] < len(NODES):
        m['ClassFiltered'], m['ConstraintFiltered'] = {}, [k.split(':')[0] for k in distinct]
    return {k: v for k, v in sorted(m.items()) if v not in (None, {}, [], 0)}


def evaluation(server, eval_id):
    def ended():
        e = server.get('/v1/evaluation/' + eval_id).json()
        return e if e['Status'] in ('complete', 'failed') else None
    return wait_for('an evaluation', ended, 45)


def allocation(a):
    r = a['AllocatedResources']
    ports = [[p['Label'], p['Value'] if p['Label'] == 'http' else 'any', p['To'] if p['To'] != p['Value'] else 'same']
             for p in r['Shared'].get('Ports') or []]
    return {'Name': a['Name'], 'Metrics': metric(a['Metrics']), 'Disk': r['Shared']['DiskMB'], 'Ports': ports,
            'Tasks': {t: [x['Cpu']['CpuShares'], x['Memory']['MemoryMB']] for t, x in sorted(r['Tasks'].items())}}


def play(server, name):
    """Runs the job to its first evaluation's end, and ends it. -> what is recorded."""
    r = server.put('/v1/jobs', {'Job': dict(JOBS[name], ID=name, Name=name)})
    assert r.status == 200, r
    e = evaluation(server, r.json()['EvalID'])
    out = {'Queued': e.get('QueuedAllocations'), 'Status': e['Status'],
           'Failed': {g: metric(m) for g, m in (e.get('FailedTGAllocs') or {}).items()}}
    if e.get('BlockedEval'):
        b = server.get('/v1/evaluation/' + e['BlockedEval']).json()
        out['Blocked'] = {'TriggeredBy': b['TriggeredBy'], 'StatusDescription': b['StatusDescription'],
                          'Escaped': b.get('EscapedComputedClass', False),
                          'Classes': sorted((b.get('ClassEligibility') or {}).values())}
    stubs = [a for a in server.get('/v1/job/%s/allocations' % name).json() if a['EvalID'] == e['ID']]
    out['Allocations'] = [allocation(server.get('/v1/allocation/' + a['ID']).json())
                          for a in sorted(stubs, key=lambda a: (a['Name'], a['CreateIndex']))]
    server.delete('/v1/job/%s?purge=true' % name)
    wait_for('%s to end' % name, lambda: all(a['ClientStatus'] in ('complete', 'failed', 'lost')
                                             for a in server.get('/v1/job/%s/allocations' % name).json()), 45)
    return json.loads(json.dumps(out))


def main():
    out = {}
    with steppe.Cluster() as c:
        s = c.region('global').server
        for i, (name, cls, meta) in enumerate(NODES):
            extra = ['  cpu_total_compute = %d' % CPU, '  memory_total_mb = %d' % MEMORY, '  node_class = "%s"' % cls,
                     '  options = { "driver.raw_exec.enable" = "1" }', '  meta {']
            extra += ['    %s = "%s"' % x for x in meta.items()] + ['  }']
            c.node(name, 'global', c.addr(1, 11 + i), server=False, client=True, servers=[s.addr],
                   client_extra='\n'.join(extra)).start()
        s.wait_nodes(len(NODES), timeout=60)
        for name in JOBS:
            print(name, flush=True)
            out[name] = play(s, name)
    with open(sys.argv[1], 'w') as f:
        json.dump(out, f, indent=1, sort_keys=True)
        f.write('\n')


if __name__ == '__main__':
    main()
