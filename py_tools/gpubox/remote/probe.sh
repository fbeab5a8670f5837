#!/bin/sh
# Facts of a box as one line of JSON on stdout; nothing is installed, changed or left behind.
#
#   sh probe.sh [DATA_DIR]            or, over SSH:  env GPUBOX_PORTS="8000 8080" sh -s -- DATA_DIR < probe.sh
#
# Runs under dash, bash and busybox sh, without Python and without root. All sizes are in bytes.
# GPUBOX_PORTS       ports whose holders are looked up, should they be taken on 127.0.0.1
# GPUBOX_PROBE_ROOT  directory that stands for / (tests give fake /proc, /sys, /dev trees)
# GPUBOX_PROBE_WAIT  seconds that one command may hang (nvidia-smi, df on a dead network disk); 8 unless told

R=${GPUBOX_PROBE_ROOT:-}
WAIT=${GPUBOX_PROBE_WAIT:-8}
LANGUAGE_SET=${LC_ALL:-${LC_CTYPE:-${LANG:-}}}
LC_ALL=C
export LC_ALL
if [ -z "$R" ]; then
    # The PATH of a non-interactive login often lacks these.
    PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export PATH
fi
TAB=$(printf '\t')
# Busybox before 1.30 had another syntax.
if timeout -s KILL 5 true 2>/dev/null; then TIMEOUT_WORKS=yes; else TIMEOUT_WORKS=no; fi

# ---- JSON ----------------------------------------------------------------------------------------------------------

have() { command -v "$1" >/dev/null 2>&1; }

valid_utf8() {
    if have iconv; then iconv -c -f UTF-8 -t UTF-8 2>/dev/null; else tr '\200-\377' '?'; fi
}

# quote TEXT: sets QUOTED. Plain text costs no process.
quote() {
    case $1 in
        *[!A-Za-z0-9" ._/:,@+=()%~;-"]*)
            QUOTED=\"$(printf '%s' "$1" | valid_utf8 | tr '\n\t' '  ' | tr -d '\000-\037\177' | sed 's/\\/\\\\/g; s/"/\\"/g')\"
            ;;
        *) QUOTED=\"$1\" ;;
    esac
}

# Each of these adds one member to BODY.
raw() { BODY="$BODY${BODY:+,}\"$1\":$2"; }
text() { quote "$2"; raw "$1" "$QUOTED"; }
text_or_null() { if [ -n "$2" ]; then text "$1" "$2"; else raw "$1" null; fi; }
flag() { if [ "$2" = yes ]; then raw "$1" true; else raw "$1" false; fi; }
number() {
    case $2 in
        '' | *[!0-9.-]*) raw "$1" null ;;
        *) raw "$1" "$2" ;;
    esac
}

# section NAME: wraps BODY into DOCUMENT under that name.
section() { DOCUMENT="$DOCUMENT,\"$1\":{$BODY}"; BODY=; }

# ---- small helpers -------------------------------------------------------------------------------------------------

# limited COMMAND ARGS: runs a program or a function, for WAIT seconds at most. Exit code above 123: it was ended.
limited() {
    case $TIMEOUT_WORKS$(command -v "$1") in
        yes*/*)
            # Ends the whole process group, so that no grandchild keeps our pipe open.
            timeout -s KILL "$WAIT" "$@"
            return $?
            ;;
    esac
    "$@" &
    limited_pid=$!
    (
        sleep "$WAIT" &
        trap 'kill $!; exit' TERM
        wait $!
        kill -KILL "$limited_pid"
    ) >/dev/null 2>&1 &
    limited_watch=$!
    wait "$limited_pid" 2>/dev/null
    limited_code=$?
    kill "$limited_watch" 2>/dev/null
    wait "$limited_watch" 2>/dev/null
    return "$limited_code"
}

# first_line FILE: sets LINE, empty when the file is missing or unreadable.
first_line() {
    LINE=
    if [ -r "$1" ]; then read -r LINE <"$1" 2>/dev/null || :; fi
}

# is_count TEXT: a decimal that shell arithmetic holds (at most 18 digits; the "no limit" giants have 19 and more).
is_count() {
    case $1 in
        '' | *[!0-9]* | ???????????????????*) return 1 ;;
    esac
    return 0
}

# count_list "0-3,8": sets COUNT.
count_list() {
    COUNT=0
    count_rest=$1,
    while [ -n "$count_rest" ]; do
        count_item=${count_rest%%,*}
        count_rest=${count_rest#*,}
        count_low=${count_item%-*}
        count_high=${count_item#*-}
        if is_count "$count_low" && is_count "$count_high"; then
            COUNT=$((COUNT + count_high - count_low + 1))
        fi
    done
}

# at_most VALUE: lowers LEAST to VALUE; LEAST is empty before the first.
at_most() {
    if is_count "$1" && { [ -z "$LEAST" ] || [ "$1" -lt "$LEAST" ]; }; then LEAST=$1; fi
}

# decimal MILLI: sets DECIMAL, 1500 becomes 1.500.
decimal() {
    DECIMAL=
    if is_count "$1"; then DECIMAL=$(($1 / 1000)).$(printf '%03d' $(($1 % 1000))); fi
}

# without_secrets URL: sets CLEAN: no user, password, query or fragment.
without_secrets() { CLEAN=$(printf '%s' "$1" | sed 's#://.*@#://#; s/[?#].*$//'); }

# ---- cgroups -------------------------------------------------------------------------------------------------------

# cgroup_of CONTROLLER: sets BASE (mount), NEST (our path below it) and VERSION; BASE is empty when there is none.
cgroup_of() {
    BASE='' NEST='' VERSION=
    [ -r "$R/proc/self/cgroup" ] || return 0
    while IFS=: read -r _ cgroup_names cgroup_path; do
        case ",$cgroup_names," in
            *",$1,"*)
                for cgroup_dir in "$R/sys/fs/cgroup/$cgroup_names" "$R/sys/fs/cgroup/$1" \
                    "$R/sys/fs/cgroup/cpu,cpuacct" "$R/sys/fs/cgroup/cpuacct,cpu"; do
                    if [ -d "$cgroup_dir" ]; then BASE=$cgroup_dir NEST=$cgroup_path VERSION=1; return 0; fi
                done
                ;;
            ,,)
                for cgroup_dir in "$R/sys/fs/cgroup" "$R/sys/fs/cgroup/unified"; do
                    if [ -e "$cgroup_dir/cgroup.controllers" ] || [ -e "$cgroup_dir/cgroup.procs" ]; then
                        BASE=$cgroup_dir NEST=$cgroup_path VERSION=2
                        break
                    fi
                done
                ;;
        esac
    done <"$R/proc/self/cgroup"
    # Inside a container without cgroup namespace the path is the host's, and only the mount itself is ours.
    case $NEST in */..*) NEST=/ ;; esac
    return 0
}

