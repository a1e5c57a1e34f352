# about: what 200,000 UDP packets of established states cost, and what is sent for them, with both modules
# needs: stock programs
# param: states 20 100 1000 50000
# timeout: 1800
. /tmp/vm/lib.sh

PACKETS=200000

# Messages of all kinds that tell of a changed state.
updates_sent() {
	echo $(($(sent one 'compressed state update') + $(sent one 'state update')))
}

# Packets that were made: sent, or dropped because so many waited to be.
packets_sent() {
	echo $(($(counted one 'packets sent (IPv4)') + $(jexec one netstat -dn -I pfsync0 | awk 'NR == 2 { print $NF }')))
}

# blast PACKETS: one sends them, in turn for each state; prints how many microseconds each took.
blast() {
	jexec one $VM/bin/blast 203.0.113.2 9 "$states" "$1" |
	    awk '{ printf "%.3f\n", $3 * 1000000 / $1 }'
}

make_states() {
	jexec one pfctl -q -F states
	soon "states stay on one" has_none one
	blast "$states" >/dev/null
	soon "states are missing on one" has_all one
}

has_all() {
	[ "$(states_on "$1")" -ge "$states" ]
}

has_none() {
	[ "$(states_on "$1")" = 0 ]
}

# measure MODULE NAME: sets NAME_micros, NAME_updates and NAME_packets.
measure() {
	local micros updates packets
	load_pfsync "$1"
	jexec one ifconfig pfsync0 syncdev "${SYNC}a" up || fail "pfsync0 in one"
	jexec two ifconfig pfsync0 syncdev "${SYNC}b" up || fail "pfsync0 in two"
	soon "one is not in sync" in_sync one
	make_states
	# What the C module loses here it asks for when updates come, or never.
	wait_for 30 has_all two
	sleep 3
	updates=$(updates_sent) packets=$(packets_sent)
	micros=$(blast $PACKETS)
	sleep 3
	updates=$(($(updates_sent) - updates)) packets=$(($(packets_sent) - packets))
	result "$2.microseconds-a-packet" "$micros"
	result "$2.updates" "$updates"
	result "$2.packets" "$packets"
	wait_for 10 has_all two
	peer_states=$(states_on two)
	result "$2.states-on-the-peer" "$peer_states"
	eval "$2_micros=$micros $2_updates=$updates $2_packets=$packets"
}

make_firewalls
make_sink one
need_module pf
for where in one two; do
	pf_rules $where <<-RULES
		set limit states 200000
		set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
		set skip on { ${SYNC}a ${SYNC}b }
		pass keep state
	RULES
done
make_states
none_micros=$(blast $PACKETS)
result none.microseconds-a-packet "$none_micros"
measure stock c
measure test rust
is_reference || [ "$peer_states" -ge "$states" ] || fail "states are missing on two"
unload_pfsync

result ratio.added-cost "$(ratio "$rust_micros - $none_micros" "$c_micros - $none_micros")"
result ratio.packets "$(ratio "$rust_packets" "$c_packets")"
# A second's worth of updates of each state, for as long as it lasted, is what is needed.
is_reference || [ "$rust_updates" -le "$c_updates" ] || fail "more updates than the C module"
