#!/usr/bin/env bash
# ringfield beside llama.cpp on this machine: tokens a second with all of a model in
# memory, and under a memory limit that both get in turn. This is the table "beside
# llama.cpp" of the README.
#
#   sudo scripts/compare-llama.sh [--rounds N] [--threads N] [--model FILE]...
#                                 [--arithmetic exact|eight-bit] [--only memory|limit] [--json]
#
#   --rounds N      interleaved rounds, of which the medians are printed (5)
#   --threads N     threads of each (2)
#   --model FILE    GGUF models instead of the two of scripts/get-models.sh
#   --only WHICH    the rows with all in memory, or those under a limit
#   --json          the numbers of every round, a line each, and no table
#
# Needs root (for the control groups), Rust, python3, fio, and what
# scripts/get-llama.sh needs, which builds llama.cpp's program at the first call; what
# is built belongs to the user who called sudo. Removes the control groups that it
# makes, and gives back the huge pages that it reserves for fio's buffers.
set -euo pipefail
here=$(dirname "$(realpath "$0")")

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"
    exit 0
fi
if ((EUID != 0)); then
    echo "compare-llama: run it as root: it makes memory control groups" >&2
    exit 1
fi
if ! command -v cargo >/dev/null; then
    echo "compare-llama: Rust is not installed, or not in root's PATH (try: sudo env PATH=\"\$PATH\" $0)" >&2
    exit 1
fi
python3 "$here/compare-llama.py" --check "$@"

as_user() {
    if [[ -n ${SUDO_USER:-} ]]; then
        sudo -u "$SUDO_USER" env PATH="$PATH" "$@"
    else
        "$@"
    fi
}
as_user "$here/get-models.sh"
as_user "$here/get-llama.sh"
as_user cargo build --quiet --release --manifest-path "$here/../Cargo.toml" -p ringfield-cli
exec python3 "$here/compare-llama.py" "$@"
