# SPDX-License-Identifier: MPL-2.0
"""What a command line printed, as a text that can be kept and compared.

A transcript is the command after `$ `, its standard output, its standard error with `! ` before each
line, and `[exit N]`. normalise() replaces what differs from run to run (ids, times, indexes).
"""

import re

UUID = re.compile(r'\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b')
ID8 = re.compile(r'(?<![0-9a-zA-Z.:-])(?=[0-9a-f]*[0-9])[0-9a-f]{8}(?![0-9a-zA-Z.:-])')
TIME = re.compile(r'\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)')
AGO = re.compile(r'\b(?:\d+(?:mo|y|d|h|m|s))+ ago')


def format_result(argv, result):
    out = '$ %s\n' % ' '.join(argv)
    out += result.out
    if result.out and not result.out.endswith('\n'):
        out += '\n[no newline]\n'
    for line in result.err.splitlines():
        out += ('! ' + line).rstrip() + '\n'
    return out + '[exit %d]\n' % result.rc


def normalise(text):
    text = UUID.sub('<uuid>', text)
    text = ID8.sub('<id>', text)
    text = TIME.sub('<time>', text)
    text = AGO.sub('<ago>', text)
    text = re.sub(r'(Job Modify Index|JobModifyIndex|ModifyIndex|CreateIndex)(["\s:=]+)\d+',
                  r'\1\g<2><n>', text)
    text = re.sub(r'("SubmitTime": )\d+', r'\1<n>', text)
    return text


def squeeze(text):
    """Blanks between columns and the version in tables do not count in a comparison."""
    text = normalise(text)
    text = re.sub(r'\b(?:0\.10\.1|1\.1\.0|0\.1\.0)\b', '<build>', text)
    return '\n'.join(re.sub(r' {2,}', '  ', line).rstrip() for line in text.splitlines())


def parse(text):
    """-> (argv text, stdout, stderr, exit status) of one kept transcript."""
    lines = text.splitlines()
    cmd = lines[0][2:]
    rc = int(re.fullmatch(r'\[exit (-?\d+)\]', lines[-1]).group(1))
    out = [x for x in lines[1:-1] if not (x.startswith('! ') or x == '!')]
    err = [x[2:] for x in lines[1:-1] if x.startswith('! ') or x == '!']
    return cmd, '\n'.join(out), '\n'.join(err), rc
