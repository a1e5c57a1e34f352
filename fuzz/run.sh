#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause

# Fuzzes each target for so many seconds, one after the other, and prints how many
# inputs were run. `make fuzz` runs this script with the variables of build/env.
#
#   fuzz/run.sh 60              every target
#   fuzz/run.sh 3600 receive    one
set -eu

cd "$(dirname "$0")/.."
seconds=$1
shift
[ $# -gt 0 ] || set -- frame roundtrip trailer agreement receive ioctl

PATH=$PWD/build/bin:$PATH
# The options of the module's release profile would take minutes for each target.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
# A sanitizer would find nothing: the wire format has no unsafe code, and pfsync.ko
# is not compiled with it. The simulator checks the memory of pfsync.ko.
options="--sanitizer none"

echo "building the fuzz targets"
$CARGO build --quiet --locked -p pfsync-fuzz --example seeds
# shellcheck disable=SC2086
$CARGO fuzz build $options >/dev/null
table=
for target in "$@"; do
	$CARGO run --quiet --locked -p pfsync-fuzz --example seeds -- "$target" "fuzz/corpus/$target"
	log=target/fuzz-$target.log
	echo "fuzzing $target for $seconds seconds"
	# shellcheck disable=SC2086
	if ! $CARGO fuzz run $options "$target" -- -max_total_time="$seconds" -max_len=4096 \
	    -timeout=60 -print_final_stats=1 >"$log" 2>&1; then
		tail -n 40 "$log"
		echo "$target: an input failed, see fuzz/artifacts/$target"
		exit 1
	fi
	inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	table="$table$(printf '%-12s %12s' "$target" "$inputs")
"
done
printf '%-12s %12s\n%s' target inputs "$table"
