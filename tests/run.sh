#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Everything that must pass: installs what is missing, builds with gcc, with clang and with the
# sanitizers (warnings are errors), runs unit tests, simulations, fuzz corpora and the integration
# tests. The last line is "N passed, N failed"; exit status 1 when something failed.
#
#   tests/run.sh [--quick] [NAME...]     --quick: no clang and no sanitizer build
#                                        NAME: only tests whose name contains one of these
set -u
cd "$(dirname "$0")/.." || exit 1
. deploy/packages.sh

quick="" names=()
for a in "$@"; do
    case $a in
    --quick) quick=1 ;;
    -h | --help) sed -n '3,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) names+=("$a") ;;
    esac
done

fail() { # step, log: the end without tests
    echo "error: $1 failed; the end of its log:" >&2
    tail -n 60 "$2" >&2
    echo "0 passed, 1 failed"
    exit 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/st-run-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
say() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }
step() { # text, command...: a command with its output in a log
    say "$1"
    "${@:2}" </dev/null >"$work/step.log" 2>&1 || fail "$1" "$work/step.log"
}

say "packages"
packages_install build test || { echo "0 passed, 1 failed"; exit 1; }

step "configure with gcc" env CC="${CC:-gcc}" meson setup "$work/gcc" . -Dwerror=true --prefix="$work/prefix"
step "build with gcc" ninja -C "$work/gcc"
step "install" meson install -C "$work/gcc" --no-rebuild
runner=(--build "$work/gcc" --prefix "$work/prefix" --logs "$work/logs")

if [ -z "$quick" ]; then
    step "configure with the sanitizers" env CC="${CC:-gcc}" meson setup "$work/asan" . -Dwerror=true \
        -Db_sanitize=address,undefined -Db_lundef=false --prefix="$work/prefix-asan"
    step "build with the sanitizers" ninja -C "$work/asan"
    step "install the sanitizer build" meson install -C "$work/asan" --no-rebuild
    step "configure with the thread sanitizer" env CC="${CC:-gcc}" meson setup "$work/tsan" . -Dwerror=true \
        -Db_sanitize=thread -Db_lundef=false
    step "build with the thread sanitizer" ninja -C "$work/tsan" test_bus test_state_status
    step "configure with clang" env CC=clang meson setup "$work/clang" . -Dwerror=true
    step "build with clang" ninja -C "$work/clang"
    runner+=(--asan-build "$work/asan" --asan-prefix "$work/prefix-asan" --tsan-build "$work/tsan")
fi

export ASAN_OPTIONS=halt_on_error=1:abort_on_error=1:detect_stack_use_after_return=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:suppressions=$PWD/tests/tsan.supp
say "tests"
/usr/bin/python3 tests/lib/runner.py "${runner[@]}" "${names[@]}"
