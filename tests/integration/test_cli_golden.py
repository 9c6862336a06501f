# SPDX-License-Identifier: MPL-2.0
"""The command line against a server that only plays back answers: requests and texts must be those of
the official CLI 1.1.0, byte for byte.

tests/golden/cli/NAME.txt were recorded from it:

    STEPPE_TEST_AGENT=/opt/nomad-1.1.0 STEPPE_CLI_RECORD=1 python3 -m unittest test_cli_golden
"""

import base64
import json
import os
import re
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'lib'))
import steppe  # noqa: E402
import transcript  # noqa: E402
from player import Player  # noqa: E402

RECORD = os.environ.get('STEPPE_CLI_RECORD')
FOLDER = os.path.join(steppe.GOLDEN, 'cli')
NODE_ASKED = re.compile(r'^> GET /v1/node/[0-9a-f-]+(\?.*)?\n', re.M)


class Raw(str):
    """An answer's body as it is."""


NODE = '20a225fd-541e-1994-34e1-d8ffe3421a3c'
EVAL = '0e5516f9-643b-ec0e-6c40-a849d1961910'


def api(name):
    with open(os.path.join(steppe.GOLDEN, 'api', name + '.json')) as f:
        return json.load(f)


def stub(job_id, **kw):
    return dict(api('v1_jobs')[0], ID=job_id, Name=job_id, **kw)


def member(name, region, addr, status='alive', **tags):
    m = api('v1_agent_members')['Members'][0]
    return dict(m, Name='%s.%s' % (name, region), Addr=addr, Status=status,
                Tags=dict(m['Tags'], region=region, **tags))


def members(*list_):
    return {'ServerName': 'x', 'ServerRegion': 'west', 'ServerDC': 'dc1', 'Members': list(list_)}


def diff_job():
    """A version history whose newest version changed a count, a task and a constraint."""
    field = lambda n, o, v, t='Edited', a=None: {'Type': t, 'Name': n, 'Old': o, 'New': v, 'Annotations': a}
    return {'Type': 'Edited', 'ID': 'sleeper', 'Fields': [field('Priority', '50', '60')],
            'Objects': [{'Type': 'Added', 'Name': 'Constraint', 'Objects': None, 'Fields': [
                field('LTarget', '', '${node.class}', 'Added'), field('Operand', '', '=', 'Added')]}],
            'TaskGroups': [{'Type': 'Edited', 'Name': 'g', 'Objects': None,
                            'Fields': [field('Count', '4', '5', a=['forces create'])],
                            'Tasks': [{'Type': 'Edited', 'Name': 't', 'Annotations': ['forces in-place update'],
                                       'Fields': [], 'Objects': [{'Type': 'Edited', 'Name': 'Config', 'Objects': None,
                                                                  'Fields': [field('args[0]', '1', '2')]}]}],
                            'Updates': {'create': 1, 'in-place update': 4}},
                           {'Type': 'Deleted', 'Name': 'old', 'Fields': None, 'Objects': None, 'Tasks': None,
                            'Updates': {'destroy': 1}}]}


def recorded_diff(*path):
    """A real server's answer to test_api_cases.Diffs: the first of that path."""
    with open(os.path.join(steppe.GOLDEN, 'api-cases', 'diffs.json')) as f:
        return next(c['diff'] for c in json.load(f)['cases'] if tuple(c['path']) == path)


def versions(diffs=None):
    j = api('v1_job_sleeper')
    return {'Versions': [dict(j, Version=1, Stable=True), dict(j, Version=0)], 'Diffs': diffs, 'Index': 9}


def blocked_evals():
    metric = {'NodesEvaluated': 2, 'NodesFiltered': 1, 'NodesAvailable': {'dc1': 2}, 'ClassFiltered': None,
              'ConstraintFiltered': {'${attr.kernel.name} = windows': 1}, 'NodesExhausted': 1,
              'ClassExhausted': None, 'DimensionExhausted': {'memory': 1}, 'QuotaExhausted': None,
              'CoalescedFailures': 2, 'AllocationTime': 1, 'Scores': None}
    e = api('v1_evaluation_ID')
    failed = dict(e, ID='11111111-2222-3333-4444-555555555555', FailedTGAllocs={'g': metric}, CreateIndex=20,
                  BlockedEval='66666666-2222-3333-4444-555555555555')
    blocked = dict(e, ID='66666666-2222-3333-4444-555555555555', Status='blocked', CreateIndex=21)
    return [e, failed, blocked]


ONE = members(member('w1', 'west', '127.0.1.1', id='1', build='1.1.0'))
TWO = members(member('w1', 'west', '127.0.1.1'), member('e2', 'east', '127.0.2.2', dc='dc2'),
              member('e1', 'east', '127.0.2.1', 'left'), member('n1', 'north', '::1', 'failed'))
LEADERS = {'/v1/status/leader?region=west': '127.0.1.1:4647', '/v1/status/leader?region=east': '127.0.2.2:4647',
           '/v1/status/leader?region=north': '[::1]:4647'}
SLEEPER = {'/v1/jobs?prefix=sleeper': [stub('sleeper')],
           '/v1/job/sleeper?namespace=default': api('v1_job_sleeper'),
           '/v1/job/sleeper/allocations?all=false&namespace=default': api('v1_job_sleeper_allocations'),
           '/v1/job/sleeper/allocations?all=true&namespace=default': api('v1_job_sleeper_allocations'),
           '/v1/job/sleeper/evaluations?namespace=default': api('v1_job_sleeper_evaluations'),
           '/v1/job/sleeper/deployment?namespace=default': api('v1_job_sleeper_deployment'),
           '/v1/job/sleeper/summary?namespace=default': api('v1_job_sleeper_summary')}
