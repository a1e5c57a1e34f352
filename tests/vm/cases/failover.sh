# SPDX-License-Identifier: BSD-2-Clause
# about: a TCP transfer through a carp pair goes on when the master is switched off, and when it returns
# machines: 2
# wires: 3
# timeout: 1200
. /tmp/vm/lib.sh
. /tmp/vm/carp.sh

# vtnet0 is the sync interface, vtnet1 the inside wire, vtnet2 the outside wire.
GATEWAY_IN=10.1.0.1
GATEWAY_OUT=10.2.0.1
SERVER=10.2.0.9

# firewall SKEW LAST INSIDE OUTSIDE: sets up pf, carp and pfsync; addresses end in LAST.
firewall() {
	sysctl -q net.inet.ip.forwarding=1 net.inet.carp.preempt=1 >/dev/null
	address here "$3" "10.1.0.$2/24"
	address here "$4" "10.2.0.$2/24"
	address here vtnet0 "192.0.2.$2/24"
	pf_rules here <<-RULES
		set skip on { lo0 vtnet0 }
		block all
		pass quick proto carp keep state (no-sync)
		pass proto { tcp icmp } keep state
	RULES
	# pfsync starts before carp, so that a master that returns has the states first.
	ifconfig pfsync0 up syncdev vtnet0 || fail "pfsync0"
	ifconfig "$3" vhid 1 advskew "$1" pass secret alias $GATEWAY_IN/32 || fail "carp on $3"
	ifconfig "$4" vhid 2 advskew "$1" pass secret alias $GATEWAY_OUT/32 || fail "carp on $4"
}

# The backup, and the jails that are hosts inside and outside.
backup_and_hosts() {
	lan client vtnet1
	INSIDE=$OWN_INTERFACE
	address client "$JAIL_INTERFACE" 10.1.0.9/24
	lan server vtnet2
	OUTSIDE=$OWN_INTERFACE
	address server "$JAIL_INTERFACE" $SERVER/24
	jexec client route -q add default $GATEWAY_IN
	jexec server route -q add default $GATEWAY_OUT
	firewall 100 3 "$INSIDE" "$OUTSIDE"
}

need_module carp
load_pfsync test
sysctl -q net.inet6.ip6.dad_count=0 >/dev/null
if [ "$ROLE" = one ]; then
	firewall 0 2 vtnet1 vtnet2
	soon "one does not become master" carp_is MASTER vtnet1
	[ "${AGAIN:-no}" = yes ] || barrier ready
	barrier done
	remove_addresses vtnet0 vtnet1 vtnet2
	exit 0
fi

backup_and_hosts
barrier ready
soon "two does not become backup" carp_is BACKUP "$INSIDE"
soon "two does not become backup" carp_is BACKUP "$OUTSIDE"
start_numbers $SERVER
goes_on 20 "with the master"
pfctl -s states | grep -q "$SERVER:7000" || fail "the backup does not have the state"

echo "the master is switched off"
kill_peer
goes_on 30 "without the master"
must carp_is MASTER "$INSIDE"

echo "the master returns"
revive_peer
wait_for 60 carp_is BACKUP "$INSIDE" || fail "two does not give way to the master"
goes_on 30 "with the master again"
check_numbers
barrier done
stop_helpers
remove_addresses vtnet0
destroy_bridges
