# SPDX-License-Identifier: BSD-2-Clause
# about: a carp pair is upgraded from FreeBSD 14 to 15, one firewall after the other, and no connection is lost
# needs: peer
# machines: 2
# wires: 3
# timeout: 1800
# param: one test stock
# param: two test stock
. /tmp/vm/lib.sh
. /tmp/vm/carp.sh

# Machine one runs the old release, machine two the new. A firewall is a jail, so that
# each release can have two of them. Bridges on both machines and the virtual wires
# between these join all firewalls and the two hosts, which are jails on machine one:
#
#   sync     vtnet0   old-a  old-b  new-b  new-a
#   inside   vtnet1   old-a  old-b  new-b  new-a  client
#   outside  vtnet2   old-a  old-b  new-b  new-a  server
#
# old-a and new-a are the same firewall, the preferred master, before and after its
# upgrade, old-b and new-b the other.
GATEWAY_IN=10.1.0.1
GATEWAY_OUT=10.2.0.1
SERVER=10.2.0.9
IDLE="7101 7102 7103 7104 7105"
MODULE=$one
[ "$ROLE" = one ] || MODULE=$two

# make_bridge WIRE: a bridge on the virtual wire. Sets BRIDGE.
make_bridge() {
	BRIDGE=$(ifconfig bridge create) || fail "bridge"
	BRIDGES="$BRIDGES $BRIDGE"
	must ifconfig "$1" up
	must ifconfig "$BRIDGE" addm "$1" up
}

# plug JAIL BRIDGE: wires a jail to a bridge. Sets WIRE; the jail's end is ${WIRE}a.
plug() {
	make_wire "$1" here
	must ifconfig "${WIRE}b" up
	must ifconfig "$2" addm "${WIRE}b"
}

# host JAIL BRIDGE ADDRESS GATEWAY
host() {
	make_jail "$1"
	plug "$1" "$2"
	address "$1" "${WIRE}a" "$3/24"
	must jexec "$1" route -q add default "$4"
}

# start_firewall JAIL LAST SKEW: starts a firewall whose addresses end in LAST.
start_firewall() {
	local inside outside
	make_jail "$1"
	jexec "$1" sysctl -q net.inet.ip.forwarding=1 net.inet.carp.preempt=1 >/dev/null
	plug "$1" "$SYNC_BRIDGE"
	eval "PLUGS_$2=\${WIRE}b"
	address "$1" "${WIRE}a" "192.0.2.$2/24"
	sync=${WIRE}a
	plug "$1" "$INSIDE_BRIDGE"
	eval "PLUGS_$2=\"\$PLUGS_$2 \${WIRE}b\""
	inside=${WIRE}a
	plug "$1" "$OUTSIDE_BRIDGE"
	eval "PLUGS_$2=\"\$PLUGS_$2 \${WIRE}b\""
	outside=${WIRE}a
	address "$1" "$inside" "10.1.0.$2/24"
	address "$1" "$outside" "10.2.0.$2/24"
	pf_rules "$1" <<-RULES
		set skip on { lo0 $sync }
		block all
		pass quick proto carp keep state (no-sync)
		pass proto { tcp icmp } keep state
	RULES
	# pfsync starts before carp, so that a master that returns has the states first.
	must jexec "$1" ifconfig pfsync0 syncdev "$sync" up
	wait_for 60 in_sync "$1" || fail "$1 is not in sync"
	must jexec "$1" ifconfig "$inside" vhid 1 advskew "$3" pass secret alias $GATEWAY_IN/32
	must jexec "$1" ifconfig "$outside" vhid 2 advskew "$3" pass secret alias $GATEWAY_OUT/32
	eval "INSIDE_$2=$inside"
}

# switch_off LAST: nothing of that firewall reaches the wires any more.
switch_off() {
	local plug plugs
	eval "plugs=\$PLUGS_$1"
	for plug in $plugs; do
		must ifconfig "$plug" down
	done
}