# each_level FUNCTION: calls it with every directory from our cgroup up to the mount; the tightest level counts.
each_level() {
    level=${NEST%/}
    while :; do
        if [ -d "$BASE$level" ]; then "$1" "$BASE$level"; fi
        [ -n "$level" ] || break
        level=${level%/*}
    done
}

cpu_level() {
    cpu_quota='' cpu_period=
    if [ "$VERSION" = 2 ]; then
        first_line "$1/cpu.max"
        cpu_quota=${LINE%% *} cpu_period=${LINE##* }
    else
        first_line "$1/cpu.cfs_quota_us"
        cpu_quota=$LINE
        first_line "$1/cpu.cfs_period_us"
        cpu_period=$LINE
    fi
    if is_count "$cpu_quota" && is_count "$cpu_period" && [ "$cpu_period" -gt 0 ]; then
        at_most $((cpu_quota * 1000 / cpu_period))
    fi
}

cpuset_level() {
    for cpuset_file in "$1/cpuset.cpus.effective" "$1/cpuset.effective_cpus" "$1/cpuset.cpus"; do
        first_line "$cpuset_file"
        if [ -n "$LINE" ]; then
            count_list "$LINE"
            if [ "$COUNT" -gt 0 ] && { [ -z "$LEAST" ] || [ "$COUNT" -lt "$LEAST" ]; }; then
                LEAST=$COUNT CPU_LIST=$LINE
            fi
            return 0
        fi
    done
}

# How often the box was stopped because its CPU quota was used up; the level with the quota counts.
throttled_level() {
    while read -r throttled_key throttled_value; do
        [ "$throttled_key" = nr_throttled ] || continue
        if is_count "$throttled_value" && [ "$throttled_value" -ge "${THROTTLED:-0}" ]; then
            THROTTLED=$throttled_value
        fi
    done 2>/dev/null <"$1/cpu.stat"
}

memory_level() {
    if [ "$VERSION" = 2 ]; then memory_limit=memory.max memory_used=memory.current; else
        memory_limit=memory.limit_in_bytes memory_used=memory.usage_in_bytes
    fi
    first_line "$1/$memory_limit"
    if ! is_count "$LINE" || { is_count "$MEMORY_TOTAL" && [ "$LINE" -ge "$MEMORY_TOTAL" ]; }; then return 0; fi
    if [ -z "$LEAST" ] || [ "$LINE" -lt "$LEAST" ]; then
        LEAST=$LINE
        first_line "$1/$memory_used"
        MEMORY_LEFT=$LEAST
        if is_count "$LINE"; then
            # The page cache counts as used, but makes room when asked to.
            memory_cache=$(sed -n 's/^\(total_\)\{0,1\}inactive_file //p' "$1/memory.stat" 2>/dev/null | sort -n | tail -n 1)
            is_count "$memory_cache" || memory_cache=0
            MEMORY_LEFT=$((LEAST - LINE + memory_cache))
            if [ "$MEMORY_LEFT" -lt 0 ]; then MEMORY_LEFT=0; fi
            if [ "$MEMORY_LEFT" -gt "$LEAST" ]; then MEMORY_LEFT=$LEAST; fi
        fi
    fi
}

# ---- sections ------------------------------------------------------------------------------------------------------

# glibcxx_of FILE: sets GLIBCXX to the newest interface of that libstdc++, as in 3.4.30. The name of the file tells it
# (libstdc++.so.6.0.30 has GLIBCXX_3.4.30: libstdc++ manual, "ABI Policy and Guidelines"); a copy by another name is read.
glibcxx_of() {
    GLIBCXX=
    [ -r "$1" ] || return 0
    glibcxx_file=$(readlink -f "$1" 2>/dev/null)
    glibcxx_number=${glibcxx_file##*/libstdc++.so.6.0.}
    if is_count "$glibcxx_number"; then GLIBCXX=3.4.$glibcxx_number; else
        GLIBCXX=$(limited glibcxx_names | sort -t . -k 3n | tail -n 1)
    fi
}

