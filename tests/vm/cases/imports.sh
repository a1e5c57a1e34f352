# SPDX-License-Identifier: BSD-2-Clause
# about: how many states a second pfsync inserts from a peer that sends as fast as it can, with both modules
# needs: stock programs
# hz: 1000
# timeout: 900
. /tmp/vm/lib.sh

STATES=50000
# The firewall can have so many states already.
PRESENT=${present:-0}
# Seconds without a new state after which the missing states count as lost.
PATIENCE=5

# measure MODULE NAME: the peer is a program, without pfsync.
measure() {
	local start found last
	load_pfsync "$1"
	pass_for_an_hour $((PRESENT + 1000000)) two
	jexec two pfctl -q -F states
	wait_for 300 is_empty two || fail "states stay on two"
	must jexec two ifconfig pfsync0 syncpeer 192.0.2.1 syncdev "${SYNC}b" up
	[ "$PRESENT" = 0 ] || must jexec two $VM/bin/states "$PRESENT" >/dev/null
	jexec two $VM/bin/arrival $((PRESENT + STATES)) $PATIENCE > $RUN/arrival &
	jexec one $VM/bin/inserts 192.0.2.2 $STATES 0 "$PRESENT" > $RUN/start || fail "cannot send inserts"
	wait $!
	read -r start < $RUN/start
	read -r found last < $RUN/arrival
	found=$((found - PRESENT))
	result "$2.arrived" "$found"
	eval "$2_rate=$((found * 1000 / (last - start)))"
	eval "result $2.imported-a-second \$$2_rate"
}

need_module pf
make_firewalls
measure_both

result ratio.imported-a-second "$(ratio "$rust_rate" "$c_rate")"
