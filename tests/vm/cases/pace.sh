# SPDX-License-Identifier: BSD-2-Clause
# about: at how many states a second a peer begins to lose states of a bulk update, with both modules as the peer
# needs: stock programs
# param: rate 20000 40000 80000 160000 320000
# timeout: 900
. /tmp/vm/lib.sh

# measure MODULE NAME: the sender is a program, without pfsync. It sends in bursts every 10 ms, as
# a bulk update leaves at hz=100.
measure() {
	local found took
	load_pfsync "$1"
	pass_for_an_hour 2000000 two
	jexec two pfctl -q -F states
	wait_for 120 is_empty two || fail "states stay on two"
	must jexec two ifconfig pfsync0 syncpeer 192.0.2.1 syncdev "${SYNC}b" up
	# A second of states.
	inserts_arrive "$rate" "$rate" 0
	result "$2.lost" $((rate - found))
	result "$2.states-a-second" $((found * 1000 / took))
}

need_module pf
make_firewalls
measure_both
