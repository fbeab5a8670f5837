#!/bin/sh
# bootstrap.sh [--check] [--boot-hook=yes|no] ROOT, or bootstrap.sh --unhook ROOT
# Make ROOT a box's gpubox root: controller environment, boxctl, keeper, supervisord. What is there already stays.
#
# Words go to stderr; stdout ends in one JSON object: {"root","python","changed"}, or {"error","hint"}.
# --check changes nothing and tells in "changed" whether anything would be.
# --boot-hook=yes (as root, or by sudo) has the box start everything when it boots; =no undoes that. Without it the hook stays as it is.
# --unhook undoes it and does nothing else.
# Exit codes: 0 done, 1 failed, 2 usage, 3 no usable Python, 4 the package index cannot be reached.
# Environment: GPUBOX_PYTHON (the Python to use), GPUBOX_INDEX_URL, GPUBOX_EXTRA_INDEX_URLS, GPUBOX_FIND_LINKS (blanks
# between), GPUBOX_NO_INDEX=1; without these four the box's own pip configuration counts. GPUBOX_SYSTEM: directory that
# stands for / where the hook goes, when an image is made.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
miniconda=/root/miniconda3
changed=false
py='' bare='' found='' uv=''

say() { printf '%s\n' "$*" >&2; }

# Text of a JSON string.
quoted() { printf '%s' "$1" | tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g'; }

# fail CODE MESSAGE HINT
told=false
fail() {
    if ! $told && [ "$1" -ne 2 ]; then full_disk; fi
    told=true
    printf '{"error": "%s", "hint": "%s"}\n' "$(quoted "$2")" "$(quoted "$3")"
    exit "$1"
}

# Fails when the disk is full: whatever fails on it says so in words of its own, or none.
full_disk() {
    # shellcheck disable=SC2046 # fields of one line
    set -- $(df -Pk "$root" 2>/dev/null | tail -n 1)
    if [ "${4:-1024}" -lt 1024 ]; then
        told=true
        fail 1 "no space left on the disk of $root" "free some (\`df -h $root\`), then try again"
    fi
}

explain() {
    if [ $? -ne 0 ] && ! $told; then full_disk; fi
}

digest() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum; else cksum; fi | cut -d' ' -f1
}