FAILING = dict(SLEEPER, **{'/v1/job/sleeper/evaluations?namespace=default': blocked_evals(),
                           '/v1/job/sleeper/allocations?all=false&namespace=default': [],
                           '/v1/job/sleeper/deployment?namespace=default': None})
PARAM = dict(api('v1_job_sleeper'), ID='par', Name='par', ParameterizedJob={
    'Payload': 'optional', 'MetaRequired': ['a', 'b'], 'MetaOptional': None}, Type='batch')
PERIODIC = dict(api('v1_job_sleeper'), ID='per', Name='per', Type='batch', Stop=True, Status='dead', Periodic={
    'Enabled': True, 'Spec': '0 0 1 1 *', 'SpecType': 'cron', 'ProhibitOverlap': False, 'TimeZone': 'UTC'})
SUMMARY = dict(api('v1_job_sleeper_summary'), Summary={}, Children={'Pending': 1, 'Running': 2, 'Dead': 3})
CHILDREN = {'/v1/jobs?prefix=par': [stub('par')], '/v1/job/par?namespace=default': PARAM,
            '/v1/job/par/summary?namespace=default': SUMMARY,
            '/v1/jobs?prefix=par%2Fdispatch-': [stub('par/dispatch-2', ParentID='par'),
                                                stub('par/dispatch-1', ParentID='par', Status='dead'),
                                                stub('par/dispatch-9', ParentID='other')],
            '/v1/jobs?prefix=per': [stub('per')], '/v1/job/per?namespace=default': PERIODIC,
            '/v1/job/per/summary?namespace=default': SUMMARY, '/v1/jobs?prefix=per%2Fperiodic-': []}
STATS = {'Timestamp': 1, 'Uptime': 93784, 'CPUTicksConsumed': 123.9,
         'CPU': [{'CPU': 'cpu0', 'User': 1.5, 'System': 0.25, 'Idle': 98.2},
                 {'CPU': 'cpu1', 'User': 0, 'System': 0, 'Idle': 100}],
         'Memory': {'Total': 25274793984, 'Available': 20000000000, 'Used': 5274793984, 'Free': 1023},
         'DiskStats': [{'Device': '/dev/vda', 'Mountpoint': '/', 'Size': 270553174016, 'Used': 9, 'Available': 1536,
                        'UsedPercent': 12.345, 'InodesUsedPercent': 0}]}
USAGE = {'ResourceUsage': {'CpuStats': {'TotalTicks': 12.5}, 'MemoryStats': {'RSS': 5242880}}, 'Tasks': {}}


def node(**kw):
    n = api('v1_node_ID')
    n.update(kw)
    n['Attributes'] = dict(n['Attributes'], **{'unique.storage.volume': '/dev/vda'})
    return n


def node_routes(**kw):
    allocs = api('v1_node_ID_allocations')
    routes = {'/v1/nodes?prefix=20a225fd-541e-1994-34e1-d8ffe3421a3c': [api('v1_nodes')[0]],
              '/v1/nodes?prefix=20a2': [api('v1_nodes')[0]], '/v1/nodes?prefix=20': api('v1_nodes'),
              '/v1/nodes?prefix=ff': [], '/v1/nodes': api('v1_nodes'), '/v1/agent/self': api('v1_agent_self'),
              '/v1/node/' + NODE: node(**kw), '/v1/node/%s/allocations' % NODE: allocs,
              '/v1/node/71ac3be0-3d92-0245-8d13-1633718e02d1/allocations': [],
              '/v1/client/stats?node_id=' + NODE: STATS,
              'PUT /v1/node/%s/eligibility' % NODE: {'NodeModifyIndex': 7, 'EvalIDs': None, 'Index': 7}}
    routes.update({'/v1/client/allocation/%s/stats' % a['ID']: USAGE for a in allocs})
    return routes


ALLOC = '652b7741-0730-0415-e3c9-b97619b2984a'
FILE = {'Name': 't.stdout.0', 'IsDir': False, 'Size': 30, 'FileMode': '-rw-r--r--',
        'ModTime': '2026-11-22T17:09:18.36739164Z', 'ContentType': 'text/plain; charset=utf-8'}
FOLDER_ROW = dict(FILE, Name='alloc', IsDir=True, Size=4096, FileMode='drwxrwxrwx')
TASK_USAGE = {'ResourceUsage': {'CpuStats': {'TotalTicks': 12.5, 'Percent': 1.25, 'SystemMode': 0.5, 'UserMode': 0.75,
                                             'ThrottledPeriods': 0, 'ThrottledTime': 3,
                                             'Measured': ['Throttled Time', 'User Mode', 'System Mode', 'Percent']},
                                'MemoryStats': {'RSS': 5242880, 'Cache': 1024, 'MaxUsage': 6291456,
                                                'Measured': ['RSS', 'Max Usage', 'Cache']}, 'DeviceStats': None},
              'Timestamp': 1, 'Pids': {}}
ALLOC_STATS = {'ResourceUsage': TASK_USAGE['ResourceUsage'], 'Tasks': {'t': TASK_USAGE}, 'Timestamp': 1}


def alloc(**kw):
    return dict(api('v1_allocation_ID'), **kw)


