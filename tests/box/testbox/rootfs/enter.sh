#!/usr/bin/env bash
# First half of a box's PID 1: in the new namespaces, mounts the box's root, moves into it and becomes its init.
#   enter.sh BASE DIRECTORY      with HOSTNAME_, NETWORK, OVERLAY_OPTIONS, DATA_DIR, DATA_MODE in the environment
# DIRECTORY has upper, work, root, data and the table `mounts` (kind, source or options, target, mode; tab-separated).
set -euo pipefail
exec 3>&1 1>&2
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
base=$1 directory=$2 root=$2/root
# The shell itself opens this file, so it reads its own pid as the machine counts it.
read -r pid _ </proc/self/stat
printf 'pid %s\n' "$pid" >&3

hostname "$HOSTNAME_"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$directory/upper,workdir=$directory/work$OVERLAY_OPTIONS" "$root"
mount -t proc proc "$root/proc"
# A user namespace may not mount a sysfs for a network namespace that is not its own.
mount -t sysfs -o ro sysfs "$root/sys" 2>/dev/null || mount --rbind /sys "$root/sys"

mount -t tmpfs -o mode=755,size=64k tmpfs "$root/dev"
for node in null zero full random urandom tty; do
  : >"$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o size=1g tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=755 tmpfs "$root/run"

mount --bind "$directory/data" "$root$DATA_DIR"
[ "$DATA_MODE" = rw ] || mount -o remount,bind,ro "$root$DATA_DIR"
while IFS=$'\t' read -r kind source target mode; do
  case $kind in
    bind)
      if [ -d "$source" ]; then mkdir -p "$root$target"; else mkdir -p "$root${target%/*}"; : >>"$root$target"; fi
      mount --bind "$source" "$root$target"
      [ "$mode" = rw ] || mount -o remount,bind,ro "$root$target"
      ;;
    cgroup)
      mountpoint -q "$root/sys/fs/cgroup" || mount -t tmpfs -o mode=755,size=64k tmpfs "$root/sys/fs/cgroup"
      mkdir -p "$root$target"
      mount -t cgroup -o "$source" cgroup "$root$target"
      ;;
    cgroup2) mount -t cgroup2 -o "$source" cgroup2 "$root$target" ;;
  esac
done <"$directory/mounts"

cd "$root"
mkdir -p .old
pivot_root . .old
umount -l .old
rmdir .old
[ "$NETWORK" = host ] || ip link set lo up
exec env -i PATH="$PATH" /bin/bash /init/boot/boot.sh
