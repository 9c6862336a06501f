#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Builds Steppe for speed and prints what it reaches, as a table. No pass or fail: figures of one
# machine, most of them ratios to something else measured in the same run.
#
#   tests/bench/run.sh [NAME...]      NAME: http register start memory run task_memory schedule gossip etcd (default: all)
#
# NOMAD_BIN=/path/to/nomad measures a real one beside. BENCH_SECONDS: length of one run (5).
# STEPPE_PREFIX and BENCH_BUILD: measure what is installed and built there, do not build.
set -u
cd "$(dirname "$0")/../.." || exit 1
. deploy/packages.sh
packages_install build bench || exit 1

top=$PWD/build-bench
mkdir -p "$top" || exit 1
if [ -z "${STEPPE_PREFIX:-}" ]; then
    log=$top/build.log
    export STEPPE_PREFIX=$top/prefix BENCH_BUILD=$top/build
    echo "building in $top"
    {
        { [ -f "$top/build/build.ninja" ] || meson setup "$top/build" . --buildtype=release -Db_ndebug=false \
            --prefix="$STEPPE_PREFIX"; } &&
            ninja -C "$top/build" && meson install -C "$top/build" --no-rebuild
    } >"$log" 2>&1 </dev/null || { tail -n 20 "$log"; echo "error: the build failed, see $log" >&2; exit 1; }
fi

rows=$top/rows
: >"$rows"
export BENCH_ROWS=$rows
failed=0
for name in "${@:-http register start memory run task_memory schedule gossip etcd}"; do
    for b in $name; do
        echo "== $b"
        /usr/bin/python3 "tests/bench/bench_$b.py" </dev/null || { echo "error: bench_$b.py failed" >&2; failed=1; }
    done
done

echo
echo "== $(uname -sr), $(nproc) processors, $(date -u +%F)"
/usr/bin/python3 - "$rows" <<'TABLE'
import json
import sys
rows = [json.loads(line) for line in open(sys.argv[1])]
heads = ['figure', 'value', 'unit', 'wanted', '', 'beside']
widths = [max(len(r[i]) for r in rows + [heads]) for i in range(5)]
for r in [heads] + rows:
    print('  '.join(c.ljust(w) for c, w in zip(r, widths + [0])).rstrip())
TABLE
exit $failed
