#!/bin/sh
# SPDX-License-Identifier: MPL-2.0
# First process of the virtual machine of cgroup_v2.sh: mounts what is needed, then runs the tests by
# itself (steppe.mode=plain) or becomes systemd, whose unit steppe-vm.service runs them.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

# pivot_root(2), which tasks of the exec driver need, does not work below the kernel's first root:
# the same tree once more, mounted over it.
if [ "$1" != again ]; then
    mount --bind / /mnt
    cd /mnt || exit 1
    mount --move . /
    exec chroot . /init again
fi
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
# A task may reserve more memory than the small machine has: its own limit is what is tested.
echo 1 >/proc/sys/vm/overcommit_memory
grep -q steppe.mode=systemd /proc/cmdline && systemd=1
mount -t tmpfs -o size=90% tmpfs /tmp
if [ -n "$systemd" ]; then
    exec /sbin/init
fi
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
/usr/bin/python3 /steppe/tests/vm/guest.py >/dev/console 2>&1 </dev/null
sync
echo o >/proc/sysrq-trigger
sleep 60