glibcxx_names() { tr -cs 'A-Z0-9_.' '\n' <"$glibcxx_file" | sed -n 's/^GLIBCXX_\(3\.4\.[0-9]*\)$/\1/p'; }

system_section() {
    first_line "$R/proc/sys/kernel/hostname"
    HOSTNAME_SEEN=${LINE:-$(uname -n)}
    text hostname "$HOSTNAME_SEEN"
    text user "$(id -un 2>/dev/null || echo "${USER:-}")"
    number uid "$(id -u)"
    text home "${HOME:-/}"
    text shell "${SHELL:-}"
    os_id='' os_version='' os_name=
    for os_file in "$R/etc/os-release" "$R/usr/lib/os-release"; do
        [ -r "$os_file" ] || continue
        while IFS='=' read -r os_key os_value || [ -n "$os_key" ]; do
            case $os_value in \"*\") os_value=${os_value#\"} os_value=${os_value%\"} ;; esac
            case $os_value in \'*\') os_value=${os_value#\'} os_value=${os_value%\'} ;; esac
            case $os_key in
                ID) os_id=$os_value ;;
                VERSION_ID) os_version=$os_value ;;
                PRETTY_NAME) os_name=$os_value ;;
            esac
        done <"$os_file"
        break
    done
    text os_id "$os_id"
    text os_version "$os_version"
    text os_name "$os_name"
    text kernel "$(uname -s) $(uname -r)"
    text arch "$(uname -m)"
    libc_name=unknown
    libc_version=$(getconf GNU_LIBC_VERSION 2>/dev/null)
    case $libc_version in
        glibc\ *) libc_name=glibc libc_version=${libc_version#glibc } ;;
        *)
            libc_line=$(ldd --version 2>&1)
            libc_version=
            case $libc_line in
                *musl*)
                    libc_name=musl
                    libc_version=$(printf '%s\n' "$libc_line" | sed -n 's/^Version *//p')
                    ;;
                *GLIBC* | *GNU\ libc*)
                    libc_name=glibc
                    libc_version=$(printf '%s\n' "$libc_line" | sed -n '1s/^.* \([0-9][0-9.]*\)$/\1/p')
                    ;;
            esac
            ;;
    esac
    text libc "$libc_name"
    text_or_null libc_version "$libc_version"
    first_line "$R/proc/1/comm"
    text init "$LINE"
    GLIBCXX=
    for system_lib in "$R/usr/lib/$(uname -m)-linux-gnu" "$R"/usr/lib64 "$R"/lib64 "$R"/usr/lib/*-linux-gnu "$R"/usr/lib; do
        glibcxx_of "$system_lib/libstdc++.so.6"
        [ -z "$GLIBCXX" ] || break
    done
    text_or_null glibcxx "$GLIBCXX"
    system_paths=
    system_rest=${LD_LIBRARY_PATH:-}:
    while [ -n "$system_rest" ]; do
        system_path=${system_rest%%:*}
        system_rest=${system_rest#*:}
        # /usr/local/cuda is a link, and what it points to says which toolkit it is.
        if [ -n "$system_path" ]; then
            system_paths=$system_paths${system_paths:+:}$(readlink -f "$system_path" 2>/dev/null || echo "$system_path")
        fi
    done
    text_or_null ld_library_path "$system_paths"
    if [ -d "$R/run/systemd/system" ]; then flag systemd yes; else flag systemd no; fi
    text locale "$LANGUAGE_SET"
    number unix_time "$(date +%s)"
    section system
}

cpu_section() {
    cpu_affinity='' CPU_LIST='' THROTTLED=
    cpu_list=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' "$R/proc/self/status" 2>/dev/null)
    if [ -n "$cpu_list" ]; then
        count_list "$cpu_list"
        cpu_affinity=$COUNT
    elif [ -z "$R" ]; then
        cpu_affinity=$(nproc 2>/dev/null)
    fi

    LEAST=
    cgroup_of cpu
    if [ -n "$BASE" ]; then
        each_level cpu_level
        each_level throttled_level
    fi
    cpu_quota_milli=$LEAST
    LEAST=
    cgroup_of cpuset
    if [ -n "$BASE" ]; then each_level cpuset_level; fi
    cpu_set=$LEAST
    # The kernel keeps the affinity inside the cpuset; where both are known the shorter list is the true one.
    if [ -n "$cpu_list" ] && { [ -z "$cpu_set" ] || [ "$cpu_affinity" -le "$cpu_set" ]; }; then CPU_LIST=$cpu_list; fi

    CPU_LOGICAL='' cpu_model='' cpu_flags='' cpu_sockets='' cpu_physical='' cpu_allowed=
    if [ -r "$R/proc/cpuinfo" ]; then
        while IFS="$TAB" read -r cpu_key cpu_value; do
            case $cpu_key in
                logical) CPU_LOGICAL=$cpu_value ;;
                model) cpu_model=$cpu_value ;;
                sockets) cpu_sockets=$cpu_value ;;
                physical) cpu_physical=$cpu_value ;;
                allowed) cpu_allowed=$cpu_value ;;
                flags) cpu_flags=$cpu_value ;;
            esac
        done <<FOUND
$(awk -F: -v allowed="$CPU_LIST" '
    function may_run(cpu,    lists, n, at, ends) {
        n = split(allowed, lists, ",")
        for (at = 1; at <= n; at++) {
            split(lists[at], ends, "-")
            if (cpu >= ends[1] + 0 && cpu <= ends[ends[2] == "" ? 1 : 2] + 0) return 1
        }
        return n == 0
    }
    /^processor[ \t]*:/ { logical++; cpu = $2 + 0; mine = may_run(cpu) }
    /^(model name|Model|Hardware)[ \t]*:/ && model == "" { model = $0; sub(/^[^:]*:[ \t]*/, "", model) }
    /^physical id[ \t]*:/ { id = $2; if (!(id in sockets)) { sockets[id] = 1; s++ } }
    /^core id[ \t]*:/ {
        core = id "/" $2
        if (!(core in cores)) { cores[core] = 1; c++ }
        if (mine && !(core in own)) { own[core] = 1; p++ }
    }
    /^(flags|Features)[ \t]*:/ && flags == "" { flags = $2 }
    END { print "logical\t" logical; print "model\t" model; print "sockets\t" s; print "physical\t" c
        print "allowed\t" p; print "flags\t" flags }
