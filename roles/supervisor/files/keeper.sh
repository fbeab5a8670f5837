#!/bin/sh
# keeper.sh ROOT: keeps supervisord running, without systemd. `boxctl boot` starts it in a session of its own.
# One per root (a lock); ends when ROOT/supervisor/stop appears or ROOT is gone, or on TERM, and supervisord before it.
set -u
root=$1
place=$root/supervisor
python=$root/controller/bin/python
child=

exec 9>>"$place/keeper.lock" || exit 1
if command -v flock >/dev/null 2>&1; then
    flock -n 9 || exit 0
else
    # The lock belongs to the open file, which this shell goes on holding when Python is gone.
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null || exit 0
fi
echo $$ >"$place/keeper.pid"
exec >"$place/keeper.log" 2>&1 </dev/null
GPUBOX_ROOT=$root
PYTHONPATH=$root/lib
export GPUBOX_ROOT PYTHONPATH

wanted() {
    [ -d "$place" ] && [ ! -e "$place/stop" ]
}

# A supervisord that an earlier, killed keeper left behind is kept, not doubled.
running() {
    read -r pid 2>/dev/null <"$place/supervisord.pid" || return 1
    grep -q "$place/supervisord.conf" "/proc/$pid/cmdline" 2>/dev/null || return 1
    child=$pid
}

finish() {
    trap '' TERM INT HUP
    if [ -n "$child" ] && kill -TERM "$child" 2>/dev/null; then
        while kill -0 "$child" 2>/dev/null; do sleep 1; done
    fi
    rm -f "$place/keeper.pid"
    exit 0
}
trap finish TERM INT
trap '' HUP

quick=0
while wanted; do
    if ! running; then
        # Python would inherit the lock, and a new keeper could not take over.
        "$python" -s -P -m boxctl.prepare "$root" 9>&- &&
            { "$python" -s -P -m supervisor.supervisord -n -c "$place/supervisord.conf" 9>&- & child=$!; }
    fi
    lived=0
    while [ -n "$child" ] && kill -0 "$child" 2>/dev/null; do
        # Interruptible by TERM; the root may be removed under our feet.
        sleep 1 9>&- &
        wait $!
        lived=$((lived + 1))
        [ -d "$place" ] || finish
    done
    child=
    # One that will not live (a full disk) is tried less often.
    if [ "$lived" -lt 5 ]; then quick=$((quick + 1)); else quick=0; fi
    if [ "$quick" -gt 5 ]; then sleep 10 9>&-; else sleep 1 9>&-; fi
done
rm -f "$place/keeper.pid"
