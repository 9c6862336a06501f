# SPDX-License-Identifier: MPL-2.0
"""
A table of requests, good and bad, over the whole API, and the little world they are asked in: one server, one
client, and jobs that run, have ended, have failed and find no place. tests/tools/record_api_cases.py records
the answers of a real Nomad; tests/integration/test_api_cases.py plays the same requests against ours.

A case is "METHOD PATH" and a body (None, text, or something for JSON). In both, $web is the id of an allocation
of job `web` ($once, $fail alike), $eval the id of its evaluation, $node the client's id, $no an id that nobody
has. "c:" before the method asks the client instead of the server. What depends on the day is taken out of
the answers by World.plain().
"""

import copy
import http.client
import itertools
import json
import re

import hcl_cases
import shape
from steppe import wait_for

NO_UUID = '12345678-1234-1234-1234-123456789abc'
UUID = re.compile(r'\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b')
TIME = re.compile(r'\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)')
META = ('X-Nomad-Index', 'X-Nomad-KnownLeader', 'X-Nomad-LastContact')

# Fields whose numbers say nothing of the request.
INDEX = re.compile(r'.*Index$|.*Time$|^Time$|^Time(Unix)?Nanos?$|^AllocatedCount$|^HeartbeatTTL$|^StatusUpdatedAt$')
# Machine, day and chance: only that they are there is compared.
MACHINE = {'Attributes', 'Links', 'Drivers', 'NodeResources', 'ReservedResources', 'ComputedClass', 'Score', 'NormScore',
           'ScoreMetaData', 'Scores', 'MemoryStats', 'CpuStats', 'ResourceUsage', 'Timestamp', 'Reserved', 'DynamicPorts',
           'Events', 'DisplayMessage', 'stats', 'config', 'Versions_', 'Gauges', 'Counters', 'Samples', 'CPU_', 'DiskStats',
           'AllocDirStats', 'Memory_', 'CPUTicksConsumed', 'Uptime', 'Points', 'Size', 'ScoreMeta', 'SecretID', 'Tags',
           'CSIControllerPlugins', 'CSINodePlugins', 'HostNetworks', 'HostVolumes', 'Server'}
# May or may not be there yet.
WHENEVER = {'DeploymentStatus', 'Pids'}

WEB = ('i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); done; echo oops >&2; mkdir "$NOMAD_TASK_DIR/sub"; '
       'echo "<html>" > "$NOMAD_TASK_DIR/page.html"; echo hidden > "$NOMAD_SECRETS_DIR/key"; : > "$NOMAD_TASK_DIR/empty"; '
       'echo ready > "$NOMAD_ALLOC_DIR/ready"; exec sleep 3600')


def task(name='t', command='/bin/sleep', args=('3600',), **kw):
    t = {'Name': name, 'Driver': 'raw_exec', 'Config': {'command': command, 'args': list(args)},
         'Resources': {'CPU': 20, 'MemoryMB': 10}, 'LogConfig': {'MaxFiles': 2, 'MaxFileSizeMB': 1}}
    t.update(kw)
    return t


def group(*tasks, **kw):
    g = {'Name': 'g', 'Count': 1, 'EphemeralDisk': {'SizeMB': 20}, 'Tasks': list(tasks) or [task()]}
    g.update(kw)
    return g


def job(job_id, *groups, **kw):
    j = {'ID': job_id, 'Name': job_id, 'Type': 'service', 'Priority': 50, 'Datacenters': ['dc1'],
         'TaskGroups': list(groups) or [group()], 'Update': {'MaxParallel': 0}}
    j.update(kw)
    return j


ONE_TRY = {'Attempts': 0, 'Mode': 'fail', 'Delay': 1000000000, 'Interval': 10000000000}
NO_MORE = {'Attempts': 0, 'Unlimited': False}


