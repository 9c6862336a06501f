# SPDX-License-Identifier: MPL-2.0
"""The command line beside its texts: environment, headers, odd servers, files, help, completion."""

import base64
import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'lib'))
import steppe  # noqa: E402
from player import Player  # noqa: E402


def reply(value):
    return lambda handler, body: (200, {}, json.dumps(value).encode())


def raw_server(data):
    """A port that reads a request, writes these bytes and closes."""
    s = socket.socket()
    s.bind(('127.0.0.1', 0))
    s.listen(1)

    def serve():
        c, _ = s.accept()
        c.recv(65536)
        c.sendall(data)
        c.close()

    threading.Thread(target=serve, daemon=True).start()
    return s, 'http://127.0.0.1:%d' % s.getsockname()[1]


class Cli(unittest.TestCase):
    maxDiff = None

    def cli(self, *args, stdin=None, cwd=None, **env):
        e = steppe.cli_env('127.0.0.1')
        del e['NOMAD_ADDR'], e['STEPPE_ADDR']
        e.update(env)
        return steppe.run([steppe.agent_binary()[0]] + list(args), env=e, stdin=stdin, cwd=cwd)


class Environment(Cli):
    def test_steppe_before_nomad_flag_before_both(self):
        with Player(reply([])) as s:
            self.cli('status', STEPPE_ADDR=s.url, NOMAD_ADDR='http://127.0.0.1:1', NOMAD_REGION='n',
                     STEPPE_NAMESPACE='ns')
            self.cli('status', '-region=f', '-namespace=', NOMAD_ADDR=s.url, NOMAD_REGION='n', STEPPE_REGION='s')
            self.cli('status', '--region', 'f', '-address', s.url, STEPPE_ADDR='http://127.0.0.1:1')
        self.assertEqual([a[1] for a in s.asked],
                         ['/v1/jobs?namespace=ns&region=n', '/v1/jobs?region=f', '/v1/jobs?region=f'])

    def test_headers(self):
        with Player(reply([])) as s:
            self.cli('status', STEPPE_ADDR=s.url, NOMAD_TOKEN='secret', NOMAD_HTTP_AUTH='u:p')
            self.cli('status', '-token=other', STEPPE_ADDR=s.url, NOMAD_TOKEN='secret')
            self.cli('status', STEPPE_ADDR=s.url.replace('//', '//a:b@'))
        one, two, three = (a[2] for a in s.asked)
        self.assertEqual(one['X-Nomad-Token'], 'secret')
        self.assertEqual(one['Authorization'], 'Basic ' + base64.b64encode(b'u:p').decode())
        self.assertEqual(one['Accept-Encoding'], 'gzip')
        self.assertIsNone(one['Content-Type'])
        self.assertEqual(two['X-Nomad-Token'], 'other')
        self.assertIsNone(two['Authorization'])
        self.assertEqual(three['Authorization'], 'Basic ' + base64.b64encode(b'a:b').decode())
        self.assertIsNone(three['X-Nomad-Token'])

    def test_no_proxy_is_used(self):
        with Player(reply([])) as s:
            r = self.cli('status', STEPPE_ADDR=s.url, http_proxy='http://127.0.0.1:1')
        self.assertEqual((r.rc, r.out), (0, 'No running jobs\n'))


