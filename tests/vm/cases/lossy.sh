# SPDX-License-Identifier: BSD-2-Clause
# about: what is missing and left over when a wire has lost so many percent of all frames, with both modules
# needs: programs
# machines: 2
# wires: 2
# timeout: 1800
# param: loss 0 5
. /tmp/vm/lib.sh
. /tmp/vm/machines.sh

BEFORE=4000
INSERTS=2000
DELETES=1000

# measure MODULE NAME: a bulk update, inserts, deletes and a transfer on the faulty wire.
measure() {
	use_pfsync "$1"
	as_one start_sync
	as_one make_states $LASTING 9 $((BEFORE - DELETES))
	as_one make_states $ENDING 9 $DELETES
	as_one wire 0 both pass seed=1 loss="$loss"
	barrier "$2: states before"
	as_two start_sync
	as_two bulk_update "$2"
	barrier "$2: bulk update"
	as_one start_transfer
	as_one make_states $LASTING 10 $INSERTS
	as_one delete_states
	as_one end_transfer
	compare
	as_one report_wire "$2"
	as_two report "$2"
	as_one close_tcp
	barrier "$2: done"
}

# The bulk update of the stock module may need minutes: after a lost start or end mark it begins again.
bulk_update() {
	wait_for 30 in_sync here || [ "$1" = c ] || fail "the bulk update does not end"
}

report_wire() {
	wire 0 both loss=0
	result "$1.frames" "$(count_of frames)"
	result "$1.lost" "$(count_of lost)"
}

machine
measure_modules
machine_off
