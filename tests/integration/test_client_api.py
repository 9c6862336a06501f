# SPDX-License-Identifier: MPL-2.0
"""The way from any server to any client node: statistics, files, logs, over regions and deaths."""

import base64
import http.client
import json
import os
import re
import signal
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
from steppe import wait_for  # noqa: E402

NO_UUID = '11111111-1111-1111-1111-111111111111'
GOOD = {'Timestamp', 'Uptime', 'CPUTicksConsumed', 'CPU', 'Memory', 'DiskStats', 'AllocDirStats', 'DeviceStats'}


def node_ids(server):
    """node name -> id"""
    return {n['Name']: n['ID'] for n in server.get('/v1/nodes').json()}


def holder(region, client):
    """The server that holds the client's connection, as the client's log says."""
    def look():
        names = re.findall(r'connected to the servers server=([\w-]+)\.%s' % region.name, client.log())
        return next(s for s in region.servers if s.name == names[-1])
    return wait_for('a server that holds the connection of ' + client.name, look, 30)


class Nodes(steppe.TestCase):
    """Three servers in west, one in east, a client in each."""

    @classmethod
    def setUpClass(cls):
        c = cls.new_cluster()
        cls.west = c.region('west', servers=3, clients=1)
        cls.east = c.region('east', servers=1, clients=1)
        cls.west.server.join(cls.east.server)
        names = sorted('%s.%s' % (s.name, s.region) for s in cls.west.servers + cls.east.servers)
        for s in cls.west.servers + cls.east.servers:
            s.wait_members(names)
        cls.ids = {}
        for r in (cls.west, cls.east):
            cls.ids[r.name] = node_ids(r.server)[r.clients[0].name]
            holder(r, r.clients[0])

    def test_stats_from_everywhere(self):
        for n in self.west.nodes + self.east.nodes:
            for region, node in self.ids.items():
                r = n.get('/v1/client/stats?region=%s&node_id=%s' % (region, node))
                self.assertStatus(r, 200)
                self.assertEqual(set(r.json()), GOOD)
                self.assertGreater(r.json()['Memory']['Total'], 0)
                self.assertTrue(r.json()['CPU'])

    def test_own_node(self):
        self.assertStatus(self.west.clients[0].get('/v1/client/stats'), 200)
        self.assertStatus(self.west.server.get('/v1/client/stats'), 400,
                          'No local Node and node_id not provided')
        self.assertStatus(self.west.server.get('/v1/client/gc'), 400,
                          'No local Node and node_id not provided')
        self.assertStatus(self.west.server.put('/v1/client/gc?node_id=' + self.ids['west']), 200, '')

    def test_unknown(self):
        for n in (self.west.server, self.west.clients[0], self.east.server):
            q = '?region=west'
            self.assertStatus(n.get('/v1/client/stats%s&node_id=%s' % (q, NO_UUID)), 404,
                              'Unknown node ' + NO_UUID)
            self.assertStatus(n.get('/v1/client/stats%s&node_id=1111' % q), 500,
                              'node lookup failed: index error: UUID must be 36 characters')
            for part in ('fs/ls/%s', 'fs/stat/%s', 'fs/stream/%s', 'fs/logs/%s', 'allocation/%s/stats'):
                r = n.get('/v1/client/' + part % NO_UUID + q + '&path=a&task=t&type=stdout')
                self.assertStatus(r, 404, 'Unknown allocation "%s"' % NO_UUID)
            r = n.get('/v1/client/fs/ls/1111' + q)
            self.assertStatus(r, 500, 'alloc lookup failed: index error: UUID must be 36 characters')
            for part in ('restart', 'signal'):
                r = n.put('/v1/client/allocation/%s/%s%s' % (NO_UUID, part, q), {'Signal': 'SIGHUP'})
                self.assertStatus(r, 404, 'Unknown allocation "%s"' % NO_UUID)
        r = self.west.server.get('/v1/client/stats?region=north&node_id=' + NO_UUID)
        self.assertStatus(r, 500, 'No path to region')

    def test_parameters(self):
        s = self.west.server
        for path, status, text in (
                ('fs/logs/', 400, 'must provide a valid alloc id'),
                ('fs/ls/', 400, 'must provide a valid alloc id'),
                ('fs/cat/', 200, 'must provide a valid alloc id'),
                ('fs/stat/ID', 400, 'must provide a file name'),
                ('fs/stream/ID', 400, 'must provide a file name'),
                ('fs/cat/ID', 200, 'must provide a file name'),
                ('fs/logs/ID', 400, 'must provide task name'),
                ('fs/logs/ID?task=t', 400, 'must provide log type (stdout/stderr)'),
                ('fs/logs/ID?task=t&type=stdin', 400, 'must provide log type (stdout/stderr)'),
                ('fs/logs/ID?task=t&type=stdout&origin=x', 400, 'origin must be start or end'),
                ('fs/stream/ID?path=a&origin=x', 400, 'origin must be start or end'),
                ('fs/stream/ID?path=a&offset=x', 400,
                 'error parsing offset: strconv.ParseInt: parsing "x": invalid syntax'),
                ('fs/readat/ID?path=a', 200, 'error parsing offset: strconv.ParseInt: parsing "": invalid syntax'),
                ('fs/logs/ID?task=t&type=stdout&follow=x', 400,
                 'failed to parse follow field to boolean: strconv.ParseBool: parsing "x": invalid syntax'),
                ('fs/what/ID', 404, 'Invalid method'),
                ('allocation/ID', 404, 'resource not found'),
                ('allocation/ID/what', 404, 'resource not found')):
            r = s.get('/v1/client/' + path.replace('ID', NO_UUID))
            self.assertStatus(r, status, text)
        self.assertStatus(s.get('/v1/client/allocation/%s/signal' % NO_UUID), 405, 'Invalid method')

    def test_browsers(self):
        s = self.west.server
        ask = {'Origin': 'http://x', 'Access-Control-Request-Method': 'GET'}
        r = s.request('OPTIONS', '/v1/client/stats', headers=ask)
        self.assertStatus(r, 200)
        self.assertEqual(r.headers['Access-Control-Allow-Origin'], '*')
        self.assertEqual(r.headers['Access-Control-Allow-Methods'], 'GET')
        r = s.get('/v1/client/fs/cat/%s?path=x' % NO_UUID)
        self.assertIn('sandbox', r.headers['Content-Security-Policy'])
        self.assertEqual(r.headers['X-Content-Type-Options'], 'nosniff')


class Deaths(steppe.TestCase):
    def test_servers_and_clients_that_die(self):
        west = self.cluster.region('west', servers=3, clients=1)
        client = west.clients[0]
        node = node_ids(west.server)[client.name]
        first = holder(west, client)
        other = next(s for s in west.servers if s is not first)
        path = '/v1/client/stats?node_id=' + node

        first.kill()  # the next server is asked at once: the client has connected again by then
        r = wait_for('statistics after the death of a server',
                     lambda: (lambda x: x if x.status == 200 else None)(other.get(path)), 30)
        self.assertEqual(set(r.json()), GOOD)

        for service in ('clientd', 'routerd'):
            pid = client.kill_service(service)
            client.wait_service(service, not_pid=pid)
            wait_for('statistics after the death of ' + service, lambda: other.get(path).status == 200, 30)
        second = holder(west, client)
        pid = second.kill_service('raftd')
        second.wait_service('raftd', not_pid=pid)
        wait_for('statistics after the death of raftd', lambda: other.get(path).status == 200, 30)

        client.kill()
        r = wait_for('No path to node', lambda: (lambda x: x if x.status == 404 else None)(other.get(path)), 30)
        self.assertEqual(r.text, 'No path to node')


if __name__ == '__main__':
    unittest.main()
