# SPDX-License-Identifier: BSD-2-Clause
# about: a clear of one interface leaves the peer's states of other interfaces
. /tmp/vm/lib.sh

SERVER=198.51.100.1
SERVER6=2001:db8:51::1

is_reference && skip "FreeBSD's own module clears all states of the creator"

# if_bound WHERE: states are bound to interfaces. Both firewalls need interfaces of these names.
if_bound() {
	pf_rules "$1" <<-RULES
		set state-policy if-bound
		set skip on { ${SYNC}a ${SYNC}b }
		pass keep state
	RULES
}

load_pfsync test
make_firewalls
make_wire two here
must jexec two ifconfig "${WIRE}a" name lan0
address two lan0 203.0.113.1/24
make_wire one here
must jexec one ifconfig "${WIRE}a" name wan0
address one wan0 198.18.0.1/24
address here "${WIRE}b" 198.18.0.2/24
must jexec one ifconfig "${LAN}a" name lan0
make_wire two here
must jexec two ifconfig "${WIRE}a" name wan0
if_bound one
if_bound two
sync_firewalls

client_traffic one
must ping -q -c 2 -t 5 198.18.0.1 >/dev/null
soon "no state of lan0 on two" has_state two "lan0 icmp"
soon "no state of wan0 on two" has_state two "wan0 icmp"

echo "clear the states of wan0"
must jexec one pfctl -q -i wan0 -F states
soon "two still has states of wan0" lacks_state two "^wan0"
must has_state two "lan0 icmp"
must has_state one "lan0 icmp"

echo "clear all states"
must jexec one pfctl -q -F states
soon "two still has states of lan0" lacks_state two "^lan0 icmp"
must jexec one ifconfig lan0 name "${LAN}a"
