# SPDX-License-Identifier: MPL-2.0
"""A network whose wires can be cut: each node in a network namespace of its own, this process between them.

    net = nets.private()          # None without root: then nodes share the loopback interface
    node.wrapper = net.attach(node.addr)
    heal = net.drop('ip saddr %s ip daddr %s' % (a, b))
    ...
    heal()

Addresses are 10.N.x.y; this process reaches every node and is not cut off itself.
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess

import steppe

CLONE_NEWNET = 0x40000000
TOOLS = ('ip', 'nft', 'nsenter', 'unshare')


def sh(*argv):
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, check=False)
    if r.returncode:
        raise OSError('%s: %s' % (' '.join(argv), r.stdout.strip()))


class Net:
    """The router: what the namespace of this process became."""

    def __init__(self):
        self.holders, self.count = {}, itertools.count()

    def attach(self, addr):
        """Makes the namespace of a node with this address; -> what to start its agent with."""
        own = os.readlink('/proc/self/ns/net')
        holder = subprocess.Popen(['unshare', '-n', 'sleep', 'infinity'], stdin=subprocess.DEVNULL)
        self.holders[addr] = holder
        path = '/proc/%d/ns/net' % holder.pid
        steppe.wait_for('a network namespace', lambda: os.readlink(path) != own)
        gate = '.'.join(addr.split('.')[:2]) + '.0.1'
        link = 'v%d' % len(self.holders)
        sh('ip', 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', str(holder.pid))
        sh('ip', 'addr', 'add', gate + '/32', 'dev', link)
        sh('ip', 'link', 'set', link, 'up')
        sh('ip', 'route', 'add', addr + '/32', 'dev', link)
        for words in ('link set lo up', 'addr add %s/32 dev eth0' % addr, 'link set eth0 up',
                      'route add %s dev eth0' % gate, 'route add default via ' + gate):
            sh('nsenter', '--net=' + path, 'ip', *words.split())
        return ['nsenter', '--net=' + path]

    def drop(self, *rules):
        """Packets between nodes that match one of the rules (of nft) are lost; -> a function that ends it."""
        table = 'steppe%d' % next(self.count)
        sh('nft', 'table inet %s { chain c { type filter hook forward priority 0; %s }; }'
           % (table, ' '.join(r + ' drop;' for r in rules)))
        return lambda: sh('nft', 'delete table inet ' + table)

    def close(self):
        for p in self.holders.values():
            p.kill()
            p.wait()
        self.holders.clear()


def private():
    """Moves this thread, and what it starts, into a network namespace of its own; -> Net, or None."""
    if os.geteuid() != 0 or not all(map(shutil.which, TOOLS)):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        return None
    with contextlib.suppress(OSError):
        sh('ip', 'link', 'set', 'lo', 'up')
        sh('ip', 'link', 'add', 'vt', 'type', 'veth', 'peer', 'name', 'vu')
        sh('ip', 'link', 'del', 'vt')
        net = Net()
        net.drop('ip saddr 10.255.255.255')()
        with open('/proc/sys/net/ipv4/ip_forward', 'w', encoding='ascii') as f:
            f.write('1')
        return net
    return None
