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
    about the type; a map, and an empty list, may be null.
    """
    if any(re.fullmatch(p, path) for p in ignore):
        return []
    w, g = kind(want), kind(got)
    is_map = path.rsplit('.', 1)[-1] in MAPS
    if w == 'null' or (g == 'null' and w in ('list', 'object') and (not want or is_map)):
        return []
    if w != g:
        return ['%s: %s, not %s' % (path or 'the answer', g, w)]
    out = []
    if w == 'object':
        if is_map:
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


def differences(want, got, path=''):
    """Where two JSON values differ, as texts 'path: got, not want'."""
    if kind(want) != kind(got):
        return ['%s: %.100r, not %.100r' % (path, got, want)]
    out = []
    if kind(want) == 'object':
        for k in sorted(set(want) | set(got)):
            if k not in got:
                out.append('%s.%s is missing (%.100r)' % (path, k, want[k]))
            elif k not in want:
                out.append('%s.%s is too much (%.100r)' % (path, k, got[k]))
            else:
                out += differences(want[k], got[k], '%s.%s' % (path, k))
    elif kind(want) == 'list':
        if len(want) != len(got):
            out.append('%s: %d elements, not %d' % (path, len(got), len(want)))
        for i, (w, g) in enumerate(zip(want, got)):
            out += differences(w, g, '%s[%d]' % (path, i))
    elif want != got:
        out.append('%s: %.100r, not %.100r' % (path, got, want))
    return out
