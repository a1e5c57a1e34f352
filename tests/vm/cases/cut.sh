# SPDX-License-Identifier: BSD-2-Clause
# about: the wire is cut for 20 s while 100 states are made and 100 deleted: what is missing, with both modules
# needs: programs
# machines: 2
# wires: 2
# timeout: 900
. /tmp/vm/lib.sh
. /tmp/vm/machines.sh

# measure MODULE NAME
measure() {
	local requests
	use_pfsync "$1"
	start_sync
	# FreeBSD's own module may take an end mark for that of an earlier bulk update, and wait for minutes.
	wait_for 100 in_sync here || [ "$1" = stock ] || fail "not in sync before the cut"
	barrier "$2: in sync"
	as_one make_states $LASTING 9001 1000
	as_one make_states $ENDING 9002 100
	soon "not all states arrive before the cut" has_states_to 9001 1000
	soon "not all states arrive before the cut" has_states_to 9002 100
	barrier "$2: equal"
	requests=$(sent here "uncompressed state request")
	as_one change_while_cut
	compare
	as_two report "$2"
	result "$2.requests-of-$ROLE" $(($(sent here "uncompressed state request") - requests))
	[ "$1" = stock ] || is_reference || must sh $VM/pfsync-status
	barrier "$2: done"
}

change_while_cut() {
	wire 0 both cut
	make_states $LASTING 9003 100
	delete_states
	sleep 20
	wire 0 both pass
}

machine
measure_modules
machine_off
