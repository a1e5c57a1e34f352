# SPDX-License-Identifier: BSD-2-Clause
# about: packets that were recorded change nothing later: replayed, reflected, after new epochs of the sender and the receiver
# needs: programs
# machines: 2
# wires: 2
# timeout: 900
. /tmp/vm/lib.sh
. /tmp/vm/machines.sh

KEY=$(jot -b 5a -s "" 32)

is_reference && skip "FreeBSD's own module has no keys"

# must_be_gone WHAT: the states whose inserts were recorded are not back, on either machine.
must_be_gone() {
	sleep 3
	equal "$1: states that are back" 0 "$(states_to 9002)"
	barrier "$1"
}

# How many packets were dropped because they are late, doubled or refused.
dropped() {
	echo $(($(value agreement.late) + $(counted here "packets discarded for bad HMAC")))
}

restart_pfsync() {
	must ifconfig pfsync0 down
	must ifconfig pfsync0 up
}

machine
use_pfsync test
set_key "$KEY" "" YES
start_sync
wait_for 100 in_sync here || fail "not in sync"
exchange 9001 "before the recording"

as_one wire 0 one record=200
barrier "recording"
as_one make_states $ENDING 9002 50
soon "the states do not arrive" has_states_to 9002 50
barrier "recorded"
as_one delete_states
soon "the states do not end" has_states_to 9002 0
barrier "deleted"

before=$(dropped)
as_one wire 0 one replay
must_be_gone "replayed"
[ "$ROLE" = one ] || [ "$(dropped)" -gt "$before" ] || fail "nothing was dropped"
as_one wire 0 one return
must_be_gone "reflected"
must in_sync here

echo "the sender has a new epoch"
as_one restart_pfsync
wait_for 100 in_sync here || fail "not in sync after the sender's new epoch"
barrier "new epoch of the sender"
as_one wire 0 one replay
must_be_gone "replayed after the sender's new epoch"

echo "the receiver has a new epoch, and cannot hear the sender"
as_one wire 0 both cut
barrier "cut"
as_two restart_pfsync
barrier "new epoch of the receiver"
as_one wire 0 one replay
must_be_gone "replayed after the receiver's new epoch"
as_one wire 0 both rejoin
exchange 9003 "after the cut"
wait_for 100 in_sync here || fail "not in sync in the end"
compare
as_two report replayer
as_two nothing_lost replayer
machine_off