def ported():
    a = alloc(NextAllocation='7daf7c38-be4e-1016-e341-4987348ba104', ClientStatus='failed', FollowupEvalID=EVAL)
    port = {'Label': 'http', 'Value': 8080, 'To': 80, 'HostIP': '127.0.2.12'}
    a['AllocatedResources']['Shared']['Networks'] = [{'Mode': 'host', 'IP': '127.0.2.12', 'DynamicPorts': [
        {'Label': 'rpc', 'Value': 20123, 'To': 0}], 'ReservedPorts': [port]}]
    a['TaskResources']['t']['Networks'] = [{'IP': '127.0.2.12', 'DynamicPorts': [{'Label': 'a', 'Value': 1}],
                                            'ReservedPorts': [{'Label': 'b', 'Value': 2}, {'Label': 'c', 'Value': 3}]}]
    ev = {'RescheduleTime': a['ModifyTime'], 'PrevAllocID': ALLOC, 'PrevNodeID': NODE, 'Delay': 1}
    a['RescheduleTracker'] = {'Events': [ev, ev, dict(ev, RescheduleTime=1)]}
    a['Job']['TaskGroups'][0]['ReschedulePolicy'] = {'Attempts': 3, 'Interval': 3600000000000, 'Unlimited': False}
    return a


def lifecycled():
    a = alloc()
    task = a['Job']['TaskGroups'][0]['Tasks'][0]
    a['Job']['TaskGroups'][0]['Tasks'] += [
        dict(task, Name='a-init', Lifecycle={'Hook': 'prestart', 'Sidecar': False}),
        dict(task, Name='b-side', Lifecycle={'Hook': 'prestart', 'Sidecar': True})]
    for name in ('b-side', 'a-init'):
        a['TaskStates'][name] = dict(a['TaskStates']['t'], State='dead', Events=[],
                                     FinishedAt='2026-11-22T17:10:00Z', Restarts=2, LastRestart='2026-11-22T17:09:30Z')
    return a


def frames(*texts):
    return ''.join(['{}'] + [json.dumps({'Data': base64.b64encode(t.encode()).decode(), 'File': 'f', 'Offset': 1})
                             for t in texts] + ['{"FileEvent":"file truncated"}'])


def alloc_routes(whole=None, **kw):
    """The official CLI asks the node's own agent for files first: it is down here, so that it asks as we do."""
    stubs = api('v1_allocations')
    whole = whole or alloc()
    base = '/v1/client/%s/' + ALLOC
    lines = ''.join('line %d\n' % i for i in range(40))
    routes = {'/v1/allocations?prefix=652b7741': stubs[:1], '/v1/allocations?prefix=65': stubs[:2],
              '/v1/allocations?prefix=ff': [], '/v1/allocations': stubs,
              '/v1/allocation/%s?namespace=default' % ALLOC: whole,
              '/v1/node/' + NODE: node(Status='down', HTTPAddr=''),
              '/v1/client/allocation/%s/stats' % ALLOC: ALLOC_STATS,
              'PUT /v1/allocation/%s/stop' % ALLOC: {'EvalID': EVAL, 'Index': 9},
              'PUT /v1/client/allocation/%s/restart' % ALLOC: {'Index': 0},
              'PUT /v1/client/allocation/%s/signal' % ALLOC: {'Index': 0},
              '/v1/evaluation/' + EVAL: api('v1_evaluation_ID'),
              '/v1/evaluation/%s/allocations' % EVAL: [dict(api('v1_evaluation_ID_allocations')[0], CreateIndex=15)],
              base % 'fs/logs' + '?follow=false&offset=0&origin=start&task=t&type=stdout': Raw(frames('one\n', 'two\n')),
              base % 'fs/logs' + '?follow=false&offset=240&origin=end&task=t&type=stderr': Raw(frames(lines)),
              base % 'fs/logs' + '?follow=true&offset=7&origin=end&task=t&type=stdout': Raw(frames('seven\n', 'x\n')),
              base % 'fs/stat' + '?path=%2F': FOLDER_ROW,
              base % 'fs/ls' + '?path=%2F': [FOLDER_ROW, dict(FILE, Name='x', Size=1536)],
              base % 'fs/stat' + '?path=f': FILE,
              base % 'fs/cat' + '?path=f': Raw('what is in it\n'),
              base % 'fs/readat' + '?limit=-1&offset=0&path=f': Raw('1\n2\n3\n4'),
              base % 'fs/stat' + '?path=none': (500, 'open /x/none: no such file or directory')}
    routes.update(kw)
    return routes


DRAIN = {'Deadline': 3600000000000, 'IgnoreSystemJobs': True, 'ForceDeadline': '2026-11-23T08:00:00.5Z',
         'StartedAt': '2026-11-23T07:00:00Z'}
SEARCH = {'Matches': {'jobs': ['sleeper'], 'nodes': [], 'allocs': None}, 'Truncations': {}, 'Index': 1}
REGISTERED = {'EvalID': EVAL, 'EvalCreateIndex': 9, 'JobModifyIndex': 9, 'Warnings': '', 'Index': 9}
DEREGISTER = 'DELETE /v1/job/sleeper?global=%s&namespace=default&purge=%s'

DEPLOYED = api('v1_deployments')
CANARY = dict(DEPLOYED[0], ID='2a9d16aa-8aff-757d-9e24-2907e76eb59a', Status='running', StatusDescription='', TaskGroups={
    'g': dict(DEPLOYED[0]['TaskGroups']['g'], AutoRevert=True, DesiredCanaries=2), 'h': dict(
        DEPLOYED[0]['TaskGroups']['g'], ProgressDeadline=0)})
HAS_ONE = {'/v1/deployments?prefix=149d16aa': DEPLOYED, '/v1/deployment/' + DEPLOYED[0]['ID']: DEPLOYED[0]}
OF_SLEEPER = '/v1/job/sleeper/%s'

KEYRING = {'Messages': {}, 'Keys': {'aGVsbG8=': 2, 'd29ybGQ=': 2}, 'NumNodes': 2}

