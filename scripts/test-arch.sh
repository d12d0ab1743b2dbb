#!/usr/bin/env bash
# Runs the tests of the kernels, under emulation, on the processors that this machine
# is not: x86-64 without AVX-512 and AVX-VNNI, without AVX2 and without SSE4.1, AArch64
# with NEON, with and without the dot product, and WebAssembly (WASI) with SIMD128. Needs Debian 12 or later and its packages, which are
# installed where root runs this: a second Rust compiler, with the sources of its
# standard library, for the two targets that rustup's lacks here.
#
# A part whose packages cannot be had prints `SKIPPED: reason`.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
# An emulated processor is ten to a hundred times as slow: fewer floats are tried.
export RINGFIELD_FLOAT_STEP=${RINGFIELD_FLOAT_STEP:-1000003}

# have PACKAGE...: installs what is missing; false, with the reason, where it cannot.
have() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID)) || ! command -v apt-get >/dev/null; then
        echo "SKIPPED: ${missing[*]} are not installed, and that needs root and apt-get"
        return 1
    fi
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends "${missing[@]}" >/dev/null; then
        echo "SKIPPED: ${missing[*]} could not be installed by apt-get"
        return 1
    fi
}

# test_kernels ISAS INTEGERS CARGO-OPTION...: the unit tests and tests/kernels, which must
# have run, and on these instruction sets, with these for integers, and no other.
test_kernels() {
    local isas=$1 integers=$2 output
    shift 2
    echo "== $isas; integers: ${integers:-none}"
    output=$(cargo test --quiet "$@" --package ringfield --lib -- kernels:: --nocapture 2>&1 &&
        cargo test --quiet "$@" --package ringfield --test kernels -- --nocapture 2>&1) ||
        { echo "$output"; return 1; }
    grep '^test result' <<<"$output" || true
    (($(grep -Ec '^test result: ok\. [1-9][0-9]* passed' <<<"$output") == 2)) ||
        { echo "$output"; echo "test-arch: not both kinds of tests were executed"; return 1; }
    grep -q "instruction sets: $isas\$" <<<"$output" ||
        { echo "$output"; echo "test-arch: the instruction sets are not $isas"; return 1; }
    grep -q "integers: $integers\$" <<<"$output" ||
        { echo "$output"; echo "test-arch: what computes with integers is not $integers"; return 1; }
}

# test_x86 CPU ISAS INTEGERS: with a processor of QEMU's that has these and no other.
test_x86() {
    echo "== x86-64, processor $1"
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu $1" test_kernels "$2" "$3"
}

# with_debians_rust ISAS INTEGERS CARGO-OPTION...: a standard library is built for the target.
with_debians_rust() {
    local isas=$1 integers=$2
    shift 2
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$target/arch CARGO_PROFILE_RELEASE_DEBUG=false \
        test_kernels "$isas" "$integers" --release "$@"
}

# test_aarch64 CPU INTEGERS: with a processor of QEMU's that has these.
test_aarch64() {
    echo "== AArch64, processor $1"
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu $1" \
        with_debians_rust "neon scalar" "$2" --target aarch64-unknown-linux-gnu \
        -Zbuild-std=std,panic_abort,panic_unwind,test
}

if [[ $(uname -m) != x86_64 ]]; then
    echo "SKIPPED: processors of x86-64 are emulated on x86-64 only"
elif have qemu-user; then
    # QEMU emulates no AVX-512 and no AVX-VNNI.
    test_x86 max "avx2 sse4.1 scalar" "Avx2"
    test_x86 Nehalem "sse4.1 scalar" ""
    test_x86 Conroe "scalar" ""
fi

# AVX-512 and AVX-VNNI are tested where the processor has them, by `cargo test`: nothing
# emulates them here.
for flag in avx512f avx512_vnni avx_vnni; do
    grep -qw "$flag" /proc/cpuinfo || echo "SKIPPED: this processor has no $flag, and none is emulated"
done

if have qemu-user rustc-web rust-web-src gcc-aarch64-linux-gnu libc6-dev-arm64-cross; then
    test_aarch64 max "NeonDotprod Neon"
    test_aarch64 cortex-a72 "Neon"
fi

# WASI, so that tests have output: a C library, and what starts `main`.
if ! command -v node >/dev/null && ! have nodejs; then
    :
elif have rustc-web rust-web-src lld wasi-libc; then
    echo "== WebAssembly"
    wasi=/usr/lib/wasm32-wasi
    CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld \
        CARGO_TARGET_WASM32_WASIP1_RUNNER="node --no-warnings $PWD/scripts/run-wasm.mjs" \
        RUSTFLAGS="-Ctarget-feature=+simd128 -Clink-self-contained=no -Clink-arg=--allow-undefined -Lnative=$wasi -Clink-arg=$wasi/crt1-command.o" \
        with_debians_rust "simd128 scalar" "" --target wasm32-wasip1 -Zbuild-std=std,panic_abort,test
fi
