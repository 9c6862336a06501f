# SPDX-License-Identifier: MPL-2.0
"""README.md is true: its tutorial, played from its own text, prints what it says; its links lead
somewhere; its tables name keys and paths that exist."""

import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import steppe  # noqa: E402
import transcript  # noqa: E402


def read(name):
    with open(os.path.join(steppe.ROOT, name)) as f:
        return f.read()


def section(text, title):
    return re.search(r'(?ms)^##+ %s$(.*?)(?=^## |\Z)' % re.escape(title), text).group(1)


def blocks(text):
    """(the paragraph before, the block's text) of each indented block."""
    for m in re.finditer(r'(?m)^(\S[^\n]*(?:\n\S[^\n]*)*)\n\n((?:(?:    [^\n]*)?\n)+)', text):
        yield m.group(1), re.sub(r'(?m)^    ', '', m.group(2)).strip('\n') + '\n'


def commands(block):
    """(words, what it prints) of each `$ ` line."""
    for part in re.split(r'(?m)^\$ ', block)[1:]:
        line, _, out = part.partition('\n')
        yield line.split(), out


# What a monitor says depends on when it looks.
WHEN_IT_LOOKS = re.compile(r'Allocation "<id>" status changed|==> Monitoring evaluation')


def comparable(text):
    """Nodes and allocations are listed by their random ids, so lines in any order."""
    return sorted(line for line in transcript.squeeze(text).split('\n') if line and not WHEN_IT_LOOKS.search(line))


@unittest.skipIf(steppe.is_nomad(), 'our README')
class Tutorial(steppe.TestCase):
    """Text decides: a block of `server {` or `client {` starts nodes, `job` is a file, `$` a command."""

    def local(self, text):
        c = self.cluster
        return re.sub(r'127\.0\.(?=[12]\.)', '127.%d.' % c.net, text).replace('/tmp/steppe', c.dir)

    def start(self, conf, name, addr):
        n = self.nodes[name] = self.cluster.node(name, name.split('-')[0], addr, server='server {' in conf)
        n.write_conf(conf)
        n.start()

    def start_clients(self, conf, region):
        for i in '12':
            text = conf.replace('client1', 'client' + i).replace('.11"', '.1%s"' % i)
            self.start(text, '%s-client%s' % (region, i), re.search(r'bind_addr = "(.*?)"', text).group(1))

    def start_east(self):
        """The same files with `east` for `west`."""
        for i, name in ((2, 'west-client1'), (1, 'west-server')):
            with open(self.nodes[name].conf_file) as f:
                conf = f.read().replace('west', 'east').replace('.%d.1.' % self.cluster.net, '.%d.2.' % self.cluster.net)
            if i == 2:
                self.start_clients(conf, 'east')
            else:
                self.start(conf, 'east-server', self.cluster.addr(2, 1))

    def command(self, words, want):
        program = {'steppe': steppe.agent_binary()[0], 'nomad': os.environ.get('NOMAD_BIN')}[words[0]]
        if not program:
            return
        argv = [program] + [os.path.join(self.cluster.dir, w) if w.endswith('.nomad') else w for w in words[1:]]
        once = {'join', 'run', 'stop'} & set(words)
        wait = 0 if once else 15

        def look():
            r = steppe.run(argv, env=steppe.cli_env(self.nodes['west-server'].addr))
            self.got = r.out + r.err
            return comparable(self.got) == comparable(want)
        with self.subTest(' '.join(words)):
            try:
                steppe.wait_for(' '.join(words), look, wait)
            except steppe.Timeout:
                self.assertEqual(self.got, want)

    def test_tutorial(self):
        self.nodes = {}
        seen = []
        for before, block in blocks(section(read('README.md'), 'Tutorial: two regions')):
            block = self.local(block)
            if 'The same three files' in before:
                self.start_east()
            if block.startswith('$ '):
                for words, out in commands(block):
                    if words[0] != 'export':
                        self.command(words, out)
                        seen.append(words[:3])
            elif block.startswith('job '):
                with open(os.path.join(self.cluster.dir, 'hello.nomad'), 'w') as f:
                    f.write(block)
            elif block.startswith('region = "west"\n') and len(block.split('\n')) == 2:
                n = self.nodes['west-server']
                n.stop()
                n.write_conf(block + read(n.conf_file))
                n.start()
            elif 'server {' in block:
                self.start(block, 'west-server', self.cluster.addr(1, 1))
            else:
                self.start_clients(block, 'west')
        self.assertGreater(len(seen), 10)
        self.assertEqual(len(self.nodes), 6)


class Texts(unittest.TestCase):
    DOCS = ('README.md', 'CONTRIBUTING.md', 'tests/README.md', 'deploy/README.md', 'common/conf/README.md',
            'proto/README.md', 'cli/README.md')

    def test_links(self):
        for doc in self.DOCS:
            for target in re.findall(r'\]\(([^)#:]+)\)', read(doc)):
                path = os.path.join(steppe.ROOT, os.path.dirname(doc), target)
                self.assertTrue(os.path.exists(path), '%s links to %s' % (doc, target))

    def test_files_of_the_recipes(self):
        for path in re.findall(r'`((?:common|services|proto|cli|deploy|tests)/[\w/.]+\.\w+)`', read('CONTRIBUTING.md')):
            self.assertTrue(os.path.exists(os.path.join(steppe.ROOT, path)), path)

    def test_endpoints(self):
        """Each path of the table is a route, and each route stands in the table."""
        table = section(read('README.md'), 'HTTP API')
        paths, base = set(), ''
        for p in re.findall(r'`(/[\w/-]+)', table):
            base = p if p.startswith('/v1') else base
            paths.add(p if p.startswith('/v1') else base.rsplit('/', 1)[0] + p)
        routes = set(re.findall(r'\{"(/v1/[^"]*)"', read('services/apid/apid_route.c')))
        exact = {r for r in routes if not r.endswith('/')}
        for p in paths:
            self.assertTrue(p in exact or any(p.startswith(r) for r in routes - exact), p + ' is no route')
        for r in exact - {'/v1/allocations', '/v1/deployments', '/v1/client/stats'}:
            self.assertIn(r, paths)

    def test_keys(self):
        keys = set(re.findall(r'(?m)^\| `([\w.]+)`', read('common/conf/README.md')))
        for row in re.findall(r'(?m)^\| `([^`]+)` \|', section(read('README.md'), 'Configuration')):
            words = re.findall(r'\w+', row)
            last = words[1:] if words[0] in ('advertise', 'ports') else words[-1:]
            for w in last:
                path = '.'.join((words[:1] if words[0] in ('advertise', 'ports') else words[:-1]) + [w])
                self.assertIn(path, keys)


if __name__ == '__main__':
    unittest.main()
