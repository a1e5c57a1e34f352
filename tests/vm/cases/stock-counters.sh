# SPDX-License-Identifier: BSD-2-Clause
# about: a peer with FreeBSD's own module discards nothing that this module sends, numbered and with a tag
# needs: stock programs
# machines: 2
# wires: 2
# timeout: 900
# param: to multicast unicast
# param: numbered 0 1
. /tmp/vm/lib.sh
. /tmp/vm/machines.sh

KEY=$(jot -b 5a -s "" 32)

# Every line of netstat that tells of something received and discarded, except for those with
# 0. What the stock module cannot send, before ARP has found its peer, is no fault of the peer.
discards() {
	netstat -s -p pfsync | grep -E 'discarded|shorter|stale|failed|failure' |
	    grep -v -E '^[[:space:]]*0 '
}

# no_discards WHEN
no_discards() {
	discards > $RUN/discards
	[ ! -s $RUN/discards ] || fail "discarded $1: $(tr -s '\t\n' ' ' < $RUN/discards)"
}

sync_peer() {
	[ $to = multicast ] || echo syncpeer $THERE
}

# restart MACHINE: its pfsync requests a bulk update.
restart() {
	[ "$ROLE" = "$1" ] || return 0
	must ifconfig pfsync0 down
	must ifconfig pfsync0 up
}

machine
MODULE=test
[ "$ROLE" = one ] || MODULE=stock
use_pfsync $MODULE
# The version of today lacks the sysctl, and numbers nothing.
[ "$ROLE" = two ] || [ "$numbered" = 0 -a -z "$(value numbered)" ] || must sysctl -q net.pfsync.numbered=$numbered
start_sync $(sync_peer)
wait_for 100 in_sync here || fail "not in sync"
exchange 9001 "states of both"
as_one start_transfer
as_one end_transfer
barrier "transfer"
restart two
wait_for 100 in_sync here || fail "two is not in sync after its restart"
barrier "bulk update"
restart one
wait_for 100 in_sync here || fail "one is not in sync after its restart"
barrier "other bulk update"
exchange 9002 "after the bulk updates"
as_one make_states $ENDING 9003 50
soon "no states to delete" has_states_to 9003 50
barrier "to delete"
as_one delete_states
soon "states are not deleted" has_states_to 9003 0
barrier "deleted"
no_discards "without a key"
if [ "$numbered" = 1 ]; then
	as_one set_key "$KEY" "" NO
	exchange 9004 "with a tag"
fi
# Hellos come now and then.
sleep 25
barrier "quiet"
compare
as_two report counters
as_two nothing_lost counters
as_one close_tcp
as_one pfctl -q -F states
sleep 3
no_discards "in the end"
machine_off
