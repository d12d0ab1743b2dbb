#!/usr/bin/env bash
# A file eight times the memory limit: ringfield beside page faults and
# MADV_WILLNEED, each in a memory control group of its own with the limit. This is
# the table "under a memory limit" of the README.
#
#   sudo scripts/limit-bench.sh [--file FILE] [--rounds N] [--seconds S]
#
#   --file FILE    read this file of at least 2 GiB instead of making one
#   --rounds N     interleaved rounds, of which the medians are printed (9)
#   --seconds S    time of each measurement (1)
#
# Needs root (for the control group), Rust, and 2 GiB of disk without --file. Puts
# back what it changes: the control groups it makes, and the mode of transparent
# huge pages where that is "never".
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
    echo "limit-bench: $*" >&2
    exit 1
}

file= rounds=9 seconds=1
while (($#)); do
    case $1 in
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
    --file | --rounds | --seconds)
        (($# > 1)) || die "$1 needs a value"
        declare "${1#--}=$2"
        shift 2
        ;;
    *) die "unknown option $1 (--help lists them)" ;;
    esac
done
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds is a number of rounds, not '$rounds'"
[[ $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--seconds is a number of seconds, not '$seconds'"
if [[ -n $file ]]; then
    [[ -f $file ]] || die "$file is not a file"
    (($(stat -c %s "$file") >= 2 << 30)) || die "$file has less than 2 GiB"
    file=$(realpath "$file")
fi
((EUID == 0)) || die "run it as root: it makes a memory control group"
command -v cargo >/dev/null || die "Rust is not installed, or not in root's PATH (try: sudo env PATH=\"\$PATH\" $0)"

huge=/sys/kernel/mm/transparent_hugepage/enabled
mode=
restore() {
    local status=$? group
    [[ -z $mode ]] || echo "$mode" >"$huge"
    # A bench that was killed leaves its group behind, empty.
    for group in /sys/fs/cgroup/memory/ringfield-bench-* /sys/fs/cgroup/ringfield-bench-*; do
        [[ ! -d $group ]] || rmdir "$group" 2>/dev/null || true
    done
    exit "$status"
}
trap restore EXIT
trap 'exit 130' INT TERM

if [[ -r $huge ]]; then
    now=$(sed -E 's/.*\[(.*)\].*/\1/' "$huge")
    if [[ $now == never ]]; then
        mode=$now
        echo madvise >"$huge"
    fi
fi

where=${file:-$PWD}
echo "# $(uname -sr), $(nproc) processors, $(df --output=source,fstype "$where" | tail -n 1 | xargs)"
echo "# transparent huge pages: $(cat "$huge" 2>/dev/null || echo none)"
[[ -z $file ]] || export RINGFIELD_FILE=$file
RINGFIELD_ROUNDS=$rounds RINGFIELD_SECONDS=$seconds cargo bench --quiet --bench memory_limit