# name, command line, {"[METHOD ]path": answer, Raw text, or (status, text)}, standard input
CASES = [
    ('keyring-list', 'operator keyring -list', {'/v1/agent/keyring/list': KEYRING}),
    ('keyring-list-part', 'operator keyring -list', {'/v1/agent/keyring/list': dict(
        KEYRING, NumNodes=3, Messages={'e1.east': 'no keyring'})}),
    ('keyring-list-500', 'operator keyring -list', {'/v1/agent/keyring/list': (500, 'Keyring not available')}),
    ('keyring-install', 'operator keyring -install aGVsbG8=', {'PUT /v1/agent/keyring/install': KEYRING}),
    ('keyring-install-500', 'operator keyring -install x', {'PUT /v1/agent/keyring/install': (500, '1/1 nodes reported failure')}),
    ('keyring-use', 'operator keyring -use aGVsbG8=', {'PUT /v1/agent/keyring/use': KEYRING}),
    ('keyring-remove', 'operator keyring -remove aGVsbG8=', {'PUT /v1/agent/keyring/remove': KEYRING}),
    ('keyring-remove-500', 'operator keyring -remove aGVsbG8=', {'PUT /v1/agent/keyring/remove': (500, 'x')}),
    ('keyring-none', 'operator keyring', {}),
    ('keyring-two', 'operator keyring -list -use x', {}),
    ('alloc-status', 'alloc status 652b7741', alloc_routes()),
    ('alloc-status-ports', 'alloc status 652b7741', alloc_routes(ported())),
    ('alloc-status-lifecycle', 'alloc status 652b7741', alloc_routes(lifecycled())),
    ('alloc-status-stats', 'alloc status -stats 652b7741', alloc_routes()),
    ('alloc-status-verbose', 'alloc status -verbose 652b7741', alloc_routes()),
    ('alloc-status-short', 'alloc status -short 652b7741', alloc_routes(lifecycled())),
    ('alloc-status-many', 'alloc status 65', alloc_routes()),
    ('alloc-status-none', 'alloc status ff', alloc_routes()),
    ('alloc-status-letter', 'alloc status f', {}),
    ('alloc-status-args', 'alloc status', {}),
    ('alloc-status-t', 'alloc status -t {{{{.ClientStatus}}}} 652b7741', alloc_routes()),
    ('alloc-status-no-stats', 'alloc status 652b7741', alloc_routes(**{
        '/v1/client/allocation/%s/stats' % ALLOC: (404, 'No path to node')})),
    ('alloc-stop', 'alloc stop 652b7741', alloc_routes()),
    ('alloc-stop-detach', 'alloc stop -detach 652b7741', alloc_routes()),
    ('alloc-stop-args', 'alloc stop', {}),
    ('alloc-restart', 'alloc restart 652b7741 t', alloc_routes()),
    ('alloc-restart-task', 'alloc restart 652b7741 zz', alloc_routes()),
    ('alloc-restart-dead', 'alloc restart 652b7741', alloc_routes(**{
        'PUT /v1/client/allocation/%s/restart' % ALLOC: (500, '1 error occurred:\n\t* Task not running\n\n')})),
    ('alloc-signal', 'alloc signal -s SIGHUP 652b7741', alloc_routes()),
    ('alloc-signal-args', 'alloc signal', {}),
    ('alloc-logs', 'alloc logs 652b7741', alloc_routes()),
    ('alloc-logs-tail', 'alloc logs -stderr -tail -n 2 652b7741 t', alloc_routes()),
    ('alloc-logs-bytes', 'alloc logs -f -tail -c 7 -task t 652b7741', alloc_routes()),
    ('alloc-logs-both', 'alloc logs -tail -n 1 -c 7 652b7741', alloc_routes()),
    ('alloc-logs-task', 'alloc logs -task zz 652b7741', alloc_routes()),
    ('alloc-logs-tasks', 'alloc logs 652b7741', alloc_routes(lifecycled())),
    ('alloc-logs-none', 'alloc logs', {}),
    ('alloc-fs', 'alloc fs 652b7741', alloc_routes()),
    ('alloc-fs-stat', 'alloc fs -stat -H 652b7741 f', alloc_routes()),
    ('alloc-fs-cat', 'alloc fs 652b7741 f', alloc_routes()),
    ('alloc-fs-tail', 'alloc fs -tail -n 2 652b7741 f', alloc_routes()),
    ('alloc-fs-missing', 'alloc fs 652b7741 none', alloc_routes()),
    ('alloc-fs-none', 'alloc fs -job', {}),
    ('alloc-id', 'status 652b7741', dict(alloc_routes(), **{
        'PUT /v1/search': {'Matches': {'allocs': [ALLOC]}, 'Truncations': {}, 'Index': 1}})),
    ('job-run-watched', 'job run -hcl1 {job}', alloc_routes(**{
        'PUT /v1/jobs?region=east': REGISTERED, '/v1/evaluation/%s?region=east' % EVAL: api('v1_evaluation_ID'),
        '/v1/evaluation/%s/allocations?region=east' % EVAL: [
            dict(api('v1_evaluation_ID_allocations')[0], CreateIndex=15)]})),
    ('job-stop-watched', 'job stop sleeper', dict(SLEEPER, **dict(alloc_routes(), **{
        DEREGISTER % ('false', 'false'): REGISTERED}))),
    ('job-eval', 'job eval -detach -force-reschedule sleeper', {'PUT /v1/job/sleeper/evaluate': REGISTERED}),
    ('job-eval-watched', 'job eval sleeper', alloc_routes(**{'PUT /v1/job/sleeper/evaluate': REGISTERED})),
    ('job-eval-404', 'job eval sleeper', {'PUT /v1/job/sleeper/evaluate': (404, 'job not found')}),
    ('system-gc', 'system gc', {'PUT /v1/system/gc': ''}),
    ('system-gc-500', 'system gc', {'PUT /v1/system/gc': (500, 'x')}),

    ('members-one', 'server members', dict(LEADERS, **{'/v1/agent/members': ONE})),
    ('members-many', 'server members', dict(LEADERS, **{'/v1/agent/members': TWO})),
    ('members-no-leader', 'server members', dict(LEADERS, **{
        '/v1/agent/members': TWO, '/v1/status/leader?region=north': (500, 'No path to region')})),
    ('members-extra', 'server members x', {}),
    ('members-500', 'server members', {'/v1/agent/members': (500, 'oops')}),
    ('join', 'server join 127.0.2.1:4648 a/b',
     {'PUT /v1/agent/join?address=127.0.2.1%3A4648&address=a%2Fb': {'num_joined': 1, 'error': ''}}),
    ('join-failed', 'server join x', {'PUT /v1/agent/join?address=x': {'num_joined': 0, 'error': 'no route'}}),
    ('join-none', 'server join', {}),
    ('force-leave', 'server force-leave n1.north', {'PUT /v1/agent/force-leave?node=n1.north': ''}),
    ('force-leave-none', 'server force-leave', {}),
    ('force-leave-501', 'server force-leave a', {'PUT /v1/agent/force-leave?node=a': (501, 'Invalid method')}),
    ('status-none', 'status', {'/v1/jobs': []}),
    ('status-list', 'status -region=east', {'/v1/jobs?region=east': [
        stub('b', Periodic=True), stub('a', Type='system', Status='dead', Stop=True),
        stub('c', ParameterizedJob=True, SubmitTime=0)]}),
    ('status-list-all', 'job status -namespace=*', {'/v1/jobs?namespace=%2A': [stub('b'), stub('a')]}),
    ('status-no-region', 'status -region=nowhere', {'/v1/jobs?region=nowhere': (500, 'No path to region')}),
    ('status-id', 'status sleeper', dict(SLEEPER, **{'PUT /v1/search': SEARCH})),
    ('status-id-none', 'status zz', {'PUT /v1/search': {'Matches': {'jobs': None}}}),
    ('status-id-many', 'status sl', {'PUT /v1/search': {'Matches': {'jobs': ['sl1', 'sl2']}}}),
    ('status-id-region', 'status -region=east zz', {'PUT /v1/search?region=east': (500, 'No path to region')}),
    ('job-status', 'job status sleeper', SLEEPER),
    ('job-status-verbose', 'job status -verbose sleeper', SLEEPER),
    ('job-status-evals', 'job status -evals -all-allocs sleeper', SLEEPER),
    ('job-status-short', 'job status -short sleeper', SLEEPER),
    ('job-status-failing', 'job status sleeper', FAILING),
    ('job-status-none', 'job status x"y', {'/v1/jobs?prefix=x%22y': []}),
    ('job-status-many', 'job status s', {'/v1/jobs?prefix=s': [stub('s2'), stub('s1')]}),
    ('job-status-404', 'job status a/b', {'/v1/jobs?prefix=a%2Fb': [stub('a/b')],
                                          '/v1/job/a%2Fb?namespace=default': (404, 'job not found')}),
    ('job-status-two', 'job status a b', {}),
    ('job-status-parameterized', 'job status par', CHILDREN),
    ('job-status-periodic', 'job status per', CHILDREN),
    ('job-run', 'job run -hcl1 -detach {job}', {'PUT /v1/jobs?region=east': REGISTERED}),
    ('job-run-index', 'job run -hcl1 -detach -check-index 3 -preserve-counts -policy-override {job}',
     {'PUT /v1/jobs?region=east': (500, 'Enforcing job modify index 3: job does not exist')}),
    ('job-run-bad-index', 'job run -hcl1 -detach -check-index x {job}', {}),
    ('job-run-warnings', 'job run -hcl1 -detach -region=west {job}',
     {'PUT /v1/jobs?region=east': dict(REGISTERED, Warnings='1 warning(s):\n\n* careful')}),
    ('job-run-invalid', 'job run -hcl1 -detach {job}',
     {'PUT /v1/jobs?region=east': (500, '1 error occurred:\n\t* Missing job datacenters\n\n')}),
    ('job-run-none', 'job run', {}),
    ('job-run-output', 'job run -hcl1 -output {job}', {}),
    ('job-run-missing', 'job run /nonexistent/x.nomad', {}),
    ('job-validate', 'job validate -hcl1 {job}', {'PUT /v1/validate/job?region=east': {
        'DriverConfigValidated': True, 'ValidationErrors': None, 'Error': '', 'Warnings': ''}}),
    ('job-validate-bad', 'job validate -hcl1 {job}', {'PUT /v1/validate/job?region=east': {
        'DriverConfigValidated': True, 'ValidationErrors': ['x'], 'Error': '1 error occurred:\n\t* x\n\n'}}),
    ('job-validate-alone', 'job validate -hcl1 {invalid}', {'PUT /v1/validate/job': (500, 'no')}),
    ('job-stop', 'job stop -detach sleeper', dict(SLEEPER, **{DEREGISTER % ('false', 'false'): REGISTERED})),
    ('job-stop-purge', 'job stop -detach -purge -global -yes sleeper',
     dict(SLEEPER, **{DEREGISTER % ('true', 'true'): REGISTERED})),
    ('job-stop-no', 'job stop -detach sleep', dict(SLEEPER, **{'/v1/jobs?prefix=sleep': [stub('sleeper')]}), 'n\n'),
    ('job-stop-empty', 'job stop -detach sleep', dict(SLEEPER, **{'/v1/jobs?prefix=sleep': [stub('sleeper')]}), '\n'),
    ('job-stop-yes', 'job stop -detach sleep', dict(SLEEPER, **{
        '/v1/jobs?prefix=sleep': [stub('sleeper')], DEREGISTER % ('false', 'false'): REGISTERED}), 'y\n'),
    ('job-stop-yess', 'job stop -detach sleep', dict(SLEEPER, **{'/v1/jobs?prefix=sleep': [stub('sleeper')]}), 'yes\n'),
    ('job-stop-periodic', 'job stop sleeper', dict(SLEEPER, **{
        DEREGISTER % ('false', 'false'): dict(REGISTERED, EvalID='')})),
    ('job-stop-none', 'job stop', {}),
    ('job-inspect', 'job inspect sleeper', SLEEPER),
    ('job-inspect-t', 'job inspect -t {{{{.ID}}}}:{{{{.Priority}}}} sleeper', SLEEPER),
    ('job-inspect-version', 'job inspect -version 7 sleeper', dict(SLEEPER, **{
        '/v1/job/sleeper/versions?diffs=false&namespace=default': versions()})),
    ('job-history', 'job history sleeper', dict(SLEEPER, **{
        '/v1/job/sleeper/versions?diffs=false&namespace=default': versions()})),
    ('job-history-p', 'job history -p sleeper', dict(SLEEPER, **{
        '/v1/job/sleeper/versions?diffs=true&namespace=default': versions([diff_job()])})),
    ('job-history-p-task', 'job history -p sleeper', dict(SLEEPER, **{'/v1/job/sleeper/versions?diffs=true&namespace=default': versions(
        [recorded_diff('TaskGroups', 0, 'Tasks', 0, 'Name')])})),
    ('job-history-p-service', 'job history -p sleeper', dict(SLEEPER, **{'/v1/job/sleeper/versions?diffs=true&namespace=default': versions(
        [recorded_diff('TaskGroups', 0, 'Services', 0, 'Checks', 0, 'Header')])})),
    ('job-history-p-config', 'job history -p sleeper', dict(SLEEPER, **{'/v1/job/sleeper/versions?diffs=true&namespace=default': versions(
        [recorded_diff('TaskGroups', 0, 'Tasks', 0, 'Config')])})),
    ('job-history-p-resources', 'job history -p sleeper', dict(SLEEPER, **{'/v1/job/sleeper/versions?diffs=true&namespace=default': versions(
        [recorded_diff('TaskGroups', 0, 'Tasks', 0, 'Resources', 'Devices')])})),
    ('job-history-p-volume', 'job history -p sleeper', dict(SLEEPER, **{'/v1/job/sleeper/versions?diffs=true&namespace=default': versions(
        [recorded_diff('TaskGroups', 0, 'Volumes', 'w')])})),
    ('job-history-one', 'job history -version 0 sleeper', dict(SLEEPER, **{
        '/v1/job/sleeper/versions?diffs=false&namespace=default': versions()})),
    ('job-history-exclusive', 'job history -json -p sleeper', {}),
    ('node-list', 'node status', node_routes()),
    ('node-list-verbose', 'node status -verbose -allocs', node_routes()),
    ('node-list-none', 'node status', {'/v1/nodes': []}),
    ('node-one', 'node status ' + NODE, node_routes()),
    ('node-verbose', 'node status -verbose ' + NODE, node_routes()),
    ('node-short', 'node status -short 20a22', node_routes()),
    ('node-stats', 'node status -stats ' + NODE, node_routes(DrainStrategy=DRAIN, Drain=True)),
    ('node-no-stats', 'node status ' + NODE, dict(node_routes(), **{
        '/v1/client/stats?node_id=' + NODE: (404, 'No path to node')})),
    ('node-t', 'node status -t {{{{range.}}}}{{{{.Name}}}},{{{{end}}}}', node_routes()),
    ('node-many', 'node status 20', node_routes()),
    ('node-none', 'node status ff', node_routes()),
    ('node-one-letter', 'node status a', node_routes()),
    ('node-self-server', 'node status -self', node_routes()),
    ('eligibility', 'node eligibility -disable ' + NODE, node_routes()),
    ('eligibility-none', 'node eligibility ' + NODE, node_routes()),
    ('eligibility-no-node', 'node eligibility -enable', node_routes()),
    ('agent-info', 'agent-info', {'/v1/agent/self': api('v1_agent_self')}),
    ('agent-info-500', 'agent-info', {'/v1/agent/self': (500, 'x')}),
    ('agent-info-both', 'agent-info -json -t x', {'/v1/agent/self': api('v1_agent_self')}),
    ('raft-list', 'operator raft list-peers', {
        '/v1/operator/raft/configuration': api('v1_operator_raft_configuration')}),
    ('raft-list-stale', 'operator raft list-peers -stale', {
        '/v1/operator/raft/configuration?stale=': api('v1_operator_raft_configuration')}),
    ('raft-list-500', 'operator raft list-peers', {'/v1/operator/raft/configuration': (500, 'No cluster leader')}),
    ('raft-remove', 'operator raft remove-peer -peer-address=127.0.1.9:4647', {
        'DELETE /v1/operator/raft/peer?address=127.0.1.9%3A4647': ''}),
    ('raft-remove-id', 'operator raft remove-peer -peer-id a', {
        'DELETE /v1/operator/raft/peer?id=a': (500, 'id "a" was not found in the Raft configuration')}),
    ('raft-remove-none', 'operator raft remove-peer', {}),
    ('eval-status', 'eval status 0e5516f9', {
        '/v1/evaluations?prefix=0e5516f9': [api('v1_evaluation_ID')], '/v1/evaluation/' + EVAL: api('v1_evaluation_ID')}),
    ('eval-status-failed', 'eval status -verbose ' + EVAL, {
        '/v1/evaluations?prefix=' + EVAL: [api('v1_evaluation_ID')], '/v1/evaluation/' + EVAL: blocked_evals()[1]}),
    ('eval-monitor', 'eval status -monitor ' + EVAL, {
        '/v1/evaluations?prefix=' + EVAL: [api('v1_evaluation_ID')], '/v1/evaluation/' + EVAL: api('v1_evaluation_ID'),
        '/v1/evaluation/%s/allocations' % EVAL: [dict(api('v1_evaluation_ID_allocations')[0], CreateIndex=15)]}),
    ('eval-monitor-failed', 'eval status -monitor -verbose ' + EVAL, {
        '/v1/evaluations?prefix=' + EVAL: [api('v1_evaluation_ID')],
        '/v1/evaluation/' + EVAL: dict(blocked_evals()[1], NextEval=EVAL[:-1] + '1', Wait=1500000),
        '/v1/evaluation/11111111-2222-3333-4444-555555555555/allocations': [
            dict(api('v1_evaluation_ID_allocations')[0], CreateIndex=15)],
        '/v1/evaluation/%s/allocations' % EVAL: [dict(api('v1_evaluation_ID_allocations')[0], CreateIndex=15)]}),
    ('eval-monitor-404', 'eval status -monitor ' + EVAL, {
        '/v1/evaluations?prefix=' + EVAL: [api('v1_evaluation_ID')], '/v1/evaluation/' + EVAL: (404, 'eval not found')}),
    ('deployment-list', 'deployment list', {'/v1/deployments': DEPLOYED + [CANARY]}),
    ('deployment-list-none', 'deployment list -region=east', {'/v1/deployments?region=east': []}),
    ('deployment-list-verbose', 'deployment list -verbose', {'/v1/deployments': DEPLOYED}),
    ('deployment-list-500', 'deployment list', {'/v1/deployments': (500, 'No path to region')}),
    ('deployment-list-t', 'deployment list -t {{{{range.}}}}{{{{.Status}}}};{{{{end}}}}', {'/v1/deployments': DEPLOYED}),
    ('deployment-list-args', 'deployment list x', {}),
    ('deployment-status', 'deployment status 149d16aa', HAS_ONE),
    ('deployment-status-verbose', 'deployment status -verbose 149d16aa8', HAS_ONE),
    ('deployment-status-id', 'deployment status ' + DEPLOYED[0]['ID'], HAS_ONE),
    ('deployment-status-canary', 'deployment status 2a', {'/v1/deployments?prefix=2a': [CANARY]}),
    ('deployment-status-many', 'deployment status 14', {'/v1/deployments?prefix=14': DEPLOYED + [CANARY]}),
    ('deployment-status-zz', 'deployment status ff', {'/v1/deployments?prefix=ff': []}),
    ('deployment-status-letter', 'deployment status f', {}),
    ('deployment-status-none', 'deployment status', {'/v1/deployments': DEPLOYED}),
    ('deployment-status-t', 'deployment status -t {{{{.Status}}}} 149d16aa', HAS_ONE),
    ('deployment-status-both', 'deployment status -json -t x 149d16aa', HAS_ONE),
    ('deployment-status-args', 'deployment status a b', {}),
    ('job-deployments', 'job deployments sleeper', dict(SLEEPER, **{
        OF_SLEEPER % 'deployments?all=false': DEPLOYED, OF_SLEEPER % 'deployments?all=false&namespace=default': DEPLOYED})),
    ('job-deployments-all', 'job deployments -all -verbose sleeper', dict(SLEEPER, **{
        OF_SLEEPER % 'deployments?all=true': DEPLOYED, OF_SLEEPER % 'deployments?all=true&namespace=default': DEPLOYED})),
    ('job-deployments-latest', 'job deployments -latest sleeper', dict(SLEEPER, **{
        OF_SLEEPER % 'deployment': DEPLOYED[0], OF_SLEEPER % 'deployment?namespace=default': DEPLOYED[0]})),
    ('job-deployments-latest-none', 'job deployments -latest sleeper', dict(SLEEPER, **{
        OF_SLEEPER % 'deployment': None, OF_SLEEPER % 'deployment?namespace=default': None})),
    ('job-deployments-none', 'job deployments sleeper', dict(SLEEPER, **{
        OF_SLEEPER % 'deployments?all=false': [], OF_SLEEPER % 'deployments?all=false&namespace=default': []})),
    ('job-deployments-500', 'job deployments sleeper', SLEEPER),
    ('job-deployments-zz', 'job deployments zz', {'/v1/jobs?prefix=zz': []}),
    ('job-deployments-args', 'job deployments', {}),
    ('node-config', 'node config -servers', {'/v1/agent/servers': ['127.0.2.1:4647', '127.0.2.2:4647']}),
    ('node-config-501', 'node config -servers', {'/v1/agent/servers': (501, 'Invalid method')}),
    ('node-config-none', 'node config', {}),
    ('node-config-update', 'node config -update-servers a:4647 b', {'PUT /v1/agent/servers?address=a%3A4647&address=b': ''}),
    ('node-config-update-400', 'node config -update-servers a', {'PUT /v1/agent/servers?address=a': (400, 'no')}),
    ('node-config-update-none', 'node config -update-servers', {}),
    ('reconcile', 'system reconcile summaries', {'PUT /v1/system/reconcile/summaries': ''}),
    ('reconcile-500', 'system reconcile summaries', {'PUT /v1/system/reconcile/summaries': (500, 'no')}),
    ('eval-json', 'eval status -json 0e5516f9', {
        '/v1/evaluations?prefix=0e5516f9': [api('v1_evaluation_ID')], '/v1/evaluation/' + EVAL: api('v1_evaluation_ID')}),
    ('eval-list-json', 'eval status -json', {'/v1/evaluations': blocked_evals()}),
    ('eval-t', 'eval status -t {{{{.StatusDescription}}}}|{{{{.NextEval}}}} 0e5516f9', {
        '/v1/evaluations?prefix=0e5516f9': [api('v1_evaluation_ID')], '/v1/evaluation/' + EVAL: api('v1_evaluation_ID')}),
    ('alloc-status-empty-t', 'alloc status -t {{{{.DesiredDescription}}}}|{{{{.NextAllocation}}}} 652b7741', alloc_routes()),
    ('job-run-folder', 'job run -hcl1 {folder}', {}),
    ('job-run-url', 'job run -hcl1 -detach {url}/demo.nomad?x=y', {
        '/demo.nomad?x=y': Raw(steppe.job_hcl('demo', 'east')), 'PUT /v1/jobs?region=east': REGISTERED}),
    ('job-run-url-404', 'job run -hcl1 {url}/demo.nomad', {'/demo.nomad': (404, 'no')}),
    ('job-run-url-refused', 'job run -hcl1 http://127.0.0.1:1/demo.nomad', {}),
    ('bad-ca-cert', 'status -ca-cert=/nonexistent.pem', {}),
    ('bad-ca-path', 'status -ca-path=/nonexistent', {}),
    ('bad-ca-file', 'node status -ca-cert={job}', {}),
    ('bad-client-cert', 'status -client-cert=/nonexistent.pem -client-key=/nonexistent.key', {}),
    ('bad-client-half', 'job status -client-cert={job}', {}),
    ('bad-client-pem', 'job status -client-cert={job} -client-key={job}', {}),
    ('bad-address', 'status -address=127.0.0.1:4646', {}),
    ('bad-scheme', 'node status -address=localhost:4646', {}),
    ('refused', 'job status -address=http://127.0.0.1:1 -region=a/b x', {}),
    ('json-and-t', 'eval status -json -t x', {'/v1/evaluations': []}),
]