class World:
    """The region, its jobs, and the words for its ids."""

    def __init__(self, cluster):
        args = {'client_args': {'extra': 'plugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}'}}
        self.region = cluster.region('west', clients=1, **args)
        self.server, self.client = self.region.server, self.region.clients[0]
        self.ids = {'$no': NO_UUID, '$node': self.server.wait_nodes(1)[0]['ID']}
        self.run('web', job('web', group(task('t', '/bin/sh', ['-c', WEB]), Meta={'a': 'b'})), 'running')
        self.run('once', job('once', group(task('t', '/bin/true', [])), Type='batch', Update=None), 'complete')
        self.run('fail', job('fail', group(task('t', '/bin/false', []), RestartPolicy=ONE_TRY,
                                           ReschedulePolicy=NO_MORE)), 'failed')
        self.register(job('big', group(task(Resources={'CPU': 90000000, 'MemoryMB': 10}))))
        self.register(job('system', Type='system', Update=None))
        self.register(job('gone', group(Count=0)))
        assert self.server.delete('/v1/job/gone').status == 200
        wait_for('the files of web', lambda: self.client.get(
            '/v1/client/fs/cat/%s?path=alloc/ready' % self.ids['$web']).text == 'ready\n', 40)
        wait_for('all evaluations', lambda: all(
            e['Status'] in ('complete', 'blocked') for e in self.server.get('/v1/evaluations').json()), 40)
        wait_for('all allocations', lambda: self.state() == {'web': {'running'}, 'once': {'complete'},
                                                             'fail': {'failed'}, 'system': {'running'}}, 60)

    def state(self):
        out = {}
        for a in self.server.get('/v1/allocations').json():
            out.setdefault(a['JobID'], set()).add(a['ClientStatus'])
        return out

    def register(self, j):
        r = self.server.put('/v1/jobs', {'Job': j})
        assert r.status == 200, r

    def run(self, job_id, j, status):
        self.register(j)

        def look():
            found = self.server.get('/v1/job/%s/allocations' % job_id).json()
            return [a for a in found if a['ClientStatus'] == status]
        a = wait_for('job %s to be %s' % (job_id, status), look, 60)[0]
        self.ids['$' + job_id] = a['ID']
        if job_id == 'web':
            self.ids['$eval'] = a['EvalID']

    def fill(self, text):
        for k in sorted(self.ids, key=len, reverse=True):
            text = text.replace(k + ':8', self.ids[k][:8]).replace(k, self.ids[k])
        return text

    def ask(self, case):
        """The answer as it is compared: code, type of content, which of Nomad's headers, text or JSON."""
        line, body = case
        node = self.client if line.startswith('c:') else self.server
        method, path = (line[2:] if line.startswith('c:') else line).split(' ', 1)
        if body is not None:
            body = self.fill(body if isinstance(body, str) else json.dumps(body))
        try:
            r = node.request(method, self.fill(path).replace(' ', '%20'), body, timeout=40)
        except http.client.RemoteDisconnected:
            return {'request': line, 'status': 0}  # a handler that died
        out = {'request': line, 'status': r.status, 'type': r.headers['Content-Type'] or '',
               'meta': ''.join(h[8] for h in META if h in r.headers)}
        try:
            if not out['type'].startswith('application/json'):
                raise ValueError
            out['json'] = self.plain(r.json())
        except ValueError:
            out['text'] = self.text(r.text)
        return out

    def text(self, s):
        for k, v in self.ids.items():
            s = s.replace(v, k).replace(v[:8], k + ':8')
        s = re.sub(r'/[^\s"]*/data/alloc\b', 'ALLOCS', s)
        for n, word in ((self.server, 'SERVER'), (self.client, 'CLIENT')):
            s = s.replace(n.addr, word)
        s = re.sub(r'\bv1:\d+', 'CLASS', s)
        s = TIME.sub('TIME', UUID.sub('UUID', s))
        return re.sub(r'\b1\d{18}\b', 'NANOS', s)

    def plain(self, v, key=''):
        if key in WHENEVER:
            return '...'
        if key in MACHINE and v is not None and v != '':
            return '...'
        if isinstance(v, dict):
            of_node = 'ComputedClass' in v
            return {self.text(k): '...' if of_node and k == 'Resources' else self.plain(x, k) for k, x in v.items()}
        if isinstance(v, list):
            out = [self.plain(x) for x in v]
            if out and all(isinstance(x, dict) for x in out):
                out.sort(key=lambda x: json.dumps([x.get('JobID', ''), x.get('ID', ''), x.get('TriggeredBy', ''), x],
                                                  sort_keys=True) if 'Version' not in x or 'TaskGroups' not in x
                         else str(999 - x['Version']))
            elif all(isinstance(x, str) for x in out):
                out.sort()
            return out
        if isinstance(v, bool) or v is None:
            return v
        if isinstance(v, (int, float)):
            return '#' if v and INDEX.match(key) else v
        return self.text(v)


def differences(want, got):
    """Where our answer differs from the recorded one, as texts."""
    if 'text' in got:  # our texts about JSON end with the place
        got = dict(got, text=re.sub(r' \(offset \d+\)$', '', got['text']))
    out = ['%s: %r, not %r' % (k, got.get(k), want.get(k)) for k in ('status', 'type', 'meta', 'text')
           if want.get(k) != got.get(k)]
    if 'json' in want and 'json' in got:
        out += shape.differences(want['json'], got['json'])
    return out


# ---------------------------------------------------------------- the requests

# Found good by Nomad 1.1.0 or by us: validated, not run.
ACCEPTED = {'constraint distinct_hosts', 'hook none', 'template both', 'template signal', 'port no label', 'port mapped mode',
            'networks', 'network mode', 'volume type', 'dispatch payload', 'dispatch file'}