' "$R/proc/cpuinfo" 2>/dev/null)
FOUND
    fi
    first_line "$R/sys/devices/system/cpu/online"
    if [ -n "$LINE" ]; then
        count_list "$LINE"
        if [ "$COUNT" -gt 0 ]; then CPU_LOGICAL=$COUNT; fi
    fi
    LEAST=
    for cpu_cores in "$CPU_LOGICAL" "$cpu_affinity" "$cpu_set"; do
        if is_count "$cpu_cores" && [ "$cpu_cores" -gt 0 ]; then at_most $((cpu_cores * 1000)); fi
    done
    at_most "$cpu_quota_milli"
    cpu_milli=$LEAST

    # Of boards that name no cores (arm) every CPU is one.
    LEAST=
    at_most "${cpu_allowed:-$((${cpu_milli:-0} / 1000))}"
    if is_count "$cpu_quota_milli"; then at_most $((cpu_quota_milli / 1000)); fi
    if [ "${LEAST:-0}" -lt 1 ]; then LEAST=1; fi
    cpu_own=$LEAST

    text model "$cpu_model"
    number logical "$CPU_LOGICAL"
    number physical "$cpu_physical"
    number sockets "$cpu_sockets"
    cpu_nodes=0
    for cpu_node in "$R"/sys/devices/system/node/node[0-9]*; do
        if [ -d "$cpu_node" ]; then cpu_nodes=$((cpu_nodes + 1)); fi
    done
    number numa_nodes "$cpu_nodes"
    number affinity "$cpu_affinity"
    number cpuset "$cpu_set"
    decimal "$cpu_quota_milli"
    number quota_cores "$DECIMAL"
    decimal "$cpu_milli"
    number effective "${DECIMAL:-0}"
    number physical_effective "$cpu_own"
    number throttled "$THROTTLED"
    first_line "$R/proc/loadavg"
    number load1 "${LINE%% *}"
    cpu_found=
    for cpu_flag in avx avx2 f16c fma avx512f avx512bw avx512vl avx512_vnni avx512_vbmi avx512_bf16 \
        amx_tile amx_int8 amx_bf16 asimd sve; do
        case " $cpu_flags " in
            *" $cpu_flag "*) cpu_found="$cpu_found${cpu_found:+,}\"$cpu_flag\"" ;;
        esac
    done
    raw flags "[$cpu_found]"
    section cpu
}

# The NUMA nodes whose memory the box may use, each with its size and how many of the box's CPUs are on it.
numa_section() {
    numa_allowed=$(sed -n 's/^Mems_allowed_list:[[:space:]]*//p' "$R/proc/self/status" 2>/dev/null)
    numa_all=$(
        for numa_dir in "$R"/sys/devices/system/node/node[0-9]*; do
            [ -d "$numa_dir" ] || continue
            first_line "$numa_dir/meminfo"
            # Not by `read`: some kernels answer nothing when asked for one byte of this file at a time, as dash does.
            echo "${numa_dir##*/node}|$(cat "$numa_dir/cpulist" 2>/dev/null)|$LINE"
        done | sort -n | awk -F'|' -v cpus="$CPU_LIST" -v nodes="$numa_allowed" '
            function mark(text, set,    lists, n, at, ends, one) {
                n = split(text, lists, ",")
                for (at = 1; at <= n; at++) {
                    split(lists[at], ends, "-")
                    for (one = ends[1] + 0; one <= ends[ends[2] == "" ? 1 : 2] + 0; one++) set[one] = 1
                }
                return n
            }
            BEGIN { any_cpu = !mark(cpus, mine); any_node = !mark(nodes, open) }
            any_node || ($1 + 0) in open {
                split("", here); count = 0
                if (mark($2, here)) for (one in here) if (any_cpu || one in mine) count++
                size = "null"
                if (match($3, /[0-9]+ kB/)) size = sprintf("%.0f", substr($3, RSTART, RLENGTH - 3) * 1024)
                printf "%s{\"node\":%d,\"memory\":%s,\"cpus\":%d}", many++ ? "," : "", $1, size, count
            }'
    )
    DOCUMENT="$DOCUMENT,\"numa\":[$numa_all]"
}

