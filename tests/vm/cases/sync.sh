# SPDX-License-Identifier: BSD-2-Clause
# about: TCP, UDP, ICMP and IPv6 states appear, change and end on the peer too; no-sync states do not
# param: to multicast unicast
. /tmp/vm/lib.sh

SERVER=198.51.100.1
CLIENT=198.51.100.254
SERVER6=2001:db8:51::1

rules() {
	cat <<-RULES
	set skip on $1
	pass quick proto pfsync keep state (no-sync)
	pass quick proto udp to port 5999 keep state (no-sync)
	pass quick inet6 proto icmp6 icmp6-type { neighbrsol, neighbradv, routersol } no state
	pass keep state
	RULES
}

# Whether both firewalls hold the same states, with the same sequence numbers.
same_states() {
	state_lines one | grep -v ':5999 ' > $RUN/states.one
	state_lines two > $RUN/states.two
	cmp -s $RUN/states.one $RUN/states.two
}

load_pfsync test
make_firewalls
rules "${SYNC}a" | pf_rules one
rules "${SYNC}b" | pf_rules two
case $to in
multicast) sync_firewalls ;;
unicast)
	sync_firewalls
	must jexec one ifconfig pfsync0 syncpeer 192.0.2.2
	must jexec two ifconfig pfsync0 syncpeer 192.0.2.1
	soon "one is not in sync after syncpeer" in_sync one
	soon "two is not in sync after syncpeer" in_sync two
	jexec one ifconfig pfsync0 | grep -q 'syncpeer: 192.0.2.2 ' || fail "syncpeer is not shown"
	;;
esac

echo "states appear"
client_traffic one
send_udp $SERVER6 5002
soon "no TCP state on two" has_state two "tcp $SERVER:7000 <- $CLIENT:.*ESTABLISHED:ESTABLISHED"
soon "no ICMP state on two" has_state two "icmp $SERVER:.* <- $CLIENT:"
soon "no ICMPv6 state on two" has_state two "ipv6-icmp $SERVER6"
soon "no UDP state on two" has_state two "udp $SERVER:5001 <- $CLIENT:4000 .*SINGLE"
soon "no UDP state over IPv6 on two" has_state two "udp $SERVER6\[5002\] <-"
must has_state one "udp $SERVER:5999"

echo "states follow updates"
more_client_traffic
soon "two did not see the UDP state change" has_state two "udp $SERVER:5001 .*MULTIPLE"
wait_for 15 same_states || {
	diff $RUN/states.one $RUN/states.two
	fail "the state tables differ"
}
close_tcp
soon "two did not see the connection end" has_state two "tcp $SERVER:7000 .*(FIN_WAIT_2|TIME_WAIT)"

echo "no-sync states are not sent"
must lacks_state two ":5999"
equal "inserts that two sent" 0 "$(sent two 'state insert')"

echo "states end"
must has_state two "udp $SERVER:5001"
must jexec one pfctl -q -k $CLIENT
soon "two still has killed states" lacks_state two "$CLIENT"
must has_state two "udp $SERVER6"
must jexec one pfctl -q -F states
soon "two still has flushed states" lacks_state two "$SERVER6"