def bad_jobs():
    """name -> a job with a fault; all are validated and, but for ACCEPTED, registered."""
    def with_job(**kw):
        return job('bad', **kw)

    def with_group(**kw):
        return job('bad', group(**kw))

    def with_task(**kw):
        return job('bad', group(task(**kw)))

    def net(**kw):
        n = {'Mode': 'host'}
        n.update(kw)
        return [n]

    second = 1000000000
    out = {
        'no datacenters': with_job(Datacenters=[]), 'null datacenters': with_job(Datacenters=None),
        'empty datacenter': with_job(Datacenters=['']),
        'no groups': with_job(TaskGroups=[]), 'null groups': with_job(TaskGroups=None),
        'nothing': {'ID': 'bad'}, 'type': with_job(Type='sometimes'), 'core': with_job(Type='core'),
        'priority high': with_job(Priority=101), 'priority low': with_job(Priority=-1),
        'id space': with_job(ID='a b'), 'id null': with_job(ID='a\0b'), 'name null': with_job(Name='a\0b'),
        'namespace': with_job(Namespace='other'),
        'region': with_job(Region='nowhere'),
        'payload': with_job(Payload='aGFsbG8='),
        'constraint operand': with_job(Constraints=[{'LTarget': 'a', 'RTarget': 'b', 'Operand': '~~'}]),
        'constraint no operand': with_job(Constraints=[{'LTarget': 'a', 'RTarget': 'b', 'Operand': ''}]),
        'constraint regexp': with_job(Constraints=[{'LTarget': 'a', 'RTarget': '(', 'Operand': 'regexp'}]),
        'constraint version': with_job(Constraints=[{'LTarget': 'a', 'RTarget': '>> 1', 'Operand': 'version'}]),
        'constraint semver': with_job(Constraints=[{'LTarget': 'a', 'RTarget': '~> 1.0', 'Operand': 'semver'}]),
        'constraint set': with_job(Constraints=[{'LTarget': 'a', 'RTarget': '', 'Operand': 'set_contains'}]),
        'constraint distinct_property': with_job(Constraints=[{'Operand': 'distinct_property'}]),
        'constraint distinct_property count': with_job(
            Constraints=[{'LTarget': 'a', 'RTarget': '0', 'Operand': 'distinct_property'}]),
        'constraint distinct_hosts': with_job(Constraints=[{'LTarget': 'a', 'RTarget': 'b', 'Operand': 'distinct_hosts'}]),
        'constraint is_set': with_job(Constraints=[{'RTarget': 'b', 'Operand': 'is_set'}]),
        'constraint no left': with_job(Constraints=[{'RTarget': 'b', 'Operand': '='}]),
        'group constraint': with_group(Constraints=[{'LTarget': 'a', 'RTarget': '[', 'Operand': 'regexp'}]),
        'task constraint': with_task(Constraints=[{'LTarget': 'a', 'RTarget': '[', 'Operand': 'regexp'}]),
        'task distinct_hosts': with_task(Constraints=[{'Operand': 'distinct_hosts', 'RTarget': 'true'}]),
        'affinity operand': with_job(Affinities=[{'LTarget': 'a', 'RTarget': 'b', 'Operand': '~~', 'Weight': 1}]),
        'affinity weight': with_job(Affinities=[{'LTarget': 'a', 'RTarget': 'b', 'Operand': '=', 'Weight': 101}]),
        'affinity zero': with_job(Affinities=[{'LTarget': 'a', 'RTarget': 'b', 'Operand': '=', 'Weight': 0}]),
        'affinity system': with_job(Type='system', Update=None,
                                    Affinities=[{'LTarget': 'a', 'RTarget': 'b', 'Operand': '=', 'Weight': 1}]),
        'spread attribute': with_job(Spreads=[{'Attribute': '', 'Weight': 50}]),
        'spread weight': with_job(Spreads=[{'Attribute': 'a', 'Weight': 0}]),
        'spread weight high': with_job(Spreads=[{'Attribute': 'a', 'Weight': 101}]),
        'spread percent': with_job(Spreads=[{'Attribute': 'a', 'Weight': 50, 'SpreadTarget': [{'Value': 'x', 'Percent': 101}]}]),
        'spread percent sum': with_job(Spreads=[{'Attribute': 'a', 'Weight': 50, 'SpreadTarget': [
            {'Value': 'x', 'Percent': 60}, {'Value': 'y', 'Percent': 60}]}]),
        'spread twice': with_job(Spreads=[{'Attribute': 'a', 'Weight': 50, 'SpreadTarget': [
            {'Value': 'x', 'Percent': 10}, {'Value': 'x', 'Percent': 20}]}]),
        'spread system': with_job(Type='system', Update=None, Spreads=[{'Attribute': 'a', 'Weight': 50}]),
        'group no name': with_group(Name=''), 'group negative': with_group(Count=-1), 'group name null': with_group(Name='a\0'),
        'group twice': job('bad', group(), group()),
        'group no tasks': with_group(Tasks=[]), 'group null tasks': with_group(Tasks=None),
        'system count': job('bad', group(Count=2), Type='system', Update=None),
        'restart mode': with_group(RestartPolicy={'Attempts': 1, 'Interval': 60 * second, 'Delay': second, 'Mode': 'never'}),
        'restart interval': with_group(RestartPolicy={'Attempts': 1, 'Interval': second, 'Delay': second, 'Mode': 'fail'}),
        'restart too many': with_group(RestartPolicy={'Attempts': 10, 'Interval': 10 * second, 'Delay': 5 * second, 'Mode': 'fail'}),
        'restart ambiguous': with_group(RestartPolicy={'Attempts': 0, 'Interval': 10 * second, 'Delay': second, 'Mode': 'delay'}),
        'reschedule function': with_group(ReschedulePolicy={'Attempts': 1, 'Interval': 3600 * second, 'DelayFunction': 'x',
                                                            'Delay': 5 * second, 'Unlimited': False}),
        'reschedule delay': with_group(ReschedulePolicy={'Attempts': 1, 'Interval': 3600 * second, 'Delay': second,
                                                         'DelayFunction': 'constant', 'Unlimited': False}),
        'reschedule max delay': with_group(ReschedulePolicy={'Delay': 30 * second, 'MaxDelay': 10 * second,
                                                             'DelayFunction': 'exponential', 'Unlimited': True}),
        'reschedule attempts': with_group(ReschedulePolicy={'Attempts': 5, 'Interval': 10 * second, 'Delay': 5 * second,
                                                            'DelayFunction': 'constant', 'Unlimited': False}),
        'reschedule exponential': with_group(ReschedulePolicy={'Attempts': 9, 'Interval': 60 * second, 'Delay': 5 * second,
                                                               'MaxDelay': 50 * second, 'DelayFunction': 'exponential', 'Unlimited': False}),
        'reschedule fibonacci': with_group(ReschedulePolicy={'Attempts': 9, 'Interval': 60 * second, 'Delay': 5 * second,
                                                             'MaxDelay': 50 * second, 'DelayFunction': 'fibonacci', 'Unlimited': False}),
        'reschedule interval': with_group(ReschedulePolicy={'Attempts': 1, 'Interval': 0, 'Delay': 5 * second,
                                                            'DelayFunction': 'constant', 'Unlimited': False}),
        'reschedule system': job('bad', group(ReschedulePolicy={'Attempts': 1, 'Interval': 60 * second, 'Delay': 5 * second,
                                                                'DelayFunction': 'constant'}), Type='system', Update=None),
        'disk small': with_group(EphemeralDisk={'SizeMB': 5}),
        'disk logs': with_group(EphemeralDisk={'SizeMB': 10}, Tasks=[task(LogConfig={'MaxFiles': 10, 'MaxFileSizeMB': 10})]),
        'logs zero': with_task(LogConfig={'MaxFiles': 0, 'MaxFileSizeMB': 0}),
        'logs negative': with_task(LogConfig={'MaxFiles': -1, 'MaxFileSizeMB': -1}),
        'update batch': job('bad', group(Update={'MaxParallel': 1}), Type='batch', Update=None),
        'update negative': with_group(Update={'MaxParallel': -1}),
        'update canary': with_group(Update={'MaxParallel': 1, 'Canary': -1}),
        'update health': with_group(Update={'MaxParallel': 1, 'HealthCheck': 'maybe'}),
        'update deadlines': with_group(Update={'MaxParallel': 1, 'MinHealthyTime': 20 * second, 'HealthyDeadline': 10 * second}),
        'update progress': with_group(Update={'MaxParallel': 1, 'HealthyDeadline': 600 * second, 'ProgressDeadline': 300 * second}),
        'update min healthy': with_group(Update={'MaxParallel': 1, 'MinHealthyTime': -1}),
        'update healthy deadline': with_group(Update={'MaxParallel': 1, 'HealthyDeadline': 0}),
        'update stagger': with_job(Update={'MaxParallel': 1, 'Stagger': 0}),
        'update auto promote': with_group(Update={'MaxParallel': 1, 'AutoPromote': True, 'Canary': 0}),
        'migrate batch': job('bad', group(Migrate={'MaxParallel': 1}), Type='batch', Update=None),
        'migrate negative': with_group(Migrate={'MaxParallel': -1}),
        'migrate health': with_group(Migrate={'MaxParallel': 1, 'HealthCheck': 'maybe'}),
        'migrate times': with_group(Migrate={'MaxParallel': 1, 'MinHealthyTime': 20 * second, 'HealthyDeadline': 10 * second}),
        'task no name': with_task(name=''), 'task slash': with_task(name='a/b'), 'task backslash': with_task(name='a\\b'),
        'task null': with_task(name='a\0'),
        'task twice': with_group(Tasks=[task(), task()]), 'task no driver': with_task(Driver=''),
        'task kill timeout': with_task(KillTimeout=-1), 'task shutdown delay': with_task(ShutdownDelay=-1),
        'task cpu': with_task(Resources={'CPU': 0, 'MemoryMB': 10}), 'task memory': with_task(Resources={'CPU': 20, 'MemoryMB': 1}),
        'task memory negative': with_task(Resources={'CPU': 20, 'MemoryMB': -1}),
        'task memory max': with_task(Resources={'CPU': 20, 'MemoryMB': 100, 'MemoryMaxMB': 50}),
        'task cpu and cores': with_task(Resources={'CPU': 20, 'Cores': 2, 'MemoryMB': 10}),
        'task device': with_task(Resources={'CPU': 20, 'MemoryMB': 10, 'Devices': [{'Name': ''}]}),
        'two leaders': with_group(Tasks=[task('a', Leader=True), task('b', Leader=True)]),
        'hook': with_task(Lifecycle={'Hook': 'later'}), 'hook none': with_task(Lifecycle={'Hook': ''}),
        'template': with_task(Templates=[{'DestPath': 'a'}]),
        'template both': with_task(Templates=[{'SourcePath': 'b', 'EmbeddedTmpl': 'x', 'DestPath': 'a'}]),
        'template dest': with_task(Templates=[{'EmbeddedTmpl': 'x', 'DestPath': ''}]),
        'template escape': with_task(Templates=[{'EmbeddedTmpl': 'x', 'DestPath': '../../../x'}]),
        'template mode': with_task(Templates=[{'EmbeddedTmpl': 'x', 'DestPath': 'a', 'ChangeMode': 'shout'}]),
        'template signal': with_task(Templates=[{'EmbeddedTmpl': 'x', 'DestPath': 'a', 'ChangeMode': 'signal'}]),
        'template twice': with_task(Templates=[{'EmbeddedTmpl': 'x', 'DestPath': 'a'}, {'EmbeddedTmpl': 'y', 'DestPath': 'a'}]),
        'template perms': with_task(Templates=[{'EmbeddedTmpl': 'x', 'DestPath': 'a', 'Perms': '9'}]),
        'artifact source': with_task(Artifacts=[{'GetterSource': ''}]),
        'artifact mode': with_task(Artifacts=[{'GetterSource': 'http://x/y', 'GetterMode': 'all'}]),
        'artifact escape': with_task(Artifacts=[{'GetterSource': 'http://x/y', 'RelativeDest': '../../../..'}]),
        'artifact checksum': with_task(Artifacts=[{'GetterSource': 'http://x/y', 'GetterOptions': {'checksum': 'md5'}}]),
        'artifact sum': with_task(Artifacts=[{'GetterSource': 'http://x/y', 'GetterOptions': {'checksum': 'md5:12'}}]),
        'artifact sum type': with_task(Artifacts=[{'GetterSource': 'http://x/y', 'GetterOptions': {'checksum': 'crc:12'}}]),
        'service name': with_task(Services=[{'Name': 'a_b c'}]), 'service no name': with_task(Services=[{'Name': '*'}]),
        'service port': with_task(Services=[{'Name': 'a', 'PortLabel': 'http'}]),
        'service mode': with_task(Services=[{'Name': 'a', 'AddressMode': 'far'}]),
        'service twice': with_task(Services=[{'Name': 'a'}, {'Name': 'a'}]),
        'check type': with_task(Services=[{'Name': 'a', 'Checks': [{'Name': 'c', 'Type': 'x', 'Interval': 10 * second, 'Timeout': second}]}]),
        'check path': with_task(Services=[{'Name': 'a', 'Checks': [{'Name': 'c', 'Type': 'http', 'Interval': 10 * second, 'Timeout': second}]}]),
        'check interval': with_task(Services=[{'Name': 'a', 'Checks': [{'Name': 'c', 'Type': 'tcp', 'Interval': 1, 'Timeout': 1}]}]),
        'check script': with_task(Services=[{'Name': 'a', 'Checks': [{'Name': 'c', 'Type': 'script', 'Interval': 10 * second, 'Timeout': second}]}]),
        'port twice': with_group(Networks=net(ReservedPorts=[{'Label': 'a', 'Value': 80}, {'Label': 'b', 'Value': 80}])),
        'port label twice': with_group(Networks=net(ReservedPorts=[{'Label': 'a', 'Value': 80}], DynamicPorts=[{'Label': 'a'}])),
        'port no label': with_group(Networks=net(DynamicPorts=[{'Label': ''}])),
        'port range': with_group(Networks=net(ReservedPorts=[{'Label': 'a', 'Value': 70000}])),
        'port mapped': with_group(Networks=net(DynamicPorts=[{'Label': 'a', 'To': 70000}])),
        'port mapped mode': with_group(Networks=net(DynamicPorts=[{'Label': 'a', 'To': 80}])),
        'networks': with_group(Networks=net() + net()), 'network mode': with_group(Networks=net(Mode='a b')),
        'volume type': with_group(Volumes={'v': {'Name': 'v', 'Type': 'x', 'Source': 's'}}),
        'volume source': with_group(Volumes={'v': {'Name': 'v', 'Type': 'host', 'Source': ''}}),
        'mount': with_task(VolumeMounts=[{'Volume': 'nope', 'Destination': '/x'}]),
        'mount no volume': with_task(VolumeMounts=[{'Volume': '', 'Destination': '/x'}]),
        'mount propagation': with_task(VolumeMounts=[{'Volume': 'v', 'Destination': '/x', 'PropagationMode': 'x'}]),
        'periodic service': with_job(Periodic={'Enabled': True, 'Spec': '* * * * *', 'SpecType': 'cron'}),
        'periodic spec': with_job(Type='batch', Update=None, Periodic={'Enabled': True, 'Spec': 'often', 'SpecType': 'cron'}),
        'periodic none': with_job(Type='batch', Update=None, Periodic={'Enabled': True, 'Spec': '', 'SpecType': 'cron'}),
        'periodic type': with_job(Type='batch', Update=None, Periodic={'Enabled': True, 'Spec': '* * * * *', 'SpecType': 'x'}),
        'periodic zone': with_job(Type='batch', Update=None, Periodic={'Enabled': True, 'Spec': '* * * * *', 'SpecType': 'cron',
                                                                      'TimeZone': 'Mars/Base'}),
        'parameterized service': with_job(ParameterizedJob={'Payload': 'optional'}),
        'parameterized payload': with_job(Type='batch', Update=None, ParameterizedJob={'Payload': 'maybe'}),
        'parameterized meta': with_job(Type='batch', Update=None, ParameterizedJob={'MetaRequired': ['a'], 'MetaOptional': ['a']}),
        'dispatch payload': with_task(DispatchPayload={'File': 'x'}),
        'dispatch file': job('bad', group(task(DispatchPayload={'File': ''})), Type='batch', Update=None, ParameterizedJob={}),
        'scaling min': with_group(Scaling={'Min': -1, 'Max': 5}), 'scaling max': with_group(Scaling={'Min': 5, 'Max': 2}),
        'scaling no max': with_group(Scaling={'Min': 1}), 'scaling count': with_group(Count=9, Scaling={'Min': 1, 'Max': 5}),
        'stop after': with_group(StopAfterClientDisconnect=-1),
        'shutdown delay': with_group(ShutdownDelay=-1),
        'vault': with_task(Vault={'Policies': ['a']}), 'vault no policies': with_task(Vault={'Policies': []}),
        'connect': with_group(Services=[{'Name': 'a', 'Connect': {'SidecarService': {}}}]),
        'multiregion': with_job(Multiregion={'Regions': [{'Name': 'west'}]}),
        'many faults': job('bad', group(task(name='', Driver='', Resources={'CPU': 0, 'MemoryMB': 1}), Name='', Count=-1),
                           Type='x', Priority=500, Datacenters=[]),
    }
    return out


