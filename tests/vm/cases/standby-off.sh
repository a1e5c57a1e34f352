# SPDX-License-Identifier: BSD-2-Clause
# about: a standby is switched off and on while states are made and deleted, and agrees within 5 s of its bulk update
# needs: programs
# machines: 2
# wires: 2
# timeout: 1200
. /tmp/vm/lib.sh
. /tmp/vm/machines.sh

# The standby, when it is on again.
start_again() {
	machine
	load_pfsync test
	start_sync
	wait_for 60 in_sync here || fail "not in sync after 60 s"
}

if [ "${AGAIN:-no}" = yes ]; then
	start_again
else
	machine
	use_pfsync test
	start_sync
	wait_for 100 in_sync here || fail "not in sync"
	barrier "in sync"
	as_one make_states $LASTING 9001 1000
	as_one make_states $ENDING 9002 100
	soon "not all states arrive" has_states_to 9001 1000
	soon "not all states arrive" has_states_to 9002 100
	# The standby goes no further: it is switched off here, and starts again above.
	[ "$ROLE" = one ] || sleep 1000
	kill_peer
	make_states $LASTING 9003 100
	delete_states
	revive_peer
fi
compare
as_two report standby
as_two nothing_lost standby
is_reference || must sh $VM/pfsync-status
machine_off
