#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
# Control groups of version 2 on a real kernel: boots a small virtual machine (QEMU without hardware
# help) with an installed Steppe in it, once with a shell script as its first process and once with
# systemd, and runs guest.py there. Exit status 0 only if everything passed in all boots, 77 when
# something that it needs is missing. By hand only: three to five minutes, no part of tests/run.sh.
#
#   tests/vm/cgroup_v2.sh PREFIX [plain|systemd]...     PREFIX: where `meson install` put Steppe
#
#   VM_CACHE=DIR     keeps the root file system and the kernel there: a second run is faster by one to two minutes
#   VM_MEMORY=1024   MiB of the machine
#   VM_TIMEOUT=300   seconds that one boot may take
#   VM_TESTS="..."   other tests than guest.py's own choice, e.g. "guest.Limits.test_fork_bomb"
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

case ${1:--h} in
-h | --help) sed -n '3,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
prefix=$(readlink -f "$1")
shift
boots=("$@")
[ ${#boots[@]} -gt 0 ] || boots=(plain systemd)
if [ ! -x "$prefix/bin/steppe" ]; then
    echo "error: no $prefix/bin/steppe: meson install --no-rebuild first" >&2
    exit 1
fi
missing=()
for tool in qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap cpio:cpio zstd:zstd apt-get:apt dpkg-deb:dpkg; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
[ "$(id -u)" -eq 0 ] || missing+=("to be root")
[ "$(uname -m)" = x86_64 ] || missing+=("an x86_64 machine")
if [ ${#missing[@]} -gt 0 ]; then
    printf -v list ', %s' "${missing[@]}"
    echo "skipped: needs ${list:2}" >&2
    exit 77
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/st-vm-XXXXXX") || exit 1
cache=${VM_CACHE:-$work}
vm="" watchdog=""
cleanup() {
    [ -z "$watchdog" ] || kill "$watchdog" 2>/dev/null
    [ -z "$vm" ] || kill -9 "$vm" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP
say() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }
step() { # text, command...
    say "$1"
    "${@:2}" </dev/null >"$work/step.log" 2>&1 || {
        tail -n 30 "$work/step.log" >&2
        echo "error: $1 failed" >&2
        exit 1
    }
}

# ---- what is booted ----

# shellcheck disable=SC2016 # the hook's own $1
make_root() {
    mmdebstrap --mode=root --variant=minbase --include=python3,systemd-sysv,iproute2,procps \
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='APT::Install-Recommends "false"' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
        bookworm "$cache/part.tar" && mv "$cache/part.tar" "$cache/root.tar"
}

make_kernel() {
    local name
    name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
    if [ -z "$name" ]; then
        apt-get -qq update
        name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -n 1)
    fi
    # The lists may be older than the archive.
    (cd "$work" && { apt-get -qq download "$name" || { apt-get -qq update && apt-get -qq download "$name"; }; }) &&
        dpkg-deb -x "$work"/linux-image-*.deb "$work/kernel" && cp "$work"/kernel/boot/vmlinuz-* "$cache/vmlinuz"
}

# The programs, the shared libraries that the root does not have, the tests.
fill_root() {
    local root=$work/root f
    mkdir "$root" && tar -C "$root" -xf "$cache/root.tar" || return 1
    mkdir -p "$root/steppe/tests" "$root/etc/systemd/system/steppe.service.d"
    cp -a "$prefix/bin" "$prefix/libexec" "$root/usr/local/"
    for f in "$prefix"/bin/* "$prefix"/libexec/steppe/*; do
        ldd "$f" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 }'
    done | sort -u | while read -r f; do
        [ -e "$root$f" ] || { mkdir -p "$root$(dirname "$f")" && cp -L "$f" "$root$f"; }
    done
    cp -a "$top/tests/lib" "$top/tests/integration" "$top/tests/vm" "$root/steppe/tests/"
    cp "$top/deploy/steppe.service" "$here/steppe-vm.service" "$root/etc/systemd/system/"
    ln -s /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service" # it would wait for udev
    # The programs were built for another prefix.
    printf '[Service]\nEnvironment=STEPPE_LIBEXEC=/usr/local/libexec/steppe\n' \
        >"$root/etc/systemd/system/steppe.service.d/prefix.conf"
    ln -sf /etc/systemd/system/steppe-vm.service "$root/etc/systemd/system/multi-user.target.wants/"
    cp "$here/init.sh" "$root/init"
    chmod 755 "$root/init"
    (cd "$root" && find . -path ./dev/\* -prune -o -print0 | cpio --null -o -H newc --quiet) | zstd -q -1 -T2 >"$work/root.cpio.zst"
    rm -rf "$root"
}

# ---- one boot ----

boot() { # plain or systemd: 0 when the machine says that all passed
    local log=$work/console.$1 reader
    : >"$log"
    nice qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m "${VM_MEMORY:-1024}" -nographic -no-reboot \
        -nodefaults -serial "file:$log" -kernel "$cache/vmlinuz" -initrd "$work/root.cpio.zst" \
        -append "console=ttyS0 quiet panic=-1 steppe.mode=$1 steppe.tests=${VM_TESTS:+${VM_TESTS// /,}}" \
        </dev/null &
    vm=$!
    tail -n +1 -f --pid="$vm" "$log" | sed -u 's/\r$//; s/\x1b\[[0-9;?]*[a-zA-Z]//g; s/^/    /' &
    reader=$!
    (sleep "${VM_TIMEOUT:-300}" & sleeper=$!; trap 'kill $sleeper' TERM; wait $sleeper && kill -9 "$vm") 2>/dev/null &
    watchdog=$!
    wait "$vm" 2>/dev/null
    vm=""
    kill "$watchdog" 2>/dev/null
    wait "$reader" "$watchdog" 2>/dev/null
    watchdog=""
    grep -q '^STEPPE-VM: all passed' "$log"
}

mkdir -p "$cache"
[ -s "$cache/root.tar" ] || step "root file system" make_root
[ -s "$cache/vmlinuz" ] || step "kernel" make_kernel
step "image" fill_root
failed=()
for mode in "${boots[@]}"; do
    say "boot: $mode"
    boot "$mode" || failed+=("$mode")
done
if [ ${#failed[@]} -gt 0 ]; then
    say "FAILED: ${failed[*]}"
    exit 1
fi
say "passed: ${boots[*]}"