# meminfo KEY: sets COUNT to bytes, empty when the key is missing.
meminfo() {
    COUNT=$(sed -n "s/^$1: *\\([0-9]*\\) kB\$/\\1/p" "$R/proc/meminfo" 2>/dev/null)
    if is_count "$COUNT"; then COUNT=$((COUNT * 1024)); else COUNT=; fi
}

memory_section() {
    meminfo MemTotal
    MEMORY_TOTAL=$COUNT
    meminfo MemAvailable
    memory_available=$COUNT
    LEAST='' MEMORY_LEFT=
    cgroup_of memory
    memory_version=$VERSION
    if [ -n "$BASE" ]; then each_level memory_level; fi
    memory_cgroup=$LEAST
    number host_total "$MEMORY_TOTAL"
    number cgroup_limit "$memory_cgroup"
    number cgroup_version "$memory_version"
    LEAST=$MEMORY_TOTAL
    at_most "$memory_cgroup"
    number effective "${LEAST:-0}"
    LEAST=$memory_available
    at_most "$MEMORY_LEFT"
    number available "$LEAST"
    meminfo SwapTotal
    number swap "$COUNT"
    memory_shm=$(limited df -kP "$R/dev/shm" 2>/dev/null | sed -n '2s/^.* \([0-9][0-9]*\)  *[0-9][0-9]*  *[0-9][0-9]*  *[0-9-]*%\{0,1\}  *[^ ].*$/\1/p')
    if [ -d "$R/dev/shm" ] && is_count "$memory_shm"; then number shm $((memory_shm * 1024)); else number shm ""; fi
    section memory
}

# mount_of MOUNTPOINT: sets FS and OPTIONS from the mount table; the last mount on a place is the visible one.
mount_of() {
    FS='' OPTIONS=
    while read -r _ mount_point mount_type mount_options _; do
        case $mount_point in *\\0*) mount_point=$(printf '%b' "$mount_point") ;; esac
        if [ "$mount_point" = "$1" ]; then FS=$mount_type OPTIONS=$mount_options; fi
    done 2>/dev/null <"$R/proc/mounts"
}

# disk PATH: prints the JSON object of one place. A path that is not there yet is judged by its nearest parent.
disk() {
    BODY=
    text path "$1"
    disk_seen=$1
    if [ -d "$R$1" ]; then flag exists yes; else
        flag exists no
        while [ ! -d "$R$disk_seen" ] && [ "$disk_seen" != / ] && [ -n "$disk_seen" ]; do
            disk_parent=${disk_seen%/*}
            disk_seen=${disk_parent:-/}
        done
    fi
    text probed "$disk_seen"
    # Blocks, used, available, capacity and place are taken from the right: a source may contain spaces.
    disk_line=$(limited df -kP "$R$disk_seen" 2>/dev/null |
        sed -n '2s/^\(.*[^ ]\)  *\([0-9][0-9]*\)  *[0-9][0-9]*  *\(-\{0,1\}[0-9][0-9]*\)  *[0-9-]*%\{0,1\}  *\(\/.*\)$/\2	\3	\4	\1/p')
    IFS="$TAB" read -r disk_size disk_free disk_mount disk_source <<FOUND
$disk_line
FOUND
    text_or_null mount "$disk_mount"
    text_or_null source "$disk_source"
    mount_of "$disk_mount"
    text_or_null fs "$FS"
    if is_count "$disk_size"; then number size $((disk_size * 1024)); else number size ""; fi
    case $disk_free in -*) disk_free=0 ;; esac
    if is_count "$disk_free"; then number free $((disk_free * 1024)); else number free ""; fi
    disk_inodes=$(limited df -Pi "$R$disk_seen" 2>/dev/null |
        sed -n '2s/^.*[^ ]  *\([0-9][0-9]*\)  *[0-9][0-9]*  *\([0-9][0-9]*\)  *[0-9-]*%\{0,1\}  *\/.*$/\1 \2/p')
    case $disk_inodes in
        '' | "0 "*) number inodes_free "" ;; # btrfs and the like have no fixed number
        *) number inodes_free "${disk_inodes#* }" ;;
    esac
    case ",$OPTIONS," in *,ro,*) flag read_only yes ;; *) flag read_only no ;; esac
    disk_file=$R${disk_seen%/}/.gpubox-probe.$$
    if (umask 077 && echo probe >"$disk_file") 2>/dev/null; then flag writable yes; else flag writable no; fi
    rm -f "$disk_file" 2>/dev/null
    flag hung no
    printf '{%s}' "$BODY"
}

disks_section() {
    disks_all='' disks_seen=:
    for disks_path in / "${HOME:-/}" /tmp /root/autodl-tmp /root/autodl-fs "$DATA_DIR"; do
        case $disks_path in /) ;; /*) disks_path=${disks_path%/} ;; *) continue ;; esac
        case $disks_seen in *":$disks_path:"*) continue ;; esac
        disks_seen=$disks_seen$disks_path:
        case $disks_path in
            /root/autodl-*)
                # Only listed where it is; a stat of a dead network disk hangs too, hence the limit.
                limited is_there "$disks_path"
                case $? in 1) [ "$disks_path" = "$DATA_DIR" ] || continue ;; esac
                ;;
        esac
        disks_one=$(limited disk "$disks_path" 2>/dev/null)
        case $disks_one in
            \{*\}) ;;
            *)
                quote "$disks_path"
                disks_one="{\"path\":$QUOTED,\"exists\":true,\"writable\":false,\"hung\":true}"
                ;;
        esac
        disks_all="$disks_all${disks_all:+,}$disks_one"
    done
    DOCUMENT="$DOCUMENT,\"disks\":[$disks_all]"
}

is_there() { [ -d "$R$1" ]; }

is_usable() { [ -d "$R$1" ] && [ -w "$R$1" ]; }

SMI_FIELDS=index,name,memory.total,memory.free,driver_version,pcie.link.gen.max,uuid

# smi_query FIELDS: lines "Q <csv>" and one "R <exit code>".
smi_query() {
    {
        limited "$SMI" --query-gpu="$1" --format=csv,noheader,nounits 2>&1
        echo "exit=$?"
    } | sed 's/^exit=/R /; t
        s/^/Q /'
}

# Both calls run at the same time: without persistence mode each of them wakes the cards, which takes a second or two.
smi_all() {
    smi_query "$SMI_FIELDS,compute_cap" &
    limited "$SMI" 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9][0-9.]*\).*/C \1/p'
    wait $!
}

# gpu_line CSV: adds one card to GPUS; fails when the line is not one.
gpu_line() {
    case $1 in [0-9]*,*,*,*,*,*) ;; *) return 1 ;; esac
    gpu_rest="$1, "
    BODY=
    for gpu_field in index name memory_total memory_free driver pcie_gen uuid compute_cap; do
        gpu_value=${gpu_rest%%, *}
        gpu_rest=${gpu_rest#*, }
        case $gpu_value in *"N/A"* | *"Not Supported"* | *"Unknown"*) gpu_value= ;; esac
        case $gpu_field in
            index | pcie_gen) number $gpu_field "$gpu_value" ;;
            memory_*) if is_count "$gpu_value"; then number $gpu_field $((gpu_value * 1048576)); else number $gpu_field ""; fi ;;
            name | uuid) text $gpu_field "$gpu_value" ;;
            driver) text $gpu_field "$gpu_value"; GPU_DRIVER=$gpu_value ;;
            *) text_or_null $gpu_field "$gpu_value" ;;
        esac
    done
    GPUS="$GPUS${GPUS:+,}{$BODY}"
    BODY=
}