def by_table(routes):
    """Answers of a table {"METHOD PATH", or of GET "PATH": value or (status, text)}."""
    def answer(handler, body):
        key = handler.path if handler.command == 'GET' else '%s %s' % (handler.command, handler.path)
        reply = routes.get(key, (599, 'not expected: ' + key))
        status, text = reply if isinstance(reply, tuple) else (200, reply)
        raw = isinstance(text, Raw) or (isinstance(text, str) and (status != 200 or not text))
        return status, {'Content-Type': 'application/json'}, (text if raw else json.dumps(text)).encode()
    return answer


def requests_text(asked):
    """What was asked, one line each; queries of leaders may come in any order."""
    lines = []
    for method, path, headers, body in asked:
        if 'User-Agent' in headers:
            lines.append('> %s %s' % (method, path))
        if body:
            lines.append('> ' + json.dumps(json.loads(body), sort_keys=True))
    leaders = sorted(x for x in lines if '/v1/status/leader' in x)
    return '\n'.join([x for x in lines if '/v1/status/leader' not in x] + leaders)


class CliGolden(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix='st-cli-')
        cls.addClassCleanup(folder.cleanup)
        cls.job = os.path.join(folder.name, 'demo.nomad')
        with open(cls.job, 'w') as f:
            f.write(steppe.job_hcl('demo', 'east'))
        cls.invalid = os.path.join(folder.name, 'invalid.nomad')
        with open(cls.invalid, 'w') as f:
            f.write('job "x" {\n  type = "foo"\n  group "g" {\n    count = -1\n  }\n}\n')

    def run_case(self, name, command, routes, stdin=None):
        with Player(by_table(routes)) as p:
            env = steppe.cli_env('127.0.0.1')
            env['NOMAD_ADDR'] = env['STEPPE_ADDR'] = p.url
            argv = [x.format(job=self.job, invalid=self.invalid, folder=os.path.dirname(self.job), url=p.url)
                    for x in command.split()]
            r = steppe.run([steppe.agent_binary()[0]] + argv, env=env, stdin=stdin)
            r = steppe.Result(r.rc, r.out.replace(p.url, 'URL'), r.err.replace(p.url, 'URL'))
            asked = requests_text(p.asked)
        if name.startswith('alloc-'):  # we need not know whether the node answers by itself
            asked = NODE_ASKED.sub('', asked + '\n').rstrip('\n')
        for path, word in ((self.job, 'demo.nomad'), (os.path.dirname(self.job), 'FOLDER')):
            r = steppe.Result(r.rc, r.out.replace(path, word), r.err.replace(path, word))
        if '-json' in command and r.rc == 0:  # members of maps come in any order
            r = steppe.Result(r.rc, json.dumps(json.loads(r.out), indent=1, sort_keys=True), r.err)
        shown = command.format(job='demo.nomad', invalid='invalid.nomad', folder='FOLDER', url='URL')
        text = transcript.format_result(['steppe'] + shown.split(), r) + asked + '\n'
        text = transcript.AGO.sub('<ago>', text).replace("try 'nomad ", "try 'steppe ")
        self.compare(os.path.join(FOLDER, name + '.txt'), text)

    def compare(self, path, got):
        if RECORD:
            os.makedirs(FOLDER, exist_ok=True)
            with open(path, 'w') as f:
                f.write(got)
            return
        with open(path) as f:
            want = f.read()
        self.assertEqual(squash_ago(got), squash_ago(want), '%s differs (-got +want)' % os.path.basename(path))


def squash_ago(text):
    """A column of ages is as wide as its widest one."""
    return re.sub(r' *<ago> *', ' <ago> ', re.sub(r'(Created|Modified) +', r'\1 ', text))


def add_case(case):
    def test(self):
        self.run_case(*case)
    setattr(CliGolden, 'test_' + case[0].replace('-', '_'), test)


for one in CASES:
    add_case(one)

if __name__ == '__main__':
    unittest.main()
