#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""House rules that a machine can check: licence lines, sizes, banned calls, layers, forgotten files.

Prints file:line: text; exit status 1 when something is found. A line with `tidy:` and a reason in a
comment is let through. With -l it lists the ten longest files and functions instead.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ('common', 'services', 'cli', 'proto', 'tests', 'deploy')
FILE_MAX, FUNCTION_MAX = 1000, 70
WIDTH = 120  # clang-format holds code at 100; a comment may run over a little

BANNED = re.compile(r'(?<![\w.>"])(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof|rand|srand|system|sleep|'
                    r'usleep|strtok|alloca|tmpnam|mktemp)\s*\(')
FORBIDDEN = re.compile(r'\bTODO\b|\bFIXME\b|\bXXX\b')
INCLUDE = re.compile(r'\s*#\s*include\s+([<"])([^>"]+)[>"]')

# Rules as pure code: no loop, no socket, no database, not even by way of a header of ours.
PURE = re.compile(r'common/(base|sim|wire|json|job|hcl|rpc)/|services/\w+/(\w+_core(_int)?|sup_lines)\.[ch]$|'
                  r'services/raftd/(raft|wal)(_\w+)?\.[ch]$|services/schedd/sched_\w+\.[ch]$|'
                  r'services/serfd/(bcast|coord|lzw|messages|msgpack|packet|seal|tags|'
                  r'serfd_(asks|check|events|exchange|gossip|guard|intents|keys|nodes|probe|queries|region|snapshot|sources|table|vote))\.[ch]$')
# Who alone may speak to a library.
OWNERS = {'zmq.h': r'common/bus/', 'lmdb.h': r'common/state/store_lmdb\.c$', 'uv.h': r'common/(bus|svc)/|services/',
          'civetweb.h': r'services/apid/|tests/bench/', 'confuse.h': r'common/conf/', 'curl/curl.h': r'cli/'}
# The supervisor must be too simple to crash, and the CLI is only a client.
NOT_FOR = {'services/supervisor/': ('bus', 'svc', 'rpc', 'wire', 'state', 'query'),
           'cli/': ('bus', 'svc', 'rpc', 'state', 'query')}


def read(rel):
    with open(os.path.join(ROOT, rel), encoding='utf-8', errors='strict') as f:
        return f.read()


def layers():
    """Folders of common/ from the bottom up: the order of its meson.build."""
    return re.findall(r"subdir\('(\w+)'\)", read('common/meson.build'))


