#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""House rules that a machine can check, over the C sources: licence line, sizes, width, banned calls,
include layers. Prints file:line: text; exit status 1 when something is found.

A line with `tidy:` and a reason in a comment is let through."""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ('common', 'services', 'cli', 'tests')
FILE_MAX, FUNCTION_MAX = 1000, 70
WIDTH = 120  # clang-format holds code at 100; a comment may run over a little

BANNED = re.compile(r'(?<![\w.>"])(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof|rand|srand|system|sleep|'
                    r'usleep|strtok|alloca|tmpnam|mktemp)\s*\(')
FORBIDDEN = re.compile(r'\bTODO\b|\bFIXME\b|\bXXX\b')


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


def check(path):
    rel = os.path.relpath(path, ROOT)
    with open(path, encoding='utf-8', errors='strict') as f:
        text = f.read()
    raw, lines = text.split('\n'), strip(text).split('\n')
    if not raw[0].startswith('/* SPDX-License-Identifier: MPL-2.0 */'):
        yield 1, 'the first line is not the licence'
    if len(raw) > FILE_MAX:
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
    parts = rel.split('/')
    for i, r in enumerate(raw):
        m = re.match(r'#include "([^"]+)"', r)
        if not m:
            continue
        inc = m.group(1).split('/')
        if parts[0] == 'common' and inc[0] in ('services', 'cli'):
            yield i + 1, 'common/ includes %s' % m.group(1)
        base = os.path.basename(path)
        pure = '_core' in base and parts[0] == 'services' and not base.startswith(('test_', 'sim_', 'bench_'))
        if pure and inc[0] in ('bus', 'svc'):
            yield i + 1, 'a core includes %s' % m.group(1)
    for start, name, length in functions(lines):
        if length > FUNCTION_MAX:
            yield start + 1, '%s() has %d lines, not at most %d' % (name, length, FUNCTION_MAX)


def main():
    found = 0
    for folder in FOLDERS:
        for d, dirs, files in os.walk(os.path.join(ROOT, folder)):
            dirs.sort()
            for f in sorted(files):
                if f.endswith(('.c', '.h')):
                    path = os.path.join(d, f)
                    for line, text in check(path):
                        print('%s:%d: %s' % (os.path.relpath(path, ROOT), line, text))
                        found += 1
    print('%d found' % found)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
