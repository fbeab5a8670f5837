#!/bin/bash
# PID 1 of a test box, like AutoDL's /init/boot/boot.sh: no systemd, but /etc/profile (and so /etc/profile.d) is read at
# every boot, and /etc/autodl.sh is run. File descriptor 3 tells the box's warden that the box is up.
export HOME=/root
mkdir -p /run/sshd
printf 'root:%s\n' "$(cat /sync/root-passwd)" | chpasswd -c SHA512 3>&-
# shellcheck source=/dev/null
. /etc/profile 3>&-
if [ -f /etc/autodl.sh ]; then
  bash /etc/autodl.sh 3>&- &
fi
# Without a handler the kernel keeps PID 1 from the SIGTERM that `shutdown` sends.
trap 'exit 0' TERM
echo ready >&3
exec 3>&-
while :; do
  sleep infinity &
  wait "$!"
done