# read_smi LINES: sets GPUS, GPU_DRIVER, GPU_CUDA, GPU_CODE, GPU_SAID from what smi_all or smi_query printed.
read_smi() {
    GPUS='' GPU_SAID='' GPU_CODE=
    while read -r smi_kind smi_value; do
        case $smi_kind in
            Q) gpu_line "$smi_value" || GPU_SAID="$GPU_SAID${GPU_SAID:+ }$smi_value" ;;
            C) GPU_CUDA=$smi_value ;;
            R) GPU_CODE=$smi_value ;;
        esac
    done <<FOUND
$1
FOUND
}

gpu_section() {
    GPUS='' GPU_DRIVER='' GPU_CUDA='' GPU_SAID='' gpu_state=absent
    SMI=$(command -v nvidia-smi 2>/dev/null)
    # `command -v` passes over a placeholder without the executable bit.
    if [ -z "$SMI" ] && [ -e "$R/usr/bin/nvidia-smi" ]; then SMI=$R/usr/bin/nvidia-smi; fi
    if [ -n "$SMI" ] && [ ! -s "$SMI" ]; then
        gpu_state=placeholder
    elif [ -n "$SMI" ] && [ -x "$SMI" ]; then
        read_smi "$(smi_all)"
        case $GPU_SAID in
            # Drivers before 470 or so do not know this field.
            *compute_cap*) read_smi "$(smi_query "$SMI_FIELDS")" ;;
        esac
        if [ -n "$GPUS" ]; then gpu_state=ok; else
            case $GPU_CODE in 124 | 137) gpu_state=hung ;; *) gpu_state=failed ;; esac
        fi
    fi
    text nvidia_smi "$gpu_state"
    text_or_null nvidia_smi_says "$GPU_SAID"
    gpu_nodes=0
    for gpu_node in "$R"/dev/nvidia[0-9]*; do
        if [ -e "$gpu_node" ]; then gpu_nodes=$((gpu_nodes + 1)); fi
    done
    number device_nodes "$gpu_nodes"
    text_or_null driver "$GPU_DRIVER"
    text_or_null driver_cuda "$GPU_CUDA"
    raw cards "[$GPUS]"
    gpu_nvcc=$(command -v nvcc 2>/dev/null)
    if [ -z "$gpu_nvcc" ] && [ -x "$R/usr/local/cuda/bin/nvcc" ]; then gpu_nvcc=$R/usr/local/cuda/bin/nvcc; fi
    text_or_null nvcc "$gpu_nvcc"
    gpu_toolkit=
    if [ -n "$gpu_nvcc" ]; then
        gpu_toolkit=$(limited "$gpu_nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9][0-9.]*\).*/\1/p')
    fi
    text_or_null nvcc_version "$gpu_toolkit"
    gpu_toolkits=
    for gpu_dir in "$R"/usr/local/cuda-[0-9]*.[0-9]*; do
        if [ -x "$gpu_dir/bin/nvcc" ]; then
            quote "${gpu_dir#"$R"}"
            gpu_toolkits="$gpu_toolkits${gpu_toolkits:+,}$QUOTED"
        fi
    done
    raw toolkits "[$gpu_toolkits]"
    section gpu
}

