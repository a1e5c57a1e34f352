# SPDX-License-Identifier: BSD-2-Clause
# about: what a message format cannot say, and what becomes of such states at the peer, which has other rules
# machines: 2
# param: one test stock
# param: two test stock
# param: version 1500 1400 1301
. /tmp/vm/lib.sh

# Machine one sends. Each state has something that some format cannot say.
ACTIONS=6101 ROUTE=6102 TAG=6103 OTHER_HOP=6104 AF_TO=6105 PLAIN=6106
MODULE=$one
[ "$ROLE" = one ] || MODULE=$two

# The machines as RELEASE-MODULE, such as 14-stock.
echo "$(release)-$MODULE" | publish system
barrier systems
if [ "$ROLE" = one ]; then
	SENDER=$(release)-$one RECEIVER=$(ask system)
else
	SENDER=$(ask system) RECEIVER=$(release)-$two
fi
case $SENDER/$version/$RECEIVER in
14*/1500/*) skip "FreeBSD 14 sends no format 1500" ;;
*/1500/14-stock) skip "FreeBSD 14's own module does not read format 1500" ;;
esac

# state PORT: the lines about the state of that port.
state() {
	pfctl -vv -s states 2>/dev/null | awk -v port="$1" '
		/^[^ ]/ { wanted = $0 ~ "(:|\\[)" port "([^0-9]|$)" }
		wanted'
}

# shows PORT PATTERN: the state of that port must be there, and be shown so.
shows() {
	[ -n "$(state "$1")" ] || fail "no state of port $1"
	state "$1" | grep -q -E "$2" || fail "the state of port $1 lacks '$2': $(state "$1")"
}

lacks() {
	[ -n "$(state "$1")" ] || fail "no state of port $1"
	! state "$1" | grep -q -E "$2" || fail "the state of port $1 has '$2': $(state "$1")"
}

is_absent() {
	[ -z "$(state "$1")" ] || fail "there is a state of port $1: $(state "$1")"
}

# send PORT ADDRESS: the client sends a datagram, from which machine one makes a state.
send() {
	echo hello | jexec client nc -u -w 1 -p 4000 "$2" "$1" >/dev/null 2>&1
}

sender_rules() {
	cat <<-RULES
		set skip on { lo0 vtnet0 }
		pass quick inet6 proto icmp6 no state
		pass out quick no state
		pass in quick inet proto udp to port $ACTIONS set tos 0x28 scrub (min-ttl 77) keep state
		pass in quick route-to (sink 203.0.113.2) inet proto udp to port $ROUTE keep state
		pass in quick inet proto udp to port $TAG tag seen keep state
		pass in quick inet proto udp to port $PLAIN keep state
	RULES
	[ "$(release)" -ge 15 ] || return 0
	cat <<-RULES
		pass in quick route-to (sink 2001:db8:71::2) prefer-ipv6-nexthop inet proto udp to port $OTHER_HOP keep state
		pass in quick inet6 proto udp to 64:ff9b::/96 port $AF_TO af-to inet from 203.0.113.1 keep state
	RULES
}

# make_states: has machine one make the states, and checks that they have what is to be said.
make_states() {
	local port
	for port in $ACTIONS $ROUTE $TAG $OTHER_HOP $PLAIN; do
		send $port 203.0.113.2
	done
	send $AF_TO 64:ff9b::cb00:7102
	# The pfctl of FreeBSD 15.0 shows 0 for every type of service.
	shows $ACTIONS 'set-tos.*min-ttl 77'
	shows $ROUTE 'route-to: 203.0.113.2@sink'
	shows $TAG $TAG
	shows $PLAIN $PLAIN
	[ "$(release)" -ge 15 ] || return 0
	shows $OTHER_HOP 'route-to: 2001:db8:71::2@sink'
	shows $AF_TO '64:ff9b::cb00:7102'
}

# check_states: what machine two must have of them.
check_states() {
	shows $PLAIN $PLAIN
	case $version in
	1301) lacks $ACTIONS 'set-tos|min-ttl' ;;
	*) shows $ACTIONS 'set-tos.*min-ttl 77' ;;
	esac
	case $version/$RECEIVER in
	# FreeBSD 14's own module takes it in without its route.
	1301/14-stock) lacks $ROUTE 'route-to' ;;
	1301/*) is_absent $ROUTE ;;
	*) shows $ROUTE 'route-to: 203.0.113.2@sink' ;;
	esac
	case $version/$RECEIVER in
	1500/14-*) is_absent $TAG ;;
	*) shows $TAG $TAG ;;
	esac
	case $version/$SENDER/$RECEIVER in
	*/14-*/*) ;;
	1500/*/15-*)
		shows $OTHER_HOP 'route-to: 2001:db8:71::2@sink'
		shows $AF_TO '64:ff9b::cb00:7102'
		;;
	1500/*/14-* | *-test/*)
		is_absent $OTHER_HOP
		is_absent $AF_TO
		;;
	# In an earlier format FreeBSD's own module says something wrong of both.
	esac
}

# How many of the states this module must have refused.
refused() {
	case $version/$SENDER/$RECEIVER in
	1500/*/14-test) echo 3 ;;
	1301/*/*-test) echo 1 ;;
	*) echo 0 ;;
	esac
}

refusals() {
	netstat -s -p pfsync | awk '/failed state lookup/ { print $1 }'
}

[ -f "$(module_file "$MODULE")" ] || skip "needs FreeBSD's own module: --stock"
load_pfsync "$MODULE"
sysctl -q net.inet.ip.forwarding=1 net.inet6.ip6.forwarding=1 >/dev/null
LAST=1
[ "$ROLE" = one ] || LAST=2
address here vtnet0 192.0.2.$LAST/24
# The interface that swallows packets has the same name on both machines.
make_sink here
must ifconfig "$(ifconfig -g bridge)" name sink >/dev/null
address here sink 2001:db8:71::1/64
must ndp -s 2001:db8:71::2 02:00:00:00:00:02 >/dev/null
if [ "$ROLE" = one ]; then
	make_jail client
	make_wire client here
	address client "${WIRE}a" 198.51.100.9/24 2001:db8:51::9/64
	address here "${WIRE}b" 198.51.100.1/24 2001:db8:51::1/64
	must jexec client route -q add default 198.51.100.1
	must jexec client route -q add -inet6 default 2001:db8:51::1
	sender_rules | pf_rules here || exit 1
else
	pf_rules here <<-RULES
		set skip on { lo0 vtnet0 }
		pass no state
	RULES
fi
pfctl -q -F states
must ifconfig pfsync0 up version "$(own_format "$version")" maxupd 1 syncdev vtnet0
wait_for 60 in_sync here || fail "not in sync"
before=$(refusals)

barrier sync
[ "$ROLE" = two ] || make_states
barrier states
if [ "$ROLE" = two ]; then
	soon "no state of port $PLAIN" has_state here ":$PLAIN "
	sleep 2
	pfctl -vv -s states
	check_states
	after=$(refusals)
	[ $((after - before)) -ge "$(refused)" ] || fail "of $(refused) states $((after - before)) were refused"
fi
barrier checked
ifconfig sink destroy
ifconfig vtnet0 inet "192.0.2.$LAST" -alias
