#!/bin/sh
# autostart.sh ROOT: run at each login and at boot; starts the keeper in the background when it does not run.
keeper=$1/supervisor/keeper.sh
if read -r pid 2>/dev/null <"$1/supervisor/keeper.pid" && grep -q "$keeper" "/proc/$pid/cmdline" 2>/dev/null; then
    exit 0
fi
# A login that ends at once shall not take it along.
if command -v setsid >/dev/null 2>&1; then
    setsid "$1/bin/boxctl" boot --hook </dev/null >/dev/null 2>&1 &
else
    "$1/bin/boxctl" boot --hook </dev/null >/dev/null 2>&1 &
fi