HCL = 'job "a" {\n  datacenters = ["dc1"]\n  group "g" {\n    task "t" {\n      driver = "raw_exec"\n    }\n  }\n}\n'


def braces(line):
    """The lines that one with {a,b} means, as in a shell."""
    parts = re.split(r'\{([^}]*)\}', line)
    return [''.join(p) for p in itertools.product(*(p.split(',') if i % 2 else [p] for i, p in enumerate(parts)))]


def cases():
    out = []

    def ask(line, body=None):
        out.append((line, body))

    def each(lines):
        for line in lines.strip().split('\n'):
            for one in braces(line):
                ask(one)

    # reading, good and bad
    each('''
GET /{,v1,v1/}
GET /v2/jobs
GET /v1/{nothing,jobs,jobs/}
{DELETE,PATCH} /v1/jobs
GET /v1/jobs?{prefix=w,prefix=zzz,namespace=other,namespace=*,index=x,index=-1,index=1,wait=5}
GET /v1/jobs?index=1&{wait=5,wait=-5s}
GET /v1/jobs?wait=1h&stale
GET /v1/jobs?{stale=maybe,per_page=x,region=nowhere,region=west}
GET /v1/job
GET /v1/job/{,web}
{POST,PATCH} /v1/job/web
GET /v1/job/web?{namespace=other,region=nowhere}
GET /v1/job/{we,nope,once,fail,big,system,gone}
GET /v1/job/web/{,nothing,summary}
GET /v1/job/{once,fail,big,nope}/summary
PUT /v1/job/web/summary
GET /v1/job/web/versions
GET /v1/job/web/versions?{diffs=true,diffs=x}
GET /v1/job/nope/versions
PUT /v1/job/web/versions
GET /v1/job/{web,once,fail,big,nope}/allocations
GET /v1/job/web/allocations?all=x
PUT /v1/job/web/allocations
GET /v1/job/{web,big,nope}/evaluations
PUT /v1/job/web/evaluations
GET /v1/job/{web,nope}/deployment
PUT /v1/job/web/deployment
GET /v1/job/web/deployments
GET /v1/job/web/deployments?all=x
GET /v1/job/nope/deployments
PUT /v1/job/web/deployments
GET /v1/job/web/{plan,evaluate,revert,stable,dispatch}
GET /v1/job/web/periodic/force
DELETE /v1/job/web/scale
GET /v1/evaluations
GET /v1/evaluations?{prefix=zz,prefix=12345678-1,prefix=12345678-1234-1234-1234-123456789abcd}
PUT /v1/evaluations
GET /v1/evaluation/{$eval,$eval:8,$no,,x}
PUT /v1/evaluation/$eval
GET /v1/evaluation/{$eval,$no,x}/allocations
PUT /v1/evaluation/$eval/allocations
GET /v1/evaluation/$eval/nothing
GET /v1/allocations
GET /v1/allocations?{prefix=$web:8,prefix=zz,prefix=1234567,resources=true,resources=x,task_states=false,task_states=x,namespace=*,namespace=other,index=x}
PUT /v1/allocations
GET /v1/allocation/{$web,$once,$fail,$web:8,$no,,zz,zz345678-1234-1234-1234-123456789abc}
GET /v1/allocation/$web/nothing
{PUT,DELETE} /v1/allocation/$web
GET /v1/allocation/$web/stop
PUT /v1/allocation/{$no,x,$web:8}/stop
GET /v1/deployments
GET /v1/deployments?prefix=zz
PUT /v1/deployments
GET /v1/deployment/{$no,x,}
PUT /v1/deployment/$no
GET /v1/deployment/allocations/{$no,x}
PUT /v1/deployment/allocations/$no
GET /v1/deployment/{fail,pause,promote,unblock,allocation-health}/$no
GET /v1/nodes
GET /v1/nodes?{prefix=$node:8,prefix=zz,prefix=1234567,resources=true,resources=x}
PUT /v1/nodes
GET /v1/node/{$node,$node:8,$no,,x}
PUT /v1/node/$node
GET /v1/node/{$node,$no,x}/allocations
PUT /v1/node/$node/allocations
GET /v1/node/$node/{nothing,evaluate,drain,eligibility,purge}
PUT /v1/node/{$no,x}/evaluate
PUT /v1/node/{$no,x,$node:8}/purge
{GET,PUT} /v1/regions
GET /v1/status/leader
GET /v1/status/leader?region=nowhere
PUT /v1/status/leader
{GET,PUT} /v1/status/peers
GET /v1/status/
GET /v1/status
{GET,PUT} /v1/agent/self
{GET,PUT} /v1/agent/members
{GET,c:GET,PUT} /v1/agent/servers
GET /v1/agent/health
GET /v1/agent/health?{type=client,type=server,type=x}
c:GET /v1/agent/health
c:GET /v1/agent/health?type=server
PUT /v1/agent/health
{GET,PUT} /v1/agent/join
c:PUT /v1/agent/join?address=127.0.0.1
{GET,PUT} /v1/agent/force-leave
{PUT,c:PUT} /v1/agent/force-leave?node=nobody
GET /v1/agent/keyring/list
PUT /v1/agent/keyring/nothing
c:GET /v1/agent/keyring/list
GET /v1/operator/raft/configuration
GET /v1/operator/raft/configuration?region=nowhere
PUT /v1/operator/raft/configuration
{GET,DELETE} /v1/operator/raft/peer
DELETE /v1/operator/raft/peer?{address=127.0.0.1:1,id=x}
DELETE /v1/operator/raft/peer?id=x&address=127.0.0.1:1
{GET,DELETE} /v1/operator/scheduler/configuration
{GET,POST} /v1/system/gc
{GET,PUT,POST} /v1/system/reconcile/summaries
GET /v1/system/nothing
GET /v1/metrics?format=prometheus
PUT /v1/metrics
GET /v1/search
GET /v1/validate/job
GET /v1/jobs/parse
c:GET /v1/jobs?prefix=w
c:GET /v1/job/nope
c:GET /v1/node/x
c:GET /v1/regions
c:GET /v1/status/leader
c:PUT /v1/node/$no/evaluate
''')
    # the client's part
    fs = ('fs/ls fs/stat fs/cat fs/readat fs/stream fs/logs').split()
    for f in fs:
        for who in ('', '$no', 'x', '$web:8', '$web'):
            ask('GET /v1/client/%s/%s' % (f, who))
            if who:
                ask('GET /v1/client/%s/%s?path=/&task=t&type=stdout&offset=0&limit=1&follow=false' % (f, who))
        ask('PUT /v1/client/%s/$web' % f)
    for path in ('/alloc', 'alloc/logs', 't', 't/local/sub', 'nope', '../..', '/../x', 'alloc/logs/t.stdout.0', 't/secrets',
                 't/secrets/key', 't/local/page.html', 't/local/empty', 'alloc/logs/t.stdout.0/x', 't/local/a b'):
        for f in fs[:2]:
            ask('GET /v1/client/%s/$web?path=%s' % (f, path))
        if path not in ('/alloc', 'alloc/logs', 't', 't/local/sub'):
            ask('GET /v1/client/fs/cat/$web?path=%s' % path)
            ask('GET /v1/client/fs/stream/$web?path=%s&follow=false' % path)
        ask('GET /v1/client/fs/readat/$web?path=%s&offset=0&limit=5' % path)
    for q in ('offset=x&limit=5', 'offset=0&limit=x', 'offset=-1&limit=5', 'offset=0&limit=-5', 'offset=0&limit=0', 'offset=1',
              'limit=1', 'offset=1000&limit=5', 'offset=7&limit=6', 'offset=0&limit=1000000'):
        ask('GET /v1/client/fs/readat/$web?path=alloc/logs/t.stdout.0&' + q)
    for q in ('offset=x', 'offset=-1', 'offset=1000', 'offset=150', 'origin=x', 'origin=end', 'origin=end&offset=5', 'origin=start&offset=5',
              'origin=end&offset=1000', 'follow=x', 'origin=end&offset=-5'):
        if 'follow' not in q:
            q += '&follow=false'
        ask('GET /v1/client/fs/stream/$web?path=alloc/logs/t.stdout.0&' + q)
        ask('GET /v1/client/fs/logs/$web?task=t&type=stdout&' + q)
        ask('GET /v1/client/fs/logs/$web?task=t&type=stdout&plain=true&' + q)
    each('''
GET /v1/client/fs/logs/$web?task=nope&type=stdout
GET /v1/client/fs/logs/$web?task=nope&type=stdout&plain=true
GET /v1/client/fs/logs/$web?{task=t,type=stdout}
GET /v1/client/fs/logs/$web?task=t&type=stdin
GET /v1/client/fs/logs/$web?task=t&type=stderr&plain=true
GET /v1/client/fs/logs/$web?task=t&type=stderr
GET /v1/client/fs/logs/$web?task=t&type=stderr&plain=x
GET /v1/client/fs/logs/$once?task=t&type=stdout&plain=true
GET /v1/client/fs/logs/$once?task=t&type=stdout
GET /v1/client/fs/nothing/$web
GET /v1/client/fs/
GET /v1/client/{fs,stats}
GET /v1/client/stats?{node_id=$no,node_id=x,node_id=$node:8}
PUT /v1/client/stats?node_id=$no
GET /v1/client/gc
GET /v1/client/gc?{node_id=$no,node_id=x}
GET /v1/client/allocation/{,$web}
GET /v1/client/allocation/$web/{nothing,stats}
GET /v1/client/allocation/$web/stats?{task=nope,task=t}
GET /v1/client/allocation/{$no,x,$web:8}/stats
PUT /v1/client/allocation/$web/stats
GET /v1/client/allocation/$web/signal
GET /v1/client/allocation/{$no,x}/gc
GET /v1/client/allocation/$web/snapshot
PUT /v1/client/allocation/$web/signal
c:GET /v1/client/fs/ls/$web?path=t/local
c:GET /v1/client/fs/ls/$no
c:GET /v1/client/fs/stat/$web
c:GET /v1/client/fs/stream/$web?path=nope
c:GET /v1/client/fs/logs/$web?task=nope&type=stdout
c:GET /v1/client/fs/logs/$web?task=t&type=stdout&plain=true
c:GET /v1/client/allocation/$web/stats?task=nope
c:GET /v1/client/gc?node_id=x
''')
    for who in ('$web', '$once', '$fail', '$no', 'x'):
        for body in ({'Signal': 'SIGCONT', 'Task': 'nope'}, {'Signal': '', 'Task': 'nope'}):
            ask('PUT /v1/client/allocation/%s/signal' % who, body)
        ask('PUT /v1/client/allocation/%s/restart' % who, {'TaskName': 'nope'})
    ask('PUT /v1/client/allocation/$web/signal', {'Signal': 'SIGCONT'})
    ask('PUT /v1/client/allocation/$web/signal', {'Signal': 'SIGCONT', 'Task': 't'})
    ask('POST /v1/client/allocation/$web/signal', {'Signal': 'SIGCONT', 'Task': 't'})
    ask('PUT /v1/client/allocation/$web/signal', {'Signal': 5})
    ask('PUT /v1/client/allocation/$web/signal', '{')
    for body in (None, {}, {'TaskName': 't'}, '{', {'TaskName': 5}):
        ask('PUT /v1/client/allocation/$once/restart', body)
    ask('PUT /v1/client/allocation/$fail/restart', {})
    ask('PUT /v1/client/allocation/$once/signal', {'Signal': 'SIGCONT'})
    ask('PUT /v1/client/allocation/$once/signal', {'Signal': 'SIGCONT', 'Task': 't'})
    ask('c:PUT /v1/client/allocation/$web/signal', {'Signal': 'SIGCONT'})
    ask('c:PUT /v1/client/allocation/$once/restart', {})

    # bodies
    for path in ('jobs', 'job/web', 'validate/job', 'jobs/parse', 'search', 'operator/scheduler/configuration', 'job/web/evaluate',
                 'node/$node/eligibility', 'node/$no/eligibility'):
        for body in (None, '', '{', '[]', '5', '"x"', 'null', '{}', '{"a":1}', '{"Job":5}', '{"Job":{"ID":5}}', 'nonsense'):
            if path == 'job/web/evaluate' and body is None:
                continue  # makes an evaluation
            if path == 'operator/scheduler/configuration' and body in ('{}', '{"a":1}', 'null', '{"Job":5}', '{"Job":{"ID":5}}'):
                continue  # takes it
            ask('PUT /v1/' + path, body)
    ask('PUT /v1/job/other', {'Job': job('web')})
    ask('PUT /v1/job/web/evaluate', {'JobID': 'other'})
    ask('PUT /v1/job/nope/evaluate', {'JobID': 'nope'})
    ask('PUT /v1/job/nope/evaluate')
    ask('PUT /v1/jobs', {'Job': {'Name': 'x'}})
    ask('PUT /v1/jobs', {'Job': {}})
    ask('PUT /v1/jobs', {'Job': None})
    for kw in ({'EnforceIndex': True, 'JobModifyIndex': 0}, {'EnforceIndex': 'x'}, {'EnforceIndex': True, 'JobModifyIndex': -1},
               {'Region': 'nowhere'}, {'Namespace': 'other'}):
        ask('PUT /v1/jobs', dict({'Job': job('web')}, **kw))
    ask('PUT /v1/jobs', {'Job': job('absent'), 'EnforceIndex': True, 'JobModifyIndex': 99})
    ask('PUT /v1/jobs?region=nowhere', {'Job': job('absent')})
    ask('PUT /v1/jobs', {'Job': job('web', Type='batch', Update=None)})
    ask('PUT /v1/jobs', {'Job': job('web', Type='system', Update=None)})
    for where, what in (('Priority', 'x'), ('Priority', 1.5), ('Datacenters', 'dc1'), ('Datacenters', [5]), ('TaskGroups', {}),
                        ('TaskGroups', [5]), ('Meta', []), ('Meta', {'a': 5}), ('AllAtOnce', 'x'), ('Update', 'x'), ('Periodic', 5),
                        ('Stop', 5), ('Type', 5), ('Constraints', [{'LTarget': 5}]), ('Payload', '***'), ('Name', [])):
        ask('PUT /v1/jobs', {'Job': job('bad', **{where: what})})
    for what in ({'Count': 'x'}, {'Count': 1.5}, {'Count': 99999999999999999999}, {'Name': 5}, {'Tasks': [5]}, {'Tasks': 'x'},
                 {'EphemeralDisk': 5}, {'RestartPolicy': {'Interval': 'x'}}, {'Networks': [{'MBits': 'x'}]}):
        ask('PUT /v1/jobs', {'Job': job('bad', group(**what))})
    for what in ({'Driver': 5}, {'Config': 5}, {'Env': {'A': 5}}, {'Env': []}, {'Resources': {'CPU': 'x'}}, {'KillTimeout': 'x'},
                 {'LogConfig': 'x'}, {'Resources': {'MemoryMB': 99999999999999999999}}, {'User': 1}, {'Leader': 'x'}):
        ask('PUT /v1/jobs', {'Job': job('bad', group(task(**what)))})
    for name, j in bad_jobs().items():
        ask('PUT /v1/validate/job', {'Job': copy.deepcopy(j)})
        if name not in ACCEPTED:
            ask('PUT /v1/jobs', {'Job': j})
    ask('PUT /v1/validate/job', {'Job': job('good')})
    ask('PUT /v1/validate/job?region=nowhere', {'Job': job('good')})
    ask('POST /v1/validate/job', {'Job': job('good')})

    # job files
    for hcl in ('', 'job', 'job "a"', 'job "a" {', 'job "a" {}', HCL, HCL.replace('}', ''), HCL + HCL, 'x = 1', '{}', 'job "a" { foo = 1 }',
                HCL.replace('driver', 'drivr'), HCL.replace('"dc1"', '5'), HCL.replace('datacenters', 'priority = "x"\n datacenters'),
                HCL.replace('"raw_exec"', '"raw_exec'), 'job "a" { group "g" {} group "g" {} }'):
        for v1 in (True, False):
            ask('PUT /v1/jobs/parse', {'JobHCL': hcl, 'hclv1': v1})
    ask('PUT /v1/jobs/parse', {'JobHCL': HCL, 'Canonicalize': True, 'hclv1': True})
    for name, hcl in hcl_cases.files().items():
        for canonical in (False, True):
            ask('PUT /v1/jobs/parse', {'JobHCL': hcl, 'Canonicalize': canonical, 'hclv1': name not in hcl_cases.ONLY_HCL2})
    ask('PUT /v1/jobs', {'Job': job('bad', Type='batch', Update=None, Periodic={
        'Enabled': True, 'Spec': '61 * * * *', 'SpecType': 'cron', 'TimeZone': 'Mars/Base'})})
    ask('PUT /v1/validate/job', {'Job': job('bad', Namespace='')})
    ask('PUT /v1/jobs/parse', {'JobHCL': 5})
    ask('POST /v1/jobs/parse', {'JobHCL': HCL, 'hclv1': True})

    # search
    for context in ('jobs', 'nodes', 'allocs', 'evals', 'deployment', 'all', '', 'nope', 'plugins', 'volumes', 'namespaces',
                    'scaling_policy', 'quotas'):
        ask('PUT /v1/search', {'Prefix': 'w', 'Context': context})
    for prefix in ('$web:8', '$web', '$node:8', '$eval:8', '$no', 'zz', '', '1234567', '12345678-'):
        ask('PUT /v1/search', {'Prefix': prefix, 'Context': 'jobs' if prefix == '' else 'all'})
    ask('PUT /v1/search', {'Prefix': 5})
    ask('POST /v1/search', {'Prefix': 'web', 'Context': 'jobs'})
    ask('PUT /v1/search?region=nowhere', {'Prefix': 'web', 'Context': 'jobs'})
    ask('PUT /v1/search?namespace=other', {'Prefix': 'web', 'Context': 'jobs'})

    # nodes
    for body in ({'Eligibility': 'maybe'}, {'Eligibility': ''}, {'Eligibility': 5}, {'NodeID': '$no', 'Eligibility': 'eligible'}):
        for node in ('$node', '$no', 'x'):
            ask('PUT /v1/node/%s/eligibility' % node, body)
    for node in ('$no', 'x', '$node:8'):
        ask('PUT /v1/node/%s/eligibility' % node, {'Eligibility': 'eligible', 'NodeID': node})

    # configuration of the scheduler
    conf = {'SchedulerAlgorithm': 'binpack', 'PreemptionConfig': {'SystemSchedulerEnabled': True}}
    where = '/v1/operator/scheduler/configuration'
    for change in ({'SchedulerAlgorithm': 'best'}, {'SchedulerAlgorithm': 5}, {'PreemptionConfig': 5},
                   {'PreemptionConfig': {'SystemSchedulerEnabled': 'x'}}, {'MemoryOversubscriptionEnabled': 5}):
        ask('PUT ' + where, dict(conf, **change))
    ask('PUT ' + where + '?cas=x', conf)
    ask('PUT ' + where + '?cas=99999', conf)
    ask('PUT ' + where + '?region=nowhere', conf)
    ask('PUT ' + where, conf)
    ask('GET ' + where)
    ask('POST ' + where, {'SchedulerAlgorithm': 'spread'})
    ask('GET ' + where)
    ask('PUT ' + where, dict(conf, MemoryOversubscriptionEnabled=True))
    ask('GET ' + where)
    ask('PUT ' + where, conf)

    # deployments: there are none
    for verb in ('fail', 'pause', 'promote', 'unblock', 'allocation-health'):
        for body in (None, {}, {'DeploymentID': '$no'}, {'DeploymentID': 'x'}):
            ask('PUT /v1/deployment/%s/$no' % verb, body)

    # what changes the world, at the end
    ask('PUT /v1/node/$node/evaluate')
    ask('PUT /v1/job/web/evaluate', {'JobID': 'web', 'EvalOptions': {'ForceReschedule': 5}})
    ask('PUT /v1/job/web/evaluate', {'JobID': 'web'})
    ask('PUT /v1/job/gone/evaluate', {'JobID': 'gone'})
    ask('DELETE /v1/job/nope')
    ask('DELETE /v1/job/nope?purge=true')
    ask('DELETE /v1/job/gone?purge=x')
    ask('DELETE /v1/job/gone?global=x')
    ask('DELETE /v1/job/gone?region=nowhere')
    ask('DELETE /v1/job/gone?namespace=other')
    ask('DELETE /v1/job/gone?purge=true')
    ask('GET /v1/job/gone')
    ask('GET /v1/job/gone/versions')
    ask('GET /v1/job/gone/summary')
    ask('PUT /v1/node/$node/eligibility', {'Eligibility': 'ineligible'})
    ask('PUT /v1/node/$node/eligibility', {'Eligibility': 'ineligible', 'NodeID': '$node'})
    ask('PUT /v1/node/$node/eligibility', {'Eligibility': 'eligible', 'NodeID': '$node'})
    ask('PUT /v1/allocation/$once/stop')
    ask('PUT /v1/allocation/$once/stop')
    ask('POST /v1/allocation/$fail/stop')
    ask('PUT /v1/job/web/evaluate', {'JobID': 'web', 'EvalOptions': {'ForceReschedule': True}})
    ask('PUT /v1/jobs', {'Job': job('huge', group(Count=1000000), Constraints=[
        {'LTarget': '${meta.x}', 'Operand': '=', 'RTarget': 'nobody'}])})
    ask('DELETE /v1/job/huge?purge=true')
    ask('PUT /v1/jobs', {'Job': job('ünïcode/with:all', group(task(), Count=0))})
    ask('GET /v1/job/%C3%BCn%C3%AFcode%2Fwith:all/summary')
    ask('DELETE /v1/job/%C3%BCn%C3%AFcode%2Fwith:all?purge=true')
    return out