PYTHON_ASKS='import sys
try:
    from importlib.util import find_spec
except ImportError:
    sys.exit(1)
print("\t".join(["%d.%d.%d" % sys.version_info[:3]] + ["yes" if find_spec(m) else "no" for m in ("venv", "ensurepip", "pip")] + [sys.executable]))'

pythons_section() {
    pythons_all='' pythons_seen=:
    for python_name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 \
        "$R/root/miniconda3/bin/python" "$R${HOME:-}/miniconda3/bin/python" "$R/opt/conda/bin/python" \
        "$R/usr/bin/python3" "$R/usr/local/bin/python3"; do
        python_path=$(command -v "$python_name" 2>/dev/null) || continue
        python_real=$(readlink -f "$python_path" 2>/dev/null || echo "$python_path")
        case $pythons_seen in *":$python_real:"*) continue ;; esac
        pythons_seen=$pythons_seen$python_real:
        python_says=$(limited "$python_path" -I -c "$PYTHON_ASKS" 2>/dev/null) || continue
        IFS="$TAB" read -r python_version python_venv python_ensurepip python_pip python_own <<FOUND
$python_says
FOUND
        # A pyenv shim stands for the Python behind it.
        python_real=$(readlink -f "$python_own" 2>/dev/null || echo "$python_own")
        case $pythons_seen in *":own=$python_real:"*) continue ;; esac
        pythons_seen=${pythons_seen}own=$python_real:
        BODY=
        text path "$python_own"
        text version "$python_version"
        flag venv "$python_venv"
        flag ensurepip "$python_ensurepip"
        flag pip "$python_pip"
        pythons_all="$pythons_all${pythons_all:+,}{$BODY}"
        BODY=
    done
    python_conda=
    for python_name in conda "$R/root/miniconda3/bin/conda" "$R${HOME:-}/miniconda3/bin/conda" "$R/opt/conda/bin/conda"; do
        python_conda=$(command -v "$python_name" 2>/dev/null) && break
    done
    DOCUMENT="$DOCUMENT,\"pythons\":[$pythons_all]"
    if [ -n "$python_conda" ]; then
        quote "$python_conda"
        DOCUMENT="$DOCUMENT,\"conda\":$QUOTED"
        python_prefix=$(readlink -f "$python_conda" 2>/dev/null || echo "$python_conda")
        python_prefix=${python_prefix%/*}
        glibcxx_of "${python_prefix%/*}/lib/libstdc++.so.6"
        text_or_null conda_glibcxx "$GLIBCXX"
        DOCUMENT="$DOCUMENT,$BODY" BODY=
    else
        DOCUMENT="$DOCUMENT,\"conda\":null,\"conda_glibcxx\":null"
    fi
}

tools_section() {
    for tool in rsync curl wget tar gzip zstd flock setsid git tmux gcc g++ cmake ninja timeout sha256sum sudo uv apt-get apk \
        dnf yum sshd ssh-keygen; do
        tool_path=$(command -v "$tool" 2>/dev/null)
        text_or_null "$tool" "$tool_path"
    done
    section tools
}

# compilers_ask: a line "@name" and what the program says of itself, for each that is there.
compilers_ask() {
    for compiler in gcc gxx cmake ninja git; do
        case $compiler in gxx) compiler_name=g++ ;; *) compiler_name=$compiler ;; esac
        have "$compiler_name" || continue
        echo "@$compiler"
        # Before gcc 7 there was only -dumpversion, since then that prints the first number alone.
        case $compiler in
            g*[cx]) "$compiler_name" -dumpfullversion -dumpversion ;;
            *) "$compiler_name" --version ;;
        esac
    done 2>/dev/null
}

# Versions of what sources are built with; null where there is none.
compilers_section() {
    compilers_seen=' '
    while read -r compiler_line; do
        case $compiler_line in
            @*) compiler=${compiler_line#@} ;;
            *[0-9]*)
                case $compilers_seen in *" $compiler "*) continue ;; esac
                compiler_line=${compiler_line#"${compiler_line%%[0-9]*}"}
                text "$compiler" "${compiler_line%%[!0-9.]*}"
                compilers_seen="$compilers_seen$compiler "
                ;;
        esac
    done <<FOUND
$(limited compilers_ask)
FOUND
    for compiler in gcc gxx cmake ninja git; do
        case $compilers_seen in *" $compiler "*) ;; *) raw "$compiler" null ;; esac
    done
    section compilers
}

# libnuma: vLLM's CPU build does not start without it, and small images lack it.
libraries_section() {
    library_path=
    for library_file in "$R"/usr/lib/*/libnuma.so.1 "$R"/lib/*/libnuma.so.1 "$R"/usr/lib64/libnuma.so.1 \
        "$R"/lib64/libnuma.so.1 "$R"/usr/lib/libnuma.so.1 "$R"/usr/local/lib/libnuma.so.1; do
        if [ -e "$library_file" ]; then library_path=$library_file && break; fi
    done
    text_or_null libnuma.so.1 "$library_path"
    section libraries
}

pip_section() {
    pip_index=${PIP_INDEX_URL:-}
    if [ -z "$pip_index" ]; then
        for pip_file in "$R${HOME:-}/.config/pip/pip.conf" "$R${HOME:-}/.pip/pip.conf" "$R/etc/pip.conf"; do
            [ -r "$pip_file" ] || continue
            pip_index=$(sed -n 's/^[[:space:]]*index[-_]url[[:space:]]*[=:][[:space:]]*//p' "$pip_file" | sed -n '1p')
            [ -z "$pip_index" ] || break
        done
    fi
    without_secrets "$pip_index"
    text_or_null index_url "$CLEAN"
    section pip
}

