#!/usr/bin/env bash
# Builds llama.cpp's own llama-completion into target/llama.cpp/bin, as the peer of
# scripts/compare-llama.sh: for this processor, with llama.cpp's default options.
#
# The source is the one inside of the Python package llama-cpp-python. Needs
# python3 with pip, cmake, a C++ compiler, and about five minutes of two processors.
# What is already built is left alone; an interrupted run begins again where it can.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.3.36
sum=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
at=$PWD/target/llama.cpp
archive=$at/llama_cpp_python-$version.tar.gz
build=$at/build-$version

die() {
    echo "get-llama: $*" >&2
    exit 1
}

if [[ $(cat "$at/bin/version" 2>/dev/null) == "$version" ]]; then
    exit 0
fi
for tool in python3 cmake c++; do
    command -v "$tool" >/dev/null || die "$tool is not installed (Debian: apt-get install python3 python3-pip cmake g++)"
done

mkdir -p "$at/bin"
if [[ ! -f $archive ]]; then
    echo "get-llama: downloading llama-cpp-python $version"
    message=$(python3 -m pip download --quiet --no-deps --no-input --no-binary :all: \
        --disable-pip-version-check --dest "$at" "llama-cpp-python==$version" 2>&1 </dev/null) ||
        die "pip could not download llama-cpp-python $version: $(tail -n 1 <<<"$message")"
fi
sha256sum --quiet --check - <<<"$sum  $archive" || die "$archive is not what it must be: remove it"

log=$at/build.log
echo "get-llama: building llama-completion (the output goes to $log)"
rm -rf "$build"
mkdir "$build"
tar -xzf "$archive" -C "$build" --strip-components=3 --wildcards '*/vendor/llama.cpp/*'
if ! {
    cmake -S "$build" -B "$build/out" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF &&
        cmake --build "$build/out" --parallel "$(nproc)" --target llama-completion
} >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    die "llama.cpp does not build here: see $log"
fi
cp "$build/out/bin/llama-completion" "$at/bin/"
rm -rf "$build"
echo "$version" >"$at/bin/version"