class Answers(Cli):
    def check(self, url, text, *args):
        r = self.cli(*(args or ('status',)), STEPPE_ADDR=url)
        self.assertEqual((r.rc, r.out), (1, ''), r)
        self.assertIn(text, r.err)

    def test_gzip(self):
        data = gzip.compress(json.dumps([]).encode())
        with Player(lambda h, b: (200, {'Content-Encoding': 'gzip'}, data)) as s:
            self.assertEqual(self.cli('status', STEPPE_ADDR=s.url).out, 'No running jobs\n')

    def test_only_200_is_success(self):
        for status in (201, 204, 301, 403, 500):
            body = b'' if status == 204 else b'text'
            with Player(lambda h, b: (status, {'Location': '/v1/other'}, body)) as s:
                self.check(s.url, 'Error querying jobs: Unexpected response code: %d (%s)\n' % (status, body.decode()))
            self.assertEqual(len(s.asked), 1, 'a redirection was followed')

    def test_no_json(self):
        for data in (b'<html>', b'[{', b'[1,]', b'\xff', b'[' * 100000):
            with Player(lambda h, b: (200, {}, data)) as s:
                self.check(s.url, 'Error querying jobs: invalid JSON in the answer')
        with Player(lambda h, b: (200, {}, b'')) as s:
            self.check(s.url, 'Error querying jobs: EOF')

    def test_json_of_another_shape(self):
        for value in (None, 7, 'x', {}, [None], [7], [[]], [{'ID': 5, 'JobSummary': []}]):
            for args in (('status',), ('job', 'status', 'x'), ('server', 'members'), ('node', 'status'),
                         ('node', 'status', 'ab'), ('agent-info',), ('operator', 'raft', 'list-peers'),
                         ('status', 'x'), ('job', 'history', 'x'), ('eval', 'status', 'ab'),
                         ('node', 'status', '-json'), ('job', 'inspect', 'x'), ('job', 'stop', '-yes', 'x')):
                with self.subTest(value=value, args=args), Player(reply(value)) as s:
                    r = self.cli(*args, STEPPE_ADDR=s.url)
                    self.assertIn(r.rc, (0, 1), r)
                    self.assertNotIn('Sanitizer', r.err)

    def test_broken_http(self):
        for data, text in ((b'', 'EOF'), (b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[', 'unexpected EOF'),
                           (b'garbage\r\n\r\n', 'Get "http')):
            s, url = raw_server(data)
            self.check(url, text)
            s.close()

    def test_name_without_address(self):
        self.check('http://nosuch.invalid:4646', 'dial tcp: lookup nosuch.invalid: no such host')

    def test_leaders_are_asked_at_the_same_time(self):
        together = threading.Barrier(3)
        tags = {'port': '4647'}

        def answer(handler, body):
            if handler.path.startswith('/v1/status/leader'):
                together.wait(10)
                return 200, {}, b'"127.0.0.1:4647"'
            return reply({'Members': [
                {'Name': r, 'Addr': '127.0.0.1', 'Port': 4648, 'Status': 'alive', 'Tags': dict(tags, region=r)}
                for r in ('a', 'b', 'c')]})(handler, body)

        with Player(answer) as s:
            r = self.cli('server', 'members', STEPPE_ADDR=s.url)
        self.assertEqual((r.rc, r.err), (0, ''))
        self.assertEqual([line.split()[4] for line in r.out.splitlines()], ['Leader', 'true', 'true', 'true'])

    def test_members_json(self):
        value = {'Members': [{'Name': 'b', 'Tags': {'region': 'z'}}, {'Name': 'a', 'Tags': {'region': 'a'}}]}
        with Player(reply(value)) as s:
            r = self.cli('server', 'members', '-json', STEPPE_ADDR=s.url)
            t = self.cli('server', 'members', '-t', '{{range .Members}}{{.Name}} {{end}}', STEPPE_ADDR=s.url)
        self.assertEqual(json.loads(r.out), {'Members': value['Members'][::-1]})
        self.assertEqual(t.out, 'a b \n')

    def test_template_error(self):
        with Player(reply([])) as s:
            self.check(s.url, 'Error formatting the data: template: format:1: unclosed action\n', 'node', 'status',
                       '-t', '{{.X')

    def test_ctrl_c_ends_following_with_success(self):
        """As of the official CLI; what came before is there."""
        alloc = {'ID': '652b7741-0730-0415-e3c9-b97619b2984a', 'TaskGroup': 'g', 'Namespace': 'default',
                 'Job': {'TaskGroups': [{'Name': 'g', 'Tasks': [{'Name': 't'}]}]}}
        done = threading.Event()

        def answer(handler, body):
            if '/fs/logs/' not in handler.path:
                return reply(alloc if '/allocation/' in handler.path else [alloc])(handler, body)
            data = json.dumps({'Data': base64.b64encode(b'hello\n').decode(), 'File': 'f', 'Offset': 6})
            handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n' + data.encode())
            handler.wfile.flush()
            done.wait(60)
            handler.close_connection, handler.wfile = True, io.BytesIO()  # nobody reads any more
            return 200, {}, b''

        for sig in (signal.SIGINT, signal.SIGTERM):
            with Player(answer) as s:
                p = subprocess.Popen([steppe.agent_binary()[0], 'alloc', 'logs', '-f', '-address=' + s.url, '652b7741'],
                                     stdout=subprocess.PIPE, env=steppe.cli_env('127.0.0.1'),
                                     preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
                self.assertEqual(p.stdout.readline(), b'hello\n')
                p.send_signal(sig)
                self.assertEqual((p.wait(30), p.stdout.read()), (0, b''))
                p.stdout.close()
        done.set()

    def test_folder_as_json(self):
        stub = {'ID': '652b7741-0730-0415-e3c9-b97619b2984a', 'Namespace': 'default'}
        folder, file = {'Name': '/', 'IsDir': True, 'Size': 1}, {'Name': 'x', 'IsDir': False, 'Size': 3}

        def answer(handler, body):
            path = handler.path
            value = ([file] if '/fs/ls/' in path else file if 'path=x' in path else folder if '/fs/stat/' in path
                     else stub if '/allocation/' in path else [stub])
            return reply(value)(handler, body)

        with Player(answer) as s:
            for args, want in ((('-json', '652b'), [file]), (('-stat', '-json', '652b'), folder),
                               (('-json', '652b', 'x'), file)):
                r = self.cli('alloc', 'fs', *args, STEPPE_ADDR=s.url)
                self.assertEqual((json.loads(r.out), r.rc), (want, 0), r)
            r = self.cli('alloc', 'fs', '-t', '{{.Size}}', '652b', 'x', STEPPE_ADDR=s.url)
            self.assertEqual(r.out, '3\n')

    def test_api(self):
        with Player(lambda h, b: (200, {}, b'any text')) as s:
            r = self.cli('operator', 'api', '-region=east', 'jobs?prefix=a%2Fb&stale', STEPPE_ADDR=s.url)
        self.assertEqual(r.out, 'any text\n')
        self.assertEqual(s.asked[0][1], '/v1/jobs?prefix=a%2Fb&region=east&stale=')

    def test_full_disk_under_stdout(self):
        with Player(reply([])) as s, open('/dev/full', 'w') as full:
            r = subprocess.run([steppe.agent_binary()[0], 'status', '-address=' + s.url], stdout=full, timeout=30,
                               env=steppe.cli_env('127.0.0.1'))
        self.assertEqual(r.returncode, 1)


class Files(Cli):
    def setUp(self):
        d = tempfile.TemporaryDirectory(prefix='st-cli-')
        self.addCleanup(d.cleanup)
        self.dir = d.name

    def path(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, 'wb') as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return path

    def output(self, *args, **kw):
        r = self.cli('job', 'run', '-output', *args, **kw)
        self.assertEqual((r.rc, r.err), (0, ''), r)
        return json.loads(r.out)['Job']

    def test_job_from_stdin_and_json(self):
        hcl = steppe.job_hcl('demo', 'east')
        want = self.output(self.path('demo.nomad', hcl))
        self.assertEqual((want['ID'], want['Region'], want['TaskGroups'][0]['Count']), ('demo', 'east', 1))
        self.assertEqual(self.output('-', stdin=hcl), want)
        self.assertEqual(self.output(self.path('demo.json', json.dumps({'Job': want}))), want)
        self.assertEqual(self.output('-', stdin=json.dumps(want)), want)

    def test_bad_job_files(self):
        for name, text in (('empty', ''), ('nul', b'job "a" {\0}'), ('open', 'job "a" {'), ('none', 'x = 1'),
                           ('json', '{"Job":{"ID":7}}'), ('number', '{"ID":"a","Priority":"high"}'),
                           ('deep', '{' * 100000), ('bytes', b'\xff\xfe\x00'), ('large', 'a' * (2 << 20))):
            with self.subTest(name):
                r = self.cli('job', 'run', '-output', self.path(name, text))
                self.assertEqual((r.rc, r.out), (1, ''), r)
                self.assertTrue(r.err.startswith('Error getting job struct: '), r.err)
                self.assertLess(len(r.err), 3000)

    def test_folder_as_job_file(self):
        r = self.cli('job', 'validate', self.dir)
        self.assertEqual(r.rc, 1)
        self.assertIn('source path must be a file', r.err)

    def test_reference_jobs(self):
        """Exactly the JSON that the official CLI prints."""
        for name in ('1-minimal', '2-service', '3-everything'):
            r = self.cli('job', 'run', '-hcl1', '-output', os.path.join(steppe.GOLDEN, 'jobs', name + '.nomad'))
            with open(os.path.join(steppe.GOLDEN, 'jobs', name + '.json')) as f:
                self.assertEqual(r.out, f.read())

    def test_init(self):
        for args, name in (((), 'example.nomad'), (('-short', 'web.nomad'), 'web.nomad')):
            r = self.cli('job', 'init', *args, cwd=self.dir)
            self.assertEqual((r.rc, r.out), (0, 'Example job file written to %s\n' % name))
            job = self.output(os.path.join(self.dir, name))
            self.assertEqual((job['ID'], job['TaskGroups'][0]['Tasks'][0]['Driver']), ('example', 'raw_exec'))
        r = self.cli('init', cwd=self.dir)
        self.assertEqual((r.rc, r.err), (1, "Job 'example.nomad' already exists\n"))

    def test_agent_becomes_the_supervisor(self):
        path = self.path('supervisor', '#!/bin/sh\nfor a; do echo "[$a]"; done\nexit 7\n')
        os.chmod(path, 0o755)
        r = self.cli('agent', '-config=a b', '-dev', STEPPE_LIBEXEC=self.dir)
        self.assertEqual((r.rc, r.out), (7, '[-config=a b]\n[-dev]\n'))
        r = self.cli('agent', STEPPE_LIBEXEC=self.dir + '/none')
        self.assertEqual(r.rc, 1)
        self.assertIn('none/supervisor: No such file or directory', r.err)

    def test_service_without_agent(self):
        r = self.cli('service', 'list', '-data-dir=' + self.dir)
        self.assertEqual(r.rc, 1)
        self.assertIn(self.dir + '/run/supervisor.sock', r.err)
        r = self.cli('service', 'stop', 'raftd')
        self.assertEqual(r.rc, 1)
        self.assertIn('-data-dir', r.err)


class Words(Cli):
    def names(self):
        out = self.cli('-help').out.splitlines()
        return [line.split()[0] for line in out if line.startswith('    ')]

    def test_help_of_every_command(self):
        todo, seen = [[n] for n in self.names()], []
        while todo:
            words = todo.pop()
            r = self.cli(*words, '-help')
            self.assertEqual((r.rc, r.err), (0, ''))
            self.assertTrue(r.out.startswith('Usage: steppe '), r.out)
            seen.append(' '.join(words))
            if '\nSubcommands:\n' in r.out:
                subs = r.out.split('\nSubcommands:\n')[1].splitlines()
                todo += [words + [line.split()[0]] for line in subs]
        for name in ('server members', 'job run', 'operator raft list-peers', 'service restart', 'agent'):
            self.assertIn(name, seen)

    def test_exit_codes(self):
        for args, rc in (((), 127), (('bogus',), 127), (('job',), 1), (('job', 'bogus'), 1), (('-h',), 0),
                         (('-version',), 0), (('version',), 0), (('status', '-bogus'), 1), (('-x', 'status'), 1),
                         (('job', 'run', '-h'), 0)):
            self.assertEqual(self.cli(*args).rc, rc, args)

    def test_not_there_yet(self):
        for args, rc, text in ((('job', 'plan', 'x.nomad'), 255, '`steppe job validate` checks a job file.'),
                               (('plan', '-diff=false', 'x'), 255, 'validate'),
                               (('node', 'drain', '-enable', 'ab'), 1, 'node eligibility -disable'),
                               (('operator', 'autopilot', 'get-config'), 1, ''), (('monitor',), 1, 'service logs')):
            r = self.cli(*args)
            self.assertEqual((r.rc, r.out), (rc, ''), args)
            self.assertIn('Not part of this release yet.', r.err)
            self.assertIn(text, r.err)
        r = self.cli('job', 'plan', '-h')
        self.assertEqual((r.rc, r.err), (0, ''))
        self.assertTrue(r.out.startswith('Usage: steppe job plan\n'), r.out)

    def test_every_help_has_an_example(self):
        for args in (('job', 'run'), ('eval',), ('operator',), ('deployment', 'status'), ('system', 'reconcile', 'summaries')):
            self.assertIn('\nExamples:\n', self.cli(*args, '-help').out, args)

    def test_suggestion(self):
        r = self.cli('server', 'membrs')
        self.assertIn('Unknown command "steppe server membrs". Did you mean this?\n\n      steppe server members\n', r.err)

    def test_keygen(self):
        keys = {self.cli('operator', 'keygen').out for _ in range(3)} | {self.cli('keygen').out}
        self.assertEqual(len(keys), 4)
        self.assertEqual({len(base64.b64decode(k)) for k in keys}, {32})

    def test_completion(self):
        script = self.cli('completion', 'bash').out

        def complete(*words):
            text = script + '\nCOMP_WORDS=(%s); COMP_CWORD=%d; _steppe 2>/dev/null; echo "${COMPREPLY[@]}"' % (
                ' '.join("'%s'" % w for w in words), len(words) - 1)
            return subprocess.run(['bash', '-c', text], stdout=subprocess.PIPE, text=True, check=True,
                                  timeout=30).stdout.split()

        self.assertEqual(complete('steppe', 'se'), ['server', 'service'])
        self.assertEqual(complete('steppe', 'server', ''), ['force-leave', 'join', 'members', 'region', '-help'])
        self.assertEqual(complete('steppe', 'job', 'run', '-det'), ['-detach'])
        self.assertIn('-region=', complete('steppe', 'job', 'run', '-detach', '-re'))
        self.assertEqual(complete('steppe', 'operator', 'raft', 'l'), ['list-peers'])
        self.assertNotIn('-dev', complete('steppe', 'agent-info', '-'))
        self.assertIn('-json', complete('steppe', 'agent-info', '-'))
        self.assertNotIn('plan', complete('steppe', 'job', ''))


if __name__ == '__main__':
    unittest.main()
