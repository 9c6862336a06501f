# SPDX-License-Identifier: MPL-2.0
"""Compares the shape of two JSON values: names and types, not the values themselves."""

import re

# Objects whose keys are data, not names of fields.
MAPS = {'Tags', 'Meta', 'Attributes', 'Links', 'Summary', 'Drivers', 'HostVolumes', 'HostNetworks', 'Options',
        'Labels', 'Config', 'Env', 'CSIControllerPlugins', 'CSINodePlugins', 'ChrootEnv', 'Matches', 'Truncations',
        'HTTPAPIResponseHeaders', 'Details'}


def kind(v):
    if isinstance(v, bool):
        return 'bool'
    if isinstance(v, (int, float)):
        return 'number'
    return {str: 'string', list: 'list', dict: 'object', type(None): 'null'}[type(v)]


def diff(want, got, path='', ignore=()):
    """
    What `got` lacks to look like `want`, as texts. More keys are welcome. A null in `want` says nothing
    about the type; an empty list or map may be null.
    """
    if any(re.fullmatch(p, path) for p in ignore):
        return []
    w, g = kind(want), kind(got)
    if w == 'null' or (g == 'null' and not want and w in ('list', 'object')):
        return []
    if w != g:
        return ['%s: %s, not %s' % (path or 'the answer', g, w)]
    out = []
    if w == 'object':
        if path.rsplit('.', 1)[-1] in MAPS:
            for value in list(want.values())[:1]:
                for k, v in got.items():
                    out += diff(value, v, '%s.%s' % (path, k), ignore)
            return out
        for k in want:
            p = '%s.%s' % (path, k)
            if k in got:
                out += diff(want[k], got[k], p, ignore)
            elif not any(re.fullmatch(i, p) for i in ignore):
                out.append('%s is missing' % p)
    elif w == 'list' and want:
        if not got:
            return ['%s is empty' % (path or 'the list')]
        for i, v in enumerate(got):
            out += diff(want[0], v, '%s[]' % path, ignore)
            if out:
                break
    return out
