# SPDX-License-Identifier: MPL-2.0
"""The way from any server to any client node: statistics, files, logs, over regions and deaths."""

import base64
import hashlib
import http.client
import json
import os
import re
import signal
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import shape  # noqa: E402
import steppe  # noqa: E402
from steppe import wait_for  # noqa: E402

NO_UUID = '11111111-1111-1111-1111-111111111111'
GOOD = {'Timestamp', 'Uptime', 'CPUTicksConsumed', 'CPU', 'Memory', 'DiskStats', 'AllocDirStats', 'DeviceStats'}


def node_ids(server):
    """node name -> id"""
    return {n['Name']: n['ID'] for n in server.get('/v1/nodes').json()}


def cpus():
    """cpu0, cpu1 ... of this machine."""
    with open('/proc/stat') as f:
        return re.findall(r'^(cpu\d+) ', f.read(), re.M)


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
                self.assertEqual([c['CPU'] for c in r.json()['CPU']], cpus())

    def test_volume_is_a_disk_of_the_statistics(self):
        """`nomad node status` shows the use of the disk that holds the allocations."""
        node = self.ids['west']
        volume = self.west.server.get('/v1/node/' + node).json()['Attributes']['unique.storage.volume']
        disks = self.west.server.get('/v1/client/stats?node_id=' + node).json()['DiskStats']
        if volume.startswith('/dev/'):
            self.assertIn(volume, [d['Device'] for d in disks])

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
                ('fs/stream/ID?path=a&offset=x', 500,
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
        self.assertEqual(r.headers.get_all('Vary'), ['Origin', 'Access-Control-Request-Method',
                                                     'Access-Control-Request-Headers', 'Accept-Encoding'])
        ask['Access-Control-Request-Headers'] = 'x-nomad-token, content-type'
        r = s.request('OPTIONS', '/v1/client/stats', headers=ask)
        self.assertEqual(r.headers['Access-Control-Allow-Headers'], 'X-Nomad-Token, Content-Type')
        ask['Access-Control-Request-Method'] = 'PUT'
        r = s.request('OPTIONS', '/v1/client/stats', headers=ask)
        self.assertStatus(r, 200, '')
        self.assertNotIn('Access-Control-Allow-Origin', r.headers)


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



def shell(text):
    return {'command': '/bin/sh', 'args': ['-c', text]}


COUNTING = 'i=0; while true; do echo line $i; i=$((i+1)); sleep 0.05; done'
BIG = 64 << 20


class Follower(threading.Thread):
    """Reads frames of a followed log in the background."""

    def __init__(self, node, path):
        super().__init__(daemon=True)
        self.conn = http.client.HTTPConnection(node.addr, steppe.HTTP, timeout=60 * steppe.SCALE)
        self.conn.request('GET', path)
        self.response = self.conn.getresponse()
        assert self.response.status == 200, self.response.read()
        self.text, self.frames, self.error, self.buffer = '', 0, None, ''
        self.start()

    def run(self):
        decoder = json.JSONDecoder()
        try:
            while True:
                data = self.response.read1(65536)
                if not data:
                    break
                self.buffer += data.decode()
                while self.buffer:
                    try:
                        frame, end = decoder.raw_decode(self.buffer)
                    except ValueError:
                        break
                    self.buffer = self.buffer[end:]
                    self.frames += 1
                    self.text += base64.b64decode(frame.get('Data', '')).decode()
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as e:
            self.error = e

    def numbers(self):
        """N of each whole "line N"."""
        return [int(x.split()[1]) for x in self.text.split('\n')[:-1]]

    def wait_lines(self, more):
        want = len(self.numbers()) + more
        return wait_for('%d lines of a log' % want, lambda: len(self.numbers()) >= want, 60)

    def close(self):
        self.response.close()
        self.conn.close()


class LiveCase(steppe.TestCase):
    """Real tasks in east, asked for in west: no agent of west is part of east."""

    @classmethod
    def setUpClass(cls):
        c = cls.new_cluster()
        cls.west, cls.east = c.region('west', start=False), c.region('east', servers=3, clients=1, start=False)
        cls.client = cls.east.clients[0]
        cls.client.extra += '\nplugin "raw_exec" {\n  config {\n    enabled = true\n  }\n}'
        for n in cls.west.nodes + cls.east.nodes:
            n.start(wait=False)
        for n in cls.west.nodes + cls.east.nodes:
            n.wait_http(30)
        cls.w = cls.west.server
        for n in (cls.w, cls.east.server):
            n.wait_leader()
        cls.east.server.wait_nodes(1)
        cls.w.join(cls.east.server)
        names = sorted('%s.%s' % (s.name, s.region) for s in cls.west.servers + cls.east.servers)
        for s in cls.west.servers + cls.east.servers:
            s.wait_members(names)
        cls.alloc = cls.run_job('counter', COUNTING)

    @classmethod
    def run_job(cls, job_id, text, **kw):
        """Registers a job of one shell task; the id of its allocation when that runs."""
        r = cls.w.register(steppe.job(job_id, region='east', **shell(text), **kw))
        assert r.status == 200, r

        def look():
            found = cls.w.get('/v1/job/%s/allocations?region=east' % job_id).json()
            return [a['ID'] for a in found if a['ClientStatus'] in ('running', 'complete')]
        return wait_for('the allocation of ' + job_id, look, 60)[0]

    def ask(self, path, alloc=None, node=None, **kw):
        path = '/v1/client/' + path.replace('ID', alloc or self.alloc)
        return (node or self.w).get(path + ('&' if '?' in path else '?') + 'region=east', **kw)

    def wait_text(self, path, text, alloc=None):
        return wait_for('%s in %s' % (text, path), lambda: text in self.ask(path, alloc).text, 60)

    def follow(self, node=None, alloc=None, options=''):
        f = Follower(node or self.w, '/v1/client/fs/logs/%s?region=east&task=t&type=stdout&follow=true%s'
                     % (alloc or self.alloc, options))
        self.addCleanup(f.close)
        return f


class Live(LiveCase):
    def test_files(self):
        self.wait_text('fs/cat/ID?path=alloc/logs/t.stdout.0', 'line 5\n')
        for node in (self.w, self.east.servers[0], self.east.servers[1], self.client):
            names = [x['Name'] for x in self.ask('fs/ls/ID?path=/', node=node).json()]
            self.assertEqual(names, ['alloc', 't'])
            x = self.ask('fs/stat/ID?path=alloc/logs/t.stdout.0', node=node).json()
            self.assertEqual(set(x), {'Name', 'IsDir', 'Size', 'FileMode', 'ModTime', 'ContentType'})
            self.assertEqual((x['Name'], x['IsDir']), ('t.stdout.0', False))
            self.assertEqual(x['ContentType'], 'text/plain; charset=utf-8')
            r = self.ask('fs/readat/ID?path=/alloc/logs/t.stdout.0&offset=7&limit=6', node=node)
            self.assertStatus(r, 200, 'line 1')
            self.assertTrue(r.headers['Content-Type'].startswith('text/plain'))
            text = self.ask('fs/logs/ID?task=t&type=stdout&plain=true', node=node).text
            self.assertTrue(text.startswith('line 0\nline 1\n'), text[:50])
            r = self.ask('fs/stream/ID?path=alloc/logs/t.stdout.0&follow=false', node=node)
            frame = json.JSONDecoder().raw_decode(r.text)[0]
            self.assertEqual(frame['File'], 'alloc/logs/t.stdout.0')
            data = base64.b64decode(frame['Data'])
            self.assertEqual(frame['Offset'], len(data))
            self.assertTrue(data.startswith(b'line 0\n'))
            end = self.ask('fs/logs/ID?task=t&type=stdout&plain=true&origin=end&offset=3', node=node).text
            whole = self.ask('fs/logs/ID?task=t&type=stdout&plain=true', node=node).text
            self.assertGreaterEqual(len(end), 3)
            self.assertIn(end, whole[8:])
        self.assertStatus(self.ask('fs/logs/ID?task=t&type=stderr&plain=true'), 200, '')

    def test_as_a_real_nomad_answers(self):
        """tests/golden/api/client_cases.json: what a 1.1.0 said of the same task, agent and client in one."""
        alloc = self.run_job('golden', 'echo one; echo two >&2; cd "$NOMAD_TASK_DIR"; ln -s /etc/passwd out; '
                             'ln -s ../secrets/key way; echo hidden > "$NOMAD_SECRETS_DIR/key"; mkfifo pipe; '
                             'echo "<html>" > page.html; printf "\\0\\1" > bin; exec sleep 3600')
        self.wait_text('fs/cat/ID?path=t/local/bin', '\0', alloc)
        self.wait_text('fs/logs/ID?task=t&type=stderr&plain=true', 'two', alloc)
        node = node_ids(self.east.server)[self.client.name]
        with open(os.path.join(steppe.GOLDEN, 'api', 'client_cases.json')) as f:
            cases = json.load(f)
        for c in cases:
            path = c['path'].replace('ID', alloc).replace('=N', '=' + node).replace('U', NO_UUID)
            r = self.client.request(c['method'], path, c['body'])
            text = re.sub(r'/\S*?data/alloc', 'DATA', r.text.replace(alloc, '<ID>').replace(node, '<N>'))
            with self.subTest('%s %s' % (c['method'], c['path'])):
                self.assertEqual(r.status, c['status'], text)
                if text or c['text']:
                    self.assertEqual(r.headers['Content-Type'] or '', c['type'])
                self.assertEqual('Content-Security-Policy' in r.headers, c['csp'])
                self.same(text, c['text'], 'fs/ls' in path or 'stats' in path)

    def same(self, got, want, loose):
        """Equal texts; of JSON names and kinds, and values but for numbers and times."""
        try:
            got, want = json.loads(got), json.loads(want)
        except ValueError:
            self.assertEqual(got, want)
            return
        if loose:  # Nomad's own files, counts of processors and disks
            got, want = got[:1] if isinstance(got, list) else got, want[:1] if isinstance(want, list) else want
            self.assertEqual(shape.diff(want, got, ignore=[r'.*\.Pids', r'.*\.DiskStats.*']), [])
        else:
            self.assertEqual({k: v for k, v in got.items() if k not in ('ModTime', 'Size')},
                             {k: v for k, v in want.items() if k not in ('ModTime', 'Size')})

    def test_errors(self):
        folder = os.path.join(self.client.data_dir, 'alloc', self.alloc)
        for path, status, text in (
                ('fs/ls/ID?path=../..', 500, 'Path escapes the alloc directory'),
                ('fs/stat/ID?path=/../x', 500, 'Path escapes the alloc directory'),
                ('fs/cat/ID?path=../x', 200, 'Path escapes the alloc directory'),
                ('fs/ls/ID?path=none', 500, 'open %s/none: no such file or directory' % folder),
                ('fs/stat/ID?path=none', 500, 'stat %s/none: no such file or directory' % folder),
                ('fs/cat/ID?path=none', 200, 'stat %s/none: no such file or directory' % folder),
                ('fs/stream/ID?path=alloc', 400, 'file "alloc" is a directory'),
                ('fs/logs/ID?task=zz&type=stdout', 400, 'unknown task name "zz"')):
            self.assertStatus(self.ask(path), status, text)

    def test_links_and_secrets(self):
        text = ('cd "$NOMAD_TASK_DIR" && ln -s /etc/passwd out && ln -s ../../.. up && ln -s ../secrets/key way && '
                'echo hidden > "$NOMAD_SECRETS_DIR/key" && mkfifo pipe && echo made && exec sleep 3600')
        alloc = self.run_job('links', text)
        self.wait_text('fs/logs/ID?task=t&type=stdout&plain=true', 'made', alloc)
        for path, answer in (('t/local/out', 'Path escapes the alloc directory'),
                             ('t/local/up/x', 'Path escapes the alloc directory'),
                             ('t/secrets/key', 'Reading secret file prohibited: t/secrets/key'),
                             ('t/local/way', 'Reading secret file prohibited: t/local/way'),
                             ('t/local/pipe', 'file "t/local/pipe" is not a regular file')):
            self.assertStatus(self.ask('fs/cat/ID?path=' + path, alloc), 200, answer)
        self.assertNotIn('hidden', self.ask('fs/stream/ID?path=t/secrets/key&follow=false', alloc).text)

    def test_statistics(self):
        r = self.ask('allocation/ID/stats')
        self.assertStatus(r, 200)
        self.assertEqual(set(r.json()), {'ResourceUsage', 'Tasks', 'Timestamp'})
        self.assertGreater(r.json()['Tasks']['t']['ResourceUsage']['MemoryStats']['RSS'], 0)

    def test_agent_counts_its_allocations(self):
        there = [a for a in self.w.get('/v1/allocations?region=east').json() if a['ClientStatus'] != 'pending']
        stats = self.client.get('/v1/agent/self').json()['stats']['client']
        self.assertGreaterEqual(int(stats['num_allocations']), len(there))
        self.assertGreater(len(there), 0)

    def test_restart_and_signal(self):
        alloc = self.run_job('hup', "trap 'echo heard' HUP; echo up; while true; do sleep 0.1; done")
        self.wait_text('fs/logs/ID?task=t&type=stdout&plain=true', 'up', alloc)
        r = self.w.put('/v1/client/allocation/%s/signal?region=east' % alloc, {'Task': 't', 'Signal': 'SIGHUP'})
        self.assertStatus(r, 200, '{"Index":0}')
        self.wait_text('fs/logs/ID?task=t&type=stdout&plain=true', 'heard', alloc)
        r = self.w.put('/v1/client/allocation/%s/restart?region=east' % alloc, {'TaskName': ''})
        self.assertStatus(r, 200, '{"Index":0}')
        wait_for('its second start', lambda: self.ask('fs/logs/ID?task=t&type=stdout&plain=true', alloc)
                 .text.count('up') == 2, 60)
        r = self.w.put('/v1/client/allocation/%s/signal?region=east' % alloc, {'Task': 't', 'Signal': 'SIGWHAT'})
        self.assertStatus(r, 200, '{"Index":0}') # an interrupt, as in Nomad

    def open_logs(self, alloc):
        """Descriptors on its log that clientd holds."""
        folder = '/proc/%d/fd' % self.client.service_pids()['clientd']
        out = 0
        for fd in os.listdir(folder):
            try:
                out += '%s/alloc/logs/t.stdout' % alloc in os.readlink(os.path.join(folder, fd))
            except OSError:
                pass
        return out

    def test_closing_ends_it(self):
        alloc = self.run_job('quiet', 'echo one; exec sleep 3600')
        self.wait_text('fs/logs/ID?task=t&type=stdout&plain=true', 'one', alloc)
        idle = self.open_logs(alloc)
        readers = [self.follow(n, alloc) for n in (self.w, self.east.server, self.client)]
        wait_for('three readers', lambda: self.open_logs(alloc) == idle + 3, 30)
        for r in readers:
            wait_for('a heartbeat', lambda: r.frames >= 2, 30)
            self.assertEqual(r.text, 'one\n')
            r.close()
        wait_for('no reader', lambda: self.open_logs(alloc) == idle, 30)

    def test_slow_reader(self):
        alloc = self.run_job('big', 'head -c %d /dev/urandom > "$NOMAD_ALLOC_DIR/big"; md5sum "$NOMAD_ALLOC_DIR/big"; '
                                    'exec sleep 3600' % BIG)
        self.wait_text('fs/logs/ID?task=t&type=stdout&plain=true', 'big', alloc)
        want = self.ask('fs/logs/ID?task=t&type=stdout&plain=true', alloc).text.split()[0]
        pids = [p for n in (self.w, self.client, *self.east.servers) for p in n.services().values()]
        before = {p: steppe.proc_private_kib(p) for p in pids}
        start = self.bytes_read()
        conn = http.client.HTTPConnection(self.w.addr, steppe.HTTP, timeout=60 * steppe.SCALE)
        self.addCleanup(conn.close)
        conn.request('GET', '/v1/client/fs/cat/%s?path=alloc/big&region=east' % alloc)
        r = conn.getresponse()
        digest, n = hashlib.md5(r.read(1 << 20)), 1 << 20
        # It stops reading: the node stops, too, and nobody on the way keeps much.
        seen = [0]

        def still():
            old, seen[0] = seen[0], self.bytes_read()
            return seen[0] - old < 65536
        wait_for('the node to wait for its reader', still, 30, step=0.5)
        self.assertLess(seen[0] - start, BIG)
        for p in pids:
            self.assertLess(steppe.proc_private_kib(p) - before[p], 8192, steppe.proc_name(p))
        while True:
            data = r.read(1 << 20)
            if not data:
                break
            digest.update(data)
            n += len(data)
        self.assertEqual(n, BIG)
        self.assertEqual(digest.hexdigest(), want)

    def bytes_read(self):
        """By clientd, so far."""
        with open('/proc/%d/io' % self.client.service_pids()['clientd']) as f:
            return int(re.search(r'rchar: (\d+)', f.read()).group(1))


class Streams(LiveCase):
    """A followed log is whole, whatever dies between the reader and the task."""

    def check(self, f, more=40):
        f.wait_lines(more)
        self.assertIsNone(f.error)
        n = f.numbers()
        self.assertEqual(n, list(range(n[0], n[0] + len(n))))

    def test_follow_over_deaths(self):
        f = self.follow()
        self.check(f)
        first = holder(self.east, self.client)
        first.kill()                                   # the server that holds the connection
        self.check(f)
        pid = self.client.kill_service('routerd')      # on the node
        self.client.wait_service('routerd', not_pid=pid)
        self.check(f)
        pid = self.client.kill_service('clientd')      # it re-attaches to its task
        self.client.wait_service('clientd', not_pid=pid)
        self.check(f)
        pid = self.w.kill_service('routerd')           # on the reader's side
        self.w.wait_service('routerd', not_pid=pid)
        self.check(f)
        first.start()
        second = holder(self.east, self.client)
        pid = second.service_pids()['raftd']
        os.kill(pid, signal.SIGSTOP)                   # it is there, and says nothing
        try:
            self.check(f, 20)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.check(f)


if __name__ == '__main__':
    unittest.main()
