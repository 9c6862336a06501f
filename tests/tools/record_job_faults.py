#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Records what a real Nomad finds wrong in jobs: each job file of tests/lib/hcl_cases.py with each of its values, one
after the other, replaced by bad and by strange ones. Of those with one answer the first is kept.

    STEPPE_TEST_AGENT=/opt/nomad-1.1.0 record_job_faults.py tests/golden/api-cases/faults.json
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import hcl_cases  # noqa: E402
import steppe  # noqa: E402

# Set by servers, free of form, or of Consul Connect, for whose sidecars Nomad makes tasks that we do not have.
SKIP = {'Status', 'StatusDescription', 'Stable', 'Version', 'SubmitTime', 'CreateIndex', 'ModifyIndex', 'JobModifyIndex', 'Namespace',
        'NomadTokenID', 'ParentID', 'Payload', 'Config', 'Env', 'Meta', 'CanaryMeta', 'SidecarTask', 'SidecarService'}
SPECS = ('', 'x', '* * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 13 *', '* * * * 8', '* * * * 7', '@often',
         '@daily', 'x@daily', '*/0 * * * *', '*/60 * * * *', '*/007 * * * *', '5-70/2 * * * *', '10-5 * * * *', 'a,b * * * *',
         '*,x * * * *', 'x,* * * * *', ', * * * *', ',,5, * * * *', '* * L * *', '* * lw * *', '* * 15W * *', '* * 40W * *', '* * x,* * *',
         '* * *,x * *', '* * * JAN-Mar *', '* * * janu *', '* * * * MON-fri', '* * * * 5L', '* * * * 5#3', '* * * * 5#6', '* * * * 9#1',
         '* * * * * 2020', '* * * * * 1969', '* * * * * 2100', '61 * * * * * 2020', '* * * * * * * x', ' \t5 4\n3 2 1 ', '*/5,*/99 * * * *',
         'x,*/99 * * * *', '?/5 * * * *', '? ? ? ? ?', '* * */32 * *', '* * * */13 *', '* * * * */7', '* * * * */6', '* * * * * */70',
         '* * * * * */1975', '005 * * * *', '+5 * * * *', '5- * * * *', '5/ * * * *', '* * * * sun#1,mon', '* * * * *L', '1-2-3 * * * *',
         '1/2/3 * * * *', '"" * * * *', '\u00e9 * * * *', '* * W * *', '* * * * 0-7/3', '@DAILY', '@every 5m')
ZONES = ('UTC', 'Local', 'Europe/Berlin', 'Mars/Base', '../etc/passwd', 'a..b', '/etc/passwd', '\\x', 'Europe', 'tzdata.zi', 'UTC/x',
         'x' * 200, 'GMT', '.', './UTC', 'Europe//Berlin', 'Europe/Berlin/', 'New York')


def others(path, v):
    if path[-1] == 'Spec':
        return SPECS
    if path[-1] == 'TimeZone':
        return ZONES
    if isinstance(v, bool):
        return [not v]
    if isinstance(v, int):
        return [-1, 0, 1, 7, 10 ** 6, 10 ** 10 if v > 10 ** 6 else 70000]
    if isinstance(v, str):
        return ['', 'x y', 'x', '-1', '0', '${x}', None]
    if isinstance(v, list):
        return [[], None] + ([v + v[:1]] if v else [])
    return [{}, None] if isinstance(v, dict) else ['x', 5, [], {}, True]


def main():
    jobs, cases, seen, asked = {}, [], set(), set()
    with steppe.Cluster() as cluster:
        server = cluster.region('west').server
        for name, text in hcl_cases.files().items():
            job = server.put('/v1/jobs/parse', {'JobHCL': text, 'Canonicalize': True}).json()
            job['Region'] = 'west'
            for path, v in hcl_cases.leaves(job, SKIP):
                kind = (job['Type'],) + tuple(p for p in path if isinstance(p, str)) + (v is None,)
                for value in others(path, v):
                    key = kind + (len(value) if isinstance(value, list) else json.dumps(value),)
                    if key in asked:
                        continue
                    asked.add(key)
                    case = {'job': name, 'path': path, 'value': value}
                    try:
                        r = server.put('/v1/validate/job', {'Job': hcl_cases.changed(job, path, value)})
                    except OSError:
                        continue  # it died of it
                    if r.status == 200:
                        answer = json.dumps(r.json(), sort_keys=True)
                        if path[-1] in ('Spec', 'TimeZone') or answer not in seen:
                            jobs[name] = hcl_cases.without_nulls(job)
                            cases.append(dict(case, answer=r.json()))
                        seen.add(answer)
    with open(sys.argv[1], 'w') as f:
        f.write('{"jobs": {\n' + ',\n'.join('%s: %s' % (json.dumps(k), json.dumps(v, sort_keys=True)) for k, v in jobs.items()))
        f.write('},\n"cases": [\n' + ',\n'.join(json.dumps(c, sort_keys=True) for c in cases) + '\n]}\n')
    print('%d jobs, %d cases, of %d' % (len(jobs), len(cases), len(asked)))


main()
