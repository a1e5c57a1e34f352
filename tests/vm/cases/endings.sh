# SPDX-License-Identifier: BSD-2-Clause
# about: deletes of live and idle connections, one host id on two firewalls, clears while the module unloads
. /tmp/vm/lib.sh

SERVER=198.51.100.1
CLIENT=198.51.100.254
ROUNDS=30

is_reference && skip "FreeBSD's own module ends live connections"

# conflicts WHERE NAME: a counter of net.pfsync.conflicts.
conflicts() {
	at "$1" sysctl -n "net.pfsync.conflicts.$2"
}

load_pfsync test
make_firewalls
pass_all one two
sync_firewalls

echo "two deletes a connection whose packets pass through one"
helper client ping -q -i 0.5 $SERVER
soon "two has no state" has_state two "icmp.*$CLIENT"
# Longer than a second after the insert, which is two's last message.
sleep 4
must jexec two pfctl -q -k $CLIENT
soon "two did not get the state back" has_state two "icmp.*$CLIENT"
must has_state one "icmp.*$CLIENT"
[ "$(counted one 'stale states')" -gt 0 ] || fail "one does not count the delete as stale"

echo "one deletes it"
stop_helpers
sleep 2
must jexec one pfctl -q -k $CLIENT
soon "two still has the state" lacks_state two "icmp.*$CLIENT"
must lacks_state one "icmp.*$CLIENT"

echo "two deletes an idle connection of one"
must jexec client ping -q -c 1 $SERVER >/dev/null
soon "two has no state" has_state two "icmp.*$CLIENT"
sleep 3
must jexec two pfctl -q -k $CLIENT
# No packet passes any more: the second delete ends it.
soon "two did not get the state back" has_state two "icmp.*$CLIENT"
must jexec two pfctl -q -k $CLIENT
soon "one still has the state" lacks_state one "icmp.*$CLIENT"

echo "both have one host id"
equal "conflicts on one" 0 "$(conflicts one host_ids)"
equal "conflicts on two" 0 "$(conflicts two host_ids)"
for where in one two; do
	pf_rules $where <<-RULES
		set hostid 0x0badcafe
		set skip on { ${SYNC}a ${SYNC}b }
		pass keep state
	RULES
done
must jexec client ping -q -c 1 $SERVER >/dev/null
sleep 2
must jexec client ping -q -c 1 $SERVER >/dev/null
sleep 2
[ "$(conflicts two host_ids)" -gt 0 ] || fail "two does not notice its host id"
# Each of the two says it once, if it notices.
lines=$(dmesg | grep -c 'host id 0x0badcafe of this firewall')
[ "$lines" -ge 1 ] && [ "$lines" -le 2 ] || fail "$lines lines about the host id"

echo "states are cleared while the module is unloaded"
clear_for_ever() {
	while :; do
		jexec one pfctl -q -F states
	done
}
for round in $(jot $ROUNDS); do
	clear_for_ever &
	clears=$!
	clear_for_ever &
	more_clears=$!
	unload_pfsync
	kill $clears $more_clears
	wait $clears $more_clears 2>/dev/null
	load_pfsync test
	start_pfsync one
done
