#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Records a real Nomad's answers to the requests of tests/lib/api_cases.py.

    STEPPE_TEST_AGENT=/opt/nomad-1.1.0 record_api_cases.py tests/golden/api-cases/1.1.0.json
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import api_cases  # noqa: E402
import steppe  # noqa: E402

with steppe.Cluster() as cluster:
    world = api_cases.World(cluster)
    lines = []
    for case in api_cases.cases():
        start = time.monotonic()
        lines.append(json.dumps(world.ask(case), sort_keys=True))
        if time.monotonic() - start > 1:
            print('%.1f s: %s' % (time.monotonic() - start, case[0]))
with open(sys.argv[1], 'w') as f:
    f.write('[\n' + ',\n'.join(lines) + '\n]\n')
print('%d cases' % len(lines))
