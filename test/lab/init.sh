#!/bin/busybox sh
# PID 1 of the lab's VM until the runner takes over: makes the host's user land
# the VM's root. The kernel hands the LAB_* arguments of its command line over as
# environment variables.
#
#   LAB_RELEASE  kernel release
#   LAB_MODULES  directory on the host with the modules of this kernel
#   LAB_KEEP     host directories under /tmp, /run or /dev that stay visible, separated by ':'
#   LAB_SHARE    host directory that is shared writable (9p tag "share")
set -e
trap 'echo "lab init: failed, see the line above" >/dev/console; reboot -f' EXIT

/bin/busybox mkdir -p /proc /sys /dev /host /memory /newroot
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys

while read -r module; do insmod "$module"; done </lab/modules.load

# Writes go to memory and end with the VM; the host's files stay as they are.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /host
mount -t tmpfs memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /newroot

cd /newroot
mount --move /proc proc
mount --move /sys sys
mount --move /dev dev
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=755 run run
mkdir -p dev/pts dev/shm run/lock run/lab
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t debugfs debugfs sys/kernel/debug
mount -t tracefs tracefs sys/kernel/tracing
mount -t securityfs securityfs sys/kernel/security
mount -t bpf bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
ln -sf /proc/self/fd dev/fd
ln -sf /proc/self/fd/0 dev/stdin
ln -sf /proc/self/fd/1 dev/stdout
ln -sf /proc/self/fd/2 dev/stderr

IFS=:
for directory in $LAB_KEEP; do
	mkdir -p ".$directory"
	mount --bind "/host$directory" ".$directory"
done
unset IFS
if [ -n "$LAB_SHARE" ]; then
	mkdir -p ".$LAB_SHARE"
	mount -t 9p -o rw,trans=virtio,version=9p2000.L,cache=none,msize=512000 share ".$LAB_SHARE"
fi
mkdir -p "lib/modules/$LAB_RELEASE"
mount --bind "/host$LAB_MODULES" "lib/modules/$LAB_RELEASE"

hostname lab
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
mkdir -p etc && echo 'nameserver 10.0.2.3' >etc/resolv.conf

cp /lab/runner run/lab/runner
exec switch_root /newroot /run/lab/runner /dev/vport0p1