# What to install, and with which Python it was: a box's system disk may be reset under its data disk.
stamp() {
    wanted=$(grep -v '^#' "$here/requirements.txt" | digest)
    version=$("$controller/bin/python" -c 'import sys, ansible, pydantic, supervisor
print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || return 1
    printf '%s %s\n' "$wanted" "$version"
}

controller_is_right() {
    [ -f "$controller/.gpubox-stamp" ] && [ -x "$controller/bin/uv" ] && now=$(stamp) &&
        [ "$now" = "$(cat "$controller/.gpubox-stamp")" ]
}

# full: 3.11 to 3.13 with venv and ensurepip; bare: without ensurepip (Debian's, without python3-venv).
kind() {
    "$1" -c 'import sys, venv
if not (3, 11) <= sys.version_info[:2] <= (3, 13): sys.exit(1)
try:
    import ensurepip
    print("full")
except ImportError:
    print("bare")' 2>/dev/null
}

choose() {
    for candidate in ${GPUBOX_PYTHON:-} python3.13 python3.12 python3.11 python3 "$miniconda/bin/python" \
        "$root"/python/bin/python "$root"/python/*/bin/python3.11; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        found="$found $candidate ($("$candidate" -V 2>&1 | head -n 1))"
        case $(kind "$candidate") in
        full) py=$candidate && return 0 ;;
        bare) [ -n "$bare" ] || bare=$candidate ;;
        esac
    done
    return 1
}

# Where packages come from, for pip and uv, as exported variables; $1 is a Python.
set_index() {
    settings=$("$1" -m pip config list 2>/dev/null || true)
    lines=$(printf '%s\n' "$settings" | "$1" "$here/index_env.py") ||
        fail 1 "the package index settings cannot be read" "look at \`$1 -m pip config list\`"
    eval "$lines"
    # A dead index is found out in seconds, not minutes.
    PIP_RETRIES=${PIP_RETRIES:-2} PIP_DEFAULT_TIMEOUT=${PIP_DEFAULT_TIMEOUT:-15} UV_HTTP_RETRIES=${UV_HTTP_RETRIES:-2}
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR=${PIP_CACHE_DIR:-$root/cache/pip}
    UV_CACHE_DIR=${UV_CACHE_DIR:-$root/cache/uv}
    UV_PYTHON_DOWNLOADS=never
    export PIP_RETRIES PIP_DEFAULT_TIMEOUT PIP_DISABLE_PIP_VERSION_CHECK PIP_CACHE_DIR
    export UV_HTTP_RETRIES UV_CACHE_DIR UV_PYTHON_DOWNLOADS
    # uv does not read the system's CA store by itself.
    if [ -z "${SSL_CERT_FILE:-}" ] && [ -f /etc/ssl/certs/ca-certificates.crt ]; then
        SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
        export SSL_CERT_FILE
    fi
}

# install COMMAND...: run an installer; when it fails say why.
install() {
    if "$@" >"$root/bootstrap.log" 2>&1; then return 0; fi
    cat "$root/bootstrap.log" >&2
    words=$(grep -v '^ *$' "$root/bootstrap.log" | tail -n 3)
    if grep -q -i 'no space left\|disk quota' "$root/bootstrap.log"; then
        fail 1 "no space left on the disk of $root" "free some (\`df -h $root\`), then try again"
    elif grep -q -i -E "$unreachable" "$root/bootstrap.log"; then
        reason=$(grep -o -i -E "$reasons" "$root/bootstrap.log" | tail -n 1)
        fail 4 "the package index $(printf '%s' "${PIP_INDEX_URL:-(the default one)}" | sed 's|//[^/]*@|//|') cannot be reached: ${reason:-$words}" \
            "set \`python_env.index_url\` in the box file (GPUBOX_INDEX_URL here) to an index that this box reaches"
    fi
    fail 1 "the controller environment could not be made: $words" "\`$root/bootstrap.log\` has all of it"
}
unreachable='failed to fetch|error sending request|connect|timed out|name resolution|dns error|no matching distribution'
# The words of pip and uv that a person wants to see, of all that they say.
reasons='temporary failure in name resolution|name or service not known|connection refused|network is unreachable'
reasons="$reasons|no route to host|connect(ion)? timed out|read timed out|connection reset|certificate verify failed"
reasons="$reasons|dns error[^:\"]*|(40[0-9]|50[0-9]) (client|server) error[^\"]*"
unreachable="$unreachable|could not fetch|certificate|not found in the package registry|no solution found|network"

# An older Python's pip, or an uv that is there, fetches a Python that will do.
python_by_uv() {
    if command -v uv >/dev/null 2>&1; then
        uv=$(command -v uv)
    else
        for old in python3 python "$miniconda/bin/python"; do
            "$old" -m pip --version >/dev/null 2>&1 || continue
            set_index "$old"
            say "fetching uv with the pip of $old"
            install "$old" -m pip install --quiet --upgrade --target "$root/cache/uv-tool" "$(grep '^uv==' "$here/requirements.txt")"
            uv=$root/cache/uv-tool/bin/uv
            break
        done
    fi
    [ -n "$uv" ] || return 1
    say "fetching Python 3.11 with uv (about 30 MB)"
    UV_PYTHON_INSTALL_DIR=$root/python "$uv" python install --no-bin 3.11 >"$root/bootstrap.log" 2>&1 || {
        cat "$root/bootstrap.log" >&2
        fail 4 "no Python 3.11 to 3.13 here, and uv cannot fetch one: $(tail -n 2 "$root/bootstrap.log")" \
            "set UV_PYTHON_INSTALL_MIRROR to a mirror that this box reaches, or install Python 3.11 yourself"
    }
    choose
}

python_by_conda() {
    for conda in conda "$miniconda/bin/conda"; do
        command -v "$conda" >/dev/null 2>&1 || continue
        say "making a Python 3.11 with conda (a minute or two)"
        "$conda" create -y -q -p "$root/python" python=3.11 >"$root/bootstrap.log" 2>&1 && choose && return 0
        tail -n 3 "$root/bootstrap.log" >&2
    done
    return 1
}

make_environment() {
    if choose || python_by_conda; then
        "$py" -m venv --clear "$controller" >"$root/bootstrap.log" 2>&1 ||
            fail 1 "\`$py -m venv\` failed: $(tail -n 2 "$root/bootstrap.log")" "\`$root/bootstrap.log\` has all of it"
        set_index "$controller/bin/python"
        install "$controller/bin/python" -m pip install --quiet "$(grep '^uv==' "$here/requirements.txt")"
        uv=$controller/bin/uv
    elif [ -n "$bare" ] && "$bare" -m pip --version >/dev/null 2>&1; then
        "$bare" -m venv --clear --without-pip "$controller"
        set_index "$bare"
        install "$bare" -m pip --python "$controller/bin/python" install --quiet "$(grep '^uv==' "$here/requirements.txt")"
        uv=$controller/bin/uv
    elif [ -n "$bare" ] && command -v uv >/dev/null 2>&1; then
        "$bare" -m venv --clear --without-pip "$controller"
        set_index "$bare"
        uv=$(command -v uv)
    elif [ -n "$bare" ]; then
        fail 3 "$bare has neither ensurepip nor pip, so it can make no environment" \
            "\`apt-get install python3-venv\`, then try again"
    elif python_by_uv; then
        make_environment
    else
        fail 3 "no Python 3.11 to 3.13 on this box (found:${found:- none}), no conda, and no pip to fetch one with" \
            "\`apt-get install python3 python3-venv\` where that is 3.11 or newer, or install Miniconda in $miniconda"
    fi
}

make_controller() {
    say "making the controller environment (about 10 s)"
    rm -f "$controller/.gpubox-stamp"
    make_environment
    say "installing ansible-core and supervisor"
    # All versions are pinned in the file, with what they need.
    # uv has no variable for this one.
    if [ "${PIP_NO_INDEX:-}" = 1 ]; then set -- --no-index; else set --; fi
    install "$uv" pip install "$@" --python "$controller/bin/python" --no-deps -r "$here/requirements.txt"
    made=$(stamp) || fail 1 "the new controller environment does not work" "\`rm -rf $controller\`, then try again"
    printf '%s\n' "$made" >"$controller/.gpubox-stamp"
}

# Put FILE into place at once, when it differs: programs may be reading it. put FILE PLACE MODE
put() {
    if [ -f "$2" ] && cmp -s "$1" "$2"; then return 0; fi
    changed=true
    $check && return 0
    cp "$1" "$2.new" && chmod "$3" "$2.new" && mv "$2.new" "$2"
}

put_files() {
    $check || mkdir -p "$root/bin" "$root/lib/boxctl" "$root/supervisor"
    $check || chmod 700 "$root/supervisor"
    # With these here anyone can run it again, and the role finds that nothing is to be copied.
    for file in requirements.txt index_env.py; do put "$here/$file" "$root/lib/$file" 644; done
    for file in bootstrap.sh keeper.sh autostart.sh boxctl.sh; do put "$here/$file" "$root/lib/$file" 755; done
    for file in "$here"/boxctl/*.py; do put "$file" "$root/lib/boxctl/${file##*/}" 644; done
    put "$here/keeper.sh" "$root/supervisor/keeper.sh" 755
    put "$here/autostart.sh" "$root/supervisor/autostart.sh" 755
    put "$here/boxctl.sh" "$root/bin/boxctl" 755
}

