#!/bin/sh
# autostart.sh ROOT: run at each login and at boot; starts the keeper in the background when it does not run.
keeper=$1/supervisor/keeper.sh
# After a boot the pid of the keeper of before may be anybody's, and boots are alike: often it is that of the program
# which looks. So that one must not have the keeper's path among its own words, as grep would.
if read -r pid 2>/dev/null <"$1/supervisor/keeper.pid"; then
    case $(tr '\000' ' ' 2>/dev/null <"/proc/$pid/cmdline") in
    *"$keeper"*) exit 0 ;;
    esac
fi 2>/dev/null
# A login that ends at once shall not take it along.
if command -v setsid >/dev/null 2>&1; then
    setsid "$1/bin/boxctl" boot --hook </dev/null >/dev/null 2>&1 &
else
    "$1/bin/boxctl" boot --hook </dev/null >/dev/null 2>&1 &
fi
