#!/usr/bin/env bash
# Builds llama.cpp's own programs into target/llama.cpp/bin, as the peer of
# scripts/compare-llama.sh and scripts/agreement.sh: llama-completion, llama-bench
# and llama-perplexity, for this processor, with llama.cpp's default options.
#
# The source is the one inside of the Python package llama-cpp-python. Needs
# python3 with pip, cmake, a C++ compiler, and about ten minutes of two processors.
# What is already built is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.3.36
at=$PWD/target/llama.cpp
programs=(llama-completion llama-bench llama-perplexity)

die() {
    echo "get-llama: $*" >&2
    exit 1
}

if [[ $(cat "$at/version" 2>/dev/null) == "$version" ]]; then
    exit 0
fi
for tool in python3 cmake c++; do
    command -v "$tool" >/dev/null || die "$tool is not installed (Debian: apt-get install python3 python3-pip cmake g++)"
done

mkdir -p "$at"
source=$at/llama_cpp_python-$version
if [[ ! -d $source ]]; then
    archive=$source.tar.gz
    if [[ ! -f $archive ]]; then
        echo "get-llama: downloading llama-cpp-python $version"
        message=$(python3 -m pip download --quiet --no-deps --no-input --no-binary :all: \
            --disable-pip-version-check --dest "$at" "llama-cpp-python==$version" 2>&1 </dev/null) ||
            die "pip could not download llama-cpp-python $version: $(tail -n 1 <<<"$message")"
    fi
    tar -xzf "$archive" -C "$at" || die "$archive is damaged: remove it"
fi

log=$at/build.log
echo "get-llama: building ${programs[*]} (the output goes to $log)"
if ! {
    cmake -S "$source/vendor/llama.cpp" -B "$at" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF &&
        cmake --build "$at" --parallel "$(nproc)" --target "${programs[@]}"
} >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    die "llama.cpp does not build here: see $log"
fi
echo "$version" >"$at/version"