# text CONTENT PLACE MODE: the same for a text that is no file yet.
text() {
    if [ -f "$2" ] && [ "$(cat "$2")" = "$1" ]; then return 0; fi
    changed=true
    $check && return 0
    mkdir -p "${2%/*}"
    printf '%s\n' "$1" >"$2.new" && chmod "$3" "$2.new" && mv "$2.new" "$2"
}

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Whether this user can change what the box does when it boots: root, and on a machine with systemd who becomes root
# without a password. The boot of the machine is not that of a box which has a scratch HOME on it.
may_hook() {
    case ${HOME:-/} in / | "$(eval "printf %s ~$(id -un)")") ;; *) return 1 ;; esac
    [ "$(id -u)" -eq 0 ] || { [ -d "${GPUBOX_SYSTEM:-}/run/systemd/system" ] && sudo -n true 2>/dev/null; }
}

# A machine with systemd reads neither file of `put_hook` when it boots. As sd_booted(3) tells it.
put_unit() {
    [ -d "${GPUBOX_SYSTEM:-}/run/systemd/system" ] || return 0
    name=gpubox-$(id -un).service
    units=${GPUBOX_SYSTEM:-}/etc/systemd/system
    if [ "$hook" = yes ]; then
        unit="# Made by gpubox: starts what it keeps running on this box, unless it runs already.
[Unit]
Description=What gpubox keeps running
After=network.target
RequiresMountsFor=\"$root\"

[Service]
Type=oneshot
RemainAfterExit=yes
User=$(id -un)
ExecStart=/bin/sh \"$root/supervisor/autostart.sh\" \"$root\"

[Install]
WantedBy=multi-user.target"
        if [ -L "$units/multi-user.target.wants/$name" ] && [ "$(cat "$units/$name")" = "$unit" ]; then return 0; fi
        changed=true
        $check && return 0
        # shellcheck disable=SC2016 # for the other shell
        printf '%s\n' "$unit" | as_root sh -c \
            'cd "$1" && cat >"$2" && chmod 644 "$2" && mkdir -p multi-user.target.wants && ln -sf "../$2" multi-user.target.wants/' \
            sh "$units" "$name"
    elif grep -qF "\"$root\"" "$units/$name" 2>/dev/null; then
        changed=true
        $check || as_root rm -f "$units/$name" "$units/multi-user.target.wants/$name"
    fi
}