# role_becomes STATE JAIL LAST
role_becomes() {
	local inside
	eval "inside=\$INSIDE_$3"
	wait_for 60 is_role "$1" "$2" "$inside" || fail "$2 does not become $1"
}

is_role() {
	jexec "$2" ifconfig "$3" | grep -q "carp: $1 "
}

# speaks JAIL FORMAT: waits until a firewall sends states in that format. FreeBSD's own
# module always sends its newest.
speaks() {
	wait_for 90 sends_format "$1" "$2" ||
	    fail "$1 does not send format $2: $(jexec "$1" ifconfig pfsync0)"
	echo "$1 sends format $2"
}

sends_format() {
	jexec "$1" ifconfig pfsync0 | grep -q "version: $2"
}

# start_idle_connections: connections that carry nothing until use_idle_connections, so that
# only a bulk update tells a new firewall of them.
start_idle_connections() {
	local port
	for port in $IDLE; do
		helper server nc -l "$port" > "$RUN/heard-$port"
		wait_for 5 tcp_listens server "$port" || fail "nc does not listen"
		( speak_later | jexec client nc $SERVER "$port" ) &
		HELPERS="$HELPERS $!"
		soon "no connection to port $port" has_state old_b "$SERVER:$port.*ESTABLISHED"
	done
}

speak_later() {
	until [ -e $RUN/speak ]; do
		sleep 1
	done
	echo still here
}

use_idle_connections() {
	local port
	touch $RUN/speak
	for port in $IDLE; do
		wait_for 30 grep -q "still here" "$RUN/heard-$port" || fail "the connection to port $port is lost"
	done
}

[ "$one$two" != stockstock ] || skip "FreeBSD's own modules of both releases do not read each other"
[ -f "$(module_file "$MODULE")" ] || skip "needs FreeBSD's own module: --stock"
need_module carp bridgestp if_bridge
load_pfsync "$MODULE"
sysctl -q net.link.bridge.pfil_member=0 net.link.bridge.pfil_bridge=0 >/dev/null
make_bridge vtnet0; SYNC_BRIDGE=$BRIDGE
make_bridge vtnet1; INSIDE_BRIDGE=$BRIDGE
make_bridge vtnet2; OUTSIDE_BRIDGE=$BRIDGE
barrier bridges

if [ "$ROLE" = one ]; then
	host client "$INSIDE_BRIDGE" 10.1.0.9 $GATEWAY_IN
	host server "$OUTSIDE_BRIDGE" $SERVER $GATEWAY_OUT
	start_firewall old_a 2 0
	role_becomes MASTER old_a 2
	start_firewall old_b 3 100
	role_becomes BACKUP old_b 3
	start_numbers $SERVER
	start_idle_connections
	goes_on 20 "with the old release"
	soon "old-b lacks the connection" has_state old_b "$SERVER:7000"

	echo "the backup is switched off"
	switch_off 3
	barrier backup-off
	echo "the backup starts with the new release"
	barrier backup-on
	[ "$one" != test ] || speaks old_a 1400
	goes_on 30 "beside a backup of the new release"

	echo "the master is switched off"
	switch_off 2
	goes_on 60 "with the new release"
	barrier master-off
	echo "the master starts with the new release"
	barrier master-on
	goes_on 60 "with both firewalls upgraded"
	use_idle_connections
	check_numbers
	barrier end
else
	barrier backup-off
	start_firewall new_b 3 100
	role_becomes BACKUP new_b 3
	soon "new-b lacks the connection" has_state new_b "$SERVER:7000"
	[ "$two" != test ] || speaks new_b $([ "$one" = test ] && echo 1500 || echo 1400)
	barrier backup-on
	barrier master-off
	is_role MASTER new_b "$INSIDE_3" || fail "new-b is not the master"
	start_firewall new_a 2 0
	role_becomes MASTER new_a 2
	role_becomes BACKUP new_b 3
	speaks new_b 1500
	speaks new_a 1500
	barrier master-on
	barrier end
fi
stop_helpers
destroy_bridges
