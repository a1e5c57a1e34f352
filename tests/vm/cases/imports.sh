# SPDX-License-Identifier: BSD-2-Clause
# about: how many states a second pfsync inserts from a peer that sends as fast as it can, with both modules
# needs: stock programs
# hz: 1000
# timeout: 900
. /tmp/vm/lib.sh

# So many that the queue of epair(4) holds all their packets, of which none is dropped then.
STATES=20000
ROUNDS=${rounds:-5}
# The firewall can have so many states already.
PRESENT=${present:-0}

forget_states() {
	jexec two pfctl -q -F states
	wait_for 300 is_empty two || fail "states stay on two"
}

# import: two has PRESENT states, and takes in STATES from a program on one.
import() {
	forget_states
	[ "$PRESENT" = 0 ] || must jexec two $VM/bin/states "$PRESENT" >/dev/null
	inserts_arrive $STATES 0 "$PRESENT"
}

# measure MODULE NAME: the peer is a program, without pfsync.
measure() {
	local found took arrived spent
	load_pfsync "$1"
	pass_for_an_hour $((PRESENT + 1000000)) two
	must jexec two ifconfig pfsync0 syncpeer 192.0.2.1 syncdev "${SYNC}b" up
	# The kernel does not give back all of the memory that it has used once.
	import
	arrived=0 spent=0
	for round in $(seq $ROUNDS); do
		import
		arrived=$((arrived + found)) spent=$((spent + took))
	done
	result "$2.arrived" "$arrived"
	eval "$2_rate=$((arrived * 1000 / spent))"
	eval "result $2.imported-a-second \$$2_rate"
}

need_module pf
make_firewalls
measure_both

result ratio.imported-a-second "$(ratio "$rust_rate" "$c_rate")"
