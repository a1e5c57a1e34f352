# about: how many states a second pf makes while it syncs, and what memory they take, with both modules
# needs: stock programs
# timeout: 900
. /tmp/vm/lib.sh

STATES=50000

has_all() {
	[ "$(states_on one)" -ge $STATES ]
}

has_none() {
	[ "$(states_on one)" = 0 ]
}

forget_states() {
	jexec one pfctl -q -F states
	soon "states stay on one" has_none
	sleep 3
}

# make_states: one sends a packet for each; sets rate, how many states it made a second.
make_states() {
	rate=$(jexec one $VM/bin/blast 203.0.113.2 9 $STATES $STATES | awk '{ printf "%d\n", $1 / $3 }')
	wait_for 60 has_all || fail "only $(states_on one) states on one"
	sleep 3
}

# measure NAME: makes the states, as pf and pfsync are now.
measure() {
	local before
	# The kernel keeps some of the memory that was used once.
	make_states
	forget_states
	before=$(bytes_in_use)
	make_states
	result "$1.states-a-second" "$rate"
	result "$1.bytes-a-state" $((($(bytes_in_use) - before) / STATES))
	eval "$1_rate=$rate"
	forget_states
}

# measure_module MODULE NAME: the packets go out; nobody keeps what is in them.
measure_module() {
	load_pfsync "$1"
	jexec one ifconfig pfsync0 syncdev "${SYNC}a" up || fail "pfsync0 in one"
	measure "$2"
}

make_firewalls
make_sink one
need_module pf
pf_rules one <<-RULES
	set limit states 200000
	set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
	set skip on ${SYNC}a
	pass keep state
RULES
measure none
measure_module stock c
measure_module test rust
unload_pfsync

result ratio.states-a-second "$(ratio "$rust_rate" "$c_rate")"
result ratio.added-cost "$(ratio "1 / $rust_rate - 1 / $none_rate" "1 / $c_rate - 1 / $none_rate")"
