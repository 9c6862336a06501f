#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Records what a real Nomad shows of the difference between two versions of a job: the jobs hcl_cases.RICH with each of
their values, one after the other, replaced; of each field one or two.

    STEPPE_TEST_AGENT=/opt/nomad-1.1.0 record_job_diffs.py tests/golden/api-cases/diffs.json
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import hcl_cases  # noqa: E402
import steppe  # noqa: E402

# Set by servers, or what makes another job of it.
SKIP = {'ID', 'Region', 'Namespace', 'Status', 'StatusDescription', 'Stable', 'Version', 'SubmitTime', 'CreateIndex', 'ModifyIndex',
        'JobModifyIndex', 'NomadTokenID', 'ParentID', 'Payload', 'Vault'}
OBJECTS = {'Meta': {'new': 'm'}, 'Env': {'NEW': ''}, 'Config': {'x': None, 'y': {'z': [1, 1e21, 0.00001]}}, 'GetterHeaders': {'a': 'b'},
           'CheckRestart': {'Limit': 2}, 'DNS': {'Searches': ['a', 'b']}, 'Header': {'X': ['y']}, 'CSIPluginConfig': {'ID': 'p', 'Type': 'node'},
           'ParameterizedJob': {}, 'CanaryMeta': {'c': 'd'}, 'StopAfterClientDisconnect': 5, 'ShutdownDelay': 7,
           'Lifecycle': {'Hook': 'poststop'}, 'Affinities': [{'LTarget': 'a', 'RTarget': 'b', 'Operand': '=', 'Weight': 5}],
           'Scaling': {'Max': 4, 'Enabled': False}, 'Spreads': [{'Attribute': 'a', 'Weight': 1}], 'Networks': [{'Mode': 'host'}],
           'Constraints': [{'LTarget': 'a', 'RTarget': 'b', 'Operand': '!='}], 'DispatchPayload': {'File': 'x'}}


def others(path, v):
    new = [OBJECTS[path[-1]]] if path[-1] in OBJECTS else []
    if isinstance(v, bool):
        return [not v]
    if isinstance(v, (int, float)):
        return [0, v + 1, v * 2, v + 30000000000]
    if isinstance(v, str):
        return ['', 'x', 'y z', 'http', 'sum', 'noop', 'manual', 'host', 'ignore', 'grpc', '0 0 * * *', 'Europe/Berlin', '1.2.3.4']
    if isinstance(v, list):
        return new + [[], v[::-1]] + [v[:i] + v[i + 1:] for i in range(min(len(v), 2))] + ([v + [v[0] + '2']] if v and isinstance(v[0], str) else [])
    if isinstance(v, dict):
        return new + [None, {}] + [{k: x for k, x in v.items() if k != gone} for gone in list(v)[:3]]
    return new


def register(server, job):
    try:
        return server.put('/v1/jobs', {'Job': job}).status == 200
    except OSError:
        return False  # it died of it


def main():
    jobs, cases = {}, []
    with steppe.Cluster() as cluster:
        server = cluster.region('west').server
        for name, text in hcl_cases.RICH.items():
            job = server.put('/v1/jobs/parse', {'JobHCL': text, 'Canonicalize': True}).json()
            job = jobs[name] = hcl_cases.without_nulls(dict(job, Region='west'))
            where = '/v1/job/%s/versions?diffs=true' % job['ID']
            assert register(server, job)
            # once more: its scaling policy had no id before
            assert register(server, dict(job, Priority=1)) and register(server, job)
            seen, version = {}, 2
            full = server.put('/v1/jobs/parse', {'JobHCL': text, 'Canonicalize': True}).json()
            for path, v in hcl_cases.leaves(full, SKIP):
                kind = tuple(p for p in path if isinstance(p, str))
                for value in others(path, v):
                    if value == v or seen.get(kind, 0) >= (3 if isinstance(v, (dict, list)) else 2) or not register(server, hcl_cases.changed(job, path, value)):
                        continue
                    there = server.get(where).json()
                    if there['Versions'][0]['Version'] == version:
                        continue
                    assert register(server, job)
                    back = server.get(where).json()
                    version = back['Versions'][0]['Version']
                    seen[kind] = seen.get(kind, 0) + 1
                    cases.append({'job': name, 'path': path, 'value': value, 'diff': back['Diffs'][1]})
    with open(sys.argv[1], 'w') as f:
        f.write('{"jobs": {\n' + ',\n'.join('%s: %s' % (json.dumps(k), json.dumps(v, sort_keys=True)) for k, v in jobs.items()))
        f.write('},\n"cases": [\n' + ',\n'.join(json.dumps(c, sort_keys=True) for c in cases) + '\n]}\n')
    print('%d cases' % len(cases))


main()
