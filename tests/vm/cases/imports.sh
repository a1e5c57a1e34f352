# SPDX-License-Identifier: BSD-2-Clause
# about: how many states a second pfsync inserts from a peer that sends as fast as it can, with both modules
# needs: stock programs
# hz: 1000
# timeout: 900
. /tmp/vm/lib.sh

STATES=50000
# The firewall can have so many states already.
PRESENT=${present:-0}

# measure MODULE NAME: the peer is a program, without pfsync.
measure() {
	local found took
	load_pfsync "$1"
	pass_for_an_hour $((PRESENT + 1000000)) two
	jexec two pfctl -q -F states
	wait_for 300 is_empty two || fail "states stay on two"
	must jexec two ifconfig pfsync0 syncpeer 192.0.2.1 syncdev "${SYNC}b" up
	[ "$PRESENT" = 0 ] || must jexec two $VM/bin/states "$PRESENT" >/dev/null
	inserts_arrive $STATES 0 "$PRESENT"
	result "$2.arrived" "$found"
	eval "$2_rate=$((found * 1000 / took))"
	eval "result $2.imported-a-second \$$2_rate"
}

need_module pf
make_firewalls
measure_both

result ratio.imported-a-second "$(ratio "$rust_rate" "$c_rate")"