# listeners: lines "PORT INODE" of the sockets that keep others from a port of 127.0.0.1.
listeners() {
    for listen_file in "$R/proc/net/tcp" "$R/proc/net/tcp6"; do
        if [ -r "$listen_file" ]; then cat "$listen_file"; fi
    done | awk '
        BEGIN {
            # 127.0.0.1, 0.0.0.0, ::, and the two IPv4 ones as IPv6 sockets show them
            taken["0100007F"]; taken["00000000"]; taken["00000000000000000000000000000000"]
            taken["0000000000000000FFFF00000100007F"]; taken["0000000000000000FFFF000000000000"]
        }
        function decimal(hex,    value, at) {
            for (at = 1; at <= length(hex); at++) value = value * 16 + index("0123456789ABCDEF", substr(hex, at, 1)) - 1
            return value
        }
        $4 == "0A" {
            split($2, place, ":")
            if (place[1] in taken && !(place[2] in seen)) { seen[place[2]]; print decimal(place[2]), $10 }
        }'
}

# holder INODE: sets HOLDER to the name of the program, where we may see it.
holder() {
    HOLDER=
    for holder_dir in "$R"/proc/[0-9]*; do
        [ -r "$holder_dir/fd" ] || continue
        # shellcheck disable=SC2010 # names under /proc/*/fd are numbers; what they point to is what we look for
        if ls -l "$holder_dir/fd" 2>/dev/null | grep -q "socket:\[$1\]"; then
            first_line "$holder_dir/comm"
            HOLDER="$LINE (pid ${holder_dir##*/})"
            return 0
        fi
    done
}

ports_section() {
    ports_listening='' ports_holders=''
    while read -r port inode; do
        [ -n "$port" ] || continue
        ports_listening="$ports_listening${ports_listening:+,}$port"
        # Who holds a port is looked up for the wanted ones only: it reads all of /proc.
        case " ${GPUBOX_PORTS:-} " in
            *" $port "*)
                holder "$inode"
                if [ -n "$HOLDER" ]; then
                    quote "$HOLDER"
                    ports_holders="$ports_holders${ports_holders:+,}\"$port\":$QUOTED"
                fi
                ;;
        esac
    done <<FOUND
$(listeners)
FOUND
    DOCUMENT="$DOCUMENT,\"listening\":[$ports_listening],\"holders\":{$ports_holders}"
}

# json_string FILE KEY: sets LINE to the value of a string member of a small flat JSON file.
json_string() { LINE=$(sed -n "s/.*\"$2\": *\"\\([^\"]*\\)\".*/\\1/p" "$1" 2>/dev/null | sed -n '1p'); }

gpubox_section() {
    text root "$ROOT_DIR"
    for gpubox_key in digest bundle at; do
        json_string "$R$ROOT_DIR/converged.json" "$gpubox_key"
        text_or_null "$gpubox_key" "$LINE"
    done
    gpubox_ports=
    for gpubox_file in "$R$ROOT_DIR"/services/*/service.json; do
        [ -r "$gpubox_file" ] || continue
        gpubox_port=$(sed -n 's/.*"port": *\([0-9][0-9]*\).*/\1/p' "$gpubox_file" | sed -n '1p')
        if is_count "$gpubox_port"; then gpubox_ports="$gpubox_ports${gpubox_ports:+,}$gpubox_port"; fi
    done
    raw service_ports "[$gpubox_ports]"
    section gpubox
}

autodl_section() {
    case $HOSTNAME_SEEN in autodl-*) flag hostname yes ;; *) flag hostname no ;; esac
    if [ -d "$R/init/boot" ] || [ -e "$R/init/supervisor" ]; then flag init yes; else flag init no; fi
    if [ -e "$R/etc/network_turbo" ]; then flag network_turbo yes; else flag network_turbo no; fi
    section autodl
}

main() {
    BODY='' DOCUMENT='{"gpubox_facts":1'
    DATA_DIR=${1:-}
    # shellcheck disable=SC2088 # the tilde comes from a box file, where no shell has seen it
    case $DATA_DIR in
        '~') DATA_DIR=${HOME:-/} ;;
        '~/'*) DATA_DIR=${HOME:-}/${DATA_DIR#??} ;;
    esac
    if [ "$DATA_DIR" != / ]; then DATA_DIR=${DATA_DIR%/}; fi
    if [ -n "$DATA_DIR" ]; then ROOT_DIR=${DATA_DIR%/}/gpubox
    elif limited is_usable /root/autodl-tmp; then ROOT_DIR=/root/autodl-tmp/gpubox
    else ROOT_DIR=${HOME:-}/gpubox-data/gpubox; fi
    system_section
    cpu_section
    numa_section
    memory_section
    disks_section
    gpu_section
    pythons_section
    tools_section
    compilers_section
    libraries_section
    pip_section
    ports_section
    gpubox_section
    autodl_section
    printf '%s}\n' "$DOCUMENT"
}

# The script may itself be stdin: no command may read from there, and a cut-off script must not run by halves.
main "$@" </dev/null
