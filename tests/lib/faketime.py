# SPDX-License-Identifier: MPL-2.0
"""Wall clocks of a node's own, by libfaketime (package faketime), which leaves the monotonic clock alone, as settimeofday() does."""

import glob
import os

import steppe

LIBRARY = (glob.glob('/usr/lib/*/faketime/libfaketime.so.1') + [''])[0]


def why_not():
    """Why nodes cannot have clocks of their own here, or None."""
    if not LIBRARY:
        return 'needs libfaketime (package faketime)'
    with open(steppe.agent_binary()[0], 'rb') as f:
        return 'a sanitizer wants to be the first library' if b'libasan' in f.read() else None


def clock_file(node):
    return os.path.join(node.dir, 'clock')


def set_clock(node, offset):
    """Its wall clock is `offset` seconds off from now on. The file appears at once, whole."""
    path = clock_file(node)
    with open(path + '.new', 'w', encoding='ascii') as f:
        f.write('%+d\n' % offset)
    os.rename(path + '.new', path)


def wrapper(node):
    """What the node is started with, so that set_clock() works; its clock is right at first."""
    set_clock(node, 0)
    return ['env', 'LD_PRELOAD=' + LIBRARY, 'FAKETIME_TIMESTAMP_FILE=' + clock_file(node), 'FAKETIME_NO_CACHE=1',
            'DONT_FAKE_MONOTONIC=1', 'FAKETIME_DONT_FAKE_MONOTONIC=1', 'NO_FAKE_STAT=1', 'FAKETIME_DISABLE_SHM=1']
