# SPDX-License-Identifier: BSD-2-Clause
# about: how many states a second pf makes with pfsync, and how much memory they take, with both modules
# needs: stock programs
# timeout: 900
. /tmp/vm/lib.sh

STATES=50000

forget_states() {
	jexec one pfctl -q -F states
	soon "states stay on one" is_empty one
	sleep 3
}

# make_states: one sends a packet for each state; sets rate, the states a second.
make_states() {
	rate=$(jexec one $VM/bin/blast 203.0.113.2 9 $STATES $STATES | awk '{ printf "%d\n", $1 / $3 }')
	wait_for 60 has_states one $STATES || fail "only $(states_on one) states on one"
	sleep 3
}

# measure_as NAME: makes the states with pf and pfsync as they are now.
measure_as() {
	local before
	# The kernel does not give back all of the memory that it has used once.
	make_states
	forget_states
	before=$(bytes_in_use)
	make_states
	result "$1.states-a-second" "$rate"
	result "$1.bytes-a-state" $((($(bytes_in_use) - before) / STATES))
	eval "$1_rate=$rate"
	forget_states
}

# measure MODULE NAME: there is no peer to receive what pfsync sends.
measure() {
	load_pfsync "$1"
	start_pfsync one
	measure_as "$2"
}

make_firewalls
make_sink one
need_module pf
pass_for_an_hour 200000 one
measure_as none
measure_both

result ratio.states-a-second "$(ratio "$rust_rate" "$c_rate")"
result ratio.added-cost "$(ratio "1 / $rust_rate - 1 / $none_rate" "1 / $c_rate - 1 / $none_rate")"