def strip(text):
    """The source without comments and texts, line by line."""
    def blank(m):
        return re.sub(r'[^\n]', ' ', m.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def functions(lines):
    """(line, name, length) of each function: from `{` in column 1 to `}` in column 1."""
    start = None
    for i, line in enumerate(lines):
        if line.startswith('{'):
            start = i
        elif line.startswith('}') and start is not None:
            head = ' '.join(lines[max(0, start - 4):start])
            names = re.findall(r'(\w+)\s*\(', head)
            yield start, names[-1] if names else '?', i - start - 1
            start = None


class Tree:
    """All files, and what each C file includes."""

    def __init__(self):
        self.files, self.text, self.reached = [], {}, {}
        for folder in FOLDERS:
            for d, dirs, names in os.walk(os.path.join(ROOT, folder)):
                dirs.sort()
                self.files += [os.path.relpath(os.path.join(d, n), ROOT) for n in sorted(names)]
        self.files.append('meson.build')
        self.known = set(self.files)

    def source(self, rel):
        if rel not in self.text:
            self.text[rel] = read(rel)
        return self.text[rel]

    def includes(self, rel):
        """(line, name, path of it in the tree or None) of each include."""
        for i, line in enumerate(self.source(rel).split('\n')):
            m = INCLUDE.match(line)
            if m and 'tidy:' not in line:
                places = [os.path.join(os.path.dirname(rel), m.group(2)), 'common/' + m.group(2)]
                found = next((p for p in places if p in self.known), None) if m.group(1) == '"' else None
                yield i + 1, m.group(2), found

    def libraries(self, rel):
        """Names of the guarded headers that a file gets, by whatever way."""
        if rel not in self.reached:
            self.reached[rel] = set()
            for _, name, path in self.includes(rel):
                self.reached[rel] |= self.libraries(path) if path else {name} & set(OWNERS)
        return self.reached[rel]


def check_text(rel, text):
    """Sizes, widths, calls."""
    raw, lines = text.split('\n'), strip(text).split('\n')
    if len(raw) - 1 > FILE_MAX:
        yield len(raw), 'longer than %d lines' % FILE_MAX
    for i, (r, s) in enumerate(zip(raw, lines)):
        if 'tidy:' in r:
            continue
        if len(r) > WIDTH and 'clang-format off' not in text:
            yield i + 1, 'wider than %d columns' % WIDTH
        if '\t' in r:
            yield i + 1, 'a tab'
        if r != r.rstrip():
            yield i + 1, 'blanks at the end'
        m = BANNED.search(s)
        if m:
            yield i + 1, 'calls %s()' % m.group(1)
        m = FORBIDDEN.search(r)
        if m:
            yield i + 1, 'leaves a %s' % m.group(0)
    for start, name, length in functions(lines):
        if length > FUNCTION_MAX:
            yield start + 1, '%s() has %d lines, not at most %d' % (name, length, FUNCTION_MAX)


def check_layers(tree, rel, order):
    """What a file may include."""
    parts = rel.split('/')
    for line, name, path in tree.includes(rel):
        other = path.split('/') if path else name.split('/')
        if parts[0] == 'common' and other[0] in ('services', 'cli', 'tests') or '../' in name:
            yield line, '%s is not below this folder' % name
        if parts[0] == 'common' and path and other[0] == 'common':
            test = os.path.basename(rel).startswith(('test_', 'fuzz_', 'bench_', 'sim_'))
            if not test and order.index(other[1]) > order.index(parts[1]):
                yield line, 'common/%s includes %s, which stands above it in common/meson.build' % (parts[1], name)
        for folder, banned in NOT_FOR.items():
            if rel.startswith(folder) and path and other[:1] == ['common'] and other[1] in banned:
                yield line, '%s must not know %s' % (folder, name)
        if name in OWNERS and not re.match(OWNERS[name], rel):
            yield line, '<%s> is for %s' % (name, OWNERS[name])
    if PURE.match(rel) and tree.libraries(rel):
        yield 1, 'pure code gets <%s>' % '>, <'.join(sorted(tree.libraries(rel)))


def check_licence(rel, text):
    want = {'.c': '/* SPDX-License-Identifier: MPL-2.0 */', '.h': '/* SPDX-License-Identifier: MPL-2.0 */',
            '.proto': '// SPDX-License-Identifier: MPL-2.0', '.py': '# SPDX-License-Identifier: MPL-2.0',
            '.sh': '# SPDX-License-Identifier: MPL-2.0'}.get(os.path.splitext(rel)[1])
    if os.path.basename(rel) == 'meson.build':
        want = '# SPDX-License-Identifier: MPL-2.0'
    lines = text.split('\n', 2)
    if want and want != lines[1 if lines[0].startswith('#!') else 0]:
        yield 1, 'the first line is not the licence'


def check_built(tree):
    """Every C file is named by a meson.build: nothing lies around unbuilt."""
    named = ' '.join(tree.source(f) for f in tree.files if f.endswith('meson.build'))
    for rel in tree.files:
        stem = os.path.basename(rel)[:-2]
        short = re.sub(r'^(test|fuzz)_', '', stem)  # where a loop makes the name
        if rel.endswith('.c') and "%s.c'" % stem not in named and (short == stem or "'%s'" % short not in named):
            yield rel, 1, 'is in no meson.build'


def check_all():
    tree, order = Tree(), layers()
    for rel in tree.files:
        if not rel.endswith(('.c', '.h', '.proto', '.py', '.sh', 'meson.build')):
            continue
        text = tree.source(rel)
        yield from ((rel, *x) for x in check_licence(rel, text))
        if rel.endswith(('.c', '.h')):
            yield from ((rel, *x) for x in check_text(rel, text))
            yield from ((rel, *x) for x in check_layers(tree, rel, order))
    yield from check_built(tree)


def longest():
    """The next to be split."""
    tree = Tree()
    sources = [f for f in tree.files if f.endswith(('.c', '.h'))]
    for n, f in sorted(((tree.source(f).count('\n'), f) for f in sources), reverse=True)[:10]:
        print('%4d %s' % (n, f))
    found = [(n, '%s %s()' % (f, name)) for f in sources
             for _, name, n in functions(strip(tree.source(f)).split('\n'))]
    for n, text in sorted(found, reverse=True)[:10]:
        print('%4d %s' % (n, text))
    return 0


def main():
    if sys.argv[1:] == ['-l']:
        return longest()
    found = 0
    for rel, line, text in check_all():
        print('%s:%d: %s' % (rel, line, text))
        found += 1
    print('%d found' % found)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