# PID 1 of an AutoDL box sources /etc/profile when it boots; its customer.cmd.sh runs /etc/autodl.sh.
put_hook() {
    put_unit
    [ "$(id -u)" -eq 0 ] || return 0
    profile=${GPUBOX_SYSTEM:-}/etc/profile.d/gpubox.sh
    autodl=${GPUBOX_SYSTEM:-}/etc/autodl.sh
    line="sh '$root/supervisor/autostart.sh' '$root' >/dev/null 2>&1 </dev/null || :"
    if [ "$hook" = yes ]; then
        text "# Made by gpubox: starts what it keeps running on this box, unless it runs already.
if [ -r '$root/supervisor/autostart.sh' ]; then
    $line
fi" "$profile" 644
        if [ -f "${GPUBOX_SYSTEM:-}/init/bin/customer.cmd.sh" ] && ! grep -qxF "$line" "$autodl" 2>/dev/null; then
            before=$(cat "$autodl" 2>/dev/null || echo '#!/bin/bash')
            text "$before
$line" "$autodl" 755
        fi
    else
        if [ -f "$profile" ] && grep -qF "'$root/" "$profile"; then
            changed=true
            $check || rm -f "$profile"
        fi
        if grep -qxF "$line" "$autodl" 2>/dev/null; then text "$(grep -vxF "$line" "$autodl")" "$autodl" 755; fi
    fi
}

check=false unhook=false hook=''
while [ $# -gt 1 ]; do
    case $1 in
    --check) check=true ;;
    --unhook) unhook=true hook=no ;;
    --boot-hook=yes | --boot-hook=no) hook=${1#*=} ;;
    *) break ;;
    esac
    shift
done
if [ $# -ne 1 ]; then say "usage: bootstrap.sh [--check] [--boot-hook=yes|no] ROOT" && exit 2; fi
case $1 in
/*) root=${1%/} ;;
*) fail 2 "\`$1\` is no absolute path" "give the root as in /root/autodl-tmp/gpubox" ;;
esac
controller=$root/controller
# For anybody else `gpubox start` starts everything.
if [ -n "$hook" ] && ! may_hook; then hook=''; fi

if $unhook; then
    [ -z "$hook" ] || put_hook
    printf '{"root": "%s", "changed": %s}\n' "$(quoted "$root")" $changed
    exit 0
fi

if $check; then
    controller_is_right || changed=true
    put_files
    [ -z "$hook" ] || put_hook
    "$root/bin/boxctl" boot --check 2>/dev/null | grep -q '"changed": false' || changed=true
    printf '{"root": "%s", "python": "%s", "changed": %s}\n' "$(quoted "$root")" "$(quoted "$controller/bin/python")" $changed
    exit 0
fi

trap explain EXIT
trouble=$(mkdir -p "$root/cache" 2>&1 && touch "$root/bootstrap.log" 2>&1) ||
    fail 1 "cannot write to \`$root\`: $trouble" "choose a \`data_dir\` that this user can write to, with room (\`df -h\`)"

# One at a time; the second waits. Without flock(1) Python takes the lock: it belongs to the open file.
exec 8>>"$root/bootstrap.lock"
if command -v flock >/dev/null 2>&1; then
    flock 8
elif choose || [ -n "$bare" ]; then
    "${py:-$bare}" -c 'import fcntl; fcntl.flock(8, fcntl.LOCK_EX)'
fi

controller_is_right || { make_controller && changed=true; }
put_files
# Now, and never when it runs (-B in boxctl.sh): on a disk that is full by then Python leaves half of a compiled module
# behind, and trips over it ever after.
if $changed; then "$controller/bin/python" -m compileall -q "$root/lib/boxctl" >/dev/null 2>&1 || :; fi
[ -z "$hook" ] || put_hook
answer=$("$root/bin/boxctl" boot) || { told=true && printf '%s\n' "$answer" && exit 1; }
case $answer in *'"changed": true'*) changed=true ;; esac
printf '{"root": "%s", "python": "%s", "changed": %s}\n' "$(quoted "$root")" "$(quoted "$controller/bin/python")" $changed
