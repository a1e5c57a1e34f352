#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause

# Runs the tests of src/wire and src/engine under Miri, which finds what Rust leaves
# undefined: for this machine and, at the same time, for one with big-endian numbers, which
# has 64-bit pointers, as the powerpc64 that FreeBSD runs on.
#
#   tools/miri.sh            fails if Miri cannot be had
#   tools/miri.sh if-there   then says so, and succeeds
set -eu
cd "$(dirname "$0")/.."

BIG_ENDIAN=s390x-unknown-linux-gnu

if ! toolchain=$(sh tools/setup.sh miri); then
	[ "${1:-}" = if-there ] || exit 1
	echo "miri: NOT RUN: wire and engine were not tested under Miri, nor with big-endian numbers" >&2
	exit 0
fi
toolchain=$(echo "$toolchain" | tail -n 1)

# build/env names the compiler of the module, which has no Miri.
unset RUSTC RUSTDOC CARGO RUSTFLAGS
# proptest asks for the directory and the time. Miri runs a hundredth as fast as the machine,
# so that the property tests try few cases.
export MIRIFLAGS=-Zmiri-disable-isolation
export PROPTEST_CASES=2 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
# A crate of the benchmarks compiles some C. Miri links none, so that any compiler will do.
export CC_s390x_unknown_linux_gnu=cc AR_s390x_unknown_linux_gnu=ar
# Without what the nightly cargo says of the manifests.
export CARGO_TERM_QUIET=true

miri() { rustup run "$toolchain" cargo miri "$@"; }

miri setup
miri setup --target $BIG_ENDIAN
arguments="test --locked -p pfsync --lib --target-dir target/miri"
miri $arguments --no-run
miri $arguments --no-run --target $BIG_ENDIAN

log=target/miri/big-endian.log
miri $arguments --target $BIG_ENDIAN >$log 2>&1 &
big_endian=$!
echo "miri: wire and engine"
result=0
miri $arguments || result=1
echo "miri: wire and engine with big-endian numbers"
wait $big_endian || result=1
cat $log
exit $result
