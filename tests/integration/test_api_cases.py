# SPDX-License-Identifier: MPL-2.0
"""A thousand requests, most of them bad, against what a real Nomad 1.1.0 answered in the same state
(tests/lib/api_cases.py, tests/golden/api-cases). Where we differ on purpose, DIFFERENT says why."""

import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import api_cases  # noqa: E402
import hcl_cases  # noqa: E402
import steppe  # noqa: E402

# Which requests (with their bodies), which differences, and why. An entry that is no longer needed fails the test.
DIFFERENT = [
    # texts about JSON
    (r'PUT /v1/(validate/job|search|job/web/evaluate|node/.*/eligibility) (\[\]|5|"x"|\{"Job": ?5\}|\{"Prefix": 5\}|\{"Eligibility": 5\})$',
     r'text: .json: cannot unmarshal', 'our messages have other names'),
    (r'PUT /v1/client/allocation/\$once/restart .*5', r'text: .json: cannot unmarshal', 'there Nomad\'s has none'),
    (r'PUT /v1/jobs .*"(Interval|KillTimeout)": "x"', r'text: .*int64.*not .*time\.Duration', 'durations are numbers of ns here'),
    (r'PUT .*scheduler/configuration .*"SchedulerAlgorithm": 5', r'text: .*of type string', 'it is a string here'),
    (r'PUT /v1/jobs .*\*\*\*', r'text: .Job.Payload: illegal base64', 'ours says which field'),
    (r'PUT /v1/jobs/parse null', r'.*', 'Nomad dies of it'),
    (r'PUT .*\\u0000', r'(status|type|text): ', 'no string of ours holds the null character: refused as it is read'),
    # what we are
    (r'GET /v1/(nodes|node)', r'.*\.Version: |\.Meta: None', 'our version; no defaults for Consul Connect'),
    (r'GET /v1/agent/(self|members)', r'.*RTTMs is too much', 'round trips are shown'),
    (r'GET /v1/operator/raft/configuration', r'\.(Index|Servers\[0\]\.(ID|Node|RaftProtocol)): ',
     'servers have ids of their own, as from Raft protocol 3 on, and are known in gossip a little later'),
    (r'GET /v1/operator/scheduler/configuration', r'\..*Index: 0', 'nothing is stored before somebody sets it'),
    (r'PUT /v1/search .*"namespaces"', r'\.Index: 0', 'there is one namespace only'),
    (r'c:GET /v1/jobs\?prefix=w', r'\[0\]\.JobSummary\.Children', 'lost on the way through a client in Nomad'),
    (r'c:GET /v1/client/(fs/ls/\$no|gc\?node_id=x)', r'text: ', 'clients put no mark before errors of servers'),
    (r'PUT /v1/node/\$node/(evaluate|eligibility)', r'\.(LeaderRPCAddr|NodeModifyIndex|NumNodes|Servers)',
     'the list of servers is for clients'),
    # files
    (r'GET /v1/client/fs/ls/', r': \d elements|\[\d\]\.', 'no pipes for logs and no executor.out in the folders'),
    (r'GET /v1/client/fs/stat/\$web\?path=t/secrets$', r'\.FileMode', 'secrets are the user\'s only, and no file system of their own'),
    (r'GET /v1/client/fs/readat/.*page.html', r'type: ', 'nothing that looks like a page is sniffed'),
    (r'GET /v1/client/fs/stream/', r"type: 'text/plain; charset=utf-8', not ''", 'an empty answer has its type too'),
    (r'GET /v1/client/fs/stream/.*[?&]offset=-1', r'text: ', 'Nomad prints the offset as a letter'),
    (r'GET /v1/client/fs/readat/.*offset=-1', r'(status|text): ', 'there its error comes as the content of the file'),
    # what there is not, or not yet
    (r'GET /v1/client/allocation/\$web/snapshot', r'(status|text): ', 'disks do not move between nodes yet'),
    (r'PUT /v1/jobs/parse .*"hclv1": false', r'(status|type|text): ', 'job files are read by HCL 1 rules'),
    (r'PUT /v1/deployment/', r'(status|text): ', 'what changes deployments is not there yet'),
]


def golden():
    with open(os.path.join(steppe.GOLDEN, 'api-cases', '1.1.0.json')) as f:
        return json.load(f)


class Faults(steppe.TestCase):
    """Jobs with one strange value each; what validation says of them (tests/tools/record_job_faults.py)."""

    def test_all(self):
        with open(os.path.join(steppe.GOLDEN, 'api-cases', 'faults.json')) as f:
            golden = json.load(f)
        server, failed = self.cluster.region('west').server, []
        for c in golden['cases']:
            r = server.put('/v1/validate/job', {'Job': hcl_cases.changed(golden['jobs'][c['job']], c['path'], c['value'])})
            if r.status != 200 or r.json() != c['answer']:
                failed.append('%s %s = %r\n      %.600s\n not %.600s' % (c['job'], c['path'], c['value'], r.text, json.dumps(c['answer'])))
        self.assertEqual(failed, [], '%d differences:\n%s' % (len(failed), '\n'.join(failed[:50])))


class Diffs(steppe.TestCase):
    """What changed between versions of a job (tests/tools/record_job_diffs.py)."""

    def test_all(self):
        with open(os.path.join(steppe.GOLDEN, 'api-cases', 'diffs.json')) as f:
            golden = json.load(f)
        server, failed, there = self.cluster.region('west').server, [], set()
        for c in golden['cases']:
            job = golden['jobs'][c['job']]
            jobs = [hcl_cases.changed(job, c['path'], c['value']), job]
            for j in jobs if c['job'] in there else [job, dict(job, Priority=1), job] + jobs:
                self.assertEqual(server.put('/v1/jobs', {'Job': j}).status, 200, c['path'])
            there.add(c['job'])
            got = server.get('/v1/job/%s/versions?diffs=true' % job['ID']).json()['Diffs'][1]
            if got != c['diff']:
                failed.append('%s %s = %r\n      %s\n not %s' % (c['job'], c['path'], c['value'], got, c['diff']))
        self.assertEqual(failed, [], '%d differences:\n%s' % (len(failed), '\n'.join(failed[:20])))


class Cases(steppe.TestCase):
    def test_all(self):
        world = api_cases.World(self.cluster)
        used, failed = set(), []
        wanted, cases = golden(), api_cases.cases()
        self.assertEqual([w['request'] for w in wanted], [c[0] for c in cases], 'the golden is of another table')
        for want, case in zip(wanted, cases):
            body = case[1] if isinstance(case[1], str) else '' if case[1] is None else json.dumps(case[1])
            line = ('%s %s' % (case[0], body)).rstrip()
            for d in api_cases.differences(want, world.ask(case)):
                why = [i for i, (r, what, _) in enumerate(DIFFERENT) if re.match(r, line) and re.match(what, d)]
                used.update(why)
                if not why:
                    failed.append('%.300s\n      %.600s' % (line, d))
        self.assertEqual(failed, [], '%d differences:\n%s' % (len(failed), '\n'.join(failed[:50])))
        if steppe.is_nomad():
            return
        self.assertEqual([DIFFERENT[i] for i in range(len(DIFFERENT)) if i not in used], [], 'no longer needed')


if __name__ == '__main__':
    unittest.main()
