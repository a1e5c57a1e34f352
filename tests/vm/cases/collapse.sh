# SPDX-License-Identifier: BSD-2-Clause
# about: what UDP packets of established states cost, and what pfsync sends for them, with both modules
# needs: stock programs
# param: states 20 100 1000 50000
# timeout: 1800
. /tmp/vm/lib.sh

# The firewall can have so many other states, whose connections rest.
PRESENT=${present:-0}
ALL=$((states + PRESENT))
# Each state has a packet.
PACKETS=$((states > 200000 ? states : 200000))
# Seconds in which a peer takes in all states.
PATIENCE=$((30 + ALL / 10000))

SINK=203.0.113.2 OTHER_SINK=203.0.113.100

# Updates that were sent, compressed or not.
updates_sent() {
	echo $(($(sent one 'compressed state update') + $(sent one 'state update')))
}

# blast PACKETS: one sends so many, the states taking turns; prints the microseconds a packet.
blast() {
	jexec one $VM/bin/blast $SINK 9 "$states" "$1" |
	    awk '{ printf "%.3f\n", $3 * 1000000 / $1 }'
}

forget_states() {
	jexec one pfctl -q -F states
	jexec two pfctl -q -F states
	wait_for $PATIENCE is_empty one || fail "states stay on one"
	wait_for $PATIENCE is_empty two || fail "states stay on two"
}

make_states() {
	[ "$PRESENT" = 0 ] || must jexec one $VM/bin/blast $OTHER_SINK 9 "$PRESENT" "$PRESENT" >/dev/null
	blast "$states" >/dev/null
	wait_for $PATIENCE has_states one $ALL || fail "only $(states_on one) states on one"
}

# measure MODULE NAME: sets NAME_micros, NAME_updates and NAME_packets.
measure() {
	local micros updates packets
	load_pfsync "$1"
	# The stock module would take minutes for the bulk update of a full table.
	forget_states
	start_pfsync one
	start_pfsync two
	wait_for 60 in_sync one || fail "one is not in sync"
	make_states
	# Inserts that the stock module loses here it requests when updates come, or never.
	wait_for $PATIENCE has_states two $ALL
	sleep 3
	updates=$(updates_sent) packets=$(packets_sent)
	micros=$(blast $PACKETS)
	sleep 3
	updates=$(($(updates_sent) - updates)) packets=$(($(packets_sent) - packets))
	result "$2.microseconds-a-packet" "$micros"
	result "$2.updates" "$updates"
	result "$2.packets" "$packets"
	wait_for 10 has_states two $ALL
	peer_states=$(states_on two)
	result "$2.states-on-the-peer" "$peer_states"
	eval "$2_micros=$micros $2_updates=$updates $2_packets=$packets"
}

make_firewalls
make_sink one 200
need_module pf
# The states of the module before may not all be freed yet.
pass_for_an_hour $((2 * ALL + 200000)) one two
make_states
none_micros=$(blast $PACKETS)
result none.microseconds-a-packet "$none_micros"
measure_both
is_reference || [ "$peer_states" -ge $ALL ] || fail "states are missing on two"

result ratio.added-cost "$(ratio "$rust_micros - $none_micros" "$c_micros - $none_micros")"
result ratio.packets "$(ratio "$rust_packets" "$c_packets")"
# One update of each state a second is enough.
is_reference || [ "$rust_updates" -le "$c_updates" ] || fail "more updates than the stock module"
