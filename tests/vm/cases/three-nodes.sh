# SPDX-License-Identifier: BSD-2-Clause
# about: three firewalls on multicast: one that starts is complete only when it has the states of both others
# needs: programs
. /tmp/vm/lib.sh

STATES=20000

is_reference && skip "with FreeBSD's own module the first end mark counts"

# firewall NAME NUMBER: a jail with a wire to the bridge.
firewall() {
	make_jail "$1"
	make_wire "$1" here
	must ifconfig "${WIRE}b" up
	must ifconfig "$BRIDGE" addm "${WIRE}b"
	address "$1" "${WIRE}a" "192.0.2.$2/24"
	eval "$1=${WIRE}a"
	pf_rules "$1" <<-RULES
		set limit states 100000
		set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
		set skip on ${WIRE}a
		pass keep state
	RULES
}

# starts NAME INTERFACE
starts() {
	must jexec "$1" ifconfig pfsync0 syncdev "$2" up
}

need_module bridgestp if_bridge
load_pfsync test
BRIDGE=$(ifconfig bridge create) || fail "cannot make a bridge"
must ifconfig "$BRIDGE" up
firewall one 1
firewall two 2
firewall three 3
starts one "$one"
starts two "$two"
soon "one is not in sync" in_sync one
soon "two is not in sync" in_sync two
make_sink one
must jexec one $VM/bin/blast 203.0.113.2 9 $STATES $STATES >/dev/null
wait_for 30 has_states two $STATES || fail "only $(states_on two) states on two"
must jexec two pfctl -q -F states
must has_states one $STATES

starts three "$three"
wait_for 60 in_sync three || fail "three is not in sync"
lines=$(jexec three pfctl -s states 2>/dev/null | wc -l)
[ $lines -ge $STATES ] || fail "three says that it is complete with $lines states"
ifconfig "$BRIDGE" destroy
